//! The main job from end to end, over real wires: from a signed webhook to a spot instance with a runner on it, and back to
//! zero. AWS is moto behind a layer of faults, GitHub is a double that GitHub's own description judges, and muster is the
//! compiled binary.

use crate::support;

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_cloud::aws_sdk_ssm::types::ParameterType;
use serde_json::json;
use support::github::Fault;
use support::instances::{Behaviour, Habits};
use support::scene::{CLUSTER, REPO, Scene, linux};
use support::{eventually, ms, never, same, secs};

fn paused() -> Habits {
    Habits { paused: true, ..Habits::default() }
}

#[tokio::test]
async fn a_signed_webhook_becomes_a_runner_and_then_nothing() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(2), ..paused() }).await else { return };
    let Scene { muster, instances, moto, github, .. } = &scene;
    let job = github.queue_job(REPO, &["self-hosted", "linux"]);

    let instance = eventually(secs(20), "one instance", || async {
        let alive = moto.alive().await;
        same(alive.len(), 1).map(|()| alive[0].clone())
    })
    .await;
    let tags = ["muster:cluster", "muster:pool"].map(|t| instance.tag(t).to_owned());
    assert_eq!(tags, [CLUSTER, "linux"], "{instance:?}");
    assert_eq!(instance.market, "spot");
    let fleets = moto.calls_of("CreateFleet").await;
    assert_eq!((fleets.len(), fleets[0].count), (1, Some(1)));
    assert_eq!(fleets[0].token.as_deref(), Some(instance.tag("muster:intent")), "the token is the intent");
    let heard = github.sent().iter().find(|s| s.delivery.job == job).expect("the webhook was sent").at_ms;
    println!("job event to CreateFleet request: {:.0} ms", fleets[0].at_ms - heard as f64);

    let secret = format!("/muster/{CLUSTER}/runners/{}", instance.id);
    eventually(secs(20), "the instance's secret is ready", || async { same(moto.secrets().await, vec![secret.clone()]) }).await;
    let read = moto.ssm.get_parameter().name(&secret).send().await.expect("it can be read");
    assert_eq!(read.parameter().and_then(|p| p.r#type()), Some(&ParameterType::SecureString));
    let runners = github.runners();
    assert_eq!(runners.len(), 1);
    assert_eq!((runners[0].name.clone(), runners[0].online), (format!("{CLUSTER}.linux.{}", instance.id), false));
    assert_eq!(runners[0].labels.iter().collect::<BTreeSet<_>>().len(), 3, "the pool's labels: {:?}", runners[0].labels);

    instances.habits(|h| h.paused = false);
    eventually(secs(20), "the job runs, and muster says so with a reason", || async {
        same(github.job(job).status.as_str(), "in_progress")?;
        let jobs = muster.api("jobs").await;
        same(
            jobs.first().map(|j| (j["id"].as_u64(), j["state"].as_str().map(str::to_owned))),
            Some((Some(job), Some("in_progress".into()))),
        )?;
        let runners = muster.api("runners").await;
        same(runners.first().and_then(|r| r["phase"].as_str()), Some("busy"))?;
        let silent = jobs.iter().chain(&runners).filter(|item| item["reason"].as_str().is_none_or(str::is_empty)).count();
        same(silent, 0)
    })
    .await;
    assert_eq!(moto.secrets().await, Vec::<String>::new(), "the instance deleted its secret");

    scene.all_done(secs(20)).await;
    scene.all_gone(secs(30)).await;
    assert_eq!(scene.launched().await, 1);
    assert_eq!(scene.moto.calls_of("CreateFleet").await.len(), 1);
    assert!(muster.metrics().await.contains("muster_"));
    scene.assert_no_secrets_shown().await;
}

#[tokio::test]
async fn doubled_events_change_nothing() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.github.hooks(|h| h.copies = 2);
    scene.queue_jobs(5);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 5);
}

#[tokio::test]
async fn late_events_change_when_not_what() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(4), ..Habits::default() }).await else { return };
    scene.github.hooks(|h| h.delay = ms(1500)); // a busy runner explains a job whose event is late
    scene.queue_jobs(3);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 3);
}

