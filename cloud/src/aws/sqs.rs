//! SQS: muster receives, deletes, extends and sends messages. The queue is muster's database, so each member of a batch gets its
//! own answer.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::types;
use aws_sdk_sqs::types::MessageSystemAttributeName as SystemAttribute;
use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use futures_util::StreamExt as _;
use futures_util::stream;
use muster_message::seal::{self, Sealed};
use muster_reconciler::failure::{Failure, FailureKind};

use super::{CONNECT_TIMEOUT, CallError, Probe, kind_of};

/// The most messages in one batch call.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const BATCH: usize = 10;
/// The most bytes of all bodies in one SendMessageBatch call, and so the most of one body: 1 MiB (same page).
pub const BATCH_BYTES: usize = 1 << 20;
/// The most batch calls that run side by side. A clean stop releases thousands of messages within seconds.
const PARALLEL: usize = 8;

/// The data type of every message attribute that muster sends.
const TEXT: &str = "String";
/// The attribute that says why a message is in the dead-letter queue.
const REASON: &str = "reason";
/// The most attributes of one message.
const ATTRIBUTES: usize = 10;

/// The adapter for SQS. Every argument `queue` is the URL of a queue. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Sqs {
    client: Client,
    pub(super) probe: Probe,
}

/// One delivery of a message. SQS may deliver a message more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The id of the message. Each delivery of the message has the same id.
    pub message_id: String,
    /// The receipt handle of this delivery. It is needed to delete the message or to extend its visibility timeout.
    pub receipt: String,
    /// The body, as it was sent.
    pub body: String,
    /// ApproximateReceiveCount: 1 on the first delivery of the message, and more on each later one. 2 if SQS did not say the
    /// count.
    pub receive_count: u32,
    /// The message attributes whose value is text.
    pub attributes: BTreeMap<String, String>,
}

impl Sqs {
    pub(super) fn new(config: &SdkConfig, probe: Probe) -> Sqs {
        Sqs { client: Client::new(config), probe }
    }

