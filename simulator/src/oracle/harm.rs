//! What effects do to instances and jobs. The invariants S1, S2 and S3 are judged here, when an effect takes effect.
//!
//! S3 says exactly: at any time, the instances launched are no more than the sum of
//! - the jobs queued, reruns included;
//! - the rises of the warm floors;
//! - the instances that could not do what they were launched for: a boot that failed, a spot interruption, a registration
//!   that was refused, no configuration within the boot deadline, old age;
//! - an allowance for what nobody could have known better.
//!
//! The allowance is
//! - one for each job that is over before the news of its start can have come;
//! - one for each job that a process hears of as queued although it is so no longer, if the job is younger than two minutes, or
//!   if GitHub may not have answered a question about it;
//! - one for each webhook that was lost, late or delayed;
//! - one for each job that another pool's runner took;
//! - one for each list with rows missing;
//! - one for each crash or stop;
//! - two for each job that a dying runner took in vain;
//! - two for each job that GitHub says may not start yet: no news may have said so, and the question comes after two minutes;
//! - five for each job that GitHub holds back without saying so;
//! - at each change of a pool, its live instances and the jobs queued for it, in truth or as far as the controller can
//!   know.

use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Launch, Launched};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId};
use muster_reconciler::matching::Route;
use muster_reconciler::time::human;

use super::{Invariant, Oracle, RACE, RACES, Truth};
use crate::faults::Fault;
use crate::instances::{BootStage, Machine};
use crate::request::Request;

/// The faults that may each cost instances, and how many.
const COSTS: [(Fault, u64); 8] = [
    (Fault::WebhookLoss, 1),
    (Fault::WebhookLate, 1),
    (Fault::SendDelay, 1),
    // A runner that dies with its job looks like one whose job is done. Another may be ended as surplus meanwhile.
    (Fault::AssignedInVain, 2),
    (Fault::Crash, 1),
    (Fault::CleanStop, 1),
    (Fault::Held, 5),
    (Fault::Waiting, 2),
];

/// A job of this age is asked about before an instance is launched for it.
pub(super) const OLD_NEWS: Duration = Duration::from_secs(120);

/// The faults that may keep GitHub from answering.
pub(super) const UNANSWERED: [Fault; 6] =
    [Fault::Refused, Fault::Unanswered, Fault::GitHubErrors, Fault::GitHubOutage, Fault::SecondaryLimit, Fault::PrimaryLimit];

/// How long the controller may take to see what a list shows.
const LOOKS: Duration = Duration::from_secs(15);

impl Oracle {
    /// CreateFleet took effect: judges S2 and S3.
    pub(crate) fn judge_fleet(&mut self, launch: &Launch, launched: &Launched, max: u32, truth: Truth<'_>) {
        let now = truth.now();
        self.note_floor(truth);
        self.roomy.remove(&launch.pool);
        self.instances.extend(launched.instances.iter().map(|i| i.id.clone()));
        let live = truth.cloud.live(&launch.pool);
        // If `max` was raised while the request was under way, other launches may have used the new `max` meanwhile.
        let max = max.max(truth.spec.pools.get(&launch.pool).map_or(0, |p| p.spec.capacity.max));
        if live > max && !launched.instances.is_empty() {
            let what = format!("live instances of pool {}: {live}, its max was {max}", launch.pool);
            self.blame(Invariant::S2, now, what);
        }
        let launched = truth.cloud.launched();
        if launched <= self.launches_explained(truth) {
            return;
        }
        self.excuse_overdue(truth);
        let most = self.launches_explained(truth);
        if launched > most {
            let what = format!(
                "launched instances: {launched}; jobs: {}, warm floor: {}, lost instances: {}, allowance: {}",
                self.jobs,
                self.floor,
                self.excused.len(),
                most.saturating_sub(self.jobs + self.floor + self.excused.len() as u64),
            );
            self.blame(Invariant::S3, now, what);
        }
    }

    /// How many launches have an explanation. See the module's text.
    pub(crate) fn launches_explained(&self, truth: Truth<'_>) -> u64 {
        let luck: u64 = COSTS.iter().map(|(fault, each)| u64::from(truth.nature.luck.count(*fault)) * each).sum();
        self.jobs + self.floor + self.excused.len() as u64 + self.allowance + luck
    }

    /// Excuses the instances whose replacement may be launched before they are ended.
    fn excuse_overdue(&mut self, truth: Truth<'_>) {
        for id in truth.cloud.instances().keys() {
            self.judge_end(id, truth);
        }
    }

    /// A live instance ends. If it could not do what it was launched for, its replacement is excused.
    pub(crate) fn judge_end(&mut self, id: &InstanceId, truth: Truth<'_>) {
        let Some(instance) = truth.cloud.instances().get(id).filter(|i| i.live()) else { return };
        let age = truth.now().since(instance.launched_at());
        let stage = truth.machines.get(id).map_or(BootStage::Booting, Machine::stage);
        let deadline = truth.spec.boot_deadline(&instance.pool);
        let never = matches!(stage, BootStage::Booting | BootStage::Waiting | BootStage::Registering) && age >= deadline;
        if never || age >= instance.max_lifetime(truth.spec) / 2 {
            self.excuse_instance(id);
        }
    }

