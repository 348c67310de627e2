//! Seeded random numbers. Each concern has a stream of its own, so that one more draw in the cloud does not reshuffle
//! GitHub.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, no dependency, the same numbers on every
//! machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_reconciler::manifest::Span;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream with this name. The same seed and name give the same numbers.
    pub fn new(seed: u64, stream: &str) -> Rng {
        let mut rng = Rng(crate::trace::fnv(seed ^ crate::trace::FNV_BASIS, stream.as_bytes()));
        rng.draw();
        rng
    }

    /// The `n`-th of the streams with this name.
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

    /// A number in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.draw()) * u128::from(n)) >> 64).unwrap_or_default()
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability (0 to 1). The call always draws a number, so that a rate of zero does not shift the
    /// stream.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A duration of the spread, with a long tail: one in twenty is longer than `high`, up to three times `high`.
    pub fn within_tail(&mut self, spread: Spread) -> Duration {
        let (late, more) = (self.chance(0.05), self.unit());
        let usual = self.within(spread);
        if late { millis(spread.high + spread.high.mul_f64(2.0 * more * more)) } else { usual }
    }

    /// A duration between the spread's ends.
    pub fn within(&mut self, spread: Spread) -> Duration {
        let u = self.unit();
        millis(spread.low + (spread.high.saturating_sub(spread.low)).mul_f64(u * u))
    }

    /// A random item; None if there are no items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).unwrap_or_default())
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, usize::try_from(self.below(i as u64 + 1)).unwrap_or_default());
        }
    }
}

/// A range of latencies. Most draws are near `low` and few near `high`, because a draw squares a uniform number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The shortest.
    pub low: Duration,
    /// The longest.
    pub high: Duration,
}

impl Spread {
    /// Both ends in milliseconds.
    pub const fn millis(low: u64, high: u64) -> Spread {
        Spread { low: Duration::from_millis(low), high: Duration::from_millis(high) }
    }

    /// Both ends in seconds.
    pub const fn secs(low: u64, high: u64) -> Spread {
        Spread::millis(low * 1000, high * 1000)
    }
}

/// A spread is written as `10ms..2s`.
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

/// Cuts to whole milliseconds, because a scenario's file can say no less.
fn millis(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The duration in the form that manifests have.
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
