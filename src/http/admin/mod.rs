//! The admin listener: `/metrics`, `/healthz`, `/readyz`, the JSON API under `/api/v1/` and the live page at `/`.
//!
//! Looking needs a token only if `spec.listen.viewToken` names one, so the listener binds to loopback unless the manifests say
//! otherwise. Orders ([`super::steer`]) always need a token. [`super::door`] says who is let in. Orders and health are answered at
//! once, and readers take turns ([`super::lanes`]).

use std::convert::Infallible;
use std::sync::Arc;

use muster_operations::client::STANDS_BY;
use muster_operations::meter::CostView;
use muster_operations::subject::Subject;
use muster_reconciler::view::{EventView, JobView, PoolView, RunnerView, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::json;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::live_view::{attention, state_rank};
use super::seldom::SeldomTold;
use super::state::Admin;
use super::steer::{self, Verb};
use super::{assets, live, rewind};

/// The most items in an answer without `?limit=`.
const DEFAULT_LIMIT: usize = 1000;
/// The longest form, in bytes.
const MAX_FORM: u64 = 4096;
/// The most items in any answer.
const MAX_LIMIT: usize = 100_000;

/// The filters of a list. An unknown name is an error, because a misspelt filter would seem to match everything.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    pool: Option<String>,
    state: Option<String>,
    phase: Option<String>,
}

/// All routes of the admin listener.
pub fn routes(admin: Admin) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let (door, lanes) = (admin.door.clone(), admin.lanes.clone());
    let door = door.filter(admin.steer.as_ref().map(|steer| steer.token.clone()));
    // The path comes first, so that other readers take no turn among the scrapes.
    let metrics = warp::path!("metrics").and(lanes.scrapes.take(super::get().and(having(&admin)).then(metrics)));
    let at_once = standing_by(&admin).or(at_once(&admin)).unify().boxed();
    let told = Arc::new(SeldomTold::default());
    door.and(at_once.or(metrics).unify().or(lanes.readers.take(looks(&admin))).unify())
        .recover(|r| super::refuse(r, "GET, HEAD"))
        .unify()
        .with(warp::log::custom(move |info| told.log(&info)))
        .map(super::plain)
}

fn having(admin: &Admin) -> impl Filter<Extract = (Admin,), Error = Infallible> + Clone + use<> {
    let admin = admin.clone();
    warp::any().map(move || admin.clone())
}

/// What a process that stands by answers instead of what it does not know. Health and metrics are its own.
fn standing_by(admin: &Admin) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path::full().and(having(admin)).and_then(|path: warp::path::FullPath, admin: Admin| async move {
        let own = matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics");
        let said = (admin.stands_by)().filter(|_| !own).ok_or_else(warp::reject::not_found)?;
        let mut answer = super::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": said }));
        answer.headers_mut().insert(STANDS_BY, HeaderValue::from_static("true"));
        Ok::<_, Rejection>(answer)
    })
}

/// What does not wait for its turn among the readers: health, orders, and what bounds its own work.
fn at_once(admin: &Admin) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let healthz = warp::path!("healthz").and(super::get()).and(having(admin)).map(|a: Admin| super::alive(&a.liveness));
    let readyz = warp::path!("readyz").and(super::get()).and(having(admin)).then(ready);
    let order = warp::path!("api" / "v1" / String / String / Verb)
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(having(admin))
        .then(steer::receive);
    let rewind = warp::path!("replay")
        .and(warp::post())
        .and(warp::body::content_length_limit(MAX_FORM))
        .and(warp::body::form())
        .and(having(admin))
        .then(rewind::go);
    let asset = warp::path!("assets" / String).and(super::get()).map(|name: String| assets::answer(&name));
    let about = warp::path!("api" / "v1" / "about")
        .and(super::get())
        .and(having(admin))
        .map(|a: Admin| super::json(StatusCode::OK, &a.about));
    let explained = warp::path!("explain" / String / String).and(super::get()).and(having(admin)).then(live::explained);
    let stream = warp::path!("api" / "v1" / "stream").and(super::get()).and(having(admin)).and(query()).then(live::stream);
    let ended = warp::path!("api" / "v1" / "runners" / String / "ended").and(super::get()).and(having(admin)).then(ended);
    let pages = asset.or(about).unify().or(explained).unify().or(stream).unify().or(ended).unify();
    healthz.or(readyz).unify().or(order).unify().or(rewind).unify().or(pages).unify()
}

