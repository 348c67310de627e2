//! What a job finds: Docker, sudo, and a runner that obeys what the boot script tells it.

use std::collections::BTreeSet;
use std::fs;

use super::{listening, on_each_shell};
use crate::support::linux::{LinuxInstance, SCRIPT};
use crate::support::secs;

/// A Docker that preInstall installs, and whose daemon is up once the command `takes` has ended.
fn with_docker(b: &mut LinuxInstance, takes: &str) {
    b.stub("systemctl", &format!("[ \"$*\" != 'start docker' ] || {{ {takes}; : >\"$TEST_CONTROL/daemon\"; }}"));
    let tools = b.path("tools");
    let docker = r#"[ -e "$TEST_CONTROL/daemon" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }"#;
    b.stub("docker", docker);
    fs::rename(tools.join("docker"), tools.join("docker.deb")).expect("a file");
    b.set("MUSTER_PRE_INSTALL", format!("mv '{0}/docker.deb' '{0}/docker'", tools.display()));
}

/// The package of Amazon Linux does not start the daemon, and a job may come as soon as the runner listens.
#[tokio::test]
async fn docker_that_pre_install_brings_is_started_and_ready_before_the_runner_listens() {
    on_each_shell(async |mut b| {
        with_docker(&mut b, "sleep 4");
        let b = listening(b).await;
        assert!(b.heard("daemon"), "the daemon is up before the runner listens\n{}", b.story());
        let log = b.read("state/log");
        assert!(log.starts_with("Waiting for docker to be ready.\nDocker is ready.\n"), "{log}");
        assert!(b.read("control/environment").contains("\nRUNNER_WAIT_FOR_DOCKER_IN_SECONDS=30\n"), "half of the boot deadline");
    })
    .await;
}

#[tokio::test]
async fn docker_that_does_not_come_keeps_no_runner_back_and_is_told() {
    on_each_shell(async |mut b| {
        with_docker(&mut b, "echo 'Job for docker.service failed'; exit 1");
        let b = listening(b).await;
        b.says("Docker does not start, and jobs that need it will fail; it said: Job for docker.service failed\n", secs(5)).await;
        assert!(!b.read("control/environment").contains("RUNNER_WAIT_FOR_DOCKER"), "nothing to wait for");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        with_docker(&mut b, "exit 0");
        b.set("MUSTER_DOCKER_WAIT", 4);
        let b = listening(b).await;
        b.says(" after 4 s, and jobs that need it will fail\n", secs(5)).await;
    })
    .await;
}

/// preInstall takes more than half of bootDeadline, and Docker's daemon never starts. A job without Docker still gets its
/// runner.
#[tokio::test]
async fn docker_never_takes_the_last_of_the_boot_deadline() {
    on_each_shell(async |mut b| {
        with_docker(&mut b, "sleep 600");
        b.set("MUSTER_BOOT_DEADLINE", 40);
        let tools = b.path("tools");
        b.set("MUSTER_PRE_INSTALL", format!("sleep 22; mv '{0}/docker.deb' '{0}/docker'", tools.display()));
        let b = listening(b).await;
        b.says("of the 40 s that this pool's bootDeadline leaves: make it longer", secs(5)).await;
    })
    .await;
}

#[tokio::test]
async fn where_there_is_no_docker_nobody_waits_for_it() {
    on_each_shell(async |b| {
        let b = listening(b).await;
        if !super::has("docker") {
            assert!(!b.read("control/environment").contains("RUNNER_WAIT_FOR_DOCKER"));
            assert!(!b.read("console").contains("Docker"), "{}", b.read("console"));
        }
    })
    .await;
}

