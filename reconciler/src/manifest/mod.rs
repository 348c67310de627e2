//! What a user writes: the kinds `RunnerPool`, `GitHubApp`, `GitHubToken` and `Controller` (apiVersion `muster/v1`), with their
//! defaults.
//!
//! The doc comments of these types are the descriptions in the JSON Schema (`muster schema`), so users read them in their
//! editors.
//!
//! Every struct takes its defaults as a whole and refuses unknown fields. So "required" means "must not stay empty". [`validate`]
//! checks this, and names file, line and field. In this way one call finds all errors of a directory.

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

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "muster/v1";

/// Everything that the manifests of one directory say, validated. Only [`load`] makes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// The one Controller.
    pub controller: Controller,
    /// The GitHub Apps by name.
    pub apps: BTreeMap<AppName, GitHubApp>,
    /// The personal access tokens by name. No App has the name of a token.
    pub tokens: BTreeMap<AppName, GitHubToken>,
    /// The runner pools by name.
    pub pools: BTreeMap<PoolName, RunnerPool>,
}

impl Spec {
    /// The lists of runners at GitHub that the pools use, each once.
    pub fn forges(&self) -> std::collections::BTreeSet<Forge> {
        self.pools.values().map(RunnerPool::forge).collect()
    }

    /// How long a runner of this pool may take from its launch until it is online. A pool that is no longer in the manifests leaves
    /// the default behind.
    pub fn boot_deadline(&self, pool: &PoolName) -> Duration {
        self.pools.get(pool).map_or_else(|| RunnerSettings::default().boot_deadline, |p| p.spec.runner.boot_deadline).get()
    }

    /// The age at which a runner of this pool is ended, whatever it does. A pool that is no longer in the manifests leaves the
    /// default behind.
    pub fn max_lifetime(&self, pool: &PoolName) -> Duration {
        self.pools.get(pool).map_or_else(|| RunnerSettings::default().max_lifetime, |p| p.spec.runner.max_lifetime).get()
    }

    /// Whose rate limit at GitHub a question about a repository (`OWNER/NAME`) counts against.
    pub fn payer(&self, app: &AppName, repo: &str) -> Payer {
        if self.tokens.contains_key(app) {
            return Payer::itself(app);
        }
        Payer::installation(app, repo.split('/').next().unwrap_or_default())
    }

    /// The names of all credentials: Apps first, then tokens.
    pub fn credentials(&self) -> impl Iterator<Item = &AppName> {
        self.apps.keys().chain(self.tokens.keys())
    }

    /// Whether there is an App or a token with this name.
    pub fn has_credential(&self, name: &AppName) -> bool {
        self.apps.contains_key(name) || self.tokens.contains_key(name)
    }

    /// The URL of the REST API that an App or a token is for. None: there is no App and no token with this name.
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
    /// The name: lower-case letters, digits and `-`, but no dot.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
}

// ---------------------------------------------------------------------------------------------- Controller

/// How one muster runs: its cluster, its queues, its listeners and its pace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Controller {
    /// The name of the cluster. Every runner's name begins with it, and every instance has it as the tag `muster:cluster`.
    pub metadata: Metadata,
    /// The settings of the Controller.
    pub spec: ControllerSpec,
}

impl Controller {
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
    /// The S3 bucket for runner binaries and manifests.
    pub bucket: Option<String>,
    /// How the runner binaries get into `bucket`.
    pub sync: RunnerSync,
    /// The addresses at which muster listens.
    pub listen: Listen,
    /// How often muster looks at each source.
    pub intervals: Intervals,
    /// How many calls muster makes to each API.
    pub limits: Limits,
    /// Tags for every instance, volume and fleet, besides muster's own tags. A pool's tags take precedence.
    pub tags: BTreeMap<String, String>,
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
    /// The REST API that knows the releases of actions/runner: GitHub's, or a mirror of it. muster sends no credentials there.
    pub releases: String,
    /// How often the controller looks for a new release. 0s switches this off, and `muster sync` still works.
    pub every: Span,
}

impl Default for RunnerSync {
    fn default() -> Self {
        RunnerSync { releases: "https://api.github.com".into(), every: Span::secs(6 * 3600) }
    }
}

