//! Running jobs again that went down with their machine: what GitHub is asked for, and when nothing is.
//!
//! GitHub reruns one job with those that depend on it, or all failed and cancelled jobs of a run, and only once the run is over. Either
//! begins a new attempt of the whole run. So a run that has a newer attempt than the lost job is left alone: somebody has run it again,
//! perhaps an earlier muster.
//! <https://docs.github.com/en/rest/actions/workflow-runs#re-run-failed-jobs-from-a-workflow-run>
//!
//! Decision 0025.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::JobId;

/// What GitHub says of a workflow run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSighting {
    /// Whether the newest attempt is over.
    pub over: bool,
    /// The number of the newest attempt: 1 for the first.
    pub attempt: u32,
    /// The jobs of the newest attempt. Empty while it is not over.
    pub jobs: Vec<EndedJob>,
}

/// One job of a run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedJob {
    /// The job.
    pub job: JobId,
    /// The name of the job. The jobs of a matrix are named `NAME (VALUES)`.
    pub name: String,
    /// The conclusion, such as `failure`. None: GitHub tells none.
    pub conclusion: Option<String>,
}

/// What is run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// One job, and the jobs that need it.
    Job(JobId),
    /// All failed and cancelled jobs of the run, and the jobs that need them.
    Failed,
}

/// Why a lost job is not run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum NotAgain {
    /// The run has a newer attempt.
    Newer,
    /// Another lost job of the run was run again. GitHub runs one job again, or all that failed, and some failed by themselves.
    Beside,
    /// Somebody cancelled the run.
    Cancelled,
    /// The job has been run as often as the pool's `rerun.attempts` allows.
    Attempts,
    /// The run was not over within the pool's `rerun.within`.
    Late,
    /// GitHub does not show the run. It was deleted, or the App has no access to it.
    Gone,
    /// GitHub refuses.
    Refused {
        /// What was attempted, and what GitHub said.
        message: String,
    },
}

impl NotAgain {
    /// The word for metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            NotAgain::Newer => "newer_attempt",
            NotAgain::Beside => "beside",
            NotAgain::Cancelled => "cancelled",
            NotAgain::Attempts => "attempts",
            NotAgain::Late => "late",
            NotAgain::Gone => "gone",
            NotAgain::Refused { .. } => "refused",
        }
    }
}

impl EndedJob {
    fn ended(&self, conclusion: &str) -> bool {
        self.conclusion.as_deref() == Some(conclusion)
    }

    fn failed(&self) -> bool {
        self.ended("failure") || self.ended("timed_out")
    }

    /// The matrix that the job belongs to. None: to none.
    fn matrix(&self) -> Option<&str> {
        self.name.split_once(" (").map(|(name, _)| name)
    }
}

/// What to run again of a run that is over. `lost` are its jobs that went down with their machine.
///
/// No job that failed by itself is run again, and nothing of a run that a person cancelled. When a job of a matrix fails, GitHub
/// cancels the others of the matrix (`fail-fast`), so such jobs were cancelled by nobody.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstrategyfail-fast>
pub fn choose(jobs: &[EndedJob], lost: &BTreeSet<JobId>) -> Result<Again, NotAgain> {
    let others = || jobs.iter().filter(|job| !lost.contains(&job.job));
    let fail_fast = |job: &EndedJob| job.matrix().is_some_and(|of| jobs.iter().any(|j| j.failed() && j.matrix() == Some(of)));
    if others().any(|job| job.ended("cancelled") && !fail_fast(job)) {
        return Err(NotAgain::Cancelled);
    }
    if others().any(EndedJob::failed) {
        return lost.first().map(|job| Again::Job(*job)).ok_or(NotAgain::Beside);
    }
    Ok(Again::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs from 10 on belong to one matrix.
    /// Jobs from 10 on belong to one matrix.
    fn chosen(jobs: &[(u64, &str)], lost: &[u64]) -> Result<Again, NotAgain> {
        let name = |job| if job < 10 { format!("job {job}") } else { format!("test ({job})") };
        let ended = |(job, conclusion): &(u64, &str)| EndedJob {
            job: JobId(*job),
            name: name(*job),
            conclusion: Some((*conclusion).to_owned()),
        };
        let jobs: Vec<EndedJob> = jobs.iter().map(ended).collect();
        choose(&jobs, &lost.iter().map(|job| JobId(*job)).collect())
    }

    #[test]
    fn all_that_failed_is_run_again_if_all_of_it_was_lost() {
        assert_eq!(chosen(&[(1, "success"), (2, "failure"), (3, "skipped")], &[2]), Ok(Again::Failed));
        assert_eq!(chosen(&[(1, "cancelled"), (2, "failure")], &[1, 2]), Ok(Again::Failed));
    }

    #[test]
    fn a_job_that_failed_by_itself_is_never_run_again() {
        assert_eq!(chosen(&[(1, "failure"), (2, "failure")], &[2]), Ok(Again::Job(JobId(2))));
        assert_eq!(chosen(&[(1, "timed_out"), (2, "cancelled"), (3, "failure")], &[2, 3]), Ok(Again::Job(JobId(2))));
        assert_eq!(chosen(&[(10, "failure"), (11, "cancelled"), (12, "failure")], &[12]), Ok(Again::Job(JobId(12))));
    }

    #[test]
    fn what_github_cancelled_because_a_lost_job_of_the_matrix_failed_is_run_again_with_it() {
        assert_eq!(chosen(&[(11, "cancelled"), (12, "failure")], &[12]), Ok(Again::Failed));
    }

    #[test]
    fn a_run_that_a_person_cancelled_stays_cancelled() {
        assert_eq!(chosen(&[(1, "cancelled"), (2, "cancelled")], &[2]), Err(NotAgain::Cancelled));
        assert_eq!(chosen(&[(1, "cancelled"), (2, "failure")], &[2]), Err(NotAgain::Cancelled));
        assert_eq!(chosen(&[(10, "cancelled"), (11, "cancelled")], &[11]), Err(NotAgain::Cancelled), "none of the matrix failed");
    }
}
