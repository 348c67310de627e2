//! The world: the ground truth, and the controller in the middle of it. This file moves the time; what happens then
//! stands in the modules of those to whom it happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Input, Outcome, Source, Swept};
use muster_reconciler::event::JobState;
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{EffectId, Forge as List, InstanceId, JobId};
use muster_reconciler::manifest::Spec;
use muster_reconciler::runner::Runner;
use muster_reconciler::time::Time;

use crate::boxes::Machine;
use crate::changes::Change;
use crate::cloud::Cloud;
use crate::event::Event;
use crate::github::{GitHub, Hold};
use crate::job_plan::JobPlan;
use crate::ledger::{Ledger, Subject};
use crate::luck::Strike;
use crate::marks::{Mark, Marks};
use crate::nature::{Nature, WEATHER_EVERY};
use crate::options::WorldOptions;
use crate::oracle::{self, Invariant, Oracle, ProcessView, Unrest, Violation};
use crate::queue::Queue;
use crate::request::{CrashMode, Kind};
use crate::rng::{Rng, Spread};
use crate::times::BEGIN;
use crate::trace::Trace;

/// How long a killed controller stays away.
const DOWNTIME: Spread = Spread::secs(2, 40);
/// Facts kept for whoever collects them; a run that nobody asks must not grow by them.
const FACTS_KEPT: usize = 10_000;
/// A controller whose next wake-up never lies in the future would hang a simulation; so many ticks at one moment are enough.
const TICKS_AT_ONCE: u32 = 100;
/// How often a world that should come to rest is looked at.
const REST_EVERY: Duration = Duration::from_secs(20);

/// One simulated world.
#[derive(Debug)]
pub struct Simulation {
    pub(super) nature: Nature,
    pub(super) began: Time,
    seed: u64,
    pub(super) spec: Arc<Spec>,
    pub(super) first_spec: Arc<Spec>,
    pub(super) cloud: Cloud,
    pub(super) github: GitHub,
    pub(super) queue: Queue,
    pub(super) machines: BTreeMap<InstanceId, Machine>,
    pub(super) controller: Option<Controller>,
    /// Number of the controller's process; answers to an earlier one are lost.
    pub(super) process: u32,
    pub(super) oracle: Oracle,
    pub(super) marks: Marks,
    /// Calls by API.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// Calls that the other side throttled because its bucket or limit was used up.
    pub(super) throttled: BTreeMap<&'static str, u64>,
    /// What each runner list was when this process last saw it.
    pub(super) listed: BTreeMap<List, u64>,
    /// What a list was when it was read; the process knows its ETag once the answer has come.
    pub(super) etags: BTreeMap<EffectId, (List, u64)>,
    poll_at: Option<Time>,
    pub(super) crash_at: Option<(u64, CrashMode)>,
    /// Effects sent, sweeps aside.
    pub(super) sent: u64,
    /// Their kinds, if somebody asked for them.
    pub(super) kinds: Option<Vec<Kind>>,
    /// Effects sent that change something.
    pub(super) changes: u64,
    pub(super) instance_sweeps: u64,
    steps: u64,
    facts: Vec<Fact>,
    /// Keeps the lives of boxes and jobs, if somebody asked for it.
    pub(super) ledger: Option<Box<Ledger>>,
    ticks_now: u32,
    /// Jobs and changes still to come.
    pub(super) coming: u64,
    pub(super) net: Rng,
    pub(super) box_rng: Rng,
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Instances launched.
    pub instances: u64,
    /// Calls by API.
    pub calls: BTreeMap<&'static str, u64>,
    /// Calls that met an empty bucket or a used-up limit.
    pub throttled: BTreeMap<&'static str, u64>,
    /// Jobs by conclusion; `queued` or `in_progress` when they have none.
    pub jobs: BTreeMap<&'static str, u64>,
    /// Effects sent, sweeps aside.
    pub effects: u64,
    /// Steps of the controller.
    pub steps: u64,
    /// Jobs killed that had started so shortly before that nobody could have known.
    pub races: u64,
    /// What must never happen, and did.
    pub violations: Vec<Violation>,
    /// The trace's hash.
    pub hash: u64,
    /// [`Trace::decisions`](crate::trace::Trace::decisions).
    pub decisions: u64,
}

impl Simulation {
    /// A world in which nothing has happened yet, beginning at [`BEGIN`]. The controller starts with the first step.
    pub fn new(seed: u64, spec: Arc<Spec>, options: WorldOptions) -> Simulation {
        Simulation::beginning(BEGIN, seed, spec, options)
    }

