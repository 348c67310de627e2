//! Asks GitHub until when it serves the versions of the runner program that the pools run, and tells the core. Nothing is decided by
//! it: operators are warned before GitHub gives a pool's runners no more jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_operations::inspect::Inspect;
use muster_reconciler::effect::Input;
use muster_reconciler::ids::ListId;
use muster_reconciler::versions::{RunnerVersions, VersionEnds};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;

/// How often the core is asked which versions are in use.
const LOOK: Duration = Duration::from_secs(10);
/// How often GitHub is asked about a version. GitHub sets the dates weeks before.
const EVERY: Duration = Duration::from_secs(86_400);
/// How soon GitHub is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(3600);
/// The most versions that are asked about. Runners tell their versions themselves, and a job may make its runner lie.
const MOST: usize = 100;

/// The task that asks GitHub about the versions in use.
#[derive(Debug)]
pub struct VersionsTask {
    /// Has the GitHub clients in force.
    pub executor: Executor,
    /// Knows which versions are in use.
    pub inspect: Inspect,
    /// Where the core hears of the dates.
    pub inputs: mpsc::Sender<Input>,
}

/// What GitHub said of a version, and when it is asked again.
#[derive(Clone, Copy, Debug, PartialEq)]
struct VersionAnswer {
    /// None: GitHub knows nothing of the version, or has not answered yet.
    ends: Option<VersionEnds>,
    again_at: Instant,
}

/// All answers, by list and version.
#[derive(Debug, Default)]
struct VersionAnswers(BTreeMap<(ListId, String), VersionAnswer>);

impl VersionsTask {
    /// Asks until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut answers = VersionAnswers::default();
        let mut known = RunnerVersions::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ask(&mut answers) => {}
            }
            let now = answers.told();
            if now != known {
                known = now;
                // The send fails only when the process stops.
                let _ = self.inputs.send(Input::Versions(known.clone())).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Asks GitHub about the versions whose time has come.
    async fn ask(&self, answers: &mut VersionAnswers) {
        // Without an answer of the core, the next look is soon.
        let Ok(in_use) = self.inspect.versions().await else { return };
        let github = self.executor.github();
        for (list_id, version) in answers.due(in_use, Instant::now()) {
            let answer = github.version_ends(&list_id, &version).await;
            match &answer {
                Ok(Some(ends)) => {
                    tracing::debug!(scope = %list_id.scope, version, ?ends, "GitHub told until when it serves a runner")
                }
                Ok(None) => tracing::debug!(scope = %list_id.scope, version, "GitHub tells no end of a runner's version"),
                Err(failure) => {
                    tracing::warn!(scope = %list_id.scope, version, error = %failure.message, "cannot see until when GitHub serves a runner");
                }
            }
            answers.heard((list_id, version), answer.ok(), Instant::now());
        }
    }
}

impl VersionAnswers {
    /// The versions to ask about now. Versions that are no longer in use are forgotten once their answer is old.
    fn due(&mut self, in_use: BTreeSet<(ListId, String)>, now: Instant) -> Vec<(ListId, String)> {
        self.0.retain(|key, told| told.again_at > now || in_use.contains(key));
        let room = MOST.saturating_sub(self.0.len());
        let (known, new): (Vec<_>, Vec<_>) = in_use.into_iter().partition(|key| self.0.contains_key(key));
        let known = known.into_iter().filter(|key| self.0.get(key).is_some_and(|told| told.again_at <= now));
        known.chain(new.into_iter().take(room)).collect()
    }

    /// Takes in an answer. None: GitHub did not answer, and what it said before stays.
    fn heard(&mut self, key: (ListId, String), answer: Option<Option<VersionEnds>>, now: Instant) {
        let again_at = now + if answer.is_some() { EVERY } else { AGAIN };
        let before = self.0.get(&key).and_then(|told| told.ends);
        self.0.insert(key, VersionAnswer { ends: answer.unwrap_or(before), again_at });
    }

    /// What GitHub told.
    fn told(&self) -> RunnerVersions {
        RunnerVersions(self.0.iter().filter_map(|(key, told)| Some((key.clone(), told.ends?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::time::Time;

    use super::*;

    fn key(version: &str) -> (ListId, String) {
        (ListId { app: "main".into(), scope: "org/acme".parse().expect("a scope") }, version.into())
    }

    #[test]
    fn a_version_is_asked_about_once_a_day_and_an_hour_after_a_failure() {
        let (mut answers, start) = (VersionAnswers::default(), Instant::now());
        let in_use = || BTreeSet::from([key("2.1.0"), key("2.2.0")]);
        let ends = VersionEnds { registration: None, runtime: Some(Time::from_millis(5)) };
        assert_eq!(answers.due(in_use(), start), [key("2.1.0"), key("2.2.0")]);
        answers.heard(key("2.1.0"), Some(Some(ends)), start);
        answers.heard(key("2.2.0"), None, start);
        assert_eq!(answers.due(in_use(), start + AGAIN - LOOK), []);
        assert_eq!(answers.due(in_use(), start + AGAIN), [key("2.2.0")]);
        answers.heard(key("2.2.0"), Some(None), start + AGAIN);
        assert_eq!(answers.due(in_use(), start + EVERY - LOOK), []);
        assert_eq!(answers.due(in_use(), start + EVERY), [key("2.1.0")]);
        answers.heard(key("2.1.0"), None, start + EVERY);
        assert_eq!(answers.told(), RunnerVersions([(key("2.1.0"), ends)].into()), "what GitHub said before stays");
        answers.due(BTreeSet::new(), start + 3 * EVERY);
        assert_eq!(answers.told(), RunnerVersions::default(), "nobody runs the version any more");
    }

    #[test]
    fn a_runner_that_lies_makes_no_flood() {
        let (mut answers, now) = (VersionAnswers::default(), Instant::now());
        let many: BTreeSet<_> = (0..500).map(|n| key(&format!("9.9.{n}"))).collect();
        for key in answers.due(many.clone(), now) {
            answers.heard(key, Some(None), now);
        }
        assert_eq!((answers.0.len(), answers.due(many, now).len()), (MOST, 0));
    }
}
