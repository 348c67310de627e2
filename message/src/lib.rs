//! A job's message, and how it is proven: from the delivery that GitHub signed to the message that muster sealed and put on its
//! queue.
//!
//! In the order of the data, which is the order of the modules: the [`keyring`]'s secrets -> [`signature`] -> [`payload`] ->
//! [`delivery`], which judges both -> [`wire`], the message -> [`seal`], with its [`seal_key`]. This crate only computes. Other crates
//! send and receive.
#![forbid(unsafe_code)]

pub mod keyring;

pub mod signature;

pub mod payload;

pub mod kept;

pub mod delivery;

pub mod wire;

pub mod seal;
pub mod seal_key;
