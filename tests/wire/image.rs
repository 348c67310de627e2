//! What the Dockerfile and the systemd unit promise. There is no builder for images here, so the parts are tried one by one: the
//! binary, linked as the Dockerfile links it, runs in a root that holds what the image holds and nothing else.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::moto::{Moto, TEST_KEY, env};
use support::tools::skip;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn has(program: &str) -> bool {
    Command::new("sh").arg("-c").arg(format!("command -v {program}")).output().is_ok_and(|output| output.status.success())
}

/// The same library that this test was built with, linked anew into a binary that needs no other: `libmuster` with the feature
/// `live` is the newest one that links and knows `run`.
fn static_binary(dir: &Path) -> PathBuf {
    let deps = std::env::current_exe().expect("this test's path").parent().expect("target/debug/deps").to_owned();
    let mut libraries: Vec<PathBuf> = fs::read_dir(&deps)
        .expect("the folder of libraries")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("libmuster-"))
                && path.extension().is_some_and(|e| e == "rlib")
        })
        .collect();
    libraries.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).and_then(|m| m.modified()).ok()));
    let binary = dir.join("muster");
    let mut said = String::new();
    for library in libraries {
        let mut link = Command::new("nice");
        link.args([
            "rustc",
            "--edition",
            "2024",
            "--crate-name",
            "muster",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
            "-o",
        ])
        .arg(&binary);
        link.arg("--extern").arg(format!("muster={}", library.display())).arg("-L").arg(format!("dependency={}", deps.display()));
        let output = link.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).output().expect("rustc");
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        let live = || Command::new(&binary).args(["run", "--help"]).output().is_ok_and(|output| output.status.success());
        if output.status.success() && live() {
            return binary;
        }
    }
    panic!("no library links: {said}");
}

#[tokio::test]
async fn the_binary_is_static_and_runs_in_the_image_s_root() {
    let Some(moto) = Moto::start().await else { return };
    if !(has("rustc") && has("unshare")) {
        return skip("no rustc or no unshare on the PATH");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let binary = static_binary(dir.path());
    // An ELF file that asks for no interpreter: PT_INTERP names the dynamic loader, and this one needs none.
    let bytes = fs::read(&binary).expect("the binary");
    assert_eq!(&bytes[..5], b"\x7fELF\x02", "64-bit ELF");
    let number =
        |at: usize, length: usize| bytes[at..at + length].iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte));
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!((0..count).all(|n| number(first + n * size, 4) != 3), "no program header is PT_INTERP");

    let root = dir.path().join("root");
    fs::create_dir_all(root.join("etc/ssl/certs")).expect("a root");
    fs::copy(&binary, root.join("muster")).expect("the binary");
    let Ok(_) = fs::copy("/etc/ssl/certs/ca-certificates.crt", root.join("etc/ssl/certs/ca-certificates.crt")) else {
        return skip("no /etc/ssl/certs/ca-certificates.crt: install the package ca-certificates");
    };
    fs::write(root.join("etc/hosts"), "127.0.0.1 aws.test\n").expect("hosts, which every container engine writes");
    let run = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--root"]).arg(&root).arg("/muster").args(args).env_clear();
        // A name, so that it has to be resolved without any of glibc's libraries at hand.
        command
            .envs(env(&moto.url().replace("127.0.0.1", "aws.test"), TEST_KEY))
            .env("PATH", std::env::var("PATH").unwrap_or_default());
        let output = command.output().expect("unshare");
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let (code, said) = run(&["--version"]);
    assert!(code == Some(0) && said.starts_with("muster "), "{said}");
    let (code, said) = run(&["run", "--manifests", "s3://no-such-bucket/manifests"]);
    assert!(code == Some(6) && said.contains("NoSuchBucket"), "it reached AWS by name: {said}");
}

#[test]
fn the_image_is_empty_but_for_the_binary_and_runs_as_nobody() {
    let text = read("Dockerfile");
    let last = text.rsplit_once("\nFROM ").expect("two stages").1;
    assert!(
        last.starts_with("scratch\n") && last.contains("USER 65532:65532") && last.contains("ENTRYPOINT [\"/muster\"]"),
        "{last}"
    );
    assert!(text.contains("target-feature=+crt-static") && text.contains("--locked"));
    let wanted = read("Cargo.toml")
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .map(|v| v.trim_end_matches('"').to_owned());
    assert!(text.contains(&format!("FROM rust:{}-", wanted.expect("a version"))), "the compiler that Cargo.toml asks for");
    // Files that Cargo.toml names must be in the build's context.
    let ignored = read(".dockerignore");
    for kept in ["src", "reconciler", "templates", "tests", "benches", "Cargo"] {
        assert!(!ignored.lines().any(|line| line.starts_with(kept)), "{kept} is needed to build");
    }
    // What is compiled in by include_str must be there, too.
    assert!(!ignored.lines().any(|line| line == "manifests"));
}

#[test]
fn the_systemd_unit_is_right_and_hardened() {
    let unit = read("manifests/systemd/muster.service");
    for line in [
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "Restart=always",
        "EnvironmentFile=/etc/muster/environment",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}");
    }
    if !has("systemd-analyze") {
        // Debian has it in the package systemd, which a container rarely holds.
        return skip("there is no `systemd-analyze`; install systemd (it need not run)");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("muster.service");
    fs::write(&file, unit.replace("/usr/local/bin/muster", env!("CARGO_BIN_EXE_muster"))).expect("a file");
    let judge = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).arg(&file).output().expect("systemd-analyze");
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let (ok, said) = judge(&["verify", "--man=no"]);
    assert!(ok, "{said}");
    // From 0 to 10; systemd calls what is below 2 OK.
    let (ok, said) = judge(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
    assert!(ok, "{said}");
}
