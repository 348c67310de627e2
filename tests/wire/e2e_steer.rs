//! An operator at work, from end to end: the command line against the running binary, over real wires. A pause outlives a
//! crash, a drain ends no job, every decision is one line of the log, and no secret is in the log.

use crate::support;

use serde_json::{Value, json};
use support::instances::Habits;
use support::muster::Pool;
use support::scene::{CLUSTER, LABELS, Scene, linux};
use support::{eventually, ms, never, same, secs};

/// Runs a command that has to succeed, and returns what it printed.
async fn muster(scene: &Scene, line: &str) -> String {
    let args: Vec<&str> = line.split_whitespace().collect();
    let (code, out, err) = scene.muster.command(&args).await;
    assert_eq!((code, err.as_str()), (0, ""), "{line}: {out}");
    out
}

#[tokio::test]
async fn a_paused_pool_s_jobs_go_to_the_next_pool_that_fits() {
    let spare = Pool::new("spare", &LABELS).set("priority", 200);
    let Some(scene) = Scene::start(&[linux(), spare], Habits { job: ms(500), ..Habits::default() }).await else { return };
    muster(&scene, "pause pool/linux --reason bad-image").await;
    let job = scene.queue_jobs(1)[0];
    scene.all_done(secs(60)).await;
    let pools: Vec<String> = scene.moto.snapshot().await.instances.iter().map(|i| i.tag("muster:pool").to_owned()).collect();
    assert_eq!(pools, ["spare"]);
    eventually(secs(20), "the job's story says why", || async {
        let story = muster(&scene, &format!("explain job/{job}")).await;
        if story.contains("job_handed_over") && story.contains("so pool spare takes it") { Ok(()) } else { Err(story) }
    })
    .await;
    scene.all_gone(secs(40)).await;
}

#[tokio::test]
async fn a_paused_pool_launches_nothing_through_a_crash_until_it_is_resumed() {
    let Some(mut scene) = Scene::start(&[linux()], Habits { job: ms(500), ..Habits::default() }).await else { return };
    let said = muster(&scene, "pause pool/linux --reason bad-image").await;
    assert!(said.contains("pool linux is paused"), "{said}");
    let job = scene.queue_jobs(2)[0];
    eventually(secs(20), "the jobs are known, and say why they wait", || async {
        let jobs = scene.muster.api("jobs").await;
        let paused =
            jobs.iter().filter(|j| j["why"] == "paused" && j["reason"].as_str().is_some_and(|r| r.contains("bad-image"))).count();
        same(paused, 2)
    })
    .await;
    let told = muster(&scene, &format!("explain job/{job}")).await;
    assert!(
        told.contains("has been paused by an operator") && told.contains("what happened") && told.contains("job_queued"),
        "{told}"
    );
    assert!(muster(&scene, "get pools").await.contains("paused"));
    let dir = scene.muster.manifests().display().to_string();
    let plan: Value = serde_json::from_str(&muster(&scene, &format!("plan -o json --manifests {dir}")).await).expect("JSON");
    let pool = &plan["pools"][0];
    let said = pool["reason"].as_str().is_some_and(|r| r.contains("2 wanted") && r.contains("has been paused by an operator"));
    assert!(said && pool["actions"] == json!([]), "{plan}");
    scene.muster.kill9();
    scene.moto.end_visibility().await;
    scene.muster.restart().await;
    eventually(secs(30), "the next process knows the jobs", || async { same(scene.muster.api("jobs").await.len(), 2) }).await;
    never(secs(4), "an instance is launched", || async { same(scene.launched().await, 0) }).await;
    scene.muster.metric_becomes("muster_pool_paused", "pool=\"linux\"", 1.0).await;
    assert!(muster(&scene, "resume pool/linux").await.contains("launches again"));
    scene.all_done(secs(60)).await;
    // GitHub knows the job's end before muster has heard of it.
    eventually(secs(20), "the whole story is told", || async {
        let story = muster(&scene, &format!("explain job/{job}")).await;
        let words = ["resumed", "launch", "job_started", "job_completed", "it is over: success"];
        if words.iter().all(|word| story.contains(word)) { Ok(()) } else { Err(story) }
    })
    .await;
    scene.muster.terminate().await;
    scene.muster.restart().await;
    scene.muster.metric_becomes("muster_pool_paused", "pool=\"linux\"", 0.0).await;
    scene.all_gone(secs(40)).await;
}

