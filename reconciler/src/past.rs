//! The story of a job, told once, when the job is over. The job's trace is made of this story. No decision ever reads it.
//!
//! Nothing is kept for the story alone. It is put together from the record of the job and the record of its runner.

use crate::event::JobEvent;
use crate::ids::{InstanceId, PoolName};
use crate::runner::{Runner, Shape};
use crate::stage::Stage;
use crate::time::Time;

/// The story of a job that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPast {
    /// The join of all events of the job.
    pub event: JobEvent,
    /// The pool that the job counted for, or that its runner belongs to.
    pub pool: Option<PoolName>,
    /// The API of the pool's App, such as `https://api.github.com`. None: the pool or its App is in no manifest.
    pub api_url: Option<String>,
    /// When this process first heard of the job.
    pub heard: Time,
    /// When this process heard that a runner took the job. None: this process never heard so.
    pub started: Option<Time>,
    /// When this process heard of the job's end, or gave the job up.
    pub ended: Time,
    /// How the job ended, as far as this is about muster.
    pub end: End,
    /// The runner that took the job. None: the runner is not ours, or nothing is known of it.
    pub taken_by: Option<RunnerPast>,
}

/// How a job ended, apart from its own conclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// GitHub told the job's end, and muster knows of nothing that cut the job short.
    Told,
    /// Spot took the instance back, and the job did not succeed.
    Interrupted,
    /// The runner was gone before the job's end was told, and the job did not succeed.
    Lost,
    /// Nobody told the job's end for longer than GitHub lets a job wait or run.
    Expired,
}

/// What the story tells of the runner that took the job.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerPast {
    /// The runner's instance.
    pub instance: InstanceId,
    /// What the instance is made of, as far as known.
    pub shape: Option<Shape>,
    /// When the launch was first asked for. None: this process did not launch the instance.
    pub asked: Option<Time>,
    /// When the runner reached each stage of its start, the earliest first. The stage `Started` is left out, because the job
    /// tells it.
    pub reached: Vec<(Stage, Time)>,
    /// Whether EC2 announced that it takes the instance back.
    pub interrupted: bool,
    /// Whether muster ended the instance.
    pub ended_by_muster: bool,
}

impl RunnerPast {
    /// What is known of a runner now.
    pub fn of(instance: &InstanceId, r: &Runner) -> RunnerPast {
        let mut reached: Vec<(Stage, Time)> = r.stages().filter(|(stage, _)| *stage != Stage::Started).collect();
        reached.sort_unstable_by_key(|(stage, at)| (*at, *stage));
        RunnerPast {
            instance: instance.clone(),
            shape: r.shape().cloned(),
            asked: r.launched_here().then_some(r.first_seen()),
            reached,
            interrupted: r.interrupted_at().is_some(),
            ended_by_muster: r.terminated_at().is_some(),
        }
    }
}

impl JobPast {
    /// How a job ended that this runner took. `lost` says that the runner was forgotten before the job's end was told.
    pub(crate) fn end_of(event: &JobEvent, taken_by: Option<&RunnerPast>, lost: bool) -> End {
        match taken_by {
            _ if event.conclusion.as_deref() == Some("success") => End::Told,
            Some(b) if b.interrupted => End::Interrupted,
            Some(_) if lost => End::Lost,
            _ => End::Told,
        }
    }
}
