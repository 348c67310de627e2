//! muster as one program: its command line, its two listeners, and how the parts are connected. `muster_reconciler` decides,
//! `muster_cloud` acts, and `muster_simulator` is a world in which the decisions are judged.
//!
//! In the order of the data: `http` (webhook) -> `outbox` -> SQS -> `muster_cloud::ingest` -> `muster_cloud::driver` (the core).
#![forbid(unsafe_code)]

pub mod cli;

pub mod http;
pub mod outbox;

#[cfg(unix)]
pub mod supervisor;

pub mod plot;

pub mod simulate;
