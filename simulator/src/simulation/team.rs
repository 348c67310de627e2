//! Several processes of the controller, of which one holds the lease and acts. The others stand by (decision 0029).
//!
//! The world has one desk: the process at the desk is stepped. A process that is stopped leaves the desk with what it knows, and finds
//! out when it goes on whether another has its place. The clocks with which the processes keep the lease are up to ten minutes apart.
//! The core itself is stepped with the world's time in every process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Effect, Input, Outcome};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{EffectId, Intent, ListId as List};
use muster_reconciler::launch::Inheritance;
use muster_reconciler::lease::{Lease, LeaseAnswer, LeaseObject};
use muster_reconciler::time::Time;

use super::{DOWNTIME, Simulation};
use crate::event::Event;
use crate::faults::Fault;
use crate::oracle::{Invariant, ProcessView};
use crate::request::Request;
use crate::rng::{Rng, Spread};
use crate::tenures::Tenures;

/// How far the clocks of two processes are apart at most.
const SKEW: Spread = Spread::secs(0, 600);
/// For how long a process is stopped.
const STOPS: [Spread; 3] = [Spread::secs(1, 17), Spread::secs(17, 45), Spread::secs(45, 400)];

/// The processes of a run with a lease, and the object of the lease.
#[derive(Debug)]
pub(super) struct Team {
    pub members: BTreeMap<u32, TeamMember>,
    started: u32,
    /// The object in S3, with its ETag.
    pub object: Option<(LeaseObject, String)>,
    pub writes: u64,
    pub calls: u64,
    pub rng: Rng,
    /// The process that took the lease last, and the launches that it found in the lease.
    reign: Option<(u32, BTreeSet<Intent>)>,
    /// The launches that any process has found in the lease.
    found: BTreeSet<Intent>,
    tenures: Tenures,
    /// How often EC2 launched for each intent.
    fleets: BTreeMap<Intent, u64>,
}

/// One process.
#[derive(Debug)]
pub(super) struct TeamMember {
    pub lease: Lease,
    /// This process's clock is ahead of the world's time by this much.
    pub ahead: Duration,
    pub stopped: bool,
    /// The call of S3 that is under way.
    pub call: Option<u64>,
    pub turn_at: Time,
    /// What the process knows. None: the process is at the desk, or its core has ended.
    mind: Option<Mind>,
    /// Whether the process has held the lease.
    leads: bool,
    /// Launches that are not written down yet.
    unwritten: Vec<Request>,
    /// The launches that were sent, by effect.
    asked: BTreeMap<EffectId, Intent>,
    /// Effects that the process had not sent when it was stopped.
    unsent: Vec<Effect>,
    /// What happened to the process while it was stopped.
    missed: Vec<Event>,
    ends: bool,
}

/// What one process knows, and what the oracle knows of it.
#[derive(Debug)]
struct Mind {
    controller: Controller,
    view: ProcessView,
    listed: BTreeMap<List, u64>,
    etags: BTreeMap<EffectId, (List, u64)>,
}

/// What became of an effect that the process was about to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The effect is on its way, or will be.
    Sent,
    /// The process was killed right after it.
    Killed,
    /// The process is stopped.
    Stopped,
}

impl Team {
    pub fn new(seed: u64) -> Team {
        Team {
            members: BTreeMap::new(),
            started: 0,
            object: None,
            writes: 0,
            calls: 0,
            rng: Rng::new(seed, "lease"),
            reign: None,
            found: BTreeSet::new(),
            tenures: Tenures::default(),
            fleets: BTreeMap::new(),
        }
    }
}

impl Simulation {
    pub(super) fn member(&mut self, process: u32) -> Option<&mut TeamMember> {
        self.team.as_mut()?.members.get_mut(&process)
    }

    /// A process starts, and stands by.
    pub(super) fn join(&mut self) {
        let now = self.now();
        let Some(team) = &mut self.team else { return };
        team.started += 1;
        let (process, ahead) = (team.started, team.rng.within(SKEW));
        let name = format!("p{process}");
        let mut controller = Controller::new(&name, now);
        controller.stand_by();
        let mind = Mind { controller, view: ProcessView::default(), listed: BTreeMap::new(), etags: BTreeMap::new() };
        let member = TeamMember {
            lease: Lease::new(&name),
            ahead,
            stopped: false,
            call: None,
            turn_at: Time::FAR,
            mind: Some(mind),
            leads: false,
            unwritten: Vec::new(),
            asked: BTreeMap::new(),
            unsent: Vec::new(),
            missed: Vec::new(),
            ends: false,
        };
        team.members.insert(process, member);
        self.nature.say(format_args!("---- controller process {process} starts, and stands by"));
        self.tell_standbys();
        self.lease_step(process);
    }

