//! What an operator sees: pools, jobs and runners, each with its reason. Made by [`crate::explain`]; printed by the CLI,
//! the JSON API and the dashboard alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::JobState;
use crate::journal::What;
use crate::manifest::Os;
use crate::market::Market;
use crate::reason::Code;
use crate::runner::Phase;
use crate::stage::Stage;

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Where its runners register.
    pub scope: String,
    /// The runners' labels.
    pub labels: Vec<String>,
    /// Instances at most.
    pub max: u32,
    /// The warm floor in force now.
    pub idle_floor: u32,
    /// Queued jobs of this pool.
    pub queued: u32,
    /// Runners that are wanted now.
    pub wanted: u32,
    /// Runners that can still take a job: launching, booting, configured or idle.
    pub supply: u32,
    /// Runners by phase; phases with none are left out.
    pub phases: BTreeMap<Phase, u32>,
    /// An operator paused it.
    #[serde(default)]
    pub paused: bool,
    /// Why it has as many as it has.
    pub reason: String,
    /// The same for programs.
    #[serde(flatten)]
    pub code: Code,
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// GitHub's job id.
    pub id: u64,
    /// Its workflow run.
    pub run: u64,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The enterprise's slug, if GitHub sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// The pool that it counts for.
    pub pool: Option<String>,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// The runner that took it.
    pub runner: Option<String>,
    /// Seconds since this process first heard of it.
    pub age_seconds: u64,
    /// The reason's word; the same as `reasonWord`, which came later.
    #[serde(default)]
    pub why: String,
    /// Why it is where it is.
    pub reason: String,
    /// The same for programs.
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
    /// Its pool.
    pub pool: String,
    /// What it is doing.
    pub phase: Phase,
    /// Such as `m7i.large`.
    pub instance_type: Option<String>,
    /// How it was bought.
    pub market: Option<Market>,
    /// The job that it was seen with.
    pub job: Option<u64>,
    /// Seconds since this process first knew of it.
    pub age_seconds: u64,
    /// When it reached each stage of its start, in seconds since its launch was asked for, earliest first. Empty for a runner
    /// that was found, not launched by this process.
    #[serde(default)]
    pub stages: Vec<StageView>,
    /// Why it is in this phase, and what happens next.
    pub reason: String,
    /// The same for programs.
    #[serde(flatten)]
    pub code: Code,
}

/// A stage that a runner has reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageView {
    /// Which.
    pub stage: Stage,
    /// Seconds since its launch was asked for.
    pub after_seconds: f64,
}

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Its number, from 1, without gaps; starts anew with each process.
    pub seq: u64,
    /// When; milliseconds since 1970.
    pub at: u64,
    /// What.
    pub what: What,
    /// Whether somebody should look at it.
    pub bad: bool,
    /// Its pool.
    pub pool: Option<String>,
    /// Its job.
    pub job: Option<u64>,
    /// Its instance.
    pub instance: Option<String>,
    /// Why, or how.
    pub why: String,
    /// The same for programs.
    #[serde(flatten)]
    pub code: Code,
}

/// Something that will happen by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaited {
    /// What.
    pub what: String,
    /// When at the latest; milliseconds since 1970.
    pub until: u64,
}

/// What to say of one job, runner or pool that somebody asks about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `job`, `runner` or `pool`.
    pub kind: String,
    /// Its id or name.
    pub id: String,
    /// The controller's time; milliseconds since 1970.
    pub now: u64,
    /// How it stands.
    pub state: State,
    /// What it is, a line each.
    pub facts: Vec<String>,
    /// Why it is where it is.
    pub reason: String,
    /// The same for programs.
    #[serde(flatten)]
    pub code: Code,
    /// What is awaited, the soonest first.
    pub awaits: Vec<Awaited>,
    /// What happened, oldest first.
    pub timeline: Vec<EventView>,
    /// What happened before this is forgotten; milliseconds since 1970. None: all of it is told.
    pub forgotten_before: Option<u64>,
}

/// How a job, a runner or a pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum State {
    /// A job's state.
    Job(JobState),
    /// A runner's phase.
    Runner(Phase),
    /// A pool's switch.
    Pool(Switch),
    /// Nobody knows of it.
    Unknown(Unknown),
}

/// Said of what nobody knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Nobody knows of it.
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
    /// It may.
    Active,
    /// An operator paused it.
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
    /// Whether it is a runner that is over, or about to be: its console may tell why.
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
    /// The GitHub App (or token) whose budget it is.
    pub app: Option<String>,
    /// The account that the App is installed on; None: AWS's budget, the App's own, or a token's.
    pub account: Option<String>,
    /// Calls admitted at once.
    pub level: f64,
    /// The same when it is full.
    pub capacity: f64,
    /// Calls that are added each second.
    pub per_second: f64,
}

/// What GitHub still admits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitView {
    /// The App (or token).
    pub app: String,
    /// The account that the App is installed on; None: the App's own limit, or a token's.
    pub account: Option<String>,
    /// What is counted, in GitHub's words; None: a secondary limit, which holds for everything.
    pub resource: Option<String>,
    /// Requests left.
    pub remaining: u32,
    /// Until its window ends; milliseconds since 1970.
    pub until: u64,
}

/// Everything at one moment, for the live page and `muster top`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The controller's time; milliseconds since 1970.
    pub now: u64,
    /// All pools.
    pub pools: Vec<PoolView>,
    /// All jobs.
    pub jobs: Vec<JobView>,
    /// All runners.
    pub runners: Vec<RunnerView>,
    /// The newest events, newest first.
    pub events: Vec<EventView>,
    /// The budgets that were used.
    pub budgets: Vec<BudgetView>,
    /// GitHub's limits.
    pub limits: Vec<LimitView>,
}

/// Instances that are paid for now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Billed {
    /// How many.
    pub instances: u64,
    /// Their system, which their price depends on.
    pub os: Os,
}

/// Jobs by state, for metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// The controller's time; milliseconds since 1970.
    pub now: u64,
    /// (pool or "", state, reason's word) -> jobs.
    pub jobs: BTreeMap<(String, JobState, &'static str), u64>,
    /// Pool or "" -> seconds that its oldest queued job has been known; without those that GitHub holds back.
    pub oldest_queued: BTreeMap<String, f64>,
    /// Pool -> whether an operator paused it.
    pub paused: BTreeMap<String, bool>,
    /// (pool, market, instance type) -> instances that EC2 shows pending or running.
    pub billed: BTreeMap<(String, Market, String), Billed>,
    /// Market -> offerings without capacity that are left alone for now.
    pub unavailable: BTreeMap<Market, u64>,
    /// (API, App or "", the account that it is installed on or "") -> calls admitted at once.
    pub budgets: BTreeMap<(&'static str, String, String), f64>,
    /// (pool, phase) -> runners.
    pub runners: BTreeMap<(String, Phase), u64>,
    /// source -> seconds since its last complete sweep began; None: never.
    pub sweep_age: BTreeMap<String, Option<f64>>,
    /// Messages held.
    pub messages_held: u64,
    /// Effects in flight.
    pub effects_in_flight: u64,
}
