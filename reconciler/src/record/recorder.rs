//! Writes down what enters the core and what it decides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Beginning, Decided, FORMAT, HeardSoFar, ListEdits, RecordEntry, said};
use crate::effect::{Action, Effect, Input, InstanceSighting, JobMessage, Outcome, RunnerSighting, Source, Swept};
use crate::event::JobAbout;
use crate::ids::{EffectId, ListId, MessageId, PoolName};
use crate::steer::{Order, Pause};
use crate::time::Time;

/// The recorder of one process's core. It only makes the lines.
#[derive(Clone, Debug)]
pub struct Recorder {
    version: String,
    process: String,
    names: bool,
    heard: HeardSoFar,
    /// Messages that the core may hold: all that it holds, and some that it held.
    messages: BTreeMap<MessageId, JobMessage>,
    /// The lists that the next ones are told apart from.
    instances: Vec<Arc<InstanceSighting>>,
    runners: BTreeMap<ListId, Vec<Arc<RunnerSighting>>>,
    /// The sweeps of runners under way: the outcome does not name the list.
    sweeps: BTreeMap<EffectId, ListId>,
    lines: Vec<u8>,
}

impl Recorder {
    /// The recorder of a core that was made at `began`. `process`, `stands_by` and `paused` are what the core was made with. Without
    /// `names`, branches, workflows, names of jobs and operators' reasons are left out.
    pub fn new(
        version: &str,
        process: &str,
        names: bool,
        stands_by: bool,
        paused: &BTreeMap<PoolName, Pause>,
        began: Time,
    ) -> Recorder {
        let mut recorder = Recorder {
            version: version.to_owned(),
            process: process.to_owned(),
            names,
            heard: HeardSoFar::default(),
            messages: BTreeMap::new(),
            instances: Vec::new(),
            runners: BTreeMap::new(),
            sweeps: BTreeMap::new(),
            lines: Vec::new(),
        };
        recorder.begin(stands_by, paused, None, began);
        recorder.end_line(&[]);
        recorder
    }

    /// Writes a line from which on the record can be read without the lines before: after a gap, and now and then.
    pub fn begin_anew(
        &mut self,
        stands_by: bool,
        paused: &BTreeMap<PoolName, Pause>,
        held: &BTreeMap<MessageId, Time>,
        now: Time,
    ) {
        self.messages.retain(|id, _| held.contains_key(id));
        self.instances.clear();
        self.runners.clear();
        let heard = HeardSoFar { messages: self.messages.values().cloned().collect(), ..self.heard.clone() };
        self.begin(stands_by, paused, Some(heard), now);
        self.end_line(&[]);
    }

    /// An input enters the core. [`Recorder::decided`] follows.
    pub fn input(&mut self, input: &Input, now: Time) {
        match input {
            Input::Outcome(id, Outcome::Swept(Swept::Instances(list))) => {
                let edits = ListEdits::between(&self.instances, list, |i| &i.id);
                write(&mut self.lines, now, &RecordEntry::Instances(*id, edits.clone()));
                self.instances = edits.applied(std::mem::take(&mut self.instances), Arc::new).unwrap_or_default();
            }
            Input::Outcome(id, Outcome::Swept(Swept::Runners(Some(list)))) if self.sweeps.contains_key(id) => {
                let Some(list_id) = self.sweeps.remove(id) else { return };
                let before = self.runners.entry(list_id.clone()).or_default();
                let edits = ListEdits::between(before, list, |r| &r.id);
                write(&mut self.lines, now, &RecordEntry::Runners(*id, list_id, edits.clone()));
                *before = edits.applied(std::mem::take(before), Arc::new).unwrap_or_default();
            }
            Input::Messages(messages) if !self.names => {
                let nameless: Vec<JobMessage> = messages.iter().map(nameless_message).collect();
                self.hear(&Input::Messages(nameless.clone()));
                write(&mut self.lines, now, &RecordEntry::Input(Cow::Owned(Input::Messages(nameless))));
            }
            Input::Outcome(id, Outcome::Run(run)) if !self.names => {
                let mut run = run.clone();
                run.jobs.iter_mut().for_each(|job| job.name = said::without_name(&job.name));
                write(&mut self.lines, now, &RecordEntry::Input(Cow::Owned(Input::Outcome(*id, Outcome::Run(run)))));
            }
            Input::Lead(inheritance, paused) if !self.names => {
                let paused = paused.iter().map(|(pool, pause)| (pool.clone(), nameless_pause(pause))).collect();
                write(&mut self.lines, now, &RecordEntry::Input(Cow::Owned(Input::Lead(inheritance.clone(), paused))));
            }
            _ => {
                self.hear(input);
                write(&mut self.lines, now, &RecordEntry::Input(Cow::Borrowed(input)));
            }
        }
    }