    /// Waits up to `wait_s` (0..=20) seconds for up to `max` (1..=10) messages, and hides these messages for `visibility_s`
    /// seconds.
    pub async fn receive(&self, queue: &str, max: usize, wait_s: u32, visibility_s: u32) -> Result<Vec<Received>, Failure> {
        // When the queue is empty, a long poll answers only after `wait_s` seconds. Such an answer is not late.
        let patience = Duration::from_secs(u64::from(wait_s) + 10);
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(patience).build();
        // The SDK's protection against stalled streams wakes ten times a second for as long as a call lasts. A long poll lasts for 20 s
        // and has a time limit of its own.
        let unguarded = StalledStreamProtectionConfig::disabled();
        let call = self
            .client
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(int(max.clamp(1, BATCH)))
            .wait_time_seconds(int(wait_s))
            .visibility_timeout(int(visibility_s))
            .message_system_attribute_names(SystemAttribute::ApproximateReceiveCount)
            .message_attribute_names("All")
            .customize()
            .config_override(aws_sdk_sqs::Config::builder().timeout_config(timeouts).stalled_stream_protection(unguarded));
        let answer = self.probe.call("sqs.ReceiveMessage", &format!("receive from {queue}"), call.send()).await?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(received).collect())
    }

    /// Deletes deliveries. Returns the failures, with the index of their receipt. A receipt that has expired is no failure:
    /// nothing more can be done with it. If the message still exists, its next delivery has a receipt that works.
    pub async fn delete(&self, queue: &str, receipts: &[String]) -> Vec<(usize, Failure)> {
        self.in_batches(queue, receipts, DeliveryChange::Delete).await
    }

    /// Keeps deliveries invisible for `seconds` (0..=43,200) from now; 0 releases them. Returns the failures, with the index of
    /// their receipt. A receipt that has expired is treated in two ways:
    ///
    /// - For a release, it is no failure, because the message is already visible or gone.
    /// - For an extension, it is [`FailureKind::NotFound`]: this process does not hold the message any more.
    pub async fn change_visibility(&self, queue: &str, receipts: &[String], seconds: u32) -> Vec<(usize, Failure)> {
        self.in_batches(queue, receipts, if seconds == 0 { DeliveryChange::Release } else { DeliveryChange::Extend(seconds) })
            .await
    }

    /// Sends messages, at most ten or 1 MiB in a call. Returns one result for each message, in order.
    pub async fn send_batch(&self, queue: &str, messages: &[Sealed]) -> Vec<Result<(), Failure>> {
        let what = format!("send to {queue}");
        let mut results = vec![Ok(()); messages.len()];
        let mut start = 0;
        while start < messages.len() {
            let end = start + fitting(&messages[start..]);
            let entries = messages[start..end].iter().enumerate().filter_map(|(i, message)| {
                let seal = text(&message.seal).ok()?;
                let entry = types::SendMessageBatchRequestEntry::builder().id(i.to_string()).message_body(&message.body);
                entry.message_attributes(seal::ATTRIBUTE, seal).build().ok()
            });
            let call = self.client.send_message_batch().queue_url(queue).set_entries(Some(entries.collect()));
            match self.probe.call("sqs.SendMessageBatch", &what, call.send()).await {
                Ok(answer) => {
                    for (i, failure) in answer.failed.iter().map(|entry| entry_failure(entry, "send to", queue)) {
                        if let Some(result) = results[start..end].get_mut(i) {
                            *result = Err(failure);
                        }
                    }
                }
                Err(error) => results[start..end].fill(Err(error.failure)),
            }
            start = end;
        }
        results
    }

    /// Puts a message that cannot be read into the dead-letter queue, where an operator can look at it. The attribute `reason` is
    /// `why`. The message keeps its own attributes, so that it can be sent back once the cause is mended.
    pub async fn dead_letter(&self, queue: &str, message: &Received, why: &str) -> Result<(), Failure> {
        // An attribute may have only the characters that XML admits. It also counts against the size limit of a message.
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        let mut call = self.client.send_message().queue_url(queue).message_body(&message.body);
        let own = message.attributes.iter().filter(|(name, _)| *name != REASON).take(ATTRIBUTES - 1);
        for (name, value) in own.map(|(name, value)| (name.as_str(), value.as_str())).chain([(REASON, why.as_str())]) {
            if let Ok(value) = text(value) {
                call = call.message_attributes(name, value);
            }
        }
        self.probe.call("sqs.SendMessage", &format!("move a message to {queue}"), call.send()).await?;
        Ok(())
    }

    /// How many messages are visible, in flight and delayed, in this order. SQS gives approximate numbers.
    pub async fn depth(&self, queue: &str) -> Result<(u64, u64, u64), Failure> {
        let names = [
            Attribute::ApproximateNumberOfMessages,
            Attribute::ApproximateNumberOfMessagesNotVisible,
            Attribute::ApproximateNumberOfMessagesDelayed,
        ];
        let call = self.client.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
        let answer = self.probe.call("sqs.GetQueueAttributes", &format!("measure {queue}"), call.send()).await?;
        let [visible, in_flight, delayed] =
            names.map(|name| answer.attributes().and_then(|all| all.get(&name)?.parse().ok()).unwrap_or(0));
        Ok((visible, in_flight, delayed))
    }

    /// Makes the change in calls of ten receipts, some of them side by side. Returns the failures, with the index of their
    /// receipt.
    async fn in_batches(&self, queue: &str, receipts: &[String], change: DeliveryChange) -> Vec<(usize, Failure)> {
        let batches = receipts.chunks(BATCH).enumerate();
        let calls: Vec<_> = batches.map(|(number, batch)| self.change(queue, batch, number * BATCH, change)).collect();
        stream::iter(calls).buffered(PARALLEL).concat().await
    }

    /// Makes one call. Returns the failures, with the index of their receipt, counted from `start`.
    async fn change(&self, queue: &str, receipts: &[String], start: usize, change: DeliveryChange) -> Vec<(usize, Failure)> {
        let answer = match change {
            DeliveryChange::Delete => self.delete_some(queue, receipts).await,
            DeliveryChange::Release => self.hide_some(queue, receipts, 0).await,
            DeliveryChange::Extend(seconds) => self.hide_some(queue, receipts, seconds).await,
        };
        match answer {
            Ok(failed) => {
                let lasting = failed.iter().filter(|entry| matches!(change, DeliveryChange::Extend(_)) || !is_stale(entry));
                lasting.map(|entry| entry_failure(entry, change.verb(), queue)).map(|(i, failure)| (start + i, failure)).collect()
            }
            Err(error) => (start..start + receipts.len()).map(|i| (i, error.failure.clone())).collect(),
        }
    }

    async fn delete_some(&self, queue: &str, receipts: &[String]) -> Result<Vec<types::BatchResultErrorEntry>, CallError> {
        let entries = receipts.iter().enumerate().filter_map(|(i, receipt)| {
            types::DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(receipt).build().ok()
        });
        let call = self.client.delete_message_batch().queue_url(queue).set_entries(Some(entries.collect()));
        let what = format!("{} {queue}", DeliveryChange::Delete.verb());
        Ok(self.probe.call("sqs.DeleteMessageBatch", &what, call.send()).await?.failed)
    }

    async fn hide_some(
        &self,
        queue: &str,
        receipts: &[String],
        seconds: u32,
    ) -> Result<Vec<types::BatchResultErrorEntry>, CallError> {
        let entries = receipts.iter().enumerate().filter_map(|(i, receipt)| {
            let entry = types::ChangeMessageVisibilityBatchRequestEntry::builder().id(i.to_string()).receipt_handle(receipt);
            entry.visibility_timeout(int(seconds)).build().ok()
        });
        let call = self.client.change_message_visibility_batch().queue_url(queue).set_entries(Some(entries.collect()));
        let what = format!("change the visibility of messages of {queue}");
        Ok(self.probe.call("sqs.ChangeMessageVisibilityBatch", &what, call.send()).await?.failed)
    }
}

