//! The controller's requests on their way to the world, and the points of a run at which a crash can follow one.

use std::fmt;
use std::str::FromStr;

use muster_reconciler::effect::{Action, Configure, Effect, MessageOp, Resource, Source};
use muster_reconciler::ids::{EffectId, InstanceId, Payer, RunnerId};
use muster_reconciler::late::NoticeKey;
use muster_reconciler::manifest::Spec;
use muster_reconciler::time::Time;

/// An effect on its way to AWS, GitHub or the queue.
#[derive(Debug)]
pub(super) struct Request {
    pub process: u32,
    pub sent_at: Time,
    pub effect: Effect,
    /// Instances that the request ends although the process had been told of a job on them.
    pub knew: Vec<InstanceId>,
    /// The pool's `max` when the request left the controller. Only launches use it.
    pub max: u32,
    /// The process was stopped with the request in its hand, and sent it when it went on.
    pub held: bool,
}

/// The API call of an action, by the name under which the other side counts and limits it.
pub(super) fn api(action: &Action) -> &'static str {
    match action {
        Action::Launch(_) => "CreateFleet",
        Action::Configure(_) => "GenerateJitConfig",
        Action::Drain(_) => "CreateTags",
        Action::Terminate(_) => "TerminateInstances",
        Action::Deregister { .. } => "DeleteRunner",
        Action::CheckJob { .. } => "GetJob",
        Action::LookAtRun { .. } => "GetRun",
        Action::Rerun { .. } => "RerunJobs",
        Action::CancelRun { .. } => "CancelRun",
        Action::Tell(..) => "CreateCommitStatus",
        Action::Redeliver { .. } => "RedeliverWebhook",
        Action::Sweep(Source::Deliveries(_)) => "ListDeliveries",
        Action::Sweep(Source::Instances) => "DescribeInstances",
        Action::Sweep(Source::Runners(_)) => "ListRunners",
        Action::Sweep(Source::Secrets) => "GetParametersByPath",
        Action::Messages(MessageOp::Extend { .. } | MessageOp::Release, _) => "ChangeMessageVisibility",
        Action::Messages(MessageOp::Delete, _) => "DeleteMessage",
        Action::DeleteSecrets(_) => "DeleteParameters",
    }
}

/// The rate limit at GitHub that an action counts against. None: the action is no call to GitHub.
pub(super) fn counts_against(action: &Action, spec: &Spec) -> Option<(Payer, Resource)> {
    match action {
        Action::Configure(Configure { list_id, .. }) => Some((list_id.payer(), Resource::Registration)),
        Action::Deregister { list_id, .. } => Some((list_id.payer(), Resource::Core)),
        Action::Sweep(source) => Some((source.payer()?, Resource::Core)),
        Action::CheckJob { app, repo, .. }
        | Action::LookAtRun { app, repo, .. }
        | Action::Rerun { app, repo, .. }
        | Action::CancelRun { app, repo, .. }
        | Action::Tell(NoticeKey { app, repo, .. }, _) => Some((spec.payer(app, repo), Resource::Core)),
        Action::Redeliver { app, .. } => Some((Payer::itself(app), Resource::Core)),
        _ => None,
    }
}

/// The second half of Configure. The registration exists already, and its secret is still to be written.
#[derive(Debug)]
pub(super) struct Put {
    pub process: u32,
    pub effect: EffectId,
    pub configure: Configure,
    pub runner: Option<RunnerId>,
}

/// What becomes of the request after which the controller crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashMode {
    /// The request was never sent.
    Lost,
    /// The request was sent and takes effect. Of an effect with two calls, only the first call does.
    Sent,
    /// The request took effect entirely, and nobody heard the answer.
    Done,
}

impl CrashMode {
    /// In the order in which `muster sim --crash-each` tries them.
    pub const ALL: [CrashMode; 3] = [CrashMode::Lost, CrashMode::Sent, CrashMode::Done];

    /// The name of the mode on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            CrashMode::Lost => "lost",
            CrashMode::Sent => "sent",
            CrashMode::Done => "done",
        }
    }
}

/// The kinds of effects that a crash can follow. Sweeps are left out, because they change nothing, and a new process sweeps
/// again anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
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
    /// [`Action::LookAtRun`].
    LookAtRun,
    /// [`Action::Rerun`].
    Rerun,
    /// [`Action::CancelRun`].
    CancelRun,
    /// [`Action::Tell`].
    Tell,
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

impl RequestKind {
    /// Every kind; the examples must cover all of them.
    pub const ALL: [RequestKind; 15] = [
        RequestKind::Launch,
        RequestKind::Configure,
        RequestKind::Drain,
        RequestKind::Terminate,
        RequestKind::Deregister,
        RequestKind::CheckJob,
        RequestKind::LookAtRun,
        RequestKind::Rerun,
        RequestKind::CancelRun,
        RequestKind::Tell,
        RequestKind::Redeliver,
        RequestKind::Extend,
        RequestKind::Release,
        RequestKind::Delete,
        RequestKind::DeleteSecrets,
    ];

    /// The kind of an action. None: the action is a sweep.
    pub(super) const fn of(action: &Action) -> Option<RequestKind> {
        Some(match action {
            Action::Launch(_) => RequestKind::Launch,
            Action::Configure(_) => RequestKind::Configure,
            Action::Drain(_) => RequestKind::Drain,
            Action::Terminate(_) => RequestKind::Terminate,
            Action::Deregister { .. } => RequestKind::Deregister,
            Action::CheckJob { .. } => RequestKind::CheckJob,
            Action::LookAtRun { .. } => RequestKind::LookAtRun,
            Action::Rerun { .. } => RequestKind::Rerun,
            Action::CancelRun { .. } => RequestKind::CancelRun,
            Action::Tell(..) => RequestKind::Tell,
            Action::Redeliver { .. } => RequestKind::Redeliver,
            Action::Messages(MessageOp::Extend { .. }, _) => RequestKind::Extend,
            Action::Messages(MessageOp::Release, _) => RequestKind::Release,
            Action::Messages(MessageOp::Delete, _) => RequestKind::Delete,
            Action::DeleteSecrets(_) => RequestKind::DeleteSecrets,
            Action::Sweep(_) => return None,
        })
    }
}

/// Where a run crashes, and what becomes of the last request. Written as `12:lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashPoint {
    /// The number of the effect after which the controller crashes, from 1.
    pub effect: u64,
    /// What becomes of that effect.
    pub mode: CrashMode,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.effect, self.mode.as_str())
    }
}

impl FromStr for CrashPoint {
    type Err = String;
    fn from_str(text: &str) -> Result<CrashPoint, String> {
        let wrong =
            || format!("`{text}` is no point to crash at: write EFFECT:MODE, the mode lost, sent or done, such as 12:lost");
        let (effect, mode) = text.split_once(':').ok_or_else(wrong)?;
        let effect = effect.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let mode = CrashMode::ALL.into_iter().find(|m| m.as_str() == mode).ok_or_else(wrong)?;
        Ok(CrashPoint { effect, mode })
    }
}
