//! Readers of the admin listener: a few answers are made at a time, and the memory for answers is bounded. Orders and health
//! have no part in this, so no number of readers makes them wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::{HeaderValue, RETRY_AFTER};
use warp::hyper::body::Body as _;
use warp::reject::{Reject, Rejection};
use warp::reply::Response;

use super::wire::HeldMemory;

/// How many answers are made at the same time. Each may keep a thread busy.
const AT_A_TIME: usize = 4;
/// How many readers may wait for their turn.
const WAITING: usize = 64;
/// How long a reader waits for a turn, and for memory.
const PATIENCE: Duration = Duration::from_secs(2);
/// The memory for answers that are being sent, in KiB. The answer for 100,000 jobs takes most of it, and then goes out alone.
const MEMORY_KIB: usize = 64 << 10;
/// Answers up to this many bytes count for nothing.
const SMALL: u64 = 16 << 10;

/// The lanes of a listener. All clones are the same lanes.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// Whoever looks.
    pub(super) readers: Readers,
    /// Prometheus, which must see what happens while many look.
    pub(super) scrapes: Readers,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes { readers: Readers::new(AT_A_TIME, WAITING), scrapes: Readers::new(1, 8) }
    }
}

/// The error that too many read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy;

impl Reject for Busy {}

impl Busy {
    /// The answer to whoever has to ask again.
    pub fn answer(&self) -> Response {
        let mut response = super::error(StatusCode::SERVICE_UNAVAILABLE, "too many readers at once; ask again in a moment");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        response
    }
}

/// The readers of one lane. All clones are the same readers.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// A reader's turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct ReaderTurn {
    _waiting: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    /// `at_a_time` readers have their turn, and `waiting` more wait for it.
    fn new(at_a_time: usize, waiting: usize) -> Readers {
        let all = |n: usize| Arc::new(Semaphore::new(n));
        Readers { waiting: all(at_a_time + waiting), places: all(at_a_time), memory: all(MEMORY_KIB) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Busy`] if too many wait already, or if no turn came in time.
    pub async fn turn(&self) -> Result<ReaderTurn, Busy> {
        let waiting = self.waiting.clone().try_acquire_owned().map_err(|_| Busy)?;
        match timeout(PATIENCE, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(ReaderTurn { _waiting: waiting, _place: place }),
            _ => Err(Busy),
        }
    }

    /// Answers with `routes`, each request in its turn.
    pub fn take(
        self,
        routes: impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
    ) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static {
        let (asking, answering) = (self.clone(), self);
        let turn = warp::any().and_then(move || {
            let readers = asking.clone();
            async move { readers.turn().await.map_err(warp::reject::custom) }
        });
        turn.and(routes).then(move |turn, response| {
            let readers = answering.clone();
            async move { readers.hand_over(turn, response).await }
        })
    }

    /// Ends a turn with its answer. A large answer takes its part of the memory, and gives it back when the client has taken the
    /// answer. If others hold that memory for long, the answer is a 503 instead.
    pub async fn hand_over(&self, turn: ReaderTurn, mut response: Response) -> Response {
        let bytes = response.body().size_hint().exact().unwrap_or(0);
        if bytes > SMALL {
            let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(MEMORY_KIB as u32);
            let Ok(Ok(held)) = timeout(PATIENCE, self.memory.clone().acquire_many_owned(kib)).await else { return Busy.answer() };
            response.extensions_mut().insert(HeldMemory::new(held));
        }
        drop(turn);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_have_their_turn_a_few_wait_and_the_rest_is_told_so() {
        let readers = Readers::new(1, 1);
        let turn = readers.turn().await.expect("free");
        let (late, refused) = tokio::join!(readers.turn(), async {
            tokio::task::yield_now().await;
            readers.turn().await
        });
        assert_eq!(refused.expect_err("one waits already").answer().status(), 503);
        assert!(late.is_err(), "no turn in time");
        let (next, ()) = tokio::join!(readers.turn(), async { drop(turn) });
        assert!(next.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_large_answers_is_bounded() {
        let readers = Readers::new(4, 4);
        let large = || Response::new(vec![b'x'; 40 << 20].into());
        let first = readers.hand_over(readers.turn().await.expect("free"), large()).await;
        assert_eq!(first.status(), 200);
        let second = readers.hand_over(readers.turn().await.expect("free"), large()).await;
        assert_eq!(second.status(), 503, "the first is not taken yet");
        let small = readers.hand_over(readers.turn().await.expect("free"), Response::new("small".into())).await;
        assert_eq!(small.status(), 200);
        drop(first);
        assert_eq!(readers.hand_over(readers.turn().await.expect("free"), large()).await.status(), 200);
        let larger = Response::new(vec![b'x'; 100 << 20].into());
        assert_eq!(readers.hand_over(readers.turn().await.expect("free"), larger).await.status(), 200, "alone");
    }
}
