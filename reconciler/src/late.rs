//! Jobs that no runner takes in time: what GitHub was told of them, and which runs it was asked to cancel.
//!
//! A notice is a status on a commit. It stands for all late jobs of the commit in one pool, so that a matrix of a hundred jobs is one
//! call. GitHub keeps the newest status of each context, so a lost answer or a crash only means that the status is written again.
//!
//! Decision 0027.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cases::Inquiry;
use crate::ids::{AppName, JobId, MessageId, PoolName, RunId};
use crate::time::Time;

/// A notice whose sentence has changed is written again after this time at the earliest.
const REWRITE: Duration = Duration::from_secs(300);

/// How often GitHub may refuse a notice or a cancellation, or take a cancellation that changes nothing, before muster gives up.
const TRIES: u32 = 3;

/// The most notices. Beyond this number, no new one is written.
const MOST: usize = 2_000;

/// For how long a notice that has its last word is remembered, so that the commit's other jobs do not write it again.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What a notice is about.
///
/// Two keys that differ in the App only are equal. GitHub shows the newest status of each context, whoever wrote it. When another App
/// takes over after a change of the manifests, an old notice must not say that no job waits while the new one says that one does.
#[derive(Clone, Debug)]
pub struct NoticeKey {
    /// The App or token whose credentials are used.
    pub app: AppName,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The commit.
    pub sha: String,
    /// The pool of the late jobs. None: no pool takes them.
    pub pool: Option<PoolName>,
}

impl NoticeKey {
    fn place(&self) -> (&str, &str, Option<&PoolName>) {
        (&self.repo, &self.sha, self.pool.as_ref())
    }
}

impl PartialEq for NoticeKey {
    fn eq(&self, other: &NoticeKey) -> bool {
        self.place() == other.place()
    }
}

impl Eq for NoticeKey {}

impl PartialOrd for NoticeKey {
    fn partial_cmp(&self, other: &NoticeKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NoticeKey {
    fn cmp(&self, other: &NoticeKey) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// The state of a commit status, in GitHub's words.
/// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusState {
    /// Jobs wait.
    Pending,
    /// No job waits any more.
    Success,
    /// muster had the run cancelled.
    Error,
}

crate::shown!(StatusState);

impl StatusState {
    /// GitHub's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Error => "error",
        }
    }
}

/// What a notice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeText {
    /// The state.
    pub state: StatusState,
    /// The word of the oldest late job's reason. A new sentence is worth a call only if this word changes.
    pub gist: &'static str,
    /// When this process first heard of that job.
    pub since: Time,
    /// The sentence.
    pub text: String,
    /// The oldest late job, with its run. The notice links to the run.
    pub job: (RunId, JobId),
}

/// One notice.
#[derive(Clone, Debug, PartialEq)]
struct Notice {
    /// What GitHub should show.
    wanted: NoticeText,
    /// Whether an earlier process may have written it.
    perhaps_told: bool,
    /// What GitHub took last from this process, and when.
    said: Option<(NoticeText, Time)>,
    inquiry: Inquiry,
    refusals: u32,
    /// The messages of jobs that have left the queue. They stay on the queue until the notice has its last word, so that a process
    /// that dies leaves the notice to the next one.
    messages: BTreeSet<MessageId>,
    /// Whether jobs of the commit still wait in the pool, although none is late now. Then nothing is said, because the last word would
    /// not be true.
    still: bool,
}

/// Which notices are written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NoticeOrder {
    /// Jobs wait, and their commit does not say so.
    First,
    /// The last word of a notice that this process wrote.
    Last,
    /// Another sentence.
    Again,
    /// The last word of a notice that an earlier process may have written.
    Guess,
}

impl Notice {
    fn order(&self) -> NoticeOrder {
        match (self.wanted.state, &self.said) {
            (StatusState::Pending, None) => NoticeOrder::First,
            (StatusState::Pending, Some(_)) => NoticeOrder::Again,
            (_, Some(_)) => NoticeOrder::Last,
            (_, None) => NoticeOrder::Guess,
        }
    }

    fn is_due(&self, now: Time) -> bool {
        let news = self.said.as_ref().is_none_or(|(said, at)| {
            let other = said.gist != self.wanted.gist && now.since(*at) >= REWRITE;
            said.state != self.wanted.state || other
        });
        let untrue = self.still && self.wanted.state == StatusState::Success;
        news && !untrue && self.refusals < TRIES && self.inquiry.is_due(now)
    }

