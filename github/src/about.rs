//! What GitHub says of an App (its permissions, events, webhook and installations) and of a token. Only `muster doctor` asks
//! this.
//! <https://docs.github.com/en/rest/apps/apps> and <https://docs.github.com/en/rest/apps/webhooks>

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use http::{HeaderMap, Method};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, ListId, Scope};
use serde::Deserialize;
use serde_json::Value;

use super::{ApiCall, GitHub, Identity, limits};

/// An App, as GitHub describes it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AppDescription {
    /// The name that people see.
    pub name: String,
    /// The URL of the App's page at GitHub.
    pub html_url: String,
    /// The permissions that the App asks of whoever installs it, each with `read`, `write` or `admin`.
    pub permissions: BTreeMap<String, String>,
    /// The names of the events that the App subscribes to, such as `workflow_job`.
    pub events: Vec<String>,
}

/// An App's webhook. Its secret is left out, because GitHub shows only a mask of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Hook {
    /// The URL that GitHub sends events to.
    pub url: Option<String>,
    /// The form of the body: `json` or `form`.
    pub content_type: Option<String>,
    /// `0`, as text or as a number, means that GitHub verifies the receiver's certificate.
    pub insecure_ssl: Option<Value>,
}

/// One attempt to deliver a webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct DeliveryAttempt {
    /// The time of the attempt, in RFC 3339.
    pub delivered_at: String,
    /// The HTTP status of the receiver's answer. Without an answer, GitHub puts a status of its own here.
    pub status_code: u16,
    /// How the attempt ended, in GitHub's words, such as `OK` or `failed to connect to host`.
    pub status: String,
    /// The event's name, such as `workflow_job`.
    pub event: String,
}

/// The App's installation on an account.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Installation {
    /// The installation's id at GitHub.
    pub id: u64,
    /// The page on which an owner of the account manages the installation.
    pub html_url: String,
    /// The permissions that the account granted, each with `read`, `write` or `admin`.
    pub permissions: BTreeMap<String, String>,
    /// The names of the events that the account granted.
    pub events: Vec<String>,
    /// Since when the installation is suspended. None: it is not suspended.
    pub suspended_at: Option<String>,
    /// Which repositories the App may use: `all` or `selected`.
    pub repository_selection: String,
}

/// How many requests of this hour are left, for one installation or token and one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RateLeft {
    /// The number of requests that GitHub admits in an hour.
    pub limit: u64,
    /// The number of requests that are left until GitHub resets the limit.
    pub remaining: u64,
}

/// What the headers of an answer say of the personal access token that the request had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutToken {
    /// The token's scopes. None: GitHub does not say, because the token is no classic one.
    /// <https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps>
    pub scopes: Option<Vec<String>>,
    /// When the token expires, in GitHub's format. None: it never expires.
    pub expires: Option<String>,
    /// In how many days the token expires, by GitHub's clock. A negative number means that the token has expired.
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
    core: RateLeft,
    /// None: an older server does not count configurations apart.
    actions_runner_registration: Option<RateLeft>,
}

impl GitHub {
    /// The App, as GitHub describes it.
    pub async fn about(&self, app: &AppName) -> Result<AppDescription, Failure> {
        let call = as_app("github.GetApp", "/app".into(), format!("look at App `{app}`"));
        self.app(app, &call)?.call_as_app(&call).await?.json(&call)
    }

    /// The App's webhook. None: the App has no webhook.
    /// <https://docs.github.com/en/rest/apps/webhooks#get-a-webhook-configuration-for-an-app>
    pub async fn hook(&self, app: &AppName) -> Result<Option<Hook>, Failure> {
        let call = as_app("github.GetHook", "/app/hook/config".into(), format!("look at the webhook of App `{app}`"));
        match self.app(app, &call)?.call_as_app(&call).await {
            Err(rejected) if rejected.failure.kind == FailureKind::NotFound => Ok(None),
            answer => Ok(Some(answer?.json(&call)?)),
        }
    }

    /// The last attempts to deliver the App's webhook, newest first and 30 at most. Successful attempts are included.
    pub async fn attempts(&self, app: &AppName) -> Result<Vec<DeliveryAttempt>, Failure> {
        let what = format!("list the last webhook deliveries of App `{app}`");
        let call = as_app("github.ListDeliveries", "/app/hook/deliveries?per_page=30".into(), what);
        match self.app(app, &call)?.call_as_app(&call).await {
            Err(rejected) if rejected.failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            answer => Ok(answer?.json(&call)?),
        }
    }

    /// The App's installation on the account of a list's scope.
    pub async fn installation(&self, list_id: &ListId) -> Result<Installation, Failure> {
        let what = format!("look at the installation of App `{}` for {}", list_id.app, list_id.scope);
        let mut call = as_app("github.GetInstallation", String::new(), what);
        let app = self.app(&list_id.app, &call)?;
        call.path = format!("/app/installations/{}", app.find_installation(&list_id.scope).await?);
        app.call_as_app(&call).await?.json(&call)
    }

    /// A personal access token. This request does not count against the token's rate limit.
    pub async fn about_token(&self, name: &AppName) -> Result<AboutToken, Failure> {
        let call =
            ApiCall::new("github.GetRateLimit", Method::GET, "/rate_limit", format!("look at the token of GitHubToken `{name}`"));
        // A token's scopes and expiry do not depend on the scope of the request.
        let answer = self.app(name, &call)?.call(&Scope::default(), &call).await?;
        Ok(AboutToken::read(&answer.headers))
    }

    /// How many requests are left in this hour. The second value is how many configurations are left; None if GitHub does not
    /// count them apart. This request does not count against the rate limit.
    /// <https://docs.github.com/en/rest/rate-limit/rate-limit>
    pub async fn rate(&self, list_id: &ListId) -> Result<(RateLeft, Option<RateLeft>), Failure> {
        let what = format!("ask how many requests are left for {}", list_id.scope);
        let call = ApiCall::new("github.GetRateLimit", Method::GET, "/rate_limit", what);
        let answer: RateAnswer = self.app(&list_id.app, &call)?.call(&list_id.scope, &call).await?.json(&call)?;
        Ok((answer.resources.core, answer.resources.actions_runner_registration))
    }
}

fn as_app(api: &'static str, path: String, what: String) -> ApiCall {
    ApiCall { identity: Identity::App, ..ApiCall::new(api, Method::GET, path, what) }
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = answer.json::<AppDescription>(call);
    let _ = answer.json::<Hook>(call);
    let _ = answer.json::<Vec<DeliveryAttempt>>(call);
    let _ = answer.json::<Installation>(call);
    let _ = answer.json::<RateAnswer>(call);
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
