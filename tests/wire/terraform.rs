//! The Terraform module without any cloud: its form, its own tests, and its reading of manifests beside muster's. What it plans is in
//! terraform_plans.rs, what it applies in e2e_terraform.rs.

use crate::support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::terraform::Terraform;

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn muster(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_muster")).args(args).output().expect("the binary runs");
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn it_stands_alone_is_formatted_valid_and_passes_its_own_tests() {
    let Some(terraform) = Terraform::new(None) else { return };
    terraform.run(".", &["fmt", "-check", "-recursive", "-diff"]).good("terraform fmt -check");
    terraform.init("terraform");
    terraform.run("terraform", &["validate"]).good("terraform validate");
    let passed = |folder: &str| -> u32 {
        let said = terraform.run(folder, &["test"]).good("terraform test");
        said.lines().find_map(|line| line.strip_prefix("Success! ")?.split(' ').next()?.parse().ok()).expect("a sum")
    };
    assert!(passed("terraform") >= 40);
    // It takes a second provider, which `terraform validate` of the root does not admit in the root's own tests.
    terraform.init("terraform/modules/prices");
    assert!(passed("terraform/modules/prices") >= 1);
}

/// Every .tf file of the module and its examples, with its text.
fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for path in fs::read_dir(dir).expect("a folder").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "tf") {
            found.push((path.clone(), fs::read_to_string(&path).expect("a file")));
        }
    }
}

/// What the upgrade guide to version 6 removes, renames or deprecates of the kinds that are used here.
/// <https://registry.terraform.io/providers/hashicorp/aws/latest/docs/guides/version-6-upgrade>
const NOT_IN_PROVIDER_6: [&str; 6] = [
    "data.aws_region.current.name", // `id` is in both
    "aws_s3_bucket.this.region",
    "elastic_gpu_specifications",
    "elastic_inference_accelerator",
    "inference_accelerator",
    "s3_us_east_1_regional_endpoint",
];

#[test]
fn both_versions_of_the_provider_are_admitted_and_nothing_is_used_that_the_second_lacks() {
    let mut found = Vec::new();
    sources(&root().join("terraform"), &mut found);
    let named: Vec<_> = found.iter().filter(|(_, text)| text.contains("hashicorp/aws")).collect();
    assert!(named.len() >= 6 && found.len() > 25, "{} files, {} name the provider", found.len(), named.len());
    for (path, text) in named {
        assert!(text.contains("version = \">= 5.100, < 7\""), "{}", path.display());
    }
    for (path, text) in &found {
        for gone in NOT_IN_PROVIDER_6 {
            assert!(!text.contains(gone), "{}: {gone}", path.display());
        }
        // An image by its newest, without owner or id, is an error in 6.
        let newest = text.contains("most_recent = true");
        assert!(!newest || text.contains("owners ") && text.contains("image-id"), "{}", path.display());
    }
}

#[test]
fn the_readme_has_every_input_and_output_in_the_words_of_the_module() {
    let read = |file: &str| fs::read_to_string(root().join("terraform").join(file)).expect("a file");
    let readme = read("README.md");
    let (inputs, outputs) = readme.split_once("\n## Outputs").expect("both tables");
    for (file, keyword, table) in [("variables.tf", "variable \"", inputs), ("outputs.tf", "output \"", outputs)] {
        let text = read(file);
        let blocks: Vec<&str> = text.split(&format!("\n{keyword}")).flat_map(|part| part.split(keyword)).collect();
        let blocks: Vec<&str> = blocks.into_iter().filter(|block| block.contains("description = ")).collect();
        assert!(blocks.len() > 10, "{file}: {}", blocks.len());
        for block in blocks {
            let name = block.split('"').next().expect("a name");
            let row = table
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")) || line.starts_with(&format!("| **`{name}`** |")));
            let row = row.unwrap_or_else(|| panic!("terraform/README.md has no row for {name} of {file}"));
            let described = block.split("description = ").nth(1).expect("a description").lines();
            // On one line in quotes, or on several between <<-EOT and EOT.
            let lines =
                described.take_while(|line| line.trim() != "EOT").take(if block.contains("<<-EOT") { usize::MAX } else { 1 });
            for line in lines.filter(|line| !line.contains("<<-EOT")) {
                let words = line.trim().trim_start_matches("- ").trim_matches('"').replace("\\\"", "\"");
                assert!(row.contains(&words), "terraform/README.md, {name}: lacks `{words}`");
            }
        }
    }
}

