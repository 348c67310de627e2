//! Figures from the lives of runners and jobs: how long jobs waited, what the instances spent their time on, what EC2
//! bills, and how many runners there were at each time.
//!
//! All figures are arithmetic on a [`Forecast`]. One function, [`stretches`], splits an instance's life into [`Doing`]s.
//! Sums, peaks and plots are made from these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;

use crate::forecast::Forecast;
use crate::ledger::{InstanceLife, JobLife};

/// EC2 bills Linux and Windows by the second, and a minute at least. Pending and shutting down are not billed.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
const BILLED_AT_LEAST: Duration = Duration::from_secs(60);

/// What an instance does with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// `pending` at EC2, which is not billed.
    Starting,
    /// Running at EC2, and not yet online at GitHub.
    Booting,
    /// Online at GitHub, without a job.
    Idle,
    /// Runs a job.
    Working,
    /// The runner's only job is over, or the instance is `shutting-down`, which is not billed.
    Ending,
}

impl Doing {
    /// In the order of an instance's life.
    pub const ALL: [Doing; 5] = [Doing::Starting, Doing::Booting, Doing::Idle, Doing::Working, Doing::Ending];

    /// The word that tables and charts use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Doing::Starting => "starting",
            Doing::Booting => "booting",
            Doing::Idle => "idle",
            Doing::Working => "working",
            Doing::Ending => "ending",
        }
    }
}

/// A part of an instance's life, in which the instance does one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What the instance does.
    pub doing: Doing,
    /// The begin.
    pub from: Time,
    /// The end.
    pub to: Time,
}

/// How long jobs waited for a runner, from being queued at GitHub. A percentile is the wait of the job at that rank. A job
/// that never started ranks as the longest wait, so None means that the job at that rank never started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The median: half of the jobs waited no longer.
    pub p50: Option<Duration>,
    /// Nine of ten jobs waited no longer.
    pub p90: Option<Duration>,
    /// 99 of 100 jobs waited no longer.
    pub p99: Option<Duration>,
    /// The longest wait.
    pub max: Option<Duration>,
}

/// The figures of one pool, or of all pools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Jobs that count for the pool.
    pub jobs: u64,
    /// How many of `jobs` never started.
    pub unstarted: u64,
    /// How many of `jobs` were lost with their instance while they ran.
    pub lost: u64,
    /// How many of `lost` were lost because EC2 took the spot instance back.
    pub lost_to_spot: u64,
    /// How many of `jobs` ran on a runner of another pool. GitHub gives a job to any runner whose labels match.
    pub elsewhere: u64,
    /// How long `jobs` waited.
    pub waits: Waits,
    /// How many instances were launched.
    pub instances: u64,
    /// How many instances never came online at GitHub.
    pub never_online: u64,
    /// How many spot instances EC2 took back.
    pub taken_back: u64,
    /// The most instances at one time, pending or running.
    pub peak: u64,
    /// When `peak` was first reached. None: there was no instance.
    pub peak_at: Option<Time>,
    /// How long all instances together did each thing.
    pub spent: BTreeMap<Doing, Duration>,
    /// How long EC2 bills, by market and instance type.
    pub billed: BTreeMap<(Market, Arc<str>), Duration>,
}

/// How many runners and jobs there were over time, as averages over steps of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// When the first step begins.
    pub begin: Time,
    /// The length of each step.
    pub step: Duration,
    /// Instances by what they do; one number for each step.
    pub instances: BTreeMap<Doing, Vec<f64>>,
    /// Queued jobs that a pool takes; one number for each step.
    pub waiting: Vec<f64>,
    /// Jobs that run; one number for each step.
    pub running: Vec<f64>,
    /// The median and the 90th percentile of the waits of the jobs that were queued in each step. None: no job was queued,
    /// or the job at that rank never started.
    pub waits: Vec<(Option<Duration>, Option<Duration>)>,
}

/// Splits the life of an instance until `end`. `jobs` are the jobs that ran on the instance, in the order of time.
pub fn stretches(b: &InstanceLife, jobs: &[&JobLife], ephemeral: bool, end: Time) -> Vec<Stretch> {
    let mut all = Vec::with_capacity(6);
    let mut at = b.launched;
    let mut go = |doing: Doing, to: Time| {
        if to > at {
            all.push(Stretch { doing, from: at, to });
            at = to;
        }
    };
    let (off, gone) = (b.off.unwrap_or(end), b.gone.unwrap_or(end));
    let first_job = jobs.first().and_then(|j| j.started);
    go(Doing::Starting, b.running.unwrap_or(off).min(off));
    go(Doing::Booting, b.online.or(first_job).unwrap_or(off).min(off));
    for job in jobs {
        let Some(started) = job.started else { continue };
        go(Doing::Idle, started.min(off));
        go(Doing::Working, job.ended.unwrap_or(end).min(off));
    }
    if !(ephemeral && first_job.is_some()) {
        go(Doing::Idle, off);
    }
    go(Doing::Ending, gone);
    all
}

