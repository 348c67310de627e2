//! Coverage: rare branches of the controller, by name, and which of them a run has reached. Taken from what the
//! controller emits and says, so that a branch that many seeds never reach is one that the simulator proves nothing of.

use std::collections::BTreeSet;
use std::fmt;

use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Effect, FailureKind, Input, MessageOp, Outcome};
use muster_reconciler::event::JobState;
use muster_reconciler::fact::Fact;
use muster_reconciler::manifest::{MarketPolicy, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::matching::Route;
use muster_reconciler::plan::Plan;
use muster_reconciler::reason::{Backoff, Blocked, CallReason, LaunchReason, Reason, StepReason};

use crate::registry::SECONDARY;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident: $word:literal;)*) => {
        /// A rare branch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $($(#[$doc])* $name,)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Mark] = &[$(Mark::$name),*];

            /// Its name in reports.
            pub const fn as_str(self) -> &'static str {
                match self { $(Mark::$name => $word,)* }
            }
        }
    };
}

marks! {
    /// A launch without an answer is asked again, with the same token.
    SameTokenRetry: "same-token retry";
    /// EC2 answered a token that it knew.
    TokenReplayed: "token replayed by EC2";
    /// On-demand was bought because spot had nothing.
    OnDemandFallback: "on-demand fallback";
    /// A fleet came back smaller than asked for.
    PartialFleet: "partial fleet";
    /// A fleet came back empty.
    EmptyFleet: "empty fleet";
    /// No launch: nothing was completely seen yet.
    BlockedUnseen: "blocked: unseen";
    /// No launch: a predecessor's last ones may be hidden.
    BlockedHidden: "blocked: predecessor hidden";
    /// No launch: the pool is full.
    BlockedMax: "blocked: max";
    /// No launch: more could not be configured in time.
    BlockedPace: "blocked: pace";
    /// No launch: boxes failed to start.
    BlockedBoot: "blocked: boot backoff";
    /// No launch: launches failed.
    BlockedLaunch: "blocked: launch backoff";
    /// No launch: GitHub's limit lets no more be configured.
    BlockedGitHub: "blocked: GitHub's rate limit";
    /// No launch: boxes of the pool can't be configured.
    BlockedRefused: "blocked: configurations refused";
    /// No launch: no capacity anywhere.
    BlockedCapacity: "blocked: capacity";
    /// A busy runner stands for a job that looks queued.
    Unexplained: "busy runner unexplained";
    /// A queued job does not count yet.
    NotCounting: "queued job not counting";
    /// A box is launched for the warm floor.
    FloorLaunch: "launch for the warm floor";
    /// A registration of a box's name makes way.
    RegistrationReplaced: "registration replaced after conflict";
    /// A mint met a name that exists.
    NameConflict: "name conflict";
    /// A box that a predecessor configured by half is configured anew.
    HalfConfigured: "half-configured box configured anew";
    /// A box that a predecessor launched is configured.
    FoundConfigured: "found box configured";
    /// An idle box that nobody needs is asked to end.
    DrainIdle: "drain: idle";
    /// A box of a pool that is gone is asked to end.
    DrainPoolGone: "drain: pool gone";
    /// A box whose pool has other labels, group or scope by now is asked to end.
    DrainOutdated: "drain: outdated";
    /// A box near maxLifetime is asked to end.
    DrainOld: "drain: near maxLifetime";
    /// A box that was online and is no more is asked to end.
    DrainLost: "drain: online no more";
    /// A box that GitHub does not list is asked to end.
    DrainUnlisted: "drain: not listed";
    /// A spot interruption came to nothing.
    InterruptionLapsed: "interruption lapsed";
    /// Its only job is over and it may have got another.
    DrainSecondJob: "drain: perhaps a second job";
    /// A drained box did not answer, loses its registration.
    DrainUnansweredDeregister: "drain unanswered, then deregistered";
    /// A drained box did not answer, and is ended.
    DrainUnansweredEnd: "drain unanswered, then ended";
    /// A drained box was never configured, and is ended.
    DrainNeverConfigured: "drained, never configured, ended";
    /// A box with its only job behind it is ended.
    EndJobOver: "ended: job over";
    /// An unconfigured box that nobody needs is ended.
    EndSurplus: "ended: surplus, never configured";
    /// A box that never came online is ended.
    EndNeverOnline: "ended: never online";
    /// A box reached maxLifetime.
    EndOld: "ended: maxLifetime";
    /// EC2 took a terminate and did nothing.
    EndAgain: "ended: asked again";
    /// A gone box's registration is deleted.
    DeregisterGone: "deregistered: box gone";
    /// A box that never came online loses its registration.
    DeregisterNeverOnline: "deregistered: never online";
    /// GitHub refused to delete a busy runner.
    DeregisterRefused: "deregistration refused: busy";
    /// A gone box's secret is deleted.
    SecretDeleted: "secret deleted";
    /// GitHub is asked about a redelivered job.
    CheckRedelivered: "redelivered job checked";
    /// A redelivered job was over.
    RedeliveredOver: "redelivered job found over";
    /// GitHub is asked about a job that has waited for long.
    CheckOld: "old job checked";
    /// GitHub said 404 of a job.
    CheckNotFound: "job check: 404";
    /// GitHub said that a job waits.
    CheckWaiting: "job check: waiting";
    /// GitHub holds a job back.
    HeldByGitHub: "held by GitHub";
    /// An event of a job that was over.
    LateEvent: "event of a job that is over";
    /// A webhook that GitHub could not deliver is asked for again.
    Redelivered: "failed webhook asked for again";
    /// A message could not be extended.
    ExtendFailed: "extension failed";
    /// Messages were released at a stop.
    Released: "messages released";
    /// A job that no pool takes.
    Unmatched: "job unmatched";
    /// Spot took an idle or starting box.
    InterruptedIdle: "interrupted without a job";
    /// Spot took a busy box.
    InterruptedBusy: "interrupted with a job";
    /// GitHub's secondary limit, for seconds or minutes.
    SecondaryLimit: "GitHub's secondary limit";
    /// GitHub's hourly limit was used up.
    PrimaryLimit: "GitHub's hourly limit used up";
    /// A pool was removed with live boxes.
    PoolRemoved: "pool removed with live boxes";
    /// A pool was put back.
    PoolRestored: "pool put back";
    /// max was lowered below what lives.
    MaxLowered: "max lowered below live boxes";
    /// A pool's labels changed with live boxes.
    LabelsChanged: "labels changed with live boxes";
    /// A pool's scope changed with live boxes.
    ScopeChanged: "scope changed with live boxes";
    /// A process died with boxes running jobs.
    CrashWithJobs: "crash with busy boxes";
    /// A job was killed in a race that nobody could have won.
    KilledInRace: "job killed in a race";
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which marks were reached, and how often.
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

    /// How often it was reached.
    pub fn count(&self, mark: Mark) -> u32 {
        self.0[mark as usize]
    }

    /// Those of another run too.
    pub fn add(&mut self, other: &Marks) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Those that were never reached.
    pub fn missed(&self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(|m| self.count(*m) == 0)
    }

    /// What a fact says.
    pub(super) fn see_fact(&mut self, fact: &Fact, controller: &Controller) {
        match fact {
            Fact::Planned { pool } => {
                if let Some((_, Some(plan))) = controller.newest_plans().find(|(name, _)| *name == pool) {
                    self.see_plan(plan);
                }
            }
            Fact::Interrupted { busy: true, .. } => self.hit(Mark::InterruptedBusy),
            Fact::Interrupted { busy: false, .. } => self.hit(Mark::InterruptedIdle),
            _ => {}
        }
    }

    fn see_plan(&mut self, plan: &Plan) {
        let c = &plan.counts;
        match &plan.blocked {
            None => {}
            // Nobody steers a simulated controller.
            Some(Blocked::Paused(_)) => {}
            Some(Blocked::Unseen) => self.hit(Mark::BlockedUnseen),
            Some(Blocked::Hidden { .. }) => self.hit(Mark::BlockedHidden),
            Some(Blocked::Max) => self.hit(Mark::BlockedMax),
            Some(Blocked::Pace) => self.hit(Mark::BlockedPace),
            Some(Blocked::Backoff { why: Backoff::BootFailures { .. }, .. }) => self.hit(Mark::BlockedBoot),
            Some(Blocked::Backoff { why: Backoff::LaunchFailed(_), .. }) => self.hit(Mark::BlockedLaunch),
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
        // The jobs alone would not have asked for it.
        if plan.launch.is_some() && c.wanted.saturating_sub(c.floor) <= c.supply {
            self.hit(Mark::FloorLaunch);
        }
    }

    /// What an input says, before the controller has taken it in.
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

    /// What an action came to when it took effect.
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

    /// Whether a job that was just heard of has no pool.
    pub(super) fn see_route(&mut self, route: &Route) {
        if matches!(route, Route::Unmatched(_)) {
            self.hit(Mark::Unmatched);
        }
    }

    /// What an effect says.
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
                let redelivered = effect.reason == Reason::Call(CallReason::DeliveredBefore);
                self.hit(if redelivered { Mark::CheckRedelivered } else { Mark::CheckOld });
            }
            Action::DeleteSecrets(_) => self.hit(Mark::SecretDeleted),
            Action::Messages(MessageOp::Release, _) => self.hit(Mark::Released),
            Action::Redeliver { .. } => self.hit(Mark::Redelivered),
            Action::Drain(_) | Action::Terminate(_) | Action::Deregister { .. } | Action::Messages(..) | Action::Sweep(_) => {}
        }
    }
}

/// The rare branch that leads to a step.
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
