//! What speaks for and against a machine after its job.

use super::*;
use crate::verdict::Cause;

#[test]
fn only_a_list_that_has_the_runner_shows_that_it_outlived_its_job() {
    let mut r = bound();
    list(&mut r, true, true, at(40));
    unlisted(&mut r, 1, at(200));
    assert!(!r.outlived(at(100), true));
    list(&mut r, true, false, at(220));
    assert!(r.outlived(at(100), true));
}

#[test]
fn a_job_whose_end_is_told_after_its_runners_deregistration_may_have_ended_by_it() {
    let mut r = bound();
    list(&mut r, true, true, at(40));
    assert_eq!(r.suspect(at(60)), None);
    r.perhaps_deregistered(at(50));
    r.perhaps_deregistered(at(70));
    assert_eq!((r.suspect(at(49)), r.suspect(at(50))), (None, Some(Cause::Muster)));
}
