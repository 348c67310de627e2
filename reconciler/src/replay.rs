//! Reads a record: the same core, as it was at some time, and where this muster decides otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::controller::Controller;
use crate::effect::{Effect, Input, InstanceSighting, Outcome, RunnerSighting, Swept};
use crate::failure::{Failure, FailureKind};
use crate::ids::{EffectId, ListId};
use crate::manifest::Spec;
use crate::record::{Beginning, Decided, FORMAT, RecordEntry, RecordLine};
use crate::time::Time;

/// How long a decision may wait for its like on the other side before it counts as a difference.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an effect that the record does not know waits for an outcome. The driver waits as long.
const UNANSWERED: Duration = Duration::from_secs(120);

/// Why a line cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum NotPlayed {
    /// The line is no line of a record.
    #[error("not a line of a record ({0}); the record was cut off or edited here")]
    Unreadable(#[from] serde_json::Error),
    /// Somebody newer wrote the record.
    #[error(
        "the record has format {0}, written by muster {1}; this muster reads format {FORMAT}: take muster {1} or newer to replay it"
    )]
    Newer(u32, String),
    /// The record does not begin here.
    #[error("the record does not begin here; begin with the start of its process, or with the start of an hour")]
    NotBegun,
    /// A list says what changed, and the list before is not this one.
    #[error("a sweep refers to one that is not in the record; lines are missing before it")]
    Gap,
    /// The time goes back.
    #[error("the time goes back from {0} to {1}; two processes wrote into one record, or its parts are out of order")]
    TimeGoesBack(u64, u64),
}

/// How a decision differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// The record has it, and this muster does not decide it.
    OnlyRecorded,
    /// This muster decides it, and the record does not have it.
    OnlyHere,
    /// Both decide it, at different times.
    OtherTime,
    /// Both decide it at once, for another reason or with other details.
    OtherDetails,
}

/// One decision that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// When the first of the two decided it.
    pub at: Time,
    /// How it differs.
    pub differs: Differs,
    /// What is decided.
    pub what: String,
    /// The reason in the record. None: the record does not have the decision, or leaves reasons out.
    pub recorded_why: Option<String>,
    /// The reason here. None: it is not decided here.
    pub why_here: Option<String>,
    /// How much later the second of the two decided it, in milliseconds.
    pub later_ms: u64,
}

/// A decision of one side that waits for its like on the other.
#[derive(Clone, Debug)]
struct Lonely {
    at: Time,
    decided: Decided,
}

/// A core that a record is played to.
#[derive(Clone, Debug)]
pub struct Player {
    controller: Option<Controller>,
    /// Manifests that stand in for the recorded ones.
    other: Option<Arc<Spec>>,
    names: bool,
    process: String,
    at: Time,
    instances: Vec<InstanceSighting>,
    runners: BTreeMap<ListId, Vec<RunnerSighting>>,
    /// This core's effect for each effect of the record that has no outcome yet.
    effects: BTreeMap<EffectId, EffectId>,
    recorded: Vec<Lonely>,
    here: Vec<Lonely>,
    /// Effects that the record knows nothing of, and since when they wait for an outcome.
    unanswered: BTreeMap<EffectId, Time>,
    differences: Vec<Difference>,
    decisions: u64,
}

impl Player {
    /// A player of a record from its beginning. With `other`, the core gets these manifests instead of the recorded ones.
    pub fn new(other: Option<Arc<Spec>>) -> Player {
        Player {
            controller: None,
            other,
            names: true,
            process: String::new(),
            at: Time::ZERO,
            instances: Vec::new(),
            runners: BTreeMap::new(),
            effects: BTreeMap::new(),
            recorded: Vec::new(),
            here: Vec::new(),
            unanswered: BTreeMap::new(),
            differences: Vec::new(),
            decisions: 0,
        }
    }

    /// The core, once the record has begun.
    pub fn controller(&mut self) -> Option<&mut Controller> {
        self.controller.as_mut()
    }

    /// The time of the last line.
    pub fn at(&self) -> Time {
        self.at
    }

