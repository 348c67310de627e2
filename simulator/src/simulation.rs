//! The world: the ground truth, with the controller in the middle of it. This file moves the time. Its modules mediate: they
//! call one part of the world, such as `cloud` or `instances`, and apply its answer to the others. No other module holds the
//! world.

mod adapters;
mod blow;
mod dispatch;
mod effects;
mod lease;
mod recorded;
mod rest;
mod team;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Effect, Input, Outcome, Swept};
use muster_reconciler::event::JobState;
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{EffectId, JobId, ListId as List, PoolName};
use muster_reconciler::manifest::Spec;
use muster_reconciler::steer::Pause;
use muster_reconciler::time::Time;

use crate::changes::{Change, Edit};
use crate::cloud::Cloud;
use crate::event::Event;
use crate::github::TrueGitHub;
use crate::instances::Machines;
use crate::job_plan::JobPlan;
use crate::ledger::Ledger;
use crate::luck::Strike;
use crate::marks::{Mark, Marks};
use crate::nature::{Nature, WEATHER_EVERY};
use crate::options::WorldOptions;
use crate::oracle::{self, Invariant, Oracle, Truth, Verdicts, Violation};
use crate::queue::Queue;
use crate::request::{CrashMode, RequestKind};
use crate::rng::{Rng, Spread};
use crate::strangers;
use crate::tenures::Tenures;
use crate::times::BEGIN;
use crate::trace::Trace;
pub use blow::Blow;
use team::Departure;

/// How long the controller stays away after a crash.
const DOWNTIME: Spread = Spread::secs(2, 40);
/// How many facts are kept until the caller takes them. The limit bounds the memory of a run whose caller never does.
const FACTS_KEPT: usize = 10_000;
/// How many ticks one moment may have. A controller whose next wake-up never lies in the future would hang the simulation.
const TICKS_AT_ONCE: u32 = 100;
/// One simulated world, with its controller.
#[derive(Debug)]
pub struct Simulation {
    nature: Nature,
    seed: u64,
    spec: Arc<Spec>,
    first_spec: Arc<Spec>,
    cloud: Cloud,
    github: TrueGitHub,
    queue: Queue,
    machines: Machines,
    controller: Option<Controller>,
    /// The processes of a run with a lease. None: there is one controller, and no lease.
    team: Option<team::Team>,
    /// The pools that an operator has paused. Whoever runs the controller keeps the pauses over a restart.
    paused: BTreeMap<PoolName, Pause>,
    /// The order for each pool that an operator could not give yet. Later orders for the pool wait for it.
    ungiven: BTreeMap<PoolName, Edit>,
    /// The number of the controller's process. Answers to an earlier process are lost.
    process: u32,
    oracle: Oracle,
    marks: Marks,
    /// How many calls each API got.
    calls: BTreeMap<&'static str, u64>,
    /// How many calls of each API were throttled, because its bucket or rate limit was used up.
    throttled: BTreeMap<&'static str, u64>,
    /// The version of each runner list that the current process knows, from the last answer.
    listed: BTreeMap<List, u64>,
    /// The version that each list had when a request read it. The process knows the version once the answer arrives.
    etags: BTreeMap<EffectId, (List, u64)>,
    poll_at: Option<Time>,
    crash_at: Option<(u64, CrashMode)>,
    /// How many effects were sent, without sweeps.
    sent: u64,
    /// The kinds of these effects. None: the caller did not ask for them.
    kinds: Option<Vec<RequestKind>>,
    /// How many effects were sent that change something.
    changes: u64,
    steps: u64,
    facts: Vec<Fact>,
    /// The record of runners and jobs. None: the caller did not ask for it.
    ledger: Option<Box<Ledger>>,
    /// What the controllers recorded. None: the caller did not ask for it.
    recorded: Option<Vec<u8>>,
    ticks_now: u32,
    /// How many jobs and changes are still to come.
    coming: u64,
    net: Rng,
}

/// The figures of a run so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How many instances were launched.
    pub instances: u64,
    /// How many calls each API got.
    pub calls: BTreeMap<&'static str, u64>,
    /// How many calls of each API met an empty bucket or a used-up rate limit.
    pub throttled: BTreeMap<&'static str, u64>,
    /// How many jobs have each conclusion. A job without a conclusion counts as `queued` or `in_progress`.
    pub jobs: BTreeMap<&'static str, u64>,
    /// How many effects were sent, without sweeps.
    pub effects: u64,
    /// How often the controller was stepped.
    pub steps: u64,
    /// How many jobs were killed so soon after their start that the controller could not know of them.
    pub races: u64,
    /// What happened between several processes.
    pub tenures: Tenures,
    /// What was said of jobs that did not succeed.
    pub verdicts: Verdicts,
    /// What must never happen, and did.
    pub violations: Vec<Violation>,
    /// The hash of the trace.
    pub hash: u64,
    /// The hash of the decisions: [`Trace::decisions`](crate::trace::Trace::decisions).
    pub decisions: u64,
}

