//! When a pool leaves spot for a while, and how it goes back.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use muster_reconciler::effect::{Action, Input, Launch, Launched, Outcome};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::OfferingError;
use muster_reconciler::ids::InstanceId;
use muster_reconciler::manifest::{MarketPolicy, RunnerPool, Span, SpotBreaker};
use muster_reconciler::market::Market;
use muster_reconciler::reason::{LaunchReason, Reason};
use muster_reconciler::time::Time;
use scene::{Scene, linux, message, secs};

const LABELS: &[&str] = &["self-hosted", "linux"];
const BY_SPOT: &str = "Server.SpotInstanceTermination: Instance terminated by spot";
const BY_ITSELF: &str = "Client.InstanceInitiatedShutdown: Instance initiated shutdown";

fn with_breaker() -> RunnerPool {
    let mut pool = linux();
    let settings = SpotBreaker { interruptions: 2, within: Span::secs(900), open_for: Span::secs(1800) };
    (pool.spec.instance.market, pool.spec.instance.breaker) = (MarketPolicy::Spot, settings);
    pool
}

/// Jobs 0 to 2 run on three spot instances.
fn running(pool: RunnerPool) -> (Scene, Vec<InstanceId>) {
    let mut scene = Scene::new([pool]);
    scene.pass(secs(35));
    scene.queue(3, LABELS);
    scene.pass(secs(60));
    let instances = scene.live("linux");
    for (job, instance) in instances.iter().enumerate() {
        scene.start(job as u64, instance);
    }
    scene.pass(secs(30));
    (scene, instances)
}

fn notice(scene: &mut Scene, instance: &InstanceId) {
    scene.feed(Input::Ec2(Ec2Event { instance: instance.clone(), kind: Ec2EventKind::SpotInterruption }));
}

fn ends(scene: &mut Scene, instance: &InstanceId, why: &str) {
    let runner = scene.runners.get_mut(instance).unwrap();
    (runner.state, runner.seat, runner.why) = (InstanceState::Terminated, None, Some(why.into()));
}

/// Spot takes the instance back, with EC2's notice.
fn taken_back(scene: &mut Scene, instance: &InstanceId) {
    notice(scene, instance);
    scene.pass(secs(1));
    ends(scene, instance, BY_SPOT);
    scene.pass(secs(30));
}

/// The breaker opens.
fn opened() -> (Scene, Vec<InstanceId>) {
    let (mut scene, instances) = running(with_breaker());
    taken_back(&mut scene, &instances[0]);
    taken_back(&mut scene, &instances[1]);
    (scene, instances)
}

/// Queues jobs. Returns the launches that follow: count, market and the reason's word.
fn launches(scene: &mut Scene, jobs: u64) -> Vec<(u32, Market, &'static str)> {
    let from = scene.now;
    scene.queue(jobs, LABELS);
    scene.pass(secs(20));
    launches_since(scene, from)
}

fn launches_since(scene: &Scene, from: Time) -> Vec<(u32, Market, &'static str)> {
    let launch = |(at, effect): &(Time, muster_reconciler::effect::Effect)| match &effect.action {
        Action::Launch(l) if *at >= from => Some((l.count, l.market, effect.reason.word())),
        _ => None,
    };
    scene.done.iter().filter_map(launch).collect()
}

/// The newest live instance.
fn newest(scene: &Scene) -> InstanceId {
    scene.live("linux").pop().unwrap()
}

/// The instance runs the newest job to its end, and ends itself.
fn serves(scene: &mut Scene, job: u64, instance: &InstanceId) {
    scene.start(job, instance);
    scene.pass(secs(60));
    scene.finish(job, instance);
    ends(scene, instance, BY_ITSELF);
    scene.pass(secs(20));
}

fn swings(scene: &Scene) -> Vec<bool> {
    let open = |f: &Fact| match f {
        Fact::BreakerOpened { .. } => Some(true),
        Fact::BreakerClosed { .. } => Some(false),
        _ => None,
    };
    scene.facts.iter().filter_map(open).collect()
}

const ON_DEMAND: (u32, Market, &str) = (1, Market::OnDemand, "breaker");
const PROBE: (u32, Market, &str) = (1, Market::Spot, "probe");
const SPOT: (u32, Market, &str) = (1, Market::Spot, "wanted");

