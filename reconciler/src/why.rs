//! Why a job is where it is: one cause, told as a word (for metrics and programs), as a sentence (for people) and as a
//! time (until when it is waited for).

use std::time::Duration;

use crate::controller::Controller;
use crate::demand::{Hold, HoldReason, JOB_EXPIRY, Job};
use crate::event::JobState;
use crate::ids::PoolName;
use crate::matching::Route;
use crate::plan::{Blocked, Plan};
use crate::runner::Phase;
use crate::time::{Time, human};
use crate::view::Awaited;

/// The cause.
#[derive(Debug)]
pub enum Why<'a> {
    /// It runs.
    Runs(&'a str),
    /// It runs or is over; no event told where.
    Left,
    /// No pool takes it.
    Unmatched(&'a str),
    /// It is none of ours.
    Foreign(&'a str),
    /// GitHub holds it back.
    Held(&'a Hold),
    /// Its pool left the manifests.
    NoPool(&'a PoolName),
    /// Its pool's queueDelay has not passed; so much is left.
    Delayed(&'a PoolName, Duration),
    /// It may have been launched for before this process began.
    Hidden(Time),
    /// GitHub is being asked whether it is still queued.
    Confirming(Time),
    /// Its pool is about to be planned.
    Unplanned(&'a PoolName),
    /// Its pool launches nothing, or less than is wanted.
    Blocked(&'a Plan, &'a Blocked),
    /// Boxes are launched.
    Launching(&'a Plan),
    /// An idle runner is there.
    Idle(&'a Plan),
    /// Boxes are starting.
    Starting(&'a Plan),
    /// A runner has just turned busy.
    Unexplained,
}

/// All words of [`Why::word`].
pub const WORDS: [&str; 22] = [
    "running",
    "left_queue",
    "unmatched",
    "foreign",
    "held",
    "no_pool",
    "delayed",
    "hidden",
    "confirming",
    "unplanned",
    "paused",
    "unseen",
    "settling",
    "max",
    "pace",
    "github_limit",
    "refused",
    "backoff",
    "capacity",
    "launching",
    "idle_runner",
    "starting",
];

impl Why<'_> {
    /// One word of few, for a metric's label.
    pub const fn word(&self) -> &'static str {
        match self {
            Why::Runs(_) => "running",
            Why::Left => "left_queue",
            Why::Unmatched(_) => "unmatched",
            Why::Foreign(_) => "foreign",
            Why::Held(_) => "held",
            Why::NoPool(_) => "no_pool",
            Why::Delayed(..) => "delayed",
            Why::Hidden(_) => "hidden",
            Why::Confirming(_) => "confirming",
            Why::Unplanned(_) => "unplanned",
            Why::Blocked(_, blocked) => blocked.word(),
            Why::Launching(_) => "launching",
            Why::Idle(_) | Why::Unexplained => "idle_runner",
            Why::Starting(_) => "starting",
        }
    }

    /// One sentence.
    pub fn say(&self, now: Time) -> String {
        match self {
            Why::Runs(runner) => format!("runs on {runner}"),
            Why::Left => "has left the queue".into(),
            Why::Unmatched(why) | Why::Foreign(why) => (*why).to_owned(),
            Why::Held(h) => {
                let why = match h.why {
                    HoldReason::LeftQueued => {
                        "held by GitHub: a matching runner sat idle and did not get it (concurrency group, max-parallel, environment, \
                         or a runner group that does not admit the repository)"
                    }
                    HoldReason::Waiting => "held by GitHub: it says that the job waits or is pending",
                };
                format!("{why}; counts again in {}, or at once when an event of its run arrives", human(h.until.since(now)))
            }
            Why::NoPool(name) => format!("its pool {name} is no longer in the manifests"),
            Why::Delayed(name, left) => format!("waits for the queueDelay of pool {name}: {} left", human(*left)),
            Why::Hidden(_) => {
                "was delivered before, perhaps to a controller that launched for it; counts once EC2 surely shows what that \
                               launched"
                    .into()
            }
            Why::Confirming(_) => "was delivered before; GitHub is being asked whether it is still queued".into(),
            Why::Unplanned(name) => format!("pool {name} is about to be planned"),
            Why::Blocked(plan, Blocked::Max) => {
                let c = &plan.counts;
                format!("pool {} is full: {} of {} boxes; {} are starting", plan.pool, c.occupied, c.max, starting(plan))
            }
            Why::Blocked(plan, blocked) => {
                format!("pool {} {}; {} boxes are starting", plan.pool, blocked.say(now), starting(plan))
            }
            Why::Launching(plan) => format!("pool {} launches boxes for it", plan.pool),
            Why::Idle(plan) => format!("pool {} has {} idle runners; GitHub is about to give it to one", plan.pool, idle(plan)),
            Why::Starting(plan) => {
                format!("pool {} has {} boxes starting for {} jobs", plan.pool, starting(plan), plan.counts.counting)
            }
            Why::Unexplained => "a runner just turned busy, perhaps with this job; its event has not come yet".into(),
        }
    }

    /// What is awaited, and until when, if that is known.
    pub fn awaits(&self, now: Time) -> Option<Awaited> {
        let (what, until) = match self {
            Why::Held(h) => ("it counts again, should no event of its run arrive before", h.until),
            Why::Delayed(_, left) => ("its pool's queueDelay ends", now + *left),
            Why::Hidden(until) => ("EC2 surely shows what an earlier controller launched", *until),
            Why::Confirming(until) => ("it counts without GitHub's answer", *until),
            Why::Blocked(_, Blocked::Hidden(until)) => ("the pool may launch", *until),
            Why::Blocked(_, Blocked::GitHub(until)) => ("GitHub's rate limit is reset", *until),
            Why::Blocked(_, Blocked::Refused(until, _)) => ("one box tries to be configured", *until),
            Why::Blocked(_, Blocked::Backoff(until, _) | Blocked::Capacity(until, _)) => {
                ("the pool tries to launch again", *until)
            }
            _ => return None,
        };
        Some(Awaited { what: what.into(), until: until.as_millis() })
    }
}

fn starting(plan: &Plan) -> u32 {
    [Phase::Launching, Phase::Booting, Phase::Configured].iter().filter_map(|p| plan.counts.phases.get(p)).sum()
}

fn idle(plan: &Plan) -> u32 {
    plan.counts.phases.get(&Phase::Idle).copied().unwrap_or_default()
}

impl Controller {
    /// Why a job is where it is.
    pub fn why<'a>(&'a self, job: &'a Job, now: Time) -> Why<'a> {
        if job.event.state != JobState::Queued {
            return job.event.runner.as_deref().map_or(Why::Left, Why::Runs);
        }
        let name = match &job.route {
            Route::Unmatched(why) => return Why::Unmatched(why),
            Route::Foreign(why) => return Why::Foreign(why),
            Route::Pool(name) => name,
        };
        if let Some(hold) = job.hold.as_ref().filter(|h| now < h.until) {
            return Why::Held(hold);
        }
        let Some(pool) = self.spec.pools.get(name) else { return Why::NoPool(name) };
        let waited = now.since(job.first_seen);
        if let Some(left) = pool.queue_delay().checked_sub(waited).filter(|d| !d.is_zero()) {
            return Why::Delayed(name, left);
        }
        let hidden = self.world.predecessor_hidden(self.spec.controller.spec.intervals.settle.get());
        if let Some(until) = hidden.filter(|_| job.redelivered) {
            return Why::Hidden(until);
        }
        if job.redelivered && !job.confirmed(now) {
            return Why::Confirming(job.confirmed_by());
        }
        let Some(plan) = self.pools.get(name).and_then(|p| p.plan.as_ref()) else { return Why::Unplanned(name) };
        match &plan.blocked {
            // A paused pool's runners take jobs as ever.
            Some(Blocked::Paused(_)) if idle(plan) > 0 => Why::Idle(plan),
            Some(blocked) => Why::Blocked(plan, blocked),
            None if plan.launch.is_some() => Why::Launching(plan),
            None if idle(plan) > 0 => Why::Idle(plan),
            None if starting(plan) > 0 => Why::Starting(plan),
            None if plan.counts.unexplained > 0 => Why::Unexplained,
            None => Why::Unplanned(name),
        }
    }

    /// What a job waits for, the end of GitHub's patience included.
    pub(crate) fn job_awaits(&self, job: &Job, now: Time) -> Vec<Awaited> {
        let expires = (job.event.state == JobState::Queued).then(|| Awaited {
            what: "GitHub drops a job that nobody took".into(),
            until: (job.event.queued_at.unwrap_or(job.first_seen) + JOB_EXPIRY).as_millis(),
        });
        self.why(job, now).awaits(now).into_iter().chain(expires).collect()
    }
}
