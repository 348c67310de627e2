//! Figures from the lives of boxes and jobs: waits, what boxes spent their time on, what is billed, what was there when.
//!
//! All of it is arithmetic on a [`Forecast`]. One function says how a box's life splits into [`Doing`]s; sums, peaks and
//! plots are all made from that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;

use crate::forecast::Forecast;
use crate::ledger::{BoxLife, JobLife};

/// EC2 bills Linux and Windows by the second, and a minute at least. Pending and shutting down are not billed.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
const BILLED_AT_LEAST: Duration = Duration::from_secs(60);

/// What a box does with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// Pending at EC2; not billed.
    Starting,
    /// Up, not yet online at GitHub.
    Booting,
    /// Online, without a job.
    Idle,
    /// Runs a job.
    Working,
    /// Its only job is over, or it is shutting down (the latter is not billed).
    Ending,
}

impl Doing {
    /// All of them, in the order of a box's life.
    pub const ALL: [Doing; 5] = [Doing::Starting, Doing::Booting, Doing::Idle, Doing::Working, Doing::Ending];

    /// In a word.
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

/// Something that lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What.
    pub doing: Doing,
    /// From.
    pub from: Time,
    /// To.
    pub to: Time,
}

/// How long jobs waited for a runner, from being queued at GitHub. A percentile is the wait of the job at that rank; one
/// that never started waited longest, so None means: at that rank, never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Half waited no longer.
    pub p50: Option<Duration>,
    /// Nine of ten waited no longer.
    pub p90: Option<Duration>,
    /// 99 of 100 waited no longer.
    pub p99: Option<Duration>,
    /// The longest.
    pub max: Option<Duration>,
}

/// The figures of one pool, or of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Jobs that the pool takes.
    pub jobs: u64,
    /// Of these, jobs that never started.
    pub unstarted: u64,
    /// Of these, jobs that were lost with their box while they ran.
    pub lost: u64,
    /// Of the lost: those whose box spot took back.
    pub lost_to_spot: u64,
    /// Of these, jobs that ran on a box of another pool: GitHub gives a job to any runner whose labels hold its own.
    pub elsewhere: u64,
    /// How long they waited.
    pub waits: Waits,
    /// Boxes launched.
    pub boxes: u64,
    /// Boxes that never came online.
    pub never_online: u64,
    /// Boxes that spot took back.
    pub taken_back: u64,
    /// Most boxes at one time: pending or running.
    pub peak: u64,
    /// When that was first so.
    pub peak_at: Option<Time>,
    /// What the boxes spent their time on, altogether.
    pub spent: BTreeMap<Doing, Duration>,
    /// What EC2 bills, by market and instance type.
    pub billed: BTreeMap<(Market, Arc<str>), Duration>,
}

/// What was there, as averages over equal steps of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// When the first step begins.
    pub begin: Time,
    /// How long a step is.
    pub step: Duration,
    /// Boxes by what they do.
    pub boxes: BTreeMap<Doing, Vec<f64>>,
    /// Jobs that a pool takes and that wait.
    pub waiting: Vec<f64>,
    /// Jobs that run on our boxes.
    pub running: Vec<f64>,
    /// The waits of the jobs that were queued in the step: the median and the 90th percentile. None: no job, or never.
    pub waits: Vec<(Option<Duration>, Option<Duration>)>,
}