#[test]
fn after_two_interruptions_the_pool_buys_on_demand_and_says_so() {
    let (mut scene, instances) = running(with_breaker());
    taken_back(&mut scene, &instances[0]);
    assert_eq!(launches(&mut scene, 1), [SPOT], "one interruption is no reason");
    taken_back(&mut scene, &instances[1]);
    assert_eq!(swings(&scene), [true]);
    assert_eq!(launches(&mut scene, 1), [ON_DEMAND], "the operator's own word, although the pool's market is spot");
    let told = scene.core.seen().explain_pool(&"linux".into(), scene.now).unwrap();
    let why = "because spot took back 2 instances with jobs within 15m";
    assert!(told.reason.contains(&format!("buys on-demand for 29m 9s more, {why}")), "{}", told.reason);
    assert_eq!(told.awaits.iter().map(|awaited| awaited.word.as_str()).collect::<Vec<_>>(), ["spot_probe"]);
    let event = told.timeline.iter().find(|event| event.what.as_str() == "breaker_opened").unwrap();
    assert_eq!(event.why, "spot took back 2 instances with jobs within 15m, so the pool buys on-demand for 30m");
    assert_eq!(scene.core.seen().totals(scene.now).breakers, [("linux".to_owned(), true)].into());
}

#[test]
fn an_instance_counts_once_however_often_its_interruption_is_told() {
    let (mut scene, instances) = running(with_breaker());
    for _ in 0..3 {
        notice(&mut scene, &instances[0]);
    }
    taken_back(&mut scene, &instances[0]);
    scene.pass(secs(300));
    notice(&mut scene, &instances[0]);
    assert_eq!((swings(&scene), launches(&mut scene, 1)), (vec![], vec![SPOT]));
}

#[test]
fn a_sweep_tells_what_a_lost_notice_did_not() {
    let (mut scene, instances) = running(with_breaker());
    ends(&mut scene, &instances[0], BY_SPOT);
    ends(&mut scene, &instances[1], BY_SPOT);
    scene.pass(secs(40));
    assert_eq!((swings(&scene), launches(&mut scene, 1)), (vec![true], vec![ON_DEMAND]));
}

#[test]
fn only_instances_with_jobs_count_and_only_those_of_the_time() {
    let mut pool = with_breaker();
    pool.spec.capacity.idle = 3;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(120));
    for instance in scene.live("linux") {
        taken_back(&mut scene, &instance);
    }
    assert_eq!(swings(&scene), Vec::<bool>::new(), "nobody lost a job");
    let (mut scene, instances) = running(with_breaker());
    taken_back(&mut scene, &instances[0]);
    scene.pass(secs(900));
    taken_back(&mut scene, &instances[1]);
    assert_eq!(swings(&scene), Vec::<bool>::new(), "the first one was longer ago than `within`");
}

#[test]
fn without_a_breaker_a_pool_stays_on_spot() {
    let mut pool = with_breaker();
    pool.spec.instance.breaker = SpotBreaker::default();
    let (mut scene, instances) = running(pool);
    for instance in &instances {
        taken_back(&mut scene, instance);
    }
    assert_eq!((swings(&scene), launches(&mut scene, 1)), (vec![], vec![SPOT]));
    assert!(scene.core.seen().totals(scene.now).breakers.is_empty());
}

#[test]
fn one_spot_instance_tries_and_once_it_has_served_the_pool_is_back_on_spot() {
    let (mut scene, _) = opened();
    scene.pass(secs(1750));
    assert_eq!(launches(&mut scene, 1), [ON_DEMAND], "it is not yet time");
    let another = newest(&scene);
    serves(&mut scene, 3, &another);
    scene.pass(secs(60));
    // The jobs of the others do not wait for the one that tries.
    assert_eq!(launches(&mut scene, 4), [(3, Market::OnDemand, "breaker"), PROBE]);
    let probe = newest(&scene);
    assert_eq!(launches(&mut scene, 1), [ON_DEMAND], "one at a time");
    serves(&mut scene, 4, &probe);
    assert_eq!(swings(&scene), [true, false]);
    assert_eq!(launches(&mut scene, 1), [SPOT]);
    // What opened the breaker does not count again.
    scene.pass(secs(60));
    assert_eq!(swings(&scene), [true, false]);
}

#[test]
fn if_spot_takes_back_the_one_that_tries_the_breaker_opens_again() {
    let (mut scene, _) = opened();
    scene.pass(secs(1800));
    assert_eq!(launches(&mut scene, 1), [PROBE]);
    let probe = newest(&scene);
    taken_back(&mut scene, &probe);
    assert_eq!(swings(&scene), [true, true]);
    scene.pass(secs(1700));
    assert_eq!(launches(&mut scene, 1), [ON_DEMAND]);
    scene.pass(secs(120));
    assert_eq!(launches(&mut scene, 1), [PROBE]);
}

