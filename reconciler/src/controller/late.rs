//! Takes the steps of `startWithin` for jobs that no runner takes in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Controller;
use crate::budget::Api;
use crate::demand::Job;
use crate::effect::{Action, Outcome};
use crate::event::JobState;
use crate::fact::Fact;
use crate::failure::{Failure, FailureKind};
use crate::ids::{JobId, MessageId, Payer, PoolName, RunId};
use crate::journal::{What, Whom};
use crate::late::{NoticeKey, NoticeText, StatusState};
use crate::manifest::{LateAct, LateStep, late_after};
use crate::matching::{self, Route, takes};
use crate::reason::{CallReason, EventReason, HandOver};
use crate::time::{Time, human};

/// The longest description of a commit status, in characters.
/// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>
const DESCRIPTION: usize = 140;

/// For how long GitHub's word that a job is queued is worth the cancellation of its run.
const CONFIRMED: Duration = Duration::from_secs(10);

/// A step that is due for a job.
struct DueStep {
    job: JobId,
    pool: Option<PoolName>,
    step: LateStep,
}

impl Controller {
    /// Takes every step that is due.
    pub(super) fn look_at_late_jobs(&mut self, now: Time) {
        let due = self.late_steps(now);
        if due.is_empty() && self.late.is_empty() {
            return;
        }
        let mut waiting: BTreeMap<NoticeKey, NoticeText> = BTreeMap::new();
        let (mut to_cancel, mut confirmed): (BTreeSet<RunId>, BTreeMap<RunId, JobId>) = Default::default();
        // Jobs of the same labels and repository find the same pools. A look at all pools for each job would be quadratic.
        let mut in_vain = BTreeSet::new();
        for DueStep { job: id, pool, step } in due {
            match step.act {
                LateAct::Tell => self.count_in(&mut waiting, id, pool.as_ref(), step.after.get(), now),
                LateAct::OnDemand => {
                    if self.note_step(id, step, now)
                        && let Some(pool) = &pool
                    {
                        self.mark(pool, now);
                    }
                }
                LateAct::Overflow => {
                    let (Some(pool), Some(job)) = (&pool, self.demand.jobs().get(&id)) else { continue };
                    let kind = (pool.clone(), matching::routed_by(&job.event), job.hold.is_some());
                    // A job above its repository's share would take the share of another pool.
                    if in_vain.contains(&kind) || self.seen().newest_plan(pool).is_some_and(|plan| plan.above_share.contains(&id))
                    {
                        continue;
                    }
                    if self.hand_over_job(pool, id, HandOver::Late, now) {
                        self.facts.push(Fact::LateStep { pool: Some(pool.clone()), act: step.act, taken: true });
                        self.mark(pool, now);
                    } else {
                        in_vain.insert(kind);
                    }
                }
                LateAct::Cancel => {
                    to_cancel.extend(self.demand.jobs().get(&id).map(|job| job.event.run));
                    if let Some(run) = self.may_cancel(id, now) {
                        confirmed.entry(run).or_insert(id);
                    }
                }
            }
        }
        let still = self.still_queued();
        let mut unneeded = self.late.set_waiting(waiting, &still, now);
        let of_cases: BTreeSet<&MessageId> = self.cases.iter().flat_map(|(_, case)| &case.messages).collect();
        unneeded.retain(|id| !of_cases.contains(id));
        self.delete_messages(unneeded, CallReason::LeftQueue, now);
        self.late.set_to_cancel(&to_cancel, now);
        self.cancel_runs(&confirmed, now);
        self.write_notices(now);
    }

    /// The steps that are due.
    fn late_steps(&self, now: Time) -> Vec<DueStep> {
        let (seen, mut due) = (self.seen(), Vec::new());
        let mut look = |id: JobId, job: &Job, pool: Option<&PoolName>, ladder: &[LateStep]| {
            let is_due =
                |step: &LateStep| seen.late_since(job, step.act, now).is_some_and(|since| now.since(since) >= step.after.get());
            let steps = ladder.iter().filter(|step| is_due(step));
            due.extend(steps.map(|step| DueStep { job: id, pool: pool.cloned(), step: *step }));
        };
        for (name, pool) in self.spec.pools.iter().filter(|(_, pool)| !pool.spec.start_within.is_empty()) {
            for (id, job) in self.demand.queued(name) {
                look(id, job, Some(name), &pool.spec.start_within);
            }
        }
        let ladder = &self.spec.controller.spec.start_within;
        if !ladder.is_empty() {
            let unmatched = |job: &Job| matches!(job.route, Route::Unmatched(_)) && job.event.state == JobState::Queued;
            for (&id, job) in self.demand.jobs().iter().filter(|(_, job)| unmatched(job)) {
                look(id, job, None, ladder);
            }
        }
        due
    }

