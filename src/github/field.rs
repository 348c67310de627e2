//! What only the field kit (`muster doctor --live`) asks of GitHub: a throw-away workflow's runs, one runner's row, and how the
//! limits of a configuration are told.
//! <https://docs.github.com/en/rest/actions/workflows> and <https://docs.github.com/en/rest/actions/workflow-runs>

use http::{HeaderMap, Method, StatusCode};
use muster_reconciler::effect::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, Forge, RunnerId, Scope};
use serde::Deserialize;
use serde_json::json;

use super::runners::{REPOSITORY_GROUP, base};
use super::{Answer, Call, GitHub};

/// The permission that starts and cancels runs.
const WRITE: &str = "the repository permission `Actions: read and write`";
/// The permission that looks at them.
const READ: &str = "the repository permission `Actions: read`";

/// A repository, `OWNER/NAME`, as the App sees it.
#[derive(Clone, Debug)]
pub struct Repo {
    /// The App that asks.
    pub app: AppName,
    /// `OWNER/NAME`.
    pub name: String,
    scope: Scope,
}

/// A job of a run.
#[derive(Clone, Debug, Deserialize)]
pub struct RunJob {
    /// GitHub's id.
    pub id: u64,
    /// `queued`, `in_progress`, `completed` or another.
    pub status: String,
    /// When GitHub made it; RFC 3339.
    pub created_at: String,
    /// The workflow's name.
    pub workflow_name: Option<String>,
    /// Its run.
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

/// What GitHub's headers say of limits, and of what can be asked again for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// `x-ratelimit-resource`: which of GitHub's budgets paid.
    pub resource: Option<String>,
    /// `x-ratelimit-remaining`.
    pub remaining: Option<u64>,
    /// `etag`.
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

/// A runner's row in GitHub's list.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// GitHub's id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `online` or `offline`.
    pub status: String,
    /// A job runs on it.
    pub busy: bool,
}

#[derive(Deserialize)]
struct Rows {
    runners: Vec<Row>,
}

#[derive(Deserialize)]
struct Minted {
    runner: MintedRunner,
}

#[derive(Deserialize)]
struct MintedRunner {
    id: u64,
}

/// What `GET` twice of the same list showed: its headers, and whether the second, with the first's ETag, was a 304.
#[derive(Clone, Debug, PartialEq)]
pub struct Twice {
    /// Of the first answer.
    pub first: Headers,
    /// Of the second.
    pub second: Headers,
    /// The second was `304 Not Modified`.
    pub unchanged: bool,
}

impl Repo {
    /// `OWNER/NAME`.
    pub fn parse(app: &AppName, name: &str) -> Result<Repo, Failure> {
        let scope = format!("repo/{name}")
            .parse()
            .map_err(|_| Failure::new(FailureKind::Refused, format!("`{name}` is no repository's name; write OWNER/NAME")))?;
        Ok(Repo { app: app.clone(), name: name.to_owned(), scope })
    }

