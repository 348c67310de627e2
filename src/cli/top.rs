//! `muster top`: pools, jobs and runners on a terminal, drawn anew every two seconds.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use console::Term;
use muster_operations::meter::CostView;
use muster_operations::terminal;
use muster_reconciler::event::JobState;
use muster_reconciler::runner::Phase;
use muster_reconciler::view::{JobView, RunnerView, Snapshot};
use serde::Deserialize;

use super::ask::{ControllerUrl, block_on};
use super::show::{self, age};
use crate::http::live_view::{attention, state_rank};

/// The time between two requests.
const EVERY: Duration = Duration::from_secs(2);
/// The number of lines if the height of the terminal is not known.
const LINES: usize = 40;

/// `muster top`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print once and end. This is the default when the output is no terminal.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    ask: ControllerUrl,
}

#[derive(Deserialize)]
struct Now {
    snapshot: Snapshot,
    cost: CostView,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let term = Term::stdout();
        let once = self.once || !term.is_term();
        block_on(async {
            loop {
                let now: Now = self.ask.get("snapshot").await?;
                let (height, width) = term.size_checked().map_or((LINES, usize::MAX), |(h, w)| (h.into(), w.into()));
                let text = draw(&now, height, width)?;
                if once {
                    show::print(&text)?;
                    return Ok(ExitCode::SUCCESS);
                }
                term.clear_screen()?;
                term.write_str(&terminal::visible(&text))?;
                tokio::time::sleep(EVERY).await;
            }
        })
    }
}

/// As many lines as fit: first the pools, and then jobs and runners with half of the remaining lines each.
fn draw(now: &Now, height: usize, width: usize) -> anyhow::Result<String> {
    let Now { snapshot: s, cost } = now;
    let (queued, running) = (in_state(s, JobState::Queued), in_state(s, JobState::InProgress));
    let runners = s.runners.iter().filter(|r| r.phase != Phase::Gone).count();
    let word = if runners == 1 { "runner" } else { "runners" };
    let mut text = String::new();
    write!(
        text,
        "{} UTC  {queued} {} queued, {running} running; {runners} {word}",
        show::when(s.now),
        if queued == 1 { "job" } else { "jobs" }
    )?;
    if !cost.prices.is_empty() {
        write!(text, "; {:.2} {} today, estimated", cost.total, cost.currency)?;
    }
    text += "\n\n";
    let pools = s.pools.iter().map(|p| {
        let state = if p.paused { "paused" } else { "" };
        let number = |n: u32| n.to_string();
        vec![p.name.clone(), number(p.queued), number(p.wanted), number(p.supply), number(p.max), state.into(), p.why()]
    });
    text += &show::table(&["POOL", "QUEUED", "WANTED", "SUPPLY", "MAX", "", "WHY"], &[1, 2, 3, 4], pools);
    let left = height.saturating_sub(text.lines().count() + 6).max(4);
    let mut jobs: Vec<&JobView> = s.jobs.iter().collect();
    jobs.sort_by_key(|j| (state_rank(j.state), std::cmp::Reverse(j.age_seconds)));
    let rows = jobs.iter().take(left / 2).map(|j| {
        vec![j.id.to_string(), j.state.to_string(), j.pool.clone().unwrap_or_default(), age(j.age_seconds), j.reason.clone()]
    });
    text += &format!("\n{}", show::table(&["JOB", "STATE", "POOL", "AGE", "WHY"], &[], rows));
    let mut runners: Vec<&RunnerView> = s.runners.iter().collect();
    runners.sort_by_key(|r| (attention(r.phase), r.age_seconds));
    let rows = runners
        .iter()
        .take(left / 2)
        .map(|r| vec![r.instance.clone(), r.phase.to_string(), r.pool.clone(), age(r.age_seconds), r.reason.clone()]);
    text += &format!("\n{}", show::table(&["RUNNER", "PHASE", "POOL", "AGE", "WHY"], &[], rows));
    Ok(text.lines().map(|line| line.chars().take(width).collect::<String>() + "\n").collect())
}

fn in_state(s: &Snapshot, state: JobState) -> usize {
    s.jobs.iter().filter(|j| j.state == state).count()
}
