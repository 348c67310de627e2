//! The box: boots, fetches its secret and deletes it, registers, takes a job, ends itself. Only it knows that it is idle.

use std::time::Duration;

use crate::event::{Ec2Event, Ec2EventKind, InstanceState};
use crate::ids::{InstanceId, JobId, RunnerId};

use super::World;
use super::agenda::Event;
use super::cloud::Secret;
use super::rng::Spread;

/// How long a box waits for its configuration before it ends itself.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(600);
/// Between spot's warning and its end.
const SPOT_NOTICE: Duration = Duration::from_secs(120);

/// One box, as it is.
#[derive(Debug)]
pub struct Machine {
    /// How far it is.
    pub stage: Stage,
    runner: Option<RunnerId>,
    ephemeral: bool,
    fate: Fate,
    drains: bool,
}

/// How far a box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Starting up.
    Booting,
    /// Looks for its configuration.
    Waiting,
    /// Connects to GitHub.
    Registering,
    /// Online, without a job.
    Idle,
    /// Runs this job.
    Working(JobId),
    /// Off.
    Ended,
}

/// What becomes of a box; drawn when it starts, never known to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Healthy,
    /// Ends itself while it boots.
    FailsToBoot,
    /// Never gets anywhere, and stays.
    Hangs,
    /// Takes its job, heeds no drain, does not end itself.
    Deaf,
}

impl World {
    /// EC2 has started the instance: the box begins to boot.
    pub(super) fn box_starts(&mut self, id: InstanceId) {
        let (o, faulty) = (&self.options, self.faulty());
        if !self.cloud.become_state(&id, InstanceState::Running, None, o, faulty, &mut self.agenda) {
            return;
        }
        let f = &o.faults;
        let draws = [f.boot_failure, f.boot_hang, f.deaf, f.boot_slow].map(|rate| self.box_rng.chance(rate) && faulty);
        let fate = match draws {
            [true, ..] => Fate::FailsToBoot,
            [_, true, ..] => Fate::Hangs,
            [_, _, true, _] => Fate::Deaf,
            _ => Fate::Healthy,
        };
        let slow = if draws[3] { 3 + u32::try_from(self.box_rng.below(12)).unwrap_or(0) } else { 1 };
        self.machines.insert(id.clone(), Machine { stage: Stage::Booting, runner: None, ephemeral: true, fate, drains: false });
        let boot = self.box_rng.within(o.boot) * slow;
        match fate {
            Fate::Hangs => {}
            Fate::FailsToBoot => self.agenda.after(boot, Event::PowerOff(id, "the boot failed")),
            Fate::Healthy | Fate::Deaf => self.agenda.after(boot, Event::Booted(id)),
        }
    }

