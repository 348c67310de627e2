//! What the Dockerfile and the systemd unit promise. Images cannot be built here. So the Dockerfile is read, and
//! [`crate::binary`] tries its binary in the root of its base's distribution.

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
    // `binary.rs` tries the binary in the root of this distribution.
    assert!(last.starts_with("gcr.io/distroless/base-nossl-debian13:nonroot"), "{last}");
    assert!(last.contains("USER 65532:65532") && last.contains("ENTRYPOINT [\"/muster\"]"), "{last}");
    assert!(!last.lines().any(|line| line.starts_with("RUN")), "a command in the last stage would run under emulation: {last}");
    // The SDK takes twenty minutes to build, and hours under emulation.
    assert!(text.contains("\nFROM --platform=$BUILDPLATFORM rust:"), "the compiler runs on the builder's own architecture");
    assert!(text.contains("release/build.sh \"$TARGETARCH\""), "the image's binary is built as a release's");
    // The files that Cargo.toml names, and the files that build it, must be in the build's context.
    let ignored = read(".dockerignore");
    for kept in ["src", "reconciler", "simulator", "templates", "tests", "benches", "release", "Cargo"] {
        assert!(!ignored.lines().any(|line| line.starts_with(kept)), "{kept} is needed to build");
    }
    // The files that include_str compiles in must be in the context, too.
    assert!(!ignored.lines().any(|line| line == "manifests"));
}

/// With the unit's `ProcSubset=pid`, /proc has no /proc/stat, from which the library reads when the process began.
#[tokio::test]
async fn the_process_s_metrics_are_whole_under_the_unit() {
    let inside = |command: &str| {
        let mut unshare = tokio::process::Command::new("unshare");
        let script = format!("mount -t proc -o subset=pid proc /proc && test ! -e /proc/stat && {command}");
        unshare.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
        unshare.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
        unshare
    };
    if !inside("true").status().await.is_ok_and(|status| status.success()) {
        return skip("no unshare on the PATH, or no namespaces for users here");
    }
    let mut muster = inside(&format!("exec {} demo --port 0", env!("CARGO_BIN_EXE_muster"))).spawn().expect("unshare");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(muster.stdout.take().expect("piped")));
    let url = loop {
        let line = lines.next_line().await.expect("readable").expect("it names its address");
        if let Some(url) = line.strip_prefix("  live page  ") {
            break url.trim_end_matches('/').to_owned();
        }
    };
    let text = reqwest::get(format!("{url}/metrics")).await.expect("an answer").text().await.expect("text");
    muster.kill().await.expect("it runs");
    for name in ["start_time_seconds", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds", "threads"] {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("process_{name} "))?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "process_{name}: {value:?}");
    }
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
        // muster speaks to systemd over AF_UNIX.
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "LimitCORE=0",
        // This hides /proc/stat. The test above shows that nothing of ours needs it.
        "ProcSubset=pid",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}");
    }
    let watchdog = unit.lines().find_map(|line| line.strip_prefix("WatchdogSec=")).and_then(|s| s.parse::<u64>().ok());
    // A loop is stuck after LIMIT. A much shorter watchdog would fire in the gap between two messages.
    assert!(watchdog.is_some_and(|s| s >= muster_operations::liveness::LIMIT.as_secs()), "{watchdog:?}");
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
    // The scale goes from 0 to 10, and systemd calls everything below 2 OK.
    let (ok, said) = judge(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
    assert!(ok, "{said}");
}
