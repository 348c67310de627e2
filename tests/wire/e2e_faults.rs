//! What AWS and GitHub do wrong, and what operators do at the wrong moment, for the whole controller. The jobs still get
//! their runners, once each. No instance that may have a job is ended, and nothing is left behind.

use crate::support;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use support::github::Fault;
use support::github::hooks::post;
use support::instances::Habits;
use support::moto::Call;
use support::muster::{Muster, Pool, WEBHOOK_SECRET, seal};
use support::scene::{LABELS, REPO, Scene, linux};
use support::{eventually, ms, never, same, secs};

/// The route of GitHub's list of the runners of `org/acme`.
const LIST: &str = "GET /orgs/{org}/actions/runners";
/// Longer than muster waits for any answer.
const FOR_EVER: std::time::Duration = secs(60);

fn paused() -> Habits {
    Habits { paused: true, ..Habits::default() }
}

/// Jobs that end only when the test ends them.
fn endless() -> Habits {
    Habits { job: secs(3600), ..Habits::default() }
}

fn reusable() -> Pool {
    linux().set("runner.lifetime", "reusable").set("runner.queueDelay", "0s").set("runner.idleTimeout", "4s")
}

/// muster knows of `jobs` jobs and may launch nothing yet. [`open`] then makes one plan for all of them.
async fn with_waiting_jobs(jobs: usize, habits: Habits) -> Option<Scene> {
    let scene = Scene::start(&[linux().set("capacity.max", 0)], habits).await?;
    scene.queue_jobs(jobs);
    eventually(secs(20), "muster knows of all jobs", || async { same(scene.muster.api("jobs").await.len(), jobs) }).await;
    Some(scene)
}

fn open(scene: &Scene) {
    scene.muster.write_pool(&linux());
}

/// GitHub's list is a second behind its events. So muster hears of a job's start before the list shows the runner busy.
fn events_come_first(scene: &Scene) {
    scene.github.fail(LIST, u32::MAX, Fault::Stall(secs(1)));
}

async fn phases_become(scene: &Scene, wanted: &[&str]) {
    eventually(secs(30), "the runners' phases", || async {
        same(scene.phases().await, wanted.iter().map(|p| (*p).into()).collect())
    })
    .await;
}

/// Waits until the only instance runs its `nth` job, and knows it.
async fn instance_has_begun(scene: &Scene, nth: usize) {
    eventually(secs(30), "the instance has begun its job", || async { same(scene.jobs_per_instance(), vec![nth]) }).await;
}

/// Waits until muster has read GitHub's list from its beginning to its end, after now.
async fn list_is_read_again(scene: &Scene) {
    let asked = scene.github.calls_of(LIST);
    eventually(secs(30), "the list is read again", || async { same(scene.github.calls_of(LIST) > asked + 1, true) }).await;
}

/// Everything that muster has done so far to end instances: TerminateInstances, drain tags, deleted registrations.
async fn endings(scene: &Scene) -> (usize, usize, u64) {
    let calls = scene.moto.calls().await;
    let count = |op| calls.iter().filter(|c| c.op == op).count();
    (count("TerminateInstances"), count("CreateTags"), scene.github.calls_of("DELETE /orgs/{org}/actions/runners"))
}

/// How many calls of an API ended like this, by muster's own count.
async fn calls_that_ended(scene: &Scene, api: &str, outcome: &str) -> f64 {
    scene.muster.metric("muster_api_calls_total", &format!("api=\"{api}\",outcome=\"{outcome}\"")).await
}

fn counts(fleets: &[Call]) -> Vec<(u16, u32, &str)> {
    fleets.iter().map(|f| (f.status.unwrap_or(0), f.count.unwrap_or(0), f.market.as_deref().unwrap_or_default())).collect()
}

/// The runner whose configuration is in the secret of the only instance.
async fn runner_in_the_secret(scene: &Scene) -> Option<u64> {
    let secret = scene.moto.secrets().await.pop()?;
    let read = scene.moto.ssm.get_parameter().name(secret).with_decryption(true).send().await.ok()?;
    let config: Value = serde_json::from_slice(&BASE64_STANDARD.decode(read.parameter()?.value()?).ok()?).ok()?;
    config["runner_id"].as_u64()
}

// ---------------------------------------------------------------------------------------------------- EC2

