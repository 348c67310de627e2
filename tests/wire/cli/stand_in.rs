//! A stand-in of a controller's API, with a cluster that never changes.

use std::convert::Infallible;

use muster_reconciler::event::JobState;
use muster_reconciler::journal::What;
use muster_reconciler::market::Market;
use muster_reconciler::reason::Code;
use muster_reconciler::runner::Phase;
use muster_reconciler::stage::Stage;
use muster_reconciler::view::{
    Awaited, BudgetView, EventView, Explanation, JobView, LimitView, PoolView, RunnerView, Snapshot, StageView, State,
};
use serde_json::{Value, json};
use warp::Filter;
use warp::http::{Response, StatusCode};

pub(super) const NOW: u64 = 1_800_000_000_000;
/// The token for looking.
pub(super) const VIEW_TOKEN: &str = "the-token-for-looking";
/// A text that turns, clears and hides.
pub(super) const HOSTILE: &str = "a\u{202e}b\u{1b}[2Jc\u{2028}d\u{200b}e\u{9b}31mf\u{7}g";
pub(super) const TOKEN: &str = "the-right-token";

fn pools() -> Vec<PoolView> {
    let pool = |name: &str, queued, wanted, supply, max, paused, reason: &str| PoolView {
        name: name.into(),
        scope: "org/acme".into(),
        labels: ["self-hosted", "linux", name].map(String::from).to_vec(),
        max,
        queued,
        wanted,
        supply,
        phases: if supply > 0 { [(Phase::Busy, 2), (Phase::Idle, supply)].into() } else { Default::default() },
        paused,
        reason: reason.into(),
        ..PoolView::default()
    };
    vec![
        pool(
            "linux-arm64",
            4,
            4,
            0,
            6,
            true,
            "4 wanted (4 queued jobs), 0 supplied, 0 of 6 runners; the pool has been paused by an operator for 5m",
        ),
        pool("linux-x64", 0, 0, 3, 50, false, "0 wanted (0 queued jobs), 3 supplied, 5 of 50 runners"),
    ]
}

fn jobs() -> Vec<JobView> {
    let job = |id, state, pool: Option<&str>, why: &str, reason: &str| JobView {
        id,
        run: id / 10,
        repo: "acme/web".into(),
        state,
        pool: pool.map(String::from),
        labels: ["self-hosted", "linux"].map(String::from).to_vec(),
        runner: (state == JobState::InProgress).then(|| "prod.linux-x64.i-0a1".into()),
        title: "CI / build (x64)".into(),
        branch: "main".into(),
        age_seconds: id % 100 * 61,
        why: why.into(),
        reason: reason.into(),
        ..JobView::default()
    };
    vec![
        job(
            29_679_449_526,
            JobState::Queued,
            Some("linux-arm64"),
            "paused",
            "pool linux-arm64 has been paused by an operator for 5m",
        ),
        job(29_679_449_503, JobState::Queued, None, "unmatched", "no pool takes it; linux-x64 comes nearest and lacks gpu"),
        job(29_679_449_501, JobState::InProgress, Some("linux-x64"), "running", "runs on prod.linux-x64.i-0a1"),
    ]
}

fn runners() -> Vec<RunnerView> {
    let stages = [(Stage::Launched, 1.2), (Stage::Script, 21.0), (Stage::Online, 38.5), (Stage::Started, 39.0)];
    let stages = stages.map(|(stage, after_seconds)| StageView { stage, after_seconds }).to_vec();
    let runner = |instance: &str, phase, reason: &str| RunnerView {
        name: format!("prod.linux-x64.{instance}"),
        instance: instance.into(),
        pool: "linux-x64".into(),
        phase,
        instance_type: Some("m7i.large".into()),
        market: Some(Market::Spot),
        age_seconds: 3723,
        reason: reason.into(),
        ..RunnerView::default()
    };
    let busy = RunnerView { job: Some(29_679_449_501), stages, ..runner("i-0a1", Phase::Busy, "runs job 29679449501") };
    vec![runner("i-0b2", Phase::Failed, "was not online within 5m; it is deregistered, ended and replaced"), busy]
}

fn events() -> Vec<EventView> {
    let event = |seq, what: What, job: Option<u64>, instance: Option<&str>, why: &str| EventView {
        seq,
        at: NOW - 100_000 + seq * 1000,
        what,
        bad: what.is_bad(),
        pool: Some("linux-x64".into()),
        job,
        instance: instance.map(String::from),
        why: why.into(),
        code: Code::default(),
    };
    vec![
        event(1, What::JobQueued, Some(29_679_449_501), None, "acme/web asks for [self-hosted, linux]"),
        event(2, What::LaunchFailed, None, None, "2 fewer spot instances than asked for: InsufficientInstanceCapacity"),
        event(3, What::Launch, None, None, "2 on-demand: 2 wanted (2 queued jobs), 0 supplied"),
        event(41, What::JobStarted, Some(29_679_449_501), Some("i-0a1"), "prod.linux-x64.i-0a1 took it"),
    ]
}

fn explanation() -> Explanation {
    Explanation {
        kind: "job".into(),
        id: "29679449501".into(),
        now: NOW,
        state: State::Job(JobState::Queued),
        facts: vec!["of acme/web, run 2967944950".into(), "asks for [self-hosted, linux]; pool linux-x64".into()],
        reason: "pool linux-x64 tries again in 2m: none of the pool's 4 offerings can be launched as spot: EC2 lacks capacity (InsufficientInstanceCapacity)".into(),
        code: Code::default(),
        spot: Vec::new(),
        awaits: vec![
            Awaited { what: "the pool tries to launch again".into(), word: "launch_retry".into(), until: NOW + 120_000 },
            Awaited { what: "GitHub drops a job that nobody took".into(), word: "job_expiry".into(), until: NOW + 86_300_000 },
        ],
        timeline: events()[..3].to_vec(),
        ..Explanation::default()
    }
}

