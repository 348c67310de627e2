//! How the controller's effects travel. A request travels to the other side, takes effect there or is refused, and its
//! answer travels back. Some requests take effect and are never answered. What each effect does is in [`super::adapters`].

use std::time::Duration;

use muster_reconciler::effect::{Action, Effect, GitHubLimit, Outcome, Resource};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{EffectId, Payer};
use muster_reconciler::reason::{CallReason, Reason};

use super::Simulation;
use super::team::Departure;
use crate::cloud::Secret;
use crate::event::Event;
use crate::faults::Fault;
use crate::request::{CrashMode, Put, Request, RequestKind, api, counts_against};

/// How long the controller waits for an answer that never comes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether EC2 or SSM carries out the action. Only these two are throttled by the fault of that name.
fn throttles(action: &Action) -> bool {
    match action {
        Action::Launch(_) | Action::Drain(_) | Action::Terminate(_) | Action::DeleteSecrets(_) => true,
        Action::Sweep(source) => source.payer().is_none(),
        _ => false,
    }
}

/// Whether the action changes anything besides the messages of the queue and what commits say.
fn changes(action: &Action) -> bool {
    let asks = matches!(action, Action::Sweep(_) | Action::CheckJob { .. } | Action::LookAtRun { .. });
    !asks && !matches!(action, Action::Redeliver { .. } | Action::Messages(..) | Action::Tell(..))
}

/// The action in one line, for the trace.
fn describe(action: &Action) -> String {
    match action {
        Action::Launch(l) => format!("Launch {} x {} ({}) {}", l.count, l.pool, l.market.as_str(), l.intent),
        Action::Configure(c) => format!("Configure {}{}", c.name, if c.replace { " (replace)" } else { "" }),
        Action::Deregister { runner, name, .. } => format!("Deregister {runner} {name}"),
        other => format!("{other:?}"),
    }
}

impl Simulation {
    /// Sends a request.
    pub(super) fn set_out(&mut self, effect: Effect) -> Departure {
        let now = self.nature.now();
        let process = self.process;
        // What the fence is about to hold back changes nothing, and need not know what the successor knows.
        let fenced = self.is_fenced(process);
        if changes(&effect.action) && !fenced {
            self.changes += 1;
        }
        let travels = self.net.within(self.nature.takes().network);
        let (oracle, truth) = self.judge();
        let request = oracle.judge_effect(effect, process, fenced, truth);
        let effect = &request.effect;
        if matches!(effect.action, Action::Sweep(_)) {
            self.nature.after(travels, Event::Arrive(Box::new(request)));
            return Departure::Sent;
        }
        self.sent += 1;
        if let Some(kinds) = &mut self.kinds {
            kinds.extend(RequestKind::of(&effect.action));
        }
        if self.nature.trace.kept() {
            let line = describe(&effect.action);
            self.nature.trace.say(now, format_args!("#{} {line}: {}", self.sent, effect.reason));
        }
        if self.crash_at.is_some_and(|(n, _)| n == self.sent)
            && let Some((_, mode)) = self.crash_at.take()
        {
            match mode {
                CrashMode::Lost => {}
                CrashMode::Sent => self.nature.after(travels, Event::Arrive(Box::new(request))),
                CrashMode::Done => {
                    if let Err(put) = self.carry_out(&request) {
                        self.put_secret(&put);
                    }
                }
            }
            return Departure::Killed;
        }
        self.depart(request, travels)
    }

    /// A request reaches the other side, which carries it out or refuses it.
    pub(super) fn arrive(&mut self, request: &Request) {
        let (process, effect) = (request.process, &request.effect);
        let name = api(&effect.action);
        *self.calls.entry(name).or_default() += 1;
        if request.held {
            self.oracle.excuse_late_end(&effect.action);
            self.count(|tenures| tenures.late += 1);
        }
        self.oracle.verdicts.asked += u64::from(effect.reason == Reason::Call(CallReason::HowItEnded));
        if let Some((failure, takes)) = self.refusal(request, name) {
            return self.answer(process, effect.id, Outcome::Failed(failure), takes);
        }
        if let Some(mut half) = self.nature.strikes(Fault::Unanswered) {
            if half.chance(0.5) {
                // Of the two calls of a Configure, only the first takes effect.
                let _unheard = self.carry_out(request);
            }
            let failure = Failure::new(FailureKind::Ambiguous, format!("{name}: no answer"));
            return self.answer(process, effect.id, Outcome::Failed(failure), TIMEOUT);
        }
        let thinks = if name == "CreateFleet" { self.net.within(self.nature.takes().fleet) } else { Duration::ZERO };
        match self.carry_out(request) {
            Ok(outcome) => self.answer(process, effect.id, outcome, thinks),
            Err(put) => {
                let travels = self.net.within(self.nature.takes().network);
                self.nature.after(travels, Event::Put(put));
            }
        }
    }

