//! SQS: at least once, in no order, invisible while held, back when nobody said otherwise.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>

use std::collections::BTreeMap;
use std::time::Duration;

use crate::effect::{Failure, FailureKind, JobMessage, MessageOp, Outcome};
use crate::event::JobEvent;
use crate::ids::MessageId;
use crate::time::Time;

use super::rng::Rng;

/// The queue's visibility timeout.
pub const VISIBILITY: Duration = Duration::from_secs(120);
/// Messages of one receive call, at most.
const BATCH: usize = 10;

/// The job queue.
#[derive(Debug)]
pub struct Queue {
    messages: BTreeMap<MessageId, Message>,
    sent: u64,
    rng: Rng,
}

#[derive(Debug)]
struct Message {
    event: JobEvent,
    visible_at: Time,
    receives: u32,
}

impl Queue {
    pub(super) fn new(seed: u64) -> Queue {
        Queue { messages: BTreeMap::new(), sent: 0, rng: Rng::new(seed, "queue") }
    }

    /// Messages that nobody has deleted.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether all messages are deleted.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What each message left says.
    pub fn events(&self) -> impl Iterator<Item = &JobEvent> {
        self.messages.values().map(|m| &m.event)
    }

    pub(super) fn send(&mut self, event: JobEvent, now: Time) {
        self.sent += 1;
        self.messages.insert(MessageId(self.sent), Message { event, visible_at: now, receives: 0 });
    }

    /// When a receive call can next have something.
    pub(super) fn next_visible(&self) -> Option<Time> {
        self.messages.values().map(|m| m.visible_at).min()
    }

    /// Up to ten visible messages, in no order. With the probability `again`, a message stays visible though it was taken.
    pub(super) fn receive(&mut self, now: Time, again: f64) -> Vec<JobMessage> {
        let mut visible: Vec<MessageId> = self.messages.iter().filter(|(_, m)| m.visible_at <= now).map(|(id, _)| *id).collect();
        self.rng.shuffle(&mut visible);
        visible.truncate(BATCH);
        let mut taken = Vec::with_capacity(visible.len());
        for id in visible {
            let back = if self.rng.chance(again) { Duration::from_secs(1 + self.rng.below(60)) } else { VISIBILITY };
            if let Some(message) = self.messages.get_mut(&id) {
                message.receives += 1;
                message.visible_at = now + back;
                taken.push(JobMessage { id, receive_count: message.receives, event: message.event.clone() });
            }
        }
        taken
    }

    /// Carries out one operation. A message that is gone is done with, except that it cannot be extended.
    pub(super) fn operate(&mut self, op: MessageOp, ids: &[MessageId], now: Time) -> Outcome {
        let mut missing = 0;
        for id in ids {
            match (op, self.messages.get_mut(id)) {
                (MessageOp::Delete, _) => {
                    self.messages.remove(id);
                }
                (MessageOp::Extend { seconds }, Some(m)) => m.visible_at = now + Duration::from_secs(u64::from(seconds)),
                (MessageOp::Release, Some(m)) => m.visible_at = now,
                (MessageOp::Extend { .. }, None) => missing += 1,
                (MessageOp::Release, None) => {}
            }
        }
        match missing {
            0 => Outcome::Done,
            n => Outcome::Failed(Failure::new(FailureKind::NotFound, format!("{n} of {} messages are gone", ids.len()))),
        }
    }
}
