//! `muster doctor`: checks everything that muster needs. It prints one line for each check, with what to do about a
//! problem.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use muster_cloud::aws::Aws;
use muster_cloud::doctor::{self, Finding, Verdict};
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_reconciler::manifest::Spec;
use muster_reconciler::reason::count;
use serde::Serialize;
use tokio::time::timeout;

use super::live::LiveTest;
use super::unreadable;
use crate::cli::ask::block_on;
use crate::cli::{Output, show};

/// The longest wait for the manifests.
const PATIENCE: Duration = Duration::from_secs(15);

/// `muster doctor`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory of the manifests, or s3://BUCKET/PREFIX.
    #[arg(long, env = "MUSTER_MANIFESTS")]
    manifests: ManifestPlace,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t, conflicts_with = "live")]
    output: Output,
    #[command(flatten)]
    live: LiveTest,
}

/// The answer, for both printers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DoctorAnswer {
    ok: usize,
    warnings: usize,
    failed: usize,
    not_checked: usize,
    checks: Vec<Finding>,
}

impl DoctorAnswer {
    fn of(checks: Vec<Finding>) -> DoctorAnswer {
        let count = |verdict| checks.iter().filter(|found| found.verdict == verdict).count();
        let (ok, warnings) = (count(Verdict::Ok), count(Verdict::Warning));
        DoctorAnswer { ok, warnings, failed: count(Verdict::Failed), not_checked: count(Verdict::NotChecked), checks }
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.live.live {
            return block_on(async { self.live.run(&self.spec().await?, self.manifests.base()).await });
        }
        let answer = block_on(self.answer())?;
        match self.output {
            Output::Json => show::print(&(serde_json::to_string_pretty(&answer)? + "\n"))?,
            Output::Table => show::print(&table(&answer))?,
        }
        Ok(if answer.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn spec(&self) -> anyhow::Result<Spec> {
        let mut manifests = Manifests::new(self.manifests.clone(), &Aws::connect(None).await);
        let read = timeout(PATIENCE, manifests.load()).await;
        let read = read.unwrap_or_else(|_| Err(anyhow::anyhow!("{} did not answer within {PATIENCE:?}", self.manifests)));
        read.map_err(unreadable).context("failed to read the manifests, which doctor begins with")
    }

    async fn answer(&self) -> anyhow::Result<DoctorAnswer> {
        Ok(DoctorAnswer::of(doctor::examine(&self.spec().await?, self.manifests.base()).await))
    }
}

fn table(answer: &DoctorAnswer) -> String {
    let rows = answer.checks.iter().map(|found| {
        let next = found.next.as_ref().map_or_else(String::new, |next| format!(" -> {next}"));
        vec![found.verdict.as_str().to_owned(), found.check.clone(), format!("{}{next}", found.seen)]
    });
    let DoctorAnswer { ok, warnings, failed, not_checked, .. } = answer;
    let table = show::table(&["STATE", "CHECK", "SEEN -> WHAT TO DO"], &[], rows);
    let warnings = count(*warnings as u64, "warning");
    format!("{table}\n{ok} ok, {warnings}, {failed} failed, {not_checked} not checked; nothing was changed\n")
}
