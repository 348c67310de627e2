//! What the live page shows, made of one snapshot: the rows that matter most come first, with words for people and with
//! charts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_operations::meter::CostView;
use muster_operations::watch::{Watch, WatchPoint};
use muster_reconciler::event::JobState;
use muster_reconciler::runner::Phase;
use muster_reconciler::time::{coarse, human};
use muster_reconciler::view::{AttentionView, EventView, JobView, PoolView, RunnerView, Snapshot, SpanView, Target};

use super::live_charts;
use super::live_cost::{self, LiveCost};
use super::live_history::LiveHistory;
use super::order;
use super::wish::Wish;

/// The most rows of a table. The other rows are only counted.
const ROWS: usize = 200;
/// The most runners in the waterfall. The newest that this process launched are shown.
const FALLS: usize = 24;
/// How many repositories the jobs are counted for.
const REPOS: usize = 12;
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
    /// The part of the page that says more. Empty: none.
    pub more: &'static str,
}

/// One thing that somebody should do something about.
#[derive(Clone, Debug, Default)]
pub struct AttentionRow {
    /// The thing.
    pub item: AttentionView,
    /// What the jobs do that the row counts: `job waits`, `jobs lost`.
    pub jobs: String,
    /// Since when, as the time of day, with the date if that is another day.
    pub clock: String,
    /// How long ago that was. Empty: no beginning is known.
    pub ago: String,
    /// The address with more about it.
    pub link: String,
    /// The name of the link.
    pub name: String,
    /// What the instance said that it is about. None: nothing is known.
    pub said: Option<String>,
}

/// The jobs of one repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepoRow {
    /// `OWNER/NAME`.
    pub repo: String,
    /// The jobs that wait.
    pub waiting: u32,
    /// The jobs that run.
    pub running: u32,
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

/// A pool's row in the table of waits.
#[derive(Clone, Debug, Default)]
pub struct WaitRow {
    /// The pool.
    pub pool: PoolView,
    /// How long jobs waited in each hour of the last day, as SVG. Empty: fewer than two hours were seen.
    pub hours: String,
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
    /// What is asked for.
    pub wish: Wish,
    /// What somebody should do something about, worst first.
    pub attention: Vec<AttentionRow>,
    /// Since when nothing needs attention: the time of day, and how long ago. None: something does, or nothing is known.
    pub well: Option<(String, String)>,
    /// The repositories with the most jobs.
    pub repos: Vec<RepoRow>,
    /// The names of the repositories that have jobs.
    pub repo_names: Vec<String>,
    /// The words of the reasons that jobs have now.
    pub reasons: Vec<String>,
    /// The names of all pools.
    pub names: Vec<String>,
    /// The numbers at the top of the page.
    pub tiles: Vec<Tile>,
    /// The pools.
    pub pools: Vec<PoolRow>,
    /// How long the jobs of the pools wait.
    pub waits: Vec<WaitRow>,
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
    /// The last day.
    pub history: LiveHistory,
    /// The events, newest first.
    pub events: Vec<EventRow>,
    /// The budgets, and then GitHub's limits.
    pub budgets: Vec<BudgetRow>,
    /// What the instances cost, and who used them.
    pub cost: LiveCost,
    /// What the cost covers. Empty: there are no prices.
    pub cost_note: String,
    /// Whether the drawings and the cost were made. If not, the page keeps those that it has.
    pub drawn: bool,
    /// Whether this is a replay. What the page gathers by looking, the cost and the last day, is not in a record.
    pub replay: bool,
    /// Why nothing can be shown. Empty: there is no trouble.
    pub trouble: String,
}

impl Live {
    /// The same page of a replay: without the cost and the last day.
    pub fn of_replay(mut self) -> Live {
        self.tiles.retain(|tile| tile.id != "t-cost");
        self.replay = true;
        self
    }

