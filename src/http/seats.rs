//! The connections of one listener: who is there, whose turn it is, and who has to go.
//!
//! There are so many seats and no more. Strangers cannot take them all, because a new connection always gets one: if there is no
//! free seat, the connection that has waited longest for its client is closed. A connection whose client waits for muster is
//! never closed so. A sender that is honest and quick is among the newest, and a sender that says nothing is among the oldest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::ListenerLimits;

/// How often connections that are late are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How many connections may be closing, beside those that are open. Their descriptors are free a moment later, and a new connection
/// does not wait for that.
const CLOSING: usize = 32;
/// How long a new connection waits before it looks again for one that can make room.
const AGAIN: Duration = Duration::from_millis(10);
/// How often the log says that a listener was full, at most.
const TELL: Duration = Duration::from_secs(60);

/// Whose turn it is on a connection, and since when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ConnectionTurn {
    /// The client has said nothing yet.
    First(Instant),
    /// The client is sending a request.
    Request(Instant),
    /// muster has the whole request, and works on the answer.
    Ours,
    /// The client is taking the answer.
    Answer { began: Instant, moved: Instant, endless: bool },
    /// The client has its answer, and may ask again.
    Rest(Instant),
}

impl ConnectionTurn {
    /// Since when muster waits for the client. None: the client waits for muster.
    fn waits_since(self) -> Option<Instant> {
        match self {
            ConnectionTurn::First(since) | ConnectionTurn::Request(since) | ConnectionTurn::Rest(since) => Some(since),
            ConnectionTurn::Answer { moved, .. } => Some(moved),
            ConnectionTurn::Ours => None,
        }
    }

    /// What the client has taken too long for. None: the client is in time.
    fn late(self, now: Instant, limits: &ListenerLimits) -> Option<&'static str> {
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        match self {
            ConnectionTurn::First(since) => over(since, limits.first_byte).then_some("the first byte did not come in time"),
            ConnectionTurn::Request(since) => over(since, limits.request).then_some("the request did not come in time"),
            ConnectionTurn::Ours => None,
            ConnectionTurn::Answer { moved, .. } if over(moved, limits.stall) => Some("the answer was not fetched"),
            ConnectionTurn::Answer { began, endless, .. } => {
                (!endless && over(began, limits.answer)).then_some("the answer was not fetched in time")
            }
            ConnectionTurn::Rest(since) => over(since, limits.idle).then_some("idle"),
        }
    }
}

/// The seat of one connection.
#[derive(Debug)]
pub(super) struct ConnectionSeat {
    turn: Mutex<ConnectionTurn>,
    /// Is cancelled when the connection has to go.
    pub closed: CancellationToken,
}

impl ConnectionSeat {
    fn new() -> ConnectionSeat {
        ConnectionSeat { turn: Mutex::new(ConnectionTurn::First(Instant::now())), closed: CancellationToken::new() }
    }

    fn turn(&self) -> MutexGuard<'_, ConnectionTurn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came from the client.
    pub fn heard(&self) {
        let mut turn = self.turn();
        if matches!(*turn, ConnectionTurn::First(_) | ConnectionTurn::Rest(_)) {
            *turn = ConnectionTurn::Request(Instant::now());
        }
    }

    /// The whole request is there.
    pub fn asked(&self) {
        *self.turn() = ConnectionTurn::Ours;
    }

    /// The answer is ready to be sent. An endless answer is a stream of events.
    pub fn answers(&self, endless: bool) {
        let now = Instant::now();
        *self.turn() = ConnectionTurn::Answer { began: now, moved: now, endless };
    }

    /// The client took bytes.
    pub fn took(&self) {
        if let ConnectionTurn::Answer { moved, .. } = &mut *self.turn() {
            *moved = Instant::now();
        }
    }

    /// The whole answer is on its way.
    pub fn answered(&self) {
        *self.turn() = ConnectionTurn::Rest(Instant::now());
    }

    fn close(&self, limits: &ListenerLimits, why: &str) {
        tracing::debug!(listener = limits.listener, why, "closed a connection");
        self.closed.cancel();
    }
}

/// The seats of one listener.
#[derive(Debug)]
pub(super) struct Seats {
    limits: ListenerLimits,
    /// The places of open and of closing connections.
    places: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    seats: BTreeMap<u64, Arc<ConnectionSeat>>,
    next: u64,
    /// How many connections had to make room since the log said so.
    pushed: u64,
    told: Option<Instant>,
}

/// A seat that is taken. It is free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// The seat.
    pub seat: Arc<ConnectionSeat>,
    id: u64,
    seats: Arc<Seats>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.taken().seats.remove(&self.id);
    }
}

