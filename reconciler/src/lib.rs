//! muster's decisions. The groups of modules stand in the order in which data passes through them; inside a group the order is the
//! alphabet's.
//!
//! This crate only decides. [`controller::Controller::step`] takes the time and one input, and returns the effects that the
//! caller carries out. The core is synchronous and deterministic, so the whole controller also runs in a simulator. The simulator
//! is a crate of its own: `simulator/`.

/// Implements `Display` for enums: each value prints the word of its `as_str`.
macro_rules! shown {
    ($($type:ty),+) => {
        $(impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        })+
    };
}
pub(crate) use shown;

// The ground: names and time.
pub mod ids;
mod serial;
pub mod tags;
pub mod time;

// What the operator wants.
pub mod manifest;
pub mod permissions;
pub mod warnings;

// What goes in and what comes out, and why.
pub mod effect;
pub mod event;
pub mod fact;
pub mod failure;
pub mod groups;
pub mod history;
pub mod launch;
pub mod market;
pub mod reason;
pub mod release;
pub mod rerun;
pub mod stage;
pub mod versions;

// The jobs.
pub mod cases;
pub mod deliveries;
pub mod demand;
pub mod labels;
pub mod late;
pub mod matching;

// The runners.
pub mod past;
pub mod runner;
pub mod verdict;
pub mod world;

// What the other sides admit.
pub mod breaker;
pub mod budget;
pub mod capacity;
pub mod quota;
pub mod refusal;
pub mod turns;

// The decision, and the loop around it.
pub mod controller;
pub mod lease;
pub mod plan;
pub mod record;
pub mod replay;
pub mod steer;

// What people see.
pub mod attention;
pub mod expect;
pub mod explain;
pub mod journal;
pub mod lately;
pub mod mark;
mod story;
pub mod timeline;
pub mod view;
pub mod waits;
pub mod why;
