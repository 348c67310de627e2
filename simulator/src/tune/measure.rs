//! What one run of some manifests gave: how long jobs waited, and what the instances cost.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{Os, Spec};
use muster_reconciler::market::Market;

use super::goal::GoalRank;
use super::split::{Split, TracePiece};
use crate::forecast::Forecast;
use crate::ledger::JobLife;
use crate::tally::Tally;

/// The price of an hour of an instance type. None: it is unknown.
pub type HourPrice<'a> = dyn Fn(Os, &str, Market) -> Option<f64> + Sync + 'a;

/// The wait of a job that never started.
const NEVER: u64 = u64::MAX;

/// How many jobs waited how long, to a tenth of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitCounts(BTreeMap<u64, u64>);

impl WaitCounts {
    /// Counts a job. None: it never started.
    pub fn add(&mut self, wait: Option<Duration>) {
        let tenths = |wait: Duration| u64::try_from(wait.as_millis().div_ceil(100)).unwrap_or(NEVER);
        *self.0.entry(wait.map_or(NEVER, tenths)).or_default() += 1;
    }

    fn merge(&mut self, other: &WaitCounts) {
        for (wait, jobs) in &other.0 {
            *self.0.entry(*wait).or_default() += jobs;
        }
    }

    /// How many jobs were counted.
    pub fn jobs(&self) -> u64 {
        self.0.values().sum()
    }

    /// The wait in seconds of the job at a rank. Infinite: it never started. 0: there is no job.
    pub fn at(&self, rank: GoalRank) -> f64 {
        let mut left = (self.jobs() * rank.percent()).div_ceil(100);
        for (wait, jobs) in &self.0 {
            left = left.saturating_sub(*jobs);
            if left == 0 {
                return if *wait == NEVER { f64::INFINITY } else { *wait as f64 / 10.0 };
            }
        }
        0.0
    }

    /// The share of the jobs that waited no longer than this. 1 if there is no job.
    pub fn within(&self, limit: Duration) -> f64 {
        let tenths = u64::try_from(limit.as_millis() / 100).unwrap_or(NEVER - 1);
        let within: u64 = self.0.range(..=tenths).map(|(_, jobs)| jobs).sum();
        if self.0.is_empty() { 1.0 } else { within as f64 / self.jobs() as f64 }
    }
}

/// What one run gave, or several runs together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measure {
    /// What the instances cost, as far as their hours have a price.
    pub cost: f64,
    /// How much time of the trace was run.
    pub length: Duration,
    /// The waits of the jobs that the search may see.
    pub shown: WaitCounts,
    /// The waits of the jobs that are held out.
    pub held: WaitCounts,
    /// How many jobs there were.
    pub jobs: u64,
    /// How many of them were lost with their instance.
    pub lost: u64,
    /// The most instances that each pool had at once.
    pub peaks: BTreeMap<PoolName, u64>,
    /// Rules of its own that the controller broke. Each is a bug of muster.
    pub violations: Vec<String>,
}

impl Measure {
    /// The figures of a run of a piece of the trace. Waits and losses are those of the jobs for which `counts` is true; the cost is that
    /// of all pools.
    pub fn of(
        forecast: &Forecast,
        piece: TracePiece,
        split: &Split,
        price: &HourPrice<'_>,
        counts: impl Fn(&JobLife) -> bool,
    ) -> Measure {
        let mut measure = Measure { length: piece.length(), ..Measure::default() };
        for job in forecast.jobs.iter().filter(|job| job.pool.is_some() && counts(job)) {
            let side = if split.shows(job.plan.at) { &mut measure.shown } else { &mut measure.held };
            side.add(job.waited());
            measure.jobs += 1;
            measure.lost += u64::from(job.lost());
        }
        let tally = Tally::new(forecast);
        for ((pool, market, instance_type), billed) in tally.billed_for(piece.from, piece.until) {
            let hour = price(os_of(&forecast.spec, pool), instance_type, market).unwrap_or_default();
            measure.cost += hour * billed.as_secs_f64() / 3600.0;
        }
        measure.peaks = forecast.spec.pools.keys().map(|pool| (pool.clone(), tally.figures(Some(pool)).peak)).collect();
        measure.violations = forecast.report.violations.iter().map(ToString::to_string).collect();
        measure
    }

    /// Adds another run of the same manifests.
    pub fn add(&mut self, other: &Measure) {
        self.cost += other.cost;
        self.length += other.length;
        self.shown.merge(&other.shown);
        self.held.merge(&other.held);
        (self.jobs, self.lost) = (self.jobs + other.jobs, self.lost + other.lost);
        for (pool, peak) in &other.peaks {
            let most = self.peaks.entry(pool.clone()).or_default();
            *most = (*most).max(*peak);
        }
        self.violations.extend_from_slice(&other.violations);
    }

    /// What a day costs.
    pub fn cost_a_day(&self) -> f64 {
        self.cost * 86_400.0 / self.length.as_secs_f64().max(1.0)
    }

    /// The share of the jobs that were lost with their instance.
    pub fn lost_share(&self) -> f64 {
        self.lost as f64 / (self.jobs as f64).max(1.0)
    }
}

fn os_of(spec: &Spec, pool: &PoolName) -> Os {
    spec.pools.get(pool).map_or(Os::Linux, |p| p.spec.instance.os)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_of_all_jobs_and_never_is_the_longest() {
        let mut waits = WaitCounts::default();
        (1..=98).for_each(|s| waits.add(Some(Duration::from_secs(s))));
        waits.add(None);
        waits.add(None);
        assert_eq!((waits.at(GoalRank::P50), waits.at(GoalRank::P95), waits.at(GoalRank::P99)), (50.0, 95.0, f64::INFINITY));
        assert_eq!((waits.within(Duration::from_secs(49)), waits.within(Duration::MAX)), (0.49, 0.98));
        assert_eq!((WaitCounts::default().at(GoalRank::Max), WaitCounts::default().within(Duration::ZERO)), (0.0, 1.0));
    }

    #[test]
    fn a_wait_just_above_the_goal_does_not_meet_it() {
        let mut waits = WaitCounts::default();
        waits.add(Some(Duration::from_millis(30_001)));
        assert!(waits.at(GoalRank::P95) > 30.0 && waits.within(Duration::from_secs(30)) == 0.0);
    }

    #[test]
    fn the_cost_of_several_runs_is_that_of_a_day() {
        let run = |cost| Measure { cost, length: Duration::from_secs(43_200), jobs: 10, lost: 1, ..Measure::default() };
        let mut both = run(2.0);
        both.add(&run(4.0));
        assert_eq!((both.cost_a_day(), both.lost_share()), (6.0, 0.1));
    }
}
