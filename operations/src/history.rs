//! What the pools did over the last day: jobs and runners by five minutes, waits and starts by the hour. The controller keeps it as small
//! JSON lines in S3, beside the record of usage, so that a new process shows the time before it.

use std::collections::BTreeMap;

use muster_reconciler::view::{HourView, Snapshot};
use muster_reconciler::waits::{WaitSpread, spread_of};
use serde::{Deserialize, Serialize};

use crate::usage::{hour_of, hour_text};

/// The length of a slot, in milliseconds.
pub const SLOT_MS: u64 = 300_000;
/// How many hours are shown.
pub const HOURS: u64 = 24;
const HOUR_MS: u64 = 3_600_000;
const SLOTS_AN_HOUR: u64 = HOUR_MS / SLOT_MS;
/// The most lines that are taken from the bucket: a day of 400 pools.
const MOST_LINES: usize = 10_000;

/// Jobs and runners, on average: queued jobs, busy, idle and starting runners.
pub type Activity = [f64; 4];

/// What a pool did in one hour, as far as one process saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HistoryLine {
    /// When the hour began, in UTC, such as `2026-12-01T13:00:00Z`.
    pub hour: String,
    /// The pool.
    pub pool: String,
    /// Five minutes of the hour, 0 to 11 -> queued jobs, busy, idle and starting runners, on average.
    pub slots: BTreeMap<u8, Activity>,
    /// Milliseconds -> how many jobs that started within the hour had waited at most so long, but longer than the number before.
    pub waits: BTreeMap<u64, u32>,
    /// The same for the starts of runners.
    pub starts: BTreeMap<u64, u32>,
}

/// One hour of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
struct PoolHour {
    slots: BTreeMap<u8, Activity>,
    waits: BTreeMap<u64, u32>,
    starts: BTreeMap<u64, u32>,
}

type Hours = BTreeMap<u64, BTreeMap<String, PoolHour>>;

/// Whether the time before the process is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PastRead {
    /// No bucket keeps it.
    #[default]
    NotKept,
    /// It is being read.
    Reading,
    /// It was read.
    Read,
    /// Why it could not be read.
    Failed(String),
}

/// One hour of text that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryText {
    /// The hour, counted since 1970.
    pub hour: u64,
    /// Which state of the hour this is, for [`History::written`].
    pub version: u64,
    /// The lines.
    pub text: String,
}

/// The last day of the pools.
#[derive(Clone, Debug, Default)]
pub struct History {
    own: Hours,
    earlier: Hours,
    /// Pool -> the slot that is being counted, the number of looks, and their sums.
    open: BTreeMap<String, (u64, u32, Activity)>,
    /// Hour -> the state that it is in, and the state that was written.
    versions: BTreeMap<u64, (u64, u64)>,
    /// Whether the time before the process is known.
    pub before: PastRead,
}

/// Five minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastSlot {
    /// When they began, in milliseconds since 1970.
    pub at: u64,
    /// What the pools did together, on average.
    pub activity: Activity,
}

/// One hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastHour {
    /// When the hour began, in milliseconds since 1970.
    pub at: u64,
    /// How long the jobs had waited that started in it. None: no job started.
    pub waits: Option<WaitSpread>,
    /// How long the runners took that came online in it. None: no runner did.
    pub starts: Option<WaitSpread>,
}

/// The last day of one pool, or of all together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayView {
    /// The five minutes that somebody looked at, oldest first.
    pub slots: Vec<PastSlot>,
    /// The hours in which something was seen, oldest first.
    pub hours: Vec<PastHour>,
    /// Whether the time before the process is known.
    pub before: PastRead,
}

impl History {
    /// Takes a look at a pool: queued jobs, busy, idle and starting runners.
    pub fn note(&mut self, at_ms: u64, pool: &str, now: [u32; 4]) {
        let slot = at_ms / SLOT_MS;
        let open = self.open.entry(pool.to_owned()).or_default();
        if open.0 != slot {
            *open = (slot, 0, Activity::default());
        }
        open.1 += 1;
        open.2.iter_mut().zip(now).for_each(|(sum, now)| *sum += f64::from(now));
        // A tenth is exact enough, and short.
        let mean = open.2.map(|sum| (sum / f64::from(open.1) * 10.0).round() / 10.0);
        let hour = slot / SLOTS_AN_HOUR;
        let known = self.own.entry(hour).or_default().entry(pool.to_owned()).or_default();
        let of_hour = u8::try_from(slot % SLOTS_AN_HOUR).unwrap_or_default();
        if known.slots.insert(of_hour, mean) != Some(mean) {
            self.versions.entry(hour).or_default().0 += 1;
        }
        // Two hours more than are shown, because the current one is not over, and the oldest may not be written yet.
        for hours in [&mut self.own, &mut self.earlier] {
            hours.retain(|at, _| at + HOURS + 2 > hour);
        }
        self.versions.retain(|at, _| at + HOURS + 2 > hour);
        self.open.retain(|_, open| open.0 + 1 >= slot);
    }

