use muster_reconciler::effect::Resource;
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{JobId, Payer};
use muster_reconciler::manifest::LateAct;
use muster_reconciler::reason::LaunchFailure;
use muster_reconciler::runner::DrainOutcome;
use muster_reconciler::runner::Phase;
use muster_reconciler::stage::Stage;
use muster_reconciler::verdict::{Cause, JobVerdict};

use super::top::MOST_SHOWN;
use super::*;

fn spot(pool: &str) -> BilledFor {
    BilledFor { pool: pool.into(), market: Market::Spot, instance_type: "m7i.large".into(), repo: String::new() }
}

fn totals() -> Totals {
    Totals {
        jobs: [(("linux".to_owned(), JobState::Queued, "max"), 3), ((String::new(), JobState::Queued, "unmatched"), 1)].into(),
        oldest_queued: [("linux".to_owned(), 61.5)].into(),
        paused: [("linux".to_owned(), true)].into(),
        breakers: [("linux".to_owned(), true), ("gpu".to_owned(), false)].into(),
        warnings: [("linux".to_owned(), "wide_group")].into(),
        version_ends: [(("linux".to_owned(), "2.1.0".to_owned(), "runtime"), 1_793_892_655_000)].into(),
        unavailable: [(Market::Spot, 4)].into(),
        budgets: [(("ec2.CreateFleet", String::new(), String::new()), 49.5)].into(),
        runners: [(("linux".to_owned(), Phase::Idle), 2)].into(),
        sweep_age: [("instances".to_owned(), Some(4.5)), ("runners org/acme (main)".to_owned(), None)].into(),
        messages_held: 4,
        effects_in_flight: 1,
        ..Totals::default()
    }
}

