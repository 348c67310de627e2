//! What happened, in order: one entry for each decision and each thing that was heard. People read the journal as the log, as
//! `muster events` and as the timeline of one job, runner or pool. No decision ever reads it.
//!
//! The journal is in memory and has at most [`CAPACITY`] entries. The log keeps what has to be kept for longer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::fact::Fact;
use crate::ids::{InstanceId, JobId, PoolName};
use crate::reason::EventReason;
use crate::runner::DrainOutcome;
use crate::stage::Stage;
use crate::time::Time;

/// The most entries that are kept. When there are more, the oldest are dropped.
pub const CAPACITY: usize = 20_000;

/// What happened: the kind of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// muster first heard of a queued job.
    #[default]
    JobQueued,
    /// A runner took a job.
    JobStarted,
    /// A job is over.
    JobCompleted,
    /// GitHub holds a job back.
    JobHeld,
    /// A pool that cannot launch hands a job over to another pool.
    JobHandedOver,
    /// A runner has a job of a repository that its pool's manifest does not list.
    ForeignJob,
    /// An event names one of our runners, and GitHub gives that name's runner another id than ours has.
    NameTaken,
    /// A job's runner is gone or interrupted, and no event told that the job went well.
    JobLost,
    /// It is known, as far as it can be, what ended a job that did not succeed.
    JobJudged,
    /// GitHub was asked to run a lost job again.
    JobRerun,
    /// A lost job is not run again.
    JobNotRerun,
    /// No runner took a job in time, and a step of `startWithin` was taken.
    JobLate,
    /// A step of `startWithin` was not taken.
    LateStepFailed,
    /// Instances are asked for.
    Launch,
    /// EC2 gave an instance.
    Launched,
    /// EC2 gave fewer instances than were asked for, or none, or no certain answer.
    LaunchFailed,
    /// A runner's configuration is minted.
    Configure,
    /// A runner reached a stage of its start.
    Reached,
    /// A runner never came online.
    BootFailed,
    /// A runner is asked to end once it is idle.
    Drain,
    /// An instance is ended.
    Terminate,
    /// A registration is deleted.
    Deregister,
    /// A secret that nobody will read is deleted.
    DeleteSecret,
    /// A call for one runner failed and is tried again, or GitHub refused to delete a draining runner.
    Failed,
    /// EC2 takes a spot instance back.
    Interrupted,
    /// A pool leaves spot for a while, because spot takes back its instances.
    BreakerOpened,
    /// A pool goes back to spot.
    BreakerClosed,
    /// A runner is gone, and no trace of it is left.
    Gone,
    /// An operator paused a pool.
    Paused,
    /// An operator resumed a pool.
    Resumed,
    /// An operator wants a runner, or all runners of a pool, to end.
    DrainOrdered,
    /// An operator wants a lost job to run again.
    RerunOrdered,
}

crate::shown!(What);

impl What {
    /// The word in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            What::JobQueued => "job_queued",
            What::JobStarted => "job_started",
            What::JobCompleted => "job_completed",
            What::JobHeld => "job_held",
            What::JobHandedOver => "job_handed_over",
            What::ForeignJob => "foreign_job",
            What::NameTaken => "name_taken",
            What::JobLost => "job_lost",
            What::JobJudged => "job_judged",
            What::JobRerun => "job_rerun",
            What::JobNotRerun => "job_not_rerun",
            What::JobLate => "job_late",
            What::LateStepFailed => "late_step_failed",
            What::Launch => "launch",
            What::Launched => "launched",
            What::LaunchFailed => "launch_failed",
            What::Configure => "configure",
            What::Reached => "reached",
            What::BootFailed => "boot_failed",
            What::Drain => "drain",
            What::Terminate => "terminate",
            What::Deregister => "deregister",
            What::DeleteSecret => "delete_secret",
            What::Failed => "failed",
            What::Interrupted => "interrupted",
            What::BreakerOpened => "breaker_opened",
            What::BreakerClosed => "breaker_closed",
            What::Gone => "gone",
            What::Paused => "paused",
            What::Resumed => "resumed",
            What::DrainOrdered => "drain_ordered",
            What::RerunOrdered => "rerun_ordered",
        }
    }

    /// Whether the event concerns a whole pool, and so every job that waits for the pool.
    pub const fn is_of_pool(self) -> bool {
        matches!(
            self,
            What::Launch
                | What::LaunchFailed
                | What::BootFailed
                | What::BreakerOpened
                | What::BreakerClosed
                | What::Paused
                | What::Resumed
        )
    }

    /// Whether somebody should look at the event.
    pub const fn is_bad(self) -> bool {
        matches!(
            self,
            What::ForeignJob
                | What::NameTaken
                | What::JobLost
                | What::JobNotRerun
                | What::JobLate
                | What::LateStepFailed
                | What::LaunchFailed
                | What::BootFailed
                | What::Failed
                | What::Interrupted
                | What::BreakerOpened
        )
    }
}

