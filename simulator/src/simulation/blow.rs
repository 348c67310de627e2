//! What can befall a machine at a chosen moment, for tests that strike one.

use std::time::Duration;

use muster_reconciler::ids::InstanceId;

use super::Simulation;
use crate::event::{Deadline, Event};

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
}

impl Simulation {
    /// Strikes an instance now. Faults must not be over: spot takes nothing back then.
    pub fn strike(&mut self, id: &InstanceId, blow: Blow) {
        let event = match blow {
            Blow::Warning => Event::Warning(id.clone()),
            Blow::Reclaim => Event::Reclaimed(id.clone()),
            Blow::Hang => Event::Act(id.clone(), Deadline::Hang),
            Blow::HostFailure => return self.struck_down(id, "Server.InternalError"),
            Blow::Termination => return self.struck_down(id, "Client.UserInitiatedShutdown"),
            Blow::Shutdown => return self.struck_down(id, "Client.InstanceInitiatedShutdown"),
        };
        self.nature.after(Duration::ZERO, event);
    }

    fn struck_down(&mut self, id: &InstanceId, reason: &'static str) {
        self.oracle.excuse_instance(id);
        self.nature.say(format_args!("instance {id} is struck down: {reason}"));
        self.instance_ends(id, reason);
    }
}
