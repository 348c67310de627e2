//! What lies between an operator and a muster process: what the operator sets, and what the process shows.
//!
//! The settings come first: [`environment`], [`config`] (the manifests of a directory), [`prices`]. Then comes what the process
//! shows: [`inspect`] asks the core, [`metrics`] counts, [`meter`] computes the cost, [`usage`] keeps it by the hour and [`spend`] adds it up,
//! [`history`] keeps what the pools did, [`recorded_jobs`] takes the jobs out of a flight record, [`watch`] looks on behalf of all readers, and
//! [`liveness`] says whether each loop turns. [`client`] asks another process for all that, and [`terminal`] prints it.
#![forbid(unsafe_code)]

pub mod config;
pub mod environment;
pub mod prices;
pub mod record;
pub mod recorded_jobs;
pub mod reel;
pub mod shadow;

pub mod subject;

pub mod inspect;
pub mod observer;

pub mod metrics;

pub mod history;
pub mod meter;
pub mod spend;
pub mod usage;

pub mod watch;

pub mod liveness;

pub mod client;
pub mod terminal;
