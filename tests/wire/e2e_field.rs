//! `muster doctor --live` against a running muster, moto, the double of GitHub and the stand-in instances: the whole test,
//! a no, an App that may not start runs, an instance that never boots, and Ctrl-C.

use crate::support;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use support::github::GitHub;
use support::instances::{Behaviour, Habits, Instances};
use support::moto::{Moto, SECRET_ACCESS_KEY};
use support::muster::{ADMIN_TOKEN, Muster, WEBHOOK_SECRET};
use support::scene::{CLUSTER, LABELS, REPO, Scene, linux};
use support::{eventually, secs};
use tempfile::TempDir;

const FILE: &str = "muster-field-test.yaml";
const NAME: &str = "muster field test";

/// A running muster whose pool keeps idle runners for a while, and a repository with the throw-away workflow.
async fn stage(habits: Habits, boot_deadline: &str) -> Option<(Scene, TempDir)> {
    let moto = Moto::start().await?;
    let world = moto.create_world(CLUSTER, &["linux"]).await;
    crate::e2e_doctor::good_cloud(&moto, &world).await;
    let github = GitHub::start().await;
    let permissions = json!({ "organization_self_hosted_runners": "write", "actions": "write" });
    github.app(|app| (app.permissions, app.granted) = (permissions.clone(), permissions.clone()));
    github.commit_workflow(REPO, FILE, NAME, &LABELS);
    let instances = Instances::start(&moto, &github, &world, habits).await;
    let pool = linux().set("runner.idleTimeout", "5m").set("runner.bootDeadline", boot_deadline);
    let mut muster = Muster::prepare(&moto, &github, &world, &[pool]);
    muster.spawn();
    muster.ready().await;
    Some((Scene { muster, instances, moto, world, github }, tempfile::tempdir().expect("a directory can be made")))
}

/// The instances are slow enough that somebody who looks once a second sees each stage.
fn slow() -> Habits {
    Habits { boot: secs(4), job: secs(4), ..Habits::default() }
}

fn args(scene: &Scene, report: &TempDir, more: &[&str]) -> Vec<String> {
    let manifests = scene.muster.manifests().display().to_string();
    let report = report.path().display().to_string();
    let all = ["doctor", "--live", "--manifests", &manifests, "--repo", REPO, "--patience", "60s", "--report", &report];
    all.iter().chain(more).map(|&arg| arg.to_owned()).collect()
}

async fn kit(scene: &Scene, report: &TempDir, more: &[&str], typed: &str) -> (i32, String) {
    let args = args(scene, report, more);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (code, out, err) = scene.muster.command_with_input(&args, typed).await;
    (code, format!("{err}{out}"))
}

/// Both files of the report. Whatever happened, no secret may be in them.
fn read(scene: &Scene, report: &TempDir) -> (Value, String) {
    let file = |name: &str| std::fs::read_to_string(report.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (json, page) = (file("muster-field-report.json"), file("muster-field-report.txt"));
    let mut secrets = scene.github.secrets();
    secrets.extend([WEBHOOK_SECRET, ADMIN_TOKEN, SECRET_ACCESS_KEY].map(str::to_owned));
    for secret in &secrets {
        assert!(!json.contains(secret.as_str()) && !page.contains(secret.as_str()), "a secret is in the report:\n{page}");
    }
    (serde_json::from_str(&json).expect("JSON"), page)
}

fn step<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str) {
    let steps = report["steps"].as_array().expect("steps");
    let found = steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no step `{name}` in {steps:#?}"));
    (found["went"].as_str().expect("a word"), found["seen"].as_str().expect("a text"))
}

/// The stages that nobody has seen.
fn unseen(stages: &Value) -> Vec<&str> {
    let all = stages.as_array().expect("stages").iter();
    all.filter(|stage| stage["afterSeconds"].is_null()).filter_map(|stage| stage["stage"].as_str()).collect()
}

fn stands<'a>(report: &'a Value, id: &str) -> &'a str {
    let all = report["assumptions"].as_array().expect("assumptions");
    all.iter().find(|a| a["id"] == id).and_then(|a| a["stands"].as_str()).unwrap_or_else(|| panic!("no assumption `{id}`"))
}

