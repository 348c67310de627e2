//! The releases of GitHub's runner program that instances install: which version, and the SHA-256 that its archive must have.
//!
//! The sync of runner binaries learns both from GitHub, and tells the core. A launch passes them on in a tag, so an instance knows
//! them when it boots. An instance of a launch without the tag finds a release by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{Architecture, Os, RunnerPool};
use crate::serial::pairs;

/// One release, as one platform's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerRelease {
    /// The version, such as `2.330.0`.
    pub version: String,
    /// The SHA-256 of the archive, as 64 hexadecimal digits.
    pub sha256: String,
}

impl RunnerRelease {
    /// The value of the tag `muster:release`. The boot scripts read it. Later versions may add fields at the end, and change
    /// nothing before.
    pub fn as_tag(&self) -> String {
        format!("version={},sha256={}", self.version, self.sha256)
    }
}

/// The known releases, by operating system, architecture and what `bootstrap.version` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerReleases(#[serde(with = "pairs")] pub BTreeMap<(Os, Architecture, String), RunnerRelease>);

impl RunnerReleases {
    /// The release for the instances of a pool. None: it is not known (yet), or the sync is off.
    pub fn of(&self, pool: &RunnerPool) -> Option<&RunnerRelease> {
        let instance = &pool.spec.instance;
        self.0.get(&(instance.os, instance.architecture, pool.spec.bootstrap.version.clone()))
    }

    /// The version that the next instances of a pool install. None: the pool takes the latest, and nobody knows which one that is.
    pub fn version_of<'a>(&'a self, pool: &'a RunnerPool) -> Option<&'a str> {
        let pinned = Some(pool.spec.bootstrap.version.as_str()).filter(|version| *version != "latest");
        self.of(pool).map(|release| release.version.as_str()).or(pinned)
    }
}
