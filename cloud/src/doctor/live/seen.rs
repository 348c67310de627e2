//! What was seen of one job and its instance, and when: by the controller, by EC2, by SSM and by GitHub.

use std::collections::BTreeMap;

use muster_reconciler::journal::What;
use muster_reconciler::market::Market;
use muster_reconciler::runner::Phase;
use muster_reconciler::stage::Stage;
use muster_reconciler::view::{Explanation, RunnerView};
use serde::{Deserialize, Serialize};

/// Something that happens to a job or to its instance. The marks are in the order in which they usually come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// The run was asked for.
    Dispatched,
    /// GitHub made the job, by GitHub's own clock.
    Queued,
    /// The controller heard of the job.
    WebhookHeard,
    /// The controller decided to launch.
    LaunchDecided,
    /// EC2's answer to the launch named an instance.
    Launched,
    /// EC2 showed the instance when doctor asked for it.
    Ec2ShowsIt,
    /// The instance's boot script began (only with `bootstrap.reportStages`).
    Booted,
    /// GitHub registered the runner, and the controller stored the instance's secret.
    Configured,
    /// Doctor saw the secret in SSM.
    SecretStored,
    /// The secret was in SSM no more.
    SecretGone,
    /// GitHub's list showed the runner online.
    Online,
    /// The job was cancelled (only for the instance that is drained).
    Cancelled,
    /// The instance was online and without a job (only for the instance that is drained).
    Idle,
    /// The runner took the job.
    JobStarted,
    /// GitHub's row of the runner said busy.
    BusySeen,
    /// The job was over.
    JobEnded,
    /// The controller was asked to drain the instance.
    DrainAsked,
    /// GitHub's row of the runner was gone.
    RegistrationGone,
    /// EC2 said that the instance is ending.
    InstanceEnding,
    /// EC2 said that the instance is terminated.
    InstanceTerminated,
    /// The controller knew that the instance is gone.
    InstanceGone,
}

impl Sight {
    /// The mark in words, as a stage of the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Sight::Dispatched => "run asked for",
            Sight::Queued => "job queued at GitHub",
            Sight::WebhookHeard => "webhook heard",
            Sight::LaunchDecided => "launch decided",
            Sight::Launched => "launched",
            Sight::Ec2ShowsIt => "EC2 shows it",
            Sight::Booted => "booted",
            Sight::Configured => "configured",
            Sight::SecretStored => "secret stored",
            Sight::SecretGone => "secret gone",
            Sight::Online => "online",
            Sight::Cancelled => "job cancelled",
            Sight::Idle => "idle",
            Sight::JobStarted => "job started",
            Sight::BusySeen => "GitHub says busy",
            Sight::JobEnded => "job ended",
            Sight::DrainAsked => "drain asked",
            Sight::RegistrationGone => "registration gone",
            Sight::InstanceEnding => "instance ending",
            Sight::InstanceTerminated => "instance terminated",
            Sight::InstanceGone => "instance gone",
        }
    }

    /// Who saw it, and whose clock gave the time.
    pub const fn source(self) -> &'static str {
        match self {
            Sight::Dispatched | Sight::Cancelled | Sight::DrainAsked => "doctor",
            Sight::Queued | Sight::BusySeen | Sight::RegistrationGone => "GitHub",
            Sight::Ec2ShowsIt | Sight::InstanceEnding | Sight::InstanceTerminated => "EC2",
            Sight::SecretStored | Sight::SecretGone => "SSM",
            _ => "controller",
        }
    }
}

