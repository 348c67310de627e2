//! Runs many seeds, on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use muster_reconciler::reason;
use muster_reconciler::time::human;
use muster_simulator::efficiency::Efficiency;
use muster_simulator::marks::Marks;
use muster_simulator::{RunReport, Scenario, Violation};

use super::out::{bar, say};
use super::{Args, NAMED, SeedRun, code, first_words};

/// How many seeds are run without `--seeds` and `--minutes`.
const SEEDS: u64 = 1000;
/// One seed in this many is run twice, and both runs must be the same.
const TWICE_EVERY: u64 = 50;

/// The result of a seed.
struct Ran {
    seed: u64,
    /// Err: the message of the panic.
    report: Result<RunReport, String>,
    /// Whether a second run differed from the first.
    unlike: bool,
}

impl Args {
    pub(super) fn many(&self) -> anyhow::Result<ExitCode> {
        let count = count(self.seeds, self.minutes);
        let until = self.from.saturating_add(count.unwrap_or(u64::MAX));
        let deadline = self.minutes.map(|m| Instant::now() + Duration::from_secs(60 * m));
        let began = Instant::now();
        let (next, stop) = (AtomicU64::new(self.from), AtomicBool::new(false));
        let (results, heard) = mpsc::sync_channel(64);
        let bar = bar(count);
        let mut tally = SeedTally::default();
        std::thread::scope(|scope| {
            for _ in 0..self.threads() {
                let (results, next, stop) = (results.clone(), &next, &stop);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let late = deadline.is_some_and(|d| Instant::now() >= d);
                        if late || stop.load(Ordering::Relaxed) || seed >= until {
                            return;
                        }
                        let twice = (seed - self.from).is_multiple_of(TWICE_EVERY);
                        if results.send(once_or_twice(seed, twice)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            for ran in heard {
                bar.inc(1);
                tally.add(ran);
                if tally.failed.len() + tally.panicked.len() >= NAMED {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        bar.finish_and_clear();
        tally.print(began.elapsed(), self.threads())?;
        if let Some((seed, violation)) = tally.failed.first() {
            self.tell_failure(&SeedRun::drawn(*seed), violation)?;
        }
        Ok(code(tally.good()))
    }
}

/// How many seeds are run. None: as many as the minutes allow.
fn count(seeds: Option<u64>, minutes: Option<u64>) -> Option<u64> {
    seeds.or(minutes.is_none().then_some(SEEDS))
}

/// The result of `run`, or the message of its panic.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("without a word").to_owned()
    })
}

fn once_or_twice(seed: u64, twice: bool) -> Ran {
    let ran = caught(|| {
        let scenario = Scenario::drawn(seed);
        let report = scenario.run();
        let unlike = twice && scenario.run().hash != report.hash;
        (report, unlike)
    });
    match ran {
        Ok((report, unlike)) => Ran { seed, report: Ok(report), unlike },
        Err(panic) => Ran { seed, report: Err(panic), unlike: false },
    }
}

/// The results of many runs.
#[derive(Default)]
struct SeedTally {
    seeds: u64,
    steps: u64,
    effects: u64,
    instances: u64,
    races: u64,
    lasted: Duration,
    marks: Marks,
    efficiency: Efficiency,
    failed: Vec<(u64, Violation)>,
    panicked: Vec<(u64, String)>,
    unlike: Vec<u64>,
}

impl SeedTally {
    fn add(&mut self, ran: Ran) {
        self.seeds += 1;
        if ran.unlike {
            self.unlike.push(ran.seed);
        }
        let r = match ran.report {
            Ok(report) => report,
            Err(panic) => return self.panicked.push((ran.seed, panic)),
        };
        self.steps += r.steps;
        self.effects += r.effects;
        self.instances += r.instances;
        self.races += r.races;
        self.lasted += r.lasted;
        self.marks.add(&r.marks);
        self.efficiency.add(&r.efficiency);
        if let Some(violation) = r.failure() {
            self.failed.push((r.seed, violation.clone()));
            self.failed.sort_by_key(|(seed, _)| *seed);
        }
    }

    fn good(&self) -> bool {
        self.seeds > 0 && self.failed.is_empty() && self.panicked.is_empty() && self.unlike.is_empty()
    }

    fn print(&self, took: Duration, threads: usize) -> anyhow::Result<()> {
        let s = took.as_secs_f64().max(0.001);
        let per = |n: u64| n as f64 / s;
        let SeedTally { seeds, steps, effects, instances, races, .. } = self;
        say(format_args!(
            "{} in {s:.1} s on {}: {:.1} seeds/s, {:.0} seeds/min, {:.0} controller steps/s",
            reason::count(*seeds, "seed"),
            reason::count(threads, "thread"),
            per(*seeds),
            per(*seeds) * 60.0,
            per(*steps)
        ))?;
        say(format_args!(
            "{}, {}, {}, {} of simulated time; {} killed in races that nobody could know of",
            reason::count(*steps, "step"),
            reason::count(*effects, "effect"),
            reason::count(*instances, "instance"),
            human(self.lasted),
            reason::count(*races, "job")
        ))?;
        say(&self.efficiency)?;
        let missed: Vec<&str> = self.marks.missed().map(|m| m.as_str()).collect();
        match missed.len() {
            0 => say("every one of the named rare branches was reached")?,
            n => say(format_args!("no seed reached {} of the named rare branches: {}", n, missed.join("; ")))?,
        }
        for seed in &self.unlike {
            say(format_args!("NOT DETERMINISTIC: seed {seed} ran differently the second time"))?;
        }
        for (seed, violation) in self.failed.iter().take(NAMED) {
            say(format_args!("FAILED seed {seed}: {}", first_words(&violation.to_string())))?;
        }
        for (seed, panic) in self.panicked.iter().take(NAMED) {
            say(format_args!("FAILED seed {seed}: the run panicked: {}", first_words(panic)))?;
            say(format_args!("replay it:  {}", SeedRun::drawn(*seed).replay()))?;
        }
        match self.failed.len() + self.panicked.len() {
            _ if *seeds == 0 => say("no seed was run"),
            0 => say("no invariant was violated"),
            n => say(format_args!("{} failed", reason::count(n as u64, "seed"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_without_seeds_are_filled() {
        assert_eq!(count(None, None), Some(SEEDS));
        assert_eq!(count(None, Some(5)), None);
        assert_eq!(count(Some(7), Some(5)), Some(7));
    }

    #[test]
    fn a_panic_in_a_world_fails_its_seed_and_no_other() {
        let mut tally = SeedTally::default();
        tally.add(once_or_twice(1, true));
        let panics = || -> RunReport { panic!("the rain in {}", "Spain") };
        tally.add(Ran { seed: 2, report: caught(panics), unlike: false });
        assert_eq!((tally.seeds, tally.good()), (2, false));
        assert_eq!(tally.panicked, [(2, "the rain in Spain".to_owned())]);
    }
}
