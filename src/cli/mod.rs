//! The command line: one file per subcommand. To add one, add its module and its line in [`Command`].

mod demo;
mod explain;
mod logging;
#[cfg(feature = "live")]
mod plan;
#[cfg(feature = "live")]
mod run;
mod schema;
mod sim;
mod simulate;
#[cfg(feature = "live")]
mod sync;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Exit code when the command was called in a way that cannot work.
const USAGE: u8 = 2;

/// Keeps the right number of GitHub Actions runners on EC2 spot instances.
#[derive(Debug, Parser)]
#[command(name = "muster", version, arg_required_else_help = true)]
struct Cli {
    /// How logs are written (to stderr): JSON unless stderr is a terminal.
    #[arg(long, global = true, value_enum, default_value_t, env = "MUSTER_LOG_FORMAT")]
    log_format: logging::LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run muster: take webhooks, reconcile runners, serve metrics and the dashboard.
    #[cfg(feature = "live")]
    Run(run::Args),
    /// Print what a controller would do now, and why; change nothing.
    #[cfg(feature = "live")]
    Plan(plan::Args),
    /// Say where a job, a runner or a pool stands, and why; asks the running controller.
    Explain(explain::Args),
    /// Copy the runner's releases that the pools need into the bucket, from which the boxes load them.
    #[cfg(feature = "live")]
    Sync(sync::Args),
    /// Watch the real controller at work on a simulated cloud and GitHub, in a browser. Needs no account and touches nothing.
    Demo(demo::Args),
    /// Run the real controller in simulated worlds in which everything goes wrong, by seed; prove it, or find the fault.
    Sim(sim::Args),
    /// Ask what a directory of manifests would do with given jobs: waits, boxes, cost. Needs no account and touches nothing.
    Simulate(simulate::Args),
    /// Check a directory of manifests and print every problem.
    Validate(validate::Args),
    /// Print the JSON Schema of a kind of manifest, for editors.
    Schema(schema::Args),
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            #[cfg(feature = "live")]
            Command::Run(args) => args.run(),
            #[cfg(feature = "live")]
            Command::Plan(args) => args.run(),
            Command::Explain(args) => args.run(),
            #[cfg(feature = "live")]
            Command::Sync(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::Sim(args) => args.run(),
            Command::Simulate(args) => args.run(),
            Command::Validate(args) => args.run(),
            Command::Schema(args) => args.run(),
        }
    }
}

/// Parses the arguments and runs the subcommand. 0: done; 1: it failed, or found what it looks for; 2: wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.log_format);
    cli.command.run().unwrap_or_else(|error| {
        eprintln!("muster: {error:#}");
        ExitCode::FAILURE
    })
}