#[test]
fn the_schemas_are_what_muster_prints_and_the_time_zones_what_it_knows() {
    let schemas = root().join("terraform/modules/manifests/schemas");
    for kind in muster_reconciler::manifest::KINDS {
        let kept: Value =
            serde_json::from_str(&fs::read_to_string(schemas.join(format!("{kind}.json"))).expect("a schema")).expect("JSON");
        let (ok, printed) = muster(&["schema", kind]);
        assert!(ok, "{printed}");
        let printed: Value = serde_json::from_str(&printed).expect("JSON");
        assert!(kept == printed, "run: muster schema {kind} > terraform/modules/manifests/schemas/{kind}.json");
    }
    let kept: BTreeSet<String> =
        fs::read_to_string(schemas.join("timezones.txt")).expect("a list").lines().map(str::to_owned).collect();
    let known: BTreeSet<String> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name().to_owned()).collect();
    assert_eq!(
        kept.symmetric_difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "terraform/modules/manifests/schemas/timezones.txt"
    );
}

/// Good manifests, and what makes them bad: a piece of text, and what is put for it.
const GOOD: &str = "apiVersion: muster/v1
kind: GitHubApp
metadata: {name: main}
spec:
  appId: 1
  privateKey: ssm:/muster/prod/key
  webhookSecrets: [ssm:/muster/prod/secret]
---
# A comment, and `---` in a text: nothing is cut there.
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: linux}
spec:
  github: {app: main, scope: org/acme, repositories: [\"acme/*\"]}
  labels: [self-hosted, linux]
  capacity:
    max: 5
    idle: 1
    schedules: [{cron: '0 8-18/2 * * MON-FRI', timezone: Europe/Amsterdam, hold: 1h, idle: 2}]
  runner: {lifetime: reusable, queueDelay: 5s, bootDeadline: 5m, idleTimeout: 10m, maxLifetime: 24h}
  instance:
    types: [m7i.large]
    subnets: [subnet-1]
    tags: {team: ci}
  bootstrap:
    version: 2.330.0
    hooks: {jobStarted: /opt/started.sh}
    preInstall: |
      echo one
      ---
    proxy: {https: 'http://proxy:3128', none: [.internal]}
---
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: other}
spec:
  github: {app: main, scope: repo/acme/app}
  labels: [other]
  instance: {types: [m7g.large], subnets: [subnet-1], architecture: arm64, market: spot}
---
apiVersion: muster/v1
kind: GitHubToken
metadata: {name: big}
spec: {token: 'ssm:/muster/prod/token', webhookSecrets: ['ssm:/muster/prod/enterprise']}
---
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: large}
spec:
  github: {token: big, scope: enterprise/big}
  labels: [large]
  instance: {types: [m7i.large], subnets: [subnet-1]}
";

const LINUX_ARM: &str = "{types: [m7g.large], subnets: [subnet-1], architecture: arm64, market: spot}";

