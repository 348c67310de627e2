//! How long a job will wait, as far as what was seen tells it.

use std::fmt;
use std::time::Duration;

use super::words;
use crate::time::human;

/// When a runner can be expected. It is never more than what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nine of ten jobs got a runner within this time.
    Usually {
        /// The time from when the job was queued.
        within: Duration,
    },
    /// The job has waited longer than nine of ten jobs did.
    Longer {
        /// The time within which nine of ten jobs got a runner.
        usual: Duration,
    },
    /// The pool is full. At the pace of the last hour it is the job's turn after this time.
    AtPace {
        /// The time from now.
        about: Duration,
    },
    /// An operator paused the pool.
    Paused,
    /// The pool cannot launch.
    Stuck,
    /// The pool launches nothing for the job now, by its manifest or because GitHub holds the job.
    NotCounted,
    /// Too few jobs of the pool started within the last day.
    TooFew,
}

words! { Expected {
    Usually => "usually",
    Longer => "longer",
    AtPace => "at_pace",
    Paused => "paused",
    Stuck => "stuck",
    NotCounted => "not_counted",
    TooFew => "too_few",
}}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Usually { within } => write!(f, "usually within {}", rounded(*within)),
            Expected::Longer { usual } => write!(f, "longer than usual: 9 of 10 jobs started within {}", rounded(*usual)),
            Expected::AtPace { about } => write!(f, "in about {} at the pace of the last hour", rounded(*about)),
            Expected::Paused => f.write_str("unknown while the pool is paused"),
            Expected::Stuck => f.write_str("unknown while the pool cannot launch"),
            Expected::NotCounted => f.write_str("unknown: no runner is launched for it now"),
            Expected::TooFew => f.write_str("unknown: too few jobs started within the last day"),
        }
    }
}

/// An estimate is rounded up: to five seconds, and from a minute on to a minute.
fn rounded(d: Duration) -> impl fmt::Display {
    let seconds = d.as_secs() + u64::from(d.subsec_nanos() > 0);
    let step = if seconds > 60 { 60 } else { 5 };
    human(Duration::from_secs(seconds.div_ceil(step) * step))
}