    /// Whether GitHub shows the last word, or never will.
    fn is_over(&self) -> bool {
        let told = self.said.as_ref().is_some_and(|(said, _)| said.state == self.wanted.state);
        self.wanted.state != StatusState::Pending && !self.inquiry.is_open() && (told || self.refusals >= TRIES)
    }
}

/// The order to cancel a run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cancellation {
    inquiry: Inquiry,
    /// How often GitHub answered.
    answers: u32,
    /// When GitHub was last asked.
    asked_at: Option<Time>,
}

/// All notices, and the runs that GitHub is asked to cancel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LateJobs {
    notices: BTreeMap<NoticeKey, Notice>,
    cancels: BTreeMap<RunId, Cancellation>,
}

impl LateJobs {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.cancels.is_empty()
    }

    /// The commits that have notices.
    pub fn commits(&self) -> BTreeSet<(&str, &str)> {
        self.notices.keys().map(|key| (key.repo.as_str(), key.sha.as_str())).collect()
    }

    /// Takes over which jobs are late: exactly these. `still` has the keys of all queued jobs, late or not. A notice whose jobs all have
    /// left the queue gets its last word. Returns the messages that no notice needs any more.
    pub fn set_waiting(
        &mut self,
        waiting: BTreeMap<NoticeKey, NoticeText>,
        still: &BTreeSet<NoticeKey>,
        now: Time,
    ) -> Vec<MessageId> {
        let mut unneeded = Vec::new();
        self.notices.retain(|key, notice| {
            notice.still = still.contains(key);
            if notice.wanted.state == StatusState::Pending && !notice.still && !waiting.contains_key(key) {
                notice.wanted = last_word(key, notice.wanted.job, notice.wanted.since);
            }
            let unheard = notice.wanted.state == StatusState::Success && !notice.perhaps_told && !notice.inquiry.was_asked();
            if unheard || notice.is_over() {
                unneeded.extend(std::mem::take(&mut notice.messages));
            }
            let old = notice.said.as_ref().is_none_or(|(_, at)| now.since(*at) >= REMEMBERED);
            !(unheard || notice.is_over() && old)
        });
        for (key, text) in waiting {
            match self.handed_to(&key) {
                // The notice of a cancelled run stays, because its jobs are about to leave the queue. A job that came later is another's.
                Some(notice) if notice.wanted.state == StatusState::Error && text.since <= notice.wanted.since => {}
                Some(notice) => {
                    notice.wanted = text;
                    // The messages of the jobs that wait stand for the notice now.
                    unneeded.extend(std::mem::take(&mut notice.messages));
                }
                None => self.write(key, text, false),
            }
        }
        unneeded.retain(|id| !self.needs(*id));
        unneeded
    }

    /// Whether an open notice needs a message.
    pub fn needs(&self, message: MessageId) -> bool {
        self.notices.values().any(|notice| notice.messages.contains(&message))
    }

    /// Keeps messages of a job that has left the queue, if a notice of the job is open. Returns whether one is.
    pub fn keep(&mut self, key: &NoticeKey, messages: &[MessageId]) -> bool {
        let Some(notice) = self.notices.get_mut(key).filter(|notice| !notice.is_over()) else { return false };
        notice.messages.extend(messages);
        true
    }

    /// A job left the queue of which an earlier process may have told, or whose run was cancelled before. Its notice gets its last
    /// word. `since` is when this process first heard of the job.
    pub fn perhaps_told(&mut self, key: NoticeKey, job: (RunId, JobId), since: Time) {
        let text = last_word(&key, job, since);
        match self.handed_to(&key) {
            Some(notice) if notice.wanted.state == StatusState::Error && since > notice.wanted.since => notice.wanted = text,
            Some(notice) => notice.perhaps_told = true,
            None => self.write(key, text, true),
        }
    }

    /// A run was cancelled, and its commit should say why.
    pub fn cancelled(&mut self, key: NoticeKey, text: String, job: (RunId, JobId), now: Time) {
        let text = NoticeText { state: StatusState::Error, gist: "cancelled", text, job, since: now };
        match self.handed_to(&key) {
            Some(notice) => notice.wanted = text,
            None => self.write(key, text, true),
        }
    }

    /// The notice of a key, which the key's App writes from now on.
    fn handed_to(&mut self, key: &NoticeKey) -> Option<&mut Notice> {
        let notice = self.notices.remove(key)?;
        self.notices.insert(key.clone(), notice);
        self.notices.get_mut(key)
    }

    fn write(&mut self, key: NoticeKey, wanted: NoticeText, perhaps_told: bool) {
        if self.notices.len() >= MOST {
            self.notices.retain(|_, notice| !notice.is_over());
        }
        if self.notices.len() < MOST {
            self.notices.insert(
                key,
                Notice {
                    wanted,
                    perhaps_told,
                    said: None,
                    inquiry: Inquiry::default(),
                    refusals: 0,
                    messages: BTreeSet::new(),
                    still: false,
                },
            );
        }
    }

    /// The notices that are to be written now, in their order.
    pub fn due(&self, now: Time) -> Vec<(NoticeKey, NoticeText)> {
        let mut due: Vec<_> = self.notices.iter().filter(|(_, notice)| notice.is_due(now)).collect();
        due.sort_by_key(|(_, notice)| (notice.order(), notice.wanted.since));
        due.into_iter().map(|(key, notice)| (key.clone(), notice.wanted.clone())).collect()
    }

    /// A notice is being written.
    pub fn asked(&mut self, key: &NoticeKey, now: Time) {
        if let Some(notice) = self.notices.get_mut(key) {
            notice.inquiry.asked(now);
        }
    }

    /// GitHub took a notice.
    pub fn took(&mut self, key: &NoticeKey, text: NoticeText, now: Time) {
        if let Some(notice) = self.notices.get_mut(key) {
            (notice.said, notice.refusals, notice.inquiry) = (Some((text, now)), 0, Inquiry::answered_well());
        }
    }

    /// GitHub did not take a notice, or `perhaps` did. Returns whether muster gives up, just now.
    pub fn not_taken(&mut self, key: &NoticeKey, refused: bool, perhaps: bool, now: Time) -> bool {
        let Some(notice) = self.notices.get_mut(key) else { return false };
        if perhaps {
            // Nobody knows what GitHub shows now, so whatever is wanted next is written.
            (notice.said, notice.perhaps_told) = (None, true);
        }
        notice.inquiry.ended(false, now);
        notice.refusals += u32::from(refused);
        refused && notice.refusals == TRIES
    }

    /// Takes over which runs have late jobs that should be cancelled: exactly these.
    pub fn set_to_cancel(&mut self, runs: &BTreeSet<RunId>, now: Time) {
        let recent = |c: &Cancellation| c.asked_at.is_some_and(|at| now.since(at) < REMEMBERED);
        self.cancels.retain(|run, c| runs.contains(run) || c.inquiry.is_open() || recent(c));
    }

    /// Whether GitHub may be asked now to cancel a run. It is asked three times at most.
    pub fn may_ask_to_cancel(&self, run: RunId, now: Time) -> bool {
        self.cancels.get(&run).is_none_or(|c| c.answers < TRIES && c.inquiry.is_due(now))
    }

    /// When GitHub was last asked to cancel a run. None: it was not, or long ago.
    pub fn cancel_asked_at(&self, run: RunId) -> Option<Time> {
        self.cancels.get(&run)?.asked_at
    }

    /// GitHub is asked to cancel a run.
    pub fn cancel_asked(&mut self, run: RunId, now: Time) {
        let cancellation = self.cancels.entry(run).or_default();
        cancellation.inquiry.asked(now);
        cancellation.asked_at = Some(now);
    }

    /// GitHub answered, or not. A run that GitHub does not cancel in the end is left alone. `is_final` says that the same order would
    /// have the same answer. Returns whether muster gives up, just now.
    pub fn cancel_ended(&mut self, run: RunId, answered: bool, is_final: bool, now: Time) -> bool {
        let Some(cancellation) = self.cancels.get_mut(&run) else { return false };
        cancellation.inquiry.ended(answered, now);
        let before = cancellation.answers;
        cancellation.answers = if is_final { TRIES } else { before + u32::from(answered) };
        before < TRIES && cancellation.answers >= TRIES
    }
}

/// What a notice says once none of its jobs waits.
fn last_word(key: &NoticeKey, job: (RunId, JobId), since: Time) -> NoticeText {
    let text = match &key.pool {
        Some(pool) => format!("no job of this commit waits for pool {pool} any more"),
        None => "no job of this commit waits for a pool any more".into(),
    };
    NoticeText { state: StatusState::Success, gist: "over", text, job, since }
}
