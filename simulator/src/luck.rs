//! Decides whether a fault strikes. No other module does.
//!
//! Each decision of a kind of fault has a number. While faults are drawn, each kind has a random stream of its own, so that
//! one more decision of a kind shifts no other kind. Each strike is recorded as a kind and a number. A schedule of such
//! strikes replays exactly these, which is how a failing run is shrunk.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::{Fault, KINDS, Rates};
use crate::rng::Rng;

/// One strike of a fault: the decision with this number went wrong. Written as `webhook_loss#3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strike {
    /// The kind of fault.
    pub fault: Fault,
    /// The number of the decision among all decisions of this kind, from 0.
    pub nth: u32,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.fault, self.nth)
    }
}

impl FromStr for Strike {
    type Err = String;
    fn from_str(text: &str) -> Result<Strike, String> {
        let (fault, nth) = text.split_once('#').ok_or_else(|| format!("`{text}` is not a strike: write FAULT#NUMBER"))?;
        Ok(Strike { fault: fault.parse()?, nth: nth.parse().map_err(|_| format!("`{nth}` is not a number"))? })
    }
}

impl Serialize for Strike {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Strike {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the strikes of a run come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Schedule {
    /// Each decision is drawn at the rate of its kind.
    Drawn(Box<Rates>),
    /// Exactly these decisions go wrong.
    Fixed(Vec<Strike>),
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::Fixed(Vec::new())
    }
}

/// What goes wrong in a run, and for how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// After this time from the start of the run, nothing goes wrong any more. None: faults never stop.
    pub last: Option<Duration>,
    /// What goes wrong until then.
    pub schedule: Schedule,
}

impl Faults {
    /// These kinds at these rates, until `last`.
    pub fn drawn(rates: impl IntoIterator<Item = (Fault, f64)>, last: Option<Duration>) -> Faults {
        Faults { last, schedule: Schedule::Drawn(Rates::of(rates).into()) }
    }
}

impl Faults {
    /// The rate at which a kind is drawn; 0 if the schedule is fixed.
    pub fn rate(&self, fault: Fault) -> f64 {
        match &self.schedule {
            Schedule::Drawn(rates) => rates.get(fault),
            Schedule::Fixed(_) => 0.0,
        }
    }
}

/// Decides on each fault, and records the strikes.
#[derive(Debug)]
pub struct Luck {
    seed: u64,
    /// One entry for each kind, in the order of [`Fault::ALL`].
    kinds: Vec<FaultHistory>,
    struck: Vec<Strike>,
    /// Whether faults may still strike.
    pub(super) active: bool,
}

#[derive(Debug)]
struct FaultHistory {
    fault: Fault,
    decided: u32,
    struck: u32,
    from: From,
}

#[derive(Debug)]
enum From {
    /// No decision goes wrong.
    Nowhere,
    Rate(f64, Rng),
    /// The numbers of the decisions that go wrong, in descending order.
    List(Vec<u32>),
}

impl Luck {
    pub(super) fn new(seed: u64, schedule: &Schedule) -> Luck {
        let from = |fault: Fault| match schedule {
            Schedule::Drawn(rates) if rates.get(fault) > 0.0 => From::Rate(rates.get(fault), Rng::new(seed, fault.as_str())),
            Schedule::Drawn(_) => From::Nowhere,
            Schedule::Fixed(strikes) => {
                let mut list: Vec<u32> = strikes.iter().filter(|s| s.fault == fault).map(|s| s.nth).collect();
                list.sort_unstable_by(|a, b| b.cmp(a));
                if list.is_empty() { From::Nowhere } else { From::List(list) }
            }
        };
        let kinds: Vec<FaultHistory> =
            Fault::ALL.iter().map(|f| FaultHistory { fault: *f, decided: 0, struck: 0, from: from(*f) }).collect();
        debug_assert_eq!(kinds.len(), KINDS);
        Luck { seed, kinds, struck: Vec::new(), active: true }
    }

    /// Decides whether the fault strikes. None: it does not. Some: it strikes, and the stream decides how badly and how
    /// long. Each strike has a stream of its own, so that leaving out one strike changes nothing about another.
    pub(super) fn strikes(&mut self, fault: Fault) -> Option<Rng> {
        let kind = &mut self.kinds[fault.index()];
        let nth = kind.decided;
        kind.decided += 1;
        let hit = match &mut kind.from {
            From::Nowhere => return None,
            From::Rate(rate, rng) => rng.chance(*rate),
            From::List(list) => {
                while list.last().is_some_and(|next| *next < nth) {
                    list.pop();
                }
                list.last() == Some(&nth)
            }
        };
        if !(hit && self.active) {
            return None;
        }
        kind.struck += 1;
        self.struck.push(Strike { fault, nth });
        Some(Rng::nth(!self.seed, kind.fault.as_str(), nth))
    }

    /// Whether the fault strikes, for a fault that has no size.
    pub(super) fn hits(&mut self, fault: Fault) -> bool {
        self.strikes(fault).is_some()
    }

    /// How often a kind has struck.
    pub fn count(&self, fault: Fault) -> u32 {
        self.kinds[fault.index()].struck
    }

    /// The strikes so far, in order.
    pub fn struck(&self) -> &[Strike] {
        &self.struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(luck: &mut Luck, n: u32) -> Vec<u32> {
        (0..n).filter(|_| luck.hits(Fault::Foreign)).collect()
    }

    #[test]
    fn recorded_strikes_strike_again_and_no_others() {
        let drawn = Schedule::Drawn(Rates::of([(Fault::Foreign, 0.3), (Fault::Held, 0.5)]).into());
        let mut first = Luck::new(7, &drawn);
        let hits = decide(&mut first, 100);
        assert!((15..50).contains(&hits.len()), "{hits:?}");
        let mut again = Luck::new(7, &Schedule::Fixed(first.struck().to_vec()));
        assert_eq!(decide(&mut again, 100), hits);
        assert_eq!(again.struck(), first.struck());
    }

    #[test]
    fn one_kind_does_not_shift_another() {
        let drawn = Schedule::Drawn(Rates::of([(Fault::Foreign, 0.3), (Fault::Held, 0.5)]).into());
        let (mut alone, mut mixed) = (Luck::new(7, &drawn), Luck::new(7, &drawn));
        let hits = decide(&mut alone, 50);
        let with: Vec<u32> = (0..50)
            .filter(|_| {
                mixed.hits(Fault::Held);
                mixed.hits(Fault::Foreign)
            })
            .collect();
        assert_eq!(hits, with);
    }

    #[test]
    fn nothing_strikes_once_faults_are_over() {
        let mut luck = Luck::new(7, &Schedule::Drawn(Rates::of([(Fault::Foreign, 1.0)]).into()));
        luck.active = false;
        assert_eq!(decide(&mut luck, 9), [0u32; 0]);
    }

    #[test]
    fn a_strike_reads_as_it_is_written() {
        let strike = Strike { fault: Fault::WebhookLoss, nth: 3 };
        assert_eq!(strike.to_string().parse(), Ok(strike));
        assert!("webhook_loss".parse::<Strike>().is_err() && "rain#1".parse::<Strike>().is_err());
    }
}
