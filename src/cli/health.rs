//! `muster health`: whether a running muster does its work; for the health check of a container, which has no shell and no curl.

use std::process::ExitCode;
use std::time::Duration;

use super::ask::{Ask, block_on};

/// Less than the 5 s that ECS and Docker give a health check.
const PATIENCE: Duration = Duration::from_secs(4);

/// `muster health`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    ask: Ask,
}

impl Args {
    /// One line and 0 or 1, whatever is wrong: <https://docs.docker.com/reference/dockerfile/#healthcheck> reserves 2 and knows no more.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match block_on(self.ask.health(PATIENCE)) {
            Ok(()) => {
                println!("{} is alive", self.ask.place());
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                eprintln!("muster: {error:#}");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
