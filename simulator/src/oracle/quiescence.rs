//! L1 to L4: what keeps the world from rest after faults and jobs have ended.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Source};
use muster_reconciler::event::JobState;
use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::manifest::{LateAct, late_after};
use muster_reconciler::plan::DRAIN_DEADLINE;
use muster_reconciler::runner::Runner;
use muster_reconciler::time::{Time, human};

use super::{Invariant, Truth, Violation};
use crate::event::Event;
use crate::github::{TrueHold, TrueJob, in_scope};
use crate::instances::Machine;
use crate::job_end::JobEnd;
use crate::registry::fits;

/// How long after the time of `cancel` muster may still ask GitHub before it has a run cancelled: two of its longest waits.
const ASKED: Duration = Duration::from_secs(3600);

/// Why a world is not at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrest {
    /// Something is left.
    Left(Vec<Left>),
    /// Nothing was left, and yet this many more effects changed something.
    Restless(u64),
}

/// One thing that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The invariant that it violates if it stays.
    pub invariant: Invariant,
    /// What it is, in words.
    pub what: String,
}

impl Unrest {
    /// The violation of a world that should have come to rest within `after` and stayed so for `quiet`.
    pub fn violation(&self, at: Time, after: Duration, quiet: Duration) -> Violation {
        let (after, quiet) = (human(after), human(quiet));
        let (invariant, what) = match self {
            Unrest::Left(left) => {
                let first = left.first().map_or(Invariant::L4, |l| l.invariant);
                let all: Vec<&str> = left.iter().take(24).map(|l| l.what.as_str()).collect();
                (first, format!("not at rest after {after}:\n  {}", all.join("\n  ")))
            }
            Unrest::Restless(n) => (Invariant::L4, format!("at rest, and {n} more effects followed within {quiet}")),
        };
        Violation { invariant, at, what }
    }
}

