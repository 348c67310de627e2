//! Watches the core for all readers. Every few seconds it takes the numbers for the cost and the sparklines. It takes at
//! most one snapshot a second, however many pages are open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_reconciler::event::JobState;
use muster_reconciler::market::Market;
use muster_reconciler::runner::Phase;
use muster_reconciler::time::Time;
use muster_reconciler::view::{Snapshot, Totals};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::history::{DayView, History, HistoryLine, HistoryText, PastRead};
use crate::inspect::{Inspect, Unanswered};
use crate::meter::{CostView, Meter};
use crate::metrics::Metrics;
use crate::prices::{Book, BookView};
use crate::usage::{HourLines, UsageLine};

/// How many points a sparkline has.
pub const POINTS: usize = 90;
/// For how long a snapshot is shown before the core is asked again.
const FRESH: Duration = Duration::from_millis(900);

/// What a pool wants and has, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WatchPoint {
    /// How many jobs are queued.
    pub queued: u32,
    /// How many runners there are that are not gone.
    pub runners: u32,
}

/// Watches one core for all readers.
#[derive(Debug)]
pub struct Watch {
    inspect: Inspect,
    metrics: Arc<Metrics>,
    known: Mutex<PoolPast>,
    shared: tokio::sync::Mutex<Option<(Instant, Arc<Snapshot>)>>,
    every: Duration,
}

#[derive(Debug)]
struct PoolPast {
    meter: Meter,
    past: BTreeMap<String, VecDeque<WatchPoint>>,
    history: History,
}

