//! Runs the core: inputs go in, effects come out, and their outcomes go back in. Questions are answered between two steps.
//!
//! One task owns the core, which is never shared. Effects run side by side, and each gets exactly one outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_operations::inspect::{self, Questions};
use muster_operations::liveness::{self, Pulse};
use muster_operations::metrics::Metrics;
use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Effect, GitHubLimit, Input, Launched, Outcome};
use muster_reconciler::failure::{Failure, FailureKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::executor::Executor;
use crate::otlp::Traces;
use crate::record::Tape;

/// How long a stop waits for effects under way. The whole process has 10 s.
const STOP_GRACE: Duration = Duration::from_secs(8);
/// How often a stop checks whether all effects have ended.
const STOP_LOOK: Duration = Duration::from_millis(20);
/// The longest time of an effect. An effect that takes longer gets the outcome Ambiguous.
const EFFECT_DEADLINE: Duration = Duration::from_secs(120);
/// The longest time of a sweep. A sweep changes nothing, and a list of ten thousand runners has a hundred pages.
const SWEEP_DEADLINE: Duration = Duration::from_secs(600);

/// How many orders and questions for health are answered between two steps. More wait for the next turn, so that whoever asks for
/// health all the time keeps no work from being done.
const URGENT: usize = 16;

/// Everything that the loop listens to, and the mark that it sets.
#[derive(Debug)]
pub struct Channels {
    /// Changed manifests, and messages of the queue.
    pub inputs: mpsc::Receiver<Input>,
    /// The rate limits that GitHub's answers tell.
    pub limits: mpsc::UnboundedReceiver<GitHubLimit>,
    /// The questions of the admin listener.
    pub queries: Questions,
    /// The mark that the loop sets at each turn.
    pub pulse: Pulse,
    /// Where the record of the core goes. None: nothing is recorded.
    pub tape: Option<Tape>,
}

/// Runs `controller` until `stop` is cancelled and all effects under way have ended.
pub async fn run(
    mut controller: Controller,
    clock: Clock,
    executor: Executor,
    mut from: Channels,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    stop: CancellationToken,
) {
    turns(&mut controller, clock, executor, &mut from, metrics, traces, stop).await;
    if let Some(tape) = &mut from.tape {
        tape.end(&mut controller, clock.now());
    }
}

async fn turns(
    controller: &mut Controller,
    clock: Clock,
    executor: Executor,
    from: &mut Channels,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    stop: CancellationToken,
) {
    let (answers, mut outcomes) = mpsc::unbounded_channel();
    let mut stopping: Option<tokio::time::Instant> = None;
    let mut logged = 0;
    loop {
        from.pulse.beat();
        if let Some(tape) = &mut from.tape {
            tape.turn(controller, clock.now());
        }
        for query in (0..URGENT).map_while(|_| from.queries.urgent()) {
            inspect::answer(controller, query, clock.now());
            log(controller, &mut logged);
        }
        let wake = clock.instant(controller.next_wake());
        let input = tokio::select! {
            biased;
            () = stop.cancelled(), if stopping.is_none() => {
                stopping = Some(tokio::time::Instant::now() + STOP_GRACE);
                Input::Shutdown
            }
            () = at(stopping) => {
                tracing::warn!(effects = controller.in_flight(), "stopping with effects under way; their outcome is found by the next start");
                return;
            }
            Some((id, outcome)) = outcomes.recv() => Input::Outcome(id, outcome),
            Some(limit) = from.limits.recv() => {
                metrics.github_limit(&limit);
                Input::GitHubLimit(limit)
            }
            Some(input) = from.inputs.recv() => input,
            () = tokio::time::sleep_until(wake) => Input::Tick,
            // Questions come after everything else, so that somebody who asks all the time keeps no work from being done.
            Some(query) = from.queries.recv() => {
                inspect::answer(controller, query, clock.now());
                log(controller, &mut logged);
                continue;
            }
            () = tokio::time::sleep(STOP_LOOK), if stopping.is_some() => Input::Tick,
            () = tokio::time::sleep(liveness::IDLE_TURN) => continue,
        };
        let began = Instant::now();
        let effects = controller.step(clock.now(), input);
        metrics.step(began.elapsed());
        for fact in controller.take_facts() {
            metrics.observe_fact(&fact);
            if let Some(traces) = &traces {
                traces.observe(fact);
            }
        }
        for effect in effects {
            start(effect, &executor, &answers);
        }
        log(controller, &mut logged);
        // The loop ends only after everybody who may hand in messages has ended. Messages that arrive now are released, not
        // forgotten.
        if stopping.is_some() && controller.in_flight() == 0 && from.inputs.is_closed() && from.inputs.is_empty() {
            return;
        }
    }
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Logs one line for each event since the last call: what was decided or heard, for whom, and why.
fn log(controller: &Controller, logged: &mut u64) {
    for e in controller.seen().events(*logged, usize::MAX) {
        let (pool, instance) = (e.pool.as_deref(), e.instance.as_deref());
        if e.bad {
            tracing::warn!(
                event = e.what.as_str(),
                reason_word = e.code.word(),
                pool,
                job = e.job,
                instance,
                reason = e.why,
                "event"
            );
        } else {
            tracing::info!(
                event = e.what.as_str(),
                reason_word = e.code.word(),
                pool,
                job = e.job,
                instance,
                reason = e.why,
                "event"
            );
        }
    }
    *logged = controller.seen().last_event();
}

fn start(effect: Effect, executor: &Executor, answers: &mpsc::UnboundedSender<(muster_reconciler::ids::EffectId, Outcome)>) {
    say(&effect);
    let (executor, answers) = (executor.clone(), answers.clone());
    tokio::spawn(async move {
        let effect = Arc::new(effect);
        let asked = effect.clone();
        // The adapter runs in a task of its own. If it panics, the effect still gets an outcome, and the core does not wait
        // for ever.
        let work = tokio::spawn(async move { executor.carry_out(&asked.action, &asked.reason.to_string()).await });
        let late = work.abort_handle();
        let deadline = if matches!(effect.action, Action::Sweep(_)) { SWEEP_DEADLINE } else { EFFECT_DEADLINE };
        let outcome = match tokio::time::timeout(deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(lost)) => Outcome::Failed(Failure::new(FailureKind::Ambiguous, format!("the adapter failed: {lost}"))),
            Err(_) => {
                // Nobody expects the outcome any more, so the call is aborted.
                late.abort();
                Outcome::Failed(Failure::new(FailureKind::Ambiguous, format!("no answer within {deadline:?}")))
            }
        };
        hear(&effect, &outcome);
        // If the loop has ended, the next process finds out what came of the effect.
        let _ = answers.send((effect.id, outcome));
    });
}

/// Logs the call that is about to be made. The decision behind it is logged with the events.
fn say(effect: &Effect) {
    let (id, why) = (effect.id.0, effect.reason.to_string());
    match &effect.action {
        Action::Launch(l) => {
            tracing::debug!(id, pool = %l.pool, count = l.count, market = l.market.as_str(), intent = %l.intent, why, "launch");
        }
        Action::Configure(c) => tracing::debug!(id, runner = %c.name, replace = c.replace, why, "configure"),
        Action::Drain(ids) => tracing::debug!(id, count = ids.len(), why, "drain"),
        Action::Terminate(ids) => tracing::debug!(id, count = ids.len(), why, "terminate"),
        Action::Deregister { name, runner, .. } => tracing::debug!(id, runner = %name, github_id = runner.0, why, "deregister"),
        Action::CheckJob { repo, job, .. } => tracing::debug!(id, repo, job = job.0, why, "check job"),
        Action::LookAtRun { repo, run, .. } => tracing::debug!(id, repo, run = run.0, why, "look at run"),
        Action::Rerun { repo, run, again, .. } => tracing::info!(id, repo, run = run.0, %again, why, "rerun"),
        Action::CancelRun { repo, run, .. } => tracing::info!(id, repo, run = run.0, why, "cancel run"),
        Action::Tell(key, text) => {
            tracing::info!(
                id,
                repo = key.repo,
                commit = key.sha,
                state = text.state.as_str(),
                text = text.text,
                "write a status"
            );
        }
        Action::Redeliver { app, delivery } => tracing::info!(id, %app, delivery = delivery.0, why, "redeliver"),
        Action::Sweep(source) => tracing::debug!(id, ?source, "sweep"),
        Action::Messages(op, ids) => tracing::debug!(id, ?op, count = ids.len(), why, "messages"),
        Action::DeleteSecrets(ids) => tracing::debug!(id, count = ids.len(), why, "delete secrets"),
    }
}

/// Logs how an effect ended.
fn hear(effect: &Effect, outcome: &Outcome) {
    let id = effect.id.0;
    match (&effect.action, outcome) {
        (Action::Launch(l), Outcome::Launched(Launched { instances, errors })) => {
            tracing::info!(id, pool = %l.pool, launched = instances.len(), asked = l.count, intent = %l.intent, "launched");
            for e in errors {
                tracing::warn!(id, pool = %l.pool, code = e.code, instance_type = e.instance_type.as_deref(), subnet = e.subnet.as_deref(),
                    error = e.message, "an offering could not be launched");
            }
        }
        (_, Outcome::Batch { failed, .. }) => {
            for (instance, f) in failed {
                tracing::warn!(id, %instance, kind = f.kind.as_str(), error = f.message, "failed on one of a batch");
            }
        }
        (Action::Sweep(source), Outcome::Failed(f)) => {
            tracing::warn!(
                id,
                ?source,
                kind = f.kind.as_str(),
                error = f.message,
                "a sweep failed; nothing is concluded from it"
            );
        }
        (_, Outcome::NotHandedOver(f)) => {
            tracing::warn!(
                id,
                kind = f.kind.as_str(),
                error = f.message,
                "a configuration was minted and could not be handed over"
            );
        }
        (_, Outcome::Failed(f)) => tracing::warn!(id, kind = f.kind.as_str(), error = f.message, "an effect failed"),
        _ => {}
    }
}
