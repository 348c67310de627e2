//! A shadow beside the fleet of another system: it finds what goes wrong there, invents nothing, and changes nothing.

use crate::support;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use muster_cloud::aws_sdk_ec2;
use muster_cloud::aws_sdk_ec2::types;
use serde_json::{Value, json};
use support::github::hooks::sign;
use support::instances::Habits;
use support::moto::{TEST_KEY, sdk};
use support::muster::WEBHOOK_SECRET;
use support::scene::{REPO, Scene, linux};
use support::{eventually, same, secs};

const DAY: u64 = 86_400;

/// The calls that a shadow makes at AWS: it looks, and it empties the queue that is its own.
const CALLS: [&str; 3] = ["DescribeInstances", "ReceiveMessage", "DeleteMessageBatch"];

/// A job of the other fleet, in seconds since 1970. Times of 0 are not told.
#[derive(Clone, Copy)]
struct Told<'a> {
    job: u64,
    action: &'a str,
    queued: u64,
    started: u64,
    ended: u64,
    runner: Option<&'a str>,
    conclusion: Option<&'a str>,
}

impl Told<'_> {
    fn queued(job: u64, queued: u64) -> Told<'static> {
        Told { job, action: "queued", queued, started: 0, ended: 0, runner: None, conclusion: None }
    }

    fn body(&self) -> Value {
        let time = |s: u64| {
            let at = chrono::DateTime::from_timestamp(i64::try_from(s).expect("a time"), 0).expect("a time");
            (s > 0).then(|| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        };
        json!({"action": self.action, "repository": {"full_name": REPO}, "organization": {"login": "acme"}, "workflow_job": {
            "id": self.job, "run_id": self.job, "run_attempt": 1, "labels": ["self-hosted", "linux"], "runner_name": self.runner,
            "runner_id": self.runner.map(|_| self.job), "conclusion": self.conclusion, "created_at": time(self.queued),
            "started_at": time(self.started), "completed_at": time(self.ended)}})
    }
}

/// The other fleet.
struct Others {
    ec2: aws_sdk_ec2::Client,
}

impl Others {
    async fn of(scene: &Scene) -> Others {
        Others { ec2: aws_sdk_ec2::Client::new(&sdk(scene.moto.url(), TEST_KEY).await) }
    }

    /// Launches an instance as the Lambda module does. Returns its id.
    async fn launch(&self) -> String {
        let tag = types::Tag::builder().key("ghr:Application").value("github-action-runner").build();
        let tags = types::TagSpecification::builder().resource_type(types::ResourceType::Instance).tags(tag).build();
        let call = self.ec2.run_instances().image_id("ami-12c6146b").instance_type(types::InstanceType::M7iLarge);
        let made = call.min_count(1).max_count(1).tag_specifications(tags).send().await.expect("moto launches");
        made.instances()[0].instance_id().expect("an id").to_owned()
    }

    async fn end(&self, id: &str) {
        self.ec2.terminate_instances().instance_ids(id).send().await.expect("moto ends it");
    }
}