    /// What the page shows.
    pub fn new(s: &Snapshot, wish: &Wish, watch: &Watch, drawn: bool) -> Live {
        let ours = |pool: &str| wish.pool.is_empty() || wish.pool == pool;
        let cost = watch.cost();
        let by_id: BTreeMap<u64, &JobView> = s.jobs.iter().map(|job| (job.id, job)).collect();
        let mut jobs: Vec<&JobView> = s.jobs.iter().filter(|job| wish.takes_job(job)).collect();
        wish.sort_jobs(&mut jobs);
        let job_of = |r: &RunnerView| r.job.and_then(|job| by_id.get(&job)).copied();
        let mut runners: Vec<&RunnerView> = s.runners.iter().filter(|r| wish.takes_runner(r, job_of(r))).collect();
        let falls = if drawn { falls(&runners) } else { Default::default() };
        let tiles = tiles(&jobs, &runners, &cost, &wish.pool);
        wish.sort_runners(&mut runners, attention);
        let pool = |p: &PoolView| {
            let (past, every) = watch.past(&p.name);
            PoolRow { spark: spark(&p.name, &past, every), cost: priced(&cost, &p.name), phases: phases(p), pool: p.clone() }
        };
        let mut pools: Vec<&PoolView> = s.pools.iter().filter(|p| ours(&p.name)).collect();
        let mut waits = pools.clone();
        order::sort_pools(&mut pools, &wish.pools, &cost);
        order::sort_waits(&mut waits, &wish.waits);
        let events = s.events.iter().filter(|e| e.pool.as_deref().is_none_or(ours)).take(EVENTS);
        let mut events: Vec<EventRow> = events.map(event_row).collect();
        order::sort_events(&mut events, &wish.events);
        let mut budgets = budgets(s);
        order::sort_budgets(&mut budgets, &wish.budgets);
        let (repo_names, reasons): (BTreeSet<&str>, BTreeSet<&str>) =
            (s.jobs.iter().map(|j| j.repo.as_str()).collect(), s.jobs.iter().map(|j| j.why.as_str()).collect());
        Live {
            wish: wish.clone(),
            attention: s.attention.iter().map(|item| attention_row(item, s.now)).collect(),
            well: s.well_since.map(|at| (day_clock(at, s.now), age(s.now.saturating_sub(at) / 1000))),
            repos: repos(&jobs),
            // What is asked for stays in the form, although nothing has it now.
            repo_names: with(&wish.repo, repo_names.into_iter().take(ROWS)),
            reasons: with(&wish.reason, reasons.into_iter()),
            names: with(if wish.pool == "none" { "" } else { &wish.pool }, s.pools.iter().map(|p| p.name.as_str())),
            tiles,
            pools: pools.into_iter().take(ROWS).map(pool).collect(),
            waits: waits.into_iter().take(ROWS).map(|pool| wait_row(pool, s.now)).collect(),
            more_jobs: jobs.len().saturating_sub(ROWS),
            jobs: jobs.into_iter().take(ROWS).map(job_row).collect(),
            more_runners: runners.len().saturating_sub(ROWS),
            runners: runners.into_iter().take(ROWS).map(runner_row).collect(),
            falls,
            events,
            budgets,
            cost_note: note(&cost),
            cost: LiveCost::new(&cost, s.now, &wish.cost),
            history: if drawn { LiveHistory::new(&watch.history(s, &wish.pool), s.now, &wish.pool) } else { Default::default() },
            drawn,
            replay: false,
            trouble: String::new(),
        }
    }
}

/// The texts, and one more unless it is empty or among them.
fn with<'a>(wanted: &str, texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = texts.map(str::to_owned).collect();
    if !wanted.is_empty() && !all.iter().any(|text| text == wanted) {
        all.push(wanted.to_owned());
    }
    all
}

/// The page's icon: a calm dot; or a triangle with the number of what needs attention.
pub fn icon(needs: usize) -> String {
    let begin = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E";
    let number = if needs > 9 { "9+".to_owned() } else { needs.to_string() };
    let (size, end) = (if needs > 9 { 15 } else { 19 }, "%3C/svg%3E");
    match needs {
        0 => format!("{begin}%3Ccircle cx='16' cy='16' r='12' fill='%232f8f5b'/%3E{end}"),
        _ => format!(
            "{begin}%3Cpath d='M16 0l16 31H0z' fill='%23d3382a'/%3E%3Ctext x='16' y='28' font-family='sans-serif' \
             font-weight='bold' font-size='{size}' text-anchor='middle' fill='%23fff'%3E{number}%3C/text%3E{end}"
        ),
    }
}

/// A time for a table. A dash: there is none.
pub fn seconds(seconds: &Option<u64>) -> String {
    seconds.map_or_else(|| "–".into(), age)
}

/// `22s / 1m 20s`: half, and nine of ten. A dash: nothing was seen.
pub fn span(told: &Option<SpanView>) -> String {
    told.map_or_else(|| "–".into(), |told| format!("{} / {}", rounded(told.median_seconds), rounded(told.most_seconds)))
}

