//! `muster sync` and the controller's own passes. The binary is between moto's S3 and a double of GitHub's releases.

use crate::support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use support::github::GitHub;
use support::moto::{Moto, World};
use support::muster::{Muster, Pool};
use support::releases::{Fault, Releases, noise, sha256};
use support::{PATIENCE, eventually, same, secs};

/// A bucket, releases, and a muster that knows both.
struct Stage {
    muster: Muster,
    releases: Releases,
    moto: Moto,
    world: World,
    _github: GitHub,
}

/// A pool that needs this release of the runner.
fn pool(name: &str, platform: (&str, &str), version: &str) -> Pool {
    let types = if platform.1 == "arm64" { "[m7g.large]" } else { "[m7i.large]" };
    Pool::new(name, &["self-hosted", name])
        .set("instance.os", platform.0)
        .set("instance.architecture", platform.1)
        .set("instance.types", types)
        .set("bootstrap.version", version)
}

fn linux(version: &str) -> Pool {
    pool("linux", ("linux", "x64"), version)
}

impl Stage {
    /// None: the test is skipped (see [`Moto::start`]).
    async fn set(pools: &[Pool]) -> Option<Stage> {
        let moto = Moto::start().await?;
        let names: Vec<&str> = pools.iter().map(Pool::name).collect();
        let world = moto.create_world("c1", &names).await;
        let github = GitHub::start().await;
        let releases = Releases::start().await;
        let muster = Muster::prepare(&moto, &github, &world, pools);
        muster.change_controller("every: 0s", &format!("releases: '{}', every: 0s", releases.url()));
        Some(Stage { muster, releases, moto, world, _github: github })
    }

    async fn sync(&self, flags: &[&str]) -> (i32, String, String) {
        let manifests = self.muster.manifests();
        let mut args = vec!["sync", "--manifests", manifests.to_str().expect("a path in UTF-8")];
        args.extend(flags);
        self.muster.command(&args).await
    }

    /// The exit code and the answer of `muster sync -o json`.
    async fn json(&self, flags: &[&str]) -> (i32, Value) {
        let (code, out, err) = self.sync(&[flags, &["-o", "json"]].concat()).await;
        (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e} in {out}{err}")))
    }

    /// Every object under `runners/`, with its content and its metadata.
    async fn objects(&self) -> BTreeMap<String, (Bytes, BTreeMap<String, String>)> {
        let s3 = &self.moto.s3;
        let listed = s3.list_objects_v2().bucket(&self.world.bucket).send().await.expect("moto lists");
        let mut found = BTreeMap::new();
        for key in listed.contents().iter().filter_map(|object| object.key()) {
            let object = s3.get_object().bucket(&self.world.bucket).key(key).send().await.expect("moto reads");
            let metadata = object.metadata().cloned().unwrap_or_default().into_iter().collect();
            let bytes = object.body.collect().await.expect("moto sends all").into_bytes();
            found.insert(key.to_owned(), (bytes, metadata));
        }
        found
    }

    async fn keys(&self) -> Vec<String> {
        self.objects().await.into_keys().collect()
    }

    /// Checks that the object has the content of this file, and the metadata for it.
    async fn assert_holds(&self, key: &str, file: &Bytes, version: &str) {
        let objects = self.objects().await;
        let (bytes, metadata) = objects.get(key).unwrap_or_else(|| panic!("no {key} among {:?}", objects.keys()));
        assert_eq!(bytes.len(), file.len(), "{key}");
        assert!(bytes == file, "{key} has other bytes");
        let wanted = BTreeMap::from([("sha256".to_owned(), sha256(file)), ("version".to_owned(), version.to_owned())]);
        assert_eq!(metadata, &wanted, "{key}");
    }

    async fn unfinished(&self) -> Vec<String> {
        let listed = self.moto.s3.list_multipart_uploads().bucket(&self.world.bucket).send().await.expect("moto lists");
        listed.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect()
    }

    async fn put(&self, key: &str) {
        let put = self.moto.s3.put_object().bucket(&self.world.bucket).key(key);
        put.body(Bytes::from_static(b"old").into()).send().await.expect("moto stores");
    }
}