    /// The same, at another time.
    pub fn beginning(began: Time, seed: u64, spec: Arc<Spec>, options: WorldOptions) -> Simulation {
        let mut nature = Nature::new(began, seed, options);
        nature.agenda.at(began, Event::Start);
        nature.after(oracle::CHECK_EVERY, Event::Check);
        nature.after(WEATHER_EVERY, Event::Weather);
        let mut world = Simulation {
            nature,
            began,
            seed,
            first_spec: Arc::clone(&spec),
            spec,
            cloud: Cloud::new(seed),
            github: GitHub::new(seed),
            queue: Queue::new(seed),
            machines: BTreeMap::new(),
            controller: None,
            process: 0,
            oracle: Oracle::default(),
            marks: Marks::default(),
            calls: BTreeMap::new(),
            throttled: BTreeMap::new(),
            listed: BTreeMap::new(),
            etags: BTreeMap::new(),
            poll_at: None,
            crash_at: None,
            sent: 0,
            kinds: None,
            changes: 0,
            instance_sweeps: 0,
            steps: 0,
            facts: Vec::new(),
            ledger: None,
            ticks_now: 0,
            coming: 0,
            net: Rng::new(seed, "network"),
            box_rng: Rng::new(seed, "boxes"),
        };
        world.settle_strangers();
        world.note_floor();
        world
    }

    // ------------------------------------------------------------------------------------- what one asks of it

    /// Its time.
    pub fn now(&self) -> Time {
        self.nature.now()
    }

    /// The controller, to give it an order.
    pub fn controller_mut(&mut self) -> Option<&mut Controller> {
        self.controller.as_mut()
    }

    /// The controller, unless it is down.
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// GitHub's truth.
    pub fn github(&self) -> &GitHub {
        &self.github
    }

    /// EC2's truth.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The job queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The trace, when nothing more is to come of the world.
    pub fn into_trace(self) -> Trace {
        self.nature.trace
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.nature.trace
    }

    /// Which rare branches were reached.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What went wrong so far.
    pub fn struck(&self) -> &[Strike] {
        self.nature.luck.struck()
    }

    /// What must never happen, and did.
    pub fn violations(&self) -> &[Violation] {
        &self.oracle.violations
    }

    /// The figures so far.
    pub fn report(&self) -> Report {
        let mut jobs = BTreeMap::new();
        for job in self.github.jobs().values() {
            let key = match job.state {
                JobState::Queued => "queued",
                JobState::InProgress => "in_progress",
                JobState::Completed => job.conclusion.unwrap_or("completed"),
            };
            *jobs.entry(key).or_default() += 1;
        }
        Report {
            instances: self.cloud.launched(),
            calls: self.calls.clone(),
            throttled: self.throttled.clone(),
            jobs,
            effects: self.sent,
            steps: self.steps,
            races: self.oracle.races,
            violations: self.oracle.violations.clone(),
            hash: self.nature.trace.hash(),
            decisions: self.nature.trace.decisions(),
        }
    }

    /// The seed and the last lines of the trace until the first violation (or until now), for a failure's message.
    pub fn timeline(&self, lines: usize) -> String {
        self.timeline_until(self.oracle.violations.first().map_or(self.now(), |v| v.at), lines)
    }

    /// The seed and the last lines of the trace until then.
    pub fn timeline_until(&self, until: Time, lines: usize) -> String {
        format!("seed {}\n{}", self.seed, self.nature.trace.lines(until, lines).join("\n"))
    }

    // -------------------------------------------------------------------------------------- what one does to it

    /// What the controller said that is worth a metric, since last asked (the first 10,000).
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Queues a job at its time.
    pub fn submit(&mut self, plan: JobPlan) {
        self.coming += 1;
        self.nature.agenda.at(plan.at, Event::Queue(Box::new(plan), None));
    }

    /// Changes the manifests at this time.
    pub fn change_at(&mut self, at: Time, change: Change) {
        self.coming += 1;
        self.nature.agenda.at(at, Event::Change(Box::new(change)));
    }

    /// Gives the controller other manifests.
    pub fn set_spec(&mut self, spec: Arc<Spec>) {
        self.spec = Arc::clone(&spec);
        self.note_floor();
        self.oracle.process_view.new_spec();
        self.feed(Input::Spec(spec));
    }

    /// From now on nothing goes wrong.
    pub fn stop_faults(&mut self) {
        self.nature.options.faults.last = Some(Duration::ZERO);
        self.nature.luck.active = false;
    }

