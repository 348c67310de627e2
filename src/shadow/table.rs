//! The report for people: what was found first, then the waits, the cost, and what is not known.

use std::time::Duration;

use muster_reconciler::reason::count;
use muster_reconciler::time::human;

use super::report::{LongerWait, ShadowCost, ShadowReport, WastedBox};
use crate::simulate::cost::Cost;
use crate::simulate::table::{line, plain_table};

/// How many rows of each finding are printed.
const ROWS: usize = 20;

/// The whole report.
pub fn print(report: &ShadowReport) -> String {
    let mut out = format!("The fleet from {} to {}, beside the one that muster would have had\n", report.from, report.until);
    let (jobs, compared) = (count(report.jobs, "job"), report.compared);
    line(&mut out, &format!("{jobs} heard of, {compared} compared"));
    out += "\nFOUND\n";
    let rows = |rows: &Option<Vec<WastedBox>>| rows.as_ref().map(Vec::len);
    for (n, one, what) in [
        (Some(report.longer.len()), "job", "waited longer than it would have"),
        (Some(report.lost.len()), "job", "was lost: no runner took it, and GitHub gave it up after 24 hours"),
        (report.killed.as_ref().map(Vec::len), "job", "had its instance ended under it"),
        (rows(&report.leaked), "instance", "was up without a connected runner"),
        (rows(&report.idle), "instance", "stood idle"),
    ] {
        let number = n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        line(&mut out, &format!("{number:>6}  {}", plural(n.unwrap_or_default(), one, what)));
    }
    waits(&mut out, report);
    longer(&mut out, &report.longer);
    let lost = report.lost.iter().map(|lost| {
        let would = lost.would.map_or_else(|| "never".to_owned(), seconds);
        vec![lost.job.to_string(), lost.repo.clone(), lost.queued_at.clone(), would]
    });
    section(&mut out, "JOBS LOST", &["JOB", "REPOSITORY", "QUEUED", "WOULD START AFTER"], lost.collect());
    let killed = report.killed.iter().flatten();
    let killed = killed.map(|k| vec![k.job.to_string(), k.repo.clone(), k.instance.clone(), k.at.clone(), k.why.to_owned()]);
    section(&mut out, "JOBS KILLED", &["JOB", "REPOSITORY", "INSTANCE", "GONE BY", "WHY"], killed.collect());
    for (title, rows) in [("INSTANCES LEAKED", &report.leaked), ("INSTANCES IDLE", &report.idle)] {
        section(&mut out, title, &["INSTANCE", "TYPE", "SINCE", "FOR", ""], rows.iter().flatten().map(wasted).collect());
    }
    cost(&mut out, &report.cost);
    for (title, said) in [("NOT KNOWN", &report.unknown), ("ASSUMED OF MUSTER'S FLEET", &report.assumptions)] {
        if !said.is_empty() {
            out += &format!("\n{title}\n");
            said.iter().for_each(|said| line(&mut out, &format!("- {said}")));
        }
    }
    out
}

/// `job was lost`, `jobs were lost`.
fn plural(n: usize, one: &str, what: &str) -> String {
    if n == 1 {
        return format!("{one} {what}");
    }
    let what = match what.split_once(' ') {
        Some(("was", rest)) => format!("were {}", rest.replace("took it", "took them").replace("gave it", "gave them")),
        Some(("had", rest)) => {
            format!("had {}", rest.replace("its instance", "their instances").replace("under it", "under them"))
        }
        _ => what.replace("it would", "they would"),
    };
    format!("{one}s {what}")
}

fn seconds(seconds: u64) -> String {
    human(Duration::from_secs(seconds)).to_string().replace("0ms", "0s")
}

fn waits(out: &mut String, report: &ShadowReport) {
    *out += "\nWAITS of the compared jobs that started\n";
    let [theirs, ours] = report.waits;
    let row =
        |name: &str, w: super::report::WaitFigures| [name.to_owned(), seconds(w.p50), seconds(w.p90), seconds(w.max)].to_vec();
    plain_table(out, &["", "HALF", "9 OF 10", "ALL"], [row("this fleet", theirs), row("muster, on paper", ours)]);
    if report.shorter > 0 {
        let jobs = count(report.shorter, "job");
        line(out, &format!("{jobs} would have waited longer with muster"));
    }
}

fn longer(out: &mut String, rows: &[LongerWait]) {
    let row = |wait: &LongerWait| {
        let then = if wait.then == "ended" { "ended without a runner" } else { "" };
        [
            wait.job.to_string(),
            wait.repo.clone(),
            wait.queued_at.clone(),
            seconds(wait.waited),
            seconds(wait.would),
            then.to_owned(),
        ]
        .to_vec()
    };
    section(
        out,
        "JOBS THAT WAITED LONGER",
        &["JOB", "REPOSITORY", "QUEUED", "WAITED", "WOULD HAVE", ""],
        rows.iter().map(row).collect(),
    );
}

fn wasted(row: &WastedBox) -> Vec<String> {
    let still = if row.still { "and goes on" } else { "" };
    [row.instance.clone(), row.instance_type.clone(), row.since.clone(), seconds(row.seconds), still.to_owned()].to_vec()
}

fn section(out: &mut String, title: &str, heads: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    *out += &format!("\n{title}\n");
    let more = rows.len().saturating_sub(ROWS);
    plain_table(out, heads, rows.into_iter().take(ROWS));
    if more > 0 {
        line(out, &format!("and {more} more; -o json has all"));
    }
}

fn cost(out: &mut String, cost: &ShadowCost) {
    *out += &format!("\nCOST in {}, by the prices of {}\n", cost.currency, cost.source);
    let row = |name: &str, cost: Option<&Cost>| {
        let hours = |cost: &Cost| cost.by_market.values().map(|market| market.hours).sum::<f64>();
        let known = |cost: &Cost| cost.coverage.is_none_or(|share| share > 0.0);
        let (long, sum) = match cost {
            None => ("not known".to_owned(), "not known".to_owned()),
            Some(cost) if !known(cost) => (format!("{:.1}", hours(cost)), "not known".to_owned()),
            Some(cost) => (format!("{:.1}", hours(cost)), format!("{:.2}", cost.total)),
        };
        vec![name.to_owned(), long, sum]
    };
    let rows = [row("this fleet", cost.theirs.as_ref()), row("muster, on paper", Some(&cost.ours))];
    plain_table(out, &["", "HOURS", "COST"], rows);
}
