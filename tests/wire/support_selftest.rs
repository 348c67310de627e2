//! Tests of the test infrastructure. A judge that lets everything pass would prove nothing.

use crate::support;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use muster_cloud::aws_sdk_ec2::types::{
    DefaultTargetCapacityType, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest,
    FleetLaunchTemplateSpecificationRequest, FleetType, ResourceType, SpotAllocationStrategy, SpotOptionsRequest, Tag,
    TagSpecification, TargetCapacitySpecificationRequest,
};
use muster_cloud::{aws_sdk_ec2, aws_sdk_ssm};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::github::hooks::{post, sign};
use support::github::{APP_ID, Fault, GitHub, key};
use support::instances::{Behaviour, Habits, Instances};
use support::moto::{Moto, World};
use support::{eventually, ms, never, now_ms, same, secs};

// ------------------------------------------------------------------------------------------------ the double

fn jwt(app: u64, life_s: u64) -> String {
    let part = |v: Value| BASE64_URL_SAFE_NO_PAD.encode(v.to_string());
    let now = now_ms() / 1000;
    let text = format!("{}.{}", part(json!({"alg": "RS256"})), part(json!({"iss": app, "iat": now - 30, "exp": now + life_s})));
    let private = rsa::RsaPrivateKey::from_pkcs1_pem(&key::private_key_pem(key::Key::First)).expect("the PEM is readable");
    let prefix =
        [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];
    let scheme = rsa::Pkcs1v15Sign { hash_len: Some(32), prefix: Box::new(prefix) };
    let signature = private.sign(scheme, &Sha256::digest(&text)).expect("the key signs");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

struct Client<'a> {
    github: &'a GitHub,
    http: reqwest::Client,
    token: String,
}

impl<'a> Client<'a> {
    async fn new(github: &'a GitHub) -> Client<'a> {
        let mut client = Client { github, http: reqwest::Client::new(), token: jwt(APP_ID, 540) };
        let (status, installation, _) = client.call("GET", "/orgs/acme/installation", Value::Null, &[]).await;
        assert_eq!(status, 200, "{installation}");
        let path = format!("/app/installations/{}/access_tokens", installation["id"]);
        let (status, made, _) = client.call("POST", &path, json!({}), &[]).await;
        assert_eq!(status, 201, "{made}");
        client.token = made["token"].as_str().expect("a token").to_owned();
        client
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> (u16, Value, reqwest::header::HeaderMap) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.github.url()));
        request = request.header("user-agent", "selftest").bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("the double answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("the answer is text");
        (status, serde_json::from_str(&text).unwrap_or_default(), headers)
    }

    async fn group(&self) -> u64 {
        let (_, groups, _) = self.call("GET", "/orgs/acme/actions/runner-groups", Value::Null, &[]).await;
        groups["runner_groups"][0]["id"].as_u64().expect("a group")
    }

    async fn mint(&self, name: &str) -> (u16, Value) {
        let body = json!({ "name": name, "runner_group_id": self.group().await, "labels": ["self-hosted", "linux"] });
        let (status, made, _) = self.call("POST", "/orgs/acme/actions/runners/generate-jitconfig", body, &[]).await;
        (status, made)
    }
}

