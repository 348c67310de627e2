//! The one clock of the process: wall time at start, moved on by the monotonic clock, so that it never goes back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use muster_reconciler::time::Time;

/// A clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    since: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    pub fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { origin: Time::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)), since: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.origin + self.since.elapsed()
    }

    /// The instant at which `time` comes.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        tokio::time::Instant::now() + time.since(self.now()).min(std::time::Duration::from_secs(3600))
    }
}
