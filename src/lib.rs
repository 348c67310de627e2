//! muster as one program: its command line, its two listeners, and how the parts are connected. `muster_reconciler` decides,
//! `muster_cloud` acts, and `muster_simulator` is a world in which the decisions are judged.
//!
//! In the order of the data: `http` (webhook) -> `outbox` -> SQS -> `muster_cloud::ingest` -> `muster_cloud::driver` (the core).
#![forbid(unsafe_code)]

// What a user starts.
pub mod cli;

// The way of a webhook, and the admin listener.
pub mod http;
pub mod outbox;

// A forecast, and a search by many forecasts, without AWS, and what a shadow finds out.
pub mod shadow;
pub mod simulate;
pub mod tune;

// What these share, and what systemd is told.
pub mod plot;
#[cfg(unix)]
pub mod supervisor;
