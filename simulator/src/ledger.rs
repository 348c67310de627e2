//! A record of the lives of all runners and jobs of a run. `muster simulate` measures it.
//!
//! The ledger only observes. It draws no random number, plans no event and changes nothing, so a run with a ledger is the
//! same run, down to the hash of its trace. It looks at the ground truth after each event, and only at what the event was
//! about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::event::{InstanceState, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, PoolName, RunId, RunnerName, Scope};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::Market;
use muster_reconciler::matching::{Route, route};
use muster_reconciler::time::Time;

use crate::Simulation;
use crate::boxes::Stage;
use crate::cloud::Instance;
use crate::event::Event;
use crate::github::Job;
use crate::job_plan::JobPlan;

/// One instance, from its launch to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxLife {
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
    /// `success`, `failure` or `cancelled`. None: the job is not over.
    pub conclusion: Option<&'static str>,
}

impl JobLife {
    /// Whether the job had started and was lost with its instance.
    pub fn lost(&self) -> bool {
        self.started.is_some() && self.conclusion == Some("failure")
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
    past: Vec<BoxLife>,
    /// When each runner came online. An entry leaves when its instance ends.
    online: BTreeMap<InstanceId, Time>,
    /// When each job ended.
    ended: BTreeMap<JobId, Time>,
    /// Jobs that were lost with their instance, since [`Simulation::take_lost`] was last called.
    lost: Vec<JobId>,
}

/// What an event is about, as far as the ledger writes it down.
#[derive(Debug)]
pub(super) enum Subject {
    /// A job that may have ended.
    Job(JobId),
    /// An instance whose runner may be online.
    Online(InstanceId),
    /// An instance that has ended.
    Past(InstanceId),
    /// Nothing that the ledger writes down.
    Other,
}

impl Subject {
    pub(super) fn of(event: &Event) -> Subject {
        match event {
            Event::Finish(job, ..) | Event::Cancel(job) => Subject::Job(*job),
            Event::Register(id, ..) => Subject::Online(id.clone()),
            Event::Terminated(id) => Subject::Past(id.clone()),
            _ => Subject::Other,
        }
    }
}

impl Simulation {
    /// From now on, the world keeps a ledger. To have the whole run in it, call this before the first step.
    pub fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// Writes down what an event did. Called after each event.
    pub(super) fn note(&mut self, subject: Subject) {
        let Some(ledger) = &mut self.ledger else { return };
        let now = self.nature.now();
        match subject {
            Subject::Job(id) => {
                let over = self.github.jobs().get(&id).filter(|j| j.state == JobState::Completed);
                if let Some(job) = over
                    && ledger.ended.insert(id, now).is_none()
                    && job.conclusion == Some("failure")
                {
                    ledger.lost.push(id);
                }
            }
            Subject::Online(id) => {
                if self.machines.get(&id).is_some_and(|m| matches!(m.stage, Stage::Idle | Stage::Working(_))) {
                    ledger.online.entry(id).or_insert(now);
                }
            }
            Subject::Past(id) => {
                if let Some(instance) = self.cloud.instances().get(&id) {
                    let online = ledger.online.remove(&id);
                    ledger.past.push(life(&id, instance, online));
                }
            }
            Subject::Other => {}
        }
    }

    /// How many jobs are over; 0 without a ledger.
    pub fn jobs_over(&self) -> usize {
        self.ledger.as_ref().map_or(0, |l| l.ended.len())
    }

    /// Jobs that were lost with their instance, since this was last called. Empty without a ledger.
    pub fn take_lost(&mut self) -> Vec<JobId> {
        self.ledger.as_mut().map(|l| std::mem::take(&mut l.lost)).unwrap_or_default()
    }

    /// Every instance of the run, in the order of launching. Empty without a ledger.
    pub fn box_lives(&self) -> Vec<BoxLife> {
        let Some(ledger) = &self.ledger else { return Vec::new() };
        let unended = |i: &Instance| i.entered(InstanceState::Terminated).is_none();
        let alive = self.cloud.instances().iter().filter(|(_, i)| unended(i));
        let mut all = ledger.past.clone();
        all.extend(alive.map(|(id, i)| life(id, i, ledger.online.get(id).copied())));
        all.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        all
    }

    /// Every job of the run, in the order of queueing. `router` says for which pool each job counts.
    pub fn job_lives(&self, router: &mut Router<'_>) -> Vec<JobLife> {
        let ended = |id: &JobId| self.ledger.as_ref().and_then(|l| l.ended.get(id).copied());
        let cluster = self.spec.controller.cluster();
        let box_of = |job: &Job| Some(RunnerName::parse_ours(job.runner.as_deref()?, cluster)?.instance);
        let life = |(id, job): (&JobId, &Job)| JobLife {
            id: *id,
            plan: job.plan.clone(),
            pool: match router.route(&job.plan) {
                Route::Pool(name) => Some(name.clone()),
                Route::Unmatched(_) | Route::Foreign(_) => None,
            },
            queued: job.queued_at,
            started: job.started_at,
            ended: ended(id),
            instance: box_of(job),
            conclusion: job.conclusion,
        };
        self.github.jobs().iter().map(life).collect()
    }

    pub(super) fn enterprise(&self) -> Option<String> {
        enterprise(&self.spec)
    }
}

/// The enterprise of the pools, if one of them has such a scope. The simulated GitHub has at most one enterprise, which
/// owns all organisations.
fn enterprise(spec: &Spec) -> Option<String> {
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
                repo: plan.repo.clone(),
                labels: plan.labels.clone(),
                runner: None,
                conclusion: None,
                queued_at: None,
                started_at: None,
            };
            route(self.spec, &event)
        })
    }
}

fn life(id: &InstanceId, instance: &Instance, online: Option<Time>) -> BoxLife {
    BoxLife {
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
