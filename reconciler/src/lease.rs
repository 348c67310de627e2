//! The lease: of several processes, one acts. The others stand by.
//!
//! The lease is one small object that is only ever written over the version that its writer has read. Each write changes it, so
//! whoever reads the same version twice knows that nobody wrote in between. Nobody compares two machines' clocks: the holder counts
//! from the moment at which its last successful write *began*, and the others count from the moment at which they *saw* that write.
//!
//! The object also lists the launches that the holder is about to ask EC2 for. A launch is written down before the call. Because a write
//! over an older version fails, a process that lost the lease can write no launch down, and so launches nothing. A call that it had in its
//! hand when it was stopped is in the list, and the successor asks EC2 for the same launch with the same token.
//!
//! Decision 0029. This module makes no call: [`Lease::next`] says what to do, and [`Lease::heard`] is told the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::Outcome;
use crate::ids::Intent;
use crate::launch::{Inheritance, Launch, LaunchRecord};
use crate::time::{Time, human};

/// For how long the lease holds after its holder began the last write, and for how long the others wait before they take it.
pub const LASTS: Duration = Duration::from_secs(18);

/// How often the holder writes. Two writes in a row may fail without harm.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How often a process that stands by reads.
pub const READ_EVERY: Duration = Duration::from_secs(2);

/// The longest time for one call of S3. A call that takes longer counts as unanswered.
pub const CALL_DEADLINE: Duration = Duration::from_secs(4);

/// The pause after a call that failed.
const RETRY: Duration = Duration::from_millis(500);

/// For how long an answered launch stays in the list: EC2 may hide its instances for 30 s, and a successor may need 30 s to take over.
const KEPT: Duration = Duration::from_secs(60);

/// For how long a launch without an answer stays in the list. By then its call is over, and sweeps have shown what came of it.
const FORGOTTEN: Duration = Duration::from_secs(180);

/// The version of [`LeaseObject`]. A release refuses the object of a newer version.
const VERSION: u32 = 1;

/// What the object holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseObject {
    /// The version of this form.
    pub version: u32,
    /// One more for each new holder.
    pub term: u64,
    /// The process that holds the lease. None: the last holder has ended and left the lease to whoever comes first.
    pub holder: Option<String>,
    /// One more for each write of a term, so that no two writes have the same content.
    pub turn: u64,
    /// When this was written, in milliseconds since 1970 by the holder's clock. For people; no decision reads it.
    pub written: u64,
    /// The launches that the holder has asked EC2 for, or is about to.
    pub launches: Vec<LaunchRecord>,
}

impl LeaseObject {
    /// Reads the object.
    ///
    /// # Errors
    /// When it has another form, or a newer version's.
    pub fn from_json(bytes: &[u8]) -> Result<LeaseObject, String> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let form: Form = serde_json::from_slice(bytes).map_err(|e| format!("it is no lease of muster ({e})"))?;
        if form.version > VERSION {
            return Err(format!("a newer release of muster wrote it (version {}, this one knows {VERSION})", form.version));
        }
        serde_json::from_slice(bytes).map_err(|e| format!("it is no lease of muster ({e})"))
    }

    /// Writes the object.
    pub fn to_json(&self) -> Vec<u8> {
        // Only maps whose keys are no text cannot be written, and there are none.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseStep {
    /// Read the object, and tell [`LeaseAnswer::Read`].
    Read,
    /// Write the object over the version with this ETag, or only if there is no object (None), and tell [`LeaseAnswer::Written`].
    Write(LeaseObject, Option<String>),
    /// Nothing, until this time or a change.
    Wait(Time),
    /// This process does not hold the lease any more. The text says why. Empty: it gave the lease back.
    Over(String),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseAnswer {
    /// What is there, with its ETag. None: there is no object. Err: the object cannot be understood, or S3 did not answer.
    Read(Result<Option<(LeaseObject, String)>, LeaseUnread>),
    /// The object is written and has this ETag. None: the version was not the newest, and nothing was written. Err: it is not known
    /// whether it was written.
    Written(Result<Option<String>, String>),
}

/// Why there is no object to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseUnread {
    /// S3 did not answer, or refused.
    NoAnswer(String),
    /// The object cannot be understood. It has this ETag.
    NotUnderstood(String),
}

/// The version that a process that stands by has seen.
#[derive(Clone, Debug, PartialEq)]
struct LeaseVersion {
    /// None: there is no object.
    etag: Option<String>,
    since: Time,
    object: LeaseObject,
    /// When this process first tried to take the lease over this version.
    tried: Option<Time>,
}

