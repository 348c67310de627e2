//! The example manifests, and everything that can be wrong with them.

#[path = "manifests/mistakes.rs"]
mod mistakes;

use muster_reconciler::ids::{AppName, PoolName};
use muster_reconciler::manifest::{Lifetime, Problem, SecretRef, Spec, Text, load};
use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};

const CONTROLLER: &str = include_str!("../../manifests/controller.yaml");
const APP: &str = include_str!("../../manifests/github-app.yaml");
const POOLS: &str = include_str!("../../manifests/pools.yaml");

fn examples() -> Vec<Text> {
    [("controller.yaml", CONTROLLER), ("github-app.yaml", APP), ("pools.yaml", POOLS)]
        .map(|(file, body)| Text { file: file.into(), body: body.into() })
        .into()
}

/// The examples, after the first occurrence of `from` has been replaced. `from` must occur.
fn changed(from: &str, to: &str) -> Vec<Text> {
    let mut texts = examples();
    let text = texts.iter_mut().find(|text| text.body.contains(from)).unwrap_or_else(|| panic!("no example holds `{from}`"));
    text.body = text.body.replacen(from, to, 1);
    texts
}

fn problems(texts: &[Text]) -> Vec<Problem> {
    load(texts).map_or_else(|problems| problems.0, |_| Vec::new())
}

fn said(texts: &[Text]) -> Vec<String> {
    problems(texts).iter().map(ToString::to_string).collect()
}