#[test]
fn totals_become_gauges_and_vanish_with_what_they_count() {
    let metrics = Metrics::new();
    let text = metrics.scrape(Some(&totals()));
    for line in [
        "muster_jobs{pool=\"linux\",reason=\"max\",state=\"queued\"} 3\n",
        "muster_jobs{pool=\"\",reason=\"unmatched\",state=\"queued\"} 1\n",
        "muster_job_oldest_queued_seconds{pool=\"linux\"} 61.5\n",
        "muster_pool_paused{pool=\"linux\"} 1\n",
        "muster_spot_breaker_open{pool=\"linux\"} 1\n",
        "muster_spot_breaker_open{pool=\"gpu\"} 0\n",
        "muster_pool_warnings{pool=\"linux\",warning=\"wide_group\"} 1\n",
        "muster_runner_version_end_timestamp_seconds{kind=\"runtime\",pool=\"linux\",version=\"2.1.0\"} 1793892655\n",
        "muster_unavailable_offerings{market=\"spot\"} 4\n",
        "muster_budget_tokens{account=\"\",api=\"ec2.CreateFleet\",app=\"\"} 49.5\n",
        "muster_launches_total{market=\"on-demand\",pool=\"linux\"} 0\n",
        "muster_drain_requests_total{pool=\"linux\",reason=\"idle_too_long\"} 0\n",
        "muster_terminations_total{pool=\"linux\",reason=\"job_over\"} 0\n",
        "muster_boot_failures_total{pool=\"linux\",reason=\"ended_by_ec2\"} 0\n",
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
    assert!(
        !text.contains("muster_jobs{") && !text.contains("muster_pool_warnings") && !text.contains("muster_pool_paused{"),
        "{text}"
    );
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
        Fact::JobStarted { pool: Some(pool.clone()), waited: secs(40), true_wait: Some(secs(44)) },
        Fact::LaunchDecided { pool: pool.clone(), after: Some(secs(1)) },
        Fact::BootFailed {
            pool: pool.clone(),
            instance: "i-1".into(),
            why: BootFailure::Overdue { because: StepReason::Outdated },
        },
        Fact::ForeignJob { pool: pool.clone() },
        Fact::JobJudged {
            job: JobId(1),
            pool: pool.clone(),
            market: Some(Market::Spot),
            verdict: JobVerdict::Infrastructure(Cause::Interruption),
        },
        Fact::JobJudged { job: JobId(2), pool: pool.clone(), market: None, verdict: JobVerdict::Own },
        Fact::Rerun { pool: pool.clone(), result: "asked" },
        Fact::LateStep { pool: Some(pool.clone()), act: LateAct::Cancel, taken: true },
        Fact::JobLost { pool: pool.clone(), instance: "i-0a".into(), job: JobId(1) },
        Fact::Drain { pool: pool.clone(), outcome: DrainOutcome::Refused },
        Fact::Stepped { pool: pool.clone(), act: Act::Drain, reason: StepReason::PoolGone },
        Fact::Stepped { pool: pool.clone(), act: Act::Terminate, reason: StepReason::Unneeded },
        Fact::BudgetWait { api: "ssm.PutParameter" },
        Fact::RunnerReached { pool: pool.clone(), instance: "i-0a".into(), stage: Stage::Online, after: secs(31) },
        Fact::Launched { pool: pool.clone(), market: Market::OnDemand, count: 5 },
        Fact::LaunchFailed { pool: pool.clone(), reason: LaunchFailure::Code("InsufficientInstanceCapacity".into()), count: 7 },
        Fact::LaunchFailed { pool: pool.clone(), reason: LaunchFailure::Code("no such thing as \"x\"".into()), count: 1 },
        Fact::Interrupted { pool: pool.clone(), instance: "i-0a".into(), busy: true },
        Fact::Planned { pool: pool.clone() },
    ] {
        metrics.observe_fact(&fact);
    }
    metrics.api_call("ec2.CreateFleet", Some(FailureKind::Throttled), Duration::from_millis(30));
    metrics.api_call("ec2.CreateFleet", None, Duration::from_millis(300));
    let payer = Payer::installation(&"main".into(), "acme");
    let limit =
        GitHubLimit { payer, resource: Some(Resource::Core), of_configuration: false, remaining: 4999, reset_after: secs(9) };
    metrics.github_limit(&limit);
    metrics.github_limit(&GitHubLimit { resource: Some(Resource::Registration), remaining: 9, ..limit.clone() });
    metrics.github_limit(&GitHubLimit { resource: None, remaining: 0, ..limit });
    metrics.lived(&spot("linux"), 90.0, Some(0.25), "USD");
    metrics.lived(&spot("linux"), 10.0, None, "USD");
    metrics.lived(&spot("odd"), 10.0, None, "");
    metrics.cost_coverage(0.9);
    metrics.prices(Market::Spot, Some(1_500), 2);
    metrics.prices(Market::OnDemand, None, 3);
    metrics.redelivered(2);
    metrics.queue_depth("dead_letters", Some([7, 0, 0]));
    metrics.queue_depth("jobs", Some([5, 0, 0]));
    metrics.queue_depth("jobs", None);
    metrics.manifest_reload(false);
    metrics.webhook_request(202, Duration::from_millis(3));
    metrics.runners_behind([("linux", "x64", "2.1.0".to_owned(), secs(9))].into_iter());
    metrics.runners_behind([("linux", "x64", "2.2.0".to_owned(), secs(7))].into_iter());
    let times = |s| PlatformTimes { success: Some(secs(s)), latest: Some(secs(5)) };
    metrics.sync_times([("windows", "x64", times(7))].into_iter());
    metrics.sync_times([("linux", "x64", times(9))].into_iter());
    let text = metrics.render();
    for line in [
        "muster_sync_last_success_timestamp_seconds{architecture=\"x64\",os=\"linux\"} 9\n",
        "muster_sync_latest_timestamp_seconds{architecture=\"x64\",os=\"linux\"} 5\n",
        "muster_job_queue_seconds_bucket{pool=\"linux\",le=\"45\"} 1\n",
        "muster_runner_stage_seconds_sum{pool=\"linux\",stage=\"online\"} 31\n",
        "muster_launch_failures_total{pool=\"linux\",reason=\"InsufficientInstanceCapacity\"} 7\n",
        "muster_launch_failures_total{pool=\"linux\",reason=\"other\"} 1\n",
        "muster_interruptions_total{busy=\"true\",pool=\"linux\"} 1\n",
        "muster_instance_seconds_total{market=\"spot\",pool=\"linux\"} 100\n",
        "muster_priced_instance_seconds_total{market=\"spot\",pool=\"linux\"} 90\n",
        "muster_estimated_cost_total{currency=\"USD\",market=\"spot\",pool=\"linux\"} 0.25\n",
        "muster_cost_coverage_ratio 0.9\n",
        "muster_prices_timestamp_seconds{market=\"spot\"} 1.5\n",
        "muster_prices_unknown{market=\"on-demand\"} 3\n",
        "muster_job_queue_to_start_seconds_sum{pool=\"linux\"} 44\n",
        "muster_launch_decision_seconds_sum{pool=\"linux\"} 1\n",
        "muster_boot_failures_total{pool=\"linux\",reason=\"overdue\"} 1\n",
        "muster_foreign_jobs_total{pool=\"linux\"} 1\n",
        "muster_jobs_lost_total{pool=\"linux\"} 1\n",
        "muster_job_verdicts_total{cause=\"interruption\",market=\"spot\",pool=\"linux\",verdict=\"infrastructure\"} 1\n",
        "muster_job_verdicts_total{cause=\"\",market=\"\",pool=\"linux\",verdict=\"own\"} 1\n",
        "muster_reruns_total{pool=\"linux\",result=\"asked\"} 1\n",
        "muster_start_within_steps_total{pool=\"linux\",result=\"taken\",step=\"cancel\"} 1\n",
        "muster_drains_total{outcome=\"refused\",pool=\"linux\"} 1\n",
        "muster_drain_requests_total{pool=\"linux\",reason=\"pool_gone\"} 1\n",
        "muster_terminations_total{pool=\"linux\",reason=\"unneeded\"} 1\n",
        "muster_budget_waits_total{api=\"ssm.PutParameter\"} 1\n",
        "muster_messages_redelivered_total 2\n",
        "muster_queue_messages{queue=\"dead_letters\",state=\"visible\"} 7\n",
        "muster_plans_total{pool=\"linux\"} 1\n",
        "muster_launches_total{market=\"on-demand\",pool=\"linux\"} 5\n",
        "muster_api_calls_total{api=\"ec2.CreateFleet\",outcome=\"ok\"} 1\n",
        "muster_api_calls_total{api=\"ec2.CreateFleet\",outcome=\"throttled\"} 1\n",
        "muster_api_throttles_total{api=\"ec2.CreateFleet\"} 1\n",
        "muster_github_limit_remaining{account=\"acme\",app=\"main\",resource=\"actions_runner_registration\"} 9\n\
         muster_github_limit_remaining{account=\"acme\",app=\"main\",resource=\"core\"} 4999\n#",
        "muster_manifest_valid 0\n",
        "muster_webhook_requests_total{outcome=\"accepted\",status=\"202\"} 1\n",
        "muster_runner_version_behind_seconds{architecture=\"x64\",os=\"linux\",version=\"2.2.0\"} 7\n",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("queue=\"jobs\""), "a queue that cannot be measured has no number");
    assert!(!text.contains("windows"), "a platform that nobody syncs any more has no series");
    assert!(!text.contains("2.1.0"), "a version that nobody pins any more has no series");
}

