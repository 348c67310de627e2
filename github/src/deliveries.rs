//! Webhooks that GitHub could not deliver: muster lists them and asks GitHub to send them again. GitHub keeps them for three days
//! and never sends one again by itself. <https://docs.github.com/en/rest/apps/webhooks>

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use http::{HeaderMap, Method, header};
use muster_reconciler::effect::{DeliverySighting, Outcome, Swept};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{AppName, DeliveryId};
use serde::Deserialize;

use super::{ApiCall, GitHub, Identity, limits};

/// How far back muster looks. A job waits for a day at most, so an older `queued` event is of no use.
const LOOK_BACK: Duration = Duration::from_secs(24 * 3600);
/// The most pages of 100 attempts that one sweep reads. What a long outage left beyond them is read by the next sweeps.
const PAGES_MAX: usize = 20;

#[derive(Deserialize)]
struct DeliveryRow {
    id: u64,
    guid: String,
    delivered_at: String,
    status_code: u16,
    event: String,
    action: Option<String>,
}

/// The windows of all Apps.
pub(super) type Windows = Mutex<BTreeMap<AppName, Window>>;

/// What is known of one App's failed attempts of the last day, so that each is read once.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The failed attempts to deliver a `workflow_job`, by their id, each with its time in seconds since 1970.
    failed: BTreeMap<u64, (i64, DeliverySighting)>,
    /// The greatest id of all attempts that were read. A later attempt has a greater one.
    newest: u64,
    /// Where reading stopped before it met what was known, the newest last.
    gaps: Vec<Gap>,
}

/// Pages that are still to be read: from the one at `cursor` back to the attempt `until`. Without a cursor, from the newest page.
#[derive(Clone, Debug)]
struct Gap {
    cursor: Option<String>,
    until: u64,
}

/// A page of GitHub's list, newest first.
struct DeliveryPage {
    rows: Vec<DeliveryRow>,
    /// The cursor of the next page. None: this is the last one.
    next: Option<String>,
    /// The earliest time that matters, in seconds since 1970.
    oldest: i64,
}

impl Window {
    /// Reads all pages again. What is known stays: a delivery that the core no longer saw would be asked for twice.
    fn begin_anew(&mut self) {
        (self.newest, self.gaps) = (0, Vec::new());
    }

    /// Takes in a page. Returns whether it reaches back to `until`, or to attempts that are too old.
    fn take(&mut self, rows: Vec<DeliveryRow>, until: u64, oldest: i64) -> bool {
        let mut reached = rows.is_empty();
        for row in rows {
            let at = DateTime::parse_from_rfc3339(&row.delivered_at).map_or(0, |at| at.timestamp());
            // GitHub may note an attempt only when it has ended. So the last minute is read once more.
            if at <= oldest.saturating_add_unsigned(LOOK_BACK.as_secs() - 60) {
                self.newest = self.newest.max(row.id);
            }
            reached |= row.id <= until || at < oldest;
            // A server that does not know the filter `status` lists successful attempts, too.
            if at >= oldest && row.event == "workflow_job" && !(200..300).contains(&row.status_code) {
                let failed =
                    DeliverySighting { id: DeliveryId(row.id), guid: row.guid, action: row.action, status: row.status_code };
                self.failed.insert(row.id, (at, failed));
            }
        }
        reached
    }
}

impl GitHub {
    /// The failed attempts of the last 24 hours to deliver a `workflow_job`, newest first. An App without a webhook of its own
    /// has none. The outcome is `Swept(Deliveries)`, or `Failed` if the newest page could not be read. A sweep reads 20 pages at
    /// most. If there are more, it answers with what is known so far, and the next sweep reads on.
    pub async fn deliveries(&self, app: &AppName) -> Outcome {
        let windows = || self.0.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut window = windows().remove(app).unwrap_or_default();
        let read = self.read_on(app, &mut window).await;
        let rows = window.failed.values().rev().map(|(_, failed)| failed.clone()).collect();
        windows().insert(app.clone(), window);
        read.map_or_else(Outcome::Failed, |()| Outcome::Swept(Swept::Deliveries(rows)))
    }