#[derive(Clone, Debug, PartialEq)]
enum LeaseState {
    /// Another process holds the lease, or nobody.
    StandsBy(Option<LeaseVersion>),
    /// A write that would take the lease is under way, or ended without an answer.
    Takes(LeaseVersion),
    /// This process holds the lease until `sure`, and the object has this ETag. None: a write had no answer, so the object is read
    /// first.
    Holds {
        etag: Option<String>,
        sure: Time,
        renew: Time,
    },
    Over(String),
}

/// One process's part in the lease.
#[derive(Clone, Debug)]
pub struct Lease {
    process: String,
    state: LeaseState,
    term: u64,
    turn: u64,
    /// No call begins before this time.
    not_before: Time,
    /// What the last call failed of.
    trouble: Option<String>,
    launches: BTreeMap<Intent, KnownLaunch>,
    /// When the last write began, or a little earlier.
    wrote: Time,
    /// What that write holds.
    writing: BTreeSet<Intent>,
    inheritance: Option<Inheritance>,
    leaving: bool,
    /// Whether the last write gave the lease back.
    gave_back: bool,
}

#[derive(Clone, Debug)]
struct KnownLaunch {
    record: LaunchRecord,
    /// Whether a successful write holds the launch.
    written: bool,
    /// Whether a call may have had an effect and had no certain answer.
    unsure: bool,
    touched: Time,
}

impl Lease {
    /// The part of a process that has read nothing yet. `process` is unique for every start of a process.
    pub fn new(process: &str) -> Lease {
        Lease {
            process: process.to_owned(),
            state: LeaseState::StandsBy(None),
            term: 0,
            turn: 0,
            not_before: Time::ZERO,
            trouble: None,
            launches: BTreeMap::new(),
            wrote: Time::ZERO,
            writing: BTreeSet::new(),
            inheritance: None,
            leaving: false,
            gave_back: false,
        }
    }

    /// Until when this process surely holds the lease. None: it does not, or is about to give it back.
    pub fn sure_until(&self) -> Option<Time> {
        match &self.state {
            LeaseState::Holds { sure, .. } if !self.leaving => Some(*sure),
            _ => None,
        }
    }

    /// Takes what the predecessor left, once, when this process begins to hold the lease. None if the answer came so late that the
    /// lease may be another's by now.
    pub fn take_inheritance(&mut self, now: Time) -> Option<Inheritance> {
        self.inheritance.take().filter(|_| self.sure_until().is_some_and(|sure| now < sure))
    }

    /// The sentence of a process that stands by. None: it does not.
    pub fn stands_by(&self, now: Time) -> Option<String> {
        let (LeaseState::StandsBy(Some(seen)) | LeaseState::Takes(seen)) = &self.state else {
            let unread = matches!(self.state, LeaseState::StandsBy(None));
            let why = self.trouble.clone().map(|t| format!(": {t}")).unwrap_or_default();
            return unread.then(|| format!("this process stands by: it has not read the lease yet{why}"));
        };
        let trouble = self.trouble.as_ref().map(|t| format!("; the last look failed: {t}")).unwrap_or_default();
        let silent = human(now.since(seen.since));
        Some(match &seen.object.holder {
            Some(holder) => format!(
                "this process stands by: by the object, `{holder}` holds the lease (term {}); no newer write was seen for {silent}{trouble}",
                seen.object.term
            ),
            None => format!("this process stands by: nobody holds the lease, and it will try to take it{trouble}"),
        })
    }

    /// A launch is about to be asked for. It may be, once [`Lease::admits`] says so.
    pub fn record(&mut self, launch: &Arc<Launch>, now: Time) {
        let new = || KnownLaunch {
            record: LaunchRecord { launch: launch.clone(), launched: None },
            written: false,
            unsure: false,
            touched: now,
        };
        self.launches.entry(launch.intent.clone()).or_insert_with(new).touched = now;
    }

    /// Whether the launch is written down, and this process surely holds the lease.
    pub fn admits(&self, intent: &Intent, now: Time) -> bool {
        self.sure_until().is_some_and(|sure| now < sure) && self.launches.get(intent).is_some_and(|known| known.written)
    }

