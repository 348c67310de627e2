//! Jobs that no runner takes in time, and repositories that have their share.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use muster_reconciler::effect::{Action, GitHubLimit, Input, JobMessage, MessageOp, Resource};
use muster_reconciler::event::{InstanceState, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{JobId, MessageId, Payer, PoolName, RunId};
use muster_reconciler::late::{LateJobs, NoticeKey, NoticeText, StatusState};
use muster_reconciler::manifest::{LateAct, LateStep, RunnerPool, Span};
use muster_reconciler::market::Market;
use muster_reconciler::steer::Order;
use muster_reconciler::time::Time;

mod scene;
use scene::{SHA, Scene, linux, message, pool, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];

fn ladder(mut pool: RunnerPool, steps: &[(u64, LateAct)]) -> RunnerPool {
    pool.spec.start_within = steps.iter().map(|(after, act)| LateStep { after: Span::secs(*after), act: *act }).collect();
    pool
}

/// A scene whose only pool has room for nobody.
fn full(steps: &[(u64, LateAct)]) -> Scene {
    let mut none = ladder(linux(), steps);
    none.spec.capacity.max = 1;
    let mut scene = Scene::new([none]);
    scene.pass(secs(35));
    scene.queue(1, &LABELS);
    scene.pass(secs(60));
    let instance = scene.live("linux").remove(0);
    scene.start(0, &instance);
    scene.pass(secs(5));
    scene
}

/// The states and sentences of the notices so far.
fn told(scene: &Scene) -> Vec<(StatusState, String)> {
    let notice = |action: &Action| if let Action::Tell(key, text) = action { Some((key.clone(), text.clone())) } else { None };
    let all = scene.done.iter().filter_map(|(_, e)| notice(&e.action));
    all.map(|(key, text)| {
        assert_eq!((key.repo.as_str(), key.sha.as_str()), ("acme/web", SHA));
        (text.state, text.text)
    })
    .collect()
}

fn cancelled(scene: &Scene) -> usize {
    scene.done.iter().filter(|(_, e)| matches!(e.action, Action::CancelRun { .. })).count()
}

fn steps(scene: &Scene) -> Vec<(LateAct, bool)> {
    let step = |f: &Fact| if let Fact::LateStep { act, taken, .. } = f { Some((*act, *taken)) } else { None };
    scene.facts.iter().filter_map(step).collect()
}

#[test]
fn the_commit_is_told_why_its_jobs_wait_and_when_none_does_any_more() {
    let mut scene = full(&[(600, LateAct::Tell)]);
    scene.queue(3, &LABELS);
    scene.pass(secs(590));
    assert_eq!(told(&scene), []);
    scene.pass(secs(30));
    let said = told(&scene);
    assert_eq!(said.len(), 1, "one call for three jobs: {said:?}");
    assert_eq!(said[0].0, StatusState::Pending);
    assert!(said[0].1.starts_with("no runner within 10m: pool linux is full"), "{said:?}");
    let explained = scene.core.seen().explain_job(JobId(1), scene.now).unwrap();
    assert!(explained.facts.iter().any(|fact| fact == "steps of startWithin taken: tell"), "{explained:?}");
    for job in 1..4 {
        scene.cancel(job);
    }
    scene.pass(secs(10));
    let last = told(&scene).pop().unwrap();
    assert_eq!(last, (StatusState::Success, "no job of this commit waits for pool linux any more".into()));
    scene.pass(secs(3600));
    assert_eq!((told(&scene).len(), steps(&scene)), (2, vec![(LateAct::Tell, true)]));
}

#[test]
fn a_process_that_starts_closes_what_an_earlier_one_told() {
    let mut scene = Scene::new([ladder(linux(), &[(600, LateAct::Tell)])]);
    scene.pass(secs(35));
    let mut over = message(7, JobState::InProgress, &LABELS);
    (over.event.queued_at, over.event.started_at) = (Some(scene.now - secs(900)), Some(scene.now - secs(5)));
    scene.feed(Input::Messages(vec![over.clone()]));
    let deletes = |scene: &Scene| {
        scene.done.iter().any(|(_, e)| matches!(&e.action, Action::Messages(MessageOp::Delete, ids) if ids.contains(&over.id)))
    };
    assert!(!deletes(&scene), "the message stays until the notice is closed");
    scene.pass(secs(20));
    assert_eq!(told(&scene).iter().map(|(state, _)| *state).collect::<Vec<_>>(), [StatusState::Success]);
    assert!(deletes(&scene));
}

#[test]
fn a_job_that_no_pool_takes_is_told_by_the_controllers_own_ladder() {
    let mut scene = Scene::new([linux()]);
    scene.spec.controller.spec.start_within = vec![LateStep { after: Span::secs(120), act: LateAct::Tell }];
    scene.take_spec();
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linus"]);
    scene.pass(secs(150));
    let said = told(&scene);
    assert!(said[0].1.contains("no pool takes it; pool linux comes nearest"), "{said:?}");
}

#[test]
fn the_instance_of_a_late_job_is_bought_on_demand() {
    let mut scene = full(&[(300, LateAct::OnDemand)]);
    scene.queue(1, &LABELS);
    scene.pass(secs(320));
    let first = scene.live("linux").remove(0);
    scene.finish(0, &first);
    let ended = scene.runners.get_mut(&first).unwrap();
    (ended.state, ended.seat) = (InstanceState::Terminated, None);
    scene.pass(secs(60));
    let markets: Vec<Market> = scene.runners.values().map(|runner| runner.market).collect();
    assert_eq!(markets, [Market::Spot, Market::OnDemand]);
}

#[test]
fn another_pool_takes_a_late_job() {
    let mut small = ladder(pool("small", &LABELS, 1), &[(300, LateAct::Overflow)]);
    small.spec.priority = 1;
    let mut scene = Scene::new([small, linux()]);
    scene.pass(secs(35));
    scene.queue(2, &LABELS);
    scene.pass(secs(60));
    let instance = scene.live("small").remove(0);
    scene.start(0, &instance);
    scene.pass(secs(320));
    let pool = |scene: &Scene, job| scene.core.view().demand.jobs().get(&JobId(job)).and_then(|j| j.pool().cloned());
    let at: Vec<Option<PoolName>> = (0..2).map(|job| pool(&scene, job)).collect();
    assert_eq!(at, [Some("small".into()), Some("linux".into())]);
}

#[test]
fn a_run_is_cancelled_once_github_has_confirmed_that_its_job_waits() {
    let mut scene = full(&[(1800, LateAct::Cancel)]);
    scene.queue(1, &LABELS);
    scene.job_states.insert(1, None);
    scene.pass(secs(2000));
    assert_eq!(cancelled(&scene), 0, "GitHub says that the job waits by itself");
    scene.job_states.insert(1, Some(JobState::Queued));
    scene.pass(secs(1790));
    assert_eq!(cancelled(&scene), 0, "the time begins when GitHub lets the job go");
    scene.pass(secs(3600));
    assert!(cancelled(&scene) >= 1);
    let (state, text) = told(&scene).pop().unwrap();
    assert!(state == StatusState::Error && text.starts_with("muster had the run cancelled: no runner within 30m"), "{text}");
    scene.pass(secs(3600));
    assert!(cancelled(&scene) <= 3, "a run that GitHub does not cancel is left alone");
}

/// A process that has just started hears of a job, and GitHub's limit is spent. GitHub may have held the job back all the while.
///
/// Found by the simulator, seed 30000800.
#[test]
fn the_time_before_github_was_asked_does_not_count_for_a_cancellation() {
    let mut scene = full(&[(1800, LateAct::Cancel)]);
    let spent = |payer| GitHubLimit {
        payer,
        resource: Some(Resource::Core),
        of_configuration: false,
        remaining: 0,
        reset_after: secs(1700),
    };
    scene.feed(Input::GitHubLimit(spent(Payer::installation(&"main".into(), "acme"))));
    let again = JobMessage { receive_count: 2, ..message(1, JobState::Queued, &LABELS) };
    scene.feed(Input::Messages(vec![again]));
    scene.job_states.insert(1, Some(JobState::Queued));
    scene.pass(secs(3400));
    assert_eq!(cancelled(&scene), 0);
    scene.pass(secs(600));
    assert!(cancelled(&scene) >= 1);
}

/// GitHub tells of the job once more, as it does when it lets a job go. Nobody had told that the job waited, and GitHub did not answer.
///
/// Found by the simulator, seed 60002663.
#[test]
fn the_time_before_github_told_of_a_job_again_does_not_count_for_a_cancellation() {
    let mut scene = full(&[(1800, LateAct::Cancel)]);
    scene.queue(1, &LABELS);
    scene.pass(secs(1700));
    scene.feed(Input::Messages(vec![JobMessage { id: MessageId(77), ..message(1, JobState::Queued, &LABELS) }]));
    scene.job_states.insert(1, Some(JobState::Queued));
    scene.pass(secs(1790));
    assert_eq!(cancelled(&scene), 0);
    scene.pass(secs(3600));
    assert!(cancelled(&scene) >= 1);
}

#[test]
fn a_job_that_nobody_can_ask_about_is_never_cancelled() {
    let mut scene = full(&[(1800, LateAct::Cancel)]);
    scene.queue(1, &LABELS);
    scene.job_states.remove(&1);
    scene.pass(secs(7200));
    assert_eq!(cancelled(&scene), 0);
}

#[test]
fn without_the_permission_muster_says_so_and_gives_up() {
    let mut scene = full(&[(90, LateAct::Tell)]);
    scene.late = Some(Failure::new(FailureKind::Refused, "write a status: needs `Commit statuses: write`"));
    scene.queue(1, &LABELS);
    scene.pass(secs(3600));
    assert_eq!((told(&scene).len(), steps(&scene)), (3, vec![(LateAct::Tell, false)]), "{:?}", told(&scene));
    let explained = scene.core.seen().explain_job(JobId(1), scene.now).unwrap();
    assert!(explained.timeline.iter().any(|e| e.why.contains("needs `Commit statuses: write`")), "{explained:?}");
}

#[test]
fn a_repository_has_its_share_of_a_pool_and_others_have_the_rest() {
    let mut shared = linux();
    shared.spec.capacity.per_repository = Some(2);
    let mut scene = Scene::new([shared]);
    scene.pass(secs(35));
    scene.queue_of("acme/web", 5, &LABELS);
    scene.queue_of("acme/api", 1, &LABELS);
    scene.pass(secs(60));
    assert_eq!(scene.live("linux").len(), 3);
    let why = |scene: &Scene, job| {
        let seen = scene.core.seen();
        seen.jobs(scene.now).into_iter().find(|view| view.id == job).map(|view| (view.why, view.reason)).unwrap()
    };
    let (word, sentence) = why(&scene, 4);
    assert_eq!(word, "above_share");
    assert!(sentence.starts_with("acme/web has its share of pool linux: capacity.perRepository is 2"), "{sentence}");
    let first = scene.live("linux").remove(0);
    scene.start(0, &first);
    scene.pass(secs(30));
    assert_eq!(scene.live("linux").len(), 3, "the running job counts");
    let billed = scene.core.seen().totals(scene.now).billed;
    let paid: Vec<(&str, u64)> = billed.iter().map(|(used, billed)| (used.repo.as_str(), billed.instances)).collect();
    assert_eq!(paid, [("", 2), ("acme/web", 1)], "the repository pays for its job, and nobody for what has none");
    scene.finish(0, &first);
    scene.pass(secs(120));
    assert!(scene.live("linux").len() >= 3, "the end of one lets the next go");
    assert_ne!(why(&scene, 2).0, "above_share");
}

#[test]
fn a_message_that_is_read_again_does_not_reopen_a_closed_notice() {
    let mut scene = full(&[(600, LateAct::Tell)]);
    scene.queue(1, &LABELS);
    scene.pass(secs(700));
    let mut taken = message(1, JobState::InProgress, &LABELS);
    taken.event.queued_at = Some(Time::ZERO);
    scene.feed(Input::Messages(vec![taken.clone()]));
    scene.pass(secs(20));
    scene.feed(Input::Messages(vec![JobMessage { id: MessageId(999), receive_count: 2, ..taken }]));
    scene.pass(secs(60));
    assert_eq!(told(&scene).len(), 2, "{:?}", told(&scene));
}

/// Seed 20000600: a process told the commit, because it had not heard that the job had just started, and died.
#[test]
fn a_kept_message_that_comes_after_the_start_closes_what_an_earlier_process_told() {
    let mut scene = full(&[(600, LateAct::Tell)]);
    scene.pass(secs(700));
    let mut taken = message(1, JobState::InProgress, &LABELS);
    (taken.event.queued_at, taken.event.started_at) = (Some(Time::ZERO), Some(Time::ZERO + secs(500)));
    scene.feed(Input::Messages(vec![taken]));
    scene.pass(secs(60));
    assert_eq!(told(&scene).len(), 0, "{:?}", told(&scene));
    let mut kept = message(1, JobState::Queued, &LABELS);
    kept.event.queued_at = Some(Time::ZERO);
    scene.feed(Input::Messages(vec![JobMessage { receive_count: 2, ..kept }]));
    scene.pass(secs(60));
    assert_eq!(told(&scene).len(), 1, "{:?}", told(&scene));
    assert_eq!(told(&scene)[0].0, StatusState::Success);
}

#[test]
fn a_commit_is_not_told_that_no_job_waits_while_one_does() {
    let mut scene = full(&[(600, LateAct::Tell)]);
    scene.queue(1, &LABELS);
    scene.pass(secs(120));
    scene.queue(1, &LABELS);
    scene.pass(secs(500));
    assert_eq!(told(&scene).len(), 1, "the first job is late, the second is not");
    scene.cancel(1);
    scene.pass(secs(20));
    assert_eq!(told(&scene).len(), 1, "{:?}", told(&scene));
    scene.cancel(2);
    scene.pass(secs(20));
    assert_eq!(told(&scene).pop().map(|(state, _)| state), Some(StatusState::Success));
}

#[test]
fn a_later_attempt_that_starts_ends_the_notice_of_a_cancelled_run() {
    let mut scene = full(&[(600, LateAct::Cancel)]);
    scene.queue(1, &LABELS);
    scene.job_states.insert(1, Some(JobState::Queued));
    scene.pass(secs(800));
    assert_eq!(told(&scene).pop().map(|(state, _)| state), Some(StatusState::Error));
    scene.cancel(1);
    scene.pass(secs(60));
    let mut again = message(9, JobState::InProgress, &LABELS);
    again.event.attempt = Some(2);
    scene.feed(Input::Messages(vec![again]));
    scene.pass(secs(20));
    assert_eq!(told(&scene).pop().map(|(state, _)| state), Some(StatusState::Success));
}

#[test]
fn a_commit_is_told_no_word_of_aws_or_of_an_operator() {
    let mut scene = full(&[(600, LateAct::Tell)]);
    let why = "secret plans of account 123456789012".to_owned();
    scene.core.order(&Order::Pause("linux".into(), why), scene.now).unwrap();
    scene.queue(1, &LABELS);
    scene.pass(secs(700));
    assert_eq!(told(&scene)[0].1, "no runner within 10m: pool linux cannot launch for it now (paused)");
}

/// GitHub gives nothing to the pool's runners: the person who waits is told, although the jobs are held. Each trial of a job would
/// begin the job's time anew.
#[test]
fn jobs_of_a_pool_that_github_does_not_serve_are_told_and_trials_do_not_put_it_off() {
    let all = [(720, LateAct::Tell), (725, LateAct::OnDemand), (730, LateAct::Overflow), (735, LateAct::Cancel)];
    let mut second = pool("second", &LABELS, 20);
    second.spec.priority = 200;
    let mut scene = Scene::new([ladder(linux(), &all), second]);
    scene.pass(secs(60));
    for job in 0..3 {
        scene.job_states.insert(job, Some(JobState::Queued));
    }
    scene.queue(3, &LABELS);
    scene.pass(secs(700));
    let awaited = scene.core.seen().explain_job(JobId(0), scene.now).unwrap().awaits;
    assert!(awaited.iter().any(|awaited| awaited.what.contains("startWithin")), "{awaited:?}");
    assert_eq!(told(&scene), []);
    scene.pass(secs(60));
    let said = told(&scene);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].1.starts_with("no runner within 12m: pool linux is not served by GitHub: for "), "{said:?}");
    // The runners end, and one job after the other is tried.
    let mut tries = 0;
    for _ in 0..24 {
        scene.pass(secs(300));
        scene.end_drained();
        tries += scene.core.seen().jobs(scene.now).iter().filter(|job| job.why != "not_served").count();
    }
    assert!(tries > 0, "no job was tried");
    assert!(scene.live("second").is_empty(), "in an outage, the second pool would launch for every job");
    assert!(scene.runners.values().all(|runner| runner.market == Market::Spot));
    assert_eq!((cancelled(&scene), steps(&scene)), (0, vec![(LateAct::Tell, true)]));
    let explained = scene.core.seen().explain_job(JobId(0), scene.now).unwrap();
    assert!(explained.facts.iter().any(|fact| fact == "steps of startWithin taken: tell"), "{explained:?}");
}

