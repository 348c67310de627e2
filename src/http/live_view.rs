//! What the live page shows, made of one snapshot: the rows that matter most come first, with words for people and with
//! charts.

use std::time::Duration;

use muster_operations::meter::CostView;
use muster_operations::watch::{Watch, WatchPoint};
use muster_reconciler::event::JobState;
use muster_reconciler::runner::Phase;
use muster_reconciler::time::human;
use muster_reconciler::view::{EventView, JobView, PoolView, RunnerView, Snapshot};

use super::live_charts;

/// The most rows of a table. The other rows are only counted.
const ROWS: usize = 200;
/// The most runners in the waterfall. The newest that this process launched are shown.
const FALLS: usize = 24;
/// How many events are shown.
const EVENTS: usize = 60;

/// The phases that the tiles count as starting.
const STARTING: [Phase; 3] = [Phase::Launching, Phase::Booting, Phase::Configured];

/// A number with its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tile {
    /// The id of the tile in the page.
    pub id: &'static str,
    /// The number.
    pub number: String,
    /// What it counts.
    pub label: String,
}

/// A pool's row.
#[derive(Clone, Debug, Default)]
pub struct PoolRow {
    /// The pool.
    pub pool: PoolView,
    /// Queued jobs and runners over the last minutes, as SVG. Empty: there are too few points yet.
    pub spark: String,
    /// What the pool has cost today. Empty: there is no price.
    pub cost: String,
    /// How many runners are in each phase, in words.
    pub phases: String,
}

/// A job's row.
#[derive(Clone, Debug, Default)]
pub struct JobRow {
    /// The job.
    pub job: JobView,
    /// For how long muster has known the job.
    pub age: String,
    /// The instance that the job runs on. None: the job does not run, or on no runner of ours.
    pub instance: Option<String>,
}

/// A runner's row.
#[derive(Clone, Debug, Default)]
pub struct RunnerRow {
    /// The runner.
    pub runner: RunnerView,
    /// For how long muster has known the runner.
    pub age: String,
    /// The stages of the runner's start, in words.
    pub stages: String,
}

/// An event's row.
#[derive(Clone, Debug, Default)]
pub struct EventRow {
    /// The event.
    pub event: EventView,
    /// The time of day, UTC.
    pub clock: String,
}

/// The budget of one API, or one limit of GitHub's.
#[derive(Clone, Debug, Default)]
pub struct BudgetRow {
    /// The name of the API or of the limit.
    pub api: String,
    /// Whose budget it is: an App's, perhaps on one account, or AWS's.
    pub whose: String,
    /// How many calls are left now.
    pub left: String,
    /// How many calls there are in all, or until when the limit holds.
    pub of: String,
    /// What is left, in percent: 0 to 100.
    pub percent: u32,
}

/// Everything that the page shows.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The only pool that is shown. Empty: all pools.
    pub only_pool: String,
    /// The names of all pools.
    pub names: Vec<String>,
    /// The numbers at the top of the page.
    pub tiles: Vec<Tile>,
    /// The pools.
    pub pools: Vec<PoolRow>,
    /// The jobs. Those that wait come first.
    pub jobs: Vec<JobRow>,
    /// How many more jobs there are than the page shows.
    pub more_jobs: usize,
    /// The runners. Those in trouble come first.
    pub runners: Vec<RunnerRow>,
    /// How many more runners there are than the page shows.
    pub more_runners: usize,
    /// The waterfall of the newest runners' starts, for a wide screen and for a phone. Empty: there is none.
    pub falls: [String; 2],
    /// The events, newest first.
    pub events: Vec<EventRow>,
    /// The budgets, and then GitHub's limits.
    pub budgets: Vec<BudgetRow>,
    /// What the cost covers. Empty: there are no prices.
    pub cost_note: String,
    /// Why nothing can be shown. Empty: there is no trouble.
    pub trouble: String,
}

