//! Versions of the runner program that GitHub ends: an operator learns of it before the pool's runners get no more jobs.

use crate::support;

use support::instances::Habits;
use support::muster::Pool;
use support::scene::{Scene, linux};
use support::{eventually, now_ms, same, secs};

const DAY_MS: u64 = 86_400_000;
const ROUTE: &str = "/orgs/{org}/actions/runners/deprecations/{version}";

/// The exit code of doctor, and what it printed.
async fn doctor(scene: &Scene) -> (i32, String) {
    let manifests = scene.muster.manifests().display().to_string();
    let (code, said, _) = scene.muster.command(&["doctor", "--manifests", &manifests]).await;
    (code, said)
}

#[tokio::test]
async fn a_version_that_ends_in_ten_days_is_warned_of_and_one_that_is_fine_is_not() {
    let old = linux().set("bootstrap.version", "2.336.0");
    let fine = Pool::new("fine", &["self-hosted", "fine"]).set("bootstrap.version", "2.338.1");
    let Some(mut scene) = Scene::prepare(&[old, fine], Habits { job: secs(1), ..Habits::default() }).await else { return };
    let end_ms = now_ms() + 10 * DAY_MS + 5000;
    scene.github.end_version("2.336.0", end_ms);
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.muster.metric_becomes("muster_pool_warnings", "pool=\"linux\",warning=\"version_ends\"", 1.0).await;
    let labels = "kind=\"runtime\",pool=\"linux\",version=\"2.336.0\"";
    let told = scene.muster.metric("muster_runner_version_end_timestamp_seconds", labels).await;
    assert!((told - (end_ms / 1000) as f64).abs() < 2.0, "{told} is not {end_ms} ms");
    const WARNING: &str = "GitHub stops giving jobs to version 2.336.0, which the pool runs";
    let (code, said, error) = scene.muster.command(&["explain", "pool/linux"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(said.contains("warning: in 10d") || said.contains("warning: in 9d"), "{said}");
    assert!(said.contains(WARNING) && said.contains("runner program: 2.336.0 (GitHub stops giving jobs to it in"), "{said}");
    assert!(scene.muster.page("/").await.contains(WARNING));
    assert!(scene.muster.command(&["get", "pools"]).await.1.contains(WARNING));

    // GitHub has no date for its newest version.
    let (_, said, _) = scene.muster.command(&["explain", "pool/fine"]).await;
    assert!(said.contains("runner program: 2.338.1") && !said.contains("warning"), "{said}");
    let metrics = scene.muster.metrics().await;
    assert!(!metrics.contains("pool=\"fine\",warning") && !metrics.contains("2.338.1"), "{metrics}");
    assert_eq!(scene.github.calls_of(ROUTE), 2, "each version is asked about once a day");

    let (code, said) = doctor(&scene).await;
    let line = |version: &str| {
        let check = format!("runner {version} at org/acme");
        said.lines().find(|line| line.contains(&check)).unwrap_or_else(|| panic!("{check} is not in:\n{said}")).to_owned()
    };
    assert!(line("2.336.0").starts_with("warning") && line("2.338.1").starts_with("ok"), "{code}: {said}");
}

#[tokio::test]
async fn the_version_of_a_runner_in_the_list_counts_and_one_that_has_ended_fails_doctor() {
    let pool = linux().set("bootstrap.version", "2.338.1").set("capacity.idle", 1);
    let Some(mut scene) = Scene::prepare(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    // The image's own runner program is older than the one that the manifest names.
    scene.github.show_version("2.335.1");
    scene.github.end_version("2.335.1", now_ms() - DAY_MS);
    scene.github.end_version("2.338.1", now_ms() + 5 * DAY_MS);
    scene.muster.spawn();
    scene.muster.ready().await;
    for warning in ["version_ends", "version_ended"] {
        scene.muster.metric_becomes("muster_pool_warnings", &format!("pool=\"linux\",warning=\"{warning}\""), 1.0).await;
    }
    let (_, said, _) = scene.muster.command(&["explain", "pool/linux"]).await;
    assert!(said.contains("warning: GitHub stopped giving jobs to version 2.335.1, which the pool runs"), "{said}");
    let (code, said) = doctor(&scene).await;
    let line = said.lines().find(|line| line.contains("runner 2.338.1 at org/acme")).unwrap_or_default();
    assert!(code != 0 && line.starts_with("failed"), "{code}: {said}");
}

#[tokio::test]
async fn a_server_that_tells_no_ends_is_no_warning_and_no_error() {
    let pool = linux().set("bootstrap.version", "2.330.0");
    let Some(mut scene) = Scene::prepare(&[pool], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.tell_no_versions();
    scene.muster.spawn();
    scene.muster.ready().await;
    eventually(secs(60), "GitHub is asked", || async { same(scene.github.calls_of(ROUTE) > 0, true) }).await;
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    let metrics = scene.muster.metrics().await;
    assert!(!metrics.contains("muster_pool_warnings{") && !metrics.contains("muster_runner_version_end_timestamp"), "{metrics}");
    assert_eq!(scene.github.calls_of(ROUTE), 1, "the answer holds for a day");
    assert!(!scene.muster.logs().contains("until when GitHub serves"), "{}", scene.muster.logs());
    let (_, said) = doctor(&scene).await;
    let line = said.lines().find(|line| line.contains("runner 2.330.0 at org/acme")).unwrap_or_default();
    assert!(line.starts_with("not checked"), "{said}");
    scene.all_gone(secs(40)).await;
}
