//! What becomes evidence, and what else is known of a runner.

use std::sync::Arc;

use super::*;
use crate::effect::{InstanceSighting, RunnerSighting};
use crate::event::InstanceState;
use crate::ids::{JobId, ListId, RunnerId, RunnerName};
use crate::market::Market;
use crate::reason::StepReason;
use crate::runner::DrainOutcome;

mod fate;
mod told;

/// Every order of the events of two jobs in which each job's own events stay in order.
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

const DEADLINE: Duration = Duration::from_secs(300);

fn at(secs: u64) -> Time {
    Time::ZERO + Duration::from_secs(secs)
}

fn acme() -> ListId {
    ListId { app: "main".into(), scope: "org/acme".parse().expect("a scope") }
}

fn instance(state: InstanceState, launched_at: Time) -> InstanceSighting {
    InstanceSighting {
        id: "i-1".into(),
        pool: "p".into(),
        list_id: None,
        intent: None,
        max_lifetime: None,
        state,
        launched_at,
        instance_type: "m7i.large".into(),
        subnet: None,
        market: Market::Spot,
        draining: false,
        stages: Vec::new(),
        own_word: None,
        runner_version: None,
        state_reason: None,
    }
}

/// A runner that this process did not launch. EC2 shows it in `state` at `seen`.
fn found(state: InstanceState, launched_at: Time, seen: Time) -> Runner {
    let mut r = Runner::new("p".into(), seen);
    r.shown_by_ec2(&instance(state, launched_at), seen, seen);
    r
}

/// A runner that this process launched at 0. EC2 shows it in `state` at 10 s.
fn shown(state: InstanceState) -> Runner {
    let mut r = Runner::new("p".into(), Time::ZERO);
    r.found_to_be_ours(None);
    r.shown_by_ec2(&instance(state, Time::ZERO), at(10), at(10));
    r
}

/// The same runner, running, and bound to the list.
fn bound() -> Runner {
    let mut r = shown(InstanceState::Running);
    r.shown_by_ec2(&InstanceSighting { list_id: Some(acme()), ..instance(InstanceState::Running, Time::ZERO) }, at(10), at(10));
    r
}

/// A sweep of the list, begun and ended at `now`, shows the runner so.
fn list(r: &mut Runner, online: bool, busy: bool, now: Time) {
    let name = RunnerName { cluster: "c".into(), pool: "p".into(), instance: "i-1".into() };
    let row = RunnerSighting { id: RunnerId(1), name, online, busy, labels: Arc::default(), version: None };
    r.shown_by_list(&acme(), &row, now);
    r.list_swept(&acme(), Some(true), now);
    r.note_presence(now);
}

/// This many sweeps of the list, the first at `from` and one each 20 seconds, do not show the runner.
fn unlisted(r: &mut Runner, sweeps: u8, from: Time) {
    for n in 0..sweeps {
        r.list_swept(&acme(), Some(false), from + Duration::from_secs(20) * n.into());
        r.note_presence(from);
    }
}

fn minted() -> Arc<Terms> {
    Arc::new(Terms { list_id: acme(), group: Some("Default".into()), labels: Arc::default() })
}

/// A change to a record that allows a conclusion. After the change, the conclusion must not follow any more.
type RecordChange = fn(&mut Runner);

const WHY: StepReason = StepReason::Unneeded;

#[test]
fn an_own_launch_counts_until_seen_or_expired() {
    let mut r = Runner::new("p".into(), Time::ZERO);
    r.found_to_be_ours(None);
    for _ in 0..9 {
        r.missed_by_ec2(at(30));
    }
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Launching);
    assert_eq!(r.phase(DEADLINE, Time::ZERO + LAUNCH_LAG), Phase::Gone);
}

