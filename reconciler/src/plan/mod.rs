//! What should happen next in one pool: a pure function of demand, world and missing capacity.
//!
//! Nothing here acts, retries or remembers. The plan leaves out steps that are under way, and the controller keeps the budgets.
//! [`plan`] calls the files in this order: `by_pool`, `count` (with `share`), `each_runner`, `surplus`, `configure`, `launch`.

mod by_pool;
mod configure;
mod count;
mod each_runner;
mod launch;
mod say;
mod share;
mod surplus;

pub use by_pool::{RunnersByPool, Unconfigured};
pub use each_runner::retires_at;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::capacity::Unavailable;
use crate::demand::Demand;
use crate::effect::Source;
use crate::ids::{InstanceId, JobId, PoolName};
use crate::manifest::{RunnerPool, Spec};
use crate::market::{Market, Offering};
use crate::reason::{Backoff, Blocked, LaunchReason, Refused, StepReason, Tripped};
use crate::runner::{Act, Phase, Runner};
use crate::steer::Pause;
use crate::time::Time;
use crate::world::World;

/// A drained runner answers within seconds. After this time without an answer, the plan looks closely at the runner.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(300);

/// An instance ends itself after its only job. After this time the controller ends it.
pub const END_GRACE: Duration = Duration::from_secs(30);

/// The inputs of a plan.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The manifests.
    pub spec: &'a Spec,
    /// The jobs.
    pub demand: &'a Demand,
    /// The runners, and how fresh each source is.
    pub world: &'a World,
    /// Offerings that lately had no capacity.
    pub unavailable: &'a Unavailable,
}

impl View<'_> {
    /// Until when launches wait, because EC2 may not show a predecessor's launches yet; see [`World::predecessor_hidden`].
    fn predecessor_hidden(&self) -> Option<Time> {
        self.world.predecessor_hidden(self.spec.controller.spec.intervals.settle.get())
    }
}

/// Limits on a pool's launches that come from outside the pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// The number of instances that the pool may launch now. More of them would wait too long for their configuration.
    pub room: u32,
    /// When GitHub's rate limit is reset, if this limit is what decides `room`.
    pub github: Option<Time>,
    /// Until when the pool backs off, and why.
    pub backoff: Option<(Time, Backoff)>,
    /// Set while an operator has paused the pool.
    pub paused: Option<Pause>,
    /// Why the pool launches one instance at a time, if this is what decides `room`: its instances fail to start.
    pub trial: Option<Backoff>,
    /// Until when the pool tries no configuration, and why the last one was refused. From then on, one instance at a time tries.
    pub refused: Option<(Time, Refused)>,
    /// What opened the pool's breaker. None: the breaker is closed.
    pub breaker: Option<Tripped>,
    /// Whether an open breaker lets one spot instance try now.
    pub probe: bool,
}

/// What should happen in one pool, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The pool.
    pub pool: PoolName,
    /// The numbers that led to the plan.
    pub counts: Counts,
    /// At most one launch. None: the plan launches nothing.
    pub launch: Option<PlannedLaunch>,
    /// Why a runner that is wanted is not launched, or why a launched instance cannot become a runner.
    pub blocked: Option<Blocked>,
    /// Steps on single runners, at most one for each.
    pub steps: Vec<Step>,
    /// Whether the pool is in no manifest.
    pub pool_gone: bool,
    /// Queued jobs that count for nothing now, because their repository has its share of the pool.
    pub above_share: BTreeSet<JobId>,
    /// What opened the pool's breaker. None: the breaker is closed.
    pub breaker: Option<Tripped>,
    /// When the next of the pool's jobs counts, if nothing else is heard until then. None: no job waits for a time.
    pub counts_next: Option<Time>,
}

