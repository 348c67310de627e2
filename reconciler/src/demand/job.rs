//! One job: what is known of it, whether it counts, and what GitHub says of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::{JobEvent, JobState};
use crate::ids::{InstanceId, MessageId, PoolName};
use crate::manifest::LateAct;
use crate::matching::Route;
use crate::past::RunnerPast;
use crate::reason::{DoubtReason, HoldReason};
use crate::time::Time;

/// A job that GitHub made this long before muster first heard of it may be over by now.
const OLD_NEWS: Duration = Duration::from_secs(120);

/// A job that may be over by now counts without a question to GitHub after this long. Until then it waits for its question, and
/// then for the answer. After a restart, thousands of old `queued` events may come at once. Most of their jobs are over, and one
/// question goes out each second.
const UNASKED: Duration = Duration::from_secs(600);

/// A job that GitHub says may not start yet is held for this long after GitHub last said so. Meanwhile muster asks GitHub every
/// half hour at least, so only a GitHub that does not answer lets such a hold end by time.
const WAITING: Duration = Duration::from_secs(3600);

/// GitHub's word that a job waits may be late. muster asks GitHub to confirm it after this long.
const WAITING_CONFIRMED: Duration = Duration::from_secs(10);

/// muster asks about a job that GitHub is believed to hold after this long at the latest.
const HELD_ASKED: Duration = Duration::from_secs(60);

/// One job that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The join of all events of the job.
    pub event: JobEvent,
    /// When this process first heard of the job.
    pub first_seen: Time,
    /// When this process first heard that a runner took the job. Only the job's trace needs this time; no decision does.
    pub started: Option<Time>,
    /// What the job's runner was, if the runner is already forgotten. Only the job's trace needs this; no decision does.
    pub lost_runner: Option<RunnerPast>,
    /// Whether muster has told that the pool of the job's runner does not list the job's repository.
    pub uninvited: bool,
    /// The messages that stand for the job, all held by this process. Empty once the job has left the queue.
    pub messages: BTreeSet<MessageId>,
    /// The pool that takes the job, or why none does.
    pub route: Route,
    /// Whether the job was handed over to this pool by one that comes first and cannot launch.
    pub handed_over: bool,
    /// Since when the job has asked for a runner, apart from holds: since it was first heard of, was last let go, or came to its
    /// pool.
    pub since: Time,
    /// The same, but a trial of a held job does not begin it anew.
    pub ready: Time,
    /// The same, but not before a doubt was settled. GitHub may have held the job back until then.
    pub sure: Time,
    /// Whether a message of the job was delivered before. A predecessor may then have launched for the job.
    pub redelivered: bool,
    /// Why GitHub's word is awaited. The job counts once GitHub has confirmed that it is queued, or has had the time to.
    pub doubt: Option<Doubt>,
    /// The newest hold, which may be over. While the hold lasts, the job does not count.
    pub hold: Option<Hold>,
    /// The steps of `startWithin` that were taken, and since when the job had been ready then. Steps of an earlier time are history.
    pub late: (Time, BTreeSet<LateAct>),
    /// When an event last said whether the job may start. GitHub's answer to an earlier question is older news.
    pub told: Time,
    /// What GitHub was asked about the job in the background.
    pub check: Confirmation,
}

/// Why, and until when, a queued job does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Why the job is held back.
    pub why: HoldReason,
    /// When the hold began.
    pub since: Time,
    /// GitHub's word holds until then. A job that GitHub leaves queued may be tried from then on.
    pub until: Time,
    /// How often the job has been held in a row, this time included.
    pub times: u32,
    /// The runner that sat idle and did not get the job. None: GitHub said that the job waits.
    pub by: Option<InstanceId>,
    /// Whether the job counts all the same, to see whether GitHub gives it to a runner now.
    pub trial: bool,
}

impl Hold {
    pub(crate) fn holds(&self, now: Time) -> bool {
        match self.why {
            HoldReason::Waiting => now < self.until,
            HoldReason::LeftQueued => !self.trial,
        }
    }
}