/// The pool, job or runner that an entry is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// The pool. None: the job has none.
    pub pool: Option<PoolName>,
    /// The job. None: the entry is not about one job.
    pub job: Option<JobId>,
    /// The instance of the runner. None: the entry is not about one runner.
    pub instance: Option<InstanceId>,
}

impl Whom {
    /// An entry about a pool.
    pub fn pool(pool: &PoolName) -> Whom {
        Whom { pool: Some(pool.clone()), ..Whom::default() }
    }

    /// An entry about one runner of a pool.
    pub fn runner(pool: &PoolName, instance: &InstanceId) -> Whom {
        Whom { pool: Some(pool.clone()), job: None, instance: Some(instance.clone()) }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry's number. Numbers begin at 1 in each process, and have no gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Time,
    /// What happened.
    pub what: What,
    /// The pool, job or runner that it happened to.
    pub whom: Whom,
    /// Why or how it happened.
    pub why: EventReason,
}

/// The newest entries, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Journal {
    /// Adds an entry, and drops the oldest one if the journal is full.
    pub fn note(&mut self, at: Time, what: What, whom: Whom, why: impl Into<EventReason>) {
        self.last += 1;
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { seq: self.last, at, what, whom, why: why.into() });
    }

    /// Adds an entry for a fact about a runner. Other facts are for metrics only, or are noted elsewhere.
    pub fn note_fact(&mut self, fact: &Fact, at: Time) {
        match fact {
            // EC2's answer and the job's start have entries of their own, with more words.
            Fact::RunnerReached { stage: Stage::Launched | Stage::Started, .. } => {}
            Fact::RunnerReached { pool, instance, stage, after } => {
                let why = EventReason::Reached { stage: *stage, after: *after };
                self.note(at, What::Reached, Whom::runner(pool, instance), why);
            }
            Fact::BootFailed { pool, instance, why } => {
                let why = EventReason::NotStarted { why: why.clone(), late: false };
                self.note(at, What::BootFailed, Whom::runner(pool, instance), why);
            }
            Fact::JobLost { pool, instance, job } => {
                let whom = Whom { job: Some(*job), ..Whom::runner(pool, instance) };
                self.note(at, What::JobLost, whom, EventReason::Lost);
            }
            Fact::Interrupted { pool, instance, busy } => {
                self.note(at, What::Interrupted, Whom::runner(pool, instance), EventReason::Interrupted { busy: *busy });
            }
            Fact::RunnerGone { pool, instance, known, market, .. } => {
                let why = EventReason::Gone { known: *known, market: *market };
                self.note(at, What::Gone, Whom::runner(pool, instance), why);
            }
            Fact::Drain { pool, outcome: DrainOutcome::Refused } => {
                self.note(at, What::Failed, Whom::pool(pool), EventReason::HasJob);
            }
            Fact::JobStarted { .. }
            | Fact::ForeignJob { .. }
            | Fact::LaunchDecided { .. }
            | Fact::Launched { .. }
            | Fact::LaunchFailed { .. }
            | Fact::BreakerOpened { .. }
            | Fact::BreakerClosed { .. }
            | Fact::Drain { .. }
            | Fact::Stepped { .. }
            | Fact::BudgetWait { .. }
            | Fact::JobEnded(_)
            | Fact::JobJudged { .. }
            | Fact::Rerun { .. }
            | Fact::LateStep { .. }
            | Fact::Planned { .. } => {}
        }
    }

    /// The number of the last entry. 0: there is none yet.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The number of the oldest entry that is kept. If there is none, the number of the next entry.
    pub fn first(&self) -> u64 {
        self.entries.front().map_or(self.last + 1, |e| e.seq)
    }

    /// The entries after the number `seq`, oldest first.
    pub fn after(&self, seq: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        let skip = seq.saturating_sub(self.first() - 1);
        self.entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// The entries about a runner, by its instance.
    pub fn of_runner(&self, id: &InstanceId) -> Vec<&Entry> {
        self.entries.iter().filter(|e| e.whom.instance.as_ref() == Some(id)).collect()
    }

    /// The entries about a pool and its jobs and runners.
    pub fn of_pool(&self, pool: &PoolName) -> Vec<&Entry> {
        self.entries.iter().filter(|e| e.whom.pool.as_ref() == Some(pool)).collect()
    }

    /// The entries about a job. While the job waits, what its pool does belongs to its story, too. Once the job runs, what
    /// happens to its runner does.
    pub fn of_job(&self, job: JobId) -> Vec<&Entry> {
        let Some(begin) = self.entries.iter().position(|e| e.whom.job == Some(job)) else { return Vec::new() };
        let (mut pool, mut instance, mut waits) = (None, None, true);
        let mut found = Vec::new();
        for e in self.entries.iter().skip(begin) {
            let its_pools = waits && e.what.is_of_pool() && pool.is_some() && e.whom.pool.as_ref() == pool;
            let its_runners = !waits && instance.is_some() && e.whom.instance.as_ref() == instance && e.whom.job.is_none();
            if e.whom.job == Some(job) {
                pool = e.whom.pool.as_ref().or(pool);
                instance = e.whom.instance.as_ref().or(instance);
                waits &= matches!(e.what, What::JobQueued | What::JobHeld | What::JobHandedOver);
                found.push(e);
            } else if its_pools || its_runners {
                found.push(e);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    fn job(id: u64, instance: Option<&str>) -> Whom {
        Whom { job: Some(JobId(id)), instance: instance.map(Into::into), pool: Some("linux".into()) }
    }

    #[test]
    fn the_oldest_make_way_and_numbers_have_no_gaps() {
        let mut j = Journal::default();
        assert_eq!((j.first(), j.last(), j.after(0).count()), (1, 0, 0));
        for n in 0..CAPACITY as u64 + 10 {
            j.note(at(n), What::JobQueued, job(n, None), EventReason::Lost);
        }
        assert_eq!((j.first(), j.last()), (11, CAPACITY as u64 + 10));
        assert_eq!(j.after(0).count(), CAPACITY);
        let seqs: Vec<u64> = j.after(j.last() - 2).map(|e| e.seq).collect();
        assert_eq!(seqs, [j.last() - 1, j.last()]);
        assert_eq!(j.after(j.last()).count() + j.after(u64::MAX).count(), 0);
    }

    #[test]
    fn a_jobs_story_has_its_pools_launches_while_it_waits_and_its_runners_end_after() {
        let (mut j, linux) = (Journal::default(), PoolName::from("linux"));
        j.note(at(0), What::Launch, Whom::pool(&linux), EventReason::Lost);
        j.note(at(1), What::JobQueued, job(7, None), EventReason::Lost);
        j.note(at(2), What::Launch, Whom::pool(&linux), EventReason::Lost);
        j.note(at(2), What::Launch, Whom::pool(&"other".into()), EventReason::Lost);
        j.note(at(3), What::JobQueued, job(8, None), EventReason::Lost);
        j.note(at(4), What::JobStarted, job(7, Some("i-1")), EventReason::Lost);
        j.note(at(5), What::Launch, Whom::pool(&linux), EventReason::Lost);
        j.note(at(6), What::Interrupted, Whom::runner(&linux, &"i-1".into()), EventReason::Lost);
        j.note(at(6), What::Interrupted, Whom::runner(&linux, &"i-2".into()), EventReason::Lost);
        let told: Vec<u64> = j.of_job(JobId(7)).iter().map(|e| e.at.as_millis() / 1000).collect();
        assert_eq!(told, [1, 2, 4, 6]);
        assert!(j.of_job(JobId(9)).is_empty());
        assert_eq!((j.of_runner(&"i-1".into()).len(), j.of_pool(&"other".into()).len()), (2, 1));
    }
}
