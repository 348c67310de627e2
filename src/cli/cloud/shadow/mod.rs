//! `muster run --shadow` ([`run`]) and `muster shadow report` ([`report`]): muster beside another system, before anything is moved over.

mod report;
pub(super) mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use muster_reconciler::manifest::{Problems, Text};
use muster_simulator::conditions::{Conditions, Overrides, Weather};

use crate::cli::examples;
use crate::simulate::workload;

/// `muster shadow`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: ShadowCommand,
}

#[derive(Debug, Subcommand)]
enum ShadowCommand {
    /// Print what went wrong in the other fleet, what both fleets cost, and what is not known; also while the shadow runs.
    #[command(after_help = examples::SHADOW)]
    Report(report::Args),
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            ShadowCommand::Report(args) => args.run(),
        }
    }
}

/// What is assumed of the world in which muster's fleet on paper runs: calm weather, except for what the file says.
fn conditions(world: Option<&Path>) -> anyhow::Result<Conditions> {
    let Some(path) = world else { return Ok(Conditions::new(Weather::Calm, &Overrides::default())) };
    let file = path.display().to_string();
    let body = std::fs::read_to_string(path).with_context(|| format!("failed to read the world {file}"))?;
    Ok(workload::read(&Text { file, body }, Weather::Calm, true).map_err(Problems)?.conditions)
}

/// Where the assumptions about the world are.
#[derive(Debug, clap::Args)]
struct WorldArgs {
    /// How fast muster's instances on paper start, and what goes wrong with them: the `world` of a file as for `muster simulate
    /// --workload`. Without it, nothing goes wrong.
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
}
