//! What a shadow finds out. `muster run --shadow` watches the fleet of somebody else and writes down what it hears and sees
//! ([`muster_operations::shadow`]). `muster shadow report` puts that together here, and says what muster would have done.
//!
//! In the order of the data: [`archive`] reads events that somebody else kept, and [`paper`] is the fleet on paper of a shadow that runs.
//! [`theirs`] puts the lines together, [`ours`] plays the same jobs through the simulated world, [`boxes`] finds what became of their
//! instances, [`report`] compares, and [`table`] prints for people. Nothing here reads a clock or a network.

pub mod archive;
pub mod boxes;
pub mod ours;
pub mod paper;
#[cfg(test)]
mod planted;
pub mod report;
pub mod table;
pub mod theirs;
#[cfg(test)]
mod week;
