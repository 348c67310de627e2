//! The loops of a shadow: one receives events, one looks at EC2, one looks at GitHub's lists, and one asks GitHub for jobs. Each says what
//! changed since it last looked, and also when nothing did, so that the record shows when nobody looked.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_operations::shadow::{BoxSeen, RunnerState, ShadowSeen};
use muster_reconciler::effect::Outcome;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::{AppName, InstanceId, JobId, ListId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::eyes::{BoxEyes, GitHubEyes};
use super::queue::OwnQueue;

/// How long one receive call waits for messages, in seconds. The order to stop waits for it.
const WAIT_S: u32 = 2;
/// How long a loop waits after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// The time between two questions about jobs: at most 1,800 an hour, of the 5,000 that GitHub admits.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(2);

/// Something that was seen, and the receipt of the message that told it.
#[derive(Debug)]
pub struct Sighted {
    /// What was seen.
    pub seen: ShadowSeen,
    /// The receipt.
    pub receipt: Option<String>,
}

/// A job that GitHub is asked for.
#[derive(Clone, Debug)]
pub struct JobQuestion {
    /// Whose credentials are used.
    pub app: AppName,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The job.
    pub job: JobId,
}

/// What a shadow looks at, and how often.
#[derive(Clone, Debug)]
pub struct ShadowWatch {
    /// The instances. None: they are not looked at.
    pub boxes: Option<BoxEyes>,
    /// GitHub. None: it is not asked.
    pub github: Option<GitHubEyes>,
    /// The lists of runners.
    pub lists: Vec<ListId>,
    /// The time between two looks at the same.
    pub every: Duration,
    /// Who hears of it.
    pub to: mpsc::Sender<Sighted>,
}

impl ShadowWatch {
    /// Starts all loops. They end when `stop` is cancelled.
    pub fn start(
        &self,
        queue: OwnQueue,
        questions: mpsc::Receiver<JobQuestion>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        tasks.spawn(receive(queue, self.to.clone(), stop.clone()));
        if let Some(eyes) = self.boxes.clone() {
            tasks.spawn(look_at_boxes(eyes, self.every, self.to.clone(), stop.clone()));
        }
        if let Some(eyes) = &self.github {
            for list in &self.lists {
                tasks.spawn(look_at_runners(eyes.clone(), list.clone(), self.every, self.to.clone(), stop.clone()));
            }
            tasks.spawn(ask(eyes.clone(), questions, self.to.clone(), stop.clone()));
        }
    }
}

/// Hands over what was seen. False: nobody listens any more.
async fn tell(to: &mpsc::Sender<Sighted>, seen: ShadowSeen) -> bool {
    to.send(Sighted { seen, receipt: None }).await.is_ok()
}

async fn failed(to: &mpsc::Sender<Sighted>, why: String) -> bool {
    tracing::warn!(why, "the shadow could not look");
    tell(to, ShadowSeen::Failed { why }).await
}

/// False: it is time to stop.
async fn pause(long: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(long) => true,
    }
}

async fn receive(queue: OwnQueue, to: mpsc::Sender<Sighted>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let batch = match queue.receive(WAIT_S).await {
            Ok(batch) => batch,
            Err(failure) => {
                if !failed(&to, failure.message).await || !pause(AFTER_FAILURE, &stop).await {
                    return;
                }
                continue;
            }
        };
        for received in batch {
            let seen = match queue.read(&received) {
                Ok(Some(kept)) => ShadowSeen::Job { event: kept.event, ended: kept.ended },
                // Its message leaves the queue, and nothing is written down.
                Ok(None) => {
                    queue.delete(&[received.receipt]).await;
                    continue;
                }
                Err(why) => ShadowSeen::Failed { why: format!("a message of the queue is not used: {why}") },
            };
            if to.send(Sighted { seen, receipt: Some(received.receipt) }).await.is_err() {
                return;
            }
        }
    }
}

async fn look_at_boxes(eyes: BoxEyes, every: Duration, to: mpsc::Sender<Sighted>, stop: CancellationToken) {
    let mut known: BTreeMap<InstanceId, BoxSeen> = BTreeMap::new();
    loop {
        let told = match eyes.look().await {
            Ok(seen) => {
                let mut changed: Vec<BoxSeen> = seen.iter().filter(|now| known.get(&now.id) != Some(now)).cloned().collect();
                let now: BTreeMap<_, _> = seen.into_iter().map(|seen| (seen.id.clone(), seen)).collect();
                // EC2 shows an instance for an hour after its end. One that vanishes before has lost its tag, and is no longer theirs.
                let gone = known.into_values().filter(|before| before.up && !now.contains_key(&before.id));
                changed.extend(gone.map(|before| BoxSeen { up: false, ..before }));
                known = now;
                tell(&to, ShadowSeen::Boxes { changed }).await
            }
            Err(failure) => failed(&to, failure.message).await,
        };
        if !told || !pause(every, &stop).await {
            return;
        }
    }
}

async fn look_at_runners(eyes: GitHubEyes, list: ListId, every: Duration, to: mpsc::Sender<Sighted>, stop: CancellationToken) {
    let mut known: BTreeMap<String, RunnerState> = BTreeMap::new();
    loop {
        let told = match eyes.runners(&list).await {
            Ok(runners) => {
                let now: BTreeMap<String, RunnerState> = runners
                    .into_iter()
                    .map(|runner| {
                        let state = match (runner.online, runner.busy) {
                            (_, true) => RunnerState::Busy,
                            (true, false) => RunnerState::Idle,
                            (false, false) => RunnerState::Offline,
                        };
                        (runner.name, state)
                    })
                    .collect();
                let news = now.iter().filter(|(name, state)| known.get(*name) != Some(state));
                let mut changed: BTreeMap<String, Option<RunnerState>> =
                    news.map(|(name, state)| (name.clone(), Some(*state))).collect();
                changed.extend(known.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), None)));
                known = now;
                tell(&to, ShadowSeen::Runners { list: list.to_string(), changed }).await
            }
            Err(failure) => failed(&to, failure.message).await,
        };
        if !told || !pause(every, &stop).await {
            return;
        }
    }
}

async fn ask(eyes: GitHubEyes, mut questions: mpsc::Receiver<JobQuestion>, to: mpsc::Sender<Sighted>, stop: CancellationToken) {
    loop {
        let question = tokio::select! {
            () = stop.cancelled() => return,
            question = questions.recv() => question,
        };
        let Some(JobQuestion { app, repo, job }) = question else { return };
        let told = match eyes.job(&app, &repo, job).await {
            Outcome::Job(sighting) => tell(&to, ShadowSeen::Asked(sighting)).await,
            // GitHub keeps a job only as long as its run.
            Outcome::Failed(failure) if failure.kind == FailureKind::NotFound => true,
            Outcome::Failed(failure) => failed(&to, failure.message).await,
            _ => true,
        };
        if !told || !pause(BETWEEN_QUESTIONS, &stop).await {
            return;
        }
    }
}
