//! The way to the queue: single messages come in, batches of ten go out, and each sender is told the result for its own message.
//!
//! A message to an idle outbox is sent at once. While other batches are under way, a message waits a few milliseconds for others,
//! so that many deliveries at once need few calls. Everything has a limit. When the queue takes messages more slowly than they
//! come, senders get an error and answer 503, and the memory does not fill up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster_operations::liveness::{self, Pulse};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How an [`Outbox`] makes batches.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most messages in a batch. SQS admits 10.
    pub batch: usize,
    /// How long a message waits for others while other batches are under way.
    pub linger: Duration,
    /// The most batches that are under way.
    pub parallel: usize,
    /// The most messages that wait to be put into a batch.
    pub waiting: usize,
    /// How long a sender waits for its answer. GitHub gives up after 10 s.
    pub deadline: Duration,
    /// How long one batch may take. After that, another batch takes its place.
    pub call_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch: 10,
            linger: Duration::from_millis(5),
            parallel: 8,
            waiting: 1000,
            deadline: Duration::from_secs(5),
            call_deadline: Duration::from_secs(10),
        }
    }
}

/// Why it is not known that a message is on the queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// Too many messages are already waiting. The number says how many.
    #[error("{0} messages wait for the queue already")]
    Full(usize),
    /// There was no answer in time. The message may still reach the queue. This does no harm, because repeated events change
    /// nothing.
    #[error("the queue did not answer within {0:?}")]
    Slow(Duration),
    /// The queue refused the message, or the call was lost.
    #[error("the queue did not take the message: {0}")]
    Refused(String),
    /// The process is stopping.
    #[error("the outbox is closed")]
    Closed,
}

struct Letter<M> {
    message: M,
    answer: oneshot::Sender<Result<(), String>>,
}

/// A handle to an outbox. All clones share one outbox. It ends when the last clone is dropped and everything is sent.
#[derive(Clone, Debug)]
pub struct Outbox<M> {
    letters: mpsc::Sender<Letter<M>>,
    settings: Settings,
    pulse: Pulse,
}

impl<M: Send + 'static> Outbox<M> {
    /// Starts an outbox that sends with `put`. `put` gets at most `settings.batch` messages, and returns one result for each, in
    /// their order.
    pub fn start<F, Fut>(settings: Settings, put: F) -> Outbox<M>
    where
        F: Fn(Vec<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<Result<(), String>>> + Send + 'static,
    {
        let (letters, waiting) = mpsc::channel(settings.waiting.max(1));
        let pulse = Pulse::start();
        tokio::spawn(dispatch(settings, waiting, put, pulse.clone()));
        Outbox { letters, settings, pulse }
    }

    /// The mark of the outbox's loop. It is set whenever a batch leaves, and every [`liveness::IDLE_TURN`] while there is nothing
    /// to send.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Sends a message. Returns when the queue has the message, or with an error after `settings.deadline` at the latest.
    pub async fn send(&self, message: M) -> Result<(), OutboxError> {
        let (answer, answered) = oneshot::channel();
        self.letters.try_send(Letter { message, answer }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => OutboxError::Full(self.letters.max_capacity()),
            mpsc::error::TrySendError::Closed(_) => OutboxError::Closed,
        })?;
        match timeout(self.settings.deadline, answered).await {
            Err(_) => Err(OutboxError::Slow(self.settings.deadline)),
            Ok(Err(_)) => Err(OutboxError::Refused("the call to the queue was lost".into())),
            Ok(Ok(result)) => result.map_err(OutboxError::Refused),
        }
    }
}

async fn dispatch<M, F, Fut>(settings: Settings, mut waiting: mpsc::Receiver<Letter<M>>, put: F, pulse: Pulse)
where
    F: Fn(Vec<M>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<Result<(), String>>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(settings.parallel.max(1)));
    let in_flight = Arc::new(AtomicUsize::new(0));
    // The loop takes a place before it takes a message. While all places are taken, messages wait in the channel, which has a
    // limit.
    while let Ok(place) = places.clone().acquire_owned().await {
        pulse.beat();
        let first = loop {
            match timeout(liveness::IDLE_TURN, waiting.recv()).await {
                Ok(first) => break first,
                Err(_) => pulse.beat(),
            }
        };
        let Some(first) = first else { return };
        let letters = gather(&settings, &mut waiting, first, in_flight.load(Ordering::Relaxed) > 0).await;
        let (messages, answers): (Vec<_>, Vec<_>) = letters.into_iter().map(|l| (l.message, l.answer)).unzip();
        let (call, counter, limit) = (put(messages), in_flight.clone(), settings.call_deadline);
        counter.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let _place = place;
            let _counted = Counted(counter);
            let mut results = timeout(limit, call).await.unwrap_or_default().into_iter();
            for answer in answers {
                let result = results.next().unwrap_or_else(|| Err("no answer for this message".into()));
                // A sender that gave up has already answered 503. The queue may have taken its message all the same.
                let _ = answer.send(result);
            }
        });
    }
}

/// The first message and those that go with it.
async fn gather<M>(
    settings: &Settings,
    waiting: &mut mpsc::Receiver<Letter<M>>,
    first: Letter<M>,
    linger: bool,
) -> Vec<Letter<M>> {
    let mut letters = vec![first];
    if linger {
        let more = async {
            while letters.len() < settings.batch {
                match waiting.recv().await {
                    Some(letter) => letters.push(letter),
                    None => break,
                }
            }
        };
        // It makes no difference whether the batch is full or the time is over.
        let _ = timeout(settings.linger, more).await;
    }
    while letters.len() < settings.batch {
        match waiting.try_recv() {
            Ok(letter) => letters.push(letter),
            Err(_) => break,
        }
    }
    letters
}