#[tokio::test]
async fn a_job_that_is_over_before_it_is_heard_of_launches_nothing() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.github.register("org/acme", "laptop", &support::scene::LABELS, true);
    scene.github.hooks(|h| h.hold = true);
    let job = scene.queue_jobs(1)[0];
    scene.github.finish_job(job, "success");
    scene.github.release_held(true).await; // completed, in_progress, queued
    eventually(secs(10), "all three messages are off the queue", || async {
        same(scene.moto.depth(&scene.world.jobs).await.messages, 0)
    })
    .await;
    never(secs(3), "an instance is launched for the job", || async { same(scene.launched().await, 0) }).await;
    scene.all_gone(secs(20)).await;
}

#[tokio::test]
async fn a_job_cancelled_while_its_instance_boots_leaves_nothing() {
    let habits = Habits { behaviour: Arc::new(|_| Behaviour::BootsLate(secs(2))), ..Habits::default() };
    let Some(scene) = Scene::start(&[linux()], habits).await else { return };
    let job = scene.queue_jobs(1)[0];
    eventually(secs(20), "the job's instance boots", || async { same(scene.moto.alive().await.len(), 1) }).await;
    scene.github.cancel_job(job);
    scene.all_gone(secs(60)).await;
    assert_eq!(scene.launched().await, 1);
}

#[tokio::test]
async fn a_full_pool_waits_and_says_so_until_it_is_free() {
    let Some(scene) = Scene::start(&[linux().set("capacity.max", 2)], Habits { job: ms(1500), ..Habits::default() }).await else {
        return;
    };
    scene.queue_jobs(5);
    eventually(secs(20), "two instances live, and the waiting jobs say why they wait", || async {
        same(scene.moto.alive().await.len(), 2)?;
        let queued: Vec<_> = scene.muster.api("jobs").await.into_iter().filter(|j| j["state"] == "queued").collect();
        let waits = |j: &serde_json::Value| j["reason"].as_str().is_some_and(|r| r.contains("full"));
        if queued.iter().any(waits) { Ok(()) } else { Err(format!("{queued:?}")) }
    })
    .await;
    let done = async { scene.all_done(secs(60)).await };
    let watched = async {
        loop {
            assert!(scene.moto.alive().await.len() <= 2, "max is 2, and more instances live");
            tokio::time::sleep(ms(50)).await;
        }
    };
    tokio::select! { () = done => {}, () = watched => {} }
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 5);
}

#[tokio::test]
async fn a_runner_stolen_by_another_job_is_replaced() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(1), ..Habits::default() }).await else { return };
    let thief = scene.github.queue_job_silently(REPO, &["self-hosted", "linux"]); // its queued event was lost; older, so first
    let job = scene.queue_jobs(1)[0];
    eventually(secs(30), "the thief has a runner", || async { same(scene.github.job(thief).status == "queued", false) }).await;
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.github.job(job).conclusion.as_deref()), (2, Some("success")));
}

#[tokio::test]
async fn an_instance_that_never_boots_is_replaced() {
    let behaviour = Arc::new(|n| if n == 0 { Behaviour::NeverBoots } else { Behaviour::Normal });
    let pool = linux().set("runner.bootDeadline", "3s");
    let Some(scene) = Scene::start(&[pool], Habits { behaviour, ..Habits::default() }).await else { return };
    scene.queue_jobs(1);
    scene.all_done(secs(90)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 2);
}

#[tokio::test]
async fn githubs_lie_about_busy_kills_no_job() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(8), ..Habits::default() }).await else { return };
    scene.github.lie_about_busy(true);
    scene.queue_jobs(2);
    scene.all_done(secs(60)).await; // 8 s of work, 2 s of idleTimeout
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 2);
}

#[tokio::test]
async fn lost_answers_launch_and_register_nothing_twice() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "lost", "after_effect": true })).await;
    scene.github.fail("generate-jitconfig", 1, Fault::LoseAnswer);
    scene.queue_jobs(3);
    scene.all_done(secs(90)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 3);
}

#[tokio::test]
async fn spot_that_has_nothing_left_falls_back_to_on_demand() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "capacity", "market": "spot", "times": -1 })).await;
    scene.queue_jobs(2);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    let markets: Vec<String> = scene.moto.instances().await.into_iter().map(|i| i.market).collect();
    assert_eq!(markets, ["on-demand", "on-demand"]);
}
