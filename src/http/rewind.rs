//! The time of a replay: `POST /replay` takes the page to another moment of the record.

use muster_operations::record::instant;
use muster_reconciler::time::Time;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};
use warp::http::StatusCode;
use warp::http::header::{HeaderValue, LOCATION};
use warp::reply::Response;

use super::state::Admin;

/// The steps of the buttons: what they say, and how far they go, in milliseconds.
const STEPS: [(&str, i64); 4] = [("−1 min", -60_000), ("−5 s", -5_000), ("+5 s", 5_000), ("+1 min", 60_000)];

/// A replay whose time can be changed.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// The first and the last moment of the record.
    pub span: (Time, Time),
    /// The moment that is shown.
    pub at: watch::Receiver<Time>,
    /// Takes the moment to go to, and tells what came of it.
    pub go: mpsc::Sender<(Time, oneshot::Sender<Result<(), String>>)>,
}

/// What the form of the page shows.
#[derive(Debug)]
pub struct RewindView {
    /// The first moment, in milliseconds.
    pub first: u64,
    /// The last moment, in milliseconds.
    pub last: u64,
    /// The moment that is shown, in milliseconds.
    pub at: u64,
    /// The same moment for people.
    pub said: String,
    /// The page that comes afterwards.
    pub back: String,
    /// The buttons: what each says, and how far it goes, in milliseconds.
    pub steps: [(&'static str, i64); 4],
}

/// The form's fields.
#[derive(Debug, Deserialize)]
pub struct RewindForm {
    at: u64,
    #[serde(default)]
    by: i64,
    #[serde(default)]
    back: String,
}

impl Rewind {
    /// What the form shows on the page of this path.
    pub fn view(&self, back: impl Into<String>) -> RewindView {
        let at = *self.at.borrow();
        let [first, last] = [self.span.0, self.span.1].map(Time::as_millis);
        RewindView { first, last, at: at.as_millis(), said: instant(at), back: back.into(), steps: STEPS }
    }
}

/// Goes to another moment, and back to the page.
pub async fn go(asked: RewindForm, admin: Admin) -> Response {
    let Some(rewind) = &admin.rewind else {
        return super::error(StatusCode::NOT_FOUND, "this is no replay: its time is now");
    };
    let at = asked.at.saturating_add_signed(asked.by);
    let at = Time::from_millis(at).clamp(rewind.span.0, rewind.span.1);
    let (told, outcome) = oneshot::channel();
    let gone = match rewind.go.send((at, told)).await {
        Ok(()) => outcome.await.unwrap_or_else(|_| Err("the replay has ended".to_owned())),
        Err(_) => Err("the replay has ended".to_owned()),
    };
    if let Err(why) = gone {
        return super::error(StatusCode::CONFLICT, format!("failed to go to {}: {why}", instant(at)));
    }
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::SEE_OTHER;
    // Only to a page of this listener.
    let own = asked.back.starts_with('/') && !asked.back.starts_with("//") && !asked.back.contains('\\');
    let back = HeaderValue::from_str(if own { &asked.back } else { "/" }).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, back);
    response
}
