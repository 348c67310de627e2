//! GitHub's jobs and their webhooks. A job is queued, may be held back, goes to any idle runner whose labels match, ends,
//! and may be run again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use muster_reconciler::effect::JobSighting;
use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{JobId, RunId, RunnerId, RunnerName, Scope};
use muster_reconciler::late::{NoticeKey, StatusState};
use muster_reconciler::rerun::{Again, EndedJob, RunSighting};
use muster_reconciler::time::Time;

use crate::event::Event;
use crate::faults::Fault;
use crate::instances::breaks;
use crate::job_end::JobEnd;
use crate::job_plan::JobPlan;
use crate::mail::Mail;
use crate::nature::Nature;
use crate::registry::{Registry, fits};
use crate::rng::{Rng, Spread};

/// The true state of GitHub: its jobs, its runners and its failed webhooks.
#[derive(Debug)]
pub struct TrueGitHub {
    jobs: BTreeMap<JobId, TrueJob>,
    /// Queued jobs that GitHub may give to a runner now, by what they ask for.
    free: BTreeMap<RunsOn, BTreeSet<JobId>>,
    /// Jobs that are queued or in progress.
    unfinished: BTreeSet<JobId>,
    /// The jobs of each run.
    runs: BTreeMap<RunId, BTreeSet<JobId>>,
    /// The newest attempt of each run that was run again.
    attempts: BTreeMap<RunId, u32>,
    /// What the newest status of each context says.
    pub(super) statuses: BTreeMap<NoticeKey, StatusState>,
    next_job: u64,
    /// The ids of the next jobs, if the caller names them.
    pub(super) named: VecDeque<JobId>,
    /// How many reruns are decided and not queued yet.
    reruns: u64,
    /// GitHub's lists of runners.
    pub(super) registry: Registry,
    /// The webhooks that could not be delivered.
    pub(super) mail: Mail,
    rng: Rng,
}

/// The ids of runners that are not in the registry are greater than this.
const STRANGERS: u64 = 1 << 40;

/// What a job asks of its runner: labels, and the repository.
type RunsOn = (Vec<String>, String);

/// One job, in its true state.
#[derive(Debug)]
pub struct TrueJob {
    /// The job as the scenario plans it.
    pub plan: JobPlan,
    /// The workflow run that the job belongs to.
    pub run: RunId,
    /// The true state, which the controller may not know yet.
    pub state: JobState,
    /// When GitHub queued the job.
    pub queued_at: Time,
    /// When a runner began the job. None: no runner has.
    pub started_at: Option<Time>,
    /// The name of the runner that took the job, which may be a foreign one.
    pub runner: Option<String>,
    /// GitHub's id of that runner.
    pub runner_id: Option<RunnerId>,
    /// The id of that runner, if it is in the registry. None for a foreign runner, and after the job's end.
    seat: Option<RunnerId>,
    /// The conclusion, as in a webhook. None: the job is not over.
    pub conclusion: Option<&'static str>,
    /// How the job ended. None: it is not over.
    pub end: Option<JobEnd>,
    /// The attempt of the run that the job belongs to: 1 for the first.
    pub attempt: u32,
    /// Whether a later attempt of the run has a job in this one's place.
    pub replaced: bool,
    /// Whether GitHub holds the job back, and who can know.
    pub hold: TrueHold,
    /// Since when GitHub has not held the job back: since it was queued, or let go.
    pub free_since: Time,
    /// Since when GitHub has not said that the job waits: since it was queued, or let go.
    pub unsaid_since: Time,
}

/// Whether a runner of this id is in no list of ours, whatever its name.
pub(super) fn is_stranger(id: RunnerId) -> bool {
    id.0 > STRANGERS
}

impl TrueJob {
    /// The name of the runner that took the job, if the runner is in one of our lists.
    pub fn listed_runner(&self) -> Option<&str> {
        self.runner.as_deref().filter(|_| !self.runner_id.is_some_and(is_stranger))
    }

