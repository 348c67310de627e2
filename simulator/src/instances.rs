//! The instances: each boots, reads and deletes its secret, registers, takes a job and ends itself. Only the instance knows
//! that it is idle. An instance does an `Deadline` when its time has come, and answers with a `Deed`, which the caller applies to
//! EC2 and GitHub.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::effect::Configure;
use muster_reconciler::ids::{InstanceId, JobId, RunnerId};
use muster_reconciler::verdict::Cause;

use crate::cloud::Secret;
use crate::event::{Deadline, Event};
use crate::faults::Fault;
use crate::job_end::JobEnd;
use crate::nature::Nature;
use crate::registry::Registry;
use crate::rng::{Rng, Spread};

/// How long an instance waits for its configuration before it ends itself.
const CONFIGURATION_WAIT: Duration = Duration::from_secs(600);
/// How often an instance tries to reach GitHub, every 15 s, before it ends itself.
const CONNECT_TRIES: u32 = 20;
const CONNECT_AGAIN: Duration = Duration::from_secs(15);

/// One instance, from the moment when it runs at EC2.
#[derive(Debug)]
pub struct Machine {
    stage: BootStage,
    runner: Option<RunnerId>,
    ephemeral: bool,
    fate: Fate,
    drains: bool,
    /// How many jobs began on the instance.
    jobs: u32,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootStage {
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
    /// How far the instance has come.
    pub fn stage(&self) -> BootStage {
        self.stage
    }

    /// The id of the runner's registration at GitHub. None before the instance has read it.
    pub(super) fn runner(&self) -> Option<RunnerId> {
        self.runner
    }

    /// Whether the runner is online and may take a job.
    pub(super) fn fresh(&self) -> bool {
        self.stage == BootStage::Idle && (self.jobs == 0 || !self.ephemeral)
    }

    /// Whether this is the only job that the instance will ever run.
    pub(super) fn runs_only(&self, job: JobId) -> bool {
        self.stage == BootStage::Working(job) && self.ephemeral
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

/// What an instance does to the world around it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Deed {
    /// Nothing that anybody else notices.
    Nothing,
    /// The instance will do late, or never, what it was launched for.
    Fails,
    /// The runner comes online at GitHub.
    Online,
    /// GitHub refuses the runner, because of an outage or because the registration was replaced. So the instance ends itself.
    Refused,
    /// The instance ends itself, for this reason.
    EndsItself(&'static str),
    /// The instance does nothing any more. GitHub loses its runner, if it had one.
    Hangs(Option<RunnerId>),
}

/// The instances that EC2 has started and that are not terminated.
#[derive(Debug)]
pub struct Machines {
    all: BTreeMap<InstanceId, Machine>,
    rng: Rng,
}

impl Machines {
    pub(super) fn new(rng: Rng) -> Machines {
        Machines { all: BTreeMap::new(), rng }
    }

    pub(super) fn get(&self, id: &InstanceId) -> Option<&Machine> {
        self.all.get(id)
    }

    fn at(&mut self, id: &InstanceId, stage: BootStage) -> Option<&mut Machine> {
        self.all.get_mut(id).filter(|m| m.stage == stage)
    }

    /// EC2 has started the instance, which begins to boot. `draining`: it has the drain tag already.
    pub(super) fn starts(&mut self, id: &InstanceId, draining: bool, nature: &mut Nature) -> Deed {
        let mut fate = Fate::Healthy;
        for (fault, brings) in FATES {
            if nature.hits(fault) && fate == Fate::Healthy {
                fate = brings;
            }
        }
        let slow = nature.strikes(Fault::BootSlow).map(|mut r| 3 + u32::try_from(r.below(12)).unwrap_or(0));
        let stage = BootStage::Booting;
        let machine = Machine { stage, runner: None, ephemeral: true, fate, drains: false, jobs: 0 };
        self.all.insert(id.clone(), machine);
        if draining {
            // The instance sees the tag when it has booted.
            let seen = self.rng.within(nature.takes().boot);
            nature.act_after(seen, id, Deadline::SeeDrain);
        }
        let boot = self.rng.within_tail(nature.takes().boot) * slow.unwrap_or(1);
        match fate {
            Fate::Hangs => {}
            Fate::FailsToBoot => nature.act_after(boot, id, Deadline::PowerOff("the boot failed")),
            _ => nature.act_after(boot, id, Deadline::Boot),
        }
        let fails = fate != Fate::Healthy && fate != Fate::Deaf || slow.is_some();
        if fails { Deed::Fails } else { Deed::Nothing }
    }

    /// An instance does what it had planned. `secrets` are those in SSM.
    pub(super) fn act(
        &mut self,
        id: &InstanceId,
        act: Deadline,
        secrets: &mut BTreeMap<InstanceId, Secret>,
        registry: &mut Registry,
        nature: &mut Nature,
    ) -> Deed {
        match act {
            Deadline::Boot => {
                let Some(machine) = self.at(id, BootStage::Booting) else { return Deed::Nothing };
                machine.stage = BootStage::Waiting;
                nature.act_after(CONFIGURATION_WAIT, id, Deadline::GiveUp);
                self.fetches(id, secrets, registry, nature)
            }
            Deadline::Fetch => self.fetches(id, secrets, registry, nature),
            Deadline::Register { tries } => self.registers(id, tries, registry, nature),
            Deadline::SeeDrain => self.sees_drain(id),
            Deadline::GiveUp if self.at(id, BootStage::Waiting).is_some() => Deed::EndsItself("no configuration came"),
            Deadline::GiveUp => Deed::Nothing,
            Deadline::Hang => self.hangs(id, nature),
            Deadline::PowerOff(why) => self.powers_off(id, why),
        }
    }

    /// The instance reads its secret, if there is one, and deletes it.
    fn fetches(
        &mut self,
        id: &InstanceId,
        secrets: &mut BTreeMap<InstanceId, Secret>,
        registry: &mut Registry,
        nature: &mut Nature,
    ) -> Deed {
        let Some(machine) = self.all.get_mut(id).filter(|m| m.stage == BootStage::Waiting) else { return Deed::Nothing };
        if machine.fate == Fate::CannotFetch && secrets.contains_key(id) {
            return Deed::EndsItself("it may not read its secret");
        }
        let Some(Secret { runner, configure, .. }) = secrets.remove(id) else { return Deed::Nothing };
        machine.stage = BootStage::Registering;
        machine.ephemeral = configure.ephemeral;
        // With a registration token, the instance registers itself, and replaces an offline registration of the same name.
        machine.runner = match runner {
            Some(minted) => Some(minted),
            None if nature.github_down() => None,
            None => registry.mint(&Configure { replace: true, ..(*configure).clone() }, nature).ok(),
        };
        let takes = self.rng.within_tail(nature.takes().register);
        let next = match machine.fate {
            Fate::CannotRegister => Deadline::PowerOff("it could not register"),
            Fate::HangsRegistering => Deadline::Hang,
            _ => Deadline::Register { tries: 0 },
        };
        nature.act_after(takes, id, next);
        Deed::Nothing
    }

    /// A secret was written. An instance that waits for it sees it within two seconds.
    pub(super) fn may_fetch(&mut self, id: &InstanceId, nature: &mut Nature) {
        let delay = self.rng.within(Spread::millis(0, 2000));
        if self.at(id, BootStage::Waiting).is_some() {
            nature.act_after(delay, id, Deadline::Fetch);
        }
    }

    fn registers(&mut self, id: &InstanceId, tries: u32, registry: &mut Registry, nature: &mut Nature) -> Deed {
        let Some(machine) = self.at(id, BootStage::Registering) else { return Deed::Nothing };
        if nature.github_down() && machine.runner.is_some() && tries < CONNECT_TRIES {
            nature.act_after(CONNECT_AGAIN, id, Deadline::Register { tries: tries + 1 });
            return Deed::Nothing;
        }
        let online = !nature.github_down() && machine.runner.is_some_and(|r| registry.connect(r, nature));
        if !online {
            return Deed::Refused;
        }
        machine.stage = BootStage::Idle;
        if let Some(mut r) = nature.strikes(Fault::OnlineHang) {
            nature.act_after(r.within(Spread::secs(2, 600)), id, Deadline::Hang);
        }
        Deed::Online
    }

    /// GitHub has given the instance's runner a job.
    pub(super) fn takes(&mut self, id: &InstanceId, job: JobId) {
        if let Some(machine) = self.all.get_mut(id) {
            machine.stage = BootStage::Working(job);
            machine.jobs += 1;
        }
    }

    /// GitHub has given the instance's runner a job, and the runner dies before the job begins.
    pub(super) fn dies_at_once(&mut self, id: &InstanceId, nature: &mut Nature) {
        let soon = self.rng.within(Spread::secs(1, 10));
        nature.act_after(soon, id, Deadline::PowerOff("its runner died before its job began"));
    }

    /// The runner's job is over. An ephemeral runner's instance ends itself; a reusable runner waits for its next job.
    pub(super) fn is_done(&mut self, id: &InstanceId, nature: &mut Nature) {
        let pause = self.rng.within(Spread::millis(500, 4000));
        let Some(machine) = self.all.get_mut(id).filter(|m| matches!(m.stage, BootStage::Working(_))) else { return };
        machine.stage = BootStage::Idle;
        if (machine.ephemeral || machine.drains) && machine.fate != Fate::Deaf {
            nature.act_after(pause, id, Deadline::PowerOff("its job is done"));
        }
    }

    /// The instance has got the drain tag, which it sees a little later through IMDS.
    pub(super) fn is_tagged(&mut self, id: &InstanceId, nature: &mut Nature) {
        let seen = self.rng.within(nature.takes().drain_seen);
        let late = nature.strikes(Fault::LateDrain).map(|mut r| r.within(Spread::secs(30, 500)));
        nature.act_after(seen + late.unwrap_or_default(), id, Deadline::SeeDrain);
    }

    /// The instance obeys its drain tag only if it has no job.
    fn sees_drain(&mut self, id: &InstanceId) -> Deed {
        let Some(machine) = self.all.get_mut(id) else { return Deed::Nothing };
        machine.drains = true;
        match (machine.fate, machine.stage) {
            (Fate::Deaf | Fate::Hangs, _) | (_, BootStage::Working(_) | BootStage::Hung | BootStage::Ended) => Deed::Nothing,
            _ => Deed::EndsItself("it was drained"),
        }
    }

    fn hangs(&mut self, id: &InstanceId, nature: &Nature) -> Deed {
        let hangs = |m: &Machine| m.stage == BootStage::Registering || nature.luck.active && m.stage != BootStage::Ended;
        let Some(machine) = self.all.get_mut(id).filter(|m| hangs(m)) else { return Deed::Nothing };
        machine.stage = BootStage::Hung;
        Deed::Hangs(machine.runner)
    }

    /// Carries out a shutdown that was decided a moment ago, unless the runner has got a job since.
    fn powers_off(&self, id: &InstanceId, why: &'static str) -> Deed {
        match self.all.get(id).map(|m| m.stage) {
            None | Some(BootStage::Working(_) | BootStage::Hung | BootStage::Ended) => Deed::Nothing,
            Some(_) => Deed::EndsItself(why),
        }
    }

    /// The instance ends, for whatever reason. Returns the runner that GitHub loses by it.
    pub(super) fn ends(&mut self, id: &InstanceId) -> Option<RunnerId> {
        let machine = self.all.get_mut(id)?;
        let before = std::mem::replace(&mut machine.stage, BootStage::Ended);
        machine.runner.filter(|_| before != BootStage::Hung)
    }

    /// EC2 has terminated the instance.
    pub(super) fn is_gone(&mut self, id: &InstanceId) {
        self.all.remove(id);
    }

    /// The runner's registration was deleted. Its session ends, its job fails, and the instance ends itself.
    pub(super) fn loses_session(&mut self, id: &InstanceId, nature: &mut Nature) {
        let pause = self.rng.within(Spread::secs(1, 5));
        let Some(machine) = self.all.get_mut(id) else { return };
        match machine.stage {
            BootStage::Working(job) => {
                machine.stage = BootStage::Idle;
                nature.after(pause, Event::Finish(job, JobEnd::CutShort));
            }
            BootStage::Idle => {}
            _ => return,
        }
        if machine.fate != Fate::Deaf {
            nature.act_after(pause, id, Deadline::PowerOff("its registration was deleted"));
        }
    }
}

/// Whether a machine fails under its job, which takes so long: after which time, and by what.
pub(super) fn breaks(takes: Duration, nature: &mut Nature) -> Option<(Duration, Cause)> {
    let causes = [(Fault::WorkerCrash, Cause::Crashed), (Fault::DiskFull, Cause::DiskFull)];
    let struck =
        causes.map(|(fault, cause)| Some((nature.strikes(fault)?.within(Spread { low: Duration::ZERO, high: takes }), cause)));
    struck.into_iter().flatten().min()
}
