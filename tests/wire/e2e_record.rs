//! The flight recorder, and `muster replay` that rebuilds the controller from it.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use muster_operations::record;
use serde_json::Value;
use support::browser::Browser;
use support::instances::Habits;
use support::muster::secrets;
use support::scene::{Scene, linux};
use support::tools::Port;
use support::{eventually, secs};

/// Has the scene's controller record to `to`.
fn have_it_record(scene: &Scene, to: &str) {
    scene.muster.change_controller("sync: {every: 0s}", &format!("sync: {{every: 0s}}\n  record: {{to: \"{to}\"}}"));
}

/// The lines of all parts below a directory.
fn lines(dir: &Path) -> String {
    let mut names = record::files(dir).expect("the record's directory");
    names.sort();
    let read = |name: &String| record::unpack(&fs::read(dir.join(name)).expect("a part"));
    names.iter().map(|name| read(name).0).collect()
}

async fn replay(scene: &Scene, place: &str, args: &[&str]) -> (i32, String, String) {
    scene.muster.command(&[&["replay", place], args].concat()).await
}

#[tokio::test]
async fn a_recorded_burst_is_the_same_again_and_can_be_asked() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits { job: secs(3), ..Habits::default() }).await else { return };
    let dir: PathBuf = scene.muster.manifests().join("../record");
    have_it_record(&scene, &dir.display().to_string());
    scene.muster.spawn();
    scene.muster.ready().await;
    let jobs = scene.queue_jobs(8);
    scene.all_done(secs(120)).await;
    scene.muster.terminate().await;

    let place = dir.display().to_string();
    let (code, said, complaint) = replay(&scene, &place, &["--check"]).await;
    assert!(code == 0 && said.starts_with("the same ") && said.contains(" decisions until "), "{code}: {said}{complaint}");
    let (code, said, complaint) = replay(&scene, &place, &["explain", &format!("job/{}", jobs[0])]).await;
    assert!(code == 0 && said.contains(&jobs[0].to_string()) && said.contains("linux"), "{code}: {said}{complaint}");
    let (code, said, _) = replay(&scene, &place, &[]).await;
    assert!(code == 0 && said.contains(": 1 pool, "), "{code}: {said}");

    let (code, said, complaint) = replay(&scene, &place, &["plan"]).await;
    assert!(code == 0 && said.starts_with("jobs: as the controller knew them then\n\nlinux: "), "{code}: {said}{complaint}");
    goes_to_any_time(&scene, &place).await;

    // No secret enters the core.
    let text = lines(&dir);
    if std::env::var_os("MUSTER_WRITE_RECORDS").is_some() {
        // One of the recorded days of the simulator's tests. The directory is of this machine.
        let day = text.replace(&place, "/record");
        fs::write("simulator/tests/recorded/black-box.jsonl.gz", record::pack(day.as_bytes())).expect("a file");
    }
    assert!(text.len() > 10_000, "{} bytes", text.len());
    let found: Vec<String> = secrets(&scene.github).into_iter().filter(|secret| text.contains(secret.as_str())).collect();
    assert!(found.is_empty(), "{} secrets are in the record", found.len());

    // With room for two, fewer are launched at once, and the reasons of both sides are shown.
    let other = scene.muster.manifests().join("../other");
    fs::create_dir(&other).expect("a directory");
    for file in fs::read_dir(scene.muster.manifests()).expect("the manifests") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("a manifest").replace("max: 100", "max: 2");
        fs::write(other.join(path.file_name().expect("a name")), text).expect("a file");
    }
    let (code, said, _) = replay(&scene, &place, &["--against", &other.display().to_string(), "-o", "json"]).await;
    let answer: Value = serde_json::from_str(&said).unwrap_or_default();
    let differs = answer["differences"].as_array().map(Vec::len).unwrap_or_default();
    assert!(code == 1 && differs > 0, "{code}: {said}");
}

