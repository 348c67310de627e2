//! What GitHub's rate limits hold back, and what they do not.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use muster_reconciler::effect::{Action, Configure, GitHubLimit, Input, Resource, Source};
use muster_reconciler::event::InstanceState;
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::Payer;
use muster_reconciler::reason::{Blocked, Code};
use muster_reconciler::time::Time;

mod scene;
use scene::{BEGIN, Scene, linux, secs};

/// The limit that GitHub tells the App, for the account of the pool [`linux`].
fn left(resource: Option<Resource>, remaining: u32, reset_after: Duration) -> Input {
    let payer = Payer::installation(&"main".into(), "acme");
    let of_configuration = resource == Some(Resource::Registration);
    Input::GitHubLimit(GitHubLimit { payer, resource, of_configuration, remaining, reset_after })
}

/// The same limit, for the configurations of instances.
fn left_to_configure(remaining: u32, reset_after: Duration) -> Input {
    left(Some(Resource::Registration), remaining, reset_after)
}

/// What GitHub still admits is kept for runners. A failed runner is deregistered at once, and checks of jobs wait.
#[test]
fn a_failed_runner_is_deregistered_though_github_has_little_left() {
    let mut scene = Scene::new([linux()]);
    scene.come_online = false;
    scene.queue(1, &["linux"]);
    scene.pass(secs(10));
    scene.feed(left(Some(Resource::Core), 500, secs(3000)));
    scene.pass(secs(400));
    let acts = scene.acts(BEGIN);
    assert!(acts.iter().any(|a| matches!(a, Action::Deregister { .. })), "{acts:?}");
    assert!(!scene.done.iter().any(|(_, e)| matches!(e.action, Action::CheckJob { .. })));
}

/// GitHub bans clients that go on asking.
#[test]
fn no_list_is_looked_at_while_github_says_to_wait() {
    for resource in [Some(Resource::Core), None] {
        let mut scene = Scene::new([linux()]);
        scene.pass(secs(60));
        let (from, until) = (scene.now, scene.now + secs(600));
        scene.feed(left(resource, 0, secs(600)));
        scene.queue(1, &["linux"]);
        scene.pass(secs(900));
        let first = |wanted: fn(&Source) -> bool| scene.swept.iter().find(|(at, s)| *at > from && wanted(s)).map(|(at, _)| *at);
        assert_eq!(first(|s| matches!(s, Source::Runners(_))), Some(until), "lists are swept as soon as GitHub admits it");
        let soon = Some(from + secs(61));
        assert!(first(|s| matches!(s, Source::Instances)) < soon, "EC2 is swept as before");
        assert!(first(|s| matches!(s, Source::Deliveries(_))) < soon, "the App's own calls have another limit");
        let configured = scene.done.iter().find(|(_, e)| matches!(e.action, Action::Configure(_))).map(|(at, _)| *at);
        assert_eq!(
            configured < Some(until),
            resource.is_some(),
            "configurations have another limit, too, but not a secondary limit"
        );
    }
}

/// An App that is installed on two accounts has two limits.
#[test]
fn an_organisations_spent_limit_delays_no_other_organisation_of_its_app() {
    let mut other = linux();
    (other.metadata.name, other.spec.labels) = ("other".into(), vec!["self-hosted".into(), "umbrella".into()]);
    other.spec.github.scope = "org/umbrella".parse().unwrap();
    let mut scene = Scene::new([linux(), other]);
    scene.pass(secs(60));
    let from = scene.now;
    scene.feed(left(None, 0, secs(3000)));
    scene.feed(left(Some(Resource::Core), 0, secs(3000)));
    scene.feed(left_to_configure(0, secs(3000)));
    scene.queue(2, &["linux"]);
    scene.queue_of("umbrella/lab", 2, &["umbrella"]);
    scene.pass(secs(120));
    let configured = |pool: &str| {
        let ours = |a: &&&Action| matches!(a, Action::Configure(c) if c.name.pool.as_str() == pool);
        scene.acts(from).iter().filter(ours).count()
    };
    assert_eq!((configured("other"), configured("linux")), (2, 0));
    let looked = |scope: &str| {
        let of = |s: &Source| matches!(s, Source::Runners(list_id) if list_id.scope.to_string() == scope);
        scene.swept.iter().filter(|(at, s)| *at > from && of(s)).count()
    };
    assert!(looked("org/umbrella") > 1 && looked("org/acme") == 0, "{} {}", looked("org/umbrella"), looked("org/acme"));
}

