//! Reads GitHub's `workflow_job` payload into a [`JobEvent`]. Of 12 KB of JSON, only the few fields that decide something
//! are read. They are borrowed from the body where possible.
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads#workflow_job>
//!
//! The webhook server and the queue's direct mode use the same function.

use std::borrow::Cow;

use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{JobId, RunId, RunnerId};
use muster_reconciler::time::Time;
use serde::Deserialize;

use crate::wire::{self, WireError};

/// What a delivery says, as far as muster is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives for one delivery, and nearly all are of the large kind")]
pub enum Heard {
    /// The state of a job changed.
    Job(JobEvent),
    /// GitHub asks whether anybody listens.
    Ping,
    /// Nothing that muster acts on. The text says why.
    Nothing(String),
}

/// Why a delivery cannot be read. The error says what is wrong, and never repeats the text of the delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The header `X-GitHub-Event` is missing.
    #[error("the X-GitHub-Event header is missing")]
    NoEvent,
    /// The body has neither of GitHub's two encodings.
    #[error("the content type is neither application/json nor application/x-www-form-urlencoded")]
    ContentType,
    /// The form has no field `payload`.
    #[error("the form has no field payload, or it is not text")]
    NoPayload,
    /// The body is not the JSON that was expected.
    #[error("the payload is malformed: {0}")]
    Malformed(String),
    /// A field is beyond its limit.
    #[error("the payload is refused: {0}")]
    Limit(#[from] WireError),
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    workflow_job: PayloadJob<'a>,
    #[serde(borrow)]
    repository: Repository<'a>,
    #[serde(borrow)]
    organization: Option<Organization<'a>>,
    #[serde(borrow)]
    enterprise: Option<Enterprise<'a>>,
}

#[derive(Deserialize)]
struct PayloadJob<'a> {
    id: u64,
    run_id: u64,
    run_attempt: Option<u32>,
    #[serde(borrow)]
    workflow_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_branch: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_sha: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    labels: Option<Vec<String>>,
    #[serde(borrow)]
    runner_name: Option<Cow<'a, str>>,
    runner_id: Option<u64>,
    #[serde(borrow)]
    conclusion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    created_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    started_at: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Repository<'a> {
    #[serde(borrow)]
    full_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Organization<'a> {
    #[serde(borrow)]
    login: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Enterprise<'a> {
    #[serde(borrow)]
    slug: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Form {
    payload: String,
}

/// Reads a delivery whose signature is verified: its headers `X-GitHub-Event` and `Content-Type`, and its raw body.
pub fn read(event: Option<&str>, content_type: Option<&str>, body: &[u8]) -> Result<Heard, PayloadError> {
    match event.ok_or(PayloadError::NoEvent)? {
        "workflow_job" => {}
        "ping" => return Ok(Heard::Ping),
        other => return Ok(Heard::Nothing(format!("muster acts on workflow_job, not on {}", printable(other)))),
    }
    match encoding(content_type).ok_or(PayloadError::ContentType)? {
        Encoding::Json => job(body),
        Encoding::Form => {
            let form: Form = serde_urlencoded::from_bytes(body).map_err(|_| PayloadError::NoPayload)?;
            job(form.payload.as_bytes())
        }
    }
}

fn job(json: &[u8]) -> Result<Heard, PayloadError> {
    let payload: Payload<'_> = serde_json::from_slice(json).map_err(|e| PayloadError::Malformed(wire::explain(&e)))?;
    let state = match &*payload.action {
        "queued" => JobState::Queued,
        "in_progress" => JobState::InProgress,
        "completed" => JobState::Completed,
        // GitHub sends `queued` when the job may start.
        "waiting" => JobState::Queued,
        _ => return Ok(Heard::Nothing("muster acts on the actions queued, waiting, in_progress and completed only".into())),
    };
    let job = payload.workflow_job;
    // GitHub's own example of a job with an environment has the action `queued` and the status `waiting`.
    let held = |word: &str| matches!(word, "waiting" | "pending" | "requested");
    let waiting = state == JobState::Queued && (held(&payload.action) || job.status.as_deref().is_some_and(held));
    // GitHub's own example of a queued job names a runner, and GitHub sends "" as well as null for none. A text that is
    // neither a name of ours nor a word of GitHub's decides nothing.
    let text = |field: Option<Cow<'_, str>>| field.filter(|t| wire::is_word(t)).map(Cow::into_owned);
    let title = |field: Option<Cow<'_, str>>| wire::fit_title(field.as_deref().unwrap_or_default());
    let about = JobAbout {
        workflow: title(job.workflow_name),
        name: title(job.name),
        branch: title(job.head_branch),
        sha: job.head_sha.filter(|sha| wire::is_commit(sha)).map_or_else(String::new, Cow::into_owned),
    };
    let event = JobEvent {
        job: JobId(job.id),
        run: RunId(job.run_id),
        state,
        waiting,
        attempt: job.run_attempt,
        repo: payload.repository.full_name.into_owned(),
        org: text(payload.organization.map(|o| o.login)),
        enterprise: text(payload.enterprise.map(|e| e.slug)),
        // The job waits at GitHub whatever its labels are, so muster must be able to show why.
        labels: wire::fit_labels(job.labels.unwrap_or_default()),
        runner: text(job.runner_name).filter(|_| state != JobState::Queued),
        runner_id: job.runner_id.map(RunnerId).filter(|_| state != JobState::Queued),
        conclusion: text(job.conclusion),
        queued_at: time(job.created_at.as_deref()),
        // GitHub says of a queued job that it started when it was queued.
        started_at: time(job.started_at.as_deref()).filter(|_| state != JobState::Queued),
        about,
    };
    wire::check(&event)?;
    Ok(Heard::Job(event))
}

