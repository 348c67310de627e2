//! What the page says of the cost: now, today and this month, by pool and by repository.

use muster_operations::meter::CostView;
use muster_operations::spend::SpendView;
use muster_operations::usage::{NO_JOB, OTHER, Sum};

use super::live_view::{Tile, day_clock, money, priced};
use super::order;

/// What the page says of the cost.
#[derive(Clone, Debug, Default)]
pub struct LiveCost {
    /// What the instances that run now cost in an hour. Empty: no price is known.
    pub hourly: String,
    /// The day and the month so far.
    pub spans: Vec<CostSpan>,
    /// The pools, the dearest of the month first.
    pub pools: Vec<CostRow>,
    /// The repositories, in the same order.
    pub repositories: Vec<CostRow>,
}

/// One span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostSpan {
    /// `today` or `this month`.
    pub name: &'static str,
    /// Since when it is counted.
    pub since: String,
    /// The cost, or that it is unknown.
    pub cost: String,
    /// The share of the instance hours without a job, in percent. Empty: no instance ran.
    pub idle: String,
    /// What that share cost.
    pub idle_cost: String,
}

/// What one pool or repository used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostRow {
    /// The pool or the repository, or what stands for it, in words.
    pub name: String,
    /// The cost of the day. A dash: there is none.
    pub day: String,
    /// The instance hours and the cost of the month.
    pub month: [String; 2],
    /// The share of the month's instance hours, in percent.
    pub share: String,
    /// The cost of the day and of the month as numbers, which sort. Below 0: it is not known, or there is none.
    pub amounts: [f64; 2],
    /// The instance hours of the month.
    pub hours: f64,
}

impl LiveCost {
    /// What the page says of this cost. The rows of the tables are in this order; empty: the dearest of the month come first.
    pub fn new(cost: &CostView, now: u64, order: &str) -> LiveCost {
        let known = !cost.prices.is_empty();
        let span = |name, spend: &SpendView| CostSpan {
            name,
            since: day_clock(spend.since, now),
            cost: price_of(&spend.all),
            idle: share(&spend.idle, &spend.all),
            idle_cost: price_of(&spend.idle),
        };
        let rows = |of: fn(&SpendView) -> &Vec<Sum>| {
            let row = |sum: &Sum| {
                let of_day = of(&cost.day).iter().find(|day| day.of == sum.of);
                let share = share(sum, &cost.month.all);
                let month = [format!("{:.1}", sum.hours), price_of(sum)];
                let amounts = [of_day.map_or(-1.0, amount), amount(sum)];
                CostRow { name: name(sum), day: of_day.map_or("–".into(), price_of), month, share, amounts, hours: sum.hours }
            };
            let mut rows = of(&cost.month).iter().map(row).collect::<Vec<_>>();
            order::sort_cost(&mut rows, order);
            rows
        };
        LiveCost {
            hourly: if known { money(cost.hourly, &cost.currency) } else { String::new() },
            spans: vec![span("today", &cost.day), span("this month", &cost.month)],
            pools: rows(|spend| &spend.pools),
            repositories: rows(|spend| &spend.repositories),
        }
    }
}

