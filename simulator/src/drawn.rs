//! A scenario drawn from a seed: the pools, the jobs, the changes, how long everything takes, and which faults exist. This
//! is swarm testing: a run with few kinds of faults finds what a run with all kinds hides.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::ids::Scope;
use muster_reconciler::manifest::{
    LateAct, LateStep, Lifetime, MarketPolicy, Matching, RerunMarket, RunnerPool, Span, SpotBreaker,
};
use muster_reconciler::time::Time;
use muster_reconciler::verdict::Cause;

use crate::changes::{Change, Edit};
use crate::example;
use crate::faults::{Fault, Rates};
use crate::job_plan::JobPlan;
use crate::luck::Schedule;
use crate::options::Latencies;
use crate::rng::{Rng, Spread};
use crate::scenario::{Cluster, Scenario, Timed};
use crate::times::BEGIN;
use crate::workload::{JobKind, JobStream};

/// How long jobs are queued and faults happen.
const DISTURBED: Duration = Duration::from_secs(40 * 60);
/// How long before the end of `DISTURBED` the last job is queued.
const NO_JOBS_AT_THE_END: Duration = Duration::from_secs(10 * 60);
/// The most jobs of one run.
const JOBS: usize = 120;
/// How long an instance is busy with one job beyond the job's own time.
const EACH_JOB: Duration = Duration::from_secs(120);
/// The most work that the jobs with one set of labels may be, for each runner of the smallest pool.
const WORK: Duration = Duration::from_secs(90 * 60);
/// The average share of all kinds of faults that exist in a run.
const KINDS_PRESENT: f64 = 0.25;

/// Scopes, each with its App and the repositories that it covers. The App `main` is installed on two accounts, so it has
/// two rate limits.
const SCOPES: [(&str, &str, &[&str]); 4] = [
    ("org/acme", "main", &["acme/web", "acme/api", "acme/tools"]),
    ("repo/acme/web", "main", &["acme/web"]),
    ("org/umbrella", "main", &["umbrella/lab", "umbrella/hive"]),
    ("repo/umbrella/lab", "second", &["umbrella/lab"]),
];

/// Sets of labels that a pool may have besides `self-hosted`.
const LABELS: [&[&str]; 4] = [&["linux", "x64"], &["linux", "arm64"], &["linux", "x64", "large"], &["windows", "x64"]];

