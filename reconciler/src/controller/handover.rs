//! A pool that cannot launch hands its jobs over to another pool that fits.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Controller;
use crate::breaker::WHILE_TRIPPED;
use crate::capacity::Choice;
use crate::effect::Source;
use crate::ids::{JobId, PoolName};
use crate::journal::{What, Whom};
use crate::matching;
use crate::reason::{Blocked, EventReason, HandOver};
use crate::time::Time;

/// A pool whose launches, configurations or instances have failed for this long, without one success, cannot launch. A job that was
/// handed over goes on if its new pool has had no room for it for as long.
const FAILING: Duration = Duration::from_secs(300);

/// What a pool hands over.
struct Surplus {
    why: HandOver,
    /// How long a job must have waited. None: only jobs that were handed over before go.
    patience: Option<Duration>,
    /// How many jobs have no runner.
    jobs: u32,
    /// The jobs that stay, because their repository has its share of the pool.
    stay: BTreeSet<JobId>,
}

impl Controller {
    /// Hands over the jobs for which the pool has no runner and cannot launch one. A job stays if no other pool that fits has room.
    ///
    /// Decision 0021.
    pub(super) fn hand_over(&mut self, name: &PoolName, now: Time) {
        let (Some(surplus), Some(pool)) = (self.surplus_jobs(name, now), self.spec.pools.get(name)) else { return };
        let (delay, patience) = (pool.queue_delay(), surplus.patience);
        let mut waiting: Vec<(Time, JobId)> = self
            .demand
            .queued(name)
            .filter(|(id, job)| job.counts(delay, now) && !surplus.stay.contains(id))
            .filter(|(_, job)| {
                let long = patience.or(job.handed_over.then_some(FAILING));
                long.is_some_and(|long| now.since(job.counted_since()) >= long)
            })
            .map(|(id, job)| (job.counted_since(), id))
            .collect();
        waiting.sort_unstable();
        // Jobs of the same labels and repository find the same pools. A look at all pools for each job would be quadratic.
        let mut in_vain = BTreeSet::new();
        let mut changed: BTreeSet<PoolName> = BTreeSet::new();
        for (_, id) in waiting.into_iter().take(surplus.jobs as usize) {
            let Some(job) = self.demand.jobs().get(&id) else { continue };
            let held = job.hold.is_some();
            let kind = (matching::routed_by(&job.event), held);
            if in_vain.contains(&kind) {
                continue;
            }
            match self.hand_over_job(name, id, surplus.why, now) {
                true => drop(changed.insert(name.clone())),
                false => drop(in_vain.insert(kind)),
            }
        }
        for name in changed {
            self.mark(&name, now);
        }
    }

    /// Hands one job over to the first other pool that fits and has room. Returns whether there is one.
    pub(super) fn hand_over_job(&mut self, name: &PoolName, id: JobId, why: HandOver, now: Time) -> bool {
        let Some(job) = self.demand.jobs().get(&id) else { return false };
        let held = job.hold.is_some();
        // One held job of a pool is tried at a time, so a job on trial goes where no other one is held.
        let open = |to: &PoolName| to != name && self.has_room(to, now) && !(held && self.demand.evidence(to).next().is_some());
        let Some(to) = matching::first(&self.spec, &job.event, open).cloned() else { return false };
        self.mark(&to, now);
        self.demand.hand_over(id, &to, now);
        let whom = Whom { job: Some(id), ..Whom::pool(name) };
        self.journal.note(now, What::JobHandedOver, whom, EventReason::HandedOver { why, to });
        true
    }

    /// What the pool may hand over, by its newest plan. None: it keeps all its jobs.
    fn surplus_jobs(&self, name: &PoolName, now: Time) -> Option<Surplus> {
        // Until EC2 was looked at, nobody knows which runners there are.
        self.world.swept(&Source::Instances)?;
        let (pool, state) = (self.spec.pools.get(name)?, self.pools.get(name)?);
        let plan = state.plan.as_ref()?;
        let failing = state.failing_since.is_some_and(|since| now.since(since) >= FAILING);
        let overflow = pool.spec.overflow.after.map(|after| after.get());
        let (why, patience) = match &plan.blocked {
            Some(Blocked::Paused(_)) => (HandOver::Paused, Some(Duration::ZERO)),
            _ if failing => (HandOver::Failing, Some(Duration::ZERO)),
            Some(Blocked::Max) => (HandOver::Full, overflow),
            Some(Blocked::Capacity { .. }) => (HandOver::NoCapacity, overflow),
            _ => return None,
        };
        // The idle runners of a warm floor take jobs, too.
        let c = &plan.counts;
        let runners = plan.launch.as_ref().map_or(0, |launch| launch.count).saturating_add(c.supply);
        let jobs = c.counting.saturating_sub(c.unexplained).saturating_sub(runners);
        (jobs > 0).then(|| Surplus { why, patience, jobs, stay: plan.above_share.clone() })
    }

    /// Whether the pool can launch for one more job, as far as its newest plan tells.
    fn has_room(&self, name: &PoolName, now: Time) -> bool {
        let (Some(pool), Some(state)) = (self.spec.pools.get(name), self.pools.get(name)) else { return false };
        let plan = state.plan.as_ref();
        let (occupied, supply, wanted) = plan.map_or((0, 0, 0), |p| (p.counts.occupied, p.counts.supply, p.counts.wanted));
        let queued = self.demand.queued_count(name);
        // Jobs may have come since the plan.
        let taken = occupied.saturating_add(wanted.max(queued).saturating_sub(supply));
        // Only a success shows that a pool is well again. So a pool whose pauses are over is open for one job.
        let rests = state.backoff().is_some_and(|(until, _)| *until > now)
            || state.refused.as_ref().is_some_and(|(until, _)| *until > now);
        let well = state.failing_since.is_none() || !rests && queued == 0;
        let full = plan.is_some_and(|plan| plan.blocked == Some(Blocked::Max)) || taken >= pool.spec.capacity.max;
        let instance = &pool.spec.instance;
        let markets = if state.breaker.tripped().is_some() { WHILE_TRIPPED } else { instance.market.markets() };
        well && !full
            && !self.paused.contains_key(name)
            && !matches!(self.unavailable.choose_on(name, instance, markets, now), Choice::Wait(..))
    }
}
