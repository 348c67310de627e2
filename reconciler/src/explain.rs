//! The reason for every job, every runner and every pool, in one sentence each.

use crate::controller::Controller;
use crate::demand::{HoldReason, Job};
use crate::effect::Source;
use crate::event::JobState;
use crate::ids::{JobId, RunnerName};
use crate::matching::Route;
use crate::plan::{Blocked, DRAIN_DEADLINE, END_GRACE, Plan};
use crate::runner::{Configured, Phase, Runner};
use crate::time::{Time, human};
use crate::view::{JobView, PoolView, RunnerView, Totals};

impl Controller {
    /// All pools, as of their last plan.
    pub fn pools(&self, now: Time) -> Vec<PoolView> {
        self.preview(now)
            .into_iter()
            .map(|plan| {
                let pool = self.spec.pools.get(&plan.pool);
                PoolView {
                    name: plan.pool.to_string(),
                    scope: pool.map_or_else(String::new, |p| p.spec.github.scope.to_string()),
                    labels: pool.map_or_else(Vec::new, |p| p.spec.labels.clone()),
                    max: plan.counts.max,
                    idle_floor: plan.counts.floor,
                    queued: plan.counts.queued,
                    wanted: plan.counts.wanted,
                    supply: plan.counts.supply,
                    phases: plan.counts.phases.iter().map(|(p, n)| (p.as_str().to_owned(), *n)).collect(),
                    reason: plan.reason,
                }
            })
            .collect()
    }

    /// All jobs that are not over, queued ones first, then by id.
    pub fn jobs(&self, now: Time) -> Vec<JobView> {
        let mut all: Vec<(JobState, JobView)> =
            self.demand.jobs().iter().map(|(id, job)| (job.event.state, self.job_view(*id, job, now))).collect();
        all.sort_by_key(|(state, view)| (*state, view.id));
        all.into_iter().map(|(_, view)| view).collect()
    }

    fn job_view(&self, id: JobId, job: &Job, now: Time) -> JobView {
        JobView {
            id: id.0,
            run: job.event.run.0,
            repo: job.event.repo.clone(),
            enterprise: job.event.enterprise.clone(),
            state: state_word(job.event.state).to_owned(),
            pool: job.pool().map(ToString::to_string),
            labels: job.event.labels.clone(),
            runner: job.event.runner.clone(),
            age_seconds: now.since(job.first_seen).as_secs(),
            reason: self.job_reason(job, now),
        }
    }

    fn job_reason(&self, job: &Job, now: Time) -> String {
        if job.event.state != JobState::Queued {
            return match &job.event.runner {
                Some(runner) => format!("runs on {runner}"),
                None => "has left the queue".into(),
            };
        }
        let name = match &job.route {
            Route::Unmatched(why) | Route::Foreign(why) => return why.clone(),
            Route::Pool(name) => name,
        };
        if let Some(h) = job.hold.as_ref().filter(|h| now < h.until) {
            let why = match h.why {
                HoldReason::LeftQueued => {
                    "held by GitHub: a matching runner sat idle and did not get it (concurrency group, max-parallel, environment, \
                     or a runner group that does not admit the repository)"
                }
                HoldReason::Waiting => "held by GitHub: it says that the job waits or is pending",
            };
            return format!("{why}; counts again in {}, or at once when an event of its run arrives", human(h.until.since(now)));
        }
        let Some(pool) = self.spec.pools.get(name) else { return format!("its pool {name} is no longer in the manifests") };
        let waited = now.since(job.first_seen);
        if let Some(left) = pool.queue_delay().checked_sub(waited).filter(|d| !d.is_zero()) {
            return format!("waits for the queueDelay of pool {name}: {} left", human(left));
        }
        if job.redelivered && self.world.predecessor_hidden(self.spec.controller.spec.intervals.settle.get()).is_some() {
            return "was delivered before, perhaps to a controller that launched for it; counts once EC2 surely shows what that launched"
                .into();
        }
        if job.redelivered && !job.confirmed(now) {
            return "was delivered before; GitHub is being asked whether it is still queued".into();
        }
        match self.pools.get(name).and_then(|p| p.plan.as_ref()) {
            None => format!("pool {name} is about to be planned"),
            Some(plan) => job_in_plan(plan, now),
        }
    }

    /// All boxes, by instance id.
    pub fn runners(&self, now: Time) -> Vec<RunnerView> {
        let cluster = self.spec.controller.cluster();
        self.world
            .runners()
            .iter()
            .map(|(id, r)| {
                let phase = r.phase(self.boot_deadline(r), now);
                RunnerView {
                    name: RunnerName { cluster: cluster.to_owned(), pool: r.pool.clone(), instance: id.clone() }.to_string(),
                    instance: id.to_string(),
                    pool: r.pool.to_string(),
                    phase: phase.as_str().to_owned(),
                    instance_type: r.shape().map(|s| s.instance_type.to_string()),
                    market: r.shape().map(|s| s.market.as_str().to_owned()),
                    job: r.job.running().or(r.job.over().map(|(job, _)| job)).map(|job| job.0),
                    age_seconds: now.since(r.first_seen).as_secs(),
                    reason: self.runner_reason(r, phase, now),
                }
            })
            .collect()
    }

    fn boot_deadline(&self, r: &Runner) -> std::time::Duration {
        self.spec.pools.get(&r.pool).map_or(std::time::Duration::from_secs(300), |p| p.spec.runner.boot_deadline.get())
    }