#[test]
fn a_runner_that_ended_by_itself_after_it_was_online_is_unexplained_and_nothing_less_is() {
    let online = |busy| {
        let mut r = bound();
        list(&mut r, true, false, at(12));
        list(&mut r, true, busy, at(13));
        r
    };
    let ended = |mut r: Runner| {
        r.told_by_ec2(InstanceState::ShuttingDown, at(30));
        r
    };
    let r = ended(online(false));
    assert_eq!(r.ended_unexplained(), Some(at(30)));
    let changes: [RecordChange; 7] = [
        |r| r.drain_accepted(&WHY, at(20)),
        |r| r.ask_unanswered(&WHY, at(20)),
        |r| assert!(r.interruption_told(at(20))),
        |r| r.termination_accepted(at(20)),
        |r| r.effect_begins(Act::Drain),
        |r| r.job_started(JobId(1)),
        |r| r.job_ended(JobId(1), true, at(20)),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut r = r.clone();
        change(&mut r);
        assert_eq!(r.ended_unexplained(), None, "change {i}");
    }
    assert_eq!(online(false).ended_unexplained(), None, "it runs");
    assert_eq!(ended(bound()).ended_unexplained(), None, "it was never online");
    assert_eq!(ended(online(true)).ended_unexplained(), None, "it turned busy");
    let mut r = r.clone();
    r.effect_begins(Act::Deregister);
    assert_eq!(r.ended_unexplained(), Some(at(30)), "a deregistration ends no instance");
}

