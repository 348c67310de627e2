//! The running controller, asked through its admin API, which `muster get`, `explain` and `drain` also use.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use muster_operations::client::{self, ClientError};
use muster_operations::inspect::Done;
use muster_operations::prices::BookView;
use muster_reconciler::view::{Explanation, JobView, RunnerView};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest wait for one answer of the controller.
const PATIENCE: Duration = Duration::from_secs(10);

/// The address of the running controller, and the token for orders if there is one.
#[derive(Clone, Debug)]
pub struct RunningController {
    /// The URL of the admin listener: `http://HOST:PORT`.
    pub url: String,
    /// The token from `spec.listen.adminToken`. None: no orders are given.
    pub token: Option<SecretString>,
    /// The token from `spec.listen.viewToken`. None: looking needs none.
    pub view_token: Option<SecretString>,
}

/// Which controller answers.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AnsweringController {
    pub cluster: String,
    pub version: String,
}

#[derive(Deserialize)]
struct ApiItems<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct EndOfTimeline {
    ended: Option<String>,
}

impl RunningController {
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let url = format!("{}/api/v1/{path}", self.url.trim_end_matches('/'));
        let body = client::get(&url, self.view_token.as_ref(), PATIENCE).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Broken(url, format!("its answer is not the API's: {error}")))
    }

    pub(super) async fn about(&self) -> Result<AnsweringController, ClientError> {
        self.get("about").await
    }

    pub(super) async fn prices(&self) -> Result<BookView, ClientError> {
        self.get("prices").await
    }

    pub(super) async fn jobs(&self) -> Result<Vec<JobView>, ClientError> {
        Ok(self.get::<ApiItems<JobView>>("jobs?limit=100000").await?.items)
    }

    pub(super) async fn runners(&self, pool: &str) -> Result<Vec<RunnerView>, ClientError> {
        Ok(self.get::<ApiItems<RunnerView>>(&format!("runners?limit=100000&pool={pool}")).await?.items)
    }

    /// What `muster explain KIND/ID` says. None: the controller does not know the thing, or does not know it any more.
    pub(super) async fn explain(&self, kind: &str, id: &str) -> Result<Option<Explanation>, ClientError> {
        match self.get(&format!("explain/{kind}/{id}")).await {
            Ok(told) => Ok(Some(told)),
            Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why the instance ended, as its boot script wrote it to the console.
    pub(super) async fn last_words(&self, instance: &str) -> Result<Option<String>, ClientError> {
        Ok(self.get::<EndOfTimeline>(&format!("runners/{instance}/ended")).await?.ended)
    }

    /// Asks the controller to drain an instance. Returns what the controller says to that.
    pub(super) async fn drain(&self, instance: &str) -> Result<String, ClientError> {
        let url = format!("{}/api/v1/runners/{instance}/drain", self.url.trim_end_matches('/'));
        let body = Bytes::from_static(br#"{"reason":"the field test's own instance"}"#);
        let answer = client::post(&url, self.token.as_ref(), body, PATIENCE).await?;
        let done: Result<Done, _> = serde_json::from_slice(&answer);
        done.map(|done| done.said).map_err(|error| ClientError::Broken(url, error.to_string()))
    }
}