/// The addresses at which muster listens: `IP:PORT` (IPv6: `[::1]:8080`). With port 0, the system chooses a free port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Listen {
    /// The address for GitHub's webhooks: `POST /webhook`.
    pub webhook: String,
    /// The address for metrics, health, the JSON API and the live page. Looking needs no authentication, so keep this address
    /// private.
    pub admin: String,
    /// A reference to the token that changes over the admin listener need (pause, resume, drain). Without it, nobody can change
    /// anything there.
    pub admin_token: Option<SecretRef>,
    /// The largest webhook body that muster reads, in bytes. GitHub sends 25 MB at most, and a workflow_job has about 12 KB.
    pub max_body: u64,
}

impl Default for Listen {
    fn default() -> Self {
        Listen { webhook: "0.0.0.0:8080".into(), admin: "127.0.0.1:9090".into(), admin_token: None, max_body: 1 << 20 }
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

/// A GitHub App: muster's identity at GitHub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHubApp {
    /// The name by which pools refer to the App.
    pub metadata: Metadata,
    /// The settings of the GitHubApp.
    pub spec: GitHubAppSpec,
}

/// The settings of a GitHubApp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["appId", "privateKey", "webhookSecrets"]))]
pub struct GitHubAppSpec {
    /// The App's id, a number that GitHub shows in the App's settings.
    pub app_id: u64,
    /// A reference to the App's private key (PEM).
    pub private_key: SecretRef,
    /// References to webhook secrets, at least one. Any of them may sign, so that a secret can be rotated.
    #[schemars(length(min = 1))]
    pub webhook_secrets: Vec<SecretRef>,
    /// The URL of GitHub's REST API. GHES: `https://HOST/api/v3`.
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

/// A personal access token (classic): muster's identity at an enterprise. GitHub lets no App manage an enterprise's runners.
/// <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHubToken {
    /// The name by which pools of an enterprise refer to the token. No GitHubApp has the same name.
    pub metadata: Metadata,
    /// The settings of the GitHubToken.
    pub spec: GitHubTokenSpec,
}

/// The settings of a GitHubToken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["token", "webhookSecrets"]))]
pub struct GitHubTokenSpec {
    /// A reference to the token: a classic token of an enterprise owner, with the scopes `manage_runners:enterprise` and `repo`.
    pub token: SecretRef,
    /// References to secrets of the enterprise's webhook, at least one. Any of them may sign, so that a secret can be rotated.
    #[schemars(length(min = 1))]
    pub webhook_secrets: Vec<SecretRef>,
    /// The URL of GitHub's REST API. GHES: `https://HOST/api/v3`.
    pub api_url: String,
}

impl Default for GitHubTokenSpec {
    fn default() -> Self {
        GitHubTokenSpec { token: SecretRef::default(), webhook_secrets: Vec::new(), api_url: "https://api.github.com".into() }
    }
}

// ---------------------------------------------------------------------------------------------- RunnerPool

/// One kind of runner, and how many runners of it there may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RunnerPool {
    /// The name of the pool. It is a part of every runner's name, and the value of the tag `muster:pool`.
    pub metadata: Metadata,
    /// The settings of the RunnerPool.
    pub spec: RunnerPoolSpec,
}

impl RunnerPool {
    /// The list in which the pool's runners register: its App or token, and its scope.
    pub fn forge(&self) -> Forge {
        let PoolGitHub { app, token, scope, .. } = &self.spec.github;
        Forge { app: app.as_ref().or(token.as_ref()).cloned().unwrap_or_default(), scope: scope.clone() }
    }

    /// The name of the pool's launch template.
    pub fn launch_template(&self, cluster: &str) -> String {
        self.spec.instance.launch_template.clone().unwrap_or_else(|| format!("{cluster}-{}", self.metadata.name))
    }

    /// Whether each runner takes only one job.
    pub fn ephemeral(&self) -> bool {
        self.spec.runner.lifetime == Lifetime::Ephemeral
    }

