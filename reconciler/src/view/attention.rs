//! What somebody should do something about, as people see it.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, JobId, PoolName};

/// How bad something is. The worst comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Jobs wait or were lost, or muster cannot do its work.
    Trouble,
    /// It will hold up jobs, or holds up few.
    #[default]
    Watch,
}

crate::shown!(Weight);

impl Weight {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Weight::Trouble => "trouble",
            Weight::Watch => "watch",
        }
    }
}

/// Where there is more about something: a job, a runner, a pool, or the API budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `job`, `runner`, `pool` or `budgets`.
    pub kind: String,
    /// The id of the job or instance, or the name of the pool. Empty: the API budgets.
    pub id: String,
}

impl Target {
    /// A pool.
    pub fn pool(name: &PoolName) -> Target {
        Target { kind: "pool".into(), id: name.to_string() }
    }

    /// A runner, by its instance.
    pub fn runner(id: &InstanceId) -> Target {
        Target { kind: "runner".into(), id: id.to_string() }
    }

    /// A job.
    pub fn job(id: JobId) -> Target {
        Target { kind: "job".into(), id: id.to_string() }
    }

    /// The API budgets and limits.
    pub fn budgets() -> Target {
        Target { kind: "budgets".into(), id: String::new() }
    }
}

/// One thing that somebody should do something about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttentionView {
    /// What is the matter, in one word that never changes.
    pub word: String,
    /// How bad it is.
    pub weight: Weight,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// The number of jobs that wait because of it, or were lost.
    pub jobs: u64,
    /// What is the matter, in one sentence.
    pub what: String,
    /// What to do about it, in one sentence.
    pub way_out: String,
    /// Where there is more about it.
    pub about: Target,
}
