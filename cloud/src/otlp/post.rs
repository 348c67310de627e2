//! One POST to a collector, over plain HTTP, or over TLS with the machine's certificate authorities. Redirects are not followed.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use muster_operations::client::chain;
use secrecy::ExposeSecret as _;

use super::config::Config;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 << 10;

/// Posts to one endpoint. Connections are reused.
#[derive(Debug)]
pub(super) struct Post {
    config: Config,
    client: Connection,
}

#[derive(Debug)]
enum Connection {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct PostFailure {
    /// Whether the same request may succeed later.
    pub(super) again: bool,
    /// The shortest wait before the next try, if the answer asks for one.
    pub(super) retry_after: Option<Duration>,
    /// The cause in words, without anything of the request.
    pub(super) why: String,
}

impl PostFailure {
    /// A failure that may pass: nobody answered, or the endpoint was busy.
    pub(super) fn for_now(why: impl Into<String>) -> PostFailure {
        PostFailure { again: true, retry_after: None, why: why.into() }
    }
}

impl Post {
    pub(super) fn new(config: Config) -> anyhow::Result<Post> {
        let client = if config.endpoint.scheme_str() == Some("https") {
            let tls = HttpsConnectorBuilder::new().with_native_roots().context("this machine trusts no certificate authority")?;
            Connection::Tls(Client::builder(TokioExecutor::new()).build(tls.https_only().enable_http1().build()))
        } else {
            Connection::Plain(Client::builder(TokioExecutor::new()).build(HttpConnector::new()))
        };
        Ok(Post { config, client })
    }

    pub(super) fn place(&self) -> String {
        self.config.place()
    }

    /// Sends one request. Returns the body of a 2xx answer.
    pub(super) async fn send(&self, body: Bytes) -> Result<Bytes, PostFailure> {
        let slow = |_| PostFailure::for_now(format!("no answer within {:?}", self.config.timeout));
        tokio::time::timeout(self.config.timeout, self.exchange(body)).await.unwrap_or_else(|e| Err(slow(e)))
    }

    async fn exchange(&self, body: Bytes) -> Result<Bytes, PostFailure> {
        let request = self.request(body).map_err(|e| PostFailure { again: false, retry_after: None, why: e.to_string() })?;
        let answer = match &self.client {
            Connection::Plain(client) => client.request(request).await,
            Connection::Tls(client) => client.request(request).await,
        };
        let answer = answer.map_err(|e| PostFailure::for_now(chain(&e)))?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers(), SystemTime::now()));
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        if status.is_success() {
            // The request was accepted, whatever the body of the answer is.
            return Ok(body.map(http_body_util::Collected::to_bytes).unwrap_or_default());
        }
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        Err(PostFailure { again: again.contains(&status), retry_after, why: format!("the answer was {status}") })
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::post(self.config.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("muster/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.config.headers {
            let mut value = HeaderValue::from_str(value.expose_secret())?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request.body(Full::new(body))
    }
}

/// The header `Retry-After`, which is a number of seconds or a date.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = u64::try_from(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp()).ok()?;
    Some((SystemTime::UNIX_EPOCH + Duration::from_secs(at)).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without certificate authorities, the error says so. With them, the client begins with TLS and sends nothing in clear.
    #[tokio::test]
    async fn https_is_spoken_or_refused_and_never_in_clear() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let vars = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2")];
        let config = Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()));
        let post = match Post::new(config.expect("a good one").expect("wanted")) {
            Ok(post) => post,
            Err(error) => return assert!(error.to_string().contains("certificate authority"), "{error:#}"),
        };
        let heard = async {
            let (stream, _) = listener.accept().await.expect("a caller");
            stream.readable().await.expect("it speaks");
            let mut first = [0; 4096];
            let read = stream.try_read(&mut first).expect("a hello");
            first[..read].to_vec()
        };
        let (hello, answer) = tokio::join!(heard, post.send(Bytes::from_static(b"hunter2")));
        assert_eq!(hello[0], 22, "a TLS handshake record");
        assert!(!hello.windows(7).any(|w| w == b"hunter2"));
        assert!(answer.is_err_and(|refusal| refusal.again && !refusal.why.is_empty()));
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let told =
            |text: &'static str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]), now);
        assert_eq!(told("7"), Some(Duration::from_secs(7)));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:42 GMT"), Some(Duration::from_secs(5)));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:30 GMT"), Some(Duration::ZERO));
        assert_eq!(told("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
