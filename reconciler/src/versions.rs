//! When GitHub stops serving the versions of the runner program that the pools run.
//!
//! GitHub ends each version some weeks after the next release: nobody can register a runner of the version any more, or GitHub gives its
//! runners no more jobs. muster reads the dates to warn of them, and decides nothing by them. GitHub Enterprise Server tells no dates.
//! <https://github.blog/changelog/2026-09-03-github-actions-early-september-2026-updates/>

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::ListId;
use crate::serial::pairs;
use crate::time::Time;

/// How long before the end of a version its pools have a warning.
pub const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);
/// How long before the end of a version somebody must act: `muster doctor` fails, and the shipped alert fires.
pub const ACT_BEFORE: Duration = Duration::from_secs(7 * 86_400);

/// Whether a text is a version, such as `2.337.0`. A job may make its runner tell GitHub anything.
pub(crate) fn is_version(text: &str) -> bool {
    let number = |part: &str| (1..=6).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split('.').count() == 3 && text.split('.').all(number)
}

/// The version that an instance tells in the tag `muster:stages`, beside its stages: `version=2.337.0`. A job may write that tag, too.
pub fn of_tag(text: &str) -> Option<String> {
    let told = text.split(',').find_map(|part| part.trim().strip_prefix("version="))?;
    is_version(told).then(|| told.to_owned())
}

/// What ends with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndOf {
    /// New runners of the version are refused.
    Registration,
    /// Runners of the version get no more jobs.
    Runtime,
}

impl EndOf {
    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            EndOf::Registration => "registration",
            EndOf::Runtime => "runtime",
        }
    }

    /// What GitHub will stop doing, or has stopped doing, as a word that fits after `GitHub stops`.
    pub const fn doing(self) -> &'static str {
        match self {
            EndOf::Registration => "registering runners of",
            EndOf::Runtime => "giving jobs to",
        }
    }
}

/// When a version ends. In September 2026 GitHub told no date of registrations yet, and none at all for its newest version.
/// <https://github.com/github/rest-api-description/issues/7162>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionEnds {
    /// When new runners of the version are refused. None: GitHub told no date.
    pub registration: Option<Time>,
    /// When runners of the version get no more jobs. None: GitHub told no date.
    pub runtime: Option<Time>,
}

impl VersionEnds {
    /// The dates that GitHub told.
    pub fn told(&self) -> impl Iterator<Item = (EndOf, Time)> {
        let all = [(EndOf::Registration, self.registration), (EndOf::Runtime, self.runtime)];
        all.into_iter().filter_map(|(end, at)| Some((end, at?)))
    }

    /// The earlier of the two dates, and what ends then. None: GitHub told no date.
    pub fn first(&self) -> Option<(EndOf, Time)> {
        self.told().min_by_key(|(_, at)| *at)
    }
}

/// What GitHub said of the versions in use, by list and version. A version that GitHub knows nothing of is not here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerVersions(#[serde(with = "pairs")] pub BTreeMap<(ListId, String), VersionEnds>);
