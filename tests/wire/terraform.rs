//! The Terraform module without any cloud: its form, its own tests, what it demands of manifests, and that muster judges
//! them. terraform_plans.rs has what it plans, and e2e_terraform.rs what it applies.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    // This module needs a second provider, which `terraform validate` of the root does not admit in the root's own tests.
    terraform.init("terraform/modules/prices");
    assert!(passed("terraform/modules/prices") >= 1);
    terraform.init("terraform/modules/validate");
    terraform.run("terraform/modules/validate", &["validate"]).good("terraform validate");
    terraform.init("terraform/modules/shadow");
    terraform.run("terraform/modules/shadow", &["validate"]).good("terraform validate");
}

/// Collects every .tf file of the module and its examples, with its text.
fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for path in fs::read_dir(dir).expect("a folder").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "tf") {
            found.push((path.clone(), fs::read_to_string(&path).expect("a file")));
        }
    }
}

/// What the upgrade guide to version 6 removes, renames or deprecates, of the kinds that are used here.
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
        // In version 6, a lookup of the newest image without an owner or an id is an error.
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
            // The description is on one line in quotes, or on several lines between <<-EOT and EOT.
            let lines =
                described.take_while(|line| line.trim() != "EOT").take(if block.contains("<<-EOT") { usize::MAX } else { 1 });
            for line in lines.filter(|line| !line.contains("<<-EOT")) {
                let words = line.trim().trim_start_matches("- ").trim_matches('"').replace("\\\"", "\"");
                assert!(row.contains(&words), "terraform/README.md, {name}: lacks `{words}`");
            }
        }
    }
}

/// Valid manifests.
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

/// Changes of the valid manifests from which Terraform cannot build, each with what the plan says.
const LACKING: &[(&str, &str, &str)] = &[
    ("kind: GitHubApp", "kind: GitHubApps", "all.yaml: kind: is `GitHubApps`; write one of Controller, GitHubApp,"),
    ("metadata: {name: other}", "metadata: {name: other\n", "all.yaml: is no YAML; `muster validate` says in which line"),
    (
        "metadata: {name: linux}",
        "metadata: {}",
        "all.yaml: RunnerPool: metadata.name: is missing; write a name, such as linux-x64",
    ),
    (
        "metadata: {name: linux}",
        "metadata: {name: other}",
        "there are two documents RunnerPool other; give each a name of its own",
    ),
    ("types: [m7i.large]", "types: []", "all.yaml: RunnerPool linux: spec.instance.types: write a list of instance types"),
    ("types: [m7i.large]", "types: 5", "all.yaml: RunnerPool linux: spec.instance.types: write a list of instance types"),
    (
        "subnets: [subnet-1]",
        "subnet: [subnet-1]",
        "all.yaml: RunnerPool linux: spec.instance.subnets: is missing; write a list of subnets' ids",
    ),
    (
        "subnets: [subnet-1]",
        "subnets: [vpc-1]",
        "all.yaml: RunnerPool linux: spec.instance.subnets: write a list of subnets' ids",
    ),
    ("architecture: arm64", "architecture: amd64", "all.yaml: RunnerPool other: spec.instance.architecture: write x64 or arm64"),
    (
        "architecture: arm64",
        "architecture: arm64, os: solaris",
        "all.yaml: RunnerPool other: spec.instance.os: write linux or windows",
    ),
    ("market: spot", "launchTemplate: {name: mine}", "all.yaml: RunnerPool other: spec.instance.launchTemplate: write a name"),
    (
        "bootDeadline: 5m",
        "bootDeadline: 300",
        "all.yaml: RunnerPool linux: spec.runner.bootDeadline: write a whole number with a unit",
    ),
    (
        "maxLifetime: 24h",
        "maxLifetime: a day",
        "all.yaml: RunnerPool linux: spec.runner.maxLifetime: write a whole number with a unit",
    ),
    ("version: 2.330.0", "version: 2.33", "all.yaml: RunnerPool linux: spec.bootstrap.version: write a text"),
    ("version: 2.330.0", "reportStages: often", "all.yaml: RunnerPool linux: spec.bootstrap.reportStages: write true or false"),
    ("{jobStarted: /opt/started.sh}", "/opt/started.sh", "all.yaml: RunnerPool linux: spec.bootstrap.hooks: write a mapping"),
    ("[.internal]", "[[.internal]]", "all.yaml: RunnerPool linux: spec.bootstrap.proxy.none: write a list of texts"),
    ("ssm:/muster/prod/key", "my-private-key", "all.yaml: GitHubApp main: spec.privateKey: write ssm:/muster/prod/NAME, because"),
    ("[ssm:/muster/prod/secret]", "[]", "all.yaml: GitHubApp main: spec.webhookSecrets: write a list of ssm:/muster/prod/NAME"),
    ("token: 'ssm:/muster/prod/token'", "token: ghp_0123", "all.yaml: GitHubToken big: spec.token: write ssm:/muster/prod/NAME"),
];