fn states(answer: &Value) -> Vec<String> {
    let text = |b: &Value, field: &str| b[field].as_str().unwrap_or("?").to_owned();
    let binaries = answer["binaries"].as_array().expect("a list");
    let said = |b| {
        format!("{}-{} {} {} {}", text(b, "os"), text(b, "architecture"), text(b, "wanted"), text(b, "version"), text(b, "state"))
    };
    binaries.iter().map(said).collect()
}

#[tokio::test]
async fn what_pools_need_is_copied_once_and_is_right() {
    let pools = [linux("latest"), pool("second", ("linux", "x64"), "latest"), pool("win", ("windows", "x64"), "latest")];
    let Some(stage) = Stage::set(&pools).await else { return };
    // The first file has more than two parts, and the second has less than one.
    let (tar, zip) = (noise(20 << 20, 1), noise(1000, 2));
    stage.releases.publish("2.330.0", 3, &[("linux-x64", tar.clone()), ("win-x64", zip.clone()), ("linux-arm64", noise(9, 3))]);

    let (code, out, err) = stage.sync(&[]).await;
    assert_eq!(code, 0, "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[1].starts_with("linux    x64    latest     2.330.0    copied 20971520 bytes in "), "{out}");
    assert!(lines[2].starts_with("windows  x64    latest     2.330.0    copied 1000 bytes in "), "{out}");
    stage.assert_holds("runners/linux-x64/2.330.0.tar.gz", &tar, "2.330.0").await;
    stage.assert_holds("runners/linux-x64/latest.tar.gz", &tar, "2.330.0").await;
    stage.assert_holds("runners/windows-x64/2.330.0.zip", &zip, "2.330.0").await;
    stage.assert_holds("runners/windows-x64/latest.zip", &zip, "2.330.0").await;
    assert_eq!(stage.keys().await.len(), 4);
    assert_eq!(stage.unfinished().await, [""; 0]);
    let asked: Vec<String> = stage.releases.take_requests().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked.len(), 5, "one question, and two downloads by way of a redirect each: {asked:?}");

    let (code, answer) = stage.json(&[]).await;
    assert_eq!((code, &answer["complete"]), (0, &Value::Bool(true)), "{answer}");
    assert_eq!(states(&answer), ["linux-x64 latest 2.330.0 cached", "windows-x64 latest 2.330.0 cached"]);
    assert_eq!(stage.releases.take_requests().len(), 1, "nothing is downloaded twice");
}

#[tokio::test]
async fn a_bad_download_leaves_the_former_latest_and_nothing_else() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    let good = noise(2 << 20, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", good.clone())]);
    assert_eq!(stage.sync(&[]).await.0, 0);
    let better = noise(20 << 20, 2);
    stage.releases.publish("2.331.0", 0, &[("linux-x64", better.clone())]);

    for (fault, words) in
        [(Fault::BreakOff(17 << 20), "it broke off"), (Fault::ListId, "as its release says; nothing was stored")]
    {
        stage.releases.fault(Some(fault));
        let (code, answer) = stage.json(&[]).await;
        assert_eq!((code, states(&answer)), (1, vec!["linux-x64 latest 2.331.0 failed".to_owned()]), "{fault:?}: {answer}");
        let error = answer["binaries"][0]["error"].as_str().expect("an error");
        assert!(error.contains(words) && error.contains("actions-runner-linux-x64-2.331.0.tar.gz"), "{fault:?}: {error}");
        assert_eq!(stage.keys().await, ["runners/linux-x64/2.330.0.tar.gz", "runners/linux-x64/latest.tar.gz"], "{fault:?}");
        stage.assert_holds("runners/linux-x64/latest.tar.gz", &good, "2.330.0").await;
        assert_eq!(stage.unfinished().await, [""; 0], "{fault:?}");
    }

    stage.releases.fault(None);
    assert_eq!(stage.sync(&[]).await.0, 0);
    stage.assert_holds("runners/linux-x64/latest.tar.gz", &better, "2.331.0").await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_copy_leaves_no_upload() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    stage.releases.publish("2.330.0", 3, &[("linux-x64", noise(20 << 20, 1))]);
    stage.releases.fault(Some(Fault::Stall(17 << 20)));
    let manifests = stage.muster.manifests();
    let mut child = stage.muster.start_command(&["sync", "--manifests", manifests.to_str().expect("UTF-8")]);
    eventually(secs(30), "an upload is under way", || async {
        same(stage.unfinished().await, vec!["runners/linux-x64/2.330.0.tar.gz".to_owned()])
    })
    .await;
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill exists").success());
    let status = tokio::time::timeout(secs(10) * PATIENCE, child.wait()).await.expect("it ends").expect("it can be waited for");
    assert_eq!(status.code(), Some(1));
    assert_eq!((stage.unfinished().await, stage.keys().await), (vec![], vec![]));
}

