//! The last day on the page: what jobs and runners did, how long jobs waited, and how long runners took to start. Each number is in a
//! table, too, and the script of the page reads the moments from there.

use std::fmt::Write as _;
use std::ops::Range;

use muster_operations::history::{DayView, HOURS, PastHour, PastRead, PastSlot, SLOT_MS};
use muster_reconciler::reason::count;
use muster_reconciler::waits::WaitSpread;
use plotters::prelude::*;

use super::live_charts::{NARROW, WIDE};
use super::live_view::day_clock;
use crate::plot::{Axis, COUNT_STEPS, FIRST, INK, WAIT_STEPS, on_axes, seconds, ticks};

const HOUR_MS: u64 = 3_600_000;
/// The width of the two smaller charts on a wide screen.
const HALF: u32 = 545;
const BUSY: RGBColor = RGBColor(0xc9, 0x78, 0x0e);
const IDLE: RGBColor = RGBColor(0x2f, 0x8f, 0x5b);
const STARTING: RGBColor = RGBColor(0x5f, 0x7f, 0xd6);
/// Where the charts' axes begin and end, in the units of the SVG, from its left and its right edge.
pub const EDGES: (u32, u32) = (66, 24);

/// One hour of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastHourRow {
    /// The hour's place in the day that is shown: the newest is 24.
    pub nth: u64,
    /// When it began.
    pub clock: String,
    /// Queued jobs, busy, idle and starting runners, on average. A dash: nobody looked.
    pub numbers: [String; 4],
    /// How long the jobs waited that started in it.
    pub waits: String,
    /// How long the runners took that came online in it.
    pub starts: String,
    /// The last two in a sentence. Empty: nothing was seen.
    pub say: String,
}

/// What the page says of the last day.
#[derive(Clone, Debug, Default)]
pub struct LiveHistory {
    /// The charts of jobs and runners, of waits and of starts, each for a wide screen and for a phone. Empty: nothing was seen.
    pub charts: [[String; 2]; 3],
    /// When the shown time begins, in milliseconds since 1970.
    pub first: u64,
    /// `N:QUEUED,BUSY,IDLE,STARTING` of each five minutes, counted from `first`, with spaces between.
    pub slots: String,
    /// The hours, newest first.
    pub rows: Vec<PastHourRow>,
    /// What is known of the time before this process.
    pub note: String,
    /// Whether the time before could not be read.
    pub failed: bool,
}

impl LiveHistory {
    /// What the page says of this day. `of` names the pool, or is empty for all.
    pub fn new(day: &DayView, now: u64, of: &str) -> LiveHistory {
        let first = (now / SLOT_MS + 1).saturating_sub(HOURS * HOUR_MS / SLOT_MS) * SLOT_MS;
        let mut slots = String::new();
        for slot in &day.slots {
            let [queued, busy, idle, starting] = slot.activity;
            let n = slot.at.saturating_sub(first) / SLOT_MS;
            write!(slots, "{n}:{queued},{busy},{idle},{starting} ").unwrap_or_default();
        }
        let (failed, note) = match &day.before {
            PastRead::NotKept => (false, "as far as this process saw; no bucket keeps more".to_owned()),
            PastRead::Reading => (false, "the time before this process is being read".into()),
            PastRead::Read => (false, "with what earlier processes recorded".into()),
            PastRead::Failed(why) => (true, format!("the time before this process is not known: {why}")),
        };
        let charts = if day.slots.is_empty() { Default::default() } else { charts(day, first, now, of) };
        LiveHistory { charts, first, slots: slots.trim_end().into(), rows: rows(day, now), note, failed }
    }
}

fn rows(day: &DayView, now: u64) -> Vec<PastHourRow> {
    let hour_now = now / HOUR_MS;
    let mut rows = Vec::new();
    for hour in (hour_now.saturating_sub(HOURS)..=hour_now).rev() {
        let seen: Vec<&PastSlot> = day.slots.iter().filter(|slot| slot.at / HOUR_MS == hour).collect();
        let told = day.hours.iter().find(|told| told.at / HOUR_MS == hour);
        if seen.is_empty() && told.is_none() {
            continue;
        }
        let mean = |nth: usize| {
            let sum: f64 = seen.iter().map(|slot| slot.activity[nth]).sum();
            if seen.is_empty() { "–".into() } else { short(sum / seen.len() as f64) }
        };
        let clock = day_clock(hour * HOUR_MS, now);
        let (waits, starts) = told.map_or((None, None), |told| (told.waits, told.starts));
        rows.push(PastHourRow {
            nth: HOURS.saturating_sub(hour_now - hour),
            numbers: [0, 1, 2, 3].map(mean),
            waits: span(waits),
            starts: span(starts),
            say: told.map(|told| sentence(told, &clock)).unwrap_or_default(),
            clock,
        });
    }
    rows
}

