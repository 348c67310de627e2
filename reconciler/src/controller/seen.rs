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
        // Instances that can be configured soon take up room of all pools. Instances of a pool that is refused take up room of
        // that pool only.
        let mut room = match refused(name) {
            Some(_) => 1_u32.saturating_sub(self.unconfigured(|pool| pool == name)),
            None => self.budgets.unconfigured_limit().saturating_sub(self.unconfigured(|pool| refused(pool).is_none())),
        };
        let payer = |pool: &PoolName| self.spec.pools.get(pool).map(|p| p.list_id().payer());
        let mut github = None;
        let own = payer(name);
        if let Some((left, until)) = own.as_ref().and_then(|own| self.budgets.github_leaves(own, now)) {
            let left = left.saturating_sub(self.unconfigured(|pool| payer(pool) == own));
            github = (left <= room).then_some(until);
            room = room.min(left);
        }
        Gate {
            room,
            github,
            backoff: self.pools.get(name).and_then(|p| p.backoff.clone()),
            paused: self.paused.get(name).cloned(),
            refused: refused(name),
        }
    }

    /// The number of instances that this process launched and has not configured yet, in the pools that `counts` picks.
    fn unconfigured(&self, counts: impl Fn(&PoolName) -> bool) -> u32 {
        let unconfigured =
            self.world.runners().values().filter(|r| !r.is_configured() && r.launched_here() && r.gone_at().is_none());
        self.world.outstanding(&counts) + u32::try_from(unconfigured.filter(|r| counts(r.pool())).count()).unwrap_or(u32::MAX)
    }
}