    /// Reads the newest page and then the gaps, the newest first.
    async fn read_on(&self, name: &AppName, window: &mut Window) -> Result<(), Failure> {
        window.gaps.push(Gap { cursor: None, until: window.newest });
        for page in 1..=PAGES_MAX {
            let Some(gap) = window.gaps.pop() else { return Ok(()) };
            match self.deliveries_page(name, &gap, page).await {
                Ok(None) if gap.cursor.is_none() => return Ok(()),
                Ok(None) => window.begin_anew(),
                Ok(Some(page)) => {
                    window.failed.retain(|_, (at, _)| *at >= page.oldest);
                    if !window.take(page.rows, gap.until, page.oldest) && page.next.is_some() {
                        window.gaps.push(Gap { cursor: page.next, ..gap });
                    }
                }
                Err(failure) if gap.cursor.is_none() => return Err(failure),
                // What was read is true without the rest. An old page that fails for long must not hide the newest.
                Err(failure) => {
                    let what = failure.message;
                    tracing::warn!(app = %name, "the next sweep reads on, since a page of failed deliveries was not read: {what}");
                    match failure.kind {
                        // GitHub does not know the cursor any more, so reading begins anew.
                        FailureKind::Refused => window.begin_anew(),
                        _ => window.gaps.push(gap),
                    }
                    return Ok(());
                }
            }
        }
        if !window.gaps.is_empty() {
            let rows = window.failed.len();
            tracing::warn!(app = %name, rows, "many webhook deliveries failed; the next sweeps read the rest of the last day");
        }
        Ok(())
    }

    /// One page. None: the App has no webhook of its own.
    async fn deliveries_page(&self, name: &AppName, gap: &Gap, page: usize) -> Result<Option<DeliveryPage>, Failure> {
        let next = gap.cursor.as_ref().map_or_else(String::new, |c| format!("&cursor={c}"));
        let path = format!("/app/hook/deliveries?per_page=100&status=failure{next}");
        let what = format!("list the webhook deliveries of App `{name}` that failed (page {page})");
        let call = ApiCall { identity: Identity::App, ..ApiCall::new("github.ListDeliveries", Method::GET, path, what) };
        let answer = match self.app(name, &call)?.call_as_app(&call).await {
            Err(rejected) if rejected.failure.kind == FailureKind::NotFound => return Ok(None),
            answer => answer?,
        };
        let oldest = limits::server_now(&answer.headers).saturating_sub_unsigned(LOOK_BACK.as_secs());
        Ok(Some(DeliveryPage { next: next_cursor(&answer.headers), oldest, rows: answer.json(&call)? }))
    }

