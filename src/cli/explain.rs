//! `muster explain job/ID | runner/ID | pool/NAME`: where it stands, why, what is awaited and what happened. The running
//! controller answers.

use std::fmt::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use muster_operations::subject::Subject;
use muster_operations::terminal;
use muster_reconciler::time::human;
use muster_reconciler::view::{EventView, Explanation};
use serde::Deserialize;

use super::ask::{ControllerUrl, block_on};
use super::pasted::{self, Pasted};
use super::show::{self, Format, when};

/// `muster explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: Pasted,
    /// For people, or for programs.
    #[arg(long, short, default_value_t)]
    output: Format,
    #[command(flatten)]
    ask: ControllerUrl,
}

#[derive(Deserialize)]
struct Timeline {
    ended: Option<String>,
}

/// What an instance's console says of the instance's end.
pub(super) enum LastWords {
    /// The reason in the boot script's last line.
    Said(String),
    /// Nothing, or nothing yet.
    Silent,
}

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastWords::Said(reason) => write!(f, "the instance itself said: ended: {reason}"),
            LastWords::Silent => f.write_str("its console says nothing of its end (EC2 shows a console some minutes late)"),
        }
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let subject = self.what.subject()?;
            let text = match self.explain(&subject).await {
                Ok(text) => text,
                Err(error) => return Err(pasted::explain_unknown(&self.ask, &subject, error).await),
            };
            show::print(&text)?;
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn explain(&self, subject: &Subject) -> anyhow::Result<String> {
        let told = self.ask.get::<Explanation>(&format!("explain/{subject}")).await?;
        // An instance that has ended may have said why on its console.
        let ended = match subject {
            Subject::Runner(id) if told.state.is_over() => self.ended(id).await,
            _ => None,
        };
        self.text(&told, ended)
    }

    /// What the console says of the instance's end. None: nobody can read the console.
    async fn ended(&self, instance: &str) -> Option<LastWords> {
        match self.ask.get::<Timeline>(&format!("runners/{instance}/ended")).await {
            Ok(Timeline { ended }) => Some(ended.map_or(LastWords::Silent, LastWords::Said)),
            Err(error) => {
                terminal::say(&format!("muster: its console cannot be read: {error:#}"));
                None
            }
        }
    }

    fn text(&self, told: &Explanation, ended: Option<LastWords>) -> anyhow::Result<String> {
        match show::machine(&self.output, told, || vec![format!("{}/{}", told.kind, told.id)])? {
            Some(text) => Ok(text),
            None => for_people(told, ended),
        }
    }
}

/// The explanation as a text for people.
pub(super) fn for_people(told: &Explanation, ended: Option<LastWords>) -> anyhow::Result<String> {
    let span = |ms: u64| human(Duration::from_millis(ms));
    let mut text = format!("{} {}: {}\n", told.kind, told.id, told.state);
    for line in told.facts.iter().chain([&told.reason]) {
        writeln!(text, "  {line}")?;
    }
    if let Some(words) = ended {
        writeln!(text, "  {words}")?;
    }
    if !told.awaits.is_empty() {
        text += "\nawaited\n";
    }
    for a in &told.awaits {
        writeln!(text, "  in {:<8} {}", span(a.until.saturating_sub(told.now)).to_string(), a.what)?;
    }
    text += "\nwhat happened\n";
    if let Some(before) = told.forgotten_before {
        writeln!(text, "  what happened before {} UTC is in the log only", when(before))?;
    }
    if told.timeline.is_empty() {
        text += "  nothing that this process knows of\n";
    }
    let rows = told.timeline.iter().map(|e| {
        let ago = format!("{} ago", span(told.now.saturating_sub(e.at)));
        vec![format!("  {}", when(e.at)), ago, e.what.to_string(), whom(e, &told.id), e.why.clone()]
    });
    if !told.timeline.is_empty() {
        // The table has no header. Its indentation shows that it belongs to the lines above.
        text += show::table(&["", "", "", "", ""], &[1], rows).split_once('\n').map_or("", |(_, rows)| rows);
    }
    Ok(text)
}

/// The job, runner and pool that an event concerns, without the one that the user asked about.
pub(super) fn whom(e: &EventView, but: &str) -> String {
    let job = e.job.map(|job| ("job", job.to_string()));
    let all = job.into_iter().chain(e.instance.clone().map(|id| ("runner", id))).chain(e.pool.clone().map(|pool| ("pool", pool)));
    let said: Vec<String> = all.filter(|(_, id)| id != but).map(|(kind, id)| format!("{kind}/{id}")).collect();
    if said.is_empty() { "-".into() } else { said.join(" ") }
}
