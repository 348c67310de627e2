//! Somebody in the account who may send to the jobs queue, or who knows the address of API Gateway, which sends there for everybody.

use crate::support;

use support::github::hooks::{payload, sign};
use support::instances::Habits;
use support::muster::{WEBHOOK_SECRET, seal};
use support::scene::{LABELS, REPO, Scene, job_message, linux};
use support::{eventually, same, secs};

/// API Gateway puts deliveries on the queue like this, with GitHub's headers as attributes. Whoever knows its URL can send
/// it anything.
#[tokio::test]
async fn a_delivery_that_lies_on_the_queue_itself_is_verified_there() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let job = scene.github.queue_job_silently(REPO, &LABELS);
    let body = payload(&scene.github.job(job), "queued", 1).to_string();
    let put = async |signature: &str| {
        let attributes =
            [("X-Hub-Signature-256", signature), ("X-GitHub-Event", "workflow_job"), ("Content-Type", "application/json")];
        scene.moto.send_with(&scene.world.jobs, &body, &attributes).await;
    };
    // A secret that was replaced is read anew within minutes. Until then such a delivery waits, and is tried again.
    put(&sign("the next secret", body.as_bytes())).await;
    eventually(secs(20), "muster looked at the delivery", || async {
        same(scene.muster.metric("muster_messages_total", "result=\"unsigned\"").await, 1.0)
    })
    .await;
    let depth = scene.moto.depth(&scene.world.jobs).await;
    assert_eq!(
        (depth.messages, scene.moto.depth(&scene.world.dead_letters).await.messages),
        (1, 0),
        "the delivery stays on the queue"
    );
    for looks in 2..=3 {
        scene.moto.end_visibility().await;
        eventually(secs(20), "muster looked at the delivery again", || async {
            same(scene.muster.metric("muster_messages_total", "result=\"unsigned\"").await, f64::from(looks))
        })
        .await;
    }
    scene.moto.end_visibility().await;
    eventually(secs(20), "muster gives the delivery up", || async {
        same(scene.moto.depth(&scene.world.dead_letters).await.messages, 1)
    })
    .await;
    assert_eq!(scene.launched().await, 0);
    put(&sign(WEBHOOK_SECRET, body.as_bytes())).await;
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(30)).await;
}

/// Somebody may write to the queue, or send an attribute through API Gateway. That does not make the message muster's own.
#[tokio::test]
async fn a_message_that_looks_like_muster_s_own_and_is_not_sealed_is_refused() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let body = job_message(scene.github.queue_job_silently(REPO, &LABELS));
    let good = seal(WEBHOOK_SECRET, &body);
    let put = async |body: &str, attributes: &[(&str, &str)]| scene.moto.send_with(&scene.world.jobs, body, attributes).await;
    // A message without a mark, one with the mark of an older muster, one whose seal is cut short, and one with GitHub's
    // headers.
    let signature = sign(WEBHOOK_SECRET, body.as_bytes());
    put(&body, &[]).await;
    put(&body, &[("muster", "1")]).await;
    put(&body, &[("muster", &good[..good.len() - 1])]).await;
    put(&body, &[("muster", "1"), ("X-Hub-Signature-256", &signature), ("X-GitHub-Event", "workflow_job")]).await;
    eventually(secs(20), "each message is refused and counted", || async {
        let refused = scene.muster.metric("muster_messages_total", "result=\"refused\"").await;
        same((refused, scene.moto.depth(&scene.world.dead_letters).await.messages), (4.0, 4))
    })
    .await;
    let told = scene.muster.logs().lines().filter(|line| line.contains("refused a message that is not signed")).count();
    assert_eq!(told, 1, "one line of the log tells of them");
    // One byte differs under a good seal. muster may believe the message once it has read the secrets again, so it does not
    // give the message up at once.
    let flipped = body.replacen("\"run\":1", "\"run\":2", 1);
    put(&flipped, &[("muster", &good)]).await;
    for looks in 1..=3 {
        eventually(secs(20), "muster looked at the message", || async {
            same(scene.muster.metric("muster_messages_total", "result=\"unsigned\"").await, f64::from(looks))
        })
        .await;
        scene.moto.end_visibility().await;
    }
    eventually(secs(20), "muster gives the message up", || async {
        same(scene.moto.depth(&scene.world.dead_letters).await.messages, 5)
    })
    .await;
    assert_eq!((scene.launched().await, scene.muster.api("jobs").await), (0, vec![]));
    put(&body, &[("muster", &good)]).await;
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(30)).await;
    scene.muster.assert_no_secrets_logged(&scene.github);
}

/// Whoever knows API Gateway's URL may send thousands of messages. A job that comes behind them gets its runner while muster still
/// clears them away, and the dead-letter queue has them as far as the sample goes.
#[tokio::test]
async fn a_job_behind_a_flood_of_unsigned_messages_runs_and_no_message_stays() {
    const FLOOD: usize = 300;
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    for _ in 0..FLOOD / 10 {
        scene.moto.send_ten(&scene.world.jobs, "{}").await;
    }
    scene.muster.spawn();
    scene.muster.ready().await;
    let job = scene.queue_jobs(1)[0];
    eventually(secs(60), "the job is over", || async { same(scene.github.job(job).status, "completed".to_owned()) }).await;
    eventually(secs(120), "the whole flood is refused", || async {
        same(scene.muster.metric("muster_messages_total", "result=\"refused\"").await as usize, FLOOD)
    })
    .await;
    eventually(secs(60), "nothing of it is left on the queue", || async {
        let depth = scene.moto.depth(&scene.world.jobs).await;
        same((depth.messages, scene.moto.depth(&scene.world.dead_letters).await.messages), (0, FLOOD))
    })
    .await;
    scene.all_gone(secs(30)).await;
}
