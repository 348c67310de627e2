//! How a runner leaves: who wants it to end, what EC2 accepted, and since when the runner is gone.

use super::DrainOutcome;
use super::{CONSISTENCY_LAG, Runner};
use crate::reason::StepReason;
use crate::time::Time;

/// How a runner leaves.
///
/// `gone_at` does not depend on what was asked of the runner. An instance may end by itself, and a runner that seemed gone may
/// turn up again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Leaving {
    way: Way,
    gone_at: Option<Time>,
    /// Whether the runner ended before it was online, although nobody had asked for that.
    stillborn: bool,
}

/// How far the end of a runner has come. A later variant outranks the earlier ones.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// EC2 has accepted no order to end the runner.
    Stays {
        /// The words of the operator who wants the runner to end; may be empty. None: nobody wants that.
        ordered: Option<String>,
    },
    /// A drain or a termination was asked for, and got no certain answer.
    Unanswered {
        ask: Ask,
        /// The reason of an operator's drain, which counts again if the order was in vain.
        ordered: Option<String>,
    },
    /// The instance bears the drain tag.
    Drains(Ask),
    /// EC2 accepted our TerminateInstances.
    Ends { accepted_at: Time, drain: Option<Ask> },
}

impl Default for Way {
    fn default() -> Way {
        Way::Stays { ordered: None }
    }
}

/// An order to end a runner.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    at: Time,
    why: Option<StepReason>,
}

impl Ask {
    /// When muster asked, or first saw the tag.
    pub fn at(&self) -> Time {
        self.at
    }

    /// Why muster asked. None: another process asked.
    pub fn why(&self) -> Option<&StepReason> {
        self.why.as_ref()
    }
}

impl Runner {
    /// The words of the operator who wants the runner to end. None: no operator does, or the instance bears the drain tag or is
    /// being ended.
    pub fn ordered(&self) -> Option<&str> {
        match &self.leaving.way {
            Way::Stays { ordered } | Way::Unanswered { ordered, .. } => ordered.as_deref(),
            Way::Drains(_) | Way::Ends { .. } => None,
        }
    }

    /// The drain of the runner. None: the runner was not asked to end once no job runs on it.
    pub fn drain(&self) -> Option<&Ask> {
        match &self.leaving.way {
            Way::Drains(ask) => Some(ask),
            Way::Ends { drain, .. } => drain.as_ref(),
            Way::Stays { .. } | Way::Unanswered { .. } => None,
        }
    }

    /// The drain or termination that got no certain answer. Until EC2 shows what came of the order, the runner is no supply.
    /// Otherwise another runner would be let go in its place.
    pub fn unanswered(&self) -> Option<&Ask> {
        match &self.leaving.way {
            Way::Unanswered { ask, .. } => Some(ask),
            Way::Stays { .. } | Way::Drains(_) | Way::Ends { .. } => None,
        }
    }

    /// When EC2 accepted our TerminateInstances. None: EC2 has not.
    pub fn terminated_at(&self) -> Option<Time> {
        match &self.leaving.way {
            Way::Ends { accepted_at, .. } => Some(*accepted_at),
            Way::Stays { .. } | Way::Unanswered { .. } | Way::Drains(_) => None,
        }
    }

    /// When the runner was first found gone. None: the runner is not gone.
    pub fn gone_at(&self) -> Option<Time> {
        self.leaving.gone_at
    }

    /// Whether muster decided that the runner ends, and does not know yet whether it will.
    pub fn may_be_leaving(&self) -> bool {
        self.attempts.ends_it() || self.unanswered().is_some()
    }

    /// Whether neither muster nor spot has done anything that could end the runner.
    pub(super) fn left_alone(&self) -> bool {
        let asked = self.drain().is_some() || self.terminated_at().is_some() || self.may_be_leaving();
        !asked && self.interrupted_at().is_none()
    }

    /// Whether the runner was counted as one that ended before it was online, and EC2 has not said why.
    pub(crate) fn end_is_unexplained(&self) -> bool {
        self.leaving.stillborn && self.state_reason().is_none()
    }

