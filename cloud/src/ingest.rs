//! Takes messages from the queues into the core: receives them, decodes them, and keeps the receipts of messages that are held.
//!
//! A message stays on the queue until the core says that nothing depends on it any more. A message that cannot be read, or that
//! is not signed, is counted and goes to the dead-letter queue. It never blocks the next message.

pub(crate) mod belief;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_reconciler::controller::VISIBILITY_S;
use muster_reconciler::effect::{Input, JobMessage, MessageOp, Outcome};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState};
use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::MessageId;
use muster_reconciler::manifest::{Queues, Spec};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::belief::Doubts;
use muster_message::keyring::Keyring;
use muster_message::{seal, wire};
use muster_operations::metrics::Metrics;

use self::belief::{KEPT, NextLook, Unread};
use crate::aws::sqs::{Received, Sqs};
use crate::lease::Fence;
use crate::retry::Delay;

/// The longest poll that SQS offers, in seconds.
const POLL_S: u32 = 20;
/// How long a receive may still take after the order to stop.
const LAST_RECEIVE: Duration = Duration::from_millis(500);
/// How many receivers of the job queue run side by side. Each call gets up to ten messages.
const RECEIVERS: usize = 3;
/// The time between two measurements of the queues.
const MEASURE_EVERY: Duration = Duration::from_secs(60);
/// The most messages that are held. SQS allows 120,000 in flight for each queue.
const MOST_HELD: usize = 100_000;

/// The receipts of the messages that are held. The core knows each message by a number of its own.
#[derive(Clone, Debug, Default)]
pub struct Receipts(Arc<Mutex<ReceiptBook>>);

#[derive(Debug, Default)]
struct ReceiptBook {
    next: u64,
    by_name: HashMap<String, MessageId>,
    held: HashMap<MessageId, (String, String)>,
}

impl Receipts {
    /// Notes a delivery. The number of a message stays the same. Only its newest receipt works.
    fn note(&self, message: &str, receipt: &str) -> MessageId {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match book.by_name.get(message) {
            Some(id) => *id,
            None => {
                book.next += 1;
                let id = MessageId(book.next);
                book.by_name.insert(message.to_owned(), id);
                id
            }
        };
        book.held.insert(id, (message.to_owned(), receipt.to_owned()));
        id
    }

    fn of(&self, ids: &[MessageId]) -> Vec<String> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter_map(|id| book.held.get(id).map(|(_, receipt)| receipt.clone())).collect()
    }

    fn forget(&self, ids: &[MessageId]) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            if let Some((name, _)) = book.held.remove(id) {
                book.by_name.remove(&name);
            }
        }
    }

    /// How many messages are held.
    pub fn held(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).held.len()
    }

    /// Carries out what the core wants done with messages that are held.
    pub async fn carry_out(&self, sqs: &Sqs, queue: &str, op: MessageOp, ids: &[MessageId]) -> Outcome {
        let receipts = self.of(ids);
        let failed = match op {
            MessageOp::Extend { seconds } => sqs.change_visibility(queue, &receipts, seconds).await,
            MessageOp::Release => sqs.change_visibility(queue, &receipts, 0).await,
            MessageOp::Delete => sqs.delete(queue, &receipts).await,
        };
        if !matches!(op, MessageOp::Extend { .. }) {
            // A message that was not reached is forgotten, too. The queue delivers it again, with a new receipt.
            self.forget(ids);
        }
        // It would not help to try the same again with a receipt that has expired: the queue will deliver the message again.
        match failed.into_iter().find(|(_, f)| f.kind != FailureKind::NotFound) {
            Some((_, failure)) => {
                tracing::warn!(?op, error = failure.message, "some messages were not reached");
                Outcome::Failed(failure)
            }
            None => Outcome::Done,
        }
    }
}

