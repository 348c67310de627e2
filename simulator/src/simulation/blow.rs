//! What can befall a machine at a chosen moment, for tests that strike one.

use std::time::Duration;

use muster_reconciler::event::JobState;
use muster_reconciler::ids::{InstanceId, JobId, RunnerName};
use muster_reconciler::verdict::Cause;

use super::Simulation;
use crate::event::{Deadline, Event};
use crate::instances::{BootStage, Machine};
use crate::job_end::JobEnd;

/// What befalls a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Spot warns the instance, and takes it back two minutes later.
    Warning,
    /// Spot takes the instance back without a warning.
    Reclaim,
    /// The instance's host fails, and EC2 ends the instance.
    HostFailure,
    /// Somebody terminates the instance.
    Termination,
    /// The instance shuts down from within, with a job on it.
    Shutdown,
    /// The instance does nothing any more, and stays.
    Hang,
    /// The runner's worker crashes, and the instance ends itself in order.
    Crash,
    /// The instance's disk is full, and the instance ends itself in order.
    FullDisk,
}

impl Simulation {
    /// Strikes an instance now. Faults must not be over: spot takes nothing back then.
    pub fn strike(&mut self, id: &InstanceId, blow: Blow) {
        let event = match blow {
            Blow::Warning => Event::Warning(id.clone()),
            Blow::Reclaim => Event::Reclaimed(id.clone()),
            Blow::Hang => Event::Act(id.clone(), Deadline::Hang),
            Blow::Crash | Blow::FullDisk => {
                let cause = if blow == Blow::Crash { Cause::Crashed } else { Cause::DiskFull };
                let working = self.machines.get(id).map(Machine::stage);
                return if let Some(BootStage::Working(job)) = working {
                    self.machine_breaks(job, cause)
                };
            }
            Blow::HostFailure => return self.struck_down(id, "Server.InternalError"),
            Blow::Termination => return self.struck_down(id, "Client.UserInitiatedShutdown"),
            Blow::Shutdown => return self.struck_down(id, "Client.InstanceInitiatedShutdown"),
        };
        self.nature.after(Duration::ZERO, event);
    }

    /// A machine fails under its job, and its instance knows that. A reusable runner goes on with its next job, and a runner that is
    /// not ours tells nobody.
    pub(super) fn machine_breaks(&mut self, job: JobId, cause: Cause) {
        let known = self.github.jobs().get(&job).filter(|known| known.state == JobState::InProgress);
        let name = known.and_then(|known| RunnerName::parse_ours(known.listed_runner()?, self.spec.controller.cluster()));
        let Some(RunnerName { pool, instance, .. }) = name.filter(|_| !self.github.has_lost_runner(job)) else { return };
        if !self.machines.get(&instance).is_some_and(|machine| machine.runs_only(job)) {
            return;
        }
        self.nature.say(format_args!("instance {instance} fails under job {job}: {cause}"));
        if self.spec.pools.get(&pool).is_some_and(|pool| pool.spec.bootstrap.report_stages) {
            self.cloud.tag_own_word(&instance, cause);
        } else {
            self.oracle.excuse_verdict(job);
        }
        self.finish_job(job, JobEnd::CutShort);
    }

    fn struck_down(&mut self, id: &InstanceId, reason: &'static str) {
        self.oracle.excuse_instance(id);
        self.nature.say(format_args!("instance {id} is struck down: {reason}"));
        self.instance_ends(id, reason);
    }
}
