//! What each role that Terraform renders may do, and what it may not. An evaluator that others wrote (`tests/iam/`)
//! evaluates it by IAM's rules, with the request's context. Every test with a moto checks that all calls of a run are
//! allowed; see `support::iam`.

use muster_cloud::aws_sdk_ec2;
use serde_json::{Value, json};

use crate::support::iam::{NO_EVALUATOR, Policies, Request, refusals};
use crate::support::moto::{MUSTER_KEY, Moto};
use crate::support::tools::skip;

pub(crate) const EC2: &str = "arn:aws:ec2:eu-west-1:123456789012:";
pub(crate) const SSM: &str = "arn:aws:ssm:eu-west-1:123456789012:parameter/muster/c1/";
const SQS: &str = "arn:aws:sqs:eu-west-1:123456789012:";
pub(crate) const S3: &str = "arn:aws:s3:::c1-muster-123456789012-eu-west-1";
const KMS: &str = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555";
/// Two instances of this cluster.
pub(crate) const INSTANCE: &str = "i-0aaaaaaaaaaaaaaaa";
pub(crate) const NEIGHBOUR: &str = "i-0bbbbbbbbbbbbbbbb";

/// One question, and the answer that it must have.
pub(crate) struct Case {
    role: &'static str,
    pub(crate) allowed: bool,
    pub(crate) request: Request,
}

pub(crate) fn case(role: &'static str, allowed: bool, action: &str, resource: String, context: Value) -> Case {
    Case { role, allowed, request: Request { action: action.into(), resource, context } }
}

/// The context of a resource with the tag of this cluster.
pub(crate) fn of(cluster: &str) -> Value {
    json!({ "aws:ResourceTag/muster:cluster": cluster })
}

/// The context of a request that carries tags.
fn tagging(tags: &[(&str, &str)], more: &Value) -> Value {
    let mut context = json!({ "aws:TagKeys": tags.iter().map(|(key, _)| *key).collect::<Vec<_>>() });
    let context_of = context.as_object_mut().expect("an object");
    context_of.extend(tags.iter().map(|(key, value)| (format!("aws:RequestTag/{key}"), json!(value))));
    context_of.extend(more.as_object().expect("an object").clone());
    context
}

/// The context of a call by which a service uses the key for a parameter of the cluster.
fn of_parameter(service: &str, name: &str) -> Value {
    json!({ "kms:ViaService": format!("{service}.eu-west-1.amazonaws.com"), "kms:EncryptionContext:PARAMETER_ARN": format!("{SSM}{name}") })
}

pub(crate) fn instance(id: &str) -> String {
    format!("{EC2}instance/{id}")
}

