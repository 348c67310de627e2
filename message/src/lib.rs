//! A job's message, and how it is proven: from the delivery that GitHub signed to the message that muster sealed and put on its
//! queue.
//!
//! In the order of the data: [`signature`] (by the secrets of the [`keyring`]) -> [`payload`] -> [`delivery`], which judges both
//! -> [`wire`], the message -> [`seal`]. This crate only computes. Other crates send and receive.
#![forbid(unsafe_code)]

pub mod seal_key;

pub mod keyring;

pub mod payload;
pub mod signature;

pub mod delivery;

pub mod seal;
pub mod wire;
