//! Events that somebody else kept: GitHub's payload of a `workflow_job` as it is, or in the envelope in which EventBridge carries it. The
//! other fleet's event bus and its archive have such envelopes. They bear no signature, so they are evidence and no order.
//! <https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html>

use chrono::DateTime;
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::time::Time;
use serde_json::Value;

use crate::payload::{self, Heard};

/// An event that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// When it came: the time of the envelope, or the time that the event tells of.
    pub at: Time,
    /// The event.
    pub event: JobEvent,
    /// When the job ended. None: it is not over.
    pub ended: Option<Time>,
}

/// Reads an event. None: the value is an event of another kind, which tells nothing of jobs.
///
/// # Errors
/// When the value is no event, or one that cannot be read. The text says what is wrong.
pub fn read(value: &Value) -> Result<Option<KeptEvent>, String> {
    let envelope = value.get("detail-type").and_then(Value::as_str);
    let body = match envelope {
        Some("workflow_job") => value.get("detail").ok_or("its envelope has no `detail`")?,
        Some(_) => return Ok(None),
        None if value.get("workflow_job").is_some() => value,
        None if value.get("action").is_some() || value.get("zen").is_some() => return Ok(None),
        None => return Err("it is neither GitHub's payload of an event nor an EventBridge envelope".to_owned()),
    };
    let ended = time(body.pointer("/workflow_job/completed_at"));
    let heard = payload::read(Some("workflow_job"), None, body.to_string().as_bytes()).map_err(|e| e.to_string())?;
    let Heard::Job(event) = heard else { return Ok(None) };
    let ended = ended.filter(|_| event.state == JobState::Completed);
    let told = match event.state {
        JobState::Queued => event.queued_at,
        JobState::InProgress => event.started_at.or(event.queued_at),
        JobState::Completed => ended.or(event.started_at),
    };
    let at = time(value.get("time")).or(told).ok_or("it tells no time")?;
    Ok(Some(KeptEvent { at, event, ended }))
}

fn time(value: Option<&Value>) -> Option<Time> {
    let at = DateTime::parse_from_rfc3339(value?.as_str()?).ok()?;
    u64::try_from(at.timestamp_millis()).ok().map(Time::from_millis)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({"action": "completed", "repository": {"full_name": "acme/app"}, "workflow_job": {
            "id": 7, "run_id": 3, "labels": ["self-hosted"], "runner_name": "i-0abc1234", "conclusion": "success",
            "created_at": "2026-12-01T08:00:00Z", "started_at": "2026-12-01T08:01:00Z", "completed_at": "2026-12-01T08:03:00Z"}})
    }

    #[test]
    fn a_payload_is_read_with_and_without_its_envelope() {
        let bare = read(&body()).expect("readable").expect("an event");
        assert_eq!((bare.event.job.0, bare.ended), (7, Some(bare.at)));
        let envelope =
            json!({"source": "github", "detail-type": "workflow_job", "time": "2026-12-01T08:03:02Z", "detail": body()});
        let carried = read(&envelope).expect("readable").expect("an event");
        assert_eq!(carried, KeptEvent { at: bare.at + std::time::Duration::from_secs(2), ..bare });
    }

    #[test]
    fn other_events_are_passed_over_and_nonsense_is_told() {
        for other in [json!({"detail-type": "push", "detail": {}}), json!({"action": "opened", "pull_request": {}})] {
            assert_eq!(read(&other), Ok(None), "{other}");
        }
        for (bad, why) in [
            (json!(7), "it is neither"),
            (json!({"detail-type": "workflow_job"}), "its envelope has no"),
            (json!({"workflow_job": {"id": "x"}}), "the payload is malformed"),
        ] {
            assert!(read(&bad).is_err_and(|said| said.starts_with(why)), "{bad}: {:?}", read(&bad));
        }
    }
}
