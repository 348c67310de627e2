//! Fifty jobs at once: how many calls they need, and how soon the first launch comes.

use crate::support;

use std::collections::BTreeSet;

use support::instances::Habits;
use support::scene::{Scene, linux};
use support::secs;

#[tokio::test]
async fn fifty_jobs_at_once_are_three_fleets_at_most_and_fifty_runners() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let jobs = scene.queue_jobs(50);
    scene.all_done(secs(90)).await;
    scene.all_gone(secs(60)).await;
    let fleets = scene.moto.calls_of("CreateFleet").await;
    assert!(fleets.len() <= 3, "{} CreateFleet calls: {fleets:?}", fleets.len());
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (50, vec![1; 50]));
    assert_eq!(scene.github.calls_of("generate-jitconfig"), 50);
    let took: BTreeSet<String> = jobs.iter().filter_map(|j| scene.github.job(*j).runner.map(|(_, name)| name)).collect();
    assert_eq!(took.len(), 50, "each job had a runner of its own");
    let first = scene.github.sent().iter().map(|s| s.at_ms).min().expect("webhooks were sent");
    println!("50 jobs: {} CreateFleet calls, the first after {:.0} ms", fleets.len(), fleets[0].at_ms - first as f64);
    println!("AWS calls by muster: {}, GitHub calls: {:?}", scene.moto.calls().await.len(), scene.github.calls());
}
