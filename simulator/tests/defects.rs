//! The simulator must be able to fail. It catches each deliberate defect of the controller within a thousand seeds, by the
//! invariants that the defect breaks. `cargo test -p muster-simulator --features defects --test defects -- --nocapture`
//! prints which seed caught which defect.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::defects::{self, Defect};
use muster_simulator::crash::{Example, Reference};
use muster_simulator::{Invariant, Scenario};

/// How many seeds a defect may survive.
const SEEDS: u64 = 1000;

/// The invariants that a defect breaks. Each of them must be violated.
fn breaks(defect: Defect) -> &'static [Invariant] {
    use Invariant::{L1, L2, L3, L4, L5, S1, S2, S3, S4, S5, S6, S7, S8, S9, S10};
    match defect {
        Defect::TerminateOnIdleFlag => &[S1],
        Defect::SupplyForEver => &[L1, L2],
        Defect::ForgetToken => &[S2, S3],
        Defect::DeleteOnReceipt => &[L1],
        Defect::PartialPages => &[S2],
        Defect::LaunchUnseen => &[S8],
        Defect::MissingIsGone => &[S2, S3],
        Defect::IgnoreInFlight => &[S2, S3],
        Defect::KeepSecrets => &[S6],
        Defect::NoBackoff => &[L5],
        Defect::ReviveJobs => &[S9],
        Defect::DropDemand => &[L1],
        Defect::EndAtDrainDeadline => &[S1],
        Defect::KeepRegistrations => &[L3],
        Defect::AdoptStrangers => &[S4],
        Defect::ChangedRetry => &[S5],
        Defect::IgnoreBudgets => &[S7],
        Defect::RowOrder => &[S10],
        Defect::KeepMessages => &[L4],
    }
}

#[test]
fn the_simulator_catches_every_deliberate_defect() {
    let mut missed = Vec::new();
    for defect in Defect::ALL {
        defects::set(Some(defect));
        for wanted in breaks(defect) {
            let found = (0..SEEDS).find_map(|seed| {
                let report = Scenario::drawn(seed).run_until(0, &|v| v.invariant == *wanted);
                let violation = report.violations.into_iter().find(|v| v.invariant == *wanted)?;
                Some((seed, violation.what.lines().next().unwrap_or_default().to_owned()))
            });
            match found {
                Some((seed, what)) => println!("{defect:?}: seed {seed}: {wanted}: {what}"),
                None => missed.push((defect, *wanted)),
            }
        }
    }
    defects::set(None);
    assert!(missed.is_empty(), "not caught within {SEEDS} seeds: {missed:?}");
}

/// A run without a defect violates nothing, so what is caught above is the defect.
#[test]
fn without_a_defect_the_same_seeds_violate_nothing() {
    defects::set(None);
    for seed in 0..40 {
        let report = Scenario::drawn(seed).run();
        assert!(report.failure().is_none(), "seed {seed}: {:?}", report.violations);
    }
}

/// The crashes must be able to fail, too: because a new process acts before its first sweep, and because a run ends
/// differently although it violates nothing.
#[test]
fn a_crash_at_every_effect_catches_defects_by_the_invariants_and_by_the_end() {
    let caught = |defect, example: Example| {
        defects::set(Some(defect));
        let reference = Reference::of(&example.scenario(), example.judged()).unwrap();
        let wrong: Vec<String> = reference.points().filter_map(|at| reference.crash(at, 0).wrong).collect();
        defects::set(None);
        println!("{defect:?}, {example}: {} of {} crashes", wrong.len(), reference.points().count());
        wrong
    };
    let unseen = caught(Defect::LaunchUnseen, Example::Burst);
    assert!(unseen.iter().any(|w| w.starts_with("S8: ")), "{unseen:?}");
    let gone = caught(Defect::MissingIsGone, Example::Broken);
    assert!(gone.iter().any(|w| w.starts_with("other boxes were ended by force")), "{gone:?}");
}
