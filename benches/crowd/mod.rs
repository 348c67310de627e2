//! A core that knows a crowd of runners, a third of them busy, and as many queued jobs, spread evenly over the pools.
#![allow(dead_code, missing_docs, reason = "each benchmark and test compiles all of this and uses a part")]

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Effect, Input, InstanceSighting, JobMessage, Outcome, RunnerSighting, Source, Swept};
use muster_reconciler::event::{InstanceState, JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, MessageId, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;

pub const RUNNERS: u64 = 10_000;
pub const JOBS: u64 = 10_000;
/// How many later jobs start before a job of the busy crowd ends.
const LASTS: u64 = 300;
/// How many jobs of the busy crowd start in a second: each of its runners has a job for five minutes.
pub const STARTS: u64 = 33;

/// How many runners there are, how many queued jobs, and how many pools.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub each: u64,
    pub pools: u64,
}

/// The crowd of most figures.
pub const LARGE: Crowd = Crowd { each: RUNNERS, pools: 1 };

impl Crowd {
    /// The pool of the job or the runner with this number.
    pub fn pool(self, n: u64) -> String {
        format!("pool-{:03}", n % self.pools)
    }

    pub fn spec(self) -> Spec {
        let mut spec = Spec::default();
        spec.controller.metadata.name = "bench".into();
        for n in 0..self.pools {
            let mut pool = RunnerPool::default();
            pool.metadata.name = self.pool(n);
            pool.spec.github.scope = "org/acme".parse().expect("a scope");
            pool.spec.labels = vec!["self-hosted".into(), "linux".into(), self.pool(n)];
            pool.spec.capacity.max = 150_000;
            pool.spec.instance.types = vec!["m7i.large".into(), "m6i.large".into()];
            pool.spec.instance.subnets = vec!["subnet-a".into(), "subnet-b".into()];
            spec.pools.insert(self.pool(n).into(), pool);
        }
        spec
    }

    fn name(self, n: u64) -> RunnerName {
        RunnerName { cluster: "bench".into(), pool: self.pool(n).into(), instance: InstanceId::from(format!("i-{n:017x}")) }
    }

    pub fn job(self, n: u64) -> JobMessage {
        let event = JobEvent {
            job: JobId(n),
            run: RunId(n / 4),
            state: JobState::Queued,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: vec!["self-hosted".into(), self.pool(n)],
            runner: None,
            runner_id: None,
            conclusion: None,
            queued_at: None,
            started_at: None,
        };
        JobMessage { id: MessageId(n), receive_count: 1, event }
    }

    /// One piece of news of the busy crowd: a job starts on a runner, another ends, and one more is queued.
    pub fn news(self, n: u64) -> Vec<JobMessage> {
        let of = |job: u64, state, conclusion: Option<&str>| {
            let mut message = self.job(job);
            message.id = MessageId(self.each * 10 * (2 + u64::from(conclusion.is_some())) + job);
            message.event.state = state;
            let runner = job * 3 % self.each;
            (message.event.runner, message.event.runner_id) = (Some(self.name(runner).to_string()), Some(RunnerId(runner)));
            message.event.conclusion = conclusion.map(str::to_owned);
            message
        };
        let mut all = vec![of(n, JobState::InProgress, None), self.job(self.each + n)];
        all.extend(n.checked_sub(LASTS).map(|n| of(n, JobState::Completed, Some("success"))));
        all
    }

    /// Answers sweeps; every third runner is busy.
    pub fn answer(self, effect: &Effect) -> Option<Outcome> {
        let Action::Sweep(source) = &effect.action else { return None };
        Some(Outcome::Swept(match source {
            Source::Instances => Swept::Instances(
                (0..self.each)
                    .map(|n| InstanceSighting {
                        id: self.name(n).instance,
                        pool: self.pool(n).into(),
                        list_id: None,
                        intent: None,
                        max_lifetime: None,
                        state: InstanceState::Running,
                        launched_at: Time::from_millis(1),
                        instance_type: "m7i.large".into(),
                        subnet: Some("subnet-a".into()),
                        market: Market::Spot,
                        draining: false,
                        stages: Vec::new(),
                        own_word: None,
                        runner_version: None,
                        state_reason: None,
                    })
                    .collect(),
            ),
            Source::Runners(_) => {
                let labels: Vec<Arc<[String]>> = self.spec().pools.values().map(|p| p.spec.labels.clone().into()).collect();
                let of = |n| labels[usize::try_from(n % self.pools).expect("a few pools")].clone();
                let row = |n| RunnerSighting {
                    id: RunnerId(n),
                    name: self.name(n),
                    online: true,
                    busy: n % 3 == 0,
                    labels: of(n),
                    version: None,
                };
                Swept::Runners(Some((0..self.each).map(row).collect()))
            }
            Source::Secrets => Swept::Secrets(Vec::new()),
            Source::Deliveries(_) => Swept::Deliveries(Vec::new()),
        }))
    }

    /// A core that knows the crowd, has planned it and has had its first sweeps. The other values are how long each sweep took, and the
    /// take-in of all messages, by this clock.
    pub fn core(self, clock: fn() -> Duration) -> (Controller, Vec<Duration>, Duration) {
        let mut core = Controller::new("bench", BEGIN);
        let mut todo = core.step(BEGIN, Input::Spec(Arc::new(self.spec())));
        let began = clock();
        for n in (0..self.each).step_by(10) {
            todo.extend(core.step(BEGIN, Input::Messages((n..n + 10).map(|n| self.job(n)).collect())));
        }
        let messages = clock().saturating_sub(began);
        let mut times = Vec::new();
        for effect in todo {
            if let Some(outcome) = self.answer(&effect) {
                let began = clock();
                core.step(BEGIN, Input::Outcome(effect.id, outcome));
                times.push(clock().saturating_sub(began));
            }
        }
        (core, times, messages)
    }
}

/// The time of the first step.
pub const BEGIN: Time = Time::from_millis(1_800_000_000_000);
