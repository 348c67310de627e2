//! The end of an instance: no job is cut off, and no instance stays.

use std::fs;
use std::process::Command;

use super::{listening, on_each_shell, working};
use crate::support::linux::{JIT, LinuxInstance};
use crate::support::{eventually, ms, never, same, secs};
use serde_json::json;

#[tokio::test]
async fn on_a_spot_notice_an_idle_instance_ends_at_once() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        b.imds.spot_notice("2026-01-01T00:02:00Z");
        assert_eq!(b.ends(secs(15)).await, "spot takes this instance at 2026-01-01T00:02:00Z");
        assert!(b.read("state/log").contains("Exiting..."), "the listener did not leave by itself\n{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn on_a_spot_notice_a_job_runs_on_and_its_fate_is_told_once() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        b.imds.spot_notice("2026-01-01T00:02:00Z");
        let told = "muster: spot takes this instance at 2026-01-01T00:02:00Z; the job on it will be lost\n";
        b.says(told, secs(10)).await;
        never(secs(3), "the instance ends while its job runs", || async { same(b.path("ended").exists(), false) }).await;
        assert_eq!(b.read("console").matches(told).count(), 1);
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
        assert!(b.heard("finished"));
    })
    .await;
}

#[tokio::test]
async fn an_idle_instance_ends_when_it_is_drained_or_when_spot_recommends_another() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        let reason = if b.shell() == "dash" {
            b.imds.tag("muster:drain", "surplus");
            "drained: surplus"
        } else {
            b.imds.recommend_rebalance();
            "spot recommends another instance"
        };
        assert_eq!(b.ends(secs(15)).await, reason);
        assert!(b.read("state/log").contains("Exiting..."), "the listener did not leave by itself\n{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_drained_instance_finishes_its_job_first_and_outlives_its_tokens() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        b.imds.expire_tokens();
        b.imds.tag("muster:drain", "surplus");
        b.says("muster: drained: surplus; it waits for the job to end\n", secs(10)).await;
        never(secs(3), "the instance ends while its job runs", || async { same(b.path("ended").exists(), false) }).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
        assert!(b.heard("finished"));
        assert_eq!(b.imds.tokens().0, 2, "a new token was fetched");
    })
    .await;
}

/// Puts a `grep` into the instance's PATH that brings a job after the `nth` look for a worker, and returns what it saw
/// before.
fn bring_a_job_after_look(b: &mut LinuxInstance, nth: u32) {
    let path = std::env::var("PATH").expect("a path");
    let grep = format!(
        r#"PATH='{path}' grep "$@"
code=$?
case "$*" in *Runner.Worker*)
    [ ! -e "$TEST_CONTROL/listening" ] || echo >>"$TEST_CONTROL/looks"
    if [ "$(wc -l <"$TEST_CONTROL/looks")" -eq {nth} ]; then
        : >"$TEST_CONTROL/job"
        sleep 1
    fi
    ;;
esac
exit $code
"#
    );
    b.stub("grep", &grep);
    b.set("MUSTER_WATCH", 3); // the listener runs at the first look
    b.tell("looks", "");
}

