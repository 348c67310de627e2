//! `muster get pools|jobs|runners|prices|all`: what the running controller knows, one line each. All but prices have their
//! reason.

mod filter;
mod tables;
mod wanted;

use std::process::ExitCode;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use muster_operations::prices::BookView;
use muster_operations::subject::Subject;
use muster_reconciler::view::{JobView, PoolView, RunnerView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ask::{ControllerUrl, Items, block_on};
use super::complete;
use super::fault::CliError;
use super::pasted;
use super::show::{self, Format};
use filter::Filters;
use wanted::Wanted;

/// The time between two requests with `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// `muster get`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// pools, jobs, runners, prices or all; or what to list of them, such as `pool NAME`, `job/ID` or the address of a job's page.
    #[arg(required = true, value_name = "WHAT", add = ArgValueCompleter::new(complete::lists))]
    what: Vec<String>,
    /// For people (wide: with more columns), or for programs.
    #[arg(long, short, default_value_t)]
    output: Format,
    /// Print again whenever something changed, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    ask: ControllerUrl,
}

/// The lists that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListKind {
    /// Pools.
    Pools,
    /// Jobs that are not over.
    Jobs,
    /// Runners: instances and their registrations.
    Runners,
    /// What an hour of each instance type costs that the pools may launch, with source and date.
    Prices,
}

impl ListKind {
    const fn as_str(self) -> &'static str {
        match self {
            ListKind::Pools => "pools",
            ListKind::Jobs => "jobs",
            ListKind::Runners => "runners",
            ListKind::Prices => "prices",
        }
    }
}

/// The lists that were asked for. None: a list was not asked for.
#[derive(Debug, Default, Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pools: Option<Vec<PoolView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<Vec<JobView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runners: Option<Vec<RunnerView>>,
}

impl Args {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        let wanted = Wanted::read(&self.what)?;
        self.filters.settle(&wanted.kinds)?;
        block_on(async {
            if let Some(pool) = &self.filters.pool {
                pasted::check_pool(&self.ask, pool).await?;
            }
            let mut shown = String::new();
            loop {
                let text = self.look(&wanted).await?;
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

    async fn look(&self, wanted: &Wanted) -> anyhow::Result<String> {
        if wanted.kinds == [ListKind::Prices] {
            let book: BookView = self.ask.get("prices").await?;
            let types = || book.types.iter().map(|price| price.instance_type.clone()).collect();
            return Ok(show::machine(&self.output, &book, types)?.unwrap_or_else(|| tables::prices(&book)));
        }
        let mut listing = Listing::default();
        for kind in &wanted.kinds {
            match kind {
                ListKind::Pools => listing.pools = Some(self.list("pools", |pool| self.filters.pool(pool)).await?),
                ListKind::Jobs => listing.jobs = Some(self.list("jobs", |job| self.filters.job(job)).await?),
                ListKind::Runners => listing.runners = Some(self.list("runners", |runner| self.filters.runner(runner)).await?),
                ListKind::Prices => {}
            }
        }
        if let Some(error) = self.filters.unknown_reason().filter(|_| listing.is_empty()) {
            return Err(error.into());
        }
        listing.keep(&wanted.named)?;
        listing.text(&self.output, wanted.named.len() == 1)
    }

    async fn list<T: DeserializeOwned>(&self, kind: &str, shown: impl Fn(&T) -> bool) -> anyhow::Result<Vec<T>> {
        let pool = self.filters.pool.as_ref().map(|pool| format!("&pool={pool}")).unwrap_or_default();
        let mut items = self.ask.get::<Items<T>>(&format!("{kind}?limit=100000{pool}")).await?.items;
        items.retain(shown);
        Ok(items)
    }
}

impl Listing {
    fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    /// What is listed, in the form in which other commands take it.
    fn names(&self) -> Vec<String> {
        let pools = self.pools.iter().flatten().map(|pool| Subject::Pool(pool.name.clone()));
        let jobs = self.jobs.iter().flatten().map(|job| Subject::Job(job.id));
        let runners = self.runners.iter().flatten().map(|runner| Subject::Runner(runner.instance.clone()));
        pools.chain(jobs).chain(runners).map(|subject| subject.to_string()).collect()
    }

    /// Keeps what was named. Nothing named: everything stays. Something that is not there is an error.
    fn keep(&mut self, named: &[Subject]) -> Result<(), CliError> {
        if named.is_empty() {
            return Ok(());
        }
        let there = self.names();
        if let Some(missing) = named.iter().find(|subject| !there.contains(&subject.to_string())) {
            return Err(self.missing(missing));
        }
        self.pools.iter_mut().for_each(|all| all.retain(|pool| named.contains(&Subject::Pool(pool.name.clone()))));
        self.jobs.iter_mut().for_each(|all| all.retain(|job| named.contains(&Subject::Job(job.id))));
        self.runners.iter_mut().for_each(|all| all.retain(|runner| named.contains(&Subject::Runner(runner.instance.clone()))));
        Ok(())
    }

    fn missing(&self, subject: &Subject) -> CliError {
        match subject {
            Subject::Pool(name) => {
                let names: Vec<String> = self.pools.iter().flatten().map(|pool| pool.name.clone()).collect();
                pasted::no_pool(name, &names)
            }
            other => CliError::Unknown(format!(
                "{other} is not in this list: {}; `muster explain {other}` says more of what is over",
                other.unknown()
            )),
        }
    }

    /// The lists as a text. `one`: a single thing was named, and programs get the thing itself instead of a list.
    fn text(&self, format: &Format, one: bool) -> anyhow::Result<String> {
        let machine = match self {
            Listing { pools: Some(pools), jobs: None, runners: None } => self.machine(format, pools, one),
            Listing { pools: None, jobs: Some(jobs), runners: None } => self.machine(format, jobs, one),
            Listing { pools: None, jobs: None, runners: Some(runners) } => self.machine(format, runners, one),
            several => show::machine(format, several, || self.names()),
        };
        Ok(machine?.unwrap_or_else(|| self.tables(*format == Format::Wide)))
    }

    fn machine<T: Serialize>(&self, format: &Format, items: &[T], one: bool) -> anyhow::Result<Option<String>> {
        #[derive(Serialize)]
        struct List<'a, T> {
            items: &'a [T],
        }
        match items {
            [item] if one => show::machine(format, item, || self.names()),
            _ => show::machine(format, &List { items }, || self.names()),
        }
    }

    fn tables(&self, wide: bool) -> String {
        let pools = self.pools.as_ref().map(|all| tables::pools(all, wide));
        let jobs = self.jobs.as_ref().map(|all| tables::jobs(all, wide));
        let runners = self.runners.as_ref().map(|all| tables::runners(all, wide));
        [pools, jobs, runners].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}
