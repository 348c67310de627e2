//! Which runners go when there is more supply than wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Member, Planner, Step};
use crate::ids::InstanceId;
use crate::reason::StepReason;
use crate::runner::{Act, Phase};

impl Planner<'_> {
    /// Lets surplus supply go. First, instances that were never configured are ended, because they cannot have a job. Then
    /// runners that have been idle for `idleTimeout` are asked to end, and the longest idle goes first.
    ///
    /// Decision 0010, row 30.
    pub(super) fn shrink(&mut self, runners: &[Member<'_>]) {
        if !self.ec2_fresh {
            return;
        }
        let lets_go = |s: &&Step| matches!(s.act, Act::Drain | Act::Terminate);
        let going: BTreeSet<&InstanceId> = self.plan.steps.iter().filter(lets_go).map(|s| &s.instance).collect();
        let going = runners.iter().filter(|(id, r, phase)| going.contains(id) && r.supplies(self.pool, *phase)).count();
        let going = u32::try_from(going).unwrap_or(u32::MAX);
        // A job that seems to be taken but still looks queued is a guess. The guess is good enough to launch no runner, and not
        // good enough to let one go.
        let c = &self.plan.counts;
        let mut surplus = c.supply.saturating_sub(c.counting + c.floor).saturating_sub(going);
        let timeout = self.pool.map_or(Duration::ZERO, |p| p.spec.runner.idle_timeout.get());
        for (id, r, phase) in runners {
            let unused = matches!(phase, Phase::Launching | Phase::Booting) && r.never_configured() && r.is_free(self.now);
            if surplus > 0 && unused && !self.planned(id) {
                surplus -= 1;
                self.step(id, Act::Terminate, StepReason::Unneeded);
            }
        }
        let mut idle: Vec<_> = runners
            .iter()
            .filter(|(_, r, phase)| *phase == Phase::Idle && r.is_free(self.now))
            .filter_map(|(id, r, _)| r.idle_since().map(|since| (since, *id)))
            .filter(|(since, id)| self.now.since(*since) >= timeout && !self.planned(id))
            .collect();
        idle.sort();
        for (since, id) in idle.into_iter().take(surplus as usize) {
            let why = match self.pool {
                Some(_) => StepReason::IdleTooLong { idle: self.now.since(since), limit: timeout },
                None => StepReason::PoolGone,
            };
            self.step(id, Act::Drain, why);
        }
        if self.pool.is_none() {
            // The runners of a pool that is gone get no configuration. Those that might have one are asked to end.
            for (id, r, phase) in runners {
                let waiting = phase.is_supply() && *phase != Phase::Idle && r.is_free(self.now);
                // A secret names no pool. A runner that only its secret speaks of waits until EC2 or GitHub names its pool.
                let waiting = waiting && (r.instance().is_some() || r.registration().is_some());
                if waiting && !self.planned(id) {
                    self.step(id, Act::Drain, StepReason::PoolGone);
                }
            }
        }
    }
}
