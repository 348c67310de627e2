//! What needs somebody's attention, and how long jobs wait: given a world, what is told, in which order, and with what to do.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::Outcome;
use muster_reconciler::event::{InstanceState, JobState};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{InstanceId, JobId};
use muster_reconciler::mark::StateMark;
use muster_reconciler::steer::Order;
use muster_reconciler::view::{AttentionView, Snapshot, State, Target, Weight};
use scene::{BEGIN, Scene, linux, pool, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];
const HOUR: u64 = 3600;

impl Scene {
    fn seen_now(&self) -> Snapshot {
        self.core.seen().snapshot(self.now)
    }

    fn attention(&self) -> Vec<AttentionView> {
        self.seen_now().attention
    }

    /// The words of what needs attention, in order.
    fn words(&self) -> Vec<String> {
        self.attention().into_iter().map(|item| item.word).collect()
    }

    /// Starts the oldest idle runner's job, and ends it after `long`.
    fn run(&mut self, job: u64, long: u64) {
        let id = self.free();
        self.start(job, &id);
        self.pass(secs(long));
        self.finish(job, &id);
        let runner = self.runners.get_mut(&id).unwrap();
        (runner.state, runner.seat) = (InstanceState::Terminated, None);
    }

    fn free(&self) -> InstanceId {
        let live = self.live("linux");
        live.into_iter().find(|id| self.runners[id].seat == Some((true, false))).unwrap()
    }
}

fn since(s: u64) -> u64 {
    (BEGIN + secs(s)).as_millis()
}

#[test]
fn when_nothing_is_wrong_the_list_is_empty_and_says_since_when() {
    let mut scene = Scene::new([linux()]);
    let new = Controller::new("p", BEGIN);
    let blind = new.seen().snapshot(BEGIN);
    assert_eq!((blind.attention, blind.well_since), (vec![], None), "nothing was seen yet");
    scene.pass(secs(60));
    let first = scene.seen_now().well_since.unwrap();
    assert!(scene.attention().is_empty() && first >= since(0) && first <= since(40), "{first}");
    scene.core.order(&Order::Pause("linux".into(), String::new()), scene.now).unwrap();
    scene.pass(secs(40));
    assert_eq!((scene.words(), scene.seen_now().well_since), (vec!["paused".to_owned()], None));
    scene.core.order(&Order::Resume("linux".into()), scene.now).unwrap();
    let resumed = scene.now;
    scene.pass(secs(200));
    let well = scene.seen_now().well_since.unwrap();
    assert!(well >= resumed.as_millis() && well <= (resumed + secs(40)).as_millis(), "{well}");
}

#[test]
fn a_pause_is_worse_when_jobs_wait_for_it() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.core.order(&Order::Pause("linux".into(), "a bad image".into()), scene.now).unwrap();
    scene.pass(secs(10));
    let item = scene.attention().remove(0);
    assert_eq!((item.weight, item.jobs, item.since), (Weight::Watch, 0, since(60)));
    scene.queue(3, &LABELS);
    scene.pass(secs(10));
    let item = scene.attention().remove(0);
    assert_eq!((item.weight, item.jobs, item.about), (Weight::Trouble, 3, Target::pool(&"linux".into())));
    assert_eq!(item.what, "Pool linux is paused by an operator: a bad image");
    assert_eq!(item.way_out, "Resume it when the reason is gone: muster resume pool/linux");
}

#[test]
fn a_full_pool_is_told_after_a_quarter_of_an_hour_and_a_burst_is_not() {
    let mut scene = Scene::new([pool("linux", &LABELS, 1)]);
    scene.pass(secs(35));
    scene.queue(3, &LABELS);
    scene.pass(secs(60));
    let id = scene.free();
    scene.start(0, &id);
    scene.pass(secs(600));
    assert_eq!(scene.words(), [""; 0], "ten minutes are a burst");
    assert_eq!(scene.seen_now().jobs.iter().filter(|job| job.mark == StateMark::Blocked).count(), 2);
    // A runner that ends is replaced. The pool is full all the same.
    scene.finish(0, &id);
    scene.runners.get_mut(&id).unwrap().state = InstanceState::Terminated;
    scene.runners.get_mut(&id).unwrap().seat = None;
    scene.pass(secs(90));
    let next = scene.free();
    scene.start(1, &next);
    scene.queue(1, &LABELS);
    scene.pass(secs(400));
    let items = scene.attention();
    assert_eq!((items.len(), items[0].word.as_str(), items[0].jobs), (1, "full", 2), "{items:?}");
    assert_eq!(items[0].what, "Pool linux is full: it has 1 runner of 1 and more jobs wait");
    assert!(items[0].since < since(60), "since the pool was first full: {}", items[0].since);
}

