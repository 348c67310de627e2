//! When the controller begins to act, and when it stops.

use std::collections::BTreeMap;

use super::Controller;
use crate::effect::{Action, MessageOp, Source};
use crate::ids::{MessageId, PoolName};
use crate::launch::Inheritance;
use crate::reason::{CallReason, Unready};
use crate::steer::Pause;
use crate::time::Time;
use crate::world::Freshness;

impl Controller {
    /// The controller does nothing until [`Input::Lead`](crate::effect::Input::Lead), because another process may hold the lease.
    pub fn stand_by(&mut self) {
        self.stands_by = true;
    }

    /// This process holds the lease from now on. Everything is looked at anew.
    pub(super) fn lead(&mut self, inheritance: &Inheritance, paused: BTreeMap<PoolName, Pause>, now: Time) {
        self.stands_by = false;
        self.paused = paused;
        self.world.begin_to_act(inheritance.launches.as_deref(), now);
        self.well_since = Some(now);
        self.mark_all(now);
    }

    /// Ok once the controller has manifests and a complete sweep of EC2. Otherwise the error says what is missing.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.stopping {
            return Err(Unready::Stopping);
        }
        if !self.started {
            return Err(Unready::NoManifests);
        }
        if self.stands_by {
            return Err(Unready::StandsBy);
        }
        match self.world.freshness(&Source::Instances) {
            Some(f) if f.complete.is_some() => Ok(()),
            Some(Freshness { error: Some(error), .. }) => Err(Unready::SweepFailed(error.clone())),
            _ => Err(Unready::NotSwept),
        }
    }

    /// Whether the controller has manifests, may act, and was not told to stop.
    pub(super) const fn acts(&self) -> bool {
        self.started && !self.stopping && !self.stands_by
    }

    pub(super) fn shut_down(&mut self, now: Time) {
        self.stopping = true;
        let held: Vec<MessageId> = std::mem::take(&mut self.held).into_keys().collect();
        if !held.is_empty() {
            self.emit(Action::Messages(MessageOp::Release, held), CallReason::ShuttingDown, now);
        }
    }
}
