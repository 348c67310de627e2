//! Who may look at the admin listener: requests for a host that is this one, and, if the manifests want it, with a token.
//!
//! A web page elsewhere can make an operator's browser ask this listener under the page's own name (DNS rebinding). The browser
//! then sends that name as `Host`. So only names that are known to be this listener's are answered. No name resolves to an
//! address that is written as an address, so those are always answered.
//! <https://datatracker.ietf.org/doc/html/rfc9110#section-15.5.20>

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::path::FullPath;
use warp::host::Authority;
use warp::http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use warp::http::{Method, StatusCode};
use warp::reject::{Reject, Rejection};
use warp::reply::Response;

use super::token::GivenToken;

/// What health checks ask. They show nothing of the cluster, so they need no token.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Who may look.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// The names under which this listener is asked, besides `localhost` and addresses.
    pub hosts: Arc<[String]>,
    /// The token for looking. None, or no token in force: everybody who reaches the listener may look.
    pub token: Option<watch::Receiver<Option<SecretString>>>,
}

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotLetIn {
    /// The request is for another host.
    Host(String),
    /// The request has no token for looking, or a wrong one.
    Token {
        /// Whether there is a token.
        given: bool,
    },
}

impl Reject for NotLetIn {}

impl Door {
    /// Lets a request in, or rejects it with [`NotLetIn`]. The token for orders is good for looking, too.
    pub(super) fn filter(
        self,
        order_token: Option<watch::Receiver<Option<SecretString>>>,
    ) -> impl Filter<Extract = (), Error = Rejection> + Clone {
        warp::host::optional()
            .or(warp::any().map(|| None::<Authority>))
            .unify()
            .and(warp::method())
            .and(warp::path::full())
            .and(warp::header::headers_cloned())
            .and_then(move |host: Option<Authority>, method: Method, path: FullPath, headers: HeaderMap| {
                let orders = order_token.as_ref().and_then(|token| token.borrow().clone());
                let passes = self.check(host.as_ref(), &method, path.as_str(), &headers, orders);
                async move { passes.map_err(warp::reject::custom) }
            })
            .untuple_one()
    }

    fn check(
        &self,
        host: Option<&Authority>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        orders: Option<SecretString>,
    ) -> Result<(), NotLetIn> {
        let named = host.map(Authority::host).unwrap_or_default();
        if !self.is_here(named) {
            return Err(NotLetIn::Host(named.chars().take(100).collect()));
        }
        // An order brings the token for orders.
        if HEALTH.contains(&path) || *method == Method::POST {
            return Ok(());
        }
        let Some(wanted) = self.token.as_ref().and_then(|token| token.borrow().clone()) else { return Ok(()) };
        let given = GivenToken::bearer(headers).or_else(|| GivenToken::password(headers));
        match given {
            Some(given) if given.is(&wanted) || orders.is_some_and(|orders| given.is(&orders)) => Ok(()),
            given => Err(NotLetIn::Token { given: given.is_some() }),
        }
    }

    fn is_here(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host);
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        address.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |inner| inner.parse::<Ipv6Addr>().is_ok())
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

impl NotLetIn {
    /// The answer to the request.
    pub fn answer(&self) -> Response {
        match self {
            NotLetIn::Host(host) => {
                let called = if host.is_empty() { "no name".to_owned() } else { format!("{host:?}") };
                let message = format!(
                    "this listener was asked as {called}, and answers to addresses, localhost and the names in \
                     spec.listen.adminHosts of the Controller only; add the name there if it is this listener's"
                );
                super::error(StatusCode::MISDIRECTED_REQUEST, message)
            }
            NotLetIn::Token { given } => {
                let message = if *given { "the token is wrong" } else { "a token is needed to look" };
                let mut response = super::error(StatusCode::UNAUTHORIZED, message);
                // A browser asks its user for the password. Orders take bearer tokens only, which no other page can send.
                for challenge in ["Bearer realm=\"muster\"", "Basic realm=\"muster\", charset=\"UTF-8\""] {
                    response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
                response
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_known_names_are_this_host() {
        let door = Door { hosts: Arc::new(["muster.internal".to_owned()]), ..Door::default() };
        for host in
            ["127.0.0.1", "10.0.3.7", "[::1]", "[2001:db8::7]", "localhost", "LOCALHOST.", "Muster.Internal", "muster.internal."]
        {
            assert!(door.is_here(host), "{host}");
        }
        for host in [
            "",
            "rebind.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "::1",
            "[evil]",
            "1",
            "0x7f.1",
            "internal",
        ] {
            assert!(!door.is_here(host), "{host}");
        }
    }
}
