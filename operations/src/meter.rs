//! What instances cost while they run: their time by pool, repository and market, and its price by the [`Book`] of prices.
//!
//! The cost is an estimate. Time without a price is counted, too, and shown as not covered.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::time::Time;
use muster_reconciler::view::{Billed, BilledFor, Totals};
use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;
use crate::prices::{Book, BookView};
use crate::spend::{DAY_MS, Spend, SpendView, month_of};
use crate::usage::{Amount, HourLines, NO_JOB, OTHER, UsageLedger, UsageLine};

/// The most time that is counted between two looks. Nobody knows what happened in a longer gap.
const LONGEST_GAP: Duration = Duration::from_secs(120);
/// The most repositories whose use of the day is counted apart. The time of further ones counts for [`OTHER`].
const MOST_REPOSITORIES: usize = 1000;
/// How many repositories are shown. The others are one sum, [`OTHER`].
const SHOWN_REPOSITORIES: usize = 50;

/// The cost of the day so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CostView {
    /// The currency, such as `USD`.
    pub currency: String,
    /// Where the prices come from. Empty: there are no prices.
    pub prices: String,
    /// Since when the cost is counted, in milliseconds since 1970: midnight (UTC), or the start of the
    /// process if that was later.
    pub since: u64,
    /// What the instances that run now cost in an hour, as far as their types have a price.
    #[serde(default)]
    pub hourly: f64,
    /// The cost of all instances whose type has a price.
    pub total: f64,
    /// The cost of each pool.
    pub pools: BTreeMap<String, f64>,
    /// The use by repository, the dearest first. `none` stands for the time without a job, `other` for all beyond the dearest 50.
    #[serde(default)]
    pub repositories: Vec<RepositoryCost>,
    /// How many hours the instances ran.
    pub hours: f64,
    /// The share of these hours that has a price, 0 to 1. None: no instance ran.
    pub coverage: Option<f64>,
    /// How many prices the pools' types and markets need, and how many of these are known.
    #[serde(default)]
    pub known: (usize, usize),
    /// Why prices cannot be read, one sentence each.
    #[serde(default)]
    pub trouble: Vec<String>,
    /// What was used today, with what processes before this one wrote into the bucket.
    #[serde(default)]
    pub day: SpendView,
    /// The same since the month began, in UTC.
    #[serde(default)]
    pub month: SpendView,
}

/// What one repository used today.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryCost {
    /// The repository in lower case, or `none`, or `other`.
    pub repository: String,
    /// The instance hours.
    pub hours: f64,
    /// The cost of the hours that have a price. None: none of them has.
    pub cost: Option<f64>,
}

/// Counts the time of instances, and its cost.
#[derive(Debug)]
pub struct Meter {
    prices: Book,
    last: Option<(Time, Totals)>,
    today: CostView,
    priced_hours: f64,
    /// Since the start of the process: all seconds, and the seconds with a price.
    ever: (f64, f64),
    ledger: UsageLedger,
    /// Of the day: the hours of each repository, and the cost of those that have a price.
    repositories: BTreeMap<String, (f64, Option<f64>)>,
    day: Spend,
    month: Spend,
}

impl Meter {
    /// A meter that has counted nothing yet.
    pub fn new(prices: impl Into<Book>) -> Meter {
        let mut meter = Meter {
            prices: Book::default(),
            last: None,
            today: CostView::default(),
            priced_hours: 0.0,
            ever: (0.0, 0.0),
            ledger: UsageLedger::default(),
            repositories: BTreeMap::new(),
            day: Spend::default(),
            month: Spend::default(),
        };
        meter.set_prices(prices.into());
        meter
    }

    /// Uses these prices from now on. What was counted stays.
    pub fn set_prices(&mut self, prices: Book) {
        let view = prices.view();
        // An amount in another currency cannot be added, so the day's count begins anew.
        if self.today.currency != view.currency {
            (self.today.total, self.priced_hours) = (0.0, 0.0);
            self.today.pools.clear();
            self.repositories.values_mut().for_each(|(_, cost)| *cost = None);
        }
        self.today.currency = view.currency;
        (self.today.known, self.today.trouble) = ((view.wanted, view.known), view.trouble);
        self.today.prices = prices.source();
        self.prices = prices;
    }

    /// The prices that the meter uses.
    pub fn prices(&self) -> BookView {
        self.prices.view()
    }

