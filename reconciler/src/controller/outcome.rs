//! What follows from the outcome of each effect, for jobs, runners, budgets and backoff.

use std::sync::Arc;
use std::time::Duration;

use super::{Controller, Flight};
use crate::budget::Api;
use crate::capacity::Beside;
use crate::effect::{Action, Configure, JobSighting, Launch, Launched, MessageOp, Outcome, Source, Swept};
use crate::event::{JobEvent, JobState};
use crate::fact::Fact;
use crate::failure::{Failure, FailureKind};
use crate::ids::{EffectId, InstanceId, JobId, ListId, Payer, PoolName};
use crate::journal::{What, Whom};
use crate::reason::{Backoff, CallReason, EventReason, HoldReason, LaunchFailure, Refused, StepReason};
use crate::runner::DrainOutcome;
use crate::runner::{Act, Runner, Terms};
use crate::stage::Stage;
use crate::time::Time;

/// How long a pool waits after a refused launch: the first and the longest wait. The wait doubles with each failure in a row.
const LAUNCH_BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// How long a pool waits after a refused configuration, before one runner tries again: the first and the longest wait. The wait
/// doubles with each refusal in a row.
const REFUSAL_BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(120));

/// After this many configurations in a row without an answer, GitHub or SSM counts as down for the pool.
const UNANSWERED_IN_A_ROW: u32 = 3;

/// How long a pool waits while GitHub or SSM is down, before one runner tries again: the first and the longest wait. The pool goes
/// on within a minute of the recovery.
const OUTAGE_BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(40));

/// When an extension has failed, the messages are extended again after this time.
const EXTEND_AGAIN: Duration = Duration::from_secs(10);

impl Controller {
    pub(super) fn take_outcome(&mut self, id: EffectId, outcome: Outcome, now: Time) {
        let Some(Flight { effect, began }) = self.flights.remove(&id) else { return };
        match &effect.action {
            Action::Launch(launch) => self.launch_ended(launch, outcome, now),
            Action::Configure(asked) => self.configure_ended(asked, outcome, now),
            Action::Drain(ids) => self.drain_ended(ids, effect.reason.steps(), outcome, now),
            Action::Terminate(ids) => self.terminate_ended(ids, effect.reason.steps(), outcome, now),
            Action::Deregister { list_id, name, .. } => self.deregister_ended(&name.instance, list_id, outcome, (began, now)),
            Action::DeleteSecrets(ids) => {
                for (id, failure) in batch(ids, outcome) {
                    self.runner_answered(&id, failure, now, Runner::secret_deleted);
                }
            }
            Action::CheckJob { app, repo, job } => {
                let payer = self.spec.payer(app, repo);
                if self.cases.get(*job).is_some() {
                    self.steps_told(*job, &payer, outcome, now);
                } else {
                    self.check_ended(*job, &payer, began, outcome, now);
                }
            }
            Action::LookAtRun { app, repo, run } => self.run_told((app.clone(), repo.clone(), *run), outcome, now),
            Action::Rerun { app, repo, run, again } => {
                let payer = self.spec.payer(app, repo);
                self.rerun_ended(*run, again, &payer, outcome, now);
            }
            Action::CancelRun { app, repo, run } => {
                let payer = self.spec.payer(app, repo);
                self.cancel_ended(*run, &payer, outcome, now);
            }
            Action::Tell(key, text) => self.notice_ended(key, text, outcome, now),
            Action::Redeliver { app, delivery } => {
                if let Outcome::Failed(f) = outcome {
                    if f.kind == FailureKind::Throttled {
                        self.budgets.throttled(&Api::Redeliver(Payer::itself(app)), now);
                    }
                    self.deliveries.ask_failed(app, *delivery, f.retry_after, now);
                }
            }
            Action::Sweep(source) => self.sweep_answered(source, began, outcome, now),
            Action::Messages(MessageOp::Extend { .. }, ids) => {
                if matches!(outcome, Outcome::Failed(_)) {
                    // The extension is tried again a few times before SQS shows the messages again, but never at once. SQS
                    // refuses to extend a message for more than 12 hours in all, and refuses again if asked again. Such a message
                    // comes back with a new receipt.
                    for id in ids {
                        self.held.entry(*id).and_modify(|until| *until = now + super::EXTEND_BEFORE + EXTEND_AGAIN);
                    }
                    self.schedule_extension(now);
                }
            }
            // A message that could not be deleted or released comes back by itself, and is handled then.
            Action::Messages(MessageOp::Delete | MessageOp::Release, _) => {}
        }
    }

