use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{JobId, RunId, RunnerId};
use muster_reconciler::market::Market;
use muster_reconciler::past::RunnerPast;
use muster_reconciler::runner::Shape;
use proptest::prelude::*;

use super::*;

fn at(s: u64) -> Time {
    Time::from_millis(1_700_000_000_000 + s * 1000)
}

/// A job that was queued at 10 s, and ran from 50 s to 90 s on an instance whose launch was asked for at 12 s.
fn job() -> JobPast {
    JobPast {
        event: JobEvent {
            job: JobId(7),
            run: RunId(3),
            state: JobState::Completed,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: vec!["self-hosted".into(), "linux".into()],
            runner: Some("c1.linux.i-0a".into()),
            runner_id: Some(RunnerId(7)),
            conclusion: Some("success".into()),
            queued_at: Some(at(10)),
            started_at: Some(at(50)),
        },
        pool: Some("linux".into()),
        api_url: Some("https://api.github.com".into()),
        heard: at(10),
        started: Some(at(50)),
        ended: at(90),
        end: End::Told,
        taken_by: Some(RunnerPast {
            instance: "i-0a".into(),
            shape: Some(Shape { instance_type: "m7i.large".into(), subnet: None, market: Market::Spot }),
            asked: Some(at(12)),
            reached: vec![(Stage::Launched, at(14)), (Stage::Script, at(30)), (Stage::Online, at(48))],
            interrupted: false,
            ended_by_muster: false,
        }),
    }
}

/// The name, the start and the end of each span, in seconds since time 0 of these tests.
fn told(past: &JobPast) -> Vec<(String, u64, u64)> {
    let seconds = |ns: u64| (ns / 1_000_000_000).saturating_sub(1_700_000_000);
    of(past, None).into_iter().map(|s| (s.name, seconds(s.start_time_unix_nano), seconds(s.end_time_unix_nano))).collect()
}