    /// An operator's order enters the core.
    pub fn order(&mut self, order: &Order, now: Time) {
        let order = if self.names { Cow::Borrowed(order) } else { Cow::Owned(order.clone().without_reason()) };
        write(&mut self.lines, now, &RecordEntry::Order(order));
        self.end_line(&[]);
    }

    /// What the core decided on the input, and the messages that it holds after that.
    pub fn decided(&mut self, effects: &[Effect], held: &BTreeMap<MessageId, Time>) {
        let decided: Vec<Decided> = effects.iter().map(|effect| Decided::of(effect, self.names)).collect();
        for effect in effects {
            if let Action::Sweep(Source::Runners(list_id)) = &effect.action {
                self.sweeps.insert(effect.id, list_id.clone());
            }
        }
        self.end_line(&decided);
        if self.messages.len() > 2 * held.len() + 1000 {
            self.messages.retain(|id, _| held.contains_key(id));
        }
    }

    /// The lines since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }

    /// How many bytes wait to be taken.
    pub fn waiting(&self) -> usize {
        self.lines.len()
    }

    fn begin(&mut self, stands_by: bool, paused: &BTreeMap<PoolName, Pause>, heard: Option<HeardSoFar>, now: Time) {
        let pause = |pause: &Pause| if self.names { pause.clone() } else { nameless_pause(pause) };
        let beginning = Beginning {
            format: FORMAT,
            version: self.version.clone(),
            process: self.process.clone(),
            first: heard.is_none(),
            names_left_out: !self.names,
            stands_by,
            paused: paused.iter().map(|(pool, p)| (pool.clone(), pause(p))).collect(),
            heard,
        };
        write(&mut self.lines, now, &RecordEntry::Begin(Box::new(beginning)));
    }

    fn hear(&mut self, input: &Input) {
        match input {
            Input::Spec(spec) => self.heard.spec = Arc::clone(spec),
            Input::Releases(releases) => self.heard.releases = releases.clone(),
            Input::Groups(groups) => self.heard.groups = groups.clone(),
            Input::Versions(versions) => self.heard.versions = versions.clone(),
            Input::Messages(messages) => self.messages.extend(messages.iter().map(|m| (m.id, m.clone()))),
            Input::Outcome(id, _) => drop(self.sweeps.remove(id)),
            _ => {}
        }
    }

    /// Ends the line that [`write`] began.
    fn end_line(&mut self, decided: &[Decided]) {
        if !decided.is_empty() {
            self.lines.extend_from_slice(br#","decided":"#);
            put(&mut self.lines, &decided);
        }
        self.lines.extend_from_slice(b"}\n");
    }
}

/// Writes a line but for its end.
fn write(lines: &mut Vec<u8>, now: Time, entry: &RecordEntry<'_>) {
    lines.extend_from_slice(br#"{"at":"#);
    put(lines, &now);
    lines.extend_from_slice(br#","entry":"#);
    put(lines, entry);
}

fn put(lines: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Writing to memory does not fail, and all keys of the values are text.
    if let Err(error) = serde_json::to_writer(&mut *lines, value) {
        lines.extend_from_slice(format!("{{\"unwritable\":{:?}}}", error.to_string()).as_bytes());
    }
}

fn nameless_message(message: &JobMessage) -> JobMessage {
    let mut message = message.clone();
    message.event.about = JobAbout { sha: message.event.about.sha, ..JobAbout::default() };
    message
}

fn nameless_pause(pause: &Pause) -> Pause {
    Pause { why: String::new(), ..pause.clone() }
}
