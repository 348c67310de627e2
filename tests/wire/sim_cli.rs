//! `muster sim` as a process: what it prints, its exit codes, and a failure that can be replayed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn sim(args: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), args)
}

fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_muster")).arg("sim").args(args).current_dir(dir).output().expect("muster runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// The proof of each submission: many worlds, in none of which anything is found.
#[test]
fn a_thousand_seeds_violate_nothing() {
    let (code, out, err) = sim(&["--seeds", "1000"]);
    println!("{out}");
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.contains("1000 seeds in") && out.contains("no invariant was violated"), "{out}");
    assert!(out.contains("controller steps/s"), "{out}");
}

/// Each example is crashed after every effect, and every kind of effect occurs.
#[test]
fn a_crash_at_every_effect_ends_where_the_run_without_one_does() {
    let (code, out, err) = sim(&["--crash-each"]);
    println!("{out}");
    assert_eq!(code, 0, "{out}\n{err}");
    for example in ["burst", "warm", "broken", "unheard", "lost", "late"] {
        assert!(out.contains(&format!("example {example}: ")), "{out}");
    }
    let (right, all) = out.lines().find_map(|l| l.split_once(" crashes were right")?.0.split_once(" of ")).expect("the count");
    assert!(right == all && all.parse::<u32>().expect("a number") > 400, "{out}");
    assert!(out.contains("after 15 of 15 kinds of effects"), "{out}");
}

/// In a drawn world, a crash changes what meets which fault. So a different end does not count as wrong.
#[test]
fn a_crash_in_a_world_with_faults_is_judged_by_the_invariants_only() {
    let (code, out, err) = sim(&["--seed", "3", "--crash-each", "--jobs", "2"]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.contains("judged by the invariants only") && !out.contains("WRONG"), "{out}");
}

// ------------------------------------------------------------------------------------------------------ failures

/// The scenario of an example, which must come to rest in less time than it needs.
fn hurried(dir: &Path, file: &str, within: &str) {
    let (code, out, err) = run(dir, &["--example", "burst", "--save", file]);
    assert_eq!(code, 0, "{out}\n{err}");
    let text = std::fs::read_to_string(dir.join(file)).expect("the scenario");
    let mut scenario: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    scenario["disturbed"] = "31s".into();
    scenario["convergesWithin"] = within.into();
    std::fs::write(dir.join(file), scenario.to_string()).expect("written");
}

/// The commands that the output names after this word, as arguments.
fn commands<'a>(out: &'a str, word: &str) -> Vec<Vec<&'a str>> {
    let command = |l: &'a str| Some(l.trim().strip_prefix(word)?.trim().strip_prefix("muster sim ")?.split(' ').collect());
    out.lines().filter_map(command).collect()
}

#[test]
fn a_failure_is_shrunk_and_can_be_replayed_and_no_file_is_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = ["muster-sim-seed-3.json", "muster-sim-seed-3-2.json", "muster-sim-seed-3-3.json"];
    let text = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap_or_default();
    hurried(dir.path(), files[0], "1s");
    let before = text(files[0]);
    let (code, out, err) = run(dir.path(), &["--scenario", files[0]]);
    assert!(code == 1 && out.contains("FAILED, seed 3: L1: not at rest"), "{code}: {out}\n{err}");
    assert_eq!(commands(&out, "replay it:"), [["--scenario", files[1], "--trace"]], "{out}");
    assert_eq!(commands(&out, "the whole:"), [["--scenario", files[0], "--trace"]], "{out}");
    assert_eq!(text(files[0]), before, "what is replayed is not overwritten");
    let shrunk = text(files[1]);
    assert!(!shrunk.is_empty() && shrunk != before);
    for replay in commands(&out, "replay it:").into_iter().chain(commands(&out, "the whole:")) {
        let (code, again, err) = run(dir.path(), &replay);
        assert!(code == 1 && again.contains("FAILED, seed 3: L1: not at rest"), "{replay:?}: {code}: {again}\n{err}");
        assert!(again.contains("controller process 1 starts"), "{again}");
    }
    assert_eq!((text(files[0]), text(files[1])), (before, shrunk));
    assert_eq!(text(files[2]), "", "what cannot be shrunk further is in its file already");
}

