//! Runners at GitHub: muster makes configurations, sweeps lists and deletes registrations.
//! <https://docs.github.com/en/rest/actions/self-hosted-runners>

mod everyone;
mod groups;
mod list;
mod versions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};
use muster_reconciler::effect::{Configure, Outcome};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{ListId, RunnerId, Scope};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::held::{Got, Held};
use super::{ApiCall, GitHub, GoodAnswer, Rejected, preparing};

pub use everyone::AnyRunner;
pub use groups::FoundGroup;
pub(super) use list::Lists;

/// The id of a repository's only runner group.
pub(super) const REPOSITORY_GROUP: u64 = 1;
/// The most labels that GitHub takes in one configuration.
const LABELS_MAX: usize = 100;

/// The ids of runner groups, by list and name.
pub(super) type Groups = Mutex<BTreeMap<(ListId, String), Arc<Held<u64>>>>;

/// A row of GitHub's list, as far as muster needs it.
#[derive(Deserialize)]
struct ListedRunner {
    id: u64,
    name: String,
    status: String,
    busy: bool,
    labels: Vec<Label>,
    /// GitHub Enterprise Server and a runner that was never online have none.
    #[serde(default)]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

impl ListedRunner {
    fn online(&self) -> bool {
        self.status == "online"
    }
}

#[derive(Deserialize)]
struct RunnerPage {
    total_count: u64,
    runners: Vec<ListedRunner>,
}

#[derive(Deserialize)]
struct Minted {
    runner: MintedRunner,
    encoded_jit_config: String,
}

#[derive(Deserialize)]
struct MintedRunner {
    id: u64,
}

#[derive(Deserialize)]
struct RegistrationToken {
    token: String,
}

/// The part of the path that stands for a scope.
pub(super) fn base(scope: &Scope) -> String {
    match scope {
        Scope::Org(org) => format!("/orgs/{org}"),
        Scope::Repo(owner, repo) => format!("/repos/{owner}/{repo}"),
        Scope::Enterprise(slug) => format!("/enterprises/{slug}"),
    }
}

/// What a request about runners needs: the permission of an App, or the scope of a token.
fn needs(scope: &Scope) -> &'static str {
    match scope {
        Scope::Org(_) => "the organization permission `Self-hosted runners: write`",
        Scope::Repo(..) => "the repository permission `Administration: write`",
        Scope::Enterprise(_) => "the scope `manage_runners:enterprise`",
    }
}

impl GitHub {
    pub(super) async fn ask(&self, list_id: &ListId, call: ApiCall) -> Result<(ApiCall, GoodAnswer), Rejected> {
        let call = ApiCall { needs: needs(&list_id.scope), ..call };
        let app = self.app(&list_id.app, &call).map_err(|failure| Rejected { status: None, failure })?;
        let answer = app.call(&list_id.scope, &call).await?;
        Ok((call, answer))
    }

    /// What an instance needs to become a runner, and the registration's id at GitHub if there is one already.
    ///
    /// - For an ephemeral runner: the encoded JIT configuration, for `run.sh --jitconfig`.
    /// - For a reusable runner: one line of JSON for `config.sh`. Its form is
    ///   `{"group":"...","labels":["..."],"name":"...","token":"...","url":"..."}`, with an empty `group` for a repository.
    ///
    /// # Errors
    ///
    /// For an ephemeral runner, `Conflict` when another registration has the name. Without `replace`, this is always an error.
    /// With `replace`, it is an error only if the runner with that name is online or busy. Otherwise its registration is deleted
    /// first.
    pub async fn configure(&self, c: &Configure) -> Result<(Option<RunnerId>, SecretString), Failure> {
        if c.labels.is_empty() || c.labels.len() > LABELS_MAX {
            let message =
                format!("configure {}: GitHub takes 1 to {LABELS_MAX} labels, spec.labels has {}", c.name, c.labels.len());
            return Err(Failure::new(FailureKind::Refused, message));
        }
        if !c.ephemeral {
            return Ok((None, self.registration(c).await?));
        }
        let (runner, secret) = match self.mint(c).await {
            Err(failure) if failure.kind == FailureKind::Conflict && c.replace => {
                self.make_way(c).await?;
                self.mint(c).await?
            }
            result => result?,
        };
        Ok((Some(runner), secret))
    }

    async fn registration(&self, c: &Configure) -> Result<SecretString, Failure> {
        let token = self.registration_token(&c.list_id).await?;
        let app = self.app(&c.list_id.app, &ApiCall::new("", Method::GET, "", format!("configure {}", c.name)))?;
        let group = if matches!(c.list_id.scope, Scope::Repo(..)) { "" } else { &c.group };
        let settings = json!({
            "url": app.web_url(&c.list_id.scope),
            "token": token.expose_secret(),
            "name": c.name.to_string(),
            "labels": c.labels,
            "group": group,
        });
        Ok(settings.to_string().into())
    }

