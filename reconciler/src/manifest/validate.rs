//! Checks what the types alone cannot say: ranges, required fields, references to other manifests, and contradictions. Each
//! problem says what to do about it.
//!
//! A field that was already found bad is not checked again. Nothing is called missing while there is a document that cannot be
//! read. So one mistake causes one problem.

mod bootstrap;
mod credentials;
mod pool;
mod tags;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::document::{Documents, Origin, Problem, ReadDocument};
use super::{ControllerManifest, Ignore, LateAct, LateStep, Span};
use crate::ids::{InstanceId, RunnerName};
use crate::labels::SELF_HOSTED;

/// The largest webhook that GitHub sends, in bytes. <https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>
const LARGEST_BODY: u64 = 25 << 20;

/// Adds every problem of the documents to `problems`.
pub(super) fn validate(all: &Documents, problems: &mut Vec<Problem>) {
    for read in &all.controllers {
        controller(&read.value, &mut Check { source: &read.source, problems });
    }
    for read in &all.apps {
        credentials::app(&read.value, &mut Check { source: &read.source, problems });
    }
    for read in &all.tokens {
        credentials::token(&read.value, &mut Check { source: &read.source, problems });
    }
    for read in &all.pools {
        pool::pool(&read.value, &mut Check { source: &read.source, problems });
    }
    one_controller(all, problems);
    unique("GitHubApp", &all.apps, |app| &app.metadata.name, problems);
    unique("GitHubToken", &all.tokens, |token| &token.metadata.name, problems);
    unique("RunnerPool", &all.pools, |pool| &pool.metadata.name, problems);
    credentials::exist(all, problems);
    credentials::one_server(all, problems);
    fits_controller(all, problems);
    pool::ambiguous(&all.pools, problems);
}

/// Collects the problems of one document.
struct Check<'a> {
    source: &'a Origin,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    /// Notes that a field is wrong, unless the field was already found bad.
    fn fail(&mut self, path: &str, message: impl Into<String>) {
        self.clash(&[path], message);
    }

    /// Notes that fields contradict each other, unless one of them was already found bad. The problem names the first of them
    /// that is written.
    fn clash(&mut self, paths: &[&str], message: impl Into<String>) {
        let places: Vec<_> = paths.iter().map(|path| self.source.place(path)).collect();
        if places.iter().any(|place| place.bad) {
            return;
        }
        let written = places.iter().position(|place| place.written).unwrap_or(0);
        if let Some(place) = places.into_iter().nth(written) {
            let (file, line, path) = (self.source.file.clone(), place.line, place.path);
            self.problems.push(Problem { file, line, path, message: message.into(), ..Problem::default() });
        }
    }

    fn within(&mut self, path: &str, value: Span, least: Span, most: Span) {
        if value < least || value > most {
            self.fail(path, format!("is {value}; write {least} to {most}"));
        }
    }

    /// Checks a document's own name, which has to fit into a runner's name, a tag and a launch template's name.
    fn name(&mut self, name: &str) {
        if name.is_empty() {
            self.fail("metadata.name", "required: a name of lower-case letters, digits and `-`");
        } else if !is_name(name) {
            let rule = "write lower-case letters, digits and `-`, beginning and ending with a letter or digit";
            self.fail("metadata.name", format!("`{name}` is no name; {rule}"));
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.ends_with(plain) && name.chars().all(|c| plain(c) || c == '-')
}

/// Whether a text is the name of a host, without a port. <https://datatracker.ietf.org/doc/html/rfc1123#section-2.1>
fn is_host(text: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// Whether a text is an http or https URL with a host, without strange characters and without credentials.
fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let host_ok = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    // Behind a bracket there is a port or nothing. `[::1].example.com` is another host than `[::1]`.
    let bracket_ok = host
        .strip_prefix('[')
        .is_none_or(|inner| inner.split_once(']').is_some_and(|(_, behind)| behind.is_empty() || behind.starts_with(':')));
    bracket_ok
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && host.chars().all(host_ok)
        && rest.chars().all(|c| c.is_ascii_graphic())
}

/// Whether a text is the ARN of a KMS key. An alias could come to mean another key, which IAM's policies do not name.
fn is_key(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    matches!(parts[..], ["arn", _, "kms", _, _, name] if name.strip_prefix("key/").is_some_and(|id| !id.is_empty()))
        && text.chars().all(|c| c.is_ascii_graphic())
}

/// Whether others can read what is sent to this URL: there is no TLS, and the host is not this machine.
fn in_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let here = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    !here
}

