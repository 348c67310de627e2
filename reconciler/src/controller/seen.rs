//! What the controller knows, to be read by whoever answers a question. Nobody changes anything through this view.

use std::collections::{BTreeMap, BTreeSet};

use super::pool_state::PoolState;
use crate::budget::Budgets;
use crate::capacity::Unavailable;
use crate::cases::Cases;
use crate::demand::Demand;
use crate::history::SpotHistory;
use crate::ids::{InstanceId, PoolName};
use crate::journal::Journal;
use crate::lately::Lately;
use crate::manifest::Spec;
use crate::market::Market;
use crate::plan::{Gate, Plan, RunnersByPool, Unconfigured, View, with_launch, without_launch};
use crate::reason::{Backoff, Blocked, NotServed, Refused, Tripped};
use crate::release::RunnerReleases;
use crate::runner::Phase;
use crate::steer::Pause;
use crate::time::Time;
use crate::versions::RunnerVersions;
use crate::waits::PoolWaits;
use crate::warnings::Warning;
use crate::world::World;

/// What the controller knows at one moment. `explain.rs`, `timeline.rs` and `why.rs` answer from this view.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) releases: &'a RunnerReleases,
    pub(crate) versions: &'a RunnerVersions,
    pub(crate) warnings: &'a BTreeMap<PoolName, Vec<Warning>>,
    pub(crate) demand: &'a Demand,
    pub(crate) cases: &'a Cases,
    pub(crate) world: &'a World,
    pub(crate) unavailable: &'a Unavailable,
    pub(crate) budgets: &'a Budgets,
    pub(crate) paused: &'a BTreeMap<PoolName, Pause>,
    pub(crate) journal: &'a Journal,
    pub(crate) lately: &'a Lately,
    /// Since when nothing has needed attention. None: something did, at the last look.
    pub(crate) well_since: Option<Time>,
    /// The number of effects under way.
    pub(crate) in_flight: usize,
    /// The number of messages of the jobs queue that this process holds.
    pub(crate) messages_held: usize,
    pub(super) pools: &'a BTreeMap<PoolName, PoolState>,
}

/// What fails in a pool, without one success since.
pub(crate) struct Failures<'a> {
    pub since: Time,
    pub backoff: Option<&'a Backoff>,
    pub refused: Option<&'a Refused>,
    /// The last instance that failed to start.
    pub instance: Option<&'a InstanceId>,
}

