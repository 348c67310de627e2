use super::*;
use crate::effect::RunnerSighting;
use crate::ids::{RunId, RunnerName};

const PAST: Time = Time::from_millis(1_000);

fn heard(state: JobState, pool: &str, id: Option<u64>) -> JobEvent {
    JobEvent {
        job: JobId(1),
        run: RunId(1),
        state,
        waiting: false,
        repo: "acme/web".into(),
        org: None,
        enterprise: None,
        labels: vec![],
        runner: Some(format!("c.{pool}.i-1")),
        runner_id: id.map(RunnerId),
        conclusion: None,
        queued_at: None,
        started_at: None,
    }
}

/// A world whose list shows the runner `c.x.i-1` with the id 7.
fn listed() -> World {
    let mut world = World::default();
    let list = ListId { app: "app".into(), scope: "org/acme".parse().expect("a scope") };
    let name = RunnerName { cluster: "c".into(), pool: "x".into(), instance: "i-1".into() };
    let row = RunnerSighting { id: RunnerId(7), name, online: true, busy: false, labels: Arc::default() };
    world.saw_runners(&list, Some(&[row]), PAST, PAST);
    world
}

#[test]
fn an_event_speaks_of_a_runner_only_with_the_id_of_its_registration() {
    let world = listed();
    let named = |event: &JobEvent| match world.named("c", event) {
        Named::NotOurs => "not ours",
        Named::Unknown(_) => "unknown",
        Named::Unproven(..) => "unproven",
        Named::Proven(..) => "proven",
        Named::Impostor(..) => "impostor",
    };
    let of = |pool, id| heard(JobState::InProgress, pool, id);
    assert_eq!(named(&of("x", Some(7))), "proven");
    assert_eq!(named(&of("x", Some(8))), "impostor");
    assert_eq!(named(&of("x", None)), "unproven");
    assert_eq!(named(&of("y", Some(7))), "not ours", "a sender may be allowed to speak of one pool only");
    let other = |runner: Option<&str>| JobEvent { runner: runner.map(str::to_owned), ..of("x", Some(7)) };
    assert_eq!(named(&other(Some("c.x.i-2"))), "unknown");
    assert_eq!(named(&other(Some("d.x.i-1"))), "not ours");
    assert_eq!(named(&other(None)), "not ours");
}

#[test]
fn a_name_alone_is_only_a_name() {
    let world = listed();
    assert!(world.runners()[&"i-1".into()].is_only_named(PAST));
}
