//! What happened, and why or how: the sentences of the log, of `muster events` and of the timelines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{
    BootFailure, HandOver, HoldReason, LaunchFailure, LaunchReason, StepReason, Tripped, instances, seconds, text, words,
};
use crate::event::JobEvent;
use crate::ids::{PoolName, RunnerId};
use crate::labels::listed;
use crate::manifest::LateAct;
use crate::market::Market;
use crate::rerun::{Again, NotAgain};
use crate::stage::Stage;
use crate::time::human;
use crate::verdict::JobVerdict;

/// What is said of the verdict `own` where an instance tells less than it could.
const UNTOLD: &str =
    "; its instance would not tell a full disk or a crash of its runner, because the pool has no bootstrap.reportStages";

/// Why or how something happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum EventReason {
    /// Something is done to a runner.
    Step(StepReason),
    /// A job asks for labels.
    Asks {
        /// `OWNER/NAME`.
        repo: String,
        /// The labels of the job's `runs-on`.
        labels: Vec<String>,
    },
    /// A runner took the job.
    Taken {
        /// The runner's name. None: no event told it.
        runner: Option<String>,
    },
    /// The job is over.
    Over {
        /// What was known of the job, for whoever asks for it later.
        #[serde(skip)]
        of: Option<Arc<JobEvent>>,
        /// The conclusion of the job. None: no event told it.
        conclusion: Option<String>,
    },
    /// GitHub holds the job back.
    Held {
        /// The evidence for the hold.
        why: HoldReason,
    },
    /// The job's pool cannot launch, so another pool takes the job.
    HandedOver {
        /// Why the first pool cannot launch.
        why: HandOver,
        /// The pool that takes the job.
        to: PoolName,
    },
    /// The job's repository is not among those of the runner's pool.
    Uninvited {
        /// `OWNER/NAME`.
        repo: String,
        /// The runner group of the pool.
        group: String,
    },
    /// An event names one of our runners, with another id than the runner has at GitHub.
    NameTaken {
        /// The id in the event.
        id: Option<RunnerId>,
    },
    /// The job's runner is gone, and no event told that the job went well.
    Lost,
    /// It is known, as far as it can be, what ended a job that did not succeed.
    Judged {
        /// What ended the job.
        verdict: JobVerdict,
        /// The job's conclusion.
        conclusion: Option<String>,
        /// Whether the instance tells neither a full disk nor a crash of its runner, so that the verdict `own` may be wrong there.
        untold: bool,
    },
    /// GitHub was asked to run the job again.
    RunAgain {
        /// What is run again.
        again: Again,
        /// Whether its instance is bought on-demand.
        on_demand: bool,
    },
    /// The job is not run again.
    NotRunAgain {
        /// Why not.
        why: NotAgain,
    },
    /// A step of `startWithin` was taken.
    Late {
        /// The step.
        act: LateAct,
        /// The time after which the step is taken.
        #[serde(rename = "afterSeconds", serialize_with = "seconds")]
        after: Duration,
        /// Why the job waits, in one sentence.
        because: String,
    },
    /// A step of `startWithin` was not taken.
    NotTaken {
        /// The step.
        act: LateAct,
        /// What was attempted, and what the other side said.
        message: String,
    },
    /// Instances are asked for.
    Wanted {
        /// The number of instances.
        count: u32,
        /// The market on which the instances are bought.
        market: Market,
        /// The reason for the launch.
        why: LaunchReason,
    },
    /// EC2 gave an instance.
    Given {
        /// The instance type, such as `m7i.large`.
        #[serde(serialize_with = "text")]
        instance_type: Arc<str>,
        /// The market on which the instance was bought.
        market: Market,
    },
    /// EC2 gave fewer instances than were asked for.
    FellShort {
        /// The number of missing instances.
        missing: u32,
        /// The market that the launch asked for.
        market: Market,
        /// The first cause that EC2 named.
        why: LaunchFailure,
    },
    /// Nobody knows whether instances were launched.
    Unanswered {
        /// The number of instances that were asked for.
        count: u32,
        /// What was attempted, and what came back.
        message: String,
    },
    /// Instances were not launched.
    NotLaunched {
        /// The number of instances that were asked for.
        count: u32,
        /// What was attempted, and what the other side said.
        message: String,
    },
    /// A runner was not configured.
    NotConfigured {
        /// What was attempted, and what the other side said.
        message: String,
    },
    /// A call for a runner failed.
    CallFailed {
        /// What was attempted, and what the other side said.
        message: String,
    },
    /// GitHub refuses to delete a draining runner, because the runner has a job.
    HasJob,
    /// A runner reached a stage of its start.
    Reached {
        /// The stage.
        stage: Stage,
        /// The time since the launch was asked for.
        #[serde(rename = "afterSeconds", serialize_with = "seconds")]
        after: Duration,
    },
    /// A runner never came online.
    NotStarted {
        /// The cause, as far as it is known.
        why: BootFailure,
        /// Whether the failure was told before, and only the cause is news.
        late: bool,
    },
    /// Spot takes an instance back.
    Interrupted {
        /// Whether the runner may have a job.
        busy: bool,
    },
    /// A pool leaves spot for a while.
    BreakerOpened {
        /// What opened the breaker.
        #[serde(flatten)]
        tripped: Tripped,
        /// How long the pool buys on-demand.
        #[serde(rename = "forSeconds", serialize_with = "seconds")]
        open_for: Duration,
        /// Whether the breaker had let a spot instance try.
        again: bool,
    },
    /// A pool goes back to spot, because one spot instance has served without an interruption.
    BreakerClosed,
    /// A runner is gone, and no trace of it is left.
    Gone {
        /// The time from when this process first knew of the runner until it was found gone.
        #[serde(rename = "knownSeconds", serialize_with = "seconds")]
        known: Duration,
        /// The market on which the instance was bought.
        market: Market,
    },
    /// An operator gave an order.
    ByOperator {
        /// The operator's words; may be empty.
        why: String,
    },
}

