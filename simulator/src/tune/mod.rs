//! The engine of `muster tune`: what to change of the manifests so that jobs wait no longer than a person wants, and what that costs.
//!
//! In the order of the data: [`split`] holds a part of the trace out, [`demand`] suggests settings from the rest, [`search`] tries them and
//! combinations of them in forecasts, [`measure`] says what each gave, and [`frontier`] says which are worth a look. Nothing here runs a
//! forecast by itself: whoever calls decides on how many cores, and for how long.

pub mod demand;
pub mod frontier;
pub mod goal;
pub mod knobs;
pub mod measure;
pub mod search;
pub mod split;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{MarketPolicy, RunnerPool, Spec};
use muster_reconciler::matching::Route;
use muster_reconciler::time::Time;

use crate::conditions::Conditions;
use crate::forecast::{Question, forecast};
use crate::job_plan::JobPlan;
use crate::ledger::Router;
use demand::PoolDemand;
use knobs::KnobSetting;
use measure::{HourPrice, Measure};
use search::TuneRun;
use split::Split;

/// The jobs of a trace, by pool, and what the simulated world is like.
#[derive(Clone, Debug)]
pub struct Workbench {
    /// The jobs, the oldest first.
    pub jobs: Vec<JobPlan>,
    /// How the trace is divided.
    pub split: Split,
    /// What the runs assume of the world.
    pub conditions: Conditions,
    /// The pools that are tuned. The waits of their jobs count.
    pub pools: Vec<PoolName>,
}

impl Workbench {
    /// Runs some manifests on a piece of the trace.
    pub fn run(&self, run: &TuneRun, price: &HourPrice<'_>) -> Measure {
        let piece = run.piece;
        let question = Question {
            spec: Arc::clone(&run.spec),
            jobs: self.jobs.iter().filter(|job| piece.has(job.at)).cloned().collect(),
            from: piece.from,
            until: piece.until,
            conditions: self.conditions.clone(),
            seed: run.seed,
        };
        let forecast = forecast(&question, |_| {});
        let tuned = |pool: Option<&PoolName>| pool.is_some_and(|pool| self.pools.contains(pool));
        Measure::of(&forecast, piece, &self.split, price, |job| tuned(job.pool.as_ref()))
    }

    /// How many jobs each shown piece has.
    pub fn weights(&self) -> Vec<usize> {
        self.split.shown.iter().map(|piece| self.jobs.iter().filter(|job| piece.has(job.at)).count()).collect()
    }

    /// When the most jobs are queued at once, as far as the search may see, and the changes to try by themselves: the pools take turns, and
    /// that with the most jobs begins. `priced` says whether all types of a pool have prices on the markets of a policy.
    pub fn suggestions(
        &self,
        spec: &Spec,
        priced: impl Fn(&RunnerPool, MarketPolicy) -> bool,
    ) -> (Option<Time>, Vec<(PoolName, KnobSetting)>) {
        let start = [self.conditions.start, self.conditions.boot, self.conditions.register];
        let start: Duration = start.iter().map(|range| range.max.get()).sum();
        let shown = self.jobs.iter().filter(|job| self.split.shows(job.at));
        let mut queued = by_pool(spec, shown);
        let all: Vec<Time> = self.pools.iter().filter_map(|pool| queued.get(pool)).flatten().copied().collect();
        let burst = PoolDemand::new(all, start).burst();
        let mut lists: Vec<(usize, Vec<(PoolName, KnobSetting)>)> = Vec::new();
        for name in &self.pools {
            let (Some(pool), Some(queued)) = (spec.pools.get(name), queued.remove(name)) else { continue };
            let demand = PoolDemand::new(queued, start);
            let settings = demand.suggestions(pool, |market| priced(pool, market));
            lists.push((demand.jobs(), settings.into_iter().map(|setting| (name.clone(), setting)).collect()));
        }
        lists.sort_by_key(|(jobs, _)| std::cmp::Reverse(*jobs));
        let longest = lists.iter().map(|(_, list)| list.len()).max().unwrap_or_default();
        let in_turn = (0..longest).flat_map(|nth| lists.iter().filter_map(move |(_, list)| list.get(nth).cloned()));
        (burst, in_turn.collect())
    }
}

/// When the jobs of each pool are queued. Jobs that no pool takes are left out.
pub fn by_pool<'a>(spec: &Spec, jobs: impl Iterator<Item = &'a JobPlan>) -> BTreeMap<PoolName, Vec<Time>> {
    let mut router = Router::new(spec);
    let mut queued: BTreeMap<PoolName, Vec<Time>> = BTreeMap::new();
    for job in jobs {
        if let Route::Pool(pool) = router.route(job) {
            queued.entry(pool.clone()).or_default().push(job.at);
        }
    }
    queued
}