#[tokio::test]
async fn throttled_launches_are_tried_again_ever_later_and_every_job_gets_its_instance() {
    let Some(scene) = with_waiting_jobs(5, Habits::default()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "throttled", "times": 3 })).await;
    open(&scene);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    let fleets = scene.moto.calls_of("CreateFleet").await;
    assert_eq!(counts(&fleets), [(503, 5, "spot"), (503, 5, "spot"), (503, 5, "spot"), (200, 5, "spot")]);
    let waits: Vec<f64> = fleets.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
    assert!(waits[0] > 900.0 && waits.is_sorted(), "each wait is longer than the one before: {waits:?}");
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (5, vec![1; 5]));
    scene.muster.metric_becomes("muster_api_throttles_total", "api=\"ec2.CreateFleet\"", 3.0).await;
}

#[tokio::test]
async fn what_a_partial_fleet_lacks_is_launched_elsewhere_and_then_on_demand() {
    let Some(scene) = with_waiting_jobs(6, paused()).await else { return };
    let partly = json!({ "op": "CreateFleet", "kind": "capacity", "only": 2, "unavailable": [{ "type": "m7i.large" }] });
    scene.moto.fault(partly).await;
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "capacity", "market": "spot", "only": 1 })).await;
    open(&scene);
    eventually(secs(30), "six instances live", || async { same(scene.moto.alive().await.len(), 6) }).await;
    scene.instances.habits(|h| h.paused = false);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    // muster asks for the remaining instances again, and only for them.
    let fleets = scene.moto.calls_of("CreateFleet").await;
    assert_eq!(counts(&fleets), [(200, 6, "spot"), (200, 4, "spot"), (200, 3, "on-demand")]);
    let spot: Vec<String> =
        scene.moto.instances().await.into_iter().filter(|i| i.market == "spot").map(|i| i.instance_type).collect();
    assert_eq!(spot, ["m6i.large"; 3], "muster does not ask again for what had no capacity");
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (6, vec![1; 6]));
    assert_eq!(scene.github.calls_of("generate-jitconfig"), 6);
    scene.muster.metric_becomes("muster_launch_failures_total", "reason=\"InsufficientInstanceCapacity\"", 7.0).await;
}

#[tokio::test]
async fn a_launch_that_took_effect_and_was_never_answered_is_repeated_with_its_token() {
    let Some(scene) = with_waiting_jobs(3, Habits::default()).await else { return };
    scene.moto.lag(secs(120)).await; // nothing but the repetition can tell muster what was launched
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "slow", "after_effect": true, "delay_ms": 60_000 })).await;
    open(&scene);
    eventually(secs(60), "the call is repeated", || async { same(scene.moto.calls_of("CreateFleet").await.len(), 2) }).await;
    assert_eq!(calls_that_ended(&scene, "ec2.CreateFleet", "ambiguous").await, 1.0);
    scene.all_done(secs(30)).await;
    scene.moto.heal().await;
    scene.all_gone(secs(60)).await;
    let fleets = scene.moto.calls_of("CreateFleet").await;
    assert_eq!(fleets.len(), 2);
    assert_eq!((&fleets[0].token, fleets[0].count), (&fleets[1].token, fleets[1].count), "the same token and request");
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (3, vec![1; 3]));
}

#[tokio::test]
async fn instances_of_a_launch_that_is_never_answered_are_used_as_soon_as_ec2_shows_them() {
    let Some(scene) = with_waiting_jobs(3, Habits::default()).await else { return };
    scene.moto.fault(json!({ "op": "CreateFleet", "kind": "slow", "after_effect": true, "delay_ms": 60_000 })).await;
    open(&scene);
    scene.all_done(secs(60)).await;
    assert_eq!(calls_that_ended(&scene, "ec2.CreateFleet", "ambiguous").await, 0.0, "before the call was given up");
    scene.all_gone(secs(40)).await;
    eventually(secs(60), "the call is given up", || async {
        same(calls_that_ended(&scene, "ec2.CreateFleet", "ambiguous").await, 1.0)
    })
    .await;
    never(secs(4), "it is repeated", || async { same(scene.moto.calls_of("CreateFleet").await.len(), 1) }).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (3, vec![1; 3]));
}

