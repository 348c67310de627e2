//! Manifests that change while everything runs, as data: what an operator does to a directory of pools.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use muster_reconciler::ids::{PoolName, Scope};
use muster_reconciler::manifest::{RunnerPool, Spec};

/// One change to one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Change {
    /// The pool's name.
    pub pool: PoolName,
    /// What is done to it.
    pub edit: Edit,
}

/// What can be done to a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Edit {
    /// Its manifest is removed.
    Remove,
    /// Its manifest is put back as it was at the start.
    Restore,
    /// `capacity.max`.
    Max(u32),
    /// `capacity.idle`.
    Idle(u32),
    /// `labels`.
    Labels(Vec<String>),
    /// `github.runnerGroup`.
    Group(String),
    /// `github.scope`.
    Scope(Scope),
}

impl Change {
    /// The manifests with the change made; `first` is what they were at the start.
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
        }
        Arc::new(next)
    }
}
