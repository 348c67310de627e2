//! Traces over OTLP: the running binary exports to a collector of the test's own. There is one trace for each job, whatever
//! the collector does.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};

use muster_cloud::opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use muster_cloud::opentelemetry_proto::tonic::common::v1::KeyValue;
use muster_cloud::opentelemetry_proto::tonic::common::v1::any_value::Value;
use muster_cloud::opentelemetry_proto::tonic::trace::v1::Span;
use muster_cloud::opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use muster_cloud::prost::Message as _;
use support::instances::Habits;
use support::scene::{CLUSTER, REPO, Scene, linux};
use support::tools::DeadPort;
use support::{eventually, ms, same, secs};
use warp::Filter as _;
use warp::http::{HeaderMap, Response};

/// The key in a header of every export. It must never be in a log.
const KEY: &str = "its-a-test-collectors-key-77ab";

/// What the collector received and accepted.
#[derive(Clone, Debug, Default)]
struct Taken {
    requests: Vec<(HeaderMap, ExportTraceServiceRequest)>,
    /// The next answers: a status, and the seconds of Retry-After, if any. After these, the answer is always 200.
    answers: Vec<(u16, Option<u32>)>,
    refused_ms: Vec<u64>,
    taken_ms: Vec<u64>,
}

/// A running collector. Dropping it ends it.
struct Collector {
    url: String,
    taken: Arc<Mutex<Taken>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collector {
    async fn start(answers: &[(u16, Option<u32>)]) -> Collector {
        let taken = Arc::new(Mutex::new(Taken { answers: answers.to_vec(), ..Taken::default() }));
        let shared = taken.clone();
        let route =
            warp::post().and(warp::path!("v1" / "traces")).and(warp::header::headers_cloned()).and(warp::body::bytes()).map(
                move |headers: HeaderMap, body: bytes::Bytes| {
                    let mut taken = shared.lock().expect("no test panics with the lock");
                    if !taken.answers.is_empty() {
                        let (status, wait) = taken.answers.remove(0);
                        taken.refused_ms.push(support::now_ms());
                        let answer = wait.into_iter().fold(Response::builder().status(status), |a, s| a.header("retry-after", s));
                        return answer.body(Vec::new()).expect("an answer");
                    }
                    let request = ExportTraceServiceRequest::decode(body).expect("OTLP's protobuf");
                    taken.requests.push((headers, request));
                    taken.taken_ms.push(support::now_ms());
                    Response::builder().header("content-type", "application/x-protobuf").body(Vec::new()).expect("an answer")
                },
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = tokio::spawn(warp::serve(route).incoming(listener).run());
        Collector { url, taken, server }
    }

    fn taken(&self) -> Taken {
        self.taken.lock().expect("no test panics with the lock").clone()
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken();
        let resources = taken.requests.into_iter().flat_map(|(_, request)| request.resource_spans);
        resources.flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
    }

    /// The only trace: its root and its children.
    async fn trace(&self) -> (Span, Vec<Span>) {
        eventually(secs(30), "a trace arrives", || async { same(self.spans().is_empty(), false) }).await;
        let (mut roots, children): (Vec<Span>, Vec<Span>) =
            self.spans().into_iter().partition(|span| span.parent_span_id.is_empty());
        assert_eq!(roots.len(), 1, "one trace: {roots:#?}");
        let root = roots.remove(0);
        let all = children.iter().all(|c| c.trace_id == root.trace_id && c.parent_span_id == root.span_id);
        assert!(all, "the children are the job's: {children:#?}");
        (root, children)
    }
}

/// A scene whose muster exports its traces to `url`.
async fn scene(url: &str, habits: Habits) -> Option<Scene> {
    let mut scene = Scene::prepare(&[linux()], habits).await?;
    scene.muster.set_env("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    scene.muster.set_env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{KEY}"));
    scene.muster.set_env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    scene.muster.spawn();
    scene.muster.ready().await;
    Some(scene)
}

fn said(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |kv: &KeyValue| match kv.value.as_ref().and_then(|v| v.value.clone()) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    attributes.iter().map(|kv| (kv.key.as_str(), text(kv))).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|s| s.code == StatusCode::Error as i32)
}

