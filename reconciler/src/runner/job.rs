//! What `workflow_job` events said of a runner's jobs.

use std::collections::BTreeSet;

use crate::ids::JobId;
use crate::time::Time;

/// What `workflow_job` events said of a runner.
///
/// Events come in any order: the start of a reusable runner's next job may be told before the end of its last one.
///
/// Decision 0010, row 22.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEvidence {
    running: BTreeSet<JobId>,
    over: Option<(JobId, Time)>,
    last_end: Option<Time>,
}

impl JobEvidence {
    /// A job started on it.
    pub fn started(&mut self, job: JobId) {
        if self.over.is_none_or(|(over, _)| over != job) {
            self.running.insert(job);
        }
    }

    /// A job on it is over; the instance of an ephemeral runner ends with it.
    pub fn ended(&mut self, job: JobId, ephemeral: bool, now: Time) {
        self.running.remove(&job);
        self.last_end = Some(now);
        if ephemeral {
            // Even an ephemeral runner gets a second job when its first was cancelled before it began.
            self.over = Some((self.over.map_or(job, |(other, _)| other.max(job)), now));
        }
    }

    /// Nothing was said, or of jobs of a reusable runner that are over.
    pub fn is_none(&self) -> bool {
        self.running.is_empty() && self.over.is_none()
    }

    /// Whether it was told at or after `then` that a job ended, and no other one is known.
    pub fn freed_since(&self, then: Time) -> bool {
        self.is_none() && self.last_end.is_some_and(|at| at >= then)
    }

    /// Whether this job started on it and is not over.
    pub fn runs(&self, job: JobId) -> bool {
        self.running.contains(&job)
    }

    /// The newest job that started on it and is not over.
    pub fn running(&self) -> Option<JobId> {
        self.running.last().copied()
    }

    /// Its only job, which is over, and when that was told.
    pub fn over(&self) -> Option<(JobId, Time)> {
        self.over.filter(|_| self.running.is_empty())
    }
}
