//! What events told, beside what the list shows.

use super::*;

#[test]
fn the_end_of_a_job_begins_the_idle_time_anew_even_if_no_event_told_of_its_start() {
    let mut r = bound();
    list(&mut r, true, false, at(20));
    assert_eq!(r.idle_since(), Some(at(20)));
    r.job_ended(JobId(1), false, at(300));
    r.note_presence(at(300));
    assert_eq!(r.idle_since(), Some(at(300)));
    r.note_presence(at(360));
    assert_eq!(r.idle_since(), Some(at(300)), "nothing happened in between");
}

#[test]
fn what_events_told_of_another_registration_with_the_same_name_does_not_count() {
    let mut r = bound();
    r.named_with(RunnerId(9));
    r.job_started(JobId(1));
    assert!(r.may_have_job(), "muster does not know better yet");
    list(&mut r, true, false, at(20));
    assert!(r.job().is_none(), "the list shows the id 1");
    r.named_with(RunnerId(1));
    r.job_started(JobId(2));
    list(&mut r, true, false, at(40));
    assert!(r.job().runs(JobId(2)));
}

/// A successor finds a runner, and the first list that it reads shows every runner offline. The runner may have a job.
#[test]
fn a_found_runner_is_surely_offline_after_two_lists_over_twenty_seconds() {
    let mut r = found(InstanceState::Running, at(0), at(600));
    let offline = |r: &Runner| r.registration().is_some_and(Registration::is_surely_offline);
    for (seconds, sure) in [(600, false), (610, false), (620, true)] {
        list(&mut r, false, false, at(seconds));
        assert_eq!(offline(&r), sure, "{seconds} s");
    }
    list(&mut r, true, true, at(630));
    assert!(!offline(&r));
}
