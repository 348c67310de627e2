//! Why a job is where it is: why it has no runner yet, or which runner it has.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{Awaited, AwaitedReason, Blocked, NotServed, are, count, seconds, words};
use crate::ids::PoolName;
use crate::labels::{SELF_HOSTED, quoted};
use crate::time::{Time, human};

/// The reason why a job is where it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum JobReason {
    /// The job runs on a runner.
    #[serde(rename = "running")]
    Runs {
        /// The runner's name.
        runner: String,
    },
    /// The job runs or is over, and no event told which runner took it.
    LeftQueue,
    /// The job is over, and the controller has forgotten all but its timeline.
    Over {
        /// The conclusion of the job, if it is known.
        conclusion: Option<String>,
    },
    /// No pool takes the job.
    Unmatched(Unmatched),
    /// The job is not for muster.
    Foreign(Foreign),
    /// GitHub holds the job back.
    Held {
        /// The evidence for the hold.
        why: HoldReason,
        /// The job counts again from this time on.
        until: Time,
    },
    /// GitHub gives nothing to the runners of the job's pool.
    NotServed {
        /// The pool.
        pool: PoolName,
        /// What shows it, and the likely cause.
        #[serde(flatten)]
        why: NotServed,
        /// The job counts again from this time on.
        until: Time,
    },
    /// The job's pool is no longer in the manifests.
    NoPool {
        /// The pool.
        pool: PoolName,
    },
    /// The queueDelay of the job's pool has not passed.
    Delayed {
        /// The pool.
        pool: PoolName,
        /// The rest of the delay.
        #[serde(rename = "leftSeconds", serialize_with = "seconds")]
        left: Duration,
    },
    /// An earlier process may have launched for the job, and EC2 may not show this yet.
    Hidden {
        /// EC2 shows the earlier launches by this time.
        until: Time,
    },
    /// GitHub is being asked whether the job is still queued, or will be.
    Confirming {
        /// Why muster doubts that the job is still queued.
        why: DoubtReason,
        /// Whether muster has asked. GitHub's limit may keep the question waiting.
        asked: bool,
        /// The job counts from this time on, even without GitHub's answer.
        until: Time,
    },
    /// The job's pool is about to be planned.
    Unplanned {
        /// The pool.
        pool: PoolName,
    },
    /// The job's pool launches nothing, or less than it wants.
    Blocked {
        /// The pool.
        pool: PoolName,
        /// Why the pool does not launch more.
        blocked: Blocked,
        /// The number of instances that are starting.
        starting: u32,
        /// The number of instances that the pool has.
        occupied: u32,
        /// The most instances that the pool may have.
        max: u32,
    },
    /// The jobs of the job's repository have as many runners as the pool launches for one repository.
    AboveShare {
        /// The pool.
        pool: PoolName,
        /// `OWNER/NAME`.
        repo: String,
        /// The pool's `capacity.perRepository`.
        most: u32,
    },
    /// Instances are being launched for the job.
    Launching {
        /// The pool.
        pool: PoolName,
    },
    /// The pool has idle runners, so GitHub is expected to assign the job.
    IdleRunner {
        /// The pool.
        pool: PoolName,
        /// The number of idle runners.
        idle: u32,
    },
    /// Enough instances are starting.
    Starting {
        /// The pool.
        pool: PoolName,
        /// The number of instances that are starting.
        starting: u32,
        /// The number of jobs that count.
        jobs: u32,
    },
    /// A runner has just turned busy, and no event names the job. It may be this job.
    Unexplained,
}

words! { JobReason {
    Runs => "running",
    LeftQueue => "left_queue",
    Over => "over",
    Unmatched => "unmatched",
    Foreign => "foreign",
    Held => "held",
    NotServed => "not_served",
    NoPool => "no_pool",
    Delayed => "delayed",
    Hidden => "hidden",
    Confirming => "confirming",
    Unplanned => "unplanned",
    Blocked => "blocked",
    AboveShare => "above_share",
    Launching => "launching",
    IdleRunner => "idle_runner",
    Starting => "starting",
    Unexplained => "unexplained",
}}

