//! What the commands that ask a running controller have in common: its address, the token, and JSON in and out.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use muster_operations::client;
use muster_operations::environment;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;

/// How long the controller may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The running controller.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ask {
    /// The running controller's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", env = "MUSTER_CONTROLLER")]
    controller: String,
}

/// The token for orders. There is no flag for the token itself: a command line is no secret.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Token {
    /// A file that holds the token of `spec.listen.adminToken`; without it, the variable MUSTER_TOKEN does.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Token {
    /// The token; None: there is none.
    pub(super) fn read(&self) -> Result<Option<SecretString>, Fault> {
        let Some(path) = &self.token_file else {
            let token = environment::read("MUSTER_TOKEN").map_err(|e| Fault::Config(e.to_string()))?;
            return Ok(token.map(SecretString::from));
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| Fault::Config(format!("failed to read the token file {}: {e}", path.display())))?;
        match text.trim() {
            "" => Err(Fault::Config(format!("the token file {} is empty; put the token there", path.display()))),
            token => Ok(Some(SecretString::from(token))),
        }
    }
}

/// A list, as the API gives it.
#[derive(Debug, Deserialize)]
pub(super) struct Items<T> {
    /// The items.
    pub items: Vec<T>,
}

impl Ask {
    /// `GET /api/v1/PATH`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = client::get(&self.url(path), PATIENCE).await.map_err(Fault::from)?;
        read(&body, path)
    }

    /// `POST /api/v1/PATH` with the token.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, token: &Token, body: Bytes) -> anyhow::Result<T> {
        let token = token.read()?;
        if token.is_some() && client::in_clear(self.place()) {
            eprintln!("muster: the token is sent to {} in clear; use https://, or a tunnel to this machine", self.place());
        }
        let body = client::post(&self.url(path), token.as_ref(), body, PATIENCE).await.map_err(Fault::from)?;
        read(&body, path)
    }

    /// `GET /healthz`.
    pub(super) async fn health(&self, patience: Duration) -> anyhow::Result<()> {
        client::get(&format!("{}/healthz", self.place()), patience).await.map_err(Fault::from)?;
        Ok(())
    }

    /// The listener's address, as it was given.
    pub(super) fn place(&self) -> &str {
        self.controller.trim_end_matches('/')
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.place())
    }
}

fn read<T: DeserializeOwned>(body: &[u8], path: &str) -> anyhow::Result<T> {
    serde_json::from_slice(body)
        .with_context(|| format!("the answer of {path} is not the API's: is that a muster of this version?"))
}

/// Runs one command's questions to their end.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    runtime.block_on(work)
}
