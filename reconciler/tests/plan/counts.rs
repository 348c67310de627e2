//! What is planned for a pool as a whole: launches, drains, and the words for them.

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::capacity::Unavailable;
use muster_reconciler::demand::Demand;
use muster_reconciler::effect::Launch;
use muster_reconciler::event::JobState;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::{Intent, JobId, MessageId, PoolName};
use muster_reconciler::manifest::Span;
use muster_reconciler::plan::{Gate, Plan, View, plan};
use muster_reconciler::reason::{Backoff, Blocked, LaunchReason, PoolReason, Refused, Wants};
use muster_reconciler::runner::{Act, Phase};
use muster_reconciler::time::Time;
use muster_reconciler::world::World;

use super::scene::{BOOTING, BUSY, IDLE, POOL, START, drawn, event, planned, planned_through, scene, spec};
use super::story::{ACME, Story};

fn drains(plan: &Plan) -> usize {
    plan.steps.iter().filter(|s| s.act == Act::Drain).count()
}

#[test]
fn queued_jobs_get_what_supply_lacks() {
    let plan = scene(50, 0, &[IDLE, BOOTING, BUSY], 5, 0);
    assert_eq!(
        plan.launch.expect("a launch").count,
        3,
        "5 jobs, less one idle and one booting runner; a runner that was found busy explains no job"
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
    assert_eq!(plan.reason(), PoolReason::Blocked(Blocked::Max));
    assert!(plan.say(START).ends_with("; the pool has reached its max"), "{}", plan.say(START));
    assert_eq!(scene(2, 0, &[BUSY, BUSY], 5, 0).launch, None);
    let off = scene(0, 0, &[], 1, 0).say(START);
    assert!(off.ends_with("; the pool is switched off by `capacity.max: 0`"), "{off}");
}

#[test]
fn surplus_idle_runners_are_asked_to_end_after_idle_timeout_and_never_before() {
    assert_eq!(drains(&scene(9, 0, &[IDLE, IDLE, IDLE], 1, 30)), 0);
    let plan = scene(9, 0, &[IDLE, IDLE, IDLE], 1, 55);
    assert_eq!(drains(&plan), 2, "one runner stays for the job: {plan:?}");
    assert!(plan.steps.iter().all(|s| s.act == Act::Drain), "idle runners are drained, never ended: {plan:?}");
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
    assert_eq!(plan.reason(), PoolReason::Blocked(Blocked::Unseen));
}

#[test]
fn nothing_is_removed_on_a_stale_view() {
    let plan = scene(9, 0, &[IDLE, IDLE], 0, 100);
    assert!(plan.steps.is_empty(), "the last sweep is 100 s old: {plan:?}");
}

#[test]
fn phases_without_runners_are_left_out() {
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
    let why = || Refused { kind: FailureKind::Refused, message: "it failed".into() };
    let failed = || Backoff::LaunchFailed(why());
    let refused = |room| Gate { refused: Some((START, why())), ..gate(room) };
    assert_eq!(through(refused(3), 9), (Some(3), None));
    assert_eq!(through(refused(1), 9), (Some(1), Some(Blocked::Refused { until: START, why: why() })));
    let limited = |room| Gate { github: Some(START), ..refused(room) };
    assert_eq!(through(limited(3), 9), (Some(3), None));
    assert_eq!(through(limited(1), 9), (Some(1), Some(Blocked::GitHub { until: START })));
    assert_eq!(
        through(limited(0), 2),
        (None, Some(Blocked::GitHub { until: START })),
        "more room in the pool would change nothing"
    );
    assert_eq!(through(limited(2), 2), (Some(2), Some(Blocked::Max)));
    let later = START + Duration::from_millis(1);
    let backs_off = |until| Gate { backoff: Some((until, failed())), ..gate(9) };
    assert_eq!(through(backs_off(later), 9), (None, Some(Blocked::Backoff { until: later, why: failed() })));
    assert_eq!(through(backs_off(START), 9), (Some(3), None));
    let idle = planned_through(&backs_off(later), &drawn(9, 0, &[], 0, 0), 0).1;
    assert_eq!(idle.blocked, None, "no launch is wanted, so none is held back");
    assert_eq!(through(backs_off(START - Duration::from_millis(1)), 9), (Some(3), None));
}

#[test]
fn runners_are_counted_by_phase() {
    let phases = scene(50, 0, &[IDLE, IDLE, BUSY, BOOTING], 0, 0).counts.phases;
    assert_eq!(phases.into_iter().collect::<Vec<_>>(), [(Phase::Booting, 1), (Phase::Idle, 2), (Phase::Busy, 1)]);
}

#[test]
fn a_plan_says_what_it_wants_and_why() {
    let plan = scene(50, 1, &[IDLE], 2, 0);
    assert_eq!(plan.say(START), "3 wanted (2 queued jobs, warm floor 1), 1 supplied, 1 of 50 runners; launches 2 spot instances");
    let wants = Wants { wanted: 3, jobs: 2, taken: 0, floor: 1, supply: 1 };
    assert_eq!(plan.launch.expect("a launch").reason, LaunchReason::Wanted(wants));
    assert_eq!(scene(50, 0, &[IDLE], 1, 0).say(START), "1 wanted (1 queued job), 1 supplied, 1 of 50 runners");
    assert_eq!(scene(50, 0, &[], 0, 0).say(START), "no job is queued and no runner exists");
    assert_eq!(scene(50, 0, &[IDLE], 0, 0).say(START), "0 wanted (0 queued jobs), 1 supplied, 1 of 50 runners");
}

#[test]
fn a_refused_configuration_is_tried_again_for_one_runner_at_a_time_and_not_before_its_time() {
    let runners = drawn(9, 0, &[BOOTING, BOOTING, BOOTING], 3, 10);
    let configures = |after: u64| {
        let until = START + Duration::from_secs(after);
        let gate = Gate {
            room: 1000,
            refused: Some((until, Refused { kind: FailureKind::Refused, message: "403".into() })),
            ..Gate::default()
        };
        let plan = planned_through(&gate, &runners, 0).1;
        plan.steps.iter().filter(|s| s.act == Act::Configure).count()
    };
    assert_eq!((configures(11), configures(10), configures(9)), (0, 1, 1));
    assert_eq!(planned(&runners, 0).1.steps.iter().filter(|s| s.act == Act::Configure).count(), 3, "nothing was refused");
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
    // GitHub has said that job 2 is still queued. EC2 may not yet show what an earlier process launched for the job.
    story.demand.fold(&story.spec, &event(2, JobState::Queued, None), Some((MessageId(2), 2)), first);
    story.demand.job_mut(JobId(2)).expect("known").check.answered = Some(first);
    assert_eq!(counting(&mut story, first + Duration::from_secs(20)), 1);
    story.world.saw_instances(&[], later, later);
    assert_eq!(counting(&mut story, later), 2);
    // GitHub has not said yet whether job 3 is still queued.
    story.spec.pools.get_mut(&POOL.into()).expect("the pool").spec.runner.queue_delay = None;
    story.demand.fold(&story.spec, &event(3, JobState::Queued, None), Some((MessageId(3), 2)), later);
    assert_eq!(counting(&mut story, later), 2);
    assert_eq!(story.plan().counts.queued, 3);
}

#[test]
fn a_plan_tells_jobs_that_do_not_count_and_runners_that_have_just_taken_one() {
    let mut story = Story::new();
    story.spec.pools.get_mut(&POOL.into()).expect("the pool").spec.runner.queue_delay = Some(Span::secs(600));
    story.look(ACME, Some((true, false)));
    story.watch(15, ACME, Some((true, true)));
    story.demand.fold(&story.spec, &event(5, JobState::Queued, None), None, story.now);
    let reason = story.plan().say(story.now);
    assert_eq!(
        reason,
        "0 wanted (0 queued jobs, less 1 just taken), 0 supplied, 1 of 9 runners; 1 queued job does not count yet"
    );
}
