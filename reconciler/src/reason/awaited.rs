//! What will happen to a runner or a job at a known time, unless something else happens before.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words;
use crate::time::Time;

/// Something that will happen by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaited {
    /// What will happen, in one clause ([`AwaitedReason`]).
    pub what: String,
    /// The same in one word, for programs. Empty: the other process is older than these words.
    #[serde(default)]
    pub word: String,
    /// When it will happen at the latest, in milliseconds since 1970.
    pub until: u64,
}

/// The thing that is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitedReason {
    /// The boot deadline of a runner that is not online.
    BootDeadline,
    /// The idle timeout of a runner.
    IdleTimeout,
    /// The deadline by which a runner has to answer its drain.
    DrainDeadline,
    /// The grace time of a runner whose job is over and whose instance still runs.
    EndGrace,
    /// The maximum lifetime of an instance.
    MaxLifetime,
    /// The time at which GitHub drops a job that no runner took.
    JobExpiry,
    /// The next step of `startWithin`.
    LateStep,
    /// The end of a hold.
    HoldEnds,
    /// The end of the queue delay of a job's pool.
    QueueDelay,
    /// The time by which EC2 shows the launches of an earlier controller.
    PredecessorShown,
    /// The time from which a job counts although GitHub has not answered a question about it.
    CountsUnconfirmed,
    /// The time from which the pool may launch.
    PoolMayLaunch,
    /// The time at which GitHub counts requests from zero again.
    LimitReset,
    /// The time from which one runner is configured as a trial.
    ConfigureRetry,
    /// The time from which a failed launch is tried again.
    LaunchRetry,
    /// The time from which a pool whose breaker is open lets one spot instance try.
    SpotProbe,
}

words! { AwaitedReason {
    BootDeadline => "boot_deadline",
    IdleTimeout => "idle_timeout",
    DrainDeadline => "drain_deadline",
    EndGrace => "end_grace",
    MaxLifetime => "max_lifetime",
    JobExpiry => "job_expiry",
    LateStep => "late_step",
    HoldEnds => "hold_ends",
    QueueDelay => "queue_delay",
    PredecessorShown => "predecessor_shown",
    CountsUnconfirmed => "counts_unconfirmed",
    PoolMayLaunch => "pool_may_launch",
    LimitReset => "limit_reset",
    ConfigureRetry => "configure_retry",
    LaunchRetry => "launch_retry",
    SpotProbe => "spot_probe",
}}

impl AwaitedReason {
    /// This reason with its time.
    pub(crate) fn by(self, until: Time) -> Awaited {
        Awaited { what: self.to_string(), word: self.word().to_owned(), until: until.as_millis() }
    }
}

impl fmt::Display for AwaitedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AwaitedReason::BootDeadline => "the runner is replaced, unless it is online by then",
            AwaitedReason::IdleTimeout => "the runner is asked to end, unless it gets a job before",
            AwaitedReason::DrainDeadline => "the controller may end the runner if no source shows a job on it",
            AwaitedReason::EndGrace => "the instance is ended, unless it has ended by itself",
            AwaitedReason::MaxLifetime => "the instance reaches maxLifetime and is ended",
            AwaitedReason::JobExpiry => "GitHub drops a job that nobody took",
            AwaitedReason::LateStep => "the next step of startWithin is taken, unless a runner takes the job before",
            AwaitedReason::HoldEnds => "the job counts again, unless another job of its pool is tried first",
            AwaitedReason::QueueDelay => "the queueDelay of the job's pool ends",
            AwaitedReason::PredecessorShown => "EC2 has shown everything that an earlier controller launched",
            AwaitedReason::CountsUnconfirmed => "the job counts even if GitHub has not answered",
            AwaitedReason::PoolMayLaunch => "the pool may launch",
            AwaitedReason::LimitReset => "GitHub's rate limit is reset",
            AwaitedReason::ConfigureRetry => "muster tries to configure one runner",
            AwaitedReason::LaunchRetry => "the pool tries to launch again",
            AwaitedReason::SpotProbe => "the pool's breaker lets one spot instance try",
        })
    }
}