    /// The outcome of a launch.
    pub fn launch_ended(&mut self, intent: &Intent, outcome: &Outcome, now: Time) {
        let Some(known) = self.launches.get_mut(intent) else { return };
        known.touched = now;
        match outcome {
            Outcome::Launched(answer) => known.record.launched = Some(answer.instances.clone()),
            // A call that may have had an effect is settled by an answer only.
            Outcome::Failed(failure) if !failure.kind.may_have_worked() && !known.unsure => {
                known.record.launched = Some(Vec::new());
            }
            _ => known.unsure = true,
        }
    }

    /// The process ends. The lease goes to whoever comes first.
    pub fn leave(&mut self) {
        // Told again, it does not cut the pause after a failed call short.
        if !std::mem::replace(&mut self.leaving, true) {
            self.not_before = Time::ZERO;
        }
    }

    /// What to do now. One call at a time.
    pub fn next(&mut self, now: Time) -> LeaseStep {
        if let LeaseState::Holds { sure, .. } = self.state
            && now >= sure
        {
            let why = self.trouble.take().unwrap_or_else(|| "the process was stopped, or had no time to run".into());
            self.state = LeaseState::Over(format!("the lease could not be renewed for {}: {why}", human(LASTS)));
        }
        if now < self.not_before && !matches!(self.state, LeaseState::Over(_)) {
            let sure = self.sure_until().unwrap_or(Time::FAR);
            return LeaseStep::Wait(self.not_before.min(sure));
        }
        match &self.state {
            LeaseState::Over(why) => LeaseStep::Over(why.clone()),
            LeaseState::StandsBy(_) | LeaseState::Takes(_) if self.leaving => LeaseStep::Over(String::new()),
            LeaseState::StandsBy(Some(seen)) if seen.may_be_taken(now) => {
                let seen = LeaseVersion { tried: seen.tried.or(Some(now)), ..seen.clone() };
                // A second try is another write than the first, which may still arrive.
                self.turn = if self.term == seen.object.term + 1 { self.turn } else { 0 };
                self.term = seen.object.term + 1;
                self.launches.clear();
                for record in &seen.object.launches {
                    // The predecessor may have called, or may yet call.
                    let known = KnownLaunch { record: record.clone(), written: false, unsure: true, touched: now };
                    self.launches.insert(record.launch.intent.clone(), known);
                }
                let over = seen.etag.clone();
                self.state = LeaseState::Takes(seen);
                self.write(Some(self.process.clone()), over, now)
            }
            LeaseState::StandsBy(_) | LeaseState::Takes(_) => LeaseStep::Read,
            LeaseState::Holds { etag: None, .. } => LeaseStep::Read,
            LeaseState::Holds { etag: Some(etag), sure, renew } => {
                let (over, unwritten) = (etag.clone(), self.launches.values().any(|known| !known.written));
                if self.leaving {
                    self.write(None, Some(over), now)
                } else if unwritten || now >= *renew {
                    self.write(Some(self.process.clone()), Some(over), now)
                } else {
                    LeaseStep::Wait((*renew).min(*sure))
                }
            }
        }
    }

    /// The answer to the call that [`Lease::next`] asked for.
    pub fn heard(&mut self, answer: LeaseAnswer, now: Time) {
        match answer {
            LeaseAnswer::Read(read) => self.heard_read(read, now),
            LeaseAnswer::Written(written) => self.heard_written(written, now),
        }
    }

    fn write(&mut self, holder: Option<String>, over: Option<String>, now: Time) -> LeaseStep {
        self.turn += 1;
        self.wrote = now;
        self.gave_back = holder.is_none();
        self.launches
            .retain(|_, known| now.since(known.touched) < if known.record.launched.is_some() { KEPT } else { FORGOTTEN });
        self.writing = self.launches.keys().cloned().collect();
        let launches = self.launches.values().map(|known| known.record.clone()).collect();
        let (version, written) = (VERSION, now.as_millis());
        LeaseStep::Write(LeaseObject { version, term: self.term, holder, turn: self.turn, written, launches }, over)
    }

