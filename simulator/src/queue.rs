//! SQS. It delivers each message at least once and in no order, hides a received message for a while, and then shows it
//! again.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::effect::{JobMessage, MessageOp, Outcome};
use muster_reconciler::event::JobEvent;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::MessageId;
use muster_reconciler::time::Time;

use crate::faults::Fault;
use crate::nature::Nature;
use crate::rng::{Rng, Spread};

/// How long a received message stays invisible.
pub const VISIBILITY: Duration = Duration::from_secs(120);
/// The most messages that one receive call returns.
const BATCH: usize = 10;
/// A receive call draws from this many of the messages that have waited longest. SQS keeps no order, but it forgets no
/// message.
const DRAWN_FROM: usize = 40;
/// The redrive policy: a message that was received more often becomes a dead letter. docs/by-hand.md asks for a large number.
const MAX_RECEIVES: u32 = 200;

/// The job queue.
#[derive(Debug)]
pub struct Queue {
    messages: BTreeMap<MessageId, QueuedMessage>,
    /// An index of `messages`, by the time from which each can be received.
    visible: BTreeSet<(Time, MessageId)>,
    dead: Vec<JobEvent>,
    sent: u64,
    rng: Rng,
}

#[derive(Debug)]
struct QueuedMessage {
    event: JobEvent,
    visible_at: Time,
    receives: u32,
}

impl Queue {
    pub(super) fn new(seed: u64) -> Queue {
        Queue { messages: BTreeMap::new(), visible: BTreeSet::new(), dead: Vec::new(), sent: 0, rng: Rng::new(seed, "queue") }
    }

    /// The number of messages that nobody has deleted.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether all messages are deleted.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The job events of the messages that nobody has deleted.
    pub fn events(&self) -> impl Iterator<Item = &JobEvent> {
        self.messages.values().map(|m| &m.event)
    }

    /// The job events of the messages that became dead letters.
    pub fn dead_letters(&self) -> &[JobEvent] {
        &self.dead
    }

    pub(super) fn send(&mut self, event: JobEvent, nature: &mut Nature) {
        self.sent += 1;
        // A queue or a message may have a delay of its own, up to 15 minutes.
        let delay = nature.strikes(Fault::SendDelay).map(|mut r| r.within(Spread::secs(5, 900))).unwrap_or_default();
        let (id, visible_at) = (MessageId(self.sent), nature.now() + delay);
        self.visible.insert((visible_at, id));
        self.messages.insert(id, QueuedMessage { event, visible_at, receives: 0 });
    }

    /// When the next message becomes visible. None: the queue is empty.
    pub(super) fn next_visible(&self) -> Option<Time> {
        self.visible.first().map(|(at, _)| *at)
    }

    fn show_at(&mut self, id: MessageId, at: Time) -> Option<&mut QueuedMessage> {
        let message = self.messages.get_mut(&id)?;
        self.visible.remove(&(message.visible_at, id));
        message.visible_at = at;
        self.visible.insert((at, id));
        Some(message)
    }

    /// Up to ten visible messages, in no order. A fault makes a message visible again although it was received.
    pub(super) fn receive(&mut self, nature: &mut Nature) -> Vec<JobMessage> {
        let now = nature.now();
        let mut visible: Vec<MessageId> =
            self.visible.range(..=(now, MessageId(u64::MAX))).take(DRAWN_FROM).map(|(_, id)| *id).collect();
        self.rng.shuffle(&mut visible);
        visible.truncate(BATCH);
        let mut taken = Vec::with_capacity(visible.len());
        for id in visible {
            let again = nature.strikes(Fault::Redelivered).map(|mut r| r.within(Spread::secs(1, 60)));
            let Some(message) = self.show_at(id, now + again.unwrap_or(VISIBILITY)) else { continue };
            message.receives += 1;
            if message.receives > MAX_RECEIVES {
                let dead = self.delete(id);
                self.dead.extend(dead);
                continue;
            }
            taken.push(JobMessage { id, receive_count: message.receives, event: message.event.clone() });
        }
        taken
    }

    fn delete(&mut self, id: MessageId) -> Option<JobEvent> {
        let message = self.messages.remove(&id)?;
        self.visible.remove(&(message.visible_at, id));
        Some(message.event)
    }

    /// Carries out one operation. A missing message is an error only for Extend; the other operations have nothing left to
    /// do.
    pub(super) fn operate(&mut self, op: MessageOp, ids: &[MessageId], now: Time) -> Outcome {
        let mut missing = 0;
        for id in ids {
            match op {
                MessageOp::Delete => drop(self.delete(*id)),
                MessageOp::Extend { seconds } => {
                    missing += u32::from(self.show_at(*id, now + Duration::from_secs(u64::from(seconds))).is_none());
                }
                MessageOp::Release => drop(self.show_at(*id, now)),
            }
        }
        match missing {
            0 => Outcome::Done,
            n => Outcome::Failed(Failure::new(FailureKind::NotFound, format!("{n} of {} messages are gone", ids.len()))),
        }
    }
}
