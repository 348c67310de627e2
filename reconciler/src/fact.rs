//! What the core tells besides its effects: [`Fact`]s, for metrics, traces and the log.

use std::time::Duration;

use crate::history::SpotLife;
use crate::ids::{InstanceId, JobId, PoolName};
use crate::manifest::LateAct;
use crate::market::Market;
use crate::past::JobPast;
use crate::reason::{BootFailure, LaunchFailure, StepReason};
use crate::runner::{Act, DrainOutcome};
use crate::stage::Stage;
use crate::verdict::JobVerdict;

/// An event that only the core knows of, and that a metric counts. The driver collects the facts after each step.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A runner took a queued job.
    JobStarted {
        /// The job's pool. None: no pool matched.
        pool: Option<PoolName>,
        /// The time from when muster first heard of the job until it heard that the job runs.
        waited: Duration,
        /// The waiting time by GitHub's own clock. None: the events did not tell both times.
        true_wait: Option<Duration>,
    },
    /// A runner has a job of a repository that its pool's manifest does not list.
    ForeignJob {
        /// The runner's pool.
        pool: PoolName,
    },
    /// A launch was decided.
    LaunchDecided {
        /// The pool that gets the instances.
        pool: PoolName,
        /// The time since the oldest job that this launch serves began to count. A launch of N instances serves the N newest
        /// jobs. None: no job counts, so the launch is for the warm floor.
        after: Option<Duration>,
    },
    /// A runner reached a stage of its start.
    RunnerReached {
        /// The runner's pool.
        pool: PoolName,
        /// The runner's instance.
        instance: InstanceId,
        /// The stage.
        stage: Stage,
        /// The time since the CreateFleet call was made.
        after: Duration,
    },
    /// EC2 launched instances.
    Launched {
        /// The pool that gets the instances.
        pool: PoolName,
        /// The market that the launch asked for.
        market: Market,
        /// The number of launched instances.
        count: u32,
    },
    /// A launch yielded fewer instances than it asked for.
    LaunchFailed {
        /// The pool that lacks the instances.
        pool: PoolName,
        /// The first cause that EC2 named, or the kind of failure.
        reason: LaunchFailure,
        /// The number of missing instances.
        count: u32,
    },
    /// A runner never came online.
    BootFailed {
        /// The runner's pool.
        pool: PoolName,
        /// The runner's instance.
        instance: InstanceId,
        /// The cause, as far as it is known.
        why: BootFailure,
    },
    /// A job ran on an instance that is gone or interrupted, and no event told that the job went well.
    JobLost {
        /// The runner's pool.
        pool: PoolName,
        /// The runner's instance.
        instance: InstanceId,
        /// The job.
        job: JobId,
    },
    /// It is known, as far as it can be, what ended a job that did not succeed.
    JobJudged {
        /// The job.
        job: JobId,
        /// The runner's pool.
        pool: PoolName,
        /// The market on which the instance was bought. None: not known.
        market: Option<Market>,
        /// What ended the job.
        verdict: JobVerdict,
    },
    /// GitHub was asked to run a lost job again, or it is not run again.
    Rerun {
        /// The runner's pool.
        pool: PoolName,
        /// `asked`, or why not, in a word.
        result: &'static str,
    },
    /// A step of `startWithin` was taken, or was not.
    LateStep {
        /// The job's pool. None: no pool takes the job.
        pool: Option<PoolName>,
        /// The step.
        act: LateAct,
        /// Whether it was taken.
        taken: bool,
    },
    /// A runner was asked to end, or a drain came to an end.
    Drain {
        /// The runner's pool.
        pool: PoolName,
        /// What came of the drain so far.
        outcome: DrainOutcome,
    },
    /// A step for a runner was carried out, and the other side accepted it.
    Stepped {
        /// The runner's pool.
        pool: PoolName,
        /// The kind of step.
        act: Act,
        /// The reason for the step.
        reason: StepReason,
    },
    /// A call has to wait, because the budget of its API is spent.
    BudgetWait {
        /// The word of the API, such as `ec2.CreateFleet`.
        api: &'static str,
    },
    /// EC2 announced that it takes a spot instance back.
    Interrupted {
        /// The runner's pool.
        pool: PoolName,
        /// The runner's instance.
        instance: InstanceId,
        /// Whether the runner may have had a job.
        busy: bool,
    },
    /// A pool leaves spot for a while.
    BreakerOpened {
        /// The pool.
        pool: PoolName,
    },
    /// A pool goes back to spot.
    BreakerClosed {
        /// The pool.
        pool: PoolName,
    },
    /// A runner is gone, and no trace of it is left.
    RunnerGone {
        /// The runner's pool.
        pool: PoolName,
        /// The runner's instance.
        instance: InstanceId,
        /// The market on which the instance was bought.
        market: Market,
        /// The time from when this process first knew of the runner until it was found gone.
        known: Duration,
        /// What became of the instance, if it was bought on spot and had a job.
        spot: Option<SpotLife>,
    },
    /// A job is over. A process tells this once for each job, for the job's trace.
    JobEnded(Box<JobPast>),
    /// A pool was planned.
    Planned {
        /// The pool.
        pool: PoolName,
    },
}

impl Fact {
    /// The pool to which GitHub has just given a job, if this fact says so.
    pub(crate) fn given_to(&self) -> Option<&PoolName> {
        match self {
            Fact::JobStarted { pool, .. } => pool.as_ref(),
            Fact::RunnerReached { pool, stage: Stage::Started, .. } => Some(pool),
            _ => None,
        }
    }
}
