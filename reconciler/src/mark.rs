//! The state of a job, a runner or a pool as people see it at a glance. Each mark has a word, a shape and a colour, the same
//! everywhere, so that trouble stands out and normality does not.

use serde::{Deserialize, Serialize};

use crate::reason::{Blocked, JobReason, PoolReason};
use crate::runner::Phase;

/// The state of a thing at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMark {
    /// Something is wrong, and somebody should look.
    Trouble,
    /// The thing waits for something that may last.
    Blocked,
    /// An operator paused the thing.
    Paused,
    /// The thing waits as usual.
    #[default]
    Waits,
    /// The thing starts.
    Starts,
    /// The thing works.
    Works,
    /// The thing is ready, and has nothing to do.
    Idle,
    /// The thing ends, or has ended.
    Ends,
}

crate::shown!(StateMark);

impl StateMark {
    /// All marks, the worst first.
    pub const ALL: [StateMark; 8] = [
        StateMark::Trouble,
        StateMark::Blocked,
        StateMark::Paused,
        StateMark::Waits,
        StateMark::Starts,
        StateMark::Works,
        StateMark::Idle,
        StateMark::Ends,
    ];

    /// The word used in JSON and in the page's style sheet.
    pub const fn as_str(self) -> &'static str {
        match self {
            StateMark::Trouble => "trouble",
            StateMark::Blocked => "blocked",
            StateMark::Paused => "paused",
            StateMark::Waits => "waits",
            StateMark::Starts => "starts",
            StateMark::Works => "works",
            StateMark::Idle => "idle",
            StateMark::Ends => "ends",
        }
    }

    /// How loud the mark is: `trouble`, `watch`, or nothing.
    pub const fn tone(self) -> &'static str {
        match self {
            StateMark::Trouble => "trouble",
            StateMark::Blocked | StateMark::Paused => "watch",
            _ => "",
        }
    }

    /// The mark of a job.
    pub const fn of_job(why: &JobReason) -> StateMark {
        match why {
            JobReason::Runs { .. } | JobReason::LeftQueue => StateMark::Works,
            JobReason::Over { .. } => StateMark::Ends,
            JobReason::Unmatched(_) | JobReason::NoPool { .. } | JobReason::NotServed { .. } => StateMark::Trouble,
            JobReason::Blocked { blocked, .. } => match blocked {
                Blocked::Pace | Blocked::Unseen | Blocked::Hidden { .. } => StateMark::Waits,
                _ => StateMark::Blocked,
            },
            // GitHub holds jobs back every day, as their authors want it.
            _ => StateMark::Waits,
        }
    }

    /// The mark of a runner.
    pub const fn of_runner(phase: Phase) -> StateMark {
        match phase {
            Phase::Failed | Phase::Interrupted => StateMark::Trouble,
            Phase::Launching | Phase::Booting | Phase::Configured => StateMark::Starts,
            Phase::Busy => StateMark::Works,
            Phase::Idle => StateMark::Idle,
            Phase::Draining | Phase::Terminating | Phase::Gone => StateMark::Ends,
        }
    }

    /// The mark of a pool. `waits` says whether a job waits for it, and `busy` whether a runner of the pool has one.
    pub const fn of_pool(why: &PoolReason, paused: bool, waits: bool, busy: bool) -> StateMark {
        match why {
            _ if paused => StateMark::Paused,
            PoolReason::NotServed(_) => StateMark::Trouble,
            PoolReason::Blocked(blocked) => match blocked {
                Blocked::Refused { .. } | Blocked::Backoff { .. } | Blocked::Trial { .. } | Blocked::Capacity { .. } => {
                    StateMark::Trouble
                }
                Blocked::Pace | Blocked::Unseen | Blocked::Hidden { .. } => StateMark::Starts,
                // A full pool that has work and no queue is as it should be.
                Blocked::Max if !waits => StateMark::Works,
                _ => StateMark::Blocked,
            },
            PoolReason::PoolGone { .. } => StateMark::Ends,
            PoolReason::Launching { .. } if !busy => StateMark::Starts,
            _ if busy => StateMark::Works,
            _ => StateMark::Idle,
        }
    }
}
