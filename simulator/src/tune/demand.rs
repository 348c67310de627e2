//! What the jobs that the search may see ask of a pool, and which settings they suggest. A suggestion is only tried: the simulator
//! judges it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike, Utc};
use chrono_tz::Tz;
use muster_reconciler::manifest::{IdleSchedule, Lifetime, MarketPolicy, RunnerPool, Span};
use muster_reconciler::time::Time;

use super::knobs::KnobSetting;

/// A schedule fires this long before the hour that it serves, so that its runners are ready.
const AHEAD_MIN: u32 = 10;
/// On how many days the search must have seen jobs before schedules distinguish quarters of an hour.
const QUARTERS_FROM_DAYS: usize = 2;
/// How many different floors a schedule has at most.
const LEVELS: u32 = 3;
/// The hours that a schedule serves, as a share of the pool's jobs, and the share of their jobs that find a warm runner. In percent.
const SHAPES: [(u64, u64); 6] = [(50, 95), (80, 80), (80, 95), (95, 95), (95, 100), (100, 100)];

/// The jobs of one pool that the search may see.
#[derive(Debug)]
pub struct PoolDemand {
    /// When each job was queued, and how many jobs were queued while a runner would have started, this one included.
    jobs: Vec<(Time, u32)>,
}

/// A part of the week: days, and a quarter of an hour or an hour of them.
type DaySlot = (DayKind, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DayKind {
    Every,
    Work,
    Weekend,
}

impl DayKind {
    /// The days in cron, and the days before them.
    const fn cron(self, day_before: bool) -> &'static str {
        match (self, day_before) {
            (DayKind::Every, _) => "*",
            (DayKind::Work, false) => "MON-FRI",
            (DayKind::Work, true) => "SUN-THU",
            (DayKind::Weekend, false) => "SAT,SUN",
            (DayKind::Weekend, true) => "FRI,SAT",
        }
    }
}

impl PoolDemand {
    /// The demand of jobs that were queued at these times. A runner takes `start` from its launch until it is online.
    pub fn new(mut queued: Vec<Time>, start: Duration) -> PoolDemand {
        queued.sort_unstable();
        let mut oldest = 0;
        let crowd = |(nth, at): (usize, &Time)| {
            while queued.get(oldest).is_some_and(|first| at.since(*first) >= start) {
                oldest += 1;
            }
            (*at, u32::try_from(nth - oldest.min(nth) + 1).unwrap_or(u32::MAX))
        };
        let jobs = queued.iter().enumerate().map(crowd).collect();
        PoolDemand { jobs }
    }

    /// How many jobs there are.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// The hour in which most jobs were queued at once.
    pub fn burst(&self) -> Option<Time> {
        self.jobs.iter().max_by_key(|(at, crowd)| (*crowd, std::cmp::Reverse(*at))).map(|(at, _)| *at)
    }

    /// Settings to try for the pool, each by itself. None of them is what the pool has now.
    pub fn suggestions(&self, pool: &RunnerPool, priced: impl Fn(MarketPolicy) -> bool) -> Vec<KnobSetting> {
        let mut all = Vec::new();
        all.extend(self.floors(pool));
        let reusable = pool.spec.runner.lifetime == Lifetime::Reusable;
        let (timeouts, delays): (&[u64], &[u64]) = match reusable {
            true => (&[60, 180, 300, 600, 1200, 2400, 3600], &[0, 10, 30, 60, 120]),
            false => (&[120, 600, 1800], &[0, 15]),
        };
        all.extend(timeouts.iter().map(|s| KnobSetting::IdleTimeout(Span::secs(*s))));
        all.extend(delays.iter().map(|s| KnobSetting::QueueDelay(Span::secs(*s))));
        let markets = [MarketPolicy::SpotThenOnDemand, MarketPolicy::Spot, MarketPolicy::OnDemand];
        all.extend(markets.into_iter().filter(|market| priced(*market)).map(KnobSetting::Market));
        let mut kept: Vec<KnobSetting> = Vec::new();
        for setting in all {
            if setting.fits(pool) && setting != KnobSetting::now(setting.knob(), pool) && !kept.contains(&setting) {
                kept.push(setting);
            }
        }
        kept
    }

