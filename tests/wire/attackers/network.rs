//! Strangers who reach a listener: they read nothing that they should not, they order nothing, and no crowd of them keeps muster from
//! its work or an operator from the brake.

use crate::support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::Value;
use support::instances::Habits;
use support::muster::{ADMIN_TOKEN, Muster};
use support::scene::{CLUSTER, Scene, linux};
use support::{eventually, ms, same, secs};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections on which nothing is said.
const IDLE: usize = 1000;
/// Clients that ask for everything, again and again.
const READERS: usize = 200;

/// A reader that asks for everything, each time on a new connection, until it is told to stop.
async fn reads(address: SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    let request = b"GET /api/v1/jobs?limit=100000 HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        let mut answer = Vec::new();
        if stream.write_all(request).await.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && !answer.is_empty() {
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_thousand_idle_connections_and_two_hundred_readers_muster_works_and_can_be_stopped() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits { job: ms(500), ..Habits::default() }).await else { return };
    // The log would have a line for each byte that the crowd sends.
    scene.muster.set_env("MUSTER_LOG", "info");
    scene.muster.spawn();
    scene.muster.ready().await;
    let address: SocketAddr = scene.muster.admin_url("").trim_start_matches("http://").parse().expect("an address");
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(address).await.expect("connected"));
    }
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(reads(address, stop.clone(), answers.clone()))).collect();
    eventually(secs(60), "every reader has been answered", || {
        let answered = answers.load(Ordering::Relaxed);
        async move { if answered >= READERS { Ok(()) } else { Err(format!("{answered} answers")) } }
    })
    .await;
    // `muster pause` waits for 2 s at most, and then its exit code is 5.
    for order in ["pause", "resume", "pause", "resume", "pause"] {
        let (code, said, error) = scene.muster.command(&[order, "pool/linux"]).await;
        assert_eq!((code, error.as_str()), (0, ""), "{order}: {said}");
        assert_eq!(scene.muster.status("/readyz").await, 200);
        assert_eq!(scene.muster.status("/healthz").await, 200);
        assert_eq!(scene.muster.status("/metrics").await, 200);
    }
    let before = scene.moto.snapshot().await.instances.len();
    assert_eq!(scene.muster.command(&["resume", "pool/linux"]).await.0, 0);
    scene.queue_jobs(3);
    scene.all_done(secs(60)).await;
    assert!(scene.launched().await > before, "sweeps and launches go on");
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("ran");
    }
    drop(idle);
    scene.all_gone(secs(60)).await;
    eventually(secs(30), "readers are served again", || async {
        let (code, _, error) = scene.muster.command(&["get", "pools"]).await;
        same((code, error), (0, String::new()))
    })
    .await;
    let failed = |line: &Value| line["level"] == "ERROR";
    let errors: Vec<Value> =
        scene.muster.logs().lines().filter_map(|line| serde_json::from_str(line).ok()).filter(failed).collect();
    assert!(errors.is_empty(), "a crowd is no error of muster's: {errors:?}");
    let warnings = warnings(&scene.muster.logs());
    assert!(warnings < 50, "a crowd fills the log with {warnings} warnings");
}

/// How many warnings a log has.
fn warnings(logs: &str) -> usize {
    logs.lines().filter(|line| line.contains(r#""level":"WARN""#)).count()
}

/// Anybody may send to the webhook listener.
#[tokio::test]
async fn deliveries_without_a_signature_do_not_fill_the_log() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let (client, before) = (reqwest::Client::new(), warnings(&scene.muster.logs()));
    for n in 0..300 {
        let kind = if n % 2 == 0 { "application/json" } else { "text/plain" };
        let post = client.post(scene.muster.webhook_url()).header("content-type", kind).body("{}");
        let status = post.send().await.expect("an answer").status().as_u16();
        assert!((400..500).contains(&status), "{status}");
    }
    let logs = scene.muster.logs();
    let told = warnings(&logs) - before;
    assert!((1..20).contains(&told), "{told} warnings tell of 300 deliveries");
    assert!(logs.contains("refused a delivery, the last of `count`"), "the log says why: {logs}");
}

/// What strangers send is no error of muster's.
#[tokio::test]
async fn garbage_on_a_socket_is_no_line_at_error() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let before = scene.muster.logs().len();
    for url in [scene.muster.admin_url(""), scene.muster.webhook_url().replace("/webhook", "")] {
        let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"\0\0\0\0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HT",
        ] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(garbage).await.expect("sent");
            stream.shutdown().await.ok();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        }
    }
    eventually(secs(30), "the log has the broken connections", || async {
        let logs = scene.muster.logs();
        same(logs.lines().filter(|line| line.contains("a connection broke")).count() >= 4, true)
    })
    .await;
    let logs = scene.muster.logs();
    let loud = logs[before..].lines().find(|line| line.contains(r#""level":"ERROR""#) || line.contains(r#""level":"WARN""#));
    assert_eq!(loud, None);
}

/// What shows something of the cluster.
const SHOWN: [&str; 8] = [
    "/",
    "/metrics",
    "/api/v1/about",
    "/api/v1/pools",
    "/api/v1/snapshot",
    "/api/v1/stream",
    "/api/v1/explain/pool/linux",
    "/explain/pool/linux",
];

/// Sends a request with these headers to the admin listener. Returns the status, and the answer as far as it ends.
async fn asks(scene: &Scene, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = reqwest::Client::new().request(method, scene.muster.admin_url(path)).timeout(secs(30));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    // Events of the live page have no end.
    let text = if status == 200 { String::new() } else { answer.text().await.expect("text") };
    (status, text)
}

/// A page elsewhere has its own name resolve to the listener, and makes the operator's browser ask there.
#[tokio::test]
async fn a_page_that_rebinds_its_name_to_the_listener_reads_and_orders_nothing() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    let rebound = ("host", "rebind.evil.example:9090");
    for path in SHOWN {
        let (status, said) = asks(&scene, Method::GET, path, &[rebound]).await;
        assert!(status == 421 && !said.contains("linux") && !said.contains(CLUSTER), "{path}: {status} {said}");
        assert_eq!(asks(&scene, Method::GET, path, &[]).await.0, 200, "{path}: by its address it is answered");
    }
    let token = format!("Bearer {ADMIN_TOKEN}");
    let (status, _) = asks(&scene, Method::POST, "/api/v1/pools/linux/pause", &[rebound, ("authorization", &token)]).await;
    assert_eq!((status, scene.muster.metric("muster_pool_paused", "pool=\"linux\"").await), (421, 0.0));
}

