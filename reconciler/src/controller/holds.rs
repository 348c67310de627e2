//! Which jobs GitHub holds back without saying so: the evidence, and the trials.
//!
//! GitHub gives a job to an idle runner within seconds. So a runner that sits idle beside a job shows that GitHub holds the job. One
//! runner shows this of one job. After a while, one of a pool's held jobs is tried, and the others wait for the result.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::demand::Demand;
use crate::effect::Source;
use crate::ids::{InstanceId, JobId, PoolName};
use crate::journal::{Journal, What, Whom};
use crate::manifest::{RunnerPool, Spec};
use crate::plan::Member;
use crate::reason::{EventReason, HoldReason};
use crate::runner::Phase;
use crate::time::Time;
use crate::world::World;

/// How long a runner sits idle, and a job counts, before the two are evidence. A trial takes as long.
const SAT_IDLE: Duration = Duration::from_secs(300);

/// Tries one of a pool's held jobs, if its time has come, and holds those that idle runners did not get. `pool` is a pool with its
/// runners.
///
/// Decision 0019.
pub(super) fn judge(
    spec: &Spec,
    world: &World,
    demand: &mut Demand,
    journal: &mut Journal,
    pool: (&PoolName, &[Member<'_>]),
    now: Time,
) {
    let (name, runners) = pool;
    let Some(manifest) = spec.pools.get(name) else { return };
    demand.try_one(name, now);
    let idle: Vec<&InstanceId> =
        runners.iter().filter(|member| sat_idle(world, manifest, member, now)).map(|(id, ..)| *id).collect();
    let Some(any) = idle.first() else { return };
    let spent: BTreeSet<InstanceId> = demand.evidence(name).cloned().collect();
    let mut unspent = idle.iter().filter(|id| !spent.contains(**id));
    let delay = manifest.queue_delay();
    // A job on trial comes first, because a new runner sat idle beside it, too.
    let mut left: Vec<(bool, Time, JobId)> = demand
        .queued(name)
        .filter(|(_, job)| job.counts(delay, now) && now.since(job.counted_since()) >= SAT_IDLE)
        .map(|(id, job)| (job.hold.is_none(), job.counted_since(), id))
        .collect();
    left.sort_unstable();
    for (new, _, id) in left {
        // A job on trial was held by a runner's evidence before, and any idle runner shows that it still is.
        let Some(by) = unspent.next().or((!new).then_some(any)) else { continue };
        let whom = Whom { job: Some(id), ..Whom::runner(name, by) };
        journal.note(now, What::JobHeld, whom, EventReason::Held { why: HoldReason::LeftQueued });
        demand.hold(id, (*by).clone(), now);
    }
}

/// Whether a runner has sat idle for long, as the newest list shows: an old list tells nothing of the time since. A runner that is
/// outdated, offline or asked to end is no evidence, because GitHub may have a good reason to give it nothing.
fn sat_idle(world: &World, pool: &RunnerPool, (_, r, phase): &Member<'_>, now: Time) -> bool {
    // The cheapest tests come first: most runners are busy.
    if *phase != Phase::Idle || r.idle_since().is_none_or(|since| now.since(since) < SAT_IDLE) {
        return false;
    }
    let row = r.registration().filter(|row| row.last_shown_in_use());
    let seen = row.and_then(|row| world.swept(&Source::Runners(row.list().clone())));
    let long = r.idle_since().zip(seen).is_some_and(|(since, seen)| seen.since(since) >= SAT_IDLE);
    long && r.supplies(Some(pool), *phase)
}
