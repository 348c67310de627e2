//! What a release is made of, as far as it can be made without GitHub. A linter judges the workflows, and the scripts that
//! they call are run.

use crate::support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::tools::skip;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn sh(script: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("sh").arg(script).args(args).env("SOURCE_DATE_EPOCH", "1795945221").output().expect("sh");
    (output.status.success(), said(&output))
}

/// The text between the quotes of `name = "..."`.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let quoted = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix("= \"")).expect(name);
    quoted.trim_end_matches('"')
}

#[test]
fn the_workflows_are_without_a_linter_s_findings() {
    let linter = root().join(".venv/bin/jactionlint");
    if !linter.exists() {
        return skip("there is no jactionlint in .venv, so nobody judged the workflows; `make setup` installs it");
    }
    // The linter calls shellcheck for the script of each step.
    let path = format!("{}:{}", root().join(".venv/bin").display(), std::env::var("PATH").unwrap_or_default());
    let judge = |folder: &Path| {
        let output = Command::new(&linter)
            .args(["--strict-exit", "--no-color"])
            .env("PATH", &path)
            .current_dir(folder)
            .output()
            .expect("jactionlint");
        (output.status.success(), said(&output))
    };
    let copy = tempfile::tempdir().expect("a directory");
    let copied = Command::new("cp").arg("-r").arg(root().join(".github")).arg(copy.path()).status().expect("cp");
    assert!(copied.success());
    fs::create_dir(copy.path().join(".git")).expect("what it takes for a repository");
    let (ok, said) = judge(copy.path());
    assert!(ok, "{said}");

    // The linter finds what we fear most: an action that its owner can change, and a permission too many.
    let workflow = copy.path().join(".github/workflows/ci.yml");
    let text = fs::read_to_string(&workflow).expect("ci.yml");
    let pinned =
        text.lines().find_map(|line| line.trim().strip_prefix("- uses: actions/checkout@")).expect("a checkout").to_owned();
    fs::write(&workflow, text.replace(&pinned, "v7").replacen("permissions: {}", "permissions: write-all", 1)).expect("ci.yml");
    let (ok, said) = judge(copy.path());
    assert!(!ok && said.contains("v7") && said.contains("write-all"), "{said}");
}

#[test]
fn a_tag_is_released_only_if_the_version_and_the_changelog_agree_with_it() {
    let copy = tempfile::tempdir().expect("a directory");
    fs::create_dir(copy.path().join("release")).expect("a folder");
    for script in ["release/version.sh", "release/notes.sh"] {
        fs::copy(root().join(script), copy.path().join(script)).expect(script);
    }
    let changelog = copy.path().join("CHANGELOG.md");
    fs::write(copy.path().join("Cargo.toml"), read("Cargo.toml").replacen("version = \"0.1.0\"", "version = \"0.2.0\"", 1))
        .expect("Cargo.toml");
    let version = copy.path().join("release/version.sh");

    fs::write(&changelog, "# Changelog\n\n## [Unreleased]\n\n- News.\n").expect("a changelog");
    assert_eq!(sh(&version, &[]), (true, "0.2.0\n".to_owned()), "without a tag, the script judges nothing");
    let (ok, said) = sh(&version, &["v0.2.0"]);
    assert!(!ok && said.contains("## [0.2.0] - YYYY-MM-DD"), "{said}");

    fs::write(
        &changelog,
        "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2027-01-31\n\n- News.\n\n## [0.1.0] - 2026-12-01\n\n- Old.\n",
    )
    .expect("a changelog");
    assert_eq!(sh(&version, &["v0.2.0"]), (true, "0.2.0\n".to_owned()));
    let (ok, said) = sh(&version, &["v0.2.1"]);
    assert!(!ok && said.contains("the tag v0.2.1 is not v0.2.0"), "{said}");
    let (ok, said) = sh(&version, &["v0x2.0"]);
    assert!(!ok, "{said}");

    let notes = copy.path().join("release/notes.sh");
    assert_eq!(sh(&notes, &["0.2.0"]), (true, "\n- News.\n".to_owned()));
    let (ok, said) = sh(&notes, &["0.3.0"]);
    assert!(!ok && said.contains("no section"), "{said}");
}

