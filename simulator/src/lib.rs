//! A simulated AWS and GitHub, with the real controller between them. Time is virtual, all chance comes from one seed, and
//! there are no threads. So the same scenario gives the same run, down to the hash of its trace.
//!
//! A [`Scenario`] describes a run as data. A [`Simulation`] owns the ground truth while the run lasts. The controller
//! learns of the truth only through [`muster_reconciler::effect::Input`], which is late and sometimes wrong. The [`oracle`]
//! compares what the controller does with the truth. [`crash`] kills the controller after each effect, and [`mod@shrink`] makes
//! a failing scenario small. `muster demo` runs the same world by an accelerated clock.
#![forbid(unsafe_code)]

pub mod rng;
mod times;

// What a run is made of: jobs, changes of the manifests, faults, and how long everything takes.
pub mod changes;
pub mod conditions;
pub mod example;
pub mod faults;
mod job_end;
mod job_plan;
pub mod luck;
pub mod options;
pub mod workload;

// What will happen, in the order of time.
mod agenda;
mod event;
mod nature;
mod request;
pub mod trace;

// The ground truth: EC2, the instances, GitHub, the queue.
mod capacity;
pub mod cloud;
pub mod github;
pub mod instances;
mod mail;
pub mod queue;
pub mod registry;
mod strangers;

// How time moves: events are dispatched, the controller is told of them, and its effects are carried out.
mod simulation;

// What watches a run. The oracle judges it, the marks count the rare branches that it reached, and the ledger records
// runners and jobs.
pub mod efficiency;
pub mod ledger;
pub mod marks;
pub mod oracle;

// Whole runs: from data, drawn from a seed, with crashes, and shrunk.
pub mod crash;
mod drawn;
pub mod run;
pub mod scenario;
pub mod shrink;

// Figures of a run.
pub mod forecast;
pub mod tally;
pub mod tenures;

// What to change of the manifests, found by many forecasts.
pub mod tune;

pub use faults::{Fault, Rates};
pub use job_end::JobEnd;
pub use job_plan::JobPlan;
pub use luck::{Faults, Schedule, Strike};
pub use options::{Latencies, WorldOptions};
pub use oracle::{Invariant, Verdicts, Violation};
pub use request::CrashMode;
pub use run::RunReport;
pub use scenario::Scenario;
pub use shrink::{Shrunk, shrink};
pub use simulation::{Blow, Report, Simulation};
pub use tenures::Tenures;
pub use times::BEGIN;
