//! A crash at every effect: a reference run is replayed with the controller killed after the n-th effect, before its
//! outcome is recorded, for every n; a new process starts from nothing but what the outside world holds. Where the world
//! ends, and what it took, is compared with the reference.

use std::collections::BTreeMap;
use std::fmt;

use super::World;
use super::effects::CrashMode;
use super::oracle::Violation;
use super::run::RunReport;
use super::scenario::Scenario;

/// Where a world ended, and what it took to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Jobs by conclusion.
    pub jobs: BTreeMap<&'static str, u64>,
    /// Live boxes by pool.
    pub live: BTreeMap<String, u32>,
    /// Registrations at GitHub, strangers' included.
    pub registrations: usize,
    /// Secrets in SSM.
    pub secrets: usize,
    /// Messages in the queue.
    pub messages: usize,
    /// Boxes ever launched.
    pub launched: u64,
}

impl End {
    fn of(world: &World) -> End {
        End {
            jobs: world.report().jobs,
            live: world.cloud.populated().map(|(pool, n)| (pool.to_string(), n)).collect(),
            registrations: world.forge.registrations().len(),
            secrets: world.cloud.secrets.len(),
            messages: world.queue.len(),
            launched: world.cloud.launched(),
        }
    }
}

/// A run without a crash, to compare with.
#[derive(Debug)]
pub struct Reference {
    scenario: Scenario,
    /// Where it ended.
    pub end: End,
    /// Effects sent, sweeps aside: as many points to crash at.
    pub effects: u64,
}

/// A crash after which something was wrong.
#[derive(Debug)]
pub struct Wrong {
    /// After which effect, from 1.
    pub effect: u64,
    /// What became of that effect.
    pub mode: CrashMode,
    /// What is wrong.
    pub what: String,
    /// What happened.
    pub report: RunReport,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crash after effect {} ({:?}): {}", self.effect, self.mode, self.what)
    }
}

impl Reference {
    /// Runs the scenario. Err: it fails without any crash.
    pub fn of(scenario: &Scenario) -> Result<Reference, Violation> {
        let (world, converged) = run(scenario, None, 0);
        let report = world.report();
        match report.violations.into_iter().chain(converged.err()).next() {
            Some(violation) => Err(violation),
            None => Ok(Reference { scenario: scenario.clone(), end: End::of(&world), effects: report.effects }),
        }
    }

    /// All points at which it can crash.
    pub fn points(&self) -> impl Iterator<Item = (u64, CrashMode)> + use<> {
        let effects = self.effects;
        CrashMode::ALL.into_iter().flat_map(move |mode| (1..=effects).map(move |n| (n, mode)))
    }

    /// Runs it with a crash at this point. `spare`: boxes that it may launch beyond the reference (a box whose registration
    /// died with the process has to be replaced).
    pub fn crash(&self, effect: u64, mode: CrashMode, spare: u64) -> Option<Wrong> {
        let what = {
            let (world, converged) = run(&self.scenario, Some((effect, mode)), 0);
            self.judge(&world, converged, spare)?
        };
        // Once more, with its lines kept: few runs go wrong.
        let (world, converged) = run(&self.scenario, Some((effect, mode)), 4000);
        let report = RunReport::of(self.scenario.seed, world, None, converged.err());
        Some(Wrong { effect, mode, what, report })
    }

    fn judge(&self, world: &World, converged: Result<(), Violation>, spare: u64) -> Option<String> {
        if let Some(violation) = world.violations().first() {
            return Some(violation.to_string());
        }
        if let Err(violation) = converged {
            return Some(violation.to_string());
        }
        let end = End::of(world);
        let most = self.end.launched + spare;
        if end.launched > most {
            return Some(format!("{} boxes were launched, {} without the crash", end.launched, self.end.launched));
        }
        let same = End { launched: self.end.launched, ..end };
        (same != self.end).then(|| format!("it ended otherwise: {same:?}, not {:?}", self.end))
    }
}

/// Crashes the scenario at every effect, in every way. Err: it fails without any crash.
pub fn crash_each(scenario: &Scenario, spare: u64) -> Result<Vec<Wrong>, Violation> {
    let reference = Reference::of(scenario)?;
    Ok(reference.points().filter_map(|(n, mode)| reference.crash(n, mode, spare)).collect())
}

fn run(scenario: &Scenario, crash: Option<(u64, CrashMode)>, lines: usize) -> (World, Result<(), Violation>) {
    let mut world = scenario.world(lines);
    if let Some((n, mode)) = crash {
        world.crash_after_effect(n, mode);
    }
    let rest = world.rest(scenario.disturbed + scenario.converges_within, scenario.quiet);
    let rest = rest.map(drop).map_err(|unrest| unrest.violation(world.now(), scenario.converges_within, scenario.quiet));
    (world, rest)
}