#[tokio::test]
async fn a_drain_ends_the_idle_at_once_and_the_busy_after_its_job() {
    let pool = linux().set("capacity.idle", 2).set("runner.idleTimeout", "10m");
    let Some(scene) = Scene::start(&[pool], Habits { job: secs(6), ..Habits::default() }).await else { return };
    eventually(secs(30), "two runners are idle", || async { same(scene.phases().await, vec!["idle".to_owned(); 2]) }).await;
    let job = scene.queue_jobs(1)[0];
    let busy = eventually(secs(20), "one of the runners works", || async {
        let runners = scene.muster.api("runners").await;
        let busy = runners.iter().find(|r| r["phase"] == "busy").and_then(|r| r["instance"].as_str().map(String::from));
        busy.ok_or_else(|| format!("{runners:?}"))
    })
    .await;
    muster(&scene, "pause pool/linux").await;
    let said = muster(&scene, "drain pool/linux --reason new-image").await;
    assert!(said.contains("are asked to end"), "{said}");
    eventually(secs(20), "the idle runners are gone, and the busy one is not", || async {
        let alive: Vec<String> = scene.moto.alive().await.into_iter().map(|i| i.id).collect();
        same(alive, vec![busy.clone()])
    })
    .await;
    assert_eq!(scene.github.job(job).status, "in_progress");
    assert!(muster(&scene, &format!("explain runner/{busy}")).await.contains("drain"), "the runner's story has the order");
    scene.all_done(secs(30)).await;
    assert_eq!(scene.github.job(job).conclusion.as_deref(), Some("success"));
    scene.all_gone(secs(60)).await;
    let events = muster(&scene, "events -n 1000").await;
    assert!(events.contains("drain_ordered") && events.contains("by an operator: new-image"), "{events}");
}

#[tokio::test]
async fn only_the_token_steers_and_wrong_names_are_told() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let file = scene.muster.manifests().join("wrong-token");
    std::fs::write(&file, "it's-a-wrong-token").expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    for (args, code, word) in [
        (vec!["pause", "pool/linux", "--token-file", &file], 4, "the token is wrong"),
        (vec!["pause", "pool/linx"], 3, "there is no pool `linx`; did you mean linux?"),
        (vec!["drain", "runner/i-0"], 3, "no runner `i-0`"),
        (vec!["explain", "job/1"], 3, "knows of no job 1"),
        (vec!["explain", "pool/linx"], 3, "did you mean linux?"),
    ] {
        let (got, out, err) = scene.muster.command(&args).await;
        assert!(got == code && out.is_empty() && err.contains(word), "{args:?}: {got} {out} {err}");
    }
    scene.muster.metric_becomes("muster_pool_paused", "pool=\"linux\"", 0.0).await;
}

/// The lines of the log that are events.
fn decisions(log: &str) -> Vec<Value> {
    let json = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    json.filter(|line| line["event"].is_string()).collect()
}

#[tokio::test]
async fn every_decision_is_a_line_with_its_reason_and_no_secret_is_logged() {
    let Some(scene) = Scene::start(&[linux()], Habits { job: ms(500), ..Habits::default() }).await else { return };
    let jobs = scene.queue_jobs(3);
    scene.all_done(secs(60)).await;
    muster(&scene, "pause pool/linux").await;
    muster(&scene, "resume pool/linux").await;
    scene.all_gone(secs(40)).await;
    let log = scene.muster.logs();
    let lines = decisions(&log);
    let of = |event: &str| lines.iter().filter(|l| l["event"] == event).collect::<Vec<_>>();
    assert!(
        log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "the log is JSON, because stderr is no terminal"
    );
    for job in &jobs {
        for event in ["job_queued", "job_started", "job_completed"] {
            let mine: Vec<_> = of(event).into_iter().filter(|l| l["job"] == *job).collect();
            assert_eq!(mine.len(), 1, "{event} of {job} is logged once: {mine:?}");
            assert_eq!(mine[0]["pool"], "linux");
        }
    }
    assert_eq!((of("launched").len(), of("configure").len(), of("paused").len()), (3, 3, 1));
    assert!(
        of("configure").iter().all(|l| l["instance"].as_str().is_some_and(|id| id.starts_with("i-")) && l["reason"] != ""),
        "{lines:?}"
    );
    assert!(of("launch").iter().all(|l| l["reason"].as_str().is_some_and(|r| r.contains("queued job"))), "{:?}", of("launch"));
    scene.assert_no_secrets_shown().await;
    assert!(!log.contains("BEGIN RSA") && !log.contains("Bearer "), "the log has what looks like a secret; cluster {CLUSTER}");
}