#[tokio::test]
async fn a_conforming_client_goes_through_the_whole_life_of_a_runner() {
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    let (status, made) = client.mint("c.linux.i-1").await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(client.mint("c.linux.i-1").await.0, 409, "the name is taken");
    let runner = made["runner"]["id"].as_u64().expect("an id");
    let config = BASE64_STANDARD.decode(made["encoded_jit_config"].as_str().expect("a config")).expect("base64");
    assert_eq!(serde_json::from_slice::<Value>(&config).expect("JSON")["runner_id"], runner);

    let job = github.queue_job("acme/app", &["self-hosted", "Linux"]);
    assert!(github.runner_online(runner));
    assert_eq!(github.job_of(runner), Ok(Some(job)), "GitHub hands it over, whatever the labels' case");
    let path = format!("/orgs/acme/actions/runners/{runner}");
    assert_eq!(client.call("DELETE", &path, Value::Null, &[]).await.0, 422, "busy");
    let (status, seen, _) = client.call("GET", &format!("/repos/acme/app/actions/jobs/{job}"), Value::Null, &[]).await;
    assert_eq!((status, seen["status"].as_str(), seen["runner_name"].as_str()), (200, Some("in_progress"), Some("c.linux.i-1")));
    github.finish_job(job, "success");
    assert!(github.runners().is_empty(), "an ephemeral runner's registration must end with its job");
    assert_eq!(client.call("DELETE", &path, Value::Null, &[]).await.0, 404);

    for path in ["/app/installations", "/app"] {
        let app = Client { github: &github, http: reqwest::Client::new(), token: jwt(APP_ID, 540) };
        assert_eq!(app.call("GET", path, Value::Null, &[]).await.0, 200, "{path}");
    }
    assert_eq!(client.call("GET", "/rate_limit", Value::Null, &[]).await.0, 200);
    let token = client.call("POST", "/orgs/acme/actions/runners/registration-token", Value::Null, &[]).await;
    assert_eq!(token.0, 201);
    github.assert_clean();
}

