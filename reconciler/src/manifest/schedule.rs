//! The warm floor at a given time: the value of the first schedule that holds, or else `idle`.
//!
//! Where the wall clock jumps, schedules follow cron's custom. A fixed time that is skipped in spring fires at the first moment
//! after the jump. A time that is repeated in autumn fires once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

use super::{Capacity, IdleSchedule};
use crate::time::Time;

impl Capacity {
    /// The warm floor that is in force at `now`. It is never above `max`, and depends only on the arguments.
    pub fn idle_at(&self, now: Time) -> u32 {
        let holding = self.schedules.iter().find(|schedule| schedule.holds_at(now));
        holding.map_or(self.idle, |schedule| schedule.idle).min(self.max)
    }
}

impl IdleSchedule {
    /// Whether the schedule fired within the last `hold`. A schedule that cannot be read never holds; validation refuses it.
    fn holds_at(&self, now: Time) -> bool {
        MEMO.with_borrow_mut(|memo| {
            if memo.len() > MOST_REMEMBERED {
                memo.clear();
            }
            let key = (self.cron.clone(), self.timezone.clone());
            let clock = memo.entry(key).or_insert_with(|| ZonedCron::new(&self.cron, &self.timezone));
            clock.last_firing(now).is_some_and(|fired| now.since(fired) < self.hold.get())
        })
    }
}

/// The most schedules that are remembered. When there are more, all are forgotten and read again.
const MOST_REMEMBERED: usize = 1000;

thread_local! {
    /// It takes about 50 µs to read a pattern and to search for its last firing, and every plan asks for it. The answer stays the
    /// same for a minute, so it is remembered here. This changes no answer.
    static MEMO: RefCell<BTreeMap<(String, String), ZonedCron>> = const { RefCell::new(BTreeMap::new()) };
}

/// A pattern in its time zone, and the last question about it.
struct ZonedCron {
    pattern: Option<(Cron, Tz)>,
    /// The minutes since 1970, and the last firing up to that minute.
    asked: Option<(u64, Option<Time>)>,
}

impl ZonedCron {
    fn new(cron: &str, timezone: &str) -> ZonedCron {
        ZonedCron { pattern: parse(cron).ok().zip(timezone.parse().ok()), asked: None }
    }

    fn last_firing(&mut self, now: Time) -> Option<Time> {
        let minute = now.as_millis() / 60_000;
        match self.asked {
            Some((asked, fired)) if asked == minute => fired,
            _ => {
                let fired = self.search(now);
                self.asked = Some((minute, fired));
                fired
            }
        }
    }

    fn search(&self, now: Time) -> Option<Time> {
        let (cron, zone) = self.pattern.as_ref()?;
        let now = DateTime::from_timestamp_millis(i64::try_from(now.as_millis()).ok()?)?;
        let fired = cron.find_previous_occurrence(&now.with_timezone(zone), true).ok()?;
        u64::try_from(fired.timestamp_millis()).ok().map(Time::from_millis)
    }
}

fn parse(pattern: &str) -> Result<Cron, CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(pattern)
}

