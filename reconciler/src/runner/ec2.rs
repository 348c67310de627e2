//! What EC2 shows of a runner's instance.

use std::sync::Arc;
use std::time::Duration;

use super::{ABSENT_SWEEPS, Ec2State, Runner};
use crate::effect::{InstanceSighting, LaunchedInstance};
use crate::event::InstanceState;
use crate::ids::ListId;
use crate::manifest::{RunnerPool, RunnerSettings};
use crate::market::Market;
use crate::time::Time;
use crate::verdict::{Cause, MachineEnd};

/// Our own launch counts as supply for this long although EC2 does not show the instance. EC2 is eventually consistent.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
pub const LAUNCH_LAG: Duration = Duration::from_secs(120);

/// How far EC2's answers may lag at other times. An absence must last longer than that.
pub const CONSISTENCY_LAG: Duration = Duration::from_secs(30);

/// What EC2 shows of a runner's instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ec2View {
    /// None: no complete sweep has shown the instance.
    instance: Option<Instance>,
    /// The instance's shape as CreateFleet told it, until a sweep shows the instance.
    launched_as: Option<Shape>,
    /// The last state that a notification told before a sweep showed the instance, and when muster first heard of its end.
    told: Option<(InstanceState, Time)>,
    /// Complete sweeps in a row that did not show the instance.
    missed: u8,
}

/// An instance, as the last sweep showed it and as later events changed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    state: InstanceState,
    /// When a sweep last showed the instance.
    seen_at: Time,
    /// When muster first knew that the instance was ending. None: the instance is up.
    ending_since: Option<Time>,
    /// LaunchTime, by EC2's clock.
    launched_at: Time,
    shape: Shape,
    max_lifetime: Option<Duration>,
    runner_version: Option<String>,
    end: MachineEnd,
}

/// What an instance is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The instance type, such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// The subnet, such as `subnet-0abc`. None: EC2 has not told the subnet.
    pub subnet: Option<Arc<str>>,
    /// Spot or on-demand.
    pub market: Market,
}

impl Instance {
    /// The newest state that a sweep or an event told.
    pub fn state(&self) -> InstanceState {
        self.state
    }

    /// The type, subnet and market.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What the instance said against itself.
    pub(super) fn own_word(&self) -> Option<Cause> {
        self.end.own_word
    }

    /// The version of the runner program, as the instance tells it. None: it has not told.
    pub(crate) fn runner_version(&self) -> Option<&str> {
        self.runner_version.as_deref()
    }

    /// When a sweep last showed the instance.
    pub(super) fn seen_at(&self) -> Time {
        self.seen_at
    }

    /// LaunchTime, by EC2's clock, which may differ from ours.
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
        // States only move forward. A stale answer must not revive an instance that an event has ended.
        let known = self.instance.as_ref().map(|i| i.state).or(self.told.map(|(state, _)| state));
        self.instance = Some(Instance {
            state: known.map_or(s.state, |state| later(state, s.state)),
            seen_at: now,
            ending_since: self.ending_since().or((!s.state.is_up()).then_some(now)),
            launched_at: s.launched_at,
            shape: Shape { instance_type: s.instance_type.clone(), subnet: s.subnet.clone(), market: s.market },
            max_lifetime: s.max_lifetime,
            runner_version: s.runner_version.clone(),
            end: MachineEnd { reason: s.state_reason.clone(), own_word: s.own_word },
        });
        self.missed = 0;
    }

    fn ending_since(&self) -> Option<Time> {
        self.instance.as_ref().map_or(self.told.map(|(_, at)| at), |i| i.ending_since)
    }

    /// A complete sweep that began at `began` did not show the instance.
    ///
    /// Decision 0010, row 19.
    fn missed(&mut self, first_seen: Time, began: Time) {
        // EC2's answer may lag. A sweep that began soon after the last sighting may be older than that sighting.
        let last = self.instance.as_ref().map_or(first_seen, |i| i.seen_at);
        if began >= last + CONSISTENCY_LAG {
            self.missed = self.missed.saturating_add(1);
        }
    }

    fn told(&mut self, state: InstanceState, now: Time) {
        let Some(i) = &mut self.instance else {
            if !state.is_up() {
                let (before, since) = self.told.unwrap_or((state, now));
                self.told = Some((later(before, state), since));
            }
            return;
        };
        i.state = later(i.state, state);
        if i.ending_since.is_none() && !state.is_up() {
            i.ending_since = Some(now);
        }
    }
}