/// An instance with its own credentials.
fn an_instance() -> Vec<Case> {
    let it = |allowed, action: &str, resource: String, context| case("runner", allowed, action, resource, context);
    let mine = json!({ "ec2:SourceInstanceARN": instance(INSTANCE) });
    let secret = |owner: &str, asks: &str| json!({ "ssm:resourceTag/muster:instance-arn": instance(owner), "ec2:SourceInstanceARN": instance(asks) });
    let stages = |of: &str, keys: &[(&str, &str)]| {
        tagging(
            keys,
            &json!({ "ec2:SourceInstanceARN": instance(INSTANCE), "ec2:InstanceID": of, "aws:ResourceTag/muster:cluster": "c1" }),
        )
    };
    let mut cases = Vec::new();
    for action in ["ssm:GetParameter", "ssm:DeleteParameter"] {
        cases.extend([
            it(true, action, format!("{SSM}runners/{INSTANCE}"), secret(INSTANCE, INSTANCE)),
            it(false, action, format!("{SSM}runners/{NEIGHBOUR}"), secret(NEIGHBOUR, INSTANCE)),
            // The role's credentials are used elsewhere, and a secret has no known owner.
            it(
                false,
                action,
                format!("{SSM}runners/{INSTANCE}"),
                json!({ "ssm:resourceTag/muster:instance-arn": instance(INSTANCE) }),
            ),
            it(false, action, format!("{SSM}runners/{INSTANCE}"), mine.clone()),
            it(false, action, format!("{SSM}key"), mine.clone()),
            // A parameter that is elsewhere is not the instance's own, whatever tags it has.
            it(false, action, format!("{SSM}key"), secret(INSTANCE, INSTANCE)),
            it(false, action, format!("{SSM}admin-token"), secret(INSTANCE, INSTANCE)),
        ]);
    }
    let told = [("muster:stages", "1")];
    cases.extend([
        it(true, "ec2:CreateTags", instance(INSTANCE), stages(INSTANCE, &told)),
        it(false, "ec2:CreateTags", instance(NEIGHBOUR), stages(NEIGHBOUR, &told)),
        it(false, "ec2:CreateTags", instance(INSTANCE), stages(INSTANCE, &[("muster:cluster", "c2")])),
        it(false, "ec2:CreateTags", instance(INSTANCE), stages(INSTANCE, &[("muster:stages", "1"), ("muster:drain", "")])),
        it(
            false,
            "ec2:CreateTags",
            instance(INSTANCE),
            json!({ "ec2:SourceInstanceARN": instance(INSTANCE), "ec2:InstanceID": INSTANCE }),
        ),
        it(false, "ec2:CreateTags", format!("{EC2}volume/vol-0123456789abcdef0"), stages(INSTANCE, &told)),
        it(false, "ec2:CreateTags", instance(INSTANCE).replace("123456789012", "210987654321"), stages(INSTANCE, &told)),
        it(true, "s3:GetObject", format!("{S3}/runners/linux-x64/latest.tar.gz"), mine.clone()),
        it(false, "s3:GetObject", format!("{S3}/runners/windows-x64/latest.zip"), mine.clone()),
        it(false, "s3:GetObject", format!("{S3}/manifests/pool.yaml"), mine.clone()),
        it(false, "s3:PutObject", format!("{S3}/runners/linux-x64/latest.tar.gz"), mine.clone()),
        it(false, "ssm:PutParameter", format!("{SSM}runners/{INSTANCE}"), secret(INSTANCE, INSTANCE)),
        it(false, "ssm:AddTagsToResource", format!("{SSM}runners/{NEIGHBOUR}"), secret(NEIGHBOUR, INSTANCE)),
        it(false, "ec2:TerminateInstances", instance(NEIGHBOUR), of("c1")),
        it(false, "ec2:RunInstances", instance(INSTANCE), tagging(&[("muster:cluster", "c1")], &mine)),
        it(false, "sqs:SendMessage", format!("{SQS}c1-jobs"), mine.clone()),
        it(false, "sqs:ReceiveMessage", format!("{SQS}c1-jobs"), mine.clone()),
        it(true, "kms:Decrypt", KMS.into(), json!({ "kms:ViaService": "s3.eu-west-1.amazonaws.com" })),
        // Its secret is under the key, too. The App's secrets are, and stay shut.
        it(true, "kms:Decrypt", KMS.into(), of_parameter("ssm", &format!("runners/{INSTANCE}"))),
        it(false, "kms:Decrypt", KMS.into(), of_parameter("ssm", "key")),
        it(false, "kms:Decrypt", KMS.into(), of_parameter("ec2", &format!("runners/{INSTANCE}"))),
        it(false, "kms:Decrypt", KMS.replace("1111-2222", "1111-0000"), of_parameter("ssm", &format!("runners/{INSTANCE}"))),
        it(false, "kms:Encrypt", KMS.into(), of_parameter("ssm", &format!("runners/{INSTANCE}"))),
        it(false, "kms:Decrypt", KMS.into(), json!({ "kms:ViaService": "ssm.eu-west-1.amazonaws.com" })),
        it(false, "kms:Decrypt", KMS.into(), mine),
        it(
            false,
            "kms:Decrypt",
            KMS.replace("1111-2222", "1111-0000"),
            json!({ "kms:ViaService": "s3.eu-west-1.amazonaws.com" }),
        ),
        it(false, "kms:GenerateDataKey", KMS.into(), json!({ "kms:ViaService": "s3.eu-west-1.amazonaws.com" })),
    ]);
    cases
}

