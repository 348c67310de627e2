//! What will happen to a runner or a job at a known time, unless something else happens before.

use std::fmt;

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitedReason {
    /// The boot deadline of a runner that is not online.
    BootDeadline,
    /// The idle timeout of a runner.
    IdleTimeout,
    /// The deadline of a runner that was asked to end.
    DrainDeadline,
    /// The grace of a runner whose job is over and whose instance still runs.
    EndGrace,
    /// The maximum lifetime of an instance.
    MaxLifetime,
    /// The end of a job that no runner took.
    JobExpiry,
    /// The end of a hold.
    HoldEnds,
    /// The end of the queue delay of a job's pool.
    QueueDelay,
    /// EC2 must have shown the launches of an earlier controller.
    PredecessorShown,
    /// GitHub was asked about a job, and has not answered.
    CountsUnconfirmed,
    /// The pool may launch.
    PoolMayLaunch,
    /// GitHub counts calls from zero.
    LimitReset,
    /// One runner is configured as a trial.
    ConfigureRetry,
    /// A launch that failed is tried again.
    LaunchRetry,
}

impl fmt::Display for AwaitedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AwaitedReason::BootDeadline => "the runner is replaced, unless it is online by then",
            AwaitedReason::IdleTimeout => "the runner is asked to end, unless it gets a job before",
            AwaitedReason::DrainDeadline => "the controller looks closely at the runner, unless it has ended by then",
            AwaitedReason::EndGrace => "the instance is ended, unless it has ended by itself",
            AwaitedReason::MaxLifetime => "the instance reaches maxLifetime and is ended",
            AwaitedReason::JobExpiry => "GitHub drops a job that nobody took",
            AwaitedReason::HoldEnds => "the job counts again, unless another job of its pool is tried first",
            AwaitedReason::QueueDelay => "the queueDelay of the job's pool ends",
            AwaitedReason::PredecessorShown => "EC2 has shown everything that an earlier controller launched",
            AwaitedReason::CountsUnconfirmed => "the job counts without an answer of GitHub",
            AwaitedReason::PoolMayLaunch => "the pool may launch",
            AwaitedReason::LimitReset => "GitHub's rate limit is reset",
            AwaitedReason::ConfigureRetry => "one runner tries to be configured",
            AwaitedReason::LaunchRetry => "the pool tries to launch again",
        })
    }
}
