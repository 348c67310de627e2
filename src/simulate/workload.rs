//! A workload: jobs as they come on average. It has kinds of jobs with their rates by hour and weekday, and what is assumed
//! of the world. `docs/simulate.md` is the reference.

use std::time::Duration;

use chrono_tz::Tz;
use muster_reconciler::manifest::{Lone, Problem, Span, Text};
use muster_reconciler::time::Time;
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use serde::Deserialize;

use super::field;
use super::trace::MONDAY;

/// The longest workload that is drawn.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// The most jobs an hour. More must be a mistake.
const MOST_PER_HOUR: f64 = 100_000.0;

/// A workload file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Workload {
    /// When the workload begins (RFC 3339). Default: Monday, 5 January 2026, 00:00 UTC.
    pub begin: Option<String>,
    /// For how long jobs are queued: 1m to 31d.
    pub length: Span,
    /// The IANA time zone of `hours` and `weekdays`.
    pub timezone: String,
    /// The kinds of jobs.
    pub kinds: Vec<WorkloadKind>,
    /// What is assumed of the world, where it differs from the weather.
    pub world: Overrides,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            begin: None,
            length: Span::secs(86_400),
            timezone: "UTC".into(),
            kinds: Vec::new(),
            world: Overrides::default(),
        }
    }
}

/// One kind of job.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadKind {
    /// The name, for messages. It also selects the kind's stream of random numbers.
    pub name: String,
    /// The job's `runs-on`.
    pub labels: Vec<String>,
    /// The repository, as `OWNER/NAME`. Default: one whose jobs a pool takes.
    pub repo: Option<String>,
    /// How long the jobs run.
    pub duration: Lasts,
    /// How many jobs come. The first rate that matches a time applies. If no rate matches, no job comes.
    pub rates: Vec<WorkloadRate>,
    /// How many jobs come together, as those of a matrix do.
    pub batch: u32,
}

impl Default for WorkloadKind {
    fn default() -> Self {
        WorkloadKind {
            name: String::new(),
            labels: Vec::new(),
            repo: None,
            duration: Lasts::default(),
            rates: Vec::new(),
            batch: 1,
        }
    }
}

/// How long jobs run: `exactly`, or `min` and `max` (evenly between them), or `median` and `p90` (log-normal).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Lasts {
    /// All jobs run this long.
    pub exactly: Option<Span>,
    /// The shortest time.
    pub min: Option<Span>,
    /// The longest time.
    pub max: Option<Span>,
    /// Half of the jobs run no longer.
    pub median: Option<Span>,
    /// Nine of ten jobs run no longer.
    pub p90: Option<Span>,
}

/// How many jobs come at certain times.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadRate {
    /// The weekdays, such as `MON-FRI` or `SAT,SUN`. Default: all.
    pub weekdays: Option<String>,
    /// The hours, such as `8-17` (8:00 to 17:59), `22-5` or `6,18`. Default: all.
    pub hours: Option<String>,
    /// How many jobs come in an hour, on average.
    pub per_hour: f64,
}

/// A workload without problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// When the workload begins.
    pub begin: Time,
    /// For how long jobs are queued.
    pub length: Duration,
    /// The time zone of hours and weekdays.
    pub zone: Tz,
    /// The kinds of jobs, as the file has them.
    pub kinds: Vec<WorkloadKind>,
    /// The rates of each kind, in the order of `kinds`.
    pub rates: Vec<Vec<RateSlot>>,
    /// The assumptions.
    pub conditions: Conditions,
}

/// One rate, with its weekdays and hours as bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateSlot {
    /// Bit n stands for weekday n. Bit 0 is Monday.
    pub weekdays: u8,
    /// Bit n stands for the hour that begins at n:00.
    pub hours: u32,
    /// How many jobs come in an hour, on average.
    pub per_hour: f64,
}

/// Reads a workload file. With `with_trace`, the jobs come from a trace, and the file may have only `world`.
///
/// # Errors
/// Every problem of the file, with its line.
pub fn read(text: &Text, weather: Weather, with_trace: bool) -> Result<Checked, Vec<Problem>> {
    let mut lone = Lone::<Workload>::read(text);
    let begin = check_frame(&mut lone, with_trace);
    let zone = lone.value.timezone.parse::<Tz>();
    if zone.is_err() {
        lone.refuse("timezone", "unknown time zone; write an IANA name such as Europe/Amsterdam");
    }
    let rates = (0..lone.value.kinds.len()).map(|nth| check_kind(&mut lone, nth)).collect();
    let conditions = Conditions::new(weather, &lone.value.world);
    for (field, message) in conditions.problems() {
        lone.refuse(&format!("world.{field}"), message);
    }
    let (value, problems) = lone.finish();
    match problems.is_empty() {
        false => Err(problems),
        true => Ok(Checked {
            begin,
            length: value.length.get(),
            zone: zone.unwrap_or(Tz::UTC),
            kinds: value.kinds,
            rates,
            conditions,
        }),
    }
}

