//! Runners that stay: a reusable runner, and a warm floor.

use crate::support;

use support::instances::Habits;
use support::scene::{Scene, linux};
use support::{eventually, same, secs};

#[tokio::test]
async fn a_reusable_runner_takes_one_job_after_the_other() {
    let pool = linux().set("runner.lifetime", "reusable").set("runner.queueDelay", "0s").set("runner.idleTimeout", "3s");
    let Some(scene) = Scene::start(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![2]), "one instance ran both jobs");
}

#[tokio::test]
async fn a_warm_floor_is_kept_used_and_filled_up_again() {
    let Some(scene) = Scene::start(&[linux().set("capacity.idle", 2)], Habits { job: secs(1), ..Habits::default() }).await else {
        return;
    };
    let idle = || async {
        let runners = scene.muster.api("runners").await;
        same(runners.iter().filter(|r| r["phase"] == "idle").count(), 2)
    };
    eventually(secs(30), "two idle runners and no job", idle).await;
    scene.queue_jobs(1);
    scene.all_done(secs(30)).await;
    eventually(secs(30), "two idle runners again", idle).await;
    assert_eq!(scene.launched().await, 3);
    // The manifest has no floor any more. The idle runners are drained, and end.
    scene.muster.write_pool(&linux());
    scene.all_gone(secs(40)).await;
    assert!(scene.instances.stories().values().filter(|s| s.drained).count() == 2, "both ended because they were drained");
}
