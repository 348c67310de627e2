//! Rules of the house that the compiler does not know, held against the sources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust source of the project.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "benches", "reconciler", "simulator", "message", "operations", "github", "cloud"]
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

/// A name and a version can come to mean other bytes. A digest cannot.
#[test]
fn what_is_fetched_is_pinned_by_its_bytes() {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a file");
    let mut loose = Vec::new();
    let lists = ["tests/requirements.txt", "tests/requirements-checkov.txt", "tests/requirements-pictures.txt"];
    for file in lists.into_iter().chain(["release/requirements.txt"]) {
        let text = read(file);
        let pins: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let packages = pins.iter().filter(|line| line.contains("==")).count();
        let lines = pins.join("\n").replace("\\\n", " ");
        assert_eq!(lines.lines().count(), packages, "{file}: one entry for each package");
        loose.extend(lines.lines().filter(|line| !line.contains("--hash=sha256:")).map(|line| format!("{file}: {line}")));
    }
    let images = [("Dockerfile", "FROM "), (".github/workflows/ci.yml", "image: ")];
    for (file, word) in images {
        let text = read(file);
        let from: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with(word)).collect();
        assert!(!from.is_empty(), "{file}");
        loose.extend(from.into_iter().filter(|line| !line.contains("@sha256:")).map(|line| format!("{file}: {line}")));
    }
    assert!(loose.is_empty(), "write the hashes, too:\n{}", loose.join("\n"));
    assert!(read("tests/setup.sh").contains("pip install --quiet --disable-pip-version-check --no-input --require-hashes"));
}

/// The crates' own sources, without the wire tests.
fn ours() -> impl Iterator<Item = (PathBuf, String)> {
    let own = sources().into_iter().filter(|path| !path.to_string_lossy().contains("/tests/wire/"));
    own.map(|path| (path.clone(), fs::read_to_string(&path).expect("a source")))
}

/// A source that is longer holds two ideas.
#[test]
fn no_source_is_longer_than_500_lines() {
    let lines = ours().map(|(path, text)| (path, text.lines().count()));
    let long: Vec<String> =
        lines.filter(|(_, lines)| *lines > 500).map(|(path, lines)| format!("{}: {lines} lines", path.display())).collect();
    assert!(long.is_empty(), "split by idea:\n{}", long.join("\n"));
}

/// A test that checks a table of cases may be longer.
#[test]
fn no_function_is_longer_than_70_lines() {
    let mut long = Vec::new();
    for (path, text) in ours().filter(|(path, _)| !path.to_string_lossy().contains("tests")) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let begins = line.trim_start();
            let indent = &line[..line.len() - begins.len()];
            let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "];
            let rest = words.iter().fold(begins, |rest, word| rest.strip_prefix(word).unwrap_or(rest));
            let Some(name) = rest.strip_prefix("fn ") else { continue };
            let end = lines[at..].iter().position(|l| *l == format!("{indent}}}")).unwrap_or_default();
            if end + 1 > 70 {
                long.push(format!("{}: {} has {} lines", path.display(), name.split('(').next().unwrap_or_default(), end + 1));
            }
        }
    }
    assert!(long.is_empty(), "give its parts names:\n{}", long.join("\n"));
}

/// What a module of a crate imports from the others, without its unit tests.
fn imports(crate_src: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in ours() {
        let path = path.to_string_lossy().into_owned();
        let Some((_, inside)) = path.split_once(crate_src) else { continue };
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "main") || inside.contains("tests") {
            continue;
        }
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found: Vec<String> = code
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
            .collect();
        all.entry(module).or_default().extend(found);
    }
    let modules: BTreeSet<String> = all.keys().cloned().collect();
    for (module, found) in &mut all {
        found.retain(|name| name != module && modules.contains(name));
    }
    all
}

