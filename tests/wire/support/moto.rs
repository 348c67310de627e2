//! AWS: moto behind the layer of faults of `tests/moto/server.py`, with one process for each test, and the world that
//! muster expects in it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use muster_cloud::aws_config::{BehaviorVersion, Region, SdkConfig};
use muster_cloud::aws_sdk_ec2::config::Credentials;
use muster_cloud::aws_sdk_ec2::types::{
    LaunchTemplateIamInstanceProfileSpecificationRequest, RequestLaunchTemplateData, ResourceType, Tag, TagSpecification,
};
use muster_cloud::aws_sdk_sqs::types::QueueAttributeName;
use muster_cloud::{aws_config, aws_sdk_ec2, aws_sdk_s3, aws_sdk_sqs, aws_sdk_ssm};
use serde::Deserialize;
use serde_json::{Value, json};

use super::iam::Policies;
use super::tools::{NO_VENV, skip};
use super::verdict::{self, Verdict};

/// The region of everything.
pub const REGION: &str = "eu-west-1";
/// muster's own access key. Only the calls with this key are counted as muster's.
pub const MUSTER_KEY: &str = "AKIAMUSTER";
/// The access key of a person who uses `muster doctor` or `muster plan`. It has the operator's policy.
pub const OPERATOR_KEY: &str = "AKIAOPERATOR";
/// The beginning of the instances' access keys. Each ends with the id of its instance: see [`instance_key`].
pub const INSTANCE_KEY: &str = "AKIAINSTANCE";
/// The access key of the test itself.
pub const TEST_KEY: &str = "AKIATEST";
/// The dummy secret of all these keys. It must never be in a log.
pub const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMIDUMMYSECRET";

const READY_WITHIN: Duration = Duration::from_secs(300);

/// A running moto. Dropping it ends it. The test then fails if its calls, or moto's answers, are not what AWS's models and
/// documents say (see `tests/moto/judge/`).
#[derive(Clone)]
pub struct Moto {
    /// The process ends with the last handle.
    server: Arc<Server>,
    url: String,
    http: reqwest::Client,
    pub ec2: aws_sdk_ec2::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub s3: aws_sdk_s3::Client,
}

/// The world that muster is told to use.
#[derive(Clone, Debug)]
pub struct World {
    pub cluster: String,
    /// The URL of the job queue.
    pub jobs: String,
    /// The URL of the queue of dead letters.
    pub dead_letters: String,
    /// The URL of the queue of EC2's events.
    pub ec2_events: String,
    /// The name of the bucket.
    pub bucket: String,
    /// The subnets, one in each zone.
    pub subnets: Vec<String>,
}

/// One instance, as moto keeps it.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    pub id: String,
    /// The state, mostly `running` or `terminated`.
    pub state: String,
    /// The type, such as `m7i.large`.
    pub instance_type: String,
    pub subnet: Option<String>,
    /// `spot` or `on-demand`.
    pub market: String,
    pub tags: BTreeMap<String, String>,
}

impl Instance {
    /// The value of a tag. Empty: there is no such tag.
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// Whether the instance is not terminated.
    pub fn alive(&self) -> bool {
        self.state != "terminated"
    }
}

/// One call that moto received.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    /// The operation, such as `CreateFleet`.
    pub op: String,
    /// The service, such as `ec2`.
    pub service: String,
    /// The access key of the caller.
    pub caller: String,
    /// When the call came, in milliseconds since 1970.
    pub at_ms: f64,
    /// The status of the answer; 0 if the answer was lost.
    pub status: Option<u16>,
    /// For CreateFleet: how many instances it asked for.
    pub count: Option<u32>,
    /// For CreateFleet: its ClientToken.
    pub token: Option<String>,
    /// For CreateFleet: `spot` or `on-demand`.
    pub market: Option<String>,
}

/// The content of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Depth {
    /// How many messages the queue has, held ones included.
    pub messages: usize,
    /// How many of these messages are held.
    pub in_flight: usize,
}

