//! Every metric: its field, kind, name, labels and meaning, each once. `docs/metrics.md` lists the metrics, and a test checks
//! that both agree.
//!
//! Names have base units. Labels have few values: pools, phases, reasons, APIs. No label is the id of a job or an instance.

use prometheus::{CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::maker::Maker;

/// Buckets for waits and stages, in seconds. A spot instance takes 20 s to 3 min. Beyond an hour, only "too long" is of interest.
const WAIT_SECONDS: &[f64] =
    &[0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0];
/// Buckets for calls, in seconds.
const CALL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Buckets for muster's own computing, in seconds. The target for a step with 10,000 runners is 5 ms.
const STEP_SECONDS: &[f64] = &[0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];

/// The type of each kind of metric. A kind in the plural has labels.
macro_rules! kind {
    (counter) => {
        IntCounter
    };
    (counters) => {
        IntCounterVec
    };
    (float_counters) => {
        CounterVec
    };
    (gauge) => {
        Gauge
    };
    (gauges) => {
        GaugeVec
    };
    (int_gauges) => {
        IntGaugeVec
    };
    (histogram) => {
        Histogram
    };
    (histograms) => {
        HistogramVec
    };
}

/// `field: kind "name" [labels] in BUCKETS = "meaning";`
macro_rules! metrics {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $(in $buckets:ident)? = $help:literal;)*) => {
        /// All metrics.
        pub(super) struct All {
            $(pub(super) $field: kind!($kind),)*
        }

        impl All {
            /// Registers all metrics. None has a value yet.
            pub(super) fn new(maker: &mut Maker) -> All {
                All { $($field: maker.$kind($name, &[$($label),*], $($buckets,)? $help),)* }
            }
        }
    };
}

