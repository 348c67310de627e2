//! The phase table over every combination of evidence.

use super::*;

const EC2: [Ec2State; 5] = [Ec2State::Requested, Ec2State::Unseen, Ec2State::Up, Ec2State::Ending, Ec2State::Ended];
const SEATS: [Seat; 5] = [Seat::None, Seat::Waiting, Seat::Idle, Seat::Busy, Seat::Lost];

fn all_evidence() -> impl Iterator<Item = Evidence> {
    EC2.into_iter().flat_map(|ec2| {
        SEATS.into_iter().flat_map(move |seat| {
            (0..64u8).map(move |bits| {
                let bit = |n: u8| bits & (1 << n) != 0;
                Evidence {
                    ec2,
                    seat,
                    configured: bit(0),
                    job_running: bit(1),
                    job_over: bit(2),
                    draining: bit(3),
                    interrupted: bit(4),
                    overdue: bit(5),
                }
            })
        })
    })
}

/// The table of phases, written a second time and in another way: for each phase, exactly when it holds.
fn expected(e: &Evidence) -> Phase {
    let alive = !matches!(e.ec2, Ec2State::Ending | Ec2State::Ended);
    let quiet = alive && !e.interrupted && !e.job_over;
    let free = quiet && !e.job_running && e.seat != Seat::Busy;
    let table = [
        (Phase::Gone, e.ec2 == Ec2State::Ended),
        (Phase::Terminating, e.ec2 == Ec2State::Ending || (alive && !e.interrupted && e.job_over)),
        (Phase::Interrupted, alive && e.interrupted),
        (Phase::Busy, quiet && (e.job_running || e.seat == Seat::Busy)),
        (Phase::Draining, free && e.draining),
        (Phase::Idle, free && !e.draining && e.seat == Seat::Idle),
        (
            Phase::Failed,
            free && !e.draining && (e.seat == Seat::Lost || (e.overdue && matches!(e.seat, Seat::None | Seat::Waiting))),
        ),
        (
            Phase::Configured,
            free && !e.draining && !e.overdue && (e.seat == Seat::Waiting || (e.seat == Seat::None && e.configured)),
        ),
        (
            Phase::Launching,
            free && !e.draining && !e.overdue && e.seat == Seat::None && !e.configured && e.ec2 == Ec2State::Requested,
        ),
        (
            Phase::Booting,
            free && !e.draining
                && !e.overdue
                && e.seat == Seat::None
                && !e.configured
                && matches!(e.ec2, Ec2State::Up | Ec2State::Unseen),
        ),
    ];
    let hits: Vec<Phase> = table.iter().filter(|(_, holds)| *holds).map(|(p, _)| *p).collect();
    assert_eq!(hits.len(), 1, "{e:?} fits {hits:?}");
    hits[0]
}

#[test]
fn every_combination_of_evidence_has_one_phase() {
    let mut seen = std::collections::BTreeSet::new();
    let mut count = 0;
    for e in all_evidence() {
        assert_eq!(phase(e), expected(&e), "{e:?}");
        seen.insert(phase(e));
        count += 1;
    }
    assert_eq!(count, 5 * 5 * 64);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), Phase::ALL, "every phase can occur");
}

#[test]
fn a_possible_job_is_never_taken_for_supply_or_for_free() {
    for e in all_evidence().filter(|e| e.job_running || e.seat == Seat::Busy) {
        assert!(!phase(e).is_supply(), "{e:?}");
        assert!(!matches!(phase(e), Phase::Draining | Phase::Failed), "{e:?}");
    }
}

#[test]
fn a_drained_or_interrupted_runner_is_never_supply() {
    for e in all_evidence().filter(|e| e.draining || e.interrupted) {
        assert!(!phase(e).is_supply(), "{e:?}");
    }
}

#[test]
fn phases_have_their_words() {
    let words: Vec<&str> = Phase::ALL.iter().map(|p| p.as_str()).collect();
    let expected = "launching booting configured idle busy draining interrupted failed terminating gone";
    assert_eq!(words.join(" "), expected);
}
