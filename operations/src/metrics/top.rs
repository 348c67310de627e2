//! Which repositories have series of their own: those that used the most instance time since this process started.
//!
//! A counter cannot move to another label. So a repository that overtakes another one takes its place: the series of the one ends, and
//! that of the other begins at zero. Each second is counted once, for a repository or for the rest.

use std::collections::{BTreeMap, BTreeSet};

/// The most repositories with series of their own.
pub(super) const MOST_SHOWN: usize = 50;
/// The most repositories whose time is followed.
const MOST_FOLLOWED: usize = 1000;
/// By how much a repository must overtake another one: by a quarter, and by a minute. So two of them do not change places all the time.
const OVERTAKES: (f64, f64) = (1.25, 60.0);

/// The pool and the currency of a series. No currency: the series of the time.
pub(super) type SeriesOf = (String, Option<String>);

/// The time that repositories used, and which of them have series.
#[derive(Debug, Default)]
pub(super) struct TopRepositories {
    used: BTreeMap<String, f64>,
    shown: BTreeMap<String, BTreeSet<SeriesOf>>,
}

impl TopRepositories {
    /// A repository used so many seconds. Returns the series that end because the repository takes the place of another one.
    pub fn uses(&mut self, repository: &str, seconds: f64) -> Option<(String, BTreeSet<SeriesOf>)> {
        if !self.used.contains_key(repository) && self.used.len() >= MOST_FOLLOWED {
            let least = self.least(|name| !self.shown.contains_key(name));
            least.and_then(|least| self.used.remove(&least));
        }
        let used = self.used.entry(repository.to_owned()).or_default();
        *used += seconds;
        let used = *used;
        if self.shown.contains_key(repository) {
            return None;
        }
        if self.shown.len() < MOST_SHOWN {
            self.shown.insert(repository.to_owned(), BTreeSet::new());
            return None;
        }
        let least = self.least(|name| self.shown.contains_key(name))?;
        if used <= self.used.get(&least).copied().unwrap_or_default() * OVERTAKES.0 + OVERTAKES.1 {
            return None;
        }
        let series = self.shown.remove(&least)?;
        self.shown.insert(repository.to_owned(), BTreeSet::new());
        Some((least, series))
    }

    /// Notes a series of a repository. Returns whether the repository has series of its own.
    pub fn shows(&mut self, repository: &str, series: SeriesOf) -> bool {
        let of = self.shown.get_mut(repository);
        of.map(|of| of.insert(series)).is_some()
    }

    fn least(&self, among: impl Fn(&str) -> bool) -> Option<String> {
        let all = self.used.iter().filter(|(name, _)| among(name));
        all.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(name, _)| name.clone())
    }
}
