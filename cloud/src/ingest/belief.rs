//! Decides whether a message of the job queue is believed, and reads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_message::delivery::{self, Acceptance, Delivery};
use muster_message::keyring::Keyring;
use muster_message::seal::{self, SealError};
use muster_message::signature::{HEADER, SignatureError};
use muster_message::wire;
use muster_reconciler::event::JobEvent;
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::route;

use crate::aws::sqs::Received;

/// How many times a message whose signature or seal is wrong is looked at. Between two looks,
/// [`muster_reconciler::controller::VISIBILITY_S`] pass. Meanwhile muster reads the secrets again, which it does every five
/// minutes.
const LOOKS: u32 = 4;
/// The most messages of a kind, with muster's seal or without, that wait for another look. Whoever knows the URL of API Gateway can send such messages.
const MOST: usize = 1000;
/// A message is forgotten this long after its last look. After the same time, a refusal is logged again.
const MEMORY: Duration = Duration::from_secs(600);

/// How many refused messages the dead-letter queue gets within [`MEMORY`]. Each takes a call of its own. Whoever knows the URL of API
/// Gateway may send thousands a second, and the jobs behind them must not wait.
pub(super) const KEPT: u32 = 2000;

/// Why a message gives no event.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The message is in order, and there is nothing to do.
    Ignored(String),
    /// The message may be believed after muster has read the secrets again.
    Doubted(String),
    /// The message has no proof, or a proof that no secret can make right.
    Refused(String),
    /// The message is believed, and cannot be read.
    Poison(String),
}

/// Reads a message. It is either a message of muster's own with muster's seal, or a delivery as GitHub sent it, which API Gateway
/// put on the queue with GitHub's headers as attributes. A message with muster's attribute must be muster's own. Otherwise
/// whoever can set a header could choose by which rule the message is judged.
pub(crate) fn read(spec: &Spec, secrets: &Keyring, received: &Received) -> Result<JobEvent, Unread> {
    if let Some(seal) = received.attributes.get(seal::ATTRIBUTE) {
        return own(spec, secrets, &received.body, seal);
    }
    let header = |name: &str| {
        let found = received.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let Some(signature) = header(HEADER) else {
        let why = "it has neither muster's seal nor GitHub's signature: find out who else may write to the queue";
        return Err(Unread::Refused(why.into()));
    };
    let delivery = Delivery {
        signature: Some(signature),
        event: header("X-GitHub-Event"),
        content_type: header("Content-Type"),
        body: received.body.as_bytes(),
    };
    match delivery::judge(spec, secrets, &delivery) {
        Acceptance::Queue { event, .. } => Ok(event),
        Acceptance::Pong => Err(Unread::Ignored("ping".into())),
        Acceptance::Ignored(why) => Err(Unread::Ignored(why)),
        Acceptance::Unsigned(e @ (SignatureError::Mismatch | SignatureError::Foreign(_))) => Err(Unread::Doubted(e.to_string())),
        Acceptance::Unsigned(e) => Err(Unread::Refused(e.to_string())),
        Acceptance::Unfit(e) => Err(Unread::Poison(e.to_string())),
        Acceptance::Unreadable(e) => Err(Unread::Poison(e.to_string())),
    }
}

fn own(spec: &Spec, secrets: &Keyring, body: &str, seal: &str) -> Result<JobEvent, Unread> {
    let signer = seal::open(secrets, body, seal).map_err(|e| match e {
        SealError::Malformed => Unread::Refused(e.to_string()),
        SealError::Mismatch | SealError::Version | SealError::NoSecret => Unread::Doubted(e.to_string()),
    })?;
    let event = wire::decode(body).map_err(|e| Unread::Poison(e.to_string()))?;
    secrets.authorize(signer, spec, &event, &route(spec, &event)).map_err(|e| Unread::Doubted(e.to_string()))?;
    Ok(event)
}

/// Whether a message that is not believed is looked at once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextLook {
    /// It stays on the queue, and comes back when its visibility timeout is over.
    Again,
    /// It was looked at often enough.
    Enough,
}

/// What muster remembers of messages that are not believed.
#[derive(Clone, Debug, Default)]
pub struct Doubts(Arc<Mutex<DoubtBook>>);

#[derive(Debug, Default)]
struct DoubtBook {
    /// The messages that wait for another look: when each was last looked at, and how many times so far. First those without muster's
    /// seal, then those with it.
    waiting: [HashMap<String, (Instant, u32)>; 2],
    /// When a refusal was last logged.
    told: Option<Instant>,
    /// Since when refused messages are counted, and how many there were.
    kept: Option<(Instant, u32)>,
}