fn controller(controller: &ControllerManifest, check: &mut Check<'_>) {
    let spec = &controller.spec;
    check.name(&controller.metadata.name);
    if spec.region.as_ref().is_some_and(|region| !is_name(region) || !region.contains('-')) {
        check.fail("spec.region", "is no AWS region; write one such as eu-west-1, or leave it out");
    }
    let bucket_ok = |b: &String| (3..=63).contains(&b.len()) && b.split('.').all(is_name);
    if spec.bucket.as_ref().is_some_and(|bucket| !bucket_ok(bucket)) {
        check.fail("spec.bucket", "is no bucket's name; write the bare name (3 to 63 lower-case letters, digits, `-` and `.`)");
    }
    if spec.secrets_key.as_ref().is_some_and(|key| !is_key(key)) {
        let write = "write one such as arn:aws:kms:eu-west-1:123456789012:key/..., or leave it out";
        check.fail("spec.secretsKey", format!("is no ARN of a KMS key; {write}"));
    }
    kept_in_bucket(controller, check);
    queues(controller, check);
    listeners(controller, check);
    let most = |secs| (Span::millis(200), Span::secs(secs));
    for (path, value, (least, most)) in [
        ("spec.intervals.instances", spec.intervals.instances, most(300)),
        ("spec.intervals.runners", spec.intervals.runners, most(900)),
        ("spec.intervals.secrets", spec.intervals.secrets, most(86_400)),
        ("spec.intervals.deliveries", spec.intervals.deliveries, most(3600)),
        ("spec.intervals.plan", spec.intervals.plan, most(300)),
        ("spec.intervals.settle", spec.intervals.settle, most(300)),
    ] {
        check.within(path, value, least, most);
    }
    for (path, value) in [
        ("spec.limits.ssmPutPerSecond", spec.limits.ssm_put_per_second),
        ("spec.limits.jitPerMinute", spec.limits.jit_per_minute),
        ("spec.limits.createFleetPerSecond", spec.limits.create_fleet_per_second),
    ] {
        if !(value > 0.0 && value <= 100_000.0) {
            check.fail(path, format!("is {value}; write a number above 0 and up to 100000"));
        }
    }
    ignore(&spec.ignore, check);
    controller_start_within(&spec.start_within, check);
    tags::tags("spec.tags", &spec.tags, check);
    tags::count("spec.tags", spec.tags.len(), check);
}

/// Checks the steps of a `startWithin`.
fn ladder(steps: &[LateStep], check: &mut Check<'_>) {
    for (i, step) in steps.iter().enumerate() {
        let path = |field: &str| format!("spec.startWithin[{i}].{field}");
        // GitHub drops a job that no runner took for 24 hours.
        check.within(&path("after"), step.after, Span::secs(30), Span::secs(23 * 3600));
        let before = i.checked_sub(1).and_then(|i| steps.get(i)).map(|before| before.after);
        if let Some(before) = before.filter(|before| step.after < *before) {
            check.fail(
                &path("after"),
                format!("is {}, but the step before comes after {before}; write later steps last", step.after),
            );
        }
        if steps.iter().take(i).any(|other| other.act == step.act) {
            check.fail(&path("do"), format!("`{}` stands here twice; keep one", step.act));
        }
    }
}

