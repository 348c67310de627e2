//! `muster app create` from end to end: the real binary, the GitHub double, and this test as the browser and as whoever else
//! knocks.

use crate::support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::github::GitHub;
use support::github::app_manifests::MADE_SECRET;
use support::github::key::{Key, private_key_pem};

const GITHUB_APP: &str = "apiVersion: muster/v1
kind: GitHubApp
metadata:
  name: main
spec:
  appId: 1
  privateKey: ssm:/muster/prod/github-app/main/private-key
  webhookSecrets:
    - ssm:/muster/prod/github-app/main/webhook-secret
";
const POOL: &str = "apiVersion: muster/v1
kind: RunnerPool
metadata: {name: linux}
spec:
  github: {app: main, scope: org/acme}
  labels: [self-hosted, linux]
  rerun: {causes: [interruption]}
  instance: {types: [m7i.large], subnets: [subnet-0a1b2c3d4e5f60001]}
";

/// The command that waits for the App, and the address that it has printed.
struct Waiting {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    page: String,
}

impl Waiting {
    fn start(dir: &Path, github: &GitHub) -> Waiting {
        fs::create_dir(dir.join("manifests")).expect("a directory");
        fs::write(dir.join("manifests/github-app.yaml"), GITHUB_APP).expect("a manifest");
        fs::write(dir.join("manifests/linux.yaml"), POOL).expect("a manifest");
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(["app", "create", "--manifests", "manifests", "--cluster", "prod", "--github-url", &github.url()]);
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        while !line.trim().starts_with("http://127.0.0.1:") {
            line.clear();
            assert_ne!(out.read_line(&mut line).expect("a line"), 0, "it ended before it named the page");
        }
        Waiting { page: line.trim().to_owned(), child, out }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// The port and the host of the page.
    fn origin(&self) -> &str {
        self.page.rsplit_once('/').expect("a path").0
    }

    /// The exit code, and what was printed since.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.out.read_to_string(&mut said).expect("UTF-8");
        let status = self.child.wait().expect("it ends");
        self.child.stderr.take().expect("stderr is piped").read_to_string(&mut said).expect("UTF-8");
        (status.code(), said)
    }
}

/// The value behind this text in a page, without HTML's escapes.
fn value(page: &str, before: &str) -> String {
    let text = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}")).1.split_once('"').expect("a quote").0;
    text.replace("&#34;", "\"").replace("&#39;", "'").replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&")
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn one_click_makes_the_app_and_its_keys_land_where_the_manifests_say() {
    let github = GitHub::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Waiting::start(dir.path(), &github);
    let (status, page) = get(&waiting.page).await;
    assert_eq!(status, 200, "{page}");
    let action = value(&page, "action=\"");
    let manifest: Value = serde_json::from_str(&value(&page, "name=\"manifest\" value=\"")).expect("a manifest");
    let (form, state) = action.split_once("?state=").expect("a state");
    assert_eq!(form, format!("{}/organizations/acme/settings/apps/new", github.url()));
    assert_eq!(manifest["default_permissions"]["actions"], "write", "the pool has rerun.causes: {manifest}");
    let back = manifest["redirect_url"].as_str().expect("the way back").to_owned();

    // Others knock first: another App's code without the state, and a name that leads to this machine.
    let theirs = github.create_app("mallory", &manifest).expect("a code");
    for wrong in [format!("{back}?code={theirs}&state=guessed"), format!("{back}?code={theirs}"), waiting.origin().to_owned()] {
        assert!([400, 403, 404].contains(&get(&wrong).await.0), "{wrong}");
    }
    let rebound = reqwest::Client::new().get(&waiting.page).header("host", "evil.example").send().await.expect("an answer");
    assert_eq!(rebound.status(), 421);
    assert!(!dir.path().join("main.private-key.pem").exists());

    let code = github.create_app("acme", &manifest).expect("a code");
    let (status, told) = get(&format!("{back}?code={code}&state={state}")).await;
    assert!(status == 200 && told.contains("/apps/muster-acme/installations/new"), "{status} {told}");
    let (code, said) = waiting.end();
    assert_eq!(code, Some(0), "{said}");
    for (name, secret) in [("main.private-key.pem", private_key_pem(Key::First)), ("main.webhook-secret", MADE_SECRET.to_owned())]
    {
        let file = dir.path().join(name);
        assert_eq!(fs::read_to_string(&file).expect("a file"), secret);
        assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{name}");
        assert!(!said.contains(secret.trim()) && !told.contains(secret.trim()), "{name} was shown");
    }
    let written = fs::read_to_string(dir.path().join("manifests/github-app.yaml")).expect("the manifest");
    assert!(!written.contains("appId: 1\n") && written.contains("appId: "), "{written}");
    let command = "--name /muster/prod/github-app/main/private-key --value file://main.private-key.pem";
    assert!(said.contains(command) && said.contains("rm main.private-key.pem main.webhook-secret"), "{said}");
}

#[tokio::test]
async fn an_app_of_another_owner_is_refused_and_the_next_one_is_taken() {
    let github = GitHub::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Waiting::start(dir.path(), &github);
    let page = get(&waiting.page).await.1;
    let action = value(&page, "action=\"");
    let manifest: Value = serde_json::from_str(&value(&page, "name=\"manifest\" value=\"")).expect("a manifest");
    let back = format!(
        "{}?state={}",
        manifest["redirect_url"].as_str().expect("a URL"),
        action.split_once("?state=").expect("a state").1
    );
    let wrong = github.create_app("mallory", &manifest).expect("a code");
    let (status, told) = get(&format!("{back}&code={wrong}")).await;
    assert!(status == 502 && told.contains("belongs to mallory, and not to acme"), "{status} {told}");
    // The code was taken, so it is good no more.
    assert!(get(&format!("{back}&code={wrong}")).await.1.contains("does not take the code"));
    let right = github.create_app("acme", &manifest).expect("a code");
    assert_eq!(get(&format!("{back}&code={right}")).await.0, 200);
    let (code, said) = waiting.end();
    assert!(code == Some(0) && said.contains("belongs to mallory"), "{said}");
}

#[tokio::test]
async fn ctrl_c_ends_it_and_leaves_nothing_behind() {
    let github = GitHub::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let waiting = Waiting::start(dir.path(), &github);
    let sent = Command::new("kill").args(["-INT", &waiting.pid()]).status().expect("kill");
    assert!(sent.success());
    let (code, said) = waiting.end();
    assert!(code == Some(1) && said.contains("stopped; no key was written"), "{code:?} {said}");
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 1, "the manifests alone");
    assert_eq!(fs::read_to_string(dir.path().join("manifests/github-app.yaml")).expect("the manifest"), GITHUB_APP);
}
