//! The App that is asked for, in both forms in which GitHub takes it: a manifest, and a link.

use std::collections::BTreeSet;

use muster_operations::client;
use muster_reconciler::ids::Scope;
use muster_reconciler::manifest::{GitHubApp, ManifestReading};
use muster_reconciler::permissions::{EVENT, Orders, Permission, needs};
use serde_json::{Map, Value, json};
use warp::http::Uri;

use super::{AppDetails, AppFeature, organisation};
use crate::cli::fault::CliError;

/// The longest name of an App at GitHub, in characters.
const LONGEST_NAME: usize = 34;
/// The webhook's URL while nobody knows it. GitHub wants one; as the webhook is inactive, nothing is sent there. The domain is
/// nobody's: <https://www.rfc-editor.org/rfc/rfc2606#section-3>
const NO_WEBHOOK: &str = "https://example.com/muster-has-no-webhook-yet";

/// The App that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppWish {
    /// The organisation that owns the App. None: whoever is signed in at GitHub.
    pub org: Option<String>,
    /// The App's name at GitHub.
    pub name: String,
    /// GitHub's address, without a slash at its end.
    pub github: String,
    /// The address of GitHub's REST API, without a slash at its end.
    pub api: String,
    /// Where GitHub sends events. None: nowhere yet.
    pub webhook: Option<String>,
    /// What the App may do.
    pub permissions: BTreeSet<Permission>,
}

impl AppWish {
    /// The App that the flags and the manifests ask for.
    pub fn new(details: &AppDetails, read: Option<&ManifestReading>) -> Result<AppWish, CliError> {
        let app = read.map(|read| chosen(details, read)).transpose()?;
        let lists: BTreeSet<_> = read
            .zip(app)
            .map(|(read, (name, _))| read.spec.list_ids().into_iter().filter(|list| list.app.as_str() == name).collect())
            .unwrap_or_default();
        let mut scopes: Vec<Scope> = lists.iter().map(|list| list.scope.clone()).collect();
        let org = owner(details, &scopes)?;
        if scopes.is_empty() {
            scopes.push(
                org.as_ref().map_or_else(|| Scope::Repo("owner".into(), "name".into()), |org| Scope::Org(org.as_str().into())),
            );
        }
        let mut orders = AppFeature::orders(&details.features);
        if let Some(read) = read {
            let written = Orders::of(&read.spec, &lists);
            orders = Orders { runs: orders.runs || written.runs, statuses: orders.statuses || written.statuses };
        }
        let api = app.map(|(_, app)| app.spec.api_url.trim_end_matches('/').to_owned());
        let (github, api) = match (&details.github_url, api) {
            (Some(url), api) => {
                let github = address("--github-url", url)?;
                (github.clone(), api.filter(|api| web_of(api) == github).unwrap_or_else(|| api_of(&github)))
            }
            (None, Some(api)) => (web_of(&api), api),
            (None, None) => ("https://github.com".to_owned(), "https://api.github.com".to_owned()),
        };
        let webhook = details.webhook_url.as_deref().map(|url| address("--webhook-url", url)).transpose()?;
        let name = details.name.clone().unwrap_or_else(|| {
            let name = org.as_ref().map_or_else(|| "muster".to_owned(), |org| format!("muster-{org}"));
            name.chars().take(LONGEST_NAME).collect::<String>().trim_end_matches('-').to_owned()
        });
        if name.trim().is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(CliError::Usage(format!("`{name}` is no App's name: GitHub takes 1 to {LONGEST_NAME} characters")));
        }
        Ok(AppWish { permissions: needs(&scopes, orders), org, name, github, api, webhook })
    }

    /// Where a new App is registered.
    fn form(&self) -> String {
        match &self.org {
            Some(org) => format!("{}/organizations/{org}/settings/apps/new", self.github),
            None => format!("{}/settings/apps/new", self.github),
        }
    }

    /// Where the browser posts the manifest.
    pub fn action(&self, state: &str) -> String {
        format!("{}?state={state}", self.form())
    }

    /// The page with the settings of the App that was made.
    pub fn settings(&self, slug: &str) -> String {
        format!("{}/{slug}", self.form().trim_end_matches("/new"))
    }

    /// The App's homepage. GitHub wants one, and muster has none: the owner's page is true.
    fn homepage(&self) -> String {
        self.org.as_ref().map_or_else(|| self.github.clone(), |org| format!("{}/{org}", self.github))
    }

    /// The manifest.
    /// <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest#github-app-manifest-parameters>
    pub fn manifest(&self, redirect: &str) -> Value {
        let permissions: Map<String, Value> =
            self.permissions.iter().map(|one| (one.name.to_owned(), json!(one.level))).collect();
        json!({
            "name": self.name,
            "url": self.homepage(),
            "public": false,
            "redirect_url": redirect,
            "hook_attributes": { "url": self.webhook.as_deref().unwrap_or(NO_WEBHOOK), "active": self.webhook.is_some() },
            "default_permissions": permissions,
            "default_events": [EVENT],
        })
    }

    /// The link.
    /// <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-using-url-parameters#github-app-configuration-parameters>
    pub fn link(&self) -> anyhow::Result<String> {
        let homepage = self.homepage();
        let active = self.webhook.is_some().to_string();
        let mut fields = vec![("name", self.name.as_str()), ("url", homepage.as_str()), ("public", "false")];
        fields.extend([("webhook_active", active.as_str()), ("events[]", EVENT)]);
        fields.extend(self.webhook.as_deref().map(|url| ("webhook_url", url)));
        fields.extend(self.permissions.iter().map(|one| (one.name, one.level)));
        Ok(format!("{}?{}", self.form(), serde_urlencoded::to_string(fields)?))
    }
}

