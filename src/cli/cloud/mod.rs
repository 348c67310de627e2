//! The commands that need AWS and GitHub.

mod cost;
mod doctor;
mod live;
mod plan;
mod replay;
mod run;
mod shadow;
mod sync;
mod tune;

use std::process::ExitCode;

use clap::Subcommand;
use muster_cloud::aws::Aws;
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_reconciler::manifest::{Problems, Text};

use super::ask;
use super::examples;
use super::fault::CliError;

#[derive(Debug, Subcommand)]
pub(super) enum CloudCommand {
    /// Run muster: take webhooks, reconcile runners, serve metrics and the live page.
    #[command(after_help = examples::RUN)]
    Run(run::Args),
    /// Print what a controller would do now, and why; change nothing.
    #[command(after_help = examples::PLAN)]
    Plan(plan::Args),
    /// Look at everything that muster needs (credentials, permissions, queues, bucket, App, webhook, quotas), and say what to do;
    /// change nothing. With --live, send a real job through it and write a report.
    #[command(after_help = examples::DOCTOR)]
    Doctor(doctor::Args),
    /// Copy the runner's releases that the pools need into the bucket, from which the instances load them.
    #[command(after_help = examples::SYNC)]
    Sync(sync::Args),
    /// Print who used the instances and what that cost, by pool and repository; reads what the controller records in the bucket.
    #[command(after_help = examples::COST)]
    Cost(cost::Args),
    /// Rebuild the controller as it was at some time, from its flight record, and ask it anything; or say what is decided otherwise.
    #[command(after_help = examples::REPLAY)]
    Replay(replay::Args),
    /// Look back at what a shadow (`muster run --shadow`) saw of another system's fleet.
    #[command(after_help = examples::SHADOW)]
    Shadow(shadow::Args),
    /// Search the settings of the pools with which jobs wait no longer than a goal says, in the simulator, and print what each costs.
    #[command(after_help = examples::TUNE)]
    Tune(tune::Args),
}

impl CloudCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            CloudCommand::Run(args) => args.run(),
            CloudCommand::Plan(args) => args.run(),
            CloudCommand::Doctor(args) => args.run(),
            CloudCommand::Sync(args) => args.run(),
            CloudCommand::Cost(args) => args.run(),
            CloudCommand::Replay(args) => args.run(),
            CloudCommand::Shadow(args) => args.run(),
            CloudCommand::Tune(args) => args.run(),
        }
    }
}

/// The name of a place, such as `s3://BUCKET/PREFIX`, and the manifests there, without a judgement.
pub(super) fn texts_in(place: &str) -> anyhow::Result<(String, Vec<Text>)> {
    let place: ManifestPlace = place.parse().unwrap_or_else(|never| match never {});
    let name = place.to_string();
    let texts = ask::block_on(async { Manifests::new(place, &Aws::connect(None).await).read().await.map_err(unreadable) })?;
    Ok((name, texts))
}

/// The error of manifests that cannot be read. It has the same kind as the error of manifests that are invalid.
fn unreadable(error: anyhow::Error) -> anyhow::Error {
    if error.is::<Problems>() { error } else { CliError::Config(format!("{error:#}")).into() }
}
