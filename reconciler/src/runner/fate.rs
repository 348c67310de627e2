//! What became of the machine under a job.

use std::time::Duration;

use super::{CONSISTENCY_LAG, Instance, Registration, Runner, Seat};
use crate::history::SpotLife;
use crate::market::Market;
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
        // An instance speaks at its end, so of its last job.
        if let Some(cause) = self.instance().and_then(Instance::own_word).filter(|_| self.job().is_last(ended)) {
            return Some(cause);
        }
        // The runner of a job that is over goes, and its instance ends, while GitHub's event is on its way. GitHub takes minutes to give up
        // a job whose runner is silent. So only what happened well before the end was told counts.
        let before = |at: Time| at + CONSISTENCY_LAG <= ended;
        let gone = self.gone_at().is_some_and(before);
        let silent = self.registration().and_then(Registration::silent_since).is_some_and(before);
        if gone || silent && self.was_online() {
            return Some(Cause::Lost);
        }
        // GitHub may give a runner a job in the moment in which muster deletes its registration. The job ends with the registration, and
        // the instance shuts itself down in order.
        self.delete_asked().is_some_and(|at| at <= ended).then_some(Cause::Muster)
    }

    /// Whether the machine was well after its job, whose end was told at `ended`: the instance ended itself, or a list that began a
    /// minute later shows its runner online. `watched` says whether this process has looked at instances since well before `ended`.
    pub fn outlived(&self, ended: Time, watched: bool) -> bool {
        self.ended_itself() && self.seen_alive(watched) || self.was_online_after(ended + CONSISTENCY_LAG * 2)
    }

    /// Whether the instance shut itself down while this process may not have looked. So nobody knows whether its job was over before.
    pub fn ended_unseen(&self, watched: bool) -> bool {
        self.ended_itself() && !self.seen_alive(watched)
    }

    fn ended_itself(&self) -> bool {
        self.state_reason().is_some_and(by_itself)
    }

    fn seen_alive(&self, watched: bool) -> bool {
        self.launched_here() || watched && self.was_online()
    }

    /// Whether spot takes the instance back, or has done so. EC2's notice says so, or else its reason for the instance's end.
    pub fn taken_back(&self) -> bool {
        self.interrupted_at().is_some() || self.state_reason().and_then(blames) == Some(Cause::Interruption)
    }

    /// Whether spot takes the instance back from a job that has not ended, as far as events and the newest list tell.
    pub fn loses_job_to_spot(&self) -> bool {
        self.taken_back() && (self.job().running().is_some() || self.seat() == Seat::Busy && self.job().over().is_none())
    }

    /// Whether this process bought the instance on spot, and asked for it at or after `since`.
    pub fn bought_on_spot_since(&self, since: Time) -> bool {
        self.launched_here() && self.first_seen() >= since && self.shape().is_some_and(|shape| shape.market == Market::Spot)
    }

    /// Whether spot has left the instance alone: one of its jobs succeeded, or the instance ended itself after a job, or its runner
    /// is still there `long` after the launch.
    pub fn left_to_serve(&self, long: Duration, now: Time) -> bool {
        let lasts = || self.was_online() && self.gone_at().is_none() && now.since(self.first_seen()) >= long;
        !self.taken_back() && (self.job().has_gone_well() || self.had_job() && self.ended_itself() || lasts())
    }

    fn had_job(&self) -> bool {
        self.job().is_any() || self.registration().is_some_and(Registration::is_busy)
    }

    /// What became of the instance, if it was bought on spot and had a job.
    pub(crate) fn spot_life(&self, gone_at: Time) -> Option<SpotLife> {
        let shape = self.shape().filter(|shape| shape.market == Market::Spot && self.had_job())?;
        let (instance_type, subnet) = (shape.instance_type.clone(), shape.subnet.clone());
        Some(SpotLife { instance_type, subnet, taken_back: self.taken_back(), ran: gone_at.since(self.lives_since()) })
    }
}
