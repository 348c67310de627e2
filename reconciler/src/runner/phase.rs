//! What a runner is doing: one phase for every combination of evidence.

use serde::{Deserialize, Serialize};

/// What a runner is doing, as far as anybody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// muster launched the instance, and EC2 does not show it yet.
    #[default]
    Launching,
    /// EC2 shows the instance, and its configuration is not minted.
    Booting,
    /// The configuration is minted, and the runner was never online.
    Configured,
    /// The runner is online without a job.
    Idle,
    /// The runner has a job.
    Busy,
    /// The runner is asked to end, and is not known to have a job.
    Draining,
    /// EC2 takes the spot instance back.
    Interrupted,
    /// The runner never came online in time, or is online no more.
    Failed,
    /// The instance is ending, or the runner's only job is over.
    Terminating,
    /// There is no instance any more.
    Gone,
}

crate::shown!(Phase);

impl Phase {
    /// All phases, in the order of a runner's life.
    pub const ALL: [Phase; 10] = [
        Phase::Launching,
        Phase::Booting,
        Phase::Configured,
        Phase::Idle,
        Phase::Busy,
        Phase::Draining,
        Phase::Interrupted,
        Phase::Failed,
        Phase::Terminating,
        Phase::Gone,
    ];

    /// The word used in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Launching => "launching",
            Phase::Booting => "booting",
            Phase::Configured => "configured",
            Phase::Idle => "idle",
            Phase::Busy => "busy",
            Phase::Draining => "draining",
            Phase::Interrupted => "interrupted",
            Phase::Failed => "failed",
            Phase::Terminating => "terminating",
            Phase::Gone => "gone",
        }
    }

    /// Whether a runner in this phase can take a job, now or soon.
    pub const fn is_supply(self) -> bool {
        matches!(self, Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle)
    }
}

/// What EC2 says of the instance, as far as the phase depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ec2State {
    /// This process launched the instance, and EC2 does not show it yet.
    Requested,
    /// EC2 has never shown the instance, but another source speaks of the runner.
    Unseen,
    /// The instance is pending or running.
    Up,
    /// The instance is shutting down, stopping or stopped, or EC2 accepted our TerminateInstances.
    Ending,
    /// The instance is terminated or absent.
    Ended,
}

/// What GitHub says of the runner, as far as the phase depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    /// The runner was never known to be online. No list shows it, or its row may be what a failed configuration left.
    None,
    /// A list shows the runner, which was never known to be online.
    Waiting,
    /// The runner is online and not busy.
    Idle,
    /// The runner is busy, online or offline.
    Busy,
    /// The runner was online, and is now offline or no longer listed.
    Lost,
}

/// The evidence that decides a phase. The evidence is small and finite, so that every combination is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What EC2 says.
    pub ec2: Ec2State,
    /// Whether the configuration is minted.
    pub configured: bool,
    /// What GitHub's list says.
    pub seat: Seat,
    /// Whether events said that a job started, and not that it ended.
    pub job_running: bool,
    /// Whether events said that the runner's only job is over.
    pub job_over: bool,
    /// Whether the runner is asked to end.
    pub draining: bool,
    /// Whether EC2 takes the spot instance back.
    pub interrupted: bool,
    /// Whether the boot deadline has passed without the runner being online.
    pub overdue: bool,
}

/// Gives one phase to every combination of evidence. The order of the rules matters. What EC2 ends is ending, whatever GitHub
/// says. A possible job outranks everything that could lead to the runner's end.
pub fn phase(e: Evidence) -> Phase {
    if e.ec2 == Ec2State::Ended {
        return Phase::Gone;
    }
    if e.ec2 == Ec2State::Ending {
        return Phase::Terminating;
    }
    if e.interrupted {
        return Phase::Interrupted;
    }
    if e.job_over {
        return Phase::Terminating;
    }
    if e.job_running || e.seat == Seat::Busy {
        return Phase::Busy;
    }
    if e.draining {
        return Phase::Draining;
    }
    match e.seat {
        Seat::Idle => Phase::Idle,
        Seat::Lost => Phase::Failed,
        Seat::Busy => Phase::Busy,
        Seat::None | Seat::Waiting if e.overdue => Phase::Failed,
        Seat::Waiting => Phase::Configured,
        Seat::None if e.configured => Phase::Configured,
        Seat::None if e.ec2 == Ec2State::Requested => Phase::Launching,
        Seat::None => Phase::Booting,
    }
}

#[cfg(test)]
mod tests;
