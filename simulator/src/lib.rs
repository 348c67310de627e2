//! A simulated cloud and GitHub, with the real controller in the middle. Virtual time, one seed, no threads: the same
//! scenario gives the same run, down to the hash of its trace.
//!
//! [`Scenario`] is a run as data; [`World`] owns the ground truth while it runs. The controller sees of it only what
//! [`muster_reconciler::effect::Input`] tells, late and now and then wrong; [`oracle`] compares what it does with what is true.
//! [`crash`] kills it after every effect, [`shrink`] makes a failure small. `muster demo` runs the same world by the clock.
#![forbid(unsafe_code)]

mod agenda;
pub mod boxes;
mod capacity;
mod carry;
pub mod changes;
pub mod cloud;
pub mod conditions;
pub mod crash;
mod drawn;
mod effects;
mod event;
pub mod example;
pub mod faults;
pub mod forecast;
pub mod forge;
mod happen;
mod job_plan;
pub mod ledger;
pub mod luck;
mod mail;
pub mod marks;
mod nature;
pub mod options;
pub mod oracle;
pub mod queue;
pub mod registry;
mod request;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod shrink;
mod strangers;
pub mod tally;
mod times;
pub mod trace;
pub mod workload;
mod world;

pub use faults::{Fault, Rates};
pub use job_plan::JobPlan;
pub use luck::{Faults, Schedule, Strike};
pub use options::{Latencies, WorldOptions};
pub use oracle::{Invariant, Violation};
pub use request::CrashMode;
pub use run::RunReport;
pub use scenario::Scenario;
pub use shrink::{Shrunk, shrink};
pub use times::BEGIN;
pub use world::{Report, World};
