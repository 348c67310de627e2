//! Who used the instances: their time and its cost, by the hour, pool, repository, market and type. The controller keeps it as
//! small JSON lines in S3, and `muster cost` adds the lines up.

use std::collections::{BTreeMap, BTreeSet};

use muster_reconciler::time::Time;
use muster_reconciler::view::BilledFor;
use serde::{Deserialize, Serialize};

/// What stands for the repository while no job runs: the instance starts, is idle or ends. Also for a job that no event told.
pub const NO_JOB: &str = "none";
/// What stands for the repositories that are too many to be told apart.
pub const OTHER: &str = "other";
/// The most lines of an hour. The time of further repositories counts for [`OTHER`].
const MOST_LINES: usize = 2_000;
/// How many hours are kept that were not written. Older ones are forgotten, and counted.
const MOST_HOURS: usize = 72;
/// How the name of an hour's history ends.
const HISTORY: &str = ".history";
/// The length of an hour, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// What was used, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// How long instances ran, in seconds. Two instances in one second are two seconds.
    pub seconds: f64,
    /// The part of `seconds` whose instance type has a price.
    pub priced_seconds: f64,
    /// The cost of `priced_seconds`, in the line's currency.
    pub cost: f64,
}

impl Amount {
    fn add(&mut self, more: &Amount) {
        self.seconds += more.seconds;
        self.priced_seconds += more.priced_seconds;
        self.cost += more.cost;
    }
}

/// One line: what one repository used of one instance type in one hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UsageLine {
    /// When the hour began, in UTC, such as `2026-12-01T13:00:00Z`.
    pub hour: String,
    /// The pool.
    pub pool: String,
    /// The repository in lower case, or [`NO_JOB`], or [`OTHER`].
    pub repository: String,
    /// The market: `spot` or `on-demand`.
    pub market: String,
    /// The instance type, such as `m7i.large`.
    pub instance_type: String,
    /// The currency of the cost, such as `USD`. It is empty if no price was known.
    pub currency: String,
    /// What was used.
    #[serde(flatten)]
    pub amount: Amount,
}

impl UsageLine {
    /// When the hour began, in milliseconds since 1970. None: the line does not say it.
    pub fn began_ms(&self) -> Option<u64> {
        let at = chrono::DateTime::parse_from_rfc3339(&self.hour).ok()?;
        u64::try_from(at.timestamp_millis()).ok()
    }
}

/// What tells the lines of an hour apart: pool, repository, market, type and currency.
type LineKey = (String, String, String, String, String);

/// One hour, as it is counted.
#[derive(Clone, Debug, Default)]
struct Hour {
    lines: BTreeMap<LineKey, Amount>,
    /// Rises with each change.
    version: u64,
    written: u64,
}

/// The lines of an hour that are to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct HourLines {
    /// The hour, counted since 1970.
    pub hour: u64,
    /// Which state of the hour this is, for [`UsageLedger::written`].
    pub version: u64,
    /// The lines, in order.
    pub lines: Vec<UsageLine>,
}

/// Counts usage until it is written.
#[derive(Clone, Debug, Default)]
pub struct UsageLedger {
    hours: BTreeMap<u64, Hour>,
    forgotten: u64,
}

impl UsageLedger {
    /// Counts what was used at `at`.
    pub fn add(&mut self, at: Time, used: &BilledFor, currency: &str, amount: &Amount) {
        let hour = self.hours.entry(at.as_millis() / HOUR_MS).or_default();
        let repository = if used.repo.is_empty() { NO_JOB } else { &used.repo };
        let key = |repository: &str| {
            let currency = if amount.priced_seconds > 0.0 { currency } else { "" };
            let market = used.market.as_str().to_owned();
            (used.pool.clone(), repository.to_owned(), market, used.instance_type.clone(), currency.to_owned())
        };
        let mut own = key(repository);
        // The lines without a job are few: one for each pool, market and type.
        if !used.repo.is_empty() && !hour.lines.contains_key(&own) && hour.lines.len() >= MOST_LINES {
            own = key(OTHER);
        }
        hour.lines.entry(own).or_default().add(amount);
        hour.version += 1;
        while self.hours.len() > MOST_HOURS {
            self.hours.pop_first();
            self.forgotten += 1;
        }
    }

    /// How many hours were forgotten since the last call, because nobody wrote them for days.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// The hours that changed since they were written.
    pub fn changed(&self) -> Vec<HourLines> {
        let lines = |at: u64, hour: &Hour| {
            let each = |((pool, repository, market, instance_type, currency), amount): (&LineKey, &Amount)| UsageLine {
                hour: hour_text(at),
                pool: pool.clone(),
                repository: repository.clone(),
                market: market.clone(),
                instance_type: instance_type.clone(),
                currency: currency.clone(),
                amount: amount.clone(),
            };
            hour.lines.iter().map(each).collect()
        };
        let changed = self.hours.iter().filter(|(_, hour)| hour.version > hour.written);
        changed.map(|(at, hour)| HourLines { hour: *at, version: hour.version, lines: lines(*at, hour) }).collect()
    }

