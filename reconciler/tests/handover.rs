//! A pool that cannot launch lets its jobs go to another pool that fits.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Input, Launch, Launched, Outcome};
use muster_reconciler::event::JobState;
use muster_reconciler::failure::{Failure, FailureKind, OfferingError};
use muster_reconciler::journal::What;
use muster_reconciler::manifest::{RunnerPool, Span};
use muster_reconciler::market::Offering;
use muster_reconciler::steer::{Order, Pause};
use muster_reconciler::time::Time;
use scene::{BEGIN, Scene, message, pool, secs};

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

fn ice(launch: &Launch) -> Option<Outcome> {
    let refused = |o: &Offering| OfferingError {
        instance_type: Some(o.instance_type.clone()),
        subnet: Some(o.subnet.clone()),
        code: "InsufficientInstanceCapacity".into(),
        message: "none".into(),
    };
    Some(Outcome::Launched(Launched { instances: Vec::new(), errors: launch.offerings.iter().map(refused).collect() }))
}

fn pause(scene: &mut Scene) {
    scene.core.order(&Order::Pause("first".into(), String::new()), scene.now).unwrap();
}

fn resume(scene: &mut Scene) {
    scene.core.order(&Order::Resume("first".into()), scene.now).unwrap();
}

fn hops(scene: &Scene) -> usize {
    scene.core.seen().events(0, usize::MAX).into_iter().filter(|e| e.what == What::JobHandedOver).count()
}

#[test]
fn one_throttled_launch_neither_hands_over_nor_closes_a_pool() {
    let throttled =
        |l: &Launch| (l.pool.as_str() == "first").then(|| Outcome::Failed(Failure::new(FailureKind::Throttled, "slow")));
    let mut scene = Scene::new(two(3));
    scene.pass(secs(60));
    scene.launch = throttled;
    scene.queue(1, &LABELS);
    scene.pass(secs(1));
    scene.launch = |_| None;
    scene.pass(secs(600));
    scene.queue(5, &LABELS);
    scene.pass(secs(30));
    assert_eq!(hops(&scene), 0, "the pool is full, and does not overflow");

    let mut scene = Scene::new(two(3));
    scene.pass(secs(60));
    scene.launch = |_| Some(Outcome::Failed(Failure::new(FailureKind::Throttled, "slow")));
    scene.pool("second").spec.capacity.idle = 1;
    scene.take_spec();
    scene.pass(secs(1));
    scene.launch = |_| None;
    scene.pass(secs(3600));
    pause(&mut scene);
    scene.queue(3, &LABELS);
    scene.pass(secs(60));
    assert_eq!(hops(&scene), 3, "the other pool is well again");
}

#[test]
fn two_pools_without_capacity_do_not_hand_a_job_to_and_fro() {
    let mut pools = two(10);
    pools.iter_mut().for_each(|p| p.spec.overflow.after = Some(Span::secs(0)));
    let mut scene = Scene::new(pools);
    scene.pass(secs(60));
    scene.launch = ice;
    scene.queue(1, &LABELS);
    scene.pass(secs(600));
    assert!(hops(&scene) <= 2, "{}", hops(&scene));
}

#[test]
fn a_job_leaves_a_pool_that_is_switched_off_or_gets_no_capacity_for_five_minutes() {
    for off in [true, false] {
        let mut pools = two(10);
        pools[1].spec.instance.types = vec!["c7i.large".into()];
        let mut scene = Scene::new(pools);
        scene.pass(secs(60));
        scene.launch = |l| if l.pool.as_str() == "second" { ice(l) } else { None };
        pause(&mut scene);
        scene.queue(1, &LABELS);
        scene.pass(secs(5));
        resume(&mut scene);
        if off {
            scene.pool("second").spec.capacity.max = 0;
            scene.take_spec();
        }
        scene.pass(secs(if off { 30 } else { 500 }));
        assert_eq!((hops(&scene), launched(&scene, "first", BEGIN)), (if off { 1 } else { 2 }, 1));
    }
}

#[test]
fn the_idle_runners_of_a_warm_floor_keep_as_many_jobs() {
    let mut pools = two(10);
    pools[0].spec.capacity.idle = 2;
    let mut scene = Scene::new(pools);
    scene.pass(secs(60));
    pause(&mut scene);
    scene.queue(3, &LABELS);
    scene.pass(secs(5));
    assert_eq!(launched(&scene, "second", BEGIN), 1);
}

#[test]
fn the_pool_that_gets_a_job_launches_at_once_though_it_was_planned_in_the_same_step() {
    let mut scene = Scene::new([two(10)[0].clone(), pool("second", &["self-hosted", "linux", "big"], 10)]);
    scene.pass(secs(60));
    pause(&mut scene);
    scene.pass(secs(3));
    let began = scene.now;
    scene.queue(3, &LABELS);
    scene.feed(Input::Messages(vec![message(99, JobState::Completed, &["self-hosted", "big"])]));
    scene.pass(secs(2));
    assert_eq!(launched(&scene, "second", began), 3);
}

#[test]
fn a_backlog_that_github_holds_costs_one_runner_though_its_pool_is_paused() {
    let mut scene = Scene::new(two(20));
    scene.pass(secs(60));
    scene.queue(20, &LABELS);
    scene.pass(secs(600));
    let wait = |scene: &mut Scene| {
        for _ in 0..60 {
            scene.pass(secs(10));
            scene.end_drained();
        }
    };
    wait(&mut scene);
    let began = scene.now;
    pause(&mut scene);
    wait(&mut scene);
    let paid = launched(&scene, "first", began) + launched(&scene, "second", began);
    assert!(paid <= 2, "{paid}");
}

#[test]
fn after_a_restart_nothing_is_handed_over_before_ec2_was_looked_at() {
    let spec = Scene::new(two(10)).spec;
    let mut core = Controller::new("q", BEGIN);
    core.set_paused([("first".into(), Pause { since: BEGIN, why: String::new() })].into());
    core.step(BEGIN, Input::Spec(Arc::new(spec)));
    core.step(BEGIN + secs(1), Input::Messages((0..3).map(|job| message(job, JobState::Queued, &LABELS)).collect()));
    core.step(BEGIN + secs(3), Input::Tick);
    assert!(core.seen().events(0, usize::MAX).iter().all(|e| e.what != What::JobHandedOver));
}

#[test]
fn a_pool_that_was_refused_once_is_open_for_one_job_again() {
    let mut scene = Scene::new(two(10));
    scene.pass(secs(60));
    pause(&mut scene);
    scene.configure = |c| (c.name.pool.as_str() == "second").then(|| Failure::new(FailureKind::Refused, "suspended"));
    scene.queue(1, &LABELS);
    scene.pass(secs(20));
    assert_eq!(hops(&scene), 1);
    scene.cancel(0);
    scene.pass(secs(60));
    scene.configure = |_| None;
    scene.pass(secs(3600));
    let began = scene.now;
    scene.queue(3, &LABELS);
    scene.pass(secs(60));
    assert_eq!(launched(&scene, "second", began), 3, "one shows that it is well, and the others follow");
}

#[test]
fn changes_of_other_pools_do_not_begin_the_five_minutes_anew() {
    let mut pools = two(10).to_vec();
    pools.push(pool("other", &["self-hosted", "mac"], 1));
    let mut scene = Scene::new(pools);
    scene.pass(secs(60));
    scene.launch = refuse_the_first;
    scene.queue(2, &LABELS);
    for max in 2..6 {
        scene.pass(secs(240));
        scene.pool("other").spec.capacity.max = max;
        scene.take_spec();
    }
    assert_eq!(hops(&scene), 2);
}