/// Everything at one moment, from moto's memory.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    /// All instances, terminated ones included.
    pub instances: Vec<Instance>,
    /// The names of the parameters in SSM.
    pub parameters: Vec<String>,
    /// The queues by name.
    pub queues: BTreeMap<String, Depth>,
}

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python")
}

/// Dummy credentials and the endpoint, in the form of variables.
pub fn env(url: &str, key: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The access key of an instance: its role's session there.
pub fn instance_key(instance: &str) -> String {
    format!("{INSTANCE_KEY}{}", instance.trim_start_matches("i-"))
}

/// The settings of an SDK for one caller.
pub async fn sdk(url: &str, key: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(key, SECRET_ACCESS_KEY, None, None, "test"))
        .load()
        .await
}

impl Moto {
    /// Starts moto. None: the test is skipped, as in `let Some(moto) = Moto::start().await else { return };`. Without the
    /// virtual environment a test cannot run. With `CI=true` that is a failure.
    pub async fn start() -> Option<Moto> {
        if !python().exists() {
            skip(NO_VENV);
            return None;
        }
        let mut child = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto/server.py"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the virtual environment's python starts");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let line = tokio::task::spawn_blocking(move || heard.recv_timeout(READY_WITHIN)).await.expect("no panic in recv");
        let port = line.ok().and_then(|l| l.strip_prefix("listening on ").map(str::to_owned));
        let Some(port) = port else {
            child.kill().ok();
            panic!("moto was not ready within {READY_WITHIN:?}: run `make setup` again after removing .venv");
        };
        let url = format!("http://127.0.0.1:{port}");
        let config = sdk(&url, TEST_KEY).await;
        Some(Moto {
            server: Arc::new(Server { child, port: port.parse().expect("a port"), policies: Mutex::default() }),
            http: reqwest::Client::new(),
            ec2: aws_sdk_ec2::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            // Buckets as host names would need DNS.
            s3: aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build()),
            url,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn control(&self, path: &str, said: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).json(&said);
        let answer = request.send().await.unwrap_or_else(|e| panic!("moto's {path}: {e}"));
        answer.json().await.unwrap_or_else(|e| panic!("moto's {path}: {e}"))
    }

