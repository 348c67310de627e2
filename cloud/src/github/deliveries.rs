//! Webhooks that GitHub could not deliver: muster lists them and asks GitHub to send them again. GitHub keeps them for three days
//! and never sends one again by itself. <https://docs.github.com/en/rest/apps/webhooks>

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
/// The most pages that are read, of 100 attempts each. More failures than these mean more than one bad hour of the receiver.
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

impl GitHub {
    /// The failed attempts of the last 24 hours to deliver a `workflow_job`, newest first. An App without a webhook of its own
    /// has none. The outcome is `Swept(Deliveries)`, or `Failed` if one page could not be read. After 20 pages the sweep stops
    /// with what it has.
    pub async fn deliveries(&self, app: &AppName) -> Outcome {
        self.failed_deliveries(app).await.map_or_else(Outcome::Failed, |rows| Outcome::Swept(Swept::Deliveries(rows)))
    }

    async fn failed_deliveries(&self, name: &AppName) -> Result<Vec<DeliverySighting>, Failure> {
        let mut failed = Vec::new();
        let mut cursor = None;
        for page in 1..=PAGES_MAX {
            let next = cursor.as_ref().map_or_else(String::new, |c| format!("&cursor={c}"));
            let path = format!("/app/hook/deliveries?per_page=100&status=failure{next}");
            let what = format!("list the webhook deliveries of App `{name}` that failed (page {page})");
            let call = ApiCall { identity: Identity::App, ..ApiCall::new("github.ListDeliveries", Method::GET, path, what) };
            let answer = match self.app(name, &call)?.call_as_app(&call).await {
                Err(rejected) if rejected.failure.kind == FailureKind::NotFound => return Ok(failed),
                answer => answer?,
            };
            let oldest = limits::server_now(&answer.headers).saturating_sub_unsigned(LOOK_BACK.as_secs());
            let rows: Vec<DeliveryRow> = answer.json(&call)?;
            let young =
                |row: &DeliveryRow| DateTime::parse_from_rfc3339(&row.delivered_at).is_ok_and(|at| at.timestamp() >= oldest);
            let done = !rows.iter().all(young);
            // A server that does not know the filter `status` lists successful attempts, too.
            let rows = rows.into_iter().filter(|r| young(r) && r.event == "workflow_job" && !(200..300).contains(&r.status_code));
            failed.extend(rows.map(|row| DeliverySighting {
                id: DeliveryId(row.id),
                guid: row.guid,
                action: row.action,
                status: row.status_code,
            }));
            cursor = next_cursor(&answer.headers);
            if done || cursor.is_none() {
                return Ok(failed);
            }
        }
        tracing::warn!(app = %name, rows = failed.len(), "more webhook deliveries failed than muster reads; the newest are asked for again");
        Ok(failed)
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

#[cfg(test)]
mod tests {
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
