//! The key pairs of the GitHub App, and the check of the JWTs that are signed with them, as GitHub makes it.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::rand_core::{CryptoRng, Error, RngCore};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The DER of `DigestInfo` for SHA-256, up to the digest (RFC 8017, section 9.2).
const SHA256_PREFIX: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// The longest life that GitHub grants a JWT, in seconds, and the difference of clocks that it tolerates.
const MAX_LIFE_S: i64 = 600;
const DRIFT_S: i64 = 60;

/// SplitMix64. It makes the same throw-away key in every run.
struct Fixed(u64);

impl RngCore for Fixed {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn next_u32(&mut self) -> u32 {
        u32::try_from(self.next_u64() >> 32).expect("32 bits are left")
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]));
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Fixed {}

/// The App's first key, or the one that replaces it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    #[default]
    First,
    Second,
}

fn key(which: Key) -> &'static RsaPrivateKey {
    static KEYS: [OnceLock<RsaPrivateKey>; 2] = [OnceLock::new(), OnceLock::new()];
    let nth = which as usize;
    KEYS[nth].get_or_init(|| RsaPrivateKey::new(&mut Fixed(2 + nth as u64), 2048).expect("a key can be made"))
}

/// The App's private key in PEM, as GitHub hands it out (PKCS #1).
pub fn private_key_pem(which: Key) -> String {
    key(which).to_pkcs1_pem(rsa::pkcs1::LineEnding::LF).expect("the key can be written").to_string()
}

/// What is wrong with an App's JWT. None: nothing is.
/// <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app>
pub fn jwt_problem(jwt: &str, app_id: u64, valid: Key) -> Option<String> {
    let parts: Vec<&str> = jwt.split('.').collect();
    let [header, claims, signature] = parts[..] else { return Some("not a JWT".into()) };
    let read = |part: &str| {
        BASE64_URL_SAFE_NO_PAD
            .decode(part)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .unwrap_or_default()
    };
    if read(header)["alg"] != "RS256" {
        return Some("`alg` is not RS256".into());
    }
    let digest = Sha256::digest(format!("{header}.{claims}"));
    let scheme = Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: Box::new(SHA256_PREFIX) };
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if RsaPublicKey::from(key(valid)).verify(scheme, &digest, &signature).is_err() {
        return Some("the signature is not by the App's key".into());
    }
    let claims = read(claims);
    let now = i64::try_from(super::super::now_ms() / 1000).expect("the year is sane");
    let (issued, expires) = (claims["iat"].as_i64().unwrap_or(i64::MAX), claims["exp"].as_i64().unwrap_or(0));
    if claims["iss"] != app_id && claims["iss"].as_str().is_none_or(|iss| iss.parse() != Ok(app_id)) {
        Some(format!("`iss` is {}, the App is {app_id}", claims["iss"]))
    } else if issued > now + DRIFT_S || expires <= now || expires > now + MAX_LIFE_S + DRIFT_S {
        Some(format!("`iat` {issued} or `exp` {expires} is out of bounds at {now}"))
    } else {
        None
    }
}
