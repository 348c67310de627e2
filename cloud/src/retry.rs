//! The delay between two tries of a loop that belongs to no effect, such as receiving from a queue or watching a directory.
//!
//! The core sets the pace of every effect, so only loops without an effect wait here. This is the only place that uses the crate
//! `backoff`, which is unmaintained (RUSTSEC-2025-0012, see `deny.toml`). A replacement changes only this file.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// An exponential delay with random jitter. It never gives up.
#[derive(Debug)]
pub struct Delay(ExponentialBackoff);

impl Delay {
    /// The first delay is `first`. Each later one is twice as long, up to `longest`. Each delay is then changed at random by up
    /// to half of its length, so that replicas that failed together do not try again together.
    pub fn new(first: Duration, longest: Duration) -> Delay {
        Delay(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(first)
                .with_max_interval(longest)
                .with_multiplier(2.0)
                .with_randomization_factor(0.5)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// How long to wait after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// Says that a try succeeded: after the next failure, the delay is `first` again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_again_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut delay = Delay::new(first, longest);
        for step in 0..12_u32 {
            let middle = first.saturating_mul(1 << step.min(10)).min(longest);
            let got = delay.next_delay();
            assert!(got >= middle / 2 && got <= middle * 3 / 2, "step {step}: {got:?} is not around {middle:?}");
        }
        delay.reset();
        assert!(delay.next_delay() <= first * 3 / 2);
    }
}
