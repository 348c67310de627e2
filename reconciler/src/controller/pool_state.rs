//! What the controller remembers of a pool between two plans.

use super::{DEBOUNCE, DEBOUNCE_MAX};
use crate::breaker::Breaker;
use crate::history::SpotHistory;
use crate::ids::InstanceId;
use crate::plan::Plan;
use crate::reason::{Backoff, Blocked, NotServed, Refused};
use crate::time::Time;
use crate::waits::PoolWaits;

/// What the controller remembers of a pool between two plans.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolState {
    /// The first and the last change since the last plan. None: nothing has changed.
    pub(super) dirty: Option<(Time, Time)>,
    /// More messages for this pool are on their way. The pool waits for [`DEBOUNCE_MAX`], so that a burst makes few launches.
    pub(super) gathering: bool,
    /// When the pool is planned again, even without a change.
    pub(super) again_at: Time,
    /// The newest plan. None: the pool was not planned yet.
    pub(super) plan: Option<Plan>,
    /// Instances in a row that never came online.
    pub(super) boot_failures: u32,
    /// The last instance that never came online. Only people read it.
    pub(super) last_failed: Option<InstanceId>,
    /// Launches in a row that failed for a reason other than capacity.
    pub(super) launch_failures: u32,
    /// No launch before this time, because instances failed to start. Kept until one comes online.
    pub(super) boot_backoff: Option<(Time, Backoff)>,
    /// No launch before this time, because launches failed.
    pub(super) launch_backoff: Option<(Time, Backoff)>,
    /// Configurations in a row that GitHub or SSM did not answer, or answered with a failure of its own.
    pub(super) unanswered: u32,
    /// Until then, an instance without a configuration may still be one that a refusal or an outage left behind.
    pub(super) left_behind_until: Time,
    /// Since when launches, configurations or instances have failed, without one success. None: nothing fails.
    pub(super) failing_since: Option<Time>,
    /// By which word the newest plans are blocked, and since when. Only people read it.
    pub(super) blocked: Option<(&'static str, Time)>,
    /// How long the pool's jobs waited and its runners started. Only people read it.
    pub(super) waits: PoolWaits,
    /// When GitHub last gave a job to a runner of the pool. None: not since this process started.
    pub(super) given_at: Option<Time>,
    /// What shows that GitHub gives nothing to the pool's runners.
    pub(super) not_served: Option<NotServed>,
    /// Configurations in a row that were refused.
    pub(super) refusals: u32,
    /// No configuration before this time, and why the last one was refused.
    pub(super) refused: Option<(Time, Refused)>,
    /// Whether the pool leaves spot for a while.
    pub(super) breaker: Breaker,
    /// What became of the pool's spot instances.
    pub(super) history: SpotHistory,
}

impl PoolState {
    /// Until when the pool launches nothing, and why.
    pub(super) fn backoff(&self) -> Option<&(Time, Backoff)> {
        self.boot_backoff.iter().chain(&self.launch_backoff).max_by_key(|(until, _)| *until)
    }

    /// Whether the last launch, configuration or instance failed, and none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.boot_backoff.is_some() || self.launch_failures > 0 || self.refused.is_some()
    }

    /// Notes what blocks the newest plan. While a pool at its max replaces a runner that ended, it is still blocked by its max.
    pub(super) fn note_blocked(&mut self, plan: &Plan, now: Time) {
        // A full pool keeps nobody waiting while it has no queue.
        let blocked = plan.blocked.as_ref().filter(|blocked| **blocked != Blocked::Max || plan.counts.counting > 0);
        let word = blocked.map(Blocked::word);
        let unserved = plan.counts.counting > 0 && plan.counts.wanted > plan.counts.supply;
        self.blocked = match (word, self.blocked) {
            (Some(word), Some((known, since))) if word == known => Some((word, since)),
            (Some(word), _) => Some((word, now)),
            (None, known) => known.filter(|_| unserved),
        };
    }

    pub(super) fn due(&self) -> Time {
        let quiet = if self.gathering { DEBOUNCE_MAX } else { DEBOUNCE };
        self.dirty.map_or(self.again_at, |(first, last)| (last + quiet).min(first + DEBOUNCE_MAX).min(self.again_at))
    }
}