fn check_frame(lone: &mut Lone<Workload>, with_trace: bool) -> Time {
    let begin = match lone.value.begin.as_deref().map(field::calendar) {
        None => MONDAY,
        Some(Some(at)) => at,
        Some(None) => {
            lone.refuse("begin", "no time; write RFC 3339 such as 2026-01-05T00:00:00Z");
            MONDAY
        }
    };
    let length = lone.value.length.get();
    if !(Duration::from_secs(60)..=LONGEST).contains(&length) {
        lone.refuse("length", "out of range; write 1m to 31d");
    }
    match (lone.value.kinds.is_empty(), with_trace) {
        (false, true) => {
            lone.refuse("kinds", "the jobs come from the trace; leave `kinds` out, only `world` is used beside a trace")
        }
        (true, false) => lone.refuse("kinds", "required: write at least one kind of job"),
        _ => {}
    }
    begin
}

fn check_kind(lone: &mut Lone<Workload>, nth: usize) -> Vec<RateSlot> {
    let kind = lone.value.kinds[nth].clone();
    let at = |field: &str| format!("kinds[{nth}].{field}");
    if kind.name.is_empty() {
        lone.refuse(&at("name"), "required: write a name");
    } else if lone.value.kinds[..nth].iter().any(|k| k.name == kind.name) {
        lone.refuse(&at("name"), format!("`{}` stands here twice; give each kind a name of its own", kind.name));
    }
    if let Err(message) = field::labels(kind.labels.iter().map(String::as_str)) {
        lone.refuse(&at("labels"), message);
    }
    if let Some(Err(message)) = kind.repo.as_deref().map(field::repository) {
        lone.refuse(&at("repo"), message);
    }
    if let Err(message) = kind.duration.check() {
        lone.refuse(&at("duration"), message);
    }
    if !(1..=1000).contains(&kind.batch) {
        lone.refuse(&at("batch"), "out of range; write 1 to 1000");
    }
    if kind.rates.is_empty() {
        lone.refuse(&at("rates"), "required: write at least one rate, such as `- perHour: 20`");
    }
    let slot = |(i, rate): (usize, &WorkloadRate)| {
        let at = |field: &str| format!("kinds[{nth}].rates[{i}].{field}");
        let weekdays = rate.weekdays.as_deref().map_or(Ok(0x7f), |text| set(text, 7, weekday));
        let hours = rate.hours.as_deref().map_or(Ok(0xff_ffff), |text| set(text, 24, |h| h.parse().ok().filter(|h| *h < 24)));
        if weekdays.is_err() {
            lone.refuse(&at("weekdays"), "unreadable; write weekdays such as MON-FRI or SAT,SUN");
        }
        if hours.is_err() {
            lone.refuse(&at("hours"), "unreadable; write hours from 0 to 23 such as 8-17, 22-5 or 6,18");
        }
        if !(0.0..=MOST_PER_HOUR).contains(&rate.per_hour) {
            lone.refuse(&at("perHour"), "out of range; write 0 to 100000");
        }
        let weekdays = u8::try_from(weekdays.unwrap_or_default()).unwrap_or_default();
        RateSlot { weekdays, hours: hours.unwrap_or_default(), per_hour: rate.per_hour }
    };
    kind.rates.iter().enumerate().map(slot).collect()
}

impl Lasts {
    /// Checks that exactly one of the three forms is used, and that its times are possible.
    fn check(&self) -> Result<(), String> {
        let pair = match (self.exactly, self.min, self.max, self.median, self.p90) {
            (Some(exactly), None, None, None, None) => (exactly, exactly),
            (None, Some(min), Some(max), None, None) => (min, max),
            (None, None, None, Some(median), Some(p90)) => (median, p90),
            _ => return Err("write either exactly, or min and max, or median and p90, such as {median: 4m, p90: 12m}".into()),
        };
        match pair {
            (low, high) if low > high => Err(format!("{low} is longer than {high}; swap them")),
            (low, _) if low.get().is_zero() => Err("a job that takes no time runs nowhere; write a duration above 0".into()),
            (_, high) if high.get() > field::LONGEST_JOB => Err("longer than 5 days, after which GitHub ends a job".into()),
            _ => Ok(()),
        }
    }
}

