//! What the page of one job, runner or pool shows, made of its explanation: the newest and most important first.

use std::time::Duration;

use muster_reconciler::event::JobState;
use muster_reconciler::runner::Phase;
use muster_reconciler::time::human;
use muster_reconciler::view::{EventView, Explanation, JobView, Snapshot, StepView};

use super::live_view::{self, RepoRow};
use super::wish::Wish;

/// An order that can be given from the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrderButton {
    /// The path of the order.
    pub path: String,
    /// The name of the button.
    pub name: &'static str,
    /// What the order does, and to how many, as a question.
    pub ask: String,
}

impl OrderButton {
    /// The same order on a terminal.
    pub fn command(&self) -> String {
        let mut parts = self.path.rsplit('/');
        let (verb, id, kind) = (parts.next(), parts.next(), parts.next());
        let (verb, id, kind) = (verb.unwrap_or_default(), id.unwrap_or_default(), kind.unwrap_or_default().trim_end_matches('s'));
        format!("muster {verb} {kind}/{id}")
    }
}

/// One part of the story.
#[derive(Clone, Debug, Default)]
pub struct StepRow {
    /// The part.
    pub step: StepView,
    /// How long it took or takes.
    pub took: String,
    /// The pool's usual time. Empty: too little was seen.
    pub usual: String,
    /// Whether it took much longer than usual.
    pub slow: bool,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct ToldPage {
    /// The answer of the core.
    pub e: Explanation,
    /// What the instance said of its end.
    pub ended: Option<String>,
    /// The parts of the story.
    pub steps: Vec<StepRow>,
    /// What happened to the thing itself, newest first.
    pub own: Vec<EventView>,
    /// What its pool did meanwhile, newest first.
    pub pools: Vec<EventView>,
    /// Orders that can be given.
    pub acts: Vec<OrderButton>,
    /// Of a pool: the repositories with the most jobs in it.
    pub who: Vec<RepoRow>,
}

/// From twice the usual time on, and 5 s more, a part of a story is slow.
const SLOW: (f64, f64) = (2.0, 5.0);

impl ToldPage {
    /// What the page shows of an explanation. `seen` has the counts of what an order touches.
    pub fn new(e: Explanation, ended: Option<String>, seen: Option<&Snapshot>) -> ToldPage {
        let steps = e.steps.iter().map(step_row).collect();
        let acts = seen.map(|seen| acts(&e, seen)).unwrap_or_default();
        let fills = |job: &&JobView| e.kind == "pool" && job.pool.as_deref() == Some(&e.id);
        let who = seen.map(|seen| live_view::repos(&seen.jobs.iter().filter(fills).collect::<Vec<_>>())).unwrap_or_default();
        let of_pool = |event: &EventView| e.kind == "job" && event.job.is_none() && event.what.is_of_pool();
        let (pools, own) = e.timeline.iter().rev().cloned().partition(of_pool);
        ToldPage { steps, own, pools, acts, who, ended, e }
    }

    /// The address of the live page with one repository's jobs in this pool.
    pub fn jobs_of(&self, repo: &str) -> String {
        format!("{}#jobs", Wish { pool: self.e.id.clone(), repo: repo.to_owned(), ..Wish::default() }.address())
    }

    /// How long ago something was.
    pub fn age(&self, at: &u64) -> String {
        human(Duration::from_millis(self.e.now.saturating_sub(*at))).to_string()
    }

    /// How long it is until then.
    pub fn left(&self, until: &u64) -> String {
        human(Duration::from_millis(until.saturating_sub(self.e.now))).to_string()
    }

    /// The time of day, UTC.
    pub fn clock(&self, at: &u64) -> String {
        live_view::clock(*at)
    }

