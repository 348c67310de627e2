//! Coverage of the controller's rare branches. Each branch has a name, and a mark says how often a run reached it. The
//! marks are taken from the controller's effects, facts and inputs. The simulator proves nothing of a branch that no seed
//! reaches.

use std::collections::BTreeSet;
use std::fmt;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Effect, Input, MessageOp, Outcome};
use muster_reconciler::event::JobState;
use muster_reconciler::fact::Fact;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::late::StatusState;
use muster_reconciler::manifest::{MarketPolicy, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::matching::Route;
use muster_reconciler::plan::Plan;
use muster_reconciler::reason::{Backoff, Blocked, CallReason, LaunchReason, Reason, StepReason};

use crate::registry::SECONDARY;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident: $word:literal;)*) => {
        /// A rare branch of the controller, or a rare event around it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $($(#[$doc])* $name,)*
        }

        impl Mark {
            /// In the order in which reports list them.
            pub const ALL: &[Mark] = &[$(Mark::$name),*];

            /// The name in reports.
            pub const fn as_str(self) -> &'static str {
                match self { $(Mark::$name => $word,)* }
            }
        }
    };
}

marks! {
    /// A launch without an answer was repeated with the same token.
    SameTokenRetry: "same-token retry";
    /// EC2 answered a token that it knew already.
    TokenReplayed: "token replayed by EC2";
    /// An on-demand instance was launched because spot had no capacity.
    OnDemandFallback: "on-demand fallback";
    /// An on-demand instance was launched because the pool's breaker was open.
    BreakerOpen: "breaker: on-demand";
    /// A spot instance tried while the pool's breaker was open.
    BreakerProbe: "breaker: one spot instance tries";
    /// A breaker closed.
    BreakerClosed: "breaker: closed";
    /// A fleet had fewer instances than the launch asked for.
    PartialFleet: "partial fleet";
    /// A fleet had no instance.
    EmptyFleet: "empty fleet";
    /// No launch: no sweep of the instances was complete yet.
    BlockedUnseen: "blocked: unseen";
    /// No launch: EC2 may not yet show the last launches of an earlier process.
    BlockedHidden: "blocked: predecessor hidden";
    /// No launch: the pool had reached `max`.
    BlockedMax: "blocked: max";
    /// No launch: more instances could not be configured in time.
    BlockedPace: "blocked: pace";
    /// No launch: the pool backed off because instances failed to start.
    BlockedBoot: "blocked: boot backoff";
    /// No launch, or a smaller one: after failures to start, the pool goes on with one instance at a time.
    BlockedTrial: "blocked: one at a time after failures to start";
    /// No launch: the pool backed off because launches failed.
    BlockedLaunch: "blocked: launch backoff";
    /// No launch: GitHub's rate limit left no room for more configurations.
    BlockedGitHub: "blocked: GitHub's rate limit";
    /// No launch: GitHub refused the configurations of the pool.
    BlockedRefused: "blocked: configurations refused";
    /// No launch: no offering had capacity.
    BlockedCapacity: "blocked: capacity";
    /// A busy runner had a job that still looked queued.
    Unexplained: "busy runner unexplained";
    /// A queued job did not count yet.
    NotCounting: "queued job not counting";
    /// An instance was launched for the warm floor.
    FloorLaunch: "launch for the warm floor";
    /// A registration with the name of an instance was replaced.
    RegistrationReplaced: "registration replaced after conflict";
    /// GitHub had a registration with the name already.
    NameConflict: "name conflict";
    /// An instance that an earlier process had half configured was configured anew.
    HalfConfigured: "half-configured instance configured anew";
    /// An instance that an earlier process had launched was configured.
    FoundConfigured: "found instance configured";
    /// An idle runner beyond the demand was drained.
    DrainIdle: "drain: idle";
    /// A runner was drained because its pool is gone.
    DrainPoolGone: "drain: pool gone";
    /// A runner was drained because its pool has other labels, another group or another scope by now.
    DrainOutdated: "drain: outdated";
    /// A runner was drained because it was near `maxLifetime`.
    DrainOld: "drain: near maxLifetime";
    /// A runner was drained because it was online and is so no longer.
    DrainLost: "drain: online no more";
    /// A runner was drained because GitHub does not list it.
    DrainUnlisted: "drain: not listed";
    /// A spot interruption was announced and did not come.
    InterruptionLapsed: "interruption lapsed";
    /// A runner was drained because it may have got a second job after its only one.
    DrainSecondJob: "drain: perhaps a second job";
    /// A drained instance did not answer, and its registration was deleted.
    DrainUnansweredDeregister: "drain unanswered, then deregistered";
    /// A drained instance did not answer, and was ended.
    DrainUnansweredEnd: "drain unanswered, then ended";
    /// A drained instance was never configured, and was ended.
    DrainNeverConfigured: "drained, never configured, ended";
    /// An instance was ended because the only job of its runner was over.
    EndJobOver: "ended: job over";
    /// An unconfigured instance beyond the demand was ended.
    EndSurplus: "ended: surplus, never configured";
    /// An instance whose runner never came online was ended.
    EndNeverOnline: "ended: never online";
    /// An instance was ended because it reached `maxLifetime`.
    EndOld: "ended: maxLifetime";
    /// EC2 accepted a termination and did nothing, so muster repeated it.
    EndAgain: "ended: asked again";
    /// The registration of an instance that is gone was deleted.
    DeregisterGone: "deregistered: instance gone";
    /// The registration of a runner that never came online was deleted.
    DeregisterNeverOnline: "deregistered: never online";
    /// GitHub refused to delete the registration of a busy runner.
    DeregisterRefused: "deregistration refused: busy";
    /// The secret of an instance that is gone was deleted.
    SecretDeleted: "secret deleted";
    /// GitHub was asked about a job whose message had been delivered before.
    CheckRedelivered: "redelivered job checked";
    /// GitHub said that a redelivered job was over.
    RedeliveredOver: "redelivered job found over";
    /// GitHub was asked about a job that was minutes old when it was first heard of.
    CheckOldNews: "old news checked";
    /// GitHub was asked about a held job that it had told of again.
    CheckToldAgain: "job told again checked";
    /// GitHub was asked about a job that had waited for long.
    CheckOld: "old job checked";
    /// GitHub answered 404 about a job.
    CheckNotFound: "job check: 404";
    /// GitHub said that a job is `waiting`.
    CheckWaiting: "job check: waiting";
    /// GitHub was asked for the steps of a job whose machine seems to have gone under it.
    StepsAsked: "steps of a job asked for";
    /// GitHub was asked whether a run with a lost job is over.
    RunAsked: "run of a lost job asked for";
    /// GitHub was asked to run a lost job again.
    Rerun: "lost job run again";
    /// A status on a commit said why jobs wait.
    Told: "commit told why jobs wait";
    /// A status on a commit said that no job waits any more.
    ToldOver: "commit told that no job waits";
    /// GitHub was asked to cancel the run of a late job.
    RunCancelled: "run of a late job cancelled";
    /// muster noticed that GitHub holds a job back.
    HeldByGitHub: "held by GitHub";
    /// An event came of a job that was over.
    LateEvent: "event of a job that is over";
    /// A webhook that GitHub could not deliver was asked for again.
    Redelivered: "failed webhook asked for again";
    /// The visibility of a message could not be extended.
    ExtendFailed: "extension failed";
    /// Messages were released when the controller stopped.
    Released: "messages released";
    /// No pool takes a job.
    Unmatched: "job unmatched";
    /// EC2 interrupted a spot instance without a job.
    InterruptedIdle: "interrupted without a job";
    /// EC2 interrupted a spot instance with a job.
    InterruptedBusy: "interrupted with a job";
    /// GitHub's secondary rate limit was met. It lasts for seconds or minutes.
    SecondaryLimit: "GitHub's secondary limit";
    /// GitHub's hourly rate limit was used up.
    PrimaryLimit: "GitHub's hourly limit used up";
    /// A pool with live instances was removed.
    PoolRemoved: "pool removed with live instances";
    /// A removed pool was put back.
    PoolRestored: "pool put back";
    /// A pool's `max` was lowered below the number of its live instances.
    MaxLowered: "max lowered below live instances";
    /// The labels of a pool with live instances were changed.
    LabelsChanged: "labels changed with live instances";
    /// The scope of a pool with live instances was changed.
    ScopeChanged: "scope changed with live instances";
    /// An operator paused a pool for which jobs were queued.
    PoolPaused: "pool paused with queued jobs";
    /// The controller was killed while runners had jobs.
    CrashWithJobs: "crash with busy instances";
    /// A job was killed in a race that the controller could not have won.
    KilledInRace: "job killed in a race";
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How often each mark was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u32; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Marks([0; Mark::ALL.len()])
    }
}

