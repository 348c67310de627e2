//! Whoever is told of every call to AWS and GitHub.

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::effect::FailureKind;

/// Is told of every call: the API (`ec2.CreateFleet`, `github.ListRunners`), how it ended and how long it took.
pub type Observer = Arc<dyn Fn(&'static str, Ended, Duration) + Send + Sync>;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It worked.
    Ok,
    /// It worked: nothing has changed since the last such call (304).
    NotModified,
    /// It failed.
    Failed(FailureKind),
}

impl Ended {
    /// The failure, if it is one.
    pub const fn failure(self) -> Option<FailureKind> {
        match self {
            Ended::Ok | Ended::NotModified => None,
            Ended::Failed(kind) => Some(kind),
        }
    }

    /// Its word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ended::Ok => "ok",
            Ended::NotModified => "not_modified",
            Ended::Failed(kind) => kind.as_str(),
        }
    }
}
