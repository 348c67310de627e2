//! Serves one listener: HTTP/1.1 over [`hyper`], within [`ListenerLimits`]. warp's own server has no limits, and speaks HTTP/2, which
//! nobody here needs.
//!
//! What strangers send over a socket is no news, so a connection that breaks is logged at `debug`.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use muster_operations::client::chain;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::reply::Response;

use super::GRACE;
use super::limits::{BUFFER, HEAD, ListenerLimits};
use super::seats::{Place, Seats};
use super::wire::{AnswerBody, RequestBody, Socket};

/// How long nothing is accepted after the system refused to accept a connection, because there are too many open files.
const BREATHER: Duration = Duration::from_millis(500);

/// Serves requests until `shutdown`. Then requests under way may end, within [`GRACE`].
pub async fn serve<F>(listener: TcpListener, routes: F, limits: ListenerLimits, shutdown: CancellationToken)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let (seats, open) = (Seats::new(limits), TaskTracker::new());
    let doorman = async {
        loop {
            let stream = accept(&listener, &limits).await;
            let place = seats.place().await;
            open.spawn(converse(stream, routes.clone(), place, shutdown.clone()));
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = doorman => {}
        () = seats.watch() => {}
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(GRACE, open.wait()).await.is_err() {
        tracing::warn!(listener = limits.listener, "closed the listener with requests still under way after {GRACE:?}");
        seats.close();
    }
}

/// The next connection.
async fn accept(listener: &TcpListener, limits: &ListenerLimits) -> TcpStream {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client has gone away meanwhile.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(listener = limits.listener, %error, "failed to accept a connection; raise the limit of open files");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn converse<F>(stream: TcpStream, routes: F, place: Place, shutdown: CancellationToken)
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
{
    let seat = place.seat.clone();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let request = request.map(|body| RequestBody::new(body, seat.clone()));
        let (answer, seat) = (TowerToHyperService::new(warp::service(routes.clone())).call(request), seat.clone());
        async move { answer.await.map(|response| AnswerBody::of(response, seat)) }
    });
    let io = TokioIo::new(Socket { stream, seat: place.seat.clone() });
    let mut http = http1::Builder::new();
    // The seat has the time limits, so hyper needs no timer.
    http.max_header_size(HEAD).max_buf_size(BUFFER).header_read_timeout(None);
    let mut connection = std::pin::pin!(http.serve_connection(io, service));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = chain(&error), "a connection broke");
                }
                return;
            }
            () = place.seat.closed.cancelled() => return,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests;
