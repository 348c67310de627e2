//! A fold of events: which jobs want a runner, and which messages stand for them.
//!
//! A job's state only moves forward, so folding is a join: commutative, associative, idempotent. The queue is the database: a
//! queued job keeps its messages until muster knows that the job has left GitHub's queue. A job that is over leaves a tombstone,
//! so that a late `queued` never revives the job.

mod index;
mod job;

pub use job::{Confirmation, Doubt, Hold, Job};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event::{JobEvent, JobState};
use crate::ids::{InstanceId, JobId, MessageId, PoolName, RunId};
use crate::manifest::Spec;
use crate::matching::{Route, Routes, takes};
use crate::reason::{DoubtReason, HoldReason};
use crate::runner::Runner;
use crate::time::Time;

/// GitHub drops a job that no runner took for 24 hours. muster does the same, and keeps a tombstone for as long.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
pub const JOB_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// A self-hosted job may run for 5 days. A job in progress is forgotten a day later at the latest.
const RUNNING_EXPIRY: Duration = Duration::from_secs(6 * 24 * 3600);

/// The largest number of tombstones. Beyond this number, those with the lowest job ids go first, which are the oldest.
const TOMBSTONES: usize = 500_000;

/// For how long a job that GitHub leaves queued is held before it is tried again: the first and the longest time. The time doubles
/// with each hold.
const HOLD: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1800));

/// How many held jobs of a pool are tried at once after GitHub gave one of them to a runner.
const TRIED_AFTER_SUCCESS: usize = 2;

