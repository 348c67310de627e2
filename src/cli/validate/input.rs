//! What `muster validate` reads: directories, prefixes of buckets, files, and standard input. Each directory and each prefix is
//! judged by itself. Files that are named one by one, and standard input, are judged together.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use muster_operations::config;
use muster_reconciler::manifest::{API_VERSION, Text};

use crate::cli::fault::CliError;

/// Manifests that are judged together.
#[derive(Debug)]
pub(super) struct ManifestSet {
    /// The directory or the prefix, or empty for files.
    pub dir: PathBuf,
    /// The manifests.
    pub texts: Vec<Text>,
    /// What lies in the directory, looks like a manifest and is not read; one sentence each.
    pub unread: Vec<(PathBuf, &'static str)>,
}

impl ManifestSet {
    /// The file as somebody finds it from where the command runs.
    pub fn path(&self, file: &str) -> String {
        if file.is_empty() { String::new() } else { self.dir.join(file).display().to_string() }
    }
}

/// All that the paths name.
pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<ManifestSet>> {
    let (mut sets, mut files) = (Vec::new(), Vec::new());
    for path in paths {
        if path == Path::new("-") {
            files.push(standard_input()?);
        } else if path.is_dir() {
            let set = ManifestSet { dir: path.clone(), texts: config::read_dir(path)?, unread: unread(path)? };
            sets.push(set);
        } else if path.is_file() {
            let Text { body, .. } = config::read_file(path)?;
            files.push(Text { file: path.display().to_string(), body });
        } else if let Some(place) = path.to_str().filter(|path| path.starts_with("s3://")) {
            sets.push(in_bucket(place)?);
        } else {
            let place = path.display();
            let message = format!("{place} is neither a file nor a directory; name the manifests, or - for standard input");
            return Err(CliError::Usage(message).into());
        }
    }
    if !files.is_empty() {
        sets.push(ManifestSet { dir: PathBuf::new(), texts: files, unread: Vec::new() });
    }
    Ok(sets)
}

/// The objects of `s3://BUCKET/PREFIX`, as a running muster reads them.
#[cfg(feature = "live")]
fn in_bucket(place: &str) -> anyhow::Result<ManifestSet> {
    if let Some((prefix, _)) = place.rsplit_once('/').filter(|(_, name)| name.ends_with(".yaml") || name.ends_with(".yml")) {
        let message = format!("{place} is one object, and all manifests of a prefix are judged together; write {prefix}");
        return Err(CliError::Usage(message).into());
    }
    let (dir, texts) = crate::cli::cloud::texts_in(place)?;
    Ok(ManifestSet { dir: dir.into(), texts, unread: Vec::new() })
}

#[cfg(not(feature = "live"))]
fn in_bucket(place: &str) -> anyhow::Result<ManifestSet> {
    let message = format!(
        "{place} is in a bucket, and this muster was built without AWS (without the feature `live`): use a full build, or copy the \
         manifests here with `aws s3 cp --recursive`"
    );
    Err(CliError::Usage(message).into())
}

/// What comes on standard input.
pub(super) fn standard_input() -> anyhow::Result<Text> {
    let mut body = String::new();
    io::stdin().lock().read_to_string(&mut body).context("failed to read standard input")?;
    Ok(Text { file: "standard input".into(), body })
}

/// The files that Terraform's data source `external` passes: one JSON object from file name to text. None: the text is something
/// else, such as a manifest.
pub(super) fn from_terraform(body: &str) -> Option<Vec<Text>> {
    let files: BTreeMap<String, String> = serde_json::from_str(body).ok()?;
    (!files.contains_key("apiVersion") && !files.contains_key("kind"))
        .then(|| files.into_iter().map(|(file, body)| Text { file, body }).collect())
}

/// What somebody may take for a manifest, and muster does not read.
fn unread(dir: &Path) -> anyhow::Result<Vec<(PathBuf, &'static str)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read the directory {}", dir.display()))?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        let lower = matches!(ending.as_str(), "yaml" | "yml");
        if name.starts_with('.') {
            continue;
        } else if path.is_dir() {
            if config::manifests_in(&path).unwrap_or_default().iter().any(|file| is_manifest(file)) {
                found.push((path, "holds manifests that are not read: subdirectories are not searched; name it as well"));
            }
        } else if !path.exists() {
            found.push((path, "is a link to a file that does not exist"));
        } else if !lower && matches!(ending.to_lowercase().as_str(), "yaml" | "yml") {
            found.push((path, "is not read: only *.yaml and *.yml in lower case are; rename it"));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is a manifest of muster's, and not some other YAML.
fn is_manifest(path: &Path) -> bool {
    config::read_file(path).is_ok_and(|text| text.body.contains(API_VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_manifest_and_is_not_read_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["a.yaml", "B.YAML", "notes.txt", ".hidden.yml"] {
            fs::write(dir.path().join(name), "# nothing\n").expect("a file");
        }
        for (name, body) in [("sub", "apiVersion: muster/v1\n"), ("other", "groups: []\n")] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
            fs::write(dir.path().join(name).join("x.yaml"), body).expect("a file");
        }
        let names = |found: Vec<(PathBuf, &str)>| -> Vec<String> {
            found.into_iter().filter_map(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
        };
        assert_eq!(names(unread(dir.path()).expect("read")), ["B.YAML", "sub"]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", dir.path().join("z.yaml")).expect("a link");
            assert_eq!(names(unread(dir.path()).expect("read")), ["B.YAML", "sub", "z.yaml"]);
        }
    }

    #[cfg(not(feature = "live"))]
    #[test]
    fn a_build_without_aws_says_that_it_cannot_read_a_bucket() {
        let said = format!("{:#}", read(&["s3://bucket/manifests".into()]).expect_err("no AWS"));
        assert!(
            said.contains("s3://bucket/manifests") && said.contains("feature `live`") && said.contains("aws s3 cp"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[test]
    fn terraforms_files_are_told_from_a_manifest() {
        let files = from_terraform(r#"{"a.yaml": "kind: x"}"#).expect("files");
        assert_eq!((files[0].file.as_str(), files[0].body.as_str()), ("a.yaml", "kind: x"));
        for other in ["kind: RunnerPool\n", r#"{"kind": "RunnerPool", "apiVersion": "muster/v1"}"#, r#"{"a": {}}"#, "[]"] {
            assert!(from_terraform(other).is_none(), "{other}");
        }
    }
}