    /// A runner came online. If that was near its boot deadline, its replacement may have been launched already.
    pub(crate) fn excuse_late(&mut self, id: &InstanceId, truth: Truth<'_>) {
        let Some(instance) = truth.cloud.instances().get(id) else { return };
        let deadline = truth.spec.boot_deadline(&instance.pool);
        if truth.now().since(instance.launched_at()) + LOOKS >= deadline {
            self.excuse_instance(id);
        }
    }

    /// A job is over before the news of its start can have come. It may still look queued when its instance is gone.
    pub(crate) fn excuse_short(&mut self, job: JobId, truth: Truth<'_>) {
        let started = truth.github.jobs().get(&job).and_then(|j| j.started_at);
        let news = truth.nature.takes().webhook.high + LOOKS;
        self.allowance += u64::from(started.is_some_and(|at| truth.now().since(at) < news));
    }

    /// A message says that a job is queued, and the job is so no longer. A process that began after the job was queued
    /// cannot know, but asks GitHub about a job that is minutes old.
    pub(crate) fn excuse_stale(&mut self, news: &JobEvent, truth: Truth<'_>) {
        let Some(job) = truth.github.jobs().get(&news.job) else { return };
        let stale = news.state == JobState::Queued && job.state != JobState::Queued;
        let knows = |c: &Controller| c.view().world.started() <= job.queued_at || c.view().demand.jobs().contains_key(&news.job);
        let young = truth.now().since(job.queued_at) < OLD_NEWS;
        let unanswered = UNANSWERED.iter().chain(&[Fault::CheckNotFound]).any(|fault| truth.nature.luck.count(*fault) > 0);
        self.allowance += u64::from(stale && (young || unanswered) && !truth.controller.is_some_and(knows));
    }

    /// Judges S1: a request kills the job that runs on this instance. Some: the controller could not know of the job, and
    /// what happened in words.
    pub(crate) fn judge_kill(&mut self, id: &InstanceId, request: &Request, how: &str, truth: Truth<'_>) -> Option<String> {
        let Some(BootStage::Working(job)) = truth.machines.get(id).map(Machine::stage) else { return None };
        let now = truth.now();
        let started = truth.github.jobs().get(&job).and_then(|j| j.started_at).unwrap_or_default();
        if request.held && started > request.sent_at {
            self.late_kills += 1;
            self.excuse_instance(id);
            return Some(format!("job {job} on {id} is killed by a call that was in the hand of a stopped process: {how}"));
        }
        let knew = request.knew.contains(id);
        let ran = human(now.since(started));
        if knew || started + RACE <= request.sent_at {
            let knew = if knew { "it had been told of a job there" } else { "it had been told nothing of it" };
            self.blame(Invariant::S1, now, format!("job {job} on {id} was killed after {ran}: {how}; {knew}"));
            return None;
        }
        self.races += 1;
        self.excuse_instance(id);
        if self.races > RACES {
            let what = format!("{} jobs were killed just after they had started", self.races);
            self.blame(Invariant::S1, now, what);
        }
        Some(format!("job {job} on {id} is killed after {ran}: {how}; nobody could know"))
    }

    /// Adds what the warm floors have risen by. S3 allows a launch for each.
    pub(crate) fn note_floor(&mut self, truth: Truth<'_>) {
        for (name, pool) in &truth.spec.pools {
            let floor = pool.spec.capacity.idle_at(truth.now());
            let before = self.floors.insert(name.clone(), floor).unwrap_or(0);
            self.floor += u64::from(floor.saturating_sub(before));
        }
    }

    /// A job was queued. S3 allows a launch for each that a pool takes.
    pub(crate) fn job_queued(&mut self, route: &Route) {
        self.jobs += u64::from(matches!(route, Route::Pool(_)));
    }

    /// Allows so many more launches. See the module's text.
    pub(crate) fn allow(&mut self, launches: u64) {
        self.allowance += launches;
    }

    /// A call arrives that a process had in its hand while it was stopped. Another process may have counted on these instances since.
    pub(crate) fn excuse_late_end(&mut self, action: &Action) {
        match action {
            Action::Drain(ids) | Action::Terminate(ids) => self.excused.extend(ids.iter().cloned()),
            Action::Deregister { name, .. } => self.excuse_instance(&name.instance),
            _ => {}
        }
    }

    /// Records that the instance cannot do what it was launched for, so that its replacement is allowed.
    pub(crate) fn excuse_instance(&mut self, id: &InstanceId) {
        self.excused.insert(id.clone());
    }
}
