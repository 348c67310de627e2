//! The flight record: a controller that gets the recorded inputs again decides the same, word for word.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Input, JobMessage, Outcome};
use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{EffectId, JobId, MessageId, PoolName};
use muster_reconciler::manifest::Spec;
use muster_reconciler::replay::{Differs, Player};
use muster_reconciler::rerun::{EndedJob, RunSighting};
use muster_reconciler::steer::Order;
use muster_reconciler::time::Time;
use muster_reconciler::view::JobView;
use muster_simulator::{BEGIN, Scenario, Simulation, WorldOptions, example, workload::JobStream};

/// How many worlds are recorded.
const SEEDS: u64 = 40;

fn played(record: &str, manifests: Option<Arc<Spec>>) -> Player {
    let mut player = Player::new(manifests);
    for (number, line) in record.lines().enumerate() {
        player.play(line).unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
    }
    player
}

/// The demo's cluster with twenty minutes of jobs, recorded from its beginning.
fn recorded() -> Simulation {
    let mut world = Simulation::new(1, example::demo(), WorldOptions::mild());
    world.keep_record();
    let began = world.now();
    JobStream::demo(1, began).take_while(|job| job.at < began + Duration::from_secs(1200)).for_each(|job| world.submit(job));
    world
}

/// A quarter of an hour of it.
fn quiet() -> (Simulation, String) {
    let mut world = recorded();
    world.run_for(Duration::from_secs(900));
    let record = world.take_record();
    (world, record)
}

#[test]
fn each_recorded_world_is_decided_the_same_again() {
    let (mut decisions, mut processes) = (0, 0);
    for seed in 0..SEEDS {
        let record = Scenario::drawn(seed).record();
        processes += record.matches("\"first\":true").count();
        let mut player = played(&record, None);
        assert_eq!(player.differences(true), [], "seed {seed}");
        decisions += player.decisions();
    }
    println!("{SEEDS} worlds, {processes} processes, {decisions} decisions: all the same");
    assert!(decisions > 10_000 && processes > SEEDS as usize, "{processes} processes, {decisions} decisions");
}

#[test]
fn what_the_replayed_controller_answers_is_what_the_live_one_answered() {
    let (world, record) = quiet();
    let mut player = played(&record, None);
    let at = player.at();
    let live = world.controller().expect("it runs").seen().snapshot(at);
    let replayed = player.controller().expect("it began").seen().snapshot(at);
    assert_eq!(serde_json::to_value(replayed).ok(), serde_json::to_value(live).ok());
}

#[test]
fn other_manifests_decide_otherwise_and_both_reasons_are_told() {
    let (_, record) = quiet();
    let mut spec = (*example::demo()).clone();
    let pool = spec.pools.get_mut(&PoolName::from("linux-x64")).expect("the demo has it");
    pool.spec.capacity.max = 1;
    let mut player = played(&record, Some(Arc::new(spec)));
    let differences = player.differences(true);
    let launch = differences.iter().find(|d| d.differs == Differs::OnlyRecorded && d.what.starts_with("launch "));
    assert!(launch.is_some_and(|d| d.recorded_why.is_some()), "{:?}", differences.first());
}

#[test]
fn a_record_without_its_first_lines_is_refused_in_words() {
    let (_, record) = quiet();
    let mut player = Player::new(None);
    let said = player.play(record.lines().nth(1).expect("a line")).expect_err("it does not begin").to_string();
    assert!(said.contains("begin with the start of its process"), "{said}");
    let mut player = Player::new(None);
    let first = record.lines().next().expect("a line");
    player.play(first).expect("it begins");
    let said = player.play("{\"at\":17").expect_err("it is cut off").to_string();
    assert!(said.contains("cut off or edited here"), "{said}");
    let newer = first.replacen("\"format\":1", "\"format\":2", 1);
    assert!(Player::new(None).play(&newer).expect_err("it is newer").to_string().contains("format 2"));
}

#[test]
fn from_a_later_beginning_the_replay_knows_what_a_new_process_would_know() {
    let mut world = recorded();
    world.run_for(Duration::from_secs(600));
    let now = world.now();
    world.take_record();
    world.controller_mut().expect("it runs").begin_record_anew(now);
    world.run_for(Duration::from_secs(300));
    let record = world.take_record();
    let mut player = played(&record, None);
    let at: Time = player.at();
    // The queue holds no message of a job that runs or is over: a new process knows the runner, and not the job.
    let waits = |job: &JobView| job.state == JobState::Queued;
    let names = |jobs: Vec<JobView>| jobs.into_iter().filter(waits).map(|job| job.id).collect::<Vec<_>>();
    let live = names(world.controller().expect("it runs").seen().jobs(at));
    let replayed = names(player.controller().expect("it began").seen().jobs(at));
    assert!(!live.is_empty());
    let missing: Vec<_> = live.iter().filter(|job| !replayed.contains(job)).collect();
    assert!(missing.is_empty(), "of {} jobs, these are not in the replay: {missing:?}", live.len());
}

/// A name that would be seen.
const NAMED: &str = "feature/of-a-person";

#[test]
fn without_names_a_record_has_none_and_is_decided_the_same_again() {
    let mut core = Controller::new("p1", BEGIN);
    core.record("test", false);
    let spec = example::demo();
    core.step(BEGIN, Input::Spec(Arc::clone(&spec)));
    let about = JobAbout { branch: NAMED.into(), workflow: NAMED.into(), name: NAMED.into(), sha: "a1".into() };
    let labels = ["self-hosted", "linux", "x64"].map(str::to_owned).to_vec();
    let event =
        serde_json::json!({ "job": 1, "run": 2, "state": "queued", "repo": "acme/web", "labels": labels, "about": about });
    let event: JobEvent = serde_json::from_value(event).expect("an event");
    core.step(BEGIN, Input::Messages(vec![JobMessage { id: MessageId(1), receive_count: 1, event }]));
    core.order(&Order::Pause("linux-x64".into(), NAMED.into()), BEGIN).expect("it has the pool");
    let ended = EndedJob { job: JobId(1), name: format!("{NAMED} (1)"), conclusion: None };
    let run = RunSighting { over: true, attempt: 1, jobs: vec![ended] };
    core.step(BEGIN + Duration::from_secs(1), Input::Outcome(EffectId(u64::MAX), Outcome::Run(run)));
    core.begin_record_anew(BEGIN + Duration::from_secs(2));
    let record = String::from_utf8(core.take_record()).expect("text");
    assert!(!record.contains(NAMED) && record.contains("acme/web"), "{record}");
    assert_eq!(played(&record, None).differences(true), []);
}
