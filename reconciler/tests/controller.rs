//! The controller over time. Each test gives inputs, and answers the effects as it says.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Configure, DeliverySighting, Input, Outcome, Source};
use muster_reconciler::event::InstanceState;
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{DeliveryId, InstanceId};
use muster_reconciler::manifest::{Architecture, Os};
use muster_reconciler::reason::{Blocked, Code, Standing, StepReason};
use muster_reconciler::release::{RunnerRelease, RunnerReleases};
use muster_reconciler::stage::Stage;
use muster_reconciler::steer::Order;
use muster_reconciler::time::Time;

mod scene;
use scene::{BEGIN, Scene, linux, pool, secs};

/// Why each draining runner was asked to end.
fn drain_reasons(scene: &Scene) -> Vec<StepReason> {
    let why = |code| match code {
        Code::Runner(
            Standing::DrainAsked { why, .. } | Standing::DrainUnanswered { why, .. } | Standing::DrainRefused { why, .. },
        ) => why,
        _ => None,
    };
    scene.core.seen().runners(scene.now).into_iter().filter_map(|r| why(r.code)).collect()
}

/// The old labels of these runners no longer serve the pool. So the runners are no supply, and are drained.
#[test]
fn a_pools_new_label_is_served_by_new_runners_at_once() {
    let mut scene = Scene::new([linux()]);
    scene.queue(2, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let old = scene.live("linux");
    assert_eq!(old.len(), 2);
    let changed = scene.now;
    scene.pool("linux").spec.labels.push("gpu".into());
    scene.take_spec();
    scene.pass(secs(5));
    let acts = scene.acts(changed);
    assert!(acts.iter().any(|a| matches!(a, Action::Drain(ids) if *ids == old)), "{acts:?}");
    assert!(acts.iter().any(|a| matches!(a, Action::Launch(l) if l.count == 2)), "the jobs still wait: {acts:?}");
    assert_eq!(drain_reasons(&scene), [StepReason::Outdated, StepReason::Outdated]);
}

/// A pool gives up a label that its runners still have. GitHub gives the runners all jobs of the pool.
#[test]
fn a_label_that_a_pool_gave_up_makes_no_runner_outdated() {
    let mut scene = Scene::new([linux()]);
    scene.queue(2, &["linux"]);
    scene.pass(secs(60));
    let changed = scene.now;
    scene.pool("linux").spec.labels.remove(0);
    scene.take_spec();
    scene.pass(secs(30));
    assert_eq!(scene.acts(changed), Vec::<&Action>::new());
}

#[test]
fn a_pools_new_runner_group_is_served_by_new_runners() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["linux"]);
    scene.pass(secs(60));
    scene.pool("linux").spec.github.runner_group = "other".into();
    scene.take_spec();
    scene.pass(secs(5));
    let groups: Vec<&str> = scene
        .done
        .iter()
        .filter_map(|(_, e)| if let Action::Configure(c) = &e.action { Some(c.group.as_str()) } else { None })
        .collect();
    assert_eq!(groups, ["Default", "other"]);
}

/// A later process learns from GitHub's list which labels the runners were registered with.
#[test]
fn labels_that_changed_while_nobody_ran_are_noticed() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["linux"]);
    scene.pass(secs(60));
    let old = scene.live("linux");
    scene.pool("linux").spec.labels.push("gpu".into());
    scene.core = Controller::new("p2", scene.now);
    scene.take_spec();
    let began = scene.now;
    scene.pass(secs(30));
    assert!(scene.acts(began).iter().any(|a| matches!(a, Action::Drain(ids) if *ids == old)), "{:?}", scene.acts(began));
}

const NO_GROUP: &str = "the runner group `gpu` does not exist";

fn refuses_gpu(c: &Configure) -> Option<Failure> {
    (c.name.pool.as_str() == "gpu").then(|| Failure::new(FailureKind::Refused, NO_GROUP))
}

