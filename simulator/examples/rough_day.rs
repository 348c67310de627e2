//! One day with 10,000 jobs, four times: in rough and in calm weather, each without and with `rerun` and `startWithin`. Prints what
//! becomes of the jobs that the machines lose, whether the verdicts are right, and what all this costs in calls of GitHub's API:
//!
//! ```sh
//! cargo run --release -p muster-simulator --example rough_day
//! ```
//!
//! The weather is that of `muster simulate`. To it are added jobs that fail by themselves or that a person cancels, on all days, and
//! machines that hang and crashes of the controller, on rough days. The first argument is the seed.
#![allow(clippy::disallowed_methods, reason = "a tool: it has an argument")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{JobId, RunId};
use muster_reconciler::manifest::{LateAct, LateStep, RunnerPool, Span};
use muster_reconciler::time::Time;
use muster_reconciler::verdict::{Cause, JobVerdict};
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use muster_simulator::github::TrueJob;
use muster_simulator::ledger::{JobLife, Router};
use muster_simulator::rng::Spread;
use muster_simulator::workload::{JobKind, JobStream};
use muster_simulator::{BEGIN, Fault, Invariant, JobEnd, JobPlan, Schedule, Simulation, Verdicts, Violation, example};

const JOBS: usize = 10_000;
/// The share of jobs that fail by themselves or that a person cancels.
const OWN_ENDS: f64 = 0.1;
/// What rough days have beside the conditions of `muster simulate`: runners that hang within ten minutes, and about three crashes.
const ROUGH: [(Fault, f64); 2] = [(Fault::OnlineHang, 0.02), (Fault::Crash, 0.001)];
/// How long the world runs on after its last job, so that every case comes to its end.
const SETTLE: Duration = Duration::from_secs(2 * 3600);
/// The calls of GitHub that running jobs again and telling of late jobs consist of. Asking for a job's steps is counted apart from the
/// other questions about jobs.
const ADDED: [&str; 5] = ["GetRun", "ListRunJobs", "RerunJobs", "CreateCommitStatus", "CancelRun"];
/// The calls of GitHub that muster makes in any case. `GetJob` includes the questions for steps.
const OTHERS: [&str; 6] = ["GenerateJitConfig", "DeleteRunner", "ListRunners", "ListDeliveries", "RedeliverWebhook", "GetJob"];

fn labels(arch: &str) -> Vec<String> {
    ["self-hosted", "linux", arch].map(str::to_owned).to_vec()
}

fn jobs(seed: u64) -> Vec<JobPlan> {
    let kind = |weight, arch| JobKind {
        weight,
        labels: labels(arch),
        takes: Spread::secs(60, 1800),
        cancel_after: None,
        repos: ["acme/web", "acme/api", "acme/tools"].map(str::to_owned).to_vec(),
    };
    JobStream::new(seed, BEGIN, vec![kind(3, "x64"), kind(1, "arm64")], Spread::secs(2, 86)).take(JOBS).collect()
}

fn pool(arch: &str, helped: bool) -> RunnerPool {
    let mut pool = example::pool(&format!("linux-{arch}"), &["self-hosted", "linux", arch], 400);
    if helped {
        pool.spec.rerun.causes = Cause::ALL.into_iter().collect();
        let step = |minutes: u64, act| LateStep { after: Span::secs(60 * minutes), act };
        pool.spec.start_within = vec![step(10, LateAct::Tell), step(20, LateAct::OnDemand), step(360, LateAct::Cancel)];
    }
    pool
}

/// What a day came to.
struct Day {
    jobs: u64,
    instances: u64,
    /// Jobs that were cut short, reruns included.
    cut: u64,
    /// Jobs whose last attempt was cut short.
    lost: u64,
    /// From a job's loss until it ran again, shortest first.
    again: Vec<Duration>,
    /// From the end of a lost job's run until the job ran again, shortest first. GitHub runs nothing again before.
    after_run: Vec<Duration>,
    verdicts: Verdicts,
    false_verdicts: usize,
    violations: Vec<String>,
    calls: BTreeMap<&'static str, u64>,
    /// What came of each lost job that was to run again.
    reruns: BTreeMap<&'static str, u64>,
    /// The last verdict on each job. A process that starts may judge a job again.
    judged: BTreeMap<JobId, JobVerdict>,
    /// The verdicts that cannot tell, on jobs that were cut short.
    lost_unknown: u64,
}

