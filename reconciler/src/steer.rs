//! What an operator may ask of a running controller: that a pool launches nothing for now, and that runners end. The controller
//! takes an order in `controller/orders.rs`.
//!
//! An order changes what a plan is made from, and never what a plan may do. A drain that an operator orders is a drain like any
//! other: the instance answers it, so the order never ends a runner that may have a job. A rerun that an operator orders goes the way of
//! `spec.rerun`: GitHub is asked once the run is over, and only if nobody has begun a newer attempt.
//!
//! A pause has to outlive the process. Whoever runs the core keeps the pause, and hands it to the next process with
//! [`Controller::set_paused`](crate::controller::Controller::set_paused). The tag of the instance keeps a drain, once EC2 has taken
//! the tag.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, JobId, PoolName};
use crate::time::Time;

/// A pool that launches nothing until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// When the operator paused the pool. In JSON, milliseconds since 1970.
    pub since: Time,
    /// The reason in the operator's words, which may be empty.
    #[serde(default)]
    pub why: String,
}

/// An order of an operator. A text in it is the reason, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Launch nothing for a pool. Its runners stay, take jobs and end as before.
    Pause(PoolName, String),
    /// Launch for the pool again.
    Resume(PoolName),
    /// Let one runner end once it is idle.
    DrainRunner(InstanceId, String),
    /// Let all runners that the pool has now end once they are idle. New ones are launched unless the pool is paused.
    DrainPool(PoolName, String),
    /// Have GitHub run a lost job again, with the other lost jobs of its run.
    RerunJob(JobId, String),
    /// Have GitHub run again all lost jobs of a pool.
    RerunPool(PoolName, String),
}

impl Order {
    /// The order, without the operator's words.
    #[must_use]
    pub(crate) fn without_reason(mut self) -> Order {
        match &mut self {
            Order::Pause(_, why)
            | Order::DrainRunner(_, why)
            | Order::DrainPool(_, why)
            | Order::RerunJob(_, why)
            | Order::RerunPool(_, why) => why.clear(),
            Order::Resume(_) => {}
        }
        self
    }
}
