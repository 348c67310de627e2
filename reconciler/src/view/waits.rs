//! How long jobs wait, as people see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How long something took, over the last hour or day. The times are rounded up, by a fifth at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpanView {
    /// The number of jobs or starts that were seen.
    pub count: u32,
    /// Half of them took at most so many seconds.
    pub median_seconds: f64,
    /// Nine of ten took at most so many seconds.
    pub most_seconds: f64,
}

/// One hour of a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HourView {
    /// When the hour began, in milliseconds since 1970.
    pub at: u64,
    /// How long the jobs waited that started within the hour. None: no job did.
    pub waits: Option<SpanView>,
    /// How long the runners took to start that came online within the hour. None: no runner did.
    pub starts: Option<SpanView>,
    /// How many jobs waited at most so many milliseconds, but longer than the number before. Hours of several pools and processes
    /// can be added up by it.
    #[serde(skip)]
    pub wait_counts: BTreeMap<u64, u32>,
    /// The same for the starts.
    #[serde(skip)]
    pub start_counts: BTreeMap<u64, u32>,
}

/// How long the jobs of a pool wait: from queued to started. The time for which GitHub held a job back does not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitsView {
    /// The queued jobs that count.
    pub waiting: u32,
    /// The seconds for which the oldest of them has waited. None: no job waits.
    pub oldest_seconds: Option<u64>,
    /// What the next job can expect, in one clause.
    pub next: String,
    /// The same in one word that never changes.
    pub next_word: String,
    /// Of the jobs that started within the last hour. None: there were none.
    pub hour: Option<SpanView>,
    /// Of the jobs that started within the last day, as far as this process saw them.
    pub day: Option<SpanView>,
    /// From the launch call until GitHub saw the runner online, over the last hour.
    pub starts_hour: Option<SpanView>,
    /// The same over the last day.
    pub starts_day: Option<SpanView>,
    /// The last day by the hour, oldest first, as far as this process saw it.
    pub hours: Vec<HourView>,
}

/// What a queued job can expect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceView {
    /// The job's place among the queued jobs of its pool that count, by age: 1 is the oldest. GitHub may give runners to jobs in
    /// another order. None: the job does not count now.
    pub place: Option<u32>,
    /// The number of those jobs.
    pub of: u32,
    /// When a runner can be expected, in one clause.
    pub expected: String,
    /// The same in one word that never changes.
    pub expected_word: String,
}

impl PlaceView {
    /// `usually within 50s; 5th of 16`.
    pub fn say(&self) -> String {
        match self.place {
            Some(place) => format!("{}; {} of {}", self.expected, nth(place), self.of),
            None => self.expected.clone(),
        }
    }
}

fn nth(n: u32) -> String {
    let end = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_people_say_it() {
        assert_eq!([1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(nth).join(" "), "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th");
        let told = PlaceView { place: Some(5), of: 16, expected: "usually within 50s".into(), expected_word: "usually".into() };
        assert_eq!(told.say(), "usually within 50s; 5th of 16");
    }
}
