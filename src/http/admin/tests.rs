use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muster_operations::inspect::{Inspect, Query};
use muster_operations::liveness::Liveness;
use muster_operations::metrics::Metrics;
use muster_operations::prices::Prices;
use muster_operations::watch::Watch;
use muster_reconciler::event::JobState;
use muster_reconciler::journal::What;
use muster_reconciler::reason::{OrderAnswer, OrderRefusal, Unready};
use muster_reconciler::runner::Phase;
use muster_reconciler::steer::{Order, Pause};
use muster_reconciler::time::Time;
use muster_reconciler::view::{EventView, Explanation, Snapshot, Totals};
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::super::ListenerLimits;
use super::super::console::Console;
use super::super::door::Door;
use super::super::state::{About, Admin, Keep, Steer};
use super::*;

const TOKEN: &str = "s3cret-t0ken";

/// Serves a core with `jobs` jobs that answers every question. None: the process has no core.
async fn start(jobs: Option<u64>) -> String {
    let inspect = jobs.map(core);
    let about = About { banner: Some("a demo".into()), ..About::cluster("prod") };
    let console = Console::new(|id| {
        Box::pin(async move {
            match id.as_str() {
                "i-0a" => Ok(Some("the runner is done".into())),
                "i-0b" => Ok(None),
                _ => Err("EC2 is down".into()),
            }
        })
    });
    let metrics = Arc::new(Metrics::new());
    let every = std::time::Duration::from_secs(3600);
    let stop = CancellationToken::new();
    let watch = inspect.clone().map(|i| Watch::start(i, metrics.clone(), Prices::example(), every, stop.clone()));
    let keep: Keep =
        Arc::new(|pool, _| Box::pin(async move { if pool.as_str() == "unkept" { Err("SSM is down".into()) } else { Ok(()) } }));
    let steer = Some(Steer { token: tokio::sync::watch::channel(Some(SecretString::from(TOKEN))).1, keep: Some(keep) });
    let bare = Admin::bare(about, metrics, Liveness::default(), stop);
    serve(Admin { inspect, console: Some(console), watch, steer, ..bare }).await
}

/// A core with `jobs` jobs that answers every question.
fn core(jobs: u64) -> Inspect {
    let (inspect, mut questions) = Inspect::new();
    tokio::spawn(async move {
        while let Some(query) = questions.recv().await {
            answer(query, jobs);
        }
    });
    inspect
}

fn bare() -> Admin {
    Admin::bare(About::default(), Arc::new(Metrics::new()), Liveness::default(), CancellationToken::new())
}

async fn serve(admin: Admin) -> String {
    let listener = crate::http::bind("127.0.0.1:0", "spec.listen.admin").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(crate::http::serve(listener, routes(admin), ListenerLimits::ADMIN, CancellationToken::new()));
    url
}

