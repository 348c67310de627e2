//! The cache of runner binaries. The files of actions/runner's releases that the pools need are stored in `spec.bucket`, from
//! where the instances load them.
//!
//! The keys are `runners/<os>-<arch>/X.Y.Z.tar.gz` (`.zip` for Windows), and `latest.tar.gz` in the same folder for pools that
//! want the latest version. Each object has the metadata `sha256` and `version`. An object appears either whole and verified, or
//! not at all ([`copy`]). Only after that is `latest` switched, by one copy within S3. So a broken or forged download never
//! replaces a good file. Now and then a pass reads the objects again ([`Reread`]), and replaces what is not what its release says. A
//! pass looks at everything afresh. So passes may be repeated, may fail half-way, and may run side by
//! side.

mod again;
mod copy;
pub mod plan;
mod reread;
pub mod task;

pub use reread::{Corrupt, Reread};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use chrono::Utc;
use muster_reconciler::failure::{Failure, FailureKind};
use tokio_util::sync::CancellationToken;

use crate::aws::S3;
use crate::aws::s3::{Condition, Head, PutResult};
use again::again;
use copy::Copy;
use muster_github::releases::{Asset, Release, Releases, Version};
use plan::{Behind, Platform, WantedVersion};

/// An upload that was begun this long ago counts as abandoned, because the machine that began it died.
const ABANDONED: Duration = Duration::from_secs(86_400);

/// How long after the order to stop a copy may still take to abort its upload. The whole process has 10 s to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The state of one binary in the cache.
#[derive(Clone, Debug)]
pub enum CacheState {
    /// The binary was in the bucket already.
    Cached,
    /// The binary was copied to the bucket.
    Copied {
        /// The size of the file, in bytes.
        bytes: u64,
        /// How long the copy took.
        took: Duration,
    },
    /// The binary was in the bucket already. `latest` was another version, and is now this one.
    Switched,
    /// A dry run: the binary is in the bucket, and a pass would switch `latest` to it.
    WouldSwitch,
    /// A dry run: a pass would copy the binary.
    WouldCopy {
        /// The size of the file, in bytes.
        bytes: u64,
    },
    /// The binary is not in the bucket, or `latest` is not this binary.
    Failed(Failure),
}

/// One binary that at least one pool needs.
#[derive(Clone, Debug)]
pub struct Item {
    /// The operating system and the architecture that the binary runs on.
    pub platform: Platform,
    /// What the pools ask for: the latest version or a pinned one.
    pub wanted: WantedVersion,
    /// The version of the binary. None: the latest version could not be found out.
    pub version: Option<Version>,
    /// The SHA-256 that the release names. None: it could not be found out.
    pub sha256: Option<String>,
    /// What the pass found or did.
    pub state: CacheState,
    /// How far the version is behind. None: the version is not pinned, or there is no newer one.
    pub behind: Option<Behind>,
    /// When the cached copy of the latest version was written, since the Unix epoch. None: the version is pinned, or S3 has no such
    /// copy.
    pub cached_at: Option<Duration>,
}

/// A binary that was deleted, or that would be deleted in a dry run.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The operating system and the architecture that the binary ran on.
    pub platform: Platform,
    /// The version of the binary.
    pub version: Version,
}

/// What a pass found and did.
#[derive(Clone, Debug, Default)]
pub struct SyncReport {
    /// The binaries that the pools need, in the order of their platforms.
    pub items: Vec<Item>,
    /// The binaries that nobody needs.
    pub pruned: Vec<Pruned>,
    /// The objects whose content was not what their metadata says. They were replaced, unless their item failed or this is a dry run.
    pub corrupt: Vec<Corrupt>,
    /// How many abandoned uploads the pass aborted.
    pub aborted: usize,
    /// What else failed. The binaries that the pools need do not depend on it.
    pub warnings: Vec<Failure>,
}

impl SyncReport {
    /// Why binaries that the pools need are not in the bucket.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.items.iter().filter_map(|item| match &item.state {
            CacheState::Failed(failure) => Some(failure),
            _ => None,
        })
    }

    /// Whether all binaries that the pools need are in the bucket.
    pub fn complete(&self) -> bool {
        self.items.iter().all(|item| matches!(item.state, CacheState::Cached | CacheState::Switched | CacheState::Copied { .. }))
    }
}

