//! The queue that belongs to the shadow. To receive a message hides it, and a message that was read is deleted: these are the only calls of
//! a shadow at AWS that change something, beside the writing of its record.

use std::sync::Arc;

use muster_message::kept::{self, KeptEvent};
use muster_message::keyring::Keyring;
use muster_reconciler::failure::Failure;
use muster_reconciler::manifest::Spec;
use serde_json::Value;

use crate::aws::Aws;
use crate::aws::sqs::{BATCH, Received, Sqs};
use crate::ingest::belief::{self, Unread};

/// For how long a message that was received is hidden, in seconds. By then it is in the record and deleted.
const HIDDEN_S: u32 = 300;

/// Whose messages are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those with GitHub's signature, or with the seal of muster's webhook.
    Signed(Arc<Keyring>),
    /// Those of an EventBridge rule, which bear no signature: whoever may send to the queue is believed.
    Bus,
}

/// The shadow's queue.
#[derive(Clone, Debug)]
pub struct OwnQueue {
    sqs: Sqs,
    url: String,
    spec: Arc<Spec>,
    trust: Trust,
}

impl OwnQueue {
    /// The queue that the manifests name.
    pub async fn open(spec: Arc<Spec>, trust: Trust) -> OwnQueue {
        let settings = &spec.controller.spec;
        let (sqs, url) = (Aws::connect(settings.region.as_deref()).await.sqs, settings.queues.jobs.clone());
        OwnQueue { sqs, url, spec, trust }
    }

    /// Waits for messages for up to `wait_s` seconds.
    ///
    /// # Errors
    /// When SQS refuses.
    pub async fn receive(&self, wait_s: u32) -> Result<Vec<Received>, Failure> {
        self.sqs.receive(&self.url, BATCH, wait_s, HIDDEN_S).await
    }

    /// Deletes messages that are in the record. One that is not reached comes back, and says the same again.
    pub async fn delete(&self, receipts: &[String]) {
        for (_, failure) in self.sqs.delete(&self.url, receipts).await {
            tracing::warn!(error = failure.message, "failed to delete a message of the shadow's queue; it comes back");
        }
    }

    /// Reads a message. None: it tells nothing of jobs.
    ///
    /// # Errors
    /// When it is not believed or cannot be read. The text says why.
    pub fn read(&self, received: &Received) -> Result<Option<KeptEvent>, String> {
        let value: Option<Value> = serde_json::from_str(&received.body).ok();
        match &self.trust {
            Trust::Bus => kept::read(&value.ok_or("it is no JSON")?),
            Trust::Signed(keyring) => match belief::read(&self.spec, keyring, received) {
                Ok(event) => {
                    // A message of muster's own does not have the end, and GitHub's payload does.
                    let ended = value.and_then(|value| kept::read(&value).ok()?).and_then(|kept| kept.ended);
                    let at = muster_reconciler::time::Time::ZERO;
                    Ok(Some(KeptEvent { at, event, ended }))
                }
                Err(Unread::Ignored(_)) => Ok(None),
                Err(Unread::Doubted(why) | Unread::Refused(why) | Unread::Poison(why)) => Err(why),
            },
        }
    }
}
