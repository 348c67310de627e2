//! GitHub's runners: registrations that are made, connect, take jobs and are deleted. The lists of them are not always
//! true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::effect::{Configure, Resource, RunnerSighting};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{InstanceId, JobId, ListId as List, Payer, PoolName, RunnerId, RunnerName};
use muster_reconciler::time::Time;

use crate::event::Event;
use crate::faults::Fault;
use crate::job_end::JobEnd;
use crate::nature::Nature;
use crate::rng::{Rng, Spread};

/// How many requests per hour GitHub admits of an installation.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
const fn hourly(resource: Resource) -> u32 {
    match resource {
        Resource::Core => 5000,
        Resource::Registration => 10_000,
    }
}
/// With fewer requests than this left, a burst of instances cannot be configured.
const SHORT: u32 = 500;
/// Rows on one page of the list. When the list shifts, a row may be lost or repeated at the edge of a page. The page is small, so
/// that small runs meet this.
const PAGE: usize = 10;
/// How long the secondary rate limit lasts.
pub(super) const SECONDARY: Spread = Spread::secs(30, 180);

/// Runners that GitHub's rule treats alike: their labels, and their list.
pub(super) type Bench = (Vec<String>, List);

/// All registrations of all lists.
#[derive(Debug)]
pub struct Registry {
    runners: BTreeMap<RunnerId, TrueRegistration>,
    /// Runners that are online and have no job.
    idle: BTreeMap<Bench, BTreeSet<RunnerId>>,
    /// An index of `runners`.
    by_name: BTreeMap<(InstanceId, List), RunnerId>,
    /// Until when GitHub refuses the configurations of each pool.
    refusing: BTreeMap<PoolName, Time>,
    /// The members of each list, and a version, which changes with every change. The version stands for the ETag.
    lists: BTreeMap<List, (BTreeSet<RunnerId>, u64)>,
    next: u64,
    /// When the hour began, and how many requests it has had. GitHub counts each resource of each installation separately.
    used: BTreeMap<(Payer, Resource), (Time, u32)>,
    /// Until when the secondary rate limit holds.
    limited: BTreeMap<Payer, Time>,
    /// The lists that showed all runners offline the last time.
    offline: BTreeSet<List>,
    rng: Rng,
}

/// One registration, in its true state.
#[derive(Debug)]
pub struct TrueRegistration {
    /// The runner's name.
    pub name: RunnerName,
    list: List,
    group: String,
    labels: Vec<String>,
    /// The labels once more, shared by all rows that show them.
    listed_labels: Arc<[String]>,
    ephemeral: bool,
    /// Whether the runner is connected, as GitHub sees it.
    pub online: bool,
    /// The job that runs on the runner.
    pub job: Option<JobId>,
    /// GitHub has given the runner a job that it will never begin.
    reserved: bool,
    /// The instance has ended, whatever GitHub still shows.
    pub(super) gone: bool,
    /// Somebody else registered the runner, whatever its name.
    pub foreign: bool,
    /// From the first to the second time, GitHub says `busy: false`, whatever the runner does.
    lies: (Time, Time),
}

impl TrueRegistration {
    fn busy(&self) -> bool {
        self.job.is_some() || self.reserved
    }

    /// What GitHub says about `busy`.
    fn said_busy(&self, now: Time) -> bool {
        self.busy() && !(self.lies.0 <= now && now < self.lies.1)
    }

    /// Whether GitHub gives the runner all jobs that count for the pool.
    pub fn serves(&self, pool: &muster_reconciler::manifest::RunnerPool) -> bool {
        self.list == pool.list_id() && self.group == pool.spec.github.runner_group && fits(&pool.spec.labels, &self.labels)
    }

    /// The list that the registration is in.
    pub fn list(&self) -> &List {
        &self.list
    }
}

/// GitHub's rule: the runner has all labels of the job. Upper and lower case are the same.
pub(super) fn fits(job: &[String], runner: &[String]) -> bool {
    job.iter().all(|l| runner.iter().any(|r| r.eq_ignore_ascii_case(l)))
}

/// What the deletion of a registration did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deleted {
    pub name: RunnerName,
    /// The job that failed by it, because GitHub believed that the runner was not busy.
    pub killed: Option<JobId>,
}

/// The answer to a request for a list.
#[derive(Debug)]
pub(super) struct Listed {
    pub rows: Vec<RunnerSighting>,
    /// The version of the list. None: the rows are not entirely true.
    pub version: Option<u64>,
    /// Whether a row is missing.
    pub lacks: bool,
}