fn said(past: &JobPast, key: &str) -> Option<String> {
    let all = of(past, Some("eu-central-1")).remove(0).attributes;
    match all.into_iter().find(|kv| kv.key == key)?.value?.value? {
        Value::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

fn spans(all: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    all.iter().map(|(name, from, until)| ((*name).to_owned(), *from, *until)).collect()
}

#[test]
fn a_job_is_one_trace_whose_children_are_its_stages_end_to_end() {
    let wanted = [
        ("job", 10, 90),
        ("plan", 10, 12),
        ("launch", 12, 14),
        ("boot", 14, 30),
        ("register", 30, 48),
        ("assign", 48, 50),
        ("run", 50, 90),
    ];
    assert_eq!(told(&job()), spans(&wanted));
    let all = of(&job(), None);
    assert!(all.iter().all(|s| s.trace_id == all[0].trace_id && s.trace_id.len() == 16 && s.span_id.len() == 8));
    assert!(all[0].parent_span_id.is_empty() && all[1..].iter().all(|s| s.parent_span_id == all[0].span_id));
    let ids: std::collections::BTreeSet<_> = all.iter().map(|s| &s.span_id).collect();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn the_same_job_told_twice_has_the_same_ids_and_no_other_job_has_them() {
    let once = of(&job(), None);
    assert_eq!(once, of(&job(), None));
    // A successor of the process, which heard only of the job's end.
    let successor = JobPast { heard: at(95), started: None, ended: at(95), taken_by: None, ..job() };
    let again = of(&successor, None);
    assert_eq!((&again[0].trace_id, &again[0].span_id), (&once[0].trace_id, &once[0].span_id));
    let run = |all: &[Span]| all.iter().find(|s| s.name == "run").map(|s| s.span_id.clone());
    assert_eq!(run(&again), run(&once));
    let mut other = job();
    other.event.job = JobId(8);
    assert_ne!(of(&other, None)[0].trace_id, once[0].trace_id);
    assert_eq!(hex::encode(&once[0].trace_id), "6e76e3322549b4219440870240d18a00", "it stays so from release to release");
}

#[test]
fn what_is_not_known_is_left_out() {
    let successor = JobPast { heard: at(95), started: None, ended: at(95), taken_by: None, ..job() };
    assert_eq!(told(&successor), spans(&[("job", 10, 95), ("wait", 10, 50), ("run", 50, 95)]));
    let mut warm = job();
    warm.taken_by = warm.taken_by.map(|b| RunnerPast { asked: None, reached: vec![(Stage::Online, at(2))], ..b });
    assert_eq!(told(&warm), spans(&[("job", 10, 90), ("wait", 10, 50), ("run", 50, 90)]));
    let mut cancelled = JobPast { started: None, taken_by: None, ended: at(20), ..job() };
    (cancelled.event.runner, cancelled.event.conclusion) = (None, Some("cancelled".into()));
    assert_eq!(told(&cancelled), spans(&[("job", 10, 20), ("wait", 10, 20)]));
}

#[test]
fn a_late_delivery_is_a_stage_of_its_own() {
    let late = JobPast { heard: at(15), taken_by: None, ..job() };
    assert_eq!(told(&late)[..3], spans(&[("job", 10, 90), ("deliver", 10, 15), ("wait", 15, 50)]));
}

#[test]
fn only_what_muster_answers_for_is_an_error() {
    let ended = |end, conclusion: Option<&str>| {
        let mut past = JobPast { end, ..job() };
        past.event.conclusion = conclusion.map(str::to_owned);
        let error = of(&past, None)[0].status.as_ref().is_some_and(|s| s.code == StatusCode::Error as i32);
        (error, said(&past, "cicd.pipeline.task.run.result").expect("a result"), said(&past, "error.type"))
    };
    assert_eq!(ended(End::Told, Some("success")), (false, "success".into(), None));
    assert_eq!(ended(End::Told, Some("failure")), (false, "failure".into(), Some("failure".into())));
    assert_eq!(ended(End::Told, Some("cancelled")), (false, "cancellation".into(), None));
    assert_eq!(ended(End::Interrupted, Some("failure")), (true, "error".into(), Some("interrupted".into())));
    assert_eq!(ended(End::Lost, Some("failure")), (true, "error".into(), Some("lost".into())));
    assert_eq!(ended(End::Expired, None), (true, "error".into(), Some("expired".into())));
}

#[test]
fn attributes_say_where_it_ran_and_where_to_look() {
    for (key, value) in [
        ("cicd.pipeline.task.run.id", "7"),
        ("cicd.pipeline.task.run.url.full", "https://github.com/acme/web/actions/runs/3/job/7"),
        ("vcs.owner.name", "acme"),
        ("vcs.repository.name", "web"),
        ("cicd.worker.name", "c1.linux.i-0a"),
        ("host.id", "i-0a"),
        ("host.type", "m7i.large"),
        ("cloud.region", "eu-central-1"),
        ("muster.market", "spot"),
        ("muster.pool", "linux"),
    ] {
        assert_eq!(said(&job(), key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(web_url("https://ghes.example/api/v3").as_deref(), Some("https://ghes.example"));
    assert_eq!(web_url("https://api.corp.ghe.com").as_deref(), Some("https://corp.ghe.com"));
    assert_eq!(web_url("nonsense"), None);
}

proptest! {
    #[test]
    fn whatever_was_heard_when_times_are_ordered_and_the_children_fill_the_job(
        times in prop::collection::vec(prop::option::of(0..200_u64), 7), heard in 0..200_u64, ended in 0..200_u64,
    ) {
        let time = |n: usize| times[n].map(at);
        let mut past = JobPast { heard: at(heard), started: time(0), ended: at(ended), ..job() };
        (past.event.queued_at, past.event.started_at) = (time(1), time(2));
        let mut reached: Vec<_> = [Stage::Launched, Stage::Script, Stage::Online].into_iter().zip(3..)
            .filter_map(|(stage, n)| Some((stage, time(n)?))).collect();
        reached.sort_unstable_by_key(|(_, at)| *at);
        past.taken_by = past.taken_by.map(|b| RunnerPast { asked: time(6), reached, ..b });
        let all = of(&past, None);
        let mut cursor = all[0].start_time_unix_nano;
        for child in &all[1..] {
            prop_assert_eq!(child.start_time_unix_nano, cursor);
            prop_assert!(child.end_time_unix_nano > cursor);
            cursor = child.end_time_unix_nano;
        }
        prop_assert_eq!(cursor, all[0].end_time_unix_nano);
    }
}
