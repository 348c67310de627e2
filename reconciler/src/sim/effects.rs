//! Carries out the controller's effects on the simulated cloud, GitHub and queue: the simulator's own adapters.
//!
//! A request travels, takes effect (or is refused, or takes effect and is never answered), and its answer travels back.

use std::sync::Arc;
use std::time::Duration;

use crate::effect::{
    Action, Configure, Effect, Failure, FailureKind, GitHubLimit, Launch, Market, MessageOp, Outcome, Source, Swept,
};
use crate::ids::{AppName, EffectId, Forge as List, InstanceId, RunnerId};
use crate::time::{Time, human};

use super::World;
use super::agenda::Event;
use super::boxes::Stage;
use super::cloud::Secret;

/// Answers that never come are given up after this.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An effect on its way.
#[derive(Debug)]
pub(super) struct Request {
    process: u32,
    sent_at: Time,
    effect: Effect,
}

/// What happened at GitHub this shortly before a request set out was not known to anybody here: webhooks take seconds.
const UNKNOWABLE: Duration = Duration::from_secs(10);

/// The second half of Configure: the registration exists, its secret is still to be put.
#[derive(Debug)]
pub(super) struct Put {
    process: u32,
    effect: EffectId,
    configure: Configure,
    runner: Option<RunnerId>,
}

/// What becomes of the request that a crash follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// It was never sent.
    Lost,
    /// It was sent and takes effect; of two calls, the first.
    Sent,
    /// It took effect entirely; nobody heard the answer.
    Done,
}

/// The call that an action comes down to, as counted and limited by the other side.
fn api(action: &Action) -> &'static str {
    match action {
        Action::Launch(_) => "CreateFleet",
        Action::Configure(_) => "GenerateJitConfig",
        Action::Drain(_) => "CreateTags",
        Action::Terminate(_) => "TerminateInstances",
        Action::Deregister { .. } => "DeleteRunner",
        Action::CheckJob { .. } => "GetJob",
        Action::Sweep(Source::Instances) => "DescribeInstances",
        Action::Sweep(Source::Runners(_)) => "ListRunners",
        Action::Sweep(Source::Secrets) => "GetParametersByPath",
        Action::Messages(MessageOp::Extend { .. } | MessageOp::Release, _) => "ChangeMessageVisibility",
        Action::Messages(MessageOp::Delete, _) => "DeleteMessage",
        Action::DeleteSecrets(_) => "DeleteParameters",
    }
}

/// The App whose hourly limit the action counts against.
fn app(action: &Action) -> Option<&AppName> {
    match action {
        Action::Configure(Configure { forge, .. }) | Action::Deregister { forge, .. } => Some(&forge.app),
        Action::Sweep(Source::Runners(forge)) => Some(&forge.app),
        Action::CheckJob { app, .. } => Some(app),
        _ => None,
    }
}

/// Whether the action changes anything but the queue's messages.
pub(super) fn changes(action: &Action) -> bool {
    !matches!(action, Action::Sweep(_) | Action::CheckJob { .. } | Action::Messages(..))
}

/// An action in one line, for the trace.
pub(super) fn describe(action: &Action) -> String {
    match action {
        Action::Launch(l) => format!("Launch {} x {} ({}) {}", l.count, l.pool, l.market.as_str(), l.intent),
        Action::Configure(c) => format!("Configure {}{}", c.name, if c.replace { " (replace)" } else { "" }),
        Action::Deregister { runner, name, .. } => format!("Deregister {runner} {name}"),
        other => format!("{other:?}"),
    }
}

