//! The controller's loop, with adapters that reach nobody, and what `/healthz` says of it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use muster::http::admin::routes;
use muster::http::state::{About, Admin};
use muster::http::{bind, serve};
use muster_cloud::aws::Aws;
use muster_cloud::aws_config::{BehaviorVersion, SdkConfig};
use muster_cloud::clock::Clock;
use muster_cloud::driver::{Channels, run};
use muster_cloud::executor::Executor;
use muster_cloud::ingest::Receipts;
use muster_github::GitHub;
use muster_operations::inspect::Inspect;
use muster_operations::liveness::{IDLE_TURN, Liveness, Pulse};
use muster_operations::metrics::Metrics;
use muster_operations::observer::Observer;
use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Input, JobMessage};
use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{JobId, MessageId, RunId};
use muster_reconciler::manifest::ControllerManifest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A log that can be held up: then whoever writes a line stands still, as with a full disk or a pipe that nobody empties.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<bool>, Condvar)>);

impl Log {
    fn hold_up(&self, held: bool) {
        *self.0.0.lock().expect("unpoisoned") = held;
        self.0.1.notify_all();
    }
}

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let held = self.0.0.lock().expect("unpoisoned");
        drop(self.0.1.wait_while(held, |held| *held).expect("unpoisoned"));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The real loop on a thread of its own, with adapters that reach nobody.
fn start(log: Log, pulse: Pulse, stop: CancellationToken) -> (mpsc::Sender<Input>, std::thread::JoinHandle<()>) {
    let (inputs, inputs_out) = mpsc::channel(8);
    let thread = std::thread::spawn(move || {
        let _logs = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(move || log.clone()).finish());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (limits, limits_out) = mpsc::unbounded_channel();
            let (_ask, queries) = Inspect::new();
            let clock = Clock::start();
            let aws = Aws::new(&SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build());
            let observer: Observer = Arc::new(|_, _, _| {});
            let github = GitHub::new(Vec::new(), limits, observer).expect("no App");
            let executor = Executor::new(aws, github, Receipts::default(), &ControllerManifest::default());
            let channels = Channels { inputs: inputs_out, limits: limits_out, queries, pulse, tape: None };
            let controller = Controller::new("test", clock.now());
            run(controller, clock, executor, channels, Arc::new(Metrics::new()), None, stop).await;
        });
    });
    (inputs, thread)
}

fn job() -> Input {
    let event = JobEvent {
        job: JobId(1),
        run: RunId(1),
        state: JobState::Queued,
        waiting: false,
        attempt: None,
        about: JobAbout::default(),
        repo: "acme/web".into(),
        org: Some("acme".into()),
        enterprise: None,
        labels: vec!["self-hosted".into()],
        runner: None,
        runner_id: None,
        conclusion: None,
        queued_at: None,
        started_at: None,
    };
    Input::Messages(vec![JobMessage { id: MessageId(1), receive_count: 1, event }])
}

async fn becomes(url: &str, status: u16) -> String {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = reqwest::get(url).await.expect("an answer");
        let (got, text) = (answer.status().as_u16(), answer.text().await.expect("text"));
        if got == status {
            return text;
        }
        assert!(Instant::now() < deadline, "{url} still says {got}, not {status}: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The loop is blocked in earnest: its thread waits within a step. `/healthz` is asked over HTTP, from another thread.
#[tokio::test]
async fn a_loop_that_stands_still_is_seen_and_so_is_one_that_goes_on() {
    let (log, pulse, stop) = (Log::default(), Pulse::start(), CancellationToken::new());
    let liveness = Liveness::new(IDLE_TURN * 2).with("the controller's loop", pulse.clone());
    let (inputs, thread) = start(log.clone(), pulse, stop.clone());
    let admin = Admin::bare(About::default(), Arc::new(Metrics::new()), liveness, stop.clone());
    let listener = bind("127.0.0.1:0", "test").await.expect("a free port");
    let url = format!("http://{}/healthz", listener.local_addr().expect("bound"));
    tokio::spawn(serve(listener, routes(admin), muster::http::ListenerLimits::ADMIN, stop.clone()));
    becomes(&url, 200).await;
    log.hold_up(true);
    inputs.send(job()).await.expect("the loop listens");
    let said = becomes(&url, 503).await;
    assert!(said.contains("the controller's loop has not turned for"), "{said}");
    log.hold_up(false);
    becomes(&url, 200).await;
    drop(inputs);
    stop.cancel();
    thread.join().expect("it ends");
}
