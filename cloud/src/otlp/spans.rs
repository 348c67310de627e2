//! One job's story as one trace: a root span for the job, and child spans for the parts of its life. The children follow each
//! other without gaps.
//!
//! All ids are computed from the job's repository, run and id. If this process or its successor tells the same job again, the ids
//! are the same, so that a back end can see that it has them already. GitHub gives the jobs of a rerun new ids, so every attempt
//! is a trace of its own.
//!
//! Names follow <https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/>. Names that are not defined there begin with
//! `muster.`.

use std::time::Duration;

use muster_reconciler::past::{End, JobPast};
use muster_reconciler::stage::Stage;
use muster_reconciler::time::Time;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use sha2::{Digest as _, Sha256};

/// GitHub gives times in whole seconds. GitHub's time counts as earlier than muster's only if it is earlier by more than this.
const PRECISION: Duration = Duration::from_secs(1);

/// The name of the job's own span. All other spans are its children.
const ROOT: &str = "job";

/// A part of a job's life: its name, the stage that ends it, its start and its end.
type Piece = (&'static str, Option<Stage>, Time, Time);

/// The spans of a job, the root span first. `region` is the AWS region of the instances.
pub fn of(past: &JobPast, region: Option<&str>) -> Vec<Span> {
    let trace = trace_id(past);
    let (begin, pieces) = pieces(past);
    let root = span_id(&trace, ROOT);
    let span = |name: &str, from: Time, until: Time| Span {
        trace_id: trace.clone(),
        span_id: span_id(&trace, name),
        name: name.to_owned(),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: nanos(from),
        end_time_unix_nano: nanos(until),
        ..Span::default()
    };
    let job = Span { attributes: attributes(past, region), status: status(past.end), ..span(ROOT, begin, past.ended.max(begin)) };
    let children = pieces.into_iter().map(|(name, stage, from, until)| {
        let of_pool = past.pool.iter().map(|pool| text("muster.pool", pool.as_str()));
        let attributes = of_pool.chain(stage.map(|stage| text("muster.stage", stage.as_str()))).collect();
        Span { parent_span_id: root.clone(), attributes, ..span(name, from, until) }
    });
    std::iter::once(job).chain(children).collect()
}

/// When the job began, and the parts of its life. The parts are in order and without gaps, and none of them is empty.
fn pieces(past: &JobPast) -> (Time, Vec<Piece>) {
    let queued = sooner(past.heard, past.event.queued_at);
    // For a job that was cancelled while it waited, GitHub gives a start time, too. Such a job has no runner.
    let theirs = past.event.started_at.filter(|_| past.event.runner.is_some());
    let took = past.started.or(theirs).map(|ours| sooner(ours, theirs));
    let end = past.ended.max(queued);
    let started = took.map(|at| at.clamp(queued, end));
    let until = started.unwrap_or(end);
    let mut all: Vec<Piece> = Vec::new();
    let mut cursor = queued;
    let mut cut = |name, stage, at: Time| {
        if at > cursor && at <= until {
            all.push((name, stage, cursor, at));
            cursor = at;
        }
    };
    // If muster first heard of the job after its start, there is no part `deliver`, because the first event was late.
    if past.heard < until {
        cut("deliver", None, past.heard);
    }
    if let Some(asked) = past.taken_by.as_ref().and_then(|b| b.asked) {
        cut("plan", None, asked);
    }
    for (stage, at) in past.taken_by.iter().flat_map(|b| &b.reached) {
        cut(word(*stage), Some(*stage), *at);
    }
    let booted = all.iter().any(|(_, stage, ..)| stage.is_some());
    if until > cursor {
        let (name, stage) =
            if booted && started.is_some() { (word(Stage::Started), Some(Stage::Started)) } else { ("wait", None) };
        all.push((name, stage, cursor, until));
    }
    if end > until {
        all.push(("run", None, until, end));
    }
    (queued, all)
}

/// The name of the part that a stage ends.
const fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Launched => "launch",
        Stage::Script => "boot",
        Stage::Configured => "configure",
        Stage::Secret => "read secret",
        Stage::Unpacked => "unpack",
        Stage::Listener => "start runner",
        Stage::Online => "register",
        Stage::Started => "assign",
    }
}

