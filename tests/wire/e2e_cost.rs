//! Who used the instances: the controller's record in the bucket, and `muster cost` that sums it up.

use crate::support;

use std::fs;

use serde_json::{Value, json};
use support::instances::Habits;
use support::scene::{CLUSTER, REPO, Scene, linux};
use support::{eventually, same, secs};

const PRICES: &str = "asOf: 2026-06-17\ncurrency: USD\nlinux:\n  m7i.large: {onDemand: 0.1, spot: 0.04}\n";

/// A scene whose jobs take some seconds, and whose types have a price.
async fn stage(usage: &str) -> Option<Scene> {
    let mut scene = Scene::prepare(&[linux()], Habits { job: secs(6), ..Habits::default() }).await?;
    let prices = scene.muster.manifests().join("../prices.yaml");
    fs::write(&prices, PRICES).expect("a file can be written");
    scene.muster.args(&["--prices", prices.to_str().expect("UTF-8")]);
    scene.muster.change_controller("sync: {every: 0s}", &format!("sync: {{every: 0s}}\n  usage: {{every: {usage}}}"));
    Some(scene)
}

/// Runs a job, and has muster count its time: each scrape is a look.
async fn run_a_job(scene: &Scene) {
    let job = scene.queue_jobs(1)[0];
    let over = || async {
        scene.muster.metrics().await;
        same(scene.github.job(job).status, "completed".to_owned())
    };
    eventually(secs(60), "the job is over", over).await;
}

/// Runs `muster cost`, as an operator would.
async fn cost(scene: &Scene, more: &[&str]) -> (i32, String, String) {
    let manifests = scene.muster.manifests().display().to_string();
    let args: Vec<&str> = ["cost", "--manifests", &manifests].into_iter().chain(more.iter().copied()).collect();
    scene.muster.command(&args).await
}

/// The hours and the cost that `muster cost` names for the pool's jobs of the repository.
async fn of_the_repository(scene: &Scene) -> Result<(f64, f64), String> {
    let (code, said, complaint) = cost(scene, &["-o", "json"]).await;
    let answer: Value = serde_json::from_str(&said).map_err(|_| format!("exit code {code}: {said}{complaint}"))?;
    let sums = answer["sums"].as_array().ok_or("there are no sums")?;
    let sum = sums.iter().find(|sum| sum["of"] == json!(["linux", REPO])).ok_or_else(|| format!("no {REPO} in {said}"))?;
    Ok((sum["hours"].as_f64().unwrap_or(0.0), sum["cost"]["USD"].as_f64().unwrap_or(0.0)))
}

async fn objects(scene: &Scene) -> Vec<String> {
    let prefix = format!("usage/{CLUSTER}/");
    let listed = scene.moto.s3.list_objects_v2().bucket(&scene.world.bucket).prefix(prefix).send().await;
    let listed = listed.expect("moto lists").contents.unwrap_or_default();
    listed.into_iter().filter_map(|object| object.key).collect()
}

#[tokio::test]
async fn the_bucket_keeps_who_used_the_instances_over_crashes_and_stops() {
    let Some(mut scene) = stage("1s").await else { return };
    scene.muster.spawn();
    scene.muster.ready().await;
    let (code, said, _) = cost(&scene, &[]).await;
    assert!(code == 0 && said.starts_with("nothing is recorded for the last 7d"), "{code}: {said}");
    run_a_job(&scene).await;
    let used = || async {
        let (hours, cost) = of_the_repository(&scene).await?;
        // Four of the job's six seconds at least, whatever the looks missed.
        if hours > 4.0 / 3600.0 { Ok((hours, cost)) } else { Err(format!("{hours} hours")) }
    };
    let (first, _) = eventually(secs(60), "the first job's time is recorded", used).await;

    // A process that dies leaves its record. The next one has a record of its own, and writes it when it is told to stop.
    scene.muster.kill9();
    scene.muster.change_controller("usage: {every: 1s}", "usage: {every: 1h}");
    scene.muster.restart().await;
    let page = eventually(secs(60), "the page has what the process before it recorded", || async {
        let page = scene.muster.get("/").await;
        if page.contains("with what earlier processes recorded") { Ok(page) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert!(page.contains("id=\"hour-24\"") && page.contains("id=\"spent-by-acme/app\""), "the last day, and this month: {page}");
    assert!(page.contains("this month, since "), "{page}");
    run_a_job(&scene).await;
    scene.muster.terminate().await;
    let (both, paid) = of_the_repository(&scene).await.expect("both are recorded");
    assert!(both > first + 4.0 / 3600.0, "{first} hours, then {both}");
    let hour = paid / both;
    assert!((0.039..=0.101).contains(&hour), "between the spot and the on-demand price: {hour}");
    let written = objects(&scene).await;
    let of = |end: &str| written.iter().filter(|key| key.ends_with(end)).count();
    assert!(of(".jsonl") >= 2 && of(".history") >= 2, "each process has its own: {written:?}");

    let (_, table, _) = cost(&scene, &["--by", "repository"]).await;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("REPOSITORY") && rows.iter().any(|row| row.starts_with(REPO)), "{table}");
    assert!(rows.iter().any(|row| row.starts_with("none")) && rows.last().is_some_and(|row| row.starts_with("all")), "{table}");
    let (_, sheet, _) = cost(&scene, &["-o", "csv", "--by", "day,market", "--repo", "ACME/App"]).await;
    assert!(sheet.starts_with("day,market,hours,pricedHours,cost,currency\n2"), "{sheet}");
    let (code, _, complaint) = cost(&scene, &["--since", "soon"]).await;
    assert!(code == 2 && complaint.contains("whole number and ms, s, m, h or d"), "{code}: {complaint}");
}

#[tokio::test]
async fn a_bucket_that_refuses_costs_the_record_a_delay_and_nothing_else() {
    let Some(mut scene) = stage("1s").await else { return };
    let refused = json!({ "op": "s3:PUT object", "kind": "unavailable", "times": 3 });
    scene.moto.fault(refused).await;
    scene.muster.spawn();
    scene.muster.ready().await;
    run_a_job(&scene).await;
    let used = || of_the_repository(&scene);
    eventually(secs(60), "the time is recorded once S3 takes it", used).await;
    let told = scene.muster.logs().lines().filter(|line| line.contains("failed to record usage")).count();
    assert_eq!(told, 1, "a refusal that goes on is told once");
    let key = objects(&scene).await.into_iter().find(|key| key.ends_with(".jsonl")).expect("an object");
    // A line that somebody spoiled is named, and the others count.
    let spoiled = scene.moto.s3.put_object().bucket(&scene.world.bucket).key(key.replace(".jsonl", "-odd.jsonl"));
    spoiled.body(b"not JSON\n".to_vec().into()).send().await.expect("moto stores an object");
    let (code, said, complaint) = cost(&scene, &[]).await;
    assert!(code == 0 && said.contains(REPO), "{code}: {said}");
    assert!(complaint.contains("1 line of s3://") && complaint.contains("-odd.jsonl cannot be read"), "{complaint}");
}
