//! One GitHub App with its JWT, its installations and their tokens, or one personal access token. Every request to the API is
//! sent here.
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
use muster_operations::observer::{Ended, Observer};
use muster_reconciler::effect::GitHubLimit;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, Payer, Scope};
use octocrab::models::AppId;
use octocrab::{EncodingKey, Octocrab};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::held::{Got, Held};
use super::limits::{self, Reporter};
use super::{ANSWER_MAX, ApiCall, CONNECT_TIMEOUT, Credentials, GoodAnswer, Identity, Proof, Rejected, preparing};

/// How long before its end a token is no longer used, so that no token expires while a request is under way.
const TOKEN_MARGIN: Duration = Duration::from_secs(300);

/// The client of one App or of one personal access token.
pub(super) struct App {
    name: AppName,
    authority: Authority,
    http: Octocrab,
    /// The part of the URL before every path, such as `/api/v3`.
    prefix: String,
    /// The URL of GitHub's web pages, which people open in a browser.
    web_url: String,
    timeout: Duration,
    limits: Reporter,
    observer: Observer,
}

/// The credential that requests are sent with.
enum Authority {
    /// An App sends a request as itself, or with the token of one of its installations.
    App {
        id: AppId,
        key: EncodingKey,
        /// The tokens by account, because an App has at most one installation on each account.
        tokens: Mutex<BTreeMap<String, Arc<Held<InstallationToken>>>>,
    },
    /// A personal access token, which serves every request.
    Token(SecretString),
}

#[derive(Clone)]
struct InstallationToken {
    installation: u64,
    secret: SecretString,
    good_until: Instant,
}

#[derive(Deserialize)]
struct InstallationRow {
    id: u64,
}

#[derive(Deserialize)]
struct NewToken {
    token: String,
    expires_at: String,
}

impl App {
    pub fn new(
        credentials: Credentials,
        limits: UnboundedSender<GitHubLimit>,
        observer: Observer,
        timeout: Duration,
    ) -> anyhow::Result<App> {
        let Credentials { name, api_url, proof } = credentials;
        let kind = if matches!(proof, Proof::App(..)) { "GitHubApp" } else { "GitHubToken" };
        let authority = Authority::of(&name, proof)?;
        let url: Uri = api_url.parse().ok().filter(|url: &Uri| url.authority().is_some()).with_context(|| {
            format!(
                "read spec.apiUrl of {kind} `{name}`: `{api_url}` is no URL; write https://api.github.com, or https://HOST/api/v3"
            )
        })?;
        let (scheme, host) = (url.scheme_str().unwrap_or("https"), url.authority().map_or("", |a| a.as_str()));
        let prefix = url.path().trim_end_matches('/').to_owned();
        let http = Octocrab::builder()
            .base_uri(format!("{scheme}://{host}"))
            .and_then(|builder| builder.set_connect_timeout(Some(CONNECT_TIMEOUT)).build())
            .with_context(|| format!("make an HTTPS client for {kind} `{name}`; are the system's CA certificates installed?"))?;
        // The web pages of https://api.github.com and https://api.TENANT.ghe.com are at the same host without `api.`.
        let web_host = if prefix.is_empty() { host.strip_prefix("api.").unwrap_or(host) } else { host };
        let web_url = format!("{scheme}://{web_host}{}", prefix.strip_suffix("/api/v3").unwrap_or(&prefix));
        let limits = Reporter::new(limits);
        Ok(App { name, authority, http, prefix, web_url, timeout, limits, observer })
    }

    /// The URL of a scope's page. The option `--url` of `config.sh` takes this URL.
    pub fn web_url(&self, scope: &Scope) -> String {
        match scope {
            Scope::Org(org) => format!("{}/{org}", self.web_url),
            Scope::Repo(owner, repo) => format!("{}/{owner}/{repo}", self.web_url),
            Scope::Enterprise(slug) => format!("{}/enterprises/{slug}", self.web_url),
        }
    }

    /// Sends a request with the personal access token, or with the token of the installation that covers `scope`. If GitHub
    /// refuses an installation token, the token is dropped, and the request is sent once more with a new one.
    pub async fn call(&self, scope: &Scope, call: &ApiCall) -> Result<GoodAnswer, Rejected> {
        let tokens = match &self.authority {
            Authority::Token(token) => return self.send(call, &Payer::itself(&self.name), token).await,
            Authority::App { tokens, .. } => tokens,
        };
        let account = match scope {
            Scope::Org(owner) | Scope::Repo(owner, _) => owner.to_lowercase(),
            Scope::Enterprise(_) => return Err(self.not_for_apps(scope, call)),
        };
        let payer = Payer::installation(&self.name, &account);
        let held = tokens.lock().unwrap_or_else(PoisonError::into_inner).entry(account).or_default().clone();
        let Got { value: token, serial, .. } = self.token(&held, scope, call).await?;
        match self.send(call, &payer, &token.secret).await {
            // A token that is new is replaced, too: it may take a moment until all of GitHub's servers know a token.
            Err(rejected) if rejected.status == Some(StatusCode::UNAUTHORIZED) => {
                held.give_up(serial).await;
                let token = self.token(&held, scope, call).await?.value;
                self.send(call, &payer, &token.secret).await
            }
            answer => answer,
        }
    }