fn says_wait_an_hour(_: &Configure) -> Option<Failure> {
    Some(Failure { retry_after: Some(secs(3600)), ..Failure::new(FailureKind::Throttled, "API rate limit exceeded") })
}

/// GitHub's limit is a matter of the budget. It does not concern only the instance whose call met it first (seed 41671).
#[test]
fn a_runner_that_github_made_wait_for_an_hour_is_let_go_when_nobody_wants_it() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.configure = says_wait_an_hour;
    scene.queue(1, &["linux"]);
    scene.pass(secs(5));
    scene.feed(left_to_configure(0, secs(3595)));
    let began = scene.now;
    scene.cancel(0);
    scene.pass(secs(90));
    let acts = scene.acts(began);
    assert!(matches!(acts[..], [Action::Terminate(_)]), "{acts:?}");
}

fn launched(scene: &Scene, from: Time) -> u32 {
    let count = |a: &&Action| if let Action::Launch(l) = a { l.count } else { 0 };
    scene.acts(from).iter().map(count).sum()
}

/// The instances boot unconfigured while the limit holds or GitHub is down, and end themselves at their boot deadline. The pool does
/// not count these ends as failures to start, and goes on as soon as GitHub does.
#[test]
fn instances_that_github_kept_unconfigured_are_no_boot_failures() {
    for limited in [true, false] {
        let mut scene = Scene::new([linux()]);
        scene.pass(secs(60));
        scene.configure = if limited { says_wait_an_hour } else { |_| Some(Failure::new(FailureKind::Unavailable, "503")) };
        scene.queue(6, &["linux"]);
        scene.pass(secs(2));
        if limited {
            scene.feed(left_to_configure(0, secs(400)));
        }
        scene.pass(secs(290));
        scene.runners.values_mut().for_each(|b| b.state = InstanceState::Terminated);
        let ended = scene.now;
        scene.pass(secs(90));
        scene.configure = |_| None;
        let failures = scene.facts.iter().filter(|f| matches!(f, Fact::BootFailed { .. })).count();
        assert_eq!(failures, 0, "limited: {limited}");
        let before = launched(&scene, ended);
        assert!(limited || before <= 1, "{before} launched while GitHub was down");
        scene.pass(secs(60));
        assert_eq!(scene.live("linux").len(), 6, "limited: {limited}");
    }
}

/// An instance that cannot be configured while it boots costs money for nothing (seed 23200).
#[test]
fn nothing_is_launched_that_githubs_limit_will_not_let_us_configure() {
    for (remaining, reset, at_once) in [(0, 600, 0), (2, 600, 2), (0, 30, 3), (3, 600, 3)] {
        let mut scene = Scene::new([linux()]);
        scene.pass(secs(60));
        let (began, reset_after) = (scene.now, secs(reset));
        scene.feed(left_to_configure(remaining, reset_after));
        scene.queue(3, &["linux"]);
        scene.pass(secs(5));
        let wait = scene.core.seen().explain_pool(&"linux".into(), scene.now).unwrap();
        let limited = wait.code == Code::Blocked(Blocked::GitHub { until: began + reset_after });
        assert_eq!(limited, at_once < 3, "{remaining} left: {}", wait.reason);
        assert_eq!(wait.awaits.iter().any(|a| a.until == (began + reset_after).as_millis()), limited, "{:?}", wait.awaits);
        for (job, id) in scene.live("linux").iter().enumerate() {
            scene.start(job as u64, id);
        }
        scene.pass(reset_after);
        let count = |a: &Action| if let Action::Launch(l) = a { l.count } else { 0 };
        let launched = |from: Time, to: Time| -> u32 {
            scene.done.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, e)| count(&e.action)).sum()
        };
        let booting = began + reset_after - secs(30);
        assert_eq!(launched(began, booting.max(began + secs(5))), at_once, "{remaining} left for {reset} s");
        assert_eq!(launched(began, booting + secs(15).max(secs(35))), 3, "the instances boot while the limit ends");
    }
}
