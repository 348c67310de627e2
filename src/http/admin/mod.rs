//! The admin listener: `/metrics`, `/healthz`, `/readyz`, the JSON API under `/api/v1/` and the live page at `/`.
//!
//! Reading needs no authentication, so the listener binds to loopback unless the manifests say otherwise. Orders
//! ([`super::steer`]) need a token.

use std::convert::Infallible;

use muster_operations::subject::Subject;
use muster_reconciler::view::{JobView, PoolView, RunnerView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::live_view::{attention, state_rank};
use super::state::Admin;
use super::steer::{self, Verb};
use super::{assets, live};

/// The most items in an answer without `?limit=`.
const DEFAULT_LIMIT: usize = 1000;
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
    let with = warp::any().map(move || admin.clone());
    let page = warp::path::end().and(super::get()).and(with.clone()).and(query()).then(live::page);
    let explained = warp::path!("explain" / String / String).and(super::get()).and(with.clone()).then(live::explained);
    let stream = warp::path!("api" / "v1" / "stream").and(super::get()).and(with.clone()).and(query()).then(live::stream);
    let asset = warp::path!("assets" / String).and(super::get()).map(|name: String| assets::answer(&name));
    let healthz = warp::path!("healthz").and(super::get()).and(with.clone()).map(|a: Admin| super::alive(&a.liveness));
    let readyz = warp::path!("readyz").and(super::get()).and(with.clone()).then(ready);
    let metrics = warp::path!("metrics").and(super::get()).and(with.clone()).then(metrics);
    let about = warp::path!("api" / "v1" / "about")
        .and(super::get())
        .and(with.clone())
        .map(|a: Admin| super::json(StatusCode::OK, &a.about));
    let ended = warp::path!("api" / "v1" / "runners" / String / "ended").and(super::get()).and(with.clone()).then(ended);
    let events = warp::path!("api" / "v1" / "events").and(super::get()).and(with.clone()).and(query()).then(events);
    let explain = warp::path!("api" / "v1" / "explain" / String / String).and(super::get()).and(with.clone()).then(explain);
    let snapshot = warp::path!("api" / "v1" / "snapshot").and(super::get()).and(with.clone()).then(snapshot);
    let prices = warp::path!("api" / "v1" / "prices").and(super::get()).and(with.clone()).then(prices);
    let order = warp::path!("api" / "v1" / String / String / Verb)
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(with.clone())
        .then(steer::receive);
    let list = warp::path!("api" / "v1" / ListName).and(super::get()).and(with).and(query()).then(list);
    let pages = page.or(explained).unify().or(stream).unify().or(asset).unify().boxed();
    let more = events.or(explain).unify().or(snapshot).unify().or(prices).unify().or(order).unify().boxed();
    pages
        .or(more)
        .unify()
        .or(healthz)
        .unify()
        .or(readyz)
        .unify()
        .or(metrics)
        .unify()
        .or(about)
        .unify()
        .or(ended)
        .unify()
        .or(list)
        .unify()
        .recover(|r| super::refuse(r, "GET, HEAD"))
        .unify()
        .with(warp::log::custom(|info| super::log_request(&info)))
        .map(super::plain)
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

/// What an instance said about its end. This costs a call to EC2, so it is done only for the instance that is asked about.
async fn ended(instance: String, admin: Admin) -> Response {
    let Some(console) = &admin.console else {
        return super::error(StatusCode::NOT_FOUND, "this process has no EC2; ask the controller's admin listener");
    };
    let plain =
        instance.strip_prefix("i-").is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric()));
    if !plain {
        return super::error(StatusCode::BAD_REQUEST, "no instance's id; write one such as i-0123456789abcdef0");
    }
    match console(instance.into()).await {
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

/// `{"items": [...], "last": N}`: the events after `?after=`, oldest first.
async fn events(admin: Admin, query: String) -> Response {
    let since: Since = match serde_urlencoded::from_str(&query) {
        Ok(since) => since,
        Err(e) => return super::error(StatusCode::BAD_REQUEST, format!("failed to read the query string: {e}")),
    };
    let Some(inspect) = &admin.inspect else { return no_core() };
    match inspect.events(since.after, since.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)).await {
        Ok((items, last)) => super::json(StatusCode::OK, &json!({ "items": items, "last": last })),
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
async fn snapshot(admin: Admin) -> Response {
    let Some(watch) = &admin.watch else { return no_core() };
    match watch.snapshot().await {
        Ok(snapshot) => super::json(StatusCode::OK, &json!({ "snapshot": &*snapshot, "cost": watch.cost() })),
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
        ListName::Pools => inspect.pools().await.map(|all| items(all, &wish, |v: &PoolView, w| like(&w.pool, &v.name))),
        ListName::Jobs => inspect.jobs().await.map(|mut all| {
            // Jobs that wait come first, so that a limit does not cut them off.
            all.sort_by_key(|v| state_rank(v.state));
            items(all, &wish, |v: &JobView, w| {
                like(&w.pool, v.pool.as_deref().unwrap_or_default()) && like(&w.state, v.state.as_str())
            })
        }),
        ListName::Runners => inspect.runners().await.map(|mut all| {
            all.sort_by_key(|v| attention(v.phase));
            items(all, &wish, |v: &RunnerView, w| like(&w.pool, &v.pool) && like(&w.phase, v.phase.as_str()))
        }),
    };
    answer.unwrap_or_else(|e| super::error(StatusCode::SERVICE_UNAVAILABLE, e))
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