    /// The other things that an event is about.
    pub fn whom(&self, e: &EventView) -> Vec<(&'static str, String)> {
        let all = [("job", e.job.map(|job| job.to_string())), ("runner", e.instance.clone()), ("pool", e.pool.clone())];
        all.into_iter().filter_map(|(kind, id)| id.map(|id| (kind, id))).filter(|(_, id)| *id != self.e.id).collect()
    }
}

fn step_row(step: &StepView) -> StepRow {
    let say = |seconds: f64| human(Duration::from_secs(seconds.round().max(0.0) as u64)).to_string();
    let slow = step.usual_seconds.is_some_and(|usual| step.seconds > usual * SLOW.0 + SLOW.1);
    StepRow { took: say(step.seconds), usual: step.usual_seconds.map(say).unwrap_or_default(), slow, step: step.clone() }
}

fn count(n: usize, one: &'static str) -> String {
    muster_reconciler::reason::count(n, one).to_string()
}

/// The orders for a pool, a runner or a job.
fn acts(e: &Explanation, seen: &Snapshot) -> Vec<OrderButton> {
    let mut acts = match e.kind.as_str() {
        "pool" => {
            seen.pools.iter().find(|pool| pool.name == e.id).map(|pool| pool_acts(pool.paused, &e.id, seen)).unwrap_or_default()
        }
        "runner" => runner_acts(&e.id, seen),
        _ => Vec::new(),
    };
    acts.extend((e.lost > 0).then(|| again(e)));
    acts
}

/// The order to run lost jobs again.
fn again(e: &Explanation) -> OrderButton {
    let jobs = count(usize::try_from(e.lost).unwrap_or(usize::MAX), "lost job");
    let (of, name) = match e.kind.as_str() {
        "pool" => (format!("of pool {}", e.id), "Run its lost jobs again"),
        _ => ("of this run".to_owned(), "Run it again"),
    };
    let ask = format!(
        "Run {jobs} {of} again? Jobs that need a lost job run again, too, and those that failed by themselves do not. GitHub is asked \
         once the run is over, and only if nobody has begun a newer attempt."
    );
    OrderButton { path: format!("/api/v1/{}s/{}/rerun", e.kind, e.id), name, ask }
}

fn pool_acts(paused: bool, name: &str, seen: &Snapshot) -> Vec<OrderButton> {
    let jobs = seen.jobs.iter().filter(|job| job.pool.as_deref() == Some(name) && job.state == JobState::Queued).count();
    let of_pool = || seen.runners.iter().filter(|r| r.pool == name && !matches!(r.phase, Phase::Gone | Phase::Terminating));
    let (runners, busy) = (of_pool().count(), of_pool().filter(|r| r.phase == Phase::Busy).count());
    let act = |verb: &str, button, ask| OrderButton { path: format!("/api/v1/pools/{name}/{verb}"), name: button, ask };
    let first = if paused {
        let ask = format!("Resume pool {name}? It launches again for {}.", count(jobs, "queued job"));
        act("resume", "Resume", ask)
    } else {
        let ask = format!(
            "Pause pool {name}? It launches nothing until it is resumed. Touched: {} in its queue; {} as before.",
            count(jobs, "job"),
            count(runners, "runner")
        );
        act("pause", "Pause the pool", ask)
    };
    let ask = format!(
        "Drain pool {name}? Touched: {}, each of which ends once no job runs on it; {busy} with a job now. New runners are launched for jobs{}.",
        count(runners, "runner"),
        if paused { " once the pool is resumed" } else { "" }
    );
    let drain = act("drain", "Drain its runners", ask);
    if runners > 0 { vec![first, drain] } else { vec![first] }
}

fn runner_acts(id: &str, seen: &Snapshot) -> Vec<OrderButton> {
    let Some(runner) = seen.runners.iter().find(|r| r.instance == id) else { return Vec::new() };
    if matches!(runner.phase, Phase::Draining | Phase::Terminating | Phase::Failed | Phase::Gone) {
        return Vec::new();
    }
    let has = runner.job.filter(|_| runner.phase == Phase::Busy);
    let has = has.map_or_else(|| "no job is known on it".to_owned(), |job| format!("job {job} runs on it and goes on"));
    let ask = format!("Drain this 1 runner, {id}? It ends once no job runs on it; {has}.");
    vec![OrderButton { path: format!("/api/v1/runners/{id}/drain"), name: "Drain the runner", ask }]
}

#[cfg(test)]
mod tests {
    use muster_reconciler::journal::What;
    use muster_reconciler::view::{PoolView, RunnerView};

    use super::*;

