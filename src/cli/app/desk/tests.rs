//! The browser, and those who should not be let in.

use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::BodyExt as _;
use serde_json::json;

use super::super::wish::tests::{details, wish};
use warp::http::header::HeaderValue;

use super::*;

const PORT: u16 = 7;

/// A GitHub that hands out the App for the code `good`, once, and counts the calls.
async fn github() -> (String, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    let route =
        warp::post().and(warp::path!("api" / "v3" / "app-manifests" / String / "conversions")).map(move |code: String| {
            let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
            let (status, body) = if code == "good" && first {
                let body = json!({
                    "id": 4712, "slug": "muster-acme", "name": "muster-acme", "html_url": "https://github.com/apps/muster-acme",
                    "owner": {"login": "acme"}, "pem": "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n", "webhook_secret": "hunter3",
                });
                (201, body)
            } else {
                (404, json!({"message": "Not Found"}))
            };
            warp::http::Response::builder().status(status).body(body.to_string()).expect("an answer")
        });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(warp::serve(route).incoming(listener).run());
    (url, calls)
}

async fn asked(desk: &Desk, method: &str, path: &str, host: &str) -> (u16, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let headers = HeaderMap::from_iter([(HOST, host.parse::<HeaderValue>().expect("a value"))]);
    let answer = desk.answer(&method.parse().expect("a method"), path, query, &headers).await;
    let policy = answer.headers()["content-security-policy"].to_str().expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{policy}");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

struct DeskScene {
    desk: Arc<Desk>,
    heard: mpsc::UnboundedReceiver<DeskNews>,
    calls: Arc<AtomicU64>,
    keys: tempfile::TempDir,
}

impl DeskScene {
    async fn new() -> DeskScene {
        let (url, calls) = github().await;
        let keys = tempfile::tempdir().expect("a directory");
        let wish = AppWish { api: format!("{url}/api/v3"), ..wish(Some("acme")) };
        let places = KeyPlaces::new(&details(Some("acme")), None, keys.path()).expect("places");
        let (news, heard) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk::new(wish, places, PORT, ["secret-page".into(), "the-state".into()], news));
        DeskScene { desk, heard, calls, keys }
    }

    async fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String) {
        asked(&self.desk, method, path, host).await
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "127.0.0.1:7").await
    }

    fn nothing_happened(&mut self) {
        assert_eq!(self.calls.load(Ordering::SeqCst), 0, "GitHub was asked");
        assert!(self.heard.try_recv().is_err(), "the terminal was told");
        assert_eq!(std::fs::read_dir(self.keys.path()).expect("the directory").count(), 0, "a key was written");
    }
}

#[tokio::test]
async fn one_click_and_the_way_back_make_the_app() {
    let mut scene = DeskScene::new().await;
    let (status, page) = scene.get("/secret-page").await;
    assert_eq!(status, 200);
    assert!(page.contains("action=\"https://github.com/organizations/acme/settings/apps/new?state=the-state\""), "{page}");
    assert!(page.contains("Self-hosted runners: read and write") && page.contains("muster.private-key.pem"), "{page}");
    let (status, told) = scene.get("/callback?code=good&state=the-state").await;
    assert!(status == 200 && told.contains("https://github.com/apps/muster-acme/installations/new"), "{status} {told}");
    assert!(!told.contains("hunter"), "{told}");
    let Some(DeskNews::Made(app, learned)) = scene.heard.recv().await else { panic!("no App") };
    assert_eq!((app.id, learned), (4712, false));
    let key = std::fs::read_to_string(scene.keys.path().join("muster.private-key.pem")).expect("the key");
    assert!(key.contains("hunter2"));
    // A second call, and another look at the page.
    for path in ["/callback?code=good&state=the-state", "/callback?code=other&state=the-state", "/secret-page"] {
        let (status, told) = scene.get(path).await;
        assert!(status == 409 && told.contains("made already"), "{path}: {status} {told}");
    }
    assert_eq!(scene.calls.load(Ordering::SeqCst), 1);
    assert!(scene.heard.try_recv().is_err(), "the App is told of once");
}

#[tokio::test]
async fn a_page_that_brings_a_code_with_another_state_changes_nothing() {
    let mut scene = DeskScene::new().await;
    for path in [
        "/callback?code=good&state=other",
        "/callback?code=good&state=",
        "/callback?code=good",
        "/callback?state=the-state",
        "/callback",
    ] {
        let (status, told) = scene.get(path).await;
        assert!([400, 403].contains(&status), "{path}: {status} {told}");
    }
    for code in ["..%2F..%2Fuser", "a%20b", "", "a%0d%0ab"] {
        assert_eq!(scene.get(&format!("/callback?code={code}&state=the-state")).await.0, 400, "{code}");
    }
    scene.nothing_happened();
}

#[tokio::test]
async fn another_host_and_another_method_are_not_served() {
    let mut scene = DeskScene::new().await;
    for host in ["evil.example", "127.0.0.1", "127.0.0.1:8", "127.0.0.1:7.evil.example", "", "0.0.0.0:7"] {
        for path in ["/secret-page", "/callback?code=good&state=the-state"] {
            let (status, told) = scene.ask("GET", path, host).await;
            assert!(status == 421 && !told.contains("the-state"), "{host}{path}: {status} {told}");
        }
    }
    assert_eq!(scene.ask("POST", "/callback?code=good&state=the-state", "127.0.0.1:7").await.0, 405);
    for path in ["/", "/secret-pag", "/secret-page/", "/favicon.ico"] {
        let (status, told) = scene.get(path).await;
        assert!(status == 404 && !told.contains("the-state"), "{path}: {status}");
    }
    assert_eq!(scene.ask("GET", "/secret-page", "localhost:7").await.0, 200);
    scene.nothing_happened();
}

#[tokio::test]
async fn a_code_that_github_does_not_take_is_told_and_the_wait_goes_on() {
    let mut scene = DeskScene::new().await;
    scene.calls.store(1, Ordering::SeqCst);
    let (status, told) = scene.get("/callback?code=old&state=the-state").await;
    assert!(status == 502 && told.contains("does not take the code") && !told.contains("old&"), "{status} {told}");
    assert!(matches!(scene.heard.recv().await, Some(DeskNews::Again(said)) if said.contains("begin again")));
    scene.calls.store(0, Ordering::SeqCst);
    assert_eq!(scene.get("/callback?code=good&state=the-state").await.0, 200);
}

#[tokio::test]
async fn no_name_becomes_a_part_of_the_page() {
    let (news, _heard) = mpsc::unbounded_channel();
    let hostile = "\"><script>alert(1)</script>";
    let wish = AppWish { org: Some(hostile.into()), name: hostile.into(), ..wish(Some("acme")) };
    let keys = tempfile::tempdir().expect("a directory");
    let places = KeyPlaces::new(&details(Some("acme")), None, keys.path()).expect("places");
    let desk = Desk::new(wish, places, PORT, ["p".into(), "s".into()], news);
    let (status, page) = asked(&desk, "GET", "/p", "127.0.0.1:7").await;
    assert!(status == 200 && !page.contains("<script") && page.matches('>').count() > 20, "{page}");
}