    /// Takes in how long jobs waited and runners started, as the core knows it now.
    pub fn note_waits(&mut self, seen: &Snapshot) {
        for pool in &seen.pools {
            for HourView { at, wait_counts, start_counts, .. } in &pool.waits.hours {
                let hour = hour_of(*at);
                let known = self.own.entry(hour).or_default().entry(pool.name.clone()).or_default();
                if known.waits != *wait_counts || known.starts != *start_counts {
                    (known.waits, known.starts) = (wait_counts.clone(), start_counts.clone());
                    self.versions.entry(hour).or_default().0 += 1;
                }
            }
        }
    }

    /// Takes in what other processes wrote. It replaces what was taken in before.
    pub fn restore(&mut self, lines: Vec<HistoryLine>) {
        self.earlier.clear();
        for line in lines.into_iter().take(MOST_LINES) {
            let Some(hour) = hour_from(&line.hour) else { continue };
            let known = self.earlier.entry(hour).or_default().entry(line.pool.clone()).or_default();
            merge(known, &PoolHour { slots: line.slots, waits: line.waits, starts: line.starts });
        }
    }

    /// The hours that changed since they were written.
    pub fn changed(&self) -> Vec<HistoryText> {
        let text = |hour: u64, pools: &BTreeMap<String, PoolHour>| -> String {
            let line = |(pool, known): (&String, &PoolHour)| {
                let PoolHour { slots, waits, starts } = known.clone();
                let line = HistoryLine { hour: hour_text(hour), pool: pool.clone(), slots, waits, starts };
                serde_json::to_string(&line).map(|text| text + "\n").unwrap_or_default()
            };
            pools.iter().map(line).collect()
        };
        let changed = self.versions.iter().filter(|(_, (now, written))| now > written);
        let of = |(hour, (version, _)): (&u64, &(u64, u64))| {
            let pools = self.own.get(hour)?;
            Some(HistoryText { hour: *hour, version: *version, text: text(*hour, pools) })
        };
        changed.filter_map(of).collect()
    }

    /// Notes that this state of an hour was written.
    pub fn written(&mut self, hour: u64, version: u64) {
        if let Some(known) = self.versions.get_mut(&hour) {
            known.1 = version;
        }
    }

    /// The last day until `now`, of the pools whose names `ours` takes.
    pub fn view(&self, now_ms: u64, ours: impl Fn(&str) -> bool) -> DayView {
        let first = (now_ms / SLOT_MS + 1).saturating_sub(HOURS * SLOTS_AN_HOUR);
        let mut hours: BTreeMap<u64, BTreeMap<&str, PoolHour>> = BTreeMap::new();
        for (hour, pools) in self.earlier.iter().chain(&self.own).filter(|(hour, _)| *hour + HOURS >= now_ms / HOUR_MS) {
            for (pool, known) in pools.iter().filter(|(pool, _)| ours(pool)) {
                merge(hours.entry(*hour).or_default().entry(pool).or_default(), known);
            }
        }
        let mut view = DayView { before: self.before.clone(), ..DayView::default() };
        for (hour, pools) in hours {
            let mut slots: BTreeMap<u64, Activity> = BTreeMap::new();
            let (mut waits, mut starts) = (BTreeMap::new(), BTreeMap::new());
            for known in pools.values() {
                for (slot, more) in &known.slots {
                    let sums = slots.entry(hour * SLOTS_AN_HOUR + u64::from(*slot)).or_default();
                    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                }
                add(&mut waits, &known.waits);
                add(&mut starts, &known.starts);
            }
            let slots = slots.into_iter().filter(|(slot, _)| *slot >= first);
            view.slots.extend(slots.map(|(slot, activity)| PastSlot { at: slot * SLOT_MS, activity }));
            let spread = |counts: &BTreeMap<u64, u32>| spread_of(|| counts.iter().map(|(bound, n)| (*bound, *n)));
            let (waits, starts) = (spread(&waits), spread(&starts));
            if waits.is_some() || starts.is_some() {
                view.hours.push(PastHour { at: hour * HOUR_MS, waits, starts });
            }
        }
        view
    }
}

/// Adds what another process saw in the same hour. Of five minutes that both saw, the larger numbers count.
fn merge(known: &mut PoolHour, more: &PoolHour) {
    for (slot, more) in &more.slots {
        let known = known.slots.entry(*slot).or_default();
        known.iter_mut().zip(more).for_each(|(known, more)| *known = known.max(*more));
    }
    add(&mut known.waits, &more.waits);
    add(&mut known.starts, &more.starts);
}

fn add(sums: &mut BTreeMap<u64, u32>, more: &BTreeMap<u64, u32>) {
    for (bound, n) in more {
        let sum = sums.entry(*bound).or_default();
        *sum = sum.saturating_add(*n);
    }
}

fn hour_from(text: &str) -> Option<u64> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(at.timestamp_millis()).ok().map(hour_of)
}

