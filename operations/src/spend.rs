//! What instances used and cost since a moment, by pool and by repository: of a day, or of a month.

use std::collections::BTreeMap;

use chrono::Datelike as _;
use serde::{Deserialize, Serialize};

use crate::usage::{Amount, NO_JOB, OTHER, Sum};

/// The most pools, and the most repositories, that are told apart. The time of further ones counts for [`OTHER`].
const MOST: usize = 1000;
/// How many of them are shown. The others are one sum, [`OTHER`].
const SHOWN: usize = 50;

/// What was used since a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spend {
    /// Since when it is counted, in milliseconds since 1970.
    pub since: u64,
    all: Sum,
    idle: Sum,
    pools: BTreeMap<String, Sum>,
    repositories: BTreeMap<String, Sum>,
}

/// What was used since a moment, the dearest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpendView {
    /// Since when it is counted, in milliseconds since 1970.
    pub since: u64,
    /// Everything.
    pub all: Sum,
    /// The part of it in which no job ran.
    pub idle: Sum,
    /// By pool.
    pub pools: Vec<Sum>,
    /// By repository. `none` stands for the time without a job.
    pub repositories: Vec<Sum>,
}

impl Spend {
    /// Nothing was used since then.
    pub fn since(since: u64) -> Spend {
        Spend { since, ..Spend::default() }
    }

    /// Counts what was used.
    pub fn add(&mut self, pool: &str, repository: &str, currency: &str, amount: &Amount) {
        self.all.add(currency, amount);
        if repository == NO_JOB {
            self.idle.add(currency, amount);
        }
        for (sums, name) in [(&mut self.pools, pool), (&mut self.repositories, repository)] {
            let room = name == NO_JOB || sums.len() < MOST || sums.contains_key(name);
            let name = if room { name } else { OTHER };
            sums.entry(name.to_owned()).or_default().add(currency, amount);
        }
    }

    /// What was used, the dearest first.
    pub fn view(&self) -> SpendView {
        let sorted = |sums: &BTreeMap<String, Sum>| {
            let named = sums.iter().map(|(name, sum)| Sum { of: vec![name.clone()], ..sum.clone() });
            crate::usage::dearest(named.collect(), SHOWN)
        };
        SpendView {
            since: self.since,
            all: self.all.clone(),
            idle: self.idle.clone(),
            pools: sorted(&self.pools),
            repositories: sorted(&self.repositories),
        }
    }
}

/// When the month of a time began, in UTC, in milliseconds since 1970.
pub fn month_of(at_ms: u64) -> u64 {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    let days = at.map_or(0, |at| u64::from(at.day0()));
    (at_ms / DAY_MS).saturating_sub(days) * DAY_MS
}

/// The length of a day in milliseconds. Days begin at midnight, UTC.
pub const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(seconds: f64, cost: Option<f64>) -> Amount {
        Amount { seconds, priced_seconds: cost.map_or(0.0, |_| seconds), cost: cost.unwrap_or_default() }
    }

    #[test]
    fn a_month_begins_on_its_first_day() {
        // 2026-12-01T13:00:00Z, 2026-02-28T23:59:59Z and 1970.
        for (at, began) in [(1_796_130_000_000, 1_796_083_200_000), (1_772_323_199_000, 1_769_904_000_000), (86_400_000 * 30, 0)]
        {
            assert_eq!(month_of(at), began, "{at}");
        }
    }

    #[test]
    fn pools_and_repositories_are_told_apart_and_unknown_is_not_zero() {
        let mut spend = Spend::since(5);
        spend.add("linux", "acme/api", "USD", &amount(3600.0, Some(0.5)));
        spend.add("linux", NO_JOB, "USD", &amount(1800.0, Some(0.25)));
        spend.add("gpu", "acme/ml", "", &amount(7200.0, None));
        let view = spend.view();
        assert_eq!((view.since, view.all.hours, view.all.priced_hours, view.all.cost["USD"]), (5, 3.5, 1.5, 0.75));
        assert_eq!((view.idle.hours, view.idle.cost["USD"]), (0.5, 0.25));
        let names = |sums: &[Sum]| sums.iter().map(|sum| sum.of[0].clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&view.pools), names(&view.repositories)),
            (vec!["linux".to_owned(), "gpu".to_owned()], vec!["acme/api".to_owned(), "none".to_owned(), "acme/ml".to_owned()])
        );
        assert!(view.pools[1].cost.is_empty(), "{view:?}");
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut spend = Spend::default();
        for n in 0..MOST + 10 {
            spend.add("linux", &format!("acme/{n}"), "", &amount(3600.0, None));
        }
        assert_eq!(spend.repositories.len(), MOST + 1);
        let view = spend.view();
        assert_eq!(
            (view.repositories.len(), view.repositories.iter().map(|sum| sum.hours).sum::<f64>()),
            (SHOWN + 1, (MOST + 10) as f64)
        );
    }
}
