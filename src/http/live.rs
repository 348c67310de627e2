//! The live page, and the page that explains one thing. Both are made here, from templates. Server-sent events carry the
//! sections that changed, and so keep the live page up to date. Without scripts the page is complete, but it does not
//! change.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use futures_util::stream;
use muster_operations::subject::Subject;
use muster_reconciler::time::human;
use muster_reconciler::view::{EventView, Explanation, Snapshot};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use warp::reply::Response;
use warp::sse::{self, Event};

use super::live_view::{self, Live};
use super::state::{About, Admin};

/// How often an open page gets what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// How many pages may be open at the same time.
const STREAMS: usize = 64;
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(STREAMS));

/// <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy>
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// What the page may be asked for. Unknown names are ignored, because a misspelt filter shows too much, and not too little.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PageQuery {
    /// The only pool to show. Empty: all pools.
    pub pool: String,
}

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
    told: &'a Explanation,
    ended: Option<String>,
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
    Totals "totals" "live/totals.html"
    Pools "pools" "live/pools.html"
    Jobs "jobs" "live/jobs.html"
    Runners "runners" "live/runners.html"
    Events "events" "live/events.html"
    Budgets "budgets" "live/budgets.html"
}

impl Explained<'_> {
    fn age(&self, at: &u64) -> String {
        human(Duration::from_millis(self.told.now.saturating_sub(*at))).to_string()
    }

    fn left(&self, until: &u64) -> String {
        human(Duration::from_millis(until.saturating_sub(self.told.now))).to_string()
    }

    fn clock(&self, at: &u64) -> String {
        live_view::clock(*at)
    }

    fn whom(&self, e: &EventView) -> Vec<(&'static str, String)> {
        let all = [("job", e.job.map(|job| job.to_string())), ("runner", e.instance.clone()), ("pool", e.pool.clone())];
        all.into_iter().filter_map(|(kind, id)| id.map(|id| (kind, id))).filter(|(_, id)| *id != self.told.id).collect()
    }
}

/// The page as it is now.
pub async fn page(admin: Admin, query: String) -> Response {
    let v = match view(&admin, &wish(&query)).await {
        Ok(v) => v,
        Err(why) => Live { trouble: why, ..Live::default() },
    };
    super::made(move || html(StatusCode::OK, LivePage { about: &admin.about, v }.render())).await
}

/// The page that explains one job, runner or pool.
pub async fn explained(kind: String, id: String, admin: Admin) -> Response {
    let failed = |status, why: String| {
        let told = Explanation { kind: kind.clone(), id: id.clone(), reason: why, ..Explanation::default() };
        html(status, Explained { about: &admin.about, told: &told, ended: None }.render())
    };
    let subject: Subject = match format!("{kind}/{id}").parse() {
        Ok(subject) => subject,
        Err(why) => return failed(StatusCode::BAD_REQUEST, why),
    };
    let Some(inspect) = &admin.inspect else {
        return failed(StatusCode::NOT_FOUND, "this process runs the webhook only".into());
    };
    let asked = match admin.lanes.readers.turn().await {
        Ok(_turn) => inspect.explain(subject.clone()).await,
        Err(busy) => return busy.answer(),
    };
    match asked {
        Ok(Some(told)) => {
            let over = told.state.is_over();
            let ended = match (&admin.console, subject) {
                (Some(console), Subject::Runner(id)) if over => console.ended(id.into()).await.ok().flatten(),
                _ => None,
            };
            html(StatusCode::OK, Explained { about: &admin.about, told: &told, ended }.render())
        }
        Ok(None) => failed(StatusCode::NOT_FOUND, format!("the controller knows of no {kind} {id}: {}", subject.unknown())),
        Err(e) => failed(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
    }
}

/// The stream of one open page.
struct Stream {
    admin: Admin,
    wish: PageQuery,
    shown: Vec<(&'static str, String)>,
    /// The events that are ready to be sent, the next one last.
    next: Vec<Event>,
    began: bool,
    _place: SemaphorePermit<'static>,
}

/// The stream of a page. It sends each section that has changed, and a `beat` each second, so that the page notices
/// silence.
pub async fn stream(admin: Admin, query: String) -> Response {
    let Ok(place) = PLACES.try_acquire() else {
        return super::error(StatusCode::SERVICE_UNAVAILABLE, format!("{STREAMS} pages are open already"));
    };
    let open = Stream { admin, wish: wish(&query), shown: Vec::new(), next: Vec::new(), began: false, _place: place };
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
        // A page that is open has its turn among the readers at each beat.
        let Ok(turn) = self.admin.lanes.readers.turn().await else { return Some(beat("too many readers at once".into())) };
        let v = match view(&self.admin, &self.wish).await {
            Ok(v) => v,
            Err(why) => return Some(beat(why)),
        };
        let Ok(made) = tokio::task::spawn_blocking(move || sections(&v)).await else { return None };
        drop(turn);
        let mut now = Vec::new();
        for (name, html) in made {
            // A template that fails is a bug. The page keeps the section that it had.
            let Ok(html) = html else { continue };
            if !self.shown.iter().any(|(known, text)| *known == name && *text == html) {
                self.next.push(Event::default().event(name).data(&html));
            }
            now.push((name, html));
        }
        self.shown = now;
        self.next.push(beat(String::new()));
        self.next.reverse();
        self.next.pop()
    }
}

async fn view(admin: &Admin, wish: &PageQuery) -> Result<Live, String> {
    let Some(watch) = &admin.watch else { return Err("this process runs the webhook only".into()) };
    let snapshot: std::sync::Arc<Snapshot> = watch.snapshot().await.map_err(|e| e.to_string())?;
    Ok(Live::new(&snapshot, &wish.pool, watch))
}

fn wish(query: &str) -> PageQuery {
    serde_urlencoded::from_str(query).unwrap_or_default()
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