    fn launch_ended(&mut self, asked: &Launch, outcome: Outcome, now: Time) {
        let intent = &asked.intent;
        let Some(launch) = self.world.pending().get(intent).map(|p| p.launch().clone()) else { return };
        let (pool, count) = (launch.pool.clone(), launch.count);
        self.mark(&pool, now);
        if !matches!(&outcome, Outcome::Launched(answer) if answer.instances.len() >= count as usize) {
            self.note_missing_spot(&launch, now);
        }
        match outcome {
            Outcome::Launched(answer) => {
                let missing = self.world.launch_answered(intent, &answer, now);
                for i in &answer.instances {
                    let why = EventReason::Given { instance_type: i.instance_type.clone(), market: i.market };
                    self.journal.note(now, What::Launched, Whom::runner(&pool, &i.id), why);
                }
                if !answer.instances.is_empty() {
                    let count = u32::try_from(answer.instances.len()).unwrap_or(u32::MAX);
                    self.facts.push(Fact::Launched { pool: pool.clone(), market: launch.market, count });
                    let state = self.pools.entry(pool.clone()).or_default();
                    state.launch_failures = 0;
                    self.pull_in(&Source::Instances, now);
                }
                if missing > 0 {
                    self.launch_fell_short(&launch, &answer, missing, now);
                }
            }
            Outcome::Failed(f) if f.kind.may_have_worked() => {
                self.world.launch_unanswered(intent, now);
                let why = EventReason::Unanswered { count, message: f.message };
                self.journal.note(now, What::LaunchFailed, Whom::pool(&pool), why);
                self.facts.push(Fact::LaunchFailed { pool, reason: LaunchFailure::Call(f.kind), count });
                self.pull_in(&Source::Instances, now);
            }
            Outcome::Failed(f) if f.kind == FailureKind::Conflict => {
                self.world.launch_token_taken(intent, now);
                self.launch_failed(&pool, &f, count, now);
            }
            Outcome::Failed(f) => {
                self.world.launch_refused(intent);
                if f.kind == FailureKind::Throttled {
                    self.budgets.throttled(&Api::CreateFleet, now);
                }
                self.launch_failed(&pool, &f, count, now);
            }
            other => debug_assert!(false, "a launch can't end in {other:?}"),
        }
    }

    /// EC2 launched fewer instances than asked for. The offerings that EC2 refused are left alone for a while. An error that is
    /// not about an offering backs the pool off.
    fn launch_fell_short(&mut self, launch: &Launch, answer: &Launched, missing: u32, now: Time) {
        let pool = &launch.pool;
        let beside = self.unavailable.note(launch, answer, now);
        let reason = LaunchFailure::of(&answer.errors);
        let why = EventReason::FellShort { missing, market: launch.market, why: reason.clone() };
        self.journal.note(now, What::LaunchFailed, Whom::pool(pool), why);
        self.facts.push(Fact::LaunchFailed { pool: pool.clone(), reason, count: missing });
        if beside.throttled.is_some() {
            self.budgets.throttled(&Api::CreateFleet, now);
        }
        let failure = match beside {
            Beside { wrong: Some(e), .. } => Failure::new(FailureKind::Refused, format!("{}: {}", e.code, e.message)),
            Beside { throttled: Some(e), .. } => Failure::new(FailureKind::Throttled, format!("{}: {}", e.code, e.message)),
            Beside { again: Some(e), .. } => Failure::new(FailureKind::Unavailable, format!("{}: {}", e.code, e.message)),
            _ if answer.errors.is_empty() => {
                let message = format!("EC2 launched {missing} fewer than asked for and gave no reason");
                Failure::new(FailureKind::Refused, message)
            }
            _ => return,
        };
        self.back_off_pool(pool, &failure, now);
    }

    fn launch_failed(&mut self, pool: &PoolName, f: &Failure, count: u32, now: Time) {
        self.facts.push(Fact::LaunchFailed { pool: pool.clone(), reason: LaunchFailure::Call(f.kind), count });
        let told = EventReason::NotLaunched { count, message: f.message.clone() };
        self.journal.note(now, What::LaunchFailed, Whom::pool(pool), told);
        self.back_off_pool(pool, f, now);
    }