/// GitHub's time, if it is earlier than muster's by more than [`PRECISION`]; muster then heard of the event late. Else muster's
/// time.
fn sooner(ours: Time, theirs: Option<Time>) -> Time {
    theirs.filter(|theirs| *theirs + PRECISION < ours).unwrap_or(ours)
}

fn nanos(at: Time) -> u64 {
    at.as_millis().saturating_mul(1_000_000)
}

fn trace_id(past: &JobPast) -> Vec<u8> {
    let e = &past.event;
    Sha256::digest(format!("muster trace of {} run {} job {}", e.repo, e.run, e.job))[..16].to_vec()
}

fn span_id(trace: &[u8], name: &str) -> Vec<u8> {
    Sha256::new().chain_update(trace).chain_update(name).finalize()[..8].to_vec()
}

fn status(end: End) -> Option<Status> {
    let message = match end {
        End::Told => return None,
        End::Interrupted => "spot took its instance back",
        End::Lost => "its instance was gone before the job was told to end",
        End::Expired => "nothing was heard of its end",
    };
    Some(Status { message: message.into(), code: StatusCode::Error as i32 })
}

/// The job's result in the words of the conventions, and the error if there is one.
fn result(past: &JobPast) -> (&str, Option<&'static str>) {
    match past.end {
        End::Interrupted => ("error", Some("interrupted")),
        End::Lost => ("error", Some("lost")),
        End::Expired => ("error", Some("expired")),
        End::Told => match past.event.conclusion.as_deref() {
            Some("cancelled") => ("cancellation", None),
            Some("timed_out") => ("timeout", None),
            Some("skipped") => ("skip", None),
            Some("failure") => ("failure", Some("failure")),
            Some(other) => (other, None),
            None => ("unknown", None),
        },
    }
}

fn attributes(past: &JobPast, region: Option<&str>) -> Vec<KeyValue> {
    let e = &past.event;
    let (owner, name) = e.repo.split_once('/').unwrap_or(("", &e.repo));
    let (result, error) = result(past);
    let mut all = vec![
        text("cicd.pipeline.run.id", &e.run.to_string()),
        text("cicd.pipeline.task.run.id", &e.job.to_string()),
        text("cicd.pipeline.task.run.result", result),
        text("vcs.provider.name", "github"),
        text("vcs.owner.name", owner),
        text("vcs.repository.name", name),
        list("muster.job.labels", &e.labels),
    ];
    let mut add = |key: &str, value: Option<&str>| all.extend(value.map(|value| text(key, value)));
    if let Some(web) = past.api_url.as_deref().and_then(web_url) {
        let repository = format!("{web}/{}", e.repo);
        add("vcs.repository.url.full", Some(&repository));
        add("cicd.pipeline.run.url.full", Some(&format!("{repository}/actions/runs/{}", e.run)));
        add("cicd.pipeline.task.run.url.full", Some(&format!("{repository}/actions/runs/{}/job/{}", e.run, e.job)));
    }
    add("error.type", error);
    add("muster.job.conclusion", e.conclusion.as_deref());
    add("muster.pool", past.pool.as_ref().map(|pool| pool.as_str()));
    add("cicd.worker.name", e.runner.as_deref());
    if let Some(b) = &past.taken_by {
        add("cicd.worker.id", Some(b.instance.as_str()));
        add("cloud.provider", Some("aws"));
        add("cloud.platform", Some("aws_ec2"));
        add("cloud.region", region);
        add("host.id", Some(b.instance.as_str()));
        add("host.type", b.shape.as_ref().map(|s| &*s.instance_type));
        add("muster.market", b.shape.as_ref().map(|s| s.market.as_str()));
        add("muster.subnet", b.shape.as_ref().and_then(|s| s.subnet.as_deref()));
    }
    all
}

/// The URL of the web pages of an API: for github.com, with data residency or without it, or for a GitHub Enterprise Server.
fn web_url(api: &str) -> Option<String> {
    let (scheme, rest) = api.split_once("://")?;
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{}", host.strip_prefix("api.").unwrap_or(host)))
}

/// An attribute whose value is text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(string(value)), ..KeyValue::default() }
}

fn list(key: &str, values: &[String]) -> KeyValue {
    let values = ArrayValue { values: values.iter().map(|value| string(value)).collect() };
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::ArrayValue(values)) }), ..KeyValue::default() }
}

fn string(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.into())) }
}

#[cfg(test)]
mod tests;
