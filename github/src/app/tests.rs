use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use futures_util::future::join_all;
use muster_reconciler::effect::{Outcome, Resource};
use muster_reconciler::ids::{JobId, RunnerId};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::GitHub;
use crate::fake::{DoubleRequest, Fake, IMPATIENT, KEY, Reply, credentials, in_seconds, installations, list_id, reply, stall};

fn token() -> Reply {
    reply(201, json!({"token": "registration", "expires_at": in_seconds(3600)}))
}

async fn ask(github: &GitHub, scope: &str) -> Result<SecretString, Failure> {
    github.registration_token(&list_id(scope)).await
}

#[tokio::test]
async fn a_token_is_fetched_once_for_fifty_callers_and_kept() {
    let fake = Fake::start(|_| token()).await;
    let github = fake.github();
    let answers = join_all((0..50).map(|_| ask(&github, "org/acme"))).await;
    assert!(answers.iter().all(Result::is_ok));
    ask(&github, "org/ACME").await.expect("the same organisation, in other letters");
    assert_eq!(fake.asked("/installation").len(), 1);
    assert_eq!(fake.asked("/access_tokens").len(), 1);
    let asks = fake.asked("/registration-token");
    assert_eq!(asks.len(), 51);
    for ask in asks {
        assert_eq!(ask.header("authorization"), "Bearer token-1");
        assert_eq!(ask.header("accept"), "application/vnd.github+json");
        assert_eq!(ask.header("x-github-api-version"), "2022-11-28");
        assert!(!ask.header("user-agent").is_empty());
    }
}

#[tokio::test]
async fn an_organisation_and_its_repositories_share_one_installation() {
    let fake = Fake::start(|_| token()).await;
    let github = fake.github();
    for scope in ["repo/acme/app", "repo/acme/web", "org/acme"] {
        ask(&github, scope).await.expect(scope);
    }
    assert_eq!(fake.asked("/repos/acme/app/installation").len(), 1);
    assert_eq!((fake.asked("/installation").len(), fake.asked("/access_tokens").len()), (1, 1));
}

#[tokio::test]
async fn the_app_signs_in_with_a_short_jwt_from_a_minute_ago() {
    let fake = Fake::start(|_| token()).await;
    ask(&fake.github(), "org/acme").await.expect("token");
    let ask = fake.asked("/access_tokens").remove(0);
    let jwt = ask.header("authorization").strip_prefix("Bearer ").expect("bearer");
    let claims = jwt.split('.').nth(1).expect("claims");
    let claims: Value = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(claims)
        .map(|json| serde_json::from_slice(&json).expect("json"))
        .expect("base64");
    let now = limits::server_now(&http::HeaderMap::new());
    let (issued, expires) = (claims["iat"].as_i64().expect("iat"), claims["exp"].as_i64().expect("exp"));
    assert_eq!(claims["iss"], 4711);
    assert!((now - 63..=now - 60).contains(&issued) && expires - issued == 600, "{claims} at {now}");
    assert_eq!((ask.path.as_str(), ask.body), ("/app/installations/77/access_tokens", Value::Null));
}

