//! Logs go to stderr, structured. They never go to stdout, which belongs to the output of a command.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use muster_operations::environment;
use muster_operations::terminal::LogSink;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::fault::CliError;

/// The variable that says what is logged.
const VARIABLE: &str = "MUSTER_LOG";
/// At `trace` the SDK logs whole answers, and with them what anybody may have put on the queue. `trace` alone does not mean that.
const NO_ANSWERS: &str = "aws_smithy_runtime=debug";

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `MUSTER_LOG` filters by level and target (`info,muster=debug`). Without it, the level is `info`.
///
/// # Errors
///
/// When `MUSTER_LOG` has no valid value. Otherwise whoever set it would wait for lines that never come.
pub(super) fn init(format: LogFormat) -> Result<(), CliError> {
    let wanted = environment::read(VARIABLE).map_err(|e| CliError::Config(e.to_string()))?;
    let filter = filter(wanted.as_deref().unwrap_or("info")).map_err(CliError::Config)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogSink::default);
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        logs.json().flatten_event(true).with_current_span(false).init();
    } else {
        logs.with_ansi(io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// The filter, or what is wrong with its text. tracing takes a bare word that is no level for the name of a target, and then logs
/// that target alone. So the slip `dbug` would silence muster.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let wrong = |problem: String| {
        format!(
            "{VARIABLE} is `{text}`, {problem}; write a level (off, error, warn, info, debug, trace), or TARGET=LEVEL as in `info,muster=debug`"
        )
    };
    let plain = |directive: &&str| !directive.contains(['=', '[', ':']);
    // An empty directive would count as `error`.
    let no_level = |word: &&str| word.is_empty() || word.parse::<LevelFilter>().is_err();
    let unknown = text.split(',').filter(plain).find(no_level);
    if let Some(word) = unknown {
        return Err(wrong(format!("and `{word}` is no level")));
    }
    let all = text.split(',').filter(plain).any(|word| word.parse().is_ok_and(|level: LevelFilter| level == LevelFilter::TRACE));
    // What is written for the SDK itself comes later, and counts.
    let text = if all { format!("{NO_ANSWERS},{text}") } else { text.to_owned() };
    EnvFilter::try_new(&text).map_err(|e| wrong(format!("which cannot be read ({e})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_taken() {
        for good in ["info", "WARN", "off", "info,muster=debug", "muster_cloud::ingest=trace", "muster[span{a}]=info", "3"] {
            assert!(filter(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn answers_of_aws_are_logged_for_those_only_who_ask_for_them() {
        let said = |text| filter(text).expect(text).to_string();
        assert!(said("trace").contains(NO_ANSWERS) && said("info,TRACE").contains(NO_ANSWERS));
        assert!(said("trace,aws_smithy_runtime=trace").contains("aws_smithy_runtime=trace"));
        assert!(!said("info").contains("aws_smithy_runtime"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_write() {
        for bad in ["dbug", "muster=dbug,[", "muster=loud", "info,verbose", "info, debug", "muster", "info,", ","] {
            let said = filter(bad).expect_err(bad);
            assert!(said.starts_with(&format!("MUSTER_LOG is `{bad}`, ")) && said.contains("muster=debug`"), "{said}");
        }
    }
}