/// Counts down when its batch ends, whatever the reason.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// The batches that were sent, in order.
    type Sent = Arc<Mutex<Vec<Vec<String>>>>;

    /// An outbox that collects batches. Each batch takes `delay`, and a body that says `bad` is refused.
    fn outbox(settings: Settings, delay: Duration) -> (Outbox<String>, Sent) {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = batches.clone();
        let outbox = Outbox::start(settings, move |bodies: Vec<String>| {
            seen.lock().expect("unpoisoned").push(bodies.clone());
            async move {
                sleep(delay).await;
                bodies.iter().map(|b| if b.contains("bad") { Err("no".to_owned()) } else { Ok(()) }).collect()
            }
        });
        (outbox, batches)
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_to_an_idle_outbox_goes_at_once() {
        let (outbox, batches) = outbox(Settings::default(), Duration::ZERO);
        let began = Instant::now();
        outbox.send("one".into()).await.expect("sent");
        assert!(began.elapsed() < Duration::from_millis(2), "{:?}", began.elapsed());
        assert_eq!(*batches.lock().expect("unpoisoned"), [["one"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_becomes_few_batches_of_ten_at_most() {
        let (outbox, batches) = outbox(Settings::default(), Duration::from_millis(20));
        let results = join_all((0..101).map(|n| outbox.send(n.to_string()))).await;
        assert!(results.iter().all(Result::is_ok));
        let sizes: Vec<usize> = batches.lock().expect("unpoisoned").iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|s| *s <= 10) && sizes.iter().sum::<usize>() == 101 && sizes.len() <= 12, "{sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn stragglers_wait_for_company_while_a_batch_is_in_flight() {
        let (outbox, batches) = outbox(Settings::default(), Duration::from_millis(50));
        let late = |after: u64, body: &'static str| {
            let outbox = outbox.clone();
            async move {
                sleep(Duration::from_millis(after)).await;
                outbox.send(body.into()).await
            }
        };
        let results = join_all([late(0, "a"), late(1, "b"), late(2, "c"), late(3, "d")]).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(*batches.lock().expect("unpoisoned"), [vec!["a"], vec!["b", "c", "d"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_message_does_not_fail_its_neighbours() {
        let (outbox, _) = outbox(Settings::default(), Duration::ZERO);
        let results = join_all(["good", "bad", "fine"].map(|b| outbox.send(b.into()))).await;
        assert_eq!(results, [Ok(()), Err(OutboxError::Refused("no".into())), Ok(())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_queue_gives_errors_in_time_and_a_full_outbox_at_once() {
        let settings = Settings { waiting: 5, parallel: 1, batch: 1, ..Settings::default() };
        let (outbox, _) = outbox(settings, Duration::from_secs(3600));
        let began = Instant::now();
        let results = join_all((0..10).map(|n| outbox.send(n.to_string()))).await;
        assert_eq!(began.elapsed(), settings.deadline);
        let full = results.iter().filter(|r| **r == Err(OutboxError::Full(5))).count();
        let slow = results.iter().filter(|r| **r == Err(OutboxError::Slow(settings.deadline))).count();
        assert_eq!((full, slow), (5, 5), "{results:?}");
        // A stuck call loses its place in the end, and the next message is tried.
        sleep(settings.call_deadline * 6).await;
        assert_eq!(outbox.send("later".into()).await, Err(OutboxError::Slow(settings.deadline)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_outbox_is_alive_and_so_is_one_whose_queue_does_not_answer() {
        let settings = Settings { parallel: 1, batch: 1, ..Settings::default() };
        let (outbox, _) = outbox(settings, Duration::from_secs(3600));
        let liveness = liveness::Liveness::default().with("the way to the queue", outbox.pulse());
        sleep(liveness::LIMIT * 10).await;
        assert_eq!(liveness.check(), Ok(()), "idle");
        for n in 0..20 {
            assert_eq!(outbox.send(n.to_string()).await, Err(OutboxError::Slow(settings.deadline)));
            assert_eq!(liveness.check(), Ok(()), "after {n} calls without an answer");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outbox_whose_calls_never_end_is_stuck() {
        // A call has practically no time limit here, as if the clock that ends it stood still.
        let settings = Settings { parallel: 1, call_deadline: Duration::from_secs(1_000_000), ..Settings::default() };
        let (outbox, _) = outbox(settings, Duration::from_secs(1_000_000));
        let liveness = liveness::Liveness::default().with("the way to the queue", outbox.pulse());
        assert_eq!(outbox.send("lost".into()).await, Err(OutboxError::Slow(settings.deadline)));
        sleep(liveness::LIMIT).await;
        assert!(liveness.check().is_err_and(|stuck| stuck.to_string().starts_with("the way to the queue has not turned")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_or_answers_too_little_fails_its_own_messages_only() {
        let outbox = Outbox::start(Settings::default(), |bodies: Vec<String>| async move {
            assert!(bodies[0] != "panic", "as asked");
            if bodies[0] == "short" { Vec::new() } else { vec![Ok(()); bodies.len()] }
        });
        assert_eq!(outbox.send("panic".into()).await, Err(OutboxError::Refused("the call to the queue was lost".into())));
        assert_eq!(outbox.send("short".into()).await, Err(OutboxError::Refused("no answer for this message".into())));
        assert_eq!(outbox.send("fine".into()).await, Ok(()));
    }
}