#[test]
fn a_flood_of_reasons_stays_bounded() {
    let metrics = Metrics::new();
    for n in 0..1000 {
        metrics.observe_fact(&Fact::LaunchFailed { pool: "p".into(), reason: LaunchFailure::Code(format!("Code{n}")), count: 1 });
    }
    assert_eq!(metrics.render().matches("muster_launch_failures_total{").count(), MOST_VALUES + 1);
}

/// A thousand repositories use a little, and one that comes last uses the most. It takes the place of the one that used the least.
#[test]
fn the_repositories_that_use_the_most_have_series_of_their_own() {
    let metrics = Metrics::new();
    let lived = |repo: &str, seconds: f64| {
        let (pool, instance_type) = ("linux".to_owned(), "m7i.large".to_owned());
        let used = BilledFor { pool, market: Market::Spot, instance_type, repo: repo.to_owned() };
        metrics.lived(&used, seconds, Some(seconds / 3600.0), "USD");
    };
    for n in 0..1000 {
        lived(&format!("acme/r{n}"), 100.0 - f64::from(n) / 100.0);
    }
    let series = || {
        let text = metrics.render();
        let of = |line: &&str| line.starts_with("muster_repository_instance_seconds_total{");
        let all: Vec<String> = text.lines().filter(of).map(str::to_owned).collect();
        (all, text.matches("muster_repository_estimated_cost_total{").count())
    };
    let with = |repo: &str| series().0.into_iter().find(|line| line.contains(&format!("\"{repo}\"")));
    assert_eq!((series().0.len(), series().1), (MOST_SHOWN + 1, MOST_SHOWN + 1), "fifty, and the rest as one");
    assert!(with("acme/r0").is_some() && with("acme/r49").is_some() && with("acme/r900").is_none());
    lived("acme/late", 100.0);
    assert_eq!(with("acme/late"), None, "it has used no more than the others");
    lived("acme/late", 400.0);
    assert!(with("acme/r49").is_none() && with("acme/late").is_some_and(|line| line.ends_with(" 0")), "{:?}", series());
    lived("acme/late", 7.0);
    assert!(with("acme/late").is_some_and(|line| line.ends_with(" 7")), "{:?}", with("acme/late"));
    assert_eq!((series().0.len(), series().1), (MOST_SHOWN + 1, MOST_SHOWN + 1));
    lived("acme/r49", 60.0);
    assert!(with("acme/r49").is_none(), "two that use about as much do not change places all the time");
    lived("/etc/passwd \"", 1e6);
    assert_eq!(series().0.len(), MOST_SHOWN + 1, "what is no repository's name is the rest");
}

/// `MUSTER_WRITE_DOCS=1 cargo test -p muster-operations the_documentation` writes the table anew.
#[cfg(target_os = "linux")]
#[test]
fn the_documentation_lists_what_there_is() {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    const MARKS: [&str; 2] =
        ["<!-- generated from operations/src/metrics: begin -->\n", "<!-- generated from operations/src/metrics: end -->"];
    let doc = std::fs::read_to_string(PATH).expect("the document");
    let (before, rest) = doc.split_once(MARKS[0]).expect("where the table begins");
    let (table, after) = rest.split_once(MARKS[1]).expect("where it ends");
    let wanted = super::maker::table(Metrics::new().described());
    if std::env::var_os("MUSTER_WRITE_DOCS").is_some() {
        std::fs::write(PATH, format!("{before}{}{wanted}{}{after}", MARKS[0], MARKS[1])).expect("the document can be written");
    } else {
        assert_eq!(table, wanted, "write it anew: MUSTER_WRITE_DOCS=1 cargo test -p muster-operations the_documentation");
    }
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
