//! What ended the jobs that did not succeed, and what runs again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use muster_reconciler::effect::{Action, Effect, Input, JobMessage, MessageOp};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{InstanceId, JobId, MessageId, RunId};
use muster_reconciler::journal::What;
use muster_reconciler::manifest::{RerunMarket, RunnerPool, Span};
use muster_reconciler::market::Market;
use muster_reconciler::reason::{OrderAnswer, OrderRefusal};
use muster_reconciler::rerun::{Again, EndedJob, RunSighting};
use muster_reconciler::steer::Order;
use muster_reconciler::verdict::{Cause, Doubtful, JobVerdict, StepEnd, StepKind};

#[path = "cases/asked.rs"]
mod asked;
#[path = "cases/own_word.rs"]
mod own_word;
#[path = "cases/registration.rs"]
mod registration;
mod scene;
use scene::{Scene, linux, message, secs};

/// The steps of a job that was cut short: the running step is cancelled, and what cleans up is skipped.
fn cut_short() -> Vec<(StepKind, StepEnd)> {
    vec![(StepKind::Main, StepEnd::Success), (StepKind::Main, StepEnd::Cancelled), (StepKind::Post, StepEnd::Skipped)]
}

fn reruns() -> RunnerPool {
    let mut pool = linux();
    pool.spec.rerun.causes = BTreeSet::from([Cause::Interruption, Cause::Lost]);
    pool
}

/// Job 0 runs on the only instance. GitHub would answer that the job is over and was cut short.
fn running(pool: RunnerPool) -> (Scene, InstanceId) {
    let mut scene = Scene::new([pool]);
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let instance = scene.live("linux").remove(0);
    scene.start(0, &instance);
    scene.pass(secs(5));
    scene.steps = cut_short();
    (scene, instance)
}

fn notice(scene: &mut Scene, instance: &InstanceId) {
    scene.feed(Input::Ec2(Ec2Event { instance: instance.clone(), kind: Ec2EventKind::SpotInterruption }));
}

/// Tells the end of job 0, with a message of this number.
fn end(scene: &mut Scene, instance: &InstanceId, conclusion: &str, id: u64) {
    let mut over = message(0, JobState::Completed, &["self-hosted", "linux"]);
    (over.event.runner, over.event.runner_id) = (Some(format!("c.linux.{instance}")), Some(scene.id(instance)));
    over.event.conclusion = Some(conclusion.into());
    scene.job_states.insert(0, Some(JobState::Completed));
    scene.feed(Input::Messages(vec![JobMessage { id: MessageId(id), ..over }]));
}

/// The instance ends, for this reason.
fn terminated(scene: &mut Scene, instance: &InstanceId, why: &str) {
    let lost = scene.runners.get_mut(instance).unwrap();
    (lost.state, lost.seat, lost.why) = (InstanceState::Terminated, None, Some(why.into()));
}

fn verdicts(scene: &Scene) -> Vec<JobVerdict> {
    let told = |f: &Fact| if let Fact::JobJudged { verdict, .. } = f { Some(*verdict) } else { None };
    scene.facts.iter().filter_map(told).collect()
}

fn results(scene: &Scene) -> Vec<&'static str> {
    let told = |f: &Fact| if let Fact::Rerun { result, .. } = f { Some(*result) } else { None };
    scene.facts.iter().filter_map(told).collect()
}

fn asked(scene: &Scene) -> Vec<Again> {
    let again = |e: &Effect| if let Action::Rerun { again, .. } = &e.action { Some(again.clone()) } else { None };
    scene.done.iter().filter_map(|(_, e)| again(e)).collect()
}

fn count(scene: &Scene, is: impl Fn(&Action) -> bool) -> usize {
    scene.done.iter().filter(|(_, e)| is(&e.action)).count()
}

fn deleted(scene: &Scene, id: u64) -> bool {
    let of = |a: &Action| matches!(a, Action::Messages(MessageOp::Delete, ids) if ids.contains(&MessageId(id)));
    count(scene, of) > 0
}

