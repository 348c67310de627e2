//! The module for real. It is applied to moto. muster starts as its task definitions say, with the permissions of the roles
//! that the module made. A job runs from its webhook to zero, and a destroy leaves nothing.
//!
//! moto keeps these resources, but does not act on them: API Gateway, the VPC link, Cloud Map, ECS, log groups and alarms.
//! terraform_plans.rs asserts on plans that their parts fit together. tests/moto/gaps.py has what moto lacks entirely.

use crate::support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use muster_cloud::aws_sdk_ec2::config::Credentials;
use muster_cloud::aws_sdk_ssm;
use serde_json::Value;
use support::github::GitHub;
use support::github::key::{self, Key};
use support::instances::{Habits, Instances};
use support::moto::{Depth, Moto, REGION, TEST_KEY, World, env};
use support::muster::WEBHOOK_SECRET;
use support::scene::{CLUSTER, REPO};
use support::terraform::{Terraform, resources};
use support::tools::Port;
use support::{eventually, same, secs};

const FOLDER: &str = "stage";

/// Writes what a user writes: the call of the module, and the manifests.
fn write_stage(terraform: &Terraform, subnet: &str, github: &str, webhook_port: u16) {
    let call = format!(
        r#"
module "muster" {{
  source     = "../terraform"
  cluster    = "{CLUSTER}"
  manifests  = "${{path.module}}/manifests"
  controller = {{ subnet_ids = ["{subnet}"], image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/muster:0.1.0" }}
}}
output "bucket" {{ value = module.muster.bucket }}
output "queues" {{ value = module.muster.queues }}
output "role_arns" {{ value = module.muster.role_arns }}
output "secret_parameters" {{ value = module.muster.secret_parameters }}
"#
    );
    terraform.write("stage/main.tf", &call);
    // Only what a test needs differently from an operator: its own ports, and short times.
    let controller = format!(
        "apiVersion: muster/v1\nkind: Controller\nmetadata: {{name: {CLUSTER}}}\nspec:\n  \
         queues: {{jobs: 'https://sqs.{REGION}.amazonaws.com/123456789012/{CLUSTER}-jobs'}}\n  sync: {{every: 0s}}\n  \
         listen: {{webhook: '127.0.0.1:{webhook_port}', admin: '127.0.0.1:0'}}\n  \
         intervals: {{instances: 300ms, runners: 500ms, secrets: 2s, plan: 1s, deliveries: 10m, settle: 200ms}}\n"
    );
    terraform.write("stage/manifests/controller.yaml", &controller);
    terraform.write(
        "stage/manifests/app.yaml",
        &format!(
            "apiVersion: muster/v1\nkind: GitHubApp\nmetadata: {{name: main}}\nspec:\n  appId: {}\n  \
             privateKey: ssm:/muster/{CLUSTER}/github-app/main/private-key\n  \
             webhookSecrets: [ssm:/muster/{CLUSTER}/github-app/main/webhook-secret]\n  apiUrl: {github}\n",
            support::github::APP_ID
        ),
    );
    terraform.write(
        "stage/manifests/linux.yaml",
        &format!(
            "apiVersion: muster/v1\nkind: RunnerPool\nmetadata: {{name: linux}}\nspec:\n  github: {{app: main, scope: org/acme}}\n  \
             labels: [self-hosted, linux, x64]\n  runner: {{idleTimeout: 2s, bootDeadline: 60s}}\n  \
             instance: {{types: [m7i.large], subnets: [{subnet}]}}\n"
        ),
    );
}

/// A session of a role, which muster's process has in ECS.
struct Session {
    key: String,
    secret: String,
    token: String,
}

impl Session {
    async fn of(moto: &Moto, role: &str) -> Session {
        let form = [("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", role), ("RoleSessionName", "task")];
        let answer = moto.query("sts", &form).await;
        let field = |name: &str| -> String {
            let found = answer.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
            found.unwrap_or_else(|| panic!("no {name} in {answer}")).0.trim().to_owned()
        };
        Session { key: field("AccessKeyId"), secret: field("SecretAccessKey"), token: field("SessionToken") }
    }

    async fn ssm(&self, moto: &Moto) -> aws_sdk_ssm::Client {
        let credentials = Credentials::new(&self.key, &self.secret, Some(self.token.clone()), None, "test");
        let config = support::moto::sdk(moto.url(), TEST_KEY).await;
        aws_sdk_ssm::Client::from_conf(aws_sdk_ssm::config::Builder::from(&config).credentials_provider(credentials).build())
    }
}

/// The container of a task definition as it was applied, which Fargate would start.
fn container(state: &str, role: &str) -> Value {
    let state: Value = serde_json::from_str(state).expect("JSON");
    let made = state["resources"].as_array().expect("resources").iter().filter(|r| r["type"] == "aws_ecs_task_definition");
    let instance = made.flat_map(|r| r["instances"].as_array().into_iter().flatten()).find(|i| i["index_key"] == role);
    let definitions =
        instance.expect("a task definition")["attributes"]["container_definitions"].as_str().expect("JSON").to_owned();
    let container = serde_json::from_str::<Value>(&definitions).expect("JSON")[0].take();
    assert_eq!((&container["readonlyRootFilesystem"], &container["user"]), (&true.into(), &"65532:65532".into()), "{container}");
    container
}

/// One process of muster, with its container's command and environment, and with its role's credentials.
struct Task {
    child: Child,
    log: PathBuf,
}

impl Task {
    fn start(moto: &Moto, container: &Value, session: &Session, role: &str, dir: &Path) -> Task {
        let log = dir.join(format!("{role}.log"));
        let file = File::create(&log).expect("a log");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let given = container["environment"].as_array().expect("an environment").iter();
        let child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(container["command"].as_array().expect("a command").iter().map(text))
            .env_clear()
            .envs(env(moto.url(), &session.key))
            .env("AWS_SECRET_ACCESS_KEY", &session.secret)
            .env("AWS_SESSION_TOKEN", &session.token)
            .envs(given.map(|pair| (text(&pair["name"]), text(&pair["value"]))))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a handle"))
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Task { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn hears(&mut self, words: &str) {
        let (log, child) = (self.log.clone(), &mut self.child);
        eventually(secs(30), &format!("muster says `{words}`"), || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("the process can be asked");
            async move {
                assert!(ended.is_none(), "muster ended with {ended:?}:\n{log}");
                if log.contains(words) { Ok(()) } else { Err(log) }
            }
        })
        .await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.log.display(), self.said().lines().rev().take(30).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Everything that exists in moto, by a list of moto's own.
fn left(moto: &Moto) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(".venv/bin/python"))
        .arg(root.join("tests/moto/left.py"))
        .arg(moto.url())
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // moto shows only some of its public parameters, and other ones the next time.
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.contains("/aws/service/")).map(str::to_owned).collect()
}

#[tokio::test]
async fn applied_run_by_its_outputs_and_destroyed_with_nothing_left() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let github = GitHub::start().await;
    let seen = moto.ec2.describe_subnets().send().await.expect("moto lists its subnets");
    let subnet = seen.subnets()[0].subnet_id().expect("a subnet has an id").to_owned();
    let reserved = Port::reserve();
    let port = reserved.number();
    write_stage(&terraform, &subnet, &github.url(), port);
    let before = left(&moto);

    terraform.init(FOLDER);
    let planned = resources(&terraform.plan(FOLDER)).len();
    terraform.run(FOLDER, &["apply", "-auto-approve", "plan"]).good("the apply");
    let outputs = terraform.outputs(FOLDER);
    let state = fs::read_to_string(terraform.path("stage/terraform.tfstate")).expect("a state");
    assert!(state.contains("value_wo_version") && !state.contains("not filled yet"), "secrets are not in the state");
    settled(&terraform);
    // What only an apply tells, such as the containers' definitions, is checked by AWS's schemas, too.
    let shown = terraform.run(FOLDER, &["show", "-json"]).good("terraform show");
    terraform.write("stage/state.json", &shown);
    support::terraform::aws_admits([terraform.path("stage/state.json").as_path()].into_iter());

    // The documented commands, made with the SDK.
    for name in outputs["secret_parameters"].as_array().expect("names").iter().filter_map(Value::as_str) {
        let value = if name.ends_with("private-key") { key::private_key_pem(Key::First) } else { format!("{WEBHOOK_SECRET}\n") };
        let put = moto
            .ssm
            .put_parameter()
            .name(name)
            .value(value)
            .overwrite(true)
            .r#type(aws_sdk_ssm::types::ParameterType::SecureString);
        put.send().await.expect("SSM takes it");
    }

    let role = |name: &str| outputs["role_arns"][name].as_str().expect("a role").to_owned();
    let (controller, webhook) = (Session::of(&moto, &role("controller")).await, Session::of(&moto, &role("webhook")).await);
    the_roles_are_narrow(&moto, &webhook, &controller).await;
    let dir = tempfile::tempdir().expect("a directory");
    let queue = |name: &str| outputs["queues"][name].as_str().expect("a queue").to_owned();
    let world = World {
        cluster: CLUSTER.into(),
        jobs: queue("jobs"),
        dead_letters: queue("deadLetters"),
        ec2_events: queue("ec2Events"),
        bucket: outputs["bucket"].as_str().expect("a bucket").to_owned(),
        subnets: vec![subnet],
    };
    let instances = Instances::start(&moto, &github, &world, Habits::default()).await;
    let mut tasks = [("controller", &controller), ("webhook", &webhook)]
        .map(|(name, session)| Task::start(&moto, &container(&state, name), session, name, dir.path()));
    tasks[0].hears("muster runs").await;
    tasks[1].hears("listening for webhooks").await;
    github.send_webhooks_to(&format!("http://127.0.0.1:{port}/webhook"), WEBHOOK_SECRET);

    // A job from its webhook to zero.
    github.queue_job(REPO, &["self-hosted", "linux"]);
    eventually(secs(60), "the job is completed", || async {
        same(github.jobs().iter().filter(|job| job.status == "completed").count(), 1)
    })
    .await;
    eventually(secs(60), "nothing is left of the job", || async {
        let seen = moto.snapshot().await;
        let secrets: Vec<String> = seen.parameters.into_iter().filter(|name| name.contains("/runners/")).collect();
        let alive: Vec<String> =
            seen.instances.into_iter().filter(|instance| instance.alive()).map(|instance| instance.id).collect();
        let registered: Vec<String> = github.runners().into_iter().map(|runner| runner.name).collect();
        same((alive, registered, secrets, seen.queues[&format!("{CLUSTER}-jobs")]), (vec![], vec![], vec![], Depth::default()))
    })
    .await;
    assert_eq!(instances.stories().values().map(|story| story.jobs.len()).collect::<Vec<_>>(), [1]);
    let by_roles = moto.calls_by(&controller.key).await.len() + moto.calls_by(&webhook.key).await.len();
    assert!(by_roles > 10, "the roles' sessions made more than ten calls, not {by_roles}");
    for task in &tasks {
        assert!(!task.said().contains("not authorized"), "a role lacks a right:\n{}", task.said());
    }
    drop(tasks);

    let said = terraform.run(FOLDER, &["destroy", "-auto-approve"]).good("the destroy");
    assert!(
        said.contains(&format!("{planned} destroyed")),
        "{planned} were made, but: {}",
        said.lines().last().unwrap_or_default()
    );
    assert_eq!(left(&moto), before, "only what there was before is left");
}

/// Checks that a second plan changes nothing, except for what moto forgets or writes differently.
fn settled(terraform: &Terraform) {
    let plan = terraform.plan(FOLDER);
    for change in plan["resource_changes"]
        .as_array()
        .expect("changes")
        .iter()
        .filter(|c| c["change"]["actions"][0] != "no-op" && c["mode"] == "managed")
    {
        let address = change["address"].as_str().unwrap_or_default();
        assert_eq!(change["change"]["actions"], serde_json::json!(["update"]), "{address}");
        let forgotten = [
            (".aws_ecs_service.", &["availability_zone_rebalancing", "enable_ecs_managed_tags"][..]),
            (".aws_vpc_security_group_", &["description"]),
            (".aws_launch_template.", &["tag_specifications", "default_version", "latest_version"]),
            (".aws_sqs_queue.", &["redrive_policy"]), // spaces
        ];
        let known = forgotten.iter().find(|(kind, _)| address.contains(kind)).unwrap_or_else(|| panic!("{address} would change"));
        let (was, will) = (&change["change"]["before"], &change["change"]["after"]);
        for (field, value) in was.as_object().expect("fields") {
            let same = &will[field] == value || change["change"]["after_unknown"][field] == true;
            assert!(same || known.1.contains(&field.as_str()), "{address}: {field} would change from {value} to {}", will[field]);
        }
    }
}

/// Checks that the policies are enforced, so that a run without a refusal means something.
async fn the_roles_are_narrow(moto: &Moto, webhook: &Session, controller: &Session) {
    let key = format!("/muster/{CLUSTER}/github-app/main/private-key");
    let read = |client: aws_sdk_ssm::Client, name: String| async move { client.get_parameter().name(name).send().await };
    assert!(read(controller.ssm(moto).await, key.clone()).await.is_ok(), "the controller reads the App's key");
    let refused = read(webhook.ssm(moto).await, key).await.expect_err("the webhook's role may not read it");
    assert!(format!("{refused:?}").contains("not authorized to perform: ssm:GetParameter"), "{refused:?}");
    let elsewhere =
        read(controller.ssm(moto).await, "/other/secret".into()).await.expect_err("the parameter is not the controller's own");
    assert!(format!("{elsewhere:?}").contains("not authorized"), "{elsewhere:?}");
}
