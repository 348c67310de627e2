//! muster's decisions, in the order in which an event passes through them: event -> demand -> plan -> act -> observe.
//!
//! Nothing here does anything. [`controller::Controller::step`] takes the time and one input and returns the effects
//! that are to be carried out; it is synchronous and deterministic, so the whole controller runs in
//! a simulator, which is a crate of its own: `simulator/`.
#![forbid(unsafe_code)]

/// Shows an enum by its word, `as_str`.
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

pub mod defects;
pub mod ids;
pub mod tags;
pub mod time;

pub mod manifest;

pub mod effect;
pub mod event;
pub mod fact;
pub mod reason;

pub mod deliveries;
pub mod demand;
pub mod matching;

pub mod runner;
pub mod world;

pub mod past;

pub mod budget;
pub mod capacity;
pub mod plan;
pub mod quota;
pub mod refusal;

pub mod controller;

pub mod journal;
pub mod steer;

pub mod explain;
pub mod timeline;
pub mod view;
pub mod why;
