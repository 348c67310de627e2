//! When each source is swept, and what a sweep's end says of the next one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Controller;
use crate::effect::{Action, Source};
use crate::event::InstanceState;
use crate::ids::Forge;
use crate::reason::CallReason;
use crate::runner::{Instance, Runner};
use crate::time::Time;

/// Lists longer than this are not swept faster while something boots: each 100 rows cost a call.
const SHORT_LIST: usize = 300;

impl Controller {
    /// Decision 0010, row 35.
    pub(super) fn sweep_due(&mut self, now: Time) {
        let due: Vec<Source> = self.sweeps.iter().filter(|(_, s)| !s.in_flight && s.due <= now).map(|(s, _)| s.clone()).collect();
        for source in due {
            let interval = self.interval(&source);
            let limited = source.payer().and_then(|payer| self.budgets.questions_wait(&payer, now));
            let state = self.sweeps.entry(source.clone()).or_default();
            // GitHub bans who goes on asking.
            if let Some(until) = limited {
                state.due = until;
                continue;
            }
            state.in_flight = true;
            // What is heard while the sweep is under way (see `hurry`) may come too late for it: that leaves `due` earlier.
            state.due = now + interval;
            self.emit(Action::Sweep(source), CallReason::Look, now);
        }
    }

    /// The lists that tell something: those of the pools, and those in which a runner may still be, if their App or token is
    /// left.
    pub(super) fn lists(&self) -> BTreeSet<Forge> {
        let left = self.world.lists().into_iter().filter(|f| self.spec.has_credential(&f.app)).cloned();
        self.spec.forges().into_iter().chain(left).collect()
    }

    /// The time between two looks at a source: shorter while something is about to change there.
    fn interval(&self, source: &Source) -> Duration {
        let every = &self.spec.controller.spec.intervals;
        match source {
            Source::Instances => {
                let moving = !self.world.pending().is_empty() || self.world.runners().values().any(moving_at_ec2);
                if moving { every.instances.get() / 3 } else { every.instances.get() }
            }
            Source::Runners(forge) => {
                let waiting = self
                    .world
                    .runners()
                    .values()
                    .any(|r| r.is_configured() && !r.was_online() && r.gone_at().is_none() && self.listed_in(r, forge));
                let short = self.world.runners().len() <= SHORT_LIST;
                if waiting && short { every.runners.get() / 6 } else { every.runners.get() }
            }
            Source::Secrets => every.secrets.get(),
            Source::Deliveries(_) => every.deliveries.get(),
        }
    }

    /// Something is about to change at a source: its shorter interval holds from now.
    pub(super) fn pull_in(&mut self, source: &Source, now: Time) {
        let soon = now + self.interval(source);
        if let Some(s) = self.sweeps.get_mut(source) {
            s.due = s.due.min(soon.max(s.not_before));
        }
    }

    fn listed_in(&self, r: &Runner, forge: &Forge) -> bool {
        r.registration().is_some_and(|g| g.list() == forge) || self.spec.pools.get(r.pool()).is_some_and(|p| p.forge() == *forge)
    }

    /// A sweep ended: the next one is due after its interval, or after a backoff when it failed.
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
                // Hurried meanwhile (due <= now): at once, but never without a breath between two sweeps.
                let breath = now + (interval / 3).min(Duration::from_secs(1));
                state.due = if state.due <= now { breath } else { (began + interval).max(breath) };
                // The sweep that lets launches begin is not late.
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
            Source::Runners(forge) => !lists.contains(forge),
            Source::Deliveries(app) => !self.spec.apps.contains_key(app),
            Source::Instances | Source::Secrets => false,
        };
        match self.sweeps.get_mut(source) {
            // How often it failed is remembered, should it be needed again.
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
