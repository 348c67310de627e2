//! The tables of `muster get`. A wide table has more columns, before the reason.

use muster_operations::prices::{BookView, PriceView};
use muster_reconciler::labels::listed;
use muster_reconciler::manifest::Os;
use muster_reconciler::view::{JobView, PoolView, RunnerView};

use crate::cli::show::{self, age};

/// The columns of a table. A wide table has more columns, before the reason.
fn columns(wide: bool, narrow: &[&'static str], more: &[&'static str]) -> Vec<&'static str> {
    let more = if wide { more } else { &[] };
    narrow.iter().chain(more).copied().chain(["REASON"]).collect()
}

fn row(wide: bool, mut cells: Vec<String>, more: Vec<String>, reason: &str) -> Vec<String> {
    cells.extend(if wide { more } else { Vec::new() });
    cells.push(reason.to_owned());
    cells
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".into())
}

/// Pools.
pub(super) fn pools(all: &[PoolView], wide: bool) -> String {
    let head = columns(wide, &["NAME", "STATE", "QUEUED", "WANTED", "SUPPLY", "MAX"], &["SCOPE", "LABELS", "RUNNERS"]);
    let rows = all.iter().map(|p| {
        let state = if p.paused { "paused" } else { "active" };
        let cells = vec![
            p.name.clone(),
            state.into(),
            p.queued.to_string(),
            p.wanted.to_string(),
            p.supply.to_string(),
            p.max.to_string(),
        ];
        let phases: Vec<String> = p.phases.iter().map(|(phase, n)| format!("{n} {phase}")).collect();
        let phases = if phases.is_empty() { "none".into() } else { phases.join(", ") };
        row(wide, cells, vec![p.scope.clone(), p.labels.join(","), phases], &p.why())
    });
    show::table(&head, &[2, 3, 4, 5], rows)
}

/// Jobs.
pub(super) fn jobs(all: &[JobView], wide: bool) -> String {
    let head =
        columns(wide, &["JOB", "STATE", "POOL", "AGE"], &["WHY", "REPOSITORY", "WORKFLOW / JOB", "BRANCH", "LABELS", "RUNNER"]);
    let rows = all.iter().map(|j| {
        let cells = vec![j.id.to_string(), j.state.to_string(), or_dash(j.pool.as_ref()), age(j.age_seconds)];
        let known = |text: &String| if text.is_empty() { "-".into() } else { text.clone() };
        let named = [j.why.clone(), j.repo.clone(), known(&j.title), known(&j.branch)];
        let more = named.into_iter().chain([listed(&j.labels, ","), or_dash(j.runner.as_ref())]).collect();
        row(wide, cells, more, &j.reason)
    });
    show::table(&head, &[], rows)
}

/// Prices.
pub(super) fn prices(book: &BookView) -> String {
    let hour = |price: &Option<PriceView>| match price {
        Some(price) => format!("{:.4} {}", price.hour, book.currency),
        None => "unknown".into(),
    };
    let from = |price: &Option<PriceView>| price.as_ref().map(|price| format!("{} of {}", price.source, price.as_of));
    let rows = book.types.iter().map(|t| {
        let mut sources: Vec<String> = [from(&t.on_demand), from(&t.spot)].into_iter().flatten().collect();
        sources.dedup();
        let os = if t.os == Os::Windows { "windows" } else { "linux" };
        let from = if sources.is_empty() { "-".into() } else { sources.join(", ") };
        vec![t.instance_type.clone(), os.into(), hour(&t.on_demand), hour(&t.spot), from]
    });
    let mut text = show::table(&["TYPE", "OS", "ON-DEMAND", "SPOT", "FROM"], &[2, 3], rows);
    text += &format!("\nprices that the pools need: {}, of which known: {}\n", book.wanted, book.known);
    for why in &book.trouble {
        text += &format!("{why}\n");
    }
    text
}

/// Runners.
pub(super) fn runners(all: &[RunnerView], wide: bool) -> String {
    let head = columns(wide, &["RUNNER", "POOL", "PHASE", "AGE"], &["TYPE", "MARKET", "JOB", "STAGES"]);
    let rows = all.iter().map(|r| {
        let cells = vec![r.instance.clone(), r.pool.clone(), r.phase.to_string(), age(r.age_seconds)];
        let stages: Vec<String> = r.stages.iter().map(|s| format!("{}={:.0}s", s.stage, s.after_seconds)).collect();
        let stages = if stages.is_empty() { "-".into() } else { stages.join(",") };
        let job = r.job.map_or_else(|| "-".into(), |job| job.to_string());
        row(
            wide,
            cells,
            vec![
                or_dash(r.instance_type.as_ref()),
                r.market.map_or_else(|| "-".into(), |market| market.to_string()),
                job,
                stages,
            ],
            &r.reason,
        )
    });
    show::table(&head, &[], rows)
}