impl Registry {
    pub(super) fn new(seed: u64) -> Registry {
        Registry {
            runners: BTreeMap::new(),
            idle: BTreeMap::new(),
            by_name: BTreeMap::new(),
            refusing: BTreeMap::new(),
            lists: BTreeMap::new(),
            next: 0,
            used: BTreeMap::new(),
            limited: BTreeMap::new(),
            offline: BTreeSet::new(),
            rng: Rng::new(seed, "registry"),
        }
    }

    pub(super) fn all(&self) -> &BTreeMap<RunnerId, TrueRegistration> {
        &self.runners
    }

    /// The instance that the registration is for.
    pub(super) fn instance_of(&self, id: RunnerId) -> Option<InstanceId> {
        self.runners.get(&id).map(|r| r.name.instance.clone())
    }

    /// How many registrations were made in the whole run, strangers' included.
    pub(super) fn registered(&self) -> u64 {
        self.next
    }

    // ------------------------------------------------------------------------------------------- a runner's life

    fn changed(&mut self, id: RunnerId) {
        if let Some(r) = self.runners.get(&id)
            && let Some(list) = self.lists.get_mut(&r.list)
        {
            list.1 += 1;
        }
    }

    fn insert(&mut self, c: &Configure, gone: bool) -> RunnerId {
        self.next += 1;
        let id = RunnerId(self.next);
        self.by_name.insert((c.name.instance.clone(), c.list_id.clone()), id);
        let list = self.lists.entry(c.list_id.clone()).or_default();
        list.0.insert(id);
        list.1 += 1;
        self.runners.insert(
            id,
            TrueRegistration {
                name: c.name.clone(),
                list: c.list_id.clone(),
                group: c.group.clone(),
                labels: c.labels.clone(),
                listed_labels: c.labels.clone().into(),
                ephemeral: c.ephemeral,
                online: false,
                job: None,
                reserved: false,
                gone,
                foreign: false,
                lies: (Time::ZERO, Time::ZERO),
            },
        );
        id
    }

    fn remove(&mut self, id: RunnerId) -> Option<TrueRegistration> {
        self.changed(id);
        self.unseat(id);
        let r = self.runners.remove(&id)?;
        self.by_name.remove(&(r.name.instance.clone(), r.list.clone()));
        if let Some(list) = self.lists.get_mut(&r.list) {
            list.0.remove(&id);
        }
        Some(r)
    }

    fn seat(&mut self, id: RunnerId) {
        if let Some(r) = self.runners.get(&id) {
            self.idle.entry((r.labels.clone(), r.list.clone())).or_default().insert(id);
        }
    }

    fn unseat(&mut self, id: RunnerId) {
        if let Some(r) = self.runners.get(&id) {
            let bench = (r.labels.clone(), r.list.clone());
            if let Some(idle) = self.idle.get_mut(&bench) {
                idle.remove(&id);
                if idle.is_empty() {
                    self.idle.remove(&bench);
                }
            }
        }
    }

    /// Adds a registration that belongs to somebody else.
    pub(super) fn add_foreign(&mut self, c: &Configure) {
        let id = self.insert(c, false);
        if let Some(r) = self.runners.get_mut(&id) {
            (r.online, r.foreign) = (true, true);
        }
    }

    /// Somebody registers a runner with the name of a runner of ours, in another list. GitHub admits a name once in each list.
    /// It goes away after a while.
    pub(super) fn add_impostor(&mut self, name: &str, online: bool, nature: &mut Nature) {
        let Some(own) = self.runners.values().find(|r| r.name.to_string() == name && !r.foreign) else { return };
        let (name, own) = (own.name.clone(), own.list.clone());
        let free = |list: &&List| **list != own && !self.by_name.contains_key(&(name.instance.clone(), (*list).clone()));
        let Some(list_id) = self.lists.keys().find(free).cloned() else { return };
        let (group, labels, work_directory) = ("Default".into(), vec!["theirs".into()], "_work".into());
        let id =
            self.insert(&Configure { name, list_id, group, labels, work_directory, ephemeral: false, replace: false }, false);
        if let Some(r) = self.runners.get_mut(&id) {
            (r.online, r.foreign) = (online, true);
        }
        let stays = self.rng.within(Spread::secs(60, 3600));
        nature.after(stays, Event::ImpostorLeaves(id));
    }

    /// The stranger takes his registration away.
    pub(super) fn impostor_leaves(&mut self, id: RunnerId) {
        self.remove(id);
    }

    /// Whether GitHub refuses the configuration, because the pool's group or a label is gone.
    pub(super) fn refuses(&mut self, c: &Configure, nature: &mut Nature) -> Result<(), Failure> {
        let now = nature.now();
        if let Some(mut size) = nature.strikes(Fault::PoolRefused) {
            let until = now + size.within(Spread::secs(60, 900));
            self.refusing.insert(c.name.pool.clone(), until);
        }
        if self.refusing.get(&c.name.pool).is_some_and(|until| now < *until && nature.luck.active) {
            return Err(Failure::new(FailureKind::Refused, format!("runner {}: 422 Invalid runner group", c.name)));
        }
        Ok(())
    }

