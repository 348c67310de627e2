//! What the current process has heard and sent. S4, S5, S7, S8, L5 and a part of S1 are judged by it when the controller
//! sends an effect. It is forgotten when the process dies, because the process forgets it, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::effect::{Action, Effect, Input, JobMessage, Outcome, Resource, Source, Swept};
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{
    EffectId, InstanceId, Intent, JobId, ListId as List, MessageId, Payer, PoolName, RunnerId, RunnerName,
};
use muster_reconciler::manifest::Limits;
use muster_reconciler::reason::{Reason, StepReason};
use muster_reconciler::time::{Time, human};

use super::breaker::SpotNews;
use super::isolation::Isolation;
use super::retry::Retries;
use super::{Invariant, Oracle, Truth};
use crate::capacity::TokenBucket;
use crate::faults::Fault;
use crate::github::is_stranger;
use crate::request::{Request, api, counts_against};

/// Works: how old the newest list may be on which muster acts, and a minute more.
const RECONNECTED: Duration = Duration::from_secs(180);

/// What one process knows.
#[derive(Debug, Default)]
pub struct ProcessView {
    /// The sources of which the process has had a complete sweep.
    swept: BTreeSet<Source>,
    sources: BTreeMap<EffectId, Source>,
    /// The instances on which this job runs, as events said.
    running: BTreeMap<InstanceId, JobId>,
    /// The instances that each list showed as busy when it was last seen.
    busy: BTreeMap<List, BTreeSet<InstanceId>>,
    /// The furthest state that the controller gave each job.
    states: BTreeMap<JobId, JobState>,
    /// Until when GitHub has told the process to wait, for one resource, or for everything that the payer asks.
    exhausted: BTreeMap<(Payer, Option<Resource>), Time>,
    /// The other side's token buckets, as if only this process made calls.
    buckets: BTreeMap<&'static str, Option<TokenBucket>>,
    retries: Retries,
    /// When an event last told that a runner of each pool began a job.
    given: BTreeMap<PoolName, Time>,
    /// The jobs that have left the queue, as events or answers said.
    begun: BTreeSet<JobId>,
    /// The messages that came.
    messages: BTreeSet<MessageId>,
    /// When each question about a job was asked.
    asked: BTreeMap<EffectId, Time>,
    /// GitHub's last word on whether each queued job may start.
    words: BTreeMap<JobId, Word>,
    pub(super) isolation: Isolation,
    pub(super) spot: SpotNews,
}

/// GitHub's word on a queued job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// The job may not start yet.
    pub waits: bool,
    /// When the process last heard it.
    pub at: Time,
    /// When the process first asked GitHub about the job after that.
    pub asked: Option<Time>,
}

impl ProcessView {
    /// Whether events or a list have said that a job runs on the instance.
    pub(crate) fn knows_job_on(&self, id: &InstanceId) -> bool {
        self.running.contains_key(id) || self.busy.values().any(|instances| instances.contains(id))
    }

    /// When an event last told that a runner of the pool began a job.
    pub(super) fn given_at(&self, pool: &PoolName) -> Option<Time> {
        self.given.get(pool).copied()
    }

    /// GitHub's last word on a queued job, as the process heard it.
    pub(super) fn word(&self, job: JobId) -> Option<Word> {
        self.words.get(&job).copied()
    }

    /// Whether GitHub has told the process to wait with its configurations, or with everything that the payer asks.
    pub(super) fn limited(&self, payer: &Payer, now: Time) -> bool {
        let of = [None, Some(Resource::Registration), Some(Resource::Core)];
        of.into_iter().any(|of| self.exhausted.get(&(payer.clone(), of)).is_some_and(|until| *until > now))
    }

    /// These launches were asked for by a predecessor, so asking again keeps to the backoff of each.
    pub(super) fn inherits(&mut self, launches: &BTreeSet<Intent>) {
        self.retries.asked.extend(launches.iter().cloned());
    }

