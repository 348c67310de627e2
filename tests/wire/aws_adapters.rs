//! The AWS adapters against moto, over a real wire: what the SDK sends, what comes back, and which kind each failure is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_cloud::aws::s3::{Condition, PutResult};
use muster_cloud::aws::{Aws, InstanceSecret};
use muster_cloud::aws_config::timeout::{TimeoutConfig, TimeoutConfigBuilder};
use muster_cloud::aws_config::{BehaviorVersion, Region, SdkConfig};
use muster_cloud::aws_sdk_ec2::config::Credentials;
use muster_cloud::manifests::Manifests;
use muster_cloud::{aws_config, aws_sdk_s3, aws_sdk_ssm};
use muster_message::seal::Sealed;

use crate::support::moto::{MUSTER_KEY, Moto, REGION, SECRET_ACCESS_KEY};
use crate::support::tools::DeadPort;
use muster_reconciler::effect::{InstanceSighting, Launch, LaunchedInstance, Outcome, Swept};
use muster_reconciler::event::InstanceState;
use muster_reconciler::failure::{Failure, FailureKind, OfferingError};
use muster_reconciler::ids::{InstanceId, ListId};
use muster_reconciler::manifest::{Allocation, Text};
use muster_reconciler::market::{Market, Offering};
use muster_reconciler::tags;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

// ------------------------------------------------------------------------------------------------ the world

async fn config(endpoint: &str, timeouts: TimeoutConfigBuilder) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(MUSTER_KEY, SECRET_ACCESS_KEY, None, None, "test"))
        .timeout_config(timeouts.build())
        .load()
        .await
}

/// An emulator with the adapters. Its own clients do what muster never does, such as making queues and templates.
struct World {
    moto: Moto,
    aws: Aws,
    calls: Arc<Mutex<Vec<(&'static str, String)>>>,
}

impl World {
    /// None: moto cannot run, so the test is skipped, and says so.
    async fn start() -> Option<World> {
        let moto = Moto::start().await?;
        let config = config(moto.url(), TimeoutConfig::builder()).await;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let aws = Aws::new(&config).with_observer(Arc::new(move |api, ended, _| {
            seen.lock().expect("not poisoned").push((api, ended.as_str().to_owned()));
        }));
        Some(World { moto, aws, calls })
    }

    /// A launch template, and the two subnets that launches may use.
    async fn template(&self) -> Vec<Arc<str>> {
        self.moto.create_template("prod-linux").await;
        let subnets = self.moto.ec2.describe_subnets().send().await.expect("subnets");
        subnets.subnets().iter().filter_map(|subnet| subnet.subnet_id()).take(2).map(Arc::from).collect()
    }

    async fn sweep(&self, cluster: &str) -> Vec<InstanceSighting> {
        instances(self.aws.ec2.sweep(cluster).await)
    }

