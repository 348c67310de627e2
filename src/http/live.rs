//! The live page, and the page that explains one thing. Both are made here, from templates. Server-sent events carry the
//! sections that changed, and so keep the live page up to date. Without scripts the page is complete, but it does not
//! change.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use futures_util::stream;
use muster_operations::subject::Subject;
use muster_reconciler::mark::StateMark;
use muster_reconciler::view::{Explanation, Snapshot};
use tokio::sync::{Semaphore, SemaphorePermit};
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::reply::Response;
use warp::sse::{self, Event};

use super::live_told::ToldPage;
use super::live_view::Live;
use super::rows;
use super::state::{About, Admin};
use super::wish::{self, Wish};

/// How often an open page gets what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// The drawing of the starts is sent once in so many looks.
const FALLS_BEATS: u32 = 5;
/// After so many beats, the page of one thing is made anew. No two such pages share what the core answers.
const TOLD_BEATS: u32 = 3;
/// How many pages may be open at the same time.
const STREAMS: usize = 64;
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(STREAMS));

/// <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy>
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "live.html")]
struct LivePage<'a> {
    about: &'a About,
    v: Live,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct Explained<'a> {
    about: &'a About,
    t: &'a ToldPage,
    /// Whether the page follows what becomes of the thing.
    live: bool,
}

#[derive(Template)]
#[template(path = "live/told.html")]
struct ToldSection<'a> {
    t: &'a ToldPage,
}

macro_rules! sections {
    ($($type:ident $name:literal $path:literal)*) => {
        $(#[derive(Template)] #[template(path = $path)] struct $type<'a> { v: &'a Live })*
        /// The id and the HTML of each section.
        fn sections(v: &Live) -> Vec<(&'static str, askama::Result<String>)> {
            vec![$(($name, $type { v }.render()),)*]
        }
    };
}

sections! {
    Attention "attention" "live/attention.html"
    Totals "totals" "live/totals.html"
    Waits "waits" "live/waits.html"
    Pools "pools" "live/pools.html"
    Jobs "jobs" "live/jobs.html"
    Runners "runners" "live/runners.html"
    Falls "falls" "live/falls.html"
    Cost "cost" "live/cost.html"
    Events "events" "live/events.html"
    Budgets "budgets" "live/budgets.html"
}

/// The page as it is now.
pub async fn page(admin: Admin, query: String) -> Response {
    let v = match view(&admin, &Wish::of(&query)).await {
        Ok(v) => v,
        Err(why) => Live { trouble: why, ..Live::default() },
    };
    super::made(move || html(StatusCode::OK, LivePage { about: &admin.about, v }.render())).await
}

/// Leads from the field "Find" to what was asked for.
pub async fn find(admin: Admin, query: String) -> Response {
    let snapshot = match &admin.watch {
        Some(watch) => watch.snapshot().await.unwrap_or_default(),
        None => Default::default(),
    };
    let address = wish::find(&Wish::of(&query).q, &snapshot);
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let address = HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, address);
    response
}

/// The page that explains one job, runner or pool.
pub async fn explained(kind: String, id: String, admin: Admin) -> Response {
    let (status, t) = match format!("{kind}/{id}").parse::<Subject>() {
        Ok(subject) => match told(&admin, subject).await {
            Ok(t) => (StatusCode::OK, Ok(t)),
            Err((status, why)) => (status, Err(why)),
        },
        Err(why) => (StatusCode::BAD_REQUEST, Err(why)),
    };
    let live = t.is_ok();
    let t = t.unwrap_or_else(|reason| {
        let e = Explanation { kind, id, reason, mark: StateMark::Ends, ..Explanation::default() };
        ToldPage::new(e, None, None)
    });
    html(status, Explained { about: &admin.about, t: &t, live }.render())
}

/// What there is to say of one job, runner or pool, or why nothing can be said.
async fn told(admin: &Admin, subject: Subject) -> Result<ToldPage, (StatusCode, String)> {
    let Some(inspect) = &admin.inspect else {
        return Err((StatusCode::NOT_FOUND, "this process runs the webhook only".into()));
    };
    let asked = match admin.lanes.readers.turn().await {
        Ok(_turn) => inspect.explain(subject.clone()).await,
        Err(_) => return Err((StatusCode::SERVICE_UNAVAILABLE, "too many readers at once".into())),
    };
    let explained = asked.map_err(|e| (StatusCode::SERVICE_UNAVAILABLE, e.to_string()))?;
    let unknown = || (StatusCode::NOT_FOUND, format!("the controller knows of no {subject}: {}", subject.unknown()));
    let explained = explained.ok_or_else(unknown)?;
    let ended = match (&admin.console, &subject) {
        (Some(console), Subject::Runner(id)) if explained.state.is_over() => {
            let (console, id) = (console.clone(), id.as_str().into());
            // A task of its own, because an answer that may be streamed must be shareable between threads.
            let asked = tokio::spawn(async move { console.ended(id).await });
            asked.await.ok().and_then(Result::ok).flatten()
        }
        _ => None,
    };
    let seen = match &admin.watch {
        Some(watch) => watch.snapshot().await.ok(),
        None => None,
    };
    Ok(ToldPage::new(explained, ended, seen.as_deref()))
}

