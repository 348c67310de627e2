//! The neighbours of a pool: the admins of other repositories, who register runners with names of their choice, whom a runner group
//! may admit, and who may administer another App of the same cluster.

use crate::support;

use serde_json::Value;
use support::github::hooks::{payload, post, sign};
use support::instances::Habits;
use support::muster::{Pool, seal};
use support::scene::{CLUSTER, REPO, Scene, job_message, linux};
use support::{eventually, ms, never, same, secs};

/// The neighbour's repository.
const THEIRS: &str = "acme/other";
/// The labels of the neighbour's own runners, which no pool has.
const THEIR_LABELS: [&str; 2] = ["self-hosted", "theirs"];

#[tokio::test]
async fn a_group_that_admits_more_than_its_pool_is_told_before_a_foreign_job_comes_and_the_job_is_told_too() {
    let pool = linux().set("github.repositories", format!("[{REPO}]")).set("capacity.idle", 1);
    let Some(mut scene) = Scene::prepare(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.change_group("org/acme", "Default", |group| {
        (group.selected, group.public) = (Some(vec![REPO.into(), THEIRS.into()]), true);
    });
    scene.muster.spawn();
    scene.muster.ready().await;
    for warning in ["wide_group", "public_group"] {
        scene.muster.metric_becomes("muster_pool_warnings", &format!("pool=\"linux\",warning=\"{warning}\""), 1.0).await;
    }
    let (code, said, error) = scene.muster.command(&["explain", "pool/linux"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(said.contains("warning: its runner group Default admits acme/other, beyond github.repositories"), "{said}");
    assert!(said.contains("warning: its runner group Default admits public repositories"), "{said}");
    assert!(scene.muster.page("/").await.contains("admits acme/other, beyond github.repositories"));
    assert!(scene.muster.command(&["get", "pools"]).await.1.contains("Warning: its runner group Default admits acme/other"));

    // muster launches for its floor only, and GitHub gives the neighbour's job to the idle runner.
    let job = scene.github.queue_job(THEIRS, &["self-hosted", "linux"]);
    scene.all_done(secs(60)).await;
    scene.muster.metric_becomes("muster_foreign_jobs_total", "pool=\"linux\"", 1.0).await;
    let (_, events, _) = scene.muster.command(&["events"]).await;
    let told = events.lines().find(|line| line.contains("foreign_job")).unwrap_or_default();
    assert!(told.contains(&job.to_string()) && told.contains(THEIRS), "{events}");
}

#[tokio::test]
async fn a_group_that_admits_what_its_pool_lists_keeps_others_off_and_is_no_warning() {
    let pool = linux().set("github.repositories", "[acme/*]");
    let Some(mut scene) = Scene::prepare(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.change_group("org/acme", "Default", |group| group.selected = Some(vec![REPO.into()]));
    scene.muster.spawn();
    scene.muster.ready().await;
    let asked = || scene.github.calls_of("/orgs/{org}/actions/runner-groups/{runner_group_id}/repositories");
    eventually(secs(30), "the group is read", || async { same(asked() > 0, true) }).await;
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    assert!(!scene.muster.metrics().await.contains("muster_pool_warnings{"));
    assert_eq!(asked(), 1, "the groups are read once, and every 15 minutes");
    scene.all_gone(secs(40)).await;
}

// ------------------------------------------------------------------------------------------ a name is not an identity

/// The neighbour registers a runner with this name in the repository, and runs a job on it. GitHub tells of the job truthfully. Returns
/// the ids of the runner and the job.
fn run_under_the_name(scene: &Scene, name: &str) -> (u64, u64) {
    let runner = scene.github.register(&format!("repo/{THEIRS}"), name, &THEIR_LABELS, true);
    let job = scene.github.queue_job(THEIRS, &THEIR_LABELS);
    assert_eq!(scene.github.job(job).runner, Some((runner, name.to_owned())));
    (runner, job)
}

/// Waits until muster's journal has this many events of a kind about a job.
async fn noted(scene: &Scene, what: &str, job: u64, wanted: usize) {
    eventually(secs(20), &format!("{wanted} events {what} of job {job}"), || async {
        let events = scene.muster.api("events").await;
        same(events.iter().filter(|event| event["what"] == what && event["job"] == job).count(), wanted)
    })
    .await;
}

#[tokio::test]
async fn runners_that_only_have_our_names_take_no_room() {
    let pool = linux().set("capacity.max", 3);
    let Some(scene) = Scene::start(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    let phantoms: Vec<(u64, u64)> =
        (0..5).map(|n| run_under_the_name(&scene, &format!("{CLUSTER}.linux.i-0123456789abcdef{n}"))).collect();
    for (_, job) in &phantoms {
        noted(&scene, "job_started", *job, 1).await;
    }
    assert_eq!(scene.muster.api("runners").await, Vec::<Value>::new(), "nobody has seen their instances");
    assert!(!scene.muster.command(&["get", "runners"]).await.1.contains("i-0123456789abcdef"));
    assert_eq!(scene.muster.metric("muster_runners", "").await, 0.0);
    // The phantoms' jobs go on, and the pool's three places are free.
    scene.queue_jobs(3);
    let said_full = async || {
        let pools = scene.muster.api("pools").await;
        let full = pools.iter().find(|pool| pool["reason"].as_str().is_some_and(|why| why.contains("has reached its max")));
        full.map_or(Ok(()), |pool| Err(format!("{pool}")))
    };
    eventually(secs(30), "each job has its instance", || async {
        assert_eq!(said_full().await, Ok(()), "the names take room");
        same(scene.launched().await, 3)
    })
    .await;
    eventually(secs(60), "our jobs are done", || async {
        let ours = scene.github.jobs().into_iter().filter(|job| job.repo == REPO);
        same(ours.map(|job| job.conclusion.unwrap_or_default()).collect(), vec!["success".to_owned(); 3])
    })
    .await;
    for (runner, job) in phantoms {
        scene.github.finish_job(job, "success");
        scene.github.unregister(runner);
    }
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 3);
}

/// The one runner that muster knows, once it is in this phase.
async fn runner_in(scene: &Scene, phase: &str) -> Value {
    eventually(secs(30), &format!("the runner is {phase}"), || async {
        let runners = scene.muster.api("runners").await;
        let found = runners.iter().find(|runner| runner["phase"] == phase).cloned();
        found.ok_or_else(|| format!("{runners:?}"))
    })
    .await
}

#[tokio::test]
async fn a_strangers_job_under_the_name_of_a_runner_of_ours_ends_nothing() {
    // One instance, which boots only when it may.
    let pool = linux().set("capacity.max", 1).set("runner.idleTimeout", "10m").set("runner.bootDeadline", "10m");
    let habits = Habits { boot: secs(3600), job: secs(1), ..Habits::default() };
    let Some(scene) = Scene::start(&[pool], habits).await else { return };
    let first = scene.queue_jobs(1)[0];
    for phase in ["configured", "idle"] {
        let runner = runner_in(&scene, phase).await;
        let name = runner["name"].as_str().expect("a name");
        let (theirs, job) = run_under_the_name(&scene, name);
        noted(&scene, "name_taken", job, 1).await;
        scene.github.finish_job(job, "success");
        noted(&scene, "name_taken", job, 2).await;
        never(secs(2), "the runner is ended", || async {
            let seen = scene.moto.alive().await;
            let drains = seen.iter().filter(|instance| !instance.tag("muster:drain").is_empty()).count();
            let phases = scene.phases().await;
            same((seen.len(), drains, phases), (1, 0, vec![phase.to_owned()]))
        })
        .await;
        assert!(
            scene.muster.command(&["events"]).await.1.contains(&format!("with the id {theirs}, which is not the runner's id"))
        );
        scene.github.unregister(theirs);
        if phase == "configured" {
            // Nobody needs the instance any more, so it stays idle once it has booted.
            scene.github.cancel_job(first);
            scene.instances.habits(|habits| habits.boot = ms(100));
        }
    }
    let job = scene.queue_jobs(1)[0];
    eventually(secs(40), "the same instance serves a job of ours", || async {
        same(scene.github.job(job).conclusion.as_deref(), Some("success"))
    })
    .await;
    assert_eq!(scene.launched().await, 1);
    scene.all_gone(secs(40)).await;
}

// --------------------------------------------------------------------------------------- the admin of another App

/// Another App of the cluster, with an organisation of its own.
const OTHER_APP: &str = "second";
const OTHER_SECRET: &str = "the-webhook-secret-of-the-second-app";

#[tokio::test]
async fn an_apps_secret_says_nothing_of_another_apps_jobs() {
    let beta = Pool::new("beta", &["self-hosted", "linux"]).app(OTHER_APP).scope("org/beta");
    let habits = Habits { job: ms(500), ..Habits::default() };
    let Some(mut scene) = Scene::prepare(&[linux(), beta], habits).await else { return };
    scene.github.install("org", "beta");
    scene.muster.write_app(&scene.github, OTHER_APP, OTHER_SECRET);
    scene.muster.spawn();
    scene.muster.ready().await;
    let deliver = async |body: &Value| {
        let body = body.to_string().into_bytes();
        let signature = sign(OTHER_SECRET, &body);
        post(&scene.muster.webhook_url(), "workflow_job", "1", Some(&signature), body).await
    };
    // A job of ours waits, because an operator has paused the pool.
    assert_eq!(scene.muster.command(&["pause", "pool/linux"]).await.0, 0);
    let ours = scene.queue_jobs(1)[0];
    noted(&scene, "job_queued", ours, 1).await;

    // By the webhook: an end of our job, its start on a runner, and a job that does not exist.
    let mut over = scene.github.job(ours);
    over.conclusion = Some("success".into());
    let mut invented = scene.github.job(ours);
    (invented.id, invented.run) = (777_001, 777_002);
    let mut taken = scene.github.job(ours);
    taken.runner = Some((9_999, format!("{CLUSTER}.linux.i-0123456789abcdef0")));
    let events = [payload(&over, "completed", 1), payload(&taken, "in_progress", 1), payload(&invented, "queued", 1)];
    for event in &events {
        assert_eq!(deliver(event).await, 401, "{event}");
    }
    // By the queue, where API Gateway or somebody who may send has put them.
    let forged = job_message(777_003);
    scene.moto.send_with(&scene.world.jobs, &forged, &[("muster", &seal(OTHER_SECRET, &forged))]).await;
    let raw = events[0].to_string();
    let signature = sign(OTHER_SECRET, raw.as_bytes());
    let headers =
        [("X-Hub-Signature-256", &*signature), ("X-GitHub-Event", "workflow_job"), ("Content-Type", "application/json")];
    scene.moto.send_with(&scene.world.jobs, &raw, &headers).await;
    scene.muster.metric_becomes("muster_messages_total", "result=\"unsigned\"", 2.0).await;
    let known = || async {
        let jobs = scene.muster.api("jobs").await;
        let seen: Vec<_> = jobs.iter().map(|job| (job["id"].as_u64(), job["state"].as_str().map(str::to_owned))).collect();
        same(seen, vec![(Some(ours), Some("queued".to_owned()))])
    };
    never(secs(1), "one of them counts", known).await;
    assert_eq!(scene.moto.depth(&scene.world.jobs).await.messages, 3, "our job's message is still there");

    assert_eq!(scene.muster.command(&["resume", "pool/linux"]).await.0, 0);
    scene.all_done(secs(60)).await;
    assert_eq!((scene.github.job(ours).conclusion.as_deref(), scene.launched().await), (Some("success"), 1));
    // What is left on the queue is given up after its last look.
    for looks in [4.0, 6.0] {
        scene.moto.end_visibility().await;
        scene.muster.metric_becomes("muster_messages_total", "result=\"unsigned\"", looks).await;
    }
    scene.moto.end_visibility().await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.moto.depth(&scene.world.dead_letters).await.messages), (1, 2));
    // The App's own jobs are believed.
    let mut own = invented;
    own.repo = "beta/app".into();
    assert_eq!(deliver(&payload(&own, "queued", 1)).await, 202);
}