fn answer(query: Query, jobs: u64) {
    let job = |id| JobView {
        id,
        state: if id % 2 == 0 { JobState::InProgress } else { JobState::Queued },
        pool: (id % 3 != 0).then(|| "linux".into()),
        reason: format!("because of {id}"),
        ..JobView::default()
    };
    let runner = |phase: Phase| RunnerView { name: phase.to_string(), phase, pool: "linux".into(), ..RunnerView::default() };
    match query {
        Query::Pools(to) => drop(to.send(vec![PoolView {
            name: "linux".into(),
            phases: BTreeMap::from([(Phase::Idle, 2)]),
            reason: "idle floor of 2".into(),
            ..PoolView::default()
        }])),
        Query::Jobs(to) => drop(to.send((0..jobs).map(job).collect())),
        Query::Runners(to) => drop(to.send(vec![runner(Phase::Idle), runner(Phase::Failed), runner(Phase::Booting)])),
        Query::Totals(to) => drop(to.send(Totals { messages_held: 3, ..Totals::default() })),
        Query::Versions(to) => drop(to.send(std::collections::BTreeSet::new())),
        Query::Snapshot(to) => drop(to.send(Snapshot { now: 5000, ..Snapshot::default() })),
        Query::Events(after, limit, to) => {
            let event = |seq| EventView { seq, what: What::Launch, ..EventView::default() };
            drop(to.send(((after + 1..=7).take(limit).map(event).collect(), 7)));
        }
        Query::Explain(subject, to) => {
            let runners = ["i-0a", "i-0b", "i-0c"].map(|id| Subject::Runner(id.into()));
            let known = subject == Subject::Job(1) || subject == Subject::Pool("linux".into()) || runners.contains(&subject);
            let told =
                || Explanation { kind: "job".into(), id: "<1>".into(), reason: "because & so".into(), ..Explanation::default() };
            drop(to.send(known.then(told)));
        }
        Query::Order(order, to) => drop(to.send(match order {
            Order::Pause(pool, why) if pool.as_str() != "linx" => Ok(OrderAnswer::Paused(pool, Pause { since: Time::ZERO, why })),
            Order::DrainRunner(id, _) => Ok(OrderAnswer::RunnerAsked(id)),
            _ => Err(OrderRefusal::NoPool("linx".into(), "linux".into())),
        })),
        Query::Ready(to) => drop(to.send(if jobs == 0 { Err(Unready::NotSwept) } else { Ok(()) })),
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
    assert_eq!(names(&jobs, "state"), ["queued", "queued", "in_progress", "in_progress"], "jobs that wait come first");
    assert!(names(&jobs, "reason").iter().all(|r| r.starts_with("because")));
    let (_, runners) = get(&format!("{url}/api/v1/runners")).await;
    assert_eq!(names(&runners, "phase"), ["failed", "booting", "idle"], "runners that went wrong come first");
    assert_eq!(
        get(&format!("{url}/api/v1/about")).await.1,
        json!({"cluster": "prod", "version": env!("CARGO_PKG_VERSION"), "banner": "a demo"})
    );
}

#[tokio::test]
async fn what_an_instance_said_of_its_end_is_read_when_it_is_asked_for() {
    let url = format!("{}/api/v1/runners", start(Some(1)).await);
    assert_eq!(get(&format!("{url}/i-0a/ended")).await, (200, json!({"ended": "the runner is done"})));
    assert_eq!(get(&format!("{url}/i-0b/ended")).await, (200, json!({"ended": null})));
    assert_eq!(get(&format!("{url}/i-0c/ended")).await, (502, json!({"error": "EC2 is down"})));
    assert_eq!(get(&format!("{url}/i-0d/ended")).await.0, 404);
    assert_eq!(get(&format!("{url}/..%2F/ended")).await.0, 400);
}

#[tokio::test]
async fn only_known_instances_are_asked_about() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = read.clone();
    let console = Console::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Some("its job is over".into())) })
    });
    let url = serve(Admin { inspect: Some(core(1)), console: Some(console), ..bare() }).await;
    for _ in 0..20 {
        assert_eq!(get(&format!("{url}/api/v1/runners/i-0a/ended")).await.0, 200);
        let (status, said) = get(&format!("{url}/api/v1/runners/i-0000000000000000a/ended")).await;
        assert!(status == 404 && said["error"].as_str().is_some_and(|e| e.contains("knows of no runner i-0000")), "{said}");
    }
    assert_eq!(read.load(Ordering::SeqCst), 1, "twenty questions for one instance are one call");
}

