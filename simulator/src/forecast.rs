//! The engine of `muster simulate`: runs given jobs through the simulated world until they are over, and returns what
//! happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::Route;
use muster_reconciler::time::Time;

use crate::conditions::Conditions;
use crate::job_plan::JobPlan;
use crate::ledger::{InstanceLife, JobLife, Ledger, Router};
use crate::{Report, Simulation};

/// How long the controller runs before the first job, so that the warm floors are ready.
pub const LEAD: Duration = Duration::from_secs(600);
/// How long a run goes on after its last job should be over. GitHub drops a job that no runner took for this long.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How long the instances may take to end once all jobs are over.
const WIND_DOWN: Duration = Duration::from_secs(3600);
/// How often the run checks whether it is over.
const STEP: Duration = Duration::from_secs(60);

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Question {
    /// The manifests.
    pub spec: Arc<Spec>,
    /// The jobs, in any order.
    pub jobs: Vec<JobPlan>,
    /// The time from which jobs may be queued. The world begins [`LEAD`] earlier.
    pub from: Time,
    /// The run goes on at least until this time.
    pub until: Time,
    /// What the run assumes of the world.
    pub conditions: Conditions,
    /// Decides what is left to chance.
    pub seed: u64,
}

/// Jobs that no runner took for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// The controller's reason, as a sentence.
    pub reason: String,
    /// How many jobs.
    pub jobs: u64,
    /// The labels of the first of these jobs.
    pub labels: Vec<String>,
    /// The repository of the first of these jobs.
    pub repo: String,
}

/// What happened in the run.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The manifests of the run.
    pub spec: Arc<Spec>,
    /// When the world began.
    pub begin: Time,
    /// When the run stopped.
    pub end: Time,
    /// Every job that reached GitHub's queue, reruns included.
    pub jobs: Vec<JobLife>,
    /// Every instance that was launched.
    pub instances: Vec<InstanceLife>,
    /// Jobs that no pool takes, by reason. The webhook drops those of foreign repositories, so they are not in `jobs`.
    pub unrouted: Vec<Untaken>,
    /// How many of the jobs that no pool takes ran all the same. GitHub's rule is wider than muster's, so a runner of a
    /// pool took them.
    pub unrouted_but_run: u64,
    /// Jobs that a pool takes and that never started, by reason.
    pub unstarted: Vec<Untaken>,
    /// How many jobs were queued again after they had been lost.
    pub reruns: u64,
    /// The figures of the simulation.
    pub report: Report,
}

/// Runs the question's jobs. `progress` is told the world's time once a simulated minute.
pub fn forecast(question: &Question, mut progress: impl FnMut(Time)) -> Forecast {
    let Question { spec, from, until, conditions, seed, .. } = question;
    let begin = *from - LEAD;
    let mut router = Router::new(spec);
    let mut world = Simulation::beginning(begin, *seed, Arc::clone(spec), conditions.options());
    world.keep_ledger();
    let (mut unrouted, mut expected, mut last) = (Untakens::default(), 0, *until);
    for job in &question.jobs {
        last = last.max(job.at + job.takes);
        match router.route(job) {
            Route::Pool(pool) => expected += usize::from(takes_any(spec, pool)),
            Route::Unmatched(why) => unrouted.add(&why.to_string(), job),
            Route::Foreign(why) => {
                unrouted.add(&why.to_string(), job);
                continue;
            }
        }
        world.submit(job.clone());
    }
    let mut reruns = 0;
    let (mut over_since, give_up) = (None, last + PATIENCE);
    loop {
        world.run_for(STEP);
        let now = world.now();
        progress(now);
        for lost in world.ledger_mut().map(Ledger::take_lost).unwrap_or_default() {
            if let Some(after) = conditions.rerun_lost_after
                && let Some(job) = world.github().jobs().get(&lost)
            {
                let plan = JobPlan { at: now + after.get(), ..job.plan.clone() };
                (reruns, expected) = (reruns + 1, expected + 1);
                world.submit(plan);
            }
        }
        let jobs_over = world.ledger().map_or(0, Ledger::jobs_over);
        if now < *until || jobs_over < expected && now < give_up {
            continue;
        }
        let over = *over_since.get_or_insert(now);
        if at_rest(&world, spec) || now.since(over) >= WIND_DOWN || now >= give_up {
            break;
        }
    }
    let ledger = world.ledger();
    let jobs = ledger.map(|l| l.job_lives(world.github(), &mut router)).unwrap_or_default();
    Forecast {
        begin,
        end: world.now(),
        unrouted_but_run: jobs.iter().filter(|j| j.pool.is_none() && j.started.is_some()).count() as u64,
        unstarted: unstarted(&world, &jobs),
        unrouted: unrouted.list(),
        instances: ledger.map(|l| l.instance_lives(world.cloud())).unwrap_or_default(),
        report: world.report(),
        spec: Arc::clone(spec),
        jobs,
        reruns,
    }
}

fn takes_any(spec: &Spec, pool: &PoolName) -> bool {
    spec.pools.get(pool).is_some_and(|p| p.spec.capacity.max > 0)
}

/// Whether no pool has more live instances than its warm floor.
fn at_rest(world: &Simulation, spec: &Spec) -> bool {
    spec.pools.iter().all(|(name, p)| world.cloud().live(name) <= p.spec.capacity.idle_at(world.now()))
}

/// Jobs that a pool takes and that never started, by the controller's reason.
fn unstarted(world: &Simulation, jobs: &[JobLife]) -> Vec<Untaken> {
    let views = world.controller().map(|c| c.seen().jobs(world.now())).unwrap_or_default();
    let reasons: BTreeMap<u64, String> = views.into_iter().map(|v| (v.id, v.reason)).collect();
    let mut all = Untakens::default();
    for job in jobs.iter().filter(|j| j.pool.is_some() && j.started.is_none() && j.ended.is_none()) {
        let forgotten = "it was queued for 24 hours, and GitHub drops such jobs";
        all.add(reasons.get(&job.id.0).map_or(forgotten, String::as_str), &job.plan);
    }
    all.list()
}

#[derive(Default)]
struct Untakens(BTreeMap<String, Untaken>);

impl Untakens {
    fn add(&mut self, why: &str, job: &JobPlan) {
        let first = || Untaken { reason: why.to_owned(), jobs: 0, labels: job.labels.clone(), repo: job.repo.clone() };
        self.0.entry(why.to_owned()).or_insert_with(first).jobs += 1;
    }

    /// The most frequent reason first.
    fn list(self) -> Vec<Untaken> {
        let mut all: Vec<Untaken> = self.0.into_values().collect();
        all.sort_by_key(|u| std::cmp::Reverse(u.jobs));
        all
    }
}