impl Simulation {
    /// A world that begins at [`BEGIN`] and in which nothing has happened yet. The controller starts with the first step.
    pub fn new(seed: u64, spec: Arc<Spec>, options: WorldOptions) -> Simulation {
        Simulation::beginning(BEGIN, seed, spec, options)
    }

    /// The same world, beginning at another time.
    pub fn beginning(began: Time, seed: u64, spec: Arc<Spec>, options: WorldOptions) -> Simulation {
        let mut nature = Nature::new(began, seed, options);
        let controllers = nature.options.controllers;
        (0..controllers.max(1)).for_each(|_| nature.agenda.at(began, Event::Start));
        nature.after(oracle::CHECK_EVERY, Event::Check);
        nature.after(WEATHER_EVERY, Event::Weather);
        let (mut github, mut instance_rng) = (TrueGitHub::new(seed), Rng::new(seed, "boxes"));
        strangers::settle(&spec, &mut github.registry, &mut instance_rng, &mut nature);
        let mut world = Simulation {
            nature,
            seed,
            first_spec: Arc::clone(&spec),
            spec,
            cloud: Cloud::new(seed),
            github,
            queue: Queue::new(seed),
            machines: Machines::new(instance_rng),
            controller: None,
            team: (controllers > 1).then(|| team::Team::new(seed)),
            paused: BTreeMap::new(),
            ungiven: BTreeMap::new(),
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
            steps: 0,
            facts: Vec::new(),
            ledger: None,
            recorded: None,
            ticks_now: 0,
            coming: 0,
            net: Rng::new(seed, "network"),
        };
        let (oracle, truth) = world.judge();
        oracle.note_floor(truth);
        world
    }

    // ---------------------------------------------------------------------------------------------------- questions

    /// The simulated time.
    pub fn now(&self) -> Time {
        self.nature.now()
    }

    /// The controller, for an operator's order. None while it is down.
    pub fn controller_mut(&mut self) -> Option<&mut Controller> {
        self.controller.as_mut()
    }

    /// The controller. None while it is down.
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// The true state of GitHub.
    pub fn github(&self) -> &TrueGitHub {
        &self.github
    }

    /// The true state of EC2 and SSM.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The true state of the job queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The trace of a world that is no longer needed.
    pub fn into_trace(self) -> Trace {
        self.nature.trace
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.nature.trace
    }

    /// Which rare branches were reached so far, and how often.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The faults that struck so far, in order.
    pub fn struck(&self) -> &[Strike] {
        self.nature.luck.struck()
    }

    /// What must never happen, and did.
    pub fn violations(&self) -> &[Violation] {
        &self.oracle.violations
    }

