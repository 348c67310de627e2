//! Webhooks that GitHub could not deliver. GitHub never tries again by itself. When a `queued` event is lost, nobody knows of
//! its job. So muster looks up failed deliveries and asks for them again.
//! <https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries>
//!
//! Every failed attempt is a row of its own in GitHub's list, so muster counts nothing. The number of a delivery's rows says how
//! often the delivery has failed. An attempt that muster asked for succeeded when no newer row turns up.

use std::collections::{BTreeMap, BTreeSet};
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

/// The failed deliveries that may be of a job that nobody heard of, by App.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deliveries {
    apps: BTreeMap<AppName, OfApp>,
}

/// The failed deliveries of one App.
#[derive(Clone, Debug, Default, PartialEq)]
struct OfApp {
    /// When to ask for each delivery. None: muster has asked.
    due_at: BTreeMap<DeliveryId, Option<Time>>,
    /// The deliveries that muster will ask for, the next one first. This is an index of `due_at`.
    queue: BTreeSet<(Time, DeliveryId)>,
    /// No delivery is asked for before this time, because the budget is spent.
    not_before: Time,
}

impl OfApp {
    fn set(&mut self, id: DeliveryId, due: Option<Time>) {
        if let Some(Some(old)) = self.due_at.insert(id, due) {
            self.queue.remove(&(old, id));
        }
        self.queue.extend(due.map(|due| (due, id)));
    }

    fn next(&self) -> Option<Time> {
        self.queue.first().map(|(due, _)| self.not_before.max(*due))
    }
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
        let known = self.apps.remove(app).unwrap_or_default();
        let mut of_app = OfApp { not_before: known.not_before, ..OfApp::default() };
        for (last, attempts) in newest.into_values().filter(|(last, _)| !FINAL.contains(&last.status)) {
            let wait = WAIT.0.saturating_mul(1 << (attempts - 1).min(10)).min(WAIT.1);
            of_app.set(last.id, known.due_at.get(&last.id).copied().unwrap_or(Some(now + wait)));
        }
        self.apps.insert(app.clone(), of_app);
    }

    /// Forgets the deliveries of Apps that are no longer known, because nobody can ask for them.
    pub fn set_apps(&mut self, known: impl Fn(&AppName) -> bool) {
        self.apps.retain(|app, _| known(app));
    }

    /// A delivery to ask for now. None: no delivery is due.
    pub fn due(&self, now: Time) -> Option<(AppName, DeliveryId)> {
        let (app, of_app) = self.apps.iter().find(|(_, of_app)| of_app.next().is_some_and(|next| next <= now))?;
        of_app.queue.first().map(|(_, id)| (app.clone(), *id))
    }

    /// When the next delivery is due. FAR when there is none.
    pub fn next(&self) -> Time {
        self.apps.values().filter_map(OfApp::next).min().unwrap_or(Time::FAR)
    }

    /// muster asks for the delivery now. The same attempt is never asked for again, unless the request fails.
    pub fn asked(&mut self, app: &AppName, id: DeliveryId) {
        self.set(app, id, None);
    }

    /// The request for the delivery failed. muster asks again after `retry_after`, or after a minute if that is longer.
    pub fn ask_failed(&mut self, app: &AppName, id: DeliveryId, retry_after: Option<Duration>, now: Time) {
        self.set(app, id, Some(now + retry_after.unwrap_or_default().max(ASK_AGAIN)));
    }

    /// Asks for the App's deliveries later, because the budget is spent.
    pub fn put_off(&mut self, app: &AppName, until: Time) {
        if let Some(of_app) = self.apps.get_mut(app) {
            of_app.not_before = until;
        }
    }

    fn set(&mut self, app: &AppName, id: DeliveryId, due: Option<Time>) {
        if let Some(of_app) = self.apps.get_mut(app).filter(|of_app| of_app.due_at.contains_key(&id)) {
            of_app.set(id, due);
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
        assert_eq!((d.due(at(29)), d.next()), (None, at(30)));
        assert_eq!(d.due(at(30)), Some((app.clone(), DeliveryId(1))));
        d.asked(&app, DeliveryId(1));
        d.saw(&app, &[row(1, "x", 503)], at(60));
        assert_eq!((d.due(at(9999)), d.next()), (None, Time::FAR), "no newer row: it arrived");
        d.saw(&app, &[row(2, "x", 0), row(1, "x", 503)], at(120));
        assert_eq!(d.due(at(179)), None);
        assert_eq!(d.due(at(180)), Some((app.clone(), DeliveryId(2))), "its second failure waits twice as long");
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
        assert_eq!(d.due(at(30)), Some(("a".into(), DeliveryId(1))));
    }

    #[test]
    fn a_spent_budget_puts_off_one_apps_deliveries_and_the_longest_due_comes_first() {
        let mut d = Deliveries::default();
        d.saw(&"a".into(), &[row(1, "x", 500), row(2, "x", 500), row(3, "y", 500)], at(0));
        d.saw(&"b".into(), &[row(4, "z", 500)], at(1));
        assert_eq!(d.due(at(60)), Some(("a".into(), DeliveryId(3))), "the other one failed twice");
        d.put_off(&"a".into(), at(90));
        assert_eq!(d.due(at(60)), Some(("b".into(), DeliveryId(4))));
        d.asked(&"b".into(), DeliveryId(4));
        assert_eq!((d.due(at(89)), d.next()), (None, at(90)));
        d.saw(&"a".into(), &[row(2, "x", 500), row(3, "y", 500)], at(80));
        assert_eq!((d.due(at(90)), d.next()), (Some(("a".into(), DeliveryId(3))), at(90)), "a new look changes nothing");
    }
}