#[tokio::test]
async fn while_ec2_does_not_show_its_instances_jobs_are_served_and_nothing_is_ended() {
    let Some(scene) = Scene::start(&[linux().set("capacity.idle", 1)], endless()).await else { return };
    phases_become(&scene, &["idle"]).await;
    let first = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy", "idle"]).await;
    scene.moto.fault(json!({ "op": "DescribeInstances", "kind": "unavailable", "times": -1 })).await;
    let second = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy", "busy", "idle"]).await;
    // An instance that EC2 does not show for 30 s would count as gone.
    eventually(secs(60), "the last sweep of EC2 is old", || async {
        assert_eq!((endings(&scene).await, scene.launched().await), ((0, 0, 0), 3));
        same(scene.muster.metric("muster_sweep_age_seconds", "source=\"instances\"").await > 35.0, true)
    })
    .await;
    scene.moto.heal().await;
    scene.muster.write_pool(&linux());
    scene.github.finish_job(first, "success");
    scene.github.finish_job(second, "success");
    scene.all_gone(secs(90)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (3, vec![1; 2]));
}

// -------------------------------------------------------------------------------------------------- GitHub

#[tokio::test]
async fn a_mint_that_github_fails_is_tried_again_for_the_same_instance() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    for status in [500, 503, 403] {
        scene.github.fail("generate-jitconfig", 1, Fault::Status(status));
    }
    scene.queue_jobs(1);
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(
        (scene.launched().await, scene.jobs_per_instance()),
        (1, vec![1]),
        "the instance was configured later, not replaced"
    );
    assert_eq!((scene.github.calls_of("generate-jitconfig"), endings(&scene).await.2), (4, 0));
}

#[tokio::test]
async fn a_mint_that_github_never_answers_is_tried_again_for_the_same_instance() {
    let Some(scene) = with_waiting_jobs(2, Habits::default()).await else { return };
    scene.github.fail("generate-jitconfig", 1, Fault::Stall(FOR_EVER)); // leaves a registration behind
    scene.github.fail("generate-jitconfig", 1, Fault::Swallow(FOR_EVER)); // leaves nothing
    open(&scene);
    scene.all_done(secs(90)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!(
        (scene.launched().await, scene.jobs_per_instance()),
        (2, vec![1; 2]),
        "the instances were configured later, not replaced"
    );
    // Two mints got no answer and one worked. One more met what was left behind, and one followed after that had been
    // deleted.
    assert_eq!((scene.github.calls_of("generate-jitconfig"), endings(&scene).await.2), (5, 1));
}

#[tokio::test]
async fn while_github_does_not_list_its_runners_nothing_is_ended_or_launched_and_then_it_heals() {
    let Some(scene) = Scene::start(&[linux().set("capacity.idle", 1)], endless()).await else { return };
    phases_become(&scene, &["idle"]).await;
    scene.github.hooks(|h| h.dropped = vec!["in_progress"]); // only the list says that a runner is busy
    let job = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy", "idle"]).await;
    scene.github.fail(LIST, 2, Fault::Status(502));
    scene.github.fail(LIST, 1, Fault::Stall(FOR_EVER));
    eventually(secs(60), "two 502 and a silence are over", || async {
        assert_eq!((endings(&scene).await, scene.launched().await), ((0, 0, 0), 2));
        let failed = ["unavailable", "ambiguous"].map(|outcome| calls_that_ended(&scene, "github.ListRunners", outcome));
        let [unavailable, ambiguous] = failed;
        same((unavailable.await, ambiguous.await), (2.0, 1.0))
    })
    .await;
    list_is_read_again(&scene).await;
    phases_become(&scene, &["busy", "idle"]).await;
    scene.muster.write_pool(&linux());
    scene.github.finish_job(job, "success");
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (2, vec![1]));
}

#[tokio::test]
async fn an_instance_that_comes_online_while_github_lists_nobody_is_neither_ended_nor_doubled() {
    let pool = linux().set("capacity.idle", 1).set("runner.bootDeadline", "3s");
    let Some(mut scene) = Scene::prepare(&[pool], Habits::default()).await else { return };
    scene.github.fail(LIST, u32::MAX, Fault::Status(502));
    scene.muster.spawn();
    scene.muster.ready().await;
    eventually(secs(20), "a warm runner is online", || async {
        same(scene.registrations().iter().map(|r| r.online).collect(), vec![true])
    })
    .await;
    // This is twice the boot deadline. Nobody knows whether the runner is online, so nothing may be concluded.
    never(secs(6), "the instance is ended, or another is launched", || async {
        same((endings(&scene).await, scene.launched().await), ((0, 0, 0), 1))
    })
    .await;
    scene.github.heal();
    phases_become(&scene, &["idle"]).await;
    scene.muster.write_pool(&linux());
    scene.all_gone(secs(40)).await;
    assert_eq!(scene.launched().await, 1);
}

