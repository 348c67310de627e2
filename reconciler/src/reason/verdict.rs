//! What ended a job that did not succeed, and whether it runs again: in words.

use std::fmt;

use crate::cases::{Case, CaseState};
use crate::rerun::{Again, NotAgain};
use crate::time::{Time, human};
use crate::verdict::{Doubtful, JobVerdict};

impl fmt::Display for JobVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobVerdict::Infrastructure(cause) => write!(f, "{}, and the job's steps show that it was cut short", cause.said()),
            JobVerdict::Own => f.write_str("the job failed by itself or was cancelled; nothing speaks against its machine"),
            JobVerdict::Unknown(Doubtful::Steps(cause)) => {
                write!(f, "unknown: {}, but the job's steps do not show that it was cut short", cause.said())
            }
            JobVerdict::Unknown(Doubtful::Untold(cause)) => {
                write!(f, "unknown: {}, but GitHub did not tell the job's steps", cause.said())
            }
            JobVerdict::Unknown(Doubtful::Machine) => f.write_str("unknown: nobody told what became of its machine"),
        }
    }
}

impl Case {
    /// What muster waits for before it says what ended the job, or before the job runs again.
    pub fn say(&self, now: Time) -> String {
        match self.state {
            CaseState::Watched => {
                format!("muster waits for what becomes of instance {}, to learn what ended the job", self.instance)
            }
            CaseState::Suspected(cause) => format!("{}; GitHub is asked how the job's steps ended", cause.said()),
            CaseState::Lost { cause, until, .. } if self.inquiry.is_open() || until <= now => {
                format!("lost: {}; GitHub is being asked about its run", cause.said())
            }
            CaseState::Lost { cause, until, .. } => format!(
                "lost: {}; the job runs again once GitHub says that the whole run is over, and {} is left for that",
                cause.said(),
                human(until.since(now))
            ),
        }
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Again::Job(job) => write!(f, "job {job} and what needs it"),
            Again::Failed => f.write_str("all failed and cancelled jobs of the run"),
        }
    }
}

impl fmt::Display for NotAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAgain::Newer => f.write_str("its run has a newer attempt already"),
            NotAgain::Beside => f.write_str(
                "some jobs of the run failed by themselves, so GitHub can run one lost job again but not two, and it runs another one now; \
                 that is a new attempt of the run, and muster leaves a run with a newer attempt alone, so that nothing runs twice; run \
                 this one again by hand",
            ),
            NotAgain::Cancelled => f.write_str("somebody cancelled the run"),
            NotAgain::Attempts => f.write_str("its run has had as many attempts as the pool's rerun.attempts follows up"),
            NotAgain::Late => f.write_str("its run was not over within the pool's rerun.within"),
            NotAgain::Gone => f.write_str("GitHub shows no such run: it was deleted, or the App has no access to it"),
            NotAgain::Refused { message } => f.write_str(message),
        }
    }
}
