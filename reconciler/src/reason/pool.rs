//! Why instances are launched, or not, and why a pool has as many runners as it has.

use std::fmt;

use serde::Serialize;

use super::{AwaitedReason, Tripped, count, words};
use crate::failure::{Failure, FailureKind, OfferingError};
use crate::market::Market;
use crate::refusal::{INTERRUPTED, Refusal};
use crate::steer::Pause;
use crate::time::{Time, coarse, human};

/// How many runners a pool wants, and why so many. `docs/words.md` explains the words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wants {
    /// The number of runners that the pool should have for waiting jobs and the warm floor.
    pub wanted: u32,
    /// The queued jobs that count.
    pub jobs: u32,
    /// The runners that have just turned busy without an event. They have probably taken so many of the jobs.
    pub taken: u32,
    /// The warm floor that is in force now.
    pub floor: u32,
    /// The runners that can take a job now or soon.
    pub supply: u32,
}

impl fmt::Display for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wanted ({}", self.wanted, count(self.jobs, "queued job"))?;
        if self.taken > 0 {
            write!(f, ", less {} just taken", self.taken)?;
        }
        if self.floor > 0 {
            write!(f, ", warm floor {}", self.floor)?;
        }
        write!(f, "), {} supplied", self.supply)
    }
}

/// Why instances are launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case")]
pub enum LaunchReason {
    /// The pool wants more runners than it has.
    Wanted(Wants),
    /// The pool wants more runners than it has, and buys them on-demand because its breaker is open.
    Breaker {
        /// How many runners the pool wants.
        #[serde(flatten)]
        wants: Wants,
        /// What opened the breaker.
        #[serde(flatten)]
        tripped: Tripped,
    },
    /// The pool wants more runners than it has, and one of them tries whether spot leaves it alone.
    Probe {
        /// How many runners the pool wants.
        #[serde(flatten)]
        wants: Wants,
        /// What opened the breaker.
        #[serde(flatten)]
        tripped: Tripped,
    },
    /// The last try got no answer. The same request is repeated with the same token.
    Unanswered,
}

words! { LaunchReason {
    Wanted => "wanted",
    Breaker => "breaker",
    Probe => "probe",
    Unanswered => "unanswered",
}}

impl fmt::Display for LaunchReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchReason::Wanted(wants) => wants.fmt(f),
            LaunchReason::Breaker { wants, tripped } => write!(f, "{wants}; on-demand, because {tripped}"),
            LaunchReason::Probe { wants, tripped } => write!(f, "{wants}; one spot instance tries, after {tripped}"),
            LaunchReason::Unanswered => f.write_str("EC2 did not answer; muster repeats the call with the same ClientToken"),
        }
    }
}

/// Why a runner that is wanted is not launched.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Blocked {
    /// An operator paused the pool.
    Paused(Pause),
    /// There was no complete sweep of the instances yet.
    Unseen,
    /// EC2 may not show yet what an earlier controller launched in its last seconds. A launch now could exceed the pool's max.
    #[serde(rename = "settling")]
    Hidden {
        /// EC2 shows the earlier launches by this time.
        until: Time,
    },
    /// The pool has as many instances as its max allows.
    Max,
    /// More instances could not be configured by the time at which they have booted.
    Pace,
    /// GitHub's rate limit is used up. More instances could not be configured before its reset.
    #[serde(rename = "github_limit")]
    GitHub {
        /// The reset of the limit.
        until: Time,
    },
    /// Runners of this pool cannot be configured. The pool launches one at a time, as a trial.
    Refused {
        /// The time from which one runner is configured as a trial.
        until: Time,
        /// The refusal of GitHub or SSM.
        #[serde(flatten)]
        why: Refused,
    },
    /// The pool launches nothing for a while after failures.
    Backoff {
        /// The pool may launch again from this time on.
        until: Time,
        /// The failures.
        why: Backoff,
    },
    /// The pool's instances failed to start. The pool launches one at a time, until one comes online.
    Trial {
        /// The failures.
        why: Backoff,
    },
    /// EC2 refuses every offering that the pool may buy.
    Capacity {
        /// The pool asks again from this time on.
        until: Time,
        /// The codes with which EC2 refused.
        #[serde(flatten)]
        why: Shortage,
    },
}

