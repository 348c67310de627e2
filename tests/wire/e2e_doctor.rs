//! `muster doctor` as a process, against moto and the double of GitHub. One world is as it should be, and the others are
//! broken.

use crate::support;

use std::net::TcpListener;
use std::path::Path;

use muster_cloud::aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateHttpTokensState, LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceMetadataTagsState, RequestLaunchTemplateData,
    ResourceType, ShutdownBehavior, Tag, TagSpecification,
};
use muster_cloud::aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use support::github::{Double, GitHub};
use support::moto::{Moto, OPERATOR_KEY, REGION, SECRET_ACCESS_KEY, World};
use support::muster::{ADMIN_TOKEN, Muster, Pool, WEBHOOK_SECRET};
use support::scene::{CLUSTER, LABELS, REPO, linux};
use support::tools::DeadPort;
use support::{eventually, secs};

/// Everything that doctor looks at, as it should be.
struct Stage {
    muster: Muster,
    moto: Moto,
    world: World,
    github: GitHub,
}

impl Stage {
    async fn set() -> Option<Stage> {
        let moto = Moto::start().await?;
        let world = moto.create_world(CLUSTER, &[]).await;
        good_cloud(&moto, &world).await;
        launch_an_instance(&moto).await;
        let github = GitHub::start().await;
        let muster = Muster::prepare(&moto, &github, &world, &[linux()]);
        delivered(&github).await;
        Some(Stage { muster, moto, world, github })
    }

    /// The exit code, and what was printed. No secret may be in it.
    async fn doctor(&self, more: &[&str]) -> (i32, String) {
        let manifests = self.muster.manifests().display().to_string();
        let (code, out, err) = self.muster.command(&[&["doctor", "--manifests", &manifests][..], more].concat()).await;
        let all = format!("{out}{err}");
        let mut secrets = self.github.secrets();
        secrets.extend([WEBHOOK_SECRET, ADMIN_TOKEN, SECRET_ACCESS_KEY].map(str::to_owned));
        assert!(!secrets.iter().any(|secret| all.contains(secret.as_str())), "a secret was printed:\n{all}");
        (code, all)
    }

    /// The lines that are not ok. Each of them says what to do.
    async fn complaints(&self) -> (i32, Vec<String>) {
        let (code, said) = self.doctor(&[]).await;
        assert!(said.contains("nothing was changed"), "doctor came to its end:\n{said}");
        let bad = said.lines().filter(|l| l.starts_with("warning") || l.starts_with("failed") || l.starts_with("not checked"));
        let bad: Vec<String> = bad.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(bad.iter().all(|line| line.contains(" -> ")), "{said}");
        (code, bad.into_iter().filter(|line| !line.starts_with("not checked other permissions")).collect())
    }
}

/// Checks that there are exactly these complaints. Each is given by its beginning and by a word of it.
fn assert_complaints(found: &(i32, Vec<String>), wanted: &[(&str, &str)]) {
    let (code, lines) = found;
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, (start, word)) in lines.iter().zip(wanted) {
        assert!(line.starts_with(start) && line.contains(word), "{line}\nis not: {start} ... {word}");
    }
    let failed = wanted.iter().any(|(start, _)| start.starts_with("failed"));
    assert_eq!(*code, i32::from(failed), "{lines:#?}");
}

/// Makes what `muster doctor` demands of AWS for the pool `linux`.
pub(crate) async fn good_cloud(moto: &Moto, world: &World) {
    good_template(moto, &format!("{CLUSTER}-linux")).await;
    let policy = json!({
        "deadLetterTargetArn": format!("arn:aws:sqs:{REGION}:123456789012:{CLUSTER}-dead-letters"), "maxReceiveCount": 10,
    });
    let change = moto.sqs.set_queue_attributes().queue_url(&world.ec2_events);
    change.attributes(QueueAttributeName::RedrivePolicy, policy.to_string()).send().await.expect("moto takes a policy");
    for key in ["runners/linux-x64/latest.tar.gz", "runners/linux-x64/2.338.1.tar.gz"] {
        let object = moto.s3.put_object().bucket(&world.bucket).key(key);
        object.body(b"x".to_vec().into()).send().await.expect("moto stores an object");
    }
}

