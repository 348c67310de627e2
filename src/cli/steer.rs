//! `muster pause|resume pool/NAME`, `muster drain runner/ID|pool/NAME` and `muster rerun job/ID|pool/NAME`: an operator's orders to the running controller.

use std::process::ExitCode;

use muster_operations::inspect::Done;
use muster_operations::subject::Subject;

use super::ask::{ControllerUrl, OrderToken, block_on};
use super::fault::CliError;
use super::pasted::{self, Pasted};
use super::show;

/// `muster pause`, `muster resume`, `muster drain`, `muster rerun`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: Pasted,
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
        let subject = self.what.subject()?;
        let path = match (&subject, verb) {
            (Subject::Pool(name), _) => format!("pools/{name}/{verb}"),
            (Subject::Runner(id), "drain") => format!("runners/{id}/{verb}"),
            (Subject::Job(id), "rerun") => format!("jobs/{id}/{verb}"),
            _ => {
                let wanted = match verb {
                    "drain" => "pool/NAME or runner/INSTANCE-ID",
                    "rerun" => "pool/NAME or job/ID",
                    _ => "pool/NAME",
                };
                return Err(CliError::Usage(format!("{subject} cannot be given the order `{verb}`; write {wanted}")).into());
            }
        };
        let body = match &self.reason {
            Some(reason) => serde_json::to_vec(&serde_json::json!({ "reason": reason }))?.into(),
            None => bytes::Bytes::new(),
        };
        let Done { said, warning, .. } = block_on(async {
            match self.ask.post::<Done>(&path, &self.token, body).await {
                Ok(done) => Ok(done),
                Err(error) => Err(pasted::explain_unknown(&self.ask, &subject, error).await),
            }
        })?;
        show::print(&format!("{said}\n"))?;
        match warning {
            None => Ok(ExitCode::SUCCESS),
            Some(warning) => Err(anyhow::anyhow!(warning)),
        }
    }
}