impl World {
    /// A request sets out. False: the process was killed right after it.
    pub(super) fn dispatch(&mut self, effect: Effect) -> bool {
        if changes(&effect.action) {
            self.changes += 1;
        }
        let travels = self.net.within(self.options.network);
        if let Action::Launch(launch) = &effect.action {
            self.oracle.intent_used(&launch.intent, self.process, self.agenda.now);
        }
        let request = Request { process: self.process, sent_at: self.agenda.now, effect };
        let effect = &request.effect;
        if !matches!(effect.action, Action::Sweep(_)) {
            self.sent += 1;
            self.trace.say(self.agenda.now, format_args!("#{} {}: {}", self.sent, describe(&effect.action), effect.reason));
            if let Some((n, mode)) = self.crash_at
                && n == self.sent
            {
                self.crash_at = None;
                match mode {
                    CrashMode::Lost => {}
                    CrashMode::Sent => self.agenda.after(travels, Event::Arrive(request)),
                    CrashMode::Done => {
                        if let Err(put) = self.carry_out(&request) {
                            self.put_secret(&put);
                        }
                    }
                }
                return false;
            }
        }
        self.agenda.after(travels, Event::Arrive(request));
        true
    }

    /// A request reaches the other side.
    pub(super) fn arrive(&mut self, request: &Request) {
        let Request { process, effect, .. } = request;
        let process = *process;
        let faulty = self.faulty();
        let name = api(&effect.action);
        *self.calls.entry(name).or_default() += 1;
        let f = &self.options.faults;
        let (refused, unanswered, half) = (self.luck.chance(f.refused), self.luck.chance(f.unanswered), self.luck.chance(0.5));
        if !self.cloud.admit(name, self.agenda.now) {
            *self.throttled.entry(name).or_default() += 1;
            let failure = Failure::new(FailureKind::Throttled, format!("{name}: RequestLimitExceeded"));
            return self.answer(process, effect.id, Outcome::Failed(failure), Duration::ZERO);
        }
        if let Some(app) = app(&effect.action).cloned() {
            let (remaining, reset_after) = self.forge.spend(&app, self.agenda.now);
            let limit = GitHubLimit { app, remaining: remaining.unwrap_or(0), reset_after };
            self.agenda.after(Duration::ZERO, Event::Limit(process, limit));
            if remaining.is_none() {
                *self.throttled.entry(name).or_default() += 1;
                let message = format!("{name}: API rate limit exceeded");
                let failure = Failure { kind: FailureKind::Throttled, message, retry_after: Some(reset_after) };
                return self.answer(process, effect.id, Outcome::Failed(failure), Duration::ZERO);
            }
        }
        if faulty && refused {
            let kind = if half { FailureKind::Throttled } else { FailureKind::Unavailable };
            let failure = Failure::new(kind, format!("{name}: the other side refused ({})", kind.as_str()));
            return self.answer(process, effect.id, Outcome::Failed(failure), Duration::ZERO);
        }
        if faulty && unanswered {
            if half {
                // Of Configure's two calls the first took effect.
                let _unheard = self.carry_out(request);
            }
            let failure = Failure::new(FailureKind::Ambiguous, format!("{name}: no answer"));
            return self.answer(process, effect.id, Outcome::Failed(failure), TIMEOUT);
        }
        let thinks = if name == "CreateFleet" { self.net.within(self.options.fleet) } else { Duration::ZERO };
        match self.carry_out(request) {
            Ok(outcome) => self.answer(process, effect.id, outcome, thinks),
            Err(put) => self.agenda.after(self.net.within(self.options.network), Event::Put(put)),
        }
    }

    fn answer(&mut self, process: u32, effect: EffectId, outcome: Outcome, after: Duration) {
        let travels = self.net.within(self.options.network);
        self.agenda.after(after + travels, Event::Answer(process, effect, outcome));
    }