    /// Makes a JIT configuration, and with it a registration that is offline until the instance connects. A name can be
    /// used once.
    pub(super) fn mint(&mut self, c: &Configure, nature: &mut Nature) -> Result<RunnerId, Failure> {
        let key = (c.name.instance.clone(), c.list_id.clone());
        if !self.by_name.contains_key(&key) && nature.hits(Fault::NameConflict) {
            self.insert(c, true);
        }
        if let Some(old) = self.by_name.get(&key).copied() {
            let online = self.runners.get(&old).is_some_and(|r| r.online);
            if online || !c.replace {
                return Err(Failure::new(FailureKind::Conflict, format!("runner {}: 409 Already exists", c.name)));
            }
            self.remove(old);
        }
        Ok(self.insert(c, false))
    }

    /// The instance connects. False: its registration is gone.
    pub(super) fn connect(&mut self, id: RunnerId, nature: &mut Nature) -> bool {
        let Some(r) = self.runners.get_mut(&id) else { return false };
        r.online = true;
        self.changed(id);
        self.seat(id);
        let soon = self.rng.within(nature.takes().assign);
        nature.after(soon, Event::Assign);
        true
    }

    /// The instance is gone. The runner gets no job from now on. GitHub shows it offline a little later, and fails its job.
    pub(super) fn lost(&mut self, id: RunnerId, nature: &mut Nature) {
        self.unseat(id);
        let (seen, failed) = (self.rng.within(Spread::secs(1, 60)), self.rng.within(Spread::secs(30, 180)));
        if let Some(r) = self.runners.get_mut(&id) {
            r.gone = true;
            nature.after(seen, Event::Offline(id));
            if let Some(job) = r.job {
                nature.after(failed, Event::Finish(job, JobEnd::CutShort));
            }
        }
    }

    pub(super) fn offline(&mut self, id: RunnerId) {
        if let Some(r) = self.runners.get_mut(&id) {
            (r.online, r.reserved) = (false, false);
            self.changed(id);
        }
    }

    // --------------------------------------------------------------------------------------------------- jobs

    pub(super) fn any_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    pub(super) fn benches(&self) -> Vec<Bench> {
        self.idle.keys().cloned().collect()
    }

    /// An idle runner of the bench: one of the first eight, so that GitHub prefers none.
    pub(super) fn pick_idle(&mut self, bench: &Bench) -> Option<RunnerId> {
        let idle = self.idle.get(bench)?;
        let nth = self.rng.below(idle.len().min(8) as u64);
        idle.iter().nth(usize::try_from(nth).unwrap_or_default()).copied()
    }

    /// Marks the runner as one that will never begin its job.
    pub(super) fn reserve(&mut self, id: RunnerId) {
        self.unseat(id);
        if let Some(r) = self.runners.get_mut(&id) {
            r.reserved = true;
        }
        self.changed(id);
    }

    /// Gives the runner a job. Returns the runner's name.
    pub(super) fn give(&mut self, id: RunnerId, job: JobId, takes: Duration, nature: &mut Nature) -> Option<String> {
        self.unseat(id);
        self.changed(id);
        let (at_first, midway) = (nature.strikes(Fault::BusyLie), nature.strikes(Fault::BusyLieMidJob));
        let now = nature.now();
        let r = self.runners.get_mut(&id)?;
        r.job = Some(job);
        r.lies = match (at_first, midway) {
            (Some(mut size), _) => (now, now + size.within(Spread::secs(20, 60))),
            (None, Some(mut size)) => {
                let from = now + takes.mul_f64(size.unit());
                (from, from + size.within(Spread::secs(25, 720)))
            }
            (None, None) => (Time::ZERO, Time::ZERO),
        };
        Some(r.name.to_string())
    }

    /// The runner's job is over. An ephemeral registration ends with it. Returns the runner's name; None: the instance is
    /// gone.
    pub(super) fn job_over(&mut self, id: RunnerId, nature: &mut Nature) -> Option<RunnerName> {
        self.changed(id);
        let r = self.runners.get_mut(&id)?;
        r.job = None;
        let (name, ephemeral) = (r.name.clone(), r.ephemeral);
        if r.gone {
            return None;
        }
        if ephemeral {
            self.remove(id);
        } else {
            self.seat(id);
            let soon = self.rng.within(nature.takes().assign);
            nature.after(soon, Event::Assign);
        }
        Some(name)
    }

    // ------------------------------------------------------------------------------------------------ the API

