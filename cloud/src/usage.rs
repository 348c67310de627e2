//! The record of who used the instances, in the bucket: one small object for each hour and process, written anew every
//! `spec.usage.every` while the hour lasts. `muster cost` reads the objects back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use muster_operations::usage::{self, HourLines, UsageLine};
use muster_operations::watch::Watch;
use muster_reconciler::failure::Failure;
use muster_reconciler::manifest::Spec;
use muster_reconciler::reason::count;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aws::S3;
use crate::aws::s3::Condition;
use crate::clock::Clock;

/// The longest time that the last write may take when the process is told to stop.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// How many objects are read at once.
const AT_ONCE: usize = 16;

/// Writes what the controller counted.
pub struct UsageTask {
    /// The adapter for the bucket.
    pub s3: S3,
    /// The manifests that are in force.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// Has counted.
    pub watch: Arc<Watch>,
    /// The controller's clock.
    pub clock: Clock,
    /// The name of this process, which no other process has.
    pub process: String,
}

impl std::fmt::Debug for UsageTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsageTask").field("process", &self.process).finish_non_exhaustive()
    }
}

impl UsageTask {
    /// Writes until `stop` is cancelled, and then once more.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut told = false;
        loop {
            let every = self.spec.borrow_and_update().controller.spec.usage.every.get();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(every), if !every.is_zero() => {}
                // The sender ends only with the process.
                Ok(()) = self.spec.changed() => continue,
            }
            tokio::select! {
                () = stop.cancelled() => break,
                written = self.write() => {
                    let failure = written.err();
                    if let Some(failure) = failure.as_ref().filter(|_| !told) {
                        let way_out = "tried again later; the controller's role needs s3:PutObject on usage/*";
                        tracing::warn!(error = %failure.message, "failed to record usage: {way_out}");
                    }
                    told = failure.is_some();
                }
            }
        }
        match tokio::time::timeout(LAST_WRITE, self.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(error = %failure.message, "the usage since the last write is lost"),
            Err(_) => tracing::warn!("the usage since the last write is lost: S3 did not answer within {LAST_WRITE:?}"),
        }
    }

    /// Writes the hours that changed. An hour that cannot be written is written the next time.
    async fn write(&self) -> Result<(), Failure> {
        let spec = self.spec.borrow().clone();
        let settings = &spec.controller.spec;
        let Some(bucket) = settings.bucket.as_ref().filter(|_| !settings.usage.every.get().is_zero()) else { return Ok(()) };
        for hour in self.watch.usage() {
            self.put(bucket, spec.controller.cluster(), &hour).await?;
            self.watch.usage_written(&hour, self.clock.now());
        }
        Ok(())
    }

    async fn put(&self, bucket: &str, cluster: &str, hour: &HourLines) -> Result<(), Failure> {
        let key = usage::object_key(cluster, hour.hour, &self.process);
        self.s3.put(bucket, &key, usage::to_text(&hour.lines), Condition::Always).await.map(drop)
    }
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The lines of all processes.
    pub lines: Vec<UsageLine>,
    /// One sentence for each object of which something could not be read.
    pub unreadable: Vec<String>,
}

/// Reads what was recorded of the hours from `since` on.
///
/// # Errors
/// A call to S3 that failed.
pub async fn recorded(s3: &S3, bucket: &str, cluster: &str, since: u64) -> Result<Recorded, Failure> {
    let keys = s3.list(bucket, &usage::prefix(cluster)).await?;
    let keys = keys.into_iter().map(|(key, _)| key).filter(|key| usage::is_since(cluster, key, since));
    let read = |key: String| async move { Ok::<_, Failure>((s3.get(bucket, &key).await?, key)) };
    let mut all = Recorded::default();
    let mut objects = stream::iter(keys).map(read).buffered(AT_ONCE);
    while let Some((object, key)) = objects.try_next().await? {
        // An object that was deleted in between has nothing to say.
        let Some((bytes, _)) = object else { continue };
        let (lines, bad) = usage::from_text(&String::from_utf8_lossy(&bytes));
        all.lines.extend(lines);
        if bad > 0 {
            let lines = count(bad as u64, "line");
            all.unreadable.push(format!("{lines} of s3://{bucket}/{key} cannot be read, and count for nothing"));
        }
    }
    Ok(all)
}