impl Doubts {
    /// What to do with a message that is not believed. The looks are counted here and not by the queue's receive count. A message that
    /// was held during many restarts was received often, and still gets all its looks. `sealed` says whether the message bears muster's
    /// seal. Such messages and others do not crowd each other out.
    pub(super) fn look(&self, message: &str, sealed: bool) -> NextLook {
        self.look_at(message, sealed, Instant::now())
    }

    fn look_at(&self, message: &str, sealed: bool, now: Instant) -> NextLook {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = &mut book.waiting[usize::from(sealed)];
        waiting.retain(|_, (last, _)| now.duration_since(*last) < MEMORY);
        let known = waiting.get(message).copied();
        let looks = known.map_or(1, |(_, looks)| looks + 1);
        if looks >= LOOKS {
            waiting.remove(message);
            return NextLook::Enough;
        }
        if known.is_none() && waiting.len() >= MOST {
            // muster wrote a message with a seal, so it is worth the calls.
            return if sealed { NextLook::Again } else { NextLook::Enough };
        }
        waiting.insert(message.to_owned(), (now, looks));
        NextLook::Again
    }

    /// Whether a refused message goes to the dead-letter queue. Of a flood, only the first [`KEPT`] within [`MEMORY`] do.
    pub(super) fn keeps(&self) -> bool {
        self.keeps_at(Instant::now())
    }

    fn keeps_at(&self, now: Instant) -> bool {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = book.kept.filter(|(since, _)| now.duration_since(*since) < MEMORY).unwrap_or((now, 0));
        book.kept = Some((since, count.saturating_add(1)));
        count < KEPT
    }

