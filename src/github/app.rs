//! One GitHub App: its JWT, its installations and their tokens, and the one place where requests are sent.
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation>

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::DateTime;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use muster_reconciler::effect::{Failure, FailureKind, GitHubLimit};
use muster_reconciler::ids::{AppName, Scope};
use octocrab::models::AppId;
use octocrab::{EncodingKey, Octocrab};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::held::{Got, Held};
use super::limits::{self, Reporter};
use super::{ANSWER_MAX, Answer, AppCredentials, CONNECT_TIMEOUT, Call, Identity, Observer, Rejected, preparing};

/// A token is given up this long before it expires, so that no request is under way with one that just did.
const TOKEN_MARGIN: Duration = Duration::from_secs(300);
/// Pages of installations at most: 10,000 accounts.
const INSTALLATION_PAGES: u32 = 100;

/// One App's client.
pub(super) struct App {
    name: AppName,
    id: AppId,
    key: EncodingKey,
    http: Octocrab,
    /// What comes before every path, such as `/api/v3`.
    prefix: String,
    /// Where people see what the API shows.
    web_url: String,
    timeout: Duration,
    limits: Reporter,
    observer: Observer,
    /// By account, since an App has at most one installation on each: `acme`, `acme/` for the enterprise of that name.
    tokens: Mutex<BTreeMap<String, Arc<Held<Token>>>>,
}

#[derive(Clone)]
struct Token {
    installation: u64,
    secret: SecretString,
    good_until: Instant,
}

#[derive(Deserialize)]
struct InstallationRow {
    id: u64,
    account: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    /// Enterprises have a slug, all others a login.
    slug: Option<String>,
}

#[derive(Deserialize)]
struct NewToken {
    token: String,
    expires_at: String,
}

impl App {
    pub fn new(
        app: AppCredentials,
        limits: UnboundedSender<GitHubLimit>,
        observer: Observer,
        timeout: Duration,
    ) -> anyhow::Result<App> {
        let (name, id) = (app.name, AppId::from(app.app_id));
        // Signing once finds keys that parse but cannot sign. The cause is left out: nothing of the key may get into a log.
        let key = EncodingKey::from_rsa_pem(app.private_key.expose_secret().as_bytes())
            .and_then(|key| octocrab::auth::create_jwt(id, &key).map(|_| key))
            .map_err(|_| {
                anyhow::anyhow!(
                    "read the private key of GitHubApp `{name}`: it is no RSA private key in PEM form; generate one in the App's \
                     settings (\"Private keys\") and store the downloaded file, whole and unchanged, where spec.privateKey points"
                )
            })?;
        let url: Uri = app.api_url.parse().ok().filter(|url: &Uri| url.authority().is_some()).with_context(|| {
            format!(
                "read spec.apiUrl of GitHubApp `{name}`: `{}` is no URL; write https://api.github.com, or https://HOST/api/v3",
                app.api_url
            )
        })?;
        let (scheme, host) = (url.scheme_str().unwrap_or("https"), url.authority().map_or("", |a| a.as_str()));
        let prefix = url.path().trim_end_matches('/').to_owned();
        let http = Octocrab::builder()
            .base_uri(format!("{scheme}://{host}"))
            .and_then(|builder| builder.set_connect_timeout(Some(CONNECT_TIMEOUT)).build())
            .with_context(|| {
                format!("make an HTTPS client for GitHubApp `{name}`; are the system's CA certificates installed?")
            })?;
        // https://api.github.com and https://api.TENANT.ghe.com are shown at the same host without `api.`.
        let web_host = if prefix.is_empty() { host.strip_prefix("api.").unwrap_or(host) } else { host };
        let web_url = format!("{scheme}://{web_host}{}", prefix.strip_suffix("/api/v3").unwrap_or(&prefix));
        let limits = Reporter::new(name.clone(), limits);
        Ok(App { name, id, key, http, prefix, web_url, timeout, limits, observer, tokens: Mutex::default() })
    }

    /// The page of a scope: what `config.sh --url` wants.
    pub fn web_url(&self, scope: &Scope) -> String {
        match scope {
            Scope::Org(org) => format!("{}/{org}", self.web_url),
            Scope::Repo(owner, repo) => format!("{}/{owner}/{repo}", self.web_url),
            Scope::Enterprise(slug) => format!("{}/enterprises/{slug}", self.web_url),
        }
    }