/// One look at all binaries, with everything that it takes.
#[derive(Debug)]
pub struct Pass<'a> {
    /// The adapter for the bucket.
    pub s3: &'a S3,
    /// The source of the releases.
    pub releases: &'a Releases,
    /// The name of the bucket, from `spec.bucket`.
    pub bucket: &'a str,
    /// Whether the pass only looks and changes nothing.
    pub dry_run: bool,
    /// Which objects need not be read again yet.
    pub reread: &'a Reread,
    /// Ends the pass early. A copy that is under way then aborts its upload.
    pub stop: &'a CancellationToken,
}

/// What GitHub said of the releases in one pass. Each release is asked for once.
type Found = BTreeMap<WantedVersion, Result<Release, Failure>>;

impl Pass<'_> {
    /// Copies the binaries that are missing, switches `latest`, and prunes. None: the pass was told to stop and did not end
    /// within 5 s.
    pub async fn run(&self, needs: &BTreeMap<Platform, BTreeSet<WantedVersion>>) -> Option<SyncReport> {
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            report = self.look(needs) => Some(report),
            () = late => None,
        }
    }

    async fn look(&self, needs: &BTreeMap<Platform, BTreeSet<WantedVersion>>) -> SyncReport {
        let mut report = SyncReport::default();
        let mut found = Found::new();
        for wanted in needs.values().flatten() {
            if !found.contains_key(wanted) {
                let release = match wanted {
                    WantedVersion::Latest => again(|| self.releases.latest()).await,
                    WantedVersion::Pinned(version) => again(|| self.releases.tagged(*version)).await,
                };
                found.insert(*wanted, release);
            }
        }
        let listed = self.listed(&found, &mut report).await;
        for (&platform, wanted) in needs {
            let from = report.items.len();
            for &wanted in wanted {
                let release = found[&wanted].clone();
                let version = release.as_ref().map_or(pinned(wanted), |release| Some(release.version));
                let sha256 = release.as_ref().ok().and_then(|release| Some(asset(platform, release)?.sha256()?.to_owned()));
                let state = match release {
                    Ok(release) => self.provide(platform, wanted, &release, &mut report).await.unwrap_or_else(CacheState::Failed),
                    Err(failure) => CacheState::Failed(failure),
                };
                let behind = pinned(wanted).and_then(|version| plan::behind(version, &listed, Utc::now()));
                let cached_at = if wanted == WantedVersion::Latest { self.cached_at(platform).await } else { None };
                report.items.push(Item { platform, wanted, version, sha256, state, behind, cached_at });
            }
            // If a binary is missing, older versions are kept: instances may still need them.
            let items = &report.items[from..];
            if items.iter().all(|item| !matches!(item.state, CacheState::Failed(_))) {
                let used = items.iter().filter_map(|item| item.version).collect();
                self.tidy(platform, &used, &mut report).await;
            }
        }
        report
    }

    /// When the cached copy of the latest version was written. When S3 does not answer, the next pass asks again.
    async fn cached_at(&self, platform: Platform) -> Option<Duration> {
        self.s3.head(self.bucket, &platform.latest_key()).await.ok().flatten()?.modified
    }

    /// The last releases, if a version is pinned. They show how long there has been a newer version.
    async fn listed(&self, found: &Found, report: &mut SyncReport) -> Vec<Release> {
        if !found.keys().any(|wanted| matches!(wanted, WantedVersion::Pinned(_))) {
            return Vec::new();
        }
        again(|| self.releases.list()).await.unwrap_or_else(|failure| {
            let message = format!("see whether a pinned version is too old: {}", failure.message);
            report.warnings.push(Failure { message, ..failure });
            Vec::new()
        })
    }

    /// Ensures that a release is in the bucket and, if the pools want the latest version, that `latest` is this release.
    async fn provide(
        &self,
        platform: Platform,
        wanted: WantedVersion,
        release: &Release,
        report: &mut SyncReport,
    ) -> Result<CacheState, Failure> {
        let name = platform.asset_name(release.version);
        let refused = |said: &str| Failure::new(FailureKind::Refused, format!("cache {name}: {said}"));
        let asset = asset(platform, release)
            .ok_or_else(|| refused("its release has no such file; pin a version that has, or wait for the file"))?;
        let sha256 = asset.sha256().ok_or_else(|| {
            refused("its release names no SHA-256 digest to hold it to; pin a release that was published after June 2025")
        })?;
        let key = platform.key(release.version);
        let there = again(|| self.s3.head(self.bucket, &key)).await?;
        let (state, etag) = match there {
            Some(head) if self.holds(&key, &head, asset, sha256, report).await => (CacheState::Cached, head.etag),
            _ if self.dry_run => return Ok(CacheState::WouldCopy { bytes: asset.size }),
            there => {
                let began = Instant::now();
                // Of two controllers that write at once, the first wins. A wrong object is replaced only if it has not changed
                // since this look.
                let condition = there.map_or(Condition::IfAbsent, |head| Condition::IfMatch(head.etag));
                let (s3, releases, bucket, stop, version) = (self.s3, self.releases, self.bucket, self.stop, release.version);
                let copy = Copy { s3, releases, bucket, key: key.clone(), asset, sha256, version, stop };
                match copy.run(condition).await? {
                    PutResult::Stored(etag) => (CacheState::Copied { bytes: asset.size, took: began.elapsed() }, etag),
                    PutResult::Lost => match again(|| self.s3.head(self.bucket, &key)).await? {
                        Some(head) if plan::holds(&head, asset, sha256) => (CacheState::Cached, head.etag),
                        Some(_) => {
                            return Err(refused(
                                "somebody else wrote another content under the same key; give muster its own bucket",
                            ));
                        }
                        None => {
                            return Err(refused("another write of the same key is under way; the next try finds out who won"));
                        }
                    },
                }
            }
        };
        if wanted != WantedVersion::Latest {
            return Ok(state);
        }
        let latest = platform.latest_key();
        let head = again(|| self.s3.head(self.bucket, &latest)).await?;
        if let Some(head) = head
            && self.holds(&latest, &head, asset, sha256, report).await
        {
            return Ok(state);
        }
        if self.dry_run {
            return Ok(CacheState::WouldSwitch);
        }
        again(|| self.s3.copy(self.bucket, &key, &etag, &latest)).await?;
        Ok(if matches!(state, CacheState::Cached) { CacheState::Switched } else { state })
    }

    /// Whether an object is the whole file, by its metadata and, now and then, by its content. An object that cannot be read again
    /// counts by its metadata; the next pass tries again.
    async fn holds(&self, key: &str, head: &Head, asset: &Asset, sha256: &str, report: &mut SyncReport) -> bool {
        if !plan::holds(head, asset, sha256) {
            return false;
        }
        match self.reread.look(self.s3, self.bucket, key, head, sha256).await {
            Ok(None) => true,
            Ok(Some(corrupt)) => {
                report.corrupt.push(corrupt);
                false
            }
            Err(failure) => {
                report.warnings.push(failure);
                true
            }
        }
    }

    /// Deletes the versions that nobody needs, and aborts abandoned uploads. The next pass tries again what fails here.
    async fn tidy(&self, platform: Platform, used: &BTreeSet<Version>, report: &mut SyncReport) {
        if let Err(failure) = self.prune(platform, used, report).await {
            report.warnings.push(failure);
        }
        if let Err(failure) = self.abort_abandoned(platform, report).await {
            report.warnings.push(failure);
        }
    }

    async fn prune(&self, platform: Platform, used: &BTreeSet<Version>, report: &mut SyncReport) -> Result<(), Failure> {
        let prefix = platform.prefix();
        let keys: Vec<String> = again(|| self.s3.list(self.bucket, &prefix)).await?.into_iter().map(|(key, _)| key).collect();
        for (version, key) in plan::prune(platform, &keys, used) {
            if !self.dry_run {
                again(|| self.s3.delete(self.bucket, &key)).await?;
            }
            report.pruned.push(Pruned { platform, version });
        }
        Ok(())
    }

    async fn abort_abandoned(&self, platform: Platform, report: &mut SyncReport) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        let (now, prefix) = (SystemTime::now(), platform.prefix());
        for unfinished in again(|| self.s3.unfinished(self.bucket, &prefix)).await? {
            if now.duration_since(unfinished.begun).is_ok_and(|age| age > ABANDONED) {
                unfinished.upload.abort().await?;
                report.aborted += 1;
            }
        }
        Ok(())
    }
}

/// The file of a release for this platform.
fn asset(platform: Platform, release: &Release) -> Option<&Asset> {
    let name = platform.asset_name(release.version);
    release.assets.iter().find(|asset| asset.name == name)
}

fn pinned(wanted: WantedVersion) -> Option<Version> {
    match wanted {
        WantedVersion::Latest => None,
        WantedVersion::Pinned(version) => Some(version),
    }
}

/// The warning about a pinned version that GitHub refuses. None: GitHub does not refuse the version yet.
pub fn too_old(item: &Item) -> Option<String> {
    let behind = item.behind.filter(|behind| behind.too_old())?;
    let days = behind.since.as_secs() / 86_400;
    Some(format!(
        "{} {} is too old: {} has been out for {days} days, and GitHub gives jobs to no runner that is not updated within 30; set \
         spec.bootstrap.version of its pools to latest or a newer version, and run terraform apply",
        item.platform, item.wanted, behind.by
    ))
}
