use super::*;
use crate::effect::{InstanceSighting, RunnerSighting};
use crate::event::{InstanceState, JobAbout};
use crate::ids::{RunId, RunnerName};
use crate::market::Market;

const PAST: Time = Time::from_millis(1_000);

fn heard(state: JobState, pool: &str, id: Option<u64>) -> JobEvent {
    JobEvent {
        job: JobId(1),
        run: RunId(1),
        state,
        waiting: false,
        attempt: None,
        about: JobAbout::default(),
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
    let row = RunnerSighting { id: RunnerId(7), name, online: true, busy: false, labels: Arc::default(), version: None };
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

/// After a restart, lists may be read before EC2 says which list is the runner's own. Whichever list came first, the runner has its own
/// row in the end, even if its list does not change any more.
#[test]
fn the_runners_own_row_is_found_whichever_list_is_read_first() {
    let list = |scope: &str| ListId { app: "app".into(), scope: scope.parse().expect("a scope") };
    let (ours, theirs) = (list("org/acme"), list("repo/acme/web"));
    let row = |id, online| {
        let name = RunnerName { cluster: "c".into(), pool: "x".into(), instance: "i-1".into() };
        RunnerSighting { id: RunnerId(id), name, online, busy: online, labels: Arc::default(), version: None }
    };
    let at = |seconds| PAST + Duration::from_secs(seconds);
    for (online, ours_first) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::default();
        let lists = [(&ours, row(7, true)), (&theirs, row(8, online))];
        let in_order: Vec<_> = if ours_first { lists.into_iter().collect() } else { lists.into_iter().rev().collect() };
        for (list, row) in in_order {
            assert_eq!(world.saw_runners(list, Some(&[row]), at(1), at(1)), [], "nobody knows yet whose row it is");
        }
        let sighting = InstanceSighting {
            id: "i-1".into(),
            pool: "x".into(),
            list_id: Some(ours.clone()),
            intent: None,
            state: InstanceState::Running,
            instance_type: "m7i.large".into(),
            subnet: None,
            market: Market::Spot,
            launched_at: PAST,
            max_lifetime: None,
            draining: false,
            stages: Vec::new(),
            own_word: None,
            runner_version: None,
            state_reason: None,
        };
        world.saw_instances(&[sighting], at(2), at(2));
        world.saw_runners(&ours, None, at(3), at(3));
        let id = |world: &World| world.runners()[&"i-1".into()].registration().map(|r| (r.id(), r.is_busy()));
        assert_eq!(id(&world), Some((RunnerId(7), true)), "online: {online}, ours first: {ours_first}");
        let told = world.saw_runners(&theirs, Some(&[row(8, online)]), at(4), at(4));
        assert_eq!(told, [("i-1".into(), RunnerId(8))], "online: {online}, ours first: {ours_first}");
        assert_eq!(world.saw_runners(&theirs, Some(&[row(8, online)]), at(5), at(5)), [], "told once");
        assert_eq!(id(&world), Some((RunnerId(7), true)));
    }
}
