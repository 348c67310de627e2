//! An operator's orders: `POST /api/v1/pools/NAME/pause`, `resume`, `drain` and `rerun`, `POST /api/v1/runners/ID/drain`, and
//! `POST /api/v1/jobs/ID/rerun`.
//!
//! Each order needs the bearer token of `spec.listen.adminToken`. If the manifests name no token, all orders are refused.
//! The core carries out an order. A pause is also kept where the next process finds it.
//! <https://datatracker.ietf.org/doc/html/rfc6750>

use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use muster_operations::inspect::Done;
use muster_reconciler::ids::JobId;
use muster_reconciler::reason::OrderAnswer;
use muster_reconciler::steer::Order;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::timeout;
use warp::http::StatusCode;
use warp::http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use warp::reply::Response;

use super::state::{Admin, Steer};
use super::token::GivenToken;
use super::webhook::read_body;

/// The longest body of an order, in bytes.
const MAX_BODY: u64 = 4096;
/// How long the body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest reason, in characters.
const MAX_REASON: usize = 200;

/// What an order does with a pool, a runner or a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The pool launches nothing until it is resumed.
    Pause,
    /// The paused pool may launch again.
    Resume,
    /// The runner, or each runner of the pool, ends once no job runs on it.
    Drain,
    /// The lost job, or each lost job of the pool, runs again.
    Rerun,
}

impl std::str::FromStr for Verb {
    type Err = ();
    fn from_str(text: &str) -> Result<Verb, ()> {
        match text {
            "pause" => Ok(Verb::Pause),
            "resume" => Ok(Verb::Resume),
            "drain" => Ok(Verb::Drain),
            "rerun" => Ok(Verb::Rerun),
            _ => Err(()),
        }
    }
}

/// The body of an order, which may be empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OrderBody {
    reason: String,
}

/// The order of a path: `pools`, `runners` or `jobs`, an id and a verb. None: there is no such order.
pub fn order(kind: &str, id: &str, verb: Verb, reason: String) -> Option<Order> {
    match (kind, verb) {
        ("pools", Verb::Pause) => Some(Order::Pause(id.into(), reason)),
        ("pools", Verb::Resume) => Some(Order::Resume(id.into())),
        ("pools", Verb::Drain) => Some(Order::DrainPool(id.into(), reason)),
        ("pools", Verb::Rerun) => Some(Order::RerunPool(id.into(), reason)),
        ("jobs", Verb::Rerun) => id.parse().ok().map(|job| Order::RerunJob(JobId(job), reason)),
        ("runners", Verb::Drain) => Some(Order::DrainRunner(id.into(), reason)),
        _ => None,
    }
}

/// Reads one order, with limits on its length and its time, and carries it out.
pub async fn receive<S, B, E>(kind: String, id: String, verb: Verb, headers: HeaderMap, body: S, admin: Admin) -> Response
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let Some(steer) = &admin.steer else {
        return super::error(StatusCode::NOT_FOUND, "this process takes no orders; ask the controller's admin listener");
    };
    // The token comes first, so that a stranger's body is not waited for.
    let refused = refusal(&steer.token.borrow(), GivenToken::bearer(&headers));
    if let Some(refused) = refused {
        return refused;
    }
    match timeout(DEADLINE, read_body(&headers, body, MAX_BODY, "")).await {
        Ok(Ok(body)) => take(kind, id, verb, body, &admin, steer).await,
        Ok(Err(answer)) => answer,
        Err(_) => super::error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    }
}

async fn take(kind: String, id: String, verb: Verb, body: bytes::Bytes, admin: &Admin, steer: &Steer) -> Response {
    let wanted = if body.is_empty() { Ok(OrderBody::default()) } else { serde_json::from_slice::<OrderBody>(&body) };
    let Ok(OrderBody { reason }) = wanted else {
        return super::error(StatusCode::BAD_REQUEST, "the body is not {\"reason\": \"...\"}");
    };
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        let message = format!("the reason is longer than {MAX_REASON} characters, or holds a control character");
        return super::error(StatusCode::BAD_REQUEST, message);
    }
    let Some(order) = order(&kind, &id, verb, reason) else {
        return super::error(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    let Some(inspect) = &admin.inspect else {
        return super::error(StatusCode::NOT_FOUND, "there is no controller in this process");
    };
    let answer = match inspect.order(order).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => return super::error(StatusCode::NOT_FOUND, refusal),
        Err(e) => return super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    };
    let done = Done { said: answer.to_string(), reason_word: answer.word().into(), warning: keep(steer, answer).await.err() };
    super::json(StatusCode::OK, &done)
}

/// A pause holds until the operator resumes the pool, whatever becomes of this process.
async fn keep(steer: &Steer, answer: OrderAnswer) -> Result<(), String> {
    let (pool, pause) = match answer {
        OrderAnswer::Paused(pool, pause) | OrderAnswer::PausedBefore(pool, pause) => (pool, Some(pause)),
        OrderAnswer::Resumed(pool) | OrderAnswer::NotPaused(pool) => (pool, None),
        OrderAnswer::RunnerAsked(_)
        | OrderAnswer::RunnerAskedBefore(_)
        | OrderAnswer::RunnerGone(_)
        | OrderAnswer::PoolAsked { .. }
        | OrderAnswer::JobsAgain { .. }
        | OrderAnswer::JobAgainBefore(_) => return Ok(()),
    };
    let Some(keep) = &steer.keep else { return Ok(()) };
    keep(pool, pause).await.map_err(|why| format!("it holds now, but a restart would forget it ({why}); give the order again"))
}

/// Checks the token. None: it is the right one.
fn refusal(wanted: &Option<SecretString>, given: Option<GivenToken>) -> Option<Response> {
    let Some(wanted) = wanted else {
        let message = "no token is configured, so nothing can be changed here; set spec.listen.adminToken of the Controller";
        return Some(super::error(StatusCode::FORBIDDEN, message));
    };
    let message = match given {
        Some(given) if given.is(wanted) => return None,
        Some(_) => "the token is wrong",
        None => "a bearer token is needed",
    };
    let mut response = super::error(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"muster\""));
    Some(response)
}
