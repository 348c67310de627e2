//! Which jobs GitHub holds back without saying so: the evidence, and the trials.
//!
//! GitHub gives a job to an idle runner within seconds. So a runner that sits idle beside a job shows that GitHub holds the job. One
//! runner shows this of one job. After a while, one of a pool's held jobs is tried, and the others wait for the result.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::demand::Demand;
use crate::effect::Source;
use crate::ids::{InstanceId, JobId, PoolName, RunId};
use crate::journal::{Journal, What, Whom};
use crate::manifest::{RunnerPool, Spec};
use crate::plan::Member;
use crate::reason::{EventReason, HoldReason, NotServed};
use crate::release::RunnerReleases;
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

/// What shows that GitHub gives nothing to a pool's runners, and their versions. `before` is when GitHub last gave a job to one of them,
/// and what was known before.
pub(super) fn not_served(
    spec: &Spec,
    releases: &RunnerReleases,
    demand: &Demand,
    pool: (&PoolName, &[Member<'_>]),
    before: (Option<Time>, Option<NotServed>),
) -> Option<NotServed> {
    let (given_at, known) = before;
    let since = nothing_given_since(demand, pool.0, given_at)?;
    let since = known.map_or(since, |known| known.since.min(since));
    Some(NotServed { since, versions: versions(spec, releases, pool) })
}

/// Since when GitHub has given nothing to a pool's runners, although idle runners show that it keeps back jobs of several runs. A
/// concurrency group or an approval keeps back jobs of one run, as a rule. So this looks like a runner version that GitHub has ended,
/// or like an outage. `given_at` is when GitHub last gave the pool a job. None: nothing shows this.
fn nothing_given_since(demand: &Demand, pool: &PoolName, given_at: Option<Time>) -> Option<Time> {
    let mut first: Option<(Time, RunId)> = None;
    let mut several = false;
    for (id, hold) in demand.left_queued(pool) {
        let Some(job) = demand.jobs().get(&id) else { continue };
        // The runner that shows it sat idle for as long before.
        let since = hold.since - SAT_IDLE;
        several |= first.is_some_and(|(_, run)| run != job.event.run);
        first = Some(first.map_or((since, job.event.run), |(at, run)| (at.min(since), run)));
    }
    first.map(|(since, _)| since).filter(|since| several && given_at.is_none_or(|given| given <= *since))
}

/// The versions of the runner program on a pool's runners, as GitHub's list tells them, or else the one that its launches install.
fn versions(spec: &Spec, releases: &RunnerReleases, (name, runners): (&PoolName, &[Member<'_>])) -> Vec<String> {
    let shown: BTreeSet<&str> = runners.iter().filter_map(|(_, r, _)| r.listed()?.version()).collect();
    let named = || spec.pools.get(name).and_then(|pool| releases.version_of(pool));
    let all = if shown.is_empty() { named().into_iter().collect() } else { shown };
    all.into_iter().map(str::to_owned).collect()
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