    /// What the observer heard of an API.
    fn heard(&self, api: &str) -> Vec<String> {
        self.calls
            .lock()
            .expect("not poisoned")
            .iter()
            .filter(|(name, _)| *name == api)
            .map(|(_, outcome)| outcome.clone())
            .collect()
    }
}

/// The list in which the cluster's runners register.
const LIST: &str = "main/org/acme";

fn a_launch(cluster: &str, intent: &str, count: u32, subnets: &[Arc<str>]) -> Launch {
    let offer = |instance_type: &str, subnet: &Arc<str>| Offering { instance_type: instance_type.into(), subnet: subnet.clone() };
    let tags = [(tags::CLUSTER, cluster), (tags::POOL, "linux"), (tags::INTENT, intent), (tags::LIST, LIST), ("team", "ci")];
    Launch {
        intent: intent.into(),
        pool: "linux".into(),
        list_id: ListId::parse_tag(LIST).expect("a list"),
        count,
        template: "prod-linux".into(),
        offerings: vec![offer("m7i.large", &subnets[0]), offer("m6i.large", &subnets[1])],
        market: Market::Spot,
        allocation: Allocation::PriceCapacityOptimized,
        tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

fn launched(outcome: Outcome) -> (Vec<LaunchedInstance>, Vec<OfferingError>) {
    match outcome {
        Outcome::Launched(launched) => (launched.instances, launched.errors),
        other => panic!("not launched: {other:?}"),
    }
}

fn ids(launched: &[LaunchedInstance]) -> Vec<InstanceId> {
    launched.iter().map(|instance| instance.id.clone()).collect()
}

fn instances(outcome: Outcome) -> Vec<InstanceSighting> {
    match outcome {
        Outcome::Swept(Swept::Instances(seen)) => seen,
        other => panic!("not swept: {other:?}"),
    }
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("did not fail: {other:?}"),
    }
}

fn batch(outcome: Outcome) -> (Vec<InstanceId>, Vec<(InstanceId, Failure)>) {
    match outcome {
        Outcome::Batch { done, failed } => (done, failed),
        other => panic!("not a batch: {other:?}"),
    }
}

// ------------------------------------------------------------------------------------------------ EC2

#[tokio::test]
async fn a_launch_bears_its_tags_and_the_sweep_sees_it_over_many_pages() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    for number in 0..7 {
        let (made, errors) = launched(world.aws.ec2.launch(&a_launch("prod", &format!("intent-{number}"), 1, &subnets)).await);
        assert_eq!((made.len(), errors.len()), (1, 0));
        assert_eq!(
            (&*made[0].instance_type, made[0].subnet.as_ref(), made[0].market),
            ("m7i.large", Some(&subnets[0]), Market::Spot)
        );
    }
    let elsewhere = launched(world.aws.ec2.launch(&a_launch("other", "intent-x", 1, &subnets)).await).0;

    let small_pages = world.aws.ec2.clone().with_page(5);
    let seen = instances(small_pages.sweep("prod").await);
    assert_eq!(seen.len(), 7);
    assert_eq!(world.heard("ec2.DescribeInstances"), ["ok", "ok"], "two pages of five");
    assert!(seen.iter().all(|instance| instance.id != elsewhere[0].id), "another cluster's instance is not ours");
    let intents: BTreeSet<_> =
        seen.iter().filter_map(|instance| instance.intent.as_ref()).map(|intent| intent.as_str()).collect();
    assert_eq!(intents.len(), 7);
    for instance in &seen {
        assert_eq!(instance.pool.as_str(), "linux");
        assert_eq!((instance.state, instance.market, instance.draining), (InstanceState::Running, Market::Spot, false));
        assert_eq!((&*instance.instance_type, instance.subnet.as_ref()), ("m7i.large", Some(&subnets[0])));
        assert!(instance.launched_at.as_millis() > 1_600_000_000_000, "milliseconds since the epoch");
    }
}

#[tokio::test]
async fn an_on_demand_launch_is_on_demand_and_a_missing_template_is_named() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    let launch = Launch { market: Market::OnDemand, ..a_launch("prod", "intent-1", 2, &subnets) };
    let (made, _) = launched(world.aws.ec2.launch(&launch).await);
    assert_eq!(made.iter().map(|instance| instance.market).collect::<Vec<_>>(), [Market::OnDemand; 2]);
    assert!(world.sweep("prod").await.iter().all(|instance| instance.market == Market::OnDemand));

    let launch = Launch { template: "nowhere".into(), ..a_launch("prod", "intent-2", 1, &subnets) };
    let failed = failure(world.aws.ec2.launch(&launch).await);
    assert_eq!(failed.kind, FailureKind::NotFound, "{}", failed.message);
    assert!(
        failed.message.starts_with("launch 1 for pool linux: InvalidLaunchTemplateName.NotFoundException: "),
        "{}",
        failed.message
    );
}

#[tokio::test]
async fn capacity_errors_name_their_offering_and_partial_success_counts() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    world.moto.fault(json!({"op": "CreateFleet", "kind": "capacity", "only": 1, "unavailable": [{"type": "m7i.large"}]})).await;
    let (made, errors) = launched(world.aws.ec2.launch(&a_launch("prod", "intent-1", 3, &subnets)).await);
    assert_eq!(made.len(), 1);
    assert_eq!(&*made[0].instance_type, "m6i.large");
    let said: Vec<_> = errors.iter().map(|e| (e.instance_type.as_deref(), e.subnet.as_deref(), e.code.as_str())).collect();
    assert_eq!(said, [(Some("m7i.large"), Some(&*subnets[0]), "InsufficientInstanceCapacity")]);

    let refusal =
        json!({"op": "CreateFleet", "kind": "error", "status": 500, "code": "InsufficientInstanceCapacity", "message": "none"});
    world.moto.fault(refusal).await;
    let (made, errors) = launched(world.aws.ec2.launch(&a_launch("prod", "intent-2", 3, &subnets)).await);
    assert_eq!((made.len(), errors.len()), (0, 1));
    assert_eq!((&errors[0].instance_type, errors[0].code.as_str()), (&None, "InsufficientInstanceCapacity"));
}

