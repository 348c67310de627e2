//! The controller's own passes: one at its start, one every `spec.sync.every`, and one when the pools need other binaries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_operations::metrics::{Metrics, PlatformTimes};
use muster_operations::observer::Observer;
use muster_reconciler::effect::Input;
use muster_reconciler::ids::ListId;
use muster_reconciler::manifest::{RunnerSync, Spec};
use muster_reconciler::release::{RunnerRelease, RunnerReleases};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::plan::{self, Platform, WantedVersion};
use super::{CacheState, Pass, Reread, SyncReport, too_old};
use crate::aws::S3;
use crate::executor::Executor;
use crate::retry::Delay;
use muster_github::releases::Releases;

/// The first and the longest delay after a failure. If the next regular pass is due earlier, it comes earlier.
const RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1800));

/// The task that makes the controller's own passes.
pub struct SyncTask {
    /// The adapter for the bucket.
    pub s3: S3,
    /// The manifests that are in force.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// Has the GitHub clients in force.
    pub executor: Executor,
    /// Where the core hears which releases its launches name.
    pub inputs: mpsc::Sender<Input>,
    /// Where the task counts what it did.
    pub metrics: Arc<Metrics>,
    /// This function is called after each request to GitHub.
    pub observer: Observer,
}

impl std::fmt::Debug for SyncTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// The part of the manifests that matters to a pass.
#[derive(Clone, PartialEq)]
struct SyncSettings {
    bucket: Option<String>,
    settings: RunnerSync,
    needs: BTreeMap<Platform, BTreeSet<WantedVersion>>,
}

impl SyncSettings {
    fn of(spec: &Spec) -> SyncSettings {
        let settings = &spec.controller.spec;
        SyncSettings { bucket: settings.bucket.clone(), settings: settings.sync.clone(), needs: plan::needs(spec) }
    }

    /// The bucket. None: no bucket is set, or `spec.sync.every` is zero, so there is nothing to do.
    fn bucket(&self) -> Option<&str> {
        self.bucket.as_deref().filter(|_| !self.settings.every.get().is_zero())
    }
}

impl SyncTask {
    /// Makes passes until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut order = SyncSettings::of(&self.spec.borrow_and_update());
        let mut releases: Option<(String, Releases)> = None;
        let mut delay = Delay::new(RETRY.0, RETRY.1);
        let reread = Reread::default();
        let mut known = RunnerReleases::default();
        let mut times = SyncTimes::default();
        loop {
            let (wait, report) = match order.bucket() {
                None => {
                    let why = if order.bucket.is_none() { "spec.bucket is not set" } else { "spec.sync.every is 0s" };
                    tracing::info!(why, "runner binaries are not cached by this controller");
                    (None, None)
                }
                Some(bucket) => {
                    let (wait, report) = self.pass(bucket, &order, &mut releases, &reread, &mut delay, &stop).await;
                    (Some(wait), report)
                }
            };
            times.hear(&order, report.as_ref(), SystemTime::now());
            self.metrics.sync_times(times.0.iter().map(|(platform, at)| (platform.os(), platform.architecture(), *at)));
            let now = known_after(&known, &order, report.as_ref());
            if now != known {
                known = now;
                // The send fails only when the process stops.
                let _ = self.inputs.send(Input::Releases(known.clone())).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
                changed = changed(&mut self.spec, &order) => order = changed,
            }
        }
    }

    /// Makes one pass. Returns how long to wait until the next one, and what the pass found.
    async fn pass(
        &self,
        bucket: &str,
        order: &SyncSettings,
        releases: &mut Option<(String, Releases)>,
        reread: &Reread,
        delay: &mut Delay,
        stop: &CancellationToken,
    ) -> (Duration, Option<SyncReport>) {
        let every = order.settings.every.get();
        let base = &order.settings.releases;
        if releases.as_ref().is_none_or(|(known, _)| known != base) {
            match Releases::new(base, self.observer.clone()) {
                Ok(made) => *releases = Some((base.clone(), made)),
                Err(error) => {
                    tracing::error!("cannot sync runner binaries: {error:#}");
                    self.metrics.sync_failures(1);
                    return (every, None);
                }
            }
        }
        let Some((_, releases)) = releases else { return (every, None) };
        releases.ask_as(asker(&self.spec.borrow(), base).map(|list_id| (self.executor.github(), list_id)));
        let pass = Pass { s3: &self.s3, releases, bucket, dry_run: false, reread, stop };
        let Some(report) = pass.run(&order.needs).await.filter(|_| !stop.is_cancelled()) else { return (every, None) };
        hear(&report, &self.metrics);
        if report.complete() {
            delay.reset();
            return (every, Some(report));
        }
        // After a rate limit was reached, GitHub says how long to wait.
        let asked = report.failures().filter_map(|failure| failure.retry_after).max().unwrap_or_default();
        (delay.next_delay().min(every).max(asked), Some(report))
    }
}

