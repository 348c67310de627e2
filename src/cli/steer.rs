//! `muster pause|resume pool/NAME` and `muster drain runner/ID|pool/NAME`: an operator's orders to the running controller.

use std::process::ExitCode;

use muster_operations::inspect::Done;
use muster_operations::subject::Subject;
use muster_operations::terminal;

use super::ask::{ControllerUrl, OrderToken, block_on};
use super::fault::USAGE;
use super::show;

/// `muster pause`, `muster resume`, `muster drain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `pool/NAME`; for `drain` also `runner/INSTANCE-ID`.
    what: Subject,
    /// Why, for the events and for whoever asks later; 200 characters at most.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    token: OrderToken,
    #[command(flatten)]
    ask: ControllerUrl,
}

impl Args {
    pub(super) fn run(self, verb: &str) -> anyhow::Result<ExitCode> {
        let path = match (&self.what, verb) {
            (Subject::Pool(name), _) => format!("pools/{name}/{verb}"),
            (Subject::Runner(id), "drain") => format!("runners/{id}/{verb}"),
            _ => {
                let wanted = if verb == "drain" { "pool/NAME or runner/INSTANCE-ID" } else { "pool/NAME" };
                terminal::say(&format!("muster: {} cannot be given the order `{verb}`; write {wanted}", self.what));
                return Ok(ExitCode::from(USAGE));
            }
        };
        let body = match &self.reason {
            Some(reason) => serde_json::to_vec(&serde_json::json!({ "reason": reason }))?.into(),
            None => bytes::Bytes::new(),
        };
        let Done { said, warning, .. } = block_on(async { self.ask.post::<Done>(&path, &self.token, body).await })?;
        show::print(&format!("{said}\n"))?;
        match warning {
            None => Ok(ExitCode::SUCCESS),
            Some(warning) => Err(anyhow::anyhow!(warning)),
        }
    }
}
