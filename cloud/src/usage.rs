//! The record of who used the instances, and of what the pools did, in the bucket: two small objects for each hour and process, written
//! anew every `spec.usage.every` while the hour lasts. `muster cost` reads them back, and so does a new process for its page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use muster_operations::history::{self, HOURS, PastRead};
use muster_operations::metrics::Metrics;
use muster_operations::spend::month_of;
use muster_operations::usage::{self, UsageLine};
use muster_operations::watch::Watch;
use muster_reconciler::failure::{Failure, FailureKind};
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
/// The most objects that a new process reads: a month by the hour of ten processes.
const MOST_OBJECTS: usize = 10_000;

/// After this time, a write that still fails is logged again.
const TOLD: Duration = Duration::from_secs(3600);

/// Writes what the controller counted.
pub struct UsageTask {
    /// The adapter for the bucket.
    pub s3: S3,
    /// The manifests that are in force.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// Has counted.
    pub watch: Arc<Watch>,
    /// Where the task tells when it wrote.
    pub metrics: Arc<Metrics>,
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

/// Where usage is written, and how often.
#[derive(Clone, Debug, PartialEq)]
struct UsagePlace {
    bucket: String,
    cluster: String,
    every: Duration,
}

impl UsagePlace {
    /// None: usage is not recorded.
    fn of(spec: &Spec) -> Option<UsagePlace> {
        let settings = &spec.controller.spec;
        let every = settings.usage.every.get();
        let bucket = settings.bucket.clone().filter(|_| !every.is_zero())?;
        Some(UsagePlace { bucket, cluster: spec.controller.cluster().to_owned(), every })
    }
}

impl UsageTask {
    /// Writes until `stop` is cancelled, and then once more.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut place = UsagePlace::of(&self.spec.borrow_and_update());
        let (mut told, mut read) = (None, false);
        loop {
            if !read {
                tokio::select! {
                    () = stop.cancelled() => break,
                    done = self.read(place.as_ref()) => read = done,
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = pause(place.as_ref()) => {}
                changed = changed(&mut self.spec, &place) => {
                    // What was counted belongs to the old place.
                    self.last_write(place.as_ref()).await;
                    place = changed;
                    continue;
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                written = self.write(place.as_ref()) => self.tell(written, &mut told),
            }
        }
        self.last_write(place.as_ref()).await;
    }

    /// Writes the hours that changed. An hour that cannot be written is written the next time. Without a place, nothing is kept.
    async fn write(&self, place: Option<&UsagePlace>) -> Result<(), Failure> {
        for hour in self.watch.usage() {
            if let Some(place) = place {
                let key = usage::object_key(&place.cluster, hour.hour, &self.process);
                self.s3.put(&place.bucket, &key, usage::to_text(&hour.lines), Condition::Always).await?;
                self.metrics.usage_written(self.clock.now().as_millis());
            }
            self.watch.usage_written(&hour, self.clock.now());
        }
        let Some(place) = place else { return Ok(()) };
        for hour in self.watch.history_changed().await {
            let key = usage::history_key(&place.cluster, hour.hour, &self.process);
            self.s3.put(&place.bucket, &key, hour.text.clone(), Condition::Always).await?;
            self.watch.history_written(&hour);
        }
        Ok(())
    }

    /// Reads what other processes recorded: this month's usage, and the history of the last day. Returns whether that needs no other
    /// try.
    async fn read(&self, place: Option<&UsagePlace>) -> bool {
        let Some(place) = place else {
            self.watch.not_restored(PastRead::NotKept);
            return false;
        };
        self.watch.not_restored(PastRead::Reading);
        match self.restore(place).await {
            Ok(()) => true,
            Err(failure) => {
                let role = ["", "; the controller's role needs s3:GetObject on usage/*"];
                let way_out = role[usize::from(failure.kind == FailureKind::Refused)];
                let error = &failure.message;
                tracing::warn!(error, "failed to read the record of the time before, and will try again{way_out}");
                self.watch.not_restored(PastRead::Failed(format!("{error}{way_out}")));
                false
            }
        }
    }

    async fn restore(&self, place: &UsagePlace) -> Result<(), Failure> {
        let now = self.clock.now();
        let (month, day) = (usage::hour_of(month_of(now.as_millis())), usage::hour_of(now.as_millis()).saturating_sub(HOURS));
        let (bucket, cluster) = (&place.bucket, &place.cluster);
        let keys = self.s3.list(bucket, &usage::prefix(cluster)).await?;
        // What this process wrote itself is known.
        let others = keys.into_iter().map(|(key, _)| key).filter(|key| !key.contains(&self.process));
        let wanted = others.filter(|key| usage::is_since(cluster, key, month) || usage::is_history_since(cluster, key, day));
        let wanted: Vec<String> = wanted.collect();
        if wanted.len() > MOST_OBJECTS {
            let message = format!(
                "s3://{bucket}/{} has {} objects of this month, and {MOST_OBJECTS} are read at most",
                usage::prefix(cluster),
                wanted.len()
            );
            return Err(Failure::new(FailureKind::Conflict, message));
        }
        let (mut used, mut past) = (Vec::new(), Vec::new());
        each(&self.s3, bucket, wanted.into_iter(), |key, text| {
            if usage::is_since(cluster, key, 0) {
                let (lines, _) = usage::from_text(text);
                used.push(usage::by_pool_and_repository(lines));
            } else {
                past.extend(history::from_text(text).0);
            }
        })
        .await?;
        used.iter().for_each(|lines| self.watch.restore_usage(lines, now));
        self.watch.restored(past, now);
        Ok(())
    }

    async fn last_write(&self, place: Option<&UsagePlace>) {
        match tokio::time::timeout(LAST_WRITE, self.write(place)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(error = %failure.message, "the usage since the last write is lost"),
            Err(_) => tracing::warn!("the usage since the last write is lost: S3 did not answer within {LAST_WRITE:?}"),
        }
    }

    /// Logs a write that failed, once an hour, and hours that are lost for good.
    fn tell(&self, written: Result<(), Failure>, told: &mut Option<Instant>) {
        let forgotten = self.watch.usage_forgotten();
        if forgotten > 0 {
            tracing::error!(hours = forgotten, "usage is lost for good, because it could not be written for days");
        }
        let Err(failure) = written else {
            *told = None;
            return;
        };
        if told.is_none_or(|at| at.elapsed() >= TOLD) {
            *told = Some(Instant::now());
            let way_out =
                if failure.kind == FailureKind::Refused { "; the controller's role needs s3:PutObject on usage/*" } else { "" };
            tracing::warn!(error = %failure.message, "failed to record usage, and will try again{way_out}");
        }
    }
}

/// Waits until the next write is due. Without a place, what was counted is dropped now and then.
async fn pause(place: Option<&UsagePlace>) {
    tokio::time::sleep(place.map_or(TOLD, |place| place.every)).await;
}

/// Waits until usage goes to another place than `before`, or at another pace.
async fn changed(spec: &mut watch::Receiver<Arc<Spec>>, before: &Option<UsagePlace>) -> Option<UsagePlace> {
    loop {
        if spec.changed().await.is_err() {
            // The sender ends only with the process.
            return std::future::pending().await;
        }
        let now = UsagePlace::of(&spec.borrow_and_update());
        if now != *before {
            return now;
        }
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
    let mut all = Recorded::default();
    each(s3, bucket, keys, |key, text| {
        let (lines, bad) = usage::from_text(text);
        all.lines.extend(lines);
        if bad > 0 {
            let lines = count(bad as u64, "line");
            all.unreadable.push(format!("{lines} of s3://{bucket}/{key} cannot be read, and count for nothing"));
        }
    })
    .await?;
    Ok(all)
}

/// Reads these objects, several at once, and takes them in their order.
async fn each(
    s3: &S3,
    bucket: &str,
    keys: impl Iterator<Item = String>,
    mut take: impl FnMut(&str, &str),
) -> Result<(), Failure> {
    let read = |key: String| async move { Ok::<_, Failure>((s3.get(bucket, &key).await?, key)) };
    let mut objects = stream::iter(keys).map(read).buffered(AT_ONCE);
    while let Some((object, key)) = objects.try_next().await? {
        // An object that was deleted in between has nothing to say.
        let Some((bytes, _)) = object else { continue };
        take(&key, &String::from_utf8_lossy(&bytes));
    }
    Ok(())
}
