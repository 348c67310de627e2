//! Jobs by pool and by run, so that nobody has to look at all jobs.

use std::collections::{BTreeMap, BTreeSet};

use super::Job;
use crate::event::JobState;
use crate::ids::{JobId, PoolName, RunId};

/// Where jobs are found. A job is taken out before it changes, and put in again after that.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    queued: BTreeMap<PoolName, BTreeSet<JobId>>,
    held: BTreeMap<PoolName, BTreeSet<JobId>>,
    held_of_run: BTreeSet<(RunId, JobId)>,
}

impl Index {
    pub(super) fn put_in(&mut self, id: JobId, job: &Job) {
        if let Some(pool) = job.pool().filter(|_| job.event.state == JobState::Queued) {
            self.queued.entry(pool.clone()).or_default().insert(id);
            if job.hold.is_some() {
                self.held.entry(pool.clone()).or_default().insert(id);
            }
        }
        if job.hold.is_some() {
            self.held_of_run.insert((job.event.run, id));
        }
    }

    pub(super) fn take_out(&mut self, id: JobId, job: &Job) {
        if let Some(pool) = job.pool() {
            for of_pool in [&mut self.queued, &mut self.held] {
                let Some(ids) = of_pool.get_mut(pool) else { continue };
                ids.remove(&id);
                if ids.is_empty() {
                    of_pool.remove(pool);
                }
            }
        }
        self.held_of_run.remove(&(job.event.run, id));
    }

    /// The queued jobs of a pool.
    pub(super) fn queued(&self, pool: &PoolName) -> impl Iterator<Item = JobId> {
        self.queued.get(pool).into_iter().flatten().copied()
    }

    /// The number of the pool's queued jobs.
    pub(super) fn queued_count(&self, pool: &PoolName) -> usize {
        self.queued.get(pool).map_or(0, BTreeSet::len)
    }

    /// The queued jobs of a pool that have a hold.
    pub(super) fn held(&self, pool: &PoolName) -> impl Iterator<Item = JobId> {
        self.held.get(pool).into_iter().flatten().copied()
    }

    /// The jobs of a run that have a hold.
    pub(super) fn held_of_run(&self, run: RunId) -> impl Iterator<Item = JobId> {
        self.held_of_run.range((run, JobId(0))..=(run, JobId(u64::MAX))).map(|(_, id)| *id)
    }
}
