//! L5: nothing that failed is tried again before its backoff is over. Backoffs are counted as in the core: for each
//! instance, pool, intent, source, job, message and delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::effect::{Action, Effect, MessageOp, Outcome, Source};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, DeliveryId, EffectId, InstanceId, Intent, JobId, MessageId, PoolName, RunId};
use muster_reconciler::late::NoticeKey;
use muster_reconciler::time::{Time, human};

/// What a backoff belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RetryKey {
    Instance(InstanceId),
    Pool(PoolName),
    Intent(Intent),
    Source(Source),
    Job(JobId),
    Message(MessageId),
    Delivery(AppName, DeliveryId),
    Run(RunId),
    Cancellation(RunId),
    Notice(NoticeKey),
}

#[derive(Debug)]
struct FailedTimes {
    at: Time,
    /// How often it failed in a row.
    times: u32,
    /// How long after `at` the next attempt is allowed.
    wait: Duration,
}

/// What failed, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Retries {
    flights: BTreeMap<EffectId, Vec<RetryKey>>,
    failed: BTreeMap<RetryKey, FailedTimes>,
    /// Intents that were sent before.
    pub(super) asked: BTreeSet<Intent>,
    /// The jobs of each run.
    runs: BTreeMap<RunId, BTreeSet<JobId>>,
}

fn keys(action: &Action) -> Vec<RetryKey> {
    match action {
        Action::Launch(l) => vec![RetryKey::Intent(l.intent.clone()), RetryKey::Pool(l.pool.clone())],
        Action::Configure(c) => vec![RetryKey::Instance(c.name.instance.clone())],
        Action::Deregister { name, .. } => vec![RetryKey::Instance(name.instance.clone())],
        Action::Drain(ids) | Action::Terminate(ids) | Action::DeleteSecrets(ids) => {
            ids.iter().map(|id| RetryKey::Instance(id.clone())).collect()
        }
        Action::CheckJob { job, .. } => vec![RetryKey::Job(*job)],
        Action::LookAtRun { run, .. } => vec![RetryKey::Run(*run)],
        // A rerun that GitHub refuses is looked at before it is asked for again.
        Action::Rerun { .. } => Vec::new(),
        Action::CancelRun { run, .. } => vec![RetryKey::Cancellation(*run)],
        Action::Tell(key, _) => vec![RetryKey::Notice(key.clone())],
        Action::Redeliver { app, delivery } => vec![RetryKey::Delivery(app.clone(), *delivery)],
        Action::Sweep(source) => vec![RetryKey::Source(source.clone())],
        Action::Messages(MessageOp::Extend { .. }, ids) => ids.iter().map(|id| RetryKey::Message(*id)).collect(),
        Action::Messages(..) => Vec::new(),
    }
}

/// The shortest wait after `times` failures in a row. None: this failure asks for no wait of this key.
fn least(key: &RetryKey, failure: &Failure, times: u32) -> Option<Duration> {
    let doubling = Duration::from_secs(1 << (times - 1).min(5));
    let unsure = failure.kind.may_have_worked();
    let asked = failure.retry_after.unwrap_or_default();
    let wait = match key {
        // S7 judges how long GitHub's rate limit holds for an instance's calls. AWS asks for no wait here.
        RetryKey::Instance(_) => return Some(doubling),
        RetryKey::Source(_) => doubling,
        // A launch without a certain answer is repeated with its intent. Any other failure backs off the whole pool.
        RetryKey::Intent(_) if unsure => doubling,
        RetryKey::Intent(_) => return None,
        RetryKey::Pool(_) if unsure => return None,
        RetryKey::Pool(_) if failure.kind == FailureKind::Throttled => Duration::from_secs(1),
        RetryKey::Pool(_) => Duration::from_secs(30),
        // S7 judges GitHub's rate limit for these, too.
        RetryKey::Job(_) | RetryKey::Run(_) | RetryKey::Cancellation(_) | RetryKey::Notice(_) | RetryKey::Delivery(..) => {
            return Some(Duration::from_secs(60));
        }
        // A message that is due may take along others.
        RetryKey::Message(_) => Duration::from_secs(1),
    };
    Some(wait.max(asked))
}

impl Retries {
    /// The manifests changed, which may have removed what a pool or a source waited for.
    pub fn new_spec(&mut self) {
        self.failed.retain(|key, _| !matches!(key, RetryKey::Pool(_) | RetryKey::Source(_)));
    }

    /// A message came (again), and has a new receipt.
    pub fn message_came(&mut self, id: MessageId) {
        self.failed.remove(&RetryKey::Message(id));
    }

    /// News of a job came, which is a new reason to ask about the jobs of its run.
    pub fn job_heard(&mut self, job: JobId, run: RunId) {
        let jobs = self.runs.entry(run).or_default();
        jobs.insert(job);
        for job in jobs.iter() {
            self.failed.remove(&RetryKey::Job(*job));
            // So is a question that is under way: its failure is no answer to the new one.
            self.flights.retain(|_, keys| *keys != [RetryKey::Job(*job)]);
        }
    }

    /// Takes in the outcome of an effect.
    pub fn ended(&mut self, id: EffectId, outcome: &Outcome, now: Time) {
        let keys = self.flights.remove(&id).unwrap_or_default();
        for key in keys {
            let failure = match (outcome, &key) {
                (Outcome::Failed(failure) | Outcome::NotHandedOver(failure), _) => Some(failure),
                (Outcome::Batch { failed, .. }, RetryKey::Instance(id)) => {
                    failed.iter().find(|(f, _)| f == id).map(|(_, why)| why)
                }
                _ => None,
            };
            let times = failure.map(|_| self.failed.get(&key).map_or(0, |f| f.times) + 1);
            match failure.zip(times).and_then(|(failure, times)| Some((least(&key, failure, times)?, times))) {
                Some((wait, times)) => drop(self.failed.insert(key, FailedTimes { at: now, times, wait })),
                None => drop(self.failed.remove(&key)),
            }
        }
    }

    /// Takes in an effect that the controller sends. Some: the effect comes too soon, and why. `known` says since when the
    /// controller knows an instance. If the controller forgot an instance and found it again, it cannot know what failed
    /// before.
    pub fn sets_out(&mut self, effect: &Effect, known: impl Fn(&InstanceId) -> Time, now: Time) -> Option<String> {
        let mut keys = keys(&effect.action);
        if let Some(RetryKey::Intent(intent)) = keys.first()
            && self.asked.contains(intent)
        {
            // A repeated launch keeps to the backoff of its intent. The pool's backoff is for new launches.
            keys.truncate(1);
        } else if let Some(RetryKey::Intent(intent)) = keys.first() {
            self.asked.insert(intent.clone());
        }
        for key in &keys {
            if let RetryKey::Instance(id) = key
                && self.failed.get(key).is_some_and(|failed| known(id) >= failed.at)
            {
                self.failed.remove(key);
            }
        }
        let hasty = keys.iter().find_map(|key| {
            let failed = self.failed.get(key)?;
            let waited = now.since(failed.at);
            (waited < failed.wait).then(|| {
                let (wait, times) = (human(failed.wait), failed.times);
                format!("{key:?} is tried again {} after failure {times} in a row; {wait} were due", human(waited))
            })
        });
        if !keys.is_empty() {
            self.flights.insert(effect.id, keys);
        }
        hasty
    }
}
