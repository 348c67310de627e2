//! The jobs that ended without success on one of our runners, until muster knows whether the machine was at fault, and until what was
//! lost runs again.
//!
//! The message that told a job's end stays on the queue for as long as its case is open. So a process that dies leaves the case to
//! the next one.
//!
//! Decision 0025.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::event::JobEvent;
use crate::ids::{InstanceId, JobId, MessageId, PoolName, RunId};
use crate::market::Market;
use crate::time::Time;
use crate::verdict::Cause;

/// A case in which nobody says what became of the machine is closed after this time.
pub const SETTLE: Duration = Duration::from_secs(900);

/// A process knows in which order a machine and its job ended, if the job's end was told this long after the process started, or later.
/// GitHub takes minutes to give up a job whose machine is gone, and the process has swept the instances by then.
pub const WATCHED: Duration = Duration::from_secs(120);

/// How long a question to GitHub that brought no answer, or not yet the one that is awaited, waits to be asked again: the first and
/// the longest time. The time doubles with each question.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));

/// muster gives up asking GitHub for a job's steps after this time. GitHub may be down for as long.
pub const STEPS_UNTOLD: Duration = Duration::from_secs(3600);

/// GitHub is asked about the run of a lost job after this time at the earliest. Until then, events may tell of other lost jobs of the
/// run.
const FELLOWS: Duration = Duration::from_secs(30);

/// How often GitHub may refuse to run a job again before muster gives up. GitHub takes a moment to see that a run is over.
pub const REFUSALS: u32 = 2;

/// The most open cases. Beyond this number, the oldest is closed without a verdict.
const MOST: usize = 5_000;

/// The most lost jobs that are kept for an operator's order.
const MOST_ASIDE: usize = 1_000;

/// One job that ended without success.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The join of all events of the job.
    pub event: JobEvent,
    /// The pool of the job's runner.
    pub pool: PoolName,
    /// The instance that the job ran on.
    pub instance: InstanceId,
    /// The market on which the instance was bought. None: not known.
    pub market: Option<Market>,
    /// When muster heard of the job's end.
    pub ended: Time,
    /// The messages that told the end, all held by this process.
    pub messages: BTreeSet<MessageId>,
    /// What is known against the machine because the runner was forgotten before the end was told. None: it was not.
    pub forgotten: Option<Cause>,
    /// How far the case has come.
    pub state: CaseState,
    /// What GitHub is asked about the case.
    pub inquiry: Inquiry,
}

/// How far a case has come.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseState {
    /// Nothing speaks against the machine so far.
    Watched,
    /// This speaks against the machine, and GitHub is asked for the job's steps.
    Suspected(Cause),
    /// The machine was at fault. The job runs again once GitHub lets it.
    Lost {
        /// What was done to the machine.
        cause: Cause,
        /// The attempt of the run that the job belongs to.
        attempt: u32,
        /// If the run is not over by then, the job is not run again.
        until: Time,
        /// How often GitHub refused to run it again.
        refusals: u32,
    },
}

/// What GitHub was asked, and when it may be asked again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inquiry {
    in_flight: bool,
    /// Whether the last question brought no answer.
    unanswered: bool,
    times: u32,
    not_before: Time,
}

impl Inquiry {
    /// What GitHub is asked about the run of a job that was found lost just now.
    pub fn of_run(now: Time) -> Inquiry {
        Inquiry { not_before: now + FELLOWS, ..Inquiry::default() }
    }

    /// Whether GitHub may be asked now.
    pub fn is_due(&self, now: Time) -> bool {
        !self.in_flight && now >= self.not_before
    }

    /// Whether GitHub has not answered yet.
    pub fn is_open(&self) -> bool {
        self.in_flight
    }

    /// Whether GitHub was asked at all.
    pub fn was_asked(&self) -> bool {
        self.times > 0
    }

    /// The last question had the answer that was wanted, so the next one may come at once.
    pub fn answered_well() -> Inquiry {
        Inquiry { times: 1, ..Inquiry::default() }
    }