#[tokio::test]
async fn githubs_hourly_limit_is_waited_for_and_no_instance_is_replaced_for_it() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    eventually(secs(20), "the list was read", || async { same(scene.github.calls_of(LIST) > 0, true) }).await;
    let installations_calls = || scene.github.calls_of("/orgs/");
    let before = installations_calls();
    scene.github.set_limit(0, 12);
    scene.queue_jobs(1);
    eventually(secs(20), "the job's instance is there", || async { same(scene.moto.alive().await.len(), 1) }).await;
    never(secs(4), "GitHub is asked again and again, or an instance is configured", || async {
        let asked = installations_calls() - before;
        if asked > 4 { Err(format!("{asked} calls: {:?}", scene.github.calls())) } else { same(scene.registrations().len(), 0) }
    })
    .await;
    scene.all_done(secs(60)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![1]));
    assert!(scene.github.calls_of("generate-jitconfig") <= 2, "{:?}", scene.github.calls());
}

/// GitHub keeps a limit for each installation, and counts configurations separately.
#[tokio::test]
async fn an_organisations_spent_limit_delays_no_other_organisation_of_the_app() {
    let other = Pool::new("other", &["self-hosted", "umbrella"]).scope("org/umbrella");
    let Some(mut scene) = Scene::prepare(&[linux(), other], Habits { job: secs(1), ..Habits::default() }).await else { return };
    scene.github.install("org", "umbrella");
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.github.set_limit_of("acme", "actions_runner_registration", 0, 3600);
    scene.queue_jobs(1);
    eventually(secs(20), "GitHub says that one organisation has nothing left", || async {
        same(scene.github.calls_of("generate-jitconfig"), 1)
    })
    .await;
    let jobs: Vec<u64> = (0..2).map(|_| scene.github.queue_job("umbrella/lab", &["self-hosted", "umbrella"])).collect();
    eventually(secs(40), "the other organisation's jobs are done", || async {
        let open: Vec<u64> = jobs.iter().copied().filter(|id| scene.github.job(*id).status != "completed").collect();
        same(open, Vec::new())
    })
    .await;
    let left = |labels| scene.muster.metric("muster_github_limit_remaining", labels);
    assert_eq!(left("account=\"acme\",app=\"main\",resource=\"actions_runner_registration\"").await, 0.0);
    assert!(left("account=\"umbrella\",app=\"main\",resource=\"actions_runner_registration\"").await > 9000.0);
    assert!(left("account=\"acme\",app=\"main\",resource=\"core\"").await > 4000.0);
    assert_eq!(scene.github.calls_of("generate-jitconfig"), 3, "muster does not ask again for the first organisation");
}

#[tokio::test]
async fn a_token_that_github_revokes_is_replaced_and_nobody_notices() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    eventually(secs(20), "the list was read", || async { same(scene.github.calls_of(LIST) > 0, true) }).await;
    scene.github.expire_tokens();
    scene.queue_jobs(3);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (3, vec![1; 3]));
    assert_eq!(scene.github.calls_of("access_tokens"), 2, "the token is fetched anew once for all callers");
    scene.assert_no_secrets_shown().await;
}

#[tokio::test]
async fn runners_on_a_later_page_are_seen_and_an_unchanged_list_costs_nothing() {
    let Some(mut scene) = Scene::prepare(&[linux().set("capacity.idle", 1)], Habits::default()).await else { return };
    for n in 0..150 {
        scene.github.register("org/acme", &format!("somebody-elses-{n}"), &["theirs"], true);
    }
    scene.muster.spawn();
    scene.muster.ready().await;
    phases_become(&scene, &["idle"]).await;
    let (asked, left) = (scene.github.calls_of(LIST), scene.github.remaining());
    eventually(secs(30), "the list was read several more times", || async {
        same(scene.github.calls_of(LIST) > asked + 8, true)
    })
    .await;
    assert_eq!(scene.github.remaining(), left, "an unchanged page costs nothing");
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    scene.muster.write_pool(&linux());
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.github.runners().len()), (2, 150), "the runners of others are left alone");
}

// ----------------------------------------------------------------------------------------------------- SSM

