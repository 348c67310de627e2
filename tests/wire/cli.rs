//! The commands that ask a running controller, as processes against a stand-in of its API: exactly what they print, and
//! with which exit code they end when something is wrong. They need no AWS, no GitHub, and not the feature `live`.

mod stand_in;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use stand_in::{HOSTILE, NOW, TOKEN, VIEW_TOKEN, controller};

struct Cli {
    url: String,
    token: Option<&'static str>,
}

impl Cli {
    async fn run(&self, line: &str) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(line.split_whitespace()).env("MUSTER_CONTROLLER", &self.url).env_remove("MUSTER_TOKEN").stdin(Stdio::null());
        if let Some(token) = self.token {
            command.env("MUSTER_TOKEN", token);
        }
        let output = command.kill_on_drop(true).output();
        tokio::time::timeout(std::time::Duration::from_secs(150), output).await.expect("it ends").expect("it runs")
    }

    /// What the command printed. The exit code must be 0, and stderr must be empty.
    async fn prints(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{line}");
        text(&output.stdout)
    }

    /// The exit code, and the one sentence on stderr. Nothing may be printed on stdout.
    async fn fails(&self, line: &str) -> (i32, String) {
        let output = self.run(line).await;
        assert_eq!(text(&output.stdout), "", "{line}");
        let said = text(&output.stderr);
        assert!(said.starts_with("muster: ") && said.trim_end().lines().count() == 1, "{line}: one sentence, not: {said}");
        (output.status.code().expect("it was not killed"), said)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Compares a text with `tests/fixtures/cli/NAME`. `MUSTER_WRITE_GOLDEN=1` writes the file.
fn golden(name: &str, printed: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cli").join(name);
    if std::env::var_os("MUSTER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, printed).expect("it can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(printed, kept, "{name}: write it anew with MUSTER_WRITE_GOLDEN=1 if that is meant");
}

#[tokio::test]
async fn what_is_printed_for_people_and_programs() {
    let cli = Cli { url: controller().await, token: None };
    for (name, line) in [
        ("pools.txt", "get pools"),
        ("pools-wide.txt", "get pools -o wide"),
        ("pools.yaml", "get pools -o yaml"),
        ("jobs.txt", "get jobs"),
        ("jobs-wide.txt", "get job -o wide"),
        ("runners.txt", "get runners"),
        ("runners-wide.txt", "get runners --output wide"),
        ("explain.txt", "explain job/29679449501"),
        ("events.txt", "events"),
        ("top.txt", "top --once"),
    ] {
        golden(name, &cli.prints(line).await);
    }
    let job = "29679449501";
    for line in [
        format!("explain {job}"),
        format!("explain job {job}"),
        format!("describe jobs/{job}"),
        format!("explain https://github.com/acme/web/actions/runs/332/job/{job}?pr=7#step:3:1"),
    ] {
        golden("explain.txt", &cli.prints(&line).await);
    }
    let json: Value = serde_json::from_str(&cli.prints("get runners -o json").await).expect("JSON");
    assert_eq!(json["items"][1]["stages"][2], json!({ "stage": "online", "afterSeconds": 38.5 }));
    let json: Value = serde_json::from_str(&cli.prints("explain job/29679449501 -o json").await).expect("JSON");
    assert_eq!(json["awaits"][0]["until"], NOW + 120_000);
    assert_eq!(cli.prints("get jobs --pool linux-x64").await.lines().count(), 2, "a header and one job");
    let lines = cli.prints("events -n 2 -o json").await;
    let last: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(last.iter().map(|e| e["seq"].as_u64()).collect::<Vec<_>>(), [Some(3), Some(41)]);
}

#[tokio::test]
async fn lists_are_filtered_and_printed_as_kubectls_users_expect() {
    let cli = Cli { url: controller().await, token: None };
    for (line, printed) in [
        ("get jobs --state queued -o name", "job/29679449526\njob/29679449503\n"),
        ("get jobs --state running -o name", "job/29679449501\n"),
        ("get jobs --reason unmatched,running -o name", "job/29679449503\njob/29679449501\n"),
        ("get jobs --repo ACME/* --since 2m -o name", "job/29679449501\n"),
        ("get jobs --repo acme/api -o name", ""),
        ("get jobs --run 2967944950 -o name", "job/29679449503\njob/29679449501\n"),
        ("get runners --state failed,idle -o name", "runner/i-0b2\n"),
        ("get pools --state paused -o name", "pool/linux-arm64\n"),
        ("get pool linux-x64 -o jsonpath={.max}", "50\n"),
        ("get pools -o jsonpath={.items[*].name}", "linux-arm64\nlinux-x64\n"),
        ("get runner prod.linux-x64.i-0a1 -o name", "runner/i-0a1\n"),
        ("get i-0a1 -o jsonpath={.phase}", "busy\n"),
        ("explain job/29679449501 -o name", "job/29679449501\n"),
        ("version", concat!("muster ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        assert_eq!(cli.prints(line).await, printed, "{line}");
    }
    let all = cli.prints("get all").await;
    let heads: Vec<&str> = all.lines().filter(|line| line.ends_with(" REASON")).collect();
    assert_eq!(heads.len(), 3, "{all}");
    let all: Value = serde_json::from_str(&cli.prints("get all -o json").await).expect("JSON");
    assert_eq!(all["runners"][0]["instance"], "i-0b2");
    let events = cli.prints("events 29679449501 -o json").await;
    assert_eq!(events.lines().count(), 2, "of one job: {events}");
    let last_minute = cli.prints("events --since 30s").await;
    assert!(last_minute.lines().count() == 1, "the events are of 2027, and the last one counts as now: {last_minute}");
    // An address without a scheme.
    let bare = Cli { url: cli.url.trim_start_matches("http://").into(), token: None };
    assert_eq!(bare.prints("get pools").await, cli.prints("get pools").await);
}

#[tokio::test]
async fn orders_carry_the_token_and_the_reason() {
    let url = controller().await;
    let cli = Cli { url: url.clone(), token: Some(TOKEN) };
    assert_eq!(cli.prints("pause linux-x64").await, "paused, body \n");
    assert_eq!(cli.prints("drain i-0a1").await, "runner i-0a1 is asked to end once it is idle\n");
    assert_eq!(cli.prints("pause pool/linux-x64 --reason why").await, "paused, body {\"reason\":\"why\"}\n");
    assert_eq!(cli.prints("drain runner/prod.linux-x64.i-0a1").await, "runner i-0a1 is asked to end once it is idle\n");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let by_file = Cli { url, token: Some("a wrong one, which the file wins over") };
    let line = format!("pause pool/linux-x64 --token-file {}", file.display());
    assert_eq!(by_file.prints(&line).await, "paused, body \n");
    let half = cli.run("resume pool/linux-x64").await;
    assert_eq!((half.status.code(), text(&half.stdout).as_str()), (Some(1), "goes on\n"));
    assert!(text(&half.stderr).contains("a restart would forget it"));
}

#[tokio::test]
async fn each_kind_of_trouble_has_a_sentence_and_an_exit_code() {
    let url = controller().await;
    let (none, right) = (Cli { url: url.clone(), token: None }, Cli { url: url.clone(), token: Some(TOKEN) });
    let nobody = Cli { url: "http://127.0.0.1:1".into(), token: Some(TOKEN) };
    let odd = Cli { url: "ecs://prod".into(), token: None };
    for (cli, line, code, word) in [
        (&none, "explain job/7", 3, "knows of no 7"),
        (&none, "explain pool/linx", 3, "there is no pool `linx`; did you mean linux-x64 or linux-arm64?"),
        (&right, "pause pool/linx", 3, "did you mean linux-x64 or linux-arm64?"),
        (&none, "get jobs --pool windows", 3, "the pools are linux-arm64, linux-x64"),
        (&none, "events --pool linx", 3, "did you mean linux-x64"),
        (&none, "events pool/linx", 3, "did you mean linux-x64"),
        (&none, "top --once --pool linx", 3, "did you mean linux-x64"),
        (&none, "get pool linx", 3, "did you mean linux-x64"),
        (&none, "get job 7", 3, "`muster explain job/7` says more"),
        (&none, "get jbos", 2, "did you mean jobs?"),
        (&none, "get jobs --state idle", 2, "write one of in_progress, queued"),
        (&none, "get jobs --reason pasued", 2, "did you mean paused?"),
        (&none, "get runners --repo acme/web", 2, "runners have no --repo; leave it out, or list jobs"),
        (&none, "explain https://github.com/acme/web/actions/runs/332", 2, "muster get jobs --run 332"),
        (&none, "pause pool/linux-x64", 4, "MUSTER_TOKEN or --token-file"),
        (&nobody, "get pools", 5, "MUSTER_CONTROLLER"),
        (&nobody, "drain pool/linux-x64", 5, "is `muster run` up?"),
        (&odd, "events", 6, "`terraform output -raw controller_url`"),
        (&none, "pause pool/linux-x64 --token-file /nonexistent", 6, "token file /nonexistent"),
        (&right, "pause job/7", 2, "write pool/NAME"),
        (&right, "resume runner/i-0a1", 2, "write pool/NAME"),
    ] {
        let (got, said) = cli.fails(line).await;
        assert!(got == code && said.contains(word), "{line}: {got}, {said}");
    }
    let wrong = none.run("explain thing/7").await;
    assert!(wrong.status.code() == Some(2) && text(&wrong.stderr).contains("job/ID"), "{wrong:?}");
}

/// The health check of a container knows only 0 and 1, whatever is wrong.
#[tokio::test]
async fn health_is_one_line_and_0_or_1() {
    let alive = Cli { url: controller().await, token: None };
    assert_eq!(alive.prints("health").await, format!("{} is alive\n", alive.url));
    let stuck = Cli { url: format!("{}/stuck", alive.url), token: None };
    let nobody = Cli { url: "http://127.0.0.1:1".into(), token: None };
    let odd = Cli { url: "nonsense".into(), token: None };
    for (cli, word) in [(stuck, "has not turned for 45 s"), (nobody, "failed to connect"), (odd, "http://HOST:PORT")] {
        let (code, said) = cli.fails("health").await;
        assert!(code == 1 && said.contains(word), "{code}: {said}");
    }
}

/// A bad value of any variable that the binary reads at its start, and that has a form, is reported, and nothing else
/// happens.
#[tokio::test]
async fn a_variable_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = async |name: &str, value: &std::ffi::OsStr| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
        let line: &[&str] = if cfg!(feature = "live") { &["run", "--manifests"] } else { &["validate"] };
        command.args(line).arg(dir.path()).env("MUSTER_LOG_FORMAT", "json").env(name, value).stdin(Stdio::null());
        let output = tokio::time::timeout(std::time::Duration::from_secs(30), command.kill_on_drop(true).output()).await;
        let output = output.expect("it ends").expect("it runs");
        (output.status.code(), text(&output.stderr))
    };
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    for (name, value, code) in [("MUSTER_LOG", "dbug", 6), ("MUSTER_LOG", "muster=dbug,[", 6), ("MUSTER_LOG_FORMAT", "xml", 2)] {
        let (got, said) = run(name, value.as_ref()).await;
        assert!(got == Some(code) && said.contains(value), "{name}={value}: {got:?}, {said}");
    }
    if cfg!(feature = "live") {
        for (name, value, code) in [("MUSTER_ROLE", "boss", 2), ("WATCHDOG_USEC", "30s", 6), (endpoint, "x:1", 6)] {
            let (got, said) = run(name, value.as_ref()).await;
            assert!(
                got == Some(code) && said.contains(if name == endpoint { name } else { value }),
                "{name}={value}: {got:?}, {said}"
            );
        }
    }
    #[cfg(target_os = "linux")]
    for name in ["MUSTER_LOG", "NOTIFY_SOCKET", endpoint, "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"] {
        use std::os::unix::ffi::OsStrExt as _;
        if name.starts_with("MUSTER") || cfg!(feature = "live") {
            let (got, said) = run(name, std::ffi::OsStr::from_bytes(b"\xff")).await;
            assert!(got == Some(6) && said.contains(name) && said.contains("is not UTF-8"), "{name}: {got:?}, {said}");
        }
    }
}

#[tokio::test]
async fn an_instance_that_has_ended_may_have_said_why() {
    let cli = Cli { url: controller().await, token: None };
    let said = cli.prints("explain runner/i-gone").await;
    assert!(said.contains("\n  the instance itself said: ended: the runner was registered no more\n"), "{said}");
    let output = cli.run("explain runner/i-none").await;
    assert!(output.status.code() == Some(0) && text(&output.stderr).contains("EC2 is down"), "{output:?}");
}

#[tokio::test]
async fn looking_sends_its_own_token_and_orders_send_theirs() {
    let cli = Cli { url: format!("{}/closed", controller().await), token: Some(TOKEN) };
    let (code, said) = cli.fails("get pools").await;
    assert!(code == 4 && said.contains("a token is needed to look; give it by MUSTER_VIEW_TOKEN"), "{code}: {said}");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["get", "pools"]).env("MUSTER_CONTROLLER", &cli.url).env("MUSTER_VIEW_TOKEN", VIEW_TOKEN).stdin(Stdio::null());
    let output = tokio::time::timeout(std::time::Duration::from_secs(150), command.kill_on_drop(true).output()).await;
    assert_eq!(output.expect("it ends").expect("it runs").status.code(), Some(0));
    assert_eq!(cli.fails("pause pool/linux-x64").await.0, 4);
}

/// A server, or whoever names a label, may write what a terminal obeys or does not show.
#[tokio::test]
async fn what_others_wrote_turns_no_text_and_gives_the_terminal_no_order() {
    let cli = Cli { url: format!("{}/hostile", controller().await), token: Some(TOKEN) };
    for line in [
        "get pools",
        "get pools -o wide",
        "get pools -o json",
        "get pools -o yaml",
        "events",
        "events -o json",
        "explain pool/x",
        "top --once",
        "pause pool/x",
        "get jobs",
        "drain runner/x",
    ] {
        let output = cli.run(line).await;
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("\\u202e") && said.contains("\\u001b"), "{line}: {said:?}");
        let bad = said.chars().find(|c| HOSTILE.contains(*c) && !c.is_ascii_graphic() && *c != ' ' && *c != '\n');
        assert_eq!(bad, None, "{line}: {said:?}");
    }
    let json: Value = serde_json::from_str(&cli.prints("get pools -o json").await).expect("JSON");
    assert_eq!(json["items"][0]["reason"], HOSTILE, "a program reads the same text");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let muster = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_muster")).args(args).output().expect("the binary runs");
    for shell in ["bash", "zsh", "fish"] {
        let output = muster(&["completions", shell]);
        let script = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(script.contains("MUSTER_COMPLETE"), "{shell}: {script}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(muster(&["man", dir.path().to_str().expect("UTF-8")]).status.code(), Some(0));
    let pages: Vec<_> = std::fs::read_dir(&dir).expect("pages").map(|entry| entry.expect("an entry").path()).collect();
    for page in ["muster.1", "muster-explain.1", "muster-app-create.1", "muster-version.1"] {
        assert!(pages.iter().any(|path| path.ends_with(page)), "{page} is missing: {pages:?}");
    }
    for path in pages {
        let text = std::fs::read_to_string(&path).expect("a page");
        let lacks: Vec<_> = ["NAME", "\"EXIT STATUS\"", "ENVIRONMENT", "EXAMPLES"]
            .into_iter()
            .filter(|section| !text.contains(&format!(".SH {section}")))
            .collect();
        assert_eq!(lacks, [""; 0], "{}", path.display());
    }
}

/// The shell asks the binary, which asks the controller.
#[tokio::test]
async fn a_shell_completes_commands_pools_jobs_and_runners() {
    let url = controller().await;
    let nobody = "http://127.0.0.1:1";
    for (url, line, wanted) in [
        (&*url, "exp", &["explain"][..]),
        (&url, "explain pool/", &["pool/linux-arm64", "pool/linux-x64"]),
        (&url, "explain job/2967944952", &["job/29679449526"]),
        (&url, "drain runner/i-0a", &["runner/i-0a1"]),
        (&url, "get jobs --pool linux-a", &["linux-arm64"]),
        (nobody, "explain pool/", &[]),
    ] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(["--", "muster"]).args(line.split(' ')).env("MUSTER_COMPLETE", "fish").env("MUSTER_CONTROLLER", url);
        let output = tokio::time::timeout(std::time::Duration::from_secs(60), command.kill_on_drop(true).output()).await;
        let said = text(&output.expect("it ends").expect("it runs").stdout);
        let offered: Vec<&str> = said.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        assert_eq!(offered, wanted, "{line}: {said}");
    }
}

#[test]
fn half_a_configuration_is_told_by_line() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(
        dir.path().join("controller.yaml"),
        "apiVersion: muster/v1\nkind: Controller\nmetadata: {name: c}\nspec:\n  queues:",
    )
    .expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    let output = command.args(["run", "--manifests"]).arg(dir.path()).output().expect("the binary runs");
    let said = text(&output.stderr);
    if cfg!(feature = "live") {
        assert!(output.status.code() == Some(6) && said.contains("controller.yaml:5: spec.queues:"), "{output:?}");
    }
}

#[cfg(feature = "live")]
#[test]
fn manifests_that_cannot_be_read_are_a_wrong_setting() {
    for command in ["run", "plan", "sync", "doctor"] {
        let mut command_line = Command::new(env!("CARGO_BIN_EXE_muster"));
        let output = command_line.args([command, "--manifests", "/nowhere/at/all"]).output().expect("the binary runs");
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(6) && said.contains("/nowhere/at/all"), "{command}: {output:?}");
    }
}
