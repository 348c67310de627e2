//! Checks RunnerPools: each pool alone, and the pools beside each other.

use std::collections::BTreeMap;

use super::Check;
use super::bootstrap::bootstrap;
use crate::ids::Scope;
use crate::manifest::document::{Origin, Problem, ReadDocument};
use crate::manifest::fits;
use crate::manifest::{Allocation, Architecture, LateAct, Lifetime, MarketPolicy, Os, RerunMarket, RunnerPool, Span, schedule};

/// The most labels that GitHub takes in one JIT request (`generate-jitconfig`, `labels.maxItems`). `LONGEST_LABEL` is the most
/// characters of one label.
const MOST_LABELS: usize = 100;
const LONGEST_LABEL: usize = 256;
/// The most overrides that EC2 takes in one CreateFleet. AWS documents this limit for fleets of type `request` and `maintain`;
/// muster keeps it for fleets of type `instant`, too.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetLaunchTemplateConfigRequest.html>
const MOST_OFFERINGS: usize = 300;

pub(super) fn pool(pool: &RunnerPool, check: &mut Check<'_>) {
    check.name(&pool.metadata.name);
    github(pool, check);
    labels(pool, check);
    capacity(pool, check);
    runner(pool, check);
    instance(pool, check);
    bootstrap(&pool.spec.bootstrap, pool.spec.instance.os, check);
}

fn github(pool: &RunnerPool, check: &mut Check<'_>) {
    let github = &pool.spec.github;
    super::credentials::named(github, check);
    if github.scope == Scope::default() {
        check.fail("spec.github.scope", "required: org/NAME, repo/OWNER/NAME or enterprise/NAME");
    }
    let group = github.runner_group.as_str();
    if group.trim().is_empty() {
        check.fail("spec.github.runnerGroup", "is empty; write a runner group's name, or leave it out for Default");
    } else if matches!(github.scope, Scope::Repo(..)) && group != "Default" {
        let message = "a repository has no runner groups; leave it out, or use the scope org/NAME";
        check.clash(&["spec.github.runnerGroup", "spec.github.scope"], message);
    }
    for (i, pattern) in github.repositories.iter().enumerate() {
        let path = format!("spec.github.repositories[{i}]");
        match repository(pattern) {
            Some((owner, name)) => {
                if !can_match(&github.scope, owner, name) {
                    let message = format!("`{pattern}` matches nothing in {}; mend it or leave it out", github.scope);
                    check.clash(&[&path, "spec.github.scope"], message);
                }
            }
            None => check.fail(&path, format!("`{pattern}` {NO_REPOSITORY}")),
        }
        if github.repositories[..i].contains(pattern) {
            check.fail(&path, format!("`{pattern}` stands here twice; keep one"));
        }
    }
}

/// What is wrong with a text that is no pattern of a repository.
pub(super) const NO_REPOSITORY: &str = "is no repository; write OWNER/NAME, `*` stands for any characters";

/// The two parts of a pattern for repositories. None: it is none.
pub(super) fn repository(pattern: &str) -> Option<(&str, &str)> {
    let part_ok = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.*".contains(c));
    pattern.split_once('/').filter(|(owner, name)| part_ok(owner) && part_ok(name))
}

fn can_match(scope: &Scope, owner: &str, name: &str) -> bool {
    match scope {
        Scope::Org(org) => fits(owner, org),
        Scope::Repo(o, n) => fits(owner, o) && fits(name, n),
        Scope::Enterprise(_) => true,
    }
}

fn labels(pool: &RunnerPool, check: &mut Check<'_>) {
    let labels = &pool.spec.labels;
    if labels.is_empty() {
        check.fail("spec.labels", "required: at least one label, such as self-hosted");
    }
    if labels.len() > MOST_LABELS {
        check.fail("spec.labels", format!("{} labels; GitHub admits {MOST_LABELS}", labels.len()));
    }
    for (i, label) in labels.iter().enumerate() {
        let path = format!("spec.labels[{i}]");
        if label.trim().is_empty() {
            check.fail(&path, "is empty; write a label or remove it");
        } else if label.chars().count() > LONGEST_LABEL {
            check.fail(&path, format!("is longer than GitHub's {LONGEST_LABEL} characters; shorten it"));
        } else if label.trim() != label || label.contains([',', '\n', '\t']) {
            check.fail(&path, format!("`{label}` is no label: no comma, line break or space around it; write a list of labels"));
        } else if labels[..i].iter().any(|other| other.eq_ignore_ascii_case(label)) {
            check.fail(&path, format!("`{label}` stands here twice (case does not count); keep one"));
        }
    }
}

