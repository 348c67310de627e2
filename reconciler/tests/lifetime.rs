//! How old runners get: the limits that a pool leaves behind, and how reusable runners leave in time.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use std::collections::BTreeSet;
use std::time::Duration;

use muster_reconciler::effect::Action;
use muster_reconciler::event::InstanceState;
use muster_reconciler::ids::InstanceId;
use muster_reconciler::manifest::{Lifetime, Span};
use muster_reconciler::plan::retires_at;
use scene::{Scene, linux, pool, secs};

const HOUR: u64 = 3600;

fn ended(scene: &Scene) -> Vec<InstanceId> {
    let ends = scene.done.iter().filter_map(|(_, e)| if let Action::Terminate(ids) = &e.action { Some(ids) } else { None });
    ends.flatten().cloned().collect()
}

fn drained(scene: &Scene) -> Vec<InstanceId> {
    let drains = scene.done.iter().filter_map(|(_, e)| if let Action::Drain(ids) = &e.action { Some(ids) } else { None });
    drains.flatten().cloned().collect()
}

/// A pool with `maxLifetime: 7d` is renamed while a job runs for days. The limit that somebody wrote for the pool counts, and not
/// the default of one day: whether this process launched the instance or an earlier one, whose only word is the instance's tag.
#[test]
fn a_renamed_pool_leaves_its_max_lifetime_behind() {
    for restart in [false, true] {
        let mut long = linux();
        long.spec.runner.max_lifetime = Span::secs(7 * 24 * HOUR);
        let mut scene = Scene::new([long]);
        scene.pass(secs(60));
        scene.queue(1, &["self-hosted", "linux"]);
        scene.pass(secs(60));
        let runner = scene.live("linux")[0].clone();
        scene.start(0, &runner);
        scene.pass(secs(HOUR));
        scene.spec.pools.clear();
        scene.spec.pools.insert("renamed".into(), pool("renamed", &["self-hosted", "linux"], 10));
        if restart {
            scene.core = muster_reconciler::controller::Controller::new("q", scene.now);
        }
        scene.take_spec();
        scene.pass(secs(6 * 24 * HOUR));
        assert_eq!(ended(&scene), [], "restart: {restart}");
        assert_eq!(scene.live("linux"), std::slice::from_ref(&runner));
        scene.pass(secs(24 * HOUR));
        assert_eq!(ended(&scene), [runner], "somebody wrote 7d; restart: {restart}");
    }
}

/// An instance without the tag, of a pool that is gone: nobody wrote a limit that muster knows, so no limit ends a job.
#[test]
fn no_default_ends_a_job() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let runner = scene.live("linux")[0].clone();
    scene.start(0, &runner);
    scene.runners.get_mut(&runner).unwrap().max_lifetime = None;
    scene.spec.pools.clear();
    scene.take_spec();
    scene.pass(secs(4 * 24 * HOUR));
    assert_eq!(ended(&scene), []);
}

/// Reusable runners that always have a job: each is asked to end in the last quarter of its life, not all at once, and none is ended
/// with a job that is shorter than an eighth of the lifetime.
#[test]
fn reusable_runners_retire_one_after_another_and_finish_their_jobs() {
    let mut reusable = linux();
    reusable.spec.runner.lifetime = Lifetime::Reusable;
    reusable.spec.runner.max_lifetime = Span::secs(24 * HOUR);
    let mut scene = Scene::new([reusable]);
    scene.pass(secs(60));
    scene.queue(6, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let runners = scene.live("linux");
    assert_eq!(runners.len(), 6);
    for (job, runner) in runners.iter().enumerate() {
        scene.start(job as u64, runner);
    }
    let mut asked: BTreeSet<u64> = BTreeSet::new();
    let mut before = 0;
    for minute in 0..24 * 60 {
        scene.pass(secs(60));
        let now = drained(&scene).len();
        if now > before {
            asked.insert(minute);
            before = now;
        }
        // Whoever was asked ends after its job, which takes two hours.
        if minute % 120 == 119 {
            for runner in drained(&scene) {
                let r = scene.runners.get_mut(&runner).unwrap();
                (r.state, r.seat) = (InstanceState::Terminated, None);
            }
        }
    }
    assert_eq!(drained(&scene).into_iter().collect::<BTreeSet<_>>(), runners.iter().cloned().collect());
    assert!(asked.iter().all(|minute| (18 * 60 - 3..=21 * 60 + 3).contains(minute)), "{asked:?}");
    assert!(asked.len() >= 3, "they leave one after another: {asked:?}");
    assert_eq!(ended(&scene), [], "no runner is ended with its job");
}

#[test]
fn the_time_to_retire_is_the_same_in_every_process_and_spread() {
    let limit = Duration::from_secs(24 * HOUR);
    let ids: Vec<InstanceId> = (0..200_u32).map(|n| format!("i-{n:017x}").into()).collect();
    let times: Vec<Duration> = ids.iter().map(|id| retires_at(id, limit)).collect();
    assert!(times.iter().all(|at| (limit / 4 * 3..limit / 8 * 7).contains(at)), "{times:?}");
    assert!(times.iter().collect::<BTreeSet<_>>().len() > 40);
    assert_eq!(retires_at(&"i-0abc".into(), limit), retires_at(&"i-0abc".into(), limit));
}