impl Seen<'_> {
    /// What fails in a pool. None: nothing does.
    pub(crate) fn failures(&self, name: &PoolName) -> Option<Failures<'_>> {
        let state = self.pools.get(name)?;
        let (backoff, refused) = (state.backoff().map(|(_, why)| why), state.refused.as_ref().map(|(_, why)| why));
        Some(Failures { since: state.failing_since?, backoff, refused, instance: state.last_failed.as_ref() })
    }

    /// Since when the same has kept the pool from launching what it wants. None: nothing does.
    pub(crate) fn blocked_since(&self, name: &PoolName) -> Option<Time> {
        self.pools.get(name)?.blocked.map(|(_, since)| since)
    }

    /// How long the pool's jobs waited and its runners started. None: nothing is known.
    pub(crate) fn waits(&self, name: &PoolName) -> Option<&PoolWaits> {
        self.pools.get(name).map(|state| &state.waits)
    }

    /// The pool's newest plan. None: the pool was not planned yet.
    pub(crate) fn newest_plan(&self, name: &PoolName) -> Option<&Plan> {
        self.pools.get(name).and_then(|state| state.plan.as_ref())
    }

    /// Why GitHub seems to give nothing to the pool's runners. None: it does, or nothing shows that it does not.
    pub(crate) fn not_served(&self, name: &PoolName) -> Option<&NotServed> {
        self.pools.get(name).and_then(|state| state.not_served.as_ref())
    }

    /// What opened the pool's breaker. None: the breaker is closed.
    pub(crate) fn tripped(&self, name: &PoolName) -> Option<&Tripped> {
        self.pools.get(name).and_then(|state| state.breaker.tripped())
    }

    /// What became of the pool's spot instances. None: nothing is known.
    pub(crate) fn history(&self, name: &PoolName) -> Option<&SpotHistory> {
        self.pools.get(name).map(|state| &state.history)
    }

    fn view(&self) -> View<'_> {
        View { spec: self.spec, demand: self.demand, world: self.world, unavailable: self.unavailable }
    }

    /// Plans every pool and emits nothing, for `muster plan`.
    pub fn preview(&self, now: Time) -> Vec<Plan> {
        self.preview_of(&self.pool_names().into_iter().collect::<Vec<_>>(), now)
    }

    /// Plans some pools and emits nothing.
    pub(crate) fn preview_of(&self, names: &[PoolName], now: Time) -> Vec<Plan> {
        let by_pool = RunnersByPool::at(self.world, self.spec, names, now);
        let plan = |name| {
            let plan = without_launch(self.view(), name, by_pool.of(name), self.refused(name), now);
            let gate = self.gate(&plan, by_pool.unconfigured(), now);
            with_launch(self.view(), plan, &gate, now)
        };
        names.iter().map(plan).collect()
    }

    fn refused(&self, name: &PoolName) -> Option<&(Time, Refused)> {
        self.pools.get(name)?.refused.as_ref()
    }

    /// The pools of the manifests, and pools that only runners name.
    pub(super) fn pool_names(&self) -> BTreeSet<PoolName> {
        self.spec.pools.keys().cloned().chain(self.world.runners().values().map(|r| r.pool().clone())).collect()
    }

    /// What limits the launch of a plan that has none yet. `unconfigured` does not include the launches under way.
    ///
    /// Decision 0010, row 37.
    pub(super) fn gate(&self, plan: &Plan, unconfigured: &Unconfigured, now: Time) -> Gate {
        let (name, counts) = (&plan.pool, &plan.counts);
        let own = self.waiting(unconfigured, |pool, _| pool == name);
        // Every pool has room for one.
        let one = 1_u32.saturating_sub(own);
        let mut room = if self.refused(name).is_some() { one } else { self.share(name, own, unconfigured).max(one) };
        let payer = |pool: &PoolName| self.spec.pools.get(pool).map(|p| p.list_id().payer());
        let mut github = None;
        let own = payer(name);
        if let Some((left, until)) = own.as_ref().and_then(|own| self.budgets.github_leaves(own, now)) {
            let left = left.saturating_sub(self.waiting(unconfigured, |pool, _| payer(pool) == own));
            github = (left <= room).then_some(until);
            room = room.min(left);
        }
        let mut trial = None;
        if let Some((_, why)) = self.pools.get(name).and_then(|p| p.boot_backoff.as_ref()) {
            // Instances that may come online before long.
            let starts = [Phase::Launching, Phase::Booting, Phase::Configured];
            let starting: u32 = starts.iter().filter_map(|phase| counts.phases.get(phase)).sum();
            let one = 1_u32.saturating_sub(starting);
            (room, trial) = if one < room { (one, Some(why.clone())) } else { (room, None) };
        }
        let breaker = self.pools.get(name).map(|p| &p.breaker);
        let asked = self.world.outstanding(|launch| launch.pool == *name && launch.market == Market::Spot);
        Gate {
            room,
            github,
            trial,
            breaker: breaker.and_then(|breaker| breaker.tripped().cloned()),
            probe: asked == 0 && breaker.is_some_and(|breaker| breaker.lets_one_try(now)),
            backoff: self.pools.get(name).and_then(|p| p.backoff().cloned()),
            paused: self.paused.get(name).cloned(),
            refused: self.refused(name).cloned(),
        }
    }

    /// How many more instances a pool may launch that has `own` instances without a configuration. Pools that wait for room share the
    /// room evenly. Instances that can be configured soon take up room of all pools. Instances that cannot be configured take up
    /// room of their own pool only.
    fn share(&self, name: &PoolName, own: u32, unconfigured: &Unconfigured) -> u32 {
        let waits = |state: &PoolState| state.plan.as_ref().is_some_and(|plan| plan.blocked == Some(Blocked::Pace));
        let takes = |pool: &PoolName, failed: bool| {
            pool != name && !failed && self.pools.get(pool).is_none_or(|state| state.refused.is_none())
        };
        let limit = self.budgets.unconfigured_limit();
        let others = self.waiting(unconfigured, takes);
        let others_served =
            self.waiting(unconfigured, |pool, failed| takes(pool, failed) && !self.pools.get(pool).is_some_and(waits));
        let waiting = self.pools.iter().filter(|(pool, state)| *pool != name && waits(state)).count();
        let share = limit.saturating_sub(others_served) / u32::try_from(waiting).unwrap_or(u32::MAX).saturating_add(1);
        limit.saturating_sub(others.saturating_add(own)).min(share.saturating_sub(own))
    }

    /// The number of instances that wait for their configuration, those of launches under way included. `counts` picks them, by pool
    /// and by whether the last try failed.
    fn waiting(&self, unconfigured: &Unconfigured, counts: impl Fn(&PoolName, bool) -> bool) -> u32 {
        self.world.outstanding(|launch| counts(&launch.pool, false)).saturating_add(unconfigured.count(counts))
    }
}