/// Reads `a-b,c` as bits. A range may wrap around, as in `22-5`.
fn set(text: &str, size: u32, number: impl Fn(&str) -> Option<u32>) -> Result<u32, ()> {
    let mut bits = 0;
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(from.trim()).ok_or(())?, number(to.trim()).ok_or(())?);
        let mut at = from;
        loop {
            bits |= 1 << at;
            if at == to {
                break;
            }
            at = (at + 1) % size;
        }
    }
    Ok(bits)
}

fn weekday(name: &str) -> Option<u32> {
    ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]
        .iter()
        .position(|day| day.eq_ignore_ascii_case(name))
        .and_then(|nth| u32::try_from(nth).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Checked, Vec<String>> {
        let text = Text { file: "w.yaml".into(), body: body.into() };
        read(&text, Weather::Mild, false).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    const GOOD: &str = "
length: 2d
timezone: Europe/Amsterdam
kinds:
  - name: test
    labels: [self-hosted, linux]
    duration: {median: 4m, p90: 12m}
    rates:
      - {weekdays: MON-FRI, hours: 8-17, perHour: 120}
      - {perHour: 10}
    batch: 4
world:
  interruption: 0.2
";

    #[test]
    fn a_workload_says_what_it_means() {
        let w = parse(GOOD).expect("a good one");
        assert_eq!((w.begin, w.length, w.zone), (MONDAY, Duration::from_secs(2 * 86_400), Tz::Europe__Amsterdam));
        assert_eq!(w.rates[0][0], RateSlot { weekdays: 0b1_1111, hours: 0b11_1111_1111 << 8, per_hour: 120.0 });
        assert_eq!(w.rates[0][1], RateSlot { weekdays: 0x7f, hours: 0xff_ffff, per_hour: 10.0 });
        let mild = Conditions::new(Weather::Mild, &Overrides::default());
        assert_eq!(w.conditions, Conditions { interruption: 0.2, ..mild });
    }

    #[test]
    fn sets_wrap_around() {
        let hour = |h: &str| h.parse().ok().filter(|h| *h < 24);
        assert_eq!(set("22-1", 24, hour), Ok(1 << 22 | 1 << 23 | 1 | 2));
        assert_eq!(set("sat, sun", 7, weekday), Ok(0b110_0000));
        for bad in ["", "8-", "24", "8-x"] {
            assert!(set(bad, 24, hour).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_its_line() {
        let body = "length: 90d
timezone: Mars/Base
kinds:
  - name: test
    labels: []
    repo: web
    duration: {median: 4m}
    rates:
      - {hours: 8-25, weekdays: MON-FRY, perHour: -1}
    batch: 0
  - name: test
    labels: [x]
    duration: {min: 5m, max: 1m}
world: {interruption: 7, spotty: 1}
";
        let said = parse(body).expect_err("many problems");
        let starts = [
            "w.yaml:1: length: out of range",
            "w.yaml:2: timezone: unknown time zone",
            "w.yaml:5: kinds[0].labels: a label is missing",
            "w.yaml:6: kinds[0].repo: `web` is no repository",
            "w.yaml:7: kinds[0].duration: write either exactly",
            "w.yaml:9: kinds[0].rates[0].hours: unreadable",
            "w.yaml:9: kinds[0].rates[0].perHour: out of range",
            "w.yaml:9: kinds[0].rates[0].weekdays: unreadable",
            "w.yaml:10: kinds[0].batch: out of range",
            "w.yaml:11: kinds[1].name: `test` stands here twice",
            "w.yaml:11: kinds[1].rates: required",
            "w.yaml:13: kinds[1].duration: 5m is longer than 1m",
            "w.yaml:14: world.interruption: 7 is no share",
            "w.yaml:14: world.spotty: unknown field",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (line, start) in said.iter().zip(starts) {
            assert!(line.starts_with(start), "{line} / {start}");
        }
    }

    #[test]
    fn beside_a_trace_only_the_world_may_be_said() {
        let text = |body: &str| Text { file: "w.yaml".into(), body: body.into() };
        let world = read(&text("world: {bootFailure: 0.5}\n"), Weather::Calm, true).expect("a world");
        assert_eq!(world.conditions.boot_failure, 0.5);
        assert!(read(&text(GOOD), Weather::Calm, true).expect_err("kinds")[0].message.contains("the jobs come from the trace"));
        assert!(read(&text("length: 1d\n"), Weather::Calm, false).expect_err("no kinds")[0].path == "kinds");
    }
}