    /// What came of the drain of a runner that is gone. None: the runner was not drained.
    pub(crate) fn drain_ended(&self) -> Option<DrainOutcome> {
        self.drain()?;
        Some(if self.terminated_at().is_some() { DrainOutcome::Unanswered } else { DrainOutcome::Answered })
    }

    /// An operator wants the runner to end. This changes nothing once EC2 has accepted an order.
    pub fn order_to_end(&mut self, why: &str) {
        if let Way::Stays { ordered } | Way::Unanswered { ordered, .. } = &mut self.leaving.way {
            *ordered = Some(why.to_owned());
        }
    }

    /// Takes over the order of an operator who wanted the instances of this runner's launch to end.
    pub(super) fn inherit_order(&mut self, inherited: Option<&String>) {
        if let Way::Stays { ordered } | Way::Unanswered { ordered, .. } = &mut self.leaving.way {
            *ordered = ordered.take().or(inherited.cloned());
        }
    }

    /// EC2 accepted the drain tag. If the runner was drained before, the first time stays, and the newest reason replaces the old
    /// one.
    pub fn drain_accepted(&mut self, reason: &StepReason, now: Time) {
        let ask = |known: Option<Ask>| Ask { at: known.map_or(now, |ask| ask.at), why: Some(reason.clone()) };
        self.leaving.way = match std::mem::take(&mut self.leaving.way) {
            Way::Stays { .. } | Way::Unanswered { .. } => Way::Drains(ask(None)),
            Way::Drains(known) => Way::Drains(ask(Some(known))),
            Way::Ends { accepted_at, drain } => Way::Ends { accepted_at, drain: Some(ask(drain)) },
        };
    }

    /// EC2 accepted TerminateInstances.
    pub fn termination_accepted(&mut self, now: Time) {
        self.leaving.way = Way::Ends { accepted_at: now, drain: self.drain().cloned() };
    }

    /// Nobody knows whether EC2 accepted the drain tag, or TerminateInstances.
    pub fn ask_unanswered(&mut self, reason: &StepReason, now: Time) {
        if let Way::Stays { ordered } | Way::Unanswered { ordered, .. } = &mut self.leaving.way {
            self.leaving.way = Way::Unanswered { ask: Ask { at: now, why: Some(reason.clone()) }, ordered: ordered.take() };
        }
    }

    /// A sweep shows the drain tag. If this process did not ask, another one did.
    pub(super) fn drain_tag_shown(&mut self, now: Time) {
        let found = Ask { at: now, why: None };
        self.leaving.way = match std::mem::take(&mut self.leaving.way) {
            Way::Stays { .. } => Way::Drains(found),
            Way::Unanswered { ask, .. } => Way::Drains(ask),
            Way::Ends { accepted_at, drain } => Way::Ends { accepted_at, drain: drain.or(Some(found)) },
            drains @ Way::Drains(_) => drains,
        };
    }

    /// A sweep that began at `began` shows the instance up and without the drain tag. An order that is older than EC2's lag was
    /// then in vain.
    pub(super) fn shown_to_stay(&mut self, began: Time) {
        if let Way::Unanswered { ask, ordered } = &mut self.leaving.way
            && began >= ask.at + CONSISTENCY_LAG
        {
            self.leaving.way = Way::Stays { ordered: ordered.take() };
        }
    }

    /// The runner is gone. Returns true when a runner of ours is found gone for the first time, was never online, and nobody had
    /// asked it to end.
    ///
    /// Decision 0010, row 34.
    pub(crate) fn found_gone(&mut self, now: Time) -> bool {
        if self.gone_at().is_some() {
            return false;
        }
        self.leaving.gone_at = Some(now);
        let stillborn = self.launched_here() && !self.was_online() && self.left_alone() && !self.counts_as_failed();
        self.leaving.stillborn |= stillborn;
        stillborn
    }

    /// The runner is not gone, or has turned up again.
    pub(crate) fn found_alive(&mut self) {
        self.leaving.gone_at = None;
    }
}
