//! `muster tune`, as a user runs it. It needs no AWS and no GitHub.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const POOL: &str = r#"# the team's only pool
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: linux}
spec:
  github: {app: main, scope: org/acme}
  labels: [self-hosted, linux]
  capacity:
    max: 30     # the quota
  instance: {types: [m7i.large], subnets: [subnet-a], market: spot}
---
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: gpu}
spec:
  github: {app: main, scope: org/acme}
  labels: [self-hosted, gpu]
  instance: {types: [m7i.large], subnets: [subnet-a], market: spot}
---
apiVersion: muster/v1
kind: GitHubApp
metadata: {name: main}
spec: {appId: 7, privateKey: "env:KEY", webhookSecrets: ["env:SECRET"]}
"#;

fn tune(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.current_dir(dir).arg("tune").args(args).output().expect("the binary runs")
}

/// Manifests, prices, and three days with twenty jobs at nine o'clock and two later.
fn world() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("pools")).expect("a directory");
    let mut trace = "queued_at,duration,labels,repo\n".to_owned();
    for day in 5..8 {
        for second in 0..20 {
            let _ = writeln!(trace, "2026-01-0{day}T09:00:{second:02}Z,300,self-hosted;linux,acme/web");
        }
        let _ = writeln!(trace, "2026-01-0{day}T12:00:00Z,300,self-hosted;linux,acme/web");
        let _ = writeln!(trace, "2026-01-0{day}T15:00:00Z,300,self-hosted;linux,acme/web");
    }
    let short = trace.lines().take(21).collect::<Vec<_>>().join("\n");
    let other = trace.replace("self-hosted;linux", "macos");
    for (name, body) in [
        ("pools/pools.yaml", POOL),
        ("trace.csv", trace.as_str()),
        ("short.csv", short.as_str()),
        ("empty.csv", "queued_at,duration,labels\n"),
        ("other.csv", other.as_str()),
        ("prices.yaml", "asOf: 2026-03-01\ncurrency: EUR\nlinux:\n  m7i.large: {onDemand: 0.10, spot: 0.04}\n"),
        ("half.yaml", "asOf: 2026-03-01\ncurrency: EUR\nlinux:\n  m7i.large: {onDemand: 0.10}\n"),
    ] {
        fs::write(dir.path().join(name), body).expect("a file");
    }
    dir
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_chosen_manifests_are_written_with_their_reason_and_a_persons_comments() {
    let dir = world();
    let output = tune(
        dir.path(),
        &[
            "pools",
            "--trace",
            "trace.csv",
            "--prices",
            "prices.yaml",
            "--goal",
            "p90 wait <= 10s",
            "--weather",
            "calm",
            "--candidates",
            "14",
            "--seeds",
            "2",
            "-o",
            "json",
            "--write",
            "tuned",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let chosen = answer["chosen"].as_u64().and_then(|at| usize::try_from(at).ok()).expect("one is chosen");
    let choice = &answer["frontier"][chosen];
    assert!(choice["changes"][0].as_str().is_some_and(|said| said.contains("`50 8 * * *`")), "{choice}");
    assert!(answer["today"]["goalWaitSeconds"]["min"].as_f64().is_some_and(|wait| wait > 10.0), "{}", answer["today"]);
    assert!(answer["asked"]["notes"].to_string().contains("no job is for gpu"), "{}", answer["asked"]);
    let text = fs::read_to_string(dir.path().join("tuned/pools.yaml")).expect("written");
    for words in [
        "# the team's only pool",
        "max: 30     # the quota",
        "# muster tune: p90 wait <= 10s is met",
        "EUR a day; before: p90",
        "cron: \"50 8 * * *\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("pools/pools.yaml")).expect("unchanged"), POOL);
    let again = tune(dir.path(), &["pools", "--trace", "trace.csv", "--goal", "p90 wait <= 10s", "--write", "tuned"]);
    assert!(again.status.code() == Some(2) && stderr(&again).contains("tuned holds manifests already"), "{}", stderr(&again));
}

#[test]
fn what_cannot_be_tuned_is_answered_in_a_sentence_with_the_way_out() {
    let dir = world();
    let said = |args: &[&str]| {
        let output = tune(dir.path(), &[&["pools", "--prices", "prices.yaml"], args].concat());
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        (output.status.code(), stderr(&output))
    };
    let goal = ["--goal", "p95 wait <= 30s"];
    for (args, code, why) in [
        (&["--trace", "empty.csv"][..], 1, "holds no job"),
        (&["--trace", "short.csv"], 1, "too short to hold a part out"),
        (&["--trace", "other.csv"], 1, "no pool takes any job of other.csv; `muster match macos`"),
        (&["--trace", "trace.csv", "--pool", "mac"], 1, "there is no such pool; there are gpu, linux"),
        (&["--trace", "trace.csv", "--pool", "gpu"], 1, "no job of trace.csv is for this pool"),
        (&["--trace", "trace.csv", "--budget", "40"], 2, "does not say for what time"),
        (&["--trace", "trace.csv", "--may-lose", "101"], 2, "is no percentage"),
        (&["--trace", "trace.csv", "--candidates", "0"], 2, "count from 1"),
        (&["--record", "."], 3, "there is no record here"),
        (&["--trace", "trace.csv", "--write", "trace.csv/x"], 2, "leads through a file"),
    ] {
        let (exit, error) = said(&[args, &goal].concat());
        assert!(exit == Some(code) && error.contains(why), "{args:?}: {exit:?} {error}");
    }
    assert!(said(&["--trace", "trace.csv", "--goal", "p95 < 30s"]).1.contains("has no `<=`"));
    let output = tune(dir.path(), &["pools", "--trace", "trace.csv", "--prices", "half.yaml", "--goal", "p95 wait <= 30s"]);
    assert!(
        stderr(&output).contains("no price of m7i.large (spot): without them the costs cannot be compared"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_goal_that_nothing_meets_is_answered_with_the_best_there_is() {
    let dir = world();
    let args = [
        "pools",
        "--trace",
        "trace.csv",
        "--prices",
        "prices.yaml",
        "--goal",
        "max wait <= 1s",
        "--weather",
        "calm",
        "--candidates",
        "4",
        "--seeds",
        "1",
        "--write",
        "tuned",
    ];
    let output = tune(dir.path(), &args);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{table}");
    for words in
        ["nothing that was tried meets max wait <= 1s", "the best max is", "EUR a day (today", "THE FRONTIER", "NOT KNOWN"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert!(stderr(&output).contains("nothing is chosen, so nothing is written") && !dir.path().join("tuned").exists());
}

/// A part of a record, as the flight recorder keeps it.
#[test]
fn the_jobs_come_from_a_flight_record_too() {
    let dir = world();
    let part = dir.path().join("record/test/2026-01-01/00/0000.000_p1_0_begins.jsonl.gz");
    fs::create_dir_all(part.parent().expect("a folder")).expect("folders");
    let day = Path::new(env!("CARGO_MANIFEST_DIR")).join("simulator/tests/recorded/seed-11.jsonl.gz");
    fs::copy(day, &part).expect("a copy");
    fs::write(dir.path().join("pools/pools.yaml"), POOL.replace("[self-hosted, linux]", "[self-hosted, linux, x64, large]"))
        .expect("a file");
    let run = |more: &[&str]| {
        let args = ["pools", "--record", "record", "--prices", "prices.yaml", "--goal", "max wait <= 30m", "--weather", "calm"];
        let output = tune(dir.path(), &[&args[..], &["--candidates", "4", "--seeds", "1"], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output))
    };
    // The record has jobs of 36 minutes.
    let (code, said) = run(&[]);
    assert!(code == Some(1) && said.contains("the jobs lie within 36m 19s, which is too short"), "{code:?} {said}");
    // A part is missing between two others.
    fs::copy(&part, part.with_file_name("0500.000_p1_2.jsonl.gz")).expect("a copy");
    let (code, said) = run(&[]);
    assert!(code != Some(0) && said.contains("--from"), "{code:?} {said}");
}

/// In another directory, a relative reference would mean another file.
#[test]
fn manifests_whose_secrets_lie_beside_them_are_not_written_elsewhere() {
    let dir = world();
    fs::write(dir.path().join("pools/pools.yaml"), POOL.replace("env:KEY", "file:key.pem")).expect("a file");
    let args = ["pools", "--trace", "trace.csv", "--prices", "prices.yaml", "--goal", "p95 wait <= 30s", "--weather", "calm"];
    let output = tune(dir.path(), &[&args[..], &["--write", "tuned"]].concat());
    assert!(stderr(&output).contains("file:key.pem begins at the manifests' directory"), "{}", stderr(&output));
    assert!(output.status.code() == Some(2) && !dir.path().join("tuned").exists());
}
