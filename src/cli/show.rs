//! Prints answers: tables for people, JSON and YAML for programs. All of them are made of one value.

mod path;

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValue, TypedValueParser, ValueParserFactory};
use clap::{Arg, Command};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use muster_operations::terminal;
use muster_reconciler::time::human;
use saphyr::{LoadableYamlNode as _, Yaml, YamlEmitter};
use serde::Serialize;

use path::JsonPath;

/// How an answer of the controller is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with a wide screen.
    Wide,
    /// The names alone, in the form that other commands take.
    Name,
    /// For programs.
    Json,
    /// For programs that people read.
    Yaml,
    /// A part of the JSON.
    Path(JsonPath),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Table => "table",
            Format::Wide => "wide",
            Format::Name => "name",
            Format::Json => "json",
            Format::Yaml => "yaml",
            Format::Path(_) => "jsonpath=PATH",
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        if let Some(path) = text.strip_prefix("jsonpath=") {
            return path.parse().map(Format::Path);
        }
        let all = [Format::Table, Format::Wide, Format::Name, Format::Json, Format::Yaml];
        let known = all.into_iter().find(|format| format.to_string() == text);
        known.ok_or_else(|| format!("`{text}` is no output; write table, wide, name, json, yaml or jsonpath=PATH"))
    }
}

/// The outputs in help and completion.
#[derive(Clone, Debug)]
pub(super) struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Format, clap::Error> {
        let parse: fn(&str) -> Result<Format, String> = str::parse;
        TypedValueParser::parse_ref(&parse, cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(["table", "wide", "name", "json", "yaml", "jsonpath=PATH"].into_iter().map(PossibleValue::new)))
    }
}

impl ValueParserFactory for Format {
    type Parser = FormatParser;
    fn value_parser() -> FormatParser {
        FormatParser
    }
}

/// Prints a text. A reader that closes early (`| head`) is not an error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    terminal::print(text).context("failed to write to standard output")
}

/// A value for programs, with a newline at its end. `names` are what the value is about, such as `pool/linux`. None: the format
/// is a table.
pub(super) fn machine(
    format: &Format,
    value: &impl Serialize,
    names: impl FnOnce() -> Vec<String>,
) -> anyhow::Result<Option<String>> {
    match format {
        Format::Table | Format::Wide => Ok(None),
        Format::Name => Ok(Some(names().iter().map(|name| format!("{}\n", terminal::visible_line(name))).collect())),
        Format::Json => Ok(Some(serde_json::to_string_pretty(value)? + "\n")),
        Format::Yaml => yaml(value).map(Some),
        Format::Path(path) => Ok(Some(path.of(&serde_json::to_value(value)?))),
    }
}

/// JSON is YAML. The JSON is read as such, and written in YAML's own form.
fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_string(value)?;
    let documents = Yaml::load_from_str(&json)?;
    let mut text = String::new();
    for document in &documents {
        YamlEmitter::new(&mut text).dump(document)?;
    }
    Ok(text.trim_start_matches("---\n").to_owned() + "\n")
}

/// A table in the style of kubectl: a header in capitals, and no lines. `numbers` are the columns that are aligned to the
/// right.
pub(super) fn table(columns: &[&str], numbers: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(columns.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| terminal::visible_line(cell).into_owned()));
    }
    for (nth, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&nth) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A time in seconds, for people.
pub(super) fn age(seconds: u64) -> String {
    human(Duration::from_secs(seconds)).to_string()
}

/// A time in milliseconds since 1970, as `2026-11-24 13:14:15` (UTC).
pub(super) fn when(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.map_or_else(|| at_ms.to_string(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_lines_and_no_spaces_at_the_end() {
        let rows = [["linux", "3", ""], ["linux-arm64", "12", "full"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            table(&["NAME", "MAX", "WHY"], &[1], rows),
            "NAME         MAX  WHY\nlinux          3\nlinux-arm64   12  full\n"
        );
        assert_eq!(table(&["NAME"], &[], []), "NAME\n");
    }

    #[test]
    fn a_cell_makes_no_row_and_turns_no_text() {
        let rows = [vec!["linux\nfree  0".to_owned(), "\u{202e}x\u{1b}[2J".to_owned()]];
        assert_eq!(table(&["NAME", "WHY"], &[], rows), "NAME                WHY\nlinux\\u000afree  0  \\u202ex\\u001b[2J\n");
    }

    #[test]
    fn outputs_are_known_by_their_names() {
        for word in ["table", "wide", "name", "json", "yaml"] {
            assert_eq!(word.parse::<Format>().map(|format| format.to_string()), Ok(word.to_owned()));
        }
        assert!(matches!("jsonpath={.items[*].name}".parse(), Ok(Format::Path(_))));
        assert!("jsonpath={range}{end}".parse::<Format>().expect_err("refused").contains("jq"));
        assert!("custom-columns=x".parse::<Format>().expect_err("refused").contains("jsonpath=PATH"));
    }

    #[test]
    fn yaml_keeps_what_is_text_text() {
        let value = serde_json::json!({"items": [{"name": "on", "id": 7, "none": null, "why": "a: \"b\"", "number": "12"}]});
        let text = yaml(&value).expect("written");
        let again = Yaml::load_from_str(&text).expect("it is YAML");
        let item = &again[0]["items"][0];
        assert_eq!(
            (item["name"].as_str(), item["number"].as_str(), item["why"].as_str()),
            (Some("on"), Some("12"), Some("a: \"b\"")),
            "{text}"
        );
        assert_eq!(when(1_800_000_000_000), "2027-01-15 08:00:00");
    }
}
