//! GitHub: one client per GitHub App or token, through octocrab. An adapter turns the core's words into requests and answers into
//! the core's words; it decides nothing. It tries again only where GitHub's own contract asks for it within one piece of
//! work: a token that was refused, a runner group that moved, a stale registration in the way. All other retries,
//! budgets and the pace are the core's.
//!
//! octocrab is used as the HTTP client alone, because status and headers decide here: ETags, limits and `retry-after`.

pub mod about;
mod app;
mod deliveries;
pub mod field;
mod held;
mod jobs;
mod limits;
pub mod releases;
mod runners;

#[cfg(test)]
mod fake;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use muster_reconciler::effect::{Failure, FailureKind, GitHubLimit};
use muster_reconciler::ids::AppName;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use app::App;

use crate::observer::Observer;

/// Longest wait for a TCP and TLS connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer, connection included. GitHub itself gives up after 10 s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes. A page of 100 runners with 100 labels each is about 1 MB.
const ANSWER_MAX: usize = 8 << 20;

/// Who muster is at GitHub: a GitHubApp's or a GitHubToken's manifest with its secret fetched.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The manifest's name; forges refer to it.
    pub name: AppName,
    /// The REST API: `https://api.github.com`, or `https://HOST/api/v3` for GitHub Enterprise Server.
    pub api_url: String,
    /// What proves it.
    pub proof: Proof,
}

/// What proves to GitHub who muster is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// An App's id, and its private key in PEM (PKCS#1, as GitHub hands it out, or PKCS#8).
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

/// The clients of all Apps and tokens, with what they remember: tokens, runner groups, lists. Cheap to clone.
#[derive(Clone)]
pub struct GitHub(Arc<Inner>);

struct Inner {
    apps: BTreeMap<AppName, App>,
    groups: runners::Groups,
    lists: runners::Lists,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub").field("apps", &self.0.apps.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl GitHub {
    /// Makes the clients; sends nothing. Must be called within a tokio runtime (octocrab starts a task per client).
    ///
    /// What GitHub says of its rate limits goes to `limits`; `observer` is told of every request.
    ///
    /// # Errors
    ///
    /// A private key that is no RSA key in PEM, or an API URL that is none. The error names the App, never the key.
    pub fn new(all: Vec<Credentials>, limits: UnboundedSender<GitHubLimit>, observer: Observer) -> anyhow::Result<GitHub> {
        GitHub::with_timeout(all, limits, observer, REQUEST_TIMEOUT)
    }

    /// The same, with another longest wait for an answer.
    pub(crate) fn with_timeout(
        all: Vec<Credentials>,
        limits: UnboundedSender<GitHubLimit>,
        observer: Observer,
        timeout: Duration,
    ) -> anyhow::Result<GitHub> {
        let apps = all
            .into_iter()
            .map(|one| Ok((one.name.clone(), App::new(one, limits.clone(), observer.clone(), timeout)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(GitHub(Arc::new(Inner { apps, groups: runners::Groups::default(), lists: runners::Lists::default() })))
    }

    fn app(&self, name: &AppName, call: &Call) -> Result<&App, Failure> {
        self.0.apps.get(name).ok_or_else(|| {
            let message = format!(
                "{}: there is no GitHubApp or GitHubToken `{name}`; add its manifest, or correct the pool's spec.github",
                call.what
            );
            Failure::new(FailureKind::Refused, message)
        })
    }
}

/// As whom a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// The App itself, by JWT: to find installations, to get their tokens, and for its own webhook.
    App,
    /// The App's installation on an account, by token, or a personal access token: everything else.
    Installation,
}

/// One request, and the words for what it is about.
#[derive(Debug)]
struct Call {
    /// The metric's label.
    api: &'static str,
    identity: Identity,
    method: Method,
    /// Path and query, below the API's URL.
    path: String,
    body: Option<Value>,
    /// The ETag of the answer that is remembered.
    etag: Option<String>,
    /// What is attempted, on what; fits after "failed to".
    what: String,
    /// The permission that the App, or the scope that the token, needs for it.
    needs: &'static str,
    /// It configures a runner: GitHub counts such calls apart.
    configures: bool,
}

impl Call {
    fn new(api: &'static str, method: Method, path: impl Into<String>, what: impl Into<String>) -> Call {
        Call {
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

/// A success, or a 304 to a request with an ETag. Holds secrets now and then, hence no `Debug`.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Reads the body. An error quotes nothing of it: it may hold a secret.
    fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
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

/// A request that did not succeed: what to tell, and GitHub's status if it answered at all.
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

/// For what only prepares the thing that was asked for: without an answer to it, that thing has surely not happened.
fn preparing(mut failure: Failure) -> Failure {
    if failure.kind == FailureKind::Ambiguous {
        failure.kind = FailureKind::Unavailable;
    }
    failure
}