/// What readers take turns at.
fn looks(admin: &Admin) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let page = warp::path::end().and(super::get()).and(having(admin)).and(query()).then(live::page);
    let find = warp::path!("find").and(super::get()).and(having(admin)).and(query()).then(live::find);
    let attention = warp::path!("api" / "v1" / "attention").and(super::get()).and(having(admin)).then(attention_list);
    let page = page.or(find).unify().or(attention).unify();
    let events = warp::path!("api" / "v1" / "events").and(super::get()).and(having(admin)).and(query()).then(events);
    let explain = warp::path!("api" / "v1" / "explain" / String / String).and(super::get()).and(having(admin)).then(explain);
    let snapshot = warp::path!("api" / "v1" / "snapshot").and(super::get()).and(having(admin)).then(snapshot);
    let prices = warp::path!("api" / "v1" / "prices").and(super::get()).and(having(admin)).then(prices);
    let list = warp::path!("api" / "v1" / ListName).and(super::get()).and(having(admin)).and(query()).then(list);
    page.or(events).unify().or(explain).unify().or(snapshot).unify().or(prices).unify().or(list).unify().boxed()
}

/// The lists that there are.
#[derive(Clone, Copy, Debug)]
enum ListName {
    Pools,
    Jobs,
    Runners,
}

impl std::str::FromStr for ListName {
    type Err = ();
    fn from_str(text: &str) -> Result<ListName, ()> {
        match text {
            "pools" => Ok(ListName::Pools),
            "jobs" => Ok(ListName::Jobs),
            "runners" => Ok(ListName::Runners),
            _ => Err(()),
        }
    }
}

/// The query string; empty if there is none.
fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

async fn ready(admin: Admin) -> Response {
    let missing = match &admin.inspect {
        None => None,
        Some(inspect) => match inspect.ready().await {
            Ok(Ok(())) => None,
            Ok(Err(missing)) => Some(missing.to_string()),
            Err(e) => Some(e.to_string()),
        },
    };
    match missing {
        None => super::json(StatusCode::OK, &json!({ "ready": true })),
        Some(missing) => super::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "missing": missing })),
    }
}

async fn metrics(admin: Admin) -> Response {
    let text = match &admin.inspect {
        None => admin.metrics.render(),
        Some(inspect) => {
            let totals = match &admin.watch {
                Some(watch) => watch.totals().await,
                None => inspect.totals().await,
            };
            admin.metrics.scrape(totals.ok().as_ref())
        }
    };
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
    response
}

/// What an instance said about its end. Only instances that the controller knows are asked about, because each may cost a call
/// to EC2.
async fn ended(instance: String, admin: Admin) -> Response {
    let (Some(console), Some(inspect)) = (&admin.console, &admin.inspect) else {
        return super::error(StatusCode::NOT_FOUND, "this process has no EC2; ask the controller's admin listener");
    };
    let id = match format!("runner/{instance}").parse() {
        Ok(Subject::Runner(id)) => id,
        _ => return super::error(StatusCode::BAD_REQUEST, "no instance's id; write one such as i-0123456789abcdef0"),
    };
    let asked = match admin.lanes.readers.turn().await {
        Ok(_turn) => inspect.explain(Subject::Runner(id.clone())).await,
        Err(busy) => return busy.answer(),
    };
    match asked {
        Ok(Some(_)) => {}
        Ok(None) => {
            let why = Subject::Runner(id.clone()).unknown();
            return super::error(StatusCode::NOT_FOUND, format!("the controller knows of no runner {id}: {why}"));
        }
        Err(e) => return super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    }
    match console.ended(id.into()).await {
        Ok(ended) => super::json(StatusCode::OK, &json!({ "ended": ended })),
        Err(why) => super::error(StatusCode::BAD_GATEWAY, why),
    }
}

/// What an `events` call may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Since {
    after: u64,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct EventsAnswer {
    items: Vec<EventView>,
    last: u64,
}

/// `{"items": [...], "last": N}`: the events after `?after=`, oldest first.
async fn events(admin: Admin, query: String) -> Response {
    let since: Since = match serde_urlencoded::from_str(&query) {
        Ok(since) => since,
        Err(e) => return super::error(StatusCode::BAD_REQUEST, format!("failed to read the query string: {e}")),
    };
    let Some(inspect) = &admin.inspect else { return no_core() };
    match inspect.events(since.after, since.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)).await {
        Ok((items, last)) => super::made(move || super::json(StatusCode::OK, &EventsAnswer { items, last })).await,
        Err(e) => super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    }
}

async fn explain(kind: String, id: String, admin: Admin) -> Response {
    let subject: Subject = match format!("{kind}/{id}").parse() {
        Ok(subject) => subject,
        Err(why) => return super::error(StatusCode::BAD_REQUEST, why),
    };
    let Some(inspect) = &admin.inspect else { return no_core() };
    match inspect.explain(subject.clone()).await {
        Ok(Some(told)) => super::json(StatusCode::OK, &told),
        Ok(None) => super::error(StatusCode::NOT_FOUND, format!("the controller knows of no {kind} {id}: {}", subject.unknown())),
        Err(e) => super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    }
}

