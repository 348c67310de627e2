//! Reads which repositories the pools' runner groups admit, and tells the core. Nothing is decided by it: operators are warned of a
//! group that admits more than its pool lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::effect::Input;
use muster_reconciler::groups::RunnerGroups;
use muster_reconciler::ids::{ListId, Scope};
use muster_reconciler::manifest::Spec;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;
use crate::github::GitHub;

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
            let now = read(&self.executor.github(), &names, &known).await;
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
            Ok(found) => found.into_iter().for_each(|group| known.insert(list_id, &group.name, group.group)),
            Err(failure) => {
                tracing::warn!(scope = %list_id.scope, error = %failure.message, "cannot see which repositories the runner groups admit");
                known.keep(before, list_id);
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use muster_reconciler::groups::Admits;
    use muster_reconciler::manifest::RunnerPool;
    use serde_json::{Value, json};

    use super::*;
    use crate::github::fake::{Fake, Reply, reply};

    fn of(scope: &str, group: &str) -> RunnerPool {
        let mut pool = RunnerPool::default();
        pool.spec.github.scope = scope.parse().expect("a scope");
        pool.spec.github.app = Some("main".into());
        pool.spec.github.runner_group = group.into();
        pool
    }

    fn spec(pools: &[RunnerPool]) -> Spec {
        let named = pools.iter().enumerate().map(|(n, pool)| (format!("pool-{n}").as_str().into(), pool.clone()));
        Spec { pools: named.collect(), ..Spec::default() }
    }

    fn page(key: &str, items: Value) -> Reply {
        reply(200, json!({ "total_count": items.as_array().map_or(0, Vec::len), key: items }))
    }

    #[tokio::test]
    async fn one_request_tells_of_all_groups_and_one_more_of_each_that_selects() {
        let fake = Fake::start(|ask| match ask.path.as_str() {
            path if path.ends_with("/runner-groups") => page(
                "runner_groups",
                json!([
                    { "id": 1, "name": "Default", "visibility": "all", "allows_public_repositories": true },
                    { "id": 2, "name": "Web", "visibility": "selected", "allows_public_repositories": false },
                    { "id": 3, "name": "inner", "visibility": "private", "allows_public_repositories": false },
                    { "id": 4, "name": "others", "visibility": "selected", "allows_public_repositories": false },
                ]),
            ),
            path if path.ends_with("/2/repositories") => {
                page("repositories", json!([{ "full_name": "acme/web" }, { "full_name": "acme/api" }]))
            }
            path => reply(404, json!({ "message": format!("nobody asks for {path}") })),
        })
        .await;
        let pools = ["Default", "web", "inner", "gone"].map(|group| of("org/acme", group));
        let known = read(&fake.github(), &of_pools(&spec(&pools)), &RunnerGroups::default()).await;
        let admits = |n: usize| known.of(&pools[n]).map(|group| (group.admits.clone(), group.public));
        assert_eq!(admits(0), Some((Admits::All, true)));
        assert_eq!(admits(1), Some((Admits::Selected(vec!["acme/web".into(), "acme/api".into()]), false)));
        assert_eq!(admits(2), Some((Admits::Private, false)));
        assert_eq!(admits(3), None, "a group that does not exist");
        assert_eq!(fake.asked("/runner-groups").len(), 1);
    }

    #[tokio::test]
    async fn what_github_does_not_answer_stays_known() {
        let fake = Fake::start(|_| reply(StatusCode::BAD_GATEWAY.as_u16(), json!({}))).await;
        let pool = of("org/acme", "web");
        let mut before = RunnerGroups::default();
        let group = muster_reconciler::groups::RunnerGroup { admits: Admits::Private, public: false };
        before.insert(&pool.list_id(), "Web", group.clone());
        let known = read(&fake.github(), &of_pools(&spec(&[pool.clone()])), &before).await;
        assert_eq!(known.of(&pool), Some(&group));
        let of_a_repository = of_pools(&spec(&[of("repo/acme/web", "Default")]));
        assert!(of_a_repository.is_empty(), "a repository has no groups");
    }
}
