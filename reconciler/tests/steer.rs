//! An operator's orders over time. During a pause nothing is launched, and a drain ends no runner that may have a job.
#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use muster_reconciler::effect::{Action, Input};
use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, MessageId, PoolName, RunId};
use muster_reconciler::journal::What;
use muster_reconciler::reason::{AwaitedReason, Blocked, Code, OrderAnswer, OrderRefusal, Standing};
use muster_reconciler::stage::Stage;
use muster_reconciler::steer::{Order, Pause};
use muster_reconciler::view::{State, Switch};
use scene::{Scene, linux, secs};

const LABELS: [&str; 2] = ["self-hosted", "linux"];

fn pool() -> PoolName {
    "linux".into()
}

impl Scene {
    fn order(&mut self, order: Order) -> Result<OrderAnswer, OrderRefusal> {
        let said = self.core.order(&order, self.now);
        self.pass(secs(2));
        said
    }

    fn launches(&self) -> usize {
        self.done.iter().filter(|(_, e)| matches!(e.action, Action::Launch(_))).count()
    }

    /// Instances that got the drain tag.
    fn drained(&self) -> Vec<InstanceId> {
        let ids = self.done.iter().filter_map(|(_, e)| if let Action::Drain(ids) = &e.action { Some(ids.clone()) } else { None });
        ids.flatten().collect()
    }

    fn terminated(&self) -> usize {
        self.done.iter().filter(|(_, e)| matches!(e.action, Action::Terminate(_))).count()
    }

    /// An event tells that the job runs on this instance.
    fn starts(&mut self, job: u64, id: &InstanceId) {
        let event = JobEvent {
            job: JobId(job),
            run: RunId(job),
            state: JobState::InProgress,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: LABELS.map(str::to_owned).to_vec(),
            runner: Some(format!("c.linux.{id}")),
            runner_id: Some(self.id(id)),
            conclusion: None,
            queued_at: None,
            started_at: None,
        };
        self.runners.get_mut(id).unwrap().seat = Some((true, true));
        let message = muster_reconciler::effect::JobMessage { id: MessageId(1000 + job), receive_count: 1, event };
        self.feed(Input::Messages(vec![message]));
    }
}

#[test]
fn a_paused_pool_launches_nothing_and_says_so_until_it_is_resumed() {
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    let pause = Pause { since: scene.now, why: "a bad image".into() };
    scene.order(Order::Pause(pool(), "a bad image".into())).unwrap();
    scene.queue(3, &LABELS);
    scene.pass(secs(120));
    assert_eq!(scene.launches(), 0);
    let (job, pools) = (scene.core.seen().jobs(scene.now)[0].clone(), scene.core.seen().pools(scene.now));
    let paused = Code::Blocked(Blocked::Paused(pause));
    assert_eq!((job.why.as_str(), &job.code), ("paused", &paused));
    assert_eq!((pools[0].paused, &pools[0].code), (true, &paused));
    scene.order(Order::Resume(pool())).unwrap();
    scene.pass(secs(5));
    assert_eq!((scene.launches(), scene.live("linux").len()), (1, 3));
    let what: Vec<What> =
        scene.core.seen().explain_job(JobId(0), scene.now).unwrap().timeline.into_iter().map(|e| e.what).collect();
    assert_eq!(
        what,
        [What::JobQueued, What::Resumed, What::Launch],
        "the job's timeline has what its pool did while the job waited"
    );
}

#[test]
fn a_pause_keeps_the_runners_that_there_are_and_no_warm_floor() {
    let mut warm = linux();
    warm.spec.capacity.idle = 2;
    let mut scene = Scene::new([warm]);
    scene.pass(secs(60));
    assert_eq!(scene.live("linux").len(), 2);
    scene.order(Order::Pause(pool(), String::new())).unwrap();
    let lost = scene.live("linux")[0].clone();
    scene.runners.get_mut(&lost).unwrap().state = muster_reconciler::event::InstanceState::Terminated;
    scene.pass(secs(300));
    assert_eq!(
        (scene.live("linux").len(), scene.launches(), scene.drained().len()),
        (1, 1, 0),
        "one runner stays, and none is launched or drained"
    );
}

#[test]
fn a_pause_is_taken_over_from_an_earlier_process() {
    let mut scene = Scene::new([]);
    let pause = Pause { since: scene.now, why: "by my predecessor".into() };
    scene.core.set_paused([(pool(), pause.clone())].into());
    scene.spec.pools.insert(pool(), linux());
    scene.take_spec();
    scene.queue(1, &LABELS);
    scene.pass(secs(120));
    assert_eq!(scene.launches(), 0);
    assert_eq!(scene.core.seen().jobs(scene.now)[0].code, Code::Blocked(Blocked::Paused(pause)));
}

#[test]
fn an_idle_runner_is_asked_to_end_and_a_busy_one_ends_after_its_job() {
    let mut scene = Scene::new([linux()]);
    scene.queue(2, &LABELS);
    scene.pass(secs(60));
    let (idle, busy) = (scene.live("linux")[0].clone(), scene.live("linux")[1].clone());
    scene.starts(0, &busy);
    scene.pass(secs(70));
    for id in [&idle, &busy] {
        scene.order(Order::DrainRunner(id.clone(), "old kernel".into())).unwrap();
    }
    let drained = scene.drained();
    assert!(drained.contains(&idle) && drained.contains(&busy), "{drained:?}");
    scene.pass(secs(3600));
    let view = scene.core.seen().runners(scene.now).into_iter().find(|r| r.instance == busy.as_str()).unwrap();
    assert_eq!(
        (view.phase.as_str(), scene.terminated()),
        ("busy", 0),
        "a runner that is online and does not answer may have a job"
    );
    assert_eq!(view.code, Code::Runner(Standing::RunsJob { job: JobId(0) }));
    assert!(scene.runners[&busy].state == muster_reconciler::event::InstanceState::Running);
}