fn capacity(pool: &RunnerPool, check: &mut Check<'_>) {
    let capacity = &pool.spec.capacity;
    let max = capacity.max;
    if capacity.per_repository == Some(0) {
        check.fail("spec.capacity.perRepository", "is 0, so no job would get a runner; write 1 or more, or leave it out");
    }
    if capacity.idle > max {
        let message = format!("idle is {} but max is {max}; lower idle or raise max", capacity.idle);
        check.clash(&["spec.capacity.idle", "spec.capacity.max"], message);
    }
    for (i, at) in capacity.schedules.iter().enumerate() {
        let path = |field: &str| format!("spec.capacity.schedules[{i}].{field}");
        if at.cron.is_empty() {
            check.fail(&path("cron"), "required: five-field cron, such as `0 8-18 * * MON-FRI`");
        } else if let Err(error) = schedule::check(&at.cron) {
            check.fail(&path("cron"), format!("`{}` {error}; write five fields, such as `0 8-18 * * MON-FRI`", at.cron));
        }
        if at.timezone.parse::<chrono_tz::Tz>().is_err() {
            let message = format!("`{}` is no time zone; write an IANA name, such as Europe/Amsterdam or UTC", at.timezone);
            check.fail(&path("timezone"), message);
        }
        check.within(&path("hold"), at.hold, Span::secs(1), Span::secs(31 * 86_400));
        if at.idle > max {
            let message = format!("idle is {} but max is {max}; lower idle or raise max", at.idle);
            check.clash(&[&path("idle"), "spec.capacity.max"], message);
        }
    }
}

fn runner(pool: &RunnerPool, check: &mut Check<'_>) {
    let runner = &pool.spec.runner;
    const HOUR: u64 = 3600;
    for (path, value, most) in [
        ("spec.runner.bootDeadline", runner.boot_deadline, HOUR),
        ("spec.runner.idleTimeout", runner.idle_timeout, 24 * HOUR),
        ("spec.runner.maxLifetime", runner.max_lifetime, 30 * 24 * HOUR),
    ] {
        check.within(path, value, Span::secs(1), Span::secs(most));
    }
    if let Some(delay) = runner.queue_delay {
        check.within("spec.runner.queueDelay", delay, Span::secs(0), Span::secs(HOUR));
    }
    if let Some(after) = pool.spec.overflow.after {
        check.within("spec.overflow.after", after, Span::secs(0), Span::secs(86_400));
    }
    rerun(pool, check);
    start_within(pool, check);
    if runner.lifetime == Lifetime::Reusable && matches!(pool.spec.github.scope, Scope::Enterprise(_)) {
        let message = "a reusable runner registers by a token, and an enterprise's token registers runners of any name, label and \
                       group in the whole enterprise until GitHub lets it expire; use `ephemeral`, or register at org/NAME with \
                       a GitHubApp";
        check.clash(&["spec.runner.lifetime", "spec.github.scope"], message);
    }
    let (lifetime, boot, idle) = (runner.max_lifetime, runner.boot_deadline, runner.idle_timeout);
    if lifetime <= boot {
        let message =
            format!("maxLifetime ({lifetime}) must be longer than bootDeadline ({boot}), or no instance lives to take a job");
        check.clash(&["spec.runner.maxLifetime", "spec.runner.bootDeadline"], message);
    } else if runner.lifetime == Lifetime::Reusable && lifetime <= idle {
        let message =
            format!("maxLifetime ({lifetime}) must be longer than idleTimeout ({idle}), or an idle runner never drains");
        check.clash(&["spec.runner.maxLifetime", "spec.runner.idleTimeout"], message);
    }
}

/// The most attempts of a run at GitHub.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
const MOST_ATTEMPTS: u32 = 50;

fn rerun(pool: &RunnerPool, check: &mut Check<'_>) {
    let rerun = &pool.spec.rerun;
    // SQS hides a message for 12 hours in all, and the message of the job's end stays on the queue until the job runs again.
    check.within("spec.rerun.within", rerun.within, Span::secs(60), Span::secs(6 * 3600));
    if !(1..MOST_ATTEMPTS).contains(&rerun.attempts) {
        let message =
            format!("is {}; write 1 to {} (GitHub runs a run {MOST_ATTEMPTS} times at most)", rerun.attempts, MOST_ATTEMPTS - 1);
        check.fail("spec.rerun.attempts", message);
    }
    if rerun.market == RerunMarket::OnDemand && pool.spec.instance.market == MarketPolicy::OnDemand {
        check.clash(&["spec.rerun.market", "spec.instance.market"], "the pool buys on-demand only; leave rerun.market out");
    }
}

fn start_within(pool: &RunnerPool, check: &mut Check<'_>) {
    super::ladder(&pool.spec.start_within, check);
    let on_demand = pool.spec.start_within.iter().position(|step| step.act == LateAct::OnDemand);
    if let Some(i) = on_demand.filter(|_| pool.spec.instance.market == MarketPolicy::OnDemand) {
        let message = "the pool buys on-demand only; remove the step `on-demand`";
        check.clash(&[&format!("spec.startWithin[{i}].do"), "spec.instance.market"], message);
    }
}