#[test]
fn a_pool_whose_max_was_lowered_has_more_runners_than_that() {
    let mut scene = Scene::new([pool("linux", &LABELS, 2)]);
    scene.pass(secs(35));
    scene.queue(4, &LABELS);
    scene.pass(secs(60));
    for (job, id) in (0..).zip(scene.live("linux")) {
        scene.start(job, &id);
    }
    scene.pool("linux").spec.capacity.max = 1;
    scene.take_spec();
    scene.pass(secs(1000));
    assert_eq!(scene.attention()[0].what, "Pool linux is full: it has 2 runners of 1 and more jobs wait");
}

#[test]
fn a_job_that_is_over_keeps_its_links() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &LABELS);
    scene.pass(secs(60));
    let id = scene.free();
    scene.start(0, &id);
    scene.finish(0, &id);
    scene.pass(secs(60));
    let told = scene.core.seen().explain_job(JobId(0), scene.now).unwrap();
    assert_eq!(told.state, State::Job(JobState::Completed));
    assert!(told.facts.iter().any(|fact| fact.ends_with(", run 0")), "{:?}", told.facts);
    let links: Vec<&str> = told.links.iter().map(|link| link.href.as_str()).collect();
    assert!(links[0].ends_with("/actions/runs/0/job/0") && links[1].ends_with("/actions/runs/0"), "{links:?}");
}

#[test]
fn jobs_that_no_pool_takes_are_grouped_by_what_they_lack() {
    let mut scene = Scene::new([linux(), pool("arm", &["self-hosted", "arm64"], 2)]);
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux", "gpu"]);
    scene.pass(secs(5));
    scene.queue(3, &["self-hosted", "arm64", "tpu"]);
    scene.queue(1, &["self-hosted", "arm64", "gpu"]);
    scene.pass(secs(5));
    let items = scene.attention();
    assert!(items.iter().all(|item| item.word == "unplaceable" && item.weight == Weight::Trouble), "{items:?}");
    let told: Vec<(&str, u64, &str)> = items.iter().map(|i| (i.what.as_str(), i.jobs, i.about.id.as_str())).collect();
    assert_eq!(
        told,
        [("No pool takes jobs that ask for [\"tpu\"]", 3, "1"), ("No pool takes jobs that ask for [\"gpu\"]", 2, "0")],
        "what holds up more jobs comes first"
    );
    assert_eq!(scene.seen_now().jobs[0].mark, StateMark::Trouble);
}

#[test]
fn runners_that_fail_to_start_name_the_last_instance() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.come_online = false;
    scene.queue(2, &LABELS);
    scene.pass(secs(5));
    let failed = scene.live("linux");
    assert_eq!(failed.len(), 2);
    for id in &failed {
        let runner = scene.runners.get_mut(id).unwrap();
        (runner.state, runner.seat, runner.why) = (InstanceState::Terminated, None, Some("Client.InternalError".into()));
    }
    scene.pass(secs(120));
    let item = scene.attention().remove(0);
    assert_eq!((item.word.as_str(), item.weight, item.jobs), ("failing", Weight::Trouble, 2), "{item:?}");
    assert!(item.what.contains("Client.InternalError"), "{}", item.what);
    assert!(item.about.kind == "runner" && failed.iter().any(|id| id.as_str() == item.about.id), "{item:?}");
    let seen = scene.core.seen();
    let told = seen.explain_runner(&item.about.id.as_str().into(), scene.now).unwrap();
    assert!(told.timeline.iter().any(|e| e.what == muster_reconciler::journal::What::BootFailed), "the box tells of its failure");
}

#[test]
fn a_refusal_of_every_launch_is_told_once_it_lasts() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.launch = |_| Some(Outcome::Failed(Failure::new(FailureKind::Refused, "no permission for ec2:CreateFleet")));
    scene.queue(1, &LABELS);
    scene.pass(secs(30));
    assert_eq!(scene.words(), [""; 0], "one failure often passes");
    scene.pass(secs(60));
    let item = scene.attention().remove(0);
    assert_eq!(item.what, "Pool linux cannot launch: no permission for ec2:CreateFleet");
    assert_eq!((item.jobs, item.since < since(45)), (1, true));
}

#[test]
fn an_old_failure_of_a_pool_that_nobody_needs_is_not_told() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.launch = |_| Some(Outcome::Failed(Failure::new(FailureKind::Refused, "no permission for ec2:CreateFleet")));
    scene.queue(1, &LABELS);
    scene.pass(secs(120));
    assert_eq!(scene.words(), ["failing"]);
    scene.cancel(0);
    scene.pass(secs(60));
    assert_eq!(scene.words(), [""; 0]);
}

