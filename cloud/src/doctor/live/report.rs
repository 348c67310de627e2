//! The report of the field test: one value, printed as JSON and as a page of text. It never contains a secret. The account's
//! number and the names of repository and owner are replaced, unless the user wants to keep them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use muster_reconciler::reason::count;
use serde::Serialize;

use super::assume::{Assumption, Stands};
use super::seen::Sight;
use crate::doctor::Finding;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Went {
    /// The step did what it should do.
    Done,
    /// GitHub, AWS or the controller refused the step.
    Refused,
    /// The step began and did not succeed.
    Failed,
    /// The step was not tried.
    Skipped,
    /// The user said no.
    Declined,
}

impl Went {
    const fn as_str(self) -> &'static str {
        match self {
            Went::Done => "done",
            Went::Refused => "refused",
            Went::Failed => "failed",
            Went::Skipped => "skipped",
            Went::Declined => "declined",
        }
    }
}

/// One step of the test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestStep {
    /// The name of the step.
    pub step: String,
    /// How the step went.
    pub went: Went,
    /// What was seen, and what to do about it where something can be done.
    pub seen: String,
}

/// When one thing happened in the test.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestStage {
    /// What happened, such as `webhook heard`.
    pub stage: &'static str,
    /// The source of the time: doctor, the controller, GitHub, EC2 or SSM.
    pub by: &'static str,
    /// The seconds after the run was asked for. None: it was not seen.
    pub after_seconds: Option<f64>,
}

/// The whole report.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldReport {
    /// The version of the report's format.
    pub format: u32,
    /// The version of the muster that made the report.
    pub version: String,
    /// The version of the muster that was tested.
    pub controller_version: String,
    /// When the test began, in RFC 3339.
    pub began: String,
    /// How long the test took, in seconds.
    pub took_seconds: u64,
    /// The AWS region of the test.
    pub region: String,
    /// What kind of pool was tested: system, architecture, lifetime, market, types and the number of zones.
    pub pool: BTreeMap<&'static str, String>,
    /// Whether every stage of the first job was seen, until its instance was gone, and every step was done.
    pub complete: bool,
    /// Why the test ended.
    pub ended: String,
    /// The steps, in order.
    pub steps: Vec<TestStep>,
    /// The stages of the first job and its instance.
    pub stages: Vec<TestStage>,
    /// The stages of the instance that was drained.
    pub drained: Vec<TestStage>,
    /// What the emulators assume, and what was seen.
    pub assumptions: Vec<Assumption>,
    /// What `muster doctor` found before the test.
    pub checks: Vec<Finding>,
}

/// The stages that every job should show.
pub(super) const RUN: &[Sight] = &[
    Sight::Dispatched,
    Sight::Queued,
    Sight::WebhookHeard,
    Sight::LaunchDecided,
    Sight::Launched,
    Sight::Ec2ShowsIt,
    Sight::Configured,
    Sight::SecretStored,
    Sight::SecretGone,
    Sight::Online,
    Sight::JobStarted,
    Sight::BusySeen,
    Sight::JobEnded,
    Sight::RegistrationGone,
    Sight::InstanceGone,
];
/// The stages that the drained instance should show.
pub(super) const DRAINED: &[Sight] = &[
    Sight::Dispatched,
    Sight::WebhookHeard,
    Sight::Launched,
    Sight::Cancelled,
    Sight::Idle,
    Sight::DrainAsked,
    Sight::InstanceGone,
];

/// The marks as stages, in the order of their times. A mark of `wanted` that was not seen stands where it belongs.
pub(super) fn stages(wanted: &[Sight], marks: &BTreeMap<Sight, u64>) -> Vec<TestStage> {
    let Some(from) = marks.get(&Sight::Dispatched) else { return Vec::new() };
    let mut all: Vec<(Sight, Option<u64>)> = marks.iter().map(|(mark, at)| (*mark, Some(*at))).collect();
    all.sort_by_key(|(mark, at)| (*at, *mark));
    for mark in wanted.iter().filter(|mark| !marks.contains_key(mark)) {
        let place = all.iter().position(|(other, _)| other > mark).unwrap_or(all.len());
        all.insert(place, (*mark, None));
    }
    let after = |at: u64| (at as f64 - *from as f64) / 1000.0;
    let stage = |(mark, at): (Sight, Option<u64>)| TestStage {
        stage: mark.as_str(),
        by: mark.source(),
        after_seconds: at.map(|at| (after(at) * 10.0).round() / 10.0),
    };
    all.into_iter().map(stage).collect()
}

/// The texts that must not be in a report that is passed on, each with its replacement.
#[derive(Clone, Debug, Default)]
pub(super) struct Hidden(pub Vec<(String, &'static str)>);

impl Hidden {
    /// Replaces these texts everywhere in the report.
    pub fn clean(&self, report: &FieldReport) -> serde_json::Value {
        let mut value = serde_json::to_value(report).unwrap_or_default();
        self.scrub(&mut value);
        value
    }

    fn scrub(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.scrub(item)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| self.scrub(field)),
            _ => {}
        }
    }

    /// Replaces these texts in one text.
    pub fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (what, instead)| {
            // An account's number may be a part of a longer name, such as a bucket's, so it is replaced anywhere. The other texts
            // are replaced only as whole words.
            let number = !what.is_empty() && what.bytes().all(|b| b.is_ascii_digit());
            if number { text.replace(what.as_str(), instead) } else { replace_words(&text, what, instead) }
        })
    }
}

