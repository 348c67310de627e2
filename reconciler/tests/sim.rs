//! The controller in the simulated world: whole runs, each from one seed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::manifest::{Span, Spec};
use muster_reconciler::sim::workload::Workload;
use muster_reconciler::sim::{BEGIN, CrashMode, Fault, Faults, Invariant, JobPlan, Violation, World, WorldOptions, example};

const MINUTE: Duration = Duration::from_secs(60);
/// Converged: nothing is left, and for so long nothing more is done.
const QUIET: Duration = Duration::from_secs(20 * 60);

fn two_pools() -> Arc<Spec> {
    let mut x64 = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 12);
    let mut arm = example::pool("linux-arm64", &["self-hosted", "linux", "arm64"], 5);
    for pool in [&mut x64, &mut arm] {
        // A box that is online and heeds no drain is kept until maxLifetime: nobody can tell that it is idle.
        pool.spec.runner.max_lifetime = Span::secs(2 * 3600);
    }
    example::cluster("test", [x64, arm])
}

/// `n` jobs for the x64 pool, all at once.
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

/// One seed's run: ordinary work for 30 minutes under the options, then until it converges.
fn run(seed: u64, options: WorldOptions) -> World {
    let mut world = World::new(seed, two_pools(), options);
    let until = BEGIN + 30 * MINUTE;
    for job in Workload::ordinary(seed, BEGIN).take_while(|j| j.at < until).take(120) {
        world.submit(job);
    }
    world.step_until(BEGIN + 40 * MINUTE);
    world
}

/// Faults of the core that the simulator has found and that are still to be fixed there; each line goes with its fix.
fn known(v: &Violation) -> bool {
    // `hurry` and `pull_in` let a sweep that failed be tried again before its backoff or `retry-after` is over.
    v.invariant == Invariant::L5 && v.what.starts_with("Source(")
}

fn verdict(mut world: World) -> Result<(), String> {
    let converged = world.converge(240 * MINUTE, QUIET);
    let report = world.report();
    if let Some(first) = report.violations.iter().find(|v| !known(v)) {
        return Err(format!("{first}\n{}", world.timeline_until(first.at, 4000)));
    }
    converged.map(drop).map_err(|e| format!("{e}\n{}", world.timeline_until(world.now(), 120)))
}

#[test]
fn a_hundred_jobs_are_run_by_a_hundred_boxes_and_nothing_is_left() {
    let pool = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 200);
    let mut world = World::new(1, example::cluster("test", [pool]), WorldOptions::default());
    for job in burst(100, 3 * MINUTE) {
        world.submit(job);
    }
    let took = world.converge(60 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(100)));
    let report = world.report();
    assert_eq!(report.violations, []);
    assert_eq!(report.jobs, [("success", 100)].into());
    assert_eq!(report.instances, 100, "{:?}", report.calls);
    assert_eq!(report.throttled, [].into());
    println!("converged after {took:?}: {:?}", report.calls);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let hash = |seed| {
        let mut world = run(seed, WorldOptions::swarm(seed));
        let end = world.converge(180 * MINUTE, Duration::ZERO);
        (world.report(), end)
    };
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7).0.hash, hash(8).0.hash);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may be told by its environment which seeds to run")]
fn seeds_converge_after_their_faults_have_stopped() {
    // MUSTER_SEEDS=1000 runs so many; MUSTER_SEED=17 runs that one.
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = number("MUSTER_SEED").map_or(0..number("MUSTER_SEEDS").unwrap_or(50), |one| one..one + 1);
    let count = seeds.end - seeds.start;
    let failed: Vec<String> = seeds
        .filter_map(|seed| {
            verdict(run(seed, WorldOptions::swarm(seed))).err().map(|e| format!("seed {seed}: {}", e.replacen("\n  ", " ", 1)))
        })
        .collect();
    let firsts: Vec<&str> = failed.iter().map(|f| f.lines().next().unwrap_or_default()).collect();
    assert!(failed.is_empty(), "{} of {count} seeds failed: {firsts:#?}\n\nthe first:\n{}", failed.len(), failed[0]);
}