/// What was seen of one instance.
#[derive(Clone, Debug, Default)]
pub struct InstanceSeen {
    /// The runner, as the controller last showed it.
    pub view: RunnerView,
    /// When each mark was seen, in milliseconds since 1970.
    pub marks: BTreeMap<Sight, u64>,
    /// The state of the instance, as EC2 last said it. It is empty until EC2 shows the instance.
    pub state: String,
    /// EC2's reason for the end of the instance, such as `Client.InstanceInitiatedShutdown`.
    pub end_code: Option<String>,
    /// When the instance began to end, as EC2 says, in milliseconds since 1970.
    pub end_at: Option<u64>,
    /// Whether the instance had its tags when EC2 showed it for the first time. None: EC2 has not shown it.
    pub tagged: Option<bool>,
    /// The market of the instance, as EC2 says. None: EC2 has not shown the instance.
    pub market: Option<Market>,
    /// How often EC2 said that there is no such instance, before EC2 first showed it.
    pub unknown_to_ec2: u32,
    /// The busy flag of GitHub's row, as it was last seen. None: the row has not been seen.
    pub row: Option<bool>,
    /// Whether the controller deleted the secret, and not the instance itself.
    pub secret_deleted_by_controller: bool,
    /// The controller's last bad news of the instance, in words.
    pub trouble: Option<String>,
    /// Whether the instance never came online.
    pub failed: bool,
}

impl InstanceSeen {
    /// Notes when something happened. Only the first time counts.
    pub fn mark(&mut self, mark: Sight, at_ms: u64) {
        self.marks.entry(mark).or_insert(at_ms);
    }

    /// Takes over what the controller shows: the phase, the stages and the timeline.
    pub fn hear(&mut self, view: &RunnerView, told: Option<&Explanation>) {
        self.view = view.clone();
        let Some(told) = told else { return };
        self.failed |= view.phase == Phase::Failed;
        for event in &told.timeline {
            match event.what {
                What::Gone => self.mark(Sight::InstanceGone, event.at),
                What::DeleteSecret => self.secret_deleted_by_controller = true,
                What::BootFailed => self.failed = true,
                _ => {}
            }
            if event.bad {
                self.trouble = Some(event.why.clone());
            }
        }
        // The controller counts stages from its call of CreateFleet. EC2's answer to this call is both an event and a stage, so
        // the time of the call is known to the millisecond. Without the event, the instance's age gives the time to the second.
        let ms = |after_seconds: f64| (after_seconds * 1000.0).max(0.0) as u64;
        let answered = told.timeline.iter().find(|event| event.what == What::Launched).map(|event| event.at);
        let after = view.stages.iter().find(|stage| stage.stage == Stage::Launched).map(|stage| ms(stage.after_seconds));
        let asked = match answered.zip(after) {
            Some((answered, after)) => answered.saturating_sub(after),
            None => told.now.saturating_sub(view.age_seconds * 1000),
        };
        for stage in &view.stages {
            let mark = match stage.stage {
                Stage::Launched => Sight::Launched,
                Stage::Script => Sight::Booted,
                Stage::Configured => Sight::Configured,
                Stage::Online => Sight::Online,
                _ => continue,
            };
            self.mark(mark, asked + ms(stage.after_seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::view::{EventView, StageView};

    use super::*;

    #[test]
    fn what_the_controller_tells_of_an_instance_becomes_moments() {
        let mut seen = InstanceSeen::default();
        let stage = |stage, after_seconds| StageView { stage, after_seconds };
        let view = RunnerView {
            phase: Phase::Busy,
            age_seconds: 40,
            stages: vec![stage(Stage::Launched, 1.5), stage(Stage::Online, 31.0)],
            ..RunnerView::default()
        };
        let event = |what, at, bad, why: &str| EventView { what, at, bad, why: why.into(), ..EventView::default() };
        let timeline = vec![
            event(What::Launched, 102_500, false, ""),
            event(What::Failed, 120_000, true, "SSM said no"),
            event(What::Gone, 139_000, false, ""),
        ];
        let told = Explanation { now: 140_000, timeline, ..Explanation::default() };
        seen.hear(&view, Some(&told));
        let second = |mark: Sight| seen.marks.get(&mark).map(|at| at / 1000);
        assert_eq!(
            (second(Sight::Launched), second(Sight::Online), second(Sight::InstanceGone)),
            (Some(102), Some(132), Some(139))
        );
        assert_eq!(seen.trouble.as_deref(), Some("SSM said no"));
        assert!(!seen.failed);
        seen.hear(&RunnerView { phase: Phase::Failed, ..view }, Some(&told));
        assert!(seen.failed);
    }
}
