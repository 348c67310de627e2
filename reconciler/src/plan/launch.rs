//! How many instances are launched, and what holds a launch back.

use super::{Gate, PlannedLaunch, Planner};
use crate::breaker::WHILE_TRIPPED;
use crate::capacity::Choice;
use crate::effect::Source;
use crate::manifest::InstanceSettings;
use crate::market::Market;
use crate::reason::{Blocked, LaunchReason, Wants};
use crate::runner::Phase;

impl Planner<'_> {
    /// Decision 0010, row 40.
    pub(super) fn grow(&mut self, gate: &Gate) {
        if let Some(pause) = gate.paused.clone().filter(|_| self.pool.is_some()) {
            self.plan.blocked = Some(Blocked::Paused(pause));
            return;
        }
        let Some(pool) = self.pool else { return };
        let refused = self.refused(gate);
        let c = &self.plan.counts;
        let missing = c.wanted.saturating_sub(c.supply);
        if missing == 0 {
            self.plan.blocked = refused;
            return;
        }
        if self.view.world.swept(&Source::Instances).is_none() {
            self.plan.blocked = Some(Blocked::Unseen);
            return;
        }
        if let Some(until) = self.view.predecessor_hidden() {
            self.plan.blocked = Some(Blocked::Hidden { until });
            return;
        }
        if let Some((until, why)) = gate.backoff.clone().filter(|(until, _)| *until > self.now) {
            self.plan.blocked = refused.or(Some(Blocked::Backoff { until, why }));
            return;
        }
        let fits = missing.min(c.max.saturating_sub(c.occupied));
        let count = fits.min(gate.room);
        // When several limits hold back a launch, the reason names the tightest one. More room elsewhere would change nothing.
        self.plan.blocked = match (gate.trial.clone(), gate.github, gate.refused.clone()) {
            _ if refused.is_some() => refused,
            _ if count == fits => (fits < missing).then_some(Blocked::Max),
            (Some(why), ..) => Some(Blocked::Trial { why }),
            (None, Some(until), _) => Some(Blocked::GitHub { until }),
            (None, None, Some((until, why))) => Some(Blocked::Refused { until, why }),
            (None, None, None) => Some(Blocked::Pace),
        };
        if count == 0 {
            return;
        }
        self.buy(&pool.spec.instance, count, gate);
    }

    /// Launches as many instances as EC2 seems to have, on the market that the pool's settings, its jobs and its breaker choose.
    fn buy(&mut self, settings: &InstanceSettings, count: u32, gate: &Gate) {
        let c = &self.plan.counts;
        let wants = Wants::from(c);
        let choose = |markets: &[Market]| self.view.unavailable.choose_on(&self.plan.pool, settings, markets, self.now);
        // GitHub gives a job to any runner that fits. So there are as many on-demand instances as there are jobs that should have one.
        let on_demand = count.min(c.on_demand.saturating_sub(c.on_demand_supply));
        if on_demand > 0
            && let Choice::Ask(market, offerings) = choose(&[Market::OnDemand])
        {
            let reason = LaunchReason::Wanted(wants);
            self.plan.launch = Some(PlannedLaunch { count: on_demand, market, offerings, reason });
            return;
        }
        let (markets, count, reason) = match gate.breaker.clone() {
            None => (settings.market.markets(), count, LaunchReason::Wanted(wants)),
            Some(tripped) => {
                let tries = gate.probe && matches!(choose(&[Market::Spot]), Choice::Ask(..));
                // Only one instance tries. The others are bought first, because their jobs must not wait for the trial.
                match count - u32::from(tries) {
                    0 => (&[Market::Spot][..], 1, LaunchReason::Probe { wants, tripped }),
                    others => (WHILE_TRIPPED, others, LaunchReason::Breaker { wants, tripped }),
                }
            }
        };
        match choose(markets) {
            Choice::Wait(until, why) => self.plan.blocked = Some(Blocked::Capacity { until, why }),
            Choice::Ask(market, offerings) => {
                let short = market == Market::Spot && matches!(reason, LaunchReason::Breaker { .. });
                let reason = if short { LaunchReason::Wanted(wants) } else { reason };
                self.plan.launch = Some(PlannedLaunch { count, market, offerings, reason });
            }
        }
    }

    /// The refusal that keeps the pool's unconfigured instances from becoming runners. None when nothing is refused, or when the
    /// other runners are enough.
    fn refused(&self, gate: &Gate) -> Option<Blocked> {
        let (until, why) = gate.refused.clone()?;
        let c = &self.plan.counts;
        let unconfigured: u32 = [Phase::Launching, Phase::Booting].iter().filter_map(|p| c.phases.get(p)).sum();
        (unconfigured > 0 && c.wanted > c.supply.saturating_sub(unconfigured)).then_some(Blocked::Refused { until, why })
    }
}