    /// Sends a request with the token of the installation that covers `scope`. A refused token is dropped and the request
    /// sent once more with a new one.
    pub async fn call(&self, scope: &Scope, call: &Call) -> Result<Answer, Rejected> {
        let held = self.held(scope);
        let Got { value: token, serial, .. } = self.token(&held, scope, call).await?;
        match self.send(call, &token.secret).await {
            // A brand-new token too: GitHub may take a moment to know it everywhere.
            Err(rejected) if rejected.status == Some(StatusCode::UNAUTHORIZED) => {
                held.give_up(serial).await;
                let token = self.token(&held, scope, call).await?.value;
                self.send(call, &token.secret).await
            }
            answer => answer,
        }
    }

    fn held(&self, scope: &Scope) -> Arc<Held<Token>> {
        let account = match scope {
            Scope::Org(owner) | Scope::Repo(owner, _) => owner.to_lowercase(),
            Scope::Enterprise(slug) => format!("{}/", slug.to_lowercase()),
        };
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).entry(account).or_default().clone()
    }

    async fn token(&self, held: &Held<Token>, scope: &Scope, call: &Call) -> Result<Got<Token>, Rejected> {
        let good = |token: &Token| Instant::now() < token.good_until;
        held.get(good, async |old| self.fetch_token(scope, old.map(|token| token.installation)).await).await.map_err(|failure| {
            let failure = Failure { message: format!("{}: {}", call.what, failure.message), ..preparing(failure) };
            Rejected { status: None, failure }
        })
    }

    async fn fetch_token(&self, scope: &Scope, known: Option<u64>) -> Result<Token, Failure> {
        let installation = match known {
            Some(id) => id,
            None => self.find_installation(scope).await?,
        };
        match self.exchange(scope, installation).await {
            // Uninstalled and installed again: same account, new id.
            Err(gone) if gone.status == Some(StatusCode::NOT_FOUND) && known.is_some() => {
                Ok(self.exchange(scope, self.find_installation(scope).await?).await?)
            }
            other => Ok(other?),
        }
    }

    async fn exchange(&self, scope: &Scope, installation: u64) -> Result<Token, Rejected> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let what = format!("get an installation token of App `{}` for {scope}", self.name);
        let call = Call { identity: Identity::App, ..Call::new("github.CreateInstallationToken", Method::POST, path, what) };
        let answer = self.call_as_app(&call).await?;
        let status = Some(answer.status);
        let NewToken { token, expires_at } = answer.json(&call).map_err(|failure| Rejected { status, failure })?;
        let secret = SecretString::from(token);
        let expires = DateTime::parse_from_rfc3339(&expires_at).map_err(|error| {
            let message = format!("{}: GitHub says that it expires at `{expires_at}`, which is no time ({error})", call.what);
            Rejected { status, failure: Failure::new(FailureKind::Refused, message) }
        })?;
        let life = expires.timestamp().saturating_sub(limits::server_now(&answer.headers));
        let life = Duration::from_secs(u64::try_from(life).unwrap_or(0)).min(Duration::from_secs(3600));
        tracing::debug!(app = %self.name, %scope, installation, life_seconds = life.as_secs(), "got an installation token");
        Ok(Token { installation, secret, good_until: Instant::now() + life.saturating_sub(TOKEN_MARGIN) })
    }

    /// <https://docs.github.com/en/rest/apps/apps>; enterprises are found in the list of all installations.
    pub async fn find_installation(&self, scope: &Scope) -> Result<u64, Failure> {
        let what = format!("find the installation of App `{}` for {scope}", self.name);
        let as_app =
            |path| Call { identity: Identity::App, ..Call::new("github.GetInstallation", Method::GET, path, what.clone()) };
        let call = match scope {
            Scope::Org(org) => as_app(format!("/orgs/{org}/installation")),
            Scope::Repo(owner, repo) => as_app(format!("/repos/{owner}/{repo}/installation")),
            Scope::Enterprise(slug) => return self.find_enterprise(slug, as_app).await,
        };
        match self.call_as_app(&call).await {
            Ok(answer) => Ok(answer.json::<InstallationRow>(&call)?.id),
            // Not the thing that was asked for is missing, but the App: nothing helps until somebody installs it.
            Err(Rejected { failure, .. }) if failure.kind == FailureKind::NotFound => {
                Err(Failure { kind: FailureKind::Refused, ..failure })
            }
            Err(rejected) => Err(rejected.failure),
        }
    }

    async fn find_enterprise(&self, slug: &str, as_app: impl Fn(String) -> Call) -> Result<u64, Failure> {
        for page in 1..=INSTALLATION_PAGES {
            let call = as_app(format!("/app/installations?per_page=100&page={page}"));
            let answer = self.call_as_app(&call).await?;
            let rows: Vec<InstallationRow> = answer.json(&call)?;
            let last = rows.len() < 100;
            let is_it = |account: &Account| account.slug.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(slug));
            if let Some(row) = rows.into_iter().find(|row| row.account.as_ref().is_some_and(is_it)) {
                return Ok(row.id);
            }
            if last {
                break;
            }
        }
        let what = as_app(String::new()).what;
        let message = format!(
            "{what}: none of its installations is on that enterprise; install the App on the enterprise, or correct \
             spec.github.scope"
        );
        Err(Failure::new(FailureKind::Refused, message))
    }

    /// Sends a request as the App itself.
    pub async fn call_as_app(&self, call: &Call) -> Result<Answer, Rejected> {
        let jwt = octocrab::auth::create_jwt(self.id, &self.key).map_err(|error| {
            let message = format!("{}: sign with the private key of GitHubApp `{}`: {error}", call.what, self.name);
            Rejected { status: None, failure: Failure::new(FailureKind::Refused, message) }
        })?;
        self.send(call, &SecretString::from(jwt)).await
    }

    /// Sends one request, once. Every request passes here: limits are read, the observer is told.
    async fn send(&self, call: &Call, bearer: &SecretString) -> Result<Answer, Rejected> {
        let started = Instant::now();
        let result = match tokio::time::timeout(self.timeout, self.exchange_bytes(call, bearer)).await {
            Ok(result) => result,
            Err(_) => Err(unanswered(call, FailureKind::Ambiguous, &format!("no answer within {}s", self.timeout.as_secs_f32()))),
        };
        let result = result.map_err(|failure| Rejected { status: None, failure }).and_then(|answer| self.judge(call, answer));
        let outcome = match &result {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => "not_modified",
            Ok(_) => "ok",
            Err(rejected) => rejected.failure.kind.as_str(),
        };
        (self.observer)(call.api, outcome, started.elapsed());
        tracing::trace!(api = call.api, app = %self.name, outcome, elapsed_ms = started.elapsed().as_millis(), "asked GitHub");
        result
    }

    async fn exchange_bytes(&self, call: &Call, bearer: &SecretString) -> Result<Answer, Failure> {
        let request = self.request(call, bearer).map_err(|error| {
            let message = format!("{}: the request cannot be written: {error}", call.what);
            Failure::new(FailureKind::Refused, message)
        })?;
        let response = self.http.execute(request).await.map_err(|error| disconnected(call, &error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| disconnected(call, error.as_ref()))?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    fn request(&self, call: &Call, bearer: &SecretString) -> Result<Request<String>, http::Error> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", bearer.expose_secret()))?;
        authorization.set_sensitive(true);
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.prefix, call.path))
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        if let Some(etag) = &call.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        match &call.body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request.body(String::new()),
        }
    }

    fn judge(&self, call: &Call, answer: Answer) -> Result<Answer, Rejected> {
        let unchanged = answer.status == StatusCode::NOT_MODIFIED && call.etag.is_some();
        let result = if answer.status.is_success() || unchanged {
            Ok(answer)
        } else {
            let failure = limits::failure(call, &self.name, &answer);
            if failure.kind == FailureKind::Throttled {
                self.limits.throttled(failure.retry_after.unwrap_or_default());
                return Err(Rejected { status: Some(answer.status), failure });
            }
            Err((answer, failure))
        };
        // The App's own limit is not the one that its work is counted against.
        if call.identity == Identity::Installation {
            self.limits.heard(match &result {
                Ok(answer) | Err((answer, _)) => &answer.headers,
            });
        }
        result.map_err(|(answer, failure)| Rejected { status: Some(answer.status), failure })
    }
}

fn unanswered(call: &Call, kind: FailureKind, cause: &str) -> Failure {
    Failure::new(kind, format!("{}: {cause}; check the way to spec.apiUrl and https://www.githubstatus.com", call.what))
}

fn disconnected(call: &Call, error: &(dyn Error + 'static)) -> Failure {
    let (kind, said) = causes(error);
    unanswered(call, kind, &said)
}

/// A connection that never came about carried nothing; one that was lost may have. With all causes in words.
pub(super) fn causes(error: &(dyn Error + 'static)) -> (FailureKind, String) {
    let mut kind = FailureKind::Ambiguous;
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(io.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
        {
            kind = FailureKind::Unavailable;
        }
        let words = error.to_string();
        if said.last().is_none_or(|last| !last.ends_with(&words)) {
            said.push(words);
        }
        next = error.source();
    }
    (kind, said.join(": "))
}

#[cfg(test)]
mod tests;
