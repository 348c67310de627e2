//! What a person wants of the waits: `p95 wait <= 30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use muster_reconciler::manifest::Span;

/// An example that every error ends with.
const EXAMPLE: &str = "write such as 'p95 wait <= 30s'";

/// The job whose wait counts, by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalRank {
    /// Half of the jobs waited no longer.
    P50,
    /// Nine of ten jobs waited no longer.
    P90,
    /// 19 of 20 jobs waited no longer.
    P95,
    /// 99 of 100 jobs waited no longer.
    P99,
    /// The longest wait.
    Max,
}

impl GoalRank {
    const ALL: [GoalRank; 5] = [GoalRank::P50, GoalRank::P90, GoalRank::P95, GoalRank::P99, GoalRank::Max];

    /// The share of the jobs, in percent, that wait no longer than the job at this rank.
    pub const fn percent(self) -> u64 {
        match self {
            GoalRank::P50 => 50,
            GoalRank::P90 => 90,
            GoalRank::P95 => 95,
            GoalRank::P99 => 99,
            GoalRank::Max => 100,
        }
    }

    /// The word of the goal's grammar.
    pub const fn as_str(self) -> &'static str {
        match self {
            GoalRank::P50 => "p50",
            GoalRank::P90 => "p90",
            GoalRank::P95 => "p95",
            GoalRank::P99 => "p99",
            GoalRank::Max => "max",
        }
    }
}

/// The longest wait that a person accepts for the job at a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The job whose wait counts.
    pub rank: GoalRank,
    /// The longest wait that is good enough.
    pub limit: Span,
}

impl Goal {
    /// Whether a wait in seconds is good enough.
    pub fn met_by(self, wait: f64) -> bool {
        wait <= self.limit.get().as_secs_f64()
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wait <= {}", self.rank.as_str(), self.limit)
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Goal, String> {
        let Some((left, limit)) = text.split_once("<=") else {
            return Err(format!("`{text}` has no `<=`; {EXAMPLE}"));
        };
        let mut words = left.split_whitespace();
        let (rank, what, more) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
        let ranks = GoalRank::ALL.map(GoalRank::as_str).join(", ");
        let Some(rank) = GoalRank::ALL.into_iter().find(|known| known.as_str() == rank) else {
            return Err(format!("a goal begins with one of {ranks}, and not with `{rank}`; {EXAMPLE}"));
        };
        if what != "wait" || more.is_some() {
            return Err(format!("`{}` is followed by `wait`: muster tunes waits only; {EXAMPLE}", rank.as_str()));
        }
        let limit: Span = limit.trim().parse().map_err(|error| format!("{error}; {EXAMPLE}"))?;
        if limit.get() < Duration::from_secs(1) {
            return Err(format!("a wait of {limit} is met by no job, because GitHub and muster take a second; {EXAMPLE}"));
        }
        Ok(Goal { rank, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_with_and_without_spaces() {
        let goal = Goal { rank: GoalRank::P95, limit: Span::secs(30) };
        for text in ["p95 wait <= 30s", "p95 wait<=30s", "  p95  wait  <=  30s "] {
            assert_eq!(text.parse(), Ok(goal), "{text}");
        }
        assert_eq!("max wait <= 5m".parse(), Ok(Goal { rank: GoalRank::Max, limit: Span::secs(300) }));
        assert_eq!(goal.to_string(), "p95 wait <= 30s");
        assert!(goal.met_by(30.0) && !goal.met_by(30.1) && !goal.met_by(f64::INFINITY));
    }

    #[test]
    fn a_bad_goal_is_answered_with_what_is_wrong_and_with_a_good_one() {
        for (text, why) in [
            ("", "has no `<=`"),
            ("p95 wait < 30s", "has no `<=`"),
            ("p97 wait <= 30s", "one of p50, p90, p95, p99, max, and not with `p97`"),
            ("p95 <= 30s", "`p95` is followed by `wait`"),
            ("p95 cost <= 30s", "muster tunes waits only"),
            ("p95 wait time <= 30s", "is followed by `wait`"),
            ("p95 wait <= 30", "`30` has no unit; write 30s"),
            ("p95 wait <= soon", "`soon` is not a duration"),
            ("p95 wait <= 0s", "met by no job"),
        ] {
            let error = text.parse::<Goal>().expect_err(text);
            assert!(error.contains(why) && error.ends_with(EXAMPLE), "{text}: {error}");
        }
    }
}
