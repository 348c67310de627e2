//! The rows of `muster top`: pools, jobs and runners, each with its columns and its sentence. On a narrow terminal the counts give
//! way, because the sentence says what matters.

use muster_operations::subject::Subject;
use muster_operations::terminal::Ink;
use muster_reconciler::event::JobState;
use muster_reconciler::reason::Blocked;
use muster_reconciler::runner::Phase;
use muster_reconciler::view::{JobView, PoolView, RunnerView, Snapshot};

use crate::cli::show::age;
use crate::http::live_view::{attention, state_rank};

/// One kind of rows.
#[derive(Debug)]
pub(super) struct Section {
    /// The columns, before the one for the sentence.
    pub columns: &'static [Column],
    /// The rows.
    pub rows: Vec<Row>,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    /// The head.
    pub head: &'static str,
    /// Whether it holds numbers, which are aligned to the right.
    pub number: bool,
    /// The column is left out on a terminal that is narrower than this.
    pub least_width: usize,
}

/// One pool, job or runner.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What it is.
    pub subject: Subject,
    /// Its pool. None: it has none.
    pub pool: Option<String>,
    /// One cell for each column.
    pub cells: Vec<String>,
    /// How its state stands out.
    pub ink: Ink,
    /// The sentence.
    pub why: String,
}

const fn text(head: &'static str, least_width: usize) -> Column {
    Column { head, number: false, least_width }
}

const fn number(head: &'static str, least_width: usize) -> Column {
    Column { head, number: true, least_width }
}

const POOLS: [Column; 6] =
    [text("POOL", 0), text("STATE", 60), number("QUEUED", 0), number("WANTED", 90), number("SUPPLY", 90), number("MAX", 70)];
const JOBS: [Column; 7] = [
    text("JOB", 0),
    text("STATE", 50),
    text("POOL", 80),
    text("AGE", 0),
    text("REPOSITORY", 130),
    text("WORKFLOW / JOB", 160),
    text("BRANCH", 190),
];
const RUNNERS: [Column; 4] = [text("RUNNER", 0), text("PHASE", 0), text("POOL", 80), text("AGE", 60)];

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// Only this pool.
    pub pool: Option<String>,
    /// Only rows that hold this text, in any case.
    pub text: String,
}

impl Shown {
    fn shows(&self, row: &Row) -> bool {
        let of_pool = self.pool.is_none() || self.pool == row.pool;
        let wanted = self.text.to_lowercase();
        let holds = |text: &str| text.to_lowercase().contains(&wanted);
        of_pool && (wanted.is_empty() || holds(&row.why) || row.cells.iter().any(|cell| holds(cell)))
    }
}

/// All rows that are shown: pools, jobs, runners.
pub(super) fn sections(snapshot: &Snapshot, shown: &Shown) -> [Section; 3] {
    let mut jobs: Vec<&JobView> = snapshot.jobs.iter().collect();
    jobs.sort_by_key(|job| (state_rank(job.state), std::cmp::Reverse(job.age_seconds)));
    let mut runners: Vec<&RunnerView> = snapshot.runners.iter().collect();
    runners.sort_by_key(|runner| (attention(runner.phase), runner.age_seconds));
    let of = |columns: &'static [Column], rows: Vec<Row>| Section {
        columns,
        rows: rows.into_iter().filter(|row| shown.shows(row)).collect(),
    };
    [
        of(&POOLS, snapshot.pools.iter().map(pool).collect()),
        of(&JOBS, jobs.into_iter().map(job).collect()),
        of(&RUNNERS, runners.into_iter().map(runner).collect()),
    ]
}

fn pool(p: &PoolView) -> Row {
    let ink = if p.paused || Blocked::WORDS.contains(&p.code.word()) {
        Ink::Yellow
    } else if p.code.word() == "not_served" {
        Ink::Red
    } else {
        Ink::Plain
    };
    let state = if p.paused { "paused" } else { "active" };
    let counts = [p.queued, p.wanted, p.supply, p.max].map(|count| count.to_string());
    Row {
        subject: Subject::Pool(p.name.clone()),
        pool: Some(p.name.clone()),
        cells: [p.name.clone(), state.to_owned()].into_iter().chain(counts).collect(),
        ink,
        why: p.why(),
    }
}

fn job(j: &JobView) -> Row {
    let ink = match (j.state, j.why.as_str()) {
        (JobState::Queued, "unmatched" | "no_pool" | "not_served") => Ink::Red,
        (JobState::Queued, why) if Blocked::WORDS.contains(&why) => Ink::Yellow,
        (JobState::InProgress, _) => Ink::Green,
        _ => Ink::Plain,
    };
    let known = |text: &str| if text.is_empty() { "-".into() } else { text.to_owned() };
    let pool = j.pool.clone().unwrap_or_else(|| "-".into());
    let mut cells = vec![j.id.to_string(), j.state.to_string(), pool, age(j.age_seconds)];
    cells.extend([known(&j.repo), known(&j.title), known(&j.branch)]);
    Row { subject: Subject::Job(j.id), pool: j.pool.clone(), cells, ink, why: j.reason.clone() }
}

fn runner(r: &RunnerView) -> Row {
    let ink = match r.phase {
        Phase::Failed => Ink::Red,
        Phase::Interrupted => Ink::Yellow,
        Phase::Busy => Ink::Green,
        Phase::Terminating | Phase::Gone => Ink::Dim,
        _ => Ink::Plain,
    };
    Row {
        subject: Subject::Runner(r.instance.clone()),
        pool: Some(r.pool.clone()),
        cells: vec![r.instance.clone(), r.phase.to_string(), r.pool.clone(), age(r.age_seconds)],
        ink,
        why: r.reason.clone(),
    }
}