fn instance(pool: &RunnerPool, check: &mut Check<'_>) {
    let instance = &pool.spec.instance;
    let template_ok = |name: &String| {
        (3..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "()./_-".contains(c))
    };
    if instance.launch_template.as_ref().is_some_and(|name| !template_ok(name)) {
        let message = "is no launch template's name (3 to 128 letters, digits and ()./-_); write its name, not its ARN";
        check.fail("spec.instance.launchTemplate", message);
    }
    each(check, "types", &instance.types, "an instance type, such as m7i.large", is_instance_type);
    each(check, "subnets", &instance.subnets, "a subnet's id, such as subnet-0123456789abcdef0", |subnet| {
        subnet.strip_prefix("subnet-").is_some_and(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()))
    });
    let offerings = instance.types.len() * instance.subnets.len();
    if offerings > MOST_OFFERINGS {
        let (types, subnets) = (instance.types.len(), instance.subnets.len());
        let message = format!("{types} types x {subnets} subnets are {offerings} offerings; CreateFleet takes {MOST_OFFERINGS}");
        check.clash(&["spec.instance.types", "spec.instance.subnets"], message);
    }
    for (i, name) in instance.types.iter().enumerate().filter(|(_, name)| is_instance_type(name)) {
        let (wants, is) = (instance.architecture, architecture_of(name));
        if wants != is {
            let word = |a| if a == Architecture::X64 { "x64" } else { "arm64" };
            let message = format!("{name} is {}, but the pool's architecture is {}; mend one", word(is), word(wants));
            check.clash(&[&format!("spec.instance.types[{i}]"), "spec.instance.architecture"], message);
        }
    }
    for (i, name) in instance.types.iter().enumerate().filter(|(_, name)| is_xen(name)) {
        let message = format!(
            "{name} runs on Xen: AWS has promised only for Nitro that a running instance sees a new tag, and by a tag muster asks a \
             runner to end; write a Nitro type, such as {}",
            nitro_for(instance.architecture)
        );
        check.fail(&format!("spec.instance.types[{i}]"), message);
    }
    if instance.os == Os::Windows && instance.architecture == Architecture::Arm64 {
        let message = "EC2 has no Windows on arm64; write x64, or os: linux";
        check.clash(&["spec.instance.architecture", "spec.instance.os"], message);
    }
    if instance.market == MarketPolicy::OnDemand && instance.allocation != Allocation::default() {
        let message = "allocation chooses among spot offerings, and this pool buys none; leave it out";
        check.clash(&["spec.instance.allocation", "spec.instance.market"], message);
    }
    breaker(pool, check);
    super::tags::tags("spec.instance.tags", &instance.tags, check);
}

/// The most interruptions that a breaker may count.
const MOST_INTERRUPTIONS: u32 = 100;

fn breaker(pool: &RunnerPool, check: &mut Check<'_>) {
    let breaker = &pool.spec.instance.breaker;
    if breaker.interruptions > MOST_INTERRUPTIONS {
        let message = format!("is {}; write 1 to {MOST_INTERRUPTIONS}, or 0 for no breaker", breaker.interruptions);
        check.fail("spec.instance.breaker.interruptions", message);
    }
    for (field, value) in [("within", breaker.within), ("for", breaker.open_for)] {
        check.within(&format!("spec.instance.breaker.{field}"), value, Span::secs(60), Span::secs(86_400));
    }
    if breaker.interruptions > 0 && pool.spec.instance.market == MarketPolicy::OnDemand {
        let message = "the pool buys on-demand only, and nothing interrupts its instances; leave breaker out";
        check.clash(&["spec.instance.breaker.interruptions", "spec.instance.market"], message);
    }
}

/// Checks a list that may not be empty. Each item must look right, and no item may come twice.
fn each(check: &mut Check<'_>, field: &str, list: &[String], what: &str, looks_right: impl Fn(&str) -> bool) {
    let path = format!("spec.instance.{field}");
    if list.is_empty() {
        check.fail(&path, format!("required: at least one; write {what}"));
    }
    for (i, one) in list.iter().enumerate() {
        if !looks_right(one) {
            check.fail(&format!("{path}[{i}]"), format!("`{one}` looks wrong; write {what}"));
        } else if list[..i].contains(one) {
            check.fail(&format!("{path}[{i}]"), format!("{one} stands here twice; keep one"));
        }
    }
}

fn is_instance_type(name: &str) -> bool {
    let part_ok = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    name.split_once('.').is_some_and(|(family, size)| part_ok(family) && part_ok(size))
}