#[tokio::test]
async fn a_new_release_switches_latest_and_old_ones_go() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    let others = ["lease", "runners/linux-arm64/2.1.0.tar.gz", "runners/linux-x64/mine.txt", "runners/readme"];
    for key in others {
        stage.put(key).await;
    }
    for minor in 1..=4 {
        stage.releases.publish(&format!("2.{minor}.0"), 10 - minor, &[("linux-x64", noise(100, minor))]);
        assert_eq!(stage.sync(&[]).await.0, 0);
    }
    stage.assert_holds("runners/linux-x64/latest.tar.gz", &noise(100, 4), "2.4.0").await;
    let mut wanted: Vec<String> = others.map(str::to_owned).into();
    wanted.extend(["2.2.0", "2.3.0", "2.4.0", "latest"].map(|name| format!("runners/linux-x64/{name}.tar.gz")));
    wanted.sort();
    assert_eq!(stage.keys().await, wanted, "the one in use, the newest two besides, and what is not ours");

    stage.releases.publish("2.5.0", 0, &[("linux-x64", noise(100, 5))]);
    let (_, answer) = stage.json(&[]).await;
    assert_eq!((&answer["pruned"][0]["version"], &answer["pruned"][0]["state"]), (&"2.2.0".into(), &"pruned".into()), "{answer}");
}

#[tokio::test]
async fn abandoned_uploads_are_aborted_after_a_day_and_young_ones_are_not() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    stage.releases.publish("2.330.0", 3, &[("linux-x64", noise(100, 1))]);
    for key in ["runners/linux-x64/2.329.0.tar.gz", "other/upload"] {
        stage.moto.s3.create_multipart_upload().bucket(&stage.world.bucket).key(key).send().await.expect("moto begins");
    }
    stage.moto.age_uploads(secs(86_000)).await;
    let (_, answer) = stage.json(&[]).await;
    assert_eq!((&answer["abortedUploads"], stage.unfinished().await.len()), (&0.into(), 2), "{answer}");
    stage.moto.age_uploads(secs(87_000)).await;
    let (_, answer) = stage.json(&[]).await;
    assert_eq!(answer["abortedUploads"], 1, "{answer}");
    assert_eq!(stage.unfinished().await, ["other/upload"], "what is not ours stays");
}