fn short(n: f64) -> String {
    let rounded = (n * 10.0).round() / 10.0;
    rounded.to_string()
}

fn span(told: Option<WaitSpread>) -> String {
    told.map_or_else(|| "–".into(), |told| format!("{} / {}", time(told.median.as_secs_f64()), time(told.most.as_secs_f64())))
}

fn time(s: f64) -> String {
    seconds(s.ceil())
}

fn sentence(hour: &PastHour, clock: &str) -> String {
    let told = |told: WaitSpread, one: &'static str, did: &str| {
        format!(
            "of {}, half {did} at most {} and 9 of 10 at most {}",
            count(told.count as usize, one),
            time(told.median.as_secs_f64()),
            time(told.most.as_secs_f64())
        )
    };
    let parts = [hour.waits.map(|waits| told(waits, "job", "waited")), hour.starts.map(|starts| told(starts, "runner", "took"))];
    format!("In the hour from {clock}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// The three charts, each for a wide screen and for a phone.
fn charts(day: &DayView, first: u64, now: u64, of: &str) -> [[String; 2]; 3] {
    let whose = if of.is_empty() { String::new() } else { format!(" of {of}") };
    let x = |at: u64| (at as f64 - first as f64) / HOUR_MS as f64;
    let waits: Vec<(f64, WaitSpread)> = day.hours.iter().filter_map(|hour| Some((x(hour.at), hour.waits?))).collect();
    let starts: Vec<(f64, WaitSpread)> = day.hours.iter().filter_map(|hour| Some((x(hour.at), hour.starts?))).collect();
    let most = |nth: usize| day.slots.iter().map(|slot| slot.activity[nth]).fold(0.0, f64::max);
    let label = format!(
        "Jobs and runners{whose} over the last 24 hours: at most {} queued, {} busy, {} idle and {} starting",
        short(most(0)),
        short(most(1)),
        short(most(2)),
        short(most(3))
    );
    let spans = |what: &str, hours: &[(f64, WaitSpread)]| {
        let longest = hours.iter().map(|(_, told)| told.most.as_secs_f64()).fold(0.0, f64::max);
        format!("{what}{whose} by the hour over the last 24 hours: 9 of 10 within {} in the slowest hour", time(longest))
    };
    let (w, s) = (spans("Waits of jobs", &waits), spans("Starts of runners", &starts));
    [
        [(WIDE, 190), (NARROW, 170)].map(|size| activity(size, &label, day, first, now).unwrap_or_default()),
        [(HALF, 170), (NARROW, 150)].map(|size| hourly(size, &w, &waits, first, now).unwrap_or_default()),
        [(HALF, 170), (NARROW, 150)].map(|size| hourly(size, &s, &starts, first, now).unwrap_or_default()),
    ]
}

/// The hours of the axis that have a label: as many as fit, at round times of day.
fn hours_of(width: u32, first: u64, now: u64) -> (Vec<f64>, impl Fn(&f64) -> String) {
    let every = if width > 800 { 2 } else { 6 };
    let marks = (first / HOUR_MS..=now / HOUR_MS + 1).filter(move |hour| hour % every == 0).map(|hour| hour * HOUR_MS);
    let at = move |ms: u64| (ms as f64 - first as f64) / HOUR_MS as f64;
    let marks = marks.map(at).filter(|x| (0.0..=HOURS as f64).contains(x)).collect();
    let say = move |x: &f64| {
        let ms = first as f64 + x * HOUR_MS as f64;
        format!("{:02}:00", (ms / HOUR_MS as f64).round() as u64 % 24)
    };
    (marks, say)
}

fn activity(size: (u32, u32), label: &str, day: &DayView, first: u64, now: u64) -> anyhow::Result<String> {
    let top = |slot: &PastSlot| (slot.activity[1] + slot.activity[2] + slot.activity[3]).max(slot.activity[0]);
    let high = day.slots.iter().map(top).fold(1.0, f64::max) * 1.05;
    let (marks, say) = hours_of(size.0, first, now);
    let x = Axis { low: 0.0, high: HOURS as f64, ticks: marks, say: &say };
    let y = Axis { low: 0.0, high, ticks: ticks(0.0, high, 4, &COUNT_STEPS), say: &|n| format!("{n:.0}") };
    on_axes(size, label, &x, &y, |chart| {
        for run in runs(&day.slots) {
            let slots = &day.slots[run];
            // Five minutes are as wide as they lasted, so that a single one is seen, too.
            let line = |of: fn(&[f64; 4]) -> f64| -> Vec<(f64, f64)> {
                let ends = |slot: &PastSlot| {
                    [slot.at, slot.at + SLOT_MS].map(|at| ((at as f64 - first as f64) / HOUR_MS as f64, of(&slot.activity)))
                };
                slots.iter().flat_map(ends).collect()
            };
            chart.draw_series(AreaSeries::new(line(|n| n[1] + n[2] + n[3]), 0.0, STARTING))?;
            chart.draw_series(AreaSeries::new(line(|n| n[1] + n[2]), 0.0, IDLE))?;
            chart.draw_series(AreaSeries::new(line(|n| n[1]), 0.0, BUSY))?;
            chart.draw_series(LineSeries::new(line(|n| n[0]), INK.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// The slots that follow each other without a gap.
fn runs(slots: &[PastSlot]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (nth, slot) in slots.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if slots[nth - 1].at + SLOT_MS == slot.at => run.end = nth + 1,
            _ => runs.push(nth..nth + 1),
        }
    }
    runs
}

/// Half within the filled bar, and nine of ten within the frame.
fn hourly(size: (u32, u32), label: &str, hours: &[(f64, WaitSpread)], first: u64, now: u64) -> anyhow::Result<String> {
    let high = hours.iter().map(|(_, told)| told.most.as_secs_f64()).fold(10.0, f64::max) * 1.05;
    let (marks, say) = hours_of(size.0, first, now);
    let x = Axis { low: 0.0, high: HOURS as f64, ticks: marks, say: &say };
    let y = Axis { low: 0.0, high, ticks: ticks(0.0, high, 4, &WAIT_STEPS), say: &|s| seconds(*s) };
    on_axes(size, label, &x, &y, |chart| {
        for (at, told) in hours {
            let (left, right) = ((at + 0.12).max(0.0), (at + 0.88).min(HOURS as f64));
            if left >= right {
                continue;
            }
            let bar = |high: f64, style: ShapeStyle| Rectangle::new([(left, 0.0), (right, high)], style);
            chart.draw_series([bar(told.median.as_secs_f64(), FIRST.filled())])?;
            chart.draw_series([bar(told.most.as_secs_f64(), INK.stroke_width(1))])?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2026-12-01T13:00:00Z.
    const NOON: u64 = 1_796_130_000_000;

    fn day(before: PastRead) -> DayView {
        let slot = |n: u64, queued: f64| PastSlot { at: NOON + n * SLOT_MS, activity: [queued, 9.0, 1.0, 2.0] };
        let told = |s: u64| Some(WaitSpread { count: 12, median: Duration::from_secs(s), most: Duration::from_secs(s * 10) });
        let hours = vec![PastHour { at: NOON, waits: told(5), starts: None }];
        DayView { slots: vec![slot(0, 3.0), slot(1, 4.0), slot(5, 0.5)], hours, before }
    }

    #[test]
    fn each_moment_and_each_hour_is_told() {
        let now = NOON + 5 * SLOT_MS;
        let told = LiveHistory::new(&day(PastRead::Read), now, "linux");
        assert_eq!(told.slots, "282:3,9,1,2 283:4,9,1,2 287:0.5,9,1,2");
        assert_eq!(told.rows.len(), 1);
        let row = &told.rows[0];
        assert_eq!((row.nth, row.clock.as_str(), row.numbers.clone()), (24, "13:00", ["2.5", "9", "1", "2"].map(String::from)));
        assert_eq!((row.waits.as_str(), row.starts.as_str()), ("5s / 50s", "–"));
        assert_eq!(row.say, "In the hour from 13:00: of 12 jobs, half waited at most 5s and 9 of 10 at most 50s");
        let [activity, waits, starts] = &told.charts;
        assert!(
            activity[0].contains("Jobs and runners of linux over the last 24 hours: at most 4 queued, 9 busy"),
            "{activity:?}"
        );
        assert!(waits[1].contains("9 of 10 within 50s in the slowest hour") && waits[0].contains("#0B57D0"), "{waits:?}");
        assert!(starts[0].contains("<svg") && !starts[0].contains("#0B57D0"), "{starts:?}");
        assert_eq!(runs(&day(PastRead::Read).slots), [0..2, 2..3], "a gap is not drawn over");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let failed = LiveHistory::new(&DayView { before: PastRead::Failed("S3 refuses".into()), ..DayView::default() }, NOON, "");
        assert!(failed.failed && failed.note.ends_with("S3 refuses") && failed.charts[0][0].is_empty(), "{failed:?}");
        let alone = LiveHistory::new(&day(PastRead::NotKept), NOON, "");
        assert!(!alone.failed && alone.note.contains("no bucket keeps more"));
    }
}
