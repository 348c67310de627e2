//! The instances: each boots, reads and deletes its secret, registers, takes a job and ends itself. Only the instance knows
//! that it is idle.

use std::time::Duration;

use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState};
use muster_reconciler::ids::{InstanceId, JobId, RunnerId};

use crate::Simulation;
use crate::cloud::Secret;
use crate::event::Event;
use crate::faults::Fault;
use crate::rng::Spread;

/// How long an instance waits for its configuration before it ends itself.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(600);
/// The time from spot's warning to the end of the instance.
const SPOT_NOTICE: Duration = Duration::from_secs(120);
/// How often an instance tries to reach GitHub, every 15 s, before it ends itself.
const CONNECT_TRIES: u32 = 20;
const CONNECT_AGAIN: Duration = Duration::from_secs(15);

/// One instance, from the moment when it runs at EC2.
#[derive(Debug)]
pub struct Machine {
    /// How far the instance has come.
    pub stage: Stage,
    runner: Option<RunnerId>,
    ephemeral: bool,
    fate: Fate,
    drains: bool,
    /// How many jobs began on the instance.
    pub(super) jobs: u32,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// EC2 has started the instance, and its system boots.
    Booting,
    /// The instance waits for its configuration.
    Waiting,
    /// The instance has its configuration and connects to GitHub.
    Registering,
    /// The runner is online and has no job.
    Idle,
    /// The runner has this job.
    Working(JobId),
    /// The instance does nothing any more, and stays.
    Hung,
    /// The instance is off.
    Ended,
}

/// What will become of an instance. The fate is decided when the instance starts, and nobody can know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Healthy,
    /// The instance ends itself while it boots.
    FailsToBoot,
    /// The instance hangs while it boots, and stays.
    Hangs,
    /// The instance may not read its secret, and ends itself.
    CannotFetch,
    /// The instance reads its secret, cannot register, and ends itself.
    CannotRegister,
    /// The instance reads its secret, and then hangs.
    HangsRegistering,
    /// The instance takes its job, but ignores a drain and never ends itself.
    Deaf,
}

impl Machine {
    /// The id of the runner's registration at GitHub. None before the instance has read it.
    pub(super) fn runner(&self) -> Option<RunnerId> {
        self.runner
    }

    /// Whether the runner is online and may take a job.
    pub(super) fn fresh(&self) -> bool {
        self.stage == Stage::Idle && (self.jobs == 0 || !self.ephemeral)
    }

    /// Whether the runner is online without a job and will never end itself.
    pub(super) fn deaf_and_online(&self) -> bool {
        self.fresh() && self.fate == Fate::Deaf
    }
}

/// The faults that decide the fate, in order. The first one that strikes counts.
const FATES: [(Fault, Fate); 6] = [
    (Fault::BootFailure, Fate::FailsToBoot),
    (Fault::BootHang, Fate::Hangs),
    (Fault::FetchFailure, Fate::CannotFetch),
    (Fault::RegisterFailure, Fate::CannotRegister),
    (Fault::RegisterHang, Fate::HangsRegistering),
    (Fault::Deaf, Fate::Deaf),
];

impl Simulation {
    /// EC2 has started the instance, which begins to boot.
    pub(super) fn instance_starts(&mut self, id: InstanceId) {
        if !self.cloud.become_state(&id, InstanceState::Running, None, &mut self.nature) {
            return;
        }
        let mut fate = Fate::Healthy;
        for (fault, brings) in FATES {
            if self.nature.hits(fault) && fate == Fate::Healthy {
                fate = brings;
            }
        }
        let slow = self.nature.strikes(Fault::BootSlow).map(|mut r| 3 + u32::try_from(r.below(12)).unwrap_or(0));
        if fate != Fate::Healthy && fate != Fate::Deaf || slow.is_some() {
            self.oracle.excuse_instance(&id);
        }
        let stage = Stage::Booting;
        let machine = Machine { stage, runner: None, ephemeral: true, fate, drains: false, jobs: 0 };
        self.machines.insert(id.clone(), machine);
        if self.cloud.instances().get(&id).is_some_and(crate::cloud::Instance::draining) {
            // The instance got the drain tag before it ran. It sees the tag when it has booted.
            let seen = self.instance_rng.within(self.nature.takes().boot);
            self.nature.after(seen, Event::SeesDrain(id.clone()));
        }
        let boot = self.instance_rng.within_tail(self.nature.takes().boot) * slow.unwrap_or(1);
        match fate {
            Fate::Hangs => {}
            Fate::FailsToBoot => self.nature.after(boot, Event::PowerOff(id, "the boot failed")),
            _ => self.nature.after(boot, Event::Booted(id)),
        }
    }