#[tokio::test]
async fn a_pinned_version_is_cached_beside_latest_and_said_to_be_too_old() {
    let Some(stage) = Stage::set(&[linux("latest"), pool("old", ("linux", "x64"), "2.328.0")]).await else { return };
    let files = |seed| [("linux-x64", noise(100, seed))];
    for (version, days, seed) in [("2.328.0", 80, 1), ("2.329.0", 40, 2), ("2.330.0", 2, 3)] {
        stage.releases.publish(version, days, &files(seed));
    }
    let (code, answer) = stage.json(&[]).await;
    assert_eq!(code, 0, "the old release is cached all the same: {answer}");
    assert_eq!(states(&answer), ["linux-x64 latest 2.330.0 copied", "linux-x64 2.328.0 2.328.0 copied"]);
    assert!(answer["binaries"][1]["behindSeconds"].as_u64().is_some_and(|s| s >= 40 * 86_400), "{answer}");
    let warning = answer["warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("linux-x64 2.328.0 is too old: 2.329.0 has been out for 40 days"), "{warning}");
    stage.assert_holds("runners/linux-x64/2.328.0.tar.gz", &files(1)[0].1, "2.328.0").await;
    stage.assert_holds("runners/linux-x64/latest.tar.gz", &files(3)[0].1, "2.330.0").await;

    stage.muster.write_pool(&pool("old", ("linux", "x64"), "2.329.0"));
    let (_, answer) = stage.json(&[]).await;
    assert_eq!(answer["warnings"], Value::Array(vec![]), "2.330.0 has been out for only two days");
    stage.muster.write_pool(&pool("old", ("linux", "x64"), "9.9.9"));
    let (code, out, _) = stage.sync(&[]).await;
    assert!(code == 1 && out.contains("find release 9.9.9 of actions/runner: GitHub answered 404"), "{out}");
    assert!(out.contains("latest     2.330.0    cached already"), "a failed copy does not hold up the others: {out}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    for minor in 1..=4 {
        stage.put(&format!("runners/linux-x64/2.{minor}.0.tar.gz")).await;
    }
    let before = stage.keys().await;
    stage.releases.publish("2.5.0", 3, &[("linux-x64", noise(100, 5))]);
    let (code, out, err) = stage.sync(&["--dry-run"]).await;
    assert_eq!(code, 1, "not everything is cached: {out}{err}");
    assert!(out.contains("linux    x64    latest     2.5.0      would copy 100 bytes\n"), "{out}");
    assert!(out.contains("linux    x64    -          2.1.0      would prune\n"), "{out}");
    assert_eq!(stage.keys().await, before);
    let wrote = |op: &str| !op.starts_with("GET") && !op.starts_with("HEAD");
    assert!(stage.moto.calls().await.iter().all(|call| !wrote(&call.op)), "{:?}", stage.moto.calls().await);
    assert_eq!(stage.sync(&[]).await.0, 0);
    assert_eq!(stage.sync(&["--dry-run"]).await.0, 0, "everything is cached");
}

#[tokio::test]
async fn an_object_that_is_not_what_its_release_says_is_replaced() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    let file = noise(100, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", file.clone())]);
    stage.put("runners/linux-x64/2.330.0.tar.gz").await;
    stage.put("runners/linux-x64/latest.tar.gz").await;
    assert_eq!(stage.sync(&[]).await.0, 0);
    stage.assert_holds("runners/linux-x64/2.330.0.tar.gz", &file, "2.330.0").await;
    stage.assert_holds("runners/linux-x64/latest.tar.gz", &file, "2.330.0").await;
    stage.put("runners/linux-x64/latest.tar.gz").await;
    let (code, answer) = stage.json(&[]).await;
    assert_eq!((code, states(&answer)), (0, vec!["linux-x64 latest 2.330.0 switched".to_owned()]));
}

#[tokio::test]
async fn two_at_once_do_no_harm_and_a_part_that_fails_is_sent_again() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    let file = noise(20 << 20, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", file.clone())]);
    stage.moto.fault(serde_json::json!({ "op": "s3:PUT object", "kind": "unavailable", "times": 2 })).await;
    let ((a, out_a, err_a), (b, out_b, err_b)) = tokio::join!(stage.sync(&[]), stage.sync(&[]));
    assert_eq!((a, b), (0, 0), "{out_a}{err_a}{out_b}{err_b}");
    stage.assert_holds("runners/linux-x64/2.330.0.tar.gz", &file, "2.330.0").await;
    stage.assert_holds("runners/linux-x64/latest.tar.gz", &file, "2.330.0").await;
    assert_eq!(stage.unfinished().await, [""; 0]);
}

#[tokio::test]
async fn errors_name_the_way_out() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    stage.releases.limit(true);
    let (code, out, _) = stage.sync(&[]).await;
    assert!(code == 1 && out.contains("API rate limit exceeded"), "{out}");
    assert!(out.contains("60 requests an hour") && out.contains("spec.sync.releases"), "{out}");
    stage.releases.limit(false);
    stage.releases.publish("2.330.0", 3, &[("win-x64", noise(9, 1))]);
    let (code, out, _) = stage.sync(&[]).await;
    assert!(code == 1 && out.contains("cache actions-runner-linux-x64-2.330.0.tar.gz: its release has no such file"), "{out}");

    stage.releases.publish("2.331.0", 3, &[("linux-x64", noise(9, 1))]);
    stage.moto.without_policies(); // no role of ours reaches another bucket
    stage.muster.change_controller(&format!("bucket: {}", stage.world.bucket), "bucket: no-such-bucket");
    let (code, out, _) = stage.sync(&[]).await;
    assert!(code == 1 && out.contains("s3://no-such-bucket/") && out.contains("NoSuchBucket"), "{out}");
    stage.muster.change_controller("bucket: no-such-bucket\n  ", "");
    let (code, _, err) = stage.sync(&[]).await;
    assert!(code == 1 && err.contains("set spec.bucket of Controller c1"), "{err}");
}