#[test]
fn one_that_was_never_configured_shows_no_trace_of_it() {
    let r = shown(InstanceState::Running);
    assert!(r.never_configured());
    assert!(!found(InstanceState::Running, Time::ZERO, at(10)).never_configured(), "a predecessor may have done it");
    let changes: [RecordChange; 6] = [
        |r| r.configuration_unsure(),
        |r| {
            r.secret_shown();
            r.secret_missed(at(20));
        },
        |r| {
            r.configuration_ready(&minted(), None, at(9));
            r.secret_deleted();
        },
        |r| list(r, false, false, at(12)),
        |r| r.job_started(JobId(1)),
        |r| r.secret_shown(),
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
    let changes: [(RecordChange, bool); 5] = [
        (|r| r.job_started(JobId(1)), true),
        (|r| list(r, true, false, at(12)), true),
        (|r| list(r, false, true, at(12)), true),
        (|r| list(r, false, false, at(12)), false),
        (|r| r.job_ended(JobId(1), true, at(20)), false),
    ];
    for (i, (change, may)) in changes.iter().enumerate() {
        let mut r = r.clone();
        change(&mut r);
        assert_eq!(r.may_have_job(), *may, "change {i}");
    }
}

#[test]
fn what_ec2_shows_and_what_it_was_told_make_the_phase() {
    let phase_of = |state, terminated: bool| {
        let mut r = shown(state);
        if terminated {
            r.termination_accepted(at(11));
        }
        r.phase(DEADLINE, at(12))
    };
    for state in [InstanceState::Pending, InstanceState::Running] {
        assert_eq!(phase_of(state, false), Phase::Booting);
        assert_eq!(phase_of(state, true), Phase::Terminating, "EC2 took our request");
    }
    for state in [InstanceState::Stopping, InstanceState::Stopped, InstanceState::ShuttingDown] {
        assert_eq!(phase_of(state, false), Phase::Terminating);
    }
    assert_eq!(phase_of(InstanceState::Terminated, false), Phase::Gone);
    assert_eq!(Runner::new("p".into(), Time::ZERO).phase(DEADLINE, at(1)), Phase::Booting, "something else speaks of it");
}

#[test]
fn an_absence_takes_two_sweeps_and_longer_than_ec2_lags() {
    let mut r = shown(InstanceState::Running);
    let gone = |r: &Runner, now| r.phase(Duration::MAX, now) == Phase::Gone;
    let late = Time::ZERO + LAUNCH_LAG;
    r.missed_by_ec2(at(39));
    r.missed_by_ec2(at(40));
    assert!(!gone(&r, late), "the first of them may be older than the sighting");
    r.missed_by_ec2(at(41));
    assert!(gone(&r, late) && !gone(&r, late - Duration::from_secs(1)));
    r.shown_by_ec2(&instance(InstanceState::Running, Time::ZERO), late, late);
    assert!(!gone(&r, late), "it is there again");
    for _ in 0..ABSENT_SWEEPS {
        r.missed_by_ec2(late + CONSISTENCY_LAG);
    }
    assert!(!gone(&r, late + CONSISTENCY_LAG - Duration::from_secs(1)) && gone(&r, late + CONSISTENCY_LAG));
    // A found runner has no launch whose lag must be waited for.
    let mut found = Runner::new("p".into(), Time::ZERO);
    for _ in 0..ABSENT_SWEEPS {
        found.missed_by_ec2(at(30));
    }
    assert!(!gone(&found, at(29)) && gone(&found, Time::ZERO + CONSISTENCY_LAG));
}

#[test]
fn a_stale_page_revives_no_instance() {
    let mut r = shown(InstanceState::Running);
    r.told_by_ec2(InstanceState::ShuttingDown, at(20));
    r.shown_by_ec2(&instance(InstanceState::Running, Time::ZERO), at(20), at(21));
    assert_eq!(r.instance().map(Instance::state), Some(InstanceState::ShuttingDown));
    r.told_by_ec2(InstanceState::Terminated, at(30));
    assert_eq!((r.phase(DEADLINE, at(30)), r.ending_since()), (Phase::Gone, Some(at(20))));
}

#[test]
fn the_boot_deadline_counts_from_the_launch_and_waits_for_a_look() {
    let r = shown(InstanceState::Running);
    assert_eq!((r.phase(DEADLINE, at(299)), r.phase(DEADLINE, at(300))), (Phase::Booting, Phase::Failed));
    // The runner's list is known. The runner may be online, as far as the last sweep of that list tells.
    let mut r = bound();
    r.list_swept(&acme(), Some(false), at(299));
    assert_eq!(r.phase(DEADLINE, at(400)), Phase::Booting);
    r.list_swept(&acme(), Some(false), at(300));
    assert_eq!(r.phase(DEADLINE, at(400)), Phase::Failed);
    // A found runner counts from its launch, long before.
    assert_eq!(found(InstanceState::Running, at(800), at(1_000)).up_for(at(1_050)), Duration::from_secs(250));
    assert_eq!(r.up_for(at(50)), Duration::from_secs(50));
    // EC2 says that our instance came of a later call than the first one. EC2's clock may be ahead.
    let mut late = shown(InstanceState::Running);
    late.shown_by_ec2(&instance(InstanceState::Running, at(20)), at(25), at(25));
    assert_eq!((late.up_for(at(50)), late.boot_due(DEADLINE)), (Duration::from_secs(30), at(320)));
    late.shown_by_ec2(&instance(InstanceState::Running, at(7_000)), at(25), at(25));
    assert_eq!(late.boot_due(DEADLINE), at(325));
}

#[test]
fn the_seat_at_github_makes_the_phase() {
    let phase_of = |change: RecordChange| {
        let mut r = bound();
        change(&mut r);
        r.phase(DEADLINE, at(60))
    };
    let table: [(RecordChange, Phase); 9] = [
        (|r| list(r, true, false, at(12)), Phase::Idle),
        (|r| list(r, true, true, at(12)), Phase::Busy),
        (|r| list(r, false, true, at(12)), Phase::Busy),
        (|r| list(r, false, false, at(12)), Phase::Configured),
        (
            |r| {
                list(r, false, false, at(12));
                r.configuration_unsure();
            },
            Phase::Booting,
        ),
        (
            |r| {
                list(r, true, false, at(20));
                list(r, false, false, at(30));
            },
            Phase::Idle,
        ),
        (
            |r| {
                list(r, true, false, at(20));
                list(r, false, false, at(30));
                list(r, false, false, at(50));
            },
            Phase::Failed,
        ),
        (|r| r.configuration_ready(&minted(), None, at(20)), Phase::Configured),
        (
            |r| {
                list(r, true, false, at(20));
                r.deregistered();
            },
            Phase::Idle,
        ),
    ];
    for (i, (change, phase)) in table.iter().enumerate() {
        assert_eq!(phase_of(*change), *phase, "row {i}");
    }
    // A job's event told that the runner is online. That holds until a list says otherwise, if anybody knows which list.
    let told = |mut r: Runner| {
        r.job_started(JobId(1));
        r.note_presence(at(20));
        r.job_ended(JobId(1), false, at(20));
        r
    };
    let mut r = told(bound());
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Idle);
    r.list_swept(&acme(), Some(false), at(20));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Idle);
    r.list_swept(&acme(), Some(false), at(21));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Failed);
    assert_eq!(told(shown(InstanceState::Running)).phase(DEADLINE, at(60)), Phase::Failed);
    // The first list that shows the runner shows it offline. One list may show everybody so.
    let mut r = told(bound());
    list(&mut r, false, false, at(30));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Idle);
    list(&mut r, false, false, at(50));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Failed);
    // The list does not show the runner any more. Two sweeps must miss the runner.
    let mut r = bound();
    list(&mut r, true, false, at(20));
    unlisted(&mut r, ABSENT_SWEEPS - 1, at(30));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Idle);
    unlisted(&mut r, 1, at(49));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Idle, "two looks within seconds may have one cause");
    unlisted(&mut r, 1, at(50));
    assert_eq!(r.phase(DEADLINE, at(60)), Phase::Failed);
}

