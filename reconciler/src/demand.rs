//! A fold of events: which jobs want a runner, and which messages stand for them.
//!
//! A job's state only moves forward, so folding is a join: commutative, associative, idempotent. The queue is the database: a
//! queued job keeps its messages until muster knows that the job has left GitHub's queue. A job that is over leaves a tombstone,
//! so that a late `queued` never revives the job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event::{JobEvent, JobState};
use crate::ids::{JobId, MessageId, PoolName, RunId};
use crate::manifest::Spec;
use crate::matching::{Route, route};
use crate::past::RunnerPast;
use crate::reason::HoldReason;
use crate::time::Time;

/// GitHub drops a job that no runner took for 24 hours. muster does the same, and keeps a tombstone for as long.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
pub const JOB_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// A self-hosted job may run for 5 days. A job in progress is forgotten a day later at the latest.
const RUNNING_EXPIRY: Duration = Duration::from_secs(6 * 24 * 3600);

/// How long a redelivered job waits for GitHub's word before the job counts.
const CONFIRMATION: Duration = Duration::from_secs(10);

/// The largest number of tombstones. Beyond this number, those with the lowest job ids go first, which are the oldest.
const TOMBSTONES: usize = 500_000;

/// For how long a job that GitHub leaves queued does not count: the first and the longest time. The time doubles with each hold.
const HOLD: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(4 * 3600));

/// One job that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The join of all events of the job.
    pub event: JobEvent,
    /// When this process first heard of the job.
    pub first_seen: Time,
    /// When this process first heard that a runner took the job. Only the job's trace needs this time; no decision does.
    pub started: Option<Time>,
    /// What the job's runner was, if the runner is already forgotten. Only the job's trace needs this; no decision does.
    pub lost_runner: Option<RunnerPast>,
    /// The messages that stand for the job, all held by this process. Empty once the job has left the queue.
    pub messages: BTreeSet<MessageId>,
    /// The pool that takes the job, or why none does.
    pub route: Route,
    /// Whether a message of the job was delivered before. A predecessor may then have launched for the job.
    pub redelivered: bool,
    /// The newest hold, which may be over. While the hold lasts, the job does not count.
    pub hold: Option<Hold>,
    /// What GitHub was asked about the job in the background.
    pub check: Confirmation,
}

/// Why, and until when, a queued job does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Why the job is held back.
    pub why: HoldReason,
    /// When the hold began.
    pub since: Time,
    /// When the job counts again.
    pub until: Time,
    /// How often the job has been held in a row, this time included.
    pub times: u32,
}

/// When GitHub was asked about a job, and when it may be asked again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confirmation {
    /// When GitHub last answered. None: GitHub has not.
    pub answered: Option<Time>,
    /// How often muster asked.
    pub times: u32,
    /// No question is asked before this time.
    pub not_before: Time,
    /// Whether a question is under way.
    pub in_flight: bool,
}

impl Job {
    /// Whether a runner should exist for the job: the job is queued, its pool's delay is over, and the job is not held back.
    pub fn counts(&self, delay: Duration, now: Time) -> bool {
        self.event.state == JobState::Queued && !self.held(now) && now.since(self.first_seen) >= delay
    }

    /// Whether GitHub has answered if the job is still queued, or has had 10 s to answer. Most redelivered jobs are over.
    ///
    /// Decision 0010, row 4.
    pub fn confirmed(&self, now: Time) -> bool {
        self.check.answered.is_some() || now.since(self.first_seen) >= CONFIRMATION
    }

    /// When a redelivered job counts even without GitHub's word.
    pub fn confirmed_by(&self) -> Time {
        self.first_seen + CONFIRMATION
    }

    /// Whether the job is held back at the moment.
    pub fn held(&self, now: Time) -> bool {
        self.hold.as_ref().is_some_and(|h| now < h.until)
    }

    /// Since when the job has counted without a break: since it was first heard of, or since its last hold ended.
    pub fn counted_since(&self) -> Time {
        self.hold.as_ref().map_or(self.first_seen, |h| h.until)
    }