/// What the controller creates.
fn launches() -> Vec<Case> {
    let it = |allowed, action: &str, resource: String, context| case("controller", allowed, action, resource, context);
    let (ours, theirs) = ([("muster:cluster", "c1"), ("muster:pool", "linux")], [("muster:cluster", "c2")]);
    let none = || json!({});
    let mut cases = Vec::new();
    for (action, kinds) in
        [("ec2:CreateFleet", &["fleet", "instance", "volume"][..]), ("ec2:RunInstances", &["instance", "volume"])]
    {
        for kind in kinds {
            let made = || format!("{EC2}{kind}/{}", if *kind == "instance" { INSTANCE } else { "any-0123456789" });
            cases.extend([
                it(true, action, made(), tagging(&ours, &none())),
                it(false, action, made(), tagging(&theirs, &none())),
                it(false, action, made(), none()),
            ]);
        }
        cases.extend([
            it(true, action, format!("{EC2}launch-template/lt-0123456789abcdef0"), of("c1")),
            it(false, action, format!("{EC2}launch-template/lt-0123456789abcdef0"), of("c2")),
            it(false, action, format!("{EC2}launch-template/lt-0123456789abcdef0"), none()),
            it(true, action, format!("{EC2}subnet/subnet-0aaaaaaaaaaaaaaaa"), none()),
            it(false, action, format!("{EC2}subnet/subnet-0bbbbbbbbbbbbbbbb"), none()),
            it(false, action, format!("{EC2}subnet/subnet-0bbbbbbbbbbbbbbbb"), of("c1")),
            it(true, action, "arn:aws:ec2:eu-west-1::image/ami-0123456789abcdef0".into(), none()),
        ]);
    }
    for kind in ["fleet", "instance", "volume"] {
        let made = || format!("{EC2}{kind}/{}", if kind == "instance" { INSTANCE } else { "any-0123456789" });
        let by = |action: &str| json!({ "ec2:CreateAction": action });
        cases.extend([
            it(true, "ec2:CreateTags", made(), tagging(&ours, &by("CreateFleet"))),
            it(true, "ec2:CreateTags", made(), tagging(&ours, &by("RunInstances"))),
            it(false, "ec2:CreateTags", made(), tagging(&theirs, &by("CreateFleet"))),
            it(false, "ec2:CreateTags", made(), tagging(&ours, &by("CreateVolume"))),
            // Nothing that existed before may become ours.
            it(false, "ec2:CreateTags", made(), tagging(&ours, &of("c2"))),
        ]);
    }
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let to = |service: &str| json!({ "iam:PassedToService": service });
    cases.extend([
        it(
            false,
            "ec2:CreateTags",
            format!("{EC2}network-interface/eni-0123456789abcdef0"),
            tagging(&ours, &json!({ "ec2:CreateAction": "CreateFleet" })),
        ),
        it(false, "ec2:RunInstances", format!("{EC2}placement-group/theirs"), tagging(&ours, &none())),
        it(true, "iam:PassRole", role("c1-linux-runner"), to("ec2.amazonaws.com")),
        it(false, "iam:PassRole", role("c1-linux-runner"), to("lambda.amazonaws.com")),
        it(false, "iam:PassRole", role("c1-controller"), to("ec2.amazonaws.com")),
        it(false, "iam:PassRole", role("c2-linux-runner"), to("ec2.amazonaws.com")),
        it(false, "iam:PassRole", role("admin"), to("ec2.amazonaws.com")),
    ]);
    cases
}