/// .NET reports a missing ICU, and every exception, like this:
/// <https://learn.microsoft.com/dotnet/core/extensions/globalization-icu>
#[tokio::test]
async fn of_a_stack_trace_the_reason_quotes_the_line_that_names_the_cause() {
    on_each_shell(async |b| {
        let icu = "Process terminated. Couldn't find a valid ICU package installed on the system. Please install libicu.";
        let frames =
            "   at System.Environment.FailFast(System.String)\n   at GitHub.Runner.Listener.Program.Main(System.String[])\n";
        let nested = "Unhandled exception. System.AggregateException: One or more errors occurred.\n \
                      ---> System.Net.Http.HttpRequestException: Name or service not known (github.internal:443)\n   \
                      at System.Net.Sockets.Socket.Wait()\n   --- End of inner exception stack trace ---\n";
        let long = format!("{}\n", "x".repeat(900));
        for (words, quoted) in [
            (format!("{icu}\n{frames}"), icu),
            (
                format!("{nested}{frames}"),
                "---> System.Net.Http.HttpRequestException: Name or service not known (github.internal:443)",
            ),
            (long, &"x".repeat(250)),
        ] {
            let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
            b.tell("words", &words);
            b.tell("leave", "134");
            b.boot();
            let reason = format!("registration failed: the runner left with exit code 134 before it listened; it said: {quoted}");
            assert_eq!(b.ends(secs(25)).await, reason);
        }
    })
    .await;
}

#[tokio::test]
async fn a_reason_is_one_line_of_at_most_400_characters() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.imds.tag("muster:drain", &"why ".repeat(300));
        b.boot();
        let reason = b.ends(secs(15)).await;
        assert!(reason.starts_with("drained before it had a secret: why why") && reason.len() <= 400, "{reason}");
    })
    .await;
}

#[tokio::test]
async fn a_pre_install_that_takes_most_of_the_boot_deadline_is_warned_of() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_BOOT_DEADLINE", 30);
        b.set("MUSTER_PRE_INSTALL", "sleep 16");
        let b = listening(b).await;
        assert!(
            b.read("console").contains("muster: preInstall took 16 s of the 30 s that this pool's bootDeadline leaves"),
            "{}",
            b.story()
        );

        let b = listening(LinuxInstance::launch(&b.site, b.shell()).await).await;
        assert!(!b.read("console").contains("bootDeadline"), "{}", b.story());
    })
    .await;
}

/// Makes the script believe that it is root. Whoever runs these tests need not be root.
async fn as_root(b: &mut LinuxInstance) {
    b.stub("id", "case $* in -u) echo 0;; -un) echo root;; *) exit 0;; esac");
    for name in ["chown", "usermod", "useradd"] {
        b.stub(name, "");
    }
    b.stub("getent", "exit 2");
    b.stub("runuser", "shift 3; exec \"$@\"");
    b.set("MUSTER_USER", "builder");
    b.set("MUSTER_SUDO", "yes");
}

#[tokio::test]
async fn jobs_may_become_root_only_where_the_pool_says_so() {
    on_each_shell(async |mut b| {
        as_root(&mut b).await;
        b.stub("sudo", "");
        let b = listening(b).await;
        assert_eq!(b.read("sudoers.d/90-muster"), "builder ALL=(ALL:ALL) NOPASSWD: ALL\n");
        assert!(b.read("tools.log").contains("runuser -u builder -- sudo -n true\n"), "it was tried\n{}", b.story());

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        as_root(&mut b).await;
        b.set("MUSTER_SUDO", "no");
        let b = listening(b).await;
        assert!(!b.path("sudoers.d/90-muster").exists());
    })
    .await;
}

#[tokio::test]
async fn sudo_that_is_missing_or_refuses_ends_the_instance_with_that_word() {
    on_each_shell(async |mut b| {
        as_root(&mut b).await;
        b.stub("sudo", "echo 'sudo: a password is required' >&2; exit 1");
        b.boot();
        let reason = "bootstrap.sudo is set, and sudo refuses builder: sudo: a password is required";
        assert_eq!(b.ends(secs(20)).await, reason);

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        as_root(&mut b).await;
        // A PATH with every program except sudo.
        let path = std::env::var("PATH").expect("a path");
        let bare = b.path("bare");
        fs::create_dir(&bare).expect("a directory");
        for entry in path.split(':').filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten() {
            if entry.file_name() != "sudo" {
                std::os::unix::fs::symlink(entry.path(), bare.join(entry.file_name())).ok(); // the first of a name wins
            }
        }
        b.set("PATH", format!("{}:{}", b.path("tools").display(), bare.display()));
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "bootstrap.sudo is set, and this image has no sudo: let preInstall install it");
    })
    .await;
}

