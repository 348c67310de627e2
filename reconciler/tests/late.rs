//! Jobs that no runner takes in time, and repositories that have their share.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::effect::{Action, Input, JobMessage, MessageOp};
use muster_reconciler::event::{InstanceState, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{JobId, MessageId, PoolName};
use muster_reconciler::late::StatusState;
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
