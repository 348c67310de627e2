//! What was seen of the runners, and how fresh the view of each source is.
//!
//! Every source has its own clock: when its last *complete* sweep began. Half a sweep proves nothing, and one missing row proves
//! no absence. Nothing is ever concluded from a source that was never seen whole.

mod launches;
mod named;
mod sweeps;

pub use launches::Pending;
pub use named::Named;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::effect::{RunnerSighting, Source};
use crate::event::{Ec2Event, Ec2EventKind, JobEvent, JobState};
use crate::fact::Fact;
use crate::ids::{AppName, InstanceId, Intent, JobId, ListId, PoolName, RunnerId, RunnerName};
use crate::launch::LaunchRecord;
use crate::manifest::Spec;
use crate::past::RunnerPast;
use crate::runner::{CONSISTENCY_LAG, Phase, Runner, Terms, Tried};
use crate::stage::Stage;
use crate::time::Time;
use crate::verdict::MachineEnd;

/// How fresh the view of one source is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Freshness {
    /// When the last complete sweep began. None: there was none.
    pub complete: Option<Time>,
    /// When the complete sweep before that one began.
    pub previous: Option<Time>,
    /// Why the last sweep failed. None: it was complete.
    pub error: Option<String>,
}

/// An instance that ended before its runner was online, although nobody had asked for that.
#[derive(Clone, Debug, PartialEq)]
pub struct Stillborn {
    /// The instance's pool.
    pub pool: PoolName,
    /// The instance.
    pub instance: InstanceId,
    /// What was tried to configure the instance.
    pub tried: Tried,
    /// EC2's StateReason, if known.
    pub reason: Option<String>,
    /// Whether the end was told before, without this reason.
    pub late: bool,
}

/// All that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    runners: BTreeMap<InstanceId, Runner>,
    sources: BTreeMap<Source, Freshness>,
    pending: BTreeMap<Intent, Pending>,
    started: Time,
    /// Whether the predecessor left the list of its last launches.
    knows_last_launches: bool,
    /// Apps and tokens that are no longer in the manifests. muster can no longer see or delete what they registered.
    lost_apps: BTreeSet<AppName>,
    /// Lists that the tags of ended instances name, and that were not swept twice yet. A registration may be left in such a list.
    /// A predecessor knew of the list, and the manifests may not name the list any more.
    ///
    /// Decision 0010, row 25.
    left_lists: BTreeSet<ListId>,
    /// What happened since the controller last took the facts.
    facts: Vec<Fact>,
    stillborn: Vec<Stillborn>,
    lost: Vec<(JobId, RunnerPast)>,
    /// Instances that must not be forgotten, because muster looks into the end of a job on them. With what EC2 shows of their end,
    /// if they were forgotten before.
    watched: BTreeMap<InstanceId, MachineEnd>,
    /// Rows of other lists than the runner's own, with the runner's name, for as long as their list has them.
    elsewhere: BTreeMap<(InstanceId, ListId), Elsewhere>,
}

/// A row of another list than the runner's own, with the runner's name.
#[derive(Clone, Debug, PartialEq)]
struct Elsewhere {
    row: RunnerSighting,
    /// Whether EC2, or our own launch, says which list is the runner's own. The row is then somebody else's, also after our runner is
    /// gone. Until then, nobody knows which of the rows is the runner's.
    foreign: bool,
}

impl World {
    /// A world in which nothing was seen yet. `now` is when this process began.
    pub fn new(now: Time) -> World {
        World { started: now, ..World::default() }
    }

    /// The runners, by their instance's id.
    pub fn runners(&self) -> &BTreeMap<InstanceId, Runner> {
        &self.runners
    }

    /// One runner, to note an effect on that runner.
    pub fn runner_mut(&mut self, id: &InstanceId) -> Option<&mut Runner> {
        self.runners.get_mut(id)
    }

    /// When this process began to act.
    pub fn started(&self) -> Time {
        self.started
    }

    /// This process acts from now on. It knows nothing of what another one did meanwhile, except for the launches in `launches`.
    /// None: nothing is known of the last launches of whoever acted before.
    pub fn begin_to_act(&mut self, launches: Option<&[LaunchRecord]>, now: Time) {
        self.started = now;
        self.knows_last_launches = launches.is_some();
        for record in launches.unwrap_or_default() {
            self.inherit_launch(record, now);
        }
    }

    /// What happened that is worth a metric, and that the controller has not taken yet.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Takes the facts, so that each one is told once.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Takes the instances of ours that ended before their runners were online, although nobody had asked for that.
    pub fn take_stillborn(&mut self) -> Vec<Stillborn> {
        std::mem::take(&mut self.stillborn)
    }

