//! A schedule: a cron pattern, a time zone, and the moment at which the warm floor is asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_reconciler::manifest::{Capacity, IdleSchedule, Span};
use muster_reconciler::time::Time;

fuzz_target!(|input: (u64, u32, &str, &str)| {
    let (at, hold, cron, timezone) = input;
    let schedule =
        IdleSchedule { cron: cron.into(), timezone: timezone.into(), hold: Span::millis(u64::from(hold) * 1000), idle: 3 };
    let capacity = Capacity { max: 5, idle: 1, schedules: vec![schedule], ..Capacity::default() };
    // Up to the year 9999.
    let now = Time::from_millis(at % 253_402_300_799_000);
    assert!([1, 3].contains(&capacity.idle_at(now)));
    assert_eq!(capacity.idle_at(now), capacity.idle_at(now));
});