    /// The refusal for an App that is to manage an enterprise's runners, because GitHub's enterprise endpoints refuse
    /// installation tokens. `muster validate` refuses such a manifest, but an instance may be left from an earlier manifest.
    /// <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>
    fn not_for_apps(&self, scope: &Scope, call: &ApiCall) -> Rejected {
        let message = format!(
            "{}: GitHub lets no App, and so not App `{}`, manage the runners of {scope}; name a GitHubToken in spec.github.token",
            call.what, self.name
        );
        Rejected { status: None, failure: Failure::new(FailureKind::Refused, message) }
    }

    async fn token(
        &self,
        held: &Held<InstallationToken>,
        scope: &Scope,
        call: &ApiCall,
    ) -> Result<Got<InstallationToken>, Rejected> {
        let good = |token: &InstallationToken| Instant::now() < token.good_until;
        held.get(good, async |old| self.fetch_token(scope, old.map(|token| token.installation)).await).await.map_err(|failure| {
            let failure = Failure { message: format!("{}: {}", call.what, failure.message), ..preparing(failure) };
            Rejected { status: None, failure }
        })
    }

    async fn fetch_token(&self, scope: &Scope, known: Option<u64>) -> Result<InstallationToken, Failure> {
        let installation = match known {
            Some(id) => id,
            None => self.find_installation(scope).await?,
        };
        match self.exchange(scope, installation).await {
            // The App was uninstalled and installed again: the account is the same, and the installation has a new id.
            Err(gone) if gone.status == Some(StatusCode::NOT_FOUND) && known.is_some() => {
                Ok(self.exchange(scope, self.find_installation(scope).await?).await?)
            }
            other => Ok(other?),
        }
    }

