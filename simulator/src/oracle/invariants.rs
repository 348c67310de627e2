//! The invariants that need a look at the whole world: S6, the views' part of S9, S10, L1, L2, and that everything has a
//! reason. The more a check costs, the less often it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::demand::Job;
use muster_reconciler::effect::{InstanceSighting, Source};
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{InstanceId, JobId, PoolName};
use muster_reconciler::plan::{Gate, View, plan};
use muster_reconciler::reason::{Blocked, HoldReason, JobReason};
use muster_reconciler::time::{Time, human};

use super::harm::OLD_NEWS;
use super::{Invariant, Oracle, Truth};
use crate::faults::Fault;
use crate::github::TrueHold;
use crate::instances::{BootStage, Machine};

/// How often the world is checked.
pub(crate) const CHECK_EVERY: Duration = Duration::from_secs(30);
/// S6: how long a secret may outlive its instance. Two sweeps of the secrets fit in, and a little more.
const SECRET_OUTLIVES: Duration = Duration::from_secs(25 * 60);
/// L1: how long a pool may want a runner without a launch and without a reason.
const MUTE: Duration = Duration::from_secs(90);
/// L1: how long a job may wait after the faults have ended, while its pool has had room and launched nothing for `ROOMY`.
const STUCK: Duration = Duration::from_secs(30 * 60);
const ROOMY: Duration = Duration::from_secs(10 * 60);
/// L2: how old an instance may be at a sweep after which the process still does not know it.
const UNKNOWN: Duration = Duration::from_secs(60);
/// L2: how long an instance may outlive `maxLifetime`.
const OVERTIME: Duration = Duration::from_secs(1800);
/// Truth: how long muster may take to say what GitHub's last word on a job makes true. A job that was minutes old when it was
/// first heard of waits up to a minute for GitHub's word.
const KNOWABLE: Duration = Duration::from_secs(90);
/// Truth: how long a runner must have been idle at the checks before a job may be said to be held by it. The core asks for five
/// minutes, and two checks may miss a minute of it.
const SAT_IDLE: Duration = Duration::from_secs(4 * 60);
/// Truth: a question about such a job may wait for GitHub's limit for ten minutes.
const UNASKED: Duration = Duration::from_secs(10 * 60 + 60);
/// Truth: a word of GitHub's that a job waits is worth this much time.
const WORD_LASTS: Duration = Duration::from_secs(3600);
/// Wait: how long a hold may last after GitHub let the job go. GitHub is asked every half hour about a job that waits by its word,
/// and one job that GitHub leaves queued is tried every half hour.
const HOLD_ENDS: Duration = Duration::from_secs(45 * 60);
/// In every twentieth check, the views are read and plans are made twice.
const RARE: u64 = 20;
/// In every 48th sweep of the instances, the rows are also taken in backwards.
const REVERSED: u64 = 48;

impl Oracle {
    /// Checks the whole world.
    pub(crate) fn look(&mut self, truth: Truth<'_>) {
        let now = truth.now();
        self.looks += 1;
        self.look_at_secrets(truth, now);
        if self.looks.is_multiple_of(4) {
            self.look_at_instances(truth, now);
            self.look_at_waiting_jobs(truth, now);
        }
        self.look_at_words(truth, now);
        self.look_at_held_jobs(truth, now);
        self.look_at_pools(truth, now);
        self.look_at_pauses(truth, now);
        self.look_at_untold_jobs(truth);
        self.look_at_shares(truth);
        self.look_at_lost_webhooks(truth, now);
        if self.looks.is_multiple_of(RARE) {
            self.look_at_views(truth, now);
        }
    }

    fn look_at_secrets(&mut self, truth: Truth<'_>, now: Time) {
        for (id, secret) in &truth.cloud.secrets {
            if let Some(since) = secret.orphan_since
                && now.since(since) > SECRET_OUTLIVES
                && self.instances.contains(id)
            {
                let what = format!("the secret of {id} has outlived it by {}", human(now.since(since)));
                self.blame(Invariant::S6, now, what);
            }
        }
    }

