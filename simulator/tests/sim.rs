//! The controller in the simulated world. Each test is a whole run from one seed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::manifest::{Span, Spec};
use muster_simulator::crash::{CrashPoint, Crashed, Example, Judged, Reference, RequestKind};
use muster_simulator::{
    BEGIN, Fault, Faults, JobPlan, Rates, RunReport, Scenario, Schedule, Simulation, Strike, WorldOptions, example, shrink,
};

const MINUTE: Duration = Duration::from_secs(60);
/// For how long the controller may change nothing after the world has converged.
const QUIET: Duration = Duration::from_secs(20 * 60);

fn two_pools() -> Arc<Spec> {
    let mut x64 = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 12);
    let mut arm = example::pool("linux-arm64", &["self-hosted", "linux", "arm64"], 5);
    for pool in [&mut x64, &mut arm] {
        // A runner that is online and ignores its drain is kept until `maxLifetime`, because nobody can tell that it is
        // idle.
        pool.spec.runner.max_lifetime = Span::secs(2 * 3600);
    }
    example::cluster("test", [x64, arm])
}

/// `n` jobs for the pool of x64 runners, almost at once.
fn burst(n: u64, takes: Duration) -> impl Iterator<Item = JobPlan> {
    let labels = ["self-hosted", "linux", "x64"].map(str::to_owned).to_vec();
    (0..n).map(move |i| JobPlan {
        at: BEGIN + Duration::from_secs(30) + Duration::from_millis(i * 20),
        takes,
        labels: labels.clone(),
        repo: "acme/web".into(),
        cancel_after: None,
    })
}

fn calm(seed: u64, spec: &Spec, n: u64, takes: Duration) -> Simulation {
    Scenario::calm(seed, spec, burst(n, takes)).world(4000)
}

#[test]
fn a_hundred_jobs_are_run_by_a_hundred_instances_and_nothing_is_left() {
    let pool = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 200);
    let mut world = calm(1, &example::cluster("test", [pool]), 100, 3 * MINUTE);
    let took = world.converge(60 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(100)));
    let report = world.report();
    assert_eq!(report.violations, []);
    assert_eq!(report.jobs, [("success", 100)].into());
    assert_eq!(report.instances, 100, "{:?}", report.calls);
    assert_eq!(report.throttled, [].into());
    println!("converged after {took:?}: {:?}", report.calls);
}

#[test]
fn a_clean_stop_releases_what_is_held() {
    let mut world = calm(3, &two_pools(), 6, 2 * MINUTE);
    world.step_until(BEGIN + Duration::from_secs(33));
    world.stop_and_restart();
    world.converge(60 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(80)));
    assert_eq!(world.report().jobs, [("success", 6)].into());
    assert_eq!(world.report().instances, 6);
}

#[test]
fn a_warm_floor_is_kept_and_no_more() {
    let mut pool = example::pool("warm", &["self-hosted", "linux", "x64"], 10);
    pool.spec.capacity.idle = 3;
    let mut world = calm(5, &example::cluster("test", [pool]), 5, MINUTE);
    world.converge(60 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(80)));
    assert_eq!(world.report().jobs, [("success", 5)].into());
}

/// Jobs for the pool of x64 runners, with one kind of fault during an hour.
fn with_fault(seed: u64, fault: Fault, rate: f64, jobs: u64) -> Simulation {
    let faults = Faults::drawn([(fault, rate)], Some(60 * MINUTE));
    let mut world = Simulation::new(seed, two_pools(), WorldOptions { faults, ..WorldOptions::default() });
    for job in burst(jobs, MINUTE) {
        world.submit(job);
    }
    world
}

#[test]
fn without_spot_capacity_on_demand_is_bought() {
    let mut world = with_fault(2, Fault::NoCapacity, 1.0, 4);
    world.converge(120 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(80)));
    assert_eq!(world.report().jobs, [("success", 4)].into());
}

/// Every instance dies in its boot script. A broken image costs a few instances an hour, not fifty a minute.
#[test]
fn a_pool_whose_instances_end_before_they_are_online_launches_ever_slower() {
    let mut world = with_fault(4, Fault::BootFailure, 1.0, 4);
    world.step_until(BEGIN + 60 * MINUTE);
    let launched = world.report().instances;
    assert!((4..=60).contains(&launched), "{launched} instances in an hour");
}

