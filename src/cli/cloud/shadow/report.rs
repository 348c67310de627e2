//! `muster shadow report`: reads the record of a shadow, and says what went wrong in the other fleet and what muster would have done.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use muster_cloud::aws::Aws;
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_cloud::record::RecordPlace;
use muster_operations::prices::Prices;
use muster_operations::prices::file as price_file;
use muster_operations::record::PartName;
use muster_operations::shadow::ShadowLine;
use muster_operations::terminal;
use muster_reconciler::manifest::{Span, Spec};

use super::WorldArgs;
use crate::cli::cloud::unreadable;
use crate::cli::fault::CliError;
use crate::cli::{Output, ask, show};
use crate::shadow::report::{ShadowAsked, ShadowReport};
use crate::shadow::table;
use crate::shadow::theirs::Theirs;

/// How many parts are read side by side.
const AT_ONCE: usize = 16;

/// `muster shadow report`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The record: s3://BUCKET/PREFIX, or a directory, as in `muster run --shadow --record`.
    record: String,
    /// The directory of the manifests, or s3://BUCKET/PREFIX: muster's pools, as they would have been.
    #[arg(long, env = "MUSTER_MANIFESTS")]
    manifests: ManifestPlace,
    /// The cluster, if the record has several.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// What an instance hour costs. Without it: a built-in example, which is not what you pay.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// A job waited longer than it would have if the difference is more than this.
    #[arg(long, value_name = "TIME", default_value = "2m")]
    longer_by: Span,
    /// An instance stands idle once its runner had no job for this long.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    idle_after: Span,
    /// An instance is leaked once it was up without a connected runner for this long.
    #[arg(long, value_name = "TIME", default_value = "20m")]
    leaked_after: Span,
    /// Decides what is left to chance in muster's fleet; the same seed gives the same report.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    world: WorldArgs,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let conditions = super::conditions(self.world.world.as_deref())?;
        let prices = match &self.prices {
            Some(path) => price_file::load(path)?,
            None => Prices::example(),
        };
        let (spec, lines) = ask::block_on(self.read())?;
        let [longer, idle, leaked] = [self.longer_by, self.idle_after, self.leaked_after].map(Span::get);
        let asked = ShadowAsked { longer, idle, leaked, seed: self.seed };
        let report = ShadowReport::of(&Theirs::of(lines), &Arc::new(spec), conditions, &prices, asked);
        let text = match self.output {
            Output::Json => serde_json::to_string_pretty(&report)? + "\n",
            Output::Table => table::print(&report),
        };
        show::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn read(&self) -> anyhow::Result<(Spec, Vec<ShadowLine>)> {
        let mut manifests = Manifests::new(self.manifests.clone(), &Aws::connect(None).await);
        let spec = manifests.load().await.map_err(unreadable)?;
        let place = RecordPlace::open(&self.record, async || Aws::connect(None).await.s3).await;
        let parts = place.parts().await.map_err(|error| CliError::Config(format!("{error:#}")))?;
        let parts = self.of_cluster(parts)?;
        let place = &place;
        let mut read = stream::iter(&parts).map(|part| async move { (part, place.read(part).await) }).buffered(AT_ONCE);
        let mut lines = Vec::new();
        while let Some((part, text)) = read.next().await {
            let (text, cut) = text?;
            if let Some(cut) = cut {
                terminal::say(&format!("muster: {part} is cut off ({cut}); the rest of its minute is not in the report"));
            }
            for (number, line) in text.lines().enumerate() {
                let line =
                    ShadowLine::read(line).map_err(|why| CliError::Config(format!("{part}, line {}: {why}", number + 1)))?;
                lines.push(line);
            }
        }
        Ok((spec, lines))
    }

    fn of_cluster(&self, parts: Vec<PartName>) -> Result<Vec<PartName>, CliError> {
        let clusters: BTreeSet<String> = parts.iter().map(|part| part.cluster.clone()).collect();
        let names = clusters.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match &self.cluster {
            _ if clusters.is_empty() => Err(CliError::Unknown(format!(
                "{} has no record of a shadow: name what `muster run --shadow --record` was given; its first minute is written after a minute",
                self.record
            ))),
            Some(cluster) if !clusters.contains(cluster) => {
                Err(CliError::Unknown(format!("{} has no cluster {cluster}; it has {names}", self.record)))
            }
            None if clusters.len() > 1 => {
                Err(CliError::Unknown(format!("{} has several clusters: {names}; choose one with --cluster", self.record)))
            }
            _ => Ok(parts
                .into_iter()
                .filter(|part| self.cluster.as_ref().is_none_or(|cluster| part.cluster == *cluster))
                .collect()),
        }
    }
}