    fn back_off_pool(&mut self, pool: &PoolName, f: &Failure, now: Time) {
        let state = self.pools.entry(pool.clone()).or_default();
        let soon = matches!(f.kind, FailureKind::Throttled | FailureKind::Unavailable);
        let first = if soon { Duration::from_secs(1) } else { LAUNCH_BACKOFF.0 };
        let wait =
            first.saturating_mul(1 << state.launch_failures.min(6)).min(LAUNCH_BACKOFF.1).max(f.retry_after.unwrap_or_default());
        state.launch_failures += 1;
        // A throttled call says nothing against the refusal before it.
        if state.launch_backoff.as_ref().is_none_or(|(until, _)| *until <= now + wait) {
            state.launch_backoff = Some((now + wait, Backoff::LaunchFailed(Refused::from(f))));
        }
        self.again(pool, now + wait);
    }

    /// Decision 0010, row 36.
    fn configure_ended(&mut self, asked: &Configure, outcome: Outcome, now: Time) {
        let (instance, list_id) = (&asked.name.instance, &asked.list_id);
        let Some(r) = self.world.runner_mut(instance) else { return };
        let pool = r.pool().clone();
        match outcome {
            Outcome::Configured { runner } => {
                r.effect_succeeded();
                self.world.configured(instance, &Arc::new(Terms::of(asked)), runner, now);
                let deadline = self.spec.boot_deadline(&pool);
                let state = self.pools.entry(pool.clone()).or_default();
                if state.refused.take().is_some() {
                    state.left_behind_until = now + deadline;
                }
                (state.unanswered, state.refusals) = (0, 0);
                self.pull_in(&Source::Runners(list_id.clone()), now);
            }
            Outcome::Failed(ref f) | Outcome::NotHandedOver(ref f) => {
                let f = f.clone();
                // Nobody knows whether a configuration was minted, or it was minted and not handed over. The next try replaces
                // what this one left.
                let unsure = f.kind == FailureKind::Conflict || f.kind.may_have_worked();
                let minted = matches!(outcome, Outcome::NotHandedOver(_));
                if unsure || minted {
                    r.configuration_unsure();
                }
                let why = EventReason::NotConfigured { message: f.message.clone() };
                self.journal.note(now, What::Failed, Whom::runner(&pool, instance), why);
                // An instance that is gone, or that nobody can configure, needs no special care here. The next sweep finds the
                // first, and the boot deadline the second.
                let why = Refused::from(&f);
                let at = r.effect_failed(f.message, f.retry_after.filter(|_| minted), now);
                let at = match f.kind {
                    FailureKind::Refused | FailureKind::NotFound => at.max(self.refused(&pool, why, REFUSAL_BACKOFF, now)),
                    kind if kind.may_have_worked() => at.max(self.configuration_unanswered(&pool, why, now)),
                    _ => at,
                };
                if f.kind == FailureKind::Throttled {
                    let api = if minted { Api::SsmPut } else { Api::Jit(list_id.payer()) };
                    self.budgets.throttled(&api, now);
                }
                self.hurry(&Source::Runners(list_id.clone()), now);
                self.again(&pool, at);
            }
            other => {
                r.effect_over();
                debug_assert!(false, "a configuration can't end in {other:?}");
            }
        }
        self.mark(&pool, now);
    }

    /// GitHub or SSM refuses to let a runner of this pool be configured, and would refuse any other one. Returns when the next
    /// runner may try.
    fn refused(&mut self, pool: &PoolName, why: Refused, backoff: (Duration, Duration), now: Time) -> Time {
        let state = self.pools.entry(pool.clone()).or_default();
        // Several runners may hear the refusal at once. That counts as one refusal.
        if state.refused.as_ref().is_none_or(|(until, _)| *until <= now) {
            let wait = backoff.0.saturating_mul(1 << state.refusals.min(6)).min(backoff.1);
            state.refusals += 1;
            state.refused = Some((now + wait, why));
        }
        state.refused.as_ref().map_or(now, |(until, _)| *until)
    }

    /// GitHub or SSM is down. One failure is chance. After some in a row, the pool goes on with one runner at a time, as after a
    /// refusal. Returns when the next runner may try.
    fn configuration_unanswered(&mut self, pool: &PoolName, why: Refused, now: Time) -> Time {
        let state = self.pools.entry(pool.clone()).or_default();
        state.unanswered += 1;
        if state.unanswered < UNANSWERED_IN_A_ROW { now } else { self.refused(pool, why, OUTAGE_BACKOFF, now) }
    }

