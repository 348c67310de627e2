//! What happens in one pool, App or limit delays another pool's single job by at most one round of the budget that they share.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use muster_reconciler::effect::{Action, Configure, DeliverySighting};
use muster_reconciler::event::InstanceState;
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, DeliveryId, JobId};
use muster_reconciler::time::Time;

mod scene;
use scene::{Scene, linux, pool, secs};

/// Two pools, of which one takes the burst.
fn busy_and_calm() -> Scene {
    let mut scene = Scene::new([pool("a", &["self-hosted", "a"], 3000), pool("z", &["self-hosted", "z"], 10)]);
    scene.pass(secs(60));
    scene
}

/// When each instance of a pool was launched, and how many calls that took.
fn launches(scene: &Scene, name: &str, from: Time) -> (Vec<Duration>, usize) {
    let (mut at, mut calls) = (Vec::new(), 0);
    for (when, effect) in scene.done.iter().filter(|(when, _)| *when >= from) {
        if let Action::Launch(l) = &effect.action
            && l.pool.as_str() == name
        {
            at.extend((0..l.count).map(|_| when.since(from)));
            calls += 1;
        }
    }
    (at, calls)
}

fn configured(scene: &Scene, name: &str, from: Time) -> Vec<Duration> {
    let of = |action: &Action| matches!(action, Action::Configure(c) if c.name.pool.as_str() == name);
    scene.done.iter().filter(|(at, e)| *at >= from && of(&e.action)).map(|(at, _)| at.since(from)).collect()
}

fn boot_failures(scene: &Scene) -> usize {
    scene.facts.iter().filter(|f| matches!(f, Fact::BootFailed { .. })).count()
}

#[test]
fn a_single_job_beside_another_pools_burst_has_its_runner_at_once() {
    for burst in [300, 2000] {
        let mut scene = busy_and_calm();
        scene.queue(burst, &["a"]);
        scene.pass(secs(5));
        let began = scene.now;
        scene.queue(1, &["z"]);
        scene.pass(secs(20));
        assert_eq!(launches(&scene, "z", began).0, [Duration::from_millis(50)], "a burst of {burst}");
        assert!(configured(&scene, "z", began)[0] < secs(2), "a burst of {burst}: {:?}", configured(&scene, "z", began));
    }
}

/// The pool z had its instances before the other pool's 2000 jobs came. They took every configuration, and z's instances were
/// ended and counted as failures to start.
#[test]
fn pools_take_turns_at_configurations() {
    let mut scene = busy_and_calm();
    let began = scene.now;
    scene.queue(10, &["z"]);
    scene.pass(Duration::from_millis(60));
    scene.queue(2000, &["a"]);
    scene.pass(secs(60));
    let (a, z) = (configured(&scene, "a", began), configured(&scene, "z", began));
    assert_eq!(z.len(), 10);
    assert!(z[9] < secs(8), "every second one of 3 a second: {z:?}");
    assert!(a.len() > 150, "{}", a.len());
    scene.pass(secs(600));
    assert_eq!(boot_failures(&scene), 0);
}

#[test]
fn pools_that_wait_for_room_share_it() {
    let mut scene = busy_and_calm();
    scene.pool("z").spec.capacity.max = 500;
    scene.take_spec();
    scene.queue(2000, &["a"]);
    scene.pass(secs(5));
    let began = scene.now;
    scene.queue(100, &["z"]);
    scene.pass(secs(90));
    let (a, z) = (launches(&scene, "a", began).0.len(), launches(&scene, "z", began).0.len());
    assert!(z == 100 && (100..=200).contains(&a), "{z} for z, {a} for a");
}

fn main_fails(c: &Configure) -> Option<Failure> {
    (c.list_id.app.as_str() == "main").then(|| Failure::new(FailureKind::Unavailable, "503"))
}

#[test]
fn an_app_that_fails_takes_no_room_from_another() {
    let mut scene = busy_and_calm();
    let app = scene.spec.apps[&AppName::from("main")].clone();
    scene.spec.apps.insert("other".into(), app);
    scene.pool("z").spec.github.app = Some("other".into());
    scene.take_spec();
    scene.pass(secs(60));
    scene.configure = main_fails;
    scene.queue(200, &["a"]);
    scene.pass(secs(60));
    let began = scene.now;
    scene.queue(8, &["z"]);
    scene.pass(secs(30));
    assert_eq!(launches(&scene, "z", began), (vec![Duration::from_millis(50); 8], 1));
    assert_eq!(configured(&scene, "z", began).len(), 8);
    assert_eq!(scene.live("a").len(), 90, "its own room is full");
}