/// Sends a request with this `Host`.
async fn asked_as(url: &str, path: &str, host: &str) -> (u16, Value) {
    let request = reqwest::Client::new().get(format!("{url}{path}")).header("host", host);
    let response = request.send().await.expect("an answer");
    let (status, text) = (response.status().as_u16(), response.text().await.expect("text"));
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test]
async fn another_name_than_the_listener_s_own_is_answered_421_with_the_way_out() {
    let door = Door { hosts: Arc::new(["muster.internal".to_owned()]), token: None };
    let url = serve(Admin { inspect: Some(core(1)), door, ..bare() }).await;
    for good in ["127.0.0.1", "localhost:9090", "[::1]:9090", "10.1.2.3:9090", "muster.internal:9090", "MUSTER.internal"] {
        assert_eq!(asked_as(&url, "/api/v1/jobs", good).await.0, 200, "{good}");
    }
    for bad in ["rebind.evil.example", "rebind.evil.example:9090", "muster.internal.evil.example", "127.0.0.1.evil.example"] {
        for path in ["/", "/api/v1/jobs", "/api/v1/stream", "/explain/job/1", "/metrics", "/healthz", "/nothing"] {
            let (status, said) = asked_as(&url, path, bad).await;
            let said = said["error"].as_str().unwrap_or_default();
            assert!(status == 421 && said.contains("spec.listen.adminHosts"), "{bad} {path}: {status} {said}");
        }
    }
    let two = "GET http://rebind.evil.example/ HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    let none = "GET / HTTP/1.0\r\n\r\n";
    for request in [two, none] {
        let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.contains(" 421 ") && answer.contains("adminHosts"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_token_for_looking_is_asked_for_everywhere_but_at_health() {
    let (view, order) = ("the-token-for-looking", SecretString::from(TOKEN));
    let (token_in, token) = tokio::sync::watch::channel(Some(SecretString::from(view)));
    let steer = Some(Steer { token: tokio::sync::watch::channel(Some(order)).1, keep: None });
    let door = Door { token: Some(token), ..Door::default() };
    let url = serve(Admin { inspect: Some(core(1)), steer, door, ..bare() }).await;
    let client = reqwest::Client::new();
    let status = async |path: &str, header: Option<String>| {
        let request = client.get(format!("{url}{path}"));
        let request = if let Some(header) = header { request.header("authorization", header) } else { request };
        let answer = request.send().await.expect("an answer");
        let challenges = answer.headers().get_all("www-authenticate").iter().count();
        (answer.status().as_u16(), challenges)
    };
    let basic = |password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("anybody:{password}")));
    for path in ["/", "/metrics", "/api/v1/jobs", "/api/v1/about", "/api/v1/stream", "/assets/live.js", "/explain/job/1", "/x"] {
        for wrong in [None, Some("Bearer x".to_owned()), Some(basic("x")), Some(format!("Bearer {view}x"))] {
            assert_eq!(status(path, wrong.clone()).await, (401, 2), "{path} {wrong:?}");
        }
    }
    for right in [format!("Bearer {view}"), format!("Bearer {TOKEN}"), basic(view)] {
        assert_eq!(status("/api/v1/jobs", Some(right.clone())).await, (200, 0), "{right}");
    }
    assert_eq!((status("/healthz", None).await.0, status("/readyz", None).await.0), (200, 200));
    let pause = format!("{url}/api/v1/pools/linux/pause");
    for wrong in [format!("Bearer {view}"), basic(TOKEN), basic(view)] {
        assert_eq!(post(&pause, Some(&wrong), "").await.0, 401, "whoever looks, or a browser, gives no orders: {wrong}");
    }
    assert_eq!(post(&pause, Some(&format!("Bearer {TOKEN}")), "").await.0, 200);
    token_in.send_replace(None);
    assert_eq!(status("/api/v1/jobs", None).await.0, 200, "no token is in force any more");
}

/// A core that answers orders, health and scrapes, and never a reader.
#[tokio::test]
async fn orders_health_and_scrapes_never_wait_behind_readers() {
    let (inspect, mut questions) = Inspect::new();
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(query) = questions.recv().await {
            match query {
                Query::Order(..) | Query::Ready(_) | Query::Totals(_) => answer(query, 1),
                other => unanswered.push(other),
            }
        }
    });
    let steer = Some(Steer { token: tokio::sync::watch::channel(Some(SecretString::from(TOKEN))).1, keep: None });
    let url = serve(Admin { inspect: Some(inspect), steer, ..bare() }).await;
    let readers: Vec<_> = (0..200).map(|_| tokio::spawn(reqwest::get(format!("{url}/api/v1/jobs?limit=100000")))).collect();
    for _ in 0..20 {
        assert_eq!(post(&format!("{url}/api/v1/pools/linux/pause"), Some(&format!("Bearer {TOKEN}")), "").await.0, 200);
        assert_eq!(get(&format!("{url}/readyz")).await.0, 200);
        let metrics = reqwest::get(format!("{url}/metrics")).await.expect("an answer");
        assert!(metrics.text().await.expect("text").contains("muster_messages_held 3\n"));
    }
    for reader in readers {
        assert_eq!(reader.await.expect("ran").expect("an answer").status(), 503);
    }
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
    assert_eq!((status, body), (503, json!({"ready": false, "missing": "no complete sweep of EC2 yet: under way"})));
    assert_eq!(get(&format!("{}/readyz", start(Some(1)).await)).await, (200, json!({"ready": true})));
    let webhook_only = start(None).await;
    assert_eq!(get(&format!("{webhook_only}/readyz")).await.0, 200);
    assert_eq!(get(&format!("{webhook_only}/api/v1/jobs")).await.0, 404);
}

