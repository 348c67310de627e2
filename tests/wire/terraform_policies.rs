//! Least privilege: the policies that Terraform renders allow exactly the calls that the adapters, `muster doctor` and the
//! boot scripts make. Both sides are derived, so the test fails when either changes alone. Conditions are asserted word by
//! word here, and evaluated in iam.rs. e2e_terraform.rs shows that muster runs with these roles.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::moto::Moto;
use support::terraform::{Terraform, resources};

const SERVICES: [&str; 7] = ["ec2", "pricing", "s3", "servicequotas", "sqs", "ssm", "sts"];
const ACCOUNT: &str = "eu-west-1:123456789012";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn sources(dir: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).expect("sources").flatten() {
        let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            sources(&path, found);
        } else if path.ends_with(".rs") {
            found.insert(path.clone(), read(&path));
        }
    }
}

/// The calls that the sources of a directory make. Each call names itself to the observer, as `"ec2.CreateFleet"`.
fn calls(folder: &str, at_least: usize) -> BTreeSet<String> {
    let mut found = BTreeMap::new();
    sources(folder, &mut found);
    let quoted = found.values().flat_map(|text| text.split('"').skip(1).step_by(2));
    let calls = quoted.filter(|word| {
        SERVICES.iter().any(|s| word.strip_prefix(s).is_some_and(|rest| rest.starts_with('.'))) && word.split('.').count() == 2
    });
    let calls: BTreeSet<String> =
        calls.filter(|word| word.ends_with(|c: char| c.is_ascii_alphanumeric())).map(str::to_owned).collect();
    // Every call goes through the probe, which takes the name.
    let sent: usize =
        found.values().map(|text| text.split("#[cfg(test)]").next().unwrap_or(text).matches(".send()").count()).sum();
    assert!(calls.len() >= at_least && sent >= calls.len(), "{calls:?}");
    calls
}

/// The actions that a call needs, which is mostly its own.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
fn actions(call: &str) -> Vec<String> {
    let needed: &[&str] = match call {
        "ec2.CreateFleet" => &["ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"],
        "ssm.PutParameter" => &["ssm:PutParameter", "ssm:AddTagsToResource"],
        "s3.HeadObject" => &["s3:GetObject"],
        "s3.ListObjectsV2" => &["s3:ListBucket"],
        "s3.ListMultipartUploads" => &["s3:ListBucketMultipartUploads"],
        "s3.CreateMultipartUpload" | "s3.UploadPart" | "s3.CompleteMultipartUpload" => &["s3:PutObject"],
        // This call needs no permission.
        "sts.GetCallerIdentity" => &[],
        "s3.CopyObject" => &["s3:GetObject", "s3:PutObject"],
        _ => return vec![call.trim_end_matches("Batch").replacen('.', ":", 1)],
    };
    needed.iter().map(|&action| action.to_owned()).collect()
}

/// A value that may be one text or a list, as IAM allows it.
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(many) => many.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect(),
        one => one.as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// The statements that allow; the others, which deny, are apart.
struct Policy(Vec<Value>, Vec<Value>);

impl Policy {
    fn of(text: &Value) -> Policy {
        let policy: Value = serde_json::from_str(text.as_str().expect("a policy that is known at plan")).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements").clone();
        let (statements, denied): (Vec<_>, Vec<_>) = statements.into_iter().partition(|s| s["Effect"] != "Deny");
        assert!(statements.iter().all(|s| s["Effect"] == "Allow" && s["NotAction"].is_null() && s["NotResource"].is_null()));
        assert!(!list_all(&statements).iter().any(|action| action.contains('*')), "a wildcard action");
        Policy(statements, denied)
    }

    fn actions(&self) -> BTreeSet<String> {
        list_all(&self.0).into_iter().collect()
    }

    /// The resources and the condition of every statement that allows the action.
    fn of_action(&self, action: &str) -> Vec<(Vec<String>, Value)> {
        let allows = self.0.iter().filter(|s| list(&s["Action"]).iter().any(|a| a == action));
        allows.map(|s| (list(&s["Resource"]), s["Condition"].clone())).collect()
    }
}

