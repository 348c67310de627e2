//! A crowd of strangers at the admin listener: it can be reached, and nothing that reaches it keeps muster from its work or an
//! operator from the brake.

use crate::support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use support::instances::Habits;
use support::scene::{Scene, linux};
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