    /// L2: the controller knows every instance, and no instance grows too old.
    fn look_at_instances(&mut self, truth: Truth<'_>, now: Time) {
        let Some(controller) = truth.controller else { return };
        let looked = controller.view().world.swept(&Source::Instances);
        for (id, instance) in truth.cloud.instances().iter().filter(|(_, i)| i.live()) {
            let launched = instance.launched_at();
            if looked.is_some_and(|at| at >= launched + UNKNOWN) && !controller.view().world.runners().contains_key(id) {
                let what = format!("{id} runs since {}, and the controller does not know it", human(now.since(launched)));
                self.blame(Invariant::L2, now, what);
            }
            let age = now.since(launched);
            if age > instance.max_lifetime(truth.spec) + OVERTIME {
                self.blame(Invariant::L2, now, format!("{id} has reached the age of {}", human(age)));
            }
        }
    }

    /// L1, by the truth: after the faults have ended, no job waits while its pool has room and launches nothing, unless
    /// muster gives a good reason.
    fn look_at_waiting_jobs(&mut self, truth: Truth<'_>, now: Time) {
        let (Some(controller), Some(calm)) = (truth.controller, truth.nature.calm_from()) else { return };
        for (name, pool) in &truth.spec.pools {
            // A full pool has room for a moment, between the end of one instance and the launch of the next.
            if truth.cloud.live(name) < pool.spec.capacity.max {
                self.roomy.entry(name.clone()).or_insert(now);
            } else {
                self.roomy.remove(name);
            }
        }
        let mut stuck = BTreeMap::new();
        for (id, job) in truth.github.unfinished().filter(|(_, j)| j.state == JobState::Queued && j.hold == TrueHold::No) {
            let Some(since) = truth.home(job).and_then(|name| self.roomy.get(&name)) else { continue };
            let (waited, roomy) = (now.since(calm.max(job.free_since)), now.since(*since));
            if waited < STUCK || roomy < ROOMY || truth.serves_in_turn(job) {
                continue;
            }
            let word = match controller.view().demand.jobs().get(&id).map(|known| controller.seen().why(known, now)) {
                Some(JobReason::Held { .. } | JobReason::NotServed { .. }) if waited < HOLD_ENDS => continue,
                Some(JobReason::Delayed { .. }) => continue,
                Some(JobReason::AboveShare { pool, repo, most }) if truth.others_of(&repo, &pool, id) >= most => continue,
                // Some reasons are not good enough: the pool has room, and the registry knows whether GitHub's limit is
                // used up.
                Some(JobReason::Blocked { pool, blocked, .. }) if truth.is_so(&blocked, &pool, now) => continue,
                Some(why) => why.label(),
                None => "unknown to it",
            };
            let (waited, roomy) = (human(waited), human(roomy));
            let invariant = if matches!(word, "held" | "not_served") { Invariant::Wait } else { Invariant::L1 };
            let what = format!("job {id} waits since {waited}, its pool has room and launches nothing since {roomy}: {word}");
            stuck.insert(id, (invariant, what));
        }
        // muster's reason is a moment old. What muster does when a hold ends shows only in the next check.
        let before = std::mem::replace(&mut self.stuck, stuck.keys().copied().collect());
        for (_, (invariant, what)) in stuck.into_iter().filter(|(id, _)| before.contains(id)) {
            self.blame(invariant, now, what);
        }
    }

    /// Truth: what muster says of a job agrees with GitHub's word on it, where that is the truth.
    fn look_at_words(&mut self, truth: Truth<'_>, now: Time) {
        let Some(controller) = truth.controller else { return };
        for (id, job) in truth.github.unfinished().filter(|(_, j)| j.state == JobState::Queued) {
            let Some(word) = self.process_view.word(id).filter(|word| word.waits == job.waits()) else { continue };
            let age = now.since(word.at);
            let Some(known) = controller.view().demand.jobs().get(&id) else { continue };
            if age < KNOWABLE || word.waits && age >= WORD_LASTS {
                continue;
            }
            let why = controller.seen().why(known, now);
            let lie = match &why {
                // A question that waits for GitHub's limit, or for its turn, is told as one that is still to be asked.
                JobReason::Confirming { asked: false, .. } => !word.waits && age >= UNASKED,
                JobReason::Confirming { .. } => !word.waits && now.since(word.asked.unwrap_or(word.at)) >= KNOWABLE,
                JobReason::Held { why: HoldReason::Waiting, .. } => !word.waits,
                JobReason::Held { .. }
                | JobReason::NotServed { .. }
                | JobReason::Unmatched(_)
                | JobReason::Foreign(_)
                | JobReason::NoPool { .. }
                | JobReason::Runs { .. }
                | JobReason::LeftQueue => false,
                _ => word.waits,
            };
            if let JobReason::NotServed { pool, why, .. } = &why {
                self.judge_not_served(pool, why.since, truth);
            }
            if lie {
                let said = if word.waits { "that it waits" } else { "that it is queued" };
                let what = format!("GitHub said of job {id} {said}, {} ago, and muster says: {}", human(age), why.say(now));
                self.blame(Invariant::Truth, now, what);
            }
        }
    }

