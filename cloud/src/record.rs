//! Keeps the flight record: a part for each minute, compressed, in a bucket or a directory. The core never waits for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_operations::metrics::Metrics;
use muster_operations::record::{PartName, pack, unpack};
use muster_reconciler::controller::Controller;
use muster_reconciler::time::Time;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::aws::S3;
use crate::aws::s3::Condition;
use crate::manifests::ManifestPlace;
use crate::retry::Delay;

/// How long a part is. A process that is killed loses as much at most.
const PART: Duration = Duration::from_secs(60);
/// A part that has so many bytes is cut earlier.
const LARGEST: usize = 4 << 20;
/// How many parts wait to be kept: 64 MiB at most, and as a rule a few. If the place takes none for so many minutes, the newest parts
/// are lost, and the record has a gap.
const WAITING: usize = 16;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(30);
/// How long the last tries may take together when the process stops.
const LAST: Duration = Duration::from_secs(5);
/// The length of an hour, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// A part that is to be kept.
#[derive(Debug)]
pub struct Part {
    name: PartName,
    lines: Vec<u8>,
}

/// Cuts the record of a controller into parts.
#[derive(Debug)]
pub struct Tape {
    to: mpsc::Sender<Part>,
    next: PartName,
    metrics: Arc<Metrics>,
}

impl Tape {
    /// The tape of a controller that begins at `now`, and the parts that come of it.
    pub fn new(cluster: &str, process: &str, now: Time, metrics: Arc<Metrics>) -> (Tape, mpsc::Receiver<Part>) {
        let (to, parts) = mpsc::channel(WAITING);
        let next = PartName { cluster: cluster.to_owned(), at: now, process: process.to_owned(), number: 0, begins: true };
        (Tape { to, next, metrics }, parts)
    }

    /// Cuts a part if one is due.
    pub fn turn(&mut self, controller: &mut Controller, now: Time) {
        if now.since(self.next.at) >= PART || controller.record_waiting() >= LARGEST {
            self.cut(controller, now);
        }
    }

    /// Cuts the last part.
    pub fn end(&mut self, controller: &mut Controller, now: Time) {
        self.cut(controller, now);
    }

    fn cut(&mut self, controller: &mut Controller, now: Time) {
        let lines = controller.take_record();
        let other_hour = now.as_millis() / HOUR_MS != self.next.at.as_millis() / HOUR_MS;
        if lines.is_empty() {
            // Nothing entered the core, as of a process that stands by.
            self.next.at = now;
            return;
        }
        let next = PartName { at: now, number: self.next.number + 1, begins: other_hour, ..self.next.clone() };
        let part = Part { name: std::mem::replace(&mut self.next, next), lines };
        if let Err(error) = self.to.try_send(part) {
            self.metrics.record_part(false);
            self.next.begins = true;
            let part = error.into_inner().name;
            tracing::error!(%part, "a minute of the flight record is lost, because the ones before it are not kept yet; the record has a gap");
        }
        if self.next.begins {
            controller.begin_record_anew(now);
        }
    }
}

/// Where a record is kept.
#[derive(Clone, Debug)]
pub enum RecordPlace {
    /// In a directory.
    Dir(PathBuf),
    /// In a bucket, under a prefix without a slash at either end.
    Bucket(String, String, S3),
}

impl RecordPlace {
    /// The place `to`: `s3://BUCKET/PREFIX`, or a directory. AWS is needed for a bucket only.
    pub async fn open(to: &str, s3: impl AsyncFnOnce() -> S3) -> RecordPlace {
        let Ok(place) = to.parse();
        match place {
            ManifestPlace::Dir(dir) => RecordPlace::Dir(dir),
            ManifestPlace::Bucket { bucket, prefix } => RecordPlace::Bucket(bucket, prefix, s3().await),
        }
    }

