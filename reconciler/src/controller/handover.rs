//! A pool that cannot launch hands its jobs over to another pool that fits.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Controller;
use crate::ids::{JobId, PoolName};
use crate::journal::{What, Whom};
use crate::manifest::RunnerPool;
use crate::matching;
use crate::plan::Plan;
use crate::reason::{Blocked, EventReason, HandOver};
use crate::time::Time;

/// A pool whose launches, configurations or instances have failed for this long, without one success, cannot launch.
const FAILING: Duration = Duration::from_secs(300);

impl Controller {
    /// Hands over the jobs for which the pool has no runner and cannot launch one. A job stays if no other pool that fits has room.
    ///
    /// Decision 0021.
    pub(super) fn hand_over(&mut self, plan: &Plan, now: Time) {
        let Some(pool) = self.spec.pools.get(&plan.pool) else { return };
        let Some((why, patience)) = self.may_hand_over(plan, pool, now) else { return };
        let c = &plan.counts;
        let launched = plan.launch.as_ref().map_or(0, |launch| launch.count);
        let without = c.wanted.saturating_sub(c.supply).saturating_sub(launched).min(c.counting);
        let mut waiting: Vec<(Time, JobId)> = self
            .demand
            .queued(&plan.pool)
            .filter(|(_, job)| job.counts(pool.queue_delay(), now) && now.since(job.counted_since()) >= patience)
            .map(|(id, job)| (job.counted_since(), id))
            .collect();
        waiting.sort_unstable();
        let mut changed: BTreeSet<PoolName> = BTreeSet::new();
        for (_, id) in waiting.into_iter().take(without as usize) {
            let Some(job) = self.demand.jobs().get(&id) else { continue };
            let open = |to: &PoolName| *to != plan.pool && self.has_room(to);
            let Some(to) = matching::first(&self.spec, &job.event, open).cloned() else { continue };
            changed.extend([plan.pool.clone(), to.clone()]);
            self.demand.hand_over(id, &to, now);
            let whom = Whom { job: Some(id), ..Whom::pool(&plan.pool) };
            self.journal.note(now, What::JobHandedOver, whom, EventReason::HandedOver { why, to });
        }
        for name in changed {
            self.mark(&name, now);
        }
    }

    /// Why the pool hands over jobs, and how long a job must have waited. None: it keeps them.
    fn may_hand_over(&self, plan: &Plan, pool: &RunnerPool, now: Time) -> Option<(HandOver, Duration)> {
        if matches!(plan.blocked, Some(Blocked::Paused(_))) {
            return Some((HandOver::Paused, Duration::ZERO));
        }
        let failing_since = self.pools.get(&plan.pool).and_then(|state| state.failing_since);
        if failing_since.is_some_and(|since| now.since(since) >= FAILING) {
            return Some((HandOver::Failing, Duration::ZERO));
        }
        let after = pool.spec.overflow.after?.get();
        match plan.blocked {
            Some(Blocked::Max) => Some((HandOver::Full, after)),
            Some(Blocked::Capacity { .. }) => Some((HandOver::NoCapacity, after)),
            _ => None,
        }
    }

    /// Whether the pool can launch for one more job, as far as its newest plan tells.
    fn has_room(&self, name: &PoolName) -> bool {
        let (Some(pool), Some(state)) = (self.spec.pools.get(name), self.pools.get(name)) else { return false };
        let blocked = state.plan.as_ref().and_then(|plan| plan.blocked.as_ref());
        let shut = matches!(blocked, Some(Blocked::Paused(_) | Blocked::Max | Blocked::Capacity { .. }));
        let counts = state.plan.as_ref().map(|plan| plan.counts.clone()).unwrap_or_default();
        // Jobs may have come since the plan.
        let wanted = counts.wanted.max(self.demand.queued_count(name));
        let taken = counts.occupied.saturating_add(wanted.saturating_sub(counts.supply));
        !shut && !self.paused.contains_key(name) && state.failing_since.is_none() && taken < pool.spec.capacity.max
    }
}
