//! What complete sweeps showed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Stillborn, World, ending, later, register};
use crate::defects::{self, Defect};
use crate::effect::{InstanceSighting, RunnerSighting, Source};
use crate::event::InstanceState;
use crate::ids::{Forge, InstanceId, PoolName};
use crate::runner::{ABSENT_SWEEPS, CONSISTENCY_LAG, Configured, Drain, Instance, Shape, Terms};
use crate::time::Time;

impl World {
    /// A complete sweep of the instances, begun at `began`.
    ///
    /// Decision 0010, row 19.
    pub fn saw_instances(&mut self, seen: &[InstanceSighting], began: Time, now: Time) {
        let (mut shown, mut late) = (BTreeSet::new(), Vec::new());
        for s in seen {
            shown.insert(&s.id);
            if s.state == InstanceState::Terminated && !self.runners.contains_key(&s.id) {
                let looked = |list: &Forge| self.freshness(&Source::Runners(list.clone())).is_some_and(|f| f.previous.is_some());
                self.left_lists.extend(s.forge.clone().filter(|list| !looked(list)));
                continue;
            }
            if let Some(p) = s.intent.as_ref().and_then(|i| self.pending.get_mut(i)) {
                p.seen.insert(s.id.clone());
            }
            let ours = s.intent.as_ref().and_then(|i| self.pending.get(i)).map(|p| p.wish.clone());
            let runner = self.entry(&s.id, &s.pool, now);
            if let Some(wish) = ours {
                runner.launched_by.clone_from(&s.intent);
                runner.wish = runner.wish.take().or(wish);
            }
            runner.pool.clone_from(&s.pool);
            // An event tells that a box ended before a sweep tells why.
            let unexplained = runner.stillborn && runner.instance.as_ref().is_none_or(|i| i.state_reason.is_none());
            if unexplained && s.state_reason.is_some() {
                let (never_configured, reason) = (runner.never_configured(), s.state_reason.clone());
                late.push(Stillborn { pool: s.pool.clone(), never_configured, reason, late: true });
            }
            if s.forge.is_some() {
                runner.forge.clone_from(&s.forge);
            }
            runner.missed = 0;
            runner.instance = Some(Instance {
                // States only move on; a stale page must not revive what an event has ended.
                state: runner.instance.as_ref().map_or(s.state, |known| later(known.state, s.state)),
                seen_at: if defects::has(Defect::RowOrder) { now + Duration::from_millis(shown.len() as u64) } else { now },
                ending_since: runner.instance.as_ref().and_then(|i| i.ending_since).or(ending(s.state).then_some(now)),
                launched_at: s.launched_at,
                shape: Shape { instance_type: s.instance_type.clone(), subnet: s.subnet.clone(), market: s.market },
                state_reason: s.state_reason.clone(),
            });
            if s.draining && runner.drain.is_none() {
                runner.drain = runner.unanswered.take().or(Some(Drain { asked_at: now, why: None }));
            }
            let living = matches!(s.state, InstanceState::Pending | InstanceState::Running);
            runner.unanswered = runner.unanswered.take().filter(|ask| !living || began < ask.asked_at + CONSISTENCY_LAG);
            // Of a box that was found, nobody here knows when it was asked for.
            if !runner.staged && !s.stages.is_empty() && runner.launched_by.is_some() {
                runner.staged = true;
                for (stage, at) in &s.stages {
                    self.reached(&s.id, *stage, *at);
                }
            }
        }
        for (id, runner) in &mut self.runners {
            // A sweep that began within EC2's lag after it was last shown may be older than that sighting.
            let last = runner.instance.as_ref().map_or(runner.first_seen, |i| i.seen_at);
            let missing = began >= last + CONSISTENCY_LAG || defects::has(Defect::MissingIsGone);
            if !shown.contains(id) && missing {
                runner.missed = runner.missed.saturating_add(1);
            }
        }
        self.stillborn.extend(late);
        self.sweep_done(Source::Instances, began);
        self.bury(now);
    }

    /// A complete sweep of one list of runners; None: nothing changed since the last one.
    ///
    /// Decision 0010, rows 23, 29.
    pub fn saw_runners(&mut self, forge: &Forge, seen: Option<&[RunnerSighting]>, began: Time, now: Time) {
        let mut listed = BTreeSet::new();
        for s in seen.unwrap_or_default() {
            listed.insert(s.name.instance.clone());
            let runner = self.entry(&s.name.instance, &s.name.pool, now);
            register(runner, s.id, forge, now);
            // What this process registered it with, it knows better: the list has no group.
            if runner.terms.as_ref().is_none_or(|t| t.group.is_none() && (t.labels != s.labels || t.forge != *forge)) {
                runner.terms = Some(Arc::new(Terms { forge: forge.clone(), group: None, labels: s.labels.clone() }));
            }
            // Of a found box that we registered anew, our own row proves nothing until the box uses it.
            if runner.forge.is_none() && (runner.configured == Configured::Seen || s.online) {
                runner.forge = Some(forge.clone());
            }
            if let Some(r) = &mut runner.registration {
                // Only a change that this process saw can be news of a queued job, or all of a box that it launched or configured
                // itself; see `Runner::busy_since`.
                let ours = runner.launched_by.is_some() || matches!(runner.configured, Configured::Yes(_));
                let began_working = s.busy && !r.busy && (r.first_seen < now || ours);
                (r.online, r.busy, r.missed) = (s.online, s.busy, 0);
                runner.busy_since = if began_working { Some(now) } else { runner.busy_since.filter(|_| s.busy) };
            }
        }
        for (id, runner) in &mut self.runners {
            if runner.list() == Some(forge) {
                runner.list_seen = Some(began);
            }
            let Some(r) = runner.registration.as_mut().filter(|r| r.forge == *forge) else { continue };
            // Unchanged means: whoever was missing still is.
            let missing = if seen.is_some() { !listed.contains(id) } else { r.missed > 0 };
            if missing && r.first_seen < began {
                r.missed = r.missed.saturating_add(1);
                // One list without it is no news: pages are cut while the list moves, and rows fail to show.
                let absent = r.missed >= ABSENT_SWEEPS;
                (r.online, r.busy) = (r.online && !absent, r.busy && !absent);
            }
        }
        let ids: Vec<InstanceId> =
            self.runners.iter().filter(|(_, r)| r.registration.is_some()).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.note_presence(&id, now);
        }
        self.sweep_done(Source::Runners(forge.clone()), began);
        if self.freshness(&Source::Runners(forge.clone())).is_some_and(|f| f.previous.is_some()) {
            self.left_lists.remove(forge);
        }
        self.bury(now);
    }

    /// A complete sweep of the secrets: a secret says that somebody configured a box.
    pub fn saw_secrets(&mut self, seen: &[InstanceId], began: Time, now: Time) {
        let there: BTreeSet<&InstanceId> = seen.iter().collect();
        for id in seen {
            // Its pool is not known from the secret alone; an instance or a registration tells it.
            let runner = self.entry(id, &PoolName::default(), now);
            runner.secret = true;
            if runner.configured == Configured::No {
                runner.configured = Configured::Seen;
            }
        }
        for (id, runner) in &mut self.runners {
            let settled = !matches!(runner.configured, Configured::Yes(at) if at >= began);
            if !there.contains(id) && settled && !runner.in_flight {
                runner.secret = false;
            }
        }
        self.sweep_done(Source::Secrets, began);
        self.bury(now);
    }
}