    /// The action takes effect. Err: it was half of one, and this is the other half.
    fn carry_out(&mut self, request: &Request) -> Result<Outcome, Box<Put>> {
        let Request { process, sent_at, effect } = request;
        if let Action::Sweep(source) = &effect.action {
            self.count_pages(source);
        }
        let (process, sent_at, faulty, now) = (*process, *sent_at, self.faulty(), self.agenda.now);
        Ok(match &effect.action {
            Action::Launch(launch) => self.create_fleet(launch),
            Action::Configure(c) => {
                let minted = if c.ephemeral { self.forge.mint(c).map(Some) } else { Ok(None) };
                match minted {
                    Ok(runner) => return Err(Box::new(Put { process, effect: effect.id, configure: c.clone(), runner })),
                    Err(failure) => Outcome::Failed(failure),
                }
            }
            Action::Drain(ids) => self.batch(ids, |world, id| {
                if world.cloud.tag_drain(id, now) {
                    let seen = world.box_rng.within(world.options.drain_seen);
                    world.agenda.after(seen, Event::SeesDrain(id.clone()));
                }
            }),
            Action::Terminate(ids) => self.batch(ids, |world, id| world.terminate(id, sent_at)),
            Action::Deregister { runner, .. } => match self.forge.delete(*runner, now) {
                Ok(None) => Outcome::Done,
                Ok(Some((name, killed))) => {
                    if killed {
                        self.job_killed(&name.instance, sent_at, "its runner was deregistered");
                    }
                    // The box loses its session and ends itself; a job dies with it.
                    self.instance_loses_session(&name.instance);
                    Outcome::Done
                }
                Err(failure) => Outcome::Failed(failure),
            },
            Action::CheckJob { job, .. } => self.forge.job(*job).map_or_else(Outcome::Failed, Outcome::Job),
            Action::Sweep(Source::Instances) => {
                let rows = self.cloud.describe(&self.options, faulty, now);
                Outcome::Swept(Swept::Instances(rows))
            }
            Action::Sweep(Source::Runners(list)) => Outcome::Swept(Swept::Runners(self.list_runners(list))),
            Action::Sweep(Source::Secrets) => Outcome::Swept(Swept::Secrets(self.cloud.secrets.keys().cloned().collect())),
            Action::Messages(op, ids) => {
                let outcome = self.queue.operate(*op, ids, now);
                self.arm_poll();
                outcome
            }
            Action::DeleteSecrets(ids) => self.batch(ids, |world, id| {
                world.cloud.secrets.remove(id);
            }),
        })
    }

    fn create_fleet(&mut self, launch: &Arc<Launch>) -> Outcome {
        let faulty = self.faulty();
        match self.cloud.create_fleet(launch, &self.options, faulty, &mut self.agenda) {
            Ok(launched) => {
                let spot = if launch.market == Market::Spot { "spot" } else { "on-demand" };
                let ids: Vec<&str> = launched.instances.iter().map(|i| i.id.as_str()).collect();
                self.say(format_args!("EC2 launched {} {spot} of {} asked: {ids:?}", ids.len(), launch.count));
                self.check_max(&launch.pool);
                Outcome::Launched(launched)
            }
            Err(failure) => {
                if failure.kind == FailureKind::Conflict {
                    self.oracle.blame("S5", self.agenda.now, failure.message.clone());
                }
                Outcome::Failed(failure)
            }
        }
    }

    /// PutParameter.
    pub(super) fn put(&mut self, put: Box<Put>) {
        // A process that died between the two calls never made the second.
        if put.process != self.process {
            return;
        }
        *self.calls.entry("PutParameter").or_default() += 1;
        let faulty = self.faulty();
        let f = &self.options.faults;
        let (refused, unanswered, half) = (self.luck.chance(f.refused), self.luck.chance(f.unanswered), self.luck.chance(0.5));
        let failed = |kind| Outcome::Failed(Failure::new(kind, "PutParameter failed"));
        if !self.cloud.admit("PutParameter", self.agenda.now) {
            *self.throttled.entry("PutParameter").or_default() += 1;
            return self.answer(put.process, put.effect, failed(FailureKind::Throttled), Duration::ZERO);
        }
        if faulty && refused {
            return self.answer(put.process, put.effect, failed(FailureKind::Throttled), Duration::ZERO);
        }
        if !(faulty && unanswered && half) {
            self.put_secret(&put);
        }
        if faulty && unanswered {
            return self.answer(put.process, put.effect, failed(FailureKind::Ambiguous), TIMEOUT);
        }
        self.answer(put.process, put.effect, Outcome::Configured { runner: put.runner }, Duration::ZERO);
    }