/// The releases that launches name after a pass: those that are in the bucket now, and those that an earlier pass found and this one
/// could not ask for. A release never changes, so an earlier one is still what its digest says. Without a bucket, nobody keeps
/// `latest` up to date, so none is named.
fn known_after(before: &RunnerReleases, order: &SyncSettings, report: Option<&SyncReport>) -> RunnerReleases {
    if order.bucket().is_none() {
        return RunnerReleases::default();
    }
    let key = |platform: Platform, wanted: WantedVersion| (platform.os, platform.architecture, wanted.to_string());
    let mut known = before.clone();
    for item in report.iter().flat_map(|report| &report.items) {
        if let (Some(version), Some(sha256)) = (item.version, &item.sha256)
            && !matches!(item.state, CacheState::Failed(_))
        {
            let release = RunnerRelease { version: version.to_string(), sha256: sha256.clone() };
            known.0.insert(key(item.platform, item.wanted), release);
        }
    }
    let needed: BTreeSet<_> =
        order.needs.iter().flat_map(|(platform, wanted)| wanted.iter().map(|wanted| key(*platform, *wanted))).collect();
    known.0.retain(|key, _| needed.contains(key));
    known
}

/// A list whose credentials are for the API that the releases come from. None: there is none, because the releases come from a mirror,
/// or every pool is at GitHub Enterprise Server.
fn asker(spec: &Spec, releases: &str) -> Option<ListId> {
    let api = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    let mut lists = spec.pools.values().map(|pool| pool.list_id());
    lists.find(|list| spec.api_url(&list.app).is_some_and(|url| api(url) == api(releases)))
}

/// When the passes succeeded, and when the cached latest versions were written, by platform.
#[derive(Debug, Default)]
struct SyncTimes(BTreeMap<Platform, PlatformTimes>);

