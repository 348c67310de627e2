//! What a user writes: `RunnerPool`, `GitHubApp`, `GitHubToken` and `Controller` (apiVersion `muster/v1`), with their defaults.
//!
//! Every struct takes its defaults as a whole and refuses unknown fields. "Required" therefore means "may not stay
//! empty", which [`validate`] says with file, line and field; so all errors of a directory are found in one pass.

mod document;
mod duration;
mod load;
mod lone;
mod read;
mod schedule;
mod schema;
mod secret;
mod validate;
mod yaml;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use document::{Problem, Problems, Text};
pub use duration::Span;
pub use load::load;
pub use lone::Lone;
pub use schema::{KINDS, schema};
pub use secret::SecretRef;

use crate::ids::{AppName, Forge, Payer, PoolName, Scope};

/// `apiVersion` of every document.
pub const API_VERSION: &str = "muster/v1";

/// Everything that the manifests of one directory say, validated. Made by [`load`] only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// The one Controller.
    pub controller: Controller,
    /// GitHub Apps by name.
    pub apps: BTreeMap<AppName, GitHubApp>,
    /// Personal access tokens by name. No App has the name of a token.
    pub tokens: BTreeMap<AppName, GitHubToken>,
    /// Runner pools by name.
    pub pools: BTreeMap<PoolName, RunnerPool>,
}

impl Spec {
    /// The lists of runners at GitHub that the pools use, each once.
    pub fn forges(&self) -> std::collections::BTreeSet<Forge> {
        self.pools.values().map(RunnerPool::forge).collect()
    }

    /// Whose limit at GitHub a question about a repository (`OWNER/NAME`) counts against.
    pub fn payer(&self, app: &AppName, repo: &str) -> Payer {
        if self.tokens.contains_key(app) {
            return Payer::itself(app);
        }
        Payer::installation(app, repo.split('/').next().unwrap_or_default())
    }

    /// The names of all that muster can be at GitHub: Apps first, then tokens.
    pub fn credentials(&self) -> impl Iterator<Item = &AppName> {
        self.apps.keys().chain(self.tokens.keys())
    }

    /// Whether there is an App or a token of that name.
    pub fn has_credential(&self, name: &AppName) -> bool {
        self.apps.contains_key(name) || self.tokens.contains_key(name)
    }

    /// The REST API that an App or a token is for.
    pub fn api_url(&self, name: &AppName) -> Option<&str> {
        let of_app = self.apps.get(name).map(|app| &app.spec.api_url);
        of_app.or_else(|| self.tokens.get(name).map(|token| &token.spec.api_url)).map(String::as_str)
    }
}

/// A document's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct Metadata {
    /// Lower-case letters, digits and `-`; no dot.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
}

// ---------------------------------------------------------------------------------------------- Controller

/// How one muster runs: its cluster, its queues, its listeners and its pace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Controller {
    /// Names the cluster; it prefixes every runner's name and tags every instance (`muster:cluster`).
    pub metadata: Metadata,
    /// The settings.
    pub spec: ControllerSpec,
}

impl Controller {
    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.metadata.name
    }
}

/// A Controller's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["queues"]))]
pub struct ControllerSpec {
    /// AWS region, such as `eu-west-1`. Without it, the usual AWS environment and profile decide.
    pub region: Option<String>,
    /// The SQS queues.
    pub queues: Queues,
    /// S3 bucket for runner binaries and manifests.
    pub bucket: Option<String>,
    /// How `bucket` gets the runner binaries.
    pub sync: RunnerSync,
    /// Where muster listens.
    pub listen: Listen,
    /// How often it looks.
    pub intervals: Intervals,
    /// What it may ask of each API.
    pub limits: Limits,
    /// Put on every instance, volume and fleet, beside muster's own tags. A pool's tags win.
    pub tags: BTreeMap<String, String>,
}

/// SQS queue URLs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["jobs"]))]
pub struct Queues {
    /// Jobs, from the webhook.
    pub jobs: String,
    /// Where messages that nobody can read are kept. Without it they are left to the queue's own redrive policy.
    pub dead_letters: Option<String>,
    /// EC2 notifications from EventBridge. Without it, interruptions are seen by the next sweep only.
    pub ec2_events: Option<String>,
}

/// The cache of runner binaries in `bucket`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RunnerSync {
    /// The REST API that knows the releases of actions/runner: GitHub's, or a mirror of it. No credentials are sent there.
    pub releases: String,
    /// How often the controller looks for a new release. 0s switches it off; `muster sync` still works.
    pub every: Span,
}

impl Default for RunnerSync {
    fn default() -> Self {
        RunnerSync { releases: "https://api.github.com".into(), every: Span::secs(6 * 3600) }
    }
}

