//! A manifest file, the documents in it, and what is wrong with them, each with its place.

use std::fmt;

use super::read::near;
use super::yaml::{Data, Node};
use super::{Controller, GitHubApp, GitHubToken, RunnerPool};

/// One manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its name, for messages.
    pub file: String,
    /// What it holds.
    pub body: String,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file; empty when no one file is to blame.
    pub file: String,
    /// The line, from 1; 0 when there is none.
    pub line: usize,
    /// The field, such as `spec.capacity.max`; empty for the document as a whole.
    pub path: String,
    /// What is wrong, and the way out.
    pub message: String,
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

/// Everything that is wrong, by file and line. Prints one problem a line.
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

/// A document that was read, with the place where it stands.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub source: Source,
    pub value: T,
}

/// The place where a document stands.
#[derive(Debug)]
pub(super) struct Source {
    pub file: String,
    pub node: Node,
}

/// Where a path leads.
pub(super) struct Place {
    /// The line of the value, or of the nearest thing around it that is written.
    pub line: usize,
    /// The path as written: list items count those that were found bad, too.
    pub path: String,
    /// Whether it is written at all, or left at its default.
    pub written: bool,
    /// Whether the value, something in it or something around it was found bad already.
    pub bad: bool,
}

impl Source {
    /// Finds `spec.labels[2]` and the like. A key may hold dots: the longest that fits is taken.
    pub fn place(&self, path: &str) -> Place {
        let (mut node, mut rest, mut shown) = (&self.node, path, String::new());
        loop {
            let next = match &node.data {
                Data::Pruned => return Place { line: node.line, path: path.into(), written: true, bad: true },
                _ if rest.is_empty() => return Place { line: node.line, path: shown, written: true, bad: holds_bad(node) },
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
                return Place { line: node.line, path: path.into(), written: false, bad: misspelt(node, rest) };
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

/// `[2].x` -> 2 and `.x`.
fn index(path: &str) -> Option<(usize, &str)> {
    let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

/// Whether an unknown field, refused already, was meant to be this one.
fn misspelt(node: &Node, rest: &str) -> bool {
    let wanted = rest.split(['.', '[']).next().unwrap_or_default();
    matches!(&node.data, Data::Map(entries) if entries.iter().any(|(key, value)| matches!(value.data, Data::Pruned) && near(key, wanted)))
}

fn holds_bad(node: &Node) -> bool {
    match &node.data {
        Data::Pruned => true,
        Data::List(items) => items.iter().any(holds_bad),
        // A field that nobody knows spoils nothing but itself.
        Data::Map(_) | Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Text(_) => false,
    }
}

/// All documents, by kind, in the order of file and line.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub controllers: Vec<Read<Controller>>,
    pub apps: Vec<Read<GitHubApp>>,
    pub tokens: Vec<Read<GitHubToken>>,
    pub pools: Vec<Read<RunnerPool>>,
    /// Whether there was a document of which not even the kind is known: then nothing can be said to be missing.
    pub unreadable: bool,
}
