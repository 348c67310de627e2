//! Jobs that GitHub holds back: which, until when, and what is launched for them.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Input};
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{InstanceId, JobId, MessageId};
use muster_reconciler::time::Time;

mod scene;
use scene::{BEGIN, Scene, linux, message, pool, secs};

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
        assert!(why(&scene, 0).contains("GitHub says that the job may not start yet"), "{}", why(&scene, 0));
        let approved = scene.now;
        scene.job_states.insert(0, Some(JobState::Queued));
        tell(&mut scene, 0, 1003, false);
        scene.pass(secs(1));
        assert_eq!(launched(&scene, approved), 1, "{minutes} min: {}", why(&scene, 0));
    }
}

#[test]
fn the_time_of_a_hold_is_told_apart_from_the_wait() {
    let mut scene = waiting();
    scene.pass(secs(600));
    let steps = |scene: &Scene| {
        let steps = scene.core.seen().explain_job(JobId(0), scene.now).unwrap().steps;
        steps.into_iter().map(|step| (step.what, step.seconds.round() as u64 / 60, step.going)).collect::<Vec<_>>()
    };
    assert_eq!(steps(&scene), [("is held back by GitHub".into(), 10, true)]);
    scene.job_states.insert(0, Some(JobState::Queued));
    tell(&mut scene, 0, 1003, false);
    scene.pass(secs(120));
    assert_eq!(steps(&scene), [("was held back by GitHub".into(), 10, false), ("waits for a runner".into(), 2, true)]);
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
    scene.pass(secs(3));
    assert_eq!(launched(&scene, BEGIN), 1);
}

/// After a restart, GitHub delivers webhooks again that failed hours ago: twenty at once, and then one a second. All their jobs are
/// over, as muster learns at about that pace, too.
#[test]
fn a_crowd_of_old_jobs_that_are_over_launches_nothing_however_long_the_questions_take() {
    let mut scene = Scene::new([pool("linux", &LABELS, 200)]);
    scene.pass(secs(60));
    let old = |scene: &mut Scene, jobs: std::ops::Range<u64>| {
        let message = |job| {
            let mut old = message(job, JobState::Queued, &LABELS);
            old.event.queued_at = Some(scene.now - secs(7200));
            old.receive_count = 1 + (job % 2) as u32;
            old
        };
        let messages: Vec<_> = jobs.clone().map(message).collect();
        scene.job_states.extend(jobs.map(|job| (job, Some(JobState::Completed))));
        scene.feed(Input::Messages(messages));
    };
    old(&mut scene, 0..100);
    for job in 100..700 {
        scene.pass(secs(1));
        old(&mut scene, job..job + 1);
    }
    scene.pass(secs(600));
    assert_eq!(launched(&scene, BEGIN), 0);
    assert!(scene.core.seen().jobs(scene.now).is_empty(), "each job was asked about");
}

// ------------------------------------------------------------------------- held by evidence: an idle runner

fn held(scene: &Scene) -> usize {
    let held = |why: &str| why.starts_with("held by GitHub: a matching runner") || why.contains("not served by GitHub");
    scene.core.seen().jobs(scene.now).iter().filter(|j| held(&j.reason)).count()
}

/// The words of the reasons of all queued jobs, and of the pool's.
fn words(scene: &Scene) -> (Vec<String>, String) {
    let seen = scene.core.seen();
    let pool = seen.pools(scene.now).into_iter().find(|p| p.name == "linux").unwrap();
    let jobs = seen.jobs(scene.now).into_iter().filter(|j| j.state == JobState::Queued);
    (jobs.map(|j| j.why).collect(), pool.code.word().to_owned())
}

