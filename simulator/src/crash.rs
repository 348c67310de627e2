//! A crash after every effect of a run. The run is first made without a crash, as the reference. Then it is repeated once
//! for each effect, and the controller is killed after that effect, before it knows the outcome. A new process starts, and
//! knows only what AWS, GitHub and the queue hold. The end of each such run is compared with the reference.

mod examples;

use std::collections::BTreeMap;
use std::fmt;

use crate::Simulation;
use crate::cloud::Ending;
use crate::luck::Schedule;
use crate::oracle::Violation;
use crate::request::CrashMode;
use crate::run::RunReport;
use crate::scenario::Scenario;
use crate::times::BEGIN;

pub use crate::request::{CrashPoint, RequestKind};
pub use examples::Example;

/// The state at the end of a run, and what the run took to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashEnd {
    /// How many jobs have each conclusion.
    pub jobs: BTreeMap<&'static str, u64>,
    /// How many instances live in each pool.
    pub live: BTreeMap<String, u32>,
    /// How many registrations GitHub has, strangers' included.
    pub registrations: usize,
    /// How many secrets SSM has.
    pub secrets: usize,
    /// How many messages the queue has.
    pub messages: usize,
    /// How many instances were launched in the whole run.
    pub launched: u64,
    /// How many registrations were made in the whole run.
    pub registered: u64,
    /// How many instances each cause has ended.
    pub ended: BTreeMap<Ending, u64>,
}

impl CrashEnd {
    fn of(world: &Simulation) -> CrashEnd {
        CrashEnd {
            jobs: world.report().jobs,
            live: world.cloud().populated().map(|(pool, n)| (pool.to_string(), n)).collect(),
            registrations: world.github().registrations().len(),
            secrets: world.cloud().secrets.len(),
            messages: world.queue().len(),
            launched: world.cloud().launched(),
            registered: world.github().registry.registered(),
            ended: world.cloud().ended().clone(),
        }
    }

    fn ended_by(&self, ending: Ending) -> u64 {
        self.ended.get(&ending).copied().unwrap_or_default()
    }

    /// What is wrong with the end of a run with a crash, compared with the end of the reference; None: nothing.
    /// - The jobs and everything that is left must be the same.
    /// - The same number of instances must have been taken back by spot.
    /// - Instances may be fewer, because while the controller is away, jobs go to runners that are idle again.
    /// - Up to `spare` more instances may have been launched, and up to `spare` more let go: drained, or ended because no job wants
    ///   them before they are configured. That no instance with a job is ended is an invariant.
    /// - One more registration may have been made. The dead process had one that its instance had not used, and no later
    ///   process can tell whether the instance still has it.
    fn wrong_with(&self, crashed: &CrashEnd, spare: u64) -> Option<String> {
        let left = |e: &CrashEnd| (e.jobs.clone(), e.live.clone(), e.registrations, e.secrets, e.messages);
        let let_go = |e: &CrashEnd| e.ended_by(Ending::Termination) + e.ended_by(Ending::Drain);
        let more = |count: fn(&CrashEnd) -> u64| count(crashed).saturating_sub(count(self));
        let wrong = if left(crashed) != left(self) {
            "something else is left"
        } else if crashed.ended_by(Ending::Spot) != self.ended_by(Ending::Spot) {
            "other instances were taken back"
        } else if more(|e| e.launched) > spare {
            "more instances were launched"
        } else if more(let_go) > spare {
            "more instances were let go"
        } else if more(|e| e.registered) > spare + 1 {
            "more registrations were made"
        } else {
            return None;
        };
        Some(format!("{wrong} than without it: {crashed:?}, not {self:?}"))
    }
}

/// How a run with a crash is judged. The invariants must hold in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The run must end as the reference does, except for a few more instances.
    ByEnd {
        /// How many more instances a crash may cost.
        spare: u64,
    },
    /// Only the invariants are judged. After a crash, a fault, an operator's change or a cancellation may hit another job or
    /// runner, so a different end is no error.
    ByInvariants,
}

impl Judged {
    /// The rule for a scenario without a rule of its own. Without faults, changes and cancellations, its end must equal the
    /// reference's. One instance may be replaced, because its registration was lost with the process.
    pub fn of(scenario: &Scenario) -> Judged {
        let calm = match &scenario.faults {
            Schedule::Drawn(rates) => rates.present().next().is_none(),
            Schedule::Fixed(strikes) => strikes.is_empty(),
        };
        let alone = scenario.changes.is_empty() && scenario.jobs.iter().all(|j| j.cancel_after.is_none());
        if calm && alone { Judged::ByEnd { spare: 1 } } else { Judged::ByInvariants }
    }
}

/// A run without a crash, which the runs with a crash are compared with.
#[derive(Debug)]
pub struct Reference {
    scenario: Scenario,
    /// How the runs with a crash are judged.
    pub judged: Judged,
    /// The end of the run without a crash.
    pub end: CrashEnd,
    /// The kinds of its effects in order, without sweeps. A crash can follow each of them.
    pub effects: Vec<RequestKind>,
}

/// A run with a crash.
#[derive(Debug)]
pub struct Crashed {
    /// After which effect the controller crashed.
    pub at: CrashPoint,
    /// The kind of that effect. None: the run has fewer effects.
    pub kind: Option<RequestKind>,
    /// What is wrong with the run. None: nothing.
    pub wrong: Option<String>,
    /// The report of the run.
    pub report: RunReport,
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "crash at {} ({kind:?}): ", self.at)?,
            None => write!(f, "crash at {}, after the run's last effect: ", self.at)?,
        }
        f.write_str(self.wrong.as_deref().unwrap_or("all is well"))
    }
}