    /// How long a queued job waits before it counts: the value that is set, or else 0 s for ephemeral runners and 30 s for
    /// reusable ones, because an idle reusable runner may take the job.
    pub fn queue_delay(&self) -> Duration {
        match (self.spec.runner.queue_delay, self.spec.runner.lifetime) {
            (Some(set), _) => set.get(),
            (None, Lifetime::Ephemeral) => Duration::ZERO,
            (None, Lifetime::Reusable) => Duration::from_secs(30),
        }
    }
}

/// The settings of a RunnerPool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["github", "labels", "instance"]))]
pub struct RunnerPoolSpec {
    /// Where the pool's runners register.
    pub github: PoolGitHub,
    /// The labels of the pool's runners.
    #[schemars(length(min = 1))]
    pub labels: Vec<String>,
    /// Which jobs the pool launches for.
    pub matching: Matching,
    /// Which pool launches when several pools take a job: the one with the lowest priority, then the one with the fewest extra
    /// labels, then the first by name.
    pub priority: u32,
    /// How many runners the pool has.
    pub capacity: Capacity,
    /// How long a runner lives.
    pub runner: RunnerSettings,
    /// The EC2 instances of the pool.
    pub instance: InstanceSettings,
    /// How an instance becomes a runner. `terraform/` puts these settings into the user data of the launch template. So a change
    /// holds for instances that are launched after the next `terraform apply`.
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

/// Where a pool's runners register, and for which repositories the pool launches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["scope"]))]
pub struct PoolGitHub {
    /// The name of the GitHubApp, for `org/NAME` and `repo/OWNER/NAME`.
    pub app: Option<AppName>,
    /// The name of the GitHubToken, for `enterprise/NAME`.
    pub token: Option<AppName>,
    /// The scope: `org/NAME`, `repo/OWNER/NAME` or `enterprise/NAME`.
    pub scope: Scope,
    /// The name of the runner group. Only for organisations and enterprises.
    pub runner_group: String,
    /// The pool launches only for jobs of these repositories, written as `OWNER/NAME`, where `*` stands for any characters.
    /// Empty: all repositories of the scope.
    pub repositories: Vec<String>,
}

impl Default for PoolGitHub {
    fn default() -> Self {
        PoolGitHub { app: None, token: None, scope: Scope::default(), runner_group: "Default".into(), repositories: Vec::new() }
    }
}

/// Which jobs a pool launches for. Case does not count in labels, as at GitHub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// The pool has all labels of the job. This is GitHub's own rule.
    #[default]
    Subset,
    /// The pool and the job have the same labels.
    Exact,
}

/// How many runners a pool may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Capacity {
    /// The most instances at one time, whatever they are doing. 0 switches the pool off.
    pub max: u32,
    /// The warm floor: idle runners that muster keeps even when no job is queued.
    pub idle: u32,
    /// Other values of `idle` at certain times. The first schedule that holds takes precedence.
    pub schedules: Vec<IdleSchedule>,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { max: 10, idle: 0, schedules: Vec::new() }
    }
}

/// Another `idle` at certain times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["cron"]))]
pub struct IdleSchedule {
    /// Five-field cron. Each time it fires, the schedule holds for `hold`. `0 8-18 * * MON-FRI` with a hold of 1h: from 8:00
    /// until 19:00.
    pub cron: String,
    /// The IANA time zone of `cron`, such as `Europe/Amsterdam`.
    pub timezone: String,
    /// How long the schedule holds after each firing.
    pub hold: Span,
    /// The warm floor while the schedule holds.
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
    /// Each runner takes one job, by JIT configuration. Its instance ends with the job.
    #[default]
    Ephemeral,
    /// Each runner takes many jobs, by registration token.
    Reusable,
}

/// How long a runner lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RunnerSettings {
    /// Whether a runner takes one job or many.
    pub lifetime: Lifetime,
    /// How long a job is queued before it counts. Default: 0s for ephemeral runners, 30s for reusable ones.
    pub queue_delay: Option<Span>,
    /// The longest time from launch to online at GitHub. muster replaces an instance that takes longer.
    pub boot_deadline: Span,
    /// How long a runner that no job needs may be idle before muster drains it.
    pub idle_timeout: Span,
    /// The longest life of an instance, busy or not.
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

/// The operating system of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// Linux, on x64 or arm64.
    #[default]
    Linux,
    /// Windows, which EC2 has on x64 only.
    Windows,
}

