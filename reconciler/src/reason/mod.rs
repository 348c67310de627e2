//! Why something is so, as values: one enum for each thing that can be asked "why?".
//!
//! Each reason has three parts. Its `word()` is for logs, metrics, JSON and filters, and never changes. Its fields hold the data.
//! Its sentence is for people. All these sentences are written in this module. A sentence that says how much time is left is made
//! by `say(now)`, every other one by `Display`. No decision ever depends on a reason.
//!
//! Other words for people stand where their data is: `plan/say.rs` sums up a plan, `timeline.rs` states the facts of an
//! explanation, `stage.rs` names the stages of a start, `refusal.rs` has the meanings of EC2's codes, `ids.rs` says why a scope
//! cannot be read, `labels.rs` and `quota.rs` write names into a list, and `manifest/` has the problems of manifests.
//!
//! | asked | answered by |
//! |---|---|
//! | why is this done to a runner? | [`StepReason`] |
//! | why did a runner not come online? | [`BootFailure`] |
//! | why is a runner in its phase? | [`RunnerReason`] |
//! | why is an instance launched, or not? | [`LaunchReason`], [`Tripped`], [`Blocked`], [`Backoff`], [`Shortage`], [`LaunchFailure`] |
//! | why has a pool as many runners as it has? | [`PoolReason`], [`NotServed`] |
//! | why is a job where it is? | [`JobReason`], [`HoldReason`], [`DoubtReason`], [`Unmatched`], [`Foreign`] |
//! | why is a call made? | [`Reason`], [`CallReason`] |
//! | what happened, and why? | [`EventReason`] |
//! | what should somebody do something about? | [`Concern`] |
//! | how long will a job wait? | [`Expected`] |
//! | what comes of an operator's order? | [`OrderAnswer`], [`OrderRefusal`] |
//! | why is the controller not ready? | [`Unready`] |
//! | what will happen at a known time? | [`AwaitedReason`] |

mod awaited;
mod breaker;
mod call;
mod code;
mod concern;
mod event;
mod expected;
mod job;
mod order;
mod pool;
mod ready;
mod runner;
mod step;
mod verdict;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::market::Market;

pub use awaited::{Awaited, AwaitedReason};
pub use breaker::Tripped;
pub use call::{CallReason, Reason};
pub use code::Code;
pub use concern::Concern;
pub use event::EventReason;
pub use expected::Expected;
pub use job::{DoubtReason, Foreign, HandOver, HoldReason, JobReason, Misfit, Unmatched};
pub use order::{OrderAnswer, OrderRefusal};
pub use pool::{Backoff, Blocked, LaunchFailure, LaunchReason, NotServed, PoolReason, Refused, RefusedOffering, Shortage, Wants};
pub use ready::Unready;
pub use runner::{RunnerReason, Standing};
pub use step::{BootFailure, StepReason};

/// Gives an enum its method `word()`, and the list `WORDS` of all words. A unit test checks that the words are the tags in JSON.
macro_rules! words {
    ($type:ty { $($variant:ident => $word:literal,)* }) => {
        impl $type {
            /// All words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The reason in one word, which never changes: for logs, metrics, JSON and filters.
            pub const fn word(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word,)*
                }
            }
        }
    };
}
use words;

/// `1 instance`, `2 instances`.
pub fn count(n: impl TryInto<u64>, one: &'static str) -> impl fmt::Display {
    // No count is as large as u64::MAX, and a usize fits.
    let n: u64 = n.try_into().unwrap_or(u64::MAX);
    fmt::from_fn(move |f| write!(f, "{n} {one}{}", if n == 1 { "" } else { "s" }))
}

/// `1 spot instance`, `3 fewer on-demand instances`.
pub(crate) fn instances(n: u32, fewer: &'static str, market: Market) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{n} {fewer}{} {}", market.as_str(), if n == 1 { "instance" } else { "instances" }))
}

/// `none is`, `1 is`, `2 are`.
fn are(n: u32) -> impl fmt::Display {
    fmt::from_fn(move |f| match n {
        0 => f.write_str("none is"),
        1 => f.write_str("1 is"),
        n => write!(f, "{n} are"),
    })
}

/// Writes a shared text into JSON.
fn text<S: serde::Serializer>(text: &std::sync::Arc<str>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(text)
}

/// Writes a duration into JSON, in seconds.
fn seconds<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(d.as_secs_f64())
}