async fn good_template(moto: &Moto, name: &str) {
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .instance_metadata_tags(LaunchTemplateInstanceMetadataTagsState::Enabled)
        .build();
    let profile = LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(format!("{name}-runner")).build();
    let data = RequestLaunchTemplateData::builder()
        .image_id("ami-12c6146b")
        .metadata_options(metadata)
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .iam_instance_profile(profile)
        .build();
    let tag = Tag::builder().key("muster:cluster").value(CLUSTER).build();
    let tags = TagSpecification::builder().resource_type(ResourceType::LaunchTemplate).tags(tag).build();
    // The world may have a template with this name, which has less than a real one.
    moto.ec2.delete_launch_template().launch_template_name(name).send().await.ok();
    let call = moto.ec2.create_launch_template().launch_template_name(name).launch_template_data(data).tag_specifications(tags);
    call.send().await.expect("moto makes a launch template");
}

async fn launch_an_instance(moto: &Moto) {
    let tag = Tag::builder().key("muster:cluster").value(CLUSTER).build();
    let tags = TagSpecification::builder().resource_type(ResourceType::Instance).tags(tag).build();
    let call = moto.ec2.run_instances().image_id("ami-12c6146b").instance_type(InstanceType::from("m7i.large"));
    call.min_count(1).max_count(1).tag_specifications(tags).send().await.expect("moto launches");
}

