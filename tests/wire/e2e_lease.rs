//! Two controllers and one lease: one acts, the other stands by, and takes over when the first ends, dies or is stopped.

use crate::support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::instances::Habits;
use support::muster::{Muster, WEBHOOK_SECRET};
use support::scene::{CLUSTER, Scene, linux};
use support::{PATIENCE, eventually, same, secs};

/// A scene in which `scene.muster` takes webhooks, with two controllers that do not run yet.
async fn two(habits: Habits, max: usize) -> Option<(Scene, [Muster; 2])> {
    let pool = linux().set("capacity.max", max);
    let mut scene = Scene::prepare(std::slice::from_ref(&pool), habits).await?;
    let controller = || {
        let mut muster = Muster::prepare(&scene.moto, &scene.github, &scene.world, std::slice::from_ref(&pool));
        muster.change_controller("sync: {every: 0s}", "sync: {every: 0s}\n  lease: true");
        muster.args(&["--role", "controller"]);
        muster
    };
    let both = [controller(), controller()];
    scene.muster.args(&["--role", "webhook"]);
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.github.send_webhooks_to(&scene.muster.webhook_url(), WEBHOOK_SECRET);
    Some((scene, both))
}

/// Waits until the process acts. Returns how long that took.
async fn acts(muster: &mut Muster) -> Duration {
    let began = Instant::now();
    muster.ready().await;
    began.elapsed()
}

