//! github.com/actions/runner's releases, for an instance that cannot use its bucket: the redirect of `latest`, the digest
//! of an archive by the API, and the archive itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;
use warp::Filter as _;
use warp::http::Response;
use warp::path::FullPath;

/// The release that GitHub has.
#[derive(Clone, Debug)]
pub struct Release {
    /// The version, such as `2.330.0`.
    pub version: String,
    pub archive: Bytes,
    /// The archive's digest, as the API says.
    pub sha256: String,
}

/// A running double of GitHub's releases. Dropping it ends it.
pub struct Releases {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn respond(release: &Release, path: &str) -> Response<Bytes> {
    let version = &release.version;
    let name = |architecture: &str| format!("actions-runner-linux-{architecture}-{version}.tar.gz");
    let answer = Response::builder();
    let made = if path == "/actions/runner/releases/latest" {
        let to = format!("https://github.com/actions/runner/releases/tag/v{version}");
        answer.status(302).header("location", to).body(Bytes::new())
    } else if path == format!("/repos/actions/runner/releases/tags/v{version}") {
        // The fields are in GitHub's order: the uploader is between an asset's name and its digest.
        let asset = |architecture: &str, sha256: &str| {
            let name = name(architecture);
            format!(
                r#"{{"url":"https://api.github.com/a","name":"{name}","uploader":{{"login":"github-actions[bot]"}},"size":1,"digest":"sha256:{sha256}","browser_download_url":"https://github.com/d/{name}"}}"#
            )
        };
        let body = format!(
            r#"{{"tag_name":"v{version}","assets":[{},{}],"body":{}}}"#,
            asset("arm64", &"0".repeat(64)),
            asset("x64", &release.sha256),
            json!("- linux-x64, with \"digest\"")
        );
        answer.body(body.into())
    } else if path == format!("/actions/runner/releases/download/v{version}/{}", name("x64")) {
        answer.body(release.archive.clone())
    } else {
        answer.status(404).body(Bytes::new())
    };
    made.expect("a status and a body make an answer")
}

impl Releases {
    pub async fn start(release: Release) -> Releases {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port on the loopback");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let paths = asked.clone();
        let route = warp::path::full().map(move |path: FullPath| {
            paths.lock().unwrap_or_else(PoisonError::into_inner).push(path.as_str().to_owned());
            respond(&release, path.as_str())
        });
        let server = tokio::spawn(warp::serve(route).incoming(listener).run());
        Releases { addr, asked, server }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The paths that were requested.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
