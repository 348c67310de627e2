//! What EC2 shows of a runner's instance.

use std::sync::Arc;
use std::time::Duration;

use super::{ABSENT_SWEEPS, Ec2, Runner};
use crate::effect::{InstanceSighting, LaunchedInstance};
use crate::event::InstanceState;
use crate::ids::Forge;
use crate::market::Market;
use crate::time::Time;

/// An own launch counts as supply for this long without EC2 showing it: EC2 is eventually consistent.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
pub const LAUNCH_LAG: Duration = Duration::from_secs(120);

/// How far behind EC2's answers may be at other times; an absence must have lasted longer.
pub const CONSISTENCY_LAG: Duration = Duration::from_secs(30);

/// What EC2 shows of a runner's instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ec2View {
    /// None: no complete sweep has shown it.
    instance: Option<Instance>,
    /// What CreateFleet said that it is, until a sweep shows it.
    launched_as: Option<Shape>,
    /// Complete sweeps in a row that did not show it.
    missed: u8,
}

/// An instance, as the last sweep showed it and as later events told.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    state: InstanceState,
    /// When a sweep last showed it.
    seen_at: Time,
    /// When it was first known to be on its way out.
    ending_since: Option<Time>,
    /// LaunchTime, EC2's clock.
    launched_at: Time,
    shape: Shape,
    state_reason: Option<String>,
}

/// What an instance is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// Such as `subnet-0abc`.
    pub subnet: Option<Arc<str>>,
    /// How it was bought.
    pub market: Market,
}

impl Instance {
    /// The newest state.
    pub fn state(&self) -> InstanceState {
        self.state
    }

    /// What it is.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// When a sweep last showed it.
    pub(super) fn seen_at(&self) -> Time {
        self.seen_at
    }

    /// LaunchTime, by EC2's clock: for lifetimes only.
    pub(super) fn launched_at(&self) -> Time {
        self.launched_at
    }
}

impl Ec2View {
    /// CreateFleet gave this instance.
    fn given(&mut self, i: &LaunchedInstance) {
        self.launched_as = Some(Shape { instance_type: i.instance_type.clone(), subnet: i.subnet.clone(), market: i.market });
    }

    fn shown(&mut self, s: &InstanceSighting, now: Time) {
        let known = self.instance.as_ref();
        self.instance = Some(Instance {
            // States only move on; a stale page must not revive what an event has ended.
            state: known.map_or(s.state, |i| later(i.state, s.state)),
            seen_at: now,
            ending_since: known.and_then(|i| i.ending_since).or((!s.state.is_up()).then_some(now)),
            launched_at: s.launched_at,
            shape: Shape { instance_type: s.instance_type.clone(), subnet: s.subnet.clone(), market: s.market },
            state_reason: s.state_reason.clone(),
        });
        self.missed = 0;
    }

    /// A complete sweep that began at `began` did not show it.
    ///
    /// Decision 0010, row 19.
    fn missed(&mut self, first_seen: Time, began: Time) {
        // A sweep that began within EC2's lag after it was last shown may be older than that sighting.
        let last = self.instance.as_ref().map_or(first_seen, |i| i.seen_at);
        if began >= last + CONSISTENCY_LAG {
            self.missed = self.missed.saturating_add(1);
        }
    }

    fn told(&mut self, state: InstanceState, now: Time) {
        let Some(i) = &mut self.instance else { return };
        i.state = later(i.state, state);
        if i.ending_since.is_none() && !state.is_up() {
            i.ending_since = Some(now);
        }
    }
}

impl Runner {
    /// EC2's sighting; None while no complete sweep has shown it.
    pub fn instance(&self) -> Option<&Instance> {
        self.ec2.instance.as_ref()
    }

    /// What its instance is made of, as far as known.
    pub fn shape(&self) -> Option<&Shape> {
        self.instance().map(Instance::shape).or(self.ec2.launched_as.as_ref())
    }

    /// Why its instance ended, if EC2 said so.
    pub fn state_reason(&self) -> Option<&str> {
        self.instance()?.state_reason.as_deref()
    }

    /// When EC2 launched its instance, by EC2's clock; until EC2 shows it, when this process first knew of it.
    pub fn lives_since(&self) -> Time {
        self.instance().map_or(self.first_seen, Instance::launched_at)
    }

    /// When its instance was first known to be on its way out.
    pub(super) fn ending_since(&self) -> Option<Time> {
        self.instance()?.ending_since
    }

    pub(super) fn ec2_evidence(&self, now: Time) -> Ec2 {
        match self.instance() {
            Some(i) if i.state == InstanceState::Terminated => Ec2::Ended,
            _ if self.absent(now) => Ec2::Ended,
            _ if self.terminated_at().is_some() => Ec2::Ending,
            Some(i) if i.state.is_up() => Ec2::Up,
            Some(_) => Ec2::Ending,
            None if self.launched_here() => Ec2::Requested,
            None => Ec2::Unseen,
        }
    }

    /// Not shown by several complete sweeps, over longer than EC2 may be behind. One stale page is no absence.
    ///
    /// Decision 0010, row 1.
    fn absent(&self, now: Time) -> bool {
        let shown = self.instance().map_or(self.first_seen, Instance::seen_at);
        let settled = !self.launched_here() || now.since(self.first_seen) >= LAUNCH_LAG;
        self.ec2.missed >= ABSENT_SWEEPS && settled && now.since(shown) >= CONSISTENCY_LAG
    }

    /// CreateFleet gave it to this process, which will register it in this list. `wish`: an operator wanted the launch to end.
    pub(crate) fn given_by_ec2(&mut self, instance: &LaunchedInstance, list: &Forge, wish: Option<&String>) {
        self.found_to_be_ours(wish);
        self.github.bind(list);
        self.ec2.given(instance);
    }

    /// It came of a launch of this process that EC2 may not have answered.
    pub(crate) fn found_to_be_ours(&mut self, wish: Option<&String>) {
        self.launched_here = true;
        self.inherit_wish(wish);
    }

    /// A complete sweep that began at `began` shows its instance.
    pub(crate) fn shown_by_ec2(&mut self, s: &InstanceSighting, began: Time, now: Time) {
        self.pool.clone_from(&s.pool);
        if let Some(list) = &s.forge {
            self.github.bind(list);
        }
        self.ec2.shown(s, now);
        if s.draining {
            self.drain_tag_shown(now);
        }
        if s.state.is_up() {
            self.shown_to_stay(began);
        }
    }

    /// A complete sweep that began at `began` does not show its instance.
    pub(crate) fn missed_by_ec2(&mut self, began: Time) {
        self.ec2.missed(self.first_seen, began);
    }

    /// EC2 notified of a state of its instance.
    pub(crate) fn told_by_ec2(&mut self, state: InstanceState, now: Time) {
        self.ec2.told(state, now);
    }
}

/// The later of two states in an instance's life.
fn later(a: InstanceState, b: InstanceState) -> InstanceState {
    let rank = |s: InstanceState| match s {
        InstanceState::Pending => 0,
        InstanceState::Running => 1,
        InstanceState::Stopping => 2,
        InstanceState::Stopped => 3,
        InstanceState::ShuttingDown => 4,
        InstanceState::Terminated => 5,
    };
    if rank(b) >= rank(a) { b } else { a }
}
