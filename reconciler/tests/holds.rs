//! Jobs that GitHub holds back: which, until when, and what is launched for them.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::effect::{Action, Input};
use muster_reconciler::event::JobState;
use muster_reconciler::ids::MessageId;
use muster_reconciler::time::Time;

mod scene;
use scene::{BEGIN, Scene, linux, message, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];

/// How many instances were launched since `from`.
fn launched(scene: &Scene, from: Time) -> u32 {
    let count = |a: &&Action| if let Action::Launch(l) = a { l.count } else { 0 };
    scene.acts(from).iter().map(count).sum()
}

fn why(scene: &Scene, job: u64) -> String {
    scene.core.seen().jobs(scene.now).into_iter().find(|j| j.id == job).map_or("unknown".into(), |j| j.reason)
}

/// GitHub sends one more event of a queued job, in a message of its own.
fn tell(scene: &mut Scene, job: u64, message_id: u64, waiting: bool) {
    let mut m = message(job, JobState::Queued, &LABELS);
    (m.id, m.event.waiting) = (MessageId(message_id), waiting);
    scene.feed(Input::Messages(vec![m]));
}

/// A scene in which the job 0 waits for its approval, and has said so from the start.
fn waiting() -> Scene {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.job_states.insert(0, None);
    tell(&mut scene, 0, 1001, true);
    tell(&mut scene, 0, 1002, true);
    scene
}

#[test]
fn nothing_is_launched_for_a_job_that_waits_for_its_approval_and_everything_at_once_after_it() {
    for minutes in [1, 5, 20, 40, 65, 125, 600] {
        let mut scene = waiting();
        scene.pass(secs(minutes * 60));
        assert_eq!(launched(&scene, BEGIN), 0, "{minutes} min");
        assert!(why(&scene, 0).contains("it says that the job may not start yet"), "{}", why(&scene, 0));
        let approved = scene.now;
        scene.job_states.insert(0, Some(JobState::Queued));
        tell(&mut scene, 0, 1003, false);
        scene.pass(secs(1));
        assert_eq!(launched(&scene, approved), 1, "{minutes} min: {}", why(&scene, 0));
    }
}

#[test]
fn an_approval_that_no_event_tells_of_is_found_within_half_an_hour() {
    let mut scene = waiting();
    scene.pass(secs(7200));
    let approved = scene.now;
    scene.job_states.insert(0, Some(JobState::Queued));
    scene.pass(secs(1805));
    assert_eq!(launched(&scene, BEGIN), launched(&scene, approved));
    assert!(launched(&scene, approved) > 0);
}

/// The App may lack the permission to read jobs. Then the events alone must do.
#[test]
fn an_approval_counts_within_ten_seconds_though_github_does_not_answer() {
    let mut scene = waiting();
    scene.job_states.clear();
    scene.pass(secs(1800));
    assert_eq!(launched(&scene, BEGIN), 0);
    let approved = scene.now;
    tell(&mut scene, 0, 1003, false);
    scene.pass(secs(11));
    assert_eq!(launched(&scene, approved), 1);
}

/// The queue promises no order, and GitHub repeats deliveries.
#[test]
fn a_late_or_repeated_event_neither_pays_for_a_waiting_job_nor_holds_an_approved_one() {
    let mut scene = waiting();
    tell(&mut scene, 0, 1003, false);
    scene.pass(secs(300));
    assert_eq!(launched(&scene, BEGIN), 0, "GitHub says that it still waits: {}", why(&scene, 0));
    assert!(why(&scene, 0).contains("may not start yet"), "{}", why(&scene, 0));

    let approved = scene.now;
    scene.job_states.insert(0, Some(JobState::Queued));
    tell(&mut scene, 0, 1004, false);
    tell(&mut scene, 0, 1005, true);
    scene.pass(secs(15));
    assert_eq!(launched(&scene, approved), 1, "the late `waiting` is confirmed after ten seconds: {}", why(&scene, 0));
}

#[test]
fn an_instance_that_was_launched_before_github_said_that_the_job_waits_is_ended() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    (scene.come_online, scene.hold_launches) = (false, true);
    scene.queue(1, &LABELS);
    scene.pass(secs(1));
    assert_eq!(launched(&scene, BEGIN), 1);
    scene.job_states.insert(0, None);
    tell(&mut scene, 0, 1002, true);
    scene.pass(secs(3600));
    assert_eq!(launched(&scene, BEGIN), 1, "and no other is launched");
}

#[test]
fn a_job_that_github_made_minutes_ago_counts_once_github_has_confirmed_it() {
    for (state, wanted) in [(Some(JobState::Queued), 1), (Some(JobState::Completed), 0), (None, 0)] {
        let mut scene = Scene::new([linux()]);
        scene.pass(secs(60));
        scene.job_states.insert(0, state);
        let mut old = message(0, JobState::Queued, &LABELS);
        old.event.queued_at = Some(scene.now - secs(150));
        scene.feed(Input::Messages(vec![old]));
        scene.pass(secs(1));
        assert_eq!(launched(&scene, BEGIN), wanted, "{state:?}: {}", why(&scene, 0));
        scene.pass(secs(600));
        assert_eq!(launched(&scene, BEGIN), wanted, "{state:?}: {}", why(&scene, 0));
    }
}

#[test]
fn an_old_job_counts_after_a_minute_though_github_does_not_answer() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    let mut old = message(0, JobState::Queued, &LABELS);
    old.event.queued_at = Some(scene.now - secs(150));
    scene.feed(Input::Messages(vec![old]));
    scene.pass(secs(59));
    assert_eq!(launched(&scene, BEGIN), 0);
    assert!(
        why(&scene, 0).starts_with("was minutes old when muster first heard of it; GitHub is being asked"),
        "{}",
        why(&scene, 0)
    );
    scene.pass(secs(2));
    assert_eq!(launched(&scene, BEGIN), 1);
}
