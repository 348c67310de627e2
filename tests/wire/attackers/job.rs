//! A job on an instance: it has the instance's credentials, and asks AWS for more than its own.

use serde_json::json;

use crate::iam::{Case, EC2, INSTANCE, NEIGHBOUR, S3, SSM, case, instance, of, policies};
use crate::support::iam::{NO_EVALUATOR, Request, refusals};
use crate::support::tools::skip;

/// A pool's role may have further policies (`policy_arns`). Even one that allows everything opens no parameter but the
/// instance's own secret, changes nothing in the bucket that muster's manifests and programs are in, gives no other role of the
/// cluster, and changes nothing that muster's instances start with or believe.
#[tokio::test]
async fn a_job_reads_no_secret_whatever_else_its_role_may() {
    let Some(policies) = policies().await else { return skip(NO_EVALUATOR) };
    let everything = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let cases = with_everything();
    let requests: Vec<&Request> = cases.iter().map(|case| &case.request).collect();
    let runner = policies.role("runner", true);
    let answers = refusals(&[runner, &everything], &requests).expect("the evaluator runs");
    for (Case { allowed, request, .. }, refused) in cases.iter().zip(answers) {
        assert_eq!(refused.is_none(), *allowed, "{request:?}: {refused:?}");
    }
    // Each Deny is needed: without it, something is open.
    let (statements, mut tried) = (runner["Statement"].as_array().expect("statements"), 0);
    for (n, statement) in statements.iter().enumerate().filter(|(_, statement)| statement["Effect"] == "Deny") {
        let mut weaker = runner.clone();
        weaker["Statement"].as_array_mut().expect("statements").remove(n);
        let answers = refusals(&[&weaker, &everything], &requests).expect("the evaluator runs");
        let opened = cases.iter().zip(answers).filter(|(case, refused)| !case.allowed && refused.is_none()).count();
        assert!(opened > 0, "nothing needs {}", statement["Sid"]);
        tried += 1;
    }
    assert_eq!(tried, 10);
}

/// What an instance may ask for when another policy of its role allows everything.
fn with_everything() -> Vec<Case> {
    let it = |allowed, action: &str, resource: String, context| case("runner", allowed, action, resource, context);
    let asks = |owner: &str| json!({ "ssm:resourceTag/muster:instance-arn": instance(owner), "ec2:SourceInstanceARN": instance(INSTANCE) });
    let mine = || json!({ "ec2:SourceInstanceARN": instance(INSTANCE) });
    let mut cases = Vec::new();
    for action in
        ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParameterHistory", "ssm:DeleteParameter", "ssm:DeleteParameters"]
    {
        cases.extend([
            it(true, action, format!("{SSM}runners/{INSTANCE}"), asks(INSTANCE)),
            it(false, action, format!("{SSM}runners/{NEIGHBOUR}"), asks(NEIGHBOUR)),
            it(false, action, format!("{SSM}runners/{NEIGHBOUR}"), mine()),
            it(false, action, format!("{SSM}key"), mine()),
            // Somebody may have tagged it so.
            it(false, action, format!("{SSM}key"), asks(INSTANCE)),
            it(false, action, SSM.replace("/muster/c1/", "/deploy/token"), mine()),
        ]);
    }
    for path in ["runners", "", "runners/"] {
        cases.push(it(false, "ssm:GetParametersByPath", format!("{SSM}{path}"), mine()));
    }
    for action in
        ["PutParameter", "LabelParameterVersion", "UnlabelParameterVersion", "AddTagsToResource", "RemoveTagsFromResource"]
    {
        for (name, owner) in
            [("key", INSTANCE), ("runners/i-0aaaaaaaaaaaaaaaa", INSTANCE), ("runners/i-0bbbbbbbbbbbbbbbb", NEIGHBOUR)]
        {
            cases.push(it(false, &format!("ssm:{action}"), format!("{SSM}{name}"), asks(owner)));
        }
    }
    for object in ["bin/muster-arm64", "manifests/pool.yaml", "runners/linux-x64/latest.tar.gz"] {
        for action in ["s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging", "s3:DeleteObjectVersion"] {
            cases.push(it(false, action, format!("{S3}/{object}"), mine()));
        }
    }
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    for action in ["iam:PassRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "sts:AssumeRole"] {
        cases.push(it(false, action, role("c1-controller"), json!({ "iam:PassedToService": "ecs-tasks.amazonaws.com" })));
        cases.push(it(true, action, role("deploy"), mine()));
    }
    let keys_of = |id: &str, keys: &[&str]| json!({ "aws:TagKeys": keys, "ec2:SourceInstanceARN": instance(INSTANCE), "ec2:InstanceID": id });
    let keys = |keys: &[&str]| keys_of(INSTANCE, keys);
    for action in ["ec2:CreateTags", "ec2:DeleteTags"] {
        cases.extend([
            it(false, action, instance(NEIGHBOUR), keys_of(NEIGHBOUR, &["muster:drain"])),
            it(false, action, instance(NEIGHBOUR), keys_of(NEIGHBOUR, &["muster:stages"])),
            it(false, action, instance(INSTANCE), keys(&["muster:stages", "muster:release"])),
            it(true, action, instance(INSTANCE), keys(&["muster:stages"])),
            it(true, action, instance(INSTANCE), keys(&["team"])),
        ]);
    }
    for thing in ["service/c1-muster/controller", "task/c1-muster/0123", "cluster/c1-muster"] {
        for action in ["ecs:UpdateService", "ecs:ExecuteCommand", "ecs:RunTask"] {
            cases.push(it(false, action, format!("arn:aws:ecs:eu-west-1:123456789012:{thing}"), mine()));
        }
    }
    cases.push(it(true, "ecs:UpdateService", "arn:aws:ecs:eu-west-1:123456789012:service/shop/web".into(), mine()));
    let machine = || json!({ "aws:ResourceTag/muster:controller": "c1" });
    cases.extend([
        it(false, "ec2:ModifyInstanceAttribute", instance(NEIGHBOUR), of("c1")),
        it(false, "ec2:ModifyInstanceAttribute", instance("i-0cccccccccccccccc"), machine()),
        it(false, "ec2:CreateLaunchTemplateVersion", format!("{EC2}launch-template/lt-1"), of("c1")),
        it(false, "ec2:ModifyLaunchTemplate", format!("{EC2}launch-template/lt-1"), of("c1")),
        it(true, "ec2:ModifyInstanceAttribute", instance("i-0dddddddddddddddd"), mine()),
        it(true, "ec2:CreateLaunchTemplateVersion", format!("{EC2}launch-template/lt-2"), of("theirs")),
    ]);
    cases.extend([
        it(false, "s3:PutBucketPolicy", S3.into(), mine()),
        it(true, "s3:GetObject", format!("{S3}/runners/linux-x64/latest.tar.gz"), mine()),
        it(true, "s3:PutObject", "arn:aws:s3:::artifacts/a.tar.gz".into(), mine()),
        it(true, "ssm:UpdateInstanceInformation", instance(INSTANCE), mine()),
    ]);
    cases
}