/// Jobs of one run are held by its concurrency group, and nobody can help but the run itself.
#[test]
fn jobs_of_one_run_that_github_holds_are_not_told() {
    let mut scene = Scene::new([ladder(linux(), &[(600, LateAct::Tell)])]);
    scene.pass(secs(60));
    let of_one_run = (0..3).map(|job| {
        let mut m = message(job, JobState::Queued, &LABELS);
        m.event.run = RunId(7);
        m
    });
    scene.feed(Input::Messages(of_one_run.collect()));
    for _ in 0..12 {
        scene.pass(secs(300));
        scene.end_drained();
    }
    assert_eq!(told(&scene), []);
}

/// 403 and 422 are `Refused`, 404 is `NotFound`, and 409 is `Conflict`: `limits.rs` of the crate github has that table.
#[test]
fn a_notice_that_github_does_not_take_is_told_once_and_loses_nothing() {
    for kind in [FailureKind::Refused, FailureKind::NotFound, FailureKind::Conflict] {
        let mut scene = full(&[(90, LateAct::Tell)]);
        scene.late = Some(Failure::new(kind, "write a status on a commit of acme/web: GitHub said no"));
        scene.queue(1, &LABELS);
        scene.pass(secs(4 * 3600));
        assert_eq!((told(&scene).len(), steps(&scene)), (3, vec![(LateAct::Tell, false)]), "{kind:?}");
        let explained = scene.core.seen().explain_job(JobId(1), scene.now).unwrap();
        let said = explained.timeline.iter().filter(|e| e.why.contains("GitHub said no")).count();
        assert_eq!(said, 1, "{kind:?}: {explained:?}");
        // The job is served all the same, and its message goes.
        let queued = message(1, JobState::Queued, &LABELS).id;
        let instance = scene.live("linux").remove(0);
        scene.start(1, &instance);
        scene.pass(secs(60));
        let deletes = |e: &Action| matches!(e, Action::Messages(MessageOp::Delete, ids) if ids.contains(&queued));
        assert!(scene.done.iter().any(|(_, e)| deletes(&e.action)), "{kind:?}");
        assert_eq!(told(&scene).len(), 3, "{kind:?}: a notice that GitHub refuses has no last word");
    }
}