    /// Gives the processes that stand by the newest manifests. A process that stands by does nothing.
    pub(super) fn tell_standbys(&mut self) {
        let (now, spec) = (self.now(), self.spec.clone());
        let Some(team) = &mut self.team else { return };
        for (process, member) in team.members.iter_mut().filter(|(_, member)| !member.leads) {
            let Some(mind) = &mut member.mind else { continue };
            let effects = mind.controller.step(now, Input::Spec(spec.clone()));
            if !effects.is_empty() || mind.controller.next_wake() < Time::FAR {
                self.oracle.blame(Invariant::Lease, now, format!("process {process} stands by, and does {effects:?}"));
            }
        }
    }

    /// The process holds the lease from now on.
    pub(super) fn takes_over(&mut self, process: u32, inheritance: Inheritance) {
        let now = self.now();
        let Some(team) = &mut self.team else { return };
        for (other, member) in team.members.iter().filter(|(other, _)| **other != process) {
            if member.lease.sure_until().is_some_and(|sure| sure > now + member.ahead) {
                self.oracle.blame(Invariant::Lease, now, format!("processes {other} and {process} both hold the lease"));
            }
        }
        let found: BTreeSet<Intent> = inheritance.launches.iter().flatten().map(|record| record.launch.intent.clone()).collect();
        self.nature.say(format_args!("---- process {process} holds the lease (term {}), and found {found:?}", inheritance.term));
        team.found.extend(found.iter().cloned());
        team.reign = Some((process, found.clone()));
        team.tenures.terms += 1;
        self.vacate();
        if let Some(member) = self.member(process) {
            member.leads = true;
        }
        self.seat(process);
        self.oracle.inherits(process, &found);
        self.feed(Input::Lead(inheritance, self.paused.clone()));
        self.arm_poll();
    }

    /// The process at the desk leaves it, with all that it knows.
    fn vacate(&mut self) {
        let Some(controller) = self.controller.take() else { return };
        self.poll_at = None;
        let (listed, etags) = (std::mem::take(&mut self.listed), std::mem::take(&mut self.etags));
        let view = self.oracle.change_process(ProcessView::default());
        let process = self.process;
        if let Some(member) = self.member(process) {
            member.mind = Some(Mind { controller, view, listed, etags });
        }
    }

    /// The process sits down at the desk, which is free.
    fn seat(&mut self, process: u32) {
        let spec = self.spec.clone();
        let Some(Mind { controller, view, listed, etags }) = self.member(process).and_then(|member| member.mind.take()) else {
            return;
        };
        let old = !std::ptr::eq(controller.view().spec, &raw const *spec);
        (self.process, self.controller, self.listed, self.etags) = (process, Some(controller), listed, etags);
        self.oracle.change_process(view);
        if old {
            self.feed(Input::Spec(spec));
        }
    }

    /// Has a process at the desk for a moment, if it may sit there at all.
    fn at_the_desk(&mut self, process: u32, does: impl FnOnce(&mut Simulation)) {
        let acting = self.controller.is_some().then_some(self.process);
        if acting == Some(process) {
            return does(self);
        }
        if self.member(process).is_none_or(|member| !member.leads || member.mind.is_none()) {
            return;
        }
        self.vacate();
        self.seat(process);
        does(self);
        if let Some(before) = acting {
            self.vacate();
            self.seat(before);
            self.arm_poll();
        } else if self.team.as_ref().is_some_and(|team| team.reign.as_ref().is_some_and(|(last, _)| *last != process)) {
            self.vacate();
        }
    }

    /// An event of a process that is not at the desk: it waits until the process goes on, or the process sits down for it, or it is lost
    /// with the process. Some: the event is to happen now.
    pub(super) fn reaches(&mut self, event: Event) -> Option<Event> {
        let (process, of_core) = match &event {
            Event::Answer(process, ..) | Event::Limit(process, _) => (*process, true),
            Event::Put(put) => (put.process, true),
            Event::LeaseTurn(process) | Event::LeaseAnswer(process, ..) => (*process, false),
            _ => return Some(event),
        };
        let at_desk = self.controller.is_some() && self.process == process;
        let Some(team) = &mut self.team else { return Some(event) };
        let member = team.members.get_mut(&process)?;
        if member.stopped {
            member.missed.push(event);
            return None;
        }
        if at_desk || !of_core {
            return Some(event);
        }
        self.at_the_desk(process, |world| world.dispatch(event));
        None
    }

