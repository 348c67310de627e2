//! What happens in one pool, App or limit delays another pool's single job by at most one round of the budget that they share.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::effect::{Action, DeliverySighting};
use muster_reconciler::ids::DeliveryId;

mod scene;
use scene::{Scene, pool, secs};

/// A redelivery may tell of a job that nobody knows of. What is asked about known jobs takes nothing from it.
#[test]
fn lost_webhooks_are_asked_for_however_many_jobs_wait() {
    let mut scene = Scene::new([pool("a", &["self-hosted", "a"], 0)]);
    scene.pass(secs(60));
    scene.queue(1000, &["a"]);
    scene.pass(secs(600));
    let failed = |n| DeliverySighting { id: DeliveryId(n), guid: format!("g{n}"), action: Some("queued".into()), status: 503 };
    scene.undelivered = (1..=200).map(failed).collect();
    let began = scene.now;
    scene.pass(secs(60 + 30 + 180 + 10));
    let asked = scene.done.iter().filter(|(at, e)| *at >= began && matches!(e.action, Action::Redeliver { .. })).count();
    assert_eq!(asked, 200, "twenty at once, and then one a second");
}
