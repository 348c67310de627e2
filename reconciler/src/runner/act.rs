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
