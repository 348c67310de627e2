//! Whether the queues exist and are safe, and whether there is a dead-letter queue for messages that cannot be read.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde_json::Value;

use super::finding::{Complaints, Finding};
use super::look::Look;
use crate::aws::CallError;
use muster_reconciler::reason::count;

/// The shortest safe retention, in seconds. A job waits at GitHub for a day, and its message must not disappear before that.
const RETENTION_S: u64 = 86_400;
/// The lowest safe `maxReceiveCount`. Each start of a controller receives every waiting job once more, so a lower limit would
/// move good messages to the dead-letter queue.
const RECEIVES: u64 = 100;

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Jobs,
    Ec2Events,
    DeadLetters,
}

impl Purpose {
    pub(super) const fn check(self) -> &'static str {
        match self {
            Purpose::Jobs => "queue jobs",
            Purpose::Ec2Events => "queue ec2Events",
            Purpose::DeadLetters => "queue deadLetters",
        }
    }
}

/// Checks a queue, and the queue that its redrive policy names, unless that one is `known`.
pub(super) async fn check(look: &Look, purpose: Purpose, url: &str, known: Option<&str>) -> Vec<Finding> {
    let facts = match ask(look, url).await {
        Ok(facts) => facts,
        Err(error) => {
            let next = "make the queue (`terraform apply`), or correct its URL in spec.queues";
            return vec![Finding::call_failed(purpose.check(), &error.failure, "sqs:GetQueueAttributes", next)];
        }
    };
    let mut found = vec![judge(purpose, url, &facts)];
    let target = facts.dead_letters.as_deref().and_then(|arn| sibling(url, arn));
    if let Some(target) = target.filter(|target| purpose != Purpose::DeadLetters && known != Some(target)) {
        let check = format!("dead letters of {}", purpose.check());
        found.push(match ask(look, &target).await {
            Ok(facts) => Finding { check, ..judge(Purpose::DeadLetters, &target, &facts) },
            Err(error) => {
                let next = "make the queue, or point the redrive policy at another";
                Finding::look_failed(check, &error, "sqs:GetQueueAttributes", next)
            }
        });
    }
    found
}

async fn ask(look: &Look, url: &str) -> Result<Facts, CallError> {
    let call = look.sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All);
    let answer = look.probe.call("sqs.GetQueueAttributes", &format!("look at {url}"), call.send()).await?;
    Ok(answer.attributes().map(Facts::of).unwrap_or_default())
}

/// The attributes of a queue that matter here.
#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    messages: u64,
    in_flight: u64,
    visibility_s: u64,
    retention_s: u64,
    fifo: bool,
    encrypted: bool,
    /// The ARN of the dead-letter queue.
    dead_letters: Option<String>,
    receives: Option<u64>,
}