// -------------------------------------------------------------------------------------------- runs as data

/// Two organisations share one App. Whenever an answer of GitHub's says that nothing is left, it says so to one of them.
#[test]
fn an_organisations_spent_limit_delays_no_other() {
    let pool = |org: &str| {
        let mut pool = example::pool(org, &["self-hosted", org], 20);
        pool.spec.github.scope = format!("org/{org}").parse().unwrap();
        pool
    };
    let spec = example::cluster("test", ["acme", "umbrella"].map(pool));
    // The organisations whose jobs still wait after ten minutes, when the nth answer says that nothing is left.
    let delayed = |nth: u32| {
        let schedule = Schedule::Fixed(vec![Strike { fault: Fault::PrimaryLimit, nth }]);
        let mut world =
            Simulation::new(7, spec.clone(), WorldOptions { faults: Faults { last: None, schedule }, ..WorldOptions::default() });
        for (org, n) in ["acme", "umbrella"].into_iter().flat_map(|org| (0..6).map(move |n| (org, n))) {
            let at = BEGIN + Duration::from_secs(60 + n);
            let (labels, repo) = (["self-hosted", org].map(str::to_owned).to_vec(), format!("{org}/web"));
            world.submit(JobPlan { at, takes: MINUTE, labels, repo, cancel_after: None });
        }
        world.step_until(BEGIN + 10 * MINUTE);
        assert_eq!(world.violations(), []);
        let waiting = world.github().unfinished().map(|(_, job)| job.plan.repo.clone());
        waiting.collect::<BTreeSet<String>>()
    };
    let delays: Vec<BTreeSet<String>> = (0..40).map(delayed).collect();
    assert!(delays.iter().all(|orgs| orgs.len() <= 1), "{delays:?}");
    let ever: BTreeSet<_> = delays.iter().flatten().map(String::as_str).collect();
    assert_eq!(ever, ["acme/web", "umbrella/web"].into(), "each organisation is delayed in some run");
}

#[test]
fn the_same_scenario_is_the_same_run() {
    let runs = |seed| {
        let report = Scenario::drawn(seed).run();
        (report.hash, report.steps, report.strikes, report.violations)
    };
    assert_eq!(runs(7), runs(7));
    assert_ne!(runs(7).0, runs(8).0);
}

#[test]
fn keeping_lines_changes_nothing() {
    let scenario = Scenario::drawn(11);
    assert_eq!(scenario.run().hash, scenario.run_keeping(500).hash);
}

#[test]
fn what_struck_in_a_drawn_run_strikes_the_same_when_it_is_replayed() {
    for seed in [1, 2, 3, 4, 5, 6] {
        let drawn = Scenario::drawn(seed);
        let first = drawn.run();
        let recorded = drawn.recorded(&first);
        let again = recorded.run();
        assert!(matches!(recorded.faults, Schedule::Fixed(_)));
        assert_eq!((again.hash, &again.strikes), (first.hash, &first.strikes), "seed {seed}");
    }
}

#[test]
fn a_scenario_survives_its_json() {
    for seed in 0..20 {
        let drawn = Scenario::drawn(seed);
        let json = serde_json::to_string_pretty(&drawn).unwrap();
        let read: Scenario = serde_json::from_str(&json).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{json}"));
        assert_eq!(read, drawn);
    }
    let drawn = Scenario::drawn(3);
    let recorded = drawn.recorded(&drawn.run());
    let read: Scenario = serde_json::from_str(&serde_json::to_string(&recorded).unwrap()).unwrap();
    assert_eq!(read.run().hash, recorded.run().hash);
}

/// A caller may run seeds in several threads.
#[test]
fn scenarios_and_reports_can_be_sent_between_threads() {
    fn send<T: Send + Sync>() {}
    send::<Scenario>();
    send::<RunReport>();
    send::<Reference>();
}

// --------------------------------------------------------------------------------------------------- crashes

