//! What happened, as lines for people and as one hash: two runs of a seed are the same run if their hashes agree.

use std::collections::VecDeque;
use std::fmt;

use crate::time::Time;

/// FNV-1a's offset basis.
pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits: enough to tell two traces apart.
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
    lines: VecDeque<(Time, String)>,
    keep: usize,
}

impl Trace {
    /// Keeps the last `keep` lines; the hash covers all.
    pub fn new(began: Time, keep: usize) -> Trace {
        Trace { began, hash: FNV_BASIS, lines: VecDeque::new(), keep }
    }

    /// The hash of everything said so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last `count` of the lines kept that are not later than `until`, oldest first.
    pub fn lines(&self, until: Time, count: usize) -> Vec<&str> {
        let end = self.lines.partition_point(|(at, _)| *at <= until);
        self.lines.range(end.saturating_sub(count)..end).map(|(_, line)| line.as_str()).collect()
    }

    pub(super) fn say(&mut self, now: Time, what: fmt::Arguments<'_>) {
        let ms = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
        let line = format!("{:>6}.{:03}  {what}", ms / 1000, ms % 1000);
        self.hash = fnv(self.hash, line.as_bytes());
        if self.keep == 0 {
            return;
        }
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back((now, line));
    }
}
