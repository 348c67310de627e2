//! The way in, as somebody walks it who has nothing yet: `muster init` in an empty directory, and `muster app link`. They need no
//! AWS, no GitHub, and not the feature `live`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/terraform");
const GOOD: [&str; 6] =
    ["--org", "acme", "--region", "eu-west-1", "--subnets", "subnet-0a1b2c3d4e5f60001,subnet-0a1b2c3d4e5f60002"];

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Runs muster in a directory, where nobody can be asked.
fn muster(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env_remove("MUSTER_MANIFESTS").output().expect("the binary runs")
}

fn init(dir: &Path, more: &[&str]) -> Output {
    muster(dir, &[&["init", "--module", MODULE], &GOOD[..], more].concat())
}

#[test]
fn init_writes_what_validate_accepts_and_names_the_next_command() {
    let empty = tempfile::tempdir().expect("a directory");
    let output = init(empty.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let next = stdout(&output).lines().last().expect("the next command").trim().to_owned();
    assert_eq!(next, "cd my-cluster && muster app create --manifests manifests --cluster prod");
    let manifests = empty.path().join("my-cluster/manifests");
    let judged = muster(empty.path(), &["validate", manifests.to_str().expect("UTF-8"), "--cluster", "prod"]);
    let waits = "warning: GitHubApp main: appId: 1 stands for an App that is not made yet; `muster app create` makes it\n";
    assert_eq!((judged.status.code(), said(&judged).as_str()), (Some(0), waits), "{judged:?}");
    assert!(stdout(&judged).contains("RunnerPool linux-x64"), "{judged:?}");
    // The module that Terraform would take is really there.
    let root = fs::read_to_string(empty.path().join("my-cluster/main.tf")).expect("main.tf");
    let source = root.split_once("source     = \"").and_then(|(_, rest)| rest.split_once('"')).expect("a source").0;
    assert!(source.starts_with("../"), "{source}");
    assert!(empty.path().join("my-cluster").join(source).join("variables.tf").is_file(), "{source}");
}

#[test]
fn init_takes_a_repository_of_ones_own_and_a_github_enterprise_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let more =
        ["--repo", "me/web", "--github-url", "https://git.example.com/", "--region", "eu-west-1", "--subnets", "subnet-0a1b2c3d"];
    let output = muster(dir.path(), &[&["init", "--module", MODULE], &more[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).ends_with("muster app create --manifests manifests --cluster prod --personal\n"), "{output:?}");
    assert!(stdout(&output).contains("If me is an organisation, write --org me"), "{output:?}");
    let read = |name: &str| fs::read_to_string(dir.path().join("my-cluster/manifests").join(name)).expect("it was written");
    assert!(read("linux.yaml").contains("    scope: repo/me/web\n"), "{}", read("linux.yaml"));
    assert!(read("github-app.yaml").contains("  apiUrl: https://git.example.com/api/v3\n"), "{}", read("github-app.yaml"));
    // The next command goes to the same server, and asks for what a repository needs.
    let manifests = ["--manifests", "my-cluster/manifests", "--cluster", "prod", "--personal"];
    let link = stdout(&muster(dir.path(), &[&["app", "link"], &manifests[..]].concat()));
    assert!(link.starts_with("https://git.example.com/settings/apps/new?") && link.contains("&administration=write"), "{link}");
    for (flags, part) in [
        (["--org", "acme", "--repo", "me/web"], "cannot be used with"),
        (["--repo", "me", "--cluster", "x"], "`me` is no repository"),
        (["--repo", "me/web", "--github-url", "http://git.example.com"], "write https://"),
        (["--repo", "enterprise/big", "--cluster", "x"], "no App can manage an enterprise's runners"),
    ] {
        let output = muster(dir.path(), &[&["init", "--module", MODULE, "--dir", "other"], &flags[..]].concat());
        assert!(output.status.code() == Some(2) && said(&output).contains(part), "{flags:?}: {output:?}");
    }
}

#[test]
fn init_overwrites_nothing_and_names_what_is_in_the_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifests = dir.path().join("my-cluster/manifests");
    fs::create_dir_all(&manifests).expect("a directory");
    fs::write(manifests.join("linux.yaml"), "mine").expect("a file");
    let output = init(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(said(&output).contains("my-cluster/manifests/linux.yaml exists, and is not overwritten"), "{output:?}");
    assert_eq!(fs::read_to_string(manifests.join("linux.yaml")).expect("it is there"), "mine");
    assert!(!dir.path().join("my-cluster/main.tf").exists(), "nothing else was written");
    // A second time, in the directory that it wrote.
    assert_eq!(init(dir.path(), &["--dir", "other"]).status.code(), Some(0));
    assert!(said(&init(dir.path(), &["--dir", "other"])).contains("other/main.tf exists"));
}

#[test]
fn each_wrong_answer_is_one_sentence_and_missing_flags_are_one_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let wrong = ["init", "--module", MODULE, "--org", "ac me", "--region", "Ireland", "--subnets", "vpc-1,subnet-0a1b2c3d"];
    let output = muster(dir.path(), &wrong);
    assert_eq!((output.status.code(), said(&output).lines().count()), (Some(2), 3), "{output:?}");
    for part in ["`ac me` is no organisation's name", "`Ireland` is no AWS region", "`vpc-1` is no subnet's id"] {
        assert!(said(&output).contains(part), "{part}: {output:?}");
    }
    let output = muster(dir.path(), &["init", "--module", MODULE, "--org", "acme"]);
    assert_eq!((output.status.code(), said(&output).lines().count()), (Some(2), 1), "{output:?}");
    assert!(said(&output).contains("--region, --subnets are missing"), "{output:?}");
    let output = init(dir.path(), &["--cluster", "Prod Cluster"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("metadata.name"), "{output:?}");
    let output = muster(dir.path(), &[&["init", "--module", "/"], &GOOD[..]].concat());
    assert!(output.status.code() == Some(2) && said(&output).contains("not the folder terraform/"), "{output:?}");
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0, "nothing was written");
}

#[test]
fn the_link_to_githubs_form_asks_for_what_the_manifests_need() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(init(dir.path(), &["--dir", "."]).status.code(), Some(0));
    let output = muster(dir.path(), &["app", "link", "--manifests", "manifests", "--cluster", "prod"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let link = stdout(&output);
    assert!(link.starts_with("https://github.com/organizations/acme/settings/apps/new?name=muster-acme&"), "{link}");
    assert!(link.contains("&organization_self_hosted_runners=write") && link.contains("&actions=read"), "{link}");
    let output = muster(dir.path(), &["app", "link"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("--org NAME, or --personal"), "{output:?}");
}

#[test]
fn app_create_says_what_is_in_the_way_before_it_shows_a_page() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("muster.private-key.pem"), "mine").expect("a file");
    let output = muster(dir.path(), &["app", "create", "--org", "acme"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(6), String::new()), "{output:?}");
    assert!(said(&output).contains("muster.private-key.pem exists, and is not overwritten"), "{output:?}");
    let output = muster(dir.path(), &["app", "create", "--org", "acme", "--github-url", "http://git.example.com"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("write https://"), "{output:?}");
}
