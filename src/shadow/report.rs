//! The report of a shadow: one value for both printers. Every finding has the job or the instance that it is about, and what is not known
//! is a sentence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_operations::prices::Prices;
use muster_operations::record::instant;
use muster_reconciler::ids::JobId;
use muster_reconciler::manifest::{Os, Spec};
use muster_reconciler::reason::count;
use muster_reconciler::time::{Time, human};
use muster_simulator::conditions::Conditions;
use muster_simulator::tally::Figures;
use serde::Serialize;

use super::boxes::{Fates, VainBox};
use super::ours::{GIVEN_UP, Ours};
use super::theirs::{TheirJob, Theirs};
use crate::simulate::cost::Cost;

/// A job that the shadow heard of later than this after GitHub queued it is not compared: muster would have heard of it late, too, or the
/// shadow did not watch, and nobody can tell which.
const LATE: Duration = Duration::from_secs(60);
/// EC2 bills a minute at least.
const LEAST_BILLED: Duration = Duration::from_secs(60);

/// What the report is asked.
#[derive(Clone, Copy, Debug)]
pub struct ShadowAsked {
    /// A job waited longer than it would have if the difference is more than this.
    pub longer: Duration,
    /// An instance is idle once its runner had no job for this long.
    pub idle: Duration,
    /// An instance is leaked once it was up without a connected runner for this long.
    pub leaked: Duration,
    /// Decides what is left to chance in what muster would have done.
    pub seed: u64,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowReport {
    /// The time of the first line (RFC 3339).
    pub from: String,
    /// The time of the last line (RFC 3339).
    pub until: String,
    /// How many jobs were heard of.
    pub jobs: u64,
    /// How many of them are compared with what muster would have done.
    pub compared: u64,
    /// How long the compared jobs waited for a runner, and how long they would have waited.
    pub waits: [WaitFigures; 2],
    /// Jobs that waited longer than they would have.
    pub longer: Vec<LongerWait>,
    /// Jobs that would have waited longer.
    pub shorter: u64,
    /// Jobs that no runner took.
    pub lost: Vec<LostJob>,
    /// Jobs whose instance was ended under them. None: not known.
    pub killed: Option<Vec<KilledUnder>>,
    /// Instances that were up without a connected runner. None: not known.
    pub leaked: Option<Vec<WastedBox>>,
    /// Instances whose runner was connected and had no job. None: not known.
    pub idle: Option<Vec<WastedBox>>,
    /// The cost.
    pub cost: ShadowCost,
    /// What is not known, in sentences.
    pub unknown: Vec<String>,
    /// What is assumed of muster's fleet, in sentences.
    pub assumptions: Vec<String>,
}

/// How long jobs waited, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaitFigures {
    /// Half of the jobs waited this long or less.
    pub p50: u64,
    /// Nine of ten jobs did.
    pub p90: u64,
    /// The longest wait.
    pub max: u64,
}

/// A job that waited longer than it would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LongerWait {
    /// GitHub's id of the job.
    pub job: u64,
    /// `OWNER/NAME`.
    pub repo: String,
    /// When it was queued (RFC 3339).
    pub queued_at: String,
    /// How long it waited, in seconds.
    pub waited: u64,
    /// How long it would have waited, in seconds.
    pub would: u64,
    /// What ended the wait: `started`, or `ended` (without a runner, as when somebody cancels).
    pub then: &'static str,
}

/// A job that no runner took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostJob {
    /// GitHub's id of the job.
    pub job: u64,
    /// `OWNER/NAME`.
    pub repo: String,
    /// When it was queued (RFC 3339).
    pub queued_at: String,
    /// How long it would have waited, in seconds. None: it would have had no runner either.
    pub would: Option<u64>,
}

/// A job whose instance was ended under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KilledUnder {
    /// GitHub's id of the job.
    pub job: u64,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The instance.
    pub instance: String,
    /// When it ended, at the latest (RFC 3339).
    pub at: String,
    /// What ended it, as a clause.
    pub why: &'static str,
}

/// An instance that cost and did nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WastedBox {
    /// The instance.
    pub instance: String,
    /// Its instance type.
    pub instance_type: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// How long altogether, in seconds.
    pub seconds: u64,
    /// Whether it is still so at the end of the record.
    pub still: bool,
}

/// What both fleets cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowCost {
    /// The currency, such as `USD`.
    pub currency: String,
    /// Where the prices come from.
    pub source: String,
    /// The other fleet. None: the shadow did not look at EC2.
    pub theirs: Option<Cost>,
    /// muster's fleet, on paper.
    pub ours: Cost,
}

