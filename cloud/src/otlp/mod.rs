//! Traces for users who have a back end for them: each job that is over becomes one trace, by OTLP over HTTP. Traces are off
//! unless the user asks for them.
//!
//! Traces are level-triggered like everything else: nothing is kept between events for them. Once a job is over, the core tells
//! its whole story ([`muster_reconciler::past`]). `spans` makes OpenTelemetry's spans of the story, and `send` delivers them. The
//! controller never waits for a back end. What does not fit into the bounded queue, and what the back end does not take in time,
//! is dropped and counted.

pub mod config;
mod post;
mod send;
pub mod spans;

pub use config::{Config, ConfigError};
pub use send::{Exporter, Traces};
