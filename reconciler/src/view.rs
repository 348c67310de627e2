//! What an operator sees: pools, jobs and runners, each with its reason. [`crate::explain`] makes these values. The CLI, the JSON
//! API and the live page all print them.

mod attention;
mod story;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::JobState;
use crate::journal::What;
use crate::manifest::Os;
use crate::market::Market;
pub use attention::{AttentionView, Target, Weight};
pub use story::{LinkView, StepView};
pub use waits::{HourView, PlaceView, SpanView, WaitsView};

use crate::mark::StateMark;
pub use crate::reason::Awaited;
use crate::reason::Code;
use crate::runner::Phase;
use crate::stage::Stage;

/// One pool, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// The pool's name.
    pub name: String,
    /// The scope at which the runners register. Empty: the pool is no longer in the manifests.
    pub scope: String,
    /// The labels of the runners.
    pub labels: Vec<String>,
    /// The most instances that the pool may have.
    pub max: u32,
    /// The warm floor in force now.
    pub idle_floor: u32,
    /// The number of the pool's queued jobs.
    pub queued: u32,
    /// The number of runners that the pool should have for waiting jobs and the warm floor.
    pub wanted: u32,
    /// The number of runners that can take a job now or soon: launching, booting, configured or idle.
    pub supply: u32,
    /// The number of runners in each phase. Phases without runners are left out.
    pub phases: BTreeMap<Phase, u32>,
    /// Whether an operator paused the pool.
    #[serde(default)]
    pub paused: bool,
    /// The state of the pool at a glance.
    #[serde(default)]
    pub mark: StateMark,
    /// How long the pool's jobs wait.
    #[serde(default)]
    pub waits: WaitsView,
    /// What GitHub will not do as the pool's manifest seems to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why the pool has as many runners as it has, in one sentence.
    pub reason: String,
    /// The reason for programs.
    #[serde(flatten)]
    pub code: Code,
}

impl PoolView {
    /// The reason and the warnings, for a table.
    pub fn why(&self) -> String {
        let warnings = self.warnings.iter().map(|warning| format!(". Warning: {warning}"));
        std::iter::once(self.reason.clone()).chain(warnings).collect()
    }
}

/// One job that is not over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// GitHub's job id.
    pub id: u64,
    /// GitHub's id of the workflow run.
    pub run: u64,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The enterprise's slug, if GitHub sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<String>,
    /// The state of the job.
    pub state: JobState,
    /// The pool that the job counts for. None: no pool takes the job.
    pub pool: Option<String>,
    /// The labels of the job's `runs-on`.
    pub labels: Vec<String>,
    /// The name of the runner that took the job. None: no runner is known.
    pub runner: Option<String>,
    /// The workflow and the job, such as `CI / build (arm64)`. Empty: GitHub's event did not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The branch or tag of the run. Empty: GitHub's event did not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// The seconds since this process first heard of the job.
    pub age_seconds: u64,
    /// The state of the job at a glance.
    #[serde(default)]
    pub mark: StateMark,
    /// What the queued job can expect. None: the job is not queued, or no pool takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<PlaceView>,
    /// The reason's word. `reasonWord`, which came later, has the same.
    #[serde(default)]
    pub why: String,
    /// Why the job is where it is, in one sentence.
    pub reason: String,
    /// The reason for programs.
    #[serde(flatten)]
    pub code: Code,
}

/// One runner: an instance, its registration, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerView {
    /// `<cluster>.<pool>.<instance-id>`.
    pub name: String,
    /// The instance's id.
    pub instance: String,
    /// The name of the runner's pool.
    pub pool: String,
    /// What the runner does now.
    pub phase: Phase,
    /// The state of the runner at a glance.
    #[serde(default)]
    pub mark: StateMark,
    /// The instance type, such as `m7i.large`. None: EC2 has not told it yet.
    pub instance_type: Option<String>,
    /// The market on which the instance was bought. None: EC2 has not told it yet.
    pub market: Option<Market>,
    /// GitHub's id of the job that the runner runs, or of its only job if that is over.
    pub job: Option<u64>,
    /// The seconds since this process first knew of the runner.
    pub age_seconds: u64,
    /// The stages of the start that the runner has reached, earliest first. Empty: the instance was found, not launched by this
    /// process.
    #[serde(default)]
    pub stages: Vec<StageView>,
    /// Why the runner is in this phase, and what happens next.
    pub reason: String,
    /// The reason for programs.
    #[serde(flatten)]
    pub code: Code,
}

