//! The boot script of a Linux box, run for real by dash and by bash, one of which is `/bin/sh` on most images: how it
//! becomes a runner, and that it ends the box, with the right reason, whatever happens.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde_json::json;
use support::downloads::Release;
use support::imds::SESSION_TOKEN;
use support::linux::{JIT, LinuxBox, Site, VERSION, has, sha256};
use support::moto::SECRET_ACCESS_KEY;
use support::{eventually, ms, never, same, secs};

/// Launches one box for each shell and plays the case on both at once.
async fn on_each_shell<F: AsyncFn(LinuxBox)>(case: F) {
    let Some(site) = Site::start().await else { return };
    let site = Arc::new(site);
    let play = async |shell| {
        if has(shell) {
            case(LinuxBox::launch(&site, shell).await).await;
        }
    };
    tokio::join!(play("dash"), play("bash"));
}

/// A box that has started and listens.
async fn listening(mut b: LinuxBox) -> LinuxBox {
    b.boot();
    b.listens().await;
    b
}

/// A box that runs a job.
async fn working(b: LinuxBox) -> LinuxBox {
    let b = listening(b).await;
    b.tell("job", "");
    b.hears("working").await;
    b
}

// --------------------------------------------------------------------------------------------------- straight through

#[tokio::test]
async fn straight_through_it_takes_three_calls_and_no_secret_shows() {
    on_each_shell(async |mut b| {
        b.boot();
        // Every command line that is there for a hundredth of a second or so.
        let done = AtomicBool::new(false);
        let watch = async {
            let mut seen = String::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(b.command_lines());
                tokio::time::sleep(ms(5)).await;
            }
            seen
        };
        let play = async {
            b.listens().await;
            b.tell("job", "");
            b.hears("working").await;
            b.tell("finish", "");
            b.hears("finished").await;
            done.store(true, Ordering::Relaxed);
        };
        let (command_lines, ()) = tokio::join!(watch, play);
        assert_eq!(b.ends(secs(20)).await, "the runner is done");

        let mut calls = b.calls().await;
        calls.sort();
        assert_eq!(calls, ["DeleteParameter", "GET object", "GetParameter"]);
        assert!(!b.has_secret().await, "the secret is deleted once it is read");
        assert_eq!(b.imds.tokens(), (1, 0), "one token, and no request without it");
        let environment = b.read("control/environment");
        assert!(environment.contains(&format!("ACTIONS_RUNNER_INPUT_JITCONFIG={JIT}\n")), "{environment}");
        assert!(!environment.contains("MUSTER_"), "settings are not for jobs: {environment}");
        assert_eq!(b.read("control/arguments").trim(), "");
        assert!(command_lines.contains("--aws-sigv4"), "the command lines were seen");
        for secret in [JIT, SECRET_ACCESS_KEY, SESSION_TOKEN] {
            assert!(!command_lines.contains(secret), "{secret} stood on a command line");
            assert!(!b.story().contains(secret), "{secret} was logged");
        }
        println!("{}", b.read("console"));
    })
    .await;
}

#[tokio::test]
async fn asked_to_a_box_tags_itself_with_the_times_of_its_start() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_REPORT_STAGES", "yes");
        let mut b = working(b).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
        let calls = b.calls().await;
        assert_eq!(calls.iter().filter(|call| *call == "CreateTags").count(), 1, "{calls:?}");
        let instances = b.site.moto.instances().await;
        let tag = instances.iter().find(|i| i.id == b.id).expect("its instance").tag("muster:stages").to_owned();
        let stages: Vec<(&str, u64)> =
            tag.split(',').map(|s| s.split_once('=').expect(&tag)).map(|(name, at)| (name, at.parse().expect(&tag))).collect();
        let at = |name: &str| stages.iter().find(|s| s.0 == name).unwrap_or_else(|| panic!("no {name} in {tag}")).1;
        assert_eq!(stages.len(), 4, "{tag}");
        assert!(at("script") < at("secret") && at("secret") < at("listener") && at("unpacked") < at("listener"), "{tag}");
    })
    .await;
}

// ---------------------------------------------------------------------------------------------------------- the secret

