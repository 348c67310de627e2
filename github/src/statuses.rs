//! Statuses on commits: what whoever pushed sees of jobs that no runner takes.

use http::Method;
use muster_reconciler::effect::Outcome;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::late::{NoticeKey, NoticeText};
use serde_json::json;

use super::runs::repository;
use super::{ApiCall, GitHub};

impl GitHub {
    /// Writes a status on a commit. GitHub shows the newest one of each context, so that writing it twice does no harm. The outcome is
    /// `Done` or `Failed`, with `Refused` if GitHub has no such commit (422) or the App may not write statuses.
    /// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>
    pub async fn tell(&self, cluster: &str, key: &NoticeKey, text: &NoticeText) -> Outcome {
        self.write_status(cluster, key, text).await.map_or_else(Outcome::Failed, |()| Outcome::Done)
    }

    async fn write_status(&self, cluster: &str, key: &NoticeKey, text: &NoticeText) -> Result<(), Failure> {
        let NoticeKey { app, repo, sha, pool } = key;
        let what = format!("write a status on commit {sha} of {repo}");
        let scope = repository(repo, &what)?;
        if sha.is_empty() || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Failure::new(FailureKind::Refused, format!("{what}: it is no commit")));
        }
        let context = pool.as_ref().map_or_else(|| format!("muster {cluster}"), |pool| format!("muster {cluster}: pool {pool}"));
        let (run, job) = text.job;
        let mut call = ApiCall {
            needs: "the repository permission `Commit statuses: write` (a token: the scope `repo`), because spec.startWithin is set",
            ..ApiCall::new("github.CreateCommitStatus", Method::POST, format!("/repos/{repo}/statuses/{sha}"), what)
        };
        let client = self.app(app, &call)?;
        call.body = Some(json!({
            "state": text.state.as_str(),
            "context": context,
            "description": text.text,
            "target_url": format!("{}/actions/runs/{run}/job/{job}", client.web_url(&scope)),
        }));
        client.call(&scope, &call).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use muster_reconciler::ids::{JobId, RunId};
    use muster_reconciler::late::StatusState;
    use muster_reconciler::time::Time;

    use super::super::fake::{Fake, reply};
    use super::*;

    fn text(text: &str) -> NoticeText {
        let job = (RunId(5), JobId(7));
        NoticeText { state: StatusState::Pending, gist: "x", text: text.into(), job, since: Time::ZERO }
    }

    fn key(sha: &str) -> NoticeKey {
        NoticeKey { app: "main".into(), repo: "acme/app".into(), sha: sha.into(), pool: Some("linux".into()) }
    }

    #[tokio::test]
    async fn a_status_has_a_context_of_its_pool_and_a_link_to_its_job() {
        let fake = Fake::start(|ask| match (ask.method.as_str(), ask.path.as_str()) {
            ("POST", "/repos/acme/app/statuses/0a1b") => {
                let link = ask.body["target_url"].as_str().unwrap_or_default().ends_with("/acme/app/actions/runs/5/job/7");
                let said = [&ask.body["state"], &ask.body["context"], &ask.body["description"]];
                let right = link && said == ["pending", "muster prod: pool linux", "no runner within 10m: full"];
                if right { reply(201, json!({"id": 1})) } else { reply(422, json!({"message": ask.body.to_string()})) }
            }
            _ => reply(403, json!({"message": "Resource not accessible by integration"})),
        })
        .await;
        let github = fake.github();
        let told = github.tell("prod", &key("0a1b"), &text("no runner within 10m: full")).await;
        assert_eq!(told, Outcome::Done);
        match github.tell("prod", &key("ff"), &text("")).await {
            Outcome::Failed(f) => assert!(f.message.contains("`Commit statuses: write`"), "{}", f.message),
            other => panic!("{other:?}"),
        }
        let asked = fake.count();
        let strange = github.tell("prod", &key("../x"), &text("")).await;
        assert!(matches!(strange, Outcome::Failed(Failure { kind: FailureKind::Refused, .. })), "{strange:?}");
        assert_eq!(fake.count(), asked, "it is not sent");
    }

    /// What the core does next depends on the kind alone. Of each answer there is one call: the core decides whether to try again.
    #[tokio::test]
    async fn the_core_is_told_why_a_status_was_not_taken_after_one_call() {
        for (status, kind, says) in [
            (403, FailureKind::Refused, "`Commit statuses: write`"),
            (404, FailureKind::NotFound, "404 Not Found"),
            (409, FailureKind::Conflict, "409 Conflict"),
            (422, FailureKind::Refused, "No commit found for SHA"),
        ] {
            let fake = Fake::start(move |_| reply(status, json!({"message": "No commit found for SHA"}))).await;
            let github = fake.github();
            let _ = github.tell("prod", &key("aa"), &text("")).await;
            let before = fake.count();
            let outcome = github.tell("prod", &key("ff"), &text("")).await;
            let Outcome::Failed(failure) = outcome else { panic!("{status}: {outcome:?}") };
            assert_eq!((failure.kind, failure.retry_after), (kind, None), "{status}: {}", failure.message);
            assert!(failure.message.contains(says) && failure.message.contains("commit ff"), "{status}: {}", failure.message);
            assert_eq!(fake.count() - before, 1, "{status}");
        }
    }
}
