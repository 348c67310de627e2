//! A simulated cloud and GitHub, with the real controller in the middle. Virtual time, one seed, no threads: the same
//! scenario gives the same run, down to the hash of its trace.
//!
//! [`Scenario`] is a run as data; [`Simulation`] owns the ground truth while it runs. The controller sees of it only what
//! [`muster_reconciler::effect::Input`] tells, late and now and then wrong; [`oracle`] compares what it does with what is true.
//! [`crash`] kills it after every effect, [`shrink`] makes a failure small. `muster demo` runs the same world by the clock.
#![forbid(unsafe_code)]

pub mod rng;
mod times;

// What a run is made of: jobs, changes of the manifests, what goes wrong, how long things take.
pub mod changes;
pub mod conditions;
pub mod example;
pub mod faults;
mod job_plan;
pub mod luck;
pub mod options;
pub mod workload;

// What is to come, in the order of time.
mod agenda;
mod event;
mod nature;
mod request;
pub mod trace;

// The ground truth: EC2, the instances, GitHub, the queue.
pub mod boxes;
mod capacity;
pub mod cloud;
pub mod github;
mod mail;
pub mod queue;
pub mod registry;
mod strangers;

// Time moves: events are dispatched, the controller is told of them, and its effects are carried out.
mod adapters;
mod dispatch;
mod effects;
mod simulation;

// What watches a run: the oracle judges it, marks count the branches that it reached, the ledger keeps the lives of runners and jobs.
pub mod ledger;
pub mod marks;
pub mod oracle;

// Whole runs: from data, drawn from a seed, with crashes, shrunk.
pub mod crash;
mod drawn;
pub mod run;
pub mod scenario;
pub mod shrink;

// Figures of a run.
pub mod forecast;
pub mod tally;

pub use faults::{Fault, Rates};
pub use job_plan::JobPlan;
pub use luck::{Faults, Schedule, Strike};
pub use options::{Latencies, WorldOptions};
pub use oracle::{Invariant, Violation};
pub use request::CrashMode;
pub use run::RunReport;
pub use scenario::Scenario;
pub use shrink::{Shrunk, shrink};
pub use simulation::{Report, Simulation};
pub use times::BEGIN;
