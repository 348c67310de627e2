//! The trace of a run: lines for people, and a hash. Two runs are the same run if their hashes agree.
//!
//! The hash is made of the inputs and effects, not of the lines. So a run whose lines nobody keeps need not format them.

use std::collections::VecDeque;
use std::fmt;

use muster_reconciler::effect::{Action, Effect, Input, MessageOp, Outcome, Source, Swept};
use muster_reconciler::ids::InstanceId;
use muster_reconciler::time::Time;

/// FNV-1a's offset basis.
pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits. It turns the names of random streams into seeds.
pub(super) fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    began: Time,
    hash: u64,
    decisions: u64,
    lines: VecDeque<(Time, String)>,
    keep: usize,
}

impl Trace {
    /// A trace that keeps the last `keep` lines. The hash covers the whole run.
    pub fn new(began: Time, keep: usize) -> Trace {
        Trace { began, hash: FNV_BASIS, decisions: FNV_BASIS, lines: VecDeque::new(), keep }
    }

    /// The hash of all inputs and effects so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The hash of every effect's time, kind, targets and counts, and of none of its words. A change that only moves or
    /// rewords code keeps this hash. `cargo run --release -p muster-simulator --example decisions` prints it for many runs.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Whether lines are kept, so that it is worth formatting them.
    pub(super) fn kept(&self) -> bool {
        self.keep > 0
    }

    /// The last `count` lines that are not later than `until`, oldest first.
    pub fn lines(&self, until: Time, count: usize) -> Vec<&str> {
        let end = self.lines.partition_point(|(at, _)| *at <= until);
        self.lines.range(end.saturating_sub(count)..end).map(|(_, line)| line.as_str()).collect()
    }

    /// Keeps one line, if lines are kept.
    pub(super) fn say(&mut self, now: Time, what: fmt::Arguments<'_>) {
        if self.keep == 0 {
            return;
        }
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        let ms = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
        self.lines.push_back((now, format!("{:>6}.{:03}  {what}", ms / 1000, ms % 1000)));
    }