/// Mode (b) of a version that GitHub has ended: the runners listen, and get nothing.
#[test]
fn a_pool_whose_idle_runners_get_no_job_of_several_runs_is_not_served_and_one_probe_goes_on() {
    let mut scene = Scene::new([linux()]);
    scene.version = Some("2.331.0".into());
    scene.pass(secs(60));
    scene.queue(3, &LABELS);
    scene.pass(secs(400));
    let (jobs, pool) = words(&scene);
    assert_eq!((jobs, pool.as_str()), (vec!["not_served".to_owned(); 3], "not_served"));
    let said = why(&scene, 0);
    assert!(said.contains("runner version 2.331.0, which GitHub may have ended"), "{said}");
    assert!(said.contains("https://www.githubstatus.com") && said.contains("this job is tried again in"), "{said}");
    assert_eq!(scene.core.seen().totals(scene.now).jobs[&("linux".to_owned(), JobState::Queued, "not_served")], 3);
    // The runners end, and one probe goes on.
    let later = scene.now;
    for _ in 0..6 {
        scene.pass(secs(300));
        scene.end_drained();
        assert_eq!(words(&scene).1, "not_served", "{}", why(&scene, 0));
    }
    assert!((1..=3).contains(&launched(&scene, later)), "{}", launched(&scene, later));
    // GitHub gives a job to the probe.
    let probe = loop {
        scene.pass(secs(5));
        scene.end_drained();
        assert!(scene.now.since(later) < secs(6000));
        let idle = |id: &InstanceId| scene.runners[id].seat == Some((true, false)) && !scene.runners[id].draining;
        if let Some(id) = scene.live("linux").into_iter().find(idle) {
            break id;
        }
    };
    scene.start(0, &probe);
    scene.pass(secs(2));
    assert!(!words(&scene).0.contains(&"not_served".to_owned()) && words(&scene).1 != "not_served", "{:?}", words(&scene));
}

/// A concurrency group keeps back the jobs of one run, or one job of each of some runs, while others start.
#[test]
fn one_run_that_is_held_or_a_pool_that_gets_other_jobs_is_served() {
    // Three jobs of one run.
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    let of_one_run = (0..3).map(|job| {
        let mut m = message(job, JobState::Queued, &LABELS);
        m.event.run = muster_reconciler::ids::RunId(7);
        m
    });
    scene.feed(Input::Messages(of_one_run.collect()));
    scene.pass(secs(400));
    assert_eq!(words(&scene).0, vec!["held".to_owned(); 3], "{}", why(&scene, 0));
    // Jobs of two runs, beside a job that starts meanwhile.
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(3, &LABELS);
    scene.pass(secs(200));
    let taker = scene.live("linux").remove(0);
    scene.start(2, &taker);
    scene.pass(secs(200));
    assert_eq!(words(&scene).0, vec!["held".to_owned(); 2], "{}", why(&scene, 0));
}

/// GitHub gives nothing to one of a pool's ten runners.
#[test]
fn one_idle_runner_holds_one_job_however_many_wait_for_room() {
    let mut small = linux();
    small.spec.capacity.max = 10;
    let mut scene = Scene::new([small]);
    scene.pass(secs(60));
    scene.queue(10, &LABELS);
    scene.pass(secs(30));
    let busy: Vec<_> = scene.live("linux").into_iter().skip(1).collect();
    assert_eq!(busy.len(), 9);
    for (job, id) in busy.iter().enumerate() {
        scene.start(job as u64, id);
    }
    scene.queue(20, &LABELS);
    scene.pass(secs(1200));
    assert_eq!(held(&scene), 1, "nine runners are busy, and twenty jobs wait for room");
    let ended = scene.now;
    for (job, id) in busy.iter().enumerate() {
        scene.finish(job as u64, id);
        scene.runners.get_mut(id).unwrap().state = muster_reconciler::event::InstanceState::Terminated;
    }
    scene.pass(secs(30));
    assert_eq!(launched(&scene, ended), 9, "the room is used at once");
}

