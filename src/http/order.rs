//! The order of the live page's tables: which columns sort, and what they compare. The order stays in the page's address.

use std::cmp::Ordering;

use muster_operations::meter::CostView;
use muster_reconciler::view::PoolView;

use super::live_cost::CostRow;
use super::live_view::{BudgetRow, EventRow};

/// A column that sorts its table: the word in the address, the title and the class.
pub type SortColumn = (&'static str, &'static str, &'static str);

/// The columns of the table of jobs that sort it.
pub const JOB_COLUMNS: [SortColumn; 6] = [
    ("id", "Job", ""),
    ("state", "State", ""),
    ("repo", "Repository", "o2"),
    ("pool", "Pool", "o3"),
    ("age", "Age", "n o3"),
    ("labels", "Labels", "o1"),
];
/// The same for the table of runners.
pub const RUNNER_COLUMNS: [SortColumn; 6] = [
    ("id", "Instance", ""),
    ("state", "State", ""),
    ("pool", "Pool", "o3"),
    ("type", "Type", "o2"),
    ("job", "Job", "n o2"),
    ("age", "Age", "n o3"),
];
/// Those of the table of pools before its drawing.
pub const POOL_COLUMNS: [SortColumn; 2] = [("name", "Pool", ""), ("state", "State", "")];
/// Those of the table of pools after its drawing.
pub const POOL_NUMBERS: [SortColumn; 6] = [
    ("queued", "Queued", "n o3"),
    ("wanted", "Wanted", "n o1"),
    ("supply", "Supply", "n o1"),
    ("max", "Max", "n o2"),
    ("runners", "Runners", "o3"),
    ("cost", "Cost today", "n o1"),
];
/// Those of the table of waits.
pub const WAIT_COLUMNS: [SortColumn; 7] = [
    ("name", "Pool", ""),
    ("waiting", "Waiting", "n"),
    ("oldest", "Oldest now", "n"),
    ("next", "The next job starts", ""),
    ("hour", "Last hour: half / 9 of 10 within", "n o3"),
    ("day", "Last day: half / 9 of 10 within", "n o2"),
    ("starts", "A runner's start: last hour / day", "n o2"),
];
/// Those of the tables of the cost, after their first column.
pub const COST_COLUMNS: [SortColumn; 4] =
    [("day", "Today", "n"), ("hours", "Hours this month", "n o3"), ("share", "Share", "n o3"), ("month", "This month", "n")];
/// Those of the table of events.
pub const EVENT_COLUMNS: [SortColumn; 4] =
    [("time", "Time", ""), ("event", "Event", ""), ("pool", "Pool", "o2"), ("on", "On", "o3")];
/// Those of the table of budgets.
pub const BUDGET_COLUMNS: [SortColumn; 3] = [("call", "Call", ""), ("whose", "Whose", "o3"), ("left", "Left", "n")];

/// The column of an order, and whether the greatest comes first.
pub fn split(order: &str) -> (&str, bool) {
    order.strip_prefix('-').map_or((order, false), |column| (column, true))
}

/// Brings items into an order. Without one, or with a column that does not exist, they stay as they are. Items that are equal stay in
/// their order, in both directions.
fn sort<T>(items: &mut [T], order: &str, compare: impl Fn(&str, &T, &T) -> Ordering) {
    let (column, turned) = split(order);
    items.sort_by(|a, b| if turned { compare(column, b, a) } else { compare(column, a, b) });
}

/// Brings the rows of the table of pools into an order.
pub fn sort_pools(pools: &mut [&PoolView], order: &str, cost: &CostView) {
    let cost = |pool: &PoolView| cost.pools.get(&pool.name).copied().unwrap_or(-1.0);
    let runners = |pool: &PoolView| pool.phases.values().sum::<u32>();
    sort(pools, order, |column, a, b| match column {
        "name" => a.name.cmp(&b.name),
        "state" => a.mark.cmp(&b.mark),
        "queued" => a.queued.cmp(&b.queued),
        "wanted" => a.wanted.cmp(&b.wanted),
        "supply" => a.supply.cmp(&b.supply),
        "max" => a.max.cmp(&b.max),
        "runners" => runners(a).cmp(&runners(b)),
        "cost" => cost(a).total_cmp(&cost(b)),
        _ => Ordering::Equal,
    });
}

/// Brings the rows of the table of waits into an order. What is not known is less than anything else.
pub fn sort_waits(pools: &mut [&PoolView], order: &str) {
    let median = |span: &Option<muster_reconciler::view::SpanView>| span.as_ref().map_or(-1.0, |span| span.median_seconds);
    sort(pools, order, |column, a, b| {
        let (x, y) = (&a.waits, &b.waits);
        match column {
            "name" => a.name.cmp(&b.name),
            "waiting" => x.waiting.cmp(&y.waiting),
            "oldest" => x.oldest_seconds.cmp(&y.oldest_seconds),
            "next" => x.next.cmp(&y.next),
            "hour" => median(&x.hour).total_cmp(&median(&y.hour)),
            "day" => median(&x.day).total_cmp(&median(&y.day)),
            "starts" => median(&x.starts_hour).total_cmp(&median(&y.starts_hour)),
            _ => Ordering::Equal,
        }
    });
}

/// Brings the rows of a table of the cost into an order.
pub fn sort_cost(rows: &mut [CostRow], order: &str) {
    sort(rows, order, |column, a, b| match column {
        "name" => a.name.cmp(&b.name),
        "day" => a.amounts[0].total_cmp(&b.amounts[0]),
        "hours" | "share" => a.hours.total_cmp(&b.hours),
        "month" => a.amounts[1].total_cmp(&b.amounts[1]),
        _ => Ordering::Equal,
    });
}

/// Brings the rows of the table of events into an order. Events are numbered in the order of time.
pub fn sort_events(rows: &mut [EventRow], order: &str) {
    sort(rows, order, |column, a, b| {
        let (a, b) = (&a.event, &b.event);
        match column {
            "time" => a.seq.cmp(&b.seq),
            "event" => a.what.as_str().cmp(b.what.as_str()),
            "pool" => a.pool.cmp(&b.pool),
            "on" => (a.job, &a.instance).cmp(&(b.job, &b.instance)),
            _ => Ordering::Equal,
        }
    });
}

/// Brings the rows of the table of budgets into an order: `left` compares the shares that are left.
pub fn sort_budgets(rows: &mut [BudgetRow], order: &str) {
    sort(rows, order, |column, a, b| match column {
        "call" => a.api.cmp(&b.api),
        "whose" => a.whose.cmp(&b.whose),
        "left" => a.percent.cmp(&b.percent),
        _ => Ordering::Equal,
    });
}

#[cfg(test)]
mod tests {
    use muster_reconciler::view::{EventView, WaitsView};

    use super::*;

    /// The names of items in the order of each column, once from the least and once from the greatest.
    fn told<T: Clone>(columns: &[SortColumn], items: &[T], name: fn(&T) -> String, sort: impl Fn(&mut [T], &str)) -> Vec<String> {
        let mut all = Vec::new();
        for (column, ..) in columns {
            for order in [(*column).to_owned(), format!("-{column}")] {
                let mut items = items.to_vec();
                sort(&mut items, &order);
                all.push(format!("{order}: {}", items.iter().map(name).collect::<Vec<_>>().join(" ")));
            }
        }
        all
    }

    /// The two orders of a column by which `a` is less than `b`.
    fn both_ways(columns: &[SortColumn]) -> Vec<String> {
        columns.iter().flat_map(|(column, ..)| [format!("{column}: a b"), format!("-{column}: b a")]).collect()
    }

    #[test]
    fn every_column_of_pools_and_of_waits_sorts_both_ways() {
        let span = |median_seconds| Some(muster_reconciler::view::SpanView { median_seconds, ..Default::default() });
        let pool = |name: &str, n: u32| {
            let waits = WaitsView {
                waiting: n,
                oldest_seconds: Some(u64::from(n)),
                next: name.into(),
                hour: span(f64::from(n)),
                day: span(f64::from(n)),
                starts_hour: span(f64::from(n)),
                ..WaitsView::default()
            };
            let phases = [(muster_reconciler::runner::Phase::Idle, n)].into();
            let mark = muster_reconciler::mark::StateMark::ALL[n as usize];
            PoolView { name: name.into(), queued: n, wanted: n, supply: n, max: n, phases, mark, waits, ..PoolView::default() }
        };
        let (a, b) = (pool("a", 1), pool("b", 2));
        let cost = CostView { pools: [("a".into(), 1.0), ("b".into(), 2.0)].into(), ..CostView::default() };
        let columns = [&POOL_COLUMNS[..], &POOL_NUMBERS[..]].concat();
        let name = |pool: &&PoolView| pool.name.clone();
        assert_eq!(told(&columns, &[&b, &a], name, |pools, order| sort_pools(pools, order, &cost)), both_ways(&columns));
        assert_eq!(told(&WAIT_COLUMNS, &[&b, &a], name, sort_waits), both_ways(&WAIT_COLUMNS));
        let mut kept = [&b, &a];
        sort_pools(&mut kept, "", &cost);
        assert_eq!(kept.map(|pool| pool.name.as_str()), ["b", "a"], "without an order they stay");
    }

    #[test]
    fn every_column_of_costs_events_and_budgets_sorts_both_ways() {
        let cost = |name: &str, n: f64| CostRow { name: name.into(), amounts: [n, n], hours: n, ..CostRow::default() };
        let columns = [&[("name", "Pool", "")][..], &COST_COLUMNS[..]].concat();
        assert_eq!(told(&columns, &[cost("b", 2.0), cost("a", 1.0)], |row| row.name.clone(), sort_cost), both_ways(&columns));
        let event = |name: &str, seq, what| EventRow {
            event: EventView { seq, what, pool: Some(name.into()), instance: Some(name.into()), ..EventView::default() },
            ..EventRow::default()
        };
        let (first, last) = (muster_reconciler::journal::What::JobQueued, muster_reconciler::journal::What::Launch);
        let name = |row: &EventRow| row.event.pool.clone().unwrap_or_default();
        let rows = [event("b", 2, last), event("a", 1, first)];
        assert_eq!(told(&EVENT_COLUMNS, &rows, name, sort_events), both_ways(&EVENT_COLUMNS));
        let budget = |name: &str, percent| BudgetRow { api: name.into(), whose: name.into(), percent, ..BudgetRow::default() };
        let rows = [budget("b", 2), budget("a", 1)];
        assert_eq!(told(&BUDGET_COLUMNS, &rows, |row| row.api.clone(), sort_budgets), both_ways(&BUDGET_COLUMNS));
    }
}
