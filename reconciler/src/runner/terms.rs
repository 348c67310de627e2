//! What a runner was registered with.

use std::sync::Arc;

use crate::effect::Configure;
use crate::ids::ListId;
use crate::manifest::RunnerPool;

/// What a runner was registered with. The terms decide which jobs GitHub may give the runner, and never change in the runner's
/// life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms {
    /// The list that has the runner.
    pub list_id: ListId,
    /// The runner group. None: only GitHub's list tells of the runner, and the list does not name the group.
    pub group: Option<String>,
    /// The labels.
    pub labels: Arc<[String]>,
}

impl Terms {
    /// The terms of a configuration that was minted as asked.
    pub fn of(asked: &Configure) -> Terms {
        Terms { list_id: asked.list_id.clone(), group: Some(asked.group.clone()), labels: asked.labels.clone().into() }
    }

    /// Whether GitHub gives a runner with these terms the jobs that count for the pool, as far as known.
    pub fn serve(&self, pool: &RunnerPool) -> bool {
        let has = |label: &String| self.labels.iter().any(|l| l.eq_ignore_ascii_case(label));
        self.list_id == pool.list_id()
            && self.group.as_ref().is_none_or(|g| *g == pool.spec.github.runner_group)
            && pool.spec.labels.iter().all(has)
    }
}
