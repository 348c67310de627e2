//! The two listeners: [`webhook`] takes GitHub's deliveries, and [`admin`] shows what muster does. Both answer in JSON,
//! refuse what they do not know, log requests without their bodies, keep to [`ListenerLimits`], and stop within [`GRACE`] when told to.

pub mod admin;
pub mod assets;
pub mod console;
pub mod door;
pub mod lanes;
mod limits;
pub mod live;
mod live_charts;
pub mod live_cost;
pub mod live_history;
pub mod live_told;
pub mod live_view;
mod order;
pub mod rewind;
mod rows;
mod seats;
mod seldom;
mod server;
pub mod state;
pub mod steer;
mod token;
pub mod webhook;
mod wire;
pub mod wish;

pub use limits::ListenerLimits;
pub use server::serve;

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use muster_operations::liveness::Liveness;
use serde::Serialize;
use tokio::net::TcpListener;
use warp::http::StatusCode;
use warp::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

/// How long requests under way may take to end once the server is told to stop. The whole process has 10 s.
pub const GRACE: Duration = Duration::from_secs(6);

/// The header with GitHub's id of a delivery, by which an operator can find the delivery.
const DELIVERY: &str = "x-github-delivery";

/// The error of a listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on `{address}` ({setting} of the Controller): {source}; free it or set another")]
pub struct BindError {
    address: String,
    setting: &'static str,
    source: io::Error,
}

/// Listens on `address` (`HOST:PORT`). `setting` is the manifest's field with this address, such as `spec.listen.admin`.
pub async fn bind(address: &str, setting: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address: address.to_owned(), setting, source })
}

/// An answer in JSON.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = Response::new(serde_json::to_string(body).unwrap_or_default().into());
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page that no other page may show in a frame, and that nobody keeps. `policy` says what the page may load, and `referrer` how much
/// of its address the browser tells to others.
pub(crate) fn html(status: StatusCode, text: askama::Result<String>, policy: &'static str, referrer: &'static str) -> Response {
    let text = match text {
        Ok(text) => text,
        Err(e) => return error(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to make the page: {e}")),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, referrer),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An answer in JSON with the field `error`.
fn error(status: StatusCode, message: impl ToString) -> Response {
    json(status, &serde_json::json!({ "error": message.to_string() }))
}

/// `GET /healthz`. It asks no other task, so it is answered whatever is stuck.
fn alive(liveness: &Liveness) -> Response {
    match liveness.check() {
        Ok(()) => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
        Err(stuck) => error(StatusCode::SERVICE_UNAVAILABLE, stuck),
    }
}

/// An answer that may be long to make. It is made on a thread of its own, so that it holds up nobody else.
async fn made(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |_| error(StatusCode::INTERNAL_SERVER_ERROR, "failed to make the answer; the log says why");
    tokio::task::spawn_blocking(make).await.unwrap_or_else(failed)
}

/// The answer to a request that no route took. It was not let in, or too many read, or only its method is wrong (405), or there
/// is no such path (404).
async fn refuse(rejection: Rejection, allowed: &'static str) -> Result<Response, Infallible> {
    if let Some(closed) = rejection.find::<door::NotLetIn>() {
        return Ok(closed.answer());
    }
    if let Some(busy) = rejection.find::<lanes::Busy>() {
        return Ok(busy.answer());
    }
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allowed}"));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return Ok(response);
    }
    Ok(error(StatusCode::NOT_FOUND, "there is nothing at this path"))
}

/// A filter for GET, and for HEAD with it.
fn get() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

/// Turns the reply of a logging wrapper back into a plain response.
fn plain(reply: impl Reply) -> Response {
    reply.into_response()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn an_address_in_use_names_the_setting() {
        let taken = bind("127.0.0.1:0", "spec.listen.admin").await.expect("a free port");
        let address = taken.local_addr().expect("bound").to_string();
        let error = bind(&address, "spec.listen.admin").await.expect_err("in use").to_string();
        assert!(error.contains(&address) && error.contains("spec.listen.admin"), "{error}");
        assert!(bind("nonsense", "spec.listen.webhook").await.is_err());
    }

    #[tokio::test]
    async fn shutdown_ends_the_server_once_requests_have_ended() {
        let listener = bind("127.0.0.1:0", "test").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let slow = warp::any().then(|| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            json(StatusCode::OK, &"done")
        });
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, slow, ListenerLimits::ADMIN, stop.clone()));
        let request = tokio::spawn(reqwest::get(url.clone()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
        let answer = request.await.expect("ran").expect("answered");
        assert_eq!(answer.status(), 200);
        tokio::time::timeout(Duration::from_secs(3), server).await.expect("ended in time").expect("ran");
        assert!(reqwest::get(url).await.is_err(), "the listener is closed");
    }
}
