//! A message of the job queue: its body, and the attribute that should be a seal, on the first line.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muster_message::keyring::Keyring;
use muster_message::{seal, wire};

static KEYS: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::new([("main".into(), vec!["a secret that is not in the corpus".into()])]));

fuzz_target!(|text: &str| {
    let (attribute, body) = text.split_once('\n').unwrap_or(("", text));
    assert!(seal::open(&KEYS, body, attribute).is_err(), "nobody here knows the secret");
    if let Ok(event) = wire::decode(body) {
        let again = wire::encode(&event);
        assert_eq!(wire::decode(&again), Ok(event));
    }
});