    /// The manifests changed, which may have removed what a pool waited for.
    pub(crate) fn new_spec(&mut self) {
        self.retries.new_spec();
        self.spot.new_spec();
    }

    /// Takes in an input that the controller is about to get.
    pub(crate) fn hear(&mut self, input: &Input, cluster: &str, now: Time) {
        self.isolation.hear(input);
        match input {
            Input::Messages(messages) => {
                for JobMessage { id, event, .. } in messages {
                    self.retries.message_came(*id);
                    self.retries.job_heard(event.job, event.run);
                    if self.messages.insert(*id) && event.state == JobState::Queued {
                        self.words.insert(event.job, Word { waits: event.waiting, at: now, asked: None });
                    }
                    let news = event.state != JobState::Queued && self.begun.insert(event.job);
                    // A stranger may give a runner a name of ours. What GitHub gives that runner, it does not give the pool.
                    let ours = !event.runner_id.is_some_and(is_stranger) && event.state == JobState::InProgress;
                    let begun = event.runner.as_deref().filter(|_| news && ours);
                    if let Some(name) = begun.and_then(|name| RunnerName::parse_ours(name, cluster)) {
                        self.given.insert(name.pool, now);
                    }
                    self.hear_job(event.job, event.state, (event.runner.as_deref(), event.runner_id), cluster);
                }
            }
            Input::GitHubLimit(limit) if limit.remaining == 0 => {
                // Of two limits that are used up at once, the one that lasts longer holds.
                let until = self.exhausted.entry((limit.payer.clone(), limit.resource)).or_insert(Time::ZERO);
                *until = (*until).max(now + limit.reset_after);
            }
            Input::GitHubLimit(limit) => {
                self.exhausted.remove(&(limit.payer.clone(), limit.resource));
            }
            Input::Outcome(id, outcome) => {
                self.retries.ended(*id, outcome, now);
                let source = self.sources.remove(id);
                let asked = self.asked.remove(id);
                match (outcome, source) {
                    (Outcome::Job(j), _) => {
                        self.retries.job_heard(j.job, j.run);
                        self.begun.extend(j.state.filter(|state| *state != JobState::Queued).map(|_| j.job));
                        // An answer to an older question is no news.
                        let news = asked.is_some_and(|asked| self.words.get(&j.job).is_none_or(|word| asked >= word.at));
                        if news && j.state.is_none_or(|state| state == JobState::Queued) {
                            self.words.insert(j.job, Word { waits: j.state.is_none(), at: now, asked: None });
                        }
                        if let Some(state) = j.state {
                            self.hear_job(j.job, state, (j.runner.as_deref(), j.runner_id), cluster);
                        }
                    }
                    (Outcome::Swept(swept), Some(source)) => {
                        if let (Swept::Runners(Some(rows)), Source::Runners(list)) = (swept, &source) {
                            let busy = rows.iter().filter(|r| r.busy).map(|r| r.name.instance.clone()).collect();
                            self.busy.insert(list.clone(), busy);
                        }
                        if let (Swept::Deliveries(rows), Source::Deliveries(app)) = (swept, &source) {
                            self.isolation.hear_lost(app, rows, now);
                        }
                        self.swept.insert(source);
                    }
                    _ => {}
                }
            }
            Input::Spec(_)
            | Input::Releases(_)
            | Input::Groups(_)
            | Input::Versions(_)
            | Input::Ec2(_)
            | Input::Tick
            | Input::Lead(..)
            | Input::Shutdown => {}
        }
    }

    fn hear_job(&mut self, job: JobId, state: JobState, (runner, id): (Option<&str>, Option<RunnerId>), cluster: &str) {
        // A name proves nothing.
        let runner = runner.filter(|_| !id.is_some_and(is_stranger));
        let Some(name) = runner.and_then(|name| RunnerName::parse_ours(name, cluster)) else { return };
        match state {
            JobState::Queued => {}
            JobState::InProgress => {
                self.running.insert(name.instance, job);
            }
            JobState::Completed => {
                if self.running.get(&name.instance) == Some(&job) {
                    self.running.remove(&name.instance);
                }
                self.states.insert(job, JobState::Completed);
            }
        }
    }

