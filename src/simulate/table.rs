//! The answer for people: tables as wide as a terminal, with one section for each question.

use std::fmt::Write;
use std::time::Duration;

use muster_reconciler::reason::count;
use muster_reconciler::time::human;
use muster_simulator::tally::Doing;

use super::answer::{Compared, ForecastAnswer, ForecastRow, ForecastRun, Unit, Unserved};
use crate::plot::seconds;

/// The whole answer.
pub fn print(answer: &ForecastAnswer) -> String {
    let mut out = format!("{}\n\n", answer.model);
    let asked = &answer.asked;
    let weather = format!("{:?}", asked.weather).to_lowercase();
    let jobs = if asked.jobs == 1 { "job" } else { "jobs" };
    line(&mut out, &format!("{} {jobs} of {}, {} to {}", number(asked.jobs as u64), asked.jobs_from, asked.from, asked.until));
    line(&mut out, &format!("{weather} weather, seed {}", asked.seed));
    for note in &asked.notes {
        line(&mut out, &format!("note: {note}"));
    }
    for (run, letter) in answer.runs.iter().zip(["A", "B"]) {
        let name = if answer.runs.len() > 1 { format!(" of {letter}") } else { String::new() };
        conclusions(&mut out, run, &name);
    }
    side_by_side(&mut out, answer);
    let sections = [waits, instances, hours, cost, api, trouble];
    for section in sections {
        for (run, letter) in answer.runs.iter().zip(["A", "B"]) {
            let name = if answer.runs.len() > 1 { format!(" of {letter}") } else { String::new() };
            section(&mut out, run, answer, &name);
        }
    }
    out += "\nASSUMED\n";
    for assumption in &answer.assumptions {
        line(&mut out, &format!("- {assumption}"));
    }
    out
}

fn conclusions(out: &mut String, run: &ForecastRun, name: &str) {
    if run.conclusions.is_empty() {
        return;
    }
    *out += &format!("\nWHAT STANDS OUT{name}\n");
    for said in &run.conclusions {
        line(out, &format!("- {said}"));
    }
}

fn side_by_side(out: &mut String, answer: &ForecastAnswer) {
    let [a, b] = answer.runs.as_slice() else { return };
    *out += &format!("\nSIDE BY SIDE: A is {}, B is {}\n", a.manifests, b.manifests);
    plain_table(out, &["", "A", "B", "CHANGE"], answer.comparison.iter().map(|c| compared(c, answer).to_vec()));
}

fn waits(out: &mut String, run: &ForecastRun, _: &ForecastAnswer, name: &str) {
    *out += &format!("\nQUEUE WAIT{name}: from queued at GitHub to taken by a runner\n");
    let cells = |r: &ForecastRow| {
        let w = r.wait_seconds;
        let waits = [w.p50, w.p90, w.p99, w.max].map(|s| wait(r, s));
        [vec![r.pool.clone(), number(r.jobs)], waits.to_vec(), vec![number(r.unstarted), number(r.elsewhere)]].concat()
    };
    plain_table(out, &["POOL", "JOBS", "P50", "P90", "P99", "MAX", "NEVER", "ELSEWHERE"], rows(run).map(cells));
    if run.total.elsewhere > 0 {
        line(out, "elsewhere: on a runner of another pool, whose labels hold the job's: GitHub's rule, whatever `matching` says");
    }
}

fn instances(out: &mut String, run: &ForecastRun, _: &ForecastAnswer, name: &str) {
    *out += &format!("\nINSTANCES{name}, over {} simulated hours\n", decimal(run.simulated_hours));
    let cells = |r: &ForecastRow| {
        let peak_at = r.peak_at.as_deref().map_or("-", |at| at.get(5..16).unwrap_or(at)).replace('T', " ");
        let hours = |market: &str| decimal(r.instance_hours.get(market).copied().unwrap_or_default());
        vec![
            r.pool.clone(),
            number(r.instances),
            number(r.peak_instances),
            peak_at,
            hours("spot"),
            hours("on-demand"),
            r.cost.map_or_else(|| "-".into(), decimal),
            number(r.never_online),
            number(r.taken_back),
            number(r.lost),
        ]
    };
    let heads =
        ["POOL", "LAUNCHED", "PEAK", "AT (UTC)", "SPOT H", "ON-DEMAND H", "COST", "NEVER ONLINE", "TAKEN BACK", "JOBS LOST"];
    plain_table(out, &heads, rows(run).map(cells));
}