    /// Notes that this state of an hour was written. Hours that are over at `now` and written whole are forgotten.
    pub fn written(&mut self, hour: u64, version: u64, now: Time) {
        if let Some(hour) = self.hours.get_mut(&hour) {
            hour.written = version;
        }
        let current = now.as_millis() / HOUR_MS;
        // A look may still count up to two minutes for the hour before.
        self.hours.retain(|at, hour| hour.version > hour.written || at + 2 > current);
    }
}

/// The key of an hour's object: one for each hour and process, so that no process overwrites another's.
pub fn object_key(cluster: &str, hour: u64, process: &str) -> String {
    let text = hour_text(hour);
    format!("{}{}/{}-{process}.jsonl", prefix(cluster), &text[..10], &text[11..13])
}

/// The key of an hour's history, beside the hour's usage.
pub fn history_key(cluster: &str, hour: u64, process: &str) -> String {
    object_key(cluster, hour, process).replace(".jsonl", HISTORY)
}

/// The prefix of all of a cluster's objects.
pub fn prefix(cluster: &str) -> String {
    format!("usage/{cluster}/")
}

/// Whether an object has the history of an hour that began at `since` or later.
pub fn is_history_since(cluster: &str, key: &str, since: u64) -> bool {
    key.strip_suffix(HISTORY).is_some_and(|name| is_since(cluster, &format!("{name}.jsonl"), since))
}

/// Whether an object has the lines of an hour that began at `since` or later. An object with another name has none.
pub fn is_since(cluster: &str, key: &str, since: u64) -> bool {
    let name = key.strip_prefix(&prefix(cluster)).filter(|name| name.ends_with(".jsonl"));
    let hour = name.and_then(|name| Some(format!("{}T{}:00:00Z", name.get(..10)?, name.get(11..13)?)));
    hour.is_some_and(|hour| chrono::DateTime::parse_from_rfc3339(&hour).is_ok() && hour >= hour_text(since))
}

/// The hour that a time is in, counted since 1970.
pub fn hour_of(at_ms: u64) -> u64 {
    at_ms / HOUR_MS
}

/// When an hour began, such as `2026-12-01T13:00:00Z`.
pub(crate) fn hour_text(hour: u64) -> String {
    let at = i64::try_from(hour * HOUR_MS).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_else(|| "1970-01-01T00:00:00Z".into())
}

/// The lines as an object's text.
pub fn to_text(lines: &[UsageLine]) -> String {
    let json = |line| serde_json::to_string(line).map(|text| text + "\n").unwrap_or_default();
    lines.iter().map(json).collect()
}

/// Reads an object's text. Returns the lines, and how many lines could not be read. A field that a newer muster writes is left out.
pub fn from_text(text: &str) -> (Vec<UsageLine>, usize) {
    let (mut lines, mut bad) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<UsageLine>(line) {
            Ok(line) if !line.hour.is_empty() && line.amount.seconds >= 0.0 => lines.push(line),
            _ => bad += 1,
        }
    }
    (lines, bad)
}

/// The lines of an hour without market and type, which a month in memory has no need of.
pub fn by_pool_and_repository(lines: Vec<UsageLine>) -> Vec<UsageLine> {
    let mut sums: BTreeMap<(String, String, String, String), Amount> = BTreeMap::new();
    for UsageLine { hour, pool, repository, currency, amount, .. } in lines {
        sums.entry((hour, pool, repository, currency)).or_default().add(&amount);
    }
    let line = |((hour, pool, repository, currency), amount)| UsageLine {
        hour,
        pool,
        repository,
        currency,
        amount,
        ..UsageLine::default()
    };
    sums.into_iter().map(line).collect()
}

/// What usage is summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The pool.
    Pool,
    /// The repository.
    Repository,
    /// The market.
    Market,
    /// The instance type.
    Type,
    /// The day, in UTC.
    Day,
}

impl By {
    fn of(self, line: &UsageLine) -> String {
        match self {
            By::Pool => line.pool.clone(),
            By::Repository => line.repository.clone(),
            By::Market => line.market.clone(),
            By::Type => line.instance_type.clone(),
            By::Day => line.hour.get(..10).unwrap_or_default().to_owned(),
        }
    }
}

