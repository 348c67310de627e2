//! Workflows that somebody starts by hand or by the API: files on the default branch, their runs, and the end of a run.
//! <https://docs.github.com/en/rest/actions/workflows>

use std::collections::BTreeMap;

use serde_json::json;

use super::routes::{Answer, Asked, rfc3339};
use super::{Double, State};

/// The workflows that exist.
#[derive(Default)]
pub struct Workflows {
    /// The workflow's name and the labels of its job, by repository (`OWNER/NAME`) and file.
    files: BTreeMap<(String, String), (String, Vec<String>)>,
    /// The jobs that were started from a file, with the workflow's name.
    named: BTreeMap<u64, String>,
}

impl Workflows {
    /// The name of the workflow that a job belongs to.
    pub(super) fn name_of(&self, job: u64) -> &str {
        self.named.get(&job).map_or("CI", String::as_str)
    }
}

impl Double {
    /// Commits a workflow with one job to the default branch.
    pub fn commit_workflow(&self, repo: &str, file: &str, name: &str, labels: &[&str]) {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.lock().workflows.files.insert((repo.into(), file.into()), (name.into(), labels));
    }

    /// Starts a workflow, by hand (`gh workflow run`) or by the API. Returns the job's id.
    pub fn run_workflow(&self, repo: &str, file: &str) -> Option<u64> {
        let (name, labels) = self.lock().workflows.files.get(&(repo.to_owned(), file.to_owned()))?.clone();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let job = self.queue_job_silently(repo, &labels);
        self.lock().workflows.named.insert(job, name);
        self.send_event(job, "queued");
        self.assign();
        Some(job)
    }

    pub(super) fn dispatch(&self, asked: &Asked<'_>) -> Answer {
        if self.lock().app.granted["actions"] != "write" {
            return Answer::message(403, "Resource not accessible by integration");
        }
        let Some(job) = self.run_workflow(&repo(asked), asked.param("workflow_id")) else {
            return Answer::message(404, "Not Found");
        };
        if asked.body["return_run_details"] != true {
            return Answer::empty(204);
        }
        let run = self.job(job).run;
        let path = format!("repos/{}/actions/runs/{run}", repo(asked));
        let body = json!({
            "workflow_run_id": run,
            "run_url": format!("{}/{path}", asked.base),
            "html_url": format!("https://github.com/{}/actions/runs/{run}", repo(asked)),
        });
        Answer::json(200, body)
    }

    pub(super) fn cancel(&self, asked: &Asked<'_>) -> Answer {
        if self.lock().app.granted["actions"] != "write" {
            return Answer::message(403, "Resource not accessible by integration");
        }
        let run = asked.number("run_id");
        let open: Vec<u64> =
            self.jobs().iter().filter(|job| job.run == run && job.status != "completed").map(|job| job.id).collect();
        if open.is_empty() {
            return Answer::message(409, "Cannot cancel a workflow run that is completed.");
        }
        for job in open {
            self.cancel_job(job);
        }
        Answer::json(202, json!({}))
    }
}

/// Answers with a workflow.
pub(super) fn get(state: &State, asked: &Asked<'_>) -> Answer {
    let file = asked.param("workflow_id");
    let Some((name, _)) = state.workflows.files.get(&(repo(asked), file.to_owned())) else {
        return Answer::message(404, "Not Found");
    };
    let (web, at) = (format!("https://github.com/{}", repo(asked)), rfc3339(crate::support::now_ms()));
    Answer::json(
        200,
        json!({
            "id": 161_335, "node_id": "MDg6V29ya2Zsb3cxNjEzMzU=", "name": name, "path": format!(".github/workflows/{file}"), "state": "active",
            "created_at": at, "updated_at": at, "url": format!("{}/repos/{}/actions/workflows/161335", asked.base, repo(asked)),
            "html_url": format!("{web}/blob/main/.github/workflows/{file}"), "badge_url": format!("{web}/workflows/{name}/badge.svg"),
        }),
    )
}

/// `OWNER/NAME` of the path.
pub(super) fn repo(asked: &Asked<'_>) -> String {
    format!("{}/{}", asked.param("owner"), asked.param("repo"))
}
