//! One step of the core with a dirty pool at 10,000 runners and 10,000 queued jobs, and what the core weighs then.
//!
//! `cargo bench --no-default-features --bench step`. Prints figures; asserts none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{
    Action, Effect, Input, InstanceSighting, JobMessage, Market, Outcome, RunnerSighting, Source, Swept,
};
use muster_reconciler::event::{InstanceState, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, MessageId, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::time::Time;

const RUNNERS: u64 = 10_000;
const JOBS: u64 = 10_000;
const ROUNDS: u32 = 200;

fn spec() -> Spec {
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

fn name(n: u64) -> RunnerName {
    RunnerName { cluster: "bench".into(), pool: "linux".into(), instance: InstanceId::from(format!("i-{n:017x}")) }
}

fn job(n: u64) -> JobMessage {
    let event = JobEvent {
        job: JobId(n),
        run: RunId(n / 4),
        state: JobState::Queued,
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
fn answer(effect: &Effect) -> Option<Outcome> {
    let Action::Sweep(source) = &effect.action else { return None };
    Some(Outcome::Swept(match source {
        Source::Instances => Swept::Instances(
            (0..RUNNERS)
                .map(|n| InstanceSighting {
                    id: name(n).instance,
                    pool: "linux".into(),
                    forge: None,
                    intent: None,
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

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1024.0
}

fn main() {
    let before = resident_mb();
    let mut now = Time::from_millis(1_800_000_000_000);
    let mut core = Controller::new("bench", now);
    let mut todo = core.step(now, Input::Spec(Arc::new(spec())));
    let mut n = 0;
    while n < JOBS {
        todo.extend(core.step(now, Input::Messages((n..n + 10).map(job).collect())));
        n += 10;
    }
    let mut sweep_times = Vec::new();
    for effect in std::mem::take(&mut todo) {
        if let Some(outcome) = answer(&effect) {
            let began = Instant::now();
            core.step(now, Input::Outcome(effect.id, outcome));
            sweep_times.push(began.elapsed());
        }
    }
    let mut fold_and_plan = Vec::new();
    let mut plan_only = Vec::new();
    for round in 0..ROUNDS {
        now = now + Duration::from_millis(60);
        // One event makes the pool dirty; 50 ms later it is planned.
        core.step(now, Input::Messages(vec![job(JOBS + u64::from(round))]));
        now = now + Duration::from_millis(51);
        let began = Instant::now();
        let effects = core.step(now, Input::Tick);
        plan_only.push(began.elapsed());
        for effect in effects {
            if let Some(outcome) = answer(&effect) {
                let began = Instant::now();
                core.step(now, Input::Outcome(effect.id, outcome));
                fold_and_plan.push(began.elapsed());
            }
        }
        core.take_facts();
    }
    plan_only.sort();
    sweep_times.extend(fold_and_plan);
    sweep_times.sort();
    println!("core at {RUNNERS} runners and {JOBS} queued jobs");
    println!(
        "  step with the dirty pool: median {:?}, worst of {ROUNDS} {:?}",
        plan_only[plan_only.len() / 2],
        plan_only[plan_only.len() - 1]
    );
    println!("  step that takes in a whole sweep: worst {:?}", sweep_times[sweep_times.len() - 1]);
    let after = resident_mb();
    println!("  resident: {after:.1} MB, {:.1} MB of it the core's and the last sweep's", after - before);
}
