//! A pool that cannot launch lets its jobs go to another pool that fits.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use std::collections::BTreeSet;

use muster_reconciler::effect::{Action, Launch, Outcome};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::journal::What;
use muster_reconciler::manifest::{RunnerPool, Span};
use muster_reconciler::steer::Order;
use muster_reconciler::time::Time;
use scene::{BEGIN, Scene, pool, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];

/// The first pool comes first, and the second one takes its jobs, too.
fn two(max: u32) -> [RunnerPool; 2] {
    let mut pools = [pool("first", &LABELS, max), pool("second", &LABELS, 10)];
    pools[0].spec.priority = 1;
    pools
}

fn launched(scene: &Scene, name: &str, from: Time) -> u32 {
    let of = |a: &&Action| if let Action::Launch(l) = a { u32::from(l.pool.as_str() == name) * l.count } else { 0 };
    scene.acts(from).iter().map(of).sum()
}

/// What was told of the jobs that were handed over, without repetitions.
fn told(scene: &Scene) -> BTreeSet<String> {
    let events = scene.core.seen().events(0, usize::MAX).into_iter();
    events.filter(|e| e.what == What::JobHandedOver).map(|e| e.why.to_string()).collect()
}

fn only(sentence: &str) -> BTreeSet<String> {
    BTreeSet::from([sentence.to_owned()])
}

#[test]
fn a_paused_pool_hands_over_the_jobs_that_it_has_no_runner_for() {
    let mut scene = Scene::new(two(10));
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    scene.pass(secs(5));
    scene.core.order(&Order::Pause("first".into(), "a new image".into()), scene.now).unwrap();
    let began = scene.now;
    scene.queue(3, &LABELS);
    scene.pass(secs(5));
    assert_eq!((launched(&scene, "first", began), launched(&scene, "second", began)), (0, 3), "one has a runner");
    assert_eq!(told(&scene), only("its pool has been paused, so pool second takes it"));
    // The jobs stay where their runners are. New jobs go to the pool that comes first.
    scene.core.order(&Order::Resume("first".into()), scene.now).unwrap();
    scene.queue(1, &LABELS);
    scene.take_spec();
    scene.pass(secs(60));
    assert_eq!((launched(&scene, "first", began), launched(&scene, "second", began)), (1, 3));
}

#[test]
fn jobs_of_a_paused_pool_stay_when_no_other_pool_can_launch() {
    for max in [0, 1] {
        let mut pools = two(10);
        pools[1].spec.capacity.max = max;
        let mut scene = Scene::new(pools);
        scene.pass(secs(60));
        scene.core.order(&Order::Pause("first".into(), String::new()), scene.now).unwrap();
        scene.queue(3, &LABELS);
        scene.pass(secs(60));
        assert_eq!(launched(&scene, "second", BEGIN), max);
        scene.core.order(&Order::Resume("first".into()), scene.now).unwrap();
        scene.pass(secs(60));
        assert_eq!(launched(&scene, "first", BEGIN), 3 - max);
    }
}

fn refuse_the_first(l: &Launch) -> Option<Outcome> {
    let refused = Failure::new(FailureKind::Refused, "launch: no such launch template");
    (l.pool.as_str() == "first").then_some(Outcome::Failed(refused))
}

#[test]
fn a_pool_that_has_failed_for_five_minutes_hands_over_its_jobs() {
    let mut scene = Scene::new(two(10));
    scene.pass(secs(60));
    scene.launch = refuse_the_first;
    let began = scene.now;
    scene.queue(2, &LABELS);
    scene.pass(secs(290));
    assert_eq!(launched(&scene, "second", began), 0);
    scene.pass(secs(30));
    assert_eq!(launched(&scene, "second", began), 2);
    assert_eq!(told(&scene), only("its pool has failed to make runners for minutes, so pool second takes it"));
}

#[test]
fn a_full_pool_keeps_its_jobs_unless_it_says_after_how_long_they_overflow() {
    for (after, wanted) in [(None, 0), (Some(Span::secs(120)), 2)] {
        let mut pools = two(3);
        pools[0].spec.overflow.after = after;
        let mut scene = Scene::new(pools);
        scene.pass(secs(60));
        let began = scene.now;
        scene.queue(5, &LABELS);
        scene.pass(secs(30));
        for (job, id) in scene.live("first").iter().enumerate() {
            scene.start(job as u64, id);
        }
        scene.pass(secs(85));
        assert_eq!((launched(&scene, "first", began), launched(&scene, "second", began)), (3, 0));
        scene.pass(secs(30));
        assert_eq!(launched(&scene, "second", began), wanted);
        scene.pass(secs(600));
        assert_eq!(launched(&scene, "second", began), wanted, "the others of the pool have runners");
        let sentence = only("its pool has reached its max, so pool second takes it");
        assert_eq!(told(&scene), if wanted == 0 { BTreeSet::new() } else { sentence });
    }
}

#[test]
fn jobs_that_overflowed_stay_where_they_are_when_manifests_change() {
    let mut pools = two(1);
    pools[0].spec.overflow.after = Some(Span::secs(0));
    let mut scene = Scene::new(pools);
    scene.pass(secs(60));
    let began = scene.now;
    scene.queue(3, &LABELS);
    scene.pass(secs(10));
    assert_eq!((launched(&scene, "first", began), launched(&scene, "second", began)), (1, 2));
    scene.pool("second").spec.capacity.max = 20;
    scene.take_spec();
    scene.pass(secs(10));
    assert_eq!(scene.live("second").len(), 2);
    // Labels that no longer fit send them back.
    scene.pool("second").spec.labels = vec!["self-hosted".into(), "windows".into()];
    scene.take_spec();
    scene.pass(secs(1));
    let waiting = scene.core.seen().jobs(scene.now).into_iter().filter(|j| j.pool.as_deref() == Some("first")).count();
    assert_eq!(waiting, 3);
}
