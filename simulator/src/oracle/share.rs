//! Share: no repository has more instances launched for it than the pool's `capacity.perRepository`, and a job above that is told so.
//!
//! GitHub hands any runner to any job, so a repository may have more jobs running than its share. Such jobs count, and nothing more is
//! launched for the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::demand::Job;
use muster_reconciler::effect::{Effect, Launch};
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{JobId, PoolName};
use muster_reconciler::reason::{JobReason, LaunchReason, Reason};
use muster_reconciler::time::human;

use super::{Invariant, Oracle, Truth};
use crate::instances::{BootStage, Machine};

/// How long a repository's jobs may be said to get a runner that are above its share. A pool is planned every ten seconds.
const PLANNED: Duration = Duration::from_secs(30);

impl Oracle {
    /// A launch is sent. With what is there and on the way, it serves the jobs within the shares of their repositories, and the warm
    /// floor.
    pub(super) fn judge_share(&mut self, launch: &Launch, effect: &Effect, truth: Truth<'_>) {
        let now = truth.now();
        let (Some(pool), Some(controller)) = (truth.spec.pools.get(&launch.pool), truth.controller) else { return };
        let (Some(most), Reason::Launch(why)) = (pool.spec.capacity.per_repository, &effect.reason) else { return };
        let supply = match why {
            LaunchReason::Wanted(wants) | LaunchReason::Breaker { wants, .. } | LaunchReason::Probe { wants, .. } => wants.supply,
            LaunchReason::Unanswered => return,
        };
        let queued = controller.view().demand.queued(&launch.pool);
        let queued = by_repository(queued.map(|(_, job)| job.event.repo.as_str()));
        let running = truth.running_known(&launch.pool, controller);
        let within =
            |(repo, queued): (&String, &u32)| (*queued).min(most.saturating_sub(running.get(repo).copied().unwrap_or(0)));
        let may = queued.iter().map(within).sum::<u32>() + pool.spec.capacity.idle_at(now);
        if supply + launch.count > may {
            let what = format!(
                "{} instances are launched for pool {} beside {supply}, and shares of {most} admit {may}: queued {queued:?}, running {running:?}",
                launch.count, launch.pool
            );
            self.blame(Invariant::Share, now, what);
        }
    }

    /// No more jobs of a repository are told that they get a runner than its share has room for.
    pub(super) fn look_at_shares(&mut self, truth: Truth<'_>) {
        let (now, Some(controller)) = (truth.now(), truth.controller) else { return };
        let mut above = BTreeMap::new();
        for (name, pool) in &truth.spec.pools {
            let Some(most) = pool.spec.capacity.per_repository else { continue };
            let gets = |job: &Job| {
                matches!(
                    controller.seen().why(job, now),
                    JobReason::Blocked { .. }
                        | JobReason::Launching { .. }
                        | JobReason::Starting { .. }
                        | JobReason::IdleRunner { .. }
                )
            };
            let mut told: BTreeMap<String, BTreeSet<JobId>> = BTreeMap::new();
            for (id, job) in controller.view().demand.queued(name).filter(|(_, job)| gets(job)) {
                told.entry(job.event.repo.to_ascii_lowercase()).or_default().insert(id);
            }
            let running = truth.running_known(name, controller);
            for (repo, told) in told {
                let runs = running.get(&repo).copied().unwrap_or(0);
                above.insert((name.clone(), repo), (told, runs, most));
            }
        }
        let mut before = std::mem::take(&mut self.above);
        for ((pool, repo), (told, runs, most)) in above {
            let key = (pool.clone(), repo.clone());
            let room = most.saturating_sub(runs) as usize;
            // A job that counts only now is told so by the next plan. So the same jobs must have been told so all the time.
            let still =
                before.remove(&key).map(|(since, jobs)| (since, jobs.intersection(&told).copied().collect::<BTreeSet<_>>()));
            let (since, jobs) = still.filter(|(_, jobs)| jobs.len() > room).unwrap_or((now, told));
            if now.since(since) >= PLANNED {
                let (long, count) = (human(now.since(since)), jobs.len());
                let what = format!(
                    "{repo} may have {most} of pool {pool}, has {runs}, and {count} of its jobs are said to get a runner, for {long}"
                );
                self.blame(Invariant::Share, now, what);
            }
            if jobs.len() > room {
                self.above.insert(key, (since, jobs));
            }
        }
    }
}

impl Truth<'_> {
    /// How many jobs of each repository run on the pool's instances, as the controller has heard and as is true.
    fn running_known(&self, pool: &PoolName, controller: &Controller) -> BTreeMap<String, u32> {
        let known = controller.view().demand.jobs();
        let job_on = |machine: &Machine| if let BootStage::Working(job) = machine.stage() { Some(job) } else { None };
        let live = self.cloud.instances().iter().filter(|(_, i)| i.live() && i.pool == *pool);
        let jobs = live.filter_map(|(id, _)| {
            let job: JobId = job_on(self.machines.get(id)?)?;
            let heard = controller.view().world.runners().get(id)?.job().running() == Some(job);
            known.get(&job).filter(|job| heard && job.event.state == JobState::InProgress)
        });
        by_repository(jobs.map(|job| job.event.repo.as_str()))
    }
}

/// GitHub compares names without regard to case.
fn by_repository<'a>(repos: impl Iterator<Item = &'a str>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for repo in repos {
        *counts.entry(repo.to_ascii_lowercase()).or_default() += 1;
    }
    counts
}
