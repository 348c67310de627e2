//! The key that muster seals its messages with ([`crate::seal`]).

use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::Sha256;

/// What the derived key is for (HKDF's `info`). Another use, or another form of message, has another text, and so another key.
const PURPOSE: &[u8] = b"muster: seal of a job queue message, version 1";

/// The key that a message is sealed with. It is derived from a webhook secret, because both roles already know the webhook
/// secrets. It is never the secret itself. So nothing that GitHub signs is a seal, and no seal is a signature of GitHub's.
#[derive(Debug)]
pub struct SealKey(SecretBox<[u8; 32]>);

impl SealKey {
    /// Derives a key by HKDF-SHA256 (RFC 5869) without a salt.
    pub(crate) fn derive(secret: &SecretString) -> SealKey {
        let mut key = Box::new([0u8; 32]);
        // `expand` fails only for more than 255 blocks, and this is one block.
        let _ = Hkdf::<Sha256>::new(None, secret.expose_secret().as_bytes()).expand(PURPOSE, &mut key[..]);
        SealKey(SecretBox::new(key))
    }

    /// The MAC of a body, to be finished or compared.
    pub(crate) fn mac(&self, body: &[u8]) -> Option<Hmac<Sha256>> {
        // HMAC takes a key of any length, so the result is always `Some`.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        mac.update(body);
        Some(mac)
    }
}