/// Has GitHub deliver a webhook that is answered.
async fn delivered(github: &Double) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/webhook", listener.local_addr().expect("bound"));
    tokio::spawn(warp::serve(warp::Filter::map(warp::any(), || "taken")).incoming(listener).run());
    github.send_webhooks_to(&url, WEBHOOK_SECRET);
    github.queue_job(REPO, &LABELS);
    eventually(secs(10), "GitHub's webhook is answered", || async {
        if github.sent().iter().any(|sent| sent.status == 200) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

/// Replaces what differs from run to run by words.
fn normalized(stage: &Stage, said: &str) -> String {
    let mut text = said.replace(stage.moto.url(), "AWS").replace(&stage.github.url(), "GITHUB");
    for sent in stage.github.sent() {
        let at = chrono::DateTime::from_timestamp_millis(i64::try_from(sent.at_ms).expect("a time")).expect("a time");
        text = text.replace(&at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), "WHEN");
    }
    // The columns are as wide as their widest line, and a port has four or five digits.
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[tokio::test]
async fn where_all_is_well_it_says_so_and_changes_nothing() {
    let Some(stage) = Stage::set().await else { return };
    let (instances, snapshot) = (stage.moto.instances().await.len(), stage.moto.snapshot().await);
    let (code, said) = stage.doctor(&[]).await;
    assert_eq!(code, 0, "{said}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cli/doctor.txt");
    let printed = normalized(&stage, &said);
    if std::env::var_os("MUSTER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &printed).expect("it can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(printed, kept, "write it anew with MUSTER_WRITE_GOLDEN=1 if that is meant");

    let (code, said) = stage.doctor(&["-o", "json"]).await;
    let json: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &json["failed"], &json["warnings"]), (0, &json!(0), &json!(0)), "{json:#}");
    let verdicts: Vec<&Value> = json["checks"].as_array().expect("checks").iter().map(|check| &check["verdict"]).collect();
    assert!(verdicts.len() > 20 && verdicts.contains(&&json!("not-checked")), "{json:#}");

    let now = stage.moto.snapshot().await;
    assert_eq!(
        (stage.moto.instances().await.len(), now.queues, now.parameters),
        (instances, snapshot.queues, snapshot.parameters)
    );
    let tags: Vec<_> = now.instances.iter().flat_map(|instance| instance.tags.keys()).collect();
    assert_eq!(tags, ["muster:cluster"], "the dry run of a drain leaves no tag");
    let looked = stage.moto.calls_by(OPERATOR_KEY).await;
    assert!(looked.len() > 10, "{looked:?}");
    for write in ["PutParameter", "DeleteParameters", "SendMessageBatch", "SendMessage", "ReceiveMessage", "PUT object"] {
        assert!(looked.iter().all(|call| call.op != write), "{write}");
    }
    let asked = stage.github.calls();
    assert!(asked.keys().all(|route| route.starts_with("GET ") || route.ends_with("/access_tokens")), "{asked:?}");
}

#[tokio::test]
async fn a_broken_cloud_is_told_part_by_part() {
    let Some(stage) = Stage::set().await else { return };
    let Stage { moto, world, .. } = &stage;
    // The pools have a handmade template without what Terraform puts into it, no template at all, and a template for
    // another processor.
    moto.create_template(&format!("{CLUSTER}-bare")).await;
    good_template(moto, &format!("{CLUSTER}-arm")).await;
    let arm = Pool::new("arm", &["arm"]).set("instance.architecture", "arm64").set("instance.types", "[m7g.large]");
    for pool in [arm, Pool::new("bare", &["bare"]), Pool::new("gone", &["gone"])] {
        stage.muster.write_pool(&pool);
    }
    moto.sqs.delete_queue().queue_url(&world.jobs).send().await.expect("moto deletes a queue");
    let none = moto.sqs.set_queue_attributes().queue_url(&world.ec2_events).attributes(QueueAttributeName::RedrivePolicy, "");
    none.send().await.expect("moto takes the policy away");
    moto.send(&world.dead_letters, "rubbish").await;
    let quota = json!({ "Quota": { "QuotaCode": "L-34B43A08", "Value": 64.0 } }).to_string();
    moto.fault(json!({ "op": "GetServiceQuota", "kind": "absent", "status": 200, "body": quota, "times": -1,
        "content_type": "application/x-amz-json-1.1", "match": "L-34B43A08" }))
        .await;
    let found = stage.complaints().await;
    assert_complaints(
        &found,
        &[
            ("failed queue jobs", "terraform apply"),
            ("warning queue deadLetters", "holds 1 message, which nobody could read"),
            ("warning queue ec2Events", "has no dead-letter queue"),
            ("warning runner linux-arm64 latest", "muster sync"),
            ("failed image arm", "is x86_64, the pool is arm64"),
            ("warning launch template bare", "http_tokens to required; set metadata_options.http_put_response_hop_limit to 1"),
            ("failed launch template gone", "there is no launch template c1-gone"),
            ("not checked permission to launch gone", "launch template first"),
            ("warning quota of spot vCPUs, standard", "64, but the pools may need 800"),
            ("warning quota of on-demand vCPUs, standard", "640, but the pools may need 800"),
        ],
    );
    // No failure keeps doctor from the other checks. So the bucket goes, too.
    for key in ["runners/linux-x64/latest.tar.gz", "runners/linux-x64/2.338.1.tar.gz"] {
        moto.s3.delete_object().bucket(&world.bucket).key(key).send().await.expect("deleted");
    }
    moto.s3.delete_bucket().bucket(&world.bucket).send().await.expect("deleted");
    let (code, lines) = stage.complaints().await;
    assert!(code == 1 && lines.iter().any(|line| line.starts_with("failed bucket there is no bucket c1-muster-")), "{lines:#?}");
}

#[tokio::test]
async fn a_broken_app_is_told_with_what_to_grant() {
    let Some(stage) = Stage::set().await else { return };
    let github = &stage.github;
    github.change_group("org/acme", "Default", |group| group.public = true);
    stage.muster.write_pool(&linux().set("github.repositories", format!("[{REPO}]")));
    assert_complaints(
        &stage.complaints().await,
        &[(
            "failed runner group Default of org/acme pool linux: its runner group Default admits every repository of org/acme",
            "public repositories",
        )],
    );
    stage.muster.write_pool(&linux());
    github.app(|app| {
        app.permissions = json!({ "organization_self_hosted_runners": "read", "actions": "read" });
        app.granted = json!({ "actions": "read" });
        app.events = vec!["push"];
        app.hook = None;
    });
    github.remove_group("org/acme", "Default");
    github.set_limit(100, 3600);
    assert_complaints(
        &stage.complaints().await,
        &[
            ("failed App main it lacks the organization permission Self-hosted runners", "Workflow job"),
            ("failed webhook of App main", "nobody tells muster of jobs"),
            ("failed installation on org/acme its account has not granted", "accepts the App's new permissions"),
            ("failed runner group Default of org/acme", "spec.github.runnerGroup"),
            ("warning requests left for org/acme", "who else uses the App"),
        ],
    );
    github.app(|app| *app = support::github::App { suspended: true, ..Default::default() });
    github.app(|app| {
        app.hook = Some(json!({ "url": "http://ci.example.com/webhook", "content_type": "form", "insecure_ssl": "1" }))
    });
    assert_complaints(
        &stage.complaints().await,
        &[
            ("warning webhook of App main http://ci.example.com/webhook is not https", "verification"),
            ("failed installation on org/acme it is suspended", "unsuspend"),
        ],
    );
    // The App is not installed where a pool registers, and the last webhook was refused.
    github.app(|app| *app = Default::default());
    stage.muster.write_pool(&linux().scope("org/other"));
    let closed = DeadPort::bind();
    github.send_webhooks_to(&format!("http://{}/webhook", closed.address()), WEBHOOK_SECRET);
    github.queue_job(REPO, &LABELS);
    eventually(secs(10), "GitHub's webhook is refused", || async {
        if github.sent().iter().any(|sent| sent.status == 0) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_complaints(
        &stage.complaints().await,
        &[("failed webhook deliveries of App main", "from the internet"), ("failed installation on org/other", "org/other")],
    );
    stage.muster.write_pool(&linux());
    // First the App's key is an old one, and then the file holds no key at all.
    let pem = github.replace_key();
    let found = stage.complaints().await;
    let start = "failed App main";
    assert!(found.0 == 1 && found.1.iter().any(|l| l.starts_with(start) && l.contains("spec.privateKey")), "{found:#?}");
    stage.muster.write("app.pem", &pem[..200]);
    let found = stage.complaints().await;
    let start = "failed private key of App main read the private key";
    assert!(found.0 == 1 && found.1.iter().any(|line| line.starts_with(start)), "{found:#?}");
    assert!(found.1.iter().any(|line| line.starts_with("not checked App main")), "{found:#?}");
}

/// Runs that are ordered and commits that are told need permissions that others do not.
#[tokio::test]
async fn an_app_that_may_not_rerun_or_tell_is_told_what_to_grant_and_why() {
    let Some(stage) = Stage::set().await else { return };
    stage.muster.write_pool(&linux().set("rerun.causes", "[interruption]"));
    assert_complaints(
        &stage.complaints().await,
        &[
            (
                "failed App main it lacks the repository permission Actions: read and write, because a pool has rerun.causes",
                "grant it",
            ),
            ("failed installation on org/acme its account has not granted", "Actions: read and write"),
        ],
    );
    stage.muster.write_pool(&linux().set("startWithin", "[{after: 10m, do: tell}]"));
    assert_complaints(
        &stage.complaints().await,
        &[
            ("failed App main it lacks the repository permission Commit statuses: read and write", "`tell`"),
            ("failed installation on org/acme its account has not granted", "Commit statuses: read and write"),
        ],
    );
    stage.github.app(|app| {
        app.permissions["statuses"] = json!("write");
        app.granted["statuses"] = json!("write");
    });
    assert_complaints(&stage.complaints().await, &[]);
}

#[tokio::test]
async fn what_iam_refuses_is_named_and_what_only_doctor_needs_is_not_held_against_it() {
    let Some(mut stage) = Stage::set().await else { return };
    // The controller's permissions as terraform/ has them, without RunInstances.
    let actions = [
        "ec2:CreateFleet",
        "ec2:CreateTags",
        "ec2:DescribeInstances",
        "ec2:TerminateInstances",
        "iam:PassRole",
        "sqs:*",
        "ssm:*",
        "s3:*",
    ];
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }] });
    session(&mut stage, &policy).await;
    let found = stage.complaints().await;
    assert_complaints(
        &found,
        &[
            ("not checked launch template linux", "allow ec2:DescribeLaunchTemplateVersions"),
            ("failed permission to launch linux ec2:CreateFleet is refused", "ec2:RunInstances"),
            ("not checked instance types", "allow ec2:DescribeInstanceTypes"),
        ],
    );
}

