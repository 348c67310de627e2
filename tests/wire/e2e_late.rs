//! Jobs that no runner takes in time: what their commits say, and which runs are cancelled.

use crate::support;

use serde_json::json;
use support::instances::Habits;
use support::scene::{REPO, Scene, linux};
use support::{eventually, same, secs};

#[tokio::test]
async fn a_commit_says_why_its_job_waits_until_the_run_is_cancelled() {
    let late = linux().set("capacity.max", "1").set("startWithin", "[{after: 30s, do: tell}, {after: 40s, do: cancel}]");
    let habits = Habits { job: secs(3600), ..Habits::default() };
    let Some(mut scene) = Scene::prepare(&[late], habits).await else { return };
    scene.github.app(|app| (app.granted["actions"], app.granted["statuses"]) = (json!("write"), json!("write")));
    scene.muster.spawn();
    scene.muster.ready().await;
    let first = scene.queue_jobs(1)[0];
    let began = || async { same(scene.github.job(first).status, "in_progress".to_owned()) };
    eventually(secs(60), "the first job runs", began).await;
    let second = scene.queue_jobs(1)[0];
    let told = || async { scene.github.statuses(REPO).first().cloned().ok_or_else(|| "nothing is told".to_owned()) };
    let (state, text) = eventually(secs(120), "the commit is told", told).await;
    assert_eq!(state, "pending");
    assert!(text.starts_with("no runner within 30s: pool linux is full"), "{text}");
    let (_, explained, _) = scene.muster.command(&["explain", &format!("job/{second}")]).await;
    assert!(explained.contains("steps of startWithin taken: tell"), "{explained}");
    assert!(explained.contains(&format!("of {REPO}, branch \"main\"")), "{explained}");
    let over = || async { same(scene.github.job(second).conclusion, Some("cancelled".to_owned())) };
    eventually(secs(240), "its run is cancelled", over).await;
    let last = || async {
        let statuses = scene.github.statuses(REPO);
        same(statuses.last().map(|(state, _)| state.clone()), Some("error".to_owned()))
    };
    eventually(secs(60), "the commit says so", last).await;
    assert_eq!(scene.github.job(first).status, "in_progress", "no other run is cancelled");
    let step = "pool=\"linux\",result=\"taken\",step=\"cancel\"";
    scene.muster.metric_becomes("muster_start_within_steps_total", step, 1.0).await;
    scene.muster.assert_no_secrets_logged(&scene.github);
}
