//! How soon GitHub is asked about a job whose machine is gone.

use muster_reconciler::effect::{Action, Outcome};
use muster_reconciler::event::JobState;
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::time::Time;

use super::scene::{Scene, secs};
use super::{reruns, terminated};

/// The questions while the job was queued made the steps long: the next one would come half an hour later. Found by seed 50006019.
#[test]
fn a_job_whose_runner_is_lost_is_soon_asked_about_however_often_it_was_before() {
    let mut scene = Scene::new([reruns()]);
    scene.pass(secs(35));
    // No instance can be launched, so the job waits for hours.
    scene.launch = |_| Some(Outcome::Failed(Failure::new(FailureKind::Refused, "no")));
    scene.job_states.insert(0, Some(JobState::Queued));
    scene.queue(1, &["self-hosted", "linux"]);
    let checks = |scene: &Scene| -> Vec<Time> {
        let asked = scene.done.iter().filter(|(_, e)| matches!(e.action, Action::CheckJob { .. }));
        asked.map(|(at, _)| *at).collect()
    };
    // The pool launches soon after the last question.
    while checks(&scene).len() < 8 {
        scene.pass(secs(30));
    }
    scene.launch = |_| None;
    scene.pass(secs(600));
    let instance = scene.live("linux").remove(0);
    scene.start(0, &instance);
    scene.job_states.insert(0, Some(JobState::Completed));
    terminated(&mut scene, &instance, "Server.SpotInstanceTermination");
    let lost = |scene: &Scene| scene.facts.iter().any(|fact| matches!(fact, Fact::JobLost { .. }));
    let asked = checks(&scene).len();
    while !lost(&scene) {
        scene.pass(secs(1));
    }
    assert_eq!(checks(&scene).len(), asked, "the test's world asks by itself");
    scene.pass(secs(61));
    assert_eq!(checks(&scene).len(), asked + 1);
}