    /// Takes the jobs that were running on runners that are now forgotten, for the jobs' traces.
    pub fn take_lost(&mut self) -> Vec<(JobId, RunnerPast)> {
        std::mem::take(&mut self.lost)
    }

    /// Keeps what is known of an instance, and what EC2 tells of its end, until [`World::unwatch`].
    pub fn watch(&mut self, id: &InstanceId) {
        self.watched.entry(id.clone()).or_default();
    }

    /// The instance may be forgotten.
    pub fn unwatch(&mut self, id: &InstanceId) {
        self.watched.remove(id);
    }

    /// What EC2 shows of the end of a watched instance that muster did not know when it was watched.
    pub fn watched_end(&self, id: &InstanceId) -> Option<&MachineEnd> {
        self.watched.get(id)
    }

    /// How fresh the view of a source is. None: no sweep of the source has ended yet.
    pub fn freshness(&self, source: &Source) -> Option<&Freshness> {
        self.sources.get(source)
    }

    /// When the last complete sweep of a source began. None: there was none.
    pub fn swept(&self, source: &Source) -> Option<Time> {
        self.sources.get(source).and_then(|f| f.complete)
    }

    /// All sources of which a sweep has ended, complete or not.
    pub fn sources(&self) -> &BTreeMap<Source, Freshness> {
        &self.sources
    }

    /// The lists that may show one of our runners.
    pub fn lists(&self) -> BTreeSet<&ListId> {
        self.runners.values().filter_map(Runner::list).chain(&self.left_lists).collect()
    }

    /// Notes which Apps and tokens are in the manifests.
    pub fn set_apps(&mut self, spec: &Spec) {
        let used = self.runners.values().filter_map(Runner::list).map(|list| &list.app);
        let lost: BTreeSet<AppName> = used.chain(&self.lost_apps).filter(|app| !spec.has_credential(app)).cloned().collect();
        self.lost_apps = lost;
    }

    /// Takes in a complete sweep of one App's failed deliveries, which says nothing of runners.
    pub fn saw_deliveries(&mut self, app: &AppName, began: Time) {
        self.sweep_done(Source::Deliveries(app.clone()), began);
    }

    /// Notes that a sweep failed, and why.
    pub fn sweep_failed(&mut self, source: Source, error: String) {
        self.sources.entry(source).or_default().error = Some(error);
    }

    /// Until when EC2 may not show a predecessor's last launches. None: a sweep that began `settle` after our start, or later,
    /// has shown all of them. Every process waits, because nothing tells whether there was a predecessor. With a lease, the predecessor's
    /// last launches are known, so the first sweep is enough.
    ///
    /// Decision 0010, row 6.
    pub fn predecessor_hidden(&self, settle: Duration) -> Option<Time> {
        let until = self.started + if self.knows_last_launches { Duration::ZERO } else { settle };
        self.swept(&Source::Instances).is_none_or(|began| began < until).then_some(until)
    }

    fn sweep_done(&mut self, source: Source, began: Time) {
        let f = self.sources.entry(source).or_default();
        f.previous = f.complete.replace(began);
        f.error = None;
    }

    fn entry(&mut self, id: &InstanceId, pool: &PoolName, now: Time) -> &mut Runner {
        let runner = self.runners.entry(id.clone()).or_insert_with(|| Runner::new(pool.clone(), now));
        runner.name_pool(pool);
        runner
    }

    // ------------------------------------------------------------------------------------------------ events

    /// Takes in a notification of EC2. Returns the pool, if the instance is one of ours.
    pub fn heard_ec2(&mut self, event: &Ec2Event, now: Time) -> Option<PoolName> {
        let runner = self.runners.get_mut(&event.instance)?;
        match event.kind {
            Ec2EventKind::Rebalance => {}
            Ec2EventKind::SpotInterruption => {
                if runner.interruption_told(now) {
                    let (pool, instance) = (runner.pool().clone(), event.instance.clone());
                    self.facts.push(Fact::Interrupted { pool, instance, busy: runner.may_have_job() });
                }
            }
            Ec2EventKind::State(state) => runner.told_by_ec2(state, now),
        }
        Some(runner.pool().clone())
    }

    /// Takes in what a job event that told something new says of a runner. [`World::named`] says which runner that is.
    pub fn heard_job(&mut self, spec: &Spec, instance: &InstanceId, event: &JobEvent, now: Time) {
        let Some(runner) = self.runners.get_mut(instance) else { return };
        if let Some(id) = event.runner_id {
            runner.named_with(id);
        }
        let pool = runner.pool().clone();
        let ephemeral = spec.pools.get(&pool).is_some_and(|p| p.ephemeral());
        let mut lost = false;
        match event.state {
            JobState::Queued => {}
            JobState::InProgress => runner.job_started(event.job),
            JobState::Completed => {
                let succeeded = event.conclusion.as_deref() == Some("success");
                lost = runner.interrupted_at().is_some() && !succeeded;
                if succeeded {
                    runner.job_succeeded();
                }
                runner.job_ended(event.job, ephemeral, now);
            }
        }
        let first = runner.launched_here() && !runner.has_reached(Stage::Started);
        self.note_presence(instance, now);
        if first && event.state == JobState::InProgress {
            self.reached(instance, Stage::Started, now);
        }
        if lost {
            self.facts.push(Fact::JobLost { pool, instance: instance.clone(), job: event.job });
        }
    }

