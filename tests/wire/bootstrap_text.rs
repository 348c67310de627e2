//! The boot scripts as texts: they fit into user data, and they are well-formed.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::linux::{SCRIPT, without_comments};
use support::tools::{NO_VENV, skip};

/// EC2 takes 16 KB of user data: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html>. Terraform compresses
/// it. The part that a pool may add (4 KB of snippets, and some names) may not compress at all.
#[test]
fn the_script_leaves_room_for_settings_in_the_user_data() {
    let sent = without_comments(&fs::read_to_string(SCRIPT).expect("the script"));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("user-data");
    fs::write(&file, &sent).expect("a file");
    let packed = Command::new("gzip").arg("-9c").arg(file).output().expect("gzip runs").stdout;
    println!("{} bytes, {} compressed", sent.len(), packed.len());
    assert!((1..11_000).contains(&packed.len()), "{} bytes compressed", packed.len());
}

/// Terraform passes on what a manifest says. For what a manifest leaves out, the scripts have the manifest's own defaults,
/// and Terraform has two of them.
#[test]
fn the_defaults_are_those_of_the_manifest() {
    use muster_reconciler::manifest::{Bootstrap, InstanceSettings, RunnerSettings};
    let read = |path: &Path| fs::read_to_string(path).expect("a file");
    let linux = read(Path::new(SCRIPT));
    let windows = read(&Path::new(SCRIPT).with_file_name("windows.ps1"));
    let of_linux = |name: &str| {
        let line = linux.lines().find_map(|line| line.strip_prefix(&format!(": \"${{MUSTER_{name}:=")));
        line.and_then(|rest| rest.split('}').next()).expect("a setting").to_owned()
    };
    let of_windows = |name: &str| {
        let line = windows.lines().find_map(|line| line.strip_prefix(&format!("Setting Muster{name} ")));
        line.and_then(|rest| rest.split_whitespace().next()).expect("a setting").trim_matches('\'').to_owned()
    };
    let (bootstrap, runner) = (Bootstrap::default(), RunnerSettings::default());
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    for (on_linux, on_windows, default) in [
        ("VERSION", "Version", bootstrap.version),
        ("ALLOW_UNVERIFIED", "AllowUnverified", yes(bootstrap.allow_unverified)),
        ("USER", "User", bootstrap.user),
        ("WORK", "Work", bootstrap.work_directory),
        ("PRE_INSTALL", "PreInstall", bootstrap.pre_install),
        ("POST_INSTALL", "PostInstall", bootstrap.post_install),
        ("HOOK_STARTED", "HookStarted", bootstrap.hooks.job_started.unwrap_or_default()),
        ("HOOK_COMPLETED", "HookCompleted", bootstrap.hooks.job_completed.unwrap_or_default()),
        ("PROXY_HTTP", "ProxyHttp", bootstrap.proxy.http.unwrap_or_default()),
        ("PROXY_HTTPS", "ProxyHttps", bootstrap.proxy.https.unwrap_or_default()),
        ("PROXY_NONE", "ProxyNone", bootstrap.proxy.none.join(",")),
        ("REPORT_STAGES", "ReportStages", yes(bootstrap.report_stages)),
        ("MAX_LIFETIME", "MaxLifetime", runner.max_lifetime.get().as_secs().to_string()),
        ("BOOT_DEADLINE", "BootDeadline", runner.boot_deadline.get().as_secs().to_string()),
    ] {
        assert_eq!((of_linux(on_linux), of_windows(on_windows)), (default.clone(), default), "{on_windows}");
    }
    assert_eq!((of_linux("SUDO"), of_linux("DOCKER_GROUP")), (yes(bootstrap.sudo), yes(bootstrap.docker_group)));
    let instance = serde_json::to_value(InstanceSettings::default()).expect("JSON");
    let pools = read(&Path::new(SCRIPT).with_file_name("../modules/manifests/pools.tf"));
    for field in ["os", "architecture"] {
        let default = format!("try(coalesce(d[0].doc.spec.instance.{field}), {})", instance[field]);
        assert!(pools.contains(&default), "terraform/modules/manifests/pools.tf lacks `{default}`");
    }
}

/// Both scripts look for the same lines of the runner's log, and say what was at fault in the controller's words.
#[test]
fn both_scripts_blame_the_machine_by_the_same_words() {
    use muster_reconciler::verdict::Cause;
    let read = |path: &Path| fs::read_to_string(path).expect("a file");
    let (linux, windows) = (read(Path::new(SCRIPT)), read(&Path::new(SCRIPT).with_file_name("windows.ps1")));
    for line in ["Worker finished for job|worker encounter an unhandled exception", "unhandled exception", "; at fault: "] {
        assert!(linux.contains(line) && windows.contains(line), "{line}");
    }
    for cause in [Cause::Crashed, Cause::DiskFull] {
        assert!(linux.contains(&format!("blamed={cause}")) && windows.contains(&format!("Blamed = '{cause}'")), "{cause}");
        assert_eq!(Cause::of_tag(&format!("script=1,listener=2,{cause}=3")), Some(cause));
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let pinned = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/shellcheck");
    let shellcheck = if fs::exists(pinned).unwrap_or(false) { pinned } else { "shellcheck" };
    match Command::new(shellcheck).args(["--norc", SCRIPT]).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => skip(&format!("there is no shellcheck ({error}); `make setup` installs it")),
    }
}

/// PowerShell does not run here, so this checks only the grammar, by
/// <https://github.com/airbus-cert/tree-sitter-powershell>.
#[test]
fn the_windows_script_is_well_formed() {
    const PARSE: &str = r#"
import sys, tree_sitter, tree_sitter_powershell
parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
def wrong(node):
    if node.is_error or node.is_missing:
        yield f"line {node.start_point[0] + 1}: {node.text.decode()[:80] or 'missing ' + node.type}"
    elif node.has_error:
        for child in node.children:
            yield from wrong(child)
found = list(wrong(parser.parse(open(sys.argv[1], "rb").read()).root_node))
sys.exit("\n".join(found) or 0)
"#;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    if !python.exists() {
        return skip(NO_VENV);
    }
    let parse = |script: &Path| Command::new(&python).args(["-c", PARSE]).arg(script).output().expect("python runs");
    let script = Path::new(SCRIPT).with_file_name("windows.ps1");
    let said = parse(&script);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));

    let dir = tempfile::tempdir().expect("a directory");
    let broken = dir.path().join("broken.ps1");
    fs::write(&broken, fs::read_to_string(script).expect("the script").replacen('}', "", 1)).expect("a file");
    assert!(!parse(&broken).status.success(), "a missing brace is found");
}