#[tokio::test]
async fn a_job_that_begins_between_the_look_and_the_drain_is_not_cut_off() {
    on_each_shell(async |mut b| {
        bring_a_job_after_look(&mut b, 1);
        b.boot();
        b.hears("run.pid").await;
        b.imds.tag("muster:drain", "surplus");
        b.hears("working").await;
        b.says("it waits for the job to end", secs(10)).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
        assert!(b.heard("finished"), "{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn no_job_begins_once_the_last_look_is_under_way() {
    on_each_shell(async |mut b| {
        bring_a_job_after_look(&mut b, 2);
        b.boot();
        b.hears("run.pid").await;
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(20)).await, "drained: surplus");
        assert!(b.heard("job") && !b.heard("taken"), "GitHub still has the job\n{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_job_that_has_no_worker_yet_is_not_cut_off_unless_it_never_gets_one() {
    on_each_shell(async |b| {
        let taken = async |b: LinuxInstance| {
            let b = listening(b).await;
            b.tell("no-worker", "");
            b.tell("job", "");
            eventually(secs(10), "the job is taken", async || same(b.read("state/log").contains("Running job"), true)).await;
            b
        };
        let mut b = taken(b).await;
        b.imds.tag("muster:drain", "surplus");
        b.says("it waits for the job to end", secs(10)).await;
        never(secs(3), "the instance ends while its job runs", || async { same(b.path("ended").exists(), false) }).await;
        fs::remove_file(b.path("control/no-worker")).expect("the file");
        b.hears("working").await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done", "{}", b.story());
        assert!(b.heard("finished"), "{}", b.story());

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("MUSTER_TAKEN", 4);
        let mut b = taken(b).await;
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(15)).await, "drained: surplus", "{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_job_goes_on_when_it_kills_run_sh() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        let status = Command::new("kill").args(["-KILL", b.read("control/run.pid").trim()]).status().expect("kill runs");
        assert!(status.success());
        never(secs(3), "the instance ends while its job runs", || async { same(b.path("ended").exists(), false) }).await;
        b.tell("finish", "");
        let reason =
            "the runner failed with exit code 137; it said: 2024-01-01 00:00:02Z: Job build completed with result: Succeeded";
        assert_eq!(b.ends(secs(15)).await, reason, "{}", b.story());
        assert!(b.heard("finished"), "{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_drain_waits_for_a_listener_that_is_about_to_start() {
    on_each_shell(async |mut b| {
        // A process that has ended and that nobody has waited for yet. Its files can no longer be read.
        let left = b.path("Runner.Listener");
        std::os::unix::fs::symlink("/bin/sh", &left).expect("a link");
        let mut left = Command::new(left).args(["-c", ":"]).spawn().expect("the shell starts");
        b.tell("slow", "");
        b.boot();
        b.hears("run.pid").await;
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(20)).await, "drained: surplus", "{}", b.story());
        left.wait().expect("it left");
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_will_not_leave_and_takes_a_job_may_finish_it() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        b.tell("stubborn", "");
        b.imds.tag("muster:drain", "surplus");
        eventually(secs(20), "the listener is asked to leave", async || same(b.read("state/log").contains("Exiting..."), true))
            .await;
        b.tell("job", "");
        b.hears("working").await;
        b.says("it waits for the job to end", secs(30)).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done", "{}", b.story());
        assert!(b.heard("finished"), "{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_will_not_leave_is_killed() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        b.tell("stubborn", "");
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(30)).await, "drained: surplus; the listener had to be killed");

        // The listener leaves, and `run.sh` does not.
        let mut b = listening(LinuxInstance::launch(&b.site, b.shell()).await).await;
        b.tell("linger", "");
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(30)).await, "drained: surplus");
    })
    .await;
}

#[tokio::test]
async fn an_instance_without_a_job_ends_after_its_lifetime_and_metadata_or_not() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_MAX_LIFETIME", 4);
        let mut b = working(b).await;
        b.imds.down(true);
        never(secs(6), "the instance ends while its job runs", || async { same(b.path("ended").exists(), false) }).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("MUSTER_MAX_LIFETIME", 4);
        let mut b = listening(b).await;
        b.imds.down(true);
        assert_eq!(b.ends(secs(25)).await, "no job for 4 s");
    })
    .await;
}

