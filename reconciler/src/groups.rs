//! The runner groups at GitHub that the pools' runners are in, and which repositories each group admits.
//!
//! GitHub gives a runner to every repository that the runner's group admits, whatever the manifests say. muster reads the groups to
//! say so, and decides nothing by them.
//! <https://docs.github.com/en/rest/actions/self-hosted-runner-groups>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ListId;
use crate::manifest::RunnerPool;
use crate::serial::pairs;

/// One runner group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerGroup {
    /// Which repositories may use the group's runners.
    pub admits: Admits,
    /// Whether public repositories are among them. Whoever opens a pull request at a public repository may run code on a runner.
    pub public: bool,
}

/// Which repositories may use the runners of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admits {
    /// All repositories of the organisation or enterprise.
    All,
    /// All private repositories of the organisation.
    Private,
    /// These repositories, as `OWNER/NAME`. `OWNER/*` stands for an organisation that an enterprise's group admits.
    Selected(Vec<String>),
    /// GitHub did not say.
    Unknown,
}

/// The known runner groups, by list and by name in lower case. GitHub compares the names without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerGroups(#[serde(with = "pairs")] BTreeMap<(ListId, String), RunnerGroup>);

impl RunnerGroups {
    /// Takes in what GitHub says of a group.
    pub fn insert(&mut self, list_id: &ListId, name: &str, group: RunnerGroup) {
        self.0.insert((list_id.clone(), name.to_ascii_lowercase()), group);
    }

    /// Takes in that GitHub did not say what a group admits. What it said before stays.
    pub fn insert_unknown(&mut self, before: &RunnerGroups, list_id: &ListId, name: &str) {
        let key = (list_id.clone(), name.to_ascii_lowercase());
        let group = before.0.get(&key).cloned().unwrap_or(RunnerGroup { admits: Admits::Unknown, public: false });
        self.0.insert(key, group);
    }

    /// The group of a pool's runners. None: the group is not known, or the pool's scope is a repository, which has no groups.
    pub fn of(&self, pool: &RunnerPool) -> Option<&RunnerGroup> {
        self.0.get(&(pool.list_id(), pool.spec.github.runner_group.to_ascii_lowercase()))
    }
}
