//! The cache of runner binaries: what the pools need of actions/runner's releases lies in `spec.bucket`, where the boxes get it.
//!
//! `runners/<os>-<arch>/X.Y.Z.tar.gz` (`.zip` for Windows), and `latest.tar.gz` for pools that want the latest; both with the
//! metadata `sha256` and `version`. An object appears whole and verified or not at all ([`copy`]), and `latest` is switched by one
//! copy within S3 after that: a broken or forged download never replaces a good one. Everything is looked at anew in each
//! pass, so passes may repeat, fail half-way and run side by side.

mod again;
mod copy;
pub mod plan;
pub mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use chrono::Utc;
use muster_reconciler::effect::{Failure, FailureKind};
use tokio_util::sync::CancellationToken;

use crate::aws::S3;
use crate::aws::s3::{Condition, PutResult};
use crate::github::releases::{Release, Releases, Version};
use again::again;
use copy::Copy;
use plan::{Behind, Platform, Wanted};

/// An upload that was begun this long ago was abandoned: by a machine that died.
const ABANDONED: Duration = Duration::from_secs(86_400);

/// After the order to stop, how long a copy may take to abort its upload; the whole process has 10 s.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How it stands with one binary.
#[derive(Clone, Debug)]
pub enum State {
    /// It was there already.
    Cached,
    /// It was copied.
    Copied {
        /// Its size.
        bytes: u64,
        /// How long that took.
        took: Duration,
    },
    /// It was there already; `latest` was another one, and is it now.
    Switched,
    /// A dry run: it is there, and `latest` would be switched to it.
    WouldSwitch,
    /// A dry run: it would be copied.
    WouldCopy {
        /// Its size.
        bytes: u64,
    },
    /// It is not there, or `latest` is not it.
    Failed(Failure),
}

/// One binary that a pool needs.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it runs on.
    pub platform: Platform,
    /// What the pools ask for.
    pub wanted: Wanted,
    /// Which version that is; None if that could not be found out.
    pub version: Option<Version>,
    /// How it stands.
    pub state: State,
    /// Set if it is pinned and there is a newer one.
    pub behind: Option<Behind>,
}

/// A binary that was deleted, or would be in a dry run.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// What it ran on.
    pub platform: Platform,
    /// Which it was.
    pub version: Version,
}

/// What a pass found and did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the pools need, by platform.
    pub items: Vec<Item>,
    /// What nobody needs.
    pub pruned: Vec<Pruned>,
    /// Uploads that somebody abandoned, aborted now.
    pub aborted: usize,
    /// What failed besides: the cache is whole all the same.
    pub warnings: Vec<Failure>,
}

impl Report {
    /// Why something needed is not cached.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.items.iter().filter_map(|item| match &item.state {
            State::Failed(failure) => Some(failure),
            _ => None,
        })
    }

    /// Whether everything needed is cached.
    pub fn complete(&self) -> bool {
        self.items.iter().all(|item| matches!(item.state, State::Cached | State::Switched | State::Copied { .. }))
    }
}

/// One look at everything, with what it needs.
#[derive(Debug)]
pub struct Pass<'a> {
    /// Where the binaries go.
    pub s3: &'a S3,
    /// Where they come from.
    pub releases: &'a Releases,
    /// `spec.bucket`.
    pub bucket: &'a str,
    /// Looks only; changes nothing.
    pub dry_run: bool,
    /// Ends it early, and tidily.
    pub stop: &'a CancellationToken,
}

/// What is known of the releases in one pass: each is asked for once.
type Found = BTreeMap<Wanted, Result<Release, Failure>>;