words! { Blocked {
    Paused => "paused",
    Unseen => "unseen",
    Hidden => "settling",
    Max => "max",
    Pace => "pace",
    GitHub => "github_limit",
    Refused => "refused",
    Backoff => "backoff",
    Trial => "trial",
    Capacity => "capacity",
}}

impl Blocked {
    /// The reason in a few words, which fit after the pool's name.
    pub fn say(&self, now: Time) -> String {
        match self {
            Blocked::Paused(Pause { since, why }) => {
                let since = coarse(now.since(*since));
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                format!("has been paused by an operator for {since}{why}, and launches nothing until it is resumed")
            }
            Blocked::Unseen => "waits for the first complete sweep of EC2".into(),
            Blocked::Hidden { until } => {
                let left = human(until.since(now));
                format!("launches in {left}, when EC2 should show all launches of an earlier controller")
            }
            Blocked::Max => "has reached its max".into(),
            Blocked::Pace => "launches only as fast as GitHub and SSM let us configure".into(),
            Blocked::GitHub { until } => {
                let left = human(until.since(now));
                format!("launches only what GitHub's rate limit lets us configure; it is reset in {left}")
            }
            Blocked::Refused { until, why } => {
                let left = human(until.since(now));
                format!("cannot configure its new runners, so it launches one at a time (one tries again in {left}): {why}")
            }
            Blocked::Backoff { until, why } => format!("tries again in {}: {why}", human(until.since(now))),
            Blocked::Trial { why } => format!("launches one instance at a time until one comes online: {why}"),
            Blocked::Capacity { until, why } => format!("tries again in {}: {why}", human(until.since(now))),
        }
    }

    /// Whether the sentence quotes AWS, GitHub or an operator.
    pub const fn quotes(&self) -> bool {
        matches!(
            self,
            Blocked::Paused(_)
                | Blocked::Refused { .. }
                | Blocked::Backoff { .. }
                | Blocked::Trial { .. }
                | Blocked::Capacity { .. }
        )
    }

    /// What the pool waits for, and until when. None: no time is known.
    pub fn awaits(&self) -> Option<(AwaitedReason, Time)> {
        match self {
            Blocked::Hidden { until } => Some((AwaitedReason::PoolMayLaunch, *until)),
            Blocked::GitHub { until } => Some((AwaitedReason::LimitReset, *until)),
            Blocked::Refused { until, .. } => Some((AwaitedReason::ConfigureRetry, *until)),
            Blocked::Backoff { until, .. } | Blocked::Capacity { until, .. } => Some((AwaitedReason::LaunchRetry, *until)),
            Blocked::Paused(_) | Blocked::Unseen | Blocked::Max | Blocked::Pace | Blocked::Trial { .. } => None,
        }
    }
}

/// A failure that the other side answered with: GitHub or SSM to a configuration, or EC2 to a launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The kind of failure.
    pub kind: FailureKind,
    /// What was attempted, on what, and what the other side said.
    pub message: String,
}

impl From<&Failure> for Refused {
    fn from(failure: &Failure) -> Refused {
        Refused { kind: failure.kind, message: failure.message.clone() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a pool launches nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Backoff {
    /// Several runners in a row did not come online.
    BootFailures {
        /// The number of runners.
        in_a_row: u32,
        /// Why the last of them did not.
        last: super::BootFailure,
    },
    /// A launch failed, and not for a lack of capacity.
    LaunchFailed(Refused),
}

words! { Backoff {
    BootFailures => "boot_failures",
    LaunchFailed => "launch_failed",
}}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backoff::BootFailures { in_a_row, last } => {
                write!(f, "{} in a row failed to start; the last: {last}", count(*in_a_row, "runner"))
            }
            Backoff::LaunchFailed(failure) => failure.fmt(f),
        }
    }
}

/// Why a launch yielded less than it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchFailure {
    /// EC2 answered with this error code.
    Code(String),
    /// The call failed.
    Call(FailureKind),
    /// EC2 gave fewer instances than were asked for, and no reason.
    Unexplained,
}

