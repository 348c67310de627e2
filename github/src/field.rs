//! What only the field test (`muster doctor --live`) asks of GitHub: the runs of a temporary workflow, one runner's row, and what
//! GitHub's headers say of the limits.
//! <https://docs.github.com/en/rest/actions/workflows> and <https://docs.github.com/en/rest/actions/workflow-runs>

use http::{HeaderMap, Method, StatusCode};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, ListId, RunnerId, Scope};
use serde::Deserialize;
use serde_json::json;

use super::runners::{REPOSITORY_GROUP, base};
use super::{ApiCall, GitHub, GoodAnswer};

/// The permission that is needed to start and to cancel runs.
const WRITE: &str = "the repository permission `Actions: read and write`";
/// The permission that is needed to look at runs.
const READ: &str = "the repository permission `Actions: read`";

/// A repository that an App has access to.
#[derive(Clone, Debug)]
pub struct Repo {
    /// The App, or the GitHubToken, that the requests are sent for.
    pub app: AppName,
    /// The repository's name: `OWNER/NAME`.
    pub name: String,
    scope: Scope,
}

/// A job of a workflow run.
#[derive(Clone, Debug, Deserialize)]
pub struct RunJob {
    /// The job's id at GitHub.
    pub id: u64,
    /// The job's status: `queued`, `in_progress`, `completed` or another one.
    pub status: String,
    /// When GitHub made the job, in RFC 3339.
    pub created_at: String,
    /// The name of the job's workflow.
    pub workflow_name: Option<String>,
    /// The id of the job's run.
    pub run_id: u64,
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<RunJob>,
}

#[derive(Deserialize)]
struct Dispatched {
    workflow_run_id: u64,
}

/// What the headers of an answer say of rate limits and of conditional requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// `x-ratelimit-resource`: the limit that the request counted against.
    pub resource: Option<String>,
    /// `x-ratelimit-remaining`: the number of requests that are left.
    pub remaining: Option<u64>,
    /// `etag`: the version of the answer.
    pub etag: Option<String>,
}

impl Headers {
    fn of(headers: &HeaderMap) -> Headers {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Headers {
            resource: text("x-ratelimit-resource"),
            remaining: text("x-ratelimit-remaining").and_then(|text| text.parse().ok()),
            etag: text("etag"),
        }
    }
}

/// The row of a runner in GitHub's list.
#[derive(Clone, Debug, Deserialize)]
pub struct FieldRow {
    /// The registration's id at GitHub.
    pub id: u64,
    /// The runner's name: `<cluster>.<pool>.<instance-id>` for a runner of muster's.
    pub name: String,
    /// The runner's status: `online` or `offline`.
    pub status: String,
    /// Whether the runner has a job.
    pub busy: bool,
}

#[derive(Deserialize)]
struct Rows {
    runners: Vec<FieldRow>,
}

#[derive(Deserialize)]
struct MintAnswer {
    runner: MintAnswerRunner,
}

#[derive(Deserialize)]
struct MintAnswerRunner {
    id: u64,
}

/// What two requests for the same list showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Twice {
    /// The headers of the first answer.
    pub first: Headers,
    /// The headers of the second answer, whose request had the first answer's ETag.
    pub second: Headers,
    /// Whether the second answer was `304 Not Modified`.
    pub unchanged: bool,
}

impl Repo {
    /// Reads a repository's name of the form `OWNER/NAME`.
    ///
    /// # Errors
    ///
    /// When `name` does not have this form.
    pub fn parse(app: &AppName, name: &str) -> Result<Repo, Failure> {
        let scope = format!("repo/{name}")
            .parse()
            .map_err(|_| Failure::new(FailureKind::Refused, format!("`{name}` is no repository's name; write OWNER/NAME")))?;
        Ok(Repo { app: app.clone(), name: name.to_owned(), scope })
    }

