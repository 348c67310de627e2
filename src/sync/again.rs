//! A few tries in a row. Nothing retries below this: the adapters leave that to whoever knows what a second time would do,
//! and here everything may be done twice.

use std::time::Duration;

use muster_reconciler::effect::{Failure, FailureKind};

use crate::retry::Delay;

/// Tries at most.
const TRIES: u32 = 3;
/// Whoever asks for a longer wait is not waited for: the next pass comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tries until it works, fails for a reason that stays, or has failed three times.
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
