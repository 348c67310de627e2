//! What a plan may and may not be, over random worlds: the same whatever the order in which the world was heard of,
//! never above max, never launching and shrinking at once, and empty once everything is as it should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::capacity::Unavailable;
use muster_reconciler::demand::Demand;
use muster_reconciler::effect::{InstanceSighting, Launch, Market, RunnerSighting, Source};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState, JobEvent, JobState};
use muster_reconciler::ids::{AppName, Forge, InstanceId, Intent, JobId, MessageId, PoolName, RunId, RunnerId, RunnerName};
use muster_reconciler::manifest::{Lifetime, RunnerPool, Span, Spec};
use muster_reconciler::plan::{Act, Blocked, DRAIN_DEADLINE, Gate, Plan, View, plan};
use muster_reconciler::runner::{Drain, Phase, Runner, Terms};
use muster_reconciler::time::Time;
use muster_reconciler::world::World;
use proptest::prelude::*;

const POOL: &str = "linux";
const START: Time = Time::from_millis(1_000_000_000);

fn spec(max: u32, idle: u32) -> Spec {
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

/// One box, as EC2 and GitHub show it.
#[derive(Clone, Debug)]
struct Box {
    id: u64,
    state: InstanceState,
    /// (online, busy), if registered.
    seat: Option<(bool, bool)>,
    draining: bool,
}

#[derive(Clone, Debug)]
struct Scene {
    max: u32,
    idle: u32,
    boxes: Vec<Box>,
    jobs: Vec<(u64, JobState, Option<u64>)>,
    /// Seconds since the sightings.
    later: u64,
}

fn labels() -> Arc<[String]> {
    ["self-hosted".to_owned()].into()
}

fn name(id: u64) -> RunnerName {
    RunnerName { cluster: "c".into(), pool: POOL.into(), instance: InstanceId::from(format!("i-{id:017x}")) }
}

fn event(job: u64, state: JobState, runner: Option<u64>) -> JobEvent {
    JobEvent {
        job: JobId(job),
        run: RunId(job),
        state,
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: vec!["self-hosted".into()],
        runner: runner.filter(|_| state > JobState::Queued).map(|id| name(id).to_string()),
        conclusion: None,
        queued_at: None,
        started_at: None,
    }
}

/// Builds the world of a scene and plans it. `turn` rotates the order of everything that is heard.
fn planned(scene: &Scene, turn: usize) -> (Spec, Plan) {
    planned_through(&Gate { room: 1000, ..Gate::default() }, scene, turn)
}

fn planned_through(gate: &Gate, scene: &Scene, turn: usize) -> (Spec, Plan) {
    let spec = spec(scene.max, scene.idle);
    // A process that has run for a minute: nothing of a predecessor's is hidden any more.
    let (mut demand, mut world) = (Demand::default(), World::new(START - Duration::from_secs(60)));
    let forge = spec.pools[&PoolName::from(POOL)].forge();
    let rotated = |n: usize| if n == 0 { 0 } else { turn % n };
    let mut instances: Vec<InstanceSighting> = scene
        .boxes
        .iter()
        .map(|b| InstanceSighting {
            id: name(b.id).instance,
            pool: POOL.into(),
            forge: None,
            intent: None,
            state: b.state,
            launched_at: START,
            instance_type: "m7i.large".into(),
            subnet: None,
            market: Market::Spot,
            draining: b.draining,
            stages: Vec::new(),
            state_reason: None,
        })
        .collect();
    let mut runners: Vec<RunnerSighting> = scene
        .boxes
        .iter()
        .filter_map(|b| {
            b.seat.map(|(online, busy)| RunnerSighting {
                id: RunnerId(b.id),
                name: name(b.id),
                online,
                busy: online && busy,
                labels: labels(),
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
    world.saw_runners(&forge, Some(&runners), START, START);
    world.saw_secrets(&[], START, START);
    for (job, state, runner) in jobs {
        let event = event(job, state, runner);
        let folded = demand.fold(&spec, &event, Some((MessageId(job), 1)), START);
        if folded.advanced {
            world.heard_job(&spec, &event, START);
        }
    }
    let now = START + Duration::from_secs(scene.later);
    let unavailable = Unavailable::default();
    let view = View { spec: &spec, demand: &demand, world: &world, unavailable: &unavailable };
    let plan = plan(view, &POOL.into(), gate, now);
    (spec, plan)
}

fn any_box() -> impl Strategy<Value = (InstanceState, Option<(bool, bool)>, bool)> {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Terminated};
    let state =
        prop_oneof![1 => Just(Pending), 6 => Just(Running), 1 => Just(ShuttingDown), 1 => Just(Stopped), 1 => Just(Terminated)];
    (state, prop::option::of((any::<bool>(), any::<bool>())), prop::bool::weighted(0.15))
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let state = prop_oneof![3 => Just(JobState::Queued), 1 => Just(JobState::InProgress), 1 => Just(JobState::Completed)];
    (
        0..20u32,
        0..5u32,
        prop::collection::vec(any_box(), 0..15),
        prop::collection::vec((state, prop::option::of(0..15u64)), 0..15),
        0..400u64,
    )
        .prop_map(|(max, idle, boxes, jobs, later)| Scene {
            max,
            idle,
            boxes: boxes.into_iter().zip(0..).map(|((state, seat, draining), id)| Box { id, state, seat, draining }).collect(),
            jobs: jobs.into_iter().zip(100..).map(|((state, runner), job)| (job, state, runner)).collect(),
            later,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn a_plan_is_the_same_whatever_the_order(scene in any_scene(), turn in 1..14usize) {
        prop_assert_eq!(planned(&scene, 0), planned(&scene, turn));
    }

    #[test]
    fn no_plan_exceeds_max(scene in any_scene()) {
        let (_, plan) = planned(&scene, 0);
        let launched = plan.launch.as_ref().map_or(0, |l| l.count);
        if launched > 0 {
            prop_assert!(plan.counts.occupied + launched <= scene.max, "{:?}", plan);
        }
    }

    #[test]
    fn no_plan_grows_and_shrinks_at_once(scene in any_scene()) {
        let (_, plan) = planned(&scene, 0);
        let idle_drains = plan.steps.iter().filter(|s| s.act == Act::Drain && s.reason.contains("no job wants it")).count();
        prop_assert!(plan.launch.is_none() || idle_drains == 0, "{:?}", plan);
    }

    /// The one property that matters most: whatever was seen, a box that may have a job is neither ended nor deregistered.
    #[test]
    fn a_box_that_may_have_a_job_is_left_alone(scene in any_scene()) {
        let (_, plan) = planned(&scene, 0);
        for s in plan.steps.iter().filter(|s| matches!(s.act, Act::Terminate | Act::Deregister)) {
            let Some(b) = scene.boxes.iter().find(|b| name(b.id).instance == s.instance) else { continue };
            let over = scene.jobs.iter().any(|(_, state, r)| *state == JobState::Completed && *r == Some(b.id));
            let ended = matches!(b.state, InstanceState::Terminated | InstanceState::Stopped | InstanceState::ShuttingDown);
            let online = b.seat.is_some_and(|(online, _)| online);
            prop_assert!(over || ended || !online, "{:?} although {:?}", s, b);
        }
    }

    #[test]
    fn a_converged_pool_has_an_empty_plan(max in 1..20u32, busy in 0..10u64, idle in 0..5u32) {
        // Every job in progress on its runner, exactly the warm floor idle: nothing to do, however often one looks.
        let max = max.max(u32::try_from(busy).expect("small") + idle);
        let seat = |id| Some((true, id < busy));
        let boxes = (0..busy + u64::from(idle)).map(|id| Box { id, state: InstanceState::Running, seat: seat(id), draining: false });
        let jobs = (0..busy).map(|id| (100 + id, JobState::InProgress, Some(id))).collect();
        let scene = Scene { max, idle, boxes: boxes.collect(), jobs, later: 30 };
        let (_, plan) = planned(&scene, 0);
        prop_assert!(plan.launch.is_none() && plan.steps.is_empty(), "{:?}", plan);
    }
}

fn drawn(max: u32, idle: u32, boxes: &[(InstanceState, Option<(bool, bool)>)], queued: u64, later: u64) -> Scene {
    let boxes =
        boxes.iter().zip(0..).map(|((state, seat), id)| Box { id, state: *state, seat: *seat, draining: false }).collect();
    let jobs = (0..queued).map(|n| (100 + n, JobState::Queued, None)).collect();
    Scene { max, idle, boxes, jobs, later }
}

fn scene(max: u32, idle: u32, boxes: &[(InstanceState, Option<(bool, bool)>)], queued: u64, later: u64) -> Plan {
    planned(&drawn(max, idle, boxes, queued, later), 0).1
}

const UP: InstanceState = InstanceState::Running;
const IDLE: (InstanceState, Option<(bool, bool)>) = (UP, Some((true, false)));
const BUSY: (InstanceState, Option<(bool, bool)>) = (UP, Some((true, true)));
const BOOTING: (InstanceState, Option<(bool, bool)>) = (InstanceState::Pending, None);

fn drains(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| s.act == Act::Drain).count()
}

#[test]
fn queued_jobs_get_what_supply_lacks() {
    let plan = scene(50, 0, &[IDLE, BOOTING, BUSY], 5, 0);
    assert_eq!(
        plan.launch.expect("a launch").count,
        3,
        "5 jobs, less one idle and one booting; a runner found busy explains nothing"
    );
}

#[test]
fn the_warm_floor_comes_on_top_of_the_jobs() {
    assert_eq!(scene(50, 2, &[], 3, 0).launch.expect("a launch").count, 5);
    assert_eq!(scene(50, 2, &[IDLE, IDLE], 0, 3600).launch, None);
}

#[test]
fn max_counts_everything_that_is_not_gone() {
    let plan = scene(3, 0, &[BUSY, BUSY], 5, 0);
    assert_eq!(plan.launch.as_ref().map(|l| l.count), Some(1));
    assert!(plan.reason.contains("the pool's max is reached"), "{}", plan.reason);
    assert_eq!(scene(2, 0, &[BUSY, BUSY], 5, 0).launch, None);
}

#[test]
fn surplus_idle_runners_are_asked_to_end_after_idle_timeout_and_never_before() {
    assert_eq!(drains(&scene(9, 0, &[IDLE, IDLE, IDLE], 1, 30)), 0);
    let plan = scene(9, 0, &[IDLE, IDLE, IDLE], 1, 55);
    assert_eq!(drains(&plan), 2, "one stays for the job: {plan:?}");
    assert!(plan.steps.iter().all(|s| s.act == Act::Drain), "asked, never ended: {plan:?}");
}

#[test]
fn nothing_is_launched_before_ec2_was_seen() {
    let spec = spec(9, 0);
    let (mut demand, world) = (Demand::default(), World::new(START));
    demand.fold(&spec, &event(1, JobState::Queued, None), None, START);
    let unavailable = Unavailable::default();
    let view = View { spec: &spec, demand: &demand, world: &world, unavailable: &unavailable };
    let plan = plan(view, &POOL.into(), &Gate { room: 1000, ..Gate::default() }, START);
    assert_eq!(plan.launch, None);
    assert!(plan.reason.contains("first complete look at EC2"), "{}", plan.reason);
}

#[test]
fn nothing_is_removed_on_a_stale_view() {
    let plan = scene(9, 0, &[IDLE, IDLE], 0, 100);
    assert!(plan.steps.is_empty(), "the last sweep is 100 s old: {plan:?}");
}

#[test]
fn boxes_of_a_pool_that_is_gone_are_asked_to_end() {
    let mut spec = spec(9, 0);
    let forge = spec.pools[&PoolName::from(POOL)].forge();
    let mut world = World::new(START);
    let sighting = |state| InstanceSighting {
        id: name(1).instance,
        pool: POOL.into(),
        forge: None,
        intent: None,
        state,
        launched_at: START,
        instance_type: "m7i.large".into(),
        subnet: None,
        market: Market::Spot,
        draining: false,
        stages: Vec::new(),
        state_reason: None,
    };
    world.saw_instances(&[sighting(UP)], START, START);
    let seat = RunnerSighting { id: RunnerId(1), name: name(1), online: true, busy: false, labels: labels() };
    world.saw_runners(&forge, Some(std::slice::from_ref(&seat)), START, START);
    assert!(world.swept(&Source::Instances).is_some());
    spec.pools.clear();
    let (demand, unavailable) = (Demand::default(), Unavailable::default());
    let view = View { spec: &spec, demand: &demand, world: &world, unavailable: &unavailable };
    let plan = plan(view, &POOL.into(), &Gate { room: 9, ..Gate::default() }, START);
    assert_eq!(plan.steps.iter().map(|s| s.act).collect::<Vec<_>>(), [Act::Drain]);
}

// ------------------------------------------------------------------- stories in which a box's job is easily overlooked

/// A controller's world over time, told in sightings, for boxes that this process did not launch.
struct Story {
    spec: Spec,
    demand: Demand,
    world: World,
    now: Time,
}

impl Story {
    fn new() -> Story {
        Story { spec: spec(9, 0), demand: Demand::default(), world: World::new(START), now: START + Duration::from_secs(1) }
    }

    /// One look at everything: the box runs; `forge`'s list says what it says.
    fn look(&mut self, forge: Option<&str>, seat: Option<(bool, bool)>) {
        self.world.saw_secrets(&[], self.now, self.now);
        self.look_at_boxes(forge, seat);
    }

    fn look_at_boxes(&mut self, forge: Option<&str>, seat: Option<(bool, bool)>) {
        let sighting = InstanceSighting {
            id: name(1).instance,
            pool: POOL.into(),
            forge: None,
            intent: None,
            state: UP,
            launched_at: START - Duration::from_secs(3600),
            instance_type: "m7i.large".into(),
            subnet: None,
            market: Market::Spot,
            draining: false,
            stages: Vec::new(),
            state_reason: None,
        };
        self.world.saw_instances(&[sighting], self.now, self.now);
        if let Some(scope) = forge {
            let forge = Forge { app: AppName::default(), scope: scope.parse().expect("a scope") };
            let seen: Vec<_> = seat
                .into_iter()
                .map(|(online, busy)| RunnerSighting { id: RunnerId(1), name: name(1), online, busy, labels: labels() })
                .collect();
            self.world.saw_runners(&forge, Some(&seen), self.now, self.now);
        }
    }

    fn hear(&mut self, job: u64, state: JobState) {
        let event = event(job, state, Some(1));
        if self.demand.fold(&self.spec, &event, None, self.now).advanced {
            self.world.heard_job(&self.spec, &event, self.now);
        }
    }

    /// Looks every 15 s for `minutes`, carries out what is planned as far as the core's books go, and returns all of it.
    fn pass(&mut self, minutes: u64, forge: Option<&str>, seat: Option<(bool, bool)>) -> Vec<Act> {
        let mut acts = Vec::new();
        for _ in 0..minutes * 4 {
            self.now = self.now + Duration::from_secs(15);
            self.look(forge, seat);
            let unavailable = Unavailable::default();
            let view = View { spec: &self.spec, demand: &self.demand, world: &self.world, unavailable: &unavailable };
            for step in plan(view, &POOL.into(), &Gate { room: 1000, ..Gate::default() }, self.now).steps {
                acts.push(step.act);
                let forge = Forge { app: AppName::default(), scope: forge.unwrap_or("org/acme").parse().expect("a scope") };
                let minted = Arc::new(Terms { forge, group: Some("Default".into()), labels: labels() });
                match step.act {
                    Act::Configure => self.world.configured(&step.instance, &minted, Some(RunnerId(2)), self.now),
                    Act::Drain => {
                        let runner = self.world.runner_mut(&step.instance).expect("the box");
                        runner.drain = Some(Drain { asked_at: self.now, why: None });
                    }
                    Act::Deregister => {
                        let runner = self.world.runner_mut(&step.instance).expect("the box");
                        (runner.deregistered, runner.registration) = (true, None);
                    }
                    Act::Terminate | Act::DeleteSecret => {}
                }
            }
        }
        acts
    }
}

fn ends(acts: &[Act]) -> bool {
    acts.iter().any(|a| matches!(a, Act::Terminate))
}

/// After a restart nothing tells of its job, and its list is no longer looked at: it is asked, never ended.
#[test]
fn a_found_box_of_a_removed_pool_is_asked_and_never_ended() {
    let mut story = Story::new();
    story.spec.pools.clear();
    let acts = story.pass(30, None, None);
    assert!(acts.contains(&Act::Drain) && !ends(&acts), "{acts:?}");
}

/// The pool now registers elsewhere; the box works for the old scope, which nobody lists any more.
#[test]
fn a_found_box_of_a_pool_that_moved_is_never_ended() {
    let mut story = Story::new();
    let pool = story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool");
    pool.spec.github.scope = "org/other".parse().expect("a scope");
    let acts = story.pass(30, Some("org/other"), None);
    assert!(!ends(&acts), "{acts:?}");
    assert!(!acts.contains(&Act::Configure), "it is an hour old: it was configured long ago: {acts:?}");
}

/// Its first job was cancelled before it began; it took a second one, whose event was lost, and the list is old.
#[test]
fn the_end_of_one_job_ends_no_box_that_github_was_not_asked_about_since() {
    let mut story = Story::new();
    story.look(Some("org/acme"), Some((true, false)));
    story.hear(7, JobState::Completed);
    assert!(!ends(&story.pass(5, None, None)), "nobody looked at GitHub since");
    assert!(!ends(&story.pass(5, Some("org/acme"), Some((true, false)))), "it is online, and `busy` lies");
    assert!(!ends(&story.pass(5, Some("org/acme"), Some((true, true)))), "it is busy");
    assert!(ends(&story.pass(5, Some("org/acme"), None)), "its registration went with its job");
}

/// A pool that is no longer in the manifests may have been one of reusable runners.
#[test]
fn the_end_of_a_job_is_no_end_of_a_box_whose_pool_is_unknown() {
    let mut story = Story::new();
    story.look(Some("org/acme"), Some((true, true)));
    story.spec.pools.clear();
    story.hear(7, JobState::Completed);
    assert!(!ends(&story.pass(20, Some("org/acme"), Some((true, false)))));
}

/// A reusable runner: its next job's start was told before its last one's end, and GitHub's list lies.
#[test]
fn the_late_end_of_one_job_hides_no_other() {
    for (first, next) in [(7, 5), (5, 7)] {
        let mut story = Story::new();
        let pool = story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool");
        pool.spec.runner.lifetime = Lifetime::Reusable;
        story.look(Some("org/acme"), Some((true, true)));
        for (job, state) in [(first, JobState::InProgress), (next, JobState::InProgress), (first, JobState::Completed)] {
            story.hear(job, state);
        }
        assert_eq!(story.pass(20, Some("org/acme"), Some((true, false))), [], "job {next} runs");
        story.hear(next, JobState::Completed);
        assert!(story.pass(5, Some("org/acme"), Some((true, false))).contains(&Act::Drain), "it is idle for long");
    }
}

/// Such a list once cost a box: an idle one was let go as the job ended, and another launched as the old row came (seed 48708).
#[test]
fn a_list_that_is_older_than_a_jobs_end_does_not_show_its_reusable_runner_busy() {
    for (began_after, phase) in [(0, Phase::Idle), (1, Phase::Busy)] {
        let mut story = Story::new();
        story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.lifetime = Lifetime::Reusable;
        story.look(ACME, Some((true, false)));
        story.now = story.now + Duration::from_secs(5);
        story.hear(7, JobState::InProgress);
        story.hear(7, JobState::Completed);
        let began = story.now + Duration::from_millis(began_after);
        let row = RunnerSighting { id: RunnerId(1), name: name(1), online: true, busy: true, labels: labels() };
        story.now = story.now + Duration::from_secs(1);
        let forge = Forge { app: AppName::default(), scope: "org/acme".parse().expect("a scope") };
        story.world.saw_runners(&forge, Some(&[row]), began, story.now);
        let plan = story.plan();
        assert_eq!(plan.counts.phases, BTreeMap::from([(phase, 1)]));
        assert_eq!(plan.counts.unexplained, u32::from(phase == Phase::Busy));
    }
}

impl Story {
    fn plan(&self) -> Plan {
        let unavailable = Unavailable::default();
        let view = View { spec: &self.spec, demand: &self.demand, world: &self.world, unavailable: &unavailable };
        plan(view, &POOL.into(), &Gate { room: 1000, ..Gate::default() }, self.now)
    }

    /// What would be done now, with nothing done.
    fn acts(&self) -> Vec<Act> {
        self.plan().steps.iter().map(|s| s.act).collect()
    }

    /// Looks every 15 s, doing nothing else, for so many seconds.
    fn watch(&mut self, seconds: u64, forge: Option<&str>, seat: Option<(bool, bool)>) {
        let until = self.now + Duration::from_secs(seconds);
        while self.now < until {
            self.now = (self.now + Duration::from_secs(15)).min(until);
            self.look(forge, seat);
        }
    }

    fn runner(&mut self) -> &mut Runner {
        self.world.runner_mut(&name(1).instance).expect("the box")
    }
}

const ACME: Option<&str> = Some("org/acme");

#[test]
fn an_interruption_that_never_comes_is_believed_for_ten_minutes() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    let event = Ec2Event { instance: name(1).instance, kind: Ec2EventKind::SpotInterruption };
    story.world.heard_ec2(&event, story.now);
    story.watch(599, ACME, Some((true, false)));
    assert_eq!(story.acts(), []);
    story.watch(1, ACME, Some((true, false)));
    assert_eq!(story.acts(), [Act::Drain]);
    let now = story.now;
    story.runner().drain = Some(Drain { asked_at: now, why: None });
    story.watch(DRAIN_DEADLINE.as_secs() + 60, ACME, Some((true, true)));
    assert_eq!(story.acts(), [], "it has a job");
    story.watch(60, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister], "it is drained like any other");
}

#[test]
fn nobody_chases_a_box_that_spot_takes() {
    let mut story = Story::new();
    story.look(ACME, Some((false, false)));
    let asked_at = story.now;
    story.runner().drain = Some(Drain { asked_at, why: None });
    story.watch(DRAIN_DEADLINE.as_secs() + 60, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
    story.world.heard_ec2(&Ec2Event { instance: name(1).instance, kind: Ec2EventKind::SpotInterruption }, story.now);
    assert_eq!(story.acts(), []);
}

/// It had a job of which no event told yet; if none does for long, there was none.
#[test]
fn an_end_without_a_word_explains_a_queued_job_for_a_while() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    let ended = story.now;
    story.runner().instance.as_mut().expect("it is shown").ending_since = Some(ended);
    for (after, unexplained) in [(1, 1), (59, 1), (60, 0)] {
        story.now = ended + Duration::from_secs(after);
        assert_eq!(story.plan().counts.unexplained, unexplained, "{after} s later");
    }
}

/// The webhook that says so may be a little late.
#[test]
fn a_runner_that_turns_busy_without_a_word_explains_a_queued_job_for_a_minute() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.watch(15, ACME, Some((true, true)));
    let turned = story.now;
    for (after, unexplained) in [(0, 1), (59, 1), (60, 0)] {
        story.now = turned + Duration::from_secs(after);
        assert_eq!(story.plan().counts.unexplained, unexplained, "{after} s later");
    }
    story.now = turned;
    story.hear(7, JobState::InProgress);
    assert_eq!(story.plan().counts.unexplained, 0, "job 7 explains it");
}

#[test]
fn a_job_counts_after_its_pools_delay_and_a_redelivered_one_once_it_is_confirmed_and_launches_show() {
    let mut story = Story::new();
    let pool = story.spec.pools.get_mut(&POOL.into()).expect("the pool");
    pool.spec.runner.queue_delay = Some(Span::secs(20));
    story.world.saw_instances(&[], story.now, story.now);
    let counting = |story: &mut Story, at: Time| {
        story.now = at;
        story.plan().counts.counting
    };
    let (first, later) = (story.now, story.now + Duration::from_secs(100));
    story.demand.fold(&story.spec, &event(1, JobState::Queued, None), None, first);
    assert_eq!(counting(&mut story, first + Duration::from_secs(19)), 0);
    assert_eq!(counting(&mut story, first + Duration::from_secs(20)), 1);
    // GitHub has said that job 2 is still queued; what a predecessor launched for it may not show yet.
    story.demand.fold(&story.spec, &event(2, JobState::Queued, None), Some((MessageId(2), 2)), first);
    story.demand.job_mut(JobId(2)).expect("known").check.answered = Some(first);
    assert_eq!(counting(&mut story, first + Duration::from_secs(20)), 1);
    story.world.saw_instances(&[], later, later);
    assert_eq!(counting(&mut story, later), 2);
    // Nobody has said so of job 3 yet.
    story.spec.pools.get_mut(&POOL.into()).expect("the pool").spec.runner.queue_delay = None;
    story.demand.fold(&story.spec, &event(3, JobState::Queued, None), Some((MessageId(3), 2)), later);
    assert_eq!(counting(&mut story, later), 2);
    assert_eq!(story.plan().counts.queued, 3);
}

#[test]
fn a_box_whose_job_is_over_has_half_a_minute_to_end_itself() {
    let mut story = Story::new();
    story.look(ACME, Some((true, true)));
    story.hear(7, JobState::Completed);
    story.watch(29, ACME, None);
    assert_eq!(story.acts(), []);
    story.watch(1, ACME, None);
    assert_eq!(story.acts(), [Act::Terminate]);
}

/// Booted, registered, and never online: its registration goes first, and it is ended once it can get no job.
#[test]
fn a_list_that_was_read_just_after_a_job_ended_does_not_show_that_there_is_no_other() {
    let mut story = Story::new();
    story.look(ACME, Some((true, true)));
    story.hear(7, JobState::Completed);
    for _ in 0..2 {
        story.now = story.now + Duration::from_secs(5);
        story.look(ACME, None);
    }
    story.now = story.now + Duration::from_secs(20);
    assert_eq!(story.acts(), [Act::Drain], "it may have got another one");
}

#[test]
fn what_was_seen_holds_for_four_intervals_and_a_minute_at_least() {
    for (interval, holds) in [(5, 60), (30, 120)] {
        let mut story = gone((false, false));
        story.spec.controller.spec.intervals.instances = Span::secs(interval);
        let seen = story.now;
        story.now = seen + Duration::from_secs(holds);
        assert_eq!(story.acts(), [Act::Deregister]);
        story.now = seen + Duration::from_secs(holds + 1);
        assert_eq!(story.acts(), []);
    }
}

#[test]
fn a_box_that_never_came_online_loses_its_registration_first() {
    let mut story = Story::new();
    story.look(ACME, Some((false, false)));
    story.watch(60, ACME, Some((false, false)));
    story.runner().forge = Some(Forge { app: AppName::default(), scope: "org/acme".parse().expect("a scope") });
    story.watch(300, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
    // It is not listed now: deleting it would say nothing. It is asked.
    story.look(ACME, None);
    assert_eq!(story.acts(), [Act::Drain]);
    story.runner().deregistered = true;
    assert_eq!(story.acts(), [Act::Terminate]);
}

/// Asked to end, offline, and silent: five minutes and two looks later its registration goes, then the box.
/// What else may be known of a box at a time.
type Change = fn(&mut Runner, Time);

/// A box that was idle, and is no more; GitHub's list was read once since.
fn gone(seat: (bool, bool)) -> Story {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.runner().instance.as_mut().expect("it is shown").state = InstanceState::Terminated;
    story.watch(30, ACME, Some(seat));
    story
}

#[test]
fn what_a_gone_box_leaves_is_removed_once_nobody_uses_it() {
    assert_eq!(gone((false, false)).acts(), [Act::Deregister]);
    for seat in [(true, false), (false, true), (true, true)] {
        assert_eq!(gone(seat).acts(), [], "{seat:?}: GitHub has not noticed yet");
    }
    let changes: [(&[Act], Change); 6] = [
        (&[Act::DeleteSecret], |r, _| r.secret = true),
        (&[Act::Deregister], |r, now| r.not_before = now),
        (&[], |r, now| r.not_before = now + Duration::from_secs(1)),
        (&[], |r, _| r.in_flight = true),
        (&[], |r, _| r.deregistered = true),
        (&[], |r, now| r.gone_at = Some(now)),
    ];
    for (i, (acts, change)) in changes.iter().enumerate() {
        let mut story = gone((false, false));
        let now = story.now;
        change(story.runner(), now);
        assert_eq!(story.acts(), *acts, "change {i}");
    }
}

#[test]
fn a_gone_box_is_looked_for_in_a_list_that_was_read_since() {
    let mut story = gone((false, false));
    let went = story.now + Duration::from_secs(1);
    story.runner().gone_at = Some(went);
    story.now = went + Duration::from_secs(5);
    assert_eq!(story.acts(), []);
    story.look(ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
}

#[test]
fn a_drain_without_an_answer_is_chased_in_two_steps() {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.watch(30, ACME, Some((false, false)));
    let asked_at = story.now;
    story.runner().drain = Some(Drain { asked_at, why: None });
    story.runner().forge = Some(Forge { app: AppName::default(), scope: "org/acme".parse().expect("a scope") });
    story.watch(DRAIN_DEADLINE.as_secs(), ACME, Some((false, false)));
    assert_eq!(story.acts(), [], "one look since the deadline");
    story.watch(15, ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
    story.watch(15, ACME, Some((true, false)));
    assert_eq!(story.acts(), [], "it is online: it may have a job");
    story.watch(15, ACME, Some((false, false)));
    story.runner().deregistered = true;
    assert_eq!(story.acts(), [Act::Terminate]);
}

#[test]
fn old_age_asks_an_idle_box_in_time_and_ends_any_at_last() {
    for (limit, early) in [(3_600, 3_600 - DRAIN_DEADLINE.as_secs()), (400, 200)] {
        let mut story = Story::new();
        let pool = story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool");
        pool.spec.runner.max_lifetime = Span::secs(limit);
        pool.spec.capacity.idle = 1;
        // The story's box was launched an hour before it begins.
        let birth = START - Duration::from_secs(3600);
        let at = |story: &mut Story, age: u64, seat| {
            story.world = World::new(START - Duration::from_secs(3600));
            story.now = birth + Duration::from_secs(age);
            story.look(ACME, Some(seat));
            story.acts()
        };
        assert_eq!(at(&mut story, early - 1, (true, false)), []);
        assert_eq!(at(&mut story, early, (true, false)), [Act::Drain]);
        assert_eq!(at(&mut story, early, (true, true)), []);
        assert_eq!(at(&mut story, limit - 1, (true, true)), []);
        assert_eq!(at(&mut story, limit, (true, true)), [Act::Terminate]);
    }
}

#[test]
fn phases_without_boxes_are_left_out() {
    let plan = scene(9, 0, &[], 0, 0);
    assert!(plan.counts.phases.is_empty(), "{:?}", plan.counts);
}

#[test]
fn a_pool_launches_what_its_gate_lets_through_and_says_what_held_the_rest() {
    let through = |gate: Gate, max| {
        let plan = planned_through(&gate, &drawn(max, 0, &[], 3, 0), 0).1;
        (plan.launch.map(|l| l.count), plan.blocked)
    };
    let gate = |room| Gate { room, ..Gate::default() };
    assert_eq!(through(gate(3), 9), (Some(3), None));
    assert_eq!(through(gate(1), 9), (Some(1), Some(Blocked::Pace)));
    assert_eq!(through(gate(0), 9), (None, Some(Blocked::Pace)));
    assert_eq!(through(gate(9), 2), (Some(2), Some(Blocked::Max)));
    let why = || "it failed".to_owned();
    let refused = |room| Gate { refused: Some((START, why())), ..gate(room) };
    assert_eq!(through(refused(3), 9), (Some(3), None));
    assert_eq!(through(refused(1), 9), (Some(1), Some(Blocked::Refused(START, why()))));
    let limited = |room| Gate { github: Some(START), ..refused(room) };
    assert_eq!(through(limited(3), 9), (Some(3), None));
    assert_eq!(through(limited(1), 9), (Some(1), Some(Blocked::GitHub(START))), "the narrower one is told");
    let later = START + Duration::from_millis(1);
    let backs_off = |until| Gate { backoff: Some((until, why())), ..gate(9) };
    assert_eq!(through(backs_off(later), 9), (None, Some(Blocked::Backoff(later, why()))));
    assert_eq!(through(backs_off(START), 9), (Some(3), None));
    let idle = planned_through(&backs_off(later), &drawn(9, 0, &[], 0, 0), 0).1;
    assert_eq!(idle.blocked, None, "nothing is held back");
    assert_eq!(through(backs_off(START - Duration::from_millis(1)), 9), (Some(3), None));
}

#[test]
fn a_plan_tells_jobs_that_do_not_count_and_runners_that_have_just_taken_one() {
    let mut story = Story::new();
    story.spec.pools.get_mut(&POOL.into()).expect("the pool").spec.runner.queue_delay = Some(Span::secs(600));
    story.look(ACME, Some((true, false)));
    story.watch(15, ACME, Some((true, true)));
    story.demand.fold(&story.spec, &event(5, JobState::Queued, None), None, story.now);
    let reason = story.plan().reason;
    assert_eq!(reason, "0 wanted (0 queued jobs, less 1 just taken), 0 supplied, 1 of 9 boxes; 1 queued jobs do not count yet");
}

/// One that is online may have a job; one whose secret alone is known may be another pool's.
#[test]
fn a_box_of_a_pool_that_is_gone_is_asked_once_and_not_while_something_is_under_way() {
    let mut story = Story::new();
    story.spec.pools.clear();
    story.look_at_boxes(None, None);
    assert_eq!(story.acts(), [Act::Drain]);
    let changes: [(&[Act], Change); 4] = [
        (&[Act::Drain], |r, now| r.not_before = now),
        (&[], |r, now| r.not_before = now + Duration::from_secs(1)),
        (&[], |r, _| r.in_flight = true),
        (&[], |r, _| r.instance = None),
    ];
    for (i, (acts, change)) in changes.iter().enumerate() {
        let mut story = Story::new();
        story.spec.pools.clear();
        story.look_at_boxes(None, None);
        let now = story.now;
        change(story.runner(), now);
        assert_eq!(story.acts(), *acts, "change {i}");
    }
}

#[test]
fn boxes_are_counted_by_phase() {
    let phases = scene(50, 0, &[IDLE, IDLE, BUSY, BOOTING], 0, 0).counts.phases;
    assert_eq!(phases.into_iter().collect::<Vec<_>>(), [(Phase::Booting, 1), (Phase::Idle, 2), (Phase::Busy, 1)]);
}

#[test]
fn a_plan_says_what_it_wants_and_why() {
    let plan = scene(50, 1, &[IDLE], 2, 0);
    assert_eq!(plan.launch.expect("a launch").reason, "3 wanted (2 queued jobs, warm floor 1), 1 supplied");
    assert_eq!(plan.reason, "3 wanted (2 queued jobs, warm floor 1), 1 supplied, 1 of 50 boxes; launches 2 spot");
    assert_eq!(scene(50, 0, &[IDLE], 1, 0).reason, "1 wanted (1 queued job), 1 supplied, 1 of 50 boxes");
    assert_eq!(scene(50, 0, &[], 0, 0).reason, "no job is queued and no runner exists");
    assert_eq!(scene(50, 0, &[IDLE], 0, 0).reason, "0 wanted (0 queued jobs), 1 supplied, 1 of 50 boxes");
}

#[test]
fn a_refused_configuration_is_tried_again_for_one_box_at_a_time_and_not_before_its_time() {
    let boxes = drawn(9, 0, &[BOOTING, BOOTING, BOOTING], 3, 10);
    let configures = |after: u64| {
        let until = START + Duration::from_secs(after);
        let gate = Gate { room: 1000, refused: Some((until, "403".into())), ..Gate::default() };
        let plan = planned_through(&gate, &boxes, 0).1;
        plan.steps.iter().filter(|s| s.act == Act::Configure).count()
    };
    assert_eq!((configures(11), configures(10), configures(9)), (0, 1, 1));
    assert_eq!(planned(&boxes, 0).1.steps.iter().filter(|s| s.act == Act::Configure).count(), 3, "nothing was refused");
}

#[test]
fn launches_without_an_answer_are_shown_and_counted() {
    let (mut spec, demand, unavailable) = (spec(9, 0), Demand::default(), Unavailable::default());
    spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.capacity.idle = 3;
    let mut world = World::new(START - Duration::from_secs(60));
    world.saw_instances(&[], START, START);
    let planned = |world: &World| {
        let view = View { spec: &spec, demand: &demand, world, unavailable: &unavailable };
        plan(view, &POOL.into(), &Gate { room: 9, ..Gate::default() }, START)
    };
    let first = planned(&world);
    let asked = first.launch.expect("a launch");
    assert_eq!((asked.count, first.counts.phases.get(&Phase::Launching)), (3, None));
    let launch = Launch::of(&spec, &POOL.into(), Intent::from("p1-1"), asked.count, asked.market, &asked.offerings);
    world.launch_asked(Arc::new(launch.expect("the pool is there")), START);
    let second = planned(&world);
    assert_eq!((second.launch, second.counts.phases.get(&Phase::Launching), second.counts.supply), (None, Some(&3), 3));
}

/// Either may tell that a predecessor configured it.
#[test]
fn a_found_box_is_configured_once_githubs_list_and_the_secrets_were_seen() {
    for (listed, secrets) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut story = Story::new();
        story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.boot_deadline = Span::secs(10_800);
        if secrets {
            story.world.saw_secrets(&[], story.now, story.now);
        }
        story.look_at_boxes(ACME.filter(|_| listed), None);
        assert_eq!(story.acts().contains(&Act::Configure), listed && secrets, "list {listed}, secrets {secrets}");
    }
}

#[test]
fn a_box_that_a_predecessor_left_halfway_is_configured_by_half_its_boot_deadline() {
    let mut story = Story::new();
    // The story's box was launched an hour before it begins.
    story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.boot_deadline = Span::secs(10_800);
    let offline = Some((false, false));
    story.look(ACME, offline);
    assert_eq!(story.acts(), [], "it may be on its way");
    story.now = story.now + Duration::from_secs(5399);
    story.look(ACME, offline);
    assert_eq!(story.acts(), []);
    story.now = story.now + Duration::from_secs(1);
    story.look(ACME, offline);
    assert_eq!(story.acts(), [Act::Configure]);
    let now = story.now;
    let reasons_to_wait: [Change; 4] = [
        |r, _| r.registration.as_mut().expect("it is listed").missed = 1,
        |r, _| r.in_flight = true,
        |r, now| r.not_before = now + Duration::from_secs(1),
        |r, now| r.unanswered = Some(Drain { asked_at: now, why: None }),
    ];
    for (n, reason) in reasons_to_wait.iter().enumerate() {
        let before = story.runner().clone();
        reason(story.runner(), now);
        assert_eq!(story.acts(), [], "reason {n}");
        *story.runner() = before;
    }
}

#[test]
fn nobody_is_past_the_boot_deadline_on_a_list_that_was_not_read_since() {
    let mut story = Story::new();
    story.spec.pools.get_mut(&PoolName::from(POOL)).expect("the pool").spec.runner.boot_deadline = Span::secs(10_800);
    story.look(ACME, Some((false, false)));
    story.now = story.now + Duration::from_secs(10_800);
    story.look(None, None);
    let acts = story.acts();
    assert!(!acts.contains(&Act::Deregister) && !acts.contains(&Act::Terminate), "{acts:?}");
    story.look(ACME, Some((false, false)));
    assert_eq!(story.acts(), [Act::Deregister]);
}
