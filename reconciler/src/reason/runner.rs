//! Why a runner is in its phase, and what happens next.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{StepReason, seconds, words};
use crate::ids::JobId;
use crate::time::human;

/// Why a runner is in its phase, together with what else people should know of the runner.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerReason {
    /// Why the runner is in its phase.
    pub standing: Standing,
    /// Whether the runner ends after its job.
    pub ends_after: bool,
    /// The reason for which the runner was asked to end. None: it was not asked, or it is known whether the request worked.
    pub unanswered: Option<StepReason>,
    /// The error of the last failed call for the runner. None: there was none, or a later call worked.
    pub last_error: Option<String>,
}

/// The state of a runner, finer than its phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Standing {
    /// The instance is launched, and EC2 does not show it yet.
    Launched {
        /// The time since the launch was asked for.
        #[serde(rename = "ageSeconds", serialize_with = "seconds")]
        age: Duration,
    },
    /// The last try to configure the runner failed.
    ConfigureFailed,
    /// The instance was found, not launched by this process, and is not configured yet.
    Found,
    /// The instance boots and is not configured yet.
    Boots {
        /// The rest of the boot deadline.
        #[serde(rename = "leftSeconds", serialize_with = "seconds")]
        left: Duration,
    },
    /// The runner is configured and not online yet.
    Configured {
        /// The rest of the boot deadline.
        #[serde(rename = "leftSeconds", serialize_with = "seconds")]
        left: Duration,
    },
    /// The runner is online and has no job.
    Idle {
        /// The time without a job.
        #[serde(rename = "idleSeconds", serialize_with = "seconds")]
        idle: Duration,
    },
    /// The runner runs a job.
    RunsJob {
        /// The job.
        job: JobId,
    },
    /// GitHub says that the runner is busy, and no event names the job.
    Busy,
    /// The runner was asked to end once it is idle.
    DrainAsked {
        /// The time since the runner was asked.
        #[serde(rename = "agoSeconds", serialize_with = "seconds")]
        ago: Duration,
        /// The reason. None: another process asked.
        why: Option<StepReason>,
    },
    /// The runner did not answer its drain, and may have a job.
    DrainRefused {
        /// The time since the runner was asked.
        #[serde(rename = "agoSeconds", serialize_with = "seconds")]
        ago: Duration,
        /// The reason. None: another process asked.
        why: Option<StepReason>,
    },
    /// The runner did not answer its drain, and muster knows of no job on it.
    DrainUnanswered {
        /// The time since the runner was asked.
        #[serde(rename = "agoSeconds", serialize_with = "seconds")]
        ago: Duration,
        /// The reason. None: another process asked.
        why: Option<StepReason>,
    },
    /// EC2 takes the runner's spot instance back.
    Interrupted,
    /// The runner was online and is so no longer.
    OnlineNoMore,
    /// The runner was not online in time.
    NeverOnline {
        /// The pool's bootDeadline.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// EC2 accepted the call that ends the instance.
    EndAccepted,
    /// The runner's only job is over, and the instance ends itself.
    JobOver {
        /// The job.
        job: JobId,
        /// The time until the controller ends the instance.
        #[serde(rename = "leftSeconds", serialize_with = "seconds")]
        left: Duration,
    },
    /// EC2 is ending the instance.
    Ending,
    /// The runner's instance is gone.
    Gone {
        /// EC2's StateReason, if it is known.
        said: Option<String>,
    },
}

words! { Standing {
    Launched => "launched",
    ConfigureFailed => "configure_failed",
    Found => "found",
    Boots => "boots",
    Configured => "configured",
    Idle => "idle",
    RunsJob => "runs_job",
    Busy => "busy",
    DrainAsked => "drain_asked",
    DrainRefused => "drain_refused",
    DrainUnanswered => "drain_unanswered",
    Interrupted => "interrupted",
    OnlineNoMore => "online_no_more",
    NeverOnline => "never_online",
    EndAccepted => "end_accepted",
    JobOver => "job_over",
    Ending => "ending",
    Gone => "gone",
}}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = |f: &mut fmt::Formatter<'_>, ago: Duration, why: Option<&StepReason>| {
            write!(f, "asked {} ago to end once idle (", human(ago))?;
            match why {
                Some(why) => why.fmt(f)?,
                None => f.write_str("by an earlier controller")?,
            }
            f.write_str(")")
        };
        match self {
            Standing::Launched { age } => write!(f, "launched {} ago; EC2 does not show it yet", human(*age)),
            Standing::ConfigureFailed => f.write_str(
                "the last try to configure it failed; the next try replaces a registration that it may have left at GitHub",
            ),
            Standing::Found => f.write_str(
                "was found, not launched by this process; muster configures it after a sweep of GitHub's list and of the secrets",
            ),
            Standing::Boots { left } => write!(f, "boots; its configuration is not made yet ({} left)", human(*left)),
            Standing::Configured { left } => {
                write!(f, "its configuration is ready; it is not online yet ({} left)", human(*left))
            }
            Standing::Idle { idle } => write!(f, "online without a job for {}", human(*idle)),
            Standing::RunsJob { job } => write!(f, "runs job {job}"),
            Standing::Busy => f.write_str("GitHub says that it is busy; no event names the job"),
            Standing::DrainAsked { ago, why } => asked(f, *ago, why.as_ref()),
            Standing::DrainRefused { ago, why } => {
                asked(f, *ago, why.as_ref())?;
                f.write_str(
                    "; it did not answer and is online, so it may have a job: it stays until it ends or reaches maxLifetime",
                )
            }
            Standing::DrainUnanswered { ago, why } => {
                asked(f, *ago, why.as_ref())?;
                f.write_str("; it did not answer, and is ended when two more sweeps show no job")
            }
            Standing::Interrupted => f.write_str("spot takes it back; it is no longer counted as supply"),
            Standing::OnlineNoMore => f.write_str("was online and is now offline; it is asked to end"),
            Standing::NeverOnline { limit } => {
                write!(f, "was not online within {}; it is deregistered, ended and replaced", human(*limit))
            }
            Standing::EndAccepted => f.write_str("EC2 accepted the call that ends it"),
            Standing::JobOver { job, left } => {
                write!(f, "its only job, {job}, is over; it ends itself, or is ended in {}", human(*left))
            }
            Standing::Ending => f.write_str("EC2 is ending it"),
            Standing::Gone { said: Some(said) } => write!(f, "gone: {said}"),
            Standing::Gone { said: None } => f.write_str("gone; its traces are being removed"),
        }
    }
}

impl fmt::Display for RunnerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.standing.fmt(f)?;
        if self.ends_after {
            f.write_str("; it ends after its job")?;
        }
        if let Some(why) = &self.unanswered {
            write!(f, "; asked to end ({why}), and it has not confirmed this yet")?;
        }
        if let Some(error) = &self.last_error {
            write!(f, "; the last try failed: {error}")?;
        }
        Ok(())
    }
}
