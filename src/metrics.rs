//! Every Prometheus name, in one place. `docs/metrics.md` lists them, and a test holds the two together.
//!
//! Base units, and labels with few values only: pools, phases, reasons, APIs. Never a job's or an instance's id.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_reconciler::effect::{Fact, FailureKind, GitHubLimit, Market};
use muster_reconciler::ids::PoolName;
use muster_reconciler::view::Totals;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Waits and stages, in seconds: a spot box takes 20 s to 3 min; beyond an hour only "too long" is of interest.
const WAIT_SECONDS: &[f64] =
    &[0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0];
/// Calls, in seconds.
const CALL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Our own computing, in seconds: the target of a step at 10,000 runners is 5 ms.
const STEP_SECONDS: &[f64] = &[0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];
/// Different values that a label taken from somebody else's error codes may have; further ones become `other`.
const MAX_REASONS: usize = 50;

/// What a metric is: a row of `docs/metrics.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in order.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

/// All of muster's metrics, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    scrape: Mutex<()>,
    reasons: Mutex<BTreeSet<String>>,
    jobs: GaugeVec,
    runners: GaugeVec,
    sweep_age: GaugeVec,
    messages_held: GaugeVec,
    effects_in_flight: GaugeVec,
    core_up: GaugeVec,
    job_queue: HistogramVec,
    runner_stage: HistogramVec,
    launches: IntCounterVec,
    launch_failures: IntCounterVec,
    interruptions: IntCounterVec,
    instance_seconds: CounterVec,
    plans: IntCounterVec,
    step: Histogram,
    api_calls: IntCounterVec,
    api_call_seconds: HistogramVec,
    api_throttles: IntCounterVec,
    github_limit: IntGaugeVec,
    messages: IntCounterVec,
    dead_letters: IntCounter,
    webhook_requests: IntCounterVec,
    webhook: Histogram,
    manifest_reloads: IntCounterVec,
    manifest_valid: Gauge,
    sync_success: GaugeVec,
    sync_copied: IntCounter,
    sync_failures: IntCounter,
    runner_behind: GaugeVec,
}

/// Registers what it makes and remembers how it is described.
struct Maker {
    registry: Registry,
    described: Vec<Described>,
}

