//! Workflow runs: whether one is over and how its jobs ended, and the orders to run jobs again and to cancel a run.

use http::Method;
use muster_reconciler::effect::Outcome;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, JobId, RunId, Scope};
use muster_reconciler::rerun::{Again, EndedJob, RunSighting};
use serde::Deserialize;

use super::{ApiCall, GitHub};

/// The most pages of 100 jobs that are read of one run. GitHub admits 256 jobs in a matrix; a run may have several.
/// <https://docs.github.com/en/actions/reference/limits#existing-system-limits>
const PAGES_MAX: u32 = 20;

#[derive(Deserialize)]
struct RunAnswer {
    status: Option<String>,
    run_attempt: Option<u32>,
}

#[derive(Deserialize)]
struct JobsPage {
    total_count: u64,
    jobs: Vec<RunJobRow>,
}

#[derive(Deserialize)]
struct RunJobRow {
    id: u64,
    name: String,
    conclusion: Option<String>,
}

impl GitHub {
    /// Asks for a run of `repo` (`OWNER/NAME`), and for its jobs if it is over. The outcome is `Run` or `Failed`, with `NotFound` if
    /// GitHub shows no such run.
    /// <https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run>
    pub async fn run(&self, app: &AppName, repo: &str, run: RunId) -> Outcome {
        self.read_run(app, repo, run).await.map_or_else(Outcome::Failed, Outcome::Run)
    }

    async fn read_run(&self, app: &AppName, repo: &str, run: RunId) -> Result<RunSighting, Failure> {
        let what = format!("get run {run} of {repo}");
        let scope = repository(repo, &what)?;
        let path = format!("/repos/{repo}/actions/runs/{run}");
        let call = ApiCall { needs: READS, ..ApiCall::new("github.GetRun", Method::GET, &path, what) };
        let found: RunAnswer = self.app(app, &call)?.call(&scope, &call).await?.json(&call)?;
        let (over, attempt) = (found.status.as_deref() == Some("completed"), found.run_attempt.unwrap_or(1));
        let jobs = if over { self.jobs_of(app, &scope, &path).await? } else { Vec::new() };
        Ok(RunSighting { over, attempt, jobs })
    }

    /// The jobs of a run's newest attempt.
    /// <https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run>
    async fn jobs_of(&self, app: &AppName, scope: &Scope, run: &str) -> Result<Vec<EndedJob>, Failure> {
        let mut jobs = Vec::new();
        for page in 1..=PAGES_MAX {
            let path = format!("{run}/jobs?filter=latest&per_page=100&page={page}");
            let what = format!("list the jobs of {run}, page {page}");
            let call = ApiCall { needs: READS, ..ApiCall::new("github.ListRunJobs", Method::GET, path, what) };
            let found: JobsPage = self.app(app, &call)?.call(scope, &call).await?.json(&call)?;
            let last = found.jobs.is_empty();
            jobs.extend(found.jobs.into_iter().map(|row| EndedJob {
                job: JobId(row.id),
                name: row.name,
                conclusion: row.conclusion,
            }));
            if last || jobs.len() as u64 >= found.total_count {
                return Ok(jobs);
            }
        }
        // A part of the jobs would hide one that failed by itself.
        let message = format!("list the jobs of {run}: it has more than {} jobs; run them again by hand", PAGES_MAX * 100);
        Err(Failure::new(FailureKind::Refused, message))
    }

