//! A GitHub App: its key, its permissions, where it is installed, and what its installations granted. See
//! docs/getting-started.md.
//! <https://docs.github.com/en/apps/creating-github-apps/registering-a-github-app/choosing-permissions-for-a-github-app>

use std::collections::BTreeSet;

use muster_reconciler::groups::Admits;
use muster_reconciler::ids::{ListId, Scope};
use muster_reconciler::manifest::{GitHubApp, RunnerPool, Spec};
use muster_reconciler::permissions::{EVENT, Orders, Permission, lacking, needs};
use muster_reconciler::warnings::{self, Warning};

use super::finding::{Complaints, Finding, way_out};
use super::versions;
use crate::aws::S3;
use muster_github::about::{AppDescription, Installation, RateLeft};
use muster_github::{FoundGroup, GitHub};

/// Checks the App itself: its permissions and its events.
pub(super) async fn check(github: &GitHub, name: &str, app: &GitHubApp, spec: &Spec) -> Finding {
    let check = format!("App {name}");
    match github.about(&name.into()).await {
        Ok(about) => {
            let lists = list_ids(spec, name);
            judge_app(check, app, &about, &needs(lists.iter().map(|list_id| &list_id.scope), Orders::of(spec, &lists)))
        }
        Err(failure) => {
            let next = "correct spec.appId, spec.privateKey or spec.apiUrl";
            Finding::failed(check, &failure.message, way_out(&failure, "it", next))
        }
    }
}

fn judge_app(check: String, app: &GitHubApp, about: &AppDescription, needs: &BTreeSet<Permission>) -> Finding {
    let mut marks = Complaints::default();
    marks.fact(format!("{} (id {} at {})", about.name, app.spec.app_id, app.spec.api_url));
    let missing = lacking(&about.permissions, needs);
    if !missing.is_empty() {
        let next = format!("grant it in the App's settings ({}), and accept it wherever it is installed", about.html_url);
        marks.fail(format!("it lacks the {}", missing.join(", the ")), next);
    }
    if !about.events.iter().any(|event| event == EVENT) {
        let next = format!("subscribe to Workflow job in the App's settings ({})", about.html_url);
        marks.fail("it is not told of the event workflow_job, so muster hears of no job", next);
    }
    marks.finding(check)
}

/// The lists that the pools of an App register in.
pub(super) fn list_ids(spec: &Spec, app: &str) -> BTreeSet<ListId> {
    spec.pools.values().map(|pool| pool.list_id()).filter(|list_id| list_id.app.as_str() == app).collect()
}

/// Checks an installation, its runner groups, the versions of its pools, and how many requests GitHub still admits.
pub(super) async fn check_list(github: &GitHub, s3: &S3, spec: &Spec, list_id: &ListId) -> Vec<Finding> {
    let check = format!("installation on {}", list_id.scope);
    let installation = match github.installation(list_id).await {
        Ok(installation) => installation,
        Err(failure) => {
            let next = format!("install the App on {}, or correct spec.github.scope", list_id.scope);
            return vec![Finding::failed(check, &failure.message, way_out(&failure, "it", &next))];
        }
    };
    let orders = Orders::of(spec, &[list_id.clone()].into());
    let mut found = vec![judge_installation(check, &installation, &needs([&list_id.scope], orders))];
    if installation.suspended_at.is_none() {
        found.extend(check_groups(github, s3, spec, list_id).await);
    }
    found
}

/// Checks the runner groups that the pools name, the versions that they install, and how many requests GitHub still admits.
pub(super) async fn check_groups(github: &GitHub, s3: &S3, spec: &Spec, list_id: &ListId) -> Vec<Finding> {
    let mut found = Vec::new();
    if !matches!(list_id.scope, Scope::Repo(..)) {
        let pools: Vec<&RunnerPool> = spec.pools.values().filter(|pool| pool.list_id() == *list_id).collect();
        let names: BTreeSet<&str> = pools.iter().map(|pool| pool.spec.github.runner_group.as_str()).collect();
        match github.read_groups(list_id, &names).await {
            Ok(known) => found.extend(names.iter().map(|name| {
                let group = known.iter().find(|group| group.name == *name);
                judge_group(format!("runner group {name} of {}", list_id.scope), name, group, &pools)
            })),
            Err(failure) => {
                let next = way_out(&failure, "it", "see GitHub's message");
                found.push(Finding::failed(format!("runner groups of {}", list_id.scope), &failure.message, next));
            }
        }
    }
    found.extend(versions::check(github, s3, spec, list_id).await);
    let check = format!("requests left for {}", list_id.scope);
    found.push(match github.rate(list_id).await {
        Ok((rate, configurations)) => judge_rate(check, rate, configurations),
        Err(failure) => Finding::failed(check, &failure.message, way_out(&failure, "it", "see GitHub's message")),
    });
    found
}