#[tokio::test]
async fn a_misspelt_request_is_a_violation() {
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    let good = json!({ "name": "a", "runner_group_id": client.group().await, "labels": ["x"] });
    let wrong = [
        (json!({ "lables": ["x"] }), "lables"),
        (json!({ "runner_group_id": "1" }), "runner_group_id"),
        (json!({ "labels": [] }), "labels"),
        (json!({ "name": null }), "name"),
    ];
    for (n, (change, named)) in wrong.into_iter().enumerate() {
        let mut body = good.clone();
        body["name"] = json!(format!("runner-{n}"));
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        client.call("POST", "/orgs/acme/actions/runners/generate-jitconfig", body, &[]).await;
        let seen = github.take_violations().join("\n");
        assert!(seen.contains(named), "{named} was not noticed: {seen}");
    }
    let paths = ["/orgs/acme/actions/runner", "/orgs/acme/actions/runners?perpage=3", "/orgs/acme/actions/runners?per_page=all"];
    for path in paths {
        client.call("GET", path, Value::Null, &[]).await;
        assert_ne!(github.take_violations(), Vec::<String>::new(), "{path} was not noticed");
    }
    client.call("GET", "/orgs/acme/actions/runners?per_page=100&page=1", Value::Null, &[]).await;
    assert_eq!(github.take_violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_answer_is_a_violation_too() {
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    github.fail("/actions/runners", 1, Fault::Body(json!({ "total_count": "none", "runners": [{ "id": 1 }] })));
    client.call("GET", "/orgs/acme/actions/runners", Value::Null, &[]).await;
    let seen = github.take_violations().join("\n");
    assert!(seen.contains("/total_count") && seen.contains("/runners/0"), "{seen}");
}

#[tokio::test]
#[should_panic(expected = "GitHub's description was violated")]
async fn a_violation_fails_the_test_by_itself() {
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    client.call("GET", "/orgs/acme/actions/runnerz", Value::Null, &[]).await;
}

/// GitHub's enterprise endpoints accept no App, and a personal access token only by its scopes.
#[tokio::test]
async fn an_enterprise_is_for_personal_tokens_only() {
    let github = GitHub::start().await;
    github.found_enterprise("big");
    let mut client = Client::new(&github).await;
    let list = "/enterprises/big/actions/runners";
    let (status, said, _) = client.call("GET", list, Value::Null, &[]).await;
    assert_eq!((status, said["message"].as_str()), (403, Some("Resource not accessible by integration")));
    for (scopes, enterprise, job, other) in [
        (&["manage_runners:enterprise", "repo"][..], 200, 200, 404),
        (&["manage_runners:enterprise"], 200, 404, 404),
        (&["repo"], 403, 200, 404),
    ] {
        client.token = github.make_token(scopes);
        let job_path = format!("/repos/acme/app/actions/jobs/{}", github.queue_job_silently("acme/app", &["x"]));
        let (status, _, headers) = client.call("GET", list, Value::Null, &[]).await;
        assert_eq!((status, headers["x-oauth-scopes"].to_str().expect("text")), (enterprise, scopes.join(", ").as_str()));
        assert_eq!(client.call("GET", &job_path, Value::Null, &[]).await.0, job, "{scopes:?}");
        assert_eq!(client.call("GET", "/orgs/acme/actions/runners", Value::Null, &[]).await.0, other, "{scopes:?}");
        assert_eq!(client.call("GET", "/rate_limit", Value::Null, &[]).await.0, 200);
    }
    github.revoke_token(&client.token.clone());
    assert_eq!(client.call("GET", list, Value::Null, &[]).await.0, 401);
}

#[tokio::test]
async fn credentials_are_checked() {
    let github = GitHub::start().await;
    let mut client = Client::new(&github).await;
    let right = client.token.clone();
    for (token, path, wanted) in [
        (jwt(APP_ID, 540), "/app", 200),
        (jwt(APP_ID + 1, 540), "/app", 401),
        (jwt(APP_ID, 3600), "/app", 401),
        (format!("{}x", jwt(APP_ID, 540)), "/app", 401),
        (right.clone(), "/app", 401),
        (right.clone(), "/orgs/acme/actions/runners", 200),
        (right, "/orgs/other/actions/runners", 404),
        ("ghs_made_up".into(), "/orgs/acme/actions/runners", 401),
    ] {
        client.token = token;
        assert_eq!(client.call("GET", path, Value::Null, &[]).await.0, wanted, "{path} with {}", client.token);
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_an_unchanged_page_is_free() {
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    for n in 0..250 {
        github.register("org/acme", &format!("runner-{n}"), &["x"], true);
    }
    let mut seen = BTreeSet::new();
    let mut path = "/orgs/acme/actions/runners?per_page=100".to_owned();
    let mut pages = 0;
    loop {
        let (status, page, headers) = client.call("GET", &path, Value::Null, &[]).await;
        assert_eq!((status, page["total_count"].as_u64()), (200, Some(250)));
        seen.extend(page["runners"].as_array().expect("runners").iter().map(|r| r["id"].to_string()));
        pages += 1;
        assert!(pages <= 3, "the pages do not end");
        let link = headers.get("link").and_then(|l| l.to_str().ok()).unwrap_or_default().to_owned();
        let next = link.split(", ").find(|l| l.ends_with("rel=\"next\""));
        let Some(next) = next else { break };
        path = next.split(['<', '>']).nth(1).expect("a URL").replace(&github.url(), "");
    }
    assert_eq!((pages, seen.len()), (3, 250));

    let path = "/orgs/acme/actions/runners?per_page=100&page=2";
    let (_, _, headers) = client.call("GET", path, Value::Null, &[]).await;
    let etag = headers["etag"].to_str().expect("an ETag").to_owned();
    let before = github.remaining();
    let (status, body, headers) = client.call("GET", path, Value::Null, &[("if-none-match", &etag)]).await;
    assert_eq!((status, body, github.remaining()), (304, Value::Null, before), "304 must cost nothing");
    assert_eq!(headers["x-ratelimit-remaining"], before.to_string());
    github.register("org/acme", "another", &["x"], true);
    assert_eq!(client.call("GET", path, Value::Null, &[("if-none-match", &etag)]).await.0, 200, "changed");
    assert_eq!(github.remaining(), before - 1);
}

#[tokio::test]
async fn limits_and_faults_are_as_ordered() {
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    let list = "/orgs/acme/actions/runners";
    github.fail("GET /orgs/{org}/actions/runners", 1, Fault::SecondaryLimit(7));
    let (status, _, headers) = client.call("GET", list, Value::Null, &[]).await;
    assert_eq!((status, &headers["retry-after"]), (403, &"7".parse().expect("a value")));
    github.fail(list.trim_start_matches("/orgs/acme"), 2, Fault::Status(502));
    assert_eq!(client.call("GET", list, Value::Null, &[]).await.0, 502);
    assert_eq!(client.call("GET", list, Value::Null, &[]).await.0, 502);
    assert_eq!(client.call("GET", list, Value::Null, &[]).await.0, 200);
    github.fail("generate-jitconfig", 1, Fault::LoseAnswer);
    assert_eq!(client.mint("lost").await.0, 502);
    assert_eq!(client.mint("lost").await.0, 409, "the call took effect");
    github.set_limit(0, 60);
    let (status, _, headers) = client.call("GET", list, Value::Null, &[]).await;
    assert_eq!((status, &headers["x-ratelimit-remaining"]), (403, &"0".parse().expect("a value")));
    github.set_limit(100, 60);

    let runner = github.register("org/acme", "busy-one", &["x"], true);
    let job = github.queue_job("acme/app", &["x"]);
    github.lie_about_busy(true);
    let (_, seen, _) = client.call("GET", &format!("{list}/{runner}"), Value::Null, &[]).await;
    assert_eq!(seen["busy"], false, "GitHub must say that the runner is not busy");
    assert_eq!(client.call("DELETE", &format!("{list}/{runner}"), Value::Null, &[]).await.0, 204);
    assert_eq!(github.killed(), [job]);
}

#[tokio::test]
async fn webhooks_are_githubs_own_signed_and_sent_as_ordered() {
    use warp::Filter as _;
    let github = GitHub::start().await;
    let (seen, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let sink = warp::header::<String>("x-hub-signature-256")
        .and(warp::header::<String>("x-github-event"))
        .and(warp::body::bytes())
        .map(move |signature: String, event: String, body: bytes::Bytes| {
            assert_eq!((signature, event.as_str()), (sign("secret", &body), "workflow_job"));
            let said: Value = serde_json::from_slice(&body).expect("JSON");
            seen.send((said["action"].as_str().expect("an action").to_owned(), said["workflow_job"]["id"].as_u64()))
                .expect("heard");
            "ok"
        });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(warp::serve(sink).incoming(listener).run());
    github.send_webhooks_to(&url, "secret");

    let runner = github.register("org/acme", "laptop", &["x"], true);
    let job = github.queue_job("acme/app", &["x"]);
    github.finish_job(job, "success");
    for action in ["queued", "in_progress", "completed"] {
        assert_eq!(heard.recv().await, Some((action.into(), Some(job))));
    }
    github.hooks(|h| (h.hold, h.copies) = (true, 1));
    let job = github.queue_job("acme/app", &["x"]);
    assert_eq!(github.job_of(runner), Ok(Some(job)));
    github.release_held(true).await;
    for action in ["in_progress", "in_progress", "queued", "queued"] {
        assert_eq!(heard.recv().await, Some((action.into(), Some(job))), "twice each, last first");
    }
    github.hooks(|h| (h.copies, h.dropped) = (0, vec!["completed"]));
    github.cancel_job(job);
    let job = github.queue_job("acme/app", &["nobody"]);
    assert_eq!(heard.recv().await, Some(("queued".into(), Some(job))), "the completed event was dropped");
    assert!(github.sent().iter().all(|s| s.status == 200));
    assert_eq!(post("http://127.0.0.1:9/", "ping", "1", None, Vec::new()).await, 0, "nobody answers");
}

// ------------------------------------------------------------------------------------------------------ AWS

async fn fleet(moto: &Moto, world: &World, token: &str, count: i32) -> Result<(Vec<String>, Vec<String>), String> {
    let overrides = ["m7i.large", "m6i.large"].iter().flat_map(|t| world.subnets.iter().map(move |s| (t, s)));
    let template = FleetLaunchTemplateSpecificationRequest::builder()
        .launch_template_name(format!("{}-linux", world.cluster))
        .version("$Default")
        .build();
    let config =
        overrides.fold(FleetLaunchTemplateConfigRequest::builder().launch_template_specification(template), |c, (t, s)| {
            c.overrides(
                FleetLaunchTemplateOverridesRequest::builder().instance_type(t.parse().expect("any")).subnet_id(s).build(),
            )
        });
    let target = TargetCapacitySpecificationRequest::builder()
        .total_target_capacity(count)
        .default_target_capacity_type(DefaultTargetCapacityType::Spot)
        .build();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .tags(tag("muster:cluster", &world.cluster))
        .tags(tag("muster:pool", "linux"))
        .build();
    let spot = SpotOptionsRequest::builder().allocation_strategy(SpotAllocationStrategy::PriceCapacityOptimized).build();
    let request = moto.ec2.create_fleet().client_token(token).r#type(FleetType::Instant).spot_options(spot);
    let request = request.target_capacity_specification(target).launch_template_configs(config.build()).tag_specifications(tags);
    match request.send().await {
        Ok(made) => {
            let errors = made.errors().iter().map(|e| {
                let what = e.launch_template_and_overrides().and_then(|l| l.overrides()).and_then(|o| o.instance_type());
                format!("{} {}", e.error_code().unwrap_or_default(), what.map_or("", |t| t.as_str()))
            });
            let ids = made.instances().iter().flat_map(|i| i.instance_ids().iter().cloned());
            Ok((ids.collect(), errors.collect()))
        }
        Err(error) => Err(format!("{:?}", aws_sdk_ec2::error::ProvideErrorMetadata::code(&error))),
    }
}

#[tokio::test]
async fn a_client_token_launches_once() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world("c1", &["linux"]).await;
    let (first, errors) = fleet(&moto, &world, "a", 3).await.expect("a fleet");
    assert_eq!((first.len(), errors.len()), (3, 0));
    assert_eq!(fleet(&moto, &world, "a", 3).await.expect("the same answer").0, first);
    assert_eq!(fleet(&moto, &world, "a", 4).await, Err("Some(\"IdempotentParameterMismatch\")".into()));
    moto.fault(json!({ "op": "CreateFleet", "kind": "lost", "after_effect": true })).await;
    let (second, _) = fleet(&moto, &world, "b", 2).await.expect("the SDK tries again with the same token");
    assert_eq!((second.len(), moto.alive().await.len()), (2, 5), "the lost answer launched nothing twice");
}

#[tokio::test]
async fn capacity_faults_parse_in_the_real_sdk() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world("c1", &["linux"]).await;
    moto.fault(json!({ "op": "CreateFleet", "kind": "capacity" })).await;
    let (ids, errors) = fleet(&moto, &world, "whole", 2).await.expect("in-band errors");
    assert_eq!((ids.len(), errors.len()), (0, 2 * world.subnets.len()));
    moto.fault(json!({ "op": "CreateFleet", "kind": "capacity", "only": 2, "unavailable": [{ "type": "m7i.large" }] })).await;
    let (ids, errors) = fleet(&moto, &world, "part", 5).await.expect("a partial fleet");
    assert_eq!((ids.len(), errors.len()), (2, world.subnets.len()));
    assert!(errors.iter().all(|e| e == "InsufficientInstanceCapacity m7i.large"), "{errors:?}");
    assert!(moto.alive().await.iter().all(|i| i.instance_type == "m6i.large"));
    moto.fault(json!({ "op": "ec2:*", "kind": "throttled", "times": 2 })).await;
    moto.ec2.describe_instances().send().await.expect("the SDK's own retries see RequestLimitExceeded as throttling");
    moto.fault(json!({ "op": "sqs:*", "kind": "throttled", "times": 1 })).await;
    moto.sqs.list_queues().send().await.expect("and ThrottlingException");
}

#[tokio::test]
async fn new_instances_are_hidden_while_describe_lags() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world("c1", &["linux"]).await;
    moto.lag(ms(700)).await;
    fleet(&moto, &world, "a", 2).await.expect("a fleet");
    let seen = || async {
        let page = moto.ec2.describe_instances().send().await.expect("it answers");
        page.reservations().iter().map(|r| r.instances().len()).sum::<usize>()
    };
    assert_eq!(seen().await, 0);
    eventually(secs(10), "the instances appear", || async { same(seen().await, 2) }).await;
}

#[tokio::test]
async fn what_a_dead_consumer_held_comes_back() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world("c1", &["linux"]).await;
    moto.send(&world.jobs, "hello").await;
    let receive =
        || async { moto.sqs.receive_message().queue_url(&world.jobs).send().await.expect("it answers").messages().len() };
    assert_eq!(receive().await, 1);
    assert_eq!(receive().await, 0, "the message is held");
    let depth = moto.depth(&world.jobs).await;
    assert_eq!((depth.messages, depth.in_flight), (1, 1));
    moto.end_visibility().await;
    assert_eq!(receive().await, 1);
}

#[tokio::test]
async fn an_instance_lives_as_a_real_one_does() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world("c1", &["linux"]).await;
    let github = GitHub::start().await;
    let client = Client::new(&github).await;
    let behaviour = std::sync::Arc::new(|n| if n == 2 { Behaviour::NeverBoots } else { Behaviour::Normal });
    let instances = Instances::start(&moto, &github, &world, Habits { behaviour, ..Habits::default() }).await;
    let (ids, _) = fleet(&moto, &world, "a", 3).await.expect("a fleet");
    for id in &ids {
        let (_, made) = client.mint(&format!("c1.linux.{id}")).await;
        let config = made["encoded_jit_config"].as_str().expect("a config");
        let arn = format!("arn:aws:ec2:eu-west-1:123456789012:instance/{id}");
        let owner = aws_sdk_ssm::types::Tag::builder().key("muster:instance-arn").value(arn).build().expect("a tag");
        let put = moto.ssm.put_parameter().name(format!("/muster/c1/runners/{id}")).value(config).tags(owner);
        put.r#type(aws_sdk_ssm::types::ParameterType::SecureString).send().await.expect("a secret");
    }
    eventually(secs(10), "two runners are online and their secrets are gone", || async {
        let online = github.runners().iter().filter(|r| r.online).count();
        same((online, moto.secrets().await.len()), (2, 1))
    })
    .await;
    let job = github.queue_job("acme/app", &["linux"]);
    eventually(secs(10), "the job is done and its instance is gone", || async {
        same((github.job(job).status.as_str(), moto.alive().await.len()), ("completed", 2))
    })
    .await;
    never(ms(500), "an idle instance ends without being asked", || async { same(moto.alive().await.len(), 2) }).await;
    let drain = ids.iter().fold(moto.ec2.create_tags(), |c, id| c.resources(id));
    let tag = Tag::builder().key("muster:drain").value("surplus").build();
    drain.tags(tag).send().await.expect("tags");
    eventually(secs(10), "the idle instance drains, and the one that never booted stays", || async {
        same(moto.alive().await.len(), 1)
    })
    .await;
    assert_eq!(github.runners().iter().filter(|r| r.online).count(), 0);
    assert_eq!(github.killed(), Vec::<u64>::new());
    let stories = instances.stories();
    assert_eq!(stories.values().filter(|s| s.ended_itself).count(), 2);
    assert_eq!(stories.values().filter(|s| s.jobs == [job]).count(), 1);
}

