//! What muster would have done with the other fleet's jobs: the real controller on the simulated EC2 and GitHub of `muster simulate`,
//! with the jobs as they came and as long as they took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::ids::JobId;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::Route;
use muster_reconciler::reason::Foreign;
use muster_reconciler::time::Time;
use muster_simulator::JobPlan;
use muster_simulator::conditions::Conditions;
use muster_simulator::forecast::{Question, forecast};
use muster_simulator::ledger::{InstanceLife, Router};

use super::theirs::{TheirJob, Theirs};

/// GitHub gives up a job that no runner took for 24 hours. A little less, because its clock and its patience are not exact.
pub const GIVEN_UP: Duration = Duration::from_secs(24 * 3600 - 600);
/// How long a job is taken to run if no job's length is known.
const UNKNOWN_LENGTH: Duration = Duration::from_secs(300);

/// What muster would have done.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    /// When each job that a pool takes would have started. None: it would not have.
    pub starts: BTreeMap<JobId, Option<Time>>,
    /// The instances that muster would have had.
    pub instances: Vec<InstanceLife>,
    /// How many jobs' lengths are guessed, because they did not end on a runner.
    pub guessed: u64,
    /// Jobs that no pool takes, by the reason.
    pub unrouted: BTreeMap<String, u64>,
}

impl Ours {
    /// Plays the jobs.
    pub fn of(theirs: &Theirs, spec: &Arc<Spec>, conditions: Conditions, seed: u64) -> Ours {
        let mut ours = Ours::default();
        let usual = usual_length(theirs);
        let mut router = Router::new(spec);
        let mut plans: Vec<(JobId, JobPlan)> = Vec::new();
        for (id, job) in &theirs.jobs {
            let plan = plan(job, usual);
            match router.route(&plan) {
                Route::Pool(_) => {
                    ours.guessed += u64::from(job.ran().is_none());
                    plans.push((*id, plan));
                }
                Route::Unmatched(why) => *ours.unrouted.entry(why.to_string()).or_default() += 1,
                // The job runs on GitHub's own machines.
                Route::Foreign(Foreign::NotAsked { .. }) => {}
                Route::Foreign(why) => *ours.unrouted.entry(why.to_string()).or_default() += 1,
            }
        }
        plans.sort_by_key(|(id, plan)| (plan.at, *id));
        let Some(from) = plans.first().map(|(_, plan)| plan.at.min(theirs.from)) else { return ours };
        let until = plans.last().map_or(from, |(_, plan)| plan.at).max(theirs.until);
        let jobs = plans.iter().map(|(_, plan)| plan.clone()).collect();
        let played = forecast(&Question { spec: Arc::clone(spec), jobs, from, until, conditions, seed }, |_| ());
        // The simulated GitHub numbers jobs in the order in which they are queued.
        let lives = plans.iter().zip(&played.jobs).filter(|((_, plan), life)| *plan == life.plan);
        ours.starts = lives.map(|((id, _), life)| (*id, life.started)).collect();
        ours.instances = played.instances;
        ours
    }
}

/// The job, as a simulation takes it.
fn plan(job: &TheirJob, usual: Duration) -> JobPlan {
    // A job that ended before a runner took it was cancelled, unless GitHub gave it up.
    let cancelled = job.ended.filter(|_| job.started.is_none()).map(|ended| ended.since(job.queued));
    JobPlan {
        at: job.queued,
        takes: job.ran().unwrap_or(usual),
        labels: job.event.labels.clone(),
        repo: job.event.repo.clone(),
        cancel_after: cancelled.filter(|waited| *waited < GIVEN_UP),
    }
}

/// The median of the lengths that are known.
fn usual_length(theirs: &Theirs) -> Duration {
    let mut known: Vec<Duration> = theirs.jobs.values().filter_map(TheirJob::ran).collect();
    known.sort_unstable();
    known.get(known.len() / 2).copied().unwrap_or(UNKNOWN_LENGTH)
}
