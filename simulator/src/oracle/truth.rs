//! What the oracle reads: the ground truth, and the controller.

use std::collections::BTreeMap;

use muster_reconciler::controller::Controller;
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::{JobId, PoolName};
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::{Route, route};
use muster_reconciler::steer::Pause;
use muster_reconciler::time::Time;

use crate::cloud::Cloud;
use crate::github::{TrueGitHub, TrueJob, event};
use crate::instances::Machines;
use crate::ledger::enterprise;
use crate::nature::Nature;
use crate::queue::Queue;

/// The world at one moment, to read only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth<'a> {
    pub spec: &'a Spec,
    pub nature: &'a Nature,
    pub cloud: &'a Cloud,
    pub github: &'a TrueGitHub,
    pub queue: &'a Queue,
    pub machines: &'a Machines,
    /// The pools that an operator has paused.
    pub paused: &'a BTreeMap<PoolName, Pause>,
    /// None while the controller is down.
    pub controller: Option<&'a Controller>,
}

impl Truth<'_> {
    pub fn now(&self) -> Time {
        self.nature.now()
    }

    /// The pool that the job counts for. None: no pool takes it.
    pub fn home(&self, job: &TrueJob) -> Option<PoolName> {
        match self.route_of(job) {
            Route::Pool(name) => Some(name),
            Route::Unmatched(_) | Route::Foreign(_) => None,
        }
    }

    /// The pool that takes the job, or the reason why none does.
    pub fn route_of(&self, job: &TrueJob) -> Route {
        route(self.spec, &JobEvent { enterprise: enterprise(self.spec), ..event(JobId(0), job) })
    }

    /// Whether the job's pool has instances, and lets each repository have some at a time only. Then the job may have to wait for others.
    pub fn serves_in_turn(&self, job: &TrueJob) -> bool {
        let home = self.home(job).filter(|name| self.cloud.live(name) > 0);
        let pool = home.and_then(|name| self.spec.pools.get(&name));
        pool.is_some_and(|pool| pool.spec.capacity.per_repository.is_some())
    }

    /// How many other jobs of the repository are queued for the pool or run.
    pub fn others_of(&self, repo: &str, pool: &PoolName, but: JobId) -> u32 {
        let same = |job: &TrueJob| job.plan.repo.eq_ignore_ascii_case(repo);
        let counts = |job: &TrueJob| job.state == JobState::InProgress || self.home(job).as_ref() == Some(pool);
        let others = self.github.unfinished().filter(|(id, job)| *id != but && same(job) && counts(job));
        u32::try_from(others.count()).unwrap_or(u32::MAX)
    }

    /// How many jobs are queued for the pool, in truth or as far as the controller knows.
    pub fn queued_for(&self, pool: &PoolName) -> u64 {
        let told = |id: &JobId| self.controller.and_then(|c| c.view().demand.jobs().get(id)).map(|j| j.event.state);
        let queued = |id: &JobId, job: &TrueJob| job.state == JobState::Queued || told(id) == Some(JobState::Queued);
        let jobs = self.github.jobs().iter().filter(|(id, j)| queued(id, j) && self.home(j).as_ref() == Some(pool));
        jobs.count() as u64
    }
}