impl Maker {
    fn add<C: Collector + Clone + 'static>(&mut self, kind: &'static str, made: prometheus::Result<C>) -> C {
        let collector = made.expect("a metric's name and labels are well-formed: they are constants of this file");
        for desc in collector.desc() {
            self.described.push(Described {
                name: desc.fq_name.clone(),
                kind,
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            });
        }
        self.registry
            .register(Box::new(collector.clone()))
            .expect("a metric's name is given once: they are constants of this file");
        collector
    }

    fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        self.add("counter", IntCounter::new(name, help))
    }

    fn counters(&mut self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.add("gauge", Gauge::new(name, help))
    }

    fn gauges(&mut self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        self.add("gauge", GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&mut self, name: &str, buckets: &[f64], help: &str) -> Histogram {
        self.add("histogram", Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn histograms(&mut self, name: &str, labels: &[&str], buckets: &[f64], help: &str) -> HistogramVec {
        self.add("histogram", HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics, none with a value yet.
    pub fn new() -> Metrics {
        let mut m = Maker { registry: Registry::new(), described: Vec::new() };
        let build = m.gauges("muster_build_info", &["version"], "Always 1; the label says which release runs.");
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let jobs = m.gauges("muster_jobs", &["pool", "state"], "Jobs known now. Without a pool: no pool takes them.");
        let runners = m.gauges("muster_runners", &["pool", "phase"], "Runners (boxes, registrations or both) now.");
        let job_queue = m.histograms(
            "muster_job_queue_seconds",
            &["pool"],
            WAIT_SECONDS,
            "From when a job was first heard of until a runner took it.",
        );
        let runner_stage = m.histograms(
            "muster_runner_stage_seconds",
            &["pool", "stage"],
            WAIT_SECONDS,
            "From the launch call until a stage of the runner's start: launched, script, configured, secret, unpacked, listener, online.",
        );
        let launches = m.counters("muster_launches_total", &["pool", "market"], "Instances launched.");
        let launch_failures = m.counters(
            "muster_launch_failures_total",
            &["pool", "reason"],
            "Instances asked for and not launched, by EC2's error code or our own kind of failure.",
        );
        let interruptions = m.counters(
            "muster_interruptions_total",
            &["pool", "busy"],
            "Boxes that spot took back; busy says whether a job was seen running.",
        );
        let instance_seconds = m.add(
            "counter",
            CounterVec::new(
                Opts::new("muster_instance_seconds_total", "Lifetime of boxes, added when they are gone."),
                &["pool", "market"],
            ),
        );
        let plans = m.counters("muster_plans_total", &["pool"], "Plans made.");
        let step = m.histogram("muster_step_seconds", STEP_SECONDS, "One step of the core: fold, plan, emit.");
        // A vector without labels shows nothing until it is set, unlike a plain gauge, which begins as 0.
        let core_up = m.gauges("muster_core_up", &[], "1 if the controller answered this scrape, 0 if not.");
        let sweep_age = m.gauges(
            "muster_sweep_age_seconds",
            &["source"],
            "Since the last complete look at a source began; infinite if there was none yet.",
        );
        let effects_in_flight = m.gauges("muster_effects_in_flight", &[], "Effects under way.");
        let api_calls = m.counters(
            "muster_api_calls_total",
            &["api", "outcome"],
            "Calls to AWS and GitHub; outcome is ok, throttled, unavailable, ambiguous, conflict, not_found or refused.",
        );
        let api_call_seconds = m.histograms("muster_api_call_seconds", &["api"], CALL_SECONDS, "How long such a call took.");
        let api_throttles = m.counters("muster_api_throttles_total", &["api"], "Calls that were refused for being too many.");
        let github_limit = m.add(
            "gauge",
            IntGaugeVec::new(
                Opts::new(
                    "muster_github_limit_remaining",
                    "Requests that GitHub still admits in this window (x-ratelimit-remaining).",
                ),
                &["app"],
            ),
        );
        let messages = m.counters("muster_messages_total", &["result"], "Queue messages received, by what became of them.");
        let messages_held = m.gauges("muster_messages_held", &[], "Queue messages held: jobs that have not left the queue.");
        let dead_letters =
            m.counter("muster_dead_letters_total", "Messages that nobody can read, moved to the dead-letter queue.");
        let webhook_requests =
            m.counters("muster_webhook_requests_total", &["status"], "Webhook deliveries answered, by HTTP status.");
        let webhook = m.histogram(
            "muster_webhook_seconds",
            CALL_SECONDS,
            "From a delivery's headers until its answer, the wait for the queue included.",
        );
        let manifest_reloads = m.counters(
            "muster_manifest_reloads_total",
            &["result"],
            "Changes of the manifests noticed; result is ok or invalid (the last good ones stay in force).",
        );
        let manifest_valid =
            m.gauge("muster_manifest_valid", "0 while the manifests are invalid and earlier ones are in force, else 1.");
        manifest_valid.set(1.0);
        let sync_success = m.gauges(
            "muster_sync_last_success_timestamp_seconds",
            &["os", "architecture"],
            "When all runner binaries that the pools need were last seen or put into the bucket, since the Unix epoch.",
        );
        let sync_copied =
            m.counter("muster_sync_copied_bytes_total", "Runner binaries copied from their releases to the bucket.");
        let sync_failures = m.counter(
            "muster_sync_failures_total",
            "Runner binaries that could not be cached, and failures to tidy up after them.",
        );
        let runner_behind = m.gauges(
            "muster_runner_version_behind_seconds",
            &["os", "architecture", "version"],
            "How long a newer release has been out than a version that pools pin; 0 if there is none. GitHub refuses runners after 30 days.",
        );
        add_process(&mut m);
        Metrics {
            registry: m.registry,
            described: m.described,
            scrape: Mutex::new(()),
            reasons: Mutex::new(BTreeSet::new()),
            jobs,
            runners,
            sweep_age,
            messages_held,
            effects_in_flight,
            core_up,
            job_queue,
            runner_stage,
            launches,
            launch_failures,
            interruptions,
            instance_seconds,
            plans,
            step,
            api_calls,
            api_call_seconds,
            api_throttles,
            github_limit,
            messages,
            dead_letters,
            webhook_requests,
            webhook,
            manifest_reloads,
            manifest_valid,
            sync_success,
            sync_copied,
            sync_failures,
            runner_behind,
        }
    }

    /// What there is, in the order of its making.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Counts what only the core knows.
    pub fn observe_fact(&self, fact: &Fact) {
        match fact {
            Fact::JobStarted { pool, waited } => {
                let pool = pool.as_ref().map_or("", PoolName::as_str);
                self.job_queue.with_label_values(&[pool]).observe(waited.as_secs_f64());
            }
            Fact::RunnerReached { pool, stage, after } => {
                self.runner_stage.with_label_values(&[pool.as_str(), stage.as_str()]).observe(after.as_secs_f64());
            }
            Fact::LaunchFailed { pool, reason, count } => {
                self.launch_failures.with_label_values(&[pool.as_str(), &self.bounded(reason)]).inc_by(u64::from(*count));
            }
            Fact::Interrupted { pool, busy } => {
                self.interruptions.with_label_values(&[pool.as_str(), if *busy { "true" } else { "false" }]).inc();
            }
            Fact::RunnerGone { pool, market, lived } => {
                self.instance_seconds.with_label_values(&[pool.as_str(), market.as_str()]).inc_by(lived.as_secs_f64());
            }
            Fact::Planned { pool } => self.plans.with_label_values(&[pool.as_str()]).inc(),
        }
    }

    /// Instances came out of a launch.
    pub fn launched(&self, pool: &PoolName, market: Market, count: u64) {
        self.launches.with_label_values(&[pool.as_str(), market.as_str()]).inc_by(count);
    }

    /// A call to `api` (such as `ec2.CreateFleet` or `github.jit`; never with an id in it) ended. None: it went well.
    pub fn api_call(&self, api: &'static str, failure: Option<FailureKind>, took: Duration) {
        self.api_calls.with_label_values(&[api, failure.map_or("ok", FailureKind::as_str)]).inc();
        self.api_call_seconds.with_label_values(&[api]).observe(took.as_secs_f64());
        if failure == Some(FailureKind::Throttled) {
            self.api_throttles.with_label_values(&[api]).inc();
        }
    }

    /// GitHub said what it still admits.
    pub fn github_limit(&self, limit: &GitHubLimit) {
        self.github_limit.with_label_values(&[limit.app.as_str()]).set(i64::from(limit.remaining));
    }

    /// One step of the core took this long.
    pub fn step(&self, took: Duration) {
        self.step.observe(took.as_secs_f64());
    }

    /// `count` queue messages were received and met with `result` (`job`, `ec2_event`, `dead_letter` and so on).
    pub fn messages(&self, result: &'static str, count: u64) {
        self.messages.with_label_values(&[result]).inc_by(count);
    }

    /// A message that nobody can read was moved to the dead-letter queue.
    pub fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    /// A webhook delivery was answered with this HTTP status, after this long.
    pub fn webhook_request(&self, status: u16, took: Duration) {
        self.webhook_requests.with_label_values(&[status.to_string().as_str()]).inc();
        self.webhook.observe(took.as_secs_f64());
    }

    /// The manifests changed. If the new ones are invalid, the last good ones stay in force.
    pub fn manifest_reload(&self, valid: bool) {
        self.manifest_reloads.with_label_values(&[if valid { "ok" } else { "invalid" }]).inc();
        self.manifest_valid.set(if valid { 1.0 } else { 0.0 });
    }

    /// All binaries of a platform are cached, as seen at that time since the Unix epoch.
    pub fn sync_succeeded(&self, os: &str, architecture: &str, at: Duration) {
        self.sync_success.with_label_values(&[os, architecture]).set(at.as_secs_f64());
    }

    /// A runner binary was copied.
    pub fn sync_copied(&self, bytes: u64) {
        self.sync_copied.inc_by(bytes);
    }

    /// So much of a sync failed.
    pub fn sync_failures(&self, count: u64) {
        self.sync_failures.inc_by(count);
    }

    /// The pinned versions now, by platform, and how long a newer release has been out. Others vanish.
    pub fn runners_behind(&self, pinned: impl Iterator<Item = (&'static str, &'static str, String, Duration)>) {
        self.runner_behind.reset();
        for (os, architecture, version, behind) in pinned {
            self.runner_behind.with_label_values(&[os, architecture, &version]).set(behind.as_secs_f64());
        }
    }

    /// Sets the gauges to the core's totals. What the totals no longer mention vanishes. None: the core didn't
    /// answer, and no number is better than an old one.
    pub fn set_totals(&self, totals: Option<&Totals>) {
        const NONE: &[&str] = &[];
        self.core_up.with_label_values(NONE).set(if totals.is_some() { 1.0 } else { 0.0 });
        for gauge in [&self.jobs, &self.runners, &self.sweep_age, &self.messages_held, &self.effects_in_flight] {
            gauge.reset();
        }
        let Some(known) = totals else { return };
        for ((pool, state), n) in &known.jobs {
            self.jobs.with_label_values(&[pool.as_str(), state]).set(*n as f64);
        }
        for ((pool, phase), n) in &known.runners {
            self.runners.with_label_values(&[pool.as_str(), phase]).set(*n as f64);
        }
        for (source, age) in &known.sweep_age {
            self.sweep_age.with_label_values(&[source.as_str()]).set(age.unwrap_or(f64::INFINITY));
        }
        self.messages_held.with_label_values(NONE).set(known.messages_held as f64);
        self.effects_in_flight.with_label_values(NONE).set(known.effects_in_flight as f64);
    }

    /// Everything, in Prometheus' text format.
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|e| {
            tracing::error!(error = %e, "failed to write the metrics as text");
            String::new()
        })
    }

    /// [`Metrics::set_totals`] and [`Metrics::render`], with no other scrape between them.
    pub fn scrape(&self, totals: Option<&Totals>) -> String {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_totals(totals);
        self.render()
    }

    /// A label's value that comes from somebody else: kept if it looks like an error code and there aren't too many.
    fn bounded<'a>(&self, reason: &'a str) -> std::borrow::Cow<'a, str> {
        let plain = (1..=64).contains(&reason.len()) && reason.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let mut known = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if plain && (known.contains(reason) || (known.len() < MAX_REASONS && known.insert(reason.to_owned()))) {
            reason.into()
        } else {
            "other".into()
        }
    }
}

