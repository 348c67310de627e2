//! What instances say of their end. EC2 is asked once for each answer that is worth keeping, one instance at a time, and at most
//! once a second, because sweeps share the account's calls.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_reconciler::ids::InstanceId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// For how long a console that says nothing, or that cannot be read, is not read again.
const SILENT: Duration = Duration::from_secs(60);
/// The shortest time between two calls.
const PACE: Duration = Duration::from_secs(1);
/// How many may wait for a call.
const WAITING: usize = 8;
/// How many answers are kept.
const KEPT: usize = 1000;

/// What a console says of the instance's end (None: nothing), or why it cannot be read.
pub type LastWord = Result<Option<String>, String>;
type Read = dyn Fn(InstanceId) -> BoxFuture<'static, LastWord> + Send + Sync;

/// Reads from an instance's console why the instance ended. All clones share what they know.
#[derive(Clone)]
pub struct Console(Arc<ConsoleBook>);

struct ConsoleBook {
    read: Box<Read>,
    known: Mutex<HashMap<InstanceId, (Instant, LastWord)>>,
    waiting: Semaphore,
    /// When the last call was made.
    last: tokio::sync::Mutex<Option<Instant>>,
}

impl Console {
    /// `read` asks EC2.
    pub fn new(read: impl Fn(InstanceId) -> BoxFuture<'static, LastWord> + Send + Sync + 'static) -> Console {
        let (known, waiting, last) = (Mutex::default(), Semaphore::new(WAITING), tokio::sync::Mutex::default());
        Console(Arc::new(ConsoleBook { read: Box::new(read), known, waiting, last }))
    }

    /// What the instance said of its end. Ask only for instances that the controller knows.
    pub async fn ended(&self, id: InstanceId) -> LastWord {
        if let Some(known) = self.known(&id) {
            return known;
        }
        let Ok(_waiting) = self.0.waiting.try_acquire() else {
            return Err("too many consoles are being read; ask again in a few seconds".into());
        };
        let mut last = self.0.last.lock().await;
        if let Some(known) = self.known(&id) {
            return known;
        }
        if let Some(last) = *last {
            tokio::time::sleep_until(last + PACE).await;
        }
        *last = Some(Instant::now());
        let ended = (self.0.read)(id.clone()).await;
        self.note(id, ended.clone());
        ended
    }

    /// What is known without asking EC2. None: EC2 was not asked yet, or the answer is old.
    pub fn heard(&self, id: &InstanceId) -> Option<LastWord> {
        self.known(id)
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<InstanceId, (Instant, LastWord)>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that is still good. The last words of an instance do not change.
    fn known(&self, id: &InstanceId) -> Option<LastWord> {
        let known = self.answers();
        let (at, ended) = known.get(id)?;
        (matches!(ended, Ok(Some(_))) || at.elapsed() < SILENT).then(|| ended.clone())
    }

    fn note(&self, id: InstanceId, ended: LastWord) {
        let mut known = self.answers();
        known.insert(id, (Instant::now(), ended));
        if known.len() > KEPT {
            let oldest = known.iter().min_by_key(|(_, (at, _))| *at).map(|(id, _)| id.clone());
            oldest.map(|id| known.remove(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ec2_is_asked_once_for_last_words_and_once_a_minute_for_silence() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let console = Console::new(move |id| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { Ok((id.as_str() == "i-1").then(|| "the runner is done".to_owned())) })
        });
        let ask = |id: &'static str| console.ended(id.into());
        assert_eq!(console.heard(&"i-1".into()), None);
        for _ in 0..60 {
            assert_eq!(ask("i-1").await, Ok(Some("the runner is done".into())));
            assert_eq!(ask("i-2").await, Ok(None));
        }
        assert_eq!(console.heard(&"i-1".into()), Some(Ok(Some("the runner is done".into()))));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        tokio::time::advance(SILENT * 2).await;
        let _ = (ask("i-1").await, ask("i-2").await);
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_made_one_a_second_and_few_wait_for_one() {
        let console = Console::new(|_| Box::pin(async { Ok(None) }));
        let began = Instant::now();
        let asked = (0..100).map(|n| console.ended(format!("i-{n}").as_str().into()));
        let answers = futures_util::future::join_all(asked).await;
        // The first does not wait.
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), WAITING + 1);
        assert_eq!(began.elapsed(), PACE * u32::try_from(WAITING).expect("small"), "the test turns this clock");
    }
}
