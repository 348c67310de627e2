//! What an operator sees: pools, jobs and runners, each with its reason. Made by [`crate::explain`]; printed by the CLI,
//! the JSON API and the dashboard alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Boxes by phase; phases with none are left out.
    pub phases: BTreeMap<String, u32>,
    /// Why it has as many as it has.
    pub reason: String,
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
    /// `queued`, `in_progress` or `completed`.
    pub state: String,
    /// The pool that it counts for.
    pub pool: Option<String>,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// The runner that took it.
    pub runner: Option<String>,
    /// Seconds since this process first heard of it.
    pub age_seconds: u64,
    /// Why it is where it is.
    pub reason: String,
}

/// One runner: a box, its registration, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerView {
    /// `<cluster>.<pool>.<instance-id>`.
    pub name: String,
    /// The instance's id.
    pub instance: String,
    /// Its pool.
    pub pool: String,
    /// launching, booting, configured, idle, busy, draining, interrupted, failed, terminating or gone.
    pub phase: String,
    /// Such as `m7i.large`.
    pub instance_type: Option<String>,
    /// `spot` or `on-demand`.
    pub market: Option<String>,
    /// The job that it was seen with.
    pub job: Option<u64>,
    /// Seconds since this process first knew of it.
    pub age_seconds: u64,
    /// Why it is in this phase, and what happens next.
    pub reason: String,
}

/// Jobs by state, for metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// (pool or "", state) -> jobs.
    pub jobs: BTreeMap<(String, &'static str), u64>,
    /// (pool, phase) -> runners.
    pub runners: BTreeMap<(String, &'static str), u64>,
    /// source -> seconds since its last complete sweep began; None: never.
    pub sweep_age: BTreeMap<String, Option<f64>>,
    /// Messages held.
    pub messages_held: u64,
    /// Effects in flight.
    pub effects_in_flight: u64,
}