fn controller_start_within(steps: &[LateStep], check: &mut Check<'_>) {
    ladder(steps, check);
    for (i, step) in steps.iter().enumerate().filter(|(_, step)| step.act != LateAct::Tell) {
        let message =
            format!("`{}` needs a pool, and these jobs have none; write `tell`, or write the step in a RunnerPool", step.act);
        check.fail(&format!("spec.startWithin[{i}].do"), message);
    }
}

fn ignore(ignore: &Ignore, check: &mut Check<'_>) {
    for (i, label) in ignore.labels.iter().enumerate() {
        let path = format!("spec.ignore.labels[{i}]");
        if label.trim().is_empty() {
            check.fail(&path, "is empty; write a label or remove it");
        } else if label.trim() != label {
            check.fail(&path, format!("`{label}` has a space around it, so no job has this label; remove the space"));
        } else if label.eq_ignore_ascii_case(SELF_HOSTED) {
            check.fail(
                &path,
                format!("`{label}` would ignore every job that no pool takes; write a label that only others' jobs have"),
            );
        }
    }
    for (i, pattern) in ignore.repositories.iter().enumerate() {
        let path = format!("spec.ignore.repositories[{i}]");
        match pool::repository(pattern) {
            None => check.fail(&path, format!("`{pattern}` {}", pool::NO_REPOSITORY)),
            Some((owner, _)) if owner.chars().all(|c| c == '*') => {
                check.fail(&path, format!("`{pattern}` would ignore every job that no pool takes; name the owner"));
            }
            Some(_) => {}
        }
    }
}

fn kept_in_bucket(controller: &ControllerManifest, check: &mut Check<'_>) {
    let sync = &controller.spec.sync;
    api_url("spec.sync.releases", &sync.releases, "write https://api.github.com or a mirror of it", check);
    if sync.every != Span::default() {
        check.within("spec.sync.every", sync.every, Span::secs(1), Span::secs(7 * 86_400));
    }
    if controller.spec.lease && controller.spec.bucket.is_none() {
        check
            .fail("spec.lease", "needs `spec.bucket`, because the lease is an object there; write the bucket, or remove `lease`");
    }
    let to = controller.spec.record.to.as_deref();
    let bucket = |to: &str| to.strip_prefix("s3://").is_some_and(|rest| !rest.starts_with('/') && !rest.is_empty());
    if to.is_some_and(|to| !to.starts_with('/') && !bucket(to)) {
        check.fail("spec.record.to", "is no place for a record; write s3://BUCKET/PREFIX, or a directory that begins with /");
    }
    let usage = &controller.spec.usage;
    if usage.every != Span::default() {
        check.within("spec.usage.every", usage.every, Span::secs(1), Span::secs(3600));
    }
}

fn api_url(path: &str, url: &str, way_out: &str, check: &mut Check<'_>) {
    if !is_url(url) {
        check.fail(path, format!("is no URL; {way_out}"));
    } else if url.ends_with('/') {
        check.fail(path, format!("ends with a slash; write {}", url.trim_end_matches('/')));
    } else if in_clear(url) {
        let message = format!(
            "is http://, which others on the way can read and change; write {} (http:// is for this machine only, such as \
             http://127.0.0.1:8080)",
            url.replacen("http://", "https://", 1)
        );
        check.fail(path, message);
    }
}

fn queues(controller: &ControllerManifest, check: &mut Check<'_>) {
    let queues = &controller.spec.queues;
    const EXAMPLE: &str = "write the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/muster-jobs";
    let named = [
        ("spec.queues.jobs", Some(&queues.jobs)),
        ("spec.queues.deadLetters", queues.dead_letters.as_ref()),
        ("spec.queues.ec2Events", queues.ec2_events.as_ref()),
    ];
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, url) in named.into_iter().filter_map(|(path, url)| url.map(|url| (path, url))) {
        if url.is_empty() {
            check.fail(path, format!("required: {EXAMPLE}"));
        } else if !is_url(url) {
            check.fail(path, format!("is no URL; {EXAMPLE}"));
        } else if let Some(first) = seen.insert(url, path) {
            check.clash(&[path, first], format!("is the same queue as {first}; give each its own"));
        }
    }
}

