//! What the machine does to an instance: a clock that steps, a full disk, an old curl, and systemd.

use std::fs;

use super::{listening, on_each_shell, working};
use crate::support::linux::{JIT, LinuxInstance};
use crate::support::{eventually, never, same, secs};

/// Puts a `date` into the instance's PATH whose clock is off by as many seconds as the file `clock` says. All other
/// programs have the real clock.
fn own_clock(b: &LinuxInstance) {
    let path = std::env::var("PATH").expect("a path");
    let text = format!(
        "PATH='{path}'\noff=$(cat \"$TEST_CONTROL/clock\" 2>/dev/null || echo 0)\nexec date -d \"@$(($(date +%s) + off))\" \"$@\""
    );
    b.stub("date", &text);
}

#[tokio::test]
async fn a_clock_that_steps_forward_costs_a_booting_instance_nothing() {
    on_each_shell(async |mut b| {
        own_clock(&b);
        b.no_secret().await;
        b.boot();
        b.says("muster: instance ", secs(20)).await;
        b.tell("clock", "600");
        never(secs(3), "the instance ends", || async { same(b.path("ended").exists(), false) }).await;
        b.secret(JIT).await;
        b.listens().await;
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_steps_back_makes_no_instance_deaf_and_its_stages_are_true() {
    on_each_shell(async |mut b| {
        own_clock(&b);
        b.tell("clock", "-5000");
        b.set("MUSTER_REPORT_STAGES", "yes");
        b.no_secret().await;
        b.boot();
        b.says("stage unpacked", secs(20)).await;
        // chrony does this when it first hears of the time.
        b.tell("clock", "0");
        b.secret(JIT).await;
        let b = &mut b;
        b.listens().await;
        let tagged = async || {
            let instances = b.site.moto.instances().await;
            instances.iter().find(|i| i.id == b.id).expect("its instance").tag("muster:stages").to_owned()
        };
        eventually(
            secs(10),
            "the instance tags itself",
            async || if tagged().await.is_empty() { Err(String::new()) } else { Ok(()) },
        )
        .await;
        let tag = tagged().await;
        let at = |name: &str| {
            let stage = tag.split(',').find_map(|s| s.strip_prefix(&format!("{name}=")));
            stage.unwrap_or_else(|| panic!("no {name} in {tag}")).parse::<u64>().expect("milliseconds")
        };
        assert!(at("listener") - at("script") < 100_000, "the stages are not all by the corrected clock: {tag}");

        b.tell("clock", "-300");
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(15)).await, "drained: surplus");
    })
    .await;
}

/// A file that may not grow has the same effect as a full disk, and needs no disk.
#[tokio::test]
async fn a_full_disk_is_named() {
    on_each_shell(async |mut b| {
        fs::create_dir(b.path("home")).expect("a directory");
        std::os::unix::fs::symlink("/dev/full", b.path("home/.muster-used.new")).expect("a link");
        b.boot();
        let mark = b.path("home/.muster-used").display().to_string();
        let reason = format!("cannot write {mark}: tee: {mark}.new: No space left on device");
        assert_eq!(b.ends(secs(20)).await, reason);

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.preamble("trap '' XFSZ; ulimit -f 64"); // the unit is 512 bytes
        b.boot();
        let reason = format!("cannot write {}: dd: error writing 'errors': File too large", b.path("state").display());
        assert_eq!(b.ends(secs(20)).await, reason);

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.preamble("trap '' XFSZ; ulimit -f 160");
        b.boot();
        let reason = b.ends(secs(30)).await;
        assert!(reason.starts_with("no runner: s3://") && reason.contains("cannot be had (status 200): tar: "), "{reason}");
        assert!(reason.contains("File too large") || reason.contains("Wrote only"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn an_old_curl_is_named_at_once() {
    on_each_shell(async |mut b| {
        b.stub("curl", "echo 'curl 7.81.0 (x86_64-pc-linux-gnu) libcurl/7.81.0'");
        b.boot();
        let reason = b.ends(secs(10)).await;
        assert!(reason.starts_with("curl 7.81 of this image is too old: from 7.86 on it can sign"), "{reason}");
        assert_eq!(b.calls().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_curl_that_cannot_sign_or_reach_anybody_is_quoted() {
    on_each_shell(async |mut b| {
        let path = std::env::var("PATH").expect("a path");
        let text = format!(
            "case \"$*\" in *aws-sigv4*) echo 'curl: (4) A requested feature was not found built-in in this libcurl' >&2; exit 4 ;; esac\n\
             PATH='{path}' exec curl \"$@\""
        );
        b.stub("curl", &text);
        b.boot();
        let reason = b.ends(secs(20)).await;
        assert!(reason.starts_with("curl of this image cannot sign for AWS: (4) A requested feature was not found"), "{reason}");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        b.set("MUSTER_GITHUB", "http://127.0.0.1:1");
        b.set("MUSTER_PRE_INSTALL", "sleep 30");
        b.set("MUSTER_BOOT_DEADLINE", 2);
        b.boot();
        let reason = b.ends(secs(20)).await;
        assert!(reason.contains(": no answer (curl: (7) Failed to connect to 127.0.0.1"), "{reason}");
    })
    .await;
}

/// The endpoints are those of <https://docs.aws.amazon.com/general/latest/gr/rande.html>, and for the European Sovereign
/// Cloud those with its partition's suffix.
#[tokio::test]
async fn each_partition_has_its_own_endpoints() {
    on_each_shell(async |b| {
        for (region, host) in [
            ("cn-north-1", "ssm.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "ssm.eusc-de-east-1.amazonaws.eu"),
            ("us-gov-west-1", "ssm.us-gov-west-1.amazonaws.com"),
        ] {
            let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
            let path = std::env::var("PATH").expect("a path");
            // The stub lets only calls to this machine through, which is where the metadata service is.
            b.stub("curl", &format!("case \"$*\" in *--version* | *127.0.0.1*) PATH='{path}' exec curl \"$@\" ;; esac\nexit 7"));
            b.set("AWS_ENDPOINT_URL", "");
            b.set("MUSTER_PRE_INSTALL", "sleep 30");
            b.set("MUSTER_BOOT_DEADLINE", 2);
            b.imds.put(
                "dynamic/instance-identity/document",
                &format!("{{\"instanceId\": \"{}\", \"region\": \"{region}\"}}", b.id),
            );
            b.boot();
            b.ends(secs(20)).await;
            let asked = b.read("tools.log");
            assert!(asked.contains(&format!(" https://{host}/ ")), "{asked}");
        }
    })
    .await;
}

#[tokio::test]
async fn on_systemd_the_script_leaves_the_boot_and_goes_on_as_a_unit() {
    on_each_shell(async |mut b| {
        fs::create_dir(b.path("systemd")).expect("a directory");
        b.set("MUSTER_SYSTEMD", b.path("systemd").display());
        b.set("MUSTER_UNIT", "muster-box");
        // As systemd would, the stub runs the command line after the properties in the background.
        b.stub("systemd-run", "while [ \"$1\" != sh ]; do shift; done\n\"$@\" >>\"$TEST_CONTROL/unit\" 2>&1 &");
        b.boot();
        b.exits(secs(20)).await;
        assert!(!b.path("ended").exists(), "the boot is over, and the instance is not");
        b.listens().await;
        let call = b.read("tools.log");
        let call = call.lines().find(|line| line.starts_with("systemd-run ")).expect("a unit");
        for part in [
            "--unit=muster-box",
            "-p KillMode=mixed",
            "-p TimeoutStopSec=30",
            "-p OOMPolicy=continue",
            "-p SuccessAction=poweroff",
            "-p FailureAction=poweroff",
        ] {
            assert!(call.contains(part), "no {part} in {call}");
        }
        b.imds.tag("muster:drain", "surplus");
        b.says("muster: ended: drained: surplus\n", secs(20)).await;

        // If systemd takes no unit, the script goes on where it is.
        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        fs::create_dir(b.path("systemd")).expect("a directory");
        b.set("MUSTER_SYSTEMD", b.path("systemd").display());
        b.set("MUSTER_UNIT", "muster-box");
        b.stub("systemd-run", "echo 'Unknown assignment: OOMPolicy=continue' >&2; exit 1");
        let mut b = listening(b).await;
        assert!(
            b.read("console").contains("since systemd takes no unit: Unknown assignment: OOMPolicy=continue\n"),
            "{}",
            b.story()
        );
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(15)).await, "drained: surplus");
    })
    .await;
}

#[tokio::test]
async fn an_end_that_is_forbidden_is_tried_again_by_other_ways_and_for_ever() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_END", "");
        b.set("MUSTER_PATIENCE", 1);
        for name in ["systemctl", "shutdown", "poweroff", "halt"] {
            b.stub(name, "echo 'Operation inhibited by \"APT\"'; exit 1");
        }
        let b = listening(b).await;
        b.imds.tag("muster:drain", "surplus");
        b.says("muster: ended: drained: surplus\n", secs(20)).await;
        eventually(secs(30), "the last resort is tried more than once", || async {
            if b.read("sysrq").matches("s\nu\no\n").count() >= 2 { Ok(()) } else { Err(b.story()) }
        })
        .await;
        let tried = b.read("tools.log");
        let at = |words: &str| tried.find(words).unwrap_or_else(|| panic!("no {words} in {tried}"));
        let target = at("systemctl --no-block --job-mode=replace-irreversibly start poweroff.target\n");
        assert!(target < at("shutdown -h now\n") && at("shutdown -h now\n") < at("systemctl poweroff -ff\n"), "{tried}");
        assert_eq!(b.read("console").matches("ended").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_end_that_nobody_forbids_is_asked_for_once() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_END", "");
        b.stub("systemctl", "");
        let b = listening(b).await;
        b.imds.tag("muster:drain", "surplus");
        b.says("muster: ended: drained: surplus\n", secs(20)).await;
        never(secs(3), "it is impatient", || async { same(b.read("tools.log").contains("-ff"), false) }).await;
        assert_eq!(b.read("tools.log").matches("start poweroff.target").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn when_the_power_button_is_pressed_the_runner_may_tell_github_of_its_job() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        b.signal("TERM");
        assert_eq!(b.ends(secs(25)).await, "stopped by a signal");
        assert!(!b.heard("finished"), "the script must not wait for the job");

        let mut b = listening(LinuxInstance::launch(&b.site, b.shell()).await).await;
        b.signal("TERM");
        assert_eq!(b.ends(secs(8)).await, "stopped by a signal");
        assert!(b.read("state/log").contains("Exiting..."), "the listener did not leave by itself\n{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn marks_of_a_power_cut_are_no_marks_and_ours_are_on_the_disk_before_they_have_a_name() {
    on_each_shell(async |b| {
        let boot = b.path("cloud/scripts/per-boot");
        fs::create_dir_all(&boot).expect("a directory");
        std::os::unix::fs::symlink(b.path("cloud/instances").join(&b.id), b.path("cloud/instance")).expect("a link");
        fs::create_dir(b.path("home")).expect("a directory");
        // These files were made and not synced, so they exist and are empty.
        fs::write(boot.join("muster"), "").expect("a file");
        fs::write(b.path("home/.muster-used"), "").expect("a file");
        let names = "ls \"$1\" \"${1%.new}\" 2>/dev/null | sed 's|.*/|has |' >>\"$TEST_CONTROL/synced\"";
        b.stub("sync", names);
        let mut b = listening(b).await;
        let synced = b.read("control/synced");
        for name in ["muster.new", ".muster-used.new"] {
            assert!(synced.contains(&format!("has {name}\n")), "{name} was synced under its first name: {synced}");
        }
        assert_eq!(b.read("home/.muster-used"), format!("{}\n", b.id));
        b.tell("crash", "0");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
        b.boot_again(&boot.join("muster"));
        assert_eq!(b.ends(secs(10)).await, "second boot: this instance had its turn");
    })
    .await;
}
