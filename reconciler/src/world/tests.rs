use super::*;
use crate::ids::RunId;

#[test]
fn a_name_with_another_pool_tells_nothing_of_a_known_runner() {
    let (mut world, spec) = (World::default(), Spec::default());
    let heard = |pool: &str, state| JobEvent {
        job: JobId(1),
        run: RunId(1),
        state,
        waiting: false,
        repo: "acme/web".into(),
        org: None,
        enterprise: None,
        labels: vec![],
        runner: Some(format!("{}.{pool}.i-1", spec.controller.cluster())),
        conclusion: None,
        queued_at: None,
        started_at: None,
    };
    assert_eq!(world.heard_job(&spec, &heard("x", JobState::InProgress), Time::ZERO), Some("x".into()));
    let before = world.clone();
    assert_eq!(world.heard_job(&spec, &heard("y", JobState::Completed), Time::ZERO), None);
    assert_eq!(world, before);
    assert_eq!(world.heard_job(&spec, &heard("x", JobState::Completed), Time::ZERO), Some("x".into()));
    assert_ne!(world, before);
}
