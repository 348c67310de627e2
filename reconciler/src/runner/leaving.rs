//! How a runner leaves: who wants it to end, what EC2 took of that, and since when it is gone.

use super::{CONSISTENCY_LAG, Runner};
use crate::fact::DrainOutcome;
use crate::reason::StepReason;
use crate::time::Time;

/// How a runner leaves.
///
/// That it is gone is a fact of its own, whatever was asked of it: an instance may end by itself, and one that seemed gone may turn
/// up again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Leaving {
    way: Way,
    gone_at: Option<Time>,
    /// It ended before it was online, and nobody had asked for that.
    stillborn: bool,
}

/// How far it has come with the end of a runner. A later one outranks all that was known before.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// EC2 has taken no order to end it.
    Stays {
        /// An operator wants it to end, in the operator's words, which may be empty.
        wish: Option<String>,
    },
    /// It was drained or terminated, and no certain answer came.
    Unanswered {
        ask: Ask,
        /// The wish, should the order have been in vain.
        wish: Option<String>,
    },
    /// Its instance bears the drain tag.
    Drains(Ask),
    /// EC2 accepted our TerminateInstances.
    Ends { accepted_at: Time, drain: Option<Ask> },
}

impl Default for Way {
    fn default() -> Way {
        Way::Stays { wish: None }
    }
}

/// A runner was asked to end.
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

    /// None when another process asked.
    pub fn why(&self) -> Option<&StepReason> {
        self.why.as_ref()
    }
}

impl Runner {
    /// The words of the operator who wants it to end, while its instance does not bear the drain tag.
    pub fn wish(&self) -> Option<&str> {
        match &self.leaving.way {
            Way::Stays { wish } | Way::Unanswered { wish, .. } => wish.as_deref(),
            Way::Drains(_) | Way::Ends { .. } => None,
        }
    }

    /// It was asked to end once no job runs on it.
    pub fn drain(&self) -> Option<&Ask> {
        match &self.leaving.way {
            Way::Drains(ask) => Some(ask),
            Way::Ends { drain, .. } => drain.as_ref(),
            Way::Stays { .. } | Way::Unanswered { .. } => None,
        }
    }

    /// The drain or end that no certain answer came to. Until EC2 shows what came of it, the runner is no supply, or another one
    /// would be let go in its place.
    pub fn unanswered(&self) -> Option<&Ask> {
        match &self.leaving.way {
            Way::Unanswered { ask, .. } => Some(ask),
            Way::Stays { .. } | Way::Drains(_) | Way::Ends { .. } => None,
        }
    }

    /// When EC2 accepted our TerminateInstances.
    pub fn terminated_at(&self) -> Option<Time> {
        match &self.leaving.way {
            Way::Ends { accepted_at, .. } => Some(*accepted_at),
            Way::Stays { .. } | Way::Unanswered { .. } | Way::Drains(_) => None,
        }
    }

    /// When it was first found gone; None: it is not gone.
    pub fn gone_at(&self) -> Option<Time> {
        self.leaving.gone_at
    }

    /// It was decided that it ends, and whether that came to pass is not known yet.
    pub fn may_be_leaving(&self) -> bool {
        self.attempts.ends_it() || self.unanswered().is_some()
    }

    /// Neither muster nor spot has done anything that could end it.
    pub(super) fn left_alone(&self) -> bool {
        let asked = self.drain().is_some() || self.terminated_at().is_some() || self.may_be_leaving();
        !asked && self.interrupted_at().is_none()
    }

    /// It was counted as one that ended before it was online, and EC2 has not said why.
    pub(crate) fn end_is_unexplained(&self) -> bool {
        self.leaving.stillborn && self.state_reason().is_none()
    }

    /// What came of its drain, now that it is gone; None: it was not drained.
    pub(crate) fn drain_ended(&self) -> Option<DrainOutcome> {
        self.drain()?;
        Some(if self.terminated_at().is_some() { DrainOutcome::Unanswered } else { DrainOutcome::Answered })
    }

    /// An operator wants it to end.
    pub fn wish_to_end(&mut self, why: &str) {
        if let Way::Stays { wish } | Way::Unanswered { wish, .. } = &mut self.leaving.way {
            *wish = Some(why.to_owned());
        }
    }

    /// An operator wanted the launch to end that it came of.
    pub(super) fn inherit_wish(&mut self, inherited: Option<&String>) {
        if let Way::Stays { wish } | Way::Unanswered { wish, .. } = &mut self.leaving.way {
            *wish = wish.take().or(inherited.cloned());
        }
    }

    /// EC2 took the drain tag.
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

    /// Nobody knows whether EC2 took the drain tag, or TerminateInstances.
    pub fn ask_unanswered(&mut self, reason: &StepReason, now: Time) {
        if let Way::Stays { wish } | Way::Unanswered { wish, .. } = &mut self.leaving.way {
            self.leaving.way = Way::Unanswered { ask: Ask { at: now, why: Some(reason.clone()) }, wish: wish.take() };
        }
    }

    /// A sweep shows the drain tag.
    pub(super) fn drain_tag_shown(&mut self, now: Time) {
        let found = Ask { at: now, why: None };
        self.leaving.way = match std::mem::take(&mut self.leaving.way) {
            Way::Stays { .. } => Way::Drains(found),
            Way::Unanswered { ask, .. } => Way::Drains(ask),
            Way::Ends { accepted_at, drain } => Way::Ends { accepted_at, drain: drain.or(Some(found)) },
            drains @ Way::Drains(_) => drains,
        };
    }

    /// A sweep that began at `began` shows its instance up and without the drain tag: an order from before EC2's lag was in vain.
    pub(super) fn shown_to_stay(&mut self, began: Time) {
        if let Way::Unanswered { ask, wish } = &mut self.leaving.way
            && began >= ask.at + CONSISTENCY_LAG
        {
            self.leaving.way = Way::Stays { wish: wish.take() };
        }
    }

    /// It is gone. Whether this is news of one that ended before it was online, and that nobody had asked to end.
    ///
    /// Decision 0010, row 34.
    pub(crate) fn found_gone(&mut self, now: Time) -> bool {
        if self.gone_at().is_some() {
            return false;
        }
        self.leaving.gone_at = Some(now);
        let stillborn = self.launched_here() && !self.was_online() && self.left_alone();
        self.leaving.stillborn |= stillborn;
        stillborn
    }

    /// It is not gone, or is there again.
    pub(crate) fn found_alive(&mut self) {
        self.leaving.gone_at = None;
    }
}
