//! `muster sim`: the real controller in simulated worlds in which everything goes wrong. Each world is drawn from a seed.
//!
//! A failing seed is shrunk to the few faults and jobs that matter. The output has the command that replays it.

mod crashes;
mod files;
mod out;
mod seeds;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::builder::RangedU64ValueParser;
use muster_operations::terminal;
use muster_reconciler::reason::count;
use muster_reconciler::time::{Time, human};
use muster_simulator::crash::{CrashPoint, Example, Judged};
use muster_simulator::{RunReport, Scenario, Schedule, Violation, shrink};

use super::fault::USAGE;
use out::say;

/// How many failing seeds are named. The first one is shrunk.
const NAMED: usize = 20;
/// How many lines of the timeline are printed before a violation.
const LINES: usize = 60;
/// How many lines a trace keeps.
const TRACE_LINES: usize = 1_000_000;

/// `muster sim`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("one"))]
pub(super) struct Args {
    /// Run this seed (twice, to check that both runs are the same), and say how it went.
    #[arg(long, group = "one")]
    seed: Option<u64>,
    /// Run a scenario that was written down, such as a failed seed's.
    #[arg(long, value_name = "FILE", group = "one")]
    scenario: Option<PathBuf>,
    /// Run a built-in scenario: burst, warm, broken or unheard.
    #[arg(long, value_name = "NAME", group = "one")]
    example: Option<Example>,
    /// Run this many seeds [default: 1000, or as many as the minutes allow].
    #[arg(long, conflicts_with = "one", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    seeds: Option<u64>,
    /// The first of these seeds.
    #[arg(long, default_value_t = 0, conflicts_with = "one")]
    from: u64,
    /// Start no seed after this many minutes, however many are left.
    #[arg(long, conflicts_with = "one", value_parser = RangedU64ValueParser::<u64>::new().range(1..=100_000))]
    minutes: Option<u64>,
    /// Kill the controller after each effect of a run, in each way, and compare where the worlds end. All examples, if no run
    /// is named. A run in which something strikes or changes is judged by its invariants only.
    #[arg(long, conflicts_with_all = ["seeds", "from", "minutes", "trace", "save", "shrink", "crash_at"])]
    crash_each: bool,
    /// Kill the controller after this effect, in this way (lost, sent, done), such as 12:lost: one of those that --crash-each
    /// runs.
    #[arg(long, value_name = "EFFECT:MODE", requires = "one", conflicts_with_all = ["save", "shrink", "jobs"])]
    crash_at: Option<CrashPoint>,
    /// Print everything that happens.
    #[arg(long, requires = "one")]
    trace: bool,
    /// Write the scenario to this file: as drawn, or shrunk if it fails. Of many seeds, the first that fails. A file that says
    /// something else is not overwritten.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The most runs that shrinking may take.
    #[arg(long, default_value_t = 2000, value_name = "RUNS")]
    shrink: u32,
    /// Threads [default: one per core].
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
}

/// A run, with the flags by which the command line names it.
struct SeedRun {
    scenario: Scenario,
    flags: String,
    /// How the run is judged after a crash.
    judged: Judged,
}

impl SeedRun {
    fn drawn(seed: u64) -> SeedRun {
        SeedRun::of(Scenario::drawn(seed), format!("--seed {seed}"))
    }

    fn written(file: &Path) -> anyhow::Result<SeedRun> {
        Ok(SeedRun::of(files::read(file)?, format!("--scenario {}", file.display())))
    }

    fn of(scenario: Scenario, flags: String) -> SeedRun {
        let judged = Judged::of(&scenario);
        SeedRun { scenario, flags, judged }
    }

    fn example(example: Example) -> SeedRun {
        SeedRun { scenario: example.scenario(), flags: format!("--example {example}"), judged: example.judged() }
    }

    /// The command that shows the run.
    fn replay(&self) -> String {
        format!("muster sim {} --trace", self.flags)
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.named()? {
            Some(_) if self.jobs.is_some() && !self.crash_each => {
                terminal::say("muster: --jobs is for many runs, and this is one: leave it out, or add --crash-each");
                Ok(ExitCode::from(USAGE))
            }
            Some(run) if self.crash_each => crashes::each(&run, self.threads()),
            None if self.crash_each => crashes::examples(self.threads()),
            Some(run) => match self.crash_at {
                Some(at) => crashes::one(&run, at, self.trace),
                None => self.one(&run),
            },
            None => self.many(),
        }
    }

