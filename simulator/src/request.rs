//! What the controller asks of the world while it is on its way, and the points at which a crash can follow it.

use std::fmt;
use std::str::FromStr;

use muster_reconciler::effect::{Action, Configure, Effect, MessageOp};
use muster_reconciler::ids::{EffectId, InstanceId, RunnerId};
use muster_reconciler::time::Time;

/// An effect on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub process: u32,
    pub sent_at: Time,
    pub effect: Effect,
    /// Boxes that it ends although the process had been told of a job there.
    pub knew: Vec<InstanceId>,
    /// The pool's max when it set out; for launches.
    pub max: u32,
}

/// The second half of Configure: the registration exists, its secret is still to be put.
#[derive(Debug)]
pub(super) struct Put {
    pub process: u32,
    pub effect: EffectId,
    pub configure: Configure,
    pub runner: Option<RunnerId>,
}

/// What becomes of the request that a crash follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashMode {
    /// It was never sent.
    Lost,
    /// It was sent and takes effect; of two calls, the first.
    Sent,
    /// It took effect entirely; nobody heard the answer.
    Done,
}

impl CrashMode {
    /// All of them.
    pub const ALL: [CrashMode; 3] = [CrashMode::Lost, CrashMode::Sent, CrashMode::Done];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            CrashMode::Lost => "lost",
            CrashMode::Sent => "sent",
            CrashMode::Done => "done",
        }
    }
}

/// The kinds of effects that a crash can follow. Sweeps are none of them: they change nothing, and a process that did not hear
/// the answer sweeps anew when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// [`Action::Launch`].
    Launch,
    /// [`Action::Configure`].
    Configure,
    /// [`Action::Drain`].
    Drain,
    /// [`Action::Terminate`].
    Terminate,
    /// [`Action::Deregister`].
    Deregister,
    /// [`Action::CheckJob`].
    CheckJob,
    /// [`Action::Redeliver`].
    Redeliver,
    /// [`MessageOp::Extend`].
    Extend,
    /// [`MessageOp::Release`].
    Release,
    /// [`MessageOp::Delete`].
    Delete,
    /// [`Action::DeleteSecrets`].
    DeleteSecrets,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 11] = [
        Kind::Launch,
        Kind::Configure,
        Kind::Drain,
        Kind::Terminate,
        Kind::Deregister,
        Kind::CheckJob,
        Kind::Redeliver,
        Kind::Extend,
        Kind::Release,
        Kind::Delete,
        Kind::DeleteSecrets,
    ];

    /// An action's kind; None: a sweep.
    pub(super) const fn of(action: &Action) -> Option<Kind> {
        Some(match action {
            Action::Launch(_) => Kind::Launch,
            Action::Configure(_) => Kind::Configure,
            Action::Drain(_) => Kind::Drain,
            Action::Terminate(_) => Kind::Terminate,
            Action::Deregister { .. } => Kind::Deregister,
            Action::CheckJob { .. } => Kind::CheckJob,
            Action::Redeliver { .. } => Kind::Redeliver,
            Action::Messages(MessageOp::Extend { .. }, _) => Kind::Extend,
            Action::Messages(MessageOp::Release, _) => Kind::Release,
            Action::Messages(MessageOp::Delete, _) => Kind::Delete,
            Action::DeleteSecrets(_) => Kind::DeleteSecrets,
            Action::Sweep(_) => return None,
        })
    }
}

/// Where to crash: after which effect, from 1, and what becomes of it. Written `12:lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// After which effect, from 1.
    pub effect: u64,
    /// What becomes of that effect.
    pub mode: CrashMode,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.effect, self.mode.as_str())
    }
}

impl FromStr for Point {
    type Err = String;
    fn from_str(text: &str) -> Result<Point, String> {
        let wrong =
            || format!("`{text}` is no point to crash at: write EFFECT:MODE, the mode lost, sent or done, such as 12:lost");
        let (effect, mode) = text.split_once(':').ok_or_else(wrong)?;
        let effect = effect.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let mode = CrashMode::ALL.into_iter().find(|m| m.as_str() == mode).ok_or_else(wrong)?;
        Ok(Point { effect, mode })
    }
}
