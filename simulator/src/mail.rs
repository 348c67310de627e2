//! GitHub's record of the webhooks that it could not deliver. GitHub never tries again by itself. Who asks gets one more
//! attempt with the same payload. If that attempt fails, too, it gets a row of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::effect::DeliverySighting;
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::DeliveryId;
use muster_reconciler::time::Time;

use crate::event::Event;
use crate::faults::Fault;
use crate::nature::Nature;
use crate::rng::Spread;

/// How long the list shows a failed attempt. GitHub keeps attempts for three days, but the controller asks for none this
/// old.
const SHOWN: Duration = Duration::from_secs(24 * 3600);

/// Attempts that failed, by the id of the delivery.
#[derive(Debug, Default)]
pub(super) struct Mail {
    failed: BTreeMap<DeliveryId, Attempt>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Attempt {
    guid: u64,
    event: Box<JobEvent>,
    at: Time,
}

impl Mail {
    /// Records a webhook that could not be delivered.
    pub fn lose(&mut self, event: Box<JobEvent>, nature: &Nature) {
        self.last += 1;
        self.failed.insert(DeliveryId(self.last), Attempt { guid: self.last, event, at: nature.now() });
    }

    /// The failed attempts, newest first.
    pub fn list(&mut self, now: Time) -> Vec<DeliverySighting> {
        self.failed.retain(|_, a| now.since(a.at) < SHOWN);
        let action = |event: &JobEvent| match event.state {
            JobState::Queued if event.waiting => "waiting",
            JobState::Queued => "queued",
            JobState::InProgress => "in_progress",
            JobState::Completed => "completed",
        };
        let row = |(id, a): (&DeliveryId, &Attempt)| DeliverySighting {
            id: *id,
            guid: a.guid.to_string(),
            action: Some(action(&a.event).to_owned()),
            status: 502,
        };
        self.failed.iter().rev().map(row).collect()
    }

    /// When the newest attempt failed.
    pub fn newest(&self) -> Option<Time> {
        self.failed.values().map(|a| a.at).max()
    }

    /// Delivers the webhook once more, with the payload of the failed attempt.
    pub fn attempt(&mut self, id: DeliveryId, nature: &mut Nature) {
        let Some(again) = self.failed.get(&id).cloned() else { return };
        self.last += 1;
        if let Some(mut size) = nature.strikes(Fault::WebhookLoss) {
            let soon = size.within(Spread::secs(0, 10));
            self.failed.insert(DeliveryId(self.last), Attempt { at: nature.now() + soon, ..again });
            return;
        }
        nature.after(nature.takes().webhook.low, Event::Send(again.event));
    }
}
