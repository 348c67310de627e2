//! Who may do what, where Terraform decides it: which of AWS's policies a role never gets, who reaches the admin listener, and
//! which program the controller's machine runs. terraform_policies.rs and iam.rs have the policies themselves.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::iam::{NO_EVALUATOR, Request, refusals};
use support::moto::Moto;
use support::terraform::{Terraform, resources};
use support::tools::skip;

use super::terraform::root;

// ------------------------------------------------------------------------------------------------ AWS's own policies

/// What a policy opens of muster and of others that a job must not have: an action, on a thing of muster's own account.
fn doors() -> Vec<Request> {
    const ACCOUNT: &str = "123456789012";
    let parameter = format!("arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/muster/c1/key");
    let secret = format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:deploy-AbCdEf");
    let program = format!("arn:aws:s3:::c1-muster-{ACCOUNT}-eu-west-1/bin/muster-arm64");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/c1-controller");
    let machine = format!("arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/i-0aaaaaaaaaaaaaaaa");
    let user = format!("arn:aws:iam::{ACCOUNT}:user/admin");
    let service = format!("arn:aws:ecs:eu-west-1:{ACCOUNT}:service/c1-muster/controller");
    let task = format!("arn:aws:ecs:eu-west-1:{ACCOUNT}:task/c1-muster/0123456789abcdef");
    let doors: [(&str, &[&str]); 8] = [
        (
            &parameter,
            &["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:GetParameterHistory", "ssm:PutParameter"],
        ),
        (&secret, &["secretsmanager:GetSecretValue"]),
        (&program, &["s3:GetObject", "s3:PutObject"]),
        (&role, &["iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:UpdateAssumeRolePolicy", "sts:AssumeRole", "iam:PassRole"]),
        (&machine, &["ssm:SendCommand", "ssm:StartSession"]),
        (&service, &["ecs:UpdateService"]),
        (&task, &["ecs:ExecuteCommand"]),
        (&user, &["iam:CreateAccessKey"]),
    ];
    let context = json!({
        "iam:PassedToService": "ecs-tasks.amazonaws.com", "aws:ResourceAccount": ACCOUNT, "aws:PrincipalAccount": ACCOUNT, "aws:SecureTransport": "true", "aws:RequestedRegion": "eu-west-1",
    });
    let asked = |(resource, actions): (&str, &[&str])| -> Vec<Request> {
        let one = |action: &&str| Request { action: (*action).into(), resource: resource.into(), context: context.clone() };
        actions.iter().map(one).collect()
    };
    doors.into_iter().flat_map(asked).collect()
}

/// AWS's managed policies, as moto has them, by path and name. The policies of service-linked roles are not among them.
fn managed_policies() -> BTreeMap<String, Value> {
    let print = "import json; from moto.iam.aws_managed_policies import aws_managed_policies_data as d; \
                 print(json.dumps({(p['Path'] + n).lstrip('/'): p['Document'] for n, p in json.loads(d).items()}))";
    let output = Command::new(root().join(".venv/bin/python")).args(["-c", print]).output().expect("python");
    let all: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).expect("moto's policies");
    all.into_iter().filter(|(name, _)| !name.starts_with("aws-service-role/")).collect()
}