/// Everything that ingest needs.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// The adapter of the queues.
    pub sqs: Sqs,
    /// The URLs of the queues.
    pub queues: Queues,
    /// The receipts of messages that are held.
    pub receipts: Receipts,
    /// The entrance of the core.
    pub inputs: mpsc::Sender<Input>,
    /// Where messages are counted.
    pub metrics: Arc<Metrics>,
    /// The manifests that are in force. They are needed for the pools of GitHub's deliveries, which API Gateway puts on the
    /// queue.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// The webhook secrets that are in force.
    pub secrets: watch::Receiver<Arc<Keyring>>,
    /// The messages that none of these secrets signed.
    pub doubts: Doubts,
    /// Nothing is received before this process acts: a message that it receives is hidden from the others.
    pub fence: Fence,
}

impl Ingest {
    /// Starts all receivers. They end when `stop` is cancelled.
    pub fn start(&self, tasks: &mut tokio::task::JoinSet<()>, stop: &CancellationToken) {
        for _ in 0..RECEIVERS {
            let (this, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move { this.fence.clone().then(&stop, this.receive_jobs(&stop)).await });
        }
        if let Some(queue) = self.queues.ec2_events.clone() {
            let (this, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move { this.fence.clone().then(&stop, this.receive_ec2(&queue, &stop)).await });
        }
        let (this, stop) = (self.clone(), stop.clone());
        tasks.spawn(async move { this.fence.clone().then(&stop, this.measure(&stop)).await });
    }

    /// Measures the queues, only for the metrics.
    async fn measure(&self, stop: &CancellationToken) {
        let Queues { jobs, dead_letters, ec2_events } = &self.queues;
        let queues = [("jobs", Some(jobs)), ("dead_letters", dead_letters.as_ref()), ("ec2_events", ec2_events.as_ref())];
        while !stop.is_cancelled() {
            for (name, url) in queues {
                let Some(url) = url else { continue };
                let depth = tokio::select! {
                    () = stop.cancelled() => return,
                    depth = self.sqs.depth(url) => depth,
                };
                if let Err(f) = &depth {
                    // The metrics of the API count the failure. The gauge is missing until a measurement succeeds.
                    tracing::debug!(queue = name, error = f.message, "a queue could not be measured");
                }
                self.metrics.queue_depth(name, depth.ok().map(|(visible, held, delayed)| [visible, held, delayed]));
            }
            pause(MEASURE_EVERY, stop).await;
        }
    }

    async fn receive_jobs(&self, stop: &CancellationToken) {
        let mut delay = Delay::new(Duration::from_millis(200), Duration::from_secs(10));
        while !stop.is_cancelled() {
            if self.receipts.held() >= MOST_HELD {
                tracing::warn!(held = MOST_HELD, "holding as many messages as SQS allows; the rest waits on the queue");
                pause(Duration::from_secs(5), stop).await;
                continue;
            }
            let Some(batch) = self.receive(&self.queues.jobs, &mut delay, stop).await else { continue };
            self.metrics.redelivered(batch.iter().filter(|received| received.receive_count > 1).count() as u64);
            let (mut messages, mut aside) = (Vec::with_capacity(batch.len()), Vec::new());
            for received in batch {
                let (spec, secrets) = (self.spec.borrow().clone(), self.secrets.borrow().clone());
                match belief::read(&spec, &secrets, &received) {
                    Ok(event) => {
                        let id = self.receipts.note(&received.message_id, &received.receipt);
                        messages.push(JobMessage { id, receive_count: received.receive_count, event });
                    }
                    Err(why) => aside.push((received, why)),
                }
            }
            self.metrics.messages("job", messages.len() as u64);
            // Jobs do not wait for what is done with the other messages, of which somebody may send many.
            if !messages.is_empty() && self.inputs.send(Input::Messages(messages)).await.is_err() {
                return;
            }
            self.put_aside(aside).await;
        }
    }

