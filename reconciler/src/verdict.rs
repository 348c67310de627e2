//! Was it the job or the machine? What the machine's end and the job's steps say of a job that did not succeed.
//!
//! A conclusion alone proves nothing: a job that spot cut short is `failure` or `cancelled`, and so is one that failed by itself or that
//! a person cancelled. So two things must agree: something speaks against the machine
//! ([`Runner::suspect`](crate::runner::Runner::suspect)), and the job's steps show that the job was cut short ([`judge`]). Where they do
//! not, the verdict is `own` or `unknown`.
//!
//! Decision 0025.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was done to the machine under a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Spot took the instance back.
    Interruption,
    /// EC2 ended the instance for a reason of its own, such as a host that failed.
    Ec2,
    /// muster ended the instance, for one because it had reached its pool's `maxLifetime`.
    Muster,
    /// Somebody else ended the instance.
    Terminated,
    /// The instance or its runner was silent before the job's end was told, and nobody said why.
    Lost,
    /// The runner program crashed, as its instance told.
    Crashed,
    /// The instance's disk was full, as the instance told.
    DiskFull,
}

crate::shown!(Cause);

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 7] =
        [Cause::Interruption, Cause::Ec2, Cause::Muster, Cause::Terminated, Cause::Lost, Cause::Crashed, Cause::DiskFull];

    /// The word in manifests, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Interruption => "interruption",
            Cause::Ec2 => "ec2",
            Cause::Muster => "muster",
            Cause::Terminated => "terminated",
            Cause::Lost => "lost",
            Cause::Crashed => "crashed",
            Cause::DiskFull => "disk-full",
        }
    }

    /// What happened, as a clause.
    pub const fn said(self) -> &'static str {
        match self {
            Cause::Interruption => "spot took its instance back",
            Cause::Ec2 => "EC2 ended its instance for a reason of its own",
            Cause::Muster => "muster ended its instance",
            Cause::Terminated => "somebody ended its instance",
            Cause::Lost => "its runner fell silent before the job's end was told",
            Cause::Crashed => "its runner crashed",
            Cause::DiskFull => "the disk of its instance was full",
        }
    }

    /// What an instance says against itself in the tag `muster:stages`, beside its stages: `crashed=TIME` or `disk-full=TIME`. An
    /// instance says this when it ends, where the pool's `bootstrap.reportStages` is on.
    pub fn of_tag(text: &str) -> Option<Cause> {
        let said =
            |word: &str| text.split(',').any(|part| part.trim().strip_prefix(word).is_some_and(|rest| rest.starts_with('=')));
        [Cause::DiskFull, Cause::Crashed].into_iter().find(|cause| said(cause.as_str()))
    }
}

/// What ended a job that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "cause", rename_all = "snake_case")]
pub enum JobVerdict {
    /// The machine went, and took the job with it.
    Infrastructure(Cause),
    /// The job failed by itself, or somebody cancelled it. Nothing speaks against the machine, as far as the machine tells.
    Own,
    /// muster cannot tell.
    Unknown(Doubtful),
}

impl JobVerdict {
    /// What was done to the machine, or seems to have been. None: nothing speaks against it.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            JobVerdict::Infrastructure(cause) | JobVerdict::Unknown(Doubtful::Steps(cause) | Doubtful::Untold(cause)) => {
                Some(cause)
            }
            JobVerdict::Own | JobVerdict::Unknown(Doubtful::Machine) => None,
        }
    }

    /// The word in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobVerdict::Infrastructure(_) => "infrastructure",
            JobVerdict::Own => "own",
            JobVerdict::Unknown(_) => "unknown",
        }
    }
}

/// Why muster cannot tell what ended a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubtful {
    /// The machine went, but the job's steps do not show whether the job was over before.
    Steps(Cause),
    /// The machine went, and GitHub did not tell the job's steps.
    Untold(Cause),
    /// Nobody told what became of the machine.
    Machine,
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A step of the workflow, or the runner's own first one.
    Main,
    /// The cleaning up after a step. GitHub names it `Post ...`.
    Post,
    /// The runner's own last step, `Complete job`.
    Last,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// The step succeeded.
    Success,
    /// The step failed, or took too long.
    Failure,
    /// The step was cancelled while it ran.
    Cancelled,
    /// The step did not run.
    Skipped,
    /// The job is over, and GitHub never heard of the step's end.
    Unfinished,
}

/// What is known of an instance's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineEnd {
    /// EC2's reason. None: EC2 has told none.
    pub reason: Option<String>,
    /// What the instance said against itself.
    pub own_word: Option<Cause>,
}

impl MachineEnd {
    /// What speaks against the machine. None: nothing.
    pub fn suspect(&self) -> Option<Cause> {
        self.reason.as_deref().and_then(blames).or(self.own_word)
    }

    /// Whether the instance shut itself down, as it does when its job is over.
    pub fn by_itself(&self) -> bool {
        self.reason.as_deref().is_some_and(by_itself)
    }
}

/// What EC2's reason for an instance's end says against it. None: nothing, or EC2 has told none.
pub fn blames(reason: &str) -> Option<Cause> {
    if reason.starts_with("Server.Spot") {
        Some(Cause::Interruption)
    } else if reason.starts_with("Server.") {
        Some(Cause::Ec2)
    } else {
        reason.starts_with("Client.UserInitiated").then_some(Cause::Terminated)
    }
}

/// Whether EC2's reason for an instance's end says that the instance shut itself down, as it does when its job is over.
pub fn by_itself(reason: &str) -> bool {
    reason.starts_with("Client.InstanceInitiated")
}

/// What the steps of a job say, once `cause` speaks against its machine.
///
/// A machine that goes under a job leaves the running step cancelled or unfinished, and every step after it skipped. Somebody who
/// cancels a job leaves its cleaning up to run. <https://github.com/actions/runner/issues/4422>
pub fn judge(cause: Cause, steps: &[(StepKind, StepEnd)]) -> JobVerdict {
    use StepEnd::{Cancelled, Failure, Skipped, Success, Unfinished};
    let cut = JobVerdict::Infrastructure(cause);
    let Some(bad) = steps.iter().position(|(_, end)| matches!(end, Failure | Cancelled | Unfinished)) else {
        // A job without steps was taken by the runner and never began.
        return if steps.iter().all(|(_, end)| *end == Skipped) { cut } else { JobVerdict::Unknown(Doubtful::Steps(cause)) };
    };
    let after = || steps.iter().skip(bad + 1);
    let ran = |kind| after().any(|(k, end)| *k == kind && matches!(end, Success | Failure));
    let cleaned = after().any(|(kind, _)| *kind == StepKind::Post);
    if ran(StepKind::Post) {
        return JobVerdict::Own;
    }
    match (steps.get(bad).map(|(_, end)| *end), ran(StepKind::Last)) {
        // The runner reported a failure and went on to its last step.
        (Some(Failure), true) if !cleaned => JobVerdict::Own,
        (Some(Failure), _) => JobVerdict::Unknown(Doubtful::Steps(cause)),
        // Without a step that cleans up, a person's cancel looks the same.
        (_, true) if !cleaned => JobVerdict::Unknown(Doubtful::Steps(cause)),
        _ => cut,
    }
}