    #[test]
    fn an_order_is_asked_with_the_count_of_what_it_touches() {
        let job = JobView { pool: Some("linux".into()), ..JobView::default() };
        let runner = |phase| RunnerView { pool: "linux".into(), instance: "i-1".into(), phase, ..RunnerView::default() };
        let seen = |paused| Snapshot {
            pools: vec![PoolView { name: "linux".into(), paused, ..PoolView::default() }],
            jobs: vec![job.clone(), job.clone()],
            runners: vec![runner(Phase::Busy), runner(Phase::Gone)],
            ..Snapshot::default()
        };
        let pool = Explanation { kind: "pool".into(), id: "linux".into(), ..Explanation::default() };
        let told = ToldPage::new(pool.clone(), None, Some(&seen(false)));
        assert_eq!(
            told.acts.iter().map(|act| act.path.as_str()).collect::<Vec<_>>(),
            ["/api/v1/pools/linux/pause", "/api/v1/pools/linux/drain"]
        );
        assert!(told.acts[0].ask.contains("2 jobs in its queue; 1 runner as before"), "{}", told.acts[0].ask);
        assert!(
            told.acts[1].ask.contains("1 runner, each") && told.acts[1].ask.contains("; 1 with a job"),
            "{}",
            told.acts[1].ask
        );
        assert!(ToldPage::new(pool, None, Some(&seen(true))).acts[0].path.ends_with("/resume"));
        let lost = Explanation { kind: "job".into(), id: "7".into(), lost: 2, ..Explanation::default() };
        let told = ToldPage::new(lost, None, Some(&seen(false)));
        assert_eq!((told.acts.len(), told.acts[0].path.as_str()), (1, "/api/v1/jobs/7/rerun"));
        assert_eq!(told.acts[0].command(), "muster rerun job/7");
        assert!(told.acts[0].ask.starts_with("Run 2 lost jobs of this run again?"), "{}", told.acts[0].ask);
        let one = Explanation { kind: "runner".into(), id: "i-1".into(), ..Explanation::default() };
        assert_eq!(ToldPage::new(one, None, Some(&seen(false))).acts.len(), 1);
    }

    #[test]
    fn the_page_of_a_pool_tells_whose_jobs_fill_it_and_no_other_pools() {
        let job =
            |repo: &str, pool: &str, state| JobView { repo: repo.into(), pool: Some(pool.into()), state, ..JobView::default() };
        let jobs = vec![
            job("acme/api", "linux", JobState::Queued),
            job("acme/web", "linux", JobState::Queued),
            job("acme/web", "linux", JobState::InProgress),
            job("acme/web", "arm", JobState::Queued),
        ];
        let seen = Snapshot { jobs, ..Snapshot::default() };
        let of = |kind: &str| Explanation { kind: kind.into(), id: "linux".into(), ..Explanation::default() };
        let told = ToldPage::new(of("pool"), None, Some(&seen));
        let who: Vec<_> = told.who.iter().map(|row| (row.repo.as_str(), row.waiting, row.running)).collect();
        assert_eq!(who, [("acme/web", 1, 1), ("acme/api", 1, 0)]);
        assert_eq!(told.jobs_of("acme/web"), "/?pool=linux&repo=acme%2Fweb#jobs");
        assert!(ToldPage::new(of("runner"), None, Some(&seen)).who.is_empty());
    }

    #[test]
    fn the_launches_of_the_pool_are_kept_apart_and_the_newest_comes_first() {
        let event = |seq, what, job| EventView { seq, what, job, ..EventView::default() };
        let timeline =
            vec![event(1, What::JobQueued, Some(7)), event(2, What::Launch, None), event(3, What::JobStarted, Some(7))];
        let told =
            ToldPage::new(Explanation { kind: "job".into(), id: "7".into(), timeline, ..Explanation::default() }, None, None);
        let seqs = |events: &[EventView]| events.iter().map(|e| e.seq).collect::<Vec<_>>();
        assert_eq!((seqs(&told.own), seqs(&told.pools)), (vec![3, 1], vec![2]));
    }

    #[test]
    fn a_part_is_slow_from_twice_the_usual_time_on() {
        let slow = |seconds, usual_seconds| step_row(&StepView { seconds, usual_seconds, ..StepView::default() }).slow;
        assert_eq!([slow(30.0, Some(10.0)), slow(24.0, Some(10.0)), slow(900.0, None)], [true, false, false]);
    }
}