/// How the life of a box splits. `jobs` are its own, by time.
pub fn stretches(b: &BoxLife, jobs: &[&JobLife], ephemeral: bool, end: Time) -> Vec<Stretch> {
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

/// The forecast's boxes and jobs, brought together once.
#[derive(Debug)]
pub struct Tally<'a> {
    forecast: &'a Forecast,
    boxes: Vec<(&'a BoxLife, Vec<Stretch>)>,
}

impl<'a> Tally<'a> {
    /// Brings them together.
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
        let split = |b: &'a BoxLife| {
            let jobs = jobs_of.get(&b.id).map(Vec::as_slice).unwrap_or_default();
            (b, stretches(b, jobs, ephemeral(&forecast.spec, &b.pool), forecast.end))
        };
        Tally { forecast, boxes: forecast.boxes.iter().map(split).collect() }
    }

    /// The figures of one pool; None: of all.
    pub fn figures(&self, pool: Option<&PoolName>) -> Figures {
        let mut f = Figures::default();
        let mut waits = Vec::new();
        let by_id: BTreeMap<&InstanceId, &BoxLife> = self.boxes.iter().map(|(b, _)| (&b.id, *b)).collect();
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
        for (b, stretches) in self.boxes.iter().filter(|(b, _)| pool.is_none_or(|p| b.pool == *p)) {
            f.boxes += 1;
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

    /// What was there, in at most `most` steps of a round length.
    pub fn series(&self, most: usize) -> Series {
        let (begin, end) = (self.forecast.begin, self.forecast.end);
        let step = round_step(end.since(begin), most);
        let n = usize::try_from(end.since(begin).as_millis().div_ceil(step.as_millis().max(1))).unwrap_or(1).max(1);
        let mut series = Series {
            begin,
            step,
            boxes: Doing::ALL.map(|d| (d, vec![0.0; n])).into(),
            waiting: vec![0.0; n],
            running: vec![0.0; n],
            waits: Vec::new(),
        };
        for s in self.boxes.iter().flat_map(|(_, stretches)| stretches) {
            if let Some(row) = series.boxes.get_mut(&s.doing) {
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

    /// The jobs that a pool takes.
    fn jobs(&self) -> impl Iterator<Item = &'a JobLife> {
        self.forecast.jobs.iter().filter(|j| j.pool.is_some())
    }
}

fn ephemeral(spec: &Spec, pool: &PoolName) -> bool {
    spec.pools.get(pool).is_none_or(|p| p.ephemeral())
}

/// By nearest rank; what never started comes last.
fn waits_of(mut waits: Vec<Option<Duration>>) -> Waits {
    waits.sort_unstable_by_key(|w| w.unwrap_or(Duration::MAX));
    let at = |percent: usize| {
        let rank = (waits.len() * percent).div_ceil(100);
        waits.get(rank.saturating_sub(1)).copied().flatten()
    };
    Waits { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
}

/// The highest level of a count, and when it was first reached. What ends at a moment makes room for what begins then.
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

/// Adds the share of each step that lies between the two times.
fn spread(row: &mut [f64], begin: Time, step: Duration, from: Time, to: Time) {
    let (first, last) = (slot(begin, step, from), slot(begin, step, to));
    for (nth, cell) in row.iter_mut().enumerate().take(last.saturating_add(1)).skip(first) {
        let starts = begin + step * u32::try_from(nth).unwrap_or(u32::MAX);
        *cell += to.min(starts + step).since(from.max(starts)).as_secs_f64() / step.as_secs_f64();
    }
}

/// The shortest round step of which `most` are enough.
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

    fn born() -> BoxLife {
        BoxLife {
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
            conclusion: Some("success"),
        }
    }

    fn said(stretches: &[Stretch]) -> String {
        let one = |s: &Stretch| format!("{} {}", s.doing.as_str(), s.to.since(s.from).as_secs());
        stretches.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_life_of_a_box_is_what_it_did_without_a_gap() {
        let j = job(40, 120);
        assert_eq!(said(&stretches(&born(), &[&j], true, at(999))), "starting 5, booting 25, idle 10, working 80, ending 30");
        let (a, b) = (job(40, 60), job(70, 120));
        let reusable = stretches(&born(), &[&a, &b], false, at(999));
        assert_eq!(said(&reusable), "starting 5, booting 25, idle 10, working 20, idle 10, working 50, idle 10, ending 20");
        let never = BoxLife { online: None, ..born() };
        assert_eq!(said(&stretches(&never, &[], true, at(999))), "starting 5, booting 125, ending 20");
        let alive = BoxLife { off: None, gone: None, ..born() };
        assert_eq!(said(&stretches(&alive, &[], true, at(100))), "starting 5, booting 25, idle 70");
    }

    #[test]
    fn a_job_that_outlives_its_box_is_work_until_the_box_is_off() {
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
