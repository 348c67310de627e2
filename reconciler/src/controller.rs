//! The controller: [`Controller::step`] folds one input, plans what became due, and emits effects within budgets.
//!
//! It is synchronous and deterministic: the same inputs at the same times give the same effects. What is in flight is
//! remembered here, and only here; losing all of it (a crash) costs time, never correctness.

mod emit;
mod jobs;
mod orders;
mod outcome;
mod seen;
mod sweeps;

pub use seen::Seen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budgets;
use crate::capacity::Unavailable;
use crate::deliveries::Deliveries;
use crate::demand::Demand;
use crate::effect::{Action, Effect, Input, MessageOp, Source};
use crate::event::Ec2EventKind;
use crate::fact::Fact;
use crate::ids::{EffectId, JobId, MessageId, PoolName};
use crate::journal::{Journal, What, Whom};
use crate::manifest::Spec;
use crate::past::End;
use crate::plan::{Plan, View, plan};
use crate::reason::{Backoff, CallReason, EventReason, HoldReason, Refused};
use crate::runner::Phase;
use crate::steer::Pause;
use crate::time::Time;
use crate::turns::Turns;
use crate::world::World;

/// SQS visibility of a held message, in seconds.
pub const VISIBILITY_S: u32 = 120;

/// A held message is extended when less than this is left of its visibility.
const EXTEND_BEFORE: Duration = Duration::from_secs(60);

/// A dirty pool is planned after this much quiet, and at the latest after [`DEBOUNCE_MAX`].
const DEBOUNCE: Duration = Duration::from_millis(50);
const DEBOUNCE_MAX: Duration = Duration::from_millis(500);

/// SQS hands out ten messages at a time; so many say that there are more.
const FULL_BATCH: usize = 10;

/// How often the jobs are searched for some that GitHub should be asked about.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// A pool that was held back when it launched launches again after this, so that a place that becomes free waits for others.
const FELLOWS: Duration = Duration::from_secs(1);

/// An effect that was not answered yet.
#[derive(Clone, Debug)]
struct Flight {
    effect: Effect,
    began: Time,
}

/// What the controller remembers of a pool between two plans.
#[derive(Clone, Debug, Default)]
struct PoolState {
    /// First and last change since the last plan.
    dirty: Option<(Time, Time)>,
    /// More of the same is on its way: gather for [`DEBOUNCE_MAX`], so that a burst is few launches.
    gathering: bool,
    /// Planned again at this time whatever happens.
    again_at: Time,
    /// The last plan, to explain.
    plan: Option<Plan>,
    /// Boxes in a row that never came online.
    boot_failures: u32,
    /// Launches in a row that failed for other reasons than capacity.
    launch_failures: u32,
    /// No launch before this, and why.
    backoff: Option<(Time, Backoff)>,
    /// Configurations in a row that were refused.
    refusals: u32,
    /// None is tried before this, and what the last refusal said.
    refused: Option<(Time, Refused)>,
}

#[derive(Clone, Debug, Default)]
struct SweepState {
    due: Time,
    /// The last sweep failed: however much speaks for a look, none is taken before this.
    not_before: Time,
    in_flight: bool,
    failures: u32,
}

/// muster's controller. See the module's documentation.
#[derive(Debug)]
pub struct Controller {
    process: String,
    effects: u64,
    intents: u64,
    spec: Arc<Spec>,
    demand: Demand,
    world: World,
    deliveries: Deliveries,
    unavailable: Unavailable,
    budgets: Budgets,
    /// What pools take turns at: launches, configurations, and checks of jobs.
    launches: Turns,
    configurations: Turns,
    checks: Turns,
    pools: BTreeMap<PoolName, PoolState>,
    /// Pools that an operator paused. Kept outside of this process; see [`crate::steer`].
    paused: BTreeMap<PoolName, Pause>,
    journal: Journal,
    flights: BTreeMap<EffectId, Flight>,
    sweeps: BTreeMap<Source, SweepState>,
    /// Held messages, and until when SQS keeps them invisible.
    held: BTreeMap<MessageId, Time>,
    extend_at: Time,
    check_at: Time,
    expire_at: Time,
    /// Effects of the step under way.
    out: Vec<Effect>,
    facts: Vec<Fact>,
    /// The messages that are being taken in came as a full batch: the queue holds more.
    gathering: bool,
    started: bool,
    stopping: bool,
}

