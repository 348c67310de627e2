//! The local page of `muster app create`, and the way back from GitHub. It listens on 127.0.0.1 and answers only there.
//!
//! Who else may knock, and what is done about it:
//! - a web page of somebody else's, which has the browser ask this listener under its own name: the `Host` is not ours;
//! - a page that brings the code of another App, so that its keys would be ours: it does not know the state;
//! - another user of this machine, who looks for the state: the page has a secret address, which only the terminal shows;
//! - a second call with the right state: the App is made once.
//!
//! <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest#implementing-the-github-app-manifest-flow>

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio::sync::{Mutex, mpsc};
use warp::Filter;
use warp::filters::path::FullPath;
use warp::http::header::{HOST, HeaderMap};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::keys::KeyPlaces;
use super::made::{MadeApp, exchange};
use super::wish::AppWish;
use crate::http;

/// No script, nothing from elsewhere, in nobody's frame. `form-action` is left out: browsers hold it against every redirect
/// behind the form, and an organisation's sign-in may lie at any address.
/// <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy/form-action>
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:40rem;margin:2rem auto;padding:0 1rem}\
                     button{font:inherit;padding:.6rem 1.2rem}code{overflow-wrap:anywhere}";

/// The page with the button.
#[derive(Template)]
#[template(path = "app/ask.html")]
struct AskPage<'a> {
    wish: &'a AppWish,
    action: String,
    manifest: String,
    key: String,
    webhook_secret: String,
}

/// The page that says how it went.
#[derive(Template)]
#[template(path = "app/told.html")]
struct OutcomePage<'a> {
    title: &'a str,
    said: &'a str,
    install: Option<&'a str>,
}

/// What the terminal is told.
#[derive(Debug)]
pub(super) enum DeskNews {
    /// The App was made, and its keys were kept. The second value says whether its manifest knows the id.
    Made(Box<MadeApp>, bool),
    /// The App was made, and its keys were lost.
    Lost(anyhow::Error),
    /// It did not work, and another try may.
    Again(String),
}

/// The page, and what it waits for.
#[derive(Debug)]
pub(super) struct Desk {
    wish: AppWish,
    places: KeyPlaces,
    port: u16,
    /// The end of the page's address.
    address: String,
    /// What GitHub has to bring back.
    state: String,
    /// Whether the App was made. It is held while GitHub is asked, so that two calls do not ask at once.
    made: Mutex<bool>,
    news: mpsc::UnboundedSender<DeskNews>,
}

/// What GitHub adds to the address of the way back.
#[derive(Debug, Default, Deserialize)]
struct WayBack {
    code: Option<String>,
    state: Option<String>,
}

impl Desk {
    pub fn new(
        wish: AppWish,
        places: KeyPlaces,
        port: u16,
        [address, state]: [String; 2],
        news: mpsc::UnboundedSender<DeskNews>,
    ) -> Desk {
        Desk { wish, places, port, address, state, made: Mutex::new(false), news }
    }

    /// The address that the terminal shows.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, self.address)
    }

    fn redirect(&self) -> String {
        format!("http://127.0.0.1:{}/callback", self.port)
    }

    /// All requests.
    pub fn routes(self: Arc<Desk>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        let asked = warp::method().and(warp::path::full()).and(query).and(warp::header::headers_cloned());
        asked.then(move |method: Method, path: FullPath, query: String, headers: HeaderMap| {
            let desk = Arc::clone(&self);
            async move { desk.answer(&method, path.as_str(), &query, &headers).await }
        })
    }

    async fn answer(&self, method: &Method, path: &str, query: &str, headers: &HeaderMap) -> Response {
        let named = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if ![format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)].iter().any(|here| here == named) {
            let said = "Open the address that the terminal shows. A page of somebody else's cannot ask for it.";
            return told(StatusCode::MISDIRECTED_REQUEST, "This is another host", said, None);
        }
        let page = path.strip_prefix('/').unwrap_or_default();
        if *method != Method::GET {
            return told(StatusCode::METHOD_NOT_ALLOWED, "This cannot be sent here", "", None);
        }
        if same(page, &self.address) {
            return if *self.made.lock().await { already() } else { self.page() };
        }
        match page {
            "callback" => self.called_back(serde_urlencoded::from_str(query).unwrap_or_default()).await,
            _ => told(StatusCode::NOT_FOUND, "Nothing is here", "Open the address that the terminal shows, whole.", None),
        }
    }

    fn page(&self) -> Response {
        let page = AskPage {
            wish: &self.wish,
            action: self.wish.action(&self.state),
            manifest: self.wish.manifest(&self.redirect()).to_string(),
            key: self.places.key.file.display().to_string(),
            webhook_secret: self.places.webhook_secret.file.display().to_string(),
        };
        html(StatusCode::OK, page.render())
    }

    /// The browser is back from GitHub.
    async fn called_back(&self, back: WayBack) -> Response {
        let WayBack { code: Some(code), state: Some(state) } = back else {
            return told(
                StatusCode::BAD_REQUEST,
                "Something is missing",
                "GitHub sends a code and a state back to this page.",
                None,
            );
        };
        if !same(&state, &self.state) {
            let said = "This did not begin at the page of this command, so nothing was done. Begin at the address that the terminal shows.";
            return told(StatusCode::FORBIDDEN, "The state is wrong", said, None);
        }
        // The code becomes a part of a path.
        if code.is_empty() || code.len() > 200 || !code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return told(
                StatusCode::BAD_REQUEST,
                "The code is none of GitHub's",
                "Begin again at the address that the terminal shows.",
                None,
            );
        }
        let mut made = self.made.lock().await;
        if *made {
            return already();
        }
        let app = match exchange(&self.wish, &code).await {
            Ok(app) => app,
            Err(not) => {
                let way_out =
                    if not.again { "Load this page again to try once more." } else { "Begin at the terminal's address." };
                let said = format!("{}. {way_out}", not.said);
                self.tell(DeskNews::Again(not.said));
                return told(StatusCode::BAD_GATEWAY, "GitHub did not give the App", &said, None);
            }
        };
        *made = true;
        match self.places.keep(&app) {
            Ok(learned) => {
                let said = format!("{} was made, and its keys were written to this machine.", app.name);
                let answer = told(StatusCode::OK, "The App was made", &said, Some(&app.install));
                self.tell(DeskNews::Made(Box::new(app), learned));
                answer
            }
            Err(error) => {
                let answer = told(StatusCode::INTERNAL_SERVER_ERROR, "The keys were not kept", &format!("{error:#}"), None);
                self.tell(DeskNews::Lost(error));
                answer
            }
        }
    }

    fn tell(&self, news: DeskNews) {
        // If nobody listens any more, the command is over.
        let _ = self.news.send(news);
    }
}

fn same(given: &str, wanted: &str) -> bool {
    given.as_bytes().ct_eq(wanted.as_bytes()).into()
}

fn already() -> Response {
    told(StatusCode::CONFLICT, "The App was made already", "Go on at the terminal.", None)
}

fn told(status: StatusCode, title: &str, said: &str, install: Option<&str>) -> Response {
    html(status, OutcomePage { title, said, install }.render())
}

fn html(status: StatusCode, text: askama::Result<String>) -> Response {
    // Only the origin is told to GitHub: the rest of the address is secret.
    http::html(status, text, POLICY, "strict-origin")
}

#[cfg(test)]
mod tests;