#[tokio::test]
async fn a_configuration_that_ssm_did_not_take_makes_way_for_the_next() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
    scene.moto.fault(json!({ "op": "PutParameter", "kind": "unavailable" })).await;
    scene.moto.fault(json!({ "op": "PutParameter", "kind": "throttled" })).await;
    scene.moto.fault(json!({ "op": "PutParameter", "kind": "error", "code": "AccessDeniedException" })).await;
    scene.queue_jobs(1);
    eventually(secs(40), "the secret is ready", || async { same(scene.moto.secrets().await.len(), 1) }).await;
    let puts: Vec<Option<u16>> = scene.moto.calls_of("PutParameter").await.iter().map(|c| c.status).collect();
    assert_eq!(puts, [503, 400, 400, 200].map(Some));
    let registered: Vec<u64> = scene.registrations().iter().map(|r| r.id).collect();
    assert_eq!(
        registered,
        Vec::from_iter(runner_in_the_secret(&scene).await),
        "there is only the registration that the instance will use"
    );
    // Each failure leaves a registration behind. The next mint meets it, and it makes way for one more mint.
    assert_eq!((scene.github.calls_of("generate-jitconfig"), endings(&scene).await), (7, (0, 0, 3)));
    scene.instances.habits(|h| h.paused = false);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![1]));
    scene.assert_no_secrets_shown().await;
}

#[tokio::test]
async fn a_secret_that_ssm_took_without_an_answer_is_replaced_before_the_instance_reads_it() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
    scene.moto.fault(json!({ "op": "PutParameter", "kind": "lost", "after_effect": true })).await;
    scene.queue_jobs(1);
    eventually(secs(40), "the secret exists already, and is replaced", || async {
        let puts: Vec<Option<u16>> = scene.moto.calls_of("PutParameter").await.iter().map(|c| c.status).collect();
        same(puts, [0, 400, 200].map(Some).into())
    })
    .await;
    let registered: Vec<u64> = scene.registrations().iter().map(|r| r.id).collect();
    assert_eq!(registered, Vec::from_iter(runner_in_the_secret(&scene).await), "the registration and the secret belong together");
    scene.instances.habits(|h| h.paused = false);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![1]));
    assert_eq!((scene.github.calls_of("generate-jitconfig"), endings(&scene).await.2), (3, 1));
}

#[tokio::test]
async fn an_instance_that_works_with_a_secret_that_ssm_took_without_an_answer_is_left_alone() {
    let Some(scene) = Scene::start(&[linux()], Habits { boot: ms(0), ..endless() }).await else { return };
    scene.moto.fault(json!({ "op": "PutParameter", "kind": "lost", "after_effect": true })).await;
    scene.github.fail("generate-jitconfig", 2, Fault::Stall(secs(3))); // the runner is online before muster tries again
    let job = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy"]).await;
    never(secs(4), "the runner is disturbed", || async {
        same((endings(&scene).await, scene.launched().await, scene.registrations().len()), ((0, 0, 0), 1, 1))
    })
    .await;
    scene.github.finish_job(job, "success");
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![1]));
}

// --------------------------------------------------------------------------------------------------- people

#[tokio::test]
async fn a_pool_removed_while_its_instances_are_busy_lets_their_jobs_finish_and_then_goes() {
    let steady =
        Pool::new("steady", &["self-hosted", "steady"]).set("runner.lifetime", "reusable").set("runner.queueDelay", "0s");
    let Some(scene) = Scene::start(&[linux(), steady.clone()], endless()).await else { return };
    events_come_first(&scene);
    let jobs = [scene.queue_jobs(1)[0], scene.github.queue_job(REPO, &["self-hosted", "steady"])];
    phases_become(&scene, &["busy", "busy"]).await;
    scene.muster.remove_pool(&linux());
    scene.muster.remove_pool(&steady);
    eventually(secs(20), "muster took the change over", || async {
        same(scene.muster.metric("muster_manifest_reloads_total", "result=\"ok\"").await >= 1.0, true)
    })
    .await;
    never(secs(6), "a busy runner's instance is ended or drained", || async {
        same((endings(&scene).await, scene.phases().await), ((0, 0, 0), vec!["busy".to_owned(); 2]))
    })
    .await;
    jobs.iter().for_each(|job| scene.github.finish_job(*job, "success"));
    scene.all_gone(secs(60)).await;
    let (terminated, _, deregistered) = endings(&scene).await;
    assert_eq!(
        (scene.launched().await, terminated, deregistered),
        (2, 0, 1),
        "both ended by themselves; the reusable's seat is cleared"
    );
    assert_eq!(scene.jobs_per_instance(), [1, 1]);
}