fn list_all(statements: &[Value]) -> Vec<String> {
    statements.iter().flat_map(|s| list(&s["Action"])).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The rendered policies by role, and everything else that the plan makes.
fn rendered(terraform: &Terraform, subnet: &str, pre_install: &str) -> (BTreeMap<String, Policy>, BTreeMap<String, Value>) {
    let call = format!(
        "module \"muster\" {{\n  source = \"../terraform\"\n  cluster = \"prod\"\n  manifests = \"${{path.module}}/manifests\"\n  \
         controller = {{ subnet_ids = [\"{subnet}\"], image = \"registry.example/muster:1\" }}\n  create_kms_key = false\n}}\noutput \"policies\" {{ value = module.muster.policies }}\n"
    );
    terraform.write("stage/main.tf", &call);
    let app = "apiVersion: muster/v1\nkind: GitHubApp\nmetadata: {name: main}\nspec:\n  appId: 1\n  privateKey: ssm:/muster/prod/key\n  webhookSecrets: [ssm:/muster/prod/secret]\n";
    terraform.write("stage/manifests/app.yaml", app);
    let controller = "apiVersion: muster/v1\nkind: Controller\nmetadata: {name: prod}\nspec:\n  queues: {jobs: 'https://sqs.eu-west-1.amazonaws.com/123456789012/prod-jobs'}\n  listen: {adminToken: 'ssm:/muster/prod/admin-token'}\n";
    terraform.write("stage/manifests/controller.yaml", controller);
    let mut pool = json!({
        "apiVersion": "muster/v1", "kind": "RunnerPool", "metadata": { "name": "linux" },
        "spec": {
            "github": { "app": "main", "scope": "org/acme" }, "labels": ["linux"],
            "instance": { "types": ["m7i.large"], "subnets": [subnet] },
            "runner": { "maxLifetime": "12h", "bootDeadline": "90s" },
            "bootstrap": { "version": "2.330.0", "user": "builder", "workDirectory": "/mnt/a b", "reportStages": true, "dockerGroup": false, "allowUnverified": true, "preInstall": pre_install, "proxy": { "none": [".a", ".b"] }, "hooks": { "jobStarted": "/opt/a b.sh" } },
        },
    });
    terraform.write("stage/manifests/pool.yaml", &pool.to_string());
    (pool["metadata"]["name"], pool["spec"]["labels"], pool["spec"]["bootstrap"]) = ("plain".into(), json!(["plain"]), json!({}));
    terraform.write("stage/manifests/plain.yaml", &pool.to_string());
    terraform.init("stage");
    let plan = terraform.plan("stage");
    let policies = plan["planned_values"]["outputs"]["policies"]["value"].as_object().expect("known at plan").clone();
    (policies.iter().map(|(role, text)| (role.clone(), Policy::of(text))).collect(), resources(&plan))
}

#[tokio::test]
async fn each_policy_lists_exactly_the_calls_that_are_made() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let seen = moto.ec2.describe_subnets().send().await.expect("moto lists its subnets");
    let subnet = seen.subnets()[0].subnet_id().expect("an id").to_owned();
    let nasty = "echo 'one' \"two\" $HOME `x` \\\\ %s\necho \"it's\"\n";
    let (policies, made) = tokio::task::spawn_blocking(move || rendered(&terraform, &subnet, nasty)).await.expect("no panic");

    let (calls, of_doctor) = (calls("cloud/src/aws", 20), calls("cloud/src/doctor", 9));
    let needed = |of: &[&str]| -> BTreeSet<String> {
        assert!(of.iter().all(|call| calls.contains(*call)), "{of:?} are not all calls any more: {calls:?}");
        of.iter().flat_map(|call| actions(call)).collect()
    };
    let all: BTreeSet<String> = calls.iter().flat_map(|call| actions(call)).collect();
    assert_eq!(policies["controller"].actions(), all, "the controller's role");
    let reading = ["s3.GetObject", "s3.ListObjectsV2", "ssm.GetParameter"];
    assert_eq!(policies["webhook"].actions(), needed(&[&reading[..], &["sqs.SendMessageBatch"]].concat()), "the webhook's role");
    let looking = [
        "ec2.DescribeInstances",
        "ec2.DescribeSubnets",
        "ssm.DescribeParameters",
        "ssm.GetParametersByPath",
        "sqs.GetQueueAttributes",
    ];
    // The controller's role has nothing of what only doctor calls, apart from doctor's dry runs of the controller's own
    // actions.
    let only_doctor: BTreeSet<String> =
        of_doctor.difference(&calls).flat_map(|call| actions(call)).filter(|action| !all.contains(action)).collect();
    assert!(
        only_doctor.iter().all(|action| action.contains(":Describe") || action.contains(":Get")),
        "it looks: {only_doctor:?}"
    );
    let manifests = ["s3.GetObject", "s3.ListObjectsV2"];
    let operator = needed(&[&manifests[..], &looking].concat()).into_iter().chain(only_doctor).collect();
    assert_eq!(policies["operator"].actions(), operator, "the operator's policy");
    assert_eq!(policies["doctor"].actions(), needed(&["ssm.GetParameter"]), "what doctor and plan need beside it");
    assert_eq!(policies["runner linux"].actions(), of_scripts(), "an instance's role");
    let untold: BTreeSet<String> = of_scripts().into_iter().filter(|action| action != "ec2:CreateTags").collect();
    assert_eq!(policies["runner plain"].actions(), untold, "without bootstrap.reportStages");
    // The attached policies are the ones in the outputs.
    for (address, role) in [
        ("module.controller.aws_iam_role_policy.this[\"controller\"]", "controller"),
        ("module.controller.aws_iam_role_policy.this[\"webhook\"]", "webhook"),
        ("module.pool[\"linux\"].aws_iam_role_policy.this", "runner linux"),
        ("module.controller.aws_iam_policy.this[\"operator\"]", "operator"),
        ("module.controller.aws_iam_policy.this[\"doctor\"]", "doctor"),
    ] {
        let attached = Policy::of(&made[&format!("module.muster.{address}")]["policy"]);
        assert_eq!((attached.0, attached.1), (policies[role].0.clone(), policies[role].1.clone()), "{role}");
    }

    conditions(&policies["controller"]);
    secrets(&policies, &made);
    an_instance_has_only_itself(&policies["runner linux"]);
    user_data(&made, nasty);
}

