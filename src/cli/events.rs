//! `muster events`: what the controller decided and heard, oldest first.

use std::process::ExitCode;
use std::time::Duration;

use muster_reconciler::view::EventView;
use serde::Deserialize;

use super::ask::{ControllerUrl, block_on};
use super::explain::whom;
use super::show::{self, Format, when};

/// The time between two requests with `--follow`.
const EVERY: Duration = Duration::from_secs(1);
/// The most events of one request.
const LIMIT: usize = 20_000;

/// `muster events`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on with what happens next, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Print this many of the last events.
    #[arg(long, short = 'n', default_value_t = 100)]
    last: usize,
    /// Print only the events of this pool.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// For people, or one JSON object a line.
    #[arg(long, short, value_enum, default_value_t)]
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
        block_on(async {
            let first = self.after(0).await?;
            let mut seen = first.last;
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
                self.print(&next.items)?;
                seen = next.last;
            }
        })
    }

    async fn after(&self, seq: u64) -> anyhow::Result<Events> {
        let mut events: Events = self.ask.get(&format!("events?after={seq}&limit={LIMIT}")).await?;
        events.items.retain(|e| self.pool.is_none() || e.pool == self.pool);
        Ok(events)
    }

    fn print(&self, events: &[EventView]) -> anyhow::Result<()> {
        let line = |e: &EventView| match self.output {
            Format::Table | Format::Wide => Ok(format!("{}  {:<14}  {}  {}\n", when(e.at), e.what, whom(e, ""), e.why)),
            Format::Json => serde_json::to_string(e).map(|json| json + "\n").map_err(Into::into),
            Format::Yaml => show::machine(Format::Yaml, e).map(|text| format!("---\n{}", text.unwrap_or_default())),
        };
        let lines: anyhow::Result<Vec<String>> = events.iter().map(line).collect();
        show::print(&lines?.concat())
    }
}
