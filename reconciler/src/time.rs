//! Time as the core knows it: a number that the caller passes in. The core has no clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Decisions depend only on differences between two readings of the *same* clock. Times
/// of other clocks (EC2's launch time) are used for lifetimes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Time = Time(0);
    /// Later than any time that can occur.
    pub const FAR: Time = Time(u64::MAX);

    /// The time that is this many milliseconds after the Unix epoch.
    pub const fn from_millis(ms: u64) -> Time {
        Time(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was. Zero if `earlier` lies in the future, so a clock that steps back makes nothing older.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Shows a duration to people: `850ms`, `42s`, `5m`, `2h 10m`, `3d 4h`.
pub fn human(d: Duration) -> Human {
    Human(d)
}

/// A duration that prints for people. [`human`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Human(Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let two = |f: &mut fmt::Formatter<'_>, a: u64, unit: &str, b: u64, minor: &str| match b {
            0 => write!(f, "{a}{unit}"),
            _ => write!(f, "{a}{unit} {b}{minor}"),
        };
        let s = self.0.as_secs();
        match s {
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..60 => write!(f, "{s}s"),
            60..3600 => two(f, s / 60, "m", s % 60, "s"),
            3600..86_400 => two(f, s / 3600, "h", s % 3600 / 60, "m"),
            _ => two(f, s / 86_400, "d", s % 86_400 / 3600, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let said: Vec<String> = [0, 850, 42_000, 300_000, 7_800_000, 270_000_000]
            .iter()
            .map(|ms| human(Duration::from_millis(*ms)).to_string())
            .collect();
        assert_eq!(said, ["0ms", "850ms", "42s", "5m", "2h 10m", "3d 3h"]);
    }

    #[test]
    fn a_clock_that_steps_back_ages_nothing() {
        assert_eq!(Time::from_millis(5).since(Time::from_millis(9)), Duration::ZERO);
    }
}