fn gone() -> Explanation {
    Explanation { kind: "runner".into(), state: State::Runner(Phase::Gone), ..explanation() }
}

fn snapshot() -> Value {
    let budgets =
        vec![BudgetView { api: "ec2.CreateFleet".into(), level: 48.0, capacity: 50.0, per_second: 5.0, ..Default::default() }];
    let limits = vec![LimitView { app: "main".into(), remaining: 4711, until: NOW + 600_000, ..Default::default() }];
    let snapshot = Snapshot {
        now: NOW,
        pools: pools(),
        jobs: jobs(),
        runners: runners(),
        events: events(),
        budgets,
        limits,
        ..Snapshot::default()
    };
    let cost =
        json!({"currency": "USD", "prices": "p.yaml", "since": NOW, "total": 1.234, "pools": {}, "hours": 3.5, "coverage": 1.0});
    json!({ "snapshot": snapshot, "cost": cost })
}

fn answer(path: &str, query: &str, token: Option<String>, body: &[u8]) -> (u16, Value) {
    let list = |items: Value| (200, json!({ "total": items.as_array().map(Vec::len), "items": items }));
    let of_pool = |pool: Option<&str>| !query.contains("pool=") || pool.is_some_and(|p| query.ends_with(&format!("pool={p}")));
    let unknown = |what: &str| (404, json!({ "error": format!("the controller knows of no {what}") }));
    let order = path.ends_with("/pause") || path.ends_with("/resume") || path.ends_with("/drain");
    match path {
        "/api/v1/pools" => list(json!(pools())),
        "/api/v1/jobs" => list(json!(jobs().into_iter().filter(|j| of_pool(j.pool.as_deref())).collect::<Vec<_>>())),
        "/api/v1/runners" => list(json!(runners())),
        "/api/v1/events" => (200, json!({ "items": events(), "last": 41 })),
        "/api/v1/explain/job/29679449501" => (200, json!(explanation())),
        "/api/v1/snapshot" => (200, snapshot()),
        _ if order && token.as_deref() != Some(&format!("Bearer {TOKEN}")) => (401, json!({ "error": "the token is wrong" })),
        "/api/v1/pools/linux-x64/pause" => (200, json!({ "said": format!("paused, body {}", String::from_utf8_lossy(body)) })),
        "/api/v1/pools/linux-x64/resume" => {
            (200, json!({ "said": "goes on", "warning": "it holds now, but a restart would forget it" }))
        }
        "/api/v1/runners/i-0a1/drain" => (200, json!({ "said": "runner i-0a1 is asked to end once it is idle" })),
        "/api/v1/explain/runner/i-gone" | "/api/v1/explain/runner/i-none" => (200, json!(gone())),
        "/api/v1/runners/i-gone/ended" => (200, json!({ "ended": "the runner was registered no more" })),
        "/api/v1/runners/i-none/ended" => (502, json!({ "error": "EC2 is down" })),
        _ if path.starts_with("/closed/") && token.as_deref() != Some(&format!("Bearer {VIEW_TOKEN}")) => {
            (401, json!({ "error": "a token is needed to look" }))
        }
        "/closed/api/v1/pools" => list(json!(pools())),
        "/closed/api/v1/pools/linux-x64/pause" => (200, json!({ "said": "an order has the wrong token" })),
        "/hostile/api/v1/pools" => list(json!([PoolView { reason: HOSTILE.into(), ..PoolView::default() }])),
        "/hostile/api/v1/events" => {
            (200, json!({ "items": [EventView { why: HOSTILE.into(), ..events()[0].clone() }], "last": 1 }))
        }
        "/hostile/api/v1/explain/pool/x" => {
            (200, json!(Explanation { reason: HOSTILE.into(), facts: vec![HOSTILE.into()], ..explanation() }))
        }
        "/hostile/api/v1/snapshot" => {
            let pools = vec![PoolView { reason: HOSTILE.into(), ..PoolView::default() }];
            let mut all = snapshot();
            all["snapshot"]["pools"] = json!(pools);
            (200, all)
        }
        "/hostile/api/v1/pools/x/pause" => (200, json!({ "said": HOSTILE, "warning": HOSTILE })),
        _ if path.starts_with("/hostile/") => (404, json!({ "error": HOSTILE })),
        "/api/v1/broken" => (500, json!({})),
        "/healthz" => (200, json!({ "status": "ok" })),
        "/stuck/healthz" => (503, json!({ "error": "the controller's loop has not turned for 45 s, and 30 s is the most" })),
        _ => unknown(path.rsplit('/').next().unwrap_or_default()),
    }
}

/// Serves the stand-in, and returns its URL.
pub(super) async fn controller() -> String {
    let routes = warp::path::full()
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::optional("authorization"))
        .and(warp::body::bytes())
        .then(|path: warp::path::FullPath, query: String, token, body: bytes::Bytes| async move {
            let (status, body) = answer(path.as_str(), &query, token, &body);
            let status = StatusCode::from_u16(status).expect("a status");
            Response::builder().status(status).body(body.to_string()).expect("a plain answer")
        })
        .or_else(|_| async { Ok::<_, Infallible>((Response::new("no such route".to_owned()),)) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(warp::serve(routes).incoming(listener).run());
    url
}
