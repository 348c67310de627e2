//! JobVerdict: muster blames a machine only where the machine was at fault, and runs nothing again that failed by itself.

use muster_reconciler::ids::{JobId, RunId};
use muster_reconciler::time::Time;
use muster_reconciler::verdict::JobVerdict;

use super::{Invariant, Oracle, Truth};
use crate::job_end::JobEnd;

impl Oracle {
    /// The process says what ended a job.
    pub(super) fn judge_verdict(&mut self, job: JobId, verdict: JobVerdict, truth: Truth<'_>) {
        let end = truth.github.jobs().get(&job).and_then(|job| job.end);
        let wrong = match verdict {
            JobVerdict::Infrastructure(_) => end != Some(JobEnd::CutShort),
            JobVerdict::Own => end == Some(JobEnd::CutShort) && !self.untold.contains(&job),
            JobVerdict::Unknown(_) => false,
        };
        if verdict == JobVerdict::Own && self.untold.contains(&job) {
            self.verdicts.untold += 1;
        } else {
            self.verdicts.note(verdict, end);
        }
        if wrong {
            self.blame(Invariant::Verdict, truth.now(), format!("job {job} ended by {end:?}, and the verdict is: {verdict}"));
        }
    }

    /// The machine of a job failed under it, and nobody was told so. The verdict `own` says that it may be wrong there.
    pub(crate) fn excuse_verdict(&mut self, job: JobId) {
        self.untold.insert(job);
    }

    /// GitHub ran these jobs of a run again, by muster's order.
    pub(crate) fn judge_rerun(&mut self, run: RunId, ends: &[(JobId, JobEnd)], now: Time) {
        self.verdicts.reruns += 1;
        for (job, end) in ends.iter().filter(|(_, end)| *end != JobEnd::CutShort) {
            self.blame(Invariant::Verdict, now, format!("job {job} of run {run} ended by {end:?}, and was run again"));
        }
    }
}

/// How many verdicts there were, and whether they were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Jobs that went down with their machine, and are said to have.
    pub lost: u64,
    /// Jobs that went down with their machine, of which muster cannot tell what ended them.
    pub lost_unknown: u64,
    /// Jobs that ended by themselves or were cancelled, and are said to have.
    pub own: u64,
    /// Jobs that ended by themselves or were cancelled, of which muster cannot tell what ended them.
    pub own_unknown: u64,
    /// Jobs whose machine failed under them and told nobody, that are said to have failed by themselves.
    pub untold: u64,
    /// Orders to run jobs again that GitHub took.
    pub reruns: u64,
    /// Questions to GitHub for the steps of a job that was over.
    pub asked: u64,
}

impl Verdicts {
    /// Adds those of another run.
    pub fn add(&mut self, other: Verdicts) {
        self.lost += other.lost;
        self.lost_unknown += other.lost_unknown;
        self.own += other.own;
        self.own_unknown += other.own_unknown;
        self.untold += other.untold;
        self.reruns += other.reruns;
        self.asked += other.asked;
    }

    fn note(&mut self, verdict: JobVerdict, end: Option<JobEnd>) {
        let count = match (verdict, end) {
            (JobVerdict::Unknown(_), Some(JobEnd::CutShort)) => &mut self.lost_unknown,
            (JobVerdict::Unknown(_), _) => &mut self.own_unknown,
            (_, Some(JobEnd::CutShort)) => &mut self.lost,
            _ => &mut self.own,
        };
        *count += 1;
    }
}
