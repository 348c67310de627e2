//! The webhook as GitHub sees it: a real listener, signed deliveries, and a queue that can be switched off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster::http::webhook::{Webhook, routes};
use muster::outbox::{Outbox, Settings};
use muster_message::delivery::{Acceptance, Delivery, judge};
use muster_message::keyring::Keyring;
use muster_message::seal::{self, Sealed};
use muster_message::signature::sign;
use muster_message::wire;
use muster_operations::metrics::Metrics;
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{AppName, JobId, Scope};
use muster_reconciler::manifest::{RunnerPool, Spec};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "It's a Secret to Everybody";
/// A text in every body that is sent. It must not be in any log.
const MARK: &str = "hunter2";

struct Server {
    address: std::net::SocketAddr,
    client: reqwest::Client,
    queue: Arc<Mutex<Vec<Sealed>>>,
    queue_is_down: Arc<AtomicBool>,
    spec: watch::Sender<Arc<Spec>>,
    secrets: watch::Sender<Arc<Keyring>>,
    metrics: Arc<Metrics>,
}

/// The secrets of the App that the pools of these tests belong to.
fn secrets(list: &[&str]) -> Keyring {
    Keyring::new([(AppName::default(), list.iter().map(|s| SecretString::from(*s)).collect())])
}

fn pool(name: &str, scope: &str, labels: &[&str]) -> RunnerPool {
    let mut pool = RunnerPool::default();
    pool.metadata.name = name.into();
    pool.spec.github.scope = scope.parse::<Scope>().expect("a scope");
    pool.spec.labels = labels.iter().map(|l| l.to_string()).collect();
    pool
}

fn spec(pools: &[RunnerPool]) -> Spec {
    Spec { pools: pools.iter().map(|p| (p.metadata.name.as_str().into(), p.clone())).collect(), ..Spec::default() }
}

fn acme() -> Spec {
    spec(&[pool("linux", "org/acme", &["self-hosted", "linux", "x64"])])
}