    /// Decision 0010, row 34.
    fn drain_ended(&mut self, ids: &[InstanceId], whys: &[StepReason], outcome: Outcome, now: Time) {
        if matches!(&outcome, Outcome::Failed(f) if f.kind == FailureKind::Throttled) {
            self.budgets.throttled(&Api::CreateTags, now);
        }
        for ((id, failure), why) in batch(ids, outcome).into_iter().zip(whys) {
            if let Some(pool) = self.world.runners().get(&id).map(|r| r.pool().clone()) {
                let outcome = if failure.is_some() { DrainOutcome::Failed } else { DrainOutcome::Asked };
                self.facts.push(Fact::Drain { pool: pool.clone(), outcome });
                if failure.is_none() {
                    self.facts.push(Fact::Stepped { pool, act: Act::Drain, reason: why.clone() });
                }
            }
            if failure.is_none() {
                self.note_boot_failure(&id, why, now);
            }
            self.asked_to_end(&id, why, failure, now, |r| r.drain_accepted(why, now));
        }
    }

    fn terminate_ended(&mut self, ids: &[InstanceId], whys: &[StepReason], outcome: Outcome, now: Time) {
        if matches!(&outcome, Outcome::Failed(f) if f.kind == FailureKind::Throttled) {
            self.budgets.throttled(&Api::Terminate, now);
        }
        for ((id, failure), why) in batch(ids, outcome).into_iter().zip(whys) {
            if let Some(r) = self.world.runners().get(&id).filter(|_| failure.is_none()) {
                self.facts.push(Fact::Stepped { pool: r.pool().clone(), act: Act::Terminate, reason: why.clone() });
            }
            self.asked_to_end(&id, why, failure, now, |r| r.termination_accepted(now));
        }
        self.pull_in(&Source::Instances, now);
    }

    /// Takes in one runner's share of the outcome of a drain or a termination.
    ///
    /// Decision 0010, row 31.
    fn asked_to_end(
        &mut self,
        id: &InstanceId,
        why: &StepReason,
        failure: Option<Failure>,
        now: Time,
        done: impl FnOnce(&mut Runner),
    ) {
        let unsure = failure.as_ref().is_some_and(|f| f.kind.may_have_worked());
        if let Some(r) = self.world.runner_mut(id).filter(|_| unsure) {
            r.ask_unanswered(why, now);
        }
        self.runner_answered(id, failure, now, done);
    }

    fn deregister_ended(&mut self, instance: &InstanceId, list_id: &ListId, outcome: Outcome, (began, now): (Time, Time)) {
        let failure = match outcome {
            // The wait that GitHub asks for belongs to the installation's budget, and not to this runner.
            Outcome::Failed(f) => Some(Failure { retry_after: None, ..f }),
            _ => None,
        };
        let worked = failure.as_ref().is_none_or(|f| f.kind.may_have_worked());
        if let Some(r) = self.world.runner_mut(instance).filter(|_| worked) {
            r.perhaps_deregistered(began);
        }
        if failure.as_ref().is_some_and(|f| f.kind == FailureKind::Conflict)
            && let Some(r) = self.world.runners().get(instance).filter(|r| r.drain().is_some())
        {
            self.facts.push(Fact::Drain { pool: r.pool().clone(), outcome: DrainOutcome::Refused });
        }
        if failure.is_some() {
            // GitHub may have refused because the runner is busy. The list is swept again before anything else is concluded.
            self.hurry(&Source::Runners(list_id.clone()), now);
        }
        self.runner_answered(instance, failure, now, Runner::deregistered);
    }

    /// Takes in one runner's share of the outcome of an effect. `done` is called if the effect succeeded.
    fn runner_answered(&mut self, id: &InstanceId, failure: Option<Failure>, now: Time, done: impl FnOnce(&mut Runner)) {
        let Some(r) = self.world.runner_mut(id) else { return };
        let pool = r.pool().clone();
        match failure {
            None => {
                r.effect_succeeded();
                done(r);
            }
            Some(f) => {
                self.journal.note(
                    now,
                    What::Failed,
                    Whom::runner(&pool, id),
                    EventReason::CallFailed { message: f.message.clone() },
                );
                let at = r.effect_failed(f.message, f.retry_after, now);
                self.again(&pool, at);
            }
        }
        self.mark(&pool, now);
    }

