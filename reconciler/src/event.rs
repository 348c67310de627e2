//! The events that reach muster: GitHub's `workflow_job` events and EC2's notifications, reduced to the fields that decide
//! something.
//!
//! Events are hints. Every event may be lost, doubled, late or out of order.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, JobId, RunId, RunnerId};
use crate::time::Time;

/// The state of a job. A job only moves forward in this order, so the greater of two sightings is the newer state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The job wants a runner.
    #[default]
    Queued,
    /// The job has a runner.
    InProgress,
    /// The job is over: done, cancelled or skipped.
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

/// One `workflow_job` event, as a message of the queue holds it (version 1): a few hundred bytes of a 12 KB payload.
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_job>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// GitHub's job id.
    pub job: JobId,
    /// The workflow run of the job.
    pub run: RunId,
    /// The state that the event tells.
    pub state: JobState,
    /// GitHub says that the queued job may not start yet: `waiting`, `pending` or `requested`, as the event's action or as the
    /// job's status. A release that does not know this field takes the job for one that may start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Which attempt of the run the job belongs to: 1 for the first, one more for each rerun. None: the event did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The organisation's login, if the repository belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The enterprise's slug, if GitHub sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<String>,
    /// The labels of the job's `runs-on`.
    pub labels: Vec<String>,
    /// The name of the runner that took the job. None: no runner has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// GitHub's id of that runner. Whoever registers a runner chooses its name, but GitHub gives the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<RunnerId>,
    /// The conclusion: `success`, `failure`, `cancelled` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    /// When GitHub made the job, by GitHub's clock, to the second. It tells how long the job waited, and whether news of the job
    /// is old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Time>,
    /// When a runner took the job, by the same clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// What people call the job. No decision reads it.
    #[serde(default, skip_serializing_if = "JobAbout::is_empty")]
    pub about: JobAbout,
}

/// What people call a job, and the commit that it builds. Whoever may push to the repository chooses these texts, so the message
/// bounds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct JobAbout {
    /// The name of the workflow, such as `CI`. Empty: the event did not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow: String,
    /// The name of the job, such as `build (arm64)`. Empty: the event did not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The branch or tag of the run. Empty: the event did not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// The commit, in hexadecimal. Empty: the event did not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha: String,
}

impl JobAbout {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == JobAbout::default()
    }

    /// The workflow and the job, such as `CI / build (arm64)`. Empty: neither is known.
    pub fn title(&self) -> String {
        let known = [&self.workflow, &self.name].into_iter().filter(|text| !text.is_empty());
        known.map(String::as_str).collect::<Vec<_>>().join(" / ")
    }
}

impl JobEvent {
    /// Whether the job belongs to a run that was run again.
    pub fn is_rerun(&self) -> bool {
        self.attempt.is_some_and(|attempt| attempt > 1)
    }
}

/// An EC2 notification, through EventBridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ec2Event {
    /// The instance that the notification is about. It need not be one of muster's.
    pub instance: InstanceId,
    /// What EC2 notifies of.
    pub kind: Ec2EventKind,
}

/// What EC2 notifies of.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ec2EventKind {
    /// `EC2 Spot Instance Interruption Warning`: EC2 takes the instance back in two minutes.
    SpotInterruption,
    /// `EC2 Instance Rebalance Recommendation`: an interruption warning may follow.
    Rebalance,
    /// `EC2 Instance State-change Notification`.
    State(InstanceState),
}

/// EC2's instance states.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// The instance starts.
    Pending,
    /// The instance is up.
    Running,
    /// The instance is being terminated.
    ShuttingDown,
    /// The instance has ended. EC2 shows it for about an hour more.
    Terminated,
    /// The instance is being stopped.
    Stopping,
    /// The instance is stopped. muster never stops an instance, so somebody else did.
    Stopped,
}

impl InstanceState {
    /// Whether the instance is neither ended nor about to end.
    pub const fn is_up(self) -> bool {
        matches!(self, InstanceState::Pending | InstanceState::Running)
    }
}