/// What the controller changes, reads and ends.
fn controls() -> Vec<Case> {
    let it = |allowed, action: &str, resource: String, context| case("controller", allowed, action, resource, context);
    let none = || json!({});
    let drain = [("muster:drain", "surplus")];
    let mut cases = Vec::new();
    for action in ["ec2:TerminateInstances", "ec2:GetConsoleOutput"] {
        cases.extend([
            it(true, action, instance(INSTANCE), of("c1")),
            it(false, action, instance(INSTANCE), of("c2")),
            it(false, action, instance(INSTANCE), none()),
            it(false, action, instance(INSTANCE).replace("123456789012", "210987654321"), of("c1")),
        ]);
    }
    for (queue, receive, send, hold) in [
        ("c1-jobs", true, false, true),
        ("c1-ec2-events", true, false, false),
        ("c1-dead-letters", false, true, false),
        ("c2-jobs", false, false, false),
    ] {
        let queue_of = || format!("{SQS}{queue}");
        cases.extend([
            it(receive, "sqs:ReceiveMessage", queue_of(), none()),
            it(receive, "sqs:DeleteMessage", queue_of(), none()),
            it(send, "sqs:SendMessage", queue_of(), none()),
            it(hold, "sqs:ChangeMessageVisibility", queue_of(), none()),
            it(queue.starts_with("c1"), "sqs:GetQueueAttributes", queue_of(), none()),
            it(false, "sqs:SetQueueAttributes", queue_of(), none()),
        ]);
    }
    for (name, write, tag) in [
        ("runners/i-0aaaaaaaaaaaaaaaa", true, true),
        ("paused/linux", true, false),
        ("paused", true, false),
        ("key", false, false),
    ] {
        let parameter = || format!("{SSM}{name}");
        cases.extend([
            it(write, "ssm:PutParameter", parameter(), none()),
            it(write, "ssm:DeleteParameters", parameter(), none()),
            it(tag, "ssm:AddTagsToResource", parameter(), none()),
        ]);
    }
    for (key, allowed) in [("runners/linux-x64/latest.tar.gz", true), ("manifests/pool.yaml", false)] {
        for action in ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"] {
            cases.push(it(allowed, action, format!("{S3}/{key}"), none()));
        }
        cases.push(it(false, "s3:GetObject", format!("{S3}-other/{key}"), none()));
    }
    cases.extend([
        it(true, "s3:PutObject", format!("{S3}/usage/c1/2026-12-01/13-p.jsonl"), none()),
        it(true, "s3:GetObject", format!("{S3}/usage/c1/2026-12-01/13-p.history"), none()),
        it(false, "s3:GetObject", format!("{S3}/usage/c2/2026-12-01/13-p.history"), none()),
        it(false, "s3:DeleteObject", format!("{S3}/usage/c1/2026-12-01/13-p.jsonl"), none()),
        it(false, "s3:PutObject", format!("{S3}/usage/c2/2026-12-01/13-p.jsonl"), none()),
        it(true, "s3:PutObject", format!("{S3}/record/c1/2026-12-01/13/0507.123_p_1.jsonl.gz"), none()),
        it(false, "s3:GetObject", format!("{S3}/record/c1/2026-12-01/13/0507.123_p_1.jsonl.gz"), none()),
        it(false, "s3:PutObject", format!("{S3}/record/c2/2026-12-01/13/0507.123_p_1.jsonl.gz"), none()),
    ]);
    for action in ["kms:Encrypt", "kms:GenerateDataKey"] {
        let secret = format!("runners/{INSTANCE}");
        cases.extend([
            it(true, action, KMS.into(), of_parameter("ssm", &secret)),
            it(false, action, KMS.into(), of_parameter("ssm", "key")),
            it(false, action, KMS.into(), of_parameter("ec2", &secret)),
            it(false, action, KMS.replace("1111-2222", "1111-0000"), of_parameter("ssm", &secret)),
        ]);
    }
    for (name, allowed) in [("key", true), ("secret", true), ("admin-token", true), ("runners/i-0aaaaaaaaaaaaaaaa", false)] {
        cases.push(it(allowed, "kms:Decrypt", KMS.into(), of_parameter("ssm", name)));
        cases.push(it(false, "kms:Decrypt", KMS.into(), of_parameter("ec2", name)));
        cases.push(it(false, "kms:Decrypt", KMS.replace("1111-2222", "1111-0000"), of_parameter("ssm", name)));
    }
    for (via, allowed) in [("sqs", true), ("s3", true), ("ssm", false), ("ec2", false)] {
        let context = || json!({ "kms:ViaService": format!("{via}.eu-west-1.amazonaws.com") });
        cases.push(it(allowed, "kms:GenerateDataKey", KMS.into(), context()));
        cases.push(it(false, "kms:GenerateDataKey", KMS.replace("1111-2222", "1111-0000"), context()));
    }
    cases.extend([
        it(true, "ec2:CreateTags", instance(INSTANCE), tagging(&drain, &of("c1"))),
        it(false, "ec2:CreateTags", instance(INSTANCE), tagging(&drain, &of("c2"))),
        it(false, "ec2:CreateTags", instance(INSTANCE), tagging(&[("Name", "mine")], &of("c1"))),
        it(false, "ec2:CreateTags", instance(INSTANCE), tagging(&[("muster:drain", ""), ("muster:cluster", "c2")], &of("c1"))),
        it(false, "ec2:CreateTags", instance(INSTANCE), of("c1")),
        it(false, "ec2:CreateTags", format!("{EC2}volume/vol-0123456789abcdef0"), tagging(&drain, &of("c1"))),
        it(true, "ssm:GetParameter", format!("{SSM}key"), none()),
        it(true, "ssm:GetParameter", format!("{SSM}admin-token"), none()),
        // The controller writes the instances' secrets, and has no need to read them.
        it(false, "ssm:GetParameter", format!("{SSM}runners/{INSTANCE}"), none()),
        it(false, "ssm:GetParameter", SSM.replace("/c1/", "/c2/key"), none()),
        it(true, "ssm:GetParametersByPath", format!("{SSM}paused"), none()),
        it(false, "ssm:GetParametersByPath", SSM.trim_end_matches('/').into(), none()),
        it(true, "s3:ListBucket", S3.into(), none()),
        it(false, "s3:ListBucket", format!("{S3}-other"), none()),
        it(true, "s3:ListBucketMultipartUploads", S3.into(), none()),
        it(false, "s3:ListBucketMultipartUploads", format!("{S3}-other"), none()),
        it(false, "s3:PutBucketPolicy", S3.into(), none()),
        it(false, "kms:Decrypt", KMS.into(), none()),
        it(true, "ec2:DescribeInstances", "*".into(), none()),
        it(false, "ec2:StopInstances", instance(INSTANCE), of("c1")),
        it(false, "iam:PutRolePolicy", "arn:aws:iam::123456789012:role/c1-controller".into(), none()),
    ]);
    cases
}

