//! Instances and registrations in the same account and organisation that are not ours. S4 says that they are never touched.

use muster_reconciler::effect::Configure;
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState};
use muster_reconciler::ids::{Forge as List, InstanceId, JobId, RunnerName};

use crate::Simulation;
use crate::event::Event;
use crate::rng::Spread;

/// The name of another cluster. Ours is a prefix of it, so muster must not take a prefix for the whole name.
pub(super) fn other_cluster(ours: &str) -> String {
    format!("{ours}x")
}

impl Simulation {
    /// Adds registrations of another cluster to our lists, and plans EC2's events about its instances.
    pub(super) fn settle_strangers(&mut self) {
        let cluster = other_cluster(self.spec.controller.cluster());
        let lists: Vec<List> = self.spec.forges().into_iter().collect();
        for (nth, list) in lists.into_iter().enumerate() {
            let instance: InstanceId = format!("i-0000f{nth:012x}").into();
            let configure = Configure {
                name: RunnerName { cluster: cluster.clone(), pool: "theirs".into(), instance: instance.clone() },
                forge: list,
                group: "Default".into(),
                labels: vec!["theirs".into()],
                work_directory: "_work".into(),
                ephemeral: false,
                replace: false,
            };
            self.github.registry.add_foreign(&configure);
            for state in [InstanceState::Running, InstanceState::ShuttingDown, InstanceState::Terminated] {
                let when = self.instance_rng.within(Spread::secs(60, 1800));
                let kind = Ec2EventKind::State(state);
                self.nature.after(when, Event::Notify(Ec2Event { instance: instance.clone(), kind }));
            }
        }
    }

    /// The name of the foreign runner that takes a job.
    pub(super) fn thief(&self, job: JobId) -> String {
        let cluster = other_cluster(self.spec.controller.cluster());
        match job.0 % 3 {
            0 => "somebodys-laptop".into(),
            1 => format!("{cluster}.theirs.i-0000f{:012x}", job.0 % 5),
            _ => format!("{}.theirs.and.more", self.spec.controller.cluster()),
        }
    }
}