/// Checks that a pattern is five-field cron (or `@daily` and the like), and that it fires on some day. The error is a fragment
/// that fits after the pattern.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let cron = parse(pattern).map_err(|error| format!("is no cron pattern ({error})"))?;
    let first = cron.find_next_occurrence(&DateTime::UNIX_EPOCH, true);
    first.map(drop).map_err(|_| "is a day that never comes".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Span;

    fn at(utc: &str) -> Time {
        let when = DateTime::parse_from_rfc3339(utc).expect(utc);
        Time::from_millis(u64::try_from(when.timestamp_millis()).expect("after 1970"))
    }

    fn schedule(cron: &str, hold: u64, idle: u32) -> IdleSchedule {
        IdleSchedule { cron: cron.into(), timezone: "Europe/Amsterdam".into(), hold: Span::secs(hold), idle }
    }

    fn capacity(schedules: Vec<IdleSchedule>) -> Capacity {
        Capacity { max: 10, idle: 1, schedules, ..Capacity::default() }
    }

    #[test]
    fn office_hours_begin_and_end_by_the_local_clock() {
        let office = capacity(vec![schedule("0 8-18 * * MON-FRI", 3600, 5)]);
        for (utc, idle) in [
            // In winter the zone is at UTC+1.
            ("2026-01-05T06:59:59.999Z", 1),
            ("2026-01-05T07:00:00Z", 5),
            ("2026-01-05T12:34:56Z", 5),
            ("2026-01-05T17:59:59.999Z", 5),
            ("2026-01-05T18:00:00Z", 1),
            ("2026-01-10T10:00:00Z", 1),
            // In summer the zone is at UTC+2.
            ("2026-07-06T05:59:59Z", 1),
            ("2026-07-06T06:00:00Z", 5),
            ("2026-07-06T17:00:00Z", 1),
        ] {
            assert_eq!(office.idle_at(at(utc)), idle, "{utc}");
        }
    }

    #[test]
    fn a_firing_that_the_spring_change_skips_comes_right_after_it() {
        // On 2026-03-29, 02:00 CET becomes 03:00 CEST. This is 01:00 UTC.
        let night = capacity(vec![schedule("30 2 * * *", 3600, 5)]);
        for (utc, idle) in [
            ("2026-03-28T01:30:00Z", 5),
            ("2026-03-29T00:59:59Z", 1),
            ("2026-03-29T01:00:00Z", 5),
            ("2026-03-29T01:59:59Z", 5),
            ("2026-03-29T02:00:00Z", 1),
            ("2026-03-30T00:29:59Z", 1),
            ("2026-03-30T00:30:00Z", 5),
        ] {
            assert_eq!(night.idle_at(at(utc)), idle, "{utc}");
        }
    }

    #[test]
    fn a_firing_that_the_autumn_change_repeats_comes_once() {
        // On 2026-10-25, 03:00 CEST becomes 02:00 CET. This is 01:00 UTC, so 02:30 comes at 00:30 and at 01:30 UTC.
        let night = capacity(vec![schedule("30 2 * * *", 1800, 5)]);
        for (utc, idle) in [
            ("2026-10-25T00:29:59Z", 1),
            ("2026-10-25T00:30:00Z", 5),
            ("2026-10-25T00:59:59Z", 5),
            ("2026-10-25T01:00:00Z", 1),
            ("2026-10-25T01:30:00Z", 1),
            ("2026-10-25T01:45:00Z", 1),
            ("2026-10-26T01:30:00Z", 5),
        ] {
            assert_eq!(night.idle_at(at(utc)), idle, "{utc}");
        }
    }

    #[test]
    fn an_hourly_schedule_has_no_hole_when_the_clock_jumps() {
        let always = capacity(vec![schedule("0 * * * *", 3600, 5)]);
        for start in ["2026-03-28T22:00:00Z", "2026-10-24T22:00:00Z"] {
            for minute in 0..360 {
                let now = Time::from_millis(at(start).as_millis() + minute * 60_000 + 59_999);
                assert_eq!(always.idle_at(now), 5, "{start} + {minute} min");
            }
        }
    }

    #[test]
    fn the_first_that_holds_wins_and_max_bounds_all() {
        let both = capacity(vec![schedule("0 12 * * *", 3600, 0), schedule("0 8-18 * * *", 3600, 99)]);
        assert_eq!(both.idle_at(at("2026-01-05T11:30:00Z")), 0, "noon lowers it");
        assert_eq!(both.idle_at(at("2026-01-05T13:30:00Z")), 10, "max");
        assert_eq!(both.idle_at(at("2026-01-05T03:00:00Z")), 1, "none holds");
        assert_eq!(Capacity { max: 0, ..both }.idle_at(at("2026-01-05T03:00:00Z")), 0);
    }

    #[test]
    fn what_cannot_be_read_never_holds_and_extremes_do_no_harm() {
        for broken in
            [schedule("no cron", 3600, 5), IdleSchedule { timezone: "Mars/Base".into(), ..schedule("* * * * *", 60, 5) }]
        {
            assert_eq!(capacity(vec![broken]).idle_at(at("2026-01-05T03:00:00Z")), 1);
        }
        let yearly = capacity(vec![schedule("0 0 29 2 *", 86_400, 5)]);
        for (now, idle) in [(Time::ZERO, 1), (Time::FAR, 1), (at("2028-02-29T12:00:00Z"), 5), (at("2028-02-28T12:00:00Z"), 1)] {
            assert_eq!(yearly.idle_at(now), idle, "{now:?}");
        }
    }

    #[test]
    fn a_hold_ends_within_a_minute_and_answers_do_not_depend_on_earlier_ones() {
        let short = capacity(vec![schedule("0 12 * * *", 90, 5)]);
        for (utc, idle) in [("11:00:00", 5), ("11:01:29", 5), ("11:01:30", 1), ("11:01:29", 5), ("10:59:59", 1), ("11:00:00", 5)]
        {
            assert_eq!(short.idle_at(at(&format!("2026-01-05T{utc}Z"))), idle, "{utc}");
        }
    }

    #[test]
    fn cron_has_five_fields_that_come_true() {
        for good in ["0 8-18 * * MON-FRI", "*/15 * * * *", "@daily", "0 0 1 1 *", "0 0 29 2 *"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "0 8", "0 0 8 * * *", "61 * * * *", "0 25 * * *", "0 0 30 2 *", "hello"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