async fn start(spec: Spec) -> Server {
    let (queue, queue_is_down) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (taken, down) = (queue.clone(), queue_is_down.clone());
    let outbox =
        Outbox::start(Settings { deadline: Duration::from_millis(500), ..Settings::default() }, move |messages: Vec<Sealed>| {
            let up = !down.load(Ordering::SeqCst);
            let results = messages.iter().map(|_| if up { Ok(()) } else { Err("ServiceUnavailable".to_owned()) }).collect();
            if up {
                taken.lock().expect("unpoisoned").extend(messages);
            }
            async { results }
        });
    let (spec, spec_now) = watch::channel(Arc::new(spec));
    let (secrets, secrets_now) = watch::channel(Arc::new(secrets(&[SECRET])));
    let metrics = Arc::new(Metrics::new());
    let webhook = Webhook { spec: spec_now, secrets: secrets_now, outbox, metrics: metrics.clone() };
    let listener = muster::http::bind("127.0.0.1:0", "spec.listen.webhook").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(muster::http::serve(listener, routes(webhook), muster::http::ListenerLimits::WEBHOOK, CancellationToken::new()));
    Server { address, client: reqwest::Client::new(), queue, queue_is_down, spec, secrets, metrics }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn queued(&self) -> Vec<String> {
        self.sealed().into_iter().map(|message| message.body).collect()
    }

    fn sealed(&self) -> Vec<Sealed> {
        self.queue.lock().expect("unpoisoned").clone()
    }

    /// A delivery as GitHub sends it, which a test may still change.
    fn delivery(&self, event: &str, body: &str) -> reqwest::RequestBuilder {
        self.client
            .post(self.url("/webhook"))
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
            .header("x-hub-signature-256", sign(&SecretString::from(SECRET), body.as_bytes()))
            .body(body.to_owned())
    }

    async fn deliver(&self, event: &str, body: &str) -> (u16, Value) {
        answer(self.delivery(event, body)).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let (status, text) = (response.status().as_u16(), response.text().await.expect("a body"));
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
}

/// A small `workflow_job` payload. MARK is in a field that nobody reads.
fn job(action: &str, labels: &[&str]) -> String {
    json!({
        "action": action,
        "workflow_job": {"id": 7, "run_id": 8, "labels": labels, "name": "build", "runner_group_name": MARK, "runner_name": null, "conclusion": null},
        "repository": {"full_name": "acme/web"},
        "organization": {"login": "acme"},
    })
    .to_string()
}

#[tokio::test]
async fn a_signed_job_is_accepted_once_the_queue_has_it() {
    let server = start(acme()).await;
    let (status, body) = server.deliver("workflow_job", &job("queued", &["self-hosted", "linux"])).await;
    assert_eq!((status, body), (202, json!({"queued": 7, "pool": "linux"})));
    let [message] = &server.queued()[..] else { panic!("one message: {:?}", server.queued()) };
    let event = wire::decode(message).expect("readable");
    assert_eq!((event.job, event.state, event.repo.as_str()), (JobId(7), JobState::Queued, "acme/web"));
    assert_eq!(event.about.title(), "build");
    assert!(message.len() < 500 && !message.contains(MARK), "{message}");
    assert!(server.metrics.render().contains("muster_webhook_requests_total{outcome=\"accepted\",status=\"202\"} 1\n"));
}

#[tokio::test]
async fn a_job_that_no_pool_takes_yet_is_kept_and_told_so() {
    let server = start(acme()).await;
    let (status, body) = server.deliver("workflow_job", &job("queued", &["self-hosted", "windows"])).await;
    assert_eq!((status, &body["pool"]), (202, &Value::Null));
    assert!(body["reason"].as_str().is_some_and(|r| r.contains(r#"lacks ["windows"]"#)), "{body}");
    assert_eq!(server.queued().len(), 1);
}

#[tokio::test]
async fn forms_are_read_and_the_signature_is_over_the_raw_form() {
    let server = start(acme()).await;
    let form = serde_urlencoded::to_string([("payload", job("queued", &["self-hosted"]))]).expect("a form");
    let request = server
        .client
        .post(server.url("/webhook"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-github-event", "workflow_job")
        .header("x-hub-signature-256", sign(&SecretString::from(SECRET), form.as_bytes()))
        .body(form);
    assert_eq!(answer(request).await.0, 202);
    assert_eq!(server.queued().len(), 1);
}

/// Every row of "Bad input": the status, a word of the reason, nothing on the queue, and nothing of the body in the log.
#[tokio::test]
async fn bad_input_is_refused_with_a_reason_never_queued_and_never_logged() {
    let log = Log::default();
    // The subscriber is for the whole process. A subscriber of one thread misses call sites that another thread reached
    // first.
    tracing::subscriber::set_global_default(
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(log.clone()).finish(),
    )
    .expect("the only subscriber of this binary");
    let mut small = acme();
    small.controller.spec.listen.max_body = 20_000;
    let server = start(small).await;
    let good = job("queued", &["self-hosted", "linux"]);
    let signed = |body: &str| server.delivery("workflow_job", body);
    let bare =
        |body: &str| server.client.post(server.url("/webhook")).header("x-github-event", "workflow_job").body(body.to_owned());
    let with = |signature: String| bare(&good).header("x-hub-signature-256", signature);
    let wrong_case = good.replace("\"action\"", "\"Action\"");
    let unknown = good.replacen('{', &format!("{{\"{MARK}\":{{\"{MARK}\":[1,2]}},"), 1);
    let json_is_no_form = answer(
        server
            .client
            .post(server.url("/webhook"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-github-event", "workflow_job")
            .header("x-hub-signature-256", sign(&SecretString::from(SECRET), good.as_bytes()))
            .body(good.clone()),
    );
    assert_eq!(json_is_no_form.await.0, 400);
    let rows = [
        ("wrong signature", with(sign(&SecretString::from("another"), good.as_bytes())), 401, "fits none"),
        ("signature of another body", with(sign(&SecretString::from(SECRET), b"{}")), 401, "fits none"),
        ("malformed signature", with("sha256=xyz".into()), 401, "64 hexadecimal"),
        ("sha1 only", bare(&good).header("x-hub-signature", "sha1=00"), 401, "missing"),
        ("absent signature", bare(&good), 401, "missing"),
        ("malformed JSON", signed(&good[..good.len() - 1]), 400, "ends too early"),
        ("no JSON at all", signed(&format!("<xml>{MARK}</xml>")), 400, "not JSON"),
        ("empty body", signed(""), 400, "ends too early"),
        ("a field is missing", signed(&wrong_case), 400, "missing field `action`"),
        ("a field has the wrong type", signed(&good.replacen("\"id\":7", &format!("\"id\":\"{MARK}\""), 1)), 400, "expected u64"),
        ("a repository that is a path", signed(&good.replacen("acme/web", &format!("{MARK}/../x"), 1)), 200, "OWNER/NAME"),
        (
            "no event header",
            server
                .client
                .post(server.url("/webhook"))
                .header("x-hub-signature-256", sign(&SecretString::from(SECRET), good.as_bytes()))
                .body(good.clone()),
            400,
            "X-GitHub-Event",
        ),
        ("body over the limit", signed(&format!("{good}{}", MARK.repeat(3000))), 413, "longer than 20000 bytes"),
        ("unknown event", server.delivery("push", &good), 200, "not on push"),
        (
            "unknown action",
            signed(&good.replacen("queued", "teleported", 1)),
            200,
            "queued, waiting, in_progress and completed only",
        ),
        ("somebody else's runner", signed(&job("queued", &["ubuntu-latest"])), 200, "does not ask for self-hosted"),
    ];
    for (what, request, status, says) in rows {
        let (got, body) = answer(request).await;
        assert_eq!(got, status, "{what}: {body}");
        assert!(body.to_string().contains(says), "{what}: {body}");
        assert!(!body.to_string().contains(MARK), "{what}: the answer holds the body: {body}");
        assert_eq!(server.queued(), Vec::<String>::new(), "{what}");
    }
    assert_eq!(server.deliver("ping", r#"{"zen":"hunter2"}"#).await, (200, json!({"pong": true})));
    assert_eq!(server.queued(), Vec::<String>::new(), "a ping is not queued");
    assert_eq!(server.deliver("workflow_job", &unknown).await.0, 202, "unknown fields are not minded");
    assert_eq!(server.queued().len(), 1);
    let waiting = good.replacen("queued", "waiting", 1);
    assert_eq!(server.deliver("workflow_job", &waiting).await.0, 202, "the controller must hear that a job may not start yet");
    assert!(server.queued()[1].contains(r#""waiting":true"#), "{:?}", server.queued());
    let text = log.text();
    assert!(text.contains("72d3162e") && text.contains("answered"), "the log does not say what was answered:\n{text}");
    assert!(!text.contains(MARK) && !text.contains(&"x".repeat(50)), "the log holds a body:\n{text}");
    assert!(!text.contains(SECRET), "the log holds the secret");
}

/// Such a job waits at GitHub like any other. It is queued, so that the controller can list it and say why no pool takes
/// it.
#[tokio::test]
async fn a_job_with_odd_labels_is_queued_and_its_labels_are_shown_as_they_came() {
    let server = start(acme()).await;
    let (many, long) = (vec!["self-hosted"; 101], "x".repeat(200));
    let long_in_all: Vec<&str> = ["self-hosted"].into_iter().chain(std::iter::repeat_n(&*long, 60)).collect();
    let long_label = "x".repeat(10_000);
    for (labels, says) in [
        (&["self-hosted", "linux\n"][..], r#"lacks ["linux\n"]"#),
        (&["self-hosted\n"], r#"lacks ["self-hosted\n"]"#),
        (&["self-hosted", " linux"], r#"lacks [" linux"]"#),
        (&["self-hosted", ""], r#"lacks [""]"#),
        (&["self-hosted, linux, x64"], r#"lacks ["self-hosted, linux, x64"]"#),
        (&["self-hosted", &long_label], r#"lacks ["xxx"#),
        (&many, r#"lacks ["… and 2 more labels"]"#),
        (&long_in_all, "lacks ["),
        (&[], "does not tell muster which group"),
    ] {
        let before = server.queued().len();
        let (status, body) = server.deliver("workflow_job", &job("queued", labels)).await;
        let reason = body["reason"].as_str().unwrap_or_default();
        assert!(status == 202 && reason.contains(says) && reason.len() < 1200, "{labels:.60?}: {status} {body}");
        assert_eq!(server.queued().len(), before + 1, "{labels:.60?}");
        assert!(server.queued().iter().all(|message| message.len() <= 8192), "{labels:.60?}");
    }
    // The webhook hears that a job of ours is over, whatever the job's labels are.
    assert_eq!(server.deliver("workflow_job", &job("completed", &[])).await.0, 202);
}

#[tokio::test]
async fn a_body_of_unannounced_length_is_limited_too() {
    let mut small = acme();
    small.controller.spec.listen.max_body = 1000;
    let server = start(small).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let head = "POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    for _ in 0..3 {
        stream.write_all(format!("1f4\r\n{}\r\n", "x".repeat(500)).as_bytes()).await.expect("written");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await.expect("in time").expect("read");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_queue_that_is_down_is_answered_503_and_its_return_202() {
    let server = start(acme()).await;
    let body = job("queued", &["self-hosted"]);
    server.queue_is_down.store(true, Ordering::SeqCst);
    let response = server.delivery("workflow_job", &body).send().await.expect("an answer");
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
    server.queue_is_down.store(false, Ordering::SeqCst);
    assert_eq!(server.deliver("workflow_job", &body).await.0, 202);
    assert_eq!(server.queued().len(), 1);
}

#[tokio::test]
async fn manifests_and_secrets_change_while_it_runs() {
    let server = start(acme()).await;
    let body = job("queued", &["gpu"]);
    assert_eq!(server.deliver("workflow_job", &body).await.0, 200);
    server.spec.send_replace(Arc::new(spec(&[pool("gpu", "org/acme", &["gpu"])])));
    assert_eq!(server.deliver("workflow_job", &body).await, (202, json!({"queued": 7, "pool": "gpu"})));
    server.secrets.send_replace(Arc::new(secrets(&["new", SECRET])));
    assert_eq!(server.deliver("workflow_job", &body).await.0, 202, "the old secret still counts during rotation");
    let message = server.sealed().pop().expect("a message");
    assert!(
        seal::open(&secrets(&["new"]), &message.body, &message.seal).is_ok(),
        "the message must be sealed with the first secret, which stays"
    );
    server.secrets.send_replace(Arc::new(secrets(&["new"])));
    assert_eq!(server.deliver("workflow_job", &body).await.0, 401);
    server.secrets.send_replace(Arc::new(Keyring::default()));
    assert_eq!(server.deliver("workflow_job", &body).await.0, 401, "without a secret, no delivery is believed");
}

#[tokio::test]
async fn an_app_s_secret_signs_for_its_own_pools_only() {
    let mut spec = acme();
    spec.pools.values_mut().for_each(|pool| pool.spec.github.app = Some("acme".into()));
    let server = start(spec).await;
    let of = |app: &str, secret: &str| (AppName::from(app), vec![SecretString::from(secret)]);
    server.secrets.send_replace(Arc::new(Keyring::new([of("acme", "another secret"), of("beta", SECRET)])));
    for action in ["queued", "completed"] {
        let (status, said) = server.deliver("workflow_job", &job(action, &["self-hosted", "no such label"])).await;
        assert_eq!(status, 401, "{action}: {said}");
        let said = said.to_string();
        assert!(said.contains("secret of `beta`") && said.contains("list the secret in webhookSecrets of `acme`"), "{said}");
    }
    server.secrets.send_replace(Arc::new(Keyring::new([of("acme", SECRET), of("beta", SECRET)])));
    assert_eq!(server.deliver("workflow_job", &job("queued", &["self-hosted"])).await.0, 202, "both Apps list the secret");
    assert_eq!(server.queued().len(), 1);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    let server = start(acme()).await;
    let get = server.client.get(server.url("/webhook")).send().await.expect("an answer");
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().ok()), (405, Some("POST on /webhook, GET on /healthz")));
    assert_eq!(answer(server.client.post(server.url("/nothing"))).await.0, 404);
    assert_eq!(answer(server.client.post(server.url("/webhook/more"))).await.0, 404);
    assert_eq!(answer(server.client.get(server.url("/healthz"))).await.0, 200);
}

/// GitHub's own example payloads. By the manifests, some of the jobs are ours and some are not.
#[tokio::test]
async fn githubs_own_payloads_are_taken_or_ignored_as_they_should_be() {
    let server = start(spec(&[
        pool("k8s", "repo/lineville/elastic-machines-testing", &["self-hosted", "k8s"]),
        pool("gpu", "org/octo-org", &["gpu", "db-app", "dc-03"]),
        pool("cat", "repo/codertocat/hello-world", &["self-hosted"]),
        pool("octo", "org/Octocoders", &["ubuntu-latest"]),
    ]))
    .await;
    let expected = [
        ("ping.1", 200, "pong"),
        ("ping.2", 200, "pong"),
        ("ping.3", 200, "pong"),
        ("ping.4", 200, "pong"),
        ("workflow_job.waiting.1", 202, "\"k8s\""),
        ("workflow_job.queued.1", 200, "does not ask for self-hosted"),
        ("workflow_job.queued.2", 202, "\"k8s\""),
        ("workflow_job.in_progress.1", 202, "\"gpu\""),
        ("workflow_job.in_progress.2", 200, "does not ask for self-hosted"),
        ("workflow_job.in_progress.3", 200, "does not ask for self-hosted"),
        ("workflow_job.completed.1", 202, "\"octo\""),
        ("workflow_job.completed.2", 202, "\"octo\""),
    ];
    assert_eq!(payloads().len(), expected.len(), "every payload has its row");
    for (name, status, says) in expected {
        let body = payloads().into_iter().find(|(n, _)| n == name).expect(name).1;
        let (got, answer) = server.deliver(name.split('.').next().unwrap_or_default(), &body).await;
        assert_eq!(got, status, "{name}: {answer}");
        assert!(answer.to_string().contains(says), "{name}: {answer}");
    }
    let events: Vec<_> = server.queued().iter().map(|m| wire::decode(m).expect("readable")).collect();
    let seen: Vec<_> = events.iter().map(|e| (e.state, e.waiting, e.runner.as_deref(), e.conclusion.as_deref())).collect();
    assert_eq!(
        seen,
        [
            (JobState::Queued, true, None, None),
            (JobState::Queued, true, None, None),
            (JobState::InProgress, false, Some("my runner"), None),
            (JobState::Completed, false, Some("GitHub Actions 5"), Some("failure")),
            (JobState::Completed, false, Some("GitHub Actions 5"), Some("success")),
        ]
    );
}

/// Signed payloads with mutations. There must be no panic, no 5xx, and no message that the other side cannot read.
#[tokio::test]
async fn mutated_payloads_are_judged_without_a_panic() {
    let spec = spec(&[pool("k8s", "repo/lineville/elastic-machines-testing", &["self-hosted", "k8s"])]);
    let server = start(spec.clone()).await;
    let (keys, mut random) = (secrets(&[SECRET]), Random(0x9e37_79b9_7f4a_7c15));
    let jobs: Vec<_> = payloads().into_iter().filter(|(n, _)| n.starts_with("workflow_job")).collect();
    let mut verdicts = [0u32; 4];
    for round in 0..1500 {
        let mut body = jobs[random.below(jobs.len())].1.clone().into_bytes();
        for _ in 0..=random.below(4) {
            mutate(&mut body, &mut random);
        }
        let signature = sign(&SecretString::from(SECRET), &body);
        let delivery = Delivery { signature: Some(&signature), event: Some("workflow_job"), content_type: None, body: &body };
        match judge(&spec, &keys, &delivery) {
            Acceptance::Queue { message, event, .. } => {
                verdicts[0] += 1;
                assert!(message.body.len() <= wire::MAX_BYTES);
                assert_eq!(wire::decode(&message.body).expect("readable"), event);
            }
            Acceptance::Ignored(_) => verdicts[1] += 1,
            Acceptance::Unfit(_) | Acceptance::Unreadable(_) => verdicts[2] += 1,
            other => panic!("{other:?}"),
        }
        if round % 10 == 0 {
            let request = server.client.post(server.url("/webhook")).header("x-github-event", "workflow_job");
            let (status, _) = answer(request.header("x-hub-signature-256", signature).body(body)).await;
            assert!([200, 202, 400].contains(&status), "{status}");
        }
    }
    assert!(verdicts[..3].iter().all(|n| *n > 20), "the mutations reach every verdict: {verdicts:?}");
}

fn payloads() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/github/payloads");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("GitHub's example payloads")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).expect("readable"))
        })
        .collect();
    all.sort();
    all
}

/// Xorshift, so that every run has the same mutations.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    const PIECES: [&str; 12] =
        ["{", "}", "[", "]", "\"", ",", "null", "-1", "18446744073709551616", "\\ud800", "\u{ffff}", "1e999"];
    if body.is_empty() {
        return;
    }
    let at = random.below(body.len());
    let end = (at + 1 + random.below(40)).min(body.len());
    match random.below(6) {
        0 => body[at] ^= 1 << random.below(8),
        1 => drop(body.drain(at..end)),
        2 => {
            let copy = body[at..end].to_vec();
            body.splice(at..at, copy);
        }
        3 => drop(body.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
        // One letter replaces another, so the text is still JSON, with other names and values.
        4 => {
            if let Some(letter) = body[at..].iter_mut().find(|b| b.is_ascii_lowercase()) {
                *letter = b'a' + random.below(26) as u8;
            }
        }
        _ => {
            if random.below(4) == 0 {
                body.truncate(at);
            } else if let Some(digit) = body[at..].iter_mut().find(|b| b.is_ascii_digit()) {
                *digit = b'0' + random.below(10) as u8;
            }
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("unpoisoned")).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
