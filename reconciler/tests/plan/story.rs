//! One runner over time, told in sightings.

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::capacity::Unavailable;
use muster_reconciler::demand::Demand;
use muster_reconciler::effect::{InstanceSighting, RunnerSighting};
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState, JobState};
use muster_reconciler::ids::{AppName, ListId, PoolName, RunnerId};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::Market;
use muster_reconciler::plan::{Gate, Plan, View, plan};
use muster_reconciler::runner::{Act, Runner, Terms};
use muster_reconciler::time::Time;
use muster_reconciler::world::World;

use super::scene::{POOL, START, UP, event, labels, name, spec};

pub const ACME: Option<&str> = Some("org/acme");

/// A controller's world over time, told in sightings. This process did not launch the instance in it.
pub struct Story {
    pub spec: Spec,
    pub demand: Demand,
    pub world: World,
    pub now: Time,
    /// The tag `muster:list`.
    pub tag: Option<ListId>,
}

impl Story {
    pub fn new() -> Story {
        let now = START + Duration::from_secs(1);
        Story { spec: spec(9, 0), demand: Demand::default(), world: World::new(START), now, tag: None }
    }

    /// Sweeps everything. EC2 shows the instance as running, and the list of `list_id` shows the runner as `seat` says.
    pub fn look(&mut self, list_id: Option<&str>, seat: Option<(bool, bool)>) {
        self.world.saw_secrets(&[], self.now, self.now);
        self.look_at_instances(list_id, seat);
    }

    pub fn look_at_instances(&mut self, list_id: Option<&str>, seat: Option<(bool, bool)>) {
        let sighting = InstanceSighting {
            id: name(1).instance,
            pool: POOL.into(),
            list_id: self.tag.clone(),
            intent: None,
            max_lifetime: None,
            state: UP,
            launched_at: START - Duration::from_secs(3600),
            instance_type: "m7i.large".into(),
            subnet: None,
            market: Market::Spot,
            draining: false,
            stages: Vec::new(),
            own_word: None,
            runner_version: None,
            state_reason: None,
        };
        self.world.saw_instances(&[sighting], self.now, self.now);
        if let Some(scope) = list_id {
            let list_id = list(scope);
            let seen: Vec<_> = seat
                .into_iter()
                .map(|(online, busy)| RunnerSighting {
                    id: RunnerId(1),
                    name: name(1),
                    online,
                    busy,
                    labels: labels(),
                    version: None,
                })
                .collect();
            self.world.saw_runners(&list_id, Some(&seen), self.now, self.now);
        }
    }

    pub fn hear(&mut self, job: u64, state: JobState) {
        let event = event(job, state, Some(1));
        if self.demand.fold(&self.spec, &event, None, self.now).advanced {
            self.world.heard_job(&self.spec, &name(1).instance, &event, self.now);
        }
    }

    /// Sweeps every 15 s for `minutes` minutes. Carries out what is planned, as far as the core's records go, and returns
    /// all of it.
    pub fn pass(&mut self, minutes: u64, list_id: Option<&str>, seat: Option<(bool, bool)>) -> Vec<Act> {
        let mut acts = Vec::new();
        for _ in 0..minutes * 4 {
            self.now = self.now + Duration::from_secs(15);
            self.look(list_id, seat);
            let unavailable = Unavailable::default();
            let view = View { spec: &self.spec, demand: &self.demand, world: &self.world, unavailable: &unavailable };
            for step in plan(view, &POOL.into(), &Gate { room: 1000, ..Gate::default() }, self.now).steps {
                acts.push(step.act);
                let list_id = list(list_id.unwrap_or("org/acme"));
                let minted = Arc::new(Terms { list_id, group: Some("Default".into()), labels: labels() });
                match step.act {
                    Act::Configure => self.world.configured(&step.instance, &minted, Some(RunnerId(2)), self.now),
                    Act::Drain => {
                        let runner = self.world.runner_mut(&step.instance).expect("the runner");
                        runner.drain_accepted(&step.reason, self.now);
                    }
                    Act::Deregister => {
                        let runner = self.world.runner_mut(&step.instance).expect("the runner");
                        runner.deregistered();
                    }
                    Act::Terminate | Act::DeleteSecret => {}
                }
            }
        }
        acts
    }

    pub fn plan(&self) -> Plan {
        self.plan_of(&POOL.into())
    }

    pub fn plan_of(&self, pool: &PoolName) -> Plan {
        let unavailable = Unavailable::default();
        let view = View { spec: &self.spec, demand: &self.demand, world: &self.world, unavailable: &unavailable };
        plan(view, pool, &Gate { room: 1000, ..Gate::default() }, self.now)
    }

    /// What would be done now. Nothing is done.
    pub fn acts(&self) -> Vec<Act> {
        self.plan().steps.iter().map(|s| s.act).collect()
    }

    /// Sweeps every 15 s for this many seconds, and does nothing else.
    pub fn watch(&mut self, seconds: u64, list_id: Option<&str>, seat: Option<(bool, bool)>) {
        let until = self.now + Duration::from_secs(seconds);
        while self.now < until {
            self.now = (self.now + Duration::from_secs(15)).min(until);
            self.look(list_id, seat);
        }
    }

    pub fn runner(&mut self) -> &mut Runner {
        self.world.runner_mut(&name(1).instance).expect("the runner")
    }

    /// EC2 tells an event of its instance.
    pub fn hear_ec2(&mut self, kind: Ec2EventKind) {
        self.world.heard_ec2(&Ec2Event { instance: name(1).instance, kind }, self.now);
    }
}

/// The list of a scope.
pub fn list(scope: &str) -> ListId {
    ListId { app: AppName::default(), scope: scope.parse().expect("a scope") }
}

/// A runner that was idle and whose instance is terminated. GitHub's list has been read since.
pub fn gone(seat: (bool, bool)) -> Story {
    let mut story = Story::new();
    story.look(ACME, Some((true, false)));
    story.hear_ec2(Ec2EventKind::State(InstanceState::Terminated));
    story.watch(30, ACME, Some(seat));
    story
}