/// The calls of the boot scripts. Both scripts have the same contract.
fn of_scripts() -> BTreeSet<String> {
    let (sh, ps) = (read("terraform/bootstrap/linux.sh"), read("terraform/bootstrap/windows.ps1"));
    let word = |text: &str| -> String { text.chars().take_while(char::is_ascii_alphabetic).collect() };
    let linux = sh
        .match_indices("ssm ")
        .map(|(at, _)| word(&sh[at + 4..]))
        .filter(|w| w.ends_with("Parameter"))
        .map(|w| format!("ssm:{w}"));
    // `FailureAction=` and the like are systemd's.
    let tags = |text: &str| {
        let calls = text.match_indices("Action=").filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_ascii_alphabetic()));
        calls.map(|(at, _)| format!("ec2:{}", word(&text[at + 7..]))).collect::<Vec<_>>()
    };
    let gets = |text: &str, call: &str| text.contains(call).then(|| "s3:GetObject".to_owned());
    let mut linux: BTreeSet<String> = linux.collect();
    linux.extend(tags(&sh).into_iter().chain(gets(&sh, "aws s3 ")));
    let windows = ps.match_indices("Ssm '").map(|(at, _)| format!("ssm:{}", word(&ps[at + 5..])));
    let mut windows: BTreeSet<String> = windows.collect();
    windows.extend(tags(&ps).into_iter().chain(gets(&ps, "Aws 's3'")));
    assert_eq!(linux, windows, "the scripts call the same");
    linux
}