/// What is done to a batch of deliveries.
#[derive(Clone, Copy)]
enum DeliveryChange {
    Delete,
    Release,
    Extend(u32),
}

impl DeliveryChange {
    const fn verb(self) -> &'static str {
        match self {
            DeliveryChange::Delete => "delete a message of",
            DeliveryChange::Release => "release a message of",
            DeliveryChange::Extend(_) => "extend a message of",
        }
    }
}

/// How many of the messages go into the next call: at least one and at most ten. If the first message alone is too large, SQS
/// says so. The name, type and value of an attribute count like the body.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-message-attributes>
fn fitting(messages: &[Sealed]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take(BATCH).take_while(|message| {
        bytes += message.body.len() + seal::ATTRIBUTE.len() + TEXT.len() + message.seal.len();
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

fn text(value: &str) -> Result<types::MessageAttributeValue, aws_sdk_sqs::error::BuildError> {
    types::MessageAttributeValue::builder().data_type(TEXT).string_value(value).build()
}

fn received(message: types::Message) -> Received {
    // A message whose count is unknown counts as redelivered, because redelivered messages are handled with more care.
    let count = message.attributes().and_then(|all| all.get(&SystemAttribute::ApproximateReceiveCount)?.parse().ok());
    let attributes = message.message_attributes.unwrap_or_default();
    Received {
        receive_count: count.unwrap_or(2),
        message_id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        attributes: attributes.into_iter().filter_map(|(name, value)| Some((name, value.string_value?))).collect(),
    }
}

/// Whether the receipt no longer names a delivery in flight: it expired, the delivery was released, or the message is deleted.
/// SQS has several wordings for this. An InvalidParameterValue is one of them only when its message speaks of the receipt.
/// <https://repost.aws/knowledge-center/sqs-receipt-handle-error>
fn is_stale(entry: &types::BatchResultErrorEntry) -> bool {
    let code = entry.code();
    code.contains("MessageNotInflight")
        || code.contains("ReceiptHandleIsInvalid")
        || (code.contains("InvalidParameterValue") && entry.message().is_some_and(|text| text.to_lowercase().contains("receipt")))
}

fn entry_failure(entry: &types::BatchResultErrorEntry, verb: &str, queue: &str) -> (usize, Failure) {
    let kind = match is_stale(entry) {
        true => FailureKind::NotFound,
        false => kind_of(entry.code(), if entry.sender_fault() { 400 } else { 500 }),
    };
    let message = format!("{verb} {queue}: {}: {}", entry.code(), entry.message().unwrap_or("no message"));
    (entry.id().parse().unwrap_or(usize::MAX), Failure::new(kind, message))
}

/// SQS takes numbers as i32. All numbers that muster gives are far below the largest i32.
fn int(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(code: &str, message: &str, sender_fault: bool) -> types::BatchResultErrorEntry {
        let entry = types::BatchResultErrorEntry::builder().id("3").code(code).message(message).sender_fault(sender_fault);
        entry.build().expect("complete")
    }

    #[test]
    fn a_batch_is_cut_at_ten_messages_or_a_mebibyte() {
        let seal = format!("v1={}", "0".repeat(64));
        let message = |size: &usize| Sealed { body: "x".repeat(*size), seal: seal.clone() };
        let of = |sizes: &[usize]| fitting(&sizes.iter().map(message).collect::<Vec<_>>());
        assert_eq!(of(&[1; 25]), 10);
        let half = BATCH_BYTES / 2 - "muster".len() - "String".len() - seal.len();
        assert_eq!(of(&[half, half, 1]), 2, "with their seals they are a mebibyte");
        assert_eq!(of(&[half, half + 1]), 1);
        assert_eq!(of(&[BATCH_BYTES + 1, 1]), 1);
    }

    #[test]
    fn a_receipt_that_ran_out_is_known_in_all_its_wordings() {
        for (code, message) in [
            ("MessageNotInflight", ""),
            ("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
            ("AWS.SimpleQueueService.MessageNotInflight", ""),
            ("InvalidParameterValue", "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."),
        ] {
            assert!(is_stale(&entry(code, message, true)), "{code}");
        }
        assert!(!is_stale(&entry("InvalidParameterValue", "Value 99999 for parameter VisibilityTimeout is invalid.", true)));
    }

    #[test]
    fn a_failed_entry_says_whose_fault_it_was() {
        let kind = |code, sender| entry_failure(&entry(code, "", sender), "send to", "q").1.kind;
        assert_eq!(kind("InternalError", false), FailureKind::Unavailable);
        assert_eq!(kind("InvalidMessageContents", true), FailureKind::Refused);
        assert_eq!(kind("RequestThrottled", true), FailureKind::Throttled);
        assert_eq!(entry_failure(&entry("InternalError", "", false), "send to", "q").0, 3);
    }
}