/// A stage that a runner has reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageView {
    /// The stage.
    pub stage: Stage,
    /// The seconds from when the launch was asked for until the runner reached the stage.
    pub after_seconds: f64,
}

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// The number of the event. Numbers begin at 1 in each process, and have no gaps.
    pub seq: u64,
    /// When it happened, in milliseconds since 1970.
    pub at: u64,
    /// What happened.
    pub what: What,
    /// Whether somebody should look at the event.
    pub bad: bool,
    /// The pool that the event is about, if any.
    pub pool: Option<String>,
    /// GitHub's id of the job that the event is about, if any.
    pub job: Option<u64>,
    /// The instance that the event is about, if any.
    pub instance: Option<String>,
    /// Why or how it happened, in one sentence.
    pub why: String,
    /// The reason for programs.
    #[serde(flatten)]
    pub code: Code,
}

/// The answer to a question about one job, runner or pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `job`, `runner` or `pool`.
    pub kind: String,
    /// The id of the job or instance, or the name of the pool.
    pub id: String,
    /// The controller's time, in milliseconds since 1970.
    pub now: u64,
    /// The state of the job, the phase of the runner, or the switch of the pool.
    pub state: State,
    /// The state at a glance.
    #[serde(default)]
    pub mark: StateMark,
    /// The pool of the thing. None: it has none, or that is forgotten.
    #[serde(default)]
    pub pool: Option<String>,
    /// How long each part of its life took, in order.
    #[serde(default)]
    pub steps: Vec<StepView>,
    /// Pages elsewhere with more.
    #[serde(default)]
    pub links: Vec<LinkView>,
    /// How many lost jobs the order to run them again touches: of the pool, or of the job's run. 0: none.
    #[serde(default)]
    pub lost: u64,
    /// What is known about the thing, one line for each fact.
    pub facts: Vec<String>,
    /// Why the thing is in this state, in one sentence.
    pub reason: String,
    /// The reason for programs.
    #[serde(flatten)]
    pub code: Code,
    /// Of a pool: what became of its spot instances with jobs since this process started, the most interrupted offerings first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spot: Vec<SpotView>,
    /// What is awaited, the soonest first.
    pub awaits: Vec<Awaited>,
    /// What happened, oldest first.
    pub timeline: Vec<EventView>,
    /// The timeline lacks what happened before this time, in milliseconds since 1970. None: the timeline lacks nothing.
    pub forgotten_before: Option<u64>,
}

/// What became of a pool's spot instances of one type in one subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpotView {
    /// The instance type, such as `m7i.large`.
    pub instance_type: String,
    /// The subnet. None: EC2 has not told the subnet.
    pub subnet: Option<String>,
    /// The number of instances that had a job and are gone.
    pub instances: u32,
    /// The number of those that spot took back.
    pub interrupted: u32,
    /// The hours that these instances ran, in all.
    pub hours: f64,
}

/// The state of a job, a runner or a pool, in one word of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum State {
    /// A job's state.
    Job(JobState),
    /// A runner's phase.
    Runner(Phase),
    /// A pool's switch.
    Pool(Switch),
    /// muster does not know the thing.
    Unknown(Unknown),
}

/// The word for a thing that muster does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// muster does not know the thing.
    Unknown,
}

impl Default for State {
    fn default() -> State {
        State::Unknown(Unknown::Unknown)
    }
}

/// Whether a pool may launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// The pool may launch.
    Active,
    /// An operator paused the pool.
    Paused,
}

impl Switch {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Switch::Active => "active",
            Switch::Paused => "paused",
        }
    }
}

crate::shown!(State);

impl State {
    /// Whether this is a runner that has ended or is about to end. The console of its instance may tell why.
    pub const fn is_over(self) -> bool {
        matches!(self, State::Runner(Phase::Failed | Phase::Terminating | Phase::Gone))
    }

    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Job(state) => state.as_str(),
            State::Runner(phase) => phase.as_str(),
            State::Pool(switch) => switch.as_str(),
            State::Unknown(_) => "unknown",
        }
    }
}

