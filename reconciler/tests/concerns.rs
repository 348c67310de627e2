//! Each kind of thing that needs attention has a story: the world in which it is told, its weight, its jobs, what it is about, and when
//! it is over. The stories of this file are those that are not in `attention.rs`.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use std::time::Duration;

use muster_reconciler::effect::{GitHubLimit, Input, Launch, Launched, Outcome, Resource, RunnerSighting};
use muster_reconciler::event::JobState;
use muster_reconciler::failure::{Failure, FailureKind, OfferingError};
use muster_reconciler::ids::{JobId, Payer, RunnerId, RunnerName};
use muster_reconciler::manifest::MarketPolicy;
use muster_reconciler::reason::Concern;
use muster_reconciler::versions::{RunnerVersions, VersionEnds};
use muster_reconciler::view::{AttentionView, Target, Weight};
use scene::{Scene, linux, message, pool, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];
const HOUR: u64 = 3600;
const DAY: Duration = Duration::from_secs(86_400);

impl Scene {
    fn attention(&self) -> Vec<AttentionView> {
        self.core.seen().snapshot(self.now).attention
    }

    /// The only thing that needs attention.
    fn only(&self) -> AttentionView {
        let mut all = self.attention();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn needs_nothing(&self) -> bool {
        self.attention().is_empty()
    }
}

fn in_pool() -> Target {
    Target::pool(&"linux".into())
}

#[test]
fn a_refused_configuration_is_told_after_a_minute_and_until_one_works() {
    let mut scene = Scene::new([linux()]);
    scene.configure = |_| Some(Failure::new(FailureKind::Refused, "GitHub: 422: no such runner group"));
    scene.pass(secs(35));
    scene.queue(2, &LABELS);
    scene.pass(secs(45));
    assert!(scene.needs_nothing(), "one failure often passes: {:?}", scene.attention());
    scene.pass(secs(60));
    let item = scene.only();
    assert_eq!((item.word.as_str(), item.weight, item.jobs, item.about), ("refused", Weight::Trouble, 2, in_pool()));
    assert_eq!(item.what, "Pool linux cannot configure its new runners: GitHub: 422: no such runner group");
    assert_eq!(item.way_out, "Run muster doctor, and correct what it names");
    scene.configure = |_| None;
    scene.pass(secs(120));
    assert!(scene.needs_nothing(), "{:?}", scene.attention());
}

#[test]
fn a_pool_that_is_switched_off_is_told_at_once_while_jobs_have_no_other() {
    let mut scene = Scene::new([pool("linux", &LABELS, 0)]);
    scene.pass(secs(60));
    assert!(scene.needs_nothing(), "nobody needs the pool");
    scene.queue(3, &LABELS);
    scene.pass(secs(5));
    let item = scene.only();
    assert_eq!((item.word.as_str(), item.weight, item.jobs, item.about), ("switched_off", Weight::Trouble, 3, in_pool()));
    assert_eq!(item.what, "Pool linux is switched off (capacity.max is 0), and no other pool takes its jobs");
    scene.pool("linux").spec.capacity.max = 5;
    scene.take_spec();
    scene.pass(secs(60));
    assert!(scene.needs_nothing(), "{:?}", scene.attention());
}

#[test]
fn a_pool_that_github_does_not_serve_is_told_once_and_not_as_held_jobs_as_well() {
    let mut scene = Scene::new([linux()]);
    scene.version = Some("2.331.0".into());
    scene.pass(secs(60));
    scene.queue(3, &LABELS);
    scene.pass(secs(200));
    assert!(scene.needs_nothing(), "{:?}", scene.attention());
    scene.pass(secs(200));
    let item = scene.only();
    assert_eq!((item.word.as_str(), item.about), ("not_served", in_pool()));
    assert_eq!(item.what, "GitHub gives nothing to the idle runners of pool linux, although jobs match");
    assert!(item.way_out.contains("(2.331.0)"), "{}", item.way_out);
    for _ in 0..8 {
        scene.pass(secs(600));
        scene.end_drained();
    }
    assert_eq!(scene.only().word, "not_served", "jobs that have waited for more than an hour are the same trouble");
}

fn no_capacity(launch: &Launch) -> Option<Outcome> {
    let one = |o: &muster_reconciler::market::Offering| OfferingError {
        instance_type: Some(o.instance_type.clone()),
        subnet: Some(o.subnet.clone()),
        code: "InsufficientInstanceCapacity".into(),
        message: "none".into(),
    };
    Some(Outcome::Launched(Launched { instances: Vec::new(), errors: launch.offerings.iter().map(one).collect() }))
}

#[test]
fn missing_capacity_is_told_after_a_quarter_of_an_hour() {
    let mut spot = linux();
    spot.spec.instance.market = MarketPolicy::Spot;
    let mut scene = Scene::new([spot]);
    scene.launch = no_capacity;
    scene.pass(secs(35));
    scene.queue(2, &LABELS);
    scene.pass(secs(800));
    assert!(scene.needs_nothing(), "capacity often comes back: {:?}", scene.attention());
    scene.pass(secs(200));
    let item = scene.only();
    assert_eq!((item.word.as_str(), item.weight, item.jobs, item.about), ("no_capacity", Weight::Trouble, 2, in_pool()));
    assert!(item.what.starts_with("EC2 launches nothing for pool linux: "), "{}", item.what);
    scene.launch = |_| None;
    scene.pass(secs(900));
    assert!(scene.attention().iter().all(|item| item.word != "no_capacity"), "{:?}", scene.attention());
}

#[test]
fn a_foreign_job_is_told_for_an_hour() {
    let mut pool = linux();
    pool.spec.github.repositories = vec!["acme/deploy".into()];
    let mut scene = Scene::new([pool]);
    scene.pass(secs(60));
    scene.queue_of("acme/deploy", 1, &LABELS);
    scene.pass(secs(30));
    let instance = scene.live("linux").remove(0);
    // `acme/web` is the repository of `start`.
    scene.start(700, &instance);
    let item = scene.attention().into_iter().find(|item| item.word == "foreign_job").expect("told");
    assert_eq!((item.weight, item.jobs, item.about), (Weight::Trouble, 1, Target::job(JobId(700))));
    assert_eq!(item.what, "Runners of pool linux got jobs of repositories that the pool does not list, within the last hour");
    scene.pass(secs(HOUR + 60));
    assert!(scene.attention().iter().all(|item| item.word != "foreign_job"), "{:?}", scene.attention());
}

#[test]
fn a_taken_name_is_told_whether_an_event_or_a_list_shows_it() {
    for by_list in [false, true] {
        let mut theirs = pool("theirs", &["self-hosted", "theirs"], 5);
        theirs.spec.github.scope = "repo/acme/web".parse().unwrap();
        let mut scene = Scene::new([linux(), theirs.clone()]);
        scene.pass(secs(60));
        scene.queue(1, &LABELS);
        scene.pass(secs(20));
        let instance = scene.live("linux").remove(0);
        let name = RunnerName { cluster: "c".into(), pool: "linux".into(), instance: instance.clone() };
        if by_list {
            let (id, labels) = (RunnerId(9_999), Default::default());
            let row = RunnerSighting { id, name, online: true, busy: false, labels, version: None };
            scene.strangers.push((theirs.list_id(), row));
        } else {
            let mut event = message(700, JobState::InProgress, &LABELS);
            (event.event.runner, event.event.runner_id) = (Some(name.to_string()), Some(RunnerId(9_999)));
            scene.feed(Input::Messages(vec![event]));
        }
        scene.pass(secs(90));
        let item = scene.attention().into_iter().find(|item| item.word == "name_taken");
        let item = item.unwrap_or_else(|| panic!("by a list: {by_list}"));
        assert_eq!((item.weight, item.about), (Weight::Trouble, Target::runner(&instance)), "by a list: {by_list}");
        assert!(item.what.contains(instance.as_str()), "{}", item.what);
    }
}

#[test]
fn a_job_that_idle_runners_did_not_get_is_told_after_an_hour() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    let queued = scene.now;
    let told = |scene: &Scene| scene.attention().into_iter().find(|item| item.word == "held_long");
    while told(&scene).is_none() {
        assert!(scene.now.since(queued) < secs(2 * HOUR), "{:?}", scene.attention());
        scene.end_drained();
        scene.pass(secs(60));
    }
    assert!(scene.now.since(queued) >= secs(HOUR), "a concurrency group may hold a job for some minutes");
    let item = scene.only();
    assert_eq!((item.weight, item.jobs, item.about), (Weight::Watch, 1, Target::job(JobId(0))));
    assert_eq!(item.what, "Jobs of pool linux have waited for more than an hour, and idle runners did not get them");
    assert_eq!(item.since, queued.as_millis());
    scene.cancel(0);
    scene.pass(secs(10));
    assert!(scene.needs_nothing(), "{:?}", scene.attention());
}