/// A reader follows the data in one direction.
#[test]
fn no_imports_between_modules_go_in_a_circle() {
    let crates = ["message", "operations", "github", "cloud", "reconciler", "simulator"].map(|name| format!("/{name}/src/"));
    let root = format!("{}/src/", env!("CARGO_MANIFEST_DIR"));
    for crate_src in crates.into_iter().chain([root]) {
        let mut left = imports(&crate_src);
        assert!(left.len() > 3, "{crate_src} has modules");
        // Whoever imports nothing that is left is taken away, until nothing is left or a circle is.
        while let Some(free) = left.iter().find(|(_, found)| found.iter().all(|f| !left.contains_key(f))).map(|(m, _)| m.clone())
        {
            left.remove(&free);
        }
        assert!(left.is_empty(), "{crate_src}: these modules import each other: {left:?}");
    }
}

/// The pairs of a file and a function that a page names: "`plan/count.rs`: `count`, `wants`" or "`world.rs`, `bury`".
fn named(page: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = page.split('`').collect();
    let mut pairs = Vec::new();
    // Text and code take turns: code has the odd numbers.
    for (at, file) in parts.iter().enumerate().skip(1).step_by(2).filter(|(_, part)| part.ends_with(".rs")) {
        let mut next = at + 1;
        while next + 1 < parts.len() && matches!(parts[next], ", " | ": ") && !parts[next + 1].contains(['.', ' ', '/']) {
            pairs.push(((*file).to_owned(), parts[next + 1].to_owned()));
            next += 2;
        }
    }
    pairs
}

#[test]
fn the_docs_name_functions_in_the_files_where_they_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let decisions = fs::read_dir(docs.join("decisions")).expect("the decisions").flatten().map(|entry| entry.path());
    let sources = sources();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in decisions.chain(["architecture.md", "security.md"].map(|page| docs.join(page))) {
        for (file, name) in named(&fs::read_to_string(&page).expect("a page")) {
            seen += 1;
            let last = name.rsplit("::").next().unwrap_or_default().trim_end_matches("()");
            let defines = |line: &str| {
                let line = line
                    .trim_start()
                    .trim_start_matches("pub ")
                    .trim_start_matches("pub(super) ")
                    .trim_start_matches("pub(crate) ");
                let rest = ["const ", "async ", "fn ", "struct ", "enum ", "mod "]
                    .iter()
                    .fold(line, |rest, word| rest.trim_start_matches(word));
                rest.strip_prefix(last).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let there = sources.iter().filter(|path| path.to_string_lossy().ends_with(&format!("/{file}")));
            let mut texts = there.map(|path| fs::read_to_string(path).expect("a source"));
            if !texts.any(|text| text.lines().any(defines)) {
                wrong.push(format!("{}: `{file}` has no `{name}`", page.display()));
            }
        }
    }
    assert!(seen > 80, "only {seen} functions were found in the docs: is their form another one?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The type's name, if this line defines a type or an alias of one. An indented `type` is a trait's associated type, and does not
/// count.
fn defined(line: &str) -> Option<&str> {
    let indented = line.starts_with(' ');
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => line,
    };
    let (kind, rest) = line.trim_start().split_once(' ')?;
    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    (["struct", "enum", "trait"].contains(&kind) || kind == "type" && !indented).then_some(&rest[..end])
}

/// Whoever searches for a type finds one. `Args` is each command's own arguments, and a function's own types are nobody else's.
/// The doubles in tests/wire bear the names of what they imitate.
#[test]
fn no_type_name_has_two_owners() {
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in ours() {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("        ")) {
            if let Some(name) = defined(line).filter(|name| *name != "Args") {
                owners.entry(name.to_owned()).or_default().insert(format!("{}:{}", path.display(), at + 1));
            }
        }
    }
    assert!(owners.len() > 300, "only {} types were found; does this test still read the sources?", owners.len());
    let many: Vec<String> = owners
        .iter()
        .filter(|(_, at)| at.len() > 1)
        .map(|(name, at)| format!("{name}: {}", at.iter().cloned().collect::<Vec<_>>().join(", ")))
        .collect();
    assert!(many.is_empty(), "say in the name whose it is:\n{}", many.join("\n"));
}

