//! GitHub: registrations, jobs, and the rule that any job goes to any free runner whose labels fit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{Configure, Failure, FailureKind, JobSighting, RunnerSighting};
use crate::event::{JobEvent, JobState};
use crate::ids::{AppName, Forge as List, JobId, RunId, RunnerId, RunnerName, Scope};
use crate::time::Time;

use super::agenda::{Agenda, Event};
use super::faults::WorldOptions;
use super::rng::{Rng, Spread};

/// A job to come, as data: what a run is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlan {
    /// When it is queued.
    pub at: Time,
    /// How long it runs.
    pub takes: Duration,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// `OWNER/NAME`.
    pub repo: String,
    /// Cancelled this long after it was queued, if it is still queued then.
    pub cancel_after: Option<Duration>,
}

/// GitHub.
#[derive(Debug)]
pub struct Forge {
    jobs: BTreeMap<JobId, Job>,
    queued: BTreeSet<JobId>,
    runners: BTreeMap<RunnerId, Registration>,
    idle: BTreeSet<RunnerId>,
    next_job: u64,
    next_runner: u64,
    /// Changes with every change of a registration: the lists' ETag.
    pub(super) version: u64,
    /// Per App: when the hour began, and requests used in it.
    used: BTreeMap<AppName, (Time, u32)>,
    rng: Rng,
}

/// One job, in truth.
#[derive(Debug)]
pub struct Job {
    /// What it is.
    pub plan: JobPlan,
    /// How far it is.
    pub state: JobState,
    /// When it was queued.
    pub queued_at: Time,
    /// When it started.
    pub started_at: Option<Time>,
    /// The runner that took it.
    pub runner: Option<String>,
    /// How it ended.
    pub conclusion: Option<&'static str>,
    /// GitHub holds it back.
    held: bool,
}

/// One registration, in truth.
#[derive(Debug)]
pub struct Registration {
    /// Its name.
    pub name: RunnerName,
    list: List,
    labels: Vec<String>,
    ephemeral: bool,
    /// Connected.
    pub online: bool,
    /// What it runs.
    pub job: Option<JobId>,
    /// The box is no more, whatever GitHub still shows.
    pub(super) gone: bool,
    /// Until then GitHub says that it is not busy, whatever it does.
    lies_until: Time,
}

/// Requests per hour and App.
const HOURLY: u32 = 5000;

/// GitHub's own rule: all of the job's labels are among the runner's, in any case.
pub(super) fn fits(job: &[String], runner: &[String]) -> bool {
    job.iter().all(|l| runner.iter().any(|r| r.eq_ignore_ascii_case(l)))
}

impl Forge {
    pub(super) fn new(seed: u64) -> Forge {
        Forge {
            jobs: BTreeMap::new(),
            queued: BTreeSet::new(),
            runners: BTreeMap::new(),
            idle: BTreeSet::new(),
            next_job: 1000,
            next_runner: 0,
            version: 0,
            used: BTreeMap::new(),
            rng: Rng::new(seed, "forge"),
        }
    }

    /// Every job there ever was.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// Every registration there is.
    pub fn registrations(&self) -> &BTreeMap<RunnerId, Registration> {
        &self.runners
    }

    // ------------------------------------------------------------------------------------------------ jobs

    pub(super) fn queue(&mut self, plan: JobPlan, o: &WorldOptions, faulty: bool, agenda: &mut Agenda) -> JobId {
        self.next_job += 1;
        let id = JobId(self.next_job);
        let f = &o.faults;
        let (cancelled, cancel) = (self.rng.chance(f.cancelled), self.rng.within(Spread::secs(5, 300)));
        let (held, hold) = (self.rng.chance(f.held), self.rng.within(Spread::secs(300, 2400)));
        let (stolen, steal) = (self.rng.chance(f.foreign), self.rng.within(Spread::secs(2, 120)));
        let cancel = plan.cancel_after.or((cancelled && faulty).then_some(cancel));
        if let Some(cancel) = cancel {
            agenda.after(cancel, Event::Cancel(id));
        }
        let held = held && faulty;
        if held {
            agenda.after(hold, Event::LetGo(id));
        }
        if stolen && faulty {
            agenda.after(steal, Event::Stolen(id));
        }
        let job =
            Job { plan, state: JobState::Queued, queued_at: agenda.now, started_at: None, runner: None, conclusion: None, held };
        self.jobs.insert(id, job);
        self.queued.insert(id);
        self.tell(id, o, faulty, agenda);
        agenda.after(self.rng.within(o.assign), Event::Assign);
        id
    }

