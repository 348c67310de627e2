//! `muster sync`: one pass over the cache of runner binaries, started by hand or by a timer.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use muster_cloud::aws::Aws;
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_cloud::sync::{CacheState, Item, Pass, Reread, SyncReport, plan, too_old};
use muster_github::releases::Releases;
use muster_reconciler::reason::count;
use serde::Serialize;

use super::unreadable;
use crate::cli::Output;
use crate::cli::{show, stop};

/// `muster sync`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory of the manifests, or s3://BUCKET/PREFIX.
    #[arg(long, env = "MUSTER_MANIFESTS")]
    manifests: ManifestPlace,
    /// Only look, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// The answer, for both printers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SyncAnswer {
    bucket: String,
    complete: bool,
    binaries: Vec<Binary>,
    pruned: Vec<PrunedRow>,
    aborted_uploads: usize,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Binary {
    os: &'static str,
    architecture: &'static str,
    wanted: String,
    version: Option<String>,
    state: &'static str,
    bytes: Option<u64>,
    seconds: Option<f64>,
    /// How long a newer release has existed. None: the version is not pinned, or there is no newer release.
    behind_seconds: Option<u64>,
    error: Option<String>,
    #[serde(skip)]
    said: String,
}

#[derive(Debug, Serialize)]
struct PrunedRow {
    os: &'static str,
    architecture: &'static str,
    version: String,
    state: &'static str,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
        let answer = runtime.block_on(self.answer())?;
        match self.output {
            Output::Json => show::print(&(serde_json::to_string_pretty(&answer)? + "\n"))?,
            Output::Table => print(&answer)?,
        }
        Ok(if answer.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn answer(&self) -> anyhow::Result<SyncAnswer> {
        // An upload that is cut off must be aborted, because its parts would cost storage.
        let stop = stop::on_signal()?;
        let spec = Manifests::new(self.manifests.clone(), &Aws::connect(None).await).load().await.map_err(unreadable)?;
        let settings = &spec.controller.spec;
        let bucket = settings.bucket.clone().with_context(|| {
            format!(
                "nowhere to sync runner binaries to: set spec.bucket of Controller {} to the S3 bucket that the instances read",
                spec.controller.cluster()
            )
        })?;
        let aws = Aws::connect(settings.region.as_deref()).await;
        let releases = Releases::new(&settings.sync.releases, Arc::new(|_, _, _| ()))?;
        let reread = Reread::default(); // this process has read nothing yet, so it reads every object
        let pass =
            Pass { s3: &aws.s3, releases: &releases, bucket: &bucket, dry_run: self.dry_run, reread: &reread, stop: &stop };
        let report = pass.run(&plan::needs(&spec)).await.context("told to stop, and stopped in the middle of a call")?;
        Ok(answer(bucket, self.dry_run, &report))
    }
}

fn answer(bucket: String, dry_run: bool, report: &SyncReport) -> SyncAnswer {
    let state = if dry_run { "would-prune" } else { "pruned" };
    let pruned = report.pruned.iter().map(|pruned| PrunedRow {
        os: pruned.platform.os(),
        architecture: pruned.platform.architecture(),
        version: pruned.version.to_string(),
        state,
    });
    let corrupt = report.corrupt.iter().map(|c| {
        format!(
            "s3://{bucket}/{} has the SHA-256 {} and not {}, as its metadata and its release say; find out who may write to the \
             bucket",
            c.key, c.found, c.wanted
        )
    });
    let warnings: Vec<String> = corrupt.chain(report.items.iter().filter_map(too_old)).collect();
    SyncAnswer {
        bucket,
        complete: report.complete(),
        binaries: report.items.iter().map(binary).collect(),
        pruned: pruned.collect(),
        aborted_uploads: report.aborted,
        warnings: warnings.into_iter().chain(report.warnings.iter().map(|failure| failure.message.clone())).collect(),
    }
}

fn binary(item: &Item) -> Binary {
    let (state, said, bytes, seconds, error) = match &item.state {
        CacheState::Cached => ("cached", "cached already".to_owned(), None, None, None),
        CacheState::Switched => ("switched", "cached already; switched latest to it".into(), None, None, None),
        CacheState::WouldSwitch => ("would-switch", "cached already; would switch latest to it".into(), None, None, None),
        CacheState::WouldCopy { bytes } => ("would-copy", format!("would copy {bytes} bytes"), Some(*bytes), None, None),
        CacheState::Copied { bytes, took } => {
            let seconds = took.as_secs_f64();
            ("copied", format!("copied {bytes} bytes in {seconds:.1} s"), Some(*bytes), Some(seconds), None)
        }
        CacheState::Failed(failure) => {
            ("failed", format!("failed to {}", failure.message), None, None, Some(failure.message.clone()))
        }
    };
    Binary {
        os: item.platform.os(),
        architecture: item.platform.architecture(),
        wanted: item.wanted.to_string(),
        version: item.version.map(|version| version.to_string()),
        state,
        bytes,
        seconds,
        behind_seconds: item.behind.map(|behind| behind.since.as_secs()),
        error,
        said: if too_old(item).is_some() { format!("{said}; too old") } else { said },
    }
}

fn print(answer: &SyncAnswer) -> anyhow::Result<()> {
    let mut text = format!("{:<8} {:<6} {:<10} {:<10} STATE\n", "OS", "ARCH", "WANTED", "VERSION");
    for b in &answer.binaries {
        let version = b.version.as_deref().unwrap_or("?");
        text += &format!("{:<8} {:<6} {:<10} {version:<10} {}\n", b.os, b.architecture, b.wanted, b.said);
    }
    for p in &answer.pruned {
        let said = if p.state == "pruned" { "pruned" } else { "would prune" };
        text += &format!("{:<8} {:<6} {:<10} {:<10} {said}\n", p.os, p.architecture, "-", p.version);
    }
    if answer.aborted_uploads > 0 {
        let uploads = count(answer.aborted_uploads as u64, "upload");
        text += &format!("aborted {uploads} that had been left for more than a day\n");
    }
    for warning in &answer.warnings {
        text += &format!("warning: {warning}\n");
    }
    show::print(&text)
}
