//! What a service manager and a container's health check are told of a running muster, in each of its roles.

use crate::support;

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use support::instances::Habits;
use support::scene::{Scene, linux};
use support::{eventually, same, secs};

/// systemd's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn start() -> Manager {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify").to_str().expect("text").to_owned();
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("settable");
        Manager { socket, path, _dir: dir }
    }

    /// Everything that muster has said since the last call.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 256];
        let mut words = Vec::new();
        while let Ok(read) = self.socket.recv(&mut buffer) {
            words.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        }
        words
    }

    async fn hears(&self, word: &str) {
        eventually(secs(60), word, || async {
            if self.heard().iter().any(|w| w == word) { Ok(()) } else { Err("not yet".into()) }
        })
        .await;
    }
}

async fn told_in_role(role: &str) {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    let manager = Manager::start();
    scene.muster.set_env("NOTIFY_SOCKET", &manager.path);
    scene.muster.set_env("WATCHDOG_USEC", "1000000");
    scene.muster.args(&["--role", role]);
    assert_eq!(scene.muster.command(&["health"]).await.0, 1, "health fails before muster runs");
    scene.muster.spawn();
    scene.muster.ready().await;
    manager.hears("READY=1").await;
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
    }
    let (code, said, error) = scene.muster.command(&["health"]).await;
    assert!(code == 0 && said.ends_with(" is alive\n") && error.is_empty(), "{code}: {said}{error}");

    // A process that is stopped as a whole answers nobody.
    let signal = |name: &str| {
        let pid = scene.muster.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill exists").success());
    };
    signal("-STOP");
    let (code, said, error) = scene.muster.command(&["health"]).await;
    signal("-CONT");
    assert!(code == 1 && said.is_empty() && error.contains("no answer from"), "{code}: {said}{error}");
    eventually(secs(30), "it is alive again", || async { same(scene.muster.command(&["health"]).await.0, 0) }).await;

    // The socket holds few messages, so this makes room for the last one.
    manager.heard();
    let status = scene.muster.terminate().await;
    assert!(status.success(), "{status}");
    assert!(manager.heard().iter().any(|word| word == "STOPPING=1"));
}

#[tokio::test]
async fn the_service_manager_is_told_of_both_roles_in_one_process() {
    told_in_role("all").await;
}

#[tokio::test]
async fn the_service_manager_is_told_of_a_webhook() {
    told_in_role("webhook").await;
}

/// AWS is down. A restart would not help, so nothing asks for one.
#[tokio::test]
async fn a_muster_that_aws_does_not_answer_is_alive() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    scene.moto.sqs_outage().await;
    scene.queue_jobs(1);
    eventually(secs(30), "the delivery is refused", || async { same(scene.github.sent().first().map(|s| s.status), Some(503)) })
        .await;
    assert_eq!((scene.muster.status("/healthz").await, scene.muster.command(&["health"]).await.0), (200, 0));
}
