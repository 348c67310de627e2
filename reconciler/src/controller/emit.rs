//! Turns plans into effects, within the budgets. Steps of all pools go out together, and each effect is noted as under way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Controller, EXTEND_BEFORE, FELLOWS, Flight, VISIBILITY_S};
use crate::budget::Api;
use crate::demand::Job;
use crate::effect::{Action, Configure, Effect, Launch, MessageOp, Source};
use crate::event::JobState;
use crate::fact::Fact;
use crate::ids::{AppName, EffectId, InstanceId, Intent, JobId, MessageId, Payer, PoolName, RunnerName};
use crate::journal::{What, Whom};
use crate::manifest::RunnerPool;
use crate::matching;
use crate::plan::{Plan, PlannedLaunch, Step};
use crate::reason::{Backoff, Blocked, BootFailure, CallReason, EventReason, LaunchReason, Reason, StepReason};
use crate::runner::{Act, Configured, Phase, Registration, Runner, Tried};
use crate::time::Time;
use crate::world::{Named, Stillborn};

/// GitHub is asked about a job this long after muster first heard of it, because a boot should take less. Each further question
/// waits twice as long, up to [`CHECK_LONGEST`].
const CHECK_AFTER: Duration = Duration::from_secs(120);
const CHECK_LONGEST: Duration = Duration::from_secs(1800);

/// The steps of all pools that are planned now. Each kind goes out as one call.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The pools take turns at configurations, so each goes out as a call of its own.
    configure: Vec<(PoolName, Step)>,
    drain: Vec<(InstanceId, StepReason)>,
    terminate: Vec<(InstanceId, StepReason)>,
    secrets: Vec<InstanceId>,
}

impl Controller {
    pub(super) fn emit(&mut self, action: Action, reason: impl Into<Reason>, now: Time) {
        self.effects += 1;
        let effect = Effect { id: EffectId(self.effects), action, reason: reason.into() };
        self.flights.insert(effect.id, Flight { effect: effect.clone(), began: now });
        self.out.push(effect);
    }

    /// Turns one pool's plan into effects, as far as the budgets admit calls. When a budget is spent, the pool is planned again
    /// once the budget admits the call.
    pub(super) fn act(&mut self, plan: &Plan, batch: &mut Batch, now: Time) {
        for step in &plan.steps {
            match step.act {
                Act::Configure => batch.configure.push((plan.pool.clone(), step.clone())),
                Act::Deregister => self.deregister(&plan.pool, step, now),
                Act::Drain => batch.drain.push((step.instance.clone(), step.reason.clone())),
                Act::Terminate => batch.terminate.push((step.instance.clone(), step.reason.clone())),
                Act::DeleteSecret => batch.secrets.push(step.instance.clone()),
            }
            let in_flight = matches!(step.act, Act::Drain | Act::Terminate | Act::DeleteSecret);
            if let Some(r) = self.world.runner_mut(&step.instance).filter(|_| in_flight) {
                r.effect_begins(step.act);
            }
        }
        let fellows = self.launches.last(&plan.pool) + FELLOWS;
        match &plan.launch {
            Some(_) if plan.blocked.is_some() && now < fellows => self.again(&plan.pool, fellows),
            Some(launch) => self.launch(plan, launch, now),
            None => {}
        }
        // No event says that another pool's instance has made room.
        if plan.blocked == Some(Blocked::Pace) {
            self.again(&plan.pool, now + FELLOWS);
        }
    }

    /// Sends each kind of step as one call. When a budget is spent, the steps of that kind are dropped and their pools are
    /// planned again.
    pub(super) fn flush(&mut self, batch: Batch, now: Time) {
        self.configure_in_turns(batch.configure, now);
        let reasons = |steps: &[(InstanceId, StepReason)]| Reason::Steps(steps.iter().map(|(_, why)| why.clone()).collect());
        if !batch.drain.is_empty() && self.afford(Api::CreateTags, batch.drain.iter().map(|(id, _)| id), now) {
            let (ids, why) = (batch.drain.iter().map(|(id, _)| id.clone()).collect(), reasons(&batch.drain));
            self.note_steps(What::Drain, &batch.drain, now);
            self.emit(Action::Drain(ids), why, now);
        }
        if !batch.terminate.is_empty() && self.afford(Api::Terminate, batch.terminate.iter().map(|(id, _)| id), now) {
            let ids: Vec<InstanceId> = batch.terminate.iter().map(|(id, _)| id.clone()).collect();
            self.note_steps(What::Terminate, &batch.terminate, now);
            for (id, why) in &batch.terminate {
                self.note_boot_failure(id, why, now);
            }
            let why = reasons(&batch.terminate);
            self.emit(Action::Terminate(ids), why, now);
        }
        if !batch.secrets.is_empty() {
            let ids = batch.secrets;
            let steps: Vec<_> = ids.iter().map(|id| (id.clone(), StepReason::InstanceGone)).collect();
            self.note_steps(What::DeleteSecret, &steps, now);
            self.emit(Action::DeleteSecrets(ids), reasons(&steps), now);
        }
    }

