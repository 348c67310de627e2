//! What a reader wants to see of the live page: filters and orders, which stay in the page's address, and the one field that finds
//! everything.

use std::cmp::Reverse;

use muster_operations::subject::Subject;
use muster_reconciler::mark::StateMark;
use muster_reconciler::runner::Phase;
use muster_reconciler::view::{JobView, RunnerView, Snapshot};
use serde::{Deserialize, Serialize};

use super::order::split;

/// What the page may be asked for. Unknown names are ignored, because a misspelt filter shows too much, and not too little.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// The only pool to show. Empty: all pools.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// The only repository to show. Empty: all repositories.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// The only state to show, by the word of its mark. Empty: all states.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// The only reason to show, by its word. Empty: all reasons.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A part of an id or of a name, or a label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
    /// The order of the jobs: the word of a column, after a `-` if the greatest comes first. Empty: what waits longest comes first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jobs: String,
    /// The order of the runners, in the same way. Empty: those in trouble come first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runners: String,
    /// The order of the pools.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pools: String,
    /// The order of the table of waits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub waits: String,
    /// The order of the tables of the cost.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cost: String,
    /// The order of the events. Empty: the newest come first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub events: String,
    /// The order of the budgets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub budgets: String,
    /// What the page is about: `job/ID`, `runner/ID` or `pool/NAME`. Empty: everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
}

impl Wish {
    /// What the query of an address asks for.
    pub fn of(query: &str) -> Wish {
        serde_urlencoded::from_str(query).unwrap_or_default()
    }

    /// The address of the page with this wish.
    pub fn address(&self) -> String {
        format!("/?{}", serde_urlencoded::to_string(self).unwrap_or_default())
    }

    /// Whether the page leaves something out.
    pub fn filters(&self) -> bool {
        [&self.pool, &self.repo, &self.state, &self.reason, &self.q].iter().any(|text| !text.is_empty())
    }

    /// Whether a state is asked for that does not exist.
    pub fn odd_state(&self) -> bool {
        !self.state.is_empty() && !StateMark::ALL.iter().any(|mark| mark.as_str() == self.state)
    }

    /// The address of the page that shows one repository.
    pub fn of_repo(&self, repo: &str) -> String {
        Wish { repo: repo.to_owned(), ..self.clone() }.address()
    }

