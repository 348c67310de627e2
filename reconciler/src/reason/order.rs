//! The answer to an operator who gives an order ([`crate::steer`]).

use std::fmt;

use super::{count, words};
use crate::ids::{InstanceId, JobId, PoolName};
use crate::steer::Pause;

/// What comes of an order that the controller takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderAnswer {
    /// The pool launches nothing from now on.
    Paused(PoolName, Pause),
    /// The pool was paused before. The first pause stays.
    PausedBefore(PoolName, Pause),
    /// The pool launches again.
    Resumed(PoolName),
    /// The pool was not paused.
    NotPaused(PoolName),
    /// The runner is asked to end.
    RunnerAsked(InstanceId),
    /// The runner was asked to end before.
    RunnerAskedBefore(InstanceId),
    /// The runner's instance is gone.
    RunnerGone(InstanceId),
    /// The runners of a pool are asked to end.
    PoolAsked {
        /// The pool.
        pool: PoolName,
        /// The number of runners that are asked. Instances of launches without an answer count, too.
        runners: u64,
        /// Whether the pool is paused, and so launches no others.
        paused: bool,
    },
    /// Lost jobs are to run again.
    JobsAgain {
        /// The number of lost jobs.
        jobs: u64,
    },
    /// The lost job was to run again already.
    JobAgainBefore(JobId),
}

words! { OrderAnswer {
    Paused => "paused",
    PausedBefore => "paused_before",
    Resumed => "resumed",
    NotPaused => "not_paused",
    RunnerAsked => "runner_asked",
    RunnerAskedBefore => "runner_asked_before",
    RunnerGone => "runner_gone",
    PoolAsked => "pool_asked",
    JobsAgain => "jobs_again",
    JobAgainBefore => "job_again_before",
}}

impl fmt::Display for OrderAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderAnswer::Paused(pool, _) => write!(f, "pool {pool} is paused: it launches nothing, and its runners keep running"),
            OrderAnswer::PausedBefore(pool, _) => write!(f, "pool {pool} was paused already"),
            OrderAnswer::Resumed(pool) => write!(f, "pool {pool} launches again"),
            OrderAnswer::NotPaused(pool) => write!(f, "pool {pool} was not paused"),
            OrderAnswer::RunnerAsked(id) => write!(f, "runner {id} is asked to end once it is idle; a job on it runs to its end"),
            OrderAnswer::RunnerAskedBefore(id) => write!(f, "runner {id} was already asked to end"),
            OrderAnswer::RunnerGone(id) => write!(f, "runner {id} is gone already"),
            OrderAnswer::PoolAsked { pool, runners, paused } => {
                let when = if *runners == 1 { "is asked to end once it is idle" } else { "are asked to end once they are idle" };
                let others = if *paused { "" } else { "; new ones are launched for jobs, because the pool is not paused" };
                write!(f, "{} of pool {pool} {when}{others}", count(*runners, "runner"))
            }
            OrderAnswer::JobsAgain { jobs } => write!(
                f,
                "GitHub is asked to run {} again once {} over, unless somebody else does",
                count(*jobs, "lost job"),
                if *jobs == 1 { "its run is" } else { "their runs are" }
            ),
            OrderAnswer::JobAgainBefore(job) => write!(f, "job {job} is to run again already"),
        }
    }
}

/// Why the controller does not take an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// No manifest and no runner names this pool. The second field lists the pools.
    #[error("there is no pool `{0}`; the pools are {1}")]
    NoPool(PoolName, String),
    /// No runner with this instance id is known.
    #[error("there is no runner `{0}`; a runner is forgotten a minute after its instance is gone")]
    NoRunner(InstanceId),
    /// The job was not lost, or GitHub was asked to run it again, or muster has forgotten it.
    #[error(
        "job {0} cannot be run again from here: only jobs that went down with their machine can, once, and until muster restarts"
    )]
    NotLost(JobId),
    /// No job of the pool was lost.
    #[error("no lost job of pool `{0}` waits to be run again")]
    NothingLost(PoolName),
}
