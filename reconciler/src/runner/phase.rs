//! What a runner is doing: one phase for every combination of evidence.

use serde::{Deserialize, Serialize};

/// What a runner is doing, as far as anybody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Launched by us; EC2 does not show it yet.
    #[default]
    Launching,
    /// EC2 shows it; its configuration is not minted.
    Booting,
    /// Its configuration is minted; it was never online.
    Configured,
    /// Online without a job.
    Idle,
    /// Has a job.
    Busy,
    /// Asked to end, and not known to have a job.
    Draining,
    /// EC2 takes it back.
    Interrupted,
    /// Never came online in time, or is online no more.
    Failed,
    /// On its way out.
    Terminating,
    /// No instance any more.
    Gone,
}

crate::shown!(Phase);

impl Phase {
    /// All, in the order of a life.
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

    /// Whether it can still take a job.
    pub const fn is_supply(self) -> bool {
        matches!(self, Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle)
    }
}

/// What EC2 evidence says, in what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ec2 {
    /// Launched by us, not shown yet, within EC2's lag.
    Requested,
    /// Never shown, but something else speaks of it.
    Unseen,
    /// Pending or running.
    Up,
    /// Shutting down, stopping or stopped; or EC2 accepted our terminate.
    Ending,
    /// Terminated, or absent.
    Ended,
}

/// What GitHub's evidence says, in what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    /// Not listed, and never known online.
    None,
    /// Listed, never known online.
    Waiting,
    /// Online, not busy.
    Idle,
    /// Online or offline, busy.
    Busy,
    /// Was online; now offline or no longer listed.
    Lost,
}

/// The evidence that decides a phase: small and finite, so that every combination is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// EC2's.
    pub ec2: Ec2,
    /// Minted.
    pub configured: bool,
    /// GitHub's list.
    pub seat: Seat,
    /// Events said that a job started, and not that it ended.
    pub job_running: bool,
    /// Events said that its only job is over.
    pub job_over: bool,
    /// Asked to end.
    pub draining: bool,
    /// EC2 takes it back.
    pub interrupted: bool,
    /// Past the boot deadline.
    pub overdue: bool,
}

/// One phase for every combination of evidence. The order of the rules is the argument: what EC2 ends is ending whatever
/// GitHub says; a possible job outranks everything that could lead to a runner's end.
pub fn phase(e: Evidence) -> Phase {
    if e.ec2 == Ec2::Ended {
        return Phase::Gone;
    }
    if e.ec2 == Ec2::Ending {
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
        Seat::None if e.ec2 == Ec2::Requested => Phase::Launching,
        Seat::None => Phase::Booting,
    }
}

#[cfg(test)]
mod tests;
