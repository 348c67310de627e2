//! Traces, for those who have a back end for them: each job that is over as one trace, by OTLP over HTTP. Off unless asked for.
//!
//! Level-triggered as everything else: nothing is kept between events for it. The core tells a job's whole story once it is over
//! ([`muster_reconciler::past`]), `spans` puts it into OpenTelemetry's words, `send` delivers. The controller never waits for it:
//! what does not fit into a bounded queue, and what a back end does not take in time, is dropped and counted.

pub mod config;
mod post;
mod send;
pub mod spans;

pub use config::{Config, ConfigError};
pub use send::{Exporter, Traces};
