//! The time from a job's event to CreateFleet, on an idle controller. It is printed and not asserted. `cargo test
//! --workspace --test wire e2e_latency -- --nocapture`

use crate::support;

use support::instances::Habits;
use support::scene::{Scene, linux};
use support::secs;

const ROUNDS: usize = 11;

#[tokio::test]
async fn each_single_job_is_one_fleet_soon_after_its_event() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let sent_before = scene.github.sent().len();
        scene.queue_jobs(1);
        scene.all_done(secs(30)).await;
        let sent = scene.github.sent()[sent_before].at_ms as f64;
        let fleets = scene.moto.calls_of("CreateFleet").await;
        assert_eq!(fleets.len(), round + 1, "one job, one fleet");
        took.push(fleets[round].at_ms - sent);
        scene.all_gone(secs(30)).await;
    }
    took.sort_by(f64::total_cmp);
    println!("job event sent to CreateFleet received, ms, {ROUNDS} single jobs: median {:.0}, all {took:.0?}", took[ROUNDS / 2]);
}
