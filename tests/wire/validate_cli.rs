//! `muster validate` and `muster schema`, as a user runs them. They need no AWS, no GitHub, and not the feature `live`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use muster_reconciler::manifest::{self, KINDS, Spec};
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");

fn muster(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_muster")).args(args).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn good_manifests_are_summed_up_one_a_line() {
    let output = muster(&["validate", EXAMPLES]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stderr(&output), "");
    let out = stdout(&output);
    let first: Vec<&str> = out.lines().map(|line| line.split(':').next().expect("a name")).collect();
    let pools = ["RunnerPool linux-arm64", "RunnerPool linux-warm", "RunnerPool linux-x64", "RunnerPool windows-x64"];
    assert_eq!(first, [&["Controller prod", "GitHubApp main"], &pools[..]].concat());
    assert!(out.contains("reusable, idle 0 (1 schedule), max 12"), "{out}");
}

#[test]
fn what_github_will_do_otherwise_is_a_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["controller.yaml", "github-app.yaml", "pools.yaml"] {
        let body = fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("an example");
        fs::write(dir.path().join(name), body.replace("runnerGroup: monorepo", "runnerGroup: Default")).expect("a manifest");
    }
    let output = muster(&["validate", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("warning: RunnerPool linux-warm: its runners are in the group Default"), "{said}");
    assert!(lines[1].starts_with("warning: RunnerPool linux-x64: runners of pool linux-warm have all its labels"), "{said}");
}

#[test]
fn an_instance_type_that_is_misspelt_is_a_warning_with_the_nearest_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["controller.yaml", "github-app.yaml", "pools.yaml"] {
        let body = fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("an example");
        fs::write(dir.path().join(name), body.replacen("m7i.large", "m7i.lrage", 1)).expect("a manifest");
    }
    let path = dir.path().to_str().expect("UTF-8");
    let output = muster(&["validate", path]);
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(0), 1), "a new type may be unknown: {output:?}");
    assert!(said.starts_with("warning: RunnerPool linux-x64: spec.instance.types: m7i.lrage is not among"), "{said}");
    assert!(said.contains("did you mean m7i.large? `muster doctor` asks EC2"), "{said}");
    let github = stdout(&muster(&["validate", path, "-o", "github"]));
    assert!(github.starts_with("::warning file=") && github.contains("/pools.yaml,line="), "{github}");
}

#[test]
fn every_problem_of_every_file_is_on_stderr_as_file_and_line() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["controller.yaml", "github-app.yaml", "pools.yaml"] {
        let body = fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("an example");
        let body =
            body.replacen("appId: 123456", "appId: no", 1).replacen("max: 50", "max: -1", 1).replacen("x64]", "X64, x64]", 1);
        fs::write(dir.path().join(name), body).expect("a manifest");
    }
    let output = muster(&["validate", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stdout(&output), "");
    let said = stderr(&output);
    // Below each problem stand its line and a caret.
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!((lines.len(), said.lines().count()), (3, 9), "{said}");
    assert!(said.contains("\n  15 |     max: -1\n     |     ^\n"), "{said}");
    assert!(lines[0].starts_with("github-app.yaml:8: spec.appId: expected a whole number"), "{said}");
    assert!(lines[1].starts_with("pools.yaml:13: spec.labels[3]: `x64` stands here twice"), "{said}");
    assert!(lines[2].starts_with("pools.yaml:15: spec.capacity.max: expected a whole number"), "{said}");
}