fn over(jobs: &[(u64, &str)]) -> Option<RunSighting> {
    let job = |(job, conclusion): &(u64, &str)| EndedJob {
        job: JobId(*job),
        name: format!("job {job}"),
        conclusion: Some((*conclusion).to_owned()),
    };
    Some(RunSighting { over: true, attempt: 1, jobs: jobs.iter().map(job).collect() })
}

#[test]
fn a_job_that_fails_by_itself_is_its_own_and_costs_no_question() {
    let (mut scene, instance) = running(reruns());
    end(&mut scene, &instance, "failure", 77);
    assert!(!deleted(&scene, 77), "its message stays until the verdict");
    let facts = scene.core.seen().explain_job(JobId(0), scene.now).unwrap().facts;
    assert!(facts.iter().any(|fact| fact.contains("to learn what ended the job")), "{facts:?}");
    terminated(&mut scene, &instance, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
    scene.pass(secs(120));
    assert_eq!(verdicts(&scene), [JobVerdict::Own]);
    assert!(
        said(&scene).ends_with(
            "nothing speaks against its machine; its instance would not tell a full disk or a crash of its \
                                     runner, because the pool has no bootstrap.reportStages"
        ),
        "{}",
        said(&scene)
    );
    assert_eq!(count(&scene, |a| matches!(a, Action::CheckJob { .. } | Action::LookAtRun { .. } | Action::Rerun { .. })), 0);
    assert!(deleted(&scene, 77));
}

/// The verdict's sentence.
fn said(scene: &Scene) -> String {
    let timeline = scene.core.seen().explain_job(JobId(0), scene.now).unwrap().timeline;
    timeline.into_iter().rfind(|event| event.what == What::JobJudged).map_or_else(String::new, |event| event.why)
}

#[test]
fn a_job_that_github_ended_by_its_timeout_is_its_own_unless_its_machine_went() {
    let (mut scene, instance) = running(reruns());
    end(&mut scene, &instance, "timed_out", 77);
    terminated(&mut scene, &instance, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
    scene.pass(secs(120));
    assert_eq!(verdicts(&scene), [JobVerdict::Own]);
    let (mut scene, instance) = running(reruns());
    scene.run = over(&[(0, "timed_out")]);
    notice(&mut scene, &instance);
    end(&mut scene, &instance, "timed_out", 77);
    scene.pass(secs(120));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Interruption)]);
    assert_eq!(asked(&scene), [Again::Failed]);
}

#[test]
fn a_job_that_succeeds_has_no_case() {
    let (mut scene, instance) = running(reruns());
    notice(&mut scene, &instance);
    end(&mut scene, &instance, "success", 77);
    assert!(deleted(&scene, 77));
    scene.pass(secs(1000));
    assert_eq!(verdicts(&scene), []);
}

#[test]
fn what_the_machine_s_end_says_is_the_cause() {
    for (why, cause) in [
        ("Server.SpotInstanceTermination", Cause::Interruption),
        ("Server.SpotInstanceShutdown: Server.SpotInstanceShutdown", Cause::Interruption),
        ("Server.InternalError", Cause::Ec2),
        ("Client.UserInitiatedShutdown: User initiated (2026-12-01)", Cause::Terminated),
    ] {
        let (mut scene, instance) = running(linux());
        // The notice was lost. The end is told late, or early.
        end(&mut scene, &instance, "cancelled", 77);
        terminated(&mut scene, &instance, why);
        scene.pass(secs(120));
        assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(cause)], "{why}");
        assert_eq!(count(&scene, |a| matches!(a, Action::CheckJob { .. })), 1, "{why}");
    }
}

#[test]
fn a_runner_that_is_gone_before_its_job_s_end_is_told_is_lost() {
    let (mut scene, instance) = running(linux());
    terminated(&mut scene, &instance, "");
    scene.pass(secs(600));
    end(&mut scene, &instance, "failure", 77);
    scene.pass(secs(60));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Lost)]);
}