    /// Asks GitHub to run jobs of a run again: all that failed or were cancelled, or one. Those that need them run again, too. The
    /// outcome is `Done` or `Failed`.
    /// <https://docs.github.com/en/rest/actions/workflow-runs#re-run-a-job-from-a-workflow-run>
    pub async fn rerun(&self, app: &AppName, repo: &str, run: RunId, again: &Again) -> Outcome {
        let (path, what) = match again {
            Again::Job(job) => (format!("/repos/{repo}/actions/jobs/{job}/rerun"), format!("run job {job} of {repo} again")),
            Again::Failed => (
                format!("/repos/{repo}/actions/runs/{run}/rerun-failed-jobs"),
                format!("run the failed jobs of run {run} of {repo} again"),
            ),
        };
        let scope = match repository(repo, &what) {
            Ok(scope) => scope,
            Err(failure) => return Outcome::Failed(failure),
        };
        let call = ApiCall {
            needs: "the repository permission `Actions: write` (a token: the scope `repo`), because spec.rerun is set",
            ..ApiCall::new("github.RerunJobs", Method::POST, path, what)
        };
        self.order(app, &scope, &call).await.map_or_else(Outcome::Failed, |()| Outcome::Done)
    }

    /// Asks GitHub to cancel a whole run. The outcome is `Done` or `Failed`, with `Conflict` if the run is over.
    /// <https://docs.github.com/en/rest/actions/workflow-runs#cancel-a-workflow-run>
    pub async fn cancel(&self, app: &AppName, repo: &str, run: RunId) -> Outcome {
        let what = format!("cancel run {run} of {repo}");
        let scope = match repository(repo, &what) {
            Ok(scope) => scope,
            Err(failure) => return Outcome::Failed(failure),
        };
        let path = format!("/repos/{repo}/actions/runs/{run}/cancel");
        let call = ApiCall {
            needs: "the repository permission `Actions: write` (a token: the scope `repo`), because spec.startWithin has `cancel`",
            ..ApiCall::new("github.CancelRun", Method::POST, path, what)
        };
        self.order(app, &scope, &call).await.map_or_else(Outcome::Failed, |()| Outcome::Done)
    }

    async fn order(&self, app: &AppName, scope: &Scope, call: &ApiCall) -> Result<(), Failure> {
        self.app(app, call)?.call(scope, call).await?;
        Ok(())
    }
}

/// What the questions about a run need.
const READS: &str = "the repository permission `Actions: read` (a token: the scope `repo`)";