#[tokio::test]
async fn a_refused_token_is_dropped_and_fetched_once_more_whoever_notices() {
    let revoked = Arc::new(AtomicBool::new(false));
    let known = revoked.clone();
    let fake = Fake::start(move |ask| match ask.header("authorization") {
        "Bearer token-1" if known.load(Ordering::SeqCst) => reply(401, json!({"message": "Bad credentials"})),
        _ => token(),
    })
    .await;
    let github = fake.github();
    ask(&github, "org/acme").await.expect("a good token");
    revoked.store(true, Ordering::SeqCst);
    let answers = join_all((0..50).map(|_| ask(&github, "org/acme"))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((fake.asked("/access_tokens").len(), fake.asked("/installation").len()), (2, 1));
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_told_with_the_way_out() {
    let fake = Fake::start(|_| reply(401, json!({"message": "Bad credentials"}))).await;
    let failure = ask(&fake.github(), "org/acme").await.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.contains("Bad credentials") && failure.message.contains("still installed"), "{}", failure.message);
    assert_eq!((fake.asked("/access_tokens").len(), fake.asked("/registration-token").len()), (2, 2), "once more, no oftener");
}

#[tokio::test]
async fn a_token_about_to_expire_is_not_used_again() {
    let brief = |ask: &DoubleRequest, before| match ask.path.ends_with("/access_tokens") {
        true => reply(201, json!({"token": format!("token-{before}"), "expires_at": in_seconds(299)})),
        false => installations(ask, before).unwrap_or_else(token),
    };
    let fake = Fake::start_raw(brief).await;
    let github = fake.github();
    for _ in 0..3 {
        ask(&github, "org/acme").await.expect("token");
    }
    assert_eq!((fake.asked("/access_tokens").len(), fake.asked("/installation").len()), (3, 1));
}

#[tokio::test]
async fn an_app_that_was_installed_anew_is_found_again() {
    let fake = Fake::start_raw(|ask, before| match (ask.path.as_str(), before) {
        ("/orgs/acme/installation", n) => reply(200, json!({"id": 77 + n, "account": {"login": "acme"}})),
        ("/app/installations/77/access_tokens", 0) => reply(201, json!({"token": "old", "expires_at": in_seconds(0)})),
        ("/app/installations/77/access_tokens", _) => reply(404, json!({"message": "Not Found"})),
        ("/app/installations/78/access_tokens", _) => reply(201, json!({"token": "new", "expires_at": in_seconds(3600)})),
        _ => token(),
    })
    .await;
    let github = fake.github();
    ask(&github, "org/acme").await.expect("first installation");
    ask(&github, "org/acme").await.expect("second installation");
    assert_eq!(fake.asked("/registration-token")[1].header("authorization"), "Bearer new");
}

#[tokio::test]
async fn a_missing_installation_is_refused_not_taken_for_a_missing_job() {
    let fake = Fake::start_raw(|_, _| reply(404, json!({"message": "Not Found"}))).await;
    match fake.github().get(&"main".into(), "acme/app", JobId(1)).await {
        Outcome::Failed(failure) => {
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.message.starts_with("get job 1 of acme/app: find the installation"), "{}", failure.message);
            assert!(failure.message.contains("install App `main` there"), "{}", failure.message);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_app_does_not_even_ask_for_an_enterprise() {
    let fake = Fake::start(|_| token()).await;
    let failure = ask(&fake.github(), "enterprise/big-co").await.expect_err("GitHub takes no App there");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.contains("name a GitHubToken in spec.github.token"), "{}", failure.message);
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_personal_access_token_asks_for_itself_and_has_one_limit_everywhere() {
    let fake = Fake::start_raw(|ask, _| match ask.path.as_str() {
        "/enterprises/big-co/actions/runners/registration-token" => {
            token().with("x-ratelimit-remaining", 9000).with("x-ratelimit-resource", "actions_runner_registration")
        }
        "/repos/acme/app/actions/jobs/1" => {
            reply(200, json!({"run_id": 9, "status": "queued"})).with("x-ratelimit-remaining", 4000)
        }
        _ => reply(401, json!({"message": "Bad credentials"})),
    })
    .await;
    let github = fake.github_by_token();
    ask(&github, "enterprise/big-co").await.expect("token");
    assert!(matches!(github.get(&"main".into(), "acme/app", JobId(1)).await, Outcome::Job(_)));
    let failure = ask(&github, "enterprise/other").await.expect_err("revoked");
    assert!(failure.message.contains("the token of GitHubToken `main` expired or was revoked"), "{}", failure.message);
    assert_eq!(fake.count(), 3, "there is no other token to be had");
    assert!(fake.asked("").iter().all(|ask| ask.header("authorization") == "Bearer ghp_x"));
    for (resource, remaining) in [(Resource::Registration, 9000), (Resource::Core, 4000)] {
        let limit = fake.limit().expect("limit");
        let told = (limit.payer, limit.resource, limit.remaining);
        assert_eq!(told, (Payer::itself(&"main".into()), Some(resource), remaining));
    }
}

#[tokio::test]
async fn what_github_offers_to_apps_only_is_not_asked_with_a_token() {
    let fake = Fake::start(|_| token()).await;
    match fake.github_by_token().deliveries(&"main".into()).await {
        Outcome::Failed(failure) => assert!(failure.message.contains("GitHub offers that to Apps only"), "{}", failure.message),
        other => panic!("{other:?}"),
    }
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn the_path_of_an_enterprise_server_is_kept() {
    for slash in ["", "/"] {
        let fake = Fake::start(|ask| if ask.path.starts_with("/api/v3/") { token() } else { reply(404, json!({})) }).await;
        let github = fake.github_at(&format!("{}/api/v3{slash}", fake.url));
        ask(&github, "org/acme").await.expect("token");
        assert_eq!(fake.asked("/api/v3/orgs/acme/installation").len(), 1);
        assert_eq!(fake.asked("/api/v3/app/installations/77/access_tokens").len(), 1);
        assert_eq!(fake.asked("/api/v3/orgs/acme/actions/runners/registration-token").len(), 1);
    }
}

#[tokio::test]
async fn people_see_a_scope_where_github_shows_it() {
    for (api, web) in [
        ("https://api.github.com", "https://github.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
        ("https://git.acme.example/api/v3/", "https://git.acme.example"),
        ("http://127.0.0.1:9999", "http://127.0.0.1:9999"),
    ] {
        let (to, _) = mpsc::unbounded_channel();
        let app = App::new(credentials(KEY, api), to, Arc::new(|_, _, _| {}), Duration::from_secs(1)).expect("app");
        for (scope, path) in [("org/a", "a"), ("repo/a/b", "a/b"), ("enterprise/c", "enterprises/c")] {
            assert_eq!(app.web_url(&scope.parse().expect("scope")), format!("{web}/{path}"));
        }
    }
}

#[tokio::test]
async fn bad_credentials_are_told_by_the_apps_name_and_never_shown() {
    let swapped = KEY.replace("RSA PRIVATE KEY", "CERTIFICATE");
    let cut: String = KEY.lines().filter(|line| line.len() < 60 || line.starts_with('-')).collect::<Vec<_>>().join("\n");
    for key in ["", "hush-hush", swapped.as_str(), cut.as_str()] {
        let (to, _) = mpsc::unbounded_channel();
        let error =
            GitHub::new(vec![credentials(key, "https://api.github.com")], to, Arc::new(|_, _, _| {})).expect_err("no key");
        let said = format!("{error:#}");
        assert!(said.contains("GitHubApp `main`") && said.contains("generate one"), "{said}");
        assert!(key.is_empty() || !said.contains(&key[..key.len().min(20)]), "{said}");
    }
    let (to, _) = mpsc::unbounded_channel();
    let error = GitHub::new(vec![credentials(KEY, "not a url")], to, Arc::new(|_, _, _| {})).expect_err("no URL");
    assert!(error.to_string().contains("https://HOST/api/v3"), "{error}");
    assert!(!format!("{:?}", credentials(KEY, "x")).contains("BEGIN"));
}

#[tokio::test]
async fn no_answer_is_ambiguous_but_no_connection_or_no_token_is_not() {
    let fake = Fake::start(|_| stall()).await;
    let failure = ask(&fake.github_impatient(), "org/acme").await.expect_err("stalled");
    assert_eq!(failure.kind, FailureKind::Ambiguous);
    assert!(failure.message.contains(&format!("no answer within {IMPATIENT:?}")), "{}", failure.message);

    let mute = Fake::start_raw(|_, _| stall()).await;
    let github = mute.github_impatient();
    let answers = join_all((0..20).map(|_| ask(&github, "org/acme"))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(f) if f.kind == FailureKind::Unavailable)), "the work never began");
    assert_eq!(mute.count(), 1, "one time-out for all of them");

    // The socket is bound and does not listen. So nobody else can take the port, and each connection is refused.
    let closed = tokio::net::TcpSocket::new_v4().expect("socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("bind");
    let nobody = fake.github_at(&format!("http://{}", closed.local_addr().expect("address")));
    let failure = ask(&nobody, "org/acme").await.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.to_lowercase().contains("refused"), "{}", failure.message);
}

#[tokio::test]
async fn a_connection_lost_after_the_request_is_ambiguous() {
    let fake = Fake::start(|_| token()).await;
    let github = fake.github();
    let app = github.app(&"main".into(), &ApiCall::new("", Method::GET, "", "")).expect("app");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let closing = fake.github_at(&format!("http://{}", listener.local_addr().expect("address")));
    let lost = closing.app(&"main".into(), &ApiCall::new("", Method::GET, "", "")).expect("app");
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("accept");
        socket.readable().await.expect("request");
        drop(socket);
    });
    let call = ApiCall::new("github.X", Method::POST, "/x", "do x");
    let bearer = SecretString::from("t");
    let payer = Payer::itself(&"main".into());
    assert!(app.send(&call, &payer, &bearer).await.is_ok());
    assert_eq!(lost.send(&call, &payer, &bearer).await.err().expect("lost").failure.kind, FailureKind::Ambiguous);
}

#[tokio::test]
async fn limits_go_to_the_core_and_calls_to_the_observer() {
    let fake = Fake::start_raw(|ask, before| {
        let jwt_limit = |reply: Reply| reply.with("x-ratelimit-remaining", 1);
        match (ask.path.as_str(), before) {
            (path, 0) if path.ends_with("/registration-token") => token().with("x-ratelimit-remaining", 4321),
            (path, 1) if path.ends_with("/registration-token") => {
                reply(403, json!({"message": "You have exceeded a secondary rate limit"})).with("retry-after", 30)
            }
            ("/orgs/umbrella/actions/runners/5", _) => reply(503, json!({})),
            _ => jwt_limit(installations(ask, before).expect("an installation's endpoint")),
        }
    })
    .await;
    let github = fake.github();
    ask(&github, "org/acme").await.expect("token");
    let acme = Payer::installation(&"main".into(), "acme");
    let of_itself = fake.limit().expect("limit");
    assert_eq!((of_itself.payer, of_itself.remaining), (Payer::itself(&"main".into()), 1), "the App's own limit is another");
    let limit = fake.limit().expect("limit");
    assert_eq!((&limit.payer, limit.remaining), (&acme, 4321));
    let failure = ask(&github, "org/acme").await.expect_err("throttled");
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Throttled, Some(Duration::from_secs(30))));
    let limit = fake.limit().expect("limit");
    assert_eq!((limit.payer, limit.resource, limit.remaining, limit.reset_after), (acme, None, 0, Duration::from_secs(30)));
    for (scope, kind) in [("org/acme", FailureKind::Throttled), ("org/umbrella", FailureKind::Unavailable)] {
        match github.delete(&list_id(scope), RunnerId(5)).await {
            Outcome::Failed(failure) => assert_eq!(failure.kind, kind, "{}", failure.message),
            other => panic!("{other:?}"),
        }
    }
    let told: Vec<String> = fake.calls().into_iter().map(|(api, outcome)| format!("{api} {outcome}")).collect();
    assert_eq!(
        told,
        [
            "github.GetInstallation ok",
            "github.CreateInstallationToken ok",
            "github.CreateRegistrationToken ok",
            "github.CreateRegistrationToken throttled",
            "github.GetInstallation ok",
            "github.CreateInstallationToken ok",
            "github.DeleteRunner unavailable",
        ]
    );
}
