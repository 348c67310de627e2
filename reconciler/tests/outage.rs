//! Outages and broken images: what they cost, and how soon muster goes on.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use muster_reconciler::effect::{Action, Input, Source};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::reason::{Backoff, Blocked, Code};
use muster_reconciler::time::Time;
use scene::{Scene, linux, pool, secs};

fn launched(scene: &Scene, from: Time) -> u32 {
    let count = |a: &&Action| if let Action::Launch(l) = a { l.count } else { 0 };
    scene.acts(from).iter().map(count).sum()
}

fn end_all(scene: &mut Scene) {
    for r in scene.runners.values_mut().filter(|r| r.state == InstanceState::Running && r.seat.is_none()) {
        r.state = InstanceState::Terminated;
    }
}

/// GitHub's API answers 503 for an hour, and a hundred jobs wait. What was launched before the first failures boots in vain. After
/// that, one instance at a time is enough to see that GitHub is back, and the pool does not blame its image.
#[test]
fn while_github_is_down_one_instance_at_a_time_tries_and_all_follow_within_a_minute() {
    let mut scene = Scene::new([pool("linux", &["self-hosted", "linux"], 200)]);
    scene.pass(secs(60));
    scene.configure = |_| Some(Failure::new(FailureKind::Unavailable, "mint: GitHub answered 503"));
    scene.queue(100, &["self-hosted", "linux"]);
    scene.pass(secs(30));
    let at_first = scene.runners.len();
    let began = scene.now;
    for _ in 0..12 {
        scene.pass(secs(300));
        // Each instance ends itself at its boot deadline.
        end_all(&mut scene);
    }
    let vain = launched(&scene, began);
    assert!(vain <= 15, "{vain} instances were launched in an hour after the first {at_first}");
    assert!(!scene.facts.iter().any(|f| matches!(f, Fact::BootFailed { .. })), "nothing is the matter with the image");
    scene.configure = |_| None;
    scene.pass(secs(60));
    let online = scene.runners.values().filter(|r| r.seat == Some((true, false))).count();
    assert_eq!(online, 100, "all runners are there a minute after GitHub is back");
}

/// Every instance ends itself before it is online. After the first round, one instance at a time is launched, and the reason says so.
#[test]
fn a_broken_image_costs_one_instance_at_a_time() {
    let mut scene = Scene::new([pool("linux", &["self-hosted", "linux"], 200)]);
    scene.come_online = false;
    scene.pass(secs(60));
    scene.queue(50, &["self-hosted", "linux"]);
    scene.pass(secs(40));
    assert_eq!(scene.runners.len(), 50);
    let die = |scene: &mut Scene| {
        for r in scene.runners.values_mut().filter(|r| r.state == InstanceState::Running) {
            (r.state, r.seat) = (InstanceState::Terminated, None);
        }
    };
    die(&mut scene);
    scene.pass(secs(60));
    let began = scene.now;
    let mut told = false;
    for _ in 0..120 {
        scene.pass(secs(60));
        let pools = scene.core.seen().pools(scene.now);
        told |= matches!(&pools[0].code, Code::Blocked(Blocked::Trial { why: Backoff::BootFailures { .. } }));
        assert!(scene.live("linux").len() <= 1, "{} at once", scene.live("linux").len());
        die(&mut scene);
    }
    assert!(launched(&scene, began) <= 14, "{} instances in two hours", launched(&scene, began));
    assert!(told, "the pool says that it goes on with one instance at a time");
    // Somebody mends the image: all runners come with the next trial.
    scene.come_online = true;
    scene.pass(secs(700));
    assert_eq!(scene.live("linux").len(), 50);
}

/// One answer of GitHub shows every runner offline. A drain cannot be taken back, so one look is not enough.
#[test]
fn one_list_that_shows_the_runners_offline_drains_none() {
    let mut warm = linux();
    warm.spec.capacity.idle = 10;
    let mut scene = Scene::new([warm]);
    scene.pass(secs(120));
    assert_eq!(scene.live("linux").len(), 10);
    let (began, swept) = (scene.now, scene.swept.len());
    let show = |scene: &mut Scene, online: bool| scene.runners.values_mut().for_each(|r| r.seat = Some((online, false)));
    show(&mut scene, false);
    let lists = |scene: &Scene| scene.swept[swept..].iter().filter(|(_, s)| matches!(s, Source::Runners(_))).count();
    while lists(&scene) == 0 {
        scene.pass(secs(1));
    }
    show(&mut scene, true);
    scene.pass(secs(300));
    assert!(scene.acts(began).is_empty(), "{:?}", scene.acts(began));
    // What two lists show over some time is true.
    show(&mut scene, false);
    scene.pass(secs(150));
    assert!(scene.acts(began).iter().any(|a| matches!(a, Action::Drain(_))), "{:?}", scene.acts(began));
}

/// DescribeInstances fails, and EC2's own events tell that instances ended which no sweep has shown. Their places are free.
#[test]
fn ec2s_own_word_ends_an_instance_that_no_sweep_has_shown() {
    let mut scene = Scene::new([pool("linux", &["self-hosted", "linux"], 3)]);
    scene.pass(secs(60));
    scene.queue(3, &["self-hosted", "linux"]);
    // Until the next sweep, only CreateFleet has told of the instances.
    scene.pass(secs(1));
    let ids = scene.live("linux");
    assert_eq!(ids.len(), 3);
    for id in &ids {
        let r = scene.runners.get_mut(id).unwrap();
        (r.state, r.seat) = (InstanceState::Terminated, None);
        scene.feed(Input::Ec2(Ec2Event { instance: id.clone(), kind: Ec2EventKind::State(InstanceState::Terminated) }));
    }
    let phases: Vec<_> = scene.core.seen().runners(scene.now).into_iter().map(|r| r.phase).collect();
    assert!(phases.iter().all(|phase| phase.as_str() == "gone"), "{phases:?}");
}
