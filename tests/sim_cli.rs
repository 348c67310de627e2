//! `muster sim` as a process: what it prints, its exit codes, and a failure that can be replayed.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), args)
}

fn run(dir: &std::path::Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_muster")).arg("sim").args(args).current_dir(dir).output().expect("muster runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// What each submission is proved by: many worlds, none of which finds anything.
#[test]
fn a_thousand_seeds_violate_nothing() {
    let (code, out, err) = sim(&["--seeds", "1000"]);
    println!("{out}");
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.contains("1000 seeds in") && out.contains("no invariant was violated"), "{out}");
    assert!(out.contains("controller steps/s"), "{out}");
}

#[test]
fn a_crash_at_every_effect_ends_where_the_run_without_one_does() {
    let (code, out, err) = sim(&["--crash-each"]);
    println!("{out}");
    assert_eq!(code, 0, "{out}\n{err}");
    let (good, all) = out.lines().find_map(|l| l.split_once(" crashes ended")?.0.split_once(" of ")).expect("the count");
    assert!(good == all && all.parse::<u32>().expect("a number") > 50, "{out}");
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
    let (code, _, err) = run(dir.path(), &["--trace"]);
    assert!(code == 1 && err.contains("--seed or --scenario"), "{code}: {err}");
    let (code, _, err) = run(dir.path(), &["--seed", "1", "--seeds", "2"]);
    assert!(code == 2 && err.contains("cannot be used with"), "{code}: {err}");
    let (code, _, err) = run(dir.path(), &["--jobs", "0"]);
    assert!(code == 2 && err.contains("--jobs"), "{code}: {err}");
}