#[tokio::test]
async fn a_secret_that_is_20_s_late_is_waited_for_with_the_runner_unpacked_meanwhile() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.boot();
        b.says("stage unpacked", secs(20)).await;
        tokio::time::sleep(secs(20)).await;
        b.secret(JIT).await;
        b.says("stage listener", secs(20)).await;
        let asked = b.calls().await.iter().filter(|op| *op == "GetParameter").count();
        assert!((5..=9).contains(&asked), "{asked} calls in 20 s: neither a flood nor a nap\n{}", b.story());
        b.tell("crash", "0");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
    })
    .await;
}

#[tokio::test]
async fn without_a_secret_the_box_ends_at_the_boot_deadline() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.set("MUSTER_BOOT_DEADLINE", 3);
        b.boot();
        let said = format!("no secret {} within 3 s: ParameterNotFound (status 400)", b.secret_name());
        assert_eq!(b.ends(secs(15)).await, said);
    })
    .await;
}

#[tokio::test]
async fn a_box_that_iam_denies_its_secret_says_so_and_ends() {
    for (status, code) in [(400, "AccessDeniedException"), (403, "UnrecognizedClientException")] {
        on_each_shell(async |mut b| {
            b.set("MUSTER_DENIED_DEADLINE", 3);
            let fault = json!({ "op": "GetParameter", "kind": "error", "status": status, "code": code, "times": -1 });
            b.site.moto.fault(fault).await;
            b.boot();
            let cause = format!("{code} (status {status}); check the instance profile's policy");
            assert_eq!(b.ends(secs(20)).await, format!("no secret {}: {cause}", b.secret_name()));
            assert!(b.calls().await.iter().filter(|op| *op == "GetParameter").count() <= 4, "{}", b.story());
        })
        .await;
    }
}

#[tokio::test]
async fn throttling_denials_that_pass_and_a_failed_delete_are_survived() {
    on_each_shell(async |b| {
        let faults = [
            json!({ "op": "GetParameter", "kind": "throttled" }),
            json!({ "op": "GetParameter", "kind": "error", "status": 400, "code": "AccessDeniedException" }),
            json!({ "op": "GetParameter", "kind": "lost" }),
            json!({ "op": "DeleteParameter", "kind": "unavailable" }),
        ];
        for mut fault in faults {
            fault["caller"] = b.key.clone().into();
            b.site.moto.fault(fault).await;
        }
        let b = listening(b).await;
        eventually(secs(10), "the secret is deleted", || async { same(b.has_secret().await, false) }).await;
    })
    .await;
}

#[tokio::test]
async fn a_box_that_is_drained_before_it_has_a_secret_ends() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.imds.tag("muster:drain", "surplus");
        b.boot();
        assert_eq!(b.ends(secs(15)).await, "drained before it had a secret: surplus");
    })
    .await;
}

#[tokio::test]
async fn a_reusable_runner_is_configured_with_the_token_off_the_command_line() {
    on_each_shell(async |b| {
        let settings = json!({
            "group": "big \"one\"",
            "labels": ["self-hosted", "linux", "x64"],
            "name": "c1.linux.i-1",
            "token": "AABBTOKEN",
            "url": "https://github.com/acme",
        });
        b.secret(&settings.to_string()).await;
        let b = listening(b).await;
        let words = "--unattended --replace --disableupdate --no-default-labels --url https://github.com/acme --name c1.linux.i-1 \
                     --labels self-hosted,linux,x64 --runnergroup big \"one\" --work _work";
        assert_eq!(b.read("control/config").lines().collect::<Vec<_>>().join(" "), words);
        assert_eq!(b.read("control/token"), "AABBTOKEN");
        assert!(!b.read("control/environment").contains("AABBTOKEN"), "run.sh has no use for the token");
        assert!(!b.story().contains("AABBTOKEN"));
        b.imds.tag("muster:drain", "idle");
        let mut b = b;
        assert_eq!(b.ends(secs(20)).await, "drained: idle");

        // In a repository there is no group.
        let mut b = LinuxBox::launch(&b.site, b.shell()).await;
        let settings = json!({"group": "", "labels": ["a"], "name": "n", "token": "t", "url": "https://github.com/acme/app"});
        b.secret(&settings.to_string()).await;
        b.set("MUSTER_WORK", "/mnt/work");
        let b = listening(b).await;
        assert!(b.read("control/config").ends_with("--labels\na\n--work\n/mnt/work\n"), "{}", b.read("control/config"));
    })
    .await;
}

