//! One run of a scenario, from its beginning until it has come to rest (or must be given up), and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::time::Time;

use crate::Simulation;
use crate::luck::{Schedule, Strike};
use crate::marks::Marks;
use crate::oracle::Violation;
use crate::scenario::Scenario;
use crate::times::BEGIN;
use crate::trace::Trace;

/// Between two looks whether a run has failed already.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What came of a run.
#[derive(Debug)]
pub struct RunReport {
    /// Its seed.
    pub seed: u64,
    /// The trace's hash: two runs of one scenario have the same.
    pub hash: u64,
    /// The hash of what was decided: [`Trace::decisions`].
    pub decisions: u64,
    /// Steps of the controller.
    pub steps: u64,
    /// Effects sent, sweeps aside.
    pub effects: u64,
    /// Instances launched.
    pub instances: u64,
    /// Jobs by conclusion; `queued` or `in_progress` when they have none.
    pub jobs: BTreeMap<&'static str, u64>,
    /// Calls by API.
    pub calls: BTreeMap<&'static str, u64>,
    /// Jobs that were killed just after they had started, when nobody could know of them.
    pub races: u64,
    /// What must never happen, and did; unrest at the end comes last.
    pub violations: Vec<Violation>,
    /// Which rare branches were reached.
    pub marks: Marks,
    /// What went wrong, in order.
    pub strikes: Vec<Strike>,
    /// How long after the disturbances it had come to rest; None: it never did, or was given up.
    pub converged: Option<Duration>,
    /// What time of the world has passed.
    pub lasted: Duration,
    trace: Trace,
}

impl RunReport {
    /// The first violation.
    pub fn failure(&self) -> Option<&Violation> {
        self.violations.first()
    }

    /// The last `lines` of the trace before `until`; only if the run kept lines.
    pub fn timeline_until(&self, until: Time, lines: usize) -> String {
        self.trace.lines(until, lines).join("\n")
    }

    /// The last `lines` of the trace before the first violation, or before the end.
    pub fn timeline(&self, lines: usize) -> String {
        self.timeline_until(self.failure().map_or(Time::FAR, |v| v.at), lines)
    }
}

impl Scenario {
    /// Runs it. No lines are kept: this is the fastest way.
    pub fn run(&self) -> RunReport {
        self.run_keeping(0)
    }

    /// Runs it, and keeps the last `lines` of its trace.
    pub fn run_keeping(&self, lines: usize) -> RunReport {
        self.run_until(lines, &|_| false)
    }

    /// Runs it until a violation happens that `enough` says yes to.
    pub fn run_until(&self, lines: usize, enough: &dyn Fn(&Violation) -> bool) -> RunReport {
        let mut world = self.world(lines);
        let mut looked = 0;
        let mut failed = |world: &Simulation| {
            let new = world.violations().get(looked..).unwrap_or_default();
            looked = world.violations().len();
            new.iter().any(enough)
        };
        let until = BEGIN + self.disturbed;
        while world.now() < until {
            world.step_until(until.min(world.now() + LOOK_EVERY));
            if failed(&world) {
                return RunReport::of(self.seed, world, None, None);
            }
        }
        let (converged, unrest) = match world.rest(self.converges_within, self.quiet) {
            Ok(took) => (Some(took), None),
            Err(unrest) => (None, Some(unrest.violation(world.now(), self.converges_within, self.quiet))),
        };
        RunReport::of(self.seed, world, converged, unrest)
    }

    /// The same run with what struck in it written down, instead of drawn: a scenario to keep, and to shrink.
    pub fn recorded(&self, report: &RunReport) -> Scenario {
        Scenario { faults: Schedule::Fixed(report.strikes.clone()), ..self.clone() }
    }
}

impl RunReport {
    pub(super) fn of(seed: u64, world: Simulation, converged: Option<Duration>, unrest: Option<Violation>) -> RunReport {
        let report = world.report();
        RunReport {
            seed,
            hash: report.hash,
            decisions: report.decisions,
            steps: report.steps,
            effects: report.effects,
            instances: report.instances,
            jobs: report.jobs,
            calls: report.calls,
            races: report.races,
            violations: report.violations.into_iter().chain(unrest).collect(),
            marks: world.marks().clone(),
            strikes: world.struck().to_vec(),
            converged,
            lasted: world.now().since(BEGIN),
            trace: world.into_trace(),
        }
    }
}