fn whole(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn scope(nth: u64) -> (Scope, &'static str, &'static [&'static str]) {
    let (scope, app, repos) = SCOPES[usize::try_from(nth).unwrap_or_default() % SCOPES.len()];
    (scope.parse().unwrap_or_default(), app, repos)
}

fn pool(rng: &mut Rng, nth: usize) -> RunnerPool {
    let mut labels = vec!["self-hosted"];
    labels.extend_from_slice(rng.pick(&LABELS).copied().unwrap_or_default());
    let small = rng.chance(0.45);
    let max = whole(if small { 1 + rng.below(4) } else { 4 + rng.below(14) });
    let mut pool = example::pool(&format!("pool-{nth}"), &labels, max);
    let p = &mut pool.spec;
    // Most pools have the scope of the first organisation, so that they compete for its jobs.
    let (scope, app, _) = scope(if rng.chance(0.6) { 0 } else { rng.below(4) });
    (p.github.scope, p.github.app) = (scope, Some(app.into()));
    p.priority = 100 + whole(rng.below(2)) * 50;
    if rng.chance(0.3) {
        p.capacity.idle = whole(1 + rng.below(3)).min(max);
    }
    if rng.chance(0.25) {
        p.runner.lifetime = Lifetime::Reusable;
    }
    if rng.chance(0.25) {
        p.runner.queue_delay = Some(Span::secs(rng.below(60)));
    }
    p.runner.boot_deadline = Span::secs([180, 300, 300, 420][usize::try_from(rng.below(4)).unwrap_or_default()]);
    p.runner.idle_timeout = Span::secs([60, 300, 600][usize::try_from(rng.below(3)).unwrap_or_default()]);
    // A runner that is online and ignores its drain is kept until `maxLifetime`, because nobody can tell that it is idle. A
    // warm floor is replaced at `maxLifetime`, and five hours leave a long rest between two replacements.
    let hours = [1, 2, 3][usize::try_from(rng.below(3)).unwrap_or_default()];
    p.runner.max_lifetime = Span::secs(3600 * if p.capacity.idle > 0 { 5 } else { hours });
    p.instance.market = match rng.below(4) {
        0 => MarketPolicy::Spot,
        1 => MarketPolicy::OnDemand,
        _ => MarketPolicy::SpotThenOnDemand,
    };
    if rng.chance(0.1) {
        p.matching = Matching::Exact;
    }
    pool
}

/// The kinds of jobs for these pools. A job has the labels of its pool, or fewer, and a repository that the pool's scope
/// covers.
fn kinds(rng: &mut Rng, pools: &[RunnerPool]) -> Vec<JobKind> {
    let mut kinds = Vec::new();
    for pool in pools {
        let all = &pool.spec.labels;
        let fewer = all.iter().take(2).cloned().collect();
        let labels = if rng.chance(0.2) { fewer } else { all.clone() };
        let covers = SCOPES.iter().find(|(scope, ..)| *scope == pool.spec.github.scope.to_string());
        let repos = covers.map_or_else(Vec::new, |(_, _, repos)| repos.iter().map(|r| (*r).to_owned()).collect());
        let takes = if rng.chance(0.2) { Spread::secs(1, 30) } else { Spread::secs(20, 600) };
        kinds.push(JobKind { weight: whole(1 + rng.below(4)), labels, takes, cancel_after: None, repos });
    }
    if rng.chance(0.2) {
        kinds.push(JobKind {
            weight: 1,
            labels: ["self-hosted", "gpu"].map(str::to_owned).to_vec(),
            takes: Spread::secs(60, 300),
            cancel_after: Some(Duration::from_secs(600)),
            repos: vec!["acme/web".into()],
        });
    }
    kinds
}

fn changes(rng: &mut Rng, pools: &[RunnerPool]) -> Vec<Timed> {
    let mut changes = Vec::new();
    if !rng.chance(0.4) {
        return changes;
    }
    for _ in 0..=rng.below(4) {
        let Some(pool) = rng.pick(pools) else { break };
        let name = pool.metadata.name.as_str();
        let at = BEGIN + rng.within(Spread::secs(120, 36 * 60));
        let mut add = |at: Time, edit| changes.push(Timed { at, change: Change { pool: name.into(), edit } });
        match rng.below(7) {
            0 | 1 => {
                add(at, Edit::Remove);
                if rng.chance(0.7) {
                    add(at + rng.within(Spread::secs(5, 900)), Edit::Restore);
                }
            }
            2 => add(at, Edit::Max(whole(rng.below(u64::from(pool.spec.capacity.max))))),
            3 => add(at, Edit::Idle(whole(rng.below(4)))),
            4 => add(at, Edit::Labels(["self-hosted", "linux", "new"].map(str::to_owned).to_vec())),
            5 => add(at, Edit::Group("another".into())),
            _ => add(at, Edit::Scope(scope(rng.below(4)).0)),
        }
        if rng.chance(0.3) {
            add(at + rng.within(Spread::secs(30, 900)), Edit::Restore);
        }
    }
    changes.sort_by_key(|c| c.at);
    changes
}

/// Leaves out jobs until no set of labels has more work than `WORK` for each runner. The smallest `max` that any pool ever
/// has counts.
fn limit_work(jobs: &mut Vec<JobPlan>, pools: &[RunnerPool], changes: &[Timed]) {
    let least = |pool: &RunnerPool| {
        let edits = changes.iter().filter(|c| c.change.pool.as_str() == pool.metadata.name);
        let maxes = edits.filter_map(|c| if let Edit::Max(max) = c.change.edit { Some(max) } else { None });
        maxes.fold(pool.spec.capacity.max, u32::min).max(1)
    };
    let room = pools.iter().map(least).min().unwrap_or(1);
    let mut work: BTreeMap<Vec<String>, Duration> = BTreeMap::new();
    jobs.retain(|job| {
        let sum = work.entry(job.labels.clone()).or_default();
        *sum += job.takes + EACH_JOB;
        *sum < WORK * room
    });
}

/// What neighbours do to each other: some pools are of other families, and in some runs one pool has a burst while the others
/// have single jobs. The draws have a stream of their own, so that seeds without neighbours stay as they are.
fn neighbours(seed: u64, cluster: &mut Cluster, jobs: &mut Vec<JobPlan>) {
    let mut rng = Rng::new(seed, "neighbours");
    for pool in &mut cluster.pools {
        if rng.chance(0.2) {
            pool.spec.instance.types = ["g5.xlarge", "g6.xlarge"].map(str::to_owned).to_vec();
        }
    }
    if !rng.chance(0.25) {
        return;
    }
    let singles: Vec<(Vec<String>, String)> = cluster.pools.iter().map(|p| (p.spec.labels.clone(), repo_of(p))).collect();
    let name = if rng.chance(0.5) { "busy" } else { "zeal" };
    let mut busy = example::pool(name, &["self-hosted", "linux", "busy"], whole(8 + rng.below(52)));
    let (scope, app, _) = scope(rng.below(4));
    (busy.spec.github.scope, busy.spec.github.app) = (scope, Some(app.into()));
    let (mut at, repo) = (BEGIN + rng.within(Spread::secs(60, 900)), repo_of(&busy));
    for _ in 0..30 + rng.below(130) {
        at = at + rng.within(Spread::millis(5, 100));
        let takes = rng.within(Spread::secs(10, 60));
        jobs.push(JobPlan { at, takes, labels: busy.spec.labels.clone(), repo: repo.clone(), cancel_after: None });
    }
    for (labels, repo) in singles {
        for _ in 0..=rng.below(2) {
            let (at, takes) = (at + rng.within(Spread::secs(0, 90)), rng.within(Spread::secs(10, 60)));
            jobs.push(JobPlan { at, takes, labels: labels.clone(), repo: repo.clone(), cancel_after: None });
        }
    }
    jobs.sort_by_key(|job| job.at);
    cluster.pools.push(busy);
    if rng.chance(0.5) {
        cluster.limits.ssm_put_per_second = 0.3 + 0.7 * rng.unit();
    }
}

/// Some pools that buy spot have a breaker. The draws have a stream of their own, so that seeds without a breaker stay as they are.
fn breakers(seed: u64, cluster: &mut Cluster) {
    let mut rng = Rng::new(seed, "breaker");
    for pool in &mut cluster.pools {
        let settings = SpotBreaker {
            interruptions: whole(1 + rng.below(2)),
            within: Span::secs(120 + rng.below(900)),
            open_for: Span::secs(60 + rng.below(600)),
        };
        if rng.chance(0.4) && pool.spec.instance.market != MarketPolicy::OnDemand {
            pool.spec.instance.breaker = settings;
        }
    }
}

/// The instances of some pools tell what was at fault at their end.
fn reports(seed: u64, pools: &mut [RunnerPool]) {
    let mut rng = Rng::new(seed, "reports");
    for pool in pools {
        pool.spec.bootstrap.report_stages = rng.chance(0.7);
    }
}

/// A repository that the pool's scope covers.
fn repo_of(pool: &RunnerPool) -> String {
    let covers = SCOPES.iter().find(|(scope, ..)| *scope == pool.spec.github.scope.to_string());
    covers.and_then(|(_, _, repos)| repos.first()).copied().unwrap_or_default().to_owned()
}

fn rates(seed: u64) -> Rates {
    let mut rng = Rng::new(seed, "swarm");
    let calm = rng.chance(0.03);
    let mut rates = Rates::default();
    for fault in Fault::ALL {
        let (exists, share) = (rng.chance(KINDS_PRESENT), rng.unit());
        if exists && !calm {
            // Three decimals are exact enough, and easy to read.
            rates.set(*fault, (fault.most() * share * 1000.0).ceil() / 1000.0);
        }
    }
    rates
}

fn latencies(rng: &mut Rng) -> Latencies {
    let lag = [0, 2, 10, 25][usize::try_from(rng.below(4)).unwrap_or_default()];
    Latencies {
        describe_lag: Spread::secs(0, lag),
        network: if rng.chance(0.3) { Spread::millis(20, 4000) } else { Spread::millis(10, 120) },
        boot: if rng.chance(0.2) { Spread::secs(60, 170) } else { Spread::secs(12, 45) },
        webhook: if rng.chance(0.2) { Spread::millis(300, 15_000) } else { Spread::millis(300, 3000) },
        ..Latencies::default()
    }
}

/// Some pools have steps for late jobs, and some cap what a repository may have.
fn ladders(seed: u64, pools: &mut [RunnerPool]) {
    let mut rng = Rng::new(seed, "late");
    for pool in pools {
        if rng.chance(0.4) {
            let mut after = 30;
            for act in [LateAct::Tell, LateAct::OnDemand, LateAct::Overflow, LateAct::Cancel] {
                after += rng.below(900);
                if rng.chance(if act == LateAct::Cancel { 0.2 } else { 0.6 }) {
                    pool.spec.start_within.push(LateStep { after: Span::secs(after), act });
                }
            }
        }
        pool.spec.capacity.per_repository = rng.chance(0.15).then(|| 1 + u32::try_from(rng.below(4)).unwrap_or_default());
    }
}

/// In some runs, an operator pauses a pool for a while. The draws have a stream of their own, as all that came later.
fn pauses(seed: u64, pools: &[RunnerPool], changes: &mut Vec<Timed>) {
    let mut rng = Rng::new(seed, "pause");
    if !rng.chance(0.15) {
        return;
    }
    let Some(pool) = rng.pick(pools) else { return };
    let at = BEGIN + rng.within(Spread::secs(60, 30 * 60));
    let until = at + rng.within(Spread::secs(60, 40 * 60));
    for (at, edit) in [(at, Edit::Pause), (until, Edit::Resume)] {
        changes.push(Timed { at, change: Change { pool: pool.metadata.name.as_str().into(), edit } });
    }
    changes.sort_by_key(|c| c.at);
}

/// In some runs, GitHub's word on a job grows old: a small pool with late jobs, whose news come late, so that GitHub is asked about
/// them early and starts, cancels or runs again a job before muster hears of it. An order to cancel its run would be wrong then.
fn old_words(seed: u64, pools: &mut [RunnerPool], rates: &mut Rates) {
    let mut rng = Rng::new(seed, "old word");
    if !rng.chance(0.06) {
        return;
    }
    for pool in pools {
        pool.spec.capacity.max = pool.spec.capacity.max.min(2);
        pool.spec.capacity.idle = pool.spec.capacity.idle.min(pool.spec.capacity.max);
        let after = Span::secs(240 + rng.below(600));
        pool.spec.start_within = vec![LateStep { after, act: LateAct::Cancel }];
    }
    for (fault, rate) in [(Fault::SendDelay, 0.4), (Fault::WebhookLate, 0.4), (Fault::Cancelled, 0.2), (Fault::Rerun, 0.3)] {
        rates.set(fault, rate);
    }
}

impl Scenario {
    /// The scenario of a seed.
    pub fn drawn(seed: u64) -> Scenario {
        let mut rng = Rng::new(seed, "scenario");
        let pools: Vec<RunnerPool> =
            (1..=1 + usize::try_from(rng.below(4)).unwrap_or_default()).map(|n| pool(&mut rng, n)).collect();
        let kinds = kinds(&mut rng, &pools);
        let pause = Spread::secs(2, 60 * (1 + rng.below(6)));
        let until = BEGIN + (DISTURBED - NO_JOBS_AT_THE_END);
        let mut jobs: Vec<JobPlan> = JobStream::new(seed, BEGIN, kinds, pause).take_while(|j| j.at < until).take(JOBS).collect();
        let mut cluster = Cluster {
            name: "test".into(),
            apps: vec!["main".into(), "second".into()],
            tokens: Vec::new(),
            intervals: Default::default(),
            limits: Default::default(),
            start_within: Vec::new(),
            pools,
        };
        if rng.chance(0.2) {
            cluster.limits.ssm_put_per_second = 0.2 + 2.8 * rng.unit();
        }
        let mut changes = changes(&mut rng, &cluster.pools);
        limit_work(&mut jobs, &cluster.pools, &changes);
        neighbours(seed, &mut cluster, &mut jobs);
        let mut overflows = Rng::new(seed, "overflow");
        for pool in &mut cluster.pools {
            pool.spec.overflow.after = overflows.chance(0.2).then(|| Span::secs(overflows.below(300)));
        }
        let mut reruns = Rng::new(seed, "rerun");
        for pool in &mut cluster.pools {
            if reruns.chance(0.5) {
                pool.spec.rerun.causes = Cause::ALL.into_iter().collect();
                pool.spec.rerun.market = [RerunMarket::Pool, RerunMarket::OnDemand][usize::from(reruns.chance(0.3))];
            }
        }
        ladders(seed, &mut cluster.pools);
        breakers(seed, &mut cluster);
        pauses(seed, &cluster.pools, &mut changes);
        let mut rates = rates(seed);
        old_words(seed, &mut cluster.pools, &mut rates);
        reports(seed, &mut cluster.pools);
        let mut unmatched = Rng::new(seed, "unmatched");
        if unmatched.chance(0.7) {
            cluster.start_within = vec![LateStep { after: Span::secs(30 + unmatched.below(300)), act: LateAct::Tell }];
        }
        Scenario {
            seed,
            jobs,
            changes,
            latencies: latencies(&mut rng),
            etags: rng.chance(0.7),
            disturbed: DISTURBED,
            converges_within: Duration::from_secs(8 * 3600),
            quiet: Duration::from_secs(20 * 60),
            faults: Schedule::Drawn(rates.into()),
            controllers: 1,
            cluster,
        }
    }

    /// The scenario of a seed with two or three controllers that share a lease, and with what can befall them.
    pub fn drawn_with_lease(seed: u64) -> Scenario {
        let mut scenario = Scenario::drawn(seed);
        let mut rng = Rng::new(seed, "controllers");
        scenario.controllers = if rng.chance(0.6) { 2 } else { 3 };
        if let Schedule::Drawn(rates) = &mut scenario.faults {
            let kinds = [Fault::Stopped, Fault::LeaseSlow, Fault::LeaseLost, Fault::LeaseRefused, Fault::Crash, Fault::CleanStop];
            for fault in kinds {
                let (exists, share) = (rng.chance(0.6), rng.unit());
                rates.set(fault, if exists { (fault.most() * share * 1000.0).ceil() / 1000.0 } else { 0.0 });
            }
        }
        scenario
    }
}
