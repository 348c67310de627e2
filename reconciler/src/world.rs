//! What was seen, and how fresh each sighting is.
//!
//! Every source has its own clock: when its last *complete* sweep began. Half a sweep is none, one missing row is no
//! absence, and nothing is ever concluded from a source that was never seen whole.

mod sweeps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::defects::{self, Defect};
use crate::effect::{Launch, Launched, Source};
use crate::event::{Ec2Event, Ec2EventKind, InstanceState, JobEvent, JobState};
use crate::fact::{DrainOutcome, Fact};
use crate::ids::{AppName, Forge, InstanceId, Intent, JobId, PoolName, RunnerId, RunnerName};
use crate::manifest::Spec;
use crate::past::BoxPast;
use crate::runner::{BURIED_SWEEPS, CONSISTENCY_LAG, Configured, Phase, Registration, Runner, Shape, Terms};
use crate::stage::Stage;
use crate::time::Time;

/// How fresh one source is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Freshness {
    /// When the last complete sweep began.
    pub complete: Option<Time>,
    /// When the one before it began.
    pub previous: Option<Time>,
    /// The last failure since then.
    pub error: Option<String>,
}

/// A box that ended before it was online, and not because we asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Stillborn {
    /// Its pool.
    pub pool: PoolName,
    /// Nobody tried to configure it.
    pub never_configured: bool,
    /// EC2's StateReason, if it is known.
    pub reason: Option<String>,
    /// Its end was told before, without this reason.
    pub late: bool,
}

/// A launch that was asked for and not answered for certain.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// The request; a retry repeats it byte for byte.
    pub launch: Arc<Launch>,
    /// First asked.
    pub first: Time,
    /// Last asked.
    pub last: Time,
    /// How often.
    pub attempts: u32,
    /// A call is under way; otherwise the last one ended without a certain answer.
    pub in_flight: bool,
    /// An operator wants its instances to end, in the operator's words, which may be empty.
    pub wish: Option<String>,
    /// Boxes of this intent that sweeps have shown meanwhile.
    pub seen: BTreeSet<InstanceId>,
}

impl Pending {
    /// Boxes that may still turn up.
    pub fn outstanding(&self) -> u32 {
        self.launch.count.saturating_sub(u32::try_from(self.seen.len()).unwrap_or(u32::MAX))
    }
}

/// All that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    runners: BTreeMap<InstanceId, Runner>,
    sources: BTreeMap<Source, Freshness>,
    pending: BTreeMap<Intent, Pending>,
    /// When this process began.
    pub started: Time,
    /// Apps that are no longer in the manifests: what they registered can't be seen, or deleted, any more.
    lost_apps: BTreeSet<AppName>,
    /// Lists that ended boxes may have left a registration in, says their tag, and that were not looked at twice. A predecessor
    /// knew of them; the manifests may name them no more.
    ///
    /// Decision 0010, row 25.
    left_lists: BTreeSet<Forge>,
    /// Worth a metric; the driver takes them.
    pub facts: Vec<Fact>,
    /// Own boxes that ended before they were ever online, and not because we asked; the controller takes them.
    pub stillborn: Vec<Stillborn>,
    /// Jobs that were running on boxes that are forgotten now, for their traces; the controller takes them.
    pub lost: Vec<(JobId, BoxPast)>,
}

impl World {
    /// Nothing seen yet.
    pub fn new(now: Time) -> World {
        World { started: now, ..World::default() }
    }

    /// The boxes, by instance id.
    pub fn runners(&self) -> &BTreeMap<InstanceId, Runner> {
        &self.runners
    }

    /// One box, to note an effect on it.
    pub fn runner_mut(&mut self, id: &InstanceId) -> Option<&mut Runner> {
        self.runners.get_mut(id)
    }

    /// Launches without a certain answer.
    pub fn pending(&self) -> &BTreeMap<Intent, Pending> {
        &self.pending
    }

    /// One of them, to note a retry.
    pub fn pending_mut(&mut self, intent: &Intent) -> Option<&mut Pending> {
        self.pending.get_mut(intent)
    }