#[tokio::test]
async fn a_runner_that_updates_itself_first_is_told() {
    on_each_shell(async |b| {
        let b = listening(b).await;
        let log = fs::OpenOptions::new().append(true).open(b.path("state/log")).expect("the log");
        std::io::Write::write_all(&mut &log, b"Runner update in progress, do not shutdown runner.\nDownloading 2.331.0 runner\n")
            .expect("two lines");
        b.says("the runner updates itself before it takes a job: run `muster sync`", secs(10)).await;
    })
    .await;
}

/// The names by which the boot script tells the runner something, each with the file of actions/runner that reads it (at
/// 258d6c85, release 2.336.0): <https://github.com/actions/runner/tree/258d6c857db3519913f7deb6004b60172f8043ae>. Look a
/// new name up there before you add it. A name that nothing reads has no effect, and nothing warns of it.
const READ_BY: [(&str, &str); 20] = [
    ("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", "src/Runner.Worker/JobExtension.cs"),
    ("ACTIONS_RUNNER_HOOK_JOB_STARTED", "src/Runner.Worker/JobExtension.cs"),
    // This is the prefix with the name of an option: --jitconfig, --token.
    ("ACTIONS_RUNNER_INPUT_JITCONFIG", "src/Runner.Listener/CommandSettings.cs"),
    ("ACTIONS_RUNNER_INPUT_TOKEN", "src/Runner.Listener/CommandSettings.cs"),
    ("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "src/Misc/layoutroot/run-helper.sh.template"),
    ("RUNNER_ALLOW_RUNASROOT", "src/Misc/layoutroot/run-helper.sh.template"),
    ("RUNNER_MANUALLY_TRAP_SIG", "src/Misc/layoutroot/run.sh"),
    ("RUNNER_WAIT_FOR_DOCKER_IN_SECONDS", "src/Misc/layoutroot/run-helper.sh.template"),
    ("--disableupdate", "src/Runner.Common/Constants.cs"),
    ("--labels", "src/Runner.Common/Constants.cs"),
    ("--name", "src/Runner.Common/Constants.cs"),
    ("--no-default-labels", "src/Runner.Common/Constants.cs"),
    ("--replace", "src/Runner.Common/Constants.cs"),
    ("--runnergroup", "src/Runner.Common/Constants.cs"),
    ("--unattended", "src/Runner.Common/Constants.cs"),
    ("--url", "src/Runner.Common/Constants.cs"),
    ("--work", "src/Runner.Common/Constants.cs"),
    ("http_proxy", "src/Runner.Sdk/RunnerWebProxy.cs"),
    ("https_proxy", "src/Runner.Sdk/RunnerWebProxy.cs"),
    ("no_proxy", "src/Runner.Sdk/RunnerWebProxy.cs"),
];

#[test]
fn the_instances_say_nothing_to_the_runner_that_it_does_not_read() {
    let known: BTreeSet<&str> = READ_BY.iter().map(|(name, file)| if file.starts_with("src/") { *name } else { "" }).collect();
    assert_eq!(known.len(), READ_BY.len(), "a name is in the list twice");
    for (script, part) in
        [(SCRIPT.to_owned(), ("\nrun() {", "\n}\n")), (SCRIPT.replace("linux.sh", "windows.ps1"), ("$script = @\"", "\n\"@"))]
    {
        let text = fs::read_to_string(&script).expect("the script");
        let from = text.split_once(part.0).expect("what runs the runner").1;
        let text = from.split_once(part.1).expect("its end").0;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let said: BTreeSet<&str> = text
            .split(|c: char| !word(c))
            .filter(|w| {
                let variable = w.contains('_') && w.len() > 1 && w.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                variable || w.starts_with("--") && w.len() > 2 || w.ends_with("_proxy") && w.len() > 6
            })
            .filter(|w| !w.starts_with("MUSTER_"))
            .collect();
        let unread: Vec<_> = said.difference(&known).collect();
        assert!(unread.is_empty(), "{script} says {unread:?} to the runner, and nobody has shown that it reads that");
        assert!(said.len() > 9, "what is said was found: {said:?}");
    }
}