/// Listen addresses, `IP:PORT` (IPv6: `[::1]:8080`). Port 0 takes any free one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Listen {
    /// GitHub's webhooks: `POST /webhook`.
    pub webhook: String,
    /// Metrics, health, the JSON API and the dashboard. Looking needs no authentication: keep it private.
    pub admin: String,
    /// The token that changes over the admin listener need (pause, resume, drain), by reference. Without it nothing can be changed
    /// there.
    pub admin_token: Option<SecretRef>,
    /// Largest webhook body that is read, in bytes. GitHub sends 25 MB at most; a workflow_job is about 12 KB.
    pub max_body: u64,
}

impl Default for Listen {
    fn default() -> Self {
        Listen { webhook: "0.0.0.0:8080".into(), admin: "127.0.0.1:9090".into(), admin_token: None, max_body: 1 << 20 }
    }
}

/// How often muster looks. Each is a longest time between two looks; a hint (an EC2 event, a boot under way) shortens it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Intervals {
    /// Between two sweeps of the instances; a third of it while something boots or ends.
    pub instances: Span,
    /// Between two sweeps of a scope's runners; a sixth of it while something boots.
    pub runners: Span,
    /// Between two sweeps of the JIT secrets.
    pub secrets: Span,
    /// Between two looks for webhooks that GitHub could not deliver.
    pub deliveries: Span,
    /// Between two plans of a pool that nothing was heard of.
    pub plan: Span,
    /// From a start until EC2's lists surely show what a predecessor did; nothing is launched before. EC2 gives no bound; shorten it
    /// only where lists never lag (an emulator).
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

/// API rates that differ between accounts; the fixed ones are in `budget.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// SSM PutParameter calls per second. AWS grants 3 by default; more with high throughput switched on.
    pub ssm_put_per_second: f64,
    /// JIT configurations per minute and installation of a GitHub App.
    pub jit_per_minute: f64,
    /// CreateFleet calls per second (bucket of ten times as many).
    pub create_fleet_per_second: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { ssm_put_per_second: 3.0, jit_per_minute: 180.0, create_fleet_per_second: 5.0 }
    }
}

// ----------------------------------------------------------------------------------------------- GitHubApp

/// A GitHub App: who muster is at GitHub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHubApp {
    /// The App's name here; pools refer to it.
    pub metadata: Metadata,
    /// The settings.
    pub spec: GitHubAppSpec,
}

/// A GitHubApp's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["appId", "privateKey", "webhookSecrets"]))]
pub struct GitHubAppSpec {
    /// The App's id (a number; GitHub shows it in the App's settings).
    pub app_id: u64,
    /// The App's private key (PEM), by reference.
    pub private_key: SecretRef,
    /// Webhook secrets, by reference; any of them may sign (rotation). At least one.
    #[schemars(length(min = 1))]
    pub webhook_secrets: Vec<SecretRef>,
    /// GitHub's REST API. GHES: `https://HOST/api/v3`.
    pub api_url: String,
}

impl Default for GitHubAppSpec {
    fn default() -> Self {
        GitHubAppSpec {
            app_id: 0,
            private_key: SecretRef::default(),
            webhook_secrets: Vec::new(),
            api_url: "https://api.github.com".into(),
        }
    }
}

// ---------------------------------------------------------------------------------------------- GitHubToken

/// A personal access token (classic): who muster is at an enterprise. GitHub lets no App manage an enterprise's runners.
/// <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHubToken {
    /// The token's name here; pools of an enterprise refer to it. No GitHubApp has the same name.
    pub metadata: Metadata,
    /// The settings.
    pub spec: GitHubTokenSpec,
}

/// A GitHubToken's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["token", "webhookSecrets"]))]
pub struct GitHubTokenSpec {
    /// The token, by reference: a classic one of an enterprise owner, with the scopes `manage_runners:enterprise` and `repo`.
    pub token: SecretRef,
    /// Secrets of the enterprise's webhook, by reference; any of them may sign (rotation). At least one.
    #[schemars(length(min = 1))]
    pub webhook_secrets: Vec<SecretRef>,
    /// GitHub's REST API. GHES: `https://HOST/api/v3`.
    pub api_url: String,
}

impl Default for GitHubTokenSpec {
    fn default() -> Self {
        GitHubTokenSpec { token: SecretRef::default(), webhook_secrets: Vec::new(), api_url: "https://api.github.com".into() }
    }
}

// ---------------------------------------------------------------------------------------------- RunnerPool

/// A kind of runner, and how many of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RunnerPool {
    /// The pool's name: part of every runner's name, and the `muster:pool` tag.
    pub metadata: Metadata,
    /// The settings.
    pub spec: RunnerPoolSpec,
}

