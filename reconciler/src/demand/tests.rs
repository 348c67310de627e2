use super::*;
use crate::event::JobAbout;
use crate::ids::RunnerId;
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(86_400);

fn event(job: u64, state: JobState) -> JobEvent {
    JobEvent {
        job: JobId(job),
        run: RunId(job / 10),
        state,
        waiting: false,
        attempt: None,
        about: JobAbout::default(),
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: vec!["self-hosted".into()],
        runner: (state > JobState::Queued).then(|| format!("c.p.i-{job}")),
        runner_id: (state > JobState::Queued).then_some(RunnerId(job)),
        conclusion: (state == JobState::Completed).then(|| "success".into()),
        queued_at: None,
        started_at: None,
    }
}

fn fold_all(events: &[JobEvent]) -> Demand {
    let mut d = Demand::default();
    for e in events {
        d.fold(&Spec::default(), e, None, Time::ZERO);
    }
    d
}

fn any_event() -> impl Strategy<Value = JobEvent> {
    let state = prop_oneof![Just(JobState::Queued), Just(JobState::InProgress), Just(JobState::Completed)];
    (0..30u64, state, prop::option::of("[ab]"), prop::option::of("[ab]")).prop_map(|(job, state, runner, conclusion)| JobEvent {
        runner: runner.filter(|_| state > JobState::Queued),
        conclusion: conclusion.filter(|_| state == JobState::Completed),
        ..event(job, state)
    })
}

proptest! {
    #[test]
    fn fold_is_commutative_and_idempotent(events in prop::collection::vec(any_event(), 0..40), seed in any::<u64>()) {
        let once = fold_all(&events);
        let mut shuffled = events.clone();
        // The shuffle is a seeded Fisher-Yates. Every event also comes twice.
        let mut s = seed;
        shuffled.extend(events.iter().cloned());
        for i in (1..shuffled.len()).rev() {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            shuffled.swap(i, (s >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(once, fold_all(&shuffled));
    }

    #[test]
    fn join_is_associative(a in any_event(), b in any_event(), c in any_event()) {
        let with_id = |e: JobEvent| JobEvent { job: JobId(1), run: RunId(1), ..e };
        let (a, b, c) = (with_id(a), with_id(b), with_id(c));
        let mut left = a.clone();
        join(&mut left, &b);
        join(&mut left, &c);
        let mut bc = b;
        join(&mut bc, &c);
        let mut right = a;
        join(&mut right, &bc);
        prop_assert_eq!(left, right);
    }
}

#[test]
fn a_job_keeps_its_messages_until_it_left_the_queue() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    assert!(d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO).deletable.is_empty());
    assert!(d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(2), 1)), Time::ZERO).deletable.is_empty());
    let started = d.fold(&spec, &event(1, JobState::InProgress), Some((MessageId(3), 1)), Time::ZERO);
    assert_eq!(started.deletable, [MessageId(1), MessageId(2), MessageId(3)]);
    assert_eq!(d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(4), 2)), Time::ZERO).deletable, [MessageId(4)]);
}

#[test]
fn another_owners_event_changes_no_known_job() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO);
    let before = d.clone();
    let foreign = JobEvent { repo: "beta/web".into(), ..event(1, JobState::Completed) };
    let folded = d.fold(&spec, &foreign, Some((MessageId(2), 1)), Time::ZERO);
    assert_eq!((folded.advanced, folded.ended, folded.deletable), (false, None, vec![MessageId(2)]));
    assert_eq!(d, before);
    let renamed = JobEvent { repo: "Acme/site".into(), ..event(1, JobState::Completed) };
    assert!(d.fold(&spec, &renamed, None, Time::ZERO).advanced, "the same owner, whatever the case and the repository");
}

#[test]
fn what_is_over_stays_over() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(1, JobState::Completed), None, Time::ZERO);
    let late = d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(9), 1)), Time::ZERO);
    assert_eq!((late.advanced, late.deletable), (false, vec![MessageId(9)]));
    assert!(d.jobs().is_empty() && d.is_over(JobId(1)));
}

#[test]
fn a_redelivered_message_marks_its_job_unless_it_is_one_that_we_hold() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 3)), Time::ZERO);
    assert!(d.jobs()[&JobId(1)].redelivered);
    for count in 1..=2 {
        d.fold(&spec, &event(2, JobState::Queued), Some((MessageId(2), count)), Time::ZERO);
    }
    assert!(!d.jobs()[&JobId(2)].redelivered);
}

