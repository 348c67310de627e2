//! `muster validate DIR`: every problem of a directory's manifests. If there is none, a summary with one line for each
//! manifest, and the warnings.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use muster_operations::config;
use muster_operations::terminal;
use muster_reconciler::groups::RunnerGroups;
use muster_reconciler::manifest::{self, RunnerPool, Spec, Text};
use muster_reconciler::warnings;
use saphyr::{LoadableYamlNode as _, Yaml};

use super::{USAGE, show};

/// `muster validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory; its *.yaml and *.yml are read, subdirectories are not. `-`: the manifests come on standard input as
    /// one JSON object from file name to text, and the answer is `{}`, as Terraform's data source `external` has it.
    dir: PathBuf,
    /// The cluster's name, for a directory of the Terraform module: where no Controller is written, the one that the module will
    /// write is assumed.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let piped = self.dir == Path::new("-");
        if !piped && !self.dir.is_dir() {
            terminal::say(&format!("muster: {} is no directory; name the one that holds the manifests", self.dir.display()));
            return Ok(ExitCode::from(USAGE));
        }
        let mut texts = if piped { from_json(io::stdin().lock())? } else { config::read_dir(&self.dir)? };
        let assumed = self.cluster.filter(|_| !texts.iter().any(holds_controller));
        texts.extend(assumed.as_deref().map(controller_of_terraform));
        match manifest::load(&texts) {
            Ok(_) if piped => show::print("{}\n")?,
            Ok(spec) => {
                show::print(&summary(&spec, assumed.is_some()))?;
                for (pool, warnings) in warnings::of(&spec, &RunnerGroups::default()) {
                    for warning in warnings {
                        terminal::say(&format!("warning: RunnerPool {pool}: {warning}; {}", warning.way_out()));
                    }
                }
            }
            // The lines have no prefix, so that editors and scripts can read FILE:LINE.
            Err(problems) => {
                terminal::say(&problems.to_string());
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn from_json(input: impl io::Read) -> anyhow::Result<Vec<Text>> {
    let files: BTreeMap<String, String> =
        serde_json::from_reader(input).context("standard input is no JSON object from file name to text")?;
    Ok(files.into_iter().map(|(file, body)| Text { file, body }).collect())
}

fn holds_controller(text: &Text) -> bool {
    let documents = Yaml::load_from_str(&text.body).unwrap_or_default();
    documents.iter().any(|document| document.as_mapping_get("kind").and_then(Yaml::as_str) == Some("Controller"))
}

/// The Controller that the Terraform module writes, as far as the rules look at it.
fn controller_of_terraform(cluster: &str) -> Text {
    let (queues, metadata) =
        (serde_json::json!({ "jobs": "https://sqs.invalid/1/jobs" }), serde_json::json!({ "name": cluster }));
    let document = serde_json::json!({ "apiVersion": "muster/v1", "kind": "Controller", "metadata": metadata, "spec": { "queues": queues } });
    Text { file: "--cluster".into(), body: document.to_string() }
}

fn summary(spec: &Spec, assumed: bool) -> String {
    let mut text = String::new();
    let controller = &spec.controller.spec;
    let region = controller.region.as_deref().unwrap_or("region from the environment");
    if !assumed {
        text += &format!("Controller {}: {region}, jobs from {}\n", spec.controller.cluster(), controller.queues.jobs);
    }
    for (name, app) in &spec.apps {
        let app = &app.spec;
        text += &format!("GitHubApp {name}: id {} at {}, key in {}\n", app.app_id, app.api_url, app.private_key);
    }
    for (name, token) in &spec.tokens {
        text += &format!("GitHubToken {name}: at {}, token in {}\n", token.spec.api_url, token.spec.token);
    }
    for (name, pool) in &spec.pools {
        text += &format!("RunnerPool {name}: {}\n", said(pool));
    }
    text
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
