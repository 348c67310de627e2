//! The webhook, the queue behind it and the manifests, when the input is bad or the other side is down.

use crate::support;

use serde_json::{Value, json};
use support::github::hooks::{payload, post, sign};
use support::instances::Habits;
use support::muster::{WEBHOOK_SECRET, seal};
use support::scene::{LABELS, REPO, Scene, job_message, linux};
use support::{eventually, never, same, secs};

/// A text in every bad body. It must never be in a log, and never reach SQS.
const MARK: &str = "BODY-MARK-93c1";

async fn deliver(scene: &Scene, event: &str, body: Vec<u8>) -> u16 {
    let signature = sign(WEBHOOK_SECRET, &body);
    post(&scene.muster.webhook_url(), event, "1", Some(&signature), body).await
}

#[tokio::test]
async fn bad_input_is_refused_and_goes_nowhere() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let job = scene.github.queue_job_silently(REPO, &LABELS);
    let mut good = payload(&scene.github.job(job), "queued", 1);
    good["workflow_job"]["name"] = json!(MARK);
    let body = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.to_string().into_bytes()
    };
    let url = scene.muster.webhook_url();
    let plain = body(&|_| {});
    assert_eq!(post(&url, "workflow_job", "1", Some(&sign("another secret", &plain)), plain.clone()).await, 401);
    assert_eq!(post(&url, "workflow_job", "1", Some("sha256=zz"), plain.clone()).await, 401);
    assert_eq!(post(&url, "workflow_job", "1", None, plain.clone()).await, 401);
    assert_eq!(deliver(&scene, "workflow_job", format!("{{\"action\": \"{MARK}").into_bytes()).await, 400);
    assert_eq!(deliver(&scene, "workflow_job", json!({ "action": "queued", "x": MARK }).to_string().into_bytes()).await, 400);
    let huge = format!("{{\"{MARK}\": \"{}\"}}", "x".repeat(2 << 20)).into_bytes();
    assert_eq!(deliver(&scene, "workflow_job", huge).await, 413);
    assert_eq!(deliver(&scene, "issues", json!({ "action": MARK }).to_string().into_bytes()).await, 200);
    for ping in [include_str!("../github/payloads/ping.1.json"), include_str!("../github/payloads/ping.4.json")] {
        assert_eq!(deliver(&scene, "ping", ping.into()).await, 200);
    }
    never(secs(1), "something reached the queue", || async { same(scene.moto.depth(&scene.world.jobs).await.messages, 0) }).await;
    assert_eq!(scene.moto.calls_of("SendMessageBatch").await.len() + scene.moto.calls_of("SendMessage").await.len(), 0);
    scene.muster.assert_never_logged(&[MARK]);
    scene.muster.assert_no_secrets_logged(&scene.github);
}

/// A job of an environment that needs an approval: GitHub tells that it waits, and after the approval that it is queued.
#[tokio::test]
async fn a_job_that_waits_for_an_approval_costs_nothing_until_it_may_start() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let job = scene.github.queue_job_silently(REPO, &LABELS);
    let mut said = payload(&scene.github.job(job), "waiting", 1);
    said["workflow_job"]["status"] = json!("waiting");
    assert_eq!(deliver(&scene, "workflow_job", said.to_string().into_bytes()).await, 202);
    let muster = &scene.muster;
    let said_of = |id: u64, word: &'static str| {
        move || async move {
            let jobs = muster.api("jobs").await;
            same(jobs.iter().any(|j| j["id"] == id && j["reasonWord"] == word), true)
        }
    };
    eventually(secs(20), "the job is held", said_of(job, "held")).await;
    never(secs(2), "an instance was launched", || async { same(scene.launched().await, 0) }).await;
    let approved = payload(&scene.github.job(job), "queued", 1);
    assert_eq!(deliver(&scene, "workflow_job", approved.to_string().into_bytes()).await, 202);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(30)).await;
    // GitHub's own example of such an event.
    let example = include_str!("../github/payloads/workflow_job.waiting.1.json");
    let id = serde_json::from_str::<Value>(example).expect("JSON")["workflow_job"]["id"].as_u64().expect("an id");
    assert_eq!(deliver(&scene, "workflow_job", example.into()).await, 202);
    eventually(secs(20), "the example's job is listed", said_of(id, "unmatched")).await;
    assert_eq!(scene.launched().await, 1);
}

#[tokio::test]
async fn fields_that_github_adds_one_day_are_no_obstacle() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let job = scene.github.queue_job_silently(REPO, &LABELS);
    let mut said = payload(&scene.github.job(job), "queued", 1);
    said["workflow_job"]["a_new_field"] = json!({ "deep": [MARK] });
    said["another"] = json!(MARK);
    assert_eq!(deliver(&scene, "workflow_job", said.to_string().into_bytes()).await, 202);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(30)).await;
    scene.muster.assert_never_logged(&[MARK]);
}

#[tokio::test]
async fn a_queue_that_is_down_is_said_to_github_and_heals() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.moto.sqs_outage().await;
    scene.queue_jobs(3);
    eventually(secs(30), "all three deliveries are answered", || async { same(scene.github.sent().len(), 3) }).await;
    assert!(scene.github.sent().iter().all(|s| s.status == 503), "{:?}", scene.github.sent());
    scene.moto.heal().await;
    assert_eq!(scene.github.redeliver_failed(), 3);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 3);
}

