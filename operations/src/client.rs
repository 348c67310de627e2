//! Asks the admin listener of a running muster, in clear or by TLS. TLS is for a proxy in front of the listener. Redirects
//! are not followed.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};

/// The most bytes of an answer that are read. 100,000 jobs fit.
const LARGEST: usize = 256 << 20;

/// The header of an answer by a process that stands by, because it does not hold the lease.
pub const STANDS_BY: &str = "muster-stands-by";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is neither `http://HOST:PORT/...` nor `https://HOST/...`.
    #[error(
        "`{0}` is no address of an admin listener; write http://HOST:PORT, or https://HOST for one behind a proxy that ends TLS"
    )]
    Address(String),
    /// The address names an ECS service. AWS is not asked where its task is, because the listener has a name that outlives the tasks.
    #[error(
        "`{0}`: muster does not ask AWS for the address of a task; write the name that stays, which `terraform output -raw \
         controller_url` prints, or http://ADDRESS:9090 with the task's private address (see `Reaching the controller` in \
         docs/operating-on-aws.md)"
    )]
    Ecs(String),
    /// The address asks for TLS, and this build has none.
    #[error(
        "`{0}` asks for TLS, and this muster was built without it (without the feature `live`): use a full build, or write \
         http://HOST:PORT"
    )]
    NoTls(String),
    /// This machine has no certificate authorities.
    #[error(
        "this machine trusts no certificate authority, so it cannot trust {0}: install the package ca-certificates, or set SSL_CERT_FILE ({1})"
    )]
    NoAuthorities(String, String),
    /// The token has characters that a header cannot have.
    #[error(
        "the token holds characters that an HTTP header cannot; give the one of spec.listen.adminToken (to look: of spec.listen.viewToken)"
    )]
    Token,
    /// Nobody listens at the address, or the TLS handshake failed.
    #[error("failed to connect to {0}: {1}")]
    Connect(String, String),
    /// The other side accepted the connection and does not answer.
    #[error("no answer from {0} within {1:?}")]
    Slow(String, Duration),
    /// The connection broke before the answer was complete.
    #[error("failed to ask {0}: {1}")]
    Broken(String, String),
    /// An answer with a status other than 2xx.
    #[error("{url} answered {status}: {said}")]
    Status {
        /// The URL that was asked.
        url: String,
        /// The status of the answer.
        status: StatusCode,
        /// The field `error` of a JSON answer, or else the beginning of the body.
        said: String,
        /// Whether the process stands by.
        stands_by: bool,
    },
}

/// The address of an admin listener as people type it, as a URL without a slash at its end: `localhost:9090` is
/// `http://localhost:9090`.
///
/// # Errors
/// [`ClientError::Address`] or [`ClientError::Ecs`] with what was typed.
pub fn typed_address(text: &str) -> Result<String, ClientError> {
    let place = text.trim().trim_end_matches('/');
    let with_port = place
        .split('/')
        .next()
        .and_then(|host| host.rsplit_once(':'))
        .is_some_and(|(host, port)| !host.is_empty() && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let url = if with_port && !place.contains("://") { format!("http://{place}") } else { place.to_owned() };
    let uri: Option<Uri> = url.parse().ok();
    let known = uri.is_some_and(|uri| uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    match text.trim() {
        _ if known => Ok(url),
        ecs if ecs.starts_with("ecs:") => Err(ClientError::Ecs(ecs.to_owned())),
        other => Err(ClientError::Address(other.to_owned())),
    }
}

/// Makes a `GET` request, with the token for looking if there is one, and returns the body of a 2xx answer.
///
/// # Errors
/// See [`ClientError`].
pub async fn get(url: &str, token: Option<&SecretString>, patience: Duration) -> Result<Bytes, ClientError> {
    send(Method::GET, url, token, Bytes::new(), patience).await
}

/// Makes a `POST` request with a bearer token, and returns the body of a 2xx answer.
///
/// # Errors
/// See [`ClientError`].
pub async fn post(url: &str, token: Option<&SecretString>, body: Bytes, patience: Duration) -> Result<Bytes, ClientError> {
    send(Method::POST, url, token, body, patience).await
}

/// Whether others can read the traffic to this URL: there is no TLS, and the host is not this machine.
pub fn in_clear(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("http") && !here
}

async fn send(
    method: Method,
    url: &str,
    token: Option<&SecretString>,
    body: Bytes,
    patience: Duration,
) -> Result<Bytes, ClientError> {
    let asked = tokio::time::timeout(patience, one_that_acts(method, url, token, body)).await;
    asked.unwrap_or_else(|_| Err(ClientError::Slow(url.to_owned(), patience)))
}

/// Asks one address of the host after another, until a process answers that acts. A name may have the addresses of several processes, of
/// which one holds the lease.
async fn one_that_acts(method: Method, url: &str, token: Option<&SecretString>, body: Bytes) -> Result<Bytes, ClientError> {
    let mut answer = exchange(method.clone(), url, token, body.clone()).await;
    let Ok(uri) = url.parse::<Uri>() else { return answer };
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else { return answer };
    if !matches!(answer, Err(ClientError::Status { stands_by: true, .. })) {
        return answer;
    }
    let port = uri.port_u16().unwrap_or(80);
    for address in tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await.into_iter().flatten() {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let other = exchange(method.clone(), &format!("http://{address}{path}"), token, body.clone()).await;
        // A process that has just ended may still have an address.
        if !matches!(other, Err(ClientError::Status { stands_by: true, .. } | ClientError::Connect(..))) {
            answer = other;
            break;
        }
    }
    answer
}

async fn exchange(method: Method, url: &str, token: Option<&SecretString>, body: Bytes) -> Result<Bytes, ClientError> {
    let address = || ClientError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| address())?;
    let authority = uri.authority().ok_or_else(address)?.to_string();
    let broken = |e: &dyn std::error::Error| ClientError::Broken(url.to_owned(), chain(e));
    // GitHub refuses requests without a user agent.
    let mut request = Request::builder()
        .method(method)
        .uri(uri.clone())
        .header(header::USER_AGENT, concat!("muster/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request.body(Full::new(body)).map_err(|e| broken(&e))?;
    let answer = match uri.scheme_str() {
        Some("http") => Client::builder(TokioExecutor::new()).build(HttpConnector::new()).request(request).await,
        Some("https") => by_tls(url, request).await?,
        _ => return Err(address()),
    };
    let answer = answer.map_err(|e| match std::error::Error::source(&e) {
        // The error says `client error (Connect)`, which our own sentence says already.
        Some(cause) if e.is_connect() => ClientError::Connect(authority, chain(cause)),
        _ => broken(&e),
    })?;
    read(url, answer).await
}

/// Sends by TLS, with the certificate authorities of the machine or of `SSL_CERT_FILE`.
#[cfg(feature = "tls")]
async fn by_tls(
    url: &str,
    request: Request<Full<Bytes>>,
) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>, ClientError> {
    let tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|e| ClientError::NoAuthorities(url.to_owned(), e.to_string()))?;
    let connector = tls.https_only().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector).request(request).await)
}

