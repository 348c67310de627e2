//! `muster doctor --live`: asks the user at the terminal before each step, and writes the report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use muster_cloud::doctor::live::{self, Person, RunningController, TestWish, workflow};
use muster_operations::terminal;
use muster_reconciler::manifest::{Span, Spec};

use crate::cli::ask::{self, ControllerUrl, OrderToken};
use crate::cli::fault::CliError;
use crate::cli::{show, stop};

/// The name of the report for programs.
const JSON: &str = "muster-field-report.json";
/// The name of the report for people.
const PAGE: &str = "muster-field-report.txt";

/// What `--live` needs besides the manifests.
#[derive(Debug, clap::Args)]
#[group(id = "live_options")]
pub(super) struct LiveTest {
    /// Send a real job through the running muster, follow the job and its runner, have an idle runner drained, and write a
    /// report. Asks before each step. Costs cents. See docs/field-report.md.
    #[arg(long, requires = "repo")]
    pub(super) live: bool,
    /// The repository that has the throw-away workflow; doctor shows what to commit there.
    #[arg(long, value_name = "OWNER/NAME", requires = "live")]
    repo: Option<String>,
    /// The branch or tag that has the workflow.
    #[arg(long = "ref", value_name = "REF", default_value = "main", requires = "live")]
    git_ref: String,
    /// The workflow's file under .github/workflows/.
    #[arg(long, value_name = "FILE", default_value = workflow::FILE, requires = "live")]
    workflow: String,
    /// The pool to test; without it, the only one that takes jobs of that repository.
    #[arg(long, value_name = "NAME", requires = "live")]
    pool: Option<String>,
    /// Ask nothing: do every step.
    #[arg(long, requires = "live")]
    yes: bool,
    /// Leave the account's number, the owner and the repository in the report.
    #[arg(long, requires = "live")]
    with_account: bool,
    /// Longest wait for each part of the test.
    #[arg(long, value_name = "TIME", default_value = "20m", requires = "live")]
    patience: Span,
    /// Where the two files of the report are written.
    #[arg(long, value_name = "DIR", default_value = ".", requires = "live")]
    report: PathBuf,
    #[command(flatten)]
    ask: ControllerUrl,
    #[command(flatten)]
    token: OrderToken,
}

impl LiveTest {
    /// Runs the test. The exit code is 0 if nothing was refused and nothing failed. That the user said no to a step is
    /// neither.
    pub(super) async fn run(&self, spec: &Spec, base: &Path) -> anyhow::Result<ExitCode> {
        let Some(repo) = &self.repo else { anyhow::bail!("--live needs --repo OWNER/NAME") };
        anyhow::ensure!(
            !self.workflow.is_empty() && self.workflow.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "`{}` is no file's name; write one such as {}",
            self.workflow,
            workflow::FILE
        );
        let wish = TestWish {
            repo: repo.clone(),
            git_ref: self.git_ref.clone(),
            file: self.workflow.clone(),
            pool: self.pool.clone(),
            patience: self.patience.get().max(Duration::from_secs(1)),
            with_account: self.with_account,
        };
        // This comes before the first step, because a test whose report cannot be written is of no use.
        std::fs::create_dir_all(&self.report).with_context(|| format!("failed to make {}", self.report.display()))?;
        let controller = RunningController { url: self.ask.place()?, token: self.token.read()?, view_token: ask::view_token()? };
        let stop = stop::on_signal()?;
        let told = stop.clone();
        tokio::spawn(async move {
            told.cancelled().await;
            terminal::say("\ninterrupted: cleaning up what the test made");
        });
        let mut human = if self.yes { Person::absent() } else { Person::at_terminal() };
        let done = live::run(spec, base, &controller, &wish, &mut human, &stop).await;
        let (json, page, went_well) =
            done.map_err(|error| CliError::Config(format!("the field test cannot begin: {error:#}")))?;
        let write = |name: &str, text: &str| {
            let path = self.report.join(name);
            std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display())).map(|()| path)
        };
        let json = write(JSON, &(serde_json::to_string_pretty(&json)? + "\n"))?;
        let text = write(PAGE, &page)?;
        show::print(&page)?;
        terminal::say(&format!(
            "\nwritten to {} and {}; docs/field-report.md says where to send them",
            json.display(),
            text.display()
        ));
        Ok(if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
