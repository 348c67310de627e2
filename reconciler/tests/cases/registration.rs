//! A job whose runner muster deregistered.

use std::time::Duration;

use super::*;

/// A boot took too long, so muster deletes the registration. In that moment GitHub gives the runner a job. The instance shuts itself down in
/// order, as after a job.
#[test]
fn a_job_whose_runner_muster_deregistered_went_down_with_it() {
    let mut pool = reruns();
    pool.spec.rerun.causes = BTreeSet::from([Cause::Muster]);
    let mut scene = Scene::new([pool]);
    scene.come_online = false;
    scene.pass(secs(35));
    scene.queue(1, &["self-hosted", "linux"]);
    let deleted = |scene: &Scene| {
        let name = |e: &Effect| if let Action::Deregister { name, .. } = &e.action { Some(name.instance.clone()) } else { None };
        scene.done.iter().find_map(|(_, e)| name(e))
    };
    let instance = loop {
        if let Some(instance) = deleted(&scene) {
            break instance;
        }
        assert!(scene.done.len() < 500, "no registration is deleted");
        scene.pass(Duration::from_millis(50));
    };
    assert_eq!(count(&scene, |a| matches!(a, Action::Terminate(_))), 0);
    (scene.steps, scene.run) = (cut_short(), over(&[(0, "failure")]));
    scene.start(0, &instance);
    scene.pass(secs(2));
    end(&mut scene, &instance, "failure", 77);
    terminated(&mut scene, &instance, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
    scene.pass(secs(150));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Muster)]);
    assert_eq!(asked(&scene), [Again::Failed]);
}