impl RunnerPool {
    /// Where its runners register.
    pub fn forge(&self) -> Forge {
        let PoolGitHub { app, token, scope, .. } = &self.spec.github;
        Forge { app: app.as_ref().or(token.as_ref()).cloned().unwrap_or_default(), scope: scope.clone() }
    }

    /// The name of its launch template.
    pub fn launch_template(&self, cluster: &str) -> String {
        self.spec.instance.launch_template.clone().unwrap_or_else(|| format!("{cluster}-{}", self.metadata.name))
    }

    /// Whether each runner takes one job only.
    pub fn ephemeral(&self) -> bool {
        self.spec.runner.lifetime == Lifetime::Ephemeral
    }

    /// How long a queued job waits before it counts: as set, or 30 s for reusable runners (an idle one may take it).
    pub fn queue_delay(&self) -> Duration {
        match (self.spec.runner.queue_delay, self.spec.runner.lifetime) {
            (Some(set), _) => set.get(),
            (None, Lifetime::Ephemeral) => Duration::ZERO,
            (None, Lifetime::Reusable) => Duration::from_secs(30),
        }
    }
}

/// A RunnerPool's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["github", "labels", "instance"]))]
pub struct RunnerPoolSpec {
    /// Where its runners register.
    pub github: PoolGitHub,
    /// The runners' labels.
    #[schemars(length(min = 1))]
    pub labels: Vec<String>,
    /// Which jobs it takes.
    pub matching: Matching,
    /// Lower goes first when several pools match; then the fewest extra labels; then the name.
    pub priority: u32,
    /// How many.
    pub capacity: Capacity,
    /// How a runner lives.
    pub runner: RunnerSettings,
    /// What it runs on.
    pub instance: InstanceSettings,
    /// How a box becomes a runner. `terraform/` puts it into the launch template's user data: it holds for boxes launched
    /// after the next `terraform apply`.
    pub bootstrap: Bootstrap,
}

impl Default for RunnerPoolSpec {
    fn default() -> Self {
        RunnerPoolSpec {
            github: PoolGitHub::default(),
            labels: Vec::new(),
            matching: Matching::default(),
            priority: 100,
            capacity: Capacity::default(),
            runner: RunnerSettings::default(),
            instance: InstanceSettings::default(),
            bootstrap: Bootstrap::default(),
        }
    }
}

/// Where a pool's runners register, and for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["scope"]))]
pub struct PoolGitHub {
    /// The GitHubApp's name, for `org/NAME` and `repo/OWNER/NAME`.
    pub app: Option<AppName>,
    /// The GitHubToken's name, for `enterprise/NAME`.
    pub token: Option<AppName>,
    /// `org/NAME`, `repo/OWNER/NAME` or `enterprise/NAME`.
    pub scope: Scope,
    /// The runner group, by name (organisation and enterprise).
    pub runner_group: String,
    /// Only jobs of these repositories, as `OWNER/NAME` globs. Empty: all of the scope.
    pub repositories: Vec<String>,
}

impl Default for PoolGitHub {
    fn default() -> Self {
        PoolGitHub { app: None, token: None, scope: Scope::default(), runner_group: "Default".into(), repositories: Vec::new() }
    }
}

/// Which jobs a pool takes. Labels are compared without regard to case, as GitHub does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// The job's labels are within the pool's (GitHub's own rule).
    #[default]
    Subset,
    /// The job's labels are the pool's, all of them and no other.
    Exact,
}

/// How many runners a pool may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Capacity {
    /// Instances at most, whatever they are doing. 0 switches the pool off.
    pub max: u32,
    /// Warm floor: idle runners kept even with no job.
    pub idle: u32,
    /// Raises or lowers `idle` by the clock; the first that holds wins.
    pub schedules: Vec<IdleSchedule>,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { max: 10, idle: 0, schedules: Vec::new() }
    }
}

/// A different `idle` at certain times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["cron"]))]
pub struct IdleSchedule {
    /// Five-field cron; each time it fires, the schedule holds for `hold`. `0 8-18 * * MON-FRI`: from 8:00 until 19:00.
    pub cron: String,
    /// IANA time zone of `cron`, such as `Europe/Amsterdam`.
    pub timezone: String,
    /// How long each firing holds.
    pub hold: Span,
    /// The warm floor meanwhile.
    pub idle: u32,
}

impl Default for IdleSchedule {
    fn default() -> Self {
        IdleSchedule { cron: String::new(), timezone: "UTC".into(), hold: Span::secs(3600), idle: 0 }
    }
}

/// Whether a runner takes one job or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// One job, by JIT configuration; the box ends with it.
    #[default]
    Ephemeral,
    /// Many jobs, by registration token.
    Reusable,
}

