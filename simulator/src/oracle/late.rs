//! Late: muster cancels no run whose jobs GitHub itself keeps waiting, and leaves no notice open of jobs that wait no more.

use std::time::Duration;

use muster_reconciler::demand::Job;
use muster_reconciler::event::JobState;
use muster_reconciler::ids::RunId;
use muster_reconciler::late::{NoticeKey, NoticeText, StatusState};
use muster_reconciler::manifest::{LateAct, late_after};
use muster_reconciler::reason::JobReason;
use muster_reconciler::time::human;

use super::harm::UNANSWERED;
use super::{Invariant, Oracle, Truth};
use crate::faults::Fault;
use crate::github::{TrueHold, commit_of, in_scope};

/// How long an order to cancel a run may be under way. The job may begin meanwhile.
const UNDER_WAY: Duration = Duration::from_secs(180);

impl Oracle {
    /// GitHub cancels a run, by muster's order.
    pub(crate) fn judge_cancellation(&mut self, run: RunId, truth: Truth<'_>) {
        let now = truth.now();
        let late = truth.github.jobs().values().filter(|job| job.run == run).any(|job| {
            let began = job.started_at.is_some_and(|at| now.since(at) < UNDER_WAY);
            let waited = now.since(job.unsaid_since);
            let of_pools = truth.spec.pools.values().map(|pool| &pool.spec.start_within);
            let ladders = of_pools.chain([&truth.spec.controller.spec.start_within]);
            let long = ladders
                .filter_map(|ladder| late_after(ladder, LateAct::Cancel))
                .min()
                .is_some_and(|after| waited + UNDER_WAY >= after);
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

/// How long muster may take to tell a commit of a late job, when GitHub answers.
const TELLS: Duration = Duration::from_secs(60);
/// How long each other commit may take that is told first: the budget for statuses.
const TELLS_EACH: Duration = Duration::from_secs(10);
/// How soon after a sentence the next one may say something else of the same jobs.
const REWRITE: Duration = Duration::from_secs(300);

impl Oracle {
    /// A job that no pool takes, or whose pool GitHub does not serve, is told on its commit once it has waited for long.
    pub(super) fn look_at_untold_jobs(&mut self, truth: Truth<'_>) {
        let (now, Some(controller)) = (truth.now(), truth.controller) else { return };
        if hindered(truth) {
            return;
        }
        let mut wrong = Vec::new();
        let takes = TELLS + TELLS_EACH * u32::try_from(truth.github.statuses.len()).unwrap_or(u32::MAX);
        for (id, job) in truth.github.unfinished().filter(|(_, job)| job.state == JobState::Queued && job.hold == TrueHold::No) {
            let Some(known) = controller.view().demand.jobs().get(&id) else { continue };
            let (ladder, since) = match controller.seen().why(known, now) {
                JobReason::Unmatched(_) => (Some(&truth.spec.controller.spec.start_within), known.first_seen),
                JobReason::NotServed { pool, why, .. } => {
                    (truth.spec.pools.get(&pool).map(|pool| &pool.spec.start_within), known.first_seen.max(why.since))
                }
                _ => continue,
            };
            let Some(after) = ladder.and_then(|ladder| late_after(ladder, LateAct::Tell)) else { continue };
            let covered = truth.spec.pools.values().any(|pool| in_scope(&pool.spec.github.scope, &job.plan.repo));
            let told = truth.github.statuses.iter().any(|(key, state)| {
                *state == StatusState::Pending
                    && key.repo == job.plan.repo
                    && key.sha == commit_of(job.run)
                    && key.pool.as_ref() == known.pool()
            });
            // A change of the manifests may have left the job without its pool. And nobody is told of a job that GitHub holds, or may
            // hold until it has said otherwise.
            let since = since.max(self.spec_changed).max(job.free_since).max(known.sure);
            if covered && !told && known.hold.is_none() && known.doubt.is_none() && now.since(since) >= after + takes {
                wrong.push(format!("job {id} waits for {}, and its commit does not say so", human(now.since(since))));
            }
        }
        for what in wrong {
            self.blame(Invariant::Late, now, what);
        }
    }

    /// A commit is told that jobs wait. It was not told so by the same process a moment ago.
    fn judge_once(&mut self, key: &NoticeKey, text: &NoticeText, process: u32, truth: Truth<'_>) {
        let now = truth.now();
        // The word of a process that died may arrive once the next one has started.
        let before = self.told.insert((process, key.clone()), (text.state, now));
        let Some((StatusState::Pending, at)) = before else { return };
        if text.state == StatusState::Pending && now.since(at) < REWRITE && !hindered(truth) {
            let what = format!("commit {} is told again that jobs wait, after {}: {}", key.sha, human(now.since(at)), text.text);
            self.blame(Invariant::Late, now, what);
        }
    }

    /// A commit is told this.
    pub(crate) fn judge_notice(&mut self, key: &NoticeKey, text: &NoticeText, process: u32, truth: Truth<'_>) {
        self.judge_once(key, text, process, truth);
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

/// Whether GitHub may not have taken a word, or not have answered.
fn hindered(truth: Truth<'_>) -> bool {
    UNANSWERED.iter().chain(&[Fault::AppErrors, Fault::Stopped]).any(|fault| truth.nature.luck.count(*fault) > 0)
}

impl Truth<'_> {
    /// The commits that say that jobs wait, although none does.
    pub(super) fn stale_notices(&self) -> Vec<String> {
        let open = self.github.statuses.iter().filter(|(_, state)| **state == StatusState::Pending);
        let stale = open.filter(|(key, _)| {
            // After a restart, nobody knows of notices of a pool that is gone, tells no more, or has another scope. Nor does anybody who
            // was told of a job that a pool takes by now.
            let pool = key.pool.as_ref().and_then(|pool| self.spec.pools.get(pool));
            let pool = pool.filter(|pool| in_scope(&pool.spec.github.scope, &key.repo));
            let ladder = match &key.pool {
                Some(_) => pool.map(|pool| &pool.spec.start_within),
                None => Some(&self.spec.controller.spec.start_within),
            };
            let tells = ladder.is_some_and(|ladder| late_after(ladder, LateAct::Tell).is_some());
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
