//! A run as data: everything that decides the run, in a form that people can read and that JSON can keep.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::manifest::{ControllerManifest, Intervals, LateStep, Limits, Metadata, RunnerPool, Spec};
use muster_reconciler::time::Time;

use crate::Simulation;
use crate::changes::Change;
use crate::example;
use crate::job_plan::JobPlan;
use crate::luck::{Faults, Schedule};
use crate::options::{Latencies, WorldOptions};
use crate::times::{since_begin, spans};

/// A run: its manifests and jobs, the changes of the manifests, how long everything takes, and what goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// Decides all chance that is neither a fault nor a job: latencies within their spreads, and which runner gets which
    /// job.
    pub seed: u64,
    /// The manifests at the start.
    pub cluster: Cluster,
    /// The jobs, oldest first.
    pub jobs: Vec<JobPlan>,
    /// What an operator changes during the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Timed>,
    /// How long everything takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latencies: Latencies,
    /// Whether GitHub answers 304 for an unchanged list.
    #[serde(default = "yes")]
    pub etags: bool,
    /// Faults and jobs end after this time. Then the world must converge.
    #[serde(with = "spans")]
    pub disturbed: Duration,
    /// The time that the world has to converge, from the end of `disturbed`.
    #[serde(with = "spans")]
    pub converges_within: Duration,
    /// After the world has converged, the controller must change nothing for this long.
    #[serde(with = "spans")]
    pub quiet: Duration,
    /// What goes wrong, and when.
    pub faults: Schedule,
    /// How many controllers there are. Of two or more, one holds the lease and acts.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub controllers: u32,
}

/// A change of the manifests, with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timed {
    /// When the change happens. The file gives the time from the start of the run.
    #[serde(with = "since_begin")]
    pub at: Time,
    /// What changes.
    #[serde(flatten)]
    pub change: Change,
}

/// The manifests of a scenario, without the fields that a simulated run does not need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cluster {
    /// The cluster's name, as in `muster:cluster`.
    pub name: String,
    /// The names of the GitHub Apps.
    pub apps: Vec<String>,
    /// The names of the GitHub tokens.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tokens: Vec<String>,
    /// How often the controller sweeps each source.
    #[serde(default, skip_serializing_if = "is_default")]
    pub intervals: Intervals,
    /// How many calls the controller may make of each API.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// The steps for jobs that no pool takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start_within: Vec<LateStep>,
    /// The pools, one manifest each.
    pub pools: Vec<RunnerPool>,
}

impl Cluster {
    /// The manifests in the form in which the controller takes them.
    pub fn spec(&self) -> Arc<Spec> {
        let mut controller =
            ControllerManifest { metadata: Metadata { name: self.name.clone() }, ..ControllerManifest::default() };
        controller.spec.intervals = self.intervals.clone();
        controller.spec.limits = self.limits.clone();
        controller.spec.start_within.clone_from(&self.start_within);
        Arc::new(Spec {
            controller,
            apps: self.apps.iter().map(|name| (name.as_str().into(), example::app(name))).collect(),
            tokens: self.tokens.iter().map(|name| (name.as_str().into(), example::token(name))).collect(),
            pools: self.pools.iter().map(|p| (p.metadata.name.as_str().into(), p.clone())).collect(),
        })
    }
}

impl From<&Spec> for Cluster {
    fn from(spec: &Spec) -> Cluster {
        Cluster {
            name: spec.controller.cluster().to_owned(),
            apps: spec.apps.keys().map(ToString::to_string).collect(),
            tokens: spec.tokens.keys().map(ToString::to_string).collect(),
            intervals: spec.controller.spec.intervals.clone(),
            limits: spec.controller.spec.limits.clone(),
            start_within: spec.controller.spec.start_within.clone(),
            pools: spec.pools.values().cloned().collect(),
        }
    }
}

impl Scenario {
    /// A scenario in which nothing goes wrong.
    pub fn calm(seed: u64, spec: &Spec, jobs: impl IntoIterator<Item = JobPlan>) -> Scenario {
        Scenario {
            seed,
            cluster: spec.into(),
            jobs: jobs.into_iter().collect(),
            changes: Vec::new(),
            latencies: Latencies::default(),
            etags: true,
            disturbed: Duration::from_secs(40 * 60),
            converges_within: Duration::from_secs(4 * 3600),
            quiet: Duration::from_secs(20 * 60),
            faults: Schedule::default(),
            controllers: 1,
        }
    }

    /// The world of this scenario at its beginning. The world keeps the last `lines` lines of its trace.
    pub fn world(&self, lines: usize) -> Simulation {
        let options = WorldOptions {
            latencies: self.latencies.clone(),
            etags: self.etags,
            keep_lines: lines,
            faults: Faults { last: Some(self.disturbed), schedule: self.faults.clone() },
            controllers: self.controllers,
        };
        let mut world = Simulation::new(self.seed, self.cluster.spec(), options);
        for job in &self.jobs {
            world.submit(job.clone());
        }
        for Timed { at, change } in &self.changes {
            world.change_at(*at, change.clone());
        }
        world
    }
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_one(controllers: &u32) -> bool {
    *controllers == 1
}

fn yes() -> bool {
    true
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
