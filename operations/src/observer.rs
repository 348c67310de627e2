//! The interface by which every call to AWS and GitHub is reported, for metrics and logs.

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::failure::FailureKind;

/// A function that is called after every call to AWS or GitHub. It gets the API (`ec2.CreateFleet`, `github.ListRunners`), the
/// end of the call, and the time that the call took.
pub type Observer = Arc<dyn Fn(&'static str, Ended, Duration) + Send + Sync>;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// The call worked.
    Ok,
    /// The call worked, and nothing has changed since the last such call (304).
    NotModified,
    /// The call failed.
    Failed(FailureKind),
}

impl Ended {
    /// The kind of the failure. None: the call worked.
    pub const fn failure(self) -> Option<FailureKind> {
        match self {
            Ended::Ok | Ended::NotModified => None,
            Ended::Failed(kind) => Some(kind),
        }
    }

    /// The word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ended::Ok => "ok",
            Ended::NotModified => "not_modified",
            Ended::Failed(kind) => kind.as_str(),
        }
    }
}
