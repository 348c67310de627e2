//! `muster get pools|jobs|runners|prices`: what the running controller knows, one line each. All but prices have their
//! reason.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use muster_operations::prices::{BookView, PriceView};
use muster_reconciler::labels::listed;
use muster_reconciler::manifest::Os;
use muster_reconciler::view::{JobView, PoolView, RunnerView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ask::{ControllerUrl, Items, block_on};
use super::show::{self, Format, age};

/// The time between two requests with `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// `muster get`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to list.
    #[arg(value_enum)]
    kind: ListKind,
    /// For people (wide: with more columns), or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    /// Print again whenever something changed, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    /// List only what belongs to this pool.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    #[command(flatten)]
    ask: ControllerUrl,
}

/// The lists that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListKind {
    /// Pools.
    #[value(alias = "pool")]
    Pools,
    /// Jobs that are not over.
    #[value(alias = "job")]
    Jobs,
    /// Runners: instances and their registrations.
    #[value(alias = "runner")]
    Runners,
    /// What an hour of each instance type costs that the pools may launch, with source and date.
    #[value(alias = "price")]
    Prices,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let mut shown = String::new();
            loop {
                let text = self.look().await?;
                if text != shown {
                    show::print(&text)?;
                    shown = text;
                }
                if !self.watch {
                    return Ok(ExitCode::SUCCESS);
                }
                tokio::time::sleep(EVERY).await;
            }
        })
    }

    async fn look(&self) -> anyhow::Result<String> {
        match self.kind {
            ListKind::Pools => self.text(&self.list("pools").await?, pools),
            ListKind::Jobs => self.text(&self.list("jobs").await?, jobs),
            ListKind::Runners => self.text(&self.list("runners").await?, runners),
            ListKind::Prices => {
                anyhow::ensure!(self.pool.is_none(), "prices are not listed by pool; leave --pool out");
                let book: BookView = self.ask.get("prices").await?;
                Ok(show::machine(self.output, &book)?.unwrap_or_else(|| prices(&book)))
            }
        }
    }

    async fn list<T: DeserializeOwned>(&self, kind: &str) -> anyhow::Result<Vec<T>> {
        let pool = self.pool.as_ref().map(|pool| [("pool", pool)]);
        let pool =
            pool.map_or_else(|| Ok(String::new()), |pair| serde_urlencoded::to_string(pair).map(|text| format!("&{text}")))?;
        Ok(self.ask.get::<Items<T>>(&format!("{kind}?limit=100000{pool}")).await?.items)
    }

    fn text<T: Serialize>(&self, items: &[T], table: fn(&[T], bool) -> String) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct List<'a, T> {
            items: &'a [T],
        }
        let machine = show::machine(self.output, &List { items })?;
        Ok(machine.unwrap_or_else(|| table(items, self.output == Format::Wide)))
    }
}

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

fn pools(all: &[PoolView], wide: bool) -> String {
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

fn jobs(all: &[JobView], wide: bool) -> String {
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

fn prices(book: &BookView) -> String {
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

fn runners(all: &[RunnerView], wide: bool) -> String {
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
