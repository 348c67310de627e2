//! Other repositories of the organisation: what GitHub lets them do to a pool whose manifest does not list them, and what an operator
//! learns of it.

use crate::support;

use support::instances::Habits;
use support::scene::{REPO, Scene, linux};
use support::{eventually, same, secs};

const THEIRS: &str = "acme/other";

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
