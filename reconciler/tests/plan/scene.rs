//! A pool at one moment, as EC2 and GitHub show it, and the plan for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::capacity::Unavailable;
use muster_reconciler::demand::Demand;
use muster_reconciler::effect::{InstanceSighting, RunnerSighting};
use muster_reconciler::event::{InstanceState, JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, MessageId, PoolName, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{RunnerPool, Span, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::plan::{Gate, Plan, View, plan};
use muster_reconciler::time::Time;
use muster_reconciler::world::World;

pub const POOL: &str = "linux";
pub const START: Time = Time::from_millis(1_000_000_000);

pub fn spec(max: u32, idle: u32) -> Spec {
    let mut pool = RunnerPool::default();
    pool.metadata.name = POOL.into();
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = vec!["self-hosted".into()];
    pool.spec.capacity.max = max;
    pool.spec.capacity.idle = idle.min(max);
    pool.spec.runner.idle_timeout = Span::secs(50);
    pool.spec.instance.types = vec!["m7i.large".into()];
    pool.spec.instance.subnets = vec!["subnet-a".into()];
    let mut spec = Spec { pools: BTreeMap::from([(POOL.into(), pool)]), ..Spec::default() };
    spec.controller.metadata.name = "c".into();
    spec
}

/// One runner, as EC2 and GitHub show it.
#[derive(Clone, Debug)]
pub struct PlanRunner {
    pub id: u64,
    pub state: InstanceState,
    /// `online` and `busy`, as GitHub's list says. None: the runner is not registered.
    pub seat: Option<(bool, bool)>,
    pub draining: bool,
}

#[derive(Clone, Debug)]
pub struct PlanScene {
    pub max: u32,
    pub idle: u32,
    pub runners: Vec<PlanRunner>,
    pub jobs: Vec<(u64, JobState, Option<u64>)>,
    /// Seconds between the sightings and the plan.
    pub later: u64,
}

pub fn labels() -> Arc<[String]> {
    ["self-hosted".to_owned()].into()
}

pub fn name(id: u64) -> RunnerName {
    RunnerName { cluster: "c".into(), pool: POOL.into(), instance: InstanceId::from(format!("i-{id:017x}")) }
}

pub fn event(job: u64, state: JobState, runner: Option<u64>) -> JobEvent {
    JobEvent {
        job: JobId(job),
        run: RunId(job),
        state,
        waiting: false,
        attempt: None,
        about: JobAbout::default(),
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: vec!["self-hosted".into()],
        runner: runner.filter(|_| state > JobState::Queued).map(|id| name(id).to_string()),
        runner_id: runner.filter(|_| state > JobState::Queued).map(RunnerId),
        conclusion: None,
        queued_at: None,
        started_at: None,
    }
}

pub const UP: InstanceState = InstanceState::Running;
pub const IDLE: (InstanceState, Option<(bool, bool)>) = (UP, Some((true, false)));
pub const BUSY: (InstanceState, Option<(bool, bool)>) = (UP, Some((true, true)));
pub const BOOTING: (InstanceState, Option<(bool, bool)>) = (InstanceState::Pending, None);

pub fn drawn(max: u32, idle: u32, runners: &[(InstanceState, Option<(bool, bool)>)], queued: u64, later: u64) -> PlanScene {
    let runners = runners
        .iter()
        .zip(0..)
        .map(|((state, seat), id)| PlanRunner { id, state: *state, seat: *seat, draining: false })
        .collect();
    let jobs = (0..queued).map(|n| (100 + n, JobState::Queued, None)).collect();
    PlanScene { max, idle, runners, jobs, later }
}

pub fn scene(max: u32, idle: u32, runners: &[(InstanceState, Option<(bool, bool)>)], queued: u64, later: u64) -> Plan {
    planned(&drawn(max, idle, runners, queued, later), 0).1
}

/// Builds the world of a scene and plans it. `turn` rotates the order of everything that is heard.
pub fn planned(scene: &PlanScene, turn: usize) -> (Spec, Plan) {
    planned_through(&Gate { room: 1000, ..Gate::default() }, scene, turn)
}

pub fn planned_through(gate: &Gate, scene: &PlanScene, turn: usize) -> (Spec, Plan) {
    let spec = spec(scene.max, scene.idle);
    // The process has run for a minute, so EC2 shows all that an earlier process launched.
    let (mut demand, mut world) = (Demand::default(), World::new(START - Duration::from_secs(60)));
    let list_id = spec.pools[&PoolName::from(POOL)].list_id();
    let rotated = |n: usize| if n == 0 { 0 } else { turn % n };
    let mut instances: Vec<InstanceSighting> = scene
        .runners
        .iter()
        .map(|b| InstanceSighting {
            id: name(b.id).instance,
            pool: POOL.into(),
            list_id: None,
            intent: None,
            max_lifetime: None,
            state: b.state,
            launched_at: START,
            instance_type: "m7i.large".into(),
            subnet: None,
            market: Market::Spot,
            draining: b.draining,
            stages: Vec::new(),
            own_word: None,
            runner_version: None,
            state_reason: None,
        })
        .collect();
    let mut runners: Vec<RunnerSighting> = scene
        .runners
        .iter()
        .filter_map(|b| {
            b.seat.map(|(online, busy)| RunnerSighting {
                id: RunnerId(b.id),
                name: name(b.id),
                online,
                busy: online && busy,
                labels: labels(),
                version: None,
            })
        })
        .collect();
    let mut jobs = scene.jobs.clone();
    let at = rotated(instances.len());
    instances.rotate_left(at);
    let at = rotated(runners.len());
    runners.rotate_left(at);
    let at = rotated(jobs.len());
    jobs.rotate_left(at);
    world.saw_instances(&instances, START, START);
    world.saw_runners(&list_id, Some(&runners), START, START);
    world.saw_secrets(&[], START, START);
    for (job, state, runner) in jobs {
        let event = event(job, state, runner);
        let folded = demand.fold(&spec, &event, Some((MessageId(job), 1)), START);
        if let Some(id) = runner.filter(|_| folded.advanced) {
            world.heard_job(&spec, &name(id).instance, &event, START);
        }
    }
    let now = START + Duration::from_secs(scene.later);
    let unavailable = Unavailable::default();
    let view = View { spec: &spec, demand: &demand, world: &world, unavailable: &unavailable };
    let plan = plan(view, &POOL.into(), gate, now);
    (spec, plan)
}