impl Live {
    /// What the page shows of one pool, or of all pools if `only_pool` is empty.
    pub fn new(s: &Snapshot, only_pool: &str, watch: &Watch) -> Live {
        let ours = |pool: &str| only_pool.is_empty() || only_pool == pool;
        let cost = watch.cost();
        let mut jobs: Vec<&JobView> = s.jobs.iter().filter(|j| ours(j.pool.as_deref().unwrap_or_default())).collect();
        jobs.sort_by_key(|j| (state_rank(j.state), j.id));
        let mut runners: Vec<&RunnerView> = s.runners.iter().filter(|r| ours(&r.pool)).collect();
        let falls = falls(&runners);
        let tiles = tiles(&jobs, &runners, &cost, only_pool);
        runners.sort_by_key(|r| attention(r.phase));
        let pool = |p: &PoolView| {
            let (past, every) = watch.past(&p.name);
            PoolRow { spark: spark(&p.name, &past, every), cost: priced(&cost, &p.name), phases: phases(p), pool: p.clone() }
        };
        Live {
            only_pool: only_pool.to_owned(),
            names: s.pools.iter().map(|p| p.name.clone()).collect(),
            tiles,
            pools: s.pools.iter().filter(|p| ours(&p.name)).take(ROWS).map(pool).collect(),
            more_jobs: jobs.len().saturating_sub(ROWS),
            jobs: jobs.into_iter().take(ROWS).map(job_row).collect(),
            more_runners: runners.len().saturating_sub(ROWS),
            runners: runners.into_iter().take(ROWS).map(runner_row).collect(),
            falls,
            events: s.events.iter().filter(|e| e.pool.as_deref().is_none_or(ours)).take(EVENTS).map(event_row).collect(),
            budgets: budgets(s),
            cost_note: note(&cost),
            trouble: String::new(),
        }
    }
}

/// The order of runners by phase: first what went wrong, then what changes, and last what is settled.
pub const fn attention(phase: Phase) -> u8 {
    match phase {
        Phase::Failed => 0,
        Phase::Interrupted => 1,
        Phase::Draining => 2,
        Phase::Launching => 3,
        Phase::Booting => 4,
        Phase::Configured => 5,
        Phase::Busy => 6,
        Phase::Idle => 7,
        Phase::Terminating => 8,
        Phase::Gone => 9,
    }
}

/// The order of jobs by state. Jobs that wait come first, so that a limit does not cut them off.
pub const fn state_rank(state: JobState) -> u8 {
    match state {
        JobState::Queued => 0,
        JobState::InProgress => 1,
        JobState::Completed => 2,
    }
}