impl Seats {
    pub fn new(limits: ListenerLimits) -> Arc<Seats> {
        Arc::new(Seats { limits, places: Arc::new(Semaphore::new(limits.connections + CLOSING)), taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection. If none is free, whoever has waited longest for its client makes room. If all clients wait
    /// for muster, this waits for one of the answers.
    pub async fn place(self: &Arc<Self>) -> Place {
        loop {
            // The semaphore is never closed.
            if let Ok(permit) = self.places.clone().acquire_owned().await
                && (self.has_room() || self.make_room())
            {
                return self.sit(permit);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn has_room(&self) -> bool {
        self.taken().seats.values().filter(|seat| !seat.closed.is_cancelled()).count() < self.limits.connections
    }

    fn sit(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let seat = Arc::new(ConnectionSeat::new());
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        taken.seats.insert(id, seat.clone());
        drop(taken);
        Place { seat, id, seats: self.clone(), _permit: permit }
    }

    /// Closes the connection that has waited longest for its client. Returns whether there is one.
    fn make_room(&self) -> bool {
        let mut taken = self.taken();
        let open = taken.seats.values().filter(|seat| !seat.closed.is_cancelled());
        let longest = open.filter_map(|seat| Some((seat.turn().waits_since()?, seat))).min_by_key(|(since, _)| *since);
        let Some((_, seat)) = longest else { return false };
        seat.close(&self.limits, "made room for a new connection");
        taken.pushed += 1;
        if taken.told.is_none_or(|told| told.elapsed() >= TELL) {
            tracing::warn!(
                listener = self.limits.listener,
                connections = self.limits.connections,
                closed = taken.pushed,
                "a listener is full; each new connection closes the one that has waited longest for its client"
            );
            (taken.pushed, taken.told) = (0, Some(Instant::now()));
        }
        true
    }

    /// Closes connections whose clients are late. It never ends.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            for seat in self.taken().seats.values() {
                if let Some(why) = seat.turn().late(now, &self.limits) {
                    seat.close(&self.limits, why);
                }
            }
        }
    }

    /// Closes all connections.
    pub fn close(&self) {
        self.taken().seats.values().for_each(|seat| seat.close(&self.limits, "muster stops"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seats(connections: usize) -> Arc<Seats> {
        Seats::new(ListenerLimits { connections, ..ListenerLimits::ADMIN })
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_house_makes_room_at_the_expense_of_who_waits_longest() {
        let seats = seats(3);
        let works = seats.place().await;
        works.seat.asked();
        tokio::time::advance(SECOND).await;
        let oldest = seats.place().await;
        tokio::time::advance(SECOND).await;
        let younger = seats.place().await;
        let _new = seats.place().await;
        assert!(oldest.seat.closed.is_cancelled() && !younger.seat.closed.is_cancelled());
        assert!(!works.seat.closed.is_cancelled(), "whoever waits for muster stays");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_an_answer_slowly_goes_before_who_came_later() {
        let seats = seats(2);
        let slow = seats.place().await;
        slow.seat.asked();
        slow.seat.answers(false);
        tokio::time::advance(SECOND).await;
        let idle = seats.place().await;
        tokio::time::advance(SECOND).await;
        slow.seat.took();
        let _next = seats.place().await;
        assert!(idle.seat.closed.is_cancelled() && !slow.seat.closed.is_cancelled(), "it has taken bytes since");
        tokio::time::advance(SECOND).await;
        let _one_more = seats.place().await;
        assert!(slow.seat.closed.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_wait_for_muster_a_new_one_waits_for_an_answer() {
        let seats = seats(2);
        let places = [seats.place().await, seats.place().await];
        places.iter().for_each(|place| place.seat.asked());
        assert!(tokio::time::timeout(SECOND, seats.place()).await.is_err());
        places[1].seat.answers(false);
        let _next = tokio::time::timeout(SECOND, seats.place()).await.expect("it gets the place");
        assert!(places[1].seat.closed.is_cancelled() && !places[0].seat.closed.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn each_turn_of_the_client_has_its_limit() {
        let (now, limits) = (Instant::now(), ListenerLimits::ADMIN);
        let at = |seconds: u64| now + SECOND * u32::try_from(seconds).expect("small");
        let answer = |endless| ConnectionTurn::Answer { began: now, moved: at(100), endless };
        for (turn, in_time, late) in [
            (ConnectionTurn::First(now), 9, 10),
            (ConnectionTurn::Request(now), 19, 20),
            (ConnectionTurn::Rest(now), 74, 75),
            (ConnectionTurn::Answer { began: now, moved: now, endless: true }, 29, 30),
            (answer(false), 119, 120),
            (answer(true), 129, 130),
        ] {
            assert_eq!(turn.late(at(in_time), &limits), None, "{turn:?} {in_time}");
            assert!(turn.late(at(late), &limits).is_some(), "{turn:?} {late}");
        }
        assert_eq!(ConnectionTurn::Ours.late(at(10_000), &limits), None);
    }
}