/// EC2 says of every termination that a user initiated it. Found by striking a machine while the webhook of its job's end is lost.
#[test]
fn a_machine_that_muster_ended_is_nobody_else_s_doing_when_the_job_s_end_is_told_late() {
    let mut pool = reruns();
    pool.spec.runner.max_lifetime = Span::secs(300);
    let (mut scene, instance) = running(pool);
    scene.pass(secs(400));
    assert_eq!(count(&scene, |a| matches!(a, Action::Terminate(_))), 1);
    terminated(&mut scene, &instance, "Client.UserInitiatedShutdown: User initiated (2026-12-01)");
    scene.pass(secs(600));
    end(&mut scene, &instance, "failure", 77);
    scene.pass(secs(60));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Muster)]);
}

#[test]
fn a_frozen_machine_is_told_by_its_silence() {
    let (mut scene, instance) = running(linux());
    scene.runners.get_mut(&instance).unwrap().seat = Some((false, false));
    scene.pass(secs(400));
    end(&mut scene, &instance, "failure", 77);
    scene.pass(secs(60));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Lost)]);
}

#[test]
fn the_steps_decide_and_muster_says_when_it_cannot_tell() {
    use StepEnd::{Cancelled, Failure as Failed, Skipped, Success, Unfinished};
    use StepKind::{Last, Main, Post};
    let cause = Cause::Interruption;
    let unclear = JobVerdict::Unknown(Doubtful::Steps(cause));
    for (steps, verdict) in [
        (cut_short(), JobVerdict::Infrastructure(cause)),
        (vec![], JobVerdict::Infrastructure(cause)),
        (vec![(Main, Success), (Main, Unfinished)], JobVerdict::Infrastructure(cause)),
        (vec![(Main, Cancelled), (Post, Skipped), (Last, Success)], JobVerdict::Infrastructure(cause)),
        // A person cancelled it: its cleaning up ran.
        (vec![(Main, Cancelled), (Post, Success), (Last, Success)], JobVerdict::Own),
        (vec![(Main, Failed), (Main, Skipped), (Post, Success), (Last, Success)], JobVerdict::Own),
        (vec![(Main, Failed), (Last, Success)], JobVerdict::Own),
        (vec![(Main, Failed), (Post, Skipped)], unclear),
        (vec![(Main, Cancelled), (Last, Success)], unclear),
        (vec![(Main, Success), (Last, Success)], unclear),
    ] {
        let (mut scene, instance) = running(linux());
        scene.steps = steps.clone();
        notice(&mut scene, &instance);
        end(&mut scene, &instance, "cancelled", 77);
        scene.pass(secs(60));
        assert_eq!(verdicts(&scene), [verdict], "{steps:?}");
    }
}

#[test]
fn a_machine_of_which_nobody_tells_is_unknown_after_a_while() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    let mut over = message(0, JobState::Completed, &["self-hosted", "linux"]);
    (over.event.runner, over.event.conclusion) = (Some("c.linux.i-00000000000000009".into()), Some("failure".into()));
    scene.feed(Input::Messages(vec![over]));
    scene.pass(secs(800));
    assert_eq!(verdicts(&scene), []);
    scene.pass(secs(120));
    assert_eq!(verdicts(&scene), [JobVerdict::Unknown(Doubtful::Machine)]);
}

