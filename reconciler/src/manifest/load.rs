//! Turns texts into a [`Spec`], or into every problem that they have. This is pure: the caller reads the directory or the bucket,
//! and passes the texts.

use serde::Deserialize;

use super::document::{Documents, Origin, Problem, Problems, ReadDocument, Text};
use super::read::read;
use super::validate;
use super::yaml::{Data, Flaw, Node, documents};
use super::{API_VERSION, KINDS, Spec};

/// Reads and validates the manifests.
///
/// # Errors
/// Every problem of every document, sorted by file and line.
pub fn load(texts: &[Text]) -> Result<Spec, Problems> {
    let mut problems = Vec::new();
    let mut texts: Vec<&Text> = texts.iter().collect();
    texts.sort_by(|a, b| a.file.cmp(&b.file));
    let read = read_all(&texts, &mut problems);
    validate::validate(&read, &mut problems);
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(Problems(problems));
    }
    Ok(Spec {
        controller: read.controllers.into_iter().next().map(|read| read.value).unwrap_or_default(),
        apps: read.apps.into_iter().map(|read| (read.value.metadata.name.as_str().into(), read.value)).collect(),
        tokens: read.tokens.into_iter().map(|read| (read.value.metadata.name.as_str().into(), read.value)).collect(),
        pools: read.pools.into_iter().map(|read| (read.value.metadata.name.as_str().into(), read.value)).collect(),
    })
}

fn read_all(texts: &[&Text], problems: &mut Vec<Problem>) -> Documents {
    let mut all = Documents::default();
    for text in texts {
        for document in documents(&text.body) {
            let mut findings = document.findings;
            match document.node {
                Some(node) => sort(Origin { file: text.file.clone(), node }, &mut all, &mut findings),
                None => all.unreadable = true,
            }
            problems.extend(findings.into_iter().map(|Flaw { line, path, message }| Problem {
                file: text.file.clone(),
                line,
                path,
                message,
            }));
        }
    }
    all
}

/// Reads the document and puts it with the others of its kind.
fn sort(mut source: Origin, all: &mut Documents, findings: &mut Vec<Flaw>) {
    let line = source.node.line;
    let mut note = |line: usize, path: &str, message: String| findings.push(Flaw { line, path: path.into(), message });
    let Data::Map(entries) = &mut source.node.data else {
        note(line, "", format!("a manifest is a mapping that begins with apiVersion: {API_VERSION} and a kind"));
        all.unreadable = true;
        return;
    };
    let mut take = |name: &str| entries.iter().position(|(key, _)| key == name).map(|at| entries.remove(at).1);
    match take("apiVersion") {
        Some(Node { data: Data::Text(version), .. }) if version == API_VERSION => {}
        Some(other) => note(other.line, "apiVersion", format!("unknown version; write {API_VERSION}")),
        None => note(line, "apiVersion", format!("required: write {API_VERSION}")),
    }
    let kinds = KINDS.join(", ");
    let kind = match take("kind") {
        Some(Node { data: Data::Text(kind), line }) => (kind, line),
        Some(other) => (String::new(), other.line),
        None => {
            note(line, "kind", format!("required: write one of {kinds}"));
            all.unreadable = true;
            return;
        }
    };
    match kind.0.as_str() {
        "Controller" => keep(source, &mut all.controllers, findings),
        "GitHubApp" => keep(source, &mut all.apps, findings),
        "GitHubToken" => keep(source, &mut all.tokens, findings),
        "RunnerPool" => keep(source, &mut all.pools, findings),
        _ => {
            note(kind.1, "kind", format!("unknown kind; write one of {kinds}"));
            all.unreadable = true;
        }
    }
}

fn keep<T: for<'de> Deserialize<'de> + Default>(mut source: Origin, into: &mut Vec<ReadDocument<T>>, findings: &mut Vec<Flaw>) {
    let value = read(&mut source.node, findings);
    into.push(ReadDocument { source, value });
}