impl JobReason {
    /// A word for a metric's label, from a short list. For a blocked pool, this is the word of what blocks it. A job that GitHub may
    /// have assigned counts as one that waits for an idle runner.
    pub const fn label(&self) -> &'static str {
        match self {
            JobReason::Blocked { blocked, .. } => blocked.word(),
            JobReason::Unexplained => "idle_runner",
            other => other.word(),
        }
    }

    /// The reason in one sentence.
    pub fn say(&self, now: Time) -> String {
        match self {
            JobReason::Runs { runner } => format!("runs on {runner}"),
            JobReason::LeftQueue => "has left the queue".into(),
            JobReason::Over { conclusion: Some(conclusion) } => format!("it is over: {conclusion}"),
            JobReason::Over { conclusion: None } => "it is over".into(),
            JobReason::Unmatched(why) => why.to_string(),
            JobReason::Foreign(why) => why.to_string(),
            JobReason::Held { why, until } => match why {
                HoldReason::LeftQueued => {
                    format!(
                        "held by GitHub: {why}; tried again {}, or at once when GitHub tells of the job or of its run",
                        again(*until, now)
                    )
                }
                HoldReason::Waiting => {
                    format!(
                        "held by GitHub: {why}; counts as soon as GitHub says that the job is queued, by an event or when asked"
                    )
                }
            },
            JobReason::NotServed { pool, why, until } => {
                format!("pool {pool} is {}; this job is tried again {}", why.say(now), again(*until, now))
            }
            JobReason::NoPool { pool } => format!("its pool {pool} is no longer in the manifests"),
            JobReason::Delayed { pool, left } => format!("waits for the queueDelay of pool {pool}: {} left", human(*left)),
            JobReason::Hidden { .. } => {
                "was delivered before, and an earlier controller may have launched for it; it counts again when EC2 \
                                         should show all launches of that controller"
                    .into()
            }
            JobReason::Confirming { why, asked, .. } => {
                let asks = if *asked { "is being asked" } else { "will be asked" };
                format!("{why}; GitHub {asks} whether it is still queued")
            }
            JobReason::Unplanned { pool } => format!("pool {pool} is about to be planned"),
            JobReason::Blocked { pool, blocked: Blocked::Max, max: 0, .. } => {
                format!("pool {pool} is switched off (capacity.max is 0), and no other pool takes the job")
            }
            JobReason::Blocked { pool, blocked: Blocked::Max, starting, occupied, max } => {
                format!("pool {pool} is full: {occupied} of {}; {} starting", count(*max, "runner"), are(*starting))
            }
            JobReason::Blocked { pool, blocked, starting, .. } => {
                let what = if *starting == 1 { "instance" } else { "instances" };
                let starting = if *starting == 0 { "no".into() } else { starting.to_string() };
                let is = if what == "instance" { "is" } else { "are" };
                format!("pool {pool} {}; {starting} {what} {is} starting", blocked.say(now))
            }
            JobReason::AboveShare { pool, repo, most } => {
                format!(
                    "{repo} has its share of pool {pool}: capacity.perRepository is {most}; muster launches for this job when another \
                     job of the repository ends, unless GitHub gives it a free runner before"
                )
            }
            JobReason::Launching { pool } => format!("pool {pool} launches for it"),
            JobReason::IdleRunner { pool, idle } => {
                format!("pool {pool} has {}; GitHub usually assigns a job within seconds", count(*idle, "idle runner"))
            }
            JobReason::Starting { pool, starting, jobs } => {
                let is = if *starting == 1 { "is" } else { "are" };
                format!("{} of pool {pool} {is} starting for {}", count(*starting, "instance"), count(*jobs, "job"))
            }
            JobReason::Unexplained => "a runner just turned busy, perhaps with this job; its event has not come yet".into(),
        }
    }

    /// The reason in one sentence that everybody may read who sees the commit. It quotes neither AWS, GitHub nor an operator, because
    /// such a text may name accounts and roles.
    pub fn say_to_all(&self, now: Time) -> String {
        match self {
            JobReason::Blocked { pool, blocked, .. } if blocked.quotes() => {
                format!("pool {pool} cannot launch for it now ({})", blocked.word().replace('_', " "))
            }
            _ => self.say(now),
        }
    }

    /// What the job waits for, and until when. None: no time is known.
    pub fn awaits(&self, now: Time) -> Option<Awaited> {
        let (what, until) = match self {
            JobReason::Held { until, .. } | JobReason::NotServed { until, .. } => (AwaitedReason::HoldEnds, *until),
            JobReason::Delayed { left, .. } => (AwaitedReason::QueueDelay, now + *left),
            JobReason::Hidden { until } => (AwaitedReason::PredecessorShown, *until),
            JobReason::Confirming { until, .. } => (AwaitedReason::CountsUnconfirmed, *until),
            JobReason::Blocked { blocked, .. } => blocked.awaits()?,
            _ => return None,
        };
        Some(what.by(until))
    }
}

/// When a held job is tried again.
fn again(until: Time, now: Time) -> String {
    if until > now { format!("in {}", human(until.since(now))) } else { "after the job of its pool that is tried now".into() }
}

/// The evidence that GitHub holds a job back, so that a new runner would wait for the job in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case")]
pub enum HoldReason {
    /// A matching runner was idle, and GitHub did not give it the job.
    LeftQueued,
    /// GitHub says that the job is `waiting` or `pending`.
    Waiting,
}

words! { HoldReason {
    LeftQueued => "left_queued",
    Waiting => "waiting",
}}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HoldReason::LeftQueued => {
                "a matching runner sat idle and did not get it (concurrency group, max-parallel, environment, or a runner group that \
                 does not admit the repository)"
            }
            HoldReason::Waiting => "GitHub says that the job may not start yet, as before an environment's approval",
        })
    }
}

/// Why a queued job counts only once GitHub has confirmed that it is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case")]
pub enum DoubtReason {
    /// The job's message was delivered before, perhaps to an earlier controller.
    DeliveredBefore,
    /// GitHub made the job minutes before muster first heard of it.
    OldNews,
    /// The job was held, and GitHub sent its `queued` event again.
    ToldAgain,
}