    /// The record of runners and jobs. None: nobody asked for it.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// The same record, to take from it what was lost.
    pub fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        self.ledger.as_deref_mut()
    }

    /// The kinds of the effects so far, without sweeps. Empty if [`keep_kinds`](Self::keep_kinds) was not called.
    pub(super) fn kinds(&self) -> &[RequestKind] {
        self.kinds.as_deref().unwrap_or_default()
    }

    /// The figures of the run so far.
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
            tenures: self.tenures(),
            verdicts: self.oracle.verdicts,
            violations: self.oracle.violations.clone(),
            hash: self.nature.trace.hash(),
            decisions: self.nature.trace.decisions(),
        }
    }

    /// The seed, and the last `lines` of the trace before the first violation (or before now). For the message of a
    /// failure.
    pub fn timeline(&self, lines: usize) -> String {
        self.timeline_until(self.oracle.violations.first().map_or(self.now(), |v| v.at), lines)
    }

    /// The seed, and the last `lines` of the trace before `until`.
    pub fn timeline_until(&self, until: Time, lines: usize) -> String {
        format!("seed {}\n{}", self.seed, self.nature.trace.lines(until, lines).join("\n"))
    }

    /// The oracle, with what it reads.
    fn judge(&mut self) -> (&mut Oracle, Truth<'_>) {
        let truth = Truth {
            spec: &self.spec,
            nature: &self.nature,
            cloud: &self.cloud,
            github: &self.github,
            queue: &self.queue,
            machines: &self.machines,
            paused: &self.paused,
            controller: self.controller.as_ref(),
        };
        (&mut self.oracle, truth)
    }

    /// What the oracle reads.
    fn truth(&mut self) -> Truth<'_> {
        self.judge().1
    }

    // ---------------------------------------------------------------------------------------------------- orders

    /// From now on, the world keeps a ledger. To have the whole run in it, call this before the first step.
    pub fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// From now on, the world keeps the kinds of the effects.
    pub(super) fn keep_kinds(&mut self) {
        self.kinds.get_or_insert_default();
    }

    /// The controller's facts since the last call, at most 10,000.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Has a job queued at the time that its plan says.
    pub fn submit(&mut self, plan: JobPlan) {
        self.coming += 1;
        self.nature.agenda.at(plan.at, Event::Queue(Box::new(plan), None));
    }

    /// Has a job with this id queued now. A world gets all its jobs like this, or none.
    pub fn submit_now(&mut self, id: JobId, plan: JobPlan) {
        self.github.named.push_back(id);
        self.submit(JobPlan { at: self.now(), ..plan });
    }

    /// Has the manifests changed at this time.
    pub fn change_at(&mut self, at: Time, change: Change) {
        self.coming += 1;
        self.nature.agenda.at(at, Event::Change(Box::new(change)));
    }

    /// Gives the controller other manifests now.
    pub fn set_spec(&mut self, spec: Arc<Spec>) {
        self.spec = Arc::clone(&spec);
        let (oracle, truth) = self.judge();
        oracle.new_spec(truth);
        self.tell_standbys();
        self.feed(Input::Spec(spec));
    }

    /// From now on, no fault strikes.
    pub fn stop_faults(&mut self) {
        self.nature.stop_faults();
    }

    /// Kills the controller. A new process starts a little later, and knows only what AWS, GitHub and the queue hold.
    pub fn crash_and_restart(&mut self) {
        self.collect_record();
        if self.controller.take().is_none() {
            return;
        }
        self.nature.say(format_args!("---- controller process {} is killed", self.process));
        if self.github.unfinished().any(|(_, j)| j.state == JobState::InProgress) {
            self.marks.hit(Mark::CrashWithJobs);
        }
        if self.team.is_some() {
            return self.leaves(self.process, "killed");
        }
        let away = self.net.within(DOWNTIME);
        self.nature.after(away, Event::Start);
    }

    /// Asks the controller to stop, upon which it releases its messages. A new process starts a little later.
    pub fn stop_and_restart(&mut self) {
        self.feed(Input::Shutdown);
        if self.team.is_some() { self.gives_back() } else { self.crash_and_restart() }
    }

    /// Kills the controller right after it has sent its `n`-th effect. `n` counts from 1, without sweeps.
    pub fn crash_after_effect(&mut self, n: u64, mode: CrashMode) {
        self.crash_at = Some((n, mode));
    }

    /// Runs until this time of the world.
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
                self.dispatch(event);
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

    /// Called when the time may have moved.
    fn moved(&mut self, before: Time) {
        if self.now() > before {
            self.ticks_now = 0;
            self.nature.moved();
        }
    }

    /// Runs for this long by the world's time.
    pub fn run_for(&mut self, long: Duration) {
        self.step_until(self.now() + long);
    }

    // ---------------------------------------------------------------------------------------------------- progress

    /// Steps the controller with one input, and sends its effects. Nothing else calls the controller.
    fn feed(&mut self, input: Input) {
        let now = self.now();
        let Some(controller) = &self.controller else { return };
        self.nature.trace.fold_input(now, &input);
        self.marks.see_input(&input, controller);
        let told: Vec<JobId> = match &input {
            Input::Messages(messages) => messages.iter().map(|m| m.event.job).collect(),
            Input::Outcome(_, Outcome::Job(sighting)) => vec![sighting.job],
            _ => Vec::new(),
        };
        let (oracle, truth) = self.judge();
        oracle.hear(&input, truth);
        oracle.note_interruption(&input, truth);
        if let Input::Outcome(_, Outcome::Swept(Swept::Instances(rows))) = &input {
            oracle.compare_orders(rows, truth);
        }
        let Some(controller) = &mut self.controller else { return };
        let effects = controller.step(now, input);
        self.steps += 1;
        let facts = controller.take_facts();
        for fact in facts {
            if let Some(controller) = &self.controller {
                self.marks.see_fact(&fact, controller);
            }
            let process = self.process;
            let (oracle, truth) = self.judge();
            oracle.judge_fact(&fact, process, truth);
            if self.nature.trace.kept() && !matches!(fact, Fact::Planned { .. }) {
                self.nature.trace.say(now, format_args!("fact {fact:?}"));
            }
            if self.facts.len() < FACTS_KEPT {
                self.facts.push(fact);
            }
        }
        let (oracle, truth) = self.judge();
        for job in told {
            oracle.look_at_job(job, truth);
        }
        self.send(effects);
    }

    /// Sends effects, until the process is killed or stopped.
    fn send(&mut self, effects: Vec<Effect>) {
        let (now, process) = (self.now(), self.process);
        let mut effects = effects.into_iter();
        while let Some(effect) = effects.next() {
            self.nature.trace.fold_effect(&effect);
            self.nature.trace.fold_decision(now, &effect);
            if let Some(controller) = &self.controller {
                self.marks.see_effect(&effect, controller, &self.spec);
            }
            match self.set_out(effect) {
                Departure::Sent => {}
                Departure::Killed => return self.crash_and_restart(),
                Departure::Stopped => return self.keep_unsent(process, effects),
            }
        }
    }
}
