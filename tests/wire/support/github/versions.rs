//! The versions of the runner program at the double: when GitHub ends each, and which one the runners have.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::routes::{Answer, Asked};
use super::{Double, State};

/// What the double knows of the versions.
#[derive(Debug)]
pub(super) struct Versions {
    /// Whether there is such an API. GitHub Enterprise Server has none.
    told: bool,
    /// The answers about versions that end. Every other version is GitHub's newest, which has no date.
    ends: BTreeMap<String, Value>,
    /// The version that lists show of online runners. None: lists show none.
    of_runners: Option<String>,
}

impl Default for Versions {
    fn default() -> Versions {
        Versions { told: true, ends: BTreeMap::new(), of_runners: None }
    }
}

impl Double {
    /// GitHub gives no more jobs to runners of a version from `at_ms` on, in milliseconds since 1970. As in September 2026, no
    /// date of registrations is told.
    pub fn end_version(&self, version: &str, at_ms: u64) {
        let said = json!({ "runner_version": version, "runtime_deprecates_at": super::routes::rfc3339(at_ms) });
        self.lock().versions.ends.insert(version.into(), said);
    }

    /// The API of the versions does not exist, as at GitHub Enterprise Server.
    pub fn tell_no_versions(&self) {
        self.lock().versions.told = false;
    }

    /// Lists show from now on that online runners have this version.
    pub fn show_version(&self, version: &str) {
        self.lock().versions.of_runners = Some(version.into());
    }
}

/// Answers when a version ends.
pub(super) fn ends(state: &State, asked: &Asked<'_>) -> Answer {
    let version = asked.param("version");
    if !state.versions.told {
        return Answer::message(404, "Not Found");
    }
    let newest = || json!({ "runner_version": version, "runtime_deprecates_at": null });
    Answer::json(200, state.versions.ends.get(version).cloned().unwrap_or_else(newest))
}

/// The version that a list shows of an online runner.
pub(super) fn of_runner(state: &State, online: bool) -> Option<&str> {
    state.versions.of_runners.as_deref().filter(|_| online)
}
