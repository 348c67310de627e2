//! The single fields of a trace: times, durations, labels, repositories. Each error says what to write instead.

use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_reconciler::manifest::Span;
use muster_reconciler::time::Time;

/// GitHub ends a job on a self-hosted runner after five days.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
pub const LONGEST_JOB: Duration = Duration::from_secs(5 * 86_400);
/// From this number on, seconds count from the Unix epoch. Below it, they count from the beginning of the trace.
const EPOCH_FROM: f64 = 1e9;
/// From this number on, the value must be milliseconds.
const MILLISECONDS_FROM: f64 = 1e11;

/// When a job was queued.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// A time of the calendar.
    At(Time),
    /// A time after the beginning of the trace.
    After(Duration),
}

/// Reads a time: RFC 3339, or a number of seconds.
pub fn when(text: &str) -> Result<When, String> {
    let way_out = "write RFC 3339 such as 2026-01-05T08:30:00Z, or seconds from the beginning or from the Unix epoch";
    if let Ok(seconds) = text.parse::<f64>() {
        return match seconds {
            s if !s.is_finite() || s < 0.0 => Err(format!("`{text}` lies before the beginning; {way_out}")),
            s if s >= MILLISECONDS_FROM => Err(format!("`{text}` is in milliseconds, it seems; {way_out}")),
            s if s >= EPOCH_FROM => Ok(When::At(Time::ZERO + Duration::from_secs_f64(s))),
            s => Ok(When::After(Duration::from_secs_f64(s))),
        };
    }
    calendar(text).map(When::At).ok_or_else(|| format!("`{text}` is no time; {way_out}"))
}

/// Reads a time of RFC 3339, from 1970 on.
pub fn calendar(text: &str) -> Option<Time> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok().map(Time::from_millis)
}

/// A time as RFC 3339 in UTC, to the second.
pub fn said(time: Time) -> String {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    DateTime::<Utc>::from_timestamp_millis(ms).map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Reads a duration: a number of seconds, or `90s`, `5m` or `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let way_out = "write seconds such as 90, or a number and s, m or h such as 5m";
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text.parse::<Span>().ok().map(Span::get),
    };
    match parsed {
        None => Err(format!("`{text}` is no duration; {way_out}")),
        Some(Duration::ZERO) => Err("a job that takes no time runs nowhere; write a duration above 0".into()),
        Some(d) if d > LONGEST_JOB => Err(format!("`{text}` is longer than 5 days, after which GitHub ends a job; {way_out}")),
        Some(d) => Ok(d),
    }
}

/// Checks the labels of a job: there is at least one, and none is empty or has a line break.
pub fn labels<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let labels: Vec<String> = labels.map(|l| l.trim().to_owned()).collect();
    if labels.iter().any(|label| label.contains(['\n', '\r'])) {
        return Err("a label has a line break in it; write it on one line".into());
    }
    match labels.iter().any(String::is_empty) || labels.is_empty() {
        true => Err("a label is missing; write the job's runs-on, such as self-hosted;linux;x64".into()),
        false => Ok(labels),
    }
}

/// Checks that a repository is `OWNER/NAME`.
pub fn repository(text: &str) -> Result<String, String> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [owner, name] if !owner.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no repository; write OWNER/NAME, or leave it out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_by_the_calendar_or_in_seconds() {
        let noon = Time::from_millis(1_767_614_400_000);
        assert_eq!(when("2026-01-05T12:00:00Z"), Ok(When::At(noon)));
        assert_eq!(when("2026-01-05T13:00:00+01:00"), Ok(When::At(noon)));
        assert_eq!(when("1767614400"), Ok(When::At(noon)));
        assert_eq!(when("90.5"), Ok(When::After(Duration::from_millis(90_500))));
        assert_eq!(said(noon), "2026-01-05T12:00:00Z");
        for (bad, why) in [
            ("-1", "before the beginning"),
            ("NaN", "before"),
            ("1767614400000", "milliseconds"),
            ("noon", "no time"),
            ("", "no time"),
        ] {
            let error = when(bad).expect_err(bad);
            assert!(error.contains(why) && error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn durations_are_seconds_or_say_their_unit() {
        for (text, seconds) in [("90", 90.0), ("0.5", 0.5), ("90s", 90.0), ("5m", 300.0), ("2h", 7200.0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for bad in ["", "5 min", "-3", "0", "6d", "inf", "NaN", "1e300"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_and_repositories() {
        assert_eq!(labels("a; b".split(';')), Ok(vec!["a".into(), "b".into()]));
        assert!(labels("a;;b".split(';')).is_err() && labels("".split(';')).is_err());
        assert_eq!(repository("acme/web").as_deref(), Ok("acme/web"));
        for bad in ["web", "a/b/c", "/web", ""] {
            assert!(repository(bad).is_err(), "{bad}");
        }
    }
}
