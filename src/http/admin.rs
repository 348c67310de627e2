//! The admin listener: `/metrics`, `/healthz`, `/readyz`, the JSON API under `/api/v1/` and the dashboard at `/`.
//!
//! It only shows; nothing can be changed here. It has no authentication and binds to loopback unless told otherwise.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_reconciler::ids::InstanceId;
use muster_reconciler::view::{JobView, PoolView, RunnerView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::dashboard;
pub use super::inspect::{Inspect, Query, Unanswered};
use crate::metrics::Metrics;

/// Items in an answer unless `?limit=` says otherwise.
const DEFAULT_LIMIT: usize = 1000;
/// Items in an answer at most.
const MAX_LIMIT: usize = 100_000;

/// Who answers here; shown at the top of the dashboard and by `/api/v1/about`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// The cluster's name.
    pub cluster: String,
    /// This release.
    pub version: String,
    /// A sentence for the top of the page, if there is something that everybody must know ("this is a demo").
    pub banner: Option<String>,
}

impl About {
    /// About a cluster, with this release's version and no banner.
    pub fn cluster(name: impl Into<String>) -> About {
        About { cluster: name.into(), version: env!("CARGO_PKG_VERSION").into(), banner: None }
    }
}

/// What the admin listener needs.
#[derive(Clone)]
pub struct Admin {
    /// Who answers.
    pub about: About,
    /// The core; None in a process that runs the webhook only.
    pub inspect: Option<Inspect>,
    /// Reads what a box said of its end; None where there is no EC2.
    pub console: Option<Console>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Reads the reason of its end from a box's console, if there is one; Err: why it cannot be read.
pub type Console = Arc<dyn Fn(InstanceId) -> BoxFuture<'static, Result<Option<String>, String>> + Send + Sync>;

/// What an API call may ask for. Unknown names are errors: a misspelt filter would seem to match everything.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    limit: Option<usize>,
    pool: Option<String>,
    state: Option<String>,
    phase: Option<String>,
}

/// All routes of the admin listener.
pub fn routes(admin: Admin) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let with = warp::any().map(move || admin.clone());
    let page = warp::path::end().and(super::get()).map(dashboard::page);
    let healthz = warp::path!("healthz").and(super::get()).map(|| super::json(StatusCode::OK, &json!({ "status": "ok" })));
    let readyz = warp::path!("readyz").and(super::get()).and(with.clone()).then(ready);
    let metrics = warp::path!("metrics").and(super::get()).and(with.clone()).then(metrics);
    let about = warp::path!("api" / "v1" / "about")
        .and(super::get())
        .and(with.clone())
        .map(|a: Admin| super::json(StatusCode::OK, &a.about));
    let ended = warp::path!("api" / "v1" / "runners" / String / "ended").and(super::get()).and(with.clone()).then(ended);
    let list = warp::path!("api" / "v1" / Kind).and(super::get()).and(with).and(query()).then(list);
    page.or(healthz)
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

/// What can be listed.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Pools,
    Jobs,
    Runners,
}

impl std::str::FromStr for Kind {
    type Err = ();
    fn from_str(text: &str) -> Result<Kind, ()> {
        match text {
            "pools" => Ok(Kind::Pools),
            "jobs" => Ok(Kind::Jobs),
            "runners" => Ok(Kind::Runners),
            _ => Err(()),
        }
    }
}

/// The query string, empty if there is none.
fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