#[test]
fn an_event_of_the_run_ends_a_hold_and_holds_grow() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(11, JobState::Queued), None, Time::ZERO);
    d.hold(JobId(11), "i-1".into(), Time::ZERO);
    let first = d.jobs()[&JobId(11)].hold.clone().expect("held");
    d.hold(JobId(11), "i-1".into(), first.until);
    let second = d.jobs()[&JobId(11)].hold.clone().expect("held");
    assert_eq!(second.until.since(second.since), 2 * first.until.since(first.since));
    assert!(d.jobs()[&JobId(11)].held(second.since));
    d.fold(&spec, &event(12, JobState::Completed), None, Time::ZERO);
    assert!(!d.jobs()[&JobId(11)].held(second.since), "job 12 is of the same run");
}

#[test]
fn an_event_of_the_run_tries_one_of_its_held_jobs_and_not_all() {
    let (mut d, (spec, _)) = (Demand::default(), one_pool());
    let after = |s| Time::ZERO + Duration::from_secs(s);
    for job in 11..=15 {
        d.fold(&spec, &event(job, JobState::Queued), None, after(0));
        d.hold(JobId(job), format!("i-{job}").into(), after(0));
    }
    let tried = |d: &Demand| d.jobs().values().filter(|j| !j.held(after(9))).count();
    for (over, tries) in [(16, 1), (17, 1), (18, 1)] {
        d.fold(&spec, &event(over, JobState::Completed), None, after(9));
        assert_eq!(tried(&d), tries);
    }
    d.fold(&spec, &event(11, JobState::InProgress), None, after(9));
    assert_eq!(tried(&d), 3, "one has a runner, so two more are tried");
}

#[test]
fn what_was_heard_before_ends_no_hold() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    for job in [11, 12] {
        d.fold(&spec, &event(job, JobState::Queued), None, Time::ZERO);
    }
    d.hold(JobId(11), "i-1".into(), Time::ZERO);
    assert!(!d.fold(&spec, &event(12, JobState::Queued), None, Time::ZERO).advanced);
    assert!(d.jobs()[&JobId(11)].held(Time::ZERO));
}

#[test]
fn a_job_started_when_that_was_first_heard() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    let at = |s| Time::ZERO + Duration::from_secs(s);
    for (s, state, started) in
        [(1, JobState::Queued, None), (2, JobState::InProgress, Some(2)), (3, JobState::InProgress, Some(2))]
    {
        d.fold(&spec, &event(1, state), None, at(s));
        assert_eq!(d.jobs()[&JobId(1)].started, started.map(at));
    }
}

#[test]
fn a_job_of_other_labels_finds_its_place_anew() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    let bare = JobEvent { labels: vec![], ..event(1, JobState::Queued) };
    d.fold(&spec, &bare, None, Time::ZERO);
    assert!(matches!(d.jobs()[&JobId(1)].route, Route::Foreign(_)));
    d.fold(&spec, &event(1, JobState::Queued), None, Time::ZERO);
    assert!(matches!(d.jobs()[&JobId(1)].route, Route::Unmatched(_)));
}

#[test]
fn jobs_expire_after_a_day_with_their_messages() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO);
    assert!(d.expire(Time::ZERO + DAY - Duration::from_secs(1)).is_empty());
    let expired = d.expire(Time::ZERO + DAY);
    assert_eq!(expired.iter().flat_map(|j| &j.messages).collect::<Vec<_>>(), [&MessageId(1)]);
    assert!(d.jobs().is_empty());
}

#[test]
fn a_running_job_and_a_tombstone_expire_to_the_second() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    let before = |limit: Duration| Time::ZERO + limit - Duration::from_secs(1);
    d.fold(&spec, &event(1, JobState::Completed), None, Time::ZERO);
    d.fold(&spec, &event(2, JobState::InProgress), None, Time::ZERO);
    d.expire(before(DAY));
    assert!(d.is_over(JobId(1)));
    d.expire(Time::ZERO + DAY);
    assert!(!d.is_over(JobId(1)));
    d.expire(before(6 * DAY));
    assert!(d.jobs().contains_key(&JobId(2)));
    d.expire(Time::ZERO + 6 * DAY);
    assert!(d.jobs().is_empty() && d.is_over(JobId(2)));
}

#[test]
fn tombstones_are_bounded_and_the_oldest_go_first() {
    let (mut d, most) = (Demand::default(), TOMBSTONES as u64);
    (0..most).for_each(|job| drop(d.bury(JobId(job), Time::ZERO)));
    assert!(d.is_over(JobId(0)));
    d.bury(JobId(most), Time::ZERO);
    assert!(!d.is_over(JobId(0)) && d.is_over(JobId(1)) && d.is_over(JobId(most)));
}

fn one_pool() -> (Spec, PoolName) {
    let mut pool = crate::manifest::RunnerPool::default();
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = vec!["self-hosted".into()];
    (Spec { pools: [("p".into(), pool)].into(), ..Spec::default() }, "p".into())
}