impl Marks {
    pub(super) fn hit(&mut self, mark: Mark) {
        let n = &mut self.0[mark as usize];
        *n = n.saturating_add(1);
    }

    /// How often the mark was reached.
    pub fn count(&self, mark: Mark) -> u32 {
        self.0[mark as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Marks) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// The marks that were never reached.
    pub fn missed(&self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(|m| self.count(*m) == 0)
    }

    /// Takes the marks from one of the controller's facts.
    pub(super) fn see_fact(&mut self, fact: &Fact, controller: &Controller) {
        match fact {
            Fact::Planned { pool } => {
                if let Some((_, Some(plan))) = controller.newest_plans().find(|(name, _)| *name == pool) {
                    self.see_plan(plan);
                }
            }
            Fact::BreakerClosed { .. } => self.hit(Mark::BreakerClosed),
            Fact::Interrupted { busy: true, .. } => self.hit(Mark::InterruptedBusy),
            Fact::Interrupted { busy: false, .. } => self.hit(Mark::InterruptedIdle),
            _ => {}
        }
    }

    fn see_plan(&mut self, plan: &Plan) {
        let c = &plan.counts;
        match &plan.blocked {
            None => {}
            // No operator pauses a pool of the simulated controller.
            Some(Blocked::Paused(_)) => {}
            Some(Blocked::Unseen) => self.hit(Mark::BlockedUnseen),
            Some(Blocked::Hidden { .. }) => self.hit(Mark::BlockedHidden),
            Some(Blocked::Max) => self.hit(Mark::BlockedMax),
            Some(Blocked::Pace) => self.hit(Mark::BlockedPace),
            Some(Blocked::Backoff { why: Backoff::BootFailures { .. }, .. }) => self.hit(Mark::BlockedBoot),
            Some(Blocked::Backoff { why: Backoff::LaunchFailed(_), .. }) => self.hit(Mark::BlockedLaunch),
            Some(Blocked::Trial { .. }) => self.hit(Mark::BlockedTrial),
            Some(Blocked::GitHub { .. }) => self.hit(Mark::BlockedGitHub),
            Some(Blocked::Refused { .. }) => self.hit(Mark::BlockedRefused),
            Some(Blocked::Capacity { .. }) => self.hit(Mark::BlockedCapacity),
        }
        if c.unexplained > 0 {
            self.hit(Mark::Unexplained);
        }
        if c.queued > c.counting {
            self.hit(Mark::NotCounting);
        }
        // The jobs alone would not have asked for this launch.
        if plan.launch.is_some() && c.wanted.saturating_sub(c.floor) <= c.supply {
            self.hit(Mark::FloorLaunch);
        }
    }

    /// Takes the marks from an input, before the controller takes in the input.
    pub(super) fn see_input(&mut self, input: &Input, controller: &Controller) {
        match input {
            Input::Messages(messages) => {
                for m in messages {
                    if controller.view().demand.is_over(m.event.job) {
                        self.hit(Mark::LateEvent);
                    }
                }
            }
            Input::GitHubLimit(limit) if limit.remaining == 0 => {
                let brief = limit.reset_after <= SECONDARY.high;
                self.hit(if brief { Mark::SecondaryLimit } else { Mark::PrimaryLimit });
            }
            Input::Outcome(_, Outcome::Job(j)) => match j.state {
                None => self.hit(Mark::CheckWaiting),
                Some(JobState::Completed) if controller.view().demand.jobs().get(&j.job).is_some_and(|j| j.redelivered) => {
                    self.hit(Mark::RedeliveredOver);
                }
                Some(_) => {}
            },
            _ => {}
        }
    }

    /// Takes the marks from the outcome of an action, when the action takes effect.
    pub(super) fn see_outcome(&mut self, action: &Action, outcome: &Outcome) {
        let Outcome::Failed(failure) = outcome else { return };
        match (action, failure.kind) {
            (Action::Configure(_), FailureKind::Conflict) => self.hit(Mark::NameConflict),
            (Action::Deregister { .. }, FailureKind::Conflict) => self.hit(Mark::DeregisterRefused),
            (Action::CheckJob { .. }, FailureKind::NotFound) => self.hit(Mark::CheckNotFound),
            (Action::Messages(..), FailureKind::NotFound) => self.hit(Mark::ExtendFailed),
            _ => {}
        }
    }

    /// Takes the mark of a job that no pool takes.
    pub(super) fn see_route(&mut self, route: &Route) {
        if matches!(route, Route::Unmatched(_)) {
            self.hit(Mark::Unmatched);
        }
    }

    /// Takes the marks from an effect that the controller sends.
    pub(super) fn see_effect(&mut self, effect: &Effect, controller: &Controller, spec: &Spec) {
        let marks: BTreeSet<Mark> = effect.reason.steps().iter().filter_map(|why| step(&effect.action, why)).collect();
        for mark in marks {
            self.hit(mark);
        }
        match &effect.action {
            Action::Launch(l) => {
                if effect.reason == Reason::Launch(LaunchReason::Unanswered) {
                    self.hit(Mark::SameTokenRetry);
                }
                match &effect.reason {
                    Reason::Launch(LaunchReason::Breaker { .. }) => return self.hit(Mark::BreakerOpen),
                    Reason::Launch(LaunchReason::Probe { .. }) => return self.hit(Mark::BreakerProbe),
                    _ => {}
                }
                let policy = spec.pools.get(&l.pool).map(|p| p.spec.instance.market);
                if l.market == Market::OnDemand && policy == Some(MarketPolicy::SpotThenOnDemand) {
                    self.hit(Mark::OnDemandFallback);
                }
            }
            Action::Configure(c) => {
                if c.replace {
                    self.hit(Mark::RegistrationReplaced);
                }
                if controller.view().world.runners().get(&c.name.instance).is_some_and(|r| !r.launched_here()) {
                    self.hit(Mark::FoundConfigured);
                }
            }
            Action::CheckJob { .. } => {
                self.hit(match effect.reason {
                    Reason::Call(CallReason::HowItEnded) => Mark::StepsAsked,
                    Reason::Call(CallReason::DeliveredBefore) => Mark::CheckRedelivered,
                    Reason::Call(CallReason::OldNews) => Mark::CheckOldNews,
                    Reason::Call(CallReason::ToldAgain) => Mark::CheckToldAgain,
                    _ => Mark::CheckOld,
                });
            }
            Action::DeleteSecrets(_) => self.hit(Mark::SecretDeleted),
            Action::Messages(MessageOp::Release, _) => self.hit(Mark::Released),
            Action::Redeliver { .. } => self.hit(Mark::Redelivered),
            Action::LookAtRun { .. } => self.hit(Mark::RunAsked),
            Action::Rerun { .. } => self.hit(Mark::Rerun),
            Action::CancelRun { .. } => self.hit(Mark::RunCancelled),
            Action::Tell(_, text) => self.hit(if text.state == StatusState::Success { Mark::ToldOver } else { Mark::Told }),
            Action::Drain(_) | Action::Terminate(_) | Action::Deregister { .. } | Action::Messages(..) | Action::Sweep(_) => {}
        }
    }
}

/// The mark that belongs to a step, by the step's reason. None: the step is not rare.
fn step(action: &Action, why: &StepReason) -> Option<Mark> {
    Some(match (action, why) {
        (Action::Configure(_), StepReason::HalfConfigured) => Mark::HalfConfigured,
        (Action::Drain(_), StepReason::IdleTooLong { .. }) => Mark::DrainIdle,
        (Action::Drain(_), StepReason::PoolGone) => Mark::DrainPoolGone,
        (Action::Drain(_), StepReason::NearLifetime { .. }) => Mark::DrainOld,
        (Action::Drain(_), StepReason::Outdated) => Mark::DrainOutdated,
        (Action::Drain(_), StepReason::OnlineNoMore) => Mark::DrainLost,
        (Action::Drain(_), StepReason::Unlisted { .. }) => Mark::DrainUnlisted,
        (Action::Drain(_), StepReason::InterruptionLapsed) => Mark::InterruptionLapsed,
        (Action::Drain(_), StepReason::PerhapsSecondJob { .. }) => Mark::DrainSecondJob,
        (Action::Terminate(_), StepReason::DrainUnanswered { .. }) => Mark::DrainUnansweredEnd,
        (Action::Terminate(_), StepReason::NeverConfigured) => Mark::DrainNeverConfigured,
        (Action::Terminate(_), StepReason::JobOver { .. }) => Mark::EndJobOver,
        (Action::Terminate(_), StepReason::Unneeded) => Mark::EndSurplus,
        (Action::Terminate(_), StepReason::NeverOnline { .. }) => Mark::EndNeverOnline,
        (Action::Terminate(_), StepReason::LifetimeReached { .. }) => Mark::EndOld,
        (Action::Terminate(_), StepReason::EndUnheeded) => Mark::EndAgain,
        (Action::Deregister { .. }, StepReason::InstanceGone) => Mark::DeregisterGone,
        (Action::Deregister { .. }, StepReason::NeverOnline { .. }) => Mark::DeregisterNeverOnline,
        (Action::Deregister { .. }, StepReason::DrainUnanswered { .. }) => Mark::DrainUnansweredDeregister,
        _ => return None,
    })
}