// ---------------------------------------------------------------------------------------------------------- the runner

#[tokio::test]
async fn when_s3_is_down_the_runner_comes_from_github() {
    on_each_shell(async |mut b| {
        b.site.moto.fault(json!({ "op": "GET object", "kind": "unavailable", "times": -1, "caller": b.key })).await;
        let archive = format!("/actions/runner/releases/download/v{VERSION}/actions-runner-linux-x64-{VERSION}.tar.gz");
        let api = format!("/repos/actions/runner/releases/tags/v{VERSION}");
        if b.shell() == "bash" {
            b.set("MUSTER_VERSION", VERSION);
        }
        let mut b = listening(b).await;
        let latest = (b.shell() == "dash").then(|| "/actions/runner/releases/latest".to_owned());
        assert_eq!(b.releases.asked(), latest.into_iter().chain([api, archive]).collect::<Vec<_>>());
        assert!(b.read("console").contains("cannot be had (status 503)"), "{}", b.story());
        assert_eq!(b.read("home/.muster-version"), format!("{VERSION}\n"));
        b.tell("crash", "0");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
    })
    .await;
}

#[tokio::test]
async fn a_corrupt_archive_is_not_run_and_the_runner_comes_from_github() {
    on_each_shell(async |mut b| {
        // Sound in itself, but not what its metadata says; then one that came in part.
        let whole = b.site.archive.clone();
        let wrong = sha256(b"something else");
        b.site.store("2.330.1", whole.clone(), &wrong).await;
        b.site.store("2.330.2", whole.slice(..whole.len() / 2), &sha256(&whole)).await;
        let version = if b.shell() == "dash" { "2.330.1" } else { "2.330.2" };
        b.set("MUSTER_VERSION", version);
        let release = Release { version: version.into(), archive: whole.clone(), sha256: sha256(&whole) };
        b.release(release).await;
        let b = listening(b).await;
        let said = if b.shell() == "dash" { "is corrupt" } else { "cannot be had (status 200)" };
        assert!(b.read("console").contains(said), "{}", b.story());
        assert_eq!(b.read("home/.muster-version"), format!("{version}\n"));
        assert_eq!(b.calls().await.iter().filter(|op| *op == "GET object").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn when_nothing_sound_can_be_had_the_box_ends_at_once() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.set("MUSTER_BUCKET", "no-such-bucket");
        let archive = b.site.archive.clone();
        b.release(Release { version: VERSION.into(), archive, sha256: "0".repeat(64) }).await;
        b.boot();
        assert_eq!(b.ends(secs(30)).await, "no runner: neither S3 nor GitHub gave one");
        assert!(b.read("console").contains("cannot be had (status 404)"), "{}", b.story());
        assert!(b.read("console").contains("is corrupt: SHA-256"), "{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_runner_that_the_image_has_is_not_fetched() {
    on_each_shell(async |mut b| {
        let stopped = async |mut b: LinuxBox| {
            b.imds.tag("muster:drain", "idle");
            assert_eq!(b.ends(secs(20)).await, "drained: idle");
            b
        };
        // An image: made of a box that had the latest.
        let image = stopped(listening(b).await).await;
        let gets = async |b: &LinuxBox| {
            let calls = b.site.moto.calls_by(&b.key).await.into_iter();
            calls.filter(|c| c.op == "GET object").filter_map(|c| c.status).collect::<Vec<_>>()
        };
        assert_eq!(gets(&image).await, [200]);
        // The latest is still the latest: asked, not fetched.
        b = LinuxBox::launch(&image.site, image.shell()).await;
        b.set("MUSTER_HOME", image.path("home").display());
        b = stopped(listening(b).await).await;
        assert_eq!(gets(&b).await, [200, 304]);
        // The version that is wanted: not even asked.
        b = LinuxBox::launch(&image.site, image.shell()).await;
        b.set("MUSTER_HOME", image.path("home").display());
        b.set("MUSTER_VERSION", VERSION);
        b = stopped(listening(b).await).await;
        assert_eq!(gets(&b).await, [200, 304]);
        // Nothing can be had: better the image's than none.
        b = LinuxBox::launch(&image.site, image.shell()).await;
        b.set("MUSTER_HOME", image.path("home").display());
        b.set("MUSTER_BUCKET", "no-such-bucket");
        b.set("MUSTER_GITHUB", "http://127.0.0.1:1");
        b = listening(b).await;
        assert!(b.read("console").contains(&format!("runner {VERSION} of the image must do")), "{}", b.story());
        assert_eq!(b.releases.asked(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn another_version_takes_the_place_of_the_images() {
    on_each_shell(async |mut b| {
        let home = b.path("home");
        fs::create_dir_all(home.join("bin")).expect("a directory");
        fs::write(home.join("run.sh"), "#!/bin/sh\nexit 88\n").expect("a file");
        fs::set_permissions(home.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("permissions");
        for (name, text) in
            [(".muster-version", "2.300.0\n"), (".muster-etag", "\"old\"\n"), (".env", "IMAGE=1\n"), ("bin/old", "")]
        {
            fs::write(home.join(name), text).expect("a file");
        }
        b.set("MUSTER_PROXY_HTTP", "http://proxy.example:3128");
        b.set("MUSTER_PROXY_NONE", "s3.example,10.0.0.0/8");
        b.set("MUSTER_HOOK_STARTED", "/opt/hooks/started");
        b.set("MUSTER_HOOK_COMPLETED", "/opt/hooks/completed");
        b = listening(b).await;
        assert!(!home.join("bin/old").exists() && home.join("bin/Runner.Listener").exists());
        assert!(!home.join(".muster-new").exists());
        let no_proxy = "no_proxy=127.0.0.1,s3.example,10.0.0.0/8,169.254.169.254\n";
        assert_eq!(b.read("home/.env").replace(no_proxy, ""), "IMAGE=1\nhttp_proxy=http://proxy.example:3128\n");
        let environment = b.read("control/environment");
        for line in [
            no_proxy,
            "http_proxy=http://proxy.example:3128\n",
            "ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/hooks/started\n",
            "ACTIONS_RUNNER_HOOK_JOB_COMPLETED=/opt/hooks/completed\n",
        ] {
            assert!(environment.contains(line), "no {line} in {environment}");
        }
    })
    .await;
}

#[tokio::test]
async fn scripts_around_the_install_run_in_their_turn_and_their_failure_ends_the_box() {
    on_each_shell(async |mut b| {
        let home = b.path("home/run.sh").display().to_string();
        b.set("MUSTER_PRE_INSTALL", format!("test ! -e '{home}' && echo \"it's before\""));
        b.set("MUSTER_POST_INSTALL", format!("test -e '{home}' && echo after; exit 3"));
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "postInstall failed with exit code 3");
        let output = b.read("stdout");
        assert!(output.contains("it's before\n") && output.contains("after\n"), "{output}");
        assert!(!b.heard("environment"), "the runner did not start");

        let mut b = LinuxBox::launch(&b.site, b.shell()).await;
        b.set("MUSTER_PRE_INSTALL", "false");
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "preInstall failed with exit code 1");
        assert_eq!(b.calls().await.iter().filter(|op| *op == "GET object").count(), 1, "only the first box got so far");
    })
    .await;
}

#[tokio::test]
async fn a_pre_install_that_hangs_holds_the_box_no_longer_than_a_drain_or_the_boot_deadline() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_PRE_INSTALL", "sleep 60");
        b.imds.tag("muster:drain", "surplus");
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "drained before it had a runner: surplus");

        let mut b = LinuxBox::launch(&b.site, b.shell()).await;
        b.set("MUSTER_PRE_INSTALL", "sleep 60");
        b.set("MUSTER_BOOT_DEADLINE", 3);
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "preInstall, the download or postInstall took more than 3 s");
        assert!(!b.has_secret().await, "it was read");
    })
    .await;
}

#[tokio::test]
async fn as_root_the_runner_belongs_to_its_own_user_who_is_made() {
    on_each_shell(async |mut b| {
        // No root and no user of that name here: stand-ins note what root would have done.
        let (tools, log) = (b.path("tools"), b.path("tools.log"));
        fs::create_dir(&tools).expect("a directory");
        let stubs = [
            ("id", "case $* in -u) echo 0;; -un) echo root;; *) exit 1;; esac"),
            ("useradd", ""),
            ("usermod", ""),
            ("chown", ""),
            ("docker", ""),
            ("systemctl", ""),
            ("runuser", "shift 3; exec \"$@\""),
        ];
        for (name, text) in stubs {
            let path = tools.join(name);
            fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>'{}'\n{text}\n", log.display())).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        b.set("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").expect("a path")));
        b.set("MUSTER_USER", "builder");
        let b = listening(b).await;
        let done = b.read("tools.log");
        let home = b.path("home").display().to_string();
        for line in [
            "useradd -m -s /bin/sh builder\n",
            "usermod -aG docker builder\n",
            "systemctl start docker\n",
            &format!("chown builder {home}\n"),
            &format!("runuser -u builder -- mkdir {home}/.muster-new\n"),
            "runuser -u builder -- tar -xzf -\n",
            "runuser -u builder -- ./run.sh\n",
        ] {
            assert!(done.contains(line), "no {line} in {done}");
        }
    })
    .await;
}

// ----------------------------------------------------------------------------------------------------- how it all ends

#[tokio::test]
async fn on_a_spot_notice_an_idle_box_ends_at_once() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        b.imds.spot_notice("2026-01-01T00:02:00Z");
        assert_eq!(b.ends(secs(15)).await, "spot takes this box at 2026-01-01T00:02:00Z");
        assert!(b.read("state/log").contains("Exiting..."), "the listener took its leave\n{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn on_a_spot_notice_a_job_runs_on_and_its_fate_is_told_once() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        b.imds.spot_notice("2026-01-01T00:02:00Z");
        let told = "muster: spot takes this box at 2026-01-01T00:02:00Z; the job on it will be lost\n";
        b.says(told, secs(10)).await;
        never(secs(3), "the box ends under its job", || async { same(b.path("ended").exists(), false) }).await;
        assert_eq!(b.read("console").matches(told).count(), 1);
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
        assert!(b.heard("finished"));
    })
    .await;
}

#[tokio::test]
async fn an_idle_box_ends_when_it_is_drained_or_when_spot_recommends_another() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        let reason = if b.shell() == "dash" {
            b.imds.tag("muster:drain", "surplus");
            "drained: surplus"
        } else {
            b.imds.recommend_rebalance();
            "spot recommends another box"
        };
        assert_eq!(b.ends(secs(15)).await, reason);
        assert!(b.read("state/log").contains("Exiting..."), "the listener took its leave\n{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_drained_box_finishes_its_job_first_and_outlives_its_tokens() {
    on_each_shell(async |b| {
        let mut b = working(b).await;
        b.imds.expire_tokens();
        b.imds.tag("muster:drain", "surplus");
        b.says("muster: drained: surplus; it waits for the job to end\n", secs(10)).await;
        never(secs(3), "the box ends under its job", || async { same(b.path("ended").exists(), false) }).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");
        assert!(b.heard("finished"));
        assert_eq!(b.imds.tokens().0, 2, "a new token was fetched");
    })
    .await;
}

/// Puts a `grep` in the box's way that brings a job after the `nth` look for a worker, and returns what it saw before.
fn bring_a_job_after_look(b: &mut LinuxBox, nth: u32) {
    let tools = b.path("tools");
    fs::create_dir(&tools).expect("a directory");
    let path = std::env::var("PATH").expect("a path");
    let grep = format!(
        r#"#!/bin/sh
PATH='{path}' grep "$@"
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
    fs::write(tools.join("grep"), grep).expect("a file");
    fs::set_permissions(tools.join("grep"), fs::Permissions::from_mode(0o755)).expect("permissions");
    b.set("PATH", format!("{}:{path}", tools.display()));
    b.set("MUSTER_WATCH", 3); // the listener is there at the first look
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
        let taken = async |b| {
            let b = listening(b).await;
            b.tell("no-worker", "");
            b.tell("job", "");
            eventually(secs(10), "the job is taken", async || same(b.read("state/log").contains("Running job"), true)).await;
            b
        };
        let mut b = taken(b).await;
        b.imds.tag("muster:drain", "surplus");
        b.says("it waits for the job to end", secs(10)).await;
        never(secs(3), "the box ends under its job", || async { same(b.path("ended").exists(), false) }).await;
        fs::remove_file(b.path("control/no-worker")).expect("the file");
        b.hears("working").await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done", "{}", b.story());
        assert!(b.heard("finished"), "{}", b.story());

        let mut b = taken(LinuxBox::launch(&b.site, b.shell()).await).await;
        let log = fs::File::options().append(true).open(b.path("state/log")).expect("the log");
        log.set_modified(SystemTime::now() - secs(121)).expect("a time");
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
        never(secs(3), "the box ends under its job", || async { same(b.path("ended").exists(), false) }).await;
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
        // One that has left and that nobody has waited for yet: its files cannot be told any more.
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

        // It leaves, and `run.sh` does not.
        let mut b = listening(LinuxBox::launch(&b.site, b.shell()).await).await;
        b.tell("linger", "");
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(30)).await, "drained: surplus");
    })
    .await;
}

