//! Properties of plans over random worlds.

use muster_reconciler::event::{InstanceState, JobState};
use muster_reconciler::reason::StepReason;
use muster_reconciler::runner::Act;
use proptest::prelude::*;

use super::scene::{PlanRunner, PlanScene, name, planned};

fn any_runner() -> impl Strategy<Value = (InstanceState, Option<(bool, bool)>, bool)> {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Terminated};
    let state =
        prop_oneof![1 => Just(Pending), 6 => Just(Running), 1 => Just(ShuttingDown), 1 => Just(Stopped), 1 => Just(Terminated)];
    (state, prop::option::of((any::<bool>(), any::<bool>())), prop::bool::weighted(0.15))
}

fn any_scene() -> impl Strategy<Value = PlanScene> {
    let state = prop_oneof![3 => Just(JobState::Queued), 1 => Just(JobState::InProgress), 1 => Just(JobState::Completed)];
    (
        0..20u32,
        0..5u32,
        prop::collection::vec(any_runner(), 0..15),
        prop::collection::vec((state, prop::option::of(0..15u64)), 0..15),
        0..400u64,
    )
        .prop_map(|(max, idle, runners, jobs, later)| PlanScene {
            max,
            idle,
            runners: runners
                .into_iter()
                .zip(0..)
                .map(|((state, seat, draining), id)| PlanRunner { id, state, seat, draining })
                .collect(),
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
        let idle_drains = plan.steps.iter().filter(|s| s.act == Act::Drain && matches!(s.reason, StepReason::IdleTooLong { .. })).count();
        prop_assert!(plan.launch.is_none() || idle_drains == 0, "{:?}", plan);
    }

    /// The metrics begin at zero for these reasons, and for no others.
    #[test]
    fn every_drain_and_end_has_a_reason_that_metrics_know(scene in any_scene()) {
        let (_, plan) = planned(&scene, 0);
        for s in &plan.steps {
            let known: &[&str] = match s.act {
                Act::Drain => &StepReason::OF_DRAINS,
                Act::Terminate => &StepReason::OF_ENDS,
                Act::Configure | Act::Deregister | Act::DeleteSecret => continue,
            };
            prop_assert!(known.contains(&s.reason.word()), "{:?}", s);
        }
    }

    /// The property that matters most: whatever was seen, a runner that may have a job is neither ended nor deregistered.
    #[test]
    fn a_runner_that_may_have_a_job_is_left_alone(scene in any_scene()) {
        let (_, plan) = planned(&scene, 0);
        for s in plan.steps.iter().filter(|s| matches!(s.act, Act::Terminate | Act::Deregister)) {
            let Some(b) = scene.runners.iter().find(|b| name(b.id).instance == s.instance) else { continue };
            let over = scene.jobs.iter().any(|(_, state, r)| *state == JobState::Completed && *r == Some(b.id));
            let ended = matches!(b.state, InstanceState::Terminated | InstanceState::Stopped | InstanceState::ShuttingDown);
            let online = b.seat.is_some_and(|(online, _)| online);
            prop_assert!(over || ended || !online, "{:?} although {:?}", s, b);
        }
    }

    #[test]
    fn a_converged_pool_has_an_empty_plan(max in 1..20u32, busy in 0..10u64, idle in 0..5u32) {
        // Every job runs on its runner, and exactly the warm floor is idle. So there is nothing to do, at any time.
        let max = max.max(u32::try_from(busy).expect("small") + idle);
        let seat = |id| Some((true, id < busy));
        let runner = |id| PlanRunner { id, state: InstanceState::Running, seat: seat(id), draining: false };
        let runners = (0..busy + u64::from(idle)).map(runner);
        let jobs = (0..busy).map(|id| (100 + id, JobState::InProgress, Some(id))).collect();
        let scene = PlanScene { max, idle, runners: runners.collect(), jobs, later: 30 };
        let (_, plan) = planned(&scene, 0);
        prop_assert!(plan.launch.is_none() && plan.steps.is_empty(), "{:?}", plan);
    }
}
