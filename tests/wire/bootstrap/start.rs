//! An instance without any trouble, from the boot to a job. It makes no call too many, and shows no secret.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{on_each_shell, working};
use crate::support::imds::SESSION_TOKEN;
use crate::support::linux::JIT;
use crate::support::moto::SECRET_ACCESS_KEY;
use crate::support::{ms, secs};

#[tokio::test]
async fn straight_through_it_takes_three_calls_and_no_secret_shows() {
    on_each_shell(async |mut b| {
        // The stub notes all command lines of curl. Of other programs, the watch sees each that runs for a hundredth of a
        // second or longer. The stub's time-outs come last, so they win over the script's. They are long, because a call that
        // a loaded machine repeats would be counted twice.
        b.stub("curl", "PATH=/usr/local/bin:/usr/bin:/bin exec curl \"$@\" --connect-timeout 100 -m 100");
        b.boot();
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
        let (seen, ()) = tokio::join!(watch, play);
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
        let command_lines = seen + &b.read("tools.log");
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
async fn asked_to_an_instance_tags_itself_with_the_times_of_its_start() {
    on_each_shell(async |mut b| {
        b.set("MUSTER_REPORT_STAGES", "yes");
        let mut b = working(b).await;
        b.tell("finish", "");
        assert_eq!(b.ends(secs(20)).await, "the runner is done");
        let calls = b.calls().await;
        assert_eq!(calls.iter().filter(|call| *call == "CreateTags").count(), 1, "{calls:?}");
        let instances = b.site.moto.instances().await;
        let tag = instances.iter().find(|i| i.id == b.id).expect("its instance").tag("muster:stages").to_owned();
        let (stages, version) = tag.rsplit_once(",version=").expect(&tag);
        assert_eq!(version, std::fs::read_to_string(b.path("home/.muster-version")).expect("a version").trim(), "{tag}");
        let stages: Vec<(&str, u64)> =
            stages.split(',').map(|s| s.split_once('=').expect(&tag)).map(|(name, at)| (name, at.parse().expect(&tag))).collect();
        let at = |name: &str| stages.iter().find(|s| s.0 == name).unwrap_or_else(|| panic!("no {name} in {tag}")).1;
        assert_eq!(stages.len(), 4, "{tag}");
        assert!(at("script") < at("secret") && at("secret") < at("listener") && at("unpacked") < at("listener"), "{tag}");
    })
    .await;
}
