//! A record of the lives of all runners and jobs of a run. `muster simulate` measures it.
//!
//! The ledger only observes. It draws no random number, plans no event and changes nothing, so a run with a ledger is the
//! same run, down to the hash of its trace. The world tells it of what the world itself does not keep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::event::{InstanceState, JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, PoolName, RunId, RunnerName, Scope};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::Market;
use muster_reconciler::matching::{Route, route};
use muster_reconciler::time::Time;

use crate::cloud::{Cloud, TrueInstance};
use crate::github::{TrueGitHub, TrueJob};
use crate::job_end::JobEnd;
use crate::job_plan::JobPlan;

/// One instance, from its launch to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceLife {
    /// The id at EC2.
    pub id: InstanceId,
    /// The pool that it was launched for.
    pub pool: PoolName,
    /// The instance type, such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// Spot or on-demand.
    pub market: Market,
    /// When CreateFleet took effect.
    pub launched: Time,
    /// When EC2 said `running`, from which on it bills. None: the instance never ran.
    pub running: Option<Time>,
    /// When the runner came online at GitHub. None: it never did.
    pub online: Option<Time>,
    /// When EC2 said `shutting-down`, until which it bills. None: the instance lives.
    pub off: Option<Time>,
    /// When EC2 said `terminated`. None: it has not.
    pub gone: Option<Time>,
    /// Whether EC2 took the spot instance back.
    pub taken_back: bool,
}

/// One job, from its queueing to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct JobLife {
    /// The id at GitHub.
    pub id: JobId,
    /// The job as the scenario plans it.
    pub plan: JobPlan,
    /// The pool that the job counts for. None: no pool takes it.
    pub pool: Option<PoolName>,
    /// When GitHub queued the job.
    pub queued: Time,
    /// When a runner took the job. None: no runner has.
    pub started: Option<Time>,
    /// When the job ended, with whatever conclusion. None: it is not over.
    pub ended: Option<Time>,
    /// The instance that ran the job. None: no runner of ours has taken it.
    pub instance: Option<InstanceId>,
    /// How the job ended. None: it is not over.
    pub end: Option<JobEnd>,
}

impl JobLife {
    /// Whether the job had started and was lost with its instance.
    pub fn lost(&self) -> bool {
        self.started.is_some() && self.end == Some(JobEnd::CutShort)
    }

    /// How long the job waited for a runner. None: it never got one.
    pub fn waited(&self) -> Option<Duration> {
        self.started.map(|at| at.since(self.queued))
    }
}

/// What must be written down while the world runs, because the world does not keep it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Instances that have ended.
    past: Vec<InstanceLife>,
    /// When each runner came online. An entry leaves when its instance ends.
    online: BTreeMap<InstanceId, Time>,
    /// When each job ended.
    ended: BTreeMap<JobId, Time>,
    /// Jobs that were lost with their instance, since [`Ledger::take_lost`] was last called.
    lost: Vec<JobId>,
}

impl Ledger {
    /// A job is over.
    pub(super) fn job_is_over(&mut self, id: JobId, end: JobEnd, now: Time) {
        if self.ended.insert(id, now).is_none() && end == JobEnd::CutShort {
            self.lost.push(id);
        }
    }

    /// The runner of an instance came online.
    pub(super) fn comes_online(&mut self, id: &InstanceId, now: Time) {
        self.online.entry(id.clone()).or_insert(now);
    }

    /// EC2 has terminated an instance.
    pub(super) fn is_gone(&mut self, id: &InstanceId, instance: &TrueInstance) {
        let online = self.online.remove(id);
        self.past.push(life(id, instance, online));
    }

    /// How many jobs are over.
    pub fn jobs_over(&self) -> usize {
        self.ended.len()
    }

    /// Jobs that were lost with their instance, since this was last called.
    pub fn take_lost(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.lost)
    }

    /// Every instance of the run, in the order of launching.
    pub fn instance_lives(&self, cloud: &Cloud) -> Vec<InstanceLife> {
        let unended = |i: &TrueInstance| i.entered(InstanceState::Terminated).is_none();
        let alive = cloud.instances().iter().filter(|(_, i)| unended(i));
        let mut all = self.past.clone();
        all.extend(alive.map(|(id, i)| life(id, i, self.online.get(id).copied())));
        all.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        all
    }

    /// Every job of the run, in the order of queueing. `router` says for which pool each job counts.
    pub fn job_lives(&self, github: &TrueGitHub, router: &mut Router<'_>) -> Vec<JobLife> {
        let cluster = router.spec.controller.cluster();
        let instance_of = |job: &TrueJob| Some(RunnerName::parse_ours(job.listed_runner()?, cluster)?.instance);
        let life = |(id, job): (&JobId, &TrueJob)| JobLife {
            id: *id,
            plan: job.plan.clone(),
            pool: match router.route(&job.plan) {
                Route::Pool(name) => Some(name.clone()),
                Route::Unmatched(_) | Route::Foreign(_) => None,
            },
            queued: job.queued_at,
            started: job.started_at,
            ended: self.ended.get(id).copied(),
            instance: instance_of(job),
            end: job.end,
        };
        github.jobs().iter().map(life).collect()
    }
}

/// The enterprise of the pools, if one of them has such a scope. The simulated GitHub has at most one enterprise, which
/// owns all organisations.
pub(super) fn enterprise(spec: &Spec) -> Option<String> {
    spec.pools.values().find_map(|p| match &p.spec.github.scope {
        Scope::Enterprise(slug) => Some(slug.to_string()),
        Scope::Org(_) | Scope::Repo(..) => None,
    })
}

/// Asks the controller's own rule which pool a job goes to. The answer is remembered for each set of labels and repository.
#[derive(Debug)]
pub struct Router<'a> {
    spec: &'a Spec,
    known: BTreeMap<(Vec<String>, String), Route>,
}

impl<'a> Router<'a> {
    /// A router for the pools of these manifests.
    pub fn new(spec: &'a Spec) -> Router<'a> {
        Router { spec, known: BTreeMap::new() }
    }

    /// The pool that takes the job, or the reason why none does.
    pub fn route(&mut self, plan: &JobPlan) -> &Route {
        self.known.entry((plan.labels.clone(), plan.repo.clone())).or_insert_with(|| {
            let event = JobEvent {
                job: JobId(0),
                run: RunId(0),
                state: JobState::Queued,
                waiting: false,
                org: plan.repo.split('/').next().map(str::to_owned),
                enterprise: enterprise(self.spec),
                attempt: None,
                about: JobAbout::default(),
                repo: plan.repo.clone(),
                labels: plan.labels.clone(),
                runner: None,
                runner_id: None,
                conclusion: None,
                queued_at: None,
                started_at: None,
            };
            route(self.spec, &event)
        })
    }
}

fn life(id: &InstanceId, instance: &TrueInstance, online: Option<Time>) -> InstanceLife {
    InstanceLife {
        id: id.clone(),
        pool: instance.pool.clone(),
        instance_type: Arc::clone(instance.instance_type()),
        market: instance.market(),
        launched: instance.launched_at(),
        running: instance.entered(InstanceState::Running),
        online,
        off: instance.entered(InstanceState::ShuttingDown),
        gone: instance.entered(InstanceState::Terminated),
        taken_back: instance.taken_back(),
    }
}
