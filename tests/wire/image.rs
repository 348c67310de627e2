//! What the Dockerfile and the systemd unit promise. There is no builder for images here: the Dockerfile is read, and its binary is tried
//! in the root of its base's distribution by [`crate::binary`].

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::tools::skip;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn has(program: &str) -> bool {
    Command::new("sh").arg("-c").arg(format!("command -v {program}")).output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_image_is_glibc_and_the_binary_and_runs_as_nobody() {
    let text = read("Dockerfile");
    let last = text.rsplit_once("\nFROM ").expect("two stages").1;
    // The distribution in whose root `binary.rs` tries it.
    assert!(last.starts_with("gcr.io/distroless/base-nossl-debian13:nonroot"), "{last}");
    assert!(last.contains("USER 65532:65532") && last.contains("ENTRYPOINT [\"/muster\"]"), "{last}");
    assert!(!last.lines().any(|line| line.starts_with("RUN")), "what runs in the last stage would be emulated: {last}");
    // The SDK takes twenty minutes to build, and hours under emulation.
    assert!(text.contains("\nFROM --platform=$BUILDPLATFORM rust:"), "the compiler runs on the builder's own architecture");
    assert!(text.contains("release/build.sh \"$TARGETARCH\""), "the image's binary is built as a release's");
    // Files that Cargo.toml names, and those that build it, must be in the build's context.
    let ignored = read(".dockerignore");
    for kept in ["src", "reconciler", "templates", "tests", "benches", "release", "Cargo"] {
        assert!(!ignored.lines().any(|line| line.starts_with(kept)), "{kept} is needed to build");
    }
    // What is compiled in by include_str must be there, too.
    assert!(!ignored.lines().any(|line| line == "manifests"));
}

#[test]
fn the_systemd_unit_is_right_and_hardened() {
    let unit = read("terraform/modules/controller/muster.service");
    for line in [
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "Restart=always",
        "EnvironmentFile=/etc/muster/environment",
        "Type=notify",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}");
    }
    assert!(unit.lines().any(|line| line.starts_with("WatchdogSec=")), "a process that hangs is restarted");
    let families = unit.lines().find_map(|line| line.strip_prefix("RestrictAddressFamilies=")).expect("the families");
    assert!(families.split(' ').any(|family| family == "AF_UNIX"), "systemd is told by a Unix socket: {families}");
    assert!(!unit.lines().any(|line| line == "ProcSubset=pid"), "it hides /proc/stat, and process_start_time_seconds would be 0");
    if !has("systemd-analyze") {
        return skip("there is no systemd-analyze, so the unit was read, and not judged by systemd; install systemd");
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
