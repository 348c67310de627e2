//! Why a pool leaves spot for a while.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{count, seconds};
use crate::time::{Time, human};

/// What opened a pool's breaker, and until when the pool asks for no spot instance. After that time, one spot instance tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tripped {
    /// The instances with jobs that spot had taken back when the breaker opened.
    pub interruptions: u32,
    /// The time in which these interruptions counted together.
    #[serde(rename = "withinSeconds", serialize_with = "seconds")]
    pub within: Duration,
    /// One spot instance tries from this time on.
    pub until: Time,
}

impl Tripped {
    /// What the pool does, in words that fit after `the pool`.
    pub fn say(&self, now: Time) -> String {
        if now < self.until {
            format!("buys on-demand for {} more, because {self}", human(self.until.since(now)))
        } else {
            format!("buys on-demand until one spot instance has served without an interruption, because {self}")
        }
    }
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken_back = count(self.interruptions, "instance");
        let their = if self.interruptions == 1 { "a job" } else { "jobs" };
        write!(f, "spot took back {taken_back} with {their} within {}", human(self.within))
    }
}