    /// Kills the controller; a new one starts a little later, from nothing but what the outside world holds.
    pub fn crash_and_restart(&mut self) {
        if self.controller.take().is_none() {
            return;
        }
        self.nature.say(format_args!("---- controller process {} is killed", self.process));
        if self.github.unfinished().any(|(_, j)| j.state == JobState::InProgress) {
            self.marks.hit(Mark::CrashWithJobs);
        }
        let away = self.net.within(DOWNTIME);
        self.nature.after(away, Event::Start);
    }

    /// Asks the controller to stop (messages are released), and starts a new one a little later.
    pub fn stop_and_restart(&mut self) {
        self.feed(Input::Shutdown);
        self.crash_and_restart();
    }

    /// Kills the controller right after it has sent its `n`-th effect (from 1, sweeps not counted).
    pub fn crash_after_effect(&mut self, n: u64, mode: CrashMode) {
        self.crash_at = Some((n, mode));
    }

    /// Runs until this time.
    pub fn step_until(&mut self, until: Time) {
        loop {
            let wake = self.controller.as_ref().map_or(Time::FAR, Controller::next_wake).max(self.now());
            let next = self.nature.agenda.next_at();
            if wake.min(next) > until {
                self.nature.agenda.now = self.now().max(until);
                return;
            }
            let before = self.now();
            if next <= wake {
                let Some(event) = self.nature.agenda.pop() else { return };
                self.moved(before);
                let subject = Subject::of(&event);
                self.dispatch(event);
                self.note(subject);
                continue;
            }
            self.nature.agenda.now = wake;
            self.moved(before);
            self.ticks_now += 1;
            if self.ticks_now > TICKS_AT_ONCE {
                self.oracle.blame(Invariant::Sound, wake, "next_wake() does not move on although Tick was stepped".into());
                self.nature.agenda.now = wake + Duration::from_secs(1);
            }
            self.feed(Input::Tick);
        }
    }

    /// The time may have moved on: faults end by the clock.
    fn moved(&mut self, before: Time) {
        let now = self.now();
        if now > before {
            self.ticks_now = 0;
            self.nature.luck.active &= self.nature.options.faults.last.is_none_or(|last| now.since(self.began) < last);
        }
    }

    /// Runs for this long.
    pub fn run_for(&mut self, long: Duration) {
        self.step_until(self.now() + long);
    }

    /// Runs until all jobs are done and nothing is left over, then checks that it stays so: eventually stable
    /// reconciliation. Ok: how long that took.
    pub fn rest(&mut self, within: Duration, then_quiet: Duration) -> Result<Duration, Unrest> {
        let start = self.now();
        // GitHub, back from an outage, looks at what waits.
        self.nature.after(Duration::ZERO, Event::Assign);
        loop {
            self.run_for(REST_EVERY);
            // A job that GitHub holds back now may go to a warm runner later, whichever pool it counts for.
            let held = self.github.unfinished().any(|(_, j)| j.hold != Hold::No);
            // A webhook that is asked for again may tell of a job that is over by now; that costs a box.
            let failed = self.github.mail.newest();
            let unseen =
                |c: &Controller| self.spec.apps.keys().any(|a| c.view().world.swept(&Source::Deliveries(a.clone())) <= failed);
            let undelivered = |c: &Controller| c.next_redelivery() < Time::FAR || failed.is_some() && unseen(c);
            let asked = |e: &Event| matches!(e, Event::Arrive(r) if matches!(r.effect.action, Action::Redeliver { .. }));
            let under_way = self.nature.agenda.holds(|e| matches!(e, Event::Send(_)) || asked(e));
            let undelivered = under_way || self.controller.as_ref().is_some_and(undelivered);
            // What it still has to bury it also cleans up after, though nothing may be left there; it may not know yet that it has to.
            // A box that it is about to end, or launches right now, may be there already or still.
            let live = |id: &InstanceId| self.cloud.instances().get(id).is_some_and(|i| i.live());
            let ended = |(id, r): (&InstanceId, &Runner)| {
                r.effect_under_way() || r.gone_at().is_some() || r.terminated_at().is_some() || !live(id)
            };
            let launching = |c: &Controller| c.view().world.pending().values().any(|p| p.is_under_way());
            let burying = |c: &Controller| launching(c) || c.view().world.runners().iter().any(ended);
            // A process that is about to begin has all of this before it.
            let burying = self.controller.as_ref().is_none_or(burying);
            let waits = self.coming + self.github.reruns() > 0 || held || undelivered || burying;
            let ages = self.ages_within(then_quiet);
            let left = if waits { Vec::new() } else { self.leftovers() };
            if !waits && !ages && left.is_empty() {
                break;
            }
            let over = self.now().since(start) > within;
            if over && !waits && left.is_empty() {
                // Warm boxes with short lives take turns: one or the other is always about to be replaced.
                return Ok(self.now().since(start));
            }
            if over {
                let left = if left.is_empty() { self.leftovers() } else { left };
                return Err(Unrest::Left(left.into_iter().chain(self.own_words()).collect()));
            }
        }
        let (took, before) = (self.now().since(start), self.changes);
        self.run_for(then_quiet);
        let (left, done) = (self.leftovers(), self.changes - before);
        match (left.is_empty(), done) {
            (true, 0) => Ok(took),
            (true, n) => Err(Unrest::Restless(n)),
            (false, _) => Err(Unrest::Left(left)),
        }
    }

