//! Two runs side by side: the figures that one chooses by.

use serde::Serialize;

use super::answer::{Answer, Run};
use super::table;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Things.
    Count,
    /// Hours.
    Hours,
    /// The price file's currency.
    Money,
    /// A share, 0 to 1.
    Share,
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// What it is.
    pub figure: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Of the first directory. None: there is none, such as a percentile that fell on a job that never started.
    pub a: Option<f64>,
    /// Of the other.
    pub b: Option<f64>,
}

/// The figures of both runs; empty when there is one only.
pub fn compare(runs: &[Run]) -> Vec<Compared> {
    let [a, b] = runs else { return Vec::new() };
    let both = |figure, unit, of: fn(&Run) -> Option<f64>| Compared { figure, unit, a: of(a), b: of(b) };
    vec![
        both("median wait", Unit::Seconds, |r| r.total.wait_seconds.p50),
        both("wait, 90%", Unit::Seconds, |r| r.total.wait_seconds.p90),
        both("wait, 99%", Unit::Seconds, |r| r.total.wait_seconds.p99),
        both("longest wait", Unit::Seconds, |r| r.total.wait_seconds.max),
        both("jobs that never started", Unit::Count, |r| Some(r.total.unstarted as f64)),
        both("jobs that no pool takes", Unit::Count, |r| Some(r.unrouted.iter().map(|u| u.jobs).sum::<u64>() as f64)),
        both("jobs lost with their box", Unit::Count, |r| Some(r.total.lost as f64)),
        both("lost jobs queued again", Unit::Count, |r| Some(r.reruns as f64)),
        both("boxes that spot took back", Unit::Count, |r| Some(r.total.taken_back as f64)),
        both("boxes launched", Unit::Count, |r| Some(r.total.boxes as f64)),
        both("boxes at the peak", Unit::Count, |r| Some(r.total.peak_boxes as f64)),
        both("box time without a job", Unit::Share, |r| Some(r.total.waste)),
        both("spot hours", Unit::Hours, |r| Some(hours_of(r, "spot"))),
        both("on-demand hours", Unit::Hours, |r| Some(hours_of(r, "on-demand"))),
        both("estimated cost", Unit::Money, |r| Some(r.cost.total)),
        both("hours with a price", Unit::Share, |r| r.cost.coverage),
        both("hours simulated", Unit::Hours, |r| Some(r.simulated_hours)),
        both("API calls", Unit::Count, |r| Some(r.api.iter().map(|a| a.calls).sum::<u64>() as f64)),
        both("API calls throttled", Unit::Count, |r| Some(r.api.iter().map(|a| a.throttled).sum::<u64>() as f64)),
    ]
}

fn hours_of(run: &Run, market: &str) -> f64 {
    run.total.instance_hours.get(market).copied().unwrap_or_default()
}

impl Compared {
    /// The figure, both values and the change, for people.
    pub fn cells(&self, answer: &Answer) -> [String; 4] {
        let figure = match self.unit {
            Unit::Money => format!("{}, {}", self.figure, answer.prices.currency),
            _ => self.figure.to_owned(),
        };
        [figure, self.say(self.a), self.say(self.b), self.change()]
    }

    fn say(&self, value: Option<f64>) -> String {
        let Some(x) = value else { return if self.unit == Unit::Seconds { "never".into() } else { "-".into() } };
        match self.unit {
            Unit::Seconds => super::axes::seconds(x),
            Unit::Count => table::number(x as u64),
            Unit::Hours | Unit::Money => table::decimal(x),
            Unit::Share => table::percent(x),
        }
    }

    /// From the first to the other, in percent (of shares: in percentage points).
    fn change(&self) -> String {
        match (self.a, self.b) {
            (Some(a), Some(b)) if a == b => "=".into(),
            (Some(a), Some(b)) if self.unit == Unit::Share => format!("{:+.1} points", (b - a) * 100.0),
            (Some(a), Some(b)) if a > 0.0 => match (b / a - 1.0) * 100.0 {
                less if less.abs() < 0.5 => "under 1%".into(),
                change => format!("{change:+.0}%"),
            },
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_well() {
        let of = |unit, a, b| Compared { figure: "x", unit, a, b }.change();
        assert_eq!(of(Unit::Seconds, Some(100.0), Some(150.0)), "+50%");
        assert_eq!(of(Unit::Share, Some(0.5), Some(0.4)), "-10.0 points");
        assert_eq!([of(Unit::Count, Some(0.0), Some(3.0)), of(Unit::Count, Some(3.0), Some(3.0))], ["", "="]);
        assert_eq!(of(Unit::Seconds, Some(1.0), None), "");
        assert_eq!(of(Unit::Hours, Some(1000.0), Some(999.0)), "under 1%");
    }
}
