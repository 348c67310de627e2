//! A simulated cloud and GitHub, with the real controller in the middle. Virtual time, one seed, no threads: the same
//! seed and options give the same run, down to the hash of its trace.
//!
//! [`World`] owns the ground truth. The controller sees of it only what [`crate::effect::Input`] tells, late and now and
//! then wrong; [`oracle`] compares what it does with what is true. `muster demo` runs the same world by the clock.

mod agenda;
pub mod boxes;
pub mod cloud;
pub mod conditions;
mod effects;
pub mod example;
pub mod faults;
pub mod forecast;
pub mod forge;
pub mod ledger;
pub mod oracle;
mod pages;
pub mod queue;
pub mod rng;
pub mod tally;
pub mod trace;
pub mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use effects::CrashMode;
pub use faults::{Faults, WorldOptions};
pub use forge::JobPlan;
pub use oracle::Violation;

use crate::controller::Controller;
use crate::effect::{Fact, Input};
use crate::event::{InstanceState, JobState};
use crate::ids::{Forge as List, InstanceId};
use crate::manifest::Spec;
use crate::time::{Time, human};

use agenda::{Agenda, Event};
use boxes::Machine;
use cloud::Cloud;
use forge::Forge;
use oracle::Oracle;
use queue::Queue;
use rng::{Rng, Spread};
use trace::Trace;

/// When a simulated run begins, if nobody says otherwise: 1 January 2026.
pub const BEGIN: Time = Time::from_millis(1_767_225_600_000);
/// How long a killed controller stays away.
const DOWNTIME: Spread = Spread::secs(2, 40);
/// Facts kept for whoever collects them; a run that nobody asks must not grow by them.
const FACTS_KEPT: usize = 10_000;
/// A controller whose next wake-up never lies in the future would hang a simulation; so many ticks at one moment are enough.
const TICKS_AT_ONCE: u32 = 100;

/// One simulated world.
#[derive(Debug)]
pub struct World {
    pub(in crate::sim) agenda: Agenda,
    began: Time,
    seed: u64,
    spec: Arc<Spec>,
    options: WorldOptions,
    faults_over: bool,
    cloud: Cloud,
    forge: Forge,
    queue: Queue,
    machines: BTreeMap<InstanceId, Machine>,
    controller: Option<Controller>,
    /// Number of the controller's process; answers to an earlier one are lost.
    process: u32,
    oracle: Oracle,
    trace: Trace,
    /// Calls by API.
    calls: BTreeMap<&'static str, u64>,
    /// Calls that the other side throttled because its bucket was empty.
    throttled: BTreeMap<&'static str, u64>,
    /// What each runner list was when this process last saw it.
    listed: BTreeMap<List, u64>,
    poll_at: Option<Time>,
    crash_at: Option<(u64, CrashMode)>,
    /// Effects sent, sweeps aside.
    sent: u64,
    /// Effects sent that change something.
    changes: u64,
    steps: u64,
    /// Jobs killed that had started so shortly before that nobody could have known.
    races: u64,
    facts: Vec<Fact>,
    /// Keeps the lives of boxes and jobs, if somebody asked for it.
    ledger: Option<Box<ledger::Ledger>>,
    ticks_now: u32,
    coming: u64,
    net: Rng,
    luck: Rng,
    box_rng: Rng,
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Instances launched.
    pub instances: u64,
    /// Calls by API.
    pub calls: BTreeMap<&'static str, u64>,
    /// Calls that met an empty bucket.
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
}

impl World {
    /// A world in which nothing has happened yet, beginning at [`BEGIN`]. The controller starts with the first step.
    pub fn new(seed: u64, spec: Arc<Spec>, options: WorldOptions) -> World {
        World::beginning(BEGIN, seed, spec, options)
    }

    /// The same, at another time.
    pub fn beginning(began: Time, seed: u64, spec: Arc<Spec>, options: WorldOptions) -> World {
        let mut agenda = Agenda::new(began);
        agenda.at(began, Event::Start);
        agenda.after(oracle::CHECK_EVERY, Event::Check);
        let mut crash = Rng::new(seed, "crash");
        if let Some(last) = options.faults.last {
            for _ in 0..options.faults.crashes {
                agenda.after(last.mul_f64(crash.unit()), Event::Crash);
            }
        }
        World {
            agenda,
            began,
            seed,
            spec,
            faults_over: false,
            cloud: Cloud::new(seed),
            forge: Forge::new(seed),
            queue: Queue::new(seed),
            machines: BTreeMap::new(),
            controller: None,
            process: 0,
            oracle: Oracle::default(),
            trace: Trace::new(began, options.keep_lines),
            options,
            calls: BTreeMap::new(),
            throttled: BTreeMap::new(),
            listed: BTreeMap::new(),
            poll_at: None,
            crash_at: None,
            sent: 0,
            changes: 0,
            steps: 0,
            races: 0,
            facts: Vec::new(),
            ledger: None,
            ticks_now: 0,
            coming: 0,
            net: Rng::new(seed, "network"),
            luck: Rng::new(seed, "api faults"),
            box_rng: Rng::new(seed, "boxes"),
        }
    }

