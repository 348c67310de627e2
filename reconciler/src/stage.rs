//! The stages of a runner's start, and how an instance tells its own stages.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// A stage of a runner's start. The order is the usual one; `Configured` may come before `Script`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// EC2 gave an instance id.
    Launched,
    /// The instance has booted and its script has begun. The instance itself tells of this stage, and of `Secret`, `Unpacked` and
    /// `Listener`.
    Script,
    /// The runner's configuration is ready in SSM.
    Configured,
    /// The instance has read its configuration.
    Secret,
    /// The runner program is unpacked.
    Unpacked,
    /// The runner program listens for jobs.
    Listener,
    /// GitHub shows the runner online.
    Online,
    /// The runner's first job started.
    Started,
}

crate::shown!(Stage);

impl Stage {
    /// The word in metrics and in the tag `muster:stages`.
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

    /// The stage in a clause, for people.
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

    /// What a runner does until it reaches the stage.
    pub const fn doing(self) -> &'static str {
        match self {
            Stage::Launched => "EC2 answers",
            Stage::Script => "boots",
            Stage::Configured => "is configured",
            Stage::Secret => "reads its secret",
            Stage::Unpacked => "unpacks",
            Stage::Listener => "starts the runner",
            Stage::Online => "comes online",
            Stage::Started => "waits for a job",
        }
    }

    /// All stages, in the order of a start.
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

    /// Reads the tag `muster:stages`, by which an instance tells its own stages: `script=1767225600123,secret=...`, in
    /// milliseconds since 1970. Unknown words and times that cannot be read are ignored.
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
