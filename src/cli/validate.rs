//! `muster validate PATH...`: every problem of the manifests, with the line. If there is none, a summary with one line for each
//! manifest, and the warnings.

mod excerpt;
mod input;
mod judged;
mod types;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use muster_operations::terminal;
use muster_reconciler::manifest::{Text, load_for_people};

use super::show;
use input::ManifestSet;
use judged::JudgedSet;

/// `muster validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directories or s3://BUCKET/PREFIX, of which *.yaml and *.yml are read; files; or `-` for standard input. Each directory is
    /// judged by itself, and all files together. `-` alone also takes what Terraform's data source `external` sends.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The cluster's name, for a directory of the Terraform module: where no Controller is written, the one that the module will
    /// write is assumed. The names of runners depend on it.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// For people; for programs; or annotations for a pull request, in GitHub Actions.
    #[arg(long, short, value_enum, default_value_t)]
    output: JudgedFormat,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum JudgedFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For GitHub Actions, which shows each line beside the line of the manifest.
    Github,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.paths == [Path::new("-")] {
            let text = input::standard_input()?;
            if let Some(texts) = input::from_terraform(&text.body) {
                return self.for_terraform(&texts);
            }
            return self.print(&[ManifestSet { dir: PathBuf::new(), texts: vec![text], unread: Vec::new() }]);
        }
        self.print(&input::read(&self.paths)?)
    }

    /// Answers as the data source `external` wants it: `{}`, or an error of one line for each problem.
    fn for_terraform(&self, texts: &[Text]) -> anyhow::Result<ExitCode> {
        match load_for_people(texts, self.cluster.as_deref()) {
            Ok(_) => show::print("{}\n")?,
            Err(problems) => {
                terminal::say(&problems.to_string());
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, sets: &[ManifestSet]) -> anyhow::Result<ExitCode> {
        let cluster = self.cluster.as_deref();
        let judged: Vec<JudgedSet<'_>> = sets.iter().map(|set| JudgedSet::new(set, cluster, sets.len() > 1)).collect();
        match self.output {
            JudgedFormat::Table => {
                for one in &judged {
                    one.say()?;
                }
            }
            JudgedFormat::Json => show::print(&judged::json(&judged)?)?,
            JudgedFormat::Github => show::print(&judged.iter().map(JudgedSet::annotations).collect::<String>())?,
        }
        Ok(if judged.iter().all(JudgedSet::is_valid) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
