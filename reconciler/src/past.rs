//! A job's story, told once, when the job is over: what its trace is made of. No decision ever reads it.
//!
//! Nothing is kept for it but what the controller remembers anyway; it is put together from the job's record and its runner's.

use crate::event::JobEvent;
use crate::ids::{InstanceId, PoolName};
use crate::runner::{Runner, Shape};
use crate::stage::Stage;
use crate::time::Time;

/// A job that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPast {
    /// The join of all events heard of it.
    pub event: JobEvent,
    /// The pool that it counted for, or that its runner belongs to.
    pub pool: Option<PoolName>,
    /// The API that its App speaks to, such as `https://api.github.com`.
    pub api_url: Option<String>,
    /// When this process first heard of it.
    pub heard: Time,
    /// When this process heard that a runner took it; None: it never did.
    pub started: Option<Time>,
    /// When this process heard of its end, or gave it up.
    pub ended: Time,
    /// How it ended, as far as this is about muster.
    pub end: End,
    /// The runner that took it, if it is one of ours.
    pub taken_by: Option<RunnerPast>,
}

/// How a job ended, its own conclusion aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told that it ended.
    Told,
    /// Spot took its instance back, and it did not end well.
    Interrupted,
    /// Its runner was gone before it was told to end, and it did not end well.
    Lost,
    /// Nothing was heard of its end for longer than GitHub lets a job wait or run.
    Expired,
}

/// What is told of the runner that took a job.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerPast {
    /// The instance.
    pub instance: InstanceId,
    /// What it is made of, as far as known.
    pub shape: Option<Shape>,
    /// When its launch was asked for; None: this process did not launch it.
    pub asked: Option<Time>,
    /// When it reached which stage of its start, the earliest first; not when its first job started, which is the job's to tell.
    pub reached: Vec<(Stage, Time)>,
    /// EC2 announced that it takes it back.
    pub interrupted: bool,
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
        }
    }
}

impl JobPast {
    /// How a job ended that was told to have ended so on such a runner, which may have been forgotten before (`lost`).
    pub(crate) fn end_of(event: &JobEvent, taken_by: Option<&RunnerPast>, lost: bool) -> End {
        match taken_by {
            _ if event.conclusion.as_deref() == Some("success") => End::Told,
            Some(b) if b.interrupted => End::Interrupted,
            Some(_) if lost => End::Lost,
            _ => End::Told,
        }
    }
}
