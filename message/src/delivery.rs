//! What is to be done with a delivery of GitHub's.
//!
//! The webhook server and the queue's direct mode (API Gateway puts the raw payload on SQS) use the same function.

use muster_reconciler::event::JobEvent;
use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::{Route, route};

use crate::keyring::Keyring;
use crate::payload::{self, Heard, PayloadError};
use crate::seal::{self, Sealed};
use crate::signature::{self, SignatureError};
use crate::wire::{self, WireError};

/// One delivery, as it arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery<'a> {
    /// `X-Hub-Signature-256`.
    pub signature: Option<&'a str>,
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The raw bytes, which the signature is over.
    pub body: &'a [u8],
}

/// What is to be done with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives for one delivery, and nearly all are of the large kind")]
pub enum Verdict {
    /// Onto the queue with it.
    Queue {
        /// The message, as `wire` writes it and `seal` proves it.
        message: Sealed,
        /// What it says.
        event: JobEvent,
        /// The pool that takes the job, or why none does (yet).
        pool: Result<PoolName, String>,
    },
    /// GitHub asked whether anybody listens.
    Pong,
    /// Nothing to do, and why.
    Ignored(String),
    /// Not believed.
    Unsigned(SignatureError),
    /// Not understood.
    Unreadable(PayloadError),
}

/// Verifies, parses, routes and seals: everything but the network, in well under 60 µs.
pub fn judge(spec: &Spec, secrets: &Keyring, delivery: &Delivery<'_>) -> Verdict {
    let signer = match signature::verify(secrets, delivery.body, delivery.signature) {
        Ok(signer) => signer,
        Err(e) => return Verdict::Unsigned(e),
    };
    let event = match payload::read(delivery.event, delivery.content_type, delivery.body) {
        Ok(Heard::Job(event)) => event,
        Ok(Heard::Ping) => return Verdict::Pong,
        Ok(Heard::Nothing(why)) => return Verdict::Ignored(why),
        Err(e) => return Verdict::Unreadable(e),
    };
    let route = route(spec, &event);
    let authorized = secrets.authorize(signer, spec, &event, &route);
    let pool = match route {
        Route::Pool(name) => Ok(name),
        Route::Unmatched(why) => Err(why.to_string()),
        Route::Foreign(why) => return Verdict::Ignored(why.to_string()),
    };
    match authorized {
        Ok(()) => {}
        // The other App tells it, too. A refusal would only make muster ask GitHub for the delivery again.
        Err(e) if e.overlap => return Verdict::Ignored(e.to_string()),
        Err(e) => return Verdict::Unsigned(e.into()),
    }
    let body = wire::encode(&event);
    if body.len() > wire::MAX_BYTES {
        return Verdict::Unreadable(WireError::TooLong(body.len()).into());
    }
    Verdict::Queue { message: seal::seal(secrets.current(signer), body), event, pool }
}