    /// Whether GitHub says that the job may not start yet.
    pub fn waits(&self) -> bool {
        self.state == JobState::Queued && matches!(self.hold, TrueHold::Said | TrueHold::Untold)
    }
}

/// Whether GitHub holds a queued job back, and who can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrueHold {
    /// GitHub does not hold the job back.
    No,
    /// GitHub holds the job back, and reports it as queued. A concurrency group can do that.
    Silent,
    /// GitHub holds the job back, and reports it as `waiting` when asked.
    Said,
    /// As `Said`, and no webhook has announced the job yet.
    Untold,
    /// GitHub gave the job to a runner that died before the job began.
    Vain,
}

/// What came of giving a job to a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// The job began on the runner.
    Begun(JobId, RunnerId),
    /// The runner will die before its job begins.
    Vain(RunnerId),
}

/// Whether a runner of this scope may take jobs of this repository, written as `OWNER/NAME`.
pub(super) fn in_scope(scope: &Scope, repo: &str) -> bool {
    match (scope, repo.split_once('/')) {
        (Scope::Org(org), Some((owner, _))) => org.eq_ignore_ascii_case(owner),
        (Scope::Repo(o, n), Some((owner, name))) => o.eq_ignore_ascii_case(owner) && n.eq_ignore_ascii_case(name),
        (Scope::Enterprise(_), _) => true,
        (_, None) => false,
    }
}

impl TrueGitHub {
    pub(super) fn new(seed: u64) -> TrueGitHub {
        TrueGitHub {
            jobs: BTreeMap::new(),
            free: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            runs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            statuses: BTreeMap::new(),
            next_job: 1000,
            named: VecDeque::new(),
            reruns: 0,
            registry: Registry::new(seed),
            mail: Mail::default(),
            rng: Rng::new(seed, "forge"),
        }
    }

    /// Every job since the start of the run.
    pub fn jobs(&self) -> &BTreeMap<JobId, TrueJob> {
        &self.jobs
    }

    /// The jobs that are queued or in progress.
    pub fn unfinished(&self) -> impl Iterator<Item = (JobId, &TrueJob)> {
        self.unfinished.iter().filter_map(|id| Some((*id, self.jobs.get(id)?)))
    }

    /// How many reruns are still to come.
    pub(super) fn reruns(&self) -> u64 {
        self.reruns
    }

    /// Every registration in GitHub's lists.
    pub fn registrations(&self) -> &BTreeMap<RunnerId, crate::registry::TrueRegistration> {
        self.registry.all()
    }