    /// Truth: a pool that is said to be not served has got no job since, as far as the process heard.
    fn judge_not_served(&mut self, pool: &PoolName, since: Time, truth: Truth<'_>) {
        let now = truth.now();
        let Some(given) = self.process_view.given_at(pool).filter(|given| *given > since && now.since(*given) >= KNOWABLE) else {
            return;
        };
        let what = format!(
            "pool {pool} is said to have got no job for {}, and one of its runners began one {} ago",
            human(now.since(since)),
            human(now.since(given))
        );
        self.blame(Invariant::Truth, now, what);
    }

    /// Truth: no more jobs are held by idle runners than runners sat idle. A list that shows a busy runner as idle misleads muster.
    fn look_at_held_jobs(&mut self, truth: Truth<'_>, now: Time) {
        self.online.retain(|id, _| truth.online(id));
        for (id, _) in truth.cloud.instances().iter().filter(|(id, i)| i.live() && truth.online(id)) {
            self.online.entry(id.clone()).or_insert(now);
        }
        let fresh = |id: &InstanceId| truth.machines.get(id).is_some_and(Machine::fresh);
        self.idle.retain(|id, _| fresh(id));
        for (id, instance) in truth.cloud.instances().iter().filter(|(id, _)| fresh(id)) {
            let since = *self.idle.entry(id.clone()).or_insert(now);
            if now.since(since) >= SAT_IDLE {
                self.sat_idle.entry(instance.pool.clone()).or_default().insert(id.clone());
            }
        }
        let misled = [Fault::BusyLie, Fault::BusyLieMidJob, Fault::MissingRow, Fault::OnlineHang];
        if misled.iter().any(|fault| truth.nature.luck.count(*fault) > 0) {
            return;
        }
        let Some(controller) = truth.controller else { return };
        for name in truth.spec.pools.keys() {
            let by_evidence =
                |job: &Job| job.held(now) && job.hold.as_ref().is_some_and(|hold| hold.why == HoldReason::LeftQueued);
            let held = controller.view().demand.queued(name).filter(|(_, job)| by_evidence(job)).count();
            let sat = self.sat_idle.get(name).map_or(0, BTreeSet::len);
            if held > sat {
                let what = format!("{held} jobs of pool {name} are held because runners sat idle, and {sat} did");
                self.blame(Invariant::Truth, now, what);
            }
        }
    }

    /// L1, by the pools' own plans: a pool that wants more runners than it has launches some, or says why not.
    fn look_at_pools(&mut self, truth: Truth<'_>, now: Time) {
        let Some(controller) = truth.controller else { return self.mute.clear() };
        for (name, plan) in controller.newest_plans() {
            let mute = plan.is_some_and(|p| {
                p.counts.wanted > p.counts.supply
                    && p.launch.is_none()
                    && p.blocked.is_none()
                    && truth.spec.pools.contains_key(name)
            });
            if !mute {
                self.mute.remove(name);
                continue;
            }
            let since = *self.mute.entry(name.clone()).or_insert(now);
            if now.since(since) > MUTE {
                let what = format!("pool {name} wants more than it has since {}, and does not say why", human(now.since(since)));
                self.blame(Invariant::L1, now, what);
                self.mute.insert(name.clone(), now);
            }
        }
    }

