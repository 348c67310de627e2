//! The story of a job, for its trace. The story is told once, when the job is over, with what is known by then.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::effect::{Input, JobMessage};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState, JobAbout, JobEvent, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{InstanceId, JobId, MessageId, RunId, RunnerId};
use muster_reconciler::past::{End, JobPast};
use muster_reconciler::stage::Stage;

mod scene;
use scene::{Scene, linux, message, secs};

/// Tells the controller of an event of job 0.
fn heard(scene: &mut Scene, state: JobState, instance: Option<&InstanceId>, conclusion: Option<&str>) {
    scene.jobs += 1;
    let event = JobEvent {
        job: JobId(0),
        run: RunId(0),
        state,
        waiting: false,
        attempt: None,
        about: JobAbout::default(),
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: vec!["self-hosted".into(), "linux".into()],
        runner: instance.map(|id| format!("c.linux.{id}")),
        runner_id: instance.map(|id| if scene.runners.contains_key(id) { scene.id(id) } else { RunnerId(7) }),
        conclusion: conclusion.map(str::to_owned),
        queued_at: None,
        started_at: None,
    };
    let id = MessageId(1000 + scene.jobs);
    scene.feed(Input::Messages(vec![JobMessage { id, receive_count: 1, event }]));
}

fn told(scene: &Scene) -> Vec<JobPast> {
    let past = |f: &Fact| if let Fact::JobEnded(past) = f { Some(JobPast::clone(past)) } else { None };
    scene.facts.iter().filter_map(past).collect()
}

/// A job that runs on the only instance.
fn running() -> (Scene, InstanceId) {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let instance = scene.live("linux").remove(0);
    scene.runners.get_mut(&instance).unwrap().seat = Some((true, true));
    heard(&mut scene, JobState::InProgress, Some(&instance), None);
    scene.pass(secs(5));
    (scene, instance)
}

/// EC2 shows the instance as terminated, and GitHub forgets the runner.
fn gone(scene: &mut Scene, instance: &InstanceId) {
    let lost = scene.runners.get_mut(instance).unwrap();
    (lost.state, lost.seat) = (InstanceState::Terminated, None);
    scene.pass(secs(600));
}

#[test]
fn it_is_told_once_with_the_runner_however_often_the_end_is_heard() {
    let (mut scene, instance) = running();
    let started = scene.now - secs(5);
    assert_eq!(told(&scene), []);
    for _ in 0..2 {
        heard(&mut scene, JobState::Completed, Some(&instance), Some("success"));
        heard(&mut scene, JobState::Queued, None, None);
    }
    scene.pass(secs(60));
    let all = told(&scene);
    assert_eq!(all.len(), 1, "{all:?}");
    let past = &all[0];
    let by = past.taken_by.as_ref().unwrap();
    assert_eq!((past.started, past.end, past.pool.as_ref().unwrap().as_str()), (Some(started), End::Told, "linux"));
    assert_eq!((&by.instance, past.api_url.as_deref()), (&instance, Some("https://api.github.com")));
    let stages: Vec<Stage> = by.reached.iter().map(|(stage, _)| *stage).collect();
    assert_eq!(stages, [Stage::Launched, Stage::Configured, Stage::Online]);
    assert!(past.heard < by.asked.unwrap() && by.reached.iter().all(|(_, at)| *at >= by.asked.unwrap() && *at <= started));
}

#[test]
fn a_job_that_spot_took_and_one_whose_runner_is_forgotten_are_told_as_such() {
    let (mut scene, instance) = running();
    scene.feed(Input::Ec2(Ec2Event { instance: instance.clone(), kind: Ec2EventKind::SpotInterruption }));
    heard(&mut scene, JobState::Completed, Some(&instance), Some("failure"));
    assert_eq!(told(&scene).pop().map(|past| past.end), Some(End::Interrupted));

    for (conclusion, end) in [("failure", End::Lost), ("success", End::Told)] {
        let (mut scene, instance) = running();
        gone(&mut scene, &instance);
        assert!(told(&scene).is_empty() && !scene.core.seen().runners(scene.now).iter().any(|r| r.instance == instance.as_str()));
        heard(&mut scene, JobState::Completed, Some(&instance), Some(conclusion));
        let past = told(&scene).pop().unwrap();
        assert_eq!(past.end, end, "{conclusion}");
        assert!(
            past.taken_by.is_some_and(|b| b.instance == instance && !b.reached.is_empty()),
            "the job's instance is remembered"
        );
    }
}

#[test]
fn what_is_never_heard_to_end_is_told_when_it_is_given_up() {
    let mut scene = Scene::new([linux()]);
    scene.pool("linux").spec.capacity.max = 0;
    scene.take_spec();
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(25 * 3600));
    let all = told(&scene);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].end, all[0].started, all[0].taken_by.is_none()), (End::Expired, None, true));
}

#[test]
fn a_successor_tells_of_jobs_on_runners_of_the_cluster_only() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    heard(&mut scene, JobState::Completed, None, Some("cancelled"));
    assert_eq!(told(&scene), [], "this process knew nothing of the job");
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    heard(&mut scene, JobState::Completed, Some(&"i-00000000000000007".into()), Some("success"));
    assert_eq!(told(&scene).len(), 1);
}

#[test]
fn a_job_that_is_over_still_tells_whose_it_was_and_how_long_its_like_take() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    let instance = scene.live("linux").remove(0);
    scene.start(0, &instance);
    scene.pass(secs(600));
    let of_job = |scene: &Scene| scene.core.seen().explain_job(JobId(0), scene.now).unwrap().facts;
    assert!(of_job(&scene).contains(&"of acme/web, run 0".to_owned()), "{:?}", of_job(&scene));
    let of_pool = |scene: &Scene| scene.core.seen().explain_pool(&"linux".into(), scene.now).unwrap().facts;
    assert!(!of_pool(&scene).iter().any(|fact| fact.contains("succeeded")), "{:?}", of_pool(&scene));
    let mut over = message(0, JobState::Completed, &["self-hosted"]);
    (over.event.about.workflow, over.event.about.name, over.event.about.branch) = ("CI".into(), "build".into(), "main".into());
    over.event.conclusion = Some("success".into());
    scene.feed(Input::Messages(vec![over]));
    scene.pass(secs(5));
    let facts = of_job(&scene);
    assert_eq!(facts, ["\"CI / build\" of acme/web, branch \"main\", run 0"]);
    let lengths = "jobs that succeeded within the last day: half ran at most 11m 47s, 9 of 10 at most 11m 47s (1 job)";
    assert!(of_pool(&scene).iter().any(|fact| fact == lengths), "{:?}", of_pool(&scene));
}
