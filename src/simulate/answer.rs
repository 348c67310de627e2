//! The answer: one value for all printers. It is made of forecasts, prices and assumptions, and knows no format.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_operations::prices::Prices;
use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::Os;
use muster_reconciler::time::{Time, human};
use muster_simulator::conditions::{Conditions, Weather};
use muster_simulator::forecast::{Forecast, LEAD, Untaken};
use muster_simulator::tally::{Doing, Figures, Series, Tally};
use serde::Serialize;

use super::Recording;
use super::conclusions;
use super::cost::Cost;
use super::field;
use super::rounding::{hours, round};

/// Printed before everything else.
pub const MODEL: &str = "A model, not a forecast: the real controller on a simulated EC2 and GitHub. Compare answers with each \
                         other before you compare one with a bill.";

/// What the simulator always does differently from AWS and GitHub.
const ALWAYS: [&str; 7] = [
    "GitHub gives a free runner to any of the waiting jobs that fit, at random: the longest waits are longer than if the oldest job went first",
    "EC2 picks at random among a pool's offerings that have capacity, whatever instance.allocation says",
    "each instance and offering draws its chances independently: capacity that vanishes everywhere at once does not occur",
    "hours are billed from running to shutting-down, a minute at least; instances that spot takes back count in full, which is \
     the most that EC2 bills for them",
    "cost is instances only: no disks, addresses, traffic, SSM, SQS or GitHub",
    "API calls: a sweep counts each of its pages, changed or not, but one call only against GitHub's limit, 5,000 an hour and App; \
     receiving from SQS is not counted; EC2 limits calls, but not the number of instances in them",
    "jobs wait for nothing but a runner: no concurrency groups, no environments, no runners but muster's",
];

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastAnswer {
    /// What kind of answer this is.
    pub model: &'static str,
    /// The version of muster.
    pub version: &'static str,
    /// The question.
    pub asked: Asked,
    /// What the answer assumes, in sentences.
    pub assumptions: Vec<String>,
    /// The assumptions as numbers.
    pub conditions: Conditions,
    /// The prices that were used.
    pub prices: PricesUsed,
    /// The results, one for each directory of manifests.
    pub runs: Vec<ForecastRun>,
    /// The figures of two directories side by side. Left out for one directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparison: Vec<Compared>,
}

/// The question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The file that the jobs come from.
    pub jobs_from: String,
    /// How many jobs there are.
    pub jobs: usize,
    /// When the first job may be queued (RFC 3339).
    pub from: String,
    /// The time until which jobs may be queued (RFC 3339).
    pub until: String,
    /// The seed that decided what is left to chance.
    pub seed: u64,
    /// How much goes wrong.
    pub weather: Weather,
    /// What was assumed about the files, in sentences.
    pub notes: Vec<String>,
}

/// The prices that were used.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PricesUsed {
    /// Where they come from.
    pub source: String,
    /// The day on which the prices held.
    pub as_of: String,
    /// The currency, such as `USD`.
    pub currency: String,
    /// Whether these are the built-in example's prices, which nobody pays.
    pub example: bool,
}

/// The result for one directory of manifests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastRun {
    /// The directory of the manifests.
    pub manifests: String,
    /// What stands out, in sentences.
    pub conclusions: Vec<String>,
    /// How long the world was simulated, in hours.
    pub simulated_hours: f64,
    /// The figures of all pools together.
    pub total: ForecastRow,
    /// The figures of each pool, by name.
    pub pools: Vec<ForecastRow>,
    /// Jobs that no pool takes, by the controller's reason.
    pub unrouted: Vec<Unserved>,
    /// How many of these jobs ran all the same, on a runner whose labels happen to match.
    pub unrouted_but_run: u64,
    /// Jobs that a pool takes and that never started, by the controller's reason.
    pub unstarted: Vec<Unserved>,
    /// How many lost jobs were queued again.
    pub reruns: u64,
    /// Cost by market.
    pub cost: Cost,
    /// The calls by API, the most frequent API first.
    pub api: Vec<ApiCalls>,
    /// Invariants that the controller violated. Each is a bug, and these figures are not to be trusted.
    pub violations: Vec<String>,
    /// How many runners and jobs there were over time, for plots.
    #[serde(skip)]
    pub series: Series,
    /// The waits of all jobs that started, shortest first.
    #[serde(skip)]
    pub waits: Vec<Duration>,
}

