//! Compares tokens. <https://datatracker.ietf.org/doc/html/rfc6750> <https://datatracker.ietf.org/doc/html/rfc7617>

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use warp::http::header::{AUTHORIZATION, HeaderMap};

/// A token that a request carries.
#[derive(Clone)]
pub(super) struct GivenToken(SecretString);

impl GivenToken {
    /// The bearer token of a request. None: the request has none.
    pub fn bearer(headers: &HeaderMap) -> Option<GivenToken> {
        of_scheme(headers, "bearer").map(|token| GivenToken(SecretString::from(token)))
    }

    /// The password of a browser that asked its user. The user's name does not count.
    pub fn password(headers: &HeaderMap) -> Option<GivenToken> {
        let pair = BASE64_STANDARD.decode(of_scheme(headers, "basic")?).ok()?;
        let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        Some(GivenToken(SecretString::from(password)))
    }

    /// Whether this is the right token. Digests are compared in constant time, so neither the token's length nor its beginning
    /// leaks.
    pub fn is(&self, wanted: &SecretString) -> bool {
        let digest = |token: &SecretString| Sha256::digest(token.expose_secret().as_bytes());
        digest(&self.0).ct_eq(&digest(wanted)).into()
    }
}

fn of_scheme<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(rest.trim()).filter(|rest| scheme.eq_ignore_ascii_case(wanted) && !rest.is_empty())
}