/// The stream of one open page.
struct Stream {
    admin: Admin,
    wish: Wish,
    shown: Vec<(&'static str, String)>,
    /// The events that are ready to be sent, the next one last.
    next: Vec<Event>,
    began: bool,
    /// How often the page was looked at.
    beats: u32,
    _place: SemaphorePermit<'static>,
}

/// The stream of a page. It sends each section that has changed, without the rows that have not, and a `beat` each second, so that the page notices
/// silence.
pub async fn stream(admin: Admin, query: String) -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        return super::error(StatusCode::SERVICE_UNAVAILABLE, format!("{STREAMS} pages are open already"));
    };
    let open =
        Stream { admin, wish: Wish::of(&query), shown: Vec::new(), next: Vec::new(), began: false, beats: 0, _place: place };
    sse::reply(stream::unfold(open, |mut open| async move { open.event().await.map(|event| (Ok::<_, Infallible>(event), open)) }))
        .into_response()
}

impl Stream {
    /// The next event. None: the process stops.
    async fn event(&mut self) -> Option<Event> {
        if let Some(event) = self.next.pop() {
            return Some(event);
        }
        let stop = self.admin.stop.clone();
        if std::mem::replace(&mut self.began, true) {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        let beat = |text: String| Event::default().event("beat").data(text);
        if !self.wish.about.is_empty() && !self.shown.is_empty() && !self.beats.is_multiple_of(TOLD_BEATS) {
            self.beats = self.beats.wrapping_add(1);
            return Some(beat(String::new()));
        }
        // A page that is open has its turn among the readers at each beat.
        let Ok(turn) = self.admin.lanes.readers.turn().await else { return Some(beat("too many readers at once".into())) };
        let made = if self.wish.about.is_empty() {
            let v = match view(&self.admin, &self.wish).await {
                Ok(v) => v,
                Err(why) => return Some(beat(why)),
            };
            let Ok(made) = tokio::task::spawn_blocking(move || sections(&v)).await else { return None };
            drop(turn);
            made
        } else {
            // The question takes a turn of its own.
            drop(turn);
            let Ok(subject) = self.wish.about.parse::<Subject>() else { return None };
            match told(&self.admin, subject).await {
                Ok(t) => vec![("told", ToldSection { t: &t }.render())],
                Err((_, why)) => return Some(beat(why)),
            }
        };
        self.beats = self.beats.wrapping_add(1);
        let mut now = Vec::new();
        for (name, html) in made {
            // A template that fails is a bug. The page keeps the section that it had.
            let Ok(html) = html else { continue };
            let before = self.shown.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text);
            // The largest drawing can wait for a few seconds.
            if name == "falls" && !before.is_empty() && !self.beats.is_multiple_of(FALLS_BEATS) {
                now.push((name, before.to_owned()));
                continue;
            }
            if before != html {
                self.next.push(Event::default().event(name).data(rows::without_known(before, &html)));
            }
            now.push((name, html));
        }
        self.shown = now;
        self.next.push(beat(String::new()));
        self.next.reverse();
        self.next.pop()
    }
}

async fn view(admin: &Admin, wish: &Wish) -> Result<Live, String> {
    let Some(watch) = &admin.watch else { return Err("this process runs the webhook only".into()) };
    let snapshot: std::sync::Arc<Snapshot> = watch.snapshot().await.map_err(|e| e.to_string())?;
    Ok(Live::new(&snapshot, wish, watch))
}

fn html(status: StatusCode, text: askama::Result<String>) -> Response {
    let text = match text {
        Ok(text) => text,
        Err(e) => return super::error(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to make the page: {e}")),
    };
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_takes_every_section_that_is_sent() {
        let script = include_str!("assets/live.js");
        let list = script.split_once("const SECTIONS = [").and_then(|(_, rest)| rest.split_once(']')).expect("the list").0;
        for name in sections(&Live::default()).into_iter().map(|(name, _)| name).chain(["told"]) {
            assert!(list.contains(&format!("\"{name}\"")), "live.js does not take {name}");
        }
    }
}
