//! A name is not an identity: what a stranger who registers runners with our names can do, and what an operator learns of it.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Input, RunnerSighting};
use muster_reconciler::event::{InstanceState, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{AppName, InstanceId, RunnerId, RunnerName};
use muster_reconciler::journal::What;
use muster_reconciler::runner::Phase;

mod scene;
use scene::{Scene, linux, message, pool, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];

/// What GitHub truly says of a job on a runner that somebody else registered with this name.
fn theirs(scene: &mut Scene, job: u64, state: JobState, name: &str) {
    let mut message = message(job, state, &LABELS);
    (message.event.runner, message.event.runner_id) = (Some(name.to_owned()), Some(RunnerId(9_999)));
    scene.feed(Input::Messages(vec![message]));
}

fn noted(scene: &Scene, what: What) -> usize {
    scene.core.seen().events(0, usize::MAX).iter().filter(|event| event.what == what).count()
}

#[test]
fn runners_that_are_only_names_take_no_room() {
    let mut pool = linux();
    pool.spec.capacity.max = 5;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    for n in 0..5 {
        theirs(&mut scene, 700 + n, JobState::InProgress, &format!("c.linux.i-phantom{n}"));
    }
    scene.queue(3, &LABELS);
    scene.pass(secs(10));
    assert_eq!(scene.live("linux").len(), 3, "the names take no room");
    assert!(scene.core.seen().runners(scene.now).iter().all(|r| !r.instance.contains("phantom")));
}

#[test]
fn the_end_of_a_strangers_job_ends_no_runner_of_ours() {
    for come_online in [false, true] {
        let mut scene = Scene::new([linux()]);
        scene.come_online = come_online;
        scene.pass(secs(60));
        scene.queue(1, &LABELS);
        scene.pass(secs(20));
        let instance = scene.live("linux").remove(0);
        let before = scene.now;
        for state in [JobState::InProgress, JobState::Completed] {
            theirs(&mut scene, 700, state, &format!("c.linux.{instance}"));
        }
        scene.pass(secs(120));
        let ends = |a: &&Action| matches!(a, Action::Terminate(_) | Action::Drain(_) | Action::Deregister { .. });
        assert_eq!(scene.acts(before).into_iter().filter(ends).count(), 0, "online: {come_online}");
        let phase = scene.core.seen().runners(scene.now)[0].phase;
        assert_eq!(phase, if come_online { Phase::Idle } else { Phase::Configured });
        assert_eq!(noted(&scene, What::NameTaken), 2, "the operator learns that somebody uses the name");
        let job = scene.facts.iter().find_map(|f| if let Fact::JobEnded(past) = f { Some(past.taken_by.clone()) } else { None });
        assert_eq!(job.flatten(), None, "the job's story has no runner of ours");
    }
}

/// Whoever may register a runner in one list can choose the name of a runner in another list. Our runner's own list counts.
#[test]
fn a_row_in_another_list_says_nothing_of_our_runner() {
    for (online, restart) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut theirs = pool("theirs", &["self-hosted", "theirs"], 5);
        theirs.spec.github.scope = "repo/acme/web".parse().unwrap();
        let mut scene = Scene::new([linux(), theirs.clone()]);
        scene.pass(secs(60));
        scene.queue(1, &LABELS);
        scene.pass(secs(20));
        let instance = scene.live("linux").remove(0);
        scene.start(0, &instance);
        let name = RunnerName { cluster: "c".into(), pool: "linux".into(), instance: instance.clone() };
        let row = RunnerSighting { id: RunnerId(9_999), name, online, busy: false, labels: Default::default(), version: None };
        scene.strangers.push((theirs.list_id(), row));
        if restart {
            scene.core = Controller::new("p2", scene.now);
            scene.take_spec();
        }
        let before = scene.now;
        scene.pass(secs(90));
        for state in [JobState::InProgress, JobState::Completed] {
            theirs_of_ours(&mut scene, &instance, state);
        }
        scene.pass(secs(1800));
        let ends = |a: &&Action| matches!(a, Action::Terminate(_) | Action::Drain(_) | Action::Deregister { .. });
        assert_eq!(scene.acts(before).into_iter().filter(ends).count(), 0, "online: {online}, restart: {restart}");
        let seen = scene.core.seen().runners(scene.now);
        assert_eq!(seen.iter().find(|r| r.instance == instance.as_str()).unwrap().phase, Phase::Busy);
        assert!(noted(&scene, What::NameTaken) >= 1, "the operator learns that somebody uses the name");
        // The runner's own end is believed.
        scene.finish(0, &instance);
        scene.runners.get_mut(&instance).unwrap().seat = None;
        scene.pass(secs(600));
        assert_eq!(scene.live("linux"), [], "online: {online}, restart: {restart}");
    }
}

