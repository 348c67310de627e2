//! What an operator meets besides the main job: other scopes, reusable runners, a warm floor, spot interruptions, GitHub's
//! limits, and `muster plan`.

use crate::support;

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use support::github::Fault;
use support::instances::{Behaviour, Habits};
use support::moto::OPERATOR_KEY;
use support::scene::{LABELS, REPO, Scene, linux};
use support::{eventually, ms, same, secs};

fn paused() -> Habits {
    Habits { paused: true, ..Habits::default() }
}

#[tokio::test]
async fn a_repositorys_own_pool_serves_it() {
    let pool = linux().scope(&format!("repo/{REPO}"));
    let Some(scene) = Scene::start(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.queue_jobs(2);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 2);
    assert_eq!(scene.github.calls_of("/repos/{owner}/{repo}/actions/runners/generate-jitconfig"), 2);
}

#[tokio::test]
async fn an_enterprises_pool_serves_its_organisations() {
    let pool = linux().scope("enterprise/big").set("github.runnerGroup", "big");
    let Some(mut scene) = Scene::prepare(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.found_enterprise("big");
    let token = scene.github.make_token(&["manage_runners:enterprise", "repo"]);
    scene.muster.write_token(&scene.github, &token);
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.queue_jobs(2);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 2);
    assert_eq!(scene.github.calls_of("/enterprises/{enterprise}/actions/runners/generate-jitconfig"), 2);
    assert!(scene.muster.metric("muster_github_limit_remaining", "app=\"of-enterprise\",resource=\"core\"").await > 0.0);
    scene.muster.assert_no_secrets_logged(&scene.github);
}

/// GitHub answers 401, and muster says what to do. A new token is taken over without a restart.
#[tokio::test]
async fn an_enterprises_token_that_was_revoked_is_told_and_a_new_one_is_taken() {
    let pool = linux().scope("enterprise/big");
    let Some(mut scene) = Scene::prepare(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.found_enterprise("big");
    let token = scene.github.make_token(&["manage_runners:enterprise"]);
    scene.muster.write_token(&scene.github, &token);
    scene.github.revoke_token(&token);
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.queue_jobs(1);
    eventually(secs(30), "the runner says why it is not configured", || async {
        let runners = scene.muster.api("runners").await;
        let told = |r: &Value| r.to_string().contains("the token of GitHubToken `of-enterprise` expired or was revoked");
        if runners.iter().any(told) { Ok(()) } else { Err(format!("{runners:#?}")) }
    })
    .await;
    let token = scene.github.make_token(&["manage_runners:enterprise"]);
    scene.muster.write_token(&scene.github, &token);
    scene.muster.change_controller("plan: 1s", "plan: 900ms");
    scene.all_done(secs(60)).await;
    scene.muster.assert_no_secrets_logged(&scene.github);
}

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

#[tokio::test]
async fn spot_takes_an_instance_back_and_its_successor_comes_before_it_is_gone() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
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

#[tokio::test]
async fn plan_says_what_would_be_done_and_changes_nothing() {
    let behaviour = Arc::new(|_| Behaviour::Normal);
    let Some(mut scene) = Scene::start(&[linux().set("capacity.max", 1)], Habits { behaviour, ..paused() }).await else { return };
    scene.queue_jobs(3);
    eventually(secs(20), "one instance lives", || async { same(scene.moto.alive().await.len(), 1) }).await;
    let dir = scene.muster.manifests().display().to_string();

    let (code, out, err) = scene.muster.command(&["plan", "--manifests", &dir, "-o", "json"]).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert!(answer["jobs"].as_str().is_some_and(|j| j.starts_with("3 jobs")), "{answer}");
    let pool = &answer["pools"][0];
    assert!(pool["reason"].as_str().is_some_and(|r| r.contains("has reached its max")), "{answer}");

    // The same world with room for more, which is a launch of two. Only the plan's own copy of the manifests is changed.
    let copy = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(&dir).expect("manifests") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).expect("text").replace("max: 1}", "max: 9}").replace("max: 1,", "max: 9,");
            std::fs::write(copy.path().join(path.file_name().expect("a name")), text).expect("a copy");
        }
    }
    let (code, out, err) = scene.muster.command(&["plan", "--manifests", &copy.path().display().to_string()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("launch") && out.contains("2 spot of"), "{out}");
    let changing = ["CreateFleet", "TerminateInstances", "CreateTags", "ReceiveMessage", "PutParameter"];
    let made: Vec<String> = scene.moto.calls_by(OPERATOR_KEY).await.into_iter().map(|c| c.op).collect();
    assert!(!made.is_empty() && !made.iter().any(|op| changing.contains(&op.as_str())), "{made:?}");
    assert_eq!(scene.moto.alive().await.len(), 1);

    // Without a controller, only the length of the queue is known.
    scene.muster.terminate().await;
    let (code, out, _) = scene.muster.command(&["plan", "--manifests", &dir]).await;
    assert_eq!(code, 0);
    assert!(out.contains("the queue holds 3 messages"), "{out}");
    scene.muster.restart().await;
    scene.instances.habits(|h| (h.paused, h.job) = (false, ms(700)));
    scene.all_done(secs(90)).await;
    scene.all_gone(secs(60)).await;
}