/// How a runner lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RunnerSettings {
    /// One job or many.
    pub lifetime: Lifetime,
    /// A queued job counts only after this. Default: 0s when ephemeral, 30s when reusable.
    pub queue_delay: Option<Span>,
    /// Launched to registered online; a box that takes longer is replaced.
    pub boot_deadline: Span,
    /// Idle runners that nobody needs are drained after this.
    pub idle_timeout: Span,
    /// No box gets older, busy or not.
    pub max_lifetime: Span,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        RunnerSettings {
            lifetime: Lifetime::default(),
            queue_delay: None,
            boot_deadline: Span::secs(300),
            idle_timeout: Span::secs(600),
            max_lifetime: Span::secs(86_400),
        }
    }
}

/// The operating system of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// Linux.
    #[default]
    Linux,
    /// Windows.
    Windows,
}

/// The processor architecture of a box, in GitHub's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// x86-64.
    #[default]
    X64,
    /// AArch64.
    Arm64,
}

/// How a pool buys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MarketPolicy {
    /// Spot only.
    Spot,
    /// On-demand only.
    OnDemand,
    /// Spot; on-demand while every spot offering is out of capacity.
    #[default]
    SpotThenOnDemand,
}

/// EC2 Fleet's spot allocation strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// AWS's recommendation: deep pools first, price second.
    #[default]
    PriceCapacityOptimized,
    /// Deepest pools.
    CapacityOptimized,
    /// Deepest pools, but the order of `types` counts.
    CapacityOptimizedPrioritized,
    /// Cheapest pools.
    LowestPrice,
    /// Spread over all pools.
    Diversified,
}

/// What a pool's boxes are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["types", "subnets"]))]
pub struct InstanceSettings {
    /// Operating system.
    pub os: Os,
    /// Processor architecture.
    pub architecture: Architecture,
    /// Launch template, by name. Default: `<cluster>-<pool>`, which `terraform/` makes.
    pub launch_template: Option<String>,
    /// Instance types; the more, the better the spot capacity.
    #[schemars(length(min = 1))]
    pub types: Vec<String>,
    /// Subnets, at most one per availability zone: EC2 refuses a fleet with two.
    #[schemars(length(min = 1))]
    pub subnets: Vec<String>,
    /// Spot or on-demand.
    pub market: MarketPolicy,
    /// How spot capacity is chosen.
    pub allocation: Allocation,
    /// Put on every instance, volume and fleet.
    pub tags: BTreeMap<String, String>,
}

/// How a box becomes a runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Bootstrap {
    /// The runner's release: `latest`, or a version such as `2.330.0`. GitHub refuses releases that are too old.
    #[schemars(regex(pattern = r"^(latest|\d+\.\d+\.\d+)$"))]
    pub version: String,
    /// The user that runs the jobs. Made if there is none.
    pub user: String,
    /// Whether jobs may become root by `sudo`, without a password, as on GitHub's own runners. Linux only: on Windows that user is
    /// an administrator. The image has `sudo`, or `preInstall` installs it.
    pub sudo: bool,
    /// The jobs' directory, in the runner's own or absolute.
    pub work_directory: String,
    /// Scripts on the box that the runner calls around each job.
    /// <https://docs.github.com/en/actions/how-tos/manage-runners/self-hosted-runners/run-scripts>
    pub hooks: Hooks,
    /// Shell text (PowerShell on Windows) that runs as root before the runner is installed. A failure ends the box.
    pub pre_install: String,
    /// The same, after it is installed and before it starts.
    pub post_install: String,
    /// How the box, the runner and its jobs reach the internet.
    pub proxy: Proxy,
    /// Whether each box tags itself once with the times of its start, for `muster_runner_stage_seconds`. That is one CreateTags per
    /// box, of a limit that the account shares with the controller's drains. The times stand on the box's console in any case.
    pub report_stages: bool,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap {
            version: "latest".into(),
            user: "runner".into(),
            sudo: false,
            work_directory: "_work".into(),
            hooks: Hooks::default(),
            pre_install: String::new(),
            post_install: String::new(),
            proxy: Proxy::default(),
            report_stages: false,
        }
    }
}

/// Scripts around each job, as absolute paths on the box; the image or `preInstall` puts them there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Hooks {
    /// `ACTIONS_RUNNER_HOOK_JOB_STARTED`.
    pub job_started: Option<String>,
    /// `ACTIONS_RUNNER_HOOK_JOB_COMPLETED`.
    pub job_completed: Option<String>,
}

/// A proxy, as `http_proxy`, `https_proxy` and `no_proxy` say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxy {
    /// For `http://` addresses.
    pub http: Option<String>,
    /// For `https://` addresses.
    pub https: Option<String>,
    /// Hosts that are reached without it. The box's metadata service always is.
    pub none: Vec<String>,
}
