//! What should happen next in one pool: a pure function of demand, world and missing capacity.
//!
//! Nothing here acts, retries or remembers. The plan leaves out steps that are under way, and the controller keeps the budgets.
//! [`plan`] calls the files in this order: `count`, `each_runner`, `surplus`, `configure`, `launch`.

mod configure;
mod count;
mod each_runner;
mod launch;
mod surplus;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::capacity::Unavailable;
use crate::demand::Demand;
use crate::effect::Source;
use crate::ids::{InstanceId, PoolName};
use crate::manifest::{RunnerPool, Spec};
use crate::market::{Market, Offering};
use crate::reason::{Backoff, Blocked, LaunchReason, Refused, StepReason};
use crate::runner::{Act, Phase, Runner};
use crate::steer::Pause;
use crate::time::Time;
use crate::world::World;

/// A drained runner answers within seconds. After this time without an answer, it is looked at closely.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(300);

/// An instance ends itself after its only job. After this time the controller ends it.
pub const END_GRACE: Duration = Duration::from_secs(30);

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The manifests.
    pub spec: &'a Spec,
    /// The jobs.
    pub demand: &'a Demand,
    /// The boxes.
    pub world: &'a World,
    /// Offerings that lately had no capacity.
    pub unavailable: &'a Unavailable,
}

impl View<'_> {
    /// Until when launches wait, because a predecessor's may be hidden; see [`World::predecessor_hidden`].
    fn predecessor_hidden(&self) -> Option<Time> {
        self.world.predecessor_hidden(self.spec.controller.spec.intervals.settle.get())
    }
}

/// Limits on a pool's launches that come from outside the pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Instances that the pool may still launch before configurations fall behind.
    pub room: u32,
    /// It is GitHub's limit that leaves no more room, until then.
    pub github: Option<Time>,
    /// The pool backs off until then, and why.
    pub backoff: Option<(Time, Backoff)>,
    /// An operator paused the pool.
    pub paused: Option<Pause>,
    /// The last configuration in this pool was refused, and why: none is tried before then, and one at a time from then on.
    pub refused: Option<(Time, Refused)>,
}

/// What should happen in one pool, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The pool.
    pub pool: PoolName,
    /// The numbers that led to it.
    pub counts: Counts,
    /// One launch, if any.
    pub launch: Option<PlannedLaunch>,
    /// What keeps a wanted runner from being launched, or what is launched from becoming one.
    pub blocked: Option<Blocked>,
    /// What happens to single boxes.
    pub steps: Vec<Step>,
    /// The pool is in no manifest.
    pub pool_gone: bool,
}

/// The numbers of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queued jobs of the pool.
    pub queued: u32,
    /// Of them, those that want a runner now.
    pub counting: u32,
    /// Busy runners that no event explains yet.
    pub unexplained: u32,
    /// The warm floor now.
    pub floor: u32,
    /// Runners wanted.
    pub wanted: u32,
    /// Runners that can take a job, or will.
    pub supply: u32,
    /// Everything that is not gone, and launches under way.
    pub occupied: u32,
    /// The pool's max.
    pub max: u32,
    /// Boxes by phase.
    pub phases: BTreeMap<Phase, u32>,
}

/// A launch, before it has an intent.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLaunch {
    /// How many.
    pub count: u32,
    /// How they are bought.
    pub market: Market,
    /// What may be launched.
    pub offerings: Vec<Offering>,
    /// Why.
    pub reason: LaunchReason,
}

/// One step on one box.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The box.
    pub instance: InstanceId,
    /// What.
    pub act: Act,
    /// Why.
    pub reason: StepReason,
}

/// Plans one pool; `name` need not be in the manifests any more, then its boxes are drained.
pub fn plan(view: View<'_>, name: &PoolName, gate: &Gate, now: Time) -> Plan {
    let pool = view.spec.pools.get(name);
    let mut p = Planner { view, pool, now, plan: Plan { pool: name.clone(), pool_gone: pool.is_none(), ..Plan::default() } };
    let boxes: Vec<_> = view
        .world
        .runners()
        .iter()
        .filter(|(_, r)| r.pool() == name)
        .map(|(id, r)| (id, r, r.phase(p.boot_deadline(), now)))
        .collect();
    p.count(&boxes);
    for (id, runner, phase) in &boxes {
        p.look_at(id, runner, *phase);
    }
    p.shrink(&boxes);
    p.configure(&boxes, gate);
    p.grow(gate);
    p.plan
}

struct Planner<'a> {
    view: View<'a>,
    pool: Option<&'a RunnerPool>,
    now: Time,
    plan: Plan,
}

/// A pool's runners with their phases.
type Runners<'a> = [(&'a InstanceId, &'a Runner, Phase)];

impl Planner<'_> {
    fn boot_deadline(&self) -> Duration {
        self.view.spec.boot_deadline(&self.plan.pool)
    }

    fn max_lifetime(&self) -> Duration {
        self.view.spec.max_lifetime(&self.plan.pool)
    }

    fn step(&mut self, id: &InstanceId, act: Act, reason: StepReason) {
        self.plan.steps.push(Step { instance: id.clone(), act, reason });
    }

    fn planned(&self, id: &InstanceId) -> bool {
        self.plan.steps.iter().any(|s| s.instance == *id)
    }

    /// A source is fresh when its last complete sweep is not older than four of its intervals (a minute at least).
    fn fresh(&self, source: &Source) -> bool {
        let every = &self.view.spec.controller.spec.intervals;
        let interval = match source {
            Source::Instances => every.instances,
            Source::Runners(_) => every.runners,
            Source::Secrets => every.secrets,
            Source::Deliveries(_) => every.deliveries,
        };
        let limit = (interval.get() * 4).max(Duration::from_secs(60));
        self.view.world.swept(source).is_some_and(|at| self.now.since(at) <= limit)
    }
}