/// Why GitHub's word is awaited before a queued job counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Why the job is in doubt.
    pub why: DoubtReason,
    /// Whether GitHub has been asked since.
    pub asked: bool,
    /// The job counts without GitHub's word from then on.
    pub until: Time,
}

impl Doubt {
    fn new(why: DoubtReason, since: Time) -> Doubt {
        let unasked = if why == DoubtReason::OldNews { UNASKED } else { why.patience() };
        Doubt { why, asked: false, until: since + unasked }
    }
}

/// When GitHub was asked about a job, and when it may be asked again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confirmation {
    /// When GitHub last answered. None: GitHub has not.
    pub answered: Option<Time>,
    /// How often muster asked.
    pub times: u32,
    /// No question is asked before this time.
    pub not_before: Time,
    /// Whether a question is under way.
    pub in_flight: bool,
}

impl Job {
    pub(crate) fn heard_of(route: Route, event: &JobEvent, now: Time) -> Job {
        let old = event.queued_at.is_some_and(|at| now.since(at) >= OLD_NEWS);
        Job {
            event: JobEvent { waiting: false, ..event.clone() },
            first_seen: now,
            since: now,
            ready: now,
            sure: now,
            started: None,
            lost_runner: None,
            uninvited: false,
            messages: BTreeSet::new(),
            route,
            handed_over: false,
            redelivered: false,
            doubt: old.then(|| Doubt::new(DoubtReason::OldNews, now)),
            hold: None,
            late: (now, BTreeSet::new()),
            told: now,
            check: Confirmation::default(),
        }
    }

    /// Whether a runner should exist for the job: the job is queued, its pool's delay is over, it is not held back, and it is not
    /// in doubt.
    pub fn counts(&self, delay: Duration, now: Time) -> bool {
        self.event.state == JobState::Queued && !self.held(now) && self.confirmed(now) && now.since(self.first_seen) >= delay
    }

    /// When the queued job may begin to count by the passing of time alone. None: it counts, or waits for news.
    pub(crate) fn counts_at(&self, delay: Duration, now: Time) -> Option<Time> {
        let hold = self.hold.as_ref().filter(|hold| hold.why == HoldReason::Waiting).map(|hold| hold.until);
        let waits_until = [Some(self.first_seen + delay), self.doubt.map(|doubt| doubt.until), hold];
        waits_until.into_iter().flatten().filter(|until| *until > now).min()
    }

    /// Whether nothing makes muster doubt that the job is still queued, GitHub said so, or GitHub had the time to say so.
    ///
    /// Decision 0010, row 4, and decision 0019.
    pub fn confirmed(&self, now: Time) -> bool {
        self.doubt.is_none_or(|doubt| now >= doubt.until)
    }

