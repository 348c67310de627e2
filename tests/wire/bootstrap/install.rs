//! Where the runner comes from: the cache, GitHub or the image; and the scripts before and after its installation.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{listening, on_each_shell};
use crate::support::downloads::Release;
use crate::support::linux::{LinuxInstance, VERSION, sha256};
use crate::support::secs;
use serde_json::json;

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
        // The first archive is sound, but not what its metadata says. The second archive is only a part.
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
async fn when_nothing_sound_can_be_had_the_instance_ends_at_once() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.site.moto.without_policies(); // no role of ours reaches another bucket
        b.set("MUSTER_BUCKET", "no-such-bucket");
        let archive = b.site.archive.clone();
        b.release(Release { version: VERSION.into(), archive, sha256: "0".repeat(64) }).await;
        b.boot();
        let reason = b.ends(secs(30)).await;
        let (s3, github) = reason.split_once("; ").expect("both ways are told");
        assert_eq!(s3, "no runner: s3://no-such-bucket/runners/linux-x64/latest.tar.gz cannot be had (status 404): curl: (22) The requested URL returned error: 404");
        assert!(github.contains("is corrupt: SHA-256"), "{reason}");
        assert!(b.read("console").contains("cannot be had (status 404)"), "{}", b.story());
        assert!(b.read("console").contains("is corrupt: SHA-256"), "{}", b.story());
    })
    .await;
}

#[tokio::test]
async fn a_runner_that_the_image_has_is_not_fetched() {
    on_each_shell(async |mut b| {
        let stopped = async |mut b: LinuxInstance| {
            b.imds.tag("muster:drain", "idle");
            assert_eq!(b.ends(secs(20)).await, "drained: idle");
            b
        };
        // An image that was made of an instance with the latest release.
        let image = stopped(listening(b).await).await;
        let gets = async |b: &LinuxInstance| {
            let calls = b.site.moto.calls_by(&b.key).await.into_iter();
            calls.filter(|c| c.op == "GET object").filter_map(|c| c.status).collect::<Vec<_>>()
        };
        assert_eq!(gets(&image).await, [200]);
        // The image's release is still the latest, so the instance asks for it and does not fetch it.
        b = LinuxInstance::launch(&image.site, image.shell()).await;
        b.set("MUSTER_HOME", image.path("home").display());
        b = stopped(listening(b).await).await;
        assert_eq!(gets(&b).await, [304]);
        // The image has the wanted version, so the instance does not even ask.
        b = LinuxInstance::launch(&image.site, image.shell()).await;
        b.set("MUSTER_HOME", image.path("home").display());
        b.set("MUSTER_VERSION", VERSION);
        b = stopped(listening(b).await).await;
        assert_eq!(gets(&b).await, Vec::<u16>::new());
        // No release can be fetched. The image's is better than none.
        b = LinuxInstance::launch(&image.site, image.shell()).await;
        b.set("MUSTER_HOME", image.path("home").display());
        b.site.moto.without_policies(); // no role of ours reaches another bucket
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
async fn scripts_around_the_install_run_in_their_turn_and_their_failure_ends_the_instance() {
    on_each_shell(async |mut b| {
        let home = b.path("home/run.sh").display().to_string();
        b.set("MUSTER_PRE_INSTALL", format!("test ! -e '{home}' && echo \"it's before\""));
        b.set("MUSTER_POST_INSTALL", format!("test -e '{home}' && echo after; exit 3"));
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "postInstall failed with exit code 3; it said: after");
        let output = b.read("stdout");
        assert!(output.contains("it's before\n") && output.contains("after\n"), "{output}");
        assert!(!b.heard("environment"), "the runner did not start");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("MUSTER_PRE_INSTALL", "false");
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "preInstall failed with exit code 1");
        assert!(!b.calls().await.iter().any(|op| op == "GET object"), "this instance did not get so far");
    })
    .await;
}

#[tokio::test]
async fn a_pre_install_that_hangs_holds_the_instance_no_longer_than_a_drain_or_the_boot_deadline() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_PRE_INSTALL", "sleep 60");
        b.imds.tag("muster:drain", "surplus");
        b.boot();
        assert_eq!(b.ends(secs(20)).await, "drained before it had a runner: surplus");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("MUSTER_PRE_INSTALL", "echo waiting for the lock; sleep 60");
        b.set("MUSTER_BOOT_DEADLINE", 3);
        b.boot();
        let reason = "preInstall was still under way 3 s after the start, and this pool's bootDeadline leaves no more; \
                      it said: waiting for the lock";
        assert_eq!(b.ends(secs(20)).await, reason);
        assert!(!b.has_secret().await, "the secret was not read");
    })
    .await;
}