#[tokio::test]
async fn a_box_without_a_job_ends_after_its_lifetime_and_metadata_or_not() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_MAX_LIFETIME", 4);
        let mut b = working(b).await;
        b.imds.down(true);
        never(secs(6), "the box ends under its job", || async { same(b.path("ended").exists(), false) }).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(15)).await, "the runner is done");

        let mut b = LinuxBox::launch(&b.site, b.shell()).await;
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
            ("crash", "7", "GitHub refuses runner 2.330.0 as too old: run `muster sync`"),
            ("leave", "7", "GitHub refuses runner 2.330.0 as too old: run `muster sync`"),
            ("leave", "1", "registration failed: the runner left with exit code 1 before it listened; it said: Http response code: NotFound from POST"),
            ("leave", "5", "registration failed: the runner left with exit code 5 before it listened; it said: Http response code: NotFound from POST"),
            ("leave", "139", "registration failed: the runner left with exit code 139 before it listened; it said: Http response code: NotFound from POST"),
        ];
        for (word, code, reason) in cases {
            let mut b = LinuxBox::launch(&site, shell).await;
            b.tell(word, code);
            b.boot();
            assert_eq!(b.ends(secs(25)).await, reason);
        }
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
        // cloud-init does not run user data again, but what user data has left to each boot.
        b.boot_again(&cloud.join("scripts/per-boot/muster"));
        assert_eq!(b.ends(secs(10)).await, "second boot: this box had its turn");
        assert!(b.has_secret().await, "nothing was read");

        // An image that was made of the box: another instance, whose turn it is.
        fs::remove_file(cloud.join("instance")).expect("a link");
        std::os::unix::fs::symlink("instances/i-other", cloud.join("instance")).expect("a link");
        let status = Command::new(cloud.join("scripts/per-boot/muster")).status().expect("it runs");
        assert!(status.success());
        let mut other = LinuxBox::launch(&b.site, b.shell()).await;
        other.set("MUSTER_HOME", b.path("home").display());
        listening(other).await;
    })
    .await;
}

