//! A fold of events: which jobs want a runner, and which messages stand for them.
//!
//! A job's state only moves up, so folding is a join: commutative, associative, idempotent. A queued job keeps its
//! messages until it is known to have left the queue: the queue is the database. What is over leaves a tombstone, so
//! that a late `queued` never revives it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event::{JobEvent, JobState};
use crate::ids::{JobId, MessageId, PoolName, RunId};
use crate::manifest::Spec;
use crate::matching::{Route, route};
use crate::past::RunnerPast;
use crate::reason::HoldReason;
use crate::time::Time;

/// GitHub drops a job that nobody took after 24 hours; so do we, and a tombstone lives as long.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
pub const JOB_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// A self-hosted job may run for 5 days; a job in progress is forgotten a day later at the latest.
const RUNNING_EXPIRY: Duration = Duration::from_secs(6 * 24 * 3600);

/// A redelivered job waits this long for GitHub's word on it.
const CONFIRMATION: Duration = Duration::from_secs(10);

/// Tombstones at most; beyond it the oldest go first.
const TOMBSTONES: usize = 500_000;

/// First, and longest, wait before a job that GitHub leaves queued is counted again.
const HOLD: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(4 * 3600));

/// One job that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The join of all events heard of it.
    pub event: JobEvent,
    /// When this process first heard of it.
    pub first_seen: Time,
    /// When this process first heard that a runner took it. For its trace; decides nothing.
    pub started: Option<Time>,
    /// What its runner was, if that is forgotten already. For its trace; decides nothing.
    pub lost_runner: Option<RunnerPast>,
    /// The messages that stand for it, all held. Empty once it has left the queue.
    pub messages: BTreeSet<MessageId>,
    /// Where it belongs.
    pub route: Route,
    /// Heard of by redelivery only: a predecessor may have launched for it.
    pub redelivered: bool,
    /// GitHub holds it back; it doesn't count.
    pub hold: Option<Hold>,
    /// The background check with GitHub.
    pub check: Check,
}

/// Why a queued job doesn't count at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Why.
    pub why: HoldReason,
    /// Since when.
    pub since: Time,
    /// Counts again from then on.
    pub until: Time,
    /// How often it has been held, this time included.
    pub times: u32,
}

/// When GitHub was, and is to be, asked about a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// The last answer.
    pub answered: Option<Time>,
    /// How often we asked.
    pub times: u32,
    /// Not before this.
    pub not_before: Time,
    /// A question is under way.
    pub in_flight: bool,
}

impl Job {
    /// Whether a runner should exist for it: queued, past the pool's delay, and not held back.
    pub fn counts(&self, delay: Duration, now: Time) -> bool {
        self.event.state == JobState::Queued && !self.held(now) && now.since(self.first_seen) >= delay
    }

    /// Whether GitHub was asked if it is still queued, or had the time to answer: most redelivered jobs are over.
    ///
    /// Decision 0010, row 4.
    pub fn confirmed(&self, now: Time) -> bool {
        self.check.answered.is_some() || now.since(self.first_seen) >= CONFIRMATION
    }

    /// When a redelivered job counts without GitHub's word.
    pub fn confirmed_by(&self) -> Time {
        self.first_seen + CONFIRMATION
    }

    /// Whether it is held back at the moment.
    pub fn held(&self, now: Time) -> bool {
        self.hold.as_ref().is_some_and(|h| now < h.until)
    }

    /// Since when it has counted without a break: when it was first heard of, or its last hold ended.
    pub fn counted_since(&self) -> Time {
        self.hold.as_ref().map_or(self.first_seen, |h| h.until)
    }

    /// The pool that it counts for.
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
    /// The job reached a state that it had not been known in.
    pub advanced: bool,
    /// The state before, if the job was known.
    pub before: Option<JobState>,
    /// Messages that nothing hangs on any more: to be deleted.
    pub settled: Vec<MessageId>,
    /// When the job was first heard of.
    pub first_seen: Option<Time>,
    /// Queued until taken by a runner, by GitHub's clock, if its events told both.
    pub true_wait: Option<Duration>,
    /// The job, if this ended it.
    pub ended: Option<Box<Job>>,
    /// The pools that this concerns.
    pub pools: BTreeSet<PoolName>,
}

/// All jobs that are not over, and the tombstones of those that are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    jobs: BTreeMap<JobId, Job>,
    over: BTreeMap<JobId, Time>,
    /// Jobs that have been held, by run: an index of `jobs`.
    held: BTreeSet<(RunId, JobId)>,
}

impl Demand {
    /// Takes in one event; `message` is the message that brought it, with its receive count.
    ///
    /// An event that names a known job in another owner's repository changes nothing: a webhook secret of one owner must not speak
    /// of another's jobs. If the repository was transferred, the check with GitHub tells what became of a queued job.
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
                    check: Check::default(),
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

    /// An event of a run may mean that GitHub let its other jobs go: they count again.
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

    /// Finds every job's place anew; after the manifests changed.
    pub fn reroute(&mut self, spec: &Spec) {
        for job in self.jobs.values_mut() {
            job.route = route(spec, &job.event);
        }
    }

    /// Drops what is older than GitHub keeps it; returns the jobs that were dropped, with messages to delete.
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

    /// The jobs, by id.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// One job, to note a check.
    pub fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// Whether a job is known to be over.
    pub fn is_over(&self, id: JobId) -> bool {
        self.over.contains_key(&id)
    }

    /// Queued jobs of a pool.
    pub fn queued<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = (JobId, &'a Job)> {
        self.jobs.iter().filter(move |(_, j)| j.event.state == JobState::Queued && j.pool() == Some(pool)).map(|(id, j)| (*id, j))
    }
}

/// Whether the repositories of two events have one owner. GitHub compares names without regard to case.
fn same_owner(one: &JobEvent, other: &JobEvent) -> bool {
    let owner = |event: &JobEvent| event.repo.split('/').next().unwrap_or_default().to_ascii_lowercase();
    owner(one) == owner(other)
}

/// The join of two events of one job: of each field the greater, so that order never matters. Only state, runner and
/// conclusion ever differ, and those only grow.
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
