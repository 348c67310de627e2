//! The decisions of the sync, as functions that change nothing: which binaries the pools need, under which keys they are stored,
//! which are not needed any more, and which are too old for GitHub.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_reconciler::manifest::{Architecture, Os, Spec};

use crate::aws::s3::Head;
use muster_github::releases::{Asset, Release, Version};

/// "If you do not perform a software update within 30 days, the GitHub Actions service will not queue jobs to your runner."
/// <https://docs.github.com/en/actions/reference/runners/self-hosted-runners#runner-software-updates-on-self-hosted-runners>
pub const TOO_OLD: Duration = Duration::from_secs(30 * 86_400);
/// How many versions are kept although no pool uses them. Instances whose launch template is older than the manifests may need
/// them.
const KEPT_BESIDES: usize = 2;

/// What a binary runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system.
    pub os: Os,
    /// The processor architecture.
    pub architecture: Architecture,
}

impl Platform {
    /// The operating system's word in manifests.
    pub fn os(self) -> &'static str {
        match self.os {
            Os::Linux => "linux",
            Os::Windows => "windows",
        }
    }

    /// The architecture's word in manifests.
    pub fn architecture(self) -> &'static str {
        match self.architecture {
            Architecture::X64 => "x64",
            Architecture::Arm64 => "arm64",
        }
    }

    fn extension(self) -> &'static str {
        match self.os {
            Os::Linux => "tar.gz",
            Os::Windows => "zip",
        }
    }

    /// The folder of the platform's binaries. Instances read this folder: `terraform/` and the bootstrap scripts know these keys.
    pub fn prefix(self) -> String {
        format!("runners/{self}/")
    }

    /// The key of one version.
    pub fn key(self, version: Version) -> String {
        format!("{}{version}.{}", self.prefix(), self.extension())
    }

    /// The key of the copy that follows GitHub's latest release.
    pub fn latest_key(self) -> String {
        format!("{}latest.{}", self.prefix(), self.extension())
    }

    /// The file's name in a release of actions/runner.
    pub fn asset_name(self, version: Version) -> String {
        let os = match self.os {
            Os::Linux => "linux",
            Os::Windows => "win",
        };
        format!("actions-runner-{os}-{}-{version}.{}", self.architecture(), self.extension())
    }

    /// The version of a binary's key. None: the key is no versioned binary of this platform.
    pub fn version_of(self, key: &str) -> Option<Version> {
        let name = key.strip_prefix(&self.prefix())?.strip_suffix(self.extension())?.strip_suffix('.')?;
        name.parse().ok()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os(), self.architecture())
    }
}

/// What a pool's `spec.bootstrap.version` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WantedVersion {
    /// Whatever GitHub calls the latest release.
    Latest,
    /// The version that the pool names.
    Pinned(Version),
}

impl fmt::Display for WantedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WantedVersion::Latest => f.write_str("latest"),
            WantedVersion::Pinned(version) => write!(f, "{version}"),
        }
    }
}

/// The binaries that the pools need, by platform. Validation admits a version that nobody can have released, such as `02.1.0`.
/// Such a version counts as its numbers: 2.1.0.
pub fn needs(spec: &Spec) -> BTreeMap<Platform, BTreeSet<WantedVersion>> {
    let mut needs: BTreeMap<Platform, BTreeSet<WantedVersion>> = BTreeMap::new();
    for pool in spec.pools.values() {
        let platform = Platform { os: pool.spec.instance.os, architecture: pool.spec.instance.architecture };
        needs.entry(platform).or_default().insert(wanted(&pool.spec.bootstrap.version));
    }
    needs
}

/// What a pool's `spec.bootstrap.version` asks for.
pub fn wanted(version: &str) -> WantedVersion {
    let mut parts = version.split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => WantedVersion::Pinned(Version(major, minor, patch)),
        _ => WantedVersion::Latest,
    }
}

/// Whether an object is the whole file. The object's size and its metadata, which was written together with it, say so.
pub fn holds(head: &Head, asset: &Asset, sha256: &str) -> bool {
    head.size == asset.size && head.metadata.get("sha256").is_some_and(|held| held == sha256)
}

/// The objects that nobody needs: all versions that are neither in `used` nor among the two newest of the others. An object that
/// is no versioned binary of this platform is never among them, because muster did not write it.
pub fn prune(platform: Platform, keys: &[String], used: &BTreeSet<Version>) -> Vec<(Version, String)> {
    let versions: BTreeMap<Version, &String> = keys.iter().filter_map(|key| Some((platform.version_of(key)?, key))).collect();
    let unused = versions.into_iter().rev().filter(|(version, _)| !used.contains(version));
    unused.skip(KEPT_BESIDES).map(|(version, key)| (version, key.clone())).collect()
}

/// How far a version is behind the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The first release after the version, as far back as the list of releases goes.
    pub by: Version,
    /// How long that release has been out.
    pub since: Duration,
}