#[tokio::test]
async fn how_the_runner_left_is_told() {
    on_each_shell(async |b| {
        let (site, shell) = (b.site.clone(), b.shell());
        let cases = [
            ("crash", "134", "the runner failed with exit code 134; it said: 2024-01-01 00:00:00Z: Listening for Jobs"),
            ("crash", "1", "the runner failed with exit code 1; it said: 2024-01-01 00:00:00Z: Listening for Jobs"),
            ("crash", "7", "GitHub refuses runner 2.330.0 as too old: run `muster sync`, or write a newer bootstrap.version"),
            ("leave", "7", "GitHub refuses runner 2.330.0 as too old: run `muster sync`, or write a newer bootstrap.version"),
            ("leave", "1", "registration failed: the runner left with exit code 1 before it listened; it said: Http response code: NotFound from POST"),
            ("leave", "5", "registration failed: the runner left with exit code 5 before it listened; it said: Http response code: NotFound from POST"),
            ("leave", "139", "registration failed: the runner left with exit code 139 before it listened; it said: Http response code: NotFound from POST"),
        ];
        for (word, code, reason) in cases {
            let mut b = LinuxInstance::launch(&site, shell).await;
            b.tell(word, code);
            b.boot();
            assert_eq!(b.ends(secs(25)).await, reason);
        }
        // An older release has no exit code for this.
        let mut b = listening(LinuxInstance::launch(&site, shell).await).await;
        b.tell("words", "An error occurred: Runner version v2.330.0 is deprecated and cannot receive messages.\n");
        b.tell("crash", "1");
        let reason = "GitHub refuses runner 2.330.0 as too old: run `muster sync`, or write a newer bootstrap.version";
        assert_eq!(b.ends(secs(25)).await, reason);
    })
    .await;
}

#[tokio::test]
async fn a_second_boot_ends_at_once() {
    on_each_shell(async |b| {
        let cloud = b.path("cloud");
        fs::create_dir_all(cloud.join("scripts/per-boot")).expect("a directory");
        std::os::unix::fs::symlink(cloud.join("instances").join(&b.id), cloud.join("instance")).expect("a link");
        let mut b = listening(b).await;
        b.tell("crash", "0");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
        b.secret(JIT).await;
        // cloud-init does not run the user data again, but what the user data has left for each boot.
        b.boot_again(&cloud.join("scripts/per-boot/muster"));
        assert_eq!(b.ends(secs(10)).await, "second boot: this instance had its turn");
        assert!(b.has_secret().await, "nothing was read");

        // An image was made of the instance, and boots as another instance, which may run a job.
        fs::remove_file(cloud.join("instance")).expect("a link");
        std::os::unix::fs::symlink("instances/i-other", cloud.join("instance")).expect("a link");
        let status = Command::new(cloud.join("scripts/per-boot/muster")).status().expect("it runs");
        assert!(status.success());
        let mut other = LinuxInstance::launch(&b.site, b.shell()).await;
        other.set("MUSTER_HOME", b.path("home").display());
        listening(other).await;
    })
    .await;
}

#[tokio::test]
async fn slow_metadata_delays_the_instance_and_absent_metadata_ends_it() {
    on_each_shell(async |mut b| {
        b.imds.slow(ms(900));
        b = listening(b).await;
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(25)).await, "drained: surplus");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.imds.down(true);
        b.boot();
        let reason = "the metadata service does not tell dynamic/instance-identity/document (status 503)";
        assert_eq!(b.ends(secs(30)).await, reason);
    })
    .await;
}

#[tokio::test]
async fn a_signal_and_a_failure_that_nobody_foresaw_end_the_instance_with_a_reason() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        let status = Command::new("kill").arg(b.pid().to_string()).status().expect("kill runs");
        assert!(status.success());
        assert_eq!(b.ends(secs(10)).await, "stopped by a signal");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("MUSTER_HOME", "/proc/nowhere");
        b.boot();
        let reason = b.ends(secs(10)).await;
        assert!(reason.starts_with("cannot make /proc/nowhere: mkdir: cannot create directory"), "{reason}");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        let path = std::env::var("PATH").expect("a path");
        let text =
            format!("case \"$*\" in *'\\1/g') echo 'sed: no more memory' >&2; exit 3 ;; esac\nPATH='{path}' exec sed \"$@\"");
        b.stub("sed", &text);
        b.boot();
        assert_eq!(b.ends(secs(10)).await, "failed unexpectedly, at: begin; the last error was: sed: no more memory");
    })
    .await;
}