#[test]
fn a_low_limit_of_github_is_told_until_its_reset() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    let limit = |remaining| {
        let (payer, resource) = (Payer::installation(&"main".into(), "acme"), Some(Resource::Core));
        Input::GitHubLimit(GitHubLimit { payer, resource, of_configuration: false, remaining, reset_after: secs(600) })
    };
    scene.feed(limit(500));
    assert!(scene.needs_nothing(), "{:?}", scene.attention());
    scene.feed(limit(499));
    let item = scene.only();
    assert_eq!((item.word.as_str(), item.weight, item.about), ("github_limit", Weight::Watch, Target::budgets()));
    assert_eq!(item.what, "GitHub's rate limit of main on acme has 499 requests left; it is reset in 10m");
    scene.feed(limit(0));
    assert_eq!(scene.only().weight, Weight::Trouble, "nothing is left");
    scene.pass(secs(601));
    assert!(scene.attention().iter().all(|item| item.word != "github_limit"), "{:?}", scene.attention());
}

#[test]
fn a_version_is_told_two_weeks_before_its_end_and_is_trouble_after_it() {
    let mut pinned = linux();
    pinned.spec.bootstrap.version = "2.320.0".into();
    let mut scene = Scene::new([pinned]);
    scene.pass(secs(60));
    let ends = VersionEnds { registration: None, runtime: Some(scene.now + 15 * DAY) };
    scene.feed(Input::Versions(RunnerVersions([((linux().list_id(), "2.320.0".to_owned()), ends)].into())));
    assert!(scene.needs_nothing(), "{:?}", scene.attention());
    let of_version = |scene: &Scene| scene.attention().into_iter().find(|item| item.word == "version").expect("told");
    scene.now = scene.now + 2 * DAY;
    let item = of_version(&scene);
    assert_eq!((item.weight, item.about), (Weight::Watch, in_pool()));
    assert_eq!(item.what, "Pool linux: in 13d GitHub stops giving jobs to version 2.320.0, which the pool runs");
    scene.now = scene.now + 14 * DAY;
    let item = of_version(&scene);
    assert_eq!((item.weight, item.since), (Weight::Trouble, (scene.now - DAY).as_millis()));
    assert!(item.way_out.starts_with("Set spec.bootstrap.version"), "{}", item.way_out);
}

/// A new kind of concern needs a story here or in `attention.rs`.
#[test]
fn every_kind_of_concern_has_a_story() {
    let stories = [include_str!("concerns.rs"), include_str!("attention.rs")].concat();
    let told = |word: &&&str| stories.matches(&format!("\"{word}\"")).count() > 0;
    let untold: Vec<_> = Concern::WORDS.iter().filter(|word| !told(word)).collect();
    assert_eq!(untold, Vec::<&&str>::new());
}
