//! How a world comes to rest after its faults and jobs have ended.

use std::time::Duration;

use super::Simulation;
use crate::event::Event;
use crate::oracle::Unrest;

/// How often [`Simulation::rest`] checks whether the world has come to rest.
const REST_EVERY: Duration = Duration::from_secs(20);

impl Simulation {
    /// Runs until all jobs are done and nothing is left over, then checks that the world stays so for `then_quiet`
    /// (eventually stable reconciliation). Returns how long the world took to come to rest.
    pub fn rest(&mut self, within: Duration, then_quiet: Duration) -> Result<Duration, Unrest> {
        let start = self.now();
        // GitHub may be back from an outage, so it assigns the jobs that wait.
        self.nature.after(Duration::ZERO, Event::Assign);
        loop {
            self.run_for(REST_EVERY);
            let (coming, took) = (self.coming, self.now().since(start));
            let truth = self.truth();
            let waits = coming > 0 || truth.waits();
            let left = if waits { Vec::new() } else { truth.leftovers() };
            if !waits && !truth.ages_within(then_quiet) && left.is_empty() {
                break;
            }
            let over = took > within;
            if over && !waits && left.is_empty() {
                // Warm runners with short lives take turns, so one of them is always about to be replaced.
                return Ok(took);
            }
            if over {
                let left = if left.is_empty() { truth.leftovers() } else { left };
                return Err(Unrest::Left(left.into_iter().chain(truth.own_words()).collect()));
            }
        }
        let (took, before) = (self.now().since(start), self.changes);
        self.run_for(then_quiet);
        let (left, done) = (self.truth().leftovers(), self.changes - before);
        match (left.is_empty(), done) {
            (true, 0) => Ok(took),
            (true, n) => Err(Unrest::Restless(n)),
            (false, _) => Err(Unrest::Left(left)),
        }
    }

    /// As [`rest`](Self::rest), with the failure in words.
    pub fn converge(&mut self, within: Duration, then_quiet: Duration) -> Result<Duration, String> {
        self.rest(within, then_quiet).map_err(|unrest| unrest.violation(self.now(), within, then_quiet).what)
    }
}
