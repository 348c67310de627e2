//! Reads which repositories the pools' runner groups admit, and tells the core. Nothing is decided by it: operators are warned of a
//! group that admits more than its pool lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::effect::Input;
use muster_reconciler::groups::{Admits, RunnerGroups};
use muster_reconciler::ids::{ListId, Scope};
use muster_reconciler::manifest::Spec;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;
use muster_github::{FoundGroup, GitHub};

/// How often the groups are read. Somebody may widen a group at GitHub at any time.
const EVERY: Duration = Duration::from_secs(900);

/// The task that reads the groups: at its start, every 15 minutes, and when the pools name other groups.
#[derive(Debug)]
pub struct GroupsTask {
    /// Has the GitHub clients in force.
    pub executor: Executor,
    /// The manifests in force.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// Where the core hears of the groups.
    pub inputs: mpsc::Sender<Input>,
}

impl GroupsTask {
    /// Reads the groups until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut known = RunnerGroups::default();
        let mut names = of_pools(&self.spec.borrow_and_update());
        loop {
            let github = self.executor.github();
            let now = tokio::select! {
                () = stop.cancelled() => return,
                now = read(&github, &names, &known) => now,
            };
            if now != known {
                known = now;
                // The send fails only when the process stops.
                let _ = self.inputs.send(Input::Groups(known.clone())).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
                changed = changed(&mut self.spec, &names) => names = changed,
            }
        }
    }
}

/// The names of the groups that the pools' runners are in, by list. A repository has no groups.
fn of_pools(spec: &Spec) -> BTreeMap<ListId, BTreeSet<String>> {
    let mut names: BTreeMap<ListId, BTreeSet<String>> = BTreeMap::new();
    for pool in spec.pools.values().filter(|pool| !matches!(pool.spec.github.scope, Scope::Repo(..))) {
        names.entry(pool.list_id()).or_default().insert(pool.spec.github.runner_group.clone());
    }
    names
}

/// Returns when the pools name other groups.
async fn changed(
    spec: &mut watch::Receiver<Arc<Spec>>,
    known: &BTreeMap<ListId, BTreeSet<String>>,
) -> BTreeMap<ListId, BTreeSet<String>> {
    loop {
        if spec.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let names = of_pools(&spec.borrow_and_update());
        if names != *known {
            return names;
        }
    }
}

/// Reads all groups. What GitHub does not answer stays as it was known before.
async fn read(github: &GitHub, names: &BTreeMap<ListId, BTreeSet<String>>, before: &RunnerGroups) -> RunnerGroups {
    let mut known = RunnerGroups::default();
    for (list_id, names) in names {
        match github.read_groups(list_id, &names.iter().map(String::as_str).collect()).await {
            Ok(found) => found.into_iter().for_each(|FoundGroup { name, group, .. }| match group.admits {
                Admits::Unknown => known.insert_unknown(before, list_id, &name),
                _ => known.insert(list_id, &name, group),
            }),
            Err(failure) => {
                tracing::warn!(scope = %list_id.scope, error = %failure.message, "cannot see which repositories the runner groups admit");
                names.iter().for_each(|name| known.insert_unknown(before, list_id, name));
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use muster_reconciler::manifest::RunnerPool;

    use super::*;

    #[test]
    fn pools_of_one_list_are_read_together_and_a_repository_has_no_groups() {
        let pool = |scope: &str, group: &str| {
            let mut pool = RunnerPool::default();
            pool.spec.github.scope = scope.parse().expect("a scope");
            pool.spec.github.runner_group = group.into();
            pool
        };
        let pools = [pool("org/acme", "web"), pool("org/acme", "api"), pool("repo/acme/web", "Default")];
        let named = pools.iter().enumerate().map(|(n, pool)| (format!("pool-{n}").as_str().into(), pool.clone()));
        let spec = Spec { pools: named.collect(), ..Spec::default() };
        assert_eq!(of_pools(&spec), [(pools[0].list_id(), ["api", "web"].map(str::to_owned).into())].into());
    }
}