    /// Deletes a registration, as DELETE does. Ok(None): there was none.
    pub(super) fn delete(&mut self, id: RunnerId, now: Time) -> Result<Option<Deleted>, Failure> {
        let Some(r) = self.runners.get(&id) else { return Ok(None) };
        if r.online && r.said_busy(now) {
            return Err(Failure::new(FailureKind::Conflict, format!("runner {}: 422 is currently running a job", r.name)));
        }
        let killed = r.job.filter(|_| !r.gone);
        Ok(self.remove(id).map(|r| Deleted { name: r.name, killed }))
    }

    /// The list as GitHub shows it: rows may be missing, and `busy` may be false while a job runs.
    pub(super) fn list(&mut self, list: &List, cluster: &str, nature: &mut Nature) -> Listed {
        let now = nature.now();
        let (members, version) = self.lists.entry(list.clone()).or_default();
        let (missing, shifted) = (nature.strikes(Fault::MissingRow), nature.strikes(Fault::ShiftedPage));
        let offline = nature.strikes(Fault::AllOffline).is_some() && !self.offline.remove(list);
        if offline {
            self.offline.insert(list.clone());
        }
        let mut truth = missing.is_none() && shifted.is_none() && !offline;
        let mut rows = Vec::with_capacity(members.len());
        for id in members.iter() {
            let Some(r) = self.runners.get(id).filter(|r| r.name.cluster == cluster) else { continue };
            let busy = r.said_busy(now);
            truth &= busy == r.busy();
            let labels = Arc::clone(&r.listed_labels);
            rows.push(RunnerSighting {
                id: *id,
                name: r.name.clone(),
                online: r.online && !offline,
                busy: busy && !offline,
                labels,
                version: None,
            });
        }
        let whole = rows.len();
        if let Some(mut size) = missing {
            let share = 0.05 + 0.25 * size.unit();
            rows.retain(|_| !size.chance(share));
        }
        if let Some(mut size) = shifted
            && rows.len() > PAGE
        {
            // A row before the end of the page was deleted, or one was added. So the next page begins one row too late, or
            // too early.
            let edge = PAGE * (1 + usize::try_from(size.below((rows.len() / PAGE) as u64)).unwrap_or_default());
            if size.chance(0.5) {
                rows.remove(edge.min(rows.len() - 1));
            } else {
                let twice = rows[edge - 1].clone();
                rows.insert(edge, twice);
            }
        }
        Listed { lacks: rows.len() < whole, rows, version: truth.then_some(*version) }
    }

    /// The version of the list, which an ETag stands for.
    pub(super) fn version(&self, list: &List) -> u64 {
        self.lists.get(list).map_or(0, |l| l.1)
    }

    /// How many pages of 100 rows the list has.
    pub(super) fn pages(&self, list: &List) -> u64 {
        self.lists.get(list).map_or(1, |l| l.0.len().div_ceil(100).max(1) as u64)
    }

    /// How much longer the secondary rate limit holds for the payer. None: it does not hold.
    pub(super) fn secondary(&mut self, payer: &Payer, nature: &mut Nature) -> Option<Duration> {
        let now = nature.now();
        if let Some(mut size) = nature.strikes(Fault::SecondaryLimit) {
            self.limited.insert(payer.clone(), now + size.within(SECONDARY));
        }
        let until = *self.limited.get(payer)?;
        (nature.luck.active && until > now).then(|| until.since(now))
    }

    /// Whether the payer's requests for configurations are used up, or nearly so.
    pub(super) fn short(&self, payer: &Payer, now: Time) -> bool {
        let (hour, resource) = (Duration::from_secs(3600), Resource::Registration);
        let used = self.used.get(&(payer.clone(), resource));
        let spent = used.is_some_and(|(since, used)| now.since(*since) < hour && used + SHORT > hourly(resource));
        spent || self.limited.get(payer).is_some_and(|until| *until > now)
    }

    /// Counts one request against the payer's hourly limit. Returns what is left (None: nothing was left) and the time
    /// until the hour is over.
    pub(super) fn spend(&mut self, payer: &Payer, resource: Resource, nature: &mut Nature) -> (Option<u32>, Duration) {
        let now = nature.now();
        let hour = Duration::from_secs(3600);
        let used = self.used.entry((payer.clone(), resource)).or_insert((now, 0));
        if now.since(used.0) >= hour {
            *used = (now, 0);
        }
        let reset = hour.saturating_sub(now.since(used.0));
        if nature.hits(Fault::PrimaryLimit) {
            used.1 = used.1.max(hourly(resource) - 1);
        }
        if used.1 >= hourly(resource) {
            return (None, reset);
        }
        used.1 += 1;
        (Some(hourly(resource) - used.1), reset)
    }
}
