//! What muster answers: `muster plan`, `muster explain`, and the reasons of a job that no pool takes.

use crate::support;

use std::sync::Arc;

use serde_json::Value;
use support::instances::{Behaviour, Habits};
use support::moto::OPERATOR_KEY;
use support::scene::{LABELS, REPO, Scene, linux};
use support::{eventually, ms, same, secs};

fn paused() -> Habits {
    Habits { paused: true, ..Habits::default() }
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

/// `muster explain` of a waiting job, of a pool, of an instance, and of what the controller does not know.
#[tokio::test]
async fn explain_says_where_things_stand() {
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
    for (nothing, word) in [("job/1", "knows of no"), ("pool/none", "there is no pool `none`; the pools are linux")] {
        let (code, out, err) = explain(nothing.into()).await;
        assert!(code == 3 && out.is_empty() && err.contains(word), "{out}{err}");
    }
    let (code, _, err) = explain("thing/1".into()).await;
    assert!(code == 2 && err.contains("job/ID"), "{err}");

    // Of an instance that this process does not know, nobody reads the console: anybody could ask for any instance.
    let (code, out, err) = explain("runner/i-0a".into()).await;
    assert!(code == 3 && out.is_empty() && err.contains("knows of no"), "{out}{err}");
    assert!(scene.moto.calls_of("GetConsoleOutput").await.is_empty());
    scene.instances.habits(|h| (h.paused, h.job) = (false, ms(700)));
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(60)).await;
}