    /// Asks GitHub to deliver a webhook once more. The outcome is `Done`, also when GitHub does not know the delivery any more.
    pub async fn redeliver(&self, app: &AppName, delivery: DeliveryId) -> Outcome {
        let path = format!("/app/hook/deliveries/{delivery}/attempts");
        let what = format!("have webhook delivery {delivery} of App `{app}` made again");
        let call = ApiCall { identity: Identity::App, ..ApiCall::new("github.RedeliverWebhook", Method::POST, path, what) };
        let app = match self.app(app, &call) {
            Ok(app) => app,
            Err(failure) => return Outcome::Failed(failure),
        };
        match app.call_as_app(&call).await.map_err(Failure::from) {
            Ok(_) => Outcome::Done,
            Err(failure) if failure.kind == FailureKind::NotFound => Outcome::Done,
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// The cursor of the next page. Only the cursor is taken from the answer, and never a whole URL, so that a request cannot be led
/// elsewhere.
/// <https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api#using-link-headers>
fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let (_, after) = next.split_once("cursor=")?;
    let cursor: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-.~%=".contains(*c)).collect();
    (!cursor.is_empty()).then_some(cursor)
}

#[cfg(fuzzing)]
pub(crate) fn fuzzed(answer: &crate::GoodAnswer, call: &ApiCall) {
    let _ = next_cursor(&answer.headers);
    let _ = answer.json::<Vec<DeliveryRow>>(call);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::{Value, json};

    use super::super::fake::{Fake, in_seconds, reply};
    use super::*;

    fn row(id: u64, event: &str, status: u16, hours_ago: i64) -> Value {
        let at = in_seconds(-3600 * hours_ago);
        json!({"id": id, "guid": format!("g{id}"), "delivered_at": at, "redelivery": false, "duration": 0.1, "status": "x",
               "status_code": status, "event": event, "action": "queued", "installation_id": 1, "repository_id": 1})
    }

    fn rows(outcome: Outcome) -> Vec<u64> {
        match outcome {
            Outcome::Swept(Swept::Deliveries(rows)) => rows.into_iter().map(|r| r.id.0).collect(),
            other => panic!("expected deliveries, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn failed_deliveries_are_read_page_by_page_until_they_are_a_day_old() {
        let fake = Fake::start(|ask| {
            let next =
                |cursor| format!("<https://elsewhere.example/app/hook/deliveries?per_page=100&cursor={cursor}>; rel=\"next\"");
            match ask.query.split("&cursor=").nth(1) {
                None => {
                    reply(200, json!([row(9, "workflow_job", 503, 0), row(8, "push", 503, 0), row(7, "workflow_job", 202, 1)]))
                        .with("link", next("v1_2"))
                }
                Some("v1_2") => {
                    reply(200, json!([row(6, "workflow_job", 0, 23), row(5, "workflow_job", 500, 25)])).with("link", next("v1_3"))
                }
                Some(other) => panic!("page {other} is older than a day"),
            }
        })
        .await;
        assert_eq!(rows(fake.github().deliveries(&"main".into()).await), [9, 6]);
        let asked = fake.asked("/app/hook/deliveries");
        assert_eq!(asked.len(), 2);
        assert!(asked.iter().all(|a| a.query.contains("status=failure")));
        assert!(asked.iter().all(|a| a.header("authorization").starts_with("Bearer ey")), "as the App, by its JWT");
    }

    /// After an outage there are more failures than one sweep reads. The next sweeps read on where it stopped, and read nothing
    /// twice but the newest page.
    #[tokio::test]
    async fn a_long_outage_is_read_over_several_sweeps() {
        // 50 pages of two attempts, with the ids 100 to 1. The cursor is the page's number.
        let fake = Fake::start(|ask| {
            let page: u64 = ask.query.split("&cursor=").nth(1).map_or(0, |cursor| cursor.parse().expect("a page"));
            let rows = [100 - 2 * page, 99 - 2 * page].map(|id| row(id, "workflow_job", 503, 1));
            let answer = reply(200, json!(rows));
            if page == 49 {
                return answer;
            }
            answer.with("link", format!("<https://x.example/d?cursor={}>; rel=\"next\"", page + 1))
        })
        .await;
        let (github, app) = (fake.github(), "main".into());
        let mut read = Vec::new();
        for _ in 0..4 {
            read.push(rows(github.deliveries(&app).await).len());
        }
        assert_eq!(read, [40, 78, 100, 100], "20 pages, then the newest and 19, then the rest");
        assert_eq!(fake.asked("/app/hook/deliveries").len(), 20 + 20 + 12 + 1);
        let all: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(rows(github.deliveries(&app).await), all, "newest first");
    }

    #[tokio::test]
    async fn a_page_that_fails_is_read_by_the_next_sweep() {
        let refuse = Arc::new(AtomicBool::new(true));
        let failing = Arc::clone(&refuse);
        let fake = Fake::start(move |ask| match ask.query.contains("cursor=") {
            false => {
                let next = "<https://x.example/d?cursor=b>; rel=\"next\"".to_owned();
                reply(200, json!([row(9, "workflow_job", 503, 1)])).with("link", next)
            }
            true if failing.load(Ordering::SeqCst) => reply(503, json!({"message": "later"})),
            true => reply(200, json!([row(8, "workflow_job", 503, 1)])),
        })
        .await;
        let (github, app) = (fake.github(), "main".into());
        assert_eq!(rows(github.deliveries(&app).await), [9], "what was read is told");
        refuse.store(false, Ordering::SeqCst);
        assert_eq!(rows(github.deliveries(&app).await), [9, 8]);
    }

    #[tokio::test]
    async fn an_app_without_a_webhook_has_no_failed_deliveries() {
        let fake = Fake::start(|_| reply(404, json!({"message": "Not Found"}))).await;
        assert_eq!(rows(fake.github().deliveries(&"main".into()).await), Vec::<u64>::new());
    }

    #[tokio::test]
    async fn a_delivery_is_asked_for_again() {
        let fake = Fake::start(|ask| match ask.path.as_str() {
            "/app/hook/deliveries/7/attempts" => reply(202, json!({})),
            "/app/hook/deliveries/8/attempts" => reply(404, json!({"message": "Not Found"})),
            _ => reply(503, json!({"message": "later"})),
        })
        .await;
        let (github, app) = (fake.github(), "main".into());
        assert_eq!(github.redeliver(&app, DeliveryId(7)).await, Outcome::Done);
        assert_eq!(github.redeliver(&app, DeliveryId(8)).await, Outcome::Done, "GitHub forgot it; so do we");
        assert!(matches!(github.redeliver(&app, DeliveryId(9)).await, Outcome::Failed(_)));
    }
}
