//! A few tries in a row. The adapters do not retry, because only their caller knows whether a call may be made twice. Every call
//! of the sync may be made twice.

use std::time::Duration;

use muster_reconciler::failure::{Failure, FailureKind};

use crate::retry::Delay;

/// The most tries of one call.
const TRIES: u32 = 3;
/// The longest wait that is respected. If the other side asks for a longer one, the call fails, and the next pass tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls `attempt` until it succeeds, fails for a reason that does not pass by itself, or has failed three times.
pub(super) async fn again<T, F>(attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    use FailureKind::{Ambiguous, Throttled, Unavailable};
    let mut delay = Delay::new(Duration::from_millis(500), Duration::from_secs(5));
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(failure)
                if tries < TRIES
                    && matches!(failure.kind, Throttled | Unavailable | Ambiguous)
                    && failure.retry_after.is_none_or(|wait| wait <= PATIENCE) =>
            {
                tries += 1;
                tracing::debug!(error = failure.message, "trying again");
                tokio::time::sleep(delay.next_delay().max(failure.retry_after.unwrap_or_default())).await;
            }
            result => return result,
        }
    }
}