    /// Whether a refusal is to be logged. Only the first one within [`MEMORY`] is; the others are counted.
    pub(super) fn tells(&self) -> bool {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let tell = book.told.is_none_or(|told| now.duration_since(told) >= MEMORY);
        if tell {
            book.told = Some(now);
        }
        tell
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_message::signature::sign;
    use muster_reconciler::event::{JobAbout, JobState};
    use muster_reconciler::ids::{JobId, RunId, Scope};
    use muster_reconciler::manifest::RunnerPool;
    use secrecy::SecretString;

    use super::*;

    fn keyring(apps: &[(&str, &[&str])]) -> Keyring {
        Keyring::new(apps.iter().map(|(app, list)| ((*app).into(), list.iter().map(|s| SecretString::from(*s)).collect())))
    }

    fn spec() -> Spec {
        let mut pool = RunnerPool::default();
        pool.spec.github.app = Some("a".into());
        pool.spec.github.scope = "org/acme".parse::<Scope>().expect("a scope");
        pool.spec.labels = vec!["self-hosted".into()];
        Spec { pools: [("linux".into(), pool)].into(), ..Spec::default() }
    }

    fn event() -> JobEvent {
        JobEvent {
            job: JobId(1),
            run: RunId(1),
            state: JobState::Queued,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: vec!["self-hosted".into()],
            runner: None,
            runner_id: None,
            conclusion: None,
            queued_at: None,
            started_at: None,
        }
    }

    fn received(body: &str, attributes: &[(&str, &str)]) -> Received {
        let attributes: BTreeMap<String, String> = attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Received { message_id: "m".into(), receipt: "r".into(), body: body.into(), receive_count: 1, attributes }
    }

    /// The message as the webhook of `keyring` seals it, for a delivery that was signed with `secret`.
    fn sealed(keyring: &Keyring, secret: &str) -> (String, String) {
        let body = wire::encode(&event());
        let signer =
            muster_message::signature::verify(keyring, b"", Some(&sign(&SecretString::from(secret), b""))).expect("known");
        let message = seal::seal(keyring.current(signer), body);
        (message.body, message.seal)
    }

    #[test]
    fn what_the_webhook_seals_is_read() {
        let keys = keyring(&[("a", &["s"])]);
        let (body, seal) = sealed(&keys, "s");
        let said = read(&spec(), &keys, &received(&body, &[("muster", &seal)]));
        assert_eq!(said.map_err(|e| format!("{e:?}")), Ok(event()));
    }

    #[test]
    fn a_message_that_is_marked_and_not_sealed_is_refused() {
        let keys = keyring(&[("a", &["s"])]);
        let (body, seal) = sealed(&keys, "s");
        for attributes in
            [vec![("muster", "1")], vec![("muster", "")], vec![("muster", &seal[..66])], vec![("Muster", seal.as_str())], vec![]]
        {
            let said = read(&spec(), &keys, &received(&body, &attributes));
            assert!(matches!(said, Err(Unread::Refused(_))), "{attributes:?}: {said:?}");
        }
        let other = body.replace("acme/web", "acme/wed");
        let said = read(&spec(), &keys, &received(&other, &[("muster", &seal)]));
        assert!(matches!(said, Err(Unread::Doubted(_))), "another body: {said:?}");
    }

    /// If either rule were enough, whoever can add an attribute to a delivery could choose the weaker one.
    #[test]
    fn what_bears_our_attribute_has_to_be_ours_whatever_else_it_bears() {
        let keys = keyring(&[("a", &["s"])]);
        let (body, seal) = sealed(&keys, "s");
        let raw = r#"{"action":"queued","workflow_job":{"id":7,"run_id":8,"labels":["self-hosted"]},"repository":{"full_name":"acme/web"}}"#;
        let signature = sign(&SecretString::from("s"), raw.as_bytes());
        let github = [("X-Hub-Signature-256", signature.as_str()), ("X-GitHub-Event", "workflow_job")];
        assert!(read(&spec(), &keys, &received(raw, &github)).is_ok(), "GitHub's own");
        let mut both = github.to_vec();
        both.push(("muster", "1"));
        assert!(matches!(read(&spec(), &keys, &received(raw, &both)), Err(Unread::Refused(_))));
        both.push(("muster", &seal));
        assert!(matches!(read(&spec(), &keys, &received(raw, &both)), Err(Unread::Doubted(_))));
        assert!(read(&spec(), &keys, &received(&body, &both)).is_ok(), "our own, whatever GitHub's signature is of");
    }

    #[test]
    fn a_secret_may_be_rotated_on_either_side_first() {
        let (old, both, new) = (keyring(&[("a", &["old"])]), keyring(&[("a", &["new", "old"])]), keyring(&[("a", &["new"])]));
        let says =
            |keys: &Keyring, (body, seal): &(String, String)| match read(&spec(), keys, &received(body, &[("muster", seal)])) {
                Ok(_) => "believed",
                Err(Unread::Doubted(_)) => "looked at again",
                Err(_) => "refused",
            };
        let by_old = sealed(&old, "old");
        assert_eq!([&old, &both, &new].map(|keys| says(keys, &by_old)), ["believed", "believed", "looked at again"]);
        // GitHub still signs with the old secret, and the webhook already seals with the new one.
        let by_both = sealed(&both, "old");
        assert_eq!([&old, &both, &new].map(|keys| says(keys, &by_both)), ["looked at again", "believed", "believed"]);
    }

    #[test]
    fn another_apps_secret_has_no_say() {
        let keys = keyring(&[("a", &["of a"]), ("b", &["of b"])]);
        let (body, seal) = sealed(&keys, "of b");
        let said = read(&spec(), &keys, &received(&body, &[("muster", &seal)]));
        assert!(
            matches!(&said, Err(Unread::Doubted(why)) if why.contains("secret of `b`") && why.contains("belong to `a`")),
            "{said:?}"
        );
    }

    #[test]
    fn a_doubted_message_has_four_looks_however_often_it_was_received() {
        let doubts = Doubts::default();
        let (again, enough) = (NextLook::Again, NextLook::Enough);
        for sealed in [false, true] {
            let look = |message: &str| doubts.look(message, sealed);
            assert_eq!([(); 4].map(|()| look("m")), [again, again, again, enough]);
            for n in 0..MOST {
                assert_eq!(look(&format!("flood {n}")), again, "{n}");
            }
            assert_eq!(
                look("one more"),
                if sealed { again } else { enough },
                "no more room, but muster's own stays on the queue"
            );
            assert_eq!(look("flood 0"), again, "those that wait already keep their looks");
        }
    }

    /// The queue may deliver a message much later than the end of its visibility timeout.
    #[test]
    fn looks_that_come_late_count_as_well() {
        let (doubts, start) = (Doubts::default(), Instant::now());
        let look = |s| doubts.look_at("m", false, start + Duration::from_secs(s)) == NextLook::Again;
        assert_eq!([0, 350, 700, 1050].map(look), [true, true, true, false]);
        assert!((0..LOOKS.into()).all(|n| look(2000 + n * MEMORY.as_secs())), "a message that was away for longer begins anew");
    }

    #[test]
    fn the_first_refusal_of_a_while_is_told() {
        let doubts = Doubts::default();
        assert_eq!([doubts.tells(), doubts.tells()], [true, false]);
    }

    #[test]
    fn of_a_flood_a_sample_is_kept_and_later_another() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        let kept = |at: Instant| (0..KEPT + 500).filter(|_| doubts.keeps_at(at)).count();
        assert_eq!(kept(now), KEPT as usize);
        assert_eq!(kept(now + MEMORY - Duration::from_secs(1)), 0);
        assert_eq!(kept(now + MEMORY), KEPT as usize);
    }
}
