//! What muster is doing to a runner, and how long muster pauses after a failure.

use std::time::Duration;

use super::{Act, Runner};
use crate::time::Time;

/// At most one effect on a runner is under way. After a failure, the next one waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attempts {
    under_way: Option<Act>,
    /// No effect begins before this time.
    not_before: Time,
    /// Failures in a row.
    failures: u32,
    last_error: Option<String>,
}

impl Attempts {
    /// A drain or a terminate is under way.
    pub(super) fn ends_it(&self) -> bool {
        self.under_way.is_some_and(Act::ends_it)
    }
}

impl Runner {
    /// Whether an effect on this runner is not answered yet.
    pub fn effect_under_way(&self) -> bool {
        self.attempts.under_way.is_some()
    }

    /// Whether an effect on this runner may begin: none is under way, and the pause after the last failure is over.
    pub fn is_free(&self, now: Time) -> bool {
        !self.effect_under_way() && now >= self.attempts.not_before
    }

    /// When the pause after the last failure ends, or ended.
    pub fn not_before(&self) -> Time {
        self.attempts.not_before
    }

    /// The error of the last effect, for people. None: the last effect succeeded, or there was none.
    pub fn last_error(&self) -> Option<&str> {
        self.attempts.last_error.as_deref()
    }

    /// An effect on this runner is planned or sent off.
    pub fn effect_begins(&mut self, act: Act) {
        self.attempts.under_way = Some(act);
    }

    /// The effect is over, or was not sent off because a budget was spent.
    pub fn effect_over(&mut self) {
        self.attempts.under_way = None;
    }

    /// The effect succeeded.
    pub fn effect_succeeded(&mut self) {
        self.effect_over();
        (self.attempts.failures, self.attempts.last_error) = (0, None);
    }

    /// The effect failed. The next effect waits 1, 2, 4 .. 64 s, or `retry_after` if that is longer. Returns when the wait is
    /// over.
    ///
    /// The wait that GitHub's rate limit asks for is no `retry_after` here. That wait belongs to the installation's budget, while
    /// other effects may be due for the runner.
    pub fn effect_failed(&mut self, error: String, retry_after: Option<Duration>, now: Time) -> Time {
        self.effect_over();
        let a = &mut self.attempts;
        let wait = Duration::from_secs(1 << a.failures.min(6)).max(retry_after.unwrap_or_default());
        a.failures += 1;
        a.not_before = now + wait;
        a.last_error = Some(error);
        a.not_before
    }
}