fn day(weather: Weather, helped: bool, seed: u64) -> Day {
    let mut options = Conditions::new(weather, &Overrides::default()).options();
    if let Schedule::Drawn(rates) = &mut options.faults.schedule {
        rates.set(Fault::OwnEnd, OWN_ENDS);
        for (fault, rate) in ROUGH.into_iter().filter(|_| weather == Weather::Rough) {
            rates.set(fault, rate);
        }
    }
    let spec = example::cluster("day", [pool("x64", helped), pool("arm64", helped)]);
    let mut world = Simulation::new(seed, spec.clone(), options);
    world.keep_ledger();
    let jobs = jobs(seed);
    let last = jobs.last().map_or(BEGIN, |job| job.at);
    for job in jobs {
        world.submit(job);
    }
    let (mut reruns, mut judged) = (BTreeMap::new(), BTreeMap::new());
    let mut over = last;
    while world.now().since(over) < SETTLE {
        world.run_for(Duration::from_secs(60));
        for fact in world.take_facts() {
            match fact {
                Fact::Rerun { result, .. } => *reruns.entry(result).or_default() += 1,
                Fact::JobJudged { job, verdict, .. } => drop(judged.insert(job, verdict)),
                _ => {}
            }
        }
        if world.github().unfinished().next().is_some() {
            over = world.now().max(last);
        }
    }
    let lives = world.ledger().map(|l| l.job_lives(world.github(), &mut Router::new(&spec))).unwrap_or_default();
    let Losses { cut, lost, again, after_run } = losses(world.github().jobs(), &lives);
    let was_cut = |id: &JobId| world.github().jobs().get(id).is_some_and(|job| job.end == Some(JobEnd::CutShort));
    let unsure = judged.iter().filter(|(id, verdict)| matches!(verdict, JobVerdict::Unknown(_)) && was_cut(id));
    let lost_unknown = unsure.count() as u64;
    let report = world.report();
    let is_false = |v: &&Violation| v.invariant == Invariant::Verdict;
    Day {
        jobs: JOBS as u64,
        instances: report.instances,
        cut,
        lost,
        again,
        after_run,
        lost_unknown,
        verdicts: report.verdicts,
        false_verdicts: report.violations.iter().filter(is_false).count(),
        violations: report.violations.iter().map(ToString::to_string).collect(),
        calls: report.calls,
        reruns,
        judged,
    }
}

/// The jobs that a day's machines cut short.
#[derive(Default)]
struct Losses {
    cut: u64,
    lost: u64,
    again: Vec<Duration>,
    after_run: Vec<Duration>,
}

/// A job, whatever its attempt: its run, when it was to come, and how long it takes.
type PlannedJob = (RunId, Time, Duration);

fn losses(jobs: &BTreeMap<JobId, TrueJob>, lives: &[JobLife]) -> Losses {
    let ended: BTreeMap<JobId, Time> = lives.iter().filter_map(|life| Some((life.id, life.ended?))).collect();
    let mut attempts: BTreeMap<PlannedJob, Vec<(JobId, &TrueJob)>> = BTreeMap::new();
    let mut runs: BTreeMap<RunId, Vec<Time>> = BTreeMap::new();
    for (id, job) in jobs {
        attempts.entry((job.run, job.plan.at, job.plan.takes)).or_default().push((*id, job));
        runs.entry(job.run).or_default().extend(ended.get(id));
    }
    let mut losses = Losses::default();
    for all in attempts.values_mut() {
        all.sort_by_key(|(_, job)| job.attempt);
        for (nth, (id, job)) in all.iter().enumerate().filter(|(_, (_, job))| job.end == Some(JobEnd::CutShort)) {
            losses.cut += 1;
            let next = all.get(nth + 1).and_then(|(_, next)| Some((next.queued_at, next.started_at?)));
            let Some(((queued, started), ended)) = next.zip(ended.get(id)) else {
                losses.lost += 1;
                continue;
            };
            let run_over = runs.get(&job.run).into_iter().flatten().filter(|at| **at <= queued).max().unwrap_or(ended);
            losses.again.push(started.since(*ended));
            losses.after_run.push(started.since(*run_over));
        }
    }
    losses.again.sort_unstable();
    losses.after_run.sort_unstable();
    losses
}