    /// Notes that a step is taken for a job. Returns whether it is news.
    fn note_step(&mut self, id: JobId, step: LateStep, now: Time) -> bool {
        let Some(job) = self.demand.jobs().get(&id).filter(|job| !job.took_step(step.act)) else { return false };
        let because = self.seen().why(job, now).say(now);
        let pool = job.pool().cloned();
        if let Some(job) = self.demand.job_mut(id) {
            job.take_step(step.act);
        }
        let whom = Whom { pool: pool.clone(), job: Some(id), instance: None };
        let why = EventReason::Late { act: step.act, after: step.after.get(), because };
        self.journal.note(now, What::JobLate, whom, why);
        self.facts.push(Fact::LateStep { pool, act: step.act, taken: true });
        true
    }

    /// The keys of all queued jobs whose commits have notices.
    fn still_queued(&self) -> BTreeSet<NoticeKey> {
        let commits = self.late.commits();
        if commits.is_empty() {
            return BTreeSet::new();
        }
        let queued = self.demand.jobs().values().filter(|job| job.event.state == JobState::Queued);
        let told = queued.filter(|job| commits.contains(&(job.event.repo.as_str(), job.event.about.sha.as_str())));
        told.filter_map(|job| self.notice_key(job, job.pool())).collect()
    }

    /// Counts a late job into the notice of its commit and pool. The oldest job comes first, because GitHub numbers jobs.
    fn count_in(
        &self,
        waiting: &mut BTreeMap<NoticeKey, NoticeText>,
        id: JobId,
        pool: Option<&PoolName>,
        after: Duration,
        now: Time,
    ) {
        let Some(job) = self.demand.jobs().get(&id) else { return };
        let Some(key) = self.notice_key(job, pool) else { return };
        if waiting.contains_key(&key) {
            return;
        }
        let why = self.seen().why(job, now);
        let text = short(format!("no runner within {}: {}", human(after), why.say_to_all(now)));
        let (job, since) = ((job.event.run, id), job.first_seen);
        waiting.insert(key, NoticeText { state: StatusState::Pending, gist: why.label(), text, job, since });
    }

    /// The notice of a job's commit and pool. None: GitHub did not tell the commit, or no App has access to the repository.
    fn notice_key(&self, job: &Job, pool: Option<&PoolName>) -> Option<NoticeKey> {
        let (repo, sha) = (job.event.repo.clone(), job.event.about.sha.clone());
        let of_pool = pool.and_then(|pool| self.spec.pools.get(pool)).map(|pool| pool.list_id().app);
        let key = NoticeKey { app: of_pool.or_else(|| self.app_for(job))?, repo, sha, pool: pool.cloned() };
        Some(key).filter(|key| !key.sha.is_empty())
    }

    /// The run of a late job, if it may be cancelled: GitHub has just confirmed that the job is queued, and that it does not hold the
    /// job back. An older answer may be of a job that was cancelled meanwhile, and somebody may have started its run again.
    fn may_cancel(&mut self, id: JobId, now: Time) -> Option<RunId> {
        let job = self.demand.job_mut(id)?;
        if job.hold.is_some() || !self.late.may_ask_to_cancel(job.event.run, now) {
            return None;
        }
        let (run, asked) = (job.event.run, self.late.cancel_asked_at(job.event.run));
        if job.check.answered.is_none_or(|at| now.since(at) >= CONFIRMED || asked.is_some_and(|asked| at <= asked)) {
            job.ask_soon(now);
            return None;
        }
        Some(run)
    }

    fn cancel_runs(&mut self, runs: &BTreeMap<RunId, JobId>, now: Time) {
        for (&run, id) in runs {
            let Some(job) = self.demand.jobs().get(id) else { continue };
            let (Some(app), repo) = (self.app_for(job), job.event.repo.clone()) else { continue };
            if self.budgets.take(&Api::Rerun(self.spec.payer(&app, &repo)), now) {
                self.late.cancel_asked(run, now);
                self.emit(Action::CancelRun { app, repo, run }, CallReason::Late, now);
            }
        }
    }

    fn write_notices(&mut self, now: Time) {
        for (key, text) in self.late.due(now) {
            let payer = self.spec.payer(&key.app, &key.repo);
            if self.budgets.take(&Api::Status(payer), now) {
                self.late.asked(&key, now);
                self.emit(Action::Tell(key, text), CallReason::Late, now);
            }
        }
    }

