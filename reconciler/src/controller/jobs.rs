//! Folds events into the jobs, the runners and the stories of jobs that are over.

use std::sync::Arc;
use std::time::Duration;

use super::{Controller, DEBOUNCE_MAX, EXTEND_BEFORE, FULL_BATCH, VISIBILITY_S};
use crate::demand::{Demand, Folded, Job};
use crate::effect::{Action, JobMessage, MessageOp, Source};
use crate::event::{Ec2Event, Ec2EventKind, JobEvent, JobState};
use crate::fact::Fact;
use crate::ids::{InstanceId, MessageId, PoolName};
use crate::journal::{What, Whom};
use crate::lately::JobPlace;
use crate::matching;
use crate::past::{End, JobPast, RunnerPast};
use crate::reason::{CallReason, EventReason, HoldReason};
use crate::time::Time;
use crate::world::Named;

impl Controller {
    pub(super) fn take_messages(&mut self, messages: &[JobMessage], now: Time) {
        let mut done = Vec::new();
        let until = now + Duration::from_secs(u64::from(VISIBILITY_S));
        self.gathering = messages.len() >= FULL_BATCH;
        for m in messages {
            if self.stopping {
                done.push(m.id);
                continue;
            }
            self.held.insert(m.id, until);
            let folded = self.fold(&m.event, Some((m.id, m.receive_count)), now);
            done.extend(folded.deletable);
        }
        self.gathering = false;
        if self.stopping {
            self.emit(Action::Messages(MessageOp::Release, done), CallReason::ShuttingDown, now);
            return;
        }
        self.delete_messages(done, CallReason::LeftQueue, now);
        // What is new is due after what is known. A look at all messages for each batch would be quadratic.
        self.extend_at = self.extend_at.min(until - EXTEND_BEFORE);
    }

    pub(super) fn take_ec2(&mut self, event: &Ec2Event, now: Time) {
        let Some(pool) = self.world.heard_ec2(event, now) else { return };
        self.mark(&pool, now);
        self.hurry(&Source::Instances, now);
        if event.kind == Ec2EventKind::SpotInterruption
            && let Some(shape) = self.world.runners().get(&event.instance).and_then(|r| r.shape())
        {
            self.unavailable.interrupted(&shape.instance_type, shape.subnet.as_ref(), now);
        }
    }

    /// Folds one job event into the jobs and the runners, wherever the event came from.
    pub(super) fn fold(&mut self, event: &JobEvent, message: Option<(MessageId, u32)>, now: Time) -> Folded {
        let held = |demand: &Demand| demand.jobs().get(&event.job).is_some_and(|job| job.held(now));
        let was_held = held(&self.demand);
        let mut folded = self.demand.fold(&self.spec, event, message, now);
        for pool in &folded.pools {
            self.mark(pool, now);
        }
        if folded.advanced {
            self.note_job(event, &folded, now);
            if event.state == JobState::InProgress
                && folded.before == Some(JobState::Queued)
                && let Some(first_seen) = folded.first_seen
            {
                let pool = folded.pools.iter().next().cloned();
                if let (Some(waited), Some(pool)) = (folded.waited, &pool) {
                    self.pools.entry(pool.clone()).or_default().waits.jobs.note(waited, now);
                }
                self.facts.push(Fact::JobStarted { pool, waited: now.since(first_seen), true_wait: folded.true_wait });
            }
            self.tell_runner(event, &mut folded, now);
        }
        if event.waiting && !was_held && held(&self.demand) {
            let whom = Whom { pool: folded.pools.iter().next().cloned(), job: Some(event.job), instance: None };
            self.journal.note(now, What::JobHeld, whom, EventReason::Held { why: HoldReason::Waiting });
        }
        if self.demand.jobs().get(&event.job).is_some_and(|job| job.doubt.is_some()) {
            // A look at all jobs for each batch would be quadratic.
            self.check_at = self.check_at.min(now + DEBOUNCE_MAX);
        }
        let was_queued = folded.before.is_none_or(|before| before == JobState::Queued);
        // A process before this one kept the message, and the job's start was heard first.
        let kept_copy = event.state == JobState::Queued && !was_queued && message.is_some_and(|(_, count)| count > 1);
        if kept_copy || folded.advanced && event.state != JobState::Queued && was_queued {
            let left = folded.ended.as_deref().or_else(|| self.demand.jobs().get(&event.job)).cloned();
            let left = left.unwrap_or_else(|| Job::heard_of(matching::route(&self.spec, event), event, now));
            self.close_notices(&left, message, &mut folded.deletable, now);
        }
        if let Some(job) = folded.ended.take() {
            self.note_length(&job, now);
            self.open_case(&job, message.map(|(id, _)| id), now);
            self.tell_past(*job, folded.before.is_some(), None, now);
            self.cases.run_moved(event.run, now);
        }
        // A message that told the job's end stands for its case, also if GitHub's answer had opened the case before.
        if let Some(case) = self.cases.get_mut(event.job) {
            case.messages.extend(message.map(|(id, _)| id).filter(|_| event.state == JobState::Completed));
            folded.deletable.retain(|id| !case.messages.contains(id));
        }
        // SQS may show a message again that an open notice keeps.
        if !self.late.is_empty() {
            folded.deletable.retain(|id| !self.late.needs(*id));
        }
        folded
    }

