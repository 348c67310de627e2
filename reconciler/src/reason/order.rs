//! The answer to an operator who gives an order ([`crate::steer`]).

use std::fmt;

use super::{count, words};
use crate::ids::{InstanceId, PoolName};
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
}
