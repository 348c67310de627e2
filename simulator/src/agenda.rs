//! What will happen, in order. Virtual time moves from one entry to the next; entries of one moment keep their order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use muster_reconciler::time::Time;

use crate::event::Event;

/// The heap, and the time.
#[derive(Debug)]
pub(super) struct Agenda {
    pub now: Time,
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    at: Time,
    sequence: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Agenda {
    pub fn new(now: Time) -> Agenda {
        Agenda { now, heap: BinaryHeap::new(), sequence: 0 }
    }

    /// Plans an event; one in the past happens now.
    pub fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// Plans an event from now.
    pub fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Time {
        self.heap.peek().map_or(Time::FAR, |e| e.0.at)
    }

    /// Whether such an event is due, whenever.
    pub fn holds(&self, such: impl Fn(&Event) -> bool) -> bool {
        self.heap.iter().any(|e| such(&e.0.event))
    }

    /// The next event; time moves to it.
    pub fn pop(&mut self) -> Option<Event> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}