    /// GitHub is asked.
    pub fn asked(&mut self, now: Time) {
        let wait = ASK_AGAIN.0.saturating_mul(1 << self.times.min(6)).min(ASK_AGAIN.1);
        *self = Inquiry { in_flight: true, unanswered: false, times: self.times + 1, not_before: now + wait };
    }

    /// The question has ended. Without an answer, the next one waits for the shortest time at least.
    pub fn ended(&mut self, answered: bool, now: Time) {
        (self.in_flight, self.unanswered) = (false, !answered);
        if !answered {
            self.not_before = self.not_before.max(now + ASK_AGAIN.0);
        }
    }

    /// Something happened that may have changed the answer.
    fn hurry(&mut self, at: Time) {
        self.not_before = self.not_before.min(at);
    }
}

/// All open cases, and the lost jobs that GitHub was not asked to run again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cases(BTreeMap<JobId, Case>, VecDeque<Case>);

impl Cases {
    /// Opens a case. Returns the case that makes way for it, if there are too many.
    pub fn open(&mut self, case: Case) -> Option<Case> {
        self.0.insert(case.event.job, case);
        (self.0.len() > MOST).then(|| self.0.pop_first().map(|(_, case)| case)).flatten()
    }

    /// Closes a case.
    pub fn close(&mut self, job: JobId) -> Option<Case> {
        self.0.remove(&job)
    }

    /// Keeps a lost job that is not run again by itself, for an operator's order.
    pub fn set_aside(&mut self, case: Case) {
        self.1.retain(|known| known.event.job != case.event.job);
        self.1.push_back(Case { messages: BTreeSet::new(), ..case });
        if self.1.len() > MOST_ASIDE {
            self.1.pop_front();
        }
    }

    /// The lost jobs that an operator may have run again, the oldest first.
    pub fn aside(&self) -> impl Iterator<Item = &Case> {
        self.1.iter()
    }

    /// Takes the lost jobs of these runs, to run them again.
    pub fn take_aside(&mut self, runs: &BTreeSet<RunId>) -> Vec<Case> {
        let (taken, kept) = std::mem::take(&mut self.1).into_iter().partition(|case| runs.contains(&case.event.run));
        self.1 = kept;
        Vec::from(taken)
    }

    /// One case.
    pub fn get(&self, job: JobId) -> Option<&Case> {
        self.0.get(&job)
    }

    /// One case, to note what became of it.
    pub fn get_mut(&mut self, job: JobId) -> Option<&mut Case> {
        self.0.get_mut(&job)
    }

    /// All cases, by job.
    pub fn iter(&self) -> impl Iterator<Item = (JobId, &Case)> {
        self.0.iter().map(|(id, case)| (*id, case))
    }

    /// Whether no case is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lost jobs of a run that wait to run again.
    pub fn lost_of(&self, run: RunId) -> BTreeSet<JobId> {
        let of_run = self.0.iter().filter(|(_, case)| case.event.run == run);
        of_run.filter(|(_, case)| matches!(case.state, CaseState::Lost { .. })).map(|(id, _)| *id).collect()
    }

    /// Whether muster does not know yet what ended some job of the run. What is run again depends on all of them.
    pub fn undecided(&self, run: RunId) -> bool {
        self.0.values().any(|case| case.event.run == run && !matches!(case.state, CaseState::Lost { .. }))
    }

    /// Whether GitHub is being asked about the run, or to run its jobs again, or did not answer a moment ago. A job that is found lost
    /// only then waits with the others of its run.
    pub fn is_asked_about(&self, run: RunId, now: Time) -> bool {
        let waits = |inquiry: &Inquiry| inquiry.in_flight || inquiry.unanswered && now < inquiry.not_before;
        self.0.values().any(|case| case.event.run == run && waits(&case.inquiry))
    }

    /// A job of the run is over, so the run may be.
    pub fn run_moved(&mut self, run: RunId, now: Time) {
        for case in self.0.values_mut().filter(|case| case.event.run == run) {
            if matches!(case.state, CaseState::Lost { .. }) {
                case.inquiry.hurry(now + ASK_AGAIN.0);
            }
        }
    }
}
