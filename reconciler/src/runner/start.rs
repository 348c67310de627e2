//! How far a runner has come with its start, and how long it may take.

use std::time::Duration;

use super::{Configured, Runner};
use crate::stage::Stage;
use crate::time::Time;

/// A runner that was only just configured gets this long (or its boot deadline, if that is shorter) to come online. That it had to
/// wait for its configuration is no fault of its own.
///
/// Decision 0010, row 27.
pub const REGISTER_GRACE: Duration = Duration::from_secs(60);

/// How far a runner has come with its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Start {
    /// When it reached each [`Stage`], by the stage's number.
    reached: [Option<Time>; Stage::ALL.len()],
    /// The stages that the instance itself tells by its tag are taken in.
    tag_read: bool,
    /// It was counted as one that failed to start.
    failed: bool,
}

impl Runner {
    /// The stages that it has reached, and when, in the order of [`Stage::ALL`]. Only of a runner that this process launched.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, Time)> {
        Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.start.reached[stage as usize]?)))
    }

    /// Whether it has reached this stage.
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.start.reached[stage as usize].is_some()
    }

    /// It reached a stage. Returns how long after its launch was asked for.
    pub(crate) fn reach(&mut self, stage: Stage, at: Time) -> Duration {
        self.start.reached[stage as usize] = Some(at);
        at.since(self.first_seen)
    }

    /// The instance tells stages by its tag. Whether they are to be taken in: once, and only when this process knows when the
    /// instance was asked for.
    pub(crate) fn reads_stages(&mut self, told: &[(Stage, Time)]) -> bool {
        let reads = !self.start.tag_read && !told.is_empty() && self.launched_here();
        self.start.tag_read |= reads;
        reads
    }

    /// It failed to start. False: that is no news, because its end had to be asked for again.
    pub(crate) fn start_failed(&mut self) -> bool {
        !std::mem::replace(&mut self.start.failed, true)
    }

    /// How long it has had to boot, since EC2 launched it.
    pub fn up_for(&self, now: Time) -> Duration {
        now.since(self.born())
    }

    /// When it must be online, if its list was looked at since.
    pub fn boot_due(&self, boot_deadline: Duration) -> Time {
        self.born().max(self.first_seen) + boot_deadline
    }

    /// We count a found instance's age from EC2's launch time, because it existed before we saw it. An instance of ours may be younger
    /// than the first call for it, because that call may have been repeated for long. We trust EC2's clock between that call and the
    /// sweep that shows the instance.
    ///
    /// Decision 0010, row 8.
    fn born(&self) -> Time {
        match self.instance() {
            Some(i) if !self.launched_here() => i.launched_at().min(self.first_seen),
            Some(i) => i.launched_at().min(i.seen_at()).max(self.first_seen),
            None => self.first_seen,
        }
    }

    /// Whether it had the time to boot, and its list, if it is known, was looked at since. A runner that no sweep has looked for may
    /// be online for long.
    ///
    /// Decision 0010, row 15.
    pub(super) fn overdue(&self, boot_deadline: Duration, now: Time) -> bool {
        let graced = match self.configured() {
            Configured::Yes(at) => at + REGISTER_GRACE.min(boot_deadline),
            _ => self.first_seen,
        };
        let due = graced.max(self.boot_due(boot_deadline));
        self.up_for(now) >= boot_deadline && now >= graced && self.github.looked_for_since(due)
    }
}
