//! The kind `RunnerPool`: the runners of one kind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LateAct, LateStep, Metadata, Span, late_after};
use crate::ids::{AppName, ListId, Scope};
use crate::market::Market;
use crate::verdict::Cause;

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
    pub fn list_id(&self) -> ListId {
        let PoolGitHub { app, token, scope, .. } = &self.spec.github;
        ListId { app: app.as_ref().or(token.as_ref()).cloned().unwrap_or_default(), scope: scope.clone() }
    }

    /// The name of the pool's launch template.
    pub fn launch_template(&self, cluster: &str) -> String {
        self.spec.instance.launch_template.clone().unwrap_or_else(|| format!("{cluster}-{}", self.metadata.name))
    }

    /// Whether each runner takes only one job.
    pub fn ephemeral(&self) -> bool {
        self.spec.runner.lifetime == Lifetime::Ephemeral
    }

    /// All markets on which the pool may ever buy. Its breaker and jobs that run again may buy on-demand for a pool of spot.
    pub fn markets(&self) -> &'static [Market] {
        let RunnerPoolSpec { instance, rerun, start_within, .. } = &self.spec;
        let late = late_after(start_within, LateAct::OnDemand).is_some();
        let on_demand = instance.breaker.interruptions > 0 || rerun.market == RerunMarket::OnDemand || late;
        match instance.market {
            MarketPolicy::Spot if on_demand => MarketPolicy::SpotThenOnDemand.markets(),
            market => market.markets(),
        }
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
    /// When another pool takes a job that this pool has no room for.
    pub overflow: Overflow,
    /// What is done about a job that no runner takes in time: steps, the earliest first. By default, nothing.
    pub start_within: Vec<LateStep>,
    /// Which jobs run again that went down with their machine. By default, none.
    pub rerun: Rerun,
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
            overflow: Overflow::default(),
            start_within: Vec::new(),
            rerun: Rerun::default(),
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

/// When a pool hands over jobs that it has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Overflow {
    /// A job goes to the next pool that fits after it has waited this long in a pool that has reached its `capacity.max`, or for
    /// which EC2 has no capacity. None: it waits.
    pub after: Option<Span>,
}

/// Which of a pool's jobs GitHub is asked to run again. A job that failed by itself, or that a person cancelled, never is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Rerun {
    /// What must have happened to the machine: any of `interruption`, `ec2`, `muster`, `terminated` and `lost`. Empty: no job runs
    /// again.
    pub causes: BTreeSet<Cause>,
    /// How many attempts of a run muster follows up. 1: only jobs of the first attempt run again.
    pub attempts: u32,
    /// The market for the jobs of later attempts, whoever ordered them: `pool`, the market of the pool's other jobs, or `on-demand`.
    pub market: RerunMarket,
    /// GitHub runs jobs again only once their run is over. A run that is not over this long after the loss is left alone.
    pub within: Span,
}

impl Default for Rerun {
    fn default() -> Self {
        Rerun { causes: BTreeSet::new(), attempts: 1, market: RerunMarket::default(), within: Span::secs(3600) }
    }
}

/// On which market a pool buys for the jobs of later attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RerunMarket {
    /// As for the pool's other jobs.
    #[default]
    Pool,
    /// On-demand instances, which spot cannot take back.
    OnDemand,
}

/// How many runners a pool may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Capacity {
    /// The most instances at one time, whatever they are doing. 0 switches the pool off.
    pub max: u32,
    /// The most runners that muster launches for the jobs of one repository, those that run its jobs included. GitHub may still give
    /// a runner that another repository's job was launched for to a job above this number. None: only `max` limits a repository.
    #[schemars(range(min = 1))]
    pub per_repository: Option<u32>,
    /// The warm floor: idle runners that muster keeps even when no job is queued.
    pub idle: u32,
    /// Other values of `idle` at certain times. The first schedule that holds takes precedence.
    pub schedules: Vec<IdleSchedule>,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { max: 10, per_repository: None, idle: 0, schedules: Vec::new() }
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

impl MarketPolicy {
    /// The markets on which the pool buys, the first choice first.
    pub const fn markets(self) -> &'static [Market] {
        match self {
            MarketPolicy::Spot => &[Market::Spot],
            MarketPolicy::OnDemand => &[Market::OnDemand],
            MarketPolicy::SpotThenOnDemand => &[Market::Spot, Market::OnDemand],
        }
    }
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

/// When a pool leaves spot for a while. After that time, one spot instance tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SpotBreaker {
    /// The breaker opens when spot has taken back this many instances with jobs, within the time `within`. 0: it never opens.
    pub interruptions: u32,
    /// The time in which the interruptions count together.
    pub within: Span,
    /// How long the pool buys on-demand after the last interruption, before one spot instance tries.
    #[serde(rename = "for")]
    pub open_for: Span,
}

impl Default for SpotBreaker {
    fn default() -> Self {
        SpotBreaker { interruptions: 0, within: Span::secs(900), open_for: Span::secs(1800) }
    }
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
    /// When the pool buys on-demand for a while, because spot takes back instances with jobs. By default, never.
    pub breaker: SpotBreaker,
    /// Tags for every instance, volume and fleet of the pool.
    pub tags: BTreeMap<String, String>,
}

/// How an instance becomes a runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Bootstrap {
    /// The release of GitHub's runner program: `latest`, or a version such as `2.338.1`. GitHub refuses releases that are too
    /// old.
    #[schemars(regex(pattern = r"^(latest|\d+\.\d+\.\d+)$"))]
    pub version: String,
    /// Whether an instance installs an archive of the runner program although nobody tells the archive's SHA-256. If not, such an
    /// instance ends. GitHub tells the digest of every release since June 2025, but only 60 times an hour for one address.
    pub allow_unverified: bool,
    /// The user that runs the jobs. The instance makes the user if there is none.
    pub user: String,
    /// Whether jobs may become root by `sudo`, without a password, as on GitHub's own runners. Linux only: on Windows the user is
    /// an administrator. The image has `sudo`, or `preInstall` installs it.
    pub sudo: bool,
    /// Whether `user` becomes a member of the group `docker` where Docker is installed. Jobs with containers need this. It makes
    /// every job root on its instance, because who may talk to Docker may do everything. Linux only.
    pub docker_group: bool,
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
    /// Whether each instance tags itself with the times of its start, for `muster_runner_stage_seconds`, and with the version of its
    /// runner; and at its end with what was at fault, if its runner crashed or its disk was full. This costs one CreateTags call per
    /// instance, and two where something was at fault. The account's limit of these calls is shared with the controller's drains.
    /// The times are on the instance's console in any case.
    pub report_stages: bool,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap {
            version: "latest".into(),
            allow_unverified: false,
            user: "runner".into(),
            sudo: false,
            docker_group: true,
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