#[tokio::test]
async fn the_whole_way_is_seen_stage_by_stage_and_nothing_is_left() {
    let Some((scene, dir)) = stage(slow(), "60s").await else { return };
    let (code, said) = kit(&scene, &dir, &["--yes"], "").await;
    let (report, page) = read(&scene, &dir);
    assert_eq!((code, &report["complete"]), (0, &json!(true)), "{said}");
    for name in [
        "controller",
        "checks",
        "workflow file",
        "a job on an instance",
        "drain of an idle instance",
        "GitHub's limits",
        "clean-up",
    ] {
        assert_eq!(step(&report, name).0, "done", "{name}:\n{page}");
    }
    assert_eq!((unseen(&report["stages"]), unseen(&report["drained"])), (vec![], vec![]), "{page}");
    let order: Vec<&str> = report["stages"].as_array().expect("stages").iter().filter_map(|s| s["stage"].as_str()).collect();
    let at = |name: &str| order.iter().position(|stage| *stage == name).unwrap_or_else(|| panic!("no `{name}` in {order:?}"));
    for pair in ["webhook heard", "launched", "configured", "online", "job started", "job ended", "instance gone"].windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{} before {}: {order:?}", pair[0], pair[1]);
    }
    // The emulators do what muster assumes.
    let assumed =
        ["tags-at-launch", "secret-deleted-by-instance", "busy", "jit-limit", "list-limit", "etag", "drain-heard", "ends-itself"];
    for id in assumed {
        assert_eq!(stands(&report, id), "holds", "{id}:\n{page}");
    }
    // There were two instances and two runs. The registration that was only tried is gone.
    assert_eq!(scene.launched().await, 2);
    assert_eq!(scene.github.runners().len(), 0, "{:?}", scene.github.runners());
    scene.all_gone(secs(60)).await;
    let text = format!("{report}{page}");
    for private in ["123456789012", "acme"] {
        assert!(!text.contains(private), "{private} is in the report:\n{page}");
    }
    // The highest price: m7i.large as spot, (0.04 + 0.05 + 0.9) / 3 USD an hour over the pool's three zones, for ten
    // minutes.
    assert!(said.contains("0.055 USD"), "the cost is told before: {said}");
}

#[tokio::test]
async fn a_no_ends_it_and_nothing_was_done() {
    let Some((scene, dir)) = stage(slow(), "60s").await else { return };
    let (code, said) = kit(&scene, &dir, &["--with-account"], "n\n").await;
    let (report, page) = read(&scene, &dir);
    assert_eq!((code, step(&report, "a job on an instance").0, &report["complete"]), (0, "declined", &json!(false)), "{said}");
    assert_eq!(step(&report, "clean-up").0, "done", "{page}");
    assert!(report["ended"].as_str().is_some_and(|why| why.contains("you said no")), "{page}");
    assert_eq!((scene.github.calls_of("dispatches"), scene.launched().await, scene.github.jobs().len()), (0, 0, 0));
    // The report has the account, because the test asked for it.
    assert!(report["checks"].to_string().contains("123456789012"), "{page}");
    // A terminal at which nobody answers is no consent, either.
    let (code, said) = kit(&scene, &dir, &[], "").await;
    assert!(code == 0 && said.contains("--yes") && scene.github.calls_of("dispatches") == 0, "{code}: {said}");
}

