//! What an action does, in a few words that are the same whenever it does the same.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::effect::{Action, Effect, MessageOp, Source};
use crate::ids::InstanceId;
use crate::rerun::Again;

/// How many members of a batch are named.
const NAMED: usize = 3;

/// A digest of everything in an effect, but its id.
pub(super) fn digest(effect: &Effect) -> String {
    let mut all = Hashed(Sha256::new());
    // A digest takes everything.
    let _ = fmt::write(&mut all, format_args!("{:?} {:?}", effect.action, effect.reason));
    short(&all.0.finalize())
}

/// Takes text into a digest, without keeping it.
struct Hashed(Sha256);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

fn short(digest: &[u8]) -> String {
    let mut text = String::with_capacity(8);
    for byte in digest.iter().take(4) {
        let _ = fmt::write(&mut text, format_args!("{byte:02x}"));
    }
    text
}

/// What stands for the name of a job. Jobs of one matrix (`NAME (VALUES)`) still belong together, because a decision depends on that.
pub(super) fn without_name(name: &str) -> String {
    match name.split_once(" (") {
        Some((matrix, _)) => format!("{} ()", short(&Sha256::digest(matrix))),
        None => short(&Sha256::digest(name)),
    }
}

/// Some members of a batch, and how many more there are.
struct Some3<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Some3<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, member) in self.0.iter().take(NAMED).enumerate() {
            write!(f, "{}{member}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What the action does. The id of the launch is left out, because it counts the launches before.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = |f: &mut fmt::Formatter<'_>, verb: &str, ids: &[InstanceId]| write!(f, "{verb} {}", Some3(ids));
        match self {
            Action::Launch(l) => write!(f, "launch {} for {} ({})", l.count, l.pool, l.market),
            Action::Configure(c) => write!(f, "configure {}", c.name),
            Action::Drain(ids) => batch(f, "drain", ids),
            Action::Terminate(ids) => batch(f, "terminate", ids),
            Action::DeleteSecrets(ids) => batch(f, "delete the secrets of", ids),
            Action::Deregister { name, runner, .. } => write!(f, "deregister {name} ({runner})"),
            Action::CheckJob { job, .. } => write!(f, "ask for job {job}"),
            Action::LookAtRun { run, .. } => write!(f, "look at run {run}"),
            Action::Rerun { run, again: Again::Job(job), .. } => write!(f, "rerun job {job} of run {run}"),
            Action::Rerun { run, again: Again::Failed, .. } => write!(f, "rerun what failed of run {run}"),
            Action::CancelRun { run, .. } => write!(f, "cancel run {run}"),
            Action::Tell(key, text) => write!(f, "tell {} on {}", text.state.as_str(), key.sha),
            Action::Redeliver { app, delivery } => write!(f, "ask for delivery {delivery} of {app}"),
            Action::Sweep(Source::Instances) => f.write_str("sweep instances"),
            Action::Sweep(Source::Runners(list)) => write!(f, "sweep runners of {}", list.as_tag()),
            Action::Sweep(Source::Secrets) => f.write_str("sweep secrets"),
            Action::Sweep(Source::Deliveries(app)) => write!(f, "sweep deliveries of {app}"),
            Action::Messages(MessageOp::Extend { seconds }, ids) => write!(f, "hold for {seconds} s {}", Some3(ids)),
            Action::Messages(MessageOp::Release, ids) => write!(f, "release {}", Some3(ids)),
            Action::Messages(MessageOp::Delete, ids) => write!(f, "delete {}", Some3(ids)),
        }
    }
}
