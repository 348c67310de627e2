//! A core that knows 10,000 runners, a third of them busy, and 10,000 queued jobs.
#![allow(dead_code, missing_docs, reason = "each benchmark and test compiles all of this and uses a part")]

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Effect, Input, InstanceSighting, JobMessage, Outcome, RunnerSighting, Source, Swept};
use muster_reconciler::event::{InstanceState, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, MessageId, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;

pub const RUNNERS: u64 = 10_000;
pub const JOBS: u64 = 10_000;

pub fn spec() -> Spec {
    let mut pool = RunnerPool::default();
    pool.metadata.name = "linux".into();
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = ["self-hosted", "linux", "x64"].map(String::from).to_vec();
    pool.spec.capacity.max = 15_000;
    pool.spec.instance.types = vec!["m7i.large".into(), "m6i.large".into()];
    pool.spec.instance.subnets = vec!["subnet-a".into(), "subnet-b".into()];
    let mut spec = Spec::default();
    spec.controller.metadata.name = "bench".into();
    spec.pools.insert("linux".into(), pool);
    spec
}

pub fn name(n: u64) -> RunnerName {
    RunnerName { cluster: "bench".into(), pool: "linux".into(), instance: InstanceId::from(format!("i-{n:017x}")) }
}

pub fn job(n: u64) -> JobMessage {
    let event = JobEvent {
        job: JobId(n),
        run: RunId(n / 4),
        state: JobState::Queued,
        waiting: false,
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: ["self-hosted", "linux"].map(String::from).to_vec(),
        runner: None,
        conclusion: None,
        queued_at: None,
        started_at: None,
    };
    JobMessage { id: MessageId(n), receive_count: 1, event }
}

/// Answers sweeps; every third runner is busy.
pub fn answer(effect: &Effect) -> Option<Outcome> {
    let Action::Sweep(source) = &effect.action else { return None };
    Some(Outcome::Swept(match source {
        Source::Instances => Swept::Instances(
            (0..RUNNERS)
                .map(|n| InstanceSighting {
                    id: name(n).instance,
                    pool: "linux".into(),
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
                    state_reason: None,
                })
                .collect(),
        ),
        Source::Runners(_) => {
            let labels: Arc<[String]> = spec().pools.values().flat_map(|p| p.spec.labels.clone()).collect();
            let row =
                |n| RunnerSighting { id: RunnerId(n), name: name(n), online: true, busy: n % 3 == 0, labels: labels.clone() };
            Swept::Runners(Some((0..RUNNERS).map(row).collect()))
        }
        Source::Secrets => Swept::Secrets(Vec::new()),
        Source::Deliveries(_) => Swept::Deliveries(Vec::new()),
    }))
}

/// The time of the first step.
pub const BEGIN: Time = Time::from_millis(1_800_000_000_000);

/// A core that knows the crowd, has planned it and has had its first sweeps. The second value is how long each sweep took.
pub fn core() -> (Controller, Vec<Duration>) {
    let mut core = Controller::new("bench", BEGIN);
    let mut todo = core.step(BEGIN, Input::Spec(Arc::new(spec())));
    for n in (0..JOBS).step_by(10) {
        todo.extend(core.step(BEGIN, Input::Messages((n..n + 10).map(job).collect())));
    }
    let mut times = Vec::new();
    for effect in todo {
        if let Some(outcome) = answer(&effect) {
            let began = std::time::Instant::now();
            core.step(BEGIN, Input::Outcome(effect.id, outcome));
            times.push(began.elapsed());
        }
    }
    (core, times)
}
