//! How an instance is bought, and what may be launched.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Spot or on-demand, as bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// Spot.
    Spot,
    /// On-demand.
    OnDemand,
}

crate::shown!(Market);

impl Market {
    /// `spot` or `on-demand`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Market::Spot => "spot",
            Market::OnDemand => "on-demand",
        }
    }
}

/// One (instance type, subnet) that a launch may choose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offering {
    /// Such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// Such as `subnet-0abc`.
    pub subnet: Arc<str>,
}
