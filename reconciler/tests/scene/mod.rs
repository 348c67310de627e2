//! A controller in an obliging world. A test gives inputs, and says how effects are answered.
#![allow(dead_code, missing_docs, reason = "every test binary compiles all of this and uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{
    Action, Configure, DeliverySighting, Effect, Input, InstanceSighting, JobMessage, JobSighting, Launch, Launched,
    LaunchedInstance, Outcome, RunnerSighting, Source, Swept,
};
use muster_reconciler::event::{InstanceState, JobAbout, JobEvent, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{InstanceId, Intent, JobId, ListId, MessageId, PoolName, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{GitHubApp, RunnerPool, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::rerun::RunSighting;
use muster_reconciler::stage::Stage;
use muster_reconciler::time::Time;
use muster_reconciler::verdict::{Cause, StepEnd, StepKind};

/// The name of the only GitHub App.
const APP: &str = "main";

pub const BEGIN: Time = Time::from_millis(1_000_000_000);

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A runner of the test's world. EC2 shows it in `state`, and GitHub's list shows it as `seat` says.
#[derive(Clone, Debug)]
pub struct SceneRunner {
    pub pool: PoolName,
    pub intent: Option<Intent>,
    pub state: InstanceState,
    pub launched_at: Time,
    pub labels: Arc<[String]>,
    pub list_id: Option<ListId>,
    pub market: Market,
    /// The tag `muster:list`.
    pub list: Option<ListId>,
    /// The tag `muster:max-lifetime`.
    pub max_lifetime: Option<Duration>,
    /// The tag `muster:drain`.
    pub draining: bool,
    /// The tag `muster:stages`.
    pub stages: Vec<(Stage, Time)>,
    /// What the instance says against itself in that tag.
    pub own_word: Option<Cause>,
    /// The version in the tag `muster:stages`.
    pub runner_version: Option<String>,
    /// EC2's StateReason.
    pub why: Option<String>,
    /// `online` and `busy`, as GitHub's list says. None: the runner is not registered.
    pub seat: Option<(bool, bool)>,
}

/// An obliging world: everything works at once, unless a test says otherwise.
pub struct Scene {
    pub core: Controller,
    pub now: Time,
    pub spec: Spec,
    pub runners: BTreeMap<InstanceId, SceneRunner>,
    /// Every effect with its time, without sweeps.
    pub done: Vec<(Time, Effect)>,
    pub swept: Vec<(Time, Source)>,
    pub facts: Vec<Fact>,
    /// GitHub's answer to a configuration. None: the configuration works.
    pub configure: fn(&Configure) -> Option<Failure>,
    /// EC2's answer to a launch. None: EC2 launches what was asked for.
    pub launch: fn(&Launch) -> Option<Outcome>,
    /// Whether runners come online as soon as they are configured.
    pub come_online: bool,
    pub jobs: u64,
    /// Whether launches stay without an answer.
    pub hold_launches: bool,
    /// Whether drains stay without an answer.
    pub hold_drains: bool,
    /// Whether EC2 answers no sweep.
    pub blind: bool,
    /// How many more drains and terminations get no answer.
    pub time_outs: u32,
    /// Whether those without an answer do nothing.
    pub time_outs_in_vain: bool,
    pub refuse_drains: bool,
    pub undelivered: Vec<DeliverySighting>,
    /// What GitHub answers about a job; None: that it may not start yet. Of other jobs GitHub answers 404.
    pub job_states: BTreeMap<u64, Option<JobState>>,
    /// How the steps of every job ended, as GitHub answers.
    pub steps: Vec<(StepKind, StepEnd)>,
    /// What GitHub answers about every run. None: 404.
    pub run: Option<RunSighting>,
    /// Why GitHub answers no question about a run. None: it answers.
    pub run_untold: Option<Failure>,
    /// GitHub's answer to an order to run jobs again. None: it does.
    pub rerun: Option<Failure>,
    /// What GitHub answers to notices and cancellations. None: it takes them.
    pub late: Option<Failure>,
    /// The version of the runner program that lists show. None: lists show none.
    pub version: Option<Arc<str>>,
    /// Rows of the lists that somebody else registered.
    pub strangers: Vec<(ListId, RunnerSighting)>,
}

impl Scene {
    pub fn new(pools: impl IntoIterator<Item = RunnerPool>) -> Scene {
        let spec = cluster(pools);
        let mut scene = Scene {
            core: Controller::new("p", BEGIN),
            now: BEGIN,
            spec,
            runners: BTreeMap::new(),
            done: Vec::new(),
            swept: Vec::new(),
            facts: Vec::new(),
            configure: |_| None,
            launch: |_| None,
            come_online: true,
            jobs: 0,
            hold_launches: false,
            hold_drains: false,
            blind: false,
            time_outs: 0,
            time_outs_in_vain: true,
            refuse_drains: false,
            undelivered: Vec::new(),
            job_states: BTreeMap::new(),
            steps: Vec::new(),
            run: None,
            run_untold: None,
            rerun: None,
            late: None,
            version: None,
            strangers: Vec::new(),
        };
        scene.take_spec();
        scene
    }

    pub fn take_spec(&mut self) {
        self.feed(Input::Spec(Arc::new(self.spec.clone())));
    }

    pub fn pool(&mut self, name: &str) -> &mut RunnerPool {
        self.spec.pools.get_mut(&PoolName::from(name)).unwrap()
    }

    /// Queues `n` jobs with these labels.
    pub fn queue(&mut self, n: u64, labels: &[&str]) {
        let messages = (self.jobs..self.jobs + n).map(|job| message(job, JobState::Queued, labels)).collect();
        self.jobs += n;
        self.feed(Input::Messages(messages));
    }

    /// Queues `n` jobs of a repository, which may be another organisation's.
    pub fn queue_of(&mut self, repo: &str, n: u64, labels: &[&str]) {
        let of = |job| {
            let mut message = message(job, JobState::Queued, labels);
            message.event.org = repo.split('/').next().map(str::to_owned);
            message.event.repo = repo.to_owned();
            message
        };
        let messages = (self.jobs..self.jobs + n).map(of).collect();
        self.jobs += n;
        self.feed(Input::Messages(messages));
    }

    /// Cancels a job before any runner has taken it.
    pub fn cancel(&mut self, job: u64) {
        self.feed(Input::Messages(vec![message(job, JobState::Completed, &["self-hosted"])]));
    }

    /// GitHub gives a job to the instance's runner, and tells it.
    pub fn start(&mut self, job: u64, instance: &InstanceId) {
        let mut begun = message(job, JobState::InProgress, &["self-hosted"]);
        let name = RunnerName { cluster: "c".into(), pool: self.runners[instance].pool.clone(), instance: instance.clone() };
        (begun.event.runner, begun.event.runner_id) = (Some(name.to_string()), Some(self.id(instance)));
        self.runners.get_mut(instance).unwrap().seat = Some((true, true));
        self.feed(Input::Messages(vec![begun]));
    }

    /// The instances that were asked to end do so.
    pub fn end_drained(&mut self) {
        for r in self.runners.values_mut().filter(|r| r.draining) {
            (r.state, r.seat) = (InstanceState::Terminated, None);
        }
    }

    /// Tells that the instance ran a job to its end.
    pub fn finish(&mut self, job: u64, instance: &InstanceId) {
        let mut over = message(job, JobState::Completed, &["self-hosted"]);
        let name = RunnerName { cluster: "c".into(), pool: self.runners[instance].pool.clone(), instance: instance.clone() };
        (over.event.runner, over.event.runner_id) = (Some(name.to_string()), Some(self.id(instance)));
        over.event.conclusion = Some("success".into());
        self.feed(Input::Messages(vec![over]));
    }

    pub fn feed(&mut self, input: Input) {
        let mut todo = self.core.step(self.now, input);
        while !todo.is_empty() {
            for effect in std::mem::take(&mut todo) {
                let held = self.hold_drains && matches!(effect.action, Action::Drain(_))
                    || self.hold_launches && matches!(effect.action, Action::Launch(_));
                let ends = self.time_outs > 0 && matches!(effect.action, Action::Drain(_) | Action::Terminate(_));
                self.time_outs -= u32::from(ends);
                let times_out = ends || self.blind && matches!(effect.action, Action::Sweep(Source::Instances));
                let kind = if self.time_outs_in_vain { FailureKind::Unavailable } else { FailureKind::Ambiguous };
                let mut outcome = Outcome::Failed(Failure::new(kind, "no answer"));
                if !times_out {
                    outcome = self.carry_out(&effect.action);
                } else if !self.time_outs_in_vain {
                    self.carry_out(&effect.action);
                }
                match &effect.action {
                    Action::Sweep(source) => self.swept.push((self.now, source.clone())),
                    _ => self.done.push((self.now, effect.clone())),
                }
                if !held {
                    todo.extend(self.core.step(self.now, Input::Outcome(effect.id, outcome)));
                }
            }
        }
        self.facts.extend(self.core.take_facts());
    }

    pub fn carry_out(&mut self, action: &Action) -> Outcome {
        let batch = |ids: &[InstanceId]| Outcome::Batch { done: ids.to_vec(), failed: Vec::new() };
        match action {
            Action::Launch(l) => (self.launch)(l).unwrap_or_else(|| self.launch_all(l)),
            Action::Configure(c) => {
                if let Some(failure) = (self.configure)(c) {
                    return Outcome::Failed(failure);
                }
                let online = self.come_online;
                let b = self.runners.get_mut(&c.name.instance).unwrap();
                (b.labels, b.list_id) = (c.labels.clone().into(), Some(c.list_id.clone()));
                b.seat = Some((online, false));
                Outcome::Configured { runner: Some(self.id(&c.name.instance)) }
            }
            Action::Terminate(ids) => {
                for id in ids {
                    self.runners.get_mut(id).unwrap().state = InstanceState::Terminated;
                }
                batch(ids)
            }
            Action::Drain(_) if self.refuse_drains => {
                Outcome::Failed(Failure::new(FailureKind::Refused, "no permission for ec2:CreateTags"))
            }
            Action::Drain(ids) => {
                for id in ids {
                    self.runners.get_mut(id).unwrap().draining = true;
                }
                batch(ids)
            }
            Action::DeleteSecrets(ids) => batch(ids),
            Action::Deregister { name, .. } => {
                self.runners.get_mut(&name.instance).unwrap().seat = None;
                Outcome::Done
            }
            Action::CheckJob { job, .. } => match self.job_states.get(&job.0) {
                Some(state) => {
                    let (job, run, steps) = (*job, RunId(job.0), self.steps.clone());
                    let (runner, runner_id, conclusion, attempt) = (None, None, None, 1);
                    Outcome::Job(JobSighting { job, run, state: *state, runner, runner_id, conclusion, attempt, steps })
                }
                None => Outcome::Failed(Failure::new(FailureKind::NotFound, "404")),
            },
            Action::LookAtRun { .. } => match (&self.run_untold, &self.run) {
                (Some(failure), _) => Outcome::Failed(failure.clone()),
                (None, Some(run)) => Outcome::Run(run.clone()),
                (None, None) => Outcome::Failed(Failure::new(FailureKind::NotFound, "404")),
            },
            Action::Rerun { .. } => self.rerun.clone().map_or(Outcome::Done, Outcome::Failed),
            Action::Tell(..) | Action::CancelRun { .. } => self.late.clone().map_or(Outcome::Done, Outcome::Failed),
            Action::Messages(..) | Action::Redeliver { .. } => Outcome::Done,
            Action::Sweep(Source::Deliveries(_)) => Outcome::Swept(Swept::Deliveries(self.undelivered.clone())),
            Action::Sweep(Source::Instances) => Outcome::Swept(Swept::Instances(self.runners.iter().map(sighting).collect())),
            Action::Sweep(Source::Secrets) => Outcome::Swept(Swept::Secrets(Vec::new())),
            Action::Sweep(Source::Runners(list_id)) => self.list(list_id),
        }
    }

    fn launch_all(&mut self, l: &Launch) -> Outcome {
        let ids: Vec<InstanceId> =
            (0..l.count).map(|n| format!("i-{:08x}{:09x}", self.runners.len() + n as usize, 0).into()).collect();
        for id in &ids {
            let new = SceneRunner {
                pool: l.pool.clone(),
                intent: Some(l.intent.clone()),
                state: InstanceState::Running,
                launched_at: self.now,
                labels: Arc::default(),
                list_id: None,
                market: l.market,
                list: Some(l.list_id.clone()),
                max_lifetime: l.tags.get("muster:max-lifetime").map(|s| secs(s.parse().expect("seconds"))),
                draining: false,
                stages: Vec::new(),
                own_word: None,
                runner_version: None,
                why: None,
                seat: None,
            };
            self.runners.insert(id.clone(), new);
        }
        let instance = |id| LaunchedInstance { id, instance_type: "m7i.large".into(), subnet: None, market: l.market };
        Outcome::Launched(Launched { instances: ids.into_iter().map(instance).collect(), errors: Vec::new() })
    }

    fn list(&self, list_id: &ListId) -> Outcome {
        if !self.spec.apps.contains_key(&list_id.app) {
            return Outcome::Failed(Failure::new(FailureKind::Refused, "no such App"));
        }
        let row = |(id, b): (&InstanceId, &SceneRunner)| {
            let (online, busy) = b.seat.filter(|_| b.list_id.as_ref() == Some(list_id))?;
            let name = RunnerName { cluster: "c".into(), pool: b.pool.clone(), instance: id.clone() };
            Some(RunnerSighting { id: self.id(id), name, online, busy, labels: b.labels.clone(), version: self.version.clone() })
        };
        let theirs = self.strangers.iter().filter(|(list, _)| list == list_id).map(|(_, row)| row.clone());
        Outcome::Swept(Swept::Runners(Some(self.runners.iter().filter_map(row).chain(theirs).collect())))
    }

    pub fn id(&self, instance: &InstanceId) -> RunnerId {
        RunnerId(1 + self.runners.keys().position(|id| id == instance).unwrap() as u64)
    }

    /// Lets time pass.
    pub fn pass(&mut self, long: Duration) {
        let until = self.now + long;
        while self.now < until {
            self.now = self.core.next_wake().max(self.now + Duration::from_millis(10)).min(until);
            self.feed(Input::Tick);
        }
    }

    /// Every action since `from`, except those on messages and the checks of jobs.
    pub fn acts(&self, from: Time) -> Vec<&Action> {
        let told = |a: &&Action| !matches!(a, Action::Messages(..) | Action::CheckJob { .. });
        self.done.iter().filter(|(at, _)| *at >= from).map(|(_, e)| &e.action).filter(told).collect()
    }

    pub fn live(&self, pool: &str) -> Vec<InstanceId> {
        let live = |b: &SceneRunner| b.pool.as_str() == pool && b.state == InstanceState::Running;
        self.runners.iter().filter(|(_, b)| live(b)).map(|(id, _)| id.clone()).collect()
    }
}

/// The commit of all jobs.
pub const SHA: &str = "00112233445566778899aabbccddeeff00112233";

pub fn message(job: u64, state: JobState, labels: &[&str]) -> JobMessage {
    let event = JobEvent {
        job: JobId(job),
        run: RunId(job),
        state,
        waiting: false,
        attempt: None,
        about: JobAbout { sha: SHA.into(), ..JobAbout::default() },
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        runner: None,
        runner_id: None,
        conclusion: None,
        queued_at: None,
        started_at: None,
    };
    // No other message of a test has this number.
    JobMessage { id: MessageId(job * 4 + state as u64), receive_count: 1, event }
}

pub fn sighting((id, b): (&InstanceId, &SceneRunner)) -> InstanceSighting {
    InstanceSighting {
        id: id.clone(),
        pool: b.pool.clone(),
        list_id: b.list.clone(),
        intent: b.intent.clone(),
        max_lifetime: b.max_lifetime,
        state: b.state,
        launched_at: b.launched_at,
        instance_type: "m7i.large".into(),
        subnet: None,
        market: b.market,
        draining: b.draining,
        stages: b.stages.clone(),
        own_word: b.own_word,
        runner_version: b.runner_version.clone(),
        state_reason: b.why.clone(),
    }
}

/// A pool of ephemeral runners for the organisation `acme`, with two instance types in two subnets.
pub fn pool(name: &str, labels: &[&str], max: u32) -> RunnerPool {
    let mut pool = RunnerPool::default();
    pool.metadata.name = name.into();
    pool.spec.github.app = Some(APP.into());
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = labels.iter().map(|label| (*label).to_owned()).collect();
    pool.spec.capacity.max = max;
    pool.spec.instance.types = vec!["m7i.large".into(), "m6i.large".into()];
    pool.spec.instance.subnets = vec!["subnet-a".into(), "subnet-b".into()];
    pool
}

pub fn linux() -> RunnerPool {
    pool("linux", &["self-hosted", "linux"], 20)
}

fn cluster(pools: impl IntoIterator<Item = RunnerPool>) -> Spec {
    let mut app = GitHubApp::default();
    app.metadata.name = APP.into();
    let mut spec = Spec::default();
    spec.controller.metadata.name = "c".into();
    spec.apps = [(APP.into(), app)].into();
    spec.pools = pools.into_iter().map(|pool| (pool.metadata.name.as_str().into(), pool)).collect();
    spec
}
