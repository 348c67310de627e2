//! Says in the log that somebody tries tokens at the admin listener. Whoever reaches the listener may try many, and must not fill the
//! log with them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use warp::http::header::AUTHORIZATION;
use warp::http::{Method, StatusCode};

/// The first refusal is logged at once. Then one line in this time tells how many more there were.
const EVERY: Duration = Duration::from_secs(60);

/// The requests that were refused because of their token.
#[derive(Debug, Default)]
pub(super) struct RefusedTokens(Mutex<RefusedSoFar>);

#[derive(Debug, Default)]
struct RefusedSoFar {
    /// When the log had the last line. None: never.
    told: Option<Instant>,
    /// How many there were since then.
    untold: u64,
}

impl RefusedTokens {
    /// Logs a request to the admin listener.
    pub fn log(&self, info: &warp::log::Info<'_>) {
        let (method, status) = (info.method(), info.status());
        // A browser without a token is asked for one, so its first request is no attempt.
        let tried = *method == Method::POST || info.request_headers().contains_key(AUTHORIZATION);
        if status != StatusCode::UNAUTHORIZED || !tried {
            return super::log_request(info);
        }
        let path: String = info.path().chars().take(200).collect();
        match self.note(Instant::now()) {
            Some(count) => tracing::warn!(
                %method,
                path,
                count,
                "refused requests whose token is wrong or missing; this is the last one of `count`, and the next line comes after a \
                 minute at the earliest"
            ),
            None => tracing::debug!(%method, path, "refused a token"),
        }
    }

    /// Notes a refusal. Returns how many there were since the last line of the log, if it is time for another line.
    fn note(&self, now: Instant) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.untold += 1;
        if seen.told.is_some_and(|told| now.duration_since(told) < EVERY) {
            return None;
        }
        seen.told = Some(now);
        Some(std::mem::take(&mut seen.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_is_told_and_then_one_line_a_minute_with_their_number() {
        let (refused, start) = (RefusedTokens::default(), Instant::now());
        let note = |s| refused.note(start + Duration::from_secs(s));
        assert_eq!(note(0), Some(1));
        assert!((1..60).all(|s| note(s).is_none()));
        assert_eq!((note(60), note(61)), (Some(60), None));
        assert_eq!(note(1000), Some(2));
    }
}