#[tokio::test]
async fn as_root_the_runner_belongs_to_its_own_user_who_is_made() {
    on_each_shell(async |mut b| {
        // The tests have neither root nor such a user. Stand-ins note what root would have done.
        let stubs = [
            ("id", "case $* in -u) echo 0;; -un) echo root;; *) exit 1;; esac"),
            ("useradd", ""),
            ("usermod", ""),
            ("chown", ""),
            ("getent", ""),
            ("runuser", "shift 3; exec \"$@\""),
        ];
        for (name, text) in stubs {
            b.stub(name, text);
        }
        b.set("MUSTER_USER", "builder");
        let b = listening(b).await;
        let done = b.read("tools.log");
        let home = b.path("home").display().to_string();
        for line in [
            "useradd -m -s /bin/sh builder\n",
            "usermod -aG docker builder\n",
            &format!("chown builder {home}\n"),
            &format!("runuser -u builder -- mkdir {home}/.muster-new\n"),
            "runuser -u builder -- tar -xzf -\n",
            "runuser -u builder -- ./run.sh\n",
        ] {
            assert!(done.contains(line), "no {line} in {done}");
        }

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        for (name, text) in stubs {
            b.stub(name, text);
        }
        b.set("MUSTER_USER", "builder");
        b.set("MUSTER_DOCKER_GROUP", "no");
        let b = listening(b).await;
        assert!(!b.read("tools.log").contains("usermod"), "this pool's jobs have no Docker");
    })
    .await;
}

/// A gzip stream of nothing. tar unpacks an archive with it as it unpacks the archive alone.
const NOTHING: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Somebody wrote another archive to the cache, with the metadata that fits it. The controller has named the digest of the release.
#[tokio::test]
async fn an_archive_is_held_to_the_digest_that_the_controller_named_and_not_to_its_own_metadata() {
    on_each_shell(async |mut b| {
        const NAMED: &str = "2.330.7";
        let whole = b.site.archive.clone();
        let forged = [&whole[..], &NOTHING].concat();
        b.site.store(NAMED, forged.clone().into(), &sha256(&forged)).await;
        b.release(Release { version: NAMED.into(), archive: whole.clone(), sha256: "0".repeat(64) }).await;
        b.imds.tag("muster:release", &format!("version={NAMED},sha256={}", sha256(&whole)));
        let b = listening(b).await;
        let said = format!("it is corrupt: SHA-256 {}, not {}", sha256(&forged), sha256(&whole));
        assert!(b.read("console").contains(&said), "{}", b.story());
        let archive = format!("/actions/runner/releases/download/v{NAMED}/actions-runner-linux-x64-{NAMED}.tar.gz");
        assert_eq!(b.releases.asked(), [archive], "GitHub need not tell the digest, which is known");
        assert_eq!(b.read("home/.muster-version"), format!("{NAMED}\n"));
    })
    .await;
}

#[tokio::test]
async fn the_release_that_the_controller_named_counts_whatever_the_user_data_says() {
    on_each_shell(async |mut b| {
        const NAMED: &str = "2.330.8";
        let whole = b.site.archive.clone();
        b.site.store(NAMED, whole.clone(), "no digest").await;
        b.set("MUSTER_VERSION", "2.320.0");
        // A later version of muster may name more.
        b.imds.tag("muster:release", &format!("version={NAMED},sha256={},more=x", sha256(&whole)));
        let b = listening(b).await;
        assert_eq!(b.read("home/.muster-version"), format!("{NAMED}\n"));
        assert_eq!(b.releases.asked(), Vec::<String>::new());

        // The image of such an instance has the named release, so nothing is loaded.
        let home = b.path("home").display().to_string();
        let mut next = LinuxInstance::launch(&b.site, b.shell()).await;
        next.set("MUSTER_HOME", home);
        next.imds.tag("muster:release", &format!("version={NAMED},sha256={}", sha256(&whole)));
        let next = listening(next).await;
        assert!(!next.calls().await.iter().any(|op| op == "GET object"), "{}", next.story());

        // A tag that names no release is left aside.
        let mut next = LinuxInstance::launch(&b.site, b.shell()).await;
        next.set("MUSTER_VERSION", VERSION);
        next.imds.tag("muster:release", "version=latest");
        let next = listening(next).await;
        assert!(next.read("console").contains("the tag muster:release is left aside"), "{}", next.story());
        assert_eq!(next.read("home/.muster-version"), format!("{VERSION}\n"));
    })
    .await;
}

#[tokio::test]
async fn an_archive_whose_digest_nobody_tells_is_installed_only_where_the_pool_says_so() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_BUCKET", "");
        b.set("MUSTER_GITHUB_API", "http://127.0.0.1:1");
        b.boot();
        let reason = b.ends(secs(30)).await;
        let said =
            "is not installed, because nobody tells its SHA-256: set spec.bucket, or bootstrap.allowUnverified: curl: (7) ";
        assert!(reason.starts_with("no runner: actions-runner-linux-x64-") && reason.contains(said), "{reason}");
        assert_eq!(b.releases.asked(), ["/actions/runner/releases/latest"], "nothing was loaded");

        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        b.set("MUSTER_BUCKET", "");
        b.set("MUSTER_GITHUB_API", "http://127.0.0.1:1");
        b.set("MUSTER_ALLOW_UNVERIFIED", "yes");
        let b = listening(b).await;
        assert!(b.read("console").contains("has bootstrap.allowUnverified: taken as it comes"), "{}", b.story());
    })
    .await;
}
