//! The Terraform module as far as it can be judged without an apply (that is tests/e2e_terraform.rs): its form, its own tests, its
//! manifests beside muster's, its examples' plans, and what a security scanner says of those.

use crate::support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr::LoadableYamlNode as _;
use serde_json::Value;
use support::moto::Moto;
use support::terraform::{Terraform, resources};
use support::tools::skip;

const EXAMPLES: [&str; 5] = ["minimal", "several-pools", "ghes", "existing-vpc", "direct-ingress"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn muster(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_muster")).args(args).output().expect("the binary runs");
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn it_is_formatted_valid_and_passes_its_own_tests() {
    let Some(terraform) = Terraform::new(None) else { return };
    terraform.run(".", &["fmt", "-check", "-recursive", "-diff"]).good("terraform fmt -check");
    terraform.init("terraform");
    terraform.run("terraform", &["validate"]).good("terraform validate");
    let said = terraform.run("terraform", &["test"]).good("terraform test");
    let passed: u32 =
        said.lines().find_map(|line| line.strip_prefix("Success! ")?.split(' ').next()?.parse().ok()).expect("a sum");
    assert!(passed >= 40, "{said}");
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
         directory = \"${{path.module}}/cases/${{each.key}}\"\n  cluster   = \"prod\"\n}}\n"
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

/// To PowerShell, each of them may end a text in quotes.
const QUOTES: &str = "# it's muster\u{2019}s \u{2018}way\u{201b}";

/// The examples, planned against moto: the plan's JSON, and where it lies as a file.
fn plans(terraform: &Terraform, subnets: &[String]) -> Vec<(&'static str, Value, PathBuf)> {
    let plan = |name: &'static str| {
        let folder = terraform.settle_example(name, subnets);
        if name == "several-pools" {
            let pools = terraform.path(&format!("{folder}/manifests/pools.yaml"));
            let text = fs::read_to_string(&pools).expect("the pools");
            let quoted = format!("bootstrap: {{preInstall: \"{QUOTES}\"}}\n  instance:\n    os: windows");
            assert!(text.contains("instance:\n    os: windows"), "{text}");
            fs::write(&pools, text.replace("instance:\n    os: windows", &quoted)).expect("a file");
        }
        terraform.init(&folder);
        let plan = terraform.plan(&folder);
        let file = terraform.path(&format!("{folder}/plan.json"));
        fs::write(&file, plan.to_string()).expect("a file");
        (name, plan, file)
    };
    EXAMPLES.map(plan).into()
}

#[tokio::test]
async fn every_example_plans_and_what_it_plans_is_tagged_and_passes_the_scanner() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let folders: BTreeSet<String> = fs::read_dir(root().join("terraform/examples"))
        .expect("examples")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(folders, EXAMPLES.map(str::to_owned).into(), "each example is planned here");
    let seen = moto.ec2.describe_subnets().send().await.expect("moto lists its subnets");
    let subnets: Vec<String> = seen.subnets().iter().filter_map(|s| s.subnet_id().map(str::to_owned)).collect();
    let plans = tokio::task::spawn_blocking(move || (plans(&terraform, &subnets), terraform)).await.expect("no panic");
    for (name, plan, _) in &plans.0 {
        for (address, values) in resources(plan) {
            // A group's tags are put on its instances, and what bears muster:cluster is a runner.
            let taggable = values.get("tags").is_some() || values.get("tag").is_some();
            let tagged = values["tags"]["muster:cluster"] == "prod" || address.contains("aws_autoscaling_group");
            assert!(!taggable || tagged, "{name}: {address} is not tagged");
        }
    }
    let by_name = |name: &str| resources(&plans.0.iter().find(|(n, ..)| *n == name).expect("an example").1);
    boundaries(&by_name("existing-vpc"));
    windows_user_data(&by_name("several-pools"));
    let direct = by_name("direct-ingress");
    assert!(!direct.keys().any(|address| address.contains("aws_apigatewayv2_vpc_link") || address.contains("service_discovery")));
    scan(plans.0.iter().map(|(.., file)| file.as_path()));
}

/// Every role lies under the path and within the boundary, and nothing but the ends of the webhook's way takes traffic.
fn boundaries(made: &std::collections::BTreeMap<String, Value>) {
    let roles: Vec<_> = made.iter().filter(|(address, _)| address.contains("aws_iam_role.")).collect();
    assert!(roles.len() >= 2, "{roles:?}");
    for (address, role) in roles {
        assert_eq!(
            (&role["path"], &role["permissions_boundary"]),
            (&"/ci/".into(), &"arn:aws:iam::123456789012:policy/boundary".into()),
            "{address}"
        );
    }
    for (address, rule) in made.iter().filter(|(address, _)| address.contains("ingress_rule.")) {
        assert!(!address.contains("module.pool") && rule["cidr_ipv4"].is_null(), "{address} lets the world in");
    }
}

fn windows_user_data(made: &std::collections::BTreeMap<String, Value>) {
    let template = &made["module.muster.module.pool[\"windows-x64\"].aws_launch_template.this"];
    let wrapper = piped("base64 -d", template["user_data"].as_str().expect("known at plan"));
    assert!(wrapper.len() <= 16 * 1024, "{} bytes", wrapper.len());
    let tasks = saphyr::Yaml::load_from_str(&wrapper).expect("tasks for EC2Launch, as YAML");
    let input = &tasks[0]["tasks"][1]["inputs"][0];
    assert_eq!(
        (input["frequency"].as_str(), input["runAs"].as_str()),
        (Some("always"), Some("localSystem")),
        "a second boot ends the box, too"
    );
    let packed = input["content"]
        .as_str()
        .expect("a script")
        .split_once("FromBase64String('")
        .and_then(|(_, rest)| rest.split_once("')"))
        .expect("a packed script")
        .0;
    let script = piped("base64 -d | gzip -dc", packed);
    let (settings, body) = script.split_once("\n$ErrorActionPreference = 'Stop'").expect("settings, then the script");
    assert!(settings.contains("$MusterArchitecture = 'x64'") && settings.contains("$MusterBootDeadline = '900'"), "{settings}");
    let twice = |c: char| std::iter::repeat_n(c, if "'\u{2018}\u{2019}\u{201b}".contains(c) { 2 } else { 1 });
    let doubled: String = QUOTES.chars().flat_map(twice).collect();
    assert!(settings.contains(&format!("$MusterPreInstall = '{doubled}'")), "{settings}");
    let source = fs::read_to_string(root().join("terraform/bootstrap/windows.ps1")).expect("the script");
    let bare: Vec<&str> = source.lines().filter(|line| !line.trim_start_matches(' ').starts_with('#')).collect();
    assert!(bare.join("\n").trim_end().ends_with(body.trim_end()), "the script itself, without its comments");
}

fn piped(command: &str, input: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("input");
    fs::write(&file, input).expect("a file");
    let output = Command::new("sh").arg("-c").arg(format!("cat {} | {command}", file.display())).output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// checkov over the plans: a check may fail only for a reason that tests/checkov.yaml gives, and every reason is in use.
fn scan<'a>(plans: impl Iterator<Item = &'a Path>) {
    let checkov = root().join(".venv-checkov/bin/checkov");
    if !checkov.exists() {
        return skip("there is no .venv-checkov; `make setup` makes it and says what it lacks");
    }
    let output = Command::new("nice")
        .arg(checkov)
        .args(["--skip-download", "--quiet", "--compact", "-o", "json", "-f"])
        .args(plans)
        .output()
        .expect("checkov");
    let said: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    assert!(said["summary"]["passed"].as_u64().is_some_and(|passed| passed > 200), "{}", said["summary"]);
    let reasons = fs::read_to_string(root().join("tests/checkov.txt")).expect("reasons");
    let reasons: Vec<(&str, &str)> = reasons
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let entry = (words.next().expect("a check"), words.next().expect("a resource"));
            assert!(words.count() > 3, "no reason: {line}");
            entry
        })
        .collect();
    let mut used = BTreeSet::<&(&str, &str)>::new();
    let mut unexplained = BTreeSet::new();
    for failed in said["results"]["failed_checks"].as_array().expect("a list") {
        let [check, resource, name] =
            ["check_id", "resource", "check_name"].map(|field| failed[field].as_str().unwrap_or_default());
        match reasons.iter().find(|(id, of)| *id == check && resource.contains(of)) {
            Some(reason) => drop(used.insert(reason)),
            None => drop(unexplained.insert(format!("{check} ({name}) for {resource}"))),
        }
    }
    assert!(unexplained.is_empty(), "mend it, or give a reason in tests/checkov.txt: {unexplained:#?}");
    assert_eq!(
        used.len(),
        reasons.len(),
        "reasons that nothing needs any more: {:?}",
        reasons.iter().filter(|r| !used.contains(*r)).collect::<Vec<_>>()
    );
}