words! { EventReason {
    Step => "step",
    Asks => "asks",
    Taken => "taken",
    Over => "over",
    Held => "held",
    HandedOver => "handed_over",
    Uninvited => "uninvited",
    NameTaken => "name_taken",
    Lost => "lost",
    Judged => "judged",
    RunAgain => "run_again",
    NotRunAgain => "not_run_again",
    Late => "late",
    NotTaken => "not_taken",
    Wanted => "wanted",
    Given => "given",
    FellShort => "fell_short",
    Unanswered => "unanswered",
    NotLaunched => "not_launched",
    NotConfigured => "not_configured",
    CallFailed => "call_failed",
    HasJob => "has_job",
    Reached => "reached",
    NotStarted => "not_started",
    Interrupted => "interrupted",
    BreakerOpened => "breaker_opened",
    BreakerClosed => "breaker_closed",
    Gone => "gone",
    ByOperator => "by_operator",
}}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventReason::Step(why) => why.fmt(f),
            EventReason::Asks { repo, labels } => write!(f, "{repo} asks for [{}]", listed(labels, ", ")),
            EventReason::Taken { runner } => write!(f, "{} took it", runner.as_deref().unwrap_or("a runner")),
            EventReason::Over { conclusion: Some(conclusion), .. } => f.write_str(conclusion),
            EventReason::Over { conclusion: None, .. } => f.write_str("it has left the queue"),
            EventReason::Held { why } => write!(f, "held by GitHub: {why}"),
            EventReason::HandedOver { why, to } => write!(f, "its pool {why}, so pool {to} takes it"),
            EventReason::Uninvited { repo, group } => write!(
                f,
                "{repo} is not among the repositories of this pool, and GitHub gave its job to the pool's runner: runner group {group} \
                 admits the repository; give the pool a group of its own with selected repositories"
            ),
            EventReason::NameTaken { id } => {
                let id = id.map_or_else(String::new, |id| format!(" {id}"));
                write!(
                    f,
                    "the event names this runner, with the id{id}, which is not the runner's id at GitHub: muster believes only what \
                     GitHub's list says of the runner; find out who registers runners with this name"
                )
            }
            EventReason::Lost => f.write_str("its runner is gone, and no event told that the job went well"),
            EventReason::Judged { verdict, conclusion, untold } => {
                let untold = if *untold && *verdict == JobVerdict::Own { UNTOLD } else { "" };
                write!(f, "{}: {verdict}{untold}", conclusion.as_deref().unwrap_or("over"))
            }
            EventReason::RunAgain { again, on_demand } => {
                write!(f, "GitHub was asked to run {again} again{}", if *on_demand { ", on an on-demand instance" } else { "" })
            }
            EventReason::NotRunAgain { why } => write!(f, "not run again: {why}"),
            EventReason::Late { act, after, because } => {
                write!(f, "no runner took it within {}, so {}: {because}", human(*after), done(*act))
            }
            EventReason::NotTaken { act, message } => write!(f, "the step {act} of startWithin was not taken: {message}"),
            EventReason::Wanted { count, market, why } => write!(f, "{}: {why}", instances(*count, "", *market)),
            EventReason::Given { instance_type, market } => write!(f, "{instance_type} ({})", market.as_str()),
            EventReason::FellShort { missing, market, why } => {
                write!(f, "{} than asked for: {}", instances(*missing, "fewer ", *market), why.word())
            }
            EventReason::Unanswered { count, message } => {
                write!(f, "asked for {}, and got no certain answer: {message}", super::count(*count, "instance"))
            }
            EventReason::NotLaunched { count, message } => {
                write!(f, "{} not launched: {message}", super::count(*count, "instance"))
            }
            EventReason::NotConfigured { message } => write!(f, "not configured: {message}"),
            EventReason::CallFailed { message } => f.write_str(message),
            EventReason::HasJob => f.write_str("GitHub refuses to delete a draining runner: it has a job"),
            EventReason::Reached { stage, after } => {
                write!(f, "{} {} after its launch was asked for", stage.said(), human(*after))
            }
            EventReason::NotStarted { why, late: false } => write!(f, "a runner failed to start: {why}"),
            EventReason::NotStarted { why, late: true } => write!(f, "why the runner failed to start: {why}"),
            EventReason::Interrupted { busy: true } => f.write_str("spot takes it back; it may have a job"),
            EventReason::Interrupted { busy: false } => f.write_str("spot takes it back; no job is known on it"),
            EventReason::BreakerOpened { tripped, open_for, again: false } => {
                write!(f, "{tripped}, so the pool buys on-demand for {}", human(*open_for))
            }
            EventReason::BreakerOpened { open_for, again: true, .. } => {
                write!(f, "spot took an instance back again, so the pool buys on-demand for another {}", human(*open_for))
            }
            EventReason::BreakerClosed => {
                f.write_str("a spot instance has served without an interruption, so the pool buys spot again")
            }
            EventReason::Gone { known, market } => write!(f, "gone after {} ({})", human(*known), market.as_str()),
            EventReason::ByOperator { why } if why.is_empty() => f.write_str("by an operator"),
            EventReason::ByOperator { why } => write!(f, "by an operator: {why}"),
        }
    }
}

fn done(act: LateAct) -> &'static str {
    match act {
        LateAct::Tell => "a status on its commit says why",
        LateAct::OnDemand => "the pool's next instance is bought on-demand",
        LateAct::Overflow => "another pool takes it",
        LateAct::Cancel => "GitHub was asked to cancel its run",
    }
}

impl From<StepReason> for EventReason {
    fn from(why: StepReason) -> EventReason {
        EventReason::Step(why)
    }
}