/// The processor architecture of an instance, in GitHub's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 64-bit x86.
    #[default]
    X64,
    /// 64-bit Arm.
    Arm64,
}

/// On which market a pool buys instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MarketPolicy {
    /// Only spot instances.
    Spot,
    /// Only on-demand instances.
    OnDemand,
    /// Spot instances, and on-demand instances while every spot offering is out of capacity.
    #[default]
    SpotThenOnDemand,
}

/// The spot allocation strategy of EC2 Fleet, which chooses among EC2's spot capacity pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// The spot pools with much capacity, and among these the cheap ones. AWS recommends this strategy.
    #[default]
    PriceCapacityOptimized,
    /// The spot pools with the most capacity.
    CapacityOptimized,
    /// The spot pools with the most capacity, where the order of `types` counts, too.
    CapacityOptimizedPrioritized,
    /// The cheapest spot pools.
    LowestPrice,
    /// All spot pools, in equal parts.
    Diversified,
}

/// The EC2 instances of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["types", "subnets"]))]
pub struct InstanceSettings {
    /// The operating system.
    pub os: Os,
    /// The processor architecture.
    pub architecture: Architecture,
    /// The name of the launch template. Default: `<cluster>-<pool>`, which `terraform/` makes.
    pub launch_template: Option<String>,
    /// The instance types. With more types, more spot capacity is available.
    #[schemars(length(min = 1))]
    pub types: Vec<String>,
    /// The subnets, at most one for each availability zone, because EC2 refuses a fleet with two in one zone.
    #[schemars(length(min = 1))]
    pub subnets: Vec<String>,
    /// On which market the pool buys: spot, on-demand, or both.
    pub market: MarketPolicy,
    /// How EC2 chooses among spot offerings.
    pub allocation: Allocation,
    /// Tags for every instance, volume and fleet of the pool.
    pub tags: BTreeMap<String, String>,
}

/// How an instance becomes a runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Bootstrap {
    /// The release of GitHub's runner program: `latest`, or a version such as `2.330.0`. GitHub refuses releases that are too
    /// old.
    #[schemars(regex(pattern = r"^(latest|\d+\.\d+\.\d+)$"))]
    pub version: String,
    /// The user that runs the jobs. The instance makes the user if there is none.
    pub user: String,
    /// Whether jobs may become root by `sudo`, without a password, as on GitHub's own runners. Linux only: on Windows the user is
    /// an administrator. The image has `sudo`, or `preInstall` installs it.
    pub sudo: bool,
    /// The jobs' directory: an absolute path, or a path below the runner program's directory.
    pub work_directory: String,
    /// Scripts on the instance that the runner calls before and after each job.
    /// <https://docs.github.com/en/actions/how-tos/manage-runners/self-hosted-runners/run-scripts>
    pub hooks: Hooks,
    /// Shell text (PowerShell on Windows) that runs as root before the runner program is installed. A failure ends the instance.
    pub pre_install: String,
    /// Shell text like `preInstall`, which runs after the runner program is installed and before it starts.
    pub post_install: String,
    /// How the instance, the runner and its jobs reach the internet.
    pub proxy: Proxy,
    /// Whether each instance tags itself once with the times of its start, for `muster_runner_stage_seconds`. This costs one
    /// CreateTags call per instance. The account's limit of these calls is shared with the controller's drains. The times are on
    /// the instance's console in any case.
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

/// Scripts around each job, as absolute paths on the instance. The image or `preInstall` puts them there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Hooks {
    /// The script that the runner calls before each job (`ACTIONS_RUNNER_HOOK_JOB_STARTED`).
    pub job_started: Option<String>,
    /// The script that the runner calls after each job (`ACTIONS_RUNNER_HOOK_JOB_COMPLETED`).
    pub job_completed: Option<String>,
}

/// A proxy, with the meaning of `http_proxy`, `https_proxy` and `no_proxy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxy {
    /// The proxy for `http://` URLs.
    pub http: Option<String>,
    /// The proxy for `https://` URLs.
    pub https: Option<String>,
    /// The hosts that are reached without a proxy. The instance's metadata service is always reached without it.
    pub none: Vec<String>,
}