#[test]
fn backoff_doubles_up_to_a_minute_or_as_long_as_the_other_side_said() {
    let mut r = shown(InstanceState::Running);
    for wait in [1, 2, 4, 8, 16, 32, 64, 64] {
        r.effect_begins(Act::Drain);
        assert!(!r.is_free(at(100 + wait)), "it is under way");
        assert_eq!(r.effect_failed("no".into(), None, at(100)), at(100 + wait));
        assert!(!r.is_free(at(99 + wait)) && r.is_free(at(100 + wait)));
    }
    assert_eq!(r.effect_failed("later".into(), Some(Duration::from_secs(500)), at(100)), at(600));
    assert_eq!((r.not_before(), r.last_error()), (at(600), Some("later")));
    r.effect_succeeded();
    assert_eq!((r.effect_failed("no".into(), None, at(700)), r.last_error()), (at(701), Some("no")));
}

#[test]
fn terms_serve_a_pool_that_asks_for_no_more() {
    let mut pool = RunnerPool::default();
    pool.spec.github.app = Some("main".into());
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = vec!["self-hosted".into(), "Linux".into()];
    let labels = ["linux".to_owned(), "self-hosted".to_owned(), "gpu".to_owned()];
    let terms = Terms { list_id: pool.list_id(), group: Some("Default".into()), labels: labels.into() };
    let fits = |change: fn(&mut Terms), pool: &RunnerPool| {
        let mut t = terms.clone();
        change(&mut t);
        t.serve(pool)
    };
    assert!(fits(|_| {}, &pool) && fits(|t| t.group = None, &pool));
    assert!(!fits(|t| t.group = Some("other".into()), &pool));
    assert!(!fits(|t| t.labels = ["linux".to_owned()].into(), &pool));
    assert!(!fits(|t| t.list_id.scope = "org/other".parse().expect("a scope"), &pool));
    let r = shown(InstanceState::Running);
    assert!(!r.outdated(&pool) && r.supplies(Some(&pool), Phase::Idle));
    assert_eq!(r.list(), None);
    let mut others = r.clone();
    others.configuration_ready(&Arc::new(Terms { labels: Arc::default(), ..terms.clone() }), None, at(20));
    assert!(others.outdated(&pool) && !others.supplies(Some(&pool), Phase::Idle) && others.supplies(None, Phase::Idle));
    let mut elsewhere = r.clone();
    let list_id = Some(ListId { app: "other".into(), scope: terms.list_id.scope.clone() });
    elsewhere.shown_by_ec2(&InstanceSighting { list_id, ..instance(InstanceState::Running, at(0)) }, at(20), at(20));
    assert!(elsewhere.outdated(&pool));
    list(&mut elsewhere, true, false, at(30));
    assert_eq!(elsewhere.list(), Some(&terms.list_id));
    let changes: [RecordChange; 3] =
        [|r| r.effect_begins(Act::Terminate), |r| r.ask_unanswered(&WHY, at(20)), |r| r.order_to_end("")];
    for (i, change) in changes.iter().enumerate() {
        let mut r = r.clone();
        change(&mut r);
        assert!(!r.supplies(Some(&pool), Phase::Idle), "change {i}");
    }
}

