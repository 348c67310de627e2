//! Runner groups: their ids, and which repositories may use their runners.
//! <https://docs.github.com/en/rest/actions/self-hosted-runner-groups>

use std::collections::BTreeSet;

use http::Method;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::groups::{Admits, RunnerGroup};
use muster_reconciler::ids::{ListId, Scope};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::base;
use crate::{ApiCall, GitHub};

/// The most pages of a list: 10,000 groups, or as many repositories of one group.
const PAGES: u64 = 100;

#[derive(Deserialize)]
struct GroupPage {
    total_count: f64,
    runner_groups: Vec<ListedGroup>,
}

#[derive(Deserialize)]
struct ListedGroup {
    // GitHub's description of the API says `number` here, not `integer`.
    id: f64,
    name: String,
    /// `all`, `private` or `selected`.
    #[serde(default)]
    visibility: String,
    #[serde(default)]
    allows_public_repositories: bool,
}

#[derive(Deserialize)]
struct RepositoryPage {
    total_count: f64,
    repositories: Vec<GroupRepository>,
}

#[derive(Deserialize)]
struct GroupRepository {
    full_name: String,
}

#[derive(Deserialize)]
struct OrganizationPage {
    total_count: f64,
    organizations: Vec<GroupOrganization>,
}

#[derive(Deserialize)]
struct GroupOrganization {
    login: String,
}

/// A runner group at GitHub.
#[derive(Debug)]
pub struct FoundGroup {
    /// The name, as it was asked for.
    pub name: String,
    /// GitHub's id.
    pub id: u64,
    /// Whom the group admits.
    pub group: RunnerGroup,
}

impl GitHub {
    /// The id of the runner group with this name. Names are compared without regard to case.
    ///
    /// # Errors
    ///
    /// `Refused` when there is no such group, or what GitHub answers.
    pub async fn find_group(&self, list_id: &ListId, name: &str) -> Result<u64, Failure> {
        let what = format!("find runner group `{name}` of {}", list_id.scope);
        let found = self.list_groups(list_id, &what).await?.into_iter().find(|group| group.name.eq_ignore_ascii_case(name));
        found.map(|group| group.id as u64).ok_or_else(|| {
            let message = format!("{what}: there is none; create it at GitHub, or correct spec.github.runnerGroup");
            Failure::new(FailureKind::Refused, message)
        })
    }

    /// Those groups of a list that have one of these names, and whom they admit. This is one request for all groups, and one more for
    /// each group of selected repositories.
    ///
    /// # Errors
    ///
    /// What GitHub answers when the groups cannot be listed. A group that cannot be read by itself is `Unknown`.
    pub async fn read_groups(&self, list_id: &ListId, names: &BTreeSet<&str>) -> Result<Vec<FoundGroup>, Failure> {
        let listed = self.list_groups(list_id, &format!("list the runner groups of {}", list_id.scope)).await?;
        let mut found = Vec::new();
        for name in names {
            let Some(group) = listed.iter().find(|group| group.name.eq_ignore_ascii_case(name)) else { continue };
            let id = group.id as u64;
            let admits = match group.visibility.as_str() {
                "selected" => match self.selected(list_id, name, id).await {
                    Ok(selected) => Admits::Selected(selected),
                    Err(failure) => {
                        tracing::warn!(group = name, scope = %list_id.scope, error = %failure.message, "a runner group cannot be read");
                        Admits::Unknown
                    }
                },
                "private" => Admits::Private,
                _ => Admits::All,
            };
            let group = RunnerGroup { admits, public: group.allows_public_repositories };
            found.push(FoundGroup { name: (*name).to_owned(), id, group });
        }
        Ok(found)
    }

    async fn list_groups(&self, list_id: &ListId, what: &str) -> Result<Vec<ListedGroup>, Failure> {
        let path = format!("{}/actions/runner-groups", base(&list_id.scope));
        let page = |page: GroupPage| (page.total_count, page.runner_groups);
        self.pages(list_id, "github.ListRunnerGroups", &path, what, page).await
    }

    /// The repositories that a group of selected repositories admits. An enterprise selects organisations, each of which admits
    /// repositories by itself.
    async fn selected(&self, list_id: &ListId, name: &str, id: u64) -> Result<Vec<String>, Failure> {
        let what = format!("list what runner group `{name}` of {} admits", list_id.scope);
        let group = format!("{}/actions/runner-groups/{id}", base(&list_id.scope));
        if matches!(list_id.scope, Scope::Enterprise(_)) {
            let path = format!("{group}/organizations");
            let page = |page: OrganizationPage| (page.total_count, page.organizations);
            let all = self.pages(list_id, "github.ListGroupOrganizations", &path, &what, page).await?;
            return Ok(all.into_iter().map(|organization| format!("{}/*", organization.login)).collect());
        }
        let page = |page: RepositoryPage| (page.total_count, page.repositories);
        let all = self.pages(list_id, "github.ListGroupRepositories", &format!("{group}/repositories"), &what, page).await?;
        Ok(all.into_iter().map(|repository| repository.full_name).collect())
    }

    /// Reads all pages of a list. `page` takes a page apart: how many items there are in all, and those of this page.
    async fn pages<P: DeserializeOwned, T>(
        &self,
        list_id: &ListId,
        api: &'static str,
        path: &str,
        what: &str,
        page: impl Fn(P) -> (f64, Vec<T>),
    ) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        for number in 1..=PAGES {
            let path = format!("{path}?per_page=100&page={number}");
            let (call, answer) = self.ask(list_id, ApiCall::new(api, Method::GET, path, what)).await?;
            let (total, items) = page(answer.json(&call)?);
            let empty = items.is_empty();
            all.extend(items);
            if empty || all.len() as f64 >= total {
                break;
            }
        }
        Ok(all)
    }
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = answer.json::<GroupPage>(call);
    let _ = answer.json::<RepositoryPage>(call);
    let _ = answer.json::<OrganizationPage>(call);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake::{Fake, Reply, list_id, reply};

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
            path if path.ends_with("/2/organizations") => page("organizations", json!([{ "login": "acme" }])),
            path => reply(404, json!({ "message": format!("nobody asks for {path}") })),
        })
        .await;
        let names = ["Default", "web", "inner", "gone", "others"].into();
        let selected = |all: &[&str]| Admits::Selected(all.iter().map(|name| (*name).to_owned()).collect());
        for (scope, web) in [("org/acme", selected(&["acme/web", "acme/api"])), ("enterprise/big", selected(&["acme/*"]))] {
            let github = if scope.starts_with("enterprise/") { fake.github_by_token() } else { fake.github() };
            let found = github.read_groups(&list_id(scope), &names).await.expect("an answer");
            let found: Vec<_> = found.into_iter().map(|g| (g.name, g.id, g.group.admits, g.group.public)).collect();
            let others = ("others", 4, Admits::Unknown, false);
            let wanted =
                [("Default", 1, Admits::All, true), ("inner", 3, Admits::Private, false), others, ("web", 2, web, false)];
            assert_eq!(found, wanted.map(|(name, id, admits, public)| (name.to_owned(), id, admits, public)), "{scope}");
        }
        assert_eq!(fake.asked("/runner-groups").len(), 2);
    }
}
