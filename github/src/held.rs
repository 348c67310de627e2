//! A value that many callers need and that one of them fetches. The other callers wait for this one fetch and share its result,
//! also when it fails. So fifty instances that need a token at the same moment cost one request if it succeeds, and one time-out
//! if it does not.

use std::time::Instant;

use muster_reconciler::failure::Failure;
use tokio::sync::Mutex;

/// The holder of one shared value.
#[derive(Debug)]
pub(super) struct Held<T>(Mutex<HeldSlot<T>>);

#[derive(Debug)]
struct HeldSlot<T> {
    value: Option<T>,
    /// The number of fetches so far. It ensures that a caller gives up only the value that it used itself.
    serial: u64,
    stale: bool,
    failed: Option<(Instant, Failure)>,
}

/// What a caller gets.
#[derive(Debug)]
pub(super) struct Got<T> {
    pub value: T,
    /// The value's number, for [`Held::give_up`].
    pub serial: u64,
    /// Whether the value was fetched for this caller. If it was, another fetch would bring nothing new.
    pub fetched: bool,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held(Mutex::new(HeldSlot { value: None, serial: 0, stale: false, failed: None }))
    }
}

impl<T: Clone> Held<T> {
    /// Returns the value if it is still `good`. Otherwise `fetch` gets a new value; its argument is the old one.
    ///
    /// # Errors
    ///
    /// The failure of this fetch, or of another caller's fetch that failed while this caller waited.
    pub async fn get(
        &self,
        good: impl Fn(&T) -> bool,
        fetch: impl AsyncFnOnce(Option<&T>) -> Result<T, Failure>,
    ) -> Result<Got<T>, Failure> {
        let asked = Instant::now();
        let mut slot = self.0.lock().await;
        if let Some(value) = slot.value.as_ref().filter(|value| !slot.stale && good(value)) {
            return Ok(Got { value: value.clone(), serial: slot.serial, fetched: false });
        }
        if let Some((at, failure)) = &slot.failed
            && *at >= asked
        {
            return Err(failure.clone());
        }
        match fetch(slot.value.as_ref()).await {
            Ok(value) => {
                *slot = HeldSlot { value: Some(value.clone()), serial: slot.serial + 1, stale: false, failed: None };
                Ok(Got { value, serial: slot.serial, fetched: true })
            }
            Err(failure) => {
                slot.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Says that the other side refused the value with this number. The next caller fetches a new value, unless somebody has
    /// already done so.
    pub async fn give_up(&self, serial: u64) {
        let mut slot = self.0.lock().await;
        if slot.serial == serial {
            slot.stale = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use muster_reconciler::failure::FailureKind;

    use super::*;

    #[tokio::test]
    async fn callers_that_waited_for_a_fetch_share_its_failure() {
        let (held, fetches) = (Held::<u32>::default(), AtomicU32::new(0));
        let ask = || {
            held.get(
                |_| true,
                async |_| {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Err(Failure::new(FailureKind::Unavailable, "down"))
                },
            )
        };
        let answers = join_all((0..20).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        assert!(ask().await.is_err());
        assert_eq!(fetches.load(Ordering::SeqCst), 2, "a later caller tries anew");
    }

    #[tokio::test]
    async fn only_the_value_that_was_used_can_be_given_up() {
        let held = Held::<u32>::default();
        let next = async |old: Option<&u32>| Ok(old.copied().unwrap_or(0) + 1);
        let first = held.get(|_| true, next).await.expect("first");
        held.give_up(first.serial).await;
        let second = held.get(|_| true, next).await.expect("second");
        assert_eq!((first.value, second.value, second.fetched), (1, 2, true));
        held.give_up(first.serial).await;
        let third = held.get(|_| true, next).await.expect("third");
        assert_eq!((third.value, third.fetched), (2, false));
    }
}