    /// Makes queues, a launch template `<cluster>-<pool>` for each pool, and a bucket, all with the names that the
    /// Terraform module gives them. The subnets are moto's default ones. The calls of muster and the instances are judged
    /// by the policies that the module renders for such a cluster.
    pub async fn create_world(&self, cluster: &str, pools: &[&str]) -> World {
        let dead_name = format!("{cluster}-dead-letters");
        let dead_letters = self.create_queue(&dead_name, None).await;
        let jobs = self.create_queue(&format!("{cluster}-jobs"), Some(&dead_name)).await;
        let ec2_events = self.create_queue(&format!("{cluster}-ec2-events"), None).await;
        for pool in pools {
            self.create_template(&format!("{cluster}-{pool}")).await;
        }
        let seen = self.ec2.describe_subnets().send().await.expect("moto lists its subnets");
        let subnets: Vec<String> = seen.subnets().iter().filter_map(|s| s.subnet_id().map(str::to_owned)).collect();
        let pools: Vec<String> = pools.iter().map(|&pool| pool.to_owned()).collect();
        let policies = Policies::of(cluster, &pools, &subnets).await;
        *self.server.policies.lock().expect("no panic under this lock") = policies;
        let bucket = format!("{cluster}-muster-123456789012-{REGION}");
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuWest1)
            .build();
        self.s3.create_bucket().bucket(&bucket).create_bucket_configuration(place).send().await.expect("moto makes a bucket");
        World { cluster: cluster.into(), jobs, dead_letters, ec2_events, bucket, subnets }
    }

    /// The zone of each subnet.
    pub async fn zones(&self, subnets: &[String]) -> BTreeMap<String, String> {
        let call = self.ec2.describe_subnets().set_subnet_ids(Some(subnets.to_vec()));
        let seen = call.send().await.expect("moto lists its subnets");
        let pair = |s: &aws_sdk_ec2::types::Subnet| Some((s.subnet_id()?.to_owned(), s.availability_zone()?.to_owned()));
        seen.subnets().iter().filter_map(pair).collect()
    }

    async fn create_queue(&self, name: &str, redrive_to: Option<&str>) -> String {
        let mut request = self.sqs.create_queue().queue_name(name).attributes(QueueAttributeName::VisibilityTimeout, "120");
        if let Some(dead_letters) = redrive_to {
            let target = format!("arn:aws:sqs:{REGION}:123456789012:{dead_letters}");
            let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": 1000 }).to_string();
            request = request.attributes(QueueAttributeName::RedrivePolicy, policy);
        }
        let made = request.send().await.expect("moto makes a queue");
        made.queue_url().expect("a queue has a URL").to_owned()
    }

    /// Makes the launch template `<cluster>-<pool>`, with what IAM demands: the cluster's tag, and the instances' instance
    /// profile.
    pub async fn create_template(&self, name: &str) {
        let cluster = name.split_once('-').map_or(name, |(cluster, _)| cluster);
        let tag = Tag::builder().key("muster:cluster").value(cluster).build();
        let tags = TagSpecification::builder().resource_type(ResourceType::LaunchTemplate).tags(tag).build();
        let profile = LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(format!("{name}-runner")).build();
        let data = RequestLaunchTemplateData::builder().image_id("ami-12c6146b").iam_instance_profile(profile).build();
        let request =
            self.ec2.create_launch_template().launch_template_name(name).launch_template_data(data).tag_specifications(tags);
        request.send().await.expect("moto makes a launch template");
    }

    // ---------------------------------------------------------------------------------------------- what is there

    /// Everything at one moment.
    pub async fn snapshot(&self) -> Snapshot {
        serde_json::from_value(self.control("/_state", json!({ "region": REGION })).await).expect("the state is readable")
    }

    /// All instances, terminated ones included.
    pub async fn instances(&self) -> Vec<Instance> {
        self.snapshot().await.instances
    }

    /// The instances that are not terminated.
    pub async fn alive(&self) -> Vec<Instance> {
        self.instances().await.into_iter().filter(Instance::alive).collect()
    }

    /// The names of the runners' secrets in SSM.
    pub async fn secrets(&self) -> Vec<String> {
        self.snapshot().await.parameters.into_iter().filter(|name| name.starts_with("/muster/")).collect()
    }

    /// The content of a queue, by its URL.
    pub async fn depth(&self, queue: &str) -> Depth {
        let name = queue.rsplit('/').next().unwrap_or_default();
        self.snapshot().await.queues.get(name).copied().unwrap_or_default()
    }

    /// muster's calls, in order.
    pub async fn calls(&self) -> Vec<Call> {
        self.calls_by(MUSTER_KEY).await
    }

    /// The calls with this access key, in order.
    pub async fn calls_by(&self, key: &str) -> Vec<Call> {
        let answer = self.http.get(format!("{}/_calls", self.url)).send().await.expect("moto answers");
        let mut said: Value = answer.json().await.expect("the calls are readable");
        let all: Vec<Call> = serde_json::from_value(said["calls"].take()).expect("the calls are readable");
        all.into_iter().filter(|c| c.caller == key).collect()
    }

    /// muster's calls of one operation.
    pub async fn calls_of(&self, op: &str) -> Vec<Call> {
        self.calls().await.into_iter().filter(|c| c.op == op).collect()
    }

    /// Forgets the calls so far.
    pub async fn forget_calls(&self) {
        self.control("/_calls/reset", json!({})).await;
    }

    /// Calls are not judged by IAM's policies here. For tests in which somebody goes beyond them on purpose.
    pub fn without_policies(&self) {
        *self.server.policies.lock().expect("no panic under this lock") = None;
    }

    /// The violations of AWS's models and documented rules so far, which are forgotten by this. For tests that violate them
    /// on purpose.
    pub async fn take_violations(&self) -> Vec<String> {
        let said = self.control("/_verdict", json!({ "forget": true })).await;
        serde_json::from_value::<Verdict>(said).expect("the verdict is readable").violations
    }

    // ---------------------------------------------------------------------------------------------- misbehaviour

    /// Makes one call of IAM or STS, for which the tests have no SDK. Returns the XML of the answer.
    pub async fn query(&self, service: &str, form: &[(&str, &str)]) -> String {
        let about = format!(
            "AWS4-HMAC-SHA256 Credential={TEST_KEY}/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = self.http.post(&self.url).header("authorization", about);
        let body = serde_urlencoded::to_string(form).expect("pairs of text");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        request.send().await.expect("moto answers").text().await.expect("XML")
    }

    /// Orders a fault; see `CONTROL` in `tests/moto/server.py`. For example: `json!({"op": "CreateFleet", "kind":
    /// "capacity", "only": 1, "unavailable": [{"type": "m7i.large"}]})`.
    pub async fn fault(&self, fault: Value) {
        self.control("/_fault", fault).await;
    }

    /// From now on, no ordered fault happens any more.
    pub async fn heal(&self) {
        self.control("/_fault/clear", json!({})).await;
        self.lag(Duration::ZERO).await;
    }

    /// muster's calls to SQS fail until [`Moto::heal`].
    pub async fn sqs_outage(&self) {
        self.fault(json!({ "op": "sqs:*", "kind": "unavailable", "times": -1, "caller": MUSTER_KEY })).await;
    }

    /// From now on, DescribeInstances does not show an instance for this long after its launch.
    pub async fn lag(&self, lag: Duration) {
        self.control("/_lag", json!({ "ms": lag.as_millis() as u64 })).await;
    }

    /// All visibility timeouts end now, as they would 120 s after their holder died.
    pub async fn end_visibility(&self) {
        self.control("/_visible", json!({ "region": REGION })).await;
    }

    /// Unfinished uploads look this old. moto's own are from 2010.
    pub async fn age_uploads(&self, age: Duration) {
        self.control("/_uploads_age", json!({ "s": age.as_secs() })).await;
    }

    /// Puts spot's two-minute warning on the queue, as EventBridge does.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
    pub async fn warn_of_interruption(&self, world: &World, instance: &str) {
        let event = json!({
            "version": "0",
            "id": "12345678-1234-1234-1234-123456789012",
            "detail-type": "EC2 Spot Instance Interruption Warning",
            "source": "aws.ec2",
            "account": "123456789012",
            "time": "2026-01-01T00:00:00Z",
            "region": REGION,
            "resources": [format!("arn:aws:ec2:{REGION}a:instance/{instance}")],
            "detail": { "instance-id": instance, "instance-action": "terminate" },
        });
        self.send(&world.ec2_events, &event.to_string()).await;
    }

    /// EC2 takes the spot instance back, with spot's own reason.
    pub async fn interrupt(&self, instance: &str) {
        self.control("/_interrupt", json!({ "region": REGION, "instance": instance })).await;
    }

    pub async fn send(&self, queue: &str, body: &str) {
        self.send_with(queue, body, &[]).await;
    }

    /// Puts a message with attributes on a queue. The attributes are text.
    pub async fn send_with(&self, queue: &str, body: &str, attributes: &[(&str, &str)]) {
        let mut message = self.sqs.send_message().queue_url(queue).message_body(body);
        for (name, value) in attributes {
            let value = aws_sdk_sqs::types::MessageAttributeValue::builder().data_type("String").string_value(*value);
            message = message.message_attributes(*name, value.build().expect("an attribute"));
        }
        message.send().await.expect("moto takes a message");
    }

    /// Puts ten equal messages on a queue, without attributes.
    pub async fn send_ten(&self, queue: &str, body: &str) {
        let entry = |n: i32| {
            let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body);
            entry.build().expect("an entry")
        };
        let sent = self.sqs.send_message_batch().queue_url(queue).set_entries(Some((0..10).map(entry).collect())).send().await;
        assert!(sent.expect("moto takes messages").failed().is_empty(), "moto takes each message");
    }
}

struct Server {
    child: Child,
    port: u16,
    /// What muster, its instances and its operators may do in the world that was made here.
    policies: Mutex<Option<Policies>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let verdict = verdict::of(self.port);
        self.child.kill().ok();
        self.child.wait().ok();
        verdict.pronounce(self.policies.lock().unwrap_or_else(PoisonError::into_inner).as_ref());
    }
}
