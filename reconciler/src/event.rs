//! What was heard: GitHub's `workflow_job` events and EC2's notifications, reduced to what decides something.
//!
//! Events are hints. Everything here may be lost, doubled, late or out of order.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, JobId, RunId};
use crate::time::Time;

/// How far a job has come. A job only moves up this list, so the join of two sightings is their maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Wants a runner.
    #[default]
    Queued,
    /// Has one.
    InProgress,
    /// Is over: done, cancelled or skipped.
    Completed,
}

crate::shown!(JobState);

impl JobState {
    /// The word used in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::InProgress => "in_progress",
            JobState::Completed => "completed",
        }
    }
}

/// One `workflow_job` event, as it travels on the queue (version 1): a few hundred bytes of a 12 KB payload.
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_job>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// GitHub's job id.
    pub job: JobId,
    /// The workflow run that it belongs to.
    pub run: RunId,
    /// What happened.
    pub state: JobState,
    /// GitHub says that the queued job may not start yet: `waiting`, `pending` or `requested`, as the event's action or as the
    /// job's status. A release that does not know this field takes the job for one that may start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The organisation's login, if the repository belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The enterprise's slug, if GitHub sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<String>,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// The runner that took it, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// How it ended: `success`, `failure`, `cancelled` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    /// When GitHub made the job, by GitHub's clock, to the second. Tells how long it waited, and whether the news of it is old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Time>,
    /// When a runner took it, by the same clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// An EC2 notification, through EventBridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ec2Event {
    /// The instance that it is about; not necessarily ours.
    pub instance: InstanceId,
    /// What is said.
    pub kind: Ec2EventKind,
}

/// What EC2 notifies of.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ec2EventKind {
    /// `EC2 Spot Instance Interruption Warning`: two minutes left.
    SpotInterruption,
    /// `EC2 Instance Rebalance Recommendation`: a warning may follow.
    Rebalance,
    /// `EC2 Instance State-change Notification`.
    State(InstanceState),
}

/// EC2's instance states.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Starting.
    Pending,
    /// Up.
    Running,
    /// On its way to terminated.
    ShuttingDown,
    /// Ended; EC2 shows it for about an hour.
    Terminated,
    /// On its way to stopped.
    Stopping,
    /// Stopped. muster never stops a box; somebody did.
    Stopped,
}

impl InstanceState {
    /// Neither ended nor on its way out.
    pub const fn is_up(self) -> bool {
        matches!(self, InstanceState::Pending | InstanceState::Running)
    }
}
