//! `muster schema KIND`: the JSON Schema of a kind of manifest.

use std::process::ExitCode;

use muster_operations::terminal;
use muster_reconciler::manifest::{KINDS, schema};

use super::{USAGE, show};

/// `muster schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Controller, GitHubApp, GitHubToken or RunnerPool (in any case).
    kind: String,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let kind = KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(&self.kind));
        let Some(schema) = kind.and_then(schema) else {
            terminal::say(&format!("muster: there is no kind `{}`; write one of {}", self.kind, KINDS.join(", ")));
            return Ok(ExitCode::from(USAGE));
        };
        show::print(&format!("{schema:#}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
