//! GitHub: one client for each GitHub App or token, through octocrab. An adapter translates the core's types into requests, and
//! GitHub's answers into the core's types. An adapter decides nothing. It repeats a request only in three cases, in which
//! GitHub's own contract asks for it within one piece of work:
//!
//! - GitHub refused a token, which may have expired;
//! - a runner group has another id than before;
//! - a stale registration holds the name that a new one needs.
//!
//! All other retries, the budgets and the pace belong to the core.
//!
//! octocrab is used as an HTTP client only, because muster itself has to read status codes and headers: ETags, rate limits and
//! `retry-after`.

#![forbid(unsafe_code)]

pub mod about;
mod app;
mod deliveries;
pub mod field;
mod held;
mod jobs;
mod limits;
pub mod releases;
mod runners;
mod runs;
mod statuses;

#[cfg(fuzzing)]
pub mod fuzzed;

#[cfg(test)]
mod fake;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use muster_reconciler::effect::GitHubLimit;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::AppName;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use app::App;
use muster_operations::observer::Observer;
pub use runners::{AnyRunner, FoundGroup};

/// The longest wait for a TCP and TLS connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for a whole answer, connection included. GitHub itself gives up after 10 s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer that is read, in bytes. A page of 100 runners with 100 labels each takes about 1 MB.
const ANSWER_MAX: usize = 8 << 20;

/// Who muster is at GitHub: the manifest of a GitHubApp or a GitHubToken, with its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name of the manifest. A list (`ListId`) refers to this name.
    pub name: AppName,
    /// The URL of the REST API: `https://api.github.com`, or `https://HOST/api/v3` for GitHub Enterprise Server.
    pub api_url: String,
    /// The secret that proves to GitHub who muster is.
    pub proof: Proof,
}

/// The secret that proves to GitHub who muster is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// The id of an App, and its private key in PEM form (PKCS#1, as GitHub hands it out, or PKCS#8).
    App(u64, SecretString),
    /// A personal access token (classic).
    Token(SecretString),
}

impl PartialEq for Proof {
    fn eq(&self, other: &Proof) -> bool {
        let same = |a: &SecretString, b: &SecretString| a.expose_secret() == b.expose_secret();
        match (self, other) {
            (Proof::App(id, key), Proof::App(other_id, other_key)) => id == other_id && same(key, other_key),
            (Proof::Token(token), Proof::Token(other)) => same(token, other),
            _ => false,
        }
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Credentials) -> bool {
        (&self.name, &self.api_url, &self.proof) == (&other.name, &other.api_url, &other.proof)
    }
}

/// The clients of all Apps and tokens, with what they remember: installation tokens, ids of runner groups, and lists. A clone is
/// cheap.
#[derive(Clone)]
pub struct GitHub(Arc<Inner>);

struct Inner {
    apps: BTreeMap<AppName, App>,
    groups: runners::Groups,
    lists: runners::Lists,
    windows: deliveries::Windows,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub").field("apps", &self.0.apps.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl GitHub {
    /// Makes the clients and sends nothing. This function must be called within a tokio runtime, because octocrab starts a task
    /// for each client.
    ///
    /// What GitHub says of its rate limits goes to `limits`. `observer` is told of every request.
    ///
    /// # Errors
    ///
    /// When a private key is no RSA key in PEM form, or an API URL is no URL. The error names the App and never contains the key.
    pub fn new(all: Vec<Credentials>, limits: UnboundedSender<GitHubLimit>, observer: Observer) -> anyhow::Result<GitHub> {
        GitHub::with_timeout(all, limits, observer, REQUEST_TIMEOUT)
    }

    /// The same as [`GitHub::new`], with another longest wait for an answer.
    pub fn with_timeout(
        all: Vec<Credentials>,
        limits: UnboundedSender<GitHubLimit>,
        observer: Observer,
        timeout: Duration,
    ) -> anyhow::Result<GitHub> {
        let apps = all
            .into_iter()
            .map(|one| Ok((one.name.clone(), App::new(one, limits.clone(), observer.clone(), timeout)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(GitHub(Arc::new(Inner {
            apps,
            groups: runners::Groups::default(),
            lists: runners::Lists::default(),
            windows: deliveries::Windows::default(),
        })))
    }

    fn app(&self, name: &AppName, call: &ApiCall) -> Result<&App, Failure> {
        self.0.apps.get(name).ok_or_else(|| {
            let message = format!(
                "{}: there is no GitHubApp or GitHubToken `{name}`; add its manifest, or correct the pool's spec.github",
                call.what
            );
            Failure::new(FailureKind::Refused, message)
        })
    }
}

/// The identity that a request has at GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// The App itself, by a JWT: to find installations, to get their tokens, and for the App's own webhook.
    App,
    /// The App's installation on an account, by an installation token, or the owner of a personal access token: for everything
    /// else.
    Installation,
}

/// One request, and the words that describe it.
#[derive(Debug)]
struct ApiCall {
    /// The request's name in metrics, such as `github.ListRunners`.
    api: &'static str,
    identity: Identity,
    method: Method,
    /// The path and the query, below the API's URL.
    path: String,
    body: Option<Value>,
    /// The ETag of the answer that muster remembers.
    etag: Option<String>,
    /// What is attempted, and on what. The text fits after "failed to".
    what: String,
    /// What the request needs: the permission of an App, or the scope of a token.
    needs: &'static str,
    /// Whether the request configures a runner. GitHub may count such requests against a limit of their own.
    configures: bool,
}

impl ApiCall {
    fn new(api: &'static str, method: Method, path: impl Into<String>, what: impl Into<String>) -> ApiCall {
        ApiCall {
            api,
            identity: Identity::Installation,
            method,
            path: path.into(),
            body: None,
            etag: None,
            what: what.into(),
            needs: "a permission that it lacks",
            configures: false,
        }
    }
}

/// A success, or a 304 to a request with an ETag. It may hold a secret, so it has no `Debug`.
struct GoodAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl GoodAnswer {
    /// Reads the body. An error quotes nothing of the body, because the body may hold a secret.
    fn json<T: DeserializeOwned>(&self, call: &ApiCall) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = format!(
                "{}: GitHub answered {} with something else than its API describes (line {line}, column {column}); check that \
                 spec.apiUrl leads to GitHub's REST API and not to a proxy's page",
                call.what, self.status
            );
            Failure::new(FailureKind::Ambiguous, message)
        })
    }
}

/// A request that did not succeed: the failure for the core, and the status if GitHub answered.
#[derive(Debug)]
struct Rejected {
    status: Option<StatusCode>,
    failure: Failure,
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        rejected.failure
    }
}

/// The failure of a request that only prepared another one. Without an answer to the first request, the other was certainly not
/// sent, so `Ambiguous` becomes `Unavailable`.
fn preparing(mut failure: Failure) -> Failure {
    if failure.kind == FailureKind::Ambiguous {
        failure.kind = FailureKind::Unavailable;
    }
    failure
}
