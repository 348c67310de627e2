//! The phase table over every combination of evidence, and what becomes evidence.

use super::*;
use crate::ids::JobId;

const EC2: [Ec2; 5] = [Ec2::Requested, Ec2::Unseen, Ec2::Up, Ec2::Ending, Ec2::Ended];
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

/// The table, said a second time and differently: for each phase, exactly when.
fn expected(e: &Evidence) -> Phase {
    let alive = !matches!(e.ec2, Ec2::Ending | Ec2::Ended);
    let quiet = alive && !e.interrupted && !e.job_over;
    let free = quiet && !e.job_running && e.seat != Seat::Busy;
    let table = [
        (Phase::Gone, e.ec2 == Ec2::Ended),
        (Phase::Terminating, e.ec2 == Ec2::Ending || (alive && !e.interrupted && e.job_over)),
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
        (Phase::Launching, free && !e.draining && !e.overdue && e.seat == Seat::None && !e.configured && e.ec2 == Ec2::Requested),
        (
            Phase::Booting,
            free && !e.draining && !e.overdue && e.seat == Seat::None && !e.configured && matches!(e.ec2, Ec2::Up | Ec2::Unseen),
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
fn a_drained_or_interrupted_box_is_never_supply() {
    for e in all_evidence().filter(|e| e.draining || e.interrupted) {
        assert!(!phase(e).is_supply(), "{e:?}");
    }
}

/// Each job's events in order, the jobs' against each other in any.
#[test]
fn the_order_in_which_jobs_are_told_of_does_not_matter() {
    let (a, b, at) = (JobId(1), JobId(2), Time::ZERO);
    type Tell = fn(&mut JobEvidence, JobId, bool);
    let start: Tell = |e, job, _| e.started(job);
    let end: Tell = |e, job, ephemeral| e.ended(job, ephemeral, Time::ZERO);
    let (a, b) = ([(a, start), (a, end)], [(b, start), (b, end)]);
    for ephemeral in [false, true] {
        for told_of_a in 0..=2 {
            for told_of_b in 0..=2 {
                let mut seen = Vec::new();
                for turn in 0..1u32 << (told_of_a + told_of_b) {
                    let (mut first, mut second) = (a[..told_of_a].iter(), b[..told_of_b].iter());
                    let mut told = JobEvidence::default();
                    for bit in 0..told_of_a + told_of_b {
                        let next = if turn >> bit & 1 == 0 { first.next() } else { second.next() };
                        if let Some((job, tell)) = next {
                            tell(&mut told, *job, ephemeral);
                        }
                    }
                    if first.next().is_none() && second.next().is_none() {
                        seen.push(told);
                    }
                }
                assert!(seen.iter().all(|told| *told == seen[0]), "{seen:?}");
                assert_eq!(seen[0].runs(JobId(1)), told_of_a == 1);
                assert_eq!(seen[0].runs(JobId(2)), told_of_b == 1);
                let over = ephemeral && told_of_a != 1 && told_of_b != 1 && told_of_a + told_of_b > 0;
                assert_eq!(seen[0].over().is_some(), over);
            }
        }
    }
    let mut told = JobEvidence::default();
    told.ended(JobId(1), true, at);
    told.started(JobId(1));
    assert_eq!(told.over(), Some((JobId(1), at)), "a start told after the end");
}

#[test]
fn an_own_launch_counts_until_seen_or_expired() {
    let deadline = Duration::from_secs(300);
    let mut r = Runner::new("p".into(), Time::ZERO);
    r.launched_by = Some("t".into());
    r.missed = 9;
    assert_eq!(r.phase(deadline, Time::ZERO + Duration::from_secs(60)), Phase::Launching);
    assert_eq!(r.phase(deadline, Time::ZERO + LAUNCH_LAG), Phase::Gone);
}

fn at(secs: u64) -> Time {
    Time::ZERO + Duration::from_secs(secs)
}

/// One that this process launched at 0, shown by EC2 in `state` at 10 s.
fn shown(state: InstanceState) -> Runner {
    let shape = Shape { instance_type: "m7i.large".into(), subnet: None, market: Market::Spot };
    let instance = Instance { state, seen_at: at(10), ending_since: None, launched_at: Time::ZERO, shape, state_reason: None };
    let mut r = Runner::new("p".into(), Time::ZERO);
    (r.launched_by, r.instance) = (Some("t".into()), Some(instance));
    r
}

fn seated(online: bool, busy: bool) -> Option<Registration> {
    let forge = Forge { app: "main".into(), scope: "org/acme".parse().expect("a scope") };
    Some(Registration { id: RunnerId(1), forge, online, busy, first_seen: at(11), missed: 0 })
}

fn drained() -> Option<Drain> {
    Some(Drain { asked_at: at(20), why: None })
}

/// Changes a record from which something follows, so that it must not follow any more.
type Change = fn(&mut Runner);

#[test]
fn a_box_that_ended_by_itself_after_it_was_online_is_unexplained_and_nothing_less_is() {
    let mut r = shown(InstanceState::ShuttingDown);
    r.online_at = Some(at(12));
    r.instance.as_mut().expect("shown").ending_since = Some(at(30));
    assert_eq!(r.ended_unexplained(), Some(at(30)));
    let changes: [Change; 10] = [
        |r| r.drain = drained(),
        |r| r.unanswered = drained(),
        |r| r.interrupted_at = Some(at(20)),
        |r| r.terminated_at = Some(at(20)),
        |r| r.leaving = true,
        |r| r.online_at = None,
        |r| r.job.started(JobId(1)),
        |r| r.job.ended(JobId(1), true, at(20)),
        |r| r.busy_since = Some(at(20)),
        |r| r.instance.as_mut().expect("shown").ending_since = None,
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut r = r.clone();
        change(&mut r);
        assert_eq!(r.ended_unexplained(), None, "change {i}");
    }
}

#[test]
fn one_that_was_never_configured_shows_no_trace_of_it() {
    let r = shown(InstanceState::Running);
    assert!(r.never_configured());
    let changes: [Change; 8] = [
        |r| r.launched_by = None,
        |r| r.configured = Configured::Unsure,
        |r| r.configured = Configured::Seen,
        |r| r.configured = Configured::Yes(at(9)),
        |r| r.registration = seated(false, false),
        |r| r.online_at = Some(at(12)),
        |r| r.job.started(JobId(1)),
        |r| r.secret = true,
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut r = r.clone();
        change(&mut r);
        assert!(!r.never_configured(), "change {i}");
    }
}

#[test]
fn each_sign_of_a_job_alone_suffices() {
    let r = shown(InstanceState::Running);
    assert!(!r.may_have_job());
    let changes: [(Change, bool); 5] = [
        (|r| r.job.started(JobId(1)), true),
        (|r| r.registration = seated(true, false), true),
        (|r| r.registration = seated(false, true), true),
        (|r| r.registration = seated(false, false), false),
        (|r| r.job.ended(JobId(1), true, at(20)), false),
    ];
    for (i, (change, may)) in changes.iter().enumerate() {
        let mut r = r.clone();
        change(&mut r);
        assert_eq!(r.may_have_job(), *may, "change {i}");
    }
}

#[test]
fn what_ec2_shows_and_what_it_was_told_make_the_phase() {
    let deadline = Duration::from_secs(300);
    let phase_of = |state, terminated: bool| {
        let mut r = shown(state);
        r.terminated_at = terminated.then(|| at(11));
        r.phase(deadline, at(12))
    };
    for state in [InstanceState::Pending, InstanceState::Running] {
        assert_eq!(phase_of(state, false), Phase::Booting);
        assert_eq!(phase_of(state, true), Phase::Terminating, "EC2 took our request");
    }
    for state in [InstanceState::Stopping, InstanceState::Stopped, InstanceState::ShuttingDown] {
        assert_eq!(phase_of(state, false), Phase::Terminating);
    }
    assert_eq!(phase_of(InstanceState::Terminated, false), Phase::Gone);
    assert_eq!(Runner::new("p".into(), Time::ZERO).phase(deadline, at(1)), Phase::Booting, "something else speaks of it");
}

#[test]
fn an_absence_takes_two_sweeps_and_longer_than_ec2_lags() {
    let mut r = shown(InstanceState::Running);
    let gone = |r: &Runner, now| r.phase(Duration::MAX, now) == Phase::Gone;
    let late = Time::ZERO + LAUNCH_LAG;
    r.missed = ABSENT_SWEEPS - 1;
    assert!(!gone(&r, late));
    r.missed = ABSENT_SWEEPS;
    assert!(gone(&r, late) && !gone(&r, late - Duration::from_secs(1)));
    r.instance.as_mut().expect("shown").seen_at = late;
    assert!(!gone(&r, late + CONSISTENCY_LAG - Duration::from_secs(1)) && gone(&r, late + CONSISTENCY_LAG));
    // A found one has no launch whose lag must be waited for.
    let mut found = Runner::new("p".into(), Time::ZERO);
    found.missed = ABSENT_SWEEPS;
    assert!(!gone(&found, at(29)) && gone(&found, Time::ZERO + CONSISTENCY_LAG));
}

#[test]
fn the_boot_deadline_counts_from_the_launch_and_waits_for_a_look() {
    let deadline = Duration::from_secs(300);
    let mut r = shown(InstanceState::Running);
    assert_eq!((r.phase(deadline, at(299)), r.phase(deadline, at(300))), (Phase::Booting, Phase::Failed));
    // Its list is known: it may be online, as far as the last look goes.
    r.forge = seated(false, false).map(|s| s.forge);
    r.list_seen = Some(at(299));
    assert_eq!(r.phase(deadline, at(400)), Phase::Booting);
    r.list_seen = Some(at(300));
    assert_eq!(r.phase(deadline, at(400)), Phase::Failed);
    // One that was found counts from its launch, long before.
    let mut found = shown(InstanceState::Running);
    (found.launched_by, found.first_seen) = (None, at(1_000));
    found.instance.as_mut().expect("shown").launched_at = at(800);
    assert_eq!(found.up_for(at(1_050)), Duration::from_secs(250));
    assert_eq!(r.up_for(at(50)), Duration::from_secs(50));
    // One of ours came of a later ask than the first, says EC2, whose clock may be ahead.
    let mut late = shown(InstanceState::Running);
    (late.instance.as_mut().expect("shown").launched_at, late.instance.as_mut().expect("shown").seen_at) = (at(20), at(25));
    assert_eq!((late.up_for(at(50)), late.boot_due(deadline)), (Duration::from_secs(30), at(320)));
    late.instance.as_mut().expect("shown").launched_at = at(7_000);
    assert_eq!(late.boot_due(deadline), at(325));
}

#[test]
fn the_seat_at_github_makes_the_phase() {
    let deadline = Duration::from_secs(300);
    let phase_of = |change: Change| {
        let mut r = shown(InstanceState::Running);
        r.forge = seated(false, false).map(|s| s.forge);
        change(&mut r);
        r.phase(deadline, at(60))
    };
    let table: [(Change, Phase); 9] = [
        (|r| r.registration = seated(true, false), Phase::Idle),
        (|r| r.registration = seated(true, true), Phase::Busy),
        (|r| r.registration = seated(false, true), Phase::Busy),
        (|r| r.registration = seated(false, false), Phase::Configured),
        (|r| (r.registration, r.configured) = (seated(false, false), Configured::Unsure), Phase::Booting),
        (|r| (r.registration, r.online_at, r.list_seen) = (seated(false, false), Some(at(20)), Some(at(30))), Phase::Failed),
        (|r| (r.online_at, r.list_seen) = (Some(at(20)), Some(at(20))), Phase::Idle),
        (|r| (r.online_at, r.list_seen, r.forge) = (Some(at(20)), None, None), Phase::Failed),
        (|r| r.configured = Configured::Yes(at(20)), Phase::Configured),
    ];
    for (i, (change, phase)) in table.iter().enumerate() {
        assert_eq!(phase_of(*change), *phase, "row {i}");
    }
    // Not listed any more: it had two sweeps to turn up.
    let mut r = shown(InstanceState::Running);
    (r.registration, r.online_at, r.list_seen) = (seated(true, false), Some(at(20)), Some(at(30)));
    r.registration.as_mut().expect("seated").missed = ABSENT_SWEEPS - 1;
    assert_eq!(r.phase(deadline, at(60)), Phase::Idle);
    r.registration.as_mut().expect("seated").missed = ABSENT_SWEEPS;
    assert_eq!(r.phase(deadline, at(60)), Phase::Failed);
}

#[test]
fn backoff_doubles_up_to_a_minute_or_as_long_as_the_other_side_said() {
    let mut r = shown(InstanceState::Running);
    for wait in [1, 2, 4, 8, 16, 32, 64, 64] {
        r.back_off("no".into(), None, at(100));
        assert_eq!(r.not_before, at(100 + wait));
    }
    r.back_off("later".into(), Some(Duration::from_secs(500)), at(100));
    assert_eq!((r.not_before, r.failures, r.last_error.as_deref()), (at(600), 9, Some("later")));
}

#[test]
fn terms_serve_a_pool_that_asks_for_no_more() {
    let mut pool = RunnerPool::default();
    pool.spec.github.app = Some("main".into());
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = vec!["self-hosted".into(), "Linux".into()];
    let labels = ["linux".to_owned(), "self-hosted".to_owned(), "gpu".to_owned()];
    let terms = Terms { forge: pool.forge(), group: Some("Default".into()), labels: labels.into() };
    let fits = |change: fn(&mut Terms), pool: &RunnerPool| {
        let mut t = terms.clone();
        change(&mut t);
        t.serve(pool)
    };
    assert!(fits(|_| {}, &pool) && fits(|t| t.group = None, &pool));
    assert!(!fits(|t| t.group = Some("other".into()), &pool));
    assert!(!fits(|t| t.labels = ["linux".to_owned()].into(), &pool));
    assert!(!fits(|t| t.forge.scope = "org/other".parse().expect("a scope"), &pool));
    let mut r = shown(InstanceState::Running);
    assert!(!r.outdated(&pool) && r.supplies(Some(&pool), Phase::Idle));
    r.terms = Some(Arc::new(Terms { labels: Arc::default(), ..terms.clone() }));
    assert!(r.outdated(&pool) && !r.supplies(Some(&pool), Phase::Idle) && r.supplies(None, Phase::Idle));
    r.terms = None;
    r.forge = Some(Forge { app: "other".into(), scope: terms.forge.scope.clone() });
    assert!(r.outdated(&pool));
    (r.forge, r.leaving) = (None, true);
    assert!(!r.supplies(Some(&pool), Phase::Idle));
    (r.leaving, r.unanswered) = (false, drained());
    assert!(!r.supplies(Some(&pool), Phase::Idle));
    (r.unanswered, r.wish) = (None, Some(String::new()));
    assert!(!r.supplies(Some(&pool), Phase::Idle));
    assert_eq!(r.list(), None);
    r.registration = seated(true, false);
    assert_eq!(r.list(), Some(&terms.forge));
}

#[test]
fn phases_have_their_words() {
    let words: Vec<&str> = Phase::ALL.iter().map(|p| p.as_str()).collect();
    let expected = "launching booting configured idle busy draining interrupted failed terminating gone";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn a_box_that_was_configured_late_gets_its_minute() {
    let deadline = Duration::from_secs(300);
    let mut r = shown(InstanceState::Running);
    r.configured = Configured::Yes(at(290));
    assert_eq!(r.phase(deadline, at(349)), Phase::Configured);
    assert_eq!(r.phase(deadline, at(350)), Phase::Failed);
    assert_eq!(r.phase(Duration::from_secs(30), at(319)), Phase::Configured, "no longer than its boot deadline");
    assert_eq!(r.phase(Duration::from_secs(30), at(320)), Phase::Failed);
}
