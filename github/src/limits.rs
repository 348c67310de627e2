//! What GitHub's answers say of its rate limits, and what kind of failure an answer is.
//!
//! GitHub has primary limits (requests in an hour, for each installation and resource) and secondary limits (bursts and
//! concurrency). GitHub's headers tell of both. A secondary limit is sometimes told in the message alone.
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use muster_reconciler::effect::{GitHubLimit, Resource};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, Payer};
use tokio::sync::mpsc::UnboundedSender;

use super::{ApiCall, GoodAnswer, Identity};

/// The wait after a secondary limit without `retry-after`. GitHub advises at least a minute.
const SECONDARY_WAIT: Duration = Duration::from_secs(60);
/// The longest wait that muster believes. The window of a primary limit is one hour.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 3600);
/// The shortest time between two ordinary reports about one payer and resource.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The longest text of GitHub's that muster repeats, in characters.
const MESSAGE_MAX: usize = 400;

/// Tells the core how many requests GitHub still admits. For each payer and resource there is at most one report a second, unless
/// a limit was reached or is near. The reporter also remembers which limits are used up, so that muster sends no request that
/// GitHub asked it to wait with.
#[derive(Debug)]
pub(super) struct Reporter {
    to: UnboundedSender<GitHubLimit>,
    known: Mutex<LastLimits>,
}

