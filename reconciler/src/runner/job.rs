//! What `workflow_job` events said of a runner's jobs.

use std::collections::BTreeSet;

use crate::ids::JobId;
use crate::time::Time;

/// What `workflow_job` events said of a runner's jobs.
///
/// Events come in any order. The start of a reusable runner's next job may be told before the end of its last one.
///
/// Decision 0010, row 22.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEvidence {
    running: BTreeSet<JobId>,
    over: Option<(JobId, Time)>,
    last_end: Option<Time>,
    succeeded: bool,
}

impl JobEvidence {
    /// A job started on the runner.
    pub fn started(&mut self, job: JobId) {
        if self.over.is_none_or(|(over, _)| over != job) {
            self.running.insert(job);
        }
    }

    /// A job on the runner is over. An ephemeral runner ends with its job.
    pub fn ended(&mut self, job: JobId, ephemeral: bool, now: Time) {
        self.running.remove(&job);
        self.last_end = Some(now);
        if ephemeral {
            // Even an ephemeral runner gets a second job when its first one was cancelled before it began.
            self.over = Some((self.over.map_or(job, |(other, _)| other.max(job)), now));
        }
    }

    /// An event told that a job on the runner succeeded.
    pub fn went_well(&mut self) {
        self.succeeded = true;
    }

    /// Whether a job on the runner has succeeded.
    pub fn has_gone_well(&self) -> bool {
        self.succeeded
    }

    /// Whether an event told of any job on the runner, over or not.
    pub fn is_any(&self) -> bool {
        !self.is_none() || self.last_end.is_some()
    }

    /// Whether no job is known, apart from jobs of a reusable runner that are over.
    pub fn is_none(&self) -> bool {
        self.running.is_empty() && self.over.is_none()
    }

    /// Whether an event told at or after `then` that a job ended, and no other job is known.
    pub fn freed_since(&self, then: Time) -> bool {
        self.is_none() && self.last_end.is_some_and(|at| at >= then)
    }

    /// Whether the job whose end was told at `ended` was the runner's last one, as far as known.
    pub fn is_last(&self, ended: Time) -> bool {
        self.running.is_empty() && self.last_end.is_none_or(|at| at <= ended)
    }

    /// Whether this job started on the runner and is not over.
    pub fn runs(&self, job: JobId) -> bool {
        self.running.contains(&job)
    }

    /// The newest job that started on the runner and is not over.
    pub fn running(&self) -> Option<JobId> {
        self.running.last().copied()
    }

    /// The only job of an ephemeral runner, once the job is over, and when its end was told. None while another job runs.
    pub fn over(&self) -> Option<(JobId, Time)> {
        self.over.filter(|_| self.running.is_empty())
    }
}