/// Waits until the process has read the lease and stands by.
async fn stands_by(muster: &Muster) {
    eventually(secs(20), "the process stands by", || async {
        match muster.logs().lines().rev().find(|line| line.contains("stands by")) {
            Some(line) if line.contains("holds the lease (term") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn signal(muster: &Muster, name: &str) {
    let sent = Command::new("kill").arg(name).arg(muster.pid().to_string()).status().expect("kill exists");
    assert!(sent.success(), "{name} could not be sent");
}

/// Starts the first controller, which gets the lease, and then the second, which stands by.
async fn start([first, second]: &mut [Muster; 2]) {
    first.spawn();
    acts(first).await;
    second.spawn();
    stands_by(second).await;
}

#[tokio::test]
async fn who_stands_by_says_so_and_takes_over_at_a_clean_end() {
    let Some((scene, mut both)) = two(Habits::default(), 100).await else { return };
    start(&mut both).await;
    let [first, second] = &mut both;
    scene.queue_jobs(3);
    scene.all_done(secs(60)).await;

    // Health and metrics are its own. Everything else would be a guess.
    assert_eq!((second.status("/healthz").await, second.status("/readyz").await), (200, 503));
    let missing = second.refusal("/readyz").await["missing"].to_string();
    assert!(missing.contains("it does not hold the lease"), "{missing}");
    assert_eq!((first.metric("muster_lease_held", "").await, second.metric("muster_lease_held", "").await), (1.0, 0.0));
    for path in ["/", "/api/v1/pools", "/explain/pool/linux"] {
        let said = second.refusal(path).await["error"].to_string();
        assert!(said.contains("holds the lease (term 1)"), "{path}: {said}");
    }
    let (code, _, complaint) = second.command(&["get", "pools"]).await;
    assert!(code != 0 && complaint.contains("stands by"), "{code}: {complaint}");
    let (code, _, complaint) = second.command(&["pause", "pool/linux"]).await;
    assert!(code != 0 && complaint.contains("stands by"), "{code}: {complaint}");

    // A pause is the next holder's, too.
    let (code, _, complaint) = first.command(&["pause", "pool/linux", "--reason", "a trial"]).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(first.terminate().await.success());
    let took = acts(second).await;
    assert!(took < secs(10) * PATIENCE, "{took:?}");
    let pools = second.api("pools").await;
    assert!(pools[0].to_string().contains("a trial"), "{pools:?}");
    let (code, _, complaint) = second.command(&["resume", "pool/linux"]).await;
    assert_eq!(code, 0, "{complaint}");
    scene.queue_jobs(2);
    scene.all_done(secs(60)).await;
    assert_eq!(scene.jobs_per_instance(), vec![1; 5]);
}

#[tokio::test]
async fn a_dead_holders_jobs_get_their_runners_from_the_next() {
    let Some((scene, mut both)) = two(Habits { paused: true, ..Habits::default() }, 100).await else { return };
    start(&mut both).await;
    let [first, second] = &mut both;
    scene.queue_jobs(20);
    eventually(secs(30), "some instances run", || async { same(scene.launched().await > 0, true) }).await;
    first.kill9();
    scene.moto.end_visibility().await;
    let took = acts(second).await;
    assert!(took < secs(30) * PATIENCE, "{took:?}");
    scene.instances.habits(|h| h.paused = false);
    scene.all_done(secs(90)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (20, vec![1; 20]));
}

/// The holder is stopped while EC2 has its call, and EC2 carries the call out after the next holder has asked for the same.
#[tokio::test]
async fn a_stopped_holder_launches_nothing_twice() {
    let Some((scene, mut both)) = two(Habits::default(), 100).await else { return };
    start(&mut both).await;
    let [first, second] = &mut both;
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "slow", "delay_ms": 60000, "times": 1 })).await;
    scene.queue_jobs(1);
    eventually(secs(30), "the launch is written down and asked for", || async {
        same(scene.moto.calls_of("CreateFleet").await.is_empty(), false)
    })
    .await;
    signal(first, "-STOP");
    scene.moto.end_visibility().await;
    let took = acts(second).await;
    assert!(took < secs(30) * PATIENCE, "{took:?}");
    scene.all_done(secs(60)).await;
    assert_eq!(scene.launched().await, 1, "the next holder asked for the same launch");

    signal(first, "-CONT");
    eventually(secs(30), "the first one ends", || {
        let runs = first.runs();
        async move { same(runs, false) }
    })
    .await;
    assert!(first.logs().contains("this process lost the lease"), "{}", first.logs());
    // The call that was under way is carried out by now.
    eventually(secs(90), "EC2 has carried out both calls", || async { same(scene.moto.calls_of("CreateFleet").await.len(), 2) })
        .await;
    assert_eq!(scene.launched().await, 1, "one launch, one instance");
}

/// New tasks start, and old ones are told to stop, again and again while 200 jobs run.
#[tokio::test]
async fn rolling_deployments_during_a_burst_stop_no_launches() {
    const JOBS: usize = 200;
    let Some((scene, mut both)) = two(Habits { job: secs(2), ..Habits::default() }, 50).await else { return };
    start(&mut both).await;
    scene.queue_jobs(JOBS);
    let began = Instant::now();
    let (mut launched, mut last, mut longest, mut rolled) = (0, Instant::now(), Duration::ZERO, 0);
    let mut roll_at = Instant::now() + secs(4);
    while launched < JOBS {
        // The instances' own word, because a look at moto's whole state ten times a second would slow it down.
        let now = scene.instances.stories().len();
        if now > launched {
            longest = longest.max(last.elapsed());
            (launched, last) = (now, Instant::now());
        }
        if Instant::now() >= roll_at && rolled < 4 {
            let (old, new) = (rolled % 2, (rolled + 1) % 2);
            assert!(both[old].terminate().await.success());
            acts(&mut both[new]).await;
            both[old].spawn();
            stands_by(&both[old]).await;
            rolled += 1;
            roll_at = Instant::now() + secs(4);
        }
        assert!(began.elapsed() < secs(300) * PATIENCE, "{launched} launches in {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.all_done(secs(90)).await;
    println!("{JOBS} launches in {:?} over {rolled} deployments; the longest gap was {longest:?}", began.elapsed());
    assert!(rolled >= 2, "{rolled} deployments");
    assert!(longest < secs(30) * PATIENCE, "{longest:?}");
    assert_eq!(scene.jobs_per_instance(), vec![1; JOBS]);
    // A webhook that got 503 may be the one that a job has started: until muster asks GitHub, the job looks queued.
    let unheard = scene.muster.metric("muster_webhook_requests_total", "outcome=\"unavailable\"").await as usize;
    let launched = scene.launched().await;
    assert!((JOBS..=JOBS + unheard).contains(&launched), "{launched} launches, {unheard} webhooks that muster did not get");
}

/// Somebody edits the object, and a store that ignores conditions is refused.
#[tokio::test]
async fn an_edited_lease_is_named_and_never_taken() {
    let Some((scene, mut both)) = two(Habits::default(), 100).await else { return };
    let key = format!("lease/{CLUSTER}/holder.json");
    let write = |text: &'static str| {
        let put = scene.moto.s3.put_object().bucket(&scene.world.bucket).key(&key);
        async move { put.body(text.as_bytes().to_vec().into()).send().await.expect("moto stores an object") }
    };
    write("not JSON").await;
    both[0].spawn();
    eventually(secs(30), "it says what is wrong", || async {
        let logs = both[0].logs();
        let said = logs.lines().any(|line| line.contains("is no lease of muster") && line.contains("delete it"));
        if said { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    write(r#"{"version":9,"term":4,"holder":"newer","turn":1,"written":0,"launches":[]}"#).await;
    eventually(secs(30), "it names the newer release", || async {
        same(both[0].logs().contains("a newer release of muster wrote it (version 9"), true)
    })
    .await;
    assert_eq!(both[0].status("/readyz").await, 503);
    scene.moto.s3.delete_object().bucket(&scene.world.bucket).key(&key).send().await.expect("moto deletes");
    acts(&mut both[0]).await;
    // A holder whose lease is edited under it ends.
    write(r#"{"version":1,"term":7,"holder":"somebody","turn":1,"written":0,"launches":[]}"#).await;
    eventually(secs(30), "the holder ends", || {
        let runs = both[0].runs();
        async move { same(runs, false) }
    })
    .await;
    assert!(both[0].logs().contains("`somebody` took the lease (term 7)"), "{}", both[0].logs());
}