/// Replaces `what` only where it is a word of its own. Otherwise an owner called `ci` would change other words.
fn replace_words(text: &str, what: &str, instead: &str) -> String {
    let (mut done, mut rest) = (String::new(), text);
    let within = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
    while let Some(at) = rest.find(what).filter(|_| !what.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + what.len()..]);
        let last = before.chars().next_back().or_else(|| done.chars().next_back());
        done += before;
        done += if within(last) || within(after.chars().next()) { what } else { instead };
        rest = after;
    }
    done + rest
}

/// The report as a page of text.
pub fn page(report: &FieldReport) -> String {
    let mut text = String::new();
    let differs = report.assumptions.iter().filter(|a| a.stands == Stands::Differs).count();
    let verdict = if report.complete { "the job ran, and nothing of it was left" } else { "not complete" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "muster field report of {}: {verdict}", report.began);
    let _ = writeln!(
        text,
        "muster {} tested {} in {}, {} s\n",
        report.version, report.controller_version, report.region, report.took_seconds
    );
    for (name, value) in &report.pool {
        let _ = writeln!(text, "  {name:<14}{value}");
    }
    let _ = writeln!(text, "  {:<14}{}", "ended", report.ended);
    text += "\nsteps\n";
    for step in &report.steps {
        let _ = writeln!(text, "  {:<9} {:<26} {}", step.went.as_str(), step.step, step.seen);
    }
    for (title, stages) in [
        ("the job and its instance, seconds after the run was asked for", &report.stages),
        ("the instance that was drained", &report.drained),
    ] {
        if stages.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for stage in stages {
            let after = stage.after_seconds.map_or_else(|| "not seen".to_owned(), |s| format!("{s:.1}"));
            let _ = writeln!(text, "  {after:>9}  {:<22} {}", stage.stage, stage.by);
        }
    }
    let _ = writeln!(text, "\nwhat the emulators assume ({differs} differ)");
    for a in &report.assumptions {
        let _ = writeln!(text, "  {:<11} {}: {}. Seen: {}", a.stands.as_str(), a.id, a.emulators, a.seen);
    }
    let bad = report.checks.iter().filter(|check| check.next.is_some());
    text += "\nwhat muster doctor found before\n";
    for check in bad {
        let _ = writeln!(text, "  {:<11} {}: {}", check.verdict.as_str(), check.check, check.seen);
    }
    let _ = writeln!(text, "  {} in all", count(report.checks.len(), "check"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_was_not_seen_stands_where_it_belongs() {
        let marks =
            [(Sight::Dispatched, 1_000), (Sight::WebhookHeard, 3_040), (Sight::Online, 41_000), (Sight::JobStarted, 40_000)]
                .into();
        let all = stages(&[Sight::WebhookHeard, Sight::Launched, Sight::JobStarted, Sight::InstanceGone], &marks);
        let told: Vec<(&str, Option<f64>)> = all.iter().map(|stage| (stage.stage, stage.after_seconds)).collect();
        let wanted = [
            ("run asked for", Some(0.0)),
            ("webhook heard", Some(2.0)),
            ("launched", None),
            ("job started", Some(39.0)),
            ("online", Some(40.0)),
            ("instance gone", None),
        ];
        assert_eq!(told, wanted);
        assert_eq!(stages(RUN, &BTreeMap::new()), []);
    }

    #[test]
    fn what_is_hidden_is_nowhere_in_the_report() {
        let step =
            TestStep { step: "job".into(), went: Went::Refused, seen: "arn:aws:iam::123456789012:role/x of acme/app".into() };
        let checks = vec![Finding::warning("queue", "https://sqs/123456789012/c1", "ask acme")];
        let report = FieldReport { steps: vec![step], checks, ended: "by 123456789012".into(), ..FieldReport::default() };
        let hidden =
            Hidden(vec![("123456789012".into(), "ACCOUNT"), ("acme/app".into(), "OWNER/NAME"), (String::new(), "never")]);
        let text = hidden.clean(&report).to_string();
        assert!(!text.contains("123456789012") && !text.contains("acme/app"), "{text}");
        assert!(text.contains("arn:aws:iam::ACCOUNT:role/x of OWNER/NAME"), "{text}");
        assert!(!hidden.text(&page(&report)).contains("123456789012"));
        assert_eq!(hidden.text("s3://prod-muster-123456789012-eu-west-1"), "s3://prod-muster-ACCOUNT-eu-west-1");
        let hidden = Hidden(vec![("ci".into(), "OWNER")]);
        assert_eq!(
            hidden.text("ci: capacity of ci/app, decided by ci-2, ci"),
            "OWNER: capacity of OWNER/app, decided by ci-2, OWNER"
        );
    }
}
