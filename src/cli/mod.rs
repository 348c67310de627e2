//! The command line, with one file for each subcommand. A new subcommand needs its module and its line in [`Command`], or in
//! `cloud::Command` if it needs AWS or GitHub.

mod app;
mod ask;
#[cfg(feature = "live")]
mod cloud;
mod complete;
mod demo;
mod events;
mod examples;
mod explain;
mod fault;
mod generate;
mod get;
mod health;
mod init;
mod logging;
mod matching;
mod pasted;
mod report;
mod schema;
mod show;
mod sim;
mod simulate;
mod steer;
mod stop;
mod top;
mod validate;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use fault::USAGE;
use muster_operations::terminal;

/// Keeps the right number of GitHub Actions runners on EC2 spot instances.
#[derive(Debug, Parser)]
#[command(name = "muster", version, arg_required_else_help = true, after_help = examples::PROGRAM)]
struct Cli {
    /// How logs are written, to stderr: text, json, or auto, which is JSON unless stderr is a terminal.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "MUSTER_LOG_FORMAT",
        hide_possible_values = true,
        help_heading = "Logs",
        display_order = 1000
    )]
    log_format: logging::LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "live")]
    #[command(flatten)]
    Cloud(cloud::CloudCommand),
    /// List pools, jobs or runners, each with its reason, or prices; asks the running controller.
    #[command(after_help = examples::GET)]
    Get(get::Args),
    /// Say where a job, a runner or a pool stands, why, what is awaited and what happened; asks the running controller.
    #[command(visible_alias = "describe", after_help = examples::EXPLAIN)]
    Explain(explain::Args),
    /// Print what was decided and what was heard; asks the running controller.
    #[command(after_help = examples::EVENTS)]
    Events(events::Args),
    /// Watch pools, jobs and runners on the terminal; asks the running controller.
    #[command(after_help = examples::TOP)]
    Top(top::Args),
    /// Exit with 0 if the running muster does its work, else with 1 and one line that says why; for health checks.
    #[command(after_help = examples::HEALTH)]
    Health(health::Args),
    /// Let a pool launch nothing until it is resumed; needs the token.
    #[command(after_help = examples::PAUSE)]
    Pause(steer::Args),
    /// Let a paused pool launch again; needs the token.
    #[command(alias = "unpause", after_help = examples::RESUME)]
    Resume(steer::Args),
    /// Ask a runner, or all runners of a pool, to end when idle; a job runs to its end. Needs the token.
    #[command(after_help = examples::DRAIN)]
    Drain(steer::Args),
    /// Have GitHub run a lost job again, or all lost jobs of a pool; needs the token.
    #[command(after_help = examples::RERUN)]
    Rerun(steer::Args),
    /// Write the files of a first cluster: manifests that are valid, and a Terraform root. Overwrites nothing.
    #[command(after_help = examples::INIT)]
    Init(init::Args),
    /// Make the GitHub App that muster needs, by one click in the browser, or print the link to GitHub's form.
    #[command(after_help = examples::APP)]
    App(app::Args),
    /// Watch the real controller at work on a simulated cloud and GitHub, in a browser. Needs no account and touches nothing.
    #[command(after_help = examples::DEMO)]
    Demo(demo::Args),
    /// Run the real controller in simulated worlds in which everything goes wrong, by seed, and report every broken invariant.
    #[command(after_help = examples::SIM)]
    Sim(sim::Args),
    /// Print what a directory of manifests would do with given jobs: waits, runners, cost. Needs no account and touches
    /// nothing.
    #[command(after_help = examples::SIMULATE)]
    Simulate(simulate::Args),
    /// Check manifests and print every problem, with its line and the way out.
    #[command(after_help = examples::VALIDATE)]
    Validate(validate::Args),
    /// Say which pool takes a job with these labels, and why the others do not.
    #[command(name = "match", after_help = examples::MATCH)]
    Matching(matching::Args),
    /// Print the version of this program.
    #[command(after_help = examples::VERSION)]
    Version,
    /// Print a script that completes muster's commands in a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions(generate::Completions),
    /// Write the manual pages.
    #[command(after_help = examples::MAN)]
    Man(generate::Man),
    /// Print the JSON Schema of a kind of manifest, for editors.
    #[command(after_help = examples::SCHEMA)]
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
            Command::Cloud(command) => command.run(),
            Command::Get(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Events(args) => args.run(),
            Command::Top(args) => args.run(),
            Command::Health(args) => args.run(),
            Command::Pause(args) => args.run("pause"),
            Command::Resume(args) => args.run("resume"),
            Command::Drain(args) => args.run("drain"),
            Command::Rerun(args) => args.run("rerun"),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::Init(args) => args.run(),
            Command::App(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::Sim(args) => args.run(),
            Command::Simulate(args) => args.run(),
            Command::Validate(args) => args.run(),
            Command::Matching(args) => args.run(),
            Command::Schema(args) => args.run(),
            Command::Version => {
                show::print(&format!("muster {}\n", env!("CARGO_PKG_VERSION")))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Parses the arguments and runs the subcommand. The exit code is 0 if it is done, 1 if it failed or found what it looks
/// for, 2 for wrong usage, 3 if there is no such thing, 4 if the token is missing or wrong, 5 if no controller answers, and
/// 6 for a wrong setting or manifest.
pub fn main() -> ExitCode {
    clap_complete::CompleteEnv::with_factory(Cli::command).var(generate::COMPLETE).complete();
    let cli = Cli::parse();
    let done = logging::init(cli.log_format).map_err(anyhow::Error::from).and_then(|()| cli.command.run());
    done.unwrap_or_else(|error| {
        terminal::say(&format!("muster: {error:#}"));
        ExitCode::from(fault::code(&error))
    })
}
