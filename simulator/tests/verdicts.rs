//! A machine is struck under its job: by each of ten causes, at each of three moments. Is the verdict right, and does the job run
//! again, once?
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use muster_reconciler::event::JobState;
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{InstanceId, JobId, RunnerName};
use muster_reconciler::manifest::Span;
use muster_reconciler::time::Time;
use muster_reconciler::verdict::{Cause, JobVerdict};
use muster_simulator::{BEGIN, Blow, CrashMode, Fault, JobEnd, JobPlan, Scenario, Schedule, Simulation, Strike, example};

const MINUTE: Duration = Duration::from_secs(60);
/// How long the job takes.
const TAKES: Duration = Duration::from_secs(20 * 60);
const JOB: JobId = JobId(1001);

/// The ten causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndStory {
    Struck(Blow),
    /// Spot warns the instance, and no message about the instance arrives.
    WarnedUnheard,
    /// The instance reaches the pool's `maxLifetime`.
    Old,
}

const STORIES: [(EndStory, Cause); 10] = [
    (EndStory::Struck(Blow::Warning), Cause::Interruption),
    (EndStory::Struck(Blow::Reclaim), Cause::Interruption),
    (EndStory::WarnedUnheard, Cause::Interruption),
    (EndStory::Struck(Blow::HostFailure), Cause::Ec2),
    (EndStory::Struck(Blow::Termination), Cause::Terminated),
    (EndStory::Struck(Blow::Shutdown), Cause::Lost),
    (EndStory::Struck(Blow::Hang), Cause::Lost),
    (EndStory::Old, Cause::Muster),
    (EndStory::Struck(Blow::Crash), Cause::Crashed),
    (EndStory::Struck(Blow::FullDisk), Cause::DiskFull),
];

/// The three moments at which the machine goes: the time since the job's start. muster needs some seconds to see that an instance is old,
/// so that instance reaches its age a little sooner.
fn moments(story: EndStory) -> [Duration; 3] {
    let (first, last) = match story {
        // Spot takes the instance two minutes after its warning.
        EndStory::Struck(Blow::Warning) | EndStory::WarnedUnheard => (0, 121),
        EndStory::Old => (1, 20),
        EndStory::Struck(_) => (1, 1),
    };
    [Duration::from_secs(first), TAKES / 2, TAKES - Duration::from_secs(last)]
}

struct Run {
    world: Simulation,
    instance: InstanceId,
    began: Time,
    verdicts: Vec<JobVerdict>,
}

/// The world of one job, at the moment when the job has begun.
fn begun(strikes: Vec<Strike>, max_lifetime: Option<Duration>, crash: Option<(u64, CrashMode)>) -> Run {
    let mut pool = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 4);
    pool.spec.bootstrap.report_stages = true;
    pool.spec.rerun.causes = Cause::ALL.into_iter().collect();
    pool.spec.runner.max_lifetime = Span::secs(max_lifetime.map_or(6 * 3600, |long| long.as_secs()));
    let labels = pool.spec.labels.clone();
    let job = JobPlan { at: BEGIN + MINUTE, takes: TAKES, labels, repo: "acme/web".into(), cancel_after: None };
    let scenario = Scenario {
        faults: Schedule::Fixed(strikes),
        disturbed: 60 * MINUTE,
        ..Scenario::calm(5, &example::cluster("test", [pool]), [job])
    };
    let mut world = scenario.world(4000);
    if let Some((nth, mode)) = crash {
        world.crash_after_effect(nth, mode);
    }
    while world.github().jobs().get(&JOB).is_none_or(|job| job.state == JobState::Queued) {
        world.run_for(Duration::from_millis(100));
        assert!(world.now() < BEGIN + 20 * MINUTE, "the job never began: {}", world.timeline(100));
    }
    let job = &world.github().jobs()[&JOB];
    let instance = RunnerName::parse_ours(job.listed_runner().unwrap(), "test").unwrap().instance;
    Run { began: job.started_at.unwrap(), instance, world, verdicts: Vec::new() }
}

fn strikes(fault: Fault, nths: impl IntoIterator<Item = u32>) -> Vec<Strike> {
    nths.into_iter().map(|nth| Strike { fault, nth }).collect()
}

impl Run {
    fn until(&mut self, time: Time) {
        while self.world.now() < time {
            self.world.step_until(time.min(self.world.now() + MINUTE));
            let facts = self.world.take_facts().into_iter();
            self.verdicts.extend(
                facts.filter_map(|f| if let Fact::JobJudged { job: JOB, verdict, .. } = f { Some(verdict) } else { None }),
            );
        }
    }

    fn strike_at(&mut self, after: Duration, blow: Blow) {
        self.until(self.began + after);
        let id = self.instance.clone();
        self.world.strike(&id, blow);
    }

    fn settle(&mut self) {
        self.until(self.began + 180 * MINUTE);
    }

    /// How the job's attempts ended, the first one first.
    fn ends(&self) -> Vec<Option<JobEnd>> {
        self.world.github().jobs().values().map(|job| job.end).collect()
    }
}