    /// The account that owns the repository.
    pub fn owner(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

impl GitHub {
    async fn of_repo(&self, repo: &Repo, call: ApiCall) -> Result<(ApiCall, GoodAnswer), Failure> {
        let answer = self.app(&repo.app, &call)?.call(&repo.scope, &call).await?;
        Ok((call, answer))
    }

    /// Whether the default branch has a workflow file with this name.
    /// <https://docs.github.com/en/rest/actions/workflows#get-a-workflow>
    pub async fn has_workflow(&self, repo: &Repo, file: &str) -> Result<bool, Failure> {
        let path = format!("/repos/{}/actions/workflows/{file}", repo.name);
        let what = format!("look for the workflow {file}");
        let call = ApiCall { needs: READ, ..ApiCall::new("github.GetWorkflow", Method::GET, path, what) };
        match self.of_repo(repo, call).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Starts a run of a workflow. Returns the run's id if GitHub tells it. github.com has told it since February 2026; a server
    /// may not.
    /// <https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event>
    pub async fn dispatch(&self, repo: &Repo, file: &str, git_ref: &str) -> Result<Option<u64>, Failure> {
        let path = format!("/repos/{}/actions/workflows/{file}/dispatches", repo.name);
        let body = json!({ "ref": git_ref, "return_run_details": true });
        let what = format!("start the workflow {file}");
        let call = ApiCall { needs: WRITE, body: Some(body), ..ApiCall::new("github.Dispatch", Method::POST, path, what) };
        let (call, answer) = self.of_repo(repo, call).await?;
        if answer.status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        Ok(Some(answer.json::<Dispatched>(&call)?.workflow_run_id))
    }

    /// The jobs of a run.
    /// <https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run>
    pub async fn run_jobs(&self, repo: &Repo, run: u64) -> Result<Vec<RunJob>, Failure> {
        let path = format!("/repos/{}/actions/runs/{run}/jobs", repo.name);
        let call = ApiCall {
            needs: READ,
            ..ApiCall::new("github.ListRunJobs", Method::GET, path, format!("list the jobs of run {run}"))
        };
        let (call, answer) = self.of_repo(repo, call).await?;
        Ok(answer.json::<Jobs>(&call)?.jobs)
    }

    /// One job. None: GitHub knows no job with this id.
    pub async fn run_job(&self, repo: &Repo, job: u64) -> Result<Option<RunJob>, Failure> {
        let path = format!("/repos/{}/actions/jobs/{job}", repo.name);
        let call = ApiCall { needs: READ, ..ApiCall::new("github.GetJob", Method::GET, path, format!("look at job {job}")) };
        match self.of_repo(repo, call).await {
            Ok((call, answer)) => Ok(Some(answer.json(&call)?)),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Cancels a run. It is no error if the run is already over.
    /// <https://docs.github.com/en/rest/actions/workflow-runs#cancel-a-workflow-run>
    pub async fn cancel_run(&self, repo: &Repo, run: u64) -> Result<(), Failure> {
        let path = format!("/repos/{}/actions/runs/{run}/cancel", repo.name);
        let call = ApiCall { needs: WRITE, ..ApiCall::new("github.CancelRun", Method::POST, path, format!("cancel run {run}")) };
        match self.of_repo(repo, call).await {
            Err(failure) if failure.kind != FailureKind::Conflict => Err(failure),
            _ => Ok(()),
        }
    }

    /// The row of the runner with this name. None: there is no such row.
    pub async fn row(&self, list_id: &ListId, name: &str) -> Result<Option<FieldRow>, Failure> {
        let query = serde_urlencoded::to_string([("name", name), ("per_page", "100")]).unwrap_or_default();
        let path = format!("{}/actions/runners?{query}", base(&list_id.scope));
        let call = ApiCall::new("github.FindRunner", Method::GET, path, format!("look at runner {name}"));
        let answer = self.app(&list_id.app, &call)?.call(&list_id.scope, &call).await?;
        let rows: Rows = answer.json(&call)?;
        Ok(rows.runners.into_iter().find(|row| row.name.eq_ignore_ascii_case(name)))
    }

    /// Asks for the first page of runners twice. The second request has the first answer's ETag.
    pub async fn list_twice(&self, list_id: &ListId) -> Result<Twice, Failure> {
        let path = format!("{}/actions/runners?per_page=100", base(&list_id.scope));
        let mut call = ApiCall::new("github.ListRunners", Method::GET, path, "list the runners twice".to_owned());
        let app = self.app(&list_id.app, &call)?;
        let first = Headers::of(&app.call(&list_id.scope, &call).await?.headers);
        call.etag.clone_from(&first.etag);
        let again = app.call(&list_id.scope, &call).await?;
        Ok(Twice { first, second: Headers::of(&again.headers), unchanged: again.status == StatusCode::NOT_MODIFIED })
    }

    /// Makes a configuration that nobody will use. Returns the registration's id, so that the caller can delete it, and the
    /// headers.
    /// <https://docs.github.com/en/rest/actions/self-hosted-runners>
    pub async fn probe_jit(
        &self,
        list_id: &ListId,
        group: &str,
        name: &str,
        labels: &[String],
    ) -> Result<(RunnerId, Headers), Failure> {
        let group = match list_id.scope {
            Scope::Repo(..) => REPOSITORY_GROUP,
            _ => self.find_group(list_id, group).await?,
        };
        let body = json!({ "name": name, "runner_group_id": group, "labels": labels });
        let path = format!("{}/actions/runners/generate-jitconfig", base(&list_id.scope));
        let call = ApiCall::new("github.GenerateJitConfig", Method::POST, path, format!("mint the configuration {name}"));
        let call = ApiCall { body: Some(body), configures: true, ..call };
        let answer = self.app(&list_id.app, &call)?.call(&list_id.scope, &call).await?;
        let minted: MintAnswer = answer.json(&call)?;
        Ok((RunnerId(minted.runner.id), Headers::of(&answer.headers)))
    }
}