    /// Takes a look. The instances of the look before have run until now.
    pub fn take(&mut self, totals: &Totals, metrics: &Metrics) {
        let now = Time::from_millis(totals.now);
        let Some((last, before)) = self.last.replace((now, totals.clone())) else {
            self.today.since = totals.now;
            for spend in [&mut self.day, &mut self.month].into_iter().filter(|spend| spend.since == 0) {
                spend.since = totals.now;
            }
            return;
        };
        if last.as_millis() / DAY_MS < totals.now / DAY_MS {
            let midnight = totals.now / DAY_MS * DAY_MS;
            self.today = CostView { since: midnight, ..CostView::default() };
            self.repositories.clear();
            self.priced_hours = 0.0;
            let prices = std::mem::take(&mut self.prices);
            self.set_prices(prices);
            self.day = Spend::since(midnight);
            if month_of(last.as_millis()) < month_of(totals.now) {
                self.month = Spend::since(month_of(totals.now));
            }
        }
        let gap = now.since(last).min(LONGEST_GAP).as_secs_f64();
        for (used, billed) in &before.billed {
            let seconds = gap * billed.instances as f64;
            let hour = self.prices.hour(billed.os, &used.instance_type, used.market);
            let cost = hour.map(|price| price * seconds / 3600.0);
            metrics.lived(used, seconds, cost, self.prices.currency());
            let amount = Amount { seconds, priced_seconds: cost.map_or(0.0, |_| seconds), cost: cost.unwrap_or_default() };
            self.ledger.add(last, used, self.prices.currency(), &amount);
            self.add(used, &amount);
        }
        self.today.coverage = (self.today.hours > 0.0).then(|| self.priced_hours / self.today.hours);
        if self.ever.0 > 0.0 {
            metrics.cost_coverage(self.ever.1 / self.ever.0);
        }
    }

    fn add(&mut self, used: &BilledFor, amount: &Amount) {
        let (hours, priced) = (amount.seconds / 3600.0, amount.priced_seconds > 0.0);
        self.today.hours += hours;
        self.ever.0 += amount.seconds;
        let name = if used.repo.is_empty() { NO_JOB } else { &used.repo };
        for spend in [&mut self.day, &mut self.month] {
            spend.add(&used.pool, name, self.prices.currency(), amount);
        }
        let known = &mut self.repositories;
        let room = name == NO_JOB || known.len() < MOST_REPOSITORIES || known.contains_key(name);
        let (of_repository, cost) = known.entry(if room { name } else { OTHER }.to_owned()).or_default();
        *of_repository += hours;
        if priced {
            *cost.get_or_insert_default() += amount.cost;
            self.today.total += amount.cost;
            *self.today.pools.entry(used.pool.clone()).or_default() += amount.cost;
            self.priced_hours += hours;
            self.ever.1 += amount.seconds;
        }
    }

    /// Takes in what other processes wrote in the month of `now_ms`, once.
    pub fn restore(&mut self, lines: &[UsageLine], now_ms: u64) {
        for (spend, began) in [(&mut self.day, now_ms / DAY_MS * DAY_MS), (&mut self.month, month_of(now_ms))] {
            for line in lines.iter().filter(|line| line.began_ms().is_some_and(|at| at >= began)) {
                spend.add(&line.pool, &line.repository, &line.currency, &line.amount);
            }
        }
    }

    /// Notes that everything that other processes wrote in the month of `now_ms` was taken in.
    pub fn restored(&mut self, now_ms: u64) {
        (self.day.since, self.month.since) = (now_ms / DAY_MS * DAY_MS, month_of(now_ms));
    }

    /// The hours of usage that changed since they were written.
    pub fn usage(&self) -> Vec<HourLines> {
        self.ledger.changed()
    }

    /// Notes that an hour of usage was written.
    pub fn usage_written(&mut self, hour: &HourLines, now: Time) {
        self.ledger.written(hour.hour, hour.version, now);
    }

    /// How many hours of usage were forgotten since the last call, because nobody wrote them for days.
    pub fn take_forgotten(&mut self) -> u64 {
        self.ledger.take_forgotten()
    }

