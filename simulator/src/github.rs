//! GitHub's jobs: queued, held back, given to any free runner whose labels fit, ended, run again; and their webhooks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::effect::{Failure, FailureKind, JobSighting};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::{JobId, RunId, RunnerId, RunnerName, Scope};
use muster_reconciler::time::Time;

use crate::event::Event;
use crate::faults::Fault;
use crate::job_plan::JobPlan;
use crate::mail::Mail;
use crate::nature::Nature;
use crate::registry::{Registry, fits};
use crate::rng::{Rng, Spread};

/// GitHub.
#[derive(Debug)]
pub struct GitHub {
    jobs: BTreeMap<JobId, Job>,
    /// Jobs that may be given to a runner now, by what they ask for.
    free: BTreeMap<Ask, BTreeSet<JobId>>,
    /// Jobs by how far they are: queued, in progress.
    unfinished: BTreeSet<JobId>,
    next_job: u64,
    /// Reruns that are decided and not queued yet.
    reruns: u64,
    /// GitHub's runners.
    pub(super) registry: Registry,
    /// Webhooks that could not be delivered.
    pub(super) mail: Mail,
    rng: Rng,
}

/// What a job asks for: labels and repository.
type Ask = (Vec<String>, String);

/// One job, in truth.
#[derive(Debug)]
pub struct Job {
    /// What it is.
    pub plan: JobPlan,
    /// The run that it belongs to.
    pub run: RunId,
    /// How far it is.
    pub state: JobState,
    /// When it was queued.
    pub queued_at: Time,
    /// When it started.
    pub started_at: Option<Time>,
    /// The runner that took it, by name.
    pub runner: Option<String>,
    /// The same, if it is one of the registry's.
    seat: Option<RunnerId>,
    /// How it ended.
    pub conclusion: Option<&'static str>,
    /// Whether GitHub holds it back.
    pub hold: Hold,
}

/// Whether GitHub holds a queued job back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No.
    No,
    /// Yes, and it looks queued (a concurrency group).
    Silent,
    /// Yes, and GitHub says so when asked (`waiting`).
    Said,
    /// Yes, it says so, and nobody was told that the job exists yet.
    Untold,
    /// It was given to a runner that died before it began.
    Vain,
}

/// What the rule that gives jobs to runners came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The job began.
    Begun(JobId, RunnerId),
    /// The runner will die before it begins.
    Vain(RunnerId),
}

/// Whether a runner of the scope may take jobs of the repository.
pub(super) fn in_scope(scope: &Scope, repo: &str) -> bool {
    match (scope, repo.split_once('/')) {
        (Scope::Org(org), Some((owner, _))) => org.eq_ignore_ascii_case(owner),
        (Scope::Repo(o, n), Some((owner, name))) => o.eq_ignore_ascii_case(owner) && n.eq_ignore_ascii_case(name),
        (Scope::Enterprise(_), _) => true,
        (_, None) => false,
    }
}

impl GitHub {
    pub(super) fn new(seed: u64) -> GitHub {
        GitHub {
            jobs: BTreeMap::new(),
            free: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            next_job: 1000,
            reruns: 0,
            registry: Registry::new(seed),
            mail: Mail::default(),
            rng: Rng::new(seed, "forge"),
        }
    }

    /// Every job there ever was.
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// Jobs that are not over.
    pub fn unfinished(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.unfinished.iter().filter_map(|id| Some((*id, self.jobs.get(id)?)))
    }

    /// Reruns that are still to come.
    pub(super) fn reruns(&self) -> u64 {
        self.reruns
    }

    /// Every registration there is.
    pub fn registrations(&self) -> &BTreeMap<RunnerId, crate::registry::Registration> {
        self.registry.all()
    }

