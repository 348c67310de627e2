//! Asks a running muster's admin listener: plain HTTP to a private address, so no TLS and no redirects.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use warp::http::{Method, Request, StatusCode, Uri, header};

/// Largest answer that is read: 100,000 jobs.
const LARGEST: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not `http://HOST:PORT/...`.
    #[error("`{0}` is no address of an admin listener; write http://HOST:PORT")]
    Address(String),
    /// Nobody is there.
    #[error("failed to connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// Somebody is there, and does not answer.
    #[error("no answer from {0} within {1:?}")]
    Slow(String, Duration),
    /// The connection broke.
    #[error("failed to ask {0}: {1}")]
    Broken(String, String),
    /// An answer other than 2xx, and what it said.
    #[error("{url} answered {status}: {said}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// `error` of a JSON answer, else the beginning of the body.
        said: String,
    },
}

/// `GET url`, and the body of a 2xx.
///
/// # Errors
/// See [`ClientError`].
pub async fn get(url: &str, patience: Duration) -> Result<Bytes, ClientError> {
    send(Method::GET, url, None, Bytes::new(), patience).await
}

/// `POST url` with a bearer token, and the body of a 2xx.
///
/// # Errors
/// See [`ClientError`].
pub async fn post(url: &str, token: Option<&SecretString>, body: Bytes, patience: Duration) -> Result<Bytes, ClientError> {
    send(Method::POST, url, token, body, patience).await
}

async fn send(
    method: Method,
    url: &str,
    token: Option<&SecretString>,
    body: Bytes,
    patience: Duration,
) -> Result<Bytes, ClientError> {
    let asked = tokio::time::timeout(patience, exchange(method, url, token, body)).await;
    asked.unwrap_or_else(|_| Err(ClientError::Slow(url.to_owned(), patience)))
}

async fn exchange(method: Method, url: &str, token: Option<&SecretString>, body: Bytes) -> Result<Bytes, ClientError> {
    let address = || ClientError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| address())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(address)?;
    let place = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(place).await.map_err(|e| ClientError::Connect(authority.to_string(), e))?;
    let broken = |e: &dyn std::fmt::Display| ClientError::Broken(url.to_owned(), e.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    let request = request.header(header::CONTENT_LENGTH, body.len()).body(Full::new(body)).map_err(|e| broken(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|e| broken(&e))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let said = serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|v| Some(v.get("error")?.as_str()?.to_owned()));
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned());
    Err(ClientError::Status { url: url.to_owned(), status, said })
}
