//! Which jobs GitHub holds back without saying so: the evidence, and the trials.
//!
//! GitHub gives a job to an idle runner within seconds. So a runner that sits idle beside a job shows that GitHub holds the job. One
//! runner shows this of one job. After a while, one of a pool's held jobs is tried, and the others wait for the result.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Controller;
use crate::effect::Source;
use crate::ids::{InstanceId, JobId, PoolName};
use crate::journal::{What, Whom};
use crate::reason::{EventReason, HoldReason};
use crate::runner::Phase;
use crate::time::Time;

/// How long a runner sits idle, and a job counts, before the two are evidence. A trial takes as long.
const SAT_IDLE: Duration = Duration::from_secs(300);

impl Controller {
    /// Tries one of each pool's held jobs, if its time has come, and holds those that idle runners did not get.
    ///
    /// Decision 0019.
    pub(super) fn judge_holds(&mut self, pools: &[PoolName], now: Time) {
        let idle = self.sat_idle(now);
        for name in pools {
            if !self.spec.pools.contains_key(name) {
                continue;
            }
            self.demand.try_one(name, now);
            if let Some(idle) = idle.get(name) {
                self.judge_idle(name, idle, now);
            }
        }
    }

    /// Holds the pool's jobs that these idle runners did not get.
    fn judge_idle(&mut self, name: &PoolName, idle: &[InstanceId], now: Time) {
        let delay = self.spec.pools.get(name).map(|pool| pool.queue_delay()).unwrap_or_default();
        let Some(any) = idle.first() else { return };
        let spent: BTreeSet<InstanceId> = self.demand.evidence(name).cloned().collect();
        let mut unspent = idle.iter().filter(|id| !spent.contains(*id));
        // A job on trial comes first, because a new runner sat idle beside it, too.
        let mut left: Vec<(bool, Time, JobId)> = self
            .demand
            .queued(name)
            .filter(|(_, job)| job.counts(delay, now) && now.since(job.counted_since()) >= SAT_IDLE)
            .map(|(id, job)| (job.hold.is_none(), job.counted_since(), id))
            .collect();
        left.sort_unstable();
        for (new, _, id) in left {
            // A job on trial was held by a runner's evidence before, and any idle runner shows that it still is.
            let Some(by) = unspent.next().or((!new).then_some(any)).cloned() else { continue };
            let whom = Whom { job: Some(id), ..Whom::runner(name, &by) };
            self.journal.note(now, What::JobHeld, whom, EventReason::Held { why: HoldReason::LeftQueued });
            self.demand.hold(id, by, now);
        }
    }

    /// The runners that have sat idle for long, by pool, as the newest list shows: an old list tells nothing of the time since. A
    /// runner that is outdated, offline or asked to end is no evidence, because GitHub may have a good reason to give it nothing.
    fn sat_idle(&self, now: Time) -> BTreeMap<PoolName, Vec<InstanceId>> {
        let mut idle: BTreeMap<PoolName, Vec<InstanceId>> = BTreeMap::new();
        for (id, r) in self.world.runners() {
            // The cheapest test comes first: most runners are busy.
            if r.idle_since().is_none_or(|since| now.since(since) < SAT_IDLE) {
                continue;
            }
            let phase = r.phase(self.spec.boot_deadline(r.pool()), now);
            let row = r.registration().filter(|row| row.last_shown_in_use());
            let seen = row.and_then(|row| self.world.swept(&Source::Runners(row.list().clone())));
            let long = r.idle_since().zip(seen).is_some_and(|(since, seen)| seen.since(since) >= SAT_IDLE);
            if phase == Phase::Idle && !r.is_only_named(now) && long && r.supplies(self.spec.pools.get(r.pool()), phase) {
                idle.entry(r.pool().clone()).or_default().push(id.clone());
            }
        }
        idle
    }
}