    /// Makes a JIT configuration in the runner group. If GitHub does not know the group's id any more, the id is looked up once
    /// more.
    async fn mint(&self, c: &Configure) -> Result<(RunnerId, SecretString), Failure> {
        if matches!(c.list_id.scope, Scope::Repo(..)) {
            return self.mint_jit(c, REPOSITORY_GROUP).await;
        }
        let held = {
            let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.entry((c.list_id.clone(), c.group.clone())).or_default().clone()
        };
        let Got { value: group, serial, fetched } = self.group(&held, c).await?;
        match self.mint_jit(c, group).await {
            Err(failure) if failure.kind == FailureKind::NotFound && !fetched => {
                held.give_up(serial).await;
                let now = self.group(&held, c).await?.value;
                if now == group { Err(failure) } else { self.mint_jit(c, now).await }
            }
            result => result,
        }
    }

    async fn group(&self, held: &Held<u64>, c: &Configure) -> Result<Got<u64>, Failure> {
        held.get(|_| true, async |_| self.find_group(&c.list_id, &c.group).await).await.map_err(|failure| {
            let message = format!("configure {}: {}", c.name, failure.message);
            Failure { message, ..preparing(failure) }
        })
    }

    /// Makes a JIT configuration. GitHub registers the runner and returns what the runner needs to come online.
    pub async fn mint_jit(&self, c: &Configure, group_id: u64) -> Result<(RunnerId, SecretString), Failure> {
        let path = format!("{}/actions/runners/generate-jitconfig", base(&c.list_id.scope));
        let what = format!("mint a JIT configuration for {} in {}", c.name, c.list_id.scope);
        let body = json!({
            "name": c.name.to_string(),
            "runner_group_id": group_id,
            "labels": c.labels,
            "work_folder": c.work_directory,
        });
        let call =
            ApiCall { body: Some(body), configures: true, ..ApiCall::new("github.GenerateJitConfig", Method::POST, path, what) };
        let (call, answer) = self.ask(&c.list_id, call).await?;
        let minted: Minted = answer.json(&call)?;
        Ok((RunnerId(minted.runner.id), minted.encoded_jit_config.into()))
    }

    /// A token that registers any number of runners for an hour.
    pub async fn registration_token(&self, list_id: &ListId) -> Result<SecretString, Failure> {
        let path = format!("{}/actions/runners/registration-token", base(&list_id.scope));
        let what = format!("get a registration token for {}", list_id.scope);
        let call = ApiCall { configures: true, ..ApiCall::new("github.CreateRegistrationToken", Method::POST, path, what) };
        let (call, answer) = self.ask(list_id, call).await?;
        Ok(answer.json::<RegistrationToken>(&call)?.token.into())
    }

    /// Deletes the registration that holds this runner's name. A registration that is online or busy is left alone, and is a
    /// `Conflict`.
    async fn make_way(&self, c: &Configure) -> Result<(), Failure> {
        let name = c.name.to_string();
        let query = serde_urlencoded::to_string([("name", name.as_str()), ("per_page", "100")]).unwrap_or_default();
        let path = format!("{}/actions/runners?{query}", base(&c.list_id.scope));
        let what = format!("find the registration that holds the name {name} in {}", c.list_id.scope);
        let (call, answer) = self
            .ask(&c.list_id, ApiCall::new("github.FindRunner", Method::GET, path, what))
            .await
            .map_err(|rejected| Rejected { failure: preparing(rejected.failure), ..rejected })?;
        // GitHub may also return names that only contain this name. Only a registration with the whole name holds it.
        let found: RunnerPage = answer.json(&call)?;
        let Some(holder) = found.runners.into_iter().find(|runner| runner.name.eq_ignore_ascii_case(&name)) else {
            return Ok(());
        };
        if holder.online() || holder.busy {
            let state = if holder.busy { "busy" } else { "online" };
            let message = format!(
                "configure {name}: runner {} of this name is {state} in {}; it is left alone, and so is its instance: it has its \
                 configuration already",
                holder.id, c.list_id.scope
            );
            return Err(Failure::new(FailureKind::Conflict, message));
        }
        tracing::info!(runner = holder.id, name, scope = %c.list_id.scope, "deleting a stale registration that holds our name");
        match self.delete(&c.list_id, RunnerId(holder.id)).await {
            Outcome::Failed(failure) => Err(preparing(failure)),
            _ => Ok(()),
        }
    }

    /// Deletes a registration. The outcome is `Done`, also when there is none. It is `Failed` with `Conflict` while the runner
    /// has a job.
    pub async fn delete(&self, list_id: &ListId, runner: RunnerId) -> Outcome {
        let path = format!("{}/actions/runners/{runner}", base(&list_id.scope));
        let what = format!("delete runner {runner} of {}", list_id.scope);
        match self.ask(list_id, ApiCall::new("github.DeleteRunner", Method::DELETE, path, what)).await {
            Ok(_) | Err(Rejected { status: Some(StatusCode::NOT_FOUND), .. }) => Outcome::Done,
            Err(Rejected { status: Some(StatusCode::UNPROCESSABLE_ENTITY), failure }) => {
                Outcome::Failed(Failure { kind: FailureKind::Conflict, ..failure })
            }
            Err(rejected) => Outcome::Failed(rejected.failure),
        }
    }
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = answer.json::<Minted>(call);
    let _ = answer.json::<RegistrationToken>(call);
    groups::fuzzed(answer, call);
    versions::fuzzed(answer, call);
    list::fuzzed(answer, call);
}

#[cfg(test)]
mod tests;