/// What was known of a runner's end before never comes back.
#[test]
fn each_step_towards_its_end_outranks_the_ones_before() {
    let asked = |ask: &Ask| (ask.at(), ask.why().cloned());
    let mut r = shown(InstanceState::Running);
    let tagged = InstanceSighting { draining: true, ..instance(InstanceState::Running, Time::ZERO) };
    let untagged = instance(InstanceState::Running, Time::ZERO);
    r.order_to_end("costs");
    r.ask_unanswered(&WHY, at(20));
    assert_eq!((r.ordered(), r.unanswered().map(Ask::at), r.drain()), (Some("costs"), Some(at(20)), None));
    // A sweep that began within EC2's lag after the order proves nothing. A later sweep proves that the order was in vain.
    r.shown_by_ec2(&untagged, at(49), at(50));
    assert!(r.may_be_leaving());
    let mut in_vain = r.clone();
    in_vain.shown_by_ec2(&untagged, at(50), at(51));
    assert_eq!((in_vain.ordered(), in_vain.may_be_leaving()), (Some("costs"), false));
    in_vain.shown_by_ec2(&tagged, at(60), at(61));
    assert_eq!(in_vain.drain().map(asked), Some((at(61), None)), "somebody else asked");
    r.shown_by_ec2(&tagged, at(50), at(51));
    assert_eq!((r.ordered(), r.unanswered()), (None, None));
    assert_eq!(r.drain().map(asked), Some((at(20), Some(WHY))));
    r.order_to_end("again");
    r.ask_unanswered(&WHY, at(60));
    r.drain_accepted(&StepReason::PoolGone, at(70));
    assert_eq!(r.drain().map(asked), Some((at(20), Some(StepReason::PoolGone))), "the first time, and the newest reason");
    assert_eq!((r.ordered(), r.may_be_leaving(), r.drain_ended()), (None, false, Some(DrainOutcome::Answered)));
    r.termination_accepted(at(80));
    assert_eq!((r.terminated_at(), r.drain().map(Ask::at)), (Some(at(80)), Some(at(20))));
    assert_eq!(r.drain_ended(), Some(DrainOutcome::Unanswered));
}

#[test]
fn an_end_before_it_was_online_is_told_once_and_only_if_nobody_asked_for_it() {
    let mut r = shown(InstanceState::Terminated);
    assert!(r.found_gone(at(20)) && !r.found_gone(at(21)));
    assert_eq!((r.gone_at(), r.end_is_unexplained()), (Some(at(20)), true));
    let why = Some("Server.InternalError".to_owned());
    r.shown_by_ec2(&InstanceSighting { state_reason: why, ..instance(InstanceState::Terminated, at(0)) }, at(22), at(22));
    assert!(!r.end_is_unexplained());
    let changes: [RecordChange; 4] = [
        |r| list(r, true, false, at(12)),
        |r| r.termination_accepted(at(12)),
        |r| assert!(r.interruption_told(at(12))),
        // It was counted when muster asked EC2 to end it, which EC2 refused.
        |r| assert!(r.start_failed()),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut r = shown(InstanceState::Terminated);
        change(&mut r);
        assert!(!r.found_gone(at(20)) && !r.end_is_unexplained(), "change {i}");
    }
    assert!(!found(InstanceState::Terminated, at(0), at(10)).found_gone(at(20)), "it is a predecessor's");
}

#[test]
fn a_runner_that_was_configured_late_gets_its_minute() {
    let mut r = shown(InstanceState::Running);
    r.configuration_ready(&minted(), None, at(290));
    assert_eq!(r.phase(DEADLINE, at(349)), Phase::Configured);
    assert_eq!(r.phase(DEADLINE, at(350)), Phase::Failed);
    assert_eq!(r.phase(Duration::from_secs(30), at(319)), Phase::Configured, "no longer than its boot deadline");
    assert_eq!(r.phase(Duration::from_secs(30), at(320)), Phase::Failed);
}
