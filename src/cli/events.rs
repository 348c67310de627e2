//! `muster events`: what the controller decided and heard, oldest first.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap_complete::engine::ArgValueCompleter;
use muster_operations::subject::Subject;
use muster_reconciler::manifest::Span;
use muster_reconciler::view::EventView;
use serde::Deserialize;

use super::ask::{ControllerUrl, block_on};
use super::complete;
use super::explain::whom;
use super::fault::CliError;
use super::pasted::{self, pool_name};
use super::show::{self, Format, when};

/// The time between two requests with `--follow`.
const EVERY: Duration = Duration::from_secs(1);
/// The most events of one request.
const LIMIT: usize = 20_000;

/// `muster events`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only the events of this job, runner or pool, in the forms that `muster explain` takes.
    #[arg(num_args = 0..=2, value_name = "WHAT", add = ArgValueCompleter::new(complete::subjects))]
    what: Vec<String>,
    /// Go on with what happens next, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Print this many of the last events.
    #[arg(long, short = 'n', default_value_t = 100)]
    last: usize,
    /// Print only the events of this pool.
    #[arg(long, value_name = "NAME", value_parser = pool_name, add = ArgValueCompleter::new(complete::pools))]
    pool: Option<String>,
    /// Print only what happened within this time, such as 10m.
    #[arg(long, value_name = "DURATION")]
    since: Option<Span>,
    /// For people, or one JSON object a line.
    #[arg(long, short, default_value_t)]
    output: Format,
    #[command(flatten)]
    ask: ControllerUrl,
}

#[derive(Deserialize)]
struct Events {
    items: Vec<EventView>,
    last: u64,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let subject: Option<Subject> = match self.what.join("/") {
            nothing if nothing.is_empty() => None,
            typed => Some(typed.parse().map_err(CliError::Usage)?),
        };
        block_on(async {
            let named = match &subject {
                Some(Subject::Pool(name)) => Some(name),
                _ => None,
            };
            for pool in self.pool.iter().chain(named) {
                pasted::check_pool(&self.ask, pool).await?;
            }
            let mut first = self.after(0).await?;
            let mut seen = first.last;
            if let Some(since) = self.since {
                let from = now_of(&first.items).saturating_sub(u64::try_from(since.get().as_millis()).unwrap_or(u64::MAX));
                first.items.retain(|event| event.at >= from);
            }
            first.items.retain(|event| self.shows(event, subject.as_ref()));
            let skip = first.items.len().saturating_sub(self.last);
            self.print(&first.items[skip..])?;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            loop {
                tokio::time::sleep(EVERY).await;
                let mut next = self.after(seen).await?;
                // Each process numbers its events from 1.
                if next.last < seen {
                    next = self.after(0).await?;
                }
                next.items.retain(|event| self.shows(event, subject.as_ref()));
                self.print(&next.items)?;
                seen = next.last;
            }
        })
    }

    async fn after(&self, seq: u64) -> anyhow::Result<Events> {
        self.ask.get(&format!("events?after={seq}&limit={LIMIT}")).await
    }

    fn shows(&self, event: &EventView, subject: Option<&Subject>) -> bool {
        let about = subject.is_none_or(|subject| match subject {
            Subject::Job(id) => event.job == Some(*id),
            Subject::Runner(id) => event.instance.as_ref() == Some(id),
            Subject::Pool(name) => event.pool.as_ref() == Some(name),
        });
        about && (self.pool.is_none() || event.pool == self.pool)
    }

    fn print(&self, events: &[EventView]) -> anyhow::Result<()> {
        let line = |e: &EventView| match &self.output {
            Format::Table | Format::Wide => Ok(format!("{}  {:<14}  {}  {}\n", when(e.at), e.what, whom(e, ""), e.why)),
            Format::Json => serde_json::to_string(e).map(|json| json + "\n").map_err(Into::into),
            format => {
                let text = show::machine(format, e, || vec![whom(e, "")])?.unwrap_or_default();
                Ok(if *format == Format::Yaml { format!("---\n{text}") } else { text })
            }
        };
        let lines: anyhow::Result<Vec<String>> = events.iter().map(line).collect();
        show::print(&lines?.concat())
    }
}

/// The present, in milliseconds since 1970. The clock of a demo runs ahead of this machine's, and then the last event counts.
fn now_of(events: &[EventView]) -> u64 {
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let last = events.last().map_or(0, |event| event.at);
    last.max(u64::try_from(here).unwrap_or(0))
}
