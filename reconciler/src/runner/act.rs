//! What can be done to a runner.

/// What can be done to a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Mint its configuration and hand it over.
    Configure,
    /// Ask it to end.
    Drain,
    /// End its instance.
    Terminate,
    /// Delete its registration.
    Deregister,
    /// Delete its secret.
    DeleteSecret,
}

crate::shown!(Act);

impl Act {
    /// Its word in `muster plan`, as in the event log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Act::Configure => "configure",
            Act::Drain => "drain",
            Act::Terminate => "terminate",
            Act::Deregister => "deregister",
            Act::DeleteSecret => "delete_secret",
        }
    }

    /// Whether the runner ends when this succeeds.
    pub const fn ends_it(self) -> bool {
        matches!(self, Act::Drain | Act::Terminate)
    }
}