/// Puts an event on the shadow's queue, as API Gateway does.
async fn tell(scene: &Scene, told: Told<'_>) {
    let body = told.body().to_string();
    let signature = sign(WEBHOOK_SECRET, body.as_bytes());
    let attributes =
        [("X-Hub-Signature-256", signature.as_str()), ("X-GitHub-Event", "workflow_job"), ("Content-Type", "application/json")];
    scene.moto.send_with(&scene.world.jobs, &body, &attributes).await;
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The ids in a list of findings, in order.
fn found(report: &Value, what: &str, field: &str) -> Vec<String> {
    let rows = report[what].as_array().unwrap_or_else(|| panic!("no {what} in {report}"));
    let mut ids: Vec<String> = rows.iter().map(|row| row[field].to_string().trim_matches('"').to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_shadow_finds_every_planted_loss_invents_none_and_changes_nothing() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    let record = scene.muster.manifests().join("../shadow").display().to_string();
    scene.muster.args(&["--shadow", "--record", &record]);
    scene.moto.forget_calls().await;
    scene.muster.spawn();
    let others = Others::of(&scene).await;
    let (well, killed, leaked, idle) =
        (others.launch().await, others.launch().await, others.launch().await, others.launch().await);
    let register = |id: &str| scene.github.register("org/acme", &format!("ci-{id}"), &["self-hosted", "linux"], true);
    let (of_well, _, _) = (register(&well), register(&killed), register(&idle));
    let begun = now();
    let [well_runner, killed_runner, slow_runner] = [&well, &killed, "nobody-knows"].map(|id| format!("ci-{id}"));
    // Two jobs run, one waits for ten minutes, and one is given up after a day.
    for job in 1..=4 {
        tell(&scene, Told::queued(job, begun)).await;
    }
    for (job, runner, started) in [(1, &well_runner, begun), (2, &killed_runner, begun), (3, &slow_runner, begun + 600)] {
        tell(&scene, Told { action: "in_progress", started, runner: Some(runner), ..Told::queued(job, begun) }).await;
    }
    // The shadow looks twice a second.
    let looked = async |at_least: usize| {
        let count = || async {
            let looks = scene.moto.calls_of("DescribeInstances").await.len();
            if looks >= at_least { Ok(()) } else { Err(format!("{looks} looks")) }
        };
        eventually(secs(60), "the shadow looks", count).await;
    };
    looked(3).await;
    let done = |job, runner, started, ended, conclusion| Told {
        action: "completed",
        started,
        ended,
        runner: Some(runner),
        conclusion: Some(conclusion),
        ..Told::queued(job, begun)
    };
    tell(&scene, done(1, &well_runner, begun, now() + 1, "success")).await;
    scene.github.unregister(of_well);
    others.end(&well).await;
    // GitHub notices only after a while that the other one is gone.
    others.end(&killed).await;
    tell(&scene, done(2, &killed_runner, begun, now() + 600, "failure")).await;
    tell(&scene, done(3, &slow_runner, begun + 600, begun + 660, "success")).await;
    let given_up = Told { action: "completed", ended: begun + DAY, conclusion: Some("cancelled"), ..Told::queued(4, begun) };
    tell(&scene, given_up).await;
    looked(scene.moto.calls_of("DescribeInstances").await.len() + 16).await;
    let status = scene.muster.terminate().await;
    assert!(status.success(), "{status}: {}", scene.muster.logs());

    let logs = scene.muster.logs();
    assert!(logs.contains(" would launch linux") && logs.contains("nothing of what it prints is done"), "{logs}");
    scene.muster.assert_no_secrets_logged(&scene.github);
    let depth = scene.moto.depth(&scene.world.jobs).await;
    assert_eq!(depth.messages, 0, "every message is in the record, and deleted");
    let calls: Vec<String> = scene.moto.calls().await.into_iter().map(|call| call.op).collect();
    assert!(calls.iter().all(|op| CALLS.contains(&op.as_str())), "{calls:?}");
    let asked = scene.github.calls();
    assert!(asked.keys().all(|route| route.starts_with("GET ") || route.contains("access_tokens")), "{asked:?}");
    assert_eq!(scene.launched().await, 4, "the other system's own");

    let manifests = scene.muster.manifests().display().to_string();
    let ask = ["shadow", "report", &record, "--manifests", &manifests, "--idle-after", "4s", "--leaked-after", "4s"];
    let (code, said, complaint) = scene.muster.command(&[&ask[..], &["-o", "json"]].concat()).await;
    assert_eq!(code, 0, "{complaint}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    let all = [("longer", "job"), ("lost", "job"), ("killed", "job"), ("leaked", "instance"), ("idle", "instance")];
    let all = all.map(|(what, field)| found(&report, what, field));
    assert_eq!(all, [vec!["3".to_owned()], vec!["4".to_owned()], vec!["2".to_owned()], vec![leaked], vec![idle]], "{said}");
    assert_eq!((&report["longer"][0]["waited"], &report["killed"][0]["instance"]), (&json!(600), &json!(killed)), "{said}");
    assert!(report["cost"]["theirs"]["byMarket"]["on-demand"]["hours"].as_f64().is_some_and(|hours| hours > 0.0), "{said}");
    let (code, said, _) = scene.muster.command(&ask).await;
    assert!(code == 0 && said.contains("     1  job waited longer than it would have\n"), "{said}");
}

#[tokio::test]
async fn a_shadow_of_a_bus_believes_its_queue_and_another_one_does_not() {
    for bus in [true, false] {
        let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
        let record = format!("s3://{}/shadow", scene.world.bucket);
        // The role of a shadow has its own policy. This one has a controller's, which writes elsewhere.
        scene.moto.without_policies();
        scene.muster.args(&["--shadow", "--record", &record]);
        if bus {
            scene.muster.args(&["--bus"]);
        }
        scene.muster.spawn();
        let body = Told::queued(9, now()).body();
        let envelope = json!({"source": "github", "detail-type": "workflow_job", "time": "2026-12-01T00:00:00Z", "detail": body});
        scene.moto.send(&scene.world.jobs, &envelope.to_string()).await;
        let taken = || async { same(scene.moto.depth(&scene.world.jobs).await.in_flight, 1) };
        eventually(secs(60), "the message is received", taken).await;
        let status = scene.muster.terminate().await;
        assert!(status.success(), "{status}: {}", scene.muster.logs());
        let manifests = scene.muster.manifests().display().to_string();
        let ask = ["shadow", "report", &record, "--manifests", &manifests, "-o", "json"];
        let (code, said, complaint) = scene.muster.command(&ask).await;
        assert_eq!(code, 0, "{complaint}");
        let report: Value = serde_json::from_str(&said).expect("JSON");
        let unsigned = said.contains("a message of the queue is not used: it has neither muster's seal nor GitHub's signature");
        assert_eq!((report["jobs"] == json!(1), unsigned), (bus, !bus), "{said}");
    }
}

#[tokio::test]
async fn kept_events_are_played_by_their_own_clock_and_bad_input_is_told_in_a_sentence() {
    let Some(scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    let place = |name: &str| scene.muster.manifests().join("..").join(name).display().to_string();
    let (record, events) = (place("week"), place("events.json"));
    let manifests = scene.muster.manifests().display().to_string();
    let begun = 1_780_000_000;
    let bodies: Vec<String> = (0..40_u64)
        .flat_map(|n| {
            let queued = begun + n * 3000;
            let slow = if n == 17 { 1800 } else { 60 };
            let (started, ended, runner) = (queued + slow, queued + slow + 120, Some("ci-i-0123456789abcdef0"));
            let running = Told { action: "in_progress", started, runner, ..Told::queued(n + 1, queued) };
            let over = Told { action: "completed", ended, conclusion: Some("success"), ..running };
            [Told::queued(n + 1, queued), running, over].map(|told| told.body().to_string())
        })
        .collect();
    fs::write(&events, bodies.join("\n")).expect("a file");
    let run = async |events: &str, record: &str| {
        let args = ["run", "--manifests", &manifests, "--shadow", "--record", record, "--events", events];
        scene.muster.command(&args).await
    };
    let (code, said, complaint) = run(&events, &record).await;
    assert!(
        code == 0 && said.lines().filter(|line| line.contains(" would run linux, job ")).count() == 40,
        "{code}: {complaint}"
    );
    let report = async |record: &str| {
        let args = ["shadow", "report", record, "--manifests", &manifests, "-o", "json"];
        scene.muster.command(&args).await
    };
    let (code, said, complaint) = report(&record).await;
    assert_eq!(code, 0, "{complaint}");
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((found(&answer, "longer", "job"), &answer["compared"]), (vec!["18".to_owned()], &json!(40)), "{said}");
    let unknown = &answer["unknown"];
    assert!(unknown[0].as_str().is_some_and(|said| said.ends_with("no look of the shadow at EC2 is in the record")), "{unknown}");
    assert!(answer["cost"]["theirs"].is_null() && answer["killed"].is_null() && answer["idle"].is_null(), "{said}");

    let told = |(code, _, complaint): (i32, String, String), begins: &str| {
        let line = complaint.lines().find(|line| line.starts_with("muster: ")).unwrap_or_default().to_owned();
        assert!(code != 0 && line.contains(begins), "{code}: {complaint}, not {begins}");
    };
    told(run(&place("nothing"), &record).await, "failed to read ");
    fs::write(place("bad.json"), "{\"a\": 1}").expect("a file");
    told(run(&place("bad.json"), &record).await, "bad.json, value 1: it is neither GitHub's payload of an event nor");
    told(report(&place("empty")).await, "failed to read ");
    fs::create_dir(place("empty")).expect("a directory");
    told(report(&place("empty")).await, "has no record of a shadow: name what `muster run --shadow --record` was given");
    let args = ["run", "--manifests", &manifests, "--shadow", "--record", &record, "--theirs", "x"];
    told(scene.muster.command(&args).await, "--theirs x: write a tag as KEY=VALUE");
}
