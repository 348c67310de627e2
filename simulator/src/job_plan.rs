//! A job that will be queued. Scenarios, workloads and traces are made of such jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::time::Time;

use crate::times::{since_begin, spans};

/// A job that will be queued, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JobPlan {
    /// When the job is queued. A scenario's file gives the time from the start of the run.
    #[serde(with = "since_begin")]
    pub at: Time,
    /// How long the job runs.
    #[serde(with = "spans")]
    pub takes: Duration,
    /// The job's `runs-on`.
    pub labels: Vec<String>,
    /// The job's repository, as `OWNER/NAME`.
    pub repo: String,
    /// The job is cancelled if it is still queued after this time. None: nobody cancels it.
    #[serde(default, with = "spans::optional", skip_serializing_if = "Option::is_none")]
    pub cancel_after: Option<Duration>,
}