async fn ready(admin: Admin) -> Response {
    let missing = match &admin.inspect {
        None => None,
        Some(inspect) => match inspect.ready().await {
            Ok(Ok(())) => None,
            Ok(Err(missing)) => Some(missing),
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
        Some(inspect) => admin.metrics.scrape(inspect.totals().await.ok().as_ref()),
    };
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
    response
}

/// What a box said of its end. One EC2 call, so only for the one that is asked about.
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

async fn list(kind: Kind, admin: Admin, query: String) -> Response {
    let wish: Wish = match serde_urlencoded::from_str(&query) {
        Ok(wish) => wish,
        Err(e) => return super::error(StatusCode::BAD_REQUEST, format!("failed to read the query string: {e}")),
    };
    let stray = match kind {
        Kind::Pools => wish.state.as_ref().or(wish.phase.as_ref()),
        Kind::Jobs => wish.phase.as_ref(),
        Kind::Runners => wish.state.as_ref(),
    };
    if stray.is_some() {
        return super::error(StatusCode::BAD_REQUEST, "jobs are filtered by state, runners by phase, and pools by neither");
    }
    let Some(inspect) = &admin.inspect else {
        return super::error(StatusCode::NOT_FOUND, "this process runs the webhook only; ask the controller's admin listener");
    };
    let answer = match kind {
        Kind::Pools => inspect.pools().await.map(|all| items(all, &wish, |v: &PoolView, w| like(&w.pool, &v.name))),
        Kind::Jobs => inspect.jobs().await.map(|mut all| {
            // Those that wait come first: with a limit, they are the ones that must not be missing.
            all.sort_by_key(|v| match v.state.as_str() {
                "queued" => 0,
                "in_progress" => 1,
                _ => 2,
            });
            items(all, &wish, |v: &JobView, w| like(&w.pool, v.pool.as_deref().unwrap_or_default()) && like(&w.state, &v.state))
        }),
        Kind::Runners => inspect.runners().await.map(|mut all| {
            all.sort_by_key(|v| attention(&v.phase));
            items(all, &wish, |v: &RunnerView, w| like(&w.pool, &v.pool) && like(&w.phase, &v.phase))
        }),
    };
    answer.unwrap_or_else(|e| super::error(StatusCode::SERVICE_UNAVAILABLE, e))
}

/// What went wrong comes first, then what changes, then what is settled.
fn attention(phase: &str) -> usize {
    const ORDER: [&str; 10] =
        ["failed", "interrupted", "draining", "launching", "booting", "configured", "busy", "idle", "terminating", "gone"];
    ORDER.iter().position(|p| *p == phase).unwrap_or(ORDER.len())
}

/// Whether a value is the wished one, if one is wished.
fn like(wish: &Option<String>, value: &str) -> bool {
    wish.as_ref().is_none_or(|w| w == value)
}

/// `{"items": [...], "total": N}`: at most `limit` of the N that fit.
fn items<T: Serialize>(mut all: Vec<T>, wish: &Wish, fits: impl Fn(&T, &Wish) -> bool) -> Response {
    all.retain(|v| fits(v, wish));
    let total = all.len();
    all.truncate(wish.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT));
    #[derive(Serialize)]
    struct List<T> {
        items: Vec<T>,
        total: usize,
    }
    super::json(StatusCode::OK, &List { items: all, total })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_reconciler::view::Totals;
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Serves a core of `jobs` jobs that answers everything, or (None) no core.
    async fn start(jobs: Option<u64>) -> String {
        let inspect = jobs.map(|jobs| {
            let (inspect, mut questions) = Inspect::new();
            tokio::spawn(async move {
                while let Some(query) = questions.recv().await {
                    answer(query, jobs);
                }
            });
            inspect
        });
        let about = About { banner: Some("a demo".into()), ..About::cluster("prod") };
        let console: Console = Arc::new(|id| {
            Box::pin(async move {
                match id.as_str() {
                    "i-0a" => Ok(Some("the runner is done".into())),
                    "i-0b" => Ok(None),
                    _ => Err("EC2 is down".into()),
                }
            })
        });
        serve(Admin { about, inspect, console: Some(console), metrics: Arc::new(Metrics::new()) }).await
    }

    async fn serve(admin: Admin) -> String {
        let listener = crate::http::bind("127.0.0.1:0", "spec.listen.admin").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(crate::http::serve(listener, routes(admin), CancellationToken::new()));
        url
    }

    fn answer(query: Query, jobs: u64) {
        let job = |id| JobView {
            id,
            state: if id % 2 == 0 { "in_progress" } else { "queued" }.into(),
            pool: (id % 3 != 0).then(|| "linux".into()),
            reason: format!("because of {id}"),
            ..JobView::default()
        };
        let runner =
            |phase: &str| RunnerView { name: phase.into(), phase: phase.into(), pool: "linux".into(), ..RunnerView::default() };
        match query {
            Query::Pools(to) => drop(to.send(vec![PoolView {
                name: "linux".into(),
                phases: BTreeMap::from([("idle".into(), 2)]),
                reason: "idle floor of 2".into(),
                ..PoolView::default()
            }])),
            Query::Jobs(to) => drop(to.send((0..jobs).map(job).collect())),
            Query::Runners(to) => drop(to.send(vec![runner("idle"), runner("failed"), runner("booting")])),
            Query::Totals(to) => drop(to.send(Totals { messages_held: 3, ..Totals::default() })),
            Query::Ready(to) => drop(to.send(if jobs == 0 { Err("no complete instance sweep yet".into()) } else { Ok(()) })),
        }
    }

    async fn get(url: &str) -> (u16, Value) {
        let response = reqwest::get(url).await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    fn names<'a>(body: &'a Value, key: &str) -> Vec<&'a str> {
        body["items"].as_array().expect("items").iter().filter_map(|i| i[key].as_str()).collect()
    }

    #[tokio::test]
    async fn every_list_has_items_with_reasons() {
        let url = start(Some(4)).await;
        let (status, pools) = get(&format!("{url}/api/v1/pools")).await;
        assert_eq!((status, &pools["items"][0]["reason"], &pools["total"]), (200, &json!("idle floor of 2"), &json!(1)));
        let (_, jobs) = get(&format!("{url}/api/v1/jobs")).await;
        assert_eq!(names(&jobs, "state"), ["queued", "queued", "in_progress", "in_progress"], "those that wait come first");
        assert!(names(&jobs, "reason").iter().all(|r| r.starts_with("because")));
        let (_, runners) = get(&format!("{url}/api/v1/runners")).await;
        assert_eq!(names(&runners, "phase"), ["failed", "booting", "idle"], "what went wrong comes first");
        assert_eq!(
            get(&format!("{url}/api/v1/about")).await.1,
            json!({"cluster": "prod", "version": env!("CARGO_PKG_VERSION"), "banner": "a demo"})
        );
    }

    #[tokio::test]
    async fn what_a_box_said_of_its_end_is_read_when_it_is_asked_for() {
        let url = format!("{}/api/v1/runners", start(Some(1)).await);
        assert_eq!(get(&format!("{url}/i-0a/ended")).await, (200, json!({"ended": "the runner is done"})));
        assert_eq!(get(&format!("{url}/i-0b/ended")).await, (200, json!({"ended": null})));
        assert_eq!(get(&format!("{url}/i-0c/ended")).await, (502, json!({"error": "EC2 is down"})));
        assert_eq!(get(&format!("{url}/i-/ended")).await.0, 400);
        assert_eq!(get(&format!("{url}/..%2F/ended")).await.0, 400);
    }

    #[tokio::test]
    async fn lists_are_bounded_and_filtered() {
        let url = start(Some(2500)).await;
        let count = |body: &Value| body["items"].as_array().expect("items").len();
        let (_, all) = get(&format!("{url}/api/v1/jobs")).await;
        assert_eq!((count(&all), &all["total"]), (1000, &json!(2500)));
        let (_, some) = get(&format!("{url}/api/v1/jobs?limit=3&state=queued&pool=linux")).await;
        assert_eq!((count(&some), &some["total"]), (3, &json!(833)));
        assert_eq!(count(&get(&format!("{url}/api/v1/runners?phase=idle")).await.1), 1);
        for bad in ["jobs?stat=queued", "jobs?phase=idle", "runners?state=queued", "pools?state=x", "jobs?limit=-1"] {
            let (status, body) = get(&format!("{url}/api/v1/{bad}")).await;
            assert!(status == 400 && body["error"].is_string(), "{bad}: {status} {body}");
        }
    }

    #[tokio::test]
    async fn health_is_life_and_readiness_says_what_is_missing() {
        let url = start(Some(0)).await;
        assert_eq!(get(&format!("{url}/healthz")).await.0, 200);
        let (status, body) = get(&format!("{url}/readyz")).await;
        assert_eq!((status, body), (503, json!({"ready": false, "missing": "no complete instance sweep yet"})));
        assert_eq!(get(&format!("{}/readyz", start(Some(1)).await)).await, (200, json!({"ready": true})));
        let webhook_only = start(None).await;
        assert_eq!(get(&format!("{webhook_only}/readyz")).await.0, 200);
        assert_eq!(get(&format!("{webhook_only}/api/v1/jobs")).await.0, 404);
    }

    #[tokio::test]
    async fn a_core_that_is_gone_is_told_and_the_metrics_still_come() {
        let (inspect, questions) = Inspect::new();
        drop(questions);
        let url =
            serve(Admin { about: About::default(), inspect: Some(inspect), console: None, metrics: Arc::new(Metrics::new()) })
                .await;
        for path in ["/readyz", "/api/v1/pools"] {
            assert_eq!(get(&format!("{url}{path}")).await.0, 503, "{path}");
        }
        let text = reqwest::get(format!("{url}/metrics")).await.expect("an answer").text().await.expect("text");
        assert!(text.contains("muster_core_up 0\n"), "{text}");
    }

    #[tokio::test]
    async fn the_page_and_the_metrics_come_with_their_types_and_the_rest_is_refused() {
        let url = start(Some(1)).await;
        let page = reqwest::get(&url).await.expect("an answer");
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(page.headers().contains_key("content-security-policy"));
        assert!(page.text().await.expect("text").contains("<title>muster</title>"));
        let metrics = reqwest::get(format!("{url}/metrics")).await.expect("an answer");
        assert!(metrics.headers()["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
        assert!(metrics.text().await.expect("text").contains("muster_messages_held 3\n"));
        assert_eq!(get(&format!("{url}/nothing")).await.0, 404);
        assert_eq!(get(&format!("{url}/api/v1/secrets")).await.0, 404);
        let client = reqwest::Client::new();
        assert_eq!(client.head(&url).send().await.expect("an answer").status(), 200);
        for path in ["/", "/metrics", "/api/v1/jobs"] {
            let post = client.post(format!("{url}{path}")).send().await.expect("an answer");
            assert_eq!(
                (post.status().as_u16(), &post.headers()["allow"]),
                (405, &"GET, HEAD".parse().expect("a header")),
                "{path}"
            );
        }
    }
}