#[test]
fn a_directory_of_the_terraform_module_needs_no_controller() {
    let dir = tempfile::tempdir().expect("a directory");
    let copy = |name: &str, into: &str| {
        let text = fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("an example");
        fs::write(dir.path().join(into), text).expect("a manifest");
    };
    copy("github-app.yaml", "github-app.yaml");
    copy("pools.yaml", "pools.yaml");
    let path = dir.path().to_str().expect("UTF-8");
    let output = muster(&["validate", path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr(&output).starts_with(&format!("note: no Controller in {path}: muster assumes the one")), "{output:?}");
    assert!(!stdout(&output).contains("Controller"), "it is not written: {output:?}");
    let output = muster(&["validate", path, "--cluster", "prod"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{output:?}");
    // The rules that depend on the cluster's name are checked.
    let output = muster(&["validate", path, "--cluster", &"x".repeat(40)]);
    assert!(stderr(&output).contains("pools.yaml:"), "{output:?}");
    // A Controller's manifest wins over `--cluster`.
    copy("controller.yaml", "controller.yaml");
    let output = muster(&["validate", path, "--cluster", "other"]);
    assert!(stdout(&output).contains("Controller prod"), "{output:?}");
}

#[test]
fn manifests_on_standard_input_are_answered_as_terraform_wants_it() {
    let judge = |input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["validate", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    };
    let text = |name: &str| fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("an example");
    let mut files = json!({ "a.yaml": text("controller.yaml"), "b.yaml": text("github-app.yaml"), "c.yaml": text("pools.yaml") });
    let output = judge(&files.to_string());
    assert_eq!((output.status.code(), stdout(&output).trim()), (Some(0), "{}"), "{output:?}");
    files["c.yaml"] = text("pools.yaml").replacen("max: 50", "max: -1", 1).into();
    let output = judge(&files.to_string());
    assert_eq!((output.status.code(), stdout(&output).trim()), (Some(1), ""), "{output:?}");
    assert!(stderr(&output).starts_with("c.yaml:15: spec.capacity.max: expected a whole number"), "{output:?}");
    let output = judge("[]");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("standard input:1: a manifest is a mapping"), "{output:?}");
    // A manifest itself.
    let output = judge(&text("pools.yaml"));
    assert_eq!(output.status.code(), Some(1), "its App is missing: {output:?}");
    let all = [text("controller.yaml"), text("github-app.yaml"), text("pools.yaml")].join("\n---\n");
    let output = judge(&all);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).starts_with("Controller prod: "), "{output:?}");
}

#[test]
fn files_are_judged_together_and_directories_each_by_itself() {
    let files = ["controller.yaml", "github-app.yaml", "pools.yaml"].map(|name| format!("{EXAMPLES}/{name}"));
    let output = muster(&["validate", &files[0], &files[1], &files[2]]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{output:?}");
    let (good, bad) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    for (dir, max) in [(&good, "max: 50"), (&bad, "max: -1")] {
        for name in ["controller.yaml", "github-app.yaml", "pools.yaml"] {
            let body = fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("an example").replacen("max: 50", max, 1);
            fs::write(dir.path().join(name), body).expect("a manifest");
        }
    }
    let [good, bad] = [&good, &bad].map(|dir| dir.path().to_str().expect("UTF-8"));
    let output = muster(&["validate", good, bad]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stdout(&output).starts_with(&format!("{good}\nController prod: ")), "{output:?}");
    assert!(stderr(&output).starts_with(&format!("{bad}/pools.yaml:15: spec.capacity.max: ")), "{output:?}");
    let output = muster(&["validate", bad, "-o", "github"]);
    assert!(
        stdout(&output).starts_with(&format!("::error file={bad}/pools.yaml,line=15,title=muster validate::spec.capacity.max: "))
    );
    let answer: Value = serde_json::from_slice(&muster(&["validate", good, bad, "-o", "json"]).stdout).expect("JSON");
    assert_eq!((&answer["valid"], &answer["problems"][0]["line"]), (&json!(false), &json!(15)), "{answer}");
}

#[test]
fn what_is_not_read_is_a_warning_and_a_secret_is_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["controller.yaml", "github-app.yaml", "pools.yaml"] {
        fs::copy(Path::new(EXAMPLES).join(name), dir.path().join(name)).expect("a manifest");
    }
    let path = dir.path().to_str().expect("UTF-8");
    fs::write(dir.path().join("more.YAML"), "").expect("a file");
    fs::write(dir.path().join("empty.yaml"), "# nothing\n").expect("a file");
    let output = muster(&["validate", path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("more.YAML: is not read: only *.yaml and *.yml") && said.contains("empty.yaml: holds no manifest"),
        "{said}"
    );
    fs::write(dir.path().join("empty.yaml"), "apiVersion: muster/v1\nkind: GitHubApp\nspec: {privateKey: hunter2, appId: [}\n")
        .expect("a file");
    let output = muster(&["validate", path]);
    assert!(output.status.code() == Some(1) && !stderr(&output).contains("hunter2"), "{output:?}");
    fs::write(dir.path().join("empty.yaml"), "a:\n  cron: */15 * * * *\n").expect("a file");
    let said = stderr(&muster(&["validate", path]));
    assert!(said.contains("empty.yaml:2: cannot be read as YAML: a value that begins with `*`"), "{said}");
    assert!(said.contains("\n  2 |   cron: */15 * * * *\n"), "{said}");
}

#[test]
fn match_names_the_pool_and_why_the_others_do_not_take_the_job() {
    let output = muster(&["match", "[self-hosted, linux, arm64]", "--manifests", EXAMPLES]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).starts_with("pool linux-arm64 takes a job of acme/"), "{output:?}");
    assert!(stdout(&output).contains("windows-x64  no     it lacks "), "{output:?}");
    let output = muster(&["match", "self-hosted", "gpu", "--repo", "acme/web", "--manifests", EXAMPLES, "-o", "json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &answer["pool"]), (Some(1), &Value::Null), "{answer}");
    assert_eq!(answer["candidates"].as_array().map(Vec::len), Some(4), "{answer}");
    let output = muster(&["match", "linux", "--manifests", "/no/such/directory"]);
    assert!(output.status.code() == Some(6) && stderr(&output).contains("name it with --manifests"), "{output:?}");
}

/// What a page shows below `$ COMMAND`, up to the end of the block.
fn shown_below<'a>(page: &'a str, command: &str) -> &'a str {
    let after = page.split_once(&format!("$ {command}\n")).unwrap_or_else(|| panic!("the page shows `{command}`")).1;
    after.split("```").next().unwrap_or_default()
}