#[tokio::test]
async fn a_launch_whose_answer_was_lost_is_ambiguous_and_its_retry_launches_nothing_twice() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    let launch = a_launch("prod", "intent-1", 2, &subnets);
    world.moto.fault(json!({"op": "CreateFleet", "kind": "lost", "after_effect": true})).await;
    let lost = failure(world.aws.ec2.launch(&launch).await);
    assert_eq!(lost.kind, FailureKind::Ambiguous, "{}", lost.message);

    let (made, _) = launched(world.aws.ec2.launch(&launch).await);
    assert_eq!(made.len(), 2);
    assert_eq!(world.sweep("prod").await.len(), 2, "the same token and bytes gave the same fleet");

    let changed = failure(world.aws.ec2.launch(&Launch { count: 3, ..launch }).await);
    assert_eq!(changed.kind, FailureKind::Conflict, "{}", changed.message);
    assert_eq!(world.heard("ec2.CreateFleet"), ["ambiguous", "ok", "conflict"], "the SDK tried nothing again by itself");
}

#[tokio::test]
async fn one_bad_id_does_not_keep_the_others_alive() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    let (made, _) = launched(world.aws.ec2.launch(&a_launch("prod", "intent-1", 4, &subnets)).await);
    let mut all = ids(&made);
    let gone = InstanceId::from("i-0123456789abcdef0");
    all.insert(2, gone.clone());

    let (done, failed) = batch(world.aws.ec2.terminate(&all).await);
    assert_eq!(failed, []);
    assert_eq!(done.iter().collect::<BTreeSet<_>>(), all.iter().collect(), "an instance that is gone counts as done");
    let seen = world.sweep("prod").await;
    assert!(seen.iter().all(|instance| instance.state == InstanceState::Terminated), "{seen:?}");
    assert!(seen.iter().all(|instance| instance.state_reason.is_some()), "{seen:?}");
    assert_eq!(batch(world.aws.ec2.terminate(&[]).await).0, []);
}

#[tokio::test]
async fn a_protected_instance_fails_alone_although_ec2_does_not_say_which_it_is() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    let (made, _) = launched(world.aws.ec2.launch(&a_launch("prod", "intent-1", 5, &subnets)).await);
    let protected = made[3].id.clone();
    let text = "The instance may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.";
    let fault = json!({"op": "TerminateInstances", "kind": "error", "code": "OperationNotPermitted", "message": text,
        "match": protected.as_str(), "times": -1});
    world.moto.fault(fault).await;
    let (done, failed) = batch(world.aws.ec2.terminate(&ids(&made)).await);
    assert_eq!(done.len(), 4);
    assert_eq!(failed.iter().map(|(id, why)| (id, why.kind)).collect::<Vec<_>>(), [(&protected, FailureKind::Refused)]);
}

#[tokio::test]
async fn without_permission_a_batch_fails_in_one_call() {
    let Some(world) = World::start().await else { return };
    let text = "You are not authorized to perform this operation.";
    world
        .moto
        .fault(
            json!({"op": "TerminateInstances", "kind": "error", "status": 403, "code": "UnauthorizedOperation", "message": text}),
        )
        .await;
    let all: Vec<InstanceId> = (0..9).map(|n| format!("i-0123456789abcdef{n}").into()).collect();
    let (done, failed) = batch(world.aws.ec2.terminate(&all).await);
    assert_eq!((done.len(), failed.len()), (0, 9));
    assert_eq!(world.heard("ec2.TerminateInstances"), ["refused"]);
}

#[tokio::test]
async fn an_instance_that_is_asked_to_drain_says_so_in_the_next_sweep() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    let (made, _) = launched(world.aws.ec2.launch(&a_launch("prod", "intent-1", 3, &subnets)).await);
    let gone = InstanceId::from("i-0123456789abcdef0");
    let asked = [made[0].id.clone(), gone.clone(), made[1].id.clone()];
    let (done, failed) = batch(world.aws.ec2.drain(&asked, "idle for 10m").await);
    assert_eq!((done.len(), failed.len()), (3, 0));
    let draining: BTreeSet<_> =
        world.sweep("prod").await.into_iter().filter(|instance| instance.draining).map(|instance| instance.id).collect();
    assert_eq!(draining, asked.into_iter().filter(|id| *id != gone).collect());
}

