//! What state a job is in. muster asks GitHub for jobs whose messages were redelivered and for jobs that have been queued for
//! long. So muster learns what a lost event would have said.

use http::Method;
use muster_reconciler::effect::{JobSighting, Outcome};
use muster_reconciler::event::JobState;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, JobId, RunId, RunnerId, Scope};
use muster_reconciler::verdict::{StepEnd, StepKind};
use serde::Deserialize;

use super::{ApiCall, GitHub};

#[derive(Deserialize)]
struct JobAnswer {
    run_id: u64,
    status: String,
    runner_name: Option<String>,
    runner_id: Option<u64>,
    conclusion: Option<String>,
    run_attempt: Option<u32>,
    #[serde(default)]
    steps: Vec<JobStep>,
}

#[derive(Deserialize)]
struct JobStep {
    name: String,
    status: String,
    conclusion: Option<String>,
}

impl JobStep {
    fn sighting(&self) -> (StepKind, StepEnd) {
        let kind = match self.name.as_str() {
            "Complete job" => StepKind::Last,
            // The runner names what cleans up after a step `Post`, and a container's end `Stop containers`.
            name if name.starts_with("Post ") || name == "Stop containers" => StepKind::Post,
            _ => StepKind::Main,
        };
        let end = match self.conclusion.as_deref().filter(|_| self.status == "completed") {
            None => StepEnd::Unfinished,
            Some("success" | "neutral") => StepEnd::Success,
            Some("skipped") => StepEnd::Skipped,
            Some("cancelled") => StepEnd::Cancelled,
            Some(_) => StepEnd::Failure,
        };
        (kind, end)
    }
}

impl JobAnswer {
    fn sighting(self, job: JobId) -> JobSighting {
        let state = match self.status.as_str() {
            "queued" => Some(JobState::Queued),
            "in_progress" => Some(JobState::InProgress),
            "completed" => Some(JobState::Completed),
            // `waiting`, `pending` or `requested`: GitHub holds the job back.
            _ => None,
        };
        JobSighting {
            job,
            run: RunId(self.run_id),
            state,
            runner: self.runner_name,
            runner_id: self.runner_id.map(RunnerId),
            conclusion: self.conclusion,
            attempt: self.run_attempt.unwrap_or(1),
            steps: self.steps.iter().map(JobStep::sighting).collect(),
        }
    }
}

impl GitHub {
    /// Asks for one job of `repo` (`OWNER/NAME`). The outcome is `Job` or `Failed`, with `NotFound` if GitHub knows no such job.
    /// <https://docs.github.com/en/rest/actions/workflow-jobs#get-a-job-for-a-workflow-run>
    pub async fn get(&self, app: &AppName, repo: &str, job: JobId) -> Outcome {
        match self.job(app, repo, job).await {
            Ok(sighting) => Outcome::Job(sighting),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn job(&self, app: &AppName, repo: &str, job: JobId) -> Result<JobSighting, Failure> {
        let what = format!("get job {job} of {repo}");
        // The repository's name comes from an event. This check ensures that nothing but a repository's name gets into the path.
        let scope: Scope = format!("repo/{repo}")
            .parse()
            .map_err(|_| Failure::new(FailureKind::Refused, format!("{what}: `{repo}` is no repository's name (OWNER/NAME)")))?;
        let path = format!("/repos/{repo}/actions/jobs/{job}");
        let call = ApiCall {
            needs: "the repository permission `Actions: read` (a token: the scope `repo`)",
            ..ApiCall::new("github.GetJob", Method::GET, path, what)
        };
        let found: JobAnswer = self.app(app, &call)?.call(&scope, &call).await?.json(&call)?;
        Ok(found.sighting(job))
    }
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = answer.json::<JobAnswer>(call).map(|found| found.sighting(JobId(1)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake::{Fake, reply};
    use super::*;

    #[tokio::test]
    async fn a_job_is_as_far_as_github_says() {
        let fake = Fake::start(|ask| match ask.path.as_str() {
            "/repos/acme/app/actions/jobs/1" => reply(
                200,
                json!({"id": 1, "run_id": 9, "status": "completed", "runner_name": "prod.linux.i-1", "runner_id": 7, "conclusion": "success"}),
            ),
            "/repos/acme/app/actions/jobs/2" => {
                reply(200, json!({"id": 2, "run_id": 9, "status": "queued", "runner_name": null, "conclusion": null}))
            }
            "/repos/acme/app/actions/jobs/3" => reply(200, json!({"id": 3, "run_id": 9, "status": "waiting"})),
            "/repos/acme/app/actions/jobs/5" => reply(403, json!({"message": "Resource not accessible by integration"})),
            _ => reply(404, json!({"message": "Not Found"})),
        })
        .await;
        let (app, github) = ("main".into(), fake.github());
        let sighting = |job, state, runner: Option<&str>, conclusion: Option<&str>| {
            let (runner, conclusion) = (runner.map(str::to_owned), conclusion.map(str::to_owned));
            let runner_id = runner.as_ref().map(|_| RunnerId(7));
            Outcome::Job(JobSighting {
                job: JobId(job),
                run: RunId(9),
                state,
                runner,
                runner_id,
                conclusion,
                attempt: 1,
                steps: vec![],
            })
        };
        let done = sighting(1, Some(JobState::Completed), Some("prod.linux.i-1"), Some("success"));
        assert_eq!(github.get(&app, "acme/app", JobId(1)).await, done);
        assert_eq!(github.get(&app, "acme/app", JobId(2)).await, sighting(2, Some(JobState::Queued), None, None));
        assert_eq!(github.get(&app, "acme/app", JobId(3)).await, sighting(3, None, None, None));
        let failed = |outcome: Outcome| match outcome {
            Outcome::Failed(failure) => failure,
            other => panic!("expected a failure, got {other:?}"),
        };
        assert_eq!(failed(github.get(&app, "acme/app", JobId(4)).await).kind, FailureKind::NotFound);
        let denied = failed(github.get(&app, "acme/app", JobId(5)).await);
        assert_eq!(denied.kind, FailureKind::Refused);
        assert!(denied.message.contains("`Actions: read`"), "{}", denied.message);
        let asked = fake.count();
        assert_eq!(failed(github.get(&app, "acme/../x", JobId(6)).await).kind, FailureKind::Refused);
        assert_eq!(failed(github.get(&"other".into(), "acme/app", JobId(6)).await).kind, FailureKind::Refused);
        assert_eq!(fake.count(), asked, "neither is sent");
    }
}