    fn named(&self) -> anyhow::Result<Option<SeedRun>> {
        Ok(match (&self.scenario, self.example, self.seed) {
            (Some(file), ..) => Some(SeedRun::written(file)?),
            (None, Some(example), _) => Some(SeedRun::example(example)),
            (None, None, Some(seed)) => Some(SeedRun::drawn(seed)),
            (None, None, None) => None,
        })
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(cores).get()
    }

    fn one(&self, run: &SeedRun) -> anyhow::Result<ExitCode> {
        let lines = if self.trace { TRACE_LINES } else { 4000 };
        let (report, again) = match seeds::caught(|| (run.scenario.run_keeping(lines), run.scenario.run())) {
            Ok(reports) => reports,
            Err(panic) => {
                say(format_args!("FAILED, seed {}: the run panicked: {panic}", run.scenario.seed))?;
                say(format_args!("\nreplay it:  {}", run.replay()))?;
                return Ok(ExitCode::FAILURE);
            }
        };
        if self.trace {
            say(report.timeline_until(Time::FAR, TRACE_LINES))?;
        }
        let same = again.hash == report.hash;
        say(told(&report))?;
        say(format_args!("run twice: {}", if same { "the same both times" } else { "NOT the same both times" }))?;
        let struck: Vec<String> = report.strikes.iter().map(ToString::to_string).collect();
        say(format_args!("{} struck: {}", count(struck.len() as u64, "fault"), first_words(&struck.join(" "))))?;
        if let Some(violation) = report.failure() {
            self.tell_failure(run, violation)?;
        } else if let Some(file) = &self.save {
            files::write(file, &run.scenario)?;
        }
        Ok(code(same && report.failure().is_none()))
    }

    /// Shrinks a failing run, and prints the smaller one.
    fn tell_failure(&self, run: &SeedRun, violation: &Violation) -> anyhow::Result<()> {
        let seed = run.scenario.seed;
        say(format_args!("\nFAILED, seed {seed}: {violation}"))?;
        let invariant = violation.invariant;
        say(format_args!("shrinking, {} at most ...", count(self.shrink, "run")))?;
        let Some(shrunk) = shrink(&run.scenario, self.shrink, &|r| r.failure().is_some_and(|v| v.invariant == invariant)) else {
            bail!("seed {seed} does not fail when it is run again: the simulation is not deterministic");
        };
        let file = self.save.clone().unwrap_or_else(|| format!("muster-sim-seed-{seed}.json").into());
        let file = files::write(&file, &shrunk.scenario)?;
        let s = &shrunk.scenario;
        let (jobs, changes, faults) = (s.jobs.len(), s.changes.len(), faults(&s.faults));
        say(format_args!(
            "after {}: {}, {} of manifests, faults: {faults}",
            count(shrunk.runs, "run"),
            count(jobs, "job"),
            count(changes, "change")
        ))?;
        say(format_args!("\nthe last {LINES} lines before it (seconds from the start):\n{}", shrunk.report.timeline(LINES)))?;
        if let Some(v) = shrunk.report.failure() {
            say(format_args!("\n{v}"))?;
        }
        say(format_args!("\nreplay it:  muster sim --scenario {} --trace", file.display()))?;
        say(format_args!("the whole:  {}", run.replay()))
    }
}

/// The result of a run, in a few lines.
fn told(r: &RunReport) -> String {
    let jobs: Vec<String> = r.jobs.iter().map(|(how, n)| format!("{n} {how}")).collect();
    let rest = match r.converged {
        Some(after) => format!("at rest {} after the last disturbance", human(after)),
        None => "never at rest".to_owned(),
    };
    format!(
        "seed {}: jobs: {}; {}; {}, {}; {} simulated, {rest}; hash {:016x}",
        r.seed,
        jobs.join(", "),
        count(r.instances, "instance"),
        r.steps,
        r.effects,
        human(r.lasted),
        r.hash
    )
}

fn faults(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Fixed(strikes) => strikes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Schedule::Drawn(_) => "as drawn".to_owned(),
    }
}

fn first_words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line.to_owned(),
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
