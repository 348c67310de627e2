//! What GitHub's answers say about its limits, and what kind of failure an answer is.
//!
//! GitHub has a primary limit (requests an hour) and secondary ones (bursts, concurrency); it tells of both in headers,
//! and of a secondary one sometimes in the message alone.
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use muster_reconciler::effect::{Failure, FailureKind, GitHubLimit};
use muster_reconciler::ids::AppName;
use tokio::sync::mpsc::UnboundedSender;

use super::{Answer, Call, Identity};

/// GitHub's advice when a secondary limit comes without `retry-after`: at least a minute.
const SECONDARY_WAIT: Duration = Duration::from_secs(60);
/// Longest wait that is believed: the primary window is an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 3600);
/// Between two ordinary reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How much of GitHub's own words is repeated, in characters.
const MESSAGE_MAX: usize = 400;

/// Tells the core of one App's limit, at most once a second unless something happened. Limits are kept per installation
/// at GitHub and per App here: with several installations the core hears whichever answered last.
#[derive(Debug)]
pub(super) struct Reporter {
    app: AppName,
    to: UnboundedSender<GitHubLimit>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    sent: Option<(Instant, u32)>,
    /// Answers that were under way when a limit struck still say that much remains: they are not believed until then.
    throttled_until: Option<Instant>,
}

impl Reporter {
    pub fn new(app: AppName, to: UnboundedSender<GitHubLimit>) -> Reporter {
        Reporter { app, to, last: Mutex::default() }
    }

    /// Reads the headers of an answer that was no throttling.
    pub fn heard(&self, headers: &HeaderMap) {
        let Some(remaining) = number(headers, "x-ratelimit-remaining").map(|n| u32::try_from(n).unwrap_or(u32::MAX)) else {
            return;
        };
        let tenth = number(headers, "x-ratelimit-limit").map_or(0, |limit| limit / 10);
        let low = |n: u32| u64::from(n) < tenth;
        let now = Instant::now();
        {
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.throttled_until.is_some_and(|until| now < until) {
                return;
            }
            if let Some((at, before)) = last.sent
                && (before == remaining || now.duration_since(at) < REPORT_EVERY)
                && (low(before) || !low(remaining))
            {
                return;
            }
            last.sent = Some((now, remaining));
        }
        self.send(remaining, until_reset(headers).unwrap_or_default());
    }

    /// A limit struck: told at once, whatever was told before.
    pub fn throttled(&self, wait: Duration) {
        {
            let now = Instant::now();
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            last.sent = Some((now, 0));
            last.throttled_until = last.throttled_until.max(Some(now + wait));
        }
        self.send(0, wait);
    }

    fn send(&self, remaining: u32, reset_after: Duration) {
        // The receiver is gone only when the process stops.
        let _ = self.to.send(GitHubLimit { app: self.app.clone(), remaining, reset_after });
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The other side's clock when it answered, seconds since the epoch; ours, if it doesn't say. Its own deadlines are
/// measured against its own clock, so that a wrong clock here neither shortens nor lengthens them.
pub(super) fn server_now(headers: &HeaderMap) -> i64 {
    let theirs = headers.get(http::header::DATE).and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    let ours = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    theirs.map_or_else(ours, |date| date.with_timezone(&Utc).timestamp())
}

fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    let reset = i64::try_from(number(headers, "x-ratelimit-reset")?).ok()?;
    let left = u64::try_from(reset.saturating_sub(server_now(headers))).unwrap_or(0);
    Some(Duration::from_secs(left).min(LONGEST_WAIT))
}

/// How long to stay away, if the answer says that a limit struck.
pub(super) fn throttled(answer: &Answer) -> Option<Duration> {
    if answer.status != StatusCode::FORBIDDEN && answer.status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    if let Some(seconds) = number(&answer.headers, "retry-after") {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    if number(&answer.headers, "x-ratelimit-remaining") == Some(0) {
        return Some(until_reset(&answer.headers).unwrap_or(SECONDARY_WAIT));
    }
    let said = message(answer).to_lowercase();
    let struck = answer.status == StatusCode::TOO_MANY_REQUESTS
        || ["secondary rate limit", "rate limit exceeded", "abuse detection"].iter().any(|words| said.contains(words));
    struck.then_some(SECONDARY_WAIT)
}

/// What GitHub said, in its own words: `message`, and the `errors` of a 422.
pub(super) fn message(answer: &Answer) -> String {
    let said = match serde_json::from_slice::<serde_json::Value>(&answer.body) {
        Ok(json) => {
            let errors = json.get("errors").filter(|e| e.as_array().is_none_or(|list| !list.is_empty()));
            match (json.get("message").and_then(|m| m.as_str()), errors) {
                (Some(message), Some(errors)) => format!("{message} {errors}"),
                (Some(message), None) => message.to_owned(),
                (None, _) => String::new(),
            }
        }
        Err(_) => String::from_utf8_lossy(&answer.body).split_whitespace().collect::<Vec<_>>().join(" "),
    };
    said.chars().take(MESSAGE_MAX).collect()
}

/// Makes a failure of an answer that is no success: what was attempted, on what, what GitHub said, and the way out.
pub(super) fn failure(call: &Call, app: &AppName, answer: &Answer) -> Failure {
    let said = message(answer);
    let wait = throttled(answer);
    let kind = match answer.status.as_u16() {
        _ if wait.is_some() => FailureKind::Throttled,
        404 => FailureKind::NotFound,
        409 => FailureKind::Conflict,
        500.. | 304 => FailureKind::Unavailable,
        _ => FailureKind::Refused,
    };
    let quoted = if said.is_empty() { String::new() } else { format!(", \"{said}\"") };
    let message = format!("{}: GitHub answered {}{quoted}{}", call.what, answer.status, way_out(call, app, answer, kind, &said));
    Failure { kind, message, retry_after: wait }
}

fn way_out(call: &Call, app: &AppName, answer: &Answer, kind: FailureKind, said: &str) -> String {
    let needs = call.needs;
    match (answer.status.as_u16(), call.identity) {
        _ if kind == FailureKind::Throttled => "; its rate limit struck, and muster waits as long as GitHub asks".into(),
        (401, Identity::App) => {
            format!("; check spec.appId and spec.privateKey of GitHubApp `{app}`, and this machine's clock")
        }
        (401, Identity::Installation) => {
            format!("; a fresh installation token was refused as well: check that App `{app}` is still installed there")
        }
        (403, _) if said.contains("suspended") => format!("; unsuspend App `{app}` in the account's installed GitHub Apps"),
        (403, _) => {
            format!(
                "; App `{app}` needs {needs}: grant it in the App's settings and accept it in the account's installed GitHub Apps"
            )
        }
        (404, Identity::Installation) => {
            format!("; if it does exist, App `{app}` must be installed there with {needs}")
        }
        (404, Identity::App) => format!("; install App `{app}` there, or correct the scope or spec.appId in the manifest"),
        (301..=303 | 307 | 308, _) => "; if it was renamed or moved, use its new name in the manifest".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use tokio::sync::mpsc;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().expect("name"), value.parse().expect("value"))).collect()
    }

