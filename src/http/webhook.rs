//! `POST /webhook`: has a delivery judged, and puts what matters on the queue.
//!
//! The answer is
//! - 202 once the event is on the queue,
//! - 200 with a reason when there is nothing to do,
//! - 400, 401, 413 or 415 with what is wrong with the delivery,
//! - 503 when the queue did not take the event.
//!
//! Nothing is kept here, so any number of replicas can run. GitHub shows the answer's reason with each delivery. The log
//! has no word of a body.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use muster_message::delivery::{Acceptance, Delivery, judge};
use muster_message::keyring::Keyring;
use muster_message::payload::PayloadError;
use muster_message::seal::Sealed;
use muster_message::signature;
use muster_operations::liveness::Liveness;
use muster_operations::metrics::Metrics;
use muster_reconciler::manifest::Spec;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use warp::reply::Response;

use super::seldom::SeldomTold;
use crate::outbox::Outbox;

/// The outbox's name in a sentence that says that it is stuck.
pub const OUTBOX: &str = "the way to the jobs queue";
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How many deliveries are handled at the same time. A delivery counts once all of it is there, so slow senders take no place.
/// What is still on its way is bounded by the listener's connections and the limit on bodies.
const CONCURRENT: usize = 256;
/// How many bytes of a body that is too large are read and discarded, so that the sender hears the answer.
const DISCARD: u64 = 4 << 20;
/// How many bytes are set aside for a body before it comes. A `workflow_job` has 13 to 30 KB.
const ANNOUNCED: u64 = 32 << 10;
/// After how many seconds a sender may try again when the queue does not take messages.
const RETRY_SECONDS: &str = "5";
/// The longest reason in an answer, in characters.
const MAX_REASON: usize = 300;

/// What the webhook needs. All clones are the same webhook.
#[derive(Clone)]
pub struct Webhook {
    /// The manifests in force.
    pub spec: watch::Receiver<Arc<Spec>>,
    /// The webhook secrets in force. Any secret of an App may sign for it.
    pub secrets: watch::Receiver<Arc<Keyring>>,
    /// The way to the queue.
    pub outbox: Outbox<Sealed>,
    /// Counts the answers.
    pub metrics: Arc<Metrics>,
}

/// `POST /webhook`, and `GET /healthz` for a load balancer.
pub fn routes(webhook: Webhook) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let metrics = webhook.metrics.clone();
    let liveness = Liveness::default().with(OUTBOX, webhook.outbox.pulse());
    let places = Arc::new(Semaphore::new(CONCURRENT));
    let (told, refused) = (Arc::new(SeldomTold::default()), Arc::new(SeldomTold::default()));
    let log = warp::log::custom(move |info| {
        if info.path() == "/webhook" {
            metrics.webhook_request(info.status().as_u16(), info.elapsed());
        }
        told.log(&info);
    });
    let receive = warp::path!("webhook").and(warp::post()).and(warp::header::headers_cloned()).and(warp::body::stream()).then(
        move |headers: HeaderMap, body| {
            let (webhook, places, refused) = (webhook.clone(), places.clone(), refused.clone());
            async move { receive(webhook, &places, &refused, headers, body).await }
        },
    );
    let alive = warp::path!("healthz").and(super::get()).map(move || super::alive(&liveness));
    receive
        .or(alive)
        .unify()
        .recover(|r| super::refuse(r, "POST on /webhook, GET on /healthz"))
        .unify()
        .with(log)
        .map(super::plain)
}

async fn receive<S, B, E>(webhook: Webhook, places: &Semaphore, refused: &SeldomTold, headers: HeaderMap, body: S) -> Response
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let limit = webhook.spec.borrow().controller.spec.listen.max_body;
    let body = match timeout(BODY_DEADLINE, read_body(&headers, body, limit, " (spec.listen.maxBody)")).await {
        Ok(Ok(body)) => body,
        Ok(Err(answer)) => return answer,
        Err(_) => return super::error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    };
    let Ok(_place) = places.try_acquire() else { return unavailable("too many deliveries at once") };
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let delivery = Delivery {
        signature: text(HeaderName::from_static(signature::HEADER)),
        event: text(HeaderName::from_static("x-github-event")),
        content_type: text(CONTENT_TYPE),
        body: &body,
    };
    let (spec, secrets) = (webhook.spec.borrow().clone(), webhook.secrets.borrow().clone());
    answer(&webhook.outbox, refused, judge(&spec, &secrets, &delivery)).await
}

