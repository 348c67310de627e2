//! Every Prometheus name, in one place. `docs/metrics.md` lists them, and a test holds the two together.
//!
//! Base units, and labels with few values only: pools, phases, reasons, APIs. Never a job's or an instance's id.

mod maker;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_reconciler::effect::{FailureKind, GitHubLimit};
use muster_reconciler::fact::{DrainOutcome, Fact};
use muster_reconciler::ids::PoolName;
use muster_reconciler::market::Market;
use muster_reconciler::reason::{BootFailure, StepReason};
use muster_reconciler::runner::Act;
use muster_reconciler::view::Totals;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use maker::Described;
use maker::{Maker, add_process};

/// Waits and stages, in seconds: a spot box takes 20 s to 3 min; beyond an hour only "too long" is of interest.
const WAIT_SECONDS: &[f64] =
    &[0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0];
/// Calls, in seconds.
const CALL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Our own computing, in seconds: the target of a step at 10,000 runners is 5 ms.
const STEP_SECONDS: &[f64] = &[0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];
/// Different values that a label taken from somebody else's error codes may have; further ones become `other`.
const MAX_REASONS: usize = 50;

/// All of muster's metrics, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    scrape: Mutex<()>,
    reasons: Mutex<BTreeSet<String>>,
    jobs: GaugeVec,
    oldest_queued: GaugeVec,
    paused: GaugeVec,
    unavailable: GaugeVec,
    budget_tokens: GaugeVec,
    queue_messages: GaugeVec,
    runners: GaugeVec,
    sweep_age: GaugeVec,
    messages_held: GaugeVec,
    effects_in_flight: GaugeVec,
    core_up: GaugeVec,
    job_queue: HistogramVec,
    queue_to_start: HistogramVec,
    launch_decision: HistogramVec,
    runner_stage: HistogramVec,
    launches: IntCounterVec,
    launch_failures: IntCounterVec,
    boot_failures: IntCounterVec,
    interruptions: IntCounterVec,
    jobs_lost: IntCounterVec,
    drains: IntCounterVec,
    drain_reasons: IntCounterVec,
    end_reasons: IntCounterVec,
    instance_seconds: CounterVec,
    priced_seconds: CounterVec,
    cost: CounterVec,
    cost_coverage: GaugeVec,
    prices_read: GaugeVec,
    prices_unknown: GaugeVec,
    plans: IntCounterVec,
    step: Histogram,
    api_calls: IntCounterVec,
    api_call_seconds: HistogramVec,
    api_throttles: IntCounterVec,
    budget_waits: IntCounterVec,
    github_limit: IntGaugeVec,
    github_reset: GaugeVec,
    messages: IntCounterVec,
    redelivered: IntCounter,
    dead_letters: IntCounter,
    webhook_requests: IntCounterVec,
    webhook: Histogram,
    manifest_reloads: IntCounterVec,
    manifest_valid: Gauge,
    sync_success: GaugeVec,
    sync_copied: IntCounter,
    sync_failures: IntCounter,
    runner_behind: GaugeVec,
    traces: IntCounterVec,
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
        let jobs = m.gauges(
            "muster_jobs",
            &["pool", "state", "reason"],
            "Jobs known now, by why they are where they are. Without a pool: no pool takes them.",
        );
        let oldest_queued = m.gauges(
            "muster_job_oldest_queued_seconds",
            &["pool"],
            "How long the oldest queued job has been known, those that GitHub holds back aside; 0 if there is none.",
        );
        let runners = m.gauges("muster_runners", &["pool", "phase"], "Runners (boxes, registrations or both) now.");
        let paused = m.gauges("muster_pool_paused", &["pool"], "1 while an operator keeps the pool from launching, else 0.");
        let job_queue = m.histograms(
            "muster_job_queue_seconds",
            &["pool"],
            WAIT_SECONDS,
            "From when a job was first heard of until a runner took it.",
        );
        let queue_to_start = m.histograms(
            "muster_job_queue_to_start_seconds",
            &["pool"],
            WAIT_SECONDS,
            "True queue time: from when GitHub queued a job until a runner took it, by GitHub's clock, to the second.",
        );
        let launch_decision = m.histograms(
            "muster_launch_decision_seconds",
            &["pool"],
            WAIT_SECONDS,
            "From when a job was first heard of, or counted again, until boxes for it are asked for: queued to planned.",
        );
        let runner_stage = m.histograms(
            "muster_runner_stage_seconds",
            &["pool", "stage"],
            WAIT_SECONDS,
            "From the launch call until a stage of the runner's start: launched, script (booted), configured, secret, unpacked, listener, \
             online (registered), started (its first job).",
        );
        let launches = m.counters("muster_launches_total", &["pool", "market"], "Instances launched.");
        let launch_failures = m.counters(
            "muster_launch_failures_total",
            &["pool", "reason"],
            "Instances asked for and not launched, by EC2's error code or our own kind of failure.",
        );
        let unavailable = m.gauges(
            "muster_unavailable_offerings",
            &["market"],
            "Offerings (type and subnet) without capacity, or lately interrupted, that are left alone for 3 minutes.",
        );
        let boot_failures = m.counters(
            "muster_boot_failures_total",
            &["pool", "reason"],
            "Runners that never came online: overdue (past bootDeadline), ended (by themselves) or ended_by_ec2 (EC2 told why).",
        );
        let interruptions = m.counters(
            "muster_interruptions_total",
            &["pool", "busy"],
            "Boxes that spot took back; busy says whether a job was seen running.",
        );
        let jobs_lost = m.counters(
            "muster_jobs_lost_total",
            &["pool"],
            "Jobs whose box was interrupted before they ended well, or was gone before any event told of their end.",
        );
        let drains = m.counters(
            "muster_drains_total",
            &["pool", "outcome"],
            "Boxes asked to end: asked, failed (EC2 refused the tag or gave no answer; tried again), answered, unanswered (ended by the controller), refused (GitHub \
             says that it has a job).",
        );
        let drain_reasons = m.counters(
            "muster_drain_requests_total",
            &["pool", "reason"],
            "Runners that the controller asked to end (EC2 accepted the tag), by reason.",
        );
        let end_reasons = m.counters(
            "muster_terminations_total",
            &["pool", "reason"],
            "Instances that the controller ended (EC2 accepted the call), by reason.",
        );
        let instance_seconds = m.float_counters(
            "muster_instance_seconds_total",
            &["pool", "market"],
            "Time that EC2 showed boxes pending or running, added as it passes.",
        );
        let priced_seconds = m.float_counters(
            "muster_priced_instance_seconds_total",
            &["pool", "market"],
            "The part of muster_instance_seconds_total whose instance type has a price.",
        );
        let cost = m.float_counters(
            "muster_estimated_cost_total",
            &["pool", "market", "currency"],
            "What that time costs by the known prices, disks and traffic aside; absent where no price is known.",
        );
        let cost_coverage = m.gauges(
            "muster_cost_coverage_ratio",
            &[],
            "The share of the instance time since the start that had a price, 0 to 1; absent until there was any.",
        );
        let prices_read = m.gauges(
            "muster_prices_timestamp_seconds",
            &["market"],
            "When the controller last read AWS's prices of this market (Unix time); absent: never.",
        );
        let prices_unknown = m.gauges(
            "muster_prices_unknown",
            &["market"],
            "Instance types that the pools may buy in this market and whose price nobody told.",
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
        let budget_waits = m.counters(
            "muster_budget_waits_total",
            &["api"],
            "Times that a wanted call was put off because our own budget for it was spent.",
        );
        let budget_tokens = m.gauges(
            "muster_budget_tokens",
            &["api", "app", "account"],
            "Calls that our own budget admits at once now; app is empty for AWS, account for what an App asks as itself.",
        );
        let github_limit = m.add(
            "gauge",
            IntGaugeVec::new(
                Opts::new(
                    "muster_github_limit_remaining",
                    "Requests that GitHub still admits in this window (x-ratelimit-remaining), by the account that the App is \
                     installed on (empty: the App itself) and by resource: core, or actions_runner_registration for \
                     configurations.",
                ),
                &["app", "account", "resource"],
            ),
        );
        let github_reset = m.gauges(
            "muster_github_limit_reset_timestamp_seconds",
            &["app", "account", "resource"],
            "When that window ends, or (resource secondary) a secondary limit lifts, since the Unix epoch.",
        );
        let messages = m.counters(
            "muster_messages_total",
            &["result"],
            "Queue messages received; result is job, ec2_event, ignored, unsigned (looked at again), refused (no proof of its \
                 sender) or unreadable.",
        );
        let messages_held = m.gauges("muster_messages_held", &[], "Queue messages held: jobs that have not left the queue.");
        let redelivered =
            m.counter("muster_messages_redelivered_total", "Messages of the jobs queue that had been delivered before.");
        let queue_messages = m.gauges(
            "muster_queue_messages",
            &["queue", "state"],
            "Messages in SQS, asked once a minute: queue is jobs, dead_letters or ec2_events; state is visible, in_flight or delayed.",
        );
        let dead_letters = m.counter(
            "muster_dead_letters_total",
            "Messages that nobody can read or that are not signed, moved to the dead-letter queue.",
        );
        let webhook_requests = m.counters(
            "muster_webhook_requests_total",
            &["outcome", "status"],
            "Webhook deliveries answered, by HTTP status; outcome is accepted, ignored, unsigned, malformed, slow, too_large, \
                 unavailable or other.",
        );
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
        let traces = m.counters(
            "muster_traces_total",
            &["outcome"],
            "Jobs whose trace was sent, or dropped: queue_full (the back end is too slow), failed (not taken in time), refused (by a final \
             answer). Only where traces are exported.",
        );
        add_process(&mut m);
        Metrics {
            registry: m.registry,
            described: m.described,
            scrape: Mutex::new(()),
            reasons: Mutex::new(BTreeSet::new()),
            jobs,
            oldest_queued,
            paused,
            unavailable,
            budget_tokens,
            queue_messages,
            runners,
            sweep_age,
            messages_held,
            effects_in_flight,
            core_up,
            job_queue,
            queue_to_start,
            launch_decision,
            runner_stage,
            launches,
            launch_failures,
            boot_failures,
            interruptions,
            jobs_lost,
            drains,
            drain_reasons,
            end_reasons,
            instance_seconds,
            priced_seconds,
            cost,
            cost_coverage,
            prices_read,
            prices_unknown,
            plans,
            step,
            api_calls,
            api_call_seconds,
            api_throttles,
            budget_waits,
            github_limit,
            github_reset,
            messages,
            redelivered,
            dead_letters,
            webhook_requests,
            webhook,
            manifest_reloads,
            manifest_valid,
            sync_success,
            sync_copied,
            sync_failures,
            runner_behind,
            traces,
        }
    }

    /// What there is, in the order of its making.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Counts what only the core knows.
    pub fn observe_fact(&self, fact: &Fact) {
        match fact {
            Fact::JobStarted { pool, waited, true_wait } => {
                let pool = pool.as_ref().map_or("", PoolName::as_str);
                self.job_queue.with_label_values(&[pool]).observe(waited.as_secs_f64());
                if let Some(wait) = true_wait {
                    self.queue_to_start.with_label_values(&[pool]).observe(wait.as_secs_f64());
                }
            }
            Fact::LaunchDecided { pool, after } => {
                if let Some(after) = after {
                    self.launch_decision.with_label_values(&[pool.as_str()]).observe(after.as_secs_f64());
                }
            }
            Fact::RunnerReached { pool, stage, after, .. } => {
                self.runner_stage.with_label_values(&[pool.as_str(), stage.as_str()]).observe(after.as_secs_f64());
            }
            Fact::Launched { pool, market, count } => {
                self.launches.with_label_values(&[pool.as_str(), market.as_str()]).inc_by(u64::from(*count));
            }
            Fact::LaunchFailed { pool, reason, count } => {
                self.launch_failures.with_label_values(&[pool.as_str(), &self.bounded(reason.word())]).inc_by(u64::from(*count));
            }
            Fact::BootFailed { pool, why, .. } => self.boot_failures.with_label_values(&[pool.as_str(), why.word()]).inc(),
            Fact::Interrupted { pool, busy, .. } => {
                self.interruptions.with_label_values(&[pool.as_str(), if *busy { "true" } else { "false" }]).inc();
            }
            Fact::JobLost { pool, .. } => self.jobs_lost.with_label_values(&[pool.as_str()]).inc(),
            Fact::Drain { pool, outcome } => self.drains.with_label_values(&[pool.as_str(), outcome.as_str()]).inc(),
            Fact::Stepped { pool, act: Act::Drain, reason } => {
                self.drain_reasons.with_label_values(&[pool.as_str(), reason.word()]).inc();
            }
            Fact::Stepped { pool, act: Act::Terminate, reason } => {
                self.end_reasons.with_label_values(&[pool.as_str(), reason.word()]).inc();
            }
            Fact::Stepped { act: Act::Configure | Act::Deregister | Act::DeleteSecret, .. } => {}
            Fact::BudgetWait { api } => self.budget_waits.with_label_values(&[*api]).inc(),
            // Time is counted while it passes; see `meter`.
            Fact::RunnerGone { .. } => {}
            // For the job's trace; see `otlp`.
            Fact::JobEnded(_) => {}
            Fact::Planned { pool } => self.plans.with_label_values(&[pool.as_str()]).inc(),
        }
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
        let account = limit.payer.account.as_deref().unwrap_or_default();
        let labels = |resource| [limit.payer.app.as_str(), account, resource];
        // A secondary limit has no number, and nothing says that it was lifted.
        if let Some(resource) = limit.resource {
            self.github_limit.with_label_values(&labels(resource.as_str())).set(i64::from(limit.remaining));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reset = (now + limit.reset_after).as_secs_f64().round();
        self.github_reset.with_label_values(&labels(limit.resource.map_or("secondary", |of| of.as_str()))).set(reset);
    }

    /// What became of jobs' traces: `sent`, `queue_full`, `failed` or `refused`.
    pub fn traces(&self, outcome: &'static str, jobs: u64) {
        self.traces.with_label_values(&[outcome]).inc_by(jobs);
    }

    /// One step of the core took this long.
    pub fn step(&self, took: Duration) {
        self.step.observe(took.as_secs_f64());
    }

    /// `count` queue messages were received and met with `result` (`job`, `ec2_event`, `dead_letter` and so on).
    pub fn messages(&self, result: &'static str, count: u64) {
        self.messages.with_label_values(&[result]).inc_by(count);
    }

    /// Boxes of a pool and market lived for so many seconds more; `cost` in that currency, if their type has a price.
    pub fn lived(&self, pool: &str, market: &str, seconds: f64, cost: Option<f64>, currency: &str) {
        self.instance_seconds.with_label_values(&[pool, market]).inc_by(seconds);
        self.priced_seconds.with_label_values(&[pool, market]).inc_by(if cost.is_some() { seconds } else { 0.0 });
        // Without a price there is no series: a zero would be a price.
        if let Some(cost) = cost {
            self.cost.with_label_values(&[pool, market, currency]).inc_by(cost);
        }
    }

    /// When AWS last told a market's prices (milliseconds since 1970), and how many types have none.
    pub fn prices(&self, market: Market, read_at: Option<u64>, unknown: usize) {
        if let Some(at) = read_at {
            self.prices_read.with_label_values(&[market.as_str()]).set(at as f64 / 1000.0);
        }
        self.prices_unknown.with_label_values(&[market.as_str()]).set(unknown as f64);
    }

    /// The share of the instance time since the start that had a price.
    pub fn cost_coverage(&self, share: f64) {
        const NONE: &[&str] = &[];
        self.cost_coverage.with_label_values(NONE).set(share);
    }

    /// `count` messages of the jobs queue had been delivered before.
    pub fn redelivered(&self, count: u64) {
        self.redelivered.inc_by(count);
    }

    /// A queue was measured; None: it could not be, and no number is better than an old one.
    pub fn queue_depth(&self, queue: &str, depth: Option<[u64; 3]>) {
        for (nth, state) in ["visible", "in_flight", "delayed"].into_iter().enumerate() {
            match depth {
                Some(depth) => self.queue_messages.with_label_values(&[queue, state]).set(depth[nth] as f64),
                // Err: it had no value, which is what is wanted.
                None => drop(self.queue_messages.remove_label_values(&[queue, state])),
            }
        }
    }

    /// A message that nobody can read, or that is not signed, was moved to the dead-letter queue.
    pub fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    /// A webhook delivery was answered with this HTTP status, after this long.
    pub fn webhook_request(&self, status: u16, took: Duration) {
        let outcome = match status {
            202 => "accepted",
            200 => "ignored",
            401 => "unsigned",
            400 | 415 => "malformed",
            408 => "slow",
            413 => "too_large",
            503 => "unavailable",
            _ => "other",
        };
        self.webhook_requests.with_label_values(&[outcome, status.to_string().as_str()]).inc();
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
        let own = [&self.jobs, &self.oldest_queued, &self.runners, &self.paused, &self.unavailable, &self.budget_tokens];
        for gauge in own.into_iter().chain([&self.sweep_age, &self.messages_held, &self.effects_in_flight]) {
            gauge.reset();
        }
        let Some(known) = totals else { return };
        for ((pool, state, why), n) in &known.jobs {
            self.jobs.with_label_values(&[pool.as_str(), state.as_str(), why]).set(*n as f64);
        }
        for (pool, age) in &known.oldest_queued {
            self.oldest_queued.with_label_values(&[pool.as_str()]).set(*age);
        }
        for (pool, paused) in &known.paused {
            self.paused.with_label_values(&[pool.as_str()]).set(if *paused { 1.0 } else { 0.0 });
            self.begin_at_zero(pool);
        }
        for (market, n) in &known.unavailable {
            self.unavailable.with_label_values(&[market.as_str()]).set(*n as f64);
        }
        for ((api, app, account), level) in &known.budgets {
            self.budget_tokens.with_label_values(&[*api, app.as_str(), account.as_str()]).set(*level);
        }
        for ((pool, phase), n) in &known.runners {
            self.runners.with_label_values(&[pool.as_str(), phase.as_str()]).set(*n as f64);
        }
        for (source, age) in &known.sweep_age {
            self.sweep_age.with_label_values(&[source.as_str()]).set(age.unwrap_or(f64::INFINITY));
        }
        self.messages_held.with_label_values(NONE).set(known.messages_held as f64);
        self.effects_in_flight.with_label_values(NONE).set(known.effects_in_flight as f64);
    }

    /// A counter that appears with its first event hides that event from `rate()`: those of a known pool begin at 0.
    fn begin_at_zero(&self, pool: &str) {
        for market in [Market::Spot, Market::OnDemand] {
            self.launches.with_label_values(&[pool, market.as_str()]);
        }
        for why in BootFailure::WORDS {
            self.boot_failures.with_label_values(&[pool, why]);
        }
        for busy in ["true", "false"] {
            self.interruptions.with_label_values(&[pool, busy]);
        }
        for outcome in DrainOutcome::ALL {
            self.drains.with_label_values(&[pool, outcome.as_str()]);
        }
        for why in StepReason::OF_DRAINS {
            self.drain_reasons.with_label_values(&[pool, why]);
        }
        for why in StepReason::OF_ENDS {
            self.end_reasons.with_label_values(&[pool, why]);
        }
        self.jobs_lost.with_label_values(&[pool]);
        self.job_queue.with_label_values(&[pool]);
        self.queue_to_start.with_label_values(&[pool]);
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

#[cfg(test)]
mod tests;