/// A sum of usage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// What the sum is of, in the order that was asked for. [`OTHER`]: of all that is not listed.
    pub of: Vec<String>,
    /// The instance hours.
    pub hours: f64,
    /// The instance hours that have a price.
    pub priced_hours: f64,
    /// The cost of the hours with a price, by currency.
    pub cost: BTreeMap<String, f64>,
}

impl Sum {
    pub(crate) fn add(&mut self, currency: &str, amount: &Amount) {
        self.hours += amount.seconds / 3600.0;
        self.priced_hours += amount.priced_seconds / 3600.0;
        if amount.priced_seconds > 0.0 {
            *self.cost.entry(currency.to_owned()).or_default() += amount.cost;
        }
    }

    fn merge(&mut self, other: &Sum) {
        self.hours += other.hours;
        self.priced_hours += other.priced_hours;
        for (currency, cost) in &other.cost {
            *self.cost.entry(currency.clone()).or_default() += cost;
        }
    }
}

/// Sums the lines. The dearest come first, then those that ran longest. At most `most` are told apart, and the rest is one sum.
/// Returns the sums, and the sum of everything.
pub fn sum<'a>(lines: impl IntoIterator<Item = &'a UsageLine>, by: &[By], most: usize) -> (Vec<Sum>, Sum) {
    let mut sums: BTreeMap<Vec<String>, Sum> = BTreeMap::new();
    let mut all = Sum::default();
    for line in lines {
        let of: Vec<String> = by.iter().map(|by| by.of(line)).collect();
        all.add(&line.currency, &line.amount);
        sums.entry(of.clone()).or_insert_with(|| Sum { of, ..Sum::default() }).add(&line.currency, &line.amount);
    }
    (dearest(sums.into_values().collect(), most), all)
}

/// The sums, the dearest first, and then those that ran longest. What is more than `most` is one sum.
pub(crate) fn dearest(mut sums: Vec<Sum>, most: usize) -> Vec<Sum> {
    let cost = |sum: &Sum| sum.cost.values().sum::<f64>();
    sums.sort_by(|a, b| cost(b).total_cmp(&cost(a)).then(b.hours.total_cmp(&a.hours)));
    if sums.len() > most {
        let rest = sums.split_off(most);
        let of = vec![OTHER.to_owned(); rest.first().map_or(1, |sum| sum.of.len())];
        let mut other = Sum { of, ..Sum::default() };
        rest.iter().for_each(|sum| other.merge(sum));
        sums.push(other);
    }
    sums
}

/// The lines of these pools and repositories. An empty set stands for all.
pub fn only<'a>(
    lines: &'a [UsageLine],
    pools: &'a BTreeSet<String>,
    repositories: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a UsageLine> {
    let fits = |set: &BTreeSet<String>, value: &String| set.is_empty() || set.contains(value);
    lines.iter().filter(move |line| fits(pools, &line.pool) && fits(repositories, &line.repository))
}

#[cfg(test)]
mod tests {
    use muster_reconciler::market::Market;

    use super::*;

    fn used(repo: &str) -> BilledFor {
        BilledFor { pool: "linux".into(), market: Market::Spot, instance_type: "m7i.large".into(), repo: repo.into() }
    }

    fn amount(seconds: f64, cost: Option<f64>) -> Amount {
        Amount { seconds, priced_seconds: cost.map_or(0.0, |_| seconds), cost: cost.unwrap_or_default() }
    }

    /// 2026-12-01T13:00:00Z.
    const NOON: Time = Time::from_millis(1_796_130_000_000);

