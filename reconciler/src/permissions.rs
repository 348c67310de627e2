//! The permissions that muster's GitHub App needs. This is the one list: `muster app` asks GitHub for them, and `muster doctor`
//! looks whether they were granted.
//! <https://docs.github.com/en/apps/creating-github-apps/registering-a-github-app/choosing-permissions-for-a-github-app>

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ListId, Scope};
use crate::manifest::{LateAct, RunnerPool, Spec, late_after};

/// The event that tells muster of jobs.
pub const EVENT: &str = "workflow_job";

/// A permission that muster needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// GitHub's name for it, such as `actions`.
    pub name: &'static str,
    /// The level: `read` or `write`.
    pub level: &'static str,
    /// Its name in GitHub's settings, and why muster needs it if not every cluster does.
    pub words: &'static str,
}

/// What the manifests have muster do at GitHub besides making runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// It has jobs run again, or runs cancelled.
    pub runs: bool,
    /// It writes statuses on commits.
    pub statuses: bool,
}

impl Orders {
    /// The orders for the pools of these lists.
    pub fn of(spec: &Spec, lists: &BTreeSet<ListId>) -> Orders {
        let pools: Vec<&RunnerPool> = spec.pools.values().filter(|pool| lists.contains(&pool.list_id())).collect();
        let has = |act| pools.iter().any(|pool| late_after(&pool.spec.start_within, act).is_some());
        let reruns = pools.iter().any(|pool| !pool.spec.rerun.causes.is_empty());
        let tells = late_after(&spec.controller.spec.start_within, LateAct::Tell).is_some();
        Orders { runs: reruns || has(LateAct::Cancel), statuses: tells || has(LateAct::Tell) || has(LateAct::Cancel) }
    }
}

/// The permissions that an App needs for these scopes. An enterprise adds none, because no App can manage an enterprise's
/// runners.
pub fn needs<'a>(scopes: impl IntoIterator<Item = &'a Scope>, orders: Orders) -> BTreeSet<Permission> {
    let write = |name, words| Permission { name, level: "write", words };
    let of = |scope: &Scope| match scope {
        Scope::Org(_) => {
            Some(write("organization_self_hosted_runners", "organization permission Self-hosted runners: read and write"))
        }
        Scope::Repo(..) => Some(write("administration", "repository permission Administration: read and write")),
        Scope::Enterprise(_) => None,
    };
    let actions = if orders.runs {
        let why =
            "repository permission Actions: read and write, because a pool has rerun.causes or the step `cancel` in startWithin";
        write("actions", why)
    } else {
        Permission { name: "actions", level: "read", words: "repository permission Actions: read" }
    };
    let statuses = "repository permission Commit statuses: read and write, because startWithin has the step `tell` or `cancel`";
    let statuses = orders.statuses.then(|| write("statuses", statuses));
    scopes.into_iter().filter_map(of).chain([actions]).chain(statuses).collect()
}

/// The needs that were not granted, in the words of GitHub's settings.
pub fn lacking(granted: &BTreeMap<String, String>, needs: &BTreeSet<Permission>) -> Vec<&'static str> {
    let enough = |need: &&Permission| match granted.get(need.name).map(String::as_str) {
        Some("write" | "admin") => true,
        Some("read") => need.level == "read",
        _ => false,
    };
    needs.iter().filter(|need| !enough(need)).map(|need| need.words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect()
    }

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    #[test]
    fn the_orders_are_what_the_manifests_of_these_lists_have_muster_do() {
        use crate::manifest::{LateStep, Span};
        let of = |change: &dyn Fn(&mut RunnerPool)| {
            let (mut ours, mut others) = (RunnerPool::default(), RunnerPool::default());
            ours.spec.github.scope = scope("org/acme");
            others.spec.github.scope = scope("org/other");
            change(&mut ours);
            let spec =
                Spec { pools: [("ours".into(), ours.clone()), ("others".into(), others.clone())].into(), ..Spec::default() };
            assert_eq!(Orders::of(&spec, &[others.list_id()].into()), Orders::default(), "another list's pool orders nothing");
            Orders::of(&spec, &[ours.list_id()].into())
        };
        let step = |act| LateStep { act, after: Span::secs(600) };
        let late = |act: LateAct| of(&|pool| pool.spec.start_within = vec![step(act)]);
        let orders = |runs, statuses| Orders { runs, statuses };
        assert_eq!(of(&|_| ()), orders(false, false));
        assert_eq!(of(&|pool| pool.spec.rerun.causes = [crate::verdict::Cause::Interruption].into()), orders(true, false));
        assert_eq!(late(LateAct::Tell), orders(false, true));
        assert_eq!(late(LateAct::Cancel), orders(true, true));
        assert_eq!((late(LateAct::OnDemand), late(LateAct::Overflow)), (orders(false, false), orders(false, false)));
        let mut spec = Spec::default();
        spec.controller.spec.start_within = vec![step(LateAct::Tell)];
        assert_eq!(Orders::of(&spec, &BTreeSet::new()), orders(false, true), "the Controller's own ladder");
    }

    #[test]
    fn each_scope_needs_its_permission() {
        let both = needs([&scope("org/acme"), &scope("repo/acme/app")], Orders::default());
        let none: [&str; 0] = [];
        let all = granted(&[("organization_self_hosted_runners", "write"), ("administration", "admin"), ("actions", "write")]);
        assert_eq!(lacking(&all, &both), none);
        let half = granted(&[("organization_self_hosted_runners", "read"), ("actions", "read")]);
        assert_eq!(lacking(&half, &both).len(), 2, "to read runners is not enough, and administration is missing");
        assert_eq!(
            lacking(&granted(&[]), &needs([&scope("enterprise/big")], Orders::default())),
            ["repository permission Actions: read"]
        );
        let orders = Orders { runs: true, statuses: true };
        let lacks = lacking(&granted(&[("actions", "read")]), &needs([&scope("enterprise/big")], orders));
        assert!(lacks.len() == 2 && lacks[0].contains("Actions: read and write"), "{lacks:?}");
        assert!(lacks[1].contains("Commit statuses: read and write"), "{lacks:?}");
    }
}
