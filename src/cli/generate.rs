//! `muster completions SHELL` and `muster man DIR`. Both are made from the commands themselves, so they cannot differ from
//! them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, show};

/// `muster completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell; put the output where this shell looks for completions.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "muster", &mut text);
        show::print(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `muster man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The directory; `muster.1` and a page for each command are written there.
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("failed to make the directory {}", self.dir.display()))?;
        clap_mangen::generate_to(Cli::command(), &self.dir)
            .with_context(|| format!("failed to write the pages to {}", self.dir.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
