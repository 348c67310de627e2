//! Ground truth that the controller never sees, and what must hold of it. The numbers S1-S9 are those of the design's proof.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::event::JobState;
use crate::ids::{Intent, JobId};
use crate::time::{Time, human};

use super::World;

/// How long a secret may outlive its box (S6): two secret sweeps and a little.
pub const SECRET_OUTLIVES: Duration = Duration::from_secs(25 * 60);
/// How often the whole is looked at.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(15);

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Such as `S1`.
    pub invariant: &'static str,
    /// When.
    pub at: Time,
    /// What happened, to what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What was found, and what must be remembered to find it.
#[derive(Debug, Default)]
pub struct Oracle {
    /// All violations so far, in order.
    pub violations: Vec<Violation>,
    /// How far the controller said that each job was: for S9, per process.
    seen: BTreeMap<JobId, JobState>,
    /// Which process used an intent first.
    intents: BTreeMap<Intent, u32>,
}

impl Oracle {
    pub(super) fn blame(&mut self, invariant: &'static str, at: Time, what: String) {
        // One broken rule is news once; a thousand repetitions hide the first.
        if self.violations.len() < 50 {
            self.violations.push(Violation { invariant, at, what });
        }
    }

    /// A new process has seen nothing.
    pub(super) fn restart(&mut self) {
        self.seen.clear();
    }

    /// S5, the part that the cloud can't see: no two processes share an intent.
    pub(super) fn intent_used(&mut self, intent: &Intent, process: u32, at: Time) {
        let first = *self.intents.entry(intent.clone()).or_insert(process);
        if first != process {
            self.blame("S5", at, format!("intent {intent} of process {first} was used again by process {process}"));
        }
    }
}

impl World {
    /// S2, S6, S9 and the views: whatever can be judged by looking.
    pub(super) fn check(&mut self) {
        let now = self.agenda.now;
        for (id, secret) in &self.cloud.secrets {
            if let Some(since) = secret.orphan_since
                && now.since(since) > SECRET_OUTLIVES
            {
                self.oracle.blame("S6", now, format!("the secret of {id} has outlived it by {}", human(now.since(since))));
            }
        }
        let Some(controller) = &self.controller else { return };
        for view in controller.jobs(now) {
            let state = match view.state.as_str() {
                "queued" => JobState::Queued,
                "in_progress" => JobState::InProgress,
                "completed" => JobState::Completed,
                other => {
                    self.oracle.blame("views", now, format!("job {} has the unknown state `{other}`", view.id));
                    continue;
                }
            };
            if view.reason.is_empty() {
                self.oracle.blame("views", now, format!("job {} has no reason", view.id));
            }
            let seen = self.oracle.seen.entry(JobId(view.id)).or_insert(state);
            let before = *seen;
            *seen = before.max(state);
            if state < before {
                self.oracle.blame("S9", now, format!("job {} went back from {before:?} to {state:?}", view.id));
            }
        }
        for view in controller.pools(now) {
            if view.reason.is_empty() {
                self.oracle.blame("views", now, format!("pool {} has no reason", view.name));
            }
        }
    }

    /// S2: live boxes of the pool, by ground truth, never exceed its max. Judged when a fleet is made.
    pub(super) fn check_max(&mut self, pool: &crate::ids::PoolName) {
        let Some(max) = self.spec.pools.get(pool).map(|p| p.spec.capacity.max) else { return };
        let live = self.cloud.live(pool);
        if live > max {
            self.oracle.blame("S2", self.agenda.now, format!("pool {pool} has {live} live boxes, its max is {max}"));
        }
    }

    /// What keeps the world from having converged; empty when it has. Holds only without jobs still to come.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (id, job) in self.forge.jobs() {
            if job.state != JobState::Completed && self.servable(&job.plan.labels) {
                left.push(format!(
                    "job {id} [{}] is {:?} since {}",
                    job.plan.labels.join(","),
                    job.state,
                    human(self.since(job.queued_at))
                ));
            }
        }
        for (name, pool) in &self.spec.pools {
            let (live, floor) = (self.cloud.live(name), pool.spec.capacity.idle);
            if live > floor {
                left.push(format!("pool {name} has {live} live boxes, {floor} are wanted: {}", self.cloud.describe_live(name)));
            }
            if live < floor {
                left.push(format!("pool {name} has {live} live boxes of {floor} that should be kept warm"));
            }
        }
        for (id, registration) in self.forge.registrations() {
            if !registration.online || registration.gone {
                left.push(format!("registration {id} ({}) has no box that is online", registration.name));
            }
        }
        for (id, secret) in &self.cloud.secrets {
            if secret.orphan_since.is_some() {
                left.push(format!("the secret of {id} lies in SSM"));
            }
        }
        for event in self.queue.events() {
            let ground = self.forge.jobs().get(&event.job).map(|j| j.state);
            if self.servable(&event.labels) || ground == Some(JobState::Completed) {
                left.push(format!("a message says that job {} is {:?}; it is {ground:?}", event.job, event.state));
            }
        }
        left
    }

    /// Whether any pool can take a job with these labels, now or ever.
    pub(super) fn servable(&self, labels: &[String]) -> bool {
        self.spec.pools.values().any(|p| p.spec.capacity.max > 0 && super::forge::fits(labels, &p.spec.labels))
    }

    fn since(&self, earlier: Time) -> Duration {
        self.agenda.now.since(earlier)
    }
}
