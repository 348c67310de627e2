//! The controller: [`Controller::step`] folds one input, plans what became due, and emits effects within budgets.
//!
//! The controller is synchronous and deterministic: the same inputs at the same times give the same effects. Only the controller
//! remembers which effects are under way. A crash loses that memory, which costs time and never correctness.

mod breakers;
mod cases;
mod emit;
mod handover;
mod holds;
mod jobs;
mod late;
mod lead;
mod orders;
mod outcome;
mod pool_state;
mod recorded;
mod seen;
mod sweeps;

pub use seen::Seen;

use pool_state::PoolState;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budgets;
use crate::capacity::Unavailable;
use crate::cases::Cases;
use crate::deliveries::Deliveries;
use crate::demand::Demand;
use crate::effect::{Effect, Input, Source};
use crate::fact::Fact;
use crate::groups::RunnerGroups;
use crate::ids::{EffectId, MessageId, PoolName};
use crate::journal::Journal;
use crate::late::LateJobs;
use crate::lately::Lately;
use crate::manifest::Spec;
use crate::past::End;
use crate::plan::{Plan, RunnersByPool, View, with_launch, without_launch};
use crate::reason::CallReason;
use crate::record::Recorder;
use crate::release::RunnerReleases;
use crate::steer::Pause;
use crate::time::Time;
use crate::turns::Turns;
use crate::versions::RunnerVersions;
use crate::warnings::{self, Warning};
use crate::world::World;

/// How long SQS hides a message that this process holds, in seconds.
pub const VISIBILITY_S: u32 = 120;

/// A held message is extended when SQS will hide the message for less than this time.
const EXTEND_BEFORE: Duration = Duration::from_secs(60);

/// A pool that changed is planned after this time without a further change, and at the latest after [`DEBOUNCE_MAX`].
const DEBOUNCE: Duration = Duration::from_millis(50);
const DEBOUNCE_MAX: Duration = Duration::from_millis(500);

/// SQS hands out ten messages at a time. A full batch says that the queue holds more.
const FULL_BATCH: usize = 10;

/// How often the controller looks for jobs that GitHub should be asked about.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// How often the controller looks whether something needs somebody's attention.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After a launch that was held back, the pool waits this long before its next launch. Places that become free meanwhile go into one
/// launch.
const FELLOWS: Duration = Duration::from_secs(1);

/// An effect that has no outcome yet.
#[derive(Clone, Debug)]
struct Flight {
    effect: Effect,
    began: Time,
}

#[derive(Clone, Debug, Default)]
struct SweepState {
    due: Time,
    /// When the backoff after a failed sweep ends. No sweep begins earlier, whatever asks for one.
    not_before: Time,
    in_flight: bool,
    failures: u32,
}

/// muster's controller. See the module's documentation. A copy of it goes on as the original would; a replay keeps copies to go back.
#[derive(Clone, Debug)]
pub struct Controller {
    process: String,
    /// When this controller was made.
    began: Time,
    effects: u64,
    intents: u64,
    spec: Arc<Spec>,
    releases: RunnerReleases,
    groups: RunnerGroups,
    versions: RunnerVersions,
    /// What GitHub will not do as the manifests seem to say.
    warnings: BTreeMap<PoolName, Vec<Warning>>,
    demand: Demand,
    cases: Cases,
    late: LateJobs,
    world: World,
    deliveries: Deliveries,
    unavailable: Unavailable,
    budgets: Budgets,
    /// What pools take turns at: launches, configurations, and checks of jobs.
    launches: Turns,
    configurations: Turns,
    checks: Turns,
    pools: BTreeMap<PoolName, PoolState>,
    /// Pools that an operator paused. Whoever runs the core keeps the pauses over a restart; see [`crate::steer`].
    paused: BTreeMap<PoolName, Pause>,
    journal: Journal,
    lately: Lately,
    /// Since when nothing has needed attention. None: something did, at the last look.
    well_since: Option<Time>,
    /// When muster looks again whether something needs attention.
    well_at: Time,
    flights: BTreeMap<EffectId, Flight>,
    sweeps: BTreeMap<Source, SweepState>,
    /// The messages that this process holds, and until when SQS hides each of them.
    held: BTreeMap<MessageId, Time>,
    extend_at: Time,
    check_at: Time,
    expire_at: Time,
    /// The effects of the current step.
    out: Vec<Effect>,
    facts: Vec<Fact>,
    /// The messages that are being taken in came as a full batch, so the queue holds more.
    gathering: bool,
    started: bool,
    stopping: bool,
    /// Another process may hold the lease, so this one does nothing until [`Input::Lead`].
    stands_by: bool,
    /// Writes down what enters and what is decided. None: nobody wants a record.
    recorder: Option<Box<Recorder>>,
}