    /// GitHub took a notice, or not.
    pub(super) fn notice_ended(&mut self, key: &NoticeKey, text: &NoticeText, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Done => {
                self.late.took(key, text.clone(), now);
                let after = self.ladder(key.pool.as_ref()).iter().find(|step| step.act == LateAct::Tell).copied();
                if let Some(step) = after.filter(|_| text.state == StatusState::Pending) {
                    self.note_step(text.job.1, step, now);
                }
            }
            Outcome::Failed(f) => {
                self.throttle(&Api::Status(self.spec.payer(&key.app, &key.repo)), &f, now);
                if self.late.not_taken(key, is_final(f.kind), f.kind.may_have_worked(), now) {
                    self.step_failed(key.pool.clone(), text.job.1, LateAct::Tell, f.message, now);
                }
            }
            other => debug_assert!(false, "a notice can't end in {other:?}"),
        }
    }

    /// GitHub took the order to cancel a run, or not.
    pub(super) fn cancel_ended(&mut self, run: RunId, payer: &Payer, outcome: Outcome, now: Time) {
        let over = matches!(&outcome, Outcome::Failed(f) if matches!(f.kind, FailureKind::Conflict | FailureKind::NotFound));
        let given_up = self.late.cancel_ended(run, matches!(&outcome, Outcome::Done) || is_refused(&outcome), over, now);
        let due = self.late_steps(now).into_iter().filter(|due| due.step.act == LateAct::Cancel);
        let of_run = |due: &DueStep| self.demand.jobs().get(&due.job).is_some_and(|job| job.event.run == run);
        let jobs: Vec<DueStep> = due.filter(of_run).collect();
        match outcome {
            Outcome::Done => {
                for DueStep { job: id, pool, step } in jobs {
                    self.note_step(id, step, now);
                    let Some(job) = self.demand.jobs().get(&id) else { continue };
                    let Some(key) = self.notice_key(job, pool.as_ref()) else { continue };
                    let why = self.seen().why(job, now).say_to_all(now);
                    let text = format!("muster had the run cancelled: no runner within {}: {why}", human(step.after.get()));
                    self.late.cancelled(key, short(text), (run, id), now);
                }
            }
            Outcome::Failed(f) => {
                self.throttle(&Api::Rerun(payer.clone()), &f, now);
                // 409: the run is over.
                if let Some(due) = jobs.into_iter().next().filter(|_| given_up && f.kind != FailureKind::Conflict) {
                    self.step_failed(due.pool, due.job, LateAct::Cancel, f.message, now);
                }
            }
            other => debug_assert!(false, "a cancellation can't end in {other:?}"),
        }
    }

    fn throttle(&mut self, api: &Api, failure: &Failure, now: Time) {
        if failure.kind == FailureKind::Throttled {
            self.budgets.throttled(api, now);
        }
    }

    fn step_failed(&mut self, pool: Option<PoolName>, job: JobId, act: LateAct, message: String, now: Time) {
        let whom = Whom { pool: pool.clone(), job: Some(job), instance: None };
        self.journal.note(now, What::LateStepFailed, whom, EventReason::NotTaken { act, message });
        self.facts.push(Fact::LateStep { pool, act, taken: false });
    }

    fn ladder(&self, pool: Option<&PoolName>) -> &[LateStep] {
        match pool {
            Some(pool) => self.spec.pools.get(pool).map_or(&[], |pool| &pool.spec.start_within),
            None => &self.spec.controller.spec.start_within,
        }
    }

    /// A job has left the queue. An earlier process may have told of the job, if the job waited for long and this process did not see
    /// all of that. Then this process closes the notice.
    ///
    /// Keeps the messages of the job that its open notices need, and leaves the others in `deletable`.
    pub(super) fn close_notices(
        &mut self,
        job: &Job,
        message: Option<(MessageId, u32)>,
        deletable: &mut Vec<MessageId>,
        now: Time,
    ) {
        let event = &job.event;
        // An earlier process had this message and kept it, as for an open notice. That process may have heard of the start late.
        let kept_before = message.is_some_and(|(_, receive_count)| receive_count > 1);
        let heard = event.started_at.filter(|_| !kept_before).unwrap_or(now);
        let unknown = if kept_before { Duration::MAX } else { Duration::ZERO };
        let waited = event.queued_at.map_or(unknown, |queued| heard.since(queued));
        // The earlier process may have known the job in another pool.
        let taking = self.spec.pools.iter().filter(|(_, pool)| takes(pool, event)).map(|(name, _)| Some(name.clone()));
        let tells = |pool: Option<PoolName>| {
            let after = |act| late_after(self.ladder(pool.as_ref()), act);
            // A commit whose run was cancelled is told so until a later attempt of the run starts.
            let again = event.is_rerun() && after(LateAct::Cancel).is_some();
            let long = after(LateAct::Tell)
                .is_some_and(|after| waited >= after && (kept_before || job.redelivered || now.since(job.first_seen) < after));
            let any = after(LateAct::Tell).is_some() || after(LateAct::Cancel).is_some();
            any.then_some((again || long, pool))
        };
        let telling: Vec<(bool, Option<PoolName>)> = taking.chain([None]).filter_map(tells).collect();
        let mut kept = false;
        for (perhaps_told, pool) in telling {
            let Some(key) = self.notice_key(job, pool.as_ref()) else { continue };
            if perhaps_told {
                self.late.perhaps_told(key.clone(), (event.run, event.job), job.first_seen);
            }
            kept |= self.late.keep(&key, deletable);
        }
        if kept {
            deletable.clear();
        }
    }
}

/// Whether the same request would have the same answer.
fn is_final(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Refused | FailureKind::NotFound | FailureKind::Conflict)
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(f) if is_final(f.kind))
}

/// Makes a sentence fit into a commit status.
fn short(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(DESCRIPTION) {
        let cut = text.char_indices().nth(DESCRIPTION - 1).map_or(at, |(at, _)| at);
        text.truncate(cut);
        text.push('…');
    }
    text
}