#[test]
fn a_hold_lasts_ten_minutes_then_twice_as_long_up_to_half_an_hour() {
    let (mut d, (spec, pool), mut now) = (Demand::default(), one_pool(), Time::ZERO + Duration::from_secs(7));
    d.fold(&spec, &event(11, JobState::Queued), None, now);
    assert_eq!(d.jobs()[&JobId(11)].counted_since(), now);
    for minutes in [10, 20, 30, 30] {
        d.hold(JobId(11), "i-1".into(), now);
        let until = now + Duration::from_secs(minutes * 60);
        d.try_one(&pool, until - Duration::from_secs(1));
        assert!(d.jobs()[&JobId(11)].held(until), "{minutes}");
        assert_eq!(d.evidence(&pool).count(), 1);
        d.try_one(&pool, until);
        let job = &d.jobs()[&JobId(11)];
        assert_eq!(job.counted_since(), until);
        assert!(job.counts(Duration::ZERO, until) && d.evidence(&pool).count() == 1);
        now = until;
    }
}

#[test]
fn one_held_job_of_a_pool_is_tried_at_a_time_and_two_more_once_github_gave_one_to_a_runner() {
    let (mut d, (spec, pool)) = (Demand::default(), one_pool());
    let after = |s| Time::ZERO + Duration::from_secs(s);
    for job in 1..=6 {
        d.fold(&spec, &JobEvent { run: RunId(job), ..event(job, JobState::Queued) }, None, after(0));
        d.hold(JobId(job), format!("i-{job}").into(), after(job));
    }
    let tried = |d: &Demand, at| -> Vec<u64> {
        d.jobs().iter().filter(|(_, j)| j.counts(Duration::ZERO, at)).map(|(id, _)| id.0).collect()
    };
    d.try_one(&pool, after(700));
    d.try_one(&pool, after(900));
    assert_eq!(tried(&d, after(900)), [1]);
    d.fold(&spec, &JobEvent { run: RunId(1), ..event(1, JobState::InProgress) }, None, after(901));
    assert_eq!(tried(&d, after(901)), [2, 3]);
    d.hold(JobId(2), "i-9".into(), after(1200));
    d.hold(JobId(3), "i-9".into(), after(1200));
    d.try_one(&pool, after(1200));
    assert_eq!(tried(&d, after(1200)), [4], "the next one");
}

#[test]
fn a_change_of_its_pool_ends_a_hold_by_an_idle_runner_and_not_one_by_githubs_word() {
    let (mut d, (spec, _)) = (Demand::default(), one_pool());
    let at = Time::ZERO + Duration::from_secs(60);
    for job in [1, 2] {
        d.fold(&spec, &event(job, JobState::Queued), None, Time::ZERO);
    }
    d.hold(JobId(1), "i-1".into(), Time::ZERO);
    d.say_waiting(JobId(2), Time::ZERO);
    d.reroute(&spec, |_| false, at);
    assert!(d.jobs().values().all(|j| j.held(at) && j.since == Time::ZERO));
    d.reroute(&spec, |_| true, at);
    assert!(!d.jobs()[&JobId(1)].held(at) && d.jobs()[&JobId(1)].counted_since() == at);
    assert!(d.jobs()[&JobId(2)].held(at));
}

#[test]
fn a_redelivered_job_is_confirmed_by_an_answer_or_after_ten_seconds() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 2)), Time::ZERO);
    let after = |ms| Time::ZERO + Duration::from_millis(ms);
    assert!(!d.jobs()[&JobId(1)].confirmed(after(9_999)) && d.jobs()[&JobId(1)].confirmed(after(10_000)));
    d.say_queued(JobId(1), Time::ZERO);
    assert!(d.jobs()[&JobId(1)].confirmed(after(0)));
}

