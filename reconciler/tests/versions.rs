//! Which versions of the runner program the pools run, and what operators learn of their ends.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use muster_reconciler::effect::Input;
use muster_reconciler::manifest::{Architecture, Os};
use muster_reconciler::release::{RunnerRelease, RunnerReleases};
use muster_reconciler::versions::{self, RunnerVersions, VersionEnds};

mod scene;
use scene::{Scene, linux, pool, secs};

const DAY: Duration = Duration::from_secs(86_400);

fn in_use(scene: &Scene) -> Vec<String> {
    scene.core.seen().versions_in_use().into_iter().map(|(_, version)| version).collect()
}

/// GitHub tells that these versions end so many days from now.
fn tell(scene: &mut Scene, ends: &[(&str, u32)]) {
    let list = linux().list_id();
    let told = |(version, days): &(&str, u32)| {
        let ends = VersionEnds { registration: None, runtime: Some(scene.now + DAY * *days) };
        ((list.clone(), (*version).to_owned()), ends)
    };
    let versions = RunnerVersions(ends.iter().map(told).collect());
    scene.feed(Input::Versions(versions));
}

fn warnings(scene: &Scene, pool: &str) -> Vec<String> {
    let pools = scene.core.seen().pools(scene.now);
    pools.into_iter().find(|p| p.name == pool).unwrap().warnings
}

#[test]
fn a_pool_runs_what_its_launches_install_and_what_githubs_list_shows() {
    let mut pinned = pool("pinned", &["pinned"], 9);
    pinned.spec.bootstrap.version = "2.320.0".into();
    let mut scene = Scene::new([linux(), pinned]);
    scene.pass(secs(60));
    assert_eq!(in_use(&scene), ["2.320.0"], "nobody knows what is the latest");
    let release = RunnerRelease { version: "2.330.0".into(), sha256: "ab".repeat(32) };
    let latest = (Os::Linux, Architecture::X64, "latest".into());
    scene.feed(Input::Releases(RunnerReleases([(latest, release)].into())));
    assert_eq!(in_use(&scene), ["2.320.0", "2.330.0"]);
    // The image brings an older runner program. Its job may make a runner tell anything.
    for (said, counts) in [("2.310.0", true), ("2.310.0/../../../user", false), ("", false), ("2.310", false)] {
        scene.version = Some(said.into());
        scene.queue(1, &["self-hosted", "linux"]);
        scene.pass(secs(60));
        assert_eq!(in_use(&scene).contains(&said.to_owned()), counts, "{said}");
    }
}

/// GitHub tells no version of a runner that was never online, and an older GitHub Enterprise Server tells none at all.
#[test]
fn an_instance_tells_the_version_that_githubs_list_does_not_tell() {
    let mut scene = Scene::new([linux()]);
    scene.queue(1, &["self-hosted", "linux"]);
    scene.pass(secs(60));
    assert_eq!(in_use(&scene), [""; 0]);
    for (tag, told) in [
        ("script=1767225600123,version=2.310.0", &["2.310.0"][..]),
        ("version=2.310.0,crashed=1767225600123", &["2.310.0"]),
        ("version=2.310", &[]),
        ("version=2.310.0/../../../user", &[]),
    ] {
        let runner = scene.runners.values_mut().next().unwrap();
        runner.runner_version = versions::of_tag(tag);
        scene.pass(secs(60));
        assert_eq!(in_use(&scene), told, "{tag}");
    }
    // Whoever updates itself tells GitHub, and not EC2.
    scene.runners.values_mut().next().unwrap().runner_version = Some("2.310.0".into());
    scene.version = Some("2.330.0".into());
    scene.pass(secs(60));
    assert_eq!(in_use(&scene), ["2.330.0"]);
}

#[test]
fn a_version_near_its_end_is_a_warning_of_its_pools_and_a_metric() {
    let mut pinned = pool("pinned", &["pinned"], 9);
    pinned.spec.bootstrap.version = "2.320.0".into();
    let mut fine = linux();
    fine.spec.bootstrap.version = "2.330.0".into();
    let mut scene = Scene::new([fine, pinned]);
    scene.pass(secs(60));
    tell(&mut scene, &[("2.320.0", 10), ("2.330.0", 15)]);
    assert_eq!(warnings(&scene, "pinned"), ["in 10d GitHub stops giving jobs to version 2.320.0, which the pool runs"]);
    assert_eq!(warnings(&scene, "linux"), [""; 0]);
    let totals = scene.core.seen().totals(scene.now);
    assert_eq!(totals.warnings, [("pinned".to_owned(), "version_ends")].into());
    assert_eq!(totals.version_ends.len(), 2);
    let explained = scene.core.seen().explain_pool(&"linux".into(), scene.now).unwrap();
    let said = "runner program: 2.330.0 (GitHub stops giving jobs to it in 15d)";
    assert!(explained.facts.iter().any(|fact| fact == said), "{:?}", explained.facts);
    // Time alone brings the warning.
    scene.now = scene.now + DAY;
    assert_eq!(warnings(&scene, "linux"), ["in 14d GitHub stops giving jobs to version 2.330.0, which the pool runs"]);
    scene.now = scene.now + 10 * DAY;
    assert_eq!(warnings(&scene, "pinned"), ["GitHub stopped giving jobs to version 2.320.0, which the pool runs, 1d ago"]);
}
