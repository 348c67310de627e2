//! `muster simulate`: the simulated world as a tool for planning. A directory of manifests and jobs go in, and figures come
//! out.
//!
//! The modules in the order of the data: [`trace`] or [`workload`] make jobs, [`muster_simulator::forecast`] runs them, and
//! [`answer`] is one value, and [`conclusions`] says what stands out. [`table`] prints it for people, serde for programs, and [`html`] as a page with [`charts`].
//! Nothing here reads a clock or a network, so the same files and seed give the same answer.

pub mod answer;
pub mod charts;
pub mod conclusions;
pub mod cost;
pub mod field;
pub mod html;
pub mod mix;
mod over_time;
mod rounding;
pub mod table;
pub mod trace;
pub mod workload;

use std::sync::Arc;

use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::{Route, example_repository};
use muster_reconciler::time::Time;
use muster_simulator::JobPlan;
use muster_simulator::conditions::Conditions;
use muster_simulator::forecast::Question;
use muster_simulator::ledger::Router;

/// The jobs of a run, whatever file they were read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The jobs. A job without a repository has an empty one.
    pub jobs: Vec<JobPlan>,
    /// When the first job may be queued.
    pub from: Time,
    /// The run goes on at least until this time.
    pub until: Time,
    /// What was assumed about the file, in sentences for the reader.
    pub notes: Vec<String>,
}

impl Recording {
    /// Gives every job without a repository one that a pool takes, and notes it.
    pub fn settle_repositories(&mut self, spec: &Spec) {
        let mut router = Router::new(spec);
        let candidates: Vec<String> = spec.pools.values().map(example_repository).collect();
        let mut without = 0;
        for job in self.jobs.iter_mut().filter(|j| j.repo.is_empty()) {
            without += 1;
            for candidate in &candidates {
                job.repo.clone_from(candidate);
                if matches!(router.route(job), Route::Pool(_)) {
                    break;
                }
            }
        }
        if without > 0 {
            self.notes.push(format!(
                "jobs without a repository: {without}; each was taken to be of one that a pool admits, such as {}",
                candidates.first().map_or("acme/any", String::as_str)
            ));
        }
    }

    /// The question that the simulation answers.
    pub fn question(&self, spec: Arc<Spec>, conditions: Conditions, seed: u64) -> Question {
        Question { spec, jobs: self.jobs.clone(), from: self.from, until: self.until, conditions, seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_simulator::example;
    use std::time::Duration;

    #[test]
    fn a_job_without_a_repository_gets_one_that_a_pool_admits() {
        let (open, mut narrow) = (example::pool("a", &["linux"], 1), example::pool("b", &["gpu"], 1));
        narrow.spec.github.repositories = vec!["acme/ml-*".into()];
        let spec = example::cluster("c", [open, narrow]);
        let job = |label: &str, repo: &str| JobPlan {
            at: Time::ZERO,
            takes: Duration::ZERO,
            labels: vec![label.into()],
            repo: repo.into(),
            cancel_after: None,
        };
        let jobs = vec![job("linux", ""), job("gpu", ""), job("gpu", "acme/web")];
        let mut input = Recording { jobs, from: Time::ZERO, until: Time::ZERO, notes: vec![] };
        input.settle_repositories(&spec);
        assert_eq!(input.jobs.iter().map(|j| j.repo.as_str()).collect::<Vec<_>>(), ["acme/any", "acme/ml-any", "acme/web"]);
        assert!(input.notes[0].starts_with("jobs without a repository: 2;"), "{:?}", input.notes);
    }
}
