//! Why a call did not work: the answer of the other side, sorted by what muster does about it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::serial::perhaps_text;

/// Why a call did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The kind of failure, on which muster's reaction depends.
    pub kind: FailureKind,
    /// What was attempted, on what, and what the other side said.
    pub message: String,
    /// The time to wait before the next try (`retry-after`). None: the other side named no time.
    pub retry_after: Option<Duration>,
    /// AWS's error code, such as `UnauthorizedOperation`, if there is one. People and checks read it; no decision does.
    pub code: Option<String>,
}

impl Failure {
    /// A failure without a `retry_after` and without an error code.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), retry_after: None, code: None }
    }
}

/// The kinds of failure that call for different behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// There were too many calls (RequestLimitExceeded, ThrottlingException, 403/429 with rate-limit headers).
    Throttled,
    /// The other side failed (5xx), or could not be reached. The call has probably not taken effect, but muster does not rely on
    /// this.
    Unavailable,
    /// No answer came (time-out, lost connection). The call may have taken effect.
    Ambiguous,
    /// A thing with this name exists, or the thing is busy (409, or GitHub's 422 for a busy runner).
    Conflict,
    /// The thing does not exist (404, InvalidInstanceID.NotFound, missing launch template).
    NotFound,
    /// The request is wrong, or a permission is missing. A retry helps only after somebody has changed something.
    Refused,
}

impl FailureKind {
    /// Whether the call may have taken effect although it failed.
    pub const fn may_have_worked(self) -> bool {
        matches!(self, FailureKind::Ambiguous | FailureKind::Unavailable)
    }

    /// The word used in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureKind::Throttled => "throttled",
            FailureKind::Unavailable => "unavailable",
            FailureKind::Ambiguous => "ambiguous",
            FailureKind::Conflict => "conflict",
            FailureKind::NotFound => "not_found",
            FailureKind::Refused => "refused",
        }
    }
}

/// One offering that could not be launched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferingError {
    /// The instance type. Without type and subnet, EC2 refused the whole request.
    #[serde(with = "perhaps_text")]
    pub instance_type: Option<Arc<str>>,
    /// The subnet.
    #[serde(with = "perhaps_text")]
    pub subnet: Option<Arc<str>>,
    /// EC2's error code, such as `InsufficientInstanceCapacity`.
    pub code: String,
    /// EC2's message.
    pub message: String,
}
