//! A job that goes down with its machine: what muster says of it, and how it runs again.

use crate::support;

use serde_json::json;
use support::instances::Habits;
use support::muster::Pool;
use support::scene::{Scene, linux};
use support::{eventually, never, same, secs};

fn reruns() -> Pool {
    linux().set("rerun.causes", "[interruption, terminated, lost]").set("rerun.market", "on-demand")
}

/// A scene whose App may order reruns, with one job that runs.
async fn running(pool: Pool) -> Option<(Scene, u64, String)> {
    let scene = Scene::start(&[pool], Habits { job: secs(3600), ..Habits::default() }).await?;
    scene.github.app(|app| app.granted["actions"] = json!("write"));
    let job = scene.queue_jobs(1)[0];
    let began = || async { same(scene.github.job(job).status, "in_progress".to_owned()) };
    eventually(secs(120), "the job runs", began).await;
    let instance = scene.moto.alive().await[0].id.clone();
    Some((scene, job, instance))
}

/// Waits until there is one verdict, with this cause. The market is not known if the instance was forgotten before.
async fn judged(scene: &Scene, cause: &str, verdict: &str) {
    let begins = format!("muster_job_verdicts_total{{cause=\"{cause}\",");
    let ends = format!("pool=\"linux\",verdict=\"{verdict}\"}} 1");
    eventually(secs(240), "the verdict is known", || async {
        let metrics = scene.muster.metrics().await;
        let told = metrics.lines().any(|line| line.starts_with(&begins) && line.ends_with(&ends));
        if told { Ok(()) } else { Err(metrics.lines().filter(|line| line.contains("verdicts_total")).collect::<String>()) }
    })
    .await;
}

/// Waits until GitHub was asked to run jobs again, and returns the job of the second attempt.
async fn second_attempt(scene: &Scene) -> u64 {
    let again = || async {
        let jobs = scene.github.jobs();
        jobs.iter().find(|job| job.attempt == 2).map(|job| job.id).ok_or_else(|| format!("{jobs:#?}"))
    };
    eventually(secs(240), "the job runs again", again).await
}

#[tokio::test]
async fn a_job_that_spot_took_runs_again_on_demand_and_only_once_through_a_crash() {
    let Some((mut scene, job, instance)) = running(reruns()).await else { return };
    // muster dies before it hears of the end, and EC2's notice is lost.
    scene.muster.kill9();
    scene.moto.interrupt(&instance).await;
    let failed = || async { same(scene.github.job(job).conclusion, Some("failure".to_owned())) };
    eventually(secs(240), "GitHub gives the job up", failed).await;
    scene.muster.spawn();
    scene.muster.ready().await;
    // The webhook could not be delivered while muster was down.
    scene.github.redeliver_failed();
    let again = second_attempt(&scene).await;
    let (_, explained, _) = scene.muster.command(&["explain", &format!("job/{job}")]).await;
    assert!(explained.contains("spot took its instance back, and the job's steps show that it was cut short"), "{explained}");
    assert!(explained.contains("GitHub was asked to run all failed and cancelled jobs of the run again"), "{explained}");
    judged(&scene, "interruption", "infrastructure").await;
    scene.muster.metric_becomes("muster_reruns_total", "pool=\"linux\",result=\"asked\"", 1.0).await;
    let began = || async { same(scene.github.job(again).status, "in_progress".to_owned()) };
    eventually(secs(120), "the second attempt runs", began).await;
    let fleets = scene.moto.calls_of("CreateFleet").await;
    assert_eq!(fleets.last().and_then(|call| call.market.as_deref()), Some("on-demand"));
    // The end is told once more, and another process starts.
    scene.github.send_event(job, "completed");
    scene.muster.kill9();
    scene.muster.restart().await;
    let orders = || scene.github.calls_of("/rerun");
    never(secs(5), "a second order was given", || async { same(orders(), 1) }).await;
    scene.github.finish_job(again, "success");
    scene.all_done(secs(120)).await;
    scene.muster.assert_no_secrets_logged(&scene.github);
}

#[tokio::test]
async fn a_job_that_fails_by_itself_is_never_run_again_and_costs_no_question() {
    let Some((scene, job, _)) = running(reruns()).await else { return };
    scene.github.finish_job(job, "failure");
    judged(&scene, "", "own").await;
    assert_eq!((scene.github.calls_of("/rerun"), scene.github.calls_of("/actions/jobs/{job_id}")), (0, 0));
    scene.all_gone(secs(240)).await;
}

#[tokio::test]
async fn without_the_permission_the_sentence_says_what_to_grant() {
    let Some((scene, job, instance)) = running(reruns()).await else { return };
    scene.github.app(|app| app.granted["actions"] = json!("read"));
    scene.moto.warn_of_interruption(&scene.world, &instance).await;
    let warned = || async { same(scene.phases().await.contains(&"interrupted".to_owned()), true) };
    eventually(secs(120), "muster is warned", warned).await;
    scene.moto.interrupt(&instance).await;
    let told = || async {
        let (_, events, _) = scene.muster.command(&["events"]).await;
        let line = events.lines().find(|line| line.contains("job_not_rerun")).map(str::to_owned);
        line.ok_or(events)
    };
    let line = eventually(secs(600), "muster gives up", told).await;
    assert!(line.contains("`Actions: write`") && line.contains(&job.to_string()), "{line}");
}