    /// A webhook about the job as it is now: lost, doubled and delayed as the options have it.
    fn tell(&mut self, id: JobId, o: &WorldOptions, faulty: bool, agenda: &mut Agenda) {
        let f = &o.faults;
        let (lost, twice, late) =
            (self.rng.chance(f.webhook_loss), self.rng.chance(f.webhook_twice), self.rng.chance(f.webhook_late));
        let (first, second) = (self.rng.within(o.webhook), self.rng.within(Spread::secs(1, 400)));
        let slow = self.rng.within(Spread::secs(10, 300));
        let Some(job) = self.jobs.get(&id) else { return };
        let event = JobEvent {
            job: id,
            run: RunId(id.0 / 4),
            state: job.state,
            org: job.plan.repo.split('/').next().map(str::to_owned),
            enterprise: None,
            repo: job.plan.repo.clone(),
            labels: job.plan.labels.clone(),
            runner: job.runner.clone(),
            conclusion: job.conclusion.map(str::to_owned),
        };
        if twice && faulty {
            agenda.after(second, Event::Send(event.clone()));
        }
        match (lost && faulty, late && faulty) {
            // Nobody can know of a job that was never announced; failed deliveries are asked for again.
            (true, _) if job.state == JobState::Queued => agenda.after(Duration::from_secs(300) + slow, Event::Send(event)),
            (true, _) => {}
            (false, true) => agenda.after(slow, Event::Send(event)),
            (false, false) => agenda.after(first, Event::Send(event)),
        }
    }

    /// Gives each queued job that it can to a random free runner that fits.
    pub(super) fn assign(&mut self, o: &WorldOptions, faulty: bool, agenda: &mut Agenda) -> Vec<(JobId, RunnerId)> {
        let mut pairs = Vec::new();
        if self.idle.is_empty() {
            return pairs;
        }
        let mut queued: Vec<JobId> =
            self.queued.iter().copied().filter(|id| self.jobs.get(id).is_some_and(|j| !j.held)).collect();
        self.rng.shuffle(&mut queued);
        for id in queued {
            let Some(job) = self.jobs.get(&id) else { continue };
            let fit = |r: &&RunnerId| {
                self.runners.get(r).is_some_and(|r| fits(&job.plan.labels, &r.labels) && in_scope(&r.list.scope, &job.plan.repo))
            };
            let free: Vec<RunnerId> = self.idle.iter().filter(fit).copied().collect();
            let Some(runner) = self.rng.pick(&free).copied() else { continue };
            self.idle.remove(&runner);
            let (lies, until) = (self.rng.chance(o.faults.busy_lie), self.rng.within(Spread::secs(20, 60)));
            let mut name = None;
            if let Some(r) = self.runners.get_mut(&runner) {
                r.job = Some(id);
                r.lies_until = if lies && faulty { agenda.now + until } else { Time::ZERO };
                name = Some(r.name.to_string());
            }
            self.begin(id, name, o, faulty, agenda);
            pairs.push((id, runner));
        }
        pairs
    }

    /// A foreign runner takes the job, if it is still to be had.
    pub(super) fn steal(&mut self, id: JobId, o: &WorldOptions, faulty: bool, agenda: &mut Agenda) {
        if self.queued.contains(&id) && self.jobs.get(&id).is_some_and(|j| !j.held) {
            self.begin(id, Some("somebodys-laptop".into()), o, faulty, agenda);
        }
    }