    /// Why the other side does not even try to carry out the request, and how long it takes to say so.
    fn refusal(&mut self, request: &Request, name: &'static str) -> Option<(Failure, Duration)> {
        let (process, action) = (request.process, &request.effect.action);
        if throttles(action) && self.nature.aws_spell() {
            return Some((Failure::new(FailureKind::Throttled, format!("{name}: ThrottlingException")), Duration::ZERO));
        }
        if !self.cloud.admit(name, self.nature.now()) {
            *self.throttled.entry(name).or_default() += 1;
            return Some((Failure::new(FailureKind::Throttled, format!("{name}: RequestLimitExceeded")), Duration::ZERO));
        }
        if let Some((payer, resource)) = counts_against(action, &self.spec) {
            if let Some(kind) = self.nature.github_spell(&payer.app) {
                let takes = if kind == FailureKind::Ambiguous { TIMEOUT } else { Duration::ZERO };
                return Some((Failure::new(kind, format!("{name}: GitHub fails ({})", kind.as_str())), takes));
            }
            if let Some(failure) = self.github_limits(process, &payer, resource, name) {
                return Some((failure, Duration::ZERO));
            }
        }
        let mut half = self.nature.strikes(Fault::Refused)?;
        let kind = if half.chance(0.5) { FailureKind::Throttled } else { FailureKind::Unavailable };
        Some((Failure::new(kind, format!("{name}: the other side refused ({})", kind.as_str())), Duration::ZERO))
    }

    /// Counts a call against GitHub's limits. Each answer tells the limits in its headers, and a call beyond them fails.
    fn github_limits(&mut self, process: u32, payer: &Payer, resource: Resource, name: &'static str) -> Option<Failure> {
        let (remaining, reset_after) = self.github.registry.spend(payer, resource, &mut self.nature);
        let secondary = self.github.registry.secondary(payer, &mut self.nature);
        let of_configuration = resource == Resource::Registration;
        let primary = GitHubLimit {
            payer: payer.clone(),
            resource: Some(resource),
            of_configuration,
            remaining: remaining.unwrap_or(0),
            reset_after,
        };
        let limit = match secondary {
            Some(reset_after) => GitHubLimit { resource: None, remaining: 0, reset_after, ..primary },
            None => primary,
        };
        let retry_after = Some(limit.reset_after);
        self.nature.after(Duration::ZERO, Event::Limit(process, Box::new(limit)));
        let message = match (secondary, remaining) {
            (Some(_), _) => "You have exceeded a secondary rate limit",
            (None, None) => "API rate limit exceeded",
            (None, Some(_)) => return None,
        };
        *self.throttled.entry(name).or_default() += 1;
        Some(Failure { retry_after, ..Failure::new(FailureKind::Throttled, format!("{name}: {message}")) })
    }

    fn answer(&mut self, process: u32, effect: EffectId, outcome: Outcome, after: Duration) {
        let travels = self.net.within(self.nature.takes().network);
        self.nature.after(after + travels, Event::Answer(process, effect, Box::new(outcome)));
    }

    /// Carries out PutParameter, the second half of a Configure.
    pub(super) fn put(&mut self, put: &Put) {
        // A process that died between the two calls never made the second one.
        if put.process != self.process {
            return;
        }
        *self.calls.entry("PutParameter").or_default() += 1;
        let failed = |kind| Outcome::NotHandedOver(Failure::new(kind, "PutParameter failed"));
        if self.nature.aws_spell() {
            return self.answer(put.process, put.effect, failed(FailureKind::Throttled), Duration::ZERO);
        }
        if !self.cloud.admit("PutParameter", self.nature.now()) {
            *self.throttled.entry("PutParameter").or_default() += 1;
            return self.answer(put.process, put.effect, failed(FailureKind::Throttled), Duration::ZERO);
        }
        if self.nature.hits(Fault::Refused) {
            return self.answer(put.process, put.effect, failed(FailureKind::Throttled), Duration::ZERO);
        }
        let unanswered = self.nature.strikes(Fault::Unanswered).map(|mut half| half.chance(0.5));
        if unanswered != Some(false) {
            self.put_secret(put);
        }
        match unanswered {
            Some(_) => self.answer(put.process, put.effect, failed(FailureKind::Ambiguous), TIMEOUT),
            None => self.answer(put.process, put.effect, Outcome::Configured { runner: put.runner }, Duration::ZERO),
        }
    }

    fn put_secret(&mut self, put: &Put) {
        let id = &put.configure.name.instance;
        let alive = self.cloud.instances().get(id).is_some_and(crate::cloud::TrueInstance::live);
        let orphan_since = (!alive).then_some(self.nature.now());
        let configure = std::sync::Arc::new(put.configure.clone());
        self.cloud.secrets.insert(id.clone(), Secret { runner: put.runner, configure, orphan_since });
        self.machines.may_fetch(id, &mut self.nature);
    }
}
