//! Pools of a repository and of an enterprise, and credentials that are replaced: an enterprise's token and an App's key.

use crate::support;

use serde_json::Value;
use support::instances::Habits;
use support::scene::{REPO, Scene, linux};
use support::{eventually, secs};

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