const BAD: &[(&str, &str)] = &[
    ("kind: GitHubApp", "kind: GitHubApps"),
    ("apiVersion: muster/v1", "apiVersion: muster/v2"),
    ("  labels: [self-hosted, linux]", "  lables: [self-hosted, linux]"),
    ("  labels: [self-hosted, linux]", "  labels: []"),
    ("  labels: [self-hosted, linux]", "  labels: linux"),
    ("[self-hosted, linux]", "[linux, Linux]"),
    ("[self-hosted, linux]", "['a,b']"),
    ("[self-hosted, linux]", "[' a']"),
    ("metadata: {name: linux}", "metadata: {name: Linux}"),
    ("metadata: {name: linux}", "metadata: {}"),
    ("metadata: {name: linux}", "metadata: {name: other}"),
    ("metadata: {name: linux}", "metadata: {name: a12345678901234567890123456789012345678901}"),
    ("app: main, scope: org/acme", "app: mian, scope: org/acme"),
    ("app: main, scope: org/acme", "scope: org/acme"),
    ("app: main, scope: org/acme", "app: main, scope: enterprise/acme"),
    ("app: main, scope: org/acme", "token: big, scope: org/acme"),
    ("app: main, scope: org/acme", "app: main, token: big, scope: org/acme"),
    ("token: big", "token: bog"),
    ("token: big", "app: main"),
    ("metadata: {name: big}", "metadata: {name: main}"),
    ("token: 'ssm:/muster/prod/token'", "token: ghp_0123"),
    ("webhookSecrets: ['ssm:/muster/prod/enterprise']", "webhookSecrets: []"),
    ("webhookSecrets: ['ssm:/muster/prod/enterprise']", "webhookSecrets: ['ssm:/x'], apiUrl: ghe"),
    ("scope: org/acme", "scope: acme"),
    ("scope: org/acme", "scope: org/a b"),
    ("acme/*", "other/x"),
    ("acme/*", "acme"),
    ("scope: repo/acme/app", "scope: repo/acme/app, runnerGroup: big"),
    ("scope: repo/acme/app", "scope: org/acme, runnerGroup: ' '"),
    ("max: 5", "max: -1"),
    ("max: 5", "max: many"),
    ("max: 5", "max: 1.5"),
    ("idle: 1", "idle: 6"),
    ("idle: 2}", "idle: 7}"),
    ("0 8-18/2 * * MON-FRI", "0 8-18 * *"),
    ("0 8-18/2 * * MON-FRI", "61 8 * * *"),
    ("0 8-18/2 * * MON-FRI", "0 25 * * *"),
    ("0 8-18/2 * * MON-FRI", "0 8 * 13 *"),
    ("0 8-18/2 * * MON-FRI", "at eight"),
    ("Europe/Amsterdam", "Europe/Atlantis"),
    ("hold: 1h", "hold: 32d"),
    ("hold: 1h", "hold: 1 hour"),
    ("queueDelay: 5s", "queueDelay: 2h"),
    ("bootDeadline: 5m", "bootDeadline: 2h"),
    ("bootDeadline: 5m", "bootDeadline: 300"),
    ("idleTimeout: 10m", "idleTimeout: 25h"),
    ("maxLifetime: 24h", "maxLifetime: 31d"),
    ("maxLifetime: 24h", "maxLifetime: 4m"),
    ("maxLifetime: 24h", "maxLifetime: 9m"),
    ("lifetime: reusable", "lifetime: eternal"),
    ("types: [m7i.large]", "types: []"),
    ("types: [m7i.large]", "types: [large]"),
    ("types: [m7i.large]", "types: [m7i.large, m7i.large]"),
    ("types: [m7i.large]", "types: [m7g.large]"),
    ("types: [m7i.large]", "types: [im4gn.large]"),
    ("architecture: arm64", "architecture: amd64"),
    ("architecture: arm64", "architecture: arm64, os: windows"),
    ("subnets: [subnet-1]", "subnets: [vpc-1]"),
    ("subnets: [subnet-1]", "subnets: [subnet-1, subnet-1]"),
    ("market: spot", "market: on-demand, allocation: lowest-price"),
    ("market: spot", "market: cheap"),
    ("market: spot", "launchTemplate: 'arn:aws:x'"),
    ("tags: {team: ci}", "tags: {'muster:x': z}"),
    ("tags: {team: ci}", "tags: {'a b': z}"),
    ("tags: {team: ci}", "tags: {team: 5}"),
    ("version: 2.330.0", "version: v2.330"),
    ("jobStarted: /opt/started.sh", "jobStarted: started.sh"),
    ("jobStarted: /opt/started.sh", "jobStarted: /opt/$(x)"),
    ("version: 2.330.0", "user: 0day"),
    (LINUX_ARM, "{types: [m7i.large], subnets: [subnet-1], os: windows}\n  bootstrap: {user: ends.}"),
    (LINUX_ARM, "{types: [m7i.large], subnets: [subnet-1], os: windows}\n  bootstrap: {user: of-twenty-one-letters}"),
    (LINUX_ARM, "{types: [m7i.large], subnets: [subnet-1], os: windows}\n  bootstrap: {sudo: true}"),
    ("version: 2.330.0", "workDirectory: 'a;b'"),
    ("http://proxy:3128", "proxy:3128"),
    ("http://proxy:3128", "http://user:secret@proxy:3128"),
    ("[.internal]", "['a b']"),
    ("ssm:/muster/prod/key", "my-private-key"),
    ("ssm:/muster/prod/key", "ssm:key"),
    ("webhookSecrets: [ssm:/muster/prod/secret]", "webhookSecrets: []"),
    ("appId: 1", "appId: no"),
    ("appId: 1", "appId: 0"),
    ("appId: 1", "appId: 1\n  apiUrl: https://github.example.com/"),
    ("labels: [other]", "labels: [linux, self-hosted]\n  priority: 100"),
    ("metadata: {name: other}", "metadata: {name: other\n"),
];

