//! The simulator must be able to fail: it catches each deliberate defect within a thousand seeds, by each invariant that the defect breaks.
//! `sh tests/defects.sh` runs this test in a copy of the core that has the defects. It prints which seed found which.
//! `MUSTER_DEFECT=a,b` tries only these.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::defects;
use muster_simulator::crash::{Example, Reference};
use muster_simulator::{Invariant, Scenario};

/// The simulator may need this many seeds for a defect.
const SEEDS: u64 = 1000;

/// The name of each patch, the invariants after its `Breaks:`, and whether `Controllers: several` says that it needs more than one.
fn patches() -> Vec<(&'static str, Vec<String>, bool)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/defects");
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "patch"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let breaks = text.lines().find_map(|line| line.strip_prefix("Breaks: ")).expect("a patch says what it breaks");
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let several = text.lines().any(|line| line == "Controllers: several");
            (&*name.leak(), breaks.split_whitespace().map(str::to_owned).collect(), several)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn the_simulator_catches_every_deliberate_defect() {
    let mut missed = Vec::new();
    let mut patches = patches();
    if let Ok(only) = std::env::var("MUSTER_DEFECT") {
        patches.retain(|(name, ..)| only.split(',').any(|wanted| wanted == *name));
    }
    assert!(!patches.is_empty());
    for (defect, breaks, several) in &patches {
        defects::set(defect);
        for wanted in breaks {
            let is = |invariant: Invariant| invariant.to_string() == *wanted;
            let found = (0..SEEDS).find_map(|seed| {
                let scenario = if *several { Scenario::drawn_with_lease(seed) } else { Scenario::drawn(seed) };
                let report = scenario.run_until(0, &|v| is(v.invariant));
                let violation = report.violations.into_iter().find(|v| is(v.invariant))?;
                Some((seed, violation.what.lines().next().unwrap_or_default().to_owned()))
            });
            match found {
                Some((seed, what)) => println!("{defect}: seed {seed}: {wanted}: {what}"),
                None => missed.push((*defect, wanted.clone())),
            }
        }
    }
    defects::set("");
    assert!(missed.is_empty(), "not caught within {SEEDS} seeds: {missed:?}");
}

/// What is caught above comes from the defect. Without a defect, the same seeds violate nothing.
#[test]
fn without_a_defect_the_same_seeds_violate_nothing() {
    defects::set("");
    for seed in 0..40 {
        let report = Scenario::drawn(seed).run();
        assert!(report.failure().is_none(), "seed {seed}: {:?}", report.violations);
    }
}

/// A crash at every effect must be able to fail, too: by what a process does before it has looked, and by an end that violates
/// nothing and still differs.
#[test]
fn a_crash_at_every_effect_catches_defects_by_the_invariants_and_by_the_end() {
    let caught = |defect: &'static str, example: Example| {
        assert!(patches().iter().any(|(name, ..)| *name == defect), "no patch {defect}");
        defects::set(defect);
        let reference = Reference::of(&example.scenario(), example.judged()).unwrap();
        let wrong: Vec<String> = reference.points().filter_map(|at| reference.crash(at, 0).wrong).collect();
        defects::set("");
        println!("{defect}, {example}: {} of {} crashes", wrong.len(), reference.points().count());
        wrong
    };
    let unseen = caught("launch_unseen", Example::Burst);
    assert!(unseen.iter().any(|w| w.starts_with("S8: ")), "{unseen:?}");
    let gone = caught("missing_is_gone", Example::Broken);
    assert!(gone.iter().any(|w| w.contains(" than without it: ")), "{gone:?}");
}
