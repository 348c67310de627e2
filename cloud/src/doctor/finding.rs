//! What a check found: a verdict, what the check looked at, and what to do next.

use muster_reconciler::failure::{Failure, FailureKind};
use serde::Serialize;

use crate::aws::CallError;

/// The longest text of AWS or GitHub that a finding repeats, in characters.
const LONGEST: usize = 400;

/// How good or bad a finding is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything is as it should be.
    Ok,
    /// The check could not be made. This says nothing of muster.
    NotChecked,
    /// muster runs, but something is not as it should be.
    Warning,
    /// muster cannot do its work like this.
    Failed,
}

impl Verdict {
    /// The verdict in words, for tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::NotChecked => "not checked",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        }
    }
}

/// One line of doctor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was checked, such as `queue jobs`.
    pub check: String,
    /// How good or bad the finding is.
    pub verdict: Verdict,
    /// What the check saw.
    pub seen: String,
    /// What to do about it. Every verdict except [`Verdict::Ok`] has one.
    pub next: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, check: impl Into<String>, seen: &str, next: Option<String>) -> Finding {
        Finding { check: check.into(), verdict, seen: short(seen), next }
    }

    /// A finding that everything is as it should be.
    pub fn ok(check: impl Into<String>, seen: impl AsRef<str>) -> Finding {
        Finding::new(Verdict::Ok, check, seen.as_ref(), None)
    }

    /// A finding that something is not as it should be, although muster runs.
    pub fn warning(check: impl Into<String>, seen: impl AsRef<str>, next: impl Into<String>) -> Finding {
        Finding::new(Verdict::Warning, check, seen.as_ref(), Some(next.into()))
    }

    /// A finding that prevents muster from doing its work.
    pub fn failed(check: impl Into<String>, seen: impl AsRef<str>, next: impl Into<String>) -> Finding {
        Finding::new(Verdict::Failed, check, seen.as_ref(), Some(next.into()))
    }

    /// A finding that the check could not be made.
    pub fn unchecked(check: impl Into<String>, seen: impl AsRef<str>, next: impl Into<String>) -> Finding {
        Finding::new(Verdict::NotChecked, check, seen.as_ref(), Some(next.into()))
    }

    /// The finding when a call that muster itself makes failed. `action` is the call's name in IAM. `next` is what to do if
    /// neither IAM nor the connection is the cause.
    pub fn call_failed(check: impl Into<String>, failure: &Failure, action: &str, next: &str) -> Finding {
        Finding::failed(check, &failure.message, way_out(failure, action, next))
    }

    /// The finding when a call that only doctor makes failed. If IAM refuses the call, this says nothing of muster.
    pub(crate) fn look_failed(check: impl Into<String>, error: &CallError, action: &str, next: &str) -> Finding {
        if is_refusal(&error.failure) {
            let seen = format!("whoever runs this may not {action}, which only doctor needs");
            return Finding::unchecked(check, seen, format!("allow {action} to see it"));
        }
        Finding::call_failed(check, &error.failure, action, next)
    }
}

/// Collects what is wrong with one thing, and makes one finding of it.
#[derive(Debug, Default)]
pub struct Complaints {
    facts: Vec<String>,
    wrong: Vec<(Verdict, String, String)>,
}

impl Complaints {
    /// Adds a fact, which is told if nothing is wrong.
    pub fn fact(&mut self, text: impl Into<String>) {
        self.facts.push(text.into());
    }

    /// Adds something that is not as it should be, and what to do about it.
    pub fn warn(&mut self, seen: impl Into<String>, next: impl Into<String>) {
        self.wrong.push((Verdict::Warning, seen.into(), next.into()));
    }

    /// Adds something that prevents muster from doing its work, and what to do about it.
    pub fn fail(&mut self, seen: impl Into<String>, next: impl Into<String>) {
        self.wrong.push((Verdict::Failed, seen.into(), next.into()));
    }