#[tokio::test]
async fn without_the_permission_the_user_starts_and_cancels_the_runs_by_hand() {
    let Some((scene, dir)) = stage(slow(), "60s").await else { return };
    scene.github.app(|app| app.granted = json!({ "organization_self_hosted_runners": "write", "actions": "read" }));
    let args = args(&scene, &dir, &["--yes"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let child = scene.muster.start_command(&args);
    let asked = |route: &'static str, times| {
        let github = &scene.github;
        eventually(secs(120), "GitHub refuses the App", move || async move {
            let n = github.calls_of(route);
            if n >= times { Ok(()) } else { Err(format!("{route} was called {n} times")) }
        })
    };
    asked("dispatches", 1).await;
    scene.github.run_workflow(REPO, FILE).expect("there is the workflow");
    asked("dispatches", 2).await;
    let second = scene.github.run_workflow(REPO, FILE).expect("there is the workflow");
    asked("cancel", 1).await;
    scene.github.cancel_job(second);
    let (code, _, said) = Muster::outcome(child).await;
    let (report, page) = read(&scene, &dir);
    assert_eq!(code, 1, "a refusal is told by the exit code: {said}");
    let (went, seen) = step(&report, "a job on an instance, started by muster's App");
    assert!(went == "refused" && seen.contains("Actions: read and write"), "{page}");
    assert!(said.contains(&format!("gh workflow run {FILE} --repo {REPO} --ref main")), "{said}");
    assert!(said.contains("gh run cancel"), "{said}");
    assert_eq!(
        (step(&report, "a job on an instance").0, step(&report, "drain of an idle instance").0),
        ("done", "done"),
        "{page}"
    );
    assert_eq!(unseen(&report["stages"]), Vec::<&str>::new(), "{page}");
}

#[tokio::test]
async fn an_instance_that_never_boots_is_told_and_its_job_is_cancelled() {
    let habits = Habits { behaviour: Arc::new(|_| Behaviour::NeverBoots), ..slow() };
    let Some((scene, dir)) = stage(habits, "3s").await else { return };
    let (code, said) = kit(&scene, &dir, &["--yes"], "").await;
    let (report, page) = read(&scene, &dir);
    let (went, seen) = step(&report, "a job on an instance");
    assert!(code == 1 && went == "failed" && seen.contains("never came online"), "{said}");
    assert!(unseen(&report["stages"]).contains(&"online") && !unseen(&report["stages"]).contains(&"launched"), "{page}");
    assert_eq!(step(&report, "clean-up").0, "done", "{page}");
    assert!(report["steps"].as_array().expect("steps").iter().all(|step| step["step"] != "drain of an idle instance"), "{page}");
    let jobs = scene.github.jobs();
    assert!(jobs.iter().all(|job| job.conclusion.as_deref() == Some("cancelled")), "{jobs:?}");
    scene.all_gone(secs(60)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_test_cleans_up_what_it_made() {
    let habits = Habits { behaviour: Arc::new(|_| Behaviour::BootsLate(secs(3600))), ..slow() };
    let Some((scene, dir)) = stage(habits, "10m").await else { return };
    let args = args(&scene, &dir, &["--yes"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let child = scene.muster.start_command(&args);
    eventually(secs(60), "the instance is launched", || async {
        if scene.launched().await == 1 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let pid = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill exists").success());
    // An instance that boots for ever is not idle, so only its boot deadline would end it. Here the test ends it.
    scene.instances.habits(|habits| habits.behaviour = Arc::new(|_| Behaviour::Normal));
    for instance in scene.moto.instances().await {
        scene.moto.ec2.terminate_instances().instance_ids(instance.id).send().await.expect("moto ends an instance");
    }
    let (code, _, said) = Muster::outcome(child).await;
    let (report, page) = read(&scene, &dir);
    assert!(report["ended"].as_str().is_some_and(|why| why.contains("interrupted")), "{code}: {said}");
    assert_eq!(step(&report, "clean-up").0, "done", "{page}");
    let jobs = scene.github.jobs();
    assert!(jobs.iter().all(|job| job.conclusion.as_deref() == Some("cancelled")), "{jobs:?}");
    assert!(Path::new(&dir.path().join("muster-field-report.txt")).exists());
}