    /// Every view has a reason. The first half of S10: two plans of one moment are the same.
    fn look_at_views(&mut self, truth: Truth<'_>, now: Time) {
        let Some(controller) = truth.controller else { return };
        let mut unsound = Vec::new();
        for view in controller.seen().jobs(now) {
            if view.reason.is_empty() {
                unsound.push(format!("job {} has no reason", view.id));
            }
        }
        for view in controller.seen().runners(now) {
            if view.reason.is_empty() {
                unsound.push(format!("runner {} has no reason", view.name));
            }
        }
        let (once, twice) = (controller.seen().preview(now), controller.seen().preview(now));
        for plan in &once {
            if plan.say(now).is_empty() {
                unsound.push(format!("pool {} has no reason", plan.pool));
            }
        }
        for what in unsound {
            self.blame(Invariant::Sound, now, what);
        }
        if once != twice {
            self.blame(Invariant::S10, now, "two plans of one moment differ".into());
        }
    }

    /// The second half of S10: the same rows in another order lead to the same world and the same plans.
    pub(crate) fn compare_orders(&mut self, rows: &[InstanceSighting], truth: Truth<'_>) {
        let now = truth.now();
        self.instance_sweeps += 1;
        let Some(controller) = truth.controller.filter(|_| self.instance_sweeps.is_multiple_of(REVERSED)) else { return };
        let view = controller.view();
        let backwards: Vec<InstanceSighting> = rows.iter().rev().cloned().collect();
        let (mut one, mut other) = (view.world.clone(), view.world.clone());
        one.saw_instances(rows, now, now);
        other.saw_instances(&backwards, now, now);
        drop((one.take_facts(), other.take_facts()));
        let gate = Gate { room: 100, ..Gate::default() };
        let differs = one != other
            || view.spec.pools.keys().any(|name| {
                let plans = [&one, &other].map(|world| plan(View { world, ..view }, name, &gate, now));
                plans[0] != plans[1]
            });
        if differs {
            self.blame(Invariant::S10, now, "a sweep's rows in another order lead to another world or plan".into());
        }
    }

    fn look_for_vain_demand(&mut self, id: JobId, truth: Truth<'_>) {
        let now = truth.now();
        let (Some(controller), Some(job)) = (truth.controller, truth.github.jobs().get(&id)) else { return };
        let Some(known) = controller.view().demand.jobs().get(&id).filter(|known| known.counts(Duration::ZERO, now)) else {
            return;
        };
        let word = self.process_view.word(id);
        let old = now.since(job.queued_at) >= OLD_NEWS && known.first_seen == now;
        let what = if word.is_some_and(|word| word.waits && word.at == now) {
            format!("job {id} counts, and GitHub has just said that it may not start yet")
        } else if old && job.state != JobState::Queued {
            let age = human(now.since(job.queued_at));
            format!("job {id} was queued {age} ago and is over, and counts as soon as it is heard of")
        } else {
            return;
        };
        self.blame(Invariant::Vain, now, what);
    }

    /// S9 and vain: what the controller believes now of a job that it has just heard of.
    pub(crate) fn look_at_job(&mut self, id: JobId, truth: Truth<'_>) {
        self.look_for_vain_demand(id, truth);
        let Some(controller) = truth.controller else { return };
        let state = match controller.view().demand.jobs().get(&id) {
            Some(job) => job.event.state,
            None if controller.view().demand.is_over(id) => JobState::Completed,
            None => return,
        };
        if let Err(before) = self.process_view.state_is(id, state) {
            let what = format!("job {id} went back from {before:?} to {state:?}");
            self.blame(Invariant::S9, truth.now(), what);
        }
    }
}

impl Truth<'_> {
    /// Whether the instance's runner is connected to GitHub, and may have a job or get one.
    pub(crate) fn online(&self, id: &InstanceId) -> bool {
        // GitHub forgets a runner for one job when the job is over.
        let works = |m: &&Machine| m.fresh() || matches!(m.stage(), BootStage::Working(_));
        let registered = |m: &Machine| m.runner().and_then(|runner| self.github.registrations().get(&runner));
        self.machines.get(id).filter(works).and_then(registered).is_some_and(|r| r.online)
    }

    /// Whether the reason that blocks a pool with room is true, as far as the ground truth tells.
    fn is_so(&self, blocked: &Blocked, pool: &PoolName, now: Time) -> bool {
        match blocked {
            Blocked::Max => false,
            Blocked::GitHub { .. } => {
                self.spec.pools.get(pool).is_some_and(|p| self.github.registry.short(&p.list_id().payer(), now))
            }
            _ => true,
        }
    }
}
