//! The controller is killed (`kill -9`) at five points of a run of fifty jobs, and starts again. It remembers only what the
//! queue and EC2 hold. Every job still gets its one runner, and nothing is left behind.

use crate::support;

use support::instances::Habits;
use support::scene::{Scene, linux};
use support::{eventually, ms, same, secs};

use serde_json::json;

const JOBS: usize = 50;

fn paused() -> Habits {
    Habits { paused: true, ..Habits::default() }
}

/// Kills muster, ends the visibility timeouts of its messages, restarts it, and waits until the run is over.
async fn die_and_recover(mut scene: Scene) {
    scene.muster.kill9();
    scene.moto.heal().await;
    scene.instances.habits(|h| h.paused = false);
    scene.moto.end_visibility().await;
    scene.muster.restart().await;
    scene.all_done(secs(150)).await;
    scene.all_gone(secs(90)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (JOBS, vec![1; JOBS]));
    scene.muster.assert_no_secrets_logged(&scene.github);
}

#[tokio::test]
async fn before_anything_is_launched() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "unavailable", "times": -1 })).await;
    scene.queue_jobs(JOBS);
    eventually(secs(30), "all jobs are held and a launch was tried", || async {
        let depth = scene.moto.depth(&scene.world.jobs).await;
        same((depth.messages, depth.in_flight, scene.moto.calls_of("CreateFleet").await.is_empty()), (JOBS, JOBS, false))
    })
    .await;
    die_and_recover(scene).await;
}

#[tokio::test]
async fn while_createfleet_is_under_way() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "slow", "after_effect": true, "delay_ms": 20000, "times": -1 })).await;
    scene.queue_jobs(JOBS);
    eventually(secs(30), "instances run that muster was never told of", || async { same(scene.launched().await > 0, true) })
        .await;
    die_and_recover(scene).await;
}

#[tokio::test]
async fn while_instances_are_configured() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
    scene.moto.fault(json!({ "op": "PutParameter", "kind": "slow", "delay_ms": 300, "times": -1 })).await;
    scene.queue_jobs(JOBS);
    eventually(secs(60), "some secrets lie ready, not all", || async {
        same(scene.moto.secrets().await.len() >= JOBS / 4, true)
    })
    .await;
    die_and_recover(scene).await;
}

#[tokio::test]
async fn when_all_instances_are_configured_and_none_is_online() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
    scene.queue_jobs(JOBS);
    eventually(secs(60), "all secrets lie ready", || async { same(scene.moto.secrets().await.len(), JOBS) }).await;
    die_and_recover(scene).await;
}

#[tokio::test]
async fn when_half_of_the_jobs_are_done() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: ms(1500), ..Habits::default() }).await else { return };
    scene.queue_jobs(JOBS);
    eventually(secs(90), "half of the jobs are done", || async {
        let done = scene.github.jobs().iter().filter(|j| j.status == "completed").count();
        same(done >= JOBS / 2, true)
    })
    .await;
    die_and_recover(scene).await;
}

#[tokio::test]
async fn a_clean_stop_gives_all_messages_back_within_ten_seconds() {
    let Some(mut scene) = Scene::start(&[linux().set("capacity.max", 0)], Habits::default()).await else { return };
    scene.queue_jobs(5);
    eventually(secs(20), "all messages are held", || async { same(scene.moto.depth(&scene.world.jobs).await.in_flight, 5) })
        .await;
    // SQS counts a message as in flight before muster has read the answer.
    scene.muster.metric_becomes("muster_messages_total", "result=\"job\"", 5.0).await;
    let status = scene.muster.terminate().await;
    assert!(status.success(), "{status}");
    let depth = scene.moto.depth(&scene.world.jobs).await;
    assert_eq!((depth.messages, depth.in_flight), (5, 0), "the messages are visible at once for the next process");
}