/// Reads an object's text. Returns the lines, and how many could not be read.
pub fn from_text(text: &str) -> (Vec<HistoryLine>, usize) {
    let (mut lines, mut bad) = (Vec::new(), 0);
    let fits = |line: &HistoryLine| {
        let numbers = line.slots.values().flatten().all(|n| n.is_finite() && *n >= 0.0);
        hour_from(&line.hour).is_some() && numbers && line.slots.keys().all(|slot| u64::from(*slot) < SLOTS_AN_HOUR)
    };
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<HistoryLine>(line) {
            Ok(line) if fits(&line) => lines.push(line),
            _ => bad += 1,
        }
    }
    (lines, bad)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_reconciler::view::{PoolView, WaitsView};

    use super::*;

    /// 2026-12-01T13:00:00Z.
    const NOON: u64 = 1_796_130_000_000;

    fn all(_: &str) -> bool {
        true
    }

    fn waited(pool: &str, counts: &[(u64, u32)]) -> Snapshot {
        let hour = HourView { at: NOON, wait_counts: counts.iter().copied().collect(), ..HourView::default() };
        let waits = WaitsView { hours: vec![hour], ..WaitsView::default() };
        Snapshot { pools: vec![PoolView { name: pool.into(), waits, ..PoolView::default() }], ..Snapshot::default() }
    }

    #[test]
    fn five_minutes_are_an_average_and_pools_add_up() {
        let mut history = History::default();
        for (n, queued) in [2, 4].into_iter().enumerate() {
            history.note(NOON + n as u64 * 10_000, "linux", [queued, 3, 0, 1]);
            history.note(NOON + n as u64 * 10_000, "arm", [1, 0, 0, 0]);
        }
        history.note(NOON + SLOT_MS, "linux", [0, 1, 1, 0]);
        let slots = |ours: fn(&str) -> bool| history.view(NOON + SLOT_MS, ours).slots;
        let at = |at, activity| PastSlot { at, activity };
        assert_eq!(slots(all), [at(NOON, [4.0, 3.0, 0.0, 1.0]), at(NOON + SLOT_MS, [0.0, 1.0, 1.0, 0.0])]);
        assert_eq!(slots(|pool| pool == "arm"), [at(NOON, [1.0, 0.0, 0.0, 0.0])]);
    }

    #[test]
    fn a_new_process_shows_what_the_ones_before_wrote_and_adds_its_own() {
        let mut before = History::default();
        before.note(NOON, "linux", [2, 3, 0, 1]);
        before.note_waits(&waited("linux", &[(10_000, 9), (60_000, 1)]));
        let texts = before.changed();
        assert_eq!(texts.len(), 1);
        assert_eq!(
            texts[0].text,
            "{\"hour\":\"2026-12-01T13:00:00Z\",\"pool\":\"linux\",\"slots\":{\"0\":[2.0,3.0,0.0,1.0]},\
             \"waits\":{\"10000\":9,\"60000\":1},\"starts\":{}}\n"
        );
        before.written(texts[0].hour, texts[0].version);
        assert!(before.changed().is_empty());
        before.note_waits(&waited("linux", &[(10_000, 9), (60_000, 2)]));
        assert_eq!(before.changed().len(), 1, "what changed is written again");

        let mut after = History::default();
        after.restore(from_text(&texts[0].text).0);
        after.note(NOON + 600_000, "linux", [0, 1, 0, 0]);
        after.note_waits(&waited("linux", &[(60_000, 20)]));
        let day = after.view(NOON + 600_000, all);
        assert_eq!(day.slots.iter().map(|slot| slot.activity[0]).collect::<Vec<_>>(), [2.0, 0.0]);
        let waits = day.hours[0].waits.expect("jobs started");
        assert_eq!((waits.count, waits.median, waits.most), (30, Duration::from_secs(60), Duration::from_secs(60)));
        assert_eq!(after.changed().len(), 1, "only what the process saw itself is written");
        assert!(!after.changed()[0].text.contains("\"10000\""));
    }

    #[test]
    fn a_day_is_shown_and_the_memory_is_bounded() {
        let mut history = History::default();
        for n in 0..400 {
            history.note(NOON + n * SLOT_MS, "linux", [1, 0, 0, 0]);
        }
        let now = NOON + 399 * SLOT_MS;
        let slots = history.view(now, all).slots;
        assert_eq!((slots.len(), slots[0].at, slots[287].at), (288, now - 287 * SLOT_MS, now));
        assert!(history.own.len() <= 26 && history.versions.len() <= 26, "{}", history.own.len());
        history.restore(vec![HistoryLine { hour: hour_text(hour_of(NOON)), pool: "x".into(), ..HistoryLine::default() }; 20_000]);
        history.note(now, "linux", [0; 4]);
        assert!(history.earlier.is_empty(), "older than a day");
    }

    #[test]
    fn lines_that_cannot_be_read_are_counted_and_new_fields_are_left_out() {
        let good = "{\"hour\":\"2026-12-01T13:00:00Z\",\"pool\":\"p\",\"slots\":{\"11\":[1,0,0,0]},\"new\":1}";
        for bad in ["nonsense", "{\"pool\":\"p\"}", &good.replace("\"11\"", "\"12\""), &good.replace("[1,", "[-1,")] {
            let (lines, unread) = from_text(&format!("{good}\n\n{bad}\n"));
            assert_eq!((lines.len(), unread), (1, 1), "{bad}");
        }
    }
}
