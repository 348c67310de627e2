//! Finds out why a job is where it is. The answer is a [`JobReason`].

use crate::controller::Seen;
use crate::demand::{JOB_EXPIRY, Job};
use crate::event::JobState;
use crate::manifest::{LateAct, LateStep};
use crate::matching::Route;
use crate::plan::Plan;
use crate::reason::{AwaitedReason, Blocked, HoldReason, JobReason};
use crate::runner::Phase;
use crate::time::Time;
use crate::view::Awaited;

fn starting(plan: &Plan) -> u32 {
    [Phase::Launching, Phase::Booting, Phase::Configured].iter().filter_map(|p| plan.counts.phases.get(p)).sum()
}

fn idle(plan: &Plan) -> u32 {
    plan.counts.phases.get(&Phase::Idle).copied().unwrap_or_default()
}

impl Seen<'_> {
    /// Why a job is where it is. The first cause that applies is the answer.
    pub fn why(&self, job: &Job, now: Time) -> JobReason {
        if job.event.state != JobState::Queued {
            return job.event.runner.clone().map_or(JobReason::LeftQueue, |runner| JobReason::Runs { runner });
        }
        let pool = match &job.route {
            Route::Unmatched(why) => return JobReason::Unmatched(why.clone()),
            Route::Foreign(why) => return JobReason::Foreign(why.clone()),
            Route::Pool(name) => name.clone(),
        };
        if let Some(hold) = job.hold.as_ref().filter(|_| job.held(now)) {
            let not_served = self.not_served(&pool).filter(|_| hold.why == HoldReason::LeftQueued);
            return match not_served.cloned() {
                Some(why) => JobReason::NotServed { pool, why, until: hold.until },
                None => JobReason::Held { why: hold.why, until: hold.until },
            };
        }
        let Some(manifest) = self.spec.pools.get(&pool) else { return JobReason::NoPool { pool } };
        let waited = now.since(job.first_seen);
        if let Some(left) = manifest.queue_delay().checked_sub(waited).filter(|d| !d.is_zero()) {
            return JobReason::Delayed { pool, left };
        }
        let hidden = self.world.predecessor_hidden(self.spec.controller.spec.intervals.settle.get());
        if let Some(until) = hidden.filter(|_| job.redelivered) {
            return JobReason::Hidden { until };
        }
        if let Some(doubt) = job.doubt.filter(|doubt| now < doubt.until) {
            return JobReason::Confirming { why: doubt.why, asked: doubt.asked, until: doubt.until };
        }
        let Some(plan) = self.newest_plan(&pool) else { return JobReason::Unplanned { pool } };
        if let Some(most) = manifest.spec.capacity.per_repository.filter(|_| plan.above_share.contains(&job.event.job)) {
            return JobReason::AboveShare { pool, repo: job.event.repo.clone(), most };
        }
        let (c, starting) = (&plan.counts, starting(plan));
        match &plan.blocked {
            // The runners of a paused pool take jobs all the same.
            Some(Blocked::Paused(_)) if idle(plan) > 0 => JobReason::IdleRunner { pool, idle: idle(plan) },
            Some(blocked) => JobReason::Blocked { pool, blocked: blocked.clone(), starting, occupied: c.occupied, max: c.max },
            None if plan.launch.is_some() => JobReason::Launching { pool },
            None if idle(plan) > 0 => JobReason::IdleRunner { pool, idle: idle(plan) },
            None if starting > 0 => JobReason::Starting { pool, starting, jobs: c.counting },
            None if c.unexplained > 0 => JobReason::Unexplained,
            None => JobReason::Unplanned { pool },
        }
    }

    /// What a job waits for. A queued job also awaits the time at which GitHub drops it.
    pub(crate) fn job_awaits(&self, job: &Job, now: Time) -> Vec<Awaited> {
        let expires = (job.event.state == JobState::Queued)
            .then(|| AwaitedReason::JobExpiry.by(job.event.queued_at.unwrap_or(job.first_seen) + JOB_EXPIRY));
        self.why(job, now).awaits(now).into_iter().chain(self.next_step(job, now)).chain(expires).collect()
    }

    /// The steps of `startWithin` for a job.
    fn ladder(&self, job: &Job) -> &[LateStep] {
        match &job.route {
            Route::Pool(name) => self.spec.pools.get(name).map_or(&[], |pool| &pool.spec.start_within),
            Route::Unmatched(_) => &self.spec.controller.spec.start_within,
            Route::Foreign(_) => &[],
        }
    }

    /// Since when a queued job has waited for a runner, for a step of `startWithin`. None: the step is not taken now.
    ///
    /// A job that GitHub holds back, and a job in doubt, have no step. A pool that GitHub does not serve holds its jobs by evidence
    /// alone. Its jobs are told, because only a person can help. No other step is taken for them: on-demand instances would sit idle
    /// as well, another pool would launch for every job in an outage, and a job that is cancelled may be one that GitHub holds back.
    pub(crate) fn late_since(&self, job: &Job, act: LateAct, now: Time) -> Option<Time> {
        if !job.confirmed(now) {
            return None;
        }
        if !job.held(now) {
            // Nobody's run is ended for a time in which GitHub may have held the job back.
            let sure = if act == LateAct::Cancel { job.sure } else { Time::ZERO };
            return Some(job.counted_since().max(sure));
        }
        let not_served = self.not_served(job.pool()?).filter(|_| act == LateAct::Tell && !job.waits())?;
        Some(job.ready_since().max(not_served.since))
    }

    /// When the next step of `startWithin` is due.
    fn next_step(&self, job: &Job, now: Time) -> Option<Awaited> {
        let steps = self.ladder(job).iter().filter(|_| job.event.state == JobState::Queued);
        let due = steps.filter_map(|step| Some(self.late_since(job, step.act, now)? + step.after.get())).find(|due| *due > now);
        due.map(|due| AwaitedReason::LateStep.by(due))
    }

    /// The steps of `startWithin` that were taken for a job, in one sentence.
    pub(crate) fn steps_taken(&self, job: &Job) -> Option<String> {
        let taken: Vec<&str> =
            self.ladder(job).iter().filter(|step| job.took_step(step.act)).map(|step| step.act.as_str()).collect();
        (!taken.is_empty()).then(|| format!("steps of startWithin taken: {}", taken.join(", ")))
    }
}