    fn floors(&self, pool: &RunnerPool) -> Vec<KnobSetting> {
        let max = pool.spec.capacity.max;
        let now = KnobSetting::Floor(pool.spec.capacity.idle, pool.spec.capacity.schedules.clone());
        let zone = pool.spec.capacity.schedules.first().map_or("UTC", |schedule| schedule.timezone.as_str());
        // The schedules first: the list may be cut.
        let mut all = Vec::new();
        for minutes in [60, 15] {
            if minutes == 60 || self.days(zone) >= QUARTERS_FROM_DAYS {
                all.extend(SHAPES.iter().filter_map(|(cover, warm)| self.schedule(zone, minutes, *cover, *warm, max)));
            }
        }
        let crowds: Vec<u32> = self.jobs.iter().map(|(_, crowd)| *crowd).collect();
        let constant = [50, 80, 95, 100].map(|percent| quantile(crowds.clone(), percent));
        let constant: BTreeSet<u32> = constant.into_iter().chain([0, 1, 2]).map(|idle| idle.min(max)).collect();
        all.extend(constant.into_iter().map(|idle| KnobSetting::Floor(idle, Vec::new())));
        all.extend([(1, 2), (2, 1)].into_iter().filter_map(|(num, den)| now.scaled(num, den, max)));
        all
    }

    /// On how many days of this zone jobs were queued.
    fn days(&self, zone: &str) -> usize {
        self.jobs.iter().map(|(at, _)| local(*at, zone).num_days_from_ce()).collect::<BTreeSet<_>>().len()
    }

    /// Whether there are enough days to tell working days from the weekend.
    fn knows_weekends(&self, zone: &str) -> bool {
        let days: BTreeSet<(bool, i32)> =
            self.jobs.iter().map(|(at, _)| local(*at, zone)).map(|day| (weekend(&day), day.num_days_from_ce())).collect();
        days.len() >= 5 && days.iter().any(|(weekend, _)| *weekend) || days.iter().filter(|(weekend, _)| !weekend).count() >= 4
    }

    /// A floor that follows the clock: none outside the busiest slots, which together have `cover` percent of the jobs. In each of these
    /// slots the floor is so large that `warm` percent of its jobs find a warm runner.
    fn schedule(&self, zone: &str, minutes: u32, cover: u64, warm: u64, max: u32) -> Option<KnobSetting> {
        let by_kind = self.knows_weekends(zone);
        let mut slots: BTreeMap<DaySlot, Vec<u32>> = BTreeMap::new();
        for (at, crowd) in &self.jobs {
            let day = local(*at, zone);
            let kind = match (by_kind, weekend(&day)) {
                (false, _) => DayKind::Every,
                (true, false) => DayKind::Work,
                (true, true) => DayKind::Weekend,
            };
            slots.entry((kind, (day.hour() * 60 + day.minute()) / minutes)).or_default().push(*crowd);
        }
        let mut busiest: Vec<(DaySlot, Vec<u32>)> = slots.into_iter().collect();
        busiest.sort_by_key(|(slot, crowds)| (std::cmp::Reverse(crowds.len()), *slot));
        let wanted = (self.jobs.len() as u64 * cover).div_ceil(100);
        let mut served = 0;
        let mut needs: BTreeMap<DaySlot, u32> = BTreeMap::new();
        for (slot, crowds) in busiest {
            if served >= wanted {
                break;
            }
            served += crowds.len() as u64;
            needs.insert(slot, quantile(crowds, warm).min(max));
        }
        let most = needs.values().copied().max()?;
        let level = |need: u32| (0..LEVELS).rev().map(|k| most.div_ceil(1 << k)).find(|level| *level >= need).unwrap_or(most);
        let mut by_level: BTreeMap<u32, BTreeSet<DaySlot>> = BTreeMap::new();
        for (slot, need) in &needs {
            by_level.entry(level(*need)).or_default().insert(*slot);
        }
        // The first schedule that holds counts, so that a floor which begins early lowers none that still holds.
        let schedules = by_level.iter().rev().flat_map(|(idle, slots)| crons(slots, minutes, zone, *idle)).collect();
        Some(KnobSetting::Floor(0, schedules))
    }
}

/// The schedules that give these slots a floor, each from some minutes before its slot until the end of it.
fn crons(slots: &BTreeSet<DaySlot>, minutes: u32, zone: &str, idle: u32) -> Vec<IdleSchedule> {
    let mut hours: BTreeMap<(DayKind, bool, u32), Vec<u32>> = BTreeMap::new();
    for (kind, slot) in slots {
        let begin = slot * minutes;
        let day_before = begin < AHEAD_MIN;
        let fires = if day_before { begin + 1440 - AHEAD_MIN } else { begin - AHEAD_MIN };
        let shifted = day_before && kind.cron(true) != kind.cron(false);
        hours.entry((*kind, shifted, fires % 60)).or_default().push(fires / 60);
    }
    let one = |((kind, shifted, minute), hours): ((DayKind, bool, u32), Vec<u32>)| IdleSchedule {
        cron: format!("{minute} {} * * {}", ranges(hours), kind.cron(shifted)),
        timezone: zone.to_owned(),
        hold: Span::secs(u64::from(minutes + AHEAD_MIN) * 60),
        idle,
    };
    hours.into_iter().map(one).collect()
}