fn listeners(controller: &ControllerManifest, check: &mut Check<'_>) {
    let listen = &controller.spec.listen;
    let webhook = listen.webhook.parse::<SocketAddr>();
    let admin = listen.admin.parse::<SocketAddr>();
    for (path, address) in [("spec.listen.webhook", &webhook), ("spec.listen.admin", &admin)] {
        if address.is_err() {
            check.fail(path, "is no address; write IP:PORT, such as 127.0.0.1:9090, 0.0.0.0:8080 or [::1]:9090");
        }
    }
    if let (Ok(a), Ok(b)) = (&webhook, &admin)
        && a == b
        && a.port() != 0
    {
        let message = "webhook and admin listen on the same address; the admin listener is private, give it its own port";
        check.clash(&["spec.listen.admin", "spec.listen.webhook"], message);
    }
    for (i, host) in listen.admin_hosts.iter().enumerate() {
        if !is_host(host) {
            let message = format!("`{host}` is no host's name; write the name alone, such as muster.example.com, without a port");
            check.fail(&format!("spec.listen.adminHosts[{i}]"), message);
        }
    }
    if listen.view_token.is_some() && listen.view_token == listen.admin_token {
        let message = "is the token of adminToken, so whoever looks could give orders, too; give each its own";
        check.clash(&["spec.listen.viewToken", "spec.listen.adminToken"], message);
    }
    if !(1..=LARGEST_BODY).contains(&listen.max_body) {
        check.fail(
            "spec.listen.maxBody",
            format!("is {}; write 1 to {LARGEST_BODY} bytes (GitHub sends no more)", listen.max_body),
        );
    }
}

fn one_controller(all: &Documents, problems: &mut Vec<Problem>) {
    match &all.controllers[..] {
        [] if !all.unreadable => problems.push(Problem {
            message: "no manifest of kind Controller; add one (it names the cluster and its queues)".into(),
            ..Problem::default()
        }),
        [first, others @ ..] => {
            for other in others {
                let place = first.source.place("");
                let message = format!("a second Controller; the first is at {}:{}: keep one", first.source.file, place.line);
                let at = other.source.place("");
                problems.push(Problem {
                    file: other.source.file.clone(),
                    line: at.line,
                    path: "kind".into(),
                    message,
                    ..Problem::default()
                });
            }
        }
        [] => {}
    }
}

fn unique<T>(kind: &str, reads: &[ReadDocument<T>], name: impl Fn(&T) -> &String, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, &Origin> = BTreeMap::new();
    for read in reads.iter().filter(|read| !name(&read.value).is_empty()) {
        match seen.get(name(&read.value).as_str()) {
            Some(first) => {
                let (name, line) = (name(&read.value), first.place("metadata.name").line);
                let message = format!("{kind} {name} is defined already, at {}:{line}; rename or remove one", first.file);
                Check { source: &read.source, problems }.fail("metadata.name", message);
            }
            None => drop(seen.insert(name(&read.value), &read.source)),
        }
    }
}

/// Checks what each pool has in common with the Controller: the names of runners, and the tags.
fn fits_controller(all: &Documents, problems: &mut Vec<Problem>) {
    let [controller] = &all.controllers[..] else { return };
    let cluster = controller.value.cluster();
    for ReadDocument { value, source } in &all.pools {
        let mut check = Check { source, problems };
        tags::together(&controller.value.spec.tags, &value.spec.instance.tags, &mut check);
        if !is_name(cluster) || !is_name(&value.metadata.name) {
            continue;
        }
        let instance = InstanceId::from("i-0123456789abcdef0");
        let runner = RunnerName { cluster: cluster.into(), pool: value.metadata.name.as_str().into(), instance };
        let over = runner.to_string().len().saturating_sub(RunnerName::MAX_LEN);
        if over > 0 {
            let most = RunnerName::MAX_LEN;
            let message = format!("its runners' names ({runner}) would pass GitHub's {most} characters; shorten it by {over}");
            check.fail("metadata.name", message);
        }
    }
}