#[tokio::test]
async fn labels_that_no_pool_has_are_explained_until_a_pool_comes() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.queue_job(REPO, &["self-hosted", "linux", "gpu"]);
    eventually(secs(20), "the job says which pool came nearest", || async {
        let jobs = scene.muster.api("jobs").await;
        let says =
            jobs.iter().any(|j| j["reason"].as_str().is_some_and(|r| r.contains("comes nearest") && r.contains(r#"["gpu"]"#)));
        if says { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await;
    assert_eq!(scene.launched().await, 0);
    let labels: Vec<&str> = LABELS.iter().copied().chain(["gpu"]).collect();
    scene.muster.write_pool(&support::muster::Pool::new("linux", &labels));
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 1);
}

/// GitHub forgets the old key while muster runs. The new key is in the file, and a manifest changes.
#[tokio::test]
async fn an_apps_replaced_private_key_is_taken_over() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    let new = scene.github.replace_key();
    scene.queue_jobs(1);
    eventually(secs(30), "the old key is refused", || async {
        let refused = scene.muster.logs().contains("could not be decoded");
        if refused { Ok(()) } else { Err("nothing is said of it".to_owned()) }
    })
    .await;
    std::fs::write(scene.muster.manifests().join("app.pem"), new).expect("the key can be written");
    scene.muster.write_pool(&linux().set("capacity.max", 7));
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(60)).await;
    assert!(scene.muster.logs().contains("took over changed GitHub Apps"));
}

/// `muster explain` of a waiting job, of an instance, and of an instance that is gone and left its reason on its console.
#[tokio::test]
async fn explain_says_where_things_stand_and_what_an_instance_said_of_its_end() {
    let Some(scene) = Scene::start(&[linux().set("capacity.max", 1)], paused()).await else { return };
    let jobs = scene.queue_jobs(2);
    eventually(secs(20), "one instance lives", || async { same(scene.moto.alive().await.len(), 1) }).await;
    let id = scene.moto.alive().await[0].id.clone();
    let explain =
        async |what: String| scene.muster.command(&["explain", &what, "--controller", &scene.muster.admin_url("")]).await;

    let (code, out, err) = explain(format!("job/{}", jobs[1])).await;
    assert!(code == 0 && out.contains("queued") && out.contains("pool linux"), "{out}{err}");
    let (code, out, err) = explain("pool/linux".into()).await;
    assert!(code == 0 && out.contains("2 wanted") && out.contains("has reached its max"), "{out}{err}");
    let (code, out, err) = explain(format!("runner/{id}")).await;
    assert!(code == 0 && out.starts_with(&format!("runner {id}: ")) && !out.contains("console"), "{out}{err}");
    for nothing in ["job/1", "pool/none"] {
        let (code, out, err) = explain(nothing.into()).await;
        assert!(code == 3 && out.is_empty() && err.contains("knows of no"), "{out}{err}");
    }
    let (code, _, err) = explain("instance/1".into()).await;
    assert!(code == 2 && err.contains("job/ID"), "{err}");

    // An instance that this process never knew, or no longer knows. Its console still says why it ended.
    let console = base64::prelude::BASE64_STANDARD.encode("boot\nmuster: ended: registration failed: it said: 404\n");
    let xml =
        format!("<GetConsoleOutputResponse><instanceId>i-0a</instanceId><output>{console}</output></GetConsoleOutputResponse>");
    let fault = json!({"op": "GetConsoleOutput", "kind": "body", "status": 200, "content_type": "text/xml", "body": xml});
    scene.moto.fault(fault).await;
    let (code, out, err) = explain("runner/i-0a".into()).await;
    assert!(code == 0 && out.contains("the instance itself said: ended: registration failed: it said: 404"), "{out}{err}");
    scene.moto.heal().await;
    scene
        .moto
        .fault(json!({"op": "GetConsoleOutput", "kind": "error", "code": "InvalidInstanceID.NotFound", "status": 400}))
        .await;
    let (code, out, err) = explain("runner/i-0a".into()).await;
    assert!(code == 3 && out.is_empty() && err.contains("InvalidInstanceID.NotFound"), "{out}{err}");
    scene.moto.heal().await;
    scene.instances.habits(|h| (h.paused, h.job) = (false, ms(700)));
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(60)).await;
}