/// One pool's group is misspelt. The pool launches its full share once, and then tries with one instance. The other pool is
/// not held up.
#[test]
fn a_pool_that_cannot_be_configured_starves_no_other() {
    let gpu = pool("gpu", &["self-hosted", "gpu"], 200);
    let mut scene = Scene::new([gpu, pool("linux", &["self-hosted", "linux"], 200)]);
    (scene.configure, scene.come_online) = (refuses_gpu, false);
    scene.queue(150, &["gpu"]);
    scene.pass(secs(2));
    let began = scene.now;
    scene.queue(60, &["linux"]);
    scene.pass(secs(40));
    assert_eq!(scene.live("linux").len(), 60, "instances that nobody can configure do not slow down the pool linux");
    let tries =
        |from: Time| scene.acts(from).iter().filter(|a| matches!(a, Action::Configure(c) if refuses_gpu(c).is_some())).count();
    assert!((1..=4).contains(&tries(began)), "{} tries in 40 s", tries(began));
    let gpu = scene.core.seen().pools(scene.now).into_iter().find(|p| p.name == "gpu").unwrap();
    assert!(matches!(&gpu.code, Code::Blocked(Blocked::Refused { why, .. }) if why.message == NO_GROUP), "{gpu:?}");

    // Somebody makes the group. Within two minutes the instances are configured, without a change of the manifests.
    scene.configure = |_| None;
    let mended = scene.now;
    scene.pass(secs(125));
    let configured =
        scene.acts(mended).iter().filter(|a| matches!(a, Action::Configure(c) if c.name.pool.as_str() == "gpu")).count();
    assert!(configured > 1, "{configured}");
}

/// Nobody can read the list of a removed App any more. The record goes with the instance, and muster stops asking for the
/// list.
#[test]
fn a_runner_whose_app_was_removed_is_forgotten_once_it_is_gone() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["linux"]);
    scene.pass(secs(60));
    scene.spec.pools.clear();
    scene.spec.apps.clear();
    scene.take_spec();
    scene.pass(secs(30));
    for b in scene.runners.values_mut() {
        b.state = InstanceState::Terminated;
    }
    scene.pass(secs(120));
    assert_eq!(scene.core.seen().runners(scene.now), []);
    let quiet = scene.now;
    scene.pass(secs(600));
    assert!(!scene.swept.iter().any(|(at, s)| *at >= quiet && matches!(s, Source::Runners(_))));
    let gone = scene.facts.iter().filter(|f| matches!(f, Fact::RunnerGone { .. })).count();
    assert_eq!(gone, 1, "the runner's end is told once");
}

/// GitHub never delivers a webhook twice by itself. muster asks once for a webhook that could not be delivered.
#[test]
fn a_queued_event_that_github_could_not_deliver_is_asked_for() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(61));
    let failed = DeliverySighting { id: DeliveryId(7), guid: "x".into(), action: Some("queued".into()), status: 503 };
    scene.undelivered = vec![failed];
    scene.pass(secs(600));
    let asked = scene.done.iter().filter(|(_, e)| matches!(e.action, Action::Redeliver { delivery: DeliveryId(7), .. })).count();
    assert_eq!(asked, 1);
}

/// There are two runners too many, and one of them is being ended. So one more has to go, not two.
#[test]
fn a_runner_on_its_way_out_is_no_reason_to_let_another_go() {
    let mut pool = linux();
    pool.spec.capacity.idle = 2;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    assert_eq!(scene.live("linux").len(), 2);
    scene.pool("linux").spec.capacity.idle = 1;
    scene.hold_drains = true;
    let began = scene.now;
    scene.take_spec();
    scene.pass(secs(720));
    let drained: Vec<&Action> = scene.acts(began).into_iter().filter(|a| matches!(a, Action::Drain(_))).collect();
    assert!(matches!(drained[..], [Action::Drain(ids)] if ids.len() == 1), "{drained:?}");
}

/// Three idle runners, of which one is too many from now on.
fn one_too_many(in_vain: bool) -> (Scene, Time) {
    let mut pool = linux();
    pool.spec.capacity.idle = 3;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    assert_eq!(scene.live("linux").len(), 3);
    scene.pool("linux").spec.capacity.idle = 2;
    (scene.time_outs, scene.time_outs_in_vain) = (2, in_vain);
    let began = scene.now;
    scene.take_spec();
    scene.pass(secs(900));
    (scene, began)
}