    /// S9: records how far the controller says that a job is. Err: the controller said more before.
    pub(crate) fn state_is(&mut self, job: JobId, state: JobState) -> Result<(), JobState> {
        let before = self.states.entry(job).or_insert(state);
        if state < *before {
            return Err(*before);
        }
        *before = state;
        Ok(())
    }

    fn over_rate(&mut self, name: &'static str, limits: &Limits, now: Time) -> bool {
        // Each Configure makes one call of GenerateJitConfig and one of PutParameter. An operator may have made muster
        // slower than SSM is. The small extra is for rounding on both sides.
        let name = if name == "GenerateJitConfig" { "PutParameter" } else { name };
        let puts = limits.ssm_put_per_second;
        let bucket = self.buckets.entry(name).or_insert_with(|| match name {
            "PutParameter" => Some(TokenBucket::new(puts.max(1.0) + 0.01, puts, now)),
            _ => TokenBucket::of(name, now),
        });
        bucket.as_mut().is_some_and(|b| !b.take(now))
    }
}

impl Oracle {
    /// Judges an effect when the controller sends it. `fenced` says that the process does not surely hold the lease.
    pub(crate) fn judge_effect(&mut self, effect: Effect, process: u32, fenced: bool, truth: Truth<'_>) -> Request {
        let now = truth.now();
        let going_on = self.going_on || fenced;
        let (name, action) = (api(&effect.action), &effect.action);
        if !going_on && self.process_view.over_rate(name, &truth.spec.controller.spec.limits, now) {
            self.blame(Invariant::S7, now, format!("{name} was called more often than the other side admits"));
        }
        if let Some((payer, resource)) = counts_against(action, truth.spec) {
            let said = |of| self.process_view.exhausted.get(&(payer.clone(), of)).copied();
            if let Some(until) = said(Some(resource)).max(said(None)).filter(|until| *until > now) {
                let left = human(until.since(now));
                self.blame(Invariant::S7, now, format!("{name} for {payer}, though GitHub had said to wait {left} more"));
            }
        }
        let runners = truth.controller.map(|c| c.view().world.runners());
        let known = |id: &InstanceId| runners.and_then(|r| r.get(id)).map_or(Time::ZERO, |r| r.first_seen());
        if let Some(hasty) = self.process_view.retries.sets_out(&effect, known, now) {
            self.blame(Invariant::L5, now, hasty);
        }
        // A predecessor has decided on that launch.
        let inherited =
            matches!(&effect.action, Action::Launch(launch) if self.inherited.contains(&(launch.intent.clone(), process)));
        if !inherited {
            self.judge_turn(&effect, truth);
        }
        let mut request = Request { process, sent_at: now, effect, knew: Vec::new(), max: u32::MAX, held: false };
        self.judge_target(&mut request, inherited, going_on, truth);
        request
    }

