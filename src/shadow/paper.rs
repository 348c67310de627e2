//! The fleet on paper of a shadow that runs: the real controller on the simulated EC2 and GitHub, by the real clock, with the jobs of the
//! other fleet. Nothing outside of this process learns of what it decides.
//!
//! How long a job takes is known only when it is over in the other fleet. Until then it is taken to be as long as the median of those
//! that ended. The report does not use this fleet: it plays the jobs again with their real lengths.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_operations::record::instant;
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::JobId;
use muster_reconciler::journal::What;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::{Route, route};
use muster_reconciler::time::Time;
use muster_reconciler::view::EventView;
use muster_simulator::conditions::Conditions;
use muster_simulator::{JobPlan, Simulation};

/// How long a job is taken to run before any has ended.
const FIRST_LENGTH: Duration = Duration::from_secs(300);
/// The median is that of so many jobs that ended last.
const LENGTHS: usize = 99;

/// The fleet on paper.
#[derive(Debug)]
pub struct Paper {
    world: Simulation,
    spec: Arc<Spec>,
    known: BTreeSet<JobId>,
    lengths: Vec<Duration>,
    told: u64,
}

impl Paper {
    /// A fleet that begins now, without an instance.
    pub fn new(now: Time, spec: Arc<Spec>, conditions: &Conditions, seed: u64) -> Paper {
        let world = Simulation::beginning(now, seed, Arc::clone(&spec), conditions.options());
        Paper { world, spec, known: BTreeSet::new(), lengths: Vec::new(), told: 0 }
    }

    /// Hears of a job of the other fleet.
    pub fn hear(&mut self, event: &JobEvent, ended: Option<Time>) {
        match event.state {
            JobState::Queued if !event.waiting => self.queue(event),
            JobState::Completed if event.runner.is_some() => {
                let long = event.started_at.zip(ended).map(|(started, ended)| ended.since(started));
                self.lengths.extend(long);
                let surplus = self.lengths.len().saturating_sub(LENGTHS);
                self.lengths.drain(..surplus);
            }
            _ => {}
        }
    }

    fn queue(&mut self, event: &JobEvent) {
        if matches!(route(&self.spec, event), Route::Foreign(_)) || !self.known.insert(event.job) {
            return;
        }
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable();
        let takes = lengths.get(lengths.len() / 2).copied().unwrap_or(FIRST_LENGTH);
        let (labels, repo) = (event.labels.clone(), event.repo.clone());
        self.world.submit_now(event.job, JobPlan { at: Time::ZERO, takes, labels, repo, cancel_after: None });
    }

    /// Moves on to `now`. Returns what muster would have done since, in lines for people.
    pub fn step(&mut self, now: Time) -> Vec<String> {
        self.world.step_until(now);
        drop(self.world.take_facts());
        let Some(controller) = self.world.controller() else { return Vec::new() };
        let seen = controller.seen();
        let lines = seen.events(self.told, usize::MAX).into_iter().filter_map(|event| said(&event)).collect();
        self.told = seen.last_event();
        lines
    }
}

/// What the controller did, as a line. None: it did nothing outside of itself.
fn said(event: &EventView) -> Option<String> {
    let verb = match event.what {
        What::Launch => "would launch",
        What::Configure => "would configure",
        What::JobStarted => "would run",
        What::Drain => "would drain",
        What::Terminate => "would terminate",
        What::JobHandedOver => "would hand over",
        What::JobLate => "would tell of",
        What::JobRerun => "would run again",
        _ => return None,
    };
    let about = [event.pool.clone(), event.job.map(|job| format!("job {job}")), event.instance.clone()];
    let about = about.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Some(format!("{} {verb} {about}: {}", instant(Time::from_millis(event.at)), event.why))
}

#[cfg(test)]
mod tests {
    use muster_simulator::conditions::{Overrides, Weather};
    use muster_simulator::example;

    use super::super::planted::{at, event};
    use super::*;

    #[test]
    fn a_job_is_launched_for_and_run_on_paper_under_its_own_id() {
        let spec = example::cluster("c", [example::pool("linux", &["self-hosted", "linux"], 2)]);
        let calm = Conditions::new(Weather::Calm, &Overrides::default());
        let mut paper = Paper::new(at(0), spec, &calm, 1);
        paper.step(at(60));
        paper.hear(&event(29679449526, JobState::Queued, 60), None);
        paper.hear(&event(29679449526, JobState::Queued, 60), None);
        let mut foreign = event(5, JobState::Queued, 60);
        foreign.labels = vec!["ubuntu-latest".into()];
        paper.hear(&foreign, None);
        let lines = paper.step(at(400));
        let of = |verb: &str| lines.iter().filter(|line| line.contains(verb)).count();
        assert_eq!((of(" would launch linux"), of(" would run linux, job 29679449526")), (1, 1), "{lines:#?}");
        assert!(lines.iter().all(|line| !line.contains("job 5")), "{lines:#?}");
    }
}