words! { DoubtReason {
    DeliveredBefore => "delivered_before",
    OldNews => "old_news",
    ToldAgain => "told_again",
}}

impl DoubtReason {
    /// For how long at most the job waits for GitHub's word.
    pub const fn patience(self) -> Duration {
        match self {
            DoubtReason::DeliveredBefore | DoubtReason::ToldAgain => Duration::from_secs(10),
            // Old news comes in crowds, after an outage or a restart, and the questions about a crowd take their time.
            DoubtReason::OldNews => Duration::from_secs(60),
        }
    }
}

impl fmt::Display for DoubtReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DoubtReason::DeliveredBefore => "was delivered before",
            DoubtReason::OldNews => "was minutes old when muster first heard of it",
            DoubtReason::ToldAgain => "was held by GitHub, which has told of it again",
        })
    }
}

/// Why a pool hands a job over to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case")]
pub enum HandOver {
    /// An operator paused the pool.
    Paused,
    /// The pool's launches, configurations or instances have failed for minutes.
    Failing,
    /// The pool has reached its `capacity.max`.
    Full,
    /// EC2 has no capacity for the pool.
    NoCapacity,
    /// No runner took the job within the time of the pool's `startWithin`.
    Late,
}

words! { HandOver {
    Paused => "paused",
    Failing => "failing",
    Full => "full",
    NoCapacity => "no_capacity",
    Late => "late",
}}

impl fmt::Display for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandOver::Paused => "has been paused",
            HandOver::Failing => "has failed to make runners for minutes",
            HandOver::Full => "has reached its max",
            HandOver::NoCapacity => "gets no capacity from EC2",
            HandOver::Late => "had no runner for it within the time of startWithin",
        })
    }
}

/// Why no pool takes a job that asks for a self-hosted runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Unmatched {
    /// The job's `runs-on` names only a group, and GitHub does not tell which.
    NoLabels,
    /// No pool's scope covers the job's repository.
    Unserved {
        /// `OWNER/NAME`.
        repo: String,
    },
    /// The job's labels fit no pool.
    Misfit {
        /// The pool that comes nearest.
        nearest: PoolName,
        /// Why this pool does not fit.
        misfit: Misfit,
    },
}

words! { Unmatched {
    NoLabels => "no_labels",
    Unserved => "unserved",
    Misfit => "misfit",
}}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmatched::NoLabels => f.write_str(
                "its runs-on holds no label: GitHub gives it to any runner of its group, but does not tell muster which group; muster \
                 launches nothing for it. Add a pool's labels beside the group",
            ),
            Unmatched::Unserved { repo } => write!(f, "no pool serves {repo}; add one whose github.scope covers it"),
            Unmatched::Misfit { nearest, misfit } => write!(f, "no pool takes it; pool {nearest} comes nearest, but {misfit}"),
        }
    }
}

/// Why a job's labels do not fit a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Misfit {
    /// The pool lacks labels that the job asks for.
    Lacks {
        /// The missing labels.
        labels: Vec<String>,
    },
    /// The pool matches exactly, and has labels that the job does not ask for.
    Unasked {
        /// The labels that the job does not ask for.
        labels: Vec<String>,
    },
}

words! { Misfit {
    Lacks => "lacks",
    Unasked => "unasked",
}}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Lacks { labels } => {
                write!(f, "it lacks {}", quoted(labels))?;
                // A pool's labels have none of these characters: `manifest` checks it.
                if labels.iter().any(|l| l.trim() != l || l.is_empty() || l.contains([',', '\n', '\t'])) {
                    f.write_str("; write each label of runs-on as an item of its own, without spaces or line breaks")?;
                }
                Ok(())
            }
            Misfit::Unasked { labels } => write!(f, "it matches exactly and the job does not ask for {}", quoted(labels)),
        }
    }
}

/// Why a job is not for muster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Foreign {
    /// The `repositories` of the pool leave out the job's repository.
    Barred {
        /// The first such pool.
        pool: PoolName,
        /// `OWNER/NAME`.
        repo: String,
    },
    /// The job has no labels, and no pool's scope covers its repository.
    Unserved {
        /// `OWNER/NAME`.
        repo: String,
    },
    /// No pool matches, and the job does not ask for a self-hosted runner.
    NotAsked {
        /// The labels of the job's `runs-on`.
        labels: Vec<String>,
    },
    /// No pool takes the job, and the Controller's `ignore` leaves it to others.
    Ignored {
        /// The label or the pattern of `ignore`.
        by: String,
    },
}

words! { Foreign {
    Barred => "barred",
    Unserved => "unserved",
    NotAsked => "not_asked",
    Ignored => "ignored",
}}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Barred { pool, repo } => write!(f, "repository {repo} is not among the repositories of pool {pool}"),
            Foreign::Unserved { repo } => write!(f, "the job has no labels, and no pool serves {repo}"),
            Foreign::NotAsked { labels } => {
                write!(f, "no pool matches {} and the job does not ask for {SELF_HOSTED}", quoted(labels))
            }
            Foreign::Ignored { by } => write!(f, "no pool takes it, and spec.ignore of the Controller names `{by}`"),
        }
    }
}
