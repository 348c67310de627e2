//! Whether the process still does its work. Each important loop sets a mark whenever it turns. `/healthz`, `muster health` and
//! systemd's watchdog look at the age of these marks.
//!
//! A process may be alive and not ready. A controller that gets no answer from AWS or GitHub is alive, because a restart would
//! not help.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A loop that has not turned for this long is stuck. A turn takes milliseconds, and a loop with nothing to do turns every
/// [`IDLE_TURN`].
pub const LIMIT: Duration = Duration::from_secs(30);
/// How often a loop turns that has nothing to do.
pub const IDLE_TURN: Duration = Duration::from_secs(5);

/// The mark of one loop. All clones are the same mark.
#[derive(Clone, Debug)]
pub struct Pulse {
    began: Instant,
    /// The time from `began` to the last turn, in milliseconds.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// Makes the mark of a loop that turns at this moment.
    pub fn start() -> Pulse {
        Pulse { began: Instant::now(), last: Arc::default() }
    }

    /// Says that the loop turns now.
    pub fn beat(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago the loop turned last.
    fn age(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// The error that a loop does not turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} has not turned for {} s, and {} s is the most; restart this process", age.as_secs(), limit.as_secs())]
pub struct Stuck {
    part: &'static str,
    age: Duration,
    limit: Duration,
}

/// The loops of this process. A clone has the same marks.
#[derive(Clone, Debug)]
pub struct Liveness {
    parts: Vec<(&'static str, Pulse)>,
    limit: Duration,
}

impl Liveness {
    /// Makes a list without any loop. Each loop that is added may take up to `limit` for one turn.
    pub fn new(limit: Duration) -> Liveness {
        Liveness { parts: Vec::new(), limit }
    }

    /// Adds a loop. `part` is its name in a sentence, such as "the core".
    pub fn with(mut self, part: &'static str, pulse: Pulse) -> Liveness {
        self.parts.push((part, pulse));
        self
    }

    /// Looks whether every loop turns.
    ///
    /// # Errors
    /// The first loop that has not turned for the limit.
    pub fn check(&self) -> Result<(), Stuck> {
        let late = self.parts.iter().map(|(part, pulse)| (*part, pulse.age())).find(|(_, age)| *age >= self.limit);
        late.map_or(Ok(()), |(part, age)| Err(Stuck { part, age, limit: self.limit }))
    }
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness::new(LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_is_alive_until_it_has_not_turned_for_the_limit() {
        let (core, outbox) = (Pulse::start(), Pulse::start());
        let liveness = Liveness::new(Duration::from_secs(30)).with("the core", core.clone()).with("the outbox", outbox.clone());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(liveness.check(), Ok(()));
        outbox.beat();
        tokio::time::advance(Duration::from_secs(1)).await;
        let stuck = liveness.check().expect_err("the core stands still").to_string();
        assert_eq!(stuck, "the core has not turned for 30 s, and 30 s is the most; restart this process");
        core.beat();
        assert_eq!(liveness.check(), Ok(()), "it turns again");
    }
}