    /// The orders that are asked for: each table with its order.
    pub fn orders(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("jobs", &self.jobs),
            ("runners", &self.runners),
            ("pools", &self.pools),
            ("waits", &self.waits),
            ("cost", &self.cost),
            ("events", &self.events),
            ("budgets", &self.budgets),
        ];
        all.into_iter().filter(|(_, order)| !order.is_empty()).map(|(table, order)| (table, order.as_str())).collect()
    }

    /// The address of the page with a table in the order of a column. The same column again turns the order.
    pub fn by(&self, table: &str, column: &str) -> String {
        let mut wish = self.clone();
        let order = match table {
            "jobs" => &mut wish.jobs,
            "runners" => &mut wish.runners,
            "pools" => &mut wish.pools,
            "waits" => &mut wish.waits,
            "cost" => &mut wish.cost,
            "events" => &mut wish.events,
            _ => &mut wish.budgets,
        };
        *order = turned(order, column);
        wish.address()
    }

    /// The value of `aria-sort` for a column.
    pub fn sorted(&self, table: &str, column: &str) -> &'static str {
        let order = self.orders().into_iter().find(|(known, _)| *known == table).map_or("", |(_, order)| order);
        match order.strip_prefix('-') {
            Some(known) if known == column => "descending",
            None if order == column => "ascending",
            _ => "none",
        }
    }

    /// Whether a job is shown.
    pub fn takes_job(&self, job: &JobView) -> bool {
        let is = |wanted: &str, text: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(text);
        is(&self.pool, job.pool.as_deref().unwrap_or("none"))
            && is(&self.repo, &job.repo)
            && is(&self.state, job.mark.as_str())
            && (is(&self.reason, &job.why) || self.reason == job.code.word())
            && self.names_job(job)
    }

    fn names_job(&self, job: &JobView) -> bool {
        let q = self.q.to_ascii_lowercase();
        let has = |text: &str| text.to_ascii_lowercase().contains(&q);
        q.is_empty()
            || job.id.to_string() == q
            || job.run.to_string() == q
            || [&job.repo, &job.title, &job.branch].into_iter().any(|text| has(text))
            || job.labels.iter().any(|label| has(label))
            || job.runner.as_deref().is_some_and(has)
    }

    /// Whether a runner is shown. `job` is the job that the runner has.
    pub fn takes_runner(&self, runner: &RunnerView, job: Option<&JobView>) -> bool {
        let is = |wanted: &str, text: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(text);
        let q = self.q.to_ascii_lowercase();
        is(&self.pool, &runner.pool)
            && (self.repo.is_empty() || job.is_some_and(|job| is(&self.repo, &job.repo)))
            && is(&self.state, runner.mark.as_str())
            && is(&self.reason, runner.code.word())
            && (q.is_empty()
                || runner.name.to_ascii_lowercase().contains(&q)
                || runner.instance_type.as_deref().is_some_and(|kind| kind.contains(&q))
                || job.is_some_and(|job| self.names_job(job)))
    }

    /// Brings jobs into the order that is asked for.
    pub fn sort_jobs(&self, jobs: &mut [&JobView]) {
        let (column, turned) = split(&self.jobs);
        match column {
            "id" => jobs.sort_by_key(|job| job.id),
            "repo" => jobs.sort_by(|a, b| (&a.repo, a.id).cmp(&(&b.repo, b.id))),
            "pool" => jobs.sort_by(|a, b| (&a.pool, a.id).cmp(&(&b.pool, b.id))),
            "labels" => jobs.sort_by(|a, b| (&a.labels, a.id).cmp(&(&b.labels, b.id))),
            "age" => jobs.sort_by_key(|job| (job.age_seconds, job.id)),
            "state" => jobs.sort_by_key(|job| (job.mark, Reverse(job.age_seconds), job.id)),
            _ => jobs.sort_by_key(|job| (job.state, job.mark, Reverse(job.age_seconds), job.id)),
        }
        if turned {
            jobs.reverse();
        }
    }

    /// Brings runners into the order that is asked for. `rank` gives the order if none is.
    pub fn sort_runners(&self, runners: &mut [&RunnerView], rank: fn(Phase) -> u8) {
        let (column, turned) = split(&self.runners);
        match column {
            "id" => runners.sort_by(|a, b| a.instance.cmp(&b.instance)),
            "pool" => runners.sort_by(|a, b| (&a.pool, &a.instance).cmp(&(&b.pool, &b.instance))),
            "type" => runners.sort_by(|a, b| (&a.instance_type, &a.instance).cmp(&(&b.instance_type, &b.instance))),
            "job" => runners.sort_by(|a, b| (&a.job, &a.instance).cmp(&(&b.job, &b.instance))),
            "age" => runners.sort_by(|a, b| (a.age_seconds, &a.instance).cmp(&(b.age_seconds, &b.instance))),
            "state" => runners.sort_by(|a, b| (a.mark, &a.instance).cmp(&(b.mark, &b.instance))),
            _ => runners.sort_by_key(|runner| rank(runner.phase)),
        }
        if turned {
            runners.reverse();
        }
    }
}

fn turned(order: &str, column: &str) -> String {
    if order == column { format!("-{column}") } else { column.to_owned() }
}

/// The address to which the field "Find" leads: the page of one thing, or the tables with what fits.
pub fn find(text: &str, seen: &Snapshot) -> String {
    let text = text.trim();
    let named = |q: &str| Wish { q: q.to_owned(), ..Wish::default() }.address();
    let is_run = seen.jobs.iter().any(|job| job.run.to_string() == text);
    match text.parse::<Subject>() {
        Ok(_) if is_run => named(text),
        // A word may be a label as well.
        Ok(Subject::Pool(name)) if name == text && !seen.pools.iter().any(|pool| pool.name == name) => named(text),
        Ok(subject) => format!("/explain/{subject}"),
        Err(_) => match text.split_once("://") {
            Some((_, rest)) => of_address(rest, named),
            None => match seen.jobs.iter().find(|job| job.repo.eq_ignore_ascii_case(text)) {
                Some(job) => Wish { repo: job.repo.clone(), ..Wish::default() }.address(),
                None => named(text),
            },
        },
    }
}