#[tokio::test]
async fn an_instance_whose_output_nobody_takes_any_more_ends_all_the_same() {
    on_each_shell(async |mut b| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        b.boot_to(writer);
        b.listens().await;
        let status = fs::read_to_string(format!("/proc/{}/status", b.read("control/run.pid").trim())).expect("run.sh runs");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("what it ignores").trim();
        let ignored = u64::from_str_radix(ignored, 16).expect("a number");
        assert_eq!(ignored >> 12 & 1, 0, "SIGPIPE is as usual for the runner");
        drop(reader);
        b.imds.tag("muster:drain", "surplus");
        b.says("muster: ended: drained: surplus\n", secs(20)).await;
        eventually(secs(10), "the instance ends", || async { same(b.read("ended").as_str(), "ended\n") }).await;
        assert_eq!(b.read("console").matches("ended").count(), 1, "{}", b.read("console"));
    })
    .await;
}

/// The log of GitHub's runner program tells a crash of its worker like this:
/// <https://github.com/actions/runner/blob/main/src/Runner.Listener/JobDispatcher.cs>
const CRASH: &str = "[INFO JobDispatcher] Worker finished for job 1. Code: 134\n[INFO JobDispatcher] Return code 134 indicate worker \
                     encounter an unhandled exception or app crash, attach worker stdout/stderr to JobRequest result.\n";

#[tokio::test]
async fn a_runner_that_crashed_is_told_by_the_console_and_the_tag() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_REPORT_STAGES", "yes");
        let mut b = working(b).await;
        fs::create_dir_all(b.path("home/_diag")).expect("a directory");
        fs::write(b.path("home/_diag/Runner_20261201-130000-utc.log"), CRASH).expect("a log");
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done; at fault: crashed");
        let instances = b.site.moto.instances().await;
        let tag = instances.iter().find(|i| i.id == b.id).expect("its instance").tag("muster:stages").to_owned();
        assert!(tag.contains("listener=") && tag.contains(",crashed="), "{tag}");
    })
    .await;
}

/// What lies in the runner's directory is the jobs'. A pipe there must not keep the instance from its end.
#[tokio::test]
async fn a_full_disk_is_at_fault_and_a_pipe_in_place_of_a_log_keeps_nobody() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_REPORT_STAGES", "yes");
        b.preamble("df() { printf 'Filesystem 1024-blocks Used Available\\nx 9 9 0\\n'; }");
        let mut b = working(b).await;
        fs::create_dir_all(b.path("home/_diag")).expect("a directory");
        fs::remove_file(b.path("home/.muster-version")).expect("the runner was installed");
        let pipes = ["home/_diag/Runner_20261201-130000-utc.log", "home/.muster-version"].map(|path| b.path(path));
        assert!(std::process::Command::new("mkfifo").args(&pipes).status().expect("mkfifo exists").success());
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done; at fault: disk-full");
    })
    .await;
}

#[tokio::test]
async fn an_earlier_crash_of_a_worker_is_no_fault_at_the_end() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        fs::create_dir_all(b.path("home/_diag")).expect("a directory");
        let log = format!("{CRASH}[INFO JobDispatcher] Worker finished for job 2. Code: 100\n");
        fs::write(b.path("home/_diag/Runner_20261201-130000-utc.log"), log).expect("a log");
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
    })
    .await;
}

#[tokio::test]
async fn stages_that_may_not_be_tagged_are_no_reason_to_end() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_REPORT_STAGES", "yes");
        let fault = json!({ "op": "CreateTags", "kind": "error", "status": 403, "code": "UnauthorizedOperation", "times": -1 });
        b.site.moto.fault(fault).await;
        let mut b = working(b).await;
        b.says("the tag muster:stages was refused (status 403)", secs(10)).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
        assert_eq!(b.read("console").matches("muster:stages").count(), 1);
    })
    .await;
}