/// Makes a call of EC2 as a form, for what the SDK would not send.
async fn ec2_says(moto: &Moto, form: &[(&str, &str)]) -> String {
    moto.query("ec2", &[&[("Version", "2016-11-15")], form].concat()).await
}

#[tokio::test]
async fn what_aws_would_refuse_is_a_violation() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world("c1", &["linux"]).await;
    assert_eq!(moto.take_violations().await, Vec::<String>::new(), "a world is as AWS has it");
    let told = async |words: &[&str]| {
        let seen = moto.take_violations().await;
        assert!(seen.iter().any(|text| words.iter().all(|word| text.contains(word))), "{words:?} was not noticed: {seen:#?}");
    };

    // Rules of the model: words, members, types, what is required, ranges, patterns.
    let sets = [("Action", "DescribeInstances"), ("MaxResults", "5")];
    ec2_says(&moto, &[&sets[..], &[("MaxResluts", "5")]].concat()).await;
    told(&["ec2.DescribeInstances", "MaxResluts", "no member", "https://docs.aws.amazon.com/"]).await;
    ec2_says(&moto, &[("Action", "DescribeInstances"), ("MaxResults", "many")]).await;
    told(&["MaxResults", "no integer"]).await;
    ec2_says(
        &moto,
        &[
            ("Action", "RunInstances"),
            ("ImageId", "ami-12c6146b"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("InstanceInitiatedShutdownBehavior", "destroy"),
        ],
    )
    .await;
    told(&["InstanceInitiatedShutdownBehavior", "destroy", "none of the"]).await;
    ec2_says(&moto, &[("Action", "TerminateInstances")]).await;
    told(&["InstanceIds", "required"]).await;
    moto.ssm.get_parameters_by_path().path("/muster").max_results(11).send().await.ok();
    told(&["ssm.GetParametersByPath", "MaxResults", "the most is 10"]).await;
    moto.query(
        "iam",
        &[("Action", "CreateRole"), ("Version", "2010-05-08"), ("RoleName", "a b"), ("AssumeRolePolicyDocument", "{}")],
    )
    .await;
    told(&["iam.CreateRole", "RoleName", "does not fit"]).await;

    // Rules that only documents have.
    ec2_says(&moto, &[("Action", "CreateSecurityGroup"), ("GroupName", "a"), ("GroupDescription", "muster's instances")]).await;
    told(&["CreateSecurityGroup", "Description", "API_CreateSecurityGroup.html"]).await;
    let put = moto.ssm.put_parameter().name("/muster/c1/a").value("x").overwrite(true);
    let tag = aws_sdk_ssm::types::Tag::builder().key("a").value("b").build().expect("a tag");
    put.r#type(aws_sdk_ssm::types::ParameterType::SecureString).tags(tag).send().await.ok();
    told(&["ssm.PutParameter", "Tags", "Overwrite", "API_PutParameter.html"]).await;
    moto.sqs.send_message().queue_url(&world.jobs).message_body("a\u{1}b").send().await.ok();
    told(&["sqs.SendMessage", "MessageBody", "characters"]).await;
    moto.sqs.change_message_visibility().queue_url(&world.jobs).receipt_handle("x").visibility_timeout(43_201).send().await.ok();
    told(&["ChangeMessageVisibility", "VisibilityTimeout", "43200"]).await;
    let filter = aws_sdk_ec2::types::Filter::builder().name("tags:muster").values("x").build();
    moto.ec2.describe_instances().filters(filter).send().await.ok();
    told(&["Filters[0].Name", "tags:muster"]).await;
    moto.ec2
        .create_tags()
        .resources("i-0123456789abcdef0")
        .tags(Tag::builder().key("aws:x").value("y").build())
        .send()
        .await
        .ok();
    told(&["CreateTags", "aws:x"]).await;
    let twice = World { subnets: vec![world.subnets[0].clone(), world.subnets[0].clone()], ..world };
    fleet(&moto, &twice, "t", 1).await.ok();
    told(&["CreateFleet", "duplicate instance pools"]).await;
}

#[tokio::test]
async fn an_answer_that_aws_would_not_give_is_a_violation_too() {
    let Some(moto) = Moto::start().await else { return };
    let filter = aws_sdk_ec2::types::Filter::builder().name("hibernation-options.configured").values("true").build();
    moto.ec2.run_instances().image_id("ami-12c6146b").min_count(1).max_count(1).send().await.expect("moto launches");
    moto.ec2.describe_instances().filters(filter).send().await.expect_err("moto does not know this filter");
    let seen = moto.take_violations().await.join("\n");
    assert!(seen.contains("the answer is 500 and no error of AWS"), "{seen}");
}

#[tokio::test]
#[should_panic(expected = "AWS would not have it so")]
async fn a_violation_of_awss_models_fails_the_test_by_itself() {
    let Some(moto) = Moto::start().await else { panic!("AWS would not have it so: skipped, there is no moto") };
    ec2_says(&moto, &[("Action", "DescribeInstances"), ("Colour", "red")]).await;
}