/// A Controller's manifest, with such changes of it.
const CONTROLLER: &str = "apiVersion: muster/v1\nkind: Controller\nmetadata: {name: prod}\nspec:\n  queues: {jobs: 'https://sqs.eu-west-1.amazonaws.com/123456789012/prod-jobs'}\n";
const LACKING_CONTROLLER: &[(&str, &str, &str)] = &[
    ("name: prod", "name: test", "controller.yaml: Controller test: metadata.name: write prod, as the variable `cluster` says"),
    ("spec:", "spec:\n  listen: {webhook: everywhere}", "spec.listen.webhook: write an address and a port"),
    ("spec:", "spec:\n  listen: {adminToken: open-sesame}", "spec.listen.adminToken: write ssm:/muster/prod/NAME, because"),
    (
        "spec:\n",
        "spec: {queues: {jobs: x}}\n---\napiVersion: muster/v1\nkind: Controller\nmetadata: {name: prod}\nspec:\n",
        "there are several Controllers; keep one",
    ),
];

/// Changes that break a rule, but not what Terraform builds from.
const AGAINST_A_RULE: &[(&str, &str)] = &[
    ("  labels: [self-hosted, linux]", "  lables: [self-hosted, linux]"),
    ("app: main, scope: org/acme", "app: mian, scope: org/acme"),
    ("idle: 1", "idle: 6"),
    ("Europe/Amsterdam", "Europe/Atlantis"),
    ("maxLifetime: 24h", "maxLifetime: 4m"),
    ("architecture: arm64", "architecture: arm64, os: windows"),
];

