//! A manifest file, the documents in it, and the problems that were found in them, each with its place.

use std::fmt;

use serde::Serialize;

use super::read::near;
use super::yaml::{Data, Flaw, Node};
use super::{ControllerManifest, GitHubApp, GitHubToken, RunnerPool};

/// The text of one manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The file's name, for messages.
    pub file: String,
    /// The file's content.
    pub body: String,
}

/// One thing that is wrong, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file's name. It is empty when the problem is in no particular file.
    pub file: String,
    /// The line, from 1. It is 0 when there is no line.
    pub line: usize,
    /// The column, from 1. It is 0 when there is none: only a text that is no YAML has one.
    pub column: usize,
    /// The field, such as `spec.capacity.max`. It is empty for the document as a whole.
    pub path: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl Problem {
    /// The problem of a document of this file.
    pub(super) fn new(file: &str, Flaw { line, column, path, message }: Flaw) -> Problem {
        Problem { file: file.to_owned(), line, column, path, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:{}: ", self.file, self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems, by file and line. They are printed one on each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A document that was read, and its source.
#[derive(Debug)]
pub(super) struct ReadDocument<T> {
    pub source: Origin,
    pub value: T,
}

/// The file and the YAML node that a document was read from.
#[derive(Debug)]
pub(super) struct Origin {
    pub file: String,
    pub node: Node,
}

/// What was found at a path.
pub(super) struct FieldPlace {
    /// The line of the value. If the value is not written, this is the line of the nearest thing around it.
    pub line: usize,
    /// The path as it is written. The index of a list item also counts items that were found bad.
    pub path: String,
    /// Whether the value is written. A value that is not written has its default.
    pub written: bool,
    /// Whether the value, something in it or something around it was already found bad.
    pub bad: bool,
}

impl Origin {
    /// Finds the place of a path such as `spec.labels[2]`. A key may contain dots, so the longest key that fits is taken.
    pub fn place(&self, path: &str) -> FieldPlace {
        let (mut node, mut rest, mut shown) = (&self.node, path, String::new());
        loop {
            let next = match &node.data {
                Data::Pruned => return FieldPlace { line: node.line, path: path.into(), written: true, bad: true },
                _ if rest.is_empty() => return FieldPlace { line: node.line, path: shown, written: true, bad: holds_bad(node) },
                Data::Map(entries) => {
                    let fits = |key: &str| rest.strip_prefix(key).filter(|r| r.is_empty() || r.starts_with(['.', '[']));
                    let best = entries.iter().filter(|(key, _)| fits(key).is_some()).max_by_key(|(key, _)| key.len());
                    best.map(|(key, value)| (value, key.clone(), &rest[key.len()..]))
                }
                Data::List(items) => index(rest).and_then(|(nth, rest)| {
                    let mut live = items.iter().enumerate().filter(|(_, item)| !matches!(item.data, Data::Pruned));
                    live.nth(nth).map(|(written, item)| (item, format!("[{written}]"), rest))
                }),
                _ => None,
            };
            let Some((child, step, after)) = next else {
                return FieldPlace { line: node.line, path: path.into(), written: false, bad: misspelt(node, rest) };
            };
            if !shown.is_empty() && !step.starts_with('[') {
                shown.push('.');
            }
            shown.push_str(&step);
            rest = after.strip_prefix('.').unwrap_or(after);
            node = child;
        }
    }
}

/// Splits `[2].x` into 2 and `.x`.
fn index(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

/// Whether the mapping has an unknown field, already refused, that was probably meant to be this one.
fn misspelt(node: &Node, rest: &str) -> bool {
    let wanted = rest.split(['.', '[']).next().unwrap_or_default();
    matches!(&node.data, Data::Map(entries) if entries.iter().any(|(key, value)| matches!(value.data, Data::Pruned) && near(key, wanted)))
}

fn holds_bad(node: &Node) -> bool {
    match &node.data {
        Data::Pruned => true,
        Data::List(items) => items.iter().any(holds_bad),
        // An unknown field makes only itself bad, and not the mapping around it.
        Data::Map(_) | Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Text(_) => false,
    }
}

/// All documents, by kind, in the order of file and line.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub controllers: Vec<ReadDocument<ControllerManifest>>,
    pub apps: Vec<ReadDocument<GitHubApp>>,
    pub tokens: Vec<ReadDocument<GitHubToken>>,
    pub pools: Vec<ReadDocument<RunnerPool>>,
    /// Whether there was a document whose kind could not be read. Then nothing can be called missing.
    pub unreadable: bool,
}