#[test]
fn the_docs_show_what_the_commands_print() {
    let page = include_str!("../../docs/cli.md");
    let line = "match self-hosted linux x64 --repo acme/web --manifests manifests";
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().expect("the binary runs")
    };
    let output = run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(stdout(&output), shown_below(page, &format!("muster {line}")));
    let dir = tempfile::tempdir().expect("a directory");
    let body = fs::read_to_string(Path::new(EXAMPLES).join("pools.yaml")).expect("an example");
    let quoted = body.lines().find(|line| line.contains("cron: ")).expect("a schedule of the examples");
    let bare = "      - cron: */15 8-18 * * MON-FRI";
    fs::write(dir.path().join("pools.yaml"), body.replacen(quoted, bare, 1)).expect("a manifest");
    let said = stderr(&muster(&["validate", dir.path().to_str().expect("UTF-8")]));
    assert!(page.contains(&format!("```\n{said}```\n")), "docs/cli.md does not show this:\n{said}");
}

#[test]
fn wrong_usage_says_so_and_ends_with_2() {
    for (args, words) in [
        (&["validate", "/no/such/directory"][..], "/no/such/directory is neither a file nor a directory"),
        (&["validate"], "<PATH>"),
        (&["schema", "Pod"], "write one of Controller, GitHubApp, GitHubToken, RunnerPool"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        let output = muster(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
    }
    let empty = tempfile::tempdir().expect("a directory");
    let output = muster(&["validate", empty.path().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("holds no *.yaml"), "{output:?}");
}

#[test]
fn the_examples_fit_the_schema_that_is_printed_and_slips_do_not() {
    let spec: Spec = muster_operations::config::load_dir(Path::new(EXAMPLES)).expect("the examples");
    let documents = |kind: &str| -> Vec<Value> {
        let bare = match kind {
            "Controller" => vec![json!(spec.controller)],
            "GitHubApp" => spec.apps.values().map(|app| json!(app)).collect(),
            "GitHubToken" => spec.tokens.values().map(|token| json!(token)).collect(),
            _ => spec.pools.values().map(|pool| json!(pool)).collect(),
        };
        let whole = |mut document: Value| {
            document["apiVersion"] = json!(manifest::API_VERSION);
            document["kind"] = json!(kind);
            document
        };
        bare.into_iter().map(whole).collect()
    };
    for kind in KINDS {
        let output = muster(&["schema", &kind.to_lowercase()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        for mut document in documents(kind) {
            let errors: Vec<String> = validator.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert_eq!(errors, [""; 0], "{kind}");
            document["spec"]["lables"] = json!([]);
            assert!(!validator.is_valid(&document), "{kind}: unknown field");
            document["spec"] = json!({});
            assert!(!validator.is_valid(&document), "{kind}: required fields");
        }
    }
}

#[test]
fn the_reference_names_every_field() {
    let reference = include_str!("../../docs/manifests.md");
    fn fields(schema: &Value, found: &mut Vec<String>) {
        let Some(map) = schema.as_object() else { return };
        found.extend(schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned()));
        map.values().for_each(|value| fields(value, found));
    }
    for kind in KINDS {
        let mut found = Vec::new();
        fields(&manifest::schema(kind).expect(kind)["$defs"], &mut found);
        assert!(found.len() > 3, "{kind}: {found:?}");
        for field in found {
            let named =
                [format!("`{field}`"), format!(".{field}`"), format!("`{field}.")].iter().any(|name| reference.contains(name));
            assert!(named, "docs/manifests.md does not name {kind}'s {field}");
        }
    }
}
