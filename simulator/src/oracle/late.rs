//! Late: muster cancels no run whose jobs GitHub itself keeps waiting, and leaves no notice open of jobs that wait no more.

use std::time::Duration;

use muster_reconciler::demand::Job;
use muster_reconciler::event::JobState;
use muster_reconciler::ids::RunId;
use muster_reconciler::late::{NoticeKey, NoticeText, StatusState};
use muster_reconciler::manifest::{LateAct, late_after};
use muster_reconciler::time::human;

use super::{Invariant, Oracle, Truth};
use crate::github::{commit_of, in_scope};

/// How long an order to cancel a run may be under way. The job may begin meanwhile.
const UNDER_WAY: Duration = Duration::from_secs(180);

impl Oracle {
    /// GitHub cancels a run, by muster's order.
    pub(crate) fn judge_cancellation(&mut self, run: RunId, truth: Truth<'_>) {
        let now = truth.now();
        let late = truth.github.jobs().values().filter(|job| job.run == run).any(|job| {
            let began = job.started_at.is_some_and(|at| now.since(at) < UNDER_WAY);
            let waited = now.since(job.unsaid_since);
            let ladders = truth.spec.pools.values().filter_map(|pool| late_after(&pool.spec.start_within, LateAct::Cancel));
            let long = ladders.min().is_some_and(|after| waited + UNDER_WAY >= after);
            (job.state == JobState::Queued && !job.waits() || began) && long
        });
        if !late {
            let of_run = truth.github.jobs().iter().filter(|(_, job)| job.run == run);
            let jobs: Vec<String> = of_run
                .map(|(id, job)| {
                    format!("{id} {:?} {:?}, not said to wait since {}", job.state, job.hold, human(now.since(job.unsaid_since)))
                })
                .collect();
            self.blame(
                Invariant::Late,
                now,
                format!("run {run} is cancelled, and no job waited for a runner for long: {}", jobs.join("; ")),
            );
        }
    }
}

impl Oracle {
    /// A commit is told this.
    pub(crate) fn judge_notice(&mut self, key: &NoticeKey, text: &NoticeText, truth: Truth<'_>) {
        let (now, Some(controller)) = (truth.now(), truth.controller) else { return };
        if text.state != StatusState::Success {
            return;
        }
        let of_notice =
            |job: &&Job| job.event.repo == key.repo && job.event.about.sha == key.sha && job.pool() == key.pool.as_ref();
        let queued = |job: &&Job| job.event.state == JobState::Queued && now.since(job.since) >= UNDER_WAY;
        let waits = controller.view().demand.jobs().values().filter(of_notice).find(queued);
        if let Some(job) = waits {
            let what = format!("commit {} is told that no job waits, and muster knows that job {} does", key.sha, job.event.job);
            self.blame(Invariant::Late, now, what);
        }
    }
}

impl Truth<'_> {
    /// The commits that say that jobs wait, although none does.
    pub(super) fn stale_notices(&self) -> Vec<String> {
        let open = self.github.statuses.iter().filter(|(_, state)| **state == StatusState::Pending);
        let stale = open.filter(|(key, _)| {
            // After a restart, nobody knows of notices of a pool that is gone, tells no more, or has another scope.
            let pool = key.pool.as_ref().and_then(|pool| self.spec.pools.get(pool));
            let pool = pool.filter(|pool| in_scope(&pool.spec.github.scope, &key.repo));
            let tells = pool.is_some_and(|pool| late_after(&pool.spec.start_within, LateAct::Tell).is_some());
            let waits = self.github.unfinished().any(|(_, job)| job.state == JobState::Queued && commit_of(job.run) == key.sha);
            tells && !waits
        });
        stale
            .map(|(key, _)| {
                format!("commit {} of {} says that jobs wait for pool {:?}, and none does", key.sha, key.repo, key.pool)
            })
            .collect()
    }
}