#[tokio::test]
async fn without_the_token_for_looking_a_stranger_sees_nothing_and_it_gives_no_orders() {
    const VIEW: &str = "it's-a-test-token-for-looking";
    let Some(mut scene) = Scene::prepare(&[linux()], Habits { job: ms(500), ..Habits::default() }).await else { return };
    scene.muster.change_controller("adminToken: 'env:MUSTER_TOKEN'", "adminToken: 'env:MUSTER_TOKEN', viewToken: 'file:view'");
    scene.muster.write("view", VIEW);
    scene.muster.spawn();
    scene.muster.ready().await;
    let basic = |password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("operator:{password}")));
    let (view, admin) = (format!("Bearer {VIEW}"), format!("Bearer {ADMIN_TOKEN}"));
    let wrong = [None, Some("Bearer it's-another-token-for-looking".to_owned()), Some(basic("password"))];
    for path in SHOWN {
        for wrong in &wrong {
            let headers: Vec<_> = wrong.iter().map(|value| ("authorization", value.as_str())).collect();
            let (status, said) = asks(&scene, Method::GET, path, &headers).await;
            assert!(status == 401 && !said.contains("linux") && !said.contains(CLUSTER), "{path} {wrong:?}: {status} {said}");
        }
        for right in [&view, &basic(VIEW), &admin] {
            assert_eq!(asks(&scene, Method::GET, path, &[("authorization", right)]).await.0, 200, "{path}");
        }
    }
    // Orders: none, a wrong token, the token for looking, and what a browser sends by itself.
    let mut strangers: Vec<Option<String>> = wrong.into();
    strangers.extend([view.clone(), basic(ADMIN_TOKEN), basic(VIEW)].map(Some));
    for order in ["/api/v1/pools/linux/pause", "/api/v1/pools/linux/drain"] {
        for given in &strangers {
            let headers: Vec<_> = given.iter().map(|value| ("authorization", value.as_str())).collect();
            assert_eq!(asks(&scene, Method::POST, order, &headers).await.0, 401, "{order} {given:?}");
        }
    }
    let told = async |what: &str| {
        let url = scene.muster.admin_url(what);
        let answer = reqwest::Client::new().get(url).header("authorization", &view).send().await.expect("an answer");
        answer.text().await.expect("text")
    };
    let pools = told("/api/v1/pools").await;
    assert!(pools.contains("\"linux\"") && !pools.contains("an operator"), "{pools}");
    // GitHub and the health checks need no token, and the work goes on.
    assert_eq!((scene.muster.status("/healthz").await, scene.muster.status("/readyz").await), (200, 200));
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    let given: Value = serde_json::from_str(&told("/api/v1/events").await).expect("JSON");
    let orders = ["paused", "drain_ordered"];
    let ordered = given["items"].as_array().expect("items").iter().find(|e| orders.iter().any(|order| e["what"] == *order));
    assert_eq!(ordered, None);
    assert_eq!(
        asks(&scene, Method::POST, "/api/v1/pools/linux/pause", &[("authorization", &admin)]).await.0,
        200,
        "the operator may"
    );
    scene.muster.assert_never_logged(&[VIEW]);
    scene.muster.assert_no_secrets_logged(&scene.github);
    // Whoever tries tokens does not fill the log. There is one line a minute at most.
    let logs = scene.muster.logs();
    let told = logs.lines().filter(|line| line.contains("requests with this status")).count();
    let tried = SHOWN.len() * 2 + strangers.len() * 2;
    assert!(told >= 1 && told < tried / 2, "{told} lines tell of {tried} requests");
}

/// Whoever may look could give orders, and nobody would notice, because the two references differ.
#[tokio::test]
async fn a_token_for_looking_that_is_the_one_for_orders_is_refused_at_the_start() {
    let Some(scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    scene.muster.change_controller("adminToken: 'env:MUSTER_TOKEN'", "adminToken: 'env:MUSTER_TOKEN', viewToken: 'file:view'");
    scene.muster.write("view", &format!("{ADMIN_TOKEN}\n"));
    let manifests = scene.muster.manifests().display().to_string();
    let same = "spec.listen.viewToken and spec.listen.adminToken lead to the same token";
    let (code, _, said) = Muster::outcome(scene.muster.start_command(&["run", "--manifests", &manifests])).await;
    assert!(code != 0 && said.contains(same) && !said.contains(ADMIN_TOKEN), "{code} {said}");
    let (_, found, said) = scene.muster.command(&["doctor", "--manifests", &manifests]).await;
    assert!(found.contains(same) && !found.contains(ADMIN_TOKEN), "{found} {said}");
}
