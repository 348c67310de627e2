//! A delivery at the webhook: three headers and a body. The first four lines of the input are the signature, the event, the content
//! type, and whether the right signature replaces the first line.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muster_message::delivery::{Acceptance, Delivery, judge};
use muster_message::keyring::Keyring;
use muster_message::{seal, signature, wire};
use muster_reconciler::manifest::{RunnerPool, Spec};
use secrecy::SecretString;

static SECRET: LazyLock<SecretString> = LazyLock::new(|| "it is a secret to nobody here".into());

static CLUSTER: LazyLock<(Spec, Keyring)> = LazyLock::new(|| {
    let mut pool = RunnerPool::default();
    pool.spec.github.app = Some("main".into());
    pool.spec.github.scope = "org/acme".parse().expect("a scope");
    pool.spec.labels = ["self-hosted", "linux", "x64"].map(str::to_owned).into();
    let mut spec = Spec { pools: [("linux".into(), pool)].into(), ..Spec::default() };
    spec.controller.metadata.name = "prod".into();
    (spec, Keyring::new([("main".into(), vec![SECRET.clone()])]))
});

fuzz_target!(|data: &[u8]| {
    let (spec, keys) = &*CLUSTER;
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut line = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (given, event, content_type, right) = (line(), line(), line(), line().is_some_and(|word| word == "right"));
    let body = parts.next().unwrap_or_default();
    let signed = signature::sign(&SECRET, body);
    let signature = if right { Some(signed.as_str()) } else { given };
    match judge(spec, keys, &Delivery { signature, event, content_type, body }) {
        Acceptance::Unsigned(_) => {}
        accepted if !right && given != Some(signed.as_str()) => panic!("believed without the signature: {accepted:?}"),
        Acceptance::Queue { message, event, .. } => {
            assert!(message.body.len() <= wire::MAX_BYTES);
            assert_eq!(wire::decode(&message.body).as_ref(), Ok(&event), "the controller reads what the webhook wrote");
            assert!(seal::open(keys, &message.body, &message.seal).is_ok());
        }
        _ => {}
    }
});
