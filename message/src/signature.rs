//! GitHub's signature of a webhook: HMAC-SHA256 over the raw body, in hex, as `X-Hub-Signature-256: sha256=<hex>`.
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
//!
//! The webhook server and the queue's direct mode (API Gateway puts the raw payload on SQS) use the same function. Any of
//! several secrets may have signed, so that a secret can be changed without losing a delivery.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::keyring::{ForeignKey, Keyring, WebhookKey};

/// The header that carries the signature.
pub const HEADER: &str = "x-hub-signature-256";

/// Why a delivery is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The delivery has no signature.
    #[error("the X-Hub-Signature-256 header is missing: set a secret in the webhook's settings at GitHub")]
    Absent,
    /// The signature is not `sha256=` and 64 hexadecimal digits.
    #[error("the X-Hub-Signature-256 header is not sha256= and 64 hexadecimal digits")]
    Malformed,
    /// No configured secret gives this signature for this body.
    #[error("the signature fits none of the configured webhook secrets")]
    Mismatch,
    /// There is no secret to compare with. muster then refuses every delivery.
    #[error("no webhook secret is configured: set webhookSecrets in a GitHubApp")]
    NoSecret,
    /// The signature is right, but its App has no say over the job.
    #[error(transparent)]
    Foreign(#[from] ForeignKey),
}

/// The secret that signed the body. The check takes the same time wherever a wrong signature first differs.
pub fn verify<'a>(keyring: &'a Keyring, body: &[u8], header: Option<&str>) -> Result<&'a WebhookKey, SignatureError> {
    let hex_digits = header.ok_or(SignatureError::Absent)?.strip_prefix("sha256=").ok_or(SignatureError::Malformed)?;
    let mut signature = [0u8; 32];
    hex::decode_to_slice(hex_digits, &mut signature).map_err(|_| SignatureError::Malformed)?;
    if keyring.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    let signed = |key: &WebhookKey| mac(&key.secret, body).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
    keyring.find(signed).ok_or(SignatureError::Mismatch)
}

/// The header's value for a body, as GitHub makes it.
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let bytes = mac(secret, body).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    format!("sha256={}", hex::encode(bytes))
}

fn mac(secret: &SecretString, body: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes a key of any length, so this is always Some.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(secrets: &[&str]) -> Keyring {
        Keyring::new([("main".into(), secrets.iter().map(|s| SecretString::from(*s)).collect())])
    }

    fn verified(keyring: &Keyring, body: &[u8], header: Option<&str>) -> Result<(), SignatureError> {
        verify(keyring, body, header).map(|_| ())
    }

    #[test]
    fn githubs_own_test_vector_is_believed() {
        // The vector is on GitHub's page, which the module's text names.
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(verified(&keyring(&["It's a Secret to Everybody"]), b"Hello, World!", Some(header)), Ok(()));
        assert_eq!(sign(&SecretString::from("It's a Secret to Everybody"), b"Hello, World!"), header);
    }

    #[test]
    fn any_of_several_secrets_may_sign() {
        let body = b"{}";
        for (signer, expected) in [("new", Ok(())), ("old", Ok(())), ("other", Err(SignatureError::Mismatch))] {
            let header = sign(&SecretString::from(signer), body);
            assert_eq!(verified(&keyring(&["new", "old"]), body, Some(&header)), expected, "{signer}");
        }
    }

    #[test]
    fn nothing_else_is_believed() {
        let all = keyring(&["s"]);
        let good = sign(&SecretString::from("s"), b"{}");
        assert_eq!(verified(&all, b"{}", None), Err(SignatureError::Absent));
        assert_eq!(verified(&all, b"{} ", Some(&good)), Err(SignatureError::Mismatch));
        for bad in ["", "sha256=", &good[..70], &format!("{good}0"), &good.replace("sha256", "sha1"), &"é".repeat(40)] {
            assert_eq!(verified(&all, b"{}", Some(bad)), Err(SignatureError::Malformed), "{bad}");
        }
    }

    #[test]
    fn no_secret_or_an_empty_one_believes_nobody() {
        let forged = sign(&SecretString::from(""), b"{}");
        assert_eq!(verified(&keyring(&[]), b"{}", Some(&forged)), Err(SignatureError::NoSecret));
        assert_eq!(verified(&keyring(&[""]), b"{}", Some(&forged)), Err(SignatureError::NoSecret));
        assert_eq!(verified(&keyring(&["", "s"]), b"{}", Some(&forged)), Err(SignatureError::Mismatch));
    }
}