    pub(super) fn instance_booted(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.stage == Stage::Booting) else { return };
        machine.stage = Stage::Waiting;
        self.nature.after(CONFIGURATION_WAIT, Event::GivesUp(id.clone()));
        self.instance_fetches(id);
    }

    /// The instance reads its secret, if there is one, and deletes it.
    pub(super) fn instance_fetches(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.stage == Stage::Waiting) else { return };
        if !self.cloud.secrets.contains_key(&id) {
            return;
        }
        if machine.fate == Fate::CannotFetch {
            return self.instance_ends_itself(&id, "it may not read its secret");
        }
        let Some(Secret { runner, configure, .. }) = self.cloud.secrets.remove(&id) else { return };
        machine.stage = Stage::Registering;
        machine.ephemeral = configure.ephemeral;
        // With a registration token, the instance registers itself, and replaces an offline registration of the same name.
        machine.runner = match runner {
            Some(minted) => Some(minted),
            None if self.nature.github_down() => None,
            None => {
                let configure = muster_reconciler::effect::Configure { replace: true, ..(*configure).clone() };
                self.github.registry.mint(&configure, &mut self.nature).ok()
            }
        };
        let takes = self.instance_rng.within_tail(self.nature.takes().register);
        match machine.fate {
            Fate::CannotRegister => self.nature.after(takes, Event::PowerOff(id, "it could not register")),
            Fate::HangsRegistering => self.nature.after(takes, Event::Hang(id)),
            _ => self.nature.after(takes, Event::Register(id, 0)),
        }
    }

    /// A secret was written. An instance that waits for it sees it within two seconds.
    pub(super) fn instance_may_fetch(&mut self, id: &InstanceId) {
        let delay = self.instance_rng.within(Spread::millis(0, 2000));
        if self.machines.get(id).is_some_and(|m| m.stage == Stage::Waiting) {
            self.nature.after(delay, Event::Fetch(id.clone()));
        }
    }

    pub(super) fn runner_registers(&mut self, id: InstanceId, tries: u32) {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.stage == Stage::Registering) else { return };
        if self.nature.github_down() && machine.runner.is_some() && tries < CONNECT_TRIES {
            return self.nature.after(CONNECT_AGAIN, Event::Register(id, tries + 1));
        }
        let online =
            !self.nature.github_down() && machine.runner.is_some_and(|r| self.github.registry.connect(r, &mut self.nature));
        if !online {
            // An outage, or a registration that was replaced, refused the runner. The instance itself did nothing wrong.
            self.oracle.excuse_instance(&id);
            return self.instance_ends_itself(&id, "its registration was refused");
        }
        machine.stage = Stage::Idle;
        let (oracle, truth) = self.judge();
        oracle.excuse_late(&id, truth);
        if let Some(mut r) = self.nature.strikes(Fault::OnlineHang) {
            self.nature.after(r.within(Spread::secs(2, 600)), Event::Hang(id.clone()));
        }
        self.nature.say(format_args!("instance {id} is online"));
    }

    /// GitHub has given the runner a job.
    pub(super) fn runner_takes(&mut self, runner: RunnerId, job: JobId) {
        let Some(id) = self.instance_of(runner) else { return };
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.stage = Stage::Working(job);
            machine.jobs += 1;
        }
        self.nature.say(format_args!("job {job} starts on {id}"));
    }

    /// GitHub has given the runner a job, and the runner dies before the job begins.
    pub(super) fn runner_dies_at_once(&mut self, runner: RunnerId) {
        let Some(id) = self.instance_of(runner) else { return };
        self.oracle.excuse_instance(&id);
        let soon = self.instance_rng.within(Spread::secs(1, 10));
        self.nature.after(soon, Event::PowerOff(id, "its runner died before its job began"));
    }

    fn instance_of(&self, runner: RunnerId) -> Option<InstanceId> {
        self.github.registrations().get(&runner).map(|r| r.name.instance.clone())
    }

    /// The runner's job is over. An ephemeral runner's instance ends itself; a reusable runner waits for its next job.
    pub(super) fn runner_is_done(&mut self, id: &InstanceId) {
        let pause = self.instance_rng.within(Spread::millis(500, 4000));
        let Some(machine) = self.machines.get_mut(id).filter(|m| matches!(m.stage, Stage::Working(_))) else { return };
        machine.stage = Stage::Idle;
        if (machine.ephemeral || machine.drains) && machine.fate != Fate::Deaf {
            self.nature.after(pause, Event::PowerOff(id.clone(), "its job is done"));
        }
    }

    /// The instance sees the drain tag through IMDS. It obeys only if it has no job.
    pub(super) fn instance_sees_drain(&mut self, id: InstanceId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        machine.drains = true;
        match (machine.fate, machine.stage) {
            (Fate::Deaf | Fate::Hangs, _) | (_, Stage::Working(_) | Stage::Hung | Stage::Ended) => {}
            _ => self.instance_ends_itself(&id, "it was drained"),
        }
    }

    pub(super) fn instance_gives_up(&mut self, id: InstanceId) {
        if self.machines.get(&id).is_some_and(|m| m.stage == Stage::Waiting) {
            self.instance_ends_itself(&id, "no configuration came");
        }
    }

    /// The instance stops doing anything. GitHub loses sight of the runner, and fails its job, if it had one.
    pub(super) fn instance_hangs(&mut self, id: &InstanceId) {
        let active = self.nature.luck.active;
        let hangs = |m: &Machine| m.stage == Stage::Registering || active && m.stage != Stage::Ended;
        let Some(machine) = self.machines.get_mut(id).filter(|m| hangs(m)) else { return };
        machine.stage = Stage::Hung;
        self.oracle.excuse_instance(id);
        if let Some(runner) = machine.runner {
            self.github.registry.lost(runner, &mut self.nature);
        }
        self.nature.say(format_args!("instance {id} hangs"));
    }

    /// Carries out a shutdown that was decided a moment ago, unless the runner has got a job since.
    pub(super) fn instance_powers_off(&mut self, id: &InstanceId, why: &'static str) {
        let kept = |m: &Machine| matches!(m.stage, Stage::Working(_) | Stage::Hung | Stage::Ended);
        if self.machines.get(id).is_some_and(|m| !kept(m)) {
            self.instance_ends_itself(id, why);
        }
    }

    fn instance_ends_itself(&mut self, id: &InstanceId, why: &'static str) {
        self.nature.say(format_args!("instance {id} ends itself: {why}"));
        self.instance_ends(id, "Client.InstanceInitiatedShutdown");
    }

    /// The instance ends, for whatever reason. GitHub loses the runner, and the runner's job fails, if it had one.
    pub(super) fn instance_ends(&mut self, id: &InstanceId, reason: &'static str) {
        let (oracle, truth) = self.judge();
        oracle.judge_end(id, truth);
        self.cloud.become_state(id, InstanceState::ShuttingDown, Some(reason), &mut self.nature);
        let Some(machine) = self.machines.get_mut(id) else { return };
        let hung = machine.stage == Stage::Hung;
        machine.stage = Stage::Ended;
        if let Some(runner) = machine.runner
            && !hung
        {
            self.github.registry.lost(runner, &mut self.nature);
        }
    }

    /// The runner's registration was deleted. Its session ends, its job fails, and the instance ends itself.
    pub(super) fn runner_loses_session(&mut self, id: &InstanceId) {
        let pause = self.instance_rng.within(Spread::secs(1, 5));
        let Some(machine) = self.machines.get_mut(id) else { return };
        match machine.stage {
            Stage::Working(job) => {
                machine.stage = Stage::Idle;
                self.nature.after(pause, Event::Finish(job, "failure"));
            }
            Stage::Idle => {}
            _ => return,
        }
        if machine.fate != Fate::Deaf {
            self.nature.after(pause, Event::PowerOff(id.clone(), "its registration was deleted"));
        }
    }

    /// EC2 gives its two-minute warning. An instance without a job ends itself at once; one with a job works on.
    pub(super) fn instance_is_warned(&mut self, id: InstanceId) {
        // A warning that was planned for after the end of the faults does not come.
        let active = self.nature.luck.active;
        let comes = !self.nature.hits(Fault::FalseWarning);
        let Some(instance) = self.cloud.instance_mut(&id).filter(|i| i.live() && active) else { return };
        instance.interrupted = comes;
        self.oracle.excuse_instance(&id);
        self.nature.say(format_args!("spot warns {id}"));
        self.cloud.notify(Ec2Event { instance: id.clone(), kind: Ec2EventKind::SpotInterruption }, &mut self.nature);
        if !comes {
            return;
        }
        self.nature.after(Duration::from_secs(4), Event::PowerOff(id.clone(), "spot takes it back"));
        self.nature.after(SPOT_NOTICE, Event::Reclaimed(id));
    }

    pub(super) fn instance_is_reclaimed(&mut self, id: &InstanceId) {
        let active = self.nature.luck.active;
        if self.cloud.instance_mut(id).is_some_and(|i| i.live() && (active || i.interrupted)) {
            self.oracle.excuse_instance(id);
            self.nature.say(format_args!("spot takes {id}"));
            self.instance_ends(id, "Server.SpotInstanceTermination");
        }
    }
}