    fn put_secret(&mut self, put: &Put) {
        let id = &put.configure.name.instance;
        let alive = self.cloud.instances().get(id).is_some_and(super::cloud::Instance::live);
        let orphan_since = (!alive).then_some(self.agenda.now);
        let configure = Arc::new(put.configure.clone());
        self.cloud.secrets.insert(id.clone(), Secret { runner: put.runner, configure, orphan_since });
        self.box_may_fetch(id);
    }

    /// TerminateInstances for one box. S1: never while a job runs there, unless EC2 ends it anyway or it is too old.
    fn terminate(&mut self, id: &InstanceId, sent_at: Time) {
        let now = self.agenda.now;
        let Some(instance) = self.cloud.instances().get(id).filter(|i| i.live()) else { return };
        let most = self.spec.pools.get(&instance.pool).map(|p| p.spec.runner.max_lifetime.get());
        if !instance.interrupted && most.is_none_or(|most| now.since(instance.launched_at()) < most) {
            self.job_killed(id, sent_at, "its box was terminated");
        }
        self.say(format_args!("EC2 terminates {id}"));
        self.instance_ends(id, "Client.UserInitiatedShutdown");
    }

    /// S1, if a job runs there and could have been known to when the request set out.
    fn job_killed(&mut self, id: &InstanceId, sent_at: Time, how: &str) {
        let Some(Stage::Working(job)) = self.machines.get(id).map(|m| m.stage) else { return };
        let started = self.forge.jobs().get(&job).and_then(|j| j.started_at).unwrap_or_default();
        if started + UNKNOWABLE > sent_at {
            self.races += 1;
            self.say(format_args!("job {job} on {id} is killed: {how}; it had only just started"));
        } else {
            let ran = human(self.agenda.now.since(started));
            self.oracle.blame("S1", self.agenda.now, format!("job {job} on {id} was killed after {ran}: {how}"));
        }
    }

    fn instance_loses_session(&mut self, id: &InstanceId) {
        let pause = self.box_rng.within(super::rng::Spread::secs(1, 5));
        let Some(machine) = self.machines.get_mut(id) else { return };
        match machine.stage {
            Stage::Working(job) => {
                machine.stage = Stage::Idle;
                self.agenda.after(pause, Event::Finish(job, "failure"));
            }
            Stage::Idle => {}
            _ => return,
        }
        self.agenda.after(pause, Event::PowerOff(id.clone(), "its registration was deleted"));
    }

    fn batch(&mut self, ids: &[InstanceId], each: impl Fn(&mut World, &InstanceId)) -> Outcome {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for id in ids {
            if self.luck.chance(self.options.faults.batch_member) && self.faulty() {
                failed.push((id.clone(), Failure::new(FailureKind::Unavailable, format!("{id}: InternalError"))));
            } else {
                each(self, id);
                done.push(id.clone());
            }
        }
        Outcome::Batch { done, failed }
    }

    /// None: 304, nothing changed since this process last asked.
    fn list_runners(&mut self, list: &List) -> Option<Vec<crate::effect::RunnerSighting>> {
        let faulty = self.faulty();
        let f = &self.options.faults;
        let truthful = !faulty || (f.missing_row == 0.0 && f.busy_lie == 0.0 && f.unanswered == 0.0);
        let version = self.forge.version;
        if self.options.etags && truthful && self.listed.get(list) == Some(&version) {
            return None;
        }
        if truthful {
            self.listed.insert(list.clone(), version);
        }
        let cluster = self.spec.controller.cluster().to_owned();
        Some(self.forge.list(list, &cluster, &self.options, faulty, self.agenda.now))
    }
}
