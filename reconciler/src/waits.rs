//! How long a pool's jobs waited and ran, and how long its runners took to start: over the last hour, and over the last day. People read
//! it, and what the next job can expect is said from it. No decision reads it, and a new process begins with none.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::stage::Stage;
use crate::time::Time;

/// The number of steps by which a time is counted. Each is a fifth longer than the one before, from 1 s to more than a day.
const STEPS: usize = 64;
const BOUNDS_MS: [u64; STEPS] = bounds();
/// The slots of the last hour, and of the last day.
const FINE: Slots = Slots { length_ms: 300_000, kept: 12 };
const COARSE: Slots = Slots { length_ms: 3_600_000, kept: 24 };

const fn bounds() -> [u64; STEPS] {
    let mut all = [1000; STEPS];
    let mut n = 1;
    while n < STEPS {
        all[n] = all[n - 1] * 6 / 5;
        n += 1;
    }
    all
}

/// How time is cut.
#[derive(Clone, Copy, Debug)]
struct Slots {
    length_ms: u64,
    kept: u64,
}

impl Slots {
    fn of(self, at: Time) -> u64 {
        at.as_millis() / self.length_ms
    }
}

/// What was seen within one slot.
#[derive(Clone, Debug)]
struct Slot {
    number: u64,
    counts: Box<[u16; STEPS]>,
}

/// How long something took, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitSpread {
    /// How often it was seen.
    pub count: u32,
    /// Half of the times were at most so long, rounded up to a step.
    pub median: Duration,
    /// Nine of ten times were at most so long, rounded up to a step.
    pub most: Duration,
}

/// The times of one thing over a day.
#[derive(Clone, Debug, Default)]
pub struct Times {
    fine: VecDeque<Slot>,
    coarse: VecDeque<Slot>,
}

impl Times {
    /// Notes that it took so long, and was over at `now`.
    pub fn note(&mut self, took: Duration, now: Time) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let step = BOUNDS_MS.partition_point(|bound| *bound < took_ms).min(STEPS - 1);
        for (slots, all) in [(FINE, &mut self.fine), (COARSE, &mut self.coarse)] {
            let number = slots.of(now);
            if all.back().is_none_or(|last| last.number < number) {
                all.push_back(Slot { number, counts: Box::new([0; STEPS]) });
            }
            while all.front().is_some_and(|first| first.number + slots.kept <= number) {
                all.pop_front();
            }
            if let Some(last) = all.back_mut() {
                last.counts[step] = last.counts[step].saturating_add(1);
            }
        }
    }

    /// The last hour. None: it was not seen.
    pub fn hour(&self, now: Time) -> Option<WaitSpread> {
        spread(since(&self.fine, FINE, now))
    }

    /// The last day. None: it was not seen.
    pub fn day(&self, now: Time) -> Option<WaitSpread> {
        spread(since(&self.coarse, COARSE, now))
    }

    /// Each hour of the last day in which it was seen: when the hour began, and how often it took at most so many milliseconds.
    pub fn hours(&self, now: Time) -> impl Iterator<Item = (Time, WaitSpread, BTreeMap<u64, u32>)> {
        since(&self.coarse, COARSE, now).filter_map(|slot| {
            let counts = BOUNDS_MS.into_iter().zip(slot.counts.iter().map(|n| u32::from(*n))).filter(|(_, n)| *n > 0).collect();
            Some((Time::from_millis(slot.number * COARSE.length_ms), spread(std::iter::once(slot))?, counts))
        })
    }
}

fn since(all: &VecDeque<Slot>, slots: Slots, now: Time) -> impl Iterator<Item = &Slot> {
    all.iter().filter(move |slot| slot.number + slots.kept > slots.of(now))
}

fn spread<'a>(slots: impl Iterator<Item = &'a Slot>) -> Option<WaitSpread> {
    let mut counts = [0_u32; STEPS];
    for slot in slots {
        for (all, one) in counts.iter_mut().zip(slot.counts.iter()) {
            *all += u32::from(*one);
        }
    }
    spread_of(|| BOUNDS_MS.into_iter().zip(counts))
}

/// How long something took that took so often at most so many milliseconds, in rising order. None: it was not seen.
pub fn spread_of<I: Iterator<Item = (u64, u32)>>(counts: impl Fn() -> I) -> Option<WaitSpread> {
    let count: u64 = counts().map(|(_, n)| u64::from(n)).sum();
    let within = |tenths: u64| {
        let wanted = (count * tenths).div_ceil(10);
        let mut seen = 0;
        let bound = counts().find(|(_, n)| {
            seen += u64::from(*n);
            seen >= wanted
        });
        Duration::from_millis(bound.map_or(0, |(bound, _)| bound))
    };
    (count > 0).then(|| WaitSpread { count: u32::try_from(count).unwrap_or(u32::MAX), median: within(5), most: within(9) })
}

/// How long the jobs of a pool waited and ran, and its runners started.
#[derive(Clone, Debug, Default)]
pub struct PoolWaits {
    /// From queued to started, without the time for which GitHub held the job back.
    pub jobs: Times,
    /// From started to over, of the jobs that succeeded. A job that was lost or failed tells nothing of how long its like take.
    pub lengths: Times,
    /// From the launch call until the runner reached each stage of its start.
    pub stages: BTreeMap<Stage, Times>,
}

impl PoolWaits {
    /// A runner of the pool reached a stage.
    pub fn reached(&mut self, stage: Stage, after: Duration, now: Time) {
        self.stages.entry(stage).or_default().note(after, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_steps_reach_from_a_second_to_more_than_a_day() {
        assert!(BOUNDS_MS[0] == 1000 && BOUNDS_MS[STEPS - 1] > 86_400_000);
        assert!(BOUNDS_MS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn half_and_nine_of_ten_are_told_and_never_too_short() {
        let mut times = Times::default();
        assert_eq!((times.hour(at(0)), times.day(at(0))), (None, None));
        for n in 1..=100 {
            times.note(secs(n), at(n));
        }
        let told = times.hour(at(100)).expect("seen");
        assert_eq!(told.count, 100);
        assert!(told.median >= secs(50) && told.median <= secs(60), "{told:?}");
        assert!(told.most >= secs(90) && told.most <= secs(108), "{told:?}");
        assert_eq!(times.day(at(100)), Some(told));
    }

    #[test]
    fn an_hour_and_a_day_are_forgotten_and_the_memory_is_bounded() {
        let mut times = Times::default();
        for n in 0..10_000 {
            times.note(secs(5), at(n * 60));
        }
        assert_eq!((times.fine.len(), times.coarse.len()), (12, 24));
        let end = at(9_999 * 60);
        assert_eq!(times.hours(end).count(), 24);
        let left = |s: u64| (times.hour(end + secs(s)).is_some(), times.day(end + secs(s)).is_some());
        assert_eq!([left(0), left(2 * 3600), left(25 * 3600)], [(true, true), (false, true), (false, false)]);
    }

    #[test]
    fn what_takes_forever_counts_as_the_longest() {
        let mut times = Times::default();
        times.note(Duration::MAX, at(0));
        assert_eq!(times.hour(at(0)).map(|told| told.most), Some(Duration::from_millis(BOUNDS_MS[STEPS - 1])));
    }
}
