//! The boot script of a Linux box, run for real by dash and by bash: how it becomes a runner, and that it ends the box,
//! with the right reason, whatever happens.
#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::imds::SESSION_TOKEN;
use support::linux::{JIT, LinuxBox, Site, VERSION, has};
use support::moto::SECRET_ACCESS_KEY;
use support::{eventually, ms, same, secs};

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
async fn straight_through_it_takes_four_calls_and_no_secret_shows() {
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
        assert_eq!(calls, ["CreateTags", "DeleteParameter", "GET object", "GetParameter"]);
        assert!(!b.has_secret().await, "the secret is deleted once it is read");
        assert_eq!(b.imds.tokens(), (1, 0), "one token, and no request without it");
        let environment = b.read("control/environment");
        assert!(environment.contains(&format!("ACTIONS_RUNNER_INPUT_JITCONFIG={JIT}\n")), "{environment}");
        assert_eq!(b.read("control/arguments").trim(), "");
        assert!(command_lines.contains("--aws-sigv4"), "the command lines were seen");
        for secret in [JIT, SECRET_ACCESS_KEY, SESSION_TOKEN] {
            assert!(!command_lines.contains(secret), "{secret} stood on a command line");
            assert!(!b.story().contains(secret), "{secret} was logged");
        }

        let instances = b.site.moto.instances().await;
        let tag = instances.iter().find(|i| i.id == b.id).expect("its instance").tag("muster:stages").to_owned();
        let stages: Vec<(&str, u64)> =
            tag.split(',').map(|s| s.split_once('=').expect(&tag)).map(|(name, at)| (name, at.parse().expect(&tag))).collect();
        let at = |name: &str| stages.iter().find(|s| s.0 == name).unwrap_or_else(|| panic!("no {name} in {tag}")).1;
        assert_eq!(stages.len(), 4, "{tag}");
        assert!(at("script") < at("secret") && at("secret") < at("listener") && at("unpacked") < at("listener"), "{tag}");
        println!("{tag}\n{}", b.read("console"));
    })
    .await;
}