#[test]
fn a_crash_after_any_effect_loses_no_job_and_launches_nothing_twice() {
    let reference = {
        let mut world = six_jobs();
        world.converge(60 * MINUTE, QUIET).expect("the reference run converges");
        world.report()
    };
    assert_eq!((reference.instances, reference.violations.len()), (6, 0));
    let mut failed = Vec::new();
    for mode in [CrashMode::Lost, CrashMode::Sent, CrashMode::Done] {
        for n in 1..=reference.effects {
            let mut world = six_jobs();
            world.crash_after_effect(n, mode);
            let end = world.converge(120 * MINUTE, QUIET);
            let report = world.report();
            let jobs = report.jobs.get("success").copied().unwrap_or(0);
            // A box whose registration died with the process may have to be replaced: one more at most.
            let right = jobs == 6 && report.instances <= reference.instances + 1 && report.violations.is_empty();
            if end.is_err() || !right {
                let (boxes, violations) = (report.instances, report.violations);
                let said = format!("{mode:?} {n}: {end:?}, {jobs} jobs, {boxes} boxes, {violations:?}");
                failed.push((said, world.timeline(200)));
            }
        }
    }
    let firsts: Vec<&String> = failed.iter().map(|f| &f.0).collect();
    let total = reference.effects * 3;
    assert!(failed.is_empty(), "{} of {total} crashes went wrong: {firsts:#?}; the first:\n{}", failed.len(), failed[0].1);
}

fn six_jobs() -> World {
    let mut world = World::new(3, two_pools(), WorldOptions::default());
    for job in burst(6, 2 * MINUTE) {
        world.submit(job);
    }
    world
}

#[test]
fn a_clean_stop_releases_what_is_held() {
    let mut world = six_jobs();
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
    let mut world = World::new(5, example::cluster("test", [pool]), WorldOptions::default());
    for job in burst(5, MINUTE) {
        world.submit(job);
    }
    world.converge(60 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(80)));
    assert_eq!(world.report().jobs, [("success", 5)].into());
}

#[test]
fn without_spot_capacity_on_demand_is_bought() {
    let faults = Faults::drawn([(Fault::NoCapacity, 1.0)], Some(60 * MINUTE));
    let mut world = World::new(2, two_pools(), WorldOptions { faults, ..WorldOptions::default() });
    for job in burst(4, MINUTE) {
        world.submit(job);
    }
    world.converge(120 * MINUTE, QUIET).unwrap_or_else(|e| panic!("{e}\n{}", world.timeline(80)));
    assert_eq!(world.report().jobs, [("success", 4)].into());
}

/// Seeds that once failed. What they found is said as it was; since faults are drawn kind by kind, the same numbers are
/// other runs (the old draws could not be carried over: one stream decided several kinds, and their sizes).
#[test]
fn seeds_that_once_failed_pass() {
    // 7, 8, 12: a box was taken for gone because a page lagged; its replacement exceeded max.
    // 10: rows missing from the runner list were taken for "no job", and a busy box was terminated.
    // 464, 1179: a box came online and took a job in the moment in which it was given up.
    // 989: EC2's lag was counted from the launch's first, unanswered try.
    for seed in [7, 8, 10, 12, 464, 989, 1179] {
        verdict(run(seed, WorldOptions::swarm(seed))).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn a_refused_retry_does_not_forget_what_the_first_try_launched() {
    for seed in [680, 2185] {
        verdict(run(seed, WorldOptions::swarm(seed))).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn max_holds_right_after_a_restart() {
    for seed in [687, 1924, 2196] {
        verdict(run(seed, WorldOptions::swarm(seed))).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

/// Every box dies in its bootstrap script. A broken image costs a few boxes an hour, not fifty a minute.
#[test]
fn a_pool_whose_boxes_end_before_they_are_online_launches_ever_slower() {
    let faults = Faults::drawn([(Fault::BootFailure, 1.0)], Some(60 * MINUTE));
    let mut world = World::new(4, two_pools(), WorldOptions { faults, ..WorldOptions::default() });
    for job in burst(4, MINUTE) {
        world.submit(job);
    }
    world.step_until(BEGIN + 60 * MINUTE);
    let launched = world.report().instances;
    assert!((4..=60).contains(&launched), "{launched} boxes in an hour");
}
