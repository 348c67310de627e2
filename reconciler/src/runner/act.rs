//! What can be done to a runner.

/// What can be done to a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Mint the configuration and put it into SSM.
    Configure,
    /// Ask the runner to end once no job runs on it.
    Drain,
    /// End the instance.
    Terminate,
    /// Delete the registration at GitHub.
    Deregister,
    /// Delete the secret in SSM.
    DeleteSecret,
}

crate::shown!(Act);

impl Act {
    /// The word in `muster plan` and in the event log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Act::Configure => "configure",
            Act::Drain => "drain",
            Act::Terminate => "terminate",
            Act::Deregister => "deregister",
            Act::DeleteSecret => "delete_secret",
        }
    }

    /// Whether the runner ends when this act succeeds.
    pub const fn ends_it(self) -> bool {
        matches!(self, Act::Drain | Act::Terminate)
    }
}

/// What comes of asking an instance to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainOutcome {
    /// EC2 accepted the tag.
    Asked,
    /// EC2 refused the tag, or gave no answer.
    Failed,
    /// The instance ended by itself.
    Answered,
    /// The instance did not answer, and the controller ended it.
    Unanswered,
    /// The instance did not answer, and GitHub refused to delete the registration: the runner has a job.
    Refused,
}

impl DrainOutcome {
    /// All outcomes.
    pub const ALL: [DrainOutcome; 5] =
        [DrainOutcome::Asked, DrainOutcome::Failed, DrainOutcome::Answered, DrainOutcome::Unanswered, DrainOutcome::Refused];

    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            DrainOutcome::Asked => "asked",
            DrainOutcome::Failed => "failed",
            DrainOutcome::Answered => "answered",
            DrainOutcome::Unanswered => "unanswered",
            DrainOutcome::Refused => "refused",
        }
    }
}
