//! What the admin listener needs for its answers: questions to the core, the metrics, the watch of the live page, and what
//! orders need.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_operations::inspect::Inspect;
use muster_operations::liveness::Liveness;
use muster_operations::metrics::Metrics;
use muster_operations::watch::Watch;
use muster_reconciler::ids::PoolName;
use muster_reconciler::steer::Pause;
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::console::Console;
use super::door::Door;
use super::lanes::Lanes;
use super::rewind::Rewind;

/// What `/api/v1/about` and the top of the live page say about this process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// The cluster's name.
    pub cluster: String,
    /// The version of this release.
    pub version: String,
    /// A sentence for the top of the page that every reader must see, such as "this is a demo". None: there is no such
    /// sentence.
    pub banner: Option<String>,
}

impl About {
    /// About a cluster, with this release's version and no banner.
    pub fn cluster(name: impl Into<String>) -> About {
        About { cluster: name.into(), version: env!("CARGO_PKG_VERSION").into(), banner: None }
    }
}

/// What the admin listener needs for its answers.
#[derive(Clone)]
pub struct Admin {
    /// What this process says of itself.
    pub about: About,
    /// Asks the core. None: this process runs only the webhook.
    pub inspect: Option<Inspect>,
    /// Reads what an instance said about its end. None: this process has no EC2.
    pub console: Option<Console>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Watches the core for the page. None: this process has no core.
    pub watch: Option<Arc<Watch>>,
    /// What orders need. None: no orders are taken.
    pub steer: Option<Steer>,
    /// Who may look.
    pub door: Door,
    /// Keeps many readers from being in the way.
    pub lanes: Lanes,
    /// Whether the process still does its work.
    pub liveness: Liveness,
    /// Ends the streams of open pages.
    pub stop: CancellationToken,
    /// Why this process does not act.
    pub stands_by: StandsBy,
    /// Goes to another time. None: this is no replay.
    pub rewind: Option<Rewind>,
}

impl Admin {
    /// An admin listener that shows metrics and health only, to everybody who reaches it.
    pub fn bare(about: About, metrics: Arc<Metrics>, liveness: Liveness, stop: CancellationToken) -> Admin {
        let (door, lanes) = (Door::default(), Lanes::default());
        let stands_by: StandsBy = Arc::new(|| None);
        let (inspect, console, watch, steer, rewind) = (None, None, None, None, None);
        Admin { about, inspect, console, metrics, watch, steer, door, lanes, liveness, stop, stands_by, rewind }
    }
}

/// The sentence of a process that stands by, because it does not hold the lease. None: this process acts.
pub type StandsBy = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Keeps a pool's pause for later processes, or forgets it (None). Err: why that failed.
pub type Keep = Arc<dyn Fn(PoolName, Option<Pause>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What orders need.
#[derive(Clone)]
pub struct Steer {
    /// The token in force. None: there is none, so all orders are refused.
    pub token: watch::Receiver<Option<SecretString>>,
    /// Keeps pauses. None: pauses end with the process.
    pub keep: Option<Keep>,
}