#[test]
fn an_instance_that_nobody_tried_to_configure_is_no_failure_to_start() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(20, &["linux"]);
    scene.pass(Duration::from_millis(510));
    scene.spec.controller.spec.limits.ssm_put_per_second = 0.01;
    scene.take_spec();
    scene.pass(secs(60));
    let tried = configured(&scene, "linux", Time::ZERO).len();
    assert!((1..10).contains(&tried), "{tried}");
    for r in scene.runners.values_mut().filter(|r| r.seat.is_none()) {
        r.state = InstanceState::Terminated;
    }
    scene.pass(secs(60));
    assert_eq!(boot_failures(&scene), 0);
    let reason = scene.core.seen().pools(scene.now)[0].reason.clone();
    assert!(!reason.contains("failed to start"), "{reason}");
}

/// Each place became a call of its own, two a second.
#[test]
fn a_place_that_becomes_free_waits_a_second_for_others() {
    let mut scene = Scene::new([pool("a", &["self-hosted", "a"], 300)]);
    scene.pass(secs(60));
    let began = scene.now;
    scene.queue(200, &["a"]);
    scene.pass(secs(70));
    let (at, calls) = launches(&scene, "a", began);
    assert_eq!((at.len(), at[89]), (200, Duration::from_millis(500)));
    assert!(calls <= 40, "{calls} calls");
    assert!(at[199] < secs(40), "{:?}", at[199]);
}

#[test]
fn pools_take_turns_at_launches() {
    let names = ["a", "b", "z"];
    let mut scene = Scene::new(names.map(|name| pool(name, &["self-hosted", name], 50)));
    scene.spec.controller.spec.limits.create_fleet_per_second = 0.2;
    scene.take_spec();
    scene.pass(secs(60));
    for _ in 0..30 {
        scene.queue(1, &["a"]);
        scene.queue(1, &["b"]);
        scene.pass(secs(1));
    }
    let began = scene.now;
    scene.queue(1, &["z"]);
    for _ in 0..30 {
        scene.queue(1, &["a"]);
        scene.queue(1, &["b"]);
        scene.pass(secs(1));
    }
    let z = launches(&scene, "z", began).0;
    assert!(z.len() == 1 && z[0] <= secs(6), "one call in five seconds, and z has had none: {z:?}");
}

#[test]
fn pools_take_turns_at_checks_of_their_jobs() {
    let mut scene = Scene::new([pool("a", &["self-hosted", "a"], 0), pool("z", &["self-hosted", "z"], 0)]);
    scene.pass(secs(60));
    scene.queue(1000, &["a"]);
    scene.pass(secs(600));
    let (began, job) = (scene.now, JobId(scene.jobs));
    scene.queue(1, &["z"]);
    scene.pass(secs(600));
    let asked: Vec<u64> = scene
        .done
        .iter()
        .filter(|(_, e)| matches!(&e.action, Action::CheckJob { job: of, .. } if *of == job))
        .map(|(at, _)| at.since(began).as_secs())
        .collect();
    assert!(asked.len() >= 2 && asked[0] <= 124, "asked at {asked:?} s");
}

/// A redelivery may tell of a job that nobody knows of. What is asked about known jobs takes nothing from it.
#[test]
fn lost_webhooks_are_asked_for_however_many_jobs_wait() {
    let mut scene = Scene::new([pool("a", &["self-hosted", "a"], 0)]);
    scene.pass(secs(60));
    scene.queue(1000, &["a"]);
    scene.pass(secs(600));
    let failed = |n| DeliverySighting { id: DeliveryId(n), guid: format!("g{n}"), action: Some("queued".into()), status: 503 };
    scene.undelivered = (1..=200).map(failed).collect();
    let began = scene.now;
    scene.pass(secs(60 + 30 + 180 + 10));
    let asked = scene.done.iter().filter(|(at, e)| *at >= began && matches!(e.action, Action::Redeliver { .. })).count();
    assert_eq!(asked, 200, "twenty at once, and then one a second");
}
