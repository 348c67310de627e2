//! What valid manifests may not mean as their author thinks: each [`Warning`] says what GitHub will do.

use std::fmt;

use super::{RunnerPool, Spec};
use crate::ids::{PoolName, Scope};

/// Something that GitHub will not do as the manifests seem to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A pool lists repositories, and its runners are in the group that admits every repository unless somebody narrowed it.
    OpenGroup {
        /// The pool.
        pool: PoolName,
    },
    /// One pool's runners have all labels of another pool, in the same list and runner group.
    Overlap {
        /// The pool whose jobs may go elsewhere.
        pool: PoolName,
        /// The pool whose runners may get these jobs.
        elsewhere: PoolName,
        /// The runner group of both.
        group: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::OpenGroup { pool } => write!(
                f,
                "RunnerPool {pool}: its runners are in the group Default, which admits every repository unless somebody narrowed it. \
                 github.repositories keeps no job off a runner. Make a runner group with selected repositories at GitHub, and name it \
                 in spec.github.runnerGroup"
            ),
            Warning::Overlap { pool, elsewhere, group } => write!(
                f,
                "RunnerPool {pool}: runners of pool {elsewhere} have all its labels and are in the same runner group, {group}. GitHub \
                 may give a job of pool {pool} to them. Give one of the pools a runner group of its own, or pool {pool} a label that \
                 pool {elsewhere} does not have"
            ),
        }
    }
}

impl Spec {
    /// The warnings about valid manifests, by pool.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        for (name, pool) in &self.pools {
            let github = &pool.spec.github;
            let grouped = !matches!(github.scope, Scope::Repo(..));
            if grouped && !github.repositories.is_empty() && github.runner_group.eq_ignore_ascii_case("Default") {
                found.push(Warning::OpenGroup { pool: name.clone() });
            }
            for (elsewhere, _) in self.pools.iter().filter(|(other, them)| *other != name && covers(them, pool)) {
                let group = github.runner_group.clone();
                found.push(Warning::Overlap { pool: name.clone(), elsewhere: elsewhere.clone(), group });
            }
        }
        found
    }
}

/// Whether GitHub may give jobs that ask for all of `pool`'s labels to `them`.
fn covers(them: &RunnerPool, pool: &RunnerPool) -> bool {
    let has = |label: &String| them.spec.labels.iter().any(|l| l.eq_ignore_ascii_case(label));
    them.list_id() == pool.list_id()
        && them.spec.github.runner_group.eq_ignore_ascii_case(&pool.spec.github.runner_group)
        && pool.spec.labels.iter().all(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, group: &str, labels: &[&str]) -> (PoolName, RunnerPool) {
        let mut pool = RunnerPool::default();
        pool.spec.github.scope = "org/acme".parse().expect("a scope");
        pool.spec.github.runner_group = group.into();
        pool.spec.labels = labels.iter().map(|l| (*l).to_owned()).collect();
        (name.into(), pool)
    }

    fn warnings(pools: impl IntoIterator<Item = (PoolName, RunnerPool)>) -> Vec<Warning> {
        Spec { pools: pools.into_iter().collect(), ..Spec::default() }.warnings()
    }

    #[test]
    fn runners_with_all_labels_of_another_pool_may_get_its_jobs_unless_a_group_keeps_them_apart() {
        let plain = || pool("plain", "Default", &["self-hosted", "linux"]);
        let warm = |group| pool("warm", group, &["self-hosted", "Linux", "warm"]);
        let overlap = Warning::Overlap { pool: "plain".into(), elsewhere: "warm".into(), group: "Default".into() };
        assert_eq!(warnings([plain(), warm("default")]), [overlap]);
        assert_eq!(warnings([plain(), warm("trusted")]), []);
        let mut elsewhere = warm("Default");
        elsewhere.1.spec.github.scope = "org/other".parse().expect("a scope");
        assert_eq!(warnings([plain(), elsewhere]), []);
    }

    #[test]
    fn repositories_are_no_boundary_in_the_group_of_everybody() {
        let mut listed = pool("listed", "Default", &["self-hosted"]);
        listed.1.spec.github.repositories = vec!["acme/web".into()];
        assert_eq!(warnings([listed.clone()]), [Warning::OpenGroup { pool: "listed".into() }]);
        listed.1.spec.github.runner_group = "web".into();
        assert_eq!(warnings([listed.clone()]), []);
        listed.1.spec.github.runner_group = "Default".into();
        listed.1.spec.github.scope = "repo/acme/web".parse().expect("a scope");
        assert_eq!(warnings([listed]), [], "a repository has no groups");
    }
}
