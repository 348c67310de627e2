//! `muster sim`: the real controller in simulated worlds in which everything goes wrong, each drawn from a seed.
//!
//! A seed that fails is shrunk to the few faults and jobs that matter, and told with the command that replays it.

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use muster_reconciler::sim::crash::Reference;
use muster_reconciler::sim::marks::Marks;
use muster_reconciler::sim::{BEGIN, CrashMode, JobPlan, RunReport, Scenario, Schedule, Violation, example, shrink};
use muster_reconciler::time::human;

/// Every so many seeds one is run twice, and both runs must be the same.
const TWICE_EVERY: u64 = 50;
/// Failing seeds that are named; the first is shrunk.
const NAMED: usize = 20;
/// Lines of the timeline that are printed before a violation.
const LINES: usize = 60;
/// Boxes that a crash may cost beyond the run without one: a box whose registration died with the process is replaced.
const SPARE: u64 = 1;
/// Lines that a trace keeps.
const TRACE_LINES: usize = 1_000_000;

/// `muster sim`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run this seed (twice, to see that both runs are the same), and say how it went.
    #[arg(long, conflicts_with_all = ["seeds", "scenario"])]
    seed: Option<u64>,
    /// Run so many seeds [default: 1000].
    #[arg(long, conflicts_with = "scenario")]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after so many minutes, however many seeds are left.
    #[arg(long)]
    minutes: Option<u64>,
    /// Run a scenario that was written down, such as a failed seed's.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Kill the controller after each effect of a run, in each way, and compare where the worlds end.
    #[arg(long)]
    crash_each: bool,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Write the scenario to this file: as drawn, or shrunk if it fails.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Runs that shrinking may take.
    #[arg(long, default_value_t = 2000, value_name = "RUNS")]
    shrink: u32,
    /// Threads [default: one per core].
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let one = match (&self.scenario, self.seed) {
            (Some(file), _) => Some(read(file)?),
            (None, Some(seed)) => Some(Scenario::drawn(seed)),
            (None, None) => None,
        };
        match one {
            _ if self.trace && one.is_none() => bail!("--trace prints one run: name it with --seed or --scenario"),
            Some(scenario) if self.crash_each => self.crash_each(&scenario),
            None if self.crash_each => self.crash_each(&reference()),
            Some(scenario) => self.one(&scenario),
            None => self.many(),
        }
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(cores).get()
    }

    // --------------------------------------------------------------------------------------------- one run

    fn one(&self, scenario: &Scenario) -> anyhow::Result<ExitCode> {
        let report = scenario.run_keeping(if self.trace { TRACE_LINES } else { 4000 });
        if self.trace {
            println!("{}", report.timeline_until(muster_reconciler::time::Time::FAR, TRACE_LINES));
        }
        let again = scenario.run();
        let same = again.hash == report.hash;
        println!("{}", told(&report));
        println!("run twice: {}", if same { "the same both times" } else { "NOT the same both times" });
        let struck: Vec<String> = report.strikes.iter().map(ToString::to_string).collect();
        println!("{} faults struck: {}", struck.len(), first_words(&struck.join(" ")));
        if let Some(violation) = report.failure() {
            self.tell_failure(scenario, violation)?;
        } else if let Some(file) = &self.save {
            write(file, scenario)?;
        }
        Ok(code(same && report.failure().is_none()))
    }

    /// Shrinks a failure, and prints what is left of it.
    fn tell_failure(&self, scenario: &Scenario, violation: &Violation) -> anyhow::Result<()> {
        println!("\nFAILED, seed {}: {violation}", scenario.seed);
        let invariant = violation.invariant;
        println!("shrinking, {} runs at most ...", self.shrink);
        let Some(shrunk) = shrink(scenario, self.shrink, &|r| r.failure().is_some_and(|v| v.invariant == invariant)) else {
            bail!("seed {} does not fail when it is run again: the simulation is not deterministic", scenario.seed);
        };
        let file = self.save.clone().unwrap_or_else(|| format!("muster-sim-seed-{}.json", scenario.seed).into());
        write(&file, &shrunk.scenario)?;
        let s = &shrunk.scenario;
        println!(
            "after {} runs: {} jobs, {} changes of manifests, faults: {}",
            shrunk.runs,
            s.jobs.len(),
            s.changes.len(),
            faults(&s.faults)
        );
        println!("\nthe last {LINES} lines before it (seconds from the start):\n{}", shrunk.report.timeline(LINES));
        if let Some(v) = shrunk.report.failure() {
            println!("\n{v}");
        }
        println!("\nreplay it:  muster sim --scenario {} --trace", file.display());
        println!("the whole:  muster sim --seed {} --trace", scenario.seed);
        Ok(())
    }

    // ------------------------------------------------------------------------------------------- many seeds

    fn many(&self) -> anyhow::Result<ExitCode> {
        let (from, count) = (self.from, self.seeds.unwrap_or(1000));
        let deadline = self.minutes.map(|m| Instant::now() + Duration::from_secs(60 * m));
        let began = Instant::now();
        let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
        let (results, heard) = mpsc::sync_channel::<RunReport>(64);
        let bar = bar(count);
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..self.threads() {
                let (results, next, stop) = (results.clone(), &next, &stop);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let late = deadline.is_some_and(|d| Instant::now() >= d);
                        if late || stop.load(Ordering::Relaxed) || seed >= from.saturating_add(count) {
                            return;
                        }
                        if results.send(once_or_twice(seed, from)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            for report in heard {
                bar.inc(1);
                tally.add(&report);
                if tally.failed.len() >= NAMED {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        bar.finish_and_clear();
        tally.print(began.elapsed(), self.threads());
        let Some((seed, violation)) = tally.failed.first() else { return Ok(code(tally.unlike.is_empty())) };
        self.tell_failure(&Scenario::drawn(*seed), violation)?;
        Ok(ExitCode::FAILURE)
    }

    // ---------------------------------------------------------------------------------------------- crashes

    fn crash_each(&self, scenario: &Scenario) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let reference = Reference::of(scenario).map_err(|v| anyhow::anyhow!("the run without a crash fails already: {v}"))?;
        let points: Vec<(u64, CrashMode)> = reference.points().collect();
        println!(
            "{} effects, each followed by a crash in {} ways: {} runs",
            reference.effects,
            CrashMode::ALL.len(),
            points.len()
        );
        let bar = bar(points.len() as u64);
        let next = AtomicU64::new(0);
        let (results, heard) = mpsc::channel();
        let mut wrong = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..self.threads() {
                let (results, next, points, reference) = (results.clone(), &next, &points, &reference);
                scope.spawn(move || {
                    while let Some((n, mode)) =
                        usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|nth| points.get(nth))
                    {
                        if results.send(reference.crash(*n, *mode, SPARE)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            for found in heard {
                bar.inc(1);
                wrong.extend(found);
            }
        });
        bar.finish_and_clear();
        wrong.sort_by_key(|w| w.effect);
        for w in wrong.iter().take(NAMED) {
            println!("WRONG {w}");
        }
        if let Some(first) = wrong.first() {
            println!("\nthe last {LINES} lines of the first:\n{}", first.report.timeline(LINES));
        }
        let (good, all) = (points.len() - wrong.len(), points.len());
        println!("{good} of {all} crashes ended where the run without one did, in {:.1} s", began.elapsed().as_secs_f64());
        Ok(code(wrong.is_empty()))
    }
}

/// What is crashed when no scenario is named: six jobs at once, on one pool, in fair weather.
fn reference() -> Scenario {
    let pool = example::pool("linux-x64", &["self-hosted", "linux", "x64"], 12);
    let job = |nth: u64| JobPlan {
        at: BEGIN + Duration::from_secs(30) + Duration::from_millis(nth * 20),
        takes: Duration::from_secs(120),
        labels: pool.spec.labels.clone(),
        repo: "acme/web".into(),
        cancel_after: None,
    };
    Scenario::calm(3, &example::cluster("crash", [pool.clone()]), (0..6).map(job))
}

/// A seed's run; some are run twice, and a run unlike the first is marked by a hash of 0.
fn once_or_twice(seed: u64, from: u64) -> RunReport {
    let scenario = Scenario::drawn(seed);
    let mut report = scenario.run();
    if (seed - from).is_multiple_of(TWICE_EVERY) && scenario.run().hash != report.hash {
        report.hash = 0;
    }
    report
}

/// What many runs came to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    steps: u64,
    effects: u64,
    instances: u64,
    races: u64,
    lasted: Duration,
    marks: Marks,
    failed: Vec<(u64, Violation)>,
    unlike: Vec<u64>,
}

impl Tally {
    fn add(&mut self, r: &RunReport) {
        self.seeds += 1;
        self.steps += r.steps;
        self.effects += r.effects;
        self.instances += r.instances;
        self.races += r.races;
        self.lasted += r.lasted;
        self.marks.add(&r.marks);
        if let Some(violation) = r.failure() {
            self.failed.push((r.seed, violation.clone()));
            self.failed.sort_by_key(|(seed, _)| *seed);
        }
        if r.hash == 0 {
            self.unlike.push(r.seed);
        }
    }

    fn print(&self, took: Duration, threads: usize) {
        let s = took.as_secs_f64().max(0.001);
        let per = |n: u64| n as f64 / s;
        println!(
            "{} seeds in {:.1} s on {threads} threads: {:.1} seeds/s, {:.0} seeds/min, {:.0} controller steps/s",
            self.seeds,
            s,
            per(self.seeds),
            per(self.seeds) * 60.0,
            per(self.steps)
        );
        println!(
            "{} steps, {} effects, {} boxes, {} of simulated time; {} jobs killed in races that nobody could know of",
            self.steps,
            self.effects,
            self.instances,
            human(self.lasted),
            self.races
        );
        let missed: Vec<&str> = self.marks.missed().map(|m| m.as_str()).collect();
        match missed.len() {
            0 => println!("every one of the named rare branches was reached"),
            n => println!("{n} named rare branches were NOT reached by any seed: {}", missed.join("; ")),
        }
        for seed in &self.unlike {
            println!("NOT DETERMINISTIC: seed {seed} ran differently the second time");
        }
        for (seed, violation) in self.failed.iter().take(NAMED) {
            println!("FAILED seed {seed}: {}", first_words(&violation.to_string()));
        }
        if self.failed.is_empty() {
            println!("no invariant was violated");
        } else {
            println!("{} seeds failed", self.failed.len());
        }
    }
}

/// A run in a few lines.
fn told(r: &RunReport) -> String {
    let jobs: Vec<String> = r.jobs.iter().map(|(how, n)| format!("{n} {how}")).collect();
    let rest = match r.converged {
        Some(after) => format!("at rest {} after the last disturbance", human(after)),
        None => "never at rest".to_owned(),
    };
    format!(
        "seed {}: jobs: {}; {} boxes; {} controller steps, {} effects; {} simulated, {rest}; hash {:016x}",
        r.seed,
        jobs.join(", "),
        r.instances,
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

fn bar(count: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count).with_style(style)
}

fn read(file: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read the scenario {}", file.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("failed to read the scenario {}: it is none that `muster sim --save` writes", file.display()))
}

fn write(file: &Path, scenario: &Scenario) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(scenario).context("failed to write down the scenario")?;
    std::fs::write(file, text + "\n").with_context(|| format!("failed to write the scenario to {}", file.display()))?;
    println!("the scenario is in {}", file.display());
    Ok(())
}
