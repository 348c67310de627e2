//! What became of the machine under a job.

use super::{CONSISTENCY_LAG, Registration, Runner};
use crate::time::Time;
use crate::verdict::{Cause, blames, by_itself};

impl Runner {
    /// What speaks against the machine of a job whose end was told at `ended`. None: nothing does, as far as known now.
    ///
    /// Decision 0025.
    pub fn suspect(&self, ended: Time) -> Option<Cause> {
        if self.interrupted_at().is_some_and(|at| at <= ended + CONSISTENCY_LAG) {
            return Some(Cause::Interruption);
        }
        let ours = self.terminated_at();
        match blames(self.state_reason().unwrap_or_default()) {
            Some(Cause::Terminated) if ours.is_some() || self.unanswered().is_some() => {}
            Some(cause) => return Some(cause),
            None => {}
        }
        if let Some(at) = ours {
            // A machine that is well ends itself once its only job is over. One that muster has to end may have hung under the job.
            return Some(if at <= ended { Cause::Muster } else { Cause::Lost });
        }
        let gone = self.gone_at().is_some_and(|at| at <= ended);
        // The registration of an ephemeral runner goes when its job is over. So only a silence before the end counts.
        let silent = self.registration().and_then(Registration::silent_since).is_some_and(|since| since < ended);
        (gone || silent && self.was_online()).then_some(Cause::Lost)
    }

    /// Whether the machine was well after its job, whose end was told at `ended`: the instance ended itself, or a list that began a
    /// minute later shows its runner online.
    pub fn outlived(&self, ended: Time) -> bool {
        self.state_reason().is_some_and(by_itself) || self.was_online_after(ended + CONSISTENCY_LAG * 2)
    }
}
