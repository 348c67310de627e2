//! A run as data: everything that decides it, readable, and the same again from its JSON.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::manifest::{Controller, GitHubApp, GitHubToken, Intervals, Limits, Metadata, RunnerPool, Spec};
use muster_reconciler::time::Time;

use crate::Simulation;
use crate::changes::Change;
use crate::job_plan::JobPlan;
use crate::luck::{Faults, Schedule};
use crate::options::{Latencies, WorldOptions};
use crate::times::{since_begin, spans};

/// A run: what exists, what is asked for, what changes, how long things take and what goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// Draws what is neither a strike nor a job: latencies within their spreads, who gets which job.
    pub seed: u64,
    /// The manifests at the start.
    pub cluster: Cluster,
    /// The jobs, oldest first.
    pub jobs: Vec<JobPlan>,
    /// What an operator changes meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Timed>,
    /// How long everything takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latencies: Latencies,
    /// GitHub answers 304 for an unchanged list.
    #[serde(default = "yes")]
    pub etags: bool,
    /// Faults and jobs end after this; then the world must converge.
    #[serde(with = "spans")]
    pub disturbed: Duration,
    /// It must converge within this.
    #[serde(with = "spans")]
    pub converges_within: Duration,
    /// And then do nothing for this long.
    #[serde(with = "spans")]
    pub quiet: Duration,
    /// What goes wrong.
    pub faults: Schedule,
}

/// A change, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timed {
    /// From the start of the run.
    #[serde(with = "since_begin")]
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub change: Change,
}

/// The manifests of a scenario: what a simulated run needs of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// The GitHub Apps' names.
    pub apps: Vec<String>,
    /// The tokens' names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tokens: Vec<String>,
    /// How often the controller looks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub intervals: Intervals,
    /// What it may ask of each API.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// The pools.
    pub pools: Vec<RunnerPool>,
}

impl Cluster {
    /// As the controller takes it.
    pub fn spec(&self) -> Arc<Spec> {
        let mut controller = Controller { metadata: Metadata { name: self.name.clone() }, ..Controller::default() };
        controller.spec.intervals = self.intervals.clone();
        controller.spec.limits = self.limits.clone();
        let token = |name: &String| GitHubToken { metadata: Metadata { name: name.clone() }, ..GitHubToken::default() };
        let app = |name: &String| GitHubApp { metadata: Metadata { name: name.clone() }, ..GitHubApp::default() };
        Arc::new(Spec {
            controller,
            apps: self.apps.iter().map(|name| (name.as_str().into(), app(name))).collect(),
            tokens: self.tokens.iter().map(|name| (name.as_str().into(), token(name))).collect(),
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
            pools: spec.pools.values().cloned().collect(),
        }
    }
}

impl Scenario {
    /// Jobs on a cluster, with nothing going wrong.
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
        }
    }

    /// Its world, at its beginning, with `lines` of its trace kept.
    pub fn world(&self, lines: usize) -> Simulation {
        let options = WorldOptions {
            latencies: self.latencies.clone(),
            etags: self.etags,
            keep_lines: lines,
            faults: Faults { last: Some(self.disturbed), schedule: self.faults.clone() },
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

fn yes() -> bool {
    true
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