    /// Adds one number to the hash (one step of FxHash).
    pub(super) fn fold(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Adds one text to the hash.
    pub(super) fn fold_text(&mut self, text: &str) {
        let mut chunks = text.as_bytes().chunks_exact(8);
        for chunk in &mut chunks {
            self.fold(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(chunks.remainder()) {
            *to = *from;
        }
        self.fold(u64::from_le_bytes(last) ^ ((text.len() as u64) << 56));
    }

    /// Adds an input that the controller is about to get.
    pub(super) fn fold_input(&mut self, now: Time, input: &Input) {
        self.fold(now.as_millis());
        match input {
            Input::Tick => self.fold(1),
            Input::Lead(..) => self.fold(7),
            Input::Shutdown => self.fold(2),
            Input::Spec(spec) => self.fold(3 + spec.pools.len() as u64),
            Input::Releases(releases) => self.fold(releases.0.len() as u64),
            Input::Groups(_) | Input::Versions(_) => {}
            Input::Messages(messages) => {
                for m in messages {
                    self.fold(m.event.job.0 << 8 | (m.event.state as u64) << 4 | u64::from(m.receive_count & 15));
                }
            }
            Input::Ec2(event) => self.fold_text(event.instance.as_str()),
            Input::GitHubLimit(limit) => self.fold(u64::from(limit.remaining)),
            Input::Outcome(id, outcome) => {
                self.fold(id.0);
                match outcome {
                    Outcome::Done => self.fold(1),
                    Outcome::Launched(l) => self.fold((l.instances.len() << 8 | l.errors.len()) as u64),
                    Outcome::Configured { runner } => self.fold(runner.map_or(7, |r| r.0)),
                    Outcome::Batch { done, failed } => self.fold((done.len() << 8 | failed.len()) as u64),
                    Outcome::Run(sighting) => self.fold(u64::from(sighting.attempt) << 1 | u64::from(sighting.over)),
                    Outcome::Job(sighting) => self.fold(sighting.state.map_or(9, |s| s as u64)),
                    Outcome::Swept(Swept::Instances(rows)) => {
                        self.fold(rows.len() as u64);
                        for row in rows {
                            self.fold((row.state as u64) << 1 | u64::from(row.draining));
                        }
                    }
                    Outcome::Swept(Swept::Runners(rows)) => {
                        for row in rows.iter().flatten() {
                            self.fold(row.id.0 << 2 | u64::from(row.online) << 1 | u64::from(row.busy));
                        }
                    }
                    Outcome::Swept(Swept::Secrets(ids)) => self.fold(ids.len() as u64),
                    Outcome::Swept(Swept::Deliveries(rows)) => self.fold(rows.len() as u64),
                    Outcome::NotHandedOver(failure) => self.fold(200 + failure.kind as u64),
                    Outcome::Failed(failure) => self.fold(100 + failure.kind as u64),
                }
            }
        }
    }

    /// Adds an effect that the controller sends, except sweeps.
    pub(super) fn fold_effect(&mut self, effect: &Effect) {
        self.fold(effect.id.0);
        match &effect.action {
            Action::Launch(l) => self.fold_text(l.intent.as_str()),
            Action::Configure(c) => self.fold_text(c.name.instance.as_str()),
            Action::Drain(ids) | Action::Terminate(ids) | Action::DeleteSecrets(ids) => {
                for id in ids {
                    self.fold_text(id.as_str());
                }
            }
            Action::Deregister { runner, .. } => self.fold(runner.0),
            Action::CheckJob { job, .. } => self.fold(job.0),
            Action::LookAtRun { run, .. } | Action::Rerun { run, .. } | Action::CancelRun { run, .. } => self.fold(run.0),
            Action::Tell(key, text) => {
                self.fold_text(&key.sha);
                self.fold_text(text.state.as_str());
            }
            Action::Redeliver { delivery, .. } => self.fold(delivery.0),
            Action::Sweep(_) => return,
            Action::Messages(_, ids) => self.fold(ids.len() as u64),
        }
        self.fold_text(effect.reason.word());
    }

    /// Adds an effect to the hash of [`Trace::decisions`].
    pub(super) fn fold_decision(&mut self, now: Time, effect: &Effect) {
        let kept = std::mem::replace(&mut self.hash, self.decisions);
        self.fold(now.as_millis());
        match &effect.action {
            Action::Launch(l) => {
                self.fold(1);
                for text in [l.intent.as_str(), l.pool.as_str(), &l.template, l.market.as_str()] {
                    self.fold_text(text);
                }
                self.fold(u64::from(l.count));
                for offering in &l.offerings {
                    self.fold_text(&offering.instance_type);
                    self.fold_text(&offering.subnet);
                }
            }
            Action::Configure(c) => {
                self.fold(2);
                self.fold_text(&c.name.to_string());
                self.fold(u64::from(c.replace));
            }
            Action::Drain(ids) => self.fold_ids(3, ids),
            Action::Terminate(ids) => self.fold_ids(4, ids),
            Action::DeleteSecrets(ids) => self.fold_ids(5, ids),
            Action::Deregister { runner, .. } => self.fold(runner.0 << 4 | 6),
            Action::CheckJob { job, .. } => self.fold(job.0 << 4 | 7),
            Action::LookAtRun { run, .. } => self.fold(run.0 << 4 | 14),
            Action::Rerun { run, again, .. } => {
                self.fold(run.0 << 4 | 15);
                self.fold_text(&again.to_string());
            }
            Action::CancelRun { run, .. } => self.fold(run.0 << 5 | 16),
            Action::Tell(key, text) => {
                self.fold_text(&key.sha);
                self.fold_text(&text.text);
            }
            Action::Redeliver { delivery, .. } => self.fold(delivery.0 << 4 | 8),
            Action::Sweep(Source::Instances) => self.fold(9),
            Action::Sweep(Source::Secrets) => self.fold(10),
            Action::Sweep(Source::Runners(list)) => self.fold_text(&list.to_string()),
            Action::Sweep(Source::Deliveries(app)) => self.fold_text(app.as_str()),
            Action::Messages(op, ids) => {
                self.fold(match op {
                    MessageOp::Extend { seconds } => u64::from(*seconds) << 8 | 11,
                    MessageOp::Release => 12,
                    MessageOp::Delete => 13,
                });
                for id in ids {
                    self.fold(id.0);
                }
            }
        }
        self.decisions = std::mem::replace(&mut self.hash, kept);
    }

    fn fold_ids(&mut self, kind: u64, ids: &[InstanceId]) {
        self.fold(kind);
        for id in ids {
            self.fold_text(id.as_str());
        }
    }
}
