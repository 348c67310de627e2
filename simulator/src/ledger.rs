//! The lives of all boxes and jobs of a run, for whoever wants to measure it: `muster simulate`.
//!
//! A pure observer. It draws no random number, plans no event and changes nothing, so a run with a ledger is the same
//! run, down to the hash of its trace. It looks at the ground truth after an event, and only at what the event was about.

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

/// One box, from its launch to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxLife {
    /// Its id.
    pub id: InstanceId,
    /// For which pool it was launched.
    pub pool: PoolName,
    /// Such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// How it was bought.
    pub market: Market,
    /// CreateFleet took effect.
    pub launched: Time,
    /// EC2 says `running`: billed from here. None: it never ran.
    pub running: Option<Time>,
    /// Online at GitHub. None: it never was.
    pub online: Option<Time>,
    /// EC2 says `shutting-down`: billed until here. None: it lives.
    pub off: Option<Time>,
    /// EC2 says `terminated`.
    pub gone: Option<Time>,
    /// Spot took it back.
    pub taken_back: bool,
}

/// One job, from its queueing to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct JobLife {
    /// Its id.
    pub id: JobId,
    /// What it was to be.
    pub plan: JobPlan,
    /// The pool that it counts for; None: no pool takes it.
    pub pool: Option<PoolName>,
    /// When it was queued.
    pub queued: Time,
    /// When a runner took it.
    pub started: Option<Time>,
    /// When it ended, however it did.
    pub ended: Option<Time>,
    /// The box that took it.
    pub instance: Option<InstanceId>,
    /// `success`, `failure`, `cancelled`; None: it is not over.
    pub conclusion: Option<&'static str>,
}

impl JobLife {
    /// Whether it was running and was lost with its box.
    pub fn lost(&self) -> bool {
        self.started.is_some() && self.conclusion == Some("failure")
    }

    /// How long it waited for a runner; None: it never got one.
    pub fn waited(&self) -> Option<Duration> {
        self.started.map(|at| at.since(self.queued))
    }
}

/// What is written down while the world runs; the rest is still to be seen in the world at any time.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Boxes that have ended.
    past: Vec<BoxLife>,
    /// When each box came online.
    online: BTreeMap<InstanceId, Time>,
    /// When each job ended.
    ended: BTreeMap<JobId, Time>,
    /// Jobs that were lost with their box, since last asked.
    lost: Vec<JobId>,
}

/// What an event is about.
#[derive(Debug)]
pub(super) enum Subject {
    /// A job that may have ended.
    Job(JobId),
    /// A box that may be online.
    Online(InstanceId),
    /// A box that has ended.
    Past(InstanceId),
    /// Nothing that is written down.
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
    /// From now on, keeps a ledger. Before the first step, or what was before is missing in it.
    pub fn keep_ledger(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// Writes down what an event did; called after each.
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

    /// Jobs that are over. 0 without a ledger.
    pub fn jobs_over(&self) -> usize {
        self.ledger.as_ref().map_or(0, |l| l.ended.len())
    }

    /// Jobs that were lost with their box since this was last asked.
    pub fn take_lost(&mut self) -> Vec<JobId> {
        self.ledger.as_mut().map(|l| std::mem::take(&mut l.lost)).unwrap_or_default()
    }

    /// Every box that there was, in the order of launching. Empty without a ledger.
    pub fn box_lives(&self) -> Vec<BoxLife> {
        let Some(ledger) = &self.ledger else { return Vec::new() };
        let unended = |i: &Instance| i.entered(InstanceState::Terminated).is_none();
        let alive = self.cloud.instances().iter().filter(|(_, i)| unended(i));
        let mut all = ledger.past.clone();
        all.extend(alive.map(|(id, i)| life(id, i, ledger.online.get(id).copied())));
        all.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        all
    }

    /// Every job that there was, by id: in the order of queueing. `router` says for which pool each counts.
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

/// The enterprise that the pools are for. The simulated GitHub has one at most, and then all organisations are its.
fn enterprise(spec: &Spec) -> Option<String> {
    spec.pools.values().find_map(|p| match &p.spec.github.scope {
        Scope::Enterprise(slug) => Some(slug.to_string()),
        Scope::Org(_) | Scope::Repo(..) => None,
    })
}

/// Asks the controller's own rule where jobs belong, once for each set of labels and repository.
#[derive(Debug)]
pub struct Router<'a> {
    spec: &'a Spec,
    known: BTreeMap<(Vec<String>, String), Route>,
}

impl<'a> Router<'a> {
    /// By these manifests.
    pub fn new(spec: &'a Spec) -> Router<'a> {
        Router { spec, known: BTreeMap::new() }
    }

    /// Where the job belongs, or why nowhere.
    pub fn route(&mut self, plan: &JobPlan) -> &Route {
        self.known.entry((plan.labels.clone(), plan.repo.clone())).or_insert_with(|| {
            let event = JobEvent {
                job: JobId(0),
                run: RunId(0),
                state: JobState::Queued,
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