/// The GitHubApp of the manifests, with its name.
pub(super) fn chosen<'a>(details: &AppDetails, read: &'a ManifestReading) -> Result<(&'a str, &'a GitHubApp), CliError> {
    let all = || read.spec.apps.iter().map(|(name, app)| (name.as_str(), app));
    let names = || all().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    match &details.app {
        Some(wanted) => all()
            .find(|(name, _)| name == wanted)
            .ok_or_else(|| CliError::Usage(format!("the manifests have no GitHubApp `{wanted}`; they have: {}", names()))),
        None => match all().collect::<Vec<_>>()[..] {
            [one] => Ok(one),
            [] => Err(CliError::Usage("the manifests have no GitHubApp; add one, or leave --manifests out".into())),
            _ => Err(CliError::Usage(format!("the manifests have several Apps; name one with --app: {}", names()))),
        },
    }
}

/// The organisation that shall own the App. None: a personal account.
fn owner(details: &AppDetails, scopes: &[Scope]) -> Result<Option<String>, CliError> {
    if let Some(org) = &details.org {
        organisation(org).map_err(CliError::Usage)?;
        return Ok(Some(org.clone()));
    }
    if details.personal {
        return Ok(None);
    }
    let mut orgs: Vec<&str> = Vec::new();
    for scope in scopes {
        match scope {
            Scope::Org(name) if !orgs.iter().any(|org| org.eq_ignore_ascii_case(name)) => orgs.push(name),
            _ => {}
        }
    }
    match orgs[..] {
        [org] if organisation(org).is_ok() => Ok(Some(org.to_owned())),
        _ => Err(CliError::Usage("who shall own the App? Say --org NAME, or --personal for your own account".into())),
    }
}

/// A URL that somebody typed, without a slash at its end. What travels there is secret, so it needs TLS.
pub(in crate::cli) fn address(flag: &str, url: &str) -> Result<String, CliError> {
    let url = url.trim_end_matches('/');
    let read: Option<Uri> = url.parse().ok();
    let whole = read.is_some_and(|uri| uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    if !whole || url.contains(['?', '#', '"', '\'', '<', '>']) {
        return Err(CliError::Usage(format!("{flag}: `{url}` is no address; write one such as https://github.example.com")));
    }
    if client::in_clear(url) {
        return Err(CliError::Usage(format!("{flag}: others can read what goes to {url}; write https://")));
    }
    Ok(url.to_owned())
}

/// The REST API of this GitHub.
/// <https://docs.github.com/en/enterprise-server@latest/rest/using-the-rest-api/getting-started-with-the-rest-api>
pub(in crate::cli) fn api_of(github: &str) -> String {
    match github.strip_prefix("https://") {
        Some(host) if host == "github.com" || host.ends_with(".ghe.com") => format!("https://api.{host}"),
        _ => format!("{github}/api/v3"),
    }
}

/// The GitHub of this REST API.
fn web_of(api: &str) -> String {
    match api.strip_prefix("https://api.") {
        Some(host) if host == "github.com" || host.ends_with(".ghe.com") => format!("https://{host}"),
        _ => api.trim_end_matches("/api/v3").to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
