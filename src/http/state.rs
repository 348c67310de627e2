//! What the admin listener needs to answer: the core's door, the metrics, the page's watch, and what orders need.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_operations::inspect::Inspect;
use muster_operations::liveness::Liveness;
use muster_operations::metrics::Metrics;
use muster_operations::watch::Watch;
use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::steer::Pause;
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Who answers here; shown at the top of the dashboard and by `/api/v1/about`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// The cluster's name.
    pub cluster: String,
    /// This release.
    pub version: String,
    /// A sentence for the top of the page, if there is something that everybody must know ("this is a demo").
    pub banner: Option<String>,
}

impl About {
    /// About a cluster, with this release's version and no banner.
    pub fn cluster(name: impl Into<String>) -> About {
        About { cluster: name.into(), version: env!("CARGO_PKG_VERSION").into(), banner: None }
    }
}

/// What the admin listener needs.
#[derive(Clone)]
pub struct Admin {
    /// Who answers.
    pub about: About,
    /// The core; None in a process that runs the webhook only.
    pub inspect: Option<Inspect>,
    /// Reads what a box said of its end; None where there is no EC2.
    pub console: Option<Console>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Looks at the core for the page; None where there is none.
    pub watch: Option<Arc<Watch>>,
    /// What orders need; None: none are taken.
    pub steer: Option<Steer>,
    /// Whether the process does its work.
    pub liveness: Liveness,
    /// Ends open streams.
    pub stop: CancellationToken,
}

/// Reads the reason of its end from a box's console, if there is one; Err: why it cannot be read.
pub type Console = Arc<dyn Fn(InstanceId) -> BoxFuture<'static, Result<Option<String>, String>> + Send + Sync>;

/// Keeps (Some) or forgets (None) a pool's pause beyond this process; Err: why it could not.
pub type Keep = Arc<dyn Fn(PoolName, Option<Pause>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What orders need.
#[derive(Clone)]
pub struct Steer {
    /// The token in force; None: nobody may change anything here.
    pub token: watch::Receiver<Option<SecretString>>,
    /// Keeps pauses; None: they end with the process.
    pub keep: Option<Keep>,
}