impl Truth<'_> {
    /// Whether something is still to come by itself, so that the world is not at rest yet.
    pub(crate) fn waits(&self) -> bool {
        // A job that GitHub holds back now may later go to a warm runner of any pool.
        let held = self.github.unfinished().any(|(_, j)| j.hold != TrueHold::No);
        self.github.reruns() > 0 || held || self.undelivered() || self.burying() || self.may_rerun()
    }

    /// Whether the controller may still run a job again that went down with its machine. Its case leaves a message on the queue as a rule. If
    /// the webhook of the job's end was lost for good, there is no message, and the controller takes up to half an hour to ask GitHub.
    fn may_rerun(&self) -> bool {
        let Some(controller) = self.controller else { return false };
        let known = controller.view().demand.jobs();
        let lost = || self.github.jobs().iter().filter(|(_, job)| job.end == Some(JobEnd::CutShort));
        controller.cases_open() > 0
            || lost().any(|(id, _)| known.get(id).is_some_and(|job| job.event.state != JobState::Completed))
    }

    /// Whether a redelivered webhook may still tell of a job that is over by now. The controller then launches an instance
    /// in vain.
    fn undelivered(&self) -> bool {
        let failed = self.github.mail.newest();
        let unseen =
            |c: &Controller| self.spec.apps.keys().any(|a| c.view().world.swept(&Source::Deliveries(a.clone())) <= failed);
        let undelivered = |c: &Controller| c.next_redelivery() < Time::FAR || failed.is_some() && unseen(c);
        let asked = |e: &Event| matches!(e, Event::Arrive(r) if matches!(r.effect.action, Action::Redeliver { .. }));
        let under_way = self.nature.agenda.holds(|e| matches!(e, Event::Send(_)) || asked(e));
        under_way || self.controller.is_some_and(undelivered)
    }

    /// Whether the controller still cleans up after a runner that has ended, even if nothing is left of it. The controller
    /// may also not know of the end yet. A launch or an end that is under way may have taken effect already. A process that
    /// is about to start has all of this before it.
    fn burying(&self) -> bool {
        let live = |id: &InstanceId| self.cloud.instances().get(id).is_some_and(|i| i.live());
        let ended = |(id, r): (&InstanceId, &Runner)| {
            r.effect_under_way() || r.gone_at().is_some() || r.terminated_at().is_some() || !live(id)
        };
        let launching = |c: &Controller| c.view().world.pending().values().any(|p| p.is_under_way());
        self.controller.is_none_or(|c| launching(c) || c.view().world.runners().iter().any(ended))
    }

    /// Whether a warm runner will come near its `maxLifetime` in this time, or a queued job near its `cancel`. What muster does then does
    /// not count as unrest.
    pub(crate) fn ages_within(&self, long: Duration) -> bool {
        self.cloud.instances().values().filter(|i| i.live()).any(|i| {
            let (age, most) = (self.now().since(i.launched_at()), i.max_lifetime(self.spec));
            let early = (most / 4 * 3).min(most.saturating_sub(DRAIN_DEADLINE).max(most / 2));
            age + long + Duration::from_secs(120) >= early
        }) || self.cancels_within(long)
    }

    /// Whether muster may still have the run of a queued job cancelled in this time. It first asks GitHub, again and again.
    fn cancels_within(&self, long: Duration) -> bool {
        let ladders = self.spec.pools.values().filter_map(|pool| late_after(&pool.spec.start_within, LateAct::Cancel));
        let Some(latest) = ladders.max() else { return false };
        let queued = self.github.unfinished().filter(|(_, job)| job.state == JobState::Queued);
        queued.map(|(_, job)| self.now().since(job.unsaid_since)).any(|waited| waited <= latest + long + ASKED)
    }

    /// What keeps the world from rest. Empty: nothing does. The answer is right only if no jobs are still to come.
    pub(crate) fn leftovers(&self) -> Vec<Left> {
        let mut left = Vec::new();
        let mut note = |invariant, what| left.push(Left { invariant, what });
        for (id, job) in self.github.unfinished() {
            // Any runner may take a job that GitHub holds back once GitHub lets it go.
            if job.state == JobState::InProgress || job.hold != TrueHold::No || self.servable(job) || self.lured(job) {
                let (labels, age) = (job.plan.labels.join(","), human(self.now().since(job.queued_at)));
                note(Invariant::L1, format!("job {id} [{labels}] is {:?} since {age}", job.state));
            }
        }
        self.leftover_instances(&mut note);
        let cluster = self.spec.controller.cluster();
        for (id, r) in self.github.registrations().iter().filter(|(_, r)| r.name.cluster == cluster && !r.foreign) {
            if !r.online || r.gone {
                note(Invariant::L3, format!("registration {id} ({}) has no instance that is online", r.name));
            }
        }
        for id in self.cloud.secrets.iter().filter(|(_, s)| s.orphan_since.is_some()).map(|(id, _)| id) {
            note(Invariant::S6, format!("the secret of {id} lies in SSM"));
        }
        for what in self.stale_notices() {
            note(Invariant::Late, what);
        }
        for event in self.queue.events() {
            let job = self.github.jobs().get(&event.job);
            if job.is_none_or(|j| j.state == JobState::Completed || self.servable(j)) {
                let is = job.map(|j| j.state);
                note(Invariant::L4, format!("a message says that job {} is {:?}; it is {is:?}", event.job, event.state));
            }
        }
        for event in self.queue.dead_letters() {
            if self.github.jobs().get(&event.job).is_some_and(|j| j.state == JobState::Queued) {
                note(Invariant::Sound, format!("job {} waits, and its message is a dead letter", event.job));
            }
        }
        left
    }

    /// What the controller says of its pools and of some runners, for the reader of a failure.
    pub(crate) fn own_words(&self) -> Vec<Left> {
        let Some(controller) = self.controller else { return Vec::new() };
        let now = self.now();
        let pools = controller.seen().pools(now).into_iter().map(|p| format!("muster says of pool {}: {}", p.name, p.reason));
        let instances = controller
            .seen()
            .runners(now)
            .into_iter()
            .take(4)
            .map(|r| format!("muster says of {}: {}: {}", r.name, r.phase, r.reason));
        pools.chain(instances).map(|what| Left { invariant: Invariant::L4, what }).collect()
    }

    /// Live instances beyond the warm floors, or too few idle runners. An instance that ignores its drain is not left over
    /// while nobody can tell that it has no job: its runner is online, or its pool is gone and no list that the controller
    /// knows would show it.
    fn leftover_instances(&self, note: &mut dyn FnMut(Invariant, String)) {
        let (mut live, mut warm): (BTreeMap<&PoolName, u32>, BTreeMap<&PoolName, u32>) = Default::default();
        if self.cloud.populated().next().is_some() {
            for (id, instance) in self.cloud.instances().iter().filter(|(_, i)| i.live()) {
                let machine = self.machines.get(id);
                let unlisted = !self.spec.pools.contains_key(&instance.pool) && self.looked_for_nowhere(id);
                if instance.draining() && (machine.is_some_and(Machine::deaf_and_online) || unlisted) {
                    continue;
                }
                if !instance.draining() && self.known(id).is_some_and(|r| r.interrupted_at().is_some()) {
                    note(Invariant::L2, format!("{id} was given up for a spot interruption, and lives"));
                }
                let runner = machine.and_then(Machine::runner).and_then(|r| self.github.registrations().get(&r));
                if let (Some(runner), Some(pool)) = (runner, self.spec.pools.get(&instance.pool))
                    && !runner.serves(pool)
                {
                    note(Invariant::L2, format!("{id} no longer serves pool {}", instance.pool));
                }
                *live.entry(&instance.pool).or_default() += 1;
                *warm.entry(&instance.pool).or_default() +=
                    u32::from(machine.is_some_and(Machine::fresh) && !instance.draining());
            }
        }
        for (name, pool) in &self.spec.pools {
            let (live, warm) = (live.remove(name).unwrap_or_default(), warm.remove(name).unwrap_or_default());
            let floor = pool.spec.capacity.idle;
            if live > floor {
                let which = self.cloud.describe_live(name);
                note(Invariant::L2, format!("live instances of pool {name}: {live}, wanted {floor}: {which}"));
            }
            if warm < floor {
                note(Invariant::L1, format!("idle instances of pool {name}: {warm}, to be kept warm {floor}"));
            }
        }
        for (name, n) in live {
            let which = self.cloud.describe_live(name);
            note(Invariant::L2, format!("live instances of pool {name}, which is gone: {n}: {which}"));
        }
    }

    /// Whether a runner that exists for another reason may take the job, although no launch is made for it. That is a warm
    /// runner of another pool, or one that ignores its drain.
    fn lured(&self, job: &TrueJob) -> bool {
        let takes = |labels: &[String], scope| fits(&job.plan.labels, labels) && in_scope(scope, &job.plan.repo);
        let warm = self.spec.pools.values().filter(|p| p.spec.capacity.idle > 0);
        warm.map(|p| (&p.spec.labels, &p.spec.github.scope)).any(|(labels, scope)| takes(labels, scope))
            || self.github.registry.benches().iter().any(|(labels, list)| takes(labels, &list.scope))
    }

    fn looked_for_nowhere(&self, id: &InstanceId) -> bool {
        self.known(id).is_some_and(|r| r.bound_to().is_none())
    }

    /// What the controller knows of an instance.
    fn known(&self, id: &InstanceId) -> Option<&Runner> {
        self.controller?.view().world.runners().get(id)
    }

    /// Whether a pool takes the job and may have at least one runner.
    pub(crate) fn servable(&self, job: &TrueJob) -> bool {
        self.home(job).is_some_and(|name| self.spec.pools.get(&name).is_some_and(|p| p.spec.capacity.max > 0))
    }
}
