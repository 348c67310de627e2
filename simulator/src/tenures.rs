//! What happened between several processes that share a lease, in figures.

use std::fmt;

/// Counts of a run with a lease. All are zero where one controller runs without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenures {
    /// How often a process took the lease.
    pub terms: u64,
    /// How often a process was stopped.
    pub stops: u64,
    /// Calls that a process had in its hand when it was stopped, and that arrived when it went on.
    pub late: u64,
    /// Calls that were not sent, because the process no longer held the lease for sure.
    pub fenced: u64,
    /// Intents for which EC2 launched.
    pub intents: u64,
    /// Launches that EC2 carried out for these intents.
    pub fleets: u64,
    /// Launches that a successor asked for again, and that EC2 had carried out before.
    pub again: u64,
    /// Launches that a successor asked for, and that EC2 carried out only then.
    pub settled: u64,
    /// Launches in the hand of a stopped process that EC2 carried out after a successor had given them up.
    pub surprises: u64,
    /// Jobs that were killed by a call in the hand of a stopped process.
    pub late_kills: u64,
}

impl Tenures {
    /// Adds those of another run.
    pub fn add(&mut self, other: Tenures) {
        self.terms += other.terms;
        self.stops += other.stops;
        self.late += other.late;
        self.fenced += other.fenced;
        self.intents += other.intents;
        self.fleets += other.fleets;
        self.again += other.again;
        self.settled += other.settled;
        self.surprises += other.surprises;
        self.late_kills += other.late_kills;
    }
}

impl fmt::Display for Tenures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} terms, {} stops, {} calls arrived late, {} calls were fenced; {} launches for {} intents, {} asked for again by a \
             successor, {} only by a successor, {} after a successor had given up; {} jobs killed by a late call",
            self.terms,
            self.stops,
            self.late,
            self.fenced,
            self.fleets,
            self.intents,
            self.again,
            self.settled,
            self.surprises,
            self.late_kills
        )
    }
}
