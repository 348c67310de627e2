//! When GitHub stops serving a version of the runner program.
//! <https://docs.github.com/en/rest/actions/self-hosted-runners#get-runner-version-end-of-life-schedule-for-an-organization>

use chrono::DateTime;
use http::{Method, StatusCode};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::ListId;
use muster_reconciler::time::Time;
use muster_reconciler::versions::VersionEnds;
use serde::Deserialize;

use super::base;
use crate::{ApiCall, GitHub, Rejected};

/// GitHub's answer. In September 2026 GitHub left out the date of registrations.
#[derive(Deserialize)]
struct EndOfLife {
    #[serde(default)]
    registration_deprecates_at: Option<String>,
    #[serde(default)]
    runtime_deprecates_at: Option<String>,
}

impl EndOfLife {
    fn ends(&self, call: &ApiCall) -> Result<VersionEnds, Failure> {
        let read = |date: &Option<String>| date.as_deref().map(|date| time(date, call)).transpose();
        Ok(VersionEnds { registration: read(&self.registration_deprecates_at)?, runtime: read(&self.runtime_deprecates_at)? })
    }
}

fn time(date: &str, call: &ApiCall) -> Result<Time, Failure> {
    let read = DateTime::parse_from_rfc3339(date).ok().and_then(|at| u64::try_from(at.timestamp_millis()).ok());
    read.map(Time::from_millis).ok_or_else(|| {
        let message = format!("{}: GitHub answered with a date that cannot be read", call.what);
        Failure::new(FailureKind::Ambiguous, message)
    })
}

impl GitHub {
    /// When GitHub stops serving a version, such as `2.337.0`. None: GitHub knows nothing of the version. This is so for versions
    /// from before November 2024, for some that were soon replaced, and for every version at GitHub Enterprise Server.
    ///
    /// # Errors
    ///
    /// What GitHub answers.
    pub async fn version_ends(&self, list_id: &ListId, version: &str) -> Result<Option<VersionEnds>, Failure> {
        let path = format!("{}/actions/runners/deprecations/{version}", base(&list_id.scope));
        let what = format!("find out until when {} serves runner {version}", list_id.scope);
        match self.ask(list_id, ApiCall::new("github.GetRunnerVersionDeprecation", Method::GET, path, what)).await {
            Ok((call, answer)) => answer.json::<EndOfLife>(&call)?.ends(&call).map(Some),
            Err(Rejected { status: Some(StatusCode::NOT_FOUND), .. }) => Ok(None),
            Err(rejected) => Err(rejected.failure),
        }
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = answer.json::<EndOfLife>(call).and_then(|schedule| schedule.ends(call));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake::{Fake, list_id, reply};

    #[tokio::test]
    async fn both_dates_one_of_them_or_none_may_be_told() {
        let fake = Fake::start(|ask| {
            let said = match ask.path.rsplit('/').next() {
                Some("2.1.0") => json!({ "registration_deprecates_at": "2026-08-01T00:00:00Z", "runtime_deprecates_at": "2026-09-01T00:00:00Z" }),
                Some("2.2.0") => json!({ "runner_version": "2.2.0", "runtime_deprecates_at": "2026-11-05T15:30:55+00:00" }),
                Some("2.3.0") => json!({ "runner_version": "2.3.0", "runtime_deprecates_at": Value::Null }),
                Some("2.4.0") => json!({ "runtime_deprecates_at": "soon" }),
                _ => return reply(404, json!({ "message": "Not Found" })),
            };
            reply(200, said)
        })
        .await;
        let github = fake.github();
        let list_id = list_id("org/acme");
        let ends = async |version| github.version_ends(&list_id, version).await;
        let at = |s: u64| Some(Time::from_millis(s * 1000));
        let both = VersionEnds { registration: at(1_785_542_400), runtime: at(1_788_220_800) };
        assert_eq!(ends("2.1.0").await.expect("an answer"), Some(both));
        let runtime = VersionEnds { registration: None, runtime: at(1_793_892_655) };
        assert_eq!(ends("2.2.0").await.expect("an answer"), Some(runtime));
        assert_eq!(ends("2.3.0").await.expect("an answer"), Some(VersionEnds::default()));
        assert_eq!(ends("2.4.0").await.expect_err("no date").kind, FailureKind::Ambiguous);
        assert_eq!(ends("2.0.0").await.expect("an answer"), None, "GitHub does not know the version");
        assert_eq!(fake.asked("/orgs/acme/actions/runners/deprecations/2.1.0").len(), 1);
    }
}
