//! What somebody should do something about, worst first: the answer to "is anything wrong?". It is made of what is known now, and
//! decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::controller::Seen;
use crate::demand::Job;
use crate::effect::Source;
use crate::event::JobState;
use crate::ids::{InstanceId, JobId, ListId, PoolName};
use crate::journal::What;
use crate::manifest::RunnerPool;
use crate::matching::Route;
use crate::reason::{Backoff, Blocked, Concern, HoldReason, Misfit, Unmatched};
use crate::time::Time;
use crate::view::{AttentionView, Target, Weight};
use crate::warnings::Warning;

/// How long jobs wait for a pool that is full, or that EC2 has no capacity for, before somebody should do something about it. The
/// shipped alert `MusterJobWaitsLong` has the same time.
const LONG: Duration = Duration::from_secs(900);
/// For this long, launches or configurations fail before somebody should look: a single failure often passes.
const FAILS_LONG: Duration = Duration::from_secs(60);
/// For this long, a job is held before somebody should look.
const HELD_LONG: Duration = Duration::from_secs(3600);
/// A source is stale if its last complete sweep began so long ago, and at least four of its intervals ago.
const STALE: Duration = Duration::from_secs(300);
/// The requests to GitHub below which its limit is low: a tenth of what the smallest App has an hour.
const LOW_LIMIT: u32 = 500;
/// The most kinds of jobs that no pool takes. Strangers choose labels, so there may be any number of kinds.
const MOST_KINDS: usize = 20;

/// One concern, with what is told beside it.
struct FoundConcern {
    concern: Concern,
    weight: Weight,
    since: Time,
    jobs: u64,
    about: Target,
}

