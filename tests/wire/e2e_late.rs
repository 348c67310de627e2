//! Jobs that no runner takes in time: what their commits say, and which runs are cancelled.

use crate::support;

use serde_json::json;
use support::instances::Habits;
use support::muster::Pool;
use support::scene::{LABELS, REPO, Scene, linux};
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

/// The pool buys spot only, and spot has nothing.
#[tokio::test]
async fn a_late_job_gets_an_instance_on_demand() {
    let late = linux().set("instance.market", "spot").set("startWithin", "[{after: 30s, do: on-demand}]");
    let Some(scene) = Scene::start(&[late], Habits::default()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "capacity", "market": "spot", "times": -1 })).await;
    scene.queue_jobs(2);
    scene.all_done(secs(120)).await;
    scene.all_gone(secs(60)).await;
    let markets: Vec<String> = scene.moto.instances().await.into_iter().map(|i| i.market).collect();
    assert_eq!(markets, ["on-demand", "on-demand"], "one for each late job");
    let step = "pool=\"linux\",result=\"taken\",step=\"on-demand\"";
    scene.muster.metric_becomes("muster_start_within_steps_total", step, 2.0).await;
}

#[tokio::test]
async fn a_late_job_of_a_full_pool_goes_to_the_next_that_fits() {
    let first = linux().set("capacity.max", "1").set("priority", "10").set("startWithin", "[{after: 30s, do: overflow}]");
    let spare = Pool::new("spare", &LABELS);
    let habits = Habits { job: secs(3600), ..Habits::default() };
    let Some(scene) = Scene::start(&[first, spare], habits).await else { return };
    let runs = |job: u64| {
        let github = &scene.github;
        move || async move { same(github.job(job).status, "in_progress".to_owned()) }
    };
    let busy = scene.queue_jobs(1)[0];
    eventually(secs(120), "the first job runs", runs(busy)).await;
    let late = scene.queue_jobs(1)[0];
    eventually(secs(240), "the second job runs", runs(late)).await;
    let (_, explained, _) = scene.muster.command(&["explain", &format!("job/{late}")]).await;
    assert!(explained.contains("spare"), "{explained}");
    let (_, events, _) = scene.muster.command(&["events"]).await;
    assert!(events.contains("job_handed_over"), "{events}");
    let step = "pool=\"linux\",result=\"taken\",step=\"overflow\"";
    scene.muster.metric_becomes("muster_start_within_steps_total", step, 1.0).await;
    assert_eq!(scene.github.job(busy).status, "in_progress");
}

/// No pool takes the job, so the ladder is the Controller's.
#[tokio::test]
async fn a_commit_says_that_no_pool_takes_its_job() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    scene.muster.change_controller("sync: {every: 0s}", "sync: {every: 0s}\n  startWithin: [{after: 30s, do: tell}]");
    scene.github.app(|app| app.granted["statuses"] = json!("write"));
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.github.queue_job(REPO, &["self-hosted", "linux", "gpu"]);
    let told = || async { scene.github.statuses(REPO).first().cloned().ok_or_else(|| "nothing is told".to_owned()) };
    let (state, text) = eventually(secs(120), "the commit is told", told).await;
    assert_eq!(state, "pending");
    assert!(text.starts_with("no runner within 30s: no pool takes it") && text.contains("gpu"), "{text}");
    assert_eq!(scene.launched().await, 0);
}
