//! Reads the manifests of a directory. What a manifest means is decided in the reconciler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use muster_reconciler::manifest::{self, Spec, Text};

/// The most bytes of a manifest. A larger file is no manifest, so somebody named the wrong directory.
const LARGEST_FILE: u64 = 1 << 20;

/// The paths of the directory's manifests, sorted: every `*.yaml` and `*.yml`. Subdirectories are not searched. Hidden files are
/// left out, such as the swap files of editors, and `..data` of Kubernetes.
///
/// # Errors
/// When the directory cannot be read.
pub fn manifests_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read the manifests' directory {}", dir.display()))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list the manifests' directory {}", dir.display()))?.path();
        let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if yaml && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the manifests of a directory.
///
/// # Errors
/// When the directory cannot be read, or has no manifest. Otherwise one line for each file that cannot be read, is larger than 1
/// MiB, or is not UTF-8.
pub fn read_dir(dir: &Path) -> anyhow::Result<Vec<Text>> {
    let files = manifests_in(dir)?;
    ensure!(!files.is_empty(), "{} holds no *.yaml or *.yml; put the manifests there", dir.display());
    let (mut texts, mut unreadable) = (Vec::new(), Vec::new());
    for path in &files {
        match read_file(path) {
            Ok(text) => texts.push(text),
            Err(error) => unreadable.push(format!("{error:#}")),
        }
    }
    ensure!(unreadable.is_empty(), "{}", unreadable.join("\n"));
    Ok(texts)
}

/// Reads one manifest. The text has the name of the file without its directory.
///
/// # Errors
/// When the file cannot be read, is larger than 1 MiB, or is not UTF-8.
pub fn read_file(path: &Path) -> anyhow::Result<Text> {
    let read = || -> anyhow::Result<String> {
        ensure!(fs::metadata(path)?.len() <= LARGEST_FILE, "it is larger than {LARGEST_FILE} bytes; is it a manifest?");
        Ok(fs::read_to_string(path)?)
    };
    let body = read().with_context(|| format!("cannot read the manifest {}", path.display()))?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Text { file, body })
}

/// Reads and validates the manifests of a directory.
///
/// # Errors
/// When the directory cannot be read, or with every problem of its manifests, one on each line. In the second case, the root
/// cause is a [`manifest::Problems`].
pub fn load_dir(dir: &Path) -> anyhow::Result<Spec> {
    Ok(manifest::load(&read_dir(dir)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_by_name_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b.yml", "a.yaml", "c.json", ".hidden.yaml"] {
            fs::write(dir.path().join(name), name).expect("a file");
        }
        fs::create_dir(dir.path().join("d.yaml")).expect("a subdirectory");
        let read: Vec<(String, String)> =
            read_dir(dir.path()).expect("two texts").into_iter().map(|t| (t.file, t.body)).collect();
        assert_eq!(read, [("a.yaml".into(), "a.yaml".into()), ("b.yml".into(), "b.yml".into())]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(format!("{:#}", read_dir(&dir.path().join("absent")).expect_err("absent")).contains("absent"));
        assert!(read_dir(dir.path()).expect_err("empty").to_string().contains("holds no *.yaml"));
        fs::write(dir.path().join("latin.yaml"), b"name: caf\xe9").expect("a file");
        fs::write(dir.path().join("other.yaml"), b"\xff").expect("a file");
        let error = format!("{:#}", read_dir(dir.path()).expect_err("not UTF-8"));
        assert!(error.contains("latin.yaml") && error.contains("other.yaml") && error.lines().count() == 2, "{error}");
    }

    #[test]
    fn every_problem_has_its_own_line() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a.yaml"), "apiVersion: muster/v1\nkind: Pod\n---\nkind: Controller\n").expect("a file");
        let error = load_dir(dir.path()).expect_err("two problems").to_string();
        assert!(error.lines().count() >= 2 && error.lines().all(|line| line.starts_with("a.yaml:")), "{error}");
    }
}