    // ------------------------------------------------------------------------------------- what one asks of it

    /// Its time.
    pub fn now(&self) -> Time {
        self.agenda.now
    }

    /// The controller, unless it is down.
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// GitHub's truth.
    pub fn forge(&self) -> &Forge {
        &self.forge
    }

    /// EC2's truth.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The job queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The figures so far.
    pub fn report(&self) -> Report {
        let mut jobs = BTreeMap::new();
        for job in self.forge.jobs().values() {
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
            races: self.races,
            violations: self.oracle.violations.clone(),
            hash: self.trace.hash(),
        }
    }

    /// The seed, the faults and the last lines of the trace until the first violation (or until now), for a failure's message.
    pub fn timeline(&self, lines: usize) -> String {
        let until = self.oracle.violations.first().map_or(self.agenda.now, |v| v.at);
        format!("seed {}, {:?}\n{}", self.seed, self.options, self.trace.lines(until, lines).join("\n"))
    }

    // -------------------------------------------------------------------------------------- what one does to it

    /// What the controller said that is worth a metric, since last asked (the first 10,000).
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Queues a job at its time.
    pub fn submit(&mut self, plan: JobPlan) {
        self.coming += 1;
        self.agenda.at(plan.at, Event::Queue(Box::new(plan)));
    }

    /// Gives the controller other manifests.
    pub fn set_spec(&mut self, spec: Arc<Spec>) {
        self.spec = Arc::clone(&spec);
        self.feed(Input::Spec(spec));
    }

    /// From now on nothing goes wrong.
    pub fn stop_faults(&mut self) {
        self.faults_over = true;
    }