    /// Whether GitHub's last word is that the job may not start yet.
    pub fn waits(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.why == HoldReason::Waiting)
    }

    /// Whether the job is held back at the moment.
    pub fn held(&self, now: Time) -> bool {
        self.hold.as_ref().is_some_and(|h| h.holds(now))
    }

    /// Since when the job has counted without a break: since it asked for a runner, or since its last hold ended.
    pub fn counted_since(&self) -> Time {
        self.hold.as_ref().filter(|h| h.why == HoldReason::Waiting).map_or(self.since, |h| h.until.max(self.since))
    }

    /// Since when GitHub has not said that the job may not start. A hold by an idle runner's evidence is no word of GitHub.
    pub fn ready_since(&self) -> Time {
        self.hold.as_ref().filter(|h| h.why == HoldReason::Waiting).map_or(self.ready, |h| h.until.max(self.ready))
    }

    /// The job asks for a runner from now on: it came to its pool, or GitHub let it go.
    pub(super) fn asks_anew(&mut self, now: Time) {
        (self.since, self.ready, self.sure) = (now, now, now);
    }

    /// Whether a step of `startWithin` was taken for the job.
    pub fn took_step(&self, act: LateAct) -> bool {
        self.late.0 == self.ready_since() && self.late.1.contains(&act)
    }

    /// Notes a step of `startWithin`. Returns whether it is the first of its kind.
    pub(crate) fn take_step(&mut self, act: LateAct) -> bool {
        let since = self.ready_since();
        if self.late.0 != since {
            self.late = (since, BTreeSet::new());
        }
        self.late.1.insert(act)
    }

    /// muster asks GitHub about the job now, and not again before `next`. Whoever doubts the job waits for this answer.
    pub(crate) fn asked(&mut self, next: Time, now: Time) {
        self.check = Confirmation { in_flight: true, not_before: next, times: self.check.times + 1, ..self.check };
        if let Some(doubt) = &mut self.doubt {
            (doubt.asked, doubt.until) = (true, doubt.until.min(now + doubt.why.patience()));
        }
    }

    /// The question to GitHub that began at `began` has ended. Returns whether its answer, if there is one, is newer than what
    /// events told.
    pub(crate) fn answered(&mut self, answer: bool, began: Time, now: Time) -> bool {
        let news = began >= self.told;
        self.check.in_flight = false;
        match (answer, news) {
            (true, true) => self.check.answered = Some(now),
            (true, false) => self.check.not_before = now,
            // The job's runner may have been lost since the question.
            (false, _) => self.check.not_before = self.check.not_before.max(now + HELD_ASKED),
        }
        answer && news
    }

    /// Has GitHub asked about the job within [`HELD_ASKED`].
    pub(crate) fn ask_soon(&mut self, now: Time) {
        if !self.check.in_flight {
            self.check.not_before = self.check.not_before.min(now + HELD_ASKED);
        }
    }

    /// The job's runner is lost, so the job may be over. GitHub is asked as soon as about a held job, and then again in growing steps,
    /// whatever was asked while the job was queued.
    pub(crate) fn ask_anew(&mut self, now: Time) {
        self.check = Confirmation { times: 0, not_before: self.check.not_before.min(now + HELD_ASKED), ..self.check };
    }

    /// The held job counts from now on, to see whether GitHub gives it to a runner.
    pub(super) fn on_trial(&mut self, now: Time) {
        self.since = now;
        if let Some(hold) = &mut self.hold {
            hold.trial = true;
        }
    }

    /// A new event of the queued job says whether the job may start. SQS repeats messages, and a known one is no news.
    pub(super) fn told_queued(&mut self, waiting: bool, now: Time) {
        self.told = now;
        if waiting {
            self.check.not_before = now + WAITING_CONFIRMED;
            self.told_waiting(now);
        } else if self.hold.take().is_some_and(|hold| hold.holds(now)) {
            // GitHub has let the job go, or this is the late copy of an event from before the hold. GitHub says which.
            self.asks_anew(now);
            self.doubted(DoubtReason::ToldAgain, now, now);
        } else {
            // GitHub may have let the job go whose wait nobody told. No run is cancelled for that time.
            self.sure = now;
        }
    }

    /// GitHub says that the job may not start yet.
    pub(super) fn told_waiting(&mut self, now: Time) {
        if self.event.state == JobState::Queued {
            let same = self.hold.take().filter(|h| h.why == HoldReason::Waiting && now < h.until);
            let (since, times) = same.map_or((now, 0), |h| (h.since, h.times));
            self.hold = Some(Hold { why: HoldReason::Waiting, since, until: now + WAITING, times, by: None, trial: false });
            self.doubt = None;
        }
    }

    /// Lets the job count only once GitHub has confirmed that it is queued.
    pub(super) fn doubted(&mut self, why: DoubtReason, since: Time, now: Time) {
        self.doubt = Some(Doubt::new(why, since));
        self.check.not_before = now;
    }

    /// The pool that the job counts for. None: no pool takes the job.
    pub fn pool(&self) -> Option<&PoolName> {
        match &self.route {
            Route::Pool(name) => Some(name),
            Route::Unmatched(_) | Route::Foreign(_) => None,
        }
    }
}
