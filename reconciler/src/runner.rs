//! One runner: every sighting of it joined into one record, and that record into one phase.
//!
//! Each source that speaks of a runner has a private part of the record, in a file of its own. Only the verbs in that file change
//! the part.

mod act;
mod attempts;
mod configuration;
mod ec2;
mod github;
mod job;
mod leaving;
mod phase;
mod start;
mod terms;
mod told;

pub use act::Act;
pub use configuration::{Configured, Tried};
pub use ec2::{CONSISTENCY_LAG, Instance, LAUNCH_LAG, Shape};
pub use github::Registration;
pub use job::JobEvidence;
pub use leaving::Ask;
pub use phase::{Ec2, Evidence, Phase, Seat, phase};
pub use start::REGISTER_GRACE;
pub use terms::Terms;

use std::time::Duration;

use crate::ids::PoolName;
use crate::manifest::RunnerPool;
use crate::time::Time;

/// This many complete sweeps in a row without it, each begun after it was first known: then it is absent.
pub const ABSENT_SWEEPS: u8 = 2;

/// After this many complete sweeps in a row without it, the registration of a runner that is gone is taken for gone as well. Nobody
/// may look at that list again.
pub const BURIED_SWEEPS: u8 = 4;

/// Everything known of one runner. Any single sighting makes the record: an instance, a registration, a secret, an event.
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
    /// A record with nothing in it yet.
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

    /// From the instance's tag or the runner's name. Empty while only a secret tells of it.
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// When this process first knew of it; ages run from here. For an own launch, when the launch was first asked for.
    pub fn first_seen(&self) -> Time {
        self.first_seen
    }

    /// Whether this process launched it.
    pub fn launched_here(&self) -> bool {
        self.launched_here
    }

    /// Something names its pool, which was perhaps unknown.
    ///
    /// Decision 0010, row 26.
    pub(crate) fn name_pool(&mut self, pool: &PoolName) {
        if self.pool == PoolName::default() {
            self.pool.clone_from(pool);
        }
    }

    /// What decides its phase.
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

    /// Its phase, for a pool with this boot deadline.
    pub fn phase(&self, boot_deadline: Duration, now: Time) -> Phase {
        phase(self.evidence(boot_deadline, now))
    }

    /// Whether it can take one of the pool's jobs, now or when it has booted.
    ///
    /// Decision 0010, rows 13, 32.
    pub fn supplies(&self, pool: Option<&RunnerPool>, phase: Phase) -> bool {
        phase.is_supply() && self.wish().is_none() && !self.may_be_leaving() && !pool.is_some_and(|p| self.outdated(p))
    }

    /// Any sign, in any source, that a job may be running on it.
    pub fn may_have_job(&self) -> bool {
        self.job().running().is_some() || self.registration().is_some_and(Registration::is_in_use)
    }

    /// It is known that it can't have, and can't get, a job: nobody ever minted a configuration for it.
    pub fn never_configured(&self) -> bool {
        self.launched_here()
            && self.configured() == Configured::No
            && self.registration().is_none()
            && !self.was_online()
            && self.job().is_none()
            && !self.has_secret()
    }

    /// It was online and ended by itself, unasked, and no event told of a job: it had one, whose events are still to come.
    /// Since when.
    pub fn ended_unexplained(&self) -> Option<Time> {
        let quiet = self.was_online() && self.job().is_none() && self.busy_since().is_none();
        self.ending_since().filter(|_| self.left_alone() && quiet)
    }
}

#[cfg(test)]
mod tests;