#[tokio::test]
async fn a_page_that_fails_fails_the_sweep() {
    let Some(world) = World::start().await else { return };
    let subnets = world.template().await;
    for number in 0..6 {
        launched(world.aws.ec2.launch(&a_launch("prod", &format!("intent-{number}"), 1, &subnets)).await);
    }
    world.moto.fault(json!({"op": "DescribeInstances", "kind": "throttled", "match": "NextToken"})).await;
    let failed = failure(world.aws.ec2.clone().with_page(5).sweep("prod").await);
    assert_eq!(failed.kind, FailureKind::Throttled);
    assert!(
        failed.message.starts_with("sweep the instances of cluster prod, page 2: RequestLimitExceeded: "),
        "{}",
        failed.message
    );
    assert_eq!(world.sweep("prod").await.len(), 6);
}

// ------------------------------------------------------------------------------------------------ failures on the wire

#[tokio::test]
async fn each_way_of_not_answering_is_known_for_what_it_is() {
    let Some(world) = World::start().await else { return };
    let kind = |outcome: Outcome| failure(outcome).kind;
    let sweep = || world.aws.ec2.sweep("prod");

    world.moto.fault(json!({"op": "DescribeInstances", "kind": "throttled"})).await;
    assert_eq!(kind(sweep().await), FailureKind::Throttled);
    world.moto.fault(json!({"op": "DescribeInstances", "kind": "unavailable"})).await;
    assert_eq!(kind(sweep().await), FailureKind::Unavailable);
    world.moto.fault(json!({"op": "DescribeInstances", "kind": "page", "body": "<html>oops</html>", "status": 500})).await;
    assert_eq!(kind(sweep().await), FailureKind::Unavailable);
    world.moto.fault(json!({"op": "DescribeInstances", "kind": "lost"})).await;
    assert_eq!(kind(sweep().await), FailureKind::Ambiguous);
    world.moto.fault(json!({"op": "DescribeParameters", "kind": "throttled"})).await;
    assert_eq!(kind(world.aws.ssm.list_secrets("prod").await), FailureKind::Throttled);

    world.moto.fault(json!({"op": "DescribeInstances", "kind": "slow", "delay_ms": 1500})).await;
    let hasty = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(200));
    let hasty = Aws::new(&config(world.moto.url(), hasty).await);
    assert_eq!(kind(hasty.ec2.sweep("prod").await), FailureKind::Ambiguous);
}

