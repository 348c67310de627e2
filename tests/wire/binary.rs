//! What a release promises of its binary. It runs on Linux distributions older and newer than the one that built it, and
//! resolves names there. Here it is linked as `release/build.sh` links it. It is tried in root file systems that are made
//! of other distributions' own packages.
//!
//! `MUSTER_BINARY=PATH` tries this binary instead, for example one that `release/build.sh` has built.

use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use support::moto::{Moto, TEST_KEY, env};
use support::tools::skip;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn has(program: &str) -> bool {
    Command::new("sh").arg("-c").arg(format!("command -v {program}")).output().is_ok_and(|output| output.status.success())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The version of glibc that `release/build.sh` links against.
fn glibc() -> String {
    read("release/build.sh").lines().find_map(|line| line.strip_prefix("glibc=").map(str::to_owned)).expect("glibc=VERSION")
}

/// The linker of `release/build.sh`: Zig's, for this machine's architecture and that old glibc. None: Zig is not installed.
fn linker(dir: &Path) -> Option<PathBuf> {
    let python = root().join(".venv-release/bin/python");
    if !Command::new(&python).args(["-m", "ziglang", "version"]).output().is_ok_and(|output| output.status.success()) {
        return None;
    }
    let path = dir.join("linker");
    let target = format!("{}-linux-gnu.{}", std::env::consts::ARCH, glibc());
    fs::write(&path, format!("#!/bin/sh\nexec '{}' -m ziglang cc -target {target} \"$@\"\n", python.display())).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
    Some(path)
}

/// The binary that is tried, linked once for all tests. None: the machine lacks something for it, which was reported.
fn binary() -> Option<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = BINARY.get_or_init(|| match std::env::var_os("MUSTER_BINARY") {
        Some(given) => Ok(PathBuf::from(given)),
        None => link(),
    });
    match made {
        Ok(path) => Some(path),
        Err(why) => {
            skip(why);
            None
        }
    }
}