/// CPU time, memory, file descriptors: Prometheus' standard names, on Linux.
#[cfg(target_os = "linux")]
fn add_process(m: &mut Maker) {
    use prometheus::process_collector::ProcessCollector;
    let process = ProcessCollector::for_self();
    for desc in process.desc() {
        let kind = if desc.fq_name.ends_with("_total") { "counter" } else { "gauge" };
        m.described.push(Described { name: desc.fq_name.clone(), kind, labels: Vec::new(), help: desc.help.clone() });
    }
    m.registry.register(Box::new(process)).expect("process_* is registered once");
}

#[cfg(not(target_os = "linux"))]
fn add_process(_: &mut Maker) {}

#[cfg(test)]
mod tests {
    use muster_reconciler::effect::Stage;
    use muster_reconciler::ids::AppName;

    use super::*;

    fn totals() -> Totals {
        Totals {
            jobs: [(("linux".to_owned(), "queued"), 3), ((String::new(), "queued"), 1)].into(),
            runners: [(("linux".to_owned(), "idle"), 2)].into(),
            sweep_age: [("instances".to_owned(), Some(4.5)), ("runners org/acme (main)".to_owned(), None)].into(),
            messages_held: 4,
            effects_in_flight: 1,
        }
    }

    #[test]
    fn totals_become_gauges_and_vanish_with_what_they_count() {
        let metrics = Metrics::new();
        let text = metrics.scrape(Some(&totals()));
        for line in [
            "muster_jobs{pool=\"linux\",state=\"queued\"} 3\n",
            "muster_jobs{pool=\"\",state=\"queued\"} 1\n",
            "muster_runners{phase=\"idle\",pool=\"linux\"} 2\n",
            "muster_sweep_age_seconds{source=\"instances\"} 4.5\n",
            "muster_sweep_age_seconds{source=\"runners org/acme (main)\"} inf\n",
            "muster_messages_held 4\n",
            "muster_core_up 1\n",
            concat!("muster_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        let text = metrics.scrape(Some(&Totals::default()));
        assert!(!text.contains("linux"), "{text}");
        let text = metrics.scrape(None);
        assert!(text.contains("muster_core_up 0\n") && !text.contains("muster_messages_held"), "{text}");
        assert!(!Metrics::new().render().contains("muster_core_up"), "a process without a core has none to miss");
    }

    #[test]
    fn facts_and_calls_are_counted() {
        let metrics = Metrics::new();
        let pool = PoolName::from("linux");
        let secs = Duration::from_secs;
        for fact in [
            Fact::JobStarted { pool: Some(pool.clone()), waited: secs(40) },
            Fact::RunnerReached { pool: pool.clone(), stage: Stage::Online, after: secs(31) },
            Fact::LaunchFailed { pool: pool.clone(), reason: "InsufficientInstanceCapacity".into(), count: 7 },
            Fact::LaunchFailed { pool: pool.clone(), reason: "no such thing as \"x\"".into(), count: 1 },
            Fact::Interrupted { pool: pool.clone(), busy: true },
            Fact::RunnerGone { pool: pool.clone(), market: Market::Spot, lived: secs(90) },
            Fact::Planned { pool: pool.clone() },
        ] {
            metrics.observe_fact(&fact);
        }
        metrics.launched(&pool, Market::OnDemand, 5);
        metrics.api_call("ec2.CreateFleet", Some(FailureKind::Throttled), Duration::from_millis(30));
        metrics.api_call("ec2.CreateFleet", None, Duration::from_millis(300));
        metrics.github_limit(&GitHubLimit { app: AppName::from("main"), remaining: 4999, reset_after: secs(9) });
        metrics.manifest_reload(false);
        metrics.webhook_request(202, Duration::from_millis(3));
        metrics.runners_behind([("linux", "x64", "2.1.0".to_owned(), secs(9))].into_iter());
        metrics.runners_behind([("linux", "x64", "2.2.0".to_owned(), secs(7))].into_iter());
        let text = metrics.render();
        for line in [
            "muster_job_queue_seconds_bucket{pool=\"linux\",le=\"45\"} 1\n",
            "muster_runner_stage_seconds_sum{pool=\"linux\",stage=\"online\"} 31\n",
            "muster_launch_failures_total{pool=\"linux\",reason=\"InsufficientInstanceCapacity\"} 7\n",
            "muster_launch_failures_total{pool=\"linux\",reason=\"other\"} 1\n",
            "muster_interruptions_total{busy=\"true\",pool=\"linux\"} 1\n",
            "muster_instance_seconds_total{market=\"spot\",pool=\"linux\"} 90\n",
            "muster_plans_total{pool=\"linux\"} 1\n",
            "muster_launches_total{market=\"on-demand\",pool=\"linux\"} 5\n",
            "muster_api_calls_total{api=\"ec2.CreateFleet\",outcome=\"ok\"} 1\n",
            "muster_api_calls_total{api=\"ec2.CreateFleet\",outcome=\"throttled\"} 1\n",
            "muster_api_throttles_total{api=\"ec2.CreateFleet\"} 1\n",
            "muster_github_limit_remaining{app=\"main\"} 4999\n",
            "muster_manifest_valid 0\n",
            "muster_webhook_requests_total{status=\"202\"} 1\n",
            "muster_runner_version_behind_seconds{architecture=\"x64\",os=\"linux\",version=\"2.2.0\"} 7\n",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("2.1.0"), "a version that nobody pins any more has no series");
    }

    #[test]
    fn a_flood_of_reasons_stays_bounded() {
        let metrics = Metrics::new();
        for n in 0..1000 {
            metrics.observe_fact(&Fact::LaunchFailed { pool: "p".into(), reason: format!("Code{n}"), count: 1 });
        }
        assert_eq!(metrics.render().matches("muster_launch_failures_total{").count(), MAX_REASONS + 1);
    }

    /// The table of `docs/metrics.md` is what this prints when it fails.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_documentation_lists_what_there_is() {
        let doc = include_str!("../docs/metrics.md");
        let row = |d: &Described| {
            let labels: Vec<String> = d.labels.iter().map(|l| format!("`{l}`")).collect();
            format!("| `{}` | {} | {} | {} |", d.name, d.kind, labels.join(", "), d.help)
        };
        let mut wanted: Vec<String> = Metrics::new().described().iter().map(row).collect();
        let mut found: Vec<String> =
            doc.lines().filter(|l| l.starts_with("| `") && l.matches('|').count() == 5).map(str::to_owned).collect();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "the table should be:\n{}", wanted.join("\n"));
    }

    #[test]
    fn names_follow_prometheus_conventions() {
        for Described { name, kind, labels, .. } in Metrics::new().described() {
            assert!(name.starts_with("muster_") || name.starts_with("process_"), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
            assert!(*kind != "histogram" || name.ends_with("_seconds"), "{name}");
            assert!(labels.iter().all(|l| !["job", "instance", "runner", "id", "repo"].contains(&l.as_str())), "{name}");
        }
    }
}