#[tokio::test]
async fn the_controller_syncs_at_its_start_and_asks_cheaply_after_that() {
    let Some(mut stage) = Stage::set(&[linux("latest")]).await else { return };
    let file = noise(100, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", file.clone())]);
    stage.muster.change_controller("every: 0s", "every: 1s");
    stage.muster.spawn();
    stage.muster.ready().await;
    let latest = "runners/linux-x64/latest.tar.gz".to_owned();
    eventually(secs(20), "latest is there", || async {
        if stage.keys().await.contains(&latest) { Ok(()) } else { Err("it is not".into()) }
    })
    .await;
    stage.assert_holds(&latest, &file, "2.330.0").await;
    stage.releases.take_requests();
    let asked = eventually(secs(20), "muster asks GitHub again", || async {
        let asked = stage.releases.take_requests();
        if asked.is_empty() { Err("it did not".to_owned()) } else { Ok(asked) }
    })
    .await;
    assert!(asked.iter().all(|(path, status)| path.ends_with("/latest") && *status == 304), "{asked:?}");
    stage.muster.metric_becomes("muster_sync_copied_bytes_total", "", 100.0).await;
    assert!(stage.muster.metric("muster_sync_last_success_timestamp_seconds", "os=\"linux\"").await > 1e9);
    assert!(stage.muster.metric("muster_sync_latest_timestamp_seconds", "os=\"linux\"").await > 1e9);

    // A change of the manifests is taken over at once, whatever the interval is.
    stage.muster.change_controller("every: 1s", "every: 1h");
    stage.releases.publish("2.100.0", 90, &[("linux-x64", file.clone())]);
    stage.muster.write_pool(&pool("old", ("linux", "x64"), "2.100.0"));
    eventually(secs(20), "the pinned version is cached, and muster sees that it is old", || async {
        let behind = stage.muster.metric("muster_runner_version_behind_seconds", "version=\"2.100.0\"").await;
        same((stage.keys().await.contains(&"runners/linux-x64/2.100.0.tar.gz".to_owned()), behind > 2.0 * 86_400.0), (true, true))
    })
    .await;
    // A failure is counted, and the copy is tried again long before the hour is over.
    stage.muster.write_pool(&pool("old", ("linux", "x64"), "2.100.1"));
    eventually(secs(20), "the failure is counted", || async {
        same(stage.muster.metric("muster_sync_failures_total", "").await > 0.0, true)
    })
    .await;
    assert!(stage.muster.terminate().await.success());
}

#[tokio::test]
async fn a_controller_without_a_bucket_says_so_once_and_goes_on() {
    let Some(mut stage) = Stage::set(&[linux("latest")]).await else { return };
    stage.muster.change_controller("every: 0s", "every: 1s");
    stage.muster.change_controller(&format!("bucket: {}\n  ", stage.world.bucket), "");
    stage.muster.spawn();
    stage.muster.ready().await;
    eventually(secs(10), "the log says so", || async { same(stage.muster.logs().contains("spec.bucket is not set"), true) })
        .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stage.muster.logs().matches("spec.bucket is not set").count(), 1);
    assert!(stage.releases.take_requests().is_empty() && stage.muster.runs());
}