/// The faults of a story in which no message about the instance arrives.
fn unheard(story: EndStory) -> Vec<Strike> {
    if story == EndStory::WarnedUnheard { strikes(Fault::NotifyLoss, 0..20) } else { Vec::new() }
}

/// What strikes the machine. None: its age does.
fn blow_of(story: EndStory) -> Option<Blow> {
    match story {
        EndStory::Struck(blow) => Some(blow),
        EndStory::WarnedUnheard => Some(Blow::Warning),
        EndStory::Old => None,
    }
}

/// A run in which the machine is struck. `unheard`: the webhook of the job's end is lost.
fn struck(story: EndStory, after: Duration, unheard: bool) -> Run {
    // The job's webhooks are that it is queued, that it runs and that it is over.
    let mut faults = if unheard { strikes(Fault::WebhookLoss, [2]) } else { Vec::new() };
    faults.extend(crate::unheard(story));
    let age = (story == EndStory::Old).then(|| {
        let probe = begun(Vec::new(), None, None);
        probe.began.since(probe.world.cloud().instances()[&probe.instance].launched_at()) + after
    });
    let mut run = begun(faults, age, None);
    if let Some(blow) = blow_of(story) {
        run.strike_at(after, blow);
    }
    run.settle();
    run
}

#[test]
fn each_cause_at_each_moment_has_its_verdict_and_one_rerun() {
    let mut wrong = Vec::new();
    let mut timeline = String::new();
    for (story, cause) in STORIES {
        for (after, unheard) in moments(story).into_iter().flat_map(|after| [(after, false), (after, true)]) {
            let run = struck(story, after, unheard);
            let (ends, violations) = (run.ends(), run.world.violations());
            // Of the pool whose instances grow old at once, the next one does, too.
            let again = story == EndStory::Old && ends.len() == 2 || ends.last() == Some(&Some(JobEnd::Success));
            let once = ends.len() == 2 && ends[0] == Some(JobEnd::CutShort) && again;
            if !(once && violations.is_empty() && run.verdicts.first() == Some(&JobVerdict::Infrastructure(cause))) {
                let what = format!("{story:?} after {after:?}, unheard {unheard}: {:?}, {ends:?}, {violations:?}", run.verdicts);
                if wrong.is_empty() {
                    timeline = format!("{what}\n{}", run.world.timeline_until(Time::FAR, 120));
                }
                wrong.push(what);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{timeline}");
}

/// The job fails by itself, and its machine is struck while the job runs towards its failure, or just after it.
#[test]
fn a_job_that_failed_by_itself_is_never_blamed_on_its_machine() {
    for (story, _) in STORIES.into_iter().filter(|(story, _)| *story != EndStory::Old) {
        for unheard in [false, true] {
            let mut faults = strikes(Fault::OwnEnd, [0]);
            faults.extend(if unheard { strikes(Fault::WebhookLoss, [2]) } else { Vec::new() });
            let mut run = begun(faults, None, None);
            let (blow, after) = match story {
                EndStory::Struck(Blow::Warning) | EndStory::WarnedUnheard => (Blow::Warning, TAKES - MINUTE),
                // What ends the job is what the instance tells.
                EndStory::Struck(Blow::Crash | Blow::FullDisk) => continue,
                EndStory::Struck(blow) => (blow, TAKES + Duration::from_millis(300)),
                EndStory::Old => continue,
            };
            run.strike_at(after, blow);
            run.settle();
            let blamed = run.verdicts.iter().any(|verdict| matches!(verdict, JobVerdict::Infrastructure(_)));
            assert!(!blamed && run.ends().len() == 1, "{story:?}, unheard {unheard}: {:?}, {:?}", run.verdicts, run.ends());
            assert_eq!(run.world.violations(), [], "{story:?}, unheard {unheard}");
        }
    }
}

/// The process dies after each of its effects, in each way to die, whatever befalls the machine in the middle of its job.
#[test]
fn a_crash_after_any_effect_of_a_lost_job_leaves_one_rerun() {
    let mut wrong = Vec::new();
    for (story, cause) in STORIES {
        let Some(blow) = blow_of(story) else { continue };
        let whole = struck(story, TAKES / 2, false).world.report().effects;
        assert!(whole > 8, "{story:?}: {whole} effects, from the launch to the end of the rerun");
        for mode in CrashMode::ALL {
            for nth in 1..=whole {
                let mut run = begun(unheard(story), None, Some((nth, mode)));
                run.strike_at(TAKES / 2, blow);
                run.settle();
                let once = run.ends() == [Some(JobEnd::CutShort), Some(JobEnd::Success)];
                let right = !run.verdicts.is_empty() && run.verdicts.iter().all(|v| known_as(*v, cause));
                if !once || !right || !run.world.violations().is_empty() {
                    let found = (run.verdicts.clone(), run.ends(), run.world.violations());
                    wrong.push(format!("{story:?}, crash after effect {nth}, {mode:?}: {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a verdict around a crash is right. The new process does not know that the one before it ended the silent machine. To EC2,
/// somebody did.
fn known_as(verdict: JobVerdict, cause: Cause) -> bool {
    verdict == JobVerdict::Infrastructure(cause)
        || cause == Cause::Lost && verdict == JobVerdict::Infrastructure(Cause::Terminated)
}