/// The time of day in UTC, such as `13:14:15`.
pub fn clock(at_ms: u64) -> String {
    let s = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

fn age(seconds: u64) -> String {
    human(Duration::from_secs(seconds)).to_string()
}

fn tiles(jobs: &[&JobView], runners: &[&RunnerView], cost: &CostView, only_pool: &str) -> Vec<Tile> {
    let jobs_in = |state: JobState| jobs.iter().filter(|j| j.state == state).count();
    let in_phase = |phases: &[Phase]| runners.iter().filter(|r| phases.contains(&r.phase)).count();
    let all = runners.iter().filter(|r| r.phase != Phase::Gone).count();
    // `1 job queued`, `2 jobs queued`: the number stands above its label.
    let tile = |id, n: usize, one: &str, what: &str| {
        let label = format!("{one}{} {what}", if n == 1 { "" } else { "s" });
        Tile { id, number: n.to_string(), label }
    };
    let mut tiles = vec![
        tile("t-queued", jobs_in(JobState::Queued), "job", "queued"),
        tile("t-running", jobs_in(JobState::InProgress), "job", "running"),
        tile("t-idle", in_phase(&[Phase::Idle]), "runner", "idle"),
        tile("t-starting", in_phase(&STARTING), "runner", "starting"),
        tile("t-runners", all, "runner", "in all"),
    ];
    if !cost.prices.is_empty() {
        let shown = if only_pool.is_empty() { money(cost.total, &cost.currency) } else { priced(cost, only_pool) };
        let number = if shown.is_empty() { "–".into() } else { shown };
        tiles.push(Tile { id: "t-cost", number, label: "estimated cost today".into() });
    }
    tiles
}

fn money(amount: f64, currency: &str) -> String {
    format!("{amount:.2} {currency}")
}

fn priced(cost: &CostView, pool: &str) -> String {
    cost.pools.get(pool).map(|amount| money(*amount, &cost.currency)).unwrap_or_default()
}

fn note(cost: &CostView) -> String {
    let trouble = cost.trouble.join("; ");
    if cost.prices.is_empty() {
        let why = if trouble.is_empty() { "none was read yet".to_owned() } else { trouble };
        return format!("No price is known ({why}). A list of your own: muster run --prices.");
    }
    let covered =
        cost.coverage.map_or_else(|| "no instance ran yet".into(), |share| format!("{:.0}% of it has a price", share * 100.0));
    let (wanted, known) = cost.known;
    let known = if wanted == 0 { String::new() } else { format!(", {known} of the {wanted} that the pools need") };
    let trouble = if trouble.is_empty() { trouble } else { format!(". {trouble}") };
    let (since, hours, prices) = (clock(cost.since), cost.hours, &cost.prices);
    format!("Cost since {since} UTC, of {hours:.1} instance hours ({covered}); prices: {prices}{known}{trouble}")
}

fn phases(p: &PoolView) -> String {
    let phases: Vec<String> = p.phases.iter().map(|(phase, n)| format!("{n} {phase}")).collect();
    if phases.is_empty() { "none".into() } else { phases.join(", ") }
}

fn spark(pool: &str, past: &[WatchPoint], every: Duration) -> String {
    if past.len() < 2 {
        return String::new();
    }
    let span = human(every * u32::try_from(past.len() - 1).unwrap_or(u32::MAX));
    let (first, last) = (past[0], past[past.len() - 1]);
    let label = format!(
        "{pool}, last {span}: queued jobs from {} to {}, runners from {} to {}",
        first.queued, last.queued, first.runners, last.runners
    );
    live_charts::spark(&label, past).unwrap_or_default()
}

fn falls(runners: &[&RunnerView]) -> [String; 2] {
    let mut newest: Vec<&RunnerView> =
        runners.iter().copied().filter(|r| !r.stages.is_empty() && r.phase != Phase::Gone).collect();
    newest.sort_by_key(|r| (r.age_seconds, r.instance.clone()));
    newest.truncate(FALLS);
    [live_charts::WIDE, live_charts::NARROW].map(|width| live_charts::falls(width, &newest).unwrap_or_default())
}

fn job_row(job: &JobView) -> JobRow {
    let instance = job.runner.as_deref().and_then(|name| name.rsplit('.').next()).filter(|id| id.starts_with("i-"));
    JobRow { age: age(job.age_seconds), instance: instance.map(str::to_owned), job: job.clone() }
}

fn runner_row(runner: &RunnerView) -> RunnerRow {
    let stage = |s: &muster_reconciler::view::StageView| format!("{} {:.0}s", s.stage, s.after_seconds);
    let stages: Vec<String> = runner.stages.iter().map(stage).collect();
    RunnerRow { age: age(runner.age_seconds), stages: stages.join(", "), runner: runner.clone() }
}

fn event_row(event: &EventView) -> EventRow {
    EventRow { clock: clock(event.at), event: event.clone() }
}

fn whose(app: &str, account: Option<&str>) -> String {
    account.map_or_else(|| app.to_owned(), |account| format!("{app} on {account}"))
}

fn budgets(s: &Snapshot) -> Vec<BudgetRow> {
    let percent = |left: f64, of: f64| if of > 0.0 { (100.0 * left / of).round().clamp(0.0, 100.0) as u32 } else { 0 };
    let own = s.budgets.iter().map(|b| BudgetRow {
        api: b.api.clone(),
        whose: whose(b.app.as_deref().unwrap_or("AWS"), b.account.as_deref()),
        left: format!("{:.0}", b.level.floor()),
        of: format!("{:.0}, {:.1} more a second", b.capacity, b.per_second),
        percent: percent(b.level, b.capacity),
    });
    let limits = s.limits.iter().map(|l| {
        let until = human(Duration::from_millis(l.until.saturating_sub(s.now)));
        // GitHub grants an installation at least 5,000 requests an hour. Larger organisations get more.
        let (api, of) = match &l.resource {
            Some(resource) => (format!("GitHub's rate limit ({resource})"), format!("5000 or more; reset in {until}")),
            None => ("GitHub's secondary rate limit".into(), format!("lifts in {until}")),
        };
        let percent = percent(f64::from(l.remaining), 5000.0);
        BudgetRow { api, whose: whose(&l.app, l.account.as_deref()), left: l.remaining.to_string(), of, percent }
    });
    own.chain(limits).collect()
}