#[test]
fn a_crash_after_any_effect_ends_where_the_run_without_one_does() {
    let mut kinds = BTreeSet::new();
    for example in Example::ALL {
        let reference = Reference::of(&example.scenario(), example.judged()).unwrap_or_else(|v| panic!("{example}: {v}"));
        let points: Vec<CrashPoint> = reference.points().collect();
        println!("{example}: {} crashes; {:?}; {:?}", points.len(), reference.kinds(), reference.end);
        let crashed = points.iter().map(|at| reference.crash(*at, 0));
        // Whatever a crash changes, each job succeeds once in the end: a lost one runs again, and only once.
        let done = |c: &Crashed| c.report.jobs.get("success").copied() == reference.end.jobs.get("success").copied();
        let wrong: Vec<String> = crashed.filter(|c| c.wrong.is_some() || !done(c)).map(|c| c.to_string()).collect();
        assert!(wrong.is_empty(), "{example}: {} of {} crashes went wrong: {wrong:#?}", wrong.len(), points.len());
        let ends = match example {
            Example::Lost => vec![&"failure", &"success"],
            Example::Late => vec![&"cancelled"],
            _ => vec![&"success"],
        };
        assert_eq!(reference.end.jobs.keys().collect::<Vec<_>>(), ends, "{example}");
        kinds.extend(reference.effects);
    }
    let missing: Vec<RequestKind> = RequestKind::ALL.into_iter().filter(|k| !kinds.contains(k)).collect();
    assert_eq!(missing, [], "no example has an effect of these kinds");
}

/// After a crash, a fault may strike something else. So the end may differ, but no invariant may break.
#[test]
fn a_crash_after_any_effect_of_a_drawn_run_violates_nothing() {
    let scenario = Scenario::drawn(3);
    let reference = Reference::of(&scenario, Judged::of(&scenario)).unwrap();
    assert_eq!(reference.judged, Judged::ByInvariants);
    let crashed = reference.points().map(|at| reference.crash(at, 0));
    let wrong: Vec<String> = crashed.filter(|c| c.wrong.is_some()).map(|c| c.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

// ------------------------------------------------------------------------------------------------- shrinking

/// A planted failure: a run counts as failed when a job was lost with its spot instance and a webhook was lost, too. How far one run
/// shrinks depends on when its faults strike, so the best of three counts.
#[test]
fn a_planted_failure_shrinks_to_a_handful_of_strikes_and_jobs() {
    let rates = [(Fault::Interruption, 0.3), (Fault::WebhookLoss, 0.2), (Fault::Refused, 0.1), (Fault::BootSlow, 0.2)];
    let fails = |r: &RunReport| {
        let lost = r.strikes.iter().any(|s| s.fault == Fault::WebhookLoss);
        lost && r.jobs.get("failure").copied().unwrap_or(0) > 0
    };
    let mut sizes = Vec::new();
    for seed in 9..12 {
        let jobs = burst(40, 8 * MINUTE);
        let scenario = Scenario { faults: Schedule::Drawn(Rates::of(rates).into()), ..Scenario::calm(seed, &two_pools(), jobs) };
        let first = scenario.run();
        assert!(fails(&first) && first.strikes.len() > 20, "{:?}", first.strikes);
        let small = shrink(&scenario, 1000, &fails).unwrap();
        let Schedule::Fixed(strikes) = &small.scenario.faults else { panic!("strikes are written down") };
        assert!(fails(&small.report) && small.runs <= 1001);
        assert!(strikes.len() <= 5, "{strikes:?}");
        assert!(small.report.timeline_until(muster_reconciler::time::Time::FAR, 20).lines().count() > 10);
        println!("{} runs: {}", small.runs, serde_json::to_string(&small.scenario).unwrap());
        sizes.push((small.scenario.jobs.len(), strikes.len()));
    }
    assert!(sizes.iter().min().is_some_and(|(jobs, _)| *jobs <= 8), "{sizes:?}");
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    let scenario = Scenario::calm(1, &two_pools(), burst(1, MINUTE));
    assert!(shrink(&scenario, 10, &|r| r.failure().is_some()).is_none());
}