    /// [`rest`](Self::rest), with what is wrong in words.
    pub fn converge(&mut self, within: Duration, then_quiet: Duration) -> Result<Duration, String> {
        self.rest(within, then_quiet).map_err(|unrest| unrest.violation(self.now(), within, then_quiet).what)
    }

    /// Whether a warm box will come near its maxLifetime in this time: its replacement is no unrest.
    fn ages_within(&self, long: Duration) -> bool {
        let now = self.now();
        self.cloud.instances().values().filter(|i| i.live()).any(|i| {
            let (age, most) = (now.since(i.launched_at()), self.most_age(&i.pool));
            let early = most.saturating_sub(muster_reconciler::plan::DRAIN_DEADLINE).max(most / 2);
            age + long + Duration::from_secs(120) >= early
        })
    }

    // ------------------------------------------------------------------------------------------ how it goes on

    /// The one place that calls the controller.
    pub(super) fn feed(&mut self, input: Input) {
        let now = self.now();
        let Some(controller) = &mut self.controller else { return };
        self.nature.trace.fold_input(now, &input);
        self.oracle.process_view.hear(&input, self.spec.controller.cluster(), now);
        self.marks.see_input(&input, controller);
        let told: Vec<JobId> = match &input {
            Input::Messages(messages) => messages.iter().map(|m| m.event.job).collect(),
            Input::Outcome(_, Outcome::Job(sighting)) => vec![sighting.job],
            _ => Vec::new(),
        };
        if let Input::Outcome(_, Outcome::Swept(Swept::Instances(rows))) = &input {
            self.compare_orders(rows, now);
        }
        let Some(controller) = &mut self.controller else { return };
        let effects = controller.step(now, input);
        self.steps += 1;
        for fact in controller.take_facts() {
            self.marks.see_fact(&fact, controller);
            if self.nature.trace.kept() && !matches!(fact, Fact::Planned { .. }) {
                self.nature.trace.say(now, format_args!("fact {fact:?}"));
            }
            if self.facts.len() < FACTS_KEPT {
                self.facts.push(fact);
            }
        }
        for job in told {
            self.look_at_job(job);
        }
        for effect in effects {
            self.nature.trace.fold_effect(&effect);
            self.nature.trace.fold_decision(now, &effect);
            if let Some(controller) = &self.controller {
                self.marks.see_effect(&effect, controller, &self.spec);
            }
            if !self.set_out(effect) {
                self.crash_and_restart();
                return;
            }
        }
    }

    pub(super) fn start(&mut self) {
        self.process += 1;
        self.oracle.process_view = ProcessView::default();
        self.listed.clear();
        self.etags.clear();
        self.nature.say(format_args!("---- controller process {} starts", self.process));
        self.controller = Some(Controller::new(&format!("p{}", self.process), self.now()));
        self.feed(Input::Spec(Arc::clone(&self.spec)));
        self.poll_at = None;
        self.arm_poll();
    }

    /// Plans the next receive call: when something is visible, or will be.
    pub(super) fn arm_poll(&mut self) {
        let Some(visible) = self.queue.next_visible() else { return };
        let at = visible.max(self.now()) + self.net.within(self.nature.takes().network);
        if self.poll_at.is_none_or(|planned| at < planned) {
            self.poll_at = Some(at);
            self.nature.agenda.at(at, Event::Poll);
        }
    }

    pub(super) fn poll(&mut self) {
        if self.poll_at != Some(self.now()) {
            return;
        }
        self.poll_at = None;
        if self.controller.is_some() {
            let messages = self.queue.receive(&mut self.nature);
            if !messages.is_empty() {
                self.feed(Input::Messages(messages));
            }
            self.arm_poll();
        }
    }
}