fn spec() -> Spec {
    load(&examples()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_examples_are_good_and_say_what_they_mean() {
    let spec = spec();
    assert_eq!(spec.controller.cluster(), "prod");
    let app = &spec.apps[&AppName::from("main")].spec;
    assert_eq!(app.private_key, SecretRef::Ssm("/muster/prod/github-app/main/private-key".into()));
    assert_eq!(
        spec.pools.keys().map(PoolName::as_str).collect::<Vec<_>>(),
        ["linux-arm64", "linux-warm", "linux-x64", "windows-x64"]
    );
    let warm = &spec.pools[&PoolName::from("linux-warm")];
    assert_eq!((warm.spec.runner.lifetime, warm.spec.capacity.schedules.len()), (Lifetime::Reusable, 1));
    assert_eq!(spec.list_ids().len(), 1);
}

#[test]
fn a_spec_does_not_depend_on_the_order_of_its_files() {
    let mut texts = examples();
    texts.reverse();
    assert_eq!(load(&texts).expect("still good"), spec());
}

/// The place of each scalar of a file: its first and last byte, and its line.
fn scalars(body: &str) -> Vec<(usize, usize, usize)> {
    fn walk(node: &MarkedYaml<'_>, found: &mut Vec<(usize, usize, usize)>) {
        match &node.data {
            YamlData::Sequence(items) => items.iter().for_each(|item| walk(item, found)),
            YamlData::Mapping(map) => map.values().for_each(|value| walk(value, found)),
            _ => found.push((node.span.start.index(), node.span.end.index(), node.span.start.line())),
        }
    }
    assert!(body.is_ascii(), "the indexes count characters, so the examples must be ASCII");
    let mut found = Vec::new();
    MarkedYaml::load_from_str(body).expect("an example").iter().for_each(|document| walk(document, &mut found));
    found
}

#[test]
fn a_value_of_the_wrong_type_is_one_problem_on_its_line_wherever_it_stands() {
    let mut tried = 0;
    for (file, original) in examples().into_iter().enumerate() {
        for (start, end, line) in scalars(&original.body) {
            let mut texts = examples();
            texts[file].body.replace_range(start..end, "{wrong: type}");
            let found = problems(&texts);
            let what = &original.body[start..end];
            assert_eq!(found.len(), 1, "`{what}` in {}:{line}: {found:#?}", original.file);
            assert_eq!((&found[0].file, found[0].line), (&original.file, line), "`{what}`: {found:?}");
            tried += 1;
        }
    }
    assert!(tried > 90, "only {tried} scalars");
}

#[test]
fn every_wrong_value_at_once_is_as_many_problems() {
    let mut texts = examples();
    let mut expected = Vec::new();
    for text in &mut texts {
        // Nothing more can be said of a document without a kind, so its kind and version stay.
        let kept = |start: usize| ["kind: ", "apiVersion: "].iter().any(|key| text.body[..start].ends_with(key));
        let places: Vec<_> = scalars(&text.body).into_iter().filter(|(start, ..)| !kept(*start)).collect();
        expected.extend(places.iter().map(|(.., line)| (text.file.clone(), *line)));
        for (start, end, _) in places.into_iter().rev() {
            text.body.replace_range(start..end, "{wrong: type}");
        }
    }
    let found: Vec<_> = problems(&texts).into_iter().map(|p| (p.file, p.line)).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_unreadable_document_hides_no_other_and_nothing_is_called_missing_for_it() {
    let mut texts = changed("max: 50", "max: many");
    texts[0].body = "kind: [Controller\n---\napiVersion: v1\nkind: Pod\n---\n- a list\n".into();
    let said = said(&texts);
    assert_eq!(said.len(), 5, "{said:#?}");
    assert!(said[0].starts_with("controller.yaml:2: cannot be read as YAML"), "{said:#?}");
    assert_eq!(said[1], "controller.yaml:3: apiVersion: unknown version; write muster/v1");
    assert_eq!(said[2], "controller.yaml:4: kind: unknown kind; write one of Controller, GitHubApp, GitHubToken, RunnerPool");
    assert!(said[3].starts_with("controller.yaml:6: a manifest is a mapping"), "{said:#?}");
    assert!(said[4].starts_with("pools.yaml:15: spec.capacity.max: expected a whole number"), "{said:#?}");
}

#[test]
fn a_slip_of_the_pen_is_one_problem_that_says_what_was_meant() {
    let said = said(&changed("labels: [self-hosted, linux, x64]", "lables: [self-hosted, linux, x64]"));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("pools.yaml:13: spec.lables: unknown field; did you mean `labels`?"), "{said:#?}");
    let said = self::said(&changed("priority: 50", "weight: 50"));
    assert!(
        said[0].contains("spec.weight: unknown field, expected one of `github`, `labels`, `matching`, `priority`"),
        "{said:#?}"
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_refused_and_never_repeated() {
    let key = "privateKey: ssm:/muster/prod/github-app/main/private-key";
    let list = "webhookSecrets:                  # any of them may sign: to rotate, put the new one beside the old\n    - ssm:/muster/prod/github-app/main/webhook-secret";
    for (from, to) in [
        (key, "privateKey: hunter2"),
        (key, "privateKey: |\n    -----BEGIN RSA PRIVATE KEY-----\n    hunter2"),
        (key, "privateKey: {hunter2: hunter2}"),
        (key, "privatekey: hunter2"),
        (list, "webhookSecrets: hunter2"),
        (list, "webhookSecrets: [hunter2]"),
        (list, "webhookSecrets: [[hunter2]]"),
        ("appId: 123456", "appId: hunter2"),
        ("metadata:\n  name: main", "metadata: hunter2"),
    ] {
        let said = said(&changed(from, to)).join("\n");
        assert!(!said.is_empty() && !said.replace("privateKey.hunter2", "").contains("hunter2"), "{to}: {said}");
    }
    assert!(said(&changed(key, "privateKey: hunter2"))[0].contains("write a reference, never the secret"));
}

#[test]
fn what_is_left_out_is_asked_for_at_the_nearest_line() {
    let texts =
        [Text { file: "a.yaml".into(), body: "apiVersion: muster/v1\nkind: RunnerPool\nspec:\n  github:\n    app: x\n".into() }];
    let said = said(&texts);
    let expected = [
        "no manifest of kind Controller",
        "a.yaml:1: metadata.name: required",
        "a.yaml:3: spec.instance.subnets: required",
        "a.yaml:3: spec.instance.types: required",
        "a.yaml:3: spec.labels: required",
        "a.yaml:4: spec.github.scope: required",
        "a.yaml:5: spec.github.app: no GitHubApp is named x (there is none)",
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} / {expected}");
    }
}

#[test]
fn documents_that_stand_twice_name_the_first() {
    let mut texts = examples();
    texts.push(Text { file: "z.yaml".into(), body: format!("{CONTROLLER}---\n{APP}") });
    let said = said(&texts);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].starts_with("z.yaml:3: kind: a second Controller; the first is at controller.yaml:3"), "{said:#?}");
    assert!(said[1].contains("metadata.name: GitHubApp main is defined already, at github-app.yaml:6"), "{said:#?}");
}

#[test]
fn pools_that_differ_in_name_alone_are_ambiguous_unless_something_else_decides() {
    let twin = |change: (&str, &str)| {
        let mut texts = examples();
        let pool = POOLS.split("---\n").next().expect("the first pool").replacen("name: linux-x64", "name: twin", 1);
        assert!(pool.contains(change.0), "{change:?}");
        texts.push(Text { file: "z.yaml".into(), body: pool.replacen(change.0, change.1, 1) });
        said(&texts)
    };
    let same = twin(("[self-hosted, linux, x64]", "[x64, Linux, self-hosted]"));
    assert_eq!(same.len(), 1, "{same:#?}");
    assert!(same[0].contains("spec.labels: pool linux-x64 (pools.yaml:13) takes the same jobs"), "{same:#?}");
    let labels = "labels: [self-hosted, linux, x64]";
    for decides in ["priority: 99", "matching: exact"] {
        assert_eq!(twin((labels, &format!("{decides}\n  {labels}"))), [""; 0], "{decides}");
    }
    assert_eq!(twin(("scope: org/acme", "scope: org/acme\n    repositories: [acme/a]")), [""; 0]);
}

const TOKEN: &str = "apiVersion: muster/v1
kind: GitHubToken
metadata: {name: big}
spec: {token: 'ssm:/muster/prod/github-token/big/token', webhookSecrets: ['env:SECRET']}
";

/// The examples, with a token, and with the first pool in an enterprise's scope.
fn of_enterprise(token: &str, github: &str) -> Vec<Text> {
    let mut texts = changed("app: main", github);
    let pools = texts.iter_mut().find(|text| text.file == "pools.yaml").expect("the pools");
    pools.body = pools.body.replacen("scope: org/acme", "scope: enterprise/big", 1);
    texts.push(Text { file: "token.yaml".into(), body: token.into() });
    texts
}

#[test]
fn a_pool_of_an_enterprise_names_a_token() {
    let spec = load(&of_enterprise(TOKEN, "token: big")).expect("valid");
    let pool = &spec.pools[&PoolName::from("linux-x64")];
    let list_id = pool.list_id();
    assert_eq!((list_id.app.as_str(), list_id.scope.to_string().as_str()), ("big", "enterprise/big"));
    assert_eq!(spec.api_url(&list_id.app), Some("https://api.github.com"));
    assert_eq!(spec.payer(&list_id.app, "acme/web"), list_id.payer(), "a token has one limit for all accounts");
    let main = AppName::from("main");
    assert_ne!(spec.payer(&main, "acme/web"), spec.payer(&main, "umbrella/lab"), "an App has one limit for each account");
}

/// An enterprise's registration token would lie on every instance, and registers runners in the whole enterprise.
#[test]
fn a_pool_of_an_enterprise_is_not_reusable() {
    let texts = |lifetime: &str| {
        let mut texts = of_enterprise(TOKEN, "token: big");
        let pools = texts.iter_mut().find(|text| text.file == "pools.yaml").expect("the pools");
        pools.body = pools.body.replacen("  instance:\n", &format!("  runner: {{lifetime: {lifetime}}}\n  instance:\n"), 1);
        texts
    };
    assert_eq!(said(&texts("ephemeral")), [""; 0]);
    let found = problems(&texts("reusable"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].file.as_str(), found[0].path.as_str()), ("pools.yaml", "spec.runner.lifetime"));
    assert!(found[0].message.contains("use `ephemeral`, or register at org/NAME with a GitHubApp"), "{}", found[0]);
}