    /// Kills the controller; a new one starts a little later, from nothing but what the outside world holds.
    pub fn crash_and_restart(&mut self) {
        if self.controller.take().is_none() {
            return;
        }
        self.trace.say(self.agenda.now, format_args!("---- controller process {} is killed", self.process));
        let away = self.luck.within(DOWNTIME);
        self.agenda.after(away, Event::Start);
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
            let wake = self.controller.as_ref().map_or(Time::FAR, Controller::next_wake).max(self.agenda.now);
            let next = self.agenda.next_at();
            if wake.min(next) > until {
                self.agenda.now = self.agenda.now.max(until);
                return;
            }
            if next <= wake {
                if next > self.agenda.now {
                    self.ticks_now = 0;
                }
                if let Some(event) = self.agenda.pop() {
                    let subject = ledger::Subject::of(&event);
                    self.happen(event);
                    self.note(subject);
                }
                continue;
            }
            self.ticks_now = if wake > self.agenda.now { 0 } else { self.ticks_now + 1 };
            self.agenda.now = wake;
            if self.ticks_now > TICKS_AT_ONCE {
                self.oracle.blame("wake", wake, "next_wake() does not move on although Tick was stepped".into());
                self.agenda.now = self.agenda.now + Duration::from_secs(1);
                self.ticks_now = 0;
            }
            self.feed(Input::Tick);
        }
    }

    /// Runs for this long.
    pub fn run_for(&mut self, long: Duration) {
        self.step_until(self.agenda.now + long);
    }

    /// Runs until all jobs are done and nothing is left over, then checks that it stays so: eventually stable
    /// reconciliation. Ok: how long that took. Err: what is still there, or what was done without need.
    pub fn converge(&mut self, within: Duration, then_quiet: Duration) -> Result<Duration, String> {
        let start = self.agenda.now;
        loop {
            self.run_for(Duration::from_secs(20));
            let left = if self.coming > 0 { vec!["jobs are still to come".into()] } else { self.leftovers() };
            if left.is_empty() {
                break;
            }
            if self.agenda.now.since(start) > within {
                return Err(format!("not converged within {}:\n  {}", human(within), left.join("\n  ")));
            }
        }
        let (took, before) = (self.agenda.now.since(start), self.changes);
        self.run_for(then_quiet);
        let (left, done) = (self.leftovers(), self.changes - before);
        match (left.is_empty(), done) {
            (true, 0) => Ok(took),
            (true, n) => Err(format!("converged, but {n} more effects followed within {}", human(then_quiet))),
            (false, _) => Err(format!("converged, but did not stay so:\n  {}", left.join("\n  "))),
        }
    }

    // ------------------------------------------------------------------------------------------ how it goes on

    /// Whether faults may still happen.
    pub(in crate::sim) fn faulty(&self) -> bool {
        !self.faults_over && self.options.faults.last.is_none_or(|last| self.agenda.now.since(self.began) < last)
    }

    pub(in crate::sim) fn say(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.say(self.agenda.now, what);
    }

    /// The one place that calls the controller.
    fn feed(&mut self, input: Input) {
        let Some(controller) = &mut self.controller else { return };
        let effects = controller.step(self.agenda.now, input);
        self.steps += 1;
        for fact in controller.take_facts() {
            if !matches!(fact, Fact::Planned { .. }) {
                self.trace.say(self.agenda.now, format_args!("fact {fact:?}"));
            }
            if self.facts.len() < FACTS_KEPT {
                self.facts.push(fact);
            }
        }
        for effect in effects {
            if !self.dispatch(effect) {
                self.crash_and_restart();
                return;
            }
        }
    }

    fn start(&mut self) {
        self.process += 1;
        self.oracle.restart();
        self.listed.clear();
        self.trace.say(self.agenda.now, format_args!("---- controller process {} starts", self.process));
        self.controller = Some(Controller::new(&format!("p{}", self.process), self.agenda.now));
        self.feed(Input::Spec(Arc::clone(&self.spec)));
        self.poll_at = None;
        self.arm_poll();
    }

    /// Plans the next receive call: when something is visible, or will be.
    pub(in crate::sim) fn arm_poll(&mut self) {
        let Some(visible) = self.queue.next_visible() else { return };
        let at = visible.max(self.agenda.now) + self.net.within(self.options.network);
        if self.poll_at.is_none_or(|planned| at < planned) {
            self.poll_at = Some(at);
            self.agenda.at(at, Event::Poll);
        }
    }

    fn poll(&mut self) {
        if self.poll_at != Some(self.agenda.now) {
            return;
        }
        self.poll_at = None;
        if self.controller.is_some() {
            let again = if self.faulty() { self.options.faults.redelivered } else { 0.0 };
            let messages = self.queue.receive(self.agenda.now, again);
            if !messages.is_empty() {
                self.feed(Input::Messages(messages));
            }
            self.arm_poll();
        }
    }

    fn happen(&mut self, event: Event) {
        let faulty = self.faulty();
        match event {
            Event::Start => self.start(),
            Event::Crash => self.crash_and_restart(),
            Event::Arrive(request) => self.arrive(&request),
            Event::Put(put) => self.put(put),
            Event::Answer(process, effect, outcome) => {
                if process == self.process {
                    if let crate::effect::Outcome::Failed(failure) = &outcome {
                        self.trace.say(self.agenda.now, format_args!("answer to {effect}: {}", failure.message));
                    }
                    self.feed(Input::Outcome(effect, outcome));
                }
            }
            Event::Limit(process, limit) => {
                if process == self.process {
                    self.feed(Input::GitHubLimit(limit));
                }
            }
            Event::Poll => self.poll(),
            Event::Notify(note) => match self.controller {
                Some(_) => self.feed(Input::Ec2(note)),
                None => self.agenda.after(Duration::from_secs(5), Event::Notify(note)),
            },
            Event::Send(mut job) => {
                job.enterprise = self.enterprise();
                self.say(format_args!("webhook: job {} is {:?}", job.job, job.state));
                self.queue.send(job, self.agenda.now);
                self.arm_poll();
            }
            Event::Queue(plan) => {
                self.coming -= 1;
                let labels = plan.labels.join(",");
                let job = self.forge.queue(*plan, &self.options, faulty, &mut self.agenda);
                self.say(format_args!("job {job} [{labels}] is queued"));
            }
            Event::Assign => {
                for (job, runner) in self.forge.assign(&self.options, faulty, &mut self.agenda) {
                    self.box_takes(runner, job);
                }
            }
            Event::Finish(job, conclusion) => {
                let ended = self.forge.finish(job, conclusion, &self.options, faulty, &mut self.agenda);
                if ended.is_some() {
                    self.say(format_args!("job {job} ends: {conclusion}"));
                }
                if let Some(Some((_, name))) = ended {
                    self.box_is_done(&name.instance);
                }
            }
            Event::Cancel(job) => {
                if self.forge.is_queued(job) {
                    self.forge.finish(job, "cancelled", &self.options, faulty, &mut self.agenda);
                    self.say(format_args!("job {job} is cancelled"));
                }
            }
            Event::LetGo(job) => {
                self.forge.let_go(job);
                self.agenda.after(Duration::from_secs(1), Event::Assign);
            }
            Event::Stolen(job) => self.forge.steal(job, &self.options, faulty, &mut self.agenda),
            Event::Offline(runner) => self.forge.offline(runner),
            Event::Running(id) => self.box_starts(id),
            Event::Terminated(id) => {
                self.cloud.become_state(&id, InstanceState::Terminated, None, &self.options, faulty, &mut self.agenda);
                self.machines.remove(&id);
            }
            Event::Forgotten(id) => self.cloud.forget(&id),
            Event::Warning(id) => self.box_is_warned(id),
            Event::Reclaimed(id) => self.box_is_reclaimed(&id),
            Event::Booted(id) => self.box_booted(id),
            Event::Fetch(id) => self.box_fetches(id),
            Event::Register(id) => self.box_registers(id),
            Event::SeesDrain(id) => self.box_sees_drain(id),
            Event::PowerOff(id, why) => self.box_powers_off(&id, why),
            Event::GivesUp(id) => self.box_gives_up(id),
            Event::Check => {
                self.check();
                self.agenda.after(oracle::CHECK_EVERY, Event::Check);
            }
        }
    }
}
