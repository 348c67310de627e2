//! One run of a scenario, from its beginning until the world has come to rest, or has failed to, and the report of it.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::time::Time;

use crate::Simulation;
use crate::efficiency::Efficiency;
use crate::luck::{Schedule, Strike};
use crate::marks::Marks;
use crate::oracle::{Verdicts, Violation};
use crate::scenario::Scenario;
use crate::tenures::Tenures;
use crate::times::BEGIN;
use crate::trace::Trace;

/// How often a run checks whether it has failed already.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The report of a run.
#[derive(Debug)]
pub struct RunReport {
    /// The seed of the scenario.
    pub seed: u64,
    /// The trace's hash. Two runs of one scenario have the same.
    pub hash: u64,
    /// The hash of the controller's decisions alone: [`Trace::decisions`].
    pub decisions: u64,
    /// How often the controller was stepped.
    pub steps: u64,
    /// How many effects the controller sent, without its sweeps.
    pub effects: u64,
    /// How many instances were launched.
    pub instances: u64,
    /// How many jobs have each conclusion. A job without a conclusion counts as `queued` or `in_progress`.
    pub jobs: BTreeMap<&'static str, u64>,
    /// How many calls each API got.
    pub calls: BTreeMap<&'static str, u64>,
    /// How many jobs were killed just after their start, when the controller could not know of them. They are no
    /// violations.
    pub races: u64,
    /// What happened between several processes.
    pub tenures: Tenures,
    /// What was said of jobs that did not succeed.
    pub verdicts: Verdicts,
    /// What must never happen, and did. That the world did not come to rest is the last of them.
    pub violations: Vec<Violation>,
    /// How well the run served its jobs.
    pub efficiency: Efficiency,
    /// Which rare branches the run reached, and how often.
    pub marks: Marks,
    /// The faults that struck, in order.
    pub strikes: Vec<Strike>,
    /// How long after `disturbed` the world had come to rest. None: it never did, or the run stopped early.
    pub converged: Option<Duration>,
    /// How much simulated time has passed.
    pub lasted: Duration,
    trace: Trace,
}

impl RunReport {
    /// The violation that came first. None: there is none.
    pub fn failure(&self) -> Option<&Violation> {
        self.violations.first()
    }

    /// The last `lines` of the trace before `until`. Empty if the run kept no lines.
    pub fn timeline_until(&self, until: Time, lines: usize) -> String {
        self.trace.lines(until, lines).join("\n")
    }

    /// The last `lines` of the trace before the first violation, or before the end of the run.
    pub fn timeline(&self, lines: usize) -> String {
        self.timeline_until(self.failure().map_or(Time::FAR, |v| v.at), lines)
    }
}

impl Scenario {
    /// Runs the scenario and keeps no lines of its trace, which is the fastest way.
    pub fn run(&self) -> RunReport {
        self.run_keeping(0)
    }

    /// Runs the scenario and keeps the last `lines` of its trace.
    pub fn run_keeping(&self, lines: usize) -> RunReport {
        self.run_until(lines, &|_| false)
    }

    /// Runs the scenario, and stops at a violation for which `enough` says true.
    pub fn run_until(&self, lines: usize, enough: &dyn Fn(&Violation) -> bool) -> RunReport {
        let mut world = self.world(lines);
        world.keep_ledger();
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
                return RunReport::of(self, world, None, None);
            }
        }
        let (converged, unrest) = match world.rest(self.converges_within, self.quiet) {
            Ok(took) => (Some(took), None),
            Err(unrest) => (None, Some(unrest.violation(world.now(), self.converges_within, self.quiet))),
        };
        RunReport::of(self, world, converged, unrest)
    }

    /// Runs the scenario, and returns what its controllers recorded.
    pub fn record(&self) -> String {
        let mut world = self.world(0);
        world.keep_record();
        world.step_until(BEGIN + self.disturbed);
        // Whether it comes to rest is the question of other tests.
        let _ = world.rest(self.converges_within, self.quiet);
        world.take_record()
    }

    /// The same scenario, with the faults of this run written down instead of drawn. Such a scenario can be kept and
    /// shrunk.
    pub fn recorded(&self, report: &RunReport) -> Scenario {
        Scenario { faults: Schedule::Fixed(report.strikes.clone()), ..self.clone() }
    }
}

impl RunReport {
    pub(super) fn of(
        scenario: &Scenario,
        world: Simulation,
        converged: Option<Duration>,
        unrest: Option<Violation>,
    ) -> RunReport {
        let (report, cluster) = (world.report(), scenario.cluster.name.as_str());
        RunReport {
            seed: scenario.seed,
            hash: report.hash,
            decisions: report.decisions,
            steps: report.steps,
            effects: report.effects,
            instances: report.instances,
            jobs: report.jobs,
            calls: report.calls,
            races: report.races,
            tenures: report.tenures,
            verdicts: report.verdicts,
            violations: report.violations.into_iter().chain(unrest).collect(),
            efficiency: Efficiency::of(&world, cluster),
            marks: world.marks().clone(),
            strikes: world.struck().to_vec(),
            converged,
            lasted: world.now().since(BEGIN),
            trace: world.into_trace(),
        }
    }
}
