//! Why something is done to a runner, and why a runner did not come online.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{seconds, words};
use crate::ids::JobId;
use crate::time::human;

/// Why a runner is configured, drained, ended, deregistered, or its secret deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum StepReason {
    /// The instance boots and will ask for its configuration.
    Boots,
    /// The instance boots, and the last try to configure it may have left a registration with its name.
    PerhapsRegistered,
    /// An earlier process registered the runner, and there is no secret for the instance.
    HalfConfigured,
    /// An operator ordered the step.
    Ordered {
        /// The operator's words; may be empty.
        why: String,
    },
    /// The labels, runner group or scope of the runner's pool changed.
    Outdated,
    /// No job needs the runner, and the runner has been idle for too long.
    IdleTooLong {
        /// The time that the runner has been idle.
        #[serde(rename = "idleSeconds", serialize_with = "seconds")]
        idle: Duration,
        /// The pool's idleTimeout.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// No job needs the runner, and it was never configured.
    Unneeded,
    /// The runner's pool is no longer in the manifests.
    PoolGone,
    /// The runner will soon reach maxLifetime.
    NearLifetime {
        /// The pool's maxLifetime.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// The runner reached maxLifetime.
    LifetimeReached {
        /// The pool's maxLifetime.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// The runner was online and is so no longer.
    OnlineNoMore,
    /// The runner was not online in time.
    NeverOnline {
        /// The pool's bootDeadline.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// The runner was not online in time, and GitHub does not list it.
    Unlisted {
        /// The pool's bootDeadline.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// The runner's only job is over, and the instance did not end by itself.
    JobOver {
        /// The job.
        job: JobId,
    },
    /// The runner's only job is over, and the runner may have got another one.
    PerhapsSecondJob {
        /// The job that is over.
        job: JobId,
    },
    /// EC2 announced a spot interruption that never came.
    InterruptionLapsed,
    /// The runner did not answer its drain, and muster knows of no job on it.
    DrainUnanswered {
        /// The time that the runner had for an answer.
        #[serde(rename = "limitSeconds", serialize_with = "seconds")]
        limit: Duration,
    },
    /// The runner was asked to end and was never configured, so it has no job.
    NeverConfigured,
    /// Somebody stopped the runner's instance.
    Stopped,
    /// EC2 accepted the last request to end the instance, and still shows it running.
    EndUnheeded,
    /// The runner's instance is gone.
    InstanceGone,
}

words! { StepReason {
    Boots => "boots",
    PerhapsRegistered => "perhaps_registered",
    HalfConfigured => "half_configured",
    Ordered => "ordered",
    Outdated => "outdated",
    IdleTooLong => "idle_too_long",
    Unneeded => "unneeded",
    PoolGone => "pool_gone",
    NearLifetime => "near_lifetime",
    LifetimeReached => "lifetime_reached",
    OnlineNoMore => "online_no_more",
    NeverOnline => "never_online",
    Unlisted => "unlisted",
    JobOver => "job_over",
    PerhapsSecondJob => "perhaps_second_job",
    InterruptionLapsed => "interruption_lapsed",
    DrainUnanswered => "drain_unanswered",
    NeverConfigured => "never_configured",
    Stopped => "stopped",
    EndUnheeded => "end_unheeded",
    InstanceGone => "instance_gone",
}}

impl StepReason {
    /// The words of the reasons for which a runner can be asked to end.
    pub const OF_DRAINS: [&str; 9] = [
        "ordered",
        "outdated",
        "idle_too_long",
        "pool_gone",
        "near_lifetime",
        "online_no_more",
        "unlisted",
        "perhaps_second_job",
        "interruption_lapsed",
    ];

    /// The words of the reasons for which an instance can be ended.
    pub const OF_ENDS: [&str; 10] = [
        "ordered",
        "outdated",
        "unneeded",
        "lifetime_reached",
        "never_online",
        "job_over",
        "drain_unanswered",
        "never_configured",
        "stopped",
        "end_unheeded",
    ];
}

impl fmt::Display for StepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepReason::Boots => f.write_str("it boots and will ask for its configuration"),
            StepReason::PerhapsRegistered => f.write_str("it boots, and the last try may have left a registration of its name"),
            StepReason::HalfConfigured => f.write_str("an earlier controller registered it, and there is no secret for it"),
            StepReason::Ordered { why } if why.is_empty() => f.write_str("an operator asked for it"),
            StepReason::Ordered { why } => write!(f, "an operator asked for it: {why}"),
            StepReason::Outdated => f.write_str("its pool's labels, runner group or scope changed since it was launched"),
            StepReason::IdleTooLong { idle, .. } => write!(f, "idle for {}, and no job wants it", human(*idle)),
            StepReason::Unneeded => f.write_str("no job wants it any more and it was never configured"),
            StepReason::PoolGone => f.write_str("its pool is no longer in the manifests"),
            StepReason::NearLifetime { limit } => write!(f, "it comes near maxLifetime, {}", human(*limit)),
            StepReason::LifetimeReached { limit } => write!(f, "it reached maxLifetime, {}", human(*limit)),
            StepReason::OnlineNoMore => f.write_str("it was online and is now offline"),
            StepReason::NeverOnline { limit } => write!(f, "it was not online within {}", human(*limit)),
            StepReason::Unlisted { limit } => {
                write!(f, "it was not online within {}, and GitHub does not list it", human(*limit))
            }
            StepReason::JobOver { job } => write!(f, "its only job, {job}, is over and it did not end by itself"),
            StepReason::PerhapsSecondJob { job } => write!(f, "its only job, {job}, is over, and it may have got another"),
            StepReason::InterruptionLapsed => f.write_str("EC2 announced a spot interruption long ago and did not carry it out"),
            StepReason::DrainUnanswered { limit } => {
                write!(f, "it did not answer its drain within {} and no source shows a job on it", human(*limit))
            }
            StepReason::NeverConfigured => f.write_str("it was never configured, so it holds no job"),
            StepReason::Stopped => f.write_str("somebody stopped its instance; a stopped instance takes no job"),
            StepReason::EndUnheeded => f.write_str("EC2 accepted the last request to end it, and still shows it running"),
            StepReason::InstanceGone => f.write_str("its instance is gone"),
        }
    }
}

/// Why a runner never came online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reasonWord", content = "reasonFields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum BootFailure {
    /// The boot deadline passed, and muster gave the runner up.
    Overdue {
        /// The reason of the step that ends the runner.
        because: StepReason,
    },
    /// The instance ended by itself.
    Ended,
    /// EC2 ended the instance.
    EndedByEc2 {
        /// EC2's StateReason.
        said: String,
    },
}

words! { BootFailure {
    Overdue => "overdue",
    Ended => "ended",
    EndedByEc2 => "ended_by_ec2",
}}

impl BootFailure {
    /// The cause for an instance that ended before its runner was online, by EC2's StateReason if it is known.
    pub fn ended(state_reason: Option<String>) -> BootFailure {
        // EC2 has a StateReason for an instance that shut itself down, too.
        match state_reason.filter(|said| !said.starts_with("Client.InstanceInitiatedShutdown")) {
            Some(said) => BootFailure::EndedByEc2 { said },
            None => BootFailure::Ended,
        }
    }
}

impl fmt::Display for BootFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootFailure::Overdue { because } => because.fmt(f),
            BootFailure::Ended => f.write_str("it ended by itself before it was online"),
            BootFailure::EndedByEc2 { said } => write!(f, "EC2 ended it before it was online: {said}"),
        }
    }
}