/// The figures of one pool, or of all pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastRow {
    /// The name of the pool, or `all` for the total.
    pub pool: String,
    /// How many jobs count for the pool.
    pub jobs: u64,
    /// How many of `jobs` never started.
    pub unstarted: u64,
    /// How many of `jobs` were lost with their instance.
    pub lost: u64,
    /// How many of `lost` were lost because EC2 took the spot instance back.
    pub lost_to_spot: u64,
    /// How many of `jobs` ran on another pool's runner, whose labels match, too.
    pub elsewhere: u64,
    /// The waits, from being queued at GitHub until a runner took the job.
    pub wait_seconds: WaitSeconds,
    /// How many instances were launched.
    #[serde(rename = "boxes")]
    pub instances: u64,
    /// How many instances never came online.
    pub never_online: u64,
    /// How many spot instances EC2 took back.
    pub taken_back: u64,
    /// The most instances at one time.
    #[serde(rename = "peakBoxes")]
    pub peak_instances: u64,
    /// When `peak_instances` was first reached (RFC 3339).
    pub peak_at: Option<String>,
    /// How many hours the instances spent on each thing, by [`Doing`].
    pub hours: BTreeMap<&'static str, f64>,
    /// The share of the instances' time without a job, 0 to 1.
    pub waste: f64,
    /// How many hours EC2 bills, by market.
    pub instance_hours: BTreeMap<&'static str, f64>,
    /// The cost of all hours that have a price. None: no hour has a price.
    pub cost: Option<f64>,
}

/// Percentiles of waits in seconds. None: the job at that rank never started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WaitSeconds {
    /// The median: half of the jobs waited no longer.
    pub p50: Option<f64>,
    /// Nine of ten jobs waited no longer.
    pub p90: Option<f64>,
    /// 99 of 100 jobs waited no longer.
    pub p99: Option<f64>,
    /// The longest wait.
    pub max: Option<f64>,
}

/// Jobs that did not start for the same reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unserved {
    /// How many jobs.
    pub jobs: u64,
    /// The controller's reason.
    pub reason: String,
    /// The labels and the repository of the first of these jobs.
    pub example: String,
}

/// The calls of one API.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiCalls {
    /// The name of the call, such as `CreateFleet`.
    pub api: &'static str,
    /// The service: `EC2`, `SSM`, `SQS` or `GitHub`.
    pub service: &'static str,
    /// How many calls were made.
    pub calls: u64,
    /// How many of these calls were throttled.
    pub throttled: u64,
}

/// The most points of a plot. More would not show.
const POINTS: usize = 150;

impl ForecastAnswer {
    /// Makes the answer. Each of the `runs` has its directory and its forecast.
    pub fn new(asked: Asked, conditions: Conditions, prices: &Prices, runs: &[(String, Forecast)]) -> ForecastAnswer {
        let mut assumptions = conditions.said();
        assumptions.extend(ALWAYS.map(str::to_owned));
        assumptions
            .push(format!("the controller runs for {} before the first job, so that warm floors stand ready", human(LEAD)));
        if runs.len() > 1 {
            assumptions.push(
                "both runs have the same jobs, rates and seed; which instance a chance hits differs, as others are launched"
                    .into(),
            );
        }
        let runs: Vec<ForecastRun> = runs.iter().map(|(dir, forecast)| ForecastRun::new(dir, forecast, prices)).collect();
        ForecastAnswer {
            model: MODEL,
            version: env!("CARGO_PKG_VERSION"),
            asked,
            assumptions,
            conditions,
            prices: PricesUsed {
                source: prices.source.clone(),
                as_of: prices.as_of.clone(),
                currency: prices.currency.clone(),
                example: prices.example,
            },
            comparison: compare(&runs),
            runs,
        }
    }
}