/// A directory as `release/build.sh` and `release/notices.sh` leave it. Both binaries are a script that calls the tests'
/// own binary, which is too large to be packed many times.
fn built(version: &str) -> tempfile::TempDir {
    let dist = tempfile::tempdir().expect("a directory");
    for name in ["linux-x64", "linux-arm64"] {
        fs::create_dir(dist.path().join(name)).expect("a folder");
        let binary = dist.path().join(name).join("muster");
        fs::write(&binary, format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_muster"))).expect("the binary");
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("an executable");
        fs::write(dist.path().join(format!("muster-{version}-{name}.cdx.json")), "{}").expect("a bill of materials");
    }
    fs::write(dist.path().join("THIRD-PARTY.txt"), "licences\n").expect("licences");
    dist
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(folder).expect("within").to_owned());
            }
        }
    }
    all
}

#[test]
fn a_release_s_archives_hold_what_they_promise_and_are_the_same_each_time() {
    if !root().join(".git").exists() {
        return skip("this is no clone, and the module's archive is made by git");
    }
    let pack = root().join("release/pack.sh");
    let version = value(&read("Cargo.toml"), "version").to_owned();
    let (first, second) = (built(&version), built(&version));
    for dist in [&first, &second] {
        let (ok, said) = sh(&pack, &[dist.path().to_str().expect("UTF-8")]);
        assert!(ok, "{said}");
    }
    let sums = |dist: &tempfile::TempDir| fs::read_to_string(dist.path().join("SHA256SUMS")).expect("SHA256SUMS");
    assert_eq!(sums(&first), sums(&second), "the same bytes each time");
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(first.path())
        .output()
        .expect("sha256sum");
    assert!(checked.status.success(), "{}", said(&checked));
    assert_eq!(sums(&first).lines().count(), 5, "three archives and two bills of materials: {}", sums(&first));

    let unpacked = |name: &str| {
        let folder = tempfile::tempdir().expect("a directory");
        let archive = first.path().join(format!("muster-{version}-{name}.tar.gz"));
        let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()).status().expect("tar");
        assert!(status.success());
        folder
    };
    for name in ["linux-x64", "linux-arm64"] {
        let folder = unpacked(name);
        let top = folder.path().join(format!("muster-{version}-{name}"));
        for file in [
            "muster",
            "LICENSE",
            "THIRD-PARTY.txt",
            "CHANGELOG.md",
            "muster.service",
            "completions/muster.bash",
            "man/muster.1",
            "man/muster-run.1",
        ] {
            assert!(
                fs::metadata(top.join(file)).is_ok_and(|file| file.len() > 0),
                "{name}: {file} in {:?}",
                files(folder.path())
            );
        }
        let run = Command::new(top.join("muster")).arg("--version").output().expect("it may be executed");
        assert_eq!(said(&run), format!("muster {version}\n"));
    }
    // Terraform takes an archive as a module if the module's files are at the archive's root.
    let module = unpacked("terraform");
    for file in ["main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md", "LICENSE", "bootstrap/linux.sh"] {
        assert!(module.path().join(file).is_file(), "{file} in {:?}", files(module.path()));
    }
}

#[test]
fn an_incomplete_release_is_not_packed() {
    let version = value(&read("Cargo.toml"), "version").to_owned();
    let dist = built(&version);
    fs::remove_file(dist.path().join("linux-arm64/muster")).expect("it was there");
    let (ok, said) = sh(&root().join("release/pack.sh"), &[dist.path().to_str().expect("UTF-8")]);
    assert!(!ok && said.contains("linux-arm64/muster is missing"), "{said}");
    assert!(!dist.path().join("SHA256SUMS").exists());
}

#[test]
fn one_compiler_is_named_everywhere() {
    let wanted = value(&read("Cargo.toml"), "rust-version").to_owned();
    let toolchain = read("rust-toolchain.toml");
    assert!(value(&toolchain, "channel").starts_with(&format!("{wanted}.")), "rust-toolchain.toml: {toolchain}");
    for (file, image) in [("Dockerfile", "$BUILDPLATFORM rust:"), (".github/workflows/ci.yml", "image: rust:")] {
        assert!(read(file).contains(&format!("{image}{wanted}-")), "{file}: {image}{wanted}");
    }
}

#[test]
fn what_may_be_linked_and_whose_licences_are_printed_are_one_list() {
    let listed = |path: &str, key: &str| -> BTreeSet<String> {
        let text = read(path);
        let from = text.split_once(&format!("\n{key} = [")).unwrap_or_else(|| panic!("{path}: {key}")).1;
        from.split_once(']').expect("a list").0.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    assert_eq!(listed("deny.toml", "allow"), listed("release/about.toml", "accepted"));
}