/// The medians of the last hour and of the last day.
pub fn medians(hour: &Option<SpanView>, day: &Option<SpanView>) -> String {
    let one = |told: &Option<SpanView>| told.map_or_else(|| "–".into(), |told| rounded(told.median_seconds));
    if hour.is_none() && day.is_none() { "–".into() } else { format!("{} / {}", one(hour), one(day)) }
}

fn rounded(seconds: f64) -> String {
    human(Duration::from_secs(seconds.ceil().max(0.0) as u64)).to_string()
}

/// The time of day in UTC to the minute, with the date if that is another day than now.
pub fn day_clock(at_ms: u64, now_ms: u64) -> String {
    let minute = clock(at_ms).chars().take(5).collect::<String>();
    let day = |ms: u64| ms / 86_400_000;
    let date = chrono::DateTime::from_timestamp_millis(i64::try_from(at_ms).unwrap_or(i64::MAX));
    match date.filter(|_| day(at_ms) != day(now_ms)) {
        Some(date) => format!("{} {minute}", date.format("%-d %b")),
        None => minute,
    }
}

fn attention_row(item: &AttentionView, now: u64) -> AttentionRow {
    let Target { kind, id } = &item.about;
    let known = item.since < now;
    let (link, name) = match kind.as_str() {
        "budgets" => ("#budgets".into(), "API budgets".into()),
        _ if item.word == "full" => {
            (format!("{}#jobs", Wish { pool: id.clone(), ..Wish::default() }.address()), format!("who fills {id}"))
        }
        _ => (format!("/explain/{kind}/{id}"), format!("{kind} {id}")),
    };
    let jobs = match (item.word.as_str(), item.jobs) {
        ("lost", 1) => "job lost",
        ("lost", _) => "jobs lost",
        ("foreign_job" | "name_taken", 1) => "job",
        ("foreign_job" | "name_taken", _) => "jobs",
        (_, 1) => "job waits",
        _ => "jobs wait",
    };
    let ago = if known { age((now - item.since) / 1000) } else { String::new() };
    AttentionRow { item: item.clone(), jobs: jobs.into(), clock: day_clock(item.since, now), ago, link, name, said: None }
}

/// The repositories with the most of these jobs.
pub(super) fn repos(jobs: &[&JobView]) -> Vec<RepoRow> {
    let mut all: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for job in jobs {
        let (waiting, running) = all.entry(&job.repo).or_default();
        if job.state == JobState::Queued { *waiting += 1 } else { *running += 1 }
    }
    let row = |(repo, (waiting, running)): (&str, (u32, u32))| RepoRow { repo: repo.to_owned(), waiting, running };
    let mut rows: Vec<RepoRow> = all.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.waiting + row.running));
    rows.truncate(REPOS);
    rows
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
    coarse(Duration::from_secs(seconds)).to_string()
}

fn tiles(jobs: &[&JobView], runners: &[&RunnerView], cost: &CostView, only_pool: &str) -> Vec<Tile> {
    let jobs_in = |state: JobState| jobs.iter().filter(|j| j.state == state).count();
    let in_phase = |phases: &[Phase]| runners.iter().filter(|r| phases.contains(&r.phase)).count();
    let all = runners.iter().filter(|r| r.phase != Phase::Gone).count();
    // `1 job queued`, `2 jobs queued`: the number stands above its label.
    let tile = |id, n: usize, one: &str, what: &str| {
        let label = format!("{one}{} {what}", if n == 1 { "" } else { "s" });
        Tile { id, number: n.to_string(), label, more: "" }
    };
    let mut tiles = vec![
        tile("t-queued", jobs_in(JobState::Queued), "job", "queued"),
        tile("t-running", jobs_in(JobState::InProgress), "job", "running"),
        tile("t-idle", in_phase(&[Phase::Idle]), "runner", "idle"),
        tile("t-starting", in_phase(&STARTING), "runner", "starting"),
        tile("t-runners", all, "runner", "in all"),
    ];
    tiles.push(live_cost::tile(cost, only_pool));
    tiles
}

pub(super) fn money(amount: f64, currency: &str) -> String {
    format!("{amount:.2} {currency}")
}

pub(super) fn priced(cost: &CostView, pool: &str) -> String {
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

fn wait_row(pool: &PoolView, now: u64) -> WaitRow {
    let hours = live_charts::hours(&pool.name, &pool.waits.hours, now).unwrap_or_default();
    WaitRow { pool: pool.clone(), hours }
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