/// Whatever changes something is bound to the cluster's tag, or to the cluster's own path, queue, bucket or role.
fn conditions(controller: &Policy) {
    let ours = json!({ "StringEquals": { "aws:ResourceTag/muster:cluster": "prod" } });
    let instances = vec![format!("arn:aws:ec2:{ACCOUNT}:instance/*")];
    for action in ["ec2:TerminateInstances", "ec2:GetConsoleOutput"] {
        assert_eq!(controller.of_action(action), [(instances.clone(), ours.clone())], "{action}");
    }
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| format!("arn:aws:ec2:{ACCOUNT}:{kind}/*")).collect::<Vec<_>>();
    let made = kinds(&["fleet", "instance", "volume"]);
    let asked = json!({ "StringEquals": { "aws:RequestTag/muster:cluster": "prod" } });
    for action in ["ec2:CreateFleet", "ec2:RunInstances"] {
        let allowed = controller.of_action(action);
        assert_eq!(allowed[0], (made.clone(), asked.clone()), "{action}: what the call makes must have the tag");
        assert_eq!(allowed[1], (kinds(&["launch-template"]), ours.clone()), "{action}: from our templates");
        assert!(
            allowed[2].1.is_null()
                && allowed[2]
                    .0
                    .iter()
                    .all(|r| !r.contains(":instance/") && !r.contains(":volume/") && !r.ends_with(":*") && r != "*")
        );
        assert!(allowed[2].0[0].contains(":subnet/subnet-"), "in the pools' subnets: {:?}", allowed[2].0);
        assert_eq!(allowed.len(), 3);
    }
    let on_launch = json!({ "StringEquals": { "aws:RequestTag/muster:cluster": "prod", "ec2:CreateAction": ["CreateFleet", "RunInstances"] } });
    let drain = json!({ "StringEquals": { "aws:ResourceTag/muster:cluster": "prod" }, "ForAllValues:StringEquals": { "aws:TagKeys": ["muster:drain"] }, "Null": { "aws:TagKeys": "false" } });
    assert_eq!(controller.of_action("ec2:CreateTags"), [(made, on_launch), (instances, drain)]);
    assert_eq!(
        controller.of_action("iam:PassRole"),
        [(
            ["linux", "plain"].map(|pool| format!("arn:aws:iam::123456789012:role/prod-{pool}-runner")).into(),
            json!({ "StringEquals": { "iam:PassedToService": ["ec2.amazonaws.com"] } })
        )]
    );
    let secrets = (vec![format!("arn:aws:ssm:{ACCOUNT}:parameter/muster/prod/runners/*")], Value::Null);
    let paused = ["paused", "paused/*"].map(|part| format!("arn:aws:ssm:{ACCOUNT}:parameter/muster/prod/{part}"));
    let paused = (paused.to_vec(), Value::Null);
    for action in ["ssm:PutParameter", "ssm:DeleteParameters"] {
        assert_eq!(controller.of_action(action), [secrets.clone(), paused.clone()], "{action}");
    }
    assert_eq!(controller.of_action("ssm:AddTagsToResource"), [secrets]);
    assert_eq!(controller.of_action("ssm:GetParametersByPath"), [paused]);
    for action in ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"] {
        assert_eq!(controller.of_action(action)[0].0, ["arn:aws:s3:::prod-muster-123456789012-eu-west-1/runners/*"], "{action}");
    }
    let everywhere: BTreeSet<String> =
        controller.0.iter().filter(|s| list(&s["Resource"]).contains(&"*".into())).flat_map(|s| list(&s["Action"])).collect();
    let looks = [
        "ec2:DescribeInstances",
        "ec2:DescribeSpotPriceHistory",
        "ec2:DescribeSubnets",
        "pricing:GetProducts",
        "ssm:DescribeParameters",
    ];
    assert_eq!(everywhere, set(&looks), "only what AWS knows no resources for");
}

/// Each role reads the secrets that it needs, and Terraform makes their parameters.
fn secrets(policies: &BTreeMap<String, Policy>, made: &BTreeMap<String, Value>) {
    let readable = |role: &str| -> BTreeSet<String> {
        policies[role].of_action("ssm:GetParameter").into_iter().flat_map(|(resources, _)| resources).collect()
    };
    let names = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| format!("arn:aws:ssm:{ACCOUNT}:parameter/muster/prod/{name}")).collect()
    };
    assert_eq!(readable("controller"), names(&["admin-token", "key", "secret"]));
    assert_eq!(readable("webhook"), names(&["secret"]), "the webhook takes no orders, so it needs no token");
    assert_eq!(readable("operator"), names(&[]), "who only looks reads no secret");
    assert_eq!(readable("doctor"), names(&["key", "secret"]), "doctor gives no orders, so it needs no token");
    let parameter = made.get("module.muster.module.storage.aws_ssm_parameter.secret[\"/muster/prod/admin-token\"]");
    assert!(parameter.is_some(), "no parameter waits for the token");
}