    fn check_ended(&mut self, id: JobId, payer: &Payer, began: Time, outcome: Outcome, now: Time) {
        let Some(job) = self.demand.job_mut(id) else { return };
        let (news, waited) = (job.answered(matches!(outcome, Outcome::Job(_)), began, now), job.waits());
        let known = job.event.clone();
        let pool = job.pool().cloned();
        match outcome {
            Outcome::Job(JobSighting { state, run, attempt, runner, runner_id, conclusion, .. }) => match state {
                Some(JobState::Queued) if news => self.demand.say_queued(id, now),
                None if news => {
                    if !waited {
                        let whom = Whom { pool: pool.clone(), job: Some(id), instance: None };
                        self.journal.note(now, What::JobHeld, whom, EventReason::Held { why: HoldReason::Waiting });
                    }
                    self.demand.say_waiting(id, now);
                }
                Some(JobState::Queued) | None => {}
                Some(state) => {
                    self.fold_answer(JobEvent { state, run, attempt: Some(attempt), runner, runner_id, conclusion, ..known }, now)
                }
            },
            // NotFound is no answer, because the App may have no access to the repository. A job that is gone is put on hold, or
            // expires.
            Outcome::Failed(f) => {
                if f.kind == FailureKind::Throttled {
                    self.budgets.throttled(&Api::Background(payer.clone()), now);
                }
            }
            other => debug_assert!(false, "a check can't end in {other:?}"),
        }
        if let Some(pool) = pool {
            self.mark(&pool, now);
        }
    }

    fn fold_answer(&mut self, event: JobEvent, now: Time) {
        let folded = self.fold(&event, None, now);
        self.delete_messages(folded.deletable, CallReason::LeftQueueSaysGitHub, now);
    }

    fn sweep_answered(&mut self, source: &Source, began: Time, outcome: Outcome, now: Time) {
        let retry = match outcome {
            Outcome::Swept(swept) => {
                match (source, swept) {
                    (_, Swept::Instances(seen)) => self.world.saw_instances(&seen, began, now),
                    (Source::Runners(list_id), Swept::Runners(seen)) => {
                        for (instance, id) in self.world.saw_runners(list_id, seen.as_deref(), began, now) {
                            let pool = self.world.runners().get(&instance).map(|r| r.pool().clone()).unwrap_or_default();
                            let taken = EventReason::NameTaken { id: Some(id) };
                            self.journal.note(now, What::NameTaken, Whom::runner(&pool, &instance), taken);
                        }
                    }
                    (_, Swept::Secrets(seen)) => self.world.saw_secrets(&seen, began, now),
                    (Source::Deliveries(app), Swept::Deliveries(seen)) => {
                        self.deliveries.saw(app, &seen, now);
                        self.world.saw_deliveries(app, began);
                    }
                    (source, other) => debug_assert!(false, "a sweep of {source:?} can't end in {other:?}"),
                }
                None
            }
            Outcome::Failed(f) => {
                self.world.sweep_failed(source.clone(), f.message);
                Some(f.retry_after.unwrap_or_default())
            }
            other => {
                debug_assert!(false, "a sweep can't end in {other:?}");
                Some(Duration::ZERO)
            }
        };
        self.sweep_ended(source, began, retry, now);
        // The sweep may have found a runner whose list no pool uses any more.
        if *source == Source::Instances {
            self.order_sweeps_of_lists(now);
        }
        if retry.is_none() {
            self.mark_all(now);
        }
    }

    /// A runner that came online proves that the pool's instances can start. It proves nothing about launches.
    ///
    /// Decision 0010, row 41.
    pub(super) fn note_successes(&mut self) {
        let online: Vec<PoolName> = self
            .world
            .facts()
            .iter()
            .filter_map(|f| match f {
                Fact::RunnerReached { pool, stage: Stage::Online, .. } => Some(pool.clone()),
                _ => None,
            })
            .collect();
        for pool in online {
            if let Some(state) = self.pools.get_mut(&pool).filter(|s| s.boot_failures > 0) {
                (state.boot_failures, state.boot_backoff) = (0, None);
            }
        }
    }
}

/// Each member of a batch with its failure, in the order of `ids`. None: it was done.
fn batch(ids: &[InstanceId], outcome: Outcome) -> Vec<(InstanceId, Option<Failure>)> {
    match outcome {
        Outcome::Failed(f) => ids.iter().map(|id| (id.clone(), Some(f.clone()))).collect(),
        Outcome::Batch { failed, .. } => {
            let failed: std::collections::BTreeMap<_, _> = failed.into_iter().collect();
            ids.iter().map(|id| (id.clone(), failed.get(id).cloned())).collect()
        }
        _ => ids.iter().map(|id| (id.clone(), None)).collect(),
    }
}
