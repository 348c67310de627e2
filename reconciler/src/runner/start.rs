//! How far a runner has come with its start, and how long it may take.

use std::time::Duration;

use super::{Configured, Runner};
use crate::stage::Stage;
use crate::time::Time;

/// A runner that was only just configured gets this long to come online, or its boot deadline if that is shorter. The runner is
/// not to blame for the wait for its configuration.
///
/// Decision 0010, row 27.
pub const REGISTER_GRACE: Duration = Duration::from_secs(60);

/// How far a runner has come with its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Start {
    /// When the runner reached each [`Stage`], by the stage's number.
    reached: [Option<Time>; Stage::ALL.len()],
    /// Whether the stages that the instance tells by its tag were taken in.
    tag_read: bool,
    /// Whether the instance was counted as one that failed to start.
    failed: bool,
}

impl Runner {
    /// The stages that the runner has reached, and when, in the order of [`Stage::ALL`]. For a runner that this process did not
    /// launch, at most [`Stage::Configured`].
    pub fn stages(&self) -> impl Iterator<Item = (Stage, Time)> {
        Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.start.reached[stage as usize]?)))
    }

    /// Whether the runner has reached this stage.
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.start.reached[stage as usize].is_some()
    }

    /// The runner reached a stage. Returns the time since this process first knew of the runner: for our own launch, since the
    /// launch was first asked for.
    pub(crate) fn reach(&mut self, stage: Stage, at: Time) -> Duration {
        self.start.reached[stage as usize] = Some(at);
        at.since(self.first_seen)
    }

    /// The instance tells stages by its tag. Returns whether to take them in: once, and only when this process launched the
    /// instance. Otherwise nobody knows when the launch was asked for.
    pub(crate) fn reads_stages(&mut self, told: &[(Stage, Time)]) -> bool {
        let reads = !self.start.tag_read && !told.is_empty() && self.launched_here();
        self.start.tag_read |= reads;
        reads
    }

    /// Notes that the instance failed to start. False: this was noted before, because the instance's end had to be asked for again.
    pub(crate) fn start_failed(&mut self) -> bool {
        !std::mem::replace(&mut self.start.failed, true)
    }

    /// Whether the instance was counted as one that failed to start.
    pub(super) fn counts_as_failed(&self) -> bool {
        self.start.failed
    }

    /// How long the instance has had to boot.
    pub fn up_for(&self, now: Time) -> Duration {
        now.since(self.born())
    }

    /// When the runner must be online. The runner is late only if its list was swept at that time or later.
    pub fn boot_due(&self, boot_deadline: Duration) -> Time {
        self.born().max(self.first_seen) + boot_deadline
    }

    /// We count a found instance's age from EC2's launch time, because it existed before we saw it. An instance of ours may be
    /// younger than the first call for it, because that call may have been repeated for long. We trust EC2's clock between that
    /// call and the sweep that shows the instance.
    ///
    /// Decision 0010, row 8.
    fn born(&self) -> Time {
        match self.instance() {
            Some(i) if !self.launched_here() => i.launched_at().min(self.first_seen),
            Some(i) => i.launched_at().min(i.seen_at()).max(self.first_seen),
            None => self.first_seen,
        }
    }

    /// Whether the runner had the time to boot, and its list, if known, was swept since. A runner that no sweep has looked for
    /// may have been online for long.
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
