//! Makes a failing run small. Strikes, jobs, changes, pools and latencies are data, so they can be left out, one after the
//! other, as long as the run still fails. The method is delta debugging (Zeller and Hildebrandt, 2002).

use crate::luck::{Schedule, Strike};
use crate::options::Latencies;
use crate::run::RunReport;
use crate::scenario::Scenario;

/// The result of shrinking.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest scenario that was found to fail.
    pub scenario: Scenario,
    /// The report of its run, with the lines of its trace.
    pub report: RunReport,
    /// How many runs the search took.
    pub runs: u32,
}

/// How many strikes are tried at earlier decisions. When there are more, leaving strikes out helps more.
const RENUMBERED: usize = 12;

/// Whether a run fails in the way that matters. A shrunk run that fails in another way is no help.
pub type Fails<'a> = &'a dyn Fn(&RunReport) -> bool;

/// Shrinks a failing scenario in at most `budget` runs. None: the scenario does not fail.
pub fn shrink(scenario: &Scenario, budget: u32, fails: Fails<'_>) -> Option<Shrunk> {
    let mut search = Search { left: budget.max(1), runs: 0, fails };
    let first = search.run(scenario)?;
    let mut best = scenario.recorded(&first);
    if search.run(&best).is_none() {
        // This happens only if the record of the strikes has a defect. The drawn scenario is then all that there is.
        best = scenario.clone();
    }
    loop {
        let before = size(&best);
        search.strikes(&mut best);
        search.earlier(&mut best);
        search.jobs(&mut best);
        search.changes(&mut best);
        search.pools(&mut best);
        search.options(&mut best);
        if size(&best) >= before || search.left == 0 {
            break;
        }
    }
    let report = best.run_keeping(4000);
    Some(Shrunk { scenario: best, report, runs: search.runs + 1 })
}

fn strikes(s: &Scenario) -> Vec<Strike> {
    match &s.faults {
        Schedule::Fixed(strikes) => strikes.clone(),
        Schedule::Drawn(_) => Vec::new(),
    }
}

/// What shrinking makes smaller: first how much there is, then how late the strikes are.
fn size(s: &Scenario) -> (usize, u64) {
    let strikes = strikes(s);
    let late = strikes.iter().map(|s| u64::from(s.nth)).sum();
    (strikes.len() + s.jobs.len() + s.changes.len() + s.cluster.pools.len(), late)
}

struct Search<'a> {
    left: u32,
    runs: u32,
    fails: Fails<'a>,
}

impl Search<'_> {
    /// Runs a scenario. None: it does not fail, or the budget is used up.
    fn run(&mut self, scenario: &Scenario) -> Option<RunReport> {
        self.left = self.left.checked_sub(1)?;
        self.runs += 1;
        let report = scenario.run();
        (self.fails)(&report).then_some(report)
    }

    /// Takes the candidate as the best so far, if it fails, too.
    fn try_this(&mut self, best: &mut Scenario, candidate: Scenario) -> bool {
        let fails = candidate != *best && self.run(&candidate).is_some();
        if fails {
            *best = candidate;
        }
        fails
    }

    fn strikes(&mut self, best: &mut Scenario) {
        let all = strikes(best);
        let few = self.minimise(all, &|few| Scenario { faults: Schedule::Fixed(few), ..best.clone() });
        if let Some(few) = few {
            best.faults = Schedule::Fixed(few);
        }
    }

    /// Moves strikes to earlier decisions of their kind. A late decision needs many jobs before it.
    fn earlier(&mut self, best: &mut Scenario) {
        for i in 0..strikes(best).len().min(RENUMBERED) {
            let all = strikes(best);
            let Some(nth) = all.get(i).map(|s| s.nth) else { break };
            for sooner in (0..10).chain([nth / 4, nth / 2]).filter(|sooner| *sooner < nth) {
                let mut moved = all.clone();
                if let Some(strike) = moved.get_mut(i) {
                    strike.nth = sooner;
                }
                if self.try_this(best, Scenario { faults: Schedule::Fixed(moved), ..best.clone() }) {
                    break;
                }
            }
        }
    }

    fn jobs(&mut self, best: &mut Scenario) {
        if let Some(jobs) = self.minimise(best.jobs.clone(), &|jobs| Scenario { jobs, ..best.clone() }) {
            best.jobs = jobs;
        }
    }

    fn changes(&mut self, best: &mut Scenario) {
        if let Some(changes) = self.minimise(best.changes.clone(), &|changes| Scenario { changes, ..best.clone() }) {
            best.changes = changes;
        }
    }

    fn pools(&mut self, best: &mut Scenario) {
        let with = |pools| {
            let mut fewer = best.clone();
            fewer.cluster.pools = pools;
            fewer
        };
        if let Some(pools) = self.minimise(best.cluster.pools.clone(), &with) {
            best.cluster.pools = pools;
        }
    }

    /// Sets each latency, and the cluster's limits and intervals, back to its default.
    fn options(&mut self, best: &mut Scenario) {
        let usual = Latencies::default();
        if best.latencies != usual && !self.try_this(best, Scenario { latencies: usual.clone(), ..best.clone() }) {
            for set in SPREADS {
                let mut candidate = best.clone();
                set(&mut candidate.latencies, &usual);
                self.try_this(best, candidate);
            }
        }
        self.try_this(best, Scenario { etags: true, ..best.clone() });
        let mut plain = best.clone();
        (plain.cluster.limits, plain.cluster.intervals) = Default::default();
        self.try_this(best, plain);
    }

    /// The fewest items with which the scenario still fails, as far as the budget goes. None: no item can be left out.
    fn minimise<T: Clone>(&mut self, all: Vec<T>, with: &dyn Fn(Vec<T>) -> Scenario) -> Option<Vec<T>> {
        let before = all.len();
        let (mut items, mut parts) = (all, 2);
        if items.is_empty() {
            return None;
        }
        if self.run(&with(Vec::new())).is_some() {
            return Some(Vec::new());
        }
        while items.len() >= 2 && self.left > 0 {
            let chunk = items.len().div_ceil(parts);
            let without = |nth: usize| -> Vec<T> {
                let (from, to) = (nth * chunk, ((nth + 1) * chunk).min(items.len()));
                items.iter().enumerate().filter(|(i, _)| *i < from || *i >= to).map(|(_, t)| t.clone()).collect()
            };
            let fewer = (0..items.len().div_ceil(chunk)).map(without).find(|fewer| self.run(&with(fewer.clone())).is_some());
            match fewer {
                Some(fewer) => (items, parts) = (fewer, (parts - 1).max(2)),
                None if chunk == 1 => break,
                None => parts = (parts * 2).min(items.len()),
            }
        }
        (items.len() < before).then_some(items)
    }
}

type Set = fn(&mut Latencies, &Latencies);

/// Each of these sets one latency back.
const SPREADS: [Set; 10] = [
    |l, usual| l.start = usual.start,
    |l, usual| l.boot = usual.boot,
    |l, usual| l.register = usual.register,
    |l, usual| l.network = usual.network,
    |l, usual| l.fleet = usual.fleet,
    |l, usual| l.assign = usual.assign,
    |l, usual| l.webhook = usual.webhook,
    |l, usual| l.notify = usual.notify,
    |l, usual| l.describe_lag = usual.describe_lag,
    |l, usual| l.drain_seen = usual.drain_seen,
];
