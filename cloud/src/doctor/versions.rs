//! Until when GitHub serves the versions of the runner program that the next instances install: the pinned ones, and for `latest` the
//! newest one in the bucket. An image with a runner program of its own may have another one, which only a running controller sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use muster_reconciler::ids::{ListId, PoolName};
use muster_reconciler::manifest::Spec;
use muster_reconciler::time::{Time, human};
use muster_reconciler::versions::{ACT_BEFORE, VersionEnds};
use muster_reconciler::warnings;
use tokio::time::timeout;

use super::PATIENCE;
use super::finding::{Complaints, Finding, way_out};
use crate::aws::S3;
use crate::sync::plan::{Platform, WantedVersion, wanted};
use muster_github::GitHub;

/// Checks the versions of a list's pools.
pub(super) async fn check(github: &GitHub, s3: &S3, spec: &Spec, list_id: &ListId) -> Vec<Finding> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut found = Vec::new();
    for (version, pools) in versions(s3, spec, list_id).await {
        let check = format!("runner {version} at {}", list_id.scope);
        found.push(match github.version_ends(list_id, &version).await {
            Ok(ends) => judge(check, &version, ends, &pools, Time::ZERO + now),
            Err(failure) => Finding::warning(check, &failure.message, way_out(&failure, "it", "see GitHub's message")),
        });
    }
    found
}

/// The versions that the next instances of a list's pools install, as far as known.
async fn versions(s3: &S3, spec: &Spec, list_id: &ListId) -> BTreeMap<String, BTreeSet<PoolName>> {
    // The check of the bucket tells of a failed call. An S3 that does not answer must not use up the time for GitHub.
    let keys: Vec<String> = match &spec.controller.spec.bucket {
        Some(bucket) => {
            let listed = timeout(PATIENCE / 2, s3.list(bucket, "runners/")).await;
            listed.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(|(key, _)| key).collect()
        }
        None => Vec::new(),
    };
    let mut all: BTreeMap<String, BTreeSet<PoolName>> = BTreeMap::new();
    for (name, pool) in spec.pools.iter().filter(|(_, pool)| pool.list_id() == *list_id) {
        let platform = Platform { os: pool.spec.instance.os, architecture: pool.spec.instance.architecture };
        let version = match wanted(&pool.spec.bootstrap.version) {
            WantedVersion::Pinned(version) => Some(version),
            // Whoever runs doctor may list the bucket, and may read no object. A sync that succeeds stores the release that
            // becomes `latest` under its version, too.
            WantedVersion::Latest => keys.iter().filter_map(|key| platform.version_of(key)).max(),
        };
        if let Some(version) = version {
            all.entry(version.to_string()).or_default().insert(name.clone());
        }
    }
    all
}

fn judge(check: String, version: &str, ends: Option<VersionEnds>, pools: &BTreeSet<PoolName>, now: Time) -> Finding {
    let Some(ends) = ends else {
        let next = "nothing at GitHub Enterprise Server, which ends no version; on github.com, take latest, because a version that \
                    GitHub does not know is too old or was withdrawn";
        return Finding::unchecked(check, "GitHub knows nothing of the version", next);
    };
    let mut marks = Complaints::default();
    marks.fact(match ends.first() {
        Some((end, at)) => format!("GitHub stops {} it in {}", end.doing(), human(at.since(now))),
        None => "GitHub tells no end of it".into(),
    });
    if let (Some(warning), Some((_, at))) = (warnings::of_version(version, &ends, now), ends.first()) {
        for pool in pools {
            let seen = format!("pool {pool}: {warning}");
            if now + ACT_BEFORE >= at { marks.fail(seen, warning.way_out()) } else { marks.warn(seen, warning.way_out()) }
        }
    }
    marks.finding(check)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Verdict;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_end_within_two_weeks_is_a_warning_and_within_one_a_failure() {
        let (end, pools) = (Time::ZERO + 100 * DAY, BTreeSet::from(["linux".into()]));
        let runtime = Some(VersionEnds { registration: None, runtime: Some(end) });
        let judge = |ends, now| judge("v".into(), "2.1.0", ends, &pools, Time::ZERO + now);
        let verdict = |now| judge(runtime, now).verdict;
        assert_eq!(judge(runtime, 85 * DAY), Finding::ok("v", "GitHub stops giving jobs to it in 15d"));
        assert_eq!(
            (verdict(86 * DAY), verdict(93 * DAY), verdict(101 * DAY)),
            (Verdict::Warning, Verdict::Failed, Verdict::Failed)
        );
        assert!(judge(runtime, 86 * DAY).seen.starts_with("pool linux: in 14d GitHub stops giving jobs to version 2.1.0"));
        let registration = Some(VersionEnds { registration: Some(end), runtime: Some(end + 30 * DAY) });
        assert_eq!(judge(registration, 101 * DAY).verdict, Verdict::Failed);
        assert_eq!(judge(Some(VersionEnds::default()), DAY).verdict, Verdict::Ok);
        assert_eq!(judge(None, DAY).verdict, Verdict::NotChecked);
    }
}
