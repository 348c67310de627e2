//! One look at all runners, for the plans of several pools.

use std::collections::BTreeMap;

use super::Member;
use crate::ids::PoolName;
use crate::manifest::Spec;
use crate::runner::Phase;
use crate::time::Time;
use crate::world::World;

/// What one look at all runners shows.
#[derive(Debug, Default)]
pub struct RunnersByPool<'a> {
    of: BTreeMap<&'a PoolName, Vec<Member<'a>>>,
    unconfigured: Unconfigured,
}

/// The number of instances that this process launched and that wait for their configuration, by pool. The second number is of those
/// whose last try failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unconfigured(BTreeMap<PoolName, [u32; 2]>);

impl<'a> RunnersByPool<'a> {
    /// Looks at the runners. Those of `pools` are sorted by pool.
    pub fn at(world: &'a World, spec: &Spec, pools: &'a [PoolName], now: Time) -> RunnersByPool<'a> {
        let mut by_pool = RunnersByPool { of: pools.iter().map(|name| (name, Vec::new())).collect(), ..RunnersByPool::default() };
        for (id, r) in world.runners() {
            let of_pool = by_pool.of.get_mut(r.pool());
            // The cheap questions come first, because there may be very many runners.
            let waits = r.launched_here() && !r.is_configured() && r.gone_at().is_none();
            if of_pool.is_none() && !waits {
                continue;
            }
            // A name alone takes no room and is given nothing to do.
            if r.is_only_named(now) {
                continue;
            }
            let phase = r.phase(spec.boot_deadline(r.pool()), now);
            if waits && matches!(phase, Phase::Launching | Phase::Booting) {
                by_pool.unconfigured.0.entry(r.pool().clone()).or_default()[usize::from(r.last_error().is_some())] += 1;
            }
            if let Some(of_pool) = of_pool {
                of_pool.push((id, r, phase));
            }
        }
        by_pool
    }

    /// The runners of one of the pools.
    pub fn of(&self, pool: &PoolName) -> &[Member<'a>] {
        self.of.get(pool).map_or(&[], Vec::as_slice)
    }

    /// The instances that wait for their configuration.
    pub fn unconfigured(&self) -> &Unconfigured {
        &self.unconfigured
    }
}

impl Unconfigured {
    /// Counts instances. `counts` picks them, by pool and by whether the last try failed.
    pub fn count(&self, counts: impl Fn(&PoolName, bool) -> bool) -> u32 {
        let of = |(pool, [fine, failed]): (&PoolName, &[u32; 2])| {
            u32::from(counts(pool, false)) * fine + u32::from(counts(pool, true)) * failed
        };
        self.0.iter().map(of).sum()
    }
}