impl ShadowReport {
    /// Compares.
    pub fn of(theirs: &Theirs, spec: &Arc<Spec>, conditions: Conditions, prices: &Prices, asked: ShadowAsked) -> ShadowReport {
        let ours = Ours::of(theirs, spec, conditions.clone(), asked.seed);
        let fates = Fates::of(theirs, asked.idle, asked.leaked);
        let mut comparison = Comparison::default();
        for (id, starts) in &ours.starts {
            if let Some(job) = theirs.jobs.get(id) {
                comparison.add(job, *starts, theirs, asked.longer);
            }
        }
        let Comparison { compared, mut longer, shorter, lost, waits, .. } = comparison.clone();
        longer.sort_by_key(|wait| (std::cmp::Reverse(wait.waited - wait.would), wait.job));
        let repo = |job: &JobId| theirs.jobs.get(job).map_or_else(String::new, |job| job.event.repo.clone());
        let killed = fates.killed.iter().map(|killed| KilledUnder {
            job: killed.job.0,
            repo: repo(&killed.job),
            instance: killed.instance.to_string(),
            at: instant(killed.at),
            why: killed.cause.said(),
        });
        let judged = theirs.looks.boxes && fates.listed;
        let cost = ShadowCost {
            currency: prices.currency.clone(),
            source: prices.source.clone(),
            theirs: theirs.looks.boxes.then(|| their_cost(theirs, prices)),
            ours: our_cost(theirs, &ours, spec, prices),
        };
        ShadowReport {
            from: instant(theirs.from),
            until: instant(theirs.until),
            jobs: theirs.jobs.len() as u64,
            compared,
            waits: waits.map(figures),
            longer,
            shorter,
            lost,
            killed: theirs.looks.boxes.then(|| killed.collect()),
            leaked: judged.then(|| wasted(theirs, &fates.leaked)),
            idle: judged.then(|| wasted(theirs, &fates.idle)),
            unknown: unknown(theirs, &ours, &fates, &comparison, &cost),
            cost,
            assumptions: assumptions(&conditions),
        }
    }
}

/// The jobs of both fleets, side by side.
#[derive(Clone, Debug, Default)]
struct Comparison {
    compared: u64,
    waits: [Vec<Duration>; 2],
    longer: Vec<LongerWait>,
    shorter: u64,
    lost: Vec<LostJob>,
    /// Jobs that were heard of too late.
    late: u64,
    /// Jobs whose `queued` never came.
    unheard: u64,
    /// Jobs of which nothing was heard since they were queued, for longer than they would have waited.
    silent: u64,
    /// Jobs that muster would not have started.
    never: u64,
}

impl Comparison {
    fn add(&mut self, job: &TheirJob, starts: Option<Time>, theirs: &Theirs, least: Duration) {
        let (queued, would) = (job.queued, starts.map(|at| at.since(job.queued)));
        let Some(waited) = job.started.or(job.ended).map(|over| over.since(queued)) else {
            // The job waits, or the event that tells of its start was lost.
            let far = would.is_some_and(|would| theirs.until.since(queued) > would + least);
            return self.silent += u64::from(far);
        };
        let (id, repo, queued_at) = (job.event.job.0, job.event.repo.clone(), instant(queued));
        if job.started.is_none() && waited >= GIVEN_UP {
            // That no runner took it is known, however late it was heard of.
            self.lost.push(LostJob { job: id, repo, queued_at, would: would.map(|would| would.as_secs()) });
            return;
        }
        match job.heard {
            None => return self.unheard += 1,
            Some(heard) if heard.since(queued) > LATE => return self.late += 1,
            Some(_) => {}
        }
        let Some(would) = would else { return self.never += u64::from(job.started.is_some()) };
        let then = if job.started.is_some() { "started" } else { "ended" };
        self.compared += 1;
        if job.started.is_some() {
            let [of_theirs, of_ours] = &mut self.waits;
            of_theirs.push(waited);
            of_ours.push(would);
        }
        if waited > would + least {
            let (waited, would) = (waited.as_secs(), would.as_secs());
            self.longer.push(LongerWait { job: id, repo, queued_at, waited, would, then });
        }
        self.shorter += u64::from(job.started.is_some() && would > waited + least);
    }
}

fn figures(mut waits: Vec<Duration>) -> WaitFigures {
    waits.sort_unstable();
    let share = |percent: usize| {
        let nth = (waits.len() * percent).div_ceil(100).saturating_sub(1);
        waits.get(nth).map_or(0, Duration::as_secs)
    };
    WaitFigures { p50: share(50), p90: share(90), max: share(100) }
}

fn wasted(theirs: &Theirs, found: &[VainBox]) -> Vec<WastedBox> {
    let row = |vain: &VainBox| WastedBox {
        instance: vain.instance.to_string(),
        instance_type: theirs.boxes.get(&vain.instance).map_or_else(String::new, |known| known.seen.instance_type.clone()),
        since: instant(vain.since),
        seconds: vain.long.as_secs(),
        still: vain.still,
    };
    let mut all: Vec<WastedBox> = found.iter().map(row).collect();
    all.sort_by_key(|row| std::cmp::Reverse(row.seconds));
    all
}