fn minutes(sorted: &[Duration], percent: usize) -> String {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or("-".into(), |wait| format!("{:.1}", wait.as_secs_f64() / 60.0))
}

impl Day {
    fn unknown(&self) -> String {
        let unknown = self.judged.values().filter(|verdict| matches!(verdict, JobVerdict::Unknown(_))).count();
        format!("{unknown} of {}", self.judged.len())
    }

    fn sum(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.calls.get(name)).sum()
    }

    fn per_job(&self, calls: u64) -> String {
        format!("{:.4}", calls as f64 / self.jobs as f64)
    }

    /// How often each verdict was given.
    fn kinds(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for verdict in self.judged.values() {
            *kinds.entry(format!("{verdict:?}")).or_default() += 1;
        }
        kinds
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |text| text.parse())?;
    let kinds = [(Weather::Rough, false), (Weather::Rough, true), (Weather::Calm, false), (Weather::Calm, true)];
    let days: Vec<Day> = std::thread::scope(|scope| {
        let all: Vec<_> = kinds.map(|(weather, helped)| scope.spawn(move || day(weather, helped, seed))).into();
        all.into_iter().map(|thread| thread.join()).collect::<Result<_, _>>()
    })
    .map_err(|_| "a day panicked")?;
    let row = |name: &str, cell: &dyn Fn(&Day) -> String| {
        let cells: String = days.iter().map(|day| format!("{:>18}", cell(day))).collect();
        println!("{name:<44}{cells}");
    };
    println!(
        "{:<44}{:>18}{:>18}{:>18}{:>18}",
        format!("{JOBS} jobs, seed {seed}"),
        "rough",
        "rough, rerun",
        "calm",
        "calm, rerun"
    );
    row("instances", &|d| d.instances.to_string());
    row("jobs cut short, reruns included", &|d| d.cut.to_string());
    row("jobs lost for good", &|d| d.lost.to_string());
    for percent in [50, 90] {
        row(&format!("minutes until a lost job ran again: p{percent}"), &|d| minutes(&d.again, percent));
        row(&format!("  of these, after its run was over: p{percent}"), &|d| minutes(&d.after_run, percent));
    }
    row("false verdicts", &|d| d.false_verdicts.to_string());
    row("verdicts `unknown`", &Day::unknown);
    row("  on jobs that were cut short", &|d| d.lost_unknown.to_string());
    row("orders to run again that GitHub took", &|d| d.verdicts.reruns.to_string());
    row("calls: GetJob, for the steps", &|d| d.verdicts.asked.to_string());
    for name in ADDED {
        row(&format!("calls: {name}"), &|d| d.sum(&[name]).to_string());
    }
    row("these calls per job", &|d| d.per_job(d.sum(&ADDED) + d.verdicts.asked));
    row("other calls of GitHub per job", &|d| d.per_job(d.sum(&OTHERS) - d.verdicts.asked));
    for (day, (weather, helped)) in days.iter().zip(kinds) {
        println!("\n{weather:?}, rerun {helped}: verdicts {:?}; lost jobs {:?}", day.kinds(), day.reruns);
        day.violations.iter().for_each(|v| println!("VIOLATION {v}"));
    }
    Ok(())
}
