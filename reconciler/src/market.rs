//! On which market an instance is bought, and which offerings a launch may choose from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::serial::shared;

/// The market on which an instance is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// A spot instance, which EC2 may take back.
    Spot,
    /// An on-demand instance.
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

/// One instance type in one subnet, which a launch may choose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offering {
    /// The instance type, such as `m7i.large`.
    #[serde(with = "shared")]
    pub instance_type: Arc<str>,
    /// The subnet, such as `subnet-0abc`.
    #[serde(with = "shared")]
    pub subnet: Arc<str>,
}
