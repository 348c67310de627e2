//! The lease in the bucket: which of several processes acts. [`muster_reconciler::lease`] decides, and this module reads and writes.
//!
//! S3 writes an object only over the version that the writer names (`If-Match`), or only if there is none (`If-None-Match`).
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use muster_operations::metrics::Metrics;
use muster_reconciler::effect::{Action, Input, Launch, Outcome};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::PoolName;
use muster_reconciler::lease::{CALL_DEADLINE, Lease, LeaseAnswer, LeaseObject, LeaseStep, LeaseUnread};
use muster_reconciler::steer::Pause;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::aws::s3::{Condition, PutResult};
use crate::aws::{S3, Ssm};
use crate::clock::Clock;

/// How long after a failed look at the pauses the next look comes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The key of a cluster's lease in the bucket.
pub fn object_key(cluster: &str) -> String {
    format!("lease/{cluster}/holder.json")
}

/// Keeps a process that does not hold the lease from changing anything. Clones share the lease.
#[derive(Clone, Debug, Default)]
pub struct Fence(Option<Arc<FenceState>>);

#[derive(Debug)]
struct FenceState {
    lease: Mutex<Lease>,
    clock: Clock,
    /// Something waits to be written.
    wish: Notify,
    /// A call was answered. The number means nothing.
    heard: watch::Sender<u64>,
    acts: CancellationToken,
    lost: OnceLock<String>,
}