/// The webhook's role, which meets the internet, an operator who only looks, and what doctor needs beside that.
fn others() -> Vec<Case> {
    let none = || json!({});
    let via = |service: &str| json!({ "kms:ViaService": format!("{service}.eu-west-1.amazonaws.com") });
    let mut cases = vec![
        case("webhook", true, "sqs:SendMessage", format!("{SQS}c1-jobs"), none()),
        case("webhook", false, "sqs:SendMessage", format!("{SQS}c1-dead-letters"), none()),
        case("webhook", false, "sqs:ReceiveMessage", format!("{SQS}c1-jobs"), none()),
        case("webhook", true, "kms:GenerateDataKey", KMS.into(), via("sqs")),
        case("operator", false, "kms:GenerateDataKey", KMS.into(), via("sqs")),
        case("operator", false, "sqs:SendMessage", format!("{SQS}c1-jobs"), none()),
        case("operator", false, "sqs:ReceiveMessage", format!("{SQS}c1-jobs"), none()),
        case("operator", true, "sqs:GetQueueAttributes", format!("{SQS}c1-jobs"), none()),
        case("operator", false, "sqs:GetQueueAttributes", format!("{SQS}c2-jobs"), none()),
        case("operator", true, "ssm:GetParametersByPath", format!("{SSM}paused"), none()),
        case("operator", false, "ssm:GetParametersByPath", format!("{SSM}runners"), none()),
        case("operator", false, "ssm:PutParameter", format!("{SSM}paused/linux"), none()),
        case("operator", true, "ec2:DescribeInstances", "*".into(), none()),
    ];
    for (role, secret, key, manifests) in
        [("webhook", true, false, true), ("operator", false, false, true), ("doctor", true, true, false)]
    {
        cases.extend([
            case(role, secret, "ssm:GetParameter", format!("{SSM}secret"), none()),
            case(role, key, "ssm:GetParameter", format!("{SSM}key"), none()),
            case(role, false, "ssm:GetParameter", format!("{SSM}admin-token"), none()),
            case(role, false, "ssm:GetParameter", format!("{SSM}runners/{INSTANCE}"), none()),
            case(role, false, "ssm:GetParameter", SSM.replace("/c1/", "/c2/secret"), none()),
            case(role, manifests, "s3:GetObject", format!("{S3}/manifests/pool.yaml"), none()),
            case(role, false, "s3:GetObject", format!("{S3}/runners/linux-x64/latest.tar.gz"), none()),
            case(role, false, "s3:PutObject", format!("{S3}/manifests/pool.yaml"), none()),
            case(role, role == "operator", "s3:GetObject", format!("{S3}/usage/c1/2026-12-01/13-p.jsonl"), none()),
            case(role, false, "s3:GetObject", format!("{S3}/usage/c2/2026-12-01/13-p.jsonl"), none()),
            case(role, false, "s3:PutObject", format!("{S3}/usage/c1/2026-12-01/13-p.jsonl"), none()),
            case(role, manifests, "s3:ListBucket", S3.into(), none()),
            case(role, false, "s3:ListBucket", format!("{S3}-other"), none()),
            case(role, false, "ec2:TerminateInstances", instance(INSTANCE), of("c1")),
            case(role, false, "ec2:CreateTags", instance(INSTANCE), tagging(&[("muster:drain", "")], &of("c1"))),
            case(role, false, "ec2:RunInstances", instance(INSTANCE), tagging(&[("muster:cluster", "c1")], &none())),
            case(role, manifests, "kms:Decrypt", KMS.into(), via("s3")),
            case(role, secret, "kms:Decrypt", KMS.into(), of_parameter("ssm", "secret")),
            case(role, key, "kms:Decrypt", KMS.into(), of_parameter("ssm", "key")),
            case(role, false, "kms:Decrypt", KMS.into(), of_parameter("ssm", "admin-token")),
            case(role, false, "kms:Decrypt", KMS.into(), of_parameter("ec2", "secret")),
            case(role, false, "kms:Decrypt", KMS.into(), via("ssm")),
            case(role, false, "kms:Decrypt", KMS.into(), via("ec2")),
            case(role, false, "kms:Decrypt", KMS.into(), none()),
            case(role, false, "kms:Decrypt", KMS.replace("1111-2222", "1111-0000"), via("s3")),
            case(role, false, "kms:Decrypt", KMS.replace("1111-2222", "1111-0000"), of_parameter("ssm", "secret")),
        ]);
    }
    cases
}

