//! The example manifests, and everything that can be wrong with them.

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

/// Changes of the examples. Each leads to one problem, of this field and with these words.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    // Names.
    ("name: prod ", "name: Prod ", "metadata.name", "lower-case letters"),
    ("name: linux-x64", "name: linux.x64", "metadata.name", "lower-case letters"),
    ("name: linux-x64", "name: linux-", "metadata.name", "beginning and ending"),
    ("name: linux-x64", "name: a-pool-with-a-name-far-too-long-for-a-runner", "metadata.name", "shorten it by"),
    ("name: linux-arm64", "name: linux-x64", "metadata.name", "defined already"),
    // Controller.
    ("eu-west-1\n", "Ireland\n", "spec.region", "eu-west-1"),
    ("bucket: acme", "bucket: s3://acme", "spec.bucket", "bare name"),
    ("bucket: acme", "secretsKey: alias/muster\n  bucket: acme", "spec.secretsKey", "is no ARN of a KMS key"),
    ("https://api.github.com", "api.github.com", "spec.sync.releases", "is no URL"),
    ("https://api.github.com", "https://api.github.com/", "spec.sync.releases", "write https://api.github.com"),
    (
        "https://api.github.com",
        "http://mirror.acme.com",
        "spec.sync.releases",
        "write https://mirror.acme.com (http:// is for this",
    ),
    ("https://api.github.com", "http://10.0.0.7:8080", "spec.sync.releases", "write https://10.0.0.7:8080"),
    ("https://api.github.com", "http://localhost.acme.com", "spec.sync.releases", "https://localhost.acme.com"),
    ("every: 6h", "every: 8d", "spec.sync.every", "1s to 7d"),
    ("bucket: acme", "usage: {every: 2h}\n  bucket: acme", "spec.usage.every", "1s to 1h"),
    ("jobs: https://sqs.eu", "jobs: sqs.eu", "spec.queues.jobs", "is no URL"),
    ("prod-ec2-events", "prod-jobs", "spec.queues.ec2Events", "same queue as spec.queues.jobs"),
    ("0.0.0.0:8080", "localhost:8080", "spec.listen.webhook", "IP:PORT"),
    ("0.0.0.0:8080", "127.0.0.1:9090", "spec.listen.admin", "same address"),
    ("  intervals:", "    adminHosts: ['muster:9090']\n  intervals:", "spec.listen.adminHosts[0]", "without a port"),
    ("  intervals:", "    adminHosts: [a.b, 'https://muster']\n  intervals:", "spec.listen.adminHosts[1]", "the name alone"),
    ("  intervals:", "    adminHosts: ['']\n  intervals:", "spec.listen.adminHosts[0]", "the name alone"),
    ("  intervals:", "    viewToken: hunter2\n  intervals:", "spec.listen.viewToken", "never the secret"),
    ("  intervals:", "    viewToken: ssm:/muster/prod/admin-token\n  intervals:", "spec.listen.viewToken", "give each its own"),
    ("  intervals:", "    maxBody: 0\n  intervals:", "spec.listen.maxBody", "1 to 26214400"),
    ("instances: 15s", "instances: 199ms", "spec.intervals.instances", "200ms to 5m"),
    ("runners: 60s", "runners: 1h", "spec.intervals.runners", "200ms to 15m"),
    ("runners: 60s", "runners: 60", "spec.intervals.runners", "write 1m for 60 seconds"),
    ("runners: 60s", "runners: soon", "spec.intervals.runners", "whole number and ms"),
    ("ssmPutPerSecond: 3 ", "ssmPutPerSecond: 0 ", "spec.limits.ssmPutPerSecond", "above 0"),
    ("ssmPutPerSecond: 3 ", "ssmPutPerSecond: .nan ", "spec.limits.ssmPutPerSecond", "above 0"),
    ("  intervals:", "  ignore: {labels: [self-hosted]}\n  intervals:", "spec.ignore.labels[0]", "would ignore every job"),
    ("  intervals:", "  ignore: {labels: ['']}\n  intervals:", "spec.ignore.labels[0]", "is empty"),
    ("  intervals:", "  ignore: {labels: [' gpu']}\n  intervals:", "spec.ignore.labels[0]", "space around it"),
    ("  intervals:", "  ignore: {repositories: ['*/*']}\n  intervals:", "spec.ignore.repositories[0]", "would ignore every job"),
    ("  intervals:", "  ignore: {repositories: [acme]}\n  intervals:", "spec.ignore.repositories[0]", "write OWNER/NAME"),
    ("cost-centre: ci", "aws:x: ci", "spec.tags.aws:x", "reserved"),
    ("cost-centre: ci", "cost centre: ci", "spec.tags.cost centre", "metadata"),
    ("cost-centre: ci", "cost-centre: 7", "spec.tags.cost-centre", "put it in quotes"),
    // GitHubApp.
    ("appId: 123456", "appId: 0", "spec.appId", "required"),
    ("appId: 123456", "appId: -1", "spec.appId", "0 or more, found -1"),
    ("appId: 123456", "apiUrl: https://ghe/api/v3/\n  appId: 1", "spec.apiUrl", "write https://ghe/api/v3"),
    ("appId: 123456", "apiUrl: ghe\n  appId: 1", "spec.apiUrl", "is no URL"),
    ("appId: 123456", "apiUrl: http://ghe/api/v3\n  appId: 1", "spec.apiUrl", "write https://ghe/api/v3"),
    // RunnerPool.
    ("app: main", "app: other", "spec.github.app", "there is main"),
    ("app: main", "runnerGroup: Default", "spec.github.app", "required: the name of a GitHubApp"),
    ("app: main", "token: main", "spec.github.token", "name a GitHubApp in spec.github.app instead"),
    ("app: main", "app: main\n    token: main", "spec.github.app", "both written"),
    ("scope: org/acme", "scope: enterprise/acme", "spec.github.app", "GitHub lets no App manage an enterprise's runners"),
    ("scope: org/acme", "scope: acme", "spec.github.scope", "repo/OWNER/NAME"),
    ("scope: org/acme", "scope: repo/acme/web\n    runnerGroup: x", "spec.github.runnerGroup", "no runner groups"),
    ("acme/desktop", "acme", "spec.github.repositories[0]", "OWNER/NAME"),
    ("acme/desktop", "other/desktop", "spec.github.repositories[0]", "matches nothing in org/acme"),
    ("acme/desktop", "acme/d?", "spec.github.repositories[0]", "OWNER/NAME"),
    ("[self-hosted, linux, x64]", "[]", "spec.labels", "required"),
    ("[self-hosted, linux, x64]", "[a, A]", "spec.labels[1]", "twice"),
    ("[self-hosted, linux, x64]", "['a,b']", "spec.labels[0]", "comma"),
    ("[self-hosted, linux, x64]", "[a, '']", "spec.labels[1]", "empty"),
    ("[self-hosted, linux, x64]", "self-hosted", "spec.labels", "expected a list, found text"),
    ("matching: exact", "matching: fuzzy", "spec.matching", "one of `subset`, `exact`"),
    ("max: 50", "max: 50\n    idle: 51", "spec.capacity.idle", "lower idle or raise max"),
    ("max: 50", "max: 1.5", "spec.capacity.max", "whole number"),
    ("max: 50", "max:", "spec.capacity.max", "leave the field out"),
    ("max: 50", "max: 50\n    max: 60", "spec.capacity.max", "twice"),
    ("max: 12", "max: 4", "spec.capacity.schedules[0].idle", "idle is 5 but max is 4"),
    ("0 8-18 * * MON-FRI", "0 0 8-18 * * MON-FRI", "spec.capacity.schedules[0].cron", "five fields"),
    ("0 8-18 * * MON-FRI", "0 0 31 6 *", "spec.capacity.schedules[0].cron", "never comes"),
    ("Europe/Amsterdam", "CEST", "spec.capacity.schedules[0].timezone", "IANA"),
    ("hold: 1h", "hold: 0s", "spec.capacity.schedules[0].hold", "1s to 31d"),
    ("queueDelay: 30s", "queueDelay: 2h", "spec.runner.queueDelay", "0s to 1h"),
    ("bootDeadline: 15m", "bootDeadline: 500ms", "spec.runner.bootDeadline", "1s to 1h"),
    ("bootDeadline: 15m", "maxLifetime: 5m", "spec.runner.maxLifetime", "longer than bootDeadline (5m)"),
    ("maxLifetime: 12h", "maxLifetime: 20m", "spec.runner.maxLifetime", "longer than idleTimeout"),
    ("launchTemplate: prod-linux-warm", "launchTemplate: 'arn:x'", "spec.instance.launchTemplate", "not its ARN"),
    ("[m7i.xlarge, m6i.xlarge]", "[m7i.xlarge, m7i]", "spec.instance.types[1]", "m7i.large"),
    ("[m7i.xlarge, m6i.xlarge]", "[m7i.xlarge, m7i.xlarge]", "spec.instance.types[1]", "twice"),
    ("[m7i.xlarge, m6i.xlarge]", "[]", "spec.instance.types", "required"),
    ("[m7i.xlarge, m6i.xlarge]", "[m7g.xlarge]", "spec.instance.types[0]", "m7g.xlarge is arm64"),
    ("[m7i.xlarge, m6i.xlarge]", "[m7i.xlarge, m4.xlarge]", "spec.instance.types[1]", "m4.xlarge runs on Xen"),
    ("[subnet-0a1b2c3d4e5f60001, ", "[vpc-1, ", "spec.instance.subnets[0]", "looks wrong"),
    ("market: on-demand", "market: on-demand\n    allocation: diversified", "spec.instance.allocation", "leave it out"),
    (
        "market: on-demand",
        "market: on-demand\n    breaker: {interruptions: 2}",
        "spec.instance.breaker.interruptions",
        "nothing interrupts its instances; leave breaker out",
    ),
    (
        "market: on-demand",
        "market: spot\n    breaker: {interruptions: 101}",
        "spec.instance.breaker.interruptions",
        "is 101; write 1 to 100, or 0 for no breaker",
    ),
    ("market: on-demand", "market: spot\n    breaker: {within: 0s}", "spec.instance.breaker.within", "is 0s; write 1m to 1d"),
    ("market: on-demand", "market: spot\n    breaker: {for: 2d}", "spec.instance.breaker.for", "is 2d; write 1m to 1d"),
    // Reruns and late jobs. The pool windows-x64 buys on-demand only.
    ("  priority: 50", "  priority: 50\n  rerun: {causes: [weather]}", "spec.rerun.causes[0]", "one of `interruption`"),
    ("  priority: 50", "  priority: 50\n  rerun: {attempts: 50}", "spec.rerun.attempts", "write 1 to 49"),
    ("  priority: 50", "  priority: 50\n  rerun: {within: 7h}", "spec.rerun.within", "write 1m to 6h"),
    ("market: on-demand", "market: on-demand\n  rerun: {market: on-demand}", "spec.rerun.market", "leave rerun.market out"),
    (
        "  priority: 50",
        "  priority: 50\n  startWithin: [{after: 10m, do: tell}, {after: 5m, do: cancel}]",
        "spec.startWithin[1].after",
        "is 5m, but the step before comes after 10m; write later steps last",
    ),
    (
        "  priority: 50",
        "  priority: 50\n  startWithin: [{after: 10m, do: tell}, {after: 20m, do: tell}]",
        "spec.startWithin[1].do",
        "`tell` stands here twice",
    ),
    ("  priority: 50", "  priority: 50\n  startWithin: [{after: 5s, do: tell}]", "spec.startWithin[0].after", "30s to 23h"),
    ("  priority: 50", "  priority: 50\n  startWithin: [{after: 5m, do: shout}]", "spec.startWithin[0].do", "one of `tell`"),
    (
        "market: on-demand",
        "market: on-demand\n  startWithin: [{after: 5m, do: on-demand}]",
        "spec.startWithin[0].do",
        "remove the step `on-demand`",
    ),
    (
        "  intervals:",
        "  startWithin: [{after: 5m, do: cancel}]\n  intervals:",
        "spec.startWithin[0].do",
        "`cancel` needs a pool, and these jobs have none",
    ),
    ("market: on-demand", "market: auction", "spec.instance.market", "one of `spot`, `on-demand`"),
    (
        "os: windows\n    architecture: x64\n    types: [m7i.xlarge, m6i.xlarge]",
        "os: windows\n    architecture: arm64\n    types: [m7g.xlarge]",
        "spec.instance.architecture",
        "no Windows on arm64",
    ),
    ("team: ci", "muster:pool: ci", "spec.instance.tags.muster:pool", "reserved"),
    ("version: latest", "version: v2.330.0", "spec.bootstrap.version", "2.338.1"),
    ("version: latest", "version: 2.330", "spec.bootstrap.version", "put it in quotes"),
    ("user: runner", "user: 'a b'", "spec.bootstrap.user", "1 to 32"),
    ("instance:\n    os: windows", "bootstrap: {user: ends.}\n  instance:\n    os: windows", "spec.bootstrap.user", "1 to 20"),
    (
        "instance:\n    os: windows",
        "bootstrap: {user: of-twenty-one-letters}\n  instance:\n    os: windows",
        "spec.bootstrap.user",
        "1 to 20",
    ),
    (
        "instance:\n    os: windows",
        "bootstrap: {sudo: true}\n  instance:\n    os: windows",
        "spec.bootstrap.sudo",
        "is for Linux",
    ),
    (
        "instance:\n    os: windows",
        "bootstrap: {dockerGroup: false}\n  instance:\n    os: windows",
        "spec.bootstrap.dockerGroup",
        "is for Linux",
    ),
    ("workDirectory: _work", "workDirectory: $HOME", "spec.bootstrap.workDirectory", "is no path"),
    ("/opt/hooks/started.sh", "hooks/started.sh", "spec.bootstrap.hooks.jobStarted", "absolute"),
    ("/opt/hooks/started.sh", "/opt/'$(id)'", "spec.bootstrap.hooks.jobStarted", "is no path"),
    ("https: http://proxy", "https: proxy", "spec.bootstrap.proxy.https", "http://HOST:PORT"),
    (".internal]", "a b]", "spec.bootstrap.proxy.none[1]", "is no host"),
];

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
    for (from, to, path, words) in MISTAKES {
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
