//! What all commands that ask a running controller share: its address, the token, and JSON in and out.

use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use muster_operations::client;
use muster_operations::environment;
use muster_operations::terminal;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fault::CliError;

/// How long the controller may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where a controller listens that was started on this machine.
pub(super) const DEFAULT: &str = "http://127.0.0.1:9090";
/// The variable that names the controller.
pub(super) const VARIABLE: &str = "MUSTER_CONTROLLER";

/// The address of the running controller.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ControllerUrl {
    /// The running controller's admin listener, such as localhost:9090 or https://muster.example.com.
    #[arg(long, value_name = "URL", default_value = DEFAULT, env = VARIABLE)]
    controller: String,
}

/// The token for orders. There is no flag for the token itself, because others can read a command line.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OrderToken {
    /// A file that holds the token of `spec.listen.adminToken`; without it, the variable MUSTER_TOKEN holds the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl OrderToken {
    /// Reads the token. None: neither the file nor the variable is given.
    pub(super) fn read(&self) -> Result<Option<SecretString>, CliError> {
        let Some(path) = &self.token_file else {
            let token = environment::read("MUSTER_TOKEN").map_err(|e| CliError::Config(e.to_string()))?;
            return Ok(token.map(SecretString::from));
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| CliError::Config(format!("failed to read the token file {}: {e}", path.display())))?;
        match text.trim() {
            "" => Err(CliError::Config(format!("the token file {} is empty; put the token there", path.display()))),
            token => Ok(Some(SecretString::from(token))),
        }
    }
}

/// The token for looking, of `spec.listen.viewToken`. None: the variable is not set, and looking may need none.
pub(super) fn view_token() -> Result<Option<SecretString>, CliError> {
    let token = environment::read("MUSTER_VIEW_TOKEN").map_err(|e| CliError::Config(e.to_string()))?;
    Ok(token.map(SecretString::from))
}

/// A list, as the API answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Items<T> {
    /// The items.
    pub items: Vec<T>,
}

impl ControllerUrl {
    /// Makes the request `GET /api/v1/PATH`, with the token for looking if there is one.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (place, token) = (self.place()?, view_token()?);
        warn_in_clear(&place, token.as_ref());
        let body = client::get(&url(&place, path), token.as_ref(), PATIENCE).await.map_err(CliError::of_look)?;
        read(&body, path)
    }

    /// Makes the request `POST /api/v1/PATH` with the token.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, token: &OrderToken, body: Bytes) -> anyhow::Result<T> {
        let (place, token) = (self.place()?, token.read()?);
        warn_in_clear(&place, token.as_ref());
        let body = client::post(&url(&place, path), token.as_ref(), body, PATIENCE).await.map_err(CliError::from)?;
        read(&body, path)
    }

    /// Makes the request `GET /healthz`.
    pub(super) async fn health(&self, patience: Duration) -> anyhow::Result<()> {
        client::get(&format!("{}/healthz", self.place()?), None, patience).await.map_err(CliError::from)?;
        Ok(())
    }

    /// The listener's address as a URL, without a slash at its end.
    pub(super) fn place(&self) -> Result<String, CliError> {
        Ok(client::typed_address(&self.controller)?)
    }
}

/// Warns, once, that others can read the token on its way.
fn warn_in_clear(place: &str, token: Option<&SecretString>) {
    static WARNED: Once = Once::new();
    if token.is_some() && client::in_clear(place) {
        let warning = format!("muster: the token is sent to {place} in clear; use https://, or a tunnel to this machine");
        WARNED.call_once(|| terminal::say(&warning));
    }
}

fn url(place: &str, path: &str) -> String {
    format!("{place}/api/v1/{path}")
}

fn read<T: DeserializeOwned>(body: &[u8], path: &str) -> anyhow::Result<T> {
    serde_json::from_slice(body)
        .with_context(|| format!("the answer of {path} is not the API's: is that a muster of this version?"))
}

/// Runs the requests of one command to their end.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    runtime.block_on(work)
}
