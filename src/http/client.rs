//! Asks a running muster's admin listener: plain HTTP to a private address, so no TLS and no redirects.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use warp::http::{Request, Uri, header};

/// Largest answer that is read: 100,000 jobs.
const LARGEST: usize = 256 << 20;

/// `GET url`, and the body of a 200.
///
/// # Errors
/// When the URL is not `http://HOST:PORT/...`, nobody answers within `patience`, or the answer is not 200.
pub async fn get(url: &str, patience: Duration) -> anyhow::Result<Bytes> {
    tokio::time::timeout(patience, fetch(url)).await.with_context(|| format!("no answer from {url} within {patience:?}"))?
}

async fn fetch(url: &str) -> anyhow::Result<Bytes> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("`{url}` must begin with http://: the admin listener speaks plain HTTP");
    }
    let authority = uri.authority().with_context(|| format!("`{url}` names no host"))?;
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.with_context(|| format!("failed to connect to {authority}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let request = Request::get(path).header(header::HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.with_context(|| format!("failed to ask {url}"))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|e| anyhow::anyhow!("failed to read the answer of {url}: {e}"))?.to_bytes();
    if !status.is_success() {
        bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
    }
    Ok(body)
}