/// How much of an API's budget is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetView {
    /// The call, such as `ec2.CreateFleet`.
    pub api: String,
    /// The GitHub App or token whose budget this is. None: the API is AWS's.
    pub app: Option<String>,
    /// The account that the App is installed on; None: AWS's budget, the App's own, or a token's.
    pub account: Option<String>,
    /// The number of calls that are admitted at once now.
    pub level: f64,
    /// The most calls that can be admitted at once.
    pub capacity: f64,
    /// The number of calls that are added each second.
    pub per_second: f64,
}

/// How many requests GitHub still admits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitView {
    /// The name of the GitHubApp or GitHubToken.
    pub app: String,
    /// The account that the App is installed on; None: the App's own limit, or a token's.
    pub account: Option<String>,
    /// The resource that is limited, in GitHub's words. None: a secondary limit, which holds for all requests.
    pub resource: Option<String>,
    /// The requests that are left.
    pub remaining: u32,
    /// Until when this holds: the end of the window, in milliseconds since 1970.
    pub until: u64,
}

/// Everything at one moment, for the live page and `muster top`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The controller's time, in milliseconds since 1970.
    pub now: u64,
    /// What somebody should do something about, worst first.
    #[serde(default)]
    pub attention: Vec<AttentionView>,
    /// Since when nothing has needed attention, in milliseconds since 1970. None: something does.
    #[serde(default)]
    pub well_since: Option<u64>,
    /// All pools.
    pub pools: Vec<PoolView>,
    /// All jobs that are not over.
    pub jobs: Vec<JobView>,
    /// All runners.
    pub runners: Vec<RunnerView>,
    /// The newest events, newest first.
    pub events: Vec<EventView>,
    /// The budgets that were used so far.
    pub budgets: Vec<BudgetView>,
    /// GitHub's limits, as its headers said last.
    pub limits: Vec<LimitView>,
}

/// What instances are paid for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BilledFor {
    /// The pool.
    pub pool: String,
    /// The market that the instances were bought in.
    pub market: Market,
    /// The instance type, such as `m7i.large`.
    pub instance_type: String,
    /// The repository of the job that runs, in lower case. It is empty if no job runs, or if no event told which one does.
    pub repo: String,
}

/// Instances that are paid for now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Billed {
    /// The number of instances.
    pub instances: u64,
    /// The operating system, on which the price depends.
    pub os: Os,
}

/// The numbers for the metrics' gauges, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// The controller's time, in milliseconds since 1970.
    pub now: u64,
    /// (pool or "", state, reason's word) -> number of jobs.
    pub jobs: BTreeMap<(String, JobState, &'static str), u64>,
    /// Pool or "" -> seconds since muster first heard of its oldest queued job. Jobs that GitHub holds back do not count.
    pub oldest_queued: BTreeMap<String, f64>,
    /// Pool -> whether an operator paused the pool.
    pub paused: BTreeMap<String, bool>,
    /// Pool with a breaker -> whether the breaker is open, or lets one spot instance try.
    pub breakers: BTreeMap<String, bool>,
    /// (pool, warning's word) of each warning.
    pub warnings: BTreeSet<(String, &'static str)>,
    /// (pool, version, `registration` or `runtime`) -> when GitHub ends the version so, in milliseconds since 1970.
    pub version_ends: BTreeMap<(String, String, &'static str), u64>,
    /// Instances that EC2 shows pending or running, by what they are paid for.
    pub billed: BTreeMap<BilledFor, Billed>,
    /// Market -> number of offerings, subnets and quotas that are left alone for now.
    pub unavailable: BTreeMap<Market, u64>,
    /// (API, App or "", the account that the App is installed on or "") -> calls that are admitted at once.
    pub budgets: BTreeMap<(&'static str, String, String), f64>,
    /// (pool, phase) -> number of runners.
    pub runners: BTreeMap<(String, Phase), u64>,
    /// Source -> seconds since its last complete sweep began. None: there was none.
    pub sweep_age: BTreeMap<String, Option<f64>>,
    /// The number of messages of the job queue that the controller holds.
    pub messages_held: u64,
    /// The number of effects without an outcome yet.
    pub effects_in_flight: u64,
}