    /// The cost of the day so far.
    pub fn today(&self) -> CostView {
        let of = |(repository, (hours, cost)): (&String, &(f64, Option<f64>))| RepositoryCost {
            repository: repository.clone(),
            hours: *hours,
            cost: *cost,
        };
        let mut all: Vec<RepositoryCost> = self.repositories.iter().map(of).collect();
        let cost = |used: &RepositoryCost| used.cost.unwrap_or_default();
        all.sort_by(|a, b| cost(b).total_cmp(&cost(a)).then(b.hours.total_cmp(&a.hours)));
        if all.len() > SHOWN_REPOSITORIES {
            let mut other = RepositoryCost { repository: OTHER.to_owned(), ..RepositoryCost::default() };
            for used in all.split_off(SHOWN_REPOSITORIES) {
                other.hours += used.hours;
                if let Some(cost) = used.cost {
                    *other.cost.get_or_insert_default() += cost;
                }
            }
            all.push(other);
        }
        let billed = self.last.iter().flat_map(|(_, totals)| &totals.billed);
        let hour = |(used, billed): (&BilledFor, &Billed)| {
            self.prices.hour(billed.os, &used.instance_type, used.market).unwrap_or_default() * billed.instances as f64
        };
        let (day, month) = (self.day.view(), self.month.view());
        CostView { hourly: billed.map(hour).sum(), repositories: all, day, month, ..self.today.clone() }
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::manifest::Os;
    use muster_reconciler::market::Market;

    use super::*;
    use crate::prices::Prices;

    fn look(at_s: u64, instances: &[(&str, &str, u64)]) -> Totals {
        let key = |(pool, kind, n): &(&str, &str, u64)| {
            // The pool's part behind a slash is the repository.
            let (pool, repo) = pool.split_once('/').unwrap_or((pool, ""));
            let (pool, instance_type, repo) = (pool.to_owned(), (*kind).to_owned(), repo.to_owned());
            (BilledFor { pool, market: Market::OnDemand, instance_type, repo }, Billed { instances: *n, os: Os::Linux })
        };
        Totals { now: at_s * 1000, billed: instances.iter().map(key).collect(), ..Totals::default() }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn time_costs_while_it_passes_and_what_has_no_price_is_not_covered() {
        let (mut meter, metrics) = (Meter::new(Prices::example()), Metrics::new());
        meter.take(&look(1000, &[("linux", "m7i.large", 3), ("odd", "x9.huge", 1)]), &metrics);
        meter.take(&look(1060, &[("linux", "m7i.large", 1)]), &metrics);
        meter.take(&look(1120, &[]), &metrics);
        let today = &meter.today();
        assert!(near(today.hours, 300.0 / 3600.0) && near(today.total, 0.1008 * 240.0 / 3600.0), "{today:?}");
        assert!(near(today.coverage.expect("instances ran"), 240.0 / 300.0) && today.since == 1_000_000, "{today:?}");
        let text = metrics.render();
        assert!(text.contains("muster_instance_seconds_total{market=\"on-demand\",pool=\"linux\"} 240\n"), "{text}");
        assert!(text.contains("muster_priced_instance_seconds_total{market=\"on-demand\",pool=\"odd\"} 0\n"), "{text}");
        assert!(text.contains("muster_cost_coverage_ratio 0.8\n"), "{text}");
    }

    #[test]
    fn a_price_that_comes_later_counts_from_then_on_and_unknown_time_costs_nothing_known() {
        let (mut meter, metrics) = (Meter::new(Book::default()), Metrics::new());
        meter.take(&look(1000, &[("linux", "m7i.large", 1)]), &metrics);
        meter.take(&look(1060, &[("linux", "m7i.large", 1)]), &metrics);
        let text = metrics.render();
        assert!(!text.contains("muster_estimated_cost_total{"), "unknown is not zero:\n{text}");
        assert!(meter.today().prices.is_empty() && meter.today().coverage == Some(0.0), "{:?}", meter.today());
        meter.set_prices(Prices::example().into());
        meter.take(&look(1120, &[]), &metrics);
        let today = &meter.today();
        assert!(near(today.total, 0.1008 / 60.0) && today.coverage == Some(0.5) && today.currency == "USD", "{today:?}");
    }

    #[test]
    fn each_repository_pays_for_its_jobs_and_nobody_for_the_rest() {
        let (mut meter, metrics) = (Meter::new(Prices::example()), Metrics::new());
        meter.take(
            &look(1000, &[("linux/acme/api", "m7i.large", 2), ("linux", "m7i.large", 1), ("linux/acme/web", "x9.huge", 1)]),
            &metrics,
        );
        meter.take(&look(1090, &[]), &metrics);
        let all = meter.today().repositories;
        let used = |name: &str| all.iter().find(|used| used.repository == name).expect("it was used");
        assert_eq!(all[0].repository, "acme/api", "the dearest comes first");
        assert!(near(used("acme/api").hours, 0.05) && near(used("acme/api").cost.expect("priced"), 0.1008 * 0.05), "{meter:?}");
        assert!(near(used("none").hours, 0.025) && used("acme/web").cost.is_none(), "{meter:?}");
        let text = metrics.render();
        for line in [
            "muster_repository_instance_seconds_total{pool=\"linux\",repository=\"acme/api\"} 180\n",
            "muster_repository_instance_seconds_total{pool=\"linux\",repository=\"none\"} 90\n",
            "muster_repository_estimated_cost_total{currency=\"USD\",pool=\"linux\",repository=\"none\"} 0.0025",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("muster_repository_estimated_cost_total{currency=\"\""), "unknown is not zero:\n{text}");
        let hours = meter.usage();
        assert_eq!((hours.len(), hours[0].lines.len()), (1, 3));
        meter.usage_written(&hours[0], Time::from_millis(1_090_000));
        assert!(meter.usage().is_empty());
    }

    #[test]
    fn the_month_goes_on_where_other_processes_ended() {
        let (mut meter, metrics) = (Meter::new(Prices::example()), Metrics::new());
        // 2026-12-01T13:00:00Z.
        let noon = 1_796_130_000;
        meter.take(&look(noon, &[("linux/acme/api", "m7i.large", 1)]), &metrics);
        assert_eq!((meter.today().day.since, meter.today().month.since), (noon * 1000, noon * 1000), "as far as is known");
        let line = |hour: &str, repository: &str| UsageLine {
            hour: hour.into(),
            pool: "arm".into(),
            repository: repository.into(),
            currency: "USD".into(),
            amount: Amount { seconds: 3600.0, priced_seconds: 3600.0, cost: 0.5 },
            ..UsageLine::default()
        };
        let lines = [
            line("2026-11-30T23:00:00Z", "old/month"),
            line("2026-12-01T00:00:00Z", "acme/api"),
            line("2026-12-01T12:00:00Z", NO_JOB),
        ];
        meter.restore(&lines, noon * 1000);
        meter.restored(noon * 1000);
        meter.take(&look(noon + 60, &[]), &metrics);
        let (day, month) = (meter.today().day, meter.today().month);
        assert_eq!((day.since, month.since), (1_796_083_200_000, 1_796_083_200_000));
        assert!(near(month.all.hours, 2.0 + 60.0 / 3600.0) && near(month.idle.hours, 1.0) && day == month, "{month:?}");
        assert!(near(month.all.cost["USD"], 1.0 + 0.1008 / 60.0) && near(meter.today().hours, 60.0 / 3600.0), "{month:?}");
        // The next day keeps the month, and the next month begins anew.
        meter.take(&look(noon + 86_400, &[]), &metrics);
        assert!(meter.today().day.all.hours == 0.0 && meter.today().month.all.hours > 2.0);
        meter.take(&look(noon + 31 * 86_400, &[]), &metrics);
        assert_eq!((meter.today().month.all.hours, meter.today().month.since), (0.0, 1_798_761_600_000));
    }

    #[test]
    fn a_day_begins_at_midnight_and_a_gap_is_not_made_up() {
        let (mut meter, metrics) = (Meter::new(Prices::example()), Metrics::new());
        let midnight = 86_400;
        meter.take(&look(midnight - 30, &[("linux", "m7i.large", 1)]), &metrics);
        meter.take(&look(midnight - 10, &[("linux", "m7i.large", 1)]), &metrics);
        meter.take(&look(midnight + 10, &[("linux", "m7i.large", 1)]), &metrics);
        assert!(meter.today().since == midnight * 1000 && near(meter.today().hours, 20.0 / 3600.0), "{:?}", meter.today());
        meter.take(&look(midnight + 7200, &[]), &metrics);
        assert!(near(meter.today().hours, 140.0 / 3600.0), "{:?}", meter.today());
    }
}