/// The parts of a macro's call between commas, without those in brackets and texts. `text` begins after the opening parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut chars) = (Vec::new(), String::new(), 0, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                while let Some(inner) = chars.next().filter(|c| *c != '"') {
                    if inner == '\\' {
                        chars.next();
                    }
                }
                part.push_str("\"\"");
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// The names of the fields of a call of one of tracing's macros.
fn log_fields(call: &str) -> Vec<String> {
    let before_the_message = arguments(call).into_iter().take_while(|part| !part.starts_with('"'));
    // `target: "..."` is no field.
    let fields = before_the_message.filter(|part| !part.split('=').next().unwrap_or_default().contains(':'));
    fields.map(|part| part.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']).to_owned()).collect()
}

/// The fields of an event are the keys of its line in JSON, beside tracing's own keys. A reader keeps one of two equal keys.
/// <https://docs.rs/tracing-subscriber/0.3/tracing_subscriber/fmt/format/struct.Json.html>
#[test]
fn no_key_stands_twice_in_a_line_of_the_log() {
    const OWN: [&str; 10] =
        ["timestamp", "level", "message", "target", "span", "spans", "filename", "line_number", "threadName", "threadId"];
    assert_eq!(
        log_fields(r#"?op, id, message = f(a, "b, c"), error = %e, "text {x}", x = 1)"#),
        ["op", "id", "message", "error"]
    );
    let (mut calls, mut twice) = (0, Vec::new());
    for (path, text) in ours().filter(|(path, _)| !path.ends_with("house.rs")) {
        for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!(", "event!("] {
            for (at, _) in text.match_indices(&format!("tracing::{level}")) {
                calls += 1;
                let fields = log_fields(&text[at + "tracing::".len() + level.len()..]);
                let doubled = |(nth, name): (usize, &String)| OWN.contains(&&**name) || fields[..nth].contains(name);
                let bad = fields.iter().enumerate().find(|(nth, name)| doubled((*nth, name)));
                if let Some((_, name)) = bad {
                    let line = text[..at].lines().count();
                    twice.push(format!("{}:{line}: {name}", path.display()));
                }
            }
        }
    }
    assert!(calls > 70, "only {calls} calls were found; are they written in another form?");
    assert!(twice.is_empty(), "give the field another name, such as message_id:\n{}", twice.join("\n"));
}

/// Text of others may hold characters that a terminal obeys or does not show. One module writes them out.
#[test]
fn all_text_for_a_terminal_passes_through_one_module() {
    let terminal = |path: &Path| path.ends_with("operations/src/terminal.rs");
    let mut direct = Vec::new();
    for (path, text) in ours().filter(|(path, _)| !terminal(path) && path.components().any(|part| part.as_os_str() == "src")) {
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (at, line) in product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let prints = ["println!(", "print!(", "io::stdout()", "io::stderr()"].iter().any(|word| line.contains(word));
            if prints && !line.contains(".is_terminal()") {
                direct.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
            }
        }
    }
    assert!(direct.is_empty(), "use muster_operations::terminal:\n{}", direct.join("\n"));
}

/// A shadow must not be able to change anything: its adapters offer these methods and no others, and it holds no other adapter.
#[test]
fn a_shadow_holds_no_adapter_that_changes_anything() {
    let (mut offered, mut held) = (BTreeSet::new(), Vec::new());
    for (path, text) in ours() {
        let path = path.to_string_lossy().into_owned();
        if !path.contains("cloud/shadow/") && !path.contains("cloud/src/shadow/") {
            continue;
        }
        if path.ends_with("shadow/eyes.rs") || path.ends_with("shadow/queue.rs") {
            let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub "));
            let names = names.filter_map(|line| line.trim_start_matches("async ").strip_prefix("fn "));
            offered.extend(names.filter_map(|line| Some(line.split_once('(')?.0.to_owned())));
        }
        let changing =
            ["Executor", "driver::", "aws.ec2", ".ec2.", ".ssm.", "PutParameter", "LeaseTask", "SyncTask", "UsageTask"];
        held.extend(changing.iter().filter(|name| text.contains(**name)).map(|name| format!("{path}: {name}")));
    }
    let only = ["delete", "job", "look", "new", "open", "read", "receive", "runners"];
    assert_eq!(offered.iter().map(String::as_str).collect::<Vec<_>>(), only, "`delete` is of messages of its own queue");
    assert!(held.is_empty(), "{held:?}");
}