#[test]
fn a_drain_waits_for_what_is_under_way_and_is_tried_until_ec2_takes_it() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &LABELS);
    scene.pass(secs(60));
    let id = scene.live("linux")[0].clone();
    scene.hold_drains = true;
    scene.order(Order::DrainRunner(id.clone(), String::new())).unwrap();
    assert_eq!(scene.drained(), std::slice::from_ref(&id));
    let again = scene.core.order(&Order::DrainRunner(id.clone(), String::new()), scene.now);
    assert_eq!(again, Ok(OrderAnswer::RunnerAsked(id)), "EC2 has not taken the first tag");
}

#[test]
fn a_pools_runners_are_asked_to_end_and_new_ones_come_unless_it_is_paused() {
    let mut scene = Scene::new([linux()]);
    scene.queue(3, &LABELS);
    scene.pass(secs(60));
    let old = scene.live("linux");
    let said = scene.order(Order::DrainPool(pool(), "new image".into())).unwrap();
    assert_eq!(said, OrderAnswer::PoolAsked { pool: pool(), runners: 3, paused: false });
    assert_eq!(scene.drained().len(), 3);
    scene.pass(secs(10));
    assert_eq!(scene.live("linux").len(), 6, "the jobs still wait: {:?}", old);
    scene.order(Order::Pause(pool(), String::new())).unwrap();
    let said = scene.order(Order::DrainPool(pool(), String::new())).unwrap();
    assert_eq!(said, OrderAnswer::PoolAsked { pool: pool(), runners: 3, paused: true });
    assert_eq!(scene.launches(), 2);
}

/// EC2 answers the launch only after the order.
#[test]
fn a_runner_that_is_on_its_way_when_its_pool_is_drained_ends_too() {
    use muster_reconciler::effect::{Launched, LaunchedInstance, Outcome};
    use muster_reconciler::market::Market;
    let mut scene = Scene::new([linux()]);
    scene.pass(secs(60));
    scene.hold_launches = true;
    scene.queue(1, &LABELS);
    scene.pass(secs(1));
    scene.order(Order::Pause(pool(), String::new())).unwrap();
    let said = scene.order(Order::DrainPool(pool(), String::new())).unwrap();
    assert_eq!(said, OrderAnswer::PoolAsked { pool: pool(), runners: 1, paused: true });
    let launch = scene.done.iter().find(|(_, e)| matches!(e.action, Action::Launch(_))).unwrap().1.id;
    let (instance, market) = (scene.live("linux")[0].clone(), Market::Spot);
    let answer = LaunchedInstance { id: instance, instance_type: "m7i.large".into(), subnet: None, market };
    scene.feed(Input::Outcome(launch, Outcome::Launched(Launched { instances: vec![answer], errors: Vec::new() })));
    scene.pass(secs(5));
    assert_eq!((scene.terminated(), scene.live("linux").len()), (1, 0), "the instance was never configured, so it is ended");
}

#[test]
fn what_nobody_knows_is_refused_by_name() {
    let mut scene = Scene::new([linux()]);
    let no = scene.order(Order::Pause("linx".into(), String::new())).unwrap_err();
    assert_eq!(no, OrderRefusal::NoPool("linx".into(), "linux".into()));
    let no = scene.order(Order::DrainRunner("i-0".into(), String::new())).unwrap_err();
    assert_eq!(no, OrderRefusal::NoRunner("i-0".into()));
    assert_eq!(scene.order(Order::Resume(pool())), Ok(OrderAnswer::NotPaused(pool())));
}

#[test]
fn everything_is_told_of_a_job_a_runner_and_a_pool() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &LABELS);
    scene.pass(secs(60));
    let id = scene.live("linux")[0].clone();
    scene.starts(0, &id);
    let job = scene.core.seen().explain_job(JobId(0), scene.now).unwrap();
    let what: Vec<&str> = job.timeline.iter().map(|e| e.what.as_str()).collect();
    assert_eq!(what, ["job_queued", "launch", "job_started"]);
    assert_eq!((job.state, job.reason), (State::Job(JobState::InProgress), format!("runs on c.linux.{id}")));
    let runner = scene.core.seen().explain_runner(&id, scene.now).unwrap();
    let what: Vec<&str> = runner.timeline.iter().map(|e| e.what.as_str()).collect();
    assert_eq!(what, ["launched", "configure", "reached", "reached", "job_started"]);
    assert!(runner.awaits.iter().any(|a| a.word == AwaitedReason::MaxLifetime.word()), "{runner:?}");
    let stages: Vec<Stage> = scene.core.seen().runners(scene.now)[0].stages.iter().map(|s| s.stage).collect();
    assert_eq!(stages, [Stage::Launched, Stage::Configured, Stage::Online, Stage::Started]);
    let told = scene.core.seen().explain_pool(&pool(), scene.now).unwrap();
    assert!(told.state == State::Pool(Switch::Active) && !told.timeline.is_empty(), "{told:?}");
    assert!(
        scene.core.seen().explain_job(JobId(9), scene.now).is_none()
            && scene.core.seen().explain_runner(&"i-9".into(), scene.now).is_none()
    );
    let all = scene.core.seen().events(0, 1000);
    assert!(all.iter().zip(1..).all(|(e, seq)| e.seq == seq), "no gaps");
    assert_eq!(scene.core.seen().events(all.len() as u64 - 1, 10).len(), 1);
}
