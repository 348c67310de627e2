//! Runs given jobs through the simulated world to their end, and hands out what happened: the engine of `muster simulate`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::Route;
use muster_reconciler::time::Time;

use crate::conditions::Conditions;
use crate::job_plan::JobPlan;
use crate::ledger::{BoxLife, JobLife, Router};
use crate::{Report, Simulation};

/// The controller runs for so long before the first job: warm floors stand ready, as they would.
pub const LEAD: Duration = Duration::from_secs(600);
/// GitHub drops a job that nobody took for so long; a run is not followed further after its last job.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// When all jobs are over, boxes get so long to end.
const WIND_DOWN: Duration = Duration::from_secs(3600);
/// Between two looks at whether it is over.
const STEP: Duration = Duration::from_secs(60);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Question {
    /// The manifests.
    pub spec: Arc<Spec>,
    /// The jobs, in any order.
    pub jobs: Vec<JobPlan>,
    /// When the first may be queued; the world begins [`LEAD`] earlier.
    pub from: Time,
    /// It goes on at least until then.
    pub until: Time,
    /// What is assumed of the world.
    pub conditions: Conditions,
    /// Draws what is left to chance.
    pub seed: u64,
}

/// Jobs of one kind that nobody took, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// The controller's own reason.
    pub reason: String,
    /// How many.
    pub jobs: u64,
    /// `runs-on` of the first.
    pub labels: Vec<String>,
    /// Its repository.
    pub repo: String,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The manifests that were in force.
    pub spec: Arc<Spec>,
    /// When the world began.
    pub begin: Time,
    /// When it was left.
    pub end: Time,
    /// Every job that reached GitHub's queue, reruns included.
    pub jobs: Vec<JobLife>,
    /// Every box.
    pub boxes: Vec<BoxLife>,
    /// Jobs that no pool takes, by the reason. The webhook drops some of these; they are not in `jobs`.
    pub unrouted: Vec<Untaken>,
    /// Of the jobs that no pool takes: those that a runner of a pool took nevertheless, as GitHub's rule is wider.
    pub unrouted_but_run: u64,
    /// Jobs that a pool takes and that never started, by the reason.
    pub unstarted: Vec<Untaken>,
    /// Jobs that were queued again after they had been lost.
    pub reruns: u64,
    /// The simulator's own figures.
    pub report: Report,
}

/// Runs it. `progress` is told the time now and then.
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
        for lost in world.take_lost() {
            if let Some(after) = conditions.rerun_lost_after
                && let Some(job) = world.github().jobs().get(&lost)
            {
                let plan = JobPlan { at: now + after.get(), ..job.plan.clone() };
                (reruns, expected) = (reruns + 1, expected + 1);
                world.submit(plan);
            }
        }
        if now < *until || world.jobs_over() < expected && now < give_up {
            continue;
        }
        let over = *over_since.get_or_insert(now);
        if at_rest(&world, spec) || now.since(over) >= WIND_DOWN || now >= give_up {
            break;
        }
    }
    let jobs = world.job_lives(&mut router);
    Forecast {
        begin,
        end: world.now(),
        unrouted_but_run: jobs.iter().filter(|j| j.pool.is_none() && j.started.is_some()).count() as u64,
        unstarted: unstarted(&world, &jobs),
        unrouted: unrouted.list(),
        boxes: world.box_lives(),
        report: world.report(),
        spec: Arc::clone(spec),
        jobs,
        reruns,
    }
}

fn takes_any(spec: &Spec, pool: &PoolName) -> bool {
    spec.pools.get(pool).is_some_and(|p| p.spec.capacity.max > 0)
}

/// Whether there are no more boxes than the warm floors ask for.
fn at_rest(world: &Simulation, spec: &Spec) -> bool {
    spec.pools.iter().all(|(name, p)| world.cloud().live(name) <= p.spec.capacity.idle_at(world.now()))
}

/// Jobs that a pool takes and that are still queued, each with the controller's word on it.
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

    /// The most frequent first.
    fn list(self) -> Vec<Untaken> {
        let mut all: Vec<Untaken> = self.0.into_values().collect();
        all.sort_by_key(|u| std::cmp::Reverse(u.jobs));
        all
    }
}
