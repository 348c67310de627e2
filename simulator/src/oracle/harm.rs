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

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Launch, Launched};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId, PoolName};
use muster_reconciler::time::human;

use super::{Invariant, RACE, RACES};
use crate::Simulation;
use crate::boxes::Stage;
use crate::faults::Fault;
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

/// The faults that may keep GitHub from answering a question about a job.
const UNANSWERED: [Fault; 7] = [
    Fault::Refused,
    Fault::Unanswered,
    Fault::GitHubErrors,
    Fault::GitHubOutage,
    Fault::SecondaryLimit,
    Fault::PrimaryLimit,
    Fault::CheckNotFound,
];

/// How long the controller may take to see what a list shows.
const LOOKS: Duration = Duration::from_secs(15);

impl Simulation {
    /// CreateFleet took effect: judges S2 and S3.
    pub(crate) fn judge_fleet(&mut self, launch: &Arc<Launch>, launched: &Launched, max: u32) {
        let now = self.nature.now();
        self.note_floor();
        self.oracle.roomy.remove(&launch.pool);
        self.oracle.boxes.extend(launched.instances.iter().map(|i| i.id.clone()));
        let live = self.cloud.live(&launch.pool);
        // If `max` was raised while the request was under way, other launches may have used the new `max` meanwhile.
        let max = max.max(self.spec.pools.get(&launch.pool).map_or(0, |p| p.spec.capacity.max));
        if live > max && !launched.instances.is_empty() {
            let what = format!("pool {} has {live} live boxes, its max was {max}", launch.pool);
            self.oracle.blame(Invariant::S2, now, what);
        }
        let launched = self.cloud.launched();
        if launched <= self.launches_explained() {
            return;
        }
        self.excuse_overdue();
        let most = self.launches_explained();
        if launched > most {
            let o = &self.oracle;
            let what = format!(
                "{launched} boxes were launched for {} jobs, a floor of {}, {} boxes lost and an allowance of {}",
                o.jobs,
                o.floor,
                o.excused.len(),
                most.saturating_sub(o.jobs + o.floor + o.excused.len() as u64),
            );
            self.oracle.blame(Invariant::S3, now, what);
        }
    }

    /// How many launches have an explanation. See the module's text.
    pub(crate) fn launches_explained(&self) -> u64 {
        let o = &self.oracle;
        let luck: u64 = COSTS.iter().map(|(fault, each)| u64::from(self.nature.luck.count(*fault)) * each).sum();
        o.jobs + o.floor + o.excused.len() as u64 + o.allowance + luck
    }

    /// Excuses the instances whose replacement may be launched before they are ended.
    fn excuse_overdue(&mut self) {
        let now = self.nature.now();
        let live = self.cloud.instances().iter().filter(|(_, i)| i.live());
        let boxes: Vec<_> = live.map(|(id, i)| (id.clone(), i.pool.clone(), now.since(i.launched_at()))).collect();
        for (id, pool, age) in boxes {
            self.judge_end(&id, &pool, age);
        }
    }

    /// An instance ends. If it could not do what it was launched for, its replacement is excused.
    pub(crate) fn judge_end(&mut self, id: &InstanceId, pool: &PoolName, age: Duration) {
        let stage = self.machines.get(id).map_or(Stage::Booting, |m| m.stage);
        let deadline = self.spec.boot_deadline(pool);
        let never = matches!(stage, Stage::Booting | Stage::Waiting | Stage::Registering) && age >= deadline;
        if never || age >= self.most_age(pool) / 2 {
            self.oracle.excuse_box(id);
        }
    }

    /// A runner came online. If that was near its boot deadline, its replacement may have been launched already.
    pub(crate) fn excuse_late(&mut self, id: &InstanceId) {
        let Some(instance) = self.cloud.instances().get(id) else { return };
        let deadline = self.spec.boot_deadline(&instance.pool);
        if self.nature.now().since(instance.launched_at()) + LOOKS >= deadline {
            self.oracle.excuse_box(id);
        }
    }

    /// A job is over before the news of its start can have come. It may still look queued when its instance is gone.
    pub(crate) fn excuse_short(&mut self, job: JobId) {
        let started = self.github.jobs().get(&job).and_then(|j| j.started_at);
        let news = self.nature.takes().webhook.high + LOOKS;
        self.oracle.allowance += u64::from(started.is_some_and(|at| self.nature.now().since(at) < news));
    }

    /// A message says that a job is queued, and the job is so no longer. A process that began after the job was queued
    /// cannot know, but asks GitHub about a job that is minutes old.
    pub(crate) fn excuse_stale(&mut self, news: &JobEvent) {
        let Some(job) = self.github.jobs().get(&news.job) else { return };
        let stale = news.state == JobState::Queued && job.state != JobState::Queued;
        let knows = |c: &Controller| c.view().world.started() <= job.queued_at || c.view().demand.jobs().contains_key(&news.job);
        let young = self.nature.now().since(job.queued_at) < OLD_NEWS;
        let unanswered = UNANSWERED.iter().any(|fault| self.nature.luck.count(*fault) > 0);
        self.oracle.allowance += u64::from(stale && (young || unanswered) && !self.controller.as_ref().is_some_and(knows));
    }

    /// Judges S1: a request kills the job that runs on this instance.
    pub(crate) fn judge_kill(&mut self, id: &InstanceId, request: &Request, how: &str) {
        let Some(Stage::Working(job)) = self.machines.get(id).map(|m| m.stage) else { return };
        let now = self.nature.now();
        let started = self.github.jobs().get(&job).and_then(|j| j.started_at).unwrap_or_default();
        let knew = request.knew.contains(id);
        let ran = human(now.since(started));
        if knew || started + RACE <= request.sent_at {
            let knew = if knew { "it had been told of a job there" } else { "it had been told nothing of it" };
            self.oracle.blame(Invariant::S1, now, format!("job {job} on {id} was killed after {ran}: {how}; {knew}"));
            return;
        }
        self.oracle.races += 1;
        self.oracle.excuse_box(id);
        self.marks.hit(crate::marks::Mark::KilledInRace);
        self.nature.say(format_args!("job {job} on {id} is killed after {ran}: {how}; nobody could know"));
        if self.oracle.races > RACES {
            let what = format!("{} jobs were killed just after they had started", self.oracle.races);
            self.oracle.blame(Invariant::S1, now, what);
        }
    }
}