#[test]
fn a_list_that_left_the_manifests_is_not_stale() {
    let mut other = pool("other", &["self-hosted", "other"], 2);
    other.spec.github.scope = "org/elsewhere".parse().unwrap();
    let mut scene = Scene::new([linux(), other]);
    scene.pass(secs(120));
    scene.spec.pools.retain(|name, _| name.as_str() == "linux");
    scene.take_spec();
    scene.pass(secs(HOUR));
    assert_eq!(scene.words(), [""; 0]);
}

#[test]
fn a_lost_job_is_told_for_an_hour() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &LABELS);
    scene.pass(secs(60));
    let id = scene.free();
    scene.start(0, &id);
    let runner = scene.runners.get_mut(&id).unwrap();
    (runner.state, runner.seat) = (InstanceState::Terminated, None);
    scene.pass(secs(900));
    let item = scene.attention().into_iter().find(|item| item.word == "lost").expect("told");
    assert_eq!((item.jobs, item.about), (1, Target::job(muster_reconciler::ids::JobId(0))));
    scene.pass(secs(HOUR));
    assert!(!scene.words().contains(&"lost".to_owned()), "{:?}", scene.words());
}

#[test]
fn a_source_that_is_not_seen_is_told_with_its_error() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.spec.apps.clear();
    scene.pass(secs(60));
    assert_eq!(scene.words(), [""; 0]);
    scene.pass(secs(1200));
    let items = scene.attention();
    assert!(items.iter().any(|item| item.word == "stale" && item.what.ends_with("no such App")), "{items:?}");
}

#[test]
fn a_wait_is_expected_from_what_was_seen_and_from_nothing_else() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    let next = |scene: &Scene| scene.seen_now().pools[0].waits.clone();
    assert_eq!((next(&scene).next_word, next(&scene).hour), ("too_few".into(), None));
    for job in 0..5 {
        scene.queue(1, &LABELS);
        scene.pass(secs(40));
        scene.run(job, 30);
        scene.pass(secs(60));
    }
    let waits = next(&scene);
    let hour = waits.hour.expect("five jobs started");
    assert_eq!((hour.count, waits.next_word.as_str(), waits.day), (5, "usually", Some(hour)));
    assert!(hour.most_seconds >= 40.0 && hour.most_seconds <= 48.0, "{hour:?}");
    assert_eq!(waits.next, "usually within 50s");
    assert!(waits.starts_hour.is_some_and(|starts| starts.count >= 5) && waits.hours.len() == 1, "{waits:?}");

    scene.come_online = false;
    scene.queue(2, &LABELS);
    scene.pass(secs(5));
    let jobs = scene.seen_now().jobs;
    let wait = jobs[1].wait.clone().expect("it waits");
    assert_eq!((wait.place, wait.of, wait.expected_word.as_str()), (Some(2), 2, "usually"));
    scene.pass(secs(60));
    let wait = scene.seen_now().jobs[0].wait.clone().expect("it waits");
    assert_eq!((wait.place, wait.expected_word.as_str()), (Some(1), "longer"), "{}", wait.say());
    scene.core.order(&Order::Pause("linux".into(), String::new()), scene.now).unwrap();
    let wait = scene.seen_now().jobs[0].wait.clone().expect("it waits");
    assert_eq!(wait.expected, "unknown while the pool is paused");
    scene.pass(Duration::from_secs(2 * HOUR));
    assert_eq!(next(&scene).hour, None, "the hour is over");
}

#[test]
fn at_a_full_pool_the_pace_of_the_last_hour_tells_when_it_is_a_jobs_turn() {
    let mut scene = Scene::new([pool("linux", &LABELS, 1)]);
    scene.pass(secs(35));
    scene.queue(10, &LABELS);
    scene.pass(secs(40));
    for job in 0..6 {
        scene.run(job, 300);
        scene.pass(secs(90));
    }
    let id = scene.free();
    scene.start(6, &id);
    scene.pass(secs(5));
    let jobs = scene.seen_now().jobs;
    let waiting: Vec<_> = jobs.iter().filter_map(|job| job.wait.as_ref()).collect();
    assert_eq!(waiting.iter().map(|wait| wait.place).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert!(waiting.iter().all(|wait| wait.expected_word == "at_pace"), "{waiting:?}");
    assert!(waiting[0].expected.starts_with("in about 5m") || waiting[0].expected.starts_with("in about 6m"), "{waiting:?}");
}