/// A snapshot of everything, and the cost of the day.
/// `GET /api/v1/attention`: what somebody should do something about.
async fn attention_list(admin: Admin) -> Response {
    let Some(watch) = &admin.watch else { return no_core() };
    match watch.snapshot().await {
        Ok(s) => {
            let body = json!({ "items": s.attention, "total": s.attention.len(), "wellSince": s.well_since });
            super::json(StatusCode::OK, &body)
        }
        Err(e) => super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    }
}

async fn snapshot(admin: Admin) -> Response {
    let Some(watch) = &admin.watch else { return no_core() };
    match watch.snapshot().await {
        Ok(snapshot) => {
            let cost = watch.cost();
            #[derive(Serialize)]
            struct SnapshotAnswer<'a> {
                snapshot: &'a Snapshot,
                cost: CostView,
            }
            super::made(move || super::json(StatusCode::OK, &SnapshotAnswer { snapshot: &snapshot, cost })).await
        }
        Err(e) => super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    }
}

/// What an hour of each instance type costs that the pools may launch, and where each price comes from.
async fn prices(admin: Admin) -> Response {
    let Some(watch) = &admin.watch else { return no_core() };
    super::json(StatusCode::OK, &watch.prices())
}

fn no_core() -> Response {
    super::error(StatusCode::NOT_FOUND, "this process runs the webhook only; ask the controller's admin listener")
}

async fn list(kind: ListName, admin: Admin, query: String) -> Response {
    let wish: ListQuery = match serde_urlencoded::from_str(&query) {
        Ok(wish) => wish,
        Err(e) => return super::error(StatusCode::BAD_REQUEST, format!("failed to read the query string: {e}")),
    };
    let stray = match kind {
        ListName::Pools => wish.state.as_ref().or(wish.phase.as_ref()),
        ListName::Jobs => wish.phase.as_ref(),
        ListName::Runners => wish.state.as_ref(),
    };
    if stray.is_some() {
        return super::error(StatusCode::BAD_REQUEST, "jobs are filtered by state, runners by phase, and pools by neither");
    }
    let Some(inspect) = &admin.inspect else { return no_core() };
    let answer = match kind {
        ListName::Pools => inspect.pools().await.map(WholeList::Pools),
        ListName::Jobs => inspect.jobs().await.map(WholeList::Jobs),
        ListName::Runners => inspect.runners().await.map(WholeList::Runners),
    };
    match answer {
        Ok(listed) => super::made(move || listed.answer(&wish)).await,
        Err(e) => super::error(StatusCode::SERVICE_UNAVAILABLE, e),
    }
}

/// A whole list.
enum WholeList {
    Pools(Vec<PoolView>),
    Jobs(Vec<JobView>),
    Runners(Vec<RunnerView>),
}

impl WholeList {
    /// What is wished for of the list.
    fn answer(self, wish: &ListQuery) -> Response {
        match self {
            WholeList::Pools(all) => items(all, wish, |v: &PoolView, w| like(&w.pool, &v.name)),
            WholeList::Jobs(mut all) => {
                // Jobs that wait come first, so that a limit does not cut them off.
                all.sort_by_key(|v| state_rank(v.state));
                items(all, wish, |v: &JobView, w| {
                    like(&w.pool, v.pool.as_deref().unwrap_or_default()) && like(&w.state, v.state.as_str())
                })
            }
            WholeList::Runners(mut all) => {
                all.sort_by_key(|v| attention(v.phase));
                items(all, wish, |v: &RunnerView, w| like(&w.pool, &v.pool) && like(&w.phase, v.phase.as_str()))
            }
        }
    }
}

/// Whether a value is the one that the filter names, or there is no filter.
fn like(wish: &Option<String>, value: &str) -> bool {
    wish.as_ref().is_none_or(|w| w == value)
}

/// `{"items": [...], "total": N}`: at most `limit` of the `N` items that match.
fn items<T: Serialize>(mut all: Vec<T>, wish: &ListQuery, fits: impl Fn(&T, &ListQuery) -> bool) -> Response {
    all.retain(|v| fits(v, wish));
    let total = all.len();
    all.truncate(wish.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT));
    #[derive(Serialize)]
    struct ListAnswer<T> {
        items: Vec<T>,
        total: usize,
    }
    super::json(StatusCode::OK, &ListAnswer { items: all, total })
}

#[cfg(test)]
mod tests;