#[tokio::test]
async fn a_poison_message_goes_to_the_dead_letters_and_blocks_nobody() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    for poison in ["not JSON {", "{}", "{\"v\": 99}", &format!("[\"{MARK}\"]")] {
        scene.moto.send(&scene.world.jobs, poison).await;
        scene.moto.send_with(&scene.world.jobs, poison, &[("muster", &seal(WEBHOOK_SECRET, poison))]).await;
    }
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    // A message that could not be moved at once comes back after the visibility timeout, two minutes.
    eventually(secs(60), "the bad messages are dead letters", || async {
        same(scene.moto.depth(&scene.world.dead_letters).await.messages, 8)
    })
    .await;
    scene.all_gone(secs(30)).await;
    scene.muster.assert_never_logged(&[MARK]);
}

/// A secret is replaced while a message waits that was sealed with the old one. Nothing is lost, whichever side is faster.
#[tokio::test]
async fn messages_that_wait_through_the_rotation_of_a_secret_are_not_lost() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let put = async |secret: &str, body: &str| {
        scene.moto.send_with(&scene.world.jobs, body, &[("muster", &seal(secret, body))]).await;
    };
    // The webhook has the next secret already, and the controller does not have it yet.
    let early = job_message(scene.github.queue_job_silently(REPO, &LABELS));
    put("the next secret", &early).await;
    eventually(secs(20), "muster looked at the message", || async {
        same(scene.muster.metric("muster_messages_total", "result=\"unsigned\"").await, 1.0)
    })
    .await;
    assert_eq!(scene.moto.depth(&scene.world.dead_letters).await.messages, 0);
    let app = std::fs::read_to_string(scene.muster.manifests().join("github.yaml")).expect("the App's manifest");
    std::fs::write(scene.muster.manifests().join("next"), "the next secret").expect("a file");
    let both = app.replace("[env:MUSTER_TEST_WEBHOOK_SECRET]", "[file:next, env:MUSTER_TEST_WEBHOOK_SECRET]");
    assert_ne!(app, both);
    scene.muster.write("github.yaml", &both);
    eventually(secs(20), "the controller has the secret, too", || async {
        if scene.muster.logs().contains("took over changed manifests") { Ok(()) } else { Err("not yet".into()) }
    })
    .await;
    // One more message was sealed with the old secret. Then the first message comes again.
    let late = job_message(scene.github.queue_job_silently(REPO, &LABELS));
    put(WEBHOOK_SECRET, &late).await;
    scene.moto.end_visibility().await;
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.moto.depth(&scene.world.dead_letters).await.messages, 0);
}

#[tokio::test]
async fn an_invalid_manifest_never_replaces_a_valid_one() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene
        .muster
        .write("pool-linux.yaml", "apiVersion: muster/v1\nkind: RunnerPool\nmetadata:\n  name: linux\nspec:\n  lables: [x]\n");
    eventually(secs(20), "the log names the file and the field", || async {
        let logs = scene.muster.logs();
        if logs.contains("pool-linux.yaml") && logs.contains("lables") { Ok(()) } else { Err("not a word".into()) }
    })
    .await;
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    scene.muster.write_pool(&linux().set("capacity.max", 7));
    eventually(secs(20), "the correction is taken up without a restart", || async {
        same(scene.muster.api("pools").await.first().and_then(|p| p["max"].as_u64()), Some(7))
    })
    .await;
    scene.all_gone(secs(30)).await;
}

async fn valid_becomes(scene: &Scene, wanted: f64) {
    let gauge = || async { same(scene.muster.metric("muster_manifest_valid", "").await, wanted) };
    eventually(secs(20), "the gauge muster_manifest_valid", gauge).await;
}

/// The gauge is 0 as long as the files' content is not in force. What they contained before does not matter.
#[tokio::test]
async fn a_change_that_cannot_be_taken_over_is_told_until_it_can_or_is_taken_back() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let app = std::fs::read_to_string(scene.muster.manifests().join("github.yaml")).expect("the App's manifest");
    let missing = app.replace("env:MUSTER_TEST_WEBHOOK_SECRET", "env:MUSTER_TEST_WEBHOOK_SECRET, file:next");
    let broken = app.replace("appId", "apId");
    for (change, said) in [(&missing, "cannot take over changed manifests yet"), (&broken, "changed manifests are not valid")] {
        scene.muster.write("github.yaml", change);
        valid_becomes(&scene, 0.0).await;
        assert!(scene.muster.logs().contains(said), "{said}");
        scene.muster.write("github.yaml", &app);
        valid_becomes(&scene, 1.0).await;
    }
    // The secret comes later than the manifest that refers to it.
    scene.muster.write("github.yaml", &missing);
    valid_becomes(&scene, 0.0).await;
    std::fs::write(scene.muster.manifests().join("next"), "another secret").expect("a file");
    valid_becomes(&scene, 1.0).await;
    // A change that needs a restart says so, and holds up all other changes.
    let controller =
        std::fs::read_to_string(scene.muster.manifests().join("controller.yaml")).expect("the Controller's manifest");
    scene.muster.change_controller("listen: {", "listen: {maxBody: 2097152, ");
    valid_becomes(&scene, 0.0).await;
    assert!(scene.muster.logs().contains("`listen` changed: restart muster for that"));
    scene.muster.write("controller.yaml", &controller);
    valid_becomes(&scene, 1.0).await;
}