/// The names in `terraform/managed.tf`.
fn refused() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("terraform/managed.tf")).expect("a file");
    let lists = text.split(" = [").skip(1).filter_map(|rest| rest.split_once(']'));
    lists.flat_map(|(list, _)| list.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn each_policy_of_awss_that_opens_a_secret_is_refused_and_no_other() {
    if Moto::start().await.is_none() {
        return;
    }
    let (policies, doors, listed) = (managed_policies(), doors(), refused());
    assert!(policies.len() > 1000 && listed.len() > 50, "{} policies, {} refused", policies.len(), listed.len());
    let asked: Vec<&Request> = doors.iter().collect();
    let mut opens = BTreeMap::new();
    for (name, policy) in &policies {
        // Most policies do not name these services at all.
        let text = policy.to_string().to_lowercase();
        if !["\"*\"", "ssm:", "secretsmanager:", "s3:", "iam:", "sts:", "ecs:", "notaction"]
            .iter()
            .any(|word| text.contains(word))
        {
            continue;
        }
        let Some(answers) = refusals(&[policy], &asked) else { return skip(NO_EVALUATOR) };
        assert!(answers.iter().flatten().all(|why| !why.contains("could not be evaluated")), "{name}: {answers:?}");
        let open: Vec<&str> = doors.iter().zip(answers).filter(|(_, no)| no.is_none()).map(|(ask, _)| &*ask.action).collect();
        if !open.is_empty() {
            opens.insert(name.clone(), open);
        }
    }
    let lacking: Vec<_> = opens.iter().filter(|(name, _)| !listed.contains(*name)).collect();
    assert!(lacking.is_empty(), "terraform/managed.tf does not refuse what opens a secret: {lacking:#?}");
    let needless: Vec<_> = listed.iter().filter(|name| !opens.contains_key(*name)).collect();
    assert!(needless.is_empty(), "terraform/managed.tf refuses what opens nothing, or does not exist: {needless:#?}");
}

// ------------------------------------------------------------------------------------------------------- at the plan

fn cluster(controller: &str, more: &str, subnet: &str) -> String {
    format!(
        r#"
module "muster" {{
  source      = "../terraform"
  cluster     = "prod"
  controller  = {{ subnet_ids = ["{subnet}"], image = "registry.example/muster:1"{controller} }}
  github_apps = {{ main = {{ appId = 1, privateKey = "ssm:/muster/prod/key", webhookSecrets = ["ssm:/muster/prod/secret"] }} }}
  pools = {{
    linux = {{
      github = {{ app = "main", scope = "org/acme" }}, labels = ["linux"], instance = {{ types = ["m7i.large"], subnets = ["{subnet}"] }}
    }}
  }}
  {more}
}}
"#
    )
}

#[tokio::test]
async fn the_plan_refuses_what_opens_secrets_to_jobs_and_says_what_to_write_instead() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let seen = moto.ec2.describe_subnets().send().await.expect("moto lists its subnets");
    let subnet = &seen.subnets()[0];
    let (id, cidr) = (subnet.subnet_id().expect("an id").to_owned(), subnet.cidr_block().expect("a range").to_owned());
    let core = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let given = format!("[\"arn:aws:iam::123456789012:policy/mine\", \"{core}\"]");
    let inside = format!("{}/28", cidr.split('/').next().expect("an address"));
    let grants = format!("{core} lets it read SSM parameters, and the GitHub App's private key is one");
    let judge = move || {
        let cases = [
            (
                cluster("", &format!("pool_defaults = {{ policy_arns = {given} }}"), &id),
                vec![&*grants, "write session_manager = true"],
            ),
            (
                cluster("", "", &id).replace("labels = [\"linux\"]", &format!("labels = [\"linux\"], policy_arns = {given}")),
                vec![&*grants, "write session_manager = true", "names the resources which every job may use"],
            ),
            (cluster(&format!(", policy_arns = {given}"), "", &id), vec![&*grants, "muster's role needs no such policy"]),
            (
                cluster(", admin_cidrs = [\"172.16.0.0/12\"]", "", &id),
                vec!["instances of pools are in 172.16.0.0/12", &*cidr, "Write the operators' own range"],
            ),
            (cluster(&format!(", admin_cidrs = [\"{inside}\"]"), "", &id), vec!["instances of pools are in"]),
            (
                cluster("", "", &id).replace("image = \"registry.example/muster:1\"", "host = \"ec2\""),
                vec!["controller.binary_sha256: with host = \"ec2\" write the SHA-256 of the binary"],
            ),
        ];
        for (call, says) in &cases {
            terraform.write("stage/main.tf", call);
            terraform.init("stage");
            let said = terraform.run("stage", &["plan"]).bad("the plan");
            for words in says {
                assert!(said.contains(words), "`{words}` is not in\n{said}");
            }
        }
        // The same cluster without any of it.
        let good = cluster(", admin_cidrs = [\"10.200.0.0/24\"]", "pool_defaults = { session_manager = true }", &id);
        terraform.write("stage/main.tf", &good);
        terraform.run("stage", &["plan"]).good("the plan");
    };
    tokio::task::spawn_blocking(judge).await.expect("no panic");
}