impl Controller {
    /// A controller that knows nothing yet. `process` must be unique for every start of a process: letters, digits and `-`, 40 at
    /// most. `process` is part of every launch intent, so that no two processes ever share a ClientToken.
    pub fn new(process: &str, now: Time) -> Controller {
        let spec = Arc::new(Spec::default());
        Controller {
            process: process.to_owned(),
            began: now,
            effects: 0,
            intents: 0,
            budgets: Budgets::new(spec.controller.spec.limits.clone()),
            spec,
            releases: RunnerReleases::default(),
            groups: RunnerGroups::default(),
            versions: RunnerVersions::default(),
            warnings: BTreeMap::new(),
            demand: Demand::default(),
            cases: Cases::default(),
            late: LateJobs::default(),
            world: World::new(now),
            deliveries: Deliveries::default(),
            unavailable: Unavailable::default(),
            launches: Turns::default(),
            configurations: Turns::default(),
            checks: Turns::default(),
            pools: BTreeMap::new(),
            paused: BTreeMap::new(),
            journal: Journal::default(),
            lately: Lately::default(),
            well_since: None,
            well_at: now,
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
            stands_by: false,
            recorder: None,
        }
    }

    /// Takes in one input at `now` and returns the effects to carry out. `now` never goes back between calls.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Effect> {
        let told = self.facts.len();
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input, now);
        }
        match input {
            Input::Spec(spec) => self.take_spec(spec, now),
            Input::Releases(releases) => self.releases = releases,
            Input::Groups(groups) => (self.warnings, self.groups) = (warnings::of(&self.spec, &groups), groups),
            Input::Versions(versions) => self.versions = versions,
            Input::Messages(messages) => self.take_messages(&messages, now),
            Input::Ec2(event) => self.take_ec2(&event, now),
            Input::Outcome(id, outcome) => self.take_outcome(id, outcome, now),
            Input::GitHubLimit(limit) => self.budgets.note_github(&limit, now),
            Input::Tick => {}
            Input::Lead(inheritance, paused) => self.lead(&inheritance, paused, now),
            Input::Shutdown => self.shut_down(now),
        }
        self.note_stillborn(now);
        self.note_successes();
        for (job, lost_runner) in self.world.take_lost() {
            if let Some(job) = self.demand.job_mut(job) {
                job.lost_runner = Some(lost_runner);
                job.ask_anew(now);
            }
        }
        if self.acts() {
            self.advance(now);
        }
        for fact in self.facts.iter().skip(told).chain(self.world.facts()) {
            self.journal.note_fact(fact, now);
            if let Some(state) = fact.given_to().and_then(|pool| self.pools.get_mut(pool)) {
                state.given_at = Some(now);
            }
            match fact {
                Fact::RunnerGone { pool, spot: Some(life), .. } => {
                    self.pools.get_mut(pool).into_iter().for_each(|state| state.history.note(life));
                }
                Fact::RunnerReached { pool, stage, after, .. } => {
                    self.pools.get_mut(pool).into_iter().for_each(|state| state.waits.reached(*stage, *after, now));
                }
                _ => {}
            }
        }
        for entry in self.journal.after(self.lately.read()) {
            self.lately.note(entry);
        }
        self.facts.append(&mut self.world.take_facts());
        if let Some(recorder) = &mut self.recorder {
            recorder.decided(&self.out, &self.held);
        }
        std::mem::take(&mut self.out)
    }

    /// When [`step`](Self::step) must be called at the latest. FAR before the first manifests, and after the order to stop.
    pub fn next_wake(&self) -> Time {
        if !self.acts() {
            return Time::FAR;
        }
        let pools = self.pools.values().map(|p| p.due()).min().unwrap_or(Time::FAR);
        let sweeps = self.sweeps.values().filter(|s| !s.in_flight).map(|s| s.due).min().unwrap_or(Time::FAR);
        let idle = self.demand.jobs().is_empty() && self.cases.is_empty() && self.late.is_empty();
        let checks = if idle { Time::FAR } else { self.check_at };
        pools.min(sweeps).min(checks).min(self.extend_at).min(self.deliveries.next())
    }

    /// What happened that only the core knows, for metrics; each fact is handed out once.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// The number of effects that have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The number of messages that this process holds.
    pub fn messages_held(&self) -> usize {
        self.held.len()
    }

    /// The number of jobs that ended without success and whose case is open. muster may still run them again.
    pub fn cases_open(&self) -> usize {
        self.cases.iter().count()
    }

    /// The inputs of a plan, as the controller knows them now.
    pub fn view(&self) -> View<'_> {
        View { spec: &self.spec, demand: &self.demand, world: &self.world, unavailable: &self.unavailable }
    }

    /// A view of all that the controller knows, for whoever answers a question.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            spec: &self.spec,
            releases: &self.releases,
            versions: &self.versions,
            warnings: &self.warnings,
            demand: &self.demand,
            cases: &self.cases,
            world: &self.world,
            unavailable: &self.unavailable,
            budgets: &self.budgets,
            paused: &self.paused,
            journal: &self.journal,
            lately: &self.lately,
            well_since: self.well_since,
            in_flight: self.in_flight(),
            messages_held: self.messages_held(),
            pools: &self.pools,
        }
    }

    /// Each pool's newest plan. None: the pool was not planned yet.
    pub fn newest_plans(&self) -> impl Iterator<Item = (&PoolName, Option<&Plan>)> {
        self.pools.iter().map(|(name, state)| (name, state.plan.as_ref()))
    }

    /// When GitHub is next asked to deliver a failed webhook again. FAR when there is none to ask for.
    pub fn next_redelivery(&self) -> Time {
        self.deliveries.next()
    }

    // ------------------------------------------------------------------------------------------------ inputs

    fn take_spec(&mut self, spec: Arc<Spec>, now: Time) {
        self.started = true;
        self.budgets.set_limits(spec.controller.spec.limits.clone());
        let before = std::mem::replace(&mut self.spec, spec);
        self.warnings = warnings::of(&self.spec, &self.groups);
        let changed = |pool: &PoolName| before.pools.get(pool) != self.spec.pools.get(pool);
        self.demand.reroute(&self.spec, changed, now);
        for (name, state) in &mut self.pools {
            // A new launch template or permission may be what a pool in backoff needs. So the waits end. But after failures the pool
            // still goes on with one instance at a time: the change may be of another pool.
            state.launch_backoff = None;
            if before.pools.get(name) != self.spec.pools.get(name) {
                state.launch_failures = 0;
            }
            state.boot_backoff = state.boot_backoff.take().map(|(until, why)| (until.min(now), why));
            state.refused = state.refused.take().map(|(until, why)| (until.min(now), why));
            state.refusals = 0;
        }
        self.unavailable.reconsider();
        self.world.set_apps(&self.spec);
        self.deliveries.set_apps(|app| self.spec.apps.contains_key(app));
        let deliveries = self.spec.apps.keys().cloned().map(Source::Deliveries);
        let sources: Vec<Source> = [Source::Instances, Source::Secrets].into_iter().chain(deliveries).collect();
        for source in sources {
            self.order_sweep(source, now);
        }
        self.order_sweeps_of_lists(now);
        for name in self.seen().pool_names() {
            self.mark(&name, now);
        }
    }

    // ---------------------------------------------------------------------------------------------- schedule

    /// Something about this pool changed, so the pool is planned soon.
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

    /// Every list that may show one of our runners is swept from now on.
    fn order_sweeps_of_lists(&mut self, now: Time) {
        for list in self.lists() {
            self.order_sweep(Source::Runners(list), now);
        }
    }

    /// A source is swept from now on. If its last sweep failed, the backoff ends first.
    fn order_sweep(&mut self, source: Source, now: Time) {
        let state = self.sweeps.entry(source).or_insert(SweepState { due: Time::FAR, ..SweepState::default() });
        if state.due == Time::FAR && !state.in_flight {
            state.due = now.max(state.not_before);
        }
    }

    /// A source is worth a sweep sooner than planned, but not before the backoff of a failed sweep ends.
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
        self.repeat_launches(now);
        self.plan_due(now);
        self.sweep_due(now);
        if now >= self.check_at {
            self.check_at = now + CHECK_EVERY;
            self.check_jobs(now);
            self.look_at_cases(now);
            self.look_at_late_jobs(now);
        }
        if now >= self.well_at {
            self.well_at = now + LOOK_EVERY;
            self.lately.forget(now);
            let known = self.seen().all_seen().then_some(now);
            self.well_since = self.well_since.or(known).filter(|_| self.seen().attention(now).is_empty());
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
        // These pools share the room for launches, and the calls.
        due.sort_by_key(|name| self.launches.last(name));
        let (plans, unconfigured) = {
            let Controller { spec, demand, world, unavailable, pools, journal, releases, facts, .. } = self;
            // With very many runners, one look at all of them is most of a step's work. So there is only one.
            let by_pool = RunnersByPool::at(world, spec, &due, now);
            for name in &due {
                holds::judge(spec, world, demand, journal, (name, by_pool.of(name)), now);
                let Some(state) = pools.get_mut(name) else { continue };
                let before = (state.given_at, state.not_served.take());
                state.not_served = holds::not_served(spec, releases, demand, (name, by_pool.of(name)), before);
                facts.extend(breakers::look(spec, world, state, journal, (name, by_pool.of(name)), now));
            }
            let view = View { spec, demand, world, unavailable };
            let refused = |name| pools.get(name).and_then(|state| state.refused.as_ref());
            let plan = |name| without_launch(view, name, by_pool.of(name), refused(name), now);
            (due.iter().map(plan).collect::<Vec<_>>(), by_pool.unconfigured().clone())
        };
        let (mut batch, mut planned) = (emit::Batch::default(), Vec::new());
        for plan in plans {
            let gate = self.seen().gate(&plan, &unconfigured, now);
            let plan = with_launch(self.view(), plan, &gate, now);
            let name = plan.pool.clone();
            if plan.counts.occupied == 0 && plan.counts.phases.is_empty() && !self.spec.pools.contains_key(&name) {
                self.pools.remove(&name);
                for turns in [&mut self.launches, &mut self.configurations, &mut self.checks] {
                    turns.forget(&name);
                }
                continue;
            }
            let again_at = now + self.spec.controller.spec.intervals.plan.get();
            let state = self.pools.entry(name.clone()).or_default();
            (state.dirty, state.gathering) = (None, false);
            state.again_at = plan.counts_next.map_or(again_at, |next| next.min(again_at));
            state.failing_since = state.failing_since.or(Some(now)).filter(|_| state.is_failing());
            state.note_blocked(&plan, now);
            self.facts.push(Fact::Planned { pool: name.clone() });
            self.act(&plan, &mut batch, now);
            planned.push(name.clone());
            self.pools.entry(name).or_default().plan = Some(plan);
        }
        // A pool that gets a job is planned again. So the jobs move once all these plans are made.
        for name in planned {
            self.hand_over(&name, now);
        }
        self.flush(batch, now);
    }
}