#[test]
fn a_lost_job_runs_again_once_its_run_is_over_and_only_once() {
    let (mut scene, instance) = running(reruns());
    scene.run = Some(RunSighting { over: false, attempt: 1, jobs: vec![] });
    notice(&mut scene, &instance);
    end(&mut scene, &instance, "cancelled", 77);
    terminated(&mut scene, &instance, "Server.SpotInstanceTermination");
    scene.pass(secs(300));
    assert_eq!((asked(&scene), deleted(&scene, 77)), (vec![], false), "the run goes on, and the message stays");
    let says = |scene: &Scene| scene.core.seen().explain_job(JobId(0), scene.now).unwrap().facts;
    let waits = "lost: spot took its instance back; the job runs again once GitHub says that the whole run is over, and 55m";
    assert!(says(&scene).iter().any(|fact| fact.starts_with(waits)), "{:?}", says(&scene));
    scene.run = over(&[(0, "cancelled"), (9, "success")]);
    scene.pass(secs(400));
    assert_eq!((asked(&scene), deleted(&scene, 77)), (vec![Again::Failed], true));
    // The same end is told once more.
    end(&mut scene, &instance, "cancelled", 78);
    scene.pass(secs(2000));
    assert_eq!((asked(&scene).len(), results(&scene), deleted(&scene, 78)), (1, vec!["asked"], true));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Interruption)]);
}