impl Runner {
    /// EC2's view of the instance. None: no complete sweep has shown the instance.
    pub fn instance(&self) -> Option<&Instance> {
        self.ec2.instance.as_ref()
    }

    /// What the instance is made of. None: neither CreateFleet nor a sweep has told.
    pub fn shape(&self) -> Option<&Shape> {
        self.instance().map(Instance::shape).or(self.ec2.launched_as.as_ref())
    }

    /// Why the instance ended, in EC2's words. None: EC2 has not said so.
    pub fn state_reason(&self) -> Option<&str> {
        self.instance()?.end.reason.as_deref()
    }

    /// The age at which the runner is ended, whatever it does: its pool's `maxLifetime`. A pool that is in no manifest any more
    /// leaves behind the limit that the instance was launched with. None: nobody wrote a limit that muster knows, and a job may
    /// run here.
    pub fn max_lifetime(&self, pool: Option<&RunnerPool>) -> Option<Duration> {
        let launched_with = || self.instance().and_then(|i| i.max_lifetime);
        // Silence is no word: until a list was swept, nobody knows whether a job runs.
        let idle = !self.may_have_job() && self.was_looked_for();
        let default = || idle.then(|| RunnerSettings::default().max_lifetime.get());
        pool.map(|p| p.spec.runner.max_lifetime.get()).or_else(launched_with).or_else(default)
    }

    /// When EC2 launched the instance, by EC2's clock. Until EC2 shows the instance: when this process first knew of the runner.
    pub fn lives_since(&self) -> Time {
        self.instance().map_or(self.first_seen, Instance::launched_at)
    }

    /// When muster first knew that the instance was ending.
    pub(super) fn ending_since(&self) -> Option<Time> {
        self.ec2.ending_since()
    }

    /// Whether nothing but a name in GitHub's list, an event or a secret speaks of the runner: EC2 has not shown the instance, and
    /// this process did not launch it. Whoever may register a runner can choose such a name.
    pub fn is_only_named(&self, now: Time) -> bool {
        self.ec2_evidence(now) == Ec2State::Unseen
    }

    pub(super) fn ec2_evidence(&self, now: Time) -> Ec2State {
        match self.instance() {
            Some(i) if i.state == InstanceState::Terminated => Ec2State::Ended,
            _ if self.absent(now) => Ec2State::Ended,
            _ if self.terminated_at().is_some() => Ec2State::Ending,
            Some(i) if i.state.is_up() => Ec2State::Up,
            Some(_) => Ec2State::Ending,
            // EC2's own word, before any sweep shows the instance.
            None if self.ec2.told.is_some_and(|(state, _)| state == InstanceState::Terminated) => Ec2State::Ended,
            None if self.ec2.told.is_some() => Ec2State::Ending,
            None if self.launched_here() => Ec2State::Requested,
            None => Ec2State::Unseen,
        }
    }

    /// Whether several complete sweeps did not show the instance, over a longer time than EC2 may lag. One stale answer proves no
    /// absence.
    ///
    /// Decision 0010, row 1.
    fn absent(&self, now: Time) -> bool {
        let shown = self.instance().map_or(self.first_seen, Instance::seen_at);
        let settled = !self.launched_here() || now.since(self.first_seen) >= LAUNCH_LAG;
        self.ec2.missed >= ABSENT_SWEEPS && settled && now.since(shown) >= CONSISTENCY_LAG
    }

    /// CreateFleet gave the instance to this process, which will register the runner in `list`. `ordered` has the words of an
    /// operator who wanted the launch's instances to end.
    pub(crate) fn given_by_ec2(&mut self, instance: &LaunchedInstance, list: &ListId, ordered: Option<&String>) {
        self.found_to_be_ours(ordered);
        self.github.bind(list);
        self.ec2.given(instance);
    }

    /// The instance comes from a launch of this process, which EC2 may not have answered.
    pub(crate) fn found_to_be_ours(&mut self, ordered: Option<&String>) {
        self.launched_here = true;
        self.inherit_order(ordered);
    }

    /// A complete sweep that began at `began` shows the instance.
    pub(crate) fn shown_by_ec2(&mut self, s: &InstanceSighting, began: Time, now: Time) {
        self.pool.clone_from(&s.pool);
        if let Some(list) = &s.list_id {
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

    /// A complete sweep that began at `began` does not show the instance.
    pub(crate) fn missed_by_ec2(&mut self, began: Time) {
        self.ec2.missed(self.first_seen, began);
    }

    /// A notification of EC2 tells a state of the instance.
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