metrics! {
    build_info: gauges "muster_build_info" ["version"] =
        "Always 1; the label says which release runs.";
    jobs: gauges "muster_jobs" ["pool", "state", "reason"] =
        "Jobs known now, by state and reason. Without a pool: no pool takes them.";
    oldest_queued: gauges "muster_job_oldest_queued_seconds" ["pool"] =
        "How long the oldest queued job has been known; 0 if there is none. Of the jobs that GitHub holds back, only those count that an idle runner shows to be held, from an hour on.";
    runners: gauges "muster_runners" ["pool", "phase"] =
        "Runners now: instances, registrations, or both.";
    paused: gauges "muster_pool_paused" ["pool"] =
        "1 while an operator keeps the pool from launching, else 0.";
    breaker_open: gauges "muster_spot_breaker_open" ["pool"] =
        "1 while the pool buys on-demand because spot took back instances with jobs, or one spot instance tries; else 0. Absent: the \
         pool has no spec.instance.breaker.";
    warnings: gauges "muster_pool_warnings" ["pool", "warning"] =
        "1 for each warning of the pool: GitHub will do something else than the manifest seems to say, or will soon stop serving \
         the pool's runners. `muster explain pool/NAME` has the words.";
    version_ends: gauges "muster_runner_version_end_timestamp_seconds" ["pool", "version", "kind"] =
        "When GitHub ends a version that the pool runs, since the Unix epoch: kind registration (no new runners) or runtime (no \
         more jobs). Absent: GitHub told no date.";
    job_queue: histograms "muster_job_queue_seconds" ["pool"] in WAIT_SECONDS =
        "From when a job was first heard of until a runner took it.";
    queue_to_start: histograms "muster_job_queue_to_start_seconds" ["pool"] in WAIT_SECONDS =
        "True queue time: from when GitHub queued a job until a runner took it, by GitHub's clock, to the second.";
    launch_decision: histograms "muster_launch_decision_seconds" ["pool"] in WAIT_SECONDS =
        "From when a job was first heard of, or counted again, until instances for it are asked for: queued to planned.";
    runner_stage: histograms "muster_runner_stage_seconds" ["pool", "stage"] in WAIT_SECONDS =
        "From the launch call until a stage of the runner's start: launched, script (booted), configured, secret, unpacked, \
         listener, online (registered), started (its first job).";
    launches: counters "muster_launches_total" ["pool", "market"] =
        "Instances launched.";
    launch_failures: counters "muster_launch_failures_total" ["pool", "reason"] =
        "Instances asked for and not launched, by EC2's error code or our own kind of failure.";
    unavailable: gauges "muster_unavailable_offerings" ["market"] =
        "Offerings (type and subnet) without capacity, or lately interrupted, that are left alone for 3 minutes.";
    boot_failures: counters "muster_boot_failures_total" ["pool", "reason"] =
        "Runners that never came online: overdue (past bootDeadline), ended (by themselves) or ended_by_ec2 (EC2 gave a reason).";
    interruptions: counters "muster_interruptions_total" ["pool", "busy"] =
        "Instances that spot took back; busy says whether the runner may have had a job.";
    foreign_jobs: counters "muster_foreign_jobs_total" ["pool"] =
        "Jobs of repositories that the pool does not list, on the pool's runners: the pool's runner group admits more than the pool.";
    jobs_lost: counters "muster_jobs_lost_total" ["pool"] =
        "Jobs whose instance was interrupted before they ended well, or was gone before any event told of their end.";
    verdicts: counters "muster_job_verdicts_total" ["pool", "market", "verdict", "cause"] =
        "Jobs on our runners that did not succeed, by what ended them: infrastructure (with the cause), own (the job itself, or a \
         person) or unknown (with what speaks against the machine, if anything does).";
    reruns: counters "muster_reruns_total" ["pool", "result"] =
        "Jobs that went down with their machines in pools with spec.rerun: asked (GitHub was asked to run them again), or why not.";
    late_steps: counters "muster_start_within_steps_total" ["pool", "step", "result"] =
        "Steps of spec.startWithin for jobs that no runner took in time, by step (tell, on-demand, overflow, cancel): taken, or \
         failed (GitHub refused).";
    drains: counters "muster_drains_total" ["pool", "outcome"] =
        "Runners asked to end: asked, failed (EC2 refused the tag or gave no answer; tried again), answered, unanswered (ended by \
         the controller), refused (GitHub says that it has a job).";
    drain_reasons: counters "muster_drain_requests_total" ["pool", "reason"] =
        "Runners that the controller asked to end (EC2 accepted the tag), by reason.";
    end_reasons: counters "muster_terminations_total" ["pool", "reason"] =
        "Instances that the controller ended (EC2 accepted the call), by reason.";
    instance_seconds: float_counters "muster_instance_seconds_total" ["pool", "market"] =
        "Time that EC2 showed instances pending or running, added as it passes.";
    priced_seconds: float_counters "muster_priced_instance_seconds_total" ["pool", "market"] =
        "The part of muster_instance_seconds_total whose instance type has a price.";
    cost: float_counters "muster_estimated_cost_total" ["pool", "market", "currency"] =
        "Estimated cost of the instance time, by the known prices, without disks and traffic; absent where no price is known.";
    repository_seconds: float_counters "muster_repository_instance_seconds_total" ["pool", "repository"] =
        "Time that instances were pending or running, by the repository whose job they ran: none (no job: they started, were idle \
         or ended), or other (beyond the 50 that used most since this process started; the series of one that is overtaken ends).";
    repository_cost: float_counters "muster_repository_estimated_cost_total" ["pool", "repository", "currency"] =
        "Estimated cost of muster_repository_instance_seconds_total; absent where no price is known.";
    usage_written: gauges "muster_usage_written_timestamp_seconds" [] =
        "When the record of usage was last written to the bucket, since the Unix epoch; absent: not since the start.";
    lease_held: gauges "muster_lease_held" [] =
        "1 while this process holds the lease and acts, 0 while it stands by; absent without spec.lease.";
    record_parts: counters "muster_record_parts_total" ["result"] =
        "Minutes of the flight record, by what became of them: kept, or lost (the record then has a gap).";
    cost_coverage: gauges "muster_cost_coverage_ratio" [] =
        "The share of the instance time since the start that had a price, 0 to 1; absent until there was any.";
    prices_read: gauges "muster_prices_timestamp_seconds" ["market"] =
        "When the controller last read AWS's prices of this market (Unix time); absent: never.";
    prices_unknown: gauges "muster_prices_unknown" ["market"] =
        "Instance types that the pools may buy in this market and whose price is unknown.";
    plans: counters "muster_plans_total" ["pool"] =
        "Plans made.";
    step: histogram "muster_step_seconds" [] in STEP_SECONDS =
        "One turn of the core: fold, plan, emit.";
    // A vector without labels shows nothing until somebody sets it. A plain gauge begins as 0.
    core_up: gauges "muster_core_up" [] =
        "1 if the controller answered this scrape, 0 if not.";
    sweep_age: gauges "muster_sweep_age_seconds" ["source"] =
        "Since the last complete look at a source began; infinite if there was none yet.";
    effects_in_flight: gauges "muster_effects_in_flight" [] =
        "Effects under way.";
    api_calls: counters "muster_api_calls_total" ["api", "outcome"] =
        "Calls to AWS and GitHub; outcome is ok, throttled, unavailable, ambiguous, conflict, not_found or refused.";
    api_call_seconds: histograms "muster_api_call_seconds" ["api"] in CALL_SECONDS =
        "How long a call to AWS or GitHub took.";
    api_throttles: counters "muster_api_throttles_total" ["api"] =
        "Calls that were refused for being too many.";
    budget_waits: counters "muster_budget_waits_total" ["api"] =
        "Times that a wanted call was put off because our own budget for it was spent.";
    budget_tokens: gauges "muster_budget_tokens" ["api", "app", "account"] =
        "Calls that our own budget admits at once now; app is empty for AWS, account for what an App asks as itself.";
    github_limit: int_gauges "muster_github_limit_remaining" ["app", "account", "resource"] =
        "Requests that GitHub still admits in this window (x-ratelimit-remaining), by the account that the App is installed on \
         (empty: the App itself) and by resource: core, or actions_runner_registration for configurations.";
    github_reset: gauges "muster_github_limit_reset_timestamp_seconds" ["app", "account", "resource"] =
        "When GitHub's rate-limit window ends, or (resource secondary) a secondary limit lifts, since the Unix epoch.";
    messages: counters "muster_messages_total" ["result"] =
        "Queue messages received; result is job, ec2_event, ignored, unsigned (looked at again), refused (no proof of its \
         sender), dropped (refused, in a flood) or unreadable.";
    messages_held: gauges "muster_messages_held" [] =
        "Messages of queued jobs that this process keeps invisible on the queue. (GitHub's holds are in muster_jobs.)";
    redelivered: counter "muster_messages_redelivered_total" [] =
        "Messages of the jobs queue that had been delivered before.";
    queue_messages: gauges "muster_queue_messages" ["queue", "state"] =
        "Messages in SQS, asked once a minute: queue is jobs, dead_letters or ec2_events; state is visible, in_flight or \
         delayed.";
    dead_letters: counter "muster_dead_letters_total" [] =
        "Messages that nobody can read or that are not signed, moved to the dead-letter queue.";
    webhook_requests: counters "muster_webhook_requests_total" ["outcome", "status"] =
        "Webhook deliveries answered, by HTTP status; outcome is accepted, ignored, unsigned, malformed, slow, too_large, \
         unavailable or other.";
    webhook: histogram "muster_webhook_seconds" [] in CALL_SECONDS =
        "From a delivery's headers until its answer, the wait for the queue included.";
    manifest_reloads: counters "muster_manifest_reloads_total" ["result"] =
        "Changes of the manifests noticed; result is ok or invalid (the last good ones stay in force).";
    manifest_valid: gauge "muster_manifest_valid" [] =
        "0 while the manifests are invalid and earlier ones are in force, else 1.";
    sync_success: gauges "muster_sync_last_success_timestamp_seconds" ["os", "architecture"] =
        "When all runner binaries that the pools need were last seen or put into the bucket, since the Unix epoch.";
    sync_latest: gauges "muster_sync_latest_timestamp_seconds" ["os", "architecture"] =
        "When the cached copy of the latest runner binary was written, since the Unix epoch. Absent: there is no copy.";
    sync_copied: counter "muster_sync_copied_bytes_total" [] =
        "Runner binaries copied from their releases to the bucket.";
    sync_failures: counter "muster_sync_failures_total" [] =
        "Runner binaries that could not be cached, and failures to tidy up after them.";
    sync_corrupt: counter "muster_sync_corrupt_total" [] =
        "Cached runner binaries whose content was not what their release says when it was read again. They were replaced, unless \
         that failed.";
    runner_behind: gauges "muster_runner_version_behind_seconds" ["os", "architecture", "version"] =
        "How long a newer release has been out than a version that pools pin; 0 if there is none. GitHub refuses runners after \
         30 days.";
    traces: counters "muster_traces_total" ["outcome"] =
        "Jobs whose trace was sent, or dropped: queue_full (the back end is too slow), failed (not taken in time), refused (by a \
         final answer). Only where traces are exported.";
}