    /// The pool that the job counts for. None: no pool takes the job.
    pub fn pool(&self) -> Option<&PoolName> {
        match &self.route {
            Route::Pool(name) => Some(name),
            Route::Unmatched(_) | Route::Foreign(_) => None,
        }
    }
}

/// What folding an event changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// Whether the job reached a state that this process did not know of.
    pub advanced: bool,
    /// The state before the event. None: the job was not known.
    pub before: Option<JobState>,
    /// Messages that stand for no queued job any more, to be deleted.
    pub settled: Vec<MessageId>,
    /// When this process first heard of the job. None: the event was ignored.
    pub first_seen: Option<Time>,
    /// How long the job was queued until a runner took it, by GitHub's clock. None: the events did not tell both times.
    pub true_wait: Option<Duration>,
    /// The job, if this event ended it.
    pub ended: Option<Box<Job>>,
    /// The pools of the jobs that changed.
    pub pools: BTreeSet<PoolName>,
}

/// All jobs that are not over, and the tombstones of those that are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    jobs: BTreeMap<JobId, Job>,
    over: BTreeMap<JobId, Time>,
    /// The jobs with a hold, by run. This is an index of `jobs`.
    held: BTreeSet<(RunId, JobId)>,
}

impl Demand {
    /// Takes in one event. `message` is the message that brought the event, with its receive count. None: GitHub's answer to
    /// a check brought the event.
    ///
    /// An event that names a known job in another owner's repository changes nothing. A webhook secret of one owner must not
    /// speak of another owner's jobs. If the repository was transferred, the check with GitHub tells what became of a queued job.
    pub fn fold(&mut self, spec: &Spec, event: &JobEvent, message: Option<(MessageId, u32)>, now: Time) -> Folded {
        let mut folded = Folded::default();
        if self.over.contains_key(&event.job) {
            folded.before = Some(JobState::Completed);
            folded.settled.extend(message.map(|(id, _)| id));
            return folded;
        }
        if let Some(known) = self.jobs.get(&event.job).filter(|known| !same_owner(&known.event, event)) {
            folded.before = Some(known.event.state);
            folded.settled.extend(message.map(|(id, _)| id));
            return folded;
        }
        let job = match self.jobs.entry(event.job) {
            std::collections::btree_map::Entry::Occupied(known) => {
                let job = known.into_mut();
                folded.before = Some(job.event.state);
                folded.advanced = event.state > job.event.state;
                let routed_by = (job.event.labels.clone(), job.event.repo.clone());
                join(&mut job.event, event);
                if routed_by != (job.event.labels.clone(), job.event.repo.clone()) {
                    job.route = route(spec, &job.event);
                }
                job
            }
            std::collections::btree_map::Entry::Vacant(new) => {
                folded.advanced = true;
                new.insert(Job {
                    event: event.clone(),
                    first_seen: now,
                    started: None,
                    lost_runner: None,
                    messages: BTreeSet::new(),
                    route: route(spec, event),
                    redelivered: false,
                    hold: None,
                    check: Confirmation::default(),
                })
            }
        };
        if let Some((id, count)) = message {
            job.redelivered |= job.messages.insert(id) && count > 1;
        }
        folded.first_seen = Some(job.first_seen);
        folded.true_wait = job.event.started_at.zip(job.event.queued_at).map(|(started, queued)| started.since(queued));
        folded.pools.extend(job.pool().cloned());
        if job.event.state == JobState::InProgress && job.started.is_none() {
            job.started = Some(now);
        }
        if job.event.state > JobState::Queued {
            folded.settled.extend(std::mem::take(&mut job.messages));
            if job.hold.take().is_some() {
                self.held.remove(&(job.event.run, event.job));
            }
        }
        let (run, over) = (job.event.run, job.event.state == JobState::Completed);
        if over {
            folded.ended = self.bury(event.job, now).map(Box::new);
        }
        if folded.advanced {
            self.resume_run(run, event.job, &mut folded.pools);
        }
        folded
    }