/// The address of a run or a repository at GitHub.
fn of_address(rest: &str, named: impl Fn(&str) -> String) -> String {
    let path: Vec<&str> = rest.split(['?', '#']).next().unwrap_or_default().split('/').filter(|part| !part.is_empty()).collect();
    let after = |word: &str| path.iter().position(|part| *part == word).and_then(|at| path.get(at + 1)).copied();
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match (after("runs").filter(number), path.get(1..3)) {
        (Some(run), _) => named(run),
        (None, Some(repo)) => Wish { repo: repo.join("/"), ..Wish::default() }.address(),
        _ => named(rest),
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::view::PoolView;

    use super::*;

    fn job(id: u64, repo: &str, mark: StateMark) -> JobView {
        let (pool, labels) = (Some("linux".into()), vec!["self-hosted".into(), "gpu".into()]);
        JobView { id, run: id + 1000, repo: repo.into(), mark, pool, labels, age_seconds: id, ..JobView::default() }
    }

    #[test]
    fn one_field_finds_jobs_runs_runners_pools_repositories_and_labels() {
        let pools = vec![PoolView { name: "linux".into(), ..PoolView::default() }];
        let seen = Snapshot { jobs: vec![job(7, "acme/web", StateMark::Waits)], pools, ..Snapshot::default() };
        for (text, address) in [
            (" 7 ", "/explain/job/7"),
            ("1007", "/?q=1007"),
            ("99", "/explain/job/99"),
            ("job/7", "/explain/job/7"),
            ("https://github.com/acme/web/actions/runs/332/job/1331?pr=2", "/explain/job/1331"),
            ("https://github.com/acme/web/actions/runs/332", "/?q=332"),
            ("https://github.com/acme/web", "/?repo=acme%2Fweb"),
            ("i-00047d1b4a428879a", "/explain/runner/i-00047d1b4a428879a"),
            ("prod.linux.i-00047d1b4a428879a", "/explain/runner/i-00047d1b4a428879a"),
            ("linux", "/explain/pool/linux"),
            ("Acme/Web", "/?repo=acme%2Fweb"),
            ("gpu", "/?q=gpu"),
            ("//evil.example", "/?q=%2F%2Fevil.example"),
            ("https://evil.example", "/?q=evil.example"),
            ("i-\"><script>", "/?q=i-%22%3E%3Cscript%3E"),
        ] {
            assert_eq!(find(text, &seen), address, "{text}");
        }
    }

    #[test]
    fn filters_and_orders_stay_in_the_address() {
        let wish = Wish::of("pool=linux&repo=acme%2Fweb&state=blocked&odd=1");
        assert_eq!((wish.pool.as_str(), wish.repo.as_str(), wish.filters()), ("linux", "acme/web", true));
        assert_eq!(wish.by("jobs", "age"), "/?pool=linux&repo=acme%2Fweb&state=blocked&jobs=age");
        let sorted = Wish::of("jobs=age");
        assert_eq!((sorted.by("jobs", "age"), sorted.sorted("jobs", "age")), ("/?jobs=-age".into(), "ascending"));
        assert_eq!(
            [Wish::of("state=odd"), Wish::of("state=idle"), Wish::default()].map(|wish| wish.odd_state()),
            [true, false, false]
        );
        for table in ["jobs", "runners", "pools", "waits", "cost", "events", "budgets"] {
            let (once, twice) = (format!("/?pool=linux&{table}=x"), format!("/?pool=linux&{table}=-x"));
            let begun = Wish::of("pool=linux");
            let first = Wish::of(&begun.by(table, "x")[2..]);
            assert_eq!((begun.by(table, "x"), first.by(table, "x")), (once, twice), "{table}");
            assert_eq!((first.sorted(table, "x"), first.orders()), ("ascending", vec![(table, "x")]), "{table}");
        }
        assert_eq!((sorted.sorted("runners", "age"), Wish::of("%%%"), sorted.filters()), ("none", Wish::of("%%%"), false));
    }

    #[test]
    fn jobs_are_filtered_and_sorted() {
        let (a, b, c) =
            (job(1, "acme/web", StateMark::Waits), job(2, "acme/api", StateMark::Trouble), job(3, "acme/web", StateMark::Waits));
        let order = |query: &str| {
            let wish = Wish::of(query);
            let mut jobs: Vec<&JobView> = [&a, &b, &c].into_iter().filter(|job| wish.takes_job(job)).collect();
            wish.sort_jobs(&mut jobs);
            jobs.iter().map(|job| job.id).collect::<Vec<_>>()
        };
        assert_eq!(order(""), [2, 3, 1], "trouble first, then what waits longest");
        assert_eq!((order("jobs=id"), order("jobs=-id")), (vec![1, 2, 3], vec![3, 2, 1]));
        assert_eq!((order("repo=acme/web"), order("state=trouble"), order("q=1003")), (vec![3, 1], vec![2], vec![3]));
        assert_eq!((order("q=GPU").len(), order("q=tpu").len(), order("pool=none").len()), (3, 0, 0));
    }
}
