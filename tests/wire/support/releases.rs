//! The releases of actions/runner at GitHub, as far as muster needs them. It is a warp server with releases, whose files
//! are behind a redirect, and with what can go wrong with both.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use warp::Filter as _;
use warp::http::{HeaderMap, StatusCode};
use warp::path::FullPath;
use warp::reply::Reply as _;

/// How the download of a file goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after this many bytes.
    BreakOff(usize),
    /// One byte is changed.
    ListId,
    /// Nothing more comes after this many bytes.
    Stall(usize),
}

#[derive(Clone)]
struct File {
    name: String,
    bytes: Bytes,
    sha256: String,
}

#[derive(Clone)]
struct Release {
    version: String,
    published: String,
    files: Vec<File>,
}

#[derive(Default)]
struct State {
    releases: Vec<Release>,
    fault: Option<Fault>,
    limited: bool,
    requests: Vec<(String, u16)>,
}

/// The server. It ends with the runtime of the test. The release that was published last is the latest.
#[derive(Clone)]
pub struct Releases {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

/// This many bytes that are random enough to differ everywhere. The same seed gives the same bytes.
pub fn noise(len: usize, seed: u64) -> Bytes {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Releases {
    /// Starts a server without any release.
    pub async fn start() -> Releases {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port on the loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let server = Releases { state: Arc::default(), address };
        let this = server.clone();
        let routes = warp::path::full().and(warp::header::headers_cloned()).map(move |path: FullPath, headers: HeaderMap| {
            let answer = this.answer(path.as_str(), &headers);
            this.state().requests.push((path.as_str().to_owned(), answer.status().as_u16()));
            answer
        });
        tokio::spawn(warp::serve(routes).incoming(listener).run());
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// The URL for `spec.sync.releases`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes a release that is this many days old. The files are given by platform, such as `linux-x64`.
    pub fn publish(&self, version: &str, days_ago: u64, files: &[(&str, Bytes)]) {
        let name = |platform: &str| {
            let ending = if platform.starts_with("win") { "zip" } else { "tar.gz" };
            format!("actions-runner-{platform}-{version}.{ending}")
        };
        // Each file is hashed only once. Unoptimised, hashing a large file takes longer than anybody waits for an answer.
        let file = |(platform, bytes): &(&str, Bytes)| File { name: name(platform), bytes: bytes.clone(), sha256: sha256(bytes) };
        let files = files.iter().map(file).collect();
        let published = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() - Duration::from_secs(days_ago * 86_400));
        let published = published.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.state().releases.push(Release { version: version.into(), published, files });
    }

    /// From now on, downloads go wrong like this. None: they go well.
    pub fn fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Whether the API refuses every request, as at the rate limit of requests without credentials.
    pub fn limit(&self, limited: bool) {
        self.state().limited = limited;
    }

    /// The paths that were requested since the last call, each with the status of its answer.
    pub fn take_requests(&self) -> Vec<(String, u16)> {
        std::mem::take(&mut self.state().requests)
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> warp::reply::Response {
        let state = self.state();
        if let Some(api) = path.strip_prefix("/repos/actions/runner/releases") {
            assert!(headers.get("authorization").is_none(), "credentials are sent to nobody who is not GitHub");
            if state.limited {
                let body = json!({ "message": "API rate limit exceeded for 192.0.2.1." }).to_string();
                let reply = warp::reply::with_status(body, StatusCode::FORBIDDEN);
                return warp::reply::with_header(reply, "x-ratelimit-remaining", "0").into_response();
            }
            let all: Vec<Value> = state.releases.iter().rev().map(|r| self.describe(r)).collect();
            let tagged = |tag: &str| all.iter().find(|r| r["tag_name"] == tag).cloned();
            let said = match api {
                "" => Some(Value::Array(all)),
                "/latest" => all.first().cloned(),
                _ => api.strip_prefix("/tags/").and_then(tagged),
            };
            return match said {
                None => warp::reply::with_status("{\"message\":\"Not Found\"}", StatusCode::NOT_FOUND).into_response(),
                Some(said) => conditional(said.to_string(), headers),
            };
        }
        let files = || state.releases.iter().flat_map(|release| &release.files);
        let file = |name: &str| files().find(|file| file.name == name).map(|file| file.bytes.clone());
        let name = path.rsplit('/').next().unwrap_or_default();
        match file(name) {
            Some(_) if path.starts_with("/download/") => {
                let elsewhere = format!("http://localhost:{}/storage/{name}", self.address.port());
                warp::reply::with_header(StatusCode::FOUND, "location", elsewhere).into_response()
            }
            Some(bytes) => download(bytes, state.fault),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn describe(&self, release: &Release) -> Value {
        let assets: Vec<Value> = release
            .files
            .iter()
            .map(|File { name, bytes, sha256 }| {
                json!({
                    "name": name,
                    "size": bytes.len(),
                    "digest": format!("sha256:{sha256}"),
                    "browser_download_url": format!("{}/download/v{}/{name}", self.url(), release.version),
                })
            })
            .collect();
        json!({
            "tag_name": format!("v{}", release.version),
            "draft": false,
            "prerelease": false,
            "published_at": release.published,
            "assets": assets,
        })
    }
}

fn conditional(body: String, headers: &HeaderMap) -> warp::reply::Response {
    let etag = format!("\"{}\"", sha256(body.as_bytes()));
    if headers.get("if-none-match").is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return warp::reply::with_header(StatusCode::NOT_MODIFIED, "etag", etag).into_response();
    }
    warp::reply::with_header(body, "etag", etag).into_response()
}

fn download(bytes: Bytes, fault: Option<Fault>) -> warp::reply::Response {
    use futures_util::StreamExt as _;
    const CHUNK: usize = 64 << 10;
    let len = bytes.len();
    let bytes = match fault {
        Some(Fault::ListId) => {
            let mut forged = bytes.to_vec();
            forged[len / 2] ^= 1;
            forged.into()
        }
        _ => bytes,
    };
    let until = match fault {
        Some(Fault::BreakOff(at) | Fault::Stall(at)) => at,
        _ => len,
    };
    let chunks = (0..until).step_by(CHUNK).map(move |at| Ok(bytes.slice(at..until.min(at + CHUNK))));
    let chunks = futures_util::stream::iter(chunks);
    let body = match fault {
        Some(Fault::BreakOff(_)) => {
            let broken = futures_util::stream::iter([Err(io::Error::other("ordered to break off"))]);
            warp::reply::stream(chunks.chain(broken)).into_response()
        }
        Some(Fault::Stall(_)) => {
            let silent = futures_util::stream::pending::<io::Result<Bytes>>();
            warp::reply::stream(chunks.chain(silent)).into_response()
        }
        _ => warp::reply::stream(chunks).into_response(),
    };
    warp::reply::with_header(body, "content-length", len.to_string()).into_response()
}
