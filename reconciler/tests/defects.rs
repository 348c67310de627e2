//! It must be able to fail: each deliberate defect of the controller is caught by the simulator, within a thousand seeds,
//! by the invariant that it breaks. `cargo test -p muster-reconciler --features defects --test defects -- --nocapture`
//! prints which seed found which.
#![allow(clippy::unwrap_used, missing_docs)]

use muster_reconciler::defects::{self, Defect};
use muster_reconciler::sim::{Invariant, Scenario};

/// Seeds that a defect may hide for.
const SEEDS: u64 = 1000;

/// What a defect breaks; each of it must show.
fn breaks(defect: Defect) -> &'static [Invariant] {
    use Invariant::{L1, L2, L3, L4, L5, S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, Sound};
    match defect {
        Defect::TerminateOnIdleFlag => &[S1],
        Defect::SupplyForEver => &[L1, L2],
        Defect::ForgetToken => &[S2, S3],
        Defect::DeleteOnReceipt => &[L1],
        Defect::PartialPages => &[S1, S2, S3, S8, L2, L3],
        Defect::LaunchUnseen => &[S2, S3, S8],
        Defect::MissingIsGone => &[S1, S2, S3, L2, L3],
        Defect::IgnoreInFlight => &[S2, S3],
        Defect::KeepSecrets => &[S6],
        Defect::NoBackoff => &[L5],
        Defect::ReviveJobs => &[S3, S9, L1, L4, Sound],
        Defect::DropDemand => &[L1],
        Defect::EndAtDrainDeadline => &[S1],
        Defect::KeepRegistrations => &[L3],
        Defect::AdoptStrangers => &[S4],
        Defect::ChangedRetry => &[S5],
        Defect::IgnoreBudgets => &[S7],
        Defect::RowOrder => &[S10],
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

/// What is caught above is the defect, and not what every run has.
#[test]
fn without_a_defect_the_same_seeds_violate_nothing() {
    defects::set(None);
    for seed in 0..40 {
        let report = Scenario::drawn(seed).run();
        assert!(report.failure().is_none(), "seed {seed}: {:?}", report.violations);
    }
}
