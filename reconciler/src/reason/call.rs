//! Why an effect is carried out.

use std::collections::BTreeMap;
use std::fmt;

use super::{DoubtReason, LaunchReason, StepReason, words};

/// The reason of an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The effect launches instances.
    Launch(LaunchReason),
    /// The effect does something to runners. There is one reason for each runner, in the order of the runners.
    Steps(Vec<StepReason>),
    /// The effect looks at something or tidies up.
    Call(CallReason),
}

impl Reason {
    /// The reason for each runner. Empty: the effect does nothing to runners.
    pub fn steps(&self) -> &[StepReason] {
        match self {
            Reason::Steps(steps) => steps,
            Reason::Launch(_) | Reason::Call(_) => &[],
        }
    }

    /// The reason in one word; `several` when a call does something to runners for different reasons.
    pub fn word(&self) -> &'static str {
        match self {
            Reason::Launch(why) => why.word(),
            Reason::Call(why) => why.word(),
            Reason::Steps(steps) => match steps.split_first() {
                Some((first, others)) if others.iter().all(|why| why.word() == first.word()) => first.word(),
                _ => "several",
            },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Launch(why) => why.fmt(f),
            Reason::Call(why) => why.fmt(f),
            Reason::Steps(steps) => {
                let mut by_reason: BTreeMap<String, u32> = BTreeMap::new();
                for why in steps {
                    *by_reason.entry(why.to_string()).or_default() += 1;
                }
                for (nth, (why, n)) in by_reason.iter().enumerate() {
                    f.write_str(if nth == 0 { "" } else { "; " })?;
                    if *n == 1 { f.write_str(why)? } else { write!(f, "{n}x {why}")? }
                }
                Ok(())
            }
        }
    }
}

/// Why muster looks at something, or tidies up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallReason {
    /// A source is due for a sweep.
    Look,
    /// The jobs of held messages are still queued, or muster looks into what ended them.
    StillQueued,
    /// Events told that the jobs of held messages have left the queue.
    LeftQueue,
    /// GitHub said, when asked, that the jobs of held messages have left the queue.
    LeftQueueSaysGitHub,
    /// The jobs of held messages are older than GitHub keeps jobs queued.
    Expired,
    /// The controller stops.
    ShuttingDown,
    /// GitHub could not deliver a webhook.
    Undelivered,
    /// The message of a job was delivered before, perhaps to an earlier process.
    DeliveredBefore,
    /// A job was minutes old when muster first heard of it.
    OldNews,
    /// A job was held, and GitHub told of it again.
    ToldAgain,
    /// GitHub said that a job may not start yet.
    Waiting,
    /// A job has been in its state for so long that an event may be lost.
    LongInState,
    /// Something speaks against the machine of a job that did not succeed, and its steps tell more.
    HowItEnded,
    /// Lost jobs run again once their run is over.
    RunOver,
    /// Jobs went down with their machines.
    LostJobs,
    /// No runner took a job in time.
    Late,
    /// It is known what ended the job that a held message tells of.
    Judged,
}

words! { CallReason {
    Look => "look",
    StillQueued => "still_queued",
    LeftQueue => "left_queue",
    LeftQueueSaysGitHub => "left_queue_says_github",
    Expired => "expired",
    ShuttingDown => "shutting_down",
    Undelivered => "undelivered",
    DeliveredBefore => "delivered_before",
    OldNews => "old_news",
    ToldAgain => "told_again",
    Waiting => "waiting",
    LongInState => "long_in_state",
    HowItEnded => "how_it_ended",
    RunOver => "run_over",
    LostJobs => "lost_jobs",
    Late => "late",
    Judged => "judged",
}}

impl fmt::Display for CallReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallReason::Look => "the source is due for a sweep",
            CallReason::StillQueued => "their jobs are still queued, or muster looks into their end",
            CallReason::LeftQueue => "their jobs have left the queue",
            CallReason::LeftQueueSaysGitHub => "GitHub says that their jobs have left the queue",
            CallReason::Expired => "their jobs are older than GitHub keeps them queued",
            CallReason::ShuttingDown => "the controller is shutting down",
            CallReason::Undelivered => "GitHub could not deliver the webhook of a queued job",
            CallReason::DeliveredBefore => "its message was delivered before",
            CallReason::OldNews => "the job was minutes old when muster first heard of it",
            CallReason::ToldAgain => "the job was held, and GitHub has told of it again",
            CallReason::Waiting => "GitHub said that the job may not start yet",
            CallReason::LongInState => "the job has been in this state for a long time",
            CallReason::HowItEnded => "something speaks against the machine, and the job's steps tell more",
            CallReason::RunOver => "lost jobs run again once their run is over",
            CallReason::LostJobs => "they went down with their machines",
            CallReason::Late => "no runner took a job within the time of startWithin",
            CallReason::Judged => "it is known what ended the job",
        })
    }
}

impl From<DoubtReason> for CallReason {
    fn from(why: DoubtReason) -> CallReason {
        match why {
            DoubtReason::DeliveredBefore => CallReason::DeliveredBefore,
            DoubtReason::OldNews => CallReason::OldNews,
            DoubtReason::ToldAgain => CallReason::ToldAgain,
        }
    }
}

impl From<CallReason> for Reason {
    fn from(why: CallReason) -> Reason {
        Reason::Call(why)
    }
}

impl From<LaunchReason> for Reason {
    fn from(why: LaunchReason) -> Reason {
        Reason::Launch(why)
    }
}

impl From<StepReason> for Reason {
    fn from(why: StepReason) -> Reason {
        Reason::Steps(vec![why])
    }
}