/// A run that is over (409) is no failure. A run that vanished (404) is told once and left, and a refusal is tried three times.
#[test]
fn a_cancellation_that_github_does_not_take_is_told_once_and_the_job_goes_on_waiting() {
    for (kind, asks, failed) in [
        (FailureKind::Refused, 3, vec![(LateAct::Cancel, false)]),
        (FailureKind::NotFound, 1, vec![(LateAct::Cancel, false)]),
        (FailureKind::Conflict, 1, vec![]),
    ] {
        let mut scene = full(&[(90, LateAct::Cancel)]);
        scene.late = Some(Failure::new(kind, "cancel run 1 of acme/web: GitHub said no"));
        scene.job_states.insert(1, Some(JobState::Queued));
        scene.queue(1, &LABELS);
        scene.pass(secs(4 * 3600));
        assert_eq!((cancelled(&scene), steps(&scene)), (asks, failed.clone()), "{kind:?}");
        let explained = scene.core.seen().explain_job(JobId(1), scene.now).unwrap();
        let said = explained.timeline.iter().filter(|e| e.why.contains("GitHub said no")).count();
        assert_eq!(said, failed.len(), "{kind:?}: {explained:?}");
        assert!(scene.core.seen().jobs(scene.now).iter().any(|job| job.id == 1), "{kind:?}: the job still waits");
    }
}