    /// Deals with messages that give no event. Those that leave the queue are deleted in one call.
    async fn put_aside(&self, aside: Vec<(Received, Unread)>) {
        let mut done = Vec::new();
        for (received, why) in aside {
            let sealed = received.attributes.contains_key(seal::ATTRIBUTE) && matches!(why, Unread::Doubted(_));
            let leaves = match why {
                Unread::Ignored(why) => {
                    self.metrics.messages("ignored", 1);
                    tracing::debug!(message_id = received.message_id, why, "a message is not for us");
                    true
                }
                // The secret may have been replaced, and muster may read the new one only minutes later.
                Unread::Doubted(why) if self.doubts.look(&received.message_id, sealed) == NextLook::Again => {
                    self.metrics.messages("unsigned", 1);
                    tracing::warn!(
                        message_id = received.message_id,
                        why,
                        "a message's signature is wrong; looked at again in two minutes"
                    );
                    false
                }
                Unread::Doubted(why) | Unread::Refused(why) => self.refuse(&received, &why, sealed).await,
                Unread::Poison(why) => self.bury(&received, &why).await,
            };
            done.extend(leaves.then_some(received.receipt));
        }
        for (_, f) in self.sqs.delete(&self.queues.jobs, &done).await {
            tracing::warn!(error = f.message, "failed to delete a message; it comes back");
        }
    }

    /// Makes one long poll. A poll that is under way at the order to stop may take [`LAST_RECEIVE`] longer, so that its messages
    /// can be given back at once. After that, the poll is dropped, and its messages become visible when their visibility timeout
    /// is over.
    async fn receive(&self, queue: &str, delay: &mut Delay, stop: &CancellationToken) -> Option<Vec<Received>> {
        let answer = tokio::select! {
            () = async { stop.cancelled().await; tokio::time::sleep(LAST_RECEIVE).await } => return None,
            answer = self.sqs.receive(queue, crate::aws::sqs::BATCH, POLL_S, VISIBILITY_S) => answer,
        };
        match answer {
            Ok(batch) => {
                delay.reset();
                Some(batch)
            }
            Err(failure) => {
                let wait = delay.next_delay();
                tracing::warn!(queue, error = failure.message, wait_ms = wait.as_millis() as u64, "failed to receive");
                pause(wait, stop).await;
                None
            }
        }
    }

    /// Moves a message that is not believed out of the way. Many of them may come at once, because somebody writes to the queue,
    /// or because a secret was removed too early. So the log has only one of them, and the metric counts all. Of a flood, the
    /// dead-letter queue gets a sample, and the rest is dropped. A message with muster's seal is never dropped: muster wrote it, and
    /// has told GitHub so. Returns whether the message leaves the queue.
    async fn refuse(&self, received: &Received, why: &str, sealed: bool) -> bool {
        if self.doubts.tells() {
            tracing::warn!(
                message_id = received.message_id,
                why,
                "refused a message that is not signed; up to {KEPT} within 10 minutes go to the dead-letter queue with their \
                 attributes and their reason. More within 10 minutes are counted only, by \
                 muster_messages_total{{result=\"refused\"}} and {{result=\"dropped\"}}"
            );
        }
        if !sealed && !self.doubts.keeps() {
            self.metrics.messages("dropped", 1);
            return true;
        }
        self.metrics.messages("refused", 1);
        self.move_away(received, why).await
    }

    /// Moves a message that cannot be read out of the way. Returns whether it leaves the queue.
    async fn bury(&self, received: &Received, why: &str) -> bool {
        self.metrics.messages("unreadable", 1);
        tracing::warn!(message_id = received.message_id, why, "unreadable message; it goes to the dead-letter queue");
        self.move_away(received, why).await
    }

    /// Copies a message to the dead-letter queue. Without a dead-letter queue, the message is left to the queue's redrive policy.
    /// Returns whether the message may be deleted.
    async fn move_away(&self, received: &Received, why: &str) -> bool {
        let Some(graveyard) = &self.queues.dead_letters else {
            tracing::debug!(
                message_id = received.message_id,
                "spec.queues.deadLetters is not set; left to the queue's redrive policy"
            );
            return false;
        };
        let copied = self.sqs.dead_letter(graveyard, received, why).await;
        match &copied {
            Ok(()) => self.metrics.dead_letter(),
            Err(f) => {
                tracing::warn!(message_id = received.message_id, error = f.message, "not moved to the dead-letter queue yet")
            }
        }
        copied.is_ok()
    }