    /// Writes one event for each runner that a step is done to.
    fn note_steps(&mut self, what: What, steps: &[(InstanceId, StepReason)], now: Time) {
        for (id, why) in steps {
            if let Some(r) = self.world.runners().get(id) {
                self.journal.note(now, what, Whom::runner(r.pool(), id), why.clone());
            }
        }
    }

    fn afford<'a>(&mut self, api: Api, ids: impl Iterator<Item = &'a InstanceId>, now: Time) -> bool {
        if self.budgets.take(&api, now) {
            return true;
        }
        let at = self.put_off(&api, now);
        for id in ids {
            if let Some(r) = self.world.runner_mut(id) {
                r.effect_over();
                let pool = r.pool().clone();
                self.again(&pool, at);
            }
        }
        false
    }

    /// Counts a runner that never came online. After two in a row, the pool waits before it launches again.
    pub(super) fn note_boot_failure(&mut self, id: &InstanceId, why: &StepReason, now: Time) {
        let Some(r) = self.world.runners().get(id) else { return };
        let deadline = self.spec.boot_deadline(r.pool());
        if r.was_online() || r.phase(deadline, now) != Phase::Failed {
            return;
        }
        if self.waited_in_vain(r.tried(), r.pool(), now) {
            return;
        }
        let pool = r.pool().clone();
        if self.world.runner_mut(id).is_some_and(Runner::start_failed) {
            self.boot_failed(&pool, id, BootFailure::Overdue { because: why.clone() }, now);
        }
    }

    /// Counts instances that ended before they were online as failures to start. Otherwise a broken image would be launched for
    /// ever.
    ///
    /// Decision 0010, row 39.
    pub(super) fn note_stillborn(&mut self, now: Time) {
        for Stillborn { pool, instance, tried, reason, late } in self.world.take_stillborn() {
            let why = BootFailure::ended(reason);
            if late {
                self.explain_boot_failure(&pool, &instance, why, now);
            } else if !self.waited_in_vain(tried, &pool, now) {
                self.boot_failed(&pool, &instance, why, now);
            }
        }
    }

    /// Whether an instance ended because it had no configuration. Nobody tried to configure it, or the try came while GitHub's limit
    /// was spent or GitHub or SSM refused. Such an instance does not prove that the pool's instances cannot start.
    fn waited_in_vain(&self, tried: Tried, pool: &PoolName, now: Time) -> bool {
        let limited = |p: &RunnerPool| self.budgets.configurations_wait(&p.list_id().payer(), now).is_some();
        let refused = self.pools.get(pool).is_some_and(|state| state.refused.is_some() || now < state.left_behind_until);
        match tried {
            Tried::Never => true,
            Tried::InVain => refused || self.spec.pools.get(pool).is_some_and(limited),
            Tried::Perhaps => false,
        }
    }

    fn boot_failed(&mut self, pool: &PoolName, instance: &InstanceId, why: BootFailure, now: Time) {
        self.facts.push(Fact::BootFailed { pool: pool.clone(), instance: instance.clone(), why: why.clone() });
        let state = self.pools.entry(pool.clone()).or_default();
        state.boot_failures += 1;
        state.last_failed = Some(instance.clone());
        if state.boot_failures >= 2 {
            let wait =
                Duration::from_secs(30).saturating_mul(1 << (state.boot_failures - 2).min(5)).min(Duration::from_secs(600));
            state.boot_backoff = Some((now + wait, Backoff::BootFailures { in_a_row: state.boot_failures, last: why }));
        }
    }

    /// Notes why an instance failed to start, when EC2 tells the reason only after the failure was counted.
    fn explain_boot_failure(&mut self, pool: &PoolName, instance: &InstanceId, why: BootFailure, now: Time) {
        let told = EventReason::NotStarted { why: why.clone(), late: true };
        self.journal.note(now, What::BootFailed, Whom::runner(pool, instance), told);
        let Some(state) = self.pools.get_mut(pool) else { return };
        if let Some((_, Backoff::BootFailures { in_a_row, last })) = &mut state.boot_backoff
            && *in_a_row == state.boot_failures
        {
            *last = why;
        }
    }

    fn launch(&mut self, plan: &Plan, planned: &PlannedLaunch, now: Time) {
        let pool = &plan.pool;
        if !self.spec.pools.contains_key(pool) {
            return;
        }
        if !self.budgets.take(&Api::CreateFleet, now) {
            let at = self.put_off(&Api::CreateFleet, now);
            return self.again(pool, at);
        }
        self.intents += 1;
        let intent: Intent = format!("{}-{}", self.process, self.intents).into();
        let Some(launch) = Launch::of(&self.spec, pool, intent.clone(), planned.count, planned.market, &planned.offerings) else {
            return;
        };
        let release = self.spec.pools.get(pool).and_then(|manifest| self.releases.of(manifest));
        let launch = Arc::new(launch.with_release(release));
        self.world.launch_asked(launch.clone(), now);
        self.launches.take(pool, now);
        let why = EventReason::Wanted { count: planned.count, market: planned.market, why: planned.reason.clone() };
        self.journal.note(now, What::Launch, Whom::pool(pool), why);
        self.facts.push(Fact::LaunchDecided { pool: pool.clone(), after: self.waited(plan, planned.count, now) });
        self.emit(Action::Launch(launch), planned.reason.clone(), now);
    }

    /// How long the oldest job that this launch serves has counted. A launch of N instances serves the N newest jobs, because
    /// earlier instances are for earlier jobs. None when no job counts.
    fn waited(&self, plan: &Plan, count: u32, now: Time) -> Option<Duration> {
        let delay = self.spec.pools.get(&plan.pool)?.queue_delay();
        let counting = self.demand.queued(&plan.pool).filter(|(id, j)| j.counts(delay, now) && !plan.above_share.contains(id));
        let mut heard: Vec<Time> = counting.map(|(_, j)| j.counted_since()).collect();
        heard.sort_unstable();
        let newest = heard.len().checked_sub((count as usize).min(heard.len()))?;
        heard.get(newest).map(|first| now.since(*first))
    }

    /// Notes that a wanted call waits for its budget. Returns when the budget admits the call.
    fn put_off(&mut self, api: &Api, now: Time) -> Time {
        self.facts.push(Fact::BudgetWait { api: api.as_str() });
        self.budgets.admits_at(api, now)
    }

    /// Repeats launches whose outcome nobody knows, and gives up on those of which a sweep must have shown whatever came.
    ///
    /// Decision 0010, row 20.
    pub(super) fn repeat_launches(&mut self, now: Time) {
        for pool in self.world.give_up_launches() {
            self.mark(&pool, now);
        }
        let due = self.world.pending().iter().filter(|(_, p)| p.may_be_repeated(now));
        let again: Vec<Intent> = due.map(|(intent, _)| intent.clone()).collect();
        for intent in again {
            let Some(p) = self.world.pending().get(&intent) else { continue };
            let state = self.pools.get(p.pool());
            let counts = state.and_then(|s| s.plan.as_ref()).map(|p| p.counts.clone()).unwrap_or_default();
            let max = self.spec.pools.get(p.pool()).map_or(0, |p| p.spec.capacity.max);
            let wanted = if p.is_inherited() {
                // The predecessor may have the call in its hand. Asked for now, the launch cannot come as a surprise later. But the list
                // may also hold a launch that the predecessor gave up, and its place may be taken by now. So the instances are looked
                // at and counted first.
                self.world.swept(&Source::Instances).is_some() && state.is_some_and(|s| s.dirty.is_none())
            } else {
                counts.wanted > counts.supply.saturating_sub(p.outstanding())
            };
            let wanted = wanted && counts.occupied <= max && !self.paused.contains_key(p.pool());
            if !wanted || !self.budgets.take(&Api::CreateFleet, now) {
                continue;
            }
            let launch = p.launch().clone();
            self.world.launch_repeated(&intent, now);
            self.emit(Action::Launch(launch), LaunchReason::Unanswered, now);
        }
    }

    /// Configures instances, as far as the budgets admit calls. The pools take turns, and each pool's oldest instance comes first.
    fn configure_in_turns(&mut self, mut waiting: Vec<(PoolName, Step)>, now: Time) {
        waiting.sort_by_key(|(_, step)| self.world.runners().get(&step.instance).map(Runner::first_seen));
        let mut put_off: BTreeSet<PoolName> = BTreeSet::new();
        for (pool, step) in self.configurations.order(waiting) {
            if put_off.contains(&pool) {
                continue;
            }
            match self.configure(&pool, &step, now) {
                Ok(()) => self.configurations.take(&pool, now),
                Err(until) => {
                    self.again(&pool, until);
                    put_off.insert(pool);
                }
            }
        }
    }

    /// Configures one instance. Err: the budget is spent until that time.
    fn configure(&mut self, pool: &PoolName, step: &Step, now: Time) -> Result<(), Time> {
        let Some(p) = self.spec.pools.get(pool).cloned() else { return Ok(()) };
        let jit = Api::Jit(p.list_id().payer());
        let at = self.budgets.admits_at(&jit, now).max(self.budgets.admits_at(&Api::SsmPut, now));
        if at > now {
            let short = if self.budgets.admits_at(&jit, now) > now { jit } else { Api::SsmPut };
            self.put_off(&short, now);
            return Err(at);
        }
        let Some(r) = self.world.runner_mut(&step.instance) else { return Ok(()) };
        r.configuration_begins();
        let replace = matches!(r.configured(), Configured::Unsure | Configured::Seen);
        self.budgets.take(&jit, now);
        self.budgets.take(&Api::SsmPut, now);
        let cluster = self.spec.controller.cluster().to_owned();
        let action = Action::Configure(Configure {
            name: RunnerName { cluster, pool: pool.clone(), instance: step.instance.clone() },
            list_id: p.list_id(),
            group: p.spec.github.runner_group.clone(),
            labels: p.spec.labels.clone(),
            work_directory: p.spec.bootstrap.work_directory.clone(),
            ephemeral: p.ephemeral(),
            replace,
        });
        self.journal.note(now, What::Configure, Whom::runner(pool, &step.instance), step.reason.clone());
        self.emit(action, step.reason.clone(), now);
        Ok(())
    }

    fn deregister(&mut self, pool: &PoolName, step: &Step, now: Time) {
        let Some(g) = self.world.runners().get(&step.instance).and_then(Runner::registration).cloned() else { return };
        let api = Api::Deregister(g.list().payer());
        if !self.budgets.take(&api, now) {
            let at = self.put_off(&api, now);
            return self.again(pool, at);
        }
        if let Some(r) = self.world.runner_mut(&step.instance) {
            r.effect_begins(Act::Deregister);
        }
        self.journal.note(now, What::Deregister, Whom::runner(pool, &step.instance), step.reason.clone());
        let name = RunnerName {
            cluster: self.spec.controller.cluster().to_owned(),
            pool: pool.clone(),
            instance: step.instance.clone(),
        };
        let action = Action::Deregister { list_id: g.list().clone(), runner: g.id(), name };
        self.emit(action, step.reason.clone(), now);
    }

    // ---------------------------------------------------------------------------------------------- messages

    pub(super) fn delete_messages(&mut self, ids: Vec<MessageId>, why: CallReason, now: Time) {
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.held.remove(id);
        }
        self.emit(Action::Messages(MessageOp::Delete, ids), why, now);
    }

    pub(super) fn extend_messages(&mut self, now: Time) {
        // Messages that are due soon go along, so that calls are fewer and fuller.
        let limit = now + EXTEND_BEFORE + Duration::from_secs(10);
        let ids: Vec<MessageId> = self.held.iter().filter(|(_, until)| **until <= limit).map(|(id, _)| *id).collect();
        let until = now + Duration::from_secs(u64::from(VISIBILITY_S));
        for id in &ids {
            self.held.insert(*id, until);
        }
        self.schedule_extension(now);
        if !ids.is_empty() {
            self.emit(Action::Messages(MessageOp::Extend { seconds: VISIBILITY_S }, ids), CallReason::StillQueued, now);
        }
    }

    // -------------------------------------------------------------------------------------------- lost events

    /// Asks GitHub to deliver failed webhooks again.
    pub(super) fn redeliver(&mut self, now: Time) {
        while let Some((app, delivery)) = self.deliveries.due(now) {
            let api = Api::Redeliver(Payer::itself(&app));
            if self.budgets.take(&api, now) {
                self.deliveries.asked(&app, delivery);
                self.emit(Action::Redeliver { app, delivery }, CallReason::Undelivered, now);
            } else {
                let later = self.put_off(&api, now);
                self.deliveries.put_off(&app, later);
            }
        }
    }

    /// Asks GitHub about jobs whose events may be lost. The pools take turns. Of each pool, the jobs that count only with GitHub's
    /// word come first, and then the oldest jobs.
    pub(super) fn check_jobs(&mut self, now: Time) {
        let mut wanted: Vec<(bool, Time, JobId, AppName)> = self
            .demand
            .jobs()
            .iter()
            .filter(|(_, j)| !j.check.in_flight && now >= j.check.not_before && self.worth_asking(j, now))
            .filter_map(|(id, j)| Some((j.doubt.is_none(), j.first_seen, *id, self.app_for(j)?)))
            .collect();
        wanted.sort();
        // Jobs that no pool takes have turns as one pool.
        let pool = |id| self.demand.jobs().get(&id).and_then(Job::pool).cloned().unwrap_or_default();
        let needs: Vec<_> = wanted.into_iter().map(|(_, _, id, app)| (pool(id), (id, app))).collect();
        let mut spent: BTreeSet<Payer> = BTreeSet::new();
        for (pool, (id, app)) in self.checks.order(needs) {
            let Some(job) = self.demand.job_mut(id) else { continue };
            let payer = self.spec.payer(&app, &job.event.repo);
            if spent.contains(&payer) || !self.budgets.take(&Api::Background(payer.clone()), now) {
                spent.insert(payer);
                continue;
            }
            self.checks.take(&pool, now);
            job.asked(now + CHECK_AFTER.saturating_mul(1 << job.check.times.min(6)).min(CHECK_LONGEST), now);
            let other = if job.waits() { CallReason::Waiting } else { CallReason::LongInState };
            let why = job.doubt.map_or(other, |doubt| doubt.why.into());
            let doubted_until = job.doubt.map(|doubt| doubt.until);
            let action = Action::CheckJob { app, repo: job.event.repo.clone(), job: id };
            self.emit(action, why, now);
            if let Some(until) = doubted_until.filter(|_| self.spec.pools.contains_key(&pool)) {
                self.again(&pool, until);
            }
        }
    }

    fn worth_asking(&self, job: &Job, now: Time) -> bool {
        let old = now.since(job.first_seen) >= CHECK_AFTER;
        match job.event.state {
            JobState::Queued => old || job.waits() || job.doubt.is_some(),
            // Our runner is gone, or it has this job and GitHub no longer shows it busy. The event of the job's end may be lost.
            JobState::InProgress => {
                let gone = match self.world.named(self.spec.controller.cluster(), &job.event) {
                    Named::NotOurs | Named::Impostor(..) => false,
                    Named::Unknown(_) => true,
                    Named::Unproven(_, r) | Named::Proven(_, r) => {
                        let busy = r.registration().is_some_and(Registration::is_busy);
                        r.gone_at().is_some() || (!busy && r.job().runs(job.event.job))
                    }
                };
                old && gone
            }
            JobState::Completed => false,
        }
    }

    /// The App or token that asks about the job: that of the job's pool, or else the first one in the manifests.
    pub(super) fn app_for(&self, job: &Job) -> Option<AppName> {
        let covers = |pool: &&RunnerPool| matching::covers(&pool.spec.github.scope, &job.event);
        let by_pool = job.pool().and_then(|p| self.spec.pools.get(p)).or_else(|| self.spec.pools.values().find(covers));
        by_pool.map(|p| p.list_id().app).or_else(|| self.spec.credentials().next().cloned())
    }
}
