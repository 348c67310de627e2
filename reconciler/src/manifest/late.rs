//! What is done about a job that no runner takes in time: `startWithin`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// One step for a job that no runner has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LateStep {
    /// How long a job has asked for a runner. The time begins when muster first hears of the job, and begins anew when GitHub lets a
    /// held job go, when the job comes to another pool, when the pool's manifest changes, and when muster restarts.
    pub after: Span,
    /// What is done then.
    #[serde(rename = "do")]
    pub act: LateAct,
}

/// What is done about a job that no runner has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LateAct {
    /// A status on the job's commit at GitHub says why the job waits, without quoting AWS or GitHub. muster closes the status when no job of the commit waits.
    Tell,
    /// The job's instance is bought on-demand.
    OnDemand,
    /// Another pool that fits and has room takes the job.
    Overflow,
    /// GitHub is asked to cancel the job's whole run. A job that GitHub itself holds back is never cancelled.
    Cancel,
}

crate::shown!(LateAct);

impl LateAct {
    /// The word in manifests, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            LateAct::Tell => "tell",
            LateAct::OnDemand => "on-demand",
            LateAct::Overflow => "overflow",
            LateAct::Cancel => "cancel",
        }
    }
}

/// When a ladder takes a step. None: it has no such step.
pub fn late_after(ladder: &[LateStep], act: LateAct) -> Option<Duration> {
    ladder.iter().find(|step| step.act == act).map(|step| step.after.get())
}