/// Jobs 0 and 1 run on an instance each, and belong to run 9. GitHub would answer that they were cut short.
fn two_of_a_run() -> (Scene, Vec<InstanceId>) {
    let mut scene = Scene::new([reruns()]);
    scene.pass(secs(35));
    scene.steps = cut_short();
    scene.queue(2, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let instances = scene.live("linux");
    for (job, instance) in instances.iter().enumerate() {
        scene.start(job as u64, instance);
    }
    scene.pass(secs(5));
    scene.run = over(&[(0, "cancelled"), (1, "failure")]);
    (scene, instances)
}

/// Spot takes the instance of a job of run 9 back, and the job's end is told.
fn lose(scene: &mut Scene, job: u64, instance: &InstanceId) {
    notice(scene, instance);
    let mut told = message(job, JobState::Completed, &["self-hosted", "linux"]);
    (told.event.runner, told.event.runner_id) = (Some(format!("c.linux.{instance}")), Some(scene.id(instance)));
    (told.event.conclusion, told.event.run) = (Some("failure".into()), RunId(9));
    scene.job_states.insert(job, Some(JobState::Completed));
    scene.feed(Input::Messages(vec![told]));
}

/// Both jobs of a run go down with their machines, one after the other. The run gets one order.
#[test]
fn two_lost_jobs_of_a_run_are_one_order() {
    let (mut scene, instances) = two_of_a_run();
    for (job, instance) in instances.iter().enumerate() {
        lose(&mut scene, job as u64, instance);
        scene.pass(secs(7));
    }
    scene.pass(secs(600));
    assert_eq!((asked(&scene), results(&scene)), (vec![Again::Failed], vec!["asked", "asked"]));
}

/// GitHub has just not answered how a run stands. Another job of the run is no reason to ask sooner. Found by the day with 10,000 jobs.
#[test]
fn a_job_that_is_found_lost_later_asks_no_sooner_about_its_run() {
    let (mut scene, instances) = two_of_a_run();
    scene.run_untold = Some(Failure::new(FailureKind::Unavailable, "503"));
    lose(&mut scene, 0, &instances[0]);
    scene.pass(secs(20));
    lose(&mut scene, 1, &instances[1]);
    scene.pass(secs(120));
    let looks = scene.done.iter().filter(|(_, e)| matches!(e.action, Action::LookAtRun { .. }));
    let looks: Vec<_> = looks.map(|(at, _)| *at).collect();
    assert!(looks.len() >= 2 && looks.windows(2).all(|two| two[1].since(two[0]) >= secs(60)), "{looks:?}");
    scene.run_untold = None;
    scene.pass(secs(600));
    assert_eq!((asked(&scene), results(&scene)), (vec![Again::Failed], vec!["asked", "asked"]));
}

#[test]
fn every_message_of_the_end_stays_until_the_case_is_closed() {
    let (mut scene, instance) = running(reruns());
    scene.run = Some(RunSighting { over: false, attempt: 1, jobs: vec![] });
    notice(&mut scene, &instance);
    end(&mut scene, &instance, "cancelled", 77);
    end(&mut scene, &instance, "cancelled", 78);
    scene.pass(secs(120));
    assert!(!deleted(&scene, 77) && !deleted(&scene, 78));
    scene.run = over(&[(0, "cancelled")]);
    scene.pass(secs(600));
    assert_eq!((deleted(&scene, 77), deleted(&scene, 78), asked(&scene).len()), (true, true, 1));
}

#[test]
fn without_the_cause_in_the_manifest_nothing_runs_again() {
    let (mut scene, instance) = running(reruns());
    end(&mut scene, &instance, "cancelled", 77);
    terminated(&mut scene, &instance, "Server.InternalError");
    scene.run = over(&[(0, "cancelled")]);
    scene.pass(secs(120));
    assert_eq!((verdicts(&scene), asked(&scene)), (vec![JobVerdict::Infrastructure(Cause::Ec2)], vec![]));
    assert!(deleted(&scene, 77));
}

#[test]
fn a_run_with_a_newer_attempt_is_left_alone() {
    let (mut scene, instance) = running(reruns());
    notice(&mut scene, &instance);
    scene.run = Some(RunSighting { over: false, attempt: 2, jobs: vec![] });
    end(&mut scene, &instance, "cancelled", 77);
    scene.pass(secs(300));
    assert_eq!((asked(&scene), results(&scene)), (vec![], vec!["newer_attempt"]));
    assert!(deleted(&scene, 77));
}

#[test]
fn the_next_process_goes_on_where_one_died() {
    let (mut scene, instance) = running(reruns());
    end(&mut scene, &instance, "cancelled", 77);
    terminated(&mut scene, &instance, "Server.SpotInstanceTermination");
    // The process dies at once. SQS hands the message out again.
    let now = scene.now;
    let mut next = Scene::new([reruns()]);
    (next.runners, next.job_states, next.steps, next.now) = (scene.runners, scene.job_states, scene.steps, now);
    next.run = over(&[(0, "cancelled")]);
    let mut told = message(0, JobState::Completed, &["self-hosted", "linux"]);
    (told.event.runner, told.event.conclusion) = (Some(format!("c.linux.{instance}")), Some("cancelled".into()));
    next.feed(Input::Messages(vec![JobMessage { id: MessageId(1), receive_count: 2, event: told.event }]));
    next.pass(secs(300));
    assert_eq!(asked(&next), [Again::Failed]);
}

#[test]
fn a_rerun_without_an_answer_is_looked_at_before_it_is_asked_for_again() {
    let (mut scene, instance) = running(reruns());
    notice(&mut scene, &instance);
    scene.run = over(&[(0, "cancelled")]);
    scene.rerun = Some(Failure::new(FailureKind::Ambiguous, "timed out"));
    end(&mut scene, &instance, "cancelled", 77);
    scene.pass(secs(40));
    assert_eq!(asked(&scene).len(), 1);
    // GitHub had taken it.
    scene.run = Some(RunSighting { over: false, attempt: 2, jobs: vec![] });
    scene.pass(secs(300));
    assert_eq!((asked(&scene).len(), results(&scene)), (1, vec!["newer_attempt"]));
}

#[test]
fn a_refusal_is_told_after_a_few_tries_and_a_run_that_is_gone_or_late_at_once() {
    let lost = || {
        let (mut scene, instance) = running(reruns());
        notice(&mut scene, &instance);
        end(&mut scene, &instance, "cancelled", 77);
        scene
    };
    let mut refused = lost();
    refused.run = over(&[(0, "cancelled")]);
    refused.rerun = Some(Failure::new(FailureKind::Refused, "rerun jobs of run 0: needs `Actions: write`"));
    refused.pass(secs(1000));
    assert_eq!((asked(&refused).len(), results(&refused)), (2, vec!["refused"]));
    let explained = refused.core.seen().explain_job(JobId(0), refused.now).unwrap();
    assert!(explained.timeline.iter().any(|e| e.why.contains("not run again: rerun jobs of run 0: needs `Actions: write`")));
    let mut gone = lost();
    gone.pass(secs(90));
    assert_eq!(results(&gone), ["gone"]);
    let mut late = lost();
    late.run = Some(RunSighting { over: false, attempt: 1, jobs: vec![] });
    late.pass(secs(3700));
    assert_eq!((results(&late), deleted(&late, 77)), (vec!["late"], true));
}

#[test]
fn a_second_attempt_is_not_followed_up_and_its_instance_is_bought_on_demand() {
    let mut pool = reruns();
    pool.spec.rerun.market = RerunMarket::OnDemand;
    let mut scene = Scene::new([pool]);
    scene.pass(secs(35));
    let mut queued = message(5, JobState::Queued, &["self-hosted", "linux"]);
    queued.event.attempt = Some(2);
    let first = message(6, JobState::Queued, &["self-hosted", "linux"]);
    scene.feed(Input::Messages(vec![queued, first]));
    scene.pass(secs(30));
    let launches: Vec<(u32, Market)> = scene
        .done
        .iter()
        .filter_map(|(_, e)| if let Action::Launch(launch) = &e.action { Some((launch.count, launch.market)) } else { None })
        .collect();
    assert_eq!(launches, [(1, Market::OnDemand), (1, Market::Spot)]);
}

/// Job 0 was lost for a cause that the manifest does not list.
fn lost_for_good() -> Scene {
    let (mut scene, instance) = running(reruns());
    end(&mut scene, &instance, "cancelled", 77);
    terminated(&mut scene, &instance, "Server.InternalError");
    scene.pass(secs(120));
    scene
}

#[test]
fn an_operator_has_a_lost_job_run_again_once() {
    let mut scene = lost_for_good();
    let told = |scene: &Scene| scene.core.seen().explain_job(JobId(0), scene.now).unwrap();
    let pool = |scene: &Scene| scene.core.seen().explain_pool(&"linux".into(), scene.now).unwrap().lost;
    assert_eq!((told(&scene).lost, pool(&scene), asked(&scene).len()), (1, 1, 0));
    let order = Order::RerunJob(JobId(0), "a bad rack".into());
    assert_eq!(scene.core.order(&order, scene.now), Ok(OrderAnswer::JobsAgain { jobs: 1 }));
    assert_eq!(scene.core.order(&order, scene.now), Ok(OrderAnswer::JobAgainBefore(JobId(0))));
    // GitHub takes the order only once the run is over.
    scene.run = Some(RunSighting { over: false, attempt: 1, jobs: vec![] });
    scene.pass(secs(100));
    assert_eq!((asked(&scene).len(), told(&scene).lost), (0, 0));
    scene.run = over(&[(0, "cancelled")]);
    scene.pass(secs(400));
    assert_eq!((asked(&scene), results(&scene)), (vec![Again::Failed], vec!["asked"]));
    assert_eq!(scene.core.order(&order, scene.now), Err(OrderRefusal::NotLost(JobId(0))));
    let nothing = scene.core.order(&Order::RerunPool("linux".into(), String::new()), scene.now);
    assert_eq!(nothing, Err(OrderRefusal::NothingLost("linux".into())));
    let timeline = told(&scene).timeline;
    assert!(timeline.iter().any(|e| e.why.contains("a bad rack")), "{timeline:?}");
}

#[test]
fn an_order_begins_no_second_attempt_beside_somebody_else_s() {
    let mut scene = lost_for_good();
    scene.run = Some(RunSighting { over: true, attempt: 2, jobs: vec![] });
    let pool = Order::RerunPool("linux".into(), String::new());
    assert_eq!(scene.core.order(&pool, scene.now), Ok(OrderAnswer::JobsAgain { jobs: 1 }));
    scene.pass(secs(300));
    assert_eq!((asked(&scene), results(&scene)), (vec![], vec!["newer_attempt"]));
    assert_eq!(scene.core.order(&pool, scene.now), Err(OrderRefusal::NothingLost("linux".into())));
}