/// Reads a time of RFC 3339. A time that cannot be read counts as none.
fn time(text: Option<&str>) -> Option<Time> {
    let at = chrono::DateTime::parse_from_rfc3339(text?).ok()?;
    u64::try_from(at.timestamp_millis()).ok().map(Time::from_millis)
}

enum Encoding {
    Json,
    Form,
}

fn encoding(content_type: Option<&str>) -> Option<Encoding> {
    let Some(content_type) = content_type else { return Some(Encoding::Json) };
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Some(Encoding::Json)
    } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Some(Encoding::Form)
    } else {
        None
    }
}

/// The name of an event, if it looks like one.
fn printable(event: &str) -> &str {
    let plain = event.len() <= 64 && event.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { event } else { "an event of that name" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn heard(json: &str) -> Result<Heard, PayloadError> {
        read(Some("workflow_job"), Some("application/json; charset=utf-8"), json.as_bytes())
    }

    const QUEUED: &str = r#"{"action":"queued","workflow_job":{"id":7,"run_id":8,"labels":["self-hosted","x\u0036\u0034"],
        "runner_name":"","conclusion":null,"new_field":{"a":[1,{}]}},"repository":{"full_name":"acme/web","private":true},
        "organization":{"login":"acme"},"enterprise":{"slug":"big","id":1},"unknown":[[[]]]}"#;

    #[test]
    fn the_fields_that_decide_something_are_read_and_unknown_ones_are_not_minded() {
        let Heard::Job(event) = heard(QUEUED).unwrap() else { panic!("not a job") };
        assert_eq!((event.job, event.run, event.state), (JobId(7), RunId(8), JobState::Queued));
        assert_eq!(
            (event.repo.as_str(), event.org.as_deref(), event.enterprise.as_deref()),
            ("acme/web", Some("acme"), Some("big"))
        );
        assert_eq!((event.labels, event.runner), (vec!["self-hosted".to_owned(), "x64".to_owned()], None));
    }

    #[test]
    fn a_form_says_the_same_as_json() {
        let form = serde_urlencoded::to_string([("payload", QUEUED)]).unwrap();
        let from_form = read(Some("workflow_job"), Some("application/x-www-form-urlencoded"), form.as_bytes());
        assert_eq!(from_form, heard(QUEUED));
        for bad in ["", "other=1", "payload"] {
            assert!(read(Some("workflow_job"), Some("application/x-www-form-urlencoded"), bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_job_to_act_on_says_why() {
        for (json, says) in [
            (QUEUED.replacen("queued", "reimagined", 1), "queued, waiting, in_progress and completed only"),
            (QUEUED.replacen("queued", "pending", 1), "queued, waiting, in_progress and completed only"),
        ] {
            let Heard::Nothing(why) = heard(&json).unwrap() else { panic!("{json} is a job") };
            assert!(why.contains(says), "{why}");
        }
        assert_eq!(read(Some("ping"), None, b"").unwrap(), Heard::Ping);
        assert!(
            matches!(read(Some("push"), None, b"not looked at").unwrap(), Heard::Nothing(why) if why.ends_with("not on push"))
        );
        assert!(matches!(read(Some("<b>"), None, b"").unwrap(), Heard::Nothing(why) if !why.contains("<b>")));
    }

    #[test]
    fn a_job_that_may_not_start_yet_is_heard_as_waiting() {
        let status = |action: &str, status: &str| {
            let json =
                QUEUED.replacen("queued", action, 1).replacen("\"run_id\":8", &format!("\"run_id\":8,\"status\":{status}"), 1);
            let Heard::Job(event) = heard(&json).unwrap() else { panic!("{json} is no job") };
            assert_eq!(wire::decode(&wire::encode(&event)).unwrap(), event);
            (event.state, event.waiting)
        };
        assert_eq!(status("waiting", "\"waiting\""), (JobState::Queued, true));
        assert_eq!(status("waiting", "null"), (JobState::Queued, true));
        for held in ["\"waiting\"", "\"pending\"", "\"requested\""] {
            assert_eq!(status("queued", held), (JobState::Queued, true), "{held}");
        }
        for free in ["\"queued\"", "null", "\"a new word\""] {
            assert_eq!(status("queued", free), (JobState::Queued, false), "{free}");
        }
        assert_eq!(status("in_progress", "\"waiting\""), (JobState::InProgress, false));
    }

    #[test]
    fn no_label_makes_a_job_vanish() {
        let labels = |json: &str| {
            let Heard::Job(event) = heard(&QUEUED.replacen(r#"["self-hosted","x\u0036\u0034"]"#, json, 1)).unwrap() else {
                panic!("{json} is no job")
            };
            assert!(wire::encode(&event).len() <= wire::MAX_BYTES, "{json}");
            assert_eq!(wire::decode(&wire::encode(&event)).unwrap(), event, "{json}");
            event.labels
        };
        for none in ["[]", "null"] {
            assert_eq!(labels(none), [""; 0]);
        }
        assert_eq!(labels(r#"["self-hosted","linux\n"," a, b",""]"#), ["self-hosted", "linux\n", " a, b", ""]);
        assert_eq!(labels("[\"a\u{ffff}\"]"), ["a\u{fffd}"], "SQS takes no message with U+FFFF");
        assert_eq!(labels(&format!("[\"{}\"]", "x".repeat(9_000))), [format!("{}…", "x".repeat(256))]);
        let many = labels(&format!("[{}]", vec!["\"l\""; 1_000].join(",")));
        assert_eq!((many.len(), many.last().map(String::as_str)), (100, Some("… and 901 more labels")));
        let long = labels(&format!("[{}]", vec![format!("\"{}\"", "\\u0001".repeat(256)); 50].join(",")));
        assert!(long.len() < 10 && long.last().is_some_and(|l| l.contains(" more label")), "{}", long.len());
    }

    #[test]
    fn odd_words_beside_the_labels_are_none() {
        let json = QUEUED.replacen("in_progress", "queued", 1).replacen("\"queued\"", "\"completed\"", 1);
        let json = json.replacen("\"runner_name\":\"\"", &format!("\"runner_name\":\"{}\"", "r".repeat(7_000)), 1);
        let json = json.replacen("\"slug\":\"big\"", "\"slug\":\"\"", 1);
        let Heard::Job(event) = heard(&json).unwrap() else { panic!("not a job") };
        assert_eq!((event.state, event.runner, event.enterprise), (JobState::Completed, None, None));
    }

    #[test]
    fn only_a_queued_job_needs_labels() {
        for (action, state) in [("in_progress", JobState::InProgress), ("completed", JobState::Completed)] {
            let json = QUEUED.replacen("queued", action, 1).replacen(r#"["self-hosted","x\u0036\u0034"]"#, "[]", 1);
            let Heard::Job(event) = heard(&json).unwrap() else { panic!("{action} is not heard") };
            assert_eq!((event.job, event.state, event.labels.len()), (JobId(7), state, 0));
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        for (json, says) in [
            ("", "ends too early"),
            ("[]", "expected"),
            ("{\"action\":\"queued\"}", "missing field `workflow_job`"),
            ("hunter2", "not JSON"),
            (&QUEUED.replacen("7", "\"hunter2\"", 1), "expected u64"),
            (&QUEUED.replacen("7", "-1", 1), "expected u64"),
            (&QUEUED.replacen("acme/web", "acme", 1), "is not OWNER/NAME"),
            (&QUEUED.replacen("\"self-hosted\"", "17", 1), "expected a string"),
        ] {
            let error = heard(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(read(None, None, b"{}"), Err(PayloadError::NoEvent));
        assert_eq!(read(Some("workflow_job"), Some("text/plain"), b"{}"), Err(PayloadError::ContentType));
    }
}