    #[test]
    fn an_hour_is_written_until_it_is_over_and_written_whole() {
        let mut ledger = UsageLedger::default();
        ledger.add(NOON, &used("acme/api"), "USD", &amount(10.0, Some(0.5)));
        ledger.add(NOON, &used("acme/api"), "USD", &amount(10.0, Some(0.5)));
        ledger.add(NOON, &used(""), "USD", &amount(5.0, None));
        let first = ledger.changed();
        assert_eq!(first.len(), 1);
        let text = to_text(&first[0].lines);
        assert_eq!(
            text,
            "{\"hour\":\"2026-12-01T13:00:00Z\",\"pool\":\"linux\",\"repository\":\"acme/api\",\"market\":\"spot\",\
             \"instanceType\":\"m7i.large\",\"currency\":\"USD\",\"seconds\":20.0,\"pricedSeconds\":20.0,\"cost\":1.0}\n\
             {\"hour\":\"2026-12-01T13:00:00Z\",\"pool\":\"linux\",\"repository\":\"none\",\"market\":\"spot\",\
             \"instanceType\":\"m7i.large\",\"currency\":\"\",\"seconds\":5.0,\"pricedSeconds\":0.0,\"cost\":0.0}\n"
        );
        assert_eq!(from_text(&text), (first[0].lines.clone(), 0));
        // What comes while the hour is being written is written the next time.
        ledger.add(NOON, &used(""), "USD", &amount(5.0, None));
        ledger.written(first[0].hour, first[0].version, NOON);
        let second = ledger.changed();
        assert_eq!(second[0].lines[1].amount.seconds, 10.0);
        let later = Time::from_millis(NOON.as_millis() + 2 * HOUR_MS);
        ledger.written(second[0].hour, second[0].version, later);
        assert!(ledger.changed().is_empty() && ledger.hours.is_empty(), "{ledger:?}");
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut ledger = UsageLedger::default();
        for n in 0..MOST_LINES + 10 {
            ledger.add(NOON, &used(&format!("acme/{n}")), "USD", &amount(1.0, None));
        }
        let lines = &ledger.changed()[0].lines;
        let other: f64 = lines.iter().filter(|line| line.repository == OTHER).map(|line| line.amount.seconds).sum();
        assert_eq!((lines.len(), other), (MOST_LINES + 1, 10.0));
        ledger.add(NOON, &used(""), "", &amount(1.0, None));
        assert!(ledger.changed()[0].lines.iter().any(|line| line.repository == NO_JOB), "time without a job keeps its name");
        for n in 1..=MOST_HOURS as u64 {
            ledger.add(Time::from_millis(NOON.as_millis() + n * HOUR_MS), &used(""), "", &amount(1.0, None));
        }
        assert_eq!((ledger.take_forgotten(), ledger.take_forgotten(), ledger.hours.len()), (1, 0, MOST_HOURS));
    }

    #[test]
    fn keys_tell_their_hour() {
        let hour = hour_of(NOON.as_millis());
        let key = object_key("ci", hour, "ci-1a-2b");
        assert_eq!(key, "usage/ci/2026-12-01/13-ci-1a-2b.jsonl");
        let history = history_key("ci", hour, "ci-1a-2b");
        assert_eq!(history, "usage/ci/2026-12-01/13-ci-1a-2b.history");
        assert!(is_history_since("ci", &history, hour) && !is_history_since("ci", &history, hour + 1));
        assert!(!is_history_since("ci", &key, 0) && !is_since("ci", &history, 0), "each is read by its own reader");
        assert!(is_since("ci", &key, hour) && is_since("ci", &key, hour - 1) && !is_since("ci", &key, hour + 1));
        for odd in ["usage/ci/readme.jsonl", "usage/ci/2026-12-01/xx-p.jsonl", "usage/other/2026-12-01/13-p.jsonl", "usage/ci/é"]
        {
            assert!(!is_since("ci", odd, 0), "{odd}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read_are_counted_and_new_fields_are_left_out() {
        let good = "{\"hour\":\"2026-12-01T13:00:00Z\",\"pool\":\"p\",\"seconds\":3,\"pricedSeconds\":0,\"cost\":0,\"new\":1}";
        let (lines, bad) = from_text(&format!("{good}\n\nnonsense\n{{\"pool\":\"p\"}}\n"));
        assert_eq!((lines.len(), bad, lines[0].amount.seconds), (1, 2, 3.0));
    }

    #[test]
    fn sums_are_dearest_first_and_the_rest_is_one() {
        let line = |repository: &str, seconds: f64, cost: Option<f64>| UsageLine {
            hour: "2026-12-01T13:00:00Z".into(),
            pool: "linux".into(),
            repository: repository.into(),
            currency: if cost.is_some() { "USD".into() } else { String::new() },
            amount: amount(seconds, cost),
            ..UsageLine::default()
        };
        let lines = [
            line("a/cheap", 3600.0, Some(0.1)),
            line("a/dear", 3600.0, Some(0.9)),
            line("a/unpriced", 7200.0, None),
            line("a/dear", 1800.0, None),
        ];
        let (sums, all) = sum(&lines, &[By::Repository], 2);
        let names: Vec<&str> = sums.iter().map(|sum| sum.of[0].as_str()).collect();
        assert_eq!(names, ["a/dear", "a/cheap", "other"]);
        assert_eq!((sums[0].hours, sums[0].priced_hours, sums[0].cost["USD"]), (1.5, 1.0, 0.9));
        assert!(sums[2].hours == 2.0 && sums[2].cost.is_empty(), "unknown is not zero: {sums:?}");
        assert_eq!((all.hours, all.cost["USD"]), (4.5, 1.0));
        let (by_day, _) = sum(only(&lines, &BTreeSet::new(), &["a/dear".to_owned()].into()), &[By::Day, By::Pool], 9);
        assert_eq!((by_day.len(), by_day[0].of.clone()), (1, vec!["2026-12-01".to_owned(), "linux".to_owned()]));
    }
}