    /// An event names a runner before the first sweep of EC2. EC2 will show its instance, or the name is forgotten.
    pub fn expect(&mut self, name: &RunnerName, now: Time) {
        self.entry(&name.instance, &name.pool, now);
    }

    /// A job is over, whoever said so. Every runner that runs the job is freed, even if the event named no runner.
    pub fn job_over(&mut self, spec: &Spec, job: JobId, now: Time) {
        for runner in self.runners.values_mut().filter(|r| r.job().runs(job)) {
            let ephemeral = spec.pools.get(runner.pool()).is_some_and(|p| p.ephemeral());
            runner.job_ended(job, ephemeral, now);
        }
    }

    /// The runner's configuration is ready. `registration` is GitHub's id of the runner, if GitHub told the id.
    pub fn configured(&mut self, id: &InstanceId, terms: &Arc<Terms>, registration: Option<RunnerId>, now: Time) {
        let Some(runner) = self.runners.get_mut(id) else { return };
        runner.configuration_ready(terms, registration, now);
        self.reached(id, Stage::Configured, now);
    }

    fn note_presence(&mut self, id: &InstanceId, now: Time) {
        let Some(r) = self.runners.get_mut(id) else { return };
        if r.note_presence(now) && r.launched_here() {
            self.reached(id, Stage::Online, now);
        }
    }

    fn reached(&mut self, id: &InstanceId, stage: Stage, at: Time) {
        let Some(r) = self.runners.get_mut(id) else { return };
        let (pool, after) = (r.pool().clone(), r.reach(stage, at));
        self.facts.push(Fact::RunnerReached { pool, instance: id.clone(), stage, after });
    }

    /// Marks runners without an instance as gone, and forgets those that have left no trace in any source.
    ///
    /// Decision 0010, rows 18, 24.
    fn bury(&mut self, now: Time) {
        let World { runners, facts, sources, stillborn, lost, lost_apps, watched, .. } = self;
        runners.retain(|id, r| {
            // The boot deadline does not decide whether a runner is gone.
            if r.phase(Duration::MAX, now) != Phase::Gone {
                r.found_alive();
                return true;
            }
            let never_configured = r.never_configured();
            if r.found_gone(now) {
                let (tried, reason) = (r.tried(), r.state_reason().map(str::to_owned));
                stillborn.push(Stillborn { pool: r.pool().clone(), instance: id.clone(), tried, reason, late: false });
            }
            let gone_at = r.gone_at().unwrap_or(now);
            // Two sweeps are needed, because one list may lack a row. After that, nobody may ever look at the list again.
            let looked = |list: &ListId| {
                let swept = sources.get(&Source::Runners(list.clone())).and_then(|f| f.previous);
                swept.is_some_and(|s| s >= gone_at) || lost_apps.contains(&list.app)
            };
            let unlisted = match (r.registration(), r.bound_to()) {
                (Some(g), _) => g.is_buried() || lost_apps.contains(&g.list().app),
                // Nobody has seen a registration of this runner, but there may be one.
                (None, Some(list)) => never_configured || looked(list),
                (None, None) => true,
            };
            // A stale answer may show the instance once more. The runner is remembered for as long as EC2 may lag.
            if r.effect_under_way()
                || r.has_secret()
                || watched.contains_key(id)
                || !(unlisted || r.is_deregistered())
                || now.since(gone_at) < CONSISTENCY_LAG
            {
                return true;
            }
            // These facts are told at the very end, because a runner may seem gone more than once.
            let (pool, instance) = (r.pool().clone(), id.clone());
            if let Some(job) = r.job().running() {
                lost.push((job, RunnerPast::of(id, r)));
                facts.push(Fact::JobLost { pool: pool.clone(), instance: instance.clone(), job });
            }
            if let Some(outcome) = r.drain_ended() {
                facts.push(Fact::Drain { pool: pool.clone(), outcome });
            }
            if let Some(shape) = r.shape() {
                let (market, known) = (shape.market, gone_at.since(r.first_seen()));
                facts.push(Fact::RunnerGone { pool, instance, market, known, spot: r.spot_life(gone_at) });
            }
            false
        });
    }
}

#[cfg(test)]
mod tests;