impl FenceState {
    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fence {
    /// The fence of a process that has not read the lease yet. `process` is the name of this start of the process.
    pub fn new(process: &str, clock: Clock) -> Fence {
        let (lease, acts) = (Mutex::new(Lease::new(process)), CancellationToken::new());
        let shared = FenceState { lease, clock, wish: Notify::new(), heard: watch::channel(0).0, acts, lost: OnceLock::new() };
        Fence(Some(Arc::new(shared)))
    }

    /// Does the work once this process acts, or nothing if `stop` is cancelled before that.
    pub async fn then(self, stop: &CancellationToken, work: impl Future<Output = ()>) {
        if let Some(shared) = &self.0 {
            tokio::select! {
                biased;
                () = shared.acts.cancelled() => {}
                () = stop.cancelled() => return,
            }
        }
        work.await;
    }

    /// The sentence of a process that stands by. None: this process acts.
    pub fn stands_by(&self) -> Option<String> {
        let shared = self.0.as_ref().filter(|shared| !shared.acts.is_cancelled())?;
        let said = shared.lease().stands_by(shared.clock.now());
        Some(said.unwrap_or_else(|| "this process holds the lease and begins to act".into()))
    }

    /// Why this process lost the lease. None: it did not.
    pub fn lost(&self) -> Option<&str> {
        self.0.as_ref()?.lost.get().map(String::as_str)
    }

    /// Waits until the call may be made. A launch is first written down in the lease.
    ///
    /// # Errors
    /// When the call changes something and this process does not surely hold the lease.
    pub async fn admit(&self, action: &Action) -> Result<(), Failure> {
        let Some(shared) = &self.0 else { return Ok(()) };
        match action {
            Action::Launch(launch) => shared.admit_launch(launch).await,
            // They change nothing. A message that this process holds is hidden from the others anyway.
            Action::Sweep(_) | Action::CheckJob { .. } | Action::LookAtRun { .. } | Action::Messages(..) => Ok(()),
            Action::Configure(_)
            | Action::Drain(_)
            | Action::Terminate(_)
            | Action::DeleteSecrets(_)
            | Action::Deregister { .. }
            | Action::Rerun { .. }
            | Action::CancelRun { .. }
            | Action::Tell(..)
            | Action::Redeliver { .. } => {
                let sure = shared.lease().sure_until().is_some_and(|sure| shared.clock.now() < sure);
                if sure { Ok(()) } else { Err(not_sure()) }
            }
        }
    }

    /// Notes how a launch ended.
    pub fn ended(&self, action: &Action, outcome: &Outcome) {
        if let (Some(shared), Action::Launch(launch)) = (&self.0, action) {
            shared.lease().launch_ended(&launch.intent, outcome, shared.clock.now());
        }
    }
}

/// Nothing was sent, so nothing has taken effect.
fn not_sure() -> Failure {
    Failure::new(FailureKind::Refused, "nothing was sent, because this process no longer holds the lease for sure")
}

impl FenceState {
    async fn admit_launch(&self, launch: &Arc<Launch>) -> Result<(), Failure> {
        let mut heard = self.heard.subscribe();
        self.lease().record(launch, self.clock.now());
        self.wish.notify_one();
        loop {
            let (admitted, sure) = {
                let (lease, now) = (self.lease(), self.clock.now());
                (lease.admits(&launch.intent, now), lease.sure_until().filter(|sure| now < *sure))
            };
            if admitted {
                return Ok(());
            }
            let Some(sure) = sure else { return Err(not_sure()) };
            tokio::select! {
                _ = heard.changed() => {}
                () = tokio::time::sleep_until(self.clock.instant(sure)) => {}
            }
        }
    }
}

/// Holds the lease, or waits for it.
pub struct LeaseTask {
    /// The adapter for the bucket.
    pub s3: S3,
    /// The bucket.
    pub bucket: String,
    /// The adapter for the pauses, which are read when this process begins to act.
    pub ssm: Ssm,
    /// The name of the cluster.
    pub cluster: String,
    /// The fence that this task opens.
    pub fence: Fence,
    /// The entrance of the core, which ends when all others that hold it have ended.
    pub inputs: mpsc::WeakSender<Input>,
    /// Where the task tells whether this process acts.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for LeaseTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseTask").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl LeaseTask {
    /// Runs until the lease is lost, which cancels `stop`, or until `idle` is cancelled: the core has ended, and the lease can go to
    /// another process.
    pub async fn run(self, stop: CancellationToken, idle: CancellationToken) {
        let Some(shared) = self.fence.0.clone() else { return };
        let (mut told, mut leaves) = (String::new(), false);
        self.metrics.lease_held(false);
        if let Err(why) = self.probe(&idle).await {
            return self.over(&shared, why, &stop);
        }
        loop {
            let step = shared.lease().next(shared.clock.now());
            let answer = match step {
                LeaseStep::Wait(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(shared.clock.instant(until)) => {}
                        () = shared.wish.notified() => {}
                        () = idle.cancelled(), if !leaves => {
                            leaves = true;
                            shared.lease().leave();
                        }
                    }
                    continue;
                }
                LeaseStep::Read => self.read().await,
                LeaseStep::Write(object, over) => self.write(&object, over).await,
                LeaseStep::Over(why) => {
                    self.over(&shared, why, &stop);
                    return;
                }
            };
            let inheritance = {
                let (mut lease, now) = (shared.lease(), shared.clock.now());
                lease.heard(answer, now);
                if idle.is_cancelled() {
                    lease.leave();
                }
                lease.take_inheritance(now)
            };
            shared.heard.send_modify(|heard| *heard += 1);
            if let Some(inheritance) = inheritance {
                let launches = inheritance.launches.as_ref().map(Vec::len);
                tracing::info!(term = inheritance.term, launches, "this process holds the lease");
                self.metrics.lease_held(true);
                let (ssm, cluster, inputs) = (self.ssm.clone(), self.cluster.clone(), self.inputs.clone());
                let (acts, stop) = (shared.acts.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        paused = pauses(&ssm, &cluster) => {
                            let Some(inputs) = inputs.upgrade() else { return };
                            // The core ends only with the process.
                            let _ = inputs.send(Input::Lead(inheritance, paused)).await;
                            acts.cancel();
                        }
                    }
                });
            } else if let Some(said) = self.fence.stands_by().filter(|_| !idle.is_cancelled()) {
                tell(&said, &mut told);
            }
        }
    }

    fn over(&self, shared: &FenceState, why: String, stop: &CancellationToken) {
        self.metrics.lease_held(false);
        shared.heard.send_modify(|heard| *heard += 1);
        if why.is_empty() {
            tracing::info!("the lease is given back");
            return;
        }
        tracing::error!(why, "this process lost the lease, and ends");
        let _ = shared.lost.set(why);
        stop.cancel();
    }

    /// Tries on another object whether the bucket heeds conditions. A store that ignores them would let two processes act.
    async fn probe(&self, idle: &CancellationToken) -> Result<(), String> {
        // The object exists after the first write, and never has this ETag.
        for (condition, must_fail) in
            [(Condition::IfAbsent, false), (Condition::IfAbsent, true), (Condition::IfMatch("\"0\"".into()), true)]
        {
            let Some(written) = self.try_write(&condition, idle).await else { return Ok(()) };
            if must_fail && written != PutResult::Lost {
                return Err(format!(
                    "the bucket `{}` ignores the conditions of writes, so two controllers could act; use a bucket of S3, or remove \
                     `spec.lease` and run one controller",
                    self.bucket
                ));
            }
        }
        Ok(())
    }

    /// Writes the object of the trial. None: the process ends.
    async fn try_write(&self, condition: &Condition, idle: &CancellationToken) -> Option<PutResult> {
        let key = format!("lease/{}/trial", self.cluster);
        loop {
            let put = self.s3.put(&self.bucket, &key, "muster tried whether this bucket heeds conditions.", condition.clone());
            let failed = match tokio::time::timeout(CALL_DEADLINE, put).await {
                Ok(Ok(written)) => return Some(written),
                Ok(Err(failure)) => way_out(failure),
                Err(_) => format!("write s3://{}/{key}: no answer within {CALL_DEADLINE:?}", self.bucket),
            };
            tracing::warn!(error = failed, "failed to try the bucket of the lease; tries again");
            tokio::select! {
                () = idle.cancelled() => return None,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn read(&self) -> LeaseAnswer {
        let (bucket, key) = (&self.bucket, object_key(&self.cluster));
        let read = tokio::time::timeout(CALL_DEADLINE, self.s3.get(bucket, &key)).await;
        LeaseAnswer::Read(match read {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some((bytes, etag)))) => match LeaseObject::from_json(&bytes) {
                Ok(object) => Ok(Some((object, etag))),
                Err(why) => Err(LeaseUnread::NotUnderstood(format!(
                    "s3://{bucket}/{key}: {why}; if no controller runs, delete it, and the next one writes it anew"
                ))),
            },
            Ok(Err(failure)) => Err(LeaseUnread::NoAnswer(way_out(failure))),
            Err(_) => Err(LeaseUnread::NoAnswer(format!("read s3://{bucket}/{key}: no answer within {CALL_DEADLINE:?}"))),
        })
    }

    async fn write(&self, object: &LeaseObject, over: Option<String>) -> LeaseAnswer {
        let (bucket, key) = (&self.bucket, object_key(&self.cluster));
        let condition = over.map_or(Condition::IfAbsent, Condition::IfMatch);
        let written = tokio::time::timeout(CALL_DEADLINE, self.s3.put(bucket, &key, object.to_json(), condition)).await;
        LeaseAnswer::Written(match written {
            Ok(Ok(PutResult::Stored(etag))) if etag.is_empty() => {
                Err(format!("s3://{bucket}/{key}: the answer has no ETag, so this bucket knows no conditional writes; use S3"))
            }
            Ok(Ok(PutResult::Stored(etag))) => Ok(Some(etag)),
            Ok(Ok(PutResult::Lost)) => Ok(None),
            Ok(Err(failure)) => Err(way_out(failure)),
            Err(_) => Err(format!("write s3://{bucket}/{key}: no answer within {CALL_DEADLINE:?}")),
        })
    }
}

/// Logs what the process waits for, when that changes.
fn tell(said: &str, told: &mut String) {
    // For how long nothing newer was seen is different each time.
    let core = said.split("; no newer write").next().unwrap_or(said);
    if core != told {
        tracing::info!("{said}");
        core.clone_into(told);
    }
}

fn way_out(failure: Failure) -> String {
    match failure.kind {
        FailureKind::Refused => format!(
            "{}; the controller's role needs s3:GetObject and s3:PutObject on lease/*, and s3:ListBucket",
            failure.message
        ),
        _ => failure.message,
    }
}

/// The pauses that operators ordered. Without them nothing may be launched, so they are read until SSM answers.
async fn pauses(ssm: &Ssm, cluster: &str) -> BTreeMap<PoolName, Pause> {
    loop {
        match ssm.paused(cluster).await {
            Ok(paused) => return paused,
            Err(failure) => {
                tracing::warn!(error = failure.message, "failed to read which pools are paused; nothing is launched before that")
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
