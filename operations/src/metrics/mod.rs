//! Says when each metric counts, and what. `names` declares the metrics.

mod maker;
mod names;
mod top;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_reconciler::effect::GitHubLimit;
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::PoolName;
use muster_reconciler::market::Market;
use muster_reconciler::reason::{BootFailure, StepReason};
use muster_reconciler::runner::Act;
use muster_reconciler::runner::DrainOutcome;
use muster_reconciler::verdict::Cause;
use muster_reconciler::view::{BilledFor, Totals};
use prometheus::{Registry, TextEncoder};

pub use maker::Described;
use maker::{Maker, add_process};
use names::All;
use top::TopRepositories;

use crate::usage::{NO_JOB, OTHER};

/// The most values of a label that somebody else chooses, such as EC2's error codes. Further values become `other`.
const MOST_VALUES: usize = 50;

/// All of muster's metrics, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    scrape: Mutex<()>,
    reasons: Mutex<BTreeSet<String>>,
    repositories: Mutex<TopRepositories>,
    all: All,
}

/// When the sync of one platform's runner binaries succeeded. All times are since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlatformTimes {
    /// When all binaries were last seen in the bucket. None: not since the start of this process.
    pub success: Option<Duration>,
    /// When the cached copy of the latest version was written. None: there is none.
    pub latest: Option<Duration>,
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
    /// Makes all metrics. Most have no value yet.
    pub fn new() -> Metrics {
        let mut m = Maker { registry: Registry::new(), described: Vec::new() };
        let all = All::new(&mut m);
        add_process(&mut m);
        all.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        all.manifest_valid.set(1.0);
        Metrics {
            registry: m.registry,
            described: m.described,
            scrape: Mutex::new(()),
            reasons: Mutex::default(),
            repositories: Mutex::default(),
            all,
        }
    }

    /// All metrics, in the order in which they were registered.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Counts what only the core knows.
    pub fn observe_fact(&self, fact: &Fact) {
        match fact {
            Fact::JobStarted { pool, waited, true_wait } => {
                let pool = pool.as_ref().map_or("", PoolName::as_str);
                self.all.job_queue.with_label_values(&[pool]).observe(waited.as_secs_f64());
                if let Some(wait) = true_wait {
                    self.all.queue_to_start.with_label_values(&[pool]).observe(wait.as_secs_f64());
                }
            }
            Fact::ForeignJob { pool } => self.all.foreign_jobs.with_label_values(&[pool.as_str()]).inc(),
            Fact::LaunchDecided { pool, after } => {
                if let Some(after) = after {
                    self.all.launch_decision.with_label_values(&[pool.as_str()]).observe(after.as_secs_f64());
                }
            }
            Fact::RunnerReached { pool, stage, after, .. } => {
                self.all.runner_stage.with_label_values(&[pool.as_str(), stage.as_str()]).observe(after.as_secs_f64());
            }
            Fact::Launched { pool, market, count } => {
                self.all.launches.with_label_values(&[pool.as_str(), market.as_str()]).inc_by(u64::from(*count));
            }
            Fact::LaunchFailed { pool, reason, count } => {
                self.all
                    .launch_failures
                    .with_label_values(&[pool.as_str(), &bounded(&self.reasons, reason.word(), is_word)])
                    .inc_by(u64::from(*count));
            }
            Fact::BootFailed { pool, why, .. } => self.all.boot_failures.with_label_values(&[pool.as_str(), why.word()]).inc(),
            Fact::Interrupted { pool, busy, .. } => {
                self.all.interruptions.with_label_values(&[pool.as_str(), if *busy { "true" } else { "false" }]).inc();
            }
            Fact::JobLost { pool, .. } => self.all.jobs_lost.with_label_values(&[pool.as_str()]).inc(),
            Fact::JobJudged { pool, market, verdict, .. } => {
                let cause = verdict.cause().map_or("", Cause::as_str);
                let market = market.map_or("", Market::as_str);
                self.all.verdicts.with_label_values(&[pool.as_str(), market, verdict.as_str(), cause]).inc();
            }
            Fact::Rerun { pool, result } => self.all.reruns.with_label_values(&[pool.as_str(), *result]).inc(),
            Fact::LateStep { pool, act, taken } => {
                let (pool, result) = (pool.as_ref().map_or("", |pool| pool.as_str()), if *taken { "taken" } else { "failed" });
                self.all.late_steps.with_label_values(&[pool, act.as_str(), result]).inc();
            }
            Fact::Drain { pool, outcome } => self.all.drains.with_label_values(&[pool.as_str(), outcome.as_str()]).inc(),
            Fact::Stepped { pool, act: Act::Drain, reason } => {
                self.all.drain_reasons.with_label_values(&[pool.as_str(), reason.word()]).inc();
            }
            Fact::Stepped { pool, act: Act::Terminate, reason } => {
                self.all.end_reasons.with_label_values(&[pool.as_str(), reason.word()]).inc();
            }
            Fact::Stepped { act: Act::Configure | Act::Deregister | Act::DeleteSecret, .. } => {}
            Fact::BudgetWait { api } => self.all.budget_waits.with_label_values(&[*api]).inc(),
            // `muster_spot_breaker_open` tells the state.
            Fact::BreakerOpened { .. } | Fact::BreakerClosed { .. } => {}
            // `meter` counts the time of instances while it passes.
            Fact::RunnerGone { .. } => {}
            // `otlp` makes the job's trace of this fact.
            Fact::JobEnded(_) => {}
            Fact::Planned { pool } => self.all.plans.with_label_values(&[pool.as_str()]).inc(),
        }
    }

    /// Counts a call to `api` that has ended. `api` is a word such as `ec2.CreateFleet` or `github.GenerateJitConfig`, and never
    /// has an id in it. `failure` is None if the call worked.
    pub fn api_call(&self, api: &'static str, failure: Option<FailureKind>, took: Duration) {
        self.all.api_calls.with_label_values(&[api, failure.map_or("ok", FailureKind::as_str)]).inc();
        self.all.api_call_seconds.with_label_values(&[api]).observe(took.as_secs_f64());
        if failure == Some(FailureKind::Throttled) {
            self.all.api_throttles.with_label_values(&[api]).inc();
        }
    }

    /// Sets the gauges to what GitHub's headers said.
    pub fn github_limit(&self, limit: &GitHubLimit) {
        let account = limit.payer.account.as_deref().unwrap_or_default();
        let labels = |resource| [limit.payer.app.as_str(), account, resource];
        // A secondary limit has no number of requests, and no answer says that it was lifted.
        if let Some(resource) = limit.resource {
            self.all.github_limit.with_label_values(&labels(resource.as_str())).set(i64::from(limit.remaining));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reset = (now + limit.reset_after).as_secs_f64().round();
        self.all.github_reset.with_label_values(&labels(limit.resource.map_or("secondary", |of| of.as_str()))).set(reset);
    }

    /// Counts jobs by what became of their traces: `sent`, `queue_full`, `failed` or `refused`.
    pub fn traces(&self, outcome: &'static str, jobs: u64) {
        self.all.traces.with_label_values(&[outcome]).inc_by(jobs);
    }

    /// Counts one step of the core, and its time.
    pub fn step(&self, took: Duration) {
        self.all.step.observe(took.as_secs_f64());
    }

    /// Counts `count` queue messages that were received, by `result`: `job`, `ec2_event`, `dead_letter` and so on.
    pub fn messages(&self, result: &'static str, count: u64) {
        self.all.messages.with_label_values(&[result]).inc_by(count);
    }

    /// Counts `seconds` for which instances have run, and their `cost` in `currency`. `cost` is None if the instance type has no
    /// price.
    pub fn lived(&self, used: &BilledFor, seconds: f64, cost: Option<f64>, currency: &str) {
        let (pool, market) = (used.pool.as_str(), used.market.as_str());
        let repository = self.repository_of(used, seconds, cost.map(|_| currency));
        self.all.repository_seconds.with_label_values(&[pool, repository]).inc_by(seconds);
        self.all.instance_seconds.with_label_values(&[pool, market]).inc_by(seconds);
        self.all.priced_seconds.with_label_values(&[pool, market]).inc_by(if cost.is_some() { seconds } else { 0.0 });
        // Without a price, there is no series. A zero would look like a price.
        if let Some(cost) = cost {
            self.all.cost.with_label_values(&[pool, market, currency]).inc_by(cost);
            self.all.repository_cost.with_label_values(&[pool, repository, currency]).inc_by(cost);
        }
    }

    /// The repository in whose series the time counts. The time in which a repository takes another one's place counts for the rest.
    fn repository_of<'a>(&self, used: &'a BilledFor, seconds: f64, currency: Option<&str>) -> &'a str {
        if used.repo.is_empty() || !is_repository(&used.repo) {
            return if used.repo.is_empty() { NO_JOB } else { OTHER };
        }
        let mut top = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let ousted = top.uses(&used.repo, seconds);
        let begins = ousted.is_some();
        for (repository, (pool, currency)) in
            ousted.into_iter().flat_map(|(name, all)| all.into_iter().map(move |of| (name.clone(), of)))
        {
            // A series that is gone already is as it should be.
            let _gone = match currency {
                None => self.all.repository_seconds.remove_label_values(&[&pool, &repository]),
                Some(currency) => self.all.repository_cost.remove_label_values(&[&pool, &repository, &currency]),
            };
        }
        if !top.shows(&used.repo, (used.pool.clone(), None)) {
            return OTHER;
        }
        if begins {
            self.all.repository_seconds.with_label_values(&[&used.pool, &used.repo]).inc_by(0.0);
            return OTHER;
        }
        if let Some(currency) = currency {
            top.shows(&used.repo, (used.pool.clone(), Some(currency.to_owned())));
        }
        &used.repo
    }

    /// Sets when AWS last told a market's prices (milliseconds since 1970; None: never), and how many instance types have no
    /// price.
    pub fn prices(&self, market: Market, read_at: Option<u64>, unknown: usize) {
        if let Some(at) = read_at {
            self.all.prices_read.with_label_values(&[market.as_str()]).set(at as f64 / 1000.0);
        }
        self.all.prices_unknown.with_label_values(&[market.as_str()]).set(unknown as f64);
    }

    /// Sets when the record of usage was last written, in milliseconds since 1970.
    pub fn usage_written(&self, at: u64) {
        const NONE: &[&str] = &[];
        self.all.usage_written.with_label_values(NONE).set(at as f64 / 1000.0);
    }

    /// Sets whether this process holds the lease.
    pub fn lease_held(&self, held: bool) {
        const NONE: &[&str] = &[];
        self.all.lease_held.with_label_values(NONE).set(f64::from(u8::from(held)));
    }

    /// Counts a minute of the flight record.
    pub fn record_part(&self, kept: bool) {
        let result = if kept { "kept" } else { "lost" };
        self.all.record_parts.with_label_values(&[result]).inc();
    }

    /// Sets the share of the instance time since the start that had a price, 0 to 1.
    pub fn cost_coverage(&self, share: f64) {
        const NONE: &[&str] = &[];
        self.all.cost_coverage.with_label_values(NONE).set(share);
    }

    /// Counts `count` messages of the jobs queue that had been delivered before.
    pub fn redelivered(&self, count: u64) {
        self.all.redelivered.inc_by(count);
    }

    /// Sets the numbers of a queue's messages: visible, in flight and delayed. None: the queue could not be measured. The series
    /// are then removed, because no number is better than an old one.
    pub fn queue_depth(&self, queue: &str, depth: Option<[u64; 3]>) {
        for (nth, state) in ["visible", "in_flight", "delayed"].into_iter().enumerate() {
            match depth {
                Some(depth) => self.all.queue_messages.with_label_values(&[queue, state]).set(depth[nth] as f64),
                // An error says that there was no such series, which is fine.
                None => drop(self.all.queue_messages.remove_label_values(&[queue, state])),
            }
        }
    }

    /// Counts a message that was moved to the dead-letter queue, because nobody can read it or because it is not signed.
    pub fn dead_letter(&self) {
        self.all.dead_letters.inc();
    }

    /// Counts a webhook delivery, by the HTTP status of the answer, and the time until the answer.
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
        self.all.webhook_requests.with_label_values(&[outcome, status.to_string().as_str()]).inc();
        self.all.webhook.observe(took.as_secs_f64());
    }

    /// Counts a change of the manifests. While the new ones are invalid, the last good ones stay in force.
    pub fn manifest_reload(&self, valid: bool) {
        self.all.manifest_reloads.with_label_values(&[if valid { "ok" } else { "invalid" }]).inc();
        self.all.manifest_valid.set(if valid { 1.0 } else { 0.0 });
    }

    /// Sets when the sync of each platform's runner binaries succeeded. Platforms that are no longer synced vanish.
    pub fn sync_times(&self, all: impl Iterator<Item = (&'static str, &'static str, PlatformTimes)>) {
        // A scrape between the reset and the new values would find none.
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.sync_success.reset();
        self.all.sync_latest.reset();
        for (os, architecture, times) in all {
            for (gauge, at) in [(&self.all.sync_success, times.success), (&self.all.sync_latest, times.latest)] {
                if let Some(at) = at {
                    gauge.with_label_values(&[os, architecture]).set(at.as_secs_f64());
                }
            }
        }
    }

    /// Counts the bytes of a runner binary that was copied.
    pub fn sync_copied(&self, bytes: u64) {
        self.all.sync_copied.inc_by(bytes);
    }

    /// Counts failures of a sync.
    pub fn sync_failures(&self, count: u64) {
        self.all.sync_failures.inc_by(count);
    }

    /// Counts a cached runner binary that was not what its release says.
    pub fn sync_corrupt(&self) {
        self.all.sync_corrupt.inc();
    }

    /// Sets for how long a newer release than each pinned version has been out. Versions that are no longer pinned vanish.
    pub fn runners_behind(&self, pinned: impl Iterator<Item = (&'static str, &'static str, String, Duration)>) {
        self.all.runner_behind.reset();
        for (os, architecture, version, behind) in pinned {
            self.all.runner_behind.with_label_values(&[os, architecture, &version]).set(behind.as_secs_f64());
        }
    }

    /// Sets the gauges to the core's totals. A series that the totals no longer have vanishes. None: the core did not answer.
    /// Then `muster_core_up` is 0 and all other series vanish, because no number is better than an old one.
    pub fn set_totals(&self, totals: Option<&Totals>) {
        const NONE: &[&str] = &[];
        self.all.core_up.with_label_values(NONE).set(if totals.is_some() { 1.0 } else { 0.0 });
        let own = [
            &self.all.jobs,
            &self.all.oldest_queued,
            &self.all.runners,
            &self.all.paused,
            &self.all.breaker_open,
            &self.all.warnings,
            &self.all.version_ends,
            &self.all.unavailable,
            &self.all.budget_tokens,
        ];
        for gauge in own.into_iter().chain([&self.all.sweep_age, &self.all.messages_held, &self.all.effects_in_flight]) {
            gauge.reset();
        }
        let Some(known) = totals else { return };
        for ((pool, state, why), n) in &known.jobs {
            self.all.jobs.with_label_values(&[pool.as_str(), state.as_str(), why]).set(*n as f64);
        }
        for (pool, age) in &known.oldest_queued {
            self.all.oldest_queued.with_label_values(&[pool.as_str()]).set(*age);
        }
        for (pool, paused) in &known.paused {
            self.all.paused.with_label_values(&[pool.as_str()]).set(if *paused { 1.0 } else { 0.0 });
            self.begin_at_zero(pool);
        }
        for (pool, open) in &known.breakers {
            self.all.breaker_open.with_label_values(&[pool.as_str()]).set(if *open { 1.0 } else { 0.0 });
        }
        for (pool, warning) in &known.warnings {
            self.all.warnings.with_label_values(&[pool.as_str(), warning]).set(1.0);
        }
        for ((pool, version, end), at_ms) in &known.version_ends {
            self.all.version_ends.with_label_values(&[pool.as_str(), version.as_str(), end]).set(*at_ms as f64 / 1000.0);
        }
        for (market, n) in &known.unavailable {
            self.all.unavailable.with_label_values(&[market.as_str()]).set(*n as f64);
        }
        for ((api, app, account), level) in &known.budgets {
            self.all.budget_tokens.with_label_values(&[*api, app.as_str(), account.as_str()]).set(*level);
        }
        for ((pool, phase), n) in &known.runners {
            self.all.runners.with_label_values(&[pool.as_str(), phase.as_str()]).set(*n as f64);
        }
        for (source, age) in &known.sweep_age {
            self.all.sweep_age.with_label_values(&[source.as_str()]).set(age.unwrap_or(f64::INFINITY));
        }
        self.all.messages_held.with_label_values(NONE).set(known.messages_held as f64);
        self.all.effects_in_flight.with_label_values(NONE).set(known.effects_in_flight as f64);
    }

    /// Lets the counters of a known pool begin at 0. `rate()` does not see the first event of a counter that appears with this
    /// event.
    fn begin_at_zero(&self, pool: &str) {
        for market in [Market::Spot, Market::OnDemand] {
            self.all.launches.with_label_values(&[pool, market.as_str()]);
        }
        for why in BootFailure::WORDS {
            self.all.boot_failures.with_label_values(&[pool, why]);
        }
        for busy in ["true", "false"] {
            self.all.interruptions.with_label_values(&[pool, busy]);
        }
        for outcome in DrainOutcome::ALL {
            self.all.drains.with_label_values(&[pool, outcome.as_str()]);
        }
        for why in StepReason::OF_DRAINS {
            self.all.drain_reasons.with_label_values(&[pool, why]);
        }
        for why in StepReason::OF_ENDS {
            self.all.end_reasons.with_label_values(&[pool, why]);
        }
        self.all.jobs_lost.with_label_values(&[pool]);
        self.all.reruns.with_label_values(&[pool, "asked"]);
        self.all.foreign_jobs.with_label_values(&[pool]);
        self.all.job_queue.with_label_values(&[pool]);
        self.all.queue_to_start.with_label_values(&[pool]);
    }

    /// All metrics in Prometheus' text format.
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|e| {
            tracing::error!(error = %e, "failed to write the metrics as text");
            String::new()
        })
    }

    /// Calls [`Metrics::set_totals`] and [`Metrics::render`], with no other scrape between them.
    pub fn scrape(&self, totals: Option<&Totals>) -> String {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_totals(totals);
        self.render()
    }
}

/// The value itself if it is well formed and among the first values of its label that were seen, else [`OTHER`].
fn bounded<'a>(known: &Mutex<BTreeSet<String>>, value: &'a str, well_formed: fn(&str) -> bool) -> std::borrow::Cow<'a, str> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let told_apart = known.contains(value) || (well_formed(value) && known.len() < MOST_VALUES && known.insert(value.to_owned()));
    if told_apart { value.into() } else { OTHER.into() }
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// GitHub takes 39 characters for an owner, and 100 for a repository.
fn is_repository(text: &str) -> bool {
    text.len() <= 140 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
}

#[cfg(test)]
mod tests;