#[test]
fn what_muster_refuses_fails_the_plan() {
    let Some(terraform) = Terraform::new(None) else { return };
    let controller = "apiVersion: muster/v1\nkind: Controller\nmetadata: {name: prod}\nspec:\n  queues: {jobs: 'https://sqs.eu-west-1.amazonaws.com/123456789012/prod-jobs'}\n";
    let case = |name: &str, text: &str| {
        terraform.write(&format!("stage/cases/{name}/all.yaml"), text);
        terraform.write(&format!("stage/cases/{name}/controller.yaml"), controller);
        muster(&["validate", terraform.path(&format!("stage/cases/{name}")).to_str().expect("UTF-8")])
    };
    let (ok, said) = case("good", GOOD);
    assert!(ok, "{said}");
    let mut names = vec!["good".to_owned()];
    for (n, (from, to)) in BAD.iter().enumerate() {
        assert!(GOOD.contains(from), "`{from}` is not in the good manifests");
        let mut text = GOOD.replacen(from, to, 1);
        // The same jobs as the first pool takes: scope and repositories, too.
        if to.starts_with("labels: [linux, self-hosted]") {
            text = text.replace("scope: repo/acme/app", "scope: org/acme, repositories: [\"acme/*\"]");
        }
        let name = format!("case-{n:02}");
        let (ok, _) = case(&name, &text);
        assert!(!ok, "muster takes `{to}`");
        names.push(name);
    }
    let call = format!(
        "module \"manifests\" {{\n  source    = \"../terraform/modules/manifests\"\n  for_each  = toset({names:?})\n  \
         directory = \"${{path.module}}/cases/${{each.key}}\"\n  cluster   = \"prod\"\n  pools     = {{}}\n  apps      = {{}}\n}}\n"
    );
    terraform.write("stage/main.tf", &call);
    terraform.init("stage");
    let said = terraform.run("stage", &["plan"]).bad("the plan of bad manifests");
    assert!(!said.contains("cases/good "), "good manifests are refused: {said}");
    let missed: Vec<_> =
        names[1..].iter().zip(BAD).filter(|(name, _)| !said.contains(&format!("cases/{name} are not valid"))).collect();
    assert!(missed.is_empty(), "the plan takes what muster refuses: {missed:#?}");
    assert!(!said.contains("my-private-key"), "a secret that was written by mistake is not repeated");
}