    fn judged(status: u16, pairs: &[(&'static str, &str)], body: &'static str) -> Failure {
        let call = Call {
            needs: "the repository permission `Actions: read`",
            ..Call::new("github.GetJob", Method::GET, "/x", "get job 7")
        };
        let status = StatusCode::from_u16(status).expect("status");
        failure(&call, &"main".into(), &Answer { status, headers: headers(pairs), body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn limits_are_told_apart_from_missing_permissions() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        /// Status, headers, body; and what is made of them.
        type Case = (u16, &'static [(&'static str, &'static str)], &'static str, FailureKind, Option<u64>);
        let cases: [Case; 10] = [
            (403, &[("retry-after", "7")], "{}", FailureKind::Throttled, Some(7)),
            (429, &[], "", FailureKind::Throttled, Some(60)),
            (
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111807"), DATE],
                "{}",
                FailureKind::Throttled,
                Some(30),
            ),
            (403, &[], r#"{"message":"You have exceeded a secondary rate limit."}"#, FailureKind::Throttled, Some(60)),
            (
                403,
                &[("x-ratelimit-remaining", "12")],
                r#"{"message":"Resource not accessible by integration"}"#,
                FailureKind::Refused,
                None,
            ),
            (404, &[], "{}", FailureKind::NotFound, None),
            (409, &[], "{}", FailureKind::Conflict, None),
            (422, &[("retry-after", "7")], "{}", FailureKind::Refused, None),
            (502, &[], "<html>bad gateway</html>", FailureKind::Unavailable, None),
            (401, &[], "{}", FailureKind::Refused, None),
        ];
        for (status, pairs, body, kind, wait) in cases {
            let failure = judged(status, pairs, body);
            assert_eq!((failure.kind, failure.retry_after), (kind, wait.map(Duration::from_secs)), "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_tried_what_github_said_and_the_way_out() {
        let said = judged(403, &[], r#"{"message":"Resource not accessible by integration"}"#).message;
        assert_eq!(
            said,
            "get job 7: GitHub answered 403 Forbidden, \"Resource not accessible by integration\"; App `main` needs the \
             repository permission `Actions: read`: grant it in the App's settings and accept it in the account's installed GitHub Apps"
        );
        let said = judged(422, &[], r#"{"message":"Validation Failed","errors":["name is taken"]}"#).message;
        assert!(said.ends_with(r#"422 Unprocessable Entity, "Validation Failed ["name is taken"]""#), "{said}");
    }

    #[test]
    fn the_core_hears_of_a_limit_once_a_second_or_when_something_happened() {
        let (to, mut from) = mpsc::unbounded_channel();
        let reporter = Reporter::new("main".into(), to);
        let mut heard = |remaining: &str| {
            reporter.heard(&headers(&[("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", remaining)]));
            from.try_recv().ok().map(|limit| limit.remaining)
        };
        assert_eq!(heard("4999"), Some(4999), "the first");
        assert_eq!(heard("4998"), None, "within the second");
        assert_eq!(heard("499"), Some(499), "under a tenth");
        assert_eq!(heard("498"), None, "still under a tenth");
        reporter.throttled(Duration::from_secs(9));
        assert_eq!(heard("4997"), Some(0), "the throttling, not the answer that was under way");
        assert_eq!(heard("4996"), None);
    }
}
