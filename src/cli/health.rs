//! `muster health`: whether a running muster does its work. It serves the health check of a container that has no shell and
//! no curl.

use std::process::ExitCode;
use std::time::Duration;

use muster_operations::terminal;

use super::ask::{ControllerUrl, block_on};
use super::show;

/// The longest wait. ECS and Docker give a health check 5 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// `muster health`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    ask: ControllerUrl,
}

impl Args {
    /// Prints one line, and ends with 0 or 1 whatever is wrong. <https://docs.docker.com/reference/dockerfile/#healthcheck>
    /// reserves 2, and gives no other code a meaning.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match block_on(self.ask.health(PATIENCE)) {
            Ok(()) => {
                show::print(&format!("{} is alive\n", self.ask.place()?))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                terminal::say(&format!("muster: {error:#}"));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
