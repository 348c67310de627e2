//! The events to come, in order. Virtual time jumps from one event to the next. Events of the same moment keep the order in
//! which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use muster_reconciler::time::Time;

use crate::event::Event;

/// The current time, and a heap of the events to come.
#[derive(Debug)]
pub(super) struct Agenda {
    pub now: Time,
    heap: BinaryHeap<Reverse<Appointment>>,
    sequence: u64,
}

#[derive(Debug)]
struct Appointment {
    at: Time,
    sequence: u64,
    event: Event,
}

impl PartialEq for Appointment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Appointment {}
impl PartialOrd for Appointment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Appointment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Agenda {
    pub fn new(now: Time) -> Agenda {
        Agenda { now, heap: BinaryHeap::new(), sequence: 0 }
    }

    /// Plans an event. An event that would lie in the past happens now.
    pub fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse(Appointment { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// Plans an event, `delay` from now.
    pub fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// When the next event is due. [`Time::FAR`] if none is planned.
    pub fn next_at(&self) -> Time {
        self.heap.peek().map_or(Time::FAR, |e| e.0.at)
    }

    /// Whether an event of such a kind is planned, at any time.
    pub fn holds(&self, such: impl Fn(&Event) -> bool) -> bool {
        self.heap.iter().any(|e| such(&e.0.event))
    }

    /// Takes the next event, and moves the time to it.
    pub fn pop(&mut self) -> Option<Event> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}