#[test]
fn tokens_and_what_refers_to_them_are_judged() {
    for (token, github, path, words) in [
        (TOKEN.to_owned(), "token: other", "spec.github.token", "no GitHubToken is named other (there is big)"),
        (TOKEN.to_owned(), "token: main", "spec.github.token", "main is a GitHubApp; write it as spec.github.app"),
        (TOKEN.to_owned(), "runnerGroup: Default", "spec.github.token", "required: the name of a GitHubToken"),
        (
            TOKEN.replace("name: big", "name: main"),
            "app: main",
            "metadata.name",
            "main is the name of a GitHubApp, at github-app.yaml:6",
        ),
        (TOKEN.replace("'env:SECRET'", ""), "token: big", "spec.webhookSecrets", "at least one"),
        (
            TOKEN.replace("'ssm:/muster/prod/github-token/big/token'", "ghp_0123456789"),
            "token: big",
            "spec.token",
            "never the secret",
        ),
        (
            TOKEN.replace("spec: {", "spec: {apiUrl: 'https://api.github.com/', "),
            "token: big",
            "spec.apiUrl",
            "write https://api.github.com",
        ),
    ] {
        let found = problems(&of_enterprise(&token, github));
        let found: Vec<_> = found.iter().filter(|p| p.path == path).collect();
        assert_eq!(found.len(), 1, "{github}: {found:#?}");
        assert!(found[0].message.contains(words) && !found[0].message.contains("ghp_"), "{github}: {}", found[0]);
    }
}