#[tokio::test]
async fn a_pool_removed_while_its_instances_boot_leaves_nothing() {
    let Some(scene) = Scene::start(&[linux()], paused()).await else { return };
    scene.queue_jobs(2);
    eventually(secs(20), "two instances are configured", || async { same(scene.moto.secrets().await.len(), 2) }).await;
    scene.muster.remove_pool(&linux());
    eventually(secs(20), "both runners are drained", || async {
        let alive = scene.moto.alive().await;
        same(alive.iter().filter(|i| !i.tag("muster:drain").is_empty()).count(), 2)
    })
    .await;
    scene.github.jobs().iter().for_each(|job| scene.github.cancel_job(job.id));
    scene.instances.habits(|h| h.paused = false);
    scene.all_gone(secs(60)).await;
    assert_eq!((scene.launched().await, scene.instances.stories().values().filter(|s| s.drained).count()), (2, 2));
}

#[tokio::test]
async fn a_reusable_runner_outlives_a_controller_that_dies_while_it_is_busy() {
    let Some(mut scene) = Scene::start(&[reusable()], endless()).await else { return };
    events_come_first(&scene);
    let job = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy"]).await;
    eventually(secs(20), "the job is off the queue", || async { same(scene.moto.depth(&scene.world.jobs).await.messages, 0) })
        .await;
    scene.muster.kill9();
    scene.moto.end_visibility().await;
    scene.muster.restart().await;
    phases_become(&scene, &["busy"]).await;
    never(secs(6), "it is ended, asked to end, or replaced", || async {
        same((endings(&scene).await, scene.launched().await, scene.phases().await), ((0, 0, 0), 1, vec!["busy".to_owned()]))
    })
    .await;
    scene.github.finish_job(job, "success");
    phases_become(&scene, &["idle"]).await;
    let another = scene.queue_jobs(1)[0];
    instance_has_begun(&scene, 2).await;
    scene.github.finish_job(another, "success");
    scene.all_gone(secs(60)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![2]), "the runner was used again");
    assert_eq!(endings(&scene).await.0, 0, "the runner ended because it was drained");
}

#[tokio::test]
async fn a_reusable_runner_whose_job_ends_while_the_controller_is_dead_is_used_again() {
    let Some(mut scene) = Scene::start(&[reusable()], endless()).await else { return };
    events_come_first(&scene);
    let first = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy"]).await;
    list_is_read_again(&scene).await;
    scene.github.finish_job(first, "success");
    phases_become(&scene, &["idle"]).await;
    scene.github.hooks(|h| h.dropped = vec!["in_progress"]); // so the job's message is still held
    let job = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy"]).await;
    instance_has_begun(&scene, 2).await;
    scene.muster.kill9();
    scene.github.finish_job(job, "success"); // nobody hears of it now
    eventually(secs(20), "nobody was told of the job's end", || async {
        let lost = scene.github.sent().iter().filter(|s| s.delivery.action == "completed" && s.status == 0).count();
        same(lost, 1)
    })
    .await;
    scene.moto.end_visibility().await;
    scene.muster.restart().await;
    eventually(secs(30), "the message came back, and GitHub said that the job is over", || async {
        same(scene.moto.depth(&scene.world.jobs).await.messages, 0)
    })
    .await;
    phases_become(&scene, &["idle"]).await;
    scene.github.hooks(|h| h.dropped = vec![]);
    let another = scene.queue_jobs(1)[0];
    instance_has_begun(&scene, 3).await;
    scene.github.finish_job(another, "success");
    scene.all_gone(secs(60)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![3]));
    assert_eq!(endings(&scene).await.0, 0, "the runner ended because it was drained");
}

#[tokio::test]
async fn a_webhook_alone_and_a_controller_alone_do_the_job_together() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    scene.muster.args(&["--role", "controller"]);
    let mut webhook = Muster::prepare(&scene.moto, &scene.github, &scene.world, &[linux()]); // deliveries go there now
    webhook.args(&["--role", "webhook"]);
    webhook.spawn();
    webhook.ready().await;
    scene.queue_jobs(3);
    eventually(secs(20), "three jobs wait on the queue for a controller", || async {
        let accepted = scene.github.sent().iter().filter(|s| s.status == 202).count();
        same((accepted, scene.moto.depth(&scene.world.jobs).await.messages), (3, 3))
    })
    .await;
    assert_eq!(scene.launched().await, 0);
    scene.muster.spawn();
    scene.muster.ready().await;
    assert_eq!(post(&scene.muster.webhook_url(), "ping", "1", None, Vec::new()).await, 0, "a controller alone takes no webhooks");
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (3, vec![1; 3]));
}