impl Behind {
    /// Whether GitHub refuses a runner of this version. Such a runner ends with exit code 7 (`RunnerVersionDeprecated`).
    /// <https://github.com/actions/runner/blob/main/src/Runner.Common/Constants.cs>
    pub fn too_old(self) -> bool {
        self.since > TOO_OLD
    }
}

/// The release after `version` that has been out the longest. None: there is no newer release.
pub fn behind(version: Version, releases: &[Release], now: DateTime<Utc>) -> Option<Behind> {
    let newer = releases.iter().filter(|release| release.version > version);
    let first = newer.filter_map(|release| Some((release.published?, release.version))).min()?;
    Some(Behind { by: first.1, since: (now - first.0).to_std().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: Platform = Platform { os: Os::Linux, architecture: Architecture::X64 };
    const WINDOWS: Platform = Platform { os: Os::Windows, architecture: Architecture::X64 };

    #[test]
    fn keys_and_names_are_those_that_instances_and_github_know() {
        let version = Version(2, 330, 0);
        let arm = Platform { os: Os::Linux, architecture: Architecture::Arm64 };
        assert_eq!(arm.key(version), "runners/linux-arm64/2.330.0.tar.gz");
        assert_eq!(LINUX.latest_key(), "runners/linux-x64/latest.tar.gz");
        assert_eq!(WINDOWS.key(version), "runners/windows-x64/2.330.0.zip");
        assert_eq!(WINDOWS.asset_name(version), "actions-runner-win-x64-2.330.0.zip");
        assert_eq!(arm.asset_name(version), "actions-runner-linux-arm64-2.330.0.tar.gz");
    }

    #[test]
    fn pools_of_one_platform_need_each_version_once() {
        assert_eq!(wanted("latest"), WantedVersion::Latest);
        assert_eq!(wanted("2.330.0"), WantedVersion::Pinned(Version(2, 330, 0)));
        let mut spec = Spec::default();
        for (name, version) in [("a", "latest"), ("b", "2.330.0"), ("c", "latest")] {
            let mut pool = muster_reconciler::manifest::RunnerPool::default();
            pool.spec.bootstrap.version = version.into();
            spec.pools.insert(name.into(), pool);
        }
        assert_eq!(needs(&spec), [(LINUX, [WantedVersion::Latest, WantedVersion::Pinned(Version(2, 330, 0))].into())].into());
    }

    #[test]
    fn what_is_used_and_the_newest_two_besides_are_kept_and_strangers_are_not_looked_at() {
        let versions = ["2.1.0", "2.2.0", "2.3.0", "2.10.0", "2.4.0", "2.9.0"];
        let mut keys: Vec<String> = versions.iter().map(|v| format!("runners/linux-x64/{v}.tar.gz")).collect();
        keys.extend(
            ["latest.tar.gz", "1.0.0.zip", "1.0.0", "01.0.0.tar.gz", "sub/1.0.0.tar.gz", "notes.txt"]
                .map(|name| format!("runners/linux-x64/{name}")),
        );
        keys.push("runners/linux-arm64/1.0.0.tar.gz".into());
        keys.push("lease".into());
        let used = BTreeSet::from([Version(2, 10, 0), Version(2, 1, 0)]);
        let pruned: Vec<String> = prune(LINUX, &keys, &used).into_iter().map(|(_, key)| key).collect();
        assert_eq!(pruned, ["runners/linux-x64/2.3.0.tar.gz", "runners/linux-x64/2.2.0.tar.gz"]);
        assert_eq!(prune(WINDOWS, &keys, &used), []);
    }

    #[test]
    fn an_object_counts_only_with_size_and_digest() {
        let sha = "ab".repeat(32);
        let asset = Asset { name: String::new(), size: 7, digest: None, url: String::new() };
        let head = |size, held: &str| Head {
            etag: String::new(),
            size,
            modified: None,
            metadata: [("sha256".into(), held.into())].into(),
        };
        assert!(holds(&head(7, &sha), &asset, &sha));
        assert!(!holds(&head(6, &sha), &asset, &sha) && !holds(&head(7, ""), &asset, &sha));
        assert!(!holds(&Head { metadata: BTreeMap::new(), ..head(7, &sha) }, &asset, &sha));
    }

    #[test]
    fn a_version_is_too_old_once_any_newer_one_is_out_for_more_than_30_days() {
        let now: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let release = |minor, days| Release {
            version: Version(2, minor, 0),
            published: Some(now - chrono::TimeDelta::days(days)),
            assets: Vec::new(),
        };
        let releases = [release(4, 1), release(3, 31), release(2, 60), release(1, 90)];
        let behind = |minor| behind(Version(2, minor, 0), &releases, now);
        assert_eq!(behind(4), None);
        assert_eq!(behind(3).map(|b| (b.by, b.too_old())), Some((Version(2, 4, 0), false)));
        assert_eq!(behind(2).map(|b| (b.by, b.too_old())), Some((Version(2, 3, 0), true)), "2.4.0 is young, 2.3.0 is not");
        assert_eq!(behind(0).map(|b| b.by), Some(Version(2, 1, 0)));
    }
}
