//! Instances and registrations in the same account and organisation that are not ours. S4 says that they are never touched.

use muster_reconciler::effect::Configure;
use muster_reconciler::event::{Ec2Event, Ec2EventKind, InstanceState};
use muster_reconciler::ids::{InstanceId, JobId, ListId as List, PoolName, RunnerName};
use muster_reconciler::manifest::Spec;

use crate::event::Event;
use crate::nature::Nature;
use crate::registry::Registry;
use crate::rng::{Rng, Spread};

/// The name of another cluster. Ours is a prefix of it, so muster must not take a prefix for the whole name.
pub(super) fn other_cluster(ours: &str) -> String {
    format!("{ours}x")
}

/// Adds registrations of another cluster to our lists, and plans EC2's events about its instances.
pub(super) fn settle(spec: &Spec, registry: &mut Registry, rng: &mut Rng, nature: &mut Nature) {
    let cluster = other_cluster(spec.controller.cluster());
    let lists: Vec<List> = spec.list_ids().into_iter().collect();
    for (nth, list) in lists.into_iter().enumerate() {
        let instance: InstanceId = format!("i-0000f{nth:012x}").into();
        let configure = Configure {
            name: RunnerName { cluster: cluster.clone(), pool: "theirs".into(), instance: instance.clone() },
            list_id: list,
            group: "Default".into(),
            labels: vec!["theirs".into()],
            work_directory: "_work".into(),
            ephemeral: false,
            replace: false,
        };
        registry.add_foreign(&configure);
        for state in [InstanceState::Running, InstanceState::ShuttingDown, InstanceState::Terminated] {
            let when = rng.within(Spread::secs(60, 1800));
            let kind = Ec2EventKind::State(state);
            nature.after(when, Event::Notify(Ec2Event { instance: instance.clone(), kind }));
        }
    }
}

/// The name of the foreign runner that takes a job. Whoever registers a runner chooses its name, which may be one of ours: of no
/// instance, or of one that there is.
pub(super) fn thief(spec: &Spec, registry: &Registry, job: JobId) -> String {
    let ours = spec.controller.cluster();
    let chosen = usize::try_from(job.0 / 5).unwrap_or_default();
    let pool = spec.pools.keys().nth(chosen % spec.pools.len().max(1)).map_or("theirs", PoolName::as_str);
    let registered = registry.all().values().map(|row| &row.name).filter(|name| name.cluster == ours);
    match job.0 % 5 {
        0 => "somebodys-laptop".into(),
        1 => format!("{}.theirs.i-0000f{:012x}", other_cluster(ours), job.0 % 5),
        2 => format!("{ours}.{pool}.i-0000e{:012x}", job.0),
        3 => {
            let names: Vec<_> = registered.collect();
            names.get(chosen % names.len().max(1)).map_or_else(|| "somebodys-laptop".into(), ToString::to_string)
        }
        _ => format!("{ours}.theirs.and.more"),
    }
}
