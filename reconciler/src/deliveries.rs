//! Webhooks that GitHub could not deliver. GitHub never tries again by itself. When a `queued` event is lost, nobody knows of
//! its job. So muster looks up failed deliveries and asks for them again.
//! <https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries>
//!
//! Every failed attempt is a row of its own in GitHub's list, so muster counts nothing. The number of a delivery's rows says how
//! often the delivery has failed. An attempt that muster asked for succeeded when no newer row turns up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::effect::DeliverySighting;
use crate::ids::{AppName, DeliveryId};
use crate::time::Time;

/// How long muster waits before it asks for a failed delivery again: the first and the longest wait. The wait doubles with each
/// failed attempt.
const WAIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1800));

/// A request for a delivery that failed is repeated after this time.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// HTTP statuses of our own that a new attempt would get again: 400 (malformed) and 413 (too large).
const FINAL: [u16; 2] = [400, 413];

/// The failed deliveries that may be of a job that nobody heard of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deliveries {
    failed: BTreeMap<(AppName, DeliveryId), FailedDelivery>,
}

#[derive(Clone, Debug, PartialEq)]
struct FailedDelivery {
    /// When to ask for the delivery. FAR once muster has asked.
    due: Time,
}

impl Deliveries {
    /// Takes in a complete sweep of one App's failed deliveries. Of each delivery, only the newest attempt matters.
    pub fn saw(&mut self, app: &AppName, rows: &[DeliverySighting], now: Time) {
        let mut newest: BTreeMap<&str, (&DeliverySighting, u32)> = BTreeMap::new();
        for row in rows.iter().filter(|r| r.action.as_deref() == Some("queued")) {
            let (last, attempts) = newest.entry(&row.guid).or_insert((row, 0));
            if row.id > last.id {
                *last = row;
            }
            *attempts += 1;
        }
        let asked_for = newest.into_values().filter(|(last, _)| !FINAL.contains(&last.status));
        let shown: BTreeMap<DeliveryId, u32> = asked_for.map(|(last, attempts)| (last.id, attempts)).collect();
        self.failed.retain(|(of, id), _| of != app || shown.contains_key(id));
        for (id, attempts) in shown {
            let wait = WAIT.0.saturating_mul(1 << (attempts - 1).min(10)).min(WAIT.1);
            self.failed.entry((app.clone(), id)).or_insert(FailedDelivery { due: now + wait });
        }
    }

    /// Forgets the deliveries of Apps that are no longer known, because nobody can ask for them.
    pub fn set_apps(&mut self, known: impl Fn(&AppName) -> bool) {
        self.failed.retain(|(app, _), _| known(app));
    }

    /// The deliveries to ask for now: for each App, the oldest first.
    pub fn due(&self, now: Time) -> Vec<(AppName, DeliveryId)> {
        self.failed.iter().filter(|(_, f)| f.due <= now).map(|(key, _)| key.clone()).collect()
    }

    /// When the next delivery is due. FAR when there is none.
    pub fn next(&self) -> Time {
        self.failed.values().map(|f| f.due).min().unwrap_or(Time::FAR)
    }

    /// muster asks for the delivery now. The same attempt is never asked for again, unless the request fails.
    pub fn asked(&mut self, app: &AppName, id: DeliveryId) {
        if let Some(f) = self.failed.get_mut(&(app.clone(), id)) {
            f.due = Time::FAR;
        }
    }

    /// The request for the delivery failed. muster asks again after `retry_after`, or after a minute if that is longer.
    pub fn ask_failed(&mut self, app: &AppName, id: DeliveryId, retry_after: Option<Duration>, now: Time) {
        if let Some(f) = self.failed.get_mut(&(app.clone(), id)) {
            f.due = now + retry_after.unwrap_or_default().max(ASK_AGAIN);
        }
    }

    /// Asks for the delivery later, because the budget is spent.
    pub fn put_off(&mut self, app: &AppName, id: DeliveryId, until: Time) {
        if let Some(f) = self.failed.get_mut(&(app.clone(), id)) {
            f.due = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, guid: &str, status: u16) -> DeliverySighting {
        DeliverySighting { id: DeliveryId(id), guid: guid.into(), action: Some("queued".into()), status }
    }

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    #[test]
    fn a_failed_delivery_is_asked_for_once_and_again_when_that_failed_too() {
        let (mut d, app): (_, AppName) = (Deliveries::default(), "a".into());
        d.saw(&app, &[row(1, "x", 503)], at(0));
        assert_eq!((d.due(at(29)), d.next()), (vec![], at(30)));
        assert_eq!(d.due(at(30)), [(app.clone(), DeliveryId(1))]);
        d.asked(&app, DeliveryId(1));
        d.saw(&app, &[row(1, "x", 503)], at(60));
        assert_eq!((d.due(at(9999)), d.next()), (vec![], Time::FAR), "no newer row: it arrived");
        d.saw(&app, &[row(2, "x", 0), row(1, "x", 503)], at(120));
        assert_eq!(d.due(at(179)), []);
        assert_eq!(d.due(at(180)), [(app.clone(), DeliveryId(2))], "its second failure waits twice as long");
        d.saw(&app, &[], at(200));
        assert_eq!(d.next(), Time::FAR, "GitHub keeps them for some days only");
    }

    #[test]
    fn an_ask_that_failed_is_repeated() {
        let (mut d, app): (_, AppName) = (Deliveries::default(), "a".into());
        d.saw(&app, &[row(1, "x", 503)], at(0));
        d.asked(&app, DeliveryId(1));
        d.ask_failed(&app, DeliveryId(1), None, at(40));
        assert_eq!(d.next(), at(100));
        d.ask_failed(&app, DeliveryId(1), Some(Duration::from_secs(300)), at(40));
        assert_eq!(d.next(), at(340));
    }

    #[test]
    fn what_would_be_refused_again_or_tells_of_no_waiting_job_is_left_alone() {
        let (mut d, app): (_, AppName) = (Deliveries::default(), "a".into());
        let other = DeliverySighting { action: Some("completed".into()), ..row(3, "z", 500) };
        d.saw(&app, &[row(1, "x", 413), row(2, "y", 400), other], at(0));
        assert_eq!(d.next(), Time::FAR);
        d.saw(&app, &[row(1, "x", 401)], at(0));
        assert_eq!(d.next(), at(30), "a wrong secret may be corrected");
        d.set_apps(|_| false);
        assert_eq!(d.next(), Time::FAR);
    }

    #[test]
    fn one_apps_list_says_nothing_of_anothers() {
        let mut d = Deliveries::default();
        d.saw(&"a".into(), &[row(1, "x", 500)], at(0));
        d.saw(&"b".into(), &[row(2, "y", 500)], at(0));
        d.saw(&"b".into(), &[], at(1));
        assert_eq!(d.due(at(30)), [("a".into(), DeliveryId(1))]);
    }
}