fn hours(out: &mut String, run: &ForecastRun, _: &ForecastAnswer, name: &str) {
    *out += &format!("\nWHAT INSTANCES DID{name}, in hours; waste is the share of their time without a job\n");
    let cells = |r: &ForecastRow| {
        let mut cells = vec![r.pool.clone()];
        cells.extend(Doing::ALL.iter().map(|d| decimal(r.hours.get(d.as_str()).copied().unwrap_or_default())));
        cells.push(percent(r.waste));
        cells
    };
    plain_table(out, &["POOL", "STARTING", "BOOTING", "IDLE", "WORKING", "ENDING", "WASTE"], rows(run).map(cells));
}

fn cost(out: &mut String, run: &ForecastRun, answer: &ForecastAnswer, name: &str) {
    let prices = &answer.prices;
    *out += &format!("\nESTIMATED COST{name}, {} at prices of {}\n", prices.currency, prices.as_of);
    let cell = |market: &str, hours, priced, cost| vec![market.to_owned(), decimal(hours), decimal(priced), decimal(cost)];
    let mut all: Vec<Vec<String>> =
        run.cost.by_market.iter().map(|(name, m)| cell(name, m.hours, m.priced_hours, m.cost)).collect();
    let sum = run.cost.by_market.values().fold((0.0, 0.0), |(h, p), m| (h + m.hours, p + m.priced_hours));
    all.push(cell("all", sum.0, sum.1, run.cost.total));
    plain_table(out, &["MARKET", "HOURS", "WITH A PRICE", "COST"], all);
    line(out, &format!("prices: {}", prices.source));
    if let Some(coverage) = run.cost.coverage {
        line(out, &format!("{} of the hours have a price", percent(coverage)));
    }
    if !run.cost.unpriced.is_empty() {
        let list: Vec<String> = run.cost.unpriced.iter().map(|(what, h)| format!("{what} {} h", decimal(*h))).collect();
        line(out, &format!("without a price: {}", list.join(", ")));
    }
}

fn api(out: &mut String, run: &ForecastRun, _: &ForecastAnswer, name: &str) {
    *out += &format!("\nAPI CALLS{name}\n");
    let cells = |a: &super::answer::ApiCalls| vec![format!("{} {}", a.service, a.api), number(a.calls), number(a.throttled)];
    plain_table(out, &["API", "CALLS", "THROTTLED"], run.api.iter().map(cells));
}

fn trouble(out: &mut String, run: &ForecastRun, _: &ForecastAnswer, name: &str) {
    unserved(out, &format!("JOBS THAT NO POOL TAKES{name}"), &run.unrouted);
    if run.unrouted_but_run > 0 {
        let jobs = number(run.unrouted_but_run);
        line(
            out,
            &format!("{jobs} of them ran nevertheless: a runner's labels fit by GitHub's rule, though no pool counts them"),
        );
    }
    unserved(out, &format!("JOBS THAT NEVER STARTED{name}"), &run.unstarted);
    *out += &format!("\nINTERRUPTIONS AND RERUNS{name}\n");
    let t = &run.total;
    line(out, &format!("instances that spot took back: {} of {}", number(t.taken_back), number(t.instances)));
    let again = match run.reruns {
        0 if t.lost == 0 => String::new(),
        0 => "; nobody reran them".into(),
        n => format!("; {} were queued again, and count as jobs of their own", number(n)),
    };
    let (lost, to_spot) = (number(t.lost), number(t.lost_to_spot));
    line(out, &format!("jobs lost with their instance: {lost}, {to_spot} of them because spot took it back{again}"));
    for violation in &run.violations {
        line(out, &format!("\nA RULE WAS BROKEN{name}, so do not trust these figures; this is a bug of muster: {violation}"));
    }
}

fn unserved(out: &mut String, title: &str, list: &[Unserved]) {
    const MOST: usize = 10;
    if list.is_empty() {
        return;
    }
    *out += &format!("\n{title}\n");
    for u in list.iter().take(MOST) {
        line(out, &format!("{:>7}  {} (such as {})", number(u.jobs), u.reason, u.example));
    }
    if list.len() > MOST {
        let rest: u64 = list[MOST..].iter().map(|u| u.jobs).sum();
        let reasons = count(list.len() - MOST, "other reason");
        line(out, &format!("{:>7}  for {reasons}; -o json has the rest", number(rest)));
    }
}