/// The jobs of a commit wait, are told, and wait no more. Then a later attempt of the commit waits, and GitHub's answer to that is lost.
#[test]
fn a_word_whose_answer_was_lost_is_taken_back_although_the_one_before_it_said_the_same() {
    let (key, t) = (NoticeKey { app: "main".into(), repo: "acme/web".into(), sha: SHA.into(), pool: None }, Time::from_millis);
    let word = |at: Time| NoticeText {
        state: StatusState::Pending,
        gist: "max",
        since: at,
        text: "full".into(),
        job: (RunId(1), JobId(1)),
    };
    let mut late = LateJobs::default();
    let waits = |late: &mut LateJobs, waiting: bool, now: Time| {
        let waiting: BTreeMap<_, _> = waiting.then(|| (key.clone(), word(now))).into_iter().collect();
        late.set_waiting(waiting.clone(), &waiting.keys().cloned().collect(), now);
        late.due(now).into_iter().map(|(_, text)| text).next()
    };
    for (waiting, at) in [(true, 1_000), (false, 2_000)] {
        let text = waits(&mut late, waiting, t(at)).expect("it is to be told");
        late.asked(&key, t(at));
        late.took(&key, text, t(at));
    }
    waits(&mut late, true, t(3_000)).expect("it is to be told again");
    late.asked(&key, t(3_000));
    late.not_taken(&key, false, true, t(3_500));
    let last = waits(&mut late, false, t(600_000)).expect("GitHub may show that jobs wait");
    assert_eq!(last.state, StatusState::Success);
}