impl Reference {
    /// Runs the scenario without a crash. Err: the scenario fails even so.
    pub fn of(scenario: &Scenario, judged: Judged) -> Result<Reference, Violation> {
        let (world, converged) = run(scenario, None, 0);
        match world.violations().iter().cloned().chain(converged.err()).next() {
            Some(violation) => Err(violation),
            None => {
                Ok(Reference { scenario: scenario.clone(), judged, end: CrashEnd::of(&world), effects: world.kinds().to_vec() })
            }
        }
    }

    /// Every point at which the run can crash.
    pub fn points(&self) -> impl Iterator<Item = CrashPoint> + use<> {
        let effects = self.effects.len() as u64;
        CrashMode::ALL.into_iter().flat_map(move |mode| (1..=effects).map(move |effect| CrashPoint { effect, mode }))
    }

    /// How many effects of each kind the run has.
    pub fn kinds(&self) -> BTreeMap<RequestKind, u64> {
        let mut kinds = BTreeMap::new();
        for kind in &self.effects {
            *kinds.entry(*kind).or_default() += 1;
        }
        kinds
    }

    /// Repeats the run with a crash at this point, and keeps the last `lines` lines of its trace.
    pub fn crash(&self, at: CrashPoint, lines: usize) -> Crashed {
        let (world, converged) = run(&self.scenario, Some(at), lines);
        let wrong = self.judge(&world, converged.as_ref().err());
        let nth = usize::try_from(at.effect.saturating_sub(1)).ok();
        let kind = nth.and_then(|nth| self.effects.get(nth).copied());
        Crashed { at, kind, wrong, report: RunReport::of(&self.scenario, world, None, converged.err()) }
    }

    fn judge(&self, world: &Simulation, unrest: Option<&Violation>) -> Option<String> {
        match (world.violations().first().or(unrest), self.judged) {
            (Some(violation), _) => Some(violation.to_string()),
            (None, Judged::ByEnd { spare }) => self.end.wrong_with(&CrashEnd::of(world), spare),
            (None, Judged::ByInvariants) => None,
        }
    }
}

fn run(scenario: &Scenario, crash: Option<CrashPoint>, lines: usize) -> (Simulation, Result<(), Violation>) {
    let mut world = scenario.world(lines);
    world.keep_kinds();
    if let Some(CrashPoint { effect, mode }) = crash {
        world.crash_after_effect(effect, mode);
    }
    world.step_until(BEGIN + scenario.disturbed);
    let rest = world.rest(scenario.converges_within, scenario.quiet);
    let rest = rest.map(drop).map_err(|unrest| unrest.violation(world.now(), scenario.converges_within, scenario.quiet));
    (world, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> CrashEnd {
        CrashEnd {
            jobs: [("success", 3)].into(),
            live: BTreeMap::new(),
            registrations: 1,
            secrets: 0,
            messages: 0,
            launched: 4,
            registered: 5,
            ended: [(Ending::Itself, 3), (Ending::Termination, 1)].into(),
        }
    }

    #[test]
    fn an_end_is_compared_in_all_its_counts() {
        let says = |crashed: CrashEnd| end().wrong_with(&crashed, 0).unwrap_or_default();
        assert_eq!(says(end()), "");
        assert_eq!(says(CrashEnd { launched: 3, registered: 4, ..end() }), "");
        assert_eq!(says(CrashEnd { registered: 6, ..end() }), "");
        assert!(says(CrashEnd { registered: 7, ..end() }).starts_with("more registrations"));
        assert!(says(CrashEnd { launched: 5, ..end() }).starts_with("more instances were launched"));
        assert!(says(CrashEnd { jobs: [("success", 2), ("failure", 1)].into(), ..end() }).starts_with("something else is left"));
        for left in [CrashEnd { secrets: 1, ..end() }, CrashEnd { messages: 1, ..end() }, CrashEnd { registrations: 2, ..end() }]
        {
            assert!(says(left).starts_with("something else is left"));
        }
        let taken_back = [(Ending::Itself, 2), (Ending::Termination, 1), (Ending::Spot, 1)];
        assert!(says(CrashEnd { ended: taken_back.into(), ..end() }).starts_with("other instances were taken back"));
        let drained = [(Ending::Itself, 2), (Ending::Termination, 1), (Ending::Drain, 1)];
        assert!(says(CrashEnd { ended: drained.into(), ..end() }).starts_with("more instances were let go"));
        assert_eq!(end().wrong_with(&CrashEnd { launched: 5, ended: drained.into(), ..end() }, 1), None);
    }

    #[test]
    fn what_strikes_or_changes_is_judged_by_its_invariants() {
        assert_eq!(Judged::of(&Example::Burst.scenario()), Judged::ByEnd { spare: 1 });
        for example in [Example::Warm, Example::Broken, Example::Unheard] {
            assert_eq!(Judged::of(&example.scenario()), Judged::ByInvariants, "{example}");
        }
        let mut cancelled = Example::Burst.scenario();
        cancelled.jobs[0].cancel_after = Some(std::time::Duration::from_secs(60));
        assert_eq!(Judged::of(&cancelled), Judged::ByInvariants);
    }

    #[test]
    fn a_point_reads_as_it_is_written() {
        let at = CrashPoint { effect: 12, mode: CrashMode::Lost };
        assert_eq!(at.to_string().parse(), Ok(at));
        for wrong in ["12", "0:lost", "12:found", ":done"] {
            assert!(wrong.parse::<CrashPoint>().is_err_and(|e| e.contains("12:lost")), "{wrong}");
        }
    }
}
