//! muster's effects: everything that talks to the world. Decisions are made in `muster_reconciler`.
//!
//! In the order of the data: `http` (webhook) -> `outbox` -> SQS -> `ingest` -> `driver` (the core) -> `act` (AWS, GitHub).
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod environment;

pub mod subject;

pub mod http;
pub mod keyring;
pub mod outbox;
pub mod seal;
pub mod wire;

pub mod liveness;
pub mod meter;
pub mod metrics;
pub mod observer;
pub mod plot;
pub mod prices;

pub mod simulate;

#[cfg(feature = "live")]
pub mod act;
#[cfg(feature = "live")]
pub mod aws;
#[cfg(feature = "live")]
pub mod clock;
#[cfg(feature = "live")]
pub mod doctor;
#[cfg(feature = "live")]
pub mod driver;
#[cfg(feature = "live")]
pub mod github;
#[cfg(feature = "live")]
pub mod ingest;
#[cfg(feature = "live")]
pub mod manifests;
#[cfg(feature = "live")]
pub mod otlp;
#[cfg(feature = "live")]
pub mod reload;
#[cfg(feature = "live")]
pub mod retry;
#[cfg(feature = "live")]
pub mod secrets;
#[cfg(all(feature = "live", unix))]
pub mod supervisor;
#[cfg(feature = "live")]
pub mod sync;