#[tokio::test]
async fn a_request_that_never_left_took_no_effect() {
    let closed = DeadPort::bind();
    let refused =
        Aws::new(&config(&format!("http://{}", closed.address()), TimeoutConfig::builder()).await).ec2.sweep("prod").await;
    assert_eq!(failure(refused).kind, FailureKind::Unavailable, "connection refused");

    // The queue of this listener is full, so the kernel answers no further SYN.
    let full = tokio::net::TcpSocket::new_v4().expect("a socket");
    full.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let full = full.listen(0).expect("listening");
    let address = full.local_addr().expect("an address");
    let crowd: Vec<_> = (0..3).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address))).collect();
    tokio::time::timeout(Duration::from_secs(25), async {
        while !crowd.iter().any(|guest| guest.is_finished()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("one connection fills the queue");
    let hasty = TimeoutConfig::builder().connect_timeout(Duration::from_millis(200));
    let timed_out = Aws::new(&config(&format!("http://{address}"), hasty).await).ec2.sweep("prod").await;
    let timed_out = failure(timed_out);
    assert_eq!(timed_out.kind, FailureKind::Unavailable, "{}", timed_out.message);

    let nobody = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(REGION)).no_credentials().load().await;
    let nobody = failure(Aws::new(&nobody).ec2.sweep("prod").await);
    assert_eq!(nobody.kind, FailureKind::Unavailable, "{}", nobody.message);
}

// ------------------------------------------------------------------------------------------------ SSM

/// The KMS key that a secret of cluster `prod` is under.
async fn key_of(ssm: &aws_sdk_ssm::Client, instance: &InstanceId) -> Option<String> {
    let name = format!("/muster/prod/runners/{instance}");
    let filter = aws_sdk_ssm::types::ParameterStringFilter::builder().key("Name").values(name).build().expect("a filter");
    let found = ssm.describe_parameters().parameter_filters(filter).send().await.expect("described");
    found.parameters().first()?.key_id().map(str::to_owned)
}

#[tokio::test]
async fn a_secret_is_stored_for_one_instance_replaced_listed_read_and_deleted() {
    let Some(world) = World::start().await else { return };
    let ssm = &world.aws.ssm;
    let instances: Vec<InstanceId> = (0..12).map(|n| format!("i-{n:017}").into()).collect();
    let arn = format!("arn:aws:ec2:{REGION}:123456789012:instance/{}", instances[0]);
    let key = format!("arn:aws:kms:{REGION}:123456789012:key/11111111-2222-3333-4444-555555555555");
    let (first, second) = (SecretString::from("first"), SecretString::from("second"));
    let of = |instance| InstanceSecret { cluster: "prod", instance, arn: Some(&arn), key: None, value: &first };
    for id in &instances {
        ssm.put_secret(of(id)).await.expect("stored");
    }
    assert_eq!(key_of(&world.moto.ssm, &instances[0]).await.as_deref(), Some("alias/aws/ssm"), "the account's key by default");
    ssm.put_secret(InstanceSecret { key: Some(&key), value: &second, ..of(&instances[0]) }).await.expect("replaced");
    assert_eq!(key_of(&world.moto.ssm, &instances[0]).await, Some(key), "and the customer's where there is one");
    ssm.put_secret(InstanceSecret { cluster: "other", arn: None, ..of(&instances[0]) }).await.expect("stored");
    let name = format!("/muster/prod/runners/{}", instances[0]);
    assert_eq!(ssm.get(&name).await.expect("read").expose_secret(), "second");

    let raw = &world.moto.ssm;
    let parameter = raw.get_parameter().name(&name).send().await.expect("found").parameter.expect("a parameter");
    assert_eq!(parameter.r#type(), Some(&aws_sdk_ssm::types::ParameterType::SecureString));
    let kind = aws_sdk_ssm::types::ResourceTypeForTagging::Parameter;
    let found = raw.list_tags_for_resource().resource_type(kind).resource_id(&name).send().await.expect("tags");
    let found: BTreeSet<_> = found.tag_list().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(found, BTreeSet::from([(tags::CLUSTER, "prod"), (tags::INSTANCE_ARN, arn.as_str())]));

    let listed = |outcome| match outcome {
        Outcome::Swept(Swept::Secrets(ids)) => ids.into_iter().collect::<BTreeSet<_>>(),
        other => panic!("not listed: {other:?}"),
    };
    assert_eq!(listed(ssm.list_secrets("prod").await), instances.iter().cloned().collect());
    let (done, failed) = batch(ssm.delete_secrets("prod", &instances[..11]).await);
    assert_eq!((done.len(), failed.len()), (11, 0));
    assert_eq!(listed(ssm.list_secrets("prod").await), BTreeSet::from([instances[11].clone()]));
    assert_eq!(batch(ssm.delete_secrets("prod", &instances).await).0.len(), 12, "missing secrets count as done");
    assert_eq!(listed(ssm.list_secrets("other").await).len(), 1, "another cluster's secrets stay");
    assert_eq!(ssm.get(&name).await.expect_err("gone").kind, FailureKind::NotFound);
}

#[tokio::test]
async fn a_refused_secret_is_not_in_the_message() {
    let Some(world) = World::start().await else { return };
    let text = "Value 'hunter2-hunter2' at 'value' failed to satisfy constraint";
    world.moto.fault(json!({"op": "PutParameter", "kind": "error", "code": "ValidationException", "message": text})).await;
    let secret = SecretString::from("hunter2-hunter2");
    let stored = InstanceSecret { cluster: "prod", instance: &"i-1".into(), arn: None, key: None, value: &secret };
    let failed = world.aws.ssm.put_secret(stored).await.expect_err("refused");
    assert_eq!(failed.kind, FailureKind::Refused);
    assert!(failed.message.contains("Value '[the secret]'"), "{}", failed.message);
}

// ------------------------------------------------------------------------------------------------ SQS

/// A message with a seal. Other tests check seals, so here it is an attribute like any other.
fn sealed(body: &str) -> Sealed {
    Sealed { body: body.into(), seal: format!("v1=of {body}") }
}

async fn queue(world: &World, name: &str) -> String {
    let made = world.moto.sqs.create_queue().queue_name(name).send().await.expect("queue");
    made.queue_url.expect("its URL")
}

#[tokio::test]
async fn messages_are_sent_received_held_released_and_deleted_in_batches() {
    let Some(world) = World::start().await else { return };
    let sqs = &world.aws.sqs;
    let jobs = queue(&world, "jobs").await;
    let bodies: Vec<String> = (0..23).map(|n| format!("{{\"job\":{n}}}")).collect();
    let messages: Vec<Sealed> = bodies.iter().map(|body| sealed(body)).collect();
    assert!(sqs.send_batch(&jobs, &messages).await.iter().all(Result::is_ok));
    assert_eq!(world.heard("sqs.SendMessageBatch").len(), 3);
    assert_eq!(sqs.depth(&jobs).await.expect("measured"), (23, 0, 0));

    let mut held = Vec::new();
    while held.len() < 23 {
        let got = sqs.receive(&jobs, 10, 1, 60).await.expect("received");
        assert!(!got.is_empty(), "only {} came", held.len());
        assert!(got.iter().all(|message| message.receive_count == 1));
        held.extend(got);
    }
    let got: BTreeSet<&str> = held.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(got, bodies.iter().map(String::as_str).collect());
    assert_eq!(sqs.depth(&jobs).await.expect("measured"), (0, 23, 0));

    let receipts: Vec<String> = held.iter().map(|message| message.receipt.clone()).collect();
    assert_eq!(sqs.change_visibility(&jobs, &receipts, 120).await, []);
    assert_eq!(sqs.delete(&jobs, &receipts[..22]).await, []);
    assert_eq!(sqs.change_visibility(&jobs, &receipts[22..], 0).await, [], "released at once");
    let again = sqs.receive(&jobs, 10, 5, 60).await.expect("received");
    assert_eq!(
        again.iter().map(|m| (m.message_id.as_str(), m.receive_count)).collect::<Vec<_>>(),
        [(held[22].message_id.as_str(), 2)]
    );
    assert_eq!(sqs.delete(&jobs, &[again[0].receipt.clone()]).await, []);
    assert_eq!(sqs.depth(&jobs).await.expect("measured"), (0, 0, 0));
}

#[tokio::test]
async fn a_receipt_that_is_no_longer_good_is_done_when_deleted_and_lost_when_extended() {
    let Some(world) = World::start().await else { return };
    let sqs = &world.aws.sqs;
    let jobs = queue(&world, "jobs").await;
    sqs.send_batch(&jobs, &[sealed("a"), sealed("b")]).await;
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(sqs.receive(&jobs, 10, 1, 60).await.expect("received"));
    }
    let receipts: Vec<String> = held.into_iter().map(|message| message.receipt).collect();
    assert_eq!(sqs.delete(&jobs, &receipts[..1]).await, []);
    let lost = sqs.change_visibility(&jobs, &receipts, 120).await;
    assert_eq!(lost.iter().map(|(i, why)| (*i, why.kind)).collect::<Vec<_>>(), [(0, FailureKind::NotFound)], "{lost:?}");
    assert_eq!(sqs.change_visibility(&jobs, &receipts, 0).await, [], "a message that is gone needs no release");
    assert_eq!(sqs.delete(&jobs, &receipts).await, []);
}

#[tokio::test]
async fn a_batch_that_was_not_taken_fails_for_every_member() {
    let Some(world) = World::start().await else { return };
    let sqs = &world.aws.sqs;
    let jobs = queue(&world, "jobs").await;
    world.moto.fault(json!({"op": "SendMessageBatch", "kind": "unavailable"})).await;
    let results = sqs.send_batch(&jobs, &vec![sealed("x"); 12]).await;
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|failure| failure.kind)).collect();
    assert_eq!(kinds[..10], [Some(FailureKind::Unavailable); 10]);
    assert_eq!(kinds[10..], [None; 2]);
    let missing = sqs.receive(&format!("{jobs}-not"), 1, 0, 60).await.expect_err("no such queue");
    assert_eq!(missing.kind, FailureKind::NotFound, "{}", missing.message);
}