impl Facts {
    fn of(said: &HashMap<Name, String>) -> Facts {
        let text = |name: Name| said.get(&name).map(String::as_str).filter(|text| !text.is_empty());
        let number = |name: Name| text(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let yes = |name: Name| text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let redrive: Value = text(Name::RedrivePolicy).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        // SQS has written this number both as a text and as a number.
        let receives = &redrive["maxReceiveCount"];
        Facts {
            messages: number(Name::ApproximateNumberOfMessages) + number(Name::ApproximateNumberOfMessagesDelayed),
            in_flight: number(Name::ApproximateNumberOfMessagesNotVisible),
            visibility_s: number(Name::VisibilityTimeout),
            retention_s: number(Name::MessageRetentionPeriod),
            fifo: yes(Name::FifoQueue),
            encrypted: yes(Name::SqsManagedSseEnabled) || text(Name::KmsMasterKeyId).is_some(),
            dead_letters: redrive["deadLetterTargetArn"].as_str().map(str::to_owned),
            receives: receives.as_u64().or_else(|| receives.as_str()?.parse().ok()),
        }
    }
}

fn judge(purpose: Purpose, url: &str, facts: &Facts) -> Finding {
    let mut marks = Complaints::default();
    marks.fact(url);
    marks.fact(format!("{}, {} in flight", count(facts.messages, "message"), facts.in_flight));
    // muster names the visibility timeout with each receive, so the queue's own value has no effect.
    marks.fact(format!("visibility {} s", facts.visibility_s));
    if !facts.encrypted {
        marks.warn(format!("{url} is not encrypted"), "switch on its encryption (SSE-SQS costs nothing)");
    }
    match purpose {
        Purpose::DeadLetters if facts.messages > 0 => {
            let next = format!(
                "read them (aws sqs receive-message --message-attribute-names All --queue-url {url}; muster's own carry a `reason`), \
                 mend the cause, and purge the queue"
            );
            marks.warn(format!("{url} holds {}, which nobody could read", count(facts.messages, "message")), next);
        }
        Purpose::DeadLetters => {}
        Purpose::Jobs | Purpose::Ec2Events => {
            if facts.fifo {
                marks.fail(format!("{url} is a FIFO queue, to which muster cannot send"), "make a standard queue");
            }
            if facts.dead_letters.is_none() {
                let next = "give it a redrive policy to a second queue (as terraform/modules/queues does)";
                marks.warn(format!("{url} has no dead-letter queue"), next);
            }
        }
    }
    if purpose == Purpose::Jobs {
        if facts.retention_s < RETENTION_S {
            let seen = format!("{url} keeps messages for {} s, but a job may wait for a day", facts.retention_s);
            marks.warn(seen, "raise its retention to two days");
        }
        if let Some(receives) = facts.receives.filter(|receives| *receives < RECEIVES) {
            let seen = format!(
                "{url} puts a message aside after {receives} receives; each start of a controller is one for every waiting job"
            );
            marks.warn(seen, "raise maxReceiveCount to 1000");
        }
    }
    marks.finding(purpose.check())
}

/// The URL of the queue with this ARN. It is made from the URL of another queue, because SQS wants a queue and its dead-letter
/// queue in the same account and region.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
fn sibling(url: &str, arn: &str) -> Option<String> {
    let (base, _) = url.rsplit_once('/')?;
    let name = arn.rsplit(':').next().filter(|name| !name.is_empty())?;
    Some(format!("{base}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/c1-jobs";

    fn good() -> Facts {
        let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:123456789012:c1-dead","maxReceiveCount":"1000"}"#;
        Facts::of(
            &[
                (Name::ApproximateNumberOfMessages, "3"),
                (Name::VisibilityTimeout, "120"),
                (Name::MessageRetentionPeriod, "172800"),
                (Name::SqsManagedSseEnabled, "true"),
                (Name::RedrivePolicy, redrive),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
        )
    }

    #[test]
    fn each_flaw_of_a_queue_is_told_with_its_remedy() {
        let fine = judge(Purpose::Jobs, URL, &good());
        assert_eq!((fine.verdict, fine.next), (Verdict::Ok, None));
        for (facts, verdict, word) in [
            (Facts { fifo: true, ..good() }, Verdict::Failed, "FIFO"),
            (Facts { dead_letters: None, ..good() }, Verdict::Warning, "no dead-letter queue"),
            (Facts { encrypted: false, ..good() }, Verdict::Warning, "not encrypted"),
            (Facts { retention_s: 3600, ..good() }, Verdict::Warning, "3600 s"),
            (Facts { receives: Some(5), ..good() }, Verdict::Warning, "after 5 receives"),
        ] {
            let found = judge(Purpose::Jobs, URL, &facts);
            assert!(found.verdict == verdict && found.seen.contains(word) && found.next.is_some(), "{found:?}");
        }
        let news = Facts { retention_s: 3600, receives: Some(10), ..good() };
        assert_eq!(judge(Purpose::Ec2Events, URL, &news).verdict, Verdict::Ok, "old notifications are no news");
        assert!(judge(Purpose::DeadLetters, URL, &good()).seen.contains("holds 3 messages"));
    }

    #[test]
    fn the_dead_letter_queue_is_next_to_its_queue() {
        let arn = good().dead_letters.expect("an ARN");
        assert_eq!(sibling(URL, &arn).as_deref(), Some("https://sqs.eu-west-1.amazonaws.com/123456789012/c1-dead"));
    }
}
