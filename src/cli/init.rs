//! `muster init`: the files of a first cluster. A directory of manifests that `muster validate` accepts, and a Terraform root that
//! uses muster's module.
//!
//! Nothing is overwritten, and nothing is written unless all of it is valid.

mod answers;
mod files;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use muster_operations::config;
use muster_operations::terminal;
use muster_reconciler::manifest::load_for_people;

use super::app::{address, api_of};
use super::fault::{CliError, USAGE};
use super::show;
use answers::ClusterWish;

/// `muster init`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The organisation at GitHub whose jobs are run.
    #[arg(long, value_name = "NAME", conflicts_with = "repo")]
    org: Option<String>,
    /// The one repository whose jobs are run, as for a personal account.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<String>,
    /// The address of a GitHub Enterprise Server, such as https://github.example.com, or of GHE.com.
    #[arg(long, value_name = "URL", default_value = "https://github.com", hide_default_value = true)]
    github_url: String,
    /// The AWS region, such as eu-west-1.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The subnets of the runners and of the controller. They need a way out to AWS and to GitHub.
    #[arg(long, value_name = "SUBNET", value_delimiter = ',', num_args = 1..)]
    subnets: Vec<String>,
    /// The cluster's name: the first part of the name of every runner.
    #[arg(long, value_name = "NAME", default_value = "prod")]
    cluster: String,
    /// The directory in which the files are written.
    #[arg(long, value_name = "DIR", default_value = "my-cluster")]
    dir: PathBuf,
    /// The folder terraform/ of a copy of muster's repository, because the module is not published yet. Found by itself in a
    /// copy of the repository, and by a program that was built there.
    #[arg(long, value_name = "DIR")]
    module: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let dir = self.dir.clone();
        if let Some(taken) = files::NAMES.iter().map(|name| dir.join(name)).find(|path| path.symlink_metadata().is_ok()) {
            let message = format!("{} exists, and is not overwritten; name another directory with --dir", taken.display());
            return Err(CliError::Config(message).into());
        }
        let wish = match self.wish() {
            Ok(wish) => wish,
            Err(problems) => {
                problems.iter().for_each(|problem| terminal::say(&format!("muster: {problem}")));
                return Ok(ExitCode::from(USAGE));
            }
        };
        // Before the first file, because a wrong name of the cluster would make them invalid.
        load_for_people(&files::manifests(&wish), Some(&wish.cluster))
            .map_err(|problems| CliError::Usage(format!("with these answers the manifests would be wrong: {problems}")))?;
        files::write(&dir, &wish)?;
        let manifests = dir.join(files::MANIFESTS);
        let read = config::read_dir(&manifests)?;
        load_for_people(&read, Some(&wish.cluster))
            .with_context(|| format!("{} is not as it was written", manifests.display()))?;
        show::print(&said(&dir, &wish))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What was asked for, by flags and, at a terminal, by answers. Err: what is wrong or missing, one sentence each.
    fn wish(self) -> Result<ClusterWish, Vec<String>> {
        let module = match self.module {
            Some(given) => answers::module(&given),
            None => answers::found_module().ok_or_else(|| {
                "--module is missing: muster's Terraform module is not published yet, so name the folder terraform/ of a copy of \
                 muster's repository"
                    .to_owned()
            }),
        };
        let given = answers::GivenAnswers { org: self.org, repo: self.repo, region: self.region, subnets: self.subnets };
        let answered = if io::stdin().is_terminal() {
            given.judged().and_then(|given| given.asked(io::stdin().lock(), terminal::ask, terminal::say))
        } else {
            given.judged().and_then(answers::GivenAnswers::complete)
        };
        let github = address("--github-url", &self.github_url).map_err(|wrong| wrong.to_string());
        match (answered, module, github) {
            (Ok((scope, region, subnets)), Ok(module), Ok(github)) => {
                Ok(ClusterWish { scope, region, subnets, cluster: self.cluster, module, api: api_of(&github) })
            }
            (answered, module, github) => {
                Err(answered.err().into_iter().flatten().chain(module.err()).chain(github.err()).collect())
            }
        }
    }
}

/// What was written, and the next command.
fn said(dir: &Path, ClusterWish { cluster, scope, .. }: &ClusterWish) -> String {
    let (place, manifests) = (dir.display(), files::MANIFESTS);
    // Only the manifests of an organisation say who owns the App.
    let (owner, note) = match scope.strip_prefix("repo/").and_then(|repo| repo.split_once('/')) {
        Some((owner, _)) => {
            (" --personal", format!("If {owner} is an organisation, write --org {owner} instead of --personal.\n"))
        }
        None => ("", String::new()),
    };
    let written: String = files::NAMES.iter().map(|name| format!("  {}\n", dir.join(name).display())).collect();
    format!(
        "Written:\n{written}\nThe manifests are valid. Look at {place}/{manifests}/linux.yaml: labels, size and types of the runners are \
         there.\n\n{note}Next, make the GitHub App (one click in the browser):\n  cd {place} && muster app create --manifests {manifests} \
         --cluster {cluster}{owner}\n"
    )
}