impl LiveCost {
    /// The tables: what they are by, the head of the first column, what the ids of the rows begin with, and the rows.
    pub fn tables(&self) -> [(&'static str, &'static str, &'static str, &[CostRow]); 2] {
        [("repository", "Repository", "spent-by", &self.repositories), ("pool", "Pool", "spent-in", &self.pools)]
    }
}

/// The cost of the day among the page's totals. It leads to the rest. The share without a job is known for all pools together only.
pub(super) fn tile(cost: &CostView, only_pool: &str) -> Tile {
    let idle = share(&cost.day.idle, &cost.day.all);
    let (number, label) = match (only_pool, cost.prices.is_empty()) {
        ("", _) if idle.is_empty() => ("–".into(), "cost today: no instance ran".into()),
        ("", _) => (price_of(&cost.day.all), format!("cost today, {idle} of the hours without a job")),
        (_, true) => ("unknown".into(), "cost today".into()),
        (pool, false) => (Some(priced(cost, pool)).filter(|cost| !cost.is_empty()).unwrap_or("–".into()), "cost today".into()),
    };
    Tile { id: "t-cost", number, label, more: "#cost" }
}

fn name(sum: &Sum) -> String {
    match sum.of.first().map(String::as_str).unwrap_or_default() {
        NO_JOB => "no job: starting, idle or ending".into(),
        OTHER => "all others".into(),
        name => name.to_owned(),
    }
}

/// The cost as one number. Below 0: it is not known.
fn amount(sum: &Sum) -> f64 {
    if sum.cost.is_empty() { -1.0 } else { sum.cost.values().sum() }
}

fn share(part: &Sum, all: &Sum) -> String {
    if all.hours > 0.0 { format!("{:.0}%", part.hours / all.hours * 100.0) } else { String::new() }
}

/// The cost, as far as it is known.
fn price_of(sum: &Sum) -> String {
    if sum.cost.is_empty() {
        return if sum.hours > 0.0 { "unknown".into() } else { "–".into() };
    }
    let amounts: Vec<String> = sum.cost.iter().map(|(currency, cost)| money(*cost, currency)).collect();
    let amounts = amounts.join(" + ");
    let priced = sum.priced_hours / sum.hours;
    if priced < 0.995 { format!("{amounts}, {:.0}% priced", priced * 100.0) } else { amounts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(of: &str, hours: f64, cost: Option<f64>) -> Sum {
        let cost = cost.map(|cost| ("USD".to_owned(), cost));
        let priced_hours = if cost.is_some() { hours } else { 0.0 };
        Sum { of: vec![of.into()], hours, priced_hours, cost: cost.into_iter().collect() }
    }

    /// 2026-12-01T13:00:00Z.
    const NOON: u64 = 1_796_130_000_000;

    #[test]
    fn each_repository_is_told_and_what_has_no_price_is_unknown() {
        let day = SpendView {
            since: NOON - 3_600_000,
            all: used("", 4.0, Some(1.0)),
            idle: used("none", 1.0, Some(0.25)),
            repositories: vec![used("acme/api", 2.0, Some(0.5))],
            ..SpendView::default()
        };
        let month = SpendView {
            since: NOON - 86_400_000,
            all: Sum { priced_hours: 8.0, ..used("", 10.0, Some(2.0)) },
            idle: used("none", 2.0, None),
            repositories: vec![used("acme/api", 6.0, Some(1.5)), used("none", 2.0, Some(0.5)), used("other", 0.4, None)],
            pools: vec![used("linux", 10.0, Some(2.0))],
        };
        let view = CostView { currency: "USD".into(), prices: "AWS".into(), hourly: 0.25, day, month, ..CostView::default() };
        let cost = LiveCost::new(&view, NOON, "");
        let [day, month] = &cost.spans[..] else { panic!("{cost:?}") };
        assert_eq!((cost.hourly.as_str(), day.since.as_str(), month.since.as_str()), ("0.25 USD", "12:00", "30 Nov 13:00"));
        assert_eq!((day.cost.as_str(), day.idle.as_str(), day.idle_cost.as_str()), ("1.00 USD", "25%", "0.25 USD"));
        assert_eq!(
            (month.cost.as_str(), month.idle.as_str(), month.idle_cost.as_str()),
            ("2.00 USD, 80% priced", "20%", "unknown")
        );
        let [api, none, other] = &cost.repositories[..] else { panic!("{cost:?}") };
        assert_eq!(
            (api.day.as_str(), &api.month, api.share.as_str()),
            ("0.50 USD", &["6.0", "1.50 USD"].map(String::from), "60%")
        );
        assert_eq!((none.name.as_str(), none.day.as_str()), ("no job: starting, idle or ending", "–"));
        assert_eq!((other.name.as_str(), other.month[1].as_str(), cost.pools.len()), ("all others", "unknown", 1));
        let told = |view: &CostView, pool| {
            let tile = tile(view, pool);
            (tile.number, tile.label, tile.more)
        };
        let (number, label, more) = told(&view, "");
        assert_eq!((number.as_str(), more), ("1.00 USD", "#cost"));
        assert_eq!(label, "cost today, 25% of the hours without a job");
        assert_eq!(told(&view, "linux"), ("–".to_owned(), "cost today".to_owned(), "#cost"));
        assert_eq!(told(&CostView::default(), "").1, "cost today: no instance ran");
        let unpriced =
            CostView { day: SpendView { all: used("", 4.0, None), ..view.day.clone() }, prices: String::new(), ..view.clone() };
        assert_eq!((told(&unpriced, "").0.as_str(), told(&unpriced, "linux").0.as_str()), ("unknown", "unknown"));
        let unpriced = LiveCost::new(&CostView { prices: String::new(), ..view }, NOON, "");
        assert!(unpriced.hourly.is_empty() && unpriced.spans[0].idle == "25%", "{unpriced:?}");
    }
}
