//! The clock that gives the core its time: the wall clock at the start of the process, moved on by the monotonic clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use muster_reconciler::time::Time;

/// A clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    since: Instant,
}

impl Clock {
    /// Starts a clock. This reads the wall clock, and no later call does.
    pub fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { origin: Time::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)), since: Instant::now() }
    }

    /// The time now, in milliseconds since 1970.
    pub fn now(&self) -> Time {
        self.origin + self.since.elapsed()
    }

    /// The instant at which `time` comes, but at most an hour from now. It is now if `time` is over.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        tokio::time::Instant::now() + time.since(self.now()).min(std::time::Duration::from_secs(3600))
    }
}
