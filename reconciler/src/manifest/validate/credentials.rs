//! Checks GitHubApps and GitHubTokens, which are muster's identities at GitHub, and which of them a pool may name.

use super::{Check, Origin, api_url};
use crate::ids::{AppName, Scope};
use crate::manifest::document::{Documents, Problem, ReadDocument};
use crate::manifest::{GitHubApp, GitHubToken, PoolGitHub, SecretRef};

pub(super) fn app(app: &GitHubApp, check: &mut Check<'_>) {
    let spec = &app.spec;
    check.name(&app.metadata.name);
    if spec.app_id == 0 {
        check.fail("spec.appId", "required: the App's id, a number that GitHub shows in the App's settings");
    }
    if spec.private_key.is_empty() {
        check.fail("spec.privateKey", "required: a reference to the App's private key (ssm:/path, file:path or env:NAME)");
    }
    webhook_secrets(&spec.webhook_secrets, check);
    server(&spec.api_url, check);
}

pub(super) fn token(token: &GitHubToken, check: &mut Check<'_>) {
    check.name(&token.metadata.name);
    if token.spec.token.is_empty() {
        check.fail("spec.token", "required: a reference to the personal access token (ssm:/path, file:path or env:NAME)");
    }
    webhook_secrets(&token.spec.webhook_secrets, check);
    server(&token.spec.api_url, check);
}

fn webhook_secrets(secrets: &[SecretRef], check: &mut Check<'_>) {
    if secrets.is_empty() {
        let message = "required: at least one reference to a webhook secret; without it nobody can be trusted";
        check.fail("spec.webhookSecrets", message);
    }
    for (i, secret) in secrets.iter().enumerate() {
        if secrets[..i].contains(secret) {
            check.fail(&format!("spec.webhookSecrets[{i}]"), format!("{secret} stands here twice; keep one"));
        }
    }
}

fn server(url: &str, check: &mut Check<'_>) {
    api_url("spec.apiUrl", url, "write https://api.github.com or, for GHES, https://HOST/api/v3", check);
}

/// Checks that a pool names exactly one credential, and of the kind that GitHub takes for the scope. GitHub's enterprise
/// endpoints take classic tokens only. <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>
pub(super) fn named(github: &PoolGitHub, check: &mut Check<'_>) {
    const APP: &str = "spec.github.app";
    const TOKEN: &str = "spec.github.token";
    let of_enterprise = matches!(github.scope, Scope::Enterprise(_));
    match (&github.app, &github.token) {
        (Some(_), Some(_)) => {
            check.clash(&[APP, TOKEN], "app and token are both written; keep app for org/ and repo/, token for enterprise/");
        }
        (Some(_), None) if of_enterprise => {
            let message = "GitHub lets no App manage an enterprise's runners; make a GitHubToken, and name it in \
                           spec.github.token instead (or register the runners at org/NAME)";
            check.clash(&[APP, "spec.github.scope"], message);
        }
        (None, Some(_)) if !of_enterprise && github.scope != Scope::default() => {
            let message = "a GitHubToken is for enterprise/NAME; name a GitHubApp in spec.github.app instead: its tokens live \
                           for an hour only, and GitHub tells it which webhooks failed";
            check.clash(&[TOKEN, "spec.github.scope"], message);
        }
        (None, None) if of_enterprise => check.fail(TOKEN, "required: the name of a GitHubToken"),
        (None, None) => check.fail(APP, "required: the name of a GitHubApp"),
        (Some(_), None) | (None, Some(_)) => {}
    }
}

/// Checks that each name that a pool refers to exists, and that no App has the name of a token.
pub(super) fn exist(all: &Documents, problems: &mut Vec<Problem>) {
    for read in &all.tokens {
        let name = read.value.metadata.name.as_str();
        if let Some(app) = all.apps.iter().find(|app| !name.is_empty() && app.value.metadata.name == name) {
            let (file, line) = (&app.source.file, app.source.place("metadata.name").line);
            let message = format!("{name} is the name of a GitHubApp, at {file}:{line}; rename one");
            Check { source: &read.source, problems }.fail("metadata.name", message);
        }
    }
    if all.unreadable {
        return;
    }
    let apps = Names::of("GitHubApp", "app", &all.apps, |app| &app.metadata.name);
    let tokens = Names::of("GitHubToken", "token", &all.tokens, |token| &token.metadata.name);
    for read in &all.pools {
        // If the credential's kind does not fit the scope, another check has said so.
        match &read.value.spec.github {
            PoolGitHub { scope: Scope::Enterprise(_), token, .. } => {
                tokens.look_up(token.as_ref(), &apps, &read.source, problems);
            }
            PoolGitHub { app, .. } => apps.look_up(app.as_ref(), &tokens, &read.source, problems),
        }
    }
}

/// The names of one kind of credential.
struct Names<'a> {
    kind: &'static str,
    field: &'static str,
    known: Vec<&'a str>,
    /// Whether the name of a document could not be read. Then no name can be called missing.
    nameless: bool,
}

impl<'a> Names<'a> {
    fn of<T>(kind: &'static str, field: &'static str, all: &'a [ReadDocument<T>], name: impl Fn(&T) -> &String) -> Names<'a> {
        let nameless = all.iter().any(|read| read.source.place("metadata.name").bad);
        Names { kind, field, known: all.iter().map(|read| name(&read.value).as_str()).collect(), nameless }
    }

    fn look_up(&self, name: Option<&AppName>, others: &Names<'_>, source: &Origin, problems: &mut Vec<Problem>) {
        let Some(name) = name.map(AppName::as_str).filter(|name| !self.nameless && !self.known.contains(name)) else { return };
        let kind = self.kind;
        let message = if others.known.contains(&name) {
            format!("{name} is a {}; write it as spec.github.{}", others.kind, others.field)
        } else {
            let known =
                if self.known.is_empty() { "there is none".into() } else { format!("there is {}", self.known.join(", ")) };
            format!("no {kind} is named {name} ({known}); add it or name another")
        };
        Check { source, problems }.fail(&format!("spec.github.{}", self.field), message);
    }
}

/// Checks that all credentials are for one GitHub server. Each server has its own job ids, and its own names of organisations and
/// repositories.
pub(super) fn one_server(all: &Documents, problems: &mut Vec<Problem>) {
    let apps = all.apps.iter().map(|app| (&app.source, "GitHubApp", &app.value.metadata.name, &app.value.spec.api_url));
    let tokens =
        all.tokens.iter().map(|token| (&token.source, "GitHubToken", &token.value.metadata.name, &token.value.spec.api_url));
    let mut named = apps.chain(tokens);
    let Some((_, kind, name, server)) = named.next() else { return };
    for (source, ..) in
        named.filter(|(.., other)| !other.trim_end_matches('/').eq_ignore_ascii_case(server.trim_end_matches('/')))
    {
        let message = format!(
            "is another GitHub server than that of {kind} {name} ({server}): a cluster serves one, because equal job ids and \
             organisations on two servers would be taken for one another; give each server its own cluster"
        );
        Check { source, problems }.fail("spec.apiUrl", message);
    }
}
