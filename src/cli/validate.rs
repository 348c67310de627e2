//! `muster validate DIR`: every problem of a directory's manifests, or what they say in one line each.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use muster_reconciler::manifest::{Problems, RunnerPool, Spec};

use super::USAGE;
use crate::config;

/// `muster validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory; its *.yaml and *.yml are read, subdirectories are not.
    dir: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if !self.dir.is_dir() {
            eprintln!("muster: {} is no directory; name the one that holds the manifests", self.dir.display());
            return Ok(ExitCode::from(USAGE));
        }
        match config::load_dir(&self.dir) {
            Ok(spec) => match summary(&spec, &mut io::stdout()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(ExitCode::SUCCESS),
            },
            // Bare lines, so that editors and scripts can read FILE:LINE.
            Err(error) if error.is::<Problems>() => {
                eprintln!("{error}");
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error),
        }
    }
}

fn summary(spec: &Spec, out: &mut impl Write) -> io::Result<()> {
    let controller = &spec.controller.spec;
    let region = controller.region.as_deref().unwrap_or("region from the environment");
    writeln!(out, "Controller {}: {region}, jobs from {}", spec.controller.cluster(), controller.queues.jobs)?;
    for (name, app) in &spec.apps {
        writeln!(out, "GitHubApp {name}: id {} at {}, key in {}", app.spec.app_id, app.spec.api_url, app.spec.private_key)?;
    }
    for (name, token) in &spec.tokens {
        writeln!(out, "GitHubToken {name}: at {}, token in {}", token.spec.api_url, token.spec.token)?;
    }
    for (name, pool) in &spec.pools {
        writeln!(out, "RunnerPool {name}: {}", said(pool))?;
    }
    Ok(())
}

fn said(pool: &RunnerPool) -> String {
    let RunnerPool { spec, .. } = pool;
    let schedules = match spec.capacity.schedules.len() {
        0 => String::new(),
        1 => " (1 schedule)".into(),
        n => format!(" ({n} schedules)"),
    };
    let lifetime = if pool.ephemeral() { "ephemeral" } else { "reusable" };
    let (idle, max) = (spec.capacity.idle, spec.capacity.max);
    format!("{}, [{}], {lifetime}, idle {idle}{schedules}, max {max}", spec.github.scope, spec.labels.join(", "))
}