    /// Receives EC2's notifications. They are hints, so each is deleted as soon as the core has it.
    async fn receive_ec2(&self, queue: &str, stop: &CancellationToken) {
        let mut delay = Delay::new(Duration::from_millis(200), Duration::from_secs(10));
        while !stop.is_cancelled() {
            let Some(batch) = self.receive(queue, &mut delay, stop).await else { continue };
            let mut receipts = Vec::with_capacity(batch.len());
            for received in batch {
                match read_ec2(&received.body) {
                    Ok(event) => {
                        self.metrics.messages("ec2_event", 1);
                        if self.inputs.send(Input::Ec2(event)).await.is_err() {
                            return;
                        }
                    }
                    Err(why) => {
                        self.metrics.messages("unreadable", 1);
                        tracing::warn!(
                            message_id = received.message_id,
                            why,
                            "unreadable EC2 notification; dropped, a sweep sees the same"
                        );
                    }
                }
                receipts.push(received.receipt);
            }
            for (_, f) in self.sqs.delete(queue, &receipts).await {
                tracing::warn!(error = f.message, "failed to delete an EC2 notification; it comes back");
            }
        }
    }
}

async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// The parts of EventBridge's envelope that matter here.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "detail-type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    detail: Detail<'a>,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(rename = "instance-id", borrow)]
    instance: std::borrow::Cow<'a, str>,
    state: Option<InstanceState>,
}

/// Reads one EC2 notification.
///
/// # Errors
/// When the notification cannot be read. The text says what is wrong.
pub fn read_ec2(body: &str) -> Result<Ec2Event, String> {
    let envelope: Envelope<'_> = serde_json::from_str(body).map_err(|e| wire::explain(&e))?;
    let kind = match (&*envelope.kind, envelope.detail.state) {
        ("EC2 Spot Instance Interruption Warning", _) => Ec2EventKind::SpotInterruption,
        ("EC2 Instance Rebalance Recommendation", _) => Ec2EventKind::Rebalance,
        ("EC2 Instance State-change Notification", Some(state)) => Ec2EventKind::State(state),
        (other, _) => return Err(format!("its detail-type `{other}` is not one that muster asked for")),
    };
    Ok(Ec2Event { instance: (&*envelope.detail.instance).into(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2_notifications_are_read() {
        let warning = r#"{"version":"0","id":"1","detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2",
            "account":"123456789012","time":"2026-11-23T00:00:00Z","region":"eu-west-1","resources":[],
            "detail":{"instance-id":"i-0abc","instance-action":"terminate"}}"#;
        let read = read_ec2(warning).expect("a warning");
        assert_eq!((read.instance.as_str(), read.kind), ("i-0abc", Ec2EventKind::SpotInterruption));
        let state =
            r#"{"detail-type":"EC2 Instance State-change Notification","detail":{"instance-id":"i-1","state":"shutting-down"}}"#;
        assert_eq!(read_ec2(state).map(|e| e.kind), Ok(Ec2EventKind::State(InstanceState::ShuttingDown)));
        for bad in ["", "{}", r#"{"detail-type":"x","detail":{"instance-id":"i-1"}}"#] {
            assert!(read_ec2(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_keeps_its_number_and_takes_the_newest_receipt() {
        let receipts = Receipts::default();
        let first = receipts.note("m", "r1");
        assert_eq!(receipts.note("m", "r2"), first);
        assert_eq!((receipts.of(&[first]), receipts.held()), (vec!["r2".to_owned()], 1));
        receipts.forget(&[first]);
        assert_eq!(receipts.held(), 0);
        assert_ne!(receipts.note("m", "r3"), first);
    }
}