impl Asked {
    /// The question about the jobs of the file `jobs_from`.
    pub fn new(jobs_from: String, input: &Recording, seed: u64, weather: Weather) -> Asked {
        Asked {
            jobs_from,
            jobs: input.jobs.len(),
            from: field::said(input.from),
            until: field::said(input.until),
            seed,
            weather,
            notes: input.notes.clone(),
        }
    }
}

impl ForecastRun {
    fn new(dir: &str, forecast: &Forecast, prices: &Prices) -> ForecastRun {
        let tally = Tally::new(forecast);
        let mut cost = Cost::default();
        let mut pools = Vec::new();
        for name in pools_of(forecast) {
            let figures = tally.figures(Some(&name));
            let os = forecast.spec.pools.get(&name).map_or(Os::Linux, |p| p.spec.instance.os);
            let spent = cost.add(&figures, os, prices);
            pools.push(row(name.as_str(), &figures, spent));
        }
        let spent = (cost.total > 0.0 || cost.unpriced.is_empty()).then_some(cost.total);
        cost.settle();
        let mut api: Vec<ApiCalls> = forecast
            .report
            .calls
            .iter()
            .map(|(api, calls)| {
                let throttled = forecast.report.throttled.get(api).copied().unwrap_or_default();
                let (api, service) = real_name(api);
                ApiCalls { api, service, calls: *calls, throttled }
            })
            .collect();
        api.sort_by_key(|a| std::cmp::Reverse(a.calls));
        let run = ForecastRun {
            manifests: dir.to_owned(),
            conclusions: Vec::new(),
            simulated_hours: hours(forecast.end.since(forecast.begin)),
            total: row("all", &tally.figures(None), spent),
            pools,
            unrouted: forecast.unrouted.iter().map(unserved).collect(),
            unrouted_but_run: forecast.unrouted_but_run,
            unstarted: forecast.unstarted.iter().map(unserved).collect(),
            reruns: forecast.reruns,
            cost,
            api,
            violations: forecast.report.violations.iter().map(ToString::to_string).collect(),
            series: tally.series(POINTS),
            waits: tally.sorted_waits(),
        };
        ForecastRun { conclusions: conclusions::of(forecast, &run, &prices.currency), ..run }
    }
}

fn pools_of(forecast: &Forecast) -> Vec<PoolName> {
    forecast.spec.pools.keys().cloned().collect()
}

fn row(pool: &str, f: &Figures, cost: Option<f64>) -> ForecastRow {
    let seconds = |d: Option<Duration>| d.map(|d| round(d.as_secs_f64(), 1));
    let lived: Duration = f.spent.values().sum();
    let worked = f.spent.get(&Doing::Working).copied().unwrap_or_default();
    let mut instance_hours: BTreeMap<&'static str, f64> = BTreeMap::new();
    for ((market, _), billed) in &f.billed {
        *instance_hours.entry(market.as_str()).or_default() += hours(*billed);
    }
    ForecastRow {
        pool: pool.to_owned(),
        jobs: f.jobs,
        unstarted: f.unstarted,
        lost: f.lost,
        lost_to_spot: f.lost_to_spot,
        elsewhere: f.elsewhere,
        wait_seconds: WaitSeconds {
            p50: seconds(f.waits.p50),
            p90: seconds(f.waits.p90),
            p99: seconds(f.waits.p99),
            max: seconds(f.waits.max),
        },
        instances: f.instances,
        never_online: f.never_online,
        taken_back: f.taken_back,
        peak_instances: f.peak,
        peak_at: f.peak_at.map(|at: Time| field::said(at)),
        hours: Doing::ALL.iter().map(|d| (d.as_str(), hours(f.spent.get(d).copied().unwrap_or_default()))).collect(),
        waste: if lived.is_zero() { 0.0 } else { round(1.0 - worked.as_secs_f64() / lived.as_secs_f64(), 4) },
        instance_hours: instance_hours.into_iter().map(|(market, h)| (market, round(h, 3))).collect(),
        cost: cost.map(|cost| round(cost, 4)),
    }
}

