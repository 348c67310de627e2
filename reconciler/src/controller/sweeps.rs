//! When each source is swept, and when it is swept again after a sweep has ended.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Controller;
use crate::effect::{Action, Source};
use crate::event::InstanceState;
use crate::ids::ListId;
use crate::reason::CallReason;
use crate::runner::{Instance, Runner};
use crate::time::Time;

/// With more runners than this, lists are not swept faster while a runner boots. Each 100 rows of a list cost one call.
const SHORT_LIST: usize = 300;

impl Controller {
    /// Decision 0010, row 35.
    pub(super) fn sweep_due(&mut self, now: Time) {
        let due: Vec<Source> = self.sweeps.iter().filter(|(_, s)| !s.in_flight && s.due <= now).map(|(s, _)| s.clone()).collect();
        for source in due {
            let interval = self.interval(&source);
            let limited = source.payer().and_then(|payer| self.budgets.questions_wait(&payer, now));
            let state = self.sweeps.entry(source.clone()).or_default();
            // GitHub bans an App that goes on asking.
            if let Some(until) = limited {
                state.due = until;
                continue;
            }
            state.in_flight = true;
            // News that comes during the sweep may come too late for the sweep. `hurry` then makes `due` earlier.
            state.due = now + interval;
            self.emit(Action::Sweep(source), CallReason::Look, now);
        }
    }

    /// The lists to sweep: those of the pools, and those in which one of our runners may still be. A list of the second kind
    /// counts only while its App or token is in the manifests.
    pub(super) fn lists(&self) -> BTreeSet<ListId> {
        let left = self.world.lists().into_iter().filter(|f| self.spec.has_credential(&f.app)).cloned();
        self.spec.list_ids().into_iter().chain(left).collect()
    }

    /// The time between two sweeps of a source. The time is shorter while something is about to change there.
    fn interval(&self, source: &Source) -> Duration {
        let every = &self.spec.controller.spec.intervals;
        match source {
            Source::Instances => {
                let moving = !self.world.pending().is_empty() || self.world.runners().values().any(moving_at_ec2);
                if moving { every.instances.get() / 3 } else { every.instances.get() }
            }
            Source::Runners(list_id) => {
                let waiting = self
                    .world
                    .runners()
                    .values()
                    .any(|r| r.is_configured() && !r.was_online() && r.gone_at().is_none() && self.listed_in(r, list_id));
                let short = self.world.runners().len() <= SHORT_LIST;
                if waiting && short { every.runners.get() / 6 } else { every.runners.get() }
            }
            Source::Secrets => every.secrets.get(),
            Source::Deliveries(_) => every.deliveries.get(),
        }
    }

    /// Something is about to change at a source, so the shorter interval holds from now on.
    pub(super) fn pull_in(&mut self, source: &Source, now: Time) {
        let soon = now + self.interval(source);
        if let Some(s) = self.sweeps.get_mut(source) {
            s.due = s.due.min(soon.max(s.not_before));
        }
    }

    fn listed_in(&self, r: &Runner, list_id: &ListId) -> bool {
        r.registration().is_some_and(|g| g.list() == list_id)
            || self.spec.pools.get(r.pool()).is_some_and(|p| p.list_id() == *list_id)
    }

    /// A sweep has ended. The next one is due after the interval, or after a backoff if this one failed.
    ///
    /// Decision 0010, row 10.
    pub(super) fn sweep_ended(&mut self, source: &Source, began: Time, retry: Option<Duration>, now: Time) {
        let interval = self.interval(source);
        let lists = self.lists();
        let hidden = self.world.predecessor_hidden(self.spec.controller.spec.intervals.settle.get());
        let state = self.sweeps.entry(source.clone()).or_default();
        state.in_flight = false;
        match retry {
            None => {
                state.failures = 0;
                // If something asked for a sweep meanwhile (due <= now), the next one comes at once. A short pause always
                // separates two sweeps.
                let breath = now + (interval / 3).min(Duration::from_secs(1));
                state.due = if state.due <= now { breath } else { (began + interval).max(breath) };
                // The first launches wait for a sweep that begins at `until`, so that sweep must not be late.
                if let Some(until) = hidden.filter(|_| *source == Source::Instances) {
                    state.due = state.due.min(until.max(breath));
                }
            }
            Some(retry_after) => {
                let wait = Duration::from_secs(1 << state.failures.min(6)).min(Duration::from_secs(60)).max(retry_after);
                state.failures += 1;
                state.not_before = now + wait;
                state.due = state.not_before;
            }
        }
        let needless = match source {
            Source::Runners(list_id) => !lists.contains(list_id),
            Source::Deliveries(app) => !self.spec.apps.contains_key(app),
            Source::Instances | Source::Secrets => false,
        };
        match self.sweeps.get_mut(source) {
            // The controller remembers the number of failures, in case the source is needed again.
            Some(state) if needless && state.failures > 0 => state.due = Time::FAR,
            _ if needless => drop(self.sweeps.remove(source)),
            _ => (),
        }
    }
}

fn moving_at_ec2(r: &Runner) -> bool {
    let state = r.instance().map(Instance::state);
    r.gone_at().is_none()
        && (r.terminated_at().is_some()
            || r.interrupted_at().is_some()
            || r.job().over().is_some()
            || matches!(state, None | Some(InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Stopping)))
}