fn an_instance_has_only_itself(runner: &Policy) {
    let secret = json!({ "StringEquals": { "ssm:resourceTag/muster:instance-arn": "${ec2:SourceInstanceARN}" } });
    for action in ["ssm:GetParameter", "ssm:DeleteParameter"] {
        assert_eq!(
            runner.of_action(action),
            [(vec![format!("arn:aws:ssm:{ACCOUNT}:parameter/muster/prod/runners/*")], secret.clone())],
            "{action}"
        );
    }
    let itself = json!({
        "ArnEquals": { "ec2:SourceInstanceARN": format!("arn:aws:ec2:{ACCOUNT}:instance/${{ec2:InstanceID}}") },
        "ForAllValues:StringEquals": { "aws:TagKeys": ["muster:stages"] },
        "Null": { "aws:TagKeys": "false" },
    });
    assert_eq!(runner.of_action("ec2:CreateTags"), [(vec![format!("arn:aws:ec2:{ACCOUNT}:instance/*")], itself)]);
    assert_eq!(
        runner.of_action("s3:GetObject"),
        [(vec!["arn:aws:s3:::prod-muster-123456789012-eu-west-1/runners/linux-x64/*".into()], Value::Null)]
    );
}

/// The user data unpacks to a script that a shell can read, with the manifest's exact values in it.
fn user_data(made: &BTreeMap<String, Value>, pre_install: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let sh = |script: String| {
        let output = Command::new("sh")
            .arg("-c")
            .arg(script)
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let packed =
        made["module.muster.module.pool[\"linux\"].aws_launch_template.this"]["user_data"].as_str().expect("known at plan");
    assert!(packed.len() * 3 / 4 <= 16 * 1024);
    fs::write(dir.path().join("packed"), packed).expect("a file");
    let script = sh("base64 -d <packed | gzip -dc >script && sh -n script && cat script".into());
    assert!(script.starts_with("#!/bin/sh\n"), "cloud-init runs what begins so");
    let (settings, body) = script.split_once("\nset -eu\n").expect("settings, then the script");
    fs::write(dir.path().join("settings"), settings).expect("a file");
    let value = |name: &str| sh(format!(". ./settings && printf %s \"$MUSTER_{name}\""));
    assert_eq!(value("PRE_INSTALL"), pre_install);
    for (name, wanted) in [
        ("BUCKET", "prod-muster-123456789012-eu-west-1"),
        ("ARCHITECTURE", "x64"),
        ("HOOK_STARTED", "/opt/a b.sh"),
        ("PROXY_NONE", ".a,.b"),
        ("MAX_LIFETIME", "43200"),
        ("BOOT_DEADLINE", "90"),
        ("VERSION", "2.330.0"),
        ("REPORT_STAGES", "yes"),
        ("DOCKER_GROUP", "no"),
        ("ALLOW_UNVERIFIED", "yes"),
        ("USER", "builder"),
        ("WORK", "/mnt/a b"),
    ] {
        assert_eq!(value(name), wanted, "{name}");
    }
    for name in settings.lines().filter_map(|line| line.strip_prefix("MUSTER_")?.split_once('=').map(|(name, _)| name)) {
        assert!(body.contains(&format!("MUSTER_{name}:=")), "linux.sh has no setting MUSTER_{name}");
    }
    let source = read("terraform/bootstrap/linux.sh");
    let bare: Vec<&str> = source.lines().filter(|line| !line.trim_start_matches(' ').starts_with('#')).collect();
    assert!(bare.join("\n").trim_end().ends_with(body.trim_end()), "the script itself, without its comments");
}
