//! The secret, which may be late, denied, throttled, or never there.

use super::{listening, on_each_shell};
use crate::support::imds::SESSION_TOKEN;
use crate::support::linux::{JIT, LinuxInstance};
use crate::support::{eventually, same, secs};
use serde_json::json;

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
        assert!((5..=9).contains(&asked), "{asked} calls in 20 s are too many or too few\n{}", b.story());
        b.tell("crash", "0");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
    })
    .await;
}

#[tokio::test]
async fn without_a_secret_the_instance_ends_at_the_boot_deadline() {
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
async fn an_instance_that_iam_denies_its_secret_says_so_and_ends() {
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
async fn an_instance_that_is_drained_before_it_has_a_secret_ends() {
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

        // A runner of a repository has no group.
        let mut b = LinuxInstance::launch(&b.site, b.shell()).await;
        let settings = json!({"group": "", "labels": ["a"], "name": "n", "token": "t", "url": "https://github.com/acme/app"});
        b.secret(&settings.to_string()).await;
        b.set("MUSTER_WORK", "/mnt/work");
        let b = listening(b).await;
        assert!(b.read("control/config").ends_with("--labels\na\n--work\n/mnt/work\n"), "{}", b.read("control/config"));
    })
    .await;
}

/// A registration token registers runners of any name, label and group for an hour. A JIT configuration is for one runner only. The
/// runner takes it from its environment, so the runner's own processes keep it, and no other process does.
#[tokio::test]
async fn once_the_runner_listens_no_process_holds_the_secret_but_a_runner_its_own_jit_configuration() {
    on_each_shell(async |b| {
        const TOKEN: &str = "AABBCCTOKENOFTHEWHOLEORGANISATION";
        let settings = json!({ "group": "g", "labels": ["a"], "name": "n", "token": TOKEN, "url": "https://github.com/acme" });
        b.secret(&settings.to_string()).await;
        let b = listening(b).await;
        assert_eq!(b.read("control/token"), TOKEN);
        assert!(!b.holders(SESSION_TOKEN, None).is_empty(), "the memory of the script can be read");
        assert_eq!(b.holders(TOKEN, None), [""; 0], "{} holds the token", b.shell());

        let b = listening(LinuxInstance::launch(&b.site, b.shell()).await).await;
        let runner = b.read("control/run.pid");
        assert!(!b.holders(JIT, None).is_empty(), "what is said below would be true of anything");
        assert_eq!(b.holders(JIT, Some(runner.trim())), [""; 0], "{} holds the JIT configuration", b.shell());
    })
    .await;
}

#[tokio::test]
async fn a_process_that_dies_before_it_has_the_secret_does_not_hold_the_instance_up() {
    on_each_shell(async |mut b| {
        b.no_secret().await;
        b.stub("od", "exit 9"); // the next wait has no length
        b.boot();
        let reason = b.ends(secs(20)).await;
        assert!(reason.starts_with(&format!("the secret {} could not be read", b.secret_name())), "{reason}");
    })
    .await;
}
