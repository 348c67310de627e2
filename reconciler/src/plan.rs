//! From demand and world to what should happen next, for one pool: a pure function, in counts.
//!
//! Nothing here acts, retries or remembers. Steps that are under way are left out; the controller meets budgets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::capacity::{Choice, Unavailable};
use crate::defects::{self, Defect};
use crate::demand::Demand;
use crate::effect::{Market, Offering, Source};
use crate::event::InstanceState;
use crate::ids::{InstanceId, PoolName};
use crate::manifest::{RunnerPool, RunnerSettings, Spec};
use crate::reason::{Backoff, Blocked, LaunchReason, Refused, StepReason, Wants};
use crate::runner::{Configured, Phase, Runner};
use crate::steer::Pause;
use crate::time::Time;
use crate::world::World;

/// A drained box answers within seconds; one that has not after this is looked at closely.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(300);

/// A box ends itself after its only job; after this the controller does it.
pub const END_GRACE: Duration = Duration::from_secs(30);

/// A runner that turned busy may be the news of a queued job for this long: webhooks are late by seconds.
const UNEXPLAINED: Duration = Duration::from_secs(60);

/// A live box that was online is missing from GitHub's list for good after so many sweeps.
const VANISHED_SWEEPS: u8 = 6;

/// A spot warning that came to nothing in this time was a false one.
const INTERRUPTION_LAPSE: Duration = Duration::from_secs(600);

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
    /// Boxes that may still be launched, over all pools, before configurations fall behind.
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

/// What can be done to a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Mint its configuration and hand it over.
    Configure,
    /// Ask it to end.
    Drain,
    /// End it.
    Terminate,
    /// Delete its registration.
    Deregister,
    /// Delete its secret.
    DeleteSecret,
}

crate::shown!(Act);

impl Act {
    /// Its word in `muster plan`, as in the event log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Act::Configure => "configure",
            Act::Drain => "drain",
            Act::Terminate => "terminate",
            Act::Deregister => "deregister",
            Act::DeleteSecret => "delete_secret",
        }
    }
}

