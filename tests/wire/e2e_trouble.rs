//! What goes wrong outside: a spot interruption, a lost webhook, and GitHub's secondary limit.

use crate::support;

use support::github::Fault;
use support::instances::Habits;
use support::scene::{Scene, linux};
use support::{eventually, same, secs};

#[tokio::test]
async fn spot_takes_an_instance_back_and_its_successor_comes_before_it_is_gone() {
    let Some(scene) = Scene::start(&[linux()], Habits { paused: true, ..Habits::default() }).await else { return };
    scene.queue_jobs(1);
    eventually(secs(20), "an instance lives", || async { same(scene.moto.alive().await.len(), 1) }).await;
    let first = scene.moto.alive().await[0].id.clone();
    eventually(secs(20), "muster knows the runner", || async { same(scene.muster.api("runners").await.len(), 1) }).await;
    scene.moto.warn_of_interruption(&scene.world, &first).await;
    eventually(secs(20), "another instance is launched while the first still runs", || async {
        same(scene.moto.alive().await.len(), 2)
    })
    .await;
    let runners = scene.muster.api("runners").await;
    let interrupted = runners.iter().find(|r| r["instance"] == first.as_str()).expect("still known");
    assert_eq!(interrupted["phase"], "interrupted", "{interrupted}");
    scene.moto.interrupt(&first).await;
    scene.instances.habits(|h| h.paused = false);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(60)).await;
    assert_eq!(scene.launched().await, 2);
    assert!(scene.muster.metric("muster_interruptions_total", "pool=\"linux\"").await >= 1.0);
}

/// Nobody listened when the job was queued. GitHub never tries again by itself, so muster asks it to.
#[tokio::test]
async fn a_queued_event_that_found_nobody_is_asked_for_again() {
    let Some(mut scene) = Scene::start(&[linux()], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.muster.terminate().await;
    scene.queue_jobs(2);
    let refused = || async { same(scene.github.sent().iter().filter(|s| s.status == 0).count(), 2) };
    eventually(secs(10), "both deliveries fail", refused).await;
    scene.muster.restart().await;
    scene.all_done(secs(80)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 2);
    assert_eq!(scene.github.calls_of("/app/hook/deliveries/{delivery_id}/attempts"), 2, "muster asks for each delivery once");
}

#[tokio::test]
async fn githubs_secondary_limit_is_waited_for() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.fail("generate-jitconfig", 1, Fault::SecondaryLimit(3));
    scene.queue_jobs(2);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 2, "no instance is replaced because of a limit");
    assert!(scene.muster.metric("muster_api_throttles_total", "").await >= 1.0);
}
