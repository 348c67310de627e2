//! Seeded randomness. One stream per concern, so that one more draw in the cloud does not reshuffle GitHub.
//!
//! SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, no dependency, the same on every machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::manifest::Span;

/// One stream of numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of this name; the same seed and name give the same numbers.
    pub fn new(seed: u64, stream: &str) -> Rng {
        let mut rng = Rng(crate::trace::fnv(seed ^ crate::trace::FNV_BASIS, stream.as_bytes()));
        rng.draw();
        rng
    }

    /// The `n`-th stream of this name.
    pub fn nth(seed: u64, stream: &str, n: u32) -> Rng {
        let mut rng = Rng::new(seed, stream);
        rng.0 = rng.0.wrapping_add(u64::from(n).wrapping_mul(0xd134_2543_de82_ef95));
        rng.draw();
        rng
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.draw()) * u128::from(n)) >> 64).unwrap_or_default()
    }

    /// In `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability (0..=1). Always draws, so that a rate of zero shifts nothing.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A duration of the spread, with a tail: one in twenty takes up to three times the longest.
    pub fn within_tail(&mut self, spread: Spread) -> Duration {
        let (late, more) = (self.chance(0.05), self.unit());
        let usual = self.within(spread);
        if late { millis(spread.high + spread.high.mul_f64(2.0 * more * more)) } else { usual }
    }

    /// A duration of the spread.
    pub fn within(&mut self, spread: Spread) -> Duration {
        let u = self.unit();
        millis(spread.low + (spread.high.saturating_sub(spread.low)).mul_f64(u * u))
    }

    /// One of them; None of none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).unwrap_or_default())
    }

    /// In a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, usize::try_from(self.below(i as u64 + 1)).unwrap_or_default());
        }
    }
}

/// A latency: mostly near `low`, sometimes near `high` (the square of a uniform number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// At least this.
    pub low: Duration,
    /// At most this.
    pub high: Duration,
}

impl Spread {
    /// From milliseconds.
    pub const fn millis(low: u64, high: u64) -> Spread {
        Spread { low: Duration::from_millis(low), high: Duration::from_millis(high) }
    }

    /// From seconds.
    pub const fn secs(low: u64, high: u64) -> Spread {
        Spread::millis(low * 1000, high * 1000)
    }
}

/// Written `10ms..2s`.
impl Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{}..{}", span(self.low), span(self.high)))
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let ends = text.split_once("..").ok_or_else(|| format!("`{text}` is not a spread: write LOW..HIGH, such as 10ms..2s"));
        let (low, high) = ends.map_err(serde::de::Error::custom)?;
        let read = |t: &str| t.parse::<Span>().map(Span::get).map_err(serde::de::Error::custom);
        Ok(Spread { low: read(low)?, high: read(high)? })
    }
}

/// Whole milliseconds: what a scenario's file can say.
fn millis(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A duration as manifests write it.
pub(super) fn span(d: Duration) -> Span {
    Span::millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_apart() {
        let draws = |seed, name| (0..4).scan(Rng::new(seed, name), |r, _| Some(r.draw())).collect::<Vec<_>>();
        assert_eq!(draws(7, "cloud"), draws(7, "cloud"));
        assert_ne!(draws(7, "cloud"), draws(7, "forge"));
        assert_ne!(draws(7, "cloud"), draws(8, "cloud"));
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::new(1, "bounds");
        let spread = Spread::secs(2, 5);
        for _ in 0..1000 {
            assert!(rng.below(10) < 10);
            assert!((spread.low..=spread.high).contains(&rng.within(spread)));
        }
        assert_eq!(rng.below(0), 0);
        assert!(!rng.chance(0.0) && rng.chance(1.0));
    }
}