/// Judges a runner group by the pools whose runners are in it.
fn judge_group(check: String, name: &str, group: Option<&FoundGroup>, pools: &[&RunnerPool]) -> Finding {
    let Some(FoundGroup { id, group, .. }) = group else {
        return Finding::failed(check, "there is none", "create it at GitHub, or correct spec.github.runnerGroup");
    };
    let mut marks = Complaints::default();
    let admits = match &group.admits {
        Admits::All => "every repository".into(),
        Admits::Private => "every private repository".into(),
        Admits::Selected(all) => format!("{} selected", all.len()),
        Admits::Unknown => "what GitHub did not say".into(),
    };
    marks.fact(format!("id {id}, admits {admits}"));
    for pool in pools.iter().filter(|pool| pool.spec.github.runner_group == name) {
        for warning in warnings::of_group(pool, Some(group)) {
            let seen = format!("pool {}: {warning}", pool.metadata.name);
            match warning {
                Warning::WideGroup { .. } => marks.fail(seen, warning.way_out()),
                _ => marks.warn(seen, warning.way_out()),
            }
        }
    }
    marks.finding(check)
}

fn judge_installation(check: String, installation: &Installation, needs: &BTreeSet<Permission>) -> Finding {
    let page = &installation.html_url;
    let mut marks = Complaints::default();
    marks.fact(format!("id {}, {} repositories", installation.id, installation.repository_selection));
    if installation.suspended_at.is_some() {
        marks.fail("it is suspended", format!("unsuspend it: {page}"));
    }
    let missing = lacking(&installation.permissions, needs);
    if !missing.is_empty() {
        let seen = format!("its account has not granted the {}", missing.join(", the "));
        marks.fail(seen, format!("an owner accepts the App's new permissions there: {page}"));
    }
    if !installation.events.iter().any(|event| event == EVENT) {
        marks.fail(
            "it is not told of the event workflow_job",
            format!("an owner accepts the App's new permissions there: {page}"),
        );
    }
    marks.finding(check)
}

fn judge_rate(check: String, rate: RateLeft, configurations: Option<RateLeft>) -> Finding {
    let apart = configurations.map_or_else(String::new, |c| format!(", and {} of {} configurations", c.remaining, c.limit));
    let seen = format!("{} of {} in this hour{apart}", rate.remaining, rate.limit);
    if [Some(rate), configurations].into_iter().flatten().any(|rate| rate.remaining * 10 < rate.limit) {
        return Finding::warning(
            check,
            seen,
            "find out who else uses the App (or token); muster waits until GitHub's hour is over",
        );
    }
    Finding::ok(check, seen)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_reconciler::ids::Scope;

    use super::super::finding::Verdict;
    use super::*;

    fn granted(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect()
    }

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    #[test]
    fn an_app_without_the_event_fails() {
        let permissions = granted(&[("organization_self_hosted_runners", "write"), ("actions", "read")]);
        let about = |events: &[&str]| AppDescription {
            name: "ci".into(),
            html_url: "https://github.com/apps/ci".into(),
            permissions: permissions.clone(),
            events: events.iter().map(|&event| event.to_owned()).collect(),
        };
        let judge =
            |about| judge_app("App main".into(), &GitHubApp::default(), &about, &needs([&scope("org/acme")], Orders::default()));
        assert_eq!(judge(about(&["workflow_job", "push"])).verdict, Verdict::Ok);
        let deaf = judge(about(&["push"]));
        assert!(deaf.verdict == Verdict::Failed && deaf.next.is_some_and(|next| next.contains("Workflow job")));
    }

    #[test]
    fn an_installation_may_be_suspended_or_behind() {
        let good = Installation {
            id: 7,
            html_url: "https://x".into(),
            permissions: granted(&[("organization_self_hosted_runners", "write"), ("actions", "read")]),
            events: vec![EVENT.into()],
            suspended_at: None,
            repository_selection: "all".into(),
        };
        let judge = |i: &Installation| judge_installation("i".into(), i, &needs([&scope("org/acme")], Orders::default()));
        assert_eq!(judge(&good), Finding::ok("i", "id 7, all repositories"));
        assert!(judge(&Installation { suspended_at: Some("2026".into()), ..good.clone() }).seen.contains("suspended"));
        let behind = judge(&Installation { permissions: granted(&[("actions", "read")]), ..good });
        assert!(behind.verdict == Verdict::Failed && behind.seen.contains("Self-hosted runners"), "{behind:?}");
    }

    #[test]
    fn few_requests_left_are_a_warning() {
        let rate = |limit, remaining| RateLeft { limit, remaining };
        let judge = |configurations| judge_rate("r".into(), rate(5000, 500), configurations);
        assert_eq!(judge(None), Finding::ok("r", "500 of 5000 in this hour"));
        assert_eq!(judge(Some(rate(10_000, 1000))).verdict, Verdict::Ok);
        assert_eq!(judge(Some(rate(10_000, 999))).verdict, Verdict::Warning);
        assert_eq!(judge_rate("r".into(), rate(5000, 499), Some(rate(10_000, 10_000))).verdict, Verdict::Warning);
    }
}
