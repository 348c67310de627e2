//! Rules of the house that the compiler does not know, held against the sources themselves.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust source of the project.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "reconciler", "simulator"]
        .iter()
        .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Lines for which `wrong` says true, as FILE:LINE. Its second argument is the whole file.
fn lines(wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let found = sources().into_iter().filter(|path| !path.ends_with("house.rs")).flat_map(|path| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let bad = text
            .lines()
            .enumerate()
            .filter(|(_, line)| wrong(line, &text))
            .map(|(at, line)| format!("{}:{}: {}", path.display(), at + 1, line.trim()));
        bad.collect::<Vec<_>>()
    });
    found.collect()
}

#[test]
fn no_test_counts_on_a_port_that_it_does_not_hold() {
    // The listener is dropped at the end of such a line, and the port may be anybody's in the next.
    let dropped = lines(|line, _| line.contains("bind(") && line.contains("local_addr"));
    assert!(dropped.is_empty(), "use support::tools::Port or DeadPort, which keep the port:\n{}", dropped.join("\n"));
}

#[test]
fn no_test_asks_the_clock_for_a_verdict() {
    // A clock that the test itself turns (`start_paused`) is no clock.
    let timed = lines(|line, file| {
        let line = line.trim_start();
        let paused = file.contains("start_paused = true");
        line.starts_with("assert") && line.contains("elapsed()") && !line.contains("PATIENCE") && !paused
    });
    assert!(timed.is_empty(), "wait for a condition with `eventually`; report figures in a benchmark:\n{}", timed.join("\n"));
}
