//! Why the controller is not ready to plan.

/// What the controller lacks before it can plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// The controller was told to stop.
    #[error("shutting down")]
    Stopping,
    /// No manifests were read.
    #[error("no manifests yet")]
    NoManifests,
    /// This process does not hold the lease. Another one may.
    #[error("this process stands by: it does not hold the lease")]
    StandsBy,
    /// The first complete sweep of EC2 is under way or comes next.
    #[error("no complete sweep of EC2 yet: under way")]
    NotSwept,
    /// The sweeps of EC2 fail. The field says how the last one did.
    #[error("no complete sweep of EC2 yet: {0}")]
    SweepFailed(String),
}
