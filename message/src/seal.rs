//! The seal on muster's own messages on the job queue: an HMAC over the body, which only muster's two roles can make.
//!
//! The queue also gets deliveries of GitHub, which API Gateway puts there with headers that anybody may set. Without a seal, such
//! a message could pass for one that muster's webhook has verified. `docs/decisions/0015-own-messages-are-sealed.md` says why the
//! seal is made like this.

use hmac::Mac as _;

use crate::keyring::{Keyring, WebhookKey};

/// The name of the message attribute that holds the seal.
pub const ATTRIBUTE: &str = "muster";
/// The text in front of the digits of a seal.
const VERSION: &str = "v1=";

/// A message for the job queue, with its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The body, as [`crate::wire`] writes it.
    pub body: String,
    /// `v1=` and 64 hexadecimal digits: the value of [`ATTRIBUTE`].
    pub seal: String,
}

/// Why a message does not count as muster's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The attribute is not `v1=` and 64 hexadecimal digits.
    #[error("the attribute muster is not a seal: an older muster, or somebody else, put the message there")]
    Malformed,
    /// The seal has a version that this release does not know.
    #[error("the attribute muster is a seal of another version: upgrade the controller to the webhook's release")]
    Version,
    /// No configured secret gives this seal for this body.
    #[error(
        "the seal fits none of the configured webhook secrets: if a secret was removed a short time ago, list it again in \
         webhookSecrets and move the message back"
    )]
    Mismatch,
    /// No secret is configured, so the seal cannot be checked.
    #[error("no webhook secret is configured, so no seal can be checked: set webhookSecrets in a GitHubApp")]
    NoSecret,
}

/// Seals exactly these bytes.
pub fn seal(key: &WebhookKey, body: String) -> Sealed {
    let digest = key.seal.mac(body.as_bytes()).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    Sealed { seal: format!("{VERSION}{}", hex::encode(digest)), body }
}

/// Checks a seal. Returns the key that the message is sealed with. The check takes the same time wherever a wrong seal first
/// differs.
pub fn open<'a>(keyring: &'a Keyring, body: &str, seal: &str) -> Result<&'a WebhookKey, SealError> {
    let Some(digits) = seal.strip_prefix(VERSION) else {
        let later = seal.strip_prefix('v').and_then(|rest| rest.split_once('='));
        let numbered = later.is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        return Err(if numbered { SealError::Version } else { SealError::Malformed });
    };
    let mut digest = [0u8; 32];
    hex::decode_to_slice(digits, &mut digest).map_err(|_| SealError::Malformed)?;
    if keyring.is_empty() {
        return Err(SealError::NoSecret);
    }
    let fits = |key: &WebhookKey| key.seal.mac(body.as_bytes()).is_some_and(|mac| mac.verify_slice(&digest).is_ok());
    keyring.find(fits).ok_or(SealError::Mismatch)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::signature;

    const BODY: &str = r#"{"v":1,"job":1}"#;

    fn keyring(secrets: &[&str]) -> Keyring {
        Keyring::new([("main".into(), secrets.iter().map(|s| SecretString::from(*s)).collect())])
    }

    fn sealed(secret: &str) -> Sealed {
        seal(keyring(&[secret]).find(|_| true).expect("a key"), BODY.into())
    }

    /// The expected value was computed by `openssl kdf ... HKDF` and `openssl dgst -mac HMAC`. Two releases must agree on it, so
    /// a change of it would break an upgrade.
    #[test]
    fn the_seal_is_what_another_program_computes() {
        assert_eq!(sealed("hunter2").seal, "v1=865a622e37912ffc36789ae5a6f89055976f45cd47abebb6f34eb8b192d50b49");
    }

    #[test]
    fn any_secret_in_force_opens_a_seal() {
        let keys = keyring(&["new", "old"]);
        for secret in ["new", "old"] {
            assert!(open(&keys, BODY, &sealed(secret).seal).is_ok(), "{secret}");
        }
        assert_eq!(open(&keys, BODY, &sealed("gone").seal).err(), Some(SealError::Mismatch));
        assert_eq!(open(&keyring(&[""]), BODY, &sealed("new").seal).err(), Some(SealError::NoSecret));
    }

    #[test]
    fn each_byte_of_the_body_and_of_the_seal_counts() {
        let (keys, good) = (keyring(&["s"]), sealed("s"));
        for at in 0..BODY.len() {
            let mut body = BODY.as_bytes().to_vec();
            body[at] ^= 1;
            let body = String::from_utf8(body).expect("still ASCII");
            assert_eq!(open(&keys, &body, &good.seal).err(), Some(SealError::Mismatch), "{body}");
        }
        for at in 0..64 {
            let mut seal = good.seal.clone().into_bytes();
            seal[3 + at] = if seal[3 + at] == b'0' { b'1' } else { b'0' };
            let seal = String::from_utf8(seal).expect("ASCII");
            assert_eq!(open(&keys, BODY, &seal).err(), Some(SealError::Mismatch), "{seal}");
        }
        assert_eq!(open(&keys, &format!("{BODY} "), &good.seal).err(), Some(SealError::Mismatch));
    }

    #[test]
    fn what_is_no_seal_is_told_apart_from_a_wrong_one() {
        let keys = keyring(&["s"]);
        let short = sealed("s").seal[..66].to_owned();
        for (seal, error) in [
            ("1", SealError::Malformed),
            ("", SealError::Malformed),
            ("v=", SealError::Malformed),
            ("v1=", SealError::Malformed),
            (short.as_str(), SealError::Malformed),
            ("v2=00", SealError::Version),
        ] {
            assert_eq!(open(&keys, BODY, seal).err(), Some(error), "{seal}");
        }
    }

    #[test]
    fn githubs_signature_is_no_seal_and_a_seal_is_no_signature() {
        let keys = keyring(&["s"]);
        let signature = signature::sign(&SecretString::from("s"), BODY.as_bytes());
        assert_eq!(open(&keys, BODY, &signature.replace("sha256=", VERSION)).err(), Some(SealError::Mismatch));
        let seal = sealed("s").seal.replace(VERSION, "sha256=");
        assert!(signature::verify(&keys, BODY.as_bytes(), Some(&seal)).is_err());
    }
}
