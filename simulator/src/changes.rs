//! What an operator does during a run, as data: changes of a directory of pools, and pauses.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use muster_reconciler::ids::{PoolName, Scope};
use muster_reconciler::manifest::{RunnerPool, Spec};

/// One change of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Change {
    /// The name of the pool.
    pub pool: PoolName,
    /// The change.
    pub edit: Edit,
}

/// A way to change a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Edit {
    /// The pool's manifest is removed.
    Remove,
    /// The pool's manifest is put back as it was at the start of the run.
    Restore,
    /// `capacity.max` gets this value. `capacity.idle` is lowered to it, if need be.
    Max(u32),
    /// `capacity.idle` gets this value, but at most `capacity.max`.
    Idle(u32),
    /// `labels` get this value.
    Labels(Vec<String>),
    /// `github.runnerGroup` gets this value.
    Group(String),
    /// `github.scope` gets this value.
    Scope(Scope),
    /// An operator pauses the pool. The manifests stay as they are.
    Pause,
    /// An operator resumes the pool.
    Resume,
}

impl Change {
    /// The manifests after the change. `first` are the manifests at the start of the run.
    pub fn apply(&self, spec: &Spec, first: &Spec) -> Arc<Spec> {
        let mut next = spec.clone();
        let edit = |next: &mut Spec, how: &dyn Fn(&mut RunnerPool)| {
            if let Some(pool) = next.pools.get_mut(&self.pool) {
                how(pool);
            }
        };
        match &self.edit {
            Edit::Remove => {
                next.pools.remove(&self.pool);
            }
            Edit::Restore => {
                if let Some(pool) = first.pools.get(&self.pool) {
                    next.pools.insert(self.pool.clone(), pool.clone());
                }
            }
            Edit::Max(max) => edit(&mut next, &|p| {
                p.spec.capacity.max = *max;
                p.spec.capacity.idle = p.spec.capacity.idle.min(*max);
            }),
            Edit::Idle(idle) => edit(&mut next, &|p| p.spec.capacity.idle = (*idle).min(p.spec.capacity.max)),
            Edit::Labels(labels) => edit(&mut next, &|p| p.spec.labels.clone_from(labels)),
            Edit::Group(group) => edit(&mut next, &|p| p.spec.github.runner_group.clone_from(group)),
            Edit::Scope(scope) => edit(&mut next, &|p| p.spec.github.scope = scope.clone()),
            Edit::Pause | Edit::Resume => {}
        }
        Arc::new(next)
    }
}
