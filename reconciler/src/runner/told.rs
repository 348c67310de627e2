//! What events told of a runner: its jobs, and that spot takes it back.

use super::{JobEvidence, Runner};
use crate::ids::{JobId, RunnerId};
use crate::time::Time;

/// What events told of a runner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    job: JobEvidence,
    /// GitHub's id of the runner, as the events of these jobs say.
    id: Option<RunnerId>,
    interrupted_at: Option<Time>,
}

impl Told {
    /// The registration of the runner has this id. What events told of another registration with the same name does not count.
    /// Returns whether they had told of another one.
    pub(super) fn registered_as(&mut self, id: RunnerId) -> bool {
        let another = self.id.is_some_and(|told| told != id);
        if another {
            self.job = JobEvidence::default();
        }
        self.id = Some(id);
        another
    }
}

impl Runner {
    /// An event that names the runner gives the runner this id. The registration may not be known yet.
    pub(crate) fn named_with(&mut self, id: RunnerId) {
        self.told.registered_as(id);
    }

    /// What `workflow_job` events said of the runner's jobs.
    pub fn job(&self) -> &JobEvidence {
        &self.told.job
    }

    /// When EC2 announced that it takes the instance back. None: EC2 has not.
    pub fn interrupted_at(&self) -> Option<Time> {
        self.told.interrupted_at
    }

    /// EC2 announced that it takes the instance back. Returns whether this is news.
    pub(crate) fn interruption_told(&mut self, now: Time) -> bool {
        let news = self.told.interrupted_at.is_none();
        self.told.interrupted_at.get_or_insert(now);
        news
    }

    /// A job started on the runner.
    pub(crate) fn job_started(&mut self, job: JobId) {
        self.told.job.started(job);
    }

    /// An event tells that a job on the runner succeeded.
    pub(crate) fn job_succeeded(&mut self) {
        self.told.job.went_well();
    }

    /// A job on the runner is over. An ephemeral runner ends with its job. A reusable runner is idle from now on, even if nothing
    /// told that the job had begun.
    pub(crate) fn job_ended(&mut self, job: JobId, ephemeral: bool, now: Time) {
        self.told.job.ended(job, ephemeral, now);
        self.github.has_worked();
    }
}
