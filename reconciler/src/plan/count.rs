//! The numbers of a plan: how many runners are wanted, and how many there are.

use std::time::Duration;

use super::share::Shares;
use super::{Member, Planner};
use crate::manifest::{LateAct, RerunMarket, RunnerPool};
use crate::market::Market;
use crate::runner::Phase;

/// For this long, a runner that turned busy may have taken a job that still looks queued. Webhooks are late by seconds.
const UNEXPLAINED: Duration = Duration::from_secs(60);

impl Planner<'_> {
    /// Counts one runner.
    ///
    /// Decision 0010, row 17.
    pub(super) fn count_runner(&mut self, (_, runner, phase): &Member<'_>) {
        let (now, pool) = (self.now, self.pool);
        let c = &mut self.plan.counts;
        *c.phases.entry(*phase).or_default() += 1;
        c.occupied += u32::from(*phase != Phase::Gone);
        let supplies = runner.supplies(pool, *phase);
        c.supply += u32::from(supplies);
        c.on_demand_supply += u32::from(supplies && runner.shape().is_some_and(|s| s.market == Market::OnDemand));
        let news = runner.busy_since().is_some_and(|since| now.since(since) < UNEXPLAINED);
        c.unexplained += u32::from(*phase == Phase::Busy && news && runner.job().is_none());
        // A short job may be over, and its instance gone, before an event tells that the job began.
        let ended = runner.ended_unexplained().is_some_and(|since| now.since(since) < UNEXPLAINED);
        c.unexplained += u32::from(ended && pool.is_some_and(RunnerPool::ephemeral));
    }

    /// Counts the launches that are under way, and the jobs.
    pub(super) fn count_jobs(&mut self, runners: &[Member<'_>]) {
        let (now, name) = (self.now, &self.plan.pool);
        let c = &mut self.plan.counts;
        let outstanding = self.view.world.outstanding(|launch| launch.pool == *name);
        if outstanding > 0 {
            *c.phases.entry(Phase::Launching).or_default() += outstanding;
        }
        c.occupied += outstanding;
        c.supply += outstanding;
        c.on_demand_supply += self.view.world.outstanding(|launch| launch.pool == *name && launch.market == Market::OnDemand);
        let Some(pool) = self.pool else { return };
        let visible = self.view.predecessor_hidden().is_none();
        let on_demand = pool.spec.rerun.market == RerunMarket::OnDemand;
        let mut shares = pool.spec.capacity.per_repository.map(|most| Shares::taken(most, self.view.demand, runners));
        for (id, job) in self.view.demand.queued(name) {
            c.queued += 1;
            let mut counts = job.counts(pool.queue_delay(), now) && (!job.redelivered || visible);
            if counts && shares.as_mut().is_some_and(|shares| !shares.take(&job.event.repo)) {
                self.plan.above_share.insert(id);
                counts = false;
            }
            c.counting += u32::from(counts);
            let certain = on_demand && job.event.is_rerun() || job.took_step(LateAct::OnDemand);
            c.on_demand += u32::from(counts && certain);
            let next = job.counts_at(pool.queue_delay(), now);
            self.plan.counts_next = self.plan.counts_next.into_iter().chain(next).min();
        }
        c.max = pool.spec.capacity.max;
        c.floor = pool.spec.capacity.idle_at(now).min(c.max);
        c.wanted = c.counting.saturating_sub(c.unexplained) + c.floor;
    }
}