#[cfg(not(feature = "tls"))]
async fn by_tls(
    url: &str,
    _: Request<Full<Bytes>>,
) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>, ClientError> {
    Err(ClientError::NoTls(url.to_owned()))
}

async fn read(url: &str, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let (status, stands_by) = (answer.status(), answer.headers().contains_key(STANDS_BY));
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|e| ClientError::Broken(url.to_owned(), chain(&*e)))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let said = serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|v| Some(v.get("error")?.as_str()?.to_owned()));
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned());
    Err(ClientError::Status { url: url.to_owned(), status, said, stands_by })
}

/// An error and its causes in one line. hyper's own messages say little without the causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        said = format!("{said}: {e}");
        source = e.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_read_on_the_way_is_known() {
        for url in ["http://10.0.0.7:9090", "http://muster.internal/x", "http://[2001:db8::1]:9090"] {
            assert!(in_clear(url), "{url}");
        }
        for url in ["http://127.0.0.1:9090", "http://localhost:1", "http://[::1]:9090/", "https://10.0.0.7", "nonsense"] {
            assert!(!in_clear(url), "{url}");
        }
    }

    #[test]
    fn an_address_is_taken_as_people_type_it() {
        for (text, url) in [
            ("localhost:9090", "http://localhost:9090"),
            ("127.0.0.1:9090/", "http://127.0.0.1:9090"),
            ("[::1]:9090", "http://[::1]:9090"),
            ("10.0.0.7:8080/muster/", "http://10.0.0.7:8080/muster"),
            ("https://muster.example.com/", "https://muster.example.com"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(typed_address(text).expect(text), url);
        }
        for bad in ["muster", "muster.example.com", "ftp://host:21", ":9090", "localhost:http", "", "a b:9"] {
            let said = typed_address(bad).expect_err(bad).to_string();
            assert!(said.contains("http://HOST:PORT") && said.contains(bad), "{said}");
        }
        let said = typed_address("ecs://prod/controller").expect_err("no address").to_string();
        assert!(said.contains("`ecs://prod/controller`") && said.contains("terraform output -raw controller_url"), "{said}");
    }

    #[tokio::test]
    async fn what_is_no_address_or_no_token_is_told_before_anything_is_sent() {
        for bad in ["localhost:8080/x", "muster", "ftp://host/", ""] {
            let error = get(bad, None, Duration::from_secs(5)).await.expect_err(bad);
            assert!(matches!(error, ClientError::Address(_)), "{bad}: {error}");
        }
        let token = SecretString::from("two\nlines");
        let error = post("http://127.0.0.1:9", Some(&token), Bytes::new(), Duration::from_secs(5)).await.expect_err("no token");
        assert!(matches!(error, ClientError::Token), "{error}");
    }

    #[cfg(not(feature = "tls"))]
    #[tokio::test]
    async fn without_tls_an_https_address_is_refused_with_the_way_out() {
        let error = get("https://127.0.0.1:9/x", None, Duration::from_secs(5)).await.expect_err("no TLS").to_string();
        assert!(error.contains("feature `live`") && error.contains("http://HOST:PORT"), "{error}");
    }
}
