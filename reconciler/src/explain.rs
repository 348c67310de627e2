//! What people see of every job, runner and pool, each with its reason in one sentence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::controller::Seen;
use crate::demand::Job;
use crate::effect::Source;
use crate::event::JobState;
use crate::expect::JobQueue;
use crate::ids::{InstanceId, JobId, ListId, PoolName, RunnerName};
use crate::manifest::Os;
use crate::mark::StateMark;
use crate::market::Market;
use crate::plan::{DRAIN_DEADLINE, END_GRACE, Plan};
use crate::reason::{Code, PoolReason, RunnerReason, Standing};
use crate::runner::{Configured, Phase, Registration, Runner};
use crate::stage::Stage;
use crate::time::Time;
use crate::versions::VersionEnds;
use crate::view::{BilledFor, JobView, PoolView, RunnerView, StageView, Totals};
use crate::warnings::{self, Warning};

/// From this age on, a job that only an idle runner shows to be held counts among those that wait. Somebody's mistake may hold the
/// job, such as a runner group that does not admit the job's repository.
const HELD_TOLD: Duration = Duration::from_secs(3600);

impl Seen<'_> {
    /// All pools. Each pool is planned anew for this from what is known now.
    pub fn pools(&self, now: Time) -> Vec<PoolView> {
        let (warnings, queues) = (self.warnings(now), self.queues(now));
        let view = |plan: &Plan| self.pool_view(plan, warnings.get(&plan.pool), queues.get(&plan.pool), now);
        self.preview(now).iter().map(view).collect()
    }

    /// One pool. None: neither a manifest nor a runner names it.
    pub(crate) fn pool(&self, name: &PoolName, now: Time) -> Option<PoolView> {
        let ours = || self.world.runners().values().any(|r| r.pool() == name);
        if !self.spec.pools.contains_key(name) && !ours() {
            return None;
        }
        let queue = self.spec.pools.contains_key(name).then(|| self.queue(name, now));
        let plan = self.preview_of(std::slice::from_ref(name), now).pop()?;
        Some(self.pool_view(&plan, self.warnings(now).get(name), queue.as_ref(), now))
    }

    fn pool_view(&self, plan: &Plan, warnings: Option<&Vec<Warning>>, queue: Option<&JobQueue>, now: Time) -> PoolView {
        // What the pool's runners get matters more than how many there are.
        let not_served = self.not_served(&plan.pool).filter(|_| !plan.pool_gone);
        let (reason, code) = match not_served.cloned() {
            Some(why) => (format!("{}; {}", why.say(now), plan.say(now)), PoolReason::NotServed(why)),
            None => (plan.say(now), plan.reason()),
        };
        let pool = self.spec.pools.get(&plan.pool);
        let (paused, busy) = (self.paused.contains_key(&plan.pool), plan.counts.phases.contains_key(&Phase::Busy));
        PoolView {
            name: plan.pool.to_string(),
            scope: pool.map_or_else(String::new, |p| p.spec.github.scope.to_string()),
            labels: pool.map_or_else(Vec::new, |p| p.spec.labels.clone()),
            max: plan.counts.max,
            idle_floor: plan.counts.floor,
            queued: plan.counts.queued,
            wanted: plan.counts.wanted,
            supply: plan.counts.supply,
            paused,
            mark: StateMark::of_pool(&code, paused, plan.counts.counting > 0, busy),
            waits: queue.map(|queue| self.waits_view(&plan.pool, queue, now)).unwrap_or_default(),
            phases: plan.counts.phases.clone(),
            warnings: warnings.into_iter().flatten().map(ToString::to_string).collect(),
            reason,
            code: code.into(),
        }
    }

    /// What GitHub will not do as the pools' manifests seem to say, or not for long.
    pub fn warnings(&self, now: Time) -> BTreeMap<PoolName, Vec<Warning>> {
        let mut all = self.warnings.clone();
        for (pool, versions) in self.versions() {
            let ends = versions.iter().filter_map(|(_, version, ends)| warnings::of_version(version, ends, now));
            let ends: Vec<Warning> = ends.collect();
            if !ends.is_empty() {
                all.entry(pool).or_default().extend(ends);
            }
        }
        all
    }

    /// The versions that each pool runs: those that its next launches install, and those that its runners run: by GitHub's list, or
    /// by the instance's own word where the list does not tell.
    fn in_use(&self) -> BTreeMap<&PoolName, BTreeSet<&str>> {
        let named = |(name, pool)| (name, self.releases.version_of(pool).into_iter().collect());
        let mut all: BTreeMap<&PoolName, BTreeSet<&str>> = self.spec.pools.iter().map(named).collect();
        for runner in self.world.runners().values().filter(|runner| runner.gone_at().is_none()) {
            let shown = runner.listed().and_then(Registration::version);
            if let Some(version) = shown.or_else(|| runner.instance()?.runner_version())
                && let Some(versions) = all.get_mut(runner.pool())
            {
                versions.insert(version);
            }
        }
        all
    }

    /// The versions that the pools run, by list: what GitHub should be asked about.
    pub fn versions_in_use(&self) -> BTreeSet<(ListId, String)> {
        self.versions().into_values().flatten().map(|(list_id, version, _)| (list_id, version)).collect()
    }

    /// The versions that each pool runs, with the pool's list, and when GitHub ends them.
    pub(crate) fn versions(&self) -> BTreeMap<PoolName, Vec<(ListId, String, VersionEnds)>> {
        let known = |(name, versions): (&PoolName, BTreeSet<&str>)| {
            let list_id = self.spec.pools.get(name)?.list_id();
            let ends = |version: &str| {
                let key = (list_id.clone(), version.to_owned());
                let ends = self.versions.0.get(&key).copied().unwrap_or_default();
                (key.0, key.1, ends)
            };
            Some((name.clone(), versions.into_iter().map(ends).collect()))
        };
        self.in_use().into_iter().filter_map(known).collect()
    }

    /// All jobs that are not over: queued jobs first, each group ordered by id.
    pub fn jobs(&self, now: Time) -> Vec<JobView> {
        let queues = self.queues(now);
        let view = |id, job: &Job| self.job_view(id, job, job.pool().and_then(|pool| queues.get(pool)), now);
        let mut all: Vec<(JobState, JobView)> =
            self.demand.jobs().iter().map(|(id, job)| (job.event.state, view(*id, job))).collect();
        all.sort_by_key(|(state, view)| (*state, view.id));
        all.into_iter().map(|(_, view)| view).collect()
    }

    pub(crate) fn job_view(&self, id: JobId, job: &Job, queue: Option<&JobQueue>, now: Time) -> JobView {
        let why = self.why(job, now);
        JobView {
            id: id.0,
            run: job.event.run.0,
            repo: job.event.repo.clone(),
            enterprise: job.event.enterprise.clone(),
            state: job.event.state,
            pool: job.pool().map(ToString::to_string),
            labels: job.event.labels.clone(),
            runner: job.event.runner.clone(),
            title: job.event.about.title(),
            branch: job.event.about.branch.clone(),
            age_seconds: now.since(job.first_seen).as_secs(),
            mark: StateMark::of_job(&why),
            wait: queue.and_then(|queue| self.place_view(id, job, queue, now)),
            why: why.label().into(),
            reason: why.say(now),
            code: why.into(),
        }
    }

    /// All runners, ordered by instance id.
    pub fn runners(&self, now: Time) -> Vec<RunnerView> {
        self.world.runners().iter().map(|(id, r)| self.runner_view(id, r, now)).collect()
    }

    pub(crate) fn runner_view(&self, id: &InstanceId, r: &Runner, now: Time) -> RunnerView {
        let (phase, cluster) = (r.phase(self.spec.boot_deadline(r.pool()), now), self.spec.controller.cluster());
        let why = self.runner_reason(r, phase, now);
        RunnerView {
            name: RunnerName { cluster: cluster.to_owned(), pool: r.pool().clone(), instance: id.clone() }.to_string(),
            instance: id.to_string(),
            pool: r.pool().to_string(),
            phase,
            mark: StateMark::of_runner(phase),
            instance_type: r.shape().map(|s| s.instance_type.to_string()),
            market: r.shape().map(|s| s.market),
            job: r.job().running().or(r.job().over().map(|(job, _)| job)).map(|job| job.0),
            age_seconds: now.since(r.first_seen()).as_secs(),
            stages: stages(r),
            reason: why.to_string(),
            code: Code::Runner(why.standing),
        }
    }

    fn runner_reason(&self, r: &Runner, phase: Phase, now: Time) -> RunnerReason {
        RunnerReason {
            standing: self.standing(r, phase, now),
            ends_after: phase == Phase::Busy && (r.drain().is_some() || r.ordered().is_some()),
            unanswered: r.unanswered().filter(|_| phase.is_supply()).and_then(|ask| ask.why().cloned()),
            last_error: r.last_error().map(str::to_owned),
        }
    }

    fn standing(&self, r: &Runner, phase: Phase, now: Time) -> Standing {
        let deadline = self.spec.boot_deadline(r.pool());
        let left = r.boot_due(deadline).since(now);
        match phase {
            Phase::Launching => Standing::Launched { age: now.since(r.first_seen()) },
            Phase::Booting if r.configured() == Configured::Unsure => Standing::ConfigureFailed,
            Phase::Booting if !r.launched_here() => Standing::Found,
            Phase::Booting => Standing::Boots { left },
            Phase::Configured => Standing::Configured { left },
            Phase::Idle => Standing::Idle { idle: now.since(r.idle_since().unwrap_or(now)) },
            Phase::Busy => r.job().running().map_or(Standing::Busy, |job| Standing::RunsJob { job }),
            Phase::Draining => drained(r, now),
            Phase::Interrupted => Standing::Interrupted,
            Phase::Failed if r.was_online() => Standing::OnlineNoMore,
            Phase::Failed => Standing::NeverOnline { limit: deadline },
            Phase::Terminating => match (r.terminated_at(), r.job().over()) {
                (Some(_), _) => Standing::EndAccepted,
                (None, Some((job, at))) => Standing::JobOver { job, left: (at + END_GRACE).since(now) },
                (None, None) => Standing::Ending,
            },
            Phase::Gone => Standing::Gone { said: r.state_reason().map(str::to_owned) },
        }
    }

    /// The numbers for the metrics' gauges.
    pub fn totals(&self, now: Time) -> Totals {
        let mut t = Totals {
            now: now.as_millis(),
            messages_held: self.messages_held as u64,
            effects_in_flight: self.in_flight as u64,
            ..Totals::default()
        };
        for name in self.spec.pools.keys() {
            for phase in Phase::ALL {
                t.runners.insert((name.to_string(), phase), 0);
            }
            for (state, why) in [(JobState::Queued, "starting"), (JobState::InProgress, "running")] {
                t.jobs.insert((name.to_string(), state, why), 0);
            }
            t.oldest_queued.insert(name.to_string(), 0.0);
            t.paused.insert(name.to_string(), self.paused.contains_key(name));
        }
        for (name, _) in self.spec.pools.iter().filter(|(_, pool)| pool.spec.instance.breaker.interruptions > 0) {
            t.breakers.insert(name.to_string(), self.tripped(name).is_some());
        }
        for (pool, warnings) in self.warnings(now) {
            t.warnings.extend(warnings.iter().map(|warning| (pool.to_string(), warning.as_str())));
        }
        for (pool, versions) in self.versions() {
            for (_, version, ends) in versions {
                let each = ends.told().map(|(end, at)| ((pool.to_string(), version.clone(), end.as_str()), at.as_millis()));
                t.version_ends.extend(each);
            }
        }
        for (&id, job) in self.demand.jobs() {
            let pool = job.pool().map_or_else(String::new, ToString::to_string);
            let waited = now.since(job.first_seen);
            let above = job.pool().and_then(|pool| self.newest_plan(pool)).is_some_and(|plan| plan.above_share.contains(&id));
            let told = !above && (!job.held(now) || waited >= HELD_TOLD && !job.waits());
            if job.event.state == JobState::Queued && told {
                let oldest = t.oldest_queued.entry(pool.clone()).or_default();
                *oldest = oldest.max(waited.as_secs_f64());
            }
            *t.jobs.entry((pool, job.event.state, self.why(job, now).label())).or_default() += 1;
        }
        for r in self.world.runners().values() {
            *t.runners.entry((r.pool().to_string(), r.phase(self.spec.boot_deadline(r.pool()), now))).or_default() += 1;
            let up = r.instance().filter(|i| i.state().is_up());
            if let Some(i) = up.filter(|_| r.gone_at().is_none()) {
                let repo = self.demand.running_on(r).map(|job| job.event.repo.to_ascii_lowercase()).unwrap_or_default();
                let (pool, instance_type) = (r.pool().to_string(), i.shape().instance_type.to_string());
                let paid_for = BilledFor { pool, market: i.shape().market, instance_type, repo };
                let billed = t.billed.entry(paid_for).or_default();
                billed.instances += 1;
                billed.os = self.spec.pools.get(r.pool()).map_or_else(Os::default, |p| p.spec.instance.os);
            }
        }
        for market in [Market::Spot, Market::OnDemand] {
            t.unavailable.insert(market, self.unavailable.count(market, now) as u64);
        }
        for (api, [level, ..]) in self.budgets.levels(now) {
            let (app, account) = api.payer().map_or_else(Default::default, |payer| {
                (payer.app.to_string(), payer.account.as_deref().unwrap_or_default().to_owned())
            });
            t.budgets.insert((api.as_str(), app, account), level);
        }
        for (source, f) in self.world.sources() {
            t.sweep_age.insert(source_word(source), f.complete.map(|at| now.since(at).as_secs_f64()));
        }
        t
    }
}

fn stages(r: &Runner) -> Vec<StageView> {
    let mut all: Vec<(Time, Stage)> = r.stages().map(|(stage, at)| (at, stage)).collect();
    all.sort_unstable();
    let view =
        |(at, stage): (Time, Stage)| StageView { stage, after_seconds: at.since(r.first_seen()).as_millis() as f64 / 1000.0 };
    all.into_iter().map(view).collect()
}

fn drained(r: &Runner, now: Time) -> Standing {
    let (asked_at, why) = r.drain().map_or((now, None), |ask| (ask.at(), ask.why().cloned()));
    let ago = now.since(asked_at);
    match (ago >= DRAIN_DEADLINE, r.may_have_job()) {
        (false, _) => Standing::DrainAsked { ago, why },
        (true, true) => Standing::DrainRefused { ago, why },
        (true, false) => Standing::DrainUnanswered { ago, why },
    }
}

fn source_word(source: &Source) -> String {
    match source {
        Source::Instances => "instances".into(),
        Source::Runners(list_id) => format!("runners {}", list_id.scope),
        Source::Secrets => "secrets".into(),
        Source::Deliveries(app) => format!("deliveries {app}"),
    }
}
