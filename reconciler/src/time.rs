//! Time as the core knows it: a number that the caller passes in. The core has no clock.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Decisions depend only on differences between two readings of the *same* clock. Times
/// of other clocks (EC2's launch time) are used for lifetimes only.
///
/// The number is kept one higher, so that it is never zero and an `Option<Time>` takes 8 bytes: a runner has 20 of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Time(NonZeroU64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Time = Time::from_millis(0);
    /// Later than any time that can occur.
    pub const FAR: Time = Time(NonZeroU64::MAX);

    /// The time that is this many milliseconds after the Unix epoch.
    pub const fn from_millis(ms: u64) -> Time {
        Time(NonZeroU64::MIN.saturating_add(ms))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0.get() - 1
    }

    /// How long ago `earlier` was. Zero if `earlier` lies in the future, so a clock that steps back makes nothing older.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Time {
    fn default() -> Time {
        Time::ZERO
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({})", self.as_millis())
    }
}

impl From<u64> for Time {
    fn from(ms: u64) -> Time {
        Time::from_millis(ms)
    }
}

impl From<Time> for u64 {
    fn from(time: Time) -> u64 {
        time.as_millis()
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
        Time::from_millis(self.as_millis().saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Shows a duration to people: `850ms`, `42s`, `5m`, `2h 10m`, `3d 4h`.
pub fn human(d: Duration) -> Human {
    Human(d)
}

/// Shows how long something has gone on, without the seconds from a minute on: `42s`, `33m`, `2h 10m`. Whoever reads it again a second
/// later reads the same.
pub fn coarse(d: Duration) -> Human {
    let seconds = d.as_secs();
    human(Duration::from_secs(if seconds < 60 { seconds } else { seconds / 60 * 60 }))
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
    fn the_ends_of_time_hold() {
        assert_eq!((Time::ZERO.as_millis(), Time::from_millis(7).as_millis()), (0, 7));
        assert_eq!((Time::from_millis(u64::MAX), Time::FAR + Duration::MAX), (Time::FAR, Time::FAR));
        assert_eq!(Time::from_millis(3) - Duration::from_millis(5), Time::ZERO);
        assert_eq!(size_of::<Option<Time>>(), 8);
        assert_eq!(
            serde_json::from_str::<Time>(&serde_json::to_string(&Time::from_millis(7)).unwrap()).unwrap(),
            Time::from_millis(7)
        );
    }

    #[test]
    fn a_clock_that_steps_back_ages_nothing() {
        assert_eq!(Time::from_millis(5).since(Time::from_millis(9)), Duration::ZERO);
    }
}
