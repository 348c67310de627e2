//! `muster completions SHELL` and `muster man DIR`. Both are made from the commands themselves, so they cannot differ from
//! them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory as _};
use clap_complete::env::Shells;
use clap_mangen::Man as Pages;
use clap_mangen::roff::{Roff, bold, roman};

use super::fault::{self, CliError};
use super::{Cli, show};

/// The variable by which a shell asks this program for completions.
pub(super) const COMPLETE: &str = "MUSTER_COMPLETE";

/// The variables that are read, and belong to no flag.
const VARIABLES: [(&str, &str); 4] = [
    ("MUSTER_TOKEN", "the token for orders: pause, resume and drain"),
    ("MUSTER_VIEW_TOKEN", "the token for looking, where the controller asks for one"),
    ("MUSTER_LOG", "which logs are written, such as info,muster=debug"),
    ("SSL_CERT_FILE", "the certificate authorities for https:// addresses; without it, those of the machine"),
];

/// `muster completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell; put the output where this shell looks for completions.
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completions {
    /// Prints a script that asks this program on each press of the key. So it stays right when the program is upgraded, and knows
    /// pools, jobs and runners.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let shells = Shells::builtins();
        let unknown = || CliError::Usage(format!("there are no completions for {}", self.shell));
        let shell = shells.completer(&self.shell).ok_or_else(unknown)?;
        let mut text = Vec::new();
        shell.write_registration(COMPLETE, "muster", "muster", "muster", &mut text).context("failed to make the completions")?;
        show::print(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `muster man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The directory; `muster.1` and a page for each command are written there.
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        fs::create_dir_all(&self.dir).with_context(|| format!("failed to make the directory {}", self.dir.display()))?;
        for (name, text) in pages()? {
            let path = self.dir.join(format!("{name}.1"));
            fs::write(&path, text).with_context(|| format!("failed to write the page {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All manual pages by name: that of the program, and one for each command.
fn pages() -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut all = BTreeMap::from([("muster".to_owned(), page(&program)?)]);
    add_below(&program, "muster", &mut all)?;
    Ok(all)
}

/// The pages of all commands below this one.
fn add_below(parent: &Command, name: &str, all: &mut BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("{name}-{}", command.get_name());
        all.insert(name.clone(), page(&command.clone().display_name(name.clone()))?);
        add_below(command, &name, all)?;
    }
    Ok(())
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let pages = Pages::new(command.clone()).manual("muster");
    let mut text = Vec::new();
    pages.render_title(&mut text)?;
    pages.render_name_section(&mut text)?;
    pages.render_synopsis_section(&mut text)?;
    pages.render_description_section(&mut text)?;
    pages.render_options_section(&mut text)?;
    if command.has_subcommands() {
        pages.render_subcommands_section(&mut text)?;
    }
    let mut more = Roff::default();
    exit_status(&mut more);
    environment(&mut more, command);
    examples(&mut more, command);
    more.to_writer(&mut text)?;
    Ok(text)
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in fault::CODES {
        roff.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
}

fn environment(roff: &mut Roff, command: &Command) {
    let flags = command.get_arguments().filter_map(|arg| {
        let variable = arg.get_env()?.to_string_lossy().into_owned();
        Some((variable, format!("the value of --{}, if the flag is not given", arg.get_long()?)))
    });
    let others = VARIABLES.map(|(name, what)| (name.to_owned(), what.to_owned()));
    let all: BTreeMap<String, String> = flags.chain(others).collect();
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, what) in all {
        roff.control("TP", []).text([bold(name)]).text([roman(what)]);
    }
}

fn examples(roff: &mut Roff, command: &Command) {
    let Some(help) = command.get_after_help().map(ToString::to_string) else { return };
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.lines().filter(|line| *line != "Examples:") {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_exit_status_environment_and_examples() {
        let pages = pages().expect("pages");
        assert!(pages.len() > 12 && pages.contains_key("muster-match"), "{:?}", pages.keys());
        assert!(pages.contains_key("muster-app-create") && !pages.contains_key("muster-app-help"), "{:?}", pages.keys());
        for (name, text) in pages {
            let text = String::from_utf8(text).expect("UTF-8");
            for section in [".SH NAME", ".SH \"EXIT STATUS\"", ".SH ENVIRONMENT", ".SH EXAMPLES"] {
                assert!(text.contains(section), "{name} lacks {section}");
            }
        }
    }

    #[test]
    fn each_shell_gets_a_script_that_asks_this_program() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let mut text = Vec::new();
            let shells = Shells::builtins();
            let completer = shells.completer(shell).unwrap_or_else(|| panic!("{shell} is known"));
            completer.write_registration(COMPLETE, "muster", "muster", "muster", &mut text).expect("a script");
            let text = String::from_utf8(text).expect("UTF-8");
            assert!(text.contains(COMPLETE) && text.contains("muster"), "{shell}: {text}");
        }
    }
}
