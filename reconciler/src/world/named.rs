//! Which runner a job's event speaks of.

use super::World;
use crate::event::JobEvent;
use crate::ids::{InstanceId, PoolName, RunnerName};
use crate::matching::covers;
use crate::runner::{Registration, Runner};

/// The runner that a job's event names. A name proves nothing, because whoever registers a runner chooses its name. GitHub gives the
/// id, and muster knows the id of each of its registrations.
///
/// Decision 0023.
#[derive(Clone, Debug, PartialEq)]
pub enum Named<'a> {
    /// The event names no runner, or a runner of somebody else.
    NotOurs,
    /// The name has the form of this cluster's names, and muster knows no such runner. The runner may be gone.
    Unknown(RunnerName),
    /// muster knows a runner of this name, and not yet the id of its registration. What the event says counts until a list shows
    /// another id.
    Unproven(&'a InstanceId, &'a Runner),
    /// The registration of the runner has the event's id, in a list that covers the event's repository.
    Proven(&'a InstanceId, &'a Runner),
    /// The registration of the runner has another id than the event, or its list does not cover the event's repository. Somebody else registered a runner with this name, or the runner
    /// was registered again and no list has shown it since.
    Impostor(&'a InstanceId, &'a Runner),
}

impl World {
    /// Finds the runner that the event names.
    pub fn named(&self, cluster: &str, event: &JobEvent) -> Named<'_> {
        let Some(name) = event.runner.as_deref().and_then(|name| RunnerName::parse_ours(name, cluster)) else {
            return Named::NotOurs;
        };
        let Some((id, runner)) = self.runners.get_key_value(&name.instance) else { return Named::Unknown(name) };
        // A sender may be allowed to speak of one pool only.
        if *runner.pool() != PoolName::default() && *runner.pool() != name.pool {
            return Named::NotOurs;
        }
        // A runner gets no job of a repository beyond its list. GitHub does not say whether two owners' runners may have one id.
        if runner.list().is_some_and(|list| !covers(&list.scope, event)) {
            return Named::Impostor(id, runner);
        }
        match (runner.registration().map(Registration::id), event.runner_id) {
            (Some(ours), Some(told)) if ours == told => Named::Proven(id, runner),
            (Some(_), Some(_)) => Named::Impostor(id, runner),
            (None, _) | (_, None) => Named::Unproven(id, runner),
        }
    }
}
