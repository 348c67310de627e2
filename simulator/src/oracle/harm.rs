//! What effects do to boxes and jobs, judged as they take effect: S1, S2 and S3.
//!
//! S3, exactly: at any time, boxes launched <= jobs queued (reruns included) + the rises of warm floors + boxes that
//! could not do what they were launched for (a boot that fails, spot, a registration that is refused, no configuration
//! within the boot deadline, old age) + an allowance for what nobody could have known better: one for each job that is
//! over before the news of its start can have come, each job that is news to a process that began later, though it is queued
//! no more, each webhook lost, late or delayed, each job that another pool's runner
//! took, each list with rows missing, each crash or stop; two for each job that a dying runner took in vain; five for each job that GitHub holds back; the boxes of a
//! pool at each change of it, and the jobs that are queued for it, or were as far as the controller can know.

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

/// Kinds of bad luck that may each cost a box, and how many.
const COSTS: [(Fault, u64); 8] = [
    (Fault::WebhookLoss, 1),
    (Fault::WebhookLate, 1),
    (Fault::SendDelay, 1),
    // A box that dies with what it was given looks like one whose job is done: another may be let go as surplus meanwhile.
    (Fault::AssignedInVain, 2),
    (Fault::Crash, 1),
    (Fault::CleanStop, 1),
    (Fault::Held, 5),
    (Fault::Waiting, 5),
];

/// How long the controller may take to see what a list shows.
const LOOKS: Duration = Duration::from_secs(15);

impl Simulation {
    /// A fleet was made: S2, and S3.
    pub(crate) fn judge_fleet(&mut self, launch: &Arc<Launch>, launched: &Launched, max: u32) {
        let now = self.nature.now();
        self.note_floor();
        self.oracle.roomy.remove(&launch.pool);
        self.oracle.boxes.extend(launched.instances.iter().map(|i| i.id.clone()));
        let live = self.cloud.live(&launch.pool);
        // Raised while the request was under way: others launched for the new max meanwhile.
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

    /// How many launches have an explanation.
    pub(crate) fn launches_explained(&self) -> u64 {
        let o = &self.oracle;
        let luck: u64 = COSTS.iter().map(|(fault, each)| u64::from(self.nature.luck.count(*fault)) * each).sum();
        o.jobs + o.floor + o.excused.len() as u64 + o.allowance + luck
    }

    /// Boxes whose replacement may be launched before they are ended.
    fn excuse_overdue(&mut self) {
        let now = self.nature.now();
        let live = self.cloud.instances().iter().filter(|(_, i)| i.live());
        let boxes: Vec<_> = live.map(|(id, i)| (id.clone(), i.pool.clone(), now.since(i.launched_at()))).collect();
        for (id, pool, age) in boxes {
            self.judge_end(&id, &pool, age);
        }
    }

    /// A box ends: what it never could do excuses its replacement.
    pub(crate) fn judge_end(&mut self, id: &InstanceId, pool: &PoolName, age: Duration) {
        let stage = self.machines.get(id).map_or(Stage::Booting, |m| m.stage);
        let deadline = self.spec.boot_deadline(pool);
        let never = matches!(stage, Stage::Booting | Stage::Waiting | Stage::Registering) && age >= deadline;
        if never || age >= self.most_age(pool) / 2 {
            self.oracle.excuse_box(id);
        }
    }

    /// A box came online; if that was at its boot deadline, its replacement may have been launched already.
    pub(crate) fn excuse_late(&mut self, id: &InstanceId) {
        let Some(instance) = self.cloud.instances().get(id) else { return };
        let deadline = self.spec.boot_deadline(&instance.pool);
        if self.nature.now().since(instance.launched_at()) + LOOKS >= deadline {
            self.oracle.excuse_box(id);
        }
    }

    /// A job is over before the news of its start can have come: it may look queued when its box is gone already.
    pub(crate) fn excuse_short(&mut self, job: JobId) {
        let started = self.github.jobs().get(&job).and_then(|j| j.started_at);
        let news = self.nature.takes().webhook.high + LOOKS;
        self.oracle.allowance += u64::from(started.is_some_and(|at| self.nature.now().since(at) < news));
    }

    /// News that a job is queued which no longer is, for a process that began after that job was queued: it has no way to know.
    pub(crate) fn excuse_stale(&mut self, news: &JobEvent) {
        let Some(job) = self.github.jobs().get(&news.job) else { return };
        let stale = news.state == JobState::Queued && job.state != JobState::Queued;
        let knows = |c: &Controller| c.view().world.started() <= job.queued_at || c.view().demand.jobs().contains_key(&news.job);
        self.oracle.allowance += u64::from(stale && !self.controller.as_ref().is_some_and(knows));
    }

    /// S1: the job that runs on the box is killed by a request.
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