/// A forecast's instances, each with its life split into stretches, and its jobs.
#[derive(Debug)]
pub struct Tally<'a> {
    forecast: &'a Forecast,
    instances: Vec<(&'a InstanceLife, Vec<Stretch>)>,
}

impl<'a> Tally<'a> {
    /// Splits the lives of all instances of the forecast.
    pub fn new(forecast: &'a Forecast) -> Tally<'a> {
        let mut jobs_of: BTreeMap<&InstanceId, Vec<&JobLife>> = BTreeMap::new();
        for job in &forecast.jobs {
            if let Some(id) = &job.instance {
                jobs_of.entry(id).or_default().push(job);
            }
        }
        for jobs in jobs_of.values_mut() {
            jobs.sort_by_key(|j| j.started);
        }
        let split = |b: &'a InstanceLife| {
            let jobs = jobs_of.get(&b.id).map(Vec::as_slice).unwrap_or_default();
            (b, stretches(b, jobs, ephemeral(&forecast.spec, &b.pool), forecast.end))
        };
        Tally { forecast, instances: forecast.instances.iter().map(split).collect() }
    }

    /// The figures of one pool. None asks for the figures of all pools.
    pub fn figures(&self, pool: Option<&PoolName>) -> Figures {
        let mut f = Figures::default();
        let mut waits = Vec::new();
        let by_id: BTreeMap<&InstanceId, &InstanceLife> = self.instances.iter().map(|(b, _)| (&b.id, *b)).collect();
        for job in self.jobs().filter(|j| pool.is_none() || j.pool.as_ref() == pool) {
            f.jobs += 1;
            f.unstarted += u64::from(job.started.is_none());
            f.lost += u64::from(job.lost());
            let host = job.instance.as_ref().and_then(|id| by_id.get(id));
            f.lost_to_spot += u64::from(job.lost() && host.is_some_and(|b| b.taken_back));
            f.elsewhere += u64::from(host.is_some_and(|b| job.pool.as_ref() != Some(&b.pool)));
            waits.push(job.waited());
        }
        f.waits = waits_of(waits);
        let mut changes = Vec::new();
        for (b, stretches) in self.instances.iter().filter(|(b, _)| pool.is_none_or(|p| b.pool == *p)) {
            f.instances += 1;
            f.never_online += u64::from(b.online.is_none());
            f.taken_back += u64::from(b.taken_back);
            for s in stretches {
                *f.spent.entry(s.doing).or_default() += s.to.since(s.from);
            }
            if let Some(running) = b.running {
                let billed = b.off.unwrap_or(self.forecast.end).since(running).max(BILLED_AT_LEAST);
                *f.billed.entry((b.market, Arc::clone(&b.instance_type))).or_default() += billed;
            }
            changes.push((b.launched, 1i64));
            changes.extend(b.off.map(|at| (at, -1)));
        }
        (f.peak, f.peak_at) = peak(changes);
        f
    }

    /// What EC2 bills for a span of time and the jobs that were queued in it: by pool, market and instance type. An instance that had
    /// a job counts with its start and its work, also beyond the span. Idle time, and instances that never had a job, count within the span
    /// only: warm floors run before it and after it, too.
    pub fn billed_for(&self, from: Time, until: Time) -> BTreeMap<(&'a PoolName, Market, &'a str), Duration> {
        let mut billed: BTreeMap<(&PoolName, Market, &str), Duration> = BTreeMap::new();
        for (b, stretches) in &self.instances {
            let Some(running) = b.running else { continue };
            let off = b.off.unwrap_or(self.forecast.end);
            let worked = stretches.iter().any(|s| s.doing == Doing::Working);
            let time = |s: &Stretch| match worked && s.doing != Doing::Idle {
                true => s.to.min(off).since(s.from.max(running)),
                false => s.to.min(off).min(until).since(s.from.max(running).max(from)),
            };
            let time: Duration = stretches.iter().map(time).sum();
            let time = if worked { time.max(BILLED_AT_LEAST) } else { time };
            *billed.entry((&b.pool, b.market, &b.instance_type)).or_default() += time;
        }
        billed
    }