/// The real name of a simulated call, and its service. The simulator lists secrets by path, and the adapter lists them by
/// their description.
fn real_name(simulated: &'static str) -> (&'static str, &'static str) {
    match simulated {
        "GetParametersByPath" => ("DescribeParameters", "SSM"),
        "PutParameter" | "DeleteParameters" => (simulated, "SSM"),
        "ChangeMessageVisibility" | "DeleteMessage" => (simulated, "SQS"),
        "GenerateJitConfig" | "DeleteRunner" | "GetJob" | "GetRun" | "RerunJobs" | "CancelRun" | "CreateCommitStatus"
        | "ListRunners" | "ListDeliveries" | "RedeliverWebhook" => (simulated, "GitHub"),
        other => (other, "EC2"),
    }
}

fn unserved(u: &Untaken) -> Unserved {
    Unserved { jobs: u.jobs, reason: u.reason.clone(), example: format!("[{}] of {}", u.labels.join(", "), u.repo) }
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A number of things.
    Count,
    /// Hours.
    Hours,
    /// The price file's currency.
    Money,
    /// A share, 0 to 1.
    Share,
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// The name of the figure.
    pub figure: &'static str,
    /// The unit of the figure.
    pub unit: Unit,
    /// The first directory's value. None: there is none, for example because the job at that percentile never started.
    pub a: Option<f64>,
    /// The other directory's value. None as for `a`.
    pub b: Option<f64>,
}

/// The figures of both runs. Empty if there is only one run.
fn compare(runs: &[ForecastRun]) -> Vec<Compared> {
    let [a, b] = runs else { return Vec::new() };
    let both = |figure, unit, of: fn(&ForecastRun) -> Option<f64>| Compared { figure, unit, a: of(a), b: of(b) };
    vec![
        both("median wait", Unit::Seconds, |r| r.total.wait_seconds.p50),
        both("wait, 90%", Unit::Seconds, |r| r.total.wait_seconds.p90),
        both("wait, 99%", Unit::Seconds, |r| r.total.wait_seconds.p99),
        both("longest wait", Unit::Seconds, |r| r.total.wait_seconds.max),
        both("jobs that never started", Unit::Count, |r| Some(r.total.unstarted as f64)),
        both("jobs that no pool takes", Unit::Count, |r| Some(r.unrouted.iter().map(|u| u.jobs).sum::<u64>() as f64)),
        both("jobs lost with their instance", Unit::Count, |r| Some(r.total.lost as f64)),
        both("lost jobs queued again", Unit::Count, |r| Some(r.reruns as f64)),
        both("instances that spot took back", Unit::Count, |r| Some(r.total.taken_back as f64)),
        both("instances launched", Unit::Count, |r| Some(r.total.instances as f64)),
        both("instances at the peak", Unit::Count, |r| Some(r.total.peak_instances as f64)),
        both("instance time without a job", Unit::Share, |r| Some(r.total.waste)),
        both("spot hours", Unit::Hours, |r| Some(hours_of(r, "spot"))),
        both("on-demand hours", Unit::Hours, |r| Some(hours_of(r, "on-demand"))),
        both("estimated cost", Unit::Money, |r| Some(r.cost.total)),
        both("hours with a price", Unit::Share, |r| r.cost.coverage),
        both("hours simulated", Unit::Hours, |r| Some(r.simulated_hours)),
        both("API calls", Unit::Count, |r| Some(r.api.iter().map(|a| a.calls).sum::<u64>() as f64)),
        both("API calls throttled", Unit::Count, |r| Some(r.api.iter().map(|a| a.throttled).sum::<u64>() as f64)),
    ]
}

fn hours_of(run: &ForecastRun, market: &str) -> f64 {
    run.total.instance_hours.get(market).copied().unwrap_or_default()
}