    /// An event of a run may mean that GitHub has let the run's other jobs go. These jobs count again.
    fn resume_run(&mut self, run: RunId, but: JobId, pools: &mut BTreeSet<PoolName>) {
        let ours: Vec<_> =
            self.held.range((run, JobId(0))..=(run, JobId(u64::MAX))).filter(|(_, id)| *id != but).copied().collect();
        for key in ours {
            self.held.remove(&key);
            if let Some(job) = self.jobs.get_mut(&key.1) {
                job.hold = None;
                pools.extend(job.pool().cloned());
            }
        }
    }

    fn bury(&mut self, id: JobId, now: Time) -> Option<Job> {
        let job = self.jobs.remove(&id);
        if let Some(job) = job.as_ref().filter(|j| j.hold.is_some()) {
            self.held.remove(&(job.event.run, id));
        }
        self.over.insert(id, now);
        while self.over.len() > TOMBSTONES {
            self.over.pop_first();
        }
        job
    }

    /// Finds the pool of every job again, after the manifests changed.
    pub fn reroute(&mut self, spec: &Spec) {
        for job in self.jobs.values_mut() {
            job.route = route(spec, &job.event);
        }
    }

    /// Drops jobs and tombstones that are older than GitHub keeps jobs. Returns the dropped jobs, with the messages to delete.
    pub fn expire(&mut self, now: Time) -> Vec<Job> {
        self.over.retain(|_, at| now.since(*at) < JOB_EXPIRY);
        let limit = |j: &Job| if j.event.state == JobState::Queued { JOB_EXPIRY } else { RUNNING_EXPIRY };
        let late: Vec<JobId> = self.jobs.iter().filter(|(_, j)| now.since(j.first_seen) >= limit(j)).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.bury(id, now)).collect()
    }

    /// Holds a queued job back, for longer each time.
    pub fn hold(&mut self, id: JobId, why: HoldReason, now: Time) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.event.state == JobState::Queued) else { return };
        let times = job.hold.as_ref().map_or(0, |h| h.times) + 1;
        let backoff = HOLD.0.saturating_mul(1 << (times - 1).min(10)).min(HOLD.1);
        self.held.insert((job.event.run, id));
        job.hold = Some(Hold { why, since: now, until: now + backoff, times });
    }

    /// The jobs that are not over, by id.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// One job, to note a check or the end of its runner.
    pub fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// Whether the job is known to be over.
    pub fn is_over(&self, id: JobId) -> bool {
        self.over.contains_key(&id)
    }

    /// The queued jobs of a pool.
    pub fn queued<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = (JobId, &'a Job)> {
        self.jobs.iter().filter(move |(_, j)| j.event.state == JobState::Queued && j.pool() == Some(pool)).map(|(id, j)| (*id, j))
    }
}

/// Whether the repositories of two events have one owner. GitHub compares names without regard to case.
fn same_owner(one: &JobEvent, other: &JobEvent) -> bool {
    let owner = |event: &JobEvent| event.repo.split('/').next().unwrap_or_default().to_ascii_lowercase();
    owner(one) == owner(other)
}

/// Joins two events of one job. Each field becomes the greater of the two, so the order of events never matters.
fn join(known: &mut JobEvent, heard: &JobEvent) {
    debug_assert_eq!(known.job, heard.job);
    fn greater<T: Ord + Clone>(known: &mut T, heard: &T) {
        if *heard > *known {
            known.clone_from(heard);
        }
    }
    greater(&mut known.state, &heard.state);
    greater(&mut known.run, &heard.run);
    greater(&mut known.repo, &heard.repo);
    greater(&mut known.org, &heard.org);
    greater(&mut known.enterprise, &heard.enterprise);
    greater(&mut known.labels, &heard.labels);
    greater(&mut known.runner, &heard.runner);
    greater(&mut known.conclusion, &heard.conclusion);
    greater(&mut known.queued_at, &heard.queued_at);
    greater(&mut known.started_at, &heard.started_at);
}

#[cfg(test)]
mod tests;
