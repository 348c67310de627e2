//! `muster app create`: shows a page on this machine, waits until the App is made, and says what is next.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use muster_operations::terminal;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use super::AppDetails;
use super::desk::{Desk, DeskNews};
use super::keys::KeyPlaces;
use super::made::{self, MadeApp};
use super::wish::AppWish;
use crate::cli::fault::CliError;
use crate::cli::{ask, show, stop};
use crate::http::ListenerLimits;

/// How long somebody may take to make the App.
const PATIENCE: Duration = Duration::from_secs(600);

/// `muster app create`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    details: AppDetails,
    /// The directory for the keys' files, if the manifests do not keep the keys in files of their own.
    #[arg(long, value_name = "DIR", default_value = ".")]
    keys: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let read = self.details.read()?;
        let wish = AppWish::new(&self.details, read.as_ref())?;
        let places = KeyPlaces::new(&self.details, read.as_ref(), &self.keys)?;
        if wish.api.starts_with("https:") && !cfg!(feature = "live") {
            let api = &wish.api;
            let message = format!(
                "this muster was built without TLS (without the feature `live`), so it cannot ask {api}; use a full build, or `muster app link`"
            );
            return Err(CliError::Config(message).into());
        }
        ask::block_on(make(wish, places, PATIENCE))
    }
}

/// Shows the page until the App is made, nobody has made it for `patience`, or the command is stopped.
async fn make(wish: AppWish, places: KeyPlaces, patience: Duration) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen on 127.0.0.1")?;
    let port = listener.local_addr().context("failed to ask for the port that was bound")?.port();
    let told = stop::on_signal()?;
    let secret = || made::random().context("the operating system gave no random bytes");
    let (news, mut heard) = mpsc::unbounded_channel();
    let desk = Arc::new(Desk::new(wish.clone(), places.clone(), port, [secret()?, secret()?], news));
    show::print(&format!(
        "Open this page in a browser on this machine, within {} minutes:\n\n  {}\n\nCtrl-C ends it; nothing has been made yet.\n",
        patience.as_secs() / 60,
        desk.url()
    ))?;
    let stop = CancellationToken::new();
    let server = tokio::spawn(crate::http::serve(listener, desk.routes(), ListenerLimits::ADMIN, stop.clone()));
    let ended = tokio::select! {
        news = last_news(&mut heard) => WaitOver::Heard(news),
        () = tokio::time::sleep(patience) => WaitOver::Late,
        () = told.cancelled() => WaitOver::Stopped,
    };
    stop.cancel();
    // The browser gets its last answer, and what GitHub was just asked is not lost.
    server.await.context("the page's server failed")?;
    let ended = match ended {
        WaitOver::Late | WaitOver::Stopped => heard.try_recv().map_or(ended, |news| WaitOver::Heard(Some(news))),
        heard => heard,
    };
    match ended {
        WaitOver::Heard(Some(DeskNews::Made(app, learned))) => {
            show::print(&next(&app, &wish, &places, learned))?;
            Ok(ExitCode::SUCCESS)
        }
        WaitOver::Heard(Some(DeskNews::Lost(error))) => Err(error),
        WaitOver::Heard(Some(DeskNews::Again(said))) => anyhow::bail!(said),
        WaitOver::Heard(None) | WaitOver::Stopped => {
            anyhow::bail!("stopped; no key was written. If GitHub has made an App, delete it there")
        }
        WaitOver::Late => anyhow::bail!(
            "nobody has made the App within {} minutes; no key was written. Run the command again when you are ready",
            patience.as_secs() / 60
        ),
    }
}

/// Why the wait is over.
enum WaitOver {
    Heard(Option<DeskNews>),
    Late,
    Stopped,
}

/// Says what did not work, until something ends the command.
async fn last_news(heard: &mut UnboundedReceiver<DeskNews>) -> Option<DeskNews> {
    loop {
        match heard.recv().await {
            Some(DeskNews::Again(said)) => terminal::say(&format!("muster: {said}")),
            news => return news,
        }
    }
}

/// What was made, and what is next. It holds no secret.
fn next(app: &MadeApp, wish: &AppWish, places: &KeyPlaces, learned: bool) -> String {
    let (id, name, page) = (app.id, &app.name, &app.page);
    let file = |path: &PathBuf| path.display().to_string();
    let mut said = format!(
        "\nThe App {name} was made: {page}\n  private key     {}\n  webhook secret  {}\n",
        file(&places.key.file),
        file(&places.webhook_secret.file)
    );
    said += &match &places.manifest {
        Some((dir, name)) if learned => format!("  appId           {id}, written to GitHubApp `{name}` in {}\n", dir.display()),
        Some((dir, name)) => format!("  appId           {id}; write it to GitHubApp `{name}` in {}\n", dir.display()),
        None => format!("  appId           {id}; write it to your GitHubApp\n"),
    };
    said += &format!("\nNext:\n  Install the App: {}\n", app.install);
    let commands = places.commands();
    let in_between = places.in_between();
    if !in_between.is_empty() {
        said += if places.terraform {
            "  After `terraform apply`, move the keys to SSM, and delete the files:\n"
        } else {
            "  Move the keys to SSM, and delete the files:\n"
        };
    } else if !commands.is_empty() {
        said += "  Give the keys to muster's process:\n";
    }
    commands.iter().for_each(|command| said += &format!("    {command}\n"));
    if !in_between.is_empty() {
        said += &format!("    rm {}\n", in_between.join(" "));
        if places.terraform {
            said += "  (`terraform output secret_commands` has both with the cluster's own KMS key.)\n";
        }
    }
    if wish.webhook.is_none() || app.own_secret {
        let secret = if app.own_secret { " and the webhook secret of the file" } else { "" };
        said += &format!("  Make the webhook active, with its URL{secret}: {}\n", app.settings);
    }
    said + "The files hold secrets: commit none of them.\n"
}

#[cfg(test)]
mod tests {
    use super::super::wish::tests::{details, wish};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_page_that_nobody_opens_ends_with_a_sentence() {
        let dir = tempfile::tempdir().expect("a directory");
        let places = KeyPlaces::new(&details(Some("acme")), None, dir.path()).expect("places");
        let error = make(wish(Some("acme")), places, PATIENCE).await.expect_err("nobody comes").to_string();
        assert!(error.starts_with("nobody has made the App within 10 minutes; no key was written"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 0);
    }
}
