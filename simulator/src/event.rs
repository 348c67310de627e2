//! What can happen in the simulated world: each kind of event, with what it is about.

use muster_reconciler::effect::{GitHubLimit, Outcome};
use muster_reconciler::event::{Ec2Event, JobEvent};
use muster_reconciler::ids::{EffectId, InstanceId, JobId, RunId, RunnerId};

use crate::changes::Change;
use crate::job_plan::JobPlan;
use crate::request::{Put, Request};

/// One thing that will happen. What is big is boxed: the heap moves its entries about.
#[derive(Debug)]
pub(super) enum Event {
    /// A controller process starts.
    Start,
    /// What may strike from minute to minute: crashes, outages, throttling.
    Weather,
    /// Somebody changes the manifests.
    Change(Box<Change>),
    /// A request reaches the other side.
    Arrive(Box<Request>),
    /// The second half of Configure: the secret is put where the box looks.
    Put(Box<Put>),
    /// An answer reaches the process that asked.
    Answer(u32, EffectId, Box<Outcome>),
    /// GitHub's rate-limit headers reach the process that asked.
    Limit(u32, Box<GitHubLimit>),
    /// The controller receives from the job queue.
    Poll,
    /// An EventBridge message arrives.
    Notify(Ec2Event),
    /// A webhook's message reaches the job queue.
    Send(Box<JobEvent>),
    /// A job is queued at GitHub; of this run, if it is run again.
    Queue(Box<JobPlan>, Option<RunId>),
    /// GitHub looks for jobs and runners that fit.
    Assign,
    /// A job ends.
    Finish(JobId, &'static str),
    /// A queued job is cancelled, if it is still queued.
    Cancel(JobId),
    /// GitHub lets a job go that it held back.
    LetGo(JobId),
    /// A foreign runner takes a job, if it is still queued.
    Stolen(JobId),
    /// GitHub notices that a runner went away.
    Offline(RunnerId),
    /// EC2: up.
    Running(InstanceId),
    /// EC2: ended.
    Terminated(InstanceId),
    /// EC2 shows it no longer.
    Forgotten(InstanceId),
    /// Spot's warning, two minutes ahead.
    Warning(InstanceId),
    /// Spot takes it back.
    Reclaimed(InstanceId),
    /// The box has booted.
    Booted(InstanceId),
    /// The box looks for its configuration.
    Fetch(InstanceId),
    /// The box connects to GitHub; how often it tried before.
    Register(InstanceId, u32),
    /// The box reads its drain tag.
    SeesDrain(InstanceId),
    /// The box stops doing anything, and stays.
    Hang(InstanceId),
    /// The box ends itself, unless it has a job by now.
    PowerOff(InstanceId, &'static str),
    /// The box has waited too long for its configuration.
    GivesUp(InstanceId),
    /// The oracle looks at the whole.
    Check,
}
