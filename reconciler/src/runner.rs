//! One runner: one record of what all sources say, and one phase made from that record.
//!
//! Each source that speaks of a runner has a private part of the record, in a file of its own. Only the verbs in that file change
//! the part.

mod act;
mod attempts;
mod configuration;
mod ec2;
mod fate;
mod github;
mod job;
mod leaving;
mod phase;
mod start;
mod terms;
mod told;

pub use act::{Act, DrainOutcome};
pub use configuration::{Configured, Tried};
pub use ec2::{CONSISTENCY_LAG, Instance, LAUNCH_LAG, Shape};
pub use github::Registration;
pub use job::JobEvidence;
pub use leaving::Ask;
pub use phase::{Ec2State, Evidence, Phase, Seat, phase};
pub use start::REGISTER_GRACE;
pub use terms::Terms;

use std::time::Duration;

use crate::ids::PoolName;
use crate::manifest::RunnerPool;
use crate::time::Time;

/// A runner is absent after this many complete sweeps in a row without it. Each of them must have begun after the runner was
/// first known.
pub const ABSENT_SWEEPS: u8 = 2;

/// When a runner is gone, its registration counts as gone, too, after this many complete sweeps in a row without it. Nobody may
/// look at that list again.
pub const BURIED_SWEEPS: u8 = 4;

/// Everything known of one runner. A single sighting is enough to make the record: an instance, a registration, a secret or an
/// event.
#[derive(Clone, Debug, PartialEq)]
pub struct Runner {
    pool: PoolName,
    first_seen: Time,
    launched_here: bool,
    ec2: ec2::Ec2View,
    github: github::GitHubView,
    configuration: configuration::Configuration,
    told: told::Told,
    start: start::Start,
    leaving: leaving::Leaving,
    attempts: attempts::Attempts,
}

impl Runner {
    /// A record in which no source has said anything. `now` is when this process first knew of the runner.
    pub fn new(pool: PoolName, now: Time) -> Runner {
        Runner {
            pool,
            first_seen: now,
            launched_here: false,
            ec2: ec2::Ec2View::default(),
            github: github::GitHubView::default(),
            configuration: configuration::Configuration::default(),
            told: told::Told::default(),
            start: start::Start::default(),
            leaving: leaving::Leaving::default(),
            attempts: attempts::Attempts::default(),
        }
    }

    /// The pool, from the instance's tag or the runner's name. Empty while only a secret speaks of the runner.
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// When this process first knew of the runner. For our own launch: when the launch was first asked for.
    pub fn first_seen(&self) -> Time {
        self.first_seen
    }

    /// Whether this process launched the instance.
    pub fn launched_here(&self) -> bool {
        self.launched_here
    }

    /// A source names the runner's pool. This matters only while the pool is unknown.
    ///
    /// Decision 0010, row 26.
    pub(crate) fn name_pool(&mut self, pool: &PoolName) {
        if self.pool == PoolName::default() {
            self.pool.clone_from(pool);
        }
    }

    /// The evidence that decides the runner's phase.
    pub fn evidence(&self, boot_deadline: Duration, now: Time) -> Evidence {
        Evidence {
            ec2: self.ec2_evidence(now),
            configured: self.is_configured(),
            seat: self.seat(),
            job_running: self.job().running().is_some(),
            job_over: self.job().over().is_some(),
            draining: self.drain().is_some(),
            interrupted: self.interrupted_at().is_some(),
            overdue: self.overdue(boot_deadline, now),
        }
    }

    /// The runner's phase, if its pool has this boot deadline.
    pub fn phase(&self, boot_deadline: Duration, now: Time) -> Phase {
        phase(self.evidence(boot_deadline, now))
    }

    /// Whether the runner can take one of the pool's jobs, now or when it has booted.
    ///
    /// Decision 0010, rows 13, 32.
    pub fn supplies(&self, pool: Option<&RunnerPool>, phase: Phase) -> bool {
        phase.is_supply() && self.ordered().is_none() && !self.may_be_leaving() && !pool.is_some_and(|p| self.outdated(p))
    }

    /// Whether any source shows a sign that a job may be running on the runner.
    pub fn may_have_job(&self) -> bool {
        self.job().running().is_some() || self.registration().is_some_and(Registration::is_in_use)
    }

    /// Whether the runner certainly has no job and can get none, because nobody ever minted a configuration for it.
    pub fn never_configured(&self) -> bool {
        self.launched_here()
            && self.configured() == Configured::No
            && self.registration().is_none()
            && !self.was_online()
            && self.job().is_none()
            && !self.has_secret()
    }

    /// Since when a runner has been ending that was online, ended by itself, and had no job as far as events told. Such a runner
    /// had a job whose events are still to come. None for every other runner.
    pub fn ended_unexplained(&self) -> Option<Time> {
        let quiet = self.was_online() && self.job().is_none() && self.busy_since().is_none();
        self.ending_since().filter(|_| self.left_alone() && quiet)
    }
}

#[cfg(test)]
mod tests;
