//! A small GitHub for this module's unit tests. It hands out installations and tokens, leaves everything else to the test's own
//! function, and remembers the requests. (The black-box tests have another double, which is complete.)

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method, Response};
use muster_operations::observer::Ended;
use muster_reconciler::effect::{Configure, GitHubLimit};
use muster_reconciler::ids::{ListId, RunnerName};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use warp::Filter as _;

use super::{Credentials, GitHub, Proof};

pub(crate) const KEY: &str = include_str!("../../tests/fixtures/test-only-app-key.pem");

/// A request, as the double received it.
#[derive(Clone, Debug)]
pub(crate) struct DoubleRequest {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl DoubleRequest {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// An answer. With `stall`, it is never sent.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
    stall: bool,
}

pub(crate) fn reply(status: u16, body: Value) -> Reply {
    Reply { status, headers: Vec::new(), body, stall: false }
}

pub(crate) fn stall() -> Reply {
    Reply { stall: true, ..reply(200, Value::Null) }
}

/// How long a client waits for the answer of a fake that answers. Longer than any pause of a loaded machine.
const PATIENT: Duration = Duration::from_secs(60);
/// How long a client waits for the answer of a fake that stalls. The calls before the stall must fit into it on a loaded machine.
pub(crate) const IMPATIENT: Duration = Duration::from_secs(4);

impl Reply {
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }
}

pub(crate) struct Fake {
    pub url: String,
    asks: Arc<Mutex<Vec<DoubleRequest>>>,
    limits: Mutex<Option<UnboundedReceiver<GitHubLimit>>>,
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

impl Fake {
    /// Starts a double. Its tokens are `token-1`, `token-2` and so on, and each is valid for an hour.
    pub async fn start(answer: impl Fn(&DoubleRequest) -> Reply + Send + Sync + 'static) -> Fake {
        Fake::start_raw(move |ask, n| installations(ask, n).unwrap_or_else(|| answer(ask))).await
    }

    /// Starts a double that leaves everything to `answer`. The second argument of `answer` is how many requests for the same path
    /// came before.
    pub async fn start_raw(answer: impl Fn(&DoubleRequest, usize) -> Reply + Send + Sync + 'static) -> Fake {
        let asks: Arc<Mutex<Vec<DoubleRequest>>> = Arc::default();
        let (log, answer) = (asks.clone(), Arc::new(answer));
        let filter = warp::method()
            .and(warp::path::full())
            .and(warp::query::raw().or_else(|_| async { Ok::<_, warp::Rejection>((String::new(),)) }))
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(move |method, path: warp::path::FullPath, query, headers, body: bytes::Bytes| {
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let ask = DoubleRequest { method, path: path.as_str().to_owned(), query, headers, body };
                let before = {
                    let mut log = log.lock().expect("log");
                    let before = log.iter().filter(|old| old.path == ask.path).count();
                    log.push(ask.clone());
                    before
                };
                let reply = answer(&ask, before);
                async move {
                    if reply.stall {
                        std::future::pending::<()>().await;
                    }
                    // This pause is long enough for simultaneous callers to be here at the same time.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let body = if reply.body.is_null() { String::new() } else { reply.body.to_string() };
                    let mut response = Response::builder().status(reply.status);
                    for (name, value) in reply.headers {
                        response = response.header(name, value);
                    }
                    response.body(body).expect("response")
                }
            });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(warp::serve(filter).incoming(listener).run());
        Fake { url, asks, limits: Mutex::default(), calls: Arc::default() }
    }

    pub fn github(&self) -> GitHub {
        self.github_at(&self.url)
    }

    pub fn github_at(&self, api_url: &str) -> GitHub {
        self.github_as(credentials(KEY, api_url), PATIENT)
    }

    /// A client that soon gives up on an answer: for fakes that never give one.
    pub fn github_impatient(&self) -> GitHub {
        self.github_as(credentials(KEY, &self.url), IMPATIENT)
    }

    /// A client with the personal access token `ghp_x`.
    pub fn github_by_token(&self) -> GitHub {
        self.github_as(Credentials { proof: Proof::Token("ghp_x".into()), ..credentials("", &self.url) }, PATIENT)
    }

    fn github_as(&self, credentials: Credentials, timeout: Duration) -> GitHub {
        let (to, from) = mpsc::unbounded_channel();
        *self.limits.lock().expect("limits") = Some(from);
        let calls = self.calls.clone();
        let observer = Arc::new(move |api: &'static str, ended: Ended, _| {
            calls.lock().expect("calls").push((api.to_owned(), ended.as_str().to_owned()));
        });
        GitHub::with_timeout(vec![credentials], to, observer, timeout).expect("client")
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.asks.lock().expect("asks").len()
    }

    /// The requests whose path ends with `path_end`.
    pub fn asked(&self, path_end: &str) -> Vec<DoubleRequest> {
        self.asks.lock().expect("asks").iter().filter(|ask| ask.path.ends_with(path_end)).cloned().collect()
    }

    /// The next report on rate limits, if there is one.
    pub fn limit(&self) -> Option<GitHubLimit> {
        self.limits.lock().expect("limits").as_mut().and_then(|limits| limits.try_recv().ok())
    }

    /// What the observer was told: the API and the outcome of each call.
    pub fn calls(&self) -> Vec<(String, String)> {
        self.calls.lock().expect("calls").clone()
    }
}

/// Answers the two requests that every other request needs first.
pub(crate) fn installations(ask: &DoubleRequest, before: usize) -> Option<Reply> {
    if ask.path.ends_with("/installation") {
        return Some(reply(200, json!({"id": 77, "account": {"login": "acme"}})));
    }
    ask.path
        .ends_with("/access_tokens")
        .then(|| reply(201, json!({"token": format!("token-{}", before + 1), "expires_at": in_seconds(3600)})))
}

/// The time in `seconds` from now, as GitHub writes it.
pub(crate) fn in_seconds(seconds: i64) -> String {
    let now: chrono::DateTime<chrono::Utc> = std::time::SystemTime::now().into();
    (now + chrono::Duration::seconds(seconds)).to_rfc3339()
}

pub(crate) fn credentials(key: &str, api_url: &str) -> Credentials {
    Credentials { name: "main".into(), api_url: api_url.to_owned(), proof: Proof::App(4711, key.to_owned().into()) }
}

pub(crate) fn list_id(scope: &str) -> ListId {
    ListId { app: "main".into(), scope: scope.parse().expect("scope") }
}

pub(crate) fn runner_1(scope: &str) -> Configure {
    Configure {
        name: RunnerName::parse_ours("prod.linux.i-1", "prod").expect("name"),
        list_id: list_id(scope),
        group: "Builders".into(),
        labels: vec!["self-hosted".into(), "linux".into()],
        work_directory: "_jobs".into(),
        ephemeral: true,
        replace: false,
    }
}