#[tokio::test]
async fn a_job_is_one_trace_with_its_stages_though_every_event_comes_twice() {
    let collector = Collector::start(&[]).await;
    let Some(mut scene) = scene(&collector.url, Habits { boot: ms(2000), job: ms(1500), ..Habits::default() }).await else {
        return;
    };
    scene.github.hooks(|h| h.copies = 1);
    let job = scene.queue_jobs(1)[0];
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    let (root, children) = collector.trace().await;
    let instance = scene.moto.instances().await[0].id.clone();

    let names: Vec<&str> = children.iter().map(|s| s.name.as_str()).collect();
    // GitHub's times are whole seconds. When muster hears of the start more than a second late, the trace takes GitHub's
    // time, and leaves out a stage that muster saw after it. The instance boots for two seconds, so that `plan` and
    // `launch` are never left out.
    let unsure = ["deliver", "assign", "configure", "register", "wait"];
    let sure: Vec<&str> = names.iter().copied().filter(|name| !unsure.contains(name)).collect();
    assert_eq!(sure, ["plan", "launch", "run"], "{names:?}");
    let mut cursor = root.start_time_unix_nano;
    for child in &children {
        assert_eq!(child.start_time_unix_nano, cursor, "no gap before {}", child.name);
        cursor = child.end_time_unix_nano;
    }
    assert_eq!(cursor, root.end_time_unix_nano);
    let run = children.last().expect("it ran");
    let took_ms = (run.end_time_unix_nano - run.start_time_unix_nano) / 1_000_000;
    assert!(took_ms >= 1000, "the job ran for at least 1.5 s, not {took_ms} ms");

    let attributes = said(&root.attributes);
    for (key, value) in [
        ("cicd.pipeline.task.run.id", job.to_string()),
        ("cicd.pipeline.task.run.result", "success".into()),
        ("muster.pool", "linux".into()),
        ("muster.market", "spot".into()),
        ("host.id", instance.clone()),
        ("cicd.worker.name", format!("{CLUSTER}.linux.{instance}")),
        ("vcs.repository.name", REPO.split_once('/').expect("OWNER/NAME").1.into()),
    ] {
        assert_eq!(attributes.get(key), Some(&value), "{key} in {attributes:#?}");
    }
    assert!(["m7i.large", "m6i.large"].contains(&attributes["host.type"].as_str()) && !is_error(&root), "{attributes:#?}");

    let (headers, request) = collector.taken().requests.remove(0);
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let resource = request.resource_spans[0].resource.clone().expect("a resource");
    let resource = said(&resource.attributes);
    assert_eq!(resource["service.name"], "muster");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((resource["muster.cluster"].as_str(), resource["deployment.environment.name"].as_str()), (CLUSTER, "test"));
    scene.muster.metric_becomes("muster_traces_total", "outcome=\"sent\"", 1.0).await;

    // A stop sends the traces that have not waited long enough to be sent.
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    let ended = || async { same(scene.muster.api("jobs").await.len(), 0) };
    eventually(secs(20), "muster knows that the second job is over", ended).await;
    let status = scene.muster.terminate().await;
    assert!(status.success(), "{status}");
    let traces: BTreeSet<Vec<u8>> = collector.spans().into_iter().map(|s| s.trace_id).collect();
    let roots = collector.spans().iter().filter(|s| s.parent_span_id.is_empty()).count();
    assert_eq!((traces.len(), roots), (2, 2), "two jobs, two traces");
    scene.muster.assert_never_logged(&[KEY]);
    scene.muster.assert_no_secrets_logged(&scene.github);
}

#[tokio::test]
async fn a_collector_that_is_busy_gets_it_when_it_asked_for_it() {
    let collector = Collector::start(&[(503, None), (429, Some(2))]).await;
    let Some(scene) = scene(&collector.url, Habits::default()).await else { return };
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    collector.trace().await;
    let taken = collector.taken();
    assert_eq!((taken.refused_ms.len(), taken.taken_ms.len()), (2, 1));
    assert!(taken.taken_ms[0] - taken.refused_ms[1] >= 2000, "Retry-After is heeded: {taken:?}");
    scene.muster.metric_becomes("muster_traces_total", "outcome=\"sent\"", 1.0).await;
    scene.muster.assert_never_logged(&[KEY]);
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_the_trace_and_nothing_else() {
    let gone = DeadPort::bind();
    let Some(mut scene) = scene(&format!("http://{}", gone.address()), Habits::default()).await else { return };
    scene.queue_jobs(2);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    let dropped = || async {
        let failed = scene.muster.metric("muster_traces_total", "outcome=\"failed\"").await;
        if failed >= 2.0 { Ok(()) } else { Err(format!("{failed} are dropped")) }
    };
    eventually(secs(40), "both traces are counted as dropped", dropped).await;
    let said = scene.muster.logs().matches("traces could not be delivered").count();
    assert_eq!(said, 1, "the log says so, and only once a minute");
    let status = scene.muster.terminate().await;
    assert!(status.success(), "{status}");
    scene.muster.assert_never_logged(&[KEY]);
}

#[tokio::test]
async fn a_job_that_spot_took_is_an_error() {
    let collector = Collector::start(&[]).await;
    let Some(scene) = scene(&collector.url, Habits { job: secs(60), ..Habits::default() }).await else { return };
    let job = scene.queue_jobs(1)[0];
    let busy = || async { same(scene.phases().await, vec!["busy".to_owned()]) };
    eventually(secs(30), "the job runs", busy).await;
    let instance = scene.moto.alive().await[0].id.clone();
    scene.moto.warn_of_interruption(&scene.world, &instance).await;
    let warned = || async { same(scene.phases().await.contains(&"interrupted".to_owned()), true) };
    eventually(secs(20), "muster is warned", warned).await;
    scene.github.finish_job(job, "failure");
    let (root, _) = collector.trace().await;
    let attributes = said(&root.attributes);
    assert!(is_error(&root), "{root:#?}");
    assert_eq!((attributes["error.type"].as_str(), attributes["muster.job.conclusion"].as_str()), ("interrupted", "failure"));
}

#[test]
fn a_wrong_variable_is_one_clear_error_at_the_start() {
    let run = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["run", "--manifests", "nowhere"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(6), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("muster:")).collect();
    assert!(lines.len() == 1 && lines[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL") && lines[0].contains("http/protobuf"), "{said}");
}
