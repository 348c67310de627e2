//! Delivers traces: there is a bounded queue, and a few tries for each batch.
//!
//! Requests are protobuf by POST (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>). A request that is answered with 429,
//! 502, 503 or 504 is tried again, after `Retry-After` if the answer has that header. Any other status that is no success is
//! final.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_operations::metrics::Metrics;
use muster_reconciler::fact::Fact;
use muster_reconciler::past::JobPast;
use muster_reconciler::reason::count;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::post::{Post, PostFailure};
use super::spans;
use crate::retry::Delay;

/// The most jobs that wait to be exported. Each takes about 2 KB.
const QUEUE: usize = 1024;
/// A batch is sent once it has this many spans, or earlier, after [`BATCH_WAIT`].
const BATCH_SPANS: usize = 512;
/// A batch is sent this long after its first job came, even if it is small.
const BATCH_WAIT: Duration = Duration::from_secs(5);
/// The most tries for one batch.
const TRIES: u32 = 5;
/// The first and the longest wait between two tries.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// If a back end asks for a longer wait than this, the batch is dropped.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long a request may take after the order to stop. The whole process has 10 s, of which the controller takes up to 8 s.
const LAST_TRY: Duration = Duration::from_secs(1);
/// The shortest time between two log lines about failures.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The entrance for the stories of jobs; the driver uses it. It never blocks.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: mpsc::Sender<Box<JobPast>>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// Takes the story of a job that is over. Other facts are ignored.
    pub fn observe(&self, fact: Fact) {
        if let Fact::JobEnded(past) = fact
            && self.queue.try_send(past).is_err()
        {
            self.metrics.traces("queue_full", 1);
        }
    }
}

/// Sends the stories that come in, until no [`Traces`] is left.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Receiver<Box<JobPast>>,
    post: Post,
    resource: Resource,
    region: Option<String>,
    metrics: Arc<Metrics>,
    said: Option<Instant>,
}

/// The spans of some jobs, which are sent together.
#[derive(Debug, Default)]
struct SpanBatch {
    jobs: u64,
    spans: Vec<Span>,
}

impl Exporter {
    /// Makes an exporter for the jobs of a cluster whose instances are in `region`, and the entrance for stories.
    ///
    /// # Errors
    /// When the endpoint is `https` and this machine trusts no certificate authority.
    pub fn new(config: Config, cluster: &str, region: Option<&str>, metrics: Arc<Metrics>) -> anyhow::Result<(Traces, Exporter)> {
        // Each counter begins at zero. If a counter appeared with its first event, `rate()` would not see that event.
        for outcome in ["sent", "queue_full", "failed", "refused"] {
            metrics.traces(outcome, 0);
        }
        let (handed_in, queue) = mpsc::channel(QUEUE);
        let resource = Resource { attributes: resource(&config, cluster), ..Resource::default() };
        let post = Post::new(config).context("failed to prepare the export of traces")?;
        let traces = Traces { queue: handed_in, metrics: metrics.clone() };
        Ok((traces, Exporter { queue, post, resource, region: region.map(str::to_owned), metrics, said: None }))
    }

    /// Runs until every [`Traces`] is dropped and all stories are sent or given up. After `stop`, the exporter hurries.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(first) = self.queue.recv().await {
            let batch = self.gather(first, &stop).await;
            let jobs = batch.jobs;
            let outcome = self.deliver(batch, &stop).await;
            self.metrics.traces(outcome, jobs);
            if outcome != "sent" && stop.is_cancelled() {
                self.queue.close();
                while self.queue.recv().await.is_some() {
                    self.metrics.traces("failed", 1);
                }
                return;
            }
        }
    }

    async fn gather(&mut self, first: Box<JobPast>, stop: &CancellationToken) -> SpanBatch {
        let mut batch = SpanBatch::default();
        let full = tokio::time::sleep(BATCH_WAIT);
        tokio::pin!(full);
        let mut next = Some(first);
        while let Some(past) = next {
            batch.jobs += 1;
            batch.spans.extend(spans::of(&past, self.region.as_deref()));
            if batch.spans.len() >= BATCH_SPANS {
                break;
            }
            next = tokio::select! {
                biased;
                next = self.queue.recv() => next,
                () = &mut full => None,
                () = stop.cancelled() => None,
            };
        }
        batch
    }

    /// Sends a batch. Returns how this ended: `sent`, `refused` or `failed`.
    async fn deliver(&mut self, batch: SpanBatch, stop: &CancellationToken) -> &'static str {
        let scope =
            InstrumentationScope { name: "muster".into(), version: env!("CARGO_PKG_VERSION").into(), ..Default::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: batch.spans, ..ScopeSpans::default() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans, ..ResourceSpans::default() }];
        let body = bytes::Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let mut delay = Delay::new(DELAYS.0, DELAYS.1);
        for attempt in 1.. {
            let hurry = async {
                stop.cancelled().await;
                tokio::time::sleep(LAST_TRY).await;
            };
            let answer = tokio::select! {
                answer = self.post.send(body.clone()) => answer,
                () = hurry => Err(PostFailure::for_now("no answer before the process ended")),
            };
            let refusal = match answer {
                Ok(answer) => {
                    self.hear(&answer);
                    return "sent";
                }
                Err(refusal) => refusal,
            };
            let wait = refusal.retry_after.unwrap_or_else(|| delay.next_delay());
            let last = !refusal.again || attempt >= TRIES || wait > LONGEST_RETRY_AFTER || stop.is_cancelled();
            if last {
                self.say(batch.jobs, &refusal.why);
                return if refusal.again { "failed" } else { "refused" };
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        "failed"
    }

    /// Reads a successful answer. A back end may take only a part of a batch, and say so in a successful answer.
    fn hear(&mut self, answer: &[u8]) {
        let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
        if let Some(partial) = partial.filter(|p| p.rejected_spans > 0) {
            let why = format!("{} rejected: {}", count(partial.rejected_spans, "span"), short(&partial.error_message));
            self.say(0, &why);
        }
    }

    fn say(&mut self, jobs: u64, why: &str) {
        if self.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        tracing::warn!(
            endpoint = %self.post.place(),
            jobs,
            error = why,
            "traces could not be delivered; counted in muster_traces_total and not said again for a minute"
        );
    }
}

/// The first 200 characters of a text that comes from another system.
pub(super) fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The attributes that describe this process. What the user sets takes precedence over what muster knows.
fn resource(config: &Config, cluster: &str) -> Vec<KeyValue> {
    let own = [("service.name", "muster"), ("service.version", env!("CARGO_PKG_VERSION")), ("muster.cluster", cluster)];
    let told = |key: &str| config.resource.iter().any(|(told, _)| told == key);
    let own = own.into_iter().filter(|(key, _)| !told(key));
    own.chain(config.resource.iter().map(|(k, v)| (k.as_str(), v.as_str()))).map(|(k, v)| spans::text(k, v)).collect()
}