/// Hours as cron has them: `7-11,14`.
fn ranges(mut hours: Vec<u32>) -> String {
    hours.sort_unstable();
    let mut all: Vec<(u32, u32)> = Vec::new();
    for hour in hours {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == hour => *last = hour,
            _ => all.push((hour, hour)),
        }
    }
    let said = all.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    said.collect::<Vec<_>>().join(",")
}

fn local(at: Time, zone: &str) -> DateTime<Tz> {
    let ms = i64::try_from(at.as_millis()).unwrap_or_default();
    let utc = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    utc.with_timezone(&zone.parse().unwrap_or(Tz::UTC))
}

fn weekend(day: &DateTime<Tz>) -> bool {
    day.weekday().num_days_from_monday() >= 5
}

/// The value that `percent` of the values do not exceed.
fn quantile(mut values: Vec<u32>, percent: u64) -> u32 {
    values.sort_unstable();
    let rank = (values.len() as u64 * percent).div_ceil(100).max(1);
    usize::try_from(rank - 1).ok().and_then(|nth| values.get(nth)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    /// Monday, 5 January 2026, 00:00 UTC.
    const MONDAY: Time = Time::from_millis(1_767_571_200_000);

    fn at(day: u64, hour: u64, second: u64) -> Time {
        MONDAY + Duration::from_secs(day * 86_400 + hour * 3600 + second)
    }

    /// Twelve jobs at nine o'clock on each of these days, and one at noon.
    fn mornings(days: impl IntoIterator<Item = u64>) -> PoolDemand {
        let day = |day| (0..12).map(move |n| at(day, 9, n)).chain([at(day, 12, 0)]);
        PoolDemand::new(days.into_iter().flat_map(day).collect(), Duration::from_secs(60))
    }

    #[test]
    fn a_crowd_is_what_comes_while_a_runner_starts() {
        let demand = PoolDemand::new([0, 10, 59, 60, 200].map(|s| at(0, 0, s)).to_vec(), Duration::from_secs(60));
        assert_eq!(demand.jobs.iter().map(|(_, crowd)| *crowd).collect::<Vec<_>>(), [1, 2, 3, 3, 1]);
        assert_eq!(demand.burst(), Some(at(0, 0, 59)));
    }

    #[test]
    fn a_burst_each_morning_suggests_a_floor_that_is_ready_by_then() {
        let KnobSetting::Floor(0, schedules) = mornings(0..2).schedule("UTC", 60, 80, 100, 50).expect("a schedule") else {
            panic!("a floor of schedules")
        };
        assert_eq!(schedules.len(), 1);
        let IdleSchedule { cron, hold, idle, .. } = &schedules[0];
        assert_eq!((cron.as_str(), *hold, *idle), ("50 8 * * *", Span::secs(4200), 12));
        let quarter = mornings(0..2).schedule("Europe/Amsterdam", 15, 80, 100, 5).expect("a schedule");
        assert_eq!(quarter.to_string(), "idle 0; idle 5 for 25m from `50 9 * * *` Europe/Amsterdam");
    }

    #[test]
    fn working_days_are_told_from_weekends_once_enough_days_were_seen() {
        let said = |demand: &PoolDemand| demand.schedule("UTC", 60, 80, 100, 50).expect("a schedule").to_string();
        assert!(said(&mornings(0..5)).contains("50 8 * * MON-FRI"), "{}", said(&mornings(0..5)));
        assert!(said(&mornings(0..3)).contains("50 8 * * *"));
    }

    #[test]
    fn midnight_is_served_from_the_day_before() {
        let slots = BTreeSet::from([(DayKind::Work, 0), (DayKind::Work, 1), (DayKind::Weekend, 0)]);
        let crons: Vec<String> = crons(&slots, 60, "UTC", 1).into_iter().map(|schedule| schedule.cron).collect();
        assert_eq!(crons, ["50 0 * * MON-FRI", "50 23 * * SUN-THU", "50 23 * * FRI,SAT"]);
        assert_eq!(ranges(vec![3, 1, 2, 7, 9, 8, 20]), "1-3,7-9,20");
    }

    #[test]
    fn what_the_pool_has_already_or_cannot_pay_for_is_not_suggested() {
        let pool = example::pool("a", &["linux"], 8);
        let all = mornings(0..2).suggestions(&pool, |market| market != MarketPolicy::OnDemand);
        assert!(all.iter().all(|s| s.fits(&pool) && *s != KnobSetting::now(s.knob(), &pool)), "{all:?}");
        assert!(
            all.contains(&KnobSetting::Market(MarketPolicy::Spot)) && !all.contains(&KnobSetting::Market(MarketPolicy::OnDemand))
        );
        assert!(!all.contains(&KnobSetting::IdleTimeout(Span::secs(600))) && !all.contains(&KnobSetting::Floor(0, vec![])));
        assert!(all.iter().enumerate().all(|(nth, s)| !all[nth + 1..].contains(s)), "{all:?}");
    }
}