/// The families whose hypervisor is Xen, as EC2's DescribeInstanceTypes says, and older families that it does not list any more.
/// New families are Nitro, and so is bare metal (`i3.metal`). `muster doctor` asks EC2 itself.
const XEN: [&str; 29] = [
    "c1", "c3", "c4", "cc1", "cc2", "cg1", "cr1", "d2", "f1", "g2", "g3", "g3s", "h1", "hi1", "hs1", "i2", "i3", "m1", "m2",
    "m3", "m4", "p2", "p3", "r3", "r4", "t1", "t2", "x1", "x1e",
];

/// Whether the type's hypervisor is Xen. For years, AWS's user guide (`Using_Tags.html`) said this: the metadata of a running
/// instance shows a new tag only on Nitro, and on other types only after a stop and a start. The page that replaced it says
/// neither this nor that it has changed. So muster launches no Xen type until somebody has seen that a running Xen instance sees
/// a drain.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html>
fn is_xen(name: &str) -> bool {
    name.split_once('.').is_some_and(|(family, size)| XEN.contains(&family) && !size.starts_with("metal"))
}

const fn nitro_for(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X64 => "m7i.large",
        Architecture::Arm64 => "m7g.large",
    }
}

/// The architecture of an instance type, by AWS's naming. A `g` after the generation means Graviton. `a1` and Apple silicon are
/// arm64, too.
/// <https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>
fn architecture_of(instance_type: &str) -> Architecture {
    let family = instance_type.split('.').next().unwrap_or_default();
    let series = family.trim_end_matches(|c: char| c != '-').trim_end_matches('-');
    let family = if series.is_empty() { family } else { series };
    let options = family.trim_start_matches(|c: char| !c.is_ascii_digit());
    if family == "a1" || family.starts_with("mac2") || options.contains('g') { Architecture::Arm64 } else { Architecture::X64 }
}

/// Finds pools that differ in nothing but their name. Otherwise the alphabet would decide which of them takes a job.
pub(super) fn ambiguous(pools: &[ReadDocument<RunnerPool>], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<String, (&str, &Origin)> = BTreeMap::new();
    for ReadDocument { source, value: pool } in pools {
        let spec = &pool.spec;
        let sorted = |list: &[String]| {
            let mut list: Vec<String> = list.iter().map(|item| item.to_ascii_lowercase()).collect();
            list.sort();
            list.join(",")
        };
        let doubtful = ["spec.github.scope", "spec.github.repositories", "spec.labels", "spec.matching", "spec.priority"]
            .iter()
            .any(|path| source.place(path).bad);
        if doubtful || spec.labels.is_empty() || spec.github.scope == Scope::default() {
            continue;
        }
        let scope = spec.github.scope.to_string().to_ascii_lowercase();
        let (labels, repositories) = (sorted(&spec.labels), sorted(&spec.github.repositories));
        let key = format!("{scope}\n{labels}\n{:?}\n{}\n{repositories}", spec.matching, spec.priority);
        match seen.get(&key) {
            // A name that is used twice is a problem of its own.
            Some((name, first)) if *name != pool.metadata.name => {
                let line = first.place("spec.labels").line;
                let message = format!(
                    "pool {name} ({}:{line}) takes the same jobs at the same priority; give one another priority, labels or repositories",
                    first.file
                );
                Check { source, problems }.fail("spec.labels", message);
            }
            Some(_) => {}
            None => drop(seen.insert(key, (&pool.metadata.name, source))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xen_types_are_told_from_nitro_ones() {
        for name in
            ["t2.micro", "m4.large", "c4.8xlarge", "r4.large", "i3.large", "p3.2xlarge", "g3.4xlarge", "x1e.xlarge", "f1.2xlarge"]
        {
            assert!(is_xen(name), "{name}");
        }
        for name in [
            "i3.metal",
            "i3en.large",
            "p3dn.24xlarge",
            "t3.micro",
            "m5.large",
            "x2gd.large",
            "d3.xlarge",
            "f2.6xlarge",
            "u-6tb1.metal",
        ] {
            assert!(!is_xen(name), "{name}");
        }
    }

    #[test]
    fn the_architecture_is_in_the_types_name() {
        for name in [
            "m7g.large",
            "c7gn.xlarge",
            "a1.medium",
            "t4g.nano",
            "im4gn.large",
            "is4gen.large",
            "g5g.xlarge",
            "x2gd.metal",
            "mac2-m2.metal",
        ] {
            assert_eq!(architecture_of(name), Architecture::Arm64, "{name}");
        }
        for name in [
            "m7i.large",
            "m7i-flex.large",
            "g4dn.xlarge",
            "g6.xlarge",
            "gr6.4xlarge",
            "u-6tb1.metal",
            "u7i-12tb.224xlarge",
            "p4d.24xlarge",
            "c7a.large",
        ] {
            assert_eq!(architecture_of(name), Architecture::X64, "{name}");
        }
    }
}
