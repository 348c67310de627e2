//! Log lines that anybody can cause who reaches a listener. He may cause many, and must not fill the log with them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use warp::http::header::AUTHORIZATION;
use warp::http::{Method, StatusCode};

use super::DELIVERY;

/// The first answer of a status is logged at once. Then one line in this time tells how many more there were.
const EVERY: Duration = Duration::from_secs(60);

/// The log of one listener's requests that failed or were refused: one line a minute at most for each status. All lines are there
/// at the level `debug`.
#[derive(Debug, Default)]
pub(super) struct SeldomTold(Mutex<BTreeMap<u16, ToldSoFar>>);

#[derive(Debug, Default)]
struct ToldSoFar {
    /// When the log had the last line. None: never.
    told: Option<Instant>,
    /// How many there were since then.
    untold: u64,
}

impl SeldomTold {
    /// Logs a request: what was asked and what was answered, but never a body.
    pub fn log(&self, info: &warp::log::Info<'_>) {
        let path: String = info.path().chars().take(200).collect();
        let header = |name| info.request_headers().get(name).and_then(|value: &warp::http::HeaderValue| value.to_str().ok());
        let delivery: String = header(DELIVERY).unwrap_or_default().chars().take(64).collect();
        let (method, status, took_ms) = (info.method(), info.status(), info.elapsed().as_secs_f64() * 1000.0);
        // A browser without a token is asked for one, so its first request is no attempt. A page that is gone is no news either.
        let acts = *method == Method::POST || info.request_headers().contains_key(AUTHORIZATION);
        let failed = status.is_server_error() || status.is_client_error() && acts;
        let code = status.as_u16();
        // The page and the metrics are polled all day, so only deliveries, orders and failures are news.
        match failed.then(|| self.note(status, Instant::now())).flatten() {
            Some(count) => tracing::warn!(
                %method,
                path,
                status = code,
                delivery,
                took_ms,
                count,
                "answered: this is the last of `count` requests with this status; the next such line comes after a minute at the \
                 earliest"
            ),
            None if *method == Method::POST && !failed => {
                tracing::info!(%method, path, status = code, delivery, took_ms, "answered");
            }
            None => tracing::debug!(%method, path, status = code, delivery, took_ms, "answered"),
        }
    }

    /// Notes an answer. Returns how many there were with this status since the last line of the log, if it is time for another line.
    pub fn note(&self, status: StatusCode, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(status.as_u16()).or_default();
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
        let (seldom, start) = (SeldomTold::default(), Instant::now());
        let note = |s| seldom.note(StatusCode::UNAUTHORIZED, start + Duration::from_secs(s));
        assert_eq!(note(0), Some(1));
        assert!((1..60).all(|s| note(s).is_none()));
        assert_eq!(seldom.note(StatusCode::SERVICE_UNAVAILABLE, start), Some(1), "another status has lines of its own");
        assert_eq!((note(60), note(61)), (Some(60), None));
        assert_eq!(note(1000), Some(2));
    }
}
