//! What a search of `muster tune` costs: a hundred candidates for a working day with 10,000 jobs, on as many threads as there are cores.
//!
//! ```sh
//! cargo run --release -p muster-simulator --example tune_day
//! ```
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a tool: it measures time")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_reconciler::manifest::Os;
use muster_reconciler::market::Market;
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use muster_simulator::rng::{Rng, Spread};
use muster_simulator::tune::Workbench;
use muster_simulator::tune::measure::Measure;
use muster_simulator::tune::search::{Finalist, Lab, Quest, TuneRun, search};
use muster_simulator::tune::split::Split;
use muster_simulator::{BEGIN, JobPlan, example};

const LABELS: [&str; 3] = ["self-hosted", "linux", "x64"];

/// The processor time that this thread has had, in nanoseconds. Other work on the machine does not count.
fn spent() -> u64 {
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// Ten thousand jobs in pushes of six, most of them between 8:00 and 18:00.
fn jobs() -> Vec<JobPlan> {
    let mut rng = Rng::new(1, "tune day");
    let mut jobs = Vec::new();
    while jobs.len() < 10_000 {
        let (from, hours) = if rng.chance(0.85) { (8, 10) } else { (0, 24) };
        let at = BEGIN + Duration::from_millis(from * 3_600_000 + rng.below(hours * 3_600_000));
        for _ in 0..6 {
            jobs.push(JobPlan {
                at: at + rng.within(Spread::millis(0, 2000)),
                takes: rng.within(Spread::secs(30, 900)),
                labels: LABELS.map(str::to_owned).to_vec(),
                repo: "acme/web".to_owned(),
                cancel_after: None,
            });
        }
    }
    jobs.sort_by_key(|job| job.at);
    jobs
}

fn price(_: Os, _: &str, market: Market) -> Option<f64> {
    Some(if market == Market::Spot { 0.04 } else { 0.1 })
}

struct AllCores {
    bench: Workbench,
    threads: usize,
    processor: AtomicU64,
}

impl Lab for AllCores {
    fn measure(&mut self, runs: &[TuneRun], _: bool) -> Option<Vec<Measure>> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![Measure::default(); runs.len()]));
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    let began = spent();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(run) = runs.get(at) else { break };
                        let measure = self.bench.run(run, &price);
                        if let Some(place) = done.lock().ok().as_mut().and_then(|all| all.get_mut(at)) {
                            *place = measure;
                        }
                    }
                    self.processor.fetch_add(spent() - began, Ordering::Relaxed);
                });
            }
        });
        let so_far = Duration::from_nanos(self.processor.load(Ordering::Relaxed));
        println!("  {} runs; {so_far:.0?} of processor time so far", runs.len());
        done.into_inner().ok()
    }
}

fn told(finalist: &Finalist) {
    let Finalist { cost, wait, met, variant, .. } = finalist;
    let changes: Vec<String> = variant.settings().map(|(_, setting)| setting.to_string()).collect();
    println!(
        "  {:.2} a day, p95 {:.1} s ({:.1} to {:.1}), met with {met} seeds: {}",
        cost.mean,
        wait.mean,
        wait.min,
        wait.max,
        if changes.is_empty() { "as today".to_owned() } else { changes.join(", ") }
    );
}

fn main() {
    let base = example::cluster("demo", [example::pool("linux-x64", &LABELS, 400)]);
    let jobs = jobs();
    let split = Split::of(&jobs).expect("a day");
    let conditions = Conditions::new(Weather::Mild, &Overrides::default());
    let bench = Workbench { jobs, split: split.clone(), conditions, pools: vec!["linux-x64".into()] };
    let (burst, singles) = bench.suggestions(&base, |_, _| true);
    let quest = Quest {
        base,
        goal: "p95 wait <= 30s".parse().expect("a goal"),
        budget: None,
        may_lose: 0.0,
        split,
        burst,
        weights: bench.weights(),
        singles,
        candidates: 100,
        seeds: 3,
        seed: 1,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut cores = AllCores { bench, threads, processor: AtomicU64::new(0) };
    let began = Instant::now();
    let found = search(&quest, &mut cores);
    let processor = Duration::from_nanos(cores.processor.load(Ordering::Relaxed));
    println!(
        "{} candidates, {} runs, {} jobs: {:.0?} on {threads} threads, {processor:.0?} of processor time",
        found.tried,
        found.runs,
        cores.bench.jobs.len(),
        began.elapsed()
    );
    println!("today:");
    told(&found.today);
    println!("frontier ({:?} is chosen), judged by {} jobs:", found.chosen, found.judged_by);
    found.frontier.iter().for_each(told);
}