    fn judge_target(&mut self, request: &mut Request, inherited: bool, going_on: bool, truth: Truth<'_>) {
        let (now, process) = (truth.now(), request.process);
        let effect = &request.effect;
        match &effect.action {
            Action::Sweep(source) => {
                self.process_view.sources.insert(effect.id, source.clone());
            }
            Action::Launch(launch) if inherited => {
                request.max = truth.spec.pools.get(&launch.pool).map_or(0, |p| p.spec.capacity.max);
            }
            Action::Launch(launch) => {
                self.judge_look("Launch", now);
                self.judge_market(launch, effect, truth);
                self.judge_share(launch, effect, truth);
                if !going_on {
                    self.judge_pause(launch, truth);
                }
                request.max = truth.spec.pools.get(&launch.pool).map_or(0, |p| p.spec.capacity.max);
                let first = *self.intents.entry(launch.intent.clone()).or_insert(process);
                if first != process {
                    let what = format!("intent {} of process {first} is used again by process {process}", launch.intent);
                    self.blame(Invariant::S5, now, what);
                }
            }
            Action::Drain(ids) | Action::DeleteSecrets(ids) => {
                self.judge_ours(ids, now);
                self.judge_look(api(&effect.action), now);
                // A row that is missing from several lists misleads muster.
                let misled = [Fault::MissingRow, Fault::ShiftedPage].iter().any(|fault| truth.nature.luck.count(*fault) > 0);
                if let (Action::Drain(_), Reason::Steps(whys), false) = (&effect.action, &effect.reason, misled) {
                    self.judge_offline(ids.iter().zip(whys).filter(|(id, _)| truth.online(id)), now);
                }
            }
            Action::Terminate(ids) => {
                let ids = ids.clone();
                self.judge_ours(&ids, now);
                self.judge_look("TerminateInstances", now);
                for id in &ids {
                    self.judge_list_seen(id, truth);
                }
                request.knew = ids.into_iter().filter(|id| self.process_view.knows_job_on(id)).collect();
            }
            Action::Deregister { runner, name, .. } => {
                self.judge_look("DeleteRunner", now);
                let is = truth.github.registrations().get(runner).map(|r| &r.name);
                if is.is_some_and(|is| is != name) {
                    let is = is.map(ToString::to_string).unwrap_or_default();
                    self.blame(Invariant::S4, now, format!("runner {runner} is deregistered as {name}; it is {is}"));
                }
                if self.process_view.knows_job_on(&name.instance) {
                    request.knew.push(name.instance.clone());
                }
            }
            Action::CheckJob { job, .. } => {
                self.process_view.asked.insert(effect.id, now);
                if let Some(word) = self.process_view.words.get_mut(job) {
                    word.asked.get_or_insert(now);
                }
            }
            Action::Configure(_)
            | Action::LookAtRun { .. }
            | Action::Rerun { .. }
            | Action::CancelRun { .. }
            | Action::Tell(..)
            | Action::Redeliver { .. }
            | Action::Messages(..) => {}
        }
    }

    /// Works: a runner that is asked to end as offline is so, or came online since the list was made that says so.
    fn judge_offline<'a>(&mut self, steps: impl Iterator<Item = (&'a InstanceId, &'a StepReason)>, now: Time) {
        for (id, _) in steps.filter(|(_, why)| **why == StepReason::OnlineNoMore) {
            if let Some(since) = self.online.get(id).filter(|since| now.since(**since) >= RECONNECTED) {
                let what = format!("{id} is asked to end as offline, and is online since {}", human(now.since(*since)));
                self.blame(Invariant::Works, now, what);
            }
        }
    }

    fn judge_ours(&mut self, ids: &[InstanceId], now: Time) {
        for id in ids {
            if !self.instances.contains(id) {
                self.blame(Invariant::S4, now, format!("{id} was never ours, and is touched"));
            }
        }
    }

    fn judge_look(&mut self, name: &str, now: Time) {
        if !self.process_view.swept.contains(&Source::Instances) {
            self.blame(Invariant::S8, now, format!("{name} before the first complete look at the instances"));
        }
    }

    /// S8: a registered runner's instance is not ended before the first complete sweep of its list, unless it has reached
    /// `maxLifetime`.
    fn judge_list_seen(&mut self, id: &InstanceId, truth: Truth<'_>) {
        let now = truth.now();
        let Some(instance) = truth.cloud.instances().get(id).filter(|i| i.live()) else { return };
        if now.since(instance.launched_at()) >= instance.max_lifetime(truth.spec) {
            return;
        }
        let Some(runner) = truth.machines.get(id).and_then(|m| m.runner()) else { return };
        let Some(list) = truth.github.registrations().get(&runner).map(|r| r.list().clone()) else { return };
        if !self.process_view.swept.contains(&Source::Runners(list.clone())) {
            self.blame(Invariant::S8, now, format!("{id} is ended before the first complete look at {list}"));
        }
    }
}
