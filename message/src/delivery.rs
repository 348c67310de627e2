//! What is to be done with a delivery of GitHub's.
//!
//! The webhook server and the queue's direct mode (API Gateway puts the raw payload on SQS) use the same function.

use muster_reconciler::event::JobEvent;
use muster_reconciler::ids::{AppName, PoolName, RunnerName};
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
    /// The header `X-Hub-Signature-256`.
    pub signature: Option<&'a str>,
    /// The header `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The raw bytes, which the signature covers.
    pub body: &'a [u8],
}

/// What is to be done with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives for one delivery, and nearly all are of the large kind")]
pub enum Acceptance {
    /// The event goes on the queue.
    Queue {
        /// The message, which `wire` has written and `seal` has sealed.
        message: Sealed,
        /// The event in the message.
        event: JobEvent,
        /// The App whose secret signed the delivery. Of several Apps that share the secret, the first one.
        signer: AppName,
        /// The pool that takes the job, or the reason why none does now.
        pool: Result<PoolName, String>,
    },
    /// GitHub asked whether anybody listens.
    Pong,
    /// There is nothing to do. The text says why.
    Ignored(String),
    /// The delivery is not believed.
    Unsigned(SignatureError),
    /// The delivery is believed and can be read, and muster cannot keep such an event, however often it comes.
    Unfit(WireError),
    /// The delivery cannot be read.
    Unreadable(PayloadError),
}

/// Verifies, reads, routes and seals a delivery: everything except the network. It takes less than 60 µs.
pub fn judge(spec: &Spec, secrets: &Keyring, delivery: &Delivery<'_>) -> Acceptance {
    let signer = match signature::verify(secrets, delivery.body, delivery.signature) {
        Ok(signer) => signer,
        Err(e) => return Acceptance::Unsigned(e),
    };
    let event = match payload::read(delivery.event, delivery.content_type, delivery.body) {
        Ok(Heard::Job(event)) => event,
        Ok(Heard::Ping) => return Acceptance::Pong,
        Ok(Heard::Nothing(why)) => return Acceptance::Ignored(why),
        Err(PayloadError::Limit(e)) => return Acceptance::Unfit(e),
        Err(e) => return Acceptance::Unreadable(e),
    };
    let route = route(spec, &event);
    let authorized = secrets.authorize(signer, spec, &event, &route);
    let pool = match route {
        Route::Pool(name) => Ok(name),
        Route::Unmatched(why) => Err(why.to_string()),
        // One of our runners has the job, so the controller must hear of it.
        Route::Foreign(why) if names_ours(spec, &event) => Err(why.to_string()),
        Route::Foreign(why) => return Acceptance::Ignored(why.to_string()),
    };
    match authorized {
        Ok(()) => {}
        // The other App delivers the event, too. A refusal would only make muster ask GitHub for the delivery again.
        Err(e) if e.overlap => return Acceptance::Ignored(e.to_string()),
        Err(e) => return Acceptance::Unsigned(e.into()),
    }
    let body = wire::encode(&event);
    if body.len() > wire::MAX_BYTES {
        return Acceptance::Unfit(WireError::TooLong(body.len()));
    }
    Acceptance::Queue { message: seal::seal(secrets.current(signer), body), event, signer: signer.app(), pool }
}

/// Whether the event names a runner whose name has the form of this cluster's names.
fn names_ours(spec: &Spec, event: &JobEvent) -> bool {
    event.runner.as_deref().is_some_and(|name| RunnerName::parse_ours(name, spec.controller.cluster()).is_some())
}

#[cfg(test)]
mod tests {
    use muster_reconciler::ids::Scope;
    use muster_reconciler::manifest::RunnerPool;
    use secrecy::SecretString;

    use super::*;

    /// Judges a job of `acme/other` on this runner. The only pool is for `acme/deploy`.
    fn judged(runner: &str) -> Acceptance {
        let mut pool = RunnerPool::default();
        pool.spec.github.app = Some("app".into());
        pool.spec.github.scope = "org/acme".parse::<Scope>().expect("a scope");
        pool.spec.github.repositories = vec!["acme/deploy".into()];
        pool.spec.labels = vec!["self-hosted".into()];
        let mut spec = Spec { pools: [("linux".into(), pool)].into(), ..Spec::default() };
        spec.controller.metadata.name = "prod".into();
        let secret = SecretString::from("s3cret");
        let body = format!(
            r#"{{"action":"in_progress","workflow_job":{{"id":1,"run_id":1,"labels":["self-hosted"],"runner_name":"{runner}",
            "runner_id":7}},"repository":{{"full_name":"acme/other"}},"organization":{{"login":"acme"}}}}"#
        );
        let signature = signature::sign(&secret, body.as_bytes());
        let secrets = Keyring::new([("app".into(), vec![secret])]);
        let delivery =
            Delivery { signature: Some(&signature), event: Some("workflow_job"), content_type: None, body: body.as_bytes() };
        judge(&spec, &secrets, &delivery)
    }

    #[test]
    fn a_job_of_another_repository_is_ignored_but_not_on_a_runner_of_ours() {
        assert!(matches!(judged("somebodys-laptop"), Acceptance::Ignored(_)));
        let Acceptance::Queue { event, pool, .. } = judged("prod.linux.i-1") else { panic!("{:?}", judged("prod.linux.i-1")) };
        assert_eq!((event.runner.as_deref(), event.runner_id.map(|id| id.0)), (Some("prod.linux.i-1"), Some(7)));
        assert!(pool.is_err_and(|why| why.contains("acme/other")));
    }
}