#[test]
fn a_crash_that_goes_wrong_can_be_replayed() {
    let dir = tempfile::tempdir().expect("a directory");
    // This is exactly the time that the run without a crash takes. A run that loses its controller for a while takes
    // longer.
    hurried(dir.path(), "easy.json", "4h");
    let (_, out, _) = run(dir.path(), &["--scenario", "easy.json"]);
    let rest = out.split("at rest ").nth(1).and_then(|o| o.split(" after").next()).expect("how long it took").replace(' ', "");
    hurried(dir.path(), "tight.json", &rest);
    let (code, out, err) = run(dir.path(), &["--scenario", "tight.json", "--crash-each"]);
    assert_eq!(code, 1, "{out}\n{err}");
    let replays = commands(&out, "replay it:");
    let wrong: Vec<&str> = out.lines().filter(|l| l.starts_with("WRONG crash at ")).collect();
    assert!(!wrong.is_empty() && replays.len() == wrong.len(), "{out}");
    let (code, again, err) = run(dir.path(), &replays[0]);
    assert!(code == 1 && again.contains("is killed") && again.lines().any(|l| l == wrong[0]), "{code}: {again}\n{err}");
    let (code, _, err) = run(dir.path(), &["--scenario", "tight.json", "--crash-at", "999:lost"]);
    assert!(code == 1 && err.contains("effect 999") && err.contains("this run has"), "{code}: {err}");
}

#[test]
fn a_crash_that_goes_well_can_be_looked_at() {
    let (code, out, err) = sim(&["--example", "broken", "--crash-at", "11:done", "--trace"]);
    assert!(code == 0 && out.contains("controller process 2 starts"), "{code}: {out}\n{err}");
    assert!(out.contains("right: crash at 11:done (Launch): all is well"), "{out}");
}

/// `muster sim --seed 7 --trace | head -1`.
#[test]
fn nobody_has_to_read_to_the_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["sim", "--seed", "7", "--trace"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("muster runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    assert_eq!((status.code(), String::from_utf8_lossy(&stderr).as_ref()), (Some(0), ""));
    assert!(line.contains("controller process 1 starts"), "{line}");
}

#[test]
fn a_seed_is_the_same_run_twice_and_can_be_looked_at_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, out, err) = run(dir.path(), &["--seed", "7", "--trace", "--save", "seven.json"]);
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.contains("run twice: the same both times"), "{out}");
    assert!(out.contains("controller process 1 starts") && out.lines().count() > 50, "{out}");
    let hash = |out: &str| out.split("hash ").nth(1).map(|h| h[..16].to_owned()).expect("a hash");
    let (code, again, err) = run(dir.path(), &["--scenario", "seven.json"]);
    assert_eq!(code, 0, "{again}\n{err}");
    assert_eq!(hash(&out), hash(&again));
}

#[test]
fn bad_input_is_told_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("bad.json"), r#"{"seed": 1, "rain": true}"#).expect("written");
    let (code, _, err) = run(dir.path(), &["--scenario", "bad.json"]);
    assert!(code == 1 && err.contains("bad.json") && err.contains("rain") && err.contains("--save"), "{code}: {err}");
    let (code, _, err) = run(dir.path(), &["--scenario", "nowhere.json"]);
    assert!(code == 1 && err.contains("nowhere.json"), "{code}: {err}");
}

/// Flags that make no sense together are refused, and not ignored.
#[test]
fn flags_that_say_nothing_together_are_refused() {
    let refused = [
        "--trace",
        "--seed 1 --seeds 2",
        "--seed 1 --scenario a.json",
        "--seed 1 --example warm",
        "--seed 1 --from 2",
        "--seed 1 --minutes 2",
        "--seed 1 --jobs 2",
        "--example warm --jobs 2",
        "--seeds 3 --crash-each",
        "--from 3 --crash-each",
        "--minutes 3 --crash-each",
        "--seed 1 --crash-each --trace",
        "--seed 1 --crash-each --save a.json",
        "--crash-each --shrink 5",
        "--crash-at 3:lost",
        "--seed 1 --crash-at 3:lost --crash-each",
        "--seed 1 --crash-at 3:lost --save a.json",
        "--seed 1 --crash-at 0:lost",
        "--seed 1 --crash-at 3:found",
        "--example rain",
        "--seeds 0",
        "--minutes 0",
        "--jobs 0",
    ];
    for flags in refused {
        let (code, out, err) = sim(&flags.split(' ').collect::<Vec<_>>());
        assert!(code == 2 && out.is_empty() && err.contains("--"), "{flags}: {code}: {out}{err}");
    }
}