/// What EC2 bills between the first and the last line.
fn billed(theirs: &Theirs, from: Time, until: Option<Time>) -> Option<Duration> {
    let (from, until) = (from.max(theirs.from), until.unwrap_or(theirs.until).min(theirs.until));
    (from < until).then(|| until.since(from).max(LEAST_BILLED))
}

fn their_cost(theirs: &Theirs, prices: &Prices) -> Cost {
    let mut by_os = [(Os::Linux, Figures::default()), (Os::Windows, Figures::default())];
    for known in theirs.boxes.values() {
        let Some(long) = billed(theirs, known.seen.launched_at, known.ended()) else { continue };
        let [(_, linux), (_, windows)] = &mut by_os;
        let figures = if known.seen.windows { windows } else { linux };
        *figures.billed.entry((known.seen.market, known.seen.instance_type.as_str().into())).or_default() += long;
    }
    let mut cost = Cost::default();
    for (os, figures) in &by_os {
        cost.add(figures, *os, prices);
    }
    cost.settle();
    cost
}

fn our_cost(theirs: &Theirs, ours: &Ours, spec: &Spec, prices: &Prices) -> Cost {
    let mut by_os: BTreeMap<Os, Figures> = BTreeMap::new();
    for life in &ours.instances {
        let Some(long) = life.running.and_then(|running| billed(theirs, running, life.off)) else { continue };
        let os = spec.pools.get(&life.pool).map_or(Os::Linux, |pool| pool.spec.instance.os);
        let figures = by_os.entry(os).or_default();
        *figures.billed.entry((life.market, Arc::clone(&life.instance_type))).or_default() += long;
    }
    let mut cost = Cost::default();
    for (os, figures) in &by_os {
        cost.add(figures, *os, prices);
    }
    cost.settle();
    cost
}

/// What is not known, in sentences.
fn unknown(theirs: &Theirs, ours: &Ours, fates: &Fates, seen: &Comparison, cost: &ShadowCost) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |n: u64, what: &'static str, why: &str| {
        if n > 0 {
            said.push(format!("{}: {why}", count(n, what)));
        }
    };
    let late = "heard of more than a minute after being queued, so the wait is not compared";
    say(seen.late, "job", late);
    say(seen.unheard, "job", "the event `queued` never came, so the wait is not compared");
    let silent = "nothing was heard since it was queued, for longer than it would have waited: it waits, or an event was lost";
    say(seen.silent, "job", silent);
    say(seen.never, "job", "muster would not have started it within the time: look at `capacity.max`");
    ours.unrouted.iter().for_each(|(why, n)| say(*n, "job", &format!("no pool of these manifests takes it: {why}")));
    say(ours.guessed, "job", "it did not end on a runner, so on paper it takes as long as the median of the others");
    say(fates.doubtful, "job", "it failed and its instance ended soon after: which came first is not known");
    let ran = theirs.jobs.values().filter(|job| job.started.is_some());
    let boxless = ran.filter(|job| job.instance().is_none_or(|instance| !theirs.boxes.contains_key(&instance))).count();
    if theirs.looks.boxes {
        let why =
            "its runner's name has no instance that the shadow saw, so whether the instance was ended under it is not known";
        say(boxless as u64, "job", why);
        say(
            fates.unlisted,
            "instance",
            "it ran a job and is in no list of runners that the pools name: not judged as idle or leaked",
        );
    } else {
        let what = "killed jobs, leaked and idle instances, and the other fleet's cost";
        said.push(format!("{what}: no look of the shadow at EC2 is in the record"));
    }
    if theirs.looks.boxes && !fates.listed {
        let what = "leaked and idle instances: no runner of the instances that were seen was in a list that the shadow looked at";
        said.push(what.to_owned());
    }
    for (from, until) in &theirs.gaps {
        let (from, until, long) = (instant(*from), instant(*until), human(until.since(*from)));
        said.push(format!("what happened to instances from {from} to {until} ({long}): not all of it was looked at"));
    }
    for (why, n) in &theirs.failures {
        said.push(format!("{}: {why}", count(*n, "failure")));
    }
    for (whose, cost) in cost.theirs.iter().map(|cost| ("the other fleet", cost)).chain([("muster's fleet", &cost.ours)]) {
        let unpriced: f64 = cost.unpriced.values().sum();
        if let Some((first, _)) = cost.unpriced.first_key_value() {
            said.push(format!(
                "{unpriced:.1} hours of {whose} have no price, such as those of {first}: name prices with --prices"
            ));
        }
    }
    said
}

fn assumptions(conditions: &Conditions) -> Vec<String> {
    let more = [
        "the same jobs came at the same times: a job that starts earlier queues the next one of its run earlier, and that is not here",
        "muster hears of each job when GitHub queues it, and no runner but muster's takes it",
        "hours count from the first line of the record to the last; a job that was queued before is in the other fleet's hours only",
        "cost is instances only: no disks, addresses, traffic, functions, queues or logs",
    ];
    conditions.said().into_iter().chain(more.map(str::to_owned)).collect()
}
