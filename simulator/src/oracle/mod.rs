//! Ground truth that the controller never sees, and what must hold of it.
//!
//! Safety is judged when an effect sets out ([`process_view`]), when it takes effect ([`harm`]) and now and then by looking at
//! the whole ([`invariants`]); liveness when the faults have stopped ([`quiescence`]). The names are those of the design's proof.

mod harm;
mod invariants;
mod process_view;
mod quiescence;
mod retry;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use muster_reconciler::ids::{InstanceId, Intent, JobId, PoolName};
use muster_reconciler::time::Time;

pub(super) use invariants::CHECK_EVERY;
pub(super) use process_view::ProcessView;
pub use quiescence::Unrest;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No terminate or deregister kills a job. Excepted: maxLifetime, a box that spot takes anyway, and a race (see
    /// [`RACE`]): nothing had been heard of the job, and it had started less than ten seconds before the request set out.
    S1,
    /// When a fleet is made, the pool's live boxes are no more than its max was when the request set out.
    S2,
    /// Boxes launched are no more than jobs, warm floors, replacements for boxes that were lost, and what wrong or late
    /// news must cost (see [`harm`]).
    S3,
    /// Only our own instances, registrations and secrets are touched.
    S4,
    /// One intent makes one fleet; no two processes share one, and no request is changed under its token.
    S5,
    /// No secret outlives its box by more than 25 minutes.
    S6,
    /// What one process sends stays within the other side's published rates, and it asks GitHub nothing that GitHub has
    /// just told it not to.
    S7,
    /// Nothing is launched, drained or ended before a complete look at the instances, and no registered box is ended
    /// before a complete look at its list.
    S8,
    /// A job's state never goes back within one process.
    S9,
    /// A plan depends on nothing but what is known: planned twice it is the same, and so it is when a sweep's rows come in
    /// another order.
    S10,
    /// A queued job has a runner on the way, or its pool says why not.
    L1,
    /// Every instance is known, and none outlives maxLifetime by more than 30 minutes.
    L2,
    /// Registrations without a box are removed.
    L3,
    /// Once faults and jobs have ended, the world comes to rest and stays so.
    L4,
    /// Nothing that failed is tried again sooner than its backoff.
    L5,
    /// Every job, pool and runner has a reason; the controller's wake-up time moves on; no message dies unread.
    Sound,
}

impl Invariant {
    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Invariant::S1 => "S1",
            Invariant::S2 => "S2",
            Invariant::S3 => "S3",
            Invariant::S4 => "S4",
            Invariant::S5 => "S5",
            Invariant::S6 => "S6",
            Invariant::S7 => "S7",
            Invariant::S8 => "S8",
            Invariant::S9 => "S9",
            Invariant::S10 => "S10",
            Invariant::L1 => "L1",
            Invariant::L2 => "L2",
            Invariant::L3 => "L3",
            Invariant::L4 => "L4",
            Invariant::L5 => "L5",
            Invariant::Sound => "sound",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was violated.
    pub invariant: Invariant,
    /// When.
    pub at: Time,
    /// What happened, to what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A job that started so shortly before a request set out could not be known to anybody here: webhooks take seconds.
pub const RACE: std::time::Duration = std::time::Duration::from_secs(10);

/// Jobs of one run that may be killed in such a race.
const RACES: u64 = 2;

/// Violations of one invariant that are noted.
const EACH: usize = 20;

/// What was found, and what must be remembered to find it.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The violations so far, in order (the first 20 of each invariant).
    pub violations: Vec<Violation>,
    /// Jobs killed in a race.
    pub races: u64,
    /// What the controller's process has been told, and has sent.
    pub(super) process_view: ProcessView,
    /// Which process used an intent first.
    intents: BTreeMap<Intent, u32>,
    /// All boxes that were ever ours.
    boxes: BTreeSet<InstanceId>,
    /// Boxes that could not do what they were launched for, by no fault of the controller.
    excused: BTreeSet<InstanceId>,
    /// Boxes that were launched without a job of their own for a reason that is no box's (see [`harm`]).
    pub(super) allowance: u64,
    /// Jobs that were queued, reruns included.
    pub(super) jobs: u64,
    /// By how much warm floors have risen, in all: each rise is so many launches.
    pub(super) floor: u64,
    /// Each pool's, when last looked at.
    pub(super) floors: BTreeMap<PoolName, u32>,
    /// Looks so far.
    looks: u64,
    /// When each pool was first found wanting without a word, in a row.
    mute: BTreeMap<muster_reconciler::ids::PoolName, Time>,
    /// Jobs that waited for nothing at the last look.
    stuck: BTreeSet<JobId>,
    /// Since when pools have fewer live boxes than they may, and launch none.
    roomy: BTreeMap<muster_reconciler::ids::PoolName, Time>,
}

impl Oracle {
    pub(super) fn blame(&mut self, invariant: Invariant, at: Time, what: String) {
        // One broken rule is news once; a thousand repetitions hide the others.
        if self.violations.iter().filter(|v| v.invariant == invariant).count() < EACH {
            self.violations.push(Violation { invariant, at, what });
        }
    }

    /// The box can't do what it was launched for; its replacement is no waste.
    pub(super) fn excuse_box(&mut self, id: &InstanceId) {
        self.excused.insert(id.clone());
    }
}