    fn begin(&mut self, id: JobId, runner: Option<String>, o: &WorldOptions, faulty: bool, agenda: &mut Agenda) {
        self.queued.remove(&id);
        self.version += 1;
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = JobState::InProgress;
            job.started_at = Some(agenda.now);
            job.runner = runner;
            agenda.after(job.plan.takes, Event::Finish(id, "success"));
        }
        self.tell(id, o, faulty, agenda);
    }

    /// A job ends. The registration of an ephemeral runner ends with it. None: it had ended before.
    pub(super) fn finish(
        &mut self,
        id: JobId,
        conclusion: &'static str,
        o: &WorldOptions,
        faulty: bool,
        agenda: &mut Agenda,
    ) -> Option<Option<(RunnerId, RunnerName)>> {
        let job = self.jobs.get_mut(&id).filter(|j| j.state != JobState::Completed)?;
        job.state = JobState::Completed;
        job.conclusion = Some(conclusion);
        self.queued.remove(&id);
        self.version += 1;
        self.tell(id, o, faulty, agenda);
        let found = self.runners.iter_mut().find(|(_, r)| r.job == Some(id));
        let Some((runner, registration)) = found else { return Some(None) };
        let (runner, name) = (*runner, registration.name.clone());
        registration.job = None;
        if registration.gone {
            return Some(None);
        }
        if registration.ephemeral {
            self.runners.remove(&runner);
        } else {
            self.idle.insert(runner);
            agenda.after(self.rng.within(o.assign), Event::Assign);
        }
        Some(Some((runner, name)))
    }

    pub(super) fn is_queued(&self, id: JobId) -> bool {
        self.queued.contains(&id)
    }

    pub(super) fn let_go(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.held = false;
        }
    }

    /// `GET .../actions/jobs/{id}`.
    pub(super) fn job(&self, id: JobId) -> Result<JobSighting, Failure> {
        let Some(job) = self.jobs.get(&id) else {
            return Err(Failure::new(FailureKind::NotFound, format!("job {id}: 404")));
        };
        Ok(JobSighting {
            job: id,
            run: RunId(id.0 / 4),
            state: Some(job.state),
            runner: job.runner.clone(),
            conclusion: job.conclusion.map(str::to_owned),
        })
    }

    // --------------------------------------------------------------------------------------------- runners

    /// Mints a JIT configuration: a registration that is offline until the box connects. A name is given once.
    pub(super) fn mint(&mut self, c: &Configure) -> Result<RunnerId, Failure> {
        if let Some((old, found)) = self.runners.iter().find(|(_, r)| r.name == c.name && r.list == c.forge) {
            if found.online || !c.replace {
                return Err(Failure::new(FailureKind::Conflict, format!("runner {}: 409 Already exists", c.name)));
            }
            let old = *old;
            self.runners.remove(&old);
        }
        self.next_runner += 1;
        self.version += 1;
        let id = RunnerId(self.next_runner);
        let registration = Registration {
            name: c.name.clone(),
            list: c.forge.clone(),
            labels: c.labels.clone(),
            ephemeral: c.ephemeral,
            online: false,
            job: None,
            gone: false,
            lies_until: Time::ZERO,
        };
        self.runners.insert(id, registration);
        Ok(id)
    }

    /// The box connects. False: its registration is gone.
    pub(super) fn connect(&mut self, id: RunnerId, o: &WorldOptions, agenda: &mut Agenda) -> bool {
        let delay = self.rng.within(o.assign);
        let Some(r) = self.runners.get_mut(&id) else { return false };
        r.online = true;
        self.version += 1;
        self.idle.insert(id);
        agenda.after(delay, Event::Assign);
        true
    }

    /// The box went away: no job for it from now on; GitHub shows it offline a little later.
    pub(super) fn lost(&mut self, id: RunnerId, agenda: &mut Agenda) {
        self.idle.remove(&id);
        let seen = self.rng.within(Spread::secs(1, 60));
        let failed = self.rng.within(Spread::secs(30, 180));
        if let Some(r) = self.runners.get_mut(&id) {
            r.gone = true;
            agenda.after(seen, Event::Offline(id));
            if let Some(job) = r.job {
                agenda.after(failed, Event::Finish(job, "failure"));
            }
        }
    }

    pub(super) fn offline(&mut self, id: RunnerId) {
        if let Some(r) = self.runners.get_mut(&id) {
            r.online = false;
            self.version += 1;
        }
    }

    /// DELETE. The flag: a job was killed by it, because GitHub believed its own lie. None: there was none.
    pub(super) fn delete(&mut self, id: RunnerId, now: Time) -> Result<Option<(RunnerName, bool)>, Failure> {
        let Some(r) = self.runners.get(&id) else { return Ok(None) };
        if r.job.is_some() && r.online && now >= r.lies_until {
            return Err(Failure::new(FailureKind::Conflict, format!("runner {}: 422 is currently running a job", r.name)));
        }
        let (name, kills) = (r.name.clone(), r.job.is_some() && !r.gone);
        self.runners.remove(&id);
        self.idle.remove(&id);
        self.version += 1;
        Ok(Some((name, kills)))
    }

    /// The list, as GitHub shows it: rows may be missing, `busy` may be a lie.
    pub(super) fn list(&mut self, list: &List, cluster: &str, o: &WorldOptions, faulty: bool, now: Time) -> Vec<RunnerSighting> {
        let mut rows = Vec::new();
        for (id, r) in &self.runners {
            let missing = self.rng.chance(o.faults.missing_row);
            if r.list == *list && r.name.cluster == cluster && !(missing && faulty) {
                let busy = r.job.is_some() && now >= r.lies_until;
                let labels = r.labels.clone().into();
                rows.push(RunnerSighting { id: *id, name: r.name.clone(), online: r.online, busy, labels });
            }
        }
        rows
    }

    /// One request of the App's hourly limit: what is left, and when it is full again. None: none was left.
    pub(super) fn spend(&mut self, app: &AppName, now: Time) -> (Option<u32>, Duration) {
        let hour = Duration::from_secs(3600);
        let used = self.used.entry(app.clone()).or_insert((now, 0));
        if now.since(used.0) >= hour {
            *used = (now, 0);
        }
        let reset = hour.saturating_sub(now.since(used.0));
        if used.1 >= HOURLY {
            return (None, reset);
        }
        used.1 += 1;
        (Some(HOURLY - used.1), reset)
    }
}

fn in_scope(scope: &Scope, repo: &str) -> bool {
    let owner = repo.split('/').next().unwrap_or_default();
    match scope {
        Scope::Org(org) => org.eq_ignore_ascii_case(owner),
        Scope::Repo(o, name) => repo.eq_ignore_ascii_case(&format!("{o}/{name}")),
        Scope::Enterprise(_) => true,
    }
}
