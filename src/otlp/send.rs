//! Delivers traces: a bounded queue, batches, and a few tries for each batch.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>: protobuf by POST; 429, 502, 503 and 504 are tried again, after `Retry-After`
//! if that is told; any other refusal is final.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_reconciler::fact::Fact;
use muster_reconciler::past::JobPast;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::post::{Post, Refusal};
use super::spans;
use crate::metrics::Metrics;
use crate::retry::Delay;

/// Jobs that may wait to be exported, of about 2 KB each.
const QUEUE: usize = 1024;
/// A batch is sent once it has so many spans,
const BATCH_SPANS: usize = 512;
/// or this long after its first.
const BATCH_WAIT: Duration = Duration::from_secs(5);
/// How often a batch is tried.
const TRIES: u32 = 5;
/// The first and the longest wait between two tries.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A back end that wants to be left alone for longer than this loses the batch.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Once told to stop, a request gets this long: the whole process has 10 s, and the controller has had up to 8 of them.
const LAST_TRY: Duration = Duration::from_secs(1);
/// Failures are logged once in this time at most.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Where the driver hands stories in. Never blocks.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: mpsc::Sender<Box<JobPast>>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// Takes a job's story; other facts are not for traces.
    pub fn observe(&self, fact: Fact) {
        if let Fact::JobEnded(past) = fact
            && self.queue.try_send(past).is_err()
        {
            self.metrics.traces("queue_full", 1);
        }
    }
}

/// Sends what is handed in, until nobody hands in any more.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Receiver<Box<JobPast>>,
    post: Post,
    resource: Resource,
    region: Option<String>,
    metrics: Arc<Metrics>,
    said: Option<Instant>,
}

/// Some jobs' spans, on their way.
#[derive(Debug, Default)]
struct Batch {
    jobs: u64,
    spans: Vec<Span>,
}

impl Exporter {
    /// An exporter for the boxes of a cluster in a region, and where to hand stories in.
    ///
    /// # Errors
    /// When the endpoint is `https` and this machine trusts no certificate authority.
    pub fn new(config: Config, cluster: &str, region: Option<&str>, metrics: Arc<Metrics>) -> anyhow::Result<(Traces, Exporter)> {
        // A counter that appears with its first event hides that event from `rate()`.
        for outcome in ["sent", "queue_full", "failed", "refused"] {
            metrics.traces(outcome, 0);
        }
        let (handed_in, queue) = mpsc::channel(QUEUE);
        let resource = Resource { attributes: resource(&config, cluster), ..Resource::default() };
        let post = Post::new(config).context("failed to prepare the export of traces")?;
        let traces = Traces { queue: handed_in, metrics: metrics.clone() };
        Ok((traces, Exporter { queue, post, resource, region: region.map(str::to_owned), metrics, said: None }))
    }

    /// Runs until every [`Traces`] is dropped and what was handed in is sent or given up. `stop` says to hurry.
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

    async fn gather(&mut self, first: Box<JobPast>, stop: &CancellationToken) -> Batch {
        let mut batch = Batch::default();
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

    /// How it ended: `sent`, `refused` or `failed`.
    async fn deliver(&mut self, batch: Batch, stop: &CancellationToken) -> &'static str {
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
                () = hurry => Err(Refusal::for_now("no answer before the process ended")),
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

    /// A back end may take a part only, and say so in an answer that is a success.
    fn hear(&mut self, answer: &[u8]) {
        let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
        if let Some(partial) = partial.filter(|p| p.rejected_spans > 0) {
            let why = format!("{} spans were rejected: {}", partial.rejected_spans, short(&partial.error_message));
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

/// The beginning of a text from outside.
pub(super) fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Who speaks. What the user says comes before what muster knows.
fn resource(config: &Config, cluster: &str) -> Vec<KeyValue> {
    let own = [("service.name", "muster"), ("service.version", env!("CARGO_PKG_VERSION")), ("muster.cluster", cluster)];
    let told = |key: &str| config.resource.iter().any(|(told, _)| told == key);
    let own = own.into_iter().filter(|(key, _)| !told(key));
    own.chain(config.resource.iter().map(|(k, v)| (k.as_str(), v.as_str()))).map(|(k, v)| spans::text(k, v)).collect()
}