    /// The process whose core it is. Empty: the record has not begun.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// How many decisions the record had so far.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// The decisions that differ so far, the oldest first. Those of the last minute may still find their like.
    pub fn differences(&mut self, over: bool) -> &[Difference] {
        if over {
            self.give_up_on(Time::FAR);
        }
        self.differences.sort_by_key(|d| d.at);
        &self.differences
    }

    /// The time of a line. None: it is no line of a record.
    pub fn time_of(line: &str) -> Option<Time> {
        // The time comes first, and a day has a million lines.
        let digits = line.strip_prefix(r#"{"at":"#)?;
        digits.split_once(',')?.0.parse().ok().map(Time::from_millis)
    }

    /// Plays one line.
    ///
    /// # Errors
    /// When the line cannot be read, or does not go on where the last one ended. The core is as it was then.
    pub fn play(&mut self, line: &str) -> Result<(), NotPlayed> {
        // A newer form may be unreadable, and says so only in its version.
        let RecordLine { at, entry, decided } =
            serde_json::from_str(line).map_err(|error| newer(line).unwrap_or(error.into()))?;
        if at < self.at {
            return Err(NotPlayed::TimeGoesBack(self.at.as_millis(), at.as_millis()));
        }
        if !matches!(entry, RecordEntry::Begin(_)) && self.controller.is_none() {
            return Err(NotPlayed::NotBegun);
        }
        let input = match entry {
            RecordEntry::Begin(beginning) => return self.begin(*beginning, at),
            RecordEntry::Order(order) => {
                self.at = at;
                // What came of it was told to the operator then.
                self.controller.as_mut().map(|controller| controller.order(&order, at));
                return Ok(());
            }
            RecordEntry::Input(input) => input.into_owned(),
            RecordEntry::Instances(id, edits) => {
                let list = edits.applied(std::mem::take(&mut self.instances), |member| member).ok_or(NotPlayed::Gap)?;
                self.instances.clone_from(&list);
                Input::Outcome(id, Outcome::Swept(Swept::Instances(list)))
            }
            RecordEntry::Runners(id, list_id, edits) => {
                let before = self.runners.entry(list_id).or_default();
                let list = edits.applied(std::mem::take(before), |member| member).ok_or(NotPlayed::Gap)?;
                before.clone_from(&list);
                Input::Outcome(id, Outcome::Swept(Swept::Runners(Some(list))))
            }
        };
        self.at = at;
        self.answer_the_unknown();
        let effects = self.here(input).map(|input| self.step(input));
        self.compare(effects.unwrap_or_default(), decided);
        self.give_up_on(at);
        Ok(())
    }

    fn begin(&mut self, beginning: Beginning, at: Time) -> Result<(), NotPlayed> {
        let Beginning { format, version, process, first, names_left_out, stands_by, paused, heard } = beginning;
        if format > FORMAT {
            return Err(NotPlayed::Newer(format, version));
        }
        self.at = at;
        // What is written anew is known from the lines before. Only the lists begin anew.
        self.instances.clear();
        self.runners.clear();
        if self.process == process && !first {
            return Ok(());
        }
        *self = Player {
            differences: std::mem::take(&mut self.differences),
            decisions: self.decisions,
            ..Player::new(self.other.take())
        };
        (self.at, self.names) = (at, !names_left_out);
        let mut controller = Controller::new(&process, at);
        controller.set_paused(paused);
        if stands_by {
            controller.stand_by();
        }
        self.process = process;
        self.controller = Some(controller);
        if let Some(heard) = heard {
            let spec = self.other.clone().unwrap_or(heard.spec);
            for input in [
                Input::Releases(heard.releases),
                Input::Groups(heard.groups),
                Input::Versions(heard.versions),
                Input::Spec(spec),
                Input::Messages(heard.messages),
            ] {
                let effects = self.step(input);
                self.compare(effects, Vec::new());
            }
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let Some(controller) = &mut self.controller else { return Vec::new() };
        let effects = controller.step(self.at, input);
        // Facts are for metrics, and nobody counts here.
        drop(controller.take_facts());
        effects
    }

    /// The input, as it is for this core. None: it is the outcome of an effect that this core did not decide.
    fn here(&mut self, input: Input) -> Option<Input> {
        match input {
            Input::Outcome(id, outcome) => Some(Input::Outcome(self.effects.remove(&id)?, outcome)),
            Input::Spec(spec) => Some(Input::Spec(self.other.clone().unwrap_or(spec))),
            other => Some(other),
        }
    }

    /// Finds for each decision its like on the other side.
    fn compare(&mut self, effects: Vec<Effect>, recorded: Vec<Decided>) {
        self.decisions += recorded.len() as u64;
        for effect in effects {
            let decided = Decided::of(&effect, self.names);
            self.unanswered.insert(effect.id, self.at);
            self.here.push(Lonely { at: self.at, decided });
        }
        self.recorded.extend(recorded.into_iter().map(|decided| Lonely { at: self.at, decided }));
        let mut lonely = Vec::new();
        for theirs in std::mem::take(&mut self.recorded) {
            let Some(found) = self.here.iter().position(|ours| ours.decided.1 == theirs.decided.1) else {
                lonely.push(theirs);
                continue;
            };
            let ours = self.here.remove(found);
            self.unanswered.remove(&ours.decided.0);
            self.effects.insert(theirs.decided.0, ours.decided.0);
            let (first, second) = (ours.at.min(theirs.at), ours.at.max(theirs.at));
            let differs = match (first == second, ours.decided.3 == theirs.decided.3) {
                (true, true) => continue,
                (true, false) => Differs::OtherDetails,
                (false, _) => Differs::OtherTime,
            };
            self.differences.push(Difference {
                at: first,
                differs,
                later_ms: second.since(first).as_millis().try_into().unwrap_or(u64::MAX),
                what: theirs.decided.1,
                recorded_why: Some(theirs.decided.2).filter(|why| !why.is_empty()),
                why_here: Some(ours.decided.2).filter(|why| !why.is_empty()),
            });
        }
        self.recorded = lonely;
    }

    /// Decisions that have waited long enough for their like are differences.
    fn give_up_on(&mut self, now: Time) {
        let (recorded, here) = (std::mem::take(&mut self.recorded), std::mem::take(&mut self.here));
        let old = |lonely: &Lonely| now.since(lonely.at) >= PATIENCE;
        for (all, differs) in [(recorded, Differs::OnlyRecorded), (here, Differs::OnlyHere)] {
            let (given_up, wait): (Vec<Lonely>, Vec<Lonely>) = all.into_iter().partition(old);
            for Lonely { at, decided } in given_up {
                let why = Some(decided.2).filter(|why| !why.is_empty());
                let (recorded_why, why_here) = if differs == Differs::OnlyRecorded { (why, None) } else { (None, why) };
                self.differences.push(Difference { at, differs, what: decided.1, recorded_why, why_here, later_ms: 0 });
            }
            if differs == Differs::OnlyRecorded { self.recorded = wait } else { self.here = wait }
        }
    }

    /// An effect that the record knows nothing of gets the outcome of a call that nobody answered.
    fn answer_the_unknown(&mut self) {
        let old = |since: &Time| self.at.since(*since) >= UNANSWERED;
        let due: Vec<EffectId> = self.unanswered.iter().filter(|(_, since)| old(since)).map(|(id, _)| *id).collect();
        for id in due {
            self.unanswered.remove(&id);
            let failure = Failure::new(FailureKind::Ambiguous, "the record has no answer to this");
            let effects = self.step(Input::Outcome(id, Outcome::Failed(failure)));
            self.compare(effects, Vec::new());
        }
    }
}

/// The error of a line that a newer muster wrote. None: the line does not say that.
fn newer(line: &str) -> Option<NotPlayed> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let beginning = line.get("entry")?.get("begin")?;
    let format = u32::try_from(beginning.get("format")?.as_u64()?).ok()?;
    let version = beginning.get("version").and_then(|v| v.as_str()).unwrap_or("?");
    (format > FORMAT).then(|| NotPlayed::Newer(format, version.to_owned()))
}