#[tokio::test]
async fn an_enterprise_servers_api_is_reached_below_its_path() {
    let Some(mut scene) = Scene::prepare(&[linux()], Habits::default()).await else { return };
    let app = scene.muster.manifests().join("github.yaml");
    let url = scene.github.url();
    let text = std::fs::read_to_string(app).expect("the App's manifest").replace(&url, &format!("{url}/api/v3"));
    scene.muster.write("github.yaml", &text);
    scene.muster.spawn();
    scene.muster.ready().await;
    scene.queue_jobs(2);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (2, vec![1; 2]));
}

// --------------------------------------------------------------------------------------------------- events

#[tokio::test]
async fn a_start_that_is_heard_of_before_its_job_launches_nothing_more() {
    let Some(scene) = Scene::start(&[linux().set("capacity.idle", 1)], endless()).await else { return };
    phases_become(&scene, &["idle"]).await;
    scene.github.hooks(|h| h.hold = true);
    let job = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy", "idle"]).await;
    scene.github.release_held(true).await; // in_progress, queued
    eventually(secs(20), "both are off the queue and the job is known to run", || async {
        let states: Vec<Value> = scene.muster.api("jobs").await.iter().map(|j| j["state"].clone()).collect();
        same((states, scene.moto.depth(&scene.world.jobs).await.messages), (vec![json!("in_progress")], 0))
    })
    .await;
    never(secs(3), "an instance is launched for the job", || async { same(scene.launched().await, 2) }).await;
    scene.muster.write_pool(&linux());
    scene.github.finish_job(job, "success");
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (2, vec![1]));
}

#[tokio::test]
async fn a_reusable_runner_that_is_busy_when_it_is_first_seen_explains_where_its_job_went() {
    let Some(scene) = Scene::start(&[reusable()], endless()).await else { return };
    scene.github.hooks(|h| h.dropped = vec!["in_progress"]); // or late by some seconds
    let job = scene.queue_jobs(1)[0];
    phases_become(&scene, &["busy"]).await;
    never(secs(4), "another instance is launched for the same job", || async { same(scene.launched().await, 1) }).await;
    scene.github.finish_job(job, "success");
    scene.all_gone(secs(40)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![1]));
}

#[tokio::test]
async fn a_reusable_runner_that_ends_its_first_job_before_github_listed_it_is_used_again() {
    let Some(scene) = Scene::start(&[reusable()], Habits::default()).await else { return };
    events_come_first(&scene);
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    phases_become(&scene, &["idle"]).await;
    scene.queue_jobs(1);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(60)).await;
    assert_eq!((scene.launched().await, scene.jobs_per_instance()), (1, vec![2]));
}

#[tokio::test]
async fn messages_that_nobody_can_read_are_counted() {
    let Some(scene) = Scene::start(&[linux()], Habits::default()).await else { return };
    for poison in ["not JSON {", "{}", "{\"v\": 99}"] {
        scene.moto.send_with(&scene.world.jobs, poison, &[("muster", &seal(WEBHOOK_SECRET, poison))]).await;
    }
    scene.moto.send(&scene.world.ec2_events, "not JSON {").await;
    eventually(secs(20), "three dead letters, by muster's count and by the queue's", || async {
        let counted = scene.muster.metric("muster_dead_letters_total", "").await;
        same((counted, scene.moto.depth(&scene.world.dead_letters).await.messages), (3.0, 3))
    })
    .await;
    eventually(secs(20), "a hint that nobody can read is counted and dropped", || async {
        let counted = scene.muster.metric("muster_messages_total", "result=\"unreadable\"").await;
        same((counted, scene.moto.depth(&scene.world.ec2_events).await.messages), (4.0, 0))
    })
    .await;
    scene.github.queue_job(REPO, &LABELS);
    scene.all_done(secs(40)).await;
    scene.all_gone(secs(30)).await;
    assert_eq!(scene.launched().await, 1);
}