#[test]
fn the_plan_asks_for_what_it_builds_from_and_muster_judges_the_rest_where_its_binary_is_given() {
    let Some(terraform) = Terraform::new(None) else { return };
    let mut names = Vec::new();
    let mut case = |name: String, text: &str, controller: &str| {
        terraform.write(&format!("stage/cases/{name}/all.yaml"), text);
        terraform.write(&format!("stage/cases/{name}/controller.yaml"), controller);
        let (ok, said) = muster(&["validate", terraform.path(&format!("stage/cases/{name}")).to_str().expect("UTF-8")]);
        names.push(name);
        (ok, said)
    };
    let with = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "`{from}` is not in the good manifests");
        text.replacen(from, to, 1)
    };
    let (ok, said) = case("good".into(), GOOD, CONTROLLER);
    assert!(ok, "{said}");
    let mut words = Vec::new();
    for (n, (from, to, says)) in LACKING.iter().enumerate() {
        assert!(!case(format!("lacks-{n:02}"), &with(GOOD, from, to), CONTROLLER).0, "muster takes `{to}`");
        words.push((format!("lacks-{n:02}"), says));
    }
    for (n, (from, to, says)) in LACKING_CONTROLLER.iter().enumerate() {
        // muster cannot know the cluster's name here, and the secrets may be anywhere.
        case(format!("controller-{n:02}"), GOOD, &with(CONTROLLER, from, to));
        words.push((format!("controller-{n:02}"), says));
    }
    let mut muster_says = Vec::new();
    for (n, (from, to)) in AGAINST_A_RULE.iter().enumerate() {
        let (ok, said) = case(format!("rule-{n:02}"), &with(GOOD, from, to), CONTROLLER);
        assert!(!ok, "muster takes `{to}`");
        muster_says.push(said);
    }
    let call = |names: &[String]| {
        format!(
            "module \"manifests\" {{\n  source    = \"../terraform/modules/manifests\"\n  for_each  = toset({names:?})\n  \
             directory = \"${{path.module}}/cases/${{each.key}}\"\n  cluster   = \"prod\"\n  pools     = {{}}\n  apps      = {{}}\n}}\n"
        )
    };
    terraform.write("stage/main.tf", &call(&names));
    terraform.init("stage");
    let said = terraform.run("stage", &["plan"]).bad("the plan of manifests that lack something");
    for (name, says) in words {
        // Each case has its own error. The errors have no order.
        let own = said.split("Error: ").find(|error| error.contains(&format!("cases/{name} lack what Terraform needs:")));
        assert!(own.is_some_and(|own| own.contains(says)), "{name}: `{says}` is not in {own:?}");
    }
    assert!(!said.contains("cases/good ") && !said.contains("cases/rule-"), "these can be built from: {said}");
    assert!(
        !["my-private-key", "ghp_0123", "open-sesame"].iter().any(|s| said.contains(s)),
        "a secret by mistake is not repeated"
    );

    let judged = |binary: &str| {
        let rules: Vec<String> = names.iter().filter(|name| name.starts_with("rule-") || *name == "good").cloned().collect();
        let judge = format!(
            "module \"validate\" {{\n  source        = \"../terraform/modules/validate\"\n  for_each      = module.manifests\n  muster_binary = {binary}\n  \
             manifests     = merge(each.value.texts_at_plan, {{ \"controller.yaml\" = {CONTROLLER:?} }})\n}}\n"
        );
        terraform.write("stage/main.tf", &(call(&rules) + &judge));
        terraform.init("stage");
        terraform.run("stage", &["plan"])
    };
    judged("null").good("the plan of manifests against the rules, without muster");
    let said = judged(&format!("{:?}", env!("CARGO_BIN_EXE_muster"))).bad("the plan of manifests against the rules, with muster");
    // Terraform draws its own frame, so the excerpts with their carets are not compared.
    let problems = muster_says.iter().flat_map(|says| says.lines()).filter(|line| !line.starts_with(' '));
    for line in problems {
        assert!(said.contains(&line.split_whitespace().collect::<Vec<_>>().join(" ")), "{line}\nis not in\n{said}");
    }
    assert!(!said.contains("module.validate[\"good\"].data.external.verdict[0], on"), "{said}");
}

#[test]
fn what_init_writes_is_formatted_and_valid() {
    let Some(terraform) = Terraform::new(None) else { return };
    let (dir, module) = (terraform.path("my-cluster"), terraform.path("terraform"));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let subnets = "subnet-0a1b2c3d4e5f60001,subnet-0a1b2c3d4e5f60002";
    let (ok, said) = muster(&[
        "init",
        "--org",
        "acme",
        "--region",
        "eu-west-1",
        "--subnets",
        subnets,
        "--dir",
        &path(&dir),
        "--module",
        &path(&module),
    ]);
    assert!(ok, "{said}");
    terraform.run("my-cluster", &["fmt", "-check", "-diff"]).good("terraform fmt -check");
    terraform.init("my-cluster");
    terraform.run("my-cluster", &["validate"]).good("terraform validate");
}