fn cases() -> Vec<Case> {
    [an_instance(), launches(), controls(), others()].into_iter().flatten().collect()
}

pub(crate) async fn policies() -> Option<Policies> {
    Policies::of("c1", &["linux".into()], &["subnet-0aaaaaaaaaaaaaaaa".into()]).await
}

const ROLES: [&str; 5] = ["controller", "webhook", "operator", "doctor", "runner"];

#[tokio::test]
async fn each_role_may_what_it_needs_and_nothing_of_others() {
    let Some(policies) = policies().await else { return skip(NO_EVALUATOR) };
    let all = cases();
    for role in ROLES {
        let cases: Vec<&Case> = all.iter().filter(|case| case.role == role).collect();
        let requests: Vec<&Request> = cases.iter().map(|case| &case.request).collect();
        let answers = refusals(&[policies.role(role, true)], &requests).expect("the evaluator runs");
        for (Case { allowed, request, .. }, refused) in cases.iter().zip(answers) {
            assert!(
                !refused.as_deref().unwrap_or_default().contains("could not be evaluated"),
                "{role}: {request:?}: {refused:?}"
            );
            assert_eq!(refused.is_none(), *allowed, "{role}: {request:?}: {refused:?}");
        }
        println!("{role}: {} requests, {} of them refused", cases.len(), cases.iter().filter(|case| !case.allowed).count());
    }
}

