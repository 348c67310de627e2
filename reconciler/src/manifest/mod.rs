//! What a user writes: the kinds `RunnerPool`, `GitHubApp`, `GitHubToken` and `Controller` (apiVersion `muster/v1`), with their
//! defaults.
//!
//! The doc comments of these types are the descriptions in the JSON Schema (`muster schema`), so users read them in their
//! editors.
//!
//! Every struct takes its defaults as a whole and refuses unknown fields. So "required" means "must not stay empty". `validate`
//! checks this, and names file, line and field. In this way one call finds all errors of a directory.

mod controller;
mod credentials;
mod document;
mod duration;
mod glob;
mod late;
mod load;
mod lone;
mod pool;
mod read;
mod schedule;
mod schema;
mod secret;
mod syntax;
mod validate;
mod yaml;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AppName, ListId, Payer, PoolName};

pub use controller::{
    ControllerManifest, ControllerSpec, FlightRecord, Ignore, Intervals, Limits, Listen, Queues, RunnerSync, UsageRecord,
};
pub use credentials::{GitHubApp, GitHubAppSpec, GitHubToken, GitHubTokenSpec};
pub use document::{Problem, Problems, Text};
pub use duration::Span;
pub use glob::fits;
pub use late::{LateAct, LateStep, late_after};
pub use load::{ManifestReading, load, load_for_people};
pub use lone::Lone;
pub use pool::{
    Allocation, Architecture, Bootstrap, Capacity, Hooks, IdleSchedule, InstanceSettings, Lifetime, MarketPolicy, Matching, Os,
    PoolGitHub, Proxy, Rerun, RerunMarket, RunnerPool, RunnerPoolSpec, RunnerSettings, SpotBreaker,
};
pub use schema::{KINDS, schema};
pub use secret::SecretRef;

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "muster/v1";

/// Everything that the manifests of one directory say, validated. [`load()`] makes it, and a flight record holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The one Controller.
    pub controller: ControllerManifest,
    /// The GitHub Apps by name.
    pub apps: BTreeMap<AppName, GitHubApp>,
    /// The personal access tokens by name. No App has the name of a token.
    pub tokens: BTreeMap<AppName, GitHubToken>,
    /// The runner pools by name.
    pub pools: BTreeMap<PoolName, RunnerPool>,
}

impl Spec {
    /// The lists of runners at GitHub that the pools use, each once.
    pub fn list_ids(&self) -> std::collections::BTreeSet<ListId> {
        self.pools.values().map(RunnerPool::list_id).collect()
    }

    /// How long a runner of this pool may take from its launch until it is online. A pool that is no longer in the manifests leaves
    /// the default behind.
    pub fn boot_deadline(&self, pool: &PoolName) -> Duration {
        self.pools.get(pool).map_or_else(|| RunnerSettings::default().boot_deadline, |p| p.spec.runner.boot_deadline).get()
    }

    /// Whose rate limit at GitHub a question about a repository (`OWNER/NAME`) counts against.
    pub fn payer(&self, app: &AppName, repo: &str) -> Payer {
        if self.tokens.contains_key(app) {
            return Payer::itself(app);
        }
        Payer::installation(app, repo.split('/').next().unwrap_or_default())
    }

    /// The names of all credentials: Apps first, then tokens.
    pub fn credentials(&self) -> impl Iterator<Item = &AppName> {
        self.apps.keys().chain(self.tokens.keys())
    }

    /// Whether there is an App or a token with this name.
    pub fn has_credential(&self, name: &AppName) -> bool {
        self.apps.contains_key(name) || self.tokens.contains_key(name)
    }

    /// The URL of the REST API that an App or a token is for. None: there is no App and no token with this name.
    pub fn api_url(&self, name: &AppName) -> Option<&str> {
        let of_app = self.apps.get(name).map(|app| &app.spec.api_url);
        of_app.or_else(|| self.tokens.get(name).map(|token| &token.spec.api_url)).map(String::as_str)
    }
}

/// A document's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct Metadata {
    /// The name: lower-case letters, digits and `-`, but no dot.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
}

// ---------------------------------------------------------------------------------------------- Controller