impl Controller {
    /// A controller that knows nothing. `process` is unique for every start of a process (letters, digits and `-`, 40 at
    /// most): it is part of every launch intent, so that no two processes ever share a ClientToken.
    pub fn new(process: &str, now: Time) -> Controller {
        let spec = Arc::new(Spec::default());
        Controller {
            process: process.to_owned(),
            effects: 0,
            intents: 0,
            budgets: Budgets::new(spec.controller.spec.limits.clone()),
            spec,
            demand: Demand::default(),
            world: World::new(now),
            deliveries: Deliveries::default(),
            unavailable: Unavailable::default(),
            launches: Turns::default(),
            configurations: Turns::default(),
            checks: Turns::default(),
            pools: BTreeMap::new(),
            paused: BTreeMap::new(),
            journal: Journal::default(),
            flights: BTreeMap::new(),
            sweeps: BTreeMap::new(),
            held: BTreeMap::new(),
            extend_at: Time::FAR,
            check_at: Time::ZERO,
            expire_at: Time::ZERO,
            out: Vec::new(),
            facts: Vec::new(),
            gathering: false,
            started: false,
            stopping: false,
        }
    }

    /// Takes in one input at `now` and returns what is to be done. `now` never goes back between calls.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Effect> {
        let told = self.facts.len();
        match input {
            Input::Spec(spec) => self.take_spec(spec, now),
            Input::Messages(messages) => self.take_messages(&messages, now),
            Input::Ec2(event) => {
                if let Some(pool) = self.world.heard_ec2(&event, now) {
                    self.mark(&pool, now);
                    self.hurry(&Source::Instances, now);
                    if event.kind == Ec2EventKind::SpotInterruption
                        && let Some(shape) = self.world.runners().get(&event.instance).and_then(|r| r.shape())
                    {
                        self.unavailable.interrupted(&shape.instance_type, shape.subnet.as_ref(), now);
                    }
                }
            }
            Input::Outcome(id, outcome) => self.take_outcome(id, outcome, now),
            Input::GitHubLimit(limit) => self.budgets.note_github(&limit, now),
            Input::Tick => {}
            Input::Shutdown => self.shut_down(now),
        }
        self.note_stillborn(now);
        self.note_successes();
        for (job, lost_box) in self.world.take_lost() {
            if let Some(job) = self.demand.job_mut(job) {
                job.lost_box = Some(lost_box);
            }
        }
        if self.started && !self.stopping {
            self.advance(now);
        }
        for fact in self.facts.iter().skip(told).chain(self.world.facts()) {
            self.journal.note_fact(fact, now);
        }
        self.facts.append(&mut self.world.take_facts());
        std::mem::take(&mut self.out)
    }

    /// When [`step`](Self::step) wants to be called at the latest.
    pub fn next_wake(&self) -> Time {
        if !self.started || self.stopping {
            return Time::FAR;
        }
        let pools = self.pools.values().map(|p| p.due()).min().unwrap_or(Time::FAR);
        let sweeps = self.sweeps.values().filter(|s| !s.in_flight).map(|s| s.due).min().unwrap_or(Time::FAR);
        let checks = if self.demand.jobs().is_empty() { Time::FAR } else { self.check_at };
        pools.min(sweeps).min(checks).min(self.extend_at).min(self.deliveries.next())
    }

    /// What happened that only the core knows, for metrics; each fact is handed out once.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Ok once there is a view to decide from; else what is missing.
    pub fn ready(&self) -> Result<(), String> {
        if self.stopping {
            return Err("shutting down".into());
        }
        if !self.started {
            return Err("no manifests yet".into());
        }
        match self.world.freshness(&Source::Instances) {
            Some(f) if f.complete.is_some() => Ok(()),
            Some(f) => Err(format!("no complete look at EC2 yet: {}", f.error.as_deref().unwrap_or("under way"))),
            None => Err("no complete look at EC2 yet".into()),
        }
    }

    /// Effects that have not been answered yet.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Messages that are held.
    pub fn messages_held(&self) -> usize {
        self.held.len()
    }

    /// What the controller believes, and what its plans are made from.
    pub fn view(&self) -> View<'_> {
        View { spec: &self.spec, demand: &self.demand, world: &self.world, unavailable: &self.unavailable }
    }

    /// All that the controller knows, to be read by whoever answers a question.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            spec: &self.spec,
            demand: &self.demand,
            world: &self.world,
            unavailable: &self.unavailable,
            budgets: &self.budgets,
            paused: &self.paused,
            journal: &self.journal,
            in_flight: self.in_flight(),
            messages_held: self.messages_held(),
            pools: &self.pools,
        }
    }

    /// Each pool's newest plan; None if the pool was not planned yet.
    pub fn newest_plans(&self) -> impl Iterator<Item = (&PoolName, Option<&Plan>)> {
        self.pools.iter().map(|(name, state)| (name, state.plan.as_ref()))
    }

    /// When GitHub is next asked to deliver a failed webhook again; FAR if there is none to ask for.
    pub fn next_redelivery(&self) -> Time {
        self.deliveries.next()
    }

    // ------------------------------------------------------------------------------------------------ inputs

    fn take_spec(&mut self, spec: Arc<Spec>, now: Time) {
        self.started = true;
        self.budgets.set_limits(spec.controller.spec.limits.clone());
        self.spec = spec;
        self.demand.reroute(&self.spec);
        for state in self.pools.values_mut() {
            // A new launch template or permission may be just what a backed-off pool waits for.
            (state.launch_failures, state.boot_failures, state.backoff) = (0, 0, None);
            (state.refusals, state.refused) = (0, None);
        }
        self.unavailable.reconsider();
        self.world.set_apps(&self.spec);
        self.deliveries.set_apps(|app| self.spec.apps.contains_key(app));
        let deliveries = self.spec.apps.keys().cloned().map(Source::Deliveries);
        let sources: Vec<Source> = [Source::Instances, Source::Secrets].into_iter().chain(deliveries).collect();
        for source in sources {
            self.look_at(source, now);
        }
        self.look_at_lists(now);
        for name in self.seen().pool_names() {
            self.mark(&name, now);
        }
    }

    fn shut_down(&mut self, now: Time) {
        self.stopping = true;
        let held: Vec<MessageId> = std::mem::take(&mut self.held).into_keys().collect();
        if !held.is_empty() {
            self.emit(Action::Messages(MessageOp::Release, held), CallReason::ShuttingDown, now);
        }
    }

    // ---------------------------------------------------------------------------------------------- schedule

    /// Pools of the manifests, and pools that only boxes speak of.
    /// Something about this pool changed.
    fn mark(&mut self, pool: &PoolName, now: Time) {
        let state = self.pools.entry(pool.clone()).or_default();
        state.dirty = Some(state.dirty.map_or((now, now), |(first, _)| (first, now)));
        state.gathering |= self.gathering;
    }

    fn mark_all(&mut self, now: Time) {
        for name in self.seen().pool_names() {
            self.mark(&name, now);
        }
    }

    fn again(&mut self, pool: &PoolName, at: Time) {
        let state = self.pools.entry(pool.clone()).or_default();
        state.again_at = state.again_at.min(at);
    }

    /// Every list that tells something is swept from now on.
    fn look_at_lists(&mut self, now: Time) {
        for list in self.lists() {
            self.look_at(Source::Runners(list), now);
        }
    }

    /// A source is swept from now on; one that was failing when it was last needed, not before its backoff is over.
    fn look_at(&mut self, source: Source, now: Time) {
        let state = self.sweeps.entry(source).or_insert(SweepState { due: Time::FAR, ..SweepState::default() });
        if state.due == Time::FAR && !state.in_flight {
            state.due = now.max(state.not_before);
        }
    }

    /// A source is worth a look sooner than planned.
    ///
    /// Decision 0010, row 14.
    fn hurry(&mut self, source: &Source, now: Time) {
        if let Some(s) = self.sweeps.get_mut(source) {
            s.due = s.due.min(now.max(s.not_before));
        }
    }

    fn schedule_extension(&mut self, now: Time) {
        let first = self.held.values().min().copied();
        self.extend_at = first.map_or(Time::FAR, |t| (t - EXTEND_BEFORE).max(now + Duration::from_secs(1)));
    }

    /// Does everything that is due.
    fn advance(&mut self, now: Time) {
        if now >= self.expire_at {
            self.expire_at = now + Duration::from_secs(60);
            self.unavailable.expire(now);
            let mut late = self.demand.expire(now);
            let messages = late.iter_mut().flat_map(|job| std::mem::take(&mut job.messages)).collect();
            self.delete_messages(messages, CallReason::Expired, now);
            for job in late {
                self.tell_past(job, true, Some(End::Expired), now);
            }
        }
        self.settle_launches(now);
        self.plan_due(now);
        self.sweep_due(now);
        if now >= self.check_at {
            self.check_at = now + CHECK_EVERY;
            self.check_jobs(now);
        }
        if now >= self.deliveries.next() {
            self.redeliver(now);
        }
        if now >= self.extend_at {
            self.extend_messages(now);
        }
    }

    fn plan_due(&mut self, now: Time) {
        let mut due: Vec<PoolName> = self.pools.iter().filter(|(_, p)| p.due() <= now).map(|(n, _)| n.clone()).collect();
        if due.is_empty() {
            return;
        }
        // They share the room for launches, and the calls.
        due.sort_by_key(|name| self.launches.last(name));
        let mut batch = emit::Batch::default();
        for name in due {
            self.hold_left_queued(&name, now);
            let plan = plan(self.view(), &name, &self.seen().gate(&name, now), now);
            if plan.counts.occupied == 0 && plan.counts.phases.is_empty() && !self.spec.pools.contains_key(&name) {
                self.pools.remove(&name);
                for turns in [&mut self.launches, &mut self.configurations, &mut self.checks] {
                    turns.forget(&name);
                }
                continue;
            }
            let interval = self.spec.controller.spec.intervals.plan.get();
            let state = self.pools.entry(name.clone()).or_default();
            (state.dirty, state.gathering) = (None, false);
            state.again_at = now + interval;
            self.facts.push(Fact::Planned { pool: name.clone() });
            self.act(&plan, &mut batch, now);
            self.pools.entry(name).or_default().plan = Some(plan);
        }
        self.flush(batch, now);
    }

    /// A queued job that GitHub leaves alone although a runner of its pool has sat idle for idleTimeout is held by GitHub.
    fn hold_left_queued(&mut self, name: &PoolName, now: Time) {
        let Some(pool) = self.spec.pools.get(name) else { return };
        let (timeout, deadline) = (pool.spec.runner.idle_timeout.get(), pool.spec.runner.boot_deadline.get());
        let sat_idle = self.world.runners().values().any(|r| {
            r.pool() == name
                && r.phase(deadline, now) == Phase::Idle
                && r.idle_since().is_some_and(|since| now.since(since) >= timeout)
        });
        if !sat_idle {
            return;
        }
        let left: Vec<JobId> = self
            .demand
            .queued(name)
            .filter(|(_, j)| j.counts(pool.queue_delay(), now) && now.since(j.counted_since()) >= timeout)
            .map(|(id, _)| id)
            .collect();
        for id in left {
            let whom = Whom { job: Some(id), ..Whom::pool(name) };
            self.journal.note(now, What::JobHeld, whom, EventReason::Held { why: HoldReason::LeftQueued });
            self.demand.hold(id, HoldReason::LeftQueued, now);
        }
    }
}

impl PoolState {
    fn due(&self) -> Time {
        let quiet = if self.gathering { DEBOUNCE_MAX } else { DEBOUNCE };
        self.dirty.map_or(self.again_at, |(first, last)| (last + quiet).min(first + DEBOUNCE_MAX).min(self.again_at))
    }
}