/// Two Apps that are installed in one organisation see the same runners.
#[test]
fn the_list_of_another_app_in_the_same_organisation_has_no_impostors() {
    let mut theirs = pool("theirs", &["self-hosted", "theirs"], 5);
    theirs.spec.github.app = Some("second".into());
    let mut scene = Scene::new([linux(), theirs.clone()]);
    scene.spec.apps.insert("second".into(), scene.spec.apps[&AppName::from("main")].clone());
    scene.take_spec();
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    scene.pass(secs(20));
    let instance = scene.live("linux").remove(0);
    let name = RunnerName { cluster: "c".into(), pool: "linux".into(), instance: instance.clone() };
    let row =
        RunnerSighting { id: scene.id(&instance), name, online: true, busy: false, labels: Default::default(), version: None };
    scene.strangers.push((theirs.list_id(), row));
    scene.pass(secs(120));
    assert_eq!(noted(&scene, What::NameTaken), 0);
    assert_eq!(scene.core.seen().runners(scene.now)[0].phase, Phase::Idle);
}

fn theirs_of_ours(scene: &mut Scene, instance: &InstanceId, state: JobState) {
    theirs(scene, 700, state, &format!("c.linux.{instance}"));
}

#[test]
fn a_runner_that_only_a_list_shows_is_never_ended() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    scene.pass(secs(20));
    // GitHub lists the runner, and EC2 never shows the instance again.
    let instance = scene.live("linux").remove(0);
    let mut ghost = scene.runners[&instance].clone();
    ghost.state = InstanceState::Terminated;
    ghost.seat = Some((true, false));
    let mut scene = Scene::new([linux()]);
    scene.runners.insert("i-ghost".into(), ghost);
    let before = scene.now;
    scene.pass(secs(900));
    let ends = |a: &&Action| matches!(a, Action::Terminate(_) | Action::Drain(_));
    assert_eq!(scene.acts(before).into_iter().filter(ends).count(), 0);
}

#[test]
fn a_job_of_a_repository_that_the_pool_does_not_list_is_told_once() {
    let mut pool = linux();
    pool.spec.github.repositories = vec!["acme/deploy".into()];
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    scene.queue_of("acme/deploy", 1, &LABELS);
    scene.pass(secs(30));
    let instance = scene.live("linux").remove(0);
    // `acme/web` is the repository of `start` and `finish`.
    scene.start(700, &instance);
    scene.finish(700, &instance);
    assert_eq!(noted(&scene, What::ForeignJob), 1);
    assert_eq!(scene.facts.iter().filter(|f| matches!(f, Fact::ForeignJob { .. })).count(), 1);
    let events = scene.core.seen().events(0, usize::MAX);
    let told = events.iter().find(|e| e.what == What::ForeignJob).unwrap();
    assert!(told.bad && told.why.contains("acme/web is not among the repositories of this pool"), "{}", told.why);
    assert!(told.why.contains("runner group Default admits the repository"), "{}", told.why);
}

/// A later process knows no id of the runner's registration, because the job is over and the registration went with it. An old event
/// says that the runner has this job. GitHub is asked all the same.
#[test]
fn a_job_that_only_an_old_event_tells_of_is_asked_about() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    scene.pass(secs(20));
    let instance = scene.live("linux").remove(0);
    scene.core = Controller::new("p2", scene.now);
    scene.take_spec();
    scene.runners.get_mut(&instance).unwrap().seat = None;
    scene.pass(secs(20));
    scene.start(0, &instance);
    scene.runners.get_mut(&instance).unwrap().seat = None;
    scene.job_states.insert(0, Some(JobState::Completed));
    scene.pass(secs(1200));
    assert_eq!(scene.live("linux"), [], "the instance does not stay as long as its maxLifetime");
}