    pub(super) fn box_booted(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.stage == Stage::Booting) else { return };
        machine.stage = Stage::Waiting;
        self.agenda.after(CONFIGURATION_WAIT, Event::GivesUp(id.clone()));
        self.box_fetches(id);
    }

    /// The box takes its secret, if it is there, and deletes it.
    pub(super) fn box_fetches(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.stage == Stage::Waiting) else { return };
        let Some(Secret { runner, configure, .. }) = self.cloud.secrets.remove(&id) else { return };
        machine.stage = Stage::Registering;
        machine.ephemeral = configure.ephemeral;
        // A registration token lets the box register by itself, replacing a registration of its name that is offline.
        machine.runner =
            runner.or_else(|| self.forge.mint(&crate::effect::Configure { replace: true, ..(*configure).clone() }).ok());
        self.agenda.after(self.box_rng.within(self.options.register), Event::Register(id));
    }

    /// A secret was put: a box that waits for it sees it within two seconds.
    pub(super) fn box_may_fetch(&mut self, id: &InstanceId) {
        let delay = self.box_rng.within(Spread::millis(0, 2000));
        if self.machines.get(id).is_some_and(|m| m.stage == Stage::Waiting) {
            self.agenda.after(delay, Event::Fetch(id.clone()));
        }
    }

    pub(super) fn box_registers(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.stage == Stage::Registering) else { return };
        let connected = machine.runner.is_some_and(|r| self.forge.connect(r, &self.options, &mut self.agenda));
        if connected {
            machine.stage = Stage::Idle;
            self.say(format_args!("box {id} is online"));
        } else {
            self.box_ends(&id, "its registration was refused");
        }
    }

    /// GitHub gave it a job.
    pub(super) fn box_takes(&mut self, runner: RunnerId, job: JobId) {
        let Some(id) = self.forge.registrations().get(&runner).map(|r| r.name.instance.clone()) else { return };
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.stage = Stage::Working(job);
        }
        self.say(format_args!("job {job} starts on {id}"));
    }

    /// Its job is over: an ephemeral box ends itself, a reusable one waits for the next.
    pub(super) fn box_is_done(&mut self, id: &InstanceId) {
        let pause = self.box_rng.within(Spread::millis(500, 4000));
        let Some(machine) = self.machines.get_mut(id).filter(|m| matches!(m.stage, Stage::Working(_))) else { return };
        machine.stage = Stage::Idle;
        if (machine.ephemeral || machine.drains) && machine.fate != Fate::Deaf {
            self.agenda.after(pause, Event::PowerOff(id.clone(), "its job is done"));
        }
    }

    /// The drain tag, seen through IMDS: obeyed only without a job.
    pub(super) fn box_sees_drain(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        machine.drains = true;
        match (machine.fate, machine.stage) {
            (Fate::Deaf | Fate::Hangs, _) | (_, Stage::Working(_) | Stage::Ended) => {}
            _ => self.box_ends(&id, "it was drained"),
        }
    }

    pub(super) fn box_gives_up(&mut self, id: InstanceId) {
        if self.machines.get(&id).is_some_and(|m| m.stage == Stage::Waiting) {
            self.box_ends(&id, "no configuration came");
        }
    }

    /// A shutdown that was decided a moment ago; a job that came in between keeps the box.
    pub(super) fn box_powers_off(&mut self, id: &InstanceId, why: &'static str) {
        if self.machines.get(id).is_some_and(|m| !matches!(m.stage, Stage::Working(_) | Stage::Ended)) {
            self.box_ends(id, why);
        }
    }

    fn box_ends(&mut self, id: &InstanceId, why: &'static str) {
        self.say(format_args!("box {id} ends itself: {why}"));
        self.instance_ends(id, "Client.InstanceInitiatedShutdown");
    }

    /// However it came about: the box is off, its runner is lost, its job fails if it had one.
    pub(super) fn instance_ends(&mut self, id: &InstanceId, reason: &'static str) {
        let faulty = self.faulty();
        self.cloud.become_state(id, InstanceState::ShuttingDown, Some(reason), &self.options, faulty, &mut self.agenda);
        let Some(machine) = self.machines.get_mut(id) else { return };
        machine.stage = Stage::Ended;
        if let Some(runner) = machine.runner {
            self.forge.lost(runner, &mut self.agenda);
        }
    }

    /// Spot's two-minute warning: an idle box goes at once, a busy one works on.
    pub(super) fn box_is_warned(&mut self, id: InstanceId) {
        let Some(instance) = self.cloud.instance_mut(&id).filter(|i| i.live()) else { return };
        instance.interrupted = true;
        self.say(format_args!("spot warns {id}"));
        let (lost, delay) = (self.luck.chance(self.options.faults.notify_loss), self.luck.within(self.options.notify));
        if !lost {
            self.agenda.after(delay, Event::Notify(Ec2Event { instance: id.clone(), kind: Ec2EventKind::SpotInterruption }));
        }
        self.agenda.after(Duration::from_secs(4), Event::PowerOff(id.clone(), "spot takes it back"));
        self.agenda.after(SPOT_NOTICE, Event::Reclaimed(id));
    }

    pub(super) fn box_is_reclaimed(&mut self, id: &InstanceId) {
        if self.cloud.instance_mut(id).is_some_and(|i| i.live()) {
            self.say(format_args!("spot takes {id}"));
            self.instance_ends(id, "Server.SpotInstanceTermination");
        }
    }
}