    fn heard_read(&mut self, read: Result<Option<(LeaseObject, String)>, LeaseUnread>, now: Time) {
        let (etag, object) = match read {
            Ok(Some((object, etag))) => (Some(etag), object),
            Ok(None) => (None, LeaseObject::default()),
            Err(LeaseUnread::NoAnswer(why)) => {
                self.trouble = Some(why);
                self.not_before = now + RETRY;
                return;
            }
            Err(LeaseUnread::NotUnderstood(why)) => {
                // Nobody knows who wrote it, so nobody takes it.
                self.trouble = Some(why.clone());
                self.not_before = now + READ_EVERY;
                self.state = match self.state {
                    LeaseState::Holds { .. } => LeaseState::Over(why),
                    _ => LeaseState::StandsBy(None),
                };
                return;
            }
        };
        self.trouble = None;
        let mine = object.holder.as_deref() == Some(self.process.as_str()) && object.term == self.term;
        match &self.state {
            LeaseState::Takes(seen) if mine => {
                let seen = seen.clone();
                self.begin(&seen, etag);
            }
            // The write that would have taken the lease had no effect so far.
            LeaseState::Takes(seen) if seen.etag == etag => self.state = LeaseState::StandsBy(Some(seen.clone())),
            LeaseState::Holds { sure, renew, .. } if mine => self.state = LeaseState::Holds { etag, sure: *sure, renew: *renew },
            LeaseState::Holds { .. } if self.gave_back && object.holder.is_none() && object.term == self.term => {
                self.state = LeaseState::Over(String::new());
            }
            LeaseState::Holds { .. } => {
                let other = object.holder.map_or_else(|| "somebody".to_owned(), |holder| format!("`{holder}`"));
                self.state = LeaseState::Over(match etag {
                    None => "somebody deleted the lease".to_owned(),
                    Some(_) => format!("{other} took the lease (term {})", object.term),
                });
            }
            LeaseState::StandsBy(Some(seen)) if seen.etag == etag => self.not_before = seen.next_look(now),
            LeaseState::StandsBy(_) | LeaseState::Takes(_) => {
                let seen = LeaseVersion { etag, since: now, object, tried: None };
                self.not_before = seen.next_look(now);
                self.state = LeaseState::StandsBy(Some(seen));
            }
            LeaseState::Over(_) => {}
        }
    }

    fn heard_written(&mut self, written: Result<Option<String>, String>, now: Time) {
        match (written, &self.state) {
            (Ok(Some(etag)), LeaseState::Takes(seen)) => {
                let seen = seen.clone();
                self.begin(&seen, Some(etag));
            }
            (Ok(Some(_)), LeaseState::Holds { .. }) if self.gave_back => self.state = LeaseState::Over(String::new()),
            (Ok(Some(etag)), LeaseState::Holds { .. }) => {
                self.trouble = None;
                self.note_written();
                self.state = LeaseState::Holds { etag: Some(etag), sure: self.wrote + LASTS, renew: self.wrote + RENEW_EVERY };
            }
            // Somebody wrote, perhaps this process, with a write that had no answer. The object tells.
            (Ok(None), LeaseState::Takes(_)) => self.not_before = now,
            (Ok(None), LeaseState::Holds { sure, renew, .. }) => {
                self.state = LeaseState::Holds { etag: None, sure: *sure, renew: *renew };
            }
            (Err(why), state) => {
                self.trouble = Some(why);
                self.not_before = now + RETRY;
                if let LeaseState::Holds { sure, renew, .. } = state {
                    self.state = LeaseState::Holds { etag: None, sure: *sure, renew: *renew };
                }
            }
            (Ok(_), LeaseState::StandsBy(_) | LeaseState::Over(_)) => {}
        }
    }

    /// This process holds the lease from now on. The others may have seen its write as soon as the first try of it began.
    fn begin(&mut self, seen: &LeaseVersion, etag: Option<String>) {
        self.trouble = None;
        self.note_written();
        let launches = seen.etag.as_ref().map(|_| seen.object.launches.clone());
        self.inheritance = Some(Inheritance { term: self.term, launches });
        let began = seen.tried.unwrap_or(seen.since);
        self.state = LeaseState::Holds { etag, sure: began + LASTS, renew: began + RENEW_EVERY };
    }

    fn note_written(&mut self) {
        for intent in std::mem::take(&mut self.writing) {
            self.launches.entry(intent).and_modify(|known| known.written = true);
        }
    }
}

impl LeaseVersion {
    /// Whether the holder surely does not hold the lease any more.
    fn may_be_taken(&self, now: Time) -> bool {
        let released = self.etag.is_some() && self.object.holder.is_none();
        released || now.since(self.since) >= LASTS
    }

    fn next_look(&self, now: Time) -> Time {
        if self.may_be_taken(now) { now } else { (now + READ_EVERY).min(self.since + LASTS) }
    }
}