#[tokio::test]
async fn slow_metadata_delays_the_box_and_absent_metadata_ends_it() {
    on_each_shell(async |mut b| {
        b.imds.slow(ms(900));
        b = listening(b).await;
        b.imds.tag("muster:drain", "surplus");
        assert_eq!(b.ends(secs(25)).await, "drained: surplus");

        let mut b = LinuxBox::launch(&b.site, b.shell()).await;
        b.imds.down(true);
        b.boot();
        let reason = "the metadata service does not tell dynamic/instance-identity/document (status 503)";
        assert_eq!(b.ends(secs(30)).await, reason);
    })
    .await;
}

#[tokio::test]
async fn a_signal_and_a_failure_that_nobody_foresaw_end_the_box_with_a_reason() {
    on_each_shell(async |b| {
        let mut b = listening(b).await;
        let status = Command::new("kill").arg(b.pid().to_string()).status().expect("kill runs");
        assert!(status.success());
        assert_eq!(b.ends(secs(10)).await, "stopped by a signal");

        let mut b = LinuxBox::launch(&b.site, b.shell()).await;
        b.set("MUSTER_HOME", "/proc/nowhere");
        b.boot();
        assert_eq!(b.ends(secs(10)).await, "failed unexpectedly, at: begin");
    })
    .await;
}

#[tokio::test]
async fn a_box_whose_output_nobody_takes_any_more_ends_all_the_same() {
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
        eventually(secs(10), "the box ends", || async { same(b.read("ended").as_str(), "ended\n") }).await;
        assert_eq!(b.read("console").matches("ended").count(), 1, "{}", b.read("console"));
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
