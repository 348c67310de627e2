//! Lines of a planted fleet, for tests.

use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{JobId, RunId};
use muster_reconciler::time::Time;

/// So many seconds after a Monday.
pub(super) fn at(seconds: u64) -> Time {
    Time::from_millis(1_780_272_000_000 + seconds * 1000)
}

/// An event of a job that was queued then.
pub(super) fn event(job: u64, state: JobState, queued: u64) -> JobEvent {
    JobEvent {
        job: JobId(job),
        run: RunId(job),
        state,
        waiting: false,
        attempt: Some(1),
        repo: "acme/app".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: vec!["self-hosted".into(), "linux".into()],
        runner: None,
        runner_id: None,
        conclusion: None,
        queued_at: Some(at(queued)),
        started_at: None,
        about: JobAbout::default(),
    }
}
