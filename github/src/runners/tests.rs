use std::collections::BTreeSet;

use futures_util::future::join_all;
use muster_reconciler::effect::{RunnerSighting, Swept};
use muster_reconciler::ids::RunnerName;
use serde_json::Value;

use super::*;
use crate::fake::{DoubleRequest, Fake, Reply, list_id, reply, runner_1};

const MINT: &str = "/generate-jitconfig";

fn minted(id: u64) -> Reply {
    let runner = json!({"id": id, "name": "prod.linux.i-1", "os": "unknown", "status": "offline", "busy": false, "labels": []});
    reply(201, json!({"runner": runner, "encoded_jit_config": format!("jit-{id}")}))
}

fn row(id: u64, name: &str, status: &str, busy: bool) -> Value {
    json!({"id": id, "name": name, "os": "linux", "status": status, "busy": busy, "labels": [{"name": "linux"}]})
}

fn runners(total: usize, rows: Vec<Value>) -> Reply {
    reply(200, json!({"total_count": total, "runners": rows}))
}

fn groups(id: f64) -> Reply {
    reply(200, json!({"total_count": 2.0, "runner_groups": [{"id": 1, "name": "Default"}, {"id": id, "name": "Builders"}]}))
}

fn not_found() -> Reply {
    reply(404, json!({"message": "Not Found"}))
}

async fn configure(github: &GitHub, c: &Configure) -> Result<(Option<u64>, String), Failure> {
    let (runner, secret) = github.configure(c).await?;
    Ok((runner.map(|id| id.0), secret.expose_secret().to_owned()))
}

#[tokio::test]
async fn every_scope_mints_at_its_own_path_with_the_groups_id() {
    for (scope, base, group) in
        [("org/acme", "/orgs/acme", 7), ("enterprise/big", "/enterprises/big", 7), ("repo/acme/app", "/repos/acme/app", 1)]
    {
        let fake = Fake::start(|ask| match ask.path.as_str() {
            path if path.ends_with("/runner-groups") => groups(7.0),
            path if path.ends_with(MINT) => minted(42),
            _ => not_found(),
        })
        .await;
        let github = if scope.starts_with("enterprise/") { fake.github_by_token() } else { fake.github() };
        let wanted = runner_1(scope);
        let answers = join_all((0..50).map(|_| configure(&github, &wanted))).await;
        assert!(answers.iter().all(|answer| *answer == Ok((Some(42), "jit-42".into()))), "{answers:?}");
        let asks = fake.asked(MINT);
        assert_eq!((asks.len(), asks[0].path.clone()), (50, format!("{base}/actions/runners{MINT}")));
        assert_eq!(
            asks[0].body,
            json!({"name": "prod.linux.i-1", "runner_group_id": group, "labels": ["self-hosted", "linux"], "work_folder": "_jobs"})
        );
        assert!(asks[0].body["runner_group_id"].is_u64() && asks[0].header("content-type") == "application/json");
        assert_eq!(fake.asked("/runner-groups").len(), usize::from(group != 1), "{scope}: one lookup for all");
    }
}

#[tokio::test]
async fn a_group_that_was_made_anew_is_looked_up_again() {
    let fake = Fake::start_raw(|ask, before| match ask.path.as_str() {
        path if path.ends_with("/runner-groups") => groups(if before == 0 { 7.0 } else { 8.0 }),
        path if path.ends_with(MINT) && ask.body["runner_group_id"] == 7 && before > 0 => not_found(),
        path if path.ends_with(MINT) => minted(42),
        _ => crate::fake::installations(ask, before).unwrap_or_else(not_found),
    })
    .await;
    let github = fake.github();
    configure(&github, &runner_1("org/acme")).await.expect("group 7");
    configure(&github, &runner_1("org/acme")).await.expect("group 8");
    configure(&github, &runner_1("org/acme")).await.expect("group 8, remembered");
    let tried: Vec<u64> = fake.asked(MINT).iter().filter_map(|ask| ask.body["runner_group_id"].as_u64()).collect();
    assert_eq!(tried, [7, 7, 8, 8]);
    assert_eq!(fake.asked("/runner-groups").len(), 2);
}

#[tokio::test]
async fn a_404_with_the_right_group_is_told_after_one_look() {
    let fake = Fake::start_raw(|ask, before| match ask.path.as_str() {
        path if path.ends_with("/runner-groups") => groups(7.0),
        path if path.ends_with(MINT) && before == 0 => minted(1),
        path if path.ends_with(MINT) => not_found(),
        _ => crate::fake::installations(ask, before).unwrap_or_else(not_found),
    })
    .await;
    let github = fake.github();
    configure(&github, &runner_1("org/acme")).await.expect("first");
    let failure = configure(&github, &runner_1("org/acme")).await.expect_err("gone");
    assert_eq!((failure.kind, fake.asked(MINT).len(), fake.asked("/runner-groups").len()), (FailureKind::NotFound, 2, 2));
}