/// The repository's scope. Its name comes from an event, so nothing but a repository's name may get into a path.
pub(crate) fn repository(repo: &str, what: &str) -> Result<Scope, Failure> {
    let refused = |_| Failure::new(FailureKind::Refused, format!("{what}: `{repo}` is no repository's name (OWNER/NAME)"));
    format!("repo/{repo}").parse().map_err(refused)
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = (answer.json::<RunAnswer>(call), answer.json::<JobsPage>(call));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake::{Fake, reply};
    use super::*;

    #[tokio::test]
    async fn a_run_is_read_with_all_its_jobs_once_it_is_over() {
        let fake = Fake::start(|ask| match format!("{}?{}", ask.path, ask.query).trim_end_matches('?') {
            "/repos/acme/app/actions/runs/1" => reply(200, json!({"id": 1, "status": "in_progress", "run_attempt": 2})),
            "/repos/acme/app/actions/runs/2" => reply(200, json!({"id": 2, "status": "completed", "run_attempt": 3})),
            "/repos/acme/app/actions/runs/2/jobs?filter=latest&per_page=100&page=1" => {
                reply(200, json!({"total_count": 2, "jobs": [{"id": 8, "name": "test (8)", "conclusion": "cancelled"}]}))
            }
            "/repos/acme/app/actions/runs/2/jobs?filter=latest&per_page=100&page=2" => {
                reply(200, json!({"total_count": 2, "jobs": [{"id": 9, "name": "test (9)", "conclusion": "success"}]}))
            }
            _ => reply(404, json!({"message": "Not Found"})),
        })
        .await;
        let (app, github) = ("main".into(), fake.github());
        let goes_on = RunSighting { over: false, attempt: 2, jobs: vec![] };
        assert_eq!(github.run(&app, "acme/app", RunId(1)).await, Outcome::Run(goes_on));
        let job = |job, conclusion: &str| EndedJob {
            job: JobId(job),
            name: format!("test ({job})"),
            conclusion: Some(conclusion.into()),
        };
        let over = RunSighting { over: true, attempt: 3, jobs: vec![job(8, "cancelled"), job(9, "success")] };
        assert_eq!(github.run(&app, "acme/app", RunId(2)).await, Outcome::Run(over));
        let gone = github.run(&app, "acme/app", RunId(3)).await;
        assert!(matches!(gone, Outcome::Failed(Failure { kind: FailureKind::NotFound, .. })), "{gone:?}");
        let asked = fake.count();
        let strange = github.run(&app, "acme/../x", RunId(1)).await;
        assert!(matches!(strange, Outcome::Failed(Failure { kind: FailureKind::Refused, .. })), "{strange:?}");
        assert_eq!(fake.count(), asked, "it is not sent");
    }

    #[tokio::test]
    async fn an_order_to_run_again_says_what_it_needs() {
        let fake = Fake::start(|ask| match (ask.method.as_str(), ask.path.as_str()) {
            ("POST", "/repos/acme/app/actions/jobs/8/rerun" | "/repos/acme/app/actions/runs/2/rerun-failed-jobs") => {
                reply(201, json!({}))
            }
            _ => reply(403, json!({"message": "Resource not accessible by integration"})),
        })
        .await;
        let (app, github) = ("main".into(), fake.github());
        for again in [Again::Job(JobId(8)), Again::Failed] {
            assert_eq!(github.rerun(&app, "acme/app", RunId(2), &again).await, Outcome::Done);
        }
        match github.rerun(&app, "acme/app", RunId(4), &Again::Failed).await {
            Outcome::Failed(failure) => {
                assert_eq!(failure.kind, FailureKind::Refused);
                assert!(failure.message.contains("`Actions: write`"), "{}", failure.message);
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the core does next depends on the kind alone. Of each answer there is one call: the core decides whether to try again.
    #[tokio::test]
    async fn the_core_is_told_why_an_order_was_not_taken_after_one_call() {
        for (status, kind, says) in [
            (403, FailureKind::Refused, "`Actions: write`"),
            (404, FailureKind::NotFound, "404 Not Found"),
            (409, FailureKind::Conflict, "409 Conflict"),
            (422, FailureKind::Refused, "422 Unprocessable Entity, \"so it is\""),
        ] {
            let fake = Fake::start(move |_| reply(status, json!({"message": "so it is"}))).await;
            let (app, github) = ("main".into(), fake.github());
            // The first call also asks for the installation and its token.
            let _ = github.run(&app, "acme/app", RunId(1)).await;
            let before = fake.count();
            let orders = [
                github.cancel(&app, "acme/app", RunId(2)).await,
                github.rerun(&app, "acme/app", RunId(2), &Again::Failed).await,
                github.rerun(&app, "acme/app", RunId(2), &Again::Job(JobId(8))).await,
            ];
            for outcome in orders {
                let Outcome::Failed(failure) = outcome else { panic!("{status}: {outcome:?}") };
                assert_eq!(failure.kind, kind, "{status}: {}", failure.message);
                assert!(failure.message.contains(says), "{status}: {}", failure.message);
                assert_eq!(failure.retry_after, None, "{status}: GitHub named no time");
            }
            assert_eq!(fake.count() - before, 3, "{status}: one call for each order");
        }
    }

    #[tokio::test]
    async fn a_cancellation_that_github_takes_is_done() {
        let fake = Fake::start(|ask| match (ask.method.as_str(), ask.path.as_str()) {
            ("POST", "/repos/acme/app/actions/runs/2/cancel") => reply(202, json!({})),
            _ => reply(404, json!({"message": "Not Found"})),
        })
        .await;
        assert_eq!(fake.github().cancel(&"main".into(), "acme/app", RunId(2)).await, Outcome::Done);
    }
}