fn drains(scene: &Scene, from: Time) -> Vec<&[InstanceId]> {
    scene.acts(from).into_iter().filter_map(|a| if let Action::Drain(ids) = a { Some(&ids[..]) } else { None }).collect()
}

fn ends(scene: &Scene, from: Time) -> Vec<&[InstanceId]> {
    scene.acts(from).into_iter().filter_map(|a| if let Action::Terminate(ids) = a { Some(&ids[..]) } else { None }).collect()
}

/// EC2 may have carried out the drain. If another runner were drained instead, one too many could go (seed 200607).
#[test]
fn a_drain_without_an_answer_is_repeated_and_no_other_runner_is_let_go() {
    let (scene, began) = one_too_many(true);
    let drains = drains(&scene, began);
    assert_eq!((drains.len(), drains[0].len()), (3, 1), "{drains:?}");
    assert!(drains.iter().all(|ids| *ids == drains[0]), "{drains:?}");
    assert_eq!(scene.runners.len(), 3, "no instance was launched");
}

/// The tag is there, as EC2 shows. So the runner was asked once, and the reason is still known.
#[test]
fn a_drain_that_worked_without_an_answer_is_not_repeated() {
    let (scene, began) = one_too_many(false);
    let drains = drains(&scene, began);
    assert!(matches!(drains[..], [[_]]), "{drains:?}");
    assert!(matches!(drain_reasons(&scene)[..], [StepReason::IdleTooLong { .. }]), "{:?}", drain_reasons(&scene));
    assert_eq!(scene.runners.len(), 3, "no instance was launched");
}

/// A drain that certainly did not work changes nothing. The runner is supply, and stays when it is wanted again.
#[test]
fn a_drain_that_was_refused_leaves_the_runner_as_supply() {
    let (mut scene, _) = one_too_many(true);
    scene.refuse_drains = true;
    scene.pool("linux").spec.capacity.idle = 1;
    scene.take_spec();
    let began = scene.now;
    scene.pass(secs(30));
    assert!(!drains(&scene, began).is_empty());
    scene.pool("linux").spec.capacity.idle = 2;
    scene.take_spec();
    scene.pass(secs(5));
    assert_eq!(scene.runners.len(), 3, "two runners stay, as wanted");
}

/// Three instances that nobody can configure, of which one is too many from now on.
fn an_unused_one_too_many(in_vain: bool) -> (Scene, Time) {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.configure = |_| Some(Failure::new(FailureKind::Refused, "the runner group does not exist"));
    scene.queue(3, &["self-hosted", "linux"]);
    scene.pass(secs(5));
    assert_eq!(scene.live("linux").len(), 3);
    (scene.time_outs, scene.time_outs_in_vain) = (2, in_vain);
    let began = scene.now;
    scene.cancel(1);
    scene.pass(secs(2));
    (scene, began)
}

/// The same holds for an instance that cannot have a job yet. It is ended without being asked.
#[test]
fn an_end_without_an_answer_is_repeated_and_no_other_runner_is_ended() {
    let (mut scene, began) = an_unused_one_too_many(true);
    scene.pass(secs(170));
    let ends = ends(&scene, began);
    assert_eq!((ends.len(), ends[0].len()), (3, 1), "{ends:?}");
    assert!(ends.iter().all(|ids| *ids == ends[0]), "{ends:?}");
    assert_eq!((scene.runners.len(), scene.live("linux").len()), (3, 2));
}

/// Two instances that muster ended are found terminated. They did not fail to start.
#[test]
fn ends_that_worked_without_an_answer_are_no_failures_to_start() {
    let (mut scene, began) = an_unused_one_too_many(false);
    scene.cancel(2);
    scene.pass(secs(2));
    let ends = ends(&scene, began);
    assert_eq!((ends.len(), scene.live("linux").len(), scene.runners.len()), (2, 1, 3), "{ends:?}");
    let ended: Vec<InstanceId> = ends.concat();
    for state in [InstanceState::ShuttingDown, InstanceState::Terminated] {
        ended.iter().for_each(|id| scene.runners.get_mut(id).unwrap().state = state);
        scene.pass(secs(120));
    }
    assert!(!scene.facts.iter().any(|f| matches!(f, Fact::BootFailed { .. })), "{:?}", scene.facts);
}