    /// Queues a job. Faults may hold it back, cancel it before long, or have a foreign runner take it.
    pub(super) fn queue(&mut self, plan: JobPlan, run: Option<(RunId, u32)>, nature: &mut Nature) -> JobId {
        self.next_job += 1;
        self.reruns -= u64::from(run.is_some());
        let id = self.named.pop_front().unwrap_or(JobId(self.next_job));
        let cancel = nature.strikes(Fault::Cancelled).map(|mut r| r.within(Spread::secs(5, 300)));
        if let Some(cancel) = plan.cancel_after.or(cancel) {
            nature.after(cancel, Event::Cancel(id));
        }
        let silent = nature.strikes(Fault::Held).map(|r| (TrueHold::Silent, r));
        let said =
            nature.strikes(Fault::Waiting).map(|mut r| (if r.chance(0.75) { TrueHold::Said } else { TrueHold::Untold }, r));
        let (mut hold, mut first, mut second) = (TrueHold::No, false, None);
        if let Some((kind, mut r)) = said.or(silent) {
            hold = kind;
            let long = kind != TrueHold::Silent && r.chance(0.3);
            let time = if long { Spread::secs(3600, 3 * 3600) } else { Spread::secs(300, 2400) };
            nature.after(r.within(time), Event::LetGo(id));
            if kind == TrueHold::Said {
                // GitHub's own example has the action `queued` with the status `waiting`, and others report a plain `queued`.
                // Now and then no event says that the job waits.
                first = r.chance(0.6);
                second = r.chance(0.8).then(|| r.within(Spread::millis(0, 3000)));
            }
        }
        if let Some(mut r) = nature.strikes(Fault::Foreign) {
            nature.after(r.within(Spread::secs(2, 120)), Event::Stolen(id));
        }
        let attempt = run.map_or(1, |(_, attempt)| attempt);
        let run = run.map_or(RunId(id.0 / 4), |(run, _)| run);
        self.runs.entry(run).or_default().insert(id);
        let job = TrueJob {
            run,
            state: JobState::Queued,
            queued_at: nature.now(),
            started_at: None,
            runner: None,
            runner_id: None,
            seat: None,
            conclusion: None,
            end: None,
            attempt,
            replaced: false,
            hold,
            free_since: nature.now(),
            unsaid_since: nature.now(),
            plan,
        };
        self.jobs.insert(id, job);
        self.unfinished.insert(id);
        if hold == TrueHold::No {
            self.set_free(id);
        }
        if hold != TrueHold::Untold {
            self.tell_of(id, first, Duration::ZERO, nature);
        }
        if let Some(later) = second {
            self.tell_of(id, true, later, nature);
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

    /// Sends a webhook about the job's state of now. Faults lose, double or delay it. During an outage, GitHub sends the
    /// webhook when the outage is over.
    fn tell(&mut self, id: JobId, nature: &mut Nature) {
        self.tell_of(id, false, Duration::ZERO, nature);
    }

    /// As [`tell`](Self::tell), `later`, and saying whether the job waits.
    fn tell_of(&mut self, id: JobId, waiting: bool, later: Duration, nature: &mut Nature) {
        let Some(job) = self.jobs.get(&id) else { return };
        let event = Box::new(JobEvent { waiting, ..event(id, job) });
        if let Some(mut r) = nature.strikes(Fault::WebhookTwice) {
            nature.after(r.within(Spread::secs(1, 400)), Event::Send(event.clone()));
        }
        let soon = self.rng.within(nature.takes().webhook) + nature.github_back_in() + later;
        if nature.hits(Fault::WebhookLoss) {
            self.mail.lose(event, nature);
            return;
        }
        let late = nature.strikes(Fault::WebhookLate).map(|mut r| r.within(Spread::secs(10, 300)));
        nature.after(soon + late.unwrap_or_default(), Event::Send(event));
    }

    /// Gives queued jobs to idle runners at random, as far as labels and scopes match.
    pub(super) fn assign(&mut self, nature: &mut Nature) -> Vec<Given> {
        let mut given = Vec::new();
        if nature.github_down() || self.free.is_empty() || !self.registry.any_idle() {
            return given;
        }
        let mut benches = self.registry.benches();
        self.rng.shuffle(&mut benches);
        for bench in benches {
            while let Some(runner) = self.registry.pick_idle(&bench) {
                let fit = |(labels, repo): &RunsOn| fits(labels, &bench.0) && in_scope(&bench.1.scope, repo);
                let asks: Vec<&BTreeSet<JobId>> = self.free.iter().filter(|(ask, _)| fit(ask)).map(|(_, ids)| ids).collect();
                let Some(ids) = self.rng.pick(&asks) else { break };
                // GitHub keeps no strict order, but no job waits for ever: one of the eight oldest is chosen.
                let oldest = self.rng.below(ids.len().min(8) as u64);
                let Some(id) = ids.iter().nth(usize::try_from(oldest).unwrap_or_default()).copied() else { break };
                self.take(id);
                if let Some(mut r) = nature.strikes(Fault::AssignedInVain) {
                    self.registry.reserve(runner);
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.hold = TrueHold::Vain;
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

    /// A foreign runner takes the job if it is still queued and not held back. True: the runner took it.
    pub(super) fn steal(&mut self, id: JobId, name: String, nature: &mut Nature) -> bool {
        let to_be_had = self.jobs.get(&id).is_some_and(|j| j.state == JobState::Queued && j.hold == TrueHold::No);
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
            // The ids of foreign runners are far from those of the registry.
            (job.runner, job.runner_id, job.seat) = (name, Some(seat.unwrap_or(RunnerId(STRANGERS + id.0))), seat);
            let fault = nature.strikes(Fault::OwnEnd);
            let end = fault.map_or(JobEnd::Success, |mut r| if r.chance(0.7) { JobEnd::Failure } else { JobEnd::Cancel });
            nature.after(job.plan.takes, Event::Finish(id, end));
            if let Some((after, cause)) = breaks(job.plan.takes, nature) {
                nature.after(after, Event::Break(id, cause));
            }
        }
        self.tell(id, nature);
    }

    /// Ends a job, and with it the registration of an ephemeral runner. None: the job was over already. Some(None): it ran
    /// on no runner of the registry.
    pub(super) fn finish(&mut self, id: JobId, end: JobEnd, nature: &mut Nature) -> Option<Option<RunnerName>> {
        let job = self.jobs.get_mut(&id).filter(|j| j.state != JobState::Completed)?;
        job.state = JobState::Completed;
        (job.end, job.conclusion) = (Some(end), Some(end.conclusion(id)));
        let (seat, plan, run) = (job.seat.take(), job.plan.clone(), job.run);
        self.take(id);
        self.unfinished.remove(&id);
        self.tell(id, nature);
        if let Some(mut r) = nature.strikes(Fault::Rerun) {
            let pause = r.within(Spread::secs(10, 400));
            self.reruns += 1;
            let attempt = self.next_attempt(run);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.replaced = true;
            }
            nature.after(pause, Event::Queue(Box::new(JobPlan { cancel_after: None, ..plan }), Some((run, attempt))));
        }
        let name = seat.and_then(|runner| self.registry.job_over(runner, nature));
        Some(name)
    }

    /// Cancels a run: all its jobs end before long. Err: the run is over.
    pub(super) fn cancel_run(&mut self, run: RunId, nature: &mut Nature) -> Result<(), Failure> {
        let open: Vec<JobId> = self.newest(run).filter(|(_, job)| job.state != JobState::Completed).map(|(id, _)| id).collect();
        if open.is_empty() {
            return Err(Failure::new(FailureKind::Conflict, format!("run {run}: 409: it is over")));
        }
        for id in open {
            nature.after(Duration::from_secs(2), Event::Finish(id, JobEnd::Cancel));
        }
        Ok(())
    }

    /// Begins a new attempt of a run. Returns its number.
    fn next_attempt(&mut self, run: RunId) -> u32 {
        let attempt = self.attempts.entry(run).or_insert(1);
        *attempt += 1;
        *attempt
    }

    /// The jobs of a run that no later attempt has replaced.
    fn newest(&self, run: RunId) -> impl Iterator<Item = (JobId, &TrueJob)> {
        let all = self.runs.get(&run).into_iter().flatten();
        all.filter_map(|id| Some((*id, self.jobs.get(id)?))).filter(|(_, job)| !job.replaced)
    }

    /// The answer to `GET .../actions/runs/{id}`, with the run's jobs.
    pub(super) fn run(&self, run: RunId) -> RunSighting {
        let over = self.newest(run).all(|(_, job)| job.state == JobState::Completed);
        let row = |(job, known): (JobId, &TrueJob)| EndedJob {
            job,
            name: format!("job-{job}"),
            conclusion: known.conclusion.map(str::to_owned),
        };
        let jobs = if over { self.newest(run).map(row).collect() } else { Vec::new() };
        RunSighting { over, attempt: self.attempts.get(&run).copied().unwrap_or(1), jobs }
    }

    /// Runs jobs of a run again. Returns the jobs that ran before, with their ends.
    pub(super) fn rerun(&mut self, run: RunId, again: &Again, nature: &mut Nature) -> Result<Vec<(JobId, JobEnd)>, Failure> {
        if !self.run(run).over {
            return Err(Failure::new(FailureKind::Refused, format!("rerun {run}: 403 This workflow run is already running")));
        }
        let of = |id: JobId, job: &TrueJob| match again {
            Again::Job(one) => id == *one,
            Again::Failed => matches!(job.conclusion, Some("failure" | "cancelled")),
        };
        let old: Vec<JobId> = self.newest(run).filter(|(id, job)| of(*id, job)).map(|(id, _)| id).collect();
        let attempt = self.next_attempt(run);
        let mut ends = Vec::new();
        for id in old {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.replaced = true;
            self.reruns += 1;
            ends.extend(job.end.map(|end| (id, end)));
            let plan = JobPlan { cancel_after: None, ..job.plan.clone() };
            nature.after(Duration::from_secs(2), Event::Queue(Box::new(plan), Some((run, attempt))));
        }
        Ok(ends)
    }

    /// Whether the runner of a running job is gone, and cannot tell the job's end any more.
    pub(super) fn has_lost_runner(&self, id: JobId) -> bool {
        let seat = self.jobs.get(&id).and_then(|job| job.seat);
        seat.is_some_and(|seat| self.registry.all().get(&seat).is_none_or(|runner| runner.gone))
    }

    pub(super) fn is_queued(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|j| j.state == JobState::Queued)
    }

    /// GitHub stops holding a job back.
    pub(super) fn let_go(&mut self, id: JobId, nature: &mut Nature) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.state == JobState::Queued && j.hold != TrueHold::No) else { return };
        let waited = job.waits();
        (job.hold, job.free_since) = (TrueHold::No, nature.now());
        if waited {
            job.unsaid_since = nature.now();
        }
        self.set_free(id);
        if waited {
            self.tell(id, nature);
        }
        nature.after(Duration::from_secs(1), Event::Assign);
    }

    /// The answer to `GET .../actions/jobs/{id}`.
    pub(super) fn job(&self, id: JobId, nature: &mut Nature) -> Result<JobSighting, Failure> {
        let lost = nature.hits(Fault::CheckNotFound);
        let Some(job) = self.jobs.get(&id).filter(|_| !lost) else {
            return Err(Failure::new(FailureKind::NotFound, format!("job {id}: 404")));
        };
        let waits = job.waits();
        Ok(JobSighting {
            job: id,
            run: job.run,
            state: (!waits).then_some(job.state),
            runner: job.runner.clone(),
            runner_id: job.runner_id,
            conclusion: job.conclusion.map(str::to_owned),
            attempt: job.attempt,
            steps: job.end.filter(|_| job.started_at.is_some()).map(|end| end.steps(id)).unwrap_or_default(),
        })
    }
}

/// The commit of a run.
pub(super) fn commit_of(run: RunId) -> String {
    format!("{:040x}", run.0)
}

/// What a webhook says about the job's state of now.
pub(super) fn event(id: JobId, job: &TrueJob) -> JobEvent {
    JobEvent {
        job: id,
        run: job.run,
        state: job.state,
        waiting: false,
        org: job.plan.repo.split('/').next().map(str::to_owned),
        enterprise: None,
        attempt: Some(job.attempt),
        about: JobAbout { sha: commit_of(job.run), ..JobAbout::default() },
        repo: job.plan.repo.clone(),
        labels: job.plan.labels.clone(),
        runner: job.runner.clone(),
        runner_id: job.runner_id,
        conclusion: job.conclusion.map(str::to_owned),
        queued_at: Some(job.queued_at),
        started_at: job.started_at.filter(|_| job.state > JobState::Queued),
    }
}
