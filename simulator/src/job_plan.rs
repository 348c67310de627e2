//! A job to come. A scenario, a workload and a trace are made of these.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::time::Time;

use crate::times::{since_begin, spans};

/// A job to come, as data: what a run is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JobPlan {
    /// When it is queued; in a scenario, from the start of the run.
    #[serde(with = "since_begin")]
    pub at: Time,
    /// How long it runs.
    #[serde(with = "spans")]
    pub takes: Duration,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// `OWNER/NAME`.
    pub repo: String,
    /// Cancelled this long after it was queued, if it is still queued then.
    #[serde(default, with = "spans::optional", skip_serializing_if = "Option::is_none")]
    pub cancel_after: Option<Duration>,
}
