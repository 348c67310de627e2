//! What a single runner needs, whatever the counts say.

use std::time::Duration;

use super::{DRAIN_DEADLINE, END_GRACE, Planner};
use crate::effect::Source;
use crate::event::InstanceState;
use crate::ids::InstanceId;
use crate::reason::StepReason;
use crate::runner::{Act, Instance, Phase, Registration, Runner};
use crate::time::Time;

/// After this many sweeps without its row, a live runner that was online is missing from GitHub's list for good.
const VANISHED_SWEEPS: u8 = 6;

/// A spot interruption that EC2 announced, and that has not happened within this time, was a false alarm.
const INTERRUPTION_LAPSE: Duration = Duration::from_secs(600);

/// The age at which a reusable runner is asked to end: between three quarters and seven eighths of its `maxLifetime`. So its last
/// job has an eighth of the lifetime, three hours by default. The instance's id spreads the runners of one launch over that time, so
/// that they do not leave together.
pub fn retires_at(id: &InstanceId, limit: Duration) -> Duration {
    // A tag may hold any number.
    let eighth = limit.min(Duration::from_secs(366 * 86_400)) / 8;
    // FNV-1a: the same in every process.
    let hash = id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    eighth * 6 + eighth * (hash % 64) / 64
}

impl Planner<'_> {
    /// Plans the next step on one runner, if there is one. There is none in three cases: an effect on the runner is under way,
    /// the pause after a failure is not over, or our view of EC2 is stale.
    ///
    /// Decision 0010, rows 9, 33.
    pub(super) fn look_at(&mut self, id: &InstanceId, r: &Runner, phase: Phase) {
        if !r.is_free(self.now) || !self.ec2_fresh {
            return;
        }
        let listed = r.listed();
        // `maxLifetime` comes first. Otherwise a step that fails again and again would keep the runner alive.
        if self.outlived(r) && !matches!(phase, Phase::Gone | Phase::Terminating) {
            return self.limit_age(id, r, phase);
        }
        match phase {
            Phase::Gone => {
                let gone_at = r.gone_at().unwrap_or(self.now);
                if r.has_secret() {
                    self.step(id, Act::DeleteSecret, StepReason::InstanceGone);
                } else if listed.is_some_and(|g| {
                    let seen = self.view.world.swept(&Source::Runners(g.list().clone())).is_some_and(|at| at >= gone_at);
                    !g.last_shown_in_use() && seen && gone_at < self.now
                }) {
                    self.step(id, Act::Deregister, StepReason::InstanceGone);
                }
            }
            Phase::Terminating => self.finish_ending(id, r),
            Phase::Failed => self.replace_failed(id, r),
            Phase::Draining => self.chase_drain(id, r),
            Phase::Interrupted => {
                let lapsed = r.interrupted_at().is_some_and(|at| self.now.since(at) >= INTERRUPTION_LAPSE);
                if lapsed && r.drain().is_none() {
                    self.step(id, Act::Drain, StepReason::InterruptionLapsed);
                } else if lapsed && !r.may_have_job() {
                    self.chase_drain(id, r);
                } else {
                    self.limit_age(id, r, phase);
                }
            }
            Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle | Phase::Busy if r.ordered().is_some() => {
                // Only an instance that was never configured is known to have no job. Every other one is asked to end.
                let act = if r.never_configured() { Act::Terminate } else { Act::Drain };
                self.step(id, act, StepReason::Ordered { why: r.ordered().unwrap_or_default().to_owned() });
            }
            Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle if self.pool.is_some_and(|p| r.outdated(p)) => {
                let act = if r.never_configured() { Act::Terminate } else { Act::Drain };
                self.step(id, act, StepReason::Outdated);
            }
            Phase::Launching | Phase::Booting | Phase::Configured | Phase::Idle | Phase::Busy => self.limit_age(id, r, phase),
        }
    }

    fn finish_ending(&mut self, id: &InstanceId, r: &Runner) {
        let state = r.instance().map(Instance::state);
        if let Some((job, at)) = r.job().over()
            && r.terminated_at().is_none()
            && !matches!(state, Some(InstanceState::ShuttingDown | InstanceState::Terminated))
            && self.now.since(at) >= END_GRACE
        {
            if self.left_github(r, at) {
                self.step(id, Act::Terminate, StepReason::JobOver { job });
            } else if r.drain().is_none() && !self.outlived(r) {
                self.step(id, Act::Drain, StepReason::PerhapsSecondJob { job });
            } else {
                self.limit_age(id, r, Phase::Draining);
            }
        } else if matches!(state, Some(InstanceState::Stopped)) && r.terminated_at().is_none() {
            self.step(id, Act::Terminate, StepReason::Stopped);
        } else if r.terminated_at().is_some_and(|at| self.now.since(at) >= Duration::from_secs(120))
            && state.is_some_and(InstanceState::is_up)
        {
            self.step(id, Act::Terminate, StepReason::EndUnheeded);
        }
    }

    /// Whether the runner has left GitHub, so that no second job runs on it. Two sweeps that began well after its job was over
    /// must show the runner neither online nor busy. One sweep is not enough, because a row may be missing from it.
    ///
    /// Decision 0010, row 28.
    fn left_github(&self, r: &Runner, over_at: Time) -> bool {
        let there = r.registration().is_some_and(Registration::is_in_use);
        let list = r.bound_to().cloned().map(Source::Runners);
        !there && list.is_some_and(|list| self.swept_twice(&list, over_at + END_GRACE / 2))
    }

    /// Replaces a runner that was not online in time, or that is online no more.
    fn replace_failed(&mut self, id: &InstanceId, r: &Runner) {
        let deadline = self.boot_deadline();
        if r.was_online() {
            // An old list does not tell what the runner is now.
            if r.list().is_none_or(|list| self.fresh(&Source::Runners(list.clone()))) {
                self.step(id, Act::Drain, StepReason::OnlineNoMore);
            }
            return;
        }
        let limit = deadline;
        if r.never_configured() || r.is_deregistered() {
            return self.step(id, Act::Terminate, StepReason::NeverOnline { limit });
        }
        if r.bound_to().is_none() {
            // No list is known for this found runner. The runner is asked to end once two sweeps of its pool's list could have
            // shown it.
            let twice = self.pool.and_then(|p| self.view.world.freshness(&Source::Runners(p.list_id()))?.previous).is_some();
            if twice || self.pool.is_none() {
                self.step(id, Act::Drain, StepReason::Unlisted { limit });
            }
            return;
        }
        // After a failed step, the list must be swept again, because the runner may have come online meanwhile.
        if !self.listed_since(r, r.boot_due(deadline).max(r.not_before())) {
            return;
        }
        match r.listed() {
            // A runner without its registration can get no job. Only then is its instance ended.
            Some(g) if !g.is_surely_offline() => {}
            Some(_) => self.step(id, Act::Deregister, StepReason::NeverOnline { limit }),
            None => self.step(id, Act::Drain, StepReason::Unlisted { limit }),
        }
    }

    /// Follows up a drain that the instance did not answer. An instance that was never configured is ended at once. Any other one
    /// is ended only when all of this is true:
    /// - the deadline is over, and two sweeps of EC2 and two of the runner's list began after the deadline;
    /// - no source shows a sign of a job;
    /// - GitHub does not show the runner online, because a live runner that does not answer is most likely busy;
    /// - GitHub has let us delete the registration.
    ///
    /// Decision 0010, rows 3, 21.
    fn chase_drain(&mut self, id: &InstanceId, r: &Runner) {
        let Some(drain) = r.drain() else { return };
        if r.never_configured() {
            return self.step(id, Act::Terminate, StepReason::NeverConfigured);
        }
        let deadline = drain.at() + DRAIN_DEADLINE;
        let listed = r.bound_to().cloned().is_some_and(|f| self.swept_twice(&Source::Runners(f), deadline));
        let seen = self.swept_twice(&Source::Instances, deadline) && listed;
        let why = StepReason::DrainUnanswered { limit: DRAIN_DEADLINE };
        // Whether a runner that was online has lost its row while EC2 shows the instance. Rows go missing in the list now and then.
        let vanished = r.was_online() && r.registration().is_some_and(|g| (1..VANISHED_SWEEPS).contains(&g.missed()));
        if self.now < deadline || !seen || vanished || r.may_have_job() {
            return self.limit_age(id, r, Phase::Draining);
        }
        match r.registration() {
            // GitHub refuses to delete a busy runner, even if the list does not show its row. This refusal is the last thing that
            // can save a job.
            Some(_) => self.step(id, Act::Deregister, why),
            None => self.step(id, Act::Terminate, why),
        }
    }

    fn age(&self, r: &Runner) -> Duration {
        self.now.since(r.lives_since())
    }

    fn outlived(&self, r: &Runner) -> bool {
        r.max_lifetime(self.pool).is_some_and(|limit| self.age(r) >= limit)
    }

    /// Keeps `maxLifetime`. Every runner is ended at the limit. Before the limit, an idle runner is asked to end. A reusable runner
    /// is asked even if it is busy, because it would take one job after another until the limit ends one of them.
    fn limit_age(&mut self, id: &InstanceId, r: &Runner, phase: Phase) {
        let Some(limit) = r.max_lifetime(self.pool) else { return };
        // Of a pool that is gone, nobody knows which kind its runners are.
        let reusable = self.pool.is_none_or(|p| !p.ephemeral());
        let early = if reusable { retires_at(id, limit) } else { limit.saturating_sub(DRAIN_DEADLINE).max(limit / 2) };
        if self.outlived(r) {
            self.step(id, Act::Terminate, StepReason::LifetimeReached { limit });
        } else if self.age(r) >= early && r.drain().is_none() && (phase == Phase::Idle || reusable && phase == Phase::Busy) {
            self.step(id, Act::Drain, StepReason::NearLifetime { limit });
        }
    }

    /// Whether a complete sweep of the runner's list began at or after `since`. False when no list is known for the runner.
    fn listed_since(&self, runner: &Runner, since: Time) -> bool {
        let list_id = runner.bound_to().cloned().map(Source::Runners);
        list_id.is_some_and(|f| self.view.world.swept(&f).is_some_and(|at| at >= since))
    }

    /// Whether two complete sweeps of the source began at or after `since`.
    fn swept_twice(&self, source: &Source, since: Time) -> bool {
        self.view.world.freshness(source).and_then(|f| f.previous).is_some_and(|at| at >= since)
    }
}