#[derive(Debug, Default)]
struct LastLimits {
    last: BTreeMap<(Payer, Option<Resource>), Last>,
    /// The resource that each kind of request counted against when it was last answered.
    counted: BTreeMap<(Payer, &'static str), Resource>,
}

#[derive(Debug, Default)]
struct Last {
    sent: Option<(Instant, u32)>,
    /// Until when the payer has to wait. Answers that were under way when the limit was reached may still say that requests are
    /// left. muster does not believe such answers until this time.
    throttled_until: Option<Instant>,
}

impl Reporter {
    pub fn new(to: UnboundedSender<GitHubLimit>) -> Reporter {
        Reporter { to, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, LastLimits> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long GitHub wants the payer to wait before this request. None: the payer need not wait.
    pub fn barred(&self, payer: &Payer, call: &ApiCall) -> Option<Duration> {
        let known = self.known();
        let unasked = if call.configures { Resource::Registration } else { Resource::Core };
        let resource = known.counted.get(&(payer.clone(), call.api)).copied().unwrap_or(unasked);
        let spent = |of| known.last.get(&(payer.clone(), of)).and_then(|last: &Last| last.throttled_until);
        let until = spent(Some(resource)).max(spent(None))?;
        until.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
    }

    /// Reads the headers of an answer that was no throttling.
    pub fn heard(&self, payer: &Payer, call: &ApiCall, headers: &HeaderMap) {
        let Some(remaining) = number(headers, "x-ratelimit-remaining").map(|n| u32::try_from(n).unwrap_or(u32::MAX)) else {
            return;
        };
        let Some(resource) = resource(headers) else { return };
        let tenth = number(headers, "x-ratelimit-limit").map_or(0, |limit| limit / 10);
        let low = |n: u32| u64::from(n) < tenth;
        let now = Instant::now();
        {
            let mut known = self.known();
            let elsewhere = known.counted.insert((payer.clone(), call.api), resource) != Some(resource) && call.configures;
            let last = known.last.entry((payer.clone(), Some(resource))).or_default();
            if last.throttled_until.is_some_and(|until| now < until) {
                return;
            }
            if let Some((at, before)) = last.sent
                && (before == remaining || now.duration_since(at) < REPORT_EVERY)
                && (low(before) || !low(remaining))
                && !elsewhere
            {
                return;
            }
            last.sent = Some((now, remaining));
        }
        self.send(payer, Some(resource), call, remaining, until_reset(headers).unwrap_or_default());
    }

    /// Tells the core at once that a limit was reached, whatever was reported before.
    pub fn throttled(&self, payer: &Payer, call: &ApiCall, answer: &GoodAnswer, wait: Duration) {
        let resource = resource(&answer.headers).filter(|_| !secondary(answer));
        {
            let now = Instant::now();
            let mut known = self.known();
            if let Some(resource) = resource {
                known.counted.insert((payer.clone(), call.api), resource);
            }
            let last = known.last.entry((payer.clone(), resource)).or_default();
            last.sent = Some((now, 0));
            last.throttled_until = last.throttled_until.max(Some(now + wait));
        }
        self.send(payer, resource, call, 0, wait);
    }

    fn send(&self, payer: &Payer, resource: Option<Resource>, call: &ApiCall, remaining: u32, reset_after: Duration) {
        let (payer, of_configuration) = (payer.clone(), call.configures);
        // Sending fails only when the process stops, because then the receiver is gone.
        let _ = self.to.send(GitHubLimit { payer, resource, of_configuration, remaining, reset_after });
    }
}

/// The resource that the answer counted against. A server that does not name a resource counts everything together. None: a
/// resource that muster's requests do not count against.
fn resource(headers: &HeaderMap) -> Option<Resource> {
    match headers.get("x-ratelimit-resource").map(|word| word.to_str().unwrap_or_default()) {
        None => Some(Resource::Core),
        Some(word) => Resource::ALL.into_iter().find(|resource| resource.as_str() == word),
    }
}

/// Whether a throttling concerns every request of the payer, and not only one resource that is used up.
fn secondary(answer: &GoodAnswer) -> bool {
    number(&answer.headers, "x-ratelimit-remaining") != Some(0) || message(answer).to_lowercase().contains("secondary rate limit")
}

/// The failure of a request that muster does not send, because GitHub asked it to wait.
pub(super) fn waits(call: &ApiCall, payer: &Payer, wait: Duration) -> Failure {
    let seconds = wait.as_secs_f64().ceil();
    let message =
        format!("{}: not asked, because GitHub said that {payer} has to wait {seconds} s more; muster waits", call.what);
    Failure { retry_after: Some(wait), ..Failure::new(FailureKind::Throttled, message) }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The server's clock when it answered, in seconds since 1970; this machine's clock if the answer has no date. The server's own
/// deadlines are compared with the server's own clock. So a wrong clock on this machine makes them neither shorter nor longer.
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

/// The time to wait that the answer asks for. GitHub writes seconds; a proxy in front of it may write a date.
/// <https://www.rfc-editor.org/rfc/rfc9110.html#name-retry-after>
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = number(headers, "retry-after").or_else(|| {
        let at = DateTime::parse_from_rfc2822(headers.get("retry-after")?.to_str().ok()?).ok()?;
        Some(u64::try_from(at.timestamp().saturating_sub(server_now(headers))).unwrap_or(0))
    });
    seconds.map(Duration::from_secs)
}

/// How long to wait, if the answer says that a limit was reached.
pub(super) fn throttled(answer: &GoodAnswer) -> Option<Duration> {
    if answer.status != StatusCode::FORBIDDEN && answer.status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    if let Some(wait) = retry_after(&answer.headers) {
        return Some(wait.min(LONGEST_WAIT));
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
pub(super) fn message(answer: &GoodAnswer) -> String {
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

/// Makes a failure of an answer that is no success. It says what was attempted, on what, what GitHub said, and what to do.
/// `token` is whether the request had a personal access token.
pub(super) fn failure(call: &ApiCall, app: &AppName, token: bool, answer: &GoodAnswer) -> Failure {
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
    let way_out = if token { tokens_way_out(call, app, answer, kind) } else { way_out(call, app, answer, kind, &said) };
    let message = format!("{}: GitHub answered {}{quoted}{way_out}", call.what, answer.status);
    Failure { retry_after: wait, ..Failure::new(kind, message) }
}

fn way_out(call: &ApiCall, app: &AppName, answer: &GoodAnswer, kind: FailureKind, said: &str) -> String {
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
        (301..=303 | 307 | 308, _) => MOVED.into(),
        _ => String::new(),
    }
}

/// What to do about a repository or an account that GitHub redirects to another name.
const MOVED: &str = "; if it was renamed or moved, use its new name in the manifest";

fn tokens_way_out(call: &ApiCall, name: &AppName, answer: &GoodAnswer, kind: FailureKind) -> String {
    match answer.status.as_u16() {
        _ if kind == FailureKind::Throttled => "; its rate limit struck, and muster waits as long as GitHub asks".into(),
        401 => format!("; the token of GitHubToken `{name}` expired or was revoked: put a new one where spec.token points"),
        403 | 404 => {
            format!("; the token of GitHubToken `{name}` must be a classic one, of somebody who may do that, with {}", call.needs)
        }
        301..=303 | 307 | 308 => MOVED.into(),
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
        let call = ApiCall {
            needs: "the repository permission `Actions: read`",
            ..ApiCall::new("github.GetJob", Method::GET, "/x", "get job 7")
        };
        let status = StatusCode::from_u16(status).expect("status");
        failure(
            &call,
            &"main".into(),
            false,
            &GoodAnswer { status, headers: headers(pairs), body: Bytes::from_static(body.as_bytes()) },
        )
    }

    #[test]
    fn limits_are_told_apart_from_missing_permissions() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        /// The status, the headers and the body of an answer; then the kind of failure and the wait in seconds that muster makes
        /// of them.
        type Case = (u16, &'static [(&'static str, &'static str)], &'static str, FailureKind, Option<u64>);
        let cases: [Case; 11] = [
            (403, &[("retry-after", "7")], "{}", FailureKind::Throttled, Some(7)),
            (403, &[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), DATE], "{}", FailureKind::Throttled, Some(30)),
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

    fn acme() -> Payer {
        Payer::installation(&"main".into(), "acme")
    }

    fn list() -> ApiCall {
        ApiCall::new("github.ListRunners", Method::GET, "/x", "list")
    }

    fn mint() -> ApiCall {
        ApiCall { configures: true, ..ApiCall::new("github.GenerateJitConfig", Method::POST, "/x", "mint") }
    }

    fn answer(status: u16, pairs: &[(&'static str, &str)], body: &'static str) -> GoodAnswer {
        let status = StatusCode::from_u16(status).expect("status");
        GoodAnswer { status, headers: headers(pairs), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_token_is_told_what_it_lacks() {
        let call = ApiCall { needs: "the scope `manage_runners:enterprise`", ..list() };
        let said = |status| failure(&call, &"big".into(), true, &answer(status, &[], "{}")).message;
        assert!(
            said(401).ends_with("the token of GitHubToken `big` expired or was revoked: put a new one where spec.token points")
        );
        assert!(
            said(403).ends_with("must be a classic one, of somebody who may do that, with the scope `manage_runners:enterprise`")
        );
    }

    #[test]
    fn the_core_hears_of_a_limit_once_a_second_or_when_something_happened() {
        let (to, mut from) = mpsc::unbounded_channel();
        let reporter = Reporter::new(to);
        let mut heard = |payer: &Payer, remaining: &str| {
            let said = headers(&[("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", remaining)]);
            reporter.heard(payer, &list(), &said);
            from.try_recv().ok().map(|limit| limit.remaining)
        };
        assert_eq!(heard(&acme(), "4999"), Some(4999), "the first");
        assert_eq!(heard(&acme(), "4998"), None, "within the second");
        assert_eq!(heard(&Payer::installation(&"main".into(), "umbrella"), "4000"), Some(4000), "another installation");
        assert_eq!(heard(&acme(), "499"), Some(499), "under a tenth");
        assert_eq!(heard(&acme(), "498"), None, "still under a tenth");
        let struck = answer(403, &[("x-ratelimit-remaining", "0")], "{}");
        reporter.throttled(&acme(), &list(), &struck, Duration::from_secs(9));
        assert_eq!(heard(&acme(), "4997"), Some(0), "the throttling, not the answer that was under way");
        assert_eq!(heard(&acme(), "4996"), None);
    }

    #[test]
    fn resources_are_told_apart_and_a_secondary_limit_is_of_all_of_them() {
        let (to, mut from) = mpsc::unbounded_channel();
        let reporter = Reporter::new(to);
        let left = |resource, remaining| [("x-ratelimit-resource", resource), ("x-ratelimit-remaining", remaining)];
        reporter.heard(&acme(), &mint(), &headers(&left("actions_runner_registration", "9000")));
        reporter.heard(&acme(), &list(), &headers(&left("core", "4000")));
        reporter.heard(&acme(), &list(), &headers(&left("search", "3")));
        let struck = answer(403, &left("actions_runner_registration", "0"), r#"{"message":"API rate limit exceeded"}"#);
        reporter.throttled(&acme(), &mint(), &struck, Duration::from_secs(9));
        let struck = answer(403, &left("core", "70"), r#"{"message":"You have exceeded a secondary rate limit."}"#);
        reporter.throttled(&acme(), &list(), &struck, Duration::from_secs(60));
        let told: Vec<_> = std::iter::from_fn(|| from.try_recv().ok()).collect();
        let told: Vec<_> = told.iter().map(|t| (t.resource, t.of_configuration, t.remaining)).collect();
        let (core, configurations) = (Some(Resource::Core), Some(Resource::Registration));
        assert_eq!(told, [(configurations, true, 9000), (core, false, 4000), (configurations, true, 0), (None, false, 0)]);
    }

    #[test]
    fn nothing_is_asked_that_github_said_to_wait_with_and_everything_else_is() {
        let (to, _from) = mpsc::unbounded_channel();
        let reporter = Reporter::new(to);
        let barred = |call: &ApiCall| reporter.barred(&acme(), call).map(|wait| wait.as_secs_f64().ceil());
        let spent = |resource| answer(403, &[("x-ratelimit-resource", resource), ("x-ratelimit-remaining", "0")], "{}");
        assert_eq!(barred(&list()), None);
        reporter.throttled(&acme(), &list(), &spent("core"), Duration::from_secs(60));
        assert_eq!((barred(&list()), barred(&mint())), (Some(60.0), None));
        assert_eq!(reporter.barred(&Payer::installation(&"main".into(), "umbrella"), &list()), None);
        // Where configurations count against `core` after all, what GitHub says decides.
        reporter.heard(&acme(), &mint(), &headers(&[("x-ratelimit-resource", "core"), ("x-ratelimit-remaining", "0")]));
        assert_eq!(barred(&mint()), Some(60.0));
        let other = Payer::itself(&"main".into());
        reporter.throttled(&other, &list(), &answer(429, &[], ""), Duration::from_secs(30));
        assert!(reporter.barred(&other, &mint()).is_some(), "a secondary limit is of everything");
    }
}