impl Watch {
    /// Watches the core every `every`, until `stop`.
    pub fn start(
        inspect: Inspect,
        metrics: Arc<Metrics>,
        prices: impl Into<Book>,
        every: Duration,
        stop: CancellationToken,
    ) -> Arc<Watch> {
        let known = Mutex::new(PoolPast { meter: Meter::new(prices), past: BTreeMap::new(), history: History::default() });
        let watch = Arc::new(Watch { inspect, metrics, known, shared: tokio::sync::Mutex::new(None), every });
        let looks = watch.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = tick.tick() => {}
                }
                // Without an answer there is a gap. The metrics say that the core is down.
                if let Ok(totals) = looks.totals().await {
                    looks.note(&totals);
                }
            }
        });
        watch
    }

    /// The numbers for the metrics. This also counts what instances have cost until now.
    pub async fn totals(&self) -> Result<Totals, Unanswered> {
        let totals = self.inspect.totals().await?;
        self.known().meter.take(&totals, &self.metrics);
        Ok(totals)
    }

    /// A snapshot of everything, less than a second old.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Unanswered> {
        let mut shared = self.shared.lock().await;
        if let Some((_, snapshot)) = shared.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(snapshot.clone());
        }
        let snapshot = Arc::new(self.inspect.snapshot().await?);
        *shared = Some((Instant::now(), snapshot.clone()));
        Ok(snapshot)
    }

    /// The cost of the day so far.
    pub fn cost(&self) -> CostView {
        self.known().meter.today()
    }

    /// The hours of usage that changed since they were written.
    pub fn usage(&self) -> Vec<HourLines> {
        self.known().meter.usage()
    }

    /// Notes that an hour of usage was written.
    pub fn usage_written(&self, hour: &HourLines, now: Time) {
        self.known().meter.usage_written(hour, now);
    }

    /// How many hours of usage were forgotten since the last call, because nobody wrote them for days.
    pub fn usage_forgotten(&self) -> u64 {
        self.known().meter.take_forgotten()
    }

    /// Takes in usage of this month that other processes recorded, once.
    pub fn restore_usage(&self, lines: &[UsageLine], now: Time) {
        self.known().meter.restore(lines, now.as_millis());
    }

    /// Takes in the last day as other processes recorded it, once, and notes that the record was read whole.
    pub fn restored(&self, history: Vec<HistoryLine>, now: Time) {
        let mut known = self.known();
        known.meter.restored(now.as_millis());
        known.history.restore(history);
        known.history.before = PastRead::Read;
    }

    /// Notes why the record of other processes is not known.
    pub fn not_restored(&self, why: PastRead) {
        self.known().history.before = why;
    }

    /// The hours of history that changed since they were written.
    pub async fn history_changed(&self) -> Vec<HistoryText> {
        let seen = self.snapshot().await;
        let mut known = self.known();
        if let Ok(seen) = seen {
            known.history.note_waits(&seen);
        }
        known.history.changed()
    }

    /// Notes that an hour of history was written.
    pub fn history_written(&self, hour: &HistoryText) {
        self.known().history.written(hour.hour, hour.version);
    }

    /// What the pools did over the last day: all of them together, or one.
    pub fn history(&self, seen: &Snapshot, pool: &str) -> DayView {
        let mut known = self.known();
        known.history.note_waits(seen);
        known.history.view(seen.now, |name| pool.is_empty() || name == pool)
    }

    /// Uses these prices from now on.
    pub fn set_prices(&self, prices: Book) {
        for market in [Market::Spot, Market::OnDemand] {
            self.metrics.prices(market, prices.read_at(market), prices.unknown(market));
        }
        self.known().meter.set_prices(prices);
    }

    /// The prices that the pools need, as far as they are known.
    pub fn prices(&self) -> BookView {
        self.known().meter.prices()
    }

    /// The last points of a pool, oldest first, and the time between two of them.
    pub fn past(&self, pool: &str) -> (Vec<WatchPoint>, Duration) {
        (self.known().past.get(pool).map(|p| p.iter().copied().collect()).unwrap_or_default(), self.every)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, PoolPast> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the numbers of each pool.
    pub fn note(&self, totals: &Totals) {
        let mut now: BTreeMap<&str, [u32; 4]> = totals.paused.keys().map(|pool| (pool.as_str(), [0; 4])).collect();
        let mut all: BTreeMap<&str, u32> = BTreeMap::new();
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        for ((pool, state, _), n) in &totals.jobs {
            if let Some([queued, ..]) = now.get_mut(pool.as_str()).filter(|_| *state == JobState::Queued) {
                *queued += count(*n);
            }
        }
        for ((pool, phase), n) in totals.runners.iter().filter(|((_, phase), _)| *phase != Phase::Gone) {
            *all.entry(pool).or_default() += count(*n);
            let Some([_, busy, idle, starting]) = now.get_mut(pool.as_str()) else { continue };
            match phase {
                Phase::Busy => *busy += count(*n),
                Phase::Idle => *idle += count(*n),
                Phase::Launching | Phase::Booting | Phase::Configured => *starting += count(*n),
                _ => {}
            }
        }
        let mut known = self.known();
        known.past.retain(|pool, _| now.contains_key(pool.as_str()));
        for (pool, numbers) in now {
            known.history.note(totals.now, pool, numbers);
            let past = known.past.entry(pool.to_owned()).or_default();
            if past.len() == POINTS {
                past.pop_front();
            }
            past.push_back(WatchPoint { queued: numbers[0], runners: all.get(pool).copied().unwrap_or_default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Query;

    #[tokio::test(start_paused = true)]
    async fn many_who_look_are_one_question_and_the_past_is_bounded() {
        let (inspect, mut questions) = Inspect::new();
        let asked = Arc::new(Mutex::new((0, 0)));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Some(query) = questions.recv().await {
                let mut count = count.lock().expect("no panic");
                match query {
                    Query::Totals(to) => {
                        count.0 += 1;
                        let jobs = [
                            (("linux".into(), JobState::Queued, "max"), 3),
                            (("linux".into(), JobState::InProgress, "running"), 9),
                        ];
                        let paused = [("linux".to_owned(), false)].into();
                        let runners = [(("linux".into(), Phase::Gone), 4), (("linux".into(), Phase::Busy), 9)].into();
                        drop(to.send(Totals { now: count.0 * 1000, jobs: jobs.into(), paused, runners, ..Totals::default() }));
                    }
                    Query::Snapshot(to) => {
                        count.1 += 1;
                        drop(to.send(Snapshot::default()));
                    }
                    _ => {}
                }
            }
        });
        let stop = CancellationToken::new();
        let watch = Watch::start(inspect, Arc::new(Metrics::new()), Book::default(), Duration::from_secs(10), stop.clone());
        for _ in 0..20 {
            watch.snapshot().await.expect("answered");
        }
        assert_eq!(asked.lock().expect("no panic").1, 1);
        tokio::time::sleep(Duration::from_secs(2000)).await;
        let (past, every) = watch.past("linux");
        assert_eq!((past.len(), past[0], every), (POINTS, WatchPoint { queued: 3, runners: 9 }, Duration::from_secs(10)));
        watch.snapshot().await.expect("answered");
        assert_eq!(asked.lock().expect("no panic").1, 2);
        stop.cancel();
    }
}
