//! Tests of the manifest and the link.

use std::collections::BTreeMap;

use muster_reconciler::manifest::{Text, load_for_people};

use super::*;

pub(in crate::cli::app) fn details(org: Option<&str>) -> AppDetails {
    AppDetails {
        org: org.map(str::to_owned),
        personal: org.is_none(),
        manifests: None,
        cluster: None,
        app: None,
        name: None,
        webhook_url: None,
        github_url: None,
        features: Vec::new(),
    }
}

pub(in crate::cli::app) fn wish(org: Option<&str>) -> AppWish {
    AppWish::new(&details(org), None).expect("a wish")
}

/// Manifests with one App and this pool.
fn manifests(api: &str, pool: &str) -> ManifestReading {
    let app = format!(
        "apiVersion: muster/v1\nkind: GitHubApp\nmetadata: {{name: main}}\nspec: {{appId: 1, privateKey: env:K, webhookSecrets: [env:S]{api}}}\n"
    );
    let pool = format!(
        "apiVersion: muster/v1\nkind: RunnerPool\nmetadata: {{name: linux}}\nspec:\n  labels: [linux]\n  instance: {{types: [m7i.large], \
         subnets: [subnet-0a1b2c3d]}}\n{pool}"
    );
    let texts = [("app.yaml", app), ("pool.yaml", pool)].map(|(file, body)| Text { file: file.into(), body });
    load_for_people(&texts, None).expect("valid manifests")
}

fn permissions(wish: &AppWish) -> BTreeMap<&str, &str> {
    wish.permissions.iter().map(|one| (one.name, one.level)).collect()
}

#[test]
fn the_manifest_says_what_an_organisation_needs() {
    let mut details = details(Some("acme"));
    let manifest = AppWish::new(&details, None).expect("a wish").manifest("http://127.0.0.1:7/callback");
    assert_eq!(
        manifest,
        json!({
            "name": "muster-acme", "url": "https://github.com/acme", "public": false, "redirect_url": "http://127.0.0.1:7/callback",
            "hook_attributes": {"url": NO_WEBHOOK, "active": false},
            "default_permissions": {"actions": "read", "organization_self_hosted_runners": "write"},
            "default_events": ["workflow_job"],
        })
    );
    details.webhook_url = Some("https://ci.example.com/webhook".into());
    let hook = &AppWish::new(&details, None).expect("a wish").manifest("x")["hook_attributes"];
    assert_eq!(hook, &json!({"url": "https://ci.example.com/webhook", "active": true}));
}

#[test]
fn the_page_of_the_owner_is_where_the_app_is_registered() {
    assert_eq!(wish(Some("acme")).action("s"), "https://github.com/organizations/acme/settings/apps/new?state=s");
    assert_eq!(wish(None).action("s"), "https://github.com/settings/apps/new?state=s");
    assert_eq!(permissions(&wish(None)), [("actions", "read"), ("administration", "write")].into(), "a repository's runners");
    let none = AppWish::new(&AppDetails { personal: false, ..details(None) }, None).expect_err("no owner");
    assert!(none.to_string().contains("--org NAME, or --personal"), "{none}");
}

#[test]
fn permissions_grow_with_the_manifests_and_the_flags_as_doctor_wants_them() {
    let of = |pool: &str| {
        let read = manifests("", pool);
        AppWish::new(&AppDetails { personal: false, ..details(None) }, Some(&read))
    };
    let plain = of("  github: {app: main, scope: org/acme}\n").expect("a wish");
    assert_eq!(plain.org.as_deref(), Some("acme"), "the owner is known from the pools");
    assert_eq!(permissions(&plain), [("actions", "read"), ("organization_self_hosted_runners", "write")].into());
    let reruns = of("  github: {app: main, scope: org/acme}\n  rerun: {causes: [interruption]}\n").expect("a wish");
    assert_eq!(permissions(&reruns)["actions"], "write");
    let asked = AppDetails { features: vec![AppFeature::Cancel], ..details(Some("acme")) };
    let asked = AppWish::new(&asked, None).expect("a wish");
    assert_eq!(permissions(&asked)["actions"], "write");
    assert_eq!(permissions(&asked)["statuses"], "write");
}

#[test]
fn the_link_has_the_same_content() {
    let link = wish(Some("acme")).link().expect("a link");
    let (form, query) = link.split_once('?').expect("a query");
    assert_eq!(form, "https://github.com/organizations/acme/settings/apps/new");
    let fields: Vec<(String, String)> = serde_urlencoded::from_str(query).expect("a query");
    let has = |name: &str, value: &str| fields.iter().any(|(n, v)| n == name && v == value);
    for (name, value) in [
        ("name", "muster-acme"),
        ("events[]", "workflow_job"),
        ("webhook_active", "false"),
        ("public", "false"),
        ("organization_self_hosted_runners", "write"),
        ("actions", "read"),
    ] {
        assert!(has(name, value), "{name}={value}: {link}");
    }
}

#[test]
fn a_server_of_the_manifests_is_asked_itself() {
    let pool = "  github: {app: main, scope: org/acme}\n";
    for (api, flag, github, asked) in [
        ("", None, "https://github.com", "https://api.github.com"),
        (", apiUrl: https://git.example.com/api/v3", None, "https://git.example.com", "https://git.example.com/api/v3"),
        (", apiUrl: https://api.acme.ghe.com", None, "https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("", Some("https://git.example.com/"), "https://git.example.com", "https://git.example.com/api/v3"),
        ("", Some("https://acme.ghe.com"), "https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("", Some("http://127.0.0.1:7"), "http://127.0.0.1:7", "http://127.0.0.1:7/api/v3"),
    ] {
        let details = AppDetails { github_url: flag.map(str::to_owned), ..details(Some("acme")) };
        let wish = AppWish::new(&details, Some(&manifests(api, pool))).expect("a wish");
        assert_eq!((wish.github.as_str(), wish.api.as_str()), (github, asked), "{api} {flag:?}");
    }
}

#[test]
fn what_cannot_work_is_told_in_a_sentence() {
    let with = |change: &dyn Fn(&mut AppDetails)| {
        let mut details = details(Some("acme"));
        change(&mut details);
        AppWish::new(&details, None).expect_err("wrong").to_string()
    };
    assert!(with(&|d| d.org = Some("ac me".into())).contains("`ac me` is no organisation's name"));
    assert!(with(&|d| d.org = Some("\"><script>".into())).contains("no organisation's name"));
    assert!(with(&|d| d.github_url = Some("github.com".into())).contains("is no address"));
    assert!(with(&|d| d.github_url = Some("http://git.example.com".into())).contains("write https://"));
    assert!(with(&|d| d.webhook_url = Some("hook".into())).contains("--webhook-url"));
    assert!(with(&|d| d.name = Some("x".repeat(35))).contains("1 to 34 characters"));
    let long = AppWish::new(&details(Some(&"a".repeat(39))), None).expect("a wish").name;
    assert_eq!(long.len(), LONGEST_NAME);
}