/// The numbers of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queued jobs of the pool.
    pub queued: u32,
    /// Queued jobs that want a runner now.
    pub counting: u32,
    /// Runners that have just turned busy with a job that no event names yet.
    pub unexplained: u32,
    /// The warm floor at this time, at most `max`.
    pub floor: u32,
    /// The number of runners that the pool should have for waiting jobs, plus the warm floor.
    pub wanted: u32,
    /// Runners that can take a job now or soon.
    pub supply: u32,
    /// Jobs of `counting` whose instances are to be bought on-demand although the pool buys spot.
    pub on_demand: u32,
    /// Runners of `supply` that were bought on-demand.
    pub on_demand_supply: u32,
    /// Runners that are not gone, and instances of launches without a certain answer.
    pub occupied: u32,
    /// The pool's `capacity.max`; 0 when the pool is in no manifest.
    pub max: u32,
    /// Runners by phase. Instances of launches without a certain answer are `launching`.
    pub phases: BTreeMap<Phase, u32>,
}

/// A planned launch. The controller gives the launch its intent.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLaunch {
    /// The number of instances.
    pub count: u32,
    /// Spot or on-demand.
    pub market: Market,
    /// The instance types and subnets that EC2 may choose from.
    pub offerings: Vec<Offering>,
    /// Why the pool launches now.
    pub reason: LaunchReason,
}

/// One step on one runner.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The runner's instance.
    pub instance: InstanceId,
    /// What is done to the runner.
    pub act: Act,
    /// Why this is done.
    pub reason: StepReason,
}

/// Plans one pool. If the pool is in no manifest any more, the plan asks the pool's runners to end.
pub fn plan(view: View<'_>, name: &PoolName, gate: &Gate, now: Time) -> Plan {
    let pools = [name.clone()];
    let by_pool = RunnersByPool::at(view.world, view.spec, &pools, now);
    with_launch(view, without_launch(view, name, by_pool.of(name), gate.refused.as_ref(), now), gate, now)
}

/// The part of a plan that the launches of other pools do not change.
pub(crate) fn without_launch(
    view: View<'_>,
    name: &PoolName,
    runners: &[Member<'_>],
    refused: Option<&(Time, Refused)>,
    now: Time,
) -> Plan {
    let pool = view.spec.pools.get(name);
    let mut p = Planner::new(view, Plan { pool: name.clone(), pool_gone: pool.is_none(), ..Plan::default() }, now);
    // One pass over the runners: with very many of them, fetching their records costs more than judging them.
    for member @ (id, runner, phase) in runners {
        p.count_runner(member);
        p.look_at(id, runner, *phase);
    }
    p.count_jobs(runners);
    p.shrink(runners);
    p.configure(runners, refused);
    p.plan
}

/// The whole plan, with the launch that fits through the gate.
pub(crate) fn with_launch(view: View<'_>, plan: Plan, gate: &Gate, now: Time) -> Plan {
    let mut p = Planner::new(view, plan, now);
    p.plan.breaker.clone_from(&gate.breaker);
    p.grow(gate);
    p.plan
}

struct Planner<'a> {
    view: View<'a>,
    pool: Option<&'a RunnerPool>,
    /// Whether the view of EC2 is fresh.
    ec2_fresh: bool,
    now: Time,
    plan: Plan,
}

/// A runner of the pool, with its phase.
pub(crate) type Member<'a> = (&'a InstanceId, &'a Runner, Phase);

impl<'a> Planner<'a> {
    fn new(view: View<'a>, plan: Plan, now: Time) -> Planner<'a> {
        let mut planner = Planner { view, pool: view.spec.pools.get(&plan.pool), ec2_fresh: false, now, plan };
        planner.ec2_fresh = planner.fresh(&Source::Instances);
        planner
    }

    fn boot_deadline(&self) -> Duration {
        self.view.spec.boot_deadline(&self.plan.pool)
    }

    fn step(&mut self, id: &InstanceId, act: Act, reason: StepReason) {
        self.plan.steps.push(Step { instance: id.clone(), act, reason });
    }

    fn planned(&self, id: &InstanceId) -> bool {
        self.plan.steps.iter().any(|s| s.instance == *id)
    }

    /// Whether the view of a source is fresh. The last complete sweep must have begun within the last four intervals of the
    /// source, or within the last minute if that is longer.
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
