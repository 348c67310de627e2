//! What the controller knows, to be read by whoever answers a question. Nobody changes anything through this view.

use std::collections::{BTreeMap, BTreeSet};

use super::PoolState;
use crate::budget::Budgets;
use crate::capacity::Unavailable;
use crate::demand::Demand;
use crate::ids::PoolName;
use crate::journal::Journal;
use crate::manifest::Spec;
use crate::plan::{Gate, Plan, View, plan};
use crate::reason::Blocked;
use crate::runner::{Phase, Runner};
use crate::steer::Pause;
use crate::time::Time;
use crate::world::World;

/// What the controller knows at one moment. `explain.rs`, `timeline.rs` and `why.rs` answer from this view.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) demand: &'a Demand,
    pub(crate) world: &'a World,
    pub(crate) unavailable: &'a Unavailable,
    pub(crate) budgets: &'a Budgets,
    pub(crate) paused: &'a BTreeMap<PoolName, Pause>,
    pub(crate) journal: &'a Journal,
    /// The number of effects under way.
    pub(crate) in_flight: usize,
    /// The number of messages of the jobs queue that this process holds.
    pub(crate) messages_held: usize,
    pub(super) pools: &'a BTreeMap<PoolName, PoolState>,
}

impl Seen<'_> {
    /// The pool's newest plan. None: the pool was not planned yet.
    pub(crate) fn newest_plan(&self, name: &PoolName) -> Option<&Plan> {
        self.pools.get(name).and_then(|state| state.plan.as_ref())
    }

    fn view(&self) -> View<'_> {
        View { spec: self.spec, demand: self.demand, world: self.world, unavailable: self.unavailable }
    }

    /// Plans every pool and emits nothing, for `muster plan`.
    pub fn preview(&self, now: Time) -> Vec<Plan> {
        self.pool_names().iter().map(|name| plan(self.view(), name, &self.gate(name, now), now)).collect()
    }

    /// The pools of the manifests, and pools that only runners name.
    pub(super) fn pool_names(&self) -> BTreeSet<PoolName> {
        self.spec.pools.keys().cloned().chain(self.world.runners().values().map(|r| r.pool().clone())).collect()
    }

    /// Decision 0010, row 37.
    pub(super) fn gate(&self, name: &PoolName, now: Time) -> Gate {
        let refused = |pool: &PoolName| self.pools.get(pool).and_then(|p| p.refused.clone());
        let own = self.unconfigured(now, |pool, _| pool == name);
        // Every pool has room for one.
        let one = 1_u32.saturating_sub(own);
        let mut room = if refused(name).is_some() { one } else { self.share(name, own, now).max(one) };
        let payer = |pool: &PoolName| self.spec.pools.get(pool).map(|p| p.list_id().payer());
        let mut github = None;
        let own = payer(name);
        if let Some((left, until)) = own.as_ref().and_then(|own| self.budgets.github_leaves(own, now)) {
            let left = left.saturating_sub(self.unconfigured(now, |pool, _| payer(pool) == own));
            github = (left <= room).then_some(until);
            room = room.min(left);
        }
        let mut trial = None;
        if let Some((_, why)) = self.pools.get(name).and_then(|p| p.boot_backoff.as_ref()) {
            let one = 1_u32.saturating_sub(self.starting(name, now));
            (room, trial) = if one < room { (one, Some(why.clone())) } else { (room, None) };
        }
        Gate {
            room,
            github,
            trial,
            backoff: self.pools.get(name).and_then(|p| p.backoff().cloned()),
            paused: self.paused.get(name).cloned(),
            refused: refused(name),
        }
    }

    /// How many more instances a pool may launch that has `own` instances without a configuration. Pools that wait for room share the
    /// room evenly. Instances that can be configured soon take up room of all pools. Instances that cannot be configured take up
    /// room of their own pool only.
    fn share(&self, name: &PoolName, own: u32, now: Time) -> u32 {
        let state = |pool: &PoolName| self.pools.get(pool);
        let blocked = |pool: &PoolName| state(pool).and_then(|state| state.plan.as_ref()?.blocked.as_ref());
        let waits = |pool: &PoolName| pool != name && blocked(pool) == Some(&Blocked::Pace);
        let takes =
            |pool: &PoolName, failed: bool| pool != name && !failed && state(pool).is_none_or(|state| state.refused.is_none());
        let limit = self.budgets.unconfigured_limit();
        let others = self.unconfigured(now, takes);
        let settled = self.unconfigured(now, |pool, failed| takes(pool, failed) && !waits(pool));
        let waiting = u32::try_from(self.pools.keys().filter(|pool| waits(pool)).count()).unwrap_or(u32::MAX);
        let share = limit.saturating_sub(settled) / waiting.saturating_add(1);
        limit.saturating_sub(others.saturating_add(own)).min(share.saturating_sub(own))
    }

    /// The number of the pool's instances that may come online before long.
    fn starting(&self, name: &PoolName, now: Time) -> u32 {
        let deadline = self.spec.boot_deadline(name);
        let starts = |r: &&Runner| matches!(r.phase(deadline, now), Phase::Launching | Phase::Booting | Phase::Configured);
        let starting = self.world.runners().values().filter(|r| r.pool() == name).filter(starts).count();
        self.world.outstanding(|pool| pool == name) + u32::try_from(starting).unwrap_or(u32::MAX)
    }

    /// The number of instances that this process launched and that wait for their configuration. `counts` picks them, by pool and by
    /// whether the last try failed.
    fn unconfigured(&self, now: Time, counts: impl Fn(&PoolName, bool) -> bool) -> u32 {
        let ours = self.world.runners().values().filter(|r| !r.is_configured() && r.launched_here() && r.gone_at().is_none());
        let counted = ours.filter(|r| counts(r.pool(), r.last_error().is_some()));
        let starts = |r: &&Runner| matches!(r.phase(self.spec.boot_deadline(r.pool()), now), Phase::Launching | Phase::Booting);
        let counted = counted.filter(starts).count();
        self.world.outstanding(|pool| counts(pool, false)) + u32::try_from(counted).unwrap_or(u32::MAX)
    }
}