impl Seen<'_> {
    /// What somebody should do something about, worst first. Of equal weight, what holds up more jobs comes first, and then what
    /// is older.
    pub fn attention(&self, now: Time) -> Vec<AttentionView> {
        let mut all: Vec<FoundConcern> = self.spec.pools.keys().filter_map(|name| self.of_pool(name, now)).collect();
        all.extend(self.held_long(now));
        all.extend(self.unplaceable());
        all.extend(self.mishaps(now));
        all.extend(self.stale(now));
        all.extend(self.low_limits(now));
        all.extend(self.old_versions(now));
        all.sort_by_key(|found| (found.weight, std::cmp::Reverse(found.jobs), found.since));
        all.into_iter().map(|found| found.view(now)).collect()
    }

    /// The worst that keeps a pool's jobs waiting. One cause is told for each pool, because the others follow from it.
    fn of_pool(&self, name: &PoolName, now: Time) -> Option<FoundConcern> {
        let pool = || name.clone();
        let plan = self.newest_plan(name)?;
        let jobs = u64::from(plan.counts.counting);
        let found = |concern, since| {
            let weight = if jobs > 0 { Weight::Trouble } else { Weight::Watch };
            Some(FoundConcern { concern, weight, since, jobs, about: Target::pool(name) })
        };
        if let Some(pause) = self.paused.get(name) {
            return found(Concern::Paused { pool: pool(), pause: pause.clone() }, pause.since);
        }
        // Without a job and without a warm floor nothing is tried, so an old failure says nothing of today.
        if let Some(failing) = self.failing(name, now).filter(|_| plan.counts.wanted > 0) {
            let weight = if jobs > 0 { Weight::Trouble } else { Weight::Watch };
            return Some(FoundConcern { jobs, weight, ..failing });
        }
        if let Some(why) = self.not_served(name) {
            return found(Concern::NotServed { pool: pool(), why: why.clone() }, why.since);
        }
        let since = self.blocked_since(name)?;
        let long = now.since(since) >= LONG;
        match plan.blocked.as_ref()? {
            Blocked::Max if plan.counts.max == 0 => found(Concern::SwitchedOff { pool: pool() }, since),
            Blocked::Max if long && jobs > 0 => {
                found(Concern::Full { pool: pool(), has: plan.counts.occupied, max: plan.counts.max }, since)
            }
            Blocked::Capacity { why, .. } if long => found(Concern::NoCapacity { pool: pool(), why: why.clone() }, since),
            _ => None,
        }
    }

    fn failing(&self, name: &PoolName, now: Time) -> Option<FoundConcern> {
        let failing = self.failures(name)?;
        let (pool, since) = (name.clone(), failing.since);
        let booted = matches!(failing.backoff, Some(Backoff::BootFailures { .. }));
        if !booted && now.since(since) < FAILS_LONG {
            return None;
        }
        let instance = failing.instance.filter(|_| booted).cloned();
        let about = instance.as_ref().map_or_else(|| Target::pool(name), Target::runner);
        let concern = match (failing.backoff, failing.refused) {
            (Some(why), _) => Concern::Failing { pool, why: why.clone(), instance },
            (None, Some(why)) => Concern::Refused { pool, why: why.clone() },
            (None, None) => return None,
        };
        Some(FoundConcern { concern, weight: Weight::Trouble, since, jobs: 0, about })
    }

    /// Queued jobs, the oldest first, by what `key` says of them.
    fn queued_by<K: Ord>(&self, key: impl Fn(&Job) -> Option<K>) -> BTreeMap<K, Group> {
        let mut groups: BTreeMap<K, Group> = BTreeMap::new();
        for (id, job) in self.demand.jobs().iter().filter(|(_, job)| job.event.state == JobState::Queued) {
            let Some(key) = key(job) else { continue };
            let group = groups.entry(key).or_insert(Group { jobs: 0, since: job.first_seen, oldest: *id });
            group.jobs += 1;
            if job.first_seen < group.since {
                (group.since, group.oldest) = (job.first_seen, *id);
            }
        }
        groups
    }

    fn held_long(&self, now: Time) -> Vec<FoundConcern> {
        let long = |job: &Job| {
            let hold = job.hold.as_ref().filter(|hold| hold.why == HoldReason::LeftQueued)?;
            let told = hold.holds(now) || hold.trial;
            job.pool().filter(|_| told && now.since(job.first_seen) >= HELD_LONG).cloned()
        };
        // A pool that GitHub does not serve at all is told by itself.
        let groups = self.queued_by(long).into_iter().filter(|(pool, _)| self.not_served(pool).is_none());
        groups.map(|(pool, group)| group.found(Concern::HeldLong { pool }, Weight::Watch)).collect()
    }

    /// Jobs that no pool takes. Jobs that lack the same labels have one cause, whichever pool comes nearest.
    fn unplaceable(&self) -> Vec<FoundConcern> {
        let why = |job: &Job| if let Route::Unmatched(why) = &job.route { Some(why.clone()) } else { None };
        let groups = self.queued_by(|job| why(job).map(|why| cause(&why)));
        let mut all: Vec<Group> = groups.into_values().collect();
        all.sort_by_key(|group| (std::cmp::Reverse(group.jobs), group.since));
        let one = |group: Group| {
            let why = self.demand.jobs().get(&group.oldest).and_then(why)?;
            Some(group.found(Concern::Unplaceable(why), Weight::Trouble))
        };
        all.into_iter().take(MOST_KINDS).filter_map(one).collect()
    }

    /// What went wrong within the last hour, for each pool.
    fn mishaps(&self, now: Time) -> Vec<FoundConcern> {
        let mut all = Vec::new();
        for what in [What::JobLost, What::ForeignJob] {
            let mut groups: BTreeMap<Option<&PoolName>, Group> = BTreeMap::new();
            for mishap in self.lately.of(what, now) {
                let Some(job) = mishap.job else { continue };
                groups.entry(mishap.pool.as_ref()).or_insert(Group { jobs: 0, since: mishap.at, oldest: job }).jobs += 1;
            }
            for (pool, group) in groups {
                let pool = pool.cloned().unwrap_or_else(|| "none".into());
                let concern = if what == What::ForeignJob {
                    Concern::Foreign { pool }
                } else {
                    let again = self.cases.aside().any(|case| case.pool == pool);
                    Concern::Lost { pool, again }
                };
                all.push(group.found(concern, Weight::Trouble));
            }
        }
        // A list or an event may show that a name is taken; only an event tells of a job.
        let mut taken: BTreeMap<&InstanceId, Time> = BTreeMap::new();
        for mishap in self.lately.of(What::NameTaken, now) {
            if let Some(instance) = &mishap.instance {
                taken.entry(instance).or_insert(mishap.at);
            }
        }
        let found = |(instance, since): (&InstanceId, Time)| {
            let (concern, about) = (Concern::NameTaken { instance: instance.clone() }, Target::runner(instance));
            FoundConcern { concern, weight: Weight::Trouble, since, jobs: 0, about }
        };
        all.extend(taken.into_iter().map(found));
        all
    }

    /// Whether all instances and all lists of runners were seen once.
    pub(crate) fn all_seen(&self) -> bool {
        let lists = self.spec.pools.values().map(|pool| Source::Runners(pool.list_id()));
        lists.chain([Source::Instances]).all(|source| self.world.swept(&source).is_some())
    }

    fn stale(&self, now: Time) -> Vec<FoundConcern> {
        let every = &self.spec.controller.spec.intervals;
        let lists: BTreeSet<ListId> = self.spec.pools.values().map(RunnerPool::list_id).collect();
        // What the manifests name no more may never be looked at again.
        let needed = |source: &Source| match source {
            Source::Instances | Source::Secrets => true,
            Source::Runners(list) => lists.contains(list),
            Source::Deliveries(app) => self.spec.apps.contains_key(app),
        };
        let mut all = Vec::new();
        for (source, seen) in self.world.sources().iter().filter(|(source, _)| needed(source)) {
            let (interval, what) = match source {
                Source::Instances => (every.instances, "the instances at EC2".to_owned()),
                Source::Runners(list) => (every.runners, format!("the runners of {} at GitHub", list.scope)),
                Source::Secrets => (every.secrets, "the secrets in SSM".to_owned()),
                Source::Deliveries(app) => (every.deliveries, format!("the failed deliveries of {app}")),
            };
            let since = seen.complete.unwrap_or(self.world.started());
            if now.since(since) >= STALE.max(interval.get() * 4) {
                let concern = Concern::Stale { what, error: seen.error.clone() };
                all.push(FoundConcern { concern, weight: Weight::Trouble, since, jobs: 0, about: Target::budgets() });
            }
        }
        all
    }

    fn low_limits(&self, now: Time) -> Vec<FoundConcern> {
        let low =
            self.budgets.github().filter(|(_, resource, left, until)| resource.is_some() && *left < LOW_LIMIT && *until > now);
        let found = low.map(|(payer, _, left, until)| {
            let account = payer.account.as_deref().map_or_else(String::new, |account| format!(" on {account}"));
            let concern = Concern::GitHubLimit { whose: format!("{}{account}", payer.app), left, until };
            let weight = if left == 0 { Weight::Trouble } else { Weight::Watch };
            FoundConcern { concern, weight, since: now, jobs: 0, about: Target::budgets() }
        });
        found.collect()
    }

    fn old_versions(&self, now: Time) -> Vec<FoundConcern> {
        let mut all = Vec::new();
        for (pool, versions) in self.versions() {
            let warnings = versions.iter().filter_map(|(_, version, ends)| crate::warnings::of_version(version, ends, now));
            for warning in warnings {
                let (weight, since) = match &warning {
                    Warning::VersionEnded { ago, .. } => (Weight::Trouble, now - *ago),
                    _ => (Weight::Watch, now),
                };
                let (said, way_out, about) = (warning.to_string(), warning.way_out(), Target::pool(&pool));
                let concern = Concern::Version { pool: pool.clone(), said, way_out };
                all.push(FoundConcern { concern, weight, since, jobs: 0, about });
            }
        }
        all
    }
}

/// Jobs with one cause.
struct Group {
    jobs: u64,
    since: Time,
    oldest: JobId,
}

impl Group {
    fn found(self, concern: Concern, weight: Weight) -> FoundConcern {
        FoundConcern { concern, weight, since: self.since, jobs: self.jobs, about: Target::job(self.oldest) }
    }
}

/// What distinguishes jobs that no pool takes.
fn cause(why: &Unmatched) -> (u8, Vec<String>) {
    match why {
        Unmatched::NoLabels => (0, Vec::new()),
        Unmatched::Unserved { repo } => (1, vec![repo.clone()]),
        Unmatched::Misfit { misfit: Misfit::Lacks { labels }, .. } => (2, labels.clone()),
        Unmatched::Misfit { nearest, misfit: Misfit::Unasked { labels } } => {
            (3, std::iter::once(nearest.to_string()).chain(labels.iter().cloned()).collect())
        }
    }
}

impl FoundConcern {
    fn view(self, now: Time) -> AttentionView {
        AttentionView {
            word: self.concern.word().into(),
            weight: self.weight,
            since: self.since.as_millis(),
            jobs: self.jobs,
            what: self.concern.say(now),
            way_out: self.concern.way_out(),
            about: self.about,
        }
    }
}