    async fn exchange(&self, scope: &Scope, installation: u64) -> Result<InstallationToken, Rejected> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let what = format!("get an installation token of App `{}` for {scope}", self.name);
        let call =
            ApiCall { identity: Identity::App, ..ApiCall::new("github.CreateInstallationToken", Method::POST, path, what) };
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
        Ok(InstallationToken { installation, secret, good_until: Instant::now() + life.saturating_sub(TOKEN_MARGIN) })
    }

    /// The id of the App's installation on the account of `scope`.
    /// <https://docs.github.com/en/rest/apps/apps>
    pub async fn find_installation(&self, scope: &Scope) -> Result<u64, Failure> {
        let what = format!("find the installation of App `{}` for {scope}", self.name);
        let call =
            |path| ApiCall { identity: Identity::App, ..ApiCall::new("github.GetInstallation", Method::GET, path, what.clone()) };
        let call = match scope {
            Scope::Org(org) => call(format!("/orgs/{org}/installation")),
            Scope::Repo(owner, repo) => call(format!("/repos/{owner}/{repo}/installation")),
            Scope::Enterprise(_) => return Err(self.not_for_apps(scope, &call(String::new())).failure),
        };
        match self.call_as_app(&call).await {
            Ok(answer) => Ok(answer.json::<InstallationRow>(&call)?.id),
            // What GitHub did not find is the App's installation. No retry helps until somebody installs the App, so the kind is
            // `Refused`.
            Err(Rejected { failure, .. }) if failure.kind == FailureKind::NotFound => {
                Err(Failure { kind: FailureKind::Refused, ..failure })
            }
            Err(rejected) => Err(rejected.failure),
        }
    }

    /// Sends a request as the App itself.
    pub async fn call_as_app(&self, call: &ApiCall) -> Result<GoodAnswer, Rejected> {
        let Authority::App { id, key, .. } = &self.authority else {
            let message = format!("{}: GitHub offers that to Apps only, and `{}` is a GitHubToken", call.what, self.name);
            return Err(Rejected { status: None, failure: Failure::new(FailureKind::Refused, message) });
        };
        let jwt = octocrab::auth::create_jwt(*id, key).map_err(|error| {
            let message = format!("{}: sign with the private key of GitHubApp `{}`: {error}", call.what, self.name);
            Rejected { status: None, failure: Failure::new(FailureKind::Refused, message) }
        })?;
        self.send(call, &Payer::itself(&self.name), &SecretString::from(jwt)).await
    }

    /// Sends one request, once. Every request passes here, so that rate limits are respected and read, and the observer is told.
    async fn send(&self, call: &ApiCall, payer: &Payer, bearer: &SecretString) -> Result<GoodAnswer, Rejected> {
        // The core respects the limits of the requests that it asks for. A request that prepares such a one, as for a token, may
        // count against another limit, so muster checks each request here.
        if let Some(wait) = self.limits.barred(payer, call) {
            return Err(Rejected { status: None, failure: limits::waits(call, payer, wait) });
        }
        let started = Instant::now();
        let result = match tokio::time::timeout(self.timeout, self.exchange_bytes(call, bearer)).await {
            Ok(result) => result,
            Err(_) => Err(unanswered(call, FailureKind::Ambiguous, &format!("no answer within {}s", self.timeout.as_secs_f32()))),
        };
        let result =
            result.map_err(|failure| Rejected { status: None, failure }).and_then(|answer| self.judge(call, payer, answer));
        let ended = match &result {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Ended::NotModified,
            Ok(_) => Ended::Ok,
            Err(rejected) => Ended::Failed(rejected.failure.kind),
        };
        (self.observer)(call.api, ended, started.elapsed());
        tracing::trace!(api = call.api, app = %self.name, outcome = ended.as_str(), elapsed_ms = started.elapsed().as_millis(), "asked GitHub");
        result
    }

    async fn exchange_bytes(&self, call: &ApiCall, bearer: &SecretString) -> Result<GoodAnswer, Failure> {
        let request = self.request(call, bearer).map_err(|error| {
            let message = format!("{}: the request cannot be written: {error}", call.what);
            Failure::new(FailureKind::Refused, message)
        })?;
        let response = self.http.execute(request).await.map_err(|error| disconnected(call, &error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| disconnected(call, error.as_ref()))?;
        Ok(GoodAnswer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    fn request(&self, call: &ApiCall, bearer: &SecretString) -> Result<Request<String>, http::Error> {
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

    fn judge(&self, call: &ApiCall, payer: &Payer, answer: GoodAnswer) -> Result<GoodAnswer, Rejected> {
        let unchanged = answer.status == StatusCode::NOT_MODIFIED && call.etag.is_some();
        let result = if answer.status.is_success() || unchanged {
            Ok(answer)
        } else {
            let failure = limits::failure(call, &self.name, matches!(self.authority, Authority::Token(_)), &answer);
            if failure.kind == FailureKind::Throttled {
                self.limits.throttled(payer, call, &answer, failure.retry_after.unwrap_or_default());
                return Err(Rejected { status: Some(answer.status), failure });
            }
            Err((answer, failure))
        };
        let (Ok(answer) | Err((answer, _))) = &result;
        self.limits.heard(payer, call, &answer.headers);
        result.map_err(|(answer, failure)| Rejected { status: Some(answer.status), failure })
    }
}

impl Authority {
    /// Checks an App's key. The error does not contain its cause, because nothing of the key may get into a log.
    fn of(name: &AppName, proof: Proof) -> anyhow::Result<Authority> {
        let (id, key) = match proof {
            Proof::App(id, key) => (AppId::from(id), key),
            Proof::Token(token) => return Ok(Authority::Token(token)),
        };
        // One test signature finds a key that can be parsed but cannot sign.
        let key = EncodingKey::from_rsa_pem(key.expose_secret().as_bytes())
            .and_then(|key| octocrab::auth::create_jwt(id, &key).map(|_| key))
            .map_err(|_| {
                anyhow::anyhow!(
                    "read the private key of GitHubApp `{name}`: it is no RSA private key in PEM form; generate one in the App's \
                     settings (\"Private keys\") and store the downloaded file, whole and unchanged, where spec.privateKey points"
                )
            })?;
        Ok(Authority::App { id, key, tokens: Mutex::default() })
    }
}

fn unanswered(call: &ApiCall, kind: FailureKind, cause: &str) -> Failure {
    Failure::new(kind, format!("{}: {cause}; check the way to spec.apiUrl and https://www.githubstatus.com", call.what))
}

fn disconnected(call: &ApiCall, error: &(dyn Error + 'static)) -> Failure {
    let (kind, said) = causes(error);
    unanswered(call, kind, &said)
}

/// Whether a failed request may have been sent, and all the causes of its failure in words. A connection that was refused, or
/// whose host was unreachable, carried no request: `Unavailable`. Any other connection may have carried it: `Ambiguous`.
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

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = answer.json::<InstallationRow>(call);
    let _ = answer.json::<NewToken>(call);
}

#[cfg(test)]
mod tests;
