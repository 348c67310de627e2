//! The stages of a runner's start.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The stages of a runner's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// EC2 gave an instance id.
    Launched,
    /// The instance has booted and its script has begun; this and the next three are told by the instance itself.
    Script,
    /// Its JIT configuration lies ready.
    Configured,
    /// The instance has read its configuration.
    Secret,
    /// The runner is unpacked.
    Unpacked,
    /// The runner listens for jobs.
    Listener,
    /// GitHub sees it online.
    Online,
    /// Its first job started.
    Started,
}

crate::shown!(Stage);

impl Stage {
    /// The word used in metrics, and in the instance's tag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Launched => "launched",
            Stage::Script => "script",
            Stage::Configured => "configured",
            Stage::Secret => "secret",
            Stage::Unpacked => "unpacked",
            Stage::Listener => "listener",
            Stage::Online => "online",
            Stage::Started => "started",
        }
    }

    /// What it means, for people.
    pub const fn said(self) -> &'static str {
        match self {
            Stage::Launched => "EC2 gave an instance",
            Stage::Script => "it booted and its script began",
            Stage::Configured => "its configuration lay ready",
            Stage::Secret => "it had read its configuration",
            Stage::Unpacked => "its runner was unpacked",
            Stage::Listener => "its runner listened for jobs",
            Stage::Online => "GitHub saw it online",
            Stage::Started => "its first job started",
        }
    }

    /// All, in the order of a start.
    pub const ALL: [Stage; 8] = [
        Stage::Launched,
        Stage::Script,
        Stage::Configured,
        Stage::Secret,
        Stage::Unpacked,
        Stage::Listener,
        Stage::Online,
        Stage::Started,
    ];

    /// What an instance says of itself in its tag `muster:stages`: `script=1767225600123,secret=...`, in milliseconds since 1970.
    /// Other words are passed over, and so is what makes no sense.
    pub fn parse_tag(text: &str) -> Vec<(Stage, Time)> {
        let own = [Stage::Script, Stage::Secret, Stage::Unpacked, Stage::Listener];
        let said = |stage: Stage| {
            let ms =
                text.split(',').find_map(|part| part.trim().strip_prefix(stage.as_str())?.strip_prefix('=')?.parse().ok())?;
            Some((stage, Time::from_millis(ms)))
        };
        own.into_iter().filter_map(said).collect()
    }
}