/// Somebody wrote other content of the same size, with the metadata of the release.
#[tokio::test]
async fn an_object_that_lies_about_its_content_is_found_told_and_replaced() {
    let Some(mut stage) = Stage::set(&[linux("latest")]).await else { return };
    let file = noise(1000, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", file.clone())]);
    assert_eq!(stage.sync(&[]).await.0, 0);
    let keys = ["runners/linux-x64/2.330.0.tar.gz", "runners/linux-x64/latest.tar.gz"];
    let forge = async |key: &str| {
        let put = stage.moto.s3.put_object().bucket(&stage.world.bucket).key(key).body(noise(1000, 2).into());
        put.metadata("sha256", sha256(&file)).metadata("version", "2.330.0").send().await.expect("moto stores");
    };
    for key in keys {
        forge(key).await;
        let (code, answer) = stage.json(&["--dry-run"]).await;
        assert!(code == 1 && answer["warnings"][0].as_str().is_some_and(|w| w.contains(key)), "{answer}");
        let (code, answer) = stage.json(&[]).await;
        let warning = answer["warnings"][0].as_str().expect("a warning");
        let said = format!("/{key} has the SHA-256 {} and not {}", sha256(&noise(1000, 2)), sha256(&file));
        assert!(code == 0 && warning.contains(&said), "{answer}");
        stage.assert_holds(key, &file, "2.330.0").await;
        assert_eq!(stage.json(&[]).await.1["warnings"], Value::Array(vec![]));
    }

    stage.muster.change_controller("every: 0s", "every: 1s");
    stage.muster.spawn();
    stage.muster.ready().await;
    stage.muster.metric_becomes("muster_sync_corrupt_total", "", 0.0).await;
    forge(keys[1]).await;
    stage.muster.metric_becomes("muster_sync_corrupt_total", "", 1.0).await;
    assert!(stage.muster.logs().contains("find out who may write to the bucket"));
    eventually(secs(20), "latest is right again", || async {
        let (bytes, _) = stage.objects().await.remove(keys[1]).ok_or("it is not there")?;
        if bytes == file { Ok(()) } else { Err("it is forged".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_launch_names_the_release_that_the_cache_holds() {
    let Some(mut stage) = Stage::set(&[linux("latest")]).await else { return };
    let file = noise(100, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", file.clone())]);
    stage.muster.change_controller("every: 0s", "every: 1s");
    stage.muster.spawn();
    stage.muster.ready().await;
    eventually(secs(20), "the sync is complete", || async {
        let at = stage.muster.metric("muster_sync_last_success_timestamp_seconds", "os=\"linux\"").await;
        if at > 0.0 { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    stage.muster.write_pool(&linux("latest").set("capacity.idle", "1"));
    let tag = eventually(secs(30), "an instance is launched", || async {
        let instances = stage.moto.instances().await;
        instances.first().map(|instance| instance.tag("muster:release").to_owned()).ok_or("there is none".to_owned())
    })
    .await;
    assert_eq!(tag, format!("version=2.330.0,sha256={}", sha256(&file)));
}

/// Prints what a file of a real release's size costs. Asserts only that the memory does not grow with the file.
#[tokio::test]
async fn a_large_file_passes_through_little_memory() {
    let Some(stage) = Stage::set(&[linux("latest")]).await else { return };
    let file = noise(128 << 20, 1);
    stage.releases.publish("2.330.0", 3, &[("linux-x64", file.clone())]);
    let manifests = stage.muster.manifests();
    let began = Instant::now();
    let mut child = stage.muster.start_command(&["sync", "--manifests", manifests.to_str().expect("UTF-8")]);
    let status = format!("/proc/{}/status", child.id().expect("it runs"));
    let mut peak_kb = 0;
    let ended = loop {
        if let Ok(ended) = tokio::time::timeout(Duration::from_millis(50), child.wait()).await {
            break ended.expect("it can be waited for");
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak_kb = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(peak_kb).max(peak_kb);
    };
    let took = began.elapsed();
    println!("muster sync of 128 MiB: {:.1} s, peak resident memory {:.1} MiB", took.as_secs_f64(), f64::from(peak_kb) / 1024.0);
    let said = child.wait_with_output().await.expect("its output");
    assert!(ended.success(), "{}", String::from_utf8_lossy(&said.stdout));
    assert!(peak_kb < 100 << 10, "{peak_kb} kB: the whole file was held");
    let head = stage.moto.s3.head_object().bucket(&stage.world.bucket).key("runners/linux-x64/latest.tar.gz");
    assert_eq!(head.send().await.expect("it is there").content_length(), Some(128 << 20));
}