/// GitHub assigns nothing for an hour.
#[test]
fn while_github_assigns_nothing_one_instance_goes_on_and_all_follow_once_it_does() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(20, &LABELS);
    scene.pass(secs(400));
    assert_eq!((launched(&scene, BEGIN), held(&scene)), (20, 20));
    let later = scene.now;
    scene.end_drained();
    for _ in 0..6 {
        scene.pass(secs(600));
        scene.end_drained();
        assert!(scene.live("linux").len() <= 1 || scene.now.since(later) < secs(900), "{}", scene.live("linux").len());
    }
    assert!((1..=8).contains(&launched(&scene, later)), "{} in an hour", launched(&scene, later));
    // GitHub is back.
    let back = scene.now;
    let mut job = 0;
    while scene.now.since(back) < secs(2400) && job < 20 {
        scene.pass(secs(5));
        for id in scene.live("linux") {
            let r = &scene.runners[&id];
            if r.seat == Some((true, false)) && !r.draining && job < 20 {
                scene.start(job, &id);
                job += 1;
            }
        }
    }
    assert_eq!(job, 20, "after {:?}", scene.now.since(back));
}

#[test]
fn an_outdated_runner_and_a_changed_pool_are_no_evidence() {
    let mut warm = linux();
    warm.spec.capacity.idle = 1;
    let mut scene = Scene::new([warm]);
    scene.pass(secs(60));
    scene.queue(1, &["self-hosted", "linux", "foo"]);
    scene.pass(secs(1200));
    assert!(why(&scene, 0).contains("lacks [\"foo\"]"), "{}", why(&scene, 0));
    let changed = scene.now;
    scene.pool("linux").spec.labels.push("foo".into());
    scene.take_spec();
    scene.pass(secs(3));
    assert_eq!(held(&scene), 0, "{}", why(&scene, 0));
    assert_eq!(launched(&scene, changed), 2, "one for the job, and one in place of the warm runner: {}", why(&scene, 0));
}

#[test]
fn a_mended_runner_group_ends_the_holds_of_its_pool() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    scene.pass(secs(400));
    assert_eq!(held(&scene), 1);
    let mended = scene.now;
    scene.pool("linux").spec.github.runner_group = "other".into();
    scene.take_spec();
    scene.pass(secs(2));
    assert_eq!((held(&scene), launched(&scene, mended)), (0, 1));
}

#[test]
fn a_job_that_an_idle_runner_did_not_get_is_asked_about_and_told_of_after_an_hour() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.queue(1, &LABELS);
    scene.pass(secs(301));
    while held(&scene) == 0 {
        assert!(scene.now.since(BEGIN) < secs(800));
        scene.pass(secs(1));
    }
    let since = scene.now;
    scene.pass(secs(62));
    let asked = scene.done.iter().filter(|(at, e)| *at >= since && matches!(e.action, Action::CheckJob { .. })).count();
    assert!(asked >= 1, "GitHub is asked within a minute");
    let oldest = |scene: &Scene| scene.core.seen().totals(scene.now).oldest_queued["linux"];
    assert!(held(&scene) == 1 && oldest(&scene) == 0.0);
    while held(&scene) == 0 || scene.now.since(BEGIN) < secs(3700) {
        scene.end_drained();
        scene.pass(secs(10));
    }
    assert!(oldest(&scene) >= 3600.0, "{}", oldest(&scene));
}

/// A runner of the pool took a job that counts for another pool, so GitHub does serve the pool. This process did not launch the runner,
/// so nothing else tells that the runner has begun.
#[test]
fn a_runner_that_takes_another_pools_job_shows_that_its_pool_is_served() {
    let mut warm = linux();
    warm.spec.capacity.idle = 3;
    let mut scene = Scene::new([warm, pool("other", &["self-hosted", "other"], 5)]);
    scene.pass(secs(60));
    scene.core = Controller::new("q", scene.now);
    scene.take_spec();
    scene.pass(secs(60));
    scene.queue(3, &LABELS);
    scene.pass(secs(400));
    assert_eq!(words(&scene).1, "not_served");
    let taker = scene.live("linux").remove(0);
    let mut foreign = message(90, JobState::Queued, &["self-hosted", "other"]);
    scene.feed(Input::Messages(vec![foreign.clone()]));
    (foreign.id, foreign.event.state) = (MessageId(5001), JobState::InProgress);
    (foreign.event.runner, foreign.event.runner_id) = (Some(format!("c.linux.{taker}")), Some(scene.id(&taker)));
    scene.feed(Input::Messages(vec![foreign]));
    scene.pass(secs(5));
    assert_ne!(words(&scene).1, "not_served");
}
