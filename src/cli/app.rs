//! `muster app`: the GitHub App that muster needs, with the permissions that `muster doctor` looks for.
//!
//! `create` makes it by GitHub's manifest flow, and writes its keys where the manifests say. `link` prints a link for those who
//! prefer GitHub's form.
//! <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>
//! <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-using-url-parameters>

mod create;
mod desk;
mod keys;
mod made;
mod wish;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use muster_operations::{config, terminal};
use muster_reconciler::manifest::{ManifestReading, load_for_people};
use muster_reconciler::permissions::Orders;

use super::fault::CliError;
use super::{examples, show};
use wish::AppWish;

pub(super) use wish::{address, api_of};

/// What `appId` is in manifests that wait for their App. 0 would be refused, because it is what a forgotten `appId` looks like.
pub(super) const NO_APP: u64 = 1;

/// `muster app`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    /// Make the App: open a page on this machine, click once, and the keys are written where the manifests say.
    #[command(after_help = examples::APP_CREATE)]
    Create(create::Args),
    /// Print a link that opens GitHub's form with everything filled in; the keys are then yours to carry.
    #[command(after_help = examples::APP_LINK)]
    Link(AppDetails),
}

/// Which App.
#[derive(Clone, Debug, clap::Args)]
struct AppDetails {
    /// The organisation that owns the App. Without it: that of the manifests' pools.
    #[arg(long, value_name = "NAME", conflicts_with = "personal")]
    org: Option<String>,
    /// A personal account owns the App: that of whoever is signed in at GitHub.
    #[arg(long)]
    personal: bool,
    /// The directory of the manifests. The App asks for what the pools need.
    #[arg(long, value_name = "DIR", env = "MUSTER_MANIFESTS")]
    manifests: Option<PathBuf>,
    /// The cluster's name, for a directory of the Terraform module.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The GitHubApp of the manifests. Without it: the only one.
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The App's name at GitHub; the form there lets you change it.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where GitHub sends events. Without it, the webhook stays inactive until you give its URL in the App's settings.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// GitHub's address. Without it: https://github.com, or the server of the manifests.
    #[arg(long, value_name = "URL")]
    github_url: Option<String>,
    /// What muster shall do besides making runners, if no manifest says so yet.
    #[arg(long = "with", value_name = "FEATURE", value_enum, value_delimiter = ',')]
    features: Vec<AppFeature>,
}

/// What needs more permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AppFeature {
    /// `rerun.causes` of a pool.
    Rerun,
    /// The step `tell` of `startWithin`.
    Tell,
    /// The step `cancel` of `startWithin`.
    Cancel,
}

impl AppFeature {
    fn orders(features: &[AppFeature]) -> Orders {
        let has = |feature| features.contains(&feature);
        Orders {
            runs: has(AppFeature::Rerun) || has(AppFeature::Cancel),
            statuses: has(AppFeature::Tell) || has(AppFeature::Cancel),
        }
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            AppCommand::Create(args) => args.run(),
            AppCommand::Link(details) => {
                let read = details.read()?;
                show::print(&format!("{}\n", AppWish::new(&details, read.as_ref())?.link()?))?;
                terminal::say(
                    "Then generate a private key and set a webhook secret in the App's settings, and write its id to appId.",
                );
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl AppDetails {
    /// The manifests, if they are named.
    fn read(&self) -> anyhow::Result<Option<ManifestReading>> {
        let Some(dir) = &self.manifests else { return Ok(None) };
        let place = dir.display().to_string();
        let texts = config::read_dir(dir).map_err(|error| CliError::Config(format!("{error:#}; name it with --manifests")))?;
        let read = load_for_people(&texts, self.cluster.as_deref())
            .with_context(|| format!("the manifests in {place} are wrong; `muster validate {place}` shows where"))?;
        Ok(Some(read))
    }
}

/// The form of an organisation's name at GitHub.
/// <https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication>
pub(super) fn organisation(name: &str) -> Result<(), String> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let hyphens = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if !name.is_empty() && name.len() <= 39 && letters && !hyphens {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no organisation's name at GitHub: write it as in https://github.com/NAME, with letters, digits and single hyphens"
    ))
}