    /// The names of all parts.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub async fn parts(&self) -> anyhow::Result<Vec<PartName>> {
        let names = match self {
            RecordPlace::Dir(dir) => {
                let dir = dir.clone();
                tokio::task::spawn_blocking(move || muster_operations::record::files(&dir)).await??
            }
            RecordPlace::Bucket(bucket, prefix, s3) => {
                let folder = folder(prefix);
                let keys = s3.list(bucket, &folder).await.map_err(|failure| anyhow::anyhow!(failure.message))?;
                keys.into_iter().filter_map(|(key, _)| key.strip_prefix(&folder).map(str::to_owned)).collect()
            }
        };
        Ok(names.iter().filter_map(|name| PartName::parse(name)).collect())
    }

    /// The lines of a part, and what is wrong with the part, if something is.
    ///
    /// # Errors
    /// When the part cannot be read at all.
    pub async fn read(&self, part: &PartName) -> anyhow::Result<(String, Option<String>)> {
        let bytes = match self {
            RecordPlace::Dir(dir) => {
                let path = dir.join(part.to_string());
                tokio::fs::read(&path).await.with_context(|| format!("failed to read {}", path.display()))?
            }
            RecordPlace::Bucket(bucket, prefix, s3) => {
                let key = format!("{}{part}", folder(prefix));
                let found = s3.get(bucket, &key).await.map_err(|failure| anyhow::anyhow!(failure.message))?;
                found.with_context(|| format!("s3://{bucket}/{key} is gone"))?.0.to_vec()
            }
        };
        Ok(unpack(&bytes))
    }

    pub(crate) async fn write(&self, part: &PartName, bytes: Vec<u8>) -> anyhow::Result<()> {
        match self {
            RecordPlace::Dir(dir) => {
                let path = dir.join(part.to_string());
                write_whole(&path, &bytes).await.with_context(|| format!("failed to write {}", path.display()))
            }
            RecordPlace::Bucket(bucket, prefix, s3) => {
                let key = format!("{}{part}", folder(prefix));
                match s3.put(bucket, &key, bytes, Condition::Always).await {
                    Ok(_) => Ok(()),
                    Err(failure) => anyhow::bail!("{}; the controller's role needs s3:PutObject there", failure.message),
                }
            }
        }
    }
}

/// The folder of a prefix.
fn folder(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!("{prefix}/") }
}

/// Writes a file that is whole or not there.
async fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        let mut builder = tokio::fs::DirBuilder::new();
        // Names of repositories and branches are nobody else's business.
        #[cfg(unix)]
        builder.mode(0o700);
        builder.recursive(true).create(folder).await?;
    }
    let mut beside: PathBuf = path.to_owned();
    beside.add_extension("part");
    tokio::fs::write(&beside, bytes).await?;
    tokio::fs::rename(&beside, path).await
}

/// Keeps the parts.
#[derive(Debug)]
pub struct RecordTask {
    /// Where they are kept.
    pub place: RecordPlace,
    /// The parts.
    pub parts: mpsc::Receiver<Part>,
    /// Counts the parts.
    pub metrics: Arc<Metrics>,
}

impl RecordTask {
    /// Keeps parts until the tape has ended. A part that cannot be kept is tried again; once `stop` is cancelled, only for a while.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Part { name, lines }) = self.parts.recv().await {
            let packed = tokio::task::spawn_blocking(move || pack(&lines)).await.unwrap_or_default();
            let last = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST).await;
            };
            let kept = tokio::select! {
                () = self.keep(&name, packed) => true,
                () = last => false,
            };
            if !kept {
                tracing::error!(part = %name, "the end of the flight record is lost: its place did not take it within {LAST:?}");
            }
            self.metrics.record_part(kept);
        }
    }

    async fn keep(&self, name: &PartName, packed: Vec<u8>) {
        let mut delay = Delay::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut told = false;
        loop {
            let written = tokio::time::timeout(TRY, self.place.write(name, packed.clone())).await;
            let error = match written {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no answer within {TRY:?}"),
            };
            if !told {
                tracing::warn!(error, "failed to keep a minute of the flight record, and will try again");
                told = true;
            }
            tokio::time::sleep(delay.next_delay()).await;
        }
    }
}