    /// Sends a request, unless the fence holds it back.
    pub(super) fn depart(&mut self, mut request: Request, travels: Duration) -> Departure {
        let (now, process) = (self.now(), self.process);
        let fenced = self.is_fenced(process);
        let Some(member) = self.team.as_mut().and_then(|team| team.members.get_mut(&process)) else {
            self.nature.after(travels, Event::Arrive(Box::new(request)));
            return Departure::Sent;
        };
        let clock = now + member.ahead;
        match &request.effect.action {
            Action::Sweep(_) | Action::CheckJob { .. } | Action::LookAtRun { .. } | Action::Messages(..) => {}
            Action::Launch(launch) => {
                member.lease.record(launch, clock);
                member.unwritten.push(request);
                self.turn_soon(process);
                return Departure::Sent;
            }
            _ if fenced => {
                self.hold_back(&request);
                return Departure::Sent;
            }
            _ => {
                if let Some(long) = self.stop_length() {
                    request.held = true;
                    self.nature.after(long + travels, Event::Arrive(Box::new(request)));
                    self.stop(process, long);
                    return Departure::Stopped;
                }
            }
        }
        self.nature.after(travels, Event::Arrive(Box::new(request)));
        Departure::Sent
    }

    fn hold_back(&mut self, request: &Request) {
        self.count(|tenures| tenures.fenced += 1);
        let failure = Failure::new(FailureKind::Refused, "nothing was sent, because this process does not hold the lease");
        self.nature.after(Duration::ZERO, Event::Answer(request.process, request.effect.id, Box::new(Outcome::Failed(failure))));
    }

    /// Sends the launches that are written down.
    pub(super) fn send_written(&mut self, process: u32) {
        let now = self.now();
        let Some(member) = self.member(process) else { return };
        let clock = now + member.ahead;
        let sure = member.lease.sure_until().is_some_and(|sure| clock < sure);
        for mut request in std::mem::take(&mut member.unwritten) {
            let Action::Launch(launch) = &request.effect.action else { continue };
            let admitted = self.member(process).is_some_and(|member| member.lease.admits(&launch.intent, clock));
            if !admitted && sure {
                if let Some(member) = self.member(process) {
                    member.unwritten.push(request);
                }
                continue;
            }
            if !admitted {
                self.hold_back(&request);
                continue;
            }
            let (effect, intent) = (request.effect.id, launch.intent.clone());
            let stopped = self.member(process).is_some_and(|member| {
                member.asked.insert(effect, intent);
                member.stopped
            });
            let long = if stopped { None } else { self.stop_length() };
            request.held = long.is_some();
            let travels = self.net.within(self.nature.takes().network);
            self.nature.after(long.unwrap_or_default() + travels, Event::Arrive(Box::new(request)));
            if let Some(long) = long {
                self.stop(process, long);
            }
        }
    }

    /// For how long a process is stopped now. None: it is not.
    pub(super) fn stop_length(&mut self) -> Option<Duration> {
        let mut how_long = self.nature.strikes(Fault::Stopped)?;
        let spread = how_long.pick(&STOPS).copied()?;
        Some(how_long.within(spread))
    }

    /// Stops the process, as SIGSTOP does.
    pub(super) fn stop(&mut self, process: u32, long: Duration) {
        let Some(member) = self.member(process).filter(|member| !member.stopped) else { return };
        member.stopped = true;
        self.count(|tenures| tenures.stops += 1);
        let for_long = muster_reconciler::time::human(long);
        self.nature.say(format_args!("---- process {process} is stopped for {for_long}"));
        self.nature.after(long, Event::Resume(process));
        if self.process == process {
            self.vacate();
        }
    }

    /// These effects were not sent when the process was stopped.
    pub(super) fn keep_unsent(&mut self, process: u32, effects: impl Iterator<Item = Effect>) {
        if let Some(member) = self.member(process) {
            member.unsent.extend(effects);
        }
    }

    /// A process that was stopped goes on, and knows nothing of that.
    pub(super) fn resume(&mut self, process: u32) {
        let Some(member) = self.member(process) else { return };
        member.stopped = false;
        let (unsent, missed) = (std::mem::take(&mut member.unsent), std::mem::take(&mut member.missed));
        self.nature.say(format_args!("---- process {process} goes on"));
        self.at_the_desk(process, |world| {
            world.oracle.going_on = true;
            world.send(unsent);
            world.oracle.going_on = false;
            world.feed(Input::Tick);
        });
        for event in missed {
            self.dispatch(event);
        }
        self.lease_step(process);
        if self.controller.is_some() && self.process == process {
            self.arm_poll();
        }
    }

