//! What GitHub says of an App itself: its permissions, events, webhook and installations; and of a token. Only `muster doctor` asks.
//! <https://docs.github.com/en/rest/apps/apps> and <https://docs.github.com/en/rest/apps/webhooks>

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use http::{HeaderMap, Method};
use muster_reconciler::effect::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, Forge, Scope};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, GitHub, Identity, limits};

/// An App.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its page.
    pub html_url: String,
    /// What it asks of whoever installs it: permission to `read`, `write` or `admin`.
    pub permissions: BTreeMap<String, String>,
    /// The events that it is told of.
    pub events: Vec<String>,
}

/// An App's webhook. There is a secret, too; nobody here needs to know even that GitHub masks it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Hook {
    /// Where GitHub sends events.
    pub url: Option<String>,
    /// `json` or `form`.
    pub content_type: Option<String>,
    /// `0`, as text or number: the certificate is verified.
    pub insecure_ssl: Option<Value>,
}

/// One attempt to deliver a webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct Attempt {
    /// RFC 3339.
    pub delivered_at: String,
    /// The receiver's answer; GitHub puts one of its own for none.
    pub status_code: u16,
    /// In GitHub's words, such as `OK` or `failed to connect to host`.
    pub status: String,
    /// Such as `workflow_job`.
    pub event: String,
}

/// An App's installation on an account.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Installation {
    /// GitHub's id.
    pub id: u64,
    /// Where an owner of the account manages it.
    pub html_url: String,
    /// What the account granted.
    pub permissions: BTreeMap<String, String>,
    /// The events that it granted.
    pub events: Vec<String>,
    /// Since when it is suspended.
    pub suspended_at: Option<String>,
    /// `all` or `selected`.
    pub repository_selection: String,
}

/// What is left of an installation's requests of this hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Rate {
    /// An hour.
    pub limit: u64,
    /// Left.
    pub remaining: u64,
}

/// A personal access token, as the headers of an answer to it say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutToken {
    /// What it may; None: GitHub does not say, because it is no classic token.
    /// <https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps>
    pub scopes: Option<Vec<String>>,
    /// When it expires, in GitHub's words; None: never.
    pub expires: Option<String>,
    /// And in how many days, by GitHub's clock.
    pub days_left: Option<i64>,
}

impl AboutToken {
    fn read(headers: &HeaderMap) -> AboutToken {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let list = |text: String| text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
        let expires = text("github-authentication-token-expiration");
        let at = expires.as_deref().and_then(|at| NaiveDateTime::parse_from_str(at.get(..19)?, "%Y-%m-%d %H:%M:%S").ok());
        let days_left = at.map(|at| (at.and_utc().timestamp() - limits::server_now(headers)).div_euclid(86_400));
        AboutToken { scopes: text("x-oauth-scopes").map(list), expires, days_left }
    }
}

#[derive(Deserialize)]
struct RateAnswer {
    resources: Resources,
}

#[derive(Deserialize)]
struct Resources {
    core: Rate,
    /// Older servers do not count it apart.
    actions_runner_registration: Option<Rate>,
}

impl GitHub {
    /// The App, as it says of itself.
    pub async fn about(&self, app: &AppName) -> Result<About, Failure> {
        let call = as_app("github.GetApp", "/app".into(), format!("look at App `{app}`"));
        self.app(app, &call)?.call_as_app(&call).await?.json(&call)
    }

    /// The App's webhook; None: it has none.
    /// <https://docs.github.com/en/rest/apps/webhooks#get-a-webhook-configuration-for-an-app>
    pub async fn hook(&self, app: &AppName) -> Result<Option<Hook>, Failure> {
        let call = as_app("github.GetHook", "/app/hook/config".into(), format!("look at the webhook of App `{app}`"));
        match self.app(app, &call)?.call_as_app(&call).await {
            Err(rejected) if rejected.failure.kind == FailureKind::NotFound => Ok(None),
            answer => Ok(Some(answer?.json(&call)?)),
        }
    }

    /// The last attempts to deliver its webhook, newest first, successful ones included: 30 at most.
    pub async fn attempts(&self, app: &AppName) -> Result<Vec<Attempt>, Failure> {
        let what = format!("list the last webhook deliveries of App `{app}`");
        let call = as_app("github.ListDeliveries", "/app/hook/deliveries?per_page=30".into(), what);
        match self.app(app, &call)?.call_as_app(&call).await {
            Err(rejected) if rejected.failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            answer => Ok(answer?.json(&call)?),
        }
    }

    /// The App's installation where a pool's runners register.
    pub async fn installation(&self, forge: &Forge) -> Result<Installation, Failure> {
        let what = format!("look at the installation of App `{}` for {}", forge.app, forge.scope);
        let mut call = as_app("github.GetInstallation", String::new(), what);
        let app = self.app(&forge.app, &call)?;
        call.path = format!("/app/installations/{}", app.find_installation(&forge.scope).await?);
        app.call_as_app(&call).await?.json(&call)
    }

    /// A personal access token. What is asked for costs nothing.
    pub async fn about_token(&self, name: &AppName) -> Result<AboutToken, Failure> {
        let call =
            Call::new("github.GetRateLimit", Method::GET, "/rate_limit", format!("look at the token of GitHubToken `{name}`"));
        // A token is the same everywhere.
        let answer = self.app(name, &call)?.call(&Scope::default(), &call).await?;
        Ok(AboutToken::read(&answer.headers))
    }

    /// How much may still be asked in this hour, and how much of configurations if they are counted apart. Asking costs nothing.
    /// <https://docs.github.com/en/rest/rate-limit/rate-limit>
    pub async fn rate(&self, forge: &Forge) -> Result<(Rate, Option<Rate>), Failure> {
        let what = format!("ask how many requests are left for {}", forge.scope);
        let call = Call::new("github.GetRateLimit", Method::GET, "/rate_limit", what);
        let answer: RateAnswer = self.app(&forge.app, &call)?.call(&forge.scope, &call).await?.json(&call)?;
        Ok((answer.resources.core, answer.resources.actions_runner_registration))
    }
}

fn as_app(api: &'static str, path: String, what: String) -> Call {
    Call { identity: Identity::App, ..Call::new(api, Method::GET, path, what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_scopes_and_its_end_are_read_from_the_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(AboutToken::read(&headers), AboutToken::default());
        for (name, value) in [
            ("x-oauth-scopes", "manage_runners:enterprise, repo"),
            ("github-authentication-token-expiration", "2026-12-24 10:00:00 UTC"),
            ("date", "Sun, 29 Nov 2026 10:00:00 GMT"),
        ] {
            headers.insert(name, value.parse().expect("value"));
        }
        let about = AboutToken::read(&headers);
        assert_eq!(about.scopes, Some(vec!["manage_runners:enterprise".to_owned(), "repo".to_owned()]));
        assert_eq!((about.days_left, about.expires.as_deref()), (Some(25), Some("2026-12-24 10:00:00 UTC")));
        headers.insert("x-oauth-scopes", "".parse().expect("value"));
        assert_eq!(AboutToken::read(&headers).scopes, Some(Vec::new()), "a classic token that may nothing");
    }
}
