//! The kinds `GitHubApp` and `GitHubToken`: as whom muster speaks to GitHub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Metadata, SecretRef};

/// A GitHub App: muster's identity at GitHub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHubApp {
    /// The name by which pools refer to the App.
    pub metadata: Metadata,
    /// The settings of the GitHubApp.
    pub spec: GitHubAppSpec,
}

/// The settings of a GitHubApp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["appId", "privateKey", "webhookSecrets"]))]
pub struct GitHubAppSpec {
    /// The App's id, a number that GitHub shows in the App's settings.
    pub app_id: u64,
    /// A reference to the App's private key (PEM).
    pub private_key: SecretRef,
    /// References to webhook secrets, at least one. Any of them may sign, so that a secret can be rotated.
    #[schemars(length(min = 1))]
    pub webhook_secrets: Vec<SecretRef>,
    /// The URL of GitHub's REST API. GHES: `https://HOST/api/v3`.
    pub api_url: String,
}

impl Default for GitHubAppSpec {
    fn default() -> Self {
        GitHubAppSpec {
            app_id: 0,
            private_key: SecretRef::default(),
            webhook_secrets: Vec::new(),
            api_url: "https://api.github.com".into(),
        }
    }
}

// ---------------------------------------------------------------------------------------------- GitHubToken

/// A personal access token (classic): muster's identity at an enterprise. GitHub lets no App manage an enterprise's runners.
/// <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct GitHubToken {
    /// The name by which pools of an enterprise refer to the token. No GitHubApp has the same name.
    pub metadata: Metadata,
    /// The settings of the GitHubToken.
    pub spec: GitHubTokenSpec,
}

/// The settings of a GitHubToken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("required" = ["token", "webhookSecrets"]))]
pub struct GitHubTokenSpec {
    /// A reference to the token: a classic token of an enterprise owner, with the scopes `manage_runners:enterprise` and `repo`.
    pub token: SecretRef,
    /// References to secrets of the enterprise's webhook, at least one. Any of them may sign, so that a secret can be rotated.
    #[schemars(length(min = 1))]
    pub webhook_secrets: Vec<SecretRef>,
    /// The URL of GitHub's REST API. GHES: `https://HOST/api/v3`.
    pub api_url: String,
}

impl Default for GitHubTokenSpec {
    fn default() -> Self {
        GitHubTokenSpec { token: SecretRef::default(), webhook_secrets: Vec::new(), api_url: "https://api.github.com".into() }
    }
}

// ---------------------------------------------------------------------------------------------- RunnerPool