/// Removes one condition or widens one resource of a policy at a time. The cases above must notice it each time. So no case
/// is superfluous, and no condition is left that no case checks.
#[tokio::test]
async fn every_condition_and_every_resource_keeps_something_out() {
    let Some(policies) = policies().await else { return skip(NO_EVALUATOR) };
    let (all, mut tried, mut unseen) = (cases(), 0, Vec::new());
    for role in ROLES {
        let refused: Vec<&Request> =
            all.iter().filter(|case| case.role == role && !case.allowed).map(|case| &case.request).collect();
        for (what, weaker) in weakened(policies.role(role, true)) {
            tried += 1;
            // The role's own denials hold these walls as well; `attackers/job.rs` takes them away.
            let held = [
                "OwnSecret on everything",
                "OwnStages without ForAllValues:StringEquals aws:TagKeys",
                "OwnStages without ArnEquals ec2:SourceInstanceARN",
            ];
            if held.contains(&&*what) {
                continue;
            }
            let answers = refusals(&[&weaker], &refused).expect("the evaluator runs");
            if answers.iter().all(Option::is_some) {
                unseen.push(format!("{role}: {what}"));
            }
        }
    }
    println!("{tried} weaker policies");
    assert!(tried > 40, "only {tried} ways to weaken the policies were found");
    assert!(unseen.is_empty(), "these were taken away, and no case noticed it:\n{}", unseen.join("\n"));
}

/// The policy without one of its conditions, or with one of its statements for all resources; one policy for each way.
fn weakened(policy: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (n, statement) in policy["Statement"].as_array().expect("statements").iter().enumerate() {
        let name = statement["Sid"].as_str().unwrap_or_default();
        if statement["Effect"] == "Deny" {
            continue; // attackers/job.rs takes these away
        }
        for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
            for key in keys.as_object().expect("keys").keys() {
                let mut weaker = policy.clone();
                let condition = weaker["Statement"][n]["Condition"][operator].as_object_mut().expect("keys");
                condition.remove(key);
                if condition.is_empty() {
                    weaker["Statement"][n]["Condition"].as_object_mut().expect("operators").remove(operator);
                }
                found.push((format!("{name} without {operator} {key}"), weaker));
            }
        }
        if statement["Resource"] != "*" && statement["Resource"] != json!(["*"]) {
            let mut weaker = policy.clone();
            weaker["Statement"][n]["Resource"] = json!("*");
            found.push((format!("{name} on everything"), weaker));
        }
    }
    found
}

/// The policy of a shadow's role, as `terraform/modules/shadow` renders it.
fn of_shadow() -> Value {
    let text = include_str!("../../terraform/modules/shadow/policy.json.tftpl");
    let fills = [
        ("${queue}", format!("{SQS}shadow")),
        ("${parameters}", format!("{SSM}shadow/key")),
        ("${manifests}", format!("{S3}/shadow-manifests/*")),
        ("${manifests_bucket}", S3.to_owned()),
        ("${record}", format!("{S3}/shadow/*")),
    ];
    let text = fills.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, &json!(value).to_string()));
    serde_json::from_str(&text).expect("a policy")
}

