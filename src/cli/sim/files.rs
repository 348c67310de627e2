//! Scenarios as files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use muster_simulator::Scenario;

use super::out::say;

/// How many names are tried for a file.
const NAMES: u32 = 1000;

/// The scenario in a file.
pub(super) fn read(file: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read the scenario {}", file.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("failed to read the scenario {}: it is none that `muster sim --save` writes", file.display()))
}

/// Writes a scenario to the file, or beside it if the file exists, because no file is overwritten. Returns the name of the
/// file.
pub(super) fn write(file: &Path, scenario: &Scenario) -> anyhow::Result<PathBuf> {
    let text = serde_json::to_string_pretty(scenario).context("failed to write down the scenario")? + "\n";
    for nth in 1..=NAMES {
        let file = beside(file, nth);
        match std::fs::File::create_new(&file).and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes())) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
                    say(format_args!("the scenario is in {} already", file.display()))?;
                    return Ok(file);
                }
            }
            written => {
                written.with_context(|| format!("failed to write the scenario to {}", file.display()))?;
                say(format_args!("the scenario is in {}", file.display()))?;
                return Ok(file);
            }
        }
    }
    bail!("failed to write the scenario to {}: it and {NAMES} like it exist; name another with --save", file.display())
}

/// The `nth` name for a file: `seven.json`, `seven-2.json`, `seven-3.json`.
fn beside(file: &Path, nth: u32) -> PathBuf {
    if nth < 2 {
        return file.to_owned();
    }
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{nth}"));
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}