    /// A job is queued. It may be held back, cancelled before long, or taken by a foreign runner.
    pub(super) fn queue(&mut self, plan: JobPlan, run: Option<RunId>, nature: &mut Nature) -> JobId {
        self.next_job += 1;
        self.reruns -= u64::from(run.is_some());
        let id = JobId(self.next_job);
        let cancel = nature.strikes(Fault::Cancelled).map(|mut r| r.within(Spread::secs(5, 300)));
        if let Some(cancel) = plan.cancel_after.or(cancel) {
            nature.after(cancel, Event::Cancel(id));
        }
        let silent = nature.strikes(Fault::Held).map(|r| (Hold::Silent, r));
        let said = nature.strikes(Fault::Waiting).map(|mut r| (if r.chance(0.5) { Hold::Said } else { Hold::Untold }, r));
        let mut hold = Hold::No;
        if let Some((kind, mut r)) = said.or(silent) {
            hold = kind;
            nature.after(r.within(Spread::secs(300, 2400)), Event::LetGo(id));
        }
        if let Some(mut r) = nature.strikes(Fault::Foreign) {
            nature.after(r.within(Spread::secs(2, 120)), Event::Stolen(id));
        }
        let job = Job {
            run: run.unwrap_or(RunId(id.0 / 4)),
            state: JobState::Queued,
            queued_at: nature.now(),
            started_at: None,
            runner: None,
            seat: None,
            conclusion: None,
            hold,
            plan,
        };
        self.jobs.insert(id, job);
        self.unfinished.insert(id);
        if hold == Hold::No {
            self.set_free(id);
        }
        if hold != Hold::Untold {
            self.tell(id, nature);
        }
        let soon = self.rng.within(nature.takes().assign);
        nature.after(soon, Event::Assign);
        id
    }

    fn set_free(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(&id) {
            self.free.entry((job.plan.labels.clone(), job.plan.repo.clone())).or_default().insert(id);
        }
    }

    fn take(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let ask = (job.plan.labels.clone(), job.plan.repo.clone());
        if let Some(waiting) = self.free.get_mut(&ask) {
            waiting.remove(&id);
            if waiting.is_empty() {
                self.free.remove(&ask);
            }
        }
    }

    /// A webhook about the job as it is now: lost, doubled, delayed. During an outage GitHub sends it when it is back.
    fn tell(&mut self, id: JobId, nature: &mut Nature) {
        let Some(job) = self.jobs.get(&id) else { return };
        let event = Box::new(event(id, job));
        if let Some(mut r) = nature.strikes(Fault::WebhookTwice) {
            nature.after(r.within(Spread::secs(1, 400)), Event::Send(event.clone()));
        }
        let soon = self.rng.within(nature.takes().webhook) + nature.github_back_in();
        if nature.hits(Fault::WebhookLoss) {
            self.mail.lose(event, nature);
            return;
        }
        let late = nature.strikes(Fault::WebhookLate).map(|mut r| r.within(Spread::secs(10, 300)));
        nature.after(soon + late.unwrap_or_default(), Event::Send(event));
    }

