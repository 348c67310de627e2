//! Everything that can happen in the simulated world: one variant for each kind of event, with what the event is about.

use muster_reconciler::effect::{GitHubLimit, Outcome};
use muster_reconciler::event::{Ec2Event, JobEvent};
use muster_reconciler::ids::{EffectId, InstanceId, JobId, RunId, RunnerId};
use muster_reconciler::lease::{LeaseAnswer, LeaseObject};
use muster_reconciler::verdict::Cause;

use crate::changes::Change;
use crate::job_end::JobEnd;
use crate::job_plan::JobPlan;
use crate::request::{Put, Request};

/// One thing that will happen. Large contents are behind a `Box`, because the agenda's heap moves its entries often.
#[derive(Debug)]
pub(super) enum Event {
    Start,
    /// Faults of the environment may begin: crashes, outages, throttling.
    Weather,
    /// An operator changes the manifests.
    Change(Box<Change>),
    /// A request reaches AWS, GitHub or the queue.
    Arrive(Box<Request>),
    /// The second half of Configure: the secret is written where the instance looks for it.
    Put(Box<Put>),
    /// An answer reaches the controller process that asked. The number is the process's.
    Answer(u32, EffectId, Box<Outcome>),
    /// GitHub's rate-limit headers reach the controller process that asked. The number is the process's.
    Limit(u32, Box<GitHubLimit>),
    /// The controller receives from the job queue.
    Poll,
    /// An EventBridge message arrives.
    Notify(Ec2Event),
    /// A webhook's message reaches the job queue.
    Send(Box<JobEvent>),
    /// A job is queued at GitHub. When the job is run again, the run's id is given.
    Queue(Box<JobPlan>, Option<(RunId, u32)>),
    /// GitHub gives queued jobs to idle runners whose labels match.
    Assign,
    /// A job ends like this.
    Finish(JobId, JobEnd),
    /// The machine of a job fails under it, and the instance says so at its end.
    Break(JobId, Cause),
    /// A job is cancelled if it is still queued.
    Cancel(JobId),
    /// GitHub stops holding a job back.
    LetGo(JobId),
    /// A foreign runner takes a job if the job is still queued.
    Stolen(JobId),
    /// A registration with a name of ours, which a stranger made, goes away.
    ImpostorLeaves(RunnerId),
    /// GitHub notices that a runner is no longer connected.
    Offline(RunnerId),
    /// The instance becomes `running` at EC2.
    Running(InstanceId),
    /// The instance becomes `terminated` at EC2.
    Terminated(InstanceId),
    /// EC2 shows the instance no longer, an hour after its end.
    Forgotten(InstanceId),
    /// EC2 warns a spot instance two minutes before it takes the instance back.
    Warning(InstanceId),
    /// EC2 takes a spot instance back.
    Reclaimed(InstanceId),
    /// An instance does what it had planned.
    Act(InstanceId, Deadline),
    /// The oracle checks the invariants.
    Check,
    /// A process looks what to do with the lease. The number is the process's, as in all that follows.
    LeaseTurn(u32),
    /// A write of the lease reaches S3.
    LeaseWrite(Box<LeaseWrite>),
    /// S3's answer reaches the process, or the process waits no longer. The second number is the call's.
    LeaseAnswer(u32, u64, Box<LeaseAnswer>),
    /// A process that was stopped goes on.
    Resume(u32),
}

/// A write of the lease on its way to S3.
#[derive(Debug)]
pub(super) struct LeaseWrite {
    pub process: u32,
    pub call: u64,
    pub object: LeaseObject,
    /// The version that the write replaces. None: there must be no object.
    pub over: Option<String>,
    /// Whether the process gets the answer.
    pub answered: bool,
}

/// What an instance does when its time has come.
#[derive(Debug)]
pub(super) enum Deadline {
    /// The instance has booted, and begins to wait for its configuration.
    Boot,
    /// The instance looks for its configuration.
    Fetch,
    /// The instance connects to GitHub.
    Register {
        /// How many attempts failed before this one.
        tries: u32,
    },
    /// The instance reads its drain tag.
    SeeDrain,
    /// The instance stops doing anything, and stays.
    Hang,
    /// The instance ends itself for this reason, unless it has a job by now.
    PowerOff(&'static str),
    /// The instance ends itself if it still has no configuration.
    GiveUp,
}
