//! The kind `Controller`: one cluster.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LateStep, Metadata, SecretRef, Span};

/// How one muster runs: its cluster, its queues, its listeners and its pace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ControllerManifest {
    /// The name of the cluster. Every runner's name begins with it, and every instance has it as the tag `muster:cluster`.
    pub metadata: Metadata,
    /// The settings of the Controller.
    pub spec: ControllerSpec,
}

impl ControllerManifest {
    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.metadata.name
    }
}

/// The settings of a Controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["queues"]))]
pub struct ControllerSpec {
    /// The AWS region, such as `eu-west-1`. Without it, the usual AWS environment and profile decide.
    pub region: Option<String>,
    /// The SQS queues.
    pub queues: Queues,
    /// The S3 bucket for runner binaries, manifests and the record of usage.
    pub bucket: Option<String>,
    /// The ARN of the customer KMS key that encrypts the instances' secrets in SSM. Without it, the account's key `aws/ssm` does.
    pub secrets_key: Option<String>,
    /// How the runner binaries get into `bucket`.
    pub sync: RunnerSync,
    /// The record of who used the instances, in `bucket`.
    pub usage: UsageRecord,
    /// The flight recorder: everything that enters the core, and what it decides. Without `to`, nothing is recorded.
    pub record: FlightRecord,
    /// Whether several controllers may run, of which one acts and the others stand by. They agree by an object in `bucket`.
    pub lease: bool,
    /// The addresses at which muster listens.
    pub listen: Listen,
    /// How often muster looks at each source.
    pub intervals: Intervals,
    /// How many calls muster makes to each API.
    pub limits: Limits,
    /// Jobs that are another's, such as those of a second cluster in the same organisation.
    pub ignore: Ignore,
    /// What is done about a job that no pool takes: `tell`, or nothing, which is the default.
    pub start_within: Vec<LateStep>,
    /// Tags for every instance, volume and fleet, besides muster's own tags. A pool's tags take precedence.
    pub tags: BTreeMap<String, String>,
}

/// Jobs that muster leaves to others. A job that one of the pools takes is never ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ignore {
    /// Jobs whose `runs-on` asks for one of these labels.
    pub labels: Vec<String>,
    /// Jobs of these repositories, written as `OWNER/NAME`, where `*` stands for any characters.
    pub repositories: Vec<String>,
}

/// The URLs of the SQS queues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["jobs"]))]
pub struct Queues {
    /// The queue for jobs, which the webhook fills.
    pub jobs: String,
    /// The queue for messages that cannot be read. Without it, such messages are left to the redrive policy of the jobs queue.
    pub dead_letters: Option<String>,
    /// The queue for EC2 notifications from EventBridge. Without it, only the next sweep shows an interruption.
    pub ec2_events: Option<String>,
}

/// The cache of runner binaries in `bucket`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RunnerSync {
    /// The REST API that knows the releases of actions/runner: GitHub's, or a mirror of it. muster sends credentials there only if it is
    /// the API of an App or token of a pool.
    pub releases: String,
    /// How often the controller looks for a new release. 0s switches this off, and `muster sync` still works.
    pub every: Span,
}

impl Default for RunnerSync {
    fn default() -> Self {
        RunnerSync { releases: "https://api.github.com".into(), every: Span::secs(6 * 3600) }
    }
}

/// Who used the instances, by the hour, in `bucket`: `muster cost` reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct UsageRecord {
    /// How often the controller writes. A controller that dies loses what it counted since it last wrote. 0s switches this off.
    pub every: Span,
}

impl Default for UsageRecord {
    fn default() -> Self {
        UsageRecord { every: Span::secs(600) }
    }
}

/// The flight recorder, which `muster replay` reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FlightRecord {
    /// Where the record is kept: `s3://BUCKET/PREFIX`, or a directory as an absolute path.
    pub to: Option<String>,
    /// Whether the record has branches, workflows, names of jobs and operators' reasons. Without them, no reason can be compared.
    pub names: bool,
}

impl Default for FlightRecord {
    fn default() -> Self {
        FlightRecord { to: None, names: true }
    }
}

/// The addresses at which muster listens: `IP:PORT` (IPv6: `[::1]:8080`). With port 0, the system chooses a free port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Listen {
    /// The address for GitHub's webhooks: `POST /webhook`.
    pub webhook: String,
    /// The address for metrics, health, the JSON API and the live page. Looking needs no authentication unless `viewToken` is
    /// set, so keep this address private.
    pub admin: String,
    /// The host names under which the admin listener is asked, besides addresses and `localhost`. A request for another name is
    /// refused.
    pub admin_hosts: Vec<String>,
    /// A reference to the token that changes over the admin listener need (pause, resume, drain). Without it, nobody can change
    /// anything there. The token has 16 characters at least.
    pub admin_token: Option<SecretRef>,
    /// A reference to the token that looking at the admin listener needs. Without it, everybody who reaches the listener may
    /// look. The token has 16 characters at least.
    pub view_token: Option<SecretRef>,
    /// The largest webhook body that muster reads, in bytes. GitHub sends 25 MB at most, and a workflow_job has 13 to 30 KB.
    pub max_body: u64,
}

/// The default of [`Listen::max_body`], in bytes. A job with 100 labels of 256 characters, each escaped with six bytes, has 150
/// KB of labels, and the rest of a `workflow_job` has 30 KB.
const MAX_BODY: u64 = 256 << 10;

impl Default for Listen {
    fn default() -> Self {
        Listen {
            webhook: "0.0.0.0:8080".into(),
            admin: "127.0.0.1:9090".into(),
            admin_hosts: Vec::new(),
            admin_token: None,
            view_token: None,
            max_body: MAX_BODY,
        }
    }
}

/// How often muster looks. Each value is the longest time between two looks. Hints shorten it, such as an EC2 event or an
/// instance that boots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Intervals {
    /// The longest time between two sweeps of the instances. It is a third of this while an instance boots or ends.
    pub instances: Span,
    /// The longest time between two sweeps of a list of runners. It is a sixth of this while a runner on the list is configured
    /// and was never online, unless the cluster has more than 300 runners.
    pub runners: Span,
    /// The longest time between two sweeps of the runners' secrets.
    pub secrets: Span,
    /// The longest time between two looks for webhooks that GitHub could not deliver.
    pub deliveries: Span,
    /// The longest time between two plans of a pool in which nothing changes.
    pub plan: Span,
    /// How long after a start nothing is launched. By then EC2's lists show what an earlier controller did. EC2 promises no
    /// limit, so shorten this only where lists never lag (an emulator).
    pub settle: Span,
}

impl Default for Intervals {
    fn default() -> Self {
        Intervals {
            instances: Span::secs(15),
            runners: Span::secs(60),
            secrets: Span::secs(600),
            deliveries: Span::secs(60),
            plan: Span::secs(10),
            settle: Span::secs(30),
        }
    }
}

/// The rates of APIs that differ between accounts. The fixed rates are in `budget.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// SSM PutParameter calls per second. AWS admits 3 by default, and more with high throughput switched on.
    pub ssm_put_per_second: f64,
    /// JIT configurations per minute, for each installation of a GitHub App.
    pub jit_per_minute: f64,
    /// CreateFleet calls per second. Ten times as many may be made at once.
    pub create_fleet_per_second: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { ssm_put_per_second: 3.0, jit_per_minute: 180.0, create_fleet_per_second: 5.0 }
    }
}

// ----------------------------------------------------------------------------------------------- GitHubApp
