//! Two or three controllers that share a lease, in the whole simulated world, with all its faults: killed, stopped with a call in their
//! hand, ended in order, with clocks that are minutes apart and an S3 that is slow, silent or refuses. The invariants of one controller hold.
//!
//! `MUSTER_SEEDS` sets how many worlds, `MUSTER_FROM` the first, and `MUSTER_SEED` the only one.
#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a test may be told by its environment which seeds to run")]

use muster_simulator::{RunReport, Scenario, Tenures, shrink};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn with_two_or_three_controllers_the_invariants_of_one_hold() {
    let from = number("MUSTER_FROM").unwrap_or(0);
    let seeds = match number("MUSTER_SEED") {
        Some(one) => one..one + 1,
        None => from..from + number("MUSTER_SEEDS").unwrap_or(60),
    };
    let (count, mut failed, mut tenures) = (seeds.end - seeds.start, Vec::new(), Tenures::default());
    for seed in seeds {
        let report = Scenario::drawn_with_lease(seed).run();
        tenures.add(report.tenures);
        if let Some(v) = report.failure() {
            failed.push((seed, v.clone()));
        }
    }
    println!("{count} seeds; {tenures}");
    assert!(count < 20 || tenures.terms > count * 2, "{tenures}");
    let Some((seed, first)) = failed.first() else { return };
    let list: Vec<String> = failed.iter().map(|(seed, v)| format!("seed {seed}: {v}")).collect();
    let scenario = Scenario::drawn_with_lease(*seed);
    let shown = match number("MUSTER_SHRINK") {
        Some(budget) => {
            let alike = |r: &RunReport| r.failure().is_some_and(|v| v.invariant == first.invariant);
            let small = shrink(&scenario, u32::try_from(budget).unwrap(), &alike).unwrap();
            let v = small.report.failure().unwrap().clone();
            let json = serde_json::to_string_pretty(&small.scenario).unwrap();
            format!("{json}\n{}\n{v}, after {} runs", small.report.timeline_until(v.at, 4000), small.runs)
        }
        None => scenario.run_keeping(100_000).timeline_until(first.at, number("MUSTER_LINES").unwrap_or(300).try_into().unwrap()),
    };
    panic!("{} of {count} seeds failed:\n{}\n\nthe first:\n{shown}", failed.len(), list.join("\n"));
}
