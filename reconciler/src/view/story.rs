//! The story of one job or runner, as people see it: what took how long, and where there is more.

use serde::{Deserialize, Serialize};

/// One part of a story, with how long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// What happened meanwhile, such as `waited for a runner`.
    pub what: String,
    /// For how long, in seconds.
    pub seconds: f64,
    /// For how long it usually goes on in the pool: half of all cases of the last day were as short. None: too little was seen.
    pub usual_seconds: Option<f64>,
    /// Whether it still goes on.
    pub going: bool,
    /// Whether it is a part of the start of the job's runner, which ran beside the job's wait.
    pub of_runner: bool,
}

/// A page elsewhere with more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// What is there.
    pub what: String,
    /// The address.
    pub href: String,
}
