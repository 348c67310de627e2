//! Pause: a paused pool launches nothing, and its jobs are told so. After it is resumed, nothing is said to be paused any more.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::effect::Launch;
use muster_reconciler::event::JobState;
use muster_reconciler::ids::PoolName;
use muster_reconciler::plan::Plan;
use muster_reconciler::reason::{Blocked, JobReason};
use muster_reconciler::time::{Time, human};

use super::{Invariant, Oracle, Truth};

/// How long after an order muster may still say what held before it. Each pool is planned every 10 s.
const TOLD: Duration = Duration::from_secs(30);

impl Oracle {
    /// An operator pauses or resumes a pool.
    pub(crate) fn steered(&mut self, pool: &PoolName, now: Time) {
        self.steered.insert(pool.clone(), now);
    }

    /// The process sends a launch.
    pub(super) fn judge_pause(&mut self, launch: &Launch, truth: Truth<'_>) {
        let now = truth.now();
        if let Some(pause) = truth.paused.get(&launch.pool) {
            let what =
                format!("pool {} launches {}, and is paused since {}", launch.pool, launch.count, human(now.since(pause.since)));
            self.blame(Invariant::Pause, now, what);
        }
    }

    /// What muster says of pools that were paused or resumed, and of their jobs.
    pub(super) fn look_at_pauses(&mut self, truth: Truth<'_>, now: Time) {
        let Some(controller) = truth.controller else { return };
        let plans: BTreeMap<&PoolName, Option<&Plan>> = controller.newest_plans().collect();
        let mut wrong = Vec::new();
        for (name, at) in self.steered.iter().filter(|(_, at)| now.since(**at) >= TOLD) {
            let Some(plan) = plans.get(name).copied().flatten() else { continue };
            let (paused, says) = (truth.paused.contains_key(name), matches!(plan.blocked, Some(Blocked::Paused(_))));
            if paused != says && !plan.pool_gone {
                let order = if paused { "paused" } else { "resumed" };
                wrong.push(format!("pool {name} was {order} {} ago, and says: {:?}", human(now.since(*at)), plan.blocked));
            }
            if !paused {
                continue;
            }
            for (id, job) in controller.view().demand.queued(name).filter(|(_, job)| job.event.state == JobState::Queued) {
                let why = controller.seen().why(job, now);
                let other = match &why {
                    JobReason::Blocked { blocked, .. } => !matches!(blocked, Blocked::Paused(_)),
                    JobReason::Launching { .. } | JobReason::Starting { .. } | JobReason::Unplanned { .. } => true,
                    _ => false,
                };
                if other {
                    wrong.push(format!("job {id} waits for pool {name}, which is paused, and is told: {}", why.say(now)));
                }
            }
        }
        for what in wrong {
            self.blame(Invariant::Pause, now, what);
        }
    }
}