    /// Makes one finding of everything that was added. Its verdict is the worst one.
    pub fn finding(self, check: impl Into<String>) -> Finding {
        let Some(verdict) = self.wrong.iter().map(|(verdict, ..)| *verdict).max() else {
            return Finding::ok(check, self.facts.join(", "));
        };
        let seen: Vec<&str> = self.wrong.iter().map(|(_, seen, _)| seen.as_str()).collect();
        let mut next: Vec<&str> = self.wrong.iter().map(|(.., next)| next.as_str()).collect();
        next.dedup();
        Finding::new(verdict, check, &seen.join("; "), Some(next.join("; ")))
    }
}

/// What to do about a call that failed.
pub fn way_out(failure: &Failure, action: &str, next: &str) -> String {
    match failure.kind {
        _ if is_refusal(failure) => format!("allow {action} to the controller's role, or run doctor with that role"),
        FailureKind::Unavailable | FailureKind::Ambiguous => {
            "see that this machine has credentials and a way there (region, network, proxy, endpoint), and run doctor again"
                .into()
        }
        FailureKind::Throttled => "run doctor again in a minute".into(),
        _ => next.to_owned(),
    }
}

/// Whether IAM refused the call. <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
pub fn is_refusal(failure: &Failure) -> bool {
    const CODES: [&str; 5] = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Forbidden", "NotAuthorized"];
    failure.kind == FailureKind::Refused && failure.code.as_deref().is_some_and(|code| CODES.contains(&code))
}

/// The text on one line and cut, without what AWS adds for machines, and without what the SDK adds for its developers.
fn short(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let ends = [" Encoded authorization failure message", " (DispatchFailure(", " (ConstructionFailure(", " (TimeoutError("];
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let cut: String = text[..end].chars().take(LONGEST).collect();
    if cut.len() < end { cut + "..." } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_mark_decides_and_every_way_out_is_told_once() {
        let mut marks = Complaints::default();
        marks.fact("3 messages");
        assert_eq!(marks.finding("queue").verdict, Verdict::Ok);
        let mut marks = Complaints::default();
        marks.warn("not encrypted", "switch it on");
        marks.fail("a FIFO queue", "make another");
        marks.fail("too small", "make another");
        let found = marks.finding("queue");
        assert_eq!((found.verdict, found.seen.as_str()), (Verdict::Failed, "not encrypted; a FIFO queue; too small"));
        assert_eq!(found.next.as_deref(), Some("switch it on; make another"));
    }

    #[test]
    fn what_only_doctor_needs_may_be_refused() {
        let error = |kind, message: &str| {
            let code = message.split(": ").nth(1).map(str::to_owned);
            let failure = Failure { code, ..Failure::new(kind, message) };
            CallError { code: String::new(), said: String::new(), status: 403, failure }
        };
        let refused = error(FailureKind::Refused, "look at x: UnauthorizedOperation: You are not authorized");
        assert_eq!(Finding::look_failed("x", &refused, "ec2:DescribeImages", "").verdict, Verdict::NotChecked);
        let needed = Finding::call_failed("x", &refused.failure, "ec2:CreateFleet", "");
        assert!(needed.verdict == Verdict::Failed && needed.next.is_some_and(|next| next.contains("allow ec2:CreateFleet")));
        let gone = error(FailureKind::NotFound, "look at x: InvalidAMIID.NotFound: gone");
        assert_eq!(Finding::look_failed("x", &gone, "ec2:DescribeImages", "mend it").next.as_deref(), Some("mend it"));
    }

    #[test]
    fn words_for_machines_are_left_out() {
        assert_eq!(short("no:\n  so\t it is. Encoded authorization failure message: 4Rk"), "no: so it is.");
        assert_eq!(short("not reached: refused (DispatchFailure(X { y }))"), "not reached: refused");
        let long = short(&"é".repeat(1000));
        assert!(long.ends_with("...") && long.chars().count() == LONGEST + 3);
    }
}