    /// The process ends: it was killed, or the lease is lost or given back. Another one starts a little later.
    pub(super) fn leaves(&mut self, process: u32, why: &str) {
        let Some(member) = self.team.as_mut().and_then(|team| team.members.remove(&process)) else { return };
        if self.process == process {
            self.controller = None;
            self.poll_at = None;
        }
        self.nature.say(format_args!("---- process {process} ends: {why}"));
        // The next one knows less than this one did.
        self.oracle.allow(u64::from(member.leads && !member.ends));
        let away = self.net.within(DOWNTIME);
        self.nature.after(away, Event::Start);
    }

    /// The core of the process at the desk has ended, and the lease goes to whoever comes first.
    pub(super) fn gives_back(&mut self) {
        let process = self.process;
        self.controller = None;
        self.poll_at = None;
        let Some(member) = self.member(process) else { return };
        member.ends = true;
        member.unwritten.clear();
        member.lease.leave();
        self.lease_step(process);
    }

    /// Kills the process that acts, or one that stands by.
    pub(super) fn kill_one(&mut self, chance: &mut Rng) {
        let Some(team) = &self.team else { return };
        let others: Vec<u32> = team.members.keys().copied().filter(|process| *process != self.process).collect();
        match chance.pick(&others).copied().filter(|_| chance.chance(0.3)) {
            Some(other) => self.leaves(other, "killed"),
            None => self.crash_and_restart(),
        }
    }

    /// Stops a process at any time, perhaps one that stands by.
    pub(super) fn stop_one(&mut self) {
        if self.team.is_none() {
            return;
        }
        let Some(long) = self.stop_length() else { return };
        let Some(team) = &mut self.team else { return };
        let all: Vec<u32> = team.members.keys().copied().collect();
        if let Some(process) = team.rng.pick(&all).copied() {
            self.stop(process, long);
        }
    }

    /// EC2 has answered a launch. A successor of the process that asked must have found the launch in the lease. Returns whether the
    /// launch comes after a successor has given it up: it had asked for it, and EC2 had refused.
    pub(super) fn judge_whose(&mut self, process: u32, intent: &Intent, replayed: bool) -> bool {
        let (now, own) = (self.now(), intent.as_str().starts_with(&format!("p{process}-")));
        let Some(team) = &mut self.team else { return false };
        match (own, replayed) {
            (false, true) => team.tenures.again += 1,
            (false, false) => team.tenures.settled += 1,
            (true, _) => {}
        }
        if replayed {
            return false;
        }
        *team.fleets.entry(intent.clone()).or_default() += 1;
        let Some((last, found)) = &team.reign else { return false };
        if *last == process || found.contains(intent) {
            return false;
        }
        if !team.found.contains(intent) {
            let what = format!("EC2 launches {intent} of process {process}, of which process {last} found nothing in the lease");
            self.oracle.blame(Invariant::Lease, now, what);
            return false;
        }
        team.tenures.surprises += 1;
        true
    }

    /// What happened between the processes.
    pub(super) fn tenures(&self) -> Tenures {
        let Some(team) = &self.team else { return Tenures::default() };
        let (intents, fleets) = (team.fleets.len() as u64, team.fleets.values().sum());
        Tenures { intents, fleets, late_kills: self.oracle.late_kills, ..team.tenures }
    }

    pub(super) fn count(&mut self, one: impl FnOnce(&mut Tenures)) {
        if let Some(team) = &mut self.team {
            one(&mut team.tenures);
        }
    }

    /// The answer to a launch, for the list in the lease.
    pub(super) fn note_launch_ended(&mut self, effect: EffectId, outcome: &Outcome) {
        let (now, process) = (self.now(), self.process);
        let Some(member) = self.member(process) else { return };
        if let Some(intent) = member.asked.remove(&effect) {
            let clock = now + member.ahead;
            member.lease.launch_ended(&intent, outcome, clock);
        }
    }

    pub(super) fn turn_soon(&mut self, process: u32) {
        let now = self.now();
        if let Some(member) = self.member(process).filter(|member| member.turn_at != now) {
            member.turn_at = now;
            self.nature.after(Duration::ZERO, Event::LeaseTurn(process));
        }
    }

    pub(super) fn heard_of_lease(&mut self, process: u32, call: u64, answer: LeaseAnswer) {
        let now = self.now();
        let Some(member) = self.member(process).filter(|member| member.call == Some(call)) else { return };
        member.call = None;
        let clock = now + member.ahead;
        member.lease.heard(answer, clock);
        let inheritance = member.lease.take_inheritance(clock);
        if let Some(inheritance) = inheritance {
            self.takes_over(process, inheritance);
        }
        self.lease_step(process);
    }
}