async fn answer(outbox: &Outbox<Sealed>, refused: &SeldomTold, verdict: Acceptance) -> Response {
    match verdict {
        Acceptance::Queue { message, event, signer, pool } => match outbox.send(message).await {
            Ok(()) => {
                tracing::debug!(job = %event.job, state = %event.state, signed_by = %signer, "queued a job event");
                let note = match &pool {
                    Ok(pool) => json!({ "queued": event.job, "pool": pool }),
                    Err(why) => json!({ "queued": event.job, "pool": null, "reason": shortened(why) }),
                };
                super::json(StatusCode::ACCEPTED, &note)
            }
            Err(e) => {
                tracing::warn!(job = %event.job, error = %e, "failed to put a job event on the queue");
                unavailable("the queue did not take the event; GitHub keeps the delivery and can send it again")
            }
        },
        Acceptance::Pong => super::json(StatusCode::OK, &json!({ "pong": true })),
        Acceptance::Ignored(why) => super::json(StatusCode::OK, &json!({ "ignored": shortened(&why) })),
        Acceptance::Unsigned(e) => {
            // One such delivery comes from a stranger. Many such deliveries mean that a secret was changed on one side
            // only.
            refuse(refused, StatusCode::UNAUTHORIZED, e)
        }
        Acceptance::Unfit(e) => {
            // A failed delivery would be asked for again for a day, and would never fit.
            tracing::warn!(error = %e, "ignored a delivery that muster cannot keep");
            super::json(StatusCode::OK, &json!({ "ignored": shortened(&format!("muster cannot keep this event: {e}")) }))
        }
        Acceptance::Unreadable(e) => {
            let status = match e {
                PayloadError::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                _ => StatusCode::BAD_REQUEST,
            };
            refuse(refused, status, e)
        }
    }
}

/// Refuses what anybody may send. The log says why, but only as often as [`SeldomTold`] allows.
fn refuse(refused: &SeldomTold, status: StatusCode, why: impl std::fmt::Display) -> Response {
    match refused.note(status, Instant::now()) {
        Some(count) => tracing::warn!(error = %why, count, "refused a delivery, the last of `count` with this status"),
        None => tracing::debug!(error = %why, "refused a delivery"),
    }
    super::error(status, why)
}

fn unavailable(why: &str) -> Response {
    let mut response = super::error(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    response
}

fn shortened(why: &str) -> String {
    match why.char_indices().nth(MAX_REASON) {
        Some((at, _)) => format!("{}…", &why[..at]),
        None => why.to_owned(),
    }
}

/// The whole body, or the answer if the body is too long or breaks off. The limit holds with and without a Content-Length.
pub(super) async fn read_body<S, B, E>(headers: &HeaderMap, body: S, limit: u64, set_by: &str) -> Result<Bytes, Response>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    // What is only announced takes little memory.
    let mut whole = Vec::with_capacity(usize::try_from(announced.unwrap_or(0).min(limit).min(ANNOUNCED)).unwrap_or(0));
    let mut length = 0u64;
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| super::error(StatusCode::BAD_REQUEST, "the body broke off"))?;
        length += chunk.remaining() as u64;
        if length > limit.saturating_add(DISCARD) {
            break;
        }
        if length > limit {
            whole = Vec::new();
            continue;
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            whole.extend_from_slice(piece);
            let n = piece.len();
            chunk.advance(n);
        }
    }
    if length > limit {
        return Err(super::error(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes{set_by}")));
    }
    Ok(whole.into())
}
