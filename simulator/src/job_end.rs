//! How a job ends, and what GitHub shows of it.

use muster_reconciler::ids::JobId;
use muster_reconciler::verdict::{StepEnd, StepKind};

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The job succeeds.
    Success,
    /// A step of the job fails.
    Failure,
    /// Somebody cancels the job, which may be queued or may run.
    Cancel,
    /// The machine goes, or the runner's registration.
    CutShort,
}

impl JobEnd {
    /// The conclusion in webhooks. GitHub calls a job that was cut short either.
    pub(super) fn conclusion(self, id: JobId) -> &'static str {
        match self {
            JobEnd::Success => "success",
            JobEnd::Cancel => "cancelled",
            JobEnd::CutShort if id.0.is_multiple_of(3) => "cancelled",
            JobEnd::CutShort | JobEnd::Failure => "failure",
        }
    }

    /// The steps of the job, as GitHub shows them.
    pub(super) fn steps(self, id: JobId) -> Vec<(StepKind, StepEnd)> {
        use StepEnd::{Cancelled, Failure, Skipped, Success, Unfinished};
        use StepKind::{Last, Main, Post};
        match self {
            JobEnd::Success => vec![(Main, Success), (Post, Success), (Last, Success)],
            JobEnd::Failure => vec![(Main, Success), (Main, Failure), (Post, Success), (Last, Success)],
            JobEnd::Cancel => vec![(Main, Success), (Main, Cancelled), (Post, Success), (Last, Success)],
            JobEnd::CutShort if id.0.is_multiple_of(2) => vec![(Main, Success), (Main, Unfinished)],
            JobEnd::CutShort => vec![(Main, Success), (Main, Cancelled), (Post, Skipped)],
        }
    }
}