/// GitHub shows the newest status of a context, whichever App wrote it. Found by seeds 60001024, 60000751 and 60002472.
#[test]
fn an_app_that_no_longer_writes_a_notice_does_not_say_that_its_jobs_wait_no_more() {
    let key = |app: &str| NoticeKey { app: app.into(), repo: "acme/web".into(), sha: SHA.into(), pool: None };
    let (mut late, t) = (LateJobs::default(), Time::from_millis);
    let word = |since: Time| NoticeText {
        state: StatusState::Pending,
        gist: "unmatched",
        since,
        text: "no pool takes it".into(),
        job: (RunId(1), JobId(1)),
    };
    let told = |late: &mut LateJobs, app: Option<&str>, now: Time| {
        let waiting: BTreeMap<_, _> = app.map(|app| (key(app), word(t(500)))).into_iter().collect();
        late.set_waiting(waiting.clone(), &waiting.keys().cloned().collect(), now);
        let due = late.due(now);
        for (key, text) in &due {
            late.asked(key, now);
            late.took(key, text.clone(), now);
        }
        due.into_iter().map(|(key, text)| (key.app.to_string(), text.state)).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut late, Some("main"), t(1_000)), [("main".to_owned(), StatusState::Pending)]);
    assert_eq!(told(&mut late, Some("second"), t(2_000)), [], "the commit says so already");
    assert_eq!(told(&mut late, None, t(3_000)), [("second".to_owned(), StatusState::Success)]);
}