#[tokio::test]
async fn a_missing_group_and_a_missing_permission_name_the_way_out() {
    let fake = Fake::start(|ask| match ask.path.as_str() {
        path if path.ends_with("/runner-groups") => groups(7.0),
        _ => reply(403, json!({"message": "Resource not accessible by integration"})),
    })
    .await;
    let github = fake.github();
    let failure = configure(&github, &Configure { group: "Nope".into(), ..runner_1("org/acme") }).await.expect_err("no group");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.contains("runner group `Nope` of org/acme: there is none; create it"), "{}", failure.message);
    for (scope, permission) in [("org/acme", "`Self-hosted runners: write`"), ("repo/acme/app", "`Administration: write`")] {
        let failure = configure(&github, &runner_1(scope)).await.expect_err("denied");
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.message.contains(permission) && failure.message.contains("App `main`"), "{}", failure.message);
    }
    let failure = configure(&github, &Configure { labels: Vec::new(), ..runner_1("org/acme") }).await.expect_err("no labels");
    assert!(failure.message.contains("1 to 100 labels, spec.labels has 0"), "{}", failure.message);
}

/// Configures a runner while the name is taken until its holder is deleted. Returns the answer, and how many deletions there
/// were.
async fn with_holder(holder: Option<Value>, replace: bool) -> (Result<(Option<u64>, String), Failure>, usize) {
    let rows: Vec<Value> = std::iter::once(row(8, "prod.linux.i-10", "offline", false)).chain(holder).collect();
    let fake = Fake::start_raw(move |ask, before| match (ask.method.as_str(), ask.path.as_str()) {
        ("POST", path) if path.ends_with(MINT) && before == 0 => reply(409, json!({"message": "Already exists"})),
        ("POST", path) if path.ends_with(MINT) => minted(42),
        ("GET", "/repos/acme/app/actions/runners") if ask.query.contains("name=prod.linux.i-1&") => {
            runners(rows.len(), rows.clone())
        }
        ("DELETE", "/repos/acme/app/actions/runners/9") => reply(204, Value::Null),
        _ => crate::fake::installations(ask, before).unwrap_or_else(|| reply(500, json!({"message": "unexpected"}))),
    })
    .await;
    let answer = configure(&fake.github(), &Configure { replace, ..runner_1("repo/acme/app") }).await;
    (answer, fake.asked("/runners/9").len())
}

#[tokio::test]
async fn a_stale_registration_is_replaced_only_when_asked_and_only_when_dead() {
    let holder = |status, busy| Some(row(9, "Prod.Linux.i-1", status, busy));
    let (answer, deleted) = with_holder(holder("offline", false), false).await;
    assert_eq!((answer.expect_err("taken").kind, deleted), (FailureKind::Conflict, 0));
    let (answer, deleted) = with_holder(holder("offline", false), true).await;
    assert_eq!((answer, deleted), (Ok((Some(42), "jit-42".into())), 1));
    for (status, busy, word) in [("online", false, "online"), ("online", true, "busy"), ("offline", true, "busy")] {
        let (answer, deleted) = with_holder(holder(status, busy), true).await;
        let failure = answer.expect_err("alive");
        assert_eq!((failure.kind, deleted), (FailureKind::Conflict, 0));
        assert!(failure.message.contains(&format!("runner 9 of this name is {word}")), "{}", failure.message);
    }
    let (answer, deleted) = with_holder(None, true).await;
    assert_eq!((answer, deleted), (Ok((Some(42), "jit-42".into())), 0), "gone by itself meanwhile");
}

#[tokio::test]
async fn a_reusable_runner_gets_a_token_and_what_config_sh_asks_for() {
    let fake = Fake::start(|_| reply(201, json!({"token": "AABB", "expires_at": "2030-01-01T00:00:00Z"}))).await;
    let github = fake.github_at(&format!("{}/api/v3", fake.url));
    for (scope, path, group) in [("org/acme", "acme", "Builders"), ("repo/acme/app", "acme/app", "")] {
        let (runner, line) = configure(&github, &Configure { ephemeral: false, ..runner_1(scope) }).await.expect("token");
        let wanted = json!({
            "url": format!("{}/{path}", fake.url), "token": "AABB", "name": "prod.linux.i-1",
            "labels": ["self-hosted", "linux"], "group": group,
        });
        assert_eq!((runner, serde_json::from_str::<Value>(&line).expect("json"), line.lines().count()), (None, wanted, 1));
    }
}