#[test]
fn each_mistake_is_one_problem_with_its_field_and_the_way_out() {
    for (from, to, path, words) in mistakes::MISTAKES {
        let found = problems(&changed(from, to));
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert_eq!(found[0].path, *path, "{to}: {found:#?}");
        assert!(found[0].message.contains(words), "{to}: {}", found[0]);
        let text = changed(from, to).into_iter().find(|text| text.file == found[0].file).expect("the file");
        let line = text.body.lines().nth(found[0].line - 1).expect("the line");
        // A missing field is told on the line of the field that should hold it.
        let keys = path.rsplit('.').filter(|part| !part.is_empty()).map(|part| part.split('[').next().unwrap_or(part)).take(2);
        let told = keys.into_iter().any(|key| line.contains(key)) || line.contains(&to[..to.len().min(4)]);
        assert!(told, "{path} is not on line `{line}`");
    }
}

#[test]
fn a_cluster_serves_one_github_server() {
    let app = |name: &str, server: &str| {
        let body = APP.replacen("name: main", &format!("name: {name}"), 1);
        let body = body.replacen("appId: 123456", &format!("appId: 7\n  apiUrl: {server}"), 1);
        Text { file: format!("{name}.yaml"), body }
    };
    let with = |one: Text| examples().into_iter().chain([one]).collect::<Vec<_>>();
    assert_eq!(said(&with(app("second", "https://API.github.com"))), [""; 0]);
    let found = problems(&with(app("on-premises", "https://ghes.acme.com/api/v3")));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].file.as_str(), found[0].path.as_str()), ("on-premises.yaml", "spec.apiUrl"));
    assert!(found[0].message.contains("than that of GitHubApp main (https://api.github.com)"), "{}", found[0]);
    assert!(found[0].message.contains("its own cluster"), "{}", found[0]);
}

#[test]
fn large_lists_are_bounded() {
    let many = |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    let types = format!("types: [{}]", many(101, &|i| format!("m{i}i.large")));
    let said = said(&changed("types: [m7i.large, m7a.large, m6i.large, m6a.large, m5.large]", &types));
    assert!(said.len() == 1 && said[0].contains("101 types x 3 subnets are 303 offerings; CreateFleet takes 300"), "{said:#?}");
    let tags = format!("tags: {{{}}}", many(40, &|i| format!("k{i}: v")));
    let said = self::said(&changed("tags:\n      team: ci", &tags));
    assert!(said.len() == 1 && said[0].contains("41 tags together with the Controller's; at most 40"), "{said:#?}");
    let labels = format!("labels: [{}]", many(101, &|i| format!("l{i}")));
    assert!(self::said(&changed("labels: [self-hosted, linux, x64]", &labels))[0].contains("GitHub admits 100"));
    let wrong = format!("labels: [{}]", many(500, &|_| "[]".into()));
    let said = self::said(&changed("labels: [self-hosted, linux, x64]", &wrong));
    assert!(said.len() == 101 && said.iter().any(|s| s.contains("more than 100 errors")), "{}", said.len());
}

#[test]
fn the_short_times_of_tests_and_demos_are_admitted() {
    let mut texts = changed("instances: 15s", "instances: 200ms");
    texts[2].body = texts[2].body.replacen("bootDeadline: 15m", "bootDeadline: 5s\n    idleTimeout: 1s\n    maxLifetime: 10s", 1);
    assert_eq!(said(&texts), [""; 0]);
}

#[test]
fn plain_http_is_admitted_on_this_machine_only() {
    for here in
        ["http://127.0.0.1:8080", "http://127.8.8.8", "http://localhost:1/api/v3", "http://[::1]:8080", "https://10.0.0.7"]
    {
        let controller = CONTROLLER.replacen("https://api.github.com", here, 1);
        let app = APP.replacen("appId: 123456", &format!("appId: 7\n  apiUrl: {here}"), 1);
        let texts = [("controller.yaml", controller), ("app.yaml", app), ("pools.yaml", POOLS.to_owned())]
            .map(|(file, body)| Text { file: file.into(), body });
        assert_eq!(problems(&texts), [], "{here}");
    }
}

/// A URL that only looks like this machine leads elsewhere.
#[test]
fn a_name_that_begins_like_this_machine_is_not_this_machine() {
    for elsewhere in [
        "http://[::1].example.com",
        "https://[::1]x",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://[::1",
    ] {
        let app = APP.replacen("appId: 123456", &format!("appId: 7\n  apiUrl: '{elsewhere}'"), 1);
        let mut texts = examples();
        texts[1].body = app;
        let found = problems(&texts);
        assert!(!found.is_empty() && found.iter().all(|problem| problem.path == "spec.apiUrl"), "{elsewhere}: {found:#?}");
    }
}