#[tokio::test]
async fn a_dead_letter_keeps_its_body_and_its_attributes_and_says_why() {
    let Some(world) = World::start().await else { return };
    let dead = queue(&world, "dead").await;
    // Our own messages have a seal. Dead letters keep it, so that they can be sent back.
    let alive = queue(&world, "alive").await;
    world.aws.sqs.send_batch(&alive, &[sealed("{not json")]).await;
    let sent = world.aws.sqs.receive(&alive, 1, 5, 60).await.expect("received");
    world.aws.sqs.dead_letter(&dead, &sent[0], "not JSON:\nline 1").await.expect("moved");
    let got = world.aws.sqs.receive(&dead, 1, 5, 60).await.expect("received");
    assert_eq!(got[0].body, "{not json");
    let attributes: Vec<_> = got[0].attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(attributes, [("muster", "v1=of {not json"), ("reason", "not JSON: line 1")]);
}

// ------------------------------------------------------------------------------------------------ S3

#[tokio::test]
async fn only_one_of_two_conditional_writers_wins_and_manifests_are_read() {
    let Some(world) = World::start().await else { return };
    let s3 = &world.aws.s3;
    let raw = &world.moto.s3;
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
        .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuWest1)
        .build();
    raw.create_bucket().bucket("muster").create_bucket_configuration(place).send().await.expect("bucket");
    assert_eq!(s3.get("muster", "lease").await.expect("asked"), None);

    let stored = s3.put("muster", "lease", "a", Condition::IfAbsent).await.expect("written");
    let PutResult::Stored(first) = stored else { panic!("the first writer lost") };
    assert_eq!(s3.put("muster", "lease", "b", Condition::IfAbsent).await.expect("asked"), PutResult::Lost);
    let PutResult::Stored(second) = s3.put("muster", "lease", "c", Condition::IfMatch(first.clone())).await.expect("written")
    else {
        panic!("the holder lost")
    };
    assert_eq!(s3.put("muster", "lease", "d", Condition::IfMatch(first.clone())).await.expect("asked"), PutResult::Lost);
    assert_eq!(s3.put("muster", "no-such-lease", "d", Condition::IfMatch(first)).await.expect("asked"), PutResult::Lost);
    let (body, etag) = s3.get("muster", "lease").await.expect("read").expect("there");
    assert_eq!((&body[..], &etag), (&b"c"[..], &second));

    s3.put("muster", "manifests/b.yaml", "b", Condition::Always).await.expect("written");
    s3.put("muster", "manifests/a.yaml", "a", Condition::Always).await.expect("written");
    let keys: Vec<String> = s3.list("muster", "manifests/").await.expect("listed").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["manifests/a.yaml", "manifests/b.yaml"]);
    assert_eq!(s3.get("no-such-bucket", "x").await.expect_err("no bucket").kind, FailureKind::NotFound);

    // Each manifest in the bucket is read once for each of its versions.
    s3.put("muster", "manifests/deeper/c.yaml", "c", Condition::Always).await.expect("written");
    let place = "s3://muster/manifests".parse().unwrap_or_else(|never| match never {});
    let mut manifests = Manifests::new(place, &world.aws);
    let read = |texts: Vec<Text>| texts.into_iter().map(|text| format!("{} {}", text.file, text.body)).collect::<Vec<_>>();
    let before = world.heard("s3.GetObject").len();
    for _ in 0..2 {
        assert_eq!(read(manifests.read().await.expect("read")), ["a.yaml a", "b.yaml b"]);
    }
    s3.put("muster", "manifests/b.yaml", "b2", Condition::Always).await.expect("written");
    assert_eq!(read(manifests.read().await.expect("read")), ["a.yaml a", "b.yaml b2"]);
    assert_eq!(world.heard("s3.GetObject").len() - before, 3);
    s3.delete("muster", "manifests/b.yaml").await.expect("deleted");
    assert_eq!(read(manifests.read().await.expect("read")), ["a.yaml a"]);
    let place = "s3://muster/elsewhere".parse().unwrap_or_else(|never| match never {});
    let error = Manifests::new(place, &world.aws).read().await.expect_err("nothing there");
    assert_eq!(error.to_string(), "s3://muster/elsewhere holds no *.yaml or *.yml; put the manifests there");
}