impl SyncTimes {
    /// Takes in a pass. Platforms that no pool needs any more are forgotten, because nobody syncs them.
    fn hear(&mut self, order: &SyncSettings, report: Option<&SyncReport>, now: SystemTime) {
        let synced = order.bucket().is_some();
        self.0.retain(|platform, _| synced && order.needs.contains_key(platform));
        let Some(report) = report.filter(|_| synced) else { return };
        for platform in order.needs.keys() {
            let items = || report.items.iter().filter(|item| item.platform == *platform);
            let times = self.0.entry(*platform).or_default();
            times.latest = items().find_map(|item| item.cached_at).or(times.latest);
            if items().next().is_some() && items().all(|item| !matches!(item.state, CacheState::Failed(_))) {
                times.success = now.duration_since(UNIX_EPOCH).ok();
            }
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Waits until the manifests ask for something else than `before`.
async fn changed(spec: &mut watch::Receiver<Arc<Spec>>, before: &SyncSettings) -> SyncSettings {
    loop {
        if spec.changed().await.is_err() {
            // The manifests are not reloaded any more, because the process is stopping.
            std::future::pending::<()>().await;
        }
        let order = SyncSettings::of(&spec.borrow_and_update());
        if order != *before {
            return order;
        }
    }
}

/// Logs and counts what a pass did.
fn hear(report: &SyncReport, metrics: &Metrics) {
    for item in &report.items {
        let (platform, wanted) = (item.platform.to_string(), item.wanted.to_string());
        let version = item.version.map(|version| version.to_string());
        match &item.state {
            CacheState::Copied { bytes, took } => {
                metrics.sync_copied(*bytes);
                tracing::info!(platform, wanted, version, bytes, seconds = took.as_secs_f64(), "copied a runner binary");
            }
            CacheState::Failed(failure) => {
                tracing::warn!(
                    platform,
                    wanted,
                    version,
                    kind = failure.kind.as_str(),
                    error = failure.message,
                    "a runner binary is not cached"
                );
            }
            CacheState::Switched => tracing::info!(platform, version, "switched latest"),
            CacheState::Cached | CacheState::WouldSwitch | CacheState::WouldCopy { .. } => {
                tracing::debug!(platform, wanted, version, "a runner binary is cached");
            }
        }
        if let Some(text) = too_old(item) {
            tracing::warn!("{text}");
        }
    }
    for corrupt in &report.corrupt {
        metrics.sync_corrupt();
        tracing::error!(
            key = corrupt.key,
            found = corrupt.found,
            wanted = corrupt.wanted,
            "a cached runner binary was not what its release says, although its metadata said so; find out who may write to the bucket"
        );
    }
    for pruned in &report.pruned {
        tracing::info!(platform = %pruned.platform, version = %pruned.version, "deleted a runner binary that no pool uses");
    }
    if report.aborted > 0 {
        tracing::info!(count = report.aborted, "aborted uploads that were left for more than a day");
    }
    for failure in &report.warnings {
        tracing::warn!(kind = failure.kind.as_str(), error = failure.message, "the sync of runner binaries is not complete");
    }
    metrics.sync_failures((report.failures().count() + report.warnings.len()) as u64);
    let pinned = report.items.iter().filter(|item| matches!(item.wanted, WantedVersion::Pinned(_)));
    metrics.runners_behind(pinned.map(|item| {
        let behind = item.behind.map(|behind| behind.since).unwrap_or_default();
        (item.platform.os(), item.platform.architecture(), item.wanted.to_string(), behind)
    }));
}

#[cfg(test)]
mod tests {
    use muster_reconciler::failure::{Failure, FailureKind};
    use muster_reconciler::manifest::{Architecture, Os};

    use super::super::Item;
    use super::*;
    use muster_github::releases::Version;

    const LINUX: Platform = Platform { os: Os::Linux, architecture: Architecture::X64 };

    fn order(bucket: Option<&str>, wanted: &[WantedVersion]) -> SyncSettings {
        let settings = RunnerSync::default();
        SyncSettings { bucket: bucket.map(str::to_owned), settings, needs: [(LINUX, wanted.iter().copied().collect())].into() }
    }

    fn report(version: Option<Version>, state: CacheState) -> SyncReport {
        let sha256 = version.map(|_| "ab".repeat(32));
        let (wanted, cached_at) = (WantedVersion::Latest, Some(Duration::from_secs(5)));
        let item = Item { platform: LINUX, wanted, version, sha256, state, behind: None, cached_at };
        SyncReport { items: vec![item], ..SyncReport::default() }
    }

    #[test]
    fn a_release_is_named_once_the_cache_holds_it_and_as_long_as_a_pool_needs_it() {
        let latest = order(Some("bucket"), &[WantedVersion::Latest]);
        let failed = || CacheState::Failed(Failure::new(FailureKind::Unavailable, "503"));
        let named = |known: &RunnerReleases| known.0.values().map(|release| release.version.clone()).collect::<Vec<_>>();
        let none = RunnerReleases::default();
        assert_eq!(named(&known_after(&none, &latest, Some(&report(Some(Version(2, 1, 0)), failed())))), [""; 0]);
        let known = known_after(&none, &latest, Some(&report(Some(Version(2, 1, 0)), CacheState::Cached)));
        assert_eq!(named(&known), ["2.1.0"]);
        // GitHub does not answer, or the copy of the next release fails, or the pass was cut off: the former release is still true.
        assert_eq!(known_after(&known, &latest, Some(&report(None, failed()))), known);
        assert_eq!(known_after(&known, &latest, Some(&report(Some(Version(2, 2, 0)), failed()))), known);
        assert_eq!(known_after(&known, &latest, None), known);
        let switched = known_after(&known, &latest, Some(&report(Some(Version(2, 2, 0)), CacheState::Switched)));
        assert_eq!(named(&switched), ["2.2.0"]);
        let pinned = order(Some("bucket"), &[WantedVersion::Pinned(Version(2, 1, 0))]);
        assert_eq!(named(&known_after(&known, &pinned, None)), [""; 0], "no pool wants the latest any more");
        assert_eq!(named(&known_after(&known, &order(None, &[WantedVersion::Latest]), None)), [""; 0], "nobody follows GitHub");
    }

    #[test]
    fn a_pass_that_fails_is_no_success_and_the_age_of_the_cached_latest_is_known_all_the_same() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        let latest = order(Some("bucket"), &[WantedVersion::Latest]);
        let failed = report(None, CacheState::Failed(Failure::new(FailureKind::Throttled, "403")));
        let mut times = SyncTimes::default();
        times.hear(&latest, Some(&failed), at(90));
        let known = |times: &SyncTimes| times.0.get(&LINUX).copied();
        let cached = Some(Duration::from_secs(5));
        assert_eq!(known(&times), Some(PlatformTimes { success: None, latest: cached }));
        times.hear(&latest, Some(&report(Some(Version(2, 1, 0)), CacheState::Cached)), at(100));
        times.hear(&latest, Some(&failed), at(200));
        assert_eq!(known(&times), Some(PlatformTimes { success: Some(Duration::from_secs(100)), latest: cached }));
        times.hear(&order(None, &[WantedVersion::Latest]), None, at(300));
        assert_eq!(known(&times), None, "nobody syncs any more");
    }

    #[test]
    fn releases_are_asked_for_with_credentials_of_the_same_api_only() {
        let pool = muster_reconciler::manifest::RunnerPool::default();
        let (list, name) = (pool.list_id(), "linux".into());
        let app = |url: &str| {
            let mut app = muster_reconciler::manifest::GitHubApp::default();
            app.spec.api_url = url.into();
            app
        };
        let mut spec = Spec { pools: [(name, pool)].into(), ..Spec::default() };
        let mut asks = |url: &str, releases: &str| {
            spec.apps = [(list.app.clone(), app(url))].into();
            asker(&spec, releases).is_some()
        };
        assert!(asks("https://api.github.com", "https://api.github.com/"));
        assert!(!asks("https://github.example.com/api/v3", "https://api.github.com"));
        assert!(!asks("https://api.github.com", "https://mirror.example.com"));
    }
}