    /// How many runners and jobs there were, in at most `most` steps of a round length.
    pub fn series(&self, most: usize) -> Series {
        let (begin, end) = (self.forecast.begin, self.forecast.end);
        let step = round_step(end.since(begin), most);
        let n = usize::try_from(end.since(begin).as_millis().div_ceil(step.as_millis().max(1))).unwrap_or(1).max(1);
        let mut series = Series {
            begin,
            step,
            instances: Doing::ALL.map(|d| (d, vec![0.0; n])).into(),
            waiting: vec![0.0; n],
            running: vec![0.0; n],
            waits: Vec::new(),
        };
        for s in self.instances.iter().flat_map(|(_, stretches)| stretches) {
            if let Some(row) = series.instances.get_mut(&s.doing) {
                spread(row, begin, step, s.from, s.to);
            }
        }
        let mut queued_in: Vec<Vec<Option<Duration>>> = vec![Vec::new(); n];
        for job in self.jobs() {
            let over = job.ended.unwrap_or(end);
            spread(&mut series.waiting, begin, step, job.queued, job.started.unwrap_or(over));
            if let Some(started) = job.started {
                spread(&mut series.running, begin, step, started, over);
            }
            queued_in[slot(begin, step, job.queued).min(n - 1)].push(job.waited());
        }
        series.waits = queued_in.into_iter().map(waits_of).map(|w| (w.p50, w.p90)).collect();
        series
    }

    /// The waits of all jobs that started, shortest first.
    pub fn sorted_waits(&self) -> Vec<Duration> {
        let mut waits: Vec<Duration> = self.jobs().filter_map(JobLife::waited).collect();
        waits.sort_unstable();
        waits
    }

    /// The jobs that count for a pool.
    fn jobs(&self) -> impl Iterator<Item = &'a JobLife> {
        self.forecast.jobs.iter().filter(|j| j.pool.is_some())
    }
}

fn ephemeral(spec: &Spec, pool: &PoolName) -> bool {
    spec.pools.get(pool).is_none_or(|p| p.ephemeral())
}