    /// Gives each queued job that it can to a random free runner that fits.
    pub(super) fn assign(&mut self, nature: &mut Nature) -> Vec<Given> {
        let mut given = Vec::new();
        if nature.github_down() || self.free.is_empty() || !self.registry.any_idle() {
            return given;
        }
        let mut benches = self.registry.benches();
        self.rng.shuffle(&mut benches);
        for bench in benches {
            while let Some(runner) = self.registry.pick_idle(&bench) {
                let fit = |(labels, repo): &Ask| fits(labels, &bench.0) && in_scope(&bench.1.scope, repo);
                let asks: Vec<&BTreeSet<JobId>> = self.free.iter().filter(|(ask, _)| fit(ask)).map(|(_, ids)| ids).collect();
                let Some(ids) = self.rng.pick(&asks) else { break };
                // In no strict order, but nobody waits for ever.
                let oldest = self.rng.below(ids.len().min(8) as u64);
                let Some(id) = ids.iter().nth(usize::try_from(oldest).unwrap_or_default()).copied() else { break };
                self.take(id);
                if let Some(mut r) = nature.strikes(Fault::AssignedInVain) {
                    self.registry.reserve(runner);
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.hold = Hold::Vain;
                    }
                    nature.after(r.within(Spread::secs(60, 180)), Event::LetGo(id));
                    given.push(Given::Vain(runner));
                    continue;
                }
                let name = self.registry.give(runner, id, self.takes(id), nature);
                self.begin(id, name, Some(runner), nature);
                given.push(Given::Begun(id, runner));
            }
        }
        given
    }

    fn takes(&self, id: JobId) -> Duration {
        self.jobs.get(&id).map_or(Duration::ZERO, |j| j.plan.takes)
    }

    /// A foreign runner takes the job, if it is still to be had. True: it did.
    pub(super) fn steal(&mut self, id: JobId, name: String, nature: &mut Nature) -> bool {
        let to_be_had = self.jobs.get(&id).is_some_and(|j| j.state == JobState::Queued && j.hold == Hold::No);
        if to_be_had {
            self.take(id);
            self.begin(id, Some(name), None, nature);
        }
        to_be_had
    }

    fn begin(&mut self, id: JobId, name: Option<String>, seat: Option<RunnerId>, nature: &mut Nature) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = JobState::InProgress;
            job.started_at = Some(nature.now());
            (job.runner, job.seat) = (name, seat);
            nature.after(job.plan.takes, Event::Finish(id, "success"));
        }
        self.tell(id, nature);
    }

    /// A job ends. The registration of an ephemeral runner ends with it. None: it had ended before.
    pub(super) fn finish(&mut self, id: JobId, conclusion: &'static str, nature: &mut Nature) -> Option<Option<RunnerName>> {
        let job = self.jobs.get_mut(&id).filter(|j| j.state != JobState::Completed)?;
        job.state = JobState::Completed;
        job.conclusion = Some(conclusion);
        let (seat, plan, run) = (job.seat.take(), job.plan.clone(), job.run);
        self.take(id);
        self.unfinished.remove(&id);
        self.tell(id, nature);
        if let Some(mut r) = nature.strikes(Fault::Rerun) {
            let pause = r.within(Spread::secs(10, 400));
            self.reruns += 1;
            nature.after(pause, Event::Queue(Box::new(JobPlan { cancel_after: None, ..plan }), Some(run)));
        }
        let name = seat.and_then(|runner| self.registry.job_over(runner, nature));
        Some(name)
    }

    /// Whether nobody has taken it, cancelled it or run it.
    pub(super) fn is_queued(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|j| j.state == JobState::Queued)
    }

    /// GitHub holds a job back no longer.
    pub(super) fn let_go(&mut self, id: JobId, nature: &mut Nature) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Queued && j.hold != Hold::No) else { return };
        let untold = job.hold == Hold::Untold;
        job.hold = Hold::No;
        self.set_free(id);
        if untold {
            self.tell(id, nature);
        }
        nature.after(Duration::from_secs(1), Event::Assign);
    }

    /// `GET .../actions/jobs/{id}`.
    pub(super) fn job(&self, id: JobId, nature: &mut Nature) -> Result<JobSighting, Failure> {
        let lost = nature.hits(Fault::CheckNotFound);
        let Some(job) = self.jobs.get(&id).filter(|_| !lost) else {
            return Err(Failure::new(FailureKind::NotFound, format!("job {id}: 404")));
        };
        let waits = matches!(job.hold, Hold::Said | Hold::Untold) && job.state == JobState::Queued;
        Ok(JobSighting {
            job: id,
            run: job.run,
            state: (!waits).then_some(job.state),
            runner: job.runner.clone(),
            conclusion: job.conclusion.map(str::to_owned),
        })
    }
}

/// What a webhook says of the job now.
pub(super) fn event(id: JobId, job: &Job) -> JobEvent {
    JobEvent {
        job: id,
        run: job.run,
        state: job.state,
        org: job.plan.repo.split('/').next().map(str::to_owned),
        enterprise: None,
        repo: job.plan.repo.clone(),
        labels: job.plan.labels.clone(),
        runner: job.runner.clone(),
        conclusion: job.conclusion.map(str::to_owned),
        queued_at: Some(job.queued_at),
        started_at: job.started_at.filter(|_| job.state > JobState::Queued),
    }
}
