//! Workflow runs: their jobs with steps, and their reruns.
//! <https://docs.github.com/en/rest/actions/workflow-runs>

use serde_json::{Value, json};

use super::hooks::minimal_repository;
use super::routes::{Answer, Asked, rfc3339};
use super::workflows::repo;
use super::{Double, Job, State};

impl Double {
    /// Runs a job of a run again, or all jobs that failed or were cancelled, if the run is over.
    pub(super) fn rerun(&self, asked: &Asked<'_>) -> Answer {
        let mut state = self.lock();
        if state.app.granted["actions"] != "write" {
            return Answer::message(403, "Resource not accessible by integration");
        }
        let only = Some(asked.number("job_id")).filter(|id| state.jobs.contains_key(id));
        let run = only.and_then(|id| state.jobs.get(&id)).map_or(asked.number("run_id"), |job| job.run);
        let jobs: Vec<Job> = newest(&state, run).cloned().collect();
        if jobs.is_empty() {
            return Answer::message(404, "Not Found");
        }
        if jobs.iter().any(|job| job.status != "completed") {
            return Answer::message(403, "This workflow run is already running");
        }
        let attempt = 1 + jobs.iter().map(|job| job.attempt).max().unwrap_or_default();
        let failed = |job: &Job| matches!(job.conclusion.as_deref(), Some("failure" | "cancelled"));
        let mut queued = Vec::new();
        for old in jobs.into_iter().filter(|job| only.map_or(failed(job), |id| job.id == id)) {
            let id = state.id();
            let again = Job { id, attempt, status: "queued".into(), conclusion: None, runner: None, ..old.clone() };
            state.jobs.insert(id, Job { at_ms: [crate::support::now_ms(), 0, 0], ..again });
            if let Some(old) = state.jobs.get_mut(&old.id) {
                old.replaced = true;
            }
            queued.push(id);
        }
        drop(state);
        for id in queued {
            self.send_event(id, "queued");
        }
        self.assign();
        Answer::json(201, json!({}))
    }
}

/// The jobs of a run's newest attempt.
fn newest(state: &State, run: u64) -> impl Iterator<Item = &Job> {
    state.jobs.values().filter(move |job| job.run == run && !job.replaced)
}

/// Answers with the jobs of a run's newest attempt.
pub(super) fn jobs_of_run(state: &State, asked: &Asked<'_>) -> Answer {
    let rows = newest(state, asked.number("run_id")).filter(|job| job.repo == repo(asked));
    asked.page("jobs", rows.map(|j| job(j, state, &asked.base)).collect())
}

/// Answers with a run.
pub(super) fn get(state: &State, asked: &Asked<'_>) -> Answer {
    let (run, repo) = (asked.number("run_id"), repo(asked));
    let jobs: Vec<&Job> = newest(state, run).filter(|job| job.repo == repo).collect();
    let Some(first) = jobs.first() else { return Answer::message(404, "Not Found") };
    let over = jobs.iter().all(|job| job.status == "completed");
    let bad = jobs.iter().find_map(|job| job.conclusion.clone().filter(|conclusion| conclusion != "success"));
    let (url, web) =
        (format!("{}/repos/{repo}/actions/runs/{run}", asked.base), format!("https://github.com/{repo}/actions/runs/{run}"));
    let at = rfc3339(first.at_ms[0]);
    let sha = "3484a3fb816e0859fd6e1cea078d76385ff50625";
    let person = json!({ "name": "Octo Cat", "email": "octocat@example.com" });
    Answer::json(
        200,
        json!({
            "id": run, "node_id": "WFR_kwDO", "name": "CI", "head_branch": "main", "head_sha": sha, "path": ".github/workflows/ci.yml",
            "display_title": "A change", "run_number": 1, "event": "push",
            "run_attempt": jobs.iter().map(|job| job.attempt).max(),
            "status": if over { "completed" } else { "in_progress" },
            "conclusion": over.then(|| bad.unwrap_or_else(|| "success".into())),
            "workflow_id": 161_335, "url": url, "html_url": web, "pull_requests": [], "created_at": at, "updated_at": at,
            "jobs_url": format!("{url}/jobs"), "logs_url": format!("{url}/logs"), "check_suite_url": format!("{url}/suite"),
            "cancel_url": format!("{url}/cancel"), "rerun_url": format!("{url}/rerun"), "artifacts_url": format!("{url}/artifacts"),
            "workflow_url": format!("{}/repos/{repo}/actions/workflows/161335", asked.base),
            "head_commit": { "id": sha, "tree_id": sha, "message": "A change", "timestamp": at, "author": person, "committer": person },
            "repository": minimal_repository(&repo), "head_repository": minimal_repository(&repo),
        }),
    )
}

/// The steps of a job that has begun. If its machine went, the running step is cancelled and what cleans up is skipped.
fn steps(j: &Job, state: &State) -> Value {
    let ends = match j.conclusion.as_deref() {
        _ if state.killed.contains(&j.id) => ["success", "cancelled", "skipped", "skipped"],
        None => return json!([{ "name": "Set up job", "status": "completed", "conclusion": "success", "number": 1 }]),
        Some("success") => ["success"; 4],
        Some(bad) => ["success", if bad == "cancelled" { bad } else { "failure" }, "success", "success"],
    };
    let names = ["Set up job", "Run make", "Post Run actions/checkout@v4", "Complete job"];
    let step = |(n, (name, end))| json!({ "name": name, "status": "completed", "conclusion": end, "number": n + 1 });
    names.into_iter().zip(ends).enumerate().map(step).collect()
}

/// A job as GitHub shows it.
pub(super) fn job(j: &Job, state: &State, base: &str) -> Value {
    let at = |n: usize| if j.at_ms[n] == 0 { Value::Null } else { json!(rfc3339(j.at_ms[n])) };
    let started = if j.at_ms[1] == 0 { at(0) } else { at(1) };
    json!({
        "id": j.id,
        "node_id": "CR_kwDO",
        "run_id": j.run,
        "run_url": format!("{base}/repos/{}/actions/runs/{}", j.repo, j.run),
        "run_attempt": j.attempt,
        "head_sha": "3484a3fb816e0859fd6e1cea078d76385ff50625",
        "head_branch": "main",
        "workflow_name": state.workflows.name_of(j.id),
        "name": "build",
        "url": format!("{base}/repos/{}/actions/jobs/{}", j.repo, j.id),
        "html_url": format!("https://github.com/{}/runs/{}", j.repo, j.id),
        "check_run_url": format!("{base}/repos/{}/check-runs/{}", j.repo, j.id),
        "status": j.status,
        "conclusion": j.conclusion,
        "created_at": at(0),
        "started_at": started,
        "completed_at": at(2),
        "labels": j.labels,
        "runner_id": j.runner.as_ref().map(|r| r.0),
        "runner_name": j.runner.as_ref().map(|r| &r.1),
        "runner_group_id": j.runner.as_ref().map(|_| 1),
        "steps": if j.runner.is_some() { steps(j, state) } else { json!([]) },
        "runner_group_name": j.runner.as_ref().map(|_| "Default"),
    })
}
