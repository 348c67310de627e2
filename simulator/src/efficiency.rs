//! How well a run served its jobs, and what it paid for nothing. No invariant judges these figures: they are printed over many seeds,
//! so that a change that makes them worse is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use muster_reconciler::ids::{InstanceId, RunnerName};
use muster_reconciler::time::human;

use crate::Simulation;

/// The figures of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Efficiency {
    /// How many jobs waited how many seconds for a runner, since GitHub last let them go. The wait includes the launch and the boot.
    waits: BTreeMap<u64, u64>,
    /// How long all instances ran.
    ran: Duration,
    /// How long those instances ran that never had a job.
    vain: Duration,
}

impl Efficiency {
    /// The figures of a run that kept its ledger from the beginning.
    pub(crate) fn of(world: &Simulation, cluster: &str) -> Efficiency {
        let mut figures = Efficiency::default();
        let mut worked: BTreeSet<InstanceId> = BTreeSet::new();
        for job in world.github().jobs().values() {
            let Some(started) = job.started_at else { continue };
            *figures.waits.entry(started.since(job.free_since).as_secs()).or_default() += 1;
            worked.extend(job.listed_runner().and_then(|name| RunnerName::parse_ours(name, cluster)).map(|name| name.instance));
        }
        let lives = world.ledger().map(|ledger| ledger.instance_lives(world.cloud())).unwrap_or_default();
        for life in lives {
            let ran = life.running.map_or(Duration::ZERO, |from| life.off.unwrap_or(world.now()).since(from));
            figures.ran += ran;
            if !worked.contains(&life.id) {
                figures.vain += ran;
            }
        }
        figures
    }

    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Efficiency) {
        for (wait, jobs) in &other.waits {
            *self.waits.entry(*wait).or_default() += jobs;
        }
        (self.ran, self.vain) = (self.ran + other.ran, self.vain + other.vain);
    }

    /// The wait that this share of the jobs did not exceed.
    fn wait(&self, per_thousand: u64) -> Duration {
        let all: u64 = self.waits.values().sum();
        let mut left = (all * per_thousand).div_ceil(1000);
        for (wait, jobs) in &self.waits {
            left = left.saturating_sub(*jobs);
            if left == 0 {
                return Duration::from_secs(*wait);
            }
        }
        Duration::ZERO
    }
}

impl fmt::Display for Efficiency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, tenth, hundredth, longest] = [500, 900, 990, 1000].map(|share| human(self.wait(share)));
        let share = 100.0 * self.vain.as_secs_f64() / self.ran.as_secs_f64().max(1.0);
        write!(
            f,
            "jobs waited {half} (median), {tenth} (90%), {hundredth} (99%), {longest} (longest); of {} of instances, {share:.1}% \
             never had a job",
            human(self.ran)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_jobs_of_all_runs() {
        let of = |waits: &[(u64, u64)], ran, vain| Efficiency {
            waits: waits.iter().copied().collect(),
            ran: Duration::from_secs(ran),
            vain: Duration::from_secs(vain),
        };
        let mut all = of(&[(10, 50), (20, 39)], 300, 0);
        all.add(&of(&[(20, 1), (90, 9), (600, 1)], 100, 100));
        assert_eq!([500, 900, 990, 1000].map(|share| all.wait(share).as_secs()), [10, 20, 90, 600]);
        let told =
            "jobs waited 10s (median), 20s (90%), 1m 30s (99%), 10m (longest); of 6m 40s of instances, 25.0% never had a job";
        assert_eq!(all.to_string(), told);
        assert_eq!(Efficiency::default().wait(500), Duration::ZERO);
    }
}