/// A shadow may look, empty its own queue and write its own record. It is refused every changing call that muster makes anywhere, also
/// on what has its own name or muster's tags.
#[tokio::test]
async fn a_shadow_is_refused_every_changing_call() {
    let none = || json!({});
    let it = |allowed, action: &str, resource: String| case("shadow", allowed, action, resource, none());
    let mut all = vec![
        it(true, "ec2:DescribeInstances", "*".into()),
        it(true, "sqs:ReceiveMessage", format!("{SQS}shadow")),
        it(true, "sqs:DeleteMessage", format!("{SQS}shadow")),
        it(true, "ssm:GetParameter", format!("{SSM}shadow/key")),
        it(true, "s3:GetObject", format!("{S3}/shadow-manifests/pool.yaml")),
        it(true, "s3:ListBucket", S3.into()),
        it(true, "s3:PutObject", format!("{S3}/shadow/c1/2026-12-03/05/0000.000_p_0.jsonl.gz")),
        it(false, "sqs:ReceiveMessage", format!("{SQS}c1-jobs")),
        it(false, "sqs:DeleteMessage", format!("{SQS}c1-jobs")),
        it(false, "sqs:SendMessage", format!("{SQS}shadow")),
        it(false, "sqs:PurgeQueue", format!("{SQS}shadow")),
        it(false, "ssm:GetParameter", format!("{SSM}key")),
        it(false, "s3:PutObject", format!("{S3}/shadow-manifests/pool.yaml")),
        it(false, "s3:DeleteObject", format!("{S3}/shadow/c1/2026-12-03/05/0000.000_p_0.jsonl.gz")),
        it(false, "s3:GetObject", format!("{S3}/usage/c1/x")),
        it(false, "s3:ListBucket", format!("{S3}-other")),
    ];
    // Whatever a role of muster's may do that changes something, the shadow may not, on the same resource and in the same context.
    let changes = |action: &str| {
        let verb = action.split(':').nth(1).unwrap_or_default();
        !["Get", "Describe", "List", "Receive"].iter().any(|reading| verb.starts_with(reading)) && action != "kms:Decrypt"
    };
    let (reading, changing): (Vec<Case>, Vec<Case>) =
        cases().into_iter().filter(|case| case.allowed).partition(|case| !changes(&case.request.action));
    assert!(reading.len() > 10 && changing.len() > 30, "{} read, {} change", reading.len(), changing.len());
    all.extend(changing.into_iter().map(|case| Case { role: "shadow", allowed: false, ..case }));
    let requests: Vec<&Request> = all.iter().map(|case| &case.request).collect();
    let Some(answers) = refusals(&[&of_shadow()], &requests) else { return skip(NO_EVALUATOR) };
    for (Case { allowed, request, .. }, refused) in all.iter().zip(answers) {
        assert_eq!(refused.is_none(), *allowed, "{request:?}: {refused:?}");
    }
    let refused: Vec<&Request> = all.iter().filter(|case| !case.allowed).map(|case| &case.request).collect();
    for (what, weaker) in weakened(&of_shadow()) {
        let answers = refusals(&[&weaker], &refused).expect("the evaluator runs");
        assert!(answers.iter().any(Option::is_none), "{what}: no case notices it");
    }
}

#[tokio::test]
#[should_panic(expected = "the policy of controller and webhook refuses ec2:TerminateInstances")]
async fn a_call_that_the_policy_refuses_fails_the_test_by_itself() {
    let skipped = "the policy of controller and webhook refuses ec2:TerminateInstances: skipped";
    let Some(moto) = Moto::start().await else { panic!("{skipped}: there is no moto") };
    moto.create_world("c1", &["linux"]).await;
    assert!(policies().await.is_some(), "{skipped}: there is no evaluator, or no Terraform");
    let made = moto.ec2.run_instances().image_id("ami-12c6146b").min_count(1).max_count(1).send().await.expect("moto launches");
    let foreign = made.instances()[0].instance_id().expect("an id");
    let config = crate::support::moto::sdk(moto.url(), MUSTER_KEY).await;
    aws_sdk_ec2::Client::new(&config)
        .terminate_instances()
        .instance_ids(foreign)
        .send()
        .await
        .expect("moto itself asks no policy");
}