/// Links the library that this test was built with anew, as a release is linked. `libmuster` with the feature `live` is the
/// newest library that links and knows `run`. Err: what the machine lacks.
fn link() -> Result<PathBuf, String> {
    for (program, package) in [("rustc", "Rust"), ("readelf", "binutils"), ("unshare", "util-linux")] {
        if !has(program) {
            return Err(format!("there is no `{program}`, so no released binary was tried; install {package}"));
        }
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("released");
    fs::create_dir_all(&dir).expect("a directory");
    let Some(linker) = linker(&dir) else {
        return Err("there is no Zig in .venv-release, so no released binary was tried; `make setup` installs it".to_owned());
    };
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
    let mut errors = String::new();
    for library in libraries {
        let mut link = Command::new("nice");
        link.args(["rustc", "--edition", "2024", "--crate-name", "muster", "-C", "strip=symbols", "-o"]).arg(&binary);
        link.arg("-C").arg(format!("linker={}", linker.display()));
        link.arg("--extern").arg(format!("muster={}", library.display())).arg("-L").arg(format!("dependency={}", deps.display()));
        let output = link.arg(root().join("src/main.rs")).output().expect("rustc");
        errors = said(&output);
        let live = || Command::new(&binary).args(["run", "--help"]).output().is_ok_and(|output| output.status.success());
        if output.status.success() && live() {
            return Ok(binary);
        }
    }
    panic!("no library links: {errors}");
}

/// The root of another distribution, made of its own packages and kept between runs. Err: why this machine cannot have it.
fn foreign(suite: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("roots").join(suite);
    let complete = folder.join("complete");
    if !complete.exists() {
        let output = Command::new("sh").arg(root().join("tests/roots/make.sh")).arg(suite).arg(&folder).output().expect("sh");
        match output.status.code() {
            Some(0) => fs::write(&complete, "").expect("a mark"),
            Some(3) => return Err(said(&output).trim().to_owned()),
            _ => panic!("tests/roots/make.sh {suite}: {}", said(&output)),
        }
    }
    Ok(folder)
}

/// Runs `muster ARGS` in that root, with AWS at `aws`. If a signal ends it, the code is a shell's: 128 and the signal.
fn run_in(root: &Path, aws: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--root"]).arg(root).arg("/muster").args(args).env_clear();
    command.envs(env(aws, TEST_KEY)).env("PATH", std::env::var("PATH").unwrap_or_default());
    let output = command.output().expect("unshare");
    let signal = || std::os::unix::process::ExitStatusExt::signal(&output.status).map(|signal| 128 + signal);
    (output.status.code().or_else(signal).expect("a code or a signal"), said(&output))
}

/// What a host's `/etc/nsswitch.conf` may say about names. With the last two, a statically linked glibc crashed, because it
/// loads the machine's own modules, which need the machine's own glibc.
const NAME_SERVICES: [&str; 3] = ["files dns", "files dns myhostname", "files myhostname resolve [!UNAVAIL=return] dns"];

#[tokio::test]
async fn the_binary_runs_and_resolves_names_under_older_and_newer_glibcs() {
    let Some(moto) = Moto::start().await else { return };
    let Some(binary) = binary() else { return };
    let ubuntu = fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"));
    // These have glibc 2.31, 2.36 and 2.41, or 2.31, 2.35 and 2.39. Trixie with `files dns` is what the image has: see the
    // Dockerfile.
    for suite in if ubuntu { ["focal", "jammy", "noble"] } else { ["bullseye", "bookworm", "trixie"] } {
        let foreign = match foreign(suite) {
            Ok(folder) => folder,
            Err(why) => {
                skip(&why);
                continue;
            }
        };
        fs::remove_file(foreign.join("muster")).ok();
        fs::copy(binary, foreign.join("muster")).expect("the binary");
        fs::copy("/etc/ssl/certs/ca-certificates.crt", foreign.join("etc/ssl/certs/ca-certificates.crt")).expect("authorities");
        for services in NAME_SERVICES {
            fs::write(foreign.join("etc/nsswitch.conf"), format!("hosts: {services}\n")).expect("nsswitch.conf");
            fs::write(foreign.join("etc/hosts"), "127.0.0.1 aws.test\n").expect("hosts");
            let world = format!("{suite}, hosts: {services}");

            let (code, said) = run_in(&foreign, moto.url(), &["--version"]);
            assert!(code == 0 && said.starts_with("muster "), "{world}: {code} {said}");

            let (code, said) = run_in(&foreign, moto.url(), &["health", "--controller", "http://aws.test:1"]);
            assert!(code == 1 && said.contains("failed to connect to aws.test:1"), "{world}, a health check: {code} {said}");

            let run = ["run", "--manifests", "s3://no-such-bucket/manifests"];
            let (code, said) = run_in(&foreign, &moto.url().replace("127.0.0.1", "aws.test"), &run);
            assert!(code == 6 && said.contains("NoSuchBucket"), "{world}, a name from /etc/hosts: {code} {said}");
            // Only the module `myhostname` knows a name under localhost. So this shows that the machine's module was
            // loaded.
            let (code, said) = run_in(&foreign, &moto.url().replace("127.0.0.1", "aws.localhost"), &run);
            let found = said.contains("NoSuchBucket");
            assert!(code == 6 && found == services.contains("myhostname"), "{world}, a name of the module's: {code} {said}");
            // No name server answers here.
            let (code, said) = run_in(&foreign, "http://aws.invalid:1", &run);
            assert!(code == 6 && said.contains("s3://no-such-bucket"), "{world}, an unknown name: {code} {said}");
        }
    }
}

#[test]
fn the_binary_needs_no_more_than_the_promised_glibc() {
    let Some(binary) = binary() else { return };
    let check = |file: &Path| {
        let output = Command::new("sh").arg(root().join("release/check-binary.sh")).arg(file).output().expect("sh");
        (output.status.success(), said(&output))
    };
    let (ok, said) = check(binary);
    assert!(ok && said.contains("libc.so.6"), "{said}");
    // The check can fail: the system's own linker binds to the system's glibc, and to another library.
    let (ok, said) = check(Path::new(env!("CARGO_BIN_EXE_muster")));
    assert!(!ok && said.contains("libgcc_s.so.1"), "{said}");
}
