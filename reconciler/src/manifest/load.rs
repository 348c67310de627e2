//! Turns texts into a [`Spec`], or into every problem that they have. This is pure: the caller reads the directory or the bucket,
//! and passes the texts.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::document::{Documents, Origin, Problem, Problems, ReadDocument, Text};
use super::read::read;
use super::validate;
use super::yaml::{Data, Flaw, Node, documents};
use super::{API_VERSION, KINDS, RunnerPool, Spec};
use crate::ids::PoolName;

/// Valid manifests, with what people ask of them and a controller does not.
#[derive(Clone, Debug)]
pub struct ManifestReading {
    /// The manifests.
    pub spec: Spec,
    /// Whether no Controller is written, and the one was assumed that the Terraform module will write.
    pub assumed: bool,
    /// The file and the line of each pool's name.
    pub places: BTreeMap<PoolName, (String, usize)>,
    /// The files without any document.
    pub empty: Vec<String>,
}

/// Reads and validates the manifests.
///
/// # Errors
/// Every problem of every document, sorted by file and line.
pub fn load(texts: &[Text]) -> Result<Spec, Problems> {
    let mut problems = Vec::new();
    let documents = read_all(texts, &mut problems);
    judge(documents, problems)
}

/// Reads and validates manifests that somebody checks, and no controller runs. They need no Controller: the Terraform module writes
/// it. `cluster` is its name, on which the names of runners depend; None: it is not known.
///
/// # Errors
/// Every problem of every document, sorted by file and line.
pub fn load_for_people(texts: &[Text], cluster: Option<&str>) -> Result<ManifestReading, Problems> {
    let mut problems = Vec::new();
    let mut all = read_all(texts, &mut problems);
    let assumed = all.controllers.is_empty() && !all.unreadable;
    if assumed {
        let written = read_all(&[controller_of_terraform(cluster.unwrap_or("muster"))], &mut problems);
        all.controllers.extend(written.controllers);
    }
    let place = |pool: &ReadDocument<RunnerPool>| (pool.source.file.clone(), pool.source.place("metadata.name").line);
    let places = all.pools.iter().map(|pool| (pool.value.metadata.name.as_str().into(), place(pool))).collect();
    let empty = texts.iter().filter(|text| documents(&text.body).is_empty()).map(|text| text.file.clone()).collect();
    Ok(ManifestReading { spec: judge(all, problems)?, assumed, places, empty })
}

/// The Controller that the Terraform module writes, as far as the rules look at it.
fn controller_of_terraform(cluster: &str) -> Text {
    let document = serde_json::json!({
        "apiVersion": API_VERSION,
        "kind": "Controller",
        "metadata": { "name": cluster },
        "spec": { "queues": { "jobs": "https://sqs.invalid/1/jobs" } },
    });
    Text { file: "--cluster".into(), body: document.to_string() }
}

/// The manifests, if the documents have no problem, and had none when they were read.
fn judge(all: Documents, mut problems: Vec<Problem>) -> Result<Spec, Problems> {
    validate::validate(&all, &mut problems);
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(Problems(problems));
    }
    Ok(Spec {
        controller: all.controllers.into_iter().next().map(|read| read.value).unwrap_or_default(),
        apps: all.apps.into_iter().map(|read| (read.value.metadata.name.as_str().into(), read.value)).collect(),
        tokens: all.tokens.into_iter().map(|read| (read.value.metadata.name.as_str().into(), read.value)).collect(),
        pools: all.pools.into_iter().map(|read| (read.value.metadata.name.as_str().into(), read.value)).collect(),
    })
}

fn read_all(texts: &[Text], problems: &mut Vec<Problem>) -> Documents {
    let mut texts: Vec<&Text> = texts.iter().collect();
    texts.sort_by(|a, b| a.file.cmp(&b.file));
    let mut all = Documents::default();
    for text in texts {
        for document in documents(&text.body) {
            let mut findings = document.findings;
            match document.node {
                Some(node) => sort(Origin { file: text.file.clone(), node }, &mut all, &mut findings),
                None => all.unreadable = true,
            }
            problems.extend(findings.into_iter().map(|flaw| Problem::new(&text.file, flaw)));
        }
    }
    all
}

/// Reads the document and puts it with the others of its kind.
fn sort(mut source: Origin, all: &mut Documents, findings: &mut Vec<Flaw>) {
    let line = source.node.line;
    let mut note = |line: usize, path: &str, message: String| {
        findings.push(Flaw { line, path: path.into(), message, ..Flaw::default() });
    };
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