/// Instances that were drained before they came online did not fail to start, either.
#[test]
fn runners_that_end_since_they_were_asked_are_no_failures_to_start() {
    let mut scene = Scene::new([linux()]);
    scene.come_online = false;
    scene.pass(secs(35));
    scene.queue(3, &["self-hosted", "linux"]);
    scene.pass(secs(5));
    scene.pool("linux").spec.labels.push("gpu".into());
    let began = scene.now;
    scene.take_spec();
    scene.pass(secs(2));
    let drained: Vec<InstanceId> = drains(&scene, began).concat();
    assert_eq!(drained.len(), 3);
    drained.iter().for_each(|id| scene.runners.get_mut(id).unwrap().state = InstanceState::Terminated);
    scene.pass(secs(60));
    assert!(!scene.facts.iter().any(|f| matches!(f, Fact::BootFailed { .. })), "{:?}", scene.facts);
}

/// An instance that is drained because it failed to start does count. The pool then launches more slowly, whatever the
/// cause was.
#[test]
fn a_runner_that_is_drained_since_it_failed_to_start_is_a_failure_to_start() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.come_online = false;
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(5));
    // The list does not show the runner, so nobody knows whether it got a job. It is asked to end.
    scene.runners.values_mut().for_each(|r| r.seat = None);
    let first = scene.live("linux");
    scene.pass(secs(400));
    assert!(scene.acts(BEGIN).iter().any(|a| matches!(a, Action::Drain(ids) if *ids == first)), "{:?}", scene.acts(BEGIN));
    let failures = |f: &Fact| matches!(f, Fact::BootFailed { .. });
    assert_eq!(scene.facts.iter().filter(|f| failures(f)).count(), 1);
}

/// For hours EC2 accepts no tag. The runner that an operator drains is replaced once, and no other instance comes or goes.
#[test]
fn an_order_that_cannot_be_carried_out_launches_one_instance_and_no_more() {
    let mut pool = linux();
    pool.spec.capacity.idle = 2;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    (scene.time_outs, scene.time_outs_in_vain) = (u32::MAX, true);
    let old = scene.live("linux")[0].clone();
    scene.core.order(&Order::DrainRunner(old.clone(), "by hand".into()), scene.now).unwrap();
    let began = scene.now;
    scene.pass(secs(3 * 3600));
    assert_eq!(scene.runners.len(), 3);
    assert!(drains(&scene, began).iter().all(|ids| *ids == [old.clone()]));
}

/// The instance may have ended already. A configuration would leave a registration behind, and a job would count on the
/// runner.
#[test]
fn an_instance_whose_end_went_unanswered_is_not_configured_before_ec2_shows_it_alive() {
    let (mut scene, began) = an_unused_one_too_many(true);
    let ended = ends(&scene, began)[0][0].clone();
    scene.configure = |_| None;
    scene.time_outs = 0;
    scene.queue(1, &["self-hosted", "linux"]);
    let configured =
        |scene: &Scene| scene.acts(began).iter().any(|a| matches!(a, Action::Configure(c) if c.name.instance == ended));
    scene.pass(secs(25));
    assert!(!configured(&scene));
    assert_eq!(scene.runners.len(), 4, "the job has got another instance meanwhile");
}

/// A drain in vain lets no instance outlive its pool's `maxLifetime`, whatever the reason of the drain: an operator's
/// order, a runner that is no longer online, or an only job that is over.
#[test]
fn a_runner_that_cannot_be_asked_to_end_is_ended_at_its_max_lifetime() {
    let mut pool = linux();
    pool.spec.capacity.idle = 3;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    scene.refuse_drains = true;
    let old = scene.live("linux");
    scene.core.order(&Order::DrainRunner(old[0].clone(), "by hand".into()), scene.now).unwrap();
    scene.runners.get_mut(&old[1]).unwrap().seat = Some((false, false));
    scene.finish(99, &old[2]);
    let began = scene.now;
    scene.pass(secs(86_400 - 120));
    assert_eq!(ends(&scene, began).concat(), []);
    assert!(old.iter().all(|id| drains(&scene, began).concat().contains(id)), "{:?}", drains(&scene, began));
    scene.pass(secs(300));
    let ended = ends(&scene, began).concat();
    assert!(old.iter().all(|id| ended.contains(id)), "{ended:?}");
}

