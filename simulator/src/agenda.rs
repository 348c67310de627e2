//! What will happen, in order. Virtual time moves from one entry to the next; entries of one moment keep their order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use muster_reconciler::effect::{GitHubLimit, Outcome};
use muster_reconciler::event::{Ec2Event, JobEvent};
use muster_reconciler::ids::{EffectId, InstanceId, JobId, RunId, RunnerId};
use muster_reconciler::time::Time;

use super::changes::Change;
use super::effects::{Put, Request};
use super::forge::JobPlan;

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

/// The heap, and the time.
#[derive(Debug)]
pub(super) struct Agenda {
    pub now: Time,
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    at: Time,
    sequence: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Agenda {
    pub fn new(now: Time) -> Agenda {
        Agenda { now, heap: BinaryHeap::new(), sequence: 0 }
    }

    /// Plans an event; one in the past happens now.
    pub fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// Plans an event from now.
    pub fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Time {
        self.heap.peek().map_or(Time::FAR, |e| e.0.at)
    }

    /// Whether such an event is due, whenever.
    pub fn holds(&self, such: impl Fn(&Event) -> bool) -> bool {
        self.heap.iter().any(|e| such(&e.0.event))
    }

    /// The next event; time moves to it.
    pub fn pop(&mut self) -> Option<Event> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}