    /// All of them, to note that a pool's boxes are to end.
    pub fn pending_all_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.pending.values_mut()
    }

    /// How fresh a source is.
    pub fn freshness(&self, source: &Source) -> Option<&Freshness> {
        self.sources.get(source)
    }

    /// When the last complete sweep of a source began.
    pub fn swept(&self, source: &Source) -> Option<Time> {
        self.sources.get(source).and_then(|f| f.complete)
    }

    /// All sources that were ever looked at.
    pub fn sources(&self) -> &BTreeMap<Source, Freshness> {
        &self.sources
    }

    /// The lists in which something that is ours may be.
    pub fn lists(&self) -> BTreeSet<&Forge> {
        self.runners.values().filter_map(Runner::list).chain(&self.left_lists).collect()
    }

    /// Takes note of the Apps that there are.
    pub fn set_apps(&mut self, spec: &Spec) {
        let used = self.runners.values().filter_map(Runner::list).map(|list| &list.app);
        let lost: BTreeSet<AppName> = used.chain(&self.lost_apps).filter(|app| !spec.has_credential(app)).cloned().collect();
        self.lost_apps = lost;
    }

    /// A complete look at one App's failed deliveries, which says nothing of boxes.
    pub fn saw_deliveries(&mut self, app: &AppName, began: Time) {
        self.sweep_done(Source::Deliveries(app.clone()), began);
    }

    /// A sweep did not work out.
    pub fn sweep_failed(&mut self, source: Source, error: String) {
        self.sources.entry(source).or_default().error = Some(error);
    }

    /// Until when a predecessor's last launches may be hidden from us; None: a sweep began longer after our start than EC2 may
    /// lag (`settle`), so all of them were seen. Nothing tells that there was no predecessor: all that it did may be hidden.
    ///
    /// Decision 0010, row 6.
    pub fn predecessor_hidden(&self, settle: Duration) -> Option<Time> {
        let until = self.started + settle;
        self.swept(&Source::Instances).is_none_or(|began| began < until).then_some(until)
    }

    fn sweep_done(&mut self, source: Source, began: Time) {
        let f = self.sources.entry(source).or_default();
        f.previous = f.complete.replace(began);
        f.error = None;
    }

    /// Decision 0010, row 26.
    fn entry(&mut self, id: &InstanceId, pool: &PoolName, now: Time) -> &mut Runner {
        let runner = self.runners.entry(id.clone()).or_insert_with(|| Runner::new(pool.clone(), now));
        if runner.pool == PoolName::default() {
            runner.pool.clone_from(pool);
        }
        runner
    }

    // ---------------------------------------------------------------------------------------------- launches

    /// A launch is about to be asked for.
    pub fn launch_asked(&mut self, launch: Arc<Launch>, now: Time) {
        let pending = Pending { first: now, last: now, attempts: 1, in_flight: true, wish: None, seen: BTreeSet::new(), launch };
        self.pending.insert(pending.launch.intent.clone(), pending);
    }

    /// EC2 answered: what it gave is ours from now on. Returns how many of the count are missing.
    pub fn launch_answered(&mut self, intent: &Intent, answer: &Launched, now: Time) -> u32 {
        let Some(pending) = self.pending.remove(intent) else { return 0 };
        for i in &answer.instances {
            let runner = self.entry(&i.id, &pending.launch.pool, pending.first);
            runner.launched_by = Some(intent.clone());
            runner.forge = Some(pending.launch.forge.clone());
            runner.wish = runner.wish.take().or(pending.wish.clone());
            runner.shape = Some(Shape { instance_type: i.instance_type.clone(), subnet: i.subnet.clone(), market: i.market });
            self.reached(&i.id, Stage::Launched, now);
        }
        pending.launch.count.saturating_sub(u32::try_from(answer.instances.len()).unwrap_or(u32::MAX))
    }

    /// The launch did not take effect, for certain.
    pub fn launch_refused(&mut self, intent: &Intent) -> Option<Pending> {
        self.pending.remove(intent)
    }

    /// Gives up on launches that nobody knows the outcome of, once a sweep must have shown whatever came of them.
    pub fn settle_launches(&mut self) -> Vec<Pending> {
        let Some(began) = self.swept(&Source::Instances) else { return Vec::new() };
        let settled = |p: &Pending| !p.in_flight && (began >= p.last + CONSISTENCY_LAG || p.outstanding() == 0);
        let out: Vec<Intent> = self.pending.iter().filter(|(_, p)| settled(p)).map(|(i, _)| i.clone()).collect();
        out.iter().filter_map(|i| self.pending.remove(i)).collect()
    }

    // ------------------------------------------------------------------------------------------------ events

    /// EC2 notified us. Returns the pool, if the box is one of ours.
    pub fn heard_ec2(&mut self, event: &Ec2Event, now: Time) -> Option<PoolName> {
        if defects::has(Defect::AdoptStrangers) {
            self.entry(&event.instance, &"theirs".into(), now);
        }
        let runner = self.runners.get_mut(&event.instance)?;
        match event.kind {
            Ec2EventKind::Rebalance => {}
            Ec2EventKind::SpotInterruption => {
                if runner.interrupted_at.is_none() {
                    runner.interrupted_at = Some(now);
                    let (pool, instance) = (runner.pool.clone(), event.instance.clone());
                    self.facts.push(Fact::Interrupted { pool, instance, busy: runner.may_have_job() });
                }
            }
            Ec2EventKind::State(state) => {
                if let Some(i) = &mut runner.instance {
                    i.state = later(i.state, state);
                    if i.ending_since.is_none() && ending(state) {
                        i.ending_since = Some(now);
                    }
                }
            }
        }
        self.runners.get(&event.instance).map(|r| r.pool.clone())
    }

    /// A job event that told something new: what it says of the box that it names.
    pub fn heard_job(&mut self, spec: &Spec, event: &JobEvent, now: Time) -> Option<PoolName> {
        let name = RunnerName::parse_ours(event.runner.as_deref()?, spec.controller.cluster())?;
        // Whoever may speak of one pool must not reach another pool's box by a made-up name.
        let known = self.runners.get(&name.instance).map(|runner| &runner.pool);
        if known.is_some_and(|pool| *pool != PoolName::default() && *pool != name.pool) {
            return None;
        }
        let ephemeral = spec.pools.get(&name.pool).is_some_and(|p| p.ephemeral());
        let late = event.state == JobState::Completed && self.swept(&Source::Instances).is_some();
        if late && !self.runners.contains_key(&name.instance) {
            return Some(name.pool);
        }
        let runner = self.entry(&name.instance, &name.pool, now);
        let mut lost = false;
        match event.state {
            JobState::Queued => {}
            JobState::InProgress => runner.job.started(event.job),
            JobState::Completed => {
                lost = runner.interrupted_at.is_some() && event.conclusion.as_deref() != Some("success");
                runner.job.ended(event.job, ephemeral, now);
            }
        }
        let first = runner.launched_by.is_some() && runner.reached[Stage::Started as usize].is_none();
        self.note_presence(&name.instance, now);
        if first && event.state == JobState::InProgress {
            self.reached(&name.instance, Stage::Started, now);
        }
        if lost {
            self.facts.push(Fact::JobLost { pool: name.pool.clone(), instance: name.instance, job: event.job });
        }
        Some(name.pool)
    }

    /// A job is known to be over by other means than its event (GitHub was asked); frees reusable boxes too.
    pub fn job_over(&mut self, spec: &Spec, job: JobId, now: Time) {
        for runner in self.runners.values_mut().filter(|r| r.job.runs(job)) {
            let ephemeral = spec.pools.get(&runner.pool).is_some_and(|p| p.ephemeral());
            runner.job.ended(job, ephemeral, now);
        }
    }

    /// The box's configuration lies ready.
    pub fn configured(&mut self, id: &InstanceId, terms: &Arc<Terms>, registration: Option<RunnerId>, now: Time) {
        let Some(runner) = self.runners.get_mut(id) else { return };
        runner.configured = Configured::Yes(now);
        runner.secret = true;
        if let Some(rid) = registration {
            register(runner, rid, &terms.forge, now);
        }
        runner.terms = Some(Arc::clone(terms));
        self.reached(id, Stage::Configured, now);
    }

    /// Keeps `online_at` and `idle_since` in step with registration and job evidence.
    fn note_presence(&mut self, id: &InstanceId, now: Time) {
        let Some(r) = self.runners.get_mut(id) else { return };
        let (online, busy) = r.registration.as_ref().map_or((false, false), |g| (g.online, g.busy));
        let working = busy || !r.job.is_none();
        if r.online_at.is_none() && (online || working) {
            r.online_at = Some(now);
            r.secret = false;
            if !matches!(r.configured, Configured::Yes(_)) {
                r.configured = Configured::Yes(now);
            }
            if r.launched_by.is_some() {
                self.reached(id, Stage::Online, now);
            }
        }
        let Some(r) = self.runners.get_mut(id) else { return };
        r.idle_since = (online && !working).then(|| r.idle_since.unwrap_or(now));
    }

    fn reached(&mut self, id: &InstanceId, stage: Stage, at: Time) {
        let Some(r) = self.runners.get_mut(id) else { return };
        r.reached[stage as usize] = Some(at);
        let (pool, after) = (r.pool.clone(), at.since(r.first_seen));
        self.facts.push(Fact::RunnerReached { pool, instance: id.clone(), stage, after });
    }

    /// Marks boxes as gone, and forgets those that have left no trace anywhere.
    ///
    /// Decision 0010, rows 18, 24, 34.
    fn bury(&mut self, now: Time) {
        let World { runners, facts, sources, stillborn, lost, lost_apps, .. } = self;
        runners.retain(|id, r| {
            // The boot deadline plays no part in being gone.
            if r.phase(Duration::MAX, now) != Phase::Gone {
                r.gone_at = None;
                return true;
            }
            let unasked = r.terminated_at.is_none() && r.drain.is_none() && !r.may_be_leaving();
            let ended_itself = unasked && r.interrupted_at.is_none();
            let never_configured = r.never_configured();
            let gone_at = *r.gone_at.get_or_insert_with(|| {
                if r.launched_by.is_some() && r.online_at.is_none() && ended_itself {
                    r.stillborn = true;
                    let reason = r.instance.as_ref().and_then(|i| i.state_reason.clone());
                    stillborn.push(Stillborn { pool: r.pool.clone(), never_configured, reason, late: false });
                }
                now
            });
            // Twice, because one list may lack a row; after that nobody may ever look at it again.
            let looked = |list: &Forge| {
                let swept = sources.get(&Source::Runners(list.clone())).and_then(|f| f.previous);
                swept.is_some_and(|s| s >= gone_at) || lost_apps.contains(&list.app)
            };
            let unlisted = match (&r.registration, &r.forge) {
                (Some(g), _) => g.missed >= BURIED_SWEEPS || lost_apps.contains(&g.forge.app),
                // Nobody saw its registration yet; there may be one all the same.
                (None, Some(list)) => never_configured || looked(list),
                (None, None) => true,
            };
            // A stale page may show it up once more: it is remembered for as long as EC2 may be behind.
            if r.in_flight || r.secret || !(unlisted || r.deregistered) || now.since(gone_at) < CONSISTENCY_LAG {
                return true;
            }
            // Told at the very end, because it may seem gone more than once.
            let (pool, instance) = (r.pool.clone(), id.clone());
            if let Some(job) = r.job.running() {
                lost.push((job, BoxPast::of(id, r)));
                facts.push(Fact::JobLost { pool: pool.clone(), instance: instance.clone(), job });
            }
            if r.drain.is_some() {
                let outcome = if r.terminated_at.is_some() { DrainOutcome::Unanswered } else { DrainOutcome::Answered };
                facts.push(Fact::Drain { pool: pool.clone(), outcome });
            }
            if let Some(shape) = r.shape() {
                facts.push(Fact::RunnerGone { pool, instance, market: shape.market, lived: gone_at.since(r.first_seen) });
            }
            false
        });
    }
}

/// Notes a registration, keeping what is known of it.
fn register(runner: &mut Runner, id: RunnerId, forge: &Forge, now: Time) {
    if runner.registration.as_ref().is_none_or(|r| r.id != id || r.forge != *forge) {
        runner.registration =
            Some(Registration { id, forge: forge.clone(), online: false, busy: false, first_seen: now, missed: 0 });
        runner.deregistered = false;
    }
    if runner.configured == Configured::No {
        runner.configured = Configured::Seen;
    }
}

/// On its way out.
fn ending(state: InstanceState) -> bool {
    !matches!(state, InstanceState::Pending | InstanceState::Running)
}

/// The later of two states in an instance's life.
fn later(a: InstanceState, b: InstanceState) -> InstanceState {
    let rank = |s: InstanceState| match s {
        InstanceState::Pending => 0,
        InstanceState::Running => 1,
        InstanceState::Stopping => 2,
        InstanceState::Stopped => 3,
        InstanceState::ShuttingDown => 4,
        InstanceState::Terminated => 5,
    };
    if rank(b) >= rank(a) { b } else { a }
}

#[cfg(test)]
mod tests;