    /// Notes how long a job ran that succeeded, as this process heard of its start and its end.
    fn note_length(&mut self, job: &Job, now: Time) {
        let took = job.started.filter(|_| job.event.conclusion.as_deref() == Some("success")).map(|started| now.since(started));
        if let (Some(took), Some(pool)) = (took, job.pool()) {
            self.pools.entry(pool.clone()).or_default().waits.lengths.note(took, now);
        }
    }

    /// Tells a runner of its job, unless the id in the event shows that the event speaks of somebody else's runner.
    fn tell_runner(&mut self, event: &JobEvent, folded: &mut Folded, now: Time) {
        let spec = self.spec.clone();
        match self.world.named(spec.controller.cluster(), event) {
            Named::NotOurs => {}
            Named::Unknown(name) => {
                // A predecessor's runner may have a job before EC2 was swept.
                if self.world.swept(&Source::Instances).is_none() {
                    self.world.expect(&name, now);
                    self.world.heard_job(&spec, &name.instance, event, now);
                }
                self.note_given(&name.pool, event, now);
            }
            Named::Unproven(id, runner) => {
                let (id, pool, list) = (id.clone(), runner.pool().clone(), runner.list().cloned());
                self.world.heard_job(&spec, &id, event, now);
                self.mark(&pool, now);
                self.note_given(&pool, event, now);
                // The next list tells the registration's id, and whether the runner has a job.
                if let Some(list) = list {
                    self.hurry(&Source::Runners(list), now);
                }
            }
            Named::Proven(id, runner) => {
                let (id, pool) = (id.clone(), runner.pool().clone());
                self.world.heard_job(&spec, &id, event, now);
                self.mark(&pool, now);
                self.note_given(&pool, event, now);
                self.note_if_uninvited(&pool, &id, event, folded, now);
            }
            Named::Impostor(id, runner) => {
                let whom = Whom { job: Some(event.job), ..Whom::runner(runner.pool(), id) };
                let list = runner.list().cloned();
                self.journal.note(now, What::NameTaken, whom, EventReason::NameTaken { id: event.runner_id });
                if let Some(list) = list {
                    self.hurry(&Source::Runners(list), now);
                }
            }
        }
        if event.state == JobState::Completed {
            self.world.job_over(&spec, event.job, now);
        }
    }

    /// GitHub gave a job to a runner of the pool, perhaps a job of another pool.
    fn note_given(&mut self, pool: &PoolName, event: &JobEvent, now: Time) {
        if let Some(state) = self.pools.get_mut(pool).filter(|_| event.state == JobState::InProgress) {
            state.given_at = Some(now);
        }
    }