    /// Its owner.
    pub fn owner(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

impl GitHub {
    async fn of_repo(&self, repo: &Repo, call: Call) -> Result<(Call, Answer), Failure> {
        let answer = self.app(&repo.app, &call)?.call(&repo.scope, &call).await?;
        Ok((call, answer))
    }

    /// Whether the default branch has a workflow file of that name.
    /// <https://docs.github.com/en/rest/actions/workflows#get-a-workflow>
    pub async fn has_workflow(&self, repo: &Repo, file: &str) -> Result<bool, Failure> {
        let path = format!("/repos/{}/actions/workflows/{file}", repo.name);
        let what = format!("look for the workflow {file}");
        let call = Call { needs: READ, ..Call::new("github.GetWorkflow", Method::GET, path, what) };
        match self.of_repo(repo, call).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Starts a run; its id, where GitHub tells it (github.com since February 2026; a server may not yet).
    /// <https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event>
    pub async fn dispatch(&self, repo: &Repo, file: &str, git_ref: &str) -> Result<Option<u64>, Failure> {
        let path = format!("/repos/{}/actions/workflows/{file}/dispatches", repo.name);
        let body = json!({ "ref": git_ref, "return_run_details": true });
        let what = format!("start the workflow {file}");
        let call = Call { needs: WRITE, body: Some(body), ..Call::new("github.Dispatch", Method::POST, path, what) };
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
        let call =
            Call { needs: READ, ..Call::new("github.ListRunJobs", Method::GET, path, format!("list the jobs of run {run}")) };
        let (call, answer) = self.of_repo(repo, call).await?;
        Ok(answer.json::<Jobs>(&call)?.jobs)
    }

    /// One job; None: there is none of that id.
    pub async fn run_job(&self, repo: &Repo, job: u64) -> Result<Option<RunJob>, Failure> {
        let path = format!("/repos/{}/actions/jobs/{job}", repo.name);
        let call = Call { needs: READ, ..Call::new("github.GetJob", Method::GET, path, format!("look at job {job}")) };
        match self.of_repo(repo, call).await {
            Ok((call, answer)) => Ok(Some(answer.json(&call)?)),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Cancels a run. One that is over already is done.
    /// <https://docs.github.com/en/rest/actions/workflow-runs#cancel-a-workflow-run>
    pub async fn cancel_run(&self, repo: &Repo, run: u64) -> Result<(), Failure> {
        let path = format!("/repos/{}/actions/runs/{run}/cancel", repo.name);
        let call = Call { needs: WRITE, ..Call::new("github.CancelRun", Method::POST, path, format!("cancel run {run}")) };
        match self.of_repo(repo, call).await {
            Err(failure) if failure.kind != FailureKind::Conflict => Err(failure),
            _ => Ok(()),
        }
    }

    /// The row of the runner of that name; None: there is none.
    pub async fn row(&self, forge: &Forge, name: &str) -> Result<Option<Row>, Failure> {
        let query = serde_urlencoded::to_string([("name", name), ("per_page", "100")]).unwrap_or_default();
        let path = format!("{}/actions/runners?{query}", base(&forge.scope));
        let call = Call::new("github.FindRunner", Method::GET, path, format!("look at runner {name}"));
        let answer = self.app(&forge.app, &call)?.call(&forge.scope, &call).await?;
        let rows: Rows = answer.json(&call)?;
        Ok(rows.runners.into_iter().find(|row| row.name.eq_ignore_ascii_case(name)))
    }

    /// Asks for the first page of runners twice, the second time with the first answer's ETag.
    pub async fn list_twice(&self, forge: &Forge) -> Result<Twice, Failure> {
        let path = format!("{}/actions/runners?per_page=100", base(&forge.scope));
        let mut call = Call::new("github.ListRunners", Method::GET, path, "list the runners twice".to_owned());
        let app = self.app(&forge.app, &call)?;
        let first = Headers::of(&app.call(&forge.scope, &call).await?.headers);
        call.etag.clone_from(&first.etag);
        let again = app.call(&forge.scope, &call).await?;
        Ok(Twice { first, second: Headers::of(&again.headers), unchanged: again.status == StatusCode::NOT_MODIFIED })
    }

    /// Mints a configuration that nobody will use: the registration's id, for whoever deletes it, and the headers.
    /// <https://docs.github.com/en/rest/actions/self-hosted-runners>
    pub async fn probe_jit(
        &self,
        forge: &Forge,
        group: &str,
        name: &str,
        labels: &[String],
    ) -> Result<(RunnerId, Headers), Failure> {
        let group = match forge.scope {
            Scope::Repo(..) => REPOSITORY_GROUP,
            _ => self.find_group(forge, group).await?,
        };
        let body = json!({ "name": name, "runner_group_id": group, "labels": labels });
        let path = format!("{}/actions/runners/generate-jitconfig", base(&forge.scope));
        let call = Call::new("github.GenerateJitConfig", Method::POST, path, format!("mint the configuration {name}"));
        let call = Call { body: Some(body), configures: true, ..call };
        let answer = self.app(&forge.app, &call)?.call(&forge.scope, &call).await?;
        let minted: Minted = answer.json(&call)?;
        Ok((RunnerId(minted.runner.id), Headers::of(&answer.headers)))
    }
}