#[tokio::test]
async fn a_deletion_is_done_conflicting_or_failed() {
    let fake = Fake::start(|ask| match ask.path.rsplit('/').next() {
        Some("1") => reply(204, Value::Null),
        Some("2") => not_found(),
        Some("3") => reply(422, json!({"message": "Runner \"x\" is still running a job"})),
        _ => reply(502, json!({})),
    })
    .await;
    let github = fake.github();
    let mut outcomes = Vec::new();
    for id in 1..=4 {
        outcomes.push(match github.delete(&list_id("org/acme"), RunnerId(id)).await {
            Outcome::Done => "done",
            Outcome::Failed(failure) => failure.kind.as_str(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(outcomes, ["done", "done", "conflict", "unavailable"]);
}

/// A list of `total` rows. Each page has a version, and a version of 0 makes the page fail.
struct Pages(Arc<Mutex<(u64, [u64; 3])>>);

impl Pages {
    fn set(&self, total: u64, versions: [u64; 3]) {
        *self.0.lock().expect("pages") = (total, versions);
    }

    async fn start() -> (Pages, Fake) {
        let pages = Pages(Arc::new(Mutex::new((250, [1, 1, 1]))));
        let state = pages.0.clone();
        let fake = Fake::start(move |ask: &DoubleRequest| {
            let (total, versions) = *state.lock().expect("pages");
            let number: u64 = ask.query.strip_prefix("per_page=100&page=").expect("page").parse().expect("number");
            let version = versions[number as usize - 1];
            if version == 0 {
                return reply(502, json!({"message": "Server Error"}));
            }
            let etag = format!("W/\"{number}-{version}-{total}\"");
            if ask.header("if-none-match") == etag {
                return reply(304, Value::Null);
            }
            let rows = ((number - 1) * 100 + 1..=total.min(number * 100)).map(|id| match id % 100 {
                // One runner of this cluster on each page, busy in every other version. All other rows are runners of others.
                1 => row(id, &format!("prod.linux.i-{id}"), "online", version % 2 == 0),
                _ => row(id, &format!("stranger-{id}"), "online", false),
            });
            reply(200, json!({"total_count": total, "runners": rows.collect::<Vec<_>>()})).with("etag", etag)
        })
        .await;
        (pages, fake)
    }
}

async fn sweep(github: &GitHub) -> Result<Option<Vec<(u64, bool)>>, FailureKind> {
    match github.list(&list_id("org/acme"), "prod").await {
        Outcome::Swept(Swept::Runners(found)) => {
            Ok(found.map(|rows| rows.iter().map(|runner| (runner.id.0, runner.busy)).collect()))
        }
        Outcome::Failed(failure) => Err(failure.kind),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unchanged_list_costs_nothing_and_a_changed_page_brings_the_whole_list() {
    let (pages, fake) = Pages::start().await;
    let github = fake.github();
    assert_eq!(sweep(&github).await, Ok(Some(vec![(1, false), (101, false), (201, false)])));
    assert_eq!(sweep(&github).await, Ok(None));
    let told: BTreeSet<String> = fake.calls().split_off(5).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(told, BTreeSet::from(["not_modified".to_owned()]));
    pages.set(250, [1, 2, 1]);
    assert_eq!(sweep(&github).await, Ok(Some(vec![(1, false), (101, true), (201, false)])), "pages 1 and 3 from memory");
    pages.set(180, [1, 2, 1]);
    assert_eq!(sweep(&github).await, Ok(Some(vec![(1, false), (101, true)])), "a page less");
    assert_eq!(sweep(&github).await, Ok(None));
    pages.set(0, [1, 1, 1]);
    assert_eq!(sweep(&github).await, Ok(Some(vec![])), "none left is news too");
}

#[tokio::test]
async fn news_of_a_sweep_that_failed_half_way_is_told_by_the_next() {
    let (pages, fake) = Pages::start().await;
    let github = fake.github();
    sweep(&github).await.expect("first");
    pages.set(250, [2, 0, 1]);
    assert_eq!(sweep(&github).await, Err(FailureKind::Unavailable));
    pages.set(250, [2, 1, 1]);
    assert_eq!(sweep(&github).await, Ok(Some(vec![(1, true), (101, false), (201, false)])), "page 1's change is not lost");
    assert_eq!(sweep(&github).await, Ok(None));
}

#[tokio::test]
async fn only_our_own_clusters_runners_are_seen() {
    let fake = Fake::start(|_| {
        let rows = ["prod.linux.i-1", "prod2.linux.i-2", "prod.linux.i-3.x", "laptop", "prod.arm.i-5"];
        let rows: Vec<Value> = rows.iter().zip(1..).map(|(name, id)| row(id, name, "offline", false)).collect();
        runners(rows.len(), rows)
    })
    .await;
    let github = fake.github();
    let sighting = |id, name: &str| {
        let name = RunnerName::parse_ours(name, "prod").expect("ours");
        RunnerSighting { id: RunnerId(id), name, online: false, busy: false, labels: ["linux".to_owned()].into(), version: None }
    };
    let wanted = vec![sighting(1, "prod.linux.i-1"), sighting(5, "prod.arm.i-5")];
    let list = github.list(&list_id("org/acme"), "prod").await;
    assert_eq!(list, Outcome::Swept(Swept::Runners(Some(wanted))));
    let again = github.list(&list_id("org/acme"), "prod").await;
    assert_eq!(list, again, "a server without ETags never says \"unchanged\"");
}