#[test]
fn a_job_that_is_minutes_old_when_it_is_first_heard_of_is_confirmed_by_an_answer_or_a_minute_after_the_question() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    let now = Time::ZERO + DAY;
    let of_age = |job, s| JobEvent { queued_at: Some(now - Duration::from_secs(s)), ..event(job, JobState::Queued) };
    d.fold(&spec, &of_age(1, 119), Some((MessageId(1), 1)), now);
    assert!(d.jobs()[&JobId(1)].counts(Duration::ZERO, now), "a young job counts at once");
    d.fold(&spec, &of_age(2, 120), Some((MessageId(2), 1)), now);
    let after = |ms| now + Duration::from_millis(ms);
    let counts = |d: &Demand, ms| d.jobs()[&JobId(2)].counts(Duration::ZERO, after(ms));
    assert!(!counts(&d, 599_999) && counts(&d, 600_000), "nobody asks");
    d.job_mut(JobId(2)).expect("job 2").asked(after(3_600_000), after(5_000));
    assert!(!counts(&d, 64_999) && counts(&d, 65_000));
    d.say_queued(JobId(2), now);
    assert!(d.jobs()[&JobId(2)].counts(Duration::ZERO, now));
    d.fold(&spec, &of_age(3, 9999), Some((MessageId(4), 2)), now);
    assert!(!d.jobs()[&JobId(3)].counts(Duration::ZERO, after(10_000)), "a message that came before makes the job no younger");
    d.fold(&spec, &of_age(1, 119), Some((MessageId(3), 1)), now + DAY / 2);
    assert!(d.jobs()[&JobId(1)].counts(Duration::ZERO, now + DAY / 2), "a known job is no news, however old it is");
}

fn waits(job: u64) -> JobEvent {
    JobEvent { waiting: true, ..event(job, JobState::Queued) }
}

#[test]
fn a_job_that_github_says_waits_is_held_until_github_says_otherwise_or_nothing_for_an_hour() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    let after = |s| Time::ZERO + Duration::from_secs(s);
    d.fold(&spec, &waits(11), Some((MessageId(1), 1)), after(0));
    let job = |d: &Demand| d.jobs()[&JobId(11)].clone();
    assert!(job(&d).waits() && !job(&d).event.waiting);
    assert!(job(&d).held(after(3599)) && !job(&d).held(after(3600)));
    d.say_waiting(JobId(11), after(1800));
    assert_eq!(job(&d).hold.map(|h| (h.since, h.until)), Some((after(0), after(5400))), "said again, it is the same hold");
    d.fold(&spec, &event(12, JobState::Completed), None, after(1801));
    assert!(job(&d).held(after(1801)), "an event of its run does not end it");
    assert_eq!(
        job(&d).check.not_before,
        after(1801).min(job(&d).told + Duration::from_secs(10)),
        "GitHub is soon asked about it"
    );
    d.job_mut(JobId(11)).expect("job 11").asked(after(9_999), after(1801));
    d.job_mut(JobId(11)).expect("job 11").answered(true, after(1801), after(1801));
    d.fold(&spec, &event(13, JobState::Completed), None, after(1801));
    assert_eq!(job(&d).check.not_before, after(1861), "and again a minute later");
    d.say_queued(JobId(11), after(1802));
    d.fold(&spec, &waits(11), Some((MessageId(1), 2)), after(1802));
    assert!(job(&d).counts(Duration::ZERO, after(1802)) && job(&d).counted_since() == after(1802));
}

#[test]
fn a_new_queued_event_ends_any_hold_once_github_confirms_it_or_after_ten_seconds() {
    for why in [HoldReason::Waiting, HoldReason::LeftQueued] {
        let (mut d, spec) = (Demand::default(), Spec::default());
        let after = |s| Time::ZERO + Duration::from_secs(s);
        d.fold(&spec, &event(11, JobState::Queued), Some((MessageId(1), 1)), after(0));
        match why {
            HoldReason::Waiting => d.say_waiting(JobId(11), after(60)),
            HoldReason::LeftQueued => d.hold(JobId(11), "i-1".into(), after(60)),
        }
        d.fold(&spec, &event(11, JobState::Queued), Some((MessageId(1), 2)), after(90));
        assert!(d.jobs()[&JobId(11)].held(after(90)), "a message that we hold is no news");
        d.fold(&spec, &event(11, JobState::Queued), Some((MessageId(2), 1)), after(100));
        let job = &d.jobs()[&JobId(11)];
        assert!(!job.held(after(100)) && !job.counts(Duration::ZERO, after(109)) && job.counts(Duration::ZERO, after(110)));
        assert_eq!((job.check.not_before, job.told, job.counted_since()), (after(100), after(100), after(100)));
        d.say_queued(JobId(11), after(101));
        assert!(d.jobs()[&JobId(11)].counts(Duration::ZERO, after(101)), "{why:?}");
    }
}

#[test]
fn github_is_asked_ten_seconds_after_it_said_that_a_job_waits() {
    let (mut d, spec) = (Demand::default(), Spec::default());
    d.fold(&spec, &event(1, JobState::Queued), Some((MessageId(1), 1)), Time::ZERO);
    d.fold(&spec, &waits(1), Some((MessageId(2), 1)), Time::ZERO + Duration::from_secs(1));
    let job = &d.jobs()[&JobId(1)];
    assert!(job.waits() && job.check.not_before == Time::ZERO + Duration::from_secs(11), "{job:?}");
}