/// What folding an event changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    /// Whether the job reached a state that this process did not know of.
    pub advanced: bool,
    /// The state before the event. None: the job was not known.
    pub before: Option<JobState>,
    /// Messages that stand for no queued job any more, to be deleted.
    pub deletable: Vec<MessageId>,
    /// When this process first heard of the job. None: the event was ignored.
    pub first_seen: Option<Time>,
    /// How long the job was queued until a runner took it, by GitHub's clock. None: the events did not tell both times.
    pub true_wait: Option<Duration>,
    /// How long the job waited, if this event tells its start: by GitHub's clock if possible, and without the time for which GitHub
    /// held the job back. None: the wait is not known.
    pub waited: Option<Duration>,
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
    index: index::Index,
    routes: Routes,
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
            folded.deletable.extend(message.map(|(id, _)| id));
            return folded;
        }
        if let Some(known) = self.jobs.get(&event.job).filter(|known| !same_owner(&known.event, event)) {
            folded.before = Some(known.event.state);
            folded.deletable.extend(message.map(|(id, _)| id));
            return folded;
        }
        folded.before = self.jobs.get(&event.job).map(|job| job.event.state);
        folded.advanced = folded.before.is_none_or(|before| event.state > before);
        let Demand { jobs, index, routes, .. } = self;
        let job = jobs.entry(event.job).or_insert_with(|| Job::heard_of(routes.find(spec, event), event, now));
        index.take_out(event.job, job);
        if join(&mut job.event, event) {
            (job.route, job.handed_over) = (routes.find(spec, &job.event), false);
            job.asks_anew(now);
        }
        let news = message.filter(|(id, _)| job.messages.insert(*id));
        if news.is_some_and(|(_, count)| count > 1) && !job.redelivered {
            job.redelivered = true;
            if job.check.answered.is_none() && job.doubt.is_none() {
                job.doubted(DoubtReason::DeliveredBefore, job.first_seen, now);
            }
        }
        folded.first_seen = Some(job.first_seen);
        folded.true_wait = job.event.started_at.zip(job.event.queued_at).map(|(started, queued)| started.since(queued));
        folded.pools.extend(job.pool().cloned());
        if job.event.state == JobState::InProgress && job.started.is_none() {
            job.started = Some(now);
        }
        let mut given = false;
        if job.event.state == JobState::Queued {
            if news.is_some() {
                job.told_queued(event.waiting, now);
            }
        } else {
            if folded.before == Some(JobState::Queued) && event.state == JobState::InProgress && !job.held(now) {
                let whole = job.hold.is_none() && job.since == job.first_seen;
                folded.waited = folded.true_wait.filter(|_| whole).or(Some(now.since(job.counted_since())));
            }
            job.doubt = None;
            folded.deletable.extend(std::mem::take(&mut job.messages));
            let hold = job.hold.take();
            given = event.state == JobState::InProgress && hold.is_some_and(|hold| hold.why == HoldReason::LeftQueued);
        }
        index.put_in(event.job, job);
        let (run, pool, over) = (job.event.run, job.pool().cloned(), job.event.state == JobState::Completed);
        if let Some(pool) = pool.filter(|_| given) {
            self.try_some(&pool, TRIED_AFTER_SUCCESS, now);
        }
        if over {
            folded.ended = self.bury(event.job, now).map(Box::new);
        }
        if folded.advanced {
            self.resume_run(run, event.job, &mut folded.pools, now);
        }
        folded
    }

    /// Changes a job. The indexes follow.
    fn change(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        self.index.take_out(id, job);
        change(job);
        self.index.put_in(id, job);
    }

    /// An event of a run may mean that GitHub has let one of the run's held jobs go, or all of them. One is tried at once, unless one
    /// is on trial. When GitHub gives it to a runner, the next ones follow. muster soon asks GitHub about those that wait by
    /// GitHub's own word.
    fn resume_run(&mut self, run: RunId, but: JobId, pools: &mut BTreeSet<PoolName>, now: Time) {
        let (mut tried, mut next) = (false, None);
        for id in self.index.held_of_run(run).filter(|id| *id != but) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            match &mut job.hold {
                Some(hold) if hold.why == HoldReason::LeftQueued => {
                    tried |= hold.trial;
                    hold.until = hold.until.min(now);
                    next = next.or(Some(id).filter(|_| !hold.trial));
                }
                _ => job.ask_soon(now),
            }
        }
        if let Some(job) = next.filter(|_| !tried).and_then(|id| self.jobs.get_mut(&id)) {
            job.on_trial(now);
            pools.extend(job.pool().cloned());
        }
    }

    fn bury(&mut self, id: JobId, now: Time) -> Option<Job> {
        let job = self.jobs.remove(&id);
        if let Some(job) = &job {
            self.index.take_out(id, job);
        }
        self.over.insert(id, now);
        while self.over.len() > TOMBSTONES {
            self.over.pop_first();
        }
        job
    }

    /// Finds the pool of every job again, after the manifests changed. What was seen of a pool that changed, or of another pool, is
    /// no evidence that GitHub holds a job.
    pub fn reroute(&mut self, spec: &Spec, changed: impl Fn(&PoolName) -> bool, now: Time) {
        self.routes = Routes::default();
        for (id, job) in &mut self.jobs {
            self.index.take_out(*id, job);
            let pool = job.pool().and_then(|pool| spec.pools.get(pool)).filter(|_| job.handed_over);
            let stays = pool.is_some_and(|p| p.spec.capacity.max > 0 && takes(p, &job.event));
            let before = job.route.clone();
            if !stays {
                (job.route, job.handed_over) = (self.routes.find(spec, &job.event), false);
            }
            if job.route != before || job.pool().is_some_and(&changed) {
                job.asks_anew(now);
                job.hold = job.hold.take().filter(|hold| hold.why == HoldReason::Waiting);
            }
            self.index.put_in(*id, job);
        }
    }

    /// Drops jobs and tombstones that are older than GitHub keeps jobs. Returns the dropped jobs, with the messages to delete.
    pub fn expire(&mut self, now: Time) -> Vec<Job> {
        self.over.retain(|_, at| now.since(*at) < JOB_EXPIRY);
        let limit = |j: &Job| if j.event.state == JobState::Queued { JOB_EXPIRY } else { RUNNING_EXPIRY };
        let late: Vec<JobId> = self.jobs.iter().filter(|(_, j)| now.since(j.first_seen) >= limit(j)).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| self.bury(id, now)).collect()
    }

    /// Hands a job over to another pool that takes it.
    pub(crate) fn hand_over(&mut self, id: JobId, to: &PoolName, now: Time) {
        self.change(id, |job| {
            (job.route, job.handed_over) = (Route::Pool(to.clone()), true);
            job.asks_anew(now);
        });
    }

    /// Holds back a queued job that an idle runner did not get. Each hold is longer. GitHub is soon asked about the job.
    pub fn hold(&mut self, id: JobId, by: InstanceId, now: Time) {
        self.change(id, |job| {
            if job.event.state == JobState::Queued {
                let times = job.hold.as_ref().map_or(0, |h| h.times) + 1;
                let until = now + HOLD.0.saturating_mul(1 << (times - 1).min(10)).min(HOLD.1);
                job.ask_soon(now);
                job.hold = Some(Hold { why: HoldReason::LeftQueued, since: now, until, times, by: Some(by), trial: false });
            }
        });
    }

    /// The jobs of a pool that GitHub seems to keep back, whether on trial or not.
    pub(crate) fn left_queued<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = (JobId, &'a Hold)> {
        let holds = self.index.held(pool).filter_map(|id| Some((id, self.jobs.get(&id)?.hold.as_ref()?)));
        holds.filter(|(_, hold)| hold.why == HoldReason::LeftQueued)
    }

    /// The runners whose idleness holds a job of this pool, or held the job that is on trial.
    pub fn evidence<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = &'a InstanceId> {
        self.left_queued(pool).filter_map(|(_, hold)| hold.by.as_ref())
    }

    /// Tries the held job of a pool whose time came first, unless one is on trial.
    pub fn try_one(&mut self, pool: &PoolName, now: Time) {
        let due = self.left_queued(pool).any(|(_, hold)| hold.until <= now);
        if due && !self.left_queued(pool).any(|(_, hold)| hold.trial) {
            self.try_some(pool, 1, now);
        }
    }

    fn try_some(&mut self, pool: &PoolName, most: usize, now: Time) {
        let mut held: Vec<(Time, JobId)> =
            self.left_queued(pool).filter(|(_, hold)| !hold.trial).map(|(id, hold)| (hold.until, id)).collect();
        held.sort_unstable();
        for (_, id) in held.into_iter().take(most) {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.on_trial(now);
            }
        }
    }

    /// GitHub says that a queued job may not start yet. When GitHub says so again, the hold goes on.
    pub fn say_waiting(&mut self, id: JobId, now: Time) {
        self.change(id, |job| job.told_waiting(now));
    }

    /// GitHub answers that a job is queued, so the job may start now. The answer says nothing of a hold that GitHub does not tell of.
    pub fn say_queued(&mut self, id: JobId, now: Time) {
        self.change(id, |job| {
            if job.event.state == JobState::Queued {
                if job.doubt.take().is_some() {
                    job.sure = now;
                }
                if job.waits() {
                    job.hold = None;
                    job.asks_anew(now);
                }
            }
        });
    }

    /// The jobs that are not over, by id.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// The job that runs on a runner, as far as events told.
    pub fn running_on(&self, runner: &Runner) -> Option<&Job> {
        self.jobs.get(&runner.job().running()?)
    }

    /// One job, to note a check or the end of its runner.
    pub fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// Whether the job is known to be over.
    pub fn is_over(&self, id: JobId) -> bool {
        self.over.contains_key(&id)
    }

    /// The number of the pool's queued jobs.
    pub fn queued_count(&self, pool: &PoolName) -> u32 {
        u32::try_from(self.index.queued_count(pool)).unwrap_or(u32::MAX)
    }

    /// The queued jobs of a pool.
    pub fn queued<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = (JobId, &'a Job)> {
        self.index.queued(pool).filter_map(|id| Some((id, self.jobs.get(&id)?)))
    }
}