/// The page of a replay is asked for by its form, as without scripts, and then by its slider.
async fn goes_to_any_time(scene: &Scene, place: &str) {
    let port = Port::reserve();
    let number = port.number().to_string();
    let _page = scene.muster.start_command(&["replay", place, "--listen", &number]);
    let url = format!("http://127.0.0.1:{number}");
    let client = reqwest::Client::new();
    let get = async |path: &str| match client.get(format!("{url}{path}")).send().await {
        Ok(answer) => answer.text().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let page = eventually(secs(30), "the replay answers", async || get("/").await).await;
    let of =
        |name: &str| page.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"')?.0.parse::<u64>().ok());
    assert!(page.contains("What instances cost is not in the record.") && !page.contains("id=\"t-cost\""), "{page}");
    let (first, last) = (of(" min").expect("the first time"), of(" max").expect("the last time"));
    assert!(first < last, "{first}, {last}");

    let known = async || {
        let list: Value = serde_json::from_str(&get("/api/v1/events?after=0").await.expect("an answer")).expect("JSON");
        list["items"].as_array().expect("items").len()
    };
    // Jobs that are over may be forgotten at the end. Events are not.
    let events = known().await;
    // The form goes back beyond its first time, and stays at it. Another site's page is no page to go back to.
    for (at, all) in [(first, false), (last, true), (0, false), (last, true)] {
        let form = format!("at={at}&back=%2F%2Fexample.org%2F");
        let post = client.post(format!("{url}/replay")).header("content-type", "application/x-www-form-urlencoded");
        let gone = post.body(form).send().await.expect("an answer");
        assert_eq!((gone.status().as_u16(), gone.url().as_str()), (200, format!("{url}/").as_str()), "{at}");
        assert_eq!(known().await == events, all, "{at}");
    }

    let Some(browser) = Browser::start().await else { return };
    browser.open(&format!("{url}/explain/pool/linux")).await;
    let slide = format!(
        "(s => (s.value = {}, s.dispatchEvent(new Event('change'))))(document.getElementById('at'))",
        first.midpoint(last)
    );
    browser.eval(&slide).await;
    eventually(secs(20), "the slider goes there, and the page comes back", async || {
        let at = browser.eval("location.pathname + ' ' + document.getElementById('at')?.value").await;
        let at = at.as_str().and_then(|said| said.strip_prefix("/explain/pool/linux ")?.parse::<u64>().ok());
        // The moment is that of the line before.
        at.filter(|at| (first + 1..=first.midpoint(last) + 1000).contains(at)).ok_or_else(|| format!("{at:?}"))
    })
    .await;
    browser.end().await;
}

#[tokio::test]
async fn a_record_in_the_bucket_is_read_back_by_an_operator() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    let place = format!("s3://{}/record", scene.world.bucket);
    have_it_record(&scene, &place);
    scene.muster.spawn();
    scene.muster.ready().await;
    let job = scene.queue_jobs(1)[0];
    scene.all_done(secs(60)).await;
    scene.muster.terminate().await;
    let (code, said, complaint) = replay(&scene, &place, &["explain", &format!("job/{job}")]).await;
    assert!(code == 0 && said.contains(&job.to_string()), "{code}: {said}{complaint}");
}

#[tokio::test]
async fn a_record_that_is_cut_off_newer_or_not_there_is_told_in_one_sentence() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    let dir: PathBuf = scene.muster.manifests().join("../record");
    let place = dir.display().to_string();
    fs::create_dir(&dir).expect("a directory");
    let (code, _, complaint) = replay(&scene, &place, &[]).await;
    assert!(code != 0 && complaint.contains("there is no record here"), "{code}: {complaint}");
    have_it_record(&scene, &place);
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    scene.muster.terminate().await;

    let name = record::files(&dir).expect("parts").into_iter().min().expect("a part");
    let whole = fs::read(dir.join(&name)).expect("the part");
    fs::write(dir.join(&name), &whole[..whole.len() / 2]).expect("a file");
    let (code, said, complaint) = replay(&scene, &place, &[]).await;
    assert!(code == 0 && complaint.contains("is cut off") && said.contains("1 pool"), "{code}: {said}{complaint}");

    let newer = record::unpack(&whole).0.replacen("\"format\":1,\"version\":\"0.1.0\"", "\"format\":9,\"version\":\"7.0.0\"", 1);
    fs::write(dir.join(&name), record::pack(newer.as_bytes())).expect("a file");
    let (code, _, complaint) = replay(&scene, &place, &[]).await;
    assert!(code != 0 && complaint.contains("take muster 7.0.0 or newer"), "{code}: {complaint}");
}
