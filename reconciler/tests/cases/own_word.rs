//! What an instance says against itself, and what nobody says.

use muster_reconciler::controller::Controller;

use super::*;

#[test]
fn a_machine_that_would_tell_and_does_not_has_nothing_against_it() {
    let mut pool = reruns();
    pool.spec.bootstrap.report_stages = true;
    let (mut scene, instance) = running(pool);
    end(&mut scene, &instance, "failure", 77);
    terminated(&mut scene, &instance, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
    scene.pass(secs(120));
    assert!(said(&scene).ends_with("nothing speaks against its machine"), "{}", said(&scene));
}

/// The instance shuts itself down, and says what was at fault.
fn says(scene: &mut Scene, instance: &InstanceId, own_word: Cause) {
    terminated(scene, instance, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
    scene.runners.get_mut(instance).unwrap().own_word = Some(own_word);
}

#[test]
fn an_instance_that_blames_itself_is_believed_if_the_job_was_cut_short() {
    for cause in [Cause::Crashed, Cause::DiskFull] {
        let mut pool = reruns();
        pool.spec.rerun.causes = BTreeSet::from([cause]);
        let (mut scene, instance) = running(pool);
        scene.run = over(&[(0, "failure")]);
        end(&mut scene, &instance, "failure", 77);
        says(&mut scene, &instance, cause);
        scene.pass(secs(120));
        assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(cause)]);
        assert_eq!(asked(&scene), [Again::Failed], "{cause}");
    }
}

#[test]
fn a_job_that_fails_by_itself_on_a_full_disk_is_its_own() {
    let (mut scene, instance) = running(reruns());
    scene.steps =
        vec![(StepKind::Main, StepEnd::Failure), (StepKind::Post, StepEnd::Success), (StepKind::Last, StepEnd::Success)];
    end(&mut scene, &instance, "failure", 77);
    says(&mut scene, &instance, Cause::DiskFull);
    scene.pass(secs(120));
    assert_eq!(verdicts(&scene), [JobVerdict::Own]);
    assert!(asked(&scene).is_empty());
}

#[test]
fn stronger_evidence_wins_over_an_instances_own_word() {
    let (mut scene, instance) = running(reruns());
    end(&mut scene, &instance, "failure", 77);
    says(&mut scene, &instance, Cause::Crashed);
    terminated(&mut scene, &instance, "Server.InternalError: the host failed");
    scene.pass(secs(120));
    assert_eq!(verdicts(&scene), [JobVerdict::Infrastructure(Cause::Ec2)]);
}

#[test]
fn the_tag_of_the_stages_tells_what_was_at_fault() {
    assert_eq!(Cause::of_tag("script=1767225600123,listener=1767225600456"), None);
    assert_eq!(Cause::of_tag("script=1767225600123,crashed=1767225600456"), Some(Cause::Crashed));
    assert_eq!(Cause::of_tag("disk-full=1, crashed=1"), Some(Cause::DiskFull), "a runner crashes where the disk is full");
    assert_eq!(Cause::of_tag("crashedx=1,crashed"), None);
}

/// The machine shut itself down under its job, and the process that saw this died. The next one hears of the job's end, and EC2 shows
/// it an instance that ended itself.
#[test]
fn a_machine_that_ended_itself_while_nobody_looked_is_judged_by_the_steps() {
    for (steps, verdict) in [
        (cut_short(), JobVerdict::Infrastructure(Cause::Lost)),
        (
            vec![(StepKind::Main, StepEnd::Failure), (StepKind::Post, StepEnd::Success), (StepKind::Last, StepEnd::Success)],
            JobVerdict::Own,
        ),
    ] {
        let (mut scene, instance) = running(reruns());
        (scene.steps, scene.run) = (steps, over(&[(0, "failure")]));
        terminated(&mut scene, &instance, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
        scene.core = Controller::new("q", scene.now);
        scene.take_spec();
        scene.pass(secs(60));
        end(&mut scene, &instance, "failure", 77);
        scene.pass(secs(300));
        assert_eq!(verdicts(&scene), [verdict]);
        assert_eq!(asked(&scene).len(), usize::from(verdict != JobVerdict::Own));
    }
}