/// Whether the repositories of two events have one owner. GitHub compares names without regard to case.
fn same_owner(one: &JobEvent, other: &JobEvent) -> bool {
    let owner = |event: &JobEvent| event.repo.split('/').next().unwrap_or_default().to_ascii_lowercase();
    owner(one) == owner(other)
}

/// Joins two events of one job. Each field becomes the greater of the two, so the order of events never matters. Returns whether
/// something changed that decides the job's pool.
fn join(known: &mut JobEvent, heard: &JobEvent) -> bool {
    debug_assert_eq!(known.job, heard.job);
    fn greater<T: Ord + Clone>(known: &mut T, heard: &T) -> bool {
        let changes = *heard > *known;
        if changes {
            known.clone_from(heard);
        }
        changes
    }
    greater(&mut known.state, &heard.state);
    greater(&mut known.run, &heard.run);
    greater(&mut known.attempt, &heard.attempt);
    greater(&mut known.about, &heard.about);
    // The two belong together.
    if (&heard.runner, heard.runner_id) > (&known.runner, known.runner_id) {
        (known.runner, known.runner_id) = (heard.runner.clone(), heard.runner_id);
    }
    greater(&mut known.conclusion, &heard.conclusion);
    greater(&mut known.queued_at, &heard.queued_at);
    greater(&mut known.started_at, &heard.started_at);
    let moved = [
        greater(&mut known.repo, &heard.repo),
        greater(&mut known.org, &heard.org),
        greater(&mut known.enterprise, &heard.enterprise),
        greater(&mut known.labels, &heard.labels),
    ];
    moved.contains(&true)
}

#[cfg(test)]
mod tests;
