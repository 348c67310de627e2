//! What cannot be seen any more in what is now: what went wrong within the last hour (lost jobs, and news of strangers), and where GitHub
//! has the jobs that are over. People read it under "Needs attention" and on a job's page. No decision reads it, and a new process begins with none.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{InstanceId, JobId, PoolName, RunId};
use crate::journal::{Entry, What};
use crate::time::Time;

/// For how long something is kept.
const KEPT: Duration = Duration::from_secs(3600);
/// The most that is kept. When there is more, the oldest is dropped.
const MOST: usize = 1000;

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Mishap {
    /// When it happened.
    pub at: Time,
    /// What happened.
    pub what: What,
    /// The pool that it happened to.
    pub pool: Option<PoolName>,
    /// The job.
    pub job: Option<JobId>,
    /// The instance of the runner.
    pub instance: Option<InstanceId>,
}

/// The most jobs that are over and still have their links.
const MOST_OVER: usize = 5_000;

/// Where GitHub has a job that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlace {
    /// The job.
    pub job: JobId,
    /// The workflow run.
    pub run: RunId,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The pool that the job counted for, or that its runner belongs to.
    pub pool: Option<PoolName>,
}

/// What went wrong lately, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Lately {
    mishaps: VecDeque<Mishap>,
    over: VecDeque<JobPlace>,
    /// The number of the last entry of the journal that was read.
    read: u64,
}

impl Lately {
    /// The number of the last entry of the journal that was read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Takes in the next entry of the journal.
    pub fn note(&mut self, entry: &Entry) {
        self.read = entry.seq;
        match entry.what {
            What::JobLost | What::ForeignJob | What::NameTaken => {
                let (pool, job, instance) = (entry.whom.pool.clone(), entry.whom.job, entry.whom.instance.clone());
                let known = self.mishaps.iter().any(|m| m.what == entry.what && m.job == job && m.instance == instance);
                if !known {
                    self.mishaps.push_back(Mishap { at: entry.at, what: entry.what, pool, job, instance });
                }
            }
            // GitHub runs the job again, so nobody has to.
            What::JobRerun => self.mishaps.retain(|m| m.what != What::JobLost || m.job != entry.whom.job),
            _ => {}
        }
        while self.mishaps.len() > MOST {
            self.mishaps.pop_front();
        }
    }

    /// Keeps where GitHub has a job that is over.
    pub fn keep(&mut self, place: JobPlace) {
        if self.over.len() == MOST_OVER {
            self.over.pop_front();
        }
        self.over.push_back(place);
    }

    /// Where GitHub has a job that is over. None: nobody knows any more.
    pub fn job(&self, id: JobId) -> Option<&JobPlace> {
        self.over.iter().rev().find(|place| place.job == id)
    }

    /// Forgets what is older than an hour.
    pub fn forget(&mut self, now: Time) {
        while self.mishaps.front().is_some_and(|m| now.since(m.at) >= KEPT) {
            self.mishaps.pop_front();
        }
    }

    /// What happened of this kind within the last hour, oldest first.
    pub fn of(&self, what: What, now: Time) -> impl Iterator<Item = &Mishap> {
        self.mishaps.iter().filter(move |m| m.what == what && now.since(m.at) < KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Whom;
    use crate::reason::EventReason;

    #[test]
    fn a_lost_job_is_kept_for_an_hour_unless_it_runs_again() {
        let mut lately = Lately::default();
        let entry = |seq, at_s: u64, what, job| {
            let whom = Whom { pool: Some("linux".into()), job: Some(JobId(job)), instance: Some("i-1".into()) };
            Entry { seq, at: Time::from_millis(at_s * 1000), what, whom, why: EventReason::Lost }
        };
        for (seq, (at, what, job)) in (1..).zip([
            (0, What::JobLost, 7),
            (1, What::JobLost, 7),
            (2, What::JobLost, 8),
            (3, What::JobCompleted, 8),
            (4, What::JobRerun, 8),
        ]) {
            lately.note(&entry(seq, at, what, job));
        }
        let lost = |at_s: u64| {
            let lost = lately.of(What::JobLost, Time::from_millis(at_s * 1000));
            lost.filter_map(|m| m.job).collect::<Vec<_>>()
        };
        assert_eq!((lost(5), lost(3599), lost(3600), lately.read()), (vec![JobId(7)], vec![JobId(7)], vec![], 5));
        lately.forget(Time::from_millis(3_600_000));
        assert!(lately.mishaps.is_empty());
    }
}