/// The row of each pool, if there are several, and then the total.
fn rows(run: &ForecastRun) -> impl Iterator<Item = &ForecastRow> {
    let pools = if run.pools.len() > 1 { run.pools.as_slice() } else { &[] };
    pools.iter().chain(std::iter::once(&run.total))
}

/// Prints a table. The first column is aligned to the left, and the others to the right.
pub(crate) fn plain_table(out: &mut String, heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = std::iter::once(heads.iter().map(|h| (*h).to_owned()).collect()).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in &rows {
        let mut text = String::new();
        for (nth, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match nth {
                0 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        *out += text.trim_end();
        out.push('\n');
    }
}

pub(crate) fn line(out: &mut String, text: &str) {
    *out += "  ";
    *out += text;
    out.push('\n');
}

/// A wait, for people: `never` for a rank at which no job started, and `-` if there was no job.
pub(super) fn wait(row: &ForecastRow, seconds: Option<f64>) -> String {
    match seconds {
        Some(s) => human(Duration::from_secs_f64(s.round())).to_string(),
        None if row.jobs == 0 => "-".into(),
        None => "never".into(),
    }
}

/// A number with separators, such as `12,345`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && nth % 3 == first % 3 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with two decimals and separators.
pub(super) fn decimal(x: f64) -> String {
    let cents = (x.abs() * 100.0).round();
    let whole = (cents / 100.0).trunc();
    format!("{}{}.{:02}", if x < 0.0 && cents > 0.0 { "-" } else { "" }, number(whole as u64), (cents - whole * 100.0) as u64)
}

/// A share as a percentage, such as `12.3%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A figure of two runs, for people: its name, both values and the change.
pub(super) fn compared(figure: &Compared, answer: &ForecastAnswer) -> [String; 4] {
    let name = match figure.unit {
        Unit::Money => format!("{}, {}", figure.figure, answer.prices.currency),
        _ => figure.figure.to_owned(),
    };
    [name, value(figure.unit, figure.a), value(figure.unit, figure.b), change(figure)]
}

fn value(unit: Unit, value: Option<f64>) -> String {
    let Some(x) = value else { return if unit == Unit::Seconds { "never".into() } else { "-".into() } };
    match unit {
        Unit::Seconds => seconds(x),
        Unit::Count => number(x as u64),
        Unit::Hours | Unit::Money => decimal(x),
        Unit::Share => percent(x),
    }
}

/// The change from the first value to the second, in percent. For shares, it is in percentage points.
fn change(figure: &Compared) -> String {
    match (figure.a, figure.b) {
        (Some(a), Some(b)) if a == b => "=".into(),
        (Some(a), Some(b)) if figure.unit == Unit::Share => format!("{:+.1} points", (b - a) * 100.0),
        (Some(a), Some(b)) if a > 0.0 => match (b / a - 1.0) * 100.0 {
            less if less.abs() < 0.5 => "under 1%".into(),
            change => format!("{change:+.0}%"),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 7, 123, 1234, 123_456, 1_234_567].map(number), ["0", "7", "123", "1,234", "123,456", "1,234,567"]);
        assert_eq!([0.0, 0.005, 1234.5, 99.999].map(decimal), ["0.00", "0.01", "1,234.50", "100.00"]);
        assert_eq!(percent(0.1234), "12.3%");
        let (some, none) = (ForecastRow { jobs: 3, ..ForecastRow::default() }, ForecastRow::default());
        assert_eq!(wait(&some, Some(59.7)), "1m");
        assert_eq!((wait(&some, None), wait(&none, None)), ("never".into(), "-".into()));
    }

    #[test]
    fn changes_read_well() {
        let of = |unit, a, b| change(&Compared { figure: "x", unit, a, b });
        assert_eq!(of(Unit::Seconds, Some(100.0), Some(150.0)), "+50%");
        assert_eq!(of(Unit::Share, Some(0.5), Some(0.4)), "-10.0 points");
        assert_eq!([of(Unit::Count, Some(0.0), Some(3.0)), of(Unit::Count, Some(3.0), Some(3.0))], ["", "="]);
        assert_eq!(of(Unit::Seconds, Some(1.0), None), "");
        assert_eq!(of(Unit::Hours, Some(1000.0), Some(999.0)), "under 1%");
    }
}