/// Plans one pool; `name` need not be in the manifests any more, then its boxes are drained.
pub fn plan(view: View<'_>, name: &PoolName, gate: &Gate, now: Time) -> Plan {
    let pool = view.spec.pools.get(name);
    let mut p = Planner { view, pool, now, plan: Plan { pool: name.clone(), pool_gone: pool.is_none(), ..Plan::default() } };
    let boxes: Vec<(&InstanceId, &Runner, Phase)> = view
        .world
        .runners()
        .iter()
        .filter(|(_, r)| r.pool == *name)
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

impl Planner<'_> {
    fn boot_deadline(&self) -> Duration {
        self.pool.map_or(Duration::from_secs(300), |p| p.spec.runner.boot_deadline.get())
    }

    fn count(&mut self, boxes: &[(&InstanceId, &Runner, Phase)]) {
        let (now, name, pool) = (self.now, &self.plan.pool, self.pool);
        let c = &mut self.plan.counts;
        for (_, runner, phase) in boxes {
            *c.phases.entry(*phase).or_default() += 1;
            c.occupied += u32::from(*phase != Phase::Gone);
            c.supply += u32::from(runner.supplies(pool, *phase));
            let news = runner.busy_since.is_some_and(|since| now.since(since) < UNEXPLAINED);
            c.unexplained += u32::from(*phase == Phase::Busy && news && runner.job.is_none());
            // A short job is over, and its box gone, before the news that it began.
            let ended = runner.ended_unexplained().is_some_and(|since| now.since(since) < UNEXPLAINED);
            c.unexplained += u32::from(ended && pool.is_some_and(RunnerPool::ephemeral));
        }
        let outstanding: u32 =
            self.view.world.pending().values().filter(|p| p.launch.pool == *name).map(|p| p.outstanding()).sum();
        if outstanding > 0 {
            *c.phases.entry(Phase::Launching).or_default() += outstanding;
        }
        let outstanding = if defects::has(Defect::IgnoreInFlight) { 0 } else { outstanding };
        c.occupied += outstanding;
        c.supply += outstanding;
        let Some(pool) = self.pool else { return };
        let visible = self.view.predecessor_hidden().is_none();
        for (_, job) in self.view.demand.queued(name) {
            c.queued += 1;
            c.counting += u32::from(job.counts(pool.queue_delay(), now) && (!job.redelivered || visible && job.confirmed(now)));
        }
        c.max = pool.spec.capacity.max;
        c.floor = pool.spec.capacity.idle_at(now).min(c.max);
        c.wanted = c.counting.saturating_sub(c.unexplained) + c.floor;
    }

    fn step(&mut self, id: &InstanceId, act: Act, reason: StepReason) {
        self.plan.steps.push(Step { instance: id.clone(), act, reason });
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

    /// Whether the one list that the box would be in was completely seen in a sweep that began at or after `since`.
    fn listed_since(&self, runner: &Runner, since: Time) -> bool {
        let forge = runner.forge.clone().map(Source::Runners);
        forge.is_some_and(|f| self.view.world.swept(&f).is_some_and(|at| at >= since))
    }

    /// Whether two complete sweeps began at or after `since`.
    fn swept_twice(&self, source: &Source, since: Time) -> bool {
        self.view.world.freshness(source).and_then(|f| f.previous).is_some_and(|at| at >= since)
    }

    /// What a single box needs, whatever the counts say.
    fn look_at(&mut self, id: &InstanceId, r: &Runner, phase: Phase) {
        if r.in_flight || self.now < r.not_before || !self.fresh(&Source::Instances) {
            return;
        }
        let listed = r.registration.as_ref().filter(|g| g.missed == 0 && !r.deregistered);
        if defects::has(Defect::TerminateOnIdleFlag) && listed.is_some_and(|g| g.online && !g.busy) {
            return self.step(id, Act::Terminate, StepReason::NotBusy);
        }
        // However often it was asked to end, or would be.
        if self.outlived(r) && !matches!(phase, Phase::Gone | Phase::Terminating) {
            return self.limit_age(id, r, phase);
        }
        match phase {
            Phase::Gone => {
                let gone_at = r.gone_at.unwrap_or(self.now);
                if r.secret && !defects::has(Defect::KeepSecrets) {
                    self.step(id, Act::DeleteSecret, StepReason::InstanceGone);
                } else if listed.is_some_and(|g| {
                    let seen = self.view.world.swept(&Source::Runners(g.forge.clone())).is_some_and(|at| at >= gone_at);
                    !g.online && !g.busy && seen && gone_at < self.now && !defects::has(Defect::KeepRegistrations)
                }) {
                    self.step(id, Act::Deregister, StepReason::InstanceGone);
                }
            }
            Phase::Terminating => self.finish_ending(id, r),
            Phase::Failed => self.replace_failed(id, r),
            Phase::Draining => self.chase_drain(id, r),
            Phase::Interrupted => {
                let lapsed = r.interrupted_at.is_some_and(|at| self.now.since(at) >= INTERRUPTION_LAPSE);
                if lapsed && r.drain.is_none() {
                    self.step(id, Act::Drain, StepReason::InterruptionLapsed);
                } else if lapsed && !r.may_have_job() {
                    self.chase_drain(id, r);
                } else {
                    self.limit_age(id, r, phase);
                }
            }
            Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle | Phase::Busy
                if r.wish.is_some() && r.drain.is_none() =>
            {
                // As with every drain: only a box that was never configured is known to have no job.
                let act = if r.never_configured() { Act::Terminate } else { Act::Drain };
                self.step(id, act, StepReason::Ordered { why: r.wish.clone().unwrap_or_default() });
            }
            Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle if self.pool.is_some_and(|p| r.outdated(p)) => {
                let act = if r.never_configured() { Act::Terminate } else { Act::Drain };
                self.step(id, act, StepReason::Outdated);
            }
            Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle | Phase::Busy => self.limit_age(id, r, phase),
        }
    }

    fn finish_ending(&mut self, id: &InstanceId, r: &Runner) {
        let state = r.instance.as_ref().map(|i| i.state);
        if let Some((job, at)) = r.job.over()
            && r.terminated_at.is_none()
            && !matches!(state, Some(InstanceState::ShuttingDown | InstanceState::Terminated))
            && self.now.since(at) >= END_GRACE
        {
            if self.left_github(r, at) {
                self.step(id, Act::Terminate, StepReason::JobOver { job });
            } else if r.drain.is_none() && !self.outlived(r) {
                self.step(id, Act::Drain, StepReason::PerhapsSecondJob { job });
            } else {
                self.limit_age(id, r, Phase::Draining);
            }
        } else if matches!(state, Some(InstanceState::Stopped)) && r.terminated_at.is_none() {
            self.step(id, Act::Terminate, StepReason::Stopped);
        } else if r.terminated_at.is_some_and(|at| self.now.since(at) >= Duration::from_secs(120))
            && matches!(state, Some(InstanceState::Pending | InstanceState::Running))
        {
            self.step(id, Act::Terminate, StepReason::EndUnheeded);
        }
    }

    /// Two sweeps that began well after its job was over show it neither online nor busy: it has no other one. Two, because
    /// a row may be missing from one.
    fn left_github(&self, r: &Runner, over_at: Time) -> bool {
        let there = r.registration.as_ref().is_some_and(|g| g.online || g.busy);
        let list = r.forge.clone().map(Source::Runners);
        !there && list.is_some_and(|list| self.swept_twice(&list, over_at + END_GRACE / 2))
    }

    /// Never online in time, or online no more.
    fn replace_failed(&mut self, id: &InstanceId, r: &Runner) {
        let deadline = self.boot_deadline();
        if r.online_at.is_some() {
            return self.step(id, Act::Drain, StepReason::OnlineNoMore);
        }
        let limit = deadline;
        if r.never_configured() || r.deregistered {
            return self.step(id, Act::Terminate, StepReason::NeverOnline { limit });
        }
        if r.forge.is_none() {
            // Found, and in no list that we know: asked as soon as two sweeps of its pool's list could have shown it.
            let twice = self.pool.and_then(|p| self.view.world.freshness(&Source::Runners(p.forge()))?.previous).is_some();
            if twice || self.pool.is_none() {
                self.step(id, Act::Drain, StepReason::Unlisted { limit });
            }
            return;
        }
        // After a failure anew: it may have come online meanwhile.
        if !self.listed_since(r, r.boot_due(deadline).max(r.not_before)) {
            return;
        }
        match &r.registration {
            // Without its registration it can get no job; only then is it ended.
            Some(g) if g.missed == 0 => self.step(id, Act::Deregister, StepReason::NeverOnline { limit }),
            _ => self.step(id, Act::Drain, StepReason::Unlisted { limit }),
        }
    }

    /// A drained box that did not end: ended by us only when no source knows of a job, in two sweeps past the deadline,
    /// and GitHub does not show it online (a live box that does not answer is most likely busy).
    fn chase_drain(&mut self, id: &InstanceId, r: &Runner) {
        let Some(drain) = &r.drain else { return };
        if r.never_configured() {
            return self.step(id, Act::Terminate, StepReason::NeverConfigured);
        }
        let deadline = drain.asked_at + DRAIN_DEADLINE;
        let listed = r.forge.clone().is_some_and(|f| self.swept_twice(&Source::Runners(f), deadline));
        let seen = self.swept_twice(&Source::Instances, deadline) && listed;
        let why = StepReason::DrainUnanswered { limit: DRAIN_DEADLINE };
        if defects::has(Defect::EndAtDrainDeadline) && self.now >= deadline {
            return self.step(id, Act::Terminate, why);
        }
        // One that was online and left GitHub's list, while EC2 shows it: rows go missing there now and then.
        let vanished = r.online_at.is_some() && r.registration.as_ref().is_some_and(|g| (1..VANISHED_SWEEPS).contains(&g.missed));
        if self.now < deadline || !seen || vanished || r.may_have_job() {
            return self.limit_age(id, r, Phase::Draining);
        }
        match &r.registration {
            // GitHub refuses to delete a busy runner, listed or not: its refusal is the last word that could save a job.
            Some(_) if !r.deregistered => self.step(id, Act::Deregister, why),
            _ => self.step(id, Act::Terminate, why),
        }
    }

    /// A pool that is no longer in the manifests leaves the default behind.
    fn max_lifetime(&self) -> Duration {
        self.pool.map_or_else(|| RunnerSettings::default().max_lifetime, |p| p.spec.runner.max_lifetime).get()
    }

    fn age(&self, r: &Runner) -> Duration {
        self.now.since(r.instance.as_ref().map_or(r.first_seen, |i| i.launched_at))
    }

    fn outlived(&self, r: &Runner) -> bool {
        self.age(r) >= self.max_lifetime()
    }

    /// maxLifetime: asked to end somewhat before, ended at it.
    fn limit_age(&mut self, id: &InstanceId, r: &Runner, phase: Phase) {
        if defects::has(Defect::SupplyForEver) && r.online_at.is_none() {
            return;
        }
        let limit = self.max_lifetime();
        let early = limit.saturating_sub(DRAIN_DEADLINE).max(limit / 2);
        if self.outlived(r) {
            self.step(id, Act::Terminate, StepReason::LifetimeReached { limit });
        } else if self.age(r) >= early && r.drain.is_none() && phase == Phase::Idle {
            self.step(id, Act::Drain, StepReason::NearLifetime { limit });
        }
    }

    fn planned(&self, id: &InstanceId) -> bool {
        self.plan.steps.iter().any(|s| s.instance == *id)
    }

    /// More supply than wanted: first boxes that can't hold a job, then long idle ones, which are asked.
    fn shrink(&mut self, boxes: &[(&InstanceId, &Runner, Phase)]) {
        if !self.fresh(&Source::Instances) {
            return;
        }
        let lets_go = |s: &&Step| matches!(s.act, Act::Drain | Act::Terminate);
        let going: BTreeSet<&InstanceId> = self.plan.steps.iter().filter(lets_go).map(|s| &s.instance).collect();
        let going = boxes.iter().filter(|(id, r, phase)| going.contains(id) && r.supplies(self.pool, *phase)).count();
        let going = u32::try_from(going).unwrap_or(u32::MAX);
        // Whether a job is taken that still looks queued is a guess: good enough to launch none, not to let one go.
        let c = &self.plan.counts;
        let mut surplus = c.supply.saturating_sub(c.counting + c.floor).saturating_sub(going);
        let timeout = self.pool.map_or(Duration::ZERO, |p| p.spec.runner.idle_timeout.get());
        for (id, r, phase) in boxes {
            let unused = matches!(phase, Phase::Launching | Phase::Booting) && r.never_configured() && !r.in_flight;
            if surplus > 0 && unused && self.now >= r.not_before && !self.planned(id) {
                surplus -= 1;
                self.step(id, Act::Terminate, StepReason::Unneeded);
            }
        }
        let mut idle: Vec<_> = boxes
            .iter()
            .filter(|(_, r, phase)| *phase == Phase::Idle && !r.in_flight && self.now >= r.not_before)
            .filter_map(|(id, r, _)| r.idle_since.map(|since| (since, *id)))
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
            // Boxes of a pool that is gone get no configuration; those that might have one are asked to end.
            for (id, r, phase) in boxes {
                let waiting = phase.is_supply() && *phase != Phase::Idle && !r.in_flight && self.now >= r.not_before;
                // A secret alone names no pool: its box is told apart once EC2 shows it.
                let waiting = waiting && (r.instance.is_some() || r.registration.is_some());
                if waiting && !self.planned(id) {
                    self.step(id, Act::Drain, StepReason::PoolGone);
                }
            }
        }
    }

    /// Boxes that wait for their configuration. One that was found, not launched by this process, may have been configured
    /// by a predecessor: GitHub's list and the secrets, seen since our start, tell that.
    fn configure(&mut self, boxes: &[(&InstanceId, &Runner, Phase)], gate: &Gate) {
        let Some(pool) = self.pool else { return };
        // What one box is refused, all are: one at a time asks again, until one is not.
        let mut left = match &gate.refused {
            Some((until, _)) if self.now < *until || boxes.iter().any(|(_, r, p)| p.is_supply() && r.in_flight) => return,
            Some(_) => 1,
            None => usize::MAX,
        };
        let world = self.view.world;
        let told = world.swept(&Source::Runners(pool.forge())).is_some() && world.swept(&Source::Secrets).is_some();
        for (id, r, phase) in boxes {
            let stays = r.unanswered.is_none() && !r.in_flight && self.now >= r.not_before;
            let waits = stays && matches!(phase, Phase::Launching | Phase::Booting);
            let young = r.up_for(self.now) < self.boot_deadline();
            let sure = r.launched_by.is_some() || told && r.instance.is_some() && young;
            let halfway = stays && *phase == Phase::Configured && told && self.left_halfway(r);
            // For the list of its launch, or not at all.
            let fits = r.forge.as_ref().is_none_or(|f| *f == pool.forge());
            if (waits && sure || halfway) && fits && !self.planned(id) && left > 0 {
                left -= 1;
                let why = match r.configured {
                    Configured::Unsure => StepReason::PerhapsRegistered,
                    Configured::Seen => StepReason::HalfConfigured,
                    Configured::No | Configured::Yes(_) => StepReason::Boots,
                };
                self.step(id, Act::Configure, why);
            }
        }
    }

    /// A predecessor minted its configuration and may have died before it handed it over: offline, no secret, and half of
    /// its boot deadline gone. Should the box have read it after all, it fails to register and is replaced; it has no job.
    fn left_halfway(&self, r: &Runner) -> bool {
        let offline = r.registration.as_ref().is_some_and(|g| g.missed == 0 && !g.online && !g.busy);
        let waited = self.now.since(r.first_seen) >= self.boot_deadline() / 2;
        r.configured == Configured::Seen && offline && !r.secret && waited && r.instance.is_some()
    }

    fn grow(&mut self, gate: &Gate) {
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
        let unseen_is_fine = defects::has(Defect::LaunchUnseen);
        if self.view.world.swept(&Source::Instances).is_none() && !unseen_is_fine {
            self.plan.blocked = Some(Blocked::Unseen);
            return;
        }
        if let Some(until) = self.view.predecessor_hidden().filter(|_| !unseen_is_fine) {
            self.plan.blocked = Some(Blocked::Hidden { until });
            return;
        }
        if let Some((until, why)) = gate.backoff.clone().filter(|(until, _)| *until > self.now) {
            self.plan.blocked = refused.or(Some(Blocked::Backoff { until, why }));
            return;
        }
        let fits = missing.min(c.max.saturating_sub(c.occupied));
        let count = fits.min(gate.room);
        // The narrower one is told: more room in the pool would change nothing.
        self.plan.blocked = match (gate.github, gate.refused.clone()) {
            _ if refused.is_some() => refused,
            _ if count == fits => (fits < missing).then_some(Blocked::Max),
            (Some(until), _) => Some(Blocked::GitHub { until }),
            (None, Some((until, why))) => Some(Blocked::Refused { until, why }),
            (None, None) => Some(Blocked::Pace),
        };
        if count == 0 {
            return;
        }
        match self.view.unavailable.choose(&self.plan.pool, &pool.spec.instance, self.now) {
            Choice::Wait(until, why) => self.plan.blocked = Some(Blocked::Capacity { until, why }),
            Choice::Ask(market, offerings) => {
                let reason = LaunchReason::Wanted(Wants::from(c));
                self.plan.launch = Some(PlannedLaunch { count, market, offerings, reason });
            }
        }
    }

    /// That what is there can't be configured: it is no runner, however many there are. None when enough others are there.
    fn refused(&self, gate: &Gate) -> Option<Blocked> {
        let (until, why) = gate.refused.clone()?;
        let c = &self.plan.counts;
        let unconfigured: u32 = [Phase::Launching, Phase::Booting].iter().filter_map(|p| c.phases.get(p)).sum();
        (unconfigured > 0 && c.wanted > c.supply.saturating_sub(unconfigured)).then_some(Blocked::Refused { until, why })
    }
}