/// Nothing tells a process that there was no earlier one, or that EC2 shows everything that an earlier one launched (seed
/// 55145).
#[test]
fn nothing_is_launched_before_a_predecessors_instances_must_be_visible() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["self-hosted", "linux"]);
    let began = scene.now;
    scene.pass(secs(120));
    let launched = scene.done.iter().filter(|(_, e)| matches!(e.action, Action::Launch(_))).map(|(at, _)| at.since(began));
    let swept = scene.swept.iter().filter(|(_, s)| *s == Source::Instances).map(|(at, _)| at.since(began));
    let first = swept.filter(|since| *since >= secs(30)).min().unwrap();
    assert_eq!(first, secs(30), "the sweep that lets launches begin comes in time");
    let launched: Vec<_> = launched.collect();
    assert!(matches!(launched[..], [at] if at >= first && at < secs(32)), "{launched:?}");
}

/// Each stage of an instance's start is counted once, from its launch on. Anybody may have written the tag.
#[test]
fn the_stages_that_an_instance_tells_are_counted_once() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(5));
    let asked = scene.done.iter().find(|(_, e)| matches!(e.action, Action::Launch(_))).unwrap().0;
    let ms = |n| (asked + Duration::from_millis(n)).as_millis();
    let tag = format!("script={},secret={}, nonsense=1,unpacked=soon,listener={}", ms(9_000), ms(9_500), ms(12_000));
    scene.runners.values_mut().for_each(|b| b.stages = Stage::parse_tag(&tag));
    scene.facts.clear();
    scene.pass(secs(120));
    let told = |f: &Fact| match f {
        Fact::RunnerReached { stage, after, .. } if *stage != Stage::Online => Some((*stage, *after)),
        _ => None,
    };
    let told: Vec<_> = scene.facts.iter().filter_map(told).collect();
    let expected = [(Stage::Script, 9_000), (Stage::Secret, 9_500), (Stage::Listener, 12_000)];
    assert_eq!(told, expected.map(|(stage, ms)| (stage, Duration::from_millis(ms))));
}

/// The sync hears of a newer release while a launch has no answer. EC2 would refuse the launch's token with another tag.
#[test]
fn launches_name_the_release_that_was_known_when_they_were_first_asked() {
    let release = |version: &str| RunnerRelease { version: version.into(), sha256: "ab".repeat(32) };
    let known = |version: &str| {
        Input::Releases(RunnerReleases([((Os::Linux, Architecture::X64, "latest".into()), release(version))].into()))
    };
    let mut pinned = pool("pinned", &["pinned"], 9);
    pinned.spec.bootstrap.version = "2.320.0".into();
    let mut scene = Scene::new([linux(), pinned]);
    scene.launch = |_| Some(Outcome::Failed(Failure::new(FailureKind::Ambiguous, "no answer")));
    scene.pass(secs(60));
    scene.feed(known("2.330.0"));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.queue(1, &["pinned"]);
    scene.pass(secs(1));
    scene.feed(known("2.331.0"));
    scene.pass(secs(20));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let mut said: BTreeMap<String, BTreeSet<Option<&str>>> = BTreeMap::new();
    for action in scene.acts(BEGIN) {
        if let Action::Launch(launch) = action {
            let tag = launch.tags.get("muster:release").map(String::as_str);
            said.entry(format!("{} {}", launch.pool, launch.intent)).or_default().insert(tag);
        }
    }
    assert!(said.values().all(|tags| tags.len() == 1), "a repeated call differs: {said:#?}");
    let of =
        |pool: &str| said.iter().filter(|(of, _)| of.starts_with(pool)).flat_map(|(_, tags)| tags.clone()).collect::<Vec<_>>();
    let sha256 = "ab".repeat(32);
    let tag = |version: &str| format!("version={version},sha256={sha256}");
    let linux = of("linux");
    assert_eq!((linux.first(), linux.last()), (Some(&Some(&*tag("2.330.0"))), Some(&Some(&*tag("2.331.0")))), "{said:#?}");
    assert!(of("pinned").iter().all(Option::is_none) && !of("pinned").is_empty(), "nobody knows that release: {said:#?}");
}