#[tokio::test]
async fn a_core_that_is_gone_is_told_and_the_metrics_still_come() {
    let (inspect, questions) = Inspect::new();
    drop(questions);
    let url = serve(Admin { inspect: Some(inspect), ..bare() }).await;
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
    assert!(page.text().await.expect("text").contains("<title>muster prod</title>"));
    let metrics = reqwest::get(format!("{url}/metrics")).await.expect("an answer");
    assert!(metrics.headers()["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
    assert!(metrics.text().await.expect("text").contains("muster_messages_held 3\n"));
    assert_eq!(get(&format!("{url}/nothing")).await.0, 404);
    assert_eq!(get(&format!("{url}/api/v1/secrets")).await.0, 404);
    let client = reqwest::Client::new();
    assert_eq!(client.head(&url).send().await.expect("an answer").status(), 200);
    for path in ["/", "/metrics", "/api/v1/jobs"] {
        let post = client.post(format!("{url}{path}")).send().await.expect("an answer");
        assert_eq!((post.status().as_u16(), &post.headers()["allow"]), (405, &"GET, HEAD".parse().expect("a header")), "{path}");
    }
}

#[tokio::test]
async fn events_come_after_a_number_and_an_explanation_or_404_for_a_subject() {
    let url = format!("{}/api/v1", start(Some(1)).await);
    let (status, events) = get(&format!("{url}/events?after=4&limit=2")).await;
    assert_eq!(
        (status, &events["items"][0]["seq"], &events["items"][1]["seq"], &events["last"]),
        (200, &json!(5), &json!(6), &json!(7))
    );
    assert_eq!(get(&format!("{url}/events?from=4")).await.0, 400);
    assert_eq!(get(&format!("{url}/explain/job/1")).await.1["reason"], "because & so");
    let (status, body) = get(&format!("{url}/explain/job/9")).await;
    assert!(status == 404 && body["error"].as_str().is_some_and(|e| e.contains("no job 9")), "{body}");
    assert_eq!(get(&format!("{url}/explain/job/x")).await.0, 400);
    let (status, body) = get(&format!("{url}/snapshot")).await;
    assert_eq!((status, &body["snapshot"]["now"]), (200, &json!(5000)));
}

async fn post(url: &str, token: Option<&str>, body: &'static str) -> (u16, Value) {
    let request = reqwest::Client::new().post(url).body(body);
    let request = if let Some(token) = token { request.header("authorization", token) } else { request };
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn an_order_needs_the_token_whole_and_exact() {
    let url = format!("{}/api/v1/pools/linux/pause", start(Some(1)).await);
    let near: String = TOKEN.chars().take(TOKEN.len() - 1).collect();
    for wrong in [
        None,
        Some("Bearer "),
        Some("Bearer x"),
        Some(TOKEN),
        Some("Basic s3cret-t0ken"),
        Some(format!("Bearer {near}").as_str()),
    ] {
        let (status, body) = post(&url, wrong, "").await;
        assert!(status == 401 && body["error"].is_string(), "{wrong:?}: {status} {body}");
    }
    let right = format!("bearer {TOKEN}");
    assert_eq!(
        post(&url, Some(&right), r#"{"reason":"a test"}"#).await,
        (
            200,
            json!({"said": OrderAnswer::Paused("linux".into(), Pause { since: Time::ZERO, why: "a test".into() }).to_string(), "reasonWord": "paused"})
        )
    );
    let no_token = tokio::sync::watch::channel(None).1;
    let admin = Admin { steer: Some(Steer { token: no_token, keep: None }), ..bare() };
    let (status, body) = post(&format!("{}/api/v1/pools/linux/pause", serve(admin).await), Some(&right), "").await;
    assert!(status == 403 && body["error"].as_str().is_some_and(|e| e.contains("spec.listen.adminToken")), "{body}");
}

#[tokio::test]
async fn an_order_that_cannot_be_taken_says_why() {
    let url = format!("{}/api/v1", start(Some(1)).await);
    let right = format!("Bearer {TOKEN}");
    for (path, body, status, word) in [
        ("pools/linx/pause", "", 404, "the pools are linux"),
        ("pools/linux/pause", "{", 400, "reason"),
        ("pools/linux/pause", r#"{"reason":"a\u0007"}"#, 400, "control"),
        ("runners/i-1/pause", "", 404, "nothing at this path"),
        ("jobs/1/drain", "", 404, "nothing at this path"),
    ] {
        let (got, said) = post(&format!("{url}/{path}"), Some(&right), body).await;
        assert!(got == status && said["error"].as_str().is_some_and(|e| e.contains(word)), "{path}: {got} {said}");
    }
    assert_eq!(
        post(&format!("{url}/runners/i-1/drain"), Some(&right), "").await,
        (200, json!({"said": OrderAnswer::RunnerAsked("i-1".into()).to_string(), "reasonWord": "runner_asked"}))
    );
    let (status, said) = post(&format!("{url}/pools/unkept/pause"), Some(&right), "").await;
    assert!(
        status == 200 && said["warning"].as_str().is_some_and(|w| w.contains("restart would forget it (SSM is down)")),
        "{said}"
    );
}

#[tokio::test]
async fn pages_escape_what_they_show_and_the_stream_begins_with_every_section() {
    let url = start(Some(1)).await;
    let page = reqwest::get(format!("{url}/explain/job/1")).await.expect("an answer").text().await.expect("text");
    assert!(page.contains("because &#38; so") && page.contains("&#60;1&#62;") && !page.contains("<1>"), "{page}");
    assert_eq!(reqwest::get(format!("{url}/explain/job/9")).await.expect("an answer").status(), 404);
    let mut stream = reqwest::get(format!("{url}/api/v1/stream")).await.expect("an answer");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains("event:beat") {
        text += &String::from_utf8_lossy(&stream.chunk().await.expect("alive").expect("not ended"));
    }
    for section in ["totals", "pools", "jobs", "runners", "events", "budgets"] {
        assert!(text.contains(&format!("event:{section}\n")) && text.contains(&format!("id=\"{section}\"")), "{section}: {text}");
    }
}