impl LaunchFailure {
    /// Why EC2's answer fell short: the code of its first error.
    pub fn of(errors: &[OfferingError]) -> LaunchFailure {
        errors.first().map_or(LaunchFailure::Unexplained, |e| LaunchFailure::Code(e.code.clone()))
    }

    /// EC2's error code, or a word of muster's own.
    pub fn word(&self) -> &str {
        match self {
            LaunchFailure::Code(code) => code,
            LaunchFailure::Call(kind) => kind.as_str(),
            LaunchFailure::Unexplained => "no_reason_given",
        }
    }
}

/// Why EC2 launches nothing that a pool may buy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    /// The markets on which the pool buys.
    pub markets: Vec<Market>,
    /// The number of the pool's offerings: types x subnets.
    pub offerings: usize,
    /// The codes that EC2 answered, the most frequent first.
    pub refused: Vec<RefusedOffering>,
}

/// One error code of EC2's, and how many offerings it closes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedOffering {
    /// The error code.
    pub code: String,
    /// The number of closed offerings. An offering counts once for each market.
    pub offerings: usize,
    /// EC2's message.
    pub message: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bought = self.markets.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(" or ");
        match self.offerings {
            0 => return f.write_str("the pool has no offerings"),
            1 => write!(f, "the pool's only offering cannot be launched as {bought}: ")?,
            n => write!(f, "none of the pool's {n} offerings can be launched as {bought}: ")?,
        }
        let all: usize = self.refused.iter().map(|r| r.offerings).sum();
        for (nth, RefusedOffering { code, offerings, message }) in self.refused.iter().enumerate() {
            let refusal = if code == INTERRUPTED.code { INTERRUPTED } else { Refusal::of(code) };
            write!(f, "{}{} ({code}", if nth == 0 { "" } else { "; " }, refusal.means)?;
            if self.refused.len() > 1 {
                write!(f, ", {offerings} of {all}")?;
            }
            f.write_str(")")?;
            if !refusal.passes() && !message.is_empty() {
                write!(f, ": {message}")?;
            }
        }
        Ok(())
    }
}

/// Why a pool has as many runners as it has, by one plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum PoolReason {
    /// The pool is no longer in the manifests.
    PoolGone {
        /// The number of its runners that are left.
        runners: u32,
    },
    /// Runners that are wanted are not launched.
    Blocked(Blocked),
    /// Instances are launched.
    Launching {
        /// The number of instances.
        count: u32,
        /// The market on which they are bought.
        market: Market,
    },
    /// No job is queued and no runner exists.
    NoDemand,
    /// All runners that are wanted exist or are starting.
    Supplied,
    /// GitHub gives nothing to the pool's runners.
    NotServed(NotServed),
}

words! { PoolReason {
    PoolGone => "pool_gone",
    Blocked => "blocked",
    Launching => "launching",
    NoDemand => "no_demand",
    Supplied => "supplied",
    NotServed => "not_served",
}}

/// What shows that GitHub gives nothing to a pool's runners, and what may be the cause.
///
/// GitHub stops giving jobs to runners whose version is too old. The older ones of them keep listening, and look idle.
/// <https://github.blog/changelog/2026-06-12-github-actions-minimum-version-enforcement-timeline-for-self-hosted-runners/>
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotServed {
    /// Since when the first of these runners has sat idle beside jobs of several runs.
    pub since: Time,
    /// The versions of the runner program that the pool's runners have, as far as known.
    pub versions: Vec<String>,
}

impl NotServed {
    /// What shows it, and the likely causes, in words that fit after `the pool is`.
    pub fn say(&self, now: Time) -> String {
        let version = match self.versions.as_slice() {
            [] => "the runners' version, which GitHub may have ended".into(),
            [one] => format!("runner version {one}, which GitHub may have ended"),
            all => format!("runner versions {}, which GitHub may have ended", all.join(", ")),
        };
        format!(
            "not served by GitHub: for {} idle runners have got no job, although jobs of several runs match; the likely causes are \
             {version}, or an outage (https://www.githubstatus.com), or a runner group that does not admit the repositories",
            human(now.since(self.since))
        )
    }
}