// ------------------------------------------------------------------------------------------- the controller's program

/// The boot script of a controller's machine that takes the program with this digest.
fn boot_script(terraform: &Terraform, digest: &str) -> String {
    let call = format!(
        r#"
module "controller" {{
  source = "../terraform/modules/controller"
  settings = {{
    host = "ec2", subnet_ids = ["subnet-0a"], image = null, binary = null, binary_sha256 = "{digest}", architecture = "arm64"
    instance_type = "t4g.micro", assign_public_ip = false, admin_cidrs = [], log = "info", session_manager = false, policy_arns = [], environment = {{}}
  }}
  ingress       = "direct"
  context       = {{ cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {{}} }}
  listen_digest = "0123456789ab"
  network       = {{ vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }}
  queues        = {{ jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }}
  bucket        = "bucket"
  manifests     = "s3://bucket/manifests"
  prices        = null
  pools         = {{ role_arns = [], subnets = ["subnet-0a"], cidrs = [], volume_keys = [] }}
  parameters    = {{ keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }}
  kms_key_arn   = null
  log_retention_days = 30
}}
"#
    );
    terraform.write("stage/main.tf", &call);
    terraform.init("stage");
    let made = resources(&terraform.plan("stage"));
    let packed = made["module.controller.aws_launch_template.this[0]"]["user_data"].as_str().expect("known at plan");
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, packed).expect("base64");
    String::from_utf8(bytes).expect("text")
}

/// A machine that boots: `aws` gives it the file `object`, and `sleep` runs `later` instead of waiting.
fn boot(dir: &Path, script: &str, object: &str, later: &str) -> Output {
    for folder in ["bin", "etc/systemd/system", "tools"] {
        fs::create_dir_all(dir.join(folder)).expect("a folder");
    }
    let place = |path: &str| dir.join(path).to_string_lossy().into_owned();
    let tool = |name: &str, body: &str| {
        let path = dir.join("tools").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    fs::write(dir.join("object"), object).expect("a file");
    tool("aws", &format!("for last; do :; done; cp {} \"$last\"", place("object")));
    tool("systemctl", &format!("echo \"$@\" >>{}", place("started")));
    tool("sleep", &later.replace("OBJECT", &place("object")));
    let script = script.replace("/usr/local/bin/", &place("bin/")).replace("/etc/", &place("etc/"));
    let path = format!("{}:{}", place("tools"), std::env::var("PATH").unwrap_or_default());
    Command::new("sh").args(["-c", &script]).env("PATH", path).output().expect("a shell")
}

#[tokio::test]
async fn the_controllers_machine_runs_the_program_that_terraform_names_and_no_other() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let right = hex::encode(Sha256::digest("muster"));
    let digest = right.clone();
    let script = tokio::task::spawn_blocking(move || boot_script(&terraform, &digest)).await.expect("no panic");
    let installed = |dir: &Path| fs::read_to_string(dir.join("bin/muster")).ok();
    let started = |dir: &Path| fs::read_to_string(dir.join("started")).unwrap_or_default();

    let good = tempfile::tempdir().expect("a directory");
    let output = boot(good.path(), &script, "muster", "exit 1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(installed(good.path()).as_deref(), Some("muster"));
    assert!(started(good.path()).contains("enable --now muster"));

    // Somebody who may write the bucket has put another program there.
    let bad = tempfile::tempdir().expect("a directory");
    let output = boot(bad.path(), &script, "another", "exit 0");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && installed(bad.path()).is_none() && started(bad.path()).is_empty(), "{said}");
    let other = hex::encode(Sha256::digest("another"));
    let why =
        format!("s3://bucket/bin/muster-arm64 has the SHA-256 {other}, but controller.binary_sha256 is {right}. Copy the right");
    assert_eq!(said.matches(&why).count(), 1, "said once: {said}");
    assert!(said.contains("no right binary came within two hours"), "{said}");

    // The right one comes later.
    let late = tempfile::tempdir().expect("a directory");
    let output = boot(late.path(), &script, "another", "printf muster >OBJECT");
    assert!(output.status.success() && installed(late.path()).as_deref() == Some("muster"));
    assert!(started(late.path()).contains("enable --now muster"));
}