    fn runner_reason(&self, r: &Runner, phase: Phase, now: Time) -> String {
        let age = human(now.since(r.first_seen));
        let deadline = self.boot_deadline(r);
        let left = human(r.boot_due(deadline).since(now));
        let mut text = match phase {
            Phase::Launching => format!("launched {age} ago; EC2 does not show it yet"),
            Phase::Booting if r.configured == Configured::Unsure => {
                "the last try to configure it failed; what it may have left at GitHub makes way for the next".to_owned()
            }
            Phase::Booting if r.launched_by.is_none() => {
                "was found, not launched by this process; configured once GitHub's list and the secrets were seen".to_owned()
            }
            Phase::Booting => format!("boots; its configuration is not minted yet ({left} left)"),
            Phase::Configured => format!("its configuration lies ready; waits for it to come online ({left} left)"),
            Phase::Idle => format!("online without a job for {}", human(now.since(r.idle_since.unwrap_or(now)))),
            Phase::Busy => match r.job.running() {
                Some(job) => format!("runs job {job}"),
                None => "GitHub says that it is busy; no event told with which job".to_owned(),
            },
            Phase::Draining => drain_reason(r, now),
            Phase::Interrupted => "spot takes it back; it is no longer counted as supply".to_owned(),
            Phase::Failed if r.online_at.is_some() => "was online and is no more; it is asked to end".to_owned(),
            Phase::Failed => format!("was not online within {}; it is deregistered, ended and replaced", human(deadline)),
            Phase::Terminating => match (r.terminated_at, r.job.over()) {
                (Some(_), _) => "EC2 accepted its end".to_owned(),
                (None, Some((job, at))) => {
                    format!("its only job, {job}, is over; it ends itself, or is ended in {}", human((at + END_GRACE).since(now)))
                }
                (None, None) => "EC2 is ending it".to_owned(),
            },
            Phase::Gone => match r.instance.as_ref().and_then(|i| i.state_reason.as_deref()) {
                Some(why) => format!("gone: {why}"),
                None => "gone; its traces are being removed".to_owned(),
            },
        };
        if phase == Phase::Busy && r.drain.is_some() {
            text += "; ends after that";
        }
        if let Some(error) = &r.last_error {
            text += &format!("; the last try failed: {error}");
        }
        text
    }

    /// Numbers for the gauges.
    pub fn totals(&self, now: Time) -> Totals {
        let mut t = Totals {
            messages_held: self.messages_held() as u64,
            effects_in_flight: self.in_flight() as u64,
            ..Totals::default()
        };
        for name in self.spec.pools.keys() {
            for phase in Phase::ALL {
                t.runners.insert((name.to_string(), phase.as_str()), 0);
            }
            for state in [JobState::Queued, JobState::InProgress] {
                t.jobs.insert((name.to_string(), state_word(state)), 0);
            }
        }
        for job in self.demand.jobs().values() {
            let pool = job.pool().map_or_else(String::new, ToString::to_string);
            *t.jobs.entry((pool, state_word(job.event.state))).or_default() += 1;
        }
        for r in self.world.runners().values() {
            *t.runners.entry((r.pool.to_string(), r.phase(self.boot_deadline(r), now).as_str())).or_default() += 1;
        }
        for (source, f) in self.world.sources() {
            t.sweep_age.insert(source_word(source), f.complete.map(|at| now.since(at).as_secs_f64()));
        }
        t
    }
}

fn drain_reason(r: &Runner, now: Time) -> String {
    let Some(d) = &r.drain else { return "is asked to end".into() };
    let why = d.why.as_deref().unwrap_or("by a predecessor");
    let mut text = format!("asked {} ago to end once idle ({why})", human(now.since(d.asked_at)));
    if now.since(d.asked_at) >= DRAIN_DEADLINE {
        text += if r.may_have_job() {
            "; it did not answer and is online, so it may have a job: it stays until it ends or reaches maxLifetime"
        } else {
            "; it did not answer, and is ended when two more sweeps show no job"
        };
    }
    text
}

/// Why a job that counts still waits, given its pool's last plan.
fn job_in_plan(plan: &Plan, now: Time) -> String {
    let (pool, c) = (&plan.pool, &plan.counts);
    let on_the_way: u32 = [Phase::Launching, Phase::Booting, Phase::Configured].iter().filter_map(|p| c.phases.get(p)).sum();
    let idle = c.phases.get(&Phase::Idle).copied().unwrap_or_default();
    match &plan.blocked {
        Some(Blocked::Max) => format!("pool {pool} is full: {} of {} boxes; {on_the_way} are starting", c.occupied, c.max),
        Some(b) => format!("pool {pool} {}; {on_the_way} boxes are starting", b.say(now)),
        None if plan.launch.is_some() => format!("pool {pool} launches boxes for it"),
        None if idle > 0 => format!("pool {pool} has {idle} idle runners; GitHub is about to give it to one"),
        None if on_the_way > 0 => format!("pool {pool} has {on_the_way} boxes starting for {} jobs", c.counting),
        None if c.unexplained > 0 => "a runner just turned busy, perhaps with this job; its event has not come yet".into(),
        None => format!("pool {pool} is about to be planned"),
    }
}

const fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::InProgress => "in_progress",
        JobState::Completed => "completed",
    }
}

fn source_word(source: &Source) -> String {
    match source {
        Source::Instances => "instances".into(),
        Source::Runners(forge) => format!("runners {}", forge.scope),
        Source::Secrets => "secrets".into(),
        Source::Deliveries(app) => format!("deliveries {app}"),
    }
}
