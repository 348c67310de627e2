//! The instance metadata service, version 2 only, for one instance.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use warp::Filter as _;
use warp::http::{HeaderMap, Method, Response};
use warp::path::FullPath;

use super::moto::{REGION, SECRET_ACCESS_KEY};

/// The session token of the instance's role. It must never be in a log or on a command line.
pub const SESSION_TOKEN: &str = "FwoGZXIvYXdzEDUMMYSESSION//+==";
const ROLE: &str = "muster-c1-instance";
/// The longest life of a token: six hours.
const TTL_MAX_S: u32 = 21_600;

#[derive(Default)]
struct State {
    paths: BTreeMap<String, String>,
    tokens: BTreeSet<String>,
    issued: u32,
    delay: Duration,
    down: bool,
    /// How many requests came without a valid token.
    refused: u32,
}

/// The metadata service of one instance. Dropping it ends it.
pub struct Imds {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(status: u16, body: impl Into<String>) -> Response<String> {
    Response::builder().status(status).body(body.into()).expect("a status and a body make an answer")
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn respond(state: &Mutex<State>, method: &Method, path: &str, headers: &HeaderMap) -> Response<String> {
    let mut state = lock(state);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if state.down {
        return answer(503, "");
    }
    if method == Method::PUT && path == "/latest/api/token" {
        let ttl = header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|ttl| ttl.parse::<u32>().ok());
        if header("x-forwarded-for").is_some() {
            return answer(403, "");
        }
        if !ttl.is_some_and(|ttl| (1..=TTL_MAX_S).contains(&ttl)) {
            return answer(400, "");
        }
        state.issued += 1;
        let token = format!("AQAEA-token-{}==", state.issued);
        state.tokens.insert(token.clone());
        return answer(200, token);
    }
    if method != Method::GET {
        return answer(405, "");
    }
    if !header("x-aws-ec2-metadata-token").is_some_and(|token| state.tokens.contains(token)) {
        state.refused += 1;
        return answer(401, "");
    }
    match path.strip_prefix("/latest/").and_then(|path| state.paths.get(path)) {
        Some(text) => answer(200, text),
        None => answer(404, "<html>404 - Not Found</html>"),
    }
}

impl Imds {
    /// The service of the instance `id`, whose role has the access key `key`.
    pub async fn start(id: &str, key: &str, tags: &[(&str, &str)]) -> Imds {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port on the loopback");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let served = state.clone();
        let route = warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).then(
            move |method: Method, path: FullPath, headers: HeaderMap| {
                let state = served.clone();
                async move {
                    let delay = lock(&state).delay;
                    tokio::time::sleep(delay).await;
                    respond(&state, &method, path.as_str(), &headers)
                }
            },
        );
        let server = tokio::spawn(warp::serve(route).incoming(listener).run());
        let imds = Imds { addr, state, server };
        let document =
            json!({ "instanceId": id, "region": REGION, "availabilityZone": format!("{REGION}a"), "version": "2017-09-30" });
        imds.put("dynamic/instance-identity/document", &format!("{document:#}"));
        let credentials = json!({
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": key,
            "SecretAccessKey": SECRET_ACCESS_KEY,
            "Token": SESSION_TOKEN,
            "Expiration": "2099-01-01T00:00:00Z",
        });
        imds.put("meta-data/iam/security-credentials/", ROLE);
        imds.put(&format!("meta-data/iam/security-credentials/{ROLE}"), &format!("{credentials:#}"));
        for (name, value) in tags {
            imds.tag(name, value);
        }
        imds
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on, a path under `/latest/` has this text.
    pub fn put(&self, path: &str, text: &str) {
        lock(&self.state).paths.insert(path.into(), text.into());
    }

    /// Sets a tag of the instance.
    pub fn tag(&self, name: &str, value: &str) {
        self.put(&format!("meta-data/tags/instance/{name}"), value);
    }

    /// Announces a spot interruption, two minutes ahead.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
    pub fn spot_notice(&self, time: &str) {
        self.put("meta-data/spot/instance-action", &json!({ "action": "terminate", "time": time }).to_string());
    }

    /// Announces that a spot interruption is likely, which EC2 may do earlier.
    pub fn recommend_rebalance(&self) {
        self.put("meta-data/events/recommendations/rebalance", r#"{"noticeTime": "2026-01-01T00:00:00Z"}"#);
    }

    /// From now on, every answer takes this long.
    pub fn slow(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }

    /// From now on, every answer is 503, or no longer is.
    pub fn down(&self, down: bool) {
        lock(&self.state).down = down;
    }

    pub fn expire_tokens(&self) {
        lock(&self.state).tokens.clear();
    }

    /// How many tokens were issued, and how many requests came without a valid one.
    pub fn tokens(&self) -> (u32, u32) {
        let state = lock(&self.state);
        (state.issued, state.refused)
    }
}