#[test]
fn one_that_lasts_without_an_end_of_its_job_shows_the_same() {
    let (mut scene, _) = opened();
    scene.pass(secs(1800));
    assert_eq!(launches(&mut scene, 1), [PROBE]);
    let probe = newest(&scene);
    scene.start(3, &probe);
    scene.pass(secs(1700));
    assert_eq!(swings(&scene), [true]);
    scene.pass(secs(120));
    assert_eq!(swings(&scene), [true, false]);
}

fn short_of(markets: &[Market], launch: &Launch) -> Option<Outcome> {
    let error = |o: &muster_reconciler::market::Offering| OfferingError {
        instance_type: Some(o.instance_type.clone()),
        subnet: Some(o.subnet.clone()),
        code: "InsufficientInstanceCapacity".into(),
        message: "none".into(),
    };
    let errors = launch.offerings.iter().map(error).collect();
    markets.contains(&launch.market).then_some(Outcome::Launched(Launched { instances: Vec::new(), errors }))
}

#[test]
fn no_job_waits_for_a_spot_instance_that_ec2_does_not_have() {
    let (mut scene, _) = opened();
    scene.pass(secs(1800));
    scene.launch = |launch| short_of(&[Market::Spot], launch);
    assert_eq!(launches(&mut scene, 1), [PROBE, ON_DEMAND]);
    assert_eq!(launches(&mut scene, 1), [ON_DEMAND]);
    scene.launch = |_| None;
    scene.pass(secs(600));
    assert_eq!(launches(&mut scene, 1), [PROBE], "ten minutes later another one tries");
}

#[test]
fn where_ec2_has_no_on_demand_capacity_spot_is_better_than_a_job_that_waits() {
    let (mut scene, _) = opened();
    scene.launch = |launch| short_of(&[Market::OnDemand], launch);
    assert_eq!(launches(&mut scene, 1), [ON_DEMAND, SPOT]);
}

#[test]
fn the_history_tells_how_long_spot_lasts_for_the_pools_jobs() {
    let (mut scene, instances) = opened();
    serves(&mut scene, 2, &instances[2]);
    scene.pass(secs(300));
    let told = scene.core.seen().explain_pool(&"linux".into(), scene.now).unwrap();
    let record: Vec<_> = told.spot.iter().map(|spot| (spot.instance_type.as_str(), spot.instances, spot.interrupted)).collect();
    assert_eq!(record, [("m7i.large", 3, 2)]);
    let fact = "spot m7i.large: took back 2 of 3 instances with jobs, in 0.1 h, since muster started";
    assert!(told.facts.iter().any(|said| said == fact), "{:?}", told.facts);
}

/// The instance's system ends the job while spot takes the instance back, and an event tells the end before any sweep shows why. The
/// job's steps tell what happened.
#[test]
fn a_job_whose_end_was_told_first_counts_by_its_verdict() {
    let (mut scene, instances) = running(with_breaker());
    scene.steps = vec![(muster_reconciler::verdict::StepKind::Main, muster_reconciler::verdict::StepEnd::Cancelled)];
    for (job, instance) in instances.iter().enumerate().take(2) {
        let job = job as u64;
        let mut over = message(job, JobState::Completed, LABELS);
        (over.event.runner, over.event.runner_id) = (Some(format!("c.linux.{instance}")), Some(scene.id(instance)));
        over.event.conclusion = Some("cancelled".into());
        scene.job_states.insert(job, Some(JobState::Completed));
        ends(&mut scene, instance, BY_SPOT);
        scene.feed(Input::Messages(vec![over]));
    }
    scene.pass(secs(120));
    assert_eq!(swings(&scene), [true]);
}

#[test]
fn a_manifest_without_a_breaker_closes_it() {
    let (mut scene, _) = opened();
    scene.pool("linux").spec.instance.breaker.interruptions = 0;
    scene.take_spec();
    scene.pass(secs(1));
    assert_eq!(launches(&mut scene, 1), [SPOT]);
}

/// A launch's reason has its fields beside its word, for programs.
#[test]
fn programs_read_what_opened_the_breaker() {
    let (mut scene, _) = opened();
    launches(&mut scene, 1);
    let (_, effect) = scene.done.iter().rev().find(|(_, e)| matches!(e.action, Action::Launch(_))).unwrap();
    let Reason::Launch(why @ LaunchReason::Breaker { .. }) = &effect.reason else { panic!("{:?}", effect.reason) };
    let json = serde_json::to_value(why).unwrap();
    assert_eq!(json["reasonWord"], "breaker");
    assert_eq!((&json["reasonFields"]["interruptions"], &json["reasonFields"]["withinSeconds"]), (&2.into(), &900.0.into()));
}