/// Percentiles by nearest rank. A job that never started ranks last.
fn waits_of(mut waits: Vec<Option<Duration>>) -> Waits {
    waits.sort_unstable_by_key(|w| w.unwrap_or(Duration::MAX));
    let at = |percent: usize| {
        let rank = (waits.len() * percent).div_ceil(100);
        waits.get(rank.saturating_sub(1)).copied().flatten()
    };
    Waits { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
}

/// The highest level of a count, and when it was first reached. At the same moment, ends count before begins.
fn peak(mut changes: Vec<(Time, i64)>) -> (u64, Option<Time>) {
    changes.sort_unstable();
    let (mut level, mut best) = (0, (0, None));
    for (at, by) in changes {
        level += by;
        if level > best.0 {
            best = (level, Some(at));
        }
    }
    (u64::try_from(best.0).unwrap_or_default(), best.1)
}

fn slot(begin: Time, step: Duration, at: Time) -> usize {
    usize::try_from(at.since(begin).as_millis() / step.as_millis().max(1)).unwrap_or(usize::MAX)
}

/// Adds to each step the share of the step that lies between `from` and `to`.
fn spread(row: &mut [f64], begin: Time, step: Duration, from: Time, to: Time) {
    let (first, last) = (slot(begin, step, from), slot(begin, step, to));
    for (nth, cell) in row.iter_mut().enumerate().take(last.saturating_add(1)).skip(first) {
        let starts = begin + step * u32::try_from(nth).unwrap_or(u32::MAX);
        *cell += to.min(starts + step).since(from.max(starts)).as_secs_f64() / step.as_secs_f64();
    }
}

/// The shortest round step of which `most` cover the whole time.
fn round_step(whole: Duration, most: usize) -> Duration {
    const MINUTES: [u64; 10] = [1, 2, 5, 10, 15, 30, 60, 120, 240, 480];
    let fits = |m: &&u64| u128::from(**m) * 60_000 * most as u128 >= whole.as_millis();
    Duration::from_secs(60 * MINUTES.iter().find(fits).copied().unwrap_or(1440))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobPlan;
    use muster_reconciler::ids::JobId;

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    fn born() -> InstanceLife {
        InstanceLife {
            id: "i-1".into(),
            pool: "p".into(),
            instance_type: "m7i.large".into(),
            market: Market::Spot,
            launched: at(0),
            running: Some(at(5)),
            online: Some(at(30)),
            off: Some(at(130)),
            gone: Some(at(150)),
            taken_back: false,
        }
    }

    fn job(started: u64, ended: u64) -> JobLife {
        let plan = JobPlan { at: at(0), takes: Duration::ZERO, labels: vec![], repo: "a/b".into(), cancel_after: None };
        JobLife {
            id: JobId(1),
            plan,
            pool: Some("p".into()),
            queued: at(0),
            started: Some(at(started)),
            ended: Some(at(ended)),
            instance: Some("i-1".into()),
            end: Some(crate::job_end::JobEnd::Success),
        }
    }

    fn said(stretches: &[Stretch]) -> String {
        let one = |s: &Stretch| format!("{} {}", s.doing.as_str(), s.to.since(s.from).as_secs());
        stretches.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_life_of_an_instance_is_what_it_did_without_a_gap() {
        let j = job(40, 120);
        assert_eq!(said(&stretches(&born(), &[&j], true, at(999))), "starting 5, booting 25, idle 10, working 80, ending 30");
        let (a, b) = (job(40, 60), job(70, 120));
        let reusable = stretches(&born(), &[&a, &b], false, at(999));
        assert_eq!(said(&reusable), "starting 5, booting 25, idle 10, working 20, idle 10, working 50, idle 10, ending 20");
        let never = InstanceLife { online: None, ..born() };
        assert_eq!(said(&stretches(&never, &[], true, at(999))), "starting 5, booting 125, ending 20");
        let alive = InstanceLife { off: None, gone: None, ..born() };
        assert_eq!(said(&stretches(&alive, &[], true, at(100))), "starting 5, booting 25, idle 70");
    }

    #[test]
    fn what_is_billed_for_a_span_leaves_out_idle_time_around_it() {
        let spec = crate::example::cluster("c", [crate::example::pool("p", &["linux"], 9)]);
        let warm = InstanceLife { id: "i-2".into(), ..born() };
        let forecast = Forecast {
            spec,
            begin: at(0),
            end: at(200),
            jobs: vec![job(40, 120)],
            instances: vec![born(), warm],
            unrouted: vec![],
            unrouted_but_run: 0,
            unstarted: vec![],
            reruns: 0,
            report: crate::Simulation::new(1, crate::example::demo(), crate::WorldOptions::default()).report(),
        };
        let billed =
            |from, until| Tally::new(&forecast).billed_for(at(from), at(until)).into_values().sum::<Duration>().as_secs();
        // i-1 boots from 5 to 30, waits until 40, works until 120 and ends by 130. i-2 is up from 5 to 130 and never has a job.
        assert_eq!(billed(0, 200), 125 + 125);
        assert_eq!(billed(35, 100), (25 + 5 + 80 + 10) + 65);
        assert_eq!(billed(35, 45), (25 + 5 + 80 + 10) + 10);
    }

    #[test]
    fn a_job_that_outlives_its_instance_is_work_until_the_instance_is_off() {
        let j = job(40, 400);
        assert_eq!(said(&stretches(&born(), &[&j], true, at(999))), "starting 5, booting 25, idle 10, working 90, ending 20");
    }

    #[test]
    fn percentiles_are_by_rank_and_never_is_the_longest_wait() {
        let secs = |s: u64| Some(Duration::from_secs(s));
        let waits = waits_of((1..=100).rev().map(secs).collect());
        assert_eq!(waits, Waits { p50: secs(50), p90: secs(90), p99: secs(99), max: secs(100) });
        let two_never = (1..=98).map(secs).chain([None, None]).collect();
        assert_eq!(waits_of(two_never), Waits { p50: secs(50), p90: secs(90), p99: None, max: None });
        assert_eq!(waits_of(vec![]), Waits::default());
    }

    #[test]
    fn a_peak_counts_what_is_there_at_one_time() {
        assert_eq!(peak(vec![(at(1), 1), (at(2), 1), (at(3), -1), (at(3), 1), (at(4), -1)]), (2, Some(at(2))));
        assert_eq!(peak(vec![]), (0, None));
    }

    #[test]
    fn averages_over_steps_keep_the_whole() {
        let mut row = vec![0.0; 3];
        spread(&mut row, at(0), Duration::from_secs(60), at(30), at(150));
        assert_eq!(row, [0.5, 1.0, 0.5]);
        assert_eq!(round_step(Duration::from_secs(86_400), 150), Duration::from_secs(600));
    }
}