    /// Notes a job that runs on a pool whose manifest does not list the job's repository. GitHub gives a runner to every repository
    /// that the runner's group admits.
    fn note_if_uninvited(&mut self, pool: &PoolName, id: &InstanceId, event: &JobEvent, folded: &mut Folded, now: Time) {
        let Some(manifest) = self.spec.pools.get(pool).filter(|manifest| !matching::admits(manifest, event)) else { return };
        let group = manifest.spec.github.runner_group.clone();
        let job = folded.ended.as_deref_mut().or_else(|| self.demand.job_mut(event.job));
        // The start and the end of a job tell of one foreign job.
        if job.is_some_and(|job| !std::mem::replace(&mut job.uninvited, true)) {
            let whom = Whom { job: Some(event.job), ..Whom::runner(pool, id) };
            self.journal.note(now, What::ForeignJob, whom, EventReason::Uninvited { repo: event.repo.clone(), group });
            self.facts.push(Fact::ForeignJob { pool: pool.clone() });
        }
    }

    /// Tells the story of a job that is over. A job has no story here if it was not known before and ran on no runner of ours.
    pub(super) fn tell_past(&mut self, job: Job, known: bool, end: Option<End>, now: Time) {
        let named = self.world.named(self.spec.controller.cluster(), &job.event);
        let ours = matches!(named, Named::Unknown(_) | Named::Unproven(..) | Named::Proven(..));
        let named_pool = || match named {
            Named::Unproven(_, runner) | Named::Proven(_, runner) => Some(runner.pool().clone()),
            Named::NotOurs | Named::Unknown(_) | Named::Impostor(..) => None,
        };
        let pool = job.pool().cloned().or_else(named_pool);
        if pool.is_none() || (!known && !ours) {
            return;
        }
        let JobEvent { job: id, run, repo, .. } = &job.event;
        self.lately.keep(JobPlace { job: *id, run: *run, repo: repo.clone(), pool: pool.clone() });
        let lost = job.lost_runner.is_some();
        let taken_by = job.lost_runner.or_else(|| match named {
            Named::Proven(id, runner) => Some(RunnerPast::of(id, runner)),
            _ => None,
        });
        let app = pool.as_ref().and_then(|name| self.spec.pools.get(name)).map(|p| p.list_id().app);
        let past = JobPast {
            pool,
            api_url: app.and_then(|app| self.spec.api_url(&app).map(str::to_owned)),
            heard: job.first_seen,
            started: job.started,
            ended: now,
            end: end.unwrap_or_else(|| JobPast::end_of(&job.event, taken_by.as_ref(), lost)),
            taken_by,
            event: job.event,
        };
        self.facts.push(Fact::JobEnded(Box::new(past)));
    }

    fn note_job(&mut self, event: &JobEvent, folded: &Folded, now: Time) {
        let ours = match self.world.named(self.spec.controller.cluster(), event) {
            Named::Unproven(id, runner) | Named::Proven(id, runner) => Some((id.clone(), runner.pool().clone())),
            Named::NotOurs | Named::Unknown(_) | Named::Impostor(..) => None,
        };
        let (instance, runs_for) = ours.unzip();
        let whom = Whom { pool: folded.pools.iter().next().cloned().or(runs_for), job: Some(event.job), instance };
        let joined = folded.ended.as_ref().map_or(event, |job| &job.event);
        let (what, why) = match event.state {
            JobState::Queued => (What::JobQueued, EventReason::Asks { repo: event.repo.clone(), labels: event.labels.clone() }),
            JobState::InProgress => (What::JobStarted, EventReason::Taken { runner: event.runner.clone() }),
            JobState::Completed => (
                What::JobCompleted,
                EventReason::Over { conclusion: event.conclusion.clone(), of: Some(Arc::new(joined.clone())) },
            ),
        };
        self.journal.note(now, what, whom, why);
    }
}