impl Pass<'_> {
    /// Copies what is needed and not there, switches `latest`, prunes. None: it was told to stop, and what it waited for did
    /// not end.
    pub async fn run(&self, needs: &BTreeMap<Platform, BTreeSet<Wanted>>) -> Option<Report> {
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            report = self.look(needs) => Some(report),
            () = late => None,
        }
    }

    async fn look(&self, needs: &BTreeMap<Platform, BTreeSet<Wanted>>) -> Report {
        let mut report = Report::default();
        let mut found = Found::new();
        for wanted in needs.values().flatten() {
            if !found.contains_key(wanted) {
                let release = match wanted {
                    Wanted::Latest => again(|| self.releases.latest()).await,
                    Wanted::Pinned(version) => again(|| self.releases.tagged(*version)).await,
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
                let state = match release {
                    Ok(release) => self.provide(platform, wanted, &release).await.unwrap_or_else(State::Failed),
                    Err(failure) => State::Failed(failure),
                };
                let behind = pinned(wanted).and_then(|version| plan::behind(version, &listed, Utc::now()));
                report.items.push(Item { platform, wanted, version, state, behind });
            }
            // What failed may be why the others are still needed.
            let items = &report.items[from..];
            if items.iter().all(|item| !matches!(item.state, State::Failed(_))) {
                let used = items.iter().filter_map(|item| item.version).collect();
                self.tidy(platform, &used, &mut report).await;
            }
        }
        report
    }

    /// The last releases, if a version is pinned: how old it is depends on those after it.
    async fn listed(&self, found: &Found, report: &mut Report) -> Vec<Release> {
        if !found.keys().any(|wanted| matches!(wanted, Wanted::Pinned(_))) {
            return Vec::new();
        }
        again(|| self.releases.list()).await.unwrap_or_else(|failure| {
            let message = format!("see whether a pinned version is too old: {}", failure.message);
            report.warnings.push(Failure { message, ..failure });
            Vec::new()
        })
    }

    /// Sees to it that a release lies in the bucket, and that `latest` is it.
    async fn provide(&self, platform: Platform, wanted: Wanted, release: &Release) -> Result<State, Failure> {
        let name = platform.asset_name(release.version);
        let refused = |said: &str| Failure::new(FailureKind::Refused, format!("cache {name}: {said}"));
        let asset = release.assets.iter().find(|asset| asset.name == name);
        let asset = asset.ok_or_else(|| refused("its release has no such file; pin a version that has, or wait for the file"))?;
        let sha256 = asset.sha256().ok_or_else(|| {
            refused("its release names no SHA-256 digest to hold it to; pin a release that was published after June 2025")
        })?;
        let key = platform.key(release.version);
        let there = again(|| self.s3.head(self.bucket, &key)).await?;
        let (state, etag) = match there {
            Some(head) if plan::holds(&head, asset, sha256) => (State::Cached, head.etag),
            _ if self.dry_run => return Ok(State::WouldCopy { bytes: asset.size }),
            there => {
                let began = Instant::now();
                // Of two controllers the first wins; a wrong object is replaced only as long as it is the one that was seen.
                let condition = there.map_or(Condition::IfAbsent, |head| Condition::IfMatch(head.etag));
                let (s3, releases, bucket, stop, version) = (self.s3, self.releases, self.bucket, self.stop, release.version);
                let copy = Copy { s3, releases, bucket, key: key.clone(), asset, sha256, version, stop };
                match copy.run(condition).await? {
                    PutResult::Stored(etag) => (State::Copied { bytes: asset.size, took: began.elapsed() }, etag),
                    PutResult::Lost => match again(|| self.s3.head(self.bucket, &key)).await? {
                        Some(head) if plan::holds(&head, asset, sha256) => (State::Cached, head.etag),
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
        if wanted != Wanted::Latest {
            return Ok(state);
        }
        let latest = platform.latest_key();
        let head = again(|| self.s3.head(self.bucket, &latest)).await?;
        if head.is_some_and(|head| plan::holds(&head, asset, sha256)) {
            return Ok(state);
        }
        if self.dry_run {
            return Ok(State::WouldSwitch);
        }
        again(|| self.s3.copy(self.bucket, &key, &etag, &latest)).await?;
        Ok(if matches!(state, State::Cached) { State::Switched } else { state })
    }

    /// Deletes versions that nobody needs, and aborts abandoned uploads. What fails here is tried again by the next pass.
    async fn tidy(&self, platform: Platform, used: &BTreeSet<Version>, report: &mut Report) {
        if let Err(failure) = self.prune(platform, used, report).await {
            report.warnings.push(failure);
        }
        if let Err(failure) = self.abort_abandoned(platform, report).await {
            report.warnings.push(failure);
        }
    }

    async fn prune(&self, platform: Platform, used: &BTreeSet<Version>, report: &mut Report) -> Result<(), Failure> {
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

    async fn abort_abandoned(&self, platform: Platform, report: &mut Report) -> Result<(), Failure> {
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

fn pinned(wanted: Wanted) -> Option<Version> {
    match wanted {
        Wanted::Latest => None,
        Wanted::Pinned(version) => Some(version),
    }
}

/// What to say of a pinned version that GitHub refuses.
pub fn too_old(item: &Item) -> Option<String> {
    let behind = item.behind.filter(|behind| behind.too_old())?;
    let days = behind.since.as_secs() / 86_400;
    Some(format!(
        "{} {} is too old: {} has been out for {days} days, and GitHub gives jobs to no runner that is not updated within 30; set \
         spec.bootstrap.version of its pools to latest or a newer version, and run terraform apply",
        item.platform, item.wanted, behind.by
    ))
}