/// Turns the command's credentials into a session of a role with this policy.
async fn session(stage: &mut Stage, policy: &Value) {
    let trust = json!({ "Version": "2012-10-17", "Statement": [] }).to_string();
    let policy = policy.to_string();
    let moto = &stage.moto;
    let made = [("Action", "CreateRole"), ("Version", "2010-05-08"), ("RoleName", "part"), ("AssumeRolePolicyDocument", &trust)];
    moto.query("iam", &made).await;
    let put = [
        ("Action", "PutRolePolicy"),
        ("Version", "2010-05-08"),
        ("RoleName", "part"),
        ("PolicyName", "muster"),
        ("PolicyDocument", &policy),
    ];
    moto.query("iam", &put).await;
    let arn = "arn:aws:iam::123456789012:role/part";
    let form = [("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", arn), ("RoleSessionName", "doctor")];
    let answer = moto.query("sts", &form).await;
    let field = |name: &str| -> String {
        let found = answer.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
        found.unwrap_or_else(|| panic!("no {name} in {answer}")).0.trim().to_owned()
    };
    for (variable, name) in [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ] {
        stage.muster.set_env(variable, &field(name));
    }
}

#[tokio::test]
async fn an_aws_that_does_not_answer_is_told_in_time() {
    let Some(mut stage) = Stage::set().await else { return };
    // At one address nobody listens. At the other, somebody accepts the connection and never answers.
    let closed = DeadPort::bind();
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    for (address, word) in [(closed.address(), "was not reached"), (mute.local_addr().expect("bound"), "no answer within 10 s")] {
        stage.muster.set_env("AWS_ENDPOINT_URL", &format!("http://{address}"));
        let (code, lines) = stage.complaints().await;
        let is =
            |start: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(word) && line.contains("endpoint"));
        assert!(code == 1, "{lines:#?}");
        for check in ["credentials", "queue jobs", "bucket", "launch template linux"] {
            assert!(is(&format!("failed {check} ")), "{check}: {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("App main")), "doctor must still ask GitHub: {lines:#?}");
    }
}

#[tokio::test]
async fn manifests_that_cannot_be_read_have_an_exit_code_of_their_own() {
    let Some(stage) = Stage::set().await else { return };
    let (code, out, said) = stage.muster.command(&["doctor", "--manifests", "/nonexistent/manifests"]).await;
    assert!(out.is_empty() && code == 6 && said.contains("/nonexistent/manifests"), "{code}: {said}");
    stage.muster.write("pool-linux.yaml", "apiVersion: muster/v1\nkind: RunnerPool\nmetadata: {name: linux}\nspec:\n  labels:");
    let (code, said) = stage.doctor(&[]).await;
    assert!(code == 6 && said.contains("pool-linux.yaml:5: spec.labels:"), "{code}: {said}");
}
