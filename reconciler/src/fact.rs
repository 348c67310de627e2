//! What the core tells of itself besides its effects: [`Fact`]s, for metrics, traces and the log.

use std::time::Duration;

use crate::ids::{InstanceId, JobId, PoolName};
use crate::market::Market;
use crate::past::JobPast;
use crate::reason::{BootFailure, LaunchFailure, StepReason};
use crate::runner::Act;
use crate::stage::Stage;

/// Something worth a metric that only the core knows. The driver collects them after each step.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A queued job was taken by a runner, after this long (from when we first heard of it).
    JobStarted {
        /// Its pool, if one matched.
        pool: Option<PoolName>,
        /// Heard queued until heard in progress.
        waited: Duration,
        /// The same by GitHub's own clock, if its events told both times.
        true_wait: Option<Duration>,
    },
    /// Instances are launched for jobs, the first of which was heard of this long ago.
    LaunchDecided {
        /// For which pool.
        pool: PoolName,
        /// Since the oldest of as many of the newest jobs as instances are launched; None: for the warm floor.
        after: Option<Duration>,
    },
    /// A runner came this far, this long after its launch was asked for.
    RunnerReached {
        /// Its pool.
        pool: PoolName,
        /// Its runner.
        instance: InstanceId,
        /// How far.
        stage: Stage,
        /// Since the CreateFleet call was made.
        after: Duration,
    },
    /// EC2 launched instances.
    Launched {
        /// For which pool.
        pool: PoolName,
        /// As what the launch was asked for.
        market: Market,
        /// How many instances.
        count: u32,
    },
    /// A launch left something unlaunched.
    LaunchFailed {
        /// For which pool.
        pool: PoolName,
        /// Why.
        reason: LaunchFailure,
        /// How many instances.
        count: u32,
    },
    /// A runner never came online.
    BootFailed {
        /// Its pool.
        pool: PoolName,
        /// Why.
        why: BootFailure,
    },
    /// A job ran on a runner that is no more, and did not end well as far as is known.
    JobLost {
        /// Its pool.
        pool: PoolName,
        /// The runner.
        instance: InstanceId,
        /// The job.
        job: JobId,
    },
    /// A runner that is asked to end.
    Drain {
        /// Its pool.
        pool: PoolName,
        /// What became of the question.
        outcome: DrainOutcome,
    },
    /// Something was done to a runner, and the other side accepted it.
    Stepped {
        /// Its pool.
        pool: PoolName,
        /// What.
        act: Act,
        /// Why.
        reason: StepReason,
    },
    /// A wanted call waits, because its API's budget is spent.
    BudgetWait {
        /// Which.
        api: &'static str,
    },
    /// Spot took an instance back.
    Interrupted {
        /// Its pool.
        pool: PoolName,
        /// The runner.
        instance: InstanceId,
        /// Whether a job was (seen) running.
        busy: bool,
    },
    /// A runner is gone.
    RunnerGone {
        /// Its pool.
        pool: PoolName,
        /// The runner.
        instance: InstanceId,
        /// How it was bought.
        market: Market,
        /// How long we knew it.
        lived: Duration,
    },
    /// A job is over. Told once by a process, for its trace.
    JobEnded(Box<JobPast>),
    /// A pool was planned.
    Planned {
        /// Which.
        pool: PoolName,
    },
}

/// What becomes of asking a runner to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainOutcome {
    /// Its tag says so now.
    Asked,
    /// EC2 refused the tag, or gave no answer.
    Failed,
    /// It ended by itself.
    Answered,
    /// It did not answer, nothing knew of a job on it, and the controller ended it.
    Unanswered,
    /// It did not answer, and GitHub refused to delete it: it has a job.
    Refused,
}

impl DrainOutcome {
    /// All of them.
    pub const ALL: [DrainOutcome; 5] =
        [DrainOutcome::Asked, DrainOutcome::Failed, DrainOutcome::Answered, DrainOutcome::Unanswered, DrainOutcome::Refused];

    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            DrainOutcome::Asked => "asked",
            DrainOutcome::Failed => "failed",
            DrainOutcome::Answered => "answered",
            DrainOutcome::Unanswered => "unanswered",
            DrainOutcome::Refused => "refused",
        }
    }
}
